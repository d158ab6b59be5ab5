"""EMS (arXiv:2406.06646) as one system: intensity model, its track, masked pre-training, frozen probe.

Liu & Ma, "Emotion-Aware Speech Self-Supervised Representation Learning with Intensity Knowledge", Interspeech 2024.
The steps are recipes of their own: strengthnet, ems_mockingjay or ems_npc, frozen_probe.

Run:     sottovoce run ems data/ravdess data/librispeech --fold all -o runs/ems --ablate random,energy,untrained,npc
Needs:   a labelled corpus with neutral speech; more corpora to pre-train on, labelled or not
Time:    that of its steps; the sizes of the paper want a GPU; a fold of RAVDESS with --small, on log-mel or (--track
         encoder) on states that are there, 2 CPU minutes (2026-11-27, AMD EPYC)
Expect:  docs/results.md and docs/lab.md; the paper claims up to 7.1 points on IEMOCAP, its tables could not be read
Departs: as its steps do, see docs/cards/ems.md. The intensity model learns from the training part of the fold that is
         probed, so that no test speaker is seen anywhere
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from sottovoce.config.finetuning import FineTuning
from sottovoce.config.ranges import Settings
from sottovoce.config.recipe import Recipe, judged, resolve
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.task import Task
from sottovoce.errors import InputError


@dataclass(frozen=True)
class Config(Settings):
    renamed: ClassVar[dict[str, str]] = {"strength": "intensity"}

    intensity: Recipe  # of the model that makes it
    pretrain: Recipe  # its objective says which rule masks what, by which intensity
    probe: FineTuning  # what judges it
    weights: bool = True  # False: arm "scratch", random weights probed


ENCODER = False
STEPS = {
    "strengthnet": "a model of emotional intensity",
    "ems_mockingjay": "pre-training that masks intense frames",
    "ems_npc": "pre-training that masks intense frames",
}


SMALL = (  # a quarter of StrengthNet's channels, on crops of a second; 3 x 128 that learn in minutes
    *("intensity.backbone.channels=4,8,16,32", "intensity.objective.lstm=32", "intensity.objective.dense=32"),
    *("intensity.frontend.normalise=corpus", "intensity.training.crop_s=1", "intensity.training.lr=1e-3"),
    *("intensity.training.accumulate=1", "intensity.training.epochs=8"),
    *("pretrain.frontend.trim_db=30", "pretrain.frontend.normalise=corpus", "pretrain.backbone.width=128"),
    *("pretrain.backbone.heads=4", "pretrain.backbone.feedforward=256", "pretrain.backbone.norm=pre"),
    *("pretrain.backbone.positions=conv", "pretrain.backbone.init_std=0", "pretrain.backbone.dropout=0"),
    *("pretrain.training.lr=2e-3", "pretrain.training.crop_s=6", "pretrain.training.batch_s=32"),
    *("pretrain.training.epochs=6", "pretrain.training.validate_every=3", "probe.epochs=60", "probe.lrs=1e-3,1e-2"),
)
SMALL_FBANK = ("pretrain.track.deltas=0", "pretrain.frontend.subsampling=4", "pretrain.objective.span=2")  # 25 Hz


def small(config: Config) -> tuple[str, ...]:
    """Settings for two cores."""
    return SMALL + SMALL_FBANK * (config.pretrain.track == "fbank")


def system(encoder: None, corpora: Sequence[Corpus], track: str = "") -> Config:
    plan = resolve("ems_mockingjay", corpora, track=track)
    return Config(resolve("strengthnet", corpora), plan, judged(plan, "frozen_probe").finetune)


def check(config: Config, encoder: None, name: str, corpus: Corpus, task: Task, folds: Sequence[Fold]) -> None:
    """Raises InputError where an intensity is to be learned and nobody is neutral."""
    neutral = config.intensity.objective_config.neutral
    if config.pretrain.objective_config.intensity != "intensity" or not config.weights:
        return
    for f in folds:
        found = {str(corpus.by_id[key].labels.get("emotion", "")) for key in f.train}
        if not found & set(neutral):
            raise InputError(
                f"{corpus.folder}: nobody is {' or '.join(neutral)} in the training part of {f.name}. Found "
                f"{', '.join(sorted(found - {''})) or 'no emotions'}. Mask by loudness: "
                "--set pretrain.objective.intensity=energy."
            )


def run_stages(config: Config, encoder: None, context: Any, home: Path) -> None:
    """All steps of one fold (`sottovoce.systems.run.FoldContext`); the last one's run goes to `home`."""
    plan, weights = config.pretrain, None
    if config.weights:
        if plan.objective_config.intensity == "intensity":
            track = context.intensity_track(config.intensity)
            plan = replace(plan, objective_config=replace(plan.objective_config, intensity=track))
        weights = context.pretrain(plan)
    context.finetune(replace(plan, finetune=config.probe), weights, home)


def describe(config: Config, encoder: None) -> str:
    if not config.weights:
        return "random weights -> frozen probe"
    plan, first = config.pretrain, ""
    if plan.objective_config.intensity == "intensity":
        first = f"strengthnet {config.intensity.training.epochs} epochs -> intensity track -> "
    rule = f"{plan.objective_config.rule} by {plan.objective_config.intensity}"
    return f"{first}{plan.name} {plan.training.epochs} epochs ({rule}) -> frozen probe"


def _npc(plan: Recipe) -> Recipe:
    """NPC's recipe, with all that was changed of MockingJay's and that NPC has too."""
    before, npc = resolve("ems_mockingjay", track=plan.track), resolve("ems_npc", track=plan.track)
    parts = ("track_config", "frontend", "backbone_config", "objective_config", "training")
    return replace(npc, **{p: _carried(*(getattr(r, p) for r in (before, plan, npc))) for p in parts})


def _carried(before: Any, changed: Any, other: Any) -> Any:
    """`other` with the fields that differ between `before` and `changed`, where it has them."""
    names = [f.name for f in fields(changed) if hasattr(other, f.name)]
    given = {name: getattr(changed, name) for name in names}
    return replace(other, **{name: v for name, v in given.items() if v != getattr(before, name)})


ABLATIONS: dict[str, Callable[[Config], Config] | tuple[str, ...]] = {
    # by loudness, for the report; a random rule does not look at it
    "random": ("pretrain.objective.rule=random", "pretrain.objective.intensity=energy"),
    "energy": ("pretrain.objective.intensity=energy",),
    "sampled": ("pretrain.objective.rule=ems_sampled",),
    "released": ("pretrain.objective.rule=ems_released",),
    "threshold": ("pretrain.objective.rule=ems_threshold",),
    "untrained": ("weights=false",),
    "npc": lambda c: replace(c, pretrain=_npc(c.pretrain)),
}
LEAKS = {"random-dev": ("probe.dev=superb",), "test-selection": ("probe.dev=test",)}
