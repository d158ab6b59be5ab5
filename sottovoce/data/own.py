"""The one way in which files of our own are read: JSON and CSV that another command wrote, and a disk or somebody may
have changed since.

    read_json(path, Head)            a dataclass: what has no default must be there, more may be
    read_json(path, dict[str, float])
    read_rows(path, ("id", "file"))  CSV as `files.write_csv` wrote it
    read_columns(path, ("id",))      the same table by column
    read_arrays(path)                what `numpy.savez` wrote

A reader says as a type what it goes on to rely on. What does not fit, is not finite, is no text or is nested without
end is an InputError, which names the file, the place in it and what to do. Types that are known: str, int, float, bool,
Any, Literal, list[X], tuple[X, ...], tuple[X, Y], dict[str, X] and Mapping, X | Y, None and dataclasses of them.
"""

import csv
import dataclasses
import json
import math
import re
import types
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from sottovoce import files
from sottovoce.errors import InputError

DEEPEST = 50  # lists and objects inside one another; ours have ten
LARGEST = 1 << 62  # whole numbers
ROWS = 1 << 12  # of a table that are read at a time
DISTINCT = 1 << 16  # words of a column that are known again; one with more has a word of its own in every row
_ODD = re.compile(r"\\u(0000|[dD][89a-fA-F])|\x00")  # escapes of what no name may hold, if they are not pairs


def read_json(path: Path | str, shape: Any = Any, again: str = "Restore it, or make it again.") -> Any:
    """What `files.write_json` wrote, as the type `shape`.

    Args:
        again: what to do about damage, a sentence.

    Raises InputError: no such file, not JSON, or not of this type.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. {again}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read. {error.strerror or error}. {again}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid JSON. {error}. {again}") from None
    return parse(text, shape, path, again)


def parse(text: str, shape: Any, where: Path | str, again: str = "Restore it, or make it again.") -> Any:
    """JSON text of ours as the type `shape`. Raises InputError, which begins with `where`."""
    try:
        value = json.loads(text, parse_float=number, parse_int=_whole, parse_constant=number)
        if _ODD.search(text):
            _check_text(value)
        _check_depth(value)
    except RecursionError:
        raise InputError(f"{where}: not valid JSON. Found lists in lists without end. {again}") from None
    except ValueError as error:  # of the decoder too
        raise InputError(f"{where}: not valid JSON. {error}. {again}") from None
    return shaped(value, shape, where, again)


def shaped(value: Any, shape: Any, where: Path | str, again: str = "Restore it, or make it again.") -> Any:
    """`value`, as JSON holds it, as a type: objects become dataclasses where it says so, lists tuples.

    Raises InputError: it does not fit.

    >>> shaped([[1, "a"]], list[tuple[int, str]], "x.json")
    [(1, 'a')]
    """
    try:
        return _shaped(shape, value, "")
    except _Misfit as error:
        raise InputError(f"{where}: damaged. {str(error).rstrip('.')}. {again}") from None


def read_rows(path: Path | str, needed: Sequence[str], again: str = "Make it again.") -> list[dict[str, str]]:
    """Rows of a table of ours, every cell as it was before `files.write_csv`. Raises InputError as `read_columns`."""
    columns = read_columns(path, needed, again)
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def read_columns(path: Path | str, needed: Sequence[str], again: str = "Make it again.") -> dict[str, list[str]]:
    """The same by column: a million rows in little more than their ids take. Words that come often are one object.

    Raises InputError: no such file, no text, a column missing, a row that is cut off or too long.
    """
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            table = csv.reader(_without_zeros(lines))
            names = [files.csv_text(name) for name in next(table, [])]
            lacking = [name for name in needed if name not in names]
            if lacking or len(set(names)) < len(names):
                found = ", ".join(names)[:200] or "nothing"
                raise InputError(f"{path}: no column {', '.join(lacking) or 'of its own'}. Found: {found}. {again}")
            columns: dict[str, list[str]] = {name: [] for name in names}
            words: list[dict[str, str]] = [{} for _ in names]
            rows = _of_one_width(table, len(names))
            while some := list(islice(rows, ROWS)):
                for column, known, cells in zip(columns.values(), words, zip(*some, strict=True), strict=True):
                    if "\n'" in "\n".join(("", *cells)):  # one that begins with it
                        cells = tuple(map(files.csv_text, cells))
                    column.extend(map(known.setdefault, cells, cells) if len(known) < DISTINCT else cells)
            return columns
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. {again}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read. {error.strerror or error}. {again}") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: damaged. {error}. {again}") from None


def read_arrays(path: Path | str, again: str = "Make it again.") -> dict[str, np.ndarray]:
    """What `numpy.savez` wrote, {name: array}; a zip has its own checksums.

    Raises InputError: no such file, damaged, or with a pickle in it.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. {again}") from None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, MemoryError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise InputError(f"{path}: damaged. {str(error).rstrip('.') or 'Found no arrays'}. {again}") from None


def number(text: str) -> float:
    """A text as a finite number. Raises ValueError."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _of_one_width(table: Any, width: int) -> Iterator[list[str]]:
    """Rows of a `csv.reader` that are not empty. Raises ValueError for one of another width."""
    for cells in filter(None, table):
        if len(cells) != width:
            raise ValueError(f"Found {len(cells)} of {width} columns in line {table.line_num}")
        yield cells


def _without_zeros(lines: Iterator[str]) -> Iterator[str]:
    for k, line in enumerate(lines, start=1):
        if "\0" in line:
            raise ValueError(f"Found a zero byte in line {k}")
        yield line


def _whole(text: str) -> int:
    value = int(text) if len(text) < 20 else LARGEST + 1
    if abs(value) > LARGEST:
        raise ValueError(f"{text[:20]}... is too large a number")
    return value


def _check_text(value: Any) -> None:
    """Raises ValueError for texts that can be no name: a zero byte, half a pair."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text:
        raise ValueError("Found a zero byte in a text")
    text.encode()  # UnicodeEncodeError is a ValueError


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        inner = [v for v in level if isinstance(v, (dict, list))]
        if not inner:
            return
        level = [x for v in inner for x in (v.values() if isinstance(v, dict) else v)]
    raise ValueError(f"Found more than {DEEPEST} lists in one another")


# -- types ------------------------------------------------------------------------------------------------------


_hints = cache(get_type_hints)


class _Misfit(Exception):
    """Where a value is not what the type says."""


WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def _shaped(shape: Any, value: Any, at: str) -> Any:
    origin, inner = get_origin(shape), get_args(shape)
    if shape is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, at)
    if origin is Literal:
        return value if value in inner else _misfit(at, f"one of {', '.join(map(str, inner))}", value)
    if dataclasses.is_dataclass(shape):
        return _record(shape, value, at)
    if shape in WORDS:
        fits = type(value) is shape or (shape is float and type(value) is int)
        return value if fits else _misfit(at, WORDS[shape], value)
    kind = origin or shape
    if kind in (dict, Mapping):
        if not isinstance(value, dict):
            _misfit(at, "an object", value)
        return {k: _shaped(inner[1] if inner else Any, v, f"{at}.{k}".lstrip(".")) for k, v in value.items()}
    if kind in (list, tuple):
        if not isinstance(value, list):
            _misfit(at, "a list", value)
        if kind is list or not inner or inner[-1] is Ellipsis:
            each = inner[0] if inner else Any
            if each is str and all(type(v) is str for v in value):  # a million marks of recordings
                return kind(value)
            return kind(_shaped(each, v, f"{at}[{k}]") for k, v in enumerate(value))
        if len(inner) != len(value):
            _misfit(at, f"a list of {len(inner)}", value)
        return tuple(_shaped(s, v, f"{at}[{k}]") for k, (s, v) in enumerate(zip(inner, value, strict=True)))
    raise TypeError(f"{shape} is no type that JSON is read as")


def _one_of(choices: tuple, value: Any, at: str) -> Any:
    said: _Misfit | None = None
    for choice in choices:
        try:
            return _shaped(choice, value, at)
        except _Misfit as error:
            said = error if said is None or choice is not type(None) else said
    raise said or _Misfit(at)


def _record(kind: Any, value: Any, at: str) -> Any:
    if not isinstance(value, dict):
        _misfit(at, "an object", value)
    hints, given = _hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            given[field.name] = _shaped(hints[field.name], value[field.name], f"{at}.{field.name}".lstrip("."))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _Misfit(f"Found no {f'{at}.{field.name}'.lstrip('.')}")
    try:
        return kind(**given)
    except (InputError, ValueError) as error:  # what the dataclass itself refuses
        raise _Misfit(str(error)) from None


def _misfit(at: str, wanted: str, value: Any) -> Any:
    found = json.dumps(value, ensure_ascii=False, default=str)
    raise _Misfit(f"Found {found[:40]}{'...' * (len(found) > 40)} for {at or 'all of it'}, not {wanted}")
