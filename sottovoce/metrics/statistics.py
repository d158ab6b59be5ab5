"""What can be said from few speakers: intervals, paired differences, labels saved.

Utterances of one speaker (or one video) resemble each other, so it is speakers that count, and so are trainings where
there are several: `sottovoce.metrics.spread` says how both are estimated, without replicates.

    intervals            score with its confidence interval
    differences          a - b on the same speakers, each as a `Spread`
    difference_entry     it with its interval and p value, as results hold it
    curve_replicates     a learning curve and its bootstrap replicates, speakers and seeds shared by all cells
    labels_saved         how many labels the arm "scratch" needs for the same score, over how many we used
    meeting_point        the label count from which the two cannot be told apart

Labels saved are no smooth function of the scores: the other arm may never get there. Their intervals are percentiles of
bootstrap replicates that draw whole speakers (Davison & Hinkley 1997, sec. 3.8). With C clusters plain percentiles are
too narrow by about sqrt((C - 1) / C) and by normal instead of t quantiles; the tails are therefore read further out
(the expanded percentile interval of Hesterberg 2015, The American Statistician 69:371-386, sec. 5.3).

N rows, C clusters, S seeds, R replicates, M label counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from sottovoce.data.task import Task
from sottovoce.metrics import scores
from sottovoce.metrics.spread import LEVEL, MIN_CLUSTERS, Spread, components, difference

REPLICATES = 2000


@dataclass(frozen=True)
class Curve:
    """One score along M label counts: its values (M,) and their bootstrap replicates (R, M)."""

    value: np.ndarray
    replicates: np.ndarray


# ---------------------------------------------------------------------------------------------- resampling


def _numbered(clusters: Sequence | np.ndarray) -> tuple[np.ndarray, int]:
    """(N,) cluster number of every row, and C."""
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    return index.reshape(-1), len(names)


def _cluster_counts(clusters: int, n: int, seed: int) -> np.ndarray:
    """(n, C) multinomial counts. The same for every prediction, so that differences are paired."""
    rng = np.random.default_rng([seed, 0])
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=n).astype(np.float64)


def _seed_shares(seeds: int, n: int, seed: int) -> np.ndarray:
    """(n, S) shares that sum to 1. S - 1 draws of S: the variance of a mean over S seeds is then not understated
    (Rao & Wu 1988), which S draws do by (S - 1) / S, a half for two seeds."""
    if seeds == 1:
        return np.ones((n, 1))
    rng = np.random.default_rng([seed, 1])  # not stream 0: the clusters drawn do not depend on S
    return rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=n) / (seeds - 1)


@dataclass(frozen=True)
class _Sums:
    """Sums of `scores.terms`, (S, K) of all rows and (S, C, K) of each cluster: whatever a score needs."""

    task: Task
    total: np.ndarray
    by_cluster: np.ndarray
    units: tuple[int, ...] = ()  # which trainings have something in common, () = none

    def influences(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """name -> scores (S,), influences (C, S) and which clusters the score rests on (C,).

        The influence of a cluster is C - 1 times what the score loses without it; a cluster without a single "sad" is
        none of those that the recall of "sad" rests on.
        """
        of_seed = []
        for total, parts in zip(self.total, self.by_cluster, strict=True):
            whole = scores.from_sums(self.task, total)
            without, alone = (scores.from_sums(self.task, x) for x in (total - parts, parts))
            of_seed.append({name: (v, without[name], np.isfinite(alone[name])) for name, v in whole.items()})
        found = {}
        for name in of_seed[0]:
            value, less, own = (np.stack([seed[name][k] for seed in of_seed], axis=-1) for k in range(3))
            rests = (own | (less != value)).any(-1)
            with np.errstate(invalid="ignore"):  # a score that rests on one speaker is none without that one
                influence = (rests.sum() - 1) * (value - less)
            found[name] = self._by_unit(value), self._by_unit(influence), rests
        return found

    def _by_unit(self, values: np.ndarray) -> np.ndarray:
        """(..., S) -> (..., P) means of the trainings that belong together: what they share is then in the spread."""
        if not self.units:
            return values
        own = np.array(self.units)
        return np.stack([values[..., own == unit].mean(-1) for unit in np.unique(own)], axis=-1)


def _sums(
    task: Task,
    target: np.ndarray,
    predicted: np.ndarray,
    clusters: Sequence | np.ndarray,
    units: Sequence[int] | None = None,
) -> _Sums:
    runs = np.asarray(predicted)
    if runs.ndim == np.ndim(target):
        runs = runs[None]  # (S, N[, D])
    index, count = _numbered(clusters)
    if len(index) != len(target):
        raise ValueError(f"clusters has {len(index)} entries, target {len(target)}")
    if not len(runs):
        raise ValueError("predicted holds no seed")
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(count))
    rows = [scores.terms(task, target, run) for run in runs]  # (N, K) each
    parts = [np.add.reduceat(own[order], starts, axis=0) if count else own for own in rows]
    return _Sums(task, np.stack([own.sum(0) for own in rows]), np.stack(parts), tuple(units or ()))


def _replicates(
    task: Task,
    target: np.ndarray,
    predicted: np.ndarray,
    clusters: Sequence | np.ndarray,
    n: int,
    seed: int,
    units: Sequence[int] | None = None,
) -> dict[str, tuple[float, np.ndarray]]:
    """name -> (value, (R,) replicates) of the mean over seeds; R = 0 with fewer than four clusters.

    Speakers are drawn for all seeds together, so that what is peculiar to a speaker and a seed is counted once. The
    luck of the seeds is added to that: their scores, drawn too, and drawn closer by what of their variance is only
    the luck of the speakers in each.
    """
    sums = _sums(task, target, predicted, clusters, units)
    count = sums.by_cluster.shape[1]
    seeds = len(set(sums.units)) or len(sums.total)
    n = n if count >= MIN_CLUSTERS else 0
    drawn = _cluster_counts(max(count, 1), n, seed)  # (R, C)
    shares = _seed_shares(seeds, n, seed)  # (R, S)
    each = [scores.from_sums(task, drawn @ parts) for parts in sums.by_cluster]
    found = {}
    for name, (value, influence, rests) in sums.influences().items():
        own = np.stack([np.asarray(replicates[name]) for replicates in each]).mean(0)
        if seeds > 1 and rests.sum() > 1 and n:
            spread = components(value, influence[rests])
            excess = max(spread.trainings - spread.interaction, 0.0)
            luck = math.sqrt(excess / spread.trainings) if excess > 0 else 0.0
            own = own + luck * (shares @ (value - value.mean()))
        found[name] = float(value.mean()), own
    return found


# ---------------------------------------------------------------------------------- intervals and differences


def intervals(
    task: Task,
    target: np.ndarray,
    predicted: np.ndarray,
    clusters: Sequence | np.ndarray,
    *,
    units: Sequence[int] | None = None,
) -> dict[str, dict[str, float | None]]:
    """Every score with its interval for new speakers, and new trainings where there are several.

    Args:
        target: (N,) class indices or (N, D) regression targets.
        predicted: the same shape, or (S, N[, D]) for S seeds: the value is then the mean of the S scores.
        clusters: (N,) speaker or video of each row.
        units: (S,) which trainings have something in common, such as a pre-training; they then count as one.

    Returns:
        name -> {"value", "low", "high"}. With fewer than four clusters, or when the score is not defined, the
        bounds are None: nothing is known about the next speaker. A score that rests on fewer speakers than there
        are (the recall of an emotion that few of them show) has the bounds of those.
    """
    found = _sums(task, target, predicted, clusters, units).influences()
    return {
        name: components(value, influence[rests]).entry(link=_link(name))
        for name, (value, influence, rests) in found.items()
    }


def difference_entry(found: Spread, level: float = LEVEL) -> dict[str, float | None]:
    """{"value", "low", "high", "p"}: p is two-sided and below 1 - level exactly where the interval leaves 0 out; bounds
    and p are None as in `intervals`. A difference without spread has bounds only where sign flips tell it from 0, and
    says as "p_floor" that p could not be smaller.
    """
    p = found.p_value()
    entry = found.entry(level) | {"p": p}
    if p is None or p == 1 or not found.constant():
        return entry
    return entry | {"p_floor": p} | ({} if p < 1 - level else {"low": None, "high": None})


def differences(
    task: Task,
    target: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    clusters: Sequence | np.ndarray,
    *,
    same_seeds: bool = True,
    units: Sequence[int] | None = None,
) -> dict[str, Spread]:
    """name -> the difference a - b and its spread, of every score.

    Args:
        target: (N,) or (N, D).
        a, b: the same shape, or with S seeds first.
        clusters: (N,).
        same_seeds: a[s] and b[s] belong together; False takes the seeds of each on their own, of which there may then
            be different numbers.
        units: as in `intervals`, of trainings that belong together in both.

    Raises:
        ValueError: a and b have different numbers of seeds that belong together.
    """
    if same_seeds and np.shape(a) != np.shape(b):
        raise ValueError(f"a {np.shape(a)} and b {np.shape(b)} are paired and need one shape")
    left, right = (_sums(task, target, x, clusters, units).influences() for x in (a, b))
    found = {}
    for name, (value, influence, rests) in left.items():
        other, its, on = right[name]
        both = rests | on
        found[name] = difference((value, influence[both]), (other, its[both]), same_seeds=same_seeds)
    return found


def _link(name: str) -> str:
    """The scale on which a score has its interval."""
    if not scores.higher_is_better(name):
        return "error"
    return "correlation" if name.split("_")[0] in ("ccc", "pcc") else "share"


def _tail(clusters: int | None) -> float:
    """The share of replicates to cut at each end: expanded for so many resampled units, None for none."""
    plain = (1 - LEVEL) / 2
    if clusters is None:
        return plain
    return float(ndtr(math.sqrt(clusters / (clusters - 1)) * stdtrit(clusters - 1, plain)))


def correct(differences: Sequence[dict[str, Any]]) -> None:
    """Give every difference with a "p" its "p_holm", the one for having looked at all of them."""
    known = [found for found in differences if found["p"] is not None]
    for found, p in zip(known, holm([found["p"] for found in known]), strict=True):
        found["p_holm"] = p


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for having looked at all of them (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p)
    worst = 0.0
    for rank, k in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[k]))
        adjusted[k] = worst
    return adjusted


# ----------------------------------------------------------------------------------------- learning curves


def curve_replicates(
    task: Task,
    target: np.ndarray,
    predicted: Sequence[np.ndarray],
    clusters: Sequence | np.ndarray,
    *,
    n: int = REPLICATES,
    seed: int = 0,
    units: Sequence[int] | None = None,
) -> dict[str, Curve]:
    """Replicates of every score along a learning curve.

    Args:
        target: (N,) or (N, D), the test rows that all cells share.
        predicted: M cells in order of label count, each (S, N[, D]) or (N[, D]).
        clusters: (N,).

    Returns:
        name -> `Curve`. Replicate r draws the same clusters and seeds in every cell, and in every call with the
        same target rows, S, `n` and `seed`: replicates of two arms may be subtracted row by row. R = 0 with
        fewer than four clusters.

    Raises:
        ValueError: cells with different numbers of seeds, which could not be paired.
    """
    if len({np.shape(cell) for cell in predicted}) != 1:
        raise ValueError(f"cells differ in shape: {sorted({np.shape(cell) for cell in predicted})}")
    cells = [_replicates(task, target, cell, clusters, n, seed, units) for cell in predicted]
    return {
        name: Curve(np.array([c[name][0] for c in cells]), np.stack([c[name][1] for c in cells], axis=1))
        for name in cells[0]
    }


def labels_saved(
    n: Sequence[int],
    a: np.ndarray,
    b: np.ndarray,
    *,
    values: tuple[np.ndarray, np.ndarray] | None = None,
    higher_is_better: bool = True,
    clusters: int | None = None,
) -> list[dict[str, float | bool | None]]:
    """How many labels the other arm `b` needs to reach the score that `a` has at n[i], over n[i].

    The curve of b is made monotone (isotonic regression: noise must not let it fall) and read linearly in log n.

    Args:
        n: (M,) label counts, rising.
        a, b: (R, M) paired replicates of the scores.
        values: the two curves themselves, (M,) each; default the means of the replicates.
        clusters: how many are resampled, for which the tails are expanded; None leaves plain percentiles.

    Returns:
        For every n[i] a dict with
        "factor": 2 means that b needs twice the labels;
        "low", "high": interval; None where the data set no bound on that side;
        "censored": True where a is better than b ever is: the factor is then n[-1] / n[i], a lower bound;
        "at_most": True where b is as good already at n[0]: the factor is then n[0] / n[i], an upper bound.
    """
    count = np.asarray(n, dtype=np.float64)
    if count.ndim != 1 or not (np.diff(count) > 0).all() or not count[0] > 0:
        raise ValueError(f"label counts rise and are above 0; got {list(n)}")
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.shape[1:] != count.shape:
        raise ValueError(f"a {a.shape} and b {b.shape} are (R, M) with M = {len(count)}")
    sign = 1 if higher_is_better else -1
    point_a, point_b = (x.mean(0) for x in (a, b)) if values is None else (np.asarray(v) for v in values)
    factor = _needed(count, sign * point_a[None], sign * point_b[None])[0] / count  # 0 and inf: outside the grid
    replicates = _needed(count, sign * a, sign * b) / count  # (R, M)
    tail = _tail(clusters) if len(a) else 0.5
    found: list[dict[str, float | bool | None]] = []
    for i, f in enumerate(factor):
        least, most = count[0] / count[i], count[-1] / count[i]
        known = np.sort(replicates[:, i][~np.isnan(replicates[:, i])])
        low = high = None
        if len(known):  # order statistics: nothing can be interpolated next to infinity
            edge = int(tail * len(known))
            low, high = float(known[edge]), float(known[-1 - edge])
            low = None if low == 0 else min(low, most)
            high = None if high == math.inf else max(high, least)
        ends = {"low": low, "high": high, "censored": bool(f == math.inf), "at_most": bool(f == 0)}
        found.append({"factor": float(np.clip(f, least, most)), **ends})
    return found


def _needed(n: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(R, M) label count at which monotone b reaches a; 0 = at n[0] or before, inf = nowhere on the grid."""
    b = isotonic(b)
    reached = b[:, None, :] >= a[:, :, None] - 1e-12  # (R, i, j): b at n[j] is as good as a at n[i]
    first = np.argmax(reached, axis=-1)  # (R, i)
    before = np.maximum(first - 1, 0)
    high, low = np.take_along_axis(b, first, 1), np.take_along_axis(b, before, 1)
    rise = np.where(high > low, high - low, 1.0)
    share = np.clip((a - low) / rise, 0, 1)
    needed = np.exp(np.log(n)[before] * (1 - share) + np.log(n)[first] * share)
    needed = np.where(b[:, :1] > a + 1e-12, 0.0, needed)  # equal at n[0] is known to be n[0]
    needed = np.where(reached.any(-1), needed, np.inf)
    return np.where(np.isnan(a) | np.isnan(b).any(-1, keepdims=True), np.nan, needed)


def isotonic(y: np.ndarray) -> np.ndarray:
    """Least-squares rising fit of every row of (R, M); a row that is not finite stays as it is.

    >>> isotonic(np.array([[1.0, 3.0, 2.0, 4.0]])).tolist()
    [[1.0, 2.5, 2.5, 4.0]]
    """
    from scipy.optimize import isotonic_regression

    fits = [isotonic_regression(row).x if np.isfinite(row).all() else row for row in np.asarray(y, float)]
    return np.reshape(fits, np.shape(y))  # of no rows as well


def counting_dev(saved: Mapping[str, float | bool | None], n: float, dev: float) -> dict[str, float | None]:
    """Labels saved where the `dev` labels that both arms chose with are counted like the n they were taught with.

    >>> counting_dev({"factor": 4.0, "low": 2.0, "high": None}, n=10, dev=20)
    {'factor': 2.0, 'low': 1.3333333333333333, 'high': None}
    """
    factors = {key: saved[key] for key in ("factor", "low", "high")}
    return {key: None if f is None else (f * n + dev) / (n + dev) for key, f in factors.items()}


def meeting_point(
    n: Sequence[int], differences: Sequence[Mapping[str, float | None]], *, higher_is_better: bool = True
) -> int | None:
    """The smallest label count from which on an arm is no longer ahead of the other.

    Ahead means that the whole interval of its paired difference ("low" to "high", one a count) is on the better side
    of 0. None when it is ahead up to the last label count.
    """
    ends = [d["low"] if higher_is_better else d["high"] for d in differences]
    ahead = [end is not None and (end > 0 if higher_is_better else end < 0) for end in ends]
    first = len(ahead) - ahead[::-1].index(True) if any(ahead) else 0
    return int(n[first]) if first < len(n) else None
