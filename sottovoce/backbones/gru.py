"""Bidirectional GRU over the steps (arXiv:1406.1078): the paper's other likely backbone.

B utterances, S steps, D input features, H width (both directions together).
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sottovoce.backbones import base
from sottovoce.backbones.base import Hidden
from sottovoce.config.ranges import Count, Settings, ShareBelow1
from sottovoce.errors import InputError


@dataclass(frozen=True)
class Config(Settings, group="backbone"):
    width: Count = 256  # H, half of it a direction
    layers: Count = 2  # blocks
    dropout: ShareBelow1 = 0.1  # share of states that is zero in training, between blocks

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % 2:
            raise InputError(f"backbone.width: even, half a direction. Found {self.width}.")


class Backbone(base.Backbone):
    """forward(x (B, S, D), lengths (B,)) -> Hidden with 1 + layers states of (B, S, H)."""

    def __init__(self, config: Config, features: int):
        super().__init__()
        self.config, self.features, self.dim = config, features, config.width
        self.embed = nn.Linear(features, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            nn.GRU(config.width, config.width // 2, batch_first=True, bidirectional=True) for _ in range(config.layers)
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        layers = [self.drop(self.embed(x))]
        on_cpu = lengths.cpu()
        for block in self.blocks:
            packed = pack_padded_sequence(layers[-1], on_cpu, batch_first=True, enforce_sorted=False)
            out, _ = pad_packed_sequence(block(packed)[0], batch_first=True, total_length=x.shape[1])
            layers.append(self.drop(out))
        return Hidden(layers, lengths)
