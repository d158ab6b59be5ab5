"""Harmonic sinusoids: amplitude and phase of every harmonic of F0, the ground of Rd, MCEP and HMPD.

McAulay & Quatieri, "Speech analysis/synthesis based on a sinusoidal representation", IEEE TASSP 34(4), 1986: three
periods under a Blackman window, a zero-padded spectrum whose phase is that of the window's centre, and near every
multiple of F0 the top of a parabola through the spectral peak.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from sottovoce.tracks.covarep.conventions import RATE_HZ, is_peak, parabola, rounded, wrap

SPECTRUM = 4096  # points of the whole spectrum
HALF = SPECTRUM // 2  # its Nyquist bin
PERIODS = 3


@dataclass(frozen=True)
class Sinusoids:
    """F frames; H harmonics of the richest one. Column k of a row is harmonic k, column 0 is DC.

    Columns beyond `harmonics` hold amplitude 1 and phase 0.
    """

    f0_hz: np.ndarray  # (F,) as given
    spacing_hz: np.ndarray  # (F,) median distance of the peaks found; harmonic k counts as k times it
    harmonics: np.ndarray  # (F,) how many below the Nyquist frequency
    amplitude: np.ndarray  # (F, 1 + H), a sinusoid a cos(...) has a / 2
    phase: np.ndarray  # (F, 1 + H) radians, at the centre of the window
    log_magnitude: np.ndarray  # (F, 2049) natural logarithm of the spectrum from DC to Nyquist


def count_harmonics(f0_hz: np.ndarray) -> np.ndarray:
    """(F,) how many harmonics of F0 (F,) there are up to the Nyquist frequency."""
    return rounded((RATE_HZ / 2 - f0_hz / 2) / f0_hz)


def half_window(f0_hz: np.ndarray) -> np.ndarray:
    """(F,) samples on either side of the window's centre."""
    return rounded(PERIODS * RATE_HZ / f0_hz / 2)


def fits(centre: np.ndarray, f0_hz: np.ndarray, samples: int) -> np.ndarray:
    """(F,) bool: which windows lie inside a signal of so many samples. Others cannot be analysed.

    Args:
        centre: (F,) sample numbers counted from 0.
        f0_hz: (F,).
    """
    half = half_window(f0_hz)
    return (centre >= half) & (centre + half < samples)


def sinusoids(samples: np.ndarray, centre: np.ndarray, f0_hz: np.ndarray) -> Sinusoids:
    """Harmonic analysis of F frames; a row does not depend on the others.

    Memory is about 200 kB a frame, so give a long recording in pieces.

    Args:
        samples: (N,).
        centre: (F,) sample numbers counted from 0, where `fits` holds. For the frames of `pitch.srh` that is
            `Pitch.position`, one sample late as in the original.
        f0_hz: (F,) initial value, positive.
    """
    spectrum = _spectrum(samples, centre, f0_hz)
    magnitude, angle = np.abs(spectrum), np.angle(spectrum)
    with np.errstate(divide="ignore"):
        log_magnitude = np.log(magnitude)
    harmonics = count_harmonics(f0_hz)
    column = np.arange(1 + harmonics.max(initial=0))
    exists = column <= harmonics[:, None]
    wanted = np.where(exists, column * f0_hz[:, None], 0.0)  # Hz

    bins = rounded(wanted * SPECTRUM / RATE_HZ)
    amplitude = np.take_along_axis(magnitude, bins, axis=1)
    frequency, height, near = _nearest_peak(log_magnitude, wanted)
    near &= (np.abs(frequency - wanted) < f0_hz[:, None] / 2) & exists & (column > 0)
    amplitude = np.where(near, np.exp(height), amplitude)
    frequency = np.where(near, frequency, wanted)

    at = frequency * SPECTRUM / RATE_HZ
    low = np.minimum(at.astype(np.int64), HALF - 1)
    before, after = (np.take_along_axis(angle, k, axis=1) for k in (low, low + 1))
    phase = wrap(before + wrap(after - before) * (at - low))

    step = np.where(exists[:, 1:], np.diff(frequency, axis=1), np.nan)
    return Sinusoids(
        f0_hz=np.asarray(f0_hz, dtype=np.float64),
        spacing_hz=np.nanmedian(step, axis=1),
        harmonics=harmonics,
        amplitude=np.where(exists, amplitude, 1.0),
        phase=np.where(exists, phase, 0.0),
        log_magnitude=log_magnitude,
    )


def _spectrum(samples: np.ndarray, centre: np.ndarray, f0_hz: np.ndarray) -> np.ndarray:
    """(F, 2049) complex, phase referred to the centre of the window."""
    half = half_window(f0_hz)
    turned = np.zeros((len(centre), SPECTRUM))  # the centre is sample 0, what lies before it is at the end
    for row, at, side in zip(turned, centre, half, strict=True):
        length = min(2 * side + 1, SPECTRUM)  # below 12 Hz the spectrum sees the first 4,096 samples only
        frame = samples[at - side : at - side + length] * _window(int(side))[:length]
        start = -side % SPECTRUM
        row[start : start + length] = frame[: SPECTRUM - start]
        row[: max(start + length - SPECTRUM, 0)] = frame[SPECTRUM - start :]
    return fft.rfft(turned)


@lru_cache(maxsize=512)  # F0 comes in whole hertz
def _window(half: int) -> np.ndarray:
    window = np.blackman(2 * half + 1)
    return window / window.sum()


def _nearest_peak(log_magnitude: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each frequency in Hz (F, K) the nearest spectral peak of its frame.

    Returns:
        frequency (F, K) in Hz, height (F, K) as natural logarithm, found (F, K) False in a frame without peaks.
    """
    row, at = is_peak(log_magnitude).nonzero()
    if len(row) == 0:
        return wanted, np.zeros(wanted.shape), np.zeros(wanted.shape, dtype=bool)
    offset, height = parabola(*(log_magnitude[row, at + k] for k in (-1, 0, 1)))
    frequency = (at + offset) * RATE_HZ / SPECTRUM
    frame = np.broadcast_to(np.arange(len(wanted))[:, None], wanted.shape)
    shift = 4.0 * RATE_HZ  # between one frame's frequencies and the next one's on a common axis
    after = np.searchsorted(frequency + shift * row, wanted + shift * frame)
    before, after = np.maximum(after - 1, 0), np.minimum(after, len(row) - 1)
    far = [np.where(row[k] == frame, np.abs(frequency[k] - wanted), np.inf) for k in (before, after)]
    chosen = np.where(far[0] <= far[1], before, after)
    return frequency[chosen], height[chosen], row[chosen] == frame
