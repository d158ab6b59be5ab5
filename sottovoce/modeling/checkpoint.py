"""Tensors on the disk: weights of a finished run, and where an unfinished one stands; no pickle, all safetensors.

Every file carries a checksum of its tensors and of what is said about them, and is compared with it when read: a bit
that flipped on a disk is no other model. Files of earlier versions have none; of them only NaN is noticed.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sottovoce import files
from sottovoce.errors import InputError


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Raises InputError when the disk is full or the folder cannot be written; the earlier file is then kept."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with files.atomic(path) as temporary:
        try:
            kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
            save_file(kept, temporary, (metadata or {}) | {SUM: _checksum(kept, metadata or {})})
            temporary.chmod(0o644)  # safetensors keeps them to their owner
        except SafetensorError as error:  # what it makes of every error of the system
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Raises InputError when the file is missing, truncated, no safetensors, or not as it was saved."""
    return read_tensors(path)[0]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as data:
            tensors, metadata = {k: data.get_tensor(k) for k in data.keys()}, data.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Is this the folder of a finished run?") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: corrupt checkpoint. {error}. Delete it to start this part again.") from None
    known = metadata.pop(SUM, None)
    if known is not None and known != _checksum(tensors, metadata):
        raise InputError(
            f"{path}: corrupt checkpoint. Found other numbers in it than were saved. Restore it, or delete it to start "
            "this part again."
        )
    if lost := [k for k, v in tensors.items() if v.is_floating_point() and not bool(v.sum().isfinite())]:
        raise InputError(f"{path}: corrupt checkpoint. Found {lost[0]} with NaN or infinite values. Make it again.")
    return tensors, metadata


SUM = "checksum"  # in the metadata


def _checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Of names, types, shapes and bytes of all tensors, and of the rest of the metadata."""
    found = zlib.crc32(json.dumps(sorted(metadata.items())).encode())
    for name, value in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), found)
        flat = value.reshape(-1)
        found = zlib.crc32(memoryview(flat.view(torch.uint8).numpy()) if len(flat) else b"", found)
    return f"{found:08x}"


def save(path: Path, model: nn.Module, optimiser: Any, averaged: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Weights, averaged weights and AdamW's moments, each under the name of its parameter."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in averaged.items()}
    moments = optimiser.state_dict()["state"]
    for index, name in enumerate(_trained(model, optimiser)):
        tensors |= {f"adam.{key}.{name}": torch.as_tensor(v) for key, v in moments.get(index, {}).items()}
    save_tensors(path, tensors, metadata)


def fill(tensors: dict[str, Tensor], model: nn.Module, optimiser: Any, averaged: dict[str, Tensor]) -> None:
    """What `save` kept, back in its places. Raises KeyError or RuntimeError when it does not fit."""
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    for name in averaged:
        averaged[name].copy_(tensors[f"average.{name}"])
    moments = {
        index: {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        for index, name in enumerate(_trained(model, optimiser))
        if f"adam.step.{name}" in tensors
    }
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})


def _trained(model: nn.Module, optimiser: Any) -> list[str]:
    """Names of the parameters in the order in which the optimiser counts them."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for group in optimiser.param_groups for p in group["params"]]
