"""What several pages say in the same words: scores, counts, the protocol card."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sottovoce.metrics import scores
from sottovoce.report import _old_charts as charts, _old_page as page
from sottovoce.report._old_charts import metric_name, number_of
from sottovoce.report._old_page import NOTHING, Html, number, tag, text

ACCENT, SECOND, PLAIN = page.LIGHT["c0"], page.LIGHT["c1"], page.LIGHT["soft"]
MEANING = {
    "wa": "share of all utterances that are right",
    "ua": "mean of the class recalls: every emotion counts the same",
    "macro_f1": "mean F1 over the classes",
    "mae": "mean absolute error, in label units; lower is better",
    "acc4": "intensities rounded to 0, 1, 2, 3 that are right",
    "per": "edits over reference phones; lower is better",
    "acc2": "sign of the sentiment that is right",
    "acc7": "sentiment rounded to −3 … 3 that is right",
    "wacc": "presence of an emotion, both sides weighted the same",
    "f1": "F1 of the presence of an emotion",
    "f1w": "F1 of the presence of an emotion, weighted by class",
    "ccc": "concordance correlation, 1 is perfect",
}
INTERVAL = "The thick line is the 95 % interval"


def score(entry: Any) -> Html:
    """A value and its interval, "0.621 [0.586, 0.655]"."""
    low, high = three(entry, "low"), three(entry, "high")
    between = tag("span", f" [{low}, {high}]", class_="range") if NOTHING not in (low, high) else None
    return page.join([three(entry), between])


def three(entry: Any, part: str = "value") -> str:
    """A score as it is printed everywhere: three decimals."""
    return number(number_of(entry, part), fixed=True)


def listed(*parts: Any) -> str:
    return " · ".join(str(p) for p in parts if p)


def count(n: Any, one: str, many: str | None = None) -> str:
    return "" if n is None else f"{number(n)} {one if n == 1 else many or one + 's'}"


def size(side: Any) -> Any:
    return len(side) if hasattr(side, "__len__") and not isinstance(side, str) else side


def percent(share: Any, digits: int = 0) -> str:
    return NOTHING if not math.isfinite(number_of(share)) else f"{number(100 * number_of(share), digits)} %"


def title(key: Any) -> str:
    said = text(key).replace("_", " ")
    return said[:1].upper() + said[1:]


def between(entry: Any, name: str) -> str:
    low, high = number_of(entry, "low"), number_of(entry, "high")
    said = MEANING.get(name, "")
    if math.isfinite(low) and math.isfinite(high):
        return f"{number(low, fixed=True)} to {number(high, fixed=True)} (95 %)" + (f"; {said}" if said else "")
    return said


def dots(rows: Sequence[Any], titles: Sequence[Any], name: str, caption: str, alt: str, **marks: Any) -> Html:
    return charts.figure(lambda width: charts.dots(rows, titles, width=width, **marks), name, caption, alt)


def panel_title(name: str) -> str:
    return metric_name(name) + ("" if scores.higher_is_better(name) else ", lower is better")


def protocol(found: Any) -> tuple[Any, dict[str, Any]]:
    """Its first line, which goes to the top of the page, and the rest."""
    rest = dict(found) if isinstance(found, Mapping) else {"protocol": found} if found else {}
    return rest.pop("first_line", None), rest


def card(report: Mapping[str, Any], protocol: dict[str, Any]) -> Html:
    seconds = report.get("seconds")
    card = protocol | {"time": None if seconds is None else page.duration(seconds), "hardware": report.get("hardware")}
    shown = {title(key): value for key, value in card.items() if value not in (None, "")}
    return page.section("Protocol", page.facts(shown)) if shown else Html("")


def chance(point: Mapping[str, Any]) -> str:
    """p of a paired difference, the corrected one where there is one."""
    p = number_of(point, "p_holm" if point.get("p_holm") is not None else "p")
    least = " (least possible)" if point.get("p_floor") else ""
    return ("< 0.001" if p < 0.001 else number(p, fixed=True)) + least
