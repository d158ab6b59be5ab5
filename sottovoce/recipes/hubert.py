"""HuBERT from scratch (arXiv:2106.07447): predict masked units, of MFCC first, then of a layer.

Hsu et al., "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units" (2021).

Run:     sottovoce pretrain hubert data/CORPUS ... -o runs/hubert            # from the waveform
         sottovoce pretrain hubert data/CORPUS ... --track fbank -o runs/mel  # from log-mel bands: far cheaper
Needs:   recordings; the extra `hf`
Time:    on a CPU `--set backbone.size=tiny`: 11 minutes of one core for an iteration of 1.75 h of speech
Expect:  tiny from the waveform, two iterations: 10.1 % of 200 units of masked states of dev speakers, 0.5 % by
         frequency; linear probe on RAVDESS, 24 unseen actors: UA 0.484, log-mel statistics 0.429; from log-mel bands
         0.585 (2026-11-26, docs/lab.md)
Departs: settings are for an hour or two of speech and one machine, where updates are scarce: small batches, silence cut
         off, crops of 5 s, a high learning rate, no penalty on what the convolutions make, and half the weight of a
         masked state for the visible ones, without which nothing is learned for hundreds of updates. Convolutions of
         "tiny" are its own, and begin as a filter bank. The paper's iterations begin with random weights; to go on
         from the one before, make two commands of them, the second with `--init`.
"""

from dataclasses import replace

from sottovoce import plugins
from sottovoce.config.finetuning import Full
from sottovoce.config.frontend import Frontend
from sottovoce.config.recipe import Recipe
from sottovoce.config.training import Training
from sottovoce.errors import InputError


def recipe(track: str | None = None) -> Recipe:
    """Settings for waveforms, where times of training are in samples; for "fbank", for log-mel steps; for "logmel", for
    the bands that Whisper reads and its encoder."""
    if track == "fbank":
        return on_log_mel()
    if track == "logmel":
        return on_whisper()
    if track not in (None, "wave"):
        raise InputError(f"recipe hubert: starts from wave, fbank or logmel. Found track {track}. Use recordings.")
    return Recipe.of(
        "hubert", "wave", "encoder", "masked_units",
        of_backbone={"dropout": 0.0, "normalise": True},
        of_objective={"targets": ("mfcc:100", "2:200"), "visible": 0.5, "penalty": 0.0},
        frontend=Frontend(subsampling=1, normalise="none", clip=0.0, trim_db=30.0),
        training=Training(epochs=18, lr=1e-3, warmup=0.08, weight_decay=0.01, batch_s=16.0, batch_rows=32, crop_s=5.0),
        finetune=Full(
            layer_aggregation="weighted",
            temporal_pooling="mean",
            training=Training(
                epochs=20, min_updates=150, lr=1e-4, warmup=0.1, weight_decay=1e-5, batch_s=80.0, batch_rows=16,
                crop_s=10.0,
            ),
        ),
    )  # fmt: skip


def on_log_mel() -> Recipe:
    """MelHuBERT (arXiv:2211.09944): frames of log-mel bands are masked, and no convolutions have to be learned. Steps,
    bands and width are those of `masked_timesteps`."""
    return Recipe.of(
        "hubert", "fbank", "transformer", "masked_units",
        of_track={"bins": 128, "window_ms": 50.0},
        of_backbone={"layers": 3, "dropout": 0.0},
        of_objective={"targets": ("mfcc:100", "2:200"), "ratio": 0.4, "span": 5, "visible": 0.5},
        frontend=Frontend(subsampling=4, trim_db=30.0),
        training=Training(epochs=15, lr=2e-3, warmup=0.05, weight_decay=0.01, batch_s=16.0, batch_rows=32, crop_s=4.0),
    )  # fmt: skip


def on_whisper() -> Recipe:
    """The same for Whisper's encoder, which reads log-mel bands; silence at the ends is cut off."""
    wave = recipe()
    assert isinstance(wave.finetune, Full)
    return replace(
        wave,
        track="logmel",
        track_config=plugins.load("tracks", "logmel").Config(),
        frontend=Frontend(subsampling=1, normalise="none", clip=0.0, trim_db=35.0),
        backbone="whisper",
        backbone_config=plugins.load("backbones", "whisper").Config(),
        finetune=replace(wave.finetune, temporal_pooling="statistics"),
    )
