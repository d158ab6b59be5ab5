"""What `prepare` found in a corpus, and what is wrong with it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts, page, words
from sottovoce.report.charts import series
from sottovoce.report.words import number, number_of

PROBLEMS = {
    "broken": "cannot be read",
    "silent": "silent",
    "duplicate": "the same audio twice",
    "clipped": "clipped",
    "short": "too short",
    "non_finite": "values that are not finite",
}


def data_page(report: Mapping[str, Any]) -> str:
    """What is in a corpus: counts, durations, problems, and what the folds keep apart.

    Keys: corpus, source, licence, utterances, hours, speakers, counts {label: {class: n}}, speakers_by, genders,
    numbers {label: {n, min, mean, median, max}}, cross {title: {row: {column: n}}}, durations_s {min, median, mean,
    max, histogram {edges, counts}}, sample_rates, channels, problems {kind: [...]}, folds [{name, group, train, dev,
    test, classes}], warnings.
    """
    get, spans = report.get, report.get("durations_s") or {}
    problems, cross = get("problems"), {}
    for name, rows in (get("cross") or {}).items():
        names = _names(rows)
        cross[name] = names, [(row, [counts.get(c, 0) for c in names]) for row, counts in rows.items()]
    channels = {"1": "mono", "2": "stereo"}
    return page.render(
        "prepare.html", report, kinds=PROBLEMS, genders=words.genders(get("genders") or {}),
        draw=len(series((spans.get("histogram") or {}).get("counts"))) and partial(_durations, spans),
        hours="" if get("hours") is None else f"{number(get('hours'), 2)} h",
        lengths=", ".join(f"{key} {number(spans.get(key), 2)} s" for key in ("min", "median", "mean", "max")),
        rates={f"{rate} Hz": n for rate, n in (get("sample_rates") or {}).items()},
        channels={channels.get(str(k), f"{k} channels"): n for k, n in (get("channels") or {}).items()},
        troubles=None if problems is None else sum(len(found) for found in problems.values()), cross=cross,
        apart=sorted({str(fold.get("group") or "none") for fold in get("folds") or ()}),
        classes=[(fold.get("name"), [(c, *(sides.get(side, {}).get(c, 0) for side in ("train", "dev", "test")))
                                     for c in _names(sides)])
                 for fold in get("folds") or () if (sides := fold.get("classes") or {})],
    )  # fmt: skip


def _names(rows: Mapping[Any, Any]) -> list[Any]:
    """The keys of every row, each once, in order."""
    return list(dict.fromkeys(name for row in rows.values() for name in row))


def _durations(spans: Mapping[str, Any], *, width: int) -> Any:
    """Histogram of lengths in seconds; its median is dashed."""
    edges, counts = (series(spans["histogram"].get(part)) for part in ("edges", "counts"))
    axes = charts.sheet(width, 210).subplots()
    if len(edges) == len(counts) + 1:
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=charts.ACCENT, edgecolor=charts.PAPER)
    if np.isfinite(median := number_of(spans.get("median"))):
        axes.axvline(median, color=charts.INK, linewidth=1.2, linestyle=charts.DASHED)
        where = {"xycoords": ("data", "axes fraction"), "xytext": (5, -2), "textcoords": "offset points", "va": "top"}
        axes.annotate(f"median {number(median, 2)}", (median, 1), **where)
        axes.set_ylim(top=1.18 * max(counts, default=1))
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="duration, s", ylabel="utterances")
    return axes.figure
