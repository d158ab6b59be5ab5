"""Batches: utterances padded together, and in which order an epoch takes them.

    lengths (N,)  ->  plan_epoch, sequential  ->  rows (R,)  ->  `Steps.batch`  ->  Batch (B, S, D)

Everything drawn at random comes from (seed, epoch) and from a seed a row, so that no batch depends on another.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

PADDED = 0.2  # share of an utterance that a batch may add to it where nothing is trained; more costs more than it saves


@dataclass
class Batch:
    """Padded utterances. `scored` (B, S): steps that carry data; padding and all-zero frames do not."""

    ids: list[str]
    x: Tensor  # (B, S, D) zero after `lengths`
    lengths: Tensor  # (B,) steps
    scored: Tensor  # (B, S) bool
    seeds: list[int]  # one a row, for masks and augmentation
    target: Tensor | None = None  # (B,) class index or (B, D) regression targets
    tracks: dict[str, Tensor] = field(default_factory=dict)  # auxiliary tracks at steps or states: (B, S) or (B, S, D')
    progress: float = 1.0  # share of the training that is done

    @property
    def valid(self) -> Tensor:
        """(B, S) bool, True = inside the utterance."""
        return torch.arange(self.x.shape[1], device=self.x.device)[None] < self.lengths[:, None]

    def to(self, device: torch.device | str) -> "Batch":
        """Moved there; to a GPU by way of memory that it reads by itself, while the CPU goes on."""

        def moved(x: Tensor) -> Tensor:
            ahead = torch.device(device).type == "cuda" and x.device.type == "cpu"
            return x.pin_memory().to(device, non_blocking=True) if ahead else x.to(device)

        target = None if self.target is None else moved(self.target)
        tracks = {k: moved(v) for k, v in self.tracks.items()}
        return replace(
            self, x=moved(self.x), lengths=moved(self.lengths), scored=moved(self.scored), target=target, tracks=tracks
        )


def padded(rows: Sequence[np.ndarray], fill: int = 0) -> Tensor:
    """(S, ...) arrays below each other, `fill` (False) behind the shorter ones: (B, longest S, ...)."""
    out = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), fill, rows[0].dtype)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return torch.from_numpy(out)


def row_seed(seed: int, key: str) -> int:
    """A 63-bit seed for one utterance; stable over runs, machines and batch order."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def plan_epoch(
    lengths: np.ndarray,
    *,
    batch_steps: int,
    batch_rows: int,
    seed: int,
    epoch: int,
    most: int | None = None,
    classes: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Length-bucketed batches of one epoch: shuffled, sorted in chunks, cut, shuffled again.

    Args:
        lengths: (N,) steps of every utterance.
        batch_steps: most padded steps a batch (rows x longest).
        batch_rows: most rows a batch.
        most: longer utterances count as this long, as `Steps.batch` will cut them.
        classes: (N,) of every utterance: then an epoch has as many of each class, see `balanced`.

    Returns:
        Index arrays; together every utterance once, or N balanced ones. The same (seed, epoch) gives the same plan.
    """
    rng = np.random.default_rng((seed, epoch))
    cost = np.minimum(lengths, most) if most else lengths
    order = rng.permutation(len(lengths)) if classes is None else balanced(classes, rng)
    chunk = batch_rows * 20
    batches: list[np.ndarray] = []
    for at in range(0, len(order), chunk):
        bucket = order[at : at + chunk]
        batches += _cut(bucket[np.argsort(cost[bucket], kind="stable")], cost, batch_steps, batch_rows)
    return [batches[k] for k in rng.permutation(len(batches))]


def _cut(
    order: np.ndarray, cost: np.ndarray, batch_steps: int, batch_rows: int, padded: float = math.inf
) -> Iterator[np.ndarray]:
    """Batches of utterances that get longer (`cost`), none of which is padded by more than this share of its length."""
    rows: list[int] = []
    steps = cost.tolist()
    for i in order.tolist():
        full = len(rows) == batch_rows or (len(rows) + 1) * steps[i] > batch_steps
        if rows and (full or steps[i] > (1 + padded) * steps[rows[0]]):
            yield np.array(rows)
            rows = []
        rows.append(i)
    if rows:
        yield np.array(rows)


def balanced(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N indices of N utterances in random order, in which all classes are equally frequent, give or take one.

    Within a class no utterance comes twice more than another. A row that comes several times in an epoch has the same
    masks and crop each time.
    """
    names = np.unique(classes)
    quota = np.full(len(names), len(classes) // len(names))
    quota[rng.permutation(len(names))[: len(classes) % len(names)]] += 1
    drawn = []
    for name, n in zip(names, quota, strict=True):
        members = np.flatnonzero(classes == name)
        drawn += [rng.permutation(members)[: n - k] for k in range(0, n, len(members))]
    return rng.permutation(np.concatenate(drawn))


def sequential(lengths: np.ndarray, *, batch_steps: int, batch_rows: int = 64) -> Iterator[np.ndarray]:
    """Every utterance once, shortest first, for evaluation; none is padded by more than `PADDED` of its length."""
    return _cut(np.argsort(lengths, kind="stable"), lengths, batch_steps, batch_rows, PADDED)
