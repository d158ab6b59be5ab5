"""How an encoder is fine-tuned: what is frozen, what adapters learn, what is hidden, how recordings may be kept."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from toys import ToyStore

from sottovoce.backbones import encoder, transformer
from sottovoce.config import recipe
from sottovoce.config.training import Training
from sottovoce.data import audio
from sottovoce.data.dataset import Steps
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import network as models
from sottovoce.modeling import supervised
from sottovoce.modeling.masking import RowRandom
from sottovoce.pipeline import finetune
from sottovoce.tracks import wave

pytest.importorskip("transformers")
TASK = Task("class", ("emotion",), ("low", "high"))


def store_of(n=8, seconds=0.4):
    """Low and high voices, told apart by their label."""
    rng, time = np.random.default_rng(0), np.arange(int(16000 * seconds)) / 16000
    waves = {f"u{k}": 0.3 * np.sin(2 * np.pi * (200 + 900 * (k % 2)) * time)[:, None] for k in range(n)}
    return ToyStore({key: v + 0.02 * rng.standard_normal(v.shape) for key, v in waves.items()}, 16000.0)


def people(store):
    return [replace(u, labels={"emotion": TASK.classes[k % 2]}) for k, u in enumerate(store.utterances)]


def plan_of(family="hubert", **tuning):
    plan = recipe.resolve("hubert")
    training = Training(epochs=2, lr=1e-2, batch_rows=4, batch_s=1e6)
    tuned = {"dropout": 0.0, "layer_aggregation": "last", "training": training, "l2": (0.1,)} | tuning
    config = encoder.Config(family, "toy", dropout=0.0)
    return replace(plan, backbone_config=config, finetune=replace(plan.finetune, **tuned))


def trained(family="hubert", **tuning):
    """Backbone weights before and after fine-tuning, and the recogniser."""
    store, plan = store_of(), plan_of(family, **tuning)
    torch.manual_seed(plan.finetune.training.seed)
    before = models.build_backbone(plan, 1).state_dict()
    it, history = finetune.train_recogniser(plan, TASK, finetune.Parts(store, people(store)))
    assert len(history["epochs"]) == 2
    return {k: v.clone() for k, v in before.items()}, it.network.backbone.state_dict(), it


def moved(before, after):
    """First parts of the names whose weights are others now: front, project, blocks.0, ..."""
    changed = [name.split(".") for name, v in before.items() if not v.equal(after[name])]
    return {".".join(parts[: 2 if parts[0] == "blocks" else 1]) for parts in changed}


EVERYTHING = {"project", "positions", "norm_first", "blocks.0", "blocks.1"}


@pytest.mark.parametrize(
    ("tuning", "trains"),
    [
        ({}, EVERYTHING),  # the convolutions stay, unless asked for
        ({"freeze_front": False}, EVERYTHING | {"front"}),
        ({"freeze_blocks": 1}, {"blocks.1"}),
        ({"freeze_blocks": -1}, {"blocks.1"}),
        ({"freeze_blocks": -2}, EVERYTHING),
        ({"mask_time": 0.4}, EVERYTHING | {"mask_vector"}),
        ({"lora": 2}, {"blocks.0", "blocks.1"}),
        ({"lora": 2, "freeze_blocks": -1}, {"blocks.1"}),
    ],
    ids=lambda given: str(given) if isinstance(given, dict) else " ".join(sorted(given)),
)
def test_what_is_said_to_be_trained_is_trained_and_nothing_else(tuning, trains):
    before, after, _ = trained(**tuning)
    assert moved(before, after) == trains


def test_rates_fall_from_block_to_block():
    network = models.Network(encoder.Backbone(encoder.Config(size="toy"), 1), plan_of().finetune, 2)
    rate = finetune.layer_rates(network, replace(plan_of().finetune, layer_decay=0.5, head_lr=3.0))
    names = ["project.projection.weight", "blocks.0.layer_norm.weight", "blocks.1.layer_norm.weight"]
    assert [rate(f"network.backbone.{name}") for name in names] == [0.25, 0.5, 1.0]
    assert rate("network.out.weight") == 3.0


@pytest.mark.parametrize("family", encoder.FAMILIES)
def test_adapters_become_a_change_of_low_rank_in_queries_and_values_alone(family):
    """And the network is an ordinary one afterwards, with the names it had before."""
    before, after, it = trained(family, lora=2)
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {f"blocks.{k}.attention.{p}_proj.weight" for k in (0, 1) for p in "qv"}
    for name in changed:
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-5) <= 2
    assert all(type(m).__module__.split(".")[0] != "peft" for m in it.network.modules())


def test_adapters_give_the_same_result_inside_and_merged():
    torch.manual_seed(0)
    backbone = encoder.Backbone(encoder.Config(size="toy", dropout=0.0), 1)
    x, lengths = torch.randn(2, 5000, 1), torch.tensor([5000, 3000])
    plain = backbone.eval()(x, lengths).last
    models.add_adapters(backbone, 3)
    torch.testing.assert_close(backbone(x, lengths).last, plain)  # they begin as nothing
    for name, p in backbone.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(p, std=0.3)
    inside = backbone(x, lengths).last
    assert not torch.allclose(inside, plain, atol=1e-2)
    models.merge_adapters(backbone)
    torch.testing.assert_close(backbone(x, lengths).last, inside, rtol=1e-4, atol=1e-5)


def test_shares_that_are_hidden_are_kept_and_each_row_has_its_own():
    backbone = encoder.Backbone(encoder.Config(size="toy"), 1)
    settings = replace(plan_of().finetune, mask_time=0.3, mask_span=5, mask_features=0.25, mask_width=4)
    lengths = torch.tensor([16000, 32400, 16000])
    masks = supervised.state_masks(backbone, lengths, RowRandom([1, 2, 3]), settings)
    assert masks["mask"].shape == (3, 101)
    assert masks["mask"].sum(1).tolist() == [15, 30, 15]
    assert masks["columns"].shape == (3, 32)
    assert masks["columns"].sum(1).tolist() == [8, 8, 8]
    assert not masks["mask"][0].equal(masks["mask"][2])
    alone = supervised.state_masks(backbone, lengths[2:], RowRandom([3]), settings)
    assert alone["mask"][0].equal(masks["mask"][2, :49])
    assert alone["columns"][0].equal(masks["columns"][2])


def test_nothing_is_hidden_when_it_is_used():
    _, _, it = trained(mask_time=0.4, mask_features=0.4, mask_width=4)
    store = store_of(2)
    steps = Steps([(store, store.utterances)], it.plan.frontend, it.statistics)
    np.testing.assert_array_equal(models.predict(it, steps), models.predict(it, steps))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lora": 2}, "finetune.lora: adapts encoders only"),
        ({"mask_time": 0.2}, "finetune.mask_time: masks states of an encoder"),
        ({"freeze_blocks": 9}, "finetune.freeze_blocks: at most the 2 of this backbone. Found 9"),
    ],
)
def test_what_another_backbone_cannot_do_is_refused(wrong, said):
    plan = plan_of(**wrong)
    plan = replace(
        plan, backbone="transformer", backbone_config=transformer.Config(16, 2, 2, 16, positions="sinusoidal")
    )
    store = store_of(seconds=0.01)
    with pytest.raises(InputError, match=said):
        finetune.train_recogniser(plan, TASK, finetune.Parts(store, people(store)))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"mask_time": 1.0}, "mask_time"), ({"mask_features": -0.1}, "mask_features"), ({"mask_span": 0}, "mask_span"),
     ({"lora": -1}, "lora")],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong, named):
    with pytest.raises(InputError, match=f"finetune.{named}"):
        plan_of(**wrong)


def tone(rate_hz):
    time = np.arange(rate_hz) / rate_hz
    return 0.3 * np.sin(2 * np.pi * 300 * time) * (0.5 - 0.5 * np.cos(2 * np.pi * time))


def test_stereo_at_another_rate_is_heard_as_mono_at_16_khz(tmp_path):
    """What an encoder is given does not depend on how a recording is kept."""
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone(44100), 0.6 * tone(44100)], 1), 44100, "FLOAT")
    soundfile.write(tmp_path / "mono.wav", 0.8 * tone(16000), 16000, "FLOAT")
    heard = [wave.make(audio.read(tmp_path / name), wave.Config()) for name in ("stereo.wav", "mono.wav")]
    assert [h.rate_hz for h in heard] == [16000, 16000]
    np.testing.assert_allclose(heard[0].values, heard[1].values, atol=1e-5)
    torch.manual_seed(0)
    backbone = encoder.Backbone(encoder.Config(size="toy", dropout=0.0), 1).eval()
    a, b = (backbone(torch.from_numpy(h.values)[None, :, None], torch.tensor([16000])).last for h in heard)
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
