"""Whether a classifier's confidence can be trusted, and what it gains by saying "unsure": a part of `evaluate`.

Temperatures were fitted on every fold's dev part, in `finetune`, and are saved with its model. The test part is read
once, for the answers and for this.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.evaluation.answered import Answered
from sottovoce.metrics import calibration
from sottovoce.metrics.temperature import UNSURE, Calibration, tempered

POINTS = 100  # of the risk-coverage curve that are kept


def report(got: Answered, trusted: Sequence[Calibration]) -> dict[str, Any]:
    """Calibration error and Brier score before and after, reliability by confidence, risk by coverage, and the
    operating point.

    Args:
        trusted: (N,) what the model of each row was calibrated by.
    """
    temperatures = np.array([c.temperature for c in trusted])
    probabilities, truth = got.prediction, got.truth
    raw = tempered(probabilities, 1 / temperatures)
    confidence = probabilities.max(1)
    coverage, risk, threshold = calibration.risk_coverage(confidence, got.predicted == truth)
    kept = np.unique(np.linspace(0, len(risk) - 1, POINTS).round().astype(int))
    return {
        "fitted_on": "dev" if all(c.rows for c in trusted) else None,
        "temperatures": sorted({float(t) for t in temperatures}),
        "metrics": calibration.measured(calibration.terms(probabilities, truth), got.people),
        "before": calibration.measured(calibration.terms(raw, truth), got.people),
        "perfect_ece": calibration.chance_error(confidence),
        "reliability": calibration.reliability(probabilities, truth),
        "reliability_before": calibration.reliability(raw, truth),
        "aurc": calibration.area(coverage, risk),
        "risk_coverage": [
            {"coverage": float(coverage[k]), "risk": float(risk[k]), "threshold": float(threshold[k])} for k in kept
        ],
        "operating_point": operating_point(got),
    }


def operating_point(got: Answered) -> dict[str, Any]:
    """How many of the utterances are answered where "unsure" may be said, and how right those answers are."""
    answered = got.prediction.max(1) >= UNSURE
    both = np.stack([np.ones(len(answered)), answered], axis=1)
    found = calibration.measured(both, got.people, lambda s: {"answered": s[..., 1] / s[..., 0]})
    scores = got.some(answered).intervals() if answered.any() else {}
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
