"""One file, one backbone: `Config`, and `Backbone(config, features)` whose forward returns `Hidden`.

A backbone that makes fewer states than it gets steps says so: each of its states describes `window` steps, and the
next one begins `stride` steps later. Both are 1 where it does not say.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Hidden:
    """layers: hidden states (B, S, H) of the input projection and of every block; lengths (B,) steps."""

    layers: list[Tensor]
    lengths: Tensor

    @property
    def last(self) -> Tensor:
        return self.layers[-1]

    @property
    def valid(self) -> Tensor:
        """(B, S) bool, True = inside the utterance."""
        return valid_steps(self.lengths, self.layers[-1].shape[1])


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """(B, S) bool, True before each row's length."""

    return torch.arange(steps, device=lengths.device)[None] < lengths[:, None]


def clock_of(backbone: nn.Module) -> tuple[int, int]:
    """(stride, window) of the hidden states, in steps."""
    return getattr(backbone, "stride", 1), getattr(backbone, "window", 1)
