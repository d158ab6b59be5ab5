"""Real speech with what the original COVAREP made of it; lies in SOTTOVOCE_DATA/covarep_reference."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SPEECH = (
    *("alsa_front_center", "arctic_a0007", "arctic_a0009", "arctic_bdl1", "cards_002", "db_cresc_a_d4"),
    *("goforward", "jfk", "lj001_0002", "lj001_0013", "sense_0870", "sense_0880"),
)
EDGE = ("edge/inverted_arctic_a0009", "edge/short_0p90s", "edge/white_noise")  # as exact as speech
SILENT = "edge/digital_silence"
SIGNALS = ("arctic_a0007", "cards_002", "lj001_0002")  # with residual, flow and its derivative


@dataclass(frozen=True)
class Reference:
    """A recording, and the arrays that belong to it by name, `truth.features` (T, 74) among them."""

    samples: np.ndarray  # (N,) float64 at 16 kHz
    arrays: dict[str, np.ndarray]

    def __getattr__(self, name: str) -> Any:
        return self.arrays[name]

    @property
    def upright(self) -> np.ndarray:
        """(N,) the samples times the polarity that the original found."""
        return self.samples * float(self.polarity)


@cache
def load(name: str) -> Reference:
    """Skips the test where the data is not there."""
    import soundfile

    folder = Path(os.environ.get("SOTTOVOCE_DATA", "")) / "covarep_reference"
    if not os.environ.get("SOTTOVOCE_DATA") or not folder.is_dir():
        pytest.skip("SOTTOVOCE_DATA is not set, or holds no covarep_reference")
    samples, rate_hz = soundfile.read(folder / f"{name}.wav", dtype="float64")
    assert rate_hz == 16_000
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        return Reference(samples, dict(file))
