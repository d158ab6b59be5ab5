"""Masked timesteps: hide steps of a feature sequence, encode the rest, reconstruct what was hidden.

Nimitsurachat & Washington 2023, "Self-Supervised Learning for Audio-Based Emotion Recognition"
(arXiv:2307.12343), after BERT (arXiv:1810.04805). The paper says "randomly masked timestamps" and leaves
ratio, replacement and loss open; each is a setting here. Only steps that carry data are scored: padding
and all-zero frames (COVAREP's missing values) are not.

B utterances, S steps, D features, H width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sottovoce import masking
from sottovoce.data import Batch
from sottovoce.errors import InputError
from sottovoce.objectives import Loss

NEEDS: tuple[str, ...] = ()  # tracks beside the one the backbone reads


@dataclass(frozen=True)
class Config:
    ratio: float = 0.15  # share of valid steps hidden
    span: int = 1  # steps per span; 1 = single timesteps, the paper's
    unit: str = "frame"  # "frame": whole steps; "feature": every column on its own
    fill: str = "learned"  # "zero", "learned" or "noise"
    replace: tuple[float, float, float] = (0.8, 0.1, 0.1)  # filled, another step, unchanged
    loss: str = "l1"  # "l1", "l2" or "huber", on normalised features
    head: int = 1  # linear layers of the prediction head, 1 or 2; thrown away afterwards

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise InputError(f"objective.ratio: share of steps hidden, 0 < ratio < 1. Found {self.ratio}.")
        if self.span < 1:
            raise InputError(f"objective.span: steps, 1 or more. Found {self.span}.")
        for name, allowed in [
            ("unit", ("frame", "feature")),
            ("fill", ("zero", "learned", "noise")),
            ("loss", ("l1", "l2", "huber")),
            ("head", (1, 2)),
        ]:
            if getattr(self, name) not in allowed:
                raise InputError(f"objective.{name}: one of {allowed}. Found {getattr(self, name)!r}.")
        if min(self.replace) < 0 or abs(sum(self.replace) - 1) > 1e-6:
            raise InputError(f"objective.replace: three shares that add up to 1. Found {self.replace}.")


class Objective(nn.Module):
    """forward(batch, rng) -> Loss; `reconstruct` also returns what it saw and guessed, for pictures."""

    def __init__(self, config: Config, backbone: nn.Module):
        super().__init__()
        self.config, self.backbone = config, backbone
        width, features = backbone.dim, backbone.features
        layers: list[nn.Module] = [nn.Linear(width, features)]
        if config.head == 2:
            layers = [nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), *layers]
        self.predict = nn.Sequential(*layers)
        self.hidden_step = nn.Parameter(torch.zeros(features)) if config.fill == "learned" else None

    def mask(self, batch: Batch, rng: masking.RowRandom) -> Tensor:
        """(B, S) or (B, S, D) bool, True = hidden."""
        c = self.config
        if c.unit == "feature":
            mask = masking.feature_mask(batch.lengths, batch.x.shape[2], rng, ratio=c.ratio, span=c.span)
        else:
            mask = masking.span_mask(batch.lengths, rng, ratio=c.ratio, span=c.span)
        return mask.to(batch.x.device)

    def reconstruct(self, batch: Batch, rng: masking.RowRandom) -> tuple[Tensor, Tensor, Tensor]:
        """Guess (B, S, D), mask (B, S, D) of what is hidden *and* carries data, hidden share ()."""
        mask = self.mask(batch, rng)
        fill = self.config.fill if self.hidden_step is None else self.hidden_step
        seen = masking.corrupt(batch.x, mask, batch.lengths, rng, fill=fill, replace=self.config.replace)
        guess = self.predict(self.backbone(seen, batch.lengths).last)
        scored = (mask if mask.ndim == 3 else mask[..., None]) & batch.scored[..., None]
        full = scored.expand(-1, -1, batch.x.shape[2])
        share = full.sum() / (batch.scored.sum() * batch.x.shape[2]).clamp(min=1)
        return guess, full, share

    def forward(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        guess, scored, share = self.reconstruct(batch, rng)
        error = distance(self.config.loss, guess, batch.x)
        return Loss((error * scored).sum(), scored.sum(), {"coverage": float(share)})

    def trivial(self, batch: Batch, rng: masking.RowRandom) -> Loss:
        """The loss of always guessing the mean (zero after normalisation), on the same mask."""
        mask = self.mask(batch, rng)
        scored = (mask if mask.ndim == 3 else mask[..., None]) & batch.scored[..., None]
        error = distance(self.config.loss, torch.zeros_like(batch.x), batch.x)
        return Loss((error * scored).sum(), scored.expand_as(error).sum())


def distance(kind: str, guess: Tensor, truth: Tensor) -> Tensor:
    """Elementwise: |e|, e^2, or Huber with its knee at 1 deviation."""
    if kind == "l1":
        return (guess - truth).abs()
    if kind == "l2":
        return (guess - truth).square()
    return nn.functional.huber_loss(guess, truth, reduction="none")
