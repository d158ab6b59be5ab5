"""Blocks that a fine-tuning never changes, computed once: their states are kept as a track, training starts above them.

    CORPUS/tracks/prefix-DIGEST/    states (S, H) of the last frozen block, half precision, by weights and front end

Every fold, seed and label count reads the same. It is the same training but for rounding, where nothing happens below:
no augmentation of the input, no dropout in the backbone, no pooled layer under the frozen ones.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from sottovoce import files
from sottovoce.backbones import base, whisper
from sottovoce.backbones.base import Hidden
from sottovoce.config.finetuning import Full
from sottovoce.config.frontend import Frontend
from sottovoce.data.dataset import Steps
from sottovoce.data.memory import Memory
from sottovoce.data.store import Head, Source, TrackStore, TrackWriter
from sottovoce.modeling import network as models
from sottovoce.modeling.network import Network

AS_THEY_ARE = Frontend(subsampling=1, normalise="none", clip=0.0, trim_db=0.0)


class Above(base.Backbone):
    """The blocks of Whisper behind the first `count`, which share their weights with it; reads the states before them.

    Its layers are counted as the whole backbone's are: the first `count` stand for what is not there.
    """

    def __init__(self, whole: whisper.Backbone, count: int):
        super().__init__()
        self.config, self.features, self.dim = whole.config, whole.dim, whole.dim
        self.blocks, self.norm, self.count = whole.blocks[count:], whole.norm, count
        self.speech = whole.speech if len(whole.blocks) == whole.config.layers else None

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        may_hear = base.valid_steps(lengths, x.shape[1])[:, None, None]  # (B, 1, 1, S)
        layers = [x] * (self.count + 1)
        for block in self.blocks:
            layers.append(block(layers[-1], may_hear))
        if self.norm is not None and len(layers) == 1 + self.config.layers:
            layers[-1] = self.norm(layers[-1])
        return whisper.heard(self.speech, layers, lengths)


def frozen(network: Network, settings: Full) -> int:
    """How many blocks from the bottom may be computed once; 0: none."""
    whole, training = network.backbone, settings.training
    if not isinstance(whole, whisper.Backbone):
        return 0
    count = settings.freeze_blocks % len(whole.blocks) if settings.freeze_blocks else 0
    touched = (
        training.time_stretch or training.feature_stretch or training.crop_s or settings.time_masks
        or settings.feature_masks or settings.mask_time or settings.mask_features or settings.lora
        or whole.config.dropout
    )  # fmt: skip
    return 0 if touched or min(network.pooling.only) < count else count


def above(network: Network, count: int) -> Network:
    """A network that begins behind the first blocks, with the same weights."""
    assert isinstance(network.backbone, whisper.Backbone)
    other = copy.copy(network)
    other._modules = network._modules | {"backbone": Above(network.backbone, count)}
    return other


def states(network: Network, count: int, steps: Steps, key: Any) -> Steps:
    """The states behind the first blocks of the same utterances, those that are missing computed first.

    Args:
        key: what else decides them, such as the weights; None: they are kept in memory.
    """
    whole, family = network.backbone.eval(), steps.family
    todo: Sequence[int] = range(len(family))
    store: Any = family.stores[0]
    head = Head("prefix", {"blocks": count}, family.rate_hz / whole.traits.hop, store.offset_s, whole.dim, True)
    kept: Any = None
    if key is not None:
        folder = store.folder.parent / f"prefix-{files.digest([key, count, family.frontend, store.folder.name])}"
        if (folder / "track.json").exists():
            kept = TrackStore.open(folder)
            todo = [i for i in todo if kept.source(family.utterances[i].id) != _source(store, family.utterances[i].id)]
    missing = family.subset(todo)
    made = models.states(whole, missing, count) if len(missing) else iter(())
    if key is None:
        kept = Memory({missing.utterances[i].id: track.values.astype(np.float16) for i, track in made}, head)
    elif len(missing):
        with TrackWriter(folder, head) as writer:
            for i, track in made:
                name = missing.utterances[i].id
                writer.add(name, track.values, _source(store, name))
        kept = TrackStore.open(folder)
    ours = Steps([(kept, family.utterances)], AS_THEY_ARE)
    return ours if steps is family else ours.subset(range(len(steps)))


def _source(store: Any, name: str) -> Source:
    found = store.source(name)
    return replace(found, stamp="") if found else Source()
