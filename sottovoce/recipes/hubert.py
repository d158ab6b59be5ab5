"""HuBERT from scratch (arXiv:2106.07447): guess hidden units, of MFCC first, then of a layer.

Hsu et al., "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units" (2021).

Run:     sottovoce pretrain hubert data/CORPUS ... -o runs/hubert
Needs:   recordings; the extra `hf`
Time:    see docs/results.md; on a CPU `--set backbone.size=tiny`
Expect:  docs/results.md
"""

from sottovoce import plugins
from sottovoce.data import Frontend
from sottovoce.errors import InputError
from sottovoce.finetune_settings import FineTuning
from sottovoce.recipe import Recipe
from sottovoce.training import Config as Training

RATE_HZ = 16_000


def recipe(track: str | None = None) -> Recipe:
    """Settings for waveforms, the only track; times of training are in samples."""
    if track not in (None, "wave"):
        raise InputError(f"recipe hubert: starts from the waveform. Found track {track}. Use recordings.")
    return Recipe(
        name="hubert",
        track="wave",
        backbone="encoder",
        objective="masked_units",
        track_config=plugins.load("tracks", "wave").Config(),
        frontend=Frontend(pool=1, normalise="none", clip=0.0),
        backbone_config=plugins.load("backbones", "encoder").Config(dropout=0.0),
        objective_config=plugins.load("objectives", "masked_units").Config(targets=("mfcc:100", "2:200")),
        training=Training(
            epochs=30,
            lr=1e-3,
            warmup=0.08,
            weight_decay=0.01,
            batch_steps=80 * RATE_HZ,
            batch_rows=32,
            crop=10 * RATE_HZ,
            clip=10.0,
        ),
        finetune=FineTuning(
            use="weighted",
            pool="mean",
            training=Training(
                epochs=20,
                min_updates=150,
                lr=1e-4,
                warmup=0.1,
                weight_decay=1e-5,
                batch_steps=80 * RATE_HZ,
                batch_rows=16,
                crop=10 * RATE_HZ,
            ),
        ),
    )
