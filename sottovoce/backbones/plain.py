"""No backbone: the steps themselves are the only hidden states, so that features alone can be judged.

    sottovoce finetune data/ravdess --init none --backbone plain --mode frozen --set frontend.subsampling=1 \\
        --set finetune.temporal_pooling=statistics -o runs/log_mel

is logistic regression on mean and deviation of log-mel bands: what an encoder has to beat, on its folds, by its rules.

B utterances, S steps, D features.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sottovoce.backbones import base
from sottovoce.backbones.base import Hidden


@dataclass(frozen=True)
class Config:
    """Nothing to set."""

    width: ClassVar[int] = 0  # that of the input
    layers: ClassVar[int] = 0


class Backbone(base.Backbone):
    """forward(x (B, S, D), lengths (B,)) -> Hidden with one layer, x."""

    def __init__(self, config: Config, features: int):
        super().__init__()
        self.config, self.features, self.dim = config, features, features
        self.blocks = nn.ModuleList()

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        return Hidden([x], lengths)
