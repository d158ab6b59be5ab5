"""Waveform: the samples themselves, 16 kHz, for models that start from them."""

from dataclasses import dataclass
from typing import ClassVar

from sottovoce.data.audio import RATE_HZ
from sottovoce.data.track import Track


@dataclass(frozen=True)
class Config:
    """Nothing to set."""

    rate_hz: ClassVar[float] = float(RATE_HZ)
    dim: ClassVar[int] = 1


def make(wave: Track, config: Config) -> Track:
    """The waveform as it is: values (N,) float32."""
    return wave
