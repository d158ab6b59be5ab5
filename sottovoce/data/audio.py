"""Audio files as one clean signal: mono float32 at the rate asked for, whatever the file holds.

Channels are averaged, other rates are resampled with soxr (HQ), levels are left as they are. libsndfile
reads wav, flac, ogg, opus, mp3, aiff and relatives; PyAV (extra `audio`) reads what it cannot, such as
m4a, mp4 and webm. A damaged file is an `InputError` here, so that no later step has to look again.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sottovoce import files
from sottovoce.data.track import Track
from sottovoce.errors import InputError

RATE_HZ = 16_000  # what every track maker gets
CHUNK = 1 << 17  # frames decoded at a time
CONTEXT = 1024  # samples of the lower rate read around a slice, so that the resampler does not hear its edges
PREROLL_S = 0.25  # PyAV: decoded and dropped before a slice, codecs need some frames to settle
FAR_S = 60.0  # PyAV: up to here a container with coarse time stamps is decoded from its start, for exact slices
SLACK_S = 0.5  # a segment table may end this much after the audio (rounding, container padding)


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about itself. `frames` are samples per channel at `rate_hz`."""

    duration_s: float
    rate_hz: int
    channels: int
    frames: int
    format: str  # "WAV PCM_16", "mov,mp4,m4a,3gp,3g2,mj2 aac", ...
    decoder: str  # "soundfile" or "av"


def probe(path: Path | str) -> AudioInfo:
    """Length, rate and channels, without decoding where the header knows them.

    Raises:
        InputError: the file is missing, empty, truncated or not audio.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file. Check the path, or run `sottovoce prepare` again if the corpus moved.")
    if not path.is_file():
        raise InputError(f"{path}: not an audio file. Found a folder. Name the files in it.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty file. Found 0 bytes. Copy it again or leave it out.")
    if files.is_pointer(path):
        raise files.pointer_error(path)
    info = _probe_soundfile(path) or _probe_av(path)
    if info.frames == 0:
        raise InputError(f"{path}: no samples. Found a header ({info.format}) and no audio. Leave it out.")
    return info


def read(path: Path | str, start: float = 0.0, end: float | None = None, rate_hz: int = RATE_HZ) -> Track:
    """A recording, or the stretch [start, end) of one, without decoding the rest of a long file.

    A stretch equals the same stretch of the whole, up to float32 rounding (webm and mkv after the first
    minute: their time stamps are milliseconds, so up to half of one apart).

    Args:
        path: any format libsndfile or PyAV knows.
        start, end: seconds in the file; None is its end. An `end` up to 0.5 s too late is cut.
        rate_hz: samples per second wanted.

    Returns:
        values (N,) float32, as loud as in the file (integer formats lie in [-1, 1]).

    Raises:
        InputError: missing, empty, truncated, non-audio or non-finite content, or a stretch outside the file.
    """
    path, info = Path(path), probe(path)
    check_stretch(path, info, start, end)
    first = round(start * rate_hz)  # output samples
    last = None if end is None else round(end * rate_hz)
    if info.rate_hz == rate_hz:
        source_first, source_last = first, last
    else:
        # Only a whole number of output samples may be left out at the front: the grids must meet at the cut.
        step = info.rate_hz // math.gcd(info.rate_hz, rate_hz)
        context = CONTEXT * max(1, -(-info.rate_hz // rate_hz))
        source_first = max(0, (first * info.rate_hz // rate_hz - context) // step * step)
        source_last = None if last is None else -(-last * info.rate_hz // rate_hz) + context
    if first == 0 and last is None and info.frames >= files.LARGE:  # an hour fits into memory, but not twice
        expected = math.ceil(info.frames * rate_hz / info.rate_hz)
        return Track(_joined(_resampled(path, info, rate_hz), expected), float(rate_hz))
    samples = _joined(_samples(path, info, source_first, source_last))
    if info.rate_hz != rate_hz:
        import soxr

        samples = soxr.resample(samples, info.rate_hz, rate_hz, quality="HQ")
        skipped = source_first * rate_hz // info.rate_hz
        samples = samples[first - skipped : None if last is None else last - skipped]
    elif last is not None:
        samples = samples[: last - first]
    if len(samples) == 0:
        raise InputError(
            f"{path}: shorter than one sample at {rate_hz} Hz. Found {info.duration_s:.6f} s. Leave it out."
        )
    return Track(np.ascontiguousarray(samples, dtype=np.float32), float(rate_hz))


def _joined(chunks: Iterator[np.ndarray], expected: int = 0) -> np.ndarray:
    """(N,) float32 of pieces, about `expected` samples: those of a long recording lie in a temporary file."""
    if expected < files.LARGE:
        pieces = list(chunks)
        return np.concatenate(pieces) if len(pieces) != 1 else pieces[0]
    out, held = files.scratch(expected, "float32"), 0
    for chunk in chunks:
        if held + len(chunk) > len(out):  # containers of video know their length in whole milliseconds
            larger = files.scratch(2 * (held + len(chunk)), "float32")
            larger[:held] = out[:held]
            out = larger
        out[held : held + len(chunk)] = chunk
        held += len(chunk)
    return out[:held]


def blocks(path: Path | str, seconds: float, rate_hz: int = RATE_HZ) -> Iterator[Track]:
    """A recording of any length in consecutive pieces, in bounded memory.

    Together the pieces are `read(path)`: one resampler runs through the whole file.

    Args:
        seconds: length of a piece; the last one is shorter.

    Yields:
        Tracks of values (N,) float32; `offset_s` is where the piece begins in the file.

    Raises:
        InputError: as `read`, for damage when it is reached.
    """
    path = Path(path)
    size = round(seconds * rate_hz)
    if size < 1:
        raise ValueError(f"a block holds at least one sample, got {seconds} s at {rate_hz} Hz")
    done, held, kept = 0, 0, []
    for chunk in _resampled(path, probe(path), rate_hz):
        kept.append(chunk)
        held += len(chunk)
        if held < size:
            continue
        joined = np.concatenate(kept)
        whole = held // size * size
        for at in range(0, whole, size):
            yield Track(joined[at : at + size], float(rate_hz), (done + at) / rate_hz)
        done, held, kept = done + whole, held - whole, [joined[whole:].copy()]
    if held:
        yield Track(np.concatenate(kept), float(rate_hz), done / rate_hz)


def _resampled(path: Path, info: AudioInfo, rate_hz: int) -> Iterator[np.ndarray]:
    """The whole file at `rate_hz`, chunk by chunk."""
    chunks = _samples(path, info, 0, None)
    if info.rate_hz == rate_hz:
        yield from chunks
        return
    import soxr

    resampler = soxr.ResampleStream(info.rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
    for chunk in chunks:
        yield resampler.resample_chunk(np.ascontiguousarray(chunk))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def check_stretch(path: Path, info: AudioInfo, start: float, end: float | None) -> None:
    """Raises InputError when [start, end) seconds do not lie in a file, as `read` does."""
    found = f"Found {info.duration_s:.3f} s of audio"
    if not (math.isfinite(start) and start >= 0):
        raise InputError(f"{path}: start {start} s is not a time in the file. {found}. Correct the segment table.")
    if start >= info.duration_s:
        raise InputError(f"{path}: start {start} s is beyond the end. {found}. Correct the segment table.")
    if end is None:
        return
    if not end > start:
        raise InputError(f"{path}: end {end} s is not after start {start} s. {found}. Correct the segment table.")
    if end > info.duration_s + SLACK_S:
        raise InputError(
            f"{path}: end {end} s is beyond the end. {found}. "
            "Correct the segment table, or copy the file again if it was cut."
        )


def _samples(path: Path, info: AudioInfo, first: int, last: int | None) -> Iterator[np.ndarray]:
    """Mono float32 chunks of the file's own frames [first, last), checked for NaN and infinity."""
    decode = _soundfile_chunks if info.decoder == "soundfile" else _av_chunks
    position = first
    for chunk in decode(path, info, first, last):
        mono = chunk[:, 0] if chunk.shape[1] == 1 else chunk.mean(axis=1, dtype=np.float32)
        finite = np.isfinite(mono)
        if not finite.all():
            at = (position + int(finite.argmin())) / info.rate_hz
            raise InputError(
                f"{path}: samples that are not numbers. Found {int((~finite).sum())} NaN or infinite near {at:.3f} s. "
                "Export the file again or leave it out."
            )
        position += len(mono)
        yield mono
    if position == first:
        raise InputError(f"{path}: no samples from {first / info.rate_hz:.3f} s on. Copy it again or leave it out.")


# -- libsndfile ---------------------------------------------------------------------------------------------


def _probe_soundfile(path: Path) -> AudioInfo | None:
    """None when libsndfile does not know the format."""
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            frames, log = file.frames, file.extra_info
            name = f"{file.format} {file.subtype}"
            if not 0 <= frames < 1 << 60:  # a stream whose length was never written
                frames = sum(len(block) for block in file.blocks(CHUNK, dtype="float32"))
            info = AudioInfo(frames / file.samplerate, file.samplerate, file.channels, frames, name, "soundfile")
    except TypeError:  # soundfile takes names in .raw for headerless audio
        return None
    except soundfile.LibsndfileError as error:
        if "malformed" in str(error) or "Supported file format but" in str(error):
            raise _truncated(path, str(error)) from None
        return None
    found = _missing(log)
    if found:
        raise _truncated(path, found)
    return info


def _missing(log: str) -> str:
    """What libsndfile noticed and forgave: a file shorter than its header says. "" when it is whole."""
    for chunk, claimed, present in re.findall(r"(data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", log):
        # Sizes near 2^31 or 2^32 come from programs that wrote to a pipe; a few bytes too many are sloppy headers.
        if int(claimed) < 0x7FFF0000 and int(claimed) - int(present) > 64:
            return f"{chunk.strip()} of {claimed} bytes announced, {present} present"
    if "lacks an end-of-stream bit" in log and "Junk after the last page" in log:
        return "an Ogg stream that stops inside a page"
    return ""


def _truncated(path: Path, found: str) -> InputError:
    return InputError(f"{path}: truncated or damaged. Found {found.rstrip('.')}. Copy it again or leave it out.")


def _soundfile_chunks(path: Path, info: AudioInfo, first: int, last: int | None) -> Iterator[np.ndarray]:
    """(n, channels) float32."""
    import soundfile

    last = info.frames if last is None else min(last, info.frames)
    at = first
    try:
        with soundfile.SoundFile(str(path)) as file:
            if first:
                file.seek(first)
            while at < last:
                chunk = file.read(min(CHUNK, last - at), dtype="float32", always_2d=True)
                if len(chunk) == 0:
                    raise _truncated(path, f"{at / info.rate_hz:.3f} s where the header says {info.duration_s:.3f} s")
                at += len(chunk)
                yield chunk
    except soundfile.LibsndfileError as error:
        raise _truncated(path, f"{str(error).rstrip('.')} after {at / info.rate_hz:.3f} s") from None


# -- PyAV ---------------------------------------------------------------------------------------------------


def _open_av(path: Path):
    try:
        import av
    except ImportError:
        raise InputError(
            f"{path}: not a format libsndfile reads. Found {path.suffix or 'no suffix'}, and PyAV is not installed. "
            "For m4a, mp4, webm and others: pip install 'sottovoce[audio]'."
        ) from None
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: not an audio file, or a damaged one. Found {path.stat().st_size} bytes neither libsndfile nor "
            f"FFmpeg can read ({_short(error)}). Leave it out or export it again."
        ) from None
    if not container.streams.audio or not container.streams.audio[0].rate:
        container.close()
        raise InputError(f"{path}: not an audio file. Found no audio stream ({container.format.name}). Leave it out.")
    return container


def _short(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).split(":")[0]


def _probe_av(path: Path) -> AudioInfo:
    with _open_av(path) as container:
        stream = container.streams.audio[0]
        name = f"{container.format.name} {stream.codec_context.name}"
        rate, channels = int(stream.rate), int(stream.channels)
        if stream.duration is not None and stream.time_base:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = (container.duration or 0) / 1e6
    info = AudioInfo(duration, rate, channels, round(duration * rate), name, "av")
    if info.frames == 0:  # browsers record webm without a length
        frames = sum(len(chunk) for chunk in _av_chunks(path, info, 0, None))
        info = AudioInfo(frames / rate, rate, channels, frames, name, "av")
    return info


def _av_chunks(path: Path, info: AudioInfo, first: int, last: int | None) -> Iterator[np.ndarray]:
    """(n, channels) float32."""
    import av

    container = _open_av(path)
    position: int | None = None  # frame number of the next decoded sample
    try:
        with container:
            stream = container.streams.audio[0]
            origin = stream.start_time or 0
            exact = stream.time_base * info.rate_hz <= 1  # Matroska and webm count milliseconds
            if first > (2 * PREROLL_S if exact else FAR_S) * info.rate_hz:
                container.seek(origin + int((first / info.rate_hz - PREROLL_S) / stream.time_base), stream=stream)
            else:
                position = 0
            planar = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                if position is None:
                    position = round(float((frame.pts - origin) * stream.time_base) * info.rate_hz)
                for piece in planar.resample(frame):
                    chunk = piece.to_ndarray().T
                    begin = max(first - position, 0)
                    stop = len(chunk) if last is None else min(last - position, len(chunk))
                    position += len(chunk)
                    if stop > begin:
                        yield chunk[begin:stop]
                if last is not None and position >= last:
                    return
    except av.FFmpegError as error:
        raise _truncated(path, _short(error)) from None
    # Containers are allowed to round their length up to a codec frame; more than that is missing audio.
    if last is None and info.frames and position is not None and position < info.frames - 0.2 * info.rate_hz:
        raise _truncated(path, f"{position / info.rate_hz:.3f} s where the header says {info.duration_s:.3f} s")
