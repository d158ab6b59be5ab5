"""SEDREAMS: the instants at which the glottis closes.

Drugman & Dutoit, "Glottal closure and opening instant detection from speech signals", Interspeech 2009; Drugman,
Thomas, Gudnason, Naylor & Dutoit, "Detection of glottal closure instants from speech signals: a quantitative review",
IEEE TASLP 20(3), 2012. A moving average about as long as a period leaves one slow oscillation per period. Where in
its cycle closures lie is learnt from the strongest peaks of the LP residual, and in every cycle the largest peak near
that position is the closure. Median pitch, strongest peaks and position are statistics of the whole recording.
"""

import numpy as np
from scipy import signal

from sottovoce.files import scratch
from sottovoce.tracks.covarep.conventions import BLOCK, RATE_HZ, chunks, high_pass, rounded, turns

PERIODS = 1.7  # length of the moving average
CUTOFF_HZ, EDGE_HZ = 50.0, 30.0  # what is slower than voices goes
STRONG = 0.4  # of the residual's maximum: surely a closure
REACH = 0.35  # of the way from minimum to maximum, searched on either side


def sedreams(samples: np.ndarray, residual: np.ndarray, f0_hz: float) -> np.ndarray:
    """Closure instants everywhere; `pitch.voiced_at(instants)` says which of them lie in a voice.

    Args:
        samples: (N,) at 16 kHz, the right way up (`polarity`).
        residual: (N,) of `lp_residual`, order 18, largest magnitude 1; NaN counts as 0.
        f0_hz: median pitch, `pitch.median_hz()`. NaN (no voice) gives no instants.

    Returns:
        (G,) int64, rising, samples counted from 0.
    """
    none = np.zeros(0, np.int64)
    if not f0_hz > 0:
        return none
    low, high = _cycles(samples, f0_hz)
    if len(low) == 0:
        return none
    strong = np.concatenate(
        [part.start + np.flatnonzero(residual[part] > STRONG) for part in chunks(len(residual), BLOCK)]
    )
    nearest = _nearest(low, strong)
    position = np.median((strong - low[nearest]) / (high - low)[nearest]) if len(strong) else 0.0
    start = low + rounded((position - REACH) * (high - low))
    stop = low + rounded((position + REACH) * (high - low)) + 1
    useful = (start < len(samples)) & (stop > 1)
    start, stop = np.maximum(start[useful], 0), stop[useful]
    instants = [begin + np.nan_to_num(residual[begin:end]).argmax() for begin, end in zip(start, stop, strict=True)]
    return np.unique(np.array(instants, dtype=np.int64))


def periods(closures: np.ndarray) -> np.ndarray:
    """(G,) distance of every closure (G,) from the one before; the first borrows the second's, one alone has 0."""
    if len(closures) < 2:
        return np.zeros(len(closures), np.int64)
    return np.diff(closures, prepend=2 * closures[0] - closures[1])


def _cycles(samples: np.ndarray, f0_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """(K,) minima of the slow oscillation, and the maximum after each; samples counted from 0."""
    half = int(rounded(PERIODS * rounded(RATE_HZ / f0_hz) / 2))
    window = np.blackman(2 * half + 1) / (2 * half + 1)
    if len(samples) <= len(window):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    slow = scratch(len(samples))  # the first and last `half` samples stay 0
    for part in chunks(len(samples) - 2 * half, BLOCK):
        there = samples[part.start : part.stop + 2 * half]
        slow[part.start + half : part.stop + half] = signal.oaconvolve(there, window, mode="valid")
    low, high = turns(high_pass(slow, CUTOFF_HZ, EDGE_HZ))
    if len(low) == 0 or len(high) == 0:
        return low[:0], high[:0]
    low, high = low[low < high[-1]], high[high > low[0]]
    count = min(len(low), len(high))
    return low[:count], high[:count]


def _nearest(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Index of the nearest of the rising `points` (K,) for each of `to`; the first of two as near."""
    at = np.searchsorted(points, to)
    before, after = np.maximum(at - 1, 0), np.minimum(at, len(points) - 1)
    return np.where(to - points[before] <= points[after] - to, before, after)
