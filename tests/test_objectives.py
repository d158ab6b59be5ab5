"""Laws for every file in `objectives/`, and the losses beside NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_backbones import small
from toys import ToyStore, steps_of, waves

from sottovoce import plugins
from sottovoce.data import Frontend, Statistics, Steps
from sottovoce.errors import InputError
from sottovoce.masking import RowRandom
from sottovoce.objectives import Loss
from sottovoce.objectives import masked_timesteps as mt

FEATURES = 7  # what `small` backbones read
VARIANTS = [{"span": 3}, {"unit": "feature"}, {"fill": "zero"}, {"fill": "noise"}, {"loss": "huber"}, {"head": 2}]

# Those that guess what they hid; `strength` is taught from labels and has tests of its own (test_strength.py).
GUESSING = [n for n in plugins.names("objectives") if hasattr(plugins.load("objectives", n).Objective, "reconstruct")]

each_objective = pytest.mark.parametrize(
    ("name", "more"),
    [(name, {}) for name in GUESSING] + [("masked_timesteps", v) for v in VARIANTS],
    ids=lambda v: v if isinstance(v, str) else ",".join(f"{k}={x}" for k, x in v.items()) or "default",
)


def objective(name, backbone="transformer", **more):
    module = plugins.load("objectives", name)
    torch.manual_seed(0)
    return module.Objective(replace(module.Config(), **more), small(backbone))


def loss_of(model, batch, seeds=None):
    return model(batch, RowRandom(seeds or batch.seeds))


@pytest.fixture
def steps():
    return steps_of(waves(6, features=FEATURES))


def learn_by_heart(model, batch, updates=80):
    """Loss before and after."""
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(updates):
        optimiser.zero_grad()
        loss = loss_of(model, batch).value
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


@each_objective
def test_one_batch_is_learned_by_heart(name, more, steps):
    before, after = learn_by_heart(objective(name, **more), steps.batch(range(4)))
    assert after < 0.5 * before


@pytest.mark.parametrize("backbone", plugins.names("backbones"))
@pytest.mark.parametrize("name", GUESSING)
def test_every_backbone_learns_by_every_objective(name, backbone, steps):
    before, after = learn_by_heart(objective(name, backbone), steps.batch(range(4)))
    assert after < 0.5 * before


@each_objective
def test_the_same_seed_gives_the_same_loss_and_another_seed_another(name, more, steps):
    batch, model = steps.batch(range(6)), objective(name, **more).eval()
    once = loss_of(model, batch)
    assert isinstance(once, Loss)
    assert once.total.shape == once.weight.shape == ()
    assert loss_of(model, batch).value.equal(once.value)
    assert not loss_of(model, batch, [s + 1 for s in batch.seeds]).value.equal(once.value)


@each_objective
def test_the_loss_of_a_batch_is_the_weighted_mean_of_its_rows(name, more, steps):
    model = objective(name, **more).eval()
    together = loss_of(model, steps.batch(range(6)))
    rows = [loss_of(model, steps.batch([i])) for i in (3, 1, 0, 5, 4, 2)]
    torch.testing.assert_close(together.total, torch.stack([r.total for r in rows]).sum(), rtol=1e-5, atol=1e-5)
    assert together.weight == sum(r.weight for r in rows)
    assert together.value == together.total / together.weight


@each_objective
def test_what_stands_in_missing_and_padded_frames_is_never_scored(name, more):
    """Their targets may be anything: neither loss nor weight moves. The model is one that does not look at them."""
    store = waves(4, features=FEATURES)
    for values in store.values():
        values[5:8] = 0
    steps = steps_of(store)
    batch, model = steps.batch(range(4)), objective(name, **more).eval()
    assert not batch.scored[:, 5:8].any()
    for p in model.backbone.parameters():
        torch.nn.init.zeros_(p)  # blind
    clean = loss_of(model, batch)
    batch.x[~batch.scored] = 1e4
    dirty = loss_of(model, batch)
    assert clean.weight == dirty.weight
    torch.testing.assert_close(clean.total, dirty.total)


@each_objective
def test_trivial_is_the_loss_of_guessing_zero_on_the_same_mask(name, more, steps):
    model = objective(name, **more).eval()
    for p in model.predict[-1].parameters():
        torch.nn.init.zeros_(p)
    batch = steps.batch(range(6))
    guessed, trivial = loss_of(model, batch), model.trivial(batch, RowRandom(batch.seeds))
    torch.testing.assert_close(guessed.total, trivial.total)
    assert guessed.weight == trivial.weight


@each_objective
def test_every_parameter_of_an_objective_gets_a_gradient(name, more, steps):
    model = objective(name, **more)
    loss_of(model, steps.batch(range(6))).value.backward()
    assert [k for k, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@each_objective
def test_a_batch_without_anything_to_score_costs_nothing(name, more):
    """A corpus of one-frame utterances, or of missing frames: zero, not NaN."""
    nothing = ToyStore({"u0": np.zeros((9, FEATURES)), "u1": np.zeros((4, FEATURES))})
    unit = Statistics(np.zeros(FEATURES), np.ones(FEATURES))
    batch = Steps([(nothing, nothing.utterances)], Frontend(pool=1), unit).batch([0, 1])
    loss = loss_of(objective(name, **more), batch)
    assert (loss.weight.item(), loss.value.item()) == (0, 0)


# ---------------------------------------------------------------------------------------------- masked timesteps


@pytest.mark.parametrize("kind", ["l1", "l2", "huber"])
def test_losses_equal_numpy(kind, steps):
    model, batch = objective("masked_timesteps", loss=kind).eval(), steps.batch(range(6))
    guess, scored, _ = model.reconstruct(batch, RowRandom(batch.seeds))
    error = np.abs(guess.detach().numpy() - batch.x.numpy())[scored.numpy()].astype(np.float64)
    wanted = {
        "l1": error,
        "l2": error**2,
        "huber": np.where(error < 1, 0.5 * error**2, error - 0.5),
    }[kind].mean()
    np.testing.assert_allclose(loss_of(model, batch).value.item(), wanted, rtol=1e-5)


def test_the_model_does_not_see_what_it_has_to_guess(steps):
    """With everything hidden replaced by the fill, the true values there cannot reach the guess."""
    batch, model = steps.batch(range(6)), objective("masked_timesteps", replace=(1.0, 0.0, 0.0)).eval()
    guess, scored, _ = model.reconstruct(batch, RowRandom(batch.seeds))
    batch.x[scored] = 77.0
    again, _, _ = model.reconstruct(batch, RowRandom(batch.seeds))
    assert guess.equal(again)


@pytest.mark.parametrize("ratio", [0.1, 0.5])
@pytest.mark.parametrize("unit", ["frame", "feature"])
def test_reported_coverage_is_the_share_that_is_scored(ratio, unit):
    steps = steps_of(waves(6, features=FEATURES, shortest=100, longest=100))
    batch = steps.batch(range(6))
    loss = loss_of(objective("masked_timesteps", ratio=ratio, unit=unit), batch)
    assert loss.logs["coverage"] == pytest.approx(ratio, abs=0.01)
    assert float(loss.weight) == pytest.approx(ratio * 600 * FEATURES, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"ratio": 0.0}, "objective.ratio"),
        ({"ratio": 1.0}, "objective.ratio"),
        ({"span": 0}, "objective.span"),
        ({"unit": "band"}, "objective.unit"),
        ({"fill": "one"}, "objective.fill"),
        ({"loss": "mse"}, "objective.loss"),
        ({"head": 3}, "objective.head"),
        ({"replace": (0.8, 0.1, 0.2)}, "objective.replace"),
        ({"replace": (1.2, -0.1, -0.1)}, "objective.replace"),
    ],
)
def test_impossible_settings_are_refused(wrong, named):
    with pytest.raises(InputError, match=named):
        mt.Config(**wrong)
