"""How good pseudo-labels are before a model learns them: use, stability, agreement with what is known.

N frames; units are whole numbers, one a frame.
"""

from collections.abc import Sequence

import numpy as np

MOST = 200_000  # frames that agreement is measured on, evenly from all


def use(units: np.ndarray, kinds: int) -> dict[str, float]:
    """How many of `kinds` units occur, and as how many equally frequent ones they spread (exp of their entropy)."""
    count = np.bincount(units, minlength=kinds)
    share = count[count > 0] / max(len(units), 1)
    return {
        "used": len(share),
        "empty": kinds - len(share),
        "perplexity": float(np.exp(-(share * np.log(share)).sum())) if len(share) else 0.0,
    }


def lasting(rows: Sequence[np.ndarray], rate_hz: float) -> dict[str, float]:
    """How long a unit goes on before another comes: mean, median and 95th percentile, ms; share of single frames.

    Args:
        rows: units (T,) of every utterance.
    """
    lengths = [np.diff(np.concatenate([[0], np.flatnonzero(np.diff(row)) + 1, [len(row)]])) for row in rows if len(row)]
    if not lengths:
        return {"mean_ms": 0.0, "median_ms": 0.0, "p95_ms": 0.0, "single": 0.0}
    whole = np.concatenate(lengths)
    ms = 1000 * whole / rate_hz
    middle, long = np.percentile(ms, [50, 95])
    return {
        "mean_ms": float(ms.mean()),
        "median_ms": float(middle),
        "p95_ms": float(long),
        "single": float((whole == 1).mean()),
    }


def against(units: np.ndarray, names: np.ndarray) -> dict[str, float]:
    """Units (N,) and what is known of the same frames (N,), e.g. their emotion.

    Returns:
        purity: share of frames that have the most frequent name of their unit; chance: of the most frequent name
        (many units are purer by chance alone, NMI much less); nmi: normalised mutual information, 0 to 1.
    """
    from sklearn.metrics import normalized_mutual_info_score

    units, names = _some(units), np.unique(_some(names), return_inverse=True)[1]
    table = np.zeros((units.max() + 1, names.max() + 1), np.int64)
    np.add.at(table, (units, names), 1)
    return {
        "purity": float(table.max(1).sum() / len(units)),
        "chance": float(table.sum(0).max() / len(units)),
        "nmi": float(normalized_mutual_info_score(names, units)),
    }


def between(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Adjusted Rand index and normalised mutual information of two labellings (N,) of the same frames: 1 = the same."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    a, b = _some(a), _some(b)
    return {"ari": float(adjusted_rand_score(a, b)), "nmi": float(normalized_mutual_info_score(a, b))}


def _some(values: np.ndarray) -> np.ndarray:
    """At most MOST of them, evenly from all."""
    return values[:: -(-len(values) // MOST)]
