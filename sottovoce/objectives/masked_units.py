"""Masked units: predict which cluster masked spans of speech belong to, from what is left.

HuBERT (arXiv:2106.07447); settings and losses were read in fairseq (`hubert_base_librispeech.yaml`, `hubert.py`,
`hubert_criterion.py`): a learned vector stands for what is masked, states are projected and compared with a vector for
every unit by their cosine, several label sets have a projection each. Departures: spans do not overlap, so that `ratio`
is kept; vectors of units begin normally distributed, not all positive; gradients into the convolutions are not scaled
down (AdamW would scale them up again). Where a backbone has no convolutions, frames of its input are masked, as in
MelHuBERT (arXiv:2211.09944).

B utterances, S states, H width, L label sets, K units of a set, P projected, M states that count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.backbones.base import Backbone, Hidden
from sottovoce.config.ranges import Count, NotNegative, Positive, ShareBelow1
from sottovoce.data.batching import Batch
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.modeling import masking
from sottovoce.objectives import base
from sottovoce.objectives.base import Loss


@dataclass(frozen=True)
class Config(base.Config):
    # Where the units of every iteration come from, and how many: k-means of MFCC, then of a layer of the model before
    # (with --init, of the first model too). Several label sets at once: "10:64+512+4096". "label": from --units.
    targets: tuple[str, ...] = ("mfcc:100", "6:500")
    ratio: ShareBelow1 = 0.57  # share of states masked: what HuBERT's starts at 8 % of the states make, 1 - 0.92 ** 10
    span: Count = 10  # states per span, 200 ms
    project: Count = 256  # P
    temperature: Positive = 0.1  # cosines are divided by it
    combine: Literal["sum", "mean"] = "sum"  # of the losses of several label sets
    visible: NotNegative = 0.0  # weight of the states that are not masked
    penalty: NotNegative = 10.0  # of the mean square of the local features

    @property
    def clusters(self) -> tuple[str, ...]:
        """No track: units are made for a run, see `sottovoce.pipeline.units`."""
        return self.targets

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.targets:
            raise InputError("objective.targets: an iteration at least. Found none. Use e.g. mfcc:100,6:500.")
        for target in self.targets:
            parse(target)
        if self.ratio == 0 and self.visible == 0:
            raise InputError("objective.ratio: 0 masks nothing. Found objective.visible=0 too, so nothing would count.")


def parse(target: str) -> tuple[str, tuple[int, ...]]:
    """Where units come from ("mfcc", the number of a layer, or "label") and the sizes of the label sets.

    >>> parse("6:64+512")
    ('6', (64, 512))
    """
    source, _, sizes = target.partition(":")
    counts = [int(k) for k in sizes.split("+") if k.isdecimal() and int(k) > 1]
    if (
        (source not in ("mfcc", "label") and not source.isdecimal())
        or not counts
        or len(counts) != len(sizes.split("+"))
    ):
        raise InputError(
            f"objective.targets: {target!r} is not SOURCE:UNITS. Found no mfcc or layer, or no number above 1. "
            "Use e.g. mfcc:100 or 6:64+512."
        )
    return source, tuple(counts)


def counts(steps: Steps, sizes: Sequence[int]) -> list[np.ndarray]:
    """(K,) a label set: how often every unit occurs in these utterances, whose auxiliary tracks they are."""
    stores, _ = steps.aux["units"]
    every = np.concatenate([store[u.id] for store, u in zip(stores, steps.utterances, strict=True)]).astype(int)
    return [np.bincount(every[:, s] + 1, minlength=k + 1)[1:] for s, k in enumerate(sizes)]


class Objective(base.Objective):
    """forward(batch, rng) -> Loss; logs the share of masked states that are right, `accuracy`.

    Reads `batch.tracks["units"]` (B, S, L): whole numbers, -1 = unknown.
    """

    def __init__(self, config: Config, backbone: Backbone, widths: Mapping[str, int] | None = None):
        super().__init__(config, backbone, widths)
        self.sets = parse(config.targets[-1])[1]
        self.project = nn.ModuleList(nn.Linear(backbone.dim, config.project) for _ in self.sets)
        self.units = nn.ParameterList(torch.randn(k, config.project) for k in self.sets)
        self.register_buffer("prior", torch.full((sum(self.sets),), 1.0))  # chances of all label sets' units
        self.whole = backbone.traits.masks_states  # its mask vector stands behind the convolutions
        self.hidden_step = None if self.whole else nn.Parameter(torch.zeros(backbone.features))

    def prepare(self, data: base.Data) -> None:
        self.set_prior([torch.from_numpy(count) for count in counts(data.train, self.sets)])

    def set_prior(self, counts: list[Tensor]) -> None:
        """How often every unit occurs in the training part, (K,) a label set: what `baseline` predictions by."""
        self.prior.copy_(torch.cat([(count + 1) / (count + 1).sum() for count in counts]))

    def encode(self, batch: Batch, rng: masking.RowRandom) -> tuple[Hidden, Tensor, Tensor]:
        """Hidden, mask (B, S), mean square (B,) of what the convolutions made of each row."""
        x, lengths, penalty = batch.x, batch.lengths, batch.x.new_zeros(len(batch.x))
        if not self.whole:
            assert self.hidden_step is not None
            mask = self.mask(lengths, rng).to(x.device)
            return self.backbone(torch.where(mask[..., None], self.hidden_step, x), lengths), mask, penalty
        local, lengths = self.backbone.convolve(x, lengths)
        mask = self.mask(lengths, rng).to(x.device)
        penalty = local.float().square().sum((1, 2)) / (lengths * local.shape[2])
        return self.backbone.contextualise(local, lengths, mask), mask, penalty

    def mask(self, lengths: Tensor, rng: masking.RowRandom) -> Tensor:
        """(B, S) bool, True = masked."""
        if not self.config.ratio:
            return torch.zeros(len(lengths), int(lengths.max()), dtype=torch.bool)
        return masking.span_mask(lengths, rng, ratio=self.config.ratio, span=self.config.span)

    def weights(self, batch: Batch, mask: Tensor) -> Tensor:
        """(B, S) how much every state counts: masked ones 1, others `visible`, unknown and missing ones 0."""
        known = (batch.tracks["units"] >= 0).all(-1)
        if not self.whole:
            known = known & batch.scored
        return torch.where(mask, 1.0, self.config.visible) * known

    def forward(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        hidden, mask, penalty = self.encode(batch, rng)
        weights = self.weights(batch, mask)
        counts = weights > 0
        states, wanted, weight = hidden.last[counts], batch.tracks["units"][counts], weights[counts]  # (M, ...)
        predictions = [self.predict(states, k) for k in range(len(self.sets))]
        losses = [
            nn.functional.cross_entropy(p.float(), wanted[:, k], reduction="none") for k, p in enumerate(predictions)
        ]
        right = torch.stack([p.argmax(1) == wanted[:, k] for k, p in enumerate(predictions)])  # (L, M)
        total = (self.together(losses) * weight).sum()
        if self.training:  # on dev, the loss is that of the units alone, as `baseline` is
            total = total + self.config.penalty * (penalty * weights.sum(1)).sum()
        share = mask.sum() / hidden.valid.sum()
        return Loss(total, weights.sum(), {"coverage": share} | self.accuracy(right, mask[counts]))

    def predict(self, states: Tensor, k: int) -> Tensor:
        """States (M, H) -> scores (M, K) of the units of label set k."""
        projected = nn.functional.normalize(self.project[k](states), dim=-1)
        return projected @ nn.functional.normalize(self.units[k], dim=-1).T / self.config.temperature

    def together(self, losses: list[Tensor]) -> Tensor:
        summed = torch.stack(losses).sum(0)
        return summed / len(losses) if self.config.combine == "mean" else summed

    def accuracy(self, right: Tensor, masked: Tensor) -> dict[str, float]:
        """Mean over label sets of the share of masked states that are right: (L, M), (M,)."""
        return {"accuracy": float(right[:, masked].float().mean())} if masked.any() else {}

    def baseline(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        """Loss and accuracy of predicting by how often units occur, on the same states."""
        lengths = self.backbone.states(batch.lengths) if self.whole else batch.lengths
        mask = self.mask(lengths, rng).to(batch.x.device)
        weights = self.weights(batch, mask)
        counts = weights > 0
        wanted = batch.tracks["units"][counts]
        priors = self.prior.split(self.sets)
        losses = [-prior.log()[wanted[:, k]] for k, prior in enumerate(priors)]
        right = torch.stack([prior.argmax() == wanted[:, k] for k, prior in enumerate(priors)])
        return Loss((self.together(losses) * weights[counts]).sum(), weights.sum(), self.accuracy(right, mask[counts]))
