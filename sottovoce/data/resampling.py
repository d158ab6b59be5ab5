"""Other rates: soxr, at its high quality.

It is imported when a recording needs it, so that an exported model hears recordings at 16 kHz without.
"""

from typing import Any

import numpy as np

from sottovoce.errors import InputError


def resampled(samples: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """(N,) at one rate -> at another, as one piece."""
    return _soxr(from_hz, to_hz).resample(samples, from_hz, to_hz, quality="HQ")


def stream(from_hz: float, to_hz: float, channels: int = 1) -> Any:
    """What turns chunks into the other rate: `resample_chunk(samples, last=False)`."""
    return _soxr(from_hz, to_hz).ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")


def _soxr(from_hz: float, to_hz: float) -> Any:
    try:
        import soxr
    except ImportError:
        raise InputError(
            f"a recording at {from_hz:g} Hz: becomes one at {to_hz:g} Hz by soxr. Found none. Install it: pip install "
            "soxr."
        ) from None
    return soxr
