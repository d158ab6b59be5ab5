"""Several raters a recording: how far they agree, and how near a model comes to what they said together.

N recordings, K classes. Formulas are in docs/metrics.md.
"""

from collections.abc import Sequence

import numpy as np

from sottovoce.metrics.spread import jackknife

FLOOR = 1e-6  # of a predicted share: what a model calls impossible costs 14 nats, not infinitely many


def krippendorff_alpha(counts: np.ndarray) -> float:
    """Agreement of any number of raters on classes, corrected for chance: 1 = all alike, 0 = as by chance.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), nominal data; raters may differ from recording
    to recording, and recordings with fewer than two do not count.

    Args:
        counts: (N, K) votes; a vote that is split among words counts in parts.

    Returns:
        NaN where no recording has two votes, or all votes are for one class.
    """
    counts = np.asarray(counts, dtype=np.float64)
    counts = counts[counts.sum(1) >= 2]
    of_unit, of_class, n = counts.sum(1), counts.sum(0), counts.sum()
    expected = (n**2 - (of_class**2).sum()) / (n - 1) if n > 1 else 0.0
    if not expected > 0:
        return float("nan")
    return float(1 - ((of_unit**2 - (counts**2).sum(1)) / (of_unit - 1)).sum() / expected)


def divergences(said: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """How far predicted shares are from those of the raters, a figure a recording, in nats.

    Args:
        said, predicted: (N, K) shares that sum to 1.

    Returns:
        "kl": Kullback-Leibler divergence of `predicted` from `said`, 0 or more; "js": Jensen-Shannon divergence, 0 to
        ln 2, the same whichever is which.

    >>> found = divergences(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.5, 0.5]]))
    >>> found["kl"].round(3).tolist(), found["js"].round(3).tolist()
    ([0.0, 0.693], [0.0, 0.216])
    """
    p, q = np.asarray(said, dtype=np.float64), np.maximum(np.asarray(predicted, dtype=np.float64), FLOOR)
    q = q / q.sum(1, keepdims=True)
    middle = (p + q) / 2
    return {"kl": _kl(p, q), "js": (_kl(p, middle) + _kl(q, middle)) / 2}


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0) / q), 0.0).sum(1)


def distances(
    said: np.ndarray, predicted: np.ndarray, clusters: Sequence | np.ndarray
) -> dict[str, dict[str, float | None]]:
    """Means of `divergences` with intervals over whole speakers: {"kl", "js"} -> {"value", "low", "high"}."""
    found = divergences(said, predicted)
    rows = np.stack([np.ones(len(said)), *found.values()], axis=1)
    means = jackknife(rows, clusters, lambda sums: {n: sums[..., k] / sums[..., 0] for k, n in enumerate(found, 1)})
    return {name: mean.entry(link="error") for name, mean in means.items()}
