"""`sottovoce extract`: a track of every utterance, computed once and kept."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options
from sottovoce.errors import say


def main(
    corpus: _options.Prepared,
    track: _options.Track = "fbank",
    set_: _options.TrackSettings = [],  # noqa: B006
    recipe: Annotated[
        str, typer.Option(help="whose settings of the track: those that `pretrain` wants; 'none' = the track's own")
    ] = "masked_timesteps",
    half: Annotated[bool, typer.Option("--half", help="keep float16: half the disk, three digits")] = False,
    model: Annotated[
        Path | None, typer.Option(help="run folder, for tracks that a trained model makes, e.g. runs/strengthnet")
    ] = None,
    fold: Annotated[
        str | None, typer.Option(help="which runs of it: NAME, several with commas, or 'all'; default: the first")
    ] = None,
    jobs: _options.JobsOfAll = 0,
    workers: _options.Workers = "processes",
    partition: _options.Partition = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="extract everything again")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="leave out and list what cannot be read")] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Writes CORPUS/tracks/TRACK-DIGEST/. Only what is missing, or whose audio changed, is computed."""
    from sottovoce import plugins
    from sottovoce.config import recipe as recipes
    from sottovoce.config.settings import parse_settings
    from sottovoce.data.corpus import Corpus
    from sottovoce.pipeline.extract import made_by, make_store, model_runs
    from sottovoce.pipeline.pieces import How
    from sottovoce.tracks.base import maker

    prepared = Corpus.load(corpus)
    if (name := plugins.current("tracks", track)) != track:
        say(f"--track {track}: is called {name} now.", err=True)
        track = name
    own = recipe == "none" or maker(track).run_kind  # what a run makes has the run's settings
    config = parse_settings(maker(track).Config if own else recipes.resolve(recipe, track=track).track_config, set_)
    for run in model_runs(maker(track), model, fold):
        whole = replace(config, **made_by(maker(track), run)) if run else config
        settings = asdict(whole) | ({"half": True} if half else {})
        start = time.monotonic()
        store = make_store(prepared, track, settings, How(jobs or None, quiet, overwrite, skip_broken, True), run)
        if not quiet:
            hours = store.frames / store.rate_hz / 3600
            say(
                f"{store.folder}: {len(store)} utterances, {store.frames} frames x {store.dim} at {store.rate_hz:g} Hz "
                f"({hours:.2f} h), {time.monotonic() - start:.1f} s"
            )
