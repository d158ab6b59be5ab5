"""How far a score may lie from the truth: what speakers add, what trainings add, and the test that follows from both.

A score over C speakers, averaged over S trainings (seeds), varies for two reasons. Other speakers would have given
another figure, and so would other trainings. Both are estimated from one table, (C, S): what each speaker contributes
to the score of each training.

    of speakers   the variance of the speakers' means over trainings, over C. What is peculiar to a speaker in one
                  training (their interaction, and the noise of single predictions) is in it, once.
    of trainings  the variance of the trainings' scores, over S, less the part of the interaction, which is counted
                  already. One training knows nothing of others: the interval then holds for this training.

Scores are not means (UA is a mean of ratios, CCC worse), so a speaker's contribution is its jackknife influence: the
score of all less the score without the speaker, times C - 1. The variance of the influences is the cluster jackknife,
which unlike a bootstrap with few speakers is not too small, also where speakers speak unequally much (MacKinnon,
Nielsen & Webb 2023, J. Econometrics 232:272-299). There are no replicates, so p has no floor.

The half width of an interval is sqrt(t^2 V_speakers + u^2 V_trainings), t and u being Student's quantiles with C - 1
and S - 1 degrees of freedom (Graybill & Wang 1980, JASA 75:869-873: the bounds of a sum of mean squares, "MOVER").
p is the level at which the interval touches 0, so that both always agree. Departure: with two to four trainings the
difference of two estimated variances says too little and the rule is off in both directions; `FEW_SEEDS` sets it
right, found by simulation over the ratios of the parts (`python -m bench.coverage`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95
TINY = 1e-12  # from the end of a scale, what rounding may leave
MIN_CLUSTERS = 4  # with fewer speakers than that nothing is said about the next one

# S: what the odds of the tail of t and of that of u are multiplied by; the share of the interaction that is taken off;
# how large an interaction, as a share of the variance of speakers, brings half of the first; and how many times the
# variance of trainings that of speakers is where the second is half gone. Above five as at five.
FEW_SEEDS = {
    2: (2.9, 4.0, 0.032, 0.034, 6.0),
    3: (1.87, 2.19, 0.31, 0.033, 0.61),
    4: (2.19, 1.41, 0.36, 0.12, 0.2),
    5: (1.59, 1.7, 0.47, 0.044, 0.37),
}

# Scores with an end have intervals on a scale without one: to it, back, and its slope.
LINKS: dict[str, tuple[Callable[[float], float], Callable[[float], float], Callable[[float], float]]] = {
    "share": (lambda x: math.log(x / (1 - x)), lambda y: 0.5 + 0.5 * math.tanh(y / 2), lambda x: 1 / (x * (1 - x))),
    "error": (math.log, math.exp, lambda x: 1 / x),
    "correlation": (math.atanh, math.tanh, lambda x: 1 / (1 - x * x)),
}


@dataclass(frozen=True)
class Spread:
    """A score, or a difference of two, and its variance by source. Fields may be arrays of one shape.

    Attributes:
        value: the mean over trainings.
        speakers: variance of `value` from the choice of speakers, NaN where it cannot be known.
        clusters: speakers that the score rests on.
        trainings: variance from the choice of trainings, the part of the interaction included.
        interaction: that part.
        seeds: trainings (of a difference between arms with seeds of their own: 1 + the degrees of freedom of
            `trainings`, which need not be whole). 1: nothing is known of other trainings.
    """

    value: np.ndarray | float
    speakers: np.ndarray | float
    clusters: int
    trainings: np.ndarray | float = 0.0
    interaction: np.ndarray | float = 0.0
    seeds: np.ndarray | float = 1

    def known(self) -> bool:
        """Whether an interval can be made: four speakers, and a score that is defined without any one of them."""
        return self.clusters >= MIN_CLUSTERS and bool(np.isfinite(self.value) and np.isfinite(self.speakers))

    def constant(self) -> bool:
        """Whether all speakers and trainings give the same, so that there is nothing to measure the value by."""
        return bool(max(float(self.speakers), float(self.trainings)) <= 1e-24)

    def half_width(self, alpha: float = 1 - LEVEL) -> np.ndarray:
        """Half the width of the interval, at 1 - level: a double holds that where it cannot hold the level."""
        columns = zip(*FEW_SEEDS.values(), strict=True)
        of_t, of_u, share, half, gone = (np.interp(self.seeds, list(FEW_SEEDS), column) for column in columns)
        several = np.asarray(self.seeds) > 1
        speakers, interaction = np.asarray(self.speakers, dtype=float), np.asarray(self.interaction, dtype=float)
        mixed = np.minimum(interaction / np.maximum(speakers, TINY**2), 1.0)
        of_t = np.where(several, of_t ** (mixed * (1 + half) / (mixed + half)), 1.0)
        t = stdtrit(self.clusters - 1, _tail(alpha, of_t))
        beyond = np.maximum(self.trainings - share * interaction, 0)
        of_u = of_u ** (speakers / np.maximum(speakers + gone * beyond, TINY**2))
        u = stdtrit(np.where(several, self.seeds, 2) - 1.0, _tail(alpha, of_u))
        return np.sqrt(t**2 * speakers + np.where(several, u**2 * beyond, 0))

    def bounds(self, level: float = LEVEL, link: str = "") -> tuple[float, float] | tuple[None, None]:
        """(low, high), on the scale of one of `LINKS` where it is named; None where nothing is known.

        A share that is 0 or 1 for every speaker has no spread, which does not make it certain: its interval is that of
        as many speakers without an exception (Clopper & Pearson 1934, Biometrika 26:404-413).
        """
        if not self.known():
            return None, None
        value, half = float(self.value), float(self.half_width(1 - level))
        if self.constant():
            edge = 1 - ((1 - level) / 2) ** (1 / self.clusters) if link == "share" else 0.0
            return value - edge * (value > 1 - TINY), value + edge * (value < TINY)
        if not link:
            return value - half, value + half
        there, back, slope = LINKS[link]
        inside = min(max(value, TINY if link != "correlation" else TINY - 1), 1 - TINY if link != "error" else value)
        half *= slope(inside)
        return back(there(inside) - half), back(there(inside) + half)

    def entry(self, level: float = LEVEL, link: str = "") -> dict[str, Any]:
        """{"value", "low", "high"} as results hold it; the bounds of `bounds`."""
        low, high = self.bounds(level, link)
        return {"value": float(self.value), "low": low, "high": high}

    def p_value(self) -> float | None:
        """Two-sided p that a difference is 0: the 1 - level at which the interval touches 0.

        Without spread there is nothing to hold the difference against. Sign flips over speakers then decide, and
        2^(1 - C) is the least that C speakers can show.
        """
        if not self.known():
            return None
        size = abs(float(self.value))
        if self.constant():
            return 1.0 if size <= 1e-12 else 2.0 ** (1 - self.clusters)
        least, most = math.log(1e-300), 0.0  # of log p: the half width falls as it rises
        for _ in range(64):
            middle = (least + most) / 2
            least, most = (middle, most) if self.half_width(math.exp(middle)) > size else (least, middle)
        return math.exp(most)

    def detectable(self, level: float = LEVEL, power: float = 0.8) -> float | None:
        """The smallest true difference that such a comparison finds at this level with probability `power`.

        t_level + t_power standard errors (Cohen 1988, ch. 2, up to the non-central t). None without spread.
        """
        if not self.known() or self.constant():
            return None
        error = math.sqrt(self.speakers + max(self.trainings - self.interaction, 0.0))
        return float(self.half_width(1 - level) + stdtrit(self.clusters - 1, power) * error)


def _tail(alpha: float, odds: np.ndarray) -> np.ndarray:
    """Half of alpha, its odds multiplied."""
    return 0.5 * odds * alpha / (1 - alpha + odds * alpha)


def components(scores: np.ndarray, influence: np.ndarray) -> Spread:
    """The spread of a mean over trainings.

    Args:
        scores: (..., S) the score of each training.
        influence: (..., C, S) what each speaker contributes to it. Only differences between speakers count.
    """
    clusters, seeds = influence.shape[-2:]
    if clusters < 2:
        return Spread(scores.mean(-1), np.full(scores.shape[:-1], np.nan), clusters)
    by_speaker, by_seed = influence.mean(-1), influence.mean(-2)
    speakers = by_speaker.var(-1, ddof=1) / clusters
    if seeds == 1:
        return Spread(scores.mean(-1), speakers, clusters)
    rest = influence - by_speaker[..., None] - by_seed[..., None, :] + by_speaker.mean(-1)[..., None, None]
    interaction = (rest**2).sum((-2, -1)) / ((clusters - 1) * (seeds - 1) * clusters * seeds)
    return Spread(scores.mean(-1), speakers, clusters, scores.var(-1, ddof=1) / seeds, interaction, seeds)


def difference(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], *, same_seeds: bool) -> Spread:
    """The spread of a - b on the same speakers; each is (scores, influence) as in `components`.

    `same_seeds`: training s of a belongs to training s of b. Otherwise what the trainings of each add is summed, with
    Welch's degrees of freedom; an arm with one training adds nothing, because nothing is known. Of two variances that a
    few trainings have estimated one comes out large by chance, so that Welch's degrees are too few; where both arms
    have as many trainings they are set right by E[V^2] = (1 + 2 / f) (E V)^2, up to those of all trainings.
    """
    if same_seeds:
        return components(a[0] - b[0], a[1] - b[1])
    arms = [components(*a), components(*b)]
    apart = components(np.asarray(arms[0].value - arms[1].value)[..., None], (a[1].mean(-1) - b[1].mean(-1))[..., None])
    luck = [arm for arm in arms if arm.seeds > 1]
    if not luck:
        return apart
    trainings = sum(np.asarray(arm.trainings) for arm in luck)
    terms = sum(np.asarray(arm.trainings) ** 2 / (arm.seeds - 1) for arm in luck)
    every = sum(arm.seeds - 1 for arm in luck)
    freedom = np.where(terms > 0, trainings**2 / np.where(terms > 0, terms, 1), every)
    if len(luck) == 2 and luck[0].seeds == luck[1].seeds:
        freedom = np.minimum(freedom * (1 + 4 / every) - 2, every)  # every / 2 = f of either arm, which is the least
    interaction = sum(np.asarray(arm.interaction) for arm in luck)
    return Spread(apart.value, apart.speakers, apart.clusters, trainings, interaction, 1 + freedom)


def jackknife(
    rows: np.ndarray, clusters: Sequence | np.ndarray, function: Callable[[np.ndarray], Mapping[str, np.ndarray]]
) -> dict[str, Spread]:
    """The spread of scores of sums over rows (N, M), for new clusters; `clusters` (N,) is whose each row is.

    Args:
        function: sums (..., M) -> scores (...,) by name.
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    parts = np.zeros((index.max() + 1, rows.shape[1]))
    np.add.at(parts, index, rows)
    with np.errstate(invalid="ignore", divide="ignore"):  # a speaker who is everybody: nothing without him
        whole, without = function(parts.sum(0)), function(parts.sum(0) - parts)
    return {
        name: components(np.asarray(value)[None], (len(parts) - 1) * (value - without[name])[:, None])
        for name, value in whole.items()
    }


def apart(a: Spread, b: Spread) -> Spread:
    """The spread of a - b, which have no speaker in common: variances add, with Welch's degrees of freedom."""
    value, total = float(a.value) - float(b.value), float(a.speakers) + float(b.speakers)
    if not (a.known() and b.known()):
        return Spread(value, math.nan, min(a.clusters, b.clusters))
    terms = sum(float(s.speakers) ** 2 / (s.clusters - 1) for s in (a, b))
    freedom = total**2 / terms if terms > 0 else min(a.clusters, b.clusters) - 1
    return Spread(value, total, 1 + int(freedom))
