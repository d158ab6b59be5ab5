"""How far a classifier's probabilities can be trusted, and what it gains by not answering where it is unsure.

    temperature        one number T > 0: probabilities become p^(1/T), normalised; the order of the answers stays
                       (temperature scaling, Guo et al. 2017, arXiv:1706.04599). Fitted on dev by likelihood.
    calibration error  ECE: how far confidence and accuracy lie apart, in bins of confidence. A perfect model of N rows
                       does not have 0; `chance_error` says what it has.
    Brier score        squared error of all probabilities, summed over classes (Brier 1950): 0 is perfect, 2 the worst
    risk-coverage      share of wrong answers among the share that is answered, surest first; its mean is AURC
                       (Geifman & El-Yaniv 2017, arXiv:1705.08500)
    operating point    "unsure" is said below a confidence of `UNSURE`: of a calibrated model's answers, those that are
                       rather wrong than right (Chow 1970, IEEE Trans. Inf. Theory 16:41-46, where no answer costs half
                       of a wrong one). A threshold fitted on a dev part of a few speakers is mostly their luck.

N rows, K classes, C speakers, B bins.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sottovoce.metrics.spread import jackknife

BINS = 15  # of equal width, as in most papers


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(coverage, risk, threshold), a point for every confidence that occurs, surest first. Equally sure answers are
    given together."""
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.diff(confidence[order], append=-1.0))  # of every run of equal values
    answered = np.arange(1, len(order) + 1)[last]
    return answered / len(order), np.cumsum(~right[order])[last] / answered, confidence[order][last]


def area(coverage: np.ndarray, risk: np.ndarray) -> float:
    """AURC: the mean risk over coverages."""
    return float((np.diff(np.r_[0.0, coverage]) * risk).sum())


# ---------------------------------------------------------------------------------------- errors and their intervals


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """(N,) which of `BINS` a confidence is in; a border belongs to the lower one."""
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def terms(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N, 3 B + 2) what each row adds to the sums of `scores`: rows, confidence and right answers of every bin, the
    squared error and the log likelihood."""
    rows = np.arange(len(truth))
    confidence, chosen = probabilities.max(1), probabilities.argmax(1)
    found = np.zeros((len(truth), 3 * BINS + 2))
    where = bin_of(confidence)
    found[rows, where], found[rows, BINS + where] = 1.0, confidence
    found[rows, 2 * BINS + where] = chosen == truth
    found[:, -2] = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(1)
    found[:, -1] = np.log(np.maximum(probabilities[rows, truth], 1e-12))
    return found


def scores(sums: np.ndarray) -> dict[str, np.ndarray]:
    """ECE, Brier score and negative log likelihood from sums (..., 3 B + 2) of `terms`."""
    count, confidence, right = (sums[..., k * BINS : (k + 1) * BINS] for k in range(3))
    n = count.sum(-1)
    return {"ece": np.abs(confidence - right).sum(-1) / n, "brier": sums[..., -2] / n, "nll": -sums[..., -1] / n}


LINKS = {"ece": "share", "brier": "error", "nll": "error", "answered": "share", "right_of_answered": "share"}


def measured(
    rows: np.ndarray,
    clusters: Sequence | np.ndarray,
    function: Callable[[np.ndarray], Mapping[str, np.ndarray]] = scores,
) -> dict[str, dict[str, Any]]:
    """{name: {"value", "low", "high"}} of scores of sums over rows (N, M), see `jackknife`; for new speakers."""
    return {name: s.entry(link=LINKS.get(name, "")) for name, s in jackknife(rows, clusters, function).items()}


def chance_error(confidence: np.ndarray, draws: int = 200, seed: int = 0) -> float:
    """The calibration error that a perfect model of these confidences (N,) has on average, as N is finite."""
    rng = np.random.default_rng(seed)
    where = bin_of(confidence)
    right = rng.random((draws, len(confidence))) < confidence
    gaps = [np.abs((right - confidence)[:, where == b].sum(1)) for b in np.unique(where)]
    return float(np.sum(gaps, axis=0).mean() / len(confidence))


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> list[dict[str, float]]:
    """A row for every bin of confidence that is not empty: its edges, rows, mean confidence and accuracy."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    where = bin_of(confidence)
    return [
        {"from": b / BINS, "to": (b + 1) / BINS, "n": int((own := where == b).sum()),
         "confidence": float(confidence[own].mean()), "accuracy": float(right[own].mean())}
        for b in np.unique(where).tolist()
    ]  # fmt: skip
