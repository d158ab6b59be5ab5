"""`sottovoce sensitivity`: does a result hold by other seeds, other folds, by fold, and without each speaker?

One system's score, or its difference from another's on the same utterances. Folds and speakers are left out of
the answers that are there; other seeds and folds dealt anew are other trainings, made here where they are wanted.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.config import recipe
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.folds import group_folds
from sottovoce.data.task import Task
from sottovoce.errors import InputError, unknown_name
from sottovoce.evaluation import compare, protocol
from sottovoce.evaluation.evaluate import report_on
from sottovoce.metrics import scores
from sottovoce.modeling.loop import Keep
from sottovoce.pipeline.extract import plan_store
from sottovoce.pipeline.finetune import Given, finetune, weights_for

KINDS = ("seeds", "folds dealt anew", "folds", "without a fold", "without a speaker")


def more_seeds(run: Path, seeds: int, output: Path, *, quiet: bool = True) -> list[Path]:
    """The same run with the next `seeds` seeds, a folder each, fine-tuned and evaluated; what is finished stays.

    Raises InputError as `finetune` does.
    """
    found = runs.parts(run, "finetune")
    made = []
    for step in range(1, seeds + 1):
        seed = found[0].config["seed"] + step
        made.append(output / f"seed{seed}")
        for part in found:
            corpus = Corpus.load(part.config["corpus"])
            _again(part, corpus, corpus.fold(part.config["fold"]), seed, made[-1], quiet)
        report_on(made[-1], made[-1], opensmile=False)
    return made


def other_folds(run: Path, deals: int, output: Path, *, quiet: bool = True) -> list[Path]:
    """The same run on the corpus's speakers (or sessions) dealt to as many folds anew, `deals` times, a folder each.

    Raises InputError: the run is not of all folds, its folds are not the corpus's to deal, or its weights were
    pre-trained for its own folds.
    """
    found = runs.parts(run, "finetune")
    corpus = Corpus.load(found[0].config["corpus"])
    group, count = corpus.folds[0].group, len(corpus.folds)
    if len(found) < count:
        raise InputError(f"{run}: other folds test every speaker. Found {len(found)} of {count} folds. Run them all.")
    if group not in ("speaker", "session"):
        raise InputError(f"{corpus.folder}: folds of {group}s cannot be dealt anew. Leave out --folds.")
    made = []
    for deal, folds in enumerate(_dealt(corpus, deals), 1):
        home = output / f"folds{deal}"
        dealt = replace(corpus, folder=home / "corpus", folds=folds)
        dealt.save()
        with suppress(FileExistsError):  # its recordings are the same
            (dealt.folder / "tracks").symlink_to((corpus.folder / "tracks").resolve(), target_is_directory=True)
        made.append(home / "run")
        for fold in folds:
            _again(found[0], dealt, fold, found[0].config["seed"], made[-1], quiet)
        report_on(made[-1], made[-1], opensmile=False)
    return made


def _dealt(corpus: Corpus, deals: int) -> Iterator[tuple[Fold, ...]]:
    """So many other folds of the corpus's own kind and number, no two of which test the same groups together."""
    first = corpus.folds[0]
    those, seen, seed = [corpus.by_id[id] for id in (*first.train, *first.dev, *first.test)], {_tested(corpus.folds)}, 0
    while deals:
        seed += 1
        folds = tuple(group_folds(those, len(corpus.folds), group=first.group, seed=seed))
        if (tested := _tested(folds)) not in seen:
            seen.add(tested)
            deals -= 1
            yield folds
        elif seed > 1000:
            raise InputError(f"{corpus.folder}: too few {first.group}s to deal anew. Ask for fewer --folds.")


def _tested(folds: Sequence[Fold]) -> frozenset[frozenset[str]]:
    return frozenset(frozenset(fold.test) for fold in folds)


def _again(part: runs.Run, corpus: Corpus, fold: Fold, seed: int, output: Path, quiet: bool) -> None:
    """A fine-tuning by the settings of an earlier one."""
    config, plan = part.config, recipe.seeded(part.plan, seed)
    task, may_have_seen = Task.from_dict(config["task"], part.folder / "config.json"), config.get("transductive", False)
    store = plan_store(corpus, plan, quiet=quiet)
    init = weights_for(config.get("init", "none"), corpus, fold, transductive=may_have_seen)
    given = Given(init, str(config["labels"]), seed, may_have_seen)
    finetune(plan, corpus, store, fold, task, given, Keep(output / fold.name, quiet=quiet))


def sensitivity(
    systems: Sequence[compare.System], metric: str = "", dealt: Sequence[Sequence[compare.System]] = ()
) -> dict[str, Any]:
    """What is left of a score, or of the second system's difference from the first, under every change.

    Args:
        dealt: the same systems on folds dealt anew, once or oftener.

    Returns:
        "value"; "seeds", "folds", "folds dealt anew", "without a fold" and "without a speaker", each a list of {name,
        value, n}; "lowest" and "highest" of all of them.

    Raises InputError: more than two systems, other utterances, an unknown score.
    """
    if len(systems) > 2:
        raise InputError(f"sensitivity: one system, or two for their difference. Found {len(systems)}.")
    tables, task = [list(s.tables) for s in systems], systems[0].task
    ids = [key for key in tables[0][0] if all(key in table for own in tables for table in own)]
    if any(len(table) != len(ids) for own in tables for table in own):
        raise InputError("sensitivity: the runs answer other utterances. Evaluate the same folds.")
    rows = [tables[0][0][key] for key in ids]
    truth, answers = compare.answers(systems, ids)
    metric = metric or scores.MAIN[task.kind]
    if metric not in (known := scores.names(task)):
        raise unknown_name("--metric", metric, known)

    def score(keep: np.ndarray, seed: int | None = None) -> float:
        each = []
        for own in answers:
            trainings = own if seed is None else own[seed : seed + 1]
            each.append(np.mean([scores.scores(task, truth[keep], run[keep])[metric] for run in trainings]))
        return float(each[-1] - each[0]) if len(each) > 1 else float(each[0])

    every, count = np.ones(len(ids), bool), min(len(own) for own in answers)
    found = {
        "metric": metric,
        "systems": [s.name for s in systems],
        "value": score(every),
        "n": len(ids),
        "seeds": [{"name": str(systems[-1].seeds[s]), "value": score(every, s), "n": len(ids)} for s in range(count)],
        "folds dealt anew": [
            {"name": f"deal {k}", "value": again["value"], "n": again["n"]}
            for k, again in enumerate((sensitivity(some, metric) for some in dealt), 1)
        ],
        "folds": _each(rows, "fold", score, without=False),
        "without a fold": _each(rows, "fold", score, without=True),
        "without a speaker": _each(rows, "speaker", score, without=True),
    }
    values = [row["value"] for kind in found.values() if isinstance(kind, list) for row in kind
              if isinstance(row, dict) and np.isfinite(row["value"])]  # fmt: skip
    return found | {"lowest": min(values), "highest": max(values), "made": runs.provenance()}


def _each(
    rows: Sequence[dict[str, str]], column: str, score: Callable[[np.ndarray], float], *, without: bool
) -> list[dict[str, Any]]:
    """The score of each fold or speaker, or of all but each; none where there is one alone."""
    of = np.array([row[column] for row in rows])
    names = sorted(set(of.tolist()) - {""}, key=runs.natural)
    if len(names) < 2:
        return []
    parts = {name: (of != name) if without else (of == name) for name in names}
    return [{"name": name, "value": score(keep), "n": int(keep.sum())} for name, keep in parts.items()]


def save(output: Path, found: dict[str, Any], systems: Sequence[compare.System]) -> None:
    """sensitivity.json, sensitivity.csv and the systems' protocol cards."""
    files.write_json(output / "sensitivity.json", found)
    files.write_json(output / protocol.FILE, compare.cards(systems))
    kinds = {kind: rows for kind, rows in found.items() if kind in KINDS}
    files.write_csv(output / "sensitivity.csv", [{"kind": kind} | row for kind, rows in kinds.items() for row in rows])
