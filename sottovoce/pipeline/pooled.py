"""Pooled states of a frozen backbone, computed once and kept with a corpus's tracks.

A linear probe needs one vector an utterance. With a frozen encoder it is the same in every fold, for every number of
labels and every seed, so a study, a cross-validation or a second run reads it from `CORPUS/tracks/pooled-DIGEST.
safetensors`: values (N, P) and, for each row, the utterance and the content it was made from.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce.data import own
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.modeling.checkpoint import read_tensors, save_tensors


class PooledCache:
    """`cache(steps, compute)` -> (N, P) of these utterances; only those that are missing are computed.

    Args:
        folder: where the file is, or None: nothing is kept.
        key: all that decides the values, except the recordings: weights, layers, pooling, front end.
    """

    def __init__(self, folder: Path | None, key: Any):
        self.path = folder / f"pooled-{files.digest(key)}.safetensors" if folder else None
        self.rows: dict[str, np.ndarray] = {}
        if self.path and self.path.exists():
            self.rows = _read(self.path)

    def __call__(self, steps: Steps, compute: Callable[[Steps], np.ndarray]) -> np.ndarray:
        names = [_name(steps, i) for i in range(len(steps))]
        missing = [i for i, name in enumerate(names) if name not in self.rows]
        if missing:
            for i, row in zip(missing, compute(steps.subset(missing)), strict=True):
                self.rows[names[i]] = row
            if self.path:
                self._write(self.path)
        return np.stack([self.rows[name] for name in names])

    def _write(self, path: Path) -> None:
        if path.exists():  # another process may have been here meanwhile
            self.rows = _read(path) | self.rows
        names = sorted(self.rows)
        values = torch.from_numpy(np.stack([self.rows[name] for name in names]))
        save_tensors(path, {"values": values}, {"rows": json.dumps(names)})


def _name(steps: Steps, i: int) -> str:
    """Utterance and content, so that a changed recording is pooled again."""
    source = steps.stores[i].source(steps.utterances[i].id)
    return f"{steps.utterances[i].id} {source.key if source else ''}"


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors, metadata = read_tensors(path)
        names = own.parse(metadata.get("rows", ""), list[str], path)
        return dict(zip(names, tensors["values"].numpy(), strict=True))
    except (InputError, KeyError, ValueError):  # it can be computed again
        return {}
