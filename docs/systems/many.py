"""Many small models side by side: M of one shape, one tensor a parameter, one kernel where each would take its own.

A study of folds, seeds and arms trains hundreds of models that a GPU finds too small to be busy with. Here a layer
holds the weights of all of them, (M, out, in), and a batch is (M, B, S, D), model m's own recordings in row m. Models
share nothing but the clock: losses are summed, and a gradient is held back model by model.

M models, B recordings, S steps, H width, K classes, P features, L penalties.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention


class Linear(nn.Module):
    """(M, ..., I) -> (M, ..., O), begun as PyTorch's own."""

    def __init__(self, many: int, inside: int, outside: int, bias: bool = True):
        super().__init__()
        bound = inside**-0.5
        self.weight = nn.Parameter(torch.empty(many, outside, inside).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(many, outside).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1, -2)
        if self.bias is None:
            y = torch.bmm(flat, self.weight.mT)
        else:
            y = torch.baddbmm(self.bias[:, None], flat, self.weight.mT)
        return y.unflatten(1, x.shape[1:-1])


class Norm(nn.Module):
    def __init__(self, many: int, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(many, width)), nn.Parameter(torch.zeros(many, width))

    def forward(self, x: Tensor) -> Tensor:
        shape = (len(self.weight), *[1] * (x.ndim - 2), -1)
        return layer_norm(x, x.shape[-1:]) * self.weight.view(shape) + self.bias.view(shape)


class Block(nn.Module):
    """`sottovoce.backbones.whisper.Block`, with its names; a bias of the keys would change nothing."""

    def __init__(self, many: int, width: int, heads: int, feedforward: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (Linear(many, width, width) for _ in range(3))
        self.k_proj = Linear(many, width, width, bias=False)
        self.norm1, self.norm2 = Norm(many, width), Norm(many, width)
        self.fc1, self.fc2 = Linear(many, width, feedforward), Linear(many, feedforward, width)

    def forward(self, h: Tensor, may_hear: Tensor) -> Tensor:
        """(M, B, S, H), (M * B, 1, 1, S) -> (M, B, S, H)."""
        x = self.norm1(h)
        q, k, v = (
            project(x).flatten(0, 1).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        heard = scaled_dot_product_attention(q, k, v, attn_mask=may_hear).transpose(1, 2).flatten(2)
        h = h + self.out_proj(heard.unflatten(0, h.shape[:2]))
        return h + self.fc2(gelu(self.fc1(self.norm2(h))))


class Transformer(nn.Module):
    """(M, B, S, D), lengths (M, B) -> the states of every block, (M, B, S, H) each.

    With `features` it embeds them first and has a norm behind the last block, as `sottovoce.backbones.transformer`.
    """

    def __init__(self, many: int, width: int, layers: int, heads: int, feedforward: int, features: int = 0):
        super().__init__()
        self.embed = Linear(many, features, width) if features else None
        self.norm = Norm(many, width) if features else None  # behind the last block
        self.blocks = nn.ModuleList(Block(many, width, heads, feedforward) for _ in range(layers))

    def forward(self, x: Tensor, lengths: Tensor, positions: Tensor) -> list[Tensor]:
        valid = torch.arange(x.shape[2], device=x.device) < lengths[..., None]  # (M, B, S)
        h = (x if self.embed is None else self.embed(x)) + positions[: x.shape[2]]
        may_hear, states = valid.flatten(0, 1)[:, None, None], []
        for block in self.blocks:
            h = block(h, may_hear)
            states.append(h)
        if self.norm is not None:
            states[-1] = self.norm(h)
        return states


def pooled(states: Iterable[Tensor], lengths: Tensor) -> Tensor:
    """Mean and deviation over time of every layer, (M, B, 2 H layers)."""
    found = []
    for h in states:
        valid = (torch.arange(h.shape[2], device=h.device) < lengths[..., None])[..., None]
        count = lengths[..., None].clamp_min(1).float()
        h = h.float()
        mean = (h * valid).sum(2) / count
        square = ((h - mean[:, :, None]).square() * valid).sum(2) / count
        found += [mean, (square + 1e-5).sqrt()]
    return torch.cat(found, -1)


def of_each(module: nn.Module, index: Sequence[int]) -> dict[str, Tensor]:
    """The weights of some models, in this order, some of them more than once."""
    return {name: value.detach()[list(index)].clone() for name, value in module.state_dict().items()}


class AdamW:
    """AdamW for models side by side: a warm-up, a cosine down to 0, gradients held back model by model."""

    def __init__(self, parts: Sequence[tuple[nn.Module, float]], updates: int, decay: float = 0.01, clip: float = 1.0):
        self.weights = [p for module, _ in parts for p in module.parameters() if p.requires_grad]
        groups = [{"params": [p for p in m.parameters() if p.requires_grad], "lr": lr, "most": lr} for m, lr in parts]
        fused = self.weights[0].is_cuda
        self.own = torch.optim.AdamW(groups, weight_decay=decay, betas=(0.9, 0.98), fused=fused)
        self.updates, self.done, self.clip = updates, 0, clip

    def step(self, loss: Tensor) -> None:
        """One update for the sum of the models' losses."""
        self.own.zero_grad(set_to_none=True)
        loss.backward()
        there = [p for p in self.weights if p.grad is not None]
        with torch.no_grad():
            length = sum(p.grad.flatten(1).square().sum(1) for p in there).sqrt()  # (M,)
            less = (self.clip / (length + 1e-6)).clamp_max(1)
            for p in there:
                p.grad.mul_(less.view(-1, *[1] * (p.ndim - 1)))
        warm, share = max(self.updates // 10, 1), self.done / max(self.updates, 1)
        for group in self.own.param_groups:
            group["lr"] = group["most"] * min((self.done + 1) / warm, 1.0) * (1 + math.cos(math.pi * share)) / 2
        self.own.step()
        self.done += 1


@torch.no_grad()
def logistic(
    x: Tensor, y: Tensor, classes: int, penalties: Sequence[float], iterations: int = 300
) -> tuple[Tensor, Tensor]:
    """Penalised logistic regressions: x (M, N, P), y (M, N) -> weight (M, L, K, P), bias (M, L, K).

    Mean cross-entropy + penalty / 2 |W|^2, as `sottovoce.modeling.solving.solve`. The curvature is at most half of the
    features' second moments (Boehning 1992), which makes steps that need no search; Nesterov's momentum hurries them.
    Everything is turned to the axes of those moments, where a step divides; there are no more of them than recordings.
    """
    count, width = x.shape[1:]
    centre = x.mean(1, keepdim=True)
    x = x - centre
    if count < width:
        power, own = torch.linalg.eigh(x @ x.mT)
        kept = power > 1e-6 * power[:, -1:]  # the others are rounding
        axes = x.mT @ (own * torch.where(kept, power.clamp_min(1e-30).rsqrt(), 0)[:, None])  # (M, P, R)
    else:
        power, axes = torch.linalg.eigh(x.mT @ x)
    seen = x @ axes  # (M, N, R)
    l2 = torch.tensor(list(penalties), device=x.device)[:, None]  # (L, 1)
    step = 1 / (0.52 / count * power.clamp_min(0)[..., None, None] + l2 + 0.002)  # (M, R, L, 1)
    target = nn.functional.one_hot(y, classes).float()[:, :, None]  # (M, N, 1, K)
    w = x.new_zeros(len(x), seen.shape[2], len(l2), classes)
    b = x.new_zeros(len(x), 1, len(l2), classes)
    ahead, ahead_b, t = w, b, 1.0
    for _ in range(iterations):
        scores = (seen @ ahead.flatten(2)).view(len(x), count, len(l2), classes) + ahead_b
        error = (scores.softmax(-1) - target) / count
        slope = (seen.mT @ error.flatten(2)).view_as(ahead) + l2 * ahead
        new, new_b = ahead - step * slope, ahead_b - 2 * error.sum(1, keepdim=True)
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead, ahead_b = new + (t - 1) / following * (new - w), new_b + (t - 1) / following * (new_b - b)
        w, b, t = new, new_b, following
    weight = (axes @ w.flatten(2)).view(len(x), width, len(l2), classes).permute(0, 2, 3, 1)  # (M, L, K, P)
    return weight, b[:, 0] - torch.einsum("mlkp,mp->mlk", weight, centre[:, 0])


@torch.no_grad()
def dev_score(scores: Tensor, y: Tensor, valid: Tensor) -> Tensor:
    """(..., M, N, K), (M, N), (M, N) -> (..., M) UA on dev and a hundredth of the mean log-likelihood."""
    classes = scores.shape[-1]
    truth = nn.functional.one_hot(y, classes).float() * valid[..., None]  # (M, N, K)
    right = nn.functional.one_hot(scores.argmax(-1), classes) * truth
    size = truth.sum(-2)
    recall = right.sum(-2) / size.clamp_min(1)
    likely = (scores.float().log_softmax(-1) * truth).sum((-1, -2)) / valid.sum(-1)
    return (recall * (size > 0)).sum(-1) / (size > 0).sum(-1) + 0.01 * likely
