"""What `prepare` found in a corpus, and what is wrong with it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts, page, words
from sottovoce.report.charts import series
from sottovoce.report.known import known
from sottovoce.report.words import number, number_of

SIDES = ("train", "dev", "test")
PROBLEMS = {
    "broken": "cannot be read",
    "silent": "silent",
    "duplicate": "the same audio twice",
    "clipped": "clipped",
    "short": "too short",
    "non_finite": "values that are not finite",
}
SUMMARY = ["n", "min", "mean", "median", "max"]  # of a numeric label


def data_page(report: Mapping[str, Any]) -> str:
    """What is in a corpus: counts, durations, problems, and what the folds keep apart.

    Keys: corpus, source, licence, utterances, hours, speakers, counts {label: {class: n}}, speakers_by, genders,
    numbers {label: {n, min, mean, median, max}}, cross {title: {row: {column: n}}}, durations_s {min, median, mean,
    max, histogram {edges, counts}}, sample_rates, channels, problems {kind: [...]}, folds [{name, group, train, dev,
    test, classes}], warnings.
    """
    report = known(report)
    spans, problems, cross = report["durations_s"], report.get("problems"), {}
    for name, rows in report["cross"].items():
        names = _names(rows)
        cross[name] = names, [(row, [counts.get(c, 0) for c in names]) for row, counts in rows.items()]
    channels = {"1": "mono", "2": "stereo"}
    return page.render(
        "prepare.html", report, kinds=PROBLEMS, genders=words.genders(report["genders"]),
        draw=len(spans["histogram"]["counts"]) and partial(_durations, spans),
        hours="" if report.get("hours") is None else f"{number(report['hours'], 2)} h",
        lengths=", ".join(f"{key} {number(spans[key], 2)} s" for key in ("min", "median", "mean", "max")),
        rates={f"{rate} Hz": n for rate, n in report["sample_rates"].items()},
        channels={channels.get(str(k), f"{k} channels"): n for k, n in report["channels"].items()},
        troubles=None if problems is None else sum(len(found) for found in problems.values()), cross=cross,
        summary=SUMMARY, numbers=[(label, *(f[key] for key in SUMMARY)) for label, f in report["numbers"].items()],
        apart=sorted({str(fold["group"] or "none") for fold in report["folds"]}),
        classes=[(fold["name"], [(name, *(sides[side][name] or 0 for side in SIDES)) for name in _names(sides)])
                 for fold in report["folds"] if (sides := fold["classes"])],
    )  # fmt: skip


def _names(rows: Mapping[Any, Any]) -> list[Any]:
    """The keys of every row, each once, in order."""
    return list(dict.fromkeys(name for row in rows.values() for name in row))


def _durations(spans: Mapping[str, Any], *, width: int) -> Any:
    """Histogram of lengths in seconds; its median is dashed."""
    edges, counts = (series(spans["histogram"][part]) for part in ("edges", "counts"))
    axes = charts.sheet(width, 210).subplots()
    if len(edges) == len(counts) + 1:
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=charts.ACCENT, edgecolor=charts.PAPER)
    if np.isfinite(median := number_of(spans["median"])):
        axes.axvline(median, color=charts.INK, linewidth=1.2, linestyle=charts.DASHED)
        where = {"xycoords": ("data", "axes fraction"), "xytext": (5, -2), "textcoords": "offset points", "va": "top"}
        axes.annotate(f"median {number(median, 2)}", (median, 1), **where)
        axes.set_ylim(top=1.18 * max(counts, default=1))
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="duration, s", ylabel="utterances")
    return axes.figure
