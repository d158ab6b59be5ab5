"""A track store written by many processes: each makes whole shards, and one step shows them all.

    values-1234.f32      rows of a piece of the work, put there when they are whole
    pieces/1234.jsonl    then: what is broken in it, {id: why}, and its lines of the index
    index.jsonl          at the end replaced by itself and the lines of all pieces

So rows are written once, by whoever made them, and a reader sees none of an extraction or all. Where pieces begin and
what they are called depends on what is to be made, not on who makes it: processes that share the work, or go on with
that of a killed one, write the same bytes. Therefore they need no lock among them.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

import numpy as np

from sottovoce import files
from sottovoce.data.store import Head, blocks, cannot_write, checksum
from sottovoce.errors import InputError

MOST = 1 << 16  # pieces of a plan


@dataclass
class Made:
    """One utterance on its way into a store: its rows, or its line of the index as they are still right, or why not."""

    id: str
    key: str = ""
    stamp: str = ""
    values: np.ndarray | None = None  # (T, D) as `checked`
    line: bytes = b""
    why: str = ""


class Outdated(Exception):
    """Another process has shown its shards since the plan was made."""


def state(folder: Path) -> int:
    """Changes whenever shards are shown."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / "index.jsonl").stat().st_size
    return 0


def numbers(pieces: Iterable[Sequence[str]], *of: object) -> Iterator[int]:
    """Of the shards of a plan, in order; others for other pieces, or where anything else differs."""
    plan, count = blake2b(repr(of).encode(), digest_size=3), 0
    for piece in pieces:
        plan.update("\n".join([*piece, "\n"]).encode())
        count += 1
    return iter(range(first := int.from_bytes(plan.digest()) * MOST, first + count))


def piece_path(folder: Path, number: int) -> Path:
    return folder / "pieces" / f"{number}.jsonl"


def write(folder: Path, head: Head, number: int, made: Iterable[Made], *, skip_broken: bool) -> None:
    """A shard and its piece, with lines of what is broken where that is to be skipped. InputError: a full disk."""
    broken: dict[str, str] = {}
    lines: list[list] = []
    row, path = 0, head.shard(folder, number)
    with _whole(path, folder) as out:
        for it in made:
            source = [it.key, it.stamp]
            if it.values is not None:
                summed = checksum(it.id, blocks(it.values, head.dtype), out.write)
                lines.append([it.id, number, row, len(it.values), *source, "", summed])
                row += len(it.values)
            elif it.line:
                line = json.loads(it.line)
                lines.append([*line[:4], *source, *line[6:]])
            else:
                broken[it.id] = it.why
                lines += [[it.id, -1, 0, 0, *source, it.why]] if skip_broken else []
    if not row:
        path.unlink()
    with _whole(piece_path(folder, number), folder) as out:
        out.writelines(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in [broken, *lines])


def pass_over(folder: Path, number: int) -> None:
    """An empty piece, of a plan that is outdated."""
    files.write_text(piece_path(folder, number), "{}\n")


def show(folder: Path, before: int, *, instead: bool = False) -> dict[str, str]:
    """All pieces there are become part of the index, at once.

    Args:
        before: the state in which they were planned.
        instead: of everything that was there.

    Returns:
        id -> why of what is broken.

    Raises:
        Outdated: another process did it.
        InputError: a full disk; all is as before.
    """
    if state(folder) != before:
        raise Outdated
    index, broken = folder / "index.jsonl", dict[str, str]()
    pieces = waiting(folder)
    with _whole(index, folder) as out:
        if not instead and before:
            _copy_lines(index, out)
        for piece in pieces:
            try:
                with open(piece, "rb") as text:
                    broken |= json.loads(text.readline())
                    out.writelines(text)
            except FileNotFoundError:
                raise Outdated from None
        if state(folder) != before:
            raise Outdated
    if instead:
        ours = {int(piece.stem) for piece in pieces}
        for path in folder.glob("values-*.f*"):
            if int(path.stem.partition("-")[2]) not in ours:
                path.unlink(missing_ok=True)
    for path in (*folder.glob(".values-*.part"), *folder.glob("pieces/.*.part")):  # of killed writers
        path.unlink(missing_ok=True)
    forget(folder, pieces)
    return broken


def waiting(folder: Path) -> list[Path]:
    """Pieces that are made but not shown, in order."""
    return sorted((folder / "pieces").glob("*.jsonl"), key=lambda path: int(path.stem))


def forget(folder: Path, pieces: Iterable[Path]) -> None:
    for piece in pieces:
        piece.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or gone
        (folder / "pieces").rmdir()


def _copy_lines(path: Path, out: IO[bytes]) -> None:
    """All but a last one that was torn."""
    with open(path, "rb") as text:
        for line in text:
            if line.endswith(b"\n"):
                out.write(line)


@contextlib.contextmanager
def _whole(path: Path, folder: Path) -> Iterator[IO[bytes]]:
    """A file that is there, and on the disk, when all is written."""
    try:
        with files.atomic(path) as temporary, open(temporary, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
    except InputError as error:
        if isinstance(error.__cause__, OSError):
            raise cannot_write(folder, error.__cause__) from error.__cause__
        raise
