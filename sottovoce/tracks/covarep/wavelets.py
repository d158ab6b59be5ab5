"""Wavelets of a voice: peakSlope (breathy to tense) and MDQ, how sharply the glottis closes.

    peak slope   Kane & Gobl, "Identifying regions of non-modal phonation using features of the wavelet transform",
                 Interspeech 2011: how the maxima of the bands rise from coarse to fine, here in log10
    dispersion   MDQ, Kane & Gobl, "Wavelet maxima dispersion for breathy to tense voice discrimination", IEEE TASLP
                 21(6), 2013: how far the maxima of the residual's bands lie from the closure instant, in periods

Both convolve with the mother wavelet of d'Alessandro & Sturmel (Sadhana 36(5), 2011), a cosine at half the sampling
rate under a Gaussian, stretched by 2^scale. Next to exact zeros a band holds only the tail of the wavelet, 1e-100
and less, and a logarithm is taken of it: a transform by FFT alone would answer with its rounding error there.

Kept from the original: the centre of an MDQ window counts from 0, the maximum in it from 1.
"""

import numpy as np
from scipy import signal

from sottovoce.files import scratch
from sottovoce.tracks.covarep.closure import periods
from sottovoce.tracks.covarep.conventions import BLOCK, chunks, frames, rounded

REACH = 1000  # samples of the wavelet on either side
SLOPE_SCALES = range(6, -1, -1)  # coarse (125 Hz) to fine (8 kHz)
MDQ_SCALES = range(2, 7)
FRAME, STEP = 640, 160  # samples: 40 ms every 10 ms
MDQ_SHARE = 0.2  # of the period, on either side of a closure
DOUBTFUL = 1e-9  # of the maximum around: below, rounding of the FFT would show


def peak_slope(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the line through log10 of the bands' largest magnitudes, per scale from coarse to fine.

    A louder recording has the same slope.

    Args:
        samples: (N,) at 16 kHz.

    Returns:
        position (F,) of the frames, samples counted from 0; slope (F,). -inf where one or two of the finest bands are
        exactly zero, NaN where more are (digital silence).
    """
    count = max(0, (len(samples) - FRAME) // STEP + 1)
    starts = np.arange(count) * STEP
    levels = np.empty((count, len(SLOPE_SCALES)))
    for column, scale in enumerate(SLOPE_SCALES):
        with np.errstate(divide="ignore"):
            levels[:, column] = np.log10(_frame_maxima(band(samples, scale), count))
    centred = np.arange(len(SLOPE_SCALES)) - (len(SLOPE_SCALES) - 1) / 2
    silent = np.isneginf(levels).sum(axis=1)
    with np.errstate(invalid="ignore"):
        slope = levels @ centred / (centred**2).sum()
    slope[silent > 0] = -np.inf
    slope[silent > 2] = np.nan  # where the original's least squares meets inf - inf
    return starts + FRAME // 2, slope


def dispersion(residual: np.ndarray, closures: np.ndarray) -> np.ndarray:
    """MDQ of every closure: mean distance of the bands' maxima from it, in periods.

    Args:
        residual: (N,) LP residual of order 18; NaN (digital silence) blanks what the wavelet would mix with it.
        closures: (G,) rising, samples counted from 0; the period of one is its distance from the one before.

    Returns:
        (G,) quotients; NaN for a closure without a whole period on either side.
    """
    period = periods(closures)
    reach = rounded(MDQ_SHARE * period)
    whole = np.flatnonzero((period > 0) & (closures + 1 > period) & (closures + 1 + period <= len(residual)))
    distance = np.full(len(closures), np.nan)
    distance[whole] = 0.0
    for scale in MDQ_SCALES:
        row = band(residual, scale)
        for k in whole:
            peak = row[closures[k] - reach[k] : closures[k] + reach[k] + 1].argmax() + 1
            distance[k] += abs(reach[k] - peak)
    return distance / (len(MDQ_SCALES) * np.maximum(period, 1))


def wavelet(scale: int) -> np.ndarray:
    """(2 * REACH + 1,) the mother wavelet stretched by 2^scale; its centre frequency is 8 kHz / 2^scale."""
    t = np.arange(-REACH, REACH + 1) / 2.0**scale
    return -np.cos(np.pi * t) * np.exp(-(t**2) / 2)


def band(samples: np.ndarray, scale: int) -> np.ndarray:
    """(N,) signal convolved with a wavelet, -inf where a NaN lies under it."""
    kernel = wavelet(scale)
    width = int(np.count_nonzero(kernel)) // 2
    out = scratch(len(samples))
    for part in chunks(len(samples), BLOCK):
        there = np.zeros(part.stop - part.start + 2 * REACH)  # zeros beyond the ends
        first, last = max(part.start - REACH, 0), min(part.stop + REACH, len(samples))
        there[first - part.start + REACH : last - part.start + REACH] = samples[first:last]
        missing = np.isnan(there)
        out[part] = _convolve(np.where(missing, 0.0, there), kernel)
        if missing.any():
            out[part][_near(missing, width)[REACH:-REACH]] = -np.inf
    return out


def _convolve(samples: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """(N - 2 * REACH,) by FFT, and sample by sample where little or nothing is left."""
    out = signal.oaconvolve(samples, kernel, mode="valid")
    doubtful = np.abs(out) <= DOUBTFUL * np.abs(out).max()
    out[doubtful] = 0.0
    doubtful &= _near(samples != 0, REACH)[REACH:-REACH]  # the others are zero without a sum
    edges = np.flatnonzero(np.diff(doubtful, prepend=False, append=False))
    for start, stop in edges.reshape(-1, 2):
        out[start:stop] = np.convolve(samples[start : stop + 2 * REACH], kernel, "valid")
    return out


def _near(marked: np.ndarray, reach: int) -> np.ndarray:
    """(N,) bool: a marked sample lies within reach."""
    total = np.cumsum(np.pad(marked, (reach + 1, reach)))
    return total[2 * reach + 1 :] > total[: -2 * reach - 1]


def _frame_maxima(values: np.ndarray, count: int) -> np.ndarray:
    """(count,) largest magnitude of each frame; a frame is a whole number of steps."""
    if count == 0:
        return np.zeros(0)
    overlap = FRAME // STEP
    loudest = np.empty(count + overlap - 1)  # of each step
    for part in chunks(len(loudest)):
        loudest[part] = np.abs(values[part.start * STEP : part.stop * STEP]).reshape(-1, STEP).max(axis=1)
    return frames(loudest, np.arange(count), overlap).max(axis=1)
