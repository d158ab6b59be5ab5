"""Masked timesteps (arXiv:2307.12343): reconstruct hidden steps, fine-tune on N labels, compare with scratch.

Nimitsurachat & Washington 2023/2024: SSL on already encoded features (CMU-MOSEI's 74-d COVAREP).
"""

from dataclasses import replace
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
    audio = Recipe(
        name="masked_timesteps",
        track=track,
        backbone="transformer",
        objective="masked_timesteps",
        track_config=tracks.Config(),
        frontend=Frontend(pool=4, trim_db=30.0),
        backbone_config=backbone.Config(layers=3, dropout=0.0),
        objective_config=objective.Config(ratio=0.4, span=5, fill="zero", replace=(1.0, 0.0, 0.0)),
        training=Training(
            epochs=30,
            lr=2e-3,
            warmup=0.05,
            weight_decay=0.01,
            batch_steps=800,
            batch_rows=32,
            crop=100,
            time_stretch=0.1,
        ),
    )
    if track == "fbank":
        # 50 ms resolve the harmonics of a voice, and with them its pitch.
        mel = replace(audio.training, feature_stretch=0.05), replace(audio.finetune.training, feature_stretch=0.05)
        return replace(
            audio,
            track_config=tracks.Config(bins=128, window_ms=50.0),
            training=mel[0],
            finetune=replace(audio.finetune, training=mel[1]),
        )
    return audio
