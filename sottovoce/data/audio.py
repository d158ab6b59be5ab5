"""Audio files as one clean signal: mono float32 at the rate asked for, whatever the file holds.

Channels are averaged, other rates are resampled with soxr (HQ), levels are left as they are; where that would give
silence or nonsense (channels that cancel, integers stored as floats) the file's `note` says what is done instead.
`decoders` reads the formats. A damaged file is an `InputError` here, so that no later step has to look again.

What a header cannot be trusted with (length, mix, scale) is found by decoding the file once, `_facts`: short files
are remembered for the read that follows, of long ones the decoder is kept where it stopped, so that segments in
order of time decode a file once in all.
"""

import functools
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sottovoce import files
from sottovoce.data import archives, decoders, resampling
from sottovoce.data.track import Track
from sottovoce.errors import InputError

RATE_HZ = 16_000  # what every track maker gets
CONTEXT = 1024  # samples of the lower rate read around a slice, so that its edges do not reach the resampler
RATES_HZ = (1_000, 3_000_000)  # that recordings have
MANY = 1 << 26  # samples a header is believed to have before they are there
SLACK_S = 0.5  # a segment table may end this much after the audio (rounding, container padding)
HELD_S = 60.0  # seconds a kept decoder remembers, for segments that overlap
CANCELS = 0.01  # of the loudest channel's power (-20 dB): a mean below is no recording, the channels cancel
ROUNDING = 1e-12  # of an offset's power: what is left of a channel that is nothing but an offset
MUTE = 1e-6  # of the loudest channel's power (-60 dB): a channel below was not recorded
OVER = 16.0  # times full scale: what is louder is not loud but written in other units
SCALES = {16: 2.0**15, 24: 2.0**23, 32: 2.0**31}  # full scale of integers, by bits
QUIET = 10 ** (-70 / 20)  # of full scale: where nothing is louder there is no speech


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about itself. `frames` are samples per channel at `rate_hz`."""

    duration_s: float
    rate_hz: int
    channels: int
    frames: int
    format: str  # "WAV PCM_16", "mov,mp4,m4a,3gp,3g2,mj2 aac", ...
    decoder: str  # "soundfile" or "av"
    note: str = ""  # how it is read, where that is out of the ordinary


@dataclass(frozen=True)
class _Facts:
    """What decoding a file once has told."""

    info: AudioInfo
    source: decoders.Source
    weights: np.ndarray  # (C,) what the channels are multiplied with before they are added


def probe(path: Path | str) -> AudioInfo:
    """Length, rate and channels; decoded to the end where the header does not know them for certain.

    Raises InputError: the file is missing, empty, truncated or not audio, or far louder than any scale explains.
    """
    return _facts(Path(path)).info


def _facts(path: Path) -> _Facts:
    if not archives.is_file(path):
        if os.path.isdir(path):
            raise InputError(f"{path}: not an audio file. Found a folder. Name the files in it.")
        if os.path.exists(path):  # False too for a name that no disk could hold
            raise InputError(
                f"{path}: not a file. Found a pipe or a device. Write what comes out of it into a file first."
            )
        raise InputError(f"{path}: no such file. Check the path, or run `sottovoce prepare` again if the corpus moved.")
    if archives.stat(path)[0] == 0:
        raise InputError(f"{path}: empty file. Found 0 bytes. Copy it again or leave it out.")
    try:
        return _scan(*_key(path))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read. {error.strerror or error}. Check its permissions, or the disk it lies on."
        ) from None


def _key(path: Path) -> tuple[str, int, int]:
    """A file by name, time and size: another content is another file."""
    size, time_ns = archives.stat(path)
    return str(path), time_ns, size


_remembered: dict[tuple[str, int, int], np.ndarray] = {}  # the mono samples of the last short file


@functools.lru_cache(maxsize=1024)
def _scan(name: str, time_ns: int, size_of_file: int) -> _Facts:
    """Decodes a file whose header does not tell all: its length, a mix of channels that cancel, a scale."""
    path = Path(name)
    source = decoders.open_source(path)
    channels = source.channels
    if not RATES_HZ[0] <= source.rate_hz <= RATES_HZ[1]:
        raise InputError(
            f"{path}: a rate no recording has. Found {source.rate_hz} samples a second. The header is damaged: export "
            "the file again or leave it out."
        )
    if source.frames and channels == 1 and not source.floats:
        return _Facts(_info(source, source.frames), source, np.ones(1, np.float32))
    frames, peak, over = 0, 0.0, 0
    sums, squares = np.zeros(channels + 1), np.zeros(channels + 1)  # of every channel, and of their mean
    kept: list[np.ndarray] = []
    for chunk in source.chunks(0):
        frames += len(chunk)
        kept.append(chunk)
        if frames * channels > files.LARGE:
            kept.clear()
        if source.floats:
            chunk = np.nan_to_num(chunk, nan=0.0, posinf=0.0, neginf=0.0)  # `_checked` names them, when they are read
            size = np.abs(chunk).max(axis=1)
            peak, over = max(peak, float(size.max(initial=0.0))), over + int((size > OVER / 8).sum())
        every = np.concatenate([chunk, chunk.mean(axis=1, keepdims=True)], axis=1, dtype=np.float64)
        sums += every.sum(axis=0)
        squares += np.square(every).sum(axis=0)
    if frames == 0:
        raise InputError(f"{path}: no samples. Found a header ({source.format}) and no audio. Leave it out.")
    mean = sums / frames
    power = squares / frames - np.square(mean)  # without the offset
    weights, mixed = _mix(np.where(power > ROUNDING * np.square(mean), power, 0.0))
    scale, scaled = _scale(path, peak, over / frames)
    info = _info(source, frames, "; ".join(note for note in (source.note, mixed, scaled) if note))
    facts = _Facts(info, source, (weights / scale).astype(np.float32))
    if frames * channels <= files.LARGE:
        _remembered.clear()
        _remembered[name, time_ns, size_of_file] = _mono(np.concatenate(kept), facts.weights)
    return facts


def _info(source: decoders.Source, frames: int, note: str = "") -> AudioInfo:
    rate = source.rate_hz
    return AudioInfo(frames / rate, rate, source.channels, frames, source.format, source.decoder, note)


def _mix(power: np.ndarray) -> tuple[np.ndarray, str]:
    """(C,) weights of the channels, from the power of each and, last, of their mean; and what there is to say.

    A channel that holds nothing does not count; where the mean is far below the channels, the loudest speaks alone.
    """
    *each, together = power
    loudest = int(np.argmax(each))
    if together < CANCELS * each[loudest]:
        alone = f"the channels cancel in their mean, channel {loudest + 1} of {len(each)} is read alone"
        return np.eye(len(each))[loudest], alone
    used = np.array([p >= MUTE * each[loudest] for p in each])
    return used / used.sum(), ""


def _scale(path: Path, peak: float, share: float) -> tuple[float, str]:
    """What samples beyond full scale are divided by, and what there is to say.

    Args:
        peak: largest sample.
        share: of the samples that are beyond full scale too; a few are not another unit but damage.
    """
    if peak <= OVER:
        return 1.0, ""
    full = next(((bits, scale) for bits, scale in SCALES.items() if peak <= 2 * scale), None)
    if full is None or share < 1e-3:
        raise InputError(
            f"{path}: samples that no scale explains. Found {peak:.3g} where full scale is 1. "
            "Export the file again or leave it out."
        )
    bits, scale = full
    return scale, f"samples up to {peak:.6g} times full scale, divided by {scale:.0f} as integers of {bits} bits"


def channels(path: Path | str, which: str = "mix") -> dict[str, int]:
    """The channels that `blocks` gives for a choice, name -> number from 0: none for "mix", all for "each"; "left",
    "right" or a number from 1 chooses one.

    Raises InputError for a choice that the recording does not have.
    """
    count = probe(path).channels
    names = ["left", "right", *(f"channel {k}" for k in range(3, count + 1))][:count] if count > 1 else ["channel 1"]
    if which == "mix":
        return {}
    if which == "each":
        return {name: k for k, name in enumerate(names)}
    number = names.index(which) if which in names else int(which) - 1 if which.isdecimal() else -1
    if not 0 <= number < count:
        raise InputError(
            f"{path}: no channel {which!r}. Found {count}: {', '.join(names)}. Name mix, each, left, right or a number."
        )
    return {names[number]: number}


def _chosen(path: Path, facts: _Facts, which: str) -> np.ndarray:
    """(C,) weights of one channel, or (C, V) of several."""
    numbers = list(channels(path, which).values())
    every = np.eye(len(facts.weights), dtype=np.float32) * facts.weights.sum()  # as loud as in the mix, see `_scale`
    return every[:, numbers[0]] if len(numbers) == 1 else every[:, numbers]


def _mono(chunk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) of (n, C); with weights (C, V) a column a voice."""
    if weights.shape == (1,):
        return chunk[:, 0] if weights[0] == 1 else chunk[:, 0] * weights[0]
    return chunk @ weights


def level(samples: np.ndarray) -> float:
    """The loudest sample (N,) of full scale, an offset apart: 20 ms at a time, without the two ends where the
    resampler sees the offset begin."""
    size = min(RATE_HZ // 50, len(samples))
    cells = samples[: len(samples) // size * size].reshape(-1, size)
    cells = cells[1:-1] if len(cells) > 4 else cells
    return float(np.abs(cells - cells.mean(axis=1, keepdims=True)).max())


def read(path: Path | str, start: float = 0.0, end: float | None = None, rate_hz: int = RATE_HZ) -> Track:
    """A recording, or the segment [start, end) of one, without decoding the rest of a long file.

    A segment equals the same segment of the whole, up to float32 rounding.

    Args:
        path: any format libsndfile or FFmpeg knows.
        start, end: seconds in the file; None is its end. An `end` up to 0.5 s too late is cut.
        rate_hz: samples per second wanted.

    Returns:
        values (N,) float32, as loud as in the file (integer formats lie in [-1, 1]); `probe(path).note` says when not.

    Raises InputError: missing, empty, truncated, non-audio or non-finite content, or a segment outside the file.
    """
    path = Path(path)
    facts = _facts(path)
    info = facts.info
    if not 1 <= rate_hz <= RATES_HZ[1]:
        raise InputError(f"{path}: rate_hz is samples a second, from 1 to {RATES_HZ[1]}. Found {rate_hz}.")
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
        expected = min(math.ceil(info.frames * rate_hz / info.rate_hz), MANY)
        return Track(_joined(_resampled(path, facts, rate_hz), expected), float(rate_hz))
    samples = _stretch(path, facts, source_first, source_last)
    if info.rate_hz != rate_hz:
        samples = resampling.resampled(samples, info.rate_hz, rate_hz)
    skipped = source_first * rate_hz // info.rate_hz
    samples = samples[first - skipped : None if last is None else last - skipped]
    if len(samples) == 0:
        length = min(info.duration_s, math.inf if end is None else end) - start
        raise InputError(
            f"{path}: shorter than one sample at {rate_hz} Hz. Found {length:.6f} s"
            f"{f' from {start} s on' if start else ''}. Leave it out."
        )
    return Track(np.ascontiguousarray(samples, dtype=np.float32), float(rate_hz))


def _joined(chunks: Iterator[np.ndarray], expected: int) -> np.ndarray:
    """(N,) float32 of pieces, about `expected` samples: those of a long recording lie in a temporary file."""
    out, held = files.scratch(expected, "float32"), 0
    for chunk in chunks:
        if held + len(chunk) > len(out):  # containers of video know their length in whole milliseconds
            larger = files.scratch(2 * (held + len(chunk)), "float32")
            larger[:held] = out[:held]
            out = larger
        out[held : held + len(chunk)] = chunk
        held += len(chunk)
    return out[:held]


def blocks(path: Path | str, seconds: float, rate_hz: int = RATE_HZ, which: str = "mix") -> Iterator[Track]:
    """A recording of any length in consecutive pieces, in bounded memory.

    Together the pieces are `read(path)`: one resampler runs over the whole file.

    Args:
        seconds: length of a piece; the last one is shorter.
        which: "mix", or the channels that are wanted, see `channels`.

    Yields:
        Tracks of values (N,) float32, (N, V) of several channels; `offset_s` is where the piece begins in the file.

    Raises InputError: as `read`, for damage when it is reached.
    """
    path = Path(path)
    size = round(seconds * rate_hz)
    if size < 1:
        raise ValueError(f"a block holds at least one sample, got {seconds} s at {rate_hz} Hz")
    facts = _facts(path)
    if which != "mix":
        facts = replace(facts, weights=_chosen(path, facts, which))
    for k, part in enumerate(portions(_resampled(path, facts, rate_hz), size)):
        yield Track(part, float(rate_hz), k * size / rate_hz)


def portions(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples (n, ...), `size` at a time; the last portion is shorter."""
    held: list[np.ndarray] = []
    count = 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk)
        if count >= size:
            joined = np.concatenate(held)
            whole = count // size * size
            yield from joined[:whole].reshape(-1, size, *joined.shape[1:])
            held, count = [joined[whole:].copy()], count - whole
    if count:
        yield np.concatenate(held)


def _resampled(path: Path, facts: _Facts, rate_hz: int) -> Iterator[np.ndarray]:
    """The whole file at `rate_hz`, chunk by chunk."""
    chunks = _samples(path, facts, 0)
    if facts.info.rate_hz == rate_hz:
        return chunks
    return resampling.streamed(chunks, facts.info.rate_hz, rate_hz, *facts.weights.shape[1:])  # () of a mix, or (V,)


def check_stretch(path: Path, info: AudioInfo, start: float, end: float | None) -> None:
    """Raises InputError when [start, end) seconds do not lie in a file, as `read` does."""
    more = ""
    if not (math.isfinite(start) and start >= 0):
        wrong = f"start {start} s is not a time in the file"
    elif start >= info.duration_s:
        wrong = f"start {start} s is beyond the end"
    elif end is not None and not end > start:
        wrong = f"end {end} s is not after start {start} s"
    elif end is not None and end > info.duration_s + SLACK_S:
        wrong, more = f"end {end} s is beyond the end", ", or copy the file again if it was cut"
    else:
        return
    raise InputError(f"{path}: {wrong}. Found {info.duration_s:.3f} s of audio. Correct the segment table{more}.")


def _samples(path: Path, facts: _Facts, first: int) -> Iterator[np.ndarray]:
    """Mono float32 chunks (n,) of the file's own frames from `first` on, checked."""
    position, held = first, _remembered.get(_key(path)) if facts is _facts(path) else None
    if held is not None:
        yield _checked(path, facts, held[first:], first)
        return
    for chunk in facts.source.chunks(first):
        mono = _mono(chunk, facts.weights)
        yield _checked(path, facts, mono, position)
        position += len(mono)


def _checked(path: Path, facts: _Facts, mono: np.ndarray, position: int) -> np.ndarray:
    """Raises InputError for NaN and infinity."""
    finite = np.isfinite(mono).reshape(len(mono), -1).all(axis=1)
    if not finite.all():
        at = (position + int(finite.argmin())) / facts.info.rate_hz
        raise InputError(
            f"{path}: samples that are not numbers. Found {int((~finite).sum())} NaN or infinite near {at:.3f} s. "
            "Export the file again or leave it out."
        )
    return mono


@dataclass
class _Running:
    """A decoder where it stopped, and what it has just said."""

    key: tuple[str, int, int]
    chunks: Iterator[np.ndarray]
    begin: int  # frame where `held` begins
    held: np.ndarray  # (n,)


_running: list[_Running] = []  # one at most


def _stretch(path: Path, facts: _Facts, first: int, last: int | None) -> np.ndarray:
    """Mono samples [first, last) of the file, in the cheapest way that gives those of the whole."""
    key = _key(path)
    last = facts.info.frames if last is None else min(last, facts.info.frames)
    if key in _remembered:
        return _checked(path, facts, _remembered[key][first:last], first)
    if facts.source.seeks:
        return _until(_samples(path, facts, first), last - first)
    if not (_running and _running[0].key == key and _running[0].begin <= first):
        _running[:] = [_Running(key, _samples(path, facts, 0), 0, np.zeros(0, np.float32))]
    (run,) = _running
    pieces, end = [run.held], run.begin + len(run.held)
    keep = round(HELD_S * facts.info.rate_hz)
    while end < last and (chunk := next(run.chunks, None)) is not None:
        pieces.append(chunk)
        end += len(chunk)
        if end < first - keep:  # not there yet
            pieces, run.begin = [], end
    held = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    found = held[first - run.begin : last - run.begin].copy()
    forgotten = max(0, len(held) - keep)
    run.begin, run.held = run.begin + forgotten, held[forgotten:].copy()
    return found


def _until(chunks: Iterator[np.ndarray], frames: int) -> np.ndarray:
    """The first frames, (n,)."""
    pieces, held = [np.zeros(0, np.float32)], 0
    for chunk in chunks:
        pieces.append(chunk[: frames - held])
        held += len(pieces[-1])
        if held >= frames:
            break
    return np.concatenate(pieces)
