"""`sottovoce features`: one recording -> any track as a table, for whatever other program there is.

    clip.csv    a line a frame: time_s, then the named columns
    clip.npz    values (T, D), times_s (T,), names (D,)            numpy.load(..., allow_pickle=False)
    clip.h5     the same as datasets
    clip.csd    a computational sequence of one entry, the name of the file; see `csd.py`

COVAREP's values are double precision, with what the original writes where it does not know: .npz and .h5 then also
hold `defined` (T, D), whether the recording says anything about this column at this time.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sottovoce import files, plugins
from sottovoce.config.settings import parse_settings
from sottovoce.data import audio, csd
from sottovoce.errors import InputError
from sottovoce.pipeline.extract import columns
from sottovoce.tracks import base as tracks

KINDS = (".csv", ".npz", ".h5", ".csd")


@dataclass(frozen=True)
class Table:
    """A track of a recording, its columns named."""

    values: np.ndarray  # (T, D)
    times_s: np.ndarray  # (T,) centres of the frames
    names: tuple[str, ...]  # (D,)
    rate_hz: float
    defined: np.ndarray | None = None  # (T, D) bool, where the track's maker tells


def features(recording: Path, track: str, settings: list[str]) -> Table:
    """A track of a recording. Raises InputError: it cannot be read, or an unknown track or setting."""
    maker = tracks.maker(track)
    config = parse_settings(maker.Config, settings)
    if maker.make is None:
        raise InputError(
            f"--track {track}: made for a corpus, by a model or from its speakers' other recordings. "
            f"Use `sottovoce extract DATA --track {track}`, or another track."
        )
    if maker.WHOLE and maker.frames:  # finds by itself that a recording has no upper band
        wave = audio.read(recording, rate_hz=min(audio.RATE_HZ, audio.probe(recording).rate_hz))
        frames = maker.frames(wave, config)
        return Table(frames.values, frames.times_s, maker.NAMES, config.rate_hz, frames.defined)
    made = maker.make(audio.read(recording), config)
    values = made.values.reshape(len(made), -1)
    return Table(values, made.times, columns(track, values.shape[1]), made.rate_hz)


def write(path: Path, table: Table, entry: str, track: str) -> None:
    """As the suffix says; the file appears whole or not at all. `entry` names the recording in a `.csd`."""
    kind = path.suffix.lower()
    if kind == ".csd":
        notes = csd.sdk_metadata(plugins.summary("tracks", track), table.names, citation(track), entry)
        rows = table.values.astype(np.float32)
        csd.write_csd(path, track.upper(), [(entry, rows, csd.intervals_around(table.times_s, table.rate_hz))], notes)
        return
    arrays = {"values": table.values, "times_s": table.times_s, "names": np.array(table.names)}
    if table.defined is not None:
        arrays["defined"] = table.defined
    with files.atomic(path) as temporary:
        if kind == ".csv":
            with open(temporary, "w", encoding="utf-8") as out:
                out.write(",".join(["time_s", *table.names]) + "\n")
                digits = 9 if table.values.dtype == np.float32 else 17  # enough to read the same number again
                for first, rows in _pieces(table.values):
                    for time_s, row in zip(table.times_s[first : first + len(rows)], rows, strict=True):
                        out.write(f"{time_s:.7f}," + ",".join(f"{v:.{digits}g}" for v in row) + "\n")
        elif kind == ".npz":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as out:
                for name, array in arrays.items():
                    with out.open(f"{name}.npy", "w", force_zip64=True) as entry_file:
                        head = np.lib.format.header_data_from_array_1_0(array) | {"fortran_order": False}
                        np.lib.format.write_array_header_1_0(entry_file, head)
                        for _, rows in _pieces(array):
                            entry_file.write(rows.tobytes())
        else:
            import h5py

            arrays["names"] = np.array(table.names, dtype=object)
            with h5py.File(temporary, "w") as out:
                for name, array in arrays.items():
                    out.create_dataset(name, data=array, dtype=h5py.string_dtype() if name == "names" else None)


def _pieces(array: np.ndarray, rows: int = 1 << 13) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows) some at a time: what is written of an hour does not stay in memory."""
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]
        files.let_go(array)


def citation(track: str) -> str:
    """Where a track's features come from, for metadata; its description where the module names no paper."""
    return tracks.maker(track).CITATION or plugins.summary("tracks", track)
