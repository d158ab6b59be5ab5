"""The studies' models side by side (docs/systems/many.py) are those of the package, one by one."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from sottovoce.backbones import transformer

HOME = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("many", HOME / "docs/systems/many.py")
assert spec is not None
assert spec.loader is not None
many = importlib.util.module_from_spec(spec)
spec.loader.exec_module(many)


def test_transformers_side_by_side_answer_as_each_alone():
    torch.manual_seed(0)
    config = transformer.Config(
        width=16, layers=2, heads=2, feedforward=24, dropout=0.0, positions="sinusoidal", norm="pre"
    )
    alone = [transformer.Backbone(config, 5).eval() for _ in range(3)]
    together = many.Transformer(3, 16, 2, 2, 24, features=5)
    state = {}
    names = {"norm1": "norm1", "norm2": "norm2", "out_proj": "out", "fc1": "grow", "fc2": "shrink"}
    for name in together.state_dict():
        theirs = name
        for ours, other in names.items():
            theirs = theirs.replace(f".{ours}.", f".{other}.")
        if "_proj" in name and "out_proj" not in name:
            n, part, kind = int(name.split(".")[1]), "qkv".index(name.split(".")[2][0]), name.rsplit(".", 1)[1]
            values = [getattr(b.blocks[n].qkv, kind).chunk(3)[part] for b in alone]
        else:
            values = [b.state_dict()[theirs] for b in alone]
        state[name] = torch.stack([value.detach() for value in values])
    together.load_state_dict(state)
    x, lengths = torch.randn(3, 4, 11, 5), torch.tensor([[11, 7, 3, 9]] * 3)
    found = together(x, lengths, transformer.sinusoids(11, 16))
    for m, backbone in enumerate(alone):
        hidden = backbone(x[m], lengths[m])
        for n in range(2):
            for row, length in enumerate(lengths[m].tolist()):
                assert torch.allclose(found[n][m, row, :length], hidden.layers[n + 1][row, :length], atol=1e-5)


def test_logistic_regressions_side_by_side_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for count, width in ((30, 50), (60, 8)):  # by recordings, and by features
        x, y = rng.standard_normal((2, count, width)), rng.integers(0, 3, (2, count))
        penalties = (0.03, 0.3)
        weight, bias = many.logistic(
            torch.tensor(x, dtype=torch.float32), torch.tensor(y), 3, penalties, iterations=1000
        )
        for m in range(2):
            for n, l2 in enumerate(penalties):
                theirs = LogisticRegression(C=1 / (l2 * count), tol=1e-8, max_iter=5000).fit(x[m], y[m])
                ours = (weight[m, n] @ torch.tensor(x[m], dtype=torch.float32).T).T + bias[m, n]
                np.testing.assert_allclose(ours.softmax(-1), theirs.predict_proba(x[m]), atol=2e-3)


def test_dev_scores_are_recalls_and_likelihoods():
    scores, y = torch.tensor([[[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [9.0, 0.0]]]), torch.tensor([[0, 1, 1, 1]])
    valid = torch.tensor([[True, True, True, False]])  # the last one is padding
    likely = scores[0, :3].log_softmax(-1)[[0, 1, 2], [0, 1, 1]].mean()
    assert torch.isclose(many.dev_score(scores, y, valid)[0], 0.75 + 0.01 * likely)
