"""Mel magnitudes as StrengthNet reads them: |STFT| in 80 mel bands every 16 ms, no logarithm.

`librosa.stft(n_fft=512, hop_length=256, window=hamming)` and `librosa.filters.mel(16000, 512, 80)` of the release
(https://github.com/ttslr/StrengthNet, utils.py), written from what librosa documents: symmetric Hamming window,
mirrored ends, triangles of equal area (norm="slaney") on the mel scale of Slaney's Auditory Toolbox, linear below
1 kHz and logarithmic above.

N samples, T frames, F frequencies, M mel bands.
"""

from dataclasses import dataclass

import numpy as np

from sottovoce.config.ranges import Count
from sottovoce.data.track import Track
from sottovoce.tracks import _centred
from sottovoce.tracks._slaney import mel_filters


@dataclass(frozen=True)
class Config(_centred.Frames):
    """Windows as in `_centred.Frames`, then:"""

    bins: Count = 80  # M

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
