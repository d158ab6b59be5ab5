"""`sottovoce sensitivity`: the same result by other seeds, by fold and without each speaker."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables


def main(
    systems: Annotated[
        list[str],
        typer.Argument(metavar="RUN [RUN]", help="a fine-tuned run, or two: of their difference, second minus first"),
    ],
    output: _options.Result = Path("sensitivity"),
    seeds: Annotated[
        int, typer.Option(help="train so many more seeds of every run that is one folder, into -o", min=0)
    ] = 0,
    metric: Annotated[str, typer.Option(help="score; default: ua for classes, ccc for numbers")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no table, no progress")] = False,
) -> None:
    """How far a score, or a difference, moves with the training, the fold and each speaker: sensitivity.json, .csv.

    RUN,RUN or a folder of runs are seeds of one system, as in `compare`.
    Example: sottovoce sensitivity runs/ft --seeds 2 -o runs/sensitivity
    """
    from sottovoce.evaluation.compare import load
    from sottovoce.evaluation.sensitivity import more_seeds, save, sensitivity

    named = []
    for k, text in enumerate(systems):
        more = more_seeds(Path(text), seeds, output / f"system{k}", quiet=quiet) if seeds else []
        named.append(",".join([text, *map(str, more)]))
    result = sensitivity([load(text, quiet=quiet) for text in named], metric)
    save(output, result)
    if not quiet:
        _tables.sensitivity(result)
        typer.echo(f"Tables: {output / 'sensitivity.csv'}")
