"""Figures: plain dicts and arrays in, matplotlib figures out; `inline` makes SVG for a page, `save` writes files.

A figure is drawn in the colours of `LIGHT`; `inline` replaces them by the page's variables and `save` adds a
stylesheet, which is how one drawing is light and dark. It is drawn for a width in CSS pixels (`WIDE` for a page,
`NARROW` for a phone), so text stays readable on both. No colour stands alone: curves carry names or markers, segments
and rows their label. What only one page shows is drawn in the file of that page.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sottovoce import files
from sottovoce.report.known import known
from sottovoce.report.words import clock, number, number_of, panel_title, text

# Roles of colour. c0..c9 are for data, at least 3:1 on `paper`, text roles at least 4.5:1. A figure is drawn once, with
# the light values, which its SVG text then swaps for variables of the same name (see `inline`).
LIGHT = {
    "paper": "#fcfbf8", "ink": "#1d1e24", "soft": "#5c5e68", "line": "#dfdcd3", "panel": "#f2f0e9", "warn": "#8a4a00",
    "c0": "#2b62b5", "c1": "#c2501c", "c2": "#0e7c60", "c3": "#8b3d91", "c4": "#957000",
    "c5": "#1783a6", "c6": "#c13a60", "c7": "#74757c", "c8": "#7b4b2c", "c9": "#4c409f",
}  # fmt: skip
DARK = {
    "paper": "#16181d", "ink": "#ecebe6", "soft": "#a8aab3", "line": "#353842", "panel": "#20232a", "warn": "#f0b35e",
    "c0": "#7fb0f5", "c1": "#f58c55", "c2": "#4fc9a4", "c3": "#d08ad6", "c4": "#d9b13b",
    "c5": "#5cc3e4", "c6": "#f08aa5", "c7": "#a0a2ab", "c8": "#c79873", "c9": "#a59bf2",
}  # fmt: skip
WIDE, HALF, NARROW = 880, 400, 340  # CSS pixels
PAPER, INK, SOFT, LINE, PANEL = (LIGHT[role] for role in ("paper", "ink", "soft", "line", "panel"))
SERIES = [LIGHT[f"c{k}"] for k in range(10)]
ACCENT, PLAIN = SERIES[0], SOFT
MARKERS = "osD^vPX*<>"
Line = tuple[str, Any, Any]  # name, x (N,), y (N,)
Level = tuple[str, float]  # name, value
Lane = tuple[int, str, Callable[[Any], None]]  # height in pixels, name, what draws it
Row = tuple[str, Mapping[str, Any], str]  # name, {metric: {"value", "low", "high"}}, colour
EN = 7.6  # pixels of an "n"
DASHED, DOTTED = (0, (4, 3)), (0, (1, 2))
STYLE = {
    "svg.fonttype": "none", "text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 12,
    "figure.facecolor": PAPER, "axes.facecolor": "none", "savefig.facecolor": PAPER, "text.color": INK,
    "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "axes.edgecolor": LINE,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 12,
    "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 2,
    "axes.labelsize": 11, "xtick.labelsize": 11, "ytick.labelsize": 11, "axes.xmargin": 0.02,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "legend.frameon": False, "legend.fontsize": 12, "legend.handlelength": 1.6, "legend.borderaxespad": 0,
}  # fmt: skip


# --- from figure to page or file ------------------------------------------------------------------------------------


@contextmanager
def _style(salt: str = "") -> Iterator[None]:
    import matplotlib.style

    with warnings.catch_warnings(), matplotlib.style.context(["default", {**STYLE, "svg.hashsalt": salt or "figure"}]):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # SVG text is shown by the browser's fonts
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied")
        yield


def inline(draw: Callable[[], Any], name: str, alt: str, look: str) -> Markup:
    """`draw()`'s figure as SVG inside HTML: page colours, page font, ids made unique by `name`, nothing to load."""
    with _style(name):
        drawn, out = draw(), io.StringIO()
        drawn.savefig(out, format="svg", metadata={"Date": None})
    width, height = (round(72 * inches) for inches in drawn.get_size_inches())
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|font-family: [^;\"]*;? ?", "", out.getvalue(),
                  flags=re.S)  # fmt: skip
    body = body[body.index(">", body.index("<svg")) + 1 : body.rindex("</svg>")].replace("xlink:href", "href")
    names = {colour: f"var(--{role})" for role, colour in LIGHT.items()}
    body = re.sub(r"(?<=(?:fill|roke|olor): )#[0-9a-f]{6}", lambda m: names.get(m[0], m[0]), body)
    body = re.sub(r" transform=\"rotate\(-0 [^\"]*\"| id=\"(?:\w+_\d+|image\w+)\"", "", body)
    clips: dict[str, str] = {}  # matplotlib names them by coordinates to the last bit, which the layout does not keep
    clip = r'(?:(?<=url\(#)|(?<=id="))p[0-9a-f]{10}'
    body = re.sub(clip, lambda m: clips.setdefault(m[0], f"clip{len(clips)}"), body)
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r'(?<= [dxy])="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), body)
    head = '<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}" class="{3}">'
    return Markup(head).format(width, height, text(alt), look) + Markup(re.sub(r"\s*\n\s*", "\n", body) + "</svg>")


def save(draw: Callable[..., Any], found: Any, svg: Path | str | None = None, png: Path | str | None = None) -> None:
    """Write `draw(found, width=WIDE)` as SVG that is dark where the reader's system is, and as PNG in light colours, 2
    pixels a CSS pixel; same input, same bytes."""
    with _style():
        drawn, out = draw(known(found), width=WIDE), io.StringIO()
        if svg is not None:
            drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
            swaps = "".join(f'[style*="{part}: {LIGHT[role]}"]{{{part}:{colour}!important}}'
                            for role, colour in DARK.items() for part in ("fill", "stroke"))  # fmt: skip
            dark = f"@media (prefers-color-scheme:dark){{{swaps}}}</style>"
            files.write_text(svg, out.getvalue().replace("</style>", dark, 1))
        if png is not None:
            with files.atomic(png) as path:
                drawn.savefig(path, format="png", dpi=144, metadata={"Software": None})


def drawing(draw: Callable[..., Any], found: Any) -> Any:
    """`draw(found, width=WIDE)` in our style, for whoever goes on with it."""
    with _style():
        drawn = draw(known(found), width=WIDE)
        drawn.draw_without_rendering()
    return drawn


def sheet(width: int, height: float) -> Any:
    """An empty figure of a size in CSS pixels."""
    from matplotlib.figure import Figure

    made: Any = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    made.get_layout_engine().set(w_pad=0.04, h_pad=0.04)  # inches
    return made


# --- small parts ----------------------------------------------------------------------------------------------------


def series(values: Any) -> np.ndarray:
    """(N,) float64 of a list, an array or nothing; None becomes NaN."""
    return np.array(list(values), dtype=np.float64)


def short(value: Any, width: int = 24) -> str:
    """A name on a picture, cut where it would take more room than `width` usual letters.

    >>> short("neutral"), short("a name of more letters than there is room for"), short("W" * 80, 14)
    ('neutral', 'a name of more letters than…', 'WWWWWWWW…')
    """
    line = text(value)[: 8 * width]
    if _drawn(line) <= width:
        return line
    return line[: max(k for k in range(len(line)) if _drawn(line[:k]) <= width - 1.5)] + "…"


def letters(width: int) -> int:
    """Letters that a name beside the axes of a picture of so many pixels may have."""
    return min(24, width // 24)


def named_rows(axes: Any, names: Sequence[Any], width: int) -> None:
    """A row for every name, from top to bottom."""
    axes.set_yticks(range(len(names)), [short(name, letters(width)) for name in names], color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _drawn(line: str) -> float:
    """Width of a line in usual letters ("n")."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=12)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        return text_to_path.get_text_width_height_descent(line, font, False)[0] / EN


def pooled(values: np.ndarray, most: int, how: Callable[..., np.ndarray] = np.mean) -> np.ndarray:
    """At most `most` rows of (T, ...), each summing up an equal span of time by `how`."""
    if len(values) <= most:
        return values
    inner = np.linspace(0, len(values), most + 1)[1:-1].astype(int)
    return np.stack([how(part, axis=0) for part in np.split(values, inner)])


def alike(*arrays: Any, most: int | None = None) -> list[np.ndarray]:
    """Arrays cut to the length of the shortest, then pooled to `most` rows."""
    least = min(map(len, arrays))
    return [pooled(values[:least], most or least or 1) for values in arrays]


def runs(mask: np.ndarray) -> list[list[int]]:
    """[start, stop) of every run of True.

    >>> runs(np.array([0, 1, 1, 0, 1], dtype=bool))
    [[1, 3], [4, 5]]
    """
    return np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2).tolist()


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """The positions nearest to those wanted that keep `gap` between neighbours: labels next to curve ends.

    >>> spread([1.0, 1.0, 5.0], 1.0)
    [0.5, 1.5, 5.0]
    """
    from scipy.optimize import isotonic_regression

    order, room, places = np.argsort(wanted, kind="stable"), gap * np.arange(len(wanted)), np.zeros(len(wanted))
    if len(wanted):  # without the room they need, they may be equal but not cross
        places[order] = isotonic_regression(np.asarray(wanted)[order] - room).x + room
    return places.tolist()


def time_axis(axes: Any, end_s: float) -> None:
    """Time on x: seconds, or m:ss from two minutes on."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

    axes.set_xlim(0, end_s)
    if end_s < 120:
        axes.set_xlabel("time, s")
        return
    few = max(3, int(axes.bbox.width / 85))
    step = next((s for s in (15, 30, 60, 120, 300, 600, 900, 1800, 3600) if end_s / s <= few), None)
    axes.xaxis.set_major_locator(MaxNLocator(few) if step is None else MultipleLocator(step))
    hours = end_s >= 3600
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: clock(s, hours)))
    axes.set_xlabel("time, h:mm:ss" if hours else "time, m:ss")


def legend(axes: Any, columns: int) -> None:
    """Above the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def beside(axes: Any, said: str, y: float, **look: Any) -> None:
    """Words at the right of the axes, at the height y."""
    where = {"xycoords": ("axes fraction", "data"), "xytext": (6, 0), "textcoords": "offset points"}
    axes.annotate(said, (1, y), va="center", annotation_clip=False, **(where | look))


def named(axes: Any, name: str, colour: str, marker: str, size: float = 7) -> None:
    """A marker and its name, for the legend alone."""
    axes.plot([], [], marker=marker, markersize=size, color=colour, linestyle="none", label=name)


def dot(
    axes: Any, x: float, y: Any, colour: str, marker: str = "o", size: float = 7, *, across: bool = False, **look: Any
) -> None:
    """A value y (value, low, high) with its interval as a thick line, upright at x or `across`."""
    value, low, high = y
    if np.isfinite([low, high]).all():
        ends = ([low, high], [x, x]) if across else ([x, x], [low, high])
        axes.plot(*ends, color=colour, linewidth=4, alpha=0.35, solid_capstyle="round")
    place = ([value], [x]) if across else ([x], [value])
    axes.plot(*place, color=colour, marker=marker, markersize=size, linestyle="none", **look)


def heatmap(axes: Any, values: Any, end_s: float, **look: Any) -> Any:
    """Features (T, D) over time, pooled to what can be seen; NaN stays empty."""
    values = np.asarray(values, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of a span that is masked as a whole
        small = pooled(pooled(values, 400, np.nanmean).T, 80, np.nanmean)
    look |= {"aspect": "auto", "origin": "lower", "interpolation": "none", "cmap": "magma"}
    axes.grid(visible=False)
    return axes.imshow(np.ma.masked_invalid(small), extent=(0, end_s, 0, values.shape[1]), **look)


# --- what several pages draw ----------------------------------------------------------------------------------------


def lanes(rows: Sequence[Lane], end_s: float, width: int) -> Any:
    """Rows without frames over one time axis, each with its name at the left and drawn by its own `draw(axes)`."""
    heights = [height for height, _, _ in rows] or [64]
    drawn = sheet(width, sum(heights) + 7 * len(heights) + 46)
    drawn.get_layout_engine().set(hspace=0.02, h_pad=0.02)
    grid = drawn.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (_, name, draw) in zip(grid, rows, strict=False):
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set_yticks([])
        axes.yaxis.tick_right()
        axes.set_ylabel(short(name, 14), rotation=0, ha="right", va="center", color=INK)
        draw(axes)
    time_axis(grid[-1], end_s)
    return drawn


def course(times: np.ndarray, values: np.ndarray, axes: Any) -> None:
    """How a value goes on; the least and the largest are written at the right."""
    axes.plot(*alike(times, values, most=600), color=INK, linewidth=1.4)
    axes.margins(y=0.1)
    known = values[np.isfinite(values)]
    ends = [float(known.min()), float(known.max())] if len(known) else []
    axes.set_yticks(ends, [number(end, 2) for end in ends])


def traces(
    lines: Sequence[Line], xlabel: str, ylabel: str, level: Level | None = None, *, zero: bool = True, width: int
) -> Any:
    """Curves over training; `level` is a horizontal line to beat, `zero` keeps 0 in sight."""
    axes = sheet(width, 230 if width < 600 else 280).subplots()
    for k, (name, x, y) in enumerate(lines):
        x, y = alike(series(x), series(y), most=300)
        marker = MARKERS[k] if len(x) < 40 else None
        axes.plot(x, y, color=SERIES[k], label=name, marker=marker, markersize=4, zorder=3 + k)
    if level is not None and math.isfinite(level[1]):
        axes.axhline(level[1], color=INK, linewidth=1.2, linestyle=DASHED, label=f"{level[0]} {number(level[1])}")
    axes.margins(y=0.1)
    if zero:
        axes.set_ylim(bottom=0)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if len(axes.lines) > 1:
        legend(axes, 1 if width < 400 else 3)
    return axes.figure


def losses(curves: Mapping[str, Any], dev: str, ylabel: str, level: Level) -> Any:
    """A drawing of the training's and the dev speakers' loss and a level to beat; nothing where neither was read."""
    read = [("training", "step", "loss"), (dev, "heldout_step", "heldout_loss")]
    lines = [(name, curves[x], curves[y]) for name, x, y in read if len(series(curves[y]))]
    return lines and partial(traces, lines, "step", ylabel, level)


def dots(
    rows: Sequence[Row],
    metrics: Sequence[str],
    marks: Mapping[str, float] | None = None,
    rivals: Sequence[Mapping[str, Any]] = (),
    titles: Mapping[str, str] | None = None,
    *,
    width: int,
) -> Any:
    """A dot and its interval for every row, a panel for every metric, the number at the right.

    Args:
        rows: the first on top.
        marks: {metric: value} drawn as a dashed line, e.g. chance.
        rivals: {metric: value} for every row, drawn as a hollow diamond.
        titles: {metric: title} of panels that are no scores.
        width: CSS pixels; panels are side by side on a page and below each other on a phone.
    """
    across = len(metrics) if width >= 200 + 150 * len(metrics) else 1
    down = len(metrics) // across
    drawn = sheet(width, down * (50 + 23 * len(rows)) + 6)
    drawn.get_layout_engine().set(hspace=0.06)
    grid = drawn.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axes, key in zip(grid, metrics, strict=True):
        found = [[number_of(entry.get(key), part) for part in ("value", "low", "high")] for _, entry, _ in rows]
        table = np.array(found, dtype=np.float64).reshape(-1, 3)
        for y, ((name, _, colour), ends) in enumerate(zip(rows, table, strict=True)):
            if y < len(rivals) and math.isfinite(rival := number_of(rivals[y].get(key))):
                dot(axes, y, (rival, math.nan, math.nan), SOFT, "D", 5.5, across=True, markerfacecolor="none")
            dot(axes, y, ends, colour, across=True)
            bold = "bold" if colour == ACCENT and name else None
            beside(axes, number(ends[0], fixed=True), y, color=INK if colour == SOFT else colour, fontweight=bold)
        mark = number_of((marks or {}).get(key))
        if math.isfinite(mark):
            axes.axvline(mark, color=INK, linewidth=1.2, linestyle=DASHED, zorder=1)
        seen = [x for x in [*table.flat, *(number_of(r.get(key)) for r in rivals), mark, 0.0] if math.isfinite(x)]
        room = (max(seen) - min(seen) or 1.0) * 0.04
        axes.set_xlim(min(seen) - (room if min(seen) < 0 else room / 2), max(seen) + room)
        title = (titles or {}).get(key) or panel_title(key)
        axes.set_title(title[:1].upper() + title[1:], fontweight="bold")
        named_rows(axes, [name for name, _, _ in rows], width)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4 if width / across < 360 else 6)
    return drawn
