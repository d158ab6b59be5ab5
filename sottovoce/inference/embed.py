"""`sottovoce embed`: recordings as vectors, the hidden states of one layer of a model, by frame or by recording.

    run of pretrain or finetune      recording -> its track -> its front end and statistics -> backbone -> layer (S, H)
    folder, hub id or "default"      recording -> public encoder -> layer (S, H), see `modeling/encoded.py`

The vector of a recording is the mean over its frames, loud or not; silent ends that a model cuts off are no frames. A
recording longer than `LONGEST_S` has its features and its ends as a whole; the backbone of a run hears it in pieces of
that length.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sottovoce import files
from sottovoce.config.finetuning import Probe
from sottovoce.data import audio, runs
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.memory import Memory
from sottovoce.data.track import Track
from sottovoce.errors import InputError, needs
from sottovoce.inference.hearing import LONGEST_S
from sottovoce.modeling import encoded, hub
from sottovoce.modeling import network as models
from sottovoce.tracks import base as tracks
from sottovoce.tracks import encoder

KINDS = (".csv", ".npz", ".parquet")
Level = Literal["utterance", "frame"]


@dataclass(frozen=True)
class Embedder:
    """`embedder(path)` -> Track of the states (S, H) of a layer; `embedder.mean(path)` -> (H,)."""

    model: str
    layer: int
    frames: Callable[[Path], Track]

    def __call__(self, recording: Path | str) -> Track:
        """Raises InputError: a recording that cannot be read, or states that are not finite."""
        found = self.frames(Path(recording))
        if not np.isfinite(found.values).all():
            raise InputError(f"{recording}: layer {self.layer} of {self.model} is not finite. The weights are damaged.")
        return found

    def mean(self, recording: Path | str) -> np.ndarray:
        return self(recording).values.mean(0, dtype=np.float64).astype(np.float32)


def load(model: Path | str, layer: int | None = None) -> Embedder:
    """The embedder of a run folder, a folder in transformers' layout, a hub id or "default".

    Args:
        layer: 1 = first block; 0 = what goes into it, of a run. None: of a public encoder the recommended one; of a
            fine-tuned run the middle one of those it pools; else the last.

    Raises:
        InputError: no such model or layer, or a model of features that no recording can be turned into.
    """
    name = str(model)
    if hub.is_public(name):
        if layer is not None and layer < 1:
            raise InputError(f"--layer {layer}: layers of an encoder count from 1 = the first block. Name one of them.")
        config = encoded.settle(encoder.Config(encoder=name, layer=layer or 0))

        def states(recording: Path) -> Track:
            made = encoded.make(audio.read(recording), config)
            first, last = encoder.bounds(made.values)
            return replace(made, values=made.values[first:last], offset_s=float(made.times[first]))

        return Embedder(name, config.layer, states)
    run = runs.parts(name)[0]  # folds are neighbours, not one model: the first
    backbone, it = models.load_backbone(run)
    settings = it.plan.finetune
    pooled = () if run.config["kind"] != "finetune" or isinstance(settings, Probe) else sorted(settings.layers)
    chosen = layer if layer is not None else pooled[len(pooled) // 2] if pooled else len(backbone.blocks)
    models.check_layer(backbone, chosen, "--layer", run.folder)
    maker = tracks.maker(it.plan.track)
    make = maker.make
    if make is None or (it.plan.track == "covarep" and it.plan.frontend.subsampling == 1):
        raise InputError(f"{run.folder}: a model of track {it.plan.track}, which is not made of one recording alone.")
    front = it.plan.frontend
    front = replace(front, normalise="corpus") if front.normalise == "speaker" else front
    # Pieces of a recording are of one voice: one mean and deviation for all of them.
    front = replace(front, normalise="speaker") if front.normalise == "utterance" else front

    def of_run(recording: Path) -> Track:
        frames = make(audio.read(recording), it.plan.track_config)
        store = Memory.of({"": frames.values}, frames.rate_hz, it.plan.track)
        whole = Steps([(store, [Utterance("", "recording", "")])], front, it.statistics)
        pieces = _pieces(whole, (backbone.traits.hop, backbone.traits.receptive_field))
        found = [track for piece in pieces for _, track in models.states(backbone, piece, chosen)]
        first = found[0]
        values = np.concatenate([track.values for track in found])
        return replace(first, values=values, offset_s=first.offset_s + frames.offset_s)

    return Embedder(str(run.folder), chosen, of_run)


def _pieces(whole: Steps, hop_field: tuple[int, int]) -> Iterator[Steps]:
    """A recording without its silent ends, `LONGEST_S` at a time; less than a second is no piece of its own.

    The states of a piece go on where those before it end: a field that lies across a border is in the next piece too.
    """
    (first, last), each = whole.bounds[0], whole.frontend.subsampling
    hop, field = hop_field
    grid = ((round(LONGEST_S * whole.rate_hz) - field) // hop + 1) * hop  # steps from one piece to the next
    end, second = whole.frontend.steps(last - first), round(whole.rate_hz)
    starts = range(0, max(end - second, 0) + 1, grid)
    for start, after in itertools.pairwise([*starts, end]):
        piece = whole.subset([0])
        stop = min(first + (after + max(field - hop, 0)) * each, last)
        piece.bounds = np.array([[first + start * each, stop]])
        yield piece


def embed(
    model: Path | str,
    recordings: Path | str | Sequence[Path | str],
    *,
    level: Level = "utterance",
    layer: int | None = None,
) -> Any:
    """Vectors of recordings: (N, H) float32, or with level "frame" a list of Tracks (S, H), one a recording.

    Arguments and errors as `load`; also raises InputError for a recording that cannot be read.
    """
    if level not in ("utterance", "frame"):
        raise InputError(f"level {level!r}: not a level. There are utterance and frame.")
    use = load(model, layer)
    paths = [recordings] if isinstance(recordings, str | Path) else list(recordings)
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise InputError(f"embed: paths of recordings. Found {paths[:1] or 'none'}. Name files.")
    if level == "frame":
        return [use(path) for path in paths]
    return np.stack([use.mean(path) for path in paths])


def table(use: Embedder, path: Path, level: Level) -> Track:
    """What is written of a recording: its frames, or one row, the mean of them, at its middle."""
    found = use(path)
    if level == "frame":
        return found
    mean = found.values.mean(0, dtype=np.float64, keepdims=True).astype(np.float32)
    return Track(mean, found.rate_hz, float(found.times.mean()))


def write(output: Path, rows: Iterable[tuple[Path, Track]], use: Embedder, level: Level) -> None:
    """Rows as the suffix says, whole or not at all, each recording as it comes.

    .csv       path, time_s (of frames), then e0, e1, ...
    .parquet   the same columns; model and layer in the metadata of the schema
    .npz       embeddings (rows, H), paths (N,), rows (N,) of each path, times_s (rows,), model, layer; no pickles

    Raises InputError: an unknown suffix, no pyarrow for Parquet, or a place that cannot be written.
    """
    files.check_kind(output, KINDS)
    kind, timed = output.suffix.lower(), level == "frame"
    with files.atomic(output) as temporary:
        if kind == ".csv":
            _write_csv(temporary, rows, timed)
            return
        if kind == ".parquet":
            _write_parquet(temporary, rows, timed, use)
            return
        found = list(rows)
        with open(temporary, "wb") as raw:
            np.savez_compressed(
                raw,
                allow_pickle=False,
                embeddings=np.concatenate([track.values for _, track in found]),
                paths=np.array([str(path) for path, _ in found]),
                rows=np.array([len(track) for _, track in found]),
                times_s=np.concatenate([track.times for _, track in found]),
                model=np.array(use.model),
                layer=np.array(use.layer),
            )


def _write_csv(path: Path, rows: Iterable[tuple[Path, Track]], timed: bool) -> None:
    with open(path, "w", newline="", encoding="utf-8") as out:
        lines = csv.writer(out, lineterminator="\n")
        for k, (recording, track) in enumerate(rows):
            if not k:
                names = [f"e{i}" for i in range(track.values.shape[1])]
                lines.writerow(["path", *["time_s"] * timed, *names])
            name = files.csv_cell(str(recording))
            for time_s, values in zip(track.times, track.values, strict=True):
                lines.writerow([name, *[f"{time_s:.4f}"] * timed, *(f"{v:.9g}" for v in values)])


def _write_parquet(path: Path, rows: Iterable[tuple[Path, Track]], timed: bool, use: Embedder) -> None:
    with needs("Parquet: needs pyarrow. Found none. pip install 'sottovoce[tables]', or name a .csv."):
        import pyarrow
        import pyarrow.parquet
    about = {"sottovoce": json.dumps({"model": use.model, "layer": use.layer})}
    writer: Any = None
    try:
        for recording, track in rows:
            columns: dict[str, Any] = {"path": [str(recording)] * len(track)}
            columns |= {"time_s": track.times} if timed else {}
            columns |= {f"e{k}": column for k, column in enumerate(track.values.T)}
            table = pyarrow.table(columns).replace_schema_metadata(about)
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
