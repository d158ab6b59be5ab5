"""Pooling over time beside NumPy, and the laws that every kind of it keeps."""

import numpy as np
import pytest
import torch

from sottovoce.backbones import Hidden
from sottovoce.modeling import heads

LENGTHS = torch.tensor([9, 14, 1])
LAYERS = [torch.randn(3, 14, 6, generator=torch.Generator().manual_seed(k)) for k in range(4)]
VALID = Hidden(LAYERS, LENGTHS).valid
SPEECH = torch.rand(3, 14, generator=torch.Generator().manual_seed(9)) * VALID
HIDDEN = Hidden(LAYERS, LENGTHS, speech=SPEECH)

each_kind = pytest.mark.parametrize(
    ("use", "pool"), [(use, pool) for use in ("concat", "weighted", "last") for pool in heads.PARTS]
)


def pooling(use, pool):
    torch.manual_seed(0)
    return heads.Pooling(4, 6, layer_aggregation=use, temporal_pooling=pool)


def padded(x, to):
    """(B, S) with zeros up to (B, `to`)."""
    return torch.nn.functional.pad(x, (0, to - x.shape[1]))


def rows(layer):
    """Valid steps of every utterance, (T, H) each."""
    return [layer[k, :length].numpy() for k, length in enumerate(LENGTHS.tolist())]


def test_statistics_are_numpys():
    found = heads.statistics_pool(LAYERS[0], HIDDEN.valid).numpy()
    mean = [x.mean(0) for x in rows(LAYERS[0])]
    std = [np.sqrt(x.var(0) + 1e-5) for x in rows(LAYERS[0])]
    np.testing.assert_allclose(found, np.concatenate([mean, std], axis=1), rtol=1e-4)
    np.testing.assert_allclose(heads.mean_pool(LAYERS[0], HIDDEN.valid).numpy(), mean, rtol=1e-4)


def test_speech_weighs_the_statistics():
    found = heads.statistics_pool(LAYERS[0], SPEECH).numpy()
    for k, x in enumerate(rows(LAYERS[0])):
        weight = SPEECH[k, : len(x)].numpy() / SPEECH[k].sum().numpy()
        mean = weight @ x
        np.testing.assert_allclose(found[k, :6], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[k, 6:], np.sqrt(weight @ (x - mean) ** 2 + 1e-5), rtol=1e-3, atol=1e-5)


def test_attention_weights_the_statistics():
    attend = heads.AttentivePool(6)
    found = attend(LAYERS[0], HIDDEN.valid).detach().numpy()
    for k, x in enumerate(rows(LAYERS[0])):
        score = attend.score(torch.from_numpy(x)).detach().numpy()[:, 0]
        weight = np.exp(score - score.max())
        weight /= weight.sum()
        mean = weight @ x
        np.testing.assert_allclose(found[k, :6], mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[k, 6:], np.sqrt(weight @ (x - mean) ** 2 + 1e-5), rtol=1e-4)


def test_attention_that_has_learned_nothing_is_the_plain_statistics():
    attend = heads.AttentivePool(6)
    for p in attend.parameters():
        torch.nn.init.zeros_(p)
    torch.testing.assert_close(attend(LAYERS[0], HIDDEN.valid), heads.statistics_pool(LAYERS[0], HIDDEN.valid))


def test_concat_holds_every_layer_last_the_last_and_weighted_begins_as_their_mean():
    each = [heads.statistics_pool(layer, HIDDEN.valid) for layer in LAYERS]
    torch.testing.assert_close(pooling("concat", "statistics")(HIDDEN), torch.cat(each, dim=1))
    torch.testing.assert_close(pooling("last", "statistics")(HIDDEN), each[-1])
    mean = heads.statistics_pool(torch.stack(LAYERS).mean(0), HIDDEN.valid)
    mixed = pooling("weighted", "statistics")
    torch.testing.assert_close(mixed(HIDDEN), mean)
    torch.nn.init.constant_(mixed.mix, -50.0)
    with torch.no_grad():
        mixed.mix[2] = 50.0
    torch.testing.assert_close(mixed(HIDDEN), each[2])


@each_kind
def test_padding_and_neighbours_change_nothing(use, pool):
    pool_of = pooling(use, pool)
    together = pool_of(HIDDEN)
    assert together.shape == (3, pool_of.dim)
    assert together.isfinite().all()  # the single step too
    longer = [torch.cat([layer, torch.full((3, 5, 6), 1e3)], dim=1) for layer in LAYERS]
    for layer in longer:
        layer[0, 9:] = -1e3
    torch.testing.assert_close(pool_of(Hidden(longer, LENGTHS, speech=padded(SPEECH, longer[0].shape[1]))), together)
    for k, length in enumerate(LENGTHS.tolist()):
        alone = Hidden([layer[k : k + 1, :length] for layer in LAYERS], LENGTHS[k : k + 1])
        alone.speech = SPEECH[k : k + 1, :length]
        torch.testing.assert_close(pool_of(alone)[0], together[k])


@each_kind
def test_gradients_are_finite_for_constant_and_single_steps(use, pool):
    layers = [torch.ones(2, 5, 6, requires_grad=True) for _ in range(4)]
    counts = torch.tensor([[1.0] * 5, [0.5] + [0.0] * 4])
    pooling(use, pool)(Hidden(layers, torch.tensor([5, 1]), speech=counts)).sum().backward()
    assert all(layer.grad is None or layer.grad.isfinite().all() for layer in layers)


def test_standardised_features_are_scikit_learns():
    from sklearn.preprocessing import StandardScaler

    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(9)) * torch.arange(1, 7) + 3
    standardise = heads.Standardise(6)
    torch.testing.assert_close(standardise(x), x)
    standardise.fit(x)
    np.testing.assert_allclose(standardise(x).numpy(), StandardScaler().fit_transform(x.numpy()), atol=1e-5)
    assert set(standardise.state_dict()) == {"mean", "std"}
    assert list(standardise.parameters()) == []


def test_a_constant_feature_does_not_explode():
    standardise = heads.Standardise(1)
    standardise.fit(torch.full((9, 1), 4.0))
    assert standardise(torch.full((9, 1), 4.0)).abs().max() == 0


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_a_projector_comes_before_the_pooling_and_padding_changes_nothing(activation):
    torch.manual_seed(0)
    pool_of = heads.Pooling(
        4, 6, layer_aggregation="weighted", temporal_pooling="mean", project=5, activation=activation
    )
    assert pool_of.dim == 5
    with torch.no_grad():
        pool_of.mix.copy_(torch.tensor([0.5, -1.0, 2.0, 0.0]))
    found = pool_of(HIDDEN).detach().numpy()
    share = np.exp([0.5, -1.0, 2.0, 0.0]) / np.exp([0.5, -1.0, 2.0, 0.0]).sum()
    weight, bias = (p.detach().numpy() for p in (pool_of.project.weight, pool_of.project.bias))
    for k, length in enumerate(LENGTHS.tolist()):
        mixed = sum(w * layer[k, :length].numpy() for w, layer in zip(share, LAYERS, strict=True))
        steps = mixed @ weight.T + bias
        np.testing.assert_allclose(found[k], (steps if activation == "none" else steps.clip(0)).mean(0), atol=1e-5)
    longer = [torch.cat([layer, torch.full((3, 5, 6), 1e3)], dim=1) for layer in LAYERS]
    torch.testing.assert_close(
        pool_of(Hidden(longer, LENGTHS, speech=padded(SPEECH, longer[0].shape[1]))), pool_of(HIDDEN)
    )


def test_scores_of_a_step_depend_on_that_step_alone():
    torch.manual_seed(0)
    head = heads.FrameHead(4, 6, 5, 3)
    scores = head(HIDDEN)
    assert scores.shape == (3, 14, 3)
    other = [layer.clone() for layer in LAYERS]
    for layer in other:
        layer[1, 4] += 1
    changed = (head(Hidden(other, LENGTHS)) - scores).abs().sum(2) > 1e-6
    assert changed.nonzero().tolist() == [[1, 4]]
    mean = torch.stack(LAYERS).mean(0)  # equal weights to begin with
    torch.testing.assert_close(scores, head.out(head.project(mean)))
