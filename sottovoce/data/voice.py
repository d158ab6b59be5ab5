"""A synthetic voice: pulses and noise through a vocal tract (source-filter model, Fant 1960).

`synthesise` turns controls at 100 frames a second into a waveform at 16 kHz:

    pulses   one band-limited impulse a glottal cycle, with jitter and shimmer as Praat defines them
    breath   noise that swells once a cycle and passes the same vocal tract
    hiss     noise in one band, for fricatives and bursts
    tract    glottal slope, tilt and a cascade of formant resonators (Klatt 1980, JASA 67:971)

Each 20 ms piece of the sources is shaped by the response of its own frame and overlap-added, so the
whole voice is a few array operations. Departure from Klatt: the glottal pulse is a response in frequency
(a low-pass of second order, differentiated by the lips), not a waveform; its phase is minimum, not mixed.

T frames, N = 160 T samples, F formants, K bins of a 1024-point spectrum.
"""

from dataclasses import dataclass, fields

import numpy as np

from sottovoce.data.track import Track

RATE_HZ = 16000
FRAME_HZ = 100
HOP = RATE_HZ // FRAME_HZ  # samples
FFT = 1024  # samples; 20 ms of source leave 44 ms for a resonator to die away
TAPS = 32  # samples, length of one impulse's windowed sinc

# Mean absolute change from one cycle to the next, relative to the mean, when every cycle's onset (its
# amplitude) is moved by normal noise of standard deviation 1 period (1 mean): sqrt(6) and sqrt(2) from the
# second difference of the onsets and the first of the amplitudes, sqrt(2 / pi) from |normal|.
JITTER_PER_SD = float(np.sqrt(6 * 2 / np.pi))
SHIMMER_PER_SD = float(np.sqrt(2 * 2 / np.pi))


@dataclass(frozen=True)
class Controls:
    """What the voice does. Frame `k` is at k / 100 s. Amplitudes are linear, 1 = unit power at the source."""

    f0_hz: np.ndarray  # (T,) above 0 everywhere, also where nothing is voiced
    voicing: np.ndarray  # (T,) amplitude of the pulses
    breath: np.ndarray  # (T,) amplitude of the noise at the glottis
    hiss: np.ndarray  # (T,) amplitude of the noise in the mouth
    hiss_hz: np.ndarray  # (T,) centre of its band
    formants_hz: np.ndarray  # (T, F)
    bandwidths_hz: np.ndarray  # (F,)
    tilt_hz: np.ndarray  # (T,) above it the pulses fall by 6 dB an octave more: 1000 lax, 6000 pressed
    jitter: np.ndarray  # (T,) Praat's "local": 0.005 is healthy
    shimmer: np.ndarray  # (T,) Praat's "local": 0.03 is healthy

    def __post_init__(self) -> None:
        frames = len(self.f0_hz)
        for f in fields(self):
            value = getattr(self, f.name)
            wanted = (self.formants_hz.shape[1],) if f.name == "bandwidths_hz" else (frames,)
            if value.shape[:1] != wanted:
                raise ValueError(f"{f.name} has shape {value.shape}, its first dimension should be {wanted[0]}")
        if not (self.f0_hz > 0).all():
            raise ValueError("f0_hz is above 0 in every frame; silence is voicing = 0")


def synthesise(controls: Controls, rng: np.random.Generator) -> Track:
    """Waveform of the controls, (160 T,) float32 at 16 kHz, not limited to any range."""
    c, samples = controls, len(controls.f0_hz) * HOP
    cycles = np.cumsum(_per_sample(c.f0_hz, samples)) / RATE_HZ + rng.uniform()  # (N,) glottal cycles so far
    pulses = pulse_train(cycles, _per_sample(c.jitter, samples), _per_sample(c.shimmer, samples), rng)
    noise = rng.standard_normal(samples, dtype=np.float32)
    swell = 1 + 0.5 * np.cos(2 * np.pi * cycles)  # breath is strongest while the folds close (Hermes 1991)

    tract = formant_response(c.formants_hz, c.bandwidths_hz)  # (T, K)
    spectrum = _frames(pulses) * (glottal_response(c.f0_hz, c.tilt_hz) * c.voicing.astype(np.float32)[:, None])
    spectrum += _frames(noise * swell.astype(np.float32)) * c.breath.astype(np.float32)[:, None]
    spectrum *= tract
    hissing = np.flatnonzero(c.hiss)
    band = band_response(c.hiss_hz[hissing]) * c.hiss[hissing].astype(np.float32)[:, None]
    spectrum[hissing] += _frames(noise)[hissing] * band
    return Track(_overlap_add(spectrum)[:samples], RATE_HZ)


def pulse_train(cycles: np.ndarray, jitter: np.ndarray, shimmer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One impulse whenever `cycles` passes a whole number; unit power at any pitch.

    An impulse between two samples is a windowed sinc, so that pitch is not rounded to samples and nothing
    folds back from above 8 kHz.

    Args:
        cycles: (N,) rising, in glottal cycles.
        jitter, shimmer: (N,) mean change from cycle to cycle, relative.

    Returns:
        (N,) float32.
    """
    samples = len(cycles)
    onsets = np.interp(np.arange(np.ceil(cycles[0]), np.floor(cycles[-1]) + 1), cycles, np.arange(samples))
    at = onsets.astype(int)
    period = 1 / np.gradient(cycles)[at]  # samples
    onsets = onsets + period * jitter[at] / JITTER_PER_SD * rng.standard_normal(len(onsets))
    size = np.sqrt(period) * (1 + shimmer[at] / SHIMMER_PER_SD * rng.standard_normal(len(onsets)))
    index = np.floor(onsets).astype(int)[:, None] + np.arange(1 - TAPS // 2, 1 + TAPS // 2)
    away = index - onsets[:, None]  # samples from the impulse
    taps = size[:, None] * np.sinc(away) * np.cos(np.pi * away / TAPS) ** 2
    inside = (index >= 0) & (index < samples)
    return np.bincount(index[inside], taps[inside], samples).astype(np.float32)


def formant_response(formants_hz: np.ndarray, bandwidths_hz: np.ndarray) -> np.ndarray:
    """(T, F) and (F,) -> (T, K) complex64: a cascade of two-pole resonators, each of gain 1 at 0 Hz."""
    z = np.exp(-2j * np.pi * np.arange(FFT // 2 + 1) / FFT).astype(np.complex64)  # (K,) one sample's delay
    radius = np.exp(-np.pi * bandwidths_hz / RATE_HZ)
    b = (2 * radius * np.cos(2 * np.pi * formants_hz / RATE_HZ)).astype(np.float32)  # (T, F)
    c = (-(radius**2)).astype(np.float32)  # (F,)
    below = np.ones((len(b), len(z)), np.complex64)
    for k in range(b.shape[1]):
        below *= (1 - c[k] * z * z) - b[:, k, None] * z
    return (1 - b - c).prod(axis=1)[:, None] / below


def glottal_response(f0_hz: np.ndarray, tilt_hz: np.ndarray) -> np.ndarray:
    """(T,) and (T,) -> (T, K) complex64: highest, at 1, near f0; above it -6, above `tilt_hz` -12 dB an octave."""
    f = (1j * np.fft.rfftfreq(FFT, 1 / RATE_HZ)).astype(np.complex64)
    flow = f / f0_hz.astype(np.float32)[:, None]
    return 2 * flow / ((1 + flow) ** 2 * (1 + f / tilt_hz.astype(np.float32)[:, None]))


def band_response(centre_hz: np.ndarray, q: float = 2.0) -> np.ndarray:
    """(T,) -> (T, K) complex64: a band-pass of gain 1 at its centre, centre / q wide."""
    f = np.fft.rfftfreq(FFT, 1 / RATE_HZ).astype(np.float32)
    f[0] = 1.0  # Hz; 0 would divide by zero
    ratio = f / centre_hz.astype(np.float32)[:, None]
    return (1 / (1 + 1j * np.float32(q) * (ratio - 1 / ratio))).astype(np.complex64)


def _per_sample(frames: np.ndarray, samples: int) -> np.ndarray:
    return np.interp(np.arange(samples), np.arange(len(frames)) * HOP, frames)


def _frames(signal: np.ndarray) -> np.ndarray:
    """(N,) -> (T, K) complex64 spectra of Hann pieces of 20 ms, piece k centred on sample 160 k."""
    from scipy import fft  # keeps single precision

    window = np.sin(np.pi * np.arange(2 * HOP) / (2 * HOP)).astype(np.float32) ** 2  # sums to 1 at half overlap
    padded = np.concatenate([np.zeros(HOP, np.float32), signal])
    pieces = np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP] * window
    return fft.rfft(pieces, FFT)


def _overlap_add(spectrum: np.ndarray) -> np.ndarray:
    """Inverse of `_frames`; the tail of the filters runs on behind the last frame."""
    from scipy import fft

    pieces = fft.irfft(spectrum, FFT)  # (T, 1024)
    parts = -(-FFT // HOP)
    pieces = np.pad(pieces, ((0, 0), (0, parts * HOP - FFT))).reshape(len(pieces), parts, HOP)
    out = np.zeros((len(pieces) + parts, HOP), np.float32)
    for k in range(parts):
        out[k : k + len(pieces)] += pieces[:, k]
    return out.reshape(-1)[HOP:]
