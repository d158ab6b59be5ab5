"""Whether a pre-training run is healthy: curves, masks, guesses, pictures of what was hidden."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.report import _old_words as words
from sottovoce.report import _old_charts as charts
from sottovoce.report import _old_page as page
from sottovoce.report._old_charts import HALF, number_of
from sottovoce.report._old_page import NOTHING, Html, number, tag, text


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
                    [("Units right", words.percent(right[-1], 1), f"the commonest is {words.percent(often, 1)}")]
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
    lede = words.listed(get("objective"), get("backbone"), get("fold") and f"fold {get('fold')}")
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
