"""Log-mel bands as Whisper has them: 80 or 128, 25 ms every 10 ms, within 8 decades of the loudest.

Radford et al. 2022, arXiv:2212.04356, sec. 2.2, constants of WhisperFeatureExtractor in `transformers`: periodic
Hann window, power, triangles of equal area on Slaney's mel scale, log10, what lies more than 8 below the maximum lifted
there, (x + 4) / 4. Departures: a recording keeps its length instead of 30 s of it; and it is brought to one level
first, because a gain moves all bands and an answer must not depend on the microphone's.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sottovoce import files
from sottovoce.config.ranges import Count, Settings, Share
from sottovoce.data.audio import RATE_HZ
from sottovoce.data.track import Track
from sottovoce.tracks._kaldi import waveform
from sottovoce.tracks._slaney import mel_filters

WINDOW, HOP = 400, 160  # samples
CHUNK = 256  # frames at a time: their spectra stay in the cache of a core
TRIMS_NOISE = True  # ends that hold nothing but noise are cut too, see `frames.loud_bounds`
FLOOR = 1e-10  # of the power in a band
RANGE = 8.0  # decades below the maximum that are kept


@dataclass(frozen=True)
class Config(Settings, group="track"):
    bins: Count = 80  # 128 of large-v3
    peak: Share = 0.5  # the largest sample of every recording is brought there; 0 = as loud as it is
    rate_hz: ClassVar[float] = RATE_HZ / HOP  # frames per second

    def __post_init__(self) -> None:
        super().__post_init__()
        mel_filters(self.bins, WINDOW)  # the number of bands must fit the window

    @property
    def dim(self) -> int:
        return self.bins


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) -> values (T, bins) float32, T = max(N // 160, 1); frame k is centred at k * 10 ms."""
    samples = waveform(wave.values)
    gain = 1.0
    if config.peak:
        loudest = max(float(samples.max()), -float(samples.min()))
        gain = config.peak / loudest if loudest > 0 else 1.0
    return Track(log_mel(samples, config.bins, gain), config.rate_hz, wave.offset_s)


def log_mel(samples: np.ndarray, bins: int = 80, gain: float = 1.0) -> np.ndarray:
    """(N,) float32 at 16 kHz -> (T, bins) float32; those of an hour lie in a temporary file."""
    from scipy.fft import rfft

    filters, count = mel_filters(bins, WINDOW), max(len(samples) // HOP, 1)
    hann = gain * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW))  # float64: so are the spectra
    out = files.scratch(count * bins, "float32").reshape(count, bins)
    loudest = -math.inf
    for at in range(0, count, CHUNK):
        few = min(CHUNK, count - at)
        windows = np.lib.stride_tricks.sliding_window_view(_mirrored(samples, at, few), WINDOW)[::HOP]  # (few, 400)
        spectrum = rfft(windows * hann, axis=1)
        band = out[at : at + few]
        np.matmul((spectrum.real**2 + spectrum.imag**2).astype(np.float32), filters, out=band)
        np.log10(np.maximum(band, FLOOR, out=band), out=band)
        loudest = max(loudest, float(band.max()))
        if at % (64 * CHUNK) == 0:
            files.let_go(samples)
            files.let_go(out)
    for at in range(0, count, CHUNK):
        band = out[at : at + CHUNK]
        np.maximum(band, loudest - RANGE, out=band)
        band += 4
        band /= 4
    return out


def log_energies(values: np.ndarray) -> np.ndarray:
    """Natural logarithms of the powers in the bands of speech, for trimming silence and noise at the ends."""
    low, high = values.shape[1] * 3 // 80, values.shape[1] * 60 // 80  # about 110 to 3,800 Hz
    return (values[:, low:high] * 4 - 4) * math.log(10)


def _mirrored(samples: np.ndarray, first: int, frames: int) -> np.ndarray:
    """The samples under some frames; a recording is mirrored at its ends."""
    start, end = first * HOP - WINDOW // 2, (first + frames - 1) * HOP + WINDOW // 2
    inside = samples[max(start, 0) : min(end, len(samples))]
    if start >= 0 and end <= len(samples):
        return inside
    if len(samples) <= WINDOW:  # may be mirrored more than once
        whole = np.pad(samples, (WINDOW // 2, max(end - len(samples), 0)), mode="reflect")
        return whole[start + WINDOW // 2 : end + WINDOW // 2]
    before = samples[1 : 1 + max(-start, 0)][::-1]
    after = samples[len(samples) - 1 - max(end - len(samples), 0) : -1][::-1]
    return np.concatenate([before, inside, after])
