"""NAQ, QOQ, H1-H2 and PSP: four values for the shape of a glottal pulse, from pressed to breathy.

    NAQ    normalised amplitude quotient, Alku, Backstrom & Vilkman, JASA 112(2), 2002
    QOQ    quasi-open quotient, Hacki, Folia Phoniatrica 41, 1989: share of the period in the upper half of the pulse
    H1-H2  level of the first over the second harmonic in dB, Hanson, JASA 101(1), 1997
    PSP    parabolic spectral parameter, Alku, Strik & Vilkman, Speech Communication 22(1), 1997

All are ratios: the scale of the flow does not matter. A period that is not one of a voice (20..500 Hz) has none.

Kept from the original: harmonics are sought at bins counted from 1, so F0 is read one hertz lower.
"""

from functools import lru_cache

import numpy as np
from scipy import fft, signal

from sottovoce.tracks.covarep.closure import periods
from sottovoce.tracks.covarep.conventions import RATE_HZ, chunks, is_peak, rounded, spaced

NAMES = ("NAQ", "QOQ", "H1H2", "PSP")
LOWEST_HZ, HIGHEST_HZ = 20.0, 500.0
AFTER = 8  # samples behind a closure in which the steepest slope may lie
HARMONICS = 8  # of the spectrum that is searched; peaks further up do not reach the first two
FEWEST_PEAKS = 5
PSP_POINTS = 2048
PSP_ERROR = 0.01  # of the parabola: more means that it has left the main lobe
CHUNK = 8  # closures whose spectra fit the cache of a core


def parameters(flow: np.ndarray, derivative: np.ndarray, closures: np.ndarray) -> np.ndarray:
    """The four values of every closure, for the pulse that ends there.

    Args:
        flow, derivative: (N,) of `inverse_filter.glottal_flow`.
        closures: (G,) rising, samples counted from 0.

    Returns:
        (G, 4) in the order of `NAMES`; NaN where a number is not defined.
    """
    out = np.full((len(closures), len(NAMES)), np.nan)
    period = periods(closures)
    voiced = np.flatnonzero((period * HIGHEST_HZ > RATE_HZ) & (period * LOWEST_HZ < RATE_HZ))
    for k in voiced:
        begin, end = (closures[k - 1] if k else 0), closures[k]
        out[k, :2] = _quotients(flow[begin : end + 1], derivative[begin : end + AFTER + 1], period[k])
    out[voiced, 2] = h1h2(derivative, closures[voiced], period[voiced])
    later = voiced[voiced > 0]
    pulses = [flow[closures[k - 1] : closures[k] + 1] for k in later]
    out[later, 3] = psp(pulses, period[later])
    return np.where(np.isfinite(out), out, np.nan)


def _quotients(pulse: np.ndarray, derivative: np.ndarray, period: int) -> tuple[float, float]:
    """NAQ and QOQ of one pulse, from a closure to the next, above the line between its ends."""
    pulse = pulse - np.linspace(pulse[0], pulse[-1], len(pulse))
    top = int(pulse.argmax())
    height, steepest = pulse[top], np.abs(derivative).max()
    if steepest == 0:
        return np.nan, np.nan
    low = pulse <= height / 2
    left, right = np.flatnonzero(low[:top]), np.flatnonzero(low[top:])
    first = min(top, max(left[-1] if len(left) else 0, 2))  # the walks end two samples before the pulse does
    last = max(top, min(top + right[0] if len(right) else len(pulse), len(pulse) - 3))
    return height / (steepest * period), (last - first) / period


def h1h2(derivative: np.ndarray, closures: np.ndarray, period: np.ndarray) -> np.ndarray:
    """(G,) dB between the first two harmonics, in three periods around each closure; NaN without clear harmonics.

    Args:
        derivative: (N,) of the flow.
        closures, period: (G,) samples.
    """
    out = np.full(len(closures), np.nan)
    reach = rounded(1.5 * period)
    for part in chunks(len(closures), CHUNK):
        frames = np.zeros((part.stop - part.start, (2 * int(reach[part].max()) // 64 + 1) * 64))
        for row, at, r in zip(frames, closures[part], reach[part], strict=True):
            frame = derivative[max(at - r, 0) : at + r + 1]
            row[: len(frame)] = frame * _window(len(frame))
        f0 = RATE_HZ / period[part]
        bins = (int(HARMONICS * f0.max()) // 256 + 1) * 256
        power = np.abs(_spectrum(frames.shape[1], bins)(frames)) ** 2
        peaks = is_peak(power)
        for k, (found, levels, hz) in enumerate(zip(peaks, power, f0, strict=True)):
            at = np.flatnonzero(found)
            at = at[spaced(at, levels[at], hz / 2)]
            if len(at) >= FEWEST_PEAKS:
                first, second = (levels[at[np.abs(at + 1 - n * hz).argmin()]] for n in (1, 2))
                out[part.start + k] = 10 * np.log10(first / second)
    return out


@lru_cache(maxsize=1024)
def _window(length: int) -> np.ndarray:
    return np.hamming(length)


@lru_cache(maxsize=64)
def _spectrum(length: int, bins: int) -> signal.CZT:
    """Bins 0, 1, ... of one hertz each, without the thousands above."""
    return signal.CZT(length, bins, np.exp(-2j * np.pi / RATE_HZ))


def psp(pulses: list[np.ndarray], period: np.ndarray) -> np.ndarray:
    """(G,) how fast the spectra of the pulses fall, against a rectangle of one period; NaN for a flat pulse.

    Args:
        pulses: of each period its flow, from one closure to the next.
        period: (G,) samples.
    """
    out = np.zeros(len(pulses))
    for part in chunks(len(pulses), CHUNK):
        padded = np.zeros((part.stop - part.start, PSP_POINTS))
        for row, pulse in zip(padded, pulses[part], strict=True):
            raised = pulse - pulse.min()
            with np.errstate(invalid="ignore"):
                row[: len(pulse)] = raised / raised.max()
        rectangle = np.array([_of_rectangle(int(t)) for t in period[part]])
        out[part] = _curvature(padded) / rectangle
    return out


@lru_cache(maxsize=1024)
def _of_rectangle(period: int) -> float:
    rectangle = np.zeros((1, PSP_POINTS))
    rectangle[0, :period] = 1 / period
    return float(_curvature(rectangle)[0])


def _curvature(frames: np.ndarray, bins: int = 128) -> np.ndarray:
    """(F,) a of the parabola a k^2 + b through as many low bins k of the spectrum in dB as it fits, `bins` at first."""
    with np.errstate(divide="ignore"):
        level = 20 * np.log10(np.abs(fft.rfft(frames)[:, :bins]))
    count = np.arange(1, bins + 1)
    x = np.arange(bins) ** 2.0
    sx, sxx = np.cumsum(x), np.cumsum(x**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        sy, sxy, syy = (np.cumsum(values, axis=1) for values in (level, level * x, level**2))
        a = (count * sxy - sx * sy) / (count * sxx - sx**2)
        b = (sy - a * sx) / count
        left = ~((syy - a * sxy - b * sy) / syy < PSP_ERROR)  # also where a silent bin is under it
    left[:, :2] = False  # three points at least
    out = a[np.arange(len(a)), np.where(left.any(axis=1), left.argmax(axis=1), bins - 1)]
    fits = ~left.any(axis=1)
    if bins < PSP_POINTS // 2 and fits.any():
        out[fits] = _curvature(frames[fits], PSP_POINTS // 2)
    return out
