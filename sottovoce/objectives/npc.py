"""NPC: predict every frame from its surroundings but the nearest, through a quantiser.

Liu, Chung & Glass 2021 (arXiv:2011.00406): L1 between each valid frame and its prediction from the sum of the masked
convolutions (`backbones/npc.py`), quantised in groups (straight-through Gumbel-softmax; numbers of the authors'
code). EMS (arXiv:2406.06646) brings in the intensity in a model file that was never published; its
`pretrain/npc/pretrain_expert.py` (AI-S2-Lab/EMS@6b35c57) shows inputs and losses. Hence two ways:

    mask    ours   the spans a rule chooses are zero at the input; all valid frames are predicted as ever
    score   theirs the intensity is added to the input; a second head predicts this sum

The hole of the masked convolutions lies where it lies: by itself NPC cannot prefer a frame for what it holds.

B utterances, S steps, D features, H width, G groups of C codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sottovoce.backbones.base import Backbone
from sottovoce.config.masking import Policy
from sottovoce.config.ranges import Count, Positive
from sottovoce.data.batching import Batch
from sottovoce.errors import InputError
from sottovoce.modeling import masking
from sottovoce.objectives import base
from sottovoce.objectives.base import Loss, Preview


@dataclass(frozen=True)
class Config(Policy, base.Config):
    """What is masked where `mask` is on, see `config/masking.py`; then:"""

    renamed: ClassVar[dict[str, str]] = {"hide": "mask"}

    mask: bool = False  # the spans of the policy are zero at the input
    score: bool = False  # the intensity is added to the input, and a second head predicts the sum
    groups: Count = 4  # G, of codes; they share the width
    codes: Count = 64  # C, in each group
    gumbel: Positive = 1.0  # temperature of the Gumbel-softmax that chooses a code in training

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rule != "random" and not self.mask:
            raise InputError(
                f"objective.rule: {self.rule} has nothing to mask. Found objective.mask off. "
                "Use recipe ems_npc, or --set objective.mask=true."
            )
        if self.score and not self.intensity:
            raise InputError(
                "objective.score: adds the intensity to the input. Found no intensity track. "
                "Name one, e.g. --set objective.intensity=intensity."
            )

    @property
    def masks(self) -> bool:
        return self.mask

    def check(self, longest: int) -> None:
        if self.mask:
            super().check(longest)


class Quantiser(nn.Module):
    """Each group of a vector becomes one of its codes: (B, S, H) -> (B, S, H), and the choice (B, S, G, C) one-hot.

    In training drawn by Gumbel-softmax (arXiv:1611.01144) with the gradient of the soft choice; else the likeliest.
    """

    def __init__(self, width: int, groups: int, codes: int, temperature: float):
        super().__init__()
        if width % groups:
            raise InputError(f"objective.groups: have to share the backbone's width. Found {groups} and {width}.")
        self.groups, self.temperature, own = groups, temperature, width // groups
        self.logits = nn.Parameter(torch.empty(groups, own, codes).uniform_(-(own**-0.5), own**-0.5))
        self.bias = nn.Parameter(torch.empty(groups, codes).uniform_(-(own**-0.5), own**-0.5))
        self.codes = nn.Parameter(torch.empty(groups, codes, own).uniform_(-(codes**-0.5), codes**-0.5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        grouped = x.unflatten(2, (self.groups, -1))
        logits = torch.einsum("bsgd,gdc->bsgc", grouped, self.logits) + self.bias
        if self.training:
            choice = nn.functional.gumbel_softmax(logits, self.temperature, hard=True)
        else:
            choice = nn.functional.one_hot(logits.argmax(3), logits.shape[3]).to(logits)
        return torch.einsum("bsgc,gcd->bsgd", choice, self.codes).flatten(2), choice


class Objective(base.Objective):
    """Reads the track "intensity" where the settings name one; its backbone has to offer `Hidden.context`."""

    def __init__(self, config: Config, backbone: Backbone, widths: Mapping[str, int] | None = None):
        super().__init__(config, backbone, widths)
        if not backbone.traits.surroundings:
            name = type(backbone).__module__.rpartition(".")[2]
            raise InputError(
                f"objective npc: a frame may not see itself. Found backbone {name}, which looks everywhere. "
                "Leave --backbone out, or use npc."
            )
        self.quantise = Quantiser(backbone.dim, config.groups, config.codes, config.gumbel)
        self.predict = nn.Sequential(nn.Linear(backbone.dim, backbone.features))
        self.predict_score = nn.Linear(backbone.dim, backbone.features) if config.score else None

    def mask(self, batch: Batch, rng: masking.RowRandom) -> Tensor:
        """(B, S) bool, True = zero at the input."""
        if not self.config.mask:
            return torch.zeros_like(batch.scored)
        mask = masking.draw_mask(self.config, batch.lengths, rng, batch.tracks.get("intensity"), batch.progress)
        return mask.to(batch.x.device)

    def preview(self, batch: Batch, rng: masking.RowRandom) -> Preview:
        """The prediction of every step, and what was masked at the input."""
        mask = self.mask(batch, rng)
        codes, _ = self._codes(batch, mask)
        return Preview(batch.x, self.predict(codes), mask[..., None].expand_as(batch.x))

    def forward(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        mask, scored = self.mask(batch, rng), batch.scored[..., None]
        codes, choice = self._codes(batch, mask)
        total = ((self.predict(codes) - batch.x).abs() * scored).sum()
        logs = {"coverage": mask.sum() / batch.lengths.sum(), "perplexity": perplexity(choice.detach(), batch.scored)}
        if self.config.intensity:
            logs |= masking.contrast(mask, batch.tracks["intensity"], batch.valid)
        if self.predict_score is not None:
            summed = batch.x + batch.tracks["intensity"][..., None]
            total = total + ((self.predict_score(codes) - summed).abs() * scored).sum()
        return Loss(total, scored.sum() * batch.x.shape[2], logs)

    def baseline(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        """The loss of always predicting the mean: zero after normalisation, of an intensity an utterance's own."""
        scored = batch.scored[..., None]
        total = (batch.x.abs() * scored).sum()
        if self.config.score:
            score = batch.tracks["intensity"]  # zero after an utterance's end
            centred = score - score.sum(1, keepdim=True) / batch.lengths[:, None]
            total = total + ((batch.x + centred[..., None]).abs() * scored).sum()
        return Loss(total, scored.sum() * batch.x.shape[2])

    def _codes(self, batch: Batch, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, H) quantised surroundings of every step, and the codes chosen (B, S, G, C)."""
        seen = batch.x + batch.tracks["intensity"][..., None] if self.config.score else batch.x
        return self.quantise(self.backbone(seen.masked_fill(mask[..., None], 0.0), batch.lengths).context)


def perplexity(choice: Tensor, scored: Tensor) -> Tensor:
    """How many codes are in use: exp of the entropy of their shares, mean over groups. 1 = the codebook collapsed.

    Args:
        choice: (B, S, G, C) one-hot.
        scored: (B, S) bool, steps that count.
    """
    share = torch.einsum("bsgc,bs->gc", choice, scored.to(choice))
    share = share / share.sum(1, keepdim=True).clamp(min=1)
    return torch.exp(-(share * share.clamp(min=1e-12).log()).sum(1)).mean()
