"""`sottovoce export-csd`: the tracks of a corpus in one `.csd` file, as CMU-MOSI and CMU-MOSEI are distributed.

    data/ravdess + track --> COVAREP/data/<recording>/features (n, D), intervals (n, 2) + the SDK's metadata

An entry is a recording, named as its file without the suffix; utterances cut out of one recording share its entry, at
their times in it. `sottovoce prepare mosei` reads the file again beside labels of the same names, and so does the SDK
(the rules are those of `csd.py`).
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sottovoce import csd, plugins
from sottovoce.corpus import Corpus, Utterance
from sottovoce.errors import InputError
from sottovoce.extract import columns, reader_of, track_store
from sottovoce.features import citation
from sottovoce.settings import parse_settings
from sottovoce.store import TrackStore


def main(
    corpus: Annotated[Path, typer.Argument(help="folder written by `sottovoce prepare`, e.g. data/ravdess")],
    output: Annotated[Path, typer.Option("-o", "--output", help="file to write, e.g. COVAREP.csd")],
    track: Annotated[str, typer.Option(help="what to export; extracted first where it is missing")] = "covarep",
    set_: Annotated[list[str], typer.Option("--set", help="KEY=VALUE of the track's configuration")] = [],  # noqa: B006
    jobs: Annotated[int, typer.Option(min=0, help="processes; 0 = one for every core")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no summary")] = False,
) -> None:
    """Numbers are those of the track, single precision; times are seconds in the recording.

    Example: sottovoce export-csd data/ravdess --track covarep -o COVAREP.csd
    """
    if output.suffix != ".csd":  # the SDK takes any other name for that of a new, empty sequence
        raise InputError(f"{output}: not a .csd file. Found {output.suffix or 'no suffix'}. Name it COVAREP.csd.")
    prepared = Corpus.load(corpus)
    config = parse_settings(plugins.load("tracks", track).Config, set_)
    store = track_store(prepared, track, asdict(config), jobs=jobs or None, quiet=quiet)
    recordings = export(prepared, store, output)
    if not quiet:
        print(f"{output}: {recordings} recordings, {store.frames} frames x {store.dim} at {store.rate_hz:g} Hz")


def export(corpus: Corpus, store: TrackStore, path: Path | str) -> int:
    """Write the tracks of `store` to a `.csd`; what it leaves out is left out. Returns the number of recordings.

    Raises InputError when two recordings would have the same name, or there is nothing to write.
    """
    spoken: dict[str, list[Utterance]] = {}
    for u in corpus.utterances:
        if u.id in store:
            spoken.setdefault(u.path, []).append(u)
    if not spoken:
        raise InputError(f"{corpus.folder}: nothing to export. Found no utterance with {store.head.track}.")
    recordings = dict(zip(entry_names(list(spoken)), spoken.values(), strict=True))
    whole = getattr(plugins.load("tracks", store.head.track), "WHOLE", False)

    def entries() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for name, utterances in recordings.items():
            times, rows = _rows(sorted(utterances, key=lambda u: u.start), store, whole)
            yield name, rows, csd.intervals_around(times, store.rate_hz)

    track = store.head.track
    source = getattr(reader_of(corpus), "SOURCE", "")
    notes = csd.sdk_metadata(
        plugins.summary("tracks", track), columns(track, store.dim), citation(track), corpus.name, source
    )
    csd.write_csd(path, track.upper(), entries(), notes)
    return len(recordings)


def _rows(utterances: list[Utterance], store: TrackStore, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n,) seconds in the recording, rising, and (n, D) rows; where utterances overlap the first one's."""
    times, rows, last = [], [], -np.inf
    for u in utterances:
        clock = store.offset_s
        if whole:  # its rows lie on the clock of the recording
            clock += max(np.ceil((u.start - clock) * store.rate_hz - 1e-6), 0) / store.rate_hz
        else:
            clock += u.start
        seconds = clock + np.arange(store.lengths[u.id]) / store.rate_hz
        new = seconds > last + 1e-6
        times.append(seconds[new])
        rows.append(store[u.id][new])
        last = max(last, float(seconds[-1]))
    return np.concatenate(times), np.concatenate(rows)


def entry_names(paths: list[str]) -> list[str]:
    """Names of recordings in an HDF5 file, where "/" and for the SDK "[" have a meaning.

    >>> entry_names(["a/x.wav", "b/y.wav"]), entry_names(["a/x.wav", "b/x.wav"]), entry_names(["f.csd#video"])
    (['x', 'y'], ['a_x', 'b_x'], ['video'])
    """
    plain = [path.rpartition("#")[2] if "#" in path else str(Path(path).with_suffix("")) for path in paths]
    for names in ([name.rpartition("/")[2] for name in plain], [name.replace("/", "_") for name in plain]):
        names = [name.replace("[", "(").replace("]", ")") for name in names]
        if len(set(names)) == len(names):
            return names
    twice = next(name for name in names if names.count(name) > 1)
    raise InputError(f"{twice}: two recordings of this name. A .csd names them apart. Rename one of the files.")
