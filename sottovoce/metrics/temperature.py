"""Temperature scaling (Guo et al. 2017, arXiv:1706.04599): one number makes probabilities honest; see `calibration`.

N rows, K classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

UNSURE = 0.5  # of calibrated confidence
STEEPEST = 8.0  # T between its inverse and this: few rows, all of them right, would send it to 0


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
    """The T of the highest likelihood. As in Platt 1999 the truth is not taken for certain: of N + K draws one falls to
    every other class."""
    n, k = probabilities.shape
    goal = np.full((n, k), 1 / (n + k))
    goal[np.arange(n), truth] = (n + 1) / (n + k)
    scores = np.log(np.maximum(probabilities, 1e-12))

    def unlikely(log_t: float) -> float:
        scaled = scores / math.exp(log_t)
        top = scaled.max(1, keepdims=True)
        logs = scaled - top - np.log(np.exp(scaled - top).sum(1, keepdims=True))
        return -float((goal * logs).sum())

    from scipy.optimize import minimize_scalar  # which nobody needs who only applies one

    edge = math.log(STEEPEST)
    return math.exp(float(minimize_scalar(unlikely, bounds=(-edge, edge), method="bounded").x))
