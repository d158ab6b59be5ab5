"""What can be heard: a file, the bytes of one, samples in memory, a stream."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sottovoce.data import resampling
from sottovoce.errors import InputError
from sottovoce.inference.timeline import RATE_HZ

Samples = tuple[Any, int]  # (N,) or (N, C), samples a second


@contextmanager
def as_file(source: Path | str | bytes | Samples) -> Iterator[Path]:
    """A path to read a source from; what was in memory is gone from the disk afterwards.

    Raises InputError for samples that are none.
    """
    if isinstance(source, (str, Path)):
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="sottovoce-") as folder:
        path = Path(folder) / "samples"
        if isinstance(source, (bytes, bytearray, memoryview)):
            path.write_bytes(source)
        else:
            _write(path, *source)
        try:
            yield path
        except InputError as error:  # the name means nothing to anybody
            raise InputError(str(error).replace(str(path), "samples")) from None


def _write(path: Path, samples: Any, rate_hz: int) -> None:
    values = np.asarray(samples)
    if values.ndim not in (1, 2) or not values.size or values.dtype.kind not in "fiu" or values.dtype == np.uint8:
        raise InputError(
            f"samples: (N,) or (N, C) floats, or signed integers. Found {values.shape} of {values.dtype}. "
            "Give (samples, rate)."
        )
    if values.ndim == 2 and values.shape[1] > max(values.shape[0], 16):
        raise InputError(f"samples: (N, C), a column a channel. Found {values.shape}. Transpose them.")
    if values.dtype.kind in "iu":
        values = values / float(np.iinfo(values.dtype).max)
    if not 1 <= int(rate_hz) == rate_hz:
        raise InputError(f"samples: the rate is samples a second. Found {rate_hz}.")
    soundfile.write(path, values.astype(np.float32), int(rate_hz), format="WAV", subtype="FLOAT")


def resampled(chunks: Iterable[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    """A stream of samples (n,) at 16 kHz, float32. Raises InputError for chunks of another shape, and NaN."""
    resampler = None
    if rate_hz != RATE_HZ:
        resampler = resampling.stream(rate_hz, RATE_HZ)
    for chunk in chunks:
        values = np.asarray(chunk)
        scale = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
        samples = (values / scale).astype(np.float32) if scale != 1 else values.astype(np.float32)
        if samples.ndim == 2 and samples.shape[1] == 1:  # as sound cards give them
            samples = samples[:, 0]
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise InputError(f"stream: chunks are samples (n,) that are numbers. Found shape {samples.shape}.")
        yield samples if resampler is None else resampler.resample_chunk(samples)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def portions(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples, `size` at a time; the last portion is shorter."""
    held: list[np.ndarray] = []
    count = 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk)
        if count >= size:
            joined = np.concatenate(held)
            whole = count // size * size
            yield from joined[:whole].reshape(-1, size)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)
