"""`sottovoce compare`: runs side by side, paired by utterance -> compare.csv, compare.json, compare.html, picture.

A system is one evaluated run, or several seeds of one (a folder of runs, or runs joined by commas). The first system
is the reference; every other one is compared with it on the same utterances.

Intervals and p values are those of `sottovoce.metrics.spread`: over whole speakers, and over trainings where a system
has several seeds. p values are corrected for the number of comparisons (Holm 1979); next to each stands the smallest
difference these speakers and seeds would have shown after the same correction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from sottovoce import files
from sottovoce import report as pages
from sottovoce.config.settings import words
from sottovoce.data import own, runs
from sottovoce.data.task import Task
from sottovoce.errors import InputError, say, unknown_name
from sottovoce.evaluation import lines, protocol
from sottovoce.evaluation.evaluate import cautions, evaluate
from sottovoce.metrics import scores as metrics
from sottovoce.metrics import statistics
from sottovoce.metrics.spread import Spread

KINDS = ("finetune", "phoneme")  # runs that predict something
STALE: Mapping[str, Any] = {}  # in place of a card of weights that are gone


@dataclass(frozen=True)
class System:
    """What one or several seeds of a system answered."""

    name: str
    seeds: tuple[int, ...]
    configs: tuple[dict[str, Any], ...]  # config.json, one a seed
    tables: tuple[dict[str, dict[str, str]], ...]  # id -> row of predictions.csv, one a seed
    task: Task
    told: Mapping[str, Any] = field(default_factory=dict)  # the card that `evaluate` laid beside it, if all have one


def load(text: str, *, quiet: bool = True) -> System:
    """The system that an argument names: `[NAME=]RUN[,RUN ...]`, or a folder of runs.

    Raises InputError: no run, seeds of different tasks.
    """
    name, equals, rest = text.partition("=")
    name, rest = (name, rest) if equals and not Path(text).exists() else ("", text)
    named = list(map(Path, words(rest)))
    folders = [folder for path in named for folder in _runs_in(path)]
    if not folders:
        raise InputError(f"{text or 'compare'}: names no run. Give folders written by `sottovoce finetune`.")
    found = []
    for folder in folders:
        kind = runs.parts(folder)[0].config["kind"]
        if kind not in KINDS:
            raise InputError(f"{folder}: a {kind} run, which predicts nothing. Compare fine-tuned runs.")
        found.append(runs.parts(folder, kind))
    where = [folder.resolve() for folder in folders]
    if len(set(where)) < len(where):
        twice = next(f for f, place in zip(folders, where, strict=True) if where.count(place) > 1)
        raise InputError(f"{twice}: the same run twice in one system. Name every training once.")
    tasks = [Task.from_dict(parts[0].config.get("task") or {}, parts[0].folder / "config.json") for parts in found]
    for folder, task in zip(folders, tasks, strict=True):
        if not task.same(tasks[0]):
            raise InputError(f"{folder}: another task than {folders[0]}. Seeds of one system share their task.")
    laid = [_laid(folder, parts) for folder, parts in zip(folders, found, strict=True)]
    tables = tuple(
        predictions(f, parts, task, stale=card is STALE, quiet=quiet)
        for f, parts, task, card in zip(folders, found, tasks, laid, strict=True)
    )
    configs = tuple(parts[0].config for parts in found)
    seeds = tuple(int(config.get("seed", k)) for k, config in enumerate(configs))
    name = name or " … ".join(dict.fromkeys(path.name or str(path) for path in (named[0], named[-1])))
    return System(name, seeds, configs, tables, tasks[0], laid[0] if all(laid) else {})


def _runs_in(folder: Path) -> list[Path]:
    """The folder itself, or the runs one level below it."""
    if any(folder.glob("config.json")) or any(folder.glob("*/config.json")) or not folder.is_dir():
        return [folder]
    inner = {path.parent.parent for path in folder.glob("*/*/config.json")}
    return sorted(inner, key=lambda p: runs.natural(p.name)) or [folder]


def predictions(
    folder: Path, parts: Sequence[runs.Run], task: Task, *, stale: bool = False, quiet: bool = True
) -> dict[str, dict[str, str]]:
    """id -> row of predictions.csv; evaluated now where the file is missing, lacks a fold or is of other weights
    (`stale`).

    Raises InputError: an utterance answered twice, a damaged file.
    """
    path, wanted = folder / "predictions.csv", {run.config["fold"] for run in parts}
    rows: list[dict[str, str]] = []
    if path.is_file():
        needed = ("id", "fold", "speaker", "session", *_columns(task, "target"), *_columns(task, "predicted"))
        rows = own.read_rows(path, needed, "Evaluate again.")
    if {row["fold"] for row in rows} != wanted or stale:
        if parts[0].config["kind"] != "finetune":
            raise InputError(f"{path}: not the predictions of this run. Make the run again.")
        if not quiet:
            say(f"{folder}: no predictions of {', '.join(sorted(wanted))} yet, evaluating.", err=True)
        rows = [{k: str(v) for k, v in row.items()} for row in evaluate(parts)[1]]
    table = {row["id"]: row for row in rows}
    if len(table) < len(rows):
        raise InputError(f"{path}: {len(rows) - len(table)} utterances are in it twice. Folds overlap; compare one.")
    return table


def _laid(folder: Path, parts: Sequence[runs.Run]) -> Mapping[str, Any]:
    """The card that `evaluate` laid into a folder, {} where there is none; `STALE` where it is of other weights than
    are there now."""
    path = folder / protocol.FILE
    if not path.is_file():
        return {}
    card: dict[str, Any] = own.read_json(path, dict[str, Any], "Evaluate again.")
    now = None, sorted({run.identity for run in parts})
    return card if parts[0].config["kind"] != "finetune" or card.get("weights") in now else STALE


def _columns(task: Task, what: str) -> list[str]:
    """Columns of predictions.csv that hold targets or predictions."""
    if task.kind == "phones":
        return ["phones" if what == "target" else "edits"]
    return [what] if task.kind == "class" else [f"{what}_{name}" for name in task.target]


def values(task: Task, table: Mapping[str, Mapping[str, str]], ids: Sequence[str], what: str) -> np.ndarray:
    """(N,) class indices or counts, or (N, D) regression targets. Raises InputError for what is neither."""
    columns = _columns(task, what)
    try:
        if task.kind == "class":
            index = {name: k for k, name in enumerate(task.classes)}
            return np.array([index[table[key][columns[0]]] for key in ids], dtype=np.int64)
        rows = np.array([[own.number(table[key][c]) for c in columns] for key in ids])
    except (KeyError, ValueError) as error:
        raise InputError(f"predictions.csv: a {what} that is none. {error}. Evaluate again.") from None
    return rows[:, 0].astype(np.int64) if task.kind == "phones" else rows


def compare(systems: Sequence[System], *, metric: str = "", common: bool = False) -> dict[str, Any]:
    """All scores of every system, and its differences from the first: what compare.json holds.

    Raises:
        InputError: fewer than two systems, another task, other utterances or targets, an unknown score.
    """
    if len(systems) < 2:
        raise InputError("compare: one system alone. Name two or more; the first is the reference.")
    names = [s.name for s in systems]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"compare: two systems called {twice}. Tell them apart with NAME=RUN.")
    first, task = systems[0], systems[0].task
    for system in systems[1:]:
        if not system.task.same(task):
            raise InputError(
                f"{system.name}: another task than {first.name}. Found {_spoken(system.task)}, there {_spoken(task)}."
            )
    ids = _shared([(s.name, table) for s in systems for table in s.tables], common)
    target, predicted = answers(systems, ids)
    rows = [first.tables[0][key] for key in ids]
    clusters = [row["speaker"] or row["session"] or row["id"] for row in rows]  # as `folds.person`
    count = len(set(clusters))
    metric = metric or metrics.MAIN[task.kind]
    found: list[dict[str, Any]] = []
    for system, prediction in zip(systems, predicted, strict=True):
        scores = statistics.intervals(task, target, prediction, clusters)
        if metric not in scores:
            raise unknown_name("--metric", metric, scores)
        by_seed = [float(metrics.scores(task, target, run)[metric]) for run in prediction]
        flat = sorted({name for run in prediction for name in metrics.flat(task, target, run)}, key=task.target.index)
        entry: dict[str, Any] = {"name": system.name, "seeds": system.seeds, "metrics": scores, "by_seed": by_seed,
                                 "flat": flat}  # fmt: skip
        if system is not first:
            gaps, same = _gaps(task, target, (system, prediction), (first, predicted[0]), clusters)
            entry |= {
                "difference": {name: statistics.difference_entry(gap) for name, gap in gaps.items()},
                "seeds_paired": same,
                "trainings_counted": min(len(prediction), len(predicted[0])) > 1,
                "trainings": lines.trainings(len(prediction), len(predicted[0])),
                "detectable": gaps[metric].detectable(1 - 0.05 / (len(systems) - 1)),
            }
        found.append(entry)
    tested = [entry["difference"][metric] for entry in found[1:]]
    statistics.correct(tested)
    return {
        "title": f"{Path(str(first.configs[0].get('corpus', ''))).name}: {', '.join(task.target)}",
        "metric": metric,
        "higher_is_better": metrics.higher_is_better(metric),
        "reference": first.name,
        "systems": found,
        "task": {"kind": task.kind, "target": task.target, "classes": task.classes or task.target},
        "n": len(ids),
        "speakers": count if any(row["speaker"] for row in rows) else None,
        "left_out": max(len(table) for s in systems for table in s.tables) - len(ids),
        "differs": differing(systems),
        "warnings": lines.floors(tested)
        + [lines.constant(task, entry["flat"], entry["name"]) for entry in found if entry["flat"]],
        "protocol": {
            "first_line": " ".join(f"{line} ({s.name})" for s in systems for line in cautions_of(s)) or None,
            "paired": "by utterance, on the same speakers",
            "intervals": lines.intervals(
                [(row["speaker"], row["session"]) for row in rows], max(len(s.seeds) for s in systems)
            ),
            "trainings": " / ".join(f"{entry['name']}: {entry['trainings']}" for entry in found[1:]),
            "p": f"two-sided, below 0.05 where the interval leaves 0 out; corrected by Holm ({len(tested)} tests)",
            "detectable": "smallest true difference found with probability 0.8, corrected as p is",
        },
        "card": cards(systems),
        "made": runs.provenance(),
    }


def answers(systems: Sequence[System], ids: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Targets (N[, D]), and predictions (S, N[, D]) of every system. Raises InputError where their targets differ."""
    first, task = systems[0], systems[0].task
    target, predicted = values(task, first.tables[0], ids, "target"), []
    for system in systems:
        for table in system.tables:
            differ = np.flatnonzero(np.any(np.atleast_2d(values(task, table, ids, "target").T != target.T), axis=0))
            if len(differ):
                raise InputError(
                    f"{system.name}: other targets than {first.name} for {len(differ)} of {len(ids)} utterances, "
                    f"e.g. {ids[differ[0]]}. Prepare and fine-tune them with the same labels."
                )
        predicted.append(np.stack([values(task, table, ids, "predicted") for table in system.tables]))
    return target, predicted


def _gaps(
    task: Task, target: np.ndarray, one: tuple[System, np.ndarray], other: tuple[System, np.ndarray], who: list[str]
) -> tuple[dict[str, Spread], bool]:
    """The differences of every score from `other`, and whether seed was paired with seed."""
    mine, theirs = one[0].seeds, other[0].seeds
    same = sorted(mine) == sorted(theirs) and len(set(theirs)) == len(theirs)
    a, b = (of[np.argsort(system.seeds, kind="stable")] if same else of for system, of in (one, other))
    return statistics.differences(task, target, a, b, who, same_seeds=same), same


def cautions_of(system: System) -> list[str]:
    """What a reader must know before the figures: of its runs, and of the folds that its card tells."""
    leaky = "none" in cast(list[str], _card(system).get("split", {}).get("apart", []))
    known = any(row["speaker"] for row in system.tables[0].values())
    return cautions(system.configs) + [lines.leaky(known)] * leaky


def cards(systems: Sequence[System]) -> dict[str, Any]:
    """The protocol card of every system, by its name."""
    return {system.name: _card(system) for system in systems}


def _card(system: System) -> dict[str, Any]:
    """Of a system, or where it has none what config.json tells."""
    told = system.told or {"exposure": {"people": len(system.configs[0].get("seen_speakers", ()))}}
    return {**told, "seeds": system.seeds}


def _spoken(task: Task) -> str:
    return f"{','.join(task.target)} ({len(task.classes)} classes)" if task.classes else ",".join(task.target)


def _shared(tables: Sequence[tuple[str, Mapping[str, Any]]], common: bool) -> list[str]:
    """Ids of the first table that all others have too. Raises InputError when they differ and that is not wanted."""
    name, first = tables[0]
    ids = [key for key in first if all(key in table for _, table in tables)]
    for other, table in tables:
        if not common and set(table) != set(first):
            both = len(set(table) & set(first))
            raise InputError(
                f"{other}: other utterances than {name}. Found {len(table):,}, there {len(first):,}, {both:,} in both. "
                + ("Compare these with --common, or evaluate the same folds." if both else "Evaluate the same folds.")
            )
    if not ids:
        raise InputError(f"compare: no utterance in common to {', '.join(dict.fromkeys(n for n, _ in tables))}.")
    return ids


def differing(systems: Sequence[System]) -> dict[str, dict[str, Any]]:
    """{setting: {system: value}} of what was not the same everywhere; seeds apart."""
    facts, folds = [], [_card(system).get("split", {}).get("hash") for system in systems]
    for system, hash_ in zip(systems, folds, strict=True):
        config = system.configs[0]
        found = files.flatten(config.get("settings", {})) | {k: config.get(k) for k in ("init", "labels", "fold")}
        found |= {"folds": hash_} if all(folds) else {}  # unknown of a run that has no card
        facts.append({k: v for k, v in found.items() if not k.endswith(".seed")})
    keys = [k for k in dict.fromkeys(k for f in facts for k in f) if len({str(f.get(k)) for f in facts}) > 1]
    return {k: {s.name: f.get(k) for s, f in zip(systems, facts, strict=True)} for k in keys}


def save(output: Path, result: Mapping[str, Any]) -> None:
    """compare.csv, compare.json, compare.svg, compare.png and the page."""
    rows = []
    for entry in result["systems"]:
        for name, score in entry["metrics"].items():
            difference = entry.get("difference", {}).get(name, {})
            main = name == result["metric"]
            rows.append(
                {"system": entry["name"], "seeds": len(entry["seeds"]), "metric": name}
                | lines.entry(score)
                | lines.columns("difference", difference)
                | {"p": difference.get("p"), "p_holm": difference.get("p_holm")}
                | {"detectable": entry.get("detectable") if main else None}
            )
    files.write_csv(output / "compare.csv", rows)
    protocol.save(output, "compare", result, pages.compare_page, pages.compare_figure)
