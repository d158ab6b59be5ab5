"""What a model learned on some corpora is worth on others."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sottovoce.report import charts, page
from sottovoce.report.known import known
from sottovoce.report.words import number, number_of, three


def transfer_page(found: Mapping[str, Any]) -> str:
    """The matrix as a picture and as numbers.

    Keys: title, task {classes}, corpora [{name, n, of, speakers, licence}], cells [{train, test, n, speakers, labels,
    copies_left_out, metrics {name: {value, low, high}}}], summary {one, all_but_one}, protocol, config, seconds.
    """
    found = known(found)
    classes, cells, corpora, means = found["task"]["classes"], found["cells"], found["corpora"], found["summary"]
    return page.render(
        "transfer.html", found, classes=classes, draw=cells and partial(_matrix, found),
        tiles=[("all but one", three(means["all_but_one"]), "mean UA on the corpus left out"),
               ("one corpus", three(means["one"]), "mean UA on every other corpus")],
        cells=[{**c, "learned": _name(c["train"], corpora)} for c in cells],
        copies=sum(c["copies_left_out"] for c in cells),
    )  # fmt: skip


def _name(train: Sequence[str], corpora: Sequence[Mapping[str, Any]]) -> str:
    """`ravdess`, or `all but nemo`."""
    left = [c["name"] for c in corpora if c["name"] not in train]
    return f"all but {left[0]}" if len(left) == 1 and len(train) > 1 else " + ".join(train)


def _matrix(found: Mapping[str, Any], *, width: int) -> Any:
    corpora = found["corpora"]
    columns = [c["name"] for c in corpora]
    rows = list(dict.fromkeys(_name(c["train"], corpora) for c in found["cells"]))
    axes = charts.sheet(width, 60 + 46 * len(rows)).subplots()
    middle = {"ha": "center", "va": "center", "color": charts.INK}
    for cell in found["cells"]:
        x, y, ua = columns.index(cell["test"]), rows.index(_name(cell["train"], corpora)), cell["metrics"]["ua"]
        shade = max(0.0, min(1.0, number_of(ua)))
        axes.bar(x, 0.92, 0.96, y - 0.46, color=charts.ACCENT, alpha=0.05 + 0.45 * shade, linewidth=0)
        axes.text(x, y - 0.13, three(ua), fontweight="bold", **middle)
        if ua["low"]:
            said = f"{number(ua['low'], 2, fixed=True)} to {number(ua['high'], 2, fixed=True)}"
            axes.text(x, y + 0.2, said, fontsize=10, **middle)
    axes.set(xlim=(-0.5, len(columns) - 0.5))
    heads = [charts.short(c, min(14, width // 9 // max(len(columns), 3))) for c in columns]
    axes.set_xticks(range(len(columns)), heads, color=charts.INK)
    charts.named_rows(axes, rows, width)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    return axes.figure


transfer_figure = partial(charts.save, _matrix)  # as files
