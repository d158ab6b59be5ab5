"""What every backbone offers: `Backbone`, its `Traits`, and the `Hidden` states it returns.

A backbone file holds a `Config` (with `width` and `layers`, so that others may reckon with them) and a class
`Backbone(base.Backbone)` with `forward(x, lengths) -> Hidden`. All else has a way that holds for any backbone; one that
can do it at less cost, or can do more, says so in its `traits` and overrides the method.

B utterances, S steps at the input or states behind it, D input features, H width, M states asked for.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Traits:
    """What a backbone is, as far as others have to know."""

    hop: int = 1  # steps from one state to the next
    receptive_field: int = 1  # steps that a state describes, before any block mixes them
    masks_states: bool = False  # `convolve` and `contextualise` are there: states are masked, not the input
    surroundings: bool = False  # `Hidden.context` is there: what is around each step, and not the step itself
    adapters: tuple[str, ...] = ()  # names of the projections that may get LoRA


@dataclass
class Hidden:
    """layers: hidden states (B, S, H) of the input projection and of every block; lengths (B,) states.

    Every layer has one width, so that they can be pooled and mixed alike.
    """

    layers: list[Tensor]
    lengths: Tensor
    context: Tensor | None = None  # (B, S, H), see `Traits.surroundings`
    speech: Tensor | None = None  # (B, S), how likely each state is speech; 0 outside the utterance

    @property
    def last(self) -> Tensor:
        return self.layers[-1]

    @property
    def valid(self) -> Tensor:
        """(B, S) bool, True = inside the utterance."""
        return valid_steps(self.lengths, self.layers[-1].shape[1])


class Backbone(nn.Module):
    """Features become hidden states; no path, no file, no recipe is known here.

    A subclass sets `config`, `features` (D), `dim` (H) and `blocks`, of which a shallow recogniser keeps the first.
    """

    traits = Traits()
    config: Any
    features: int
    dim: int
    blocks: nn.ModuleList

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        """(B, S, D) with padding behind `lengths` (B,), which changes nothing -> Hidden."""
        raise NotImplementedError

    def at(self, x: Tensor, lengths: Tensor, where: Tensor) -> Tensor:
        """`forward(x, lengths).last[where]`, (M, H): the last states where `where` (B, S) is True."""
        return self(x, lengths).last[where]

    def layer(self, x: Tensor, lengths: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """States (B, S, H) of one layer and their lengths (B,); 0 is the input projection, 1 the first block."""
        hidden = self(x, lengths)
        return hidden.layers[number], hidden.lengths

    def convolve(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """With `masks_states`: local features (B, S, C) and their lengths (B,), before any block."""
        raise NotImplementedError

    def contextualise(
        self, local: Tensor, lengths: Tensor, mask: Tensor | None = None, columns: Tensor | None = None
    ) -> Hidden:
        """With `masks_states`: local features (B, S, C) -> Hidden, see `Encoder`."""
        raise NotImplementedError

    def states(self, lengths: Tensor) -> Tensor:
        """(B,) how many states so many steps make; one at least."""
        return ((lengths - self.traits.receptive_field) // self.traits.hop + 1).clamp(min=1)


class Encoder(Backbone):
    """One with `masks_states`, whose `contextualise` leaves out the blocks above `upto`, where that is given."""

    def forward(
        self,
        x: Tensor,
        lengths: Tensor,
        mask: Tensor | None = None,
        columns: Tensor | None = None,
        upto: int | None = None,
    ) -> Hidden:
        """`mask`, `columns` and `upto` as in `contextualise`."""
        return self.contextualise(*self.convolve(x, lengths), mask, columns, upto)

    def layer(self, x: Tensor, lengths: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """As of every backbone; no block above it works."""
        hidden = self(x, lengths, upto=number)
        return hidden.layers[number], hidden.lengths

    def contextualise(
        self,
        local: Tensor,
        lengths: Tensor,
        mask: Tensor | None = None,
        columns: Tensor | None = None,
        upto: int | None = None,
    ) -> Hidden:
        """Local features (B, S, C) -> Hidden.

        Args:
            mask: (B, S) bool, True = replaced by the mask vector.
            columns: (B, H) bool, True = this feature is 0 throughout the utterance.
            upto: the last block whose states are wanted; those above are left out. None: all.
        """
        raise NotImplementedError

    def masked(self, h: Tensor, mask: Tensor | None, columns: Tensor | None) -> Tensor:
        """What blocks see of (B, S, H); `mask_vector` (H,) is learned."""
        if mask is not None:
            h = torch.where(mask[..., None], self.mask_vector.to(h), h)
        return h if columns is None else h.masked_fill(columns[:, None], 0.0)


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """(B, S) bool, True before each row's length."""
    return torch.arange(steps, device=lengths.device)[None] < lengths[:, None]


def attendable(valid: Tensor) -> Tensor | None:
    """What may be attended to, (B, 1, 1, S) of `valid` (B, S); None where all may: attention without a mask is faster.

    A graph that is exported cannot look at values, so there it is always a mask.
    """
    return None if not torch.compiler.is_exporting() and bool(valid.all()) else valid[:, None, None, :]


def hop_and_field(backbone: Backbone) -> tuple[int, int]:
    """(hop, receptive field) of the hidden states, in steps."""
    return backbone.traits.hop, backbone.traits.receptive_field
