"""StrengthNet's encoder: twelve 3 x 3 convolutions over time and frequency, 512 values a frame.

Liu, Sisman, Schuller, Gao & Li, "Accurate emotion strength assessment for seen and unseen speech based on
data-driven deep learning" (arXiv:2206.07229, Interspeech 2022); layers as in the authors' model.py
(https://github.com/ttslr/StrengthNet), which are those of MOSNet. A frame's features go through one linear layer to
257 "frequencies", then through four groups of three convolutions; the third of each group takes every third
frequency. The two branches behind it, strength and emotion, belong to the objective (`objectives/strength.py`).

Kept from Keras: weights drawn as Glorot & Bengio do, biases 0, and zeros added where "same" adds them. Ours: frames
behind an utterance's end are zero before every convolution, as the frames before its beginning are, so that the
padding of a batch is not read.

B utterances, S frames, D input features, C channels, F frequencies, H width.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sottovoce.backbones import base
from sottovoce.backbones.base import Hidden, valid_steps
from sottovoce.config.ranges import Count, Settings
from sottovoce.errors import InputError

STRIDE = 3  # of the last convolution of a group, along frequency
GROUP = 3  # convolutions of a group
PIECE = 2000  # steps that are encoded at a time once training is over: memory does not grow with the recording


@dataclass(frozen=True)
class Config(Settings, group="backbone"):
    channels: tuple[Count, ...] = (16, 32, 64, 128)  # of each group
    frequencies: Count = 257  # F the stem makes of a frame

    layers: ClassVar[int] = 0  # hidden states before the last: none of one width

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels:
            raise InputError("backbone.channels: one group or more. Found none.")

    @property
    def width(self) -> int:
        """H, of a frame behind the last group: 4 frequencies x 128 channels."""
        left = self.frequencies
        for _ in self.channels:
            left = -(-left // STRIDE)
        return left * self.channels[-1]


class Backbone(base.Backbone):
    """forward(x (B, S, D), lengths (B,)) -> Hidden with one state of (B, S, H)."""

    def __init__(self, config: Config, features: int):
        super().__init__()
        self.config, self.features, self.dim = config, features, config.width
        self.stem = nn.Linear(features, config.frequencies)
        sizes = [1, *(c for c in config.channels for _ in range(GROUP))]
        self.convolutions = nn.ModuleList(
            # along frequency the third of a group is padded by hand
            nn.Conv2d(a, b, 3, stride=(1, STRIDE), padding=(1, 0))
            if k % GROUP == GROUP - 1
            else nn.Conv2d(a, b, 3, padding=1)
            for k, (a, b) in enumerate(itertools.pairwise(sizes))
        ).to(memory_format=torch.channels_last)  # a quarter faster on a CPU
        self.blocks = nn.ModuleList()  # nothing that fine-tuning could leave out
        self.apply(glorot)

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        valid, reach = valid_steps(lengths, x.shape[1]), len(self.convolutions)
        if self.training or x.shape[1] <= PIECE:
            return Hidden([self.encode(x, valid)], lengths)
        states = []  # piece by piece, each with the frames around it that it depends on
        for at in range(0, x.shape[1], PIECE):
            near = slice(max(at - reach, 0), at + PIECE + reach)
            states.append(self.encode(x[:, near], valid[:, near])[:, at - near.start :][:, :PIECE])
        return Hidden([torch.cat(states, dim=1)], lengths)

    def encode(self, x: Tensor, valid: Tensor) -> Tensor:
        """(B, S, D), (B, S) -> (B, S, H)."""
        padding = None if bool(valid.all()) else ~valid[:, None, :, None]
        h = self.stem(x)[:, None]  # (B, 1, S, F)
        h = h if padding is None else h.masked_fill(padding, 0.0)
        for convolution in self.convolutions:
            if convolution.stride[1] == STRIDE:
                short = (-(-h.shape[3] // STRIDE) - 1) * STRIDE + 3 - h.shape[3]  # as "same" does: the odd one behind
                h = nn.functional.pad(h, (short // 2, short - short // 2))
            h = convolution(h)  # (B, C, S, F')
            h = (h if padding is None else h.masked_fill_(padding, 0.0)).relu_()
        return h.permute(0, 2, 3, 1).flatten(2)


def glorot(module: nn.Module) -> None:
    """Uniform weights of variance 2 / (in + out), biases 0 (Glorot & Bengio 2010, AISTATS): Keras' defaults.

    PyTorch's own are smaller; behind twelve layers of them nothing is left of the input.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
