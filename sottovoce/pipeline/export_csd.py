"""`sottovoce export-csd`: the tracks of a corpus in one `.csd` file, as CMU-MOSI and CMU-MOSEI are distributed.

    data/ravdess + track --> COVAREP/data/<recording>/features (n, D), intervals (n, 2) + the SDK's metadata

An entry is a recording, named as its file without the suffix; utterances cut out of one recording share its entry, at
their times in it. `sottovoce prepare mosei` reads the file again with labels of the same names, and so does the SDK
(the rules are those of `csd.py`).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sottovoce import plugins
from sottovoce.data import csd
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.store import TrackStore
from sottovoce.errors import InputError
from sottovoce.pipeline.extract import columns, reader_of
from sottovoce.pipeline.features import citation
from sottovoce.tracks import base as tracks


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
    whole = tracks.maker(store.head.track).WHOLE

    def entries() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for name, utterances in recordings.items():
            times, rows = _rows(sorted(utterances, key=lambda u: u.start), store, whole)
            yield name, rows, csd.intervals_around(times, store.rate_hz)

    track = store.head.track
    reader = reader_of(corpus)
    source = reader.SOURCE if reader else ""
    notes = csd.sdk_metadata(
        plugins.summary("tracks", track), columns(track, store.dim), citation(track), corpus.name, source
    )
    csd.write_csd(path, track.upper(), entries(), notes)
    return len(recordings)


def _rows(utterances: list[Utterance], store: TrackStore, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n,) seconds in the recording, rising, and (n, D) rows; where utterances overlap the first one's."""
    times, rows, last = [], [], -np.inf
    for u in utterances:
        start_s = store.offset_s
        if whole:  # its rows count from the start of the recording
            start_s += max(np.ceil((u.start - start_s) * store.rate_hz - 1e-6), 0) / store.rate_hz
        else:
            start_s += u.start
        seconds = start_s + np.arange(store.lengths[u.id]) / store.rate_hz
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
