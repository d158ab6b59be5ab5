"""`sottovoce study`: how many labels does pre-training save?

The same label subsets, folds and seeds for every arm; an arm is one way to begin:

    pretrained   fine-tuned from the pre-trained weights
    probe        the pre-trained weights frozen, a linear probe on top
    scratch      fine-tuned from random weights: the identical backbone, settings and label subsets

A cell is one (arm, label count, seed, fold): trained, tested, saved under the digest of everything that made it.
Cells run in parallel; a finished cell is never run again; a killed study goes on where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce import report as pages
from sottovoce.config import recipe
from sottovoce.config.finetuning import in_mode
from sottovoce.config.recipe import Recipe
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.folds import choose, person, seen_by, with_dev
from sottovoce.data.progress import Bar
from sottovoce.data.task import Task
from sottovoce.errors import unknown_name
from sottovoce.evaluation import lines
from sottovoce.evaluation.evaluate import write_table
from sottovoce.metrics import scores as metrics
from sottovoce.metrics import statistics
from sottovoce.metrics.statistics import parse_label_counts
from sottovoce.modeling import hub, network
from sottovoce.pipeline import baselines, workers
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.finetune import parts_of, train_recogniser, weights_for

ARMS = ("pretrained", "probe", "scratch")


def check_metric(metric: str, corpus: Corpus, task: Task) -> None:
    """Raises InputError when the task has no such score; better now than after the last cell."""

    truth = task.values([u for u in corpus.utterances if task.has(u)][:1])
    known = metrics.scores(task, truth, truth)
    if metric and metric not in known:
        raise unknown_name("--metric", metric, known)


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


def _subject(cells: Sequence[Cell], plan: Recipe) -> str:
    """What the curve shows: of a public encoder its name, of which "hubert" are only the settings."""
    public = sorted({cell.init for cell in cells if cell.init != "none" and hub.is_public(cell.init)})
    name = f"the {public[0]} encoder" if public else plan.name
    return f"labels saved by {name}" if {"scratch"} < {cell.arm for cell in cells} else f"{name} as labels grow"


@dataclass(frozen=True)
class Grid:
    """What a study varies."""

    arms: Sequence[str]
    labels: str  # counts or shares, with commas
    seeds: int
    fold: str | None = None  # None: those of the pre-trained runs, or all


def plan_cells(
    plan: Recipe, corpus: Corpus, task: Task, grid: Grid, init: str, found: Sequence[runs.Run], *, transductive: bool
) -> list[Cell]:
    """All cells, small ones first, so that a first picture is there early.

    Raises InputError when an arm's weights have seen a test speaker (unless `transductive`).
    """

    if grid.fold is None:
        named = [run.config["fold"] for run in found]
        known = [f for f in corpus.folds if f.name in named]
        folds = known or choose(corpus, None)
    else:
        folds = choose(corpus, grid.fold)
    folds = [with_dev(corpus, f, plan.finetune.dev) for f in folds]
    totals = [sum(task.has(corpus.by_id[k]) for k in f.train) for f in folds]
    wanted = [[parse_label_counts(part, total)[0] for total in totals] for part in grid.labels.split(",")]
    columns = sorted({tuple(column) for column in wanted})  # equal in one fold, 1 % and 2 % may differ in the next
    cells = []
    for k, f in enumerate(folds):
        weights = weights_for(init, corpus, f, transductive=transductive)
        for share, n in enumerate(column[k] for column in columns):
            for seed in range(grid.seeds):
                for arm in grid.arms:
                    pre = weights.config["identity"] if weights and arm != "scratch" else "none"
                    made = {
                        "plan": plan,
                        "task": asdict(task),
                        "arm": arm,
                        "n": n,
                        "seed": seed,
                        "init": pre,
                        "parts": [f.train, f.dev, f.test],
                        "audio": corpus.info.get("audio_digest", ""),
                    }
                    where = str(weights.folder) if weights and arm != "scratch" else "none"
                    cells.append(Cell(arm, share, n, seed, f.name, where, files.digest(made)))
    return sorted(cells, key=lambda c: (c.seed, c.share, c.fold, c.arm))


def begin(output: Path, plan: Recipe, task: Task, cells: Sequence[Cell]) -> None:
    """Write the study's configuration. Cells of other configurations may stay: their names differ."""
    files.write_json(
        output / "config.json",
        {"kind": "study", "settings": plan, "task": asdict(task), "cells": len(cells), "made": runs.provenance()},
    )


def run_cells(
    cells: Sequence[Cell], plan: Recipe, corpus: Path, task: Task, folder: Path, *, jobs: int, quiet: bool = False
) -> None:
    """Every cell that has no result yet, `jobs` at a time in processes of one thread each."""

    folder.mkdir(parents=True, exist_ok=True)
    left = list({c.file: c for c in cells if not (folder / c.file).exists()}.values())
    _loaded.cache_clear()  # it may have been prepared again since
    work = partial(_run_cell, plan, corpus, task, folder)
    with Bar(len(cells), "study", quiet=quiet, done=len(cells) - len(left)) as bar:
        for _ in workers.map(work, left, jobs, ordered=False, where=folder):
            bar.advance()


_loaded = lru_cache(maxsize=1)(Corpus.load)  # one cell after the other is of the same corpus


def _run_cell(plan: Recipe, corpus: Path, task: Task, folder: Path, cell: Cell) -> None:
    """Always on one thread, so that it does not matter for a figure how many cells run at a time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        prediction = train_and_test(cell, plan, _loaded(corpus), task)
    finally:
        torch.set_num_threads(threads)
    with files.atomic(folder / cell.file) as temporary, open(temporary, "wb") as out:
        np.savez(out, answer=prediction.astype(np.float32))


def train_and_test(cell: Cell, plan: Recipe, corpus: Corpus, task: Task) -> np.ndarray:
    """Train one cell on its label subset; predictions (N_test, K or D) for the fold's labelled test utterances."""

    store = track_store(corpus, plan.track, asdict(plan.track_config), quiet=True)
    fold = with_dev(corpus, corpus.fold(cell.fold), plan.finetune.dev)
    own = recipe.seeded(plan, cell.seed)
    if cell.arm == "probe" and own.finetune.mode == "full":
        own = replace(own, finetune=in_mode(own.finetune, "frozen"))
    init = network.load_pretrained(hub.load(cell.init)) if cell.init != "none" else None
    it, _ = train_recogniser(own, task, parts_of(own, corpus, store, fold, task, str(cell.n), cell.seed), init=init)
    test = [corpus.by_id[k] for k in fold.test if task.has(corpus.by_id[k]) and k in store]
    return network.predict(it, Steps([(store, test)], own.frontend, it.statistics))


def collect(
    cells: Sequence[Cell], plan: Recipe, corpus: Corpus, task: Task, folder: Path, metric: str = ""
) -> dict[str, Any]:
    """Curves, paired differences and labels saved, from finished cells: what study.json holds."""

    metric = metric or metrics.MAIN[task.kind]
    store = track_store(corpus, plan.track, asdict(plan.track_config), quiet=True)
    folds = list(dict.fromkeys(c.fold for c in cells))
    tests = {
        f: [corpus.by_id[k] for k in corpus.fold(f).test if task.has(corpus.by_id[k]) and k in store] for f in folds
    }
    tested = [u for f in folds for u in tests[f]]
    truth, clusters = task.values(tested), [person(u) for u in tested]
    seeds, shares = sorted({c.seed for c in cells}), sorted({c.share for c in cells})
    arms = [a for a in ARMS if any(c.arm == a for c in cells)]
    ns = [round(float(np.mean([c.n for c in cells if c.share == s]))) for s in shares]
    cell_file = {(c.arm, c.share, c.seed, c.fold): c.file for c in cells}

    def predicted(arm: str, share: int) -> Any:  # (S, N) classes or (S, N, D) regression predictions, folds pooled
        rows = []
        for seed in seeds:
            parts = [np.load(folder / cell_file[arm, share, seed, f], allow_pickle=False)["answer"] for f in folds]
            pooled = np.concatenate(parts)
            rows.append(pooled.argmax(1) if task.kind == "class" else pooled)
        return np.stack(rows)

    predictions = {a: [predicted(a, s) for s in shares] for a in arms}
    found = {a: [statistics.intervals(task, truth, cell, clusters) for cell in own] for a, own in predictions.items()}
    count = len(set(clusters))
    higher = metrics.higher_is_better(metric)

    def points(arm: str, name: str) -> list[dict]:
        return [{"n": n} | cell[name] for n, cell in zip(ns, found[arm], strict=True)]

    kind = "recall" if task.kind == "class" else metric
    named = {c: f"{kind}_{c}" for c in (task.classes or task.target)}
    per_class = {c: {a: points(a, n) for a in arms} for c, n in named.items() if n in found[arms[0]][0]}
    parts = [with_dev(corpus, corpus.fold(f), plan.finetune.dev) for f in folds]
    known = [corpus.by_id[k] for part in parts for k in part.train if task.has(corpus.by_id[k])]
    dev_labels = round(float(np.mean([sum(task.has(corpus.by_id[k]) for k in part.dev) for part in parts])))
    rivals = baselines.trivial(task, task.values(known), len(tested), seed=0, draws=20)
    rivals.pop("uniform", None)  # in UA the same as chance: one line in the picture is enough
    scores = {
        n: float(np.mean([metrics.scores(task, truth, row)[metric] for row in (p if p.ndim > truth.ndim else [p])]))
        for n, p in rivals.items()
    }
    result: dict[str, Any] = {
        "title": f"{corpus.name}: {_subject(cells, plan)}",
        "metric": metric,
        "higher_is_better": higher,
        "unit": "labelled utterances",
        "ns": ns,
        "n_total": round(len(known) / len(folds)),
        "dev_labels": dev_labels,
        "arms": {a: points(a, metric) for a in arms},
        "trivial": scores,
        "per_class": per_class,
        "seeds": len(seeds),
        "trainings_counted": len(seeds) > 1,
        "warnings": [f"Trainings: {lines.trainings(1)}."] if len(seeds) == 1 else [],
        "folds": len(folds),
        "speakers": count if any(u.speaker for u in tested) else None,  # unknown is not one each
        "n_test": len(tested),
        "config": files.plain(plan),
        "protocol": study_protocol(corpus, folds, cells, plan, tested, dev_labels),
        "hardware": runs.hardware(),
        "made": runs.provenance(),
        "all_metrics": {a: {m: points(a, m) for m in found[a][0] if "_" not in m or m in ("macro_f1",)} for a in arms},
    }
    baseline = "scratch"
    for arm in ("pretrained", "probe"):
        if arm not in arms or baseline not in arms:
            continue
        differences = [
            statistics.differences(task, truth, a, b, clusters)[metric]
            for a, b in zip(predictions[arm], predictions[baseline], strict=True)
        ]
        paired: list[dict[str, Any]] = [
            {"n": n} | statistics.difference_entry(found) | {"detectable": found.detectable(1 - 0.05 / len(ns))}
            for n, found in zip(ns, differences, strict=True)
        ]
        known_p = [row for row in paired if row["p"] is not None]
        for row, p in zip(known_p, statistics.holm([row["p"] for row in known_p]), strict=True):
            row["p_holm"] = p
        prefix = "" if arm == "pretrained" else "probe_"
        result[f"{prefix}paired"] = paired
        result["warnings"] = list(dict.fromkeys(result["warnings"] + lines.floors(paired)))
        if len(ns) < 2:
            continue
        a, b = (statistics.curve_replicates(task, truth, predictions[x], clusters)[metric] for x in (arm, baseline))
        saved = statistics.labels_saved(
            ns, a.replicates, b.replicates, values=(a.value, b.value), higher_is_better=higher, clusters=count
        )
        result[f"{prefix}labels_saved"] = [
            {"n": n} | row | {"with_dev": statistics.counting_dev(row, n, dev_labels)}
            for n, row in zip(ns, saved, strict=True)
        ]
        if known_p:
            result[f"{prefix}meeting_point"] = statistics.meeting_point(ns, paired, higher_is_better=higher)
    return result


def study_protocol(
    corpus: Corpus,
    folds: Sequence[str],
    cells: Sequence[Cell],
    plan: Recipe,
    tested: Sequence[Utterance],
    dev_labels: int,
) -> dict[str, Any]:
    """How the study was made, in words, with what a reader must know first as `first_line`."""

    seeds = len({c.seed for c in cells})
    most = max(len({c.init for c in cells if c.fold == f and c.init != "none"}) for f in folds)
    seen: set[str] = set()
    for fold, init in {(c.fold, c.init) for c in cells if c.init != "none"}:
        seen |= set(seen_by(hub.load(init)).test_people([corpus], fold))
    return {
        "first_line": f"Transductive: the pre-training has seen the audio of {len(seen)} test speakers."
        if seen
        else None,
        "corpus": str(corpus.folder),
        "folds": lines.folds(folds, len(corpus.folds), {corpus.fold(f).group for f in folds}),
        "label subsets": "nested, stratified by class, the same for every arm",
        "control": "identical backbone and settings, random weights",
        "model selection": "a random 20 % of training, speakers shared (SUPERB)"
        if plan.finetune.dev == "superb"
        else "dev part of the fold, never test",
        "labels to choose with": f"{dev_labels} labelled dev utterances a fold, the same for every arm and count; "
        "they are not in the number of labels",
        "intervals": lines.intervals([(u.speaker, u.session) for u in tested], seeds),
        "trainings": lines.trainings(seeds),
        "pre-trainings": f"{most}, one a seed: their luck is in the intervals"
        if most == seeds > 1
        else f"{most or 'none'} for {seeds} seed{'s' * (seeds > 1)}: the luck of a pre-training is in no interval",
        "normalisation": "per speaker, test speakers' unlabelled audio included"
        if plan.per_speaker
        else plan.frontend.normalise,
    }


def save(output: Path, result: Mapping[str, Any]) -> None:
    """study.json, study.csv, study.svg, study.png and the page."""

    rows = [
        {"arm": arm, "labels": p["n"], "metric": metric, "value": p["value"], "low": p["low"], "high": p["high"]}
        for arm, of in result["all_metrics"].items()
        for metric, points in of.items()
        for p in points
    ]
    arm, prefix = compared_with_scratch(result)
    rows += [
        {"arm": f"{arm} - scratch", "labels": p["n"], "metric": result["metric"]}
        | {k: p[k] for k in ("value", "low", "high")}
        for p in result.get(f"{prefix}paired", ())
    ]
    write_table(output / "study.csv", rows)
    files.write_json(output / "study.json", result)
    plain = files.plain(result)
    pages.study_figure(plain, output / "study.svg", output / "study.png")
    files.write_text(output / "report.html", pages.study_page(plain))


def compared_with_scratch(result: Mapping[str, Any]) -> tuple[str, str]:
    """The arm whose differences are shown, and how their keys begin."""
    return ("probe", "probe_") if "pretrained" not in result["arms"] else ("pretrained", "")
