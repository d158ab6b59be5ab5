"""What `prepare` found in a corpus, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from sottovoce.report import _words as words
from sottovoce.report import charts, page
from sottovoce.report.charts import number_of
from sottovoce.report.page import NOTHING, Html, number, tag, text


def data_page(report: Mapping[str, Any]) -> str:
    """What is in a corpus: counts, durations, problems, and what the folds keep apart.

    Keys: corpus, source, licence, utterances, hours, speakers, counts {label: {class: n}}, speakers_by, genders,
    numbers {label: {n, min, mean, median, max}}, cross {title: {row: {column: n}}}, durations_s {min, median, mean,
    max, histogram {edges, counts}}, sample_rates, channels, problems {kind: [...]}, folds [{name, group, train, dev,
    test, classes}], warnings.
    """
    get = report.get
    spans, body = get("durations_s") or {}, []
    body.append(page.warnings(get("warnings")))
    body.append(
        page.tiles(
            [
                ("Utterances", number(get("utterances")), "stretches of speech"),
                ("Speech", _hours(get("hours")) or NOTHING, f"median {number(spans.get('median'), 2)} s each"),
                ("Speakers", number(get("speakers")), _genders(get("genders"))),
                (
                    "Problems",
                    NOTHING if get("problems") is None else _problems(get("problems")),
                    "files that need a look",
                ),
            ]
        )
    )
    counted = [
        page.join([tag("h3", words.title(label)), page.bars(counts, label=f"utterances by {label}")])
        for label, counts in (get("counts") or {}).items()
        if counts
    ]
    for title, rows in (get("cross") or {}).items():
        columns = list(dict.fromkeys(c for row in rows.values() for c in row))
        grid = page.heat(list(rows), columns, [[row.get(c, 0) for c in columns] for row in rows.values()], label=title)
        if columns:
            counted.append(page.join([tag("h3", words.title(title).replace(" x ", " × ")), grid]))
    if counted:
        body.append(page.section("Classes", page.pair(*counted), tag("p", "Utterances, and their share of the row.")))
    if numbers := get("numbers"):
        parts = ("n", "min", "mean", "median", "max")
        rows = [[label, *(number(found.get(part)) for part in parts)] for label, found in numbers.items()]
        body.append(page.section("Numbers", page.table(["", *parts], rows, label="summary of the numeric labels")))
    body.append(_durations(spans, get("utterances")))
    if by := get("speakers_by"):
        least, most = min(by.values()), max(by.values())
        few = (
            f"{number(least)} utterances each"
            if least == most
            else f"{number(least)} to {number(most)} utterances each"
        )
        chart = page.bars(by, label="utterances by speaker")
        body.append(
            page.section("Speakers", tag("p", few), chart if len(by) <= 12 else page.folded("all speakers", chart))
        )
    rates = {f"{rate} Hz": n for rate, n in (get("sample_rates") or {}).items()}
    channels = {_channels(c): n for c, n in (get("channels") or {}).items()}
    if rates or channels:
        files = [page.bars(found, label=f"files by {what}", unit="files") if found else None
                 for what, found in (("sample rate", rates), ("channels", channels))]  # fmt: skip
        body.append(page.section("Audio format", page.pair(*files)))
    body.append(_problem_section(get("problems")))
    body.append(_fold_section(get("folds")))
    source = {"Source": get("source"), "Licence": get("licence")}
    if any(source.values()):
        body.append(page.section("Where it comes from", page.facts(source)))
    lede = words.listed(
        words.count(get("utterances"), "utterance"), words.count(get("speakers"), "speaker"), _hours(get("hours"))
    )
    return page.document("data report", get("corpus") or "Corpus", *body, lede=lede)


def _hours(hours: Any) -> str:
    return "" if hours is None else f"{number(hours, 2)} h"


def _channels(count: Any) -> str:
    return {"1": "mono", "2": "stereo"}.get(str(count), f"{count} channels")


def _genders(genders: Mapping[str, int] | None) -> str:
    return ", ".join(f"{number(n)} {name or 'unknown'}" for name, n in (genders or {}).items())


def _problems(problems: Mapping[str, Sequence] | None) -> int:
    return sum(len(found) for found in (problems or {}).values())


def _durations(spans: Mapping[str, Any], utterances: Any) -> Html:
    bins = spans.get("histogram") or {}
    if not len(charts.series(bins.get("counts"))):
        return Html("")
    middle = number_of(spans.get("median"))
    facts = ", ".join(f"{key} {number(spans.get(key), 2)} s" for key in ("min", "median", "mean", "max"))
    picture = charts.figure(
        lambda width: charts.histogram(
            bins.get("edges"), bins["counts"], xlabel="duration, s", ylabel="utterances", median=middle, width=width
        ),
        "durations",
        f"Length of the utterances: {facts}; n = {number(utterances)}.",
        f"Histogram of utterance durations: {facts}",
    )
    return page.section("Durations", picture)


PROBLEMS = {
    "broken": "cannot be read",
    "silent": "silent",
    "duplicate": "the same audio twice",
    "clipped": "clipped",
    "short": "too short",
    "non_finite": "values that are not finite",
}


def _problem_section(problems: Mapping[str, Sequence] | None) -> Html:
    if problems is None:
        return Html("")
    if not _problems(problems):
        return page.section("Problems", tag("p", "No file is broken, silent, clipped or there twice."))
    lists = []
    for kind, found in problems.items():
        if not found:
            continue
        lines = [tag("li", _problem(item)) for item in found[:200]]
        more = tag("p", f"and {len(found) - 200:,} more, in report.json") if len(found) > 200 else None
        name = PROBLEMS.get(kind, text(kind).replace("_", " "))
        lists.append(page.folded(f"{len(found):,} × {name}", tag("ul", lines), more))
    return page.section("Problems", lists)


def _problem(item: Any) -> Any:
    if isinstance(item, Mapping):
        return page.join([tag("code", item.get("path", NOTHING)), ": " if item.get("why") else "", item.get("why")])
    if isinstance(item, (list, tuple)):
        return page.join([[" = " if k else "", tag("code", part)] for k, part in enumerate(item)])
    return tag("code", item)


def _fold_section(folds: Sequence[Mapping[str, Any]] | None) -> Html:
    if not folds:
        return Html("")
    groups = sorted({str(f.get("group") or "none") for f in folds})
    apart = "Folds keep apart: " + ", ".join(groups) + ". No value of it in test occurs in train or dev."
    leaky = "Folds share speakers between training and test: scores will be too good."
    rows = [[f.get("name"), f.get("group"), *(number(words.size(f.get(side))) for side in SIDES)] for f in folds]
    body = [page.banner(leaky) if "none" in groups else tag("p", apart)]
    body.append(page.table(["fold", "apart by", *SIDES], rows, label="sizes of the folds"))
    for fold in folds:
        sides = fold.get("classes") or {}
        names = list(dict.fromkeys(c for side in sides.values() for c in side))
        if names:
            cells = [[name, *(number(sides.get(side, {}).get(name, 0)) for side in SIDES)] for name in names]
            grid = page.table(["", *SIDES], cells, label="classes")
            body.append(page.folded(f"classes of {fold.get('name')}", grid))
    return page.section("Folds", body)


SIDES = ("train", "dev", "test")
