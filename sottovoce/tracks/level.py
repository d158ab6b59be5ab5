"""Level: RMS of every 32 ms in dB below full scale, at the frames of the intensity tracks (62.5 Hz)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sottovoce.data.track import Track
from sottovoce.tracks import _centred


@dataclass(frozen=True)
class Config(_centred.Frames):
    """Windows as in `_centred.Frames`, then:"""

    floor_db: float = -80.0  # digital silence, and all that is softer
    dim: ClassVar[int] = 1


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) in [-1, 1] -> values (T,) float32 dB, 0 = a square wave at full scale."""
    parts = _centred.frames(wave.values, config)
    power = np.einsum("tw,tw->t", parts, parts) / config.window
    decibel = 10 * np.log10(np.maximum(power, np.finfo(np.float32).tiny))
    return Track(np.maximum(decibel, config.floor_db).astype(np.float32), config.rate_hz, wave.offset_s)
