"""How good a run is on unseen speakers, and against what."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from sottovoce.metrics import scores as metrics
from sottovoce.report import calibration, charts, page, words
from sottovoce.report.charts import ACCENT, PLAIN, series
from sottovoce.report.known import known
from sottovoce.report.words import MEANING, metric_name, number, number_of, text, three


def evaluate_page(report: Mapping[str, Any]) -> str:
    """How good a run is: main scores with intervals, baselines, confusion, classes, folds, groups, protocol.

    Keys: title, protocol {..., first_line}, task {kind, classes, target}, metrics {name: {value, low, high}},
    folds [{name, n, metrics}], baselines {name: {metrics}}, confusion {classes, counts}, groups {group: {value:
    {name: {...}}}}, examples [{id, reference, heard}], probes [{fold, layers, chosen, probe}], calibration {...},
    config, n, speakers, hardware, seconds. Scores of one class are named `recall_<class>`, ...
    """
    report = known(report)
    scores, baselines, task, folds = (report[key] for key in ("metrics", "baselines", "task", "folds"))
    kind = task["kind"] or "class"
    parts = [str(name) for name in task["classes" if kind == "class" else "target"]]
    main = _main_scores(scores, parts, kind)
    shown, key = main[:3], main[0] if main else ""
    rivals = [(name.replace("_", " "), entry["metrics"], PLAIN) for name, entry in baselines.items()]
    sign = -1 if metrics.higher_is_better(key) else 1
    rivals.sort(key=lambda row: np.nan_to_num(sign * number_of(row[1][key]), nan=np.inf))  # the best first
    rows = [("this model", scores, ACCENT), *rivals]
    drawn: dict[str, Any] = {}
    if shown:
        drawn["baselines"] = partial(charts.dots, rows, shown)
    if len(folds) > 1 and shown:
        each = [(f"{fold['name']} ({number(fold['n'])})", fold["metrics"], PLAIN) for fold in folds]
        drawn["folds"] = partial(charts.dots, each, shown, {m: number_of(scores[m]) for m in shown})
    many = f"{len(parts)} {'classes' if kind == 'class' else 'targets'}" if parts else ""
    return page.render(
        "evaluate.html", report, glossary=words.glossary(scores), many=many, drawn=drawn,
        groups=_groups(report, shown), facts=words.sample(report), intervals=words.intervals(scores),
        trust=calibration.section(report["calibration"]),
        tiles=[(metric_name(m), three(scores[m]), words.between(scores[m], MEANING.get(m, ""))) for m in main[:4]],
        verdict=_verdict(rows, key) if shown and baselines else "",
        confusion=_confusion(report["confusion"]), classes=_by_class(scores, baselines, parts, kind),
        probe=_probe([p for p in report["probes"] if p["chosen"]]),
        every=[(name.replace("_", " "), value) for name, value in scores.items()],
    )  # fmt: skip


def _groups(report: Mapping[str, Any], shown: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of every column: a picture of its scores; a sentence a gap and a table of the groups, or why there are none."""
    told: dict[str, dict[str, Any]] = {}
    for column, values in report["groups"].items():
        if values and shown:
            each = [(name or "unknown", entry, ACCENT) for name, entry in values.items()]
            said = words.intervals(next(iter(values.values())))
            told[column] = {"draw": partial(charts.dots, each, shown), "intervals": said}
    for column, own in report["subgroups"].items():
        mine = told.setdefault(column, {})
        if not own["measured"]:
            mine["lines"] = [own["why"] + "."]
            continue
        names = [n for n in ("ua", "mae", "ece", "answered", "right_of_answered")
                 if any(n in e["metrics"] for e in own["groups"].values())]  # fmt: skip
        mine["rows"] = [[name, e["n"], e["speakers"], *(e["metrics"][n] for n in names)]
                        for name, e in own["groups"].items()]  # fmt: skip
        mine["head"] = ["", "n", "speakers", *(metric_name(n) for n in names)]
        more = [f"{number(own['unlabelled'])} utterances do not say."] if own["unlabelled"] else []
        mine["lines"] = [*map(_gap, own["gaps"]), *more]
    return told


def _gap(gap: Mapping[str, Any]) -> str:
    """`UA: female 0.050 above male [-0.020, 0.120]; a gap of 0.080 or more would have been seen.`"""
    one, other = gap["groups"] if gap["value"] >= 0 else gap["groups"][::-1]
    ends = (gap["low"], gap["high"]) if gap["value"] >= 0 else (-number_of(gap, "high"), -number_of(gap, "low"))
    said = f"{metric_name(gap['score'])}: {text(one)} {three(abs(gap['value']))} above {text(other)}"
    if not math.isfinite(number_of(gap, "low")):
        return f"{said}; too few speakers to say more."
    said += f" [{number(ends[0], fixed=True)}, {number(ends[1], fixed=True)}]"
    least = gap["detectable"]
    return said + (f"; a gap of {three(least)} or more would have been seen." if least else ".")


def _main_scores(scores: Mapping[str, Any], parts: Sequence[str], kind: str) -> list[str]:
    """Scores of the whole, the one that chooses models first."""
    own = [name for name in scores if not any(name.endswith(f"_{part}") for part in parts)]
    order = ["ua", "wa", "macro_f1"] if kind == "class" else ["ccc", "mae", "acc4", "wacc", "per"]
    return sorted(own, key=lambda name: order.index(name) if name in order else len(order))


def _verdict(rows: Sequence[tuple[str, Mapping[str, Any], str]], name: str) -> str:
    (_, ours, _), (best, theirs, _) = rows[0], rows[1]
    gap = number_of(ours[name]) - number_of(theirs[name])
    if not math.isfinite(gap):
        return ""
    ahead = gap if metrics.higher_is_better(name) else -gap
    side = "ahead of" if ahead > 0 else "behind" if ahead < 0 else "level with"
    said = f"{metric_name(name)} is {number(abs(gap), fixed=True)} {side} the best baseline, {text(best)}"
    edges = [number_of(entry[name], part) for entry in (ours, theirs) for part in ("low", "high")]
    if np.isfinite(edges).all():
        apart = edges[0] > edges[3] or edges[1] < edges[2]
        said += "; the intervals do not overlap" if apart else "; the intervals overlap"
    return said + "."


def _confusion(found: Mapping[str, Any]) -> dict[str, Any]:
    """Names, counts by row, and the most frequent confusion in words."""
    counts = series(found["counts"]).astype(np.int64)
    if not counts.size:
        return {}
    names, mixed = [text(c) for c in found["classes"]], counts.copy()
    np.fill_diagonal(mixed, 0)
    row, column = np.unravel_index(mixed.argmax(), mixed.shape)
    said = ""
    if mixed.any() and len(names) == len(counts):
        often = f"{number(mixed[row, column])} of {number(counts[row].sum())}"
        said = f"The most frequent confusion: {names[row]} recognised as {names[column]}, {often}."
    return {"names": names, "rows": list(zip(names, counts.tolist(), strict=False)), "n": counts.sum(), "said": said}


def _by_class(scores: Mapping[str, Any], baselines: Mapping[str, Any], parts: Sequence[str], kind: str) -> Any:
    """Recall and F1 of every class, or MAE and 4-class accuracy of every target, next to the best baseline of each."""
    single = ("recall", "f1") if kind == "class" else ("mae", "acc4", "ccc")
    stems = [s for s in single if any(f"{s}_{p}" in scores for p in parts)][:2]
    if not stems:
        return {}
    marks = {"recall": 1 / len(parts)} if kind == "class" else {s: number_of(scores[s]) for s in stems}
    best = [{stem: _best(baselines, f"{stem}_{part}") for stem in stems} for part in parts]
    rivals = [{stem: value for stem, (value, _) in row.items()} for row in best]
    ours = [(part, {s: scores[f"{s}_{part}"] for s in stems}, ACCENT) for part in parts]
    rows = [
        [part, *(cell for s in stems for cell in (own[s], _beside(*row[s])))]
        for (part, own, _), row in zip(ours, best, strict=True)
    ]
    return {
        "draw": partial(charts.dots, ours, stems, marks, rivals),
        "mark": "chance" if kind == "class" else "all together",
        "rivals": any(math.isfinite(v) for row in rivals for v in row.values()),
        "head": ["", *(h for s in stems for h in (metric_name(s), "best baseline"))], "rows": rows,
    }  # fmt: skip


def _best(baselines: Mapping[str, Any], key: str) -> tuple[float, str]:
    """The best value any baseline reaches in one score, and whose it is."""
    found = [(number_of(entry["metrics"][key]), name) for name, entry in baselines.items()]
    found = [(value, name) for value, name in found if math.isfinite(value)]
    return (max if metrics.higher_is_better(key) else min)(found, default=(math.nan, ""))


def _beside(value: float, name: str) -> Markup:
    return Markup(number(value, fixed=True)) + words.aside(name.replace("_", " "))


def _probe(probes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the published heads learned: the weight of every layer, and how their learning rate was chosen."""
    if not probes:
        return {}
    weights = np.array([list(p["layers"]) for p in probes], dtype=np.float64)
    names = [f"layer {k}" for k in range(weights.shape[-1])]  # 0 is what comes before the first block
    name = next((n for n in ("dev_wa", "dev_mae", "dev_per") if n in probes[0]["chosen"]), "")
    label, readings, lines = metric_name(name.removeprefix("dev_")), probes[0]["probe"], []
    if any(name in row for row in readings):
        for rate in dict.fromkeys(row["lr"] for row in readings):
            own = [row for row in readings if row["lr"] == rate]
            lines.append((f"lr {rate:g}", [row["update"] for row in own], [row[name] for row in own]))
    rows = [
        [p["fold"], f"{p['chosen']['lr']:g}", p["chosen"]["update"], three(p["chosen"], name),
         *(number(w, 2, fixed=True) for w in p["layers"])]
        for p in probes
    ]  # fmt: skip
    return {
        "weights": dict(zip(names, weights.mean(0).tolist(), strict=True)) if weights.size else {},
        "rates": lines and partial(charts.traces, lines, "update", f"{label} on dev"), "label": label,
        "head": ["fold", "learning rate", "update", f"{label} on dev", *names], "rows": rows,
    }  # fmt: skip
