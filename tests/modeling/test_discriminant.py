"""The shrunken discriminant, beside scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sottovoce.config.finetuning import Frozen
from sottovoce.data.task import Task
from sottovoce.modeling.discriminant import discriminant, mean_with
from sottovoce.modeling.solving import Rows, solve


def data(n: int = 60, width: int = 200, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    x = rng.standard_normal((n, width)) @ np.diag(rng.uniform(0.5, 2, width)) + rng.standard_normal((classes, width))[y]
    x -= x.mean(0)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


@pytest.mark.parametrize("shrinkage", [0.3, 0.7])
@pytest.mark.parametrize("width", [200, 20])
def test_agrees_with_scikit_learn(width: int, shrinkage: float) -> None:
    x, y = data(width=width)
    weight, bias = discriminant(x, y, 3, shrinkage)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[1 / 3] * 3).fit(x, y)
    ours = (x @ weight.T + bias).numpy()
    expected = x.numpy() @ theirs.coef_.T + theirs.intercept_
    # all of x lies in its span, where ours looks; scores of all classes may be off by one number
    np.testing.assert_allclose(
        ours - ours.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), rtol=2e-3, atol=2e-2
    )


def test_class_without_utterances_is_never_answered() -> None:
    x, y = data()
    weight, bias = discriminant(x, y, 4, 0.7)
    assert bias[3] == -torch.inf
    weight, bias = mean_with(torch.zeros(4, 200), torch.tensor([0.0, 0.0, 0.0, -20.0]), x, (weight, bias), 0.5)
    assert torch.isfinite(torch.cat([weight.flatten(), bias])).all()


def test_of_one_utterance_a_class_the_nearest_is_answered() -> None:
    x, y = data(6, classes=6)
    weight, bias = discriminant(x, y, 6)
    torch.testing.assert_close((x @ weight.T + bias).argmax(1), y)
    near = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((near @ weight.T + bias).argmax(1), torch.cdist(near, x).argmin(1))
    weight, bias = mean_with(torch.zeros(6, 200), torch.zeros(6), x, (weight, bias), 0.5)
    assert torch.isfinite(torch.cat([weight.flatten(), bias])).all()


def test_mean_of_two_layers_has_the_spread_of_the_first() -> None:
    x, y = data()
    weight, bias = discriminant(x, y, 3, 0.7)
    again, offset = mean_with(3 * weight, 3 * bias, x, (weight, bias), 0.5)
    torch.testing.assert_close(again, 3 * weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(offset, 3 * bias, rtol=1e-4, atol=1e-3)


def test_a_row_of_weight_two_is_two_rows() -> None:
    rng = np.random.default_rng(5)
    x, y = torch.from_numpy(rng.normal(size=(40, 6))).float(), torch.from_numpy(rng.integers(0, 3, 40))
    often = torch.from_numpy(rng.integers(1, 4, 40))
    weighed = discriminant(x, y, 3, 0.4, often.float())
    repeated = discriminant(x.repeat_interleave(often, 0), y.repeat_interleave(often), 3, 0.4)
    for ours, theirs in zip(weighed, repeated, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    task = Task("class", ("emotion",), ("a", "b", "c"))
    settings = Frozen(class_weights=False)
    one = solve(task, Rows(x, y.numpy(), often.float()), 0.1, settings)
    two = solve(task, Rows.of(x.repeat_interleave(often, 0), y.repeat_interleave(often).numpy()), 0.1, settings)
    for ours, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_of_one_class_alone_the_mean_is_finite():
    x, y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(5, dtype=torch.long)
    weight, bias = mean_with(torch.zeros(2, 3), torch.zeros(2), x, discriminant(x, y, 2), 0.5)
    assert weight.isfinite().all()
    assert bias.isfinite().all()
