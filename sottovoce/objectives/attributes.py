"""Attributes: emotion and gender of whole utterances, learned together, so that the states carry both.

The first step of GMP-TL (arXiv:2405.02151), after which its states are clustered into "gender-augmented" units; read in
its abstract and in summaries only, so that weights, pooling and sizes are ours: cross-entropy of the emotion plus 0.3
of that of the gender, masked mean of the last states, one linear layer to 256, another to the classes. Weight 0 leaves
an attribute out: `weights=1,0` leaves gender out. An utterance without a label does not count for it.

B utterances, S states, H width, A attributes with a weight, K classes of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.backbones.base import Backbone
from sottovoce.config.ranges import Count, NotNegative
from sottovoce.data.batching import Batch
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.modeling import heads
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives import base
from sottovoce.objectives.base import Loss


@dataclass(frozen=True)
class Config(base.Config):
    attributes: tuple[str, ...] = ("emotion", "gender")  # class labels of the manifest, and the speakers' gender
    weights: tuple[NotNegative, ...] = (1.0, 0.3)  # of their losses, at the end of training
    early: tuple[NotNegative, ...] = ()  # at its beginning, with a straight line in between; () = the same
    project: Count = 256  # width of the layer before the classes
    balanced: bool = True  # every class counts the same, however rare
    freeze_front: bool = True  # the convolutions of an encoder stay as they are
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of every attribute; filled from the labels

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, found in (("weights", self.weights), ("early", self.early or self.weights)):
            if len(found) != len(self.attributes):
                raise InputError(f"objective.{name}: one for each of {', '.join(self.attributes)}. Found {found}.")
        if not self.used:
            raise InputError(f"objective.weights: nothing to learn. Found {self.weights}. Give one above 0.")

    @property
    def used(self) -> tuple[str, ...]:
        """Attributes that ever have a weight."""
        most = np.maximum(self.weights, self.early or self.weights)
        return tuple(name for name, w in zip(self.attributes, most, strict=True) if w > 0)

    def fitted(self, sides: base.Sides) -> "Config":
        """With the classes there are in a training part. Raises InputError when an attribute has fewer than two."""
        utterances, classes = sides.learners, {}
        for name in self.used:
            classes[name] = tuple(sorted({_label(u, name) for u in utterances} - {""}))
            if len(classes[name]) < 2:
                where = " + ".join(sorted({u.corpus for u in utterances}))
                others = ",".join(
                    str(w if n != name else 0) for n, w in zip(self.attributes, self.weights, strict=True)
                )
                raise InputError(
                    f"{where}: no two kinds of {name} to learn. Found {', '.join(classes[name]) or 'none'} in "
                    f"{len(utterances)} training utterances. Prepare the corpus with them, or leave it out: "
                    f"--set objective.weights={others}."
                )
        return replace(self, classes=classes)


def targets(utterances: Sequence[Any], config: Config) -> np.ndarray:
    """(N, A) class of every attribute that counts, -1 = not known."""
    index = [{name: k for k, name in enumerate(config.classes[a])} for a in config.used]
    rows = [[p.get(_label(u, a), -1) for a, p in zip(config.used, index, strict=True)] for u in utterances]
    return np.array(rows, dtype=np.int64).reshape(len(utterances), len(index))


def _label(u: Any, name: str) -> str:
    return u.gender if name == "gender" else str(u.labels.get(name, ""))


class Objective(base.Objective):
    """forward(batch, rng) -> Loss; reads `batch.target` (B, A), logs the share that is right of each attribute."""

    def __init__(self, config: Config, backbone: Backbone, widths: Mapping[str, int] | None = None):
        super().__init__(config, backbone, widths)
        self.project = nn.Linear(backbone.dim, config.project)
        self.guess = nn.ModuleList(nn.Linear(config.project, len(config.classes[name])) for name in config.used)
        self.sizes = [len(config.classes[name]) for name in config.used]
        self.register_buffer("share", torch.cat([torch.full((k,), 1 / k) for k in self.sizes]))  # of every class

    def prepare(self, data: base.Data) -> None:
        if "gender" in self.config.used:
            data.complete_genders(self.backbone)
        self.set_shares(torch.from_numpy(self.targets(data.train)))

    def targets(self, steps: Steps) -> np.ndarray:
        return targets(steps.utterances, self.config)

    def set_shares(self, target: Tensor) -> None:
        """How frequent the classes are in the training part, from its targets (N, A)."""
        counts = [torch.bincount(t[t >= 0], minlength=k) + 1e-6 for t, k in zip(target.T, self.sizes, strict=True)]
        self.share.copy_(torch.cat([count / count.sum() for count in counts]))

    def param_scale(self, name: str) -> float:
        """Factor on the learning rate of a parameter; 0 = frozen, or without any part in this."""
        frozen = self.config.freeze_front and name.startswith("backbone.front.")
        return 0.0 if frozen or name == "backbone.mask_vector" else 1.0

    def forward(self, batch: Batch, rng: RowRandom) -> Loss:
        hidden = self.backbone(batch.x, batch.lengths)
        z = self.project(heads.mean_pool(hidden.last, hidden.valid))
        return self._loss(batch, [head(z).float().log_softmax(1) for head in self.guess])

    def baseline(self, batch: Batch, rng: RowRandom) -> Loss:
        """The loss of predicting by how frequent the classes are."""
        rows = len(batch.x)
        return self._loss(batch, [share.log().expand(rows, -1) for share in self.share.split(self.sizes)])

    def _loss(self, batch: Batch, scores: list[Tensor]) -> Loss:
        """From log-probabilities (B, K) of every attribute: sum over rows, and rows that know any of them."""
        c, target = self.config, batch.target
        assert target is not None
        start, end = c.early or c.weights, c.weights
        weights = {n: a + (b - a) * batch.progress for n, a, b in zip(c.attributes, start, end, strict=True)}
        total, logs = scores[0].new_zeros(()), {}
        for k, (name, share) in enumerate(zip(c.used, self.share.split(self.sizes), strict=True)):
            known, truth = target[:, k] >= 0, target[:, k].clamp(min=0)
            losses = -scores[k].gather(1, truth[:, None])[:, 0]
            if c.balanced:
                losses = losses / (len(share) * share[truth])
            total = total + weights[name] * (losses * known).sum()
            if known.any():
                logs[f"{name}_accuracy"] = float((scores[k].argmax(1) == truth)[known].float().mean())
        return Loss(total, (target >= 0).any(1).sum(), logs)
