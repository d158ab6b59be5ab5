"""Transformer encoder: linear input, convolutional or sinusoidal positions, pre- or post-norm.

"Attention is all you need" (arXiv:1706.03762), pre-norm as in arXiv:2002.04745, convolutional positions
as in wav2vec 2.0 (arXiv:2006.11477). The masked-timestep paper (arXiv:2307.12343) names no size; 4 x 128
is our default. Post-norm is BERT's encoder (arXiv:1810.04805), which MockingJay (arXiv:1910.12638) took over: one
norm behind the input, one behind every sum, none at the end.

Attention is PyTorch's scaled_dot_product_attention, which never stores the S x S weights. They have no dropout by
default: on a CPU its random numbers cost more than the attention.

B utterances, S steps, D input features, H width.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.backbones import base
from sottovoce.backbones._products import Linear
from sottovoce.backbones.base import Hidden, attendable, valid_steps
from sottovoce.config.ranges import Count, NotNegative, Positive, Settings, ShareBelow1
from sottovoce.errors import InputError


@dataclass(frozen=True)
class Config(Settings, group="backbone"):
    width: Count = 128  # H
    layers: Count = 4  # blocks
    heads: Count = 4  # of the attention; a divisor of the width
    feedforward: Count = 512  # units between the two layers of a block
    dropout: ShareBelow1 = 0.1  # share of what attention and feed-forward add that is zero in training
    # a depthwise convolution, which knows no absolute time; or "sinusoidal"
    positions: Literal["conv", "sinusoidal"] = "conv"
    kernel: Count = 15  # steps, of "conv"; odd
    # before attention and feed-forward, and at the end; or "post": behind every sum
    norm: Literal["pre", "post"] = "pre"
    activation: Literal["gelu", "relu"] = "gelu"  # of the feed-forward
    eps: Positive = 1e-5  # of the layer norms
    attention_dropout: ShareBelow1 = 0.0  # of the attention weights; MockingJay has 0.1
    init_std: NotNegative = 0.0  # linear layers drawn from a normal of this deviation, biases 0; 0 = PyTorch's own way

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise InputError(f"backbone.width: must be a multiple of heads. Found {self.width} and {self.heads}.")
        if self.width % (16 if self.positions == "conv" else 2):
            need = "16, the groups of its convolution" if self.positions == "conv" else "2, for sines and cosines"
            raise InputError(f"backbone.width: must be a multiple of {need}. Found {self.width}.")


class Block(nn.Module):
    """x + attention(norm(x)), then the same with the feed-forward; post-norm: norm(x + attention(x)), and so on."""

    def __init__(self, c: Config):
        super().__init__()
        self.heads, self.post, self.attention_dropout = c.heads, c.norm == "post", c.attention_dropout
        self.activation = nn.functional.gelu if c.activation == "gelu" else nn.functional.relu
        self.norm1, self.norm2 = nn.LayerNorm(c.width, c.eps), nn.LayerNorm(c.width, c.eps)
        self.qkv, self.out = Linear(c.width, 3 * c.width), Linear(c.width, c.width)
        self.grow, self.shrink = Linear(c.width, c.feedforward), Linear(c.feedforward, c.width)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, x: Tensor, attend: Tensor | None, index: Tensor | None = None) -> Tensor:
        """(B, S, H) -> (B, S, H), or with `index` (B, Q) the states of these steps alone, (B, Q, H)."""
        if self.post:
            x = self.norm1(pick(x, index) + self.drop(self.attention(x, attend, index)))
            return self.norm2(x + self.drop(self.feedforward(x)))
        x = pick(x, index) + self.drop(self.attention(self.norm1(x), attend, index))
        return x + self.drop(self.feedforward(self.norm2(x)))

    def attention(self, x: Tensor, attend: Tensor | None, index: Tensor | None) -> Tensor:
        width = x.shape[2]
        if index is None:
            q, k, v = self._heads(self.qkv(x), 3)
        else:  # all are attended to, by a few
            weight, bias = self.qkv.weight, self.qkv.bias
            (q,) = self._heads(nn.functional.linear(pick(x, index), weight[:width], bias[:width]), 1)
            k, v = self._heads(nn.functional.linear(x, weight[width:], bias[width:]), 2)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))  # from (B, heads, S or Q, H / heads)

    def _heads(self, x: Tensor, parts: int) -> Tensor:
        """(B, S, parts * H) -> (parts, B, heads, S, H / heads)."""
        return x.unflatten(2, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def feedforward(self, x: Tensor) -> Tensor:
        return self.shrink(self.activation(self.grow(x)))


class Backbone(base.Backbone):
    """forward(x (B, S, D), lengths (B,)) -> Hidden with 1 + layers states of (B, S, H)."""

    def __init__(self, config: Config, features: int):
        super().__init__()
        self.config, self.features, self.dim = config, features, config.width
        self.embed = nn.Linear(features, config.width)
        if config.positions == "conv":
            self.near = nn.Conv1d(
                config.width, config.width, config.kernel, padding=config.kernel // 2, groups=config.width
            )
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        norm = nn.LayerNorm(config.width, config.eps)
        if config.norm == "post":
            self.embed_norm = norm
        else:
            self.norm = norm
        if config.init_std:
            self.apply(self._initialise)

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        h, attend = self._embedded(x, lengths)
        layers = [h]
        for block in self.blocks:
            layers.append(block(layers[-1], attend))
        layers[-1] = self._finished(layers[-1])
        return Hidden(layers, lengths)

    def at(self, x: Tensor, lengths: Tensor, where: Tensor) -> Tensor:
        """`forward(x, lengths).last[where]`, (M, H), where `where` (B, S) is True, at less cost: the last block, a
        third of three, works for these steps alone."""
        h, attend = self._embedded(x, lengths)
        for block in self.blocks[:-1]:
            h = block(h, attend)
        count = where.sum(1)
        most = max(int(count.max()), 1)  # Q
        index = where.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        states = self._finished(self.blocks[-1](h, attend, index))
        return states[valid_steps(count, most)]

    def _embedded(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """What goes into the first block (B, S, H), and what may be attended to."""
        valid = valid_steps(lengths, x.shape[1])
        h = self.embed(x).masked_fill(~valid[..., None], 0.0)
        if self.config.positions == "conv":
            near = self.near(h.transpose(1, 2))[..., : h.shape[1]].transpose(1, 2)
            h = h + nn.functional.gelu(near)
        else:
            h = h + sinusoids(h.shape[1], h.shape[2]).to(h)
        if self.config.norm == "post":
            h = self.embed_norm(h)
        h = self.drop(h)
        return h, attendable(valid)

    def _finished(self, h: Tensor) -> Tensor:
        return self.norm(h) if self.config.norm == "pre" else h

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.init_std)
            nn.init.zeros_(module.bias)


def pick(x: Tensor, index: Tensor | None) -> Tensor:
    """(B, S, H), (B, Q) -> (B, Q, H): some steps of every row; all of them without `index`."""
    return x if index is None else x.take_along_dim(index[..., None], dim=1)


def sinusoids(steps: int, width: int) -> Tensor:
    """(S, H) position signals, arXiv:1706.03762, sec. 3.5."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(steps)[:, None] * rate[None]
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
