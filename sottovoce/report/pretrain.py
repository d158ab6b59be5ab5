"""Whether a pre-training run is healthy: curves, masks, predictions, pictures of what was masked."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts, page, words
from sottovoce.report.charts import DASHED, SERIES, SOFT, runs, series
from sottovoce.report.known import known
from sottovoce.report.words import NOTHING, number, number_of, percent, text, three

HEALTH = (  # title, its curves and their names, when they were read, axis, what it means
    ("Mask coverage", {"coverage": ""}, "heldout_step", "share of frames masked",
     "Share of the valid frames that were masked."),
    ("Masked units", {"accuracy": ""}, "heldout_step", "share right",
     "By predicting the commonest unit it would be {often}."),
    ("Emotion", {"emotion_accuracy": ""}, "heldout_step", "share right", "Emotions of dev utterances."),
    ("Gender", {"gender_accuracy": ""}, "heldout_step", "share right",
     "Genders of dev utterances, where the corpus has them."),
    ("Representation rank", {"rank": ""}, "heldout_step", "effective dimensions",
     "Falling towards 1 would mean collapse."),
    ("Linear probe", {"probe_ua": ""}, "probe_step", "UA on dev",
     "A linear classifier on the frozen encoder, dev speakers only."),
    ("Intensity", {"hidden_intensity": "masked", "visible_intensity": "visible"}, "hidden_step", "mean intensity",
     "Mean intensity of the frames masked in training and of the others."),
)  # fmt: skip


def pretrain_page(report: Mapping[str, Any]) -> str:
    """Whether a pre-training run is healthy: losses next to the baseline, coverage, rank, probe, pictures.

    Keys: title, objective, backbone, parameters, corpora [{name, utterances, hours, speakers}], fold, exposure,
    seconds, hardware, curves {step, loss, heldout_step, heldout_loss, coverage, rank, probe_step, probe_ua,
    trivial_loss, accuracy, trivial_accuracy, emotion_accuracy, gender_accuracy, hidden_step, hidden_intensity,
    visible_intensity}, masking {rule, ratio, span, intensity, coverage, hidden_intensity, visible_intensity, stores},
    panels [{id, rate_hz, original (T, D), masked (T,), reconstructed (T, D), intensity (T,), rules {name: (T,)}}],
    units [{units, used, perplexity}], told {fact: text}, warnings, config.
    """
    report = known(report)
    curves, masking, panels = report["curves"], report["masking"], report["panels"]
    right, dev, probe = (series(curves[key]) for key in ("accuracy", "heldout_loss", "probe_ua"))
    often, baseline = (number_of(curves[key]) for key in ("trivial_accuracy", "trivial_loss"))
    predictor, kind = "always predicting the mean", "feature units"
    if len(right) or len(series(curves["emotion_accuracy"])):
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
    ruled = [panel | {"rule": masking["rule"]} for panel in panels if "rules" in panel]
    return page.render(
        "pretrain.html", report, tiles=tiles + _masking_tiles(masking), predictor=predictor,
        loss=charts.losses(curves, "dev speakers", f"loss, {kind}", ("baseline", baseline)),
        readings=(len(series(curves["loss"])), len(dev)), health=_health(curves, often),
        panels=[(_told(panel), partial(triptych, panel)) for panel in panels],
        spans=[(panel["id"], _shares(panel), partial(_hidden_spans, panel)) for panel in ruled],
    )  # fmt: skip


def _masking_tiles(found: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
    """Realised coverage and what was asked for; where the intensity is known, that of masked and visible frames."""
    if not number_of(found["coverage"]) > 0:
        return []
    ratio = f"{100 * found['ratio']:.0f} % asked for" if found["ratio"] else ""
    tiles = [("Masked", percent(found["coverage"], 1), words.listed(found["rule"], ratio, mark=", "))]
    if "hidden_intensity" in found:
        there, elsewhere = (three(found[f"{side}_intensity"]) for side in ("hidden", "visible"))
        tiles.append(("Intensity", there, f"{text(found['intensity'])} where masked; {elsewhere} elsewhere"))
    return tiles


def _health(curves: Mapping[str, Any], often: float) -> list[dict[str, Any]]:
    """Every other curve of the run, with its last reading."""
    found = []
    for title, names, steps, axis, meaning in HEALTH:
        lines = [(said, curves[steps], y) for key, said in names.items() if len(y := series(curves[key]))]
        if lines:
            draw = partial(charts.traces, lines, "step", axis, zero=len(lines) == 1)
            said = meaning.format(often=number(often))
            y = lines[0][2]
            found.append({"title": title, "draw": draw, "said": said, "n": len(y), "last": number(y[-1])})
    return found


def _shares(panel: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {100 * np.mean(mask):.0f} %" for name, mask in panel["rules"].items())


def _told(panel: Mapping[str, Any]) -> str:
    """What is masked of an utterance, and how well it was predicted there."""
    original, mask = np.asarray(panel["original"], dtype=np.float64), np.asarray(panel["masked"], dtype=bool)
    said = f"{text(panel['id'])}: {number(len(original) / panel['rate_hz'], 2)} s, {len(original):,} frames"
    rebuilt = np.asarray(panel["reconstructed"])
    if not mask.any():
        found, plain = (number(np.abs(values - original).mean()) for values in (rebuilt, original.mean(0)))
        return f"{said}, each predicted from its surroundings; mean absolute error {found}, of the mean {plain}"
    said += f", {100 * mask.mean():.0f} % masked (blue bars)"
    if mask.all():
        return said
    found, plain = (number(np.abs(values - original)[mask].mean()) for values in (rebuilt, original[~mask].mean(0)))
    return f"{said}; mean absolute error there {found}, predicting the mean of the rest {plain}"


def triptych(panel: Mapping[str, Any], *, width: int) -> Any:
    """Original, masked and reconstructed features (T, D) above each other on one time axis and one colour scale."""
    from matplotlib.ticker import MultipleLocator

    original, mask, rate = np.atleast_2d(panel["original"]), np.asarray(panel["masked"], dtype=bool), panel["rate_hz"]
    masked = np.where(mask[:, None], np.nan, original)
    rows = (
        {"original": original} | ({"masked": masked} if mask.any() else {}) | {"reconstructed": panel["reconstructed"]}
    )
    finite = original[np.isfinite(original)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    drawn = charts.sheet(width, 60 + 105 * len(rows))
    grid = drawn.subplots(len(rows), 1, sharex=True)
    for axes, (title, values) in zip(grid, rows.items(), strict=True):
        axes.set_facecolor(charts.PANEL)
        shades = charts.heatmap(axes, values, len(original) / rate, vmin=low, vmax=high)
        axes.set_title(title, pad=9 if title == "reconstructed" else 6)
        axes.yaxis.set_major_locator(MultipleLocator(max(original.shape[1] // 2, 1)))
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
    original, intensity, own = np.atleast_2d(panel["original"]), series(panel["intensity"]), panel["rule"]
    rate, end = panel["rate_hz"], len(original) / panel["rate_hz"]
    masks = {name: np.asarray(mask, dtype=bool) for name, mask in panel["rules"].items()}

    def features(axes: Any) -> None:
        charts.heatmap(axes, original, end)
        axes.set_yticks([])

    def course(axes: Any) -> None:
        charts.course(np.arange(len(intensity)) / rate, intensity, axes)
        axes.axhline(intensity.mean(), color=SOFT, linewidth=1, linestyle=DASHED)
        for start, stop in runs(masks[own]) if own in masks else ():
            axes.axvspan(start / rate, stop / rate, color=SERIES[1], alpha=0.18, linewidth=0)

    def spans(name: str, axes: Any) -> None:
        mask = masks[name]
        found = [(start / rate, (stop - start) / rate) for start, stop in runs(mask)]
        axes.broken_barh(found, (0.14, 0.72), facecolor=SERIES[1] if name == own else SERIES[0], linewidth=0)
        axes.set_ylim(0, 1)
        there = f", {number(float(intensity[mask].mean()), 2) if mask.any() else NOTHING}" if width > 500 else ""
        charts.beside(axes, f"{100 * mask.mean():.0f} %{there}", 0.5)

    rows: list[charts.Lane] = [(88, "features", features), (72, "intensity", course)]
    rows += [(18, f"{name} *" if name == own else name, partial(spans, name)) for name in masks]
    return charts.lanes(rows, end, width)


spans_figure = partial(charts.save, _hidden_spans)  # as files: what each rule masks of one utterance
