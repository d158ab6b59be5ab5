"""`sottovoce embed`: recordings as vectors, for whatever other program there is."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sottovoce.errors import InputError, say


def main(
    model: Annotated[
        str,
        typer.Argument(
            help="run of pretrain or finetune, 'default' = this package's encoder, a folder in transformers' layout, "
            "or an id of the hub"
        ),
    ],
    recordings: Annotated[list[Path], typer.Argument(help="audio files, or folders of them")],
    output: Annotated[Path, typer.Option("-o", "--output", help="table to write: .npz, .csv or .parquet")],
    level: Annotated[
        Literal["utterance", "frame"], typer.Option(help="a row a recording, the mean of its frames; or a row a frame")
    ] = "utterance",
    layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="whose states: 1 = first block, 0 = what goes into it (runs). Default: of an encoder the recommended "
            "one, of a fine-tuned run the middle one of those it reads, else the last",
        ),
    ] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="list unreadable files and go on")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no summary")] = False,
) -> None:
    """Hidden states of one layer. CSV and Parquet: path, time_s (seconds, of frames), e0, e1, ...

    Example: sottovoce embed default clips/ -o clips.npz
    """
    from sottovoce.data.progress import Bar
    from sottovoce.data.recordings import audio_files
    from sottovoce.inference import embed

    paths = list(audio_files(recordings))
    use = embed.load(model, layer)
    broken: list[str] = []
    with Bar(len(paths), "embed", quiet=quiet or len(paths) < 2) as bar:

        def found():
            for path in paths:
                try:
                    yield path, embed.table(use, path, level)
                except InputError as error:
                    if not skip_broken:
                        raise
                    broken.append(str(error))
                bar.advance()
            if len(broken) == len(paths):
                raise InputError(f"{paths[0]}: nothing could be read. Found {len(paths)} broken files: {broken[0]}")

        embed.write(output, found(), use, level)
    for line in broken:
        say(f"skipped {line}", err=True)
    if not quiet:
        say(f"{output}: {len(paths) - len(broken)} recordings, layer {use.layer} of {use.model}")
