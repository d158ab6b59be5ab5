"""Log-mel filter banks as Kaldi's: 80 bins, 25 ms windows every 10 ms, optional deltas and CMVN.

The values are Kaldi's (`compute-fbank-feats`, natural logarithm of power, no dither) to rounding; see
`_kaldi.py` for the steps and the two departures.
"""

from dataclasses import dataclass

from sottovoce.data.track import Track
from sottovoce.tracks import _kaldi


@dataclass(frozen=True)
class Config(_kaldi.Mel):
    """Windows and filters as in `_kaldi.Mel`, then:"""

    use_energy: bool = False  # log energy of the window as column 0
    deltas: _kaldi.Deltas = 0  # 1 adds slopes, 2 also their slopes
    cmvn: _kaldi.Cmvn = "none"  # per utterance: nothing, mean, mean and deviation

    @property
    def dim(self) -> int:
        return (self.bins + self.use_energy) * (1 + self.deltas)


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) -> values (T, D) float32, frame k centred at `offset_s + k / rate_hz`.

    T is 1 + (N - 400) // 160 at 16 kHz and the defaults; less than one window gives one zero-padded frame.
    CMVN comes before the deltas, as in Kaldi's recipes.
    """
    features = _kaldi.log_mel(wave.values, wave.rate_hz, config, energy=config.use_energy)
    features = _kaldi.add_deltas(_kaldi.normalise(features, config.cmvn), config.deltas)
    return Track(features, config.rate_hz, wave.offset_s + config.offset_s)
