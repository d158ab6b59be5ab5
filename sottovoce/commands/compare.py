"""`sottovoce compare`: runs side by side, paired by utterance -> compare.csv, compare.json, compare.html, picture."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import say


def main(
    systems: Annotated[
        list[str],
        typer.Argument(metavar="RUN ...", help="fine-tuned runs; RUN,RUN or a folder of runs = seeds of one system"),
    ],
    output: _options.Result = Path("compare"),
    metric: Annotated[str, typer.Option(help="score to compare; default: ua for classes, ccc for regression")] = "",
    common: Annotated[
        bool, typer.Option("--common", help="compare the utterances that all of them answered; default: refuse")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no tables")] = False,
) -> None:
    """Paired differences from the first run, with intervals, p values and the smallest difference one would find.

    NAME=RUN gives a system a name of its own. Runs without predictions are evaluated first.
    Example: sottovoce compare random=runs/a0,runs/a1 ems=runs/b0,runs/b1 -o runs/compare
    """
    from sottovoce.evaluation.compare import compare, load, save

    loaded = [load(text, quiet=quiet) for text in systems]
    result = compare(loaded, metric=metric, common=common)
    save(output, result)
    if not quiet:
        _tables.comparison(result)
        say(f"Report: {output / 'compare.html'}")
