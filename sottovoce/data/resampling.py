"""Other rates: soxr, at its high quality.

It is imported when a recording needs it, so that an exported model hears recordings at 16 kHz without.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sottovoce.errors import needs


def resampled(samples: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """(N,) at one rate -> at another, as one piece."""
    return _soxr(from_hz, to_hz).resample(samples, from_hz, to_hz, quality="HQ")


def streamed(chunks: Iterable[np.ndarray], from_hz: float, to_hz: float, *shape: int) -> Iterator[np.ndarray]:
    """Chunks (n, *shape) of float32 -> the same at another rate, as one piece; `shape` is (C,) of several channels."""
    resampler = _soxr(from_hz, to_hz).ResampleStream(from_hz, to_hz, *shape or (1,), dtype="float32", quality="HQ")
    for chunk in chunks:
        yield resampler.resample_chunk(np.ascontiguousarray(chunk))
    yield resampler.resample_chunk(np.zeros((0, *shape), np.float32), last=True)


def _soxr(from_hz: float, to_hz: float) -> Any:
    with needs(
        f"a recording at {from_hz:g} Hz: becomes one at {to_hz:g} Hz by soxr. Found none. Install it: pip install soxr."
    ):
        import soxr
    return soxr
