"""Writing so that nothing is ever half there: a temporary name in the same folder, then a rename."""

import csv
import hashlib
import json
import mmap
import os
import re
import secrets
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.errors import InputError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

LARGE = 1 << 22  # numbers from which an array does not stay in memory: 4 minutes of samples at 16 kHz


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path next to `path`; renamed to it on success, removed on any failure.

    Raises InputError when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    short = path.name.encode(errors="ignore")[:200].decode(errors="ignore")  # a name that fits has to fit here too
    temporary = path.with_name(f".{short}.{secrets.token_hex(4)}.part")  # two machines may have one process id
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written. {error.strerror or error}. Free space or choose another -o."
        ) from error
    finally:
        with suppress(OSError):  # a parent that is a file: there is nothing to remove either
            temporary.unlink(missing_ok=True)


def lock(folder: Path, *, wait: bool = True) -> int:
    """A descriptor of a folder's lock, which the system drops when it is closed or its holder dies.

    Where there are no locks (Windows, some network file systems) everybody gets one at once.

    Raises BlockingIOError where somebody holds it, unless that is waited for.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        pass
    return descriptor


def check_output(path: Path | str, *, folder: bool | None) -> None:
    """Raises InputError when nothing can be written there, before any work is done for it; leaves nothing behind.

    Args:
        folder: whether it is to be a folder or a file; None: either.
    """
    path = Path(path)
    if (folder is False and path.is_dir()) or (folder and path.is_file()):
        raise InputError(f"{path}: cannot be written: a {'file' if folder else 'folder'} is there. Choose another -o.")
    place = path if folder or path.is_dir() else path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        if not place.is_dir():
            raise NotADirectoryError(f"{place} is no folder")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written. {error.strerror or error}. Choose another -o.") from None


def check_ours(path: Path, mark: bytes = b"sottovoce") -> None:
    """Raises InputError where a file is there that we have not written: ours hold the mark, in small letters or not."""
    if not path.is_file():
        return
    with open(path, "rb") as content:
        before = b""
        while block := content.read(1 << 20):
            block = before + block.lower()
            if mark in block:
                return
            before = block[-len(mark) :]
    raise InputError(f"{path}: a file of somebody else's is there. Choose another -o.")


def check_kind(path: Path, kinds: Sequence[str]) -> None:
    """Raises InputError where the suffix is none of these, e.g. ".csv"."""
    if path.suffix.lower() not in kinds:
        found = path.suffix or "no suffix"
        raise InputError(f"{path}: unknown kind of table. Found {found}. Name one of {', '.join(kinds)}.")


def scratch(length: int, dtype: str = "float64") -> np.ndarray:
    """(length,) zeros to work in, e.g. for a whole signal.

    A large array lies in a nameless temporary file: the system writes out what is not in use, and an hour of audio
    takes no more memory than a minute.
    """
    if length < LARGE:
        return np.zeros(length, dtype)
    with tempfile.TemporaryFile() as file:
        return np.asarray(np.memmap(file, dtype, "w+", shape=(length,)))


def let_go(array: np.ndarray | mmap.mmap | bytes) -> None:
    """Give the pages of a large `scratch` array, or of a file, back to the system; they are read again when used."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def write_text(path: Path | str, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Indented JSON. NaN and infinity become null: JSON has neither."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """JSON of other programs; our own is read by `data.own`. Raises InputError when it is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read. {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:  # no text, no JSON, a number of 10,000 digits, lists without end
        raise InputError(f"{path}: not valid JSON. {error}. Restore it or make it again.") from None


_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet would run, however often it was quoted before


def folder_name(text: str) -> str:
    """Text that came from a table as the name of one folder: nothing that leads elsewhere, nothing hidden.

    >>> folder_name("../../../x"), folder_name("/etc/passwd"), folder_name("Session 1"), folder_name("..")
    ('x', 'etc_passwd', 'Session_1', '_')
    >>> folder_name("CON"), folder_name("nul.txt"), folder_name("console")  # devices of Windows
    ('_CON', '_nul.txt', 'console')
    """
    safe = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", text)).strip("._-")[:80].rstrip(".") or "_"
    return f"_{safe}" if re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", safe, re.IGNORECASE) else safe


def unused_name(name: str, taken: set[str]) -> str:
    """The name, numbered where another has it (on some disks `A` is `a`), which is taken from now on.

    >>> taken = {"a"}
    >>> unused_name("A", taken), unused_name("a", taken), unused_name("b", taken)
    ('A-2', 'a-3', 'b')
    """
    found, number = name, 1
    while found.casefold() in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(found.casefold())
    return found


def is_folder_name(text: object) -> bool:
    """Whether a name, as a file of ours gives it, stays inside the folder it is put into.

    >>> [is_folder_name(name) for name in ("fold1", "Ses 01", "../x", "/x", "a/b", "..", "", 3)]
    [True, True, False, False, False, False, False, False]
    """
    return (
        isinstance(text, str) and not re.search(r"[/\\\x00-\x1f]", text) and text.strip(". ") != "" and len(text) < 200
    )


def csv_cell(value: Any) -> Any:
    """A value for a cell of a CSV that a spreadsheet may open: what it would take for a formula gets a quote in front.

    Names of files, speakers and classes are other people's text. Numbers stay as they are.

    >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell("'-x"), csv_cell("anna"), csv_cell(-1)
    ("'=1+1", '-0.5', "''-x", 'anna', -1)
    """
    if not (isinstance(value, str) and _FORMULA.match(value)):
        return value
    return value if re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", value) else f"'{value}"


def csv_text(cell: str) -> str:
    """What `csv_cell` was given.

    >>> csv_text("'=1+1"), csv_text("'-x"), csv_text("it's"), csv_text("'quoted'")
    ('=1+1', '-x', "it's", "'quoted'")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_csv(path: Path | str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """CSV with a header, whole or not at all; empty where a row has no such column. See `csv_cell`.

    Args:
        columns: their order; default: as they occur.
    """
    names = list(dict.fromkeys(key for row in rows for key in row)) if columns is None else list(columns)
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as out:
        plain = csv.writer(out, lineterminator="\n")
        quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the module forgets to quote a \r
        for cells in (names, *([row.get(name, "") for name in names] for row in rows)):
            cells = [csv_cell(cell) for cell in cells]
            (quoted if any(isinstance(c, str) and "\r" in c for c in cells) else plain).writerow(cells)


POINTERS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/", b"/annex/objects/")


def _pointer(path: Path | str) -> bytes:
    """The beginning of a file that holds the place of a larger one, which git-lfs or git-annex has not fetched; else
    nothing."""
    try:
        with open(path, "rb") as data:
            head = data.read(256).lstrip(b"\xef\xbb\xbf \r\n\t")
    except OSError:
        return b""
    return head if head.startswith(POINTERS) or b".git/annex/objects/" in head else b""


def is_pointer(path: Path | str) -> bool:
    """Whether a file holds the place of a larger one that git-lfs or git-annex has not fetched."""
    return bool(_pointer(path))


def pointer_error(path: Path | str) -> InputError:
    head = _pointer(path)
    kind = "git-annex pointer" if b"annex/objects/" in head else "git-lfs pointer"
    size = next((line[5:].decode("ascii", "replace") for line in head.splitlines() if line[:5] == b"size "), "?")
    return InputError(
        f"{path}: a git-lfs (or git-annex) pointer, not the file. Found a {kind} in place of {size} bytes. Fetch the "
        "content: git lfs pull (git annex get) in that repository."
    )


def digest(value: Any) -> str:
    """A short stable hash of anything JSON can hold: names caches and cells.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_digest(path: Path | str) -> str:
    """Hash of a file's bytes."""
    with open(path, "rb") as data:
        return digest_of(data)


def digest_of(data: Any) -> str:
    """The same of an open file."""
    return hashlib.file_digest(data, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def plain(value: Any) -> Any:
    """NumPy scalars and arrays, paths, tuples and dataclasses as what JSON knows."""
    import dataclasses
    import math

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [plain(v) for v in items]
    if hasattr(value, "tolist"):  # NumPy array or scalar
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"training.lr": 0.001, ...}."""
    value = plain(value)
    if not isinstance(value, dict):
        return {prefix: value}
    out: dict[str, Any] = {}
    for key, inner in value.items():
        out |= flatten(inner, f"{prefix}.{key}" if prefix else key)
    return out
