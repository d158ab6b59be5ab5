"""Whisper encoders on disk: the public ones in the layout of `transformers`, and the default one of this package.

    config.json, model.safetensors (or its parts)       any size, any half or single precision, with or without decoder
    weights/default_encoder.json, .safetensors          8-bit numbers with a scale an output channel, a digest

Only the blocks that are asked for are read, and nothing is unpickled.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sottovoce import files
from sottovoce.backbones import whisper
from sottovoce.errors import InputError
from sottovoce.modeling import public_files

DEFAULT = "default"  # the name of the encoder that comes with the package
HOME = Path(__file__).parent.parent / "weights"
PREFIXES = ("model.encoder.", "encoder.", "")  # of a whole model, of one without the head, of the encoder alone
KEYS = {  # in the library's words
    "width": "d_model",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "feedforward": "encoder_ffn_dim",
    "bins": "num_mel_bins",
    "positions": "max_source_positions",
}
OURS = {"width": "width", "layers": "blocks", "heads": "heads", "feedforward": "feedforward", "bins": "bands"}
NAMES = (
    ("conv1.", "front.conv1."),
    ("conv2.", "front.conv2."),
    ("layers.", "blocks."),
    ("layer_norm.", "norm."),
    ("speech.",) * 2,
)
PRECISIONS = ("F16", "BF16", "F32", "F64")


def public_config(init: str, found: dict[str, Any]) -> whisper.Config:
    """The shape that a config.json tells. Raises InputError when something is missing or not known here."""
    values = _whole_numbers(f"{init}: config.json", found, KEYS)
    for key, known in (("activation_function", "gelu"), ("scale_embedding", False)):
        if found.get(key, known) != known:
            raise InputError(f"{init}: config.json: {key} of another kind. Found {found[key]!r}. Known is {known!r}.")
    try:
        return whisper.Config(**values, complete=True)
    except InputError as error:
        raise InputError(f"{init}: config.json: {str(error).replace('backbone.', '')}") from None


def public_version(init: str) -> list[str]:
    """What tells one set of weights from another."""
    if Path(init).is_dir():
        return [_digest(p, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(Path(init).glob("*.safetensors"))]
    found = public_files.find(init, "config.json")
    return [found.parent.name if found else ""]  # the commit, under which the hub's cache has it


def public_tensors(init: str, config: whisper.Config, upto: int) -> dict[str, Tensor]:
    """What `Backbone` needs of the first blocks, in its words.

    Raises InputError: no weights, a decoder alone, 8-bit weights, such as do not fit config.json, damaged ones.
    """
    index = public_files.find(init, "model.safetensors.index.json")
    one = None if index else public_files.find(init, "model.safetensors")
    if index:
        parts = files.read_json(index).get("weight_map", {}).values()
        paths = [public_files.find(init, name) for name in sorted({Path(str(part)).name for part in parts})]
    else:
        paths = [one]
    if not paths or None in paths:
        raise InputError(
            f"{init}: neither run nor encoder. It needs a good config.json and safetensors; pickled weights (.bin) are "
            "never loaded. Found no model.safetensors, or not all of its parts."
        )
    with ExitStack() as stack:
        return _tensors(init, _opened([p for p in paths if p], stack), config, upto)


def _opened(paths: list[Path], stack: ExitStack) -> dict[str, Any]:
    """Tensor name -> the open file that holds it."""
    found: dict[str, Any] = {}
    for path in paths:
        try:
            data = stack.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path}: corrupt weights. Found: {public_files.one_line(error)}. Get the file again."
            ) from None
        found |= dict.fromkeys(data.keys(), data)
    return found


def _tensors(where: str, found: dict[str, Any], config: whisper.Config, upto: int) -> dict[str, Tensor]:
    prefix = next((p for p in PREFIXES if f"{p}conv1.weight" in found), None)
    if prefix is None:
        decoder = any(".decoder." in f".{name}" for name in found)
        raise InputError(
            f"{where}: no Whisper encoder in it. Found {'a decoder alone' if decoder else 'other weights'}. "
            "Get a model with its encoder."
        )
    out: dict[str, Tensor] = {}
    missing = []
    for ours, shape in _wanted(config, upto).items():
        name = prefix + ours
        if name not in found:
            missing.append(ours)
            continue
        out[ours] = _tensor(where, found, name, shape)
    missing = [name for name in missing if name != "embed_positions.weight"]  # sinusoids
    if missing:
        raise InputError(
            f"{where}: weights are missing. Found no {missing[0]} and {len(missing) - 1} others. Get it again, or use "
            "its own config.json."
        )
    positions = out.pop("embed_positions.weight", None)
    out = {_ours(name): value for name, value in out.items()}
    out["positions"] = whisper.sinusoids(config.positions, config.width) if positions is None else positions
    return out | {"mask_vector": torch.zeros(config.width)}


def _tensor(where: str, found: dict[str, Any], name: str, shape: tuple[int, ...]) -> Tensor:
    """In single precision. Raises InputError when it is another shape, another kind of number, or not finite."""
    part = found[name].get_slice(name)
    kind, scaled = part.get_dtype(), f"{name}.scale" in found
    if tuple(part.get_shape()) != shape:
        raise InputError(
            f"{where}: weights that do not fit config.json. Found {name} of {list(part.get_shape())}, not "
            f"{list(shape)}. Use the config.json that came with them."
        )
    if kind not in PRECISIONS and not (kind == "I8" and scaled):
        raise InputError(
            f"{where}: quantised weights. Found {name} as {kind}. Get the model in half or single precision."
        )
    value = found[name].get_tensor(name).float()
    if scaled:
        scale = found[name].get_tensor(f"{name}.scale").float()
        value = value * scale.reshape(-1, *[1] * (value.ndim - 1))
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{where}: corrupt weights. Found {name} with NaN or infinite values. Get the file again.")
    return value


def _wanted(config: whisper.Config, upto: int) -> dict[str, tuple[int, ...]]:
    """Name in the library's words -> shape of everything that the first blocks need."""
    with torch.device("meta"):
        shape = whisper.Backbone(replace(config, layers=max(upto, 1)), config.bins).state_dict()
    back = [(ours, theirs) for theirs, ours in NAMES]
    out = {}
    for name, value in shape.items():
        head = next(((a, b) for a, b in back if name.startswith(a)), None)
        if head and not (upto == 0 and name.startswith("blocks.")):
            out[head[1] + name.removeprefix(head[0])] = tuple(value.shape)
    return out | {"embed_positions.weight": (config.positions, config.width)}


def _ours(name: str) -> str:
    theirs, ours = next((a, b) for a, b in NAMES if name.startswith(a))
    return ours + name.removeprefix(theirs)


def _whole_numbers(where: str, found: dict[str, Any], keys: dict[str, str]) -> dict[str, int]:
    for key in keys.values():
        if type(found.get(key)) is not int:
            raise InputError(f"{where}: {key} is a whole number. Found {found.get(key)!r}. Restore the file.")
    return {ours: found[key] for ours, key in keys.items()}


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    return files.file_digest(path)


# -- the default encoder ---------------------------------------------------------------------------------------


def default_card() -> dict[str, Any]:
    """What default_encoder.json says. Raises InputError when it is not part of this installation, or damaged."""
    path = HOME / "default_encoder.json"
    if not path.is_file():
        raise InputError(
            "default encoder: not part of this installation. Found no weights/default_encoder.json. Install sottovoce "
            "again, or name another encoder, e.g. openai/whisper-base."
        )
    found = files.read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("sha256"), str) or not found.get("layers"):
        raise InputError(f"{path}: damaged. Found no sha256 or no layers. Install sottovoce again.")
    _whole_numbers(str(path), found, OURS)
    return found


def default_config(card: dict[str, Any]) -> whisper.Config:
    shape = _whole_numbers("default encoder", card, OURS)
    return whisper.Config(**shape, complete=bool(card.get("complete", False)), speech=card.get("speech_units", 0))


def default_tensors(card: dict[str, Any], config: whisper.Config, upto: int) -> dict[str, Tensor]:
    """As `public_tensors`. Raises InputError when the file is not the one that the card describes."""
    path = HOME / "default_encoder.safetensors"
    check_shipped(path, card["sha256"])
    with ExitStack() as stack:
        return _tensors("default encoder", _opened([path], stack), config, upto)


def check_shipped(path: Path, sha256: str) -> None:
    """Raises InputError when a weights file of the package is missing, or not the one that its card describes."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. It is part of the package. Install sottovoce again.")
    with open(path, "rb") as data:
        found = hashlib.file_digest(data, "sha256").hexdigest()
    if found != sha256:
        raise InputError(
            f"{path}: corrupt or changed weights. Found sha256 {found[:12]}, not {sha256[:12]}. "
            "Install sottovoce again."
        )
