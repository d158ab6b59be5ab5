"""What every algorithm of the 74 columns agrees on: grid, windows, rounding, interpolation, LPC, filters, peaks.

The original is a collection of papers' codes with MATLAB's habits: positions count from 1, halves round away from
zero, nothing is known outside the first and the last point. Columns agree with it only where these habits are kept,
so they are kept here, once. Everything is float64; RATE_HZ is fixed, because window lengths in samples are.

Letters: N samples, F frames, n samples of a frame or bins of a spectrum, `...` any leading axes.
"""

from collections.abc import Iterator

import numpy as np
from scipy import signal

from sottovoce.files import scratch

RATE_HZ = 16_000
STEP = 160  # samples between two rows of the output, 10 ms
CHUNK = 512  # frames worked on at a time: memory stays bounded, and the work stays in the cache of a core
BLOCK = 1 << 18  # samples worked on at a time, 16 s


# -- grid ---------------------------------------------------------------------------------------------------


def grid(samples: int) -> np.ndarray:
    """(T,) sample numbers of the output rows, counted from 1: 80, 240, 400, ... <= N. Row time is (s - 1) / RATE_HZ.

    >>> grid(400).tolist(), len(grid(399))
    ([80, 240, 400], 2)
    """
    return np.arange(STEP // 2, samples + 1, STEP)


def chunks(count: int, size: int = CHUNK) -> Iterator[slice]:
    """`count` frames in slices of at most `size`.

    >>> [(part.start, part.stop) for part in chunks(5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    return (slice(at, min(at + size, count)) for at in range(0, count, size))


def frames(samples: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """(F, length) copies of the segments that begin at the 0-based `starts`; all must lie inside the signal."""
    return np.lib.stride_tricks.sliding_window_view(samples, length)[starts]


# -- windows ------------------------------------------------------------------------------------------------


def hanning(length: int) -> np.ndarray:
    """(length,) raised cosine *without* zero ends. The one with zero ends is `numpy.hanning`.

    >>> hanning(3).round(9).tolist()
    [0.5, 1.0, 0.5]
    """
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1))


# -- numbers ------------------------------------------------------------------------------------------------


def rounded(x: np.ndarray | float) -> np.ndarray:
    """Nearest integer as int64, halves away from zero (NumPy's own rounding takes halves to the even one).

    >>> rounded(np.array([0.5, 1.5, 2.5, -0.5])).tolist()
    [1, 2, 3, -1]
    """
    return (np.sign(x) * np.floor(np.abs(x) + 0.5)).astype(np.int64)


def wrap(phase: np.ndarray) -> np.ndarray:
    """Radians brought to [-pi, pi], any shape."""
    turns = phase / (2 * np.pi)
    return phase - 2 * np.pi * (np.sign(turns) * np.floor(np.abs(turns) + 0.5))


def interpolate(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Straight lines through the points (x, y), read at `at`; NaN outside the first and the last point.

    Unlike `numpy.interp`: a value next to an infinite one is y0 + slope * (at - x0), infinite or NaN.

    Args:
        at: (T,) places in any order.
        x: (K,) rising; no point at all gives NaN everywhere, one point is known only at itself.
        y: (K,) or (K, D).

    Returns:
        (T,) or (T, D) float64.
    """
    at, x, y = (np.asarray(values, dtype=np.float64) for values in (at, x, y))
    out = np.full((len(at), *y.shape[1:]), np.nan)
    if len(x) == 0:
        return out
    if len(x) == 1:
        out[at == x[0]] = y[0]
        return out
    inside = (at >= x[0]) & (at <= x[-1])
    at = at[inside]
    low = np.minimum(np.searchsorted(x, at, side="right") - 1, len(x) - 2)
    run, width = at - x[low], x[low + 1] - x[low]
    if y.ndim == 2:
        run, width = run[:, None], width[:, None]
    with np.errstate(invalid="ignore"):
        out[inside] = y[low] + (y[low + 1] - y[low]) / width * run
    return out


# -- filters ------------------------------------------------------------------------------------------------


def lpc(frames: np.ndarray, order: int) -> np.ndarray:
    """Linear prediction by the autocorrelation method (Levinson recursion), all frames at once.

    No lag window and no pre-emphasis (Makhoul, Proc. IEEE 63(4), 1975).

    Args:
        frames: (..., n), windowed.
        order: p, below n.

    Returns:
        (..., p + 1) inverse filter 1, a_1 .. a_p; NaN for a frame of zeros.
    """
    length = frames.shape[-1]
    lags = [np.einsum("...i,...i->...", frames[..., : length - lag], frames[..., lag:]) for lag in range(order + 1)]
    return levinson(np.stack(lags, axis=-1))


def levinson(r: np.ndarray) -> np.ndarray:
    """(..., p + 1) inverse filters from autocorrelations at the lags 0 .. p, (..., p + 1)."""
    a = np.zeros_like(r)
    a[..., 0] = 1.0
    error = r[..., 0]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for step in range(1, r.shape[-1]):
            reflection = -np.einsum("...i,...i->...", a[..., :step], r[..., step:0:-1]) / error
            a[..., : step + 1] += reflection[..., None] * a[..., step::-1]
            error = error * (1 - reflection**2)
    a[..., 0] = 1.0  # also where the frame was zero
    return a


def fir(frames: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Each frame through its own FIR filter, from rest, length kept.

    Args:
        frames: (..., n).
        taps: (..., p + 1) with the same leading axes.
    """
    out = taps[..., :1] * frames
    for lag in range(1, taps.shape[-1]):
        out[..., lag:] += taps[..., lag : lag + 1] * frames[..., :-lag]
    return out


def zero_phase(b: np.ndarray, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(N,) forward and backward through b / a, the ends mirrored as odd functions over 3 (taps - 1) samples.

    `scipy.signal.filtfilt` with that `padlen` (its default is 3 taps), block by block. Raises ValueError when `x` is
    not longer than the extension.
    """
    extension = 3 * (max(len(a), len(b)) - 1)
    if len(x) <= extension:
        raise ValueError(f"zero-phase filtering mirrors {extension} samples and needs more, found {len(x)}")
    before, after = 2 * x[0] - x[extension:0:-1], 2 * x[-1] - x[-2 : -extension - 2 : -1]
    steady = signal.lfilter_zi(b, a)
    out = scratch(len(x))
    _, state = signal.lfilter(b, a, before, zi=steady * before[0])
    for part in chunks(len(x), BLOCK):
        out[part], state = signal.lfilter(b, a, x[part], zi=state)
    after, _ = signal.lfilter(b, a, after, zi=state)
    _, state = signal.lfilter(b, a, after[::-1], zi=steady * after[-1])
    for part in reversed(list(chunks(len(x), BLOCK))):
        backward, state = signal.lfilter(b, a, out[part][::-1], zi=state)
        out[part] = backward[::-1]
    return out


def high_pass(samples: np.ndarray, cutoff_hz: float, other_hz: float) -> np.ndarray:
    """(N,) through an elliptic high-pass with 3 dB of ripple above `cutoff_hz` and 60 dB of loss, zero phase.

    The order is what a transition band between the two frequencies needs; `other_hz` may lie on either side.
    """
    order, cutoff = signal.ellipord(cutoff_hz, other_hz, 3, 60, fs=RATE_HZ)
    b, a = signal.ellip(order, 3, 60, cutoff, "highpass", fs=RATE_HZ)
    return zero_phase(b, a, samples)


# -- peaks --------------------------------------------------------------------------------------------------


def is_peak(x: np.ndarray) -> np.ndarray:
    """Where the values of a spectrum rise before and fall after; ends of a row are no peaks (peaks B).

    Of equal samples the middle one is the peak, the lower of two. A long signal has `turns`.

    Args:
        x: (..., n); -inf is lower than anything, NaN makes no peak.

    Returns:
        (..., n) bool.

    >>> is_peak(np.array([0, 1, 0, 2, 2, 2, 0, 5.0])).nonzero()[0].tolist()
    [1, 4]
    """
    new = np.ones(x.shape, dtype=bool)  # a run of equal values starts here
    new[..., 1:] = x[..., 1:] != x[..., :-1]
    first = np.flatnonzero(new)
    last = np.append(first[1:], x.size) - 1
    value = x.ravel()[first]
    peak = np.zeros(len(first), dtype=bool)
    peak[1:-1] = (value[1:-1] > value[:-2]) & (value[1:-1] > value[2:])
    peak &= (first % x.shape[-1] > 0) & (last % x.shape[-1] < x.shape[-1] - 1)
    out = np.zeros(x.size, dtype=bool)
    out[((first + last) // 2)[peak]] = True
    return out.reshape(x.shape)


def turns(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a long signal (N,) turns upward and where downward: local minima and maxima, ends excluded.

    Of equal samples the first is the turn (peaks A of the closure instants).

    >>> [at.tolist() for at in turns(np.array([0, 1, 0, 2, 2, 2, 0, 5.0]))]
    [[2, 6], [1, 3]]
    """
    low, high = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    rising, behind = np.zeros(0, bool), np.zeros(0, np.int64)  # steps that are not level, and the sample behind each
    for part in chunks(len(x) - 1, BLOCK):
        step = x[part.start + 1 : part.stop + 1] - x[part]
        at = np.flatnonzero(step)
        rising = np.concatenate([rising[-1:], step[at] > 0])
        behind = np.concatenate([behind[-1:], part.start + at + 1])
        turn = np.flatnonzero(rising[:-1] != rising[1:])
        high.append(behind[turn[rising[turn]]])
        low.append(behind[turn[~rising[turn]]])
    return np.concatenate(low), np.concatenate(high)


def parabola(before: np.ndarray, peak: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top of the parabola through three neighbours, any shape.

    Returns:
        offset of the top from the middle one, in samples; its height. Where the curvature is not negative, the
        middle point itself.
    """
    slope, bend = (after - before) / 2, peak - (after + before) / 2
    curved = bend > 0
    offset = np.where(curved, slope / np.where(curved, 2 * bend, 1), 0.0)
    return offset, peak + offset * slope / 2


def spaced(positions: np.ndarray, heights: np.ndarray, width: float) -> np.ndarray:
    """Which peaks stay when neighbours must be more than `width` apart.

    As long as two neighbours are too near, the lower of each such pair goes (the later if they are equal), all
    pairs of a round at once.

    Args:
        positions: (K,) rising.
        heights: (K,).

    Returns:
        (K',) indices of those that stay.

    >>> spaced(np.array([0, 1, 5]), np.array([1.0, 2.0, 0.5]), 2).tolist()
    [1, 2]
    """
    kept = np.arange(len(positions))
    while True:
        near = np.flatnonzero(np.diff(positions[kept]) <= width)
        if len(near) == 0:
            return kept
        lower = near + (heights[kept[near]] >= heights[kept[near + 1]])
        kept = np.delete(kept, lower)
