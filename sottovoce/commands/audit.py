"""`sottovoce audit`: corpora and runs -> who and what is on both sides of a split; exit code 3 for a leak."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import say


def main(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN|CORPUS ...", help="prepared corpora, and runs of any verb")
    ],
    output: _options.Result = Path("audit"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no table")] = False,
) -> None:
    """Look for tested speakers, sessions and recordings in all that was learned from or chosen by.

    Exit code 0: nothing leaks. 3: something does. 2: something could not be read.
    Example: sottovoce audit runs/ft data/cremad -o runs/audit
    """
    from sottovoce.evaluation.audit import audit, save

    result = audit(paths, quiet=quiet)
    save(output, result)
    if not quiet:
        _tables.audit(result)
        say(f"Report: {output / 'audit.html'}")
    if result["leaks"]:
        raise typer.Exit(3)
