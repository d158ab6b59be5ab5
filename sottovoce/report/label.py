"""Whether pseudo-labels are worth learning: clusters, what they tell apart, how long they last."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sottovoce.report import _old_words as words
from sottovoce.report import _old_charts as charts
from sottovoce.report import _old_page as page
from sottovoce.report._old_page import number, tag


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
        (f"{number(entry['units'])} units, {said}", entry[side])
        for entry in sets
        for side, said in where.items()
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
        [name, number(found.get("used")), words.percent(found.get("explained"), 1),
         *(number(found.get(key), 0) for key in ("mean_ms", "median_ms", "p95_ms")), words.percent(found.get("single"))]
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
        rows = [[name, *(words.three(entry.get(key)) for key in ("nmi", "purity", "chance"))] for name, entry in beside]
        grid = page.table(["", "NMI", "purity", "most frequent alone"], rows, label=f"agreement with {label}")
        grids.append(page.join([tag("h3", words.title(label)), grid]))
    if grids:
        body.append(page.section("What units mean", tag("p", told), page.pair(*grids)))
    seeds = [
        [
            f"{number(e['units'])} units, seed {number(other.get('seed'))}",
            words.three(other.get("ari")),
            words.three(other.get("nmi")),
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
        "People known": len(get("seen_speakers") or get("exposure") or ()),
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
    lede = words.listed(layer, kinds and f"{kinds} units", get("fold") and f"fold {get('fold')}")
    return page.document("pseudo-labels", get("title") or "Pseudo-labels", *body, lede=lede)
