"""Agreement: does an intensity order utterances as people do? Rank correlation and AUC, by whole speakers.

Two questions, each within an emotion, so that one that is loud as such does not count:

    intensity   the corpus's own labels, e.g. RAVDESS normal and strong
    neutral     any emotional utterance above any neutral one

A table has one row an utterance: fold, part, person, emotion, neutral (bool), intensity, the scores to compare, and
what its frames do.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.data import own
from sottovoce.errors import InputError
from sottovoce.metrics import statistics
from sottovoce.metrics.spread import components, difference

KEYS = ("spearman", "auc")
SCORES = ("rank", "strength", "energy")  # columns that are compared; `rank` stands for `rank_<emotion>`
BASELINE = "energy"  # what the others have to beat


def agreement(score: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Spearman's rank correlation, and for two labels the AUC: how often the higher label has the higher score.

    Args:
        score: (N,) any scale.
        label: (N,) values; two different ones are "weak" and "strong".

    Returns:
        {"spearman", "auc"}; NaN where one side has no spread, auc NaN for more than two labels.

    >>> agreement(np.array([0.1, 0.3, 0.2, 0.9]), np.array([0, 0, 1, 1]))["auc"]
    0.75
    """
    found = _weighted(np.asarray(score), np.asarray(label), np.ones((1, len(score))))
    return {key: float(values[0]) for key, values in found.items()}


def _weighted(score: np.ndarray, label: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """`agreement` of rows that count several times or not at all: weights (R, N) -> (R,) each."""
    count = weights.sum(1, keepdims=True)  # (R, 1)
    ranks, of_label = _ranks(score, weights), _ranks(label, weights)
    middle = (count + 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):  # nothing drawn, or no spread: NaN
        together = (weights * (ranks - middle) * (of_label - middle)).sum(1)
        spread = [(weights * (r - middle) ** 2).sum(1) for r in (ranks, of_label)]
        rho = np.where(np.minimum(*spread) > 0, together / np.sqrt(spread[0] * spread[1]), np.nan)
        auc = np.full(len(weights), np.nan)
        levels = np.unique(label)
        if len(levels) == 2:
            strong = label == levels[1]
            p = weights[:, strong].sum(1)
            q = count[:, 0] - p
            auc = ((weights * ranks)[:, strong].sum(1) - p * (p + 1) / 2) / (p * q)
    return {"spearman": rho, "auc": auc}


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,), (R, N) -> (R, N) ranks from 1 where row k stands there weights[k] times; equal values share the middle."""
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(index, kind="stable")
    starts = np.cumsum(count) - count
    tied = np.add.reduceat(weights[:, order], starts, axis=1) if len(values) else weights  # (R, distinct values)
    return (np.cumsum(tied, axis=1) - tied + (tied + 1) / 2)[:, index]


def agreement_intervals(
    score: np.ndarray, label: np.ndarray, clusters: Sequence[str], *, strata: Sequence[str] | None = None
) -> dict[str, dict[str, float | None]]:
    """`agreement` with 95 % intervals over whole speakers, as `sottovoce.metrics.spread` has them.

    Args:
        score, label: (N,) as in `agreement`.
        clusters: (N,) speaker of each row.
        strata: (N,) groups to compare within, e.g. emotions: the score is then the mean over the groups, and an
            emotion that is loud as such does not count as agreement.

    Returns:
        "spearman", "auc" -> {"value", "low", "high"}; bounds None with fewer than four speakers.
    """
    return {
        key: components(value, influence).entry(link="share" if key == "auc" else "correlation")
        for key, (value, influence) in _influences(score, label, clusters, strata).items()
    }


def agreement_difference(
    a: np.ndarray, b: np.ndarray, label: np.ndarray, clusters: Sequence[str], *, strata: Sequence[str] | None = None
) -> dict[str, dict[str, float | None]]:
    """How much better score `a` agrees than score `b`, on the same speakers; arguments as above.

    Returns:
        "spearman", "auc" -> {"value", "low", "high", "p"}; p is two-sided, None with fewer than four speakers.
    """
    ours, theirs = (_influences(score, label, clusters, strata) for score in (a, b))
    return {key: statistics.difference_entry(difference(ours[key], theirs[key], same_seeds=True)) for key in KEYS}


def _influences(
    score: np.ndarray, label: np.ndarray, clusters: Sequence[str], strata: Sequence[str] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of every key the agreement (1,) and the influence of each speaker (C, 1); see `spread.components`."""
    score, label = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    names = np.asarray(strata if strata is not None else [""] * len(score))
    people = np.asarray(clusters)
    weights = np.stack([np.ones(len(score)), *(people != person for person in np.unique(people))])  # all, then without
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    parts = [_weighted(score[g], label[g], weights[:, g]) for g in groups]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing defined is NaN
        found = {key: np.nanmean(np.stack([part[key] for part in parts]), axis=0) for key in KEYS}  # (1 + C,)
    return {key: (x[:1], (len(x) - 2) * (x[0] - x[1:])[:, None]) for key, x in found.items()}


def agree(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a report says about agreement, over tested people, or over dev where there is no test part.

    Returns:
        {"part", "intensity", "neutral", "follows_energy", "moves"}. Each question is None where there is nothing to
        compare, else {"n", "speakers", "scores": {score: {"auc", "spearman"}} with intervals, "ahead" of energy
        likewise (paired), "key", "by_emotion": {emotion: {score: auc or, for values, spearman}}}. The other two say
        how closely frames of intensity follow those of energy (correlation within an utterance) and how far they move
        (deviation): median of the utterances, and as "low" and "high" the 10th and 90th percentile.
    """
    part = "test" if any(row["part"] == "test" for row in rows) else "heldout"
    mine = [row for row in rows if row["part"] == part]
    felt = [row for row in mine if not row["neutral"]]
    emotions = list(dict.fromkeys(row["emotion"] for row in felt))
    labelled = [row for row in felt if row["intensity"] is not None]
    found: dict[str, Any] = {"part": part, "intensity": None, "neutral": None}
    if len({row["intensity"] for row in labelled}) > 1:
        found["intensity"] = _question([(row["emotion"], row, row["intensity"]) for row in labelled])
    rest = [row for row in mine if row["neutral"]]
    if felt and rest:
        above = [(row["emotion"], row, 1.0) for row in felt]
        found["neutral"] = _question(above + [(emotion, row, 0.0) for emotion in emotions for row in rest])
    for name in ("follows_energy", "moves"):
        values = [row[name] for row in felt if np.isfinite(row.get(name, np.nan))]
        low, value, high = np.quantile(values, [0.1, 0.5, 0.9]).tolist() if values else (None, None, None)
        found[name] = {"value": value, "low": low, "high": high}
    return found


def _question(asked: Sequence[tuple[str, Mapping[str, Any], float]]) -> dict[str, Any]:
    """(emotion it is compared within, row, label) -> agreement of every score."""
    emotions = [emotion for emotion, _, _ in asked]
    label = np.array([label for _, _, label in asked], dtype=np.float64)
    people = [row["person"] for _, row, _ in asked]
    key = "auc" if len(set(label.tolist())) == 2 else "spearman"
    scores: dict[str, Any] = {}
    columns: dict[str, np.ndarray] = {}
    by_emotion: dict[str, dict[str, float]] = {emotion: {} for emotion in emotions}
    for name in SCORES:
        column = [row.get(f"rank_{emotion}" if name == "rank" else name) for emotion, row, _ in asked]
        if any(value is None for value in column):
            continue
        score = columns[name] = np.array(column, dtype=np.float64)
        scores[name] = agreement_intervals(score, label, people, strata=emotions)
        for emotion in by_emotion:
            own = np.array(emotions) == emotion
            by_emotion[emotion][name] = agreement(score[own], label[own])[key]
    ahead = {
        name: agreement_difference(columns[name], columns[BASELINE], label, people, strata=emotions)
        for name in columns
        if name != BASELINE and BASELINE in columns
    }
    n = len({id(row) for _, row, _ in asked})
    return {
        "n": n, "speakers": len(set(people)), "scores": scores, "ahead": ahead, "key": key, "by_emotion": by_emotion
    }  # fmt: skip


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of an agreement.csv. Raises InputError when it is missing or damaged."""
    rows = own.read_rows(path, (), "Make the run again.")
    try:
        return [
            {key: _value(key, text) for key, text in row.items() if text != "" or key == "intensity"} for row in rows
        ]
    except ValueError as error:
        raise InputError(f"{path}: no table of agreement. {error}. Make the run again.") from None


WORDS = ("fold", "part", "corpus", "id", "person", "emotion")


def _value(key: str, text: str) -> Any:
    if key in WORDS:
        return text
    if key == "neutral":
        return text == "True"
    return None if text == "" else float(text)
