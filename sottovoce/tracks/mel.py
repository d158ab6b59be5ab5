"""Mel magnitudes as StrengthNet hears them: |STFT| through 80 mel bands every 16 ms, no logarithm.

`librosa.stft(n_fft=512, hop_length=256, window=hamming)` and `librosa.filters.mel(16000, 512, 80)` of the release
(https://github.com/ttslr/StrengthNet, utils.py), written from what librosa documents: symmetric Hamming window,
mirrored ends, triangles of equal area (norm="slaney") on the mel scale of Slaney's Auditory Toolbox, linear below
1 kHz and logarithmic above.

N samples, T frames, F frequencies, M mel bands.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sottovoce.data.audio import RATE_HZ
from sottovoce.data.track import Track
from sottovoce.tracks import _centred

LINEAR_HZ = 200 / 3  # of one mel below 1 kHz
KNEE_HZ, KNEE_MEL = 1000.0, 15.0
LOG_STEP = np.log(6.4) / 27  # of one mel above


@dataclass(frozen=True)
class Config(_centred.Frames):
    """Windows as in `_centred.Frames`, then:"""

    bins: int = 80  # M

    def __post_init__(self) -> None:
        super().__post_init__()
        mel_filters(self.bins, self.window)  # the number of bins must fit the window

    @property
    def dim(self) -> int:
        return self.bins


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) -> values (T, M) float32 >= 0, T = 1 + N // hop; frame k is centred at k * hop."""
    from scipy.fft import rfft

    parts = _centred.frames(wave.values, config)
    window = np.hamming(config.window).astype(np.float32)
    filters = mel_filters(config.bins, config.window)
    out = np.empty((len(parts), config.bins), dtype=np.float32)
    for at in range(0, len(parts), _centred.CHUNK):
        spectrum = np.abs(rfft(parts[at : at + _centred.CHUNK] * window, axis=1))  # (t, F)
        np.matmul(spectrum, filters, out=out[at : at + len(spectrum)])
    return Track(out, config.rate_hz, wave.offset_s)


@lru_cache(maxsize=16)
def mel_filters(bins: int, size: int) -> np.ndarray:
    """(F, M) float32 triangles of area 1 (per Hz), F = size // 2 + 1, from 0 Hz to the Nyquist frequency.

    Raises ValueError when a filter is so narrow that it holds no frequency.
    """
    if bins < 1:
        raise ValueError(f"bins is a count of mel bands, 1 or above; got {bins}")
    nyquist = RATE_HZ / 2
    top = KNEE_MEL + np.log(nyquist / KNEE_HZ) / LOG_STEP
    mels = np.linspace(0, top, bins + 2)
    edges = np.where(mels < KNEE_MEL, mels * LINEAR_HZ, KNEE_HZ * np.exp(LOG_STEP * (mels - KNEE_MEL)))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    hz = np.linspace(0, nyquist, size // 2 + 1)[:, None]  # (F, 1)
    triangles = np.maximum(0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
    empty = int((~triangles.any(axis=0)).sum())
    if empty:
        raise ValueError(
            f"bins is too many for {size} point spectra: {empty} of {bins} filters hold no frequency. "
            "Use fewer bins or a longer window"
        )
    return (triangles * 2 / (right - left)).astype(np.float32)
