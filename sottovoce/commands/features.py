"""`sottovoce features`: one recording -> any track as a table, for whatever other program there is."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options
from sottovoce.errors import say


def main(
    recording: Annotated[Path, typer.Argument(help="audio file")],
    output: Annotated[Path, typer.Option("-o", "--output", help="table to write: .csv, .npz, .h5 or .csd")],
    track: _options.Track = "fbank",
    set_: _options.TrackSettings = [],  # noqa: B006
    quiet: _options.Quiet = False,
) -> None:
    """The columns have names, the times are seconds of the frames' centres.

    Example: sottovoce features clip.wav --track covarep -o clip.csv
    """
    from sottovoce import files
    from sottovoce.pipeline.features import KINDS, features, write

    files.check_kind(output, KINDS)
    table = features(recording, track, set_)
    write(output, table, recording.stem, track)
    if not quiet:
        say(f"{output}: {len(table.values)} frames x {len(table.names)} at {table.rate_hz:g} Hz")
