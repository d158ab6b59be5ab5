"""`sottovoce view`: a result as a page with its recording to listen to."""

import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from sottovoce import report
from sottovoce.data import archives, audio, own
from sottovoce.errors import InputError
from sottovoce.inference.result import Result

HELD_S = 1800.0  # a longer recording is played from its own file, where browsers can
PLAYABLE = {".mp3", ".wav", ".m4a", ".mp4", ".ogg", ".opus", ".flac", ".webm"}


def of(result: Result, place: Path) -> str:
    """The page of a result, to be written at `place`. A recording that is gone leaves it without a player."""
    sounds, link, path = b"", "", Path(result.path)
    if result.path and archives.is_file(path):
        if result.duration_s > HELD_S and path.is_file() and path.suffix.lower() in PLAYABLE:
            there = os.path.relpath(path.resolve(), place.resolve().parent).replace(os.sep, "/")
            link = "./" + quote(there)  # a name may hold # and %, and a colon that is no scheme
        else:
            sounds = mp3(path)
    return report.view_page(result.to_dict(), sounds, link)


def mp3(path: Path) -> bytes:
    """A recording at 16 kHz, in one or two channels, at about 5 kB a second; never clipped. b"" where it cannot be read
    any more."""
    made = io.BytesIO()
    try:
        which, channels = ("each", 2) if audio.probe(path).channels == 2 else ("mix", 1)
        with soundfile.SoundFile(
            made, "w", 16_000, channels, format="MP3", subtype="MPEG_LAYER_III",
            bitrate_mode="VARIABLE", compression_level=0.8,
        ) as out:  # fmt: skip
            for block in audio.blocks(path, 30.0, which=which):
                out.write(np.clip(block.values, -1, 1))
    except InputError:
        return b""
    return made.getvalue()


def read(path: Path) -> Result:
    """A result that was written as JSON; its recording is looked for beside it too. Raises InputError for anything
    else."""
    try:
        found = Result.from_dict(own.read_json(path, dict[str, Any], "Predict again."))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: no result. {error}. Name a recording, or a NAME.json of `sottovoce predict --timeline`."
        ) from None
    beside = path.parent / Path(found.path).name
    if found.path and not archives.is_file(found.path) and beside.is_file():
        found.path = str(beside)
    return found
