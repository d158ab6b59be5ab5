"""Computational sequences: the HDF5 layout (`.csd`) in which CMU-MOSI and CMU-MOSEI are distributed.

    <root name>/data/<entry>/features    (n, D)  numbers, or words as bytes
    <root name>/data/<entry>/intervals   (n, 2)  start and end of every row, seconds
    <root name>/metadata/<key>           (1,)    a string holding JSON

An entry is a video, or after alignment `<video>[k]`, the k-th segment or word of it. The layout was read in
CMU-MultiComp-Lab/CMU-MultimodalSDK (`computational_sequence/file_ops.py`); h5py is all a reader needs.
"""

import ast
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sottovoce import __version__, files
from sottovoce.errors import InputError

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py says of damage
LARGEST_HEAP = 1 << 26  # bytes that are looked through
DAMAGED = "Download the file again, or name another one."
# What the SDK asks for (`integrity_check.py` with `configurations/metadataconfigs.py`). Its list lacks a comma, so
# that it really looks for the third of these: a file that pleases it has all three.
REQUIRED = (
    *("root name", "computational sequence description", "dimension namescomputational sequence version"),
    *("dimension names", "computational sequence version", "alignment compatible", "dataset name", "dataset version"),
    *("creator", "contact", "featureset bib citation", "dataset bib citation"),
)


class CsdFile:
    """An open `.csd`: names and metadata at once, rows only when asked for. Close it, or use `with`.

    Attributes:
        name: of the root group, such as "COVAREP".
        metadata: decoded from JSON where it is JSON.
        entries: as in the file; `videos` without `[k]`.
    """

    def __init__(self, path: Path | str):
        """Raises InputError: no such file, not HDF5, truncated, no root group, no `data` or `metadata` in it."""
        self.path = Path(path)
        self._file = _open(self.path)
        try:
            self.name, self._data, self.metadata = _parts(self.path, self._file)
            self.entries: tuple[str, ...] = tuple(self._data)
            if not self.entries:
                raise InputError(f"{self.path}: no entries. Group {self.name}/data is empty. {DAMAGED}")
        except UNREADABLE as error:
            self._file.close()
            raise InputError(f"{self.path}: a damaged HDF5 file. {_line(error)}. {DAMAGED}") from None
        except BaseException:
            self._file.close()
            raise
        self._by_video: dict[str, list[str]] = {}
        for entry in self.entries:
            self._by_video.setdefault(video_of(entry), []).append(entry)
        for parts in self._by_video.values():  # HDF5 lists [10] before [2]
            parts.sort(key=lambda entry: -1 if video_of(entry) == entry else int(entry[entry.rfind("[") + 1 : -1]))

    def __enter__(self) -> "CsdFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def videos(self) -> tuple[str, ...]:
        """Ids of the videos, `[k]` taken off aligned entries."""
        return tuple(self._by_video)

    def __contains__(self, video: str) -> bool:
        return video in self._by_video

    @property
    def aligned(self) -> bool:
        """Whether the rows were aligned to words or segments: entries are `<video>[k]`."""
        return any(video_of(entry) != entry for entry in self.entries)

    @property
    def width(self) -> int:
        """Columns of the first entry."""
        return self._shape(self.entries[0])[1]

    @property
    def dimensions(self) -> tuple[str, ...] | None:
        """Names of the columns, or None where the metadata has none.

        The SDK's own template lacks a comma and makes one key of "dimension names" and the next one.
        """
        for key, value in self.metadata.items():
            if key.startswith("dimension names") and value:
                return _names(value)
        return None

    def video(self, video: str) -> tuple[np.ndarray, np.ndarray]:
        """Every row of a video, in the order of the file; aligned entries one after the other.

        Returns:
            features (n, D) in the type of the file; intervals (n, 2) float64, seconds.

        Raises InputError: features and intervals of different length, a wrong shape, or unreadable data.
        """
        entries = self._entries(video)
        features = [self._read(entry, "features").reshape(self._shape(entry)) for entry in entries]
        return np.concatenate(features), self.intervals(video)

    def intervals(self, video: str) -> np.ndarray:
        """(n, 2) float64 seconds: the times of `video` without reading its features."""
        return np.concatenate([self._intervals(entry) for entry in self._entries(video)])

    def rows(self, video: str) -> tuple[int, int]:
        """(n, D) of a video, from the headers alone."""
        shapes = [self._shape(entry) for entry in self._entries(video)]
        return sum(n for n, _ in shapes), shapes[0][1]

    def _entries(self, video: str) -> list[str]:
        if video not in self._by_video:
            raise InputError(
                f"{self.path}: no entry {video!r}. Found {len(self.entries)}, {self.entries[0]} the first. "
                "Give the features and the labels of the same corpus."
            )
        return self._by_video[video]

    def _shape(self, entry: str) -> tuple[int, int]:
        """(n, D) of one entry; features and intervals are compared here."""
        features, intervals = (self._part(entry, name).shape for name in ("features", "intervals"))
        if len(features) == 1:
            features = (features[0], 1)
        if len(features) != 2 or len(intervals) != 2 or intervals[1] != 2 or features[0] != intervals[0]:
            raise InputError(
                f"{self.path}: entry {entry!r}: features and intervals do not match. Found features {features} and "
                f"intervals {intervals}, expected (n, D) and (n, 2). {DAMAGED}"
            )
        return features

    def _part(self, entry: str, name: str) -> Any:
        """Features or intervals of an entry, unread."""
        try:
            group = self._data[entry]
            part = group.get(name) if hasattr(group, "get") else None
        except UNREADABLE as error:
            raise InputError(f"{self.path}: entry {entry!r} cannot be opened. {_line(error)}. {DAMAGED}") from None
        if part is None or not hasattr(part, "shape"):
            raise InputError(f"{self.path}: entry {entry!r} has no {name}. {DAMAGED}")
        return part

    def _intervals(self, entry: str) -> np.ndarray:
        self._shape(entry)
        return np.asarray(self._read(entry, "intervals"), dtype=np.float64)

    def _read(self, entry: str, name: str) -> np.ndarray:
        try:
            part = self._part(entry, name)
            _check_heaps(self.path, part)
            return part[()]
        except (*UNREADABLE, MemoryError) as error:
            raise InputError(
                f"{self.path}: entry {entry!r}: {name} cannot be read. {_line(error)}. {DAMAGED}"
            ) from None


def read_csd(path: Path | str) -> CsdFile:
    """Open a `.csd` lazily. Raises InputError as `CsdFile` does."""
    return CsdFile(path)


def write_csd(
    path: Path | str, name: str, entries: Iterable[tuple[str, np.ndarray, np.ndarray]], metadata: Mapping[str, Any]
) -> None:
    """Write a `.csd`, one entry at a time; the file appears whole or not at all.

    Args:
        path: the file, usually `*.csd`.
        name: root name, such as "COVAREP" or "All Labels".
        entries: (entry id, features (n, D), intervals (n, 2) in seconds), consumed as a stream.
        metadata: what JSON can hold, "dimension names" among it.

    Raises:
        ValueError: features and intervals of different length, or an id that comes twice.
        InputError: the disk is full or the folder cannot be written.
    """
    import h5py

    with files.atomic(path) as temporary, h5py.File(temporary, "w") as out:
        root = out.create_group(name)
        data, notes = root.create_group("data"), root.create_group("metadata")
        for entry, features, intervals in entries:
            if len(features) != len(intervals) or np.shape(intervals)[1:] != (2,):
                raise ValueError(
                    f"{entry}: features {np.shape(features)} and intervals {np.shape(intervals)} do not match"
                )
            here = data.create_group(entry)  # ValueError when it is there already
            here.create_dataset("features", data=features)
            here.create_dataset("intervals", data=intervals)
        text = h5py.string_dtype()
        for key, value in {"root name": name, **metadata}.items():
            notes.create_dataset(key, data=[json.dumps(value)], dtype=text)


def sdk_metadata(
    description: str, names: Sequence[str], citation: str, dataset: str = "", dataset_citation: str = ""
) -> dict[str, Any]:
    """Everything in `REQUIRED` but the root name, which `write_csd` adds.

    Args:
        description: of the features, one line.
        names: of the columns.
        citation, dataset_citation: papers or addresses of the features and of the recordings.
    """
    given = {
        "computational sequence description": description,
        "dimension namescomputational sequence version": list(names),
        "dimension names": list(names),
        "computational sequence version": "1.0",
        "alignment compatible": "any sequence with intervals in seconds",
        "dataset name": dataset,
        "creator": f"sottovoce {__version__}",
        "featureset bib citation": citation,
        "dataset bib citation": dataset_citation,
    }
    return dict.fromkeys(REQUIRED[1:], "") | given


def intervals_around(centres_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """(n, 2) start and end in seconds of rows with these centres (n,); nothing begins before 0."""
    return np.maximum(centres_s[:, None] + np.array([-0.5, 0.5]) / rate_hz, 0.0)


def find(folder: Path) -> Iterator[Path]:
    """The `.csd` files in a folder and below, sorted."""
    return (path for path in sorted(folder.rglob("*.csd")) if path.is_file() and not path.name.startswith("."))


def video_of(entry: str) -> str:
    """The video an entry belongs to.

    >>> video_of("-3g5yACwYnA[12]"), video_of("-3g5yACwYnA")
    ('-3g5yACwYnA', '-3g5yACwYnA')
    """
    head, bracket, tail = entry.rpartition("[")
    return head if bracket and tail[:-1].isdecimal() and tail.endswith("]") else entry


def _open(path: Path) -> Any:
    import h5py

    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        with open(path, "rb") as raw:
            start = raw.read(16)
        if start.startswith(b"\x89HDF\r\n\x1a\n"):
            raise InputError(f"{path}: a damaged or truncated HDF5 file. {_line(error)}. {DAMAGED}") from None
        raise InputError(f"{path}: not an HDF5 file. It starts with {start!r}. {DAMAGED}") from None


def _parts(path: Path, file: Any) -> tuple[str, Any, dict[str, Any]]:
    """Root name, the group `data` and the decoded metadata."""
    name = next((key for key in file if hasattr(file[key], "keys")), None)
    if name is None:
        found = ", ".join(map(str, file)) or "nothing"
        raise InputError(f"{path}: no root group. Found {found}. Is it a computational sequence? {DAMAGED}")
    root = file[name]
    missing = [part for part in ("data", "metadata") if not hasattr(root.get(part), "keys")]
    if missing:
        found = ", ".join(map(str, list(root)[:5])) or "nothing"
        raise InputError(f"{path}: no group {' or '.join(missing)} in {name!r}. Found {found}. {DAMAGED}")
    if odd := [key for key in (name, *root["metadata"], *root["data"]) if isinstance(key, bytes)]:
        raise InputError(f"{path}: a damaged HDF5 file. Found the name {odd[0]!r}, which is no text. {DAMAGED}")
    return name, root["data"], {key: _decode(path, value) for key, value in root["metadata"].items()}


def _check_heaps(path: Path, stored: Any) -> None:
    """Raises InputError where texts are said to lie in a heap that does not hold them, or that has an object of no
    size: libhdf5 would read what is not there, or look for the heap's end for ever. Layout: HDF5 File Format
    Specification 3.0, III.E."""
    place = stored.id.get_offset() if stored.dtype.kind == "O" else None
    if place is None:  # other texts lie in the dataset itself
        return
    if (stored.dtype.metadata or {}).get("vlen") not in (str, bytes):
        raise InputError(f"{path}: a damaged HDF5 file. Found {stored.name}, which is no text. {DAMAGED}")
    with open(path, "rb") as raw:
        raw.seek(place)
        references = list(struct.iter_unpack("<IQI", raw.read(16 * stored.size)))  # bytes, heap, which object of it
        heaps = {heap: _heap(raw, heap) for _, heap, _ in references}
    for length, heap, index in references:
        objects = heaps[heap]
        if objects is None or (length and objects.get(index, -1) < length):
            raise InputError(f"{path}: a damaged HDF5 file. Found a text that leads nowhere. {DAMAGED}")


def _heap(raw: BinaryIO, place: int) -> dict[int, int] | None:
    """Bytes of every object of a heap; None where it has no end, {} where there is none."""
    raw.seek(min(place, 2**62))
    block, found, at = raw.read(16), {}, 16
    size = int.from_bytes(block[8:], "little")
    block += raw.read(min(size, LARGEST_HEAP)) if block[:4] == b"GCOL" else b""
    while at + 16 <= min(size, len(block)):
        index, length = struct.unpack_from("<H6xQ", block, at)
        if index == 0 and length < 16:
            return None
        found[index] = length
        at += length if index == 0 else 16 + -(-length // 8) * 8
    return found


def _decode(path: Path, stored: Any) -> Any:
    """A metadata entry: JSON where it is JSON, else the bare text (both are in circulation)."""
    if not hasattr(stored, "shape"):
        return None
    _check_heaps(path, stored)
    value = np.asarray(stored[()]).ravel()
    if value.dtype.kind not in "OSU":
        return value.tolist()
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in value]
    if len(texts) != 1:
        return texts
    try:
        return json.loads(texts[0])
    except (ValueError, RecursionError):
        return texts[0]


def _names(value: Any) -> tuple[str, ...]:
    """Column names from a list, a Python list written as text, or words between commas."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            value = value.strip("[]() ").split(",")
    if isinstance(value, (list, tuple)):
        if len(value) == 1 and isinstance(value[0], (list, tuple)):
            value = value[0]
        return tuple(str(name).strip() for name in value)
    return (str(value).strip(),)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
