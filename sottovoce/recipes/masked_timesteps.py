"""Masked timesteps (arXiv:2307.12343): reconstruct masked frames, fine-tune, compare with scratch.

Nimitsurachat & Washington, "Self-Supervised Learning for Audio-Based Emotion Recognition" (2023; AI 2024, 5(1), 11),
on CMU-MOSEI's 74-d COVAREP features.

Run:     sottovoce pretrain masked_timesteps data/CORPUS ... -o runs/pre
         sottovoce study data/CORPUS --init runs/pre -o runs/study
         sottovoce run masked_timesteps data/CORPUS --track encoder --ablate scratch,frozen -o runs/masked
Needs:   nothing for audio; `.csd` files for CMU-MOSEI (`sottovoce prepare mosei DIR`)
Time:    6 to 8 CPU minutes a fold for 3 h of speech, 15 to 45 CPU seconds a fine-tuning (2026-11-21, AMD EPYC); a
         fold of RAVDESS on states that are there, --small, 2 CPU minutes (2026-11-27)
Expect:  on the default encoder's states, RAVDESS, six folds, five seeds, all weights, pre-trained minus scratch: +0.025
         [-0.008, 0.059] with 11 labels, +0.033 [0.004, 0.061] with 54, -0.013 [-0.027, 0.001] with all; a linear
         layer on the states alone is ahead from 108 on (docs/systems/masked.py, 2026-11-27, docs/results.md). On
         log-mel, 16 unseen actors, all labels, 60 epochs: UA 0.649, from scratch 0.613 (2026-11-21, four folds, two
         seeds, docs/lab.md). The paper's tables could not be read
Departs: the paper was read in its abstract only; ratio, span, size and schedules are ours. On COVAREP single
         timesteps are masked, 15 % of them, BERT's way; on log-mel features spans of 200 ms, 40 %: neighbours of a
         single masked step give it away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sottovoce.config.finetuning import FineTuning, Full
from sottovoce.config.frontend import Frontend
from sottovoce.config.recipe import Recipe, resolve
from sottovoce.config.training import Training
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.task import Task


def recipe(track: str | None = None) -> Recipe:
    """Settings for a track; `None` = fbank, which any recording has. "encoder" is the first system on states of a
    pre-trained encoder."""
    track = track or "fbank"
    nouns = ("masked_timesteps", track, "transformer", "masked_timesteps")
    if track not in ("fbank", "encoder"):
        return Recipe.of(
            *nouns,
            of_backbone={"layers": 4, "positions": "sinusoidal"},
            frontend=Frontend(subsampling=5, subsample="mean"),  # 20 Hz, as most work on these features
            training=Training(epochs=100, lr=1e-3, batch_s=400.0, crop_s=25.0, patience=20),
        )
    bands = track == "fbank"
    # Neighbours of 40 ms are so alike, of log-mel bands and of an encoder's states, that spans of 200 ms are masked.
    return Recipe.of(
        *nouns,
        of_track={"bins": 128, "window_ms": 50.0} if bands else {},  # 50 ms resolve the harmonics of a voice
        of_backbone={"layers": 3, "dropout": 0.0},
        of_objective={"ratio": 0.4, "span": 5, "fill": "zero", "replace": (1.0, 0.0, 0.0)},
        frontend=Frontend(subsampling=4, trim_db=30.0) if bands
        else Frontend(subsampling=2, subsample="mean", trim_db=35.0),
        training=Training(
            epochs=30, lr=2e-3, warmup=0.05, weight_decay=0.01, batch_s=32.0, batch_rows=32, crop_s=4.0,
            time_stretch=0.1, feature_stretch=0.05 * bands,  # bands are an axis that may be stretched
        ),
        finetune=Full(depth=2, training=replace(Full().training, feature_stretch=0.05 * bands)),
    )  # fmt: skip


# -- as a system: `sottovoce run masked_timesteps` -----------------------------------------------------------


@dataclass(frozen=True)
class Config:
    pretrain: Recipe
    finetune: FineTuning
    weights: bool = True  # False: arm "scratch", the identical backbone from random weights


ENCODER = False
STEPS = {"masked_timesteps": "pre-training without labels"}


def small(config: Config) -> tuple[str, ...]:
    """Settings for two cores."""
    return ("pretrain.training.epochs=10",)


def system(encoder: None, corpora: Sequence[Corpus], track: str = "") -> Config:
    plan = resolve("masked_timesteps", corpora, track=track)
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


ABLATIONS = {"scratch": ("weights=false",), "frozen": ("finetune.mode=frozen",)}
LEAKS = {"random-dev": ("finetune.dev=superb",), "test-selection": ("finetune.dev=test",)}
