"""Whether confidence can be trusted, and what is gained by saying "unsure": a section of the page of `evaluate`."""

import math
from collections.abc import Mapping
from typing import Any

from sottovoce.report import charts, words
from sottovoce.report.words import percent, score


def section(found: Mapping[str, Any]) -> dict[str, Any]:
    """Two pictures, a sentence, and a table.

    Keys: metrics and before {ece, brier, nll: {value, low, high}}, perfect_ece, temperatures, fitted_on, reliability
    and reliability_before [{confidence, accuracy, n}], risk_coverage [{coverage, risk}], aurc, operating_point
    {threshold, coverage, answered {ua, wa}}.
    """
    if not found:
        return {}
    point, now, before = found["operating_point"], found["metrics"], found["before"]
    coverage, answered = point["coverage"]["value"], point["answered"]
    heats = ", ".join(words.number(t, 2) for t in found["temperatures"])
    said = (
        f"With confidence {point['threshold']} or more, {percent(coverage)} of the utterances are answered, "
        f"{percent((answered.get('wa') or {}).get('value'))} of them right; the others are “unsure”."
    )
    fitted = f"Temperature {heats}, fitted on dev." if found["fitted_on"] else "Not calibrated: a fold has no dev part."
    rows = [
        ["calibration error (ECE)", score(before["ece"]), score(now["ece"])],
        ["Brier score", score(before["brier"]), score(now["brier"])],
        ["negative log likelihood", score(before["nll"]), score(now["nll"])],
    ]
    more = {
        "ECE of a perfect model": words.number(found["perfect_ece"]),
        "answered": score(point["coverage"]),
        "UA of what is answered": score(answered.get("ua")),
        "AURC": words.number(found["aurc"]),
    }
    return {
        "said": said, "fitted": fitted, "rows": rows, "more": more,
        "reliability": charts.figure(
            lambda width: _reliability(found, width), "reliability",
            "Share of right answers by confidence, size by number of utterances; hollow: before calibration. On the "
            "dashed line confidence is what it says.", "Accuracy over confidence", width=charts.HALF,
        ),
        "coverage": charts.figure(
            lambda width: _coverage(found, width), "coverage",
            "Share of wrong answers when only the surest share is answered. The dot: “unsure” below it.",
            "Risk over coverage", width=charts.HALF,
        ),
    }  # fmt: skip


def _reliability(found: Mapping[str, Any], width: int) -> Any:
    drawn = charts.sheet(width, 300)
    axes = drawn.subplots()
    axes.plot([0, 1], [0, 1], color=charts.INK, linewidth=1.2, linestyle=charts.DASHED)
    for key, colour, face in (("reliability_before", charts.PLAIN, "none"), ("reliability", charts.ACCENT, None)):
        rows = found[key]
        most = max(row["n"] for row in rows)
        sizes = [12 + 100 * row["n"] / most for row in rows]
        places = [row["confidence"] for row in rows], [row["accuracy"] for row in rows]
        axes.scatter(*places, s=sizes, edgecolors=colour, facecolors=face or colour, linewidths=1.4, zorder=3)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.04, 1.04), xlabel="confidence", ylabel="accuracy")
    return drawn


def _coverage(found: Mapping[str, Any], width: int) -> Any:
    drawn = charts.sheet(width, 300)
    axes, rows = drawn.subplots(), found["risk_coverage"]
    axes.plot([row["coverage"] for row in rows], [row["risk"] for row in rows], color=charts.ACCENT)
    if own := [row for row in rows if row["threshold"] >= found["operating_point"]["threshold"]]:
        charts.dot(axes, own[-1]["coverage"], (own[-1]["risk"], math.nan, math.nan), charts.ACCENT)
    axes.set(xlim=(-0.02, 1.02), xlabel="coverage", ylabel="risk")
    axes.set_ylim(bottom=0)
    return drawn
