"""How the frames of a track become the frames that a backbone sees."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from sottovoce.config.ranges import Count, NotNegative, Settings


@dataclass(frozen=True)
class Frontend(Settings, group="frontend"):
    renamed: ClassVar[dict[str, str]] = {"pool": "subsampling", "how": "subsample"}

    subsampling: Count = 4  # track frames a frame of the backbone is made of; 4 frames of 10 ms are 40 ms
    subsample: Literal["stack", "mean"] = "stack"  # side by side, D = subsampling * F; or averaged, D = F
    # Whose mean and deviation: those of the training part ("corpus"), of each utterance, of each speaker, or none.
    normalise: Literal["corpus", "utterance", "speaker", "none"] = "corpus"
    trim_db: NotNegative = 0.0  # cut leading and trailing frames this far below the loudest; 0 = keep all
    clip: NotNegative = 10.0  # normalised features are clipped to +- this many deviations; 0 = as they are

    def dim(self, features: int) -> int:
        return features * (self.subsampling if self.subsample == "stack" else 1)

    def steps(self, frames: int) -> int:
        """Frames of the backbone that `frames` frames of the track make; the last may be padded with its own last."""
        return -(-frames // self.subsampling)

    def centre_s(self, rate_hz: float) -> float:
        """Seconds from the centre of a track's first frame to that of the backbone's first."""
        return (self.subsampling - 1) / 2 / rate_hz
