"""From cached tracks to steps, and to the batches of them: the border between NumPy files and torch tensors.

    track frames (T, F)  ->  trimmed, normalised, pooled  ->  steps (S, D)  ->  Batch (B, S, D)

A *frame* is one row of a track, a *step* one frame of the backbone: `subsampling` track frames stacked or averaged.
Rows are read from memory maps when a batch asks for them, so memory does not grow with the corpus.

An objective may need auxiliary tracks (`aux`): an intensity to mask by, another spectrogram to predict, labels.
They are resampled to the frames of the features and trimmed, cropped and stretched with them. Where a
backbone makes fewer states than it gets steps, such as an encoder of waveforms, they are brought to its states.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch

from sottovoce.config.frontend import Frontend
from sottovoce.data.batching import Batch, padded, row_seed
from sottovoce.data.corpus import Utterance
from sottovoce.data.folds import voice
from sottovoce.data.frames import WAVEFORM_HZ, Statistics, between, loud_part, pool_frames, source_positions, stretch
from sottovoce.data.track import Track
from sottovoce.errors import InputError

APART_S = 0.1  # how far the ends of two tracks of one recording may lie apart


class Store(Protocol):
    """What is needed of `sottovoce.data.store.TrackStore`, or of a dictionary of arrays in a test."""

    @property
    def rate_hz(self) -> float: ...
    @property
    def offset_s(self) -> float: ...
    @property
    def dim(self) -> int: ...
    @property
    def lengths(self) -> Mapping[str, int]: ...
    @property
    def head(self) -> Any: ...  # its `track` is the name of what is in it
    def source(self, id: str, /) -> Any: ...  # what an utterance was made from, None where nobody knows
    def __getitem__(self, key: str, /) -> np.ndarray: ...
    def __contains__(self, key: object, /) -> bool: ...


class Steps:
    """Utterances as the normalised frames of a backbone: `steps[i] -> (x (S, D) float32, scored (S,) bool)`.

    A row, called a step, is one frame of the backbone: some frames of a track, stacked or averaged.

    Args:
        sources: (track store, utterances of it) pairs; indices count through them in order.
        frontend: how frames become steps.
        statistics: fitted on a training part by the caller; needed for normalise="corpus".
        aux: name in `Batch.tracks` -> (a store for each of `sources`, "linear" or "pad"). An auxiliary track of one
            column is averaged over the frames of a step, (B, S); a wider one is pooled as the features are. "nearest":
            labels, whole numbers (B, S, D'), -1 where there are none.
        hop_and_field: hop and receptive field of the backbone's states in steps, see `backbones/base.py`.

    Raises InputError: an utterance without frames in a store, tracks of different width, or an auxiliary track that is
    longer or shorter than the features.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Store, Sequence[Utterance]]],
        frontend: Frontend,
        statistics: Statistics | None = None,
        aux: Mapping[str, tuple[Sequence[Store], str]] | None = None,
        hop_and_field: tuple[int, int] = (1, 1),
    ):
        self.frontend, self.statistics = frontend, statistics
        self.utterances = [u for _, part in sources for u in part]
        self.stores = [store for store, part in sources for _ in part]
        widths = {store.dim for store, _ in sources}
        if len(widths) > 1:
            raise InputError(
                f"{' + '.join(sorted({u.corpus for u in self.utterances}))}: tracks of different width. "
                f"Found {sorted(widths)} features a frame. Extract them with the same settings."
            )
        self.features = widths.pop()
        self.dim = frontend.dim(self.features)
        for u, store in zip(self.utterances, self.stores, strict=True):
            if u.id not in store:
                raise InputError(f"{u.corpus}: no frames for utterance {u.id!r}. Run `sottovoce extract` again.")
        self.rate_hz = sources[0][0].rate_hz / frontend.subsampling  # steps per second
        self.aux = {
            name: ([store for store, (_, part) in zip(stores, sources, strict=True) for _ in part], align)
            for name, (stores, align) in (aux or {}).items()
        }
        self.hop_and_field = hop_and_field
        self._check_aux()
        self._parent: Steps | None = None  # see `subset`
        self._speakers: dict[str, Statistics] = {}
        self.stretch: tuple[float, float] | None = None  # see `stretched`

    def __len__(self) -> int:
        return len(self.utterances)

    @cached_property
    def bounds(self) -> np.ndarray:
        """(N, 2) first frame and the end of each utterance without its silent ends: looked for when they are needed,
        because every recording is read for them."""
        return np.array([self._bounds(i) for i in range(len(self))], dtype=np.int64).reshape(-1, 2)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) steps of each utterance."""
        return np.array([self.frontend.steps(b - a) for a, b in self.bounds], dtype=np.int64)

    @property
    def budget(self) -> int:
        """Most padded steps of a batch where nothing is trained: 16,000; of samples 16 s, which stay in the cache of a
        CPU, or 320 s where there is a GPU."""
        seconds = 320 if torch.cuda.is_available() else 16
        return 16000 if self.rate_hz < WAVEFORM_HZ else round(seconds * self.rate_hz)

    def states(self, i: int, start: int, steps: int, hop_and_field: tuple[int, int], time: float = 1.0) -> Track:
        """When the states of so many steps from `start` on are, after stretching; its values say nothing."""
        store, first = self.stores[i], int(self.bounds[i][0]) + start * self.frontend.subsampling
        begin = store.offset_s + (first - 0.5) / store.rate_hz  # of the first step, not its centre
        hop, field = hop_and_field
        count, rate_hz = max((steps - field) // hop + 1, 1), self.rate_hz / time
        return Track(np.empty(count, np.int8), rate_hz / hop, begin + field / 2 / rate_hz)

    def raw(self, i: int) -> np.ndarray:
        """(T, F) trimmed frames as the track holds them."""
        first, last = self.bounds[i]
        return self.stores[i][self.utterances[i].id][first:last]

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.window(i, 0, int(self.lengths[i]))

    def window(
        self, i: int, start: int, end: int, factors: tuple[float, float] = (1.0, 1.0)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps start..end of utterance i, stretched in time and along the features: x (S, D), scored (S,)."""
        each = self.frontend.subsampling  # frames of a step
        frames = self.raw(i)[start * each : end * each]
        filled = np.any(frames != 0, axis=1)
        values = self._statistics(i).apply(frames)
        if self.frontend.clip:
            np.clip(values, -self.frontend.clip, self.frontend.clip, out=values)
        values[~filled] = 0.0
        if factors != (1.0, 1.0):
            values = stretch(values, *factors)
            filled = between(filled[:, None].astype(np.float32), source_positions(len(filled), factors[0]))[:, 0] == 1
            values[~filled] = 0.0  # what is mixed with a missing frame is missing
        return pool_frames(values.astype(np.float32, copy=False), filled, self.frontend)

    def aux_of(self, i: int, start: int, end: int, time: float = 1.0) -> dict[str, np.ndarray]:
        """The auxiliary tracks at the same steps or their states, as much faster or slower: (S,) or (S, D') each."""
        each, store, (first, last) = self.frontend.subsampling, self.stores[i], self.bounds[i]
        first, last = first + start * each, min(first + end * each, last)
        found = {}
        for name, (stores, align) in self.aux.items():
            track = Track(stores[i][self.utterances[i].id], stores[i].rate_hz, stores[i].offset_s)
            labels, narrow = align == "nearest", track.values.shape[1] == 1
            if labels or self.hop_and_field != (1, 1):
                count = self.frontend.steps(len(source_positions(last - first, time)))
                states = self.states(i, start, count, self.hop_and_field, time)
                values = track.align(states, kind="nearest" if labels else "linear").values
            else:
                if align == "pad":  # frame by frame whatever the rates are, zeros behind the end: as EMS was released
                    kept = track.values[first:last]
                    values = np.concatenate([kept, np.zeros((last - first - len(kept), kept.shape[1]), kept.dtype)])
                else:
                    grid = Track(np.empty(last - first), store.rate_hz, store.offset_s + first / store.rate_hz)
                    values = track.align(grid).values
                if time != 1:
                    values = between(values, source_positions(len(values), time))
                front = replace(self.frontend, subsample="mean") if narrow else self.frontend
                values = pool_frames(values.astype(np.float32, copy=False), np.ones(len(values), bool), front)[0]
            found[name] = values.astype(np.int64) if labels else values[:, 0] if narrow else values
        return found

    def _check_aux(self) -> None:
        for name, (stores, _) in self.aux.items():
            missing = [u for u, store in zip(self.utterances, stores, strict=True) if u.id not in store]
            if missing:
                raise InputError(
                    f"{missing[0].corpus}: no {name} for utterance {missing[0].id!r}. Found it for "
                    f"{len(self) - len(missing)} of {len(self)}. Extract the track for this corpus."
                )
            for u, ours, theirs in zip(self.utterances, self.stores, stores, strict=True):
                ends = [s.offset_s + (s.lengths[u.id] - 1) / s.rate_hz for s in (ours, theirs)]
                if abs(ends[0] - ends[1]) > APART_S:
                    raise InputError(
                        f"{u.corpus}: the {name} of utterance {u.id!r} belongs to other audio, or its rate is wrong. "
                        f"Found {ends[1]:.2f} s at {theirs.rate_hz:g} Hz and {ends[0]:.2f} s of features. "
                        "Extract both again."
                    )

    def _bounds(self, i: int) -> tuple[int, int]:
        store, key = self.stores[i], self.utterances[i].id
        if not self.frontend.trim_db or store.lengths[key] < 2:
            return 0, store.lengths[key]
        return loud_part(store[key], store.rate_hz, self.frontend.trim_db, store.head.track)

    def _statistics(self, i: int) -> Statistics:
        if self.frontend.normalise == "none":
            return Statistics.unit(self.features)
        if self.frontend.normalise == "utterance":
            return self._own([i])
        if self.frontend.normalise == "speaker":
            key = voice(self.utterances[i])
            if key not in self._speakers:
                family = self.family
                mates = [k for k, v in enumerate(family.utterances) if voice(v) == key]
                self._speakers[key] = family._own(mates)
            return self._speakers[key]
        if self.statistics is None:
            raise ValueError("normalise='corpus' needs statistics fitted on a training part")
        return self.statistics

    def _own(self, members: Sequence[int]) -> Statistics:
        """Of these utterances; mean 0 and deviation 1 where all their frames are missing."""
        if any(np.any(self.raw(k)) for k in members):
            return Statistics.of(self.raw(k) for k in members)
        return Statistics.unit(self.features)

    @property
    def family(self) -> "Steps":
        """All utterances whose recordings count for a speaker's statistics."""
        return self if self._parent is None else self._parent

    def subset(self, indices: Sequence[int]) -> "Steps":
        """Some of the utterances; a speaker's statistics still come from all (labels are few, speech is not)."""
        other = copy.copy(self)
        other.utterances = [self.utterances[i] for i in indices]
        other.stores = [self.stores[i] for i in indices]
        other.aux = {k: ([stores[i] for i in indices], align) for k, (stores, align) in self.aux.items()}
        for name in {"bounds", "lengths"} & vars(self).keys():
            vars(other)[name] = vars(self)[name][list(indices)]
        other._parent = self.family
        return other

    def stretched(self, time: float, features: float) -> "Steps":
        """The same utterances, but batches hold them stretched in time by up to exp(+-time) and along the
        feature axis by up to exp(+-features), drawn from each row's seed: augmentation for training.

        Raises InputError when an auxiliary track has features that would stay where they are.
        """
        wide = [name for name, (stores, _) in self.aux.items() if any(s.dim > 1 for s in stores)]
        if features and wide:
            raise InputError(
                f"training.feature_stretch: {features:g} would move the features away from the {wide[0]}. Found a "
                f"{wide[0]} of its own. Set training.feature_stretch=0."
            )
        other = copy.copy(self)
        other.stretch = (time, features) if time or features else None
        return other

    def fit_statistics(self) -> Statistics:
        """Of these utterances; the caller sees to it that they are a training part.

        Raises InputError when every frame of them is missing.
        """
        if self.frontend.normalise == "none":
            return Statistics.unit(self.features)
        try:
            return Statistics.of(self.raw(i) for i in range(len(self)))
        except ValueError:
            corpora = " + ".join(sorted({u.corpus for u in self.utterances}))
            raise InputError(
                f"{corpora}: nothing to learn from. Every frame of {len(self)} utterances is all zero (missing). "
                "Look at the features, or extract them again."
            ) from None

    def cut(self, i: int, most: int | None, rng: np.random.Generator) -> tuple[int, int]:
        """First and last + 1 of the steps that are seen; a cut to `most` leaves the states where they were."""
        length, grid = int(self.lengths[i]), self.hop_and_field[0]
        start = int(rng.integers((length - most) // grid + 1)) * grid if most and length > most else 0
        return start, min(length, start + most) if most else length

    def batch(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        seed: int = 0,
        most: int | None = None,
        target: np.ndarray | None = None,
    ) -> Batch:
        """Pad utterances together; longer ones than `most` steps are cut at a position drawn from the row's seed."""
        rows, flags, seeds = [], [], []
        tracks: dict[str, list[np.ndarray]] = {name: [] for name in self.aux}
        for i in indices:
            seeds.append(row_seed(seed, self.utterances[i].id))
            rng = np.random.default_rng(seeds[-1])
            start, end = self.cut(i, most, rng)
            time, features = np.exp(rng.uniform(-1, 1, 2) * self.stretch) if self.stretch else (1.0, 1.0)
            x, ok = self.window(i, start, end, (time, features))
            rows.append(x)
            flags.append(ok)
            for name, values in self.aux_of(i, start, end, time).items():
                tracks[name].append(values)
        return Batch(
            [self.utterances[i].id for i in indices],
            padded(rows),
            torch.tensor([len(r) for r in rows]),
            padded(flags),
            seeds,
            None if target is None else torch.from_numpy(np.ascontiguousarray(target[np.asarray(indices)])),
            {name: padded(rows, -1 if rows[0].dtype == np.int64 else 0) for name, rows in tracks.items()},
        )
