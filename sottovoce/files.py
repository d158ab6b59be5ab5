"""Writing so that nothing is ever half there: a temporary name in the same folder, then a rename."""

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sottovoce.errors import InputError

if TYPE_CHECKING:
    import numpy as np

LARGE = 1 << 22  # numbers from which an array does not stay in memory: 4 minutes of samples at 16 kHz


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; renamed to it on success, removed on any failure.

    Raises InputError when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
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


def scratch(length: int, dtype: str = "float64") -> "np.ndarray":
    """(length,) zeros to work in, e.g. for a whole signal.

    A large array lies in a nameless temporary file: the system writes out what is not in use, and an hour of sound
    takes no more memory than a minute.
    """
    import tempfile

    import numpy as np

    if length < LARGE:
        return np.zeros(length, dtype)
    with tempfile.TemporaryFile() as file:
        return np.asarray(np.memmap(file, dtype, "w+", shape=(length,)))


def let_go(array: "np.ndarray") -> None:
    """Give the pages of a large `scratch` array back to the system; they are read again when used."""
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
    """Raises InputError when the file is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON. {error}. Restore it or make it again.") from None


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
