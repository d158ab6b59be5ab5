"""GMP-TL (arXiv:2405.02151): gender-augmented pseudo-labels of several scales, two-stage fine-tuning.

Pan et al., "GMP-TL: Gender-augmented Multi-scale Pseudo-label Enhanced Transfer Learning for Speech Emotion
Recognition" (SLT 2024). A system of several steps, each an ordinary run:

    encoder -> attributes (emotion + gender) -> label (k-means of a layer) -> units (masked) -> finetune (AM-Softmax)

Run:     sottovoce run gmp_tl data/CORPUS --fold all -o runs/gmp; the ablation table: the same with --ablate
         no-gender,no-gmp,no-amsoftmax,last-layer,single-scale; sizes for two cores: --small
Needs:   recordings with emotion labels and genders; begins with the default encoder, --encoder names another: any run
         of `sottovoce pretrain`, or a checkpoint of the HuBERT family (extra `hf`)
Time:    a fold of RAVDESS on the default encoder with --small 7.5 minutes of two cores (2026-11-27, AMD EPYC); 3 to 4
         CPU minutes on an encoder of 3 x 128 on log-mel, six epochs a step (2026-11-26)
Expect:  the same steps on the default encoder, all folds and seeds side by side (docs/systems/gmp.py; 6 minutes of an
         H200): RAVDESS, 24 unseen actors, UA 0.737 [0.689, 0.780], plain fine-tuning with as many updates 0.756; the
         difference -0.019 [-0.039, 0.001], on all six blocks of Whisper base 0.002 [-0.022, 0.026] (2026-11-27,
         docs/results.md). The paper claims WAR 80.0, UAR 82.0 on IEMOCAP with HuBERT-base (its figure, not ours)
Departs: the paper was read in its abstract and in summaries only; see docs/cards/gmp_tl.md for every setting. Small
         encoders of our own take higher learning rates and shorter schedules than HuBERT-base. AM-Softmax stands on
         the standardised pooled states, without a projector, and begins with a linear probe's solution.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from sottovoce import plugins
from sottovoce.config.finetuning import Full, in_mode
from sottovoce.config.ranges import Settings
from sottovoce.config.recipe import Recipe
from sottovoce.config.training import Training
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.objectives.masked_units import Config as Units

ENCODER = True  # it begins with one
SPAN_S = 0.2  # of what is masked, HuBERT's 10 states
WIDE = 512  # an encoder of this width or more is tuned as HuBERT-base is


@dataclass(frozen=True)
class Config(Settings):
    """Every setting of the system; what the encoder reads and how it is built comes with the encoder."""

    renamed: ClassVar[dict[str, str]] = {"everybody": "include_test"}

    augment: bool = True  # the first step: emotion and gender, learned together
    gender: float = 0.3  # weight of the gender's loss, the emotion's is 1; 0 = no gender
    attributes: Training = field(default_factory=Training)  # of the first step

    pseudo: bool = True  # the second and third step: clusters, and learning to say them
    layer: int = -3  # whose states are clustered: 1 = first block; below 0 from the end: -3 is the paper's best
    clusters: tuple[int, ...] = (64, 512, 4096)  # one label set each
    per_gender: bool = False  # cluster women and men apart: twice the units
    include_test: bool = False  # leaky: clusters are fitted and learned on test speakers too
    units: Units = field(default_factory=lambda: Units(combine="mean"))  # what is masked; `targets` are the clusters
    masked: Training = field(default_factory=Training)  # of the third step

    finetune: Full = field(default_factory=lambda: Full(loss="amsoftmax"))  # the last step

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gender < 0:
            raise InputError(f"gender: weight of a loss, 0 or more. Found {self.gender}.")
        if self.layer == 0:
            raise InputError("layer: 1 = first block, or below 0 from the end. Found 0.")
        if not self.clusters or min(self.clusters) < 2 or len(set(self.clusters)) < len(self.clusters):
            raise InputError(f"clusters: different counts of 2 or more. Found {self.clusters}.")


def small(config: Config) -> tuple[str, ...]:
    """Settings for two cores."""
    return ("attributes.epochs=2", "clusters=64,512", "masked.epochs=2", "finetune.training.epochs=2")


def system(encoder: Recipe, corpora: Sequence[Corpus] = (), track: str = "") -> Config:
    """The settings for an encoder, from the settings it was made with."""
    before, tuned = encoder.training, in_mode(encoder.finetune, "full")
    assert isinstance(tuned, Full)
    if encoder.backbone_config.width >= WIDE:  # rates and epochs of HFLEA (arXiv:2312.16383), the paper's next of kin
        step = replace(before, epochs=40, lr=1e-4, warmup=0.1, weight_decay=1e-5, patience=0)
        last = replace(tuned.training, epochs=40, lr=1e-4, weight_decay=1e-5)
        if encoder.backbone == "encoder":  # 64 utterances of at most 10 s, a quarter of them at a time
            batch: dict[str, Any] = {"crop_s": 10.0, "batch_rows": 16, "batch_s": 160.0, "accumulate": 4}
            step, last = replace(step, **batch), replace(last, **batch)
    else:
        step = replace(before, epochs=8, lr=2e-4, warmup=0.1, patience=0)
        last = replace(tuned.training, epochs=8, lr=1e-3)
    step = replace(step, min_updates=0, ema=0.0)
    return Config(
        layer=-min(3, encoder.backbone_config.layers),
        attributes=step,
        masked=replace(step, feature_stretch=0.0),  # units are of features without a stretched mel axis
        # the penalty on local features is for convolutions that begin at random; trained ones it would squash
        units=Units(combine="mean", span=max(round(SPAN_S * states_hz(encoder)), 1), penalty=0.0),
        # all blocks: the steps before have trained the top ones, whatever depth the encoder's own recipe keeps
        finetune=replace(tuned, loss="amsoftmax", label_smoothing=0.0, depth=0, training=replace(last, min_updates=0)),
    )


def states_hz(encoder: Recipe) -> float:
    """Hidden states a second."""
    config: Any = encoder.backbone_config
    if encoder.backbone == "encoder":
        hop = math.prod(config.resolved().conv_stride)
    else:
        hop = plugins.load("backbones", encoder.backbone).Backbone.traits.hop
    return encoder.frontend_rate_hz() / hop


def clustered(config: Config, encoder: Recipe) -> int:
    """The layer whose states are clustered, counted from 1. Raises InputError when there is no such layer."""
    top = encoder.backbone_config.layers
    layer = config.layer if config.layer > 0 else top + 1 + config.layer
    if not 1 <= layer <= top:
        raise InputError(
            f"layer {config.layer}: not in this encoder. Found {top} blocks. Name 1 to {top}, or -1 to -{top} from "
            "the end."
        )
    return layer


def check(config: Config, encoder: Recipe, name: str, corpus: Corpus, task: Task, folds: Sequence[Fold]) -> None:
    """Raises InputError for what would fail hours later: no such layer, no classes, no genders, a class that a training
    part lacks."""
    clustered(config, encoder)
    if task.kind != "class":
        raise InputError(f"{corpus.folder}: {', '.join(task.target)} are regression targets. Found no classes.")
    for f in folds:
        people = [corpus.by_id[key] for key in f.train]
        found = {str(u.labels.get(task.target[0], "")) for u in people}
        if lost := [c for c in task.classes if c not in found]:
            raise InputError(
                f"{corpus.folder}: the training part of {f.name} has no {', '.join(lost)}. Found {len(people)} "
                "utterances of the other classes. Prepare it without that class (--drop), or use other folds."
            )
        genders = {u.gender for u in people} - {""}
        if config.per_gender and config.pseudo and any(not u.gender for u in people):
            raise InputError(f"{corpus.folder}: {name} clusters genders apart. Found utterances without one.")
        if config.augment and config.gender and len(genders) < 2:
            raise InputError(
                f"{corpus.folder}: no two genders in the training part of {f.name}. Found "
                f"{', '.join(genders) or 'none'}. Prepare it with them, or leave them out: --set gender=0."
            )


# -- the steps -----------------------------------------------------------------------------------------------

STEPS = {
    "attributes": "emotion and gender learned together",
    "label": "clusters of the hidden states",
    "hubert": "saying which clusters masked spans belong to",
}


def run_stages(config: Config, encoder: Recipe, context: Any, home: Path) -> None:
    """All steps of one fold (`sottovoce.systems.run.FoldContext`); the last one's run goes to `home`."""
    weights = context.weights()
    if config.augment:
        weights = context.pretrain(first(config, encoder, context.task.target[0]), weights)
    if config.pseudo:
        layer, how = clustered(config, encoder), {"include_test": config.include_test}
        units = context.label(weights, layer, config.clusters, per_gender=config.per_gender, **how)
        weights = context.pretrain(third(config, encoder), weights, units=units, **how)
    context.finetune(replace(encoder, finetune=config.finetune), weights, home, transductive=config.include_test)


def describe(config: Config, encoder: Recipe) -> str:
    """The steps in a line."""
    steps = [f"attributes {config.attributes.epochs} epochs"] * config.augment
    scales = ", ".join(map(str, config.clusters))
    steps += [f"clusters {scales} of layer {clustered(config, encoder)}"] * config.pseudo
    steps += [f"units {config.masked.epochs} epochs"] * config.pseudo
    steps += [f"finetune {config.finetune.training.epochs} epochs ({config.finetune.loss})"]
    return " -> ".join(steps)


def first(config: Config, encoder: Recipe, emotion: str) -> Recipe:
    """Emotion and gender of whole utterances, learned together."""
    objective = plugins.load("objectives", "attributes").Config(
        attributes=(emotion, "gender"), weights=(1.0, config.gender)
    )
    return replace(
        encoder, name="attributes", objective="attributes", objective_config=objective, training=config.attributes
    )


def third(config: Config, encoder: Recipe) -> Recipe:
    """Saying which clusters masked spans belong to, of every scale."""
    return replace(
        encoder, name="hubert", objective="masked_units", objective_config=config.units, training=config.masked
    )


# -- what it would be without ... ----------------------------------------------------------------------------


def _later(config: Config, epochs: int) -> Config:
    """The last step gets the epochs of the steps left out: as many updates."""
    training = config.finetune.training
    longer = replace(training, epochs=training.epochs + epochs)
    return replace(config, finetune=replace(config.finetune, training=longer))


def _no_pseudo(config: Config) -> Config:
    return _later(replace(config, pseudo=False), config.masked.epochs)


def _plain(config: Config) -> Config:
    without = _no_amsoftmax(_no_pseudo(config))
    return _later(replace(without, augment=False), config.attributes.epochs)


def _no_amsoftmax(config: Config) -> Config:
    return replace(config, finetune=replace(config.finetune, loss="ce", label_smoothing=0.1))


ABLATIONS: dict[str, Callable[[Config], Config] | tuple[str, ...]] = {
    "plain": _plain,  # cross-entropy alone, from the encoder
    "no-gender": ("gender=0",),
    "no-gmp": _no_pseudo,
    "no-amsoftmax": _no_amsoftmax,
    "no-margin": ("finetune.margin=0",),
    "last-layer": ("layer=-1",),
    "single-scale": lambda c: replace(c, clusters=(sorted(c.clusters)[len(c.clusters) // 2],)),  # the middle one
    "per-gender": ("per_gender=true",),
    "all-frames": ("units.visible=1",),  # masked or not
}

# Leaky protocols of the field, to measure how much they flatter.
LEAKS = {
    "random-dev": ("finetune.dev=superb",),
    "test-selection": ("finetune.dev=test",),
    "all-clusters": ("include_test=true",),
}
