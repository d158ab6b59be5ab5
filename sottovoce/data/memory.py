"""Arrays in memory that look like a track store: of one recording, or of what is too short-lived for the disk."""

from collections.abc import Mapping

import numpy as np

from sottovoce.data.store import Head


class Memory(dict[str, np.ndarray]):
    """Tracks (T, D) by utterance id; of half precision, handed out as float32. Samples (N,) are one column."""

    def __init__(self, values: Mapping[str, np.ndarray], head: Head):
        super().__init__({id: v if v.ndim == 2 else v[:, None] for id, v in values.items()})
        self.head, self.rate_hz, self.offset_s, self.dim = head, head.rate_hz, head.offset_s, head.dim
        self.lengths = {id: len(rows) for id, rows in self.items()}

    @classmethod
    def of(cls, values: Mapping[str, np.ndarray], rate_hz: float, track: str) -> "Memory":
        """Of a track by its name."""
        first = next(iter(values.values()))
        return cls(values, Head(track, {}, rate_hz, 0.0, first.shape[1] if first.ndim == 2 else 1))

    def source(self, id: str, /) -> None:
        """What an utterance was made from: nobody knows."""

    def __getitem__(self, id: str, /) -> np.ndarray:
        values = super().__getitem__(id)
        return values.astype(np.float32) if values.dtype == np.float16 else values
