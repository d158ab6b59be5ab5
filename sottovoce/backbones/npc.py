"""NPC: convolution blocks, each with a masked convolution that does not see its own frame.

Liu, Chung & Glass 2021, "Non-Autoregressive Predictive Coding for Learning Speech Representations from Local
Dependencies" (arXiv:2011.00406); layers and numbers as in the authors' code (Alexander-H-Liu/NPC `model/npc.py`,
`config/self_supervised/npc_example.yml`), which s3prl took over.

    x -> block 1 -> block 2 -> block 3 -> block 4        what is used afterwards, `Hidden.last`
           |          |          |          |
         masked +   masked +   masked +   masked         the sum sees nothing within mask // 2 of its own frame

A block looks one step further to each side, so the hole of its masked convolution is two steps wider than that of
the block below. Departures: batch norms count valid steps only (theirs padding too), and only the taps outside the
hole are computed (theirs multiply by zeros), a third of the work at 15 and 5.

B utterances, S steps, D input features, H width, N valid steps of the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sottovoce.backbones import base
from sottovoce.backbones.base import Hidden, Traits, valid_steps
from sottovoce.config.ranges import Count, Settings, ShareBelow1
from sottovoce.errors import InputError


@dataclass(frozen=True)
class Config(Settings, group="backbone"):
    width: Count = 512  # H
    layers: Count = 4  # blocks
    kernel: Count = 15  # steps a masked convolution spans, hole included; odd
    mask: Count = 5  # steps of the input around its own that the sum does not see; odd
    dropout: ShareBelow1 = 0.1  # share of activations that is zero in training

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, steps in (("kernel", self.kernel), ("mask", self.mask)):
            if steps % 2 == 0:
                raise InputError(f"backbone.{name}: steps, odd, so that there is a middle. Found {steps}.")
        if self.hole(self.layers) >= self.kernel:
            blocks = max((self.kernel - self.mask - 2) // 2, 0)
            fewer = f"{blocks} block{'s' * (blocks > 1)}, " if blocks else ""
            raise InputError(
                f"backbone.mask: {self.mask} leaves no tap in block {blocks + 1}. Found a hole of "
                f"{self.hole(blocks + 1)} steps (it grows by 2 a block) in a kernel of {self.kernel}. "
                f"Use {fewer}kernel {self.hole(self.layers) + 2} or a smaller mask."
            )

    def hole(self, block: int) -> int:
        """Steps without a tap in the masked convolution over block 1, 2, ..."""
        return self.mask + 2 * block


class Block(nn.Module):
    """Convolution over 3 steps, batch norm, ReLU, linear, batch norm, dropout, sum with the input, ReLU.

    (B, S, H) with zeros outside the utterances -> the same. The first block has no sum: its input has another width.
    """

    def __init__(self, c: Config, features: int, first: bool):
        super().__init__()
        self.first = first
        self.conv = nn.Conv1d(features, c.width, 3, padding=1)
        self.linear = nn.Linear(c.width, c.width)
        self.norm1, self.norm2 = nn.BatchNorm1d(c.width), nn.BatchNorm1d(c.width)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        h = self.conv(x.transpose(1, 2)).transpose(1, 2)[valid]  # (N, H): padding counts in no statistic
        h = self.drop(_norm(self.norm2, self.linear(_norm(self.norm1, h).relu())))
        h = (h if self.first else h + x[valid]).relu()
        return h.new_zeros(*x.shape[:2], h.shape[1]).masked_scatter(valid[..., None], h)


def _norm(norm: nn.BatchNorm1d, h: Tensor) -> Tensor:
    """By the statistics of the batch in training; a batch of one step has none and takes the running ones."""
    if norm.training and len(h) < 2:
        return nn.functional.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    return norm(h)


class MaskedConv(nn.Module):
    """tanh of a convolution of `kernel` steps with a `hole` in its middle: (B, S, H) -> (B, S, H).

    The taps left and right of the hole are one convolution over the two shifted copies side by side.
    """

    def __init__(self, width: int, kernel: int, hole: int):
        super().__init__()
        self.reach, self.taps = kernel // 2, (kernel - hole) // 2  # steps; taps on either side
        self.conv = nn.Conv1d(2 * width, width, self.taps)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1] + self.taps - 1
        around = nn.functional.pad(x.transpose(1, 2), (self.reach, self.reach))  # (B, H, S + kernel - 1)
        sides = torch.cat([around[..., :steps], around[..., -steps:]], dim=1)
        return self.conv(sides).transpose(1, 2).tanh()


class Backbone(base.Backbone):
    """forward(x (B, S, D), lengths (B,)) -> Hidden: every block (B, S, H), and `context`, the sum of the masked ones.

    There is no input projection. Layer 0, which weighted sums of layers count with, is the context: it always was, and
    the weights of runs made before stay what they mean.
    """

    traits = Traits(surroundings=True)

    def __init__(self, config: Config, features: int):
        super().__init__()
        self.config, self.features, self.dim = config, features, config.width
        self.blocks = nn.ModuleList(
            Block(config, features if k == 0 else config.width, first=k == 0) for k in range(config.layers)
        )
        self.masked = nn.ModuleList(
            MaskedConv(config.width, config.kernel, config.hole(k + 1)) for k in range(config.layers)
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        valid = valid_steps(lengths, x.shape[1])
        layers, around = [x.masked_fill(~valid[..., None], 0.0)], None
        for block, masked in zip(self.blocks, self.masked, strict=False):  # a shallow recogniser has fewer blocks
            layers.append(block(layers[-1], valid))
            seen = masked(layers[-1])
            around = seen if around is None else around + seen
        assert around is not None
        return Hidden([around, *layers[1:]], lengths, context=around)
