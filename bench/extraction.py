"""Features of many short recordings in tar shards: `python -m bench.extraction [--files 2000] [--seconds 0.25]`.

Shards of noise are packed, prepared (headers alone) and extracted (`fbank`, one process). What must hold: seconds grow
as the files do, and memory does not grow while files are worked off. Truth: every file is stored once, and rows of some
are those of their samples.
"""

import argparse
import io
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from sottovoce.data.corpus import Corpus
from sottovoce.data.track import Track
from sottovoce.pipeline import extract, pieces
from sottovoce.pipeline.prepare import Asked, prepare
from sottovoce.tracks import fbank

A_SHARD = 1000  # files


class Watch:
    """CPU seconds and MiB of its own (anonymous pages) of this process, by the share of a store that is written."""

    def __init__(self, folder: Path, whole: int):
        self.folder, self.whole = folder, whole  # bytes of the store
        self.seen: list[tuple[float, float, float]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self._start = time.process_time()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.note()

    def note(self) -> None:
        share = sum(path.stat().st_size for path in self.folder.rglob("values-*")) / self.whole
        self.seen.append((share, time.process_time() - self._start, own_mib()))

    def at(self, share: float) -> tuple[float, float]:
        """(CPU seconds, MiB) when so much was written."""
        return next((seconds, mib) for done, seconds, mib in self.seen if done >= share)


def own_mib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def samples(k: int, seconds: float) -> np.ndarray:
    """(N,) int16."""
    return np.random.default_rng(k).normal(0, 3000, round(16_000 * seconds)).round().astype(np.int16)


def features(k: int, seconds: float) -> np.ndarray:
    wave = Track(samples(k, seconds).astype(np.float32) / 32768, 16_000.0)
    return pieces.made_of(wave, "fbank", fbank.Config()).values


def pack(folder: Path, files: int, seconds: float) -> None:
    for first in range(0, files, A_SHARD):
        with tarfile.open(folder / f"{first // A_SHARD:06d}.tar", "w") as shard:
            for k in range(first, min(first + A_SHARD, files)):
                made = io.BytesIO()
                soundfile.write(made, samples(k, seconds), 16_000, format="WAV", subtype="PCM_16")
                member = tarfile.TarInfo(f"speaker{k % 997:03d}/{k:07d}.wav")
                member.size = made.tell()
                shard.addfile(member, io.BytesIO(made.getvalue()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=2000, help="recordings (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        shards, data = Path(home) / "shards", Path(home) / "data"
        shards.mkdir()
        pack(shards, options.files, options.seconds)
        began, before = time.process_time(), own_mib()
        prepare("tar", shards, data, Asked(decode=False), options={"unlabelled": True}, jobs=1)
        prepared, began = time.process_time() - began, time.process_time()
        corpus = Corpus.load(data)
        loaded = time.process_time() - began
        with Watch(data, features(0, options.seconds).nbytes * options.files) as watch:
            store = extract.track_store(corpus, "fbank", jobs=1, quiet=True)
            watch.note()
        assert list(store) == [u.id for u in corpus.utterances]
        assert len(store) == options.files
        for id in store.ids[:: max(options.files // 20, 1)]:
            assert np.array_equal(store[id], features(int(id.rpartition("/")[2]), options.seconds)), id
    quarters = [watch.at(share)[0] for share in (0.01, 0.25, 0.5, 0.75, 1.0)]
    each = 1e3 * np.diff(quarters) / np.diff([0.01, 0.25, 0.5, 0.75, 1.0]) / options.files
    memory = [watch.at(share)[1] for share in (0.01, 0.25, 0.5, 0.75, 1.0)]
    print("| what | CPU | MiB of its own |\n|---|---|---|")
    print(f"| prepare, headers alone | {prepared:.1f} s, {1e3 * prepared / options.files:.2f} ms a file | |")
    print(f"| load the corpus | {loaded:.2f} s | {before:.0f} before |")
    print(
        f"| extract {options.files} files of {options.seconds:g} s | {quarters[-1]:.1f} s; ms a file by quarter "
        f"{', '.join(f'{ms:.2f}' for ms in each)} | {', '.join(f'{mib:.0f}' for mib in memory)} "
        "at 1, 25, 50, 75, 100 % |"
    )


if __name__ == "__main__":
    main()
