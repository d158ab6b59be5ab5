"""Whether pseudo-labels are worth learning: clusters, what they tell apart, how long they last."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from sottovoce.report import charts, page
from sottovoce.report.charts import series
from sottovoce.report.known import known
from sottovoce.report.words import number

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
        {"name": f"{number(entry['units'])} units, {said}", **entry[side]}
        for entry in sets for side, said in WHERE.items() if entry[side]
    ]  # fmt: skip
    labels = dict.fromkeys(label for found in read for label in found.get("names") or ())
    means = {label: [{"name": found["name"], **found["names"][label]} for found in read if label in found["names"]]
             for label in labels}  # fmt: skip
    seeds = [{"name": f"{number(entry['units'])} units, seed {number(other['seed'])}", **other}
             for entry in sets for other in entry["seeds"]]  # fmt: skip
    falling = [np.sort(series(entry["counts"]))[::-1] for entry in sets]
    lines = [
        (f"{number(len(n))} units", np.arange(1, len(n) + 1) / len(n), n * len(n) / n.sum()) for n in falling if n.sum()
    ]
    axis = "share of the units, most frequent first", "frequency, 1 = even"
    units = [number(entry["units"]) for entry in sets]
    return page.render(
        "label.html", report, read=read, means=means, seeds=seeds, units=units,
        draw=lines and partial(charts.traces, lines, *axis),
        frames={WHERE[side]: n for side, n in report["frames"].items()},
        people=len(report["seen_speakers"] or report["exposure"]),
        tiles=[(f"{n} units", number(entry["train"]["perplexity"], 1),
                "perplexity: as many equally frequent ones") for n, entry in zip(units, sets, strict=True)],
    )  # fmt: skip
