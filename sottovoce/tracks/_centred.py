"""Centred frames, as librosa cuts them: frame k lies around sample k * hop; the common ground of mel and level.

The signal is mirrored at both ends (librosa before 0.10: pad_mode="reflect"), so that the first frame is centred
on the first sample and N samples give 1 + N // hop frames.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from sottovoce.config.ranges import Range, Settings
from sottovoce.data.audio import RATE_HZ
from sottovoce.tracks._kaldi import waveform

CHUNK = 512  # frames at a time: their spectra stay in the cache of a core


@dataclass(frozen=True)
class Frames(Settings, group="track"):
    window: Annotated[int, Range(least=16, most=RATE_HZ)] = 512  # samples at 16 kHz, 32 ms
    hop: Annotated[int, Range(least=1, most=RATE_HZ)] = 256  # samples, 16 ms

    @property
    def rate_hz(self) -> float:
        """Frames per second; 62.5 by default."""
        return RATE_HZ / self.hop


@dataclass(frozen=True)
class Intensity(Settings, group="track"):
    """Rate and offset of tracks that say how intense every frame is: those of mel spectrograms, one value a frame."""

    rate_hz: ClassVar[float] = Frames().rate_hz
    dim: ClassVar[int] = 1


def frames(samples: np.ndarray, config: Frames) -> np.ndarray:
    """(N,) -> (1 + N // hop, window), a view of the mirrored signal."""
    before = config.window // 2
    signal = np.pad(waveform(samples), (before, config.window - before), mode="reflect")
    count = 1 + len(samples) // config.hop
    return np.lib.stride_tricks.sliding_window_view(signal, config.window)[:: config.hop][:count]
