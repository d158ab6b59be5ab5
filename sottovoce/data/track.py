"""Everything per frame is a `Track`: waveform, fbank, COVAREP, intensity, pseudo-labels, hidden states.

A track is an array with a frame rate. Frame `k` describes the time `offset_s + k / rate_hz` (the centre of
its analysis window). Two frame rates are aligned here and nowhere else.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Track:
    """values (T, D) or (T,), `rate_hz` frames per second, `offset_s` seconds of the first frame's centre."""

    values: np.ndarray
    rate_hz: float
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        if self.values.ndim not in (1, 2):
            raise ValueError(f"a track is (T,) or (T, D), got shape {self.values.shape}")
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz is frames per second, above 0; got {self.rate_hz}")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        """D; 1 of values (T,)."""
        return 1 if self.values.ndim == 1 else self.values.shape[1]

    @property
    def times(self) -> np.ndarray:
        """(T,) seconds of each frame's centre."""
        return self.offset_s + np.arange(len(self)) / self.rate_hz

    @property
    def duration_s(self) -> float:
        return len(self) / self.rate_hz

    def align(self, to: "Track", *, kind: str = "linear") -> "Track":
        """This track read at another track's times.

        Linear interpolation keeps a ramp a ramp; outside our own times the edge value is kept.

        Args:
            to: the track whose frame times are taken; only its length, rate and offset matter.
            kind: "linear", or "nearest" for labels and masks, whose values may not be mixed.

        Returns:
            values (len(to), D) or (len(to),) at the frames of `to`.
        """
        if len(self) == 0:
            raise ValueError("an empty track cannot be aligned")
        position = (to.times - self.offset_s) * self.rate_hz  # in our frames
        position = np.clip(position, 0, len(self) - 1)
        if kind == "nearest":
            values = self.values[np.floor(position + 0.5).astype(int)]
        elif kind == "linear":
            low = np.floor(position).astype(int)
            high = np.minimum(low + 1, len(self) - 1)
            share = position - low
            if self.values.ndim == 2:
                share = share[:, None]
            values = (self.values[low] * (1 - share) + self.values[high] * share).astype(self.values.dtype)
        else:
            raise ValueError(f"kind is 'linear' or 'nearest', got {kind!r}")
        return Track(values, to.rate_hz, to.offset_s)

    def slice(self, start_s: float, end_s: float | None = None) -> "Track":
        """The frames whose centres lie in [start_s, end_s), counted from `start_s`."""
        first = max(int(np.ceil((start_s - self.offset_s) * self.rate_hz - 1e-6)), 0)
        last = len(self) if end_s is None else int(np.ceil((end_s - self.offset_s) * self.rate_hz - 1e-6))
        kept = self.values[first : max(last, first)]
        return replace(self, values=kept, offset_s=self.offset_s + first / self.rate_hz - start_s)
