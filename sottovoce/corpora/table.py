"""Any table of recordings: CSV, TSV, JSON, JSON Lines or Parquet, with the usual column names.

    path      file, path, wav, audio, filename ...      relative to the table's folder, or to --audio-root
    emotion   emotion, label, emo, class ...            words of emotion are spelt our way; others see --own-classes
    speaker   speaker, speaker_id, spk, actor ...       or --speaker-pattern REGEX, searched in the path
    start, end, duration (seconds, clock times or timedeltas; start_ms counts milliseconds), id, gender, session
    split     train/dev/test, several test sets by name, or a number or name a fold; see `_split`
    numbers   valence, arousal, activation, dominance, sentiment, six intensities ..., or any named by --label-columns

`--emotion-column NAME` and so on name a column that is called otherwise. Decimal commas are read as such; empty cells,
NaN, n/a and the like hold nothing, and a speaker "unknown" is nobody. A folder is read as EmoBox (`NAME.jsonl` and
`fold_k/` with train and test lists, https://github.com/emo-box/EmoBox), as audformat (`db.yaml` with tables,
https://audeering.github.io/audformat/), or for the one table in it. Folds are by speaker where there is no split; where
no speaker is known they are random by file, which is reported as leaky.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sottovoce import files
from sottovoce.corpora import _cells, _layout, _split
from sottovoce.data import vocabulary
from sottovoce.data.corpus import EMOTIONS, Fold, Kind, Utterance
from sottovoce.errors import InputError, unknown_name

LICENCE = "unknown (your own files)"
SOURCE = "a table"
TARGET = ("emotion",)
KINDS: dict[str, Kind] = {"emotion": "class", "split": "class"}
CLASSES = {"emotion": EMOTIONS, "split": ("train", "dev", "test")}
SYNONYMS = {
    "path": "file path wav audio filename file_name filepath file_path audio_path wav_path audio_file audio_filepath "
    "wav_file audio_name",
    "id": "id key utterance utterance_id utt_id segment_id utt",
    "emotion": "emotion label emo class category emotion_label emotion_class emotions labels",
    "speaker": "speaker speaker_id spk spk_id speakerid actor actor_id subject speaker_name spkrid spkr",
    "start": "start begin start_time onset begin_time t_start tmin xmin offset",
    "end": "end stop end_time stop_time t_end tmax xmax",
    "duration": "duration dur length segment_duration",
    "gender": "gender sex speaker_gender",
    "session": "session session_id video video_id dialogue dialog recording_session",
    "split": "split fold partition split_set data_split subset set",
}
TIMES = ("start", "end", "duration")
LOOSE_IDS = frozenset(
    {"utterance", "utt", "utterance_id", "segment_id"}
)  # often a text, or counted from 0 in each file
NUMBERS = (  # labels that are taken without being asked for, when they are numbers
    *("valence", "arousal", "activation", "dominance", "sentiment", "intensity", "strength"),
    *("happy", "happiness", "sad", "sadness", "anger", "angry", "surprise", "disgust", "fear"),
)
RETURN = "\ue00d"  # stands for a \r while a CSV is read; nobody's letter
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


@dataclass
class Rows:
    """A table as read: every value is a string without space around it."""

    where: str  # for messages
    base: Path  # relative paths start here
    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int] = field(default_factory=list)  # where a row stands in the file, for messages
    splits: dict[str, str] = field(default_factory=dict)  # {path as written: split}, where other files tell
    separator: str = ","  # between its columns


def utterances(
    root: Path,
    *,
    relabel: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    label_columns: Sequence[str] = (),
    audio_root: Path | None = None,
    speaker_pattern: str = "",
    table: str = "",
    unlabelled: bool = False,
    own_classes: bool = False,
    allow_shared_speakers: bool = False,
    name: str = "",
) -> list[Utterance]:
    """One utterance a row.

    Args:
        root: a table, or a folder with one (see above).
        relabel: see `vocabulary`.
        columns: {our name: column} where a column is called otherwise.
        label_columns: further columns to keep as labels.
        audio_root: where relative paths start; default the table's folder.
        speaker_pattern: regular expression searched in the path, where there is no speaker column.
        table: which tables of an audformat database to use, with commas.
        unlabelled: ignore labels and splits.
        own_classes: keep emotion words that are not ours.
        allow_shared_speakers: accept a split that shares speakers; the report calls it leaky.
        name: of the corpus; default the table's.

    Raises:
        InputError: no or several tables, a missing column, an empty table, duplicate ids, a time or number that is
            none, an unknown label, a speaker on both sides of the split, no recording where the table says.
    """
    for key in columns or {}:
        if key not in SYNONYMS:
            raise unknown_name("column", key, SYNONYMS)
    read = _read(Path(root), table)
    if not read.rows:
        raise InputError(f"{read.where}: empty table. Found {len(read.columns)} columns and no rows. Add rows.")
    names = _names(read, columns or {})
    if not names["path"]:
        raise _missing(read, "path")
    numbers = [] if unlabelled else _further(read, names, label_columns)
    if unlabelled:
        names["emotion"] = names["split"] = ""
        read.splits = {}
    elif names["emotion"] and _fractions(read, names["emotion"]):  # a column `label` that holds intensities
        numbers.append(names["emotion"])
        names["emotion"] = ""
    if not (unlabelled or names["emotion"] or numbers):
        raise _missing(read, "emotion")
    name = name or _name(Path(root).resolve())
    found = _utterances(read, names, numbers, name, relabel, audio_root, speaker_pattern, own_classes)
    _check_ids(read, found, bool(names["id"]))
    if speaker_pattern and not any(u.speaker for u in found):
        raise InputError(f"{read.where}: --speaker-pattern {speaker_pattern} matches no path, e.g. {found[0].path}.")
    start = audio_root or read.base
    if not any((read.base / u.path).is_file() for u in found):
        raise InputError(
            f"{read.where}: no recording where the table says. Looked for {found[0].path} below {start}, and "
            f"{len(found) - 1} more. Name the folder that relative paths start from with --audio-root."
        )
    shared = _split.shared(found)
    if shared and not allow_shared_speakers:
        some = ", ".join(f"{s} ({' and '.join(sorted(sides))})" for s, sides in list(shared.items())[:5])
        raise InputError(
            f"{read.where}: {len(shared)} speakers on both sides of the split: {some}. Correct column "
            f"{names['split'] or 'split'}, or use --allow-shared-speakers, which the report will call leaky."
        )
    return found


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """The table's split, else folds by speaker, else random folds by file; see `_split.folds`."""
    return _split.folds(utterances)


def problems(
    root: Path, utterances: Sequence[Utterance], *, columns: Mapping[str, str] | None = None, unlabelled: bool = False
) -> list[str]:
    """What the split says, and the columns of a table that nobody asked for."""
    notes = _split.notes(utterances)
    if root.is_file():
        read = _read(root, "")
        names = _names(read, columns or {})
        if not names["start"]:
            names["duration"] = ""  # of the recordings, then
        labels = {label for u in utterances for label in u.labels}
        idle = [c for c in read.columns if c not in names.values() and c not in labels and _any(read, c)]
        if idle and not unlabelled:
            notes.append(f"columns not used: {', '.join(idle[:10])}" + (", ..." if idle[10:] else ""))
    return notes


# -- rows to utterances -------------------------------------------------------------------------------------


def _utterances(
    read: Rows,
    names: Mapping[str, str],
    numbers: Sequence[str],
    corpus: str,
    relabel: Mapping[str, str] | None,
    audio_root: Path | None,
    speaker_pattern: str,
    own_classes: bool,
) -> list[Utterance]:
    def value(row: Mapping[str, str], key: str) -> str:
        return _held(row, names[key]) if names[key] else ""

    def known(row: Mapping[str, str], key: str) -> str:
        return "" if _cells.is_nobody(value(row, key)) else value(row, key)

    def time(row: Mapping[str, str], key: str) -> float | None:
        column = names[key]
        return _cells.seconds(value(row, key), where, unit_s=_unit_s(column), decimal=signs[column]) if column else None

    mapped = {left.casefold() for left in relabel or {}}
    emotions = []
    for row in read.rows:
        word = value(row, "emotion")
        none = _cells.is_nobody(word) and not _cells.is_numeric(word) and word.casefold() not in mapped
        emotions.append("" if none and not own_classes else word)
    seen: dict[str, str] = {}
    for line, word in zip(read.lines, emotions, strict=True):
        if word:
            seen.setdefault(word, f"row {line}")
    words = vocabulary.own_words(seen, relabel, read.where, own=own_classes) if seen else {}
    if names["emotion"] and not seen:
        raise InputError(f"{read.where}: column {names['emotion']} is empty. Fill it, or use --unlabelled.")
    sides = _split.labels(
        filter(None, [*read.splits.values(), *(value(row, "split") for row in read.rows)]), read.where
    )
    kept_as = {c: "number" if _is_number(read, c) else "class" for c in numbers}
    signs = _decimal_signs(read, [*numbers, *(names[key] for key in TIMES if names[key])])
    speaker_of = _layout.speaker_of(speaker_pattern)
    plain, found = _plain_ids(read, names), []
    for line, row, own_id, emotion in zip(read.lines, read.rows, plain, emotions, strict=True):
        where = f"{read.where}, row {line}"
        written = "" if _cells.is_nothing(row[names["path"]]) else row[names["path"]]
        if not written:
            raise InputError(f"{where}: no path. Column {names['path']} is empty. Fill it or remove the row.")
        word = words[emotion] if emotion else ""
        if emotion and word == vocabulary.DROP:
            continue
        start, end = time(row, "start") or 0.0, time(row, "end")
        if end is None and names["start"] and (lasts := time(row, "duration")) is not None:
            end = round(start + lasts, 9)
        if start < 0 or (end is not None and end <= start):
            raise InputError(f"{where}: a stretch from {start} s to {end} s. Start is 0 or more, end is after it.")
        labels: dict[str, str | float] = {"emotion": word} if word else {}
        for column in numbers:
            if text := _held(row, column):
                labels[column] = _number(text, where, column, signs[column]) if kept_as[column] == "number" else text
        side = sides.get(read.splits.get(written) or value(row, "split"), "")
        if side:
            labels["split"] = side
        place, person = _place(written, read.base, audio_root), known(row, "speaker") or speaker_of(written)
        found.append(
            Utterance(
                own_id, corpus, place, start, end,
                speaker="" if _cells.is_nobody(person) else person,
                session=known(row, "session"), gender=_layout.gender(value(row, "gender")), labels=labels,
            )
        )  # fmt: skip
    if not found:
        raise InputError(f"{read.where}: every row was left out by --drop. Found {len(read.rows)} rows. Keep a class.")
    return found


def _place(written: str, base: Path, audio_root: Path | None) -> str:
    """A path relative to the table's folder, or an absolute one where it lies elsewhere."""
    written = written.replace("{data_root}/", "").replace("{data_folder}/", "")  # SpeechBrain's manifests
    if "\\" in written and "/" not in written:
        written = written.replace("\\", "/")
    if audio_root is None:
        return Path(written).as_posix()
    path = (Path(audio_root) / written).resolve()
    return path.relative_to(base.resolve()).as_posix() if path.is_relative_to(base.resolve()) else str(path)


def _plain_ids(read: Rows, names: Mapping[str, str]) -> list[str]:
    """The id column; else the file's stem, its path where stems repeat, and the stretch where files do."""
    if names["id"]:
        return [_one_line(row[names["id"]]) for row in read.rows]
    paths = [Path(row[names["path"]]) for row in read.rows]
    several = len({str(p) for p in paths}) < len(paths)
    files = {str(p): p for p in paths}
    for form in (lambda p: p.stem, lambda p: p.with_suffix("").as_posix(), lambda p: p.as_posix()):
        if len({form(p) for p in files.values()}) == len(files):
            break
    if not (several and names["start"]):
        return [_one_line(form(p)) for p in paths]
    until = names["end"] or names["duration"]
    return [
        _one_line(f"{form(p)}_{r[names['start']]}_{r[until] if until else ''}")
        for p, r in zip(paths, read.rows, strict=True)
    ]


def _one_line(text: str) -> str:
    """A cell without the line ends and other control characters that a quoted one may hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


GENERIC = ("manifest", "metadata", "labels")  # what many tables are called


def _name(path: Path) -> str:
    """What to call a corpus that was given no name: as its table, or as the folder of a table called as all are.

    Two corpora of one name would pass for the same people in the lists of who was heard.
    """
    if not path.is_file():
        return path.name
    return path.parent.name if path.stem.lower() in GENERIC else path.stem


def _check_ids(read: Rows, found: Sequence[Utterance], named: bool) -> None:
    first: dict[str, int] = {}
    twice = [u.id for k, u in enumerate(found) if first.setdefault(u.id, k) != k]
    if any(not u.id for u in found):
        raise InputError(f"{read.where}: rows without an id. Fill the id column or name another with --id-column.")
    if twice:
        some = ", ".join(dict.fromkeys(twice[:5]))
        what = "duplicate ids" if named else "duplicate rows (same file and stretch)"
        raise InputError(f"{read.where}: {what}. Found {len(twice)}: {some}. Every row needs an id of its own.")


# -- columns ------------------------------------------------------------------------------------------------


def _names(read: Rows, given: Mapping[str, str]) -> dict[str, str]:
    """{what we need: the column that holds it}, "" where there is none."""
    names = {key: _column(read, key, given.get(key, "")) for key in SYNONYMS}
    if not given.get("id") and _plain(names["id"]) in LOOSE_IDS and not _are_ids(read, names["id"]):
        names["id"] = next((c for c in read.columns if _plain(c) in LOOSE_IDS and _are_ids(read, c)), "")
    if _plain(names["start"]) == "onset" and not (names["end"] or names["duration"]):  # onset and offset
        names["end"] = next((c for c in read.columns if _bare(c) == "offset"), "")
    counted = [c for c in read.columns if re.fullmatch(r"(start|begin|onset|end|stop)_(sample|frame)s?", _plain(c))]
    if counted and not names["start"]:
        raise InputError(
            f"{read.where}: column {counted[0]} counts {_plain(counted[0]).rpartition('_')[2]}. Times are seconds: "
            "write them as start and end, or remove the column where the recordings are cut already."
        )
    return names


def _plain(column: str) -> str:
    """ "Start Time (ms)" as "start_time_ms"."""
    return re.sub(r"[\W_]+", "_", column.casefold()).strip("_")


def _bare(column: str) -> str:
    """ "Start Time (ms)" as "start_time": without the unit."""
    head, _, unit = _plain(column).rpartition("_")
    return head if head and unit in _cells.UNITS_S else _plain(column)


def _unit_s(column: str) -> float:
    """Seconds in what a column of times counts, by its name."""
    head, _, unit = _plain(column).rpartition("_")
    return _cells.UNITS_S.get(unit, 1.0) if head else 1.0


def _column(read: Rows, key: str, given: str) -> str:
    """The column that holds `key`, "" when there is none.

    Raises InputError: no column `given`, or two that are called alike and differ.
    """
    if given:
        alike = [c for c in read.columns if c == given] or [c for c in read.columns if c.casefold() == given.casefold()]
        if alike:
            return alike[0]
        raise InputError(f"{read.where}: no column {given}. Found: {', '.join(read.columns)}. Correct --{key}-column.")
    form = _bare if key in TIMES else _plain
    for word in SYNONYMS[key].split():
        alike = [c for c in read.columns if form(c) == word]
        alike = [c for c in alike if _any(read, c)] or alike[:1]
        if key in TIMES:  # start_s and start_ms say the same
            alike = alike[:1]
        if len({tuple(row[column].casefold() for row in read.rows) for column in alike}) > 1:
            raise InputError(
                f"{read.where}: columns {' and '.join(alike)} differ. Name the one that holds the {key} with "
                f"--{key}-column."
            )
        if alike:
            return alike[0]
    return ""


def _are_ids(read: Rows, column: str) -> bool:
    """Whether a column called `Utterance` or `Utterance_ID` names rows, instead of holding what was said or a count."""
    values = [row[column] for row in read.rows]
    named = all(v and not re.search(r"\s", v) and re.search(r"\d", v) for v in values)
    return named and len(set(values)) == len(values)


def _missing(read: Rows, key: str) -> InputError:
    also = " For recordings without labels use --unlabelled." if key == "emotion" else ""
    return InputError(
        f"{read.where}: no column {key}. Found: {', '.join(read.columns) or 'nothing'}. Looked for "
        f"{', '.join(SYNONYMS[key].split()[:5])} ... Name the column with --{key}-column.{also}"
    )


def _further(read: Rows, names: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """Columns to keep as further labels."""
    taken = set(names.values())
    for column in wanted:
        if column not in read.columns:
            raise InputError(
                f"{read.where}: no column {column}. Found: {', '.join(read.columns)}. Correct --label-columns."
            )
    known = [c for c in read.columns if _plain(c) in NUMBERS and c not in taken and _any(read, c)]
    return [*known, *(c for c in wanted if c not in known and c not in taken)]


def _held(row: Mapping[str, str], column: str) -> str:
    """What a cell holds, on one line; "" for NaN, n/a and the like."""
    text = " ".join(row[column].split())
    return "" if _cells.is_nothing(text) else text


def _any(read: Rows, column: str) -> bool:
    return any(_held(row, column) for row in read.rows)


def _is_number(read: Rows, column: str) -> bool:
    """Whether most values of a column are numbers; the others are then mistakes, and so are all of "45 %"."""
    values = [text for row in read.rows if (text := _held(row, column))]
    meant = re.compile(r"[+−-]?[.,]?\d").match if _plain(column) in NUMBERS else _cells.is_numeric
    return sum(map(bool, map(meant, values))) > len(values) / 2


def _fractions(read: Rows, column: str) -> bool:
    """Whether a column holds nothing but numbers, not all of them whole: whole ones are class codes."""
    cells = [text for row in read.rows if (text := _held(row, column))]
    if read.separator == "," and len({"," in cell for cell in cells}) == 2:  # "1", "2" and "1,2": of both classes
        return False
    sign = _cells.decimal_sign(cells, read.separator)
    values = [_cells.number(cell, sign or ",") for cell in cells]
    return bool(values) and None not in values and any(v is not None and v % 1 for v in values)


def _decimal_signs(read: Rows, columns: Sequence[str]) -> dict[str, str]:
    """{column: its decimal sign}; where a column does not tell, the others do."""
    cells = {column: [row[column] for row in read.rows] for column in columns}
    signs = {column: _cells.decimal_sign(values, read.separator) for column, values in cells.items()}
    told = set(signs.values()) - {""}
    return {column: sign or (next(iter(told)) if len(told) == 1 else "") for column, sign in signs.items()}


def _number(text: str, where: str, column: str, decimal: str) -> float:
    value = _cells.number(text, decimal)
    if value is None and _cells.is_ambiguous(text):
        raise InputError(f"{where}: {column} is {text!r}, which can be read in two ways. Write 1234 or 1.234.")
    if value is None:
        raise InputError(f"{where}: {column} is {text!r}, not a number. Correct it or leave it empty.")
    return value


# -- files --------------------------------------------------------------------------------------------------


def _read(root: Path, table: str) -> Rows:
    if root.is_file():
        return _file(root)
    _layout.folder(root)
    if (root / "db.yaml").is_file():
        return _audformat(root, table)
    lists = sorted(root.glob("fold_*/*.jsonl"))
    if lists:
        return _emobox(root, lists)
    here = sorted(p for p in root.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if len(here) == 1:
        return _file(here[0])
    some = ", ".join(p.name for p in here[:5]) or "none"
    raise InputError(f"{root}: {'several tables' if here else 'no table'}. Found {some}. Name the file itself.")


def _file(path: Path) -> Rows:
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
            if isinstance(content, dict):  # {id: {wav: ..., emo: ...}}, as SpeechBrain writes it
                content = [{"id": key} | value for key, value in content.items()]
            records = content
        elif suffix in (".csv", ".tsv", ".txt"):
            return _csv(path)
        else:
            raise InputError(
                f"{path}: not a table. Found {suffix or 'no suffix'}, expected one of {', '.join(SUFFIXES)}."
            )
        if not all(isinstance(record, dict) for record in records):
            raise TypeError("rows are not objects")
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, AttributeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable table. {line}. Save it as UTF-8 CSV or JSON Lines.") from None
    columns = list(dict.fromkeys(key for record in records for key in record))
    rows = [{column: _text(record.get(column)) for column in columns} for record in records]
    return Rows(str(path), path.parent, columns, rows, list(range(1, len(rows) + 1)))


def _csv(path: Path) -> Rows:
    content = path.read_bytes()
    try:
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff")) and len(content) % 2 == 0  # a spreadsheet's Unicode text
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8. {error}. Save it as UTF-8 CSV.") from None
    separator = ""
    if match := re.match(r'"?sep=(.)"?\r?\n', text):  # a line for Excel
        separator, text = match[1], text[match.end() :]
    if not separator:
        head = next((line for line in io.StringIO(text) if line.strip()), "")
        separator = "\t" if path.suffix.lower() == ".tsv" and "\t" in head else max(",;\t|", key=head.count)
    # Lines end with \n, or with \r as they once did: U+0085, U+2028, vertical tabs and form feeds are part of a cell,
    # and so is a \r in a file of \n, which few programs quote.
    if len(re.findall(r"\r(?!\n)", text)) <= text.count("\n"):
        text = re.sub(r"\r(?!\n)", RETURN, text)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        columns = next((line for line in lines if any(cell.strip() for cell in line)), [])
        columns = [column.strip() for column in columns]
        named = max((k + 1 for k, column in enumerate(columns) if column), default=0)  # empty ones may follow
        rows, numbers = [], []
        for line in lines:
            if not any(cell.strip() for cell in line):
                continue
            if len(line) < named or any(cell.strip() for cell in line[len(columns) :]):
                raise InputError(
                    f"{path}, row {lines.line_num}: {len(line)} cells under {len(columns)} column names. "
                    "Quote cells that hold the separator."
                )
            rows.append([_text(cell.replace(RETURN, "\r")) for cell in line[:named]])
            numbers.append(lines.line_num)
    except csv.Error as error:
        raise InputError(f"{path}: not a readable table. {error}. Save it as UTF-8 CSV.") from None
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


def _text(value: Any) -> str:
    """A cell as text; None, NaN, lists and objects are ""."""
    if value is None or isinstance(value, (list, dict, bytes)) or value != value:
        return ""
    return str(value).strip()


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            f"{path}: Parquet needs pyarrow. pip install 'sottovoce[tables]', or save it as CSV."
        ) from None
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


def _emobox(root: Path, lists: Sequence[Path]) -> Rows:
    """`fold_k/NAME_train_fold_k.jsonl` and `..._test_...`: one fold is a split, several are parts tested in turn."""
    whole = sorted(root.glob("*.jsonl"))
    records: dict[str, dict[str, Any]] = {}
    tested: dict[str, dict[str, str]] = {}  # {fold: {wav: side}}
    for path in [*whole, *lists]:
        for row in _file(path).rows:
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
    columns = list(dict.fromkeys(key for record in records.values() for key in record))
    rows = [{column: record.get(column, "") for column in columns} for record in records.values()]
    return Rows(str(root), root, columns, rows, list(range(1, len(rows) + 1)), splits)


def _audformat(root: Path, wanted: str) -> Rows:
    """Tables with an emotion column, completed from the others by file; speakers and gender from the schemes."""

    try:
        header = yaml.safe_load((root / "db.yaml").read_text(encoding="utf-8"))
        tables: dict[str, dict] = header.get("tables") or {}
        schemes: dict[str, dict] = header.get("schemes") or {}
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise InputError(f"{root / 'db.yaml'}: not an audformat header. {' '.join(str(error).split())}.") from None
    emotion = SYNONYMS["emotion"].split()
    chosen = [n.strip() for n in wanted.split(",") if n.strip()]
    for name in chosen:
        if name not in tables:
            raise unknown_name(f"table of {root}", name, tables)
    chosen = chosen or [n for n, t in tables.items() if any(c.casefold() in emotion for c in t.get("columns") or {})]
    chosen = chosen or list(tables)
    sides = {
        name: name if _split.side(name) == _split.side(kind := str(split.get("type", ""))) else kind
        for name, split in (header.get("splits") or {}).items()
        if _split.side(str(split.get("type", "")))
    }
    merged: dict[tuple[str, str, str], dict[str, str]] = {}
    others: dict[str, dict[str, str]] = {}
    for name in [*chosen, *(n for n in tables if n not in chosen)]:
        part = sides.get(tables[name].get("split_id") or "", "")
        for row in _audformat_table(root, name).rows:
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
    elif isinstance(speakers, str) and speakers in (header.get("misc_tables") or {}):
        misc = _audformat_table(root, speakers).rows
        facts = {next(iter(row.values())): row for row in misc}
    else:
        facts = {}
    for row in rows:
        row.setdefault("gender", _text((facts.get(row.get("speaker", "")) or {}).get("gender")))
    columns = list(dict.fromkeys(["file", *(key for row in rows for key in row)]))
    rows = [{column: row.get(column, "") for column in columns} for row in rows]
    return Rows(str(root), root, columns, rows, list(range(1, len(rows) + 1)))


def _audformat_table(root: Path, name: str) -> Rows:
    for suffix in (".csv", ".parquet"):
        path = root / f"db.{name}{suffix}"
        if path.is_file():
            read = _file(path)
            read.rows = [{column: _held(row, column) for column in row} for row in read.rows]
            return read
    raise InputError(f"{root}: table {name} of db.yaml is missing. Looked for db.{name}.csv and db.{name}.parquet.")
