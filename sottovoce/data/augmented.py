"""Recordings as they might have come: over a telephone, with noise, in a room, through a codec; or spoken faster.

`Augmented` is a store of tracks like the one of the recordings themselves, of which nothing lies on a disk: an
utterance's features are made when they are asked for, from samples that were changed by chance. Which changes an
utterance meets follows from its name and the number of the copy, so the same copy is always the same. Babble is made of
other recordings of the same speaker: no voice is added to a training part that is not in it.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from sottovoce.data import audio, augmentation, resampling
from sottovoce.data.batching import row_seed
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Store
from sottovoce.data.store import Source
from sottovoce.data.track import Track

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
# Every second copy meets noise, the others voices; all of them perhaps a room, a line and a codec.
NOISE, VOICES = augmentation.Chances(noise=1.0, babble=0.0), augmentation.Chances(noise=1.0, babble=1.0)
SPEEDS = (0.9, 1.1, 0.95, 1.05)  # and pitch with it, as of a speaker with a longer or shorter throat
VOICES_KEPT, VOICE_S = 32, 30.0  # decoded beginnings for babble, of the speaker whose copies are being made
KEPT = 1 << 27  # numbers of features in memory: 256 MiB in half precision, an hour and a half of 80 bands


class Augmented:
    """Changed recordings of a corpus, as features of a track.

    Args:
        clean: the store of the recordings as they are.
        make: (wave, config) -> track, as many frames for as many samples.
        copy: which one; copies differ, and each is always the same.
        way: what happens to it, as `way` says of the copy: the chances of a chain, or a factor on speed and pitch; or
            a function of samples (N,) at 16 kHz and a generator -> as many samples.
    """

    def __init__(
        self,
        corpus: Corpus,
        clean: Store,
        make: Callable[[Track, Any], Track],
        config: Any,
        copy: int,
        way: augmentation.Chances | float | Change,
    ):
        self.corpus, self.clean, self.make, self.config, self.copy, self.way = corpus, clean, make, config, copy, way
        self.rate_hz, self.offset_s, self.dim = clean.rate_hz, clean.offset_s, clean.dim
        self.lengths: Mapping[str, int] = clean.lengths
        if isinstance(way, float):  # a frame less than there may be: windows reach over the end
            self.lengths = {key: max(int(count / way) - 1, 1) for key, count in clean.lengths.items()}
        self.head = clean.head
        self._made: dict[str, np.ndarray] = {}  # asked for twice: for its silent ends, and for its batch
        self._size = 0
        self._voice = lru_cache(VOICES_KEPT)(self._beginning)  # each is asked for by about five others
        self._of_speaker: dict[str, list[Utterance]] = {}
        for u in corpus.utterances:
            self._of_speaker.setdefault(u.speaker, []).append(u)

    def __contains__(self, key: object) -> bool:
        return key in self.clean

    def __getitem__(self, key: str) -> np.ndarray:
        if key in self._made:
            return self._made[key].astype(np.float32)
        values = self._make(key).astype(np.float16)
        if self._size < KEPT:
            self._made[key], self._size = values, self._size + values.size
        return values.astype(np.float32)

    def source(self, key: str) -> Source | None:
        return self.clean.source(key)

    def _make(self, key: str) -> np.ndarray:
        """(T, F) features of the changed recording."""
        u = self.corpus.by_id[key]
        rng = np.random.default_rng(row_seed(self.copy, f"copy {key}"))
        wave = audio.read(self.corpus.root / u.path, u.start, u.end)
        samples = np.asarray(wave.values, np.float32)
        if isinstance(self.way, float):
            samples = resampling.resampled(samples, audio.RATE_HZ * self.way, audio.RATE_HZ)
        elif isinstance(self.way, augmentation.Chances):
            others = [v for v in self._of_speaker[u.speaker] if v.path != u.path and v.id in self] if u.speaker else []
            voice = (lambda r: self._voice(others[r.integers(len(others))].id)) if others else None
            samples = augmentation.random(samples, rng, voice, self.way)
        else:
            samples = self.way(samples, rng)
        made = self.make(Track(samples, wave.rate_hz, wave.offset_s), self.config).values
        return made[: self.lengths[key]]

    def _beginning(self, key: str) -> np.ndarray:
        """(N,) samples of a recording, not all of a long one."""
        u = self.corpus.by_id[key]
        end = u.start + VOICE_S if self.lengths[key] > (VOICE_S + 1) * self.rate_hz else u.end
        return np.asarray(audio.read(self.corpus.root / u.path, u.start, end).values, np.float32)


def way(change: str, copy: int) -> augmentation.Chances | float:
    """What a copy meets: of "channel" the chances of a chain, of "speed" a factor."""
    if change == "speed":
        return SPEEDS[copy % len(SPEEDS)]
    return VOICES if copy % 2 else NOISE
