"""`sottovoce phoneme`: how well do the states of a frozen backbone spell? SUPERB's task PR (arXiv:2105.01051)."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import say


def main(
    corpus: Annotated[Path, typer.Argument(help="prepared LibriSpeech with its *.trans.txt beside the recordings")],
    lexicon: Annotated[Path, typer.Option(help="lines of WORD  P1 P2 ..., e.g. librispeech-lexicon.txt")],
    output: Annotated[Path, typer.Option("-o", "--output", help="run folder")],
    init: Annotated[str, typer.Option(help="run folder of `pretrain`, or 'none' = random weights")] = "none",
    scratch: _options.Scratch = False,
    parts: Annotated[
        str, typer.Option(help="train, dev, test folder; where none is there, readers are dealt to ten parts")
    ] = "train-clean-100,dev-clean,test-clean",
    transductive: _options.Transductive = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. finetune.updates=2000; repeatable")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of weights and order")] = 0,
    jobs: _options.Jobs = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar, no table")] = False,
) -> None:
    """Trains a CTC head on frozen states and scores the test part: predictions.csv, report.json, report.html.

    Example: sottovoce phoneme data/librispeech --lexicon librispeech-lexicon.txt --init runs/pre -o runs/phoneme
    """
    from sottovoce.data.corpus import Corpus
    from sottovoce.evaluation.phoneme import phoneme, plan_of, read, split
    from sottovoce.pipeline.extract import plan_store
    from sottovoce.pipeline.finetune import weights_for

    data = Corpus.load(corpus)
    plan = plan_of(data, init, scratch, settings or [], seed)
    reading, fold = read(data, lexicon), split(data, parts)
    weights = weights_for("none" if scratch else init, data, fold, transductive=transductive)
    store = plan_store(data, plan, jobs=jobs, quiet=quiet)
    report = phoneme(plan, data, store, fold, reading, output, weights, quiet=quiet)
    if not quiet:
        if report:
            _tables.scores(report)
        say(f"Report: {output / 'report.html'}")
