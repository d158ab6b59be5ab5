"""The data of a pre-training: opened, checked and described before a single weight is drawn.

PretrainData.open(...)   stores of every corpus, who is learned from, auxiliary tracks, who was seen; writes nothing
.fit_statistics()        mean and deviation of the training part, once the run is begun
.train, .dev             `Steps`, what `training.fit` and the monitor read
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import plugins
from sottovoce.backbones.base import Backbone
from sottovoce.config import recipe
from sottovoce.config.recipe import Recipe
from sottovoce.data import folds
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics
from sottovoce.data.runs import Run
from sottovoce.errors import InputError
from sottovoce.modeling import hub, network
from sottovoce.modeling.network import Pretrained
from sottovoce.objectives.base import Sides
from sottovoce.pipeline import aux_tracks, functionals, genders, units
from sottovoce.pipeline.aux_tracks import AuxTracks
from sottovoce.pipeline.extract import plan_store

FEW = 200  # most utterances in the dev loss


@dataclass(frozen=True)
class Start:
    """What a pre-training begins with and how it is made, except its recipe: options of the command line."""

    init: str = ""  # run folder or public encoder whose weights to go on from
    units: str = ""  # folder of `sottovoce label` with the units to predict
    transductive: bool = False  # allow auxiliary tracks whose model has seen test speakers
    tracker: str = "none"  # accelerate's name of one
    jobs: int | None = None  # processes for extraction
    quiet: bool = False


@dataclass
class PretrainData:
    """What one pre-training reads, and all that can be said of it without its weights."""

    plan: Recipe  # with what the data decide: frame rate, classes, the backbone of `init`
    corpora: Sequence[Corpus]
    fold: str
    sides: Sides  # of all utterances in the stores
    stores: list[Any]  # one a corpus
    aux: AuxTracks  # name in `Batch.tracks` -> (a store for each corpus, how it is aligned)
    earlier: Pretrained | None  # the model of `init`
    given: list[Any] | None  # stores of the units of `Start.units`
    seen: folds.Seen  # whom weights, statistics or auxiliary tracks know
    remarks: list[str]  # what a reader of the page has to know
    train: Steps
    dev: Steps
    start: Start
    told: dict[str, str] = field(default_factory=dict)  # further lines of the page
    dry_run: bool = False

    @classmethod
    def open(
        cls, plan: Recipe, corpora: Sequence[Corpus], fold: str, sides: Sides, start: Start, *, dry_run: bool = False
    ) -> "PretrainData":
        """Args:
            sides: who is learned from and who is looked at; all others are tested.

        Raises:
            InputError: no frames, features of another width than `init`'s, an auxiliary track that is missing or does
                not fit, labels that the objective cannot learn from, or no training utterance.
        """
        how: dict[str, Any] = {"jobs": start.jobs, "quiet": start.quiet}
        plan.objective_config.require(corpora)
        stores = [plan_store(c, plan, **how) for c in corpora]
        plan = recipe.at_frame_rate(plan, stores[0].rate_hz)
        sides = sides.only(lambda u, k: u.id in stores[k])  # without what extraction had to leave out
        if not any(sides.train):
            folders = ", ".join(str(c.folder) for c in corpora)
            raise InputError(f"{folders}: no training utterances for fold {fold!r}.")
        earlier = network.load_pretrained(_one(hub.parts(start.init), fold)) if start.init else None
        if earlier:
            network.check_same_input(earlier, plan, stores[0].dim)  # before anything is written
            plan = replace(plan, backbone=earlier.plan.backbone, backbone_config=earlier.plan.backbone_config)
        given = units.given(Path(start.units), corpora, fold) if start.units else None
        config = plan.objective_config
        if given and not config.clusters:
            raise InputError(f"--units {start.units}: {plan.objective} predicts no units. Leave it out.")
        config = replace(config, targets=(given[1],)) if given else config
        if config.functionals:
            config = replace(config, functionals=functionals.kind_of(config.functionals))
        plan = replace(plan, objective_config=config.fitted(sides))
        sides = sides.only(lambda u, k: plan.objective_config.reads(u))
        aux = aux_tracks.find(plan.objective_config, corpora, fold, transductive=start.transductive, **how)
        known = aux_tracks.seen(aux) | (folds.seen_behind(given[0][0]) if given else folds.Seen())
        train, dev = _steps(plan, stores, sides, aux)
        remarks = aux_tracks.check(plan.objective_config, train, dev, plan.training.crop_frames(train.rate_hz) or 0)
        if both := known.test_people(corpora, fold):
            remarks.insert(0, f"The intensity comes from a model that has seen test speakers: {', '.join(both[:4])}.")
        seen = known | folds.Seen.of([*corpora, *corpora], [*sides.train, *sides.dev])
        seen |= folds.seen_by(earlier.run if earlier else None)
        return cls(
            plan, corpora, fold, sides, stores, aux, earlier, given[0] if given else None, seen, remarks,
            train, dev, start, dry_run=dry_run,
        )  # fmt: skip

    @property
    def learned(self) -> list[list[Utterance]]:
        """Of every corpus the utterances that are learned from."""
        return _learned(self.plan, self.sides.train)

    @property
    def statistics(self) -> Statistics:
        assert self.train.statistics is not None
        return self.train.statistics

    def fit_statistics(self) -> None:
        """Mean and deviation of the features of the training part, or those that came with `init`."""
        found = self.earlier.statistics if self.earlier else self.train.fit_statistics()
        self.train.statistics = self.dev.statistics = found

    def add(self, name: str, stores: list[Any], align: str) -> None:
        """One more auxiliary track, made when all others were there."""
        hop_and_field, statistics = self.train.hop_and_field, self.train.statistics
        self.aux[name] = stores, align
        self.train, self.dev = _steps(self.plan, self.stores, self.sides, self.aux)
        self.train.hop_and_field = self.dev.hop_and_field = hop_and_field
        self.train.statistics = self.dev.statistics = statistics

    def complete_genders(self, backbone: Backbone) -> None:
        """See `objectives.base.Data`; in a dry run none is predicted."""
        if not self.dry_run:
            self.train.utterances, self.told["Gender"] = genders.complete(self.train, backbone)

    def functionals(self, speaker_norm: bool = False) -> list[np.ndarray]:
        """See `objectives.base.Data`."""
        kind, start = self.plan.objective_config.functionals, self.start
        return [functionals.of_corpus(c, kind, speaker_norm, jobs=start.jobs, quiet=start.quiet) for c in self.corpora]

    def summary(self, *, hours: bool = False) -> list[dict[str, Any]]:
        """Of every corpus how much is learned from."""
        return [
            {"name": c.name, "utterances": len(part), "speakers": len({folds.person(u) for u in part})}
            | ({"hours": float(sum(store.lengths[u.id] for u in part) / store.rate_hz / 3600)} if hours else {})
            for c, store, part in zip(self.corpora, self.stores, self.learned, strict=True)
        ]

    def open_run(self, folder: Path) -> Run:
        """The run of these data in a folder, begun if it is not there. Raises InputError when another is."""
        earlier, given = self.earlier, self.given
        return Run.open(
            folder,
            "pretrain",
            self.plan,
            fold=self.fold,
            features=self.stores[0].dim,
            decides={
                "data": [[u.id for u in part] for part in self.sides.train],
                "heldout": [[u.id for u in part] for part in self.sides.dev],
                "audio": [c.info.get("audio_digest", "") for c in self.corpora],
                "companions": {name: [store.folder.name for store in stores] for name, (stores, _) in self.aux.items()},
                "units": [store.folder.name for store in given] if given else None,
            },
            seen=self.seen,
            before=earlier.run if earlier else None,
            **self.plan.objective_config.notes,
            corpora=self.summary(),
            init=self.start.init,
        )


def _learned(plan: Recipe, parts: Sequence[Sequence[Utterance]]) -> list[list[Utterance]]:
    return [[u for u in part if plan.objective_config.learns(u)] for part in parts]


def _steps(plan: Recipe, stores: Sequence[Any], sides: Sides, aux: AuxTracks) -> tuple[Steps, Steps]:
    """Training and dev part; the latter is part of the former where dev is empty."""
    train, dev = _learned(plan, sides.train), _learned(plan, sides.dev)
    judges = plugins.load("objectives", plan.objective).Objective.judges
    apart = dev if judges else _spread(dev if any(dev) else train)
    unit = Statistics.unit(stores[0].dim)
    return (
        Steps(list(zip(stores, train, strict=True)), plan.frontend, unit, aux),
        Steps(list(zip(stores, apart, strict=True)), plan.frontend, unit, aux),
    )


def _spread(parts: Sequence[list[Utterance]]) -> list[list[Utterance]]:
    """At most FEW utterances, evenly from all."""
    step = max(sum(map(len, parts)) // FEW, 1)
    return [part[::step] for part in parts]


def _one(found: list[Run], fold: str) -> Run:
    """The run to go on from: the one made for this fold, else the first."""
    return next((run for run in found if folds.current(run.config["fold"]) == fold), found[0])
