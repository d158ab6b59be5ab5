"""Whether pseudo-labels are worth learning: clusters, what they tell apart, how long they last."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts, page
from sottovoce.report.charts import series
from sottovoce.report.known import known
from sottovoce.report.words import number, percent, three

WHERE = {"train": "fitted on", "heldout": "dev speakers"}


def label_page(report: Mapping[str, Any]) -> str:
    """Whether pseudo-labels are worth learning from: use, lengths, what they mean, how far they depend on the seed.

    Keys: title, run, layer, fold, seed, genders, codebook, width, rate_hz, frames {train, heldout}, corpora [{name,
    train, heldout}], sets [{clusters, units, inertia, counts, train, heldout, seeds [{seed, ari, nmi}]}] with sides
    {distance, explained, used, empty, perplexity, mean_ms, median_ms, p95_ms, single, names {label: {purity, chance,
    nmi}}}, exposure, warnings, config, seconds, hardware.
    """
    report = known(report)
    sets = report["sets"]
    read = [  # every label set on both sides
        (f"{number(entry['units'])} units, {said}", entry[side])
        for entry in sets for side, said in WHERE.items() if entry[side]
    ]  # fmt: skip
    use = [
        (name, found["used"], percent(found["explained"], 1),
         *(number(found[key], 0) for key in ("mean_ms", "median_ms", "p95_ms")), percent(found["single"]))
        for name, found in read
    ]  # fmt: skip
    means = {
        label: [(name, *(three(found["names"][label][key]) for key in ("nmi", "purity", "chance")))
                for name, found in read if label in found["names"]]
        for label in dict.fromkeys(label for _, found in read for label in found["names"])
    }  # fmt: skip
    seeds = [
        (f"{number(e['units'])} units, seed {number(other['seed'])}", three(other["ari"]), three(other["nmi"]))
        for e in sets for other in e["seeds"]
    ]  # fmt: skip
    falling = [np.sort(series(entry["counts"]))[::-1] for entry in sets]
    lines = [
        (f"{number(len(n))} units", np.arange(1, len(n) + 1) / len(n), n * len(n) / n.sum()) for n in falling if n.sum()
    ]
    axis = "share of the units, most frequent first", "frequency, 1 = even"
    units = [number(entry["units"]) for entry in sets]
    return page.render(
        "label.html", report, use=use, means=means, seeds=seeds, units=units,
        draw=lines and partial(charts.traces, lines, *axis),
        frames={WHERE[side]: n for side, n in report["frames"].items()},
        people=len(report["seen_speakers"] or report["exposure"]),
        tiles=[(f"{n} units", number(entry["train"]["perplexity"], 1),
                "perplexity: as many equally frequent ones") for n, entry in zip(units, sets, strict=True)],
    )  # fmt: skip
