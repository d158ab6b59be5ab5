"""MCEP: mel cepstrum of the true envelope, the spectral shape without the harmonics.

The true envelope (Roebel & Rodet, "Efficient spectral envelope estimation and its application to pitch shifting and
envelope preservation", DAFx 2005) is the smooth curve that passes through the spectral peaks: smooth by the cepstrum,
take the larger of curve and spectrum, smooth again, until no peak stands out by more than 2 dB. Its order follows F0.
The mel-warped cepstrum describes it in 25 values (Imai, "Cepstral analysis synthesis on the mel frequency scale",
ICASSP 1983, with the warping done by interpolation).

Kept from the original: `columns` spreads the frames evenly over the recording instead of placing them at their times,
which shifts MCEP by up to about 50 ms at the ends.

F frames, P the largest order; spectra are (F, 2049) from DC to Nyquist.
"""

from functools import lru_cache

import numpy as np
from scipy import fft

from sottovoce.tracks.covarep.conventions import RATE_HZ, interpolate, rounded

TOLERANCE = np.log(10 ** (2 / 20))  # 2 dB
ROUNDS = 200
OVERSHOOT = 1.2  # cepstral order over what F0 allows
ORDER = 24


def mcep(log_magnitude: np.ndarray, f0_hz: np.ndarray) -> np.ndarray:
    """Mel cepstrum of the true envelope.

    Args:
        log_magnitude: (F, n + 1) natural logarithm of the half spectrum, `Sinusoids.log_magnitude`.
        f0_hz: (F,) of the pitch tracker.

    Returns:
        (F, 25): c_0, 2 c_1, ... 2 c_24; NaN for a frame of zeros.
    """
    return mel_cepstrum(np.exp(envelope(log_magnitude, f0_hz)), ORDER)


def columns(mcep_frames: np.ndarray, samples: int, at: np.ndarray) -> np.ndarray:
    """(T, D) frames (F, D), spread evenly over a recording of so many samples, at sample numbers `at` (T,)."""
    return interpolate(at, rounded(np.linspace(1, samples, len(mcep_frames))), mcep_frames)


def envelope(log_magnitude: np.ndarray, f0_hz: np.ndarray) -> np.ndarray:
    """(F, n + 1) true envelope of (F, n + 1), natural logarithm.

    Below the first harmonic and above the last there are no peaks to hold on to; an envelope of half the order
    replaces the spectrum there before the real one is fitted.
    """
    half = log_magnitude.shape[1] - 1
    order = np.minimum(rounded(OVERSHOOT * rounded(0.5 * RATE_HZ / f0_hz)), half - 1)
    helper_order = np.minimum(rounded(OVERSHOOT * rounded(order / 2)), half - 1)
    helper = true_envelope(log_magnitude, helper_order)
    width = rounded(0.25 * 2 * half / order)[:, None]
    bins = np.arange(half + 1)
    return true_envelope(np.where((bins < width) | (bins >= half + 2 - width), helper, log_magnitude), order)


def true_envelope(log_magnitude: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(F, n + 1) smooth curves through the peaks of (F, n + 1); NaN where a spectrum is not finite.

    Args:
        order: (F,) highest quefrency that is kept, at least 1 and below n.
    """
    half = log_magnitude.shape[1] - 1
    quefrency = np.arange(order.max(initial=1) + 1)
    out = np.full(log_magnitude.shape, np.nan)
    going = np.flatnonzero(np.isfinite(log_magnitude).all(axis=1))  # frames that are not through yet
    limit = order[going][:, None]
    kept = quefrency <= limit
    smoothing = np.where(kept, 0.54 + 0.46 * np.cos(np.pi * quefrency / limit), 0.0)  # half a Hamming window
    spectrum = log_magnitude[going]
    raised = spectrum.copy()  # the larger of spectrum and curve
    estimate = np.zeros(kept.shape)  # causal cepstrum of the curve
    for _ in range(ROUNDS):
        if len(going) == 0:
            break
        cepstrum = fft.dct(raised, 1)[:, :-1]
        cepstrum[:, 0] /= 2
        inside = cepstrum[:, : len(quefrency)] * (kept / half)
        energy = np.einsum("ij,ij->i", inside, inside)
        beyond = np.einsum("ij,ij->i", cepstrum, cepstrum) / half**2 - energy
        step = 1 + np.sqrt(np.maximum(beyond, 0) / energy)
        estimate += step[:, None] * smoothing * (inside - estimate)
        curve = _transform(estimate, half)
        np.maximum(raised, curve, out=raised)
        done = (spectrum - curve).max(axis=1) <= TOLERANCE
        if done.any():
            out[going[done]] = curve[done]
            state = (going, kept, smoothing, spectrum, raised, estimate)
            going, kept, smoothing, spectrum, raised, estimate = (values[~done] for values in state)
    else:
        out[going] = curve
    return out


def mel_cepstrum(amplitude: np.ndarray, order: int) -> np.ndarray:
    """(F, 1 + order) cepstrum, doubled from c_1 on, of half spectra (F, n + 1) warped to the mel axis."""
    low, share = _warp(amplitude.shape[1])
    warped = amplitude[:, low] + (amplitude[:, low + 1] - amplitude[:, low]) * share
    cepstrum = fft.dct(np.log(warped), 1)[:, : order + 1] / (2 * (amplitude.shape[1] - 1))
    cepstrum[:, 1:] *= 2
    return cepstrum


def _transform(causal: np.ndarray, half: int) -> np.ndarray:
    """(F, n + 1) real part of the spectrum of a causal cepstrum (F, P + 1)."""
    even = np.zeros((len(causal), half + 1))
    even[:, : causal.shape[1]] = causal
    even[:, 1:] /= 2
    return fft.dct(even, 1, overwrite_x=True)


@lru_cache(maxsize=4)
def _warp(bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of `bins` points of the mel axis lies between two points of the linear one: index, share."""
    linear = np.linspace(0, RATE_HZ / 2, bins)
    mel = RATE_HZ / 2 * np.log(1 + linear / 700) / np.log(1 + linear[-1] / 700)
    low = np.minimum(np.searchsorted(mel, linear, side="right") - 1, bins - 2)
    return low, (linear - mel[low]) / (mel[low + 1] - mel[low])
