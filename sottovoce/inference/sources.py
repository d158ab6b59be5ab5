"""What can be heard: a file, the bytes of one, standard input, samples in memory, a stream."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
import soundfile

from sottovoce.data import audio, resampling
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.inference.timeline import RATE_HZ

PIPED = "sottovoce-stdin-"  # how the folders of what was piped in begin
Samples = tuple[Any, float]  # (N,) or (N, C), samples a second


@runtime_checkable
class Readable(Protocol):
    """An open file, of whatever class: temporary ones are of one of their own."""

    def read(self) -> bytes: ...


@contextmanager
def as_file(source: Any) -> Iterator[Path]:
    """A path to read a source from: a file, its bytes, an open one, a `Track` of samples, (samples, rate) or a mapping
    with "array" and "sampling_rate"; what was in memory is gone from the disk afterwards.

    Raises InputError for samples that are none.
    """
    if isinstance(source, (str, Path)):
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="sottovoce-") as folder:
        path = Path(folder) / "samples"
        if isinstance(source, Readable):
            source = source.read()
            if not isinstance(source, bytes):
                raise InputError(f"samples: no bytes of a file. Found {type(source).__name__}. Open it with 'rb'.")
            if not source:
                raise InputError("samples: an open file with nothing left to read. Rewind it: seek(0).")
        if isinstance(source, (bytes, bytearray, memoryview)):
            path.write_bytes(source)
        else:
            _write(path, *_samples(source))
        try:
            yield path
        except InputError as error:  # the name means nothing to anybody
            raise InputError(str(error).replace(str(path), "samples")) from None


@contextmanager
def piped(stream: BinaryIO | None, most: float) -> Iterator[Path]:
    """The recording in a stream of bytes, as a file for as long as it is heard.

    Raises InputError for a terminal, for nothing, and for more than `most` bytes.
    """
    if stream is None or stream.isatty():
        raise InputError(
            "stdin: nothing is piped in. Found a terminal. Pipe a recording: sottovoce predict - < talk.mp3"
        )
    with tempfile.TemporaryDirectory(prefix=PIPED) as folder:
        path, size = Path(folder) / "stdin", 0
        with open(path, "wb") as out:
            while block := stream.read(1 << 20):
                size += len(block)
                if size > most:
                    raise InputError(f"stdin: more than {most / 1e6:g} MB. Found no end of it. Name a file instead.")
                out.write(block)
        if not size:
            raise InputError("stdin: nothing in it. Found 0 bytes. Look at what writes into the pipe.")
        try:
            yield path
        except InputError as error:
            raise InputError(str(error).replace(str(path), path.name)) from None


def called(path: str) -> str:
    """A recording as people know it: the folder of what was piped in means nothing to anybody.

    >>> called("/tmp/sottovoce-stdin-x1/stdin"), called("calls/a.wav")
    ('stdin', 'calls/a.wav')
    """
    place = Path(path)
    return place.name if place.parent.name.startswith(PIPED) else path


def _samples(source: Any) -> Samples:
    """(samples, rate) of what holds both. Raises InputError for what is neither that nor a recording."""
    if isinstance(source, Track):
        return source.values, source.rate_hz
    if isinstance(source, Mapping) and {"array", "sampling_rate"} <= source.keys():  # as the datasets library gives it
        return source["array"], source["sampling_rate"]
    if isinstance(source, tuple) and len(source) == 2:
        return source
    what = f"{type(source).__name__} of {len(source)}" if isinstance(source, (list, tuple)) else type(source).__name__
    raise InputError(
        f"samples: no recording. Found {what}. Give a path, the bytes of a file, or (samples, rate); for several "
        "recordings call predict([path, ...])."
    )


def _write(path: Path, samples: Any, rate_hz: float) -> None:
    try:
        values = np.asarray(samples)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths, a tensor with a gradient
        raise InputError(f"samples: no array. {error}. Give (samples, rate).") from None
    if values.ndim not in (1, 2) or not values.size or values.dtype.kind not in "fi":
        raise InputError(
            f"samples: (N,) or (N, C) floats, or signed integers. Found {values.shape} of {values.dtype}. "
            "Give (samples, rate)."
        )
    if values.ndim == 2 and values.shape[1] > max(values.shape[0], 16):
        if values.shape[0] > 16:
            raise InputError(f"samples: (N, C), a column a channel. Found {values.shape}. Transpose them.")
        values = values.T  # (C, N), as PyTorch has it: nobody has so many channels
    peak = np.abs(values).max() if values.dtype.itemsize == 4 and values.dtype.kind == "i" else 1 << 31
    values = scaled(values.astype(np.int64) if 0 < peak <= 1 << 16 else values, "samples")  # 16 bits in 32: silence
    if not isinstance(rate_hz, (int, float, np.number)) or not 1 <= rate_hz < 1e9 or rate_hz % 1:
        raise InputError(f"samples: the rate is samples a second. Found {rate_hz!r}.")
    soundfile.write(path, values, int(rate_hz), format="WAV", subtype="FLOAT")


def scaled(values: np.ndarray, where: str) -> np.ndarray:
    """Floats as they are, integers by their full scale, as float32.

    Raises InputError for integers wider than their samples, which would all be silence: what NumPy makes of a list.
    """
    if values.dtype.kind == "i":
        if values.dtype.itemsize > 4:
            raise InputError(
                f"{where}: integers whose full scale nothing tells. Found sizes up to {np.abs(values).max(initial=0)}. "
                "Give them as np.int16 or np.int32, as they were recorded, or as floats from -1 to 1."
            )
        return (values / float(np.iinfo(values.dtype).max)).astype(np.float32)
    with np.errstate(over="ignore"):  # infinite then, and named as such
        return values.astype(np.float32)


def resampled(chunks: Iterable[np.ndarray], rate_hz: float) -> Iterator[np.ndarray]:
    """A stream of samples (n,) at 16 kHz, float32. Raises InputError for chunks of another shape, NaN, and a rate that
    no stream has."""
    low, high = audio.RATES_HZ
    if not isinstance(rate_hz, (int, float, np.number)) or not low <= rate_hz <= high or rate_hz % 1:
        raise InputError(f"stream: the rate is whole samples a second, from {low} to {high}. Found {rate_hz!r}.")
    samples = map(_chunk, chunks)
    return samples if rate_hz == RATE_HZ else resampling.streamed(samples, rate_hz, RATE_HZ)


def _chunk(chunk: Any) -> np.ndarray:
    """(n,) float32 of a stream's chunk."""
    values = np.asarray(chunk)
    if values.dtype.kind not in "fi":
        raise InputError(f"stream: chunks are samples (n,), floats or signed integers. Found {values.dtype}.")
    samples = scaled(values, "stream")
    if samples.ndim == 2 and samples.shape[1] == 1:  # as sound cards give them
        samples = samples[:, 0]
    if samples.ndim != 1 or not np.isfinite(samples).all():
        found = f"shape {samples.shape}" if samples.ndim != 1 else "NaN or infinite ones"
        raise InputError(f"stream: chunks are samples (n,) that are numbers. Found {found}.")
    return samples
