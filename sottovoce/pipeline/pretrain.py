"""`sottovoce pretrain`: tracks, no labels -> backbone weights, and a page that shows whether it is healthy.

    data      = PretrainData.open(...)             stores, parts, auxiliary tracks, who was seen, identity
    objective = build(data)                        backbone + objective
    state     = training.fit(objective, ...)       the one loop
    monitor.write(folder, state)                   weights, health page

The dev loss is measured on the fold's dev people, or on every twentieth person where a corpus has no folds.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from sottovoce import plugins
from sottovoce.backbones.base import hop_and_field
from sottovoce.config.recipe import Recipe
from sottovoce.data import batching, folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.memory import Memory
from sottovoce.data.runs import Run
from sottovoce.data.store import TrackStore
from sottovoce.errors import InputError, say
from sottovoce.modeling import network, training
from sottovoce.modeling.loop import Keep, Watch, first_process, together
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives.base import Objective, Sides
from sottovoce.pipeline import strength, units
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.monitor import Health
from sottovoce.pipeline.pretrain_data import PretrainData, Start

RANDOM = (10 / 14, 13 / 14)  # where StrengthNet's release cuts its shuffled list: training, dev, test


def sides_of(plan: Recipe, corpora: Sequence[Corpus], fold: str) -> Sides:
    """Who is learned from and who is looked at in a fold."""
    if plan.objective_config.split == "random":
        return at_random(corpora, plan.training.seed)
    return Sides(corpora, *folds.parts(corpora, fold))


def at_random(corpora: Sequence[Corpus], seed: int) -> Sides:
    """The split of StrengthNet's release: shuffled utterances, speakers on every side."""
    rng, train, dev = np.random.default_rng(seed), [], []
    for corpus in corpora:
        shuffled = [corpus.utterances[k] for k in rng.permutation(len(corpus.utterances))]
        a, b = (round(share * len(shuffled)) for share in RANDOM)
        train.append(shuffled[:a])
        dev.append(shuffled[a:b])
    return Sides(corpora, train, dev)


def names_of_runs(plan: Recipe, corpora: Sequence[Corpus], wanted: str | None) -> list[str]:
    """The sub-folders a command makes: one a fold, or the one random split."""
    return ["random"] if plan.objective_config.split == "random" else folds.names(corpora, wanted)


def pretrain(
    plan: Recipe, corpora: Sequence[Corpus], fold: str, folder: Path, start: Start = Start(), *, dry_run: bool = False
) -> Path:
    """One pre-training into `folder`; nothing is done when the same one is finished there.

    Raises:
        InputError: another run is in the folder, or whatever `PretrainData.open` and `build` refuse.
    """
    data = PretrainData.open(plan, corpora, fold, sides_of(plan, corpora, fold), start, dry_run=dry_run)
    objective = build(data)
    run = None if dry_run else data.open_run(folder)
    if run and run.finished:
        return folder
    data.fit_statistics()
    if data.plan.objective_config.clusters:
        data.add("units", clusters(data, run), "nearest")
    objective.prepare(data)
    target = objective.targets(data.train)
    if run is None:
        estimate(objective, data, target)
        return folder
    tracker = start.tracker if installed(start.tracker) else ""
    monitor = {"strength": strength.Agreement}.get(data.plan.objective, Health)(data, objective)
    state = training.fit(
        objective,
        data.train,
        data.plan.training,
        target=target,
        lr_scale=objective.param_scale,
        watch=Watch(monitor.validate, monitor.metric),
        keep=Keep(folder, run.identity, tracker, f"pre-training {fold}", start.quiet),
    )
    if first_process():
        monitor.write(folder, state)
        kept = objective if objective.judges else None
        network.save_pretrained(folder, objective.backbone, data.statistics, kept)  # last: it makes the run finished
        run.finish()
    together()
    return folder


def build(data: PretrainData) -> Objective:
    """The objective around its backbone: random weights from the seed, or those of `init`.

    Raises InputError when the two do not go together, or units are asked for that there cannot be.
    """
    plan, start = data.plan, data.start
    module = plugins.load("objectives", plan.objective)
    if module.Objective.judges and data.earlier:
        raise InputError(f"{plan.name}: begins with random weights. Found --init {start.init}. Leave it out.")
    torch.manual_seed(plan.training.seed)
    backbone = network.build_backbone(plan, data.train.dim)
    if data.earlier:
        backbone.load_state_dict(data.earlier.backbone.state_dict())
    data.train.hop_and_field = data.dev.hop_and_field = hop_and_field(backbone)
    widths = {name: plan.frontend.dim(stores[0].dim) for name, (stores, _) in data.aux.items()}
    objective: Objective = module.Objective(plan.objective_config, backbone, widths)
    units.check(plan.objective_config.clusters, data.train, len(backbone.blocks), bool(start.init))
    return objective


def clusters(data: PretrainData, run: Run | None) -> list[Memory] | list[TrackStore]:
    """Units of every utterance, one store a corpus: those that were given, or clusters fitted on the training part.

    The iterations before the last are runs of their own in the run's folder, iteration1, ...; what is done is not done
    again. Without a run, in a dry run, all units are 0.
    """
    if data.given:
        return data.given
    plan, start, train = data.plan, data.start, data.sides.train
    *before, now = plan.objective_config.clusters
    source, sizes = units.parse(now)
    parts = [[*a, *b] for a, b in zip(train, data.sides.dev, strict=True)]
    if run is None:
        found = units.blank(sizes, data.stores, parts)
        return [found.store(part) for part in parts]
    path = run.folder / "units.safetensors"
    if path.exists():
        return [units.load(path, run.identity).store(part) for part in parts]
    slots = None
    if source == "mfcc":
        made = [track_store(c, "mfcc", {"deltas": 2}, jobs=start.jobs, quiet=start.quiet) for c in data.corpora]
        frames = units.of_tracks(made, parts)
    else:
        teacher = data.earlier
        if before:
            first = replace(plan, objective_config=replace(plan.objective_config, targets=tuple(before)))
            home = pretrain(first, data.corpora, data.fold, run.folder / f"iteration{len(before)}", start)
            teacher = network.load_pretrained(Run.load(home))
        assert teacher is not None
        frames = units.of_layer(teacher, int(source), data.stores, parts)
        slots = units.slots(teacher, data.stores, parts)
    found = units.make(frames, train, parts, sizes, plan.training.seed, slots)
    if first_process():
        units.save(path, found, run.identity)
    return [found.store(part) for part in parts]


def installed(tracker: str) -> bool:
    """Whether there is such a tracker to log to."""
    return tracker != "none" and (tracker != "tensorboard" or find_spec("tensorboard") is not None)


def estimate(objective: Objective, data: PretrainData, target: np.ndarray | None) -> None:
    """Time a few updates, the first apart, and say how long the whole will take."""
    t, steps = data.plan.training, data.train
    batches = batching.plan_epoch(
        steps.lengths,
        batch_steps=t.batch_frames(steps.rate_hz),
        batch_rows=t.batch_rows,
        seed=0,
        epoch=0,
        most=t.crop_frames(steps.rate_hz),
    )
    few, started = batches[:4], time.monotonic()
    for k, rows in enumerate(few):
        if k == 1:  # the first one also pays for what is made once
            started = time.monotonic()
        batch = steps.batch(rows, most=t.crop_frames(steps.rate_hz), target=target)
        objective(batch, RowRandom(batch.seeds)).value.backward()
    epochs = max(t.epochs, -(-t.min_updates * t.accumulate // len(batches)))
    seconds = (time.monotonic() - started) / max(len(few) - 1, 1) * len(batches) * epochs
    parameters = sum(p.numel() for p in objective.backbone.parameters())
    say(
        f"{data.plan.name} {data.fold}: {len(steps)} utterances, {steps.lengths.sum() / steps.rate_hz / 3600:.2f} h; "
        f"{parameters / 1e6:.2f} M parameters; {len(batches)} batches x {epochs} epochs: "
        f"about {seconds / 60:.0f} min on {runs.hardware()}. No weights were written."
    )
