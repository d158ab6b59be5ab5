"""The supervised objective of fine-tuning: augmentation, network, loss.

B utterances, S steps, D features, P pooled features, K outputs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.backbones.base import Backbone
from sottovoce.config.finetuning import FineTuning, Frozen, Full
from sottovoce.config.frontend import Frontend
from sottovoce.data.batching import Batch
from sottovoce.data.dataset import Steps
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import network as models
from sottovoce.modeling.margins import held_back
from sottovoce.modeling.masking import RowRandom, span_mask
from sottovoce.objectives import Loss

# The loss "auto" of each kind of task. Most intensities are 0: their median is, and l1 learns nothing else.
AUTO = {"class": "ce", "number": "huber"}


class Supervised(nn.Module):
    """forward(batch, rng) -> Loss over the utterances of a batch, as `training.fit` wants it."""

    def __init__(self, network: models.Network, task: Task, settings: Full, steps: Steps, target: np.ndarray):
        super().__init__()
        self.network, self.settings, self.frontend, self.rate_hz = network, settings, steps.frontend, steps.rate_hz
        self.outputs = task.outputs
        self.loss = supervised_loss(task, settings, target)
        if (settings.mask_time or settings.mask_features) and not network.backbone.traits.masks_states:
            raise InputError(
                "finetune.mask_time: masks states of an encoder. Found another backbone. Use finetune.time_masks and "
                "finetune.feature_masks, which mask what it reads."
            )
        self.family = steps.family  # speakers are known from all their recordings, labelled or not
        if settings.embedding_norm == "speaker":
            names = models.speakers(self.family)
            people = sorted(set(names))
            self.speaker_index = {u.id: people.index(n) for u, n in zip(self.family.utterances, names, strict=True)}
            self.people = torch.tensor([people.index(n) for n in names])
            self.register_buffer("speaker_mean", torch.zeros(len(people), network.pooling.dim))
            self.register_buffer("speaker_std", torch.ones(len(people), network.pooling.dim))

    def refresh(self) -> None:
        """Speakers' statistics of the pooled features, from the weights as they are now; constants for an epoch.

        Buffers, so that a resumed epoch goes on with those it began with.
        """
        self.network.eval()
        pooled = models.run_over(self.family, self.network.pooled, self.speaker_mean.device)
        who, norm = models.speakers(self.family), self.network.standardise
        norm.fit(torch.from_numpy(pooled), who)
        mean, std = norm.of_speakers(pooled, who, self.settings.speaker_prior)
        self.speaker_mean[self.people] = torch.from_numpy(mean).to(self.speaker_mean)
        self.speaker_std[self.people] = torch.from_numpy(std).to(self.speaker_std)

    def forward(self, batch: Batch, rng: RowRandom) -> Loss:
        s = self.settings
        x = spec_augment(batch.x, batch.lengths, rng, s, self.frontend, self.rate_hz)
        pooled = self.network.pooled(x, batch.lengths, **state_masks(self.network.backbone, batch.lengths, rng, s))
        if s.embedding_norm == "speaker":
            who = [self.speaker_index[key] for key in batch.ids]
            z = (pooled - self.speaker_mean[who]) / self.speaker_std[who]
        else:
            z = self.network.standardise(pooled)
        z = nn.functional.dropout(z, s.dropout, self.training)
        target = batch.target
        assert target is not None
        if s.mixup and len(z) > 1:  # of pooled features: manifold mixup (arXiv:1806.05236) at the last layer
            share = float(np.random.default_rng(batch.seeds[0]).beta(s.mixup, s.mixup))
            z = share * z + (1 - share) * z.roll(1, 0)
            out = self.network.out(z)
            losses = share * self.loss(out, target) + (1 - share) * self.loss(out, target.roll(1, 0))
        else:
            losses = self.loss(self.network.out(z), target)
        return Loss(losses.sum(), torch.tensor(float(len(losses)), device=losses.device))


def spec_augment(
    x: Tensor, lengths: Tensor, rng: RowRandom, settings: Full, frontend: Frontend, rate_hz: float
) -> Tensor:
    """Zero (the mean) random spans of time and blocks of features (arXiv:1904.08779): (B, S, D) -> (B, S, D).

    Every row from its own seed. Stacked steps lose the same features in each of their frames.
    """
    steps, stacked = x.shape[1], frontend.subsampling if frontend.subsample == "stack" else 1
    features = x.shape[2] // stacked
    u = rng.uniform(torch.full_like(lengths.cpu(), 2 * (settings.time_masks + settings.feature_masks)))  # (B, n)
    masks = iter(u.T.reshape(-1, 2, len(x)).to(x.device))
    at, column = torch.arange(steps, device=x.device), torch.arange(features, device=x.device)
    for _ in range(settings.time_masks):
        width, position = next(masks)
        # never more than a quarter of a short utterance a mask
        longest = torch.minimum(torch.full_like(position, settings.time_mask_s * rate_hz), lengths / 4)
        width = width * longest
        start = position * (lengths - width)
        x = x.masked_fill(((at >= start[:, None]) & (at < (start + width)[:, None]))[..., None], 0.0)
    for _ in range(settings.feature_masks):
        width, position = next(masks)
        width = width * settings.feature_mask * features
        start = position * (features - width)
        hit = (column >= start[:, None]) & (column < (start + width)[:, None])  # (B, F)
        x = x.masked_fill(hit.repeat(1, stacked)[:, None], 0.0)
    return x


def state_masks(backbone: Backbone, lengths: Tensor, rng: RowRandom, settings: Full) -> dict[str, Tensor]:
    """What an encoder masks of its own states: `mask` (B, S) and `columns` (B, H), True = masked.

    SpecAugment where wav2vec 2.0 does it (arXiv:2006.11477, app. B), behind the convolutions. Departure: spans do not
    overlap, so that the shares are kept. Every row from its own seed.
    """
    masks = {}
    if settings.mask_time:
        masks["mask"] = span_mask(backbone.states(lengths), rng, ratio=settings.mask_time, span=settings.mask_span)
    if settings.mask_features:
        width = torch.full_like(lengths, backbone.dim)
        masks["columns"] = span_mask(width, rng, ratio=settings.mask_features, span=settings.mask_width)
    return {name: mask.to(lengths.device) for name, mask in masks.items()}


def supervised_loss(task: Task, settings: FineTuning, target: np.ndarray) -> Callable[[Any, Any], Any]:
    """outputs, targets -> (B,) losses, weighted so that every class counts the same if asked."""
    kind = settings.loss if settings.loss != "auto" else AUTO[task.kind]
    if (kind in ("ce", "amsoftmax")) != (task.kind == "class"):
        raise InputError(
            f"finetune.loss: {kind!r} does not fit {task.kind} targets. Use ce or amsoftmax for classes; "
            "l1, huber or ccc for regression."
        )
    if task.kind == "class":
        margin = 0.0 if isinstance(settings, Frozen) or kind != "amsoftmax" else settings.scale * settings.margin
        weights = torch.ones(task.outputs)
        if settings.class_weights:
            count = target.sum(0) if target.ndim == 2 else np.bincount(target, minlength=task.outputs)
            present = max((count > 0).sum(), 1)
            weights = torch.tensor(len(target) / present / np.where(count > 0, count, 1), dtype=torch.float32)

        def ce(out: Any, y: Any) -> Any:  # y (B,) classes, or (B, K) shares of the raters
            hard = y if y.ndim == 1 else y.argmax(1)
            out = held_back(out, hard, margin) if margin else out
            losses = nn.functional.cross_entropy(out, y, label_smoothing=settings.label_smoothing, reduction="none")
            own = weights.to(out.device)
            return losses * (own[hard] if y.ndim == 1 else y @ own)

        return ce
    if kind == "ccc":

        def ccc(out: Any, y: Any) -> Any:  # one figure for the batch, the same for every row
            y = y.to(out)
            a, b = out - out.mean(0), y - y.mean(0)
            bias = (out.mean(0) - y.mean(0)).square()
            rho = 2 * (a * b).mean(0) / (a.square().mean(0) + b.square().mean(0) + bias + 1e-8)
            return (1 - rho).mean().expand(len(out))

        return ccc
    distance = nn.functional.l1_loss if kind == "l1" else nn.functional.huber_loss
    return lambda out, y: distance(out, y.to(out), reduction="none").mean(1)
