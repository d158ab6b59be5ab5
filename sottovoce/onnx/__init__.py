"""Exported models: what `sottovoce export` wrote, run by onnxruntime. NumPy, onnxruntime and soundfile are enough.

    import sottovoce.onnx
    result = sottovoce.onnx.load("model.onnx")("talk.wav")

B recordings, N samples, S states, M what is pooled of them side by side and how much they count, P pooled, K answers.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.data.task import Task
from sottovoce.data.track import Track
from sottovoce.errors import InputError, needs
from sottovoce.inference.hearing import Hearing
from sottovoce.inference.listening import STRANGE
from sottovoce.metrics.temperature import Calibration

FORMAT = "sottovoce-onnx/1"
RATE_HZ = 16_000
NEEDED = {"kind", "names", "ranges", "longest_s", "frame_hz", "state_hz", "state_offset_s", "pooling", "layers"}


def load(model: Path | str, labels: Sequence[str] = (), vad: str = "auto") -> "Recogniser":
    """A file that `sottovoce export` has written, ready to listen. Raises InputError as `Graph`."""
    return Recogniser(Graph(model), labels, vad)


def _threads(told: str) -> int:
    """Of OMP_NUM_THREADS, which may be a list, one a level of nesting: "2,1" is 2; else 0, as many as there are."""
    first = told.split(",")[0].strip()
    return int(first) if first.isdecimal() else 0


class Graph:
    """An exported model as it is: samples in, arrays out.

    Args:
        threads: 0 = what OMP_NUM_THREADS says, or as many as there are cores.

    Raises:
        InputError: no onnxruntime, or a file that `sottovoce export` has not written, or has written otherwise.
    """

    def __init__(self, path: Path | str, threads: int = 0):
        with needs("onnx: needs onnxruntime. Found none. Install it: pip install onnxruntime."):
            import onnxruntime
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file. Name one that `sottovoce export` has written.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _threads(os.environ.get("OMP_NUM_THREADS", ""))
        options.log_severity_level = 4  # errors come as exceptions
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no class in common
            raise InputError(f"{path}: not an ONNX model. {str(error)[:200]}. Export it again.") from None
        self.about = self._read(path)
        self.names: tuple[str, ...] = tuple(self.about["names"])

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            about = json.loads(self.session.get_modelmeta().custom_metadata_map["sottovoce"])
            missing = NEEDED - about.keys()
        except (KeyError, ValueError, AttributeError):
            about, missing = {}, NEEDED
        if about.get("format") != FORMAT or missing:
            raise InputError(
                f"{path}: not written by `sottovoce export`. Found format {about.get('format')!r}, not {FORMAT!r}. "
                "Export the model again."
            )
        answers = {found.name: found.shape for found in self.session.get_outputs()}.get("answer", [None])[-1]
        if answers != len(about["names"]):
            raise InputError(
                f"{path}: {len(about['names'])} labels for {answers} answers: the label map does not fit the model. "
                "Export it again."
            )
        return about

    def run(self, waves: Sequence[np.ndarray], outputs: Sequence[str], *, trim: bool = True) -> list[np.ndarray]:
        """Recordings (N,) of up to `longest_s`, together -> answer (B, K), states (B, S, M), counts (B,), begins (B,),
        whichever are asked for. Padding and neighbours change nothing: where the encoder is in 8 bits, whose scale is
        one for all that is multiplied together, each recording goes through it alone.

        Raises InputError for recordings that are none.
        """
        if not len(waves) or any(np.ndim(wave) != 1 or not len(wave) or not np.isfinite(wave).all() for wave in waves):
            found = ", ".join(str(np.shape(wave)) for wave in waves[:3]) or "none"
            raise InputError(f"samples: recordings (N,) of numbers, one or more. Found {found}.")
        if self.about.get("numbers") == "int8" and len(waves) > 1:
            alone = [self.run([wave], outputs, trim=trim) for wave in waves]
            return [_together([found[k] for found in alone]) for k in range(len(outputs))]
        lengths = np.array([len(wave) for wave in waves], np.int64)
        samples = np.zeros((len(waves), int(lengths.max())), np.float32)
        for row, wave in zip(samples, waves, strict=True):
            row[: len(wave)] = wave
        given: dict[str, Any] = {"samples": samples, "lengths": lengths}
        if not trim:
            given["trim_db"] = np.zeros(1, np.float32)
        return self.session.run(list(outputs), given)

    def answers(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """(B, K) probabilities, calibrated, or numbers."""
        return self.run(waves, ["answer"])[0]

    def judge(self, pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M, P) pooled states -> (M, K) answers, and (M,) how unlike training they are, 1 on average there."""
        shortest = {"samples": np.zeros((1, 1), np.float32), "lengths": np.ones(1, np.int64)}
        found = self.session.run(["judged", "unlike"], shortest | {"pooled": pooled.astype(np.float32, copy=False)})
        return found[0], found[1]


class Voter:
    """An exported model as a voter, see `inference/voter.py`: its frames are the samples themselves."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.calibration = Calibration(graph.about.get("temperature", 1.0), graph.about.get("calibrated_on", 0))
        self.outputs = len(graph.about["names"]) + bool(graph.about.get("intensity"))

    def states(self, frames: Track, *, trim: bool, speaker: None = None) -> Track:
        """(N,) samples, encoded alone and at their own length -> (S, M), at the times of the states."""
        about = self.graph.about
        states, counts, begins = self.graph.run([frames.values], ["states", "counts", "begins"], trim=trim)
        offset_s = frames.offset_s + float(begins[0]) / about["frame_hz"] + about["state_offset_s"]
        return Track(states[0, : int(counts[0])], about["state_hz"], offset_s)

    def pooled(self, states: np.ndarray, first: np.ndarray, last: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """(B, P) of the states first..last (B,) of a recording (S, M) that are valid (S,)."""
        layers, counts = np.split(states[:, :-1], self.graph.about["layers"], axis=1), states[:, -1] * valid
        pooling = self.graph.about["pooling"]
        return np.concatenate([pool(layer, counts, first, last, pooling) for layer in layers], axis=1)

    def judge(self, pooled: np.ndarray, speaker: None = None) -> np.ndarray:
        """(B, P) -> (B, K)."""
        return self.graph.judge(pooled)[0]

    def strange(self, pooled: np.ndarray) -> bool:
        """Whether a recording's pooled features (1, P) lie far outside those of the training part."""
        return bool(self.graph.about.get("standardised")) and float(self.graph.judge(pooled)[1][0]) > STRANGE


class Recogniser(Hearing):
    """`load("model.onnx")("talk.wav")`: results are those of the model that was exported."""

    def __init__(self, graph: Graph, labels: Sequence[str] = (), vad: str = "auto"):
        about = graph.about
        names = () if about["kind"] == "number" else graph.names
        target = graph.names if about["kind"] == "number" else ("emotion",)
        task = Task(about["kind"], target, names, tuple((low, high) for low, high in about["ranges"]))
        super().__init__([Voter(graph)], task, labels, vad)
        self.graph = graph

    def frames(self, wave: Track) -> Track:
        return wave  # the graph makes them

    def about(self) -> dict[str, Any]:
        told = {key: self.graph.about.get(key, "") for key in ("name", "identity", "track", "numbers", "licence")}
        return told | {"labels": list(self.names), "voters": 1}


def _together(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (1, ...) of several lengths as one array, padded with 0."""
    if rows[0].ndim < 2:
        return np.concatenate(rows)
    longest, rest = max(row.shape[1] for row in rows), [(0, 0)] * (rows[0].ndim - 2)
    return np.concatenate([np.pad(row, [(0, 0), (0, longest - row.shape[1]), *rest]) for row in rows])


def pool(x: np.ndarray, counts: np.ndarray, first: np.ndarray, last: np.ndarray, pooling: str) -> np.ndarray:
    """Mean, and as `pooling` says deviation and deviation of change, of the states first..last (B,) of (S, H), each of
    which counts so much (S,): (B, P). Spans overlap: sums from edge to edge are made once. As `modeling/heads.py`."""

    edges = np.unique(np.concatenate([first, np.maximum(last, first), np.maximum(last - 1, first)]))

    def between(values: np.ndarray, end: np.ndarray) -> np.ndarray:  # (S, ...) -> (B, ...)
        inside = edges[edges < len(values)]
        sums = np.add.reduceat(values, inside, axis=0, dtype=np.float64) if len(inside) else values[:0]
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(sums, axis=0)])  # up to every edge
        at = [np.minimum(np.searchsorted(edges, k), len(inside)) for k in (np.maximum(end, first), first)]
        return sums[at[0]] - sums[at[1]]

    counts = counts[:, None].astype(x.dtype)
    total = np.maximum(between(counts, last), 1e-3)
    mean = between(x * counts, last) / total
    parts = [mean]
    if pooling != "mean":
        variance = between(np.square(x) * counts, last) / total - np.square(mean)
        parts.append(np.sqrt(np.maximum(variance, 0) + 1e-5))
    if pooling == "dynamics":
        both = counts[1:] * counts[:-1]
        speed = between(np.square(np.diff(x, axis=0)) * both, last - 1) / np.maximum(between(both, last - 1), 1)
        parts.append(np.sqrt(speed + 1e-5))
    return np.concatenate(parts, axis=1).astype(np.float32)
