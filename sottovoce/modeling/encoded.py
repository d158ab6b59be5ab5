"""Encoded features: the hidden states of a public encoder as a track, see `tracks/encoder.py` for its settings.

    recording -> what the encoder reads (log-mel bands, samples) -> silent ends off -> blocks up to the layer -> (T, H)

Recordings are encoded alone and at their own length, so that a row depends on nothing else; long ones in pieces.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files, plugins
from sottovoce.backbones import whisper
from sottovoce.config import recipe
from sottovoce.config.recipe import Recipe
from sottovoce.data.frames import loud_part
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.modeling import hub


def settle(config: Any, *, again: bool = False) -> Any:
    """The settings with what the encoder decides filled in; those of a track or run that is there stay as they are,
    unless they have been changed (`again`).

    Raises InputError: no such encoder or layer, or a rate that is no whole part of its own.
    """
    if config.digest and not again:
        return config
    run, plan = _encoder(config.encoder)
    layers = run.config["layers"]
    layer = config.layer or layers[len(layers) // 2]
    width, blocks = _shape(plan)
    if layer > blocks:
        raise InputError(f"{config.encoder}: no layer {layer}. Found {blocks} blocks. Name one of 1 to {blocks}.")
    rate_hz = plan.track_config.rate_hz / _hop_and_field(plan)[0]
    together = round(rate_hz / config.rate_hz) if config.rate_hz else 1
    if config.rate_hz and (together < 1 or abs(rate_hz / together - config.rate_hz) > 1e-6):
        raise InputError(
            f"encoder settings: rate_hz is the encoder's or a whole part of it: {rate_hz:g}, {rate_hz / 2:g}, "
            f"{rate_hz / 3:g}, ... Found {config.rate_hz:g}."
        )
    name = str(Path(config.encoder).resolve()) if Path(config.encoder).is_dir() else config.encoder
    return replace(
        config, encoder=name, layer=layer, rate_hz=rate_hz / together, dim=width, digest=run.config["identity"]
    )


def make(wave: Track, config: Any) -> Track:
    """Waveform (N,) at 16 kHz -> values (T, H) float32; rows of zeros where the ends are silent.

    Raises InputError: the encoder is not there, is another one than made the settings, or is damaged.
    """
    config = settle(config)
    it = loaded(config)
    files.let_go(wave.values)  # of hours, no more is in memory than is worked on
    source = plugins.load("tracks", it.plan.track).make(wave, it.plan.track_config)
    hop, field = _hop_and_field(it.plan)
    x = source.values.reshape(len(source), -1)  # (T of the input, D)
    first, last = loud_part(x, source.rate_hz, config.trim_db, it.plan.track) if config.trim_db else (0, len(x))
    first -= first % hop
    count, together = max((len(x) - field) // hop + 1, 1), round(source.rate_hz / hop / config.rate_hz)
    out = files.scratch(count * config.dim, "float32").reshape(count, config.dim)
    at = first // hop
    for piece in _states(it.backbone, torch.from_numpy(x[first:last]), config.layer):
        out[at : at + len(piece)] = piece
        at += len(piece)
        files.let_go(x)
        files.let_go(out)
    state_hz = source.rate_hz / hop
    offset_s = source.offset_s + (field - 1) / 2 / source.rate_hz + (together - 1) / 2 / state_hz
    return Track(average(out, together) if together > 1 else out, config.rate_hz, offset_s)


def average(values: np.ndarray, together: int, rows: int = 4096) -> np.ndarray:
    """Means of so many rows that follow each other, (T, H) -> (T / together, H); what is missing (zero) does not count.

    >>> average(np.array([[0.0], [4.0], [2.0], [4.0], [5.0]]), 2).ravel().tolist()
    [4.0, 3.0, 5.0]
    """
    count = -(-len(values) // together)
    out = files.scratch(count * values.shape[1], values.dtype.name).reshape(count, -1)
    for k in range(0, count, rows):
        part = values[k * together : (k + rows) * together]
        part = np.concatenate([part, np.zeros((-len(part) % together, part.shape[1]), part.dtype)])
        groups = part.reshape(-1, together, part.shape[1])
        there = groups.any(axis=2).sum(1, keepdims=True)
        out[k : k + len(groups)] = groups.sum(1) / np.maximum(there, 1)
    return out


def _states(backbone: Any, x: torch.Tensor, layer: int) -> Iterator[np.ndarray]:
    """States (S, H) of a layer for one recording (T, D), as they come."""
    with torch.inference_mode():
        if isinstance(backbone, whisper.Backbone):
            for piece in backbone.stream(x, layer):
                yield piece.numpy()
        else:
            yield backbone(x[None], torch.tensor([len(x)]), upto=layer).layers[layer][0].numpy()


@dataclass(frozen=True)
class _Loaded:
    plan: Recipe
    backbone: Any


@lru_cache(maxsize=1)
def loaded(config: Any) -> _Loaded:
    run, plan = _encoder(config.encoder)
    if run.config["identity"] != config.digest:
        raise InputError(
            f"{config.encoder}: another encoder than the one that made these features. Found {run.config['identity']}, "
            f"not {config.digest}. Put the other one back, or extract and train again with this one."
        )
    return _Loaded(plan, hub.backbone(run, config.layer).eval())


def _encoder(name: str) -> tuple[Any, Recipe]:
    """A public encoder as a run, and its settings. Raises InputError for anything else."""
    if not hub.is_public(name):
        raise InputError(
            f"encoder {name}: not an encoder. Found no such folder in transformers' layout and no id of the hub. "
            f"Use {hub.DEFAULT}, a folder with config.json and model.safetensors, or e.g. openai/whisper-base."
        )
    run = hub.load(name)
    return run, recipe.from_dict(run.config["settings"], name)


def _hop_and_field(plan: Recipe) -> tuple[int, int]:
    """Hop and receptive field of the states in frames of what the encoder reads."""
    if isinstance(plan.backbone_config, whisper.Config):
        return whisper.Backbone.traits.hop, whisper.Backbone.traits.receptive_field
    c = plan.backbone_config.resolved()
    strides = np.cumprod([1, *c.conv_stride])
    return int(strides[-1]), 1 + sum(int((k - 1) * s) for k, s in zip(c.conv_kernel, strides, strict=False))


def _shape(plan: Recipe) -> tuple[int, int]:
    """Width and blocks."""
    config = plan.backbone_config
    if isinstance(config, whisper.Config):
        return config.width, config.layers
    return config.resolved().hidden_size, config.resolved().num_hidden_layers
