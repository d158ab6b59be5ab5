"""A feature store as large as CMU-MOSEI: `python -m bench.feature_store [SEGMENTS.csv] [--scale 0.1]`.

From a list of segments (columns file, index, start, end; default $SOTTOVOCE_DATA/mosei_segments/segments.csv, else
drawn with the sizes of the corpus: 23,259 segments, 49 h) it makes stand-in `.csd` files, 17 M frames x 74 = 5 GB,
and takes them the whole way: `.csd` -> utterances and folds -> track store -> epochs of normalised, pooled, padded
batches -> updates of the 4 x 128 model. Targets: below 2 GiB resident, loader >= 10 x faster than the model.
Pages of files that the system keeps only as long as it likes are in "resident" but not in "own". Truth: every frame
is stored, every step arrives once, and rows equal a plain loop over their frames.
"""

import argparse
import csv
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sottovoce.backbones import transformer
from sottovoce.config import recipe
from sottovoce.config.recipe import Recipe
from sottovoce.corpora import mosei
from sottovoce.data import csd
from sottovoce.data.batching import Batch, plan_epoch
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics
from sottovoce.data.store import Head, TrackStore, TrackWriter
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives import masked_timesteps
from sottovoce.tracks.covarep import DIM, NAMES, RATE_HZ

Segments = dict[str, np.ndarray]  # video -> (k, 2) seconds


class Phase:
    """Seconds and peak memory of a `with` block, sampled: own (anonymous) and resident (with file pages), bytes."""

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> "Phase":
        self.own = self.resident = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            with open("/proc/self/status") as status:
                kilobytes = {
                    line.split(":")[0]: line.split()[1] for line in status if line.startswith(("VmRSS", "RssA"))
                }
            self.own = max(self.own, int(kilobytes["RssAnon"]) * 1024)
            self.resident = max(self.resident, int(kilobytes["VmRSS"]) * 1024)
            if self._done.wait(0.02):
                return

    def row(self, what: str) -> str:
        return f"| {self.name} | {self.seconds:.1f} | {self.own / 2**20:.0f} | {self.resident / 2**20:.0f} | {what} |"


def read_segments(path: Path) -> Segments:
    found: dict[str, list[tuple[float, float]]] = {}
    with open(path, newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            found.setdefault(row["file"], []).append((float(row["start"]), float(row["end"])))
    return {video: np.array(times) for video, times in found.items()}


def draw_segments(rng: np.random.Generator) -> Segments:
    """As many videos and segments, with about as many seconds, as CMU-MOSEI has."""
    counts = rng.multinomial(23259 - 3293, np.full(3293, 1 / 3293)) + 1
    found = {}
    for k, n in enumerate(counts):
        lengths = np.clip(rng.lognormal(1.86, 0.58, n), 0.5, 100).round(3)
        ends = np.cumsum(lengths + 0.5)
        found[f"video{k:04d}"] = np.stack([ends - lengths, ends], axis=1)
    return found


def generate(folder: Path, segments: Segments, rng: np.random.Generator) -> int:
    """Write features, labels and folds; returns the frames of all segments."""
    frames = 0

    def voices() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        nonlocal frames
        for video, times in segments.items():
            centres = (np.arange(int(times.max() * RATE_HZ) + 1) + 0.5) / RATE_HZ
            uses = np.zeros(len(centres) + 1, np.int64)  # how many segments a frame belongs to
            for first, last in np.searchsorted(centres, times - 1e-8):
                uses[first] += 1
                uses[last] -= 1
            uses = np.cumsum(uses[:-1])
            kept = np.flatnonzero(uses)
            values = rng.standard_normal((len(kept), DIM), dtype=np.float32)
            values[::1000, 11] = -np.inf  # as silence leaves it
            frames += int(uses.sum())
            yield video, values, kept[:, None] / RATE_HZ + np.array([0.0, 1.0]) / RATE_HZ

    def labels() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for video, times in segments.items():
            rows = np.zeros((len(times), 7), np.float32)
            rows[:, 0] = rng.integers(-9, 10, len(times)) / 3
            rows[np.arange(len(times)), rng.integers(1, 7, len(times))] = rng.integers(1, 10, len(times)) / 3
            yield video, rows, times

    csd.write_csd(folder / "features.csd", "COVAREP", voices(), {"dimension names": list(NAMES)})
    names = ["sentiment", *mosei.EMOTIONS]
    csd.write_csd(folder / "labels.csd", "All Labels", labels(), {"dimension names": names})
    with open(folder / "folds.csv", "w") as out:
        out.write("video,split\n")
        out.writelines(f"{v},{('train', 'valid', 'test')[max(k % 5 - 2, 0)]}\n" for k, v in enumerate(segments))
    return frames


def loaded(steps: Steps, plan: Recipe, epoch: int) -> Iterator[Batch]:
    """One epoch of batches, as `training.fit` draws them."""
    c = plan.training
    for rows in plan_epoch(
        steps.lengths,
        batch_steps=c.batch_frames(steps.rate_hz),
        batch_rows=c.batch_rows,
        seed=0,
        epoch=epoch,
        most=c.crop_frames(steps.rate_hz),
    ):
        yield steps.batch(rows, seed=epoch, most=c.crop_frames(steps.rate_hz))


def worst_difference(steps: Steps, rng: np.random.Generator, rows: int = 50) -> float:
    """Between utterances as the loader gives them and as a plain loop over their frames does."""
    assert steps.statistics is not None
    worst = 0.0
    for i in rng.permutation(len(steps))[:rows]:
        frames = (steps.raw(i).astype(np.float64) - steps.statistics.mean) / steps.statistics.std
        frames = np.clip(frames, -steps.frontend.clip, steps.frontend.clip)
        pool, slow = steps.frontend.subsampling, []
        for k in range(0, len(frames), pool):
            block = list(frames[k : k + pool])
            slow.append(np.mean(block + [frames[-1]] * (pool - len(block)), axis=0))
        worst = max(worst, float(np.abs(steps[i][0] - np.array(slow)).max()))
    return worst


def model_rate(steps: Steps, plan: Recipe, updates: int) -> float:
    """Steps a second that pre-training of the recipe's size consumes, batches made beforehand."""
    torch.manual_seed(0)
    objective = masked_timesteps.Objective(plan.objective_config, transformer.Backbone(plan.backbone_config, steps.dim))
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-4)
    ready = [batch for batch, _ in zip(loaded(steps, plan, 0), range(updates + 1), strict=False)]
    done = 0
    for k, batch in enumerate(ready):
        if k == 1:  # the first update sets everything up
            start, done = time.perf_counter(), 0
        loss = objective(batch, RowRandom(batch.seeds)).value
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        done += int(batch.lengths.sum())
    return done / (time.perf_counter() - start)


def forget(folder: Path) -> None:
    """Ask the system to drop cached pages, so that the next phase reads from the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("segments", nargs="?", type=Path, help="CSV with columns file, start, end in seconds")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the videos (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="folder for 10 GB x scale, deleted afterwards (default: temporary)")
    parser.add_argument("--updates", type=int, default=20, help="of the model, timed (default: %(default)s)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    path = options.segments
    if path is None and os.environ.get("SOTTOVOCE_DATA"):
        path = Path(os.environ["SOTTOVOCE_DATA"]) / "mosei_segments" / "segments.csv"
    segments = read_segments(path) if path else draw_segments(rng)
    segments = dict(list(segments.items())[: max(round(options.scale * len(segments)), 3)])
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="feature_store_", dir=options.work))
    try:
        run(work, segments, options.updates, rng)
    finally:
        shutil.rmtree(work)


def run(work: Path, segments: Segments, updates: int, rng: np.random.Generator) -> None:
    raw, folder = work / "raw", work / "prepared"
    raw.mkdir()
    rows = sum(len(times) for times in segments.values())
    print("| phase | s | own, MiB | resident, MiB | |\n|---|---|---|---|---|", flush=True)
    with Phase("generate .csd") as phase:
        expected = generate(raw, segments, rng)
    print(
        phase.row(f"{len(segments)} videos, {rows} segments, {expected} frames, {size(raw) / 1e9:.2f} GB"), flush=True
    )
    forget(raw)
    with Phase("prepare") as phase:
        spoken = mosei.utterances(raw)
        folds = mosei.folds(spoken)
        kinds, info = mosei.KINDS, {"target": mosei.TARGET, "ranges": mosei.RANGES}
        Corpus(folder, "mosei", raw, tuple(spoken), tuple(folds), kinds, mosei.CLASSES, info).save()
    print(phase.row(f"{len(spoken)} utterances"), flush=True)
    forget(raw)
    with Phase("build the store") as phase:
        head = Head("covarep", {}, RATE_HZ, 0.5 / RATE_HZ, DIM)
        with TrackWriter(folder / "tracks" / "covarep", head) as writer:
            for name, track in mosei.read_track(raw, spoken, "covarep"):
                writer.add(name, track.values)
    print(phase.row(f"{size(folder) / 1e9:.2f} GB, {expected / phase.seconds:,.0f} frames/s"), flush=True)
    forget(folder)
    store = TrackStore.open(folder / "tracks" / "covarep")
    plan = recipe.resolve("masked_timesteps", track="covarep")
    unit = Statistics(np.zeros(DIM, np.float32), np.ones(DIM, np.float32))
    with Phase("statistics") as phase:
        statistics = Steps([(store, spoken)], plan.frontend, unit).fit_statistics()
    print(phase.row(f"{expected / phase.seconds:,.0f} frames/s"), flush=True)
    steps = Steps([(store, spoken)], plan.frontend, statistics)
    wanted = int(np.minimum(steps.lengths, plan.training.crop_frames(steps.rate_hz)).sum())
    forget(folder)
    rate = 0.0
    for epoch, name in enumerate(("epoch, cold", "epoch, warm")):
        found = padded = count = 0
        with Phase(name) as phase:
            for batch in loaded(steps, plan, epoch):
                found, padded, count = found + int(batch.lengths.sum()), padded + batch.x[..., 0].numel(), count + 1
        within, rate = "within" if phase.resident < 2 << 30 else "ABOVE", found / phase.seconds
        note = f"{count} batches, {rate:,.0f} steps/s, padding {1 - found / padded:.1%}, {within} 2 GiB"
        print(phase.row(note), flush=True)
        if found != wanted:
            raise SystemExit(f"{name}: {found} steps of {wanted}")
    worst = worst_difference(steps, rng)
    if store.frames != expected or worst > 1e-4:
        raise SystemExit(f"{store.frames} frames of {expected}; largest difference from a plain loop {worst}")
    with Phase("model") as phase:
        consumed = model_rate(steps, plan, updates)
    print(phase.row(f"{consumed:,.0f} steps/s: the loader is {rate / consumed:.0f} times as fast"))
    print(f"\nfirst frame to last: {expected} frames; largest difference from a plain loop {worst:.1e}")


if __name__ == "__main__":
    main()
