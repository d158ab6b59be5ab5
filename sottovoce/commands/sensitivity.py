"""`sottovoce sensitivity`: the same result by other seeds and folds, by fold and without each speaker."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import say


def main(
    systems: Annotated[
        list[str],
        typer.Argument(metavar="RUN [RUN]", help="a fine-tuned run, or two: of their difference, second minus first"),
    ],
    output: _options.Result = Path("sensitivity"),
    seeds: Annotated[
        int, typer.Option(help="train so many more seeds of every run that is one folder, into -o", min=0)
    ] = 0,
    folds: Annotated[
        int, typer.Option(help="deal the speakers to other folds so many times, and train every run on them", min=0)
    ] = 0,
    metric: Annotated[str, typer.Option(help="score; default: ua for classes, ccc for numbers")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no table, no progress")] = False,
) -> None:
    """How far a score, or a difference, moves with the training, the fold and each speaker: sensitivity.json, .csv.

    RUN,RUN or a folder of runs are seeds of one system, as in `compare`.
    Example: sottovoce sensitivity runs/ft --seeds 2 --folds 2 -o runs/sensitivity
    """
    from sottovoce.evaluation.compare import load
    from sottovoce.evaluation.sensitivity import more_seeds, other_folds, save, sensitivity

    named = []
    for k, text in enumerate(systems):
        more = more_seeds(Path(text), seeds, output / f"system{k}", quiet=quiet) if seeds else []
        named.append(",".join([text, *map(str, more)]))
    homes = [output / f"system{k}" for k in range(len(systems))]
    pairs = zip(systems, homes, strict=True) if folds else ()
    dealt = [other_folds(Path(text), folds, home, quiet=quiet) for text, home in pairs]
    again = [[load(str(run), quiet=quiet) for run in runs] for runs in zip(*dealt, strict=True)]
    own = [load(text, quiet=quiet) for text in named]
    result = sensitivity(own, metric, again)
    save(output, result, own)
    if not quiet:
        _tables.sensitivity(result)
        say(f"Tables: {output / 'sensitivity.csv'}")
