"""`sottovoce export`: a recogniser as one ONNX file, from samples to the answer, that runs without PyTorch.

    samples (B, N), lengths (B,)  ->  answer (B, K)            what most want; the other inputs have defaults
                                  ->  states, counts, begins   for answers over time, see `onnx/__init__.py`
    pooled (M, P)                 ->  judged (M, K), unlike (M,)

Labels, calibration and what a runner has to know lie in the file's metadata under "sottovoce". A file is only there
when its answers were those of PyTorch.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce.backbones import transformer, whisper
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.inference.voter import steps_of
from sottovoce.modeling import network as models
from sottovoce.modeling.network import Recognised
from sottovoce.onnx import FORMAT, RATE_HZ, Graph
from sottovoce.onnx.graph import Exportable
from sottovoce.tracks import base as tracks

OPSET = 20  # the first with GELU as one operation
LONGEST_S = 30.0  # of a piece, for backbones without a bound of their own
WIDE = 256  # a matrix with a smaller side stays in float32: it costs nothing and decides much
TOLERANCE = {"float32": 1e-3, "int8": 0.1}  # largest difference of an answer
NOISE_S = (0.0001, 0.02, 0.3, 1.0, 2.7, 8.0)  # random inputs


@dataclass(frozen=True)
class Compared:
    """Answers of the file beside PyTorch's, for one kind of input."""

    name: str
    many: int
    difference: float  # largest
    agree: float  # share of recordings with the same label


def export(
    it: Recognised, path: Path, recordings: Sequence[np.ndarray] = (), *, int8: bool = False, tolerance: float = 0.0
) -> list[Compared]:
    """Write one recogniser to `path`, and compare.

    Args:
        recordings: (N,) float32 at 16 kHz, to be compared beside noise; of long ones the first 30 s.
        int8: the encoder's matrices as 8 bits, activations quantised as they come: a third of the size, twice as fast.
        tolerance: largest difference of an answer, 0 = that of `TOLERANCE`.

    Raises:
        InputError: a recogniser that cannot be exported, a package that is missing, answers too different.
    """
    check(it)
    onnx = _library("onnx")
    longest_s = _longest_s(it)
    with tempfile.TemporaryDirectory(prefix="sottovoce-") as folder, files.atomic(path) as temporary:
        made = Path(folder) / "model.onnx"
        _translate(Exportable(it).eval(), made)
        if int8:
            quantise(onnx, made)
        model = onnx.load(made)
        _defaults(onnx, model, it)
        kind = "int8" if int8 else "float32"
        about = metadata(it, longest_s) | {"numbers": kind}
        entry = model.metadata_props.add()
        entry.key, entry.value = "sottovoce", json.dumps(about)
        onnx.save(model, temporary)
        limit = tolerance or TOLERANCE[kind]
        found = compare(it, temporary, recordings, longest_s)
        worst = max(found, key=lambda c: c.difference if np.isfinite(c.difference) else np.inf)
        if not worst.difference <= limit:
            raise InputError(
                f"{path}: not written. Its answers differ from PyTorch's by up to {worst.difference:.2g} "
                f"({worst.name}), more than {limit:g}. Leave --int8 out, or allow more with --tolerance."
            )
    return found


def check(it: Recognised) -> None:
    """Raises InputError for a recogniser that cannot be one file."""
    plan, backbone = it.plan, it.network.backbone
    where = it.run.folder if it.run else "model"
    if plan.track != "logmel":
        raise InputError(
            f"{where}: reads the track {plan.track}. Only models that read logmel can be exported so far. Train one on "
            "the default encoder, or with --track logmel."
        )
    if plan.per_speaker:
        raise InputError(
            f"{where}: standardises per speaker, and a file hears one recording at a time. Train one without "
            "--speaker-norm."
        )
    if not isinstance(backbone, (whisper.Backbone, transformer.Backbone)) and len(backbone.blocks):
        raise InputError(
            f"{where}: backbone {plan.backbone} cannot be exported so far. There are whisper (the default encoder), "
            "transformer and plain."
        )
    if it.network.pooling.attend is not None:
        raise InputError(f"{where}: pools by attention, which a timeline cannot do outside the file. Use statistics.")


def metadata(it: Recognised, longest_s: float) -> dict[str, Any]:
    """What a runner has to know."""
    traits, config, front = it.network.backbone.traits, it.plan.track_config, it.plan.frontend
    rate_hz = config.rate_hz / front.subsampling
    pooling, run = it.network.pooling, it.run
    parts = len(pooling.only) if pooling.layer_aggregation == "concat" else 1
    return {
        "format": FORMAT,
        "kind": it.task.kind,
        "names": list(it.task.classes or it.task.target),
        "ranges": [list(pair) for pair in it.task.ranges],
        "temperature": it.calibration.temperature,
        "calibrated_on": it.calibration.rows,
        "rate_hz": RATE_HZ,
        "longest_s": longest_s,
        "frame_hz": config.rate_hz,
        "state_hz": rate_hz / traits.hop,
        "state_offset_s": (traits.receptive_field / rate_hz - 1 / config.rate_hz) / 2,  # of the first state's centre
        "pooling": pooling.temporal_pooling,
        "layers": parts,
        "standardised": bool((it.network.standardise.std != 1).any()),
        "intensity": it.intensity is not None,
        "name": run.folder.name if run else "",
        "identity": run.config.get("identity", "") if run else "",
        "licence": run.config.get("licence", "") if run else "",
        "track": it.plan.track,
    }


def compare(it: Recognised, path: Path, recordings: Sequence[np.ndarray], longest_s: float) -> list[Compared]:
    """Noise of every length and the recordings, alone and in one batch, in the file and in PyTorch."""
    rng, graph = np.random.default_rng(0), Graph(path)
    noise = [0.1 * rng.standard_normal(max(round(s * RATE_HZ), 1)).astype(np.float32) for s in NOISE_S]
    real = [np.asarray(r[: round(longest_s * RATE_HZ)], dtype=np.float32) for r in recordings]
    found = []
    for name, waves in [("noise", noise), ("recordings", real)]:
        if not waves:
            continue
        wanted = np.concatenate([in_torch(it, wave) for wave in waves])
        alone = np.concatenate([graph.answers([wave]) for wave in waves])
        together = graph.answers(waves)
        differs = max(float(np.abs(rows - wanted).max()) for rows in (alone, together))
        agree = float((alone.argmax(1) == wanted.argmax(1)).mean()) if it.task.kind == "class" else 1.0
        found.append(Compared(name, len(waves), differs, agree))
    return found


def in_torch(it: Recognised, wave: np.ndarray) -> np.ndarray:
    make = tracks.maker(it.plan.track).make
    assert make is not None
    frames = make(Track(wave, RATE_HZ), it.plan.track_config).values
    found = models.predict(it, steps_of(it, [frames]))
    return it.calibration.apply(found) if it.task.kind == "class" else found


def _longest_s(it: Recognised) -> float:
    config = it.plan.backbone_config
    if not isinstance(config, whisper.Config):
        return LONGEST_S
    return config.positions * whisper.Backbone.traits.hop / it.plan.track_config.rate_hz


def _library(name: str) -> Any:
    """Raises InputError when it is missing."""
    try:
        return __import__(name)
    except ImportError:
        raise InputError(f"export: needs {name}. Found none. Install it: pip install 'sottovoce[onnx]'.") from None


def _translate(module: Exportable, path: Path) -> None:
    """By torch's exporter, its chatter as silence."""
    _library("onnxscript")
    rows = torch.zeros(2, module.pooling.dim)
    example = (torch.zeros(2, RATE_HZ), torch.tensor([RATE_HZ, RATE_HZ // 2]), torch.tensor([35.0]), rows)
    shapes: Any = ({0: "batch", 1: "samples"}, {0: "batch"}, {}, {0: "rows"})
    quietly = logging.getLogger("torch.onnx")
    level = quietly.level
    quietly.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, example, dynamo=True, verbose=False, opset_version=OPSET, dynamic_shapes=shapes,
                input_names=list(module.INPUTS), output_names=list(module.OUTPUTS),
            )  # fmt: skip
    finally:
        quietly.setLevel(level)
    assert program is not None
    program.save(path)


def quantise(onnx: Any, path: Path) -> None:
    """Matrices of the encoder as int8, one scale a column; what they are multiplied with as uint8, a scale a matrix.

    Of the int8 seven bits are used: processors without VNNI add two products in 16 bits, which eight would overflow.
    """
    from onnxruntime import quantization

    graph = onnx.load(path).graph
    sizes = {i.name: min(i.dims, default=0) for i in graph.initializer}
    wide = [n.name for n in graph.node if n.op_type == "MatMul" and any(sizes.get(k, 0) >= WIDE for k in n.input)]
    quiet: Callable[..., None] = logging.getLogger().setLevel
    level = logging.getLogger().level
    quiet(logging.ERROR)  # it would like the file prepared by itself
    try:
        quantization.quantize_dynamic(
            path, path, per_channel=True, weight_type=quantization.QuantType.QInt8, reduce_range=True,
            op_types_to_quantize=["MatMul"], nodes_to_quantize=wide, extra_options={"DefaultTensorType": 1},
        )  # fmt: skip
    finally:
        quiet(level)


def _defaults(onnx: Any, model: Any, it: Recognised) -> None:
    """An input with an initialiser of its name may be left out."""
    trim, rows = np.array([it.plan.frontend.trim_db], np.float32), np.zeros((1, it.network.pooling.dim), np.float32)
    for name, value in (("trim_db", trim), ("pooled", rows)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
