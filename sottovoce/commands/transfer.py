"""`sottovoce transfer`: trained on some corpora, tested on the others -> matrix with intervals, picture, page."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import say


def main(
    corpora: Annotated[list[Path], typer.Argument(help="two or more prepared corpora with labels")],
    output: _options.Result = Path("transfer"),
    init: Annotated[str, typer.Option(help="a frozen encoder, as in `finetune`, or a run of `pretrain`")] = "default",
    target: Annotated[str, typer.Option(help="class label to learn")] = "emotion",
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", help="old=new: call a class of some corpora by another name; repeatable"),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="leave a class out; repeatable")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. finetune.l2=0.1; repeatable")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of changed copies")] = 0,
    jobs: _options.Jobs = None,
    workers: _options.Workers = "processes",
    partition: _options.Partition = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar, no table")] = False,
) -> None:
    """Learn from every corpus alone and from all but one, and recognise the speakers of every other.

    Example: sottovoce transfer data/ravdess data/cremad data/emodb --map calm=neutral -o runs/transfer
    """
    from sottovoce.data import vocabulary
    from sottovoce.data.corpus import Corpus
    from sottovoce.evaluation.transfer import save, transfer

    relabel = vocabulary.overrides(maps or [], drop or [])
    loaded = [Corpus.load(folder) for folder in corpora]
    result = transfer(
        loaded, init=init, target=target, relabel=relabel, settings=settings or [], seed=seed, jobs=jobs, quiet=quiet
    )
    save(output, result)
    if not quiet:
        _tables.transfer(result)
        say(f"Report: {output / 'transfer.html'}")
