"""Finished cells of a study -> its curves, paired differences and labels saved: study.json and all that shows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce import report as pages
from sottovoce.config.recipe import Recipe
from sottovoce.data import own, runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.folds import person, seen_by, with_dev
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import lines, protocol
from sottovoce.evaluation.evaluate import CHOSEN
from sottovoce.evaluation.study import ARMS, Cell, read_cell
from sottovoce.metrics import scores as metrics
from sottovoce.metrics import statistics
from sottovoce.modeling import hub
from sottovoce.pipeline import baselines
from sottovoce.pipeline.extract import plan_store
from sottovoce.pipeline.finetune import chooser
from sottovoce.pipeline.tuning import NOTHING, Choices

PREFIX = {"pretrained": "", "probe": "probe_"}  # how the keys of an arm's differences from scratch begin
BESIDE = ("mae", "acc4", "ccc", "wacc")  # scores of numbers that stand side by side; the last is of presence


def _units(cells: Sequence[Cell]) -> list[int] | None:
    """Which pre-training each seed began with, where there are several but not one a seed; else None."""
    of_seed = {c.seed: c.init for c in cells if c.init != "none" and c.fold == cells[0].fold}
    names = list(dict.fromkeys(of_seed.values()))
    return [names.index(of_seed[s]) for s in sorted(of_seed)] if 1 < len(names) < len(of_seed) else None


class Curves:
    """What every cell answered, and the truth: folds pooled, seeds stacked.

    `of[arm]` is a list of (S, N) class indices or (S, N, D) values, one a label count.
    """

    def __init__(self, cells: Sequence[Cell], plan: Recipe, corpus: Corpus, task: Task, folder: Path):
        store = plan_store(corpus, plan, quiet=True)
        self.task, self.folds = task, list(dict.fromkeys(c.fold for c in cells))
        self.tested = [
            corpus.by_id[k] for f in self.folds for k in corpus.fold(f).test if task.has(corpus.by_id[k]) and k in store
        ]
        self.truth, self.people = task.values(self.tested), [person(u) for u in self.tested]
        self.seeds, shares = sorted({c.seed for c in cells}), sorted({c.share for c in cells})
        self.ns = [round(float(np.mean([c.n for c in cells if c.share == s]))) for s in shares]
        self.arms = [a for a in ARMS if any(c.arm == a for c in cells)]
        self.units = _units(cells)
        self._files = {(c.arm, c.share, c.seed, c.fold): folder / c.file for c in cells}
        self.of = {a: [self._stacked(a, s) for s in shares] for a in self.arms}
        self.scores = {
            a: [statistics.intervals(task, self.truth, cell, self.people, units=self.units_of(a)) for cell in own]
            for a, own in self.of.items()
        }
        self.chosen = [self._chosen(c) for c in cells]

    def _stacked(self, arm: str, share: int) -> np.ndarray:
        rows = []
        for seed in self.seeds:
            pooled = np.concatenate([read_cell(self._files[arm, share, seed, f], self.task) for f in self.folds])
            if len(pooled) != len(self.tested):
                raise InputError(
                    f"{self._files[arm, share, seed, self.folds[0]].parent}: other cells than these test parts need. "
                    f"Found {len(pooled)} answers, not {len(self.tested)}. Delete the folder and run it again."
                )
            rows.append(pooled.argmax(1) if self.task.kind == "class" else pooled)
        return np.stack(rows)

    def units_of(self, arm: str) -> list[int] | None:
        """Trainings that share a pre-training count as one; those from random weights share nothing."""
        return None if arm == "scratch" else self.units

    def _chosen(self, cell: Cell) -> dict[str, Any]:
        """What dev chose in a cell: {arm, n, seed, fold, lr, epochs, depth}, of the last three those there were."""
        kept = own.read_arrays(self._files[cell.arm, cell.share, cell.seed, cell.fold])
        values = {k.removeprefix("chosen_"): v.item() for k, v in kept.items() if k.startswith("chosen_")}
        return {"arm": cell.arm, "n": cell.n, "seed": cell.seed, "fold": cell.fold} | values

    def points(self, arm: str, name: str) -> list[dict[str, Any]]:
        """One score along the curve: [{n, value, low, high}]."""
        return [{"n": n} | cell[name] for n, cell in zip(self.ns, self.scores[arm], strict=True)]

    def beside(self, name: str) -> dict[str, Any]:
        """{arm: points} of one score."""
        return {arm: self.points(arm, name) for arm in self.arms}

    def known(self, name: str) -> bool:
        return name in self.scores[self.arms[0]][0]

    def each(self, stem: str) -> dict[str, Any]:
        """{class or number: {arm: points}} of one kind of score."""
        parts = self.task.classes or self.task.target
        return {part: self.beside(f"{stem}_{part}") for part in parts if self.known(f"{stem}_{part}")}

    def flat(self) -> list[dict[str, Any]]:
        """Where an arm answers the same everywhere, in any of its trainings: [{arm, n, labels}]."""
        found = []
        for arm, cells in self.of.items():
            for n, cell in zip(self.ns, cells, strict=True):
                names = {name for run in cell for name in metrics.flat(self.task, self.truth, run)}
                found += [{"arm": arm, "n": n, "labels": [t for t in self.task.target if t in names]}] * bool(names)
        return found


def _subject(cells: Sequence[Cell], plan: Recipe) -> str:
    """What the curve shows: of a public encoder its name, of which "hubert" are only the settings."""
    public = sorted({cell.init for cell in cells if cell.init != "none" and hub.is_public(cell.init)})
    name = f"the {public[0]} encoder" if public else plan.name
    return f"labels saved by {name}" if {"scratch"} < {cell.arm for cell in cells} else f"{name} as labels grow"


def collect(
    cells: Sequence[Cell],
    plan: Recipe,
    corpus: Corpus,
    task: Task,
    folder: Path,
    metric: str = "",
    choices: Choices = NOTHING,
) -> dict[str, Any]:
    """Curves, paired differences and labels saved, from finished cells: what study.json holds."""
    metric = metric or metrics.MAIN[task.kind]
    got = Curves(cells, plan, corpus, task, folder)
    parts = [with_dev(corpus, corpus.fold(f), plan.finetune.dev) for f in got.folds]
    known = [corpus.by_id[k] for part in parts for k in part.train if task.has(corpus.by_id[k])]
    dev_labels = round(float(np.mean([sum(task.has(corpus.by_id[k]) for k in part.dev) for part in parts])))
    flat = got.flat()
    result: dict[str, Any] = {
        "title": f"{corpus.name}: {_subject(cells, plan)}",
        "metric": metric,
        "higher_is_better": metrics.higher_is_better(metric),
        "unit": "labelled utterances",
        "ns": got.ns,
        "n_total": round(len(known) / len(got.folds)),
        "dev_labels": dev_labels,
        "arms": got.beside(metric),
        "trivial": _trivial(task, got, known, metric),
        "per_class": got.each("recall" if task.kind == "class" else metric),
        "beside": {name: {"all": got.beside(name)} | got.each("wa" if name == "wacc" else name)
                   for name in BESIDE if task.kind == "number" and got.known(name)},
        "flat": flat,
        "chosen": got.chosen,
        "seeds": len(got.seeds),
        "trainings_counted": len(got.seeds) > 1,
        "warnings": [f"Trainings: {lines.trainings(1)}."] * (len(got.seeds) == 1)
        + [f"{n} labels are fewer than the {len(task.classes)} classes: some are never taught, and never answered."
           for n in got.ns if n < len(task.classes)]
        + [lines.constant(task, f["labels"], f"{f['arm']}, {f['n']} labels") for f in flat],
        "folds": len(got.folds),
        # unknown is not one each
        "speakers": len(set(got.people)) if any(u.speaker for u in got.tested) else None,
        "n_test": len(got.tested),
        "config": files.plain(plan),
        "protocol": study_protocol(corpus, got.folds, cells, plan, got.tested, dev_labels)
        | {"budget": f"{choices}; the same in every arm at every label count"},
        "card": _card(cells, corpus, task, plan, choices),
        "hardware": runs.hardware(),
        "made": runs.provenance(),
        "all_metrics": {
            a: {m: got.points(a, m) for m in got.scores[a][0] if "_" not in m or m == "macro_f1"} for a in got.arms
        },
    }  # fmt: skip
    for arm, prefix in PREFIX.items():
        if arm in got.arms and "scratch" in got.arms:
            found = _against_scratch(got, arm, metric, dev_labels)
            result |= {f"{prefix}{key}": value for key, value in found.items()}
            result["warnings"] = list(dict.fromkeys(result["warnings"] + lines.floors(found["paired"])))
    return result


def _card(cells: Sequence[Cell], corpus: Corpus, task: Task, plan: Recipe, choices: Choices) -> dict[str, Any]:
    """The protocol card of a study."""
    tuning, names = plan.finetune, list(dict.fromkeys(c.fold for c in cells))
    what = ", ".join([CHOSEN[tuning.mode], *choices.lists()])
    return protocol.card(
        corpus, [with_dev(corpus, corpus.fold(f), tuning.dev) for f in names], task,
        choices=[protocol.chosen(chooser(task, tuning), tuning, f"{what}, in every arm at every label count")],
        budget={"labels": sorted({c.n for c in cells}), "cells": len(cells), "trainings a cell": choices.trainings},
        weights=[hub.load(init) for init in sorted({c.init for c in cells} - {"none"})],
        seeds=[c.seed for c in cells],
    )  # fmt: skip


def _trivial(task: Task, got: Curves, known: Sequence[Utterance], metric: str) -> dict[str, float]:
    """The score of every answer that needs no recording."""
    rivals = baselines.trivial(task, task.values(known), len(got.tested), seed=0, draws=20)
    rivals.pop("uniform", None)  # in UA the same as chance: one line in the picture is enough
    drawn = {n: p if p.ndim > got.truth.ndim else p[None] for n, p in rivals.items()}
    return {n: float(np.mean([metrics.scores(task, got.truth, row)[metric] for row in p])) for n, p in drawn.items()}


def _against_scratch(got: Curves, arm: str, metric: str, dev_labels: int) -> dict[str, Any]:
    """Paired differences, labels saved and the meeting point of one arm."""
    higher, task = metrics.higher_is_better(metric), got.task
    differences = [
        statistics.differences(task, got.truth, a, b, got.people, units=got.units)[metric]
        for a, b in zip(got.of[arm], got.of["scratch"], strict=True)
    ]
    paired: list[dict[str, Any]] = [
        {"n": n} | statistics.difference_entry(found) | {"detectable": found.detectable(1 - 0.05 / len(got.ns))}
        for n, found in zip(got.ns, differences, strict=True)
    ]
    statistics.correct(paired)
    found: dict[str, Any] = {"paired": paired}
    if len(got.ns) < 2:
        return found
    a, b = (
        statistics.curve_replicates(task, got.truth, got.of[x], got.people, units=got.units)[metric]
        for x in (arm, "scratch")
    )
    saved = statistics.labels_saved(
        got.ns, a.replicates, b.replicates, values=(a.value, b.value), higher_is_better=higher,
        clusters=len(set(got.people)),
    )  # fmt: skip
    found["labels_saved"] = [
        {"n": n} | row | {"with_dev": statistics.counting_dev(row, n, dev_labels)}
        for n, row in zip(got.ns, saved, strict=True)
    ]
    if any("p_holm" in row for row in paired):
        found["meeting_point"] = statistics.meeting_point(got.ns, paired, higher_is_better=higher)
    return found


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
        "first_line": lines.transductive(seen) or None,
        "corpus": str(corpus.folder),
        "folds": lines.folds(folds, len(corpus.folds), {corpus.fold(f).group for f in folds}),
        "label subsets": "nested, stratified by class, the same for every arm",
        "control": "identical backbone and settings, random weights",
        "model selection": protocol.PARTS[plan.finetune.dev],
        "labels to choose with": "in the number of labels: a fifth of each count chooses, the rest teaches"
        if plan.finetune.dev == "share"
        else f"{dev_labels} labelled dev utterances a fold, the same for every arm and count; "
        "they are not in the number of labels",
        "intervals": lines.intervals([(u.speaker, u.session) for u in tested], seeds),
        "trainings": lines.trainings(seeds),
        "pre-trainings": f"{most} for {seeds} seeds: their luck is in the intervals, each counts as one training there"
        if most > 1
        else f"{most or 'none'} for {seeds} seed{'s' * (seeds > 1)}: the luck of a pre-training is in no interval",
        "normalisation": lines.normalisation(plan),
    }


def save(output: Path, result: Mapping[str, Any]) -> None:
    """study.json, study.csv, study.svg, study.png and the page."""
    curves = [(arm, metric, points) for arm, of in result["all_metrics"].items() for metric, points in of.items()]
    for name, parts in result["beside"].items():
        single = [(part, arms) for part, arms in parts.items() if part != "all"]
        curves += [(arm, f"{name}_{part}", points) for part, arms in single for arm, points in arms.items()]
    arm, prefix = compared_with_scratch(result)
    curves.append((f"{arm} - scratch", result["metric"], result.get(f"{prefix}paired", ())))
    rows = [
        {"arm": arm, "labels": p["n"], "metric": metric} | lines.entry(p)
        for arm, metric, points in curves
        for p in points
    ]
    files.write_csv(output / "study.csv", rows)
    protocol.save(output, "study", result, pages.study_page, pages.study_figure, named="report")


def compared_with_scratch(result: Mapping[str, Any]) -> tuple[str, str]:
    """The arm whose differences are shown, and how their keys begin."""
    arm = "pretrained" if "pretrained" in result["arms"] else "probe"
    return arm, PREFIX[arm]
