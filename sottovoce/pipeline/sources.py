"""What utterances are made from, and whether it is still what it was."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sottovoce import files
from sottovoce.data import audio, contents, folds
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.store import TrackStore, TrackWriter
from sottovoce.errors import InputError


def missing(
    corpus: Corpus, store: TrackStore | TrackWriter, stamp: Callable[[str], str], again: bool = False
) -> list[Utterance]:
    """What is not there, or was made from something else than is there now; with `again` what was skipped too."""
    skipped = store.skipped if again else {}

    def kept(id: str) -> bool:
        return id not in skipped and (source := store.source(id)) is not None and source.stamp == stamp(id)

    return [u for u in corpus.utterances if not kept(u.id)]


def stamps(root: Path, utterances: Sequence[Utterance]) -> Callable[[Utterance], str]:
    """Of an utterance a cheap sign that its source has changed since this call; "" when the file is not there.

    `features.h5#12` is an entry of features.h5, unless there is a file of that very name.
    """
    status: dict[str, str] = {}  # of files, not of entries: of a corpus in shards few
    for u in utterances:
        path = u.path
        while path and path not in status:
            try:
                found = os.stat(os.path.join(root, path))
                status[path] = f"{found.st_size}:{found.st_mtime_ns}"
            except OSError:
                path = path.rpartition("#")[0]

    def stamp(u: Utterance) -> str:
        path = u.path
        while path and path not in status:
            path = path.rpartition("#")[0]
        return f"{u.path}:{status[path]}:{u.start}:{u.end}" if path else ""

    return stamp


def stamps_of(corpus: Corpus, *, per_speaker: bool = False) -> Callable[[str], str]:
    """The same of an id; with `per_speaker` its sources are all recordings of its speaker."""
    stamp = stamps(corpus.root, corpus.utterances)
    if per_speaker:
        return by_speaker(corpus, {u.id: stamp(u) for u in corpus.utterances}).__getitem__
    return lambda id: stamp(corpus.by_id[id])


def by_speaker(corpus: Corpus, of: Mapping[str, str]) -> dict[str, str]:
    """Texts of utterances -> of every utterance a digest of those of its speaker; an unknown speaker stands alone."""
    mates: dict[str, list[str]] = {}
    for u in corpus.utterances:
        mates.setdefault(folds.voice(u), []).append(of.get(u.id, ""))
    digests = {name: files.digest(texts) for name, texts in mates.items()}
    return {u.id: digests[folds.voice(u)] for u in corpus.utterances}


def content(path: Path) -> str:
    """Hash of a recording. Raises InputError when it cannot be read."""
    try:
        return contents.of_file(path)
    except OSError as error:
        audio.probe(path)  # says it better, if it is missing
        raise InputError(f"{path}: cannot be read. {error.strerror or error}. Check its permissions.") from None
