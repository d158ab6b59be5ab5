"""Mel filters of Slaney's Auditory Toolbox, as librosa makes them: linear below 1 kHz and logarithmic above."""

from functools import lru_cache

import numpy as np

from sottovoce.data.audio import RATE_HZ
from sottovoce.tracks._kaldi import triangles

LINEAR_HZ = 200 / 3  # of one mel below 1 kHz
KNEE_HZ, KNEE_MEL = 1000.0, 15.0
LOG_STEP = np.log(6.4) / 27  # of one mel above


@lru_cache(maxsize=16)
def mel_filters(bins: int, size: int) -> np.ndarray:
    """(F, M) float32 triangles of area 1 (per Hz), F = size // 2 + 1, from 0 Hz to the Nyquist frequency.

    Raises ValueError when a filter is so narrow that it holds no frequency.
    """
    nyquist = RATE_HZ / 2
    top = KNEE_MEL + np.log(nyquist / KNEE_HZ) / LOG_STEP
    mels = np.linspace(0, top, bins + 2)
    edges = np.where(mels < KNEE_MEL, mels * LINEAR_HZ, KNEE_HZ * np.exp(LOG_STEP * (mels - KNEE_MEL)))
    filters = triangles(edges, np.linspace(0, nyquist, size // 2 + 1), size)
    return (filters * 2 / (edges[2:] - edges[:-2])).astype(np.float32)
