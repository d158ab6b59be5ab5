"""Recordings as they might have come: over a telephone, with noise, in a room, through a codec.

`Augmented` is a store of tracks like the one of the recordings themselves, of which nothing lies on a disk: an
utterance's features are made when they are asked for, from samples that were changed by chance. Which changes an
utterance meets follows from its name and the number of the copy, so the same copy is always the same.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.data import audio, augmentation
from sottovoce.data.batching import row_seed
from sottovoce.data.corpus import Corpus
from sottovoce.data.store import Source, TrackStore
from sottovoce.data.track import Track

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Augmented:
    """Changed recordings of a corpus, as features of a track.

    Args:
        clean: the store of the recordings as they are.
        make: (wave, config) -> track, as many frames for as many samples.
        copy: which one; copies differ, and each is always the same.
        change: samples (N,) at 16 kHz and a generator -> as many samples.
    """

    def __init__(
        self,
        corpus: Corpus,
        clean: TrackStore,
        make: Callable[[Track, Any], Track],
        config: Any,
        copy: int,
        change: Change = augmentation.random,
    ):
        self.corpus, self.clean, self.make, self.config, self.copy = corpus, clean, make, config, copy
        self.change = change
        self.rate_hz, self.offset_s, self.dim = clean.rate_hz, clean.offset_s, clean.dim
        self.lengths: Mapping[str, int] = clean.lengths
        self.head = clean.head
        self.folder: Path = clean.folder
        self._last: tuple[str, np.ndarray] | None = None  # bounds and batch ask for the same one after the other

    def __contains__(self, key: object) -> bool:
        return key in self.clean

    def __getitem__(self, key: str) -> np.ndarray:
        if self._last is None or self._last[0] != key:
            self._last = (key, self._made(key))
        return self._last[1]

    def source(self, key: str) -> Source | None:
        return self.clean.source(key)

    def _made(self, key: str) -> np.ndarray:
        """(T, F) features of the changed recording."""
        u = self.corpus.by_id[key]
        wave = audio.read(self.corpus.root / u.path, u.start, u.end)
        rng = np.random.default_rng(row_seed(self.copy, f"copy {key}"))
        samples = self.change(np.asarray(wave.values, np.float32), rng)
        made = self.make(Track(samples, wave.rate_hz, wave.offset_s), self.config).values
        return np.asarray(made[: self.lengths[key]], np.float32)
