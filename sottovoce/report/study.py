"""What pre-training is worth, label by label."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sottovoce.report import _old_words as words
from sottovoce.report import _old_charts as charts
from sottovoce.report import _old_page as page
from sottovoce.report._old_words import score
from sottovoce.report._old_charts import HALF, metric_name, number_of
from sottovoce.report._old_page import NOTHING, Html, number, tag


def study_page(study: Mapping[str, Any]) -> str:
    """What pre-training is worth at every number of labels, against the identical backbone from scratch.

    Keys: metric, higher_is_better, unit, ns, n_total, arms {arm: [{n, value, low, high}]}, trivial {name: value},
    paired [{n, value, low, high, p}], labels_saved [{n, factor, low, high, censored, at_most, with_dev {factor, low,
    high}}], probe_paired and probe_labels_saved likewise, per_class {class: {arm: [...]}}, meeting_point, dev_labels,
    seeds, folds, speakers, warnings, config, protocol, title. `unit` is what labels are counted in, "labelled
    utterances".
    """
    get = study.get
    first, protocol = words.protocol(get("protocol"))
    arms, name = get("arms") or {}, metric_name(get("metric") or "score")
    runs = " × ".join(
        filter(None, [words.count(words.size(get("seeds")), "seed"), words.count(words.size(get("folds")), "fold")])
    )
    sizes = [runs, words.count(words.size(get("speakers")), "speaker"), f"n = {number(get('n_total'))} labels"]
    base = ", ".join(filter(None, sizes))

    def drawn(chart: Callable[..., Any], caption: str, alt: str, *, width: int = charts.WIDE) -> Html:
        name = chart.__name__.replace("_", "-")
        return charts.figure(lambda wide: chart(study, width=wide), name, f"{caption} {base}.", alt, width=width)

    body: list[Any] = [page.banner(first) if first else None, page.warnings(get("warnings"))]
    body.append(page.tiles(_study_tiles(study, name)))
    if arms:
        caption = "Lines are means over seeds and folds, bands 95 % intervals; dotted: what needs no labels at all."
        alt = f"{name} over the number of labelled utterances: {_spoken(arms)}"
        body.append(page.section("What the labels buy", drawn(charts.learning_curve, caption, alt)))
    small = []
    if any(pairs for _, pairs, _ in charts.contrasts(study)):
        side = "Above" if get("higher_is_better", True) else "Below"
        caption = (
            "Same labels, seed and fold: pre-trained − scratch, with its 95 % interval. "
            f"{side} zero pre-training helps; hollow: not clear of zero."
        )
        picture = drawn(charts.paired, caption, f"Paired difference in {name} at every number of labels", width=HALF)
        small.append(page.join([tag("h3", "What pre-training adds"), picture]))
    if any(saved for _, _, saved in charts.contrasts(study)):
        caption = (
            "How many times as many labels the backbone from scratch needs for the same score, with its 95 % interval; "
            "triangle up: at least, as it never got there; down: at most."
        )
        picture = drawn(charts.labels_saved, caption, "Labels saved at every number of labels", width=HALF)
        small.append(page.join([tag("h3", "Labels saved"), picture]))
    if small:
        body.append(page.section("Pre-trained against scratch", page.pair(*small)))
    if get("per_class"):
        score_name = "Recall" if get("metric") in ("ua", "wa") else name
        caption = f"{score_name} of every class over the number of labels, bands 95 % intervals."
        alt = f"{score_name} by class over the number of labelled utterances"
        body.append(page.section("Emotion by emotion", drawn(charts.per_class, caption, alt)))
    body.append(_study_table(study))
    body.append(words.card(study, protocol | {key: get(key) for key in ("seeds", "folds", "speakers")}))
    body.append(page.settings(get("config") or {}))
    title = get("title") or "How many labels does pre-training save?"
    return page.document("label study", title, *body, lede=words.listed(name, base))


def _spoken(arms: Mapping[str, Any]) -> str:
    said = []
    for arm, points in arms.items():
        found = charts.point_table(points)
        if len(found):
            first, last = (f"{number(value)} at {number(n, 0)}" for n, value in found[[0, -1], :2])
            said.append(f"{charts.arm_name(arm)} {first} to {last}")
    return "; ".join(said)


def _at(points: Iterable[Mapping[str, Any]], n: Any) -> Mapping[str, Any]:
    return next((p for p in points if p.get("n") == n), {})


def _factor(point: Mapping[str, Any]) -> str:
    factor = number_of(point, "factor")
    bound = "≥ " if point.get("censored") else "≤ " if point.get("at_most") else ""
    return f"{bound}{number(factor)}×" if math.isfinite(factor) else NOTHING


def _contrast(study: Mapping[str, Any]) -> tuple[str, Sequence, Sequence]:
    """The arm that is held against scratch first, its paired differences and the labels it saves."""
    return next(iter(charts.contrasts(study)), ("", (), ()))


def _study_tiles(study: Mapping[str, Any], name: str) -> list[tuple[Any, Any, Any]]:
    """The N nearest to a tenth of all labels, all labels, and where the curves meet."""
    ns, whole = sorted(n for n in study.get("ns") or () if n), study.get("n_total")
    pairs, saved, found = *_contrast(study)[1:], []
    word = "Gain" if study.get("higher_is_better", True) else "Change"
    if ns:
        tenth = min(ns, key=lambda n: abs(math.log(n / (0.1 * (whole or ns[-1])))))
        for n in dict.fromkeys([tenth, ns[-1]]):
            point = _at(pairs, n)
            if point:
                share = f" ({number(100 * n / whole, 1)} %)" if whole else ""
                sign = "+" if number_of(point) > 0 else ""
                ends = f"{words.three(point, 'low')} to {words.three(point, 'high')}"
                between = f"{ends} (95 %), pre-trained − scratch in {name}"
                found.append((f"{word} at {number(n)}{share}", sign + words.three(point), between))
        if point := _at(saved, tenth):
            low, high = number_of(point, "low"), number_of(point, "high")
            least, most = (
                number(low) if low > 0 else "less",
                number(high) if math.isfinite(high) else "more than measured",
            )
            found.append((f"Labels saved at {number(tenth)}", _factor(point), f"{least} to {most} (95 %)"))
    if "meeting_point" in study:
        meets = study["meeting_point"]
        note = "labels: from here on nothing clear is gained" if meets else "nowhere: the curves stay apart"
        found.append(("Curves meet at", number(meets), note))
    return found


def _study_table(study: Mapping[str, Any]) -> Html:
    arms, against = study.get("arms") or {}, charts.contrasts(study)
    ns = sorted({n for n in study.get("ns") or ()} or {p.get("n") for points in arms.values() for p in points})
    if not ns:
        return Html("")
    rows, dev = [], study.get("dev_labels")
    for n in ns:
        row = [number(n), *(score(_at(points, n)) for points in arms.values())]
        for _, pairs, saved in against:
            here = _at(saved, n)
            row += [score(_at(pairs, n)), words.chance(_at(pairs, n)), _factor(here)]
            row += [_factor(here | here["with_dev"])] if dev and here else [""] * bool(dev)
        rows.append(row)
    trivial = [f"{name.replace('_', ' ')} {words.three(value)}" for name, value in (study.get("trivial") or {}).items()]
    head = ["labels", *map(charts.arm_name, arms)]
    for arm, _, _ in against:
        head += [f"{'probe' if arm == 'probe' else 'pre-trained'} − scratch", "p", "labels saved"]
        head += [f"with {number(dev)} of dev"] * bool(dev)
    holm = any("p_holm" in point for _, pairs, _ in against for point in pairs)
    note = "Values with their 95 % intervals; p of the paired difference" + (", corrected by Holm." if holm else ".")
    note += (
        " Labels saved counts what is taught with; beside it with the dev labels that both choose by." if dev else ""
    )
    note += f" Without any label: {', '.join(trivial)}." if trivial else ""
    return page.section("In numbers", page.table(head, rows, label="scores by number of labels"), tag("p", note))


def study_figure(study: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """Curve, paired difference and labels saved as one picture, in light colours."""
    charts.save(lambda: charts.study_overview(study), path_svg, path_png)
