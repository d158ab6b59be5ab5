"""`sottovoce view`: a recording, or a result of `predict --timeline`, as a page to look at and to listen to."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options
from sottovoce.errors import InputError, say


def main(
    what: Annotated[Path, typer.Argument(help="a recording, or NAME.json as `sottovoce predict --timeline` writes it")],
    model: _options.Model = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="page to write; default: NAME.html")] = None,
    channel: Annotated[str, typer.Option(help="mix, left, right, a number from 1, or each")] = "mix",
    show: Annotated[bool, typer.Option("--open/--no-open", help="open the page in the browser")] = False,
) -> None:
    """One page with player, waveform, segments, probabilities and intensity, which works without a network.

    Example: sottovoce view talk.mp3
    """
    from sottovoce import files
    from sottovoce.data import audio
    from sottovoce.data.recordings import spelt
    from sottovoce.inference import page
    from sottovoce.inference.load import load

    spelt(str(what))
    place = output or Path(what.with_suffix(".html").name)
    if place.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{place}: a page ends in .html. Found {place.suffix or 'no suffix'}. Choose another -o.")
    files.check_ours(place)
    if what.suffix.lower() == ".json":
        found = page.read(what)
    else:
        audio.channels(what, channel)  # raises before a model is loaded
        found = load(model or None)(what, channel=channel)
    files.write_text(place, page.of(found, place))
    say(f"{place}: {found!r}")
    if show:
        webbrowser.open(place.resolve().as_uri())
