"""Whether confidence can be trusted, and what is gained by saying "unsure": a section of the page of `evaluate`."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from sottovoce.report import charts


def section(found: Mapping[str, Any]) -> dict[str, Any]:
    """Two pictures beside what was found.

    Keys: metrics and before {ece, brier, nll: {value, low, high}}, perfect_ece, temperatures, fitted_on, reliability
    and reliability_before [{confidence, accuracy, n}], risk_coverage [{coverage, risk}], aurc, operating_point
    {threshold, coverage, answered {ua, wa}}.
    """
    if not found:
        return {}
    return {**found, "drawn": {"reliability": partial(_reliability, found), "coverage": partial(_coverage, found)}}


def _reliability(found: Mapping[str, Any], width: int) -> Any:
    axes = charts.sheet(width, 300).subplots()
    axes.plot([0, 1], [0, 1], color=charts.INK, linewidth=1.2, linestyle=charts.DASHED)
    for key, colour, face in (("reliability_before", charts.PLAIN, "none"), ("reliability", charts.ACCENT, None)):
        rows = found[key]
        most = max(row["n"] for row in rows)
        sizes = [12 + 100 * row["n"] / most for row in rows]
        places = [row["confidence"] for row in rows], [row["accuracy"] for row in rows]
        axes.scatter(*places, s=sizes, edgecolors=colour, facecolors=face or colour, linewidths=1.4, zorder=3)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.04, 1.04), xlabel="confidence", ylabel="accuracy")
    return axes.figure


def _coverage(found: Mapping[str, Any], width: int) -> Any:
    axes, rows = charts.sheet(width, 300).subplots(), found["risk_coverage"]
    axes.plot([row["coverage"] for row in rows], [row["risk"] for row in rows], color=charts.ACCENT)
    if own := [row for row in rows if row["threshold"] >= found["operating_point"]["threshold"]]:
        charts.dot(axes, own[-1]["coverage"], (own[-1]["risk"], math.nan, math.nan), charts.ACCENT)
    axes.set(xlim=(-0.02, 1.02), xlabel="coverage", ylabel="risk")
    axes.set_ylim(bottom=0)
    return axes.figure
