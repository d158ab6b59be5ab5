"""k-means for many frames: NumPy in, NumPy out.

    seeds (k-means||)  ->  Lloyd on growing samples  ->  Lloyd on all frames

Lloyd's iteration is one matrix product: the nearest centre is the argmin of |x|^2 - 2 x.c + |c|^2. What makes this
faster than iterating over everything is where it iterates: seeds and most iterations see samples, each containing
the one before it and twice its size (after Newling & Fleuret 2016, arXiv:1602.02934), until more frames would not
change the centres much; all frames are visited at the end.

    k-means++      Arthur & Vassilvitskii 2007, with several candidates a step as scikit-learn has it
    k-means||      Bahmani et al. 2012, arXiv:1203.6402

The same seed gives the same centres, bit for bit, on any number of threads and however the frames are stored: work is
cut into tiles of `TILE` frames counted from the first, every tile is one thread's with a BLAS that starts none of its
own, and what tiles add up to is added in their order, in float64.

N frames, D features, K centres. Frames are anything with a `shape` (N, D) that gives rows for a slice, float16 or
float32: an array, a memory map, or something that reads as it is asked.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from sottovoce.config.ranges import Count, Settings, ShareBelow1
from sottovoce.data.ahead import cores
from sottovoce.errors import InputError

TILE = 2048  # frames; their distances to 512 centres are 4 MB, which a core's cache nearly holds
SEEDING = 64  # frames a centre that seeds are chosen from, and that the first sample has
ROUNDS, OVERSAMPLING = 5, 0.5  # of k-means||: five rounds of K / 2 candidates each; Bahmani et al., sec. 5
NEAR = 16  # times the centres' spread about their mean: how far from 0 it may lie, squared; costs 4 bits of 24

T = TypeVar("T")


class Frames(Protocol):
    """(N, D) rows that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Config(Settings, group="clustering"):
    sample: Count = 512  # frames a centre in the largest sample
    tolerance: ShareBelow1 = 5e-4  # an iteration that lowers inertia by a smaller share is the last one on its sample
    iterations: Count = 100  # on a sample, at most
    final: Count = 1  # iterations over all frames, after samples


@dataclass(frozen=True)
class Clustering:
    """`history`: inertia at each iteration of the last Lloyd, before its centres moved."""

    centres: np.ndarray  # (K, D) float32
    history: tuple[float, ...]

    @property
    def inertia(self) -> float:
        """Sum of squared distances when they were last measured; the centres moved once more since, which lowers it."""
        return self.history[-1]


def kmeans(
    frames: Frames,
    clusters: int,
    seed: int,
    config: Config | None = None,
    *,
    workers: int | None = None,
    watch: Callable[[float], None] | None = None,
) -> Clustering:
    """Seeds, samples, then all frames.

    Args:
        frames: (N, D); read in order a few times, never kept.
        workers: threads; None = one for every core. They change the time it takes, not the result.
        watch: told the inertia a frame after every iteration.

    Raises:
        InputError: more clusters than frames, or values that are not finite.
    """
    config = config or Config()
    total = frames.shape[0]
    if not 1 <= clusters <= total:
        raise InputError(
            f"clusters: 1 to the number of frames. Found {clusters} clusters for {total} frames. "
            "Ask for fewer, or cluster more speech."
        )
    rng = np.random.default_rng(seed)
    sizes = [min(clusters * SEEDING, total)]
    while sizes[-1] < min(clusters * config.sample, total):
        sizes.append(min(2 * sizes[-1], clusters * config.sample, total))
    inside = [size for size in sizes if size < total]  # all frames are not copied but read where they lie
    sample = _sample(frames, max(inside, default=total), rng)
    if not np.isfinite(sample).all():
        raise _not_finite()
    centres = scalable(sample[: sizes[0]], clusters, rng, workers=workers)
    how: dict[str, Any] = {"tolerance": config.tolerance, "workers": workers, "watch": watch}
    for size in inside:
        centres = lloyd(sample[:size], centres, iterations=config.iterations, **how).centres
    last = config.iterations if sizes[-1] == total else config.final
    del sample
    return lloyd(frames, centres, iterations=last, **how)


def lloyd(
    frames: Frames,
    centres: np.ndarray,
    *,
    iterations: int = 100,
    tolerance: float = 0.0,
    workers: int | None = None,
    watch: Callable[[float], None] | None = None,
) -> Clustering:
    """Every frame to its nearest centre, every centre to the mean of its frames, until that gains little.

    A centre without frames goes to the frame that is farthest from its own centre (with several, to the farthest
    ones), which lowers the inertia; where there are fewer distinct frames than centres it stays.

    Args:
        centres: (K, D) to start from.
        tolerance: an iteration after which inertia has fallen by this share or less is the last; 0 = when it stands.
    """
    history: list[float] = []
    while len(history) < iterations:
        it = _assign(frames, centres, workers)
        if not np.isfinite(it.inertia):
            raise _not_finite()
        history.append(it.inertia)
        if watch:
            watch(it.inertia / frames.shape[0])
        _repair(it, frames)
        centres = it.move(centres.astype(np.float32))
        if len(history) > 1 and history[-2] - it.inertia <= tolerance * it.inertia:
            break
    return Clustering(centres, tuple(history))


def nearest(frames: Frames, centres: np.ndarray, *, workers: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of every frame, (N,) int32, and the squared distance to it, (N,) float32.

    Of equally near ones the first.
    """
    search = _Search(centres)
    labels, squared = np.empty(frames.shape[0], np.int32), np.empty(frames.shape[0], np.float32)
    for at, (_, found, apart) in _tiles(frames, search, workers):
        labels[at : at + len(found)], squared[at : at + len(found)] = found, apart
    return labels, squared


def scalable(frames: np.ndarray, k: int, rng: np.random.Generator, *, workers: int | None = None) -> np.ndarray:
    """k-means||: (n, D) -> (K, D). Candidates in a few rounds, many at a time and those far off more likely; the
    frames nearest to each are its weight, and k-means++ on these few finds the seeds."""
    candidates = frames[[rng.integers(len(frames))]].astype(np.float32)
    owner, squared = nearest(frames, candidates, workers=workers)
    for _ in range(ROUNDS):
        total = squared.sum(dtype=np.float64)
        if total == 0:
            break
        new = frames[rng.random(len(frames)) < OVERSAMPLING * k * squared / total].astype(np.float32)
        if not len(new):
            continue
        found, apart = nearest(frames, new, workers=workers)
        closer = apart < squared
        owner[closer], squared[closer] = found[closer] + len(candidates), apart[closer]
        candidates = np.concatenate([candidates, new])
    weight = np.bincount(owner, minlength=len(candidates)).astype(np.float32)
    if len(candidates) < k:  # few frames, or few that differ
        more = frames[rng.choice(len(frames), k - len(candidates), replace=False)].astype(np.float32)
        return np.concatenate([candidates, more])
    return plus_plus(candidates, k, rng, weight)


def plus_plus(frames: np.ndarray, k: int, rng: np.random.Generator, weight: np.ndarray | None = None) -> np.ndarray:
    """k-means++: (n, D) -> (K, D). Each seed is drawn in proportion to its squared distance from those before it; of
    2 + ln K drawn the one that lowers the (weighted) inertia most is kept."""
    weight = np.ones(len(frames), np.float32) if weight is None else weight
    x = frames.astype(np.float32) - frames.mean(0, dtype=np.float32)
    twice, norms = -2 * x, np.einsum("ij,ij->i", x, x)
    with _one_blas_thread():
        chosen = [int(rng.choice(len(x), p=weight / weight.sum(dtype=np.float64)))]
        closest = np.maximum(twice @ x[chosen[0]] + norms + norms[chosen[0]], 0)
        for _ in range(k - 1):
            reach = np.cumsum(closest * weight, dtype=np.float64)
            drawn = np.searchsorted(reach, rng.random(2 + int(np.log(k))) * reach[-1], side="right")
            drawn = np.minimum(drawn, len(x) - 1)
            apart = np.minimum(closest, np.maximum(x[drawn] @ twice.T + norms + norms[drawn, None], 0))
            best = int((apart @ weight).argmin())
            chosen.append(int(drawn[best]))
            closest = apart[best]
    return frames[chosen].astype(np.float32)


class _Search:
    """rows (t, D) -> rows about `shift`, label and squared distance of each.

    `shift` is the mean of the centres where that is so far from 0 that float32 would lose digits to it, else 0, and
    then float32 rows are read where they lie. A thread keeps the room for its large arrays: new ones for every tile
    cost as much as a fifth of the matrix product.
    """

    def __init__(self, centres: np.ndarray):
        mean = centres.mean(0, dtype=np.float64)
        self.near = np.square(mean).sum() <= NEAR * np.square(centres - mean).sum(1).mean()
        self.shift = (np.zeros_like(mean) if self.near else mean).astype(np.float32)
        own = centres.astype(np.float32) - self.shift
        self.twice, self.norms = np.ascontiguousarray(-2 * own), np.vecdot(own, own)
        self.kept = threading.local()

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.near:
            x = np.asarray(rows, np.float32)
        else:
            x = np.subtract(rows, self.shift, out=self._room("rows", rows.shape), dtype=np.float32)
        score = np.matmul(x, self.twice.T, out=self._room("score", (len(x), len(self.twice))))  # (t, K)
        score += self.norms
        labels = score.argmin(1)
        with np.errstate(invalid="ignore"):  # `lloyd` sees it
            least = score[np.arange(len(x)), labels] + np.vecdot(x, x)
        return x, labels, np.maximum(least, 0)

    def _room(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A thread's own float32 array of that shape; valid until it asks again."""
        kept = vars(self.kept)
        if name not in kept:
            kept[name] = np.empty((TILE, shape[1]), np.float32)
        return kept[name][: shape[0]]


@dataclass
class _Assigned:
    labels: np.ndarray  # (N,)
    squared: np.ndarray  # (N,) distances
    shift: np.ndarray  # (D,)
    sums: np.ndarray  # (K, D) of the frames of each centre, about `shift`
    counts: np.ndarray  # (K,)
    inertia: float

    def move(self, centres: np.ndarray) -> np.ndarray:
        """The means of their frames; where a centre has none it stays."""
        moved, own = centres.copy(), self.counts > 0
        moved[own] = self.shift + self.sums[own] / self.counts[own, None]
        return moved


def _assign(frames: Frames, centres: np.ndarray, workers: int | None) -> _Assigned:
    from scipy.sparse import csc_array

    search, n, k = _Search(centres), frames.shape[0], len(centres)

    def work(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, labels, squared = search(rows)
        members = csc_array((np.ones(len(x), np.float32), labels, np.arange(len(x) + 1)), shape=(k, len(x)))
        return labels, squared, members @ x

    labels, squared = np.empty(n, np.int32), np.empty(n, np.float32)
    it = _Assigned(labels, squared, search.shift, np.zeros(centres.shape), np.zeros(k, np.int64), 0.0)
    for at, (found, apart, part) in _tiles(frames, work, workers):
        labels[at : at + len(found)], squared[at : at + len(found)] = found, apart
        it.sums += part
        it.counts += np.bincount(found, minlength=k)
        it.inertia += float(apart.sum(dtype=np.float64))
    return it


def _repair(it: _Assigned, frames: Frames) -> None:
    """Every centre without frames takes one of the frames that are farthest from theirs."""
    empty = np.flatnonzero(it.counts == 0)
    if not len(empty):
        return
    for k, row in zip(empty, np.argsort(-it.squared, kind="stable")[: len(empty)], strict=True):
        old = it.labels[row]
        if it.squared[row] == 0 or it.counts[old] == 1:  # fewer distinct frames than centres
            continue
        x = frames[int(row) : int(row) + 1][0] - it.shift
        it.sums[old] -= x
        it.counts[old] -= 1
        it.sums[k], it.counts[k] = x, 1


def _tiles(frames: Frames, work: Callable[[np.ndarray], T], workers: int | None) -> Iterator[tuple[int, T]]:
    """(first frame, what `work` makes) of every tile, in order, by as many threads as there are."""
    starts = range(0, frames.shape[0], TILE)
    workers = min(workers or cores(), len(starts))

    def of(at: int) -> tuple[int, T]:
        return at, work(frames[at : at + TILE])

    with _one_blas_thread():
        if workers < 2:
            yield from map(of, starts)
            return
        with ThreadPoolExecutor(workers) as pool:
            running: deque[Future[tuple[int, T]]] = deque()
            for at in starts:
                running.append(pool.submit(of, at))
                if len(running) > 2 * workers:  # no more results in memory than that
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()


def _sample(frames: Frames, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` frames in random order; the beginning of it is a smaller sample. Read once, in order."""
    total, width = frames.shape
    rows = rng.choice(total, n, replace=False)
    order = np.argsort(rows)
    out = np.empty((n, width), frames[0:1].dtype)
    cuts = np.searchsorted(rows[order], np.arange(0, total + TILE, TILE))
    for tile, (a, b) in enumerate(pairwise(cuts)):
        if a < b:
            at = tile * TILE
            out[order[a:b]] = frames[at : at + TILE][rows[order[a:b]] - at]
    return out


def _not_finite() -> InputError:
    return InputError("frames: not finite. Found NaN or infinite values. Look at the track they come from.")


def _one_blas_thread() -> Any:
    return _threads().limit(limits=1, user_api="blas")


@cache
def _threads() -> Any:
    """What knows the BLAS of this process; looking for it takes milliseconds."""
    return ThreadpoolController()
