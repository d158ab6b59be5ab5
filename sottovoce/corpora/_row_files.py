"""A file of rows, read as text: CSV as spreadsheets write it, JSON, JSON Lines, Parquet."""

import csv
import io
import json
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sottovoce import files
from sottovoce.corpora import _layout
from sottovoce.corpora._rows import Rows
from sottovoce.data.recordings import is_recording
from sottovoce.errors import InputError, needs

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
MOST_WORDS = 64  # of a list that is a cell
RETURN = "\ue00d"  # stands for a \r while a CSV is read; nobody's letter


def read(path: Path) -> Rows:
    """Raises InputError for what is no table, or a damaged one."""
    suffix = path.suffix.lower()
    if files.is_pointer(path):
        raise files.pointer_error(path)
    try:
        if suffix == ".parquet":
            records = _parquet(path)
        elif suffix in (".jsonl", ".ndjson"):
            lines = path.read_text(encoding="utf-8-sig").split("\n")  # U+2028 and the like may stand inside a line
            records = [json.loads(line) for line in lines if line.strip()]
        elif suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            records = _records(content) if isinstance(content, dict) else content
        elif suffix in (".csv", ".tsv", ".txt"):
            return _csv(path)
        else:
            raise InputError(
                f"{path}: not a table. Found {suffix or 'no suffix'}, expected one of {', '.join(SUFFIXES)}."
            )
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise TypeError("It is no list of objects")
        records = [{str(key): text_of(value) for key, value in record.items()} for record in records]
        "".join(text for record in records for pair in record.items() for text in pair).encode()  # no half of a pair
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a readable table. {error}. Save it as UTF-8 CSV or JSON Lines.") from None
    return Rows.of_records(path, path.parent, records)


def official_rows(path: Path | None, needed: Sequence[str]) -> list[dict[str, str]]:
    """Rows of the CSV that comes with a corpus, none without one; its columns by their names in lower case.

    Raises InputError as `read`, for a table without rows or without a column that is `needed`, in any case, and for a
    cell of several lines.
    """
    if path is None:
        return []
    read = _csv(path, official=True)
    if not read.rows:
        found = f"the columns {', '.join(read.columns)}" if read.columns else "an empty file"
        raise InputError(f"{path}: no rows. Found {found}. Restore the official table.")
    there = {column.lower() for column in read.columns}
    if lacking := [column for column in needed if column.lower() not in there]:
        raise InputError(
            f"{path}: no column {', '.join(lacking)}. Found {', '.join(read.columns)}. Restore the official table."
        )
    return [{column.lower(): cell for column, cell in row.items()} for row in read.rows]


def _csv(path: Path, *, official: bool = False) -> Rows:
    """`official` is a corpus's own table: every cell is of one line, and a quote between tabs is text, unless the names
    of the columns are quoted too."""
    text, separator = _layout.read_text(path), ""
    if match := re.match(r'"?sep=(.)"?\r?\n', text):  # a line for Excel
        separator, text = match[1], text[match.end() :]
    if not separator:
        separator = _separator(text, path.suffix.lower() == ".tsv")
    # Lines end with \n, or with \r as they once did: U+0085, U+2028, vertical tabs and form feeds are part of a cell,
    # and so is a \r in a file of \n, which few programs quote.
    if len(re.findall(r"\r(?!\n)", text)) <= text.count("\n"):
        text = re.sub(r"\r(?!\n)", RETURN, text)
    plain = official and separator == "\t" and '"' not in _head(text)
    lines = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        strict=True,
    )
    try:
        columns = next((line for line in lines if any(cell.strip() for cell in line)), [])
        columns = [column.strip() for column in columns]
        named = max((k + 1 for k, column in enumerate(columns) if column), default=0)  # empty ones may follow
        rows, numbers = [], []
        for line in lines:
            if not any(cell.strip() for cell in line):
                continue
            _check_quotes(path, line, None if official else separator, lines.line_num)
            if len(line) < named or any(cell.strip() for cell in line[len(columns) :]):
                raise InputError(
                    f"{path}, row {lines.line_num}: {len(line)} cells under {len(columns)} column names. Quote cells "
                    f"that hold the separator; the first line names the columns, found {','.join(columns)[:60]!r}."
                )
            rows.append([text_of(cell.replace(RETURN, "\r")) for cell in line[:named]])
            numbers.append(lines.line_num)
    except csv.Error as error:
        if plain:
            raise InputError(f"{path}, row {lines.line_num}: damaged. {error}. Restore the official table.") from None
        raise InputError(
            f"{path}, row {lines.line_num}: a quote that is not closed, or stands alone in a cell. {error}. "
            'Quote the whole cell and write "" for a quote in it.'
        ) from None
    kept: dict[str, int] = {}
    for k, column in enumerate(columns[:named]):
        if not column:  # row numbers, or an empty column of a spreadsheet
            continue
        if column in kept and any(row[k] for row in rows):
            if any(row[kept[column]] for row in rows) and any(row[k] != row[kept[column]] for row in rows):
                raise InputError(f"{path}: two columns called {column!r}. Rename one.")
            kept[column] = k
        kept.setdefault(column, k)
    table = [{column: row[k] for column, k in kept.items()} for row in rows]
    return Rows(str(path), path.parent, list(kept), table, numbers, separator=separator)


def _records(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of {id: {wav: ..., emo: ...}}, as SpeechBrain writes it, or of {"data": [rows]}."""
    lists = [value for value in content.values() if isinstance(value, list)]
    if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
        return lists[0]
    if any(not isinstance(value, dict) for value in content.values()):
        raise TypeError("It is no list of objects")
    keys = list(next(iter(content.values()), {}))
    if keys == [str(k) for k in range(len(keys))] and all(list(column) == keys for column in content.values()):
        return [{name: column[k] for name, column in content.items()} for k in keys]  # as pandas writes it unasked
    return [{"id": key} | value for key, value in content.items()]


def _check_quotes(path: Path, cells: list[str], separator: str | None, row: int) -> None:
    """Raises InputError where a cell has swallowed rows: a quote opened in one, and closed in a later one or never.

    A row names a recording among its cells; without a separator every further line counts as one.
    """

    def is_row(line: str) -> bool:
        return separator is None or (separator in line and any(map(is_recording, line.split(separator))))

    for cell in cells:
        inside = _layout.lines_of(cell)[1:]
        if any(map(is_row, inside)):
            raise InputError(
                f"{path}, row {row - len(inside)}: a cell that holds {len(inside)} rows more. Found {cell[:40]!r}. "
                'Close its quote, or write "" for a quote in a cell.'
            )


def _head(text: str) -> str:
    """The line that names the columns."""
    return next((line for line in io.StringIO(text) if line.strip()), "")


def _separator(text: str, tabs: bool) -> str:
    """What stands between the cells: the sign that gives the first lines as many cells as there are names."""
    head = _head(text)
    if tabs and "\t" in head:
        return "\t"

    def fit(sign: str) -> tuple[bool, int]:
        try:
            lines = list(islice(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=sign)), 20))
        except csv.Error:
            lines = []
        return bool(lines) and {len(lines[0])} == set(map(len, lines)) and len(lines[0]) > 1, head.count(sign)

    return max(",;\t|", key=fit)


def text_of(value: Any) -> str:
    """A cell as text; None, NaN and bytes are "". Several words are as one writes them in a cell, happy;sad, and an
    object is JSON: what raters said comes so. What is no cell, such as samples, is ""."""
    if isinstance(value, dict):
        return json.dumps(value, default=str) if all(map(_is_plain, value.values())) else ""
    if isinstance(value, list):
        words = [text_of(part) for part in value]
        return ";".join(words) if len(value) <= MOST_WORDS and all(map(_is_plain, value)) else ""
    if value is None or isinstance(value, bytes) or value != value:
        return ""
    return str(value).strip()


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _parquet(path: Path) -> list[dict[str, Any]]:
    with needs(f"{path}: Parquet needs pyarrow. pip install 'sottovoce[tables]', or save it as CSV."):
        import pyarrow
        import pyarrow.parquet
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file. {' '.join(str(error).split())}.") from None
    for k, column in enumerate(table.schema):
        if pyarrow.types.is_duration(column.type):  # as seconds
            nanoseconds = table[column.name].cast(pyarrow.duration("ns")).cast(pyarrow.int64())
            seconds = pyarrow.compute.divide(nanoseconds.cast(pyarrow.float64()), 1e9)
            table = table.set_column(k, column.name, seconds)
    return table.to_pylist()
