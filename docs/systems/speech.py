"""Speech for the studies of this folder: recordings as log-mel bands in one folder, and what the encoder makes of them.

    python docs/systems/speech.py data/ravdess data/nemo --unlabelled DIR ... -o bands

Recordings of prepared corpora and of folders without labels are read, made into Whisper's bands and cut where they are
silent, all by the package's own functions; what is longer than 6 s goes in pieces. The folder holds `mel.npy` (F, 80)
float16, `level.npy` (F,) dB before the level was made even, and `rows.csv`, a recording a line.

F frames (100 a second), N recordings, S states, H width.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sottovoce.data import audio
from sottovoce.data.frames import loud_part
from sottovoce.errors import InputError
from sottovoce.modeling import hub
from sottovoce.tracks import logmel

LONGEST, TRIM_DB = 600, 35.0  # frames of a piece; silence at the ends
SOUNDS = {".wav", ".flac", ".ogg", ".opus"}
COLUMNS = ("corpus", "id", "speaker", "gender", "emotion", "intensity", "frames")
Job = tuple[str, dict[str, str]]


def of_corpus(folder: Path, root: Path) -> Iterator[Job]:
    """Recordings of a prepared corpus; those under `root` have the corpus's names, whatever they are coded as."""
    there = {p.stem: p for p in root.rglob("*") if p.suffix in SOUNDS}
    with open(folder / "manifest.csv", newline="") as lines:
        for row in csv.DictReader(lines):
            yield str(there[Path(row["path"]).stem]), {key: row.get(key, "") for key in COLUMNS}


def of_folder(folder: Path) -> Iterator[Job]:
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SOUNDS):
        yield str(path), {"corpus": folder.name, "id": path.stem, "speaker": f"{folder.name}/{path.stem}"}


def bands(job: Job) -> list[tuple[dict[str, str], np.ndarray, np.ndarray]]:
    """The pieces of a recording: row, bands (T, 80), level (T,); none shorter than 0.4 s.

    What cannot be read is named and left out: time on a GPU is not lost to one recording.
    """
    path, row = job
    try:
        wave = audio.read(path)
    except InputError as error:
        print(f"left out: {error}", flush=True)
        return []
    mel = logmel.make(wave, logmel.Config()).values
    loud = level(np.asarray(wave.values, np.float64), len(mel))
    first, last = loud_part(mel, 100.0, TRIM_DB, "logmel")
    found = []
    for begin in range(first, last, LONGEST):
        end = begin + (min(begin + LONGEST, last) - begin) // 4 * 4  # whole steps of 40 ms
        if end - begin >= 40 and not (row.get("emotion") and found):
            piece = row | {"frames": str(end - begin)}
            found.append((piece, mel[begin:end].astype(np.float16), loud[begin:end].astype(np.float32)))
    return found


def level(samples: np.ndarray, frames: int) -> np.ndarray:
    """(T,) RMS of 25 ms around every frame, in dB below full scale, -80 at least."""
    sums = np.concatenate([[0.0], np.cumsum(np.square(np.pad(samples, (200, 400))))])
    power = (sums[400::160] - sums[:-400:160])[:frames] / 400
    return 10 * np.log10(np.maximum(power, 1e-8))


@dataclass
class Speech:
    mel: Tensor  # (F, 80) on the device
    level: np.ndarray  # (F,)
    rows: list[dict[str, str]]

    def __post_init__(self) -> None:
        self.frames = np.array([int(row["frames"]) for row in self.rows])
        self.begins = np.cumsum(self.frames) - self.frames

    @classmethod
    def load(cls, folder: Path, device: str) -> "Speech":
        with open(folder / "rows.csv", newline="") as lines:
            rows = list(csv.DictReader(lines))
        mel = torch.from_numpy(np.load(folder / "mel.npy")).to(device)
        return cls(mel, np.load(folder / "level.npy"), rows)

    def column(self, name: str) -> np.ndarray:
        return np.array([row[name] for row in self.rows])

    def batches(self, which: np.ndarray, most: int = 120_000) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """(rows, bands (B, T, 80), frames (B,)) of so many frames at a time, those of like length together."""
        order = which[np.argsort(self.frames[which], kind="stable")]
        at = 0
        while at < len(order):
            some = order[at : at + 16]
            some = order[at : at + max(most // int(self.frames[some].max()), 1)]
            while len(some) * int(self.frames[some[-1]]) > 2 * most:
                some = some[: len(some) // 2]
            at += len(some)
            lengths = torch.from_numpy(self.frames[some]).to(self.mel.device)
            index = torch.from_numpy(self.begins[some]).to(lengths)[:, None] + torch.arange(
                int(lengths.max()), device=lengths.device
            )
            x = self.mel[index.clamp_max(len(self.mel) - 1)].float()
            yield some, x * (torch.arange(x.shape[1], device=lengths.device) < lengths[:, None])[..., None], lengths


def encoder(device: str, name: str = "default") -> torch.nn.Module:
    """An encoder, all its blocks."""
    return hub.backbone(hub.load(name)).eval().to(device)


def folds(folder: Path) -> list[dict]:
    return json.loads((folder / "folds.json").read_text())


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("corpora", nargs="*", help="PREPARED or PREPARED=FOLDER of its recordings in another coding")
    ask.add_argument("--unlabelled", type=Path, nargs="*", default=[])
    ask.add_argument("--processes", type=int, default=2)
    ask.add_argument("-o", "--out", type=Path, required=True)
    given, began, jobs = ask.parse_args(), time.monotonic(), []
    for pair in given.corpora:
        folder, _, root = pair.partition("=")
        where = root or json.loads((Path(folder) / "corpus.json").read_text())["root"]
        jobs += list(of_corpus(Path(folder), Path(where)))
    for folder in given.unlabelled:
        jobs += list(of_folder(folder))
    with ProcessPoolExecutor(given.processes) as pool:
        pieces = [piece for found in pool.map(bands, jobs, chunksize=16) for piece in found]
    given.out.mkdir(parents=True, exist_ok=True)
    np.save(given.out / "mel.npy", np.concatenate([mel for _, mel, _ in pieces]))
    np.save(given.out / "level.npy", np.concatenate([loud for _, _, loud in pieces]))
    with open(given.out / "rows.csv", "w", newline="") as lines:
        out = csv.DictWriter(lines, COLUMNS, restval="")
        out.writeheader()
        out.writerows(row for row, _, _ in pieces)
    hours = sum(int(row["frames"]) for row, _, _ in pieces) / 360_000
    print(f"{len(jobs)} recordings, {hours:.2f} h that are not silent, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
