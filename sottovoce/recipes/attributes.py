"""Emotion and gender learned together by an encoder: the first step of GMP-TL (arXiv:2405.02151).

Pan et al., "GMP-TL: Gender-augmented Multi-scale Pseudo-label Enhanced Transfer Learning for Speech Emotion
Recognition" (SLT 2024).

Run:     sottovoce pretrain attributes data/CORPUS --init runs/hubert --fold all -o runs/attributes
Needs:   recordings with emotion labels and genders; the extra `hf`
Time:    as a fine-tuning of the encoder
Expect:  states for `sottovoce label`, or for `sottovoce pretrain hubert --init` with a layer as target
Departs: the paper was read in its abstract and in summaries only; weights and sizes are ours, schedule and learning
         rate those of its next of kin (HFLEA, arXiv:2312.16383)
"""

from dataclasses import replace

from sottovoce import plugins
from sottovoce.config.recipe import Recipe
from sottovoce.config.training import Training


def recipe(track: str | None = None) -> Recipe:
    """The settings of recipe `hubert` with this objective; times of training are in samples."""
    hubert = plugins.load("recipes", "hubert").recipe(track)
    return replace(
        hubert,
        name="attributes",
        objective="attributes",
        objective_config=plugins.load("objectives", "attributes").Config(),
        training=Training(
            epochs=40, lr=1e-4, warmup=0.1, weight_decay=1e-5, batch_s=80.0, batch_rows=32, crop_s=10.0, patience=10
        ),
    )
