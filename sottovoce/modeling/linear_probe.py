"""The frozen probe: a small head learns from frozen hidden states (SUPERB, arXiv:2105.01051, sec. 3).

    hidden layers (B, S, H) x L -> weighted sum -> projector (B, S, P) -> mean over time -> linear (B, K)

Weighted sum, projector and mean are linear: the mean over time may come first. An utterance is then one step long,
its states are computed once, and a probe costs about as much as reading the corpus. A ReLU behind the projector does
not commute; such a head sees every step, and the backbone runs again for every batch.

Every learning rate of the grid has a head of its own, from the same start and on the same batches. Dev chooses.

B utterances, S steps, H width, L layers, P projected, K outputs.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.backbones import Hidden
from sottovoce.config.finetuning import Probe
from sottovoce.data.dataset import Steps
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError
from sottovoce.modeling import network as models

States = Callable[[np.ndarray], Hidden]  # rows of a corpus -> their frozen hidden states


class Head(nn.Module):
    """Hidden -> (B, K): the part of a network that is trained, and shares its parameters."""

    def __init__(self, network: models.Network):
        super().__init__()
        self.pooling, self.out = network.pooling, network.out

    def forward(self, hidden: Hidden) -> Tensor:
        return self.out(self.pooling(hidden))


def frozen_states(backbone: nn.Module, steps: Steps, *, averaged: bool) -> States:
    """Hidden states of some utterances, computed anew for every batch; or their means over time, computed once."""
    if not averaged:
        backbone.eval()
        device = next(backbone.parameters()).device

        def states(rows: np.ndarray) -> Hidden:
            batch = steps.batch(rows)
            with torch.no_grad():
                return backbone(batch.x.to(device), batch.lengths.to(device))

        return states
    means = torch.from_numpy(models.embed(backbone, steps)[..., : backbone.dim])  # (N, L, H)

    def averages(rows: np.ndarray) -> Hidden:
        layers = means[torch.from_numpy(rows)].transpose(0, 1).unsqueeze(2)  # (L, B, 1, H)
        return Hidden(list(layers), torch.ones(len(rows), dtype=torch.long))

    return averages


def batches(rows: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Endless batches of `size` rows: one permutation after another, a batch may span two."""
    rng = np.random.default_rng(seed)
    waiting = np.zeros(0, dtype=np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(rows)])
        yield waiting[:size]
        waiting = waiting[size:]


@dataclass
class Trial:
    """One learning rate."""

    lr: float
    head: nn.Module
    optimiser: torch.optim.Optimizer
    losses: list[float] = field(default_factory=list)  # since the last reading
    best: float = -math.inf
    stale: int = 0  # readings since the best
    over: bool = False


def fit(
    head: nn.Module,
    rows: int,
    batch_of: Callable[[np.ndarray], Any],
    loss_of: Callable[[nn.Module, Any], Tensor],
    config: Probe,
    *,
    judge: Callable[[nn.Module], dict[str, float]] | None,
    label: str = "probe",
    quiet: bool = True,
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Train a copy of `head` with every learning rate; leave the weights dev prefers in it.

    Args:
        rows: how many training utterances there are.
        batch_of: row numbers -> what `loss_of` needs of them; called once for all learning rates.
        loss_of: (head, batch) -> mean loss ().
        judge: head -> scores, of which "select" chooses; the first best counts. None = no dev part: the first
            learning rate and the last update are kept.

    Returns:
        The reading that was chosen, and all of them: lr, update, train_loss and what `judge` said.

    Raises:
        InputError: no learning rate gives a finite loss.
    """
    trials = []
    for lr in config.lrs if judge else config.lrs[:1]:
        own = copy.deepcopy(head).train()
        trials.append(Trial(lr, own, torch.optim.Adam(own.parameters(), lr=lr, fused=True)))
    found, chosen, best, readings = -math.inf, {}, None, []
    size = min(config.batch, rows)
    updates = min(config.updates, math.ceil(config.epochs * rows / size))
    every, order = math.ceil(updates / config.readings), batches(rows, size, config.seed)
    with Bar(updates, label, quiet=quiet) as bar:
        for update in range(1, updates + 1):
            running = [t for t in trials if not t.over]
            if not running:
                break
            batch = batch_of(next(order))
            for t in running:
                loss = loss_of(t.head, batch)
                t.over = not math.isfinite(value := float(loss.detach()))  # too fast: out of the race
                if t.over:
                    continue
                t.losses.append(value)
                t.optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(t.head.parameters(), config.clip)
                t.optimiser.step()
            bar.advance(loss=value)
            if update % every and update != updates:
                continue
            for t in running:
                if t.over or not all(p.isfinite().all() for p in t.head.parameters()):
                    continue
                t.head.eval()
                row = {"lr": t.lr, "update": update, "train_loss": float(np.mean(t.losses))}
                with torch.inference_mode():
                    row |= judge(t.head) if judge else {"select": float(update)}
                t.head.train()
                t.losses = []
                readings.append(row)
                t.stale = 0 if row["select"] > t.best else t.stale + 1
                t.best = max(t.best, row["select"])
                t.over = bool(judge and config.patience and t.stale >= config.patience)
                if row["select"] > found:
                    found, chosen, best = row["select"], row, copy.deepcopy(t.head.state_dict())
    if best is None:
        raise InputError(
            f"{label}: no learning rate gives a finite loss. Tried {', '.join(f'{lr:g}' for lr in config.lrs)}. "
            "Lower finetune.lrs, or look for extreme values in the features."
        )
    head.load_state_dict(best)
    return chosen, readings
