"""Which of several runs is better, and whether that could be chance."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sottovoce.report import _words as words
from sottovoce.report import charts, page
from sottovoce.report._words import ACCENT, INTERVAL, PLAIN, score
from sottovoce.report.charts import metric_name, number_of
from sottovoce.report.page import Html, number, tag, text


def compare_page(found: Mapping[str, Any]) -> str:
    """Systems side by side: scores, paired differences from the first, every class, what else differs.

    Keys: title, metric, higher_is_better, reference, systems [{name, seeds, metrics {name: {value, low, high}},
    difference {name: {value, low, high, p, p_holm}}, detectable, by_seed, trainings_counted}], warnings,
    task {kind, classes}, n, speakers, left_out, differs {setting: {system: value}}, protocol {..., first_line}.
    """
    get = found.get
    first, protocol = words.protocol(get("protocol"))
    systems, metric = list(get("systems") or ()), get("metric") or "score"
    name, reference = metric_name(metric), text(get("reference") or "")
    others = [s for s in systems if s.get("difference")]
    facts = f"n = {number(get('n'))} utterances, {words.count(get('speakers'), 'speaker') or 'speakers unknown'}"
    body: list[Any] = [page.banner(first) if first else None, page.warnings(get("warnings"))]
    if get("left_out"):
        body.append(page.warnings([f"{number(get('left_out'))} utterances left out: not every system answered them."]))
    body.append(page.tiles(_gap_tile(s, metric, name, reference) for s in others[:4]))
    body.append(tag("ul", *(tag("li", _gap_verdict(s, found)) for s in others)))
    caption = (
        f"{INTERVAL}. Right: {name} minus that of {reference} on the same utterances; hollow: the smallest difference "
        f"that would have been found. {facts}."
    )
    alt = f"{name} of every system and its difference from {reference}"
    picture = charts.figure(lambda width: _comparison(found, width), "compare", caption, alt)
    body.append(page.section(f"Against {reference}", picture))
    rows = []
    for s in systems:
        gap = (s.get("difference") or {}).get(metric) or {}
        seeds = s.get("by_seed") or ()
        own = f"{words.three(min(seeds))} to {words.three(max(seeds))}" if len(seeds) > 1 else ""
        detectable = words.three(s.get("detectable")) if gap else ""
        rows.append([s.get("name"), number(len(s.get("seeds") or ())), score(s["metrics"].get(metric)), own,
                     score(gap) if gap else "", words.chance(gap) if gap else "", detectable])  # fmt: skip
    head = ["", "seeds", f"{name} [95 % interval]", "single seeds", f"− {reference}", "p", "detectable"]
    note = (
        "p of the paired difference, corrected by Holm. Detectable: found four times in five after that, were it true."
    )
    body.append(page.section("In numbers", page.table(head, rows, label="systems side by side"), tag("p", note)))
    body.append(_classes_beside(systems, found, facts))
    if differs := get("differs"):
        names = [s.get("name") for s in systems]
        lines = [[key, *(tag("td", tag("code", str(v.get(n)))) for n in names)] for key, v in differs.items()]
        grid = page.table(["setting", *names], lines, label="settings that differ", wrap=True)
        body.append(page.section("What differs between them", grid))
    body.append(words.card(found, protocol))
    lede = words.listed(
        words.count(len(systems), "system"), words.count(get("n"), "utterance"), words.count(get("speakers"), "speaker")
    )
    return page.document("comparison", get("title") or "Comparison", *body, lede=lede)


def _gap_tile(system: Mapping[str, Any], metric: str, name: str, reference: str) -> tuple[Any, Any, Any]:
    gap = system["difference"].get(metric) or {}
    sign = "+" if number_of(gap) > 0 else ""
    between = f"{words.three(gap, 'low')} to {words.three(gap, 'high')} (95 %), {name} minus that of {reference}"
    return system.get("name"), sign + words.three(gap), between


def _gap_verdict(system: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """One sentence that claims no more than the interval does."""
    metric, reference = str(found.get("metric")), text(found.get("reference"))
    gap, name = system["difference"].get(metric) or {}, text(system.get("name"))
    low, high = number_of(gap, "low"), number_of(gap, "high")
    if not math.isfinite(low + high):
        return f"{name}: too few speakers to say anything. Four at least, and they have to differ."
    clear = number_of(gap, "p_holm") < 0.05 and not low <= 0 <= high
    whose = "speakers" if found.get("speakers") else "recordings"
    luck = "" if system.get("trainings_counted", True) else " One training each tells nothing of the next training."
    if not clear:
        least = number_of(system.get("detectable"))
        seen = f"these {whose} would show a difference of {words.three(least)} or more"
        return f"{name} cannot be told from {reference}" + (f": {seen}." if math.isfinite(least) else ".") + luck
    better = (low > 0) == bool(found.get("higher_is_better", True))
    return f"{name} is {'better' if better else 'worse'} than {reference}, p {words.chance(gap)}.{luck}"


def _comparison(found: Mapping[str, Any], width: int) -> Any:
    """Scores at the left, differences from the reference at the right, a row for every system."""
    metric = str(found.get("metric"))
    rows, least = [], []
    for s in found.get("systems") or ():
        gap = (s.get("difference") or {}).get(metric)
        rows.append((text(s.get("name")), {metric: s["metrics"].get(metric), "gap": gap}, ACCENT if gap else PLAIN))
        side = -1 if number_of(gap) < 0 else 1
        least.append({"gap": side * number_of(s.get("detectable"))})
    titles = [
        (metric, words.panel_title(metric)),
        ("gap", f"{metric_name(metric)} − {charts.short(found.get('reference'))}"),
    ]
    return charts.dots(rows, titles, marks={"gap": 0.0}, rivals=least, width=width)


def _classes_beside(systems: Sequence[Mapping[str, Any]], found: Mapping[str, Any], facts: str) -> Html:
    """The recall (or MAE) of every class, systems beside each other."""
    task = found.get("task") or {}
    stem = "recall" if task.get("kind") == "class" else "mae"
    parts = [c for c in task.get("classes") or () if any(f"{stem}_{c}" in s["metrics"] for s in systems)]
    if not parts:
        return Html("")
    named = [(text(s.get("name")), s["metrics"]) for s in systems]
    title = "Emotion by emotion" if list(task.get("target") or ()) == ["emotion"] else "One by one"
    picture = charts.figure(
        lambda width: charts.by_class(named, parts, stem, width=width),
        "classes",
        f"{metric_name(stem).capitalize()} of every class with its 95 % interval. {facts}.",
        f"{stem} by class and system",
    )
    rows = []
    for part in parts:
        key = f"{stem}_{part}"
        gaps = [score(s["difference"].get(key)) for s in systems if s.get("difference")]
        rows.append([part, *(score(s["metrics"].get(key)) for s in systems), *gaps])
    head = ["", *(name for name, _ in named)]
    head += [f"{text(s.get('name'))} − {text(found.get('reference'))}" for s in systems if s.get("difference")]
    return page.section(title, picture, page.folded("as a table", page.table(head, rows, label="scores by class")))


def compare_figure(found: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """The first picture of `compare_page`, in light colours."""
    charts.save(lambda: _comparison(found, charts.WIDE), path_svg, path_png)
