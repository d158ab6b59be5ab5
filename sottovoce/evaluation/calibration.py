"""Whether a classifier's confidence can be trusted, and what it gains by saying "unsure": a part of `evaluate`.

Temperatures were fitted on every fold's dev part, in `finetune`, and are saved with its model. The test part is read
once, for the answers and for this.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.data.task import Task
from sottovoce.metrics import calibration, statistics
from sottovoce.metrics.temperature import UNSURE, Calibration, tempered

POINTS = 100  # of the risk-coverage curve that are kept


def report(
    task: Task, truth: np.ndarray, probabilities: np.ndarray, clusters: Sequence[str], trusted: Sequence[Calibration]
) -> dict[str, Any]:
    """Calibration error and Brier score before and after, reliability by confidence, risk by coverage, and the
    operating point.

    Args:
        truth: (N,) classes.
        probabilities: (N, K) calibrated.
        clusters: (N,) speaker or video of each row.
        trusted: (N,) what the row's model was calibrated by.
    """
    temperatures = np.array([c.temperature for c in trusted])
    raw = tempered(probabilities, 1 / temperatures)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    coverage, risk, threshold = calibration.risk_coverage(confidence, right)
    kept = np.unique(np.linspace(0, len(risk) - 1, POINTS).round().astype(int))
    return {
        "fitted_on": "dev" if all(c.rows for c in trusted) else None,
        "temperatures": sorted({float(t) for t in temperatures}),
        "metrics": calibration.measured(calibration.terms(probabilities, truth), clusters),
        "before": calibration.measured(calibration.terms(raw, truth), clusters),
        "perfect_ece": calibration.chance_error(confidence),
        "reliability": calibration.reliability(probabilities, truth),
        "reliability_before": calibration.reliability(raw, truth),
        "aurc": calibration.area(coverage, risk),
        "risk_coverage": [
            {"coverage": float(coverage[k]), "risk": float(risk[k]), "threshold": float(threshold[k])} for k in kept
        ],
        "operating_point": operating_point(task, truth, probabilities, clusters),
    }


def operating_point(
    task: Task, truth: np.ndarray, probabilities: np.ndarray, clusters: Sequence[str]
) -> dict[str, Any]:
    """How many of the utterances are answered where "unsure" may be said, and how right those answers are."""
    answered = probabilities.max(1) >= UNSURE
    both = np.stack([np.ones(len(truth)), answered], axis=1)
    found = calibration.measured(both, clusters, lambda s: {"answered": s[..., 1] / s[..., 0]})
    own = [c for c, there in zip(clusters, answered, strict=True) if there]
    scores = {}
    if own:
        scores = statistics.intervals(task, truth[answered], probabilities[answered].argmax(1), own)
    return {
        "threshold": UNSURE,
        "coverage": found["answered"],
        "answered": {name: scores.get(name) for name in ("ua", "wa")},
    }


def write(folder: Path, found: Mapping[str, Any] | None) -> None:
    """calibration.csv: reliability by confidence. risk_coverage.csv: the curve. Nothing for numbers."""
    if found:
        files.write_csv(folder / "calibration.csv", found["reliability"])
        files.write_csv(folder / "risk_coverage.csv", found["risk_coverage"])
