"""Masked timesteps (arXiv:2307.12343): reconstruct hidden steps, fine-tune on N labels, compare with scratch.

Nimitsurachat & Washington 2023/2024: SSL on already encoded features (CMU-MOSEI's 74-d COVAREP).
"""

from typing import Any

from sottovoce import plugins
from sottovoce.data import Frontend
from sottovoce.recipe import Recipe
from sottovoce.training import Config as Training


def recipe(track: str | None = None) -> Recipe:
    track = track or "fbank"
    tracks: Any = plugins.load("tracks", track)
    backbone: Any = plugins.load("backbones", "transformer")
    objective: Any = plugins.load("objectives", "masked_timesteps")
    return Recipe(
        name="masked_timesteps",
        track=track,
        backbone="transformer",
        objective="masked_timesteps",
        track_config=tracks.Config(),
        frontend=Frontend(pool=4, trim_db=35.0) if track == "fbank" else Frontend(pool=5, how="mean"),
        backbone_config=backbone.Config(dropout=0.0),
        objective_config=objective.Config(),
        training=Training(),
    )
