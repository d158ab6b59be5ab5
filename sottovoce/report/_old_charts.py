"""Figures: plain dicts and arrays in, matplotlib figures out; `inline` makes SVG for a page, `save` writes files.

Every figure is drawn for a width in CSS pixels (`WIDE` for a page, `NARROW` for a phone), so text stays readable on
both. Colours are those of `page.LIGHT`; `inline` replaces them by the page's variables, which is how dark mode works.
No colour stands alone: curves carry names or markers, segments carry their label, rows carry theirs.
"""

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.report._old_page import LIGHT, Html, glue, number, tag, text

WIDE, HALF, NARROW = 880, 400, 340  # CSS pixels
INK, SOFT, LINE, PANEL = LIGHT["ink"], LIGHT["soft"], LIGHT["line"], LIGHT["panel"]
SERIES = [LIGHT[f"c{k}"] for k in range(10)]
MARKERS = "osD^vPX*<>"
STYLE = {
    **{"svg.fonttype": "none", "text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 12},
    **{"figure.facecolor": LIGHT["paper"], "axes.facecolor": "none", "savefig.facecolor": LIGHT["paper"]},
    **{"text.color": INK, "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "axes.edgecolor": LINE},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 12},
    **{"axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 2},
    **{"axes.labelsize": 11, "xtick.labelsize": 11, "ytick.labelsize": 11, "axes.xmargin": 0.02},
    **{"xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0},
    **{"legend.frameon": False, "legend.fontsize": 12, "legend.handlelength": 1.6, "legend.borderaxespad": 0},
}
METRICS = {
    **{"wa": "WA", "ua": "UA", "macro_f1": "macro-F1", "f1": "F1", "f1w": "weighted F1", "wacc": "weighted accuracy"},
    **{"mae": "MAE", "ccc": "CCC", "pcc": "PCC", "acc2": "2-class accuracy", "acc4": "4-class accuracy"},
    **{"acc7": "7-class accuracy", "per": "PER"},
}
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
    free = itertools.cycle([role for role in every if role not in taken] or every)
    return {c: EMOTION_COLOURS.get(c) or next(free) for c in dict.fromkeys(classes)}


# --- from figure to page or file ------------------------------------------------------------------------------------


@contextmanager
def _style(salt: str = "") -> Iterator[None]:
    import matplotlib.style

    with warnings.catch_warnings(), matplotlib.style.context(["default", {**STYLE, "svg.hashsalt": salt or "figure"}]):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # SVG text is shown by the browser's fonts
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied")
        yield


def inline(draw: Callable[[], Any], name: str, alt: str, class_: str | None = None) -> Html:
    """`draw()`'s figure as SVG inside HTML: page colours, page font, ids made unique by `name`, nothing to load."""
    with _style(name):
        figure, out = draw(), io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    width, height = (round(72 * size) for size in figure.get_size_inches())
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", out.getvalue(), flags=re.S)
    body = body[body.index(">", body.index("<svg")) + 1 : body.rindex("</svg>")].replace("xlink:href", "href")
    names = {colour: role for role, colour in LIGHT.items()}
    body = re.sub(
        r"((?:fill|stroke|stop-color): )(#[0-9a-f]{6})",
        lambda m: m[1] + (f"var(--{names[m[2]]})" if m[2] in names else m[2]),
        body,
    )
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r" transform=\"rotate\(-0 [^\"]*\"| id=\"(?:\w+_\d+|image\w+)\"", "", body)
    clips: dict[str, str] = {}  # matplotlib names them by coordinates to the last bit, which the layout does not keep
    body = re.sub(
        r'(?:(?<=url\(#)|(?<=id="))p[0-9a-f]{10}', lambda m: clips.setdefault(m[0], f"clip{len(clips)}"), body
    )
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r'(?<= [dxy])="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    view = Html(body)
    svg = tag("svg", view, width=width, height=height, role="img", aria_label=alt, class_=class_)
    return Html(svg.replace("<svg ", f'<svg viewBox="0 0 {width} {height}" ', 1))  # a name with a capital letter


def figure(draw: Callable[[int], Any], name: str, caption: Any, alt: str, *, width: int = WIDE) -> Html:
    """A captioned picture; one much wider than a phone is drawn twice, and the page shows the one that fits."""
    if width <= HALF:
        return tag("figure", inline(lambda: draw(width), name, alt, "half"), tag("figcaption", glue(caption)))
    wide = inline(lambda: draw(width), name, alt, "wide")
    narrow = inline(lambda: draw(NARROW), f"{name}-s", alt, "narrow")
    return tag("figure", wide, narrow, tag("figcaption", glue(caption)))


def save(draw: Callable[[], Any], svg: Path | str | None = None, png: Path | str | None = None) -> None:
    """Write `draw()`'s figure in light colours as SVG and PNG (2 pixels a CSS pixel); same input, same bytes."""
    with _style():
        picture = draw()
        if svg is not None:
            with files.atomic(svg) as path:
                picture.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        if png is not None:
            with files.atomic(png) as path:
                picture.savefig(path, format="png", dpi=144, metadata={"Software": None})


def _figure(width: int, height: float) -> Any:
    from matplotlib.figure import Figure

    picture: Any = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    picture.get_layout_engine().set(w_pad=0.04, h_pad=0.04)  # inches
    return picture


# --- small parts ----------------------------------------------------------------------------------------------------


def series(values: Any) -> np.ndarray:
    """(N,) float64 of a list, an array or nothing; None becomes NaN."""
    return np.array([] if values is None else list(values), dtype=np.float64)


def short(value: Any, width: int = 24) -> str:
    line = text(value)
    return line if len(line) <= width else line[: width - 1] + "…"


def pooled(values: np.ndarray, most: int, how: Callable[..., np.ndarray] = np.mean) -> np.ndarray:
    """At most `most` rows of (T, ...), each summing up an equal stretch of time by `how`."""
    if len(values) <= most:
        return values
    edges = np.linspace(0, len(values), most + 1).astype(int)
    return np.stack([how(values[a:b], axis=0) for a, b in itertools.pairwise(edges)])


def alike(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays cut to the length of the shortest."""
    many = min(map(len, arrays))
    return [values[:many] for values in arrays]


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """The places nearest to those wanted that keep `gap` between neighbours: labels beside curve ends.

    >>> spread([1.0, 1.0, 5.0], 1.0)
    [0.5, 1.5, 5.0]
    """
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    blocks: list[list[float]] = []  # [centre, members]; touching blocks merge around their mean
    for k in order:
        blocks.append([wanted[k], 1])
        while len(blocks) > 1 and blocks[-1][0] - blocks[-2][0] < gap * (blocks[-1][1] + blocks[-2][1]) / 2:
            (b, n), (a, m) = blocks.pop(), blocks.pop()
            blocks.append([(a * m + b * n) / (m + n), m + n])
    places = [centre + gap * (j - (n - 1) / 2) for centre, n in blocks for j in range(int(n))]
    return [place for _, place in sorted(zip(order, places, strict=True))]


def _clock(axes: Any, end_s: float) -> None:
    """Time on x: seconds, or m:ss from two minutes on."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(0, end_s)
    if end_s < 120:
        axes.set_xlabel("time, s")
        return
    few = max(3, int(axes.bbox.width / 85))
    step = next((s for s in (15, 30, 60, 120, 300, 600, 900, 1800, 3600) if end_s / s <= few), None)
    axes.xaxis.set_major_locator(MaxNLocator(few) if step is None else _every(step))
    hours = end_s >= 3600
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: clock(s, hours)))
    axes.set_xlabel("time, h:mm:ss" if hours else "time, m:ss")


def _every(step: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(step)


def clock(seconds: float, hours: bool = False) -> str:
    """
    >>> clock(75), clock(3675, True)
    ('1:15', '1:01:15')
    """
    whole = round(seconds)
    minutes = f"{whole // 60 % 60:02d}" if hours else f"{whole // 60}"
    return (f"{whole // 3600}:" if hours else "") + f"{minutes}:{whole % 60:02d}"


def _legend(picture: Any, axes: Any, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        picture.legend(handles, labels, loc="outside upper left", ncols=columns)


# --- data, pre-training ---------------------------------------------------------------------------------------------


def histogram(edges: Any, counts: Any, *, xlabel: str, ylabel: str, median: float | None = None, width: int) -> Any:
    """edges (K + 1,), counts (K,)."""
    edges, counts = series(edges), series(counts)
    picture = _figure(width, 210)
    axes = picture.subplots()
    if len(edges) == len(counts) + 1:
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=SERIES[0], edgecolor=LIGHT["paper"])
    if median is not None and math.isfinite(median):
        axes.axvline(median, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"median {number(median, 2)}",
            (median, 1),
            xycoords=("data", "axes fraction"),
            xytext=(5, -2),
            textcoords="offset points",
            va="top",
        )
        axes.set_ylim(top=1.18 * max(counts, default=1))
    axes.grid(axis="x", visible=False)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return picture


def traces(
    lines: Sequence[tuple[str, Any, Any]],
    *,
    xlabel: str,
    ylabel: str,
    level: tuple[str, float] | None = None,
    width: int,
    zero: bool = False,
) -> Any:
    """Curves over training, [(name, x (N,), y (N,))]; `level` is a horizontal line to beat, `zero` keeps 0 in sight."""
    picture = _figure(width, 230 if width < 600 else 280)
    axes = picture.subplots()
    for k, (name, x, y) in enumerate(lines):
        x, y = (pooled(part, 300) for part in alike(series(x), series(y)))
        marker = MARKERS[k] if len(x) < 40 else None
        axes.plot(x, y, color=SERIES[k], label=name, marker=marker, markersize=4, zorder=3 + k)
    if level is not None and math.isfinite(level[1]):
        axes.axhline(level[1], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=f"{level[0]} {number(level[1])}")
    if zero:
        axes.set_ylim(bottom=0)
    axes.margins(y=0.1)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if len(lines) > 1 or level is not None:
        _legend(picture, axes, 1 if width < 400 else 3)
    return picture


def triptych(panel: Mapping[str, Any], *, width: int) -> Any:
    """Original, masked and reconstructed features (T, D) above each other on one clock and one colour scale."""
    original, rebuilt = np.atleast_2d(panel["original"]), panel.get("reconstructed")
    hidden = np.asarray(panel.get("masked", np.zeros(len(original))), dtype=bool)
    rate = float(panel.get("rate_hz") or 100.0)
    end = len(original) / rate
    masked = np.array(original, dtype=np.float64)
    masked[hidden[: len(masked)]] = np.nan
    rows = [("original", original)] + [("masked", masked)] * bool(hidden.any())
    if rebuilt is not None:
        rows.append(("reconstructed", np.atleast_2d(rebuilt)))
    finite = original[np.isfinite(original)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    picture = _figure(width, 60 + 105 * len(rows))
    grid = picture.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    shades: Any = None
    for axes, (title, values) in zip(grid, rows, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of a stretch that is hidden as a whole
            small = pooled(pooled(np.asarray(values, dtype=np.float64), 400, np.nanmean).T, 80, np.nanmean)
        axes.set_facecolor(PANEL)
        shades = axes.imshow(
            np.ma.masked_invalid(small),
            aspect="auto",
            origin="lower",
            interpolation="none",
            cmap="magma",
            extent=(0, end, 0, values.shape[1]),
            vmin=low,
            vmax=high,
        )
        axes.set_title(title, pad=9 if title == "reconstructed" else 6)
        axes.grid(visible=False)
        axes.yaxis.set_major_locator(_every(max(values.shape[1] // 2, 1)))
    for start, stop in _runs(hidden):  # what was hidden, marked above the reconstruction
        above = grid[-1].get_xaxis_transform()  # x in seconds, y in axes heights
        grid[-1].plot(
            [start / rate, stop / rate], [1.03, 1.03], transform=above, color=SERIES[5], linewidth=3, clip_on=False
        )
    grid[len(rows) // 2].set_ylabel("feature index")
    _clock(grid[-1], end)
    bar = picture.colorbar(shades, ax=list(grid), fraction=0.04, pad=0.01, aspect=40)
    bar.outline.set_visible(False)
    bar.set_label("value, feature units")
    return picture


def strength(panel: Mapping[str, Any], *, width: int) -> Any:
    """Spectrogram, and below it strength by frame with its mean, what it should be, and energy; on one clock.

    Panel: features (T, D) magnitudes or logarithms, frames (T',) and energy_frames (T',) every 1 / rate_hz s, target.
    """
    frames, target = series(panel["frames"]), number_of(panel.get("target"))
    end = len(frames) / float(panel["rate_hz"])
    features = np.asarray(panel["features"], dtype=np.float64)
    if features.min(initial=0.0) >= 0:  # magnitudes: in decibel as anybody draws them
        features = 20 * np.log10(features + 1e-3 * max(float(features.max(initial=0.0)), 1e-6))
    picture = _figure(width, 270)
    above, below = picture.subplots(2, 1, sharex=True, height_ratios=[1.2, 1])
    small = pooled(pooled(features, 400).T, 80)
    extent = (0, end, 0, features.shape[1])
    above.imshow(small, aspect="auto", origin="lower", interpolation="none", cmap="magma", extent=extent)
    above.grid(visible=False)
    above.set_ylabel("mel band")
    clock_s = (np.arange(len(frames)) + 0.5) / float(panel["rate_hz"])
    if len(energy := series(panel.get("energy_frames"))) == len(frames):
        beside = below.twinx()
        beside.plot(*(pooled(part, 600) for part in (clock_s, energy)), color=SOFT, linewidth=1.2, label="energy")
        beside.set_yticks([])
        beside.spines[["left", "right"]].set_visible(False)
        beside.grid(visible=False)
        below.plot([], [], color=SOFT, linewidth=1.2, label="energy, own scale")
        below.set_zorder(beside.get_zorder() + 1)
    below.plot(*(pooled(part, 600) for part in (clock_s, frames)), color=SERIES[0], linewidth=1.8, label="strength")
    mean = float(frames.mean()) if len(frames) else math.nan
    below.axhline(mean, color=SERIES[0], linewidth=1.2, linestyle=(0, (1, 2)), label=f"its mean {number(mean, 2)}")
    if math.isfinite(target):
        name = f"by rank {number(target, 2)}"
        below.axhline(target, color=SERIES[1], linewidth=1.5, linestyle=(0, (4, 3)), label=name)
    low, high = (f([*frames, mean, *([target] if math.isfinite(target) else [])]) for f in (min, max))
    below.set_ylim(low - 0.1 * (high - low) - 0.01, high + 0.1 * (high - low) + 0.01)
    below.set_ylabel("strength")
    _clock(below, end)
    _legend(picture, below, 2)
    return picture


def hidden_spans(panel: Mapping[str, Any], *, width: int) -> Any:
    """Features (T, D), their intensity (T,) and, a row for every rule, the spans it hides: `rules` {name: (T,) bool}.

    Beside each row the share it hides and the mean intensity there; `rule` names the one that was trained with.
    """
    original, intensity = np.atleast_2d(panel["original"]), series(panel["intensity"])
    rate, rules, own = float(panel.get("rate_hz") or 100.0), panel["rules"], panel.get("rule")
    end = len(original) / rate
    wide = width > 500
    picture = _figure(width, 230 + 24 * len(rules))
    above, curve, below = picture.subplots(3, 1, sharex=True, height_ratios=[88, 72, 24 * len(rules)])
    above.imshow(
        pooled(pooled(np.asarray(original, dtype=np.float64), 600).T, 80),
        aspect="auto",
        origin="lower",
        interpolation="none",
        cmap="magma",
        extent=(0, end, 0, original.shape[1]),
    )
    above.set_yticks([])
    above.set_ylabel("features", rotation=0, ha="right", va="center", color=INK)
    curve.plot(*(pooled(part, 600) for part in (np.arange(len(intensity)) / rate, intensity)), color=INK, linewidth=1.4)
    curve.axhline(intensity.mean(), color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    low, high = float(intensity.min()), float(intensity.max())
    curve.set_yticks([low, high], [number(low, 2), number(high, 2)])
    curve.yaxis.tick_right()
    curve.margins(y=0.12)
    curve.set_ylabel("intensity", rotation=0, ha="right", va="center", color=INK)
    for k, (name, mask) in enumerate(rules.items()):
        mask = np.asarray(mask, dtype=bool)
        spans = [(start / rate, (stop - start) / rate) for start, stop in _runs(mask)]
        colour = SERIES[1] if name == own else SERIES[0]
        below.broken_barh(spans, (k - 0.36, 0.72), facecolor=colour, linewidth=0)
        there = number(float(intensity[mask].mean()), 2) if mask.any() else "–"
        said = f"{100 * mask.mean():.0f} %, {there}" if wide else f"{100 * mask.mean():.0f} %"
        below.annotate(
            said, (1, k), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points", va="center"
        )
        for start, length in spans if name == own else ():
            curve.axvspan(start, start + length, color=colour, alpha=0.18, linewidth=0)
    below.set_yticks(range(len(rules)), [name if name != own else f"{name} *" for name in rules])
    below.tick_params(axis="y", labelcolor=INK)
    below.set_ylim(len(rules) - 0.5, -0.5)
    for axes in (above, curve, below):
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
    _clock(below, end)
    return picture


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of every stretch of True.

    >>> _runs(np.array([0, 1, 1, 0, 1], dtype=bool))
    [(1, 3), (4, 5)]
    """
    step = np.diff(np.r_[0, mask.astype(int), 0])
    return [(int(a), int(b)) for a, b in zip(np.flatnonzero(step == 1), np.flatnonzero(step == -1), strict=True)]


# --- evaluation -----------------------------------------------------------------------------------------------------


def dots(
    rows: Sequence[tuple[str, Mapping[str, Any], str]],
    metrics: Sequence[tuple[str, str]],
    *,
    marks: Mapping[str, float] | None = None,
    rivals: Sequence[Mapping[str, float]] = (),
    width: int,
) -> Any:
    """A dot and its interval for every row, a panel for every metric, the number at the right.

    Args:
        rows: (name, {metric: {"value", "low", "high"}}, colour), first row on top.
        metrics: (key, title of its panel).
        marks: {metric: value} drawn as a dashed line, e.g. chance.
        rivals: {metric: value} for every row, drawn as a hollow diamond.
        width: CSS pixels; panels are side by side on a page and below each other on a phone.
    """
    across = len(metrics) if width >= 200 + 150 * len(metrics) else 1
    down = -(-len(metrics) // across)
    picture = _figure(width, down * (50 + 23 * len(rows)) + 6)
    picture.get_layout_engine().set(hspace=0.06)
    grid = picture.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes, (key, title) in zip(grid, metrics, strict=False):
        found = [[number_of(entry.get(key), part) for part in ("value", "low", "high")] for _, entry, _ in rows]
        table = np.array(found, dtype=np.float64).reshape(-1, 3)
        for y, ((name, _, colour), (value, low, high)) in enumerate(zip(rows, table, strict=True)):
            if np.isfinite([low, high]).all():
                axes.plot([low, high], [y, y], color=colour, linewidth=4, alpha=0.35, solid_capstyle="round")
            if y < len(rivals) and math.isfinite(rival := number_of(rivals[y].get(key))):
                axes.plot(
                    [rival], [y], marker="D", markersize=5.5, markerfacecolor="none", color=SOFT, linestyle="none"
                )
            axes.plot([value], [y], marker="o", markersize=7, color=colour, linestyle="none")
            axes.annotate(
                number(value, fixed=True),
                (1, y),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=colour if colour != SOFT else INK,
                fontweight="bold" if colour == SERIES[0] and name else None,
                annotation_clip=False,
            )
        mark = (marks or {}).get(key)
        if mark is not None and math.isfinite(mark):
            axes.axvline(mark, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        seen = [*table.flat, *(number_of(r.get(key)) for r in rivals), number_of(mark), 0.0]
        seen = [x for x in seen if math.isfinite(x)]
        low, high = min(seen), max(seen)
        room = (high - low or 1.0) * 0.04
        axes.set_xlim(low - (room if low < 0 else room / 2), high + room)
        axes.set_title(title[:1].upper() + title[1:], fontweight="bold")
        axes.set_yticks(range(len(rows)), [short(name) for name, _, _ in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4 if width / across < 300 else 6)
    for axes in grid[len(metrics) :]:
        axes.set_visible(False)
    return picture


def number_of(entry: Any, part: str = "value") -> float:
    """`part` of {"value", "low", "high"}, or of a plain number; NaN where there is none."""
    found = entry.get(part) if isinstance(entry, Mapping) else entry if part == "value" else None
    return math.nan if found is None else float(found)


# --- compare --------------------------------------------------------------------------------------------------------


def by_class(systems: Sequence[tuple[str, Mapping[str, Any]]], parts: Sequence[str], stem: str, *, width: int) -> Any:
    """A score of every class, one mark and interval a system: [(name, {"<stem>_<class>": {"value", ...}})]."""
    picture = _figure(width, 70 + 22 * len(systems) + len(parts) * (14 + 11 * len(systems)))
    axes = picture.subplots()
    step = 0.7 / len(systems)
    for k, (name, scores) in enumerate(systems):
        colour, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
        for y, part in enumerate(parts):
            value, low, high = (number_of(scores.get(f"{stem}_{part}"), end) for end in ("value", "low", "high"))
            at = y + step * (k - (len(systems) - 1) / 2)
            if np.isfinite([low, high]).all():
                axes.plot([low, high], [at, at], color=colour, linewidth=4, alpha=0.35, solid_capstyle="round")
            axes.plot([value], [at], marker=marker, markersize=6, color=colour, linestyle="none")
        axes.plot([], [], marker=marker, markersize=6, color=colour, linestyle="none", label=short(name, 40))
    axes.set_yticks(range(len(parts)), [short(part) for part in parts], color=INK)
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.set_xlim(left=min(axes.get_xlim()[0], 0.0))
    axes.grid(axis="y", visible=False)
    axes.set(xlabel=metric_name(stem) + (", label units" if stem == "mae" else ""))
    _legend(picture, axes, 1 if width < 500 else min(len(systems), 3))
    return picture


# --- study ----------------------------------------------------------------------------------------------------------


def arm_name(arm: str) -> str:
    names = {
        "finetuned": "pre-trained, fine-tuned",
        "pretrained": "pre-trained, fine-tuned",
        "probe": "pre-trained, frozen probe",
        "scratch": "from scratch",
    }
    return names.get(arm, text(arm).replace("_", " "))


def arm_looks(arms: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of every arm: scratch is always the warm one."""
    looks: dict[str, tuple[str, str]] = {}
    spare = iter([0, 2, 3, 5, 8, 9, 4, 6, 7] * (1 + len(arms) // 9))
    for arm in arms:
        slot = 1 if "scratch" in arm and SERIES[1] not in {c for c, _ in looks.values()} else next(spare)
        looks[arm] = SERIES[slot], MARKERS[slot]
    return looks


def point_table(points: Any) -> np.ndarray:
    """(N, 4) n, value, low, high of a list of points, sorted by n."""
    rows = [[number_of(p, key) for key in ("n", "value", "low", "high")] for p in points or ()]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return table[np.argsort(table[:, 0], kind="stable")]


def _labels_axis(axes: Any, study: Mapping[str, Any], *, few: bool = False, percent: bool = True) -> None:
    """Number of labels on a log scale, ticks at the N of the study, the share of all labels below."""
    from matplotlib.ticker import NullLocator

    ns = sorted({int(n) for n in study.get("ns") or () if n and n > 0})
    if not ns:
        return
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    edge = max(ns[-1] / ns[0], 2) ** (0.09 if few else 0.04)
    axes.set_xlim(ns[0] / edge, ns[-1] * edge)
    room = math.log(ns[-1] / ns[0] or 1) / (3 if few else 7) * 0.9  # smallest distance of two tick labels
    shown = [ns[-1]]
    for n in reversed(ns[:-1]):
        if math.log(shown[-1] / n) >= room:
            shown.append(n)
    whole = study.get("n_total")
    share = [f"\n{100 * n / whole:.2g} %" if whole and percent else "" for n in shown]
    axes.set_xticks(shown, [f"{n:,}{s}".replace("1e+02", "100") for n, s in zip(shown, share, strict=True)])


def _curves(axes: Any, arms: Mapping[str, Any], looks: Mapping[str, tuple[str, str]], size: float = 6) -> list[tuple]:
    """Lines with bands; returns (arm, n, value) of every right end."""
    ends = []
    for arm, points in arms.items():
        table = point_table(points)
        if not len(table):
            continue
        colour, marker = looks[arm]
        n, value, low, high = table.T
        axes.fill_between(n, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(n, value, color=colour, marker=marker, markersize=size, label=arm_name(arm), zorder=3)
        if math.isfinite(value[-1]):
            ends.append((arm, n[-1], value[-1]))
    return ends


def _trivial(axes: Any, trivial: Mapping[str, Any] | None, size: float = 11) -> None:
    """Dotted levels that need no labels at all; equal ones share a name."""
    levels: dict[float, list[str]] = {}
    for name, entry in (trivial or {}).items():
        if math.isfinite(value := number_of(entry)):
            levels.setdefault(round(value, 3), []).append(text(name).replace("_", " "))
    low, high = axes.get_ylim()
    low, high = min([low, *levels]), max([high, *levels])
    axes.set_ylim(low - 0.06 * (high - low), high)
    gap = 1.4 * size * (high - low) / axes.bbox.height  # a line of text in scores; figures have 72 dpi
    right = axes.get_yaxis_transform()  # x in axes widths, y in scores
    for level, place in zip(levels, spread([v - gap * 0.6 for v in levels], gap), strict=True):
        axes.axhline(level, color=SOFT, linewidth=1.3, linestyle=(0, (1, 2)))
        said = f"{', '.join(levels[level])} {number(level)}"
        axes.text(0.99, place, said, transform=right, color=SOFT, fontsize=size, va="center", ha="right")


def _axis_name(study: Mapping[str, Any]) -> str:
    name = str(study.get("metric") or "score")
    return metric_name(name) + (", label units" if name.startswith("mae") else "")


def _labels_name(study: Mapping[str, Any]) -> str:
    return text(study.get("unit") or "labelled utterances")


def metric_name(key: str) -> str:
    return METRICS.get(key) or text(key).replace("_", " ")


def _draw_curve(axes: Any, study: Mapping[str, Any], *, width: int, direct: bool) -> None:
    arms = study.get("arms") or {}
    looks = arm_looks(list(arms))
    ends = _curves(axes, arms, looks)
    _trivial(axes, study.get("trivial"))
    _labels_axis(axes, study, few=width < 400)
    axes.set(xlabel=f"{_labels_name(study)} (share of all)", ylabel=_axis_name(study))
    if direct and ends:
        low, high = axes.get_ylim()
        gap = 17 * (high - low) / axes.bbox.height
        for (arm, _, _), place in zip(ends, spread([v for _, _, v in ends], gap), strict=True):
            beside = {"xycoords": ("axes fraction", "data"), "xytext": (6, 0), "textcoords": "offset points"}
            axes.annotate(arm_name(arm), (1, place), va="center", color=looks[arm][0], annotation_clip=False, **beside)


def learning_curve(study: Mapping[str, Any], *, width: int) -> Any:
    """The metric over the number of labels, a line and a band for every arm."""
    picture = _figure(width, 400 if width > 500 else 340)
    axes = picture.subplots()
    _draw_curve(axes, study, width=width, direct=width > 500)
    if width <= 500:
        _legend(picture, axes, 1)
    return picture


def contrasts(study: Mapping[str, Any]) -> list[tuple[str, Sequence, Sequence]]:
    """(arm, paired, labels_saved) of every arm that was held against scratch; the fine-tuned one first."""
    arms = list(study.get("arms") or ())
    tuned = next((arm for arm in arms if "scratch" not in arm and "probe" not in arm), "pretrained")
    found = [
        (arm, study.get(f"{prefix}paired") or (), study.get(f"{prefix}labels_saved") or ())
        for arm, prefix in ((tuned, ""), ("probe", "probe_"))
    ]
    return [(arm, pairs, saved) for arm, pairs, saved in found if pairs or saved]


def _contrast_looks(study: Mapping[str, Any]) -> list[tuple[str, str, str, float, Sequence, Sequence]]:
    """(name, colour, marker, factor that keeps neighbours apart on the log axis, paired, labels_saved)."""
    found, ns = contrasts(study), [n for n in study.get("ns") or () if n]
    looks = arm_looks(list(dict.fromkeys([*(study.get("arms") or ()), *(arm for arm, _, _ in found)])))
    step = (max(ns) / min(ns)) ** 0.022 if ns else 1.0
    places = [step ** (k - (len(found) - 1) / 2) for k in range(len(found))]
    return [
        (arm_name(arm), *looks[arm], place, pairs, saved)
        for (arm, pairs, saved), place in zip(found, places, strict=True)
    ]


def _draw_paired(axes: Any, study: Mapping[str, Any], width: int) -> None:
    axes.axhline(0, color=INK, linewidth=1.2)
    for name, colour, marker, place, pairs, _ in _contrast_looks(study):
        for x, y, low, high in point_table(pairs):
            clear = low > 0 if study.get("higher_is_better", True) else high < 0
            axes.plot([x * place] * 2, [low, high], color=colour, linewidth=4, alpha=0.35, solid_capstyle="round")
            look = {"marker": marker, "markersize": 7, "markeredgewidth": 1.8, "linestyle": "none", "color": colour}
            axes.plot([x * place], [y], **look, markerfacecolor=colour if clear else LIGHT["paper"])
        axes.plot([], [], marker=marker, markersize=7, color=colour, linestyle="none", label=name)
    _labels_axis(axes, study, few=width < 500, percent=False)
    axes.margins(y=0.12)
    axes.set(xlabel=_labels_name(study), ylabel=f"difference in {_axis_name(study)}")


def paired(study: Mapping[str, Any], *, width: int) -> Any:
    """What pre-training added at every N: paired difference with its interval; filled where it is clear of zero."""
    picture = _figure(width, 290)
    axes = picture.subplots()
    _draw_paired(axes, study, width)
    if len(contrasts(study)) > 1:
        _legend(picture, axes, 1)
    return picture


def _draw_saved(axes: Any, study: Mapping[str, Any], width: int) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    top, most = 2.0, max(study.get("ns") or (1,))
    looks = _contrast_looks(study)
    for name, colour, marker, place, _, saved in looks:
        for point in saved:
            x, y, low, high = (number_of(point, key) for key in ("n", "factor", "low", "high"))
            if not y > 0:
                continue
            sign, shape = (
                ("≥ ", "^") if point.get("censored") else ("≤ ", "v") if point.get("at_most") else ("", marker)
            )
            ends = [low if low > 0 else y, high if math.isfinite(high) else max(y, most / x)]
            axes.plot([x * place] * 2, ends, color=colour, linewidth=4, alpha=0.35, solid_capstyle="round")
            axes.plot([x * place], [y], marker=shape, markersize=8 if sign else 7, color=colour, linestyle="none")
            if len(looks) == 1:  # two arms would write over each other; the table has the numbers
                said = f"{sign}{number(y, 1)}×"
                axes.annotate(said, (x, max(y, *ends)), xytext=(0, 8), textcoords="offset points", ha="center")
            top = max(top, *ends)
        axes.plot([], [], marker=marker, markersize=7, color=colour, linestyle="none", label=name)
    axes.axhline(1, color=INK, linewidth=1.2)
    axes.set_yscale("log", base=2)
    axes.set_ylim(min(axes.get_ylim()[0], 0.8), top * 1.4)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}×"))
    axes.yaxis.set_minor_locator(NullLocator())
    _labels_axis(axes, study, few=width < 500, percent=False)
    axes.set(xlabel=_labels_name(study), ylabel="labels scratch needs, factor")


def labels_saved(study: Mapping[str, Any], *, width: int) -> Any:
    """How many times as many labels the control needs; a triangle is a lower bound (never reached)."""
    picture = _figure(width, 290)
    axes = picture.subplots()
    _draw_saved(axes, study, width)
    if len(contrasts(study)) > 1:
        _legend(picture, axes, 1)
    return picture


def per_class(study: Mapping[str, Any], *, width: int) -> Any:
    """The learning curve of every emotion, on one scale."""
    classes = study.get("per_class") or {}
    looks = arm_looks(list(study.get("arms") or {}) or sorted({a for arms in classes.values() for a in arms}))
    across = min(4 if width > 500 else 2, max(len(classes), 1))
    down = max(-(-len(classes) // across), 1)
    picture = _figure(width, 150 * down + (60 if width > 500 else 100))
    grid = picture.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, arms) in zip(grid, classes.items(), strict=False):
        _curves(axes, {arm: points for arm, points in arms.items() if arm in looks}, looks, size=4)
        axes.set_title(short(name, 20))
        _labels_axis(axes, study, few=True, percent=False)
    for k, axes in enumerate(grid):
        if k >= len(classes):
            axes.set_visible(False)
        elif k + across >= len(classes):
            axes.tick_params(labelbottom=True)
    if classes:
        _legend(picture, grid[0], 1 if width <= 500 else 4)
    picture.supxlabel(_labels_name(study), color=SOFT, fontsize=11)
    own = "recall" if study.get("metric") in ("ua", "wa") else _axis_name(study)
    picture.supylabel(f"{own} of the class", color=SOFT, fontsize=11)
    return picture


def study_overview(study: Mapping[str, Any], *, width: int = WIDE) -> Any:
    """Curve, paired difference and labels saved in one picture: the one for a paper or a README."""
    picture = _figure(width, 700)
    top, bottom = picture.subfigures(2, 1, height_ratios=[1.3, 1], hspace=0.04)
    curve, (difference, saved) = top.subplots(), bottom.subplots(1, 2)
    _draw_curve(curve, study, width=width, direct=True)
    _draw_paired(difference, study, width // 2)
    _draw_saved(saved, study, width // 2)
    for axes, title in (
        (curve, "What the labels buy"),
        (difference, "What pre-training adds"),
        (saved, "Labels saved"),
    ):
        axes.set_title(title, fontweight="bold")
    return picture


# --- timeline -------------------------------------------------------------------------------------------------------


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
        if not share:
            continue
        label = max(share, key=lambda name: share[name])
        if merged and merged[-1][2] == label and math.isclose(merged[-1][1], k * cell):
            merged[-1] = (merged[-1][0], (k + 1) * cell, label)
        else:
            merged.append((k * cell, (k + 1) * cell, label))
    return merged


def timeline(prediction: Mapping[str, Any], *, width: int = WIDE) -> Any:
    """Waveform, labelled segments and a ridge of probabilities (or numbers) on one clock, a second or an hour long.

    Filled: by window. Thin dark line: by frame, where there is one.
    """
    classes = [text(c) for c in prediction.get("classes") or ()]
    times = series(prediction.get("times_s"))
    found = prediction.get("probabilities")
    chances = np.zeros((0, len(classes))) if found is None or not len(found) else np.array(found, dtype=np.float64)
    fine = prediction.get("frames") or {}
    fine_s, moments = series(fine.get("times_s")), np.array(fine.get("values") or (), dtype=np.float64)
    known_values = np.concatenate([chances.ravel(), moments.ravel()])
    finite = known_values[np.isfinite(known_values)]  # probabilities, or numbers on their own scale
    least, most = float(min(finite.min(initial=0.0), 0.0)), float(max(finite.max(initial=1.0), 1.0))
    wave, segments = prediction.get("waveform") or {}, prediction.get("segments") or ()
    strength = series(prediction.get("intensity"))
    ends = [*(float(s["end"]) for s in segments), *times[-1:], *series(wave.get("times_s"))[-1:], 1e-3]
    end = float(prediction.get("duration_s") or max(ends))
    tint = {c: LIGHT[role] for c, role in roles([*classes, *(text(s["label"]) for s in segments)]).items()}

    heights = {"wave": 64 if wave else 0, "strip": 34 if segments else 0}
    heights |= {f"p{k}": 36 for k in range(len(classes))} | {"strength": 52 if len(strength) else 0}
    heights = {key: h for key, h in heights.items() if h} or {"wave": 64}
    picture = _figure(width, sum(heights.values()) + 7 * len(heights) + 46)
    picture.get_layout_engine().set(hspace=0.02, h_pad=0.02)
    axes = picture.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights.values()))[:, 0]
    for place, key in zip(axes, heights, strict=True):
        place.spines[["left", "bottom"]].set_visible(False)
        place.grid(axis="y", visible=False)
        place.set_yticks([])
        if key == "wave":
            clock_s, low, high = alike(*(series(wave.get(part)) for part in ("times_s", "low", "high")))
            edges = pooled(low, width, np.min), pooled(high, width, np.max)
            place.fill_between(pooled(clock_s, width), *edges, color=SOFT, linewidth=0)
            _row_name(place, "waveform")
        elif key == "strip":
            for start, stop, label in strip(segments, end, width // 4):
                place.axvspan(start, stop, color=tint[label], alpha=0.3, linewidth=0)
                place.plot([start, stop], [1, 1], color=tint[label], linewidth=6, solid_capstyle="butt")
                if (stop - start) / end * (width - 110) > 7.5 * len(label) + 4:
                    place.text((start + stop) / 2, 0.42, label, ha="center", va="center")
            place.set_ylim(0, 1)
            place.grid(visible=False)
            _row_name(place, "heard")
        elif key == "strength":
            place.plot(*(pooled(part, 600) for part in alike(times, strength)), color=INK, linewidth=1.4)
            place.margins(y=0.1)
            place.yaxis.tick_right()
            known = strength[np.isfinite(strength)]
            marks = [float(known.min()), float(known.max())] if len(known) else []
            place.set_yticks(marks, [number(v, 2) for v in marks])
            _row_name(place, "intensity")
        else:
            k = int(key[1:])
            if k < chances.shape[1] and len(chances):
                x, y = (pooled(part, 600) for part in alike(times, chances[:, k]))
                place.fill_between(x, 0, y, color=tint[classes[k]], alpha=0.35, linewidth=0)
                place.plot(x, y, color=tint[classes[k]], linewidth=1.4)
            if len(moments):
                x, y = (pooled(part, width) for part in alike(fine_s, moments[:, k]))
                place.plot(x, y, color=INK, linewidth=0.7, alpha=0.75)
            place.axhline(0, color=LINE, linewidth=1)
            place.set_ylim(least, most + 0.02 * (most - least))
            place.yaxis.tick_right()
            place.set_yticks([least, most], [number(v, 2) if k == len(classes) - 1 else "" for v in (least, most)])
            _row_name(place, classes[k])
    _clock(axes[-1], end)
    return picture


def _row_name(axes: Any, name: str) -> None:
    axes.set_ylabel(short(name, 14), rotation=0, ha="right", va="center", color=INK)
