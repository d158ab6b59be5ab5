"""AM-Softmax beside its formula, and the laws of its margin."""

import math

import pytest
import torch

from sottovoce.errors import InputError
from sottovoce.modeling.margins import AMSoftmax

X = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
TARGET = torch.arange(12) % 4


def head(scale=30.0, margin=0.2):
    torch.manual_seed(1)
    return AMSoftmax(5, 4, scale=scale, margin=margin)


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.35])
def test_the_loss_is_the_formula_of_the_paper(margin):
    it = head(margin=margin)
    for x, y, loss in zip(X.tolist(), TARGET.tolist(), it.loss(X, TARGET).tolist(), strict=True):
        cosines = []
        for w in it.weight.tolist():
            dot = sum(a * b for a, b in zip(x, w, strict=True))
            cosines.append(dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in w)))
        right = math.exp(30 * (cosines[y] - margin))
        wrong = sum(math.exp(30 * c) for k, c in enumerate(cosines) if k != y)
        assert loss == pytest.approx(-math.log(right / (right + wrong)), rel=1e-3, abs=1e-5)


def test_without_margin_it_is_cross_entropy_on_scaled_cosines():
    it = head(margin=0.0)
    cosine = torch.nn.functional.cosine_similarity(X[:, None], it.weight[None], dim=-1)
    expected = torch.nn.functional.cross_entropy(30 * cosine, TARGET, reduction="none")
    torch.testing.assert_close(it.loss(X, TARGET), expected)


def test_the_loss_grows_with_the_margin():
    losses = torch.stack([head(scale=5.0, margin=m).loss(X, TARGET) for m in (0.0, 0.1, 0.2, 0.35, 0.8)])
    assert (losses.diff(dim=0) > 0).all()


def test_scores_are_scaled_cosines_that_know_neither_margin_nor_length():
    scores = head(margin=0.4)(X)
    assert scores.abs().max() <= 30
    torch.testing.assert_close(scores, head(margin=0.0)(X))
    torch.testing.assert_close(scores, head()(7 * X))


@pytest.mark.parametrize("x", ["the class vector", "its opposite", "nothing"])
def test_gradients_are_finite_where_cosines_end(x):
    it = head()
    own = it.weight.detach()[TARGET]
    x = {"the class vector": own, "its opposite": -own, "nothing": torch.zeros_like(own)}[x].clone().requires_grad_()
    it.loss(x, TARGET).sum().backward()
    assert x.grad.isfinite().all()
    assert it.weight.grad.isfinite().all()
    assert x.grad.abs().max() < 1e7


def test_it_learns_to_keep_classes_a_margin_apart():
    it = head(margin=0.3)
    x = torch.nn.Parameter(X.clone())
    optimiser = torch.optim.Adam([x, *it.parameters()], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        it.loss(x, TARGET).mean().backward()
        optimiser.step()
    cosines = it(x) / it.scale
    best_wrong = cosines.masked_fill(torch.nn.functional.one_hot(TARGET, 4).bool(), -2).amax(1)
    assert (cosines[torch.arange(12), TARGET] - best_wrong > 0.3).all()


@pytest.mark.parametrize(("settings", "words"), [({"scale": 0.0}, "scale"), ({"margin": -0.1}, "margin")])
def test_bad_settings_are_one_line(settings, words):
    with pytest.raises(InputError, match=words):
        AMSoftmax(5, 4, **settings)
