"""Rows of a table to utterances: which column holds what, what its cells mean, and what is refused.

Readers whose labels are in a table of any kind give `Rows`; see `table` for the names of columns that are understood.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from sottovoce.corpora import _cells, _layout, _split
from sottovoce.corpora._options import Each
from sottovoce.data import archives, vocabulary
from sottovoce.data.corpus import COLUMNS, Utterance, spelt
from sottovoce.errors import InputError, check_names, few

SYNONYMS = {
    "path": "file path wav audio filename file_name filepath file_path audio_path wav_path audio_file audio_filepath "
    "wav_file audio_name",
    "id": "id key utterance utterance_id utt_id segment_id utt",
    "emotion": "emotion label emo class category emotion_label emotion_class emotions labels",
    "speaker": "speaker speaker_id spk spk_id speakerid actor actor_id subject speaker_name spkrid spkr",
    "start": "start begin start_time onset begin_time t_start tmin xmin offset",
    "end": "end stop end_time stop_time t_end tmax xmax",
    "duration": "duration dur length len seconds",
    "gender": "gender sex speaker_gender",
    "session": "session session_id video video_id dialogue dialog recording_session",
    "split": "split fold partition split_set data_split subset set",
}
NAMED = ("speaker", "session", "emotion")
TIMES = ("start", "end", "duration")
LOOSE_IDS = frozenset({"utterance", "utt", "utterance_id", "segment_id"})  # often a text, or counted in each file
NUMBERS = (  # labels that are taken without being asked for, when they are numbers
    *("valence", "arousal", "activation", "dominance", "sentiment", "intensity", "strength"),
    *("happy", "happiness", "sad", "sadness", "anger", "angry", "surprise", "disgust", "fear"),
)


HELD = {  # in columns that may be called otherwise
    **{"path": "of the recording", "id": "of the utterance", "emotion": "of the class"},
    **dict.fromkeys(("speaker", "gender", "session"), "where it is called otherwise"),
    **{"start": "seconds or timedeltas", "end": "seconds or timedeltas"},
    "duration": "with start, where there is no end",
    "split": "train/dev/test (also test1, test2), or one value a fold",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What every reader of rows asks, see `_options`."""

    columns: Annotated[Mapping[str, str] | None, Each("{}-column", HELD)] = None
    label_columns: Annotated[Sequence[str], "further labels to keep"] = ()
    speaker_pattern: Annotated[str, "regular expression that reads the speaker from the path"] = ""
    unlabelled: Annotated[bool, "recordings without labels, for pre-training"] = False
    own_classes: Annotated[bool, "keep class names that are no words of emotion"] = False
    allow_shared_speakers: Annotated[bool, "accept a split with a speaker on both sides (leaky)"] = False
    name: Annotated[str, "of the corpus; default: of DIR"] = ""


@dataclass
class Rows:
    """A table as read: every value is a string without space around it."""

    where: str  # for messages
    base: Path  # relative paths start here
    columns: list[str]
    rows: list[dict[str, str]]
    lines: Sequence[int]  # where a row stands in the file, for messages
    splits: Mapping[str, str] = field(default_factory=dict)  # {path as written: split}, where other files tell
    separator: str = ","  # between its columns

    @classmethod
    def of_records(
        cls, where: Path, base: Path, records: Sequence[Mapping[str, str]], columns: Sequence[str] = ()
    ) -> Self:
        """Records of one recording each, every one with the columns of all, those named first."""
        names = list(dict.fromkeys([*columns, *(key for row in records for key in row)]))
        rows = [{key: row.get(key, "") for key in names} for row in records]
        return cls(str(where), base, names, rows, range(1, len(rows) + 1))

    @classmethod
    def of_shards(cls, root: Path, base: Path, records: Sequence[Mapping[str, str]]) -> Self:
        """The same of files that are called after a split: one that all share is none."""
        words = {row.get("split", "") for row in records} - {""}
        if len({_split.side(word) or word for word in words}) < 2:  # all of it is called train
            records = [{key: cell for key, cell in row.items() if key != "split"} for row in records]
        return cls.of_records(root, base, records)


def utterances(
    read: Rows, asked: Asked, *, relabel: Mapping[str, str] | None = None, audio_root: Path | None = None
) -> list[Utterance]:
    """One utterance a row. Errors as of `table.utterances`."""
    check_names("column", asked.columns or {}, SYNONYMS)
    if not read.rows:
        raise InputError(f"{read.where}: empty table. Found {len(read.columns)} columns and no rows. Add rows.")
    names = _names(read, asked.columns or {})
    if not names["path"]:
        raise _missing(read, "path")
    _plain_numbers(read, [names[key] for key in NAMED if names[key]])
    numbers = [] if asked.unlabelled else _further(read, names, asked.label_columns)
    if asked.unlabelled:
        names["emotion"] = names["split"] = ""
        read.splits = {}
    elif names["emotion"] and _fractions(read, names["emotion"]):  # a column `label` that holds intensities
        numbers.append(names["emotion"])
        names["emotion"] = ""
    if not (asked.unlabelled or names["emotion"] or numbers):
        raise _missing(read, "emotion")
    _check_ends(read, names)
    found = _utterances(read, names, numbers, asked, relabel, audio_root)
    _check_ids(read, found, bool(names["id"]))
    pattern = asked.speaker_pattern
    if pattern and not any(u.speaker for u in found):
        raise InputError(f"{read.where}: --speaker-pattern {pattern} matches no path, e.g. {found[0].path}.")
    start = audio_root or read.base
    if not any(archives.is_file(read.base / u.path) for u in found):
        raise InputError(
            f"{read.where}: no recording where the table says. Looked for {found[0].path} below {start}, and "
            f"{len(found) - 1} more. Name the folder that relative paths start from with --audio-root."
        )
    if not asked.allow_shared_speakers and (shared := _split.shared(found)):
        shown = ", ".join(f"{s} ({' and '.join(sorted(sides))})" for s, sides in list(shared.items())[:5])
        raise InputError(
            f"{read.where}: {len(shared)} speakers on both sides of the split: {shown}. Correct column "
            f"{names['split'] or 'split'}, or use --split-column none if it is no split, or --allow-shared-speakers, "
            "which the report will call leaky."
        )
    return found


def idle(
    read: Rows, utterances: Sequence[Utterance], columns: Mapping[str, str] | None = None, used: Collection[str] = ()
) -> list[str]:
    """A note on the columns that were left out, not counting those that are `used` otherwise."""
    names = _names(read, columns or {})
    if not names["start"]:
        names["duration"] = ""  # of the recordings, then
    notes = []
    if names["start"] and not (names["end"] or names["duration"]) and any(u.start for u in utterances):
        notes.append(f"column {names['start']} has no end or duration: recordings are read from there to their end")
    if names["split"] and len(said := {held(row, names["split"]) for row in read.rows}) == 1 and said != {""}:
        notes.append(f"column {names['split']} is always {said.pop()}: no split")
    labels = {label for u in utterances for label in u.labels}
    found = [c for c in read.columns if c not in {*names.values(), *labels, *used} and _any(read, c)]
    return notes + ([f"columns not used: {few(found, 10)}"] if found else [])


def _check_ends(read: Rows, names: Mapping[str, str]) -> None:
    """Raises InputError for recordings with several beginnings and no end: each would be read to its end."""
    if not names["start"] or names["end"] or names["duration"]:
        return
    starts = {(row[names["path"]], row[names["start"]]) for row in read.rows}
    if len(starts) > len({path for path, _ in starts}):
        raise InputError(
            f"{read.where}: segments without an end. Found column {names['start']}, none called end or duration, and "
            "several segments in one recording. Name the column with --end-column or --duration-column."
        )


def _utterances(
    read: Rows,
    names: Mapping[str, str],
    numbers: Sequence[str],
    asked: Asked,
    relabel: Mapping[str, str] | None,
    audio_root: Path | None,
) -> list[Utterance]:
    def value(row: Mapping[str, str], key: str) -> str:
        return held(row, names[key]) if names[key] else ""

    def somebody(name: str) -> str:
        return "" if _cells.is_nobody(name) else name

    def time(row: Mapping[str, str], key: str) -> float | None:
        column = names[key]
        return _cells.seconds(value(row, key), where, unit_s=_unit_s(column), decimal=signs[column]) if column else None

    mapped = {left.casefold() for left in relabel or {}}
    emotions = []
    for row in read.rows:
        word = value(row, "emotion")
        none = _cells.is_unknown(word) and not _cells.is_numeric(word)
        emotions.append("" if none and not asked.own_classes else word)
        if names["emotion"] and (written := spelt(row[names["emotion"]]).strip()).casefold() in mapped:
            emotions[-1] = written  # "none" too, where it is named
    seen: dict[str, str] = {}
    for line, word in zip(read.lines, emotions, strict=True):
        if word:
            seen.setdefault(word, f"row {line}")
    words = vocabulary.own_words(seen, relabel, read.where, own=asked.own_classes) if seen else {}
    if names["emotion"] and not seen:
        raise InputError(f"{read.where}: column {names['emotion']} is empty. Fill it, or use --unlabelled.")
    parts = [read.splits.get(row[names["path"]]) or value(row, "split") for row in read.rows]
    if len(set(parts)) == 1:  # all is train: no split
        parts = []
    sides = _split.labels(filter(None, parts), read.where)
    kept_as = {c: "number" if _is_number(read, c) else "class" for c in numbers}
    signs = decimal_signs(read, [*numbers, *(names[key] for key in TIMES if names[key])])
    speaker_of = _layout.speaker_of(asked.speaker_pattern)
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
            raise InputError(f"{where}: a segment from {start} s to {end} s. Start is 0 or more, end is after it.")
        labels: dict[str, str | float] = {"emotion": word} if word else {}
        for column in numbers:
            if text := held(row, column):
                labels[column] = _number(text, where, column, signs[column]) if kept_as[column] == "number" else text
        side = sides.get(read.splits.get(written) or value(row, "split"), "")
        if side:
            labels["split"] = side
        place = _place(written, read.base, audio_root)
        speaker = somebody(value(row, "speaker")) or somebody(speaker_of(written))
        session, gender = somebody(value(row, "session")), _layout.gender(value(row, "gender"))
        found.append(Utterance(own_id, asked.name, place, start, end, speaker, session, gender, labels))
    if not found:
        raise InputError(f"{read.where}: every row was left out by --drop. Found {len(read.rows)} rows. Keep a class.")
    return found


def _place(written: str, base: Path, audio_root: Path | None) -> str:
    """A path relative to the table's folder, or an absolute one where it lies elsewhere."""
    written = written.replace("{data_root}/", "").replace("{data_folder}/", "")  # SpeechBrain's manifests
    written = _slashes(written)
    if audio_root is None:
        return Path(written).as_posix()
    path = (Path(audio_root) / written).resolve()
    return path.relative_to(base.resolve()).as_posix() if path.is_relative_to(base.resolve()) else str(path)


def _slashes(written: str) -> str:
    """A path as Windows writes it, as others do."""
    return written.replace("\\", "/") if "/" not in written else written


def _plain_ids(read: Rows, names: Mapping[str, str]) -> list[str]:
    """The id column; else the file's stem, its path where stems repeat, and the segment where files do."""
    if names["id"]:
        return [_one_line(row[names["id"]]) for row in read.rows]
    paths = [Path(_slashes(row[names["path"]])) for row in read.rows]
    several = len({str(p) for p in paths}) < len(paths)
    files = {str(p): p for p in paths}
    for form in (lambda p: p.stem, lambda p: (p.parent / p.stem).as_posix(), lambda p: p.as_posix()):
        if len({form(p) for p in files.values()}) == len(files):
            break
    ids = [form(p) for p in paths]
    if several and names["start"]:
        start, until = names["start"], names["end"] or names["duration"]
        ids = [f"{id}_{row[start]}_{row[until] if until else ''}" for id, row in zip(ids, read.rows, strict=True)]
    return [_one_line(id) for id in ids]


def _one_line(text: str) -> str:
    """A cell without the line ends and other control characters that a quoted one may hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def _check_ids(read: Rows, found: Sequence[Utterance], named: bool) -> None:
    first: dict[str, int] = {}
    twice = [u.id for k, u in enumerate(found) if first.setdefault(u.id, k) != k]
    if any(not u.id for u in found):
        raise InputError(f"{read.where}: rows without an id. Fill the id column or name another with --id-column.")
    if twice:
        shown = ", ".join(dict.fromkeys(twice[:5]))
        what = "duplicate ids" if named else "duplicate rows (same file and segment)"
        raise InputError(f"{read.where}: {what}. Found {len(twice)}: {shown}. Every row needs an id of its own.")


# -- columns ------------------------------------------------------------------------------------------------


def _names(read: Rows, given: Mapping[str, str]) -> dict[str, str]:
    """{what we need: the column that holds it}, "" where there is none."""
    names = {key: column_of(read, key, given.get(key, "")) for key in SYNONYMS}
    if not given.get("split"):
        names["split"] = _split_column(read) or names["split"]
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
    """ "Start Time (ms)" and "segment_start_time" as "start_time": what a time is, without its unit. StartTime is none:
    MELD counts it from the beginning of the episode, and its clips are cut."""
    head, _, unit = _plain(column).rpartition("_")
    plain = head if head and unit in _cells.UNITS_S else _plain(column)
    return re.sub(r"^(segment|seg|clip|utterance|utt|turn|time)_(?=start|begin|end|stop|dur|len)", "", plain)


def _unit_s(column: str) -> float:
    """Seconds in what a column of times counts, by its name."""
    head, _, unit = _plain(column).rpartition("_")
    return _cells.UNITS_S.get(unit, 1.0) if head else 1.0


def column_of(read: Rows, key: str, given: str) -> str:
    """The column that holds `key`, "" when there is none.

    Raises InputError: no column `given`, or two that are called alike and differ.
    """
    if given == "none" and key == "split" and given not in read.columns:
        return ""
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


def _split_column(read: Rows) -> str:
    """Of columns called like a split (subset, fold ...) the first whose words are sides; "" where none is."""
    words = SYNONYMS["split"].split()
    there = sorted((c for c in read.columns if _plain(c) in words), key=lambda c: words.index(_plain(c)))
    return next((c for c in there if any(map(_split.side, {row[c] for row in read.rows}))), "")


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


def _plain_numbers(read: Rows, columns: Sequence[str]) -> None:
    """Names that are whole numbers as such, see `_cells.whole`: a speaker must not be two."""
    for column in columns:
        cells = {text for row in read.rows if (text := held(row, column))}
        plain = set(map(_cells.whole, cells))
        if len(plain) < len(cells) and all(re.fullmatch(r"\d+", text) for text in plain):
            for row in read.rows:
                row[column] = _cells.whole(row[column].strip())


def _further(read: Rows, names: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """Columns to keep as further labels. Raises InputError for one that is called as something else is."""
    taken = set(names.values())
    for column in wanted:
        if column in (*COLUMNS, "emotion", "split") and column not in taken:
            raise InputError(
                f"{read.where}: --label-columns {column} is called as what another column holds"
                f"{f' ({names[column]})' if names.get(column) else ''}. Rename it in the table."
            )
        if column not in read.columns:
            raise InputError(
                f"{read.where}: no column {column}. Found: {', '.join(read.columns)}. Correct --label-columns."
            )
    known = [c for c in read.columns if _plain(c) in NUMBERS and c not in taken and _any(read, c)]
    return [*known, *(c for c in wanted if c not in known and c not in taken)]


def held(row: Mapping[str, str], column: str) -> str:
    """What a cell holds, on one line; "" for NaN, n/a and the like."""
    text = spelt(" ".join(row[column].split()))
    return "" if _cells.is_nothing(text) else text


def _any(read: Rows, column: str) -> bool:
    return any(held(row, column) for row in read.rows)


def _is_number(read: Rows, column: str) -> bool:
    """Whether most values of a column are numbers; the others are then mistakes, and so are all of "45 %"."""
    values = [text for row in read.rows if (text := held(row, column))]
    meant = re.compile(r"[+−-]?[.,]?\d").match if _plain(column) in NUMBERS else _cells.is_numeric
    return sum(map(bool, map(meant, values))) > len(values) / 2


def _fractions(read: Rows, column: str) -> bool:
    """Whether a column holds nothing but numbers, not all of them whole: whole ones are class codes."""
    cells = [text for row in read.rows if (text := held(row, column))]
    if read.separator == "," and len({"," in cell for cell in cells}) == 2:  # "1", "2" and "1,2": of both classes
        return False
    sign = _cells.decimal_sign(cells, read.separator)
    values = [_cells.number(cell, sign or ",") for cell in cells]
    return bool(values) and None not in values and any(v is not None and v % 1 for v in values)


def decimal_signs(read: Rows, columns: Sequence[str]) -> dict[str, str]:
    """{column: its decimal sign}; where a column does not tell, the others do."""
    cells = {column: [row[column] for row in read.rows] for column in columns}
    signs = {column: _cells.decimal_sign(values, read.separator) for column, values in cells.items()}
    told = set(signs.values()) - {""}
    return {column: sign or (next(iter(told)) if len(told) == 1 else "") for column, sign in signs.items()}


def _number(text: str, where: str, column: str, decimal: str) -> float:
    if (value := _cells.number(text, decimal)) is not None:
        return value
    if _cells.is_ambiguous(text):
        raise InputError(f"{where}: {column} is {text!r}, which can be read in two ways. Write 1234 or 1.234.")
    raise InputError(f"{where}: {column} is {text!r}, not a number. Correct it or leave it empty.")
