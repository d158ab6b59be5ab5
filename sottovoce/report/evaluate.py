"""How good a run is on unseen speakers, and against what."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sottovoce.metrics import scores as metrics
from sottovoce.report import _words as words
from sottovoce.report import charts, page
from sottovoce.report._words import ACCENT, INTERVAL, PLAIN, score
from sottovoce.report.charts import metric_name, number_of
from sottovoce.report.page import Html, number, tag, text


def evaluate_page(report: Mapping[str, Any]) -> str:
    """How good a run is: main scores with intervals, baselines, confusion, classes, folds, groups, protocol.

    Keys: title, protocol {..., first_line}, task {kind, classes, target}, metrics {name: {value, low, high}},
    folds [{name, n, metrics}], baselines {name: {metrics}}, confusion {classes, counts}, groups {group: {value:
    {name: {...}}}}, examples [{id, reference, heard}], probes [{fold, layers, chosen, probe}], config, n, speakers,
    hardware, seconds. Scores of one class are named `recall_<class>`, ...
    """
    get = report.get
    task, scores = get("task") or {}, get("metrics") or {}
    first, protocol = words.protocol(get("protocol"))
    kind = task.get("kind") or ("number" if "mae" in scores else "class")
    parts = list(task.get("classes") or ()) if kind == "class" else [str(t) for t in task.get("target") or ()]
    main = _main_scores(scores, parts, kind)
    shown = main[:3]
    n, baselines, folds = get("n"), get("baselines") or {}, get("folds") or ()
    body: list[Any] = [page.banner(first) if first else None, page.warnings(get("warnings"))]
    body.append(
        page.tiles(
            (metric_name(m), number(number_of(scores[m]), fixed=True), words.between(scores[m], m)) for m in main[:4]
        )
    )
    rows = [("this model", scores, ACCENT)]
    rows += sorted(
        ((name.replace("_", " "), entry.get("metrics") or {}, PLAIN) for name, entry in baselines.items()),
        key=lambda row: _rank(row[1].get(main[0]) if main else None, main[0] if main else ""),
    )
    facts = f"n = {number(n)} utterances, {words.count(get('speakers'), 'speaker') or 'speakers unknown'}"
    if shown:
        titles = [(m, words.panel_title(m)) for m in shown]
        picture = words.dots(
            rows, titles, "baselines", f"{INTERVAL}. {facts}.", "Scores of this model and of the baselines"
        )
        verdict = tag("p", _verdict(rows, main[0])) if len(rows) > 1 else None
        body.append(page.section("Against the baselines" if baselines else "Scores", verdict, picture))
    body.append(_confusion(get("confusion")))
    body.append(_by_class(scores, baselines, parts, kind, get("n")))
    if len(folds) > 1 and shown:
        each = [(f"{f.get('name', k + 1)}{_n(f.get('n'))}", f.get("metrics") or {}, PLAIN) for k, f in enumerate(folds)]
        caption = f"One dot a fold, n test utterances in brackets; dashed: all folds pooled. {facts}."
        pooled = {m: number_of(scores[m]) for m in shown}
        picture = words.dots(
            each, [(m, metric_name(m)) for m in shown], "folds", caption, "Scores by fold", marks=pooled
        )
        body.append(page.section("Folds", picture))
    for group, values in (get("groups") or {}).items():
        if values and shown:
            each = [(name or "unknown", entry, ACCENT) for name, entry in values.items()]
            titles = [(m, metric_name(m)) for m in shown]
            caption = f"{INTERVAL}. {facts}."
            picture = words.dots(each, titles, f"group-{len(body)}", caption, f"Scores by {text(group)}")
            body.append(page.section(f"By {text(group)}", picture))
    if examples := get("examples"):
        said = [[e.get("id"), e.get("reference"), e.get("heard")] for e in examples]
        grid = page.table(["", "said", "heard"], said, label="examples", wrap=True)
        body.append(page.section("Examples", grid))
    body.append(_probes(get("probes") or ()))
    body.append(words.card(report, protocol))
    every = [[name.replace("_", " "), score(value)] for name, value in scores.items()]
    if every:
        grid = page.table(["score", "value [95 % interval]"], every, label="all scores")
        body.append(page.folded("All scores", grid))
    body.append(page.settings(get("config") or {}))
    many = f"{len(parts)} {'classes' if kind == 'class' else 'targets'}" if parts else ""
    spoken = [
        words.count(n, "utterance"),
        words.count(get("speakers"), "speaker"),
        words.count(len(folds), "fold") if folds else "",
    ]
    return page.document("evaluation", get("title") or "Evaluation", *body, lede=words.listed(many, *spoken))


def _n(n: Any) -> str:
    return "" if n is None else f" ({number(n)})"


def _main_scores(scores: Mapping[str, Any], parts: Sequence[str], kind: str) -> list[str]:
    """Scores of the whole, the one that chooses models first."""
    own = [name for name in scores if not any(name.endswith(f"_{part}") for part in parts)]
    order = ["ua", "wa", "macro_f1"] if kind == "class" else ["mae", "acc4", "ccc", "per"]
    return sorted(own, key=lambda name: order.index(name) if name in order else len(order))


def _rank(entry: Any, name: str) -> float:
    value = number_of(entry)
    value = value if metrics.higher_is_better(name) else -value
    return -value if math.isfinite(value) else math.inf


def _verdict(rows: Sequence[tuple[str, Mapping[str, Any], str]], name: str) -> str:
    (_, ours, _), (best, theirs, _) = rows[0], rows[1]
    gap = number_of(ours.get(name)) - number_of(theirs.get(name))
    if not math.isfinite(gap):
        return ""
    ahead = gap if metrics.higher_is_better(name) else -gap
    side = "ahead of" if ahead > 0 else "behind" if ahead < 0 else "level with"
    said = f"{metric_name(name)} is {number(abs(gap), fixed=True)} {side} the best baseline, {text(best)}"
    edges = [number_of(entry.get(name), part) for entry in (ours, theirs) for part in ("low", "high")]
    if np.isfinite(edges).all():
        apart = edges[0] > edges[3] or edges[1] < edges[2]
        said += "; the intervals do not overlap" if apart else "; the intervals overlap"
    return said + "."


def _confusion(found: Mapping[str, Any] | None) -> Html:
    counts = np.asarray((found or {}).get("counts", ()), dtype=np.int64)
    if found is None or counts.ndim != 2 or not counts.size:
        return Html("")
    names = [text(c) for c in found.get("classes", ())]
    grid = page.heat(names, names, counts.tolist(), label="confusion matrix")
    note = f"Rows are what was said, columns what was heard; utterances and % of the row. n = {number(counts.sum())}."
    mixed = counts.copy()
    np.fill_diagonal(mixed, 0)
    row, column = np.unravel_index(mixed.argmax(), mixed.shape)
    whole = counts[row].sum()
    said = None
    if mixed.any() and len(names) == len(counts):
        often = f"{number(mixed[row, column])} of {number(whole)}"
        said = f"The most frequent confusion: {names[row]} heard as {names[column]}, {often}."
    return page.section("Confusions", tag("p", said) if said else None, tag("figure", grid, tag("figcaption", note)))


def _by_class(scores: Mapping[str, Any], baselines: Mapping[str, Any], parts: Sequence[str], kind: str, n: Any) -> Html:
    """Recall and F1 of every class, or MAE and 4-class accuracy of every number, beside the best baseline of each."""
    known = ("recall", "f1") if kind == "class" else ("mae", "acc4", "ccc")
    stems = [s for s in known if any(f"{s}_{p}" in scores for p in parts)][:2]
    if not stems:
        return Html("")
    rows = [(part, {s: scores.get(f"{s}_{part}") for s in stems}, ACCENT) for part in parts]
    marks: dict[str, float] = (
        {"recall": 1 / len(parts)} if kind == "class" else {s: number_of(scores.get(s)) for s in stems}
    )
    best, cells = [], []
    for part in parts:
        best.append({stem: _best(baselines, f"{stem}_{part}") for stem in stems})
        pairs = [(score(scores.get(f"{stem}_{part}")), _beside(*best[-1][stem])) for stem in stems]
        cells.append([part, *(cell for two in pairs for cell in two)])
    rivals = [{stem: value for stem, (value, _) in row.items()} for row in best]
    line = "dashed: chance" if kind == "class" else "dashed: all together"
    line += "; hollow: best baseline" if any(math.isfinite(v) for row in rivals for v in row.values()) else ""
    caption = f"{INTERVAL}; {line}. n = {number(n)} utterances."
    titles = [(stem, words.panel_title(stem)) for stem in stems]
    picture = words.dots(rows, titles, "classes", caption, "Scores by class", marks=marks, rivals=rivals)
    head = ["", *(h for s in stems for h in (metric_name(s), "best baseline"))]
    grid = page.folded("as a table", page.table(head, cells, label="scores by class"))
    return page.section("Emotion by emotion", picture, grid)


def _probes(probes: Sequence[Mapping[str, Any]]) -> Html:
    """What the published heads learned: the weight of every layer, and how their learning rate was chosen."""
    probes = [p for p in probes if p.get("chosen")]
    if not probes:
        return Html("")
    body: list[Any] = []
    weights = np.array([p.get("layers") or () for p in probes], dtype=np.float64)
    names = [f"layer {k}" for k in range(weights.shape[-1])]  # 0 is what comes before the first block
    if weights.size:
        means = dict(zip(names, weights.mean(0).tolist(), strict=True))
        body += [tag("h3", "Weight of every layer"), page.bars(means, label="weight of every layer", unit="weight")]
        body.append(tag("p", f"Softmax weights of the learned sum, mean over {words.count(len(probes), 'fold')}."))
    name = next((n for n in ("dev_wa", "dev_mae", "dev_per") if n in probes[0]["chosen"]), "")
    label = metric_name(name.removeprefix("dev_"))
    if any(name in row for row in probes[0].get("probe") or ()):
        rates = dict.fromkeys(row["lr"] for row in probes[0]["probe"])
        lines = []
        for rate in rates:
            own = [row for row in probes[0]["probe"] if row["lr"] == rate]
            lines.append((f"lr {rate:g}", [row["update"] for row in own], [row[name] for row in own]))
        picture = charts.figure(
            lambda width: charts.traces(lines, xlabel="update", ylabel=f"{label} on dev", width=width),
            "rates",
            f"{label} on dev of {probes[0].get('fold')}, a line for every learning rate; the best reading is kept.",
            f"{label} on dev over updates for every learning rate",
        )
        body += [tag("h3", "Learning rates"), picture]
    rows = []
    for p in probes:
        lr, update = f"{p['chosen'].get('lr'):g}", number(p["chosen"].get("update"))
        layers = [number(w, 2, fixed=True) for w in p.get("layers") or ()]
        rows.append([p.get("fold"), lr, update, words.three(p["chosen"], name), *layers])
    head = ["fold", "learning rate", "update", f"{label} on dev", *(names if weights.size else ())]
    body.append(page.table(head, rows, label="what dev chose"))
    return page.section("The probe", *body)


def _best(baselines: Mapping[str, Any], key: str) -> tuple[float, str]:
    """The best value any baseline reaches in one score, and whose it is."""
    found = [(number_of((b.get("metrics") or {}).get(key)), name) for name, b in baselines.items()]
    found = [(value, name) for value, name in found if math.isfinite(value)]
    return (max if metrics.higher_is_better(key) else min)(found, default=(math.nan, ""))


def _beside(value: float, name: str) -> Html:
    return page.join([number(value, fixed=True), tag("span", " " + name.replace("_", " "), class_="range")])
