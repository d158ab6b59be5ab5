"""Polarity: is a recording upside down? The sign that lets glottal closures point the way later steps expect.

Drugman, "Residual excitation skewness for automatic speech polarity detection", IEEE Signal Processing Letters 20(4),
2013: the excitation of speech is skewed, and its skewness grows in the direction of the closures when whitening sees
all of the spectrum instead of the high frequencies alone. A statistic of the whole recording.
"""

import numpy as np

from sottovoce.tracks.covarep.conventions import BLOCK, chunks, high_pass
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
    plain, whitened_high = (_skewness(lp_residual(samples, ORDER, predict=p)) for p in (None, high))
    return -1 if plain < whitened_high else 1


def _skewness(x: np.ndarray) -> float:
    """Third standardised moment of (N,), NaN counting as 0, without correction for N; NaN for a constant."""
    for part in chunks(len(x), BLOCK):
        np.nan_to_num(x[part], copy=False)
    mean = x.mean()
    powers = np.zeros(2)
    for part in chunks(len(x), BLOCK):
        centred = x[part] - mean
        powers += (centred**2).sum(), (centred**3).sum()
    second, third = powers / len(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(third / second**1.5)
