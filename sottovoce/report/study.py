"""What pre-training is worth, label by label."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts, page, words
from sottovoce.report.charts import DOTTED, HALF, INK, NARROW, PAPER, SERIES, SOFT, WIDE, dot, sheet
from sottovoce.report.known import known
from sottovoce.report.words import NOTHING, count, metric_name, number, number_of, score, text, three

UNIT = "labelled utterances"
ARMS = {"pretrained": "pre-trained, fine-tuned", "probe": "pre-trained, frozen probe", "scratch": "from scratch"}
LOOKS = {"pretrained": (SERIES[0], "o"), "probe": (SERIES[2], "D"), "scratch": (SERIES[1], "s")}  # colour, marker


def study_page(study: Mapping[str, Any]) -> str:
    """What pre-training is worth at every number of labels, against the identical backbone from scratch.

    Keys: metric, higher_is_better, ns, n_total, arms {arm: [{n, value, low, high}]}, trivial {name: value}, paired [{n,
    value, low, high, p}], labels_saved [{n, factor, low, high, censored, at_most, with_dev {factor, low, high}}],
    probe_paired and probe_labels_saved likewise, per_class {class: {arm: [...]}}, beside {score: {part: {arm: [...]}}},
    flat, chosen, meeting_point, dev_labels, seeds, folds, speakers, warnings, config, protocol, title.
    """
    study = known(study)
    name, against = metric_name(study["metric"]), contrasts(study)
    runs = words.listed(count(study["seeds"], "seed"), count(study["folds"], "fold"), mark=" × ")
    base = words.listed(runs, count(study["speakers"], "speaker"), f"n = {number(study['n_total'])} labels", mark=", ")
    drawn = {
        "curve": study["arms"] and partial(_alone, _draw_curve, study),
        "paired": any(pairs for _, pairs, _ in against) and partial(_alone, _draw_paired, study),
        "saved": any(saved for _, _, saved in against) and partial(_alone, _draw_saved, study),
        "classes": study["per_class"] and partial(_per_class, study),
    }
    return page.render(
        "study.html", study, glossary=words.glossary([text(study["metric"])]), name=name, base=base,
        drawn=drawn, spoken=_spoken(study["arms"]), tiles=_tiles(study, name), numbers=_table(study),
        beside=_beside(study), chosen=_chosen(study), holm=any("p_holm" in p for _, pairs, _ in against for p in pairs),
        trivial=[f"{key.replace('_', ' ')} {three(value)}" for key, value in study["trivial"].items()],
    )  # fmt: skip


def contrasts(study: Mapping[str, Any]) -> list[tuple[str, Sequence, Sequence]]:
    """(arm, paired, labels_saved) of every arm that was compared with scratch."""
    prefixes = {"pretrained": "", "probe": "probe_"}
    found = [(arm, study[f"{prefix}paired"], study[f"{prefix}labels_saved"]) for arm, prefix in prefixes.items()]
    return [(arm, pairs, saved) for arm, pairs, saved in found if pairs or saved]


# --- in words and numbers -------------------------------------------------------------------------------------------


def _spoken(arms: Mapping[str, Any]) -> str:
    said = []
    for arm, points in arms.items():
        if len(found := _point_table(points)):
            first, last = (f"{number(value)} at {number(n, 0)}" for n, value in found[[0, -1], :2])
            said.append(f"{ARMS[arm]} {first} to {last}")
    return "; ".join(said)


def _at(points: Iterable[Mapping[str, Any]], n: Any) -> Mapping[str, Any]:
    return next((p for p in points if p["n"] == n), known({}))


def _bound(point: Mapping[str, Any]) -> str:
    return "≥ " if point["censored"] else "≤ " if point["at_most"] else ""


def _factor(point: Mapping[str, Any]) -> str:
    factor = number_of(point, "factor")
    return f"{_bound(point)}{number(factor)}×" if math.isfinite(factor) else NOTHING


def _tiles(study: Mapping[str, Any], name: str) -> list[tuple[Any, Any, Any]]:
    """The N nearest to a tenth of all labels, all labels, and where the curves meet."""
    ns, whole = sorted(study["ns"]), study["n_total"]
    (_, pairs, saved), found = next(iter(contrasts(study)), ("", (), ())), []
    word = "Gain" if study.get("higher_is_better", True) else "Change"
    if ns:
        tenth = min(ns, key=lambda n: abs(math.log(n / (0.1 * (whole or ns[-1])))))
        for n in dict.fromkeys([tenth, ns[-1]]):
            if point := _at(pairs, n):
                share = f" ({number(100 * n / whole, 1)} %)" if whole else ""
                gain = words.gain(point, f"pre-trained − scratch in {name}")
                found.append((f"{word} at {number(n)}{share}", *gain))
        if point := _at(saved, tenth):
            low, high = number_of(point, "low"), number_of(point, "high")
            least = number(low) if low > 0 else "less"
            most = number(high) if math.isfinite(high) else "more than measured"
            found.append((f"Labels saved at {number(tenth)}", _factor(point), f"{least} to {most} (95 %)"))
    if "meeting_point" in study:
        meets = study.get("meeting_point")
        note = "labels: from here on nothing clear is gained" if meets else "nowhere: the curves stay apart"
        found.append(("Curves meet at", number(meets), note))
    return found


def _table(study: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Head and rows of every arm and every contrast at every number of labels."""
    arms, against, dev = study["arms"], contrasts(study), study["dev_labels"]
    head = ["labels", *(ARMS[arm] for arm in arms)]
    for arm, _, _ in against:
        head += [f"{'probe' if arm == 'probe' else 'pre-trained'} − scratch", "p", "labels saved"]
        head += [f"with {number(dev)} of dev"] * bool(dev)
    rows = []
    for n in sorted(set(study["ns"]) or {p["n"] for points in arms.values() for p in points}):
        row = [number(n), *(score(_at(points, n)) for points in arms.values())]
        for _, pairs, saved in against:
            here = _at(saved, n)
            row += [score(_at(pairs, n)), words.chance(_at(pairs, n)), _factor(here)]
            row += [_factor(known(here | here["with_dev"]))] if dev and here else [""] * bool(dev)
        rows.append(row)
    return head, rows


def _chosen(study: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of what dev chose, a row an arm and count: every value with how many trainings it won."""
    cells = study["chosen"]
    keys = [key for key in ("lr", "epochs", "depth") if any(key in c for c in cells)]
    rows = []
    for arm, n in dict.fromkeys((c["arm"], c["n"]) for c in cells if keys):
        own = [c for c in cells if (c["arm"], c["n"]) == (arm, n)]
        won = [Counter(f"{c[key]:g}" for c in own if key in c) for key in keys]
        said = [words.listed(*(f"{value} ({times}×)" for value, times in w.most_common())) for w in won]
        rows.append([f"{ARMS[arm]}, {number(n)}", *said])
    return ["labels", *keys], rows


def _beside(study: Mapping[str, Any]) -> list[tuple[str, list[Any], list[Any]]]:
    """(whose, head, rows) of all scores of numbers next to each other, all numbers first; a row an arm and count."""
    found = study["beside"]
    flat = {(f["arm"], f["n"], name) for f in study["flat"] for name in f["labels"]}
    tables = []
    for part in dict.fromkeys(part for parts in found.values() for part in parts):
        rows = []
        for arm, n in ((arm, p["n"]) for arm, points in study["arms"].items() for p in points):
            said = ["constant" if (arm, n, part) in flat else ""] * (part != "all")
            own = [score(_at(parts[part][arm], n)) for parts in found.values()]
            rows.append([f"{ARMS[arm]}, {number(n)}", *own, *said])
        head = ["labels", *("presence" if name == "wacc" else metric_name(name) for name in found)]
        tables.append((part, head + [""] * (part != "all"), rows))
    return tables


# --- pictures -------------------------------------------------------------------------------------------------------


def _point_table(points: Any) -> np.ndarray:
    """(N, 4) n, value, low, high of a list of points."""
    rows = [[number_of(p, key) for key in ("n", "value", "low", "high")] for p in points]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _metric(study: Mapping[str, Any]) -> str:
    name = text(study["metric"])
    return metric_name(name) + (", label units" if name.startswith("mae") else "")


def _labels_axis(axes: Any, study: Mapping[str, Any], *, few: bool = True, percent: bool = False) -> None:
    """Number of labels on a log scale, ticks at the N of the study, the share of all labels below."""
    ns = sorted(study["ns"])
    if not ns:
        return
    axes.set_xscale("log")
    axes.minorticks_off()
    edge = max(ns[-1] / ns[0], 2) ** (0.09 if few else 0.04)
    axes.set_xlim(ns[0] / edge, ns[-1] * edge)
    room = math.log(ns[-1] / ns[0] or 1) / (3 if few else 7) * 0.9  # smallest distance of two tick labels
    shown = [ns[-1]]
    for n in reversed(ns[:-1]):
        if math.log(shown[-1] / n) >= room:
            shown.append(n)
    whole = study["n_total"]
    share = [f"\n{100 * n / whole:.2g} %" if whole and percent else "" for n in shown]
    axes.set_xticks(shown, [f"{n:,}{s}".replace("1e+02", "100") for n, s in zip(shown, share, strict=True)])


def _curves(axes: Any, arms: Mapping[str, Any], size: float = 6) -> list[tuple[str, float]]:
    """Lines with bands; returns (arm, value) of every right end."""
    ends = []
    for arm, points in arms.items():
        if not len(table := _point_table(points)):
            continue
        (n, value, low, high), (colour, marker) = table.T, LOOKS[arm]
        axes.fill_between(n, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(n, value, color=colour, marker=marker, markersize=size, label=ARMS[arm], zorder=3)
        if math.isfinite(value[-1]):
            ends.append((arm, value[-1]))
    return ends


def _trivial(axes: Any, trivial: Mapping[str, Any], size: float = 11) -> None:
    """Dotted levels that need no labels at all; equal ones share a name."""
    levels: dict[float, list[str]] = {}
    for name, entry in trivial.items():
        if math.isfinite(value := number_of(entry)):
            levels.setdefault(round(value, 3), []).append(text(name).replace("_", " "))
    low, high = (f([edge, *levels]) for f, edge in zip((min, max), axes.get_ylim(), strict=True))
    axes.set_ylim(low - 0.06 * (high - low), high)
    gap = 1.4 * size * (high - low) / axes.bbox.height  # a line of text in scores; figures have 72 dpi
    right = axes.get_yaxis_transform()  # x in axes widths, y in scores
    for level, place in zip(levels, charts.spread([v - gap * 0.6 for v in levels], gap), strict=True):
        axes.axhline(level, color=SOFT, linewidth=1.3, linestyle=DOTTED)
        said = f"{', '.join(levels[level])} {number(level)}"
        look = {"color": SOFT, "fontsize": size, "bbox": {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}}
        axes.text(0.99, place, said, transform=right, va="center", ha="right", **look)  # no level crosses the words


def _alone(draw: Callable[[Any, Mapping[str, Any], int], None], study: Mapping[str, Any], *, width: int) -> Any:
    """One of the drawings below as a picture."""
    axes = sheet(width, {WIDE: 400, HALF: 290, NARROW: 340}[width]).subplots()
    draw(axes, study, width)
    if width <= 500:
        charts.legend(axes, 1)
    return axes.figure


def _draw_curve(axes: Any, study: Mapping[str, Any], width: int) -> None:
    """The metric over the number of labels, a line and a band for every arm; named at their right ends on a page."""
    ends = _curves(axes, study["arms"])
    _trivial(axes, study["trivial"])
    _labels_axis(axes, study, few=width < 400, percent=True)
    axes.set(xlabel=f"{UNIT} (share of all)", ylabel=_metric(study))
    low, high = axes.get_ylim()
    places = charts.spread([v for _, v in ends], 17 * (high - low) / axes.bbox.height) if width > 500 else []
    for (arm, _), place in zip(ends, places, strict=False):
        charts.beside(axes, ARMS[arm], place, color=LOOKS[arm][0])


def _apart(axes: Any, study: Mapping[str, Any]) -> list[tuple[str, str, float, Sequence, Sequence]]:
    """(colour, marker, factor that keeps neighbours apart on the log axis, paired, labels_saved) of every contrast;
    named in the legend where there are several."""
    found, ns = contrasts(study), study["ns"]
    step = (max(ns) / min(ns)) ** 0.022 if ns else 1.0
    for arm, _, _ in found if len(found) > 1 else ():
        charts.named(axes, ARMS[arm], *LOOKS[arm])
    return [
        (*LOOKS[arm], step ** (k - (len(found) - 1) / 2), pairs, saved) for k, (arm, pairs, saved) in enumerate(found)
    ]


def _draw_paired(axes: Any, study: Mapping[str, Any], width: int) -> None:
    """What pre-training added at every N: paired difference with its interval; filled where it is clear of zero."""
    axes.axhline(0, color=INK, linewidth=1.2)
    for colour, marker, place, pairs, _ in _apart(axes, study):
        for x, *ends in _point_table(pairs):
            clear = ends[1] > 0 if study.get("higher_is_better", True) else ends[2] < 0
            fill: dict[str, Any] = {"markerfacecolor": colour if clear else PAPER, "markeredgewidth": 1.8}
            dot(axes, x * place, ends, colour, marker, **fill)
    _labels_axis(axes, study)
    axes.margins(y=0.12)
    axes.set(xlabel=UNIT, ylabel=f"difference in {_metric(study)}")


def _draw_saved(axes: Any, study: Mapping[str, Any], width: int) -> None:
    """How many times as many labels the control needs; a triangle is a lower bound (never reached)."""
    top, most, sides = 2.0, max(study["ns"], default=1), _apart(axes, study)
    for colour, marker, place, _, saved in sides:
        for point in saved:
            x, y, low, high = (number_of(point, key) for key in ("n", "factor", "low", "high"))
            if not y > 0:
                continue
            bound = _bound(point)
            ends = [low if low > 0 else y, high if math.isfinite(high) else max(y, most / x)]
            dot(axes, x * place, (y, *ends), colour, {"≥ ": "^", "≤ ": "v"}.get(bound, marker), 8 if bound else 7)
            if len(sides) == 1:  # two arms would write over each other; the table has the numbers
                above = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
                axes.annotate(f"{bound}{number(y, 1)}×", (x, max(y, *ends)), **above)
            top = max(top, *ends)
    axes.axhline(1, color=INK, linewidth=1.2)
    axes.set_yscale("log", base=2)
    axes.set_ylim(min(axes.get_ylim()[0], 0.8), top * 1.4)
    axes.yaxis.set_major_formatter("{x:g}×")
    axes.minorticks_off()
    _labels_axis(axes, study)
    axes.set(xlabel=UNIT, ylabel="labels scratch needs, factor")


def _per_class(study: Mapping[str, Any], *, width: int) -> Any:
    """The learning curve of every emotion, on one scale."""
    classes = study["per_class"]
    across = min(4 if width > 500 else 2, max(len(classes), 1))
    down = max(-(-len(classes) // across), 1)
    drawn = sheet(width, 150 * down + (60 if width > 500 else 100))
    grid = drawn.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for k, (axes, (name, arms)) in enumerate(zip(grid, classes.items(), strict=False)):
        _curves(axes, arms, size=4)
        axes.set_title(charts.short(name, 20 if width > 500 else 16))
        axes.tick_params(labelbottom=k + across >= len(classes))
        _labels_axis(axes, study)
    for axes in grid[len(classes) :]:
        axes.set_visible(False)
    charts.legend(grid[0], 1 if width <= 500 else 4)
    drawn.supxlabel(UNIT, color=SOFT, fontsize=11)
    own = "recall" if study["metric"] in ("ua", "wa") else _metric(study)
    drawn.supylabel(f"{own} of the class", color=SOFT, fontsize=11)
    return drawn


def _overview(study: Mapping[str, Any], *, width: int) -> Any:
    """Curve, paired difference and labels saved in one picture: the one for a paper or a README. Without anything to
    compare, the curve alone."""
    if not any(pairs for _, pairs, _ in contrasts(study)):
        drawn = sheet(width, 380)
        _draw_curve(drawn.subplots(), study, width)
        return drawn
    drawn = sheet(width, 700)
    top, bottom = drawn.subfigures(2, 1, height_ratios=[1.3, 1], hspace=0.04)
    grid = top.subplots(), *bottom.subplots(1, 2)
    titles = "What the labels buy", "What pre-training adds", "Labels saved"
    for draw, axes, title in zip((_draw_curve, _draw_paired, _draw_saved), grid, titles, strict=True):
        draw(axes, study, width)
        axes.set_title(title, fontweight="bold")
    return drawn


study_figure = partial(charts.save, _overview)  # as files
