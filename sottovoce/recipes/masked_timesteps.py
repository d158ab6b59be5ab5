"""Masked timesteps (arXiv:2307.12343): reconstruct masked frames, fine-tune, compare with scratch.

Nimitsurachat & Washington, "Self-Supervised Learning for Audio-Based Emotion Recognition" (2023; AI 2024, 5(1), 11),
on CMU-MOSEI's 74-d COVAREP features.

Run:     sottovoce pretrain masked_timesteps data/CORPUS ... -o runs/pre
         sottovoce study data/CORPUS --init runs/pre -o runs/study
Needs:   nothing for audio; `.csd` files for CMU-MOSEI (`sottovoce prepare mosei DIR`)
Time:    6 to 8 CPU minutes a fold for 3 h of speech, 15 to 45 CPU seconds a fine-tuning (2026-11-21, AMD EPYC)
Expect:  RAVDESS, 8 emotions, 16 unseen actors, all labels, 60 epochs: UA 0.649, from scratch 0.613 (2026-11-21,
         four folds, two seeds, docs/lab.md); the paper's tables could not be read
Departs: the paper was read in its abstract only; ratio, span, size and schedules are ours. On COVAREP single
         timesteps are masked, 15 % of them, BERT's way; on log-mel features spans of 200 ms, 40 %: neighbours of a
         single masked step give it away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sottovoce import plugins
from sottovoce.config.finetuning import FineTuning, Full, in_mode
from sottovoce.config.frontend import Frontend
from sottovoce.config.recipe import Recipe, resolve
from sottovoce.config.training import Training
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.task import Task


def recipe(track: str | None = None) -> Recipe:
    """Settings for a track; `None` = fbank, which any recording has. "encoder" is the first system on states of a
    pre-trained encoder."""
    track = track or "fbank"
    tracks: Any = plugins.load("tracks", track)
    backbone: Any = plugins.load("backbones", "transformer")
    objective: Any = plugins.load("objectives", "masked_timesteps")
    encoded = Recipe(
        name="masked_timesteps",
        track=track,
        backbone="transformer",
        objective="masked_timesteps",
        track_config=tracks.Config(),
        frontend=Frontend(subsampling=5, subsample="mean"),  # 20 Hz, as most work on these features
        backbone_config=backbone.Config(layers=4, positions="sinusoidal"),
        objective_config=objective.Config(),
        training=Training(epochs=100, lr=1e-3, batch_s=400.0, crop_s=25.0, patience=20),
    )
    if track not in ("fbank", "encoder"):
        return encoded
    assert isinstance(encoded.finetune, Full)
    tuned = encoded.finetune.training
    # Neighbours of 40 ms are so alike, of log-mel bands and of an encoder's states, that spans of 200 ms are masked.
    smooth = replace(
        encoded,
        frontend=Frontend(subsampling=2, subsample="mean", trim_db=35.0),
        backbone_config=backbone.Config(layers=3, dropout=0.0),
        objective_config=objective.Config(ratio=0.4, span=5, fill="zero", replace=(1.0, 0.0, 0.0)),
        training=Training(
            epochs=30,
            lr=2e-3,
            warmup=0.05,
            weight_decay=0.01,
            batch_s=32.0,
            batch_rows=32,
            crop_s=4.0,
            time_stretch=0.1,
        ),
        finetune=replace(encoded.finetune, depth=2),
    )
    if track == "encoder":
        return smooth
    return replace(  # bands are an axis that may be stretched
        smooth,
        track_config=tracks.Config(bins=128, window_ms=50.0),  # 50 ms resolve the harmonics of a voice
        frontend=Frontend(subsampling=4, trim_db=30.0),
        training=replace(smooth.training, feature_stretch=0.05),
        finetune=replace(encoded.finetune, depth=2, training=replace(tuned, feature_stretch=0.05)),
    )


# -- as a system: `sottovoce run masked_timesteps` -----------------------------------------------------------


@dataclass(frozen=True)
class Config:
    pretrain: Recipe
    finetune: FineTuning
    weights: bool = True  # False: arm "scratch", the identical backbone from random weights


ENCODER = False
STEPS = {"masked_timesteps": "pre-training without labels"}


def system(encoder: None, corpora: Sequence[Corpus]) -> Config:
    plan = resolve("masked_timesteps", corpora)
    return Config(plan, plan.finetune)


def check(config: Config, encoder: None, name: str, corpus: Corpus, task: Task, folds: Sequence[Fold]) -> None:
    """Nothing but what every step checks by itself."""


def run_stages(config: Config, encoder: None, context: Any, home: Path) -> None:
    """All steps of one fold (`sottovoce.systems.run.FoldContext`); the last one's run goes to `home`."""
    weights = context.pretrain(config.pretrain) if config.weights else None
    context.finetune(replace(config.pretrain, finetune=config.finetune), weights, home)


def describe(config: Config, encoder: None) -> str:
    first = f"pretrain {config.pretrain.training.epochs} epochs -> " if config.weights else "random weights -> "
    tuned = config.finetune
    return first + (f"finetune {tuned.training.epochs} epochs" if tuned.mode == "full" else "linear probe")


def _tuned(config: Config, **settings: Any) -> Config:
    return replace(config, finetune=replace(config.finetune, **settings))


ABLATIONS: dict[str, Callable[[Config], Config]] = {
    "scratch": lambda c: replace(c, weights=False),
    "frozen": lambda c: replace(c, finetune=in_mode(c.finetune, "frozen")),
}
LEAKS: dict[str, Callable[[Config], Config]] = {
    "random-dev": lambda c: _tuned(c, dev="superb"),
    "test-selection": lambda c: _tuned(c, dev="test"),
}
