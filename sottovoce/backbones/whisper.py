"""Whisper's encoder: log-mel bands, two convolutions, a Transformer; for recordings of any length.

Radford et al. 2022, arXiv:2212.04356. Every size of the public weights fits, and the numbers are those of
`WhisperEncoder` in transformers where that has no padding: there a recording is filled up with silence to
30 s, and all states listen to it. Departures: a recording keeps its length and takes the positions it needs; what is
longer than the 1,500 positions (30 s) is encoded in chunks that overlap by 5 s; of a complete model the last state
is the normalised one, and a model cut off at a block leaves out what is above.

B utterances, T frames of log-mel bands (100 a second), S states (50 a second), H width.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sottovoce.backbones import base
from sottovoce.backbones._products import Conv, Linear
from sottovoce.backbones.base import Hidden, Traits, attendable, valid_steps
from sottovoce.config.ranges import Count, Settings, ShareBelow1
from sottovoce.errors import InputError

OVERLAP = 6  # a sixth of the positions (5 s) is shared by two chunks of a long recording, half of it kept from each


@dataclass(frozen=True)
class Config(Settings, group="backbone"):
    """The defaults are those of the public "base", of which 3 of 6 blocks are used."""

    width: Count = 512  # H
    layers: Count = 3  # blocks
    heads: Count = 8  # of the attention
    feedforward: Count = 2048  # units between the two layers of a block
    bins: Count = 80  # log-mel bands, 128 of large-v3
    positions: Count = 1500  # most states at a time
    complete: bool = False  # the norm behind the last block is there: no block of the original was left out
    speech: int = 0  # units of the layer that tells from the last block which states are speech; 0 = there is none
    dropout: ShareBelow1 = 0.0  # of what attention and feedforward add

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads or self.width % 2:
            raise InputError(
                f"backbone.width: even and a multiple of backbone.heads ({self.heads}). Found {self.width}."
            )
        if self.positions < 2 * OVERLAP:
            raise InputError(f"backbone.positions: states at a time, {2 * OVERLAP} or more. Found {self.positions}.")


class Attention(nn.Module):
    """(B, S, H) -> (B, S, H); keys have no bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (Linear(width, width) for _ in range(3))
        self.k_proj = Linear(width, width, bias=False)

    def forward(self, h: Tensor, may_hear: Tensor | None) -> Tensor:
        q, k, v = (
            project(h).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, S, H / heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(scaled_dot_product_attention(q, k, v, attn_mask=may_hear).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """(B, S, H) -> (B, S, H); each half normalises its input."""

    def __init__(self, config: Config):
        super().__init__()
        width = config.width
        self.self_attn, self.self_attn_layer_norm = Attention(width, config.heads), nn.LayerNorm(width)
        self.fc1, self.fc2 = Linear(width, config.feedforward), Linear(config.feedforward, width)
        self.final_layer_norm, self.drop = nn.LayerNorm(width), nn.Dropout(config.dropout)

    def forward(self, h: Tensor, may_hear: Tensor | None) -> Tensor:
        h = h + self.drop(self.self_attn(self.self_attn_layer_norm(h), may_hear))
        return h + self.drop(self.fc2(self.fc1.gelu(self.final_layer_norm(h))))


class Backbone(base.Encoder):
    """forward(x (B, T, bins), lengths (B,)) -> Hidden with 1 + layers states of (B, S, H), S = T / 2 rounded up.

    State s is centred on frame 2 s. State 0 is what convolutions and positions make.

    Raises InputError: `features` are not the bands it reads.
    """

    traits = Traits(hop=2, receptive_field=1, masks_states=True, adapters=("q_proj", "v_proj"))

    def __init__(self, config: Config, features: int):
        super().__init__()
        if features != config.bins:
            raise InputError(
                f"backbone whisper: reads {config.bins} log-mel bands. Found {features} features. Use --track logmel, "
                f"with --set track.bins={config.bins}."
            )
        width = config.width
        self.config, self.features, self.dim = config, features, width
        self.front = nn.ModuleDict({"conv1": Conv(features, width, 3), "conv2": Conv(width, width, 3, 2)})
        self.register_buffer("positions", sinusoids(config.positions, width))  # a checkpoint brings its own rounding
        self.mask_vector = nn.Parameter(torch.zeros(width))  # learned vector in place of what is masked
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width) if config.complete else None
        self.speech = (
            nn.Sequential(nn.Linear(width, config.speech), nn.GELU(), nn.Linear(config.speech, 1))
            if config.speech
            else None
        )

    def convolve(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel bands (B, T, bins) -> local features (B, S, H), zero after their lengths (B,)."""
        states = -(-x.shape[1] // 2)
        return self._convolve(x, lengths, 0, states), (lengths + 1) // 2

    def _convolve(self, x: Tensor, lengths: Tensor, first: int, last: int) -> Tensor:
        """The local features first..last, (B, last - first, H)."""
        # 2 s - 1 .. 2 s + 1 of the first convolution make state s; for them it needs a frame more on both sides.
        begin, end = 2 * first - 2, 2 * last + 1  # [begin, end)
        frames = torch.arange(begin, end, device=x.device)
        outside = ((frames < 0) | (frames >= lengths[:, None]))[..., None]  # (B, end - begin, 1)
        h = x[:, max(begin, 0) : end]
        h = nn.functional.pad(h, (0, 0, max(-begin, 0), end - max(begin, 0) - h.shape[1])).masked_fill(outside, 0.0)
        h = self.front["conv1"].gelu(h)  # (B, 2 (last - first) + 1, H)
        # Around a recording the second convolution reads zeros, not what the first makes of silence.
        h = h.masked_fill(outside[:, 1:-1], 0.0)
        h = self.front["conv2"].gelu(h)
        return h.masked_fill(outside[:, 2:-1:2], 0.0)

    def contextualise(
        self,
        local: Tensor,
        lengths: Tensor,
        mask: Tensor | None = None,
        columns: Tensor | None = None,
        upto: int | None = None,
    ) -> Hidden:
        """Local features (B, S, H) -> Hidden."""
        local = self.masked(local, mask, columns)
        if local.shape[1] <= self.config.positions:
            return self.told(self._encode(local, lengths, upto), lengths)
        rows = []
        for row, length in zip(local, lengths.tolist(), strict=True):
            parts = [
                [h[0, kept] for h in self._encode(row[None, first:last], lengths.new_tensor([last - first]), upto)]
                for first, last, kept in chunks(length, self.config.positions)
            ]
            rows.append([torch.cat(level) for level in zip(*parts, strict=True)])
        return self.told(
            [nn.utils.rnn.pad_sequence(level, batch_first=True) for level in zip(*rows, strict=True)], lengths
        )

    def told(self, layers: list[Tensor], lengths: Tensor) -> Hidden:
        """With what it says of speech, where all blocks were there."""
        return Hidden(layers, lengths) if len(layers) <= self.config.layers else heard(self.speech, layers, lengths)

    def stream(self, x: Tensor, layer: int) -> Iterator[Tensor]:
        """The states of a layer for one recording (T, bins), some at a time: (S', H). Memory does not grow with it."""
        lengths = torch.tensor([len(x)], device=x.device)
        for first, last, kept in chunks((len(x) + 1) // 2, self.config.positions):
            local = self._convolve(x[None], lengths, first, last)
            yield self._encode(local, lengths.new_tensor([last - first]), layer)[-1][0, kept]

    def _encode(self, local: Tensor, lengths: Tensor, upto: int | None) -> list[Tensor]:
        """The states of every layer, of no more than there are positions."""
        h = self.drop(local + self.positions[: local.shape[1]].to(local))
        valid = valid_steps(lengths, h.shape[1])
        may_hear = attendable(valid)
        layers = [h]
        for block in self.blocks[:upto]:
            layers.append(block(layers[-1], may_hear))
        if self.norm is not None and len(layers) == 1 + self.config.layers:
            layers[-1] = self.norm(layers[-1])
        return layers


def heard(speech: nn.Module | None, layers: list[Tensor], lengths: Tensor) -> Hidden:
    """With what `speech` says of the last layer, 0 to 1."""
    if speech is None:
        return Hidden(layers, lengths)
    likely = speech(layers[-1])[..., 0].sigmoid()
    return Hidden(layers, lengths, speech=likely * valid_steps(lengths, likely.shape[1]))


def chunks(states: int, most: int) -> Iterator[tuple[int, int, slice]]:
    """(first, last, which of them are kept) of the chunks in which a recording of so many states is encoded.

    Two neighbours meet in the middle of what they share, so that no kept state is at an edge.

    >>> [(a, b, k.start, k.stop) for a, b, k in chunks(3000, 1500)]
    [(0, 1500, 0, 1375), (1250, 2750, 125, 1375), (2500, 3000, 125, 500)]
    """
    shared = most // OVERLAP
    hop, half = most - shared, shared // 2
    count = max(-(-(states - shared) // hop), 1)
    for k in range(count):
        first, last = k * hop, min(k * hop + most, states)
        yield first, last, slice(half if k else 0, last - first if k == count - 1 else hop + half)


def sinusoids(positions: int, width: int) -> Tensor:
    """(positions, width): sines, then cosines, of wavelengths from 2 pi to 10,000 times that."""
    half = width // 2
    with torch.device("cpu"):  # on "meta", `arange` imports PyTorch's compiler: a second, and 80 MiB
        rates = torch.exp(-math.log(10_000) / max(half - 1, 1) * torch.arange(half))
        angles = torch.arange(positions)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)
