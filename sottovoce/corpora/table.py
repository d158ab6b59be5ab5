"""Any table of recordings: CSV, TSV, JSON, JSON Lines or Parquet, with the usual column names.

    path      file, path, wav, audio, filename ...      relative to the table's folder, or to --audio-root
    emotion   emotion, label, emo, class ...            words of emotion are spelt our way; others see --own-classes
    speaker   speaker, speaker_id, spk, actor ...       or --speaker-pattern REGEX, searched in the path
    start, end (seconds or timedeltas), id, gender, session
    split     train/dev/test, or a number or name a fold; its speakers must not be on both sides
    numbers   valence, arousal, activation, dominance, sentiment, six intensities ..., or any named by --label-columns

`--emotion-column NAME` and so on name a column that is called otherwise. A folder is read as EmoBox (`NAME.jsonl` and
`fold_k/` with train and test lists, https://github.com/emo-box/EmoBox), as audformat (`db.yaml` with tables,
https://audeering.github.io/audformat/), or for the one table in it. Folds are by speaker where there is no split; where
no speaker is known they are random by file, which is reported as leaky.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sottovoce.corpora import _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import EMOTIONS, Fold, Kind, Utterance
from sottovoce.errors import InputError, unknown_name

LICENCE = "unknown (your own files)"
SOURCE = "a table"
TARGET = ("emotion",)
KINDS: dict[str, Kind] = {"emotion": "class", "split": "class"}
CLASSES = {"emotion": EMOTIONS, "split": ("train", "dev", "test")}
SYNONYMS = {
    "path": "file path wav audio filename file_name filepath file_path audio_path wav_path audio_file audio_filepath",
    "id": "id key utterance utterance_id utt_id segment_id utt",
    "emotion": "emotion label emo class category emotion_label emotion_class emotions labels",
    "speaker": "speaker speaker_id spk spk_id speakerid actor actor_id subject speaker_name",
    "start": "start begin start_time onset start_s",
    "end": "end stop end_time end_s",
    "gender": "gender sex speaker_gender",
    "session": "session session_id video video_id dialogue dialog recording_session",
    "split": "split fold partition split_set subset set",
}
NUMBERS = (  # labels that are taken without being asked for, when they are numbers
    *("valence", "arousal", "activation", "dominance", "sentiment", "intensity", "strength"),
    *("happy", "happiness", "sad", "sadness", "anger", "angry", "surprise", "disgust", "fear"),
)
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "devel", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
NOTHING = frozenset({"", "nan", "nat", "none", "null", "na", "n/a"})
DEV_SHARE = 0.1  # of the training part, where a split has no dev
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


@dataclass
class Rows:
    """A table as read: every value is a string, missing ones are ""."""

    where: str  # for messages
    base: Path  # relative paths start here
    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int] = field(default_factory=list)  # where a row stands in the file, for messages
    splits: dict[str, str] = field(default_factory=dict)  # {path as written: split}, where other files tell


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
        relabel: see `label_maps`.
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
    names = {key: _column(read, key, (columns or {}).get(key, "")) for key in SYNONYMS}
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
    shared = _shared(found)
    if shared and not allow_shared_speakers:
        some = ", ".join(f"{s} ({' and '.join(sorted(sides))})" for s, sides in list(shared.items())[:5])
        raise InputError(
            f"{read.where}: {len(shared)} speakers on both sides of the split: {some}. Correct column "
            f"{names['split'] or 'split'}, or use --allow-shared-speakers, which the report will call leaky."
        )
    return found


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """The table's split, else folds by speaker, else random folds by file.

    Raises InputError: a split without train or test, fewer than three speakers.
    """
    told = [u for u in utterances if "split" in u.labels and len(u.labels) > 1]
    if not told:
        return _layout.any_folds(utterances)
    parts = sorted({str(u.labels["split"]) for u in told}, key=_by_number)
    if not set(parts) <= set(CLASSES["split"]):
        if len(parts) < 3:
            raise InputError(
                f"{told[0].corpus}: a split of {len(parts)} parts. Found {', '.join(parts)}; 3 are needed."
            )
        index = [parts.index(str(u.labels["split"])) for u in told]
        group = _group(told)
        return [
            _layout.parts_fold(told, index, k, f"fold{p}" if p.isdecimal() else p, group, len(parts))
            for k, p in enumerate(parts)
        ]
    for side in ("train", "test"):
        if side not in parts:
            raise InputError(
                f"{told[0].corpus}: a split without {side}. Found {', '.join(parts)}. Name some rows {side}."
            )
    group = _group(told)
    sides = {side: [u for u in told if u.labels["split"] == side] for side in CLASSES["split"]}
    if not sides["dev"]:
        sides["train"], sides["dev"] = _cut_dev(sides["train"])
    ids = {side: tuple(u.id for u in members) for side, members in sides.items()}
    return [Fold("split", group, **ids)]


def problems(root: Path, utterances: Sequence[Utterance]) -> list[str]:
    notes = []
    labelled = [u for u in utterances if u.labels]
    mute = [u for u in labelled if not u.speaker]
    sides = {str(u.labels["split"]) for u in labelled if "split" in u.labels}
    if mute and len(mute) < len(labelled):
        notes.append(f"{len(mute)} rows without a speaker" + (" are in no fold" if not sides else ""))
    if mute and sides:
        notes.append("speakers are not known for every row: nobody can say whether the split shares some")
    if shared := _shared(labelled):
        notes.append(f"the split SHARES {len(shared)} speakers between its sides ({', '.join(list(shared)[:5])})")
    if sides and sides <= set(CLASSES["split"]) and "dev" not in sides:
        notes.append(f"the split has no dev part: {DEV_SHARE:.0%} of train was taken")
    outside = sum("split" not in u.labels for u in labelled)
    if sides and outside:
        notes.append(f"{outside} rows have no split and are in no fold")
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
        return row[names[key]] if names[key] else ""

    seen: dict[str, str] = {}
    for line, row in zip(read.lines, read.rows, strict=True):
        if value(row, "emotion"):
            seen.setdefault(value(row, "emotion"), f"row {line}")
    words = vocabulary.own_words(seen, relabel, read.where, own=own_classes) if seen else {}
    if names["emotion"] and not seen:
        raise InputError(f"{read.where}: column {names['emotion']} is empty. Fill it, or use --unlabelled.")
    kept_as = {c: "number" if _is_number(read, c) else "class" for c in numbers}
    speaker_of = _layout.speaker_of(speaker_pattern)
    plain, found = _plain_ids(read, names), []
    for line, row, own_id in zip(read.lines, read.rows, plain, strict=True):
        where = f"{read.where}, row {line}"
        written = value(row, "path")
        if not written:
            raise InputError(f"{where}: no path. Column {names['path']} is empty. Fill it or remove the row.")
        word = words[value(row, "emotion")] if value(row, "emotion") else ""
        if value(row, "emotion") and word == vocabulary.DROP:
            continue
        start = _seconds(value(row, "start"), where) or 0.0
        end = _seconds(value(row, "end"), where)
        if start < 0 or (end is not None and end <= start):
            raise InputError(f"{where}: a stretch from {start} s to {end} s. Start is 0 or more, end is after it.")
        labels: dict[str, str | float] = {"emotion": word} if word else {}
        for column in numbers:
            if row[column]:
                labels[column] = _number(row[column], where, column) if kept_as[column] == "number" else row[column]
        side = read.splits.get(written) or value(row, "split")
        if side:
            labels["split"] = SPLITS.get(side.casefold(), side)
        place = _place(written, read.base, audio_root)
        found.append(
            Utterance(
                own_id, corpus, place, start, end,
                speaker=value(row, "speaker") or speaker_of(written),
                session=value(row, "session"), gender=_layout.gender(value(row, "gender")), labels=labels,
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
        return [row[names["id"]] for row in read.rows]
    paths = [Path(row[names["path"]]) for row in read.rows]
    several = len({str(p) for p in paths}) < len(paths)
    files = {str(p): p for p in paths}
    for form in (lambda p: p.stem, lambda p: p.with_suffix("").as_posix(), lambda p: p.as_posix()):
        if len({form(p) for p in files.values()}) == len(files):
            break
    if not (several and names["start"]):
        return [form(p) for p in paths]
    return [
        f"{form(p)}_{r[names['start']]}_{r[names['end']] if names['end'] else ''}"
        for p, r in zip(paths, read.rows, strict=True)
    ]


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


def _shared(found: Iterable[Utterance]) -> dict[str, set[str]]:
    """Speakers in more than one part of the split."""
    sides: dict[str, set[str]] = {}
    for u in found:
        if u.speaker and "split" in u.labels:
            sides.setdefault(u.speaker, set()).add(str(u.labels["split"]))
    return {speaker: parts for speaker, parts in sorted(sides.items()) if len(parts) > 1}


def _group(told: Sequence[Utterance]) -> str:
    """What a split is known to keep apart."""
    return "speaker" if all(u.speaker for u in told) and not _shared(told) else "none"


def _cut_dev(train: list[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """A tenth of the training part, whole speakers where they are known."""
    whole = all(u.speaker for u in train) and len({u.speaker for u in train}) > 1
    groups: dict[str, list[Utterance]] = {}
    for u in sorted(train, key=lambda u: u.id):
        groups.setdefault(u.speaker if whole else u.id, []).append(u)
    names, dev = sorted(groups), set[str]()
    for k in np.random.default_rng(0).permutation(len(names))[:-1]:  # one group stays
        dev |= {u.id for u in groups[names[k]]}
        if len(dev) >= DEV_SHARE * len(train):
            break
    return [u for u in train if u.id not in dev], [u for u in train if u.id in dev]


def _by_number(part: str) -> tuple:
    digits = re.sub(r"\D", "", part)
    return (int(digits) if digits else -1, part)


# -- columns ------------------------------------------------------------------------------------------------


def _column(read: Rows, key: str, given: str) -> str:
    """The column that holds `key`, "" when there is none."""
    folded = {column.strip().casefold(): column for column in reversed(read.columns)}
    if given:
        if given in read.columns or given.casefold() in folded:
            return given if given in read.columns else folded[given.casefold()]
        raise InputError(f"{read.where}: no column {given}. Found: {', '.join(read.columns)}. Correct --{key}-column.")
    return next((folded[word] for word in SYNONYMS[key].split() if word in folded), "")


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
    known = [c for c in read.columns if c.strip().casefold() in NUMBERS and c not in taken and _any(read, c)]
    return [*known, *(c for c in wanted if c not in known and c not in taken)]


def _any(read: Rows, column: str) -> bool:
    return any(row[column] for row in read.rows)


def _is_number(read: Rows, column: str) -> bool:
    """Whether most values of a column are numbers; the others are then mistakes."""
    values = [row[column] for row in read.rows if row[column]]
    return sum(_float(v) is not None for v in values) > len(values) / 2


def _fractions(read: Rows, column: str) -> bool:
    """Whether a column holds nothing but numbers, not all of them whole: whole ones are class codes."""
    values = [_float(row[column]) for row in read.rows if row[column]]
    return bool(values) and None not in values and any(v is not None and v % 1 for v in values)


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _number(text: str, where: str, column: str) -> float:
    value = _float(text)
    if value is None:
        raise InputError(f"{where}: {column} is {text!r}, not a number. Correct it or leave it empty.")
    return value


def _seconds(text: str, where: str) -> float | None:
    """Seconds of "1.5", "00:00:01.5" or "0 days 00:00:01.500000"; None when empty.

    >>> _seconds("0 days 00:01:01.500000", ""), _seconds("2.25", ""), _seconds("", "")
    (61.5, 2.25, None)
    """
    if not text:
        return None
    match = re.fullmatch(r"(?:(\d+) days? ?)?(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)", text)
    if match:
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    value = _float(text)
    if value is None:
        raise InputError(f"{where}: {text!r} is not a time. Write seconds, or a timedelta such as 0 days 00:00:01.5.")
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
    try:
        if suffix == ".parquet":
            records = _parquet(path)
        elif suffix in (".jsonl", ".ndjson"):
            lines = path.read_text(encoding="utf-8-sig").splitlines()
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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8. {error}. Save it as UTF-8 CSV.") from None
    head = text.split("\n", 1)[0]
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=head.count)
    lines = csv.reader(text.splitlines(), delimiter=separator)
    try:
        columns = [column.strip() for column in next(lines, [])]
        rows, numbers = [], []
        for line in lines:
            if not any(cell.strip() for cell in line):
                continue
            if len(line) != len(columns):
                raise InputError(
                    f"{path}, row {lines.line_num}: {len(line)} cells under {len(columns)} column names. "
                    "Quote cells that hold the separator."
                )
            rows.append({column: _text(cell) for column, cell in zip(columns, line, strict=True)})
            numbers.append(lines.line_num)
    except csv.Error as error:
        raise InputError(f"{path}: not a readable table. {error}. Save it as UTF-8 CSV.") from None
    if len(set(columns)) < len(columns):
        twice = next(c for c in columns if columns.count(c) > 1)
        raise InputError(f"{path}: two columns called {twice!r}. Rename one.")
    return Rows(str(path), path.parent, columns, rows, numbers)


def _text(value: Any) -> str:
    """A cell as text; NaN, None and their spellings are ""."""
    if value is None or isinstance(value, (list, dict)):
        return ""
    text = str(value).strip()
    return "" if text.casefold() in NOTHING else text


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
    sides = {name: str(split.get("type", "")) for name, split in (header.get("splits") or {}).items()}
    merged: dict[tuple[str, str, str], dict[str, str]] = {}
    others: dict[str, dict[str, str]] = {}
    for name in [*chosen, *(n for n in tables if n not in chosen)]:
        part = sides.get(tables[name].get("split_id") or "", "")
        for row in _audformat_table(root, name).rows:
            row = row | ({"split": part} if part in SPLITS and name in chosen else {})
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
            return _file(path)
    raise InputError(f"{root}: table {name} of db.yaml is missing. Looked for db.{name}.csv and db.{name}.parquet.")
