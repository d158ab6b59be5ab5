"""Results as tables of the terminal. What is shown here is in files too; nothing is computed."""

from collections import Counter
from collections.abc import Mapping, Sequence
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


def corpus(report: Mapping[str, Any], out: Path) -> None:
    """The report on the terminal."""

    from sottovoce.pipeline.prepare import FEW, SIDES
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
        table = Table("fold", "apart by", "train", "dev", "test", box=None, padding=(0, 2, 0, 2))
        for fold in report["folds"]:
            table.add_row(fold["name"], fold["group"], *(str(fold[side]) for side in SIDES))
        console.print(table)
    console.print(f"  folds keep apart: {report['exposure']['keeps_apart']}")
    for warning in report["warnings"]:
        console.print(f"  ! {warning}", soft_wrap=True, style="yellow")
    console.print(str(out / "report.html"), soft_wrap=True)


def scores(report: Mapping[str, Any]) -> None:
    """The main scores next to the baselines, as a terminal table."""

    names = [n for n in ("ua", "wa", "macro_f1", "ccc", "mae", "acc4", "wacc", "per") if n in report["metrics"]]
    out = Table(title=f"{report['title']} (n = {report['n']}, {report['speakers'] or 'unknown'} speakers)")
    out.add_column("")
    for name in names:
        out.add_column(name.upper().replace("MACRO_F1", "macro-F1"), justify="right")

    def row(label: str, scores: Mapping[str, Any]) -> None:
        cells = []
        for name in names:
            s = scores[name]
            between = "" if s.get("low") is None else f" [{s['low']:.3f}, {s['high']:.3f}]"
            cells.append(f"{s['value']:.3f}{between}")
        out.add_row(label, *cells)

    row("this run", report["metrics"])
    for name, values in report["baselines"].items():
        row(name, values["metrics"])
    if report["protocol"]["first_line"]:
        say(report["protocol"]["first_line"])
    Terminal(120).print(out)
    if found := report.get("raters"):
        rows = ((name, found[name]["kl"]["value"], found[name]["js"]["value"]) for name in ("model", "training shares"))
        said = "; ".join(f"{name}: KL {kl:.3f}, JS {js:.3f}" for name, kl, js in rows)
        say(f"From the shares of the raters (nats, 0 = the same): {said}")


def comparison(result: Mapping[str, Any]) -> None:
    """The comparison as terminal tables."""

    from sottovoce.evaluation.compare import interval_text

    console = Terminal(140)
    metric, people = result["metric"], result["speakers"] or "unknown"
    out = Table(title=f"{result['title']} (n = {result['n']}, {people} speakers)")
    for head in ("", "seeds", metric.upper(), f"- {result['reference']}", "p (Holm)", "detectable"):
        out.add_column(head, justify="left" if not head else "right")
    for entry in result["systems"]:
        gap = entry.get("difference", {}).get(metric)
        p = "" if gap is None or gap.get("p_holm") is None else f"{gap['p_holm']:.3f}"
        detectable = entry.get("detectable")
        least = "" if detectable is None else f"{detectable:.3f}"
        cells = (interval_text(entry["metrics"][metric]), interval_text(gap, "+.3f"), p, least)
        out.add_row(entry["name"], str(len(entry["seeds"])), *cells)
    for line in filter(None, [result["protocol"]["first_line"], *result["warnings"]]):
        say(line)
    console.print(out)
    stem = "recall" if result["task"]["kind"] == "class" else "ccc"
    names = [c for c in result["task"]["classes"] if f"{stem}_{c}" in result["systems"][0]["metrics"]]
    if not names:
        return
    each = Table(title=f"{stem} of each {'class' if stem == 'recall' else 'number'}")
    each.add_column("")
    for entry in result["systems"]:
        each.add_column(entry["name"], justify="right")
    for c in names:
        each.add_row(c, *(interval_text(entry["metrics"][f"{stem}_{c}"]) for entry in result["systems"]))
    console.print(each)


def audit(result: Mapping[str, Any]) -> None:
    """Leaks of every kind, with examples."""
    out = Table(title=f"{result['title']}: {result['leaks'] or 'no'} leak{'s' * (result['leaks'] != 1)}")
    for head in ("", "leaks", "train and dev", "example"):
        out.add_column(head, justify="right" if head in ("leaks", "train and dev") else "left", overflow="fold")
    for row in result["kinds"]:
        out.add_row(row["kind"], str(row["leaks"]), str(row["told"]), (row["examples"] or [""])[0])
    Terminal(140).print(out)


def transfer(result: Mapping[str, Any]) -> None:
    """UA of every corpus tested, a row for what was trained on."""

    from sottovoce.evaluation.compare import interval_text

    names = [c["name"] for c in result["corpora"]]
    out = Table(title=f"{result['title']}, UA of {len(result['task']['classes'])} classes")
    for head in ("trained on", *names):
        out.add_column(head, justify="left" if head == "trained on" else "right")
    for train in dict.fromkeys(tuple(c["train"]) for c in result["cells"]):
        own = {c["test"]: c["metrics"]["ua"] for c in result["cells"] if tuple(c["train"]) == train}
        out.add_row(" + ".join(train), *(interval_text(own.get(name)) for name in names))
    Terminal(140).print(out)


def sensitivity(result: Mapping[str, Any]) -> None:
    """How far a result moves, the ends of every kind of change."""
    from sottovoce.evaluation.sensitivity import KINDS

    what = " - ".join(reversed(result["systems"]))
    out = Table(title=f"{what}: {result['metric'].upper()} {result['value']:.3f} (n = {result['n']})")
    for head in ("", "lowest", "", "highest", "", "of"):
        out.add_column(head, justify="left" if not head else "right")
    for kind in KINDS:
        rows = sorted((row for row in result[kind] if row["value"] == row["value"]), key=lambda row: row["value"])
        if rows:
            low, high = rows[0], rows[-1]
            ends = (f"{low['value']:.3f}", low["name"], f"{high['value']:.3f}", high["name"])
            out.add_row(kind, *ends, str(len(rows)))
    Terminal(120).print(out)


def curve(result: Mapping[str, Any]) -> None:
    """The curve as a terminal table."""

    from sottovoce.evaluation.curves import compared_with_scratch

    out = Table(
        title=f"{result['title']} ({result['metric'].upper()}, {result['seeds']} seeds, {result['folds']} folds)"
    )
    out.add_column("labels", justify="right")
    for arm in result["arms"]:
        out.add_column(arm, justify="right")
    arm, prefix = compared_with_scratch(result)
    out.add_column(f"{arm} - scratch", justify="right")
    out.add_column("labels saved", justify="right")
    if result["dev_labels"]:  # else they are counted already
        out.add_column(f"with {result['dev_labels']} of dev", justify="right")

    def cell(p: Mapping[str, Any] | None) -> str:
        if p is None:
            return ""
        return f"{p['value']:.3f}" + ("" if p["low"] is None else f" [{p['low']:.3f}, {p['high']:.3f}]")

    for k, n in enumerate(result["ns"]):
        saved = (result.get(f"{prefix}labels_saved") or [None] * len(result["ns"]))[k]
        factor = "" if saved is None else _factor(saved, saved["factor"])
        counted = "" if saved is None else _factor(saved, saved["with_dev"]["factor"])
        paired = (result.get(f"{prefix}paired") or [None] * len(result["ns"]))[k]
        row = [cell(of[k]) for of in result["arms"].values()] + [cell(paired), factor]
        out.add_row(str(n), *row, *[counted] * bool(result["dev_labels"]))
    for line in result["warnings"]:
        say(line)
    Terminal(160).print(out)


def _factor(saved: Mapping[str, Any], factor: float) -> str:
    """Labels saved, with its sign where it is a bound."""
    return f"{'>= ' if saved['censored'] else '<= ' if saved['at_most'] else ''}{factor:.1f}x"


def predictions(rows: Sequence[Mapping[str, Any]], names: Sequence[str], kind: str, most: int) -> None:
    """Rows of results in the terminal, strongest classes first; of more than `most`, how many of each label."""

    for row in rows:
        if row["note"]:
            say(f"{row['path']}: {row['note']}", err=True)
    out = Table()
    if len(rows) > most and kind == "class":
        out.add_column("emotion")
        out.add_column("recordings", justify="right")
        for label, count in Counter(row["label"] or "no speech" for row in rows).most_common():
            out.add_row(label, f"{count:,}")
        Terminal().print(out)
        return
    out.add_column("recording", overflow="fold")
    out.add_column("s", justify="right")
    for name in ("emotion", "probabilities") if kind == "class" else names:
        out.add_column(name, justify="left" if kind == "class" else "right")
    for row in rows:
        head = str(row["path"]), f"{row['duration_s']:.1f}"
        if kind == "class":
            shares = sorted(((row[f"p_{n}"] or 0.0, n) for n in names), reverse=True)[:3] if row["label"] else []
            out.add_row(*head, row["label"], "  ".join(f"{n} {p:.2f}" for p, n in shares))
        else:
            out.add_row(*head, *("–" if row[n] is None else f"{row[n]:.2f}" for n in names))
    Terminal(120).print(out)


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of texts, its first column to the left."""
    table = Table(head[0], box=None, padding=(0, 2, 0, 0))
    for name in head[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    Terminal(120).print(table)
