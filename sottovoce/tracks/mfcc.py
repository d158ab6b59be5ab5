"""Mel-frequency cepstral coefficients as Kaldi's: 13 of 23 mel bins, liftered, optional deltas.

The cosine transform (DCT-II, orthonormal) of the log-mel energies of `_kaldi.py`, scaled by the lifter
1 + 11 sin(pi k / 22) as Kaldi's `compute-mfcc-feats`. Column 0 is the mean log energy of the filters, or
with `use_energy` the log energy of the window.
"""

from dataclasses import dataclass

import numpy as np

from sottovoce.config.ranges import Count, NotNegative
from sottovoce.data.track import Track
from sottovoce.tracks import _kaldi


@dataclass(frozen=True)
class Config(_kaldi.Mel):
    """Windows and filters as in `_kaldi.Mel`, then:"""

    bins: Count = 23  # M
    coefficients: Count = 13  # column 0 included
    lifter: NotNegative = 22.0  # 0 = none
    use_energy: bool = False  # log energy of the window in place of the first coefficient
    deltas: _kaldi.Deltas = 0  # 1 adds slopes, 2 also their slopes
    cmvn: _kaldi.Cmvn = "none"  # per utterance: nothing, mean, mean and deviation

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.coefficients <= self.bins:
            raise ValueError(f"coefficients is 1 to bins ({self.bins}); got {self.coefficients}")

    @property
    def dim(self) -> int:
        return self.coefficients * (1 + self.deltas)


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) -> values (T, D) float32 at the frames of `fbank`."""
    mel = _kaldi.log_mel(wave.values, wave.rate_hz, config, energy=config.use_energy)
    bins = mel[:, int(config.use_energy) :]
    features = bins @ _transform(config)
    if config.use_energy:
        features[:, 0] = mel[:, 0]
    features = _kaldi.add_deltas(_kaldi.normalise(features, config.cmvn), config.deltas)
    return Track(features, config.rate_hz, wave.offset_s + config.offset_s)


def _transform(config: Config) -> np.ndarray:
    """(M, coefficients) float32: DCT-II and lifter in one matrix."""
    k = np.arange(config.coefficients)
    matrix = np.sqrt(2 / config.bins) * np.cos(np.pi / config.bins * np.outer(np.arange(config.bins) + 0.5, k))
    matrix[:, 0] = np.sqrt(1 / config.bins)
    if config.lifter:
        matrix = matrix * (1 + 0.5 * config.lifter * np.sin(np.pi * k / config.lifter))
    return matrix.astype(np.float32)
