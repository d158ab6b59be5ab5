"""From hidden states to one answer an utterance: which layers, pooled how, by which linear map.

    hidden layers (B, S, H) x L  ->  pooled (B, P)  ->  standardised  ->  scores (B, K) or predictions (B, D)

B utterances, S steps, H width, L layers (input projection and every block), P pooled features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.backbones import Hidden
from sottovoce.errors import InputError


def statistics_pool(x: Tensor, valid: Tensor) -> Tensor:
    """Mean and standard deviation over the valid steps: (B, S, H), (B, S) -> (B, 2 H).

    Statistics pooling of x-vectors (Snyder et al. 2018, ICASSP, sec. 2).

    Args:
        valid: True and False, or how much each step counts, 0 to 1.
    """
    mask = valid[..., None].to(x)
    count = mask.sum(1).clamp(min=1e-3)
    mean = (x * mask).sum(1) / count
    variance = ((x - mean[:, None]).square() * mask).sum(1) / count
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


def mean_pool(x: Tensor, valid: Tensor) -> Tensor:
    """Mean over the valid steps: (B, S, H), (B, S) -> (B, H)."""
    mask = valid[..., None].to(x)
    return (x * mask).sum(1) / mask.sum(1).clamp(min=1)


def dynamics_pool(x: Tensor, valid: Tensor) -> Tensor:
    """`statistics_pool`, and the deviation of the change from one step to the next: (B, S, H) -> (B, 3 H).

    How fast a voice moves is lost in mean and deviation alone.
    """
    change = x[:, 1:] - x[:, :-1]
    both = (valid[:, 1:] & valid[:, :-1])[..., None].to(x)
    speed = (change.square() * both).sum(1) / both.sum(1).clamp(min=1)
    return torch.cat([statistics_pool(x, valid), (speed + 1e-5).sqrt()], dim=1)


class AttentivePool(nn.Module):
    """Mean and deviation weighted by a learned attention (Okabe et al. 2018, arXiv:1803.10963): -> (B, 2 H)."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        weight = self.score(x).masked_fill(~valid[..., None], -torch.inf).softmax(1)  # (B, S, 1)
        mean = (x * weight).sum(1)
        variance = ((x - mean[:, None]).square() * weight).sum(1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


PIECE = 256  # states of a batch whose surroundings are in memory at a time
PARTS = {"mean": 1, "statistics": 2, "speech": 2, "attentive": 2, "dynamics": 3}  # pooled vectors of width H a layer


def weighted_sum(logits: Tensor, layers: list[Tensor]) -> Tensor:
    """Softmax-weighted sum of L layers (B, S, H), as SUPERB's (arXiv:2105.01051, sec. 3): logits (L,) -> (B, S, H)."""
    return torch.einsum("l,lbsh->bsh", logits.softmax(0), torch.stack(layers))


class Pooling(nn.Module):
    """Hidden -> (B, P): "concat" pools every layer and puts them side by side, "weighted" pools their learned
    softmax-weighted sum, "last" the last one alone.

    `only` names the layers that take part; without it all do. With `project` units a linear projector comes before the
    pooling (not for "concat"). Without an activation it commutes with the mean over time (SUPERB); with "relu"
    (EmoBox, emotion2vec) it does not.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        *,
        layer_aggregation: str = "concat",
        temporal_pooling: str = "statistics",
        project: int = 0,
        activation: str = "none",
        only: Sequence[int] = (),
    ):
        super().__init__()
        self.only = list(only) or list(range(layers))
        layers = len(self.only)
        self.layer_aggregation, self.temporal_pooling, self.activation = layer_aggregation, temporal_pooling, activation
        self.mix = nn.Parameter(torch.zeros(layers)) if layer_aggregation == "weighted" else None
        self.project = nn.Linear(width, project) if project else None
        width = project or width
        self.attend = AttentivePool(width) if temporal_pooling == "attentive" else None
        self.dim = (layers if layer_aggregation == "concat" else 1) * width * PARTS[temporal_pooling]

    def forward(self, hidden: Hidden) -> Tensor:
        return self.pooled(self.mixed(hidden), self.counts(hidden))

    def around(self, hidden: Hidden, reach: int) -> Tensor:
        """(B, S, P): for each state what `forward` would pool of the states up to `reach` away from it alone.

        With reach 0 and temporal_pooling "mean", `forward` is the mean of these over the utterance; where `reach`
        covers the utterance, each of them is `forward`.
        """

        def windows(x: Tensor) -> Tensor:  # (B, S, ...) -> (B, S, 2 reach + 1, ...), a view; outside is 0
            width = (0, 0) * (x.ndim - 2) + (reach, reach)
            return nn.functional.pad(x, width).unfold(1, 2 * reach + 1, 1).movedim(-1, 2)

        seen, valid = [windows(x) for x in self.mixed(hidden)], windows(self.counts(hidden))
        pieces, many = [], max(PIECE // len(valid), 1)
        for at in range(0, valid.shape[1], many):
            near = [x[:, at : at + many].flatten(0, 1) for x in seen]
            pooled = self.pooled(near, valid[:, at : at + many].flatten(0, 1))
            pieces.append(pooled.unflatten(0, (len(valid), -1)))
        return torch.cat(pieces, dim=1)

    def counts(self, hidden: Hidden) -> Tensor:
        """(B, S): which states are pooled, or how much each of them counts."""
        if self.temporal_pooling != "speech":
            return hidden.valid
        if hidden.speech is None:
            raise InputError(
                "finetune.temporal_pooling=speech: this backbone does not tell speech, or is cut below its last block. "
                "Use statistics, or the whole default encoder."
            )
        return hidden.speech

    def spans(self, layers: Sequence[Tensor], counts: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """(B, P): what `forward` would pool of the states first..last (B,) of one recording. Spans overlap, so sums are
        made once.

        Args:
            layers: (S, width) each, as `mixed` makes them.
            counts: (S,) which states are pooled, or how much each of them counts, as `counts` makes them.
        """
        if self.attend is not None:
            places = first[:, None] + torch.arange(int((last - first).max().clamp(min=1)))
            inside = (places < last[:, None]) & (counts > 0)[places := places.clamp(max=len(counts) - 1)]
            return torch.cat([self.attend(x[places], inside) for x in layers], dim=1)
        return torch.cat([self._sums(x, counts.double()[:, None], first, last) for x in layers], dim=1)

    def _sums(self, x: Tensor, counts: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """`spans` of one layer (S, width), from sums over all states before each one."""

        def between(values: Tensor, end: Tensor) -> Tensor:  # (S, ...) -> (B, ...)
            sums = nn.functional.pad(values.cumsum(0), (0, 0, 1, 0))
            return sums[torch.maximum(end, first)] - sums[first]

        total = between(counts, last).clamp(min=1e-3)
        mean = between(x * counts, last) / total
        parts = [mean]
        if self.temporal_pooling != "mean":
            variance = (between(x.double().square() * counts, last) / total - mean.square()).clamp(min=0)
            parts.append((variance + 1e-5).sqrt())
        if self.temporal_pooling == "dynamics":
            both = counts[1:] * counts[:-1]
            change = (x[1:] - x[:-1]).double().square() * both
            speed = between(change, last - 1) / between(both, last - 1).clamp(min=1)
            parts.append((speed + 1e-5).sqrt())
        return torch.cat(parts, dim=1).to(x.dtype)

    def mixed(self, hidden: Hidden) -> list[Tensor]:
        """What is pooled, (B, S, width) each."""
        layers = [hidden.layers[k] for k in self.only]
        if self.layer_aggregation == "concat":
            return layers
        x = layers[-1] if self.mix is None else weighted_sum(self.mix, layers)
        if self.project is not None:
            x = self.project(x)
            x = x.relu() if self.activation == "relu" else x
        return [x]

    def pooled(self, layers: list[Tensor], valid: Tensor) -> Tensor:
        return torch.cat([self._pool(x, valid) for x in layers], dim=1)

    def _pool(self, x: Tensor, valid: Tensor) -> Tensor:
        if self.attend is not None:
            return self.attend(x, valid)
        pools = {"mean": mean_pool, "statistics": statistics_pool, "speech": statistics_pool, "dynamics": dynamics_pool}
        return pools[self.temporal_pooling](x, valid)


class FrameHead(nn.Module):
    """Hidden -> (B, S, O): scores of every step from the weighted sum of layers and two linear maps (SUPERB's PR)."""

    def __init__(self, layers: int, width: int, project: int, outputs: int):
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(layers))
        self.project, self.out = nn.Linear(width, project), nn.Linear(project, outputs)

    def forward(self, hidden: Hidden) -> Tensor:
        return self.out(self.project(weighted_sum(self.mix, hidden.layers)))


class Gated(nn.Module):
    """Two linear layers on the same features, and a gate between them: (B, P) -> (B, K).

    One knows recordings as they are; the other has met changed copies too, with noise, rooms and lines. The gate tells
    by the features how likely a recording is a changed one (a mixture of two experts, Jacobs et al. 1991, "Adaptive
    mixtures of local experts"), so that what is learned from noise costs nothing where there is none.
    """

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.plain, self.changed, self.gate = (nn.Linear(width, k) for k in (outputs, outputs, 1))
        for p in self.parameters():
            nn.init.zeros_(p)

    @torch.no_grad()
    def open(self, changed: tuple[Tensor, Tensor], gate: tuple[Tensor, Tensor]) -> None:
        """Layer (K, P), (K,) of changed recordings, and the gate's (1, P), (1,)."""
        for layer, (weight, bias) in ((self.changed, changed), (self.gate, gate)):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        plain = self.plain(x)
        return plain + self.gate(x).sigmoid() * (self.changed(x) - plain)


class Standardise(nn.Module):
    """(x - mean) / std with both fitted once on the training part, so that no batch changes another's result.

    Fitted by speaker, `std` is that within a speaker, and both are what is known of a speaker before a recording of
    theirs is heard, see `of_speakers`.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, x: Tensor, who: Sequence[str] = ()) -> None:
        """`who`: the speaker of each row, to be fitted by speaker."""
        self.mean.copy_(x.mean(0))
        if who:
            names = np.array(who)
            x = torch.cat([x[names == name] - x[names == name].mean(0) for name in np.unique(names)])
        self.std.copy_(x.std(0, unbiased=False).clamp(min=1e-4))

    def of_speakers(self, x: np.ndarray, who: Sequence[str], prior: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each row's speaker, (N, P) both, from pooled features (N, P).

        `prior` recordings of an average speaker stand beside each speaker's own in the mean, five times as many in the
        variance, so that one or two are not taken for all that a speaker can be; 0: none, but beside a single one.
        """
        mean, std, names = np.empty_like(x), np.empty_like(x), np.array(who)
        usual, spread = self.mean.cpu().numpy(), self.std.cpu().numpy()
        for name in np.unique(names):
            own, n = names == name, int((names == name).sum())
            beside = prior or float(n == 1)  # a recording minus itself says nothing
            mean[own] = (n * x[own].mean(0) + beside * usual) / (n + beside)
            std[own] = np.sqrt((n * x[own].var(0) + 5 * beside * spread**2) / (n + 5 * beside))
        return mean, np.maximum(std, 1e-4)

    def by_speaker(self, x: np.ndarray, who: Sequence[str], prior: float) -> Tensor:
        """Pooled features (N, P), each row by its speaker's mean and deviation, see `of_speakers`."""
        mean, std = self.of_speakers(x, who, prior)
        return torch.from_numpy((x - mean) / std)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std
