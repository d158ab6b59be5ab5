"""Recordings inside tar archives, read where they lie: `train-000.tar#anna/001.wav` is an entry of train-000.tar.

    opened(path)    an open file, of the disk or an entry
    stat(path)      its size, and when it was written
    is_file(path)   whether it is there
    entries(tar)    what an archive holds

A process lists an archive once, at 70 bytes an entry. Compressed archives have no places to read from.
"""

import io
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sottovoce import files
from sottovoce.data.names import Names
from sottovoce.errors import InputError

SUFFIX = ".tar"
BLOCK = 512  # bytes: archives are made of these
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\3\4": "zip"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive: `size` bytes from `start` on."""

    name: str
    start: int
    size: int


def entries(archive: Path | str) -> Iterator[Entry]:
    """Every file of an archive, in its order; only its headers are read.

    Raises InputError: compressed, truncated or damaged, or with names or links that lead elsewhere.
    """
    if files.is_pointer(archive):
        raise files.pointer_error(archive)
    try:
        with open(archive, "rb") as file:
            head = file.read(8)
            if packed := next((name for magic, name in PACKED.items() if head.startswith(magic)), ""):
                raise InputError(
                    f"{archive}: compressed ({packed}). Recordings are read from where they lie in a plain tar. Unpack "
                    f"it, or pack its files anew: tar -cf NAME{SUFFIX} FOLDER"
                )
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield from _members(archive, tar)
                _check_end(archive, file, tar.offset)
    except OSError as error:
        raise InputError(f"{archive}: cannot be read. {error.strerror or error}. Check the path.") from None
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(archive, str(error)) from None


def _members(archive: Path | str, tar: tarfile.TarFile) -> Iterator[Entry]:
    at = -1
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
        if member.offset <= at or member.size < 0:
            raise _damaged(archive, f"an entry of {member.size} bytes at byte {member.offset}")
        at = member.offset
        name = posixpath.normpath(member.name)
        if name.startswith("/") or name.split("/")[0] == "..":
            raise InputError(
                f"{archive}: a name that leads out of it. Found {member.name!r}. Pack it with other names."
            )
        if member.issym() or member.islnk() or member.issparse():
            kind = "sparse file" if member.issparse() else "link"
            raise InputError(
                f"{archive}: a {kind}, not a file. Found {name!r}. Pack what it stands for: tar --dereference "
                "--hard-dereference -cf ..."
            )
        if member.isreg():
            yield Entry(name, member.offset_data, member.size)


def _check_end(archive: Path | str, file: BinaryIO, at: int) -> None:
    """tarfile takes whatever is no header for the end; an archive that is whole ends with zeros."""
    file.seek(at)
    mark = file.read(BLOCK)
    if len(mark) < BLOCK:
        raise _damaged(archive, f"no mark of its end after byte {at}")
    if mark.strip(b"\0"):
        raise _damaged(archive, f"no header at byte {at}")
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            raise InputError(
                f"{archive}: something behind its end, as `cat a.tar b.tar` leaves it. Found bytes after {at}. Keep "
                "the archives apart, or join them with tar --concatenate."
            )


def _damaged(archive: Path | str, found: str) -> InputError:
    return InputError(f"{archive}: truncated or damaged. Found {found.rstrip('.')}. Copy it again.")


def split(path: Path | str) -> tuple[str, str]:
    """(archive, name of the entry); (path, "") of a file of its own."""
    text = os.fspath(path)
    for mark in re.finditer(re.escape(f"{SUFFIX}#"), text):
        if os.path.isfile(archive := text[: mark.end() - 1]):
            return archive, text[mark.end() :]
    return text, ""


def inside(path: Path | str) -> Path:
    """An entry's path in its archive; that of a file of its own."""
    archive, name = split(path)
    return Path(name or archive)


def opened(path: Path | str) -> Any:
    """A file to read bytes from. Raises OSError as `open`."""
    archive, name = split(path)
    if not name:
        return open(path, "rb")
    start, size = _place(archive, name)
    return io.BufferedReader(Window(open(archive, "rb", buffering=0), start, size))


def stat(path: Path | str) -> tuple[int, int]:
    """(size in bytes, time of change in ns). Raises OSError where there is no such file."""
    archive, name = split(path)
    found = os.stat(archive)
    return (_place(archive, name)[1] if name else found.st_size), found.st_mtime_ns


def is_file(path: Path | str) -> bool:
    """Whether it is there, as `os.path.isfile`: False too for a name that no disk could hold."""
    archive, name = split(path)
    try:
        return bool(_place(archive, name)) if name else os.path.isfile(archive)
    except OSError:
        return False


def _place(archive: str, name: str) -> tuple[int, int]:
    """(start, size) of an entry. Raises FileNotFoundError, and InputError as `entries`."""
    found = os.stat(archive)
    names, places = _listed(archive, found.st_size, found.st_mtime_ns)
    k = names.find(name)
    if k < 0:
        raise FileNotFoundError(2, "no such entry", f"{archive}#{name}")
    return int(places[k, 0]), int(places[k, 1])


@lru_cache(maxsize=4096)
def _listed(archive: str, size: int, time_ns: int) -> tuple[Names, np.ndarray]:
    """Names and (N, 2) places of an archive's entries; of equal names the first counts."""
    found = list(entries(archive))
    return Names([[entry.name for entry in found]]), np.array([(e.start, e.size) for e in found], np.int64)


class Window(io.RawIOBase):
    """`size` bytes of an open file from `start` on, behind a `head` of our own; the file is closed with it."""

    def __init__(self, file: Any, start: int, size: int, head: bytes = b""):
        self._file, self._head, self._start = file, head, start
        self._size, self._at = len(head) + size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        into = memoryview(buffer).cast("B")
        wanted = max(0, min(len(into), self._size - self._at))
        ours = self._head[self._at : self._at + wanted]
        into[: len(ours)] = ours
        if wanted > len(ours):
            self._file.seek(self._start + self._at + len(ours) - len(self._head))
            wanted = len(ours) + (self._file.readinto(into[len(ours) : wanted]) or 0)
        self._at += wanted
        return wanted

    def close(self) -> None:
        self._file.close()
        super().close()
