"""Whether a pre-training run is healthy: curves, masks, predictions, pictures of what was masked."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from sottovoce.report import charts, page, words
from sottovoce.report.charts import DASHED, HALF, INK, SERIES, SOFT, row_name, runs, series
from sottovoce.report.words import NOTHING, number, number_of, percent, text, three

HEALTH = {  # curve: title, unit, what it means
    "coverage": ("Mask coverage", "share of frames masked", "Share of the valid frames that were masked."),
    "accuracy": ("Masked units", "share right", "By predicting the commonest unit it would be {often}."),
    "emotion_accuracy": ("Emotion", "share right", "Emotions of dev utterances."),
    "gender_accuracy": ("Gender", "share right", "Genders of dev utterances, where the corpus has them."),
    "rank": ("Representation rank", "effective dimensions", "Falling towards 1 would mean collapse."),
    "probe_ua": ("Linear probe", "UA on dev", "A linear classifier on the frozen encoder, dev speakers only."),
}


def pretrain_page(report: Mapping[str, Any]) -> str:
    """Whether a pre-training run is healthy: losses next to the baseline, coverage, rank, probe, pictures.

    Keys: title, objective, backbone, parameters, corpora [{name, utterances, hours, speakers}], fold, exposure,
    seconds, hardware, curves {step, loss, heldout_step, heldout_loss, coverage, rank, probe_step, probe_ua,
    trivial_loss, accuracy, trivial_accuracy, emotion_accuracy, gender_accuracy, hidden_step, hidden_intensity,
    visible_intensity}, masking {rule, ratio, span, intensity, coverage, hidden_intensity, visible_intensity, stores},
    panels [{id, rate_hz, original (T, D), masked (T,), reconstructed (T, D), intensity (T,), rules {name: (T,)}}],
    units [{units, used, perplexity}], told {fact: text}, warnings, config.
    """
    get, curves, masking = report.get, report.get("curves") or {}, report.get("masking") or {}
    right, dev, probe = (series(curves.get(key)) for key in ("accuracy", "heldout_loss", "probe_ua"))
    often, baseline = (number_of(curves.get(key)) for key in ("trivial_accuracy", "trivial_loss"))
    predictor, kind = "always predicting the mean", "feature units"
    if len(right) or len(series(curves.get("emotion_accuracy"))):
        predictor, kind = "predicting by how frequent each class is", "nats"
    last = next(iter(dev[np.isfinite(dev)][-1:]), math.nan)
    tiles = [
        ("Dev loss", three(last), "on speakers never trained on"),
        ("Baseline loss", three(baseline), predictor),
        ("Learnt", percent(1 - last / baseline if baseline else math.nan, 1), "of the baseline loss is gone"),
    ]
    if len(probe):
        tiles.append(("Probe UA", three(probe[-1]), "linear, frozen encoder, dev"))
    if len(right):
        tiles.append(("Units right", percent(right[-1], 1), f"the commonest is {percent(often, 1)}"))
    panels = [panel for panel in get("panels") or () if panel.get("original") is not None]
    return page.render(
        "pretrain.html", report, tiles=tiles + _masking_tiles(masking), predictor=predictor,
        loss=charts.losses(curves, "dev speakers", f"loss, {kind}", ("baseline", baseline)),
        readings=(len(series(curves.get("loss"))), len(dev)),
        health=_health(curves, often), panels=[_panel(k, panel) for k, panel in enumerate(panels)],
        spans=[_spans(k, panel | {"rule": masking.get("rule")}) for k, panel in enumerate(panels) if "rules" in panel],
    )  # fmt: skip


def _masking_tiles(found: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
    """Realised coverage and what was asked for; where the intensity is known, that of masked and visible frames."""
    if not number_of(found.get("coverage")) > 0:
        return []
    ratio = f"{100 * found['ratio']:.0f} % asked for" if found.get("ratio") else ""
    tiles = [("Masked", percent(found["coverage"], 1), words.listed(found.get("rule"), ratio, mark=", "))]
    if "hidden_intensity" in found:
        there, elsewhere = (three(found.get(f"{side}_intensity")) for side in ("hidden", "visible"))
        tiles.append(("Intensity", there, f"{text(found.get('intensity') or '')} where masked; {elsewhere} elsewhere"))
    return tiles


def _health(curves: Mapping[str, Any], often: float) -> list[tuple[str, Markup]]:
    """(title, picture) of every other curve of the run."""
    drawn = []
    for key, (title, unit, meaning) in HEALTH.items():
        if len(y := series(curves.get(key))):
            draw = partial(charts.traces, [(unit, _steps(curves, key, len(y)), y)], "step", unit)
            said = f"{meaning.format(often=number(often))} n = {len(y):,} readings, last {number(y[-1])}."
            alt = f"{title} over steps, last {number(y[-1])}"
            drawn.append((title, charts.figure(draw, key.replace("_", "-"), said, alt, HALF)))
    strong, weak = (series(curves.get(f"{side}_intensity")) for side in ("hidden", "visible"))
    if len(strong):
        x = _steps(curves, "hidden", len(strong))
        lines = [("masked", x, strong), ("visible", x, weak)]
        draw = partial(charts.traces, lines, "step", "mean intensity", zero=False)
        said = f"Mean intensity of the frames masked in training and of the others. n = {len(strong):,} epochs."
        alt = "Mean intensity of masked and of visible frames over updates"
        drawn.append(("Intensity", charts.figure(draw, "intensity", said, alt, HALF)))
    return drawn


def _steps(curves: Mapping[str, Any], key: str, many: int) -> np.ndarray:
    """The steps a curve was read at: its own, or those of the readings with the same length."""
    own = {"probe_ua": "probe_step"}.get(key, f"{key}_step")
    found = (series(curves.get(name)) for name in (own, "step", "heldout_step"))
    return next((x for x in found if len(x) == many), np.arange(many, dtype=np.float64))


def _spans(k: int, panel: Mapping[str, Any]) -> Markup:
    shares = ", ".join(f"{name} {100 * np.mean(mask):.0f} %" for name, mask in panel["rules"].items())
    said = f"{text(panel.get('id', f'utterance {k + 1}'))}: intensity, its mean dashed, and what each rule masks."
    alt = f"Features, intensity and masked spans of {text(panel.get('id'))} by rule: {shares}"
    return charts.figure(partial(_hidden_spans, panel), f"spans-{k}", said, alt)


def _panel(k: int, panel: Mapping[str, Any]) -> Markup:
    original, mask = np.asarray(panel["original"], dtype=np.float64), np.asarray(panel.get("masked", ()), dtype=bool)
    seconds, rebuilt = len(original) / float(panel.get("rate_hz") or 100.0), panel.get("reconstructed")
    said = f"{text(panel.get('id', f'utterance {k + 1}'))}: {number(seconds, 2)} s, {len(original):,} frames"
    if len(mask) == len(original) and mask.any():
        said += f", {100 * mask.mean():.0f} % masked (blue bars)"
        if rebuilt is not None and not mask.all():
            found = np.abs(np.asarray(rebuilt) - original)[mask].mean()
            plain = np.abs(original[~mask].mean(0) - original)[mask].mean()
            said += f"; mean absolute error there {number(found)}, predicting the mean of the rest {number(plain)}"
    elif rebuilt is not None:
        found, plain = (number(np.abs(values - original).mean()) for values in (rebuilt, original.mean(0)))
        said += f", each predicted from its surroundings; mean absolute error {found}, of the mean {plain}"
    alt = f"Original, masked and reconstructed features. {said}"
    return charts.figure(partial(triptych, panel), f"panel-{k}", said + ".", alt, HALF)


def triptych(panel: Mapping[str, Any], *, width: int) -> Any:
    """Original, masked and reconstructed features (T, D) above each other on one time axis and one colour scale."""
    from matplotlib.ticker import MultipleLocator

    original, rebuilt = np.atleast_2d(panel["original"]), panel.get("reconstructed")
    mask = np.asarray(panel.get("masked", np.zeros(len(original))), dtype=bool)
    rate = float(panel.get("rate_hz") or 100.0)
    masked = np.array(original, dtype=np.float64)
    masked[mask[: len(masked)]] = np.nan
    rows = [("original", original)] + [("masked", masked)] * bool(mask.any())
    if rebuilt is not None:
        rows.append(("reconstructed", np.atleast_2d(rebuilt)))
    finite = original[np.isfinite(original)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    drawn = charts.sheet(width, 60 + 105 * len(rows))
    grid = drawn.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    shades: Any = None
    for axes, (title, values) in zip(grid, rows, strict=True):
        axes.set_facecolor(charts.PANEL)
        shades = charts.heatmap(axes, values, len(original) / rate, vmin=low, vmax=high)
        axes.set_title(title, pad=9 if title == "reconstructed" else 6)
        axes.yaxis.set_major_locator(MultipleLocator(max(values.shape[1] // 2, 1)))
    above = grid[-1].get_xaxis_transform()  # x in seconds, y in axes heights
    for start, stop in runs(mask):  # what was masked, marked above the reconstruction
        x = [start / rate, stop / rate]
        grid[-1].plot(x, [1.03, 1.03], transform=above, color=SERIES[5], linewidth=3, clip_on=False)
    grid[len(rows) // 2].set_ylabel("feature index")
    charts.time_axis(grid[-1], len(original) / rate)
    bar = drawn.colorbar(shades, ax=list(grid), fraction=0.04, pad=0.01, aspect=40)
    bar.outline.set_visible(False)
    bar.set_label("value, feature units")
    return drawn


def _hidden_spans(panel: Mapping[str, Any], *, width: int) -> Any:
    """Features (T, D), their intensity (T,) and, a row for every rule, the spans it masks: `rules` {name: (T,) bool}.

    Next to each row the share it masks and the mean intensity there; `rule` names the one that was trained with.
    """
    original, intensity = np.atleast_2d(panel["original"]), series(panel["intensity"])
    rate, rules, own = float(panel.get("rate_hz") or 100.0), panel["rules"], panel.get("rule")
    drawn = charts.sheet(width, 230 + 24 * len(rules))
    above, curve, below = drawn.subplots(3, 1, sharex=True, height_ratios=[88, 72, 24 * len(rules)])
    charts.heatmap(above, original, len(original) / rate)
    above.set_yticks([])
    row_name(above, "features")
    curve.plot(*charts.alike(np.arange(len(intensity)) / rate, intensity, most=600), color=INK, linewidth=1.4)
    curve.axhline(intensity.mean(), color=SOFT, linewidth=1, linestyle=DASHED)
    ends = [float(intensity.min()), float(intensity.max())]
    curve.set_yticks(ends, [number(end, 2) for end in ends])
    curve.yaxis.tick_right()
    curve.margins(y=0.12)
    row_name(curve, "intensity")
    for k, (name, mask) in enumerate(rules.items()):
        mask = np.asarray(mask, dtype=bool)
        spans = [(start / rate, (stop - start) / rate) for start, stop in runs(mask)]
        colour = SERIES[1] if name == own else SERIES[0]
        below.broken_barh(spans, (k - 0.36, 0.72), facecolor=colour, linewidth=0)
        there = f", {number(float(intensity[mask].mean()), 2) if mask.any() else NOTHING}" if width > 500 else ""
        charts.beside(below, f"{100 * mask.mean():.0f} %{there}", k)
        for start, length in spans if name == own else ():
            curve.axvspan(start, start + length, color=colour, alpha=0.18, linewidth=0)
    below.set_yticks(range(len(rules)), [name if name != own else f"{name} *" for name in rules])
    below.tick_params(axis="y", labelcolor=INK)
    below.set_ylim(len(rules) - 0.5, -0.5)
    for axes in (above, curve, below):
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
    charts.time_axis(below, len(original) / rate)
    return drawn


spans_figure = partial(charts.save, _hidden_spans)  # as files: what each rule masks of one utterance
