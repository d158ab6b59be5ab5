"""Which of several runs is better, and whether that could be chance."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sottovoce.report import charts, page, words
from sottovoce.report.charts import ACCENT, MARKERS, PLAIN, SERIES
from sottovoce.report.known import known
from sottovoce.report.words import INTERVAL, metric_name, number, number_of, text, three


def compare_page(found: Mapping[str, Any]) -> str:
    """Systems side by side: scores, paired differences from the first, every class, what else differs.

    Keys: title, metric, higher_is_better, reference, systems [{name, seeds, metrics {name: {value, low, high}},
    difference {name: {value, low, high, p, p_holm}}, detectable, by_seed, trainings_counted}], warnings,
    task {kind, classes}, n, speakers, left_out, differs {setting: {system: value}}, protocol {..., first_line}.
    """
    found = known(found)
    if left := found["left_out"]:
        said = f"{number(left)} utterances left out: not every system answered them."
        found = known({**found, "warnings": [*found["warnings"], said]})
    metric, systems, reference = found["metric"], list(found["systems"]), text(found["reference"])
    name, others = metric_name(metric), [s for s in systems if s["difference"]]
    return page.render(
        "compare.html", found, glossary=words.glossary(systems[0]["metrics"] if systems else ()),
        reference=reference, name=name, facts=words.sample(found), interval=INTERVAL,
        tiles=[(s["name"], *words.gain(s["difference"][metric], f"{name} minus that of {reference}"))
               for s in others[:4]],
        verdicts=[_gap_verdict(s, found) for s in others],
        draw=systems and partial(_comparison, found), rows=[_row(s, metric) for s in systems],
        classes=_classes_beside(systems, others, found, reference), names=[s["name"] for s in systems],
        differs=[(key, *(str(values.get(s["name"])) for s in systems)) for key, values in found["differs"].items()],
    )  # fmt: skip


def _row(system: Mapping[str, Any], metric: str) -> list[Any]:
    gap, seeds = system["difference"][metric], system["by_seed"]
    own = f"{three(min(seeds))} to {three(max(seeds))}" if len(seeds) > 1 else ""
    tested = [gap, words.chance(gap), three(system["detectable"])] if gap else ["", "", ""]
    return [system["name"], len(system["seeds"]), system["metrics"][metric], own, *tested]


def _gap_verdict(system: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """One sentence that claims no more than the interval does."""
    gap, name, reference = system["difference"][found["metric"]], text(system["name"]), text(found["reference"])
    low, high = number_of(gap, "low"), number_of(gap, "high")
    if not math.isfinite(low + high):
        return f"{name}: too few speakers to say anything. Four at least, and they have to differ."
    clear = number_of(gap, "p_holm") < 0.05 and not low <= 0 <= high
    whose = "speakers" if found["speakers"] else "recordings"
    luck = "" if system.get("trainings_counted", True) else " One training each tells nothing of the next training."
    if not clear:
        least = number_of(system["detectable"])
        seen = f"these {whose} would show a difference of {three(least)} or more"
        return f"{name} cannot be told from {reference}" + (f": {seen}." if math.isfinite(least) else ".") + luck
    better = (low > 0) == bool(found.get("higher_is_better", True))
    return f"{name} is {'better' if better else 'worse'} than {reference}, p {words.chance(gap)}.{luck}"


def _comparison(found: Mapping[str, Any], *, width: int) -> Any:
    """Scores at the left, differences from the reference at the right, a row for every system."""
    metric, rows, least = found["metric"], [], []
    for s in found["systems"]:
        gap = s["difference"][metric]
        rows.append((text(s["name"]), {metric: s["metrics"][metric], "gap": gap}, ACCENT if gap else PLAIN))
        least.append({"gap": (-1 if number_of(gap) < 0 else 1) * number_of(s["detectable"])})
    gap_title = f"{metric_name(metric)} − {charts.short(found['reference'], charts.letters(width))}"
    return charts.dots(rows, [metric, "gap"], {"gap": 0.0}, least, {"gap": gap_title}, width=width)


def _classes_beside(systems: Sequence[Any], others: Sequence[Any], found: Any, reference: str) -> dict[str, Any]:
    """The recall (or CCC) of every class, systems next to each other."""
    task = found["task"]
    stem = "recall" if task["kind"] == "class" else "ccc"
    parts = [c for c in task["classes"] if any(f"{stem}_{c}" in s["metrics"] for s in systems)]
    if not parts:
        return {}
    named = [(text(s["name"]), s["metrics"]) for s in systems]
    rows = [
        [part, *(s["metrics"][f"{stem}_{part}"] for s in systems),
         *(s["difference"][f"{stem}_{part}"] for s in others)]
        for part in parts
    ]  # fmt: skip
    return {
        "title": "Emotion by emotion" if list(task["target"]) == ["emotion"] else "One by one", "rows": rows,
        "head": ["", *(name for name, _ in named), *(f"{text(s['name'])} − {reference}" for s in others)],
        "stem": stem, "score": words.title(metric_name(stem)), "draw": partial(_by_class, named, parts, stem),
    }  # fmt: skip


def _by_class(systems: Sequence[tuple[str, Mapping[str, Any]]], parts: Sequence[str], stem: str, *, width: int) -> Any:
    """A score of every class, one mark and interval a system: [(name, {"<stem>_<class>": {"value", ...}})]."""
    height, step = 70 + 22 * len(systems) + len(parts) * (14 + 11 * len(systems)), 0.7 / len(systems)
    axes = charts.sheet(width, height).subplots()
    for k, (name, scores) in enumerate(systems):
        colour, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
        for y, part in enumerate(parts):
            ends = [number_of(scores[f"{stem}_{part}"], end) for end in ("value", "low", "high")]
            charts.dot(axes, y + step * (k - (len(systems) - 1) / 2), ends, colour, marker, 6, across=True)
        charts.named(axes, charts.short(name, 40 if width > 500 else 32), colour, marker, 6)
    charts.named_rows(axes, parts, width)
    axes.set_xlim(left=min(axes.get_xlim()[0], 0.0))
    axes.set(xlabel=metric_name(stem))
    charts.legend(axes, 1 if width < 500 else min(len(systems), 3))
    return axes.figure


compare_figure = partial(charts.save, _comparison)  # the first picture of the page, as files
