"""HMPD: mean and deviation over time of the phase distortion, what the voice source does to the phase.

Degottex & Erro, "A uniform phase representation for the harmonic model in speech synthesis applications", EURASIP
Journal on Audio, Speech, and Music Processing 2014:38. The phases of the harmonics, less the minimum phase of the vocal
tract, are compared with their neighbours: differences over frequency know nothing of where a frame begins. Their
circular mean over 250 ms is the shape of the pulse (HMPDM), their spread over 90 ms the noise in it (HMPDD).

Random by design: above the last harmonic of a frame, and in frames of zeros, the original draws phases. So do we,
from the generator we are given; HMPDM_24 and all of HMPDD depend on them. Kept as well: phase distortion is 0 below the
first harmonic, and a spread of exactly 0 becomes 0.001. Whether a constant phase has a spread of exactly 0 hangs on
the last bit of a sum of nine ninths, hence the order of additions in `_filter`.

The original needs 73 frames, because its filter routine mirrors 72. Only 24 of them matter: 25 frames are enough.

F frames, B = 513 bins from DC to Nyquist.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from scipy import fft

from sottovoce.tracks.covarep.cepstrum import mel_cepstrum
from sottovoce.tracks.covarep.conventions import RATE_HZ, interpolate, rounded, wrap
from sottovoce.tracks.covarep.sinusoids import Sinusoids

BINS = 513
BIN_HZ = RATE_HZ / 2 / (BINS - 1)
MEAN, TREND, SPREAD = 25, 9, 9  # frames, about 10 ms each
LEAST = MEAN  # frames without which nothing is defined
MARGIN = 24  # frames on either side that a smoothed one depends on
HELD = 16 * MARGIN  # frames that are collected before they are smoothed
BANDS, ORDER = 25, 12
GRID_S = 0.005  # of the first resampling


def draw(rng: np.random.Generator, frames: int) -> np.ndarray:
    """(F, 513) random phases for consecutive frames; drawing them in pieces gives what drawing them at once does."""
    return rng.uniform(-np.pi, np.pi, (frames, BINS))


def distortion(sines: Sinusoids, richest: int, noise: np.ndarray) -> np.ndarray:
    """Phase distortion on a linear frequency axis.

    Args:
        sines: F frames.
        richest: harmonics of the richest frame of the whole recording. Up to there a frame has a random phase where
            it has no harmonic; beyond, and in a frame of zeros, every bin has one.
        noise: (F, 513) of `draw`.

    Returns:
        (F, 513) radians, wrapped. A row does not depend on the others.
    """
    column = np.arange(sines.phase.shape[1])
    exists = column <= sines.harmonics[:, None]
    tract = _read(_minimum_phase(_envelope(sines)), column * sines.spacing_hz[:, None] / BIN_HZ)
    source = np.where(exists & (column > 0), wrap(sines.phase - tract), 0.0)
    slope = source[:, 1:2]
    steps = wrap(np.diff(source, axis=1) - slope)  # (F, H): from harmonic k - 1 to k, read at k F0; the first is 0

    place = np.arange(BINS) * BIN_HZ / sines.f0_hz[:, None]  # in harmonics
    low = place.astype(np.int64)
    ends = []
    for harmonic in (low, np.minimum(low + 1, richest)):
        own = np.take_along_axis(steps, np.clip(harmonic, 1, steps.shape[1]) - 1, axis=1)
        nearest_bin = np.minimum(rounded(harmonic * sines.f0_hz[:, None] / BIN_HZ), BINS - 1)
        drawn = np.take_along_axis(noise, nearest_bin, axis=1)
        ends.append(np.where(harmonic <= sines.harmonics[:, None], own, drawn))
    between = wrap(ends[0] + wrap(ends[1] - ends[0]) * (place - low))
    unknown = (place > richest) | np.isnan(between)  # a frame of zeros has no phase
    return np.where(place < 1, 0.0, np.where(unknown, noise, between))


def smooth(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mean and deviation over time of the phase distortion, compressed over frequency.

    Args:
        blocks: (F', 513) consecutive frames of a recording, in pieces of any size.

    Yields:
        mean (F'', 25) in radians and deviation (F'', 13) of consecutive frames; together as many as came in.
        Values do not depend on how the frames were cut. NaN if there are fewer than 25 frames in all.
    """
    held, skipped = np.zeros((0, BINS)), 0
    for block in blocks:
        held = np.concatenate([held, block])
        if len(held) < HELD:
            continue
        mean, deviation = _statistics(held)
        yield mean[skipped:-MARGIN], deviation[skipped:-MARGIN]
        held, skipped = held[-2 * MARGIN :], MARGIN
    if len(held) < LEAST:
        yield np.full((len(held), BANDS), np.nan), np.full((len(held), ORDER + 1), np.nan)
        return
    mean, deviation = _statistics(held)
    yield mean[skipped:], deviation[skipped:]


def columns(time_s: np.ndarray, mean: np.ndarray, deviation: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """(T, 38) at the times `at_s` (T,), first read every 5 ms as the original does; NaN outside the frames.

    Args:
        time_s: (F,) of the frames.
        at_s: rising. Any stretch of a longer row of times gives its part of the whole.
        mean, deviation: (F, 25) and (F, 13).
    """
    if len(time_s) == 0 or len(at_s) == 0:
        return np.full((len(at_s), BANDS + ORDER + 1), np.nan)
    first = max(np.ceil(time_s[0] / GRID_S - 1e-9), np.floor(at_s[0] / GRID_S) - 1)
    last = min(np.floor(time_s[-1] / GRID_S + 1e-9), np.ceil(at_s[-1] / GRID_S) + 1)
    fine_s = np.arange(first, last + 1) * GRID_S
    fine_s = fine_s.clip(time_s[0], time_s[-1])  # a multiple of 5 ms is only one to the last bit
    near = slice(max(np.searchsorted(time_s, at_s[0]) - 3, 0), np.searchsorted(time_s, at_s[-1]) + 3)
    time_s, angle = time_s[near], mean[near]
    for source_s, target_s in ((time_s, fine_s), (fine_s, at_s)):
        angle = wrap(interpolate(target_s, source_s, np.unwrap(angle, axis=0)))
    return np.hstack([angle, interpolate(at_s, fine_s, interpolate(fine_s, time_s, deviation[near]))])


def _envelope(sines: Sinusoids) -> np.ndarray:
    """(F, 513) natural logarithm: straight lines between the harmonics, level below the first and above the last."""
    with np.errstate(divide="ignore"):
        level = np.log(sines.amplitude)
    level[:, 0] = level[:, 1]
    last = sines.harmonics[:, None]
    place = np.minimum(np.arange(BINS) * BIN_HZ / sines.spacing_hz[:, None], last)
    return _read(level, place)


def _minimum_phase(log_envelope: np.ndarray) -> np.ndarray:
    """(F, 513) radians, by the sines of the folded cepstrum."""
    cepstrum = fft.dct(log_envelope, 1)[:, 1:-1] / (2 * (BINS - 1))
    return np.pad(-fft.dst(cepstrum, 1), ((0, 0), (1, 1)))


def _read(rows: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Each row (F, n) read at its own places (F, K), in columns; beyond the last column its value is held."""
    place = np.minimum(place, rows.shape[1] - 1)
    low = np.minimum(place.astype(np.int64), rows.shape[1] - 2)
    before, after = (np.take_along_axis(rows, k, axis=1) for k in (low, low + 1))
    with np.errstate(invalid="ignore"):  # between -inf and -inf
        return before + (after - before) * (place - low)


def _statistics(distortions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F, 25) and (F, 13) of frames (F, 513) taken as a whole recording, F >= 25."""
    cosine, sine = np.cos(distortions), np.sin(distortions)
    average = np.full(MEAN, 1 / MEAN)
    mean = _direction(_moving(cosine, average), _moving(sine, average))
    hann = np.hanning(TREND)
    hann = (hann / hann.sum())[1:-1]  # its ends are zero
    trend = _direction(_moving(_median(cosine), hann), _moving(_median(sine), hann))
    average = np.full(SPREAD, 1 / SPREAD)
    along = _moving(cosine * trend[0] + sine * trend[1], average)  # of the difference to the trend
    across = _moving(sine * trend[0] - cosine * trend[1], average)
    length = np.minimum(np.hypot(along, across), 1.0)
    return _bands(*mean), _compressed(np.sqrt(-2 * np.log(length)))


def _direction(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the angles of vectors, any shape; that of a zero vector is 0."""
    length = np.hypot(x, y)
    none = length == 0
    length[none] = 1.0
    return np.where(none, 1.0, x / length), y / length


def _moving(rows: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Rows (F, B) through a FIR filter along time, forward and backward, the ends mirrored as odd functions."""
    reach = len(taps) - 1
    before = 2 * rows[:1] - rows[reach:0:-1]
    after = 2 * rows[-1:] - rows[-2 : -reach - 2 : -1]
    forward = _filter(np.concatenate([before, rows, after]), taps)
    return _filter(forward[::-1], taps)[::-1]


def _filter(rows: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """(F - taps + 1, B): only where all taps see a row. Additions run from the oldest row to the newest."""
    count = len(rows) - len(taps) + 1
    total = taps[-1] * rows[:count]
    for k in range(1, len(taps)):
        total += taps[-1 - k] * rows[k : k + count]
    return total


def _median(rows: np.ndarray) -> np.ndarray:
    """Running median over 9 frames (F, B), zeros beyond the ends."""
    padded = np.pad(rows, ((TREND // 2, TREND // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, TREND, axis=0)
    return np.partition(windows, TREND // 2, axis=-1)[..., TREND // 2]


def _bands(cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """(F, 25) circular means of angles (F, 513) over bands that widen with frequency; the Nyquist bin is left out."""
    member = _membership()
    return np.arctan2(sine[:, :-1] @ member, cosine[:, :-1] @ member)


@lru_cache(maxsize=1)
def _membership() -> np.ndarray:
    """(512, 25): which band a bin belongs to.

    Bin j, counted from 1, is band j up to 8; then a quadratic Bezier curve from (8, 8) by (25, 25) to (512, 25).
    """
    t = np.linspace(0, 1, 101)[:, None]
    curve = (1 - t) ** 2 * (8, 8) + 2 * t * (1 - t) * (25, 25) + t**2 * (512, 25)
    number = np.arange(1.0, BINS)
    band = rounded(np.where(number <= 8, number, np.interp(number, *curve.T)))
    return (band[:, None] == np.arange(1, BANDS + 1)).astype(np.float64)


def _compressed(deviation: np.ndarray) -> np.ndarray:
    """(F, 13) mel cepstrum of the deviation (F, 513)."""
    filled = np.where(deviation == 0, 0.001, deviation)
    filled[:, 0] = filled[:, 1]
    return mel_cepstrum(filled, ORDER)
