"""Whether a model orders emotional strength as a corpus or a ranking does."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sottovoce.report import _old_words as words
from sottovoce.report import _old_charts as charts
from sottovoce.report import _old_page as page
from sottovoce.report._old_words import ACCENT, INTERVAL, PLAIN, score
from sottovoce.report._old_charts import HALF, number_of
from sottovoce.report._old_page import Html, number, tag, text

SCORE_NAMES = {"rank": "relative attributes", "strength": "StrengthNet", "energy": "energy, dB by speaker"}
QUESTIONS = {
    "intensity": ("Against the corpus's own intensity", "no model was told these labels"),
    "neutral": ("Emotional above neutral", "what the ranking was taught, of other people"),
}


def strength_page(report: Mapping[str, Any]) -> str:
    """A strength model: does it order people nobody trained on, beside ranking and energy; losses; pictures.

    Keys: title, first_line, warnings, fold, agreement (of `sottovoce.metrics.agreement.agree`), curves {step, loss,
    heldout_step, heldout_loss, heldout_mae, heldout_ua, trivial_loss}, panels [{id, emotion, said, person, features
    (T, D), frames (T,), energy_frames (T,), rate_hz, target, follows_energy}], parameters, corpora, emotions, neutral,
    functionals, exposure, seconds, hardware, config.
    """
    get, found, curves = report.get, report.get("agreement") or {}, report.get("curves") or {}
    body: list[Any] = [page.banner(get("first_line")) if get("first_line") else None, page.warnings(get("warnings"))]
    who = {"test": "people neither trained on nor chosen by", "heldout": "the people who chose the epoch"}
    tiles = []
    question = found.get("intensity") or found.get("neutral") or {}
    key = question.get("key", "auc")
    for name, entry in (question.get("scores") or {}).items():
        tiles.append(
            (f"{_agreed(key)}, {SCORE_NAMES[name]}", words.three(entry.get(key)), words.between(entry.get(key), ""))
        )
    for name, title, meaning in (
        ("follows_energy", "Follows energy", "correlation of strength and energy within an utterance"),
        ("moves", "Moves", "deviation of strength within an utterance"),
    ):
        if math.isfinite(number_of(entry := found.get(name))):
            low, high = words.three(entry, "low"), words.three(entry, "high")
            tiles.append((title, words.three(entry), f"{meaning}; {low} to {high} in four of five"))
    body.append(page.tiles(tiles))
    for name, (title, meaning) in QUESTIONS.items():
        if found.get(name):
            body.append(_question(name, title, f"{meaning}; {who.get(str(found.get('part')), '')}", found[name]))
    held, trivial = charts.series(curves.get("heldout_loss")), number_of(curves.get("trivial_loss"))
    lines = [("training", curves.get("step"), curves.get("loss")), ("held-out", curves.get("heldout_step"), held)]
    lines = [(label, x, y) for label, x, y in lines if len(charts.series(y))]
    if lines:
        mae, ua = (charts.series(curves.get(name)) for name in ("heldout_mae", "heldout_ua"))
        best = int(np.nanargmin(held)) if np.isfinite(held).any() else -1
        chosen = f"The best held-out reading: loss {number(held[best])}" if len(held) else ""
        if len(mae) == len(ua) == len(held) > 0:
            chosen += (
                f", mean absolute error of strength {number(mae[best])}, UA of the emotion branch {number(ua[best])}"
            )
        level = ("constants", trivial) if math.isfinite(trivial) else None
        picture = charts.figure(
            lambda width: charts.traces(lines, xlabel="step", ylabel="loss", level=level, width=width, zero=True),
            "loss",
            f"Error of the utterance + error of its frames + cross-entropy of the emotion. {chosen}.",
            "Training and held-out loss over steps",
        )
        body.append(page.section("Loss", picture))
    panels = [
        charts.figure(
            lambda width, panel=panel: charts.strength(panel, width=width),  # type: ignore[misc]
            f"strength-{k}",
            f"{text(panel.get('id'))}: {words.listed(panel.get('emotion'), panel.get('said'), panel.get('person'))}; "
            f"correlation of strength with energy {number(panel.get('follows_energy'), 2)}.",
            f"Spectrogram and strength of {text(panel.get('id'))}",
            width=HALF,
        )
        for k, panel in enumerate(get("panels") or ())
    ]
    if panels:
        body.append(page.section("What it hears", page.pair(*panels)))
    corpora = [[c.get("name"), number(c.get("utterances")), number(c.get("speakers"))] for c in get("corpora") or ()]
    facts = {"Fold": get("fold"), "Emotions": ", ".join(get("emotions") or ()), "Zero": ", ".join(get("neutral") or ()),
             "Ranked by": get("functionals"), "Parameters": number(get("parameters")) if get("parameters") else None,
             "Exposure": get("exposure"), "Time": page.duration(get("seconds")) if get("seconds") else None,
             "Hardware": get("hardware")}  # fmt: skip
    heard = page.table(["corpus", "emotional utterances", "speakers"], corpora, label="corpora") if corpora else None
    body.append(page.section("The run", page.facts({k: v for k, v in facts.items() if v}), heard))
    body.append(page.settings(get("config") or {}))
    lede = words.listed("relative attributes", "StrengthNet", get("fold"))
    return page.document("strength", get("title") or "Strength", *body, lede=lede)


def _agreed(key: str) -> str:
    return {"auc": "AUC", "spearman": "Spearman"}[key]


def _question(name: str, title: str, meaning: str, found: Mapping[str, Any]) -> Html:
    """One question of `agreement.agree`: every score with its interval, and by emotion."""
    scores, key = found.get("scores") or {}, found.get("key", "auc")
    keys = [k for k in ("auc", "spearman") if any(math.isfinite(number_of(entry.get(k))) for entry in scores.values())]
    rows = [(SCORE_NAMES[s], entry, ACCENT if s == "strength" else PLAIN) for s, entry in scores.items()]
    facts = f"n = {number(found.get('n'))} utterances, {number(found.get('speakers'))} speakers"
    picture = keys and words.dots(
        rows, [(k, _agreed(k)) for k in keys], f"agreement-{name}",
        f"Within each emotion, then averaged; {meaning}. {INTERVAL}; dashed: no better than chance. {facts}.",
        f"{title}: " + ", ".join(f"{label} {number(number_of(entry.get(key)))}" for label, entry, _ in rows),
        marks={"auc": 0.5, "spearman": 0.0},
    )  # fmt: skip
    table = [[emotion, *(number(values.get(s), fixed=True) for s in scores)]
             for emotion, values in (found.get("by_emotion") or {}).items()]  # fmt: skip
    grid = page.table([_agreed(key), *(SCORE_NAMES[s] for s in scores)], table, label=f"{title}, by emotion")
    ahead = [
        tag("p", f"{SCORE_NAMES[s]} − energy, on the same speakers: {_agreed(key)} ", score(entry.get(key)),
            f", p {words.chance(entry.get(key) or {})}.")
        for s, entry in (found.get("ahead") or {}).items()
    ]  # fmt: skip
    return page.section(title, ahead, picture, page.folded("emotion by emotion", grid))
