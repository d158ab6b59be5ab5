"""Polarity: is a recording upside down? The sign that lets glottal closures point the way later steps expect.

Drugman, "Residual excitation skewness for automatic speech polarity detection", IEEE Signal Processing Letters 20(4),
2013: the excitation of speech is skewed, and its skewness grows in the direction of the closures when whitening sees
all of the spectrum instead of the high frequencies alone. A statistic of the whole recording.
"""

import numpy as np

from sottovoce.tracks.covarep.conventions import high_pass, skewness
from sottovoce.tracks.covarep.residual import FRAME, lp_residual

ORDER = 18
CUTOFF_HZ, EDGE_HZ = 480.0, 500.0


def polarity(samples: np.ndarray) -> int:
    """+1, or -1 when the recording should be multiplied by -1. Silence, or less than a frame (25 ms), gives +1.

    Args:
        samples: (N,) at 16 kHz.
    """
    if len(samples) <= FRAME:
        return 1
    high = high_pass(samples, CUTOFF_HZ, EDGE_HZ)
    difference = _skewness(samples, None) - _skewness(samples, high)
    return -1 if difference < 0 else 1


def _skewness(samples: np.ndarray, predict: np.ndarray | None) -> float:
    return skewness(np.nan_to_num(lp_residual(samples, ORDER, predict=predict), copy=False))
