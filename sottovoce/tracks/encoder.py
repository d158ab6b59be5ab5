"""Hidden states of a pre-trained encoder, 50 a second: encoded features that know a lot of speech.

    sottovoce extract data/ravdess --track encoder                                    # the default encoder's
    sottovoce extract data/ravdess --track encoder --set encoder=openai/whisper-small --set layer=6

Silence at the ends is not encoded: its rows are zero, which everywhere means "missing", and training cuts them off.
Tracks know no torch, so they are made in `modeling/encoded.py`.
"""

from dataclasses import dataclass, field

import numpy as np

from sottovoce.config.ranges import NotNegative, Settings, Whole

MAKER = "sottovoce.modeling.encoded"
HALF = True  # kept as float16


@dataclass(frozen=True)
class Config(Settings, group="track"):
    """What is 0 or empty is filled in by the encoder, and tells which one made a track; its name does not."""

    encoder: str = field(default="default", compare=False)  # or an id of the hub, or a folder
    layer: Whole = 0  # 1 = first block; 0 = the encoder's recommendation
    rate_hz: NotNegative = 0.0  # states a second, averaged from the encoder's; 0 = all of them
    trim_db: NotNegative = 35.0  # what lies this far below the loudest at the ends is not encoded; 0 = everything is
    dim: Whole = 0  # width of the states
    digest: str = ""  # of the encoder's shape and weights


def bounds(values: np.ndarray) -> tuple[int, int]:
    """First and last + 1 row that is there; all of them where none is."""
    there = np.flatnonzero(values.any(axis=1))
    return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, len(values))
