"""Linear spectrogram: 201 log powers of 25 ms every 10 ms, what the 12-layer MockingJay reconstructs.

ln(|FFT|^2 + 1e-10) under a periodic Hann window, each utterance with mean 0 and deviation 1, as in s3prl's
`upstream/baseline/preprocessor.py` ("linear", log, cmvn). Departure: whole windows only and no mirrored ends, so
that frames lie exactly where those of `fbank` lie and a target needs no interpolation.
"""

from dataclasses import dataclass

import numpy as np

from sottovoce.data.audio import RATE_HZ
from sottovoce.data.track import Track
from sottovoce.tracks import _kaldi

FLOOR = np.float32(1e-10)


@dataclass(frozen=True)
class Config(_kaldi.Windows):
    """Windows as in `_kaldi.Windows`, then:"""

    cmvn: _kaldi.Cmvn = "utterance"  # per utterance: nothing, mean, mean and deviation

    @property
    def samples(self) -> int:
        """In a window, at 16 kHz; also the size of the FFT."""
        return int(RATE_HZ * 0.001 * self.window_ms)

    @property
    def dim(self) -> int:
        return self.samples // 2 + 1


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) -> values (T, D) float32; T is that of `fbank`, at least 1."""
    from scipy.fft import rfft

    size, hop = config.samples, int(RATE_HZ * 0.001 * config.hop_ms)
    signal = _kaldi.waveform(wave.values)
    if len(signal) < size:
        signal = np.pad(signal, (0, size - len(signal)))
    windows = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]  # (T, size), a view
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    out = np.empty((len(windows), config.dim), dtype=np.float32)
    for at in range(0, len(out), _kaldi.CHUNK):
        spectrum = rfft(windows[at : at + _kaldi.CHUNK] * hann, axis=1)
        np.log(spectrum.real**2 + spectrum.imag**2 + FLOOR, out=out[at : at + len(spectrum)])
    return Track(_kaldi.normalise(out, config.cmvn), config.rate_hz, wave.offset_s + config.offset_s)
