"""`sottovoce study`: how many labels does pre-training save?

The same label subsets, folds and seeds for every arm; an arm is one way to begin:

    pretrained   fine-tuned from the pre-trained weights
    probe        the pre-trained weights frozen, a linear probe on top
    scratch      fine-tuned from random weights: the identical backbone, settings and label subsets

A cell is one (arm, label count, seed, fold): trained with every setting that dev may choose from (`pipeline.tuning`),
tested once, saved under the digest of everything that made it. Seed s takes pre-training s of those that are given.
Cells run in parallel; a finished cell is never run again; a killed study goes on where it was. What they say together
is `sottovoce.evaluation.curves`.
"""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce.config import recipe
from sottovoce.config.finetuning import in_mode
from sottovoce.config.recipe import Recipe
from sottovoce.data import own, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.folds import choose, with_dev
from sottovoce.data.progress import Bar
from sottovoce.data.subsets import parse_label_counts
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import hub, network
from sottovoce.pipeline import pooled, workers
from sottovoce.pipeline.extract import plan_store
from sottovoce.pipeline.finetune import check_classes, judged_by, parts_of, train_recogniser, weights_for
from sottovoce.pipeline.source_choice import with_sources
from sottovoce.pipeline.tuning import NOTHING, Choices, tuned

ARMS = ("pretrained", "probe", "scratch")


@dataclass(frozen=True)
class Cell:
    """One training. `share` orders the label counts across folds, whose training parts differ in size."""

    arm: str
    share: int  # index in the list of label counts
    n: int  # labels
    seed: int
    fold: str
    init: str  # run folder, "none" for scratch
    identity: str

    @property
    def file(self) -> str:
        return f"{self.arm}-{self.n}-{self.fold}-s{self.seed}-{self.identity}.npz"


@dataclass(frozen=True)
class Grid:
    """What a study varies."""

    arms: Sequence[str]
    labels: str  # counts or shares, with commas
    seeds: int
    fold: str | None = None  # None: those of the pre-trained runs, or all
    choices: Choices = NOTHING  # what dev chooses from in every cell


def pretrainings(init: str, seeds: int) -> list[str]:
    """The runs that `--init` names, one a seed or each for as many: names with commas, or a pattern such as runs/pre*.

    Raises InputError when a pattern matches nothing, they differ in more than their seed, or do not go into `seeds`.
    """
    found: list[str] = []
    for part in (p.strip() for p in init.split(",")):
        matching = sorted(glob(part), key=runs.natural) if "*" in part else [part]
        if not matching:
            raise InputError(f"--init {init}: no folder matches {part}. Name runs of `sottovoce pretrain`.")
        found += matching
    found = list(dict.fromkeys(found))
    plans = [_but_seed(hub.parts(name)[0].config["settings"]) for name in found]
    for name, plan in zip(found, plans, strict=True):
        if plan != plans[0]:
            raise InputError(
                f"--init {name}: other settings than {found[0]}. Pre-trainings of one study differ in their seed alone."
            )
    if seeds % len(found):
        raise InputError(f"--seeds {seeds}: no multiple of {len(found)} pre-trainings. Give as many, or twice as many.")
    return found


def _but_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a run's config.json holds them, without any seed and without what judges the weights."""
    return {
        k: v for k, v in files.flatten(settings).items() if not k.endswith("seed") and not k.startswith("finetune.")
    }


def plan_cells(
    plan: Recipe, corpus: Corpus, task: Task, grid: Grid, inits: Sequence[str], *, transductive: bool
) -> list[Cell]:
    """All cells, small ones first, so that a first picture is there early.

    Raises InputError when an arm's weights have seen a test speaker (unless `transductive`), and where the training
    part of a fold holds one class only.
    """
    if grid.fold is None:
        named = [run.config["fold"] for run in hub.parts(inits[0])]
        known = [f for f in corpus.folds if f.name in named]
        folds = known or choose(corpus, None)
    else:
        folds = choose(corpus, grid.fold)
    folds = [with_dev(corpus, f, plan.finetune.dev) for f in folds]
    taught = {f.name: [u for k in f.train if task.teaches(u := corpus.by_id[k])] for f in folds}
    check_classes(corpus, task, taught)
    totals = [len(taught[f.name]) for f in folds]
    wanted = [[parse_label_counts(part, total)[0] for total in totals] for part in grid.labels.split(",")]
    columns = sorted({tuple(column) for column in wanted})  # equal in one fold, 1 % and 2 % may differ in the next
    shared = {"plan": plan, "task": task.plain(), "choices": grid.choices, **judged_by(task, plan.finetune)}
    shared["audio"] = corpus.info.get("audio_digest", "")
    cells = []
    for k, f in enumerate(folds):
        given = [weights_for(init, corpus, f, transductive=transductive) for init in inits]
        for share, n in enumerate(column[k] for column in columns):
            for seed in range(grid.seeds):
                weights = given[seed % len(given)]
                for arm in grid.arms:
                    pre = weights.config["identity"] if weights and arm != "scratch" else "none"
                    where = str(weights.folder) if weights and arm != "scratch" else "none"
                    made = {"arm": arm, "n": n, "seed": seed, "init": pre, "parts": [f.train, f.dev, f.test]}
                    cells.append(Cell(arm, share, n, seed, f.name, where, files.digest(shared | made)))
    return sorted(cells, key=lambda c: (c.seed, c.share, c.fold, c.arm))


def begin(output: Path, plan: Recipe, task: Task, cells: Sequence[Cell]) -> None:
    """Write the study's configuration. Cells of other configurations may stay: their names differ."""
    files.write_json(
        output / "config.json",
        {"kind": "study", "settings": plan, "task": task.plain(), "cells": len(cells), "made": runs.provenance()},
    )


def run_cells(
    cells: Sequence[Cell],
    plan: Recipe,
    corpus: Path,
    task: Task,
    folder: Path,
    choices: Choices = NOTHING,
    *,
    jobs: int,
    quiet: bool = False,
) -> None:
    """Every cell that has no result yet, `jobs` at a time, by workers of one thread each."""
    folder.mkdir(parents=True, exist_ok=True)
    items = {c.file: (c, folder / c.file) for c in cells}
    left = [(c, path) for c, path in items.values() if not path.exists()]
    _loaded.cache_clear()  # it may have been prepared again since
    work = partial(_run_cell, plan, corpus, task, folder, choices)
    with Bar(len(items), "study", quiet=quiet, done=len(items) - len(left)) as bar:
        for _ in workers.make(work, left, jobs, home=folder.parent, needs=[corpus]):
            bar.advance()


_loaded = lru_cache(maxsize=1)(Corpus.load)  # one cell after the other is of the same corpus


def _run_cell(plan: Recipe, corpus: Path, task: Task, folder: Path, choices: Choices, cell: Cell) -> None:
    """Always on one thread, so that it does not matter for a figure how many cells run at a time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        prediction, chosen = train_and_test(cell, plan, _loaded(corpus), task, choices)
    finally:
        torch.set_num_threads(threads)
    with files.atomic(folder / cell.file) as temporary, open(temporary, "wb") as out:
        arrays = {"answer": prediction.astype(np.float32)} | {f"chosen_{k}": np.array(v) for k, v in chosen.items()}
        np.savez(out, **arrays)


def read_cell(path: Path, task: Task) -> np.ndarray:
    """(N, K or D) predictions of a cell. Raises InputError when it is missing or damaged."""
    again = "Delete it and run the same command again."
    answer = own.read_arrays(path, again).get("answer", np.zeros(0))
    wide = answer.ndim == 2 and answer.shape[1] == task.outputs
    if not (wide and answer.dtype.kind == "f" and np.isfinite(answer).all()):
        found = f"{answer.dtype} of {answer.shape}, not numbers of (N, {task.outputs})"
        raise InputError(f"{path}: a damaged cell. Found {found}. {again}")
    return answer


def train_and_test(
    cell: Cell, plan: Recipe, corpus: Corpus, task: Task, choices: Choices = NOTHING
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train one cell on its label subset; predictions (N_test, K or D) for the fold's labelled test utterances, and
    what dev chose."""
    store = plan_store(corpus, plan, quiet=True)
    fold = with_dev(corpus, corpus.fold(cell.fold), plan.finetune.dev)
    plan = recipe.seeded(plan, cell.seed)
    if cell.arm == "probe" and plan.finetune.mode == "full":
        plan = replace(plan, finetune=in_mode(plan.finetune, "frozen"))
    run = hub.load(cell.init) if cell.init != "none" else None
    plan, _ = with_sources(plan, task, [corpus], run)
    init = network.load_pretrained(run) if run else None
    parts = parts_of(plan, corpus, store, fold, task, str(cell.n), cell.seed)
    task = task.taught(corpus, parts.train)
    if plan.finetune.mode != "full":
        choices = Choices(depth=choices.depth)
    # a training changes the weights that it begins with
    it, chosen = tuned(plan, choices, lambda wanted: train_recogniser(wanted, task, parts, init=deepcopy(init)))
    test = [corpus.by_id[k] for k in fold.test if task.has(corpus.by_id[k]) and k in store]
    return pooled.predict(it, Steps([(store, test)], plan.frontend, it.statistics)), chosen


def timed(
    cells: Sequence[Cell], plan: Recipe, corpus: Corpus, task: Task, choices: Choices
) -> tuple[dict[str, tuple[float, int]], float]:
    """Seconds and labels of the largest cell of each arm, and about how many seconds all cells take."""
    found, total = {}, 0.0
    for arm in dict.fromkeys(c.arm for c in cells):
        own_cells = [c for c in cells if c.arm == arm]
        largest, started = max(own_cells, key=lambda c: c.n), time.monotonic()
        train_and_test(largest, plan, corpus, task, choices)
        seconds = time.monotonic() - started
        found[arm] = seconds, largest.n
        total += sum(seconds * max(c.n / largest.n, 0.1) for c in own_cells)
    return found, total
