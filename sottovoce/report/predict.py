"""One recording over time."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.report import charts, page, words
from sottovoce.report.charts import INK, LINE, SOFT, WIDE, alike, pooled, row_name, series
from sottovoce.report.page import LIGHT
from sottovoce.report.words import NOTHING, count, duration, number, text, three

# A fixed colour for every emotion of the canonical vocabulary, so that reports can be compared.
EMOTION_COLOURS = {
    **{"neutral": "c7", "calm": "c2", "happy": "c4", "sad": "c0", "angry": "c1", "fear": "c3"},
    **{"disgust": "c8", "surprise": "c5", "boredom": "c9", "contempt": "c6"},
}


def timeline_page(prediction: Mapping[str, Any]) -> str:
    """One recording over time: waveform, segments, probabilities.

    Keys: path, duration_s, classes, times_s, probabilities (T, K), label, confidence, segments [{start, end, label,
    confidence}], waveform {times_s, low, high}, frames {times_s, values (F, K)}, intensity, model.
    """
    get = prediction.get
    segments, classes = list(get("segments") or ()), [text(c) for c in get("classes") or ()]
    length, path = get("duration_s") or 0, text(get("path") or "recording")
    share: dict[str, float] = {}
    for s in segments:
        share[text(s["label"])] = share.get(text(s["label"]), 0.0) + float(s["end"]) - float(s["start"])
    share = dict(sorted(share.items(), key=lambda item: -item[1]))
    windows, frames = (len(series((part or {}).get("times_s"))) for part in (prediction, get("frames")))
    shown = "Waveform, the most probable emotion, and the probability (0 to 1) of each over time."
    if not get("label") and not segments:  # a model of intensities or dimensions, not of one emotion
        found = get("probabilities")
        course = np.array(
            found if found is not None and len(found) else np.full((1, len(classes)), np.nan), dtype=float
        )
        means = list(zip(classes, course.mean(0).tolist(), strict=False))[:8]
        tiles = [(name, number(value, fixed=True), "mean of the windows") for name, value in means]
        shown = "Waveform, and the predicted values over time, in label units on one scale."
    else:
        chance = f", {number(1 / len(classes))} is chance" if classes else ""
        tiles = [
            ("Predicted", get("label") or NOTHING, "in the recording as a whole"),
            ("Confidence", three(prediction, "confidence"), f"1 is certain{chance}"),
        ]
    sizes = words.listed(count(windows, "window"), count(len(segments), "segment") if segments else "")
    finer = ", averaged where they are finer than the picture; segments: the most frequent" if windows > 600 else ""
    thin = f" Thin line: at each of {frames:,} frames, judged in their context." if frames else ""
    spoken = ", ".join(f"{label} {100 * s / sum(share.values()):.0f} %" for label, s in list(share.items())[:5])
    drawn = charts.figure(
        lambda width: _timeline(prediction, width), "timeline", f"{shown} n = {windows:,} windows{finer}.{thin}",
        f"Emotions over time: {spoken or 'no segments'}",
    )  # fmt: skip
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    return page.render(
        "predict.html", prediction, title=name, drawn=drawn, share=share, roles=_roles([*classes, *share]),
        lede=words.listed(path if path != name else "", duration(length) if length else ""), segments=segments,
        tiles=[*tiles, ("Length", duration(get("duration_s")), sizes)],
        rows=[(_moment(s["start"], length), _moment(s["end"], length), s["label"], three(s, "confidence"))
              for s in segments[:500]],
    )  # fmt: skip


def timeline_figure(prediction: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """The picture of `timeline_page`, as files."""
    charts.save(lambda: _timeline(prediction, WIDE), path_svg, path_png)


def timeline_drawing(prediction: Mapping[str, Any]) -> Any:
    """The same picture as a matplotlib figure."""
    return charts.drawing(lambda: _timeline(prediction, WIDE))


def _moment(s: Any, length_s: float) -> str:
    """How times of a recording are written: seconds, from two minutes on m:ss, from an hour on h:mm:ss."""
    return f"{number(float(s), 2)} s" if length_s < 120 else words.clock(float(s), length_s >= 3600)


def _roles(classes: Sequence[str]) -> dict[str, str]:
    """A colour role for every class: an emotion's own, or the next free one.

    >>> _roles(["angry", "shouting"])
    {'angry': 'c1', 'shouting': 'c0'}
    """
    every = [f"c{k}" for k in range(10)]
    taken = {EMOTION_COLOURS[c] for c in classes if c in EMOTION_COLOURS}
    free = [role for role in every if role not in taken] or every
    spare = iter(free * (1 + len(classes) // len(free)))
    return {c: EMOTION_COLOURS.get(c) or next(spare) for c in dict.fromkeys(classes)}


def strip(segments: Sequence[Mapping[str, Any]], duration_s: float, most: int = 400) -> list[tuple[float, float, str]]:
    """(start, end, label) to draw; of more than `most` segments, what fills most of each of `most` equal cells."""
    plain = [(float(s["start"]), float(s["end"]), text(s["label"])) for s in segments]
    if len(plain) <= most:
        return plain
    shares: list[dict[str, float]] = [{} for _ in range(most)]
    cell = duration_s / most
    for start, end, label in plain:
        for k in range(max(int(start / cell), 0), min(math.ceil(end / cell), most)):
            inside = min(end, (k + 1) * cell) - max(start, k * cell)
            shares[k][label] = shares[k].get(label, 0.0) + inside
    merged: list[tuple[float, float, str]] = []
    for k, share in enumerate(shares):
        label = max(share, key=lambda name: share[name], default="")
        if label and merged and merged[-1][2] == label and math.isclose(merged[-1][1], k * cell):
            merged[-1] = (merged[-1][0], (k + 1) * cell, label)
        elif label:
            merged.append((k * cell, (k + 1) * cell, label))
    return merged


def _timeline(prediction: Mapping[str, Any], width: int) -> Any:
    """Waveform, labelled segments and a ridge of probabilities (or predicted values) on one time axis.

    Filled: by window. Thin dark line: by frame, where there is one.
    """
    classes = [text(c) for c in prediction.get("classes") or ()]
    times, found = series(prediction.get("times_s")), prediction.get("probabilities")
    chances = np.zeros((0, len(classes))) if found is None or not len(found) else np.array(found, dtype=np.float64)
    fine = prediction.get("frames") or {}
    fine_s, posteriors = series(fine.get("times_s")), np.array(fine.get("values") or (), dtype=np.float64)
    every = np.concatenate([chances.ravel(), posteriors.ravel(), [0.0, 1.0]])
    every = every[np.isfinite(every)]
    scale = float(every.min()), float(every.max())  # probabilities, or predicted values on their own scale
    wave, segments = prediction.get("waveform") or {}, prediction.get("segments") or ()
    intensity = series(prediction.get("intensity"))
    ends = [*(float(s["end"]) for s in segments), *times[-1:], *series(wave.get("times_s"))[-1:], 1e-3]
    end = float(prediction.get("duration_s") or max(ends))
    tint = {c: LIGHT[role] for c, role in _roles([*classes, *(text(s["label"]) for s in segments)]).items()}

    heights: dict[Any, int] = {"wave": 64 if wave else 0, "strip": 34 if segments else 0}
    heights |= dict.fromkeys(range(len(classes)), 36) | {"intensity": 52 if len(intensity) else 0}
    heights = {key: h for key, h in heights.items() if h} or {"wave": 64}
    drawn = charts.sheet(width, sum(heights.values()) + 7 * len(heights) + 46)
    drawn.get_layout_engine().set(hspace=0.02, h_pad=0.02)
    grid = drawn.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights.values()))[:, 0]
    for axes, key in zip(grid, heights, strict=True):
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set_yticks([])
        axes.yaxis.tick_right()
        if key == "wave":
            clock_s, low, high = alike(*(series(wave.get(part)) for part in ("times_s", "low", "high")))
            edges = pooled(low, width, np.min), pooled(high, width, np.max)
            axes.fill_between(pooled(clock_s, width), *edges, color=SOFT, linewidth=0)
            row_name(axes, "waveform")
        elif key == "strip":
            for start, stop, label in strip(segments, end, width // 4):
                axes.axvspan(start, stop, color=tint[label], alpha=0.3, linewidth=0)
                axes.plot([start, stop], [1, 1], color=tint[label], linewidth=6, solid_capstyle="butt")
                if (stop - start) / end * (width - 110) > 7.5 * len(label) + 4:
                    axes.text((start + stop) / 2, 0.42, label, ha="center", va="center")
            axes.set_ylim(0, 1)
            axes.grid(visible=False)
            row_name(axes, "segments")
        elif key == "intensity":
            axes.plot(*alike(times, intensity, most=600), color=INK, linewidth=1.4)
            axes.margins(y=0.1)
            known = intensity[np.isfinite(intensity)]
            marks = [float(known.min()), float(known.max())] if len(known) else []
            axes.set_yticks(marks, [number(v, 2) for v in marks])
            row_name(axes, "intensity")
        else:
            if key < chances.shape[1] and len(chances):
                x, y = alike(times, chances[:, key], most=600)
                axes.fill_between(x, 0, y, color=tint[classes[key]], alpha=0.35, linewidth=0)
                axes.plot(x, y, color=tint[classes[key]], linewidth=1.4)
            if len(posteriors):
                axes.plot(*alike(fine_s, posteriors[:, key], most=width), color=INK, linewidth=0.7, alpha=0.75)
            axes.axhline(0, color=LINE, linewidth=1)
            axes.set_ylim(scale[0], scale[1] + 0.02 * (scale[1] - scale[0]))
            axes.set_yticks(scale, [number(v, 2) if key == len(classes) - 1 else "" for v in scale])
            row_name(axes, classes[key])
    charts.time_axis(grid[-1], end)
    return drawn
