"""The index of a track store as arrays: a million utterances in 90 MB. What is rarely asked for stays in the file.

One JSON line an utterance: [id, shard, first row, rows, source key, source stamp, why skipped, sum]. A later line of
an id replaces an earlier one. A shard below zero means that there are no rows.
"""

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sottovoce import files
from sottovoce.data.names import Names
from sottovoce.errors import InputError

AGAIN = "Delete the folder, or extract again with --overwrite."
KINDS = (str, int, int, int, str, str, str, int)
ROW = np.dtype([(name, np.int64) for name in ("at", "shard", "first", "length", "sum")])  # `at`: byte of the line
NO_SUM = -1  # of a line of earlier versions
MOST = 1 << 40  # rows of a file
AT_ONCE = 1 << 21  # bytes of lines that are objects at one time


@dataclass(frozen=True, slots=True)
class Source:
    """What an utterance's rows were made from: `key` its content, `stamp` a cheap sign that it may have changed."""

    key: str = ""
    stamp: str = ""


class Index(Mapping[str, int]):
    """The lines of a file; as a mapping, frames of every id that has some.

    Attributes:
        names: ids, of every line.
        rows: (N,) of ROW; what the last line of an id says is in the place of its first.
        there: numbers of the ids that have rows, in order of the file.
        size: bytes up to the last whole line.
        ends: shard -> rows that must be there.

    Raises InputError when the file cannot be read, or holds a line that no writer wrote.
    """

    def __init__(self, path: Path):
        self._text: mmap.mmap | bytes = b""
        self.ends: dict[int, int] = {}
        try:
            with suppress(FileNotFoundError), open(path, "rb") as file:
                if file.read(1):
                    self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.size = self._text.rfind(b"\n") + 1
            self.rows = np.zeros(_count(self._text, self.size), ROW)
            self.names = Names(self._read())
        except OSError as error:
            raise InputError(f"{path}: cannot be read. {error.strerror or error}. {AGAIN}") from None
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise InputError(f"{path}: damaged index. Found {str(error)[:200]}. {AGAIN}") from None
        again = np.flatnonzero(~self.names.once)
        self.rows[self.names.first[again]] = self.rows[again]  # of equal places the last one counts
        self.there = np.flatnonzero(self.names.once & (self.rows["shard"] >= 0))

    def _read(self) -> Iterator[Sequence[str]]:
        """Some ids at a time; their rows are noted."""
        start = done = 0
        while start < self.size:
            stop = self._text.rfind(b"\n", start, start + AT_ONCE) + 1 or self._text.find(b"\n", start) + 1
            data = self._text[start:stop]
            lines = json.loads(b"[" + data[:-1].replace(b"\n", b",") + b"]")
            if b"\\u" in data:
                json.dumps(lines, ensure_ascii=False).encode()  # halves of a pair
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
            if {*map(type, lines)} != {list} or len(lines) != len(ends):
                raise ValueError("a line that is no list")
            if {*map(len, lines)} != {len(KINDS)}:
                lines = [[*line, NO_SUM] if len(line) == len(KINDS) - 1 else line for line in lines]
            columns = list(zip(*lines, strict=True))
            if (found := [{*map(type, column)} for column in columns]) != [{kind} for kind in KINDS]:
                raise ValueError(f"a line of {' '.join('/'.join(k.__name__ for k in kinds) for kinds in found)[:100]}")
            block = self.rows[done : done + len(lines)]
            block["at"] = start + np.concatenate([[0], ends[:-1]])
            for name, k in (("shard", 1), ("first", 2), ("length", 3), ("sum", 7)):
                block[name] = columns[k]
            kept = block[block["shard"] >= 0]
            wrong = (kept["first"] < 0) | (kept["length"] <= 0)
            wrong |= np.maximum(kept["shard"], np.maximum(kept["first"], kept["length"])) > MOST
            if wrong.any():
                _, shard, first, length, _ = kept[wrong.argmax()].item()
                raise ValueError(f"rows {first} to {first + length} of file {shard}")
            shards, which = np.unique(kept["shard"], return_inverse=True)
            reach = np.zeros(len(shards), np.int64)
            np.maximum.at(reach, which, kept["first"] + kept["length"])
            self.ends |= {s: max(r, self.ends.get(s, 0)) for s, r in zip(shards.tolist(), reach.tolist(), strict=True)}
            files.let_go(self._text)
            start, done = stop, done + len(lines)
            yield columns[0]

    def find(self, id: object) -> int:
        """The number of an id that has rows, -1 for others."""
        k = self.names.find(id)
        return k if k >= 0 and self.rows[k]["shard"] >= 0 else -1

    def __getitem__(self, id: str) -> int:
        if (k := self.find(id)) < 0:
            raise KeyError(id)
        return int(self.rows[k]["length"])

    def __contains__(self, id: object) -> bool:
        return self.find(id) >= 0

    def __iter__(self) -> Iterator[str]:
        return map(self.names.__getitem__, self.there.tolist())

    def __len__(self) -> int:
        return len(self.there)

    def line(self, id: str) -> list | None:
        """What the last line of an id says."""
        text = self.text(id)
        return json.loads(text) if text else None

    def text(self, id: str) -> bytes:
        """The last line of an id; nothing when there is none."""
        k = self.names.find(id)
        return self._text_at(k) if k >= 0 else b""

    def _text_at(self, k: int) -> bytes:
        at = int(self.rows[k]["at"])
        return self._text[at : self._text.find(b"\n", at)]

    def source(self, id: str) -> Source | None:
        line = self.line(id)
        return None if line is None else Source(line[4], line[5])

    @cached_property
    def skipped(self) -> dict[str, str]:
        """id -> why it has no rows."""
        without = np.flatnonzero(self.names.once & (self.rows["shard"] < 0)).tolist()
        return {self.names[k]: json.loads(self._text_at(k))[6] for k in without}


def _count(text: mmap.mmap | bytes, size: int) -> int:
    """Lines in the first bytes."""
    return sum(text[at : min(at + AT_ONCE, size)].count(b"\n") for at in range(0, size, AT_ONCE))
