"""Relative attributes: how strongly an emotion is expressed, learned from "this one more than that one".

Parikh & Grauman, "Relative attributes", ICCV 2011, sec. 3.1: a linear ranking function w for each attribute, here
for each emotion. Every emotional utterance (E) is above every neutral one (N), those of a class are alike:

    minimise  1/2 |w|^2 + C / |O| ( sum over ordered pairs of max(0, 1 - w (x_i - x_j))^2
                                  + sum over similar pairs of (w (x_i - x_j))^2 )

The slacks are quadratic as in the paper. Its C counts pairs; ours is divided by |O|, the number of ordered pairs, so
that it means the same for a hundred utterances and for ten thousand. The pairs are never made: sums over all of
them follow from sorted scores (ordered) and from variances (similar), so value and gradient cost N log N, and
SciPy's L-BFGS finds the minimum of a convex function.

P emotional rows, Q neutral rows, F features.
"""

from dataclasses import dataclass

import numpy as np

from sottovoce.errors import InputError

SLACK = 0.1  # C; of 0.01 to 1000 the one that orders the dev speakers of RAVDESS best (2026-11-21)


@dataclass(frozen=True)
class Ranking:
    """A ranking function on standardised features, and the range it had where it was fitted."""

    weight: np.ndarray  # (F,)
    low: float
    high: float

    def raw(self, x: np.ndarray) -> np.ndarray:
        """(N, F) -> (N,) on a scale of its own; only the order means anything."""
        return np.asarray(x, dtype=np.float64) @ self.weight

    def score(self, x: np.ndarray) -> np.ndarray:
        """(N, F) -> (N,) in 0..1: the range of the training rows, clipped to it."""
        return np.clip((self.raw(x) - self.low) / (self.high - self.low), 0, 1)


@dataclass(frozen=True)
class Scale:
    """Standardisation fitted on training rows; what is not finite becomes the mean."""

    mean: np.ndarray  # (F,)
    std: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> "Scale":
        finite = np.where(np.isfinite(x), x, np.nan).astype(np.float64)
        count = np.isfinite(finite).sum(0)
        mean = np.nansum(finite, 0) / np.maximum(count, 1)
        std = np.sqrt(np.nansum((finite - mean) ** 2, 0) / np.maximum(count, 1))
        return cls(mean, np.where(std > 1e-9 * (1 + np.abs(mean)), std, 1.0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (np.where(np.isfinite(x), x, self.mean) - self.mean) / self.std


def fit(emotional: np.ndarray, neutral: np.ndarray, *, slack: float = SLACK) -> Ranking:
    """The ranking function of one emotion.

    Args:
        emotional: (P, F) standardised features of one emotion's training utterances.
        neutral: (Q, F) of the neutral ones.
        slack: C, what a violated pair costs against a long w.

    Raises:
        InputError: a side without rows, or features that do not tell any two rows apart.
    """
    from scipy.optimize import minimize

    e, n = np.asarray(emotional, dtype=np.float64), np.asarray(neutral, dtype=np.float64)
    if not len(e) or not len(n):
        raise InputError(
            f"ranking: both sides are needed. Found {len(e)} emotional and {len(n)} neutral utterances. "
            "Use other folds."
        )
    found = minimize(
        lambda w: objective(w, e, n, slack),
        np.zeros(e.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-13, "gtol": 1e-9},
    )
    values = np.concatenate([e, n]) @ found.x
    if not np.ptp(values) > 0:
        raise InputError(
            f"ranking: nothing to rank by. Found {e.shape[1]} features that are the same in all {len(values)} "
            "utterances. Look at the recordings."
        )
    return Ranking(found.x, float(values.min()), float(values.max()))


def objective(w: np.ndarray, e: np.ndarray, n: np.ndarray, slack: float) -> tuple[float, np.ndarray]:
    """Value and gradient (F,) of what `fit` minimises, over all pairs."""
    s, t = e @ w, n @ w  # (P,), (Q,)
    ordered, of_s, of_t = hinge(s - 1, t)
    price = slack / (len(e) * len(n))
    value = 0.5 * w @ w + price * ordered
    of_s, of_t = price * of_s, price * of_t
    for scores, slope in ((s, of_s), (t, of_t)):  # sum over i < j of (s_i - s_j)^2 = P sum (s_i - mean)^2
        apart = scores - scores.mean()
        value += price * len(scores) * (apart @ apart)
        slope += 2 * price * len(scores) * apart
    return float(value), w + of_s @ e + of_t @ n


def hinge(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Sum over all i, j of max(0, b_j - a_i)^2, and its slopes by a (P,) and by b (Q,), in N log N."""
    rising, order = np.sort(b), np.argsort(b)
    first = np.searchsorted(rising, a)  # b[first:] lie above a
    count = len(b) - first
    total = np.concatenate([np.cumsum(rising[::-1])[::-1], [0.0]])[first]
    square = np.concatenate([np.cumsum(rising[::-1] ** 2)[::-1], [0.0]])[first]
    value = (square - 2 * a * total + count * a**2).sum()
    by_a = -2 * (total - count * a)
    below = np.sort(a)
    last = np.searchsorted(below, rising, side="left")  # a[:last] lie below b
    by_b = np.empty_like(b)
    by_b[order] = 2 * (last * rising - np.concatenate([[0.0], np.cumsum(below)])[last])
    return float(value), by_a, by_b
