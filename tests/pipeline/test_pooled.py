"""States that are kept with a corpus: whose they are, what an interruption leaves, who takes them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sottovoce.commands import finetune as finetune_command
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.runs import Run
from sottovoce.errors import InputError
from sottovoce.evaluation import evaluate
from sottovoce.modeling import network as models
from sottovoce.pipeline import pooled
from sottovoce.pipeline.extract import plan_store

ALONE = ["frontend.normalise=none", "finetune.temporal_pooling=statistics"]


@pytest.fixture(scope="module")
def frozen(corpus, tiny, tmp_path_factory) -> Path:
    """Random weights, frozen, two folds."""
    folder = tmp_path_factory.mktemp("runs") / "frozen"
    finetune_command.main(
        corpus, folder, init="none", mode="frozen", fold="fold1,fold2", settings=[*tiny, *ALONE], quiet=True
    )
    return folder


def scene(run: Path) -> tuple[models.Recognised, Steps]:
    """What the first fold has learned, and its test part."""
    made = Run.load(run / "fold1")
    corpus, it = Corpus.load(made.config["corpus"]), models.load_recognised(made)
    store = plan_store(corpus, it.plan, quiet=True)
    test = [corpus.by_id[k] for k in corpus.fold("fold1").test]
    return it, Steps([(store, test)], it.plan.frontend, it.statistics)


@pytest.fixture
def heard(monkeypatch) -> list[int]:
    """How many utterances go through a backbone, call by call."""
    found: list[int] = []
    run_over = models.run_over

    def counted(steps, function, *rest, **more):
        found.append(len(steps))
        return run_over(steps, function, *rest, **more)

    monkeypatch.setattr(models, "run_over", counted)
    return found


def test_what_fine_tuning_has_heard_is_not_heard_again_by_evaluation(frozen, tmp_path, heard):
    it, steps = scene(frozen)
    wanted = models.predict(it, steps)
    heard.clear()
    np.testing.assert_allclose(pooled.predict(it, steps), wanted, atol=1e-5)
    evaluate.report_on(frozen, tmp_path / "report", opensmile=False)
    assert heard == []  # fold 1's test part is in fold 2's training part, and the other way round


def test_other_weights_are_not_answered_for_by_what_is_kept(frozen):
    it, steps = scene(frozen)
    before = pooled.predict(it, steps)
    with torch.no_grad():
        for weight in it.network.backbone.parameters():
            weight.mul_(1.5)
    after = pooled.predict(it, steps)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(after, models.predict(it, steps), atol=1e-5)


def test_the_same_weights_in_another_shape_are_another_backbone(frozen):
    """As many numbers whatever the heads are, and of one seed the same ones."""
    it, steps = scene(frozen)
    config = replace(it.plan.backbone_config, heads=4)
    store = steps.stores[0]
    mine, theirs = (
        pooled.PooledStates(it.network, plan, store).key for plan in (it.plan, replace(it.plan, backbone_config=config))
    )
    assert mine[0] == theirs[0]
    assert mine != theirs


def test_what_was_computed_before_an_interruption_is_kept(frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(pooled, "AT_ONCE", 4)
    _, steps = scene(frozen)
    number = {u.id: k for k, u in enumerate(steps.utterances)}
    asked: list[str] = []

    def compute(some: Steps, until: int = len(steps)) -> np.ndarray:
        if len(asked) == until:
            raise KeyboardInterrupt
        asked.extend(u.id for u in some.utterances)
        return np.array([[number[u.id]] for u in some.utterances], np.float32)

    with pytest.raises(KeyboardInterrupt):
        pooled.PooledCache(tmp_path, "key")(steps, lambda some: compute(some, until=8))
    values = pooled.PooledCache(tmp_path, "key")(steps, compute)
    assert sorted(asked) == sorted(number)  # each once
    assert values[:, 0].tolist() == list(range(len(steps)))


def test_processes_side_by_side_take_what_the_others_have(frozen, tmp_path, monkeypatch):
    """Each starts somewhere else; here the second is asked while the first is at work."""
    monkeypatch.setattr(pooled, "AT_ONCE", 4)
    monkeypatch.setattr(pooled, "COMPUTE", 0)
    _, steps = scene(frozen)
    counts = {"first": 0, "second": 0}
    second = pooled.PooledCache(tmp_path, "key")

    def compute(who: str):
        def work(some: Steps) -> np.ndarray:
            counts[who] += len(some)
            if who == "first" and counts[who] == 12:  # two parts are written by now
                monkeypatch.setattr(os, "getpid", lambda: 2)
                second(steps, compute("second"))
            return np.ones((len(some), 3), np.float32)

        return work

    pooled.PooledCache(tmp_path, "key")(steps, compute("first"))
    assert counts == {"first": 12, "second": len(steps) - 8}


def test_a_folder_that_cannot_be_written_into_keeps_nothing(frozen, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise InputError("No space left.")

    monkeypatch.setattr(pooled, "save_tensors", refuse)
    _, steps = scene(frozen)
    values = pooled.PooledCache(tmp_path, "key")(steps, lambda some: np.ones((len(some), 3), np.float32))
    assert values.shape == (len(steps), 3)
    assert not list(tmp_path.iterdir())
