"""What a model learned on some corpora is worth on others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sottovoce.report import charts, page, words
from sottovoce.report.words import number, score, text, three


def transfer_page(found: Mapping[str, Any]) -> str:
    """The matrix as a picture and as numbers.

    Keys: title, task {classes}, corpora [{name, n, of, speakers, licence}], cells [{train, test, n, speakers, labels,
    copies_left_out, metrics {name: {value, low, high}}}], summary {one, all_but_one}, protocol, config, seconds.
    """
    get = found.get
    classes, cells, corpora = (get("task") or {}).get("classes") or (), get("cells") or (), get("corpora") or ()
    caption = (
        f"UA of {len(classes)} classes with its 95 % interval, over the speakers of the tested corpus; chance is "
        f"{three(1 / max(len(classes), 1))}. Rows were trained on, columns tested."
    )
    means = get("summary") or {}
    return page.render(
        "transfer.html", found, classes=", ".join(map(text, classes)),
        tiles=[("all but one", three(means.get("all_but_one")), "mean UA on the corpus left out"),
               ("one corpus", three(means.get("one")), "mean UA on every other corpus")],
        drawn=cells and charts.figure(lambda width: _matrix(found, width), "transfer", caption, "UA by corpora"),
        rows=[(_name(c["train"], corpora), c["test"], number(c["n"]), number(c["speakers"]), number(c["labels"]),
               *(score(c["metrics"].get(m)) for m in ("ua", "wa", "macro_f1"))) for c in cells],
        corpora=[(c["name"], f"{number(c['n'])} of {number(c['of'])}", number(c["speakers"]), c["licence"])
                 for c in corpora],
        copies=sum(c["copies_left_out"] for c in cells),
    )  # fmt: skip


def _name(train: Sequence[str], corpora: Sequence[Mapping[str, Any]]) -> str:
    """`ravdess`, or `all but nemo`."""
    left = [c["name"] for c in corpora if c["name"] not in train]
    return f"all but {left[0]}" if len(left) == 1 and len(train) > 1 else " + ".join(train)


def _matrix(found: Mapping[str, Any], width: int) -> Any:
    corpora = found["corpora"]
    columns = [c["name"] for c in corpora]
    rows = list(dict.fromkeys(_name(c["train"], corpora) for c in found["cells"]))
    drawn = charts.sheet(width, 60 + 46 * len(rows))
    axes = drawn.subplots()
    for cell in found["cells"]:
        x, y, ua = columns.index(cell["test"]), rows.index(_name(cell["train"], corpora)), cell["metrics"]["ua"]
        shade = max(0.0, min(1.0, words.number_of(ua)))
        axes.add_patch(_box(x, y, shade))
        axes.text(x, y - 0.13, three(ua), ha="center", va="center", fontweight="bold", color=charts.INK)
        if ua.get("low") is not None:
            said = f"{number(ua['low'], 2, fixed=True)} to {number(ua['high'], 2, fixed=True)}"
            axes.text(x, y + 0.2, said, ha="center", va="center", fontsize=10, color=charts.INK)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(
        range(len(columns)),
        [charts.short(c, min(14, width // 9 // max(len(columns), 3))) for c in columns],
        color=charts.INK,
    )
    axes.set_yticks(range(len(rows)), [charts.short(r, charts.letters(width)) for r in rows], color=charts.INK)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return drawn


def _box(x: int, y: int, shade: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=charts.ACCENT, alpha=0.05 + 0.45 * shade, linewidth=0)


def transfer_figure(found: Mapping[str, Any], path_svg: Path | str | None, path_png: Path | str | None) -> None:
    """The picture of `transfer_page`, as files."""
    charts.save(lambda: _matrix(found, charts.WIDE), path_svg, path_png)
