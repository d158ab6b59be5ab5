"""From cached tracks to batches: the border between NumPy files and torch tensors.

    track frames (T, F)  ->  trimmed, normalised, pooled  ->  steps (S, D)  ->  Batch (B, S, D)

A *frame* is one row of a track, a *step* one position of a backbone: `pool` frames stacked or averaged.
Rows are read from memory maps when a batch asks for them, so memory does not grow with the corpus.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sottovoce.corpus import Utterance
from sottovoce.errors import InputError
from sottovoce.track import Track


WAVEFORM_HZ = 1000.0  # a track as fast as this holds samples


class Store(Protocol):
    """What is needed of `sottovoce.store.TrackStore`, or of a dictionary of arrays in a test."""

    @property
    def rate_hz(self) -> float: ...
    @property
    def dim(self) -> int: ...
    @property
    def lengths(self) -> Mapping[str, int]: ...
    def __getitem__(self, key: str, /) -> np.ndarray: ...
    def __contains__(self, key: object, /) -> bool: ...


@dataclass(frozen=True)
class Frontend:
    """How track frames become the steps a backbone sees."""

    pool: int = 4  # track frames per step; 4 frames of 10 ms are 40 ms
    how: str = "stack"  # "stack": D = pool * F; "mean": D = F
    normalise: str = "corpus"  # whose mean and deviation: "corpus" (training part), "utterance", "speaker", "none"
    trim_db: float = 0.0  # cut leading and trailing frames this far below the loudest; 0 = keep all
    clip: float = 10.0  # normalised features are held within +- this many deviations; 0 = as they are

    def __post_init__(self) -> None:
        if self.pool < 1:
            raise InputError(f"frontend.pool: frames per step, 1 or more. Found {self.pool}.")
        if self.how not in ("stack", "mean"):
            raise InputError(f"frontend.how: 'stack' or 'mean'. Found {self.how!r}.")
        if self.normalise not in ("corpus", "utterance", "speaker", "none"):
            raise InputError(
                f"frontend.normalise: 'corpus', 'utterance', 'speaker' or 'none'. Found {self.normalise!r}."
            )
        if self.clip < 0:
            raise InputError(f"frontend.clip: deviations, or 0 for no clipping. Found {self.clip}.")

    def dim(self, features: int) -> int:
        return features * (self.pool if self.how == "stack" else 1)

    def steps(self, frames: int) -> int:
        """Steps that `frames` frames make; the last step may be padded with its own last frame."""
        return -(-frames // self.pool)


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of every feature, (F,) each."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray]) -> "Statistics":
        """Over all rows of blocks (T, F), all-zero rows left out, in float64 and one pass.

        A constant feature gets deviation 1. Raises ValueError when there is no row.
        """
        count, mean, square = 0, np.zeros(0), np.zeros(0)
        for block in blocks:
            rows = block[np.any(block != 0, axis=1)].astype(np.float64)
            if not len(rows):
                continue
            if not count:
                mean, square = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
            centre = rows.mean(0)
            delta, total = centre - mean, count + len(rows)
            square += ((rows - centre) ** 2).sum(0) + delta**2 * count * len(rows) / total
            mean, count = mean + delta * len(rows) / total, total
        if not count:
            raise ValueError("no frames to take statistics of")
        std = np.sqrt(square / count)
        std[std < 1e-6 * np.maximum(np.abs(mean), 1e-3)] = 1.0
        return cls(mean.astype(np.float32), std.astype(np.float32))

    @classmethod
    def unit(cls, features: int) -> "Statistics":
        """Mean 0 and deviation 1: they change nothing."""
        return cls(np.zeros(features, np.float32), np.ones(features, np.float32))

    def apply(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.std


@dataclass(frozen=True)
class Beside:
    """A track that batches carry along, read where the hidden states of a backbone are.

    `stride` and `window` are those of the backbone, in steps.
    """

    of: Callable[[Utterance], Track]  # on any clock
    kind: str = "linear"  # or "nearest" for labels, as `Track.align` has it
    stride: int = 1
    window: int = 1

    def states(self, steps: int) -> int:
        """Hidden states that so many steps make."""
        return max((steps - self.window) // self.stride + 1, 1)

    def read(self, u: Utterance, start_s: float, steps: int, rate_hz: float) -> np.ndarray:
        """(S, ...) at the states of `steps` steps, the first of which begins at `start_s` seconds."""
        states = np.empty(self.states(steps), np.int8)
        clock = Track(states, rate_hz / self.stride, start_s + self.window / 2 / rate_hz)
        return self.of(u).align(clock, kind=self.kind).values


@dataclass
class Batch:
    """Padded utterances. `scored` (B, S): steps that carry data; padding and all-zero frames do not."""

    ids: list[str]
    x: Tensor  # (B, S, D) zero after `lengths`
    lengths: Tensor  # (B,) steps
    scored: Tensor  # (B, S) bool
    seeds: list[int]  # one a row, for masks and augmentation
    target: Tensor | None = None  # (B,) class index or (B, D) numbers
    tracks: dict[str, Tensor] = field(default_factory=dict)  # further ones at the hidden states (B, S, ...)

    def to(self, device: torch.device | str) -> "Batch":
        move = {k: v.to(device) for k, v in self.tracks.items()}
        target = None if self.target is None else self.target.to(device)
        return Batch(
            self.ids, self.x.to(device), self.lengths.to(device), self.scored.to(device), self.seeds, target, move
        )


class Steps:
    """Utterances as normalised steps: `steps[i] -> (x (S, D) float32, scored (S,) bool)`.

    Args:
        sources: (track store, utterances of it) pairs; indices count through them in order.
        frontend: how frames become steps.
        statistics: fitted on a training part by the caller; needed for normalise="corpus".

    Raises:
        InputError: an utterance without frames in the store, or tracks of different width.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Store, Sequence[Utterance]]],
        frontend: Frontend,
        statistics: Statistics | None = None,
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
        self.rate_hz = sources[0][0].rate_hz / frontend.pool  # steps per second
        self.bounds = np.array([self._bounds(i) for i in range(len(self))], dtype=np.int64).reshape(-1, 2)
        self.lengths = np.array([frontend.steps(b - a) for a, b in self.bounds], dtype=np.int64)
        self._parent: Steps | None = None  # see `subset`
        self._speakers: dict[tuple[str, str], Statistics] = {}
        self.stretch: tuple[float, float] | None = None  # see `stretched`
        self.beside: dict[str, Beside] = {}  # see `carrying`

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def budget(self) -> int:
        """Most padded steps of a batch where nothing is trained: 16,000, or 30 s of samples."""
        return 16000 if self.rate_hz < WAVEFORM_HZ else round(30 * self.rate_hz)

    def begin_s(self, i: int, step: int = 0) -> float:
        """When a step of utterance i begins, in seconds of its recording."""
        store, frame = self.stores[i], int(self.bounds[i][0]) + step * self.frontend.pool
        return getattr(store, "offset_s", 0.0) + (frame - 0.5) / store.rate_hz

    def raw(self, i: int) -> np.ndarray:
        """(T, F) trimmed frames as the track holds them."""
        first, last = self.bounds[i]
        return self.stores[i][self.utterances[i].id][first:last]

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.window(i, 0, int(self.lengths[i]))

    def window(
        self, i: int, start: int, end: int, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steps start..end of utterance i: x (S, D), scored (S,); stretched when `rng` is given and asked for."""
        pool = self.frontend.pool
        frames = self.raw(i)[start * pool : end * pool]
        filled = np.any(frames != 0, axis=1)
        values = self._statistics(i).apply(frames)
        if self.frontend.clip:
            np.clip(values, -self.frontend.clip, self.frontend.clip, out=values)
        values[~filled] = 0.0
        if self.stretch and rng is not None:
            time, features = np.exp(rng.uniform(-1, 1, 2) * self.stretch)
            values = stretch(values, time, features)
            filled = _between(filled[:, None].astype(np.float32), _places(len(filled), time))[:, 0] == 1
            values[~filled] = 0.0  # what is mixed with a missing frame is missing
        return pool_frames(values.astype(np.float32, copy=False), filled, self.frontend)

    def _bounds(self, i: int) -> tuple[int, int]:
        store, key = self.stores[i], self.utterances[i].id
        length = store.lengths[key]
        if not self.frontend.trim_db or length < 2:
            return 0, length
        if store.rate_hz < WAVEFORM_HZ:
            return loud_bounds(store[key], self.frontend.trim_db)
        hop = round(store.rate_hz / 50)  # 20 ms, so that an encoder's states keep their places
        whole = max(length // hop, 1) * hop
        power = np.square(store[key][:whole]).reshape(-1, min(hop, length)).mean(1, keepdims=True)
        first, last = loud_bounds(np.log(power + 1e-10), self.frontend.trim_db, smooth=3, margin=3)
        return first * hop, min(last * hop, length)

    def _statistics(self, i: int) -> Statistics:
        if self.frontend.normalise == "none":
            return Statistics.unit(self.features)
        if self.frontend.normalise == "utterance":
            return self._own([i])
        if self.frontend.normalise == "speaker":
            u = self.utterances[i]
            key = (u.corpus, u.speaker or u.id)  # an unknown speaker is somebody of their own
            if key not in self._speakers:
                family = self.family
                mates = [k for k, v in enumerate(family.utterances) if (v.corpus, v.speaker or v.id) == key]
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
        other.bounds, other.lengths = self.bounds[list(indices)], self.lengths[list(indices)]
        other._parent = self.family
        return other

    def stretched(self, time: float, features: float) -> "Steps":
        """The same utterances, but batches hold them stretched in time by up to exp(+-time) and along the
        feature axis by up to exp(+-features), drawn from each row's seed: augmentation for training."""
        other = copy.copy(self)
        other.stretch = (time, features) if time or features else None
        return other

    def carrying(self, beside: Mapping[str, Beside]) -> "Steps":
        """The same utterances, whose batches carry further tracks."""
        other = copy.copy(self)
        other.beside = dict(beside)
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

    def batch(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        seed: int = 0,
        most: int | None = None,
        target: np.ndarray | None = None,
    ) -> Batch:
        """Pad utterances together; longer ones than `most` steps are cut at a place drawn from the row's seed."""
        if self.stretch and self.beside:
            raise InputError(
                f"training.time_stretch: tracks beside the features would slip. Found {', '.join(self.beside)}. "
                "Use --set training.time_stretch=0 training.feature_stretch=0."
            )
        rows, flags, seeds, starts = [], [], [], []
        grid = max((b.stride for b in self.beside.values()), default=1)  # a cut leaves hidden states where they were
        for i in indices:
            seeds.append(row_seed(seed, self.utterances[i].id))
            rng, length = np.random.default_rng(seeds[-1]), int(self.lengths[i])
            start = int(rng.integers((length - most) // grid + 1)) * grid if most and length > most else 0
            x, ok = self.window(i, start, min(length, start + most) if most else length, rng)
            rows.append(x)
            flags.append(ok)
            starts.append(start)
        lengths = [len(r) for r in rows]
        x = np.zeros((len(rows), max(lengths), self.dim), dtype=np.float32)
        scored = np.zeros((len(rows), max(lengths)), dtype=bool)
        for k, (row, ok) in enumerate(zip(rows, flags, strict=True)):
            x[k, : len(row)], scored[k, : len(row)] = row, ok
        return Batch(
            [self.utterances[i].id for i in indices],
            torch.from_numpy(x),
            torch.tensor(lengths),
            torch.from_numpy(scored),
            seeds,
            None if target is None else torch.from_numpy(np.ascontiguousarray(target[np.asarray(indices)])),
            {name: self._carried(b, indices, starts, lengths) for name, b in self.beside.items()},
        )

    def _carried(self, beside: Beside, indices: Iterable[int], starts: list[int], lengths: list[int]) -> Tensor:
        """A further track of some rows, (B, S, ...); padded with 0, labels (whole numbers) with -1."""
        rows = [
            beside.read(self.utterances[i], self.begin_s(i, start), steps, self.rate_hz)
            for i, start, steps in zip(indices, starts, lengths, strict=True)
        ]
        filling = 0 if np.issubdtype(rows[0].dtype, np.floating) else -1
        out = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), filling, rows[0].dtype)
        for k, row in enumerate(rows):
            out[k, : len(row)] = row
        return torch.from_numpy(out)


def pool_frames(values: np.ndarray, filled: np.ndarray, frontend: Frontend) -> tuple[np.ndarray, np.ndarray]:
    """(T, F) frames -> (S, D) steps and whether every frame of a step carries data (S,)."""
    pool = frontend.pool
    if pool == 1:
        return values, filled
    short = -len(values) % pool
    if short:
        values = np.concatenate([values, np.repeat(values[-1:], short, axis=0)])
        filled = np.concatenate([filled, np.repeat(filled[-1:], short)])
    blocks = values.reshape(len(values) // pool, pool, -1)
    steps = blocks.reshape(len(blocks), -1) if frontend.how == "stack" else blocks.mean(1)
    return np.ascontiguousarray(steps), np.asarray(filled.reshape(-1, pool).all(axis=1))


def loud_bounds(log_energies: np.ndarray, trim_db: float, *, smooth: int = 5, margin: int = 5) -> tuple[int, int]:
    """First and last + 1 frame within `trim_db` of the loud ones, from natural-log energies (T, F).

    Loud is the 98th percentile of the smoothed level, so that a click decides nothing.

    Args:
        smooth: frames of the moving average of the power.
        margin: frames kept before and after.
    """
    power = np.exp(log_energies - log_energies.max()).sum(1)  # relative to the loudest band: cannot overflow
    level = 10 * np.log10(np.convolve(power, np.ones(smooth) / smooth, mode="same")[: len(power)] + 1e-30)
    loud = np.flatnonzero(level >= np.percentile(level, 98) - trim_db)
    return max(int(loud[0]) - margin, 0), min(int(loud[-1]) + 1 + margin, len(log_energies))


def stretch(values: np.ndarray, time: float, features: float) -> np.ndarray:
    """Faster or slower, and larger or smaller vocal tract, by bilinear interpolation: (T, F) -> (T / time, F).

    Args:
        time: above 1 = faster.
        features: above 1 moves formants down the mel axis; the axis is stretched about ten bins below its
            first, where the mel scale of Kaldi's filter bank reaches 0 Hz or so.
    """
    bins = values.shape[1]
    values = _between(values, _places(len(values), time))
    if features != 1:
        column = np.clip((np.arange(bins) + 10) * features - 10, 0, bins - 1)
        values = _between(values.T, column).T
    return np.ascontiguousarray(values)


def _places(frames: int, time: float) -> np.ndarray:
    """Where in the original the frames of a stretched one are."""
    return np.minimum(np.arange(max(round(frames / time), 1)) * time, frames - 1)


def _between(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows read at fractional places."""
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (at - low).astype(rows.dtype)[:, None]
    return rows[low] * (1 - share) + rows[high] * share


def row_seed(seed: int, key: str) -> int:
    """A 63-bit seed for one utterance; stable over runs, machines and batch order."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def plan_epoch(
    lengths: np.ndarray, *, batch_steps: int, batch_rows: int, seed: int, epoch: int, most: int | None = None
) -> list[np.ndarray]:
    """Length-bucketed batches of one epoch: shuffled, sorted in stretches, cut, shuffled again.

    Args:
        lengths: (N,) steps of every utterance.
        batch_steps: most padded steps a batch (rows x longest).
        batch_rows: most rows a batch.
        most: longer utterances count as this long, as `Steps.batch` will cut them.

    Returns:
        Index arrays; together every utterance once. The same (seed, epoch) gives the same plan.
    """
    rng = np.random.default_rng((seed, epoch))
    cost = np.minimum(lengths, most) if most else lengths
    order = rng.permutation(len(lengths))
    stretch = max(batch_rows * 20, 1)
    batches: list[np.ndarray] = []
    for at in range(0, len(order), stretch):
        bucket = order[at : at + stretch]
        bucket = bucket[np.argsort(cost[bucket], kind="stable")]
        rows: list[int] = []
        for i in bucket:
            if rows and (len(rows) == batch_rows or (len(rows) + 1) * cost[i] > batch_steps):
                batches.append(np.array(rows))
                rows = []
            rows.append(int(i))
        if rows:
            batches.append(np.array(rows))
    return [batches[k] for k in rng.permutation(len(batches))]


def sequential(lengths: np.ndarray, *, batch_steps: int, batch_rows: int = 64) -> Iterator[np.ndarray]:
    """Every utterance once, shortest first, for evaluation."""
    order = np.argsort(lengths, kind="stable")
    rows: list[int] = []
    for i in order:
        if rows and (len(rows) == batch_rows or (len(rows) + 1) * lengths[i] > batch_steps):
            yield np.array(rows)
            rows = []
        rows.append(int(i))
    if rows:
        yield np.array(rows)
