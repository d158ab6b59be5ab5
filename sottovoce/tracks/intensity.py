"""Intensity: how emotional every frame is, by a trained StrengthNet, 62.5 Hz, about 0 to 1.

    sottovoce pretrain strengthnet data/ravdess -o runs/strengthnet
    sottovoce extract data/librispeech --track intensity --model runs/strengthnet

The frame score of StrengthNet (arXiv:2206.07229), which EMS (arXiv:2406.06646) masks by. Its Config carries the
digest of the weights and `seen_speakers`: stores of two models never mix, and a later step can refuse one that
knows the people it is going to be tested on (`sottovoce.pipeline.extract.find_model_store`).
"""

from dataclasses import dataclass
from typing import Any

from sottovoce.tracks import _centred

OBJECTIVE = "strength"  # of the runs that can make it


@dataclass(frozen=True)
class Config(_centred.Intensity):
    """Filled in by `sottovoce extract --model`."""

    model: str = ""  # digest of the weights
    made_by: str = ""  # "strengthnet fold1", for people
    heard: tuple[str, ...] = ()  # the model's `seen_speakers`


def frames(model: Any, x: Any, lengths: Any) -> Any:
    """Steps (B, S, D), lengths (B,) -> scores (B, S, 1), by the objective of the run."""
    return model.frames(x, lengths)[..., None]
