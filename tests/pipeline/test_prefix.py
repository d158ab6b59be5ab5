"""Frozen blocks computed once: the same training but for rounding, and nothing is computed twice."""

import numpy as np
import pytest
import torch
from torch import nn
from toys import ToyStore

from sottovoce.backbones import whisper
from sottovoce.config import recipe
from sottovoce.config.finetuning import Full
from sottovoce.config.training import Training
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics
from sottovoce.data.store import Head, TrackStore, TrackWriter
from sottovoce.data.task import Task
from sottovoce.modeling import network as models
from sottovoce.modeling.loop import Keep
from sottovoce.pipeline import prefix
from sottovoce.pipeline.finetune import Lesson, Parts, train_all

TASK = Task("class", ("emotion",), ("a", "b"))
TRAINING = {"epochs": 4, "lr": 3e-3, "batch_rows": 4, "warmup": 0.0, "ema": 0.5}


def lesson_of(store, people):
    settings = recipe.resolve("hubert", track="logmel", settings=["track.bins=80"])
    steps = Steps([(store, people)], settings.frontend, Statistics.unit(store.dim))
    parts = Parts(store, people[:8], people[8:])
    steps, dev = steps.subset(range(8)), Steps([(store, people[8:])], settings.frontend, Statistics.unit(store.dim))
    return settings, Lesson(steps, TASK.values(parts.train), dev, TASK.values(parts.dev))


def utterances(n=12, dim=80):
    """Of even lengths, so that batches are the same for frames and for states."""
    rng = np.random.default_rng(0)
    store = ToyStore({f"u{k}": rng.standard_normal((30 + 2 * k, dim)) + k % 2 for k in range(n)})
    return store, [Utterance(name, "toy", "", labels={"emotion": "ab"[k % 2]}) for k, name in enumerate(store)]


def trained(store, people, key=None, **more):
    plan, lesson = lesson_of(store, people)
    torch.manual_seed(0)
    backbone = whisper.Backbone(whisper.Config(width=16, layers=3, heads=2, feedforward=32, speech=4), 80)
    finetune = {"layers": (2, 3), "freeze_blocks": 2, "temporal_pooling": "statistics", "dropout": 0.0} | more
    settings = Full(**finetune, training=Training(**TRAINING))
    network = models.Network(backbone, settings, TASK.outputs)
    nn.init.normal_(network.out.weight, std=0.1)
    it = models.Recognised(network, Statistics.unit(80), recipe.replace(plan, finetune=settings), TASK)
    start = {k: v.clone() for k, v in network.state_dict().items()}
    history = train_all(it, lesson, Keep(quiet=True), key)
    return start, network.state_dict(), history


@pytest.mark.parametrize("pooling", ["statistics", "speech"])
def test_a_cached_prefix_is_uncached_training_to_rounding(monkeypatch, pooling):
    start, ours, history = trained(*utterances(), temporal_pooling=pooling)
    monkeypatch.setattr(prefix, "frozen", lambda *_: 0)
    _, theirs, slow = trained(*utterances(), temporal_pooling=pooling)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=2e-3, msg=lambda m, n=name: f"{n}: {m}")
    assert [row["dev_ua"] for row in history["epochs"]] == [row["dev_ua"] for row in slow["epochs"]]
    for name, value in start.items():
        moved = not torch.equal(ours[name], value)
        assert moved == name.startswith(("backbone.blocks.2", "out.")), name


@pytest.mark.parametrize(
    "more", [{"freeze_blocks": 0}, {"layers": (1, 3)}, {"time_masks": 1}, {"mask_time": 0.1}, {"lora": 2}]
)
def test_what_touches_the_input_or_lower_layers_is_not_cached(more):
    settings = Full(**({"layers": (2, 3), "freeze_blocks": 2} | more), training=Training(time_stretch=0.0))
    backbone = whisper.Backbone(whisper.Config(width=16, layers=3, heads=2, feedforward=32), 80)
    assert prefix.frozen(models.Network(backbone, settings, 2), settings) == 0


def test_states_are_kept_with_the_corpus_and_computed_once(tmp_path, monkeypatch):
    toy, people = utterances()
    folder = tmp_path / "tracks" / "logmel-1"
    with TrackWriter(folder, Head("logmel", {}, 100.0, 0.0, 80)) as writer:
        for name in toy:
            writer.add(name, toy[name])
    store = TrackStore.open(folder)
    _, first, _ = trained(store, people, "weights")
    (kept,) = (tmp_path / "tracks").glob("prefix-*")
    assert set(TrackStore.open(kept).ids) == set(toy)
    monkeypatch.setattr(models, "states", lambda *_: pytest.fail("computed again"))
    _, again, _ = trained(store, people, "weights")
    assert all(torch.equal(a, b) for a, b in zip(first.values(), again.values(), strict=True))
