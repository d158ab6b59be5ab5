"""`sottovoce transfer`: a model trained on some corpora, tested on others -> transfer.csv, .json, .svg, .png, a page.

    rows     every corpus alone, and all but one together
    columns  every corpus that the row was not trained on, whole: all of its people are new

Training is `finetune` with a frozen encoder: pooled states, which are kept beside every corpus, and a penalised linear
layer in which every class weighs the same. The people of dev choose the penalty; they are of the corpora trained on, so
nobody of a tested corpus has a say. What all corpora call by one name is a class, after `--map` and `--drop`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce import report as pages
from sottovoce.config import recipe as recipes
from sottovoce.config.finetuning import in_mode
from sottovoce.config.recipe import Recipe
from sottovoce.data import contents, folds, runs, vocabulary
from sottovoce.data.augmented import Augmented
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.progress import Bar
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import lines
from sottovoce.evaluation import protocol as cards
from sottovoce.evaluation.answered import Answered
from sottovoce.metrics import scores
from sottovoce.modeling import hub
from sottovoce.modeling import network as models
from sottovoce.modeling.network import Network, Pretrained, Recognised
from sottovoce.pipeline import workers
from sottovoce.pipeline.extract import plan_store
from sottovoce.pipeline.finetune import Lesson, changed_copies, fit_probe
from sottovoce.pipeline.pooled import PooledStates
from sottovoce.pipeline.source_choice import with_sources

METRICS = ("ua", "wa", "macro_f1")


@dataclass
class Place:
    """A corpus and the pooled states of its labelled utterances: those of recordings, and of changed copies."""

    corpus: Corpus
    name: str
    utterances: list[Utterance]  # with a class of the task
    store: Any
    copies: Sequence[Any] = ()
    pooled: Sequence[Mapping[str, np.ndarray]] = ()  # id -> (P,), of `store` and of every one of `copies`

    def split(self) -> tuple[list[Utterance], list[Utterance]]:
        """Who is learned from, and the dev people of the first fold, who choose."""
        fold = next(iter(self.corpus.folds), None)
        dev = set(fold.dev) if fold else set()
        if not dev:  # every fifth person
            kept = set(sorted({folds.person(u) for u in self.utterances})[4::5])
            dev = {u.id for u in self.utterances if folds.person(u) in kept}
        return [u for u in self.utterances if u.id not in dev], [u for u in self.utterances if u.id in dev]


def transfer(
    corpora: Sequence[Corpus],
    *,
    init: str = "default",
    target: str = "emotion",
    relabel: Mapping[str, str] | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
    jobs: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """The matrix.

    Args:
        corpora: two or more.
        init: an encoder or a pre-trained run that has seen nobody of them.
        relabel: as `vocabulary.overrides` gives it, for whichever corpora have such a word.
        settings: KEY=VALUE of the recipe.

    Raises:
        InputError: fewer than two corpora or common classes, an encoder that has seen somebody who is tested.
    """
    started = time.monotonic()
    task, labelled = common_task(corpora, target, relabel or {})
    run = hub.parts(init)[0]
    for corpus in corpora:
        if seen := folds.seen_by(run).people_in(corpus, {folds.person(u) for u in corpus.utterances}):
            raise InputError(f"{init}: has seen {len(seen)} people of {corpus.folder}. Use weights that have not.")
    plan = recipes.seeded(recipes.override(run.plan, settings), seed)
    plan, _ = with_sources(replace(plan, finetune=in_mode(plan.finetune, "frozen")), task, corpora, run)
    earlier = models.load_pretrained(run, plan.finetune.depth or None)
    places = []
    for corpus, own in zip(corpora, labelled, strict=True):
        store = plan_store(corpus, plan, jobs=jobs, quiet=quiet)
        plan = recipes.at_frame_rate(plan, store.rate_hz)
        kept = [u for u in own if u.id in store]
        name = corpus.folder.name if len({c.folder.name for c in corpora}) == len(corpora) else str(corpus.folder)
        places.append(Place(corpus, name, kept, store, changed_copies(plan, corpus, store)))
    work, made = partial(pooled_states, plan, earlier=earlier, task=task), [plan, run.config["identity"]]
    parts = [(place, [made, _told(place), [u.id for u in place.utterances]]) for place in places]
    workers.once(work, parts, home=corpora[0].folder / "tracks", needs=[c.folder for c in corpora])  # kept beside each
    rows = arms(len(places))
    with Bar(len(places) + len(rows), "transfer", quiet=quiet) as bar:
        for place in places:
            place.pooled = pooled_states(plan, place, earlier=earlier, task=task)
            bar.advance()
        cells = []
        for row in rows:
            cells += list(_row(plan, task, places, row, earlier))
            bar.advance()
    result = {
        "title": f"Transfer between {len(places)} corpora: {target}",
        "task": {"kind": task.kind, "target": task.target, "classes": task.classes},
        "corpora": [_told(place) for place in places],
        "cells": cells,
        "encoder": run.config["identity"],
        "init": init,
        "config": plan,
        "seed": seed,
        "hardware": runs.hardware(),
        "made": runs.provenance(),
        "seconds": time.monotonic() - started,
    }
    card = {"card": _card(places, task, cells, run, seed)}
    return result | card | {"summary": summary(cells, len(places)), "protocol": protocol(places, run)}


def common_task(corpora: Sequence[Corpus], target: str, relabel: Mapping[str, str]) -> tuple[Task, list[list]]:
    """The classes that all corpora have, and the utterances of each that are of one of them.

    Raises InputError for fewer than two corpora or classes, and for words of `relabel` that no corpus has.
    """
    if len({c.folder.resolve() for c in corpora}) < 2 or len({c.folder.resolve() for c in corpora}) < len(corpora):
        raise InputError(f"transfer: two or more different corpora. Found {', '.join(str(c.folder) for c in corpora)}.")
    renamed: list[list[Utterance]] = []
    found: set[str] = set()
    for corpus in corpora:
        if corpus.kinds.get(target) != "class":
            there = ", ".join(k for k, kind in corpus.kinds.items() if kind == "class") or "none"
            raise InputError(f"{corpus.folder}: no classes named {target}. Found: {there}. Name one with --target.")
        own = [u for u in corpus.utterances if target in u.labels]
        present = {str(u.labels[target]) for u in own}
        words = {old: new for old, new in relabel.items() if old in present}
        found |= set(words)
        renamed.append(vocabulary.apply(own, words, target, str(corpus.folder)) if words else own)
    if strange := sorted(set(relabel) - found):
        raise InputError(f"--map/--drop: no corpus has a {target} {strange[0]!r}. Look into their report.html.")
    present_in = [{str(u.labels[target]) for u in own} for own in renamed]
    order = dict.fromkeys(name for c in corpora for name in c.classes[target])
    everywhere = set.intersection(*present_in)
    classes = tuple(name for name in order if name in everywhere) + tuple(sorted(everywhere - set(order)))
    if len(classes) < 2:
        each = "; ".join(f"{c.name}: {', '.join(sorted(p))}" for c, p in zip(corpora, present_in, strict=True))
        raise InputError(f"transfer: two or more classes in common. Found {each}. Rename some with --map old=new.")
    return Task("class", (target,), classes), [[u for u in own if u.labels[target] in everywhere] for own in renamed]


def arms(corpora: int) -> list[tuple[int, ...]]:
    """What is trained on: each, then all but one.

    >>> arms(2), arms(3)
    ([(0,), (1,)], [(0,), (1,), (2,), (1, 2), (0, 2), (0, 1)])
    """
    alone = [(k,) for k in range(corpora)]
    return alone + [tuple(j for j in range(corpora) if j != k) for k in range(corpora) if corpora > 2]


def pooled_states(plan: Recipe, place: Place, *, earlier: Pretrained, task: Task) -> list[dict[str, np.ndarray]]:
    """Of the recordings, then of every changed copy: id -> (P,)."""
    cache = PooledStates(Network(earlier.backbone, plan.finetune, task.outputs).eval(), plan, place.store)
    found = []
    for store in (place.store, *place.copies):
        steps = Steps([(store, place.utterances)], plan.frontend, earlier.statistics)
        found.append({u.id: row for u, row in zip(place.utterances, cache(steps), strict=True)})
    return found


def _row(
    plan: Recipe, task: Task, places: Sequence[Place], row: Sequence[int], earlier: Pretrained
) -> Iterator[dict[str, Any]]:
    """Train on these corpora, test on every other. What a training corpus holds of a tested one is not learned from."""
    others = [k for k in range(len(places)) if k not in row]
    copied = {k: _copies(places[k], [places[j] for j in others]) for k in row}
    parts = [[[u for u in part if u.id not in copied[k]] for part in places[k].split()] for k in row]
    train, dev = ([u for part in parts for u in part[side]] for side in (0, 1))
    if len({u.labels[task.target[0]] for u in train}) < 2 or not dev:
        names, gone = ", ".join(places[k].name for k in row), sum(map(len, copied.values()))
        raise InputError(
            f"transfer: too little to learn from in {names}, without {gone} copies of what is tested. Found "
            f"{len(train)} utterances to train and {len(dev)} to choose by. Leave out corpora that hold the same."
        )
    owners: dict[int, Place] = {id(s): place for place in places for s in (place.store, *place.copies)}

    def states(steps: Steps) -> np.ndarray:
        made = [store.copy + 1 if isinstance(store, Augmented) else 0 for store in steps.stores]
        rows = zip(made, steps.stores, steps.utterances, strict=True)
        return np.stack([owners[id(store)].pooled[k][u.id] for k, store, u in rows])

    def steps_of(stores: Sequence[Any], side: int) -> Steps:
        sources = [(store, part[side]) for store, part in zip(stores, parts, strict=True)]
        return Steps(sources, plan.frontend, earlier.statistics)

    stores = [places[k].store for k in row]
    copies = [steps_of([places[k].copies[c] for k in row], 0) for c in range(len(places[row[0]].copies))]
    network = Network(earlier.backbone, plan.finetune, task.outputs)
    it = Recognised(network, earlier.statistics, plan, task)
    felt = task.values(dev)  # what dev is judged by, and taught by once it has chosen
    lesson = Lesson(steps_of(stores, 0), task.values(train), steps_of(stores, 1), felt, felt, copies)
    readings = fit_probe(it, lesson, states)
    for k in others:
        tested = places[k]
        test = Steps([(tested.store, tested.utterances)], plan.frontend, earlier.statistics)
        answers, truth = models.from_pooled(it, states(test), test), task.values(tested.utterances)
        got = Answered(task, tested.utterances, [tested.name] * len(truth), truth, answers)
        yield {
            "train": [places[j].name for j in row],
            "test": tested.name,
            "n": len(truth),
            "speakers": len(set(got.people)),
            "labels": len(train) + len(dev),
            "copies_left_out": sum(map(len, copied.values())),
            "dev_ua": max(r["dev_ua"] for r in readings),
            "metrics": got.intervals(),
            "confusion": scores.confusion(task, truth, got.predicted),
        }


def _copies(place: Place, others: Sequence[Place]) -> set[str]:
    """Utterances of a corpus that another one holds too, by content."""
    known = contents.Known({m for other in others for u in other.utterances for m in other.corpus.contents[u.id]})
    return {u.id for u in place.utterances if known.has(place.corpus.contents[u.id])}


def _told(place: Place) -> dict[str, Any]:
    corpus = place.corpus
    return {
        "name": place.name,
        "corpus": corpus.name,
        "folder": str(corpus.folder.resolve()),
        "n": len(place.utterances),
        "of": len(corpus.utterances),
        "speakers": len({folds.person(u) for u in place.utterances}),
        "licence": corpus.info.get("licence", ""),
        "audio": corpus.info.get("audio_digest", ""),
    }


def summary(cells: Sequence[Mapping[str, Any]], corpora: int) -> dict[str, float]:
    """Mean UA over tested corpora, trained on one corpus and on all but the tested one."""

    def mean(size: int) -> float:
        return float(np.mean([c["metrics"]["ua"]["value"] for c in cells if len(c["train"]) == size]))

    return {"one": mean(1), "all_but_one": mean(corpora - 1)}


def protocol(places: Sequence[Place], run: runs.Run) -> dict[str, Any]:
    people = [(u.speaker, u.session) for place in places for u in place.utterances]
    return {
        "classes": "those that all corpora have; every class weighs the same in training and in UA",
        "encoder": f"{run.config.get('encoder', run.folder)}, frozen",
        "penalty": "chosen by dev people of the corpora trained on",
        "test": "whole corpora; copies of their recordings are left out of training, by content",
        "intervals": lines.intervals(people) + ", of the tested corpus; how far corpora differ is not in them",
        "trainings": lines.trainings(1),
    }


def _card(
    places: Sequence[Place], task: Task, cells: Sequence[Mapping[str, Any]], run: runs.Run, seed: int
) -> dict[str, Any]:
    """The protocol card of a matrix, as of a result on one corpus."""
    seen, rows = folds.seen_by(run), {tuple(c["train"]) for c in cells}
    return {
        "corpora": [place.name for place in places],
        "task": {"kind": task.kind, "target": task.target, "classes": task.classes},
        "split": {
            place.name: {
                "hash": files.digest([sorted(u.id for u in part) for part in place.split()]),
                "audio": place.corpus.info.get("audio_digest", ""),
                "recordings tested": len(place.utterances),
            }
            for place in places
        },
        "choices": [
            {"what": "the penalty", "by": "UA", "on": "dev people of the corpora trained on"},
            {"what": "the figures", "by": "every score", "on": "corpora not trained on, whole, read once a row"},
        ],
        "budget": {
            "labels": sorted({c["labels"] for c in cells}),
            "trainings": len(rows),
        },
        "exposure": {"people": len(seen.people), "test people": []},  # weights that have seen any are refused
        "seeds": [seed],
        "weights": [run.identity],
        "made": runs.provenance(),
    }


def save(output: Path, result: Mapping[str, Any]) -> None:
    """transfer.csv, transfer.json, transfer.svg, transfer.png and the page."""
    rows = []
    for cell in result["cells"]:
        row = {"train": "+".join(cell["train"])} | {k: cell[k] for k in ("test", "n", "speakers", "labels")}
        for name in METRICS:
            row |= lines.columns(name, cell["metrics"][name])
        rows.append(row)
    files.write_csv(output / "transfer.csv", rows)
    cards.save(output, "transfer", result, pages.transfer_page, pages.transfer_figure)
