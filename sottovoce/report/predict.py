"""One recording over time."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.report import _old_words as words
from sottovoce.report import _old_charts as charts
from sottovoce.report import _old_page as page
from sottovoce.report._old_page import NOTHING, number, tag, text


def timeline_page(prediction: Mapping[str, Any]) -> str:
    """One recording over time: waveform, segments, probabilities.

    Keys: path, duration_s, classes, times_s, probabilities (T, K), label, confidence, segments [{start, end, label,
    confidence}], waveform {times_s, low, high}, frames {times_s, values (F, K)}, intensity, model.
    """
    get = prediction.get
    segments, classes = list(get("segments") or ()), [text(c) for c in get("classes") or ()]
    length, path = get("duration_s"), text(get("path") or "recording")
    when = _clock_of(length or 0)
    windows = len(charts.series(get("times_s")))
    share: dict[str, float] = {}
    for s in segments:
        share[text(s["label"])] = share.get(text(s["label"]), 0.0) + float(s["end"]) - float(s["start"])
    share = dict(sorted(share.items(), key=lambda item: -item[1]))
    body: list[Any] = [page.warnings(get("warnings"))]
    numbers = not get("label") and not segments  # a model of intensities or dimensions, not of one emotion
    if numbers:
        with np.errstate(invalid="ignore"):
            course = np.array(get("probabilities") or np.full((1, len(classes)), np.nan), dtype=np.float64)
        means = zip(classes, course.mean(0).tolist(), strict=False)
        heard = [(name, number(value, fixed=True), "mean of the windows") for name, value in list(means)[:8]]
    else:
        chance = f", {number(1 / len(classes))} is chance" if classes else ""
        heard = [
            ("Heard", get("label") or NOTHING, "in the recording as a whole"),
            ("Confidence", words.three(prediction, "confidence"), f"1 is certain{chance}"),
        ]
    sizes = words.listed(words.count(windows, "window"), words.count(len(segments), "segment") if segments else "")
    body.append(page.tiles([*heard, ("Length", page.duration(length), sizes)]))
    spoken = ", ".join(f"{label} {100 * s / sum(share.values()):.0f} %" for label, s in list(share.items())[:5])
    shown = "Waveform, the most probable emotion, and the probability (0 to 1) of each over time."
    if numbers:
        shown = "Waveform, and the predicted values over time, in label units on one scale."
    finer = "averaged where they are finer than the picture; segments: the most frequent"
    frames = len(charts.series((get("frames") or {}).get("times_s")))
    thin = f" Thin line: at each of {frames:,} frames, heard in their surroundings." if frames else ""
    picture = charts.figure(
        lambda width: charts.timeline(prediction, width=width),
        "timeline",
        f"{shown} n = {windows:,} windows" + (f", {finer}." if windows > 600 else ".") + thin,
        f"Emotions over time: {spoken or 'no segments'}",
    )
    body.append(page.section("Over time", picture))
    if share:
        roles = charts.roles([*classes, *share])
        grid = page.bars(share, label="time by emotion", unit="time", show=page.duration, roles=roles)
        body.append(page.section("How long", grid))
    if segments:
        rows = [
            [when(float(s["start"])), when(float(s["end"])), s["label"], words.three(s, "confidence")]
            for s in segments[:500]
        ]
        more = tag("p", f"and {len(segments) - 500:,} more") if len(segments) > 500 else None
        grid = page.table(["from", "to", "emotion", "confidence"], rows, label="segments")
        body.append(page.folded(f"{words.count(len(segments), 'segment')} as a table", grid, more))
    body.append(page.settings(get("model") or {}, "Model"))
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    lede = words.listed(path if path != name else "", page.duration(length) if length else "")
    return page.document("prediction", name, *body, lede=lede)


def _clock_of(length_s: float) -> Callable[[float], str]:
    """How moments of a recording are written: seconds, from two minutes on m:ss, from an hour on h:mm:ss."""
    if length_s < 120:
        return lambda s: f"{number(s, 2)} s"
    return lambda s: charts.clock(s, length_s >= 3600)


def timeline_figure(prediction: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """The picture of `timeline_page`, in light colours."""
    charts.save(lambda: charts.timeline(prediction), path_svg, path_png)
