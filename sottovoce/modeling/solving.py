"""The linear layer on standardised pooled states: solved, not trained, and half of it a discriminant.

    rows (N, P), targets  ->  layer (K, P), (K,)

N rows, P pooled features, K outputs; a penalty l2 for each layer, of which dev prefers one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sottovoce.config.finetuning import FineTuning, Frozen
from sottovoce.data.task import Task
from sottovoce.modeling.discriminant import discriminant, mean_with
from sottovoce.modeling.supervised import supervised_loss

Layer = tuple[Tensor, Tensor]  # weight (K, P) and bias (K,)
GATE_L2, GATE_SMOOTHING = 0.5, 0.1  # nothing between 0.05 and 0.5 changes what it says, see docs/lab.md


@dataclass(frozen=True)
class Rows:
    """What a layer is solved on."""

    x: Tensor  # (N, P) standardised features
    y: np.ndarray  # (N,) classes, (N, K) shares of the raters or (N, D) numbers
    counts: Tensor  # (N,) how much each row counts

    @classmethod
    def of(cls, x: Tensor, y: np.ndarray, count: float = 1.0) -> "Rows":
        """Those that have a target: the first len(y)."""
        return cls(x[: len(y)], y, torch.full((len(y),), count))

    def beside(self, *others: "Rows") -> "Rows":
        every = (self, *others)
        x, counts = (torch.cat(parts) for parts in ([r.x for r in every], [r.counts for r in every]))
        return Rows(x, np.concatenate([r.y for r in every]), counts)


def solve(
    task: Task, rows: Rows, l2: float, settings: FineTuning, start: Layer | None = None, most: int = 100
) -> Layer:
    """L2-penalised logistic regression, or for regression the penalised loss of fine-tuning.

    Args:
        start: the layer of another penalty, to begin with.
        most: iterations.
    """
    y = torch.as_tensor(rows.y)
    weight = torch.zeros(task.outputs, rows.x.shape[1]) if start is None else start[0]
    bias = y.median(0).values.float() if task.kind == "number" else torch.zeros(task.outputs)
    # a linear layer first, whatever margin is wanted later
    loss = supervised_loss(task, replace(settings, loss="ce") if task.kind == "class" else settings, rows.y)
    return minimise(lambda out: loss(out, y), rows.x, rows.counts, l2, (weight, bias), most)


def gate(plain: Tensor, changed: Tensor) -> Layer:
    """The layer (1, P), (1,) that tells changed recordings from those that are as they are, (N, P) and (M, P): log odds
    of a logistic regression to which both kinds count alike."""
    x, sizes = torch.cat([plain, changed]), torch.tensor([len(plain), len(changed)])
    y = torch.repeat_interleave(torch.tensor([0.0, 1.0]), sizes)[:, None]
    wanted = y * (1 - GATE_SMOOTHING) + GATE_SMOOTHING / 2
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    alike, start = torch.repeat_interleave(1 / sizes, sizes), (torch.zeros(1, x.shape[1]), torch.zeros(1))
    return minimise(lambda out: loss(out, wanted, reduction="none")[:, 0], x, alike, GATE_L2, start)


def minimise(
    losses: Callable[[Tensor], Tensor], x: Tensor, counts: Tensor, l2: float, start: Layer, most: int = 100
) -> Layer:
    """The layer of rows x (N, P) with the least weighted mean of `losses` (N,) of its outputs (N, K), plus l2 / 2
    |weight|^2, by at most so many iterations of L-BFGS. `counts` (N,): how much each row counts."""
    weight, bias = (part.clone().requires_grad_() for part in start)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=most, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        mean = (losses(x @ weight.T + bias) * counts).sum() / counts.sum()
        loss = mean + 0.5 * l2 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach(), bias.detach()


def mixture(task: Task, rows: Rows, settings: FineTuning) -> Callable[[Layer], Layer]:
    """Layer -> the layer with its share of the linear discriminant of these rows, which knows no penalty."""
    share = settings.discriminant if isinstance(settings, Frozen) and task.kind == "class" else 0.0
    if not share:
        return lambda layer: layer
    other = discriminant(rows.x, torch.as_tensor(rows.y), task.outputs, weights=rows.counts)
    return lambda layer: mean_with(*layer, rows.x, other, share)


def penalty(readings: Sequence[Mapping[str, float]], utterances: int) -> float:
    """The penalty that dev prefers, of `readings` with its "strength" and dev's "select": the middle one of those whose
    score is within a standard error, of so many utterances, of the best (the rule of Breiman et al. 1984, sec. 3.4.3,
    but to the middle of a plateau instead of its plainest end). 0 utterances: the best."""
    best = max(row.get("select", 0.0) for row in readings)
    share = min(max(best, 0.0), 1.0)
    error = (share * (1 - share) / utterances) ** 0.5 if utterances else 0.0
    near = sorted(row["strength"] for row in readings if row.get("select", 0.0) >= best - error)
    return near[len(near) // 2]
