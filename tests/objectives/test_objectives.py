"""Laws for every file in `objectives/`, and the losses beside NumPy."""

import numpy as np
import pytest
import torch
from toys import FEATURES, ON_STEPS, ToyStore, murmurs, small, steps_of, waves

from sottovoce import plugins
from sottovoce.config.frontend import Frontend
from sottovoce.config.masking import RULES
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics
from sottovoce.errors import InputError
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives import Loss, npc
from sottovoce.objectives import masked_timesteps as mt

EMS = {"span": 3, "ratio": 0.3, "intensity": "intensity"}
VARIANTS = [
    *(("masked_timesteps", more) for more in ({"span": 3}, {"unit": "feature"}, {"fill": "zero"}, {"fill": "noise"})),
    *(("masked_timesteps", more) for more in ({"loss": "huber"}, {"head": 2}, EMS | {"draw": "utterance"})),
    *(("masked_timesteps", EMS | {"rule": rule}) for rule in RULES[1:]),
    *(
        ("masked_timesteps", EMS | more)
        for more in ({"score": True}, {"target": "spectrogram", "rule": "ems_coverage"})
    ),
    *(("npc", EMS | more) for more in ({"mask": True, "rule": "ems_sampled"}, {"score": True})),
    *(("masked_units", {"targets": ("mfcc:7+9",)} | more) for more in ({}, {"visible": 0.5, "combine": "mean"})),
]


def words(value):
    return value if isinstance(value, str) else ",".join(f"{k}={x}" for k, x in value.items()) or "default"


# Those that guess what they hid; the others are taught from labels and have tests of their own.
GUESSING = [name for name in plugins.names("objectives") if name not in ("strength", "attributes")]

each_objective = pytest.mark.parametrize(("name", "more"), [(name, {}) for name in GUESSING] + VARIANTS, ids=words)

each_reconstruction = pytest.mark.parametrize(
    ("name", "more"), [(name, more) for name, more in each_objective.args[1] if name != "masked_units"], ids=words
)


def objective(name, backbone="", **more):
    module = plugins.load("objectives", name)
    config = module.Config(**more)
    widths = {"intensity": 1, "target": 5} if "target" in config.needs else {"intensity": 1}
    torch.manual_seed(0)
    return module.Objective(config, small(backbone or ("npc" if name == "npc" else "transformer")), widths)


def loss_of(model, batch, seeds=None):
    return model(batch, RowRandom(seeds or batch.seeds))


def aux_of(store):
    """Every auxiliary track an objective may want."""
    units = ToyStore({k: np.stack([v.argmax(1), v.argmin(1)], 1) for k, v in store.items()})
    return {
        "intensity": (murmurs(store), "linear"),
        "target": (waves_like(store), "linear"),
        "units": (units, "nearest"),
    }


def waves_like(store):
    """A second view of the same utterances, 5 wide."""
    mix = np.random.default_rng(9).standard_normal((FEATURES, 5))
    return ToyStore({k: v @ mix for k, v in store.items()})


@pytest.fixture
def steps():
    store = waves(6, features=FEATURES)
    return steps_of(store, aux=aux_of(store))


def learn_by_heart(model, batch, updates=60):
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


@pytest.mark.parametrize(
    ("name", "more"),
    [(n, m) for n, m in VARIANTS if "unit" in m or "fill" in m or "score" in m or "mask" in m],
    ids=words,
)
def test_one_batch_is_learned_by_heart(name, more, steps):
    before, after = learn_by_heart(objective(name, **more), steps.batch(range(4)))
    assert after < 0.5 * before


@pytest.mark.parametrize("backbone", ON_STEPS)
@pytest.mark.parametrize("name", GUESSING)
def test_every_backbone_learns_by_every_objective(name, backbone, steps):
    if name == "npc" != backbone:  # a backbone that sees the frame has nothing to predict
        with pytest.raises(InputError, match=f"a frame may not see itself. Found backbone {backbone}"):
            objective(name, backbone)
        return
    before, after = learn_by_heart(objective(name, backbone), steps.batch(range(4)))
    assert after < 0.5 * before


@each_objective
def test_the_same_seed_gives_the_same_loss_and_another_seed_another(name, more, steps):
    batch, model = steps.batch(range(6)), objective(name, **more).eval()
    once = loss_of(model, batch)
    assert isinstance(once, Loss)
    assert once.total.shape == once.weight.shape == ()
    assert loss_of(model, batch).value.equal(once.value)
    masks = name != "npc" or more.get("mask", False)
    assert loss_of(model, batch, [s + 1 for s in batch.seeds]).value.equal(once.value) != masks


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
    steps = steps_of(store, aux=aux_of(store))
    batch, model = steps.batch(range(4)), objective(name, **more).eval()
    assert not batch.scored[:, 5:8].any()
    for p in model.backbone.parameters():
        torch.nn.init.zeros_(p)  # blind
    clean = loss_of(model, batch)
    batch.x[~batch.scored] = batch.tracks["target"][~batch.scored] = 1e4
    dirty = loss_of(model, batch)
    assert clean.weight == dirty.weight
    torch.testing.assert_close(clean.total, dirty.total)


@each_reconstruction
def test_trivial_is_the_loss_of_guessing_the_mean_on_the_same_mask(name, more, steps):
    model, batch = objective(name, **more).eval(), steps.batch(range(6))
    for p in model.predict[-1].parameters():
        torch.nn.init.zeros_(p)
    if model.config.score:  # here the second head knows nothing, and the mean of the intensity is made to be zero
        score = batch.tracks["intensity"]
        mean = score.sum(1, keepdim=True) / batch.lengths[:, None]
        batch.tracks["intensity"] = (score - mean) * (torch.arange(score.shape[1]) < batch.lengths[:, None])
        last = model.predict_score[-1] if name == "masked_timesteps" else model.predict_score
        for p in last.parameters():
            torch.nn.init.zeros_(p)
    guessed, trivial = loss_of(model, batch), model.baseline(batch, RowRandom(batch.seeds))
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
    aux = {name: ([store], align) for name, (store, align) in aux_of(nothing).items()}
    batch = Steps([(nothing, nothing.utterances)], Frontend(subsampling=1), unit, aux).batch([0, 1])
    loss = loss_of(objective(name, **more), batch)
    assert (loss.weight.item(), loss.value.item()) == (0, 0)


@each_reconstruction
def test_a_picture_is_the_target_with_the_guess_in_it(name, more, steps):
    model, batch = objective(name, **more).eval(), steps.batch(range(6))
    truth, shown, hidden = model.preview(batch, RowRandom(batch.seeds))
    assert shown.shape == hidden.shape == truth.shape
    if name != "npc":  # which guesses all of it
        assert shown[~hidden].equal(truth[~hidden])
    assert not shown.equal(truth)


# ---------------------------------------------------------------------------------------------- masked timesteps


@pytest.mark.parametrize("kind", ["l1", "l2", "huber"])
def test_losses_equal_numpy(kind, steps):
    model, batch = objective("masked_timesteps", loss=kind).eval(), steps.batch(range(6))
    _, guess, scored = model.preview(batch, RowRandom(batch.seeds))
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
    _, guess, scored = model.preview(batch, RowRandom(batch.seeds))
    batch.x[scored] = 77.0
    _, again, _ = model.preview(batch, RowRandom(batch.seeds))
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
        ({"draw": "batch"}, "objective.draw"),
        ({"score": True}, r"objective\.score: adds the intensity to the input. Found no intensity track"),
        ({"unit": "feature", "intensity": "energy"}, "objective.unit: 'feature' masks columns one by one"),
    ],
)
def test_impossible_settings_are_refused(wrong, named):
    with pytest.raises(InputError, match=named):
        mt.Config(**wrong)


def test_an_emotional_rule_hides_stronger_frames_and_reports_it(steps):
    batch = steps.batch(range(6))
    logs = {
        rule: loss_of(objective("masked_timesteps", **EMS, rule=rule), batch).logs
        for rule in ("random", "ems_coverage")
    }
    gap = {rule: found["hidden_intensity"] - found["visible_intensity"] for rule, found in logs.items()}
    assert gap["ems_coverage"] > 0.3 > abs(gap["random"])
    assert logs["random"]["coverage"] == logs["ems_coverage"]["coverage"]


def test_one_draw_an_utterance_leaves_an_utterance_wholly_filled_swapped_or_kept():
    model = objective("masked_timesteps", **EMS, draw="utterance", fill="zero")
    store = waves(40, features=FEATURES)
    batch = steps_of(store, aux=aux_of(store)).batch(range(40))
    mask = model.mask(batch, RowRandom(batch.seeds))
    seen, _ = model._seen(batch, mask, RowRandom(batch.seeds))
    filled = [(row[hidden] == 0).all(1) for row, hidden in zip(seen, mask, strict=True)]
    assert all(row.all() or not row.any() for row in filled)
    assert 0.6 < sum(bool(row.all()) for row in filled) / 40 < 0.95


def test_the_score_is_added_to_the_input_and_gets_the_treatment_of_its_frame(steps):
    model, batch = objective("masked_timesteps", **EMS, score=True, replace=(1.0, 0.0, 0.0), fill="zero"), None
    batch = steps.batch(range(6))
    mask = model.mask(batch, RowRandom(batch.seeds))
    seen, score = model._seen(batch, mask, RowRandom(batch.seeds))
    assert not seen[mask].any()
    assert not score[mask].any()
    intensity = batch.tracks["intensity"]
    assert score[~mask].equal(intensity[~mask])
    torch.testing.assert_close(seen[~mask], (batch.x + intensity[..., None])[~mask])


def test_the_loss_with_a_score_is_that_of_both_heads_in_equal_parts(steps):
    model, batch = objective("masked_timesteps", **EMS, score=True).eval(), steps.batch(range(6))
    mask, rng = model.mask(batch, RowRandom(batch.seeds)), RowRandom(batch.seeds)
    model.mask(batch, rng)
    seen, score = model._seen(batch, mask, rng)
    features = model.predict(model.backbone(seen, batch.lengths).last)
    wide = score[..., None].expand_as(batch.x)
    scores = model.predict_score(model.backbone(wide, batch.lengths).last)
    intensity = batch.tracks["intensity"][..., None].expand_as(batch.x)
    wanted = (features - batch.x).abs()[mask].mean() + (scores - intensity).abs()[mask].mean()
    torch.testing.assert_close(loss_of(model, batch).value, wanted)


def test_another_track_can_be_the_target(steps):
    model, batch = objective("masked_timesteps", target="spectrogram", span=3).eval(), steps.batch(range(6))
    mask, rng = model.mask(batch, RowRandom(batch.seeds)), RowRandom(batch.seeds)
    model.mask(batch, rng)
    guess = model.predict(model.backbone(model._seen(batch, mask, rng)[0], batch.lengths).last)
    wanted = (guess - batch.tracks["target"]).abs()[mask].mean()
    torch.testing.assert_close(loss_of(model, batch).value, wanted)


# ---------------------------------------------------------------------------------------------- NPC


def test_npc_scores_every_valid_frame_and_hides_what_the_rule_says(steps):
    batch = steps.batch(range(6))
    for more, share in (({}, 0.0), (EMS | {"mask": True, "rule": "ems_coverage"}, 0.3)):
        model = objective("npc", **more).eval()
        loss = loss_of(model, batch)
        assert loss.weight == batch.scored.sum() * FEATURES
        assert loss.logs["coverage"] == pytest.approx(share, abs=0.03)
    assert loss.logs["hidden_intensity"] > loss.logs["visible_intensity"] + 0.3
    mask = model.mask(batch, RowRandom(batch.seeds))
    before = model._codes(batch, mask)[1]
    batch.x[mask] = 50.0
    assert model._codes(batch, mask)[1].equal(before)  # zero at the input, whatever was there


def test_a_group_becomes_one_of_its_codes_and_passes_the_gradient_on():
    torch.manual_seed(0)
    quantise = npc.Quantiser(32, groups=4, codes=6, temperature=1.0)
    x = torch.randn(2, 5, 32, requires_grad=True)
    for mode in (True, False):
        out, choice = quantise.train(mode)(x)
        assert (choice.sum(3) - 1).abs().max() < 1e-6
        for b, s, g in [(0, 0, 0), (1, 4, 3), (0, 2, 1)]:
            code = quantise.codes[g, choice[b, s, g].argmax()]
            torch.testing.assert_close(out[b, s].view(4, 8)[g], code, rtol=1e-5, atol=1e-6)
        if mode:
            out.square().sum().backward()
            assert x.grad.abs().sum() > 0
    logits = torch.einsum("bsgd,gdc->bsgc", x.view(2, 5, 4, 8), quantise.logits) + quantise.bias
    assert choice.argmax(3).equal(logits.argmax(3))  # without training, the likeliest


def test_perplexity_counts_the_codes_in_use():
    scored = torch.ones(1, 60, dtype=torch.bool)
    even = torch.nn.functional.one_hot(torch.arange(60) % 6, 8).float().view(1, 60, 1, 8)
    assert npc.perplexity(even, scored) == pytest.approx(6, rel=1e-4)
    assert npc.perplexity(even[:, :1].expand_as(even), scored) == pytest.approx(1, abs=1e-4)
    assert npc.perplexity(even, torch.arange(60)[None] % 6 < 2) == pytest.approx(2, rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rule": "ems_coverage", "intensity": "intensity"}, "has nothing to mask. Found objective.mask off"),
        ({"score": True}, "objective.score: adds the intensity"),
        ({"groups": 0}, "objective.groups"),
        ({"gumbel": 0.0}, "objective.gumbel"),
    ],
)
def test_impossible_settings_of_npc_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        npc.Config(**wrong)
    with pytest.raises(InputError, match=r"objective\.groups: have to share the backbone's width. Found 5 and 32"):
        objective("npc", groups=5)
