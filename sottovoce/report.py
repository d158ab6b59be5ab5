"""Reports a person enjoys: plain dicts in, one self-contained HTML page out (or figures, for a paper or a README).

    data_page      what `prepare` found            evaluate_page   how good a run is, and against what
    pretrain_page  is pre-training healthy         study_page      what pre-training is worth, label by label
    strength_page  does a strength model order     label_page      are pseudo-labels worth it
    compare_page   which of several runs is better timeline_page   one recording over time
    index_page     the pages of a demo run

Every key of every dict may be missing: a section without data is left out, a number that is not there is "–".
`page` knows HTML, `charts` knows figures, here is only what a report says and in which order.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import charts, metrics, page
from sottovoce.charts import HALF, metric_name, number_of
from sottovoce.page import NOTHING, Html, number, tag, text

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
    low, high = _three(entry, "low"), _three(entry, "high")
    between = tag("span", f" [{low}, {high}]", class_="range") if NOTHING not in (low, high) else None
    return page.join([_three(entry), between])


def _three(entry: Any, part: str = "value") -> str:
    """A score as it is printed everywhere: three decimals."""
    return number(number_of(entry, part), fixed=True)


def _listed(*parts: Any) -> str:
    return " · ".join(str(p) for p in parts if p)


def _count(n: Any, one: str, many: str | None = None) -> str:
    return "" if n is None else f"{number(n)} {one if n == 1 else many or one + 's'}"


# --- prepare --------------------------------------------------------------------------------------------------------


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
        page.join([tag("h3", _title(label)), page.bars(counts, label=f"utterances by {label}")])
        for label, counts in (get("counts") or {}).items()
        if counts
    ]
    for title, rows in (get("cross") or {}).items():
        columns = list(dict.fromkeys(c for row in rows.values() for c in row))
        grid = page.heat(list(rows), columns, [[row.get(c, 0) for c in columns] for row in rows.values()], label=title)
        if columns:
            counted.append(page.join([tag("h3", _title(title).replace(" x ", " × ")), grid]))
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
    lede = _listed(_count(get("utterances"), "utterance"), _count(get("speakers"), "speaker"), _hours(get("hours")))
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
    rows = [[f.get("name"), f.get("group"), *(number(_size(f.get(side))) for side in SIDES)] for f in folds]
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


def _size(side: Any) -> Any:
    return len(side) if hasattr(side, "__len__") and not isinstance(side, str) else side


# --- pretrain -------------------------------------------------------------------------------------------------------


def pretrain_page(report: Mapping[str, Any]) -> str:
    """Whether a pre-training run is healthy: losses beside the trivial predictor, coverage, rank, probe, pictures.

    Keys: title, objective, backbone, parameters, corpora [{name, utterances, hours, speakers}], fold, exposure,
    seconds, hardware, curves {step, loss, heldout_step, heldout_loss, coverage, rank, probe_step, probe_ua,
    trivial_loss, accuracy, trivial_accuracy, emotion_accuracy, gender_accuracy, hidden_step, hidden_intensity,
    visible_intensity}, masking {rule, ratio, span, intensity, coverage, hidden_intensity, visible_intensity, stores},
    panels [{id, rate_hz, original (T, D), masked (T,), reconstructed (T, D), intensity (T,), rules {name: (T,)}}],
    units [{units, used, perplexity}], told {fact: text}, warnings, config.
    """
    get, curves = report.get, report.get("curves") or {}
    right, often = charts.series(curves.get("accuracy")), number_of(curves.get("trivial_accuracy"))
    if len(right) or len(charts.series(curves.get("emotion_accuracy"))):
        guess, kind = "guessing by how frequent each answer is", "nats"
    else:
        guess, kind = "always guessing the mean", "feature units"
    held, trivial = charts.series(curves.get("heldout_loss")), number_of(curves.get("trivial_loss"))
    probe = charts.series(curves.get("probe_ua"))
    last = held[np.isfinite(held)][-1:] if len(held) else held
    gain = 100 * (1 - last[0] / trivial) if len(last) and trivial else math.nan
    gained = f"{number(gain, 1)} %" if math.isfinite(gain) else NOTHING
    body: list[Any] = [page.warnings(get("warnings"))]
    body.append(
        page.tiles(
            [
                ("Held-out loss", number(last[0] if len(last) else None, fixed=True), "on speakers never trained on"),
                ("Trivial loss", number(trivial, fixed=True), guess),
                ("Learnt", gained, "of the trivial loss is gone"),
                *([("Probe UA", number(probe[-1], fixed=True), "linear, frozen encoder, dev")] if len(probe) else []),
                *(
                    [("Units right", _percent(right[-1], 1), f"the commonest is {_percent(often, 1)}")]
                    if len(right)
                    else []
                ),
                *_masking_tiles(get("masking") or {}),
            ]
        )
    )
    step, held_step = curves.get("step"), curves.get("heldout_step")
    lines = [("training", step, curves.get("loss")), ("held-out speakers", held_step, held)]
    lines = [(name, x, y) for name, x, y in lines if len(charts.series(y))]
    if lines:
        picture = charts.figure(
            lambda width: charts.traces(
                lines,
                xlabel="step",
                ylabel=f"loss, {kind}",
                level=("trivial predictor", trivial) if math.isfinite(trivial) else None,
                width=width,
                zero=True,
            ),
            "loss",
            f"Loss; the dashed line is that of {guess}. n = {len(charts.series(curves.get('loss'))):,} "
            f"training and {len(held):,} held-out readings.",
            "Training and held-out loss over steps, with the loss of the trivial predictor",
        )
        body.append(page.section("Loss", picture))
    small = []
    for key, title, unit, meaning in (
        ("coverage", "Mask coverage", "share of frames hidden", "Share of the valid frames that were hidden."),
        ("accuracy", "Hidden units", "share right", f"By guessing the commonest unit it would be {number(often, 3)}."),
        ("emotion_accuracy", "Emotion", "share right", "Emotions of held-out utterances."),
        ("gender_accuracy", "Gender", "share right", "Genders of held-out utterances, where the corpus tells them."),
        ("rank", "Representation rank", "effective dimensions", "Falling towards 1 would mean collapse."),
        ("probe_ua", "Linear probe", "UA on dev", "A linear classifier on the frozen encoder, dev speakers only."),
    ):
        y = charts.series(curves.get(key))
        if len(y):
            x = _steps(curves, key, len(y))
            picture = charts.figure(
                lambda width, x=x, y=y, unit=unit: charts.traces(  # type: ignore[misc]
                    [(unit, x, y)], xlabel="step", ylabel=unit, width=width, zero=True
                ),
                key.replace("_", "-"),
                f"{meaning} n = {len(y):,} readings, last {number(y[-1])}.",
                f"{title} over steps, last {number(y[-1])}",
                width=HALF,
            )
            small.append(page.join([tag("h3", title), picture]))
    strong, weak = (charts.series(curves.get(f"{side}_intensity")) for side in ("hidden", "visible"))
    if len(strong):
        x = _steps(curves, "hidden", len(strong))
        picture = charts.figure(
            lambda width: charts.traces(
                [("hidden", x, strong), ("visible", x, weak)], xlabel="step", ylabel="mean intensity", width=width
            ),
            "intensity",
            f"Mean intensity of the frames hidden in training and of the others. n = {len(strong):,} epochs.",
            "Mean intensity of hidden and of visible frames over steps",
            width=HALF,
        )
        small.append(page.join([tag("h3", "Intensity"), picture]))
    if small:
        body.append(page.section("Health", page.pair(*small)))
    drawn = [panel for panel in get("panels") or () if panel.get("original") is not None]
    rule = (get("masking") or {}).get("rule")
    spans = [_spans(k, panel | {"rule": rule}) for k, panel in enumerate(drawn) if panel.get("rules")]
    if spans:
        said = (
            "The same utterances under every rule, at the ratio and span of this run; * is its own. At the right the "
        )
        said += "share that is hidden, and the mean intensity there."
        body.append(page.section("What each rule hides", tag("p", said), spans))
    if drawn:
        body.append(
            page.section("What it reconstructs", page.pair(*(_panel(k, panel) for k, panel in enumerate(drawn))))
        )
    corpora = [[c.get("name"), number(c.get("utterances")), number(c.get("hours"), 2), number(c.get("speakers"))]
               for c in get("corpora") or ()]  # fmt: skip
    facts = {"Objective": get("objective"), "Backbone": get("backbone"), "Parameters": number(get("parameters")),
             "Fold": get("fold"), "Exposure": get("exposure"), "Time": page.duration(get("seconds")),
             "Hardware": get("hardware")} | dict(get("told") or {})  # fmt: skip
    heard = page.table(["corpus", "utterances", "hours", "speakers"], corpora, label="corpora") if corpora else None
    sets = [[number(c["units"]), number(c["used"]), number(c["perplexity"], 1)] for c in get("units") or ()]
    kinds = page.table(["units", "used", "as many equally frequent ones"], sets, label="units") if sets else None
    body.append(page.section("The run", page.facts({k: v for k, v in facts.items() if v}), heard, kinds))
    body.append(page.settings(get("config") or {}))
    lede = _listed(get("objective"), get("backbone"), get("fold") and f"fold {get('fold')}")
    return page.document("pre-training", get("title") or "Pre-training", *body, lede=lede)


def _masking_tiles(found: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
    """Realised coverage beside what was asked for; where the intensity is known, that of hidden and visible frames."""
    if not number_of(found.get("coverage")) > 0:
        return []
    rule = text(found.get("rule") or "")
    ratio = f"{100 * found['ratio']:.0f} % asked for" if found.get("ratio") else ""
    asked = ", ".join(part for part in (rule, ratio) if part)
    tiles: list[tuple[Any, Any, Any]] = [("Hidden", f"{100 * found['coverage']:.1f} %", asked)]
    if "hidden_intensity" in found:
        there, elsewhere = (number(found.get(f"{side}_intensity"), fixed=True) for side in ("hidden", "visible"))
        tiles.append(("Intensity", there, f"{text(found.get('intensity') or '')} where hidden; {elsewhere} elsewhere"))
    return tiles


def _spans(k: int, panel: Mapping[str, Any]) -> Html:
    shares = ", ".join(f"{name} {100 * np.mean(mask):.0f} %" for name, mask in panel["rules"].items())
    said = f"{text(panel.get('id', f'utterance {k + 1}'))}: intensity, its mean dashed, and what each rule hides."
    alt = f"Features, intensity and hidden spans of {text(panel.get('id'))} by rule: {shares}"
    return charts.figure(lambda width: charts.hidden_spans(panel, width=width), f"spans-{k}", said, alt)


def spans_figure(panel: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """What each rule hides of one utterance, as files: the first such picture of `pretrain_page`."""
    charts.save(lambda: charts.hidden_spans(panel, width=charts.WIDE), path_svg, path_png)


def _steps(curves: Mapping[str, Any], key: str, many: int) -> np.ndarray:
    """The steps a curve was read at: its own, or those of the readings with the same length."""
    own = {"probe_ua": "probe_step"}.get(key, f"{key}_step")
    for name in (own, "step", "heldout_step"):
        if len(x := charts.series(curves.get(name))) == many:
            return x
    return np.arange(many, dtype=np.float64)


def _panel(k: int, panel: Mapping[str, Any]) -> Html:
    original, hidden = np.asarray(panel["original"], dtype=np.float64), np.asarray(panel.get("masked", ()), dtype=bool)
    seconds = len(original) / float(panel.get("rate_hz") or 100.0)
    said = f"{text(panel.get('id', f'utterance {k + 1}'))}: {number(seconds, 2)} s, {len(original):,} frames"
    if len(hidden) == len(original) and hidden.any():
        said += f", {100 * hidden.mean():.0f} % hidden (blue bars)"
        if panel.get("reconstructed") is not None and not hidden.all():
            found = np.abs(np.asarray(panel["reconstructed"]) - original)[hidden].mean()
            plain = np.abs(original[~hidden].mean(0) - original)[hidden].mean()
            said += f"; mean absolute error there {number(found)}, guessing the mean of the rest {number(plain)}"
    elif panel.get("reconstructed") is not None:
        found, plain = (np.abs(guess - original).mean() for guess in (panel["reconstructed"], original.mean(0)))
        said += (
            f", each predicted from its surroundings; mean absolute error {number(found)}, of the mean {number(plain)}"
        )
    alt = f"Original, masked and reconstructed features. {said}"
    return charts.figure(lambda width: charts.triptych(panel, width=width), f"panel-{k}", said + ".", alt, width=HALF)


# --- strength -------------------------------------------------------------------------------------------------------

SCORE_NAMES = {"rank": "relative attributes", "strength": "StrengthNet", "energy": "energy, dB by speaker"}
QUESTIONS = {
    "intensity": ("Against the corpus's own intensity", "no model was told these labels"),
    "neutral": ("Emotional above neutral", "what the ranking was taught, of other people"),
}


def strength_page(report: Mapping[str, Any]) -> str:
    """A strength model: does it order people nobody trained on, beside ranking and energy; losses; pictures.

    Keys: title, first_line, warnings, fold, agreement (of `sottovoce.agreement.agree`), curves {step, loss,
    heldout_step, heldout_loss, heldout_mae, heldout_ua, trivial_loss}, panels [{id, emotion, said, person, features
    (T, D), frames (T,), energy_frames (T,), rate_hz, target, follows_energy}], parameters, corpora, emotions, neutral,
    functionals, exposure, seconds, hardware, config.
    """
    get, found, curves = report.get, report.get("agreement") or {}, report.get("curves") or {}
    body: list[Any] = [page.banner(get("first_line")) if get("first_line") else None, page.warnings(get("warnings"))]
    who = {"test": "people neither trained on nor chosen by", "heldout": "the people who chose the epoch"}
    tiles = []
    question = found.get("intensity") or found.get("neutral") or {}
    key = question.get("key", "auc")
    for name, entry in (question.get("scores") or {}).items():
        tiles.append((f"{_agreed(key)}, {SCORE_NAMES[name]}", _three(entry.get(key)), _between(entry.get(key), "")))
    for name, title, meaning in (
        ("follows_energy", "Follows energy", "correlation of strength and energy within an utterance"),
        ("moves", "Moves", "deviation of strength within an utterance"),
    ):
        if math.isfinite(number_of(entry := found.get(name))):
            low, high = _three(entry, "low"), _three(entry, "high")
            tiles.append((title, _three(entry), f"{meaning}; {low} to {high} in four of five"))
    body.append(page.tiles(tiles))
    for name, (title, meaning) in QUESTIONS.items():
        if found.get(name):
            body.append(_question(name, title, f"{meaning}; {who.get(str(found.get('part')), '')}", found[name]))
    held, trivial = charts.series(curves.get("heldout_loss")), number_of(curves.get("trivial_loss"))
    lines = [("training", curves.get("step"), curves.get("loss")), ("held-out", curves.get("heldout_step"), held)]
    lines = [(label, x, y) for label, x, y in lines if len(charts.series(y))]
    if lines:
        mae, ua = (charts.series(curves.get(name)) for name in ("heldout_mae", "heldout_ua"))
        best = int(np.nanargmin(held)) if np.isfinite(held).any() else -1
        chosen = f"The best held-out reading: loss {number(held[best])}" if len(held) else ""
        if len(mae) == len(ua) == len(held) > 0:
            chosen += (
                f", mean absolute error of strength {number(mae[best])}, UA of the emotion branch {number(ua[best])}"
            )
        level = ("constants", trivial) if math.isfinite(trivial) else None
        picture = charts.figure(
            lambda width: charts.traces(lines, xlabel="step", ylabel="loss", level=level, width=width, zero=True),
            "loss",
            f"Error of the utterance + error of its frames + cross-entropy of the emotion. {chosen}.",
            "Training and held-out loss over steps",
        )
        body.append(page.section("Loss", picture))
    panels = [
        charts.figure(
            lambda width, panel=panel: charts.strength(panel, width=width),  # type: ignore[misc]
            f"strength-{k}",
            f"{text(panel.get('id'))}: {_listed(panel.get('emotion'), panel.get('said'), panel.get('person'))}; "
            f"correlation of strength with energy {number(panel.get('follows_energy'), 2)}.",
            f"Spectrogram and strength of {text(panel.get('id'))}",
            width=HALF,
        )
        for k, panel in enumerate(get("panels") or ())
    ]
    if panels:
        body.append(page.section("What it hears", page.pair(*panels)))
    corpora = [[c.get("name"), number(c.get("utterances")), number(c.get("speakers"))] for c in get("corpora") or ()]
    facts = {"Fold": get("fold"), "Emotions": ", ".join(get("emotions") or ()), "Zero": ", ".join(get("neutral") or ()),
             "Ranked by": get("functionals"), "Parameters": number(get("parameters")) if get("parameters") else None,
             "Exposure": get("exposure"), "Time": page.duration(get("seconds")) if get("seconds") else None,
             "Hardware": get("hardware")}  # fmt: skip
    heard = page.table(["corpus", "emotional utterances", "speakers"], corpora, label="corpora") if corpora else None
    body.append(page.section("The run", page.facts({k: v for k, v in facts.items() if v}), heard))
    body.append(page.settings(get("config") or {}))
    lede = _listed("relative attributes", "StrengthNet", get("fold"))
    return page.document("strength", get("title") or "Strength", *body, lede=lede)


def _agreed(key: str) -> str:
    return {"auc": "AUC", "spearman": "Spearman"}[key]


def _question(name: str, title: str, meaning: str, found: Mapping[str, Any]) -> Html:
    """One question of `agreement.agree`: every score with its interval, and by emotion."""
    scores, key = found.get("scores") or {}, found.get("key", "auc")
    keys = [k for k in ("auc", "spearman") if any(math.isfinite(number_of(entry.get(k))) for entry in scores.values())]
    rows = [(SCORE_NAMES[s], entry, ACCENT if s == "strength" else PLAIN) for s, entry in scores.items()]
    facts = f"n = {number(found.get('n'))} utterances, {number(found.get('speakers'))} speakers"
    picture = keys and _dots(
        rows, [(k, _agreed(k)) for k in keys], f"agreement-{name}",
        f"Within each emotion, then averaged; {meaning}. {INTERVAL}; dashed: no better than chance. {facts}.",
        f"{title}: " + ", ".join(f"{label} {number(number_of(entry.get(key)))}" for label, entry, _ in rows),
        marks={"auc": 0.5, "spearman": 0.0},
    )  # fmt: skip
    table = [[emotion, *(number(values.get(s), fixed=True) for s in scores)]
             for emotion, values in (found.get("by_emotion") or {}).items()]  # fmt: skip
    grid = page.table([_agreed(key), *(SCORE_NAMES[s] for s in scores)], table, label=f"{title}, by emotion")
    ahead = [
        tag("p", f"{SCORE_NAMES[s]} − energy, on the same speakers: {_agreed(key)} ", score(entry.get(key)),
            f", p {_chance(entry.get(key) or {})}.")
        for s, entry in (found.get("ahead") or {}).items()
    ]  # fmt: skip
    return page.section(title, ahead, picture, page.folded("emotion by emotion", grid))


# --- label ----------------------------------------------------------------------------------------------------------


def label_page(report: Mapping[str, Any]) -> str:
    """Whether pseudo-labels are worth learning from: use, lengths, what they mean, how far they depend on the seed.

    Keys: title, run, layer, fold, seed, genders, codebook, width, rate_hz, frames {train, heldout}, corpora [{name,
    train, heldout}], sets [{clusters, units, inertia, counts, train, heldout, seeds [{seed, ari, nmi}]}] with sides
    {distance, explained, used, empty, perplexity, mean_ms, median_ms, p95_ms, single, names {label: {purity, chance,
    nmi}}}, exposure, warnings, config, seconds, hardware.
    """
    get, sets = report.get, report.get("sets") or ()
    where = {"train": "fitted on", "heldout": "held-out people"}
    read = [  # every label set on both sides
        (f"{number(entry['units'])} units, {words}", entry[side])
        for entry in sets
        for side, words in where.items()
        if entry.get(side)
    ]
    body: list[Any] = [page.warnings(get("warnings"))]
    meaning = "perplexity: as many equally frequent ones"
    body.append(
        page.tiles(
            (f"{number(e['units'])} units", number((e.get("train") or {}).get("perplexity"), 1), meaning) for e in sets
        )
    )
    rows = [
        [name, number(found.get("used")), _percent(found.get("explained"), 1),
         *(number(found.get(key), 0) for key in ("mean_ms", "median_ms", "p95_ms")), _percent(found.get("single"))]
        for name, found in read
    ]  # fmt: skip
    head = ["", "used", "variance explained", "mean run, ms", "median", "95th percentile", "single frames"]
    if rows:
        body.append(
            page.section("Use and lengths", page.table(head, rows, label="use of the units and how long they last"))
        )
    falling = [np.sort(np.asarray(entry.get("counts", ())))[::-1] for entry in sets]
    lines = [
        (f"{number(len(n))} units", np.arange(1, len(n) + 1) / len(n), n * len(n) / n.sum()) for n in falling if n.sum()
    ]
    if lines:
        picture = charts.figure(
            lambda width: charts.traces(
                lines, xlabel="share of the units, most frequent first", ylabel="frequency, 1 = even", width=width,
                zero=True,
            ),
            "use",
            "How often units occur, as a multiple of what an even spread would give each.",
            "Frequency of the units in falling order, one curve a label set",
        )  # fmt: skip
        body.append(page.section("How evenly units occur", picture))
    known = list(dict.fromkeys(label for _, found in read for label in found.get("names") or ()))
    told = (
        "NMI is 0 where units tell nothing of a label and 1 where each tells all of the other. Purity is the share of "
        "frames with the most frequent label of their unit; it grows with the number of units by itself."
    )
    grids = []
    for label in known:
        beside = [(name, found["names"][label]) for name, found in read if label in (found.get("names") or {})]
        rows = [[name, *(_three(entry.get(key)) for key in ("nmi", "purity", "chance"))] for name, entry in beside]
        grid = page.table(["", "NMI", "purity", "most frequent alone"], rows, label=f"agreement with {label}")
        grids.append(page.join([tag("h3", _title(label)), grid]))
    if grids:
        body.append(page.section("What units mean", tag("p", told), page.pair(*grids)))
    seeds = [
        [
            f"{number(e['units'])} units, seed {number(other.get('seed'))}",
            _three(other.get("ari")),
            _three(other.get("nmi")),
        ]
        for e in sets
        for other in e.get("seeds") or ()
    ]
    if seeds:
        told = "The same clustering from other seeds: adjusted Rand index and NMI of the labels of the training frames."
        grid = page.table(["", "adjusted Rand", "NMI"], seeds, label="agreement across seeds")
        body.append(page.section("Other seeds", tag("p", told), grid))
    rows = [[c.get("name"), number(c.get("train")), number(c.get("heldout"))] for c in get("corpora") or ()]
    facts = {
        "Run": get("run"),
        "Layer": get("layer"),
        "Fold": get("fold"),
        "Frames": {where[side]: n for side, n in (get("frames") or {}).items()},
        "Values a frame": get("width"),
        "Frames a second": get("rate_hz"),
        "Kept apart": ", ".join(get("genders") or ()),
        "People known": len(get("exposure") or ()),
        "Codebook": get("codebook"),
        "Seed": get("seed"),
        "Time": page.duration(get("seconds")),
        "Hardware": get("hardware"),
    }
    heard = page.table(["corpus", "utterances fitted on", "held out"], rows, label="corpora") if rows else None
    body.append(
        page.section("The labels", page.facts({k: v for k, v in facts.items() if v not in (None, "", {})}), heard)
    )
    body.append(page.settings(get("config") or {}))
    layer = "" if get("layer") is None else f"layer {get('layer')}"
    kinds = ", ".join(number(e["units"]) for e in sets)
    lede = _listed(layer, kinds and f"{kinds} units", get("fold") and f"fold {get('fold')}")
    return page.document("pseudo-labels", get("title") or "Pseudo-labels", *body, lede=lede)


def _percent(share: Any, digits: int = 0) -> str:
    return NOTHING if not math.isfinite(number_of(share)) else f"{number(100 * number_of(share), digits)} %"


# --- evaluate -------------------------------------------------------------------------------------------------------


def evaluate_page(report: Mapping[str, Any]) -> str:
    """How good a run is: main scores with intervals, baselines, confusion, classes, folds, groups, protocol.

    Keys: title, protocol {..., first_line}, task {kind, classes, target}, metrics {name: {value, low, high}},
    folds [{name, n, metrics}], baselines {name: {metrics}}, confusion {classes, counts}, groups {group: {value:
    {name: {...}}}}, examples [{id, reference, heard}], probes [{fold, layers, chosen, probe}], config, n, speakers,
    hardware, seconds. Scores of one class are named `recall_<class>`, ...
    """
    get = report.get
    task, scores = get("task") or {}, get("metrics") or {}
    first, protocol = _protocol(get("protocol"))
    kind = task.get("kind") or ("number" if "mae" in scores else "class")
    parts = list(task.get("classes") or ()) if kind == "class" else [str(t) for t in task.get("target") or ()]
    main = _main_scores(scores, parts, kind)
    shown = main[:3]
    n, baselines, folds = get("n"), get("baselines") or {}, get("folds") or ()
    body: list[Any] = [page.banner(first) if first else None, page.warnings(get("warnings"))]
    body.append(
        page.tiles((metric_name(m), number(number_of(scores[m]), fixed=True), _between(scores[m], m)) for m in main[:4])
    )
    rows = [("this model", scores, ACCENT)]
    rows += sorted(
        ((name.replace("_", " "), entry.get("metrics") or {}, PLAIN) for name, entry in baselines.items()),
        key=lambda row: _rank(row[1].get(main[0]) if main else None, main[0] if main else ""),
    )
    facts = f"n = {number(n)} utterances, {number(get('speakers'))} speakers"
    if shown:
        titles = [(m, _panel_title(m)) for m in shown]
        picture = _dots(rows, titles, "baselines", f"{INTERVAL}. {facts}.", "Scores of this model and of the baselines")
        verdict = tag("p", _verdict(rows, main[0])) if len(rows) > 1 else None
        body.append(page.section("Against the baselines" if baselines else "Scores", verdict, picture))
    body.append(_confusion(get("confusion")))
    body.append(_by_class(scores, baselines, parts, kind, get("n")))
    if len(folds) > 1 and shown:
        each = [(f"{f.get('name', k + 1)}{_n(f.get('n'))}", f.get("metrics") or {}, PLAIN) for k, f in enumerate(folds)]
        caption = f"One dot a fold, n test utterances in brackets; dashed: all folds pooled. {facts}."
        pooled = {m: number_of(scores[m]) for m in shown}
        picture = _dots(each, [(m, metric_name(m)) for m in shown], "folds", caption, "Scores by fold", marks=pooled)
        body.append(page.section("Folds", picture))
    for group, values in (get("groups") or {}).items():
        if values and shown:
            each = [(name or "unknown", entry, ACCENT) for name, entry in values.items()]
            picture = _dots(each, [(m, metric_name(m)) for m in shown], f"group-{len(body)}", f"{INTERVAL}. {facts}.",
                            f"Scores by {text(group)}")  # fmt: skip
            body.append(page.section(f"By {text(group)}", picture))
    if examples := get("examples"):
        said = [[e.get("id"), e.get("reference"), e.get("heard")] for e in examples]
        grid = page.table(["", "said", "heard"], said, label="examples", wrap=True)
        body.append(page.section("Examples", grid))
    body.append(_probes(get("probes") or ()))
    body.append(_card(report, protocol))
    every = [[name.replace("_", " "), score(value)] for name, value in scores.items()]
    if every:
        grid = page.table(["score", "value [95 % interval]"], every, label="all scores")
        body.append(page.folded("All scores", grid))
    body.append(page.settings(get("config") or {}))
    many = f"{len(parts)} {'classes' if kind == 'class' else 'targets'}" if parts else ""
    spoken = [_count(n, "utterance"), _count(get("speakers"), "speaker"), _count(len(folds), "fold") if folds else ""]
    return page.document("evaluation", get("title") or "Evaluation", *body, lede=_listed(many, *spoken))


def _n(n: Any) -> str:
    return "" if n is None else f" ({number(n)})"


def _title(key: Any) -> str:
    words = text(key).replace("_", " ")
    return words[:1].upper() + words[1:]


def _main_scores(scores: Mapping[str, Any], parts: Sequence[str], kind: str) -> list[str]:
    """Scores of the whole, the one that chooses models first."""
    own = [name for name in scores if not any(name.endswith(f"_{part}") for part in parts)]
    order = ["ua", "wa", "macro_f1"] if kind == "class" else ["mae", "acc4", "ccc", "per"]
    return sorted(own, key=lambda name: order.index(name) if name in order else len(order))


def _between(entry: Any, name: str) -> str:
    low, high = number_of(entry, "low"), number_of(entry, "high")
    said = MEANING.get(name, "")
    if math.isfinite(low) and math.isfinite(high):
        return f"{number(low, fixed=True)} to {number(high, fixed=True)} (95 %)" + (f"; {said}" if said else "")
    return said


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


def _dots(rows: Sequence[Any], titles: Sequence[Any], name: str, caption: str, alt: str, **marks: Any) -> Html:
    return charts.figure(lambda width: charts.dots(rows, titles, width=width, **marks), name, caption, alt)


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
    titles = [(stem, _panel_title(stem)) for stem in stems]
    picture = _dots(rows, titles, "classes", caption, "Scores by class", marks=marks, rivals=rivals)
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
        body.append(tag("p", f"Softmax weights of the learned sum, mean over {_count(len(probes), 'fold')}."))
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
    rows = [[p.get("fold"), f"{p['chosen'].get('lr'):g}", number(p["chosen"].get("update")), _three(p["chosen"], name),
             *(number(w, 2, fixed=True) for w in p.get("layers") or ())] for p in probes]  # fmt: skip
    head = ["fold", "learning rate", "update", f"{label} on dev", *(names if weights.size else ())]
    body.append(page.table(head, rows, label="what dev chose"))
    return page.section("The probe", *body)


def _panel_title(name: str) -> str:
    return metric_name(name) + ("" if metrics.higher_is_better(name) else ", lower is better")


def _best(baselines: Mapping[str, Any], key: str) -> tuple[float, str]:
    """The best value any baseline reaches in one score, and whose it is."""
    found = [(number_of((b.get("metrics") or {}).get(key)), name) for name, b in baselines.items()]
    found = [(value, name) for value, name in found if math.isfinite(value)]
    return (max if metrics.higher_is_better(key) else min)(found, default=(math.nan, ""))


def _beside(value: float, name: str) -> Html:
    return page.join([number(value, fixed=True), tag("span", " " + name.replace("_", " "), class_="range")])


# --- compare --------------------------------------------------------------------------------------------------------


def compare_page(found: Mapping[str, Any]) -> str:
    """Systems side by side: scores, paired differences from the first, every class, what else differs.

    Keys: title, metric, higher_is_better, reference, systems [{name, seeds, metrics {name: {value, low, high}},
    difference {name: {value, low, high, p, p_holm}}, detectable, by_seed}], task {kind, classes}, n, speakers,
    left_out, differs {setting: {system: value}}, protocol {..., first_line}.
    """
    get = found.get
    first, protocol = _protocol(get("protocol"))
    systems, metric = list(get("systems") or ()), get("metric") or "score"
    name, reference = metric_name(metric), text(get("reference") or "")
    others = [s for s in systems if s.get("difference")]
    facts = f"n = {number(get('n'))} utterances, {number(get('speakers'))} speakers"
    body: list[Any] = [page.banner(first) if first else None]
    if get("left_out"):
        body.append(page.warnings([f"{number(get('left_out'))} utterances left out: not every system answered them."]))
    body.append(page.tiles(_gap_tile(s, metric, name, reference) for s in others[:4]))
    body.append(tag("ul", *(tag("li", _gap_verdict(s, found)) for s in others)))
    caption = (
        f"{INTERVAL}. Right: {name} minus that of {reference} on the same utterances; hollow: the smallest difference "
        f"these speakers would have shown. {facts}."
    )
    alt = f"{name} of every system and its difference from {reference}"
    picture = charts.figure(lambda width: _comparison(found, width), "compare", caption, alt)
    body.append(page.section(f"Against {reference}", picture))
    rows = []
    for s in systems:
        gap = (s.get("difference") or {}).get(metric) or {}
        seeds = s.get("by_seed") or ()
        own = f"{_three(min(seeds))} to {_three(max(seeds))}" if len(seeds) > 1 else ""
        detectable = _three(s.get("detectable")) if gap else ""
        rows.append([s.get("name"), number(len(s.get("seeds") or ())), score(s["metrics"].get(metric)), own,
                     score(gap) if gap else "", _chance(gap) if gap else "", detectable])  # fmt: skip
    head = ["", "seeds", f"{name} [95 % interval]", "single seeds", f"− {reference}", "p", "detectable"]
    note = "p of the paired difference, corrected by Holm. Detectable: found four times in five, were it true."
    body.append(page.section("In numbers", page.table(head, rows, label="systems side by side"), tag("p", note)))
    body.append(_classes_beside(systems, found, facts))
    if differs := get("differs"):
        names = [s.get("name") for s in systems]
        lines = [[key, *(tag("td", tag("code", str(v.get(n)))) for n in names)] for key, v in differs.items()]
        grid = page.table(["setting", *names], lines, label="settings that differ", wrap=True)
        body.append(page.section("What differs between them", grid))
    body.append(_card(found, protocol))
    lede = _listed(_count(len(systems), "system"), _count(get("n"), "utterance"), _count(get("speakers"), "speaker"))
    return page.document("comparison", get("title") or "Comparison", *body, lede=lede)


def _gap_tile(system: Mapping[str, Any], metric: str, name: str, reference: str) -> tuple[Any, Any, Any]:
    gap = system["difference"].get(metric) or {}
    sign = "+" if number_of(gap) > 0 else ""
    between = f"{_three(gap, 'low')} to {_three(gap, 'high')} (95 %), {name} minus that of {reference}"
    return system.get("name"), sign + _three(gap), between


def _gap_verdict(system: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """One sentence that claims no more than the interval does."""
    metric, reference = str(found.get("metric")), text(found.get("reference"))
    gap, name = system["difference"].get(metric) or {}, text(system.get("name"))
    low, high = number_of(gap, "low"), number_of(gap, "high")
    if not math.isfinite(low + high):
        return f"{name}: too few speakers to say anything."
    clear = number_of(gap, "p_holm") < 0.05 and not low <= 0 <= high
    if not clear:
        return (
            f"{name} cannot be told from {reference}: these speakers would show a difference of "
            f"{_three(system.get('detectable'))} or more."
        )
    better = (low > 0) == bool(found.get("higher_is_better", True))
    return f"{name} is {'better' if better else 'worse'} than {reference}, p {_chance(gap)}."


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
        (metric, _panel_title(metric)),
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


# --- study ----------------------------------------------------------------------------------------------------------


def study_page(study: Mapping[str, Any]) -> str:
    """What pre-training is worth at every number of labels, against the identical backbone from scratch.

    Keys: metric, higher_is_better, unit, ns, n_total, arms {arm: [{n, value, low, high}]}, trivial {name: value},
    paired [{n, value, low, high, p}], labels_saved [{n, factor, low, high, censored, at_most}], probe_paired and
    probe_labels_saved likewise, per_class {class: {arm: [...]}}, meeting_point, seeds, folds, speakers, config,
    protocol, title. `unit` is what labels are counted in, "labelled utterances".
    """
    get = study.get
    first, protocol = _protocol(get("protocol"))
    arms, name = get("arms") or {}, metric_name(get("metric") or "score")
    runs = " × ".join(filter(None, [_count(_size(get("seeds")), "seed"), _count(_size(get("folds")), "fold")]))
    sizes = [runs, _count(_size(get("speakers")), "speaker"), f"n = {number(get('n_total'))} labels"]
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
    body.append(_card(study, protocol | {key: get(key) for key in ("seeds", "folds", "speakers")}))
    body.append(page.settings(get("config") or {}))
    title = get("title") or "How many labels does pre-training save?"
    return page.document("label study", title, *body, lede=_listed(name, base))


def _protocol(found: Any) -> tuple[Any, dict[str, Any]]:
    """Its first line, which goes to the top of the page, and the rest."""
    rest = dict(found) if isinstance(found, Mapping) else {"protocol": found} if found else {}
    return rest.pop("first_line", None), rest


def _card(report: Mapping[str, Any], protocol: dict[str, Any]) -> Html:
    seconds = report.get("seconds")
    card = protocol | {"time": None if seconds is None else page.duration(seconds), "hardware": report.get("hardware")}
    shown = {_title(key): value for key, value in card.items() if value not in (None, "")}
    return page.section("Protocol", page.facts(shown)) if shown else Html("")


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


def _chance(point: Mapping[str, Any]) -> str:
    """p of a paired difference, the corrected one where there is one."""
    p = number_of(point, "p_holm" if point.get("p_holm") is not None else "p")
    return "< 0.001" if p < 0.001 else number(p, fixed=True)


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
                between = f"{_three(point, 'low')} to {_three(point, 'high')} (95 %), pre-trained − scratch in {name}"
                found.append((f"{word} at {number(n)}{share}", sign + _three(point), between))
        if point := _at(saved, tenth):
            low, high = number_of(point, "low"), number_of(point, "high")
            ends = number(low) if low > 0 else "less", number(high) if math.isfinite(high) else "more than measured"
            found.append((f"Labels saved at {number(tenth)}", _factor(point), f"{ends[0]} to {ends[1]} (95 %)"))
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
    rows = []
    for n in ns:
        row = [number(n), *(score(_at(points, n)) for points in arms.values())]
        for _, pairs, saved in against:
            row += [score(_at(pairs, n)), _chance(_at(pairs, n)), _factor(_at(saved, n))]
        rows.append(row)
    trivial = [f"{name.replace('_', ' ')} {_three(value)}" for name, value in (study.get("trivial") or {}).items()]
    head = ["labels", *map(charts.arm_name, arms)]
    for arm, _, _ in against:
        head += [f"{'probe' if arm == 'probe' else 'pre-trained'} − scratch", "p", "labels saved"]
    holm = any("p_holm" in point for _, pairs, _ in against for point in pairs)
    note = "Values with their 95 % intervals; p of the paired difference" + (", corrected by Holm." if holm else ".")
    note += f" Without any label: {', '.join(trivial)}." if trivial else ""
    return page.section("In numbers", page.table(head, rows, label="scores by number of labels"), tag("p", note))


def study_figure(study: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """Curve, paired difference and labels saved as one picture, in light colours."""
    charts.save(lambda: charts.study_overview(study), path_svg, path_png)


# --- predict --------------------------------------------------------------------------------------------------------


def timeline_page(prediction: Mapping[str, Any]) -> str:
    """One recording over time: waveform, segments, probabilities.

    Keys: path, duration_s, classes, times_s, probabilities (T, K), label, confidence, segments [{start, end, label,
    confidence}], waveform {times_s, low, high}, frames {times_s, values (F, K)}, intensity, model.
    """
    get = prediction.get
    segments, classes = list(get("segments") or ()), [text(c) for c in get("classes") or ()]
    length, path = get("duration_s"), text(get("path") or "recording")
    when = _clock_of(length or 0)
    windows = len(charts.series(get("times_s")))
    share: dict[str, float] = {}
    for s in segments:
        share[text(s["label"])] = share.get(text(s["label"]), 0.0) + float(s["end"]) - float(s["start"])
    share = dict(sorted(share.items(), key=lambda item: -item[1]))
    body: list[Any] = [page.warnings(get("warnings"))]
    numbers = not get("label") and not segments  # a model of intensities or dimensions, not of one emotion
    if numbers:
        with np.errstate(invalid="ignore"):
            course = np.array(get("probabilities") or np.full((1, len(classes)), np.nan), dtype=np.float64)
        means = zip(classes, course.mean(0).tolist(), strict=False)
        heard = [(name, number(value, fixed=True), "mean of the windows") for name, value in list(means)[:8]]
    else:
        chance = f", {number(1 / len(classes))} is chance" if classes else ""
        heard = [
            ("Heard", get("label") or NOTHING, "in the recording as a whole"),
            ("Confidence", _three(prediction, "confidence"), f"1 is certain{chance}"),
        ]
    sizes = _listed(_count(windows, "window"), _count(len(segments), "segment") if segments else "")
    body.append(page.tiles([*heard, ("Length", page.duration(length), sizes)]))
    spoken = ", ".join(f"{label} {100 * s / sum(share.values()):.0f} %" for label, s in list(share.items())[:5])
    shown = "Waveform, the most probable emotion, and the probability (0 to 1) of each over time."
    if numbers:
        shown = "Waveform, and the predicted values over time, in label units on one scale."
    finer = "averaged where they are finer than the picture; segments: the most frequent"
    frames = len(charts.series((get("frames") or {}).get("times_s")))
    thin = f" Thin line: at each of {frames:,} frames, heard in their surroundings." if frames else ""
    picture = charts.figure(
        lambda width: charts.timeline(prediction, width=width),
        "timeline",
        f"{shown} n = {windows:,} windows" + (f", {finer}." if windows > 600 else ".") + thin,
        f"Emotions over time: {spoken or 'no segments'}",
    )
    body.append(page.section("Over time", picture))
    if share:
        roles = charts.roles([*classes, *share])
        grid = page.bars(share, label="time by emotion", unit="time", show=page.duration, roles=roles)
        body.append(page.section("How long", grid))
    if segments:
        rows = [
            [when(float(s["start"])), when(float(s["end"])), s["label"], _three(s, "confidence")]
            for s in segments[:500]
        ]
        more = tag("p", f"and {len(segments) - 500:,} more") if len(segments) > 500 else None
        grid = page.table(["from", "to", "emotion", "confidence"], rows, label="segments")
        body.append(page.folded(f"{_count(len(segments), 'segment')} as a table", grid, more))
    body.append(page.settings(get("model") or {}, "Model"))
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    lede = _listed(path if path != name else "", page.duration(length) if length else "")
    return page.document("prediction", name, *body, lede=lede)


def _clock_of(length_s: float) -> Callable[[float], str]:
    """How moments of a recording are written: seconds, from two minutes on m:ss, from an hour on h:mm:ss."""
    if length_s < 120:
        return lambda s: f"{number(s, 2)} s"
    return lambda s: charts.clock(s, length_s >= 3600)


def timeline_figure(prediction: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """The picture of `timeline_page`, in light colours."""
    charts.save(lambda: charts.timeline(prediction), path_svg, path_png)


# --- demo -----------------------------------------------------------------------------------------------------------


def index_page(title: str, items: Sequence[Mapping[str, Any]], intro: str | None = None) -> str:
    """Links to the pages of a run: items of {title, href (relative), summary}."""
    cards = []
    for item in items:
        link = tag("a", item.get("title") or item.get("href"), href=item.get("href"))
        cards.append(tag("li", link, tag("p", item.get("summary") or "")))
    return page.document("run", title, tag("ul", cards, class_="cards"), lede=intro)
