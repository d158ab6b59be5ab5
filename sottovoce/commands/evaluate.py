"""`sottovoce evaluate`: a run's folds -> predictions.csv, report.json and report.html."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import InputError, say


def main(
    run: Annotated[Path, typer.Argument(help="folder written by `sottovoce finetune`")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="where the report goes; default: the run")
    ] = None,
    opensmile: Annotated[
        bool | None,
        typer.Option(
            "--opensmile/--no-opensmile",
            help="openSMILE functionals + SVM next to the trivial baselines (about 30x real time, cached). "
            "Default: where the extra egemaps is installed and the corpus is audio",
        ),
    ] = None,
    feature_set: Annotated[str, typer.Option(help="eGeMAPSv02 or ComParE_2016, of that baseline")] = "eGeMAPSv02",
    speakers: Annotated[
        str,
        typer.Option(help="test these alone: names with commas, or a range of their numbers, 13-24; needs another -o"),
    ] = "",
    groups: Annotated[
        str, typer.Option(help="columns of the manifest whose values are compared, e.g. gender,language")
    ] = "gender",
    on: Annotated[
        Path | None, typer.Option(help="prepared corpus to judge a strength model on (run of `pretrain strengthnet`)")
    ] = None,
    jobs: _options.Jobs = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar, no table")] = False,
) -> None:
    """Score the test part of every fold, pooled and per fold.

    Example: sottovoce evaluate runs/ft
    """
    from sottovoce.config.settings import words
    from sottovoce.data.corpus import Corpus
    from sottovoce.evaluation.evaluate import report_on

    if speakers and output in (None, run):
        raise InputError("--speakers: a report of some speakers is not the run's. Name another folder with -o.")
    output = output or run
    if on is not None:
        from sottovoce.pipeline import strength

        strength.evaluate(run, Corpus.load(on), output, jobs=jobs, quiet=quiet)
        return
    report = report_on(
        run,
        output,
        opensmile=opensmile,
        feature_set=feature_set,
        speakers=speakers,
        groups=words(groups),
        jobs=jobs,
        quiet=quiet,
    )
    if not quiet:
        _tables.scores(report)
        say(f"Report: {output / 'report.html'}")
