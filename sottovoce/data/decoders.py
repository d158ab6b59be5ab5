"""Two libraries, one way to read a file: from its beginning to its end, in chunks.

libsndfile reads wav, flac, ogg, opus, aiff and relatives; FFmpeg, through PyAV, reads mp3 and what libsndfile cannot,
such as m4a, amr and webm. How long a file is, is known when it has been decoded: bit rates times sizes are estimates
(an MP3 without a table of contents, raw AAC), and joined streams have more than their first header says. Only
samples that lie in a file as they are (PCM, FLAC) are trusted to their header and can be entered in the middle;
other decoders remember what came before, so that a position reached by a jump does not decode as when it is played to.
"""

import os
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sottovoce import files
from sottovoce.data import archives, containers, resampling
from sottovoce.errors import InputError, needs

CHUNK = 1 << 17  # frames decoded at a time
GROWN = 1 << 15  # frames handed on at a time where a decoder gives less
PLAIN = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # of libsndfile: any sample can be read by itself
FLOATS = ("FLOAT", "DOUBLE")
SLOPPY = 64  # bytes that a WAV or AIFF may count too many
RAW = {"mp3", "aac", "amr", "ac3", "eac3", "dts", "loas"}  # of FFmpeg: frames without a container; strays are skipped
PLAYLISTS = {"concat", "dash", "hls", "imf", "rtsp", "sdp"}  # of FFmpeg: they name other files, which may be anybody's
HOLES_S = (0.1, 3600.0)  # without frames in a container: less is how times are rounded, more is a damaged time
STRAYS = 0.1  # share of a raw stream's frames that may be undecodable


@dataclass(frozen=True)
class Source:
    """An audio file that can be decoded."""

    rate_hz: int
    channels: int
    format: str  # "WAV PCM_16", "mov,mp4,m4a,3gp,3g2,mj2 aac", ...
    decoder: str  # "soundfile" or "av"
    frames: int | None  # samples per channel, None when only decoding tells
    seeks: bool  # `chunks` may begin anywhere
    floats: bool  # samples may be larger than 1, and NaN
    chunks: Callable[[int], Iterator[np.ndarray]]  # from a frame on: (n, channels) float32
    note: str = ""  # what is not read


def open_source(path: Path) -> Source:
    """Raises InputError for what is not audio, or has lost its end."""
    if files.is_pointer(path):
        raise files.pointer_error(path)
    if why := containers.stranger(path):
        raise InputError(f"{path}: not audio. {why}.")
    _check_size(path, containers.announced(path))
    if _is_mpeg(path):
        return _av(path)
    try:
        found = _soundfile(path)
    except _Unreadable as error:  # of what libsndfile knows by name only, FFmpeg may know more
        try:
            return _av(path)
        except InputError as other:
            if "unknown codec" in str(other):
                raise
            raise (truncated(path, str(error)) if "malformed" in str(error) else other) from None
    return found or _av(path)


def truncated(path: Path, found: str) -> InputError:
    return InputError(f"{path}: truncated or damaged. Found {found.rstrip('.')}. Copy it again or leave it out.")


def _check_size(path: Path, announced: int) -> None:
    size = archives.stat(path)[0]
    if announced > size:
        raise truncated(path, f"{size} bytes where the file says {announced}")


def _is_mpeg(path: Path) -> bool:
    """An MP3 or raw AAC by its first bytes."""
    with archives.opened(path) as file:
        head = file.read(3)
    return head == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _handle(path: Path, view: archives.Window | None) -> Any:
    """What the libraries are given: a name, or an open file where there is none, or none that they can spell."""
    if view is not None:
        return view
    if archives.split(path)[1]:
        return archives.opened(path)
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return containers.view(path)
    return os.path.abspath(path)  # FFmpeg takes "10:30.m4a" for an address


def _uniform(pieces: Iterator[tuple[int, np.ndarray]], rate_hz: int, channels: int) -> Iterator[np.ndarray]:
    """Pieces (rate, (n, C)) of streams that follow one another, all at one rate and with as many channels."""
    for rate, stream in groupby(pieces, itemgetter(0)):
        chunks = (piece if piece.shape[1] == channels else _spread(piece, channels) for _, piece in stream)
        yield from chunks if rate == rate_hz else resampling.streamed(chunks, rate, rate_hz, channels)


def _spread(piece: np.ndarray, channels: int) -> np.ndarray:
    """(n, C) with another number of channels, which all hold the mean."""
    return piece.mean(axis=1, keepdims=True, dtype=np.float32).repeat(channels, axis=1)


def _grown(pieces: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """Neighbours of one kind in one piece, for decoders that give 20 ms at a time."""
    held: list[np.ndarray] = []
    kind, size = (0, 0), 0
    for rate, piece in pieces:
        if held and (size >= GROWN or (rate, piece.shape[1]) != kind):
            yield kind[0], np.concatenate(held)
            held, size = [], 0
        kind = rate, piece.shape[1]
        held.append(piece)
        size += len(piece)
    if held:
        yield kind[0], np.concatenate(held)


def _from(first: int, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """What comes after the first frames."""
    for chunk in chunks:
        if first < len(chunk):
            yield chunk[first:]
        first = max(0, first - len(chunk))


# -- libsndfile ---------------------------------------------------------------------------------------------


class _Unreadable(Exception):
    """libsndfile knows the format and cannot read the file."""


class _Forward(soundfile.SoundFile):
    """A file read from one end to the other.

    soundfile ends every read with a seek to where it already is, and a decoder that is told to seek forgets what it
    read before: MP3 and Opus then stumble where two reads meet.
    """

    def seekable(self) -> bool:
        return False


def _soundfile(path: Path) -> Source | None:
    """None when libsndfile does not know the format."""
    parts = containers.links(path)
    try:
        view = containers.view(path, *parts[0]) if parts[1:] else containers.whole(path)
        with _Forward(_handle(path, view)) as file:
            frames, log = file.frames, file.extra_info
            rate, channels, kind, subtype = file.samplerate, file.channels, file.format, file.subtype
    except TypeError:  # soundfile takes names in .raw for headerless audio
        return None
    except soundfile.LibsndfileError as error:
        if "malformed" in str(error) or "Supported file format but" in str(error):
            raise _Unreadable(str(error)) from None
        return None
    if "MPEG" in subtype:
        return None  # libsndfile estimates how long an MP3 is, and stops there
    name = f"{kind} {subtype}"
    if kind == "OGG" or len(parts) > 1:

        def joined(first: int) -> Iterator[np.ndarray]:
            return _from(first, _uniform(_linked(path, parts), rate, channels))

        return Source(rate, channels, name, "soundfile", None, False, subtype in FLOATS, joined)
    if found := _missing(log):
        raise truncated(path, found)
    plain = subtype.startswith(PLAIN) or kind == "FLAC"
    known = frames if plain and 0 <= frames < 1 << 60 else None  # else a stream whose length was never written

    def chunks(first: int) -> Iterator[np.ndarray]:
        if plain:
            return _soundfile_chunks(path, rate, first, known)
        return _from(first, _soundfile_chunks(path, rate, 0, None))

    return Source(rate, channels, name, "soundfile", known, plain, subtype in FLOATS, chunks)


def _missing(log: str) -> str:
    """What libsndfile noticed and forgave: a file shorter than its header says. "" when it is whole."""
    for chunk, claimed, present in re.findall(
        r"(data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", log
    ):
        # Sizes near 2^31 or 2^32 come from programs that wrote to a pipe; a few bytes too many are sloppy headers.
        if int(claimed) < containers.UNKNOWN and int(claimed) - int(present) > SLOPPY:
            return f"{chunk.strip()} of {claimed} bytes announced, {present} present"
    return "less than its header announces" if "Seems to be a truncated file" in log else ""


def _soundfile_chunks(path: Path, rate: int, first: int, frames: int | None) -> Iterator[np.ndarray]:
    """(n, channels) float32 from a frame on; `frames` there must be."""
    at = first
    try:
        with _Forward(_handle(path, containers.whole(path))) as file:
            if first:
                file.seek(first)
            while len(chunk := file.read(CHUNK, dtype="float32", always_2d=True)):
                at += len(chunk)
                yield chunk
    except soundfile.LibsndfileError as error:
        raise truncated(path, f"{str(error).rstrip('.')} after {at / rate:.3f} s") from None
    if frames is not None and at < frames:
        raise truncated(path, f"{at / rate:.3f} s where the header says {frames / rate:.3f} s")


def _linked(path: Path, parts: list[tuple[int, int]]) -> Iterator[tuple[int, np.ndarray]]:
    for start, stop in parts:
        try:
            with _Forward(_handle(path, containers.view(path, start, stop) if len(parts) > 1 else None)) as file:
                while len(chunk := file.read(CHUNK, dtype="float32", always_2d=True)):
                    yield file.samplerate, chunk
        except soundfile.LibsndfileError as error:
            raise truncated(path, f"{str(error).rstrip('.')} in the stream at byte {start}") from None


# -- PyAV ---------------------------------------------------------------------------------------------------


def _open_av(path: Path) -> Any:
    with needs(
        f"{path}: not a format libsndfile reads. Found {path.suffix or 'no suffix'}, and PyAV is not installed. "
        "For mp3, m4a, mp4, webm and others: pip install av"
    ):
        import av
    view = containers.whole(path)
    if view is None and (start := containers.mpeg_start(path)[0]) and not _is_mpeg(path):
        view = containers.view(path, start)  # an MP3 behind bytes that are none of its own
    try:
        container = av.open(_handle(path, view), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not an audio file, or a damaged one. Found {archives.stat(path)[0]} bytes neither libsndfile nor "
            f"FFmpeg can read ({_short(error)}). Leave it out or export it again."
        ) from None
    if not container.streams.audio or container.format.name in PLAYLISTS:
        container.close()
        raise InputError(f"{path}: not an audio file. Found no audio stream ({container.format.name}). Leave it out.")
    return container


def _short(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).split(":")[0]


def _av(path: Path) -> Source:
    with _open_av(path) as container:
        context = container.streams.audio[0].codec_context
        if context is None:
            raise InputError(
                f"{path}: an unknown codec. Found a {container.format.name} file whose audio neither libsndfile nor "
                "FFmpeg can decode. Export it as wav or flac."
            )
        name = f"{container.format.name} {context.name}"
        raw, streams = container.format.name in RAW, len(container.streams.audio)
    if raw and containers.mpeg_start(path)[1]:
        start, length = containers.mpeg_start(path)
        _check_size(path, start + length * 98 // 100 - 512)  # encoders differ in what they count
    pieces = _av_pieces(path, raw)
    rate, first = next(pieces, (0, None))
    pieces.close()
    if first is None:
        raise InputError(
            f"{path}: not an audio file, or one without samples. Found nothing that {name} can decode. Leave it out."
        )
    channels = first.shape[1]

    def chunks(first: int) -> Iterator[np.ndarray]:
        return _from(first, _uniform(_grown(_av_pieces(path, raw)), rate, channels))

    note = f"{streams} audio streams, the first is read" if streams > 1 else ""
    return Source(rate, channels, name, "av", None, False, "pcm_f" in name, chunks, note)


def _av_pieces(path: Path, raw: bool) -> Generator[tuple[int, np.ndarray], None, None]:
    """(rate, (n, C) float32) of every frame, and of silence where a container has none for a while."""
    import av

    good = strays = 0
    try:
        with _open_av(path) as container:
            clock = _Clock(container)
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.EOFError:
                    break
                except av.FFmpegError:
                    if not raw:
                        raise
                    strays += 1  # a tag, or a frame that a cut has parted
                    continue
                for frame in frames:
                    good += 1
                    values = _floats(frame)
                    hole = 0 if raw else clock.hole(frame)
                    for at in range(0, hole, CHUNK):
                        yield frame.sample_rate, np.zeros((min(CHUNK, hole - at), values.shape[1]), np.float32)
                    yield frame.sample_rate, values
    except av.FFmpegError as error:
        raise truncated(path, _short(error)) from None
    if strays > 3 and strays > STRAYS * (good + strays):
        raise truncated(path, f"{strays} of {good + strays} frames that cannot be decoded")


class _Clock:
    """Time as a container counts it: a call that was muted, or begins after its video, has no frames for a while.

    Players are silent there, and what is said later keeps its time.
    """

    def __init__(self, container: Any):
        self.at = (container.start_time or 0) / 1e6  # seconds, where the next frame should be
        self.end = self.at + container.duration / 1e6 if container.duration else float("inf")

    def hole(self, frame: Any) -> int:
        """Samples of silence before a frame."""
        begin = self.at if frame.time is None else frame.time
        missing, self.at = begin - self.at, begin + frame.samples / frame.sample_rate
        return round(missing * frame.sample_rate) if HOLES_S[0] < missing < HOLES_S[1] and begin < self.end else 0


def _floats(frame: Any) -> np.ndarray:
    """(n, C) float32 of a decoded frame, full scale 1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if values.dtype.kind == "i":
        return values.astype(np.float32) / float(1 << (8 * values.itemsize - 1))
    return values.astype(np.float32, copy=False)
