"""Waveform: the samples themselves, 16 kHz, for models that start from them."""

from dataclasses import dataclass

from sottovoce.data.audio import RATE_HZ
from sottovoce.data.track import Track


@dataclass(frozen=True)
class Config:
    """Nothing to set."""

    @property
    def rate_hz(self) -> float:
        return float(RATE_HZ)

    @property
    def dim(self) -> int:
        return 1


def make(wave: Track, config: Config) -> Track:
    """The waveform as it is: values (N,) float32."""
    return wave
