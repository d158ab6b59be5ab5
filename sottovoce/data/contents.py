"""What a recording is whatever it is called: marks of its content, kept with a corpus in contents.csv.

    id,file,samples
    03-01-05,5f0c8a1d2b3e4f60,0a1b2c3d4e5f6071

Two recordings are the same when their files hold the same bytes (and the segments in them overlap), or when they
decode to the same samples at the same rate, as the WAV and the FLAC of one take do. Silence has no marks.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from sottovoce import files
from sottovoce.data import archives, audio, own
from sottovoce.data.names import Names
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError

FILE = "contents.csv"
COLUMNS = ("id", "file", "samples")
SHORT = 16  # hex digits of a hash that are kept: 64 bits tell a billion recordings apart
SILENT = 1e-4  # of full scale (-80 dB), three steps of 16 bit: nothing above it is silence

Marks = tuple[str, ...]


class Segment(Protocol):
    """What is needed of `sottovoce.data.corpus.Utterance`."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float | None: ...


def of_samples(samples: np.ndarray, rate_hz: int) -> str:
    """Hash of decoded samples (N,) float32 and their rate."""
    data = np.ascontiguousarray(samples).tobytes()
    return hashlib.blake2b(data, digest_size=16, salt=str(rate_hz).encode()).hexdigest()


def of_file(path: Path | str) -> str:
    """Hash of a file's bytes; a file that is read in many segments is hashed once."""
    return _of_file(str(path), *archives.stat(path))


@lru_cache(maxsize=16)
def _of_file(path: str, size: int, time_ns: int) -> str:
    with archives.opened(path) as data:
        return files.digest_of(data)


def save(folder: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write contents.csv.

    Args:
        rows: id, hash of the file, hash of the samples; "" and "" for silence.
    """
    cut = [dict(zip(COLUMNS, (id, file[:SHORT], samples[:SHORT]), strict=True)) for id, file, samples in rows]
    files.write_csv(folder / FILE, cut, COLUMNS)


def of_corpus(folder: Path, root: Path, utterances: Sequence[Segment], quiet: bool = True) -> "Contents":
    """Marks of every utterance; none for silence and for what cannot be read.

    What contents.csv lacks (corpora prepared before there was one, or without decoding) is decoded now, and kept.
    """
    known = _load(folder / FILE)
    todo = [u for u in utterances if u.id not in known and archives.is_file(root / u.path)]
    if todo:
        with Bar(len(todo), "recordings compared by content", quiet=quiet) as bar:
            for u in todo:
                with suppress(InputError, OSError):
                    known[u.id] = look(root / u.path, u.start, u.end)
                bar.advance()
        with suppress(InputError):  # a folder that cannot be written
            save(folder, ((id, *pair) for id, pair in known.items()))
    return Contents(utterances, known)


class Contents(Mapping[str, Marks]):
    """Marks of every utterance by its id, put together when asked for: a million in 80 MB."""

    def __init__(self, utterances: Sequence[Segment], known: Mapping[str, tuple[str, str]]):
        self._utterances = utterances
        self._ids = Names([u.id for u in utterances[at : at + 9999]] for at in range(0, len(utterances), 9999))
        self._hashes = np.array([known.get(u.id, ("", "")) for u in utterances], f"S{SHORT}").reshape(-1, 2)

    def __getitem__(self, id: str) -> Marks:
        if (k := self._ids.find(id)) < 0:
            raise KeyError(id)
        file, samples = self._hashes[k].tolist()
        return marks(self._utterances[k], file.decode(), samples.decode())

    def __iter__(self) -> Iterator[str]:
        return (u.id for u in self._utterances)

    def __len__(self) -> int:
        return len(self._utterances)


def look(path: Path, start: float, end: float | None) -> tuple[str, str]:
    """Hash of the file and of the samples; ("", "") for silence. Raises InputError when it cannot be decoded."""
    rate_hz = audio.probe(path).rate_hz
    samples = audio.read(path, start, end, rate_hz=rate_hz).values
    return ("", "") if np.abs(samples).max() < SILENT else (of_file(path), of_samples(samples, rate_hz))


def _load(path: Path) -> dict[str, tuple[str, str]]:
    """Nothing where there is none, or no such file: it can be made again."""
    with suppress(InputError):
        ids, *pair = map(own.read_columns(path, COLUMNS).__getitem__, COLUMNS)
        if re.fullmatch(r"[0-9a-f]*", "".join(map("".join, pair))):
            return dict(zip(ids, zip(*pair, strict=True), strict=True))
    return {}


def marks(u: Segment, file: str, samples: str) -> Marks:
    """`s<hash>` of the samples, and `f<hash>` of the whole file or `f<hash>@1.5:3.0` of a segment of it, in seconds."""
    span = "" if u.start == 0 and u.end is None else f"@{u.start:g}:{'' if u.end is None else f'{u.end:g}'}"
    return tuple(mark for mark, there in ((f"s{samples[:SHORT]}", samples), (f"f{file[:SHORT]}{span}", file)) if there)


class Known:
    """Marks that are known, to be asked for others."""

    def __init__(self, marks: Iterable[str]):
        self.samples: set[str] = set()
        self.spans: dict[str, list[tuple[float, float]]] = {}
        for mark in marks:
            if mark.startswith("f"):
                name, span = span_of(mark)
                self.spans.setdefault(name, []).append(span)
            else:
                self.samples.add(mark)

    def has(self, marks: Marks) -> bool:
        """Whether a recording of these marks is among them, or part of one."""
        for mark in marks:
            if mark in self.samples:
                return True
            if mark.startswith("f"):
                name, (start, end) = span_of(mark)
                if any(max(start, a) < min(end, b) for a, b in self.spans.get(name, ())):
                    return True
        return False


def span_of(mark: str) -> tuple[str, tuple[float, float]]:
    """(hash of the file, (start, end) in seconds) of a mark of a file."""
    name, at, span = mark.partition("@")
    start, _, end = span.partition(":")
    return name, (float(start) if at else 0.0, float(end) if end else float("inf"))
