"""`sottovoce predict` and `Recogniser`: recordings of any length -> emotion, and emotion over time."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _tables
from sottovoce.errors import InputError


def main(
    run: Annotated[Path, typer.Argument(help="folder written by `sottovoce finetune` (or one fold of it)")],
    recordings: Annotated[list[Path], typer.Argument(help="audio files, or folders of them")],
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline", help="also emotion over time, by window and by frame, with a picture and a page each"
        ),
    ] = False,
    window: Annotated[
        float, typer.Option(help="window length in seconds, for the timeline and for recordings over 30 s", min=0.2)
    ] = 3.0,
    hop: Annotated[float, typer.Option(help="seconds between windows", min=0.05)] = 0.5,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="out.csv or out.json; pictures go into a folder of its name")
    ] = None,
    abstain: Annotated[
        str,
        typer.Option(
            metavar="X|auto",
            help="label 'unsure' where the strongest class has less than X; auto = 0.5, rather wrong than right",
        ),
    ] = "0",
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="list unreadable files and go on")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no table")] = False,
) -> None:
    """Emotion of each recording: label and probabilities (or predicted values), with --timeline also over time.

    Example: sottovoce predict runs/ft interview.wav --timeline -o interview.csv
    """
    from sottovoce.data.progress import Bar
    from sottovoce.inference.predict import audio_files, draw, load, own_names, readable, write

    if output and output.suffix.lower() not in (".csv", ".json"):
        raise InputError(
            f"{output}: unknown kind of table. Found {output.suffix or 'no suffix'}. Name a .csv or .json file."
        )
    least = confidence_of(abstain)
    recogniser = load(run)
    paths = list(audio_files(recordings))
    results, broken = [], []
    with Bar(len(paths), "predict", quiet=quiet or len(paths) < 2) as bar:
        for group in recogniser.groups(paths):
            try:
                results += recogniser.predict(group, window_s=window, hop_s=hop, timeline=timeline, abstain=least)
            except InputError as error:
                if not skip_broken:
                    raise
                whole, why = readable(group) if len(group) > 1 else ([], [str(error)])
                broken += why
                if whole:
                    results += recogniser.predict(whole, window_s=window, hop_s=hop, timeline=timeline, abstain=least)
            bar.advance(len(group))
    if recogniser.per_speaker and not quiet:
        typer.echo("Standardised per speaker: the recordings of one folder count as one speaker's.")
    if not results:
        raise InputError(
            f"{recordings[0]}: nothing could be read. Found {len(broken)} broken files, the first: {broken[0]}"
        )
    if output:
        write(output, results)
    if timeline:
        folder = output.with_suffix("") if output else Path("timeline")
        for name, result in zip(own_names([r.path for r in results]), results, strict=True):
            draw(result, folder / name)
    if not quiet:
        _tables.predictions(results, recogniser.task)
        if timeline:
            typer.echo(f"Pictures, pages and tables of the timelines: {folder}")
    for line in broken:
        typer.echo(f"skipped {line}", err=True)


def confidence_of(text: str) -> float | None:
    """None for "auto". Raises InputError for what is no share either."""
    if text == "auto":
        return None
    try:
        if 0 <= float(text) <= 1:
            return float(text)
    except ValueError:
        pass
    raise InputError(f"--abstain {text}: no confidence. Give a number from 0 to 1, or auto.")
