"""Pooled states of a frozen backbone, computed once and kept with a corpus's tracks.

A linear layer needs one vector an utterance. With a frozen encoder it is the same in every fold, for every number of
labels and every seed, for training and for testing, so a study, a cross-validation, an evaluation or a second run reads
it from `CORPUS/tracks/pooled-DIGEST.safetensors`: values (N, P) and, for each row, the utterance and the content it was
made from. What a run that is interrupted has computed is kept; processes side by side take what the others have.
"""

import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce.config.recipe import Recipe
from sottovoce.data import own
from sottovoce.data.augmented import Augmented
from sottovoce.data.dataset import Steps
from sottovoce.data.progress import Bar
from sottovoce.data.store import TrackStore
from sottovoce.errors import InputError
from sottovoce.modeling import network as models
from sottovoce.modeling.checkpoint import read_tensors, save_tensors
from sottovoce.modeling.network import Network, Recognised

AT_ONCE = 32  # utterances between two looks at what other processes have computed
STATES = 2  # another number where the same weights would give other states than earlier versions gave
COMPUTE = 20  # times as long as the file takes to write, before it is written again


class PooledStates:
    """`pooled(steps)` -> (N, P) of the frozen backbone, each utterance computed once: kept with the corpus's tracks
    where nothing but its own recording decides its states, in memory elsewhere.

    Args:
        store: of the corpus's recordings as they are; copies of it have files of their own.
        label: before the progress bar.
    """

    def __init__(self, network: Network, plan: Recipe, store: Any, *, label: str = "encoding", quiet: bool = True):
        self.network, self.label, self.quiet, self.caches = network, label, quiet, {}  # type: ignore[var-annotated]
        alone = plan.frontend.normalise in ("none", "utterance") and plan.finetune.mode == "frozen"
        self.folder = store.folder.parent if alone and isinstance(store, TrackStore) else None
        self.key = [
            weights_digest(network.backbone), plan.backbone, plan.backbone_config, plan.frontend,
            network.pooling.only, network.pooling.temporal_pooling, store.folder.name, STATES,
        ] if self.folder else []  # fmt: skip

    def __call__(self, steps: Steps) -> np.ndarray:
        store = steps.stores[0]
        copy, label = (store.copy, store.way) if isinstance(store, Augmented) else (), self.label
        label += f", copy {copy[0] + 1}" if copy else ""
        if copy not in self.caches:
            self.caches[copy] = PooledCache(self.folder, [*self.key, *copy])
        cache, alone = self.caches[copy], self.folder is not None  # it must not matter who asks first, and with whom
        found: np.ndarray = cache(
            steps, lambda some: models.run_over(some, self.network.pooled, alone=alone), label=label, quiet=self.quiet
        )
        return found


def predict(it: Recognised, steps: Steps, *, label: str = "encoding", quiet: bool = True) -> np.ndarray:
    """`network.predict`, of recordings in one store: what a frozen backbone says of them is kept, or there already."""
    if it.plan.finetune.mode != "frozen" or not len(steps):
        return models.predict(it, steps)
    it.network.eval()
    pooled = PooledStates(it.network, it.plan, steps.stores[0], label=label, quiet=quiet)
    return models.from_pooled(it, pooled(steps), steps)


def weights_digest(module: torch.nn.Module) -> str:
    """Names weights by what they are, whatever run they are from."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in module.state_dict().items():
        found.update(name.encode())
        found.update(value.cpu().contiguous().numpy().data)
    return found.hexdigest()


class PooledCache:
    """`cache(steps, compute)` -> (N, P) of these utterances; only those that are missing are computed.

    Args:
        folder: where the file is, or None: nothing is kept.
        key: all that decides the values, except the recordings: weights, layers, pooling, front end.
    """

    def __init__(self, folder: Path | None, key: Any):
        self.path = folder / f"pooled-{files.digest(key)}.safetensors" if folder else None
        self.rows: dict[str, np.ndarray] = {}
        self.stamp: Any = None  # of the file as it was read
        self.unsaved, self.due = False, 0.0  # whether there is something to write, and when again
        self._read()

    def __call__(
        self, steps: Steps, compute: Callable[[Steps], np.ndarray], *, label: str = "encoding", quiet: bool = True
    ) -> np.ndarray:
        names = [_name(steps, i) for i in range(len(steps))]
        missing = [i for i, name in enumerate(names) if name not in self.rows]
        each = AT_ONCE if self.path else max(len(missing), 1)
        parts = [missing[k : k + each] for k in range(0, len(missing), each)]
        random.Random(os.getpid()).shuffle(parts)  # others begin elsewhere
        with Bar(len(missing), label, quiet=quiet) as bar, self._kept_at_the_end():
            for part in parts:
                self._read()
                if left := [i for i in part if names[i] not in self.rows]:
                    rows = compute(steps.subset(left))
                    self.rows.update(zip([names[i] for i in left], rows, strict=True))
                    self.unsaved = True
                if time.monotonic() > self.due:
                    self._write()
                bar.advance(len(part))
        return np.stack([self.rows[name] for name in names])

    @contextmanager
    def _kept_at_the_end(self) -> Iterator[None]:
        """Also what was interrupted."""
        try:
            yield
        finally:
            self._write()

    def _read(self) -> None:
        """What other processes have written meanwhile."""
        if self.path and (stamp := _stamp(self.path)) not in (None, self.stamp):
            self.rows, self.stamp = _kept(self.path) | self.rows, stamp

    def _write(self) -> None:
        """What is new, with what others have written. A corpus that cannot be written into keeps nothing."""
        if not (self.path and self.unsaved):
            return
        started = time.monotonic()
        self._read()
        names = sorted(self.rows)
        values = torch.from_numpy(np.stack([self.rows[name] for name in names]))
        with suppress(InputError):
            save_tensors(self.path, {"values": values}, {"rows": json.dumps(names)})
            self.stamp = _stamp(self.path)
        self.unsaved, self.due = False, time.monotonic() + COMPUTE * (time.monotonic() - started)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; None: there is none."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None


def _name(steps: Steps, i: int) -> str:
    """Utterance and content, so that a changed recording is pooled again."""
    source = steps.stores[i].source(steps.utterances[i].id)
    return f"{steps.utterances[i].id} {source.key if source else ''}"


def _kept(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors, metadata = read_tensors(path)
        names = own.parse(metadata.get("rows", ""), list[str], path)
        return dict(zip(names, tensors["values"].numpy(), strict=True))
    except (InputError, KeyError, ValueError):  # it can be computed again
        return {}
