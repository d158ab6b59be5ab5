"""One recording over time."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts
from sottovoce.report.charts import INK, LIGHT, LINE, SOFT, alike, pooled, series
from sottovoce.report.words import number, text

# A fixed colour for every emotion of the canonical vocabulary, so that reports can be compared.
EMOTION_COLOURS = {
    **{"neutral": "c7", "calm": "c2", "happy": "c4", "sad": "c0", "angry": "c1", "fear": "c3"},
    **{"disgust": "c8", "surprise": "c5", "boredom": "c9", "contempt": "c6"},
}


def roles(classes: Sequence[str]) -> dict[str, str]:
    """A colour role for every class: an emotion's own, or the next free one.

    >>> roles(["angry", "shouting"])
    {'angry': 'c1', 'shouting': 'c0'}
    """
    every = [f"c{k}" for k in range(10)]
    taken = {EMOTION_COLOURS[c] for c in classes if c in EMOTION_COLOURS}
    spare = itertools.cycle([role for role in every if role not in taken] or every)
    return {c: EMOTION_COLOURS.get(c) or next(spare) for c in dict.fromkeys(classes)}


def strip(segments: Sequence[Mapping[str, Any]], duration_s: float, most: int = 400) -> list[tuple[float, float, str]]:
    """(start, end, label) to draw; of more than `most` segments, what fills most of each of `most` equal cells."""
    plain = [(float(s["start"]), float(s["end"]), text(s["label"])) for s in segments]
    if len(plain) <= most:
        return plain
    edges, shares = np.linspace(0, duration_s, most + 1), {"": np.full(most, 1e-9)}  # s of every label in every cell
    for start, end, label in plain:
        inside = np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1])
        shares[label] = shares.get(label, 0.0) + np.maximum(inside, 0.0)
    names, longest = list(shares), np.argmax(list(shares.values()), axis=0)
    merged = []
    for k, cells in itertools.groupby(range(most), key=lambda cell: longest[cell]):
        own = list(cells)
        merged.append((float(edges[own[0]]), float(edges[own[-1] + 1]), names[k]))
    return [piece for piece in merged if piece[2]]


def _timeline(prediction: Mapping[str, Any], *, width: int) -> Any:
    """Waveform, labelled segments and a ridge of probabilities (or predicted values) on one time axis.

    Filled: by window. Thin dark line: by frame, where there is one.
    Keys: duration_s, classes, times_s, probabilities (T, K), segments [{start, end, label, speaker}], waveform
    {times_s, low, high}, intensity (T,), speakers in their order, frames {times_s, values (F, K)}.
    """
    classes, times = [text(c) for c in prediction["classes"]], series(prediction["times_s"])
    wave, segments, fine = prediction["waveform"], prediction["segments"], prediction["frames"]
    intensity, chances, posteriors = (
        series(found) for found in (prediction["intensity"], prediction["probabilities"], fine["values"])
    )
    every = np.concatenate([chances.ravel(), posteriors.ravel(), [0.0, 1.0]])
    scale = float(np.nanmin(every)), float(np.nanmax(every))  # probabilities, or predicted values on their own scale
    ends = [*(float(s["end"]) for s in segments), *times[-1:], *series(wave["times_s"])[-1:], 1e-3]
    end = float(prediction["duration_s"] or max(ends))
    tint = {c: LIGHT[role] for c, role in roles([*classes, *(text(s["label"]) for s in segments)]).items()}
    said: dict[str, list[Any]] = {str(who): [] for who in prediction["speakers"]}  # by whom
    for segment in segments:
        said.setdefault(str(segment["speaker"]), []).append(segment)

    def waveform(axes: Any) -> None:
        clock_s, low, high = alike(*(series(wave[part]) for part in ("times_s", "low", "high")))
        edges = pooled(low, width, np.min), pooled(high, width, np.max)
        axes.fill_between(pooled(clock_s, width), *edges, color=SOFT, linewidth=0)

    def spoken(own: Sequence[Mapping[str, Any]], axes: Any) -> None:
        for start, stop, label in strip(own, end, width // 4):
            axes.axvspan(start, stop, color=tint[label], alpha=0.3, linewidth=0)
            axes.plot([start, stop], [1, 1], color=tint[label], linewidth=6, solid_capstyle="butt")
            if (stop - start) / end * (width - 110) > 7.5 * len(label) + 4:
                axes.text((start + stop) / 2, 0.42, label, ha="center", va="center")
        axes.set_ylim(0, 1)
        axes.grid(visible=False)

    def ridge(k: int, axes: Any) -> None:
        if len(chances):
            x, y = alike(times, chances[:, k], most=600)
            axes.fill_between(x, 0, y, color=tint[classes[k]], alpha=0.35, linewidth=0)
            axes.plot(x, y, color=tint[classes[k]], linewidth=1.4)
        if len(posteriors):
            x, y = alike(series(fine["times_s"]), posteriors[:, k], most=width)
            axes.plot(x, y, color=INK, linewidth=0.7, alpha=0.75)
        axes.axhline(0, color=LINE, linewidth=1)
        axes.set_ylim(scale[0], scale[1] + 0.02 * (scale[1] - scale[0]))
        axes.set_yticks(scale, [number(v, 2) if k == len(classes) - 1 else "" for v in scale])

    lanes: list[charts.Lane] = [(64, "waveform", waveform)] if wave else []
    lanes += [(34, text(who) or "segments", partial(spoken, own)) for who, own in said.items() if own]
    lanes += [(36, name, partial(ridge, k)) for k, name in enumerate(classes)]
    lanes += [(52, "intensity", partial(charts.course, times, intensity))] if len(intensity) else []
    return charts.lanes(lanes, end, width)


timeline_figure = partial(charts.save, _timeline)  # as files
timeline_drawing = partial(charts.drawing, _timeline)  # as a matplotlib figure
