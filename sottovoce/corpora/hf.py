"""A Hugging Face dataset, in a local folder or the hub's cache: Parquet, Arrow, audiofolder.

    DIR/data/train-00000-of-00002.parquet       as datasets lie on the hub; splits by file or folder
    DIR/train/data-00000-of-00001.arrow         as `save_to_disk` leaves them
    DIR/train/metadata.csv (.jsonl, .parquet)   audiofolder: `file_name` is relative to that file's folder

Nothing is fetched: do that with `hf download NAME --repo-type dataset`, into the hub's cache, where `prepare hf NAME`
finds it, or with `--local-dir DIR`. One Parquet or Arrow file alone is read as well. Columns are understood as
`prepare table` does, class numbers as the dataset names them. Recordings that lie in the table as bytes are written to
`recordings` in the folder that `prepare` writes.
Folds:    the dataset's splits (see `_split`), else by speaker, else by session, else at random by file.
Licence:  see the dataset's card.
Source:   https://huggingface.co/docs/datasets/audio_load
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sottovoce import files
from sottovoce.corpora import _layout, _options, _row_files, _rows, _split, _votes
from sottovoce.data import recordings
from sottovoce.data.corpus import Kind, Utterance
from sottovoce.errors import InputError, needs

LICENCE = "see the dataset's card"
SOURCE = "a Hugging Face dataset"
KINDS: dict[str, Kind] = {"emotion": "class", "split": "class"}
CLASSES = {"split": _split.SIDES}
fold_notes = _split.fold_notes
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
PLACE = "recording"  # our column of paths
MAGIC = (  # how a file begins
    *((rb"RIFF", ".wav"), (rb"fLaC", ".flac"), (rb"OggS", ".ogg"), (rb".{4}ftyp", ".m4a"), (rb"FORM", ".aiff")),
    *((rb"ID3|\xff[\xe2-\xef\xf2-\xf7\xfa-\xff]", ".mp3"), (rb"\xff[\xf0\xf1\xf8\xf9]", ".aac")),
)


def locate(name: str) -> Path | None:
    """The folder of a dataset `owner/name` in the hub's cache; None where it is not, or there is no hub."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return None
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        return Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


@dataclass(frozen=True, kw_only=True)
class Options(_rows.Asked):
    votes: _votes.Votes = None


def utterances(
    root: Path, *, relabel: Mapping[str, str] | None = None, into: Path | None = None, **options: Any
) -> list[Utterance]:
    """One utterance a row; `options` are fields of `Options`.

    Args:
        into: folder for recordings that the dataset holds as bytes.

    Raises InputError: no dataset in the folder, no column of audio, and as `table.utterances`.
    """
    asked, root = _options.chosen(Options, options, "hf"), Path(root)
    root = root if root.is_file() else _layout.folder(root)
    asked = replace(asked, columns={"path": PLACE, **(asked.columns or {})}, name=asked.name or _name(root))
    before = _folders(into)
    try:
        read, asked, relabel = _votes.spread(_read(root, into), asked, asked.votes, relabel)
        return _rows.utterances(read, asked, relabel=relabel)
    except BaseException:  # Ctrl-C too
        for folder in _folders(into) - before:
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (into, into.parent) if into else ():
            with suppress(OSError):  # where something was there before
                folder.rmdir()
        raise


def _folders(into: Path | None) -> set[Path]:
    return {path for path in into.iterdir() if path.is_dir()} if into and into.is_dir() else set()


def _name(root: Path) -> str:
    """What a dataset is called: as its folder, or in the hub's cache as on the hub."""
    home = root.resolve().parent if root.is_file() else root.resolve()
    home = home.parent if home.name == "data" else home
    return home.parent.parent.name.rpartition("--")[2] if home.parent.name == "snapshots" else home.name


def _read(root: Path, into: Path | None, *, sounds: bool = True) -> _rows.Rows:
    """The table; without `sounds` no recording is read or written, and the column of their paths is empty."""
    if root.is_file():  # one shard alone
        shards, metadata, root = [root] if root.suffix in (".parquet", ".arrow") else [], [], root.parent
    else:
        shards = [root / path for path in _layout.files(root) if path.endswith((".parquet", ".arrow"))]
        shards = [path for path in shards if path.name not in METADATA and not path.name.startswith("cache-")]
        metadata = [root / path for path in _layout.files(root) if Path(path).name in METADATA]
    if shards:
        records = [row for shard in _shards(root, shards, into) for row in shard.rows(sounds)]
    elif metadata:
        records = [row for path in metadata for row in _of_metadata(root, path)]
    else:
        raise InputError(
            f"{root}: not a dataset. Looked for .parquet, .arrow or metadata.csv. Class folders are read by "
            "`prepare folder`, other tables by `prepare table`, tar archives by `prepare tar`."
        )
    return _rows.Rows.of_shards(root, root, records)


def problems(
    root: Path,
    utterances: Sequence[Utterance],
    *,
    columns: Mapping[str, str] | None = None,
    unlabelled: bool = False,
    votes: Mapping[str, str] | None = None,
) -> list[str]:
    """What the split says, and the columns that were left out."""
    notes = _split.notes(utterances)
    if not unlabelled:
        known, used = {"path": PLACE, **(columns or {})}, {PLACE, *_votes.used(votes)}
        notes += _rows.idle(_read(root, None, sounds=False), utterances, known, used)
    return notes


# -- audiofolder --------------------------------------------------------------------------------------------


def _of_metadata(root: Path, path: Path) -> Iterator[dict[str, str]]:
    read = _row_files.read(path)
    column = next((c for c in read.columns if c.strip().casefold() in ("file_name", "filename", "file", "path")), "")
    if not column:
        raise InputError(f"{path}: no column file_name. Found: {', '.join(read.columns)}. An audiofolder has one.")
    for row in read.rows:
        named = row.pop(column)
        place = path.parent / named
        side = _split.side_of(root, path) or (_split.side_of(root, place) if place.is_relative_to(root) else "")
        yield {"split": side} | row | {PLACE: _within(root, place) if named else ""}


def _within(root: Path, place: Path) -> str:
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)


# -- Parquet and Arrow --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shard:
    """One file, and where its recordings go."""

    root: Path
    path: Path
    split: str  # "" = it tells none
    home: Path | None  # folder for recordings
    begin: str  # of their names

    def rows(self, sounds: bool) -> Iterator[dict[str, str]]:
        """As text, batch by batch; recordings are written as they come, or not read without `sounds`."""
        if files.is_pointer(self.path):
            raise files.pointer_error(self.path)
        schema, batches_of = _open(self.path)
        features = _features(schema.metadata, self.path)
        kinds = {key: value.get("_type") for key, value in features.items()}
        audio = next((f.name for f in schema if kinds.get(f.name) == "Audio" or _holds_audio(f)), "")
        if not audio:
            raise InputError(
                f"{self.path}: no column of audio. Found: {', '.join(schema.names)}. One of them holds bytes and path."
            )
        names = {key: known for key, value in features.items() if (known := _class_names(value))}
        for number, record in enumerate(_records(batches_of, "" if sounds else audio, self.path)):
            sound = record.pop(audio, None)
            row = {key: _word(value, names.get(key)) for key, value in record.items()}
            yield {"split": self.split} | row | {PLACE: self.recording(sound, number)}

    def recording(self, sound: Any, number: int) -> str:
        """Where a row's recording lies; "" where it has none."""
        if isinstance(sound, str):
            sound = {"path": sound}
        if not isinstance(sound, dict):
            return ""
        path, content = sound.get("path") or "", sound.get("bytes")
        if content is None:
            places = (base / path for base in (self.path.parent, self.root) if path)
            place = next((place for place in places if os.path.isfile(place)), None)
            return _within(self.root, place) if place else path
        if self.home is None:
            raise InputError(f"{self.path}: recordings as bytes. Name a folder to write them to.")
        suffix = Path(path).suffix.lower()
        if suffix not in recordings.SUFFIXES:
            suffix = next((s for magic, s in MAGIC if re.match(magic, content, re.DOTALL)), ".wav")
        stem = files.folder_name(Path(path).stem) if path else "row"
        target = self.home / f"{self.begin}{number:06d}_{stem}{suffix}"
        with files.atomic(target) as temporary:
            temporary.write_bytes(content)
        return str(target)


def _shards(root: Path, paths: Sequence[Path], into: Path | None) -> list[_Shard]:
    """Every file with its split, and with places for recordings that no other file has: not of this dataset, nor of
    another one that was prepared into the same folder before."""
    splits = [_split.side_of(root, path) for path in paths]
    if not any(splits):  # session1-00000-of-00001 ...: parts that are tested in turn
        words = [_split.of_all_shards(path.stem) if "-of-" in path.stem else "" for path in paths]
        splits = words if all(words) and len(set(words)) > 2 else splits
    sides = [files.folder_name(split or "all") for split in splits]
    begins = [_of_file(path.stem) for path in paths]
    if len({begin.casefold() for begin in begins}) < len(paths):  # of two sides too: a name alone is the row's id
        taken: set[str] = set()
        names = (path.relative_to(root).with_suffix("").as_posix() for path in paths)
        begins = [f"{files.unused_name(files.folder_name(name), taken)}-" for name in names]
    version = files.digest([(_within(root, path), _content(path)) for path in paths])[:8] if into else ""
    homes = [Path(into).resolve() / f"{side}-{version}" if into else None for side in sides]
    return [_Shard(root, *each) for each in zip(paths, splits, homes, begins, strict=True)]


def _content(path: Path) -> str:
    """A hash of all of it: parts of equal length may differ in the middle alone."""
    try:
        return files.file_digest(path)
    except OSError as error:
        raise _damaged(path, error) from None


def _class_names(feature: Mapping[str, Any]) -> list[str] | None:
    """Of numbers of classes, also in a list of them."""
    inner = feature.get("feature")
    names = feature.get("names") or (inner.get("names") if isinstance(inner, dict) else None)
    return names if isinstance(names, list) else None


def _open(path: Path) -> tuple[Any, Callable[[str], Iterator[Any]]]:
    """(schema, batches without a column that is named) of a file."""
    with needs(f"{path}: Parquet and Arrow need pyarrow. pip install 'sottovoce[tables]'."):
        import pyarrow
        import pyarrow.parquet
    try:
        if path.suffix == ".parquet":
            file = pyarrow.parquet.ParquetFile(path)
            names = file.schema_arrow.names
            return file.schema_arrow, lambda unread: file.iter_batches(64, columns=[n for n in names if n != unread])
        source = pyarrow.memory_map(str(path))
        try:
            reader = pyarrow.ipc.open_stream(source)
            return reader.schema, lambda unread: (_without(unread, batch) for batch in reader)
        except pyarrow.ArrowInvalid:
            whole = pyarrow.ipc.open_file(source)
            batches = (whole.get_batch(k) for k in range(whole.num_record_batches))
            return whole.schema, lambda unread: (_without(unread, batch) for batch in batches)
    except (ValueError, OSError) as error:  # an ArrowInvalid, or names that are no text
        raise _damaged(path, error) from None


def _without(unread: str, batch: Any) -> Any:
    return batch.select([k for k, name in enumerate(batch.schema.names) if name != unread])


def _records(batches_of: Callable[[str], Iterator[Any]], unread: str, path: Path) -> Iterator[dict[str, Any]]:
    """Rows without column `unread`, "" for all of it."""
    try:
        for batch in batches_of(unread):
            yield from batch.to_pylist()
    except (ValueError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    kind = "Parquet" if path.suffix == ".parquet" else "Arrow"
    return InputError(f"{path}: not a readable {kind} file. {' '.join(str(error).split())}. Copy it again.")


def _features(metadata: Mapping[bytes, bytes] | None, path: Path) -> dict[str, dict[str, Any]]:
    """What datasets noted about the columns, in the file or next to it."""
    try:
        text = (metadata or {}).get(b"huggingface")
        noted = json.loads(text)["info"] if text else files.read_json(path.with_name("dataset_info.json"))
        return {key: value for key, value in noted["features"].items() if isinstance(value, dict)}
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _holds_audio(field: Any) -> bool:
    """Whether a column is a struct of bytes and path."""
    import pyarrow

    return pyarrow.types.is_struct(field.type) and {"bytes", "path"} <= {part.name for part in field.type}


def _word(value: Any, names: Sequence[str] | None) -> str:
    """A cell as text; the number of a class as its name."""
    if names is not None and isinstance(value, list):
        return _row_files.text_of([_word(part, names) for part in value])
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""  # -1 has no label
    return _row_files.text_of(value)


def _of_file(stem: str) -> str:
    """ "00001-" of `train-00001-of-00002`, so that rows of two files have names of their own."""
    match = re.search(r"(\d+)(-of-\d+)?$", stem)
    return f"{match[1]}-" if match else f"{files.folder_name(stem)}-"
