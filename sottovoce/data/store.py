"""The cache of tracks: every frame of a corpus in a few flat files, read through memory maps.

    data/ravdess/tracks/fbank-0c6d.../
      track.json       track, config of its maker, rate_hz, offset_s, dim, half
      index.jsonl      one line an utterance: [id, shard, first row, rows, source key, source stamp, why skipped, sum]
      values-000.f32   shard 0: rows of `dim` little-endian floats, utterance after utterance (.f16 with "half")
      values-001.f32   the next gigabyte

A line enters the index after its rows are on the disk, so a process may be killed at any time. What comes in one
stream is appended by a `TrackWriter`: rows without a line and a torn last line are dropped when it next writes. What
is made piece by piece has a shard a piece, whose numbers are large (`data.shards`). A later line of the same id
replaces an earlier one. The sum is a checksum of the rows and of the id they belong to; it is compared when an
utterance is first read. Stores of earlier versions have none.
"""

import contextlib
import json
import mmap
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.data import own
from sottovoce.data.index import AGAIN, NO_SUM, Index, Source
from sottovoce.data.track import Track
from sottovoce.errors import InputError

SHARD_BYTES = 1 << 30  # a new file is begun before one would grow beyond this
COMMIT_S = 2.0  # seconds of work that a power cut may cost
BLOCK = 1 << 15  # rows of an utterance that are checked or written at a time
RESIDENT_BYTES = 1 << 28  # pages touched before they are handed back to the system
MAPS = 64  # shards that are open at a time: of 1024 files that a process may have open, for several stores
UNKNOWN = Source()  # what rows were made from, where nobody says


@dataclass(frozen=True)
class Head:
    """What all utterances of a store share."""

    track: str  # name of the maker in `sottovoce.tracks`
    config: dict[str, Any]  # its resolved configuration
    rate_hz: float
    offset_s: float  # seconds of the first frame's centre
    dim: int  # D
    half: bool = False  # kept as float16: half the disk, three digits

    def __post_init__(self) -> None:
        if not (0 < self.rate_hz < 1e7 and 0 < self.dim < 1e7):
            raise ValueError(f"Found {self.rate_hz} frames a second of {self.dim} values")

    @property
    def dtype(self) -> np.dtype:
        """Of a value on the disk."""
        return np.dtype("<f2" if self.half else "<f4")

    @property
    def row_bytes(self) -> int:
        return self.dim * self.dtype.itemsize

    def shard(self, folder: Path, number: int) -> Path:
        return folder / f"values-{number:03d}.{'f16' if self.half else 'f32'}"


class TrackStore:
    """Tracks of a corpus by utterance id.

    `store[id]` is (T, D) float32: a read-only view into the file, not a copy (a float16 store has to
    convert). Pages that were read are given back every 256 MB, so walking through a store that is larger
    than memory does not fill it; views stay valid. Pickles as its folder name, so it may go to workers.

    Attributes:
        head: track, config, rate_hz, offset_s, dim, half.
        ids: in order of extraction.
        lengths: frames of each id.
        skipped: id -> why it was left out (`sottovoce extract --skip-broken`).
    """

    def __init__(self, folder: Path, head: Head, index: Index):
        self.folder, self.head = folder, head
        self.rate_hz, self.offset_s, self.dim = head.rate_hz, head.offset_s, head.dim
        self._index = index
        self.lengths: Mapping[str, int] = index
        self._maps: dict[int, tuple[mmap.mmap, np.ndarray]] = {}
        self._touched = 0
        self._checked = np.zeros(len(index.rows), bool)  # whose rows are those that were written

    @classmethod
    def open(cls, folder: Path | str) -> "TrackStore":
        """Raises InputError when there is no store, or a file of it is damaged or shorter than the index says."""
        folder = Path(folder)
        head = read_head(folder)
        index = Index(folder / "index.jsonl")
        _check_shards(folder, head, index)
        return cls(folder, head, index)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.lengths)

    @property
    def skipped(self) -> dict[str, str]:
        return self._index.skipped

    @property
    def frames(self) -> int:
        """Over all utterances."""
        return int(self._index.rows["length"][self._index.there].sum())

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.lengths)

    def __contains__(self, id: object) -> bool:
        return id in self._index

    def __getitem__(self, id: str) -> np.ndarray:
        """(T, D) float32. Raises InputError for an id that was not extracted."""
        k = self._index.find(id)
        if k < 0:
            why = self.skipped.get(id)
            raise InputError(
                f"{self.folder}: no {self.head.track} of utterance {id!r}. Found {len(self)} others"
                + (f"; this one was skipped: {why}" if why else ". Run `sottovoce extract` again.")
            )
        _, shard, first, length, known = self._index.rows[k].item()
        values = self._map(shard)[first : first + length]
        if not self._checked[k]:
            if known != NO_SUM and known != checksum(id, [values]):
                raise InputError(
                    f"{self.folder}: damaged. Found other values of utterance {id!r} than were written, or those of "
                    f"another. {AGAIN}"
                )
            self._checked[k] = True
        self._touched += values.nbytes
        if self._touched > RESIDENT_BYTES:
            self.release()
        return values.astype(np.float32) if self.head.half else values

    def track(self, id: str) -> Track:
        """The same as a track."""
        return Track(self[id], self.rate_hz, self.offset_s)

    def source(self, id: str) -> Source | None:
        """What an id was made from or skipped for; None when it is neither here nor skipped."""
        return self._index.source(id)

    def line(self, id: str) -> bytes:
        """What the index says of an id; nothing when it is neither here nor skipped."""
        return self._index.text(id)

    def release(self) -> None:
        """Give the pages that were read back to the system; existing views read them again when used."""
        self._touched = 0
        for pages, _ in self._maps.values():
            files.let_go(pages)

    def _map(self, shard: int) -> np.ndarray:
        """(rows, D) of a whole file."""
        if shard not in self._maps:
            path = self.head.shard(self.folder, shard)
            try:
                with open(path, "rb") as file:
                    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise InputError(f"{path}: cannot be read. {error.strerror or error}. Extract again.") from None
            rows = len(pages) // self.head.row_bytes  # somebody may be writing behind our last row
            if len(self._maps) >= MAPS:
                del self._maps[next(iter(self._maps))]  # views of it stay valid
            self._maps[shard] = pages, np.frombuffer(pages, self.head.dtype, rows * self.dim).reshape(rows, self.dim)
        return self._maps[shard][1]

    def __reduce__(self):
        return TrackStore.open, (self.folder,)


class TrackWriter:
    """Appends utterances to a store; makes it, or resumes it where an earlier process stopped.

    One writer at a time: a second one waits until the first is done. Use it as a context manager; leaving
    it, even by an exception, keeps every utterance added so far.

    Raises InputError: the folder holds a store of another configuration or a damaged one, or the disk is full (then the
    store is as it was at the last commit).
    """

    def __init__(self, folder: Path | str, head: Head, *, overwrite: bool = False):
        self.folder, self.head = Path(folder), head
        self._values = self._index = self._lock = -1  # file descriptors
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = files.lock(self.folder)
            self._start(overwrite)
        except OSError as error:
            self._release_files()
            raise cannot_write(self.folder, error) from error
        except BaseException:
            self._release_files()
            raise

    def _start(self, overwrite: bool) -> None:
        settle(self.folder, self.head, anew=overwrite)
        self._before = Index(self.folder / "index.jsonl")
        ends = self._before.ends
        _check_shards(self.folder, self.head, self._before)
        for path in self.folder.glob("values-*.f*"):  # rows that never got their line
            os.truncate(path, ends.get(int(path.stem.split("-")[1]), 0) * self.head.row_bytes)
        self._shard = max(ends, default=0)
        self._row = ends.get(self._shard, 0)  # rows in the open file
        self._index_bytes = self._before.size
        self._index = _open_at(self.folder / "index.jsonl", self._index_bytes)
        os.ftruncate(self._index, self._index_bytes)
        self._open_values()
        self._pending: list[list] = []
        self._committed = (self._shard, self._row)
        self._last_commit = time.monotonic()

    def source(self, id: str) -> Source | None:
        """As `TrackStore.source`, of what was there before this writer."""
        return self._before.source(id)

    @property
    def skipped(self) -> dict[str, str]:
        """As `TrackStore.skipped`, of what was there before this writer."""
        return self._before.skipped

    def __contains__(self, id: object) -> bool:
        """Whether there was such an utterance, or one that was skipped, before this writer."""
        return self._before.names.find(id) >= 0

    def add(self, id: str, values: np.ndarray, source: Source = UNKNOWN) -> None:
        """Append an utterance: values (T, D), or (T,) when D is 1.

        Raises what `checked` does, and InputError when the disk is full.
        """
        values = checked(id, values, self.head)
        if self._row and (self._row + len(values)) * self.head.row_bytes > SHARD_BYTES:
            self.commit()
            self._shard, self._row = self._shard + 1, 0
            with self._writing():
                os.close(self._values)
                self._open_values()
        with self._writing():
            summed = checksum(id, blocks(values, self.head.dtype), partial(_write_all, self._values))
        self._pending.append([id, self._shard, self._row, len(values), source.key, source.stamp, "", summed])
        self._row += len(values)
        if time.monotonic() - self._last_commit > COMMIT_S:
            self.commit()

    def skip(self, id: str, why: str, source: Source = UNKNOWN) -> None:
        """Note that an utterance cannot be used, so that it is not tried again while its source is the same."""
        self._pending.append([id, -1, 0, 0, source.key, source.stamp, why])

    def restamp(self, id: str, source: Source) -> None:
        """The file was touched, its content is the same as before this writer."""
        row = self._before.line(id)
        assert row is not None
        self._pending.append([*row[:4], source.key, source.stamp, *row[6:]])

    def commit(self) -> None:
        """Rows to the disk, then their lines."""
        if not self._pending:
            return
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self._pending).encode()
        with self._writing():
            os.fsync(self._values)
            _write_all(self._index, lines)
            os.fsync(self._index)
        self._index_bytes += len(lines)
        self._pending.clear()
        self._committed = (self._shard, self._row)
        self._last_commit = time.monotonic()

    def close(self) -> None:
        try:
            if self._index >= 0:
                self.commit()
        finally:
            self._release_files()

    def __enter__(self) -> "TrackWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_values(self) -> None:
        self._values = _open_at(self.head.shard(self.folder, self._shard), self._row * self.head.row_bytes)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """On failure the files are cut back to the last commit and the writer is closed."""
        try:
            yield
        except OSError as error:
            self._pending.clear()
            shard, row = self._committed
            with contextlib.suppress(OSError):
                os.ftruncate(self._index, self._index_bytes)
                if shard == self._shard:
                    os.ftruncate(self._values, row * self.head.row_bytes)
            self._release_files()
            raise cannot_write(self.folder, error) from error

    def _release_files(self) -> None:
        for descriptor in (self._values, self._index, self._lock):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._values = self._index = self._lock = -1


def read_head(folder: Path) -> Head:
    """Raises InputError when `folder` holds no store."""
    path = Path(folder) / "track.json"
    if not path.is_file():
        raise InputError(f"{folder}: no tracks here. Found no track.json. Make them with `sottovoce extract`.")
    return own.read_json(path, Head, AGAIN)


def settle(folder: Path, head: Head, *, anew: bool = False) -> None:
    """The folder is of `head` afterwards; with `anew` what was there is gone.

    Raises InputError when it is of another configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if anew:
        # The index goes first: whatever happens now, no line points at missing rows. Unlinking keeps the maps of
        # readers alive.
        (folder / "index.jsonl").unlink(missing_ok=True)
        for path in [folder / "track.json", *folder.glob("values-*.f*")]:
            path.unlink(missing_ok=True)
    plain = json.loads(json.dumps(asdict(head)))
    if not (folder / "track.json").exists():
        files.write_json(folder / "track.json", plain)
    found = asdict(read_head(folder))
    if other := [key for key in plain if plain[key] != found[key]]:
        raise InputError(
            f"{folder}: made with another configuration. Found {other[0]} {found[other[0]]!r}, "
            f"not {plain[other[0]]!r}. Use --overwrite, or another corpus folder."
        )


def checked(name: str, values: np.ndarray, head: Head) -> np.ndarray:
    """(T, D) as a store of `head` can keep it; from (T,) when D is 1.

    Raises:
        InputError: no frames, values that are not finite (or not in float16).
        ValueError: another width than the store's.
    """
    values = np.asarray(values)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != head.dim:
        raise ValueError(f"a store of {head.track} holds (T, {head.dim}), got {values.shape} for {name!r}")
    if len(values) == 0:
        raise InputError(f"{name}: no frames of {head.track}. Found an empty track. Leave the utterance out.")
    if bad := sum(block.size - np.count_nonzero(np.isfinite(block)) for block in blocks(values, head.dtype)):
        kept, remedy = ("float16", "Extract without --half") if head.half else ("values", "Check the file")
        raise InputError(
            f"{name}: {head.track} is not finite. Found {bad} of {values.size} {kept} NaN or infinite. {remedy} "
            "or leave it out."
        )
    return values


def blocks(values: np.ndarray, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Some rows at a time as they are kept: an hour of them is not copied at once."""
    for k in range(0, len(values), BLOCK):
        with np.errstate(over="ignore"):
            yield np.ascontiguousarray(values[k : k + BLOCK], dtype=dtype)
        files.let_go(values)


def checksum(id: str, blocks: Iterable[np.ndarray], write: Callable[[memoryview], object] | None = None) -> int:
    """Of an utterance's name and its rows as they lie in the file; each block is handed to `write`."""
    found = zlib.crc32(id.encode())
    for block in blocks:
        data = block.data.cast("B")
        found = zlib.crc32(data, found)
        if write:
            write(data)
    return found


def cannot_write(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"{folder}: cannot be written. {error.strerror or error}. "
        "Free space or move the corpus folder, then run it again: what was extracted is kept."
    )


def _check_shards(folder: Path, head: Head, index: Index) -> None:
    """Raises InputError for a file that is shorter than the index says."""
    for number, rows in index.ends.items():
        path, needed = head.shard(folder, number), rows * head.row_bytes
        size = path.stat().st_size if path.is_file() else 0
        if size < needed:
            raise InputError(f"{path}: truncated. Found {size} bytes of {needed} in the index. {AGAIN}")


def _open_at(path: Path, place: int) -> int:
    """A file to write to from a byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.lseek(descriptor, place, os.SEEK_SET)
    return descriptor


def _write_all(descriptor: int, data: memoryview | bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone at a store; waits for whoever is at it."""
    descriptor = files.lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)
