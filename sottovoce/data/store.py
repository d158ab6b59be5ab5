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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.data import own
from sottovoce.data.index import AGAIN, NO_SUM, Index, Source
from sottovoce.data.track import Track
from sottovoce.errors import InputError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

SHARD_BYTES = 1 << 30  # a new file is begun before one would grow beyond this
COMMIT_S = 2.0  # seconds of work that a power cut may cost
BLOCK = 1 << 15  # rows of an utterance that are checked or written at a time
RESIDENT_BYTES = 1 << 28  # pages touched before they are handed back to the system
MAPS = 64  # shards that are open at a time: of 1024 files that a process may have open, for several stores


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
        width = head.dim * (2 if head.half else 4)
        for shard, end in index.ends.items():
            _check_shard(shard_path(folder, shard, head.half), end * width)
        return cls(folder, head, index)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.lengths)

    @property
    def skipped(self) -> dict[str, str]:
        return self._index.skipped

    @property
    def rate_hz(self) -> float:
        return self.head.rate_hz

    @property
    def offset_s(self) -> float:
        return self.head.offset_s

    @property
    def dim(self) -> int:
        return self.head.dim

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
        if hasattr(mmap, "MADV_DONTNEED"):
            for pages, _ in self._maps.values():
                pages.madvise(mmap.MADV_DONTNEED)

    def _map(self, shard: int) -> np.ndarray:
        """(rows, D) of a whole file."""
        if shard not in self._maps:
            path = shard_path(self.folder, shard, self.head.half)
            try:
                with open(path, "rb") as file:
                    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise InputError(f"{path}: cannot be read. {error.strerror or error}. Extract again.") from None
            width = 2 if self.head.half else 4
            values = np.frombuffer(pages, f"<f{width}", count=len(pages) // width)
            rows = len(values) // self.dim  # somebody may be writing behind our last row
            if len(self._maps) >= MAPS:
                del self._maps[next(iter(self._maps))]  # views of it stay valid
            self._maps[shard] = pages, values[: rows * self.dim].reshape(rows, self.dim)
        return self._maps[shard][1]

    def __reduce__(self):
        return TrackStore.open, (self.folder,)


class TrackWriter:
    """Appends utterances to a store; makes it, or resumes it where an earlier process stopped.

    One writer at a time: a second one waits until the first is done. Use it as a context manager; leaving
    it, even by an exception, keeps every utterance added so far.

    Raises:
        InputError: the folder holds a store of another configuration or a damaged one, or the disk is full
            (then the store is as it was at the last commit).
    """

    def __init__(self, folder: Path | str, head: Head, *, overwrite: bool = False):
        self.folder, self.head = Path(folder), head
        self._values = self._index = self._lock = -1  # file descriptors
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder)
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
        index_bytes, ends = self._before.size, self._before.ends
        self._width = self.head.dim * (2 if self.head.half else 4)
        for path in self.folder.glob("values-*.f*"):
            end = ends.get(int(path.stem.split("-")[1]), 0) * self._width
            _check_shard(path, end)
            os.truncate(path, end)  # rows that never got their line
        for shard, end in ends.items():
            _check_shard(shard_path(self.folder, shard, self.head.half), end * self._width)
        self._shard = max(ends, default=0)
        self._row = ends.get(self._shard, 0)  # rows in the open file
        self._index = os.open(self.folder / "index.jsonl", os.O_WRONLY | os.O_CREAT, 0o644)
        os.ftruncate(self._index, index_bytes)
        os.lseek(self._index, index_bytes, os.SEEK_SET)
        self._index_bytes = index_bytes
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

    @property
    def closed(self) -> bool:
        """True after `close`, and after the disk was full."""
        return self._index < 0

    def add(self, id: str, values: np.ndarray, source: Source | None = None) -> None:
        """Append an utterance: values (T, D), or (T,) when D is 1.

        Raises what `checked` does, and InputError when the disk is full.
        """
        values = checked(id, values, self.head)
        if self._row and (self._row + len(values)) * self._width > SHARD_BYTES:
            self.commit()
            self._shard, self._row = self._shard + 1, 0
            with self._writing():
                os.close(self._values)
                self._open_values()
        summed = checksum(id, [])
        with self._writing():
            for block in blocks(values, self.head.half):
                summed = zlib.crc32(block.data.cast("B"), summed)
                _write_all(self._values, block.data.cast("B"))
        self._pending.append([id, self._shard, self._row, len(values), *_pair(source), "", summed])
        self._row += len(values)
        if time.monotonic() - self._last_commit > COMMIT_S:
            self.commit()

    def skip(self, id: str, why: str, source: Source | None = None) -> None:
        """Note that an utterance cannot be used, so that it is not tried again while its source is the same."""
        self._pending.append([id, -1, 0, 0, *_pair(source), why])

    def restamp(self, id: str, source: Source) -> None:
        """The file was touched, its content is the same as before this writer."""
        row = self._before.line(id)
        assert row is not None
        self._pending.append([*row[:4], *_pair(source), *row[6:]])

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
        self._values = os.open(shard_path(self.folder, self._shard, self.head.half), os.O_WRONLY | os.O_CREAT, 0o644)
        os.lseek(self._values, self._row * self._width, os.SEEK_SET)

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
                    os.ftruncate(self._values, row * self._width)
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
    if bad := sum(block.size - np.count_nonzero(np.isfinite(block)) for block in blocks(values, head.half)):
        kept, remedy = ("float16", "Extract without --half") if head.half else ("values", "Check the file")
        raise InputError(
            f"{name}: {head.track} is not finite. Found {bad} of {values.size} {kept} NaN or infinite. {remedy} "
            "or leave it out."
        )
    return values


def blocks(values: np.ndarray, half: bool) -> Iterator[np.ndarray]:
    """Some rows at a time as they are kept: an hour of them is not copied at once."""
    for k in range(0, len(values), BLOCK):
        with np.errstate(over="ignore"):
            yield np.ascontiguousarray(values[k : k + BLOCK], dtype="<f2" if half else "<f4")
        files.let_go(values)


def checksum(id: str, blocks: Iterable[np.ndarray]) -> int:
    """Of an utterance's name and its rows as they lie in the file."""
    found = zlib.crc32(id.encode())
    for block in blocks:
        found = zlib.crc32(block.data.cast("B"), found)
    return found


def cannot_write(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"{folder}: cannot be written. {error.strerror or error}. "
        "Free space or move the corpus folder, then run it again: what was extracted is kept."
    )


def shard_path(folder: Path, number: int, half: bool) -> Path:
    return folder / f"values-{number:03d}.{'f16' if half else 'f32'}"


def _check_shard(path: Path, needed: int) -> None:
    size = path.stat().st_size if path.is_file() else 0
    if size < needed:
        raise InputError(f"{path}: truncated. Found {size} bytes of {needed} in the index. {AGAIN}")


def _pair(source: Source | None) -> tuple[str, str]:
    return (source.key, source.stamp) if source else ("", "")


def _write_all(descriptor: int, data: memoryview | bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone at a store; waits for whoever is at it."""
    descriptor = _lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """An exclusive lock that the system drops when its holder dies. Waits for the current holder."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    if fcntl is None:  # Windows: two extractions at once are the user's care
        return descriptor
    with contextlib.suppress(OSError):  # network file systems without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
