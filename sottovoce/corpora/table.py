"""Any table of recordings: CSV, TSV, JSON, JSON Lines or Parquet, with the usual column names.

    path      file, path, wav, audio, filename ...      relative to the table's folder, or to --audio-root
    emotion   emotion, label, emo, class ...            words of emotion are spelt our way; others see --own-classes
    speaker   speaker, speaker_id, spk, actor ...       or --speaker-pattern REGEX, searched in the path
    start, end, duration (seconds, clock times or timedeltas; start_ms counts milliseconds), id, gender, session
    split     train/dev/test, several test sets by name, or a number or name a fold; see `_split`
    votes     --rater-columns or --distribution-columns: several people's words as shares, see `_votes`
    numbers   valence, arousal, activation, dominance, sentiment, six intensities ..., or any named by --label-columns

`--emotion-column NAME` and so on name a column that is called otherwise. Decimal commas are read as such; empty cells,
NaN, n/a and the like hold nothing, and a speaker "unknown" is nobody. A folder is read as EmoBox (`NAME.jsonl` and
`fold_k/` with train and test lists, https://github.com/emo-box/EmoBox), as audformat (`db.yaml` with tables,
https://audeering.github.io/audformat/), as tables `train.csv`, `dev.csv` and `test.csv`, or for the one table in it.
Folds are by speaker where there is no split, else by session, else random by file, which is reported as leaky.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml

from sottovoce.config.settings import words
from sottovoce.corpora import _layout, _options, _row_files, _rows, _split, _votes
from sottovoce.data import own
from sottovoce.data.corpus import Kind, Utterance
from sottovoce.errors import InputError, check_names

LICENCE = "unknown (your own files)"
SOURCE = "a table"
KINDS: dict[str, Kind] = {"emotion": "class", "split": "class"}
CLASSES = {"split": _split.SIDES}
fold_notes = _split.fold_notes


@dataclass(frozen=True, kw_only=True)
class Options(_rows.Asked):
    audio_root: Annotated[Path | None, "where relative paths start"] = None
    table: Annotated[str, "of an audformat database, several with commas"] = ""
    votes: _votes.Votes = None


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None, **options: Any) -> list[Utterance]:
    """One utterance a row of a table, or of a folder with one (see above); `options` are fields of `Options`.

    Raises InputError: no or several tables, a missing column, an empty table, duplicate ids, a time or number that is
    none, an unknown label, a speaker on both sides of the split, no recording where the table says.
    """
    asked = _options.chosen(Options, options, "table")
    read = _read(Path(root), asked.table)
    read, asked, relabel = _votes.spread(read, asked, asked.votes, relabel)
    asked = replace(asked, name=asked.name or _name(Path(root).resolve()))
    return _rows.utterances(read, asked, relabel=relabel, audio_root=asked.audio_root)


def problems(
    root: Path,
    utterances: Sequence[Utterance],
    *,
    columns: Mapping[str, str] | None = None,
    unlabelled: bool = False,
    votes: Mapping[str, str] | None = None,
) -> list[str]:
    """What the split says, and the columns of a table that were left out."""
    notes = _split.notes(utterances)
    if root.is_file() and not unlabelled:
        notes += _rows.idle(_row_files.read(root), utterances, columns, _votes.used(votes))
    return notes


GENERIC = ("manifest", "metadata", "labels")  # what many tables are called


def _name(path: Path) -> str:
    """What to call a corpus that was given no name: as its table, or as the folder of a table called as all are.

    Two corpora of one name would pass for the same people in the lists of `seen_speakers`.
    """
    if not path.is_file():
        return path.name
    return path.parent.name if path.stem.lower() in GENERIC else path.stem


def _read(root: Path, table: str) -> _rows.Rows:
    if root.is_file():
        return _row_files.read(root)
    _layout.folder(root)
    if (root / "db.yaml").is_file():
        return _audformat(root, table)
    lists = sorted(root.glob("fold_*/*.jsonl"))
    if lists:
        return _emobox(root, lists)
    here = sorted(p for p in root.iterdir() if p.suffix.lower() in _row_files.SUFFIXES and not p.name.startswith("."))
    if len(here) == 1:
        return _row_files.read(here[0])
    sides = {_split.side(path.stem) for path in here}
    if len(sides) > 1 and "" not in sides:
        return _sides(root, here)
    some = ", ".join(p.name for p in here[:5]) or "none"
    raise InputError(f"{root}: {'several tables' if here else 'no table'}. Found {some}. Name the file itself.")


def _sides(root: Path, tables: Sequence[Path]) -> _rows.Rows:
    """`train.csv`, `dev.csv` and `test.csv` as one table with a split."""
    columns: list[str] = []
    records = []
    for path in tables:
        read = _row_files.read(path)
        if own := [c for c in read.columns if c.casefold() in _rows.SYNONYMS["split"].split()]:
            raise InputError(
                f"{path}: a split by column {own[0]}, and one by table. Name one table, or remove one split."
            )
        columns += read.columns
        records += [row | {"split": path.stem} for row in read.rows]
    return _rows.Rows.of_records(root, root, records, [*columns, "split"])


def _emobox(root: Path, lists: Sequence[Path]) -> _rows.Rows:
    """`fold_k/NAME_train_fold_k.jsonl` and `..._test_...`: one fold is a split, several are parts tested in turn."""
    whole = sorted(root.glob("*.jsonl"))
    records: dict[str, dict[str, Any]] = {}
    tested: dict[str, dict[str, str]] = {}  # {fold: {wav: side}}
    for path in [*whole, *lists]:
        for row in _row_files.read(path).rows:
            if "wav" not in row:
                raise InputError(f"{path}: no column wav. Found: {', '.join(row)}. EmoBox lists have key, wav and emo.")
            records.setdefault(row["wav"], row)
            side = next((s for s in ("train", "valid", "test") if f"_{s}_" in path.name), None)
            if side and path not in whole:
                tested.setdefault(path.parent.name, {})[row["wav"]] = side
    if len(tested) == 1:
        splits = next(iter(tested.values()))
    else:
        splits = {wav: fold for fold, sides in tested.items() for wav, side in sides.items() if side == "test"}
    return replace(_rows.Rows.of_records(root, root, list(records.values())), splits=splits)


@dataclass(frozen=True)
class _Table:
    split_id: str | None = None
    columns: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Header:
    """What is used of `db.yaml`."""

    tables: dict[str, _Table] | None = None
    schemes: dict[str, dict[str, Any] | None] | None = None
    splits: dict[str, dict[str, Any]] | None = None
    misc_tables: dict[str, Any] | None = None


def _audformat(root: Path, wanted: str) -> _rows.Rows:
    """Tables with an emotion column, completed from the others by file; speakers and gender from the schemes."""
    try:
        read_header = yaml.safe_load((root / "db.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{root / 'db.yaml'}: not an audformat header. {' '.join(str(error).split())}.") from None
    header = own.shaped(read_header, _Header, root / "db.yaml", "Export the database again.")
    tables, schemes = header.tables or {}, header.schemes or {}
    emotion = _rows.SYNONYMS["emotion"].split()
    chosen = words(wanted)
    check_names(f"table of {root}", chosen, tables)
    chosen = chosen or [n for n, t in tables.items() if any(c.casefold() in emotion for c in t.columns or {})]
    chosen = chosen or list(tables)
    sides = {
        name: name if _split.side(name) == _split.side(kind := str(split.get("type", ""))) else kind
        for name, split in (header.splits or {}).items()
        if _split.side(str(split.get("type", "")))
    }
    merged: dict[tuple[str, str, str], dict[str, str]] = {}
    others: dict[str, dict[str, str]] = {}
    for name in [*chosen, *(n for n in tables if n not in chosen)]:
        part = sides.get(tables[name].split_id or "", "")
        read = _audformat_table(root, name)
        if "file" not in read.columns:
            raise InputError(f"{read.where}: no column file. Found: {', '.join(read.columns)}. Export it again.")
        for row in read.rows:
            row = row | ({"split": part} if part and name in chosen else {})
            if name in chosen:
                key = (row["file"], row.get("start", ""), row.get("end", ""))
                merged[key] = row | {k: v for k, v in merged.get(key, {}).items() if v}
            else:
                others[row["file"]] = row | others.get(row["file"], {})
    rows = [
        others.get(key[0], {}) | {k: v for k, v in row.items() if v or k not in others.get(key[0], {})}
        for key, row in merged.items()
    ]
    speakers = (schemes.get("speaker") or {}).get("labels")
    if isinstance(speakers, dict):
        facts = {str(key): value for key, value in speakers.items() if isinstance(value, dict)}
    elif isinstance(speakers, str) and speakers in (header.misc_tables or {}):
        misc = _audformat_table(root, speakers).rows
        facts = {next(iter(row.values())): row for row in misc}
    else:
        facts = {}
    for row in rows:
        row.setdefault("gender", _row_files.text_of((facts.get(row.get("speaker", "")) or {}).get("gender")))
    return _rows.Rows.of_records(root, root, rows, ["file"])


def _audformat_table(root: Path, name: str) -> _rows.Rows:
    for suffix in (".csv", ".parquet"):
        path = root / f"db.{name}{suffix}"
        if path.is_file():
            read = _row_files.read(path)
            read.rows = [{column: _rows.held(row, column) for column in row} for row in read.rows]
            return read
    raise InputError(f"{root}: table {name} of db.yaml is missing. Looked for db.{name}.csv and db.{name}.parquet.")
