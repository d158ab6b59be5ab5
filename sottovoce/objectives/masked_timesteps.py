"""Masked timesteps: mask frames of a feature sequence, encode the rest, reconstruct what was masked.

Three papers, one objective; the recipes say which settings are whose.

    masked timesteps   single steps, BERT's way         Nimitsurachat & Washington 2023, arXiv:2307.12343
    MockingJay         spans of 7 frames                Liu et al. 2020, arXiv:1910.12638 (s3prl `pretrain/mockingjay`)
    EMS                spans where emotion is strong    Liu & Ma 2024, arXiv:2406.06646 (AI-S2-Lab/EMS@6b35c57)

The first paper says "randomly masked timestamps" and leaves ratio, replacement and loss open; each is a setting
here. Only steps that carry data are scored: padding and all-zero frames (COVAREP's missing values) are not.

B utterances, S steps, D features, H width, M steps that are scored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.backbones.base import Backbone
from sottovoce.config.masking import Policy
from sottovoce.data.batching import Batch
from sottovoce.errors import InputError
from sottovoce.modeling import masking
from sottovoce.objectives import base
from sottovoce.objectives.base import Loss, Preview


@dataclass(frozen=True)
class Config(Policy, base.Config):
    """What is masked, see `config/masking.py`; then what is seen instead, and how the prediction is scored:"""

    unit: Literal["frame", "feature"] = "frame"  # "frame": whole steps; "feature": every column on its own
    fill: Literal["zero", "learned", "noise"] = "learned"  # what is seen instead
    replace: tuple[float, float, float] = (0.8, 0.1, 0.1)  # filled, other steps, unchanged
    # of these three: for each run of masked frames; or once an "utterance", as MockingJay does
    draw: Literal["run", "utterance"] = "run"
    score: bool = False  # EMS's code: the intensity is added to the input, and predicted by a second head
    target: str = ""  # another track to reconstruct, e.g. spectrogram; "" = the features themselves
    loss: Literal["l1", "l2", "huber"] = "l1"  # on normalised features
    head: Literal[1, 2] = 1  # linear layers of the prediction head, thrown away afterwards

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.replace) < 0 or abs(sum(self.replace) - 1) > 1e-6:
            raise InputError(f"objective.replace: three shares that add up to 1. Found {self.replace}.")
        if self.unit == "feature" and (self.intensity or self.target):
            raise InputError(
                "objective.unit: 'feature' masks columns one by one, at random. Found an intensity or a target of its "
                "own with it. Use objective.unit=frame."
            )
        if self.score and not self.intensity:
            raise InputError(
                "objective.score: adds the intensity to the input. Found no intensity track. "
                "Name one, e.g. --set objective.intensity=intensity."
            )

    @property
    def needs(self) -> dict[str, tuple[str, str]]:
        return super().needs | ({"target": (self.target, "linear")} if self.target else {})


class Objective(base.Objective):
    """Reads the tracks "intensity" and "target" where the settings name one."""

    def __init__(self, config: Config, backbone: Backbone, widths: Mapping[str, int] | None = None):
        super().__init__(config, backbone, widths)
        features = (widths or {}).get("target", backbone.features)
        self.predict = head(config.head, backbone.dim, features)
        self.predict_score = head(config.head, backbone.dim, backbone.features) if config.score else None
        self.hidden_step = nn.Parameter(torch.zeros(backbone.features)) if config.fill == "learned" else None

    def mask(self, batch: Batch, rng: masking.RowRandom) -> Tensor:
        """(B, S) or (B, S, D) bool, True = masked."""
        c = self.config
        if c.unit == "feature":
            mask = masking.feature_mask(batch.lengths, batch.x.shape[2], rng, ratio=c.ratio, span=c.span)
        else:
            mask = masking.draw_mask(c, batch.lengths, rng, batch.tracks.get("intensity"), batch.progress)
        return mask.to(batch.x.device)

    def target(self, batch: Batch) -> Tensor:
        """(B, S, D or D') what is to be reconstructed."""
        return batch.tracks["target"] if self.config.target else batch.x

    def forward(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        mask, truth = self.mask(batch, rng), self.target(batch)
        seen, score = self._seen(batch, mask, rng)
        scored = self._scored(mask, batch)
        where = scored.any(-1)  # (B, S): no other step has to be finished
        prediction = self.predict(self.backbone.at(seen, batch.lengths, where))  # (M, D)
        total, weight = (distance(self.config.loss, prediction, truth[where]) * scored[where]).sum(), scored.sum()
        logs = {"coverage": weight / (batch.scored.sum() * truth.shape[2]).clamp(min=1)}
        if self.config.intensity:
            logs |= masking.contrast(mask, batch.tracks["intensity"], batch.valid)
        if self.predict_score is not None and score is not None:
            shown, true = (s[..., None].expand_as(batch.x) for s in (score, batch.tracks["intensity"]))
            # the same encoder once more; as heavy as the features, per step
            prediction = self.predict_score(self.backbone.at(shown, batch.lengths, where))
            total = total + distance(self.config.loss, prediction, true[where]).mean(1).sum() * truth.shape[2]
        return Loss(total, weight, logs)

    def preview(self, batch: Batch, rng: masking.RowRandom) -> Preview:
        """The target, and the same with the prediction where it was masked."""
        mask, truth = self.mask(batch, rng), self.target(batch)
        seen, _ = self._seen(batch, mask, rng)
        masked = self._scored(mask, batch)
        return Preview(truth, torch.where(masked, self.predict(self.backbone(seen, batch.lengths).last), truth), masked)

    def baseline(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        """The loss of predicting the mean, on the same mask: zero after normalisation, of an intensity its own."""
        truth, scored = self.target(batch), self._scored(self.mask(batch, rng), batch)
        total = (distance(self.config.loss, torch.zeros_like(truth), truth) * scored).sum()
        if self.config.score:
            score = batch.tracks["intensity"]  # zero after an utterance's end
            mean = score.sum(1, keepdim=True) / batch.lengths[:, None]
            total = total + (distance(self.config.loss, mean, score) * scored[..., 0]).sum() * truth.shape[2]
        return Loss(total, scored.sum())

    def _seen(self, batch: Batch, mask: Tensor, rng: masking.RowRandom) -> tuple[Tensor, Tensor | None]:
        """What the backbone sees (B, S, D), and the intensity (B, S) as it is in there, where it is in there."""
        c, fill = self.config, self.config.fill if self.hidden_step is None else self.hidden_step
        if not c.score:
            return masking.corrupt(batch.x, mask, batch.lengths, rng, fill=fill, replace=c.replace, draw=c.draw), None
        x = torch.cat([batch.x, batch.tracks["intensity"][..., None]], dim=2)  # what befalls a frame befalls its score
        fill = nn.functional.pad(fill, (0, 1)) if isinstance(fill, Tensor) else fill
        seen = masking.corrupt(x, mask, batch.lengths, rng, fill=fill, replace=c.replace, draw=c.draw)
        return seen[..., :-1] + seen[..., -1:], seen[..., -1]

    def _scored(self, mask: Tensor, batch: Batch) -> Tensor:
        """(B, S, D) bool: masked and carrying data."""
        mask = mask if mask.ndim == 3 else mask[..., None]
        return (mask & batch.scored[..., None]).expand(-1, -1, self.target(batch).shape[2])


def head(layers: int, width: int, features: int) -> nn.Sequential:
    """The prediction head: one linear layer, or MockingJay's Linear, GELU, LayerNorm, Linear."""
    last = nn.Linear(width, features)
    return nn.Sequential(*([nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)] if layers == 2 else []), last)


def distance(kind: str, prediction: Tensor, truth: Tensor) -> Tensor:
    """Elementwise: |e|, e^2, or Huber with its knee at 1 deviation."""
    if kind == "l1":
        return (prediction - truth).abs()
    if kind == "l2":
        return (prediction - truth).square()
    return nn.functional.huber_loss(prediction, truth, reduction="none")
