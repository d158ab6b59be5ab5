"""Tracks of recordings, made piece by piece: a worker writes the shard of a piece (`data.shards`), whoever it is.

utterances --> pieces --> processes, a cluster, or all who share the folder --> shards --> shown when all are there
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.data import audio, shards
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.progress import Bar
from sottovoce.data.shards import Made
from sottovoce.data.store import Head, TrackStore, TrackWriter, checked, locked, settle
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.pipeline import sources, workers
from sottovoce.tracks import base as tracks
from sottovoce.tracks.base import Maker

PIECES = 64  # of a corpus: a kill costs at most so much of the work, a reader opens as many files
PIECE = 16, 1024  # utterances of a piece, fewest and most
FEW, FEW_WHOLE = 64, 4  # utterances, or whole recordings, that are done before two workers have started


@dataclass(frozen=True)
class How:
    """How what is missing of a track is made."""

    jobs: int | None = None  # processes; None = one for every core, none for a handful of utterances
    quiet: bool = False  # no progress
    overwrite: bool = False  # all of it is missing
    skip_broken: bool = False  # what cannot be read is left out and listed, not refused
    again: bool = False  # what was left out earlier is tried once more


@dataclass(frozen=True)
class Wanted:
    """What is to be made."""

    corpus: Corpus
    maker: Maker
    config: Any
    half: bool  # kept as float16
    folder: Path
    how: How

    @cached_property
    def stamp(self) -> Callable[[str], str]:
        """Of an id, see `sources.stamps`; as everything is when it is first asked for."""
        return sources.stamps_of(self.corpus, per_speaker=self.maker.PER_SPEAKER)

    def missing(self, store: TrackStore | TrackWriter) -> list[Utterance]:
        return sources.missing(self.corpus, store, self.stamp, self.how.again)


@dataclass(frozen=True)
class Piece:
    """What a worker has to know."""

    folder: Path
    head: Head
    number: int  # of its shard
    before: int  # state of the store
    config: Any
    root: Path
    utterances: Sequence[Utterance]
    lines: Mapping[str, bytes]  # of the index, of what is there
    skip_broken: bool


def make(it: Wanted) -> dict[str, str]:
    """Shards of the store, by whoever takes part; id -> why of what is broken."""
    head, folder, overwrite = _rehearse(it), it.folder, it.how.overwrite
    try:
        settle(folder, head)
    except InputError:
        if not overwrite:
            raise
        settle(folder, head, anew=True)
    with contextlib.nullcontext() if workers.shared() else locked(folder):
        while True:
            before = shards.state(folder)
            pieces = plan(it, head, before, overwrite)
            made = [shards.piece_path(folder, piece.number) for piece in pieces]
            try:
                # Of other work that was ended early.
                if strange := [path for path in shards.waiting(folder) if path not in made]:
                    shards.forget(folder, strange) if overwrite else shards.show(folder, before)
                    continue
                if not pieces:  # another process did it
                    return {}
                _make(it, pieces, made)
                with locked(folder) if workers.shared() else contextlib.nullcontext():
                    return shards.show(folder, before, instead=overwrite)
            except shards.Outdated:
                shards.forget(folder, made)
                overwrite = False  # another process did


def _make(it: Wanted, pieces: Sequence[Piece], made: Sequence[Path]) -> None:
    todo, jobs = [u for piece in pieces for u in piece.utterances], it.how.jobs
    if jobs is None:
        few = len({u.path for u in todo}) <= FEW_WHOLE if it.maker.WHOLE else len(todo) <= FEW
        jobs = 1 if few or workers.shared() else workers.cores()
    count = {path: len(piece.utterances) for path, piece in zip(made, pieces, strict=True)}
    work = workers.make(_make_piece, zip(pieces, made, strict=True), jobs, home=it.folder, needs=[it.corpus.root])
    with Bar(len(todo), f"extract {it.maker.name}", quiet=it.how.quiet) as bar, contextlib.closing(work):
        for path in work:
            bar.advance(count[path])


def plan(it: Wanted, head: Head, before: int, overwrite: bool) -> list[Piece]:
    """What has to be made, cut where the utterances say so, whoever makes it; recordings that are made whole
    (`WHOLE` of the maker) stay whole."""
    there = None if overwrite else TrackStore.open(it.folder)
    todo = it.missing(there) if there else list(it.corpus.utterances)
    whole = it.maker.WHOLE
    few, many = PIECE
    most = min(max(-(-len(todo) // PIECES), 1 if whole else few), many)
    parts = _by_recording(todo, most) if whole else [todo[at : at + most] for at in range(0, len(todo), most)]
    marks = ([f"{u.id} {it.stamp(u.id)}" for u in part] for part in parts)
    skipped = there.skipped if there else {}
    old = [
        {u.id: line for u in part if u.id not in skipped and (line := there.line(u.id))} if there else {}
        for part in parts
    ]
    return [
        Piece(it.folder, head, number, before, it.config, it.corpus.root, part, of, it.how.skip_broken)
        for number, part, of in zip(shards.numbers(marks, before, it.how.skip_broken), parts, old, strict=True)
    ]


def _by_recording(todo: Sequence[Utterance], most: int) -> list[list[Utterance]]:
    groups: dict[str, list[Utterance]] = {}
    for u in todo:
        groups.setdefault(u.path, []).append(u)
    parts: list[list[Utterance]] = []
    for group in groups.values():
        if not parts or len(parts[-1]) >= most:
            parts.append([])
        parts[-1] += group
    return parts


def _make_piece(piece: Piece) -> None:
    if shards.state(piece.folder) == piece.before:
        stamp = sources.stamps(piece.root, piece.utterances)
        made = (_make_one(piece, u, stamp(u)) for u in piece.utterances)
        shards.write(piece.folder, piece.head, piece.number, made, skip_broken=piece.skip_broken)
    else:
        shards.pass_over(piece.folder, piece.number)


def _make_one(piece: Piece, u: Utterance, stamp: str) -> Made:
    path, track, line = piece.root / u.path, piece.head.track, piece.lines.get(u.id)
    made = Made(u.id, stamp=stamp)
    try:
        made.key = f"{sources.content(path)}:{u.start}:{u.end}"
        if line and json.loads(line)[4] == made.key:
            made.line = line
            return made
        if tracks.maker(track).WHOLE:
            values = _cut(_whole(path, made.key.split(":")[0], track, piece.config), path, u).values
        else:
            values = made_of(audio.read(path, u.start, u.end), track, piece.config).values
        made.values = checked(str(path), values, piece.head)
    except InputError as error:
        made.why = str(error)
    except Exception as error:
        error.add_note(f"while making {track} of {u.id} from {path}")
        if isinstance(error, OSError):  # not of the store, whose disk may be full
            raise RuntimeError(f"{track} of {u.id}") from error
        raise
    return made


@lru_cache(maxsize=1)  # the utterances of a recording come together
def _whole(path: Path, content: str, track: str, config: Any) -> Track:
    """The track of a recording; `content` is its hash."""
    return made_of(audio.read(path), track, config)


def made_of(wave: Track, track: str, config: Any) -> Track:
    """The track of a recording, of a maker that reads recordings."""
    make = tracks.maker(track).make
    assert make is not None
    return make(wave, config)


def _cut(whole: Track, path: Path, utterance: Utterance) -> Track:
    """The frames with their centres in the utterance, put at the frames of the track: up to half a frame of shift."""
    audio.check_stretch(path, audio.probe(path), utterance.start, utterance.end)
    return whole.slice(utterance.start, utterance.end)


def _rehearse(it: Wanted) -> Head:
    """The head of the store; a second of silence finds out about missing packages before the work begins."""
    track = it.maker.name
    silence = Track(np.zeros(audio.RATE_HZ, np.float32), float(audio.RATE_HZ))
    made = made_of(silence, track, it.config)
    if (made.rate_hz, made.dim) != (it.config.rate_hz, it.config.dim):
        raise ValueError(
            f"{track} promises {it.config.dim} values at {it.config.rate_hz} Hz, made {made.dim} at {made.rate_hz}"
        )
    return Head(track, asdict(it.config), made.rate_hz, made.offset_s, made.dim, it.half)
