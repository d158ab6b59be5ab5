"""Results as tables of the terminal. What is shown here is in files too; nothing is computed."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sottovoce.errors import one_line, say


class Terminal(Console):
    """Shows names of files, people and classes as they are: `[/b]` and `:smile:` mean nothing, nor does an escape
    sequence. `width`: columns where there is no terminal."""

    def __init__(self, width: int | None = None):
        super().__init__(highlight=False, markup=False, emoji=False)
        if width and not self.is_terminal:
            self.width = width

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(one_line(text), **how)


def _table(
    title: str | None,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Collection[str] = ("",),
    fold: Collection[str] = (),
    **how: Any,
) -> Table:
    """Columns to the right, but those named `left`; what is too long for one named `fold` goes on below."""
    out = Table(title=title, **how)
    for head in heads:
        overflow: Any = "fold" if head in fold else "ellipsis"
        out.add_column(head, justify="left" if head in left else "right", overflow=overflow)
    for row in rows:
        out.add_row(*row)
    return out


def corpus(report: Mapping[str, Any], out: Path) -> None:
    """The report on the terminal."""
    from sottovoce.pipeline.prepare import FEW
    from sottovoce.report.prepare import SIDES
    from sottovoce.report.words import genders

    console = Terminal()
    hours = "" if report["hours"] is None else f", {report['hours']:.2f} h"
    people = (
        f", {report['speakers']} speakers ({genders(report['genders'])})"
        if report["speakers"]
        else ", speakers unknown"
    )
    console.print(f"{report['corpus']}: {report['utterances']} utterances{hours}{people}", style="bold")
    for label, counts in report["counts"].items():
        if len(counts) <= FEW:
            console.print(f"  {label}: " + ", ".join(f"{name} {n}" for name, n in counts.items()), soft_wrap=True)
    for label, v in report["numbers"].items():
        console.print(f"  {label}: {v['min']:g} to {v['max']:g}, mean {v['mean']:.2f} (n = {v['n']})")
    if spans := report["durations_s"]:
        console.print("  seconds: " + ", ".join(f"{k} {spans[k]:.2f}" for k in ("min", "median", "mean", "max")))
    formats = [f"{n} at {rate} Hz" for rate, n in report["sample_rates"].items()]
    formats += [f"{n} with {c} channel{'' if c == '1' else 's'}" for c, n in report["channels"].items()]
    if formats:
        console.print("  files: " + ", ".join(formats), soft_wrap=True)
    if report["folds"]:
        rows = [(fold["name"], fold["group"], *(str(fold[side]) for side in SIDES)) for fold in report["folds"]]
        heads = ("fold", "apart by", *SIDES)
        console.print(_table(None, heads, rows, left=heads, box=None, padding=(0, 2, 0, 2)))
    console.print(f"  folds keep apart: {report['exposure']['keeps_apart']}")
    for warning in report["warnings"]:
        console.print(f"  ! {warning}", soft_wrap=True, style="yellow")
    console.print(str(out / "report.html"), soft_wrap=True)


def scores(report: Mapping[str, Any]) -> None:
    """The main scores next to the baselines, as a terminal table."""
    from sottovoce.evaluation import lines

    names = [n for n in ("ua", "wa", "macro_f1", "ccc", "mae", "acc4", "wacc", "per") if n in report["metrics"]]
    known = {"this run": report["metrics"]} | {name: of["metrics"] for name, of in report["baselines"].items()}
    heads = ["", *(name.upper().replace("MACRO_F1", "macro-F1") for name in names)]
    title = f"{report['title']} (n = {report['n']}, {report['speakers'] or 'unknown'} speakers)"
    if report["protocol"]["first_line"]:
        say(report["protocol"]["first_line"])
    rows = [[label, *(lines.score(of[name]) for name in names)] for label, of in known.items()]
    Terminal(120).print(_table(title, heads, rows))
    if found := report.get("raters"):
        both = {name: (found[name]["kl"]["value"], found[name]["js"]["value"]) for name in ("model", "training shares")}
        said = "; ".join(f"{name}: KL {kl:.3f}, JS {js:.3f}" for name, (kl, js) in both.items())
        say(f"From the shares of the raters (nats, 0 = the same): {said}")


def comparison(result: Mapping[str, Any]) -> None:
    """The comparison as terminal tables."""
    from sottovoce.evaluation import lines

    console, metric, rows = Terminal(140), result["metric"], []
    for entry in result["systems"]:
        gap = entry.get("difference", {}).get(metric)
        p = "" if gap is None or gap.get("p_holm") is None else f"{gap['p_holm']:.3f}"
        detectable = entry.get("detectable")
        least = "" if detectable is None else f"{detectable:.3f}"
        cells = (lines.score(entry["metrics"][metric]), lines.score(gap, "+.3f"), p, least)
        rows.append((entry["name"], str(len(entry["seeds"])), *cells))
    for line in filter(None, [result["protocol"]["first_line"], *result["warnings"]]):
        say(line)
    heads = ("", "seeds", metric.upper(), f"- {result['reference']}", "p (Holm)", "detectable")
    title = f"{result['title']} (n = {result['n']}, {result['speakers'] or 'unknown'} speakers)"
    console.print(_table(title, heads, rows))
    stem = "recall" if result["task"]["kind"] == "class" else "ccc"
    names = [c for c in result["task"]["classes"] if f"{stem}_{c}" in result["systems"][0]["metrics"]]
    if not names:
        return
    heads = ("", *(entry["name"] for entry in result["systems"]))
    rows = [(c, *(lines.score(entry["metrics"][f"{stem}_{c}"]) for entry in result["systems"])) for c in names]
    console.print(_table(f"{stem} of each {'class' if stem == 'recall' else 'number'}", heads, rows))


def audit(result: Mapping[str, Any]) -> None:
    """Leaks of every kind, with examples."""
    title, heads = f"{result['title']}: {result['leaks'] or 'no'} leak{'s' * (result['leaks'] != 1)}", ("", "example")
    rows = [(r["kind"], str(r["leaks"]), str(r["told"]), (r["examples"] or [""])[0]) for r in result["kinds"]]
    Terminal(140).print(_table(title, ("", "leaks", "train and dev", "example"), rows, left=heads, fold=heads))


def transfer(result: Mapping[str, Any]) -> None:
    """UA of every corpus tested, a row for what was trained on."""
    from sottovoce.evaluation import lines

    names, rows = [c["name"] for c in result["corpora"]], []
    for train in dict.fromkeys(tuple(c["train"]) for c in result["cells"]):
        own = {c["test"]: c["metrics"]["ua"] for c in result["cells"] if tuple(c["train"]) == train}
        rows.append((" + ".join(train), *(lines.score(own.get(name)) for name in names)))
    title, head = f"{result['title']}, UA of {len(result['task']['classes'])} classes", "trained on"
    Terminal(140).print(_table(title, (head, *names), rows, left=(head,)))


def sensitivity(result: Mapping[str, Any]) -> None:
    """How far a result moves, the ends of every kind of change."""
    from sottovoce.evaluation.sensitivity import KINDS

    what, ends = " - ".join(reversed(result["systems"])), []
    for kind in KINDS:
        rows = sorted((row for row in result[kind] if row["value"] == row["value"]), key=lambda row: row["value"])
        if rows:
            low, high = rows[0], rows[-1]
            ends.append(
                (kind, f"{low['value']:.3f}", low["name"], f"{high['value']:.3f}", high["name"], str(len(rows)))
            )
    title = f"{what}: {result['metric'].upper()} {result['value']:.3f} (n = {result['n']})"
    Terminal(120).print(_table(title, ("", "lowest", "", "highest", "", "of"), ends))


def curve(result: Mapping[str, Any]) -> None:
    """The curve as a terminal table."""
    from sottovoce.evaluation import lines
    from sottovoce.evaluation.curves import compared_with_scratch

    arm, prefix = compared_with_scratch(result)
    heads = ["labels", *result["arms"], f"{arm} - scratch", "labels saved"]
    heads += [f"with {result['dev_labels']} of dev"] * bool(result["dev_labels"])  # else they are counted already
    rows = []
    for k, n in enumerate(result["ns"]):
        saved = (result.get(f"{prefix}labels_saved") or [None] * len(result["ns"]))[k]
        factor = "" if saved is None else _factor(saved, saved["factor"])
        counted = "" if saved is None else _factor(saved, saved["with_dev"]["factor"])
        paired = (result.get(f"{prefix}paired") or [None] * len(result["ns"]))[k]
        row = [lines.score(found) for found in (*(of[k] for of in result["arms"].values()), paired)]
        rows.append([str(n), *row, factor, *[counted] * bool(result["dev_labels"])])
    for line in result["warnings"]:
        say(line)
    title = f"{result['title']} ({result['metric'].upper()}, {result['seeds']} seeds, {result['folds']} folds)"
    Terminal(160).print(_table(title, heads, rows))


def _factor(saved: Mapping[str, Any], factor: float) -> str:
    """Labels saved, with its sign where it is a bound."""
    return f"{'>= ' if saved['censored'] else '<= ' if saved['at_most'] else ''}{factor:.1f}x"


def predictions(rows: Sequence[Mapping[str, Any]], names: Sequence[str], kind: str, most: int) -> None:
    """Rows of results in the terminal, strongest classes first; of more than `most`, how many of each label."""
    for row in rows:
        if row["note"]:
            say(f"{row['path']}: {row['note']}", err=True)
    if len(rows) > most and kind == "class":
        counts = Counter(row["label"] or "no speech" for row in rows).most_common()
        heads, counted = ("emotion", "recordings"), [(label, f"{count:,}") for label, count in counts]
        Terminal().print(_table(None, heads, counted, left=("emotion",)))
        return

    def cells(row: Mapping[str, Any]) -> list[str]:
        if kind == "class":
            shares = sorted(((row[f"p_{n}"] or 0.0, n) for n in names), reverse=True)[:3] if row["label"] else []
            return [row["label"], "  ".join(f"{n} {p:.2f}" for p, n in shares)]
        return ["–" if row[n] is None else f"{row[n]:.2f}" for n in names]

    words = ("emotion", "probabilities") if kind == "class" else ()
    said = [(str(row["path"]), f"{row['duration_s']:.1f}", *cells(row)) for row in rows]
    table = _table(None, ("recording", "s", *(words or names)), said, left=("recording", *words), fold=("recording",))
    Terminal(120).print(table)


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of texts, its first column to the left."""
    Terminal(120).print(_table(None, head, rows, left=head[:1], box=None, padding=(0, 2, 0, 0)))
