"""`sottovoce export-csd`: the tracks of a corpus in one `.csd` file, as CMU-MOSI and CMU-MOSEI are distributed."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sottovoce import plugins
from sottovoce.commands import _options
from sottovoce.errors import InputError, say


def main(
    corpus: _options.Prepared,
    output: Annotated[Path, typer.Option("-o", "--output", help="file to write, e.g. COVAREP.csd")],
    track: Annotated[str, typer.Option(help="what to export; extracted first where it is missing")] = "covarep",
    set_: Annotated[list[str], typer.Option("--set", help="KEY=VALUE of the track's configuration")] = [],  # noqa: B006
    jobs: _options.JobsOfAll = 0,
    quiet: _options.Quiet = False,
) -> None:
    """Values are those of the track, single precision; times are seconds in the recording.

    Example: sottovoce export-csd data/ravdess --track covarep -o COVAREP.csd
    """
    from sottovoce.config.settings import parse_settings
    from sottovoce.data.corpus import Corpus
    from sottovoce.pipeline.export_csd import export
    from sottovoce.pipeline.extract import track_store

    if output.suffix != ".csd":  # the SDK takes any other name for that of a new, empty sequence
        raise InputError(f"{output}: not a .csd file. Found {output.suffix or 'no suffix'}. Name it COVAREP.csd.")
    prepared = Corpus.load(corpus)
    config = parse_settings(plugins.load("tracks", track).Config, set_)
    store = track_store(prepared, track, asdict(config), jobs=jobs or None, quiet=quiet)
    recordings = export(prepared, store, output)
    if not quiet:
        say(f"{output}: {recordings} recordings, {store.frames} frames x {store.dim} at {store.rate_hz:g} Hz")
