"""Temperature scaling (Guo et al. 2017, arXiv:1706.04599): one number makes probabilities honest; see `calibration`.

N rows, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

UNSURE = 0.5  # of calibrated confidence
SPREAD = 0.5  # of log T before dev is seen: 19 of 20 models want a T between 0.37 and 2.7
STEEPEST = 8.0  # T between its inverse and this


@dataclass(frozen=True)
class Calibration:
    """What dev says of a model's probabilities. `rows` 0: nothing, they are as they come out of the model."""

    temperature: float = 1.0
    rows: int = 0  # dev utterances
    unsure_below: float = field(default=UNSURE, init=False)  # the operating point

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """(..., K) calibrated."""
        return tempered(probabilities, self.temperature)

    @classmethod
    def fit(cls, probabilities: np.ndarray, truth: np.ndarray) -> "Calibration":
        """From dev predictions (N, K) and classes (N,) that the model has not learned from."""
        return cls(fit_temperature(probabilities, truth), len(truth))

    @classmethod
    def of_vote(cls, models: "Sequence[Calibration]") -> "Calibration":
        """Of the mean of several models' probabilities: the middle of theirs; nothing where one knows nothing."""
        if not all(m.rows for m in models):
            return cls()
        middle = float(np.exp(np.mean([math.log(m.temperature) for m in models])))
        return cls(middle, sum(m.rows for m in models))


def tempered(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """p^(1/T), normalised: (..., K), in the order it was. T may be (...,).

    >>> tempered(np.array([0.8, 0.2]), 0.5).round(3).tolist()
    [0.941, 0.059]
    """
    power = 1 / np.asarray(temperature, dtype=np.float64)[..., None]
    if (power == 1).all():
        return probabilities
    with np.errstate(divide="ignore"):  # log 0
        scores = np.log(np.asarray(probabilities, dtype=np.float64)) * power
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return (scores / scores.sum(-1, keepdims=True)).astype(np.asarray(probabilities).dtype)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The likeliest T, which few rows move little from 1, where the model itself has left it: those of a dozen labels
    would else send it to either end."""
    scores = np.log(np.maximum(probabilities, 1e-12))

    def unlikely(log_t: float) -> float:
        scaled = scores / math.exp(log_t)
        top = scaled.max(1, keepdims=True)
        logs = scaled - top - np.log(np.exp(scaled - top).sum(1, keepdims=True))
        return log_t**2 / (2 * SPREAD**2) - float(logs[np.arange(len(truth)), truth].sum())

    from scipy.optimize import minimize_scalar  # which nobody needs who only applies one

    edge = math.log(STEEPEST)
    return math.exp(float(minimize_scalar(unlikely, bounds=(-edge, edge), method="bounded").x))
