"""Whether a model orders emotional intensity as a corpus or a ranking does."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts, page, words
from sottovoce.report.charts import ACCENT, DASHED, DOTTED, PLAIN, SERIES, SOFT, alike, pooled, series
from sottovoce.report.known import known
from sottovoce.report.words import INTERVAL, METRICS, number, number_of, three

SCORE_NAMES = {"rank": "relative attributes", "strength": "StrengthNet", "energy": "energy, dB by speaker"}
QUESTIONS = {
    "intensity": ("Against the corpus's own intensity", "no model was told these labels"),
    "neutral": ("Emotional above neutral", "what the ranking was taught, of other people"),
}
SPREADS = {
    "follows_energy": ("Follows energy", "correlation of intensity and energy within an utterance"),
    "moves": ("Moves", "deviation of intensity within an utterance"),
}
WHO = {"test": "people neither trained on nor chosen by", "heldout": "the people who chose the epoch"}


def strength_page(report: Mapping[str, Any]) -> str:
    """An intensity model: does it order people not trained on, next to ranking and energy; losses; pictures.

    Keys: title, first_line, warnings, fold, agreement (of `sottovoce.metrics.agreement.agree`), curves {step, loss,
    heldout_step, heldout_loss, heldout_mae, heldout_ua, trivial_loss}, panels [{id, emotion, said, person, features
    (T, D), frames (T,), energy_frames (T,), rate_hz, target, follows_energy}], parameters, corpora, emotions, neutral,
    functionals, exposure, seconds, hardware, config.
    """
    report = known(report)
    found, curves = report["agreement"], report["curves"]
    first = found["intensity"] or found["neutral"]
    tiles = [
        (f"{METRICS[first['key']]}, {SCORE_NAMES[name]}", three(value := entry[first["key"]]), words.between(value))
        for name, entry in first["scores"].items()
    ]
    for name, (title, meaning) in SPREADS.items():
        if math.isfinite(number_of(entry := found[name])):
            said = f"{meaning}; {three(entry, 'low')} to {three(entry, 'high')} in four of five"
            tiles.append((title, three(entry), said))
    return page.render(
        "strength.html", report, tiles=tiles, chosen=_chosen(curves), interval=INTERVAL,
        loss=charts.losses(curves, "dev", "loss", ("constants", number_of(curves["trivial_loss"]))),
        questions=[(f"agreement-{name}", title, meaning, _question(found[name]))
                   for name, (title, meaning) in QUESTIONS.items() if found[name]],
        who=WHO.get(found.get("part"), ""),
        courses=[(panel, partial(_course, panel)) for panel in report["panels"]],
    )  # fmt: skip


def _question(found: Mapping[str, Any]) -> dict[str, Any]:
    """One question of `agreement.agree`: every score with its interval, and by emotion."""
    scores, key = found["scores"], found["key"]
    keys = [k for k in ("auc", "spearman") if any(math.isfinite(number_of(entry[k])) for entry in scores.values())]
    rows = [(SCORE_NAMES[s], entry, ACCENT if s == "strength" else PLAIN) for s, entry in scores.items()]
    marks = {"auc": 0.5, "spearman": 0.0}
    return {
        "draw": keys and partial(charts.dots, rows, keys, marks), "score": METRICS[key],
        "spoken": ", ".join(f"{label} {number(number_of(entry[key]))}" for label, entry, _ in rows),
        "n": found["n"], "speakers": found["speakers"],
        "head": [METRICS[key], *(SCORE_NAMES[s] for s in scores)],
        "rows": [(emotion, *(three(values[s]) for s in scores)) for emotion, values in found["by_emotion"].items()],
        "ahead": [(SCORE_NAMES[s], entry[key], words.chance(entry[key])) for s, entry in found["ahead"].items()],
    }  # fmt: skip


def _chosen(curves: Mapping[str, Any]) -> str:
    """The best dev reading in words."""
    dev, mae, ua = (series(curves[f"heldout_{name}"]) for name in ("loss", "mae", "ua"))
    if not len(dev):
        return ""
    best = int(np.nanargmin(dev)) if np.isfinite(dev).any() else -1
    said = f"The best dev reading: loss {number(dev[best])}"
    if len(mae) == len(ua) == len(dev):
        said += f", mean absolute error of intensity {number(mae[best])}, UA of the emotion branch {number(ua[best])}"
    return said


def _course(panel: Mapping[str, Any], *, width: int) -> Any:
    """Spectrogram, and below it intensity by frame with its mean, its target, and energy; on one time axis.

    Panel: features (T, D) magnitudes or logarithms, frames (T',) and energy_frames (T',) every 1 / rate_hz s, target.
    """
    frames, target, rate = series(panel["frames"]), number_of(panel["target"]), float(panel["rate_hz"])
    features = np.asarray(panel["features"], dtype=np.float64)
    if features.min(initial=0.0) >= 0:  # magnitudes: in decibel as anybody draws them
        features = 20 * np.log10(features + 1e-3 * max(float(features.max(initial=0.0)), 1e-6))
    drawn = charts.sheet(width, 270)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=[1.2, 1])
    charts.heatmap(above, features, len(frames) / rate)
    above.set_ylabel("mel band")
    clock_s = (np.arange(len(frames)) + 0.5) / rate
    if len(energy := series(panel["energy_frames"])) == len(frames):
        other = below.twinx()
        other.plot(pooled(clock_s, 600), pooled(energy, 600), color=SOFT, linewidth=1.2, label="energy")
        other.set_yticks([])
        other.spines[["left", "right"]].set_visible(False)
        other.grid(visible=False)
        below.plot([], [], color=SOFT, linewidth=1.2, label="energy, own scale")
        below.set_zorder(other.get_zorder() + 1)
    below.plot(*alike(clock_s, frames, most=600), color=SERIES[0], linewidth=1.8, label="intensity")
    mean = float(frames.mean()) if len(frames) else math.nan
    below.axhline(mean, color=SERIES[0], linewidth=1.2, linestyle=DOTTED, label=f"its mean {number(mean, 2)}")
    if math.isfinite(target):
        look = {"color": SERIES[1], "linewidth": 1.5, "linestyle": DASHED}
        below.axhline(target, label=f"by rank {number(target, 2)}", **look)
    low, high = (f([*frames, mean, *([target] if math.isfinite(target) else [])]) for f in (min, max))
    below.set_ylim(low - 0.1 * (high - low) - 0.01, high + 0.1 * (high - low) + 0.01)
    below.set_ylabel("intensity")
    charts.time_axis(below, len(frames) / rate)
    charts.legend(below, 2)
    return drawn
