"""Subgroups: whether a model is as right, as well calibrated and as often unsure with everybody; a part of `evaluate`.

A gap is the largest difference between two values of a column, with an interval for new speakers that is corrected for
the number of pairs, next to the smallest gap that would have been seen. A small gap in a small test is no finding, and
what has no labels was not measured: nothing here says that a model is fair.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.evaluation import lines
from sottovoce.evaluation.answered import Answered
from sottovoce.metrics import calibration
from sottovoce.metrics import scores as formulas
from sottovoce.metrics.spread import Spread, apart, jackknife
from sottovoce.metrics.temperature import UNSURE

OF_UTTERANCE = ("gender", "speaker", "session")  # columns that are no labels
SEVERAL = 8  # different numbers of a column; more of them are cut into thirds
FEW = 2  # utterances of a group, at least

Sums = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def report(corpus: Corpus, got: Answered, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of every column of the manifest: its groups with their scores, the gaps between them, or why there are none."""
    (rows, sums), found = _terms(got), {}
    for column in columns:
        values = values_of(corpus, got.utterances, column)
        names = [name for name in dict.fromkeys(sorted(values)) if name and values.count(name) >= FEW]
        if len(names) < 2:
            found[column] = {"measured": False, "why": _why(corpus, column, values), "groups": {}, "gaps": []}
            continue
        inside = {name: np.array([value == name for value in values]) for name in names}
        groups = {}
        for name, own in inside.items():
            some = got.some(own)
            groups[name] = {
                "n": len(some.utterances),
                "speakers": len(set(some.people)),
                "metrics": calibration.measured(rows[own], some.people, sums) | some.intervals(),
            }
        found[column] = {
            "measured": True,
            "why": "",
            "groups": groups,
            "gaps": gaps(rows, got.people, inside, sums),
            "unlabelled": values.count(""),
        }
    return found


def values_of(corpus: Corpus, utterances: Sequence[Utterance], column: str) -> list[str]:
    """What a column says of every utterance, "" where it says nothing; many different numbers as thirds of them."""
    if column in OF_UTTERANCE:
        return [str({"gender": u.gender, "speaker": u.speaker, "session": u.session}[column]) for u in utterances]
    values = [u.labels.get(column, "") for u in utterances]
    known = np.array([float(v) for v in values if v != ""]) if corpus.kinds.get(column) == "number" else np.zeros(0)
    if len(np.unique(known)) <= SEVERAL:
        return [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    names = (f"up to {low:g}", f"{low:g} to {high:g}", f"over {high:g}")
    return ["" if v == "" else names[int(float(v) > low) + int(float(v) > high)] for v in values]


def _why(corpus: Corpus, column: str, values: Sequence[str]) -> str:
    if column not in OF_UTTERANCE and column not in corpus.kinds:
        return f"not measured: the manifest has no column {column}"
    known = sorted(set(values) - {""})
    if not known:
        return f"not measured: no tested utterance says its {column}"
    return f"not measured: all whose {column} is known are {', '.join(known)}"


def _terms(got: Answered) -> tuple[np.ndarray, Sums]:
    """(N, M) terms of a row, and the scores that their sums give: those that groups are compared by."""
    task, own = got.task, formulas.terms(got.task, got.truth, got.predicted)
    if task.kind != "class":
        return own, lambda s: {k: np.asarray(v) for k, v in formulas.from_sums(task, s).items() if k in ("mae", "ccc")}
    trust = calibration.terms(got.prediction, got.truth)
    answered = got.prediction.max(1) >= UNSURE
    right = answered & (got.predicted == got.truth)
    a, b = own.shape[1], own.shape[1] + trust.shape[1]

    def sums(s: np.ndarray) -> dict[str, np.ndarray]:
        count, sure, good = s[..., :a].sum(-1), s[..., b], s[..., b + 1]
        return {
            "ua": np.asarray(formulas.from_sums(task, s[..., :a])["ua"]),
            "ece": calibration.scores(s[..., a:b])["ece"],
            "answered": sure / count,
            "right_of_answered": good / sure,
        }

    return np.concatenate([own, trust, answered[:, None], right[:, None]], axis=1, dtype=np.float64), sums


def gaps(rows: np.ndarray, who: np.ndarray, inside: Mapping[str, np.ndarray], sums: Sums) -> list[dict[str, Any]]:
    """The largest gap of every score, each with what it would have to be to be seen."""
    pairs = list(itertools.combinations(inside, 2))
    level = 1 - 0.05 / len(pairs)
    best: dict[str, dict[str, Any]] = {}
    for one, other in pairs:
        for name, gap in difference(rows, who, inside[one], inside[other], sums).items():
            if not np.isfinite(gap.value) or (name in best and abs(float(gap.value)) <= abs(best[name]["value"])):
                continue
            known = gap.entry(level) | {"detectable": gap.detectable(level), "pairs": len(pairs)}
            best[name] = {"score": name, "groups": (one, other), **known}
    return list(best.values())


def difference(rows: np.ndarray, who: np.ndarray, one: np.ndarray, other: np.ndarray, sums: Sums) -> dict[str, Spread]:
    """How far two groups are apart. Of groups without a speaker in common the variances add, with Welch's degrees of
    freedom; otherwise a speaker is left out of both at a time."""
    if set(who[one]) & set(who[other]):
        width = rows.shape[1]
        both = np.concatenate([rows * one[:, None], rows * other[:, None]], axis=1)[one | other]

        def gap(s: np.ndarray) -> dict[str, np.ndarray]:
            a, b = sums(s[..., :width]), sums(s[..., width:])
            return {name: a[name] - b[name] for name in a}

        return jackknife(both, who[one | other], gap)
    a, b = (jackknife(rows[own], who[own], sums) for own in (one, other))
    return {name: apart(a[name], b[name]) for name in a}


def entries(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a report holds of it: all, and the scores of each group as the pictures take them."""
    scores = {
        column: {name: entry["metrics"] for name, entry in told["groups"].items()}
        for column, told in found.items()
        if told["measured"]
    }
    return {"groups": scores, "subgroups": found}


def write(folder: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """groups.csv: a row a group, with its scores and their intervals."""
    rows = []
    for column, told in found.items():
        for name, entry in told["groups"].items():
            row = {"column": column, "group": name, "n": entry["n"], "speakers": entry["speakers"]}
            for score, value in entry["metrics"].items():
                row |= lines.columns(score, value)
            rows.append(row)
        if not told["measured"]:
            rows.append({"column": column, "group": told["why"]})
    files.write_csv(folder / "groups.csv", rows)
