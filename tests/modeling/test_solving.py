"""The gate between the layer of recordings as they are and that of changed ones."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from sottovoce.modeling import heads, solving


def kinds(plain: int = 90, changed: int = 30, width: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((plain + changed, width)).astype(np.float32)
    rows[plain:, 1] += 1.5
    return torch.from_numpy(rows[:plain]), torch.from_numpy(rows[plain:])


def test_the_gate_is_scikit_learns_logistic_regression_of_smoothed_labels() -> None:
    """Smoothed: every row once as what it is and once, with a twentieth of the weight, as the other kind."""
    plain, changed = kinds()
    weight, bias = solving.gate(plain, changed)
    x, y = np.concatenate([plain, changed]), np.repeat([0, 1], [len(plain), len(changed)])
    share = np.where(y, 1 / len(changed), 1 / len(plain)) / 2
    peer = LogisticRegression(C=1 / solving.GATE_L2, tol=1e-9, max_iter=5000)
    peer.fit(np.tile(x, (2, 1)), np.concatenate([y, 1 - y]), np.concatenate([0.95 * share, 0.05 * share]))
    np.testing.assert_allclose(weight.numpy(), peer.coef_, atol=2e-3)
    np.testing.assert_allclose(bias.numpy(), peer.intercept_, atol=2e-3)


def test_each_layer_answers_where_the_gate_is_sure() -> None:
    out, x = heads.Gated(2, 3), torch.tensor([[1.0, -100.0], [1.0, 100.0], [1.0, 0.0]])
    out.plain.weight.data[0, 0] = out.changed.weight.data[1, 0] = 1
    out.open((out.changed.weight, out.changed.bias), (torch.tensor([[0.0, 1.0]]), torch.zeros(1)))
    torch.testing.assert_close(out(x), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]))
