"""Tar archives, as WebDataset lays them out; recordings are read where they lie, not unpacked.

    DIR/train-000000.tar       or one archive alone; splits by the names of archives or folders, as of `hf`
      anna_01.wav              any format; a name up to its first dot is the key, and what has one key belongs together
      anna_01.json             {"emotion": "happy", "speaker": "anna", ...}: columns, understood as `prepare table` does
      anna_01.cls              a class; so is the word in a .txt, where nothing else is a label and all are one word
      anna_01.speaker          any other short text: a column of that name

A key is the utterance's id, with its archive's name in front where two archives have one key. In an archive where two
recordings would share a key, as 1.5.wav and 1.6.wav do, names up to the last dot are keys. A folder in an archive is
column `folder`: `--emotion-column folder` for class folders. Recordings keep their place, `train-0.tar#anna_01.wav`,
which every verb reads; a process lists an archive when it first does. Archives are plain, not compressed.
Folds:    the split (see `_split`), else by speaker, else by session, else at random by file.
Licence:  yours to know.
Source:   https://github.com/webdataset/webdataset
"""

import json
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sottovoce.corpora import _layout, _options, _row_files, _rows, _split
from sottovoce.data import archives, recordings
from sottovoce.data.archives import Entry
from sottovoce.data.corpus import Kind, Utterance
from sottovoce.errors import InputError

LICENCE = "unknown (your own files)"
SOURCE = "tar archives"
KINDS: dict[str, Kind] = {"emotion": "class", "split": "class"}
CLASSES = {"split": _split.SIDES}
fold_notes = _split.fold_notes
KEY, PLACE = "__key__", "recording"  # our columns
SHORT = 1 << 16  # bytes of a text that is a cell
NAMES = {"cls": "class"}  # of columns, by suffix
Options = _rows.Asked


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None, **options: Any) -> list[Utterance]:
    """One utterance a recording; `options` are fields of `Options`.

    Raises InputError: no archives, or none with recordings; a compressed or damaged one, or one with names that lead
    elsewhere; a name or key that comes twice; JSON that is no object; and as `table.utterances`.
    """
    asked = _options.chosen(Options, options, "tar")
    root = Path(root)
    read = _read(root)
    name = asked.name or (root.stem if root.is_file() else root.resolve().name)
    return _rows.utterances(read, replace(asked, columns=_known(read, asked.columns), name=name), relabel=relabel)


def problems(
    root: Path, utterances: Sequence[Utterance], *, columns: Mapping[str, str] | None = None, unlabelled: bool = False
) -> list[str]:
    """What the split says, and the columns that were left out."""
    notes = _split.notes(utterances)
    if not unlabelled:
        read = _read(root)
        notes += _rows.idle(read, utterances, _known(read, columns), (KEY, PLACE))
    return notes


def _read(root: Path) -> _rows.Rows:
    """A row a recording."""
    folder = root.parent if root.is_file() else _layout.folder(root)
    shards = [root] if root.is_file() else [root / path for path in recordings.tars_below(root)]
    if not shards:
        raise InputError(f"{root}: no archives. Looked for {archives.SUFFIX}. Folders are read by `prepare folder`.")
    records = [row for shard in shards for row in _of_shard(folder, shard)]
    if not records:
        raise InputError(f"{root}: no recordings. Found {len(shards)} archives, e.g. {shards[0].name}. Check the path.")
    if len({row[KEY] for row in records}) < len(records):
        records = [row | {KEY: f"{row[PLACE].partition(f'{archives.SUFFIX}#')[0]}/{row[KEY]}"} for row in records]
    return _rows.Rows.of_shards(root, folder, records)


def _known(read: _rows.Rows, columns: Mapping[str, str] | None) -> dict[str, str]:
    """{what we need: the column that holds it}, as far as a user or our own columns tell."""
    known = {"path": PLACE, "id": KEY, **(columns or {})}
    if not _rows.column_of(read, "emotion", known.get("emotion", "")):
        texts = [row.get("txt", "") for row in read.rows]
        if any(texts) and all(len(text.split()) < 2 for text in texts):
            known["emotion"] = "txt"
    return known


def _of_shard(folder: Path, shard: Path) -> Iterator[dict[str, str]]:
    """A row a recording of one archive."""
    found: dict[str, Entry] = {}
    for entry in archives.entries(shard):
        if recordings.is_hidden(entry.name):
            continue
        if entry.name in found:
            raise InputError(f"{shard}: a name that comes twice. Found {entry.name!r}. Pack every file once.")
        found[recordings.spelt(entry.name, shard)] = entry
    sounds = [name for name in found if recordings.is_recording(name)]
    keyed = _first_dot if len({_first_dot(name)[0] for name in sounds}) == len(sounds) else posixpath.splitext
    if twice := [key for key, n in Counter(keyed(name)[0] for name in sounds).items() if n > 1]:
        same = [name for name in sounds if keyed(name)[0] == twice[0]]
        raise InputError(f"{shard}: two recordings of one key. Found {' and '.join(same[:2])}. Name one differently.")
    cells: dict[str, dict[str, str]] = {keyed(name)[0]: {} for name in sounds}
    with open(shard, "rb") as data:
        for name, entry in found.items():
            key, suffix = keyed(name)
            if key in cells and entry.size <= SHORT and not recordings.is_recording(name):
                data.seek(entry.start)
                cells[key] |= _cells(f"{shard}#{name}", suffix.lstrip(".").lower(), data.read(entry.size))
    side, place = _split.side_of(folder, shard), shard.relative_to(folder).as_posix()
    for name in sounds:
        key = keyed(name)[0]
        inside = {"folder": posixpath.basename(posixpath.dirname(name))} if "/" in name else {}
        yield {"split": side} | inside | cells[key] | {KEY: key, PLACE: f"{place}#{name}"}


def _first_dot(name: str) -> tuple[str, str]:
    """(key, suffixes), as WebDataset parts a name.

    >>> _first_dot("a.b/c.seg.wav")
    ('a.b/c', '.seg.wav')
    """
    home, slash, base = name.rpartition("/")
    key, dot, suffixes = base.partition(".")
    return f"{home}{slash}{key}", dot + suffixes


def _cells(where: str, suffix: str, content: bytes) -> dict[str, str]:
    """What a file beside a recording says, {column: text}; nothing where it is no text."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return {}
    if suffix != "json":
        return {} if "\0" in text else {NAMES.get(suffix, suffix): _row_files.text_of(text)}
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__}")
        found = {str(key): _row_files.text_of(cell) for key, cell in value.items()}
        "".join([*found, *found.values()]).encode()  # half a pair is no text
        return found
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON object. Found {error}. It holds columns: emotion, speaker ...") from None
