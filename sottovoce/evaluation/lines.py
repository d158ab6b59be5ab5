"""Lines of the protocol that several verbs print: who counts as one in an interval, what seeds tell, folds, people.

A row is one of a speaker's where the speaker is known, else one of a session's (a video's), else it stands for itself,
as in `folds.person`. A line says which it was: an interval over single utterances is no interval over speakers.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sottovoce.config.recipe import Recipe
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.folds import voice
from sottovoce.data.task import Task
from sottovoce.evaluation.protocol import people_of
from sottovoce.metrics.spread import MIN_CLUSTERS


def intervals(rows: Iterable[tuple[str, str]], seeds: int = 1) -> str:
    """What the intervals are over, from the (speaker, session) of every row that is scored; "" where unknown."""
    rows = list(rows)
    speakers, sessions = {a for a, _ in rows if a}, {b for a, b in rows if b and not a}
    alone = sum(not (a or b) for a, b in rows)
    parts = [(len(speakers), "speaker", "whole speakers"), (len(sessions), "session", "whole sessions (videos)"),
             (alone, "single utterance", "single utterances")]  # fmt: skip
    if len(speakers) + len(sessions) + alone < MIN_CLUSTERS:
        known = " and ".join(f"{n} {name}{'s' * (n > 1)}" for n, name, _ in parts if n)
        return f"none: {known or 'nobody'}; fewer than {MIN_CLUSTERS} tell nothing about the next one"
    over = " and ".join(said for n, _, said in parts if n)
    warning = "; speakers are unknown, for a new one they are too narrow" if alone else ""
    return f"95 %, over {over}{' and seeds' if seeds > 1 else ''}{warning}"


def score(found: Mapping[str, Any] | None, form: str = ".3f") -> str:
    """A score with its interval where there is one; "" where there is none.

    >>> score({"value": 0.5, "low": 0.25, "high": 0.75}), score({"value": -0.5, "low": None}, "+.1f"), score(None)
    ('0.500 [0.250, 0.750]', '-0.5', '')
    """
    if found is None:
        return ""
    between = "" if found.get("low") is None else f" [{found['low']:{form}}, {found['high']:{form}}]"
    return f"{found['value']:{form}}{between}"


def row(u: Utterance, fold: str) -> dict[str, Any]:
    """How a row of predictions.csv begins."""
    return {"id": u.id, "fold": fold, "speaker": u.speaker, "session": u.session, "gender": u.gender}


def entry(point: Mapping[str, Any]) -> dict[str, Any]:
    """A score without what else is known of it."""
    return {key: point[key] for key in ("value", "low", "high")}


def columns(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A score and its interval as cells of a table: NAME, NAME_low, NAME_high."""
    return {f"{name}{'_' * bool(k)}{k}": found.get(k or "value") for k in ("", "low", "high")}


def trainings(*seeds: int) -> str:
    """What a result with that many seeds (of one system, or of each of two) knows of other trainings."""
    if min(seeds) > 1:
        return "the luck of a training is in the intervals and in p, estimated from the seeds"
    if max(seeds) > 1:
        return "one system has a single training, of whose luck nothing is known: intervals and p leave it out"
    return "one: nothing is known of the luck of a training, intervals and p hold for this one alone"


def floors(differences: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warnings where p values that are corrected for one another cannot fall below 0.05, whatever is true.

    Only sign flips have a floor, and only they are left where all speakers show the same (see `Spread.p_value`).
    """
    stuck = [d["p_floor"] for d in differences if d.get("p_floor") and len(differences) * d["p_floor"] >= 0.05]
    if not stuck:
        return []
    return [
        f"Every speaker shows the same difference in {len(stuck)} of {len(differences)} comparisons. So few can then "
        f"show no p below {max(stuck):.3g}; corrected for {len(differences)} it is above 0.05, "
        "however large the difference."
    ]


def leaky(known: bool) -> str:
    """What to know of folds that keep nobody apart; `known`: whether speakers have names."""
    share = "share speakers" if known else "may share speakers, who are unknown,"
    return f"Leaky: the folds {share} between training and test; the figures flatter."


def transductive(people: Collection[str]) -> str:
    """What to know where weights have heard test speakers; "" where they have heard none."""
    if not people:
        return ""
    named = ", ".join(sorted(people)[:4]) + ", ..." * (len(people) > 4)
    return (
        f"Transductive: the pre-training has seen the unlabelled audio of {len(people)} test "
        f"speaker{'s' * (len(people) > 1)} ({named})."
    )


def sources(known: Sequence[Mapping[str, Any]]) -> str:
    """Whose labels have taught the layers that a fine-tuning began with (`Source` each); "" without any."""
    return ", ".join(f"{s['title']} ({s['labels']:,} labels, {s['licence']})" for s in known)


def normalisation(plan: Recipe) -> str:
    """By what features are standardised."""
    if plan.per_speaker:
        return "per speaker, from all of a speaker's recordings: uses the unlabelled audio of test speakers"
    said = {"corpus": "mean and deviation of the training part", "utterance": "per utterance"}
    return said.get(plan.frontend.normalise, plan.frontend.normalise)


def untested(task: Task, truth: np.ndarray) -> str:
    """What to know where classes of the task are in no test part: a mean over the classes knows nothing of them."""
    missing = [name for k, name in enumerate(task.classes) if not (truth == k).any()]
    return f"Not tested: no utterance of {', '.join(missing)}; UA is the mean over the others." if missing else ""


def constant(task: Task, names: Sequence[str], who: str = "") -> str:
    """What to know of an answer that is the same everywhere (`scores.flat`); `who` gave it."""
    said = f"Constant{f' ({who})' * bool(who)}: the answer for {', '.join(names)} is nearly the same everywhere"
    return said + ("." if task.kind == "class" else "; MAE and 4-class accuracy flatter it, CCC does not.")


def untaught(task: Task, taught: Iterable[Utterance], fold: str) -> str:
    """Classes of which there is no label to learn from, and which are therefore never answered; "" where none is.

    One class alone is refused elsewhere.
    """
    if task.kind != "class":
        return ""
    known = [task.classes[k] for k in task.values(list(taught))]
    lost = [name for name in task.classes if name not in known]
    return (
        f"{fold}: no label of {', '.join(lost)} among {len(known)}, so they are never answered."
        if lost and len(lost) < len(task.classes) - 1
        else ""
    )


def incomplete(task: Task, part: Iterable[Utterance], fold: str) -> str:
    """Of a training part how many teach nothing because they lack some of several targets; "" where none does."""
    labelled = [u for u in part if any(name in u.labels for name in task.target)]
    lacking = Counter(name for u in labelled if not task.has(u) for name in task.target if name not in u.labels)
    if not lacking:
        return ""
    without = ", ".join(f"{n} without {name}" for name, n in lacking.items())
    left = sum(not task.has(u) for u in labelled)
    names = ", ".join(task.target)
    return f"{fold}: {left} of {len(labelled)} recordings have not all of {names} ({without}); left out."


def of_one_class(task: Task, taught: Iterable[Utterance]) -> str:
    """What to know before speakers are standardised by themselves, where most recordings are of people who have several
    of one class alone: the class is taken for their voice, and goes with it. "" otherwise."""
    if task.kind != "class":
        return ""
    labelled = [u for u in taught if u.speaker and task.has(u)]
    classes: dict[str, list[int]] = {}
    for u, k in zip(labelled, task.values(labelled), strict=True):
        classes.setdefault(voice(u), []).append(int(k))
    alone = [found for found in classes.values() if len(found) > 1 and len(set(found)) == 1]
    if 2 * sum(map(len, alone)) <= len(labelled):
        return ""
    return (
        f"--speaker-norm: {len(alone)} of {len(classes)} speakers of the training part have recordings of one class "
        "alone. What tells their class is taken out with their voices. Compare with a run without it."
    )


def folds(found: Sequence, of: int, groups: Collection[str]) -> str:
    """How many folds, and what they keep apart."""
    known = sorted(set(groups) - {"none"})
    apart = f"disjoint by {', '.join(known)}" if len(known) == len(set(groups)) else "not disjoint by speaker"
    return f"{len(found)} of {of}, {apart}"


def people(exposure: Collection[str], corpus: Corpus) -> str:
    """How many are in an exposure list; utterances of unknown speakers, which are in it too, are no people."""
    known = people_of(exposure, corpus)
    rest = len(exposure) - known
    unknown = [f"{rest} recordings or sessions of unknown speakers"] if rest else []
    return " and ".join([str(known)] * bool(known or not rest) + unknown)
