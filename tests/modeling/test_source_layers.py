"""Layers of other corpora as what one's own begins with."""

import shutil

import numpy as np
import pytest
import torch

from sottovoce.config.finetuning import Frozen
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import hub, solving, source_layers
from sottovoce.modeling.solving import Rows
from sottovoce.modeling.source_layers import Sources

TASK = Task("class", ("emotion",), ("a", "b", "c"))
WIDTH = 300


def some(count: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """Rows (N, P) of classes that differ along three directions (P, 3) alone, and those."""
    directions = torch.linalg.qr(torch.randn(WIDTH, 3, generator=torch.Generator().manual_seed(9)))[0]
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    return torch.randn(count, WIDTH, generator=rng) + 2 * directions.T[y], y.numpy(), directions


def solved(sources: Sources, x: torch.Tensor, y: np.ndarray) -> solving.Layer:
    rows = sources.widen(Rows.of(x, y))
    layer = solving.solve(TASK, rows, 0.3, Frozen(label_smoothing=0.0))
    return sources.narrow(solving.mixture(TASK, rows, Frozen(discriminant=0.5))(layer))


def right(layer: solving.Layer) -> float:
    x, y, _ = some(900, seed=1)
    return float(np.mean((x @ layer[0].T + layer[1]).argmax(1).numpy() == y))


def test_directions_that_matter_elsewhere_make_few_labels_go_further():
    x, y, directions = some(6)
    with_them, without = (right(solved(Sources(found), x, y)) for found in (3 * directions, torch.zeros(WIDTH, 0)))
    assert without < 0.6
    assert with_them > 0.75


def test_directions_that_do_not_matter_cost_little_where_labels_are_many():
    x, y, _ = some(900)
    noise = torch.nn.functional.normalize(torch.randn(WIDTH, 3, generator=torch.Generator().manual_seed(4)), dim=0)
    scale = source_layers.SPREAD * (source_layers.LABELS / 900) ** 0.5
    assert right(solved(Sources(scale * noise), x, y)) > right(solved(Sources(torch.zeros(WIDTH, 0)), x, y)) - 0.01


def test_the_narrow_layer_answers_of_features_what_the_wide_one_answers_of_them_and_their_scores():
    x, y, directions = some(40)
    x, sources = x.double(), Sources(2 * directions.double())
    rng = torch.Generator().manual_seed(5)
    wide = (
        torch.randn(3, WIDTH + 3, generator=rng, dtype=torch.float64),
        torch.randn(3, generator=rng, dtype=torch.float64),
    )
    weight, bias = sources.narrow(wide)
    torch.testing.assert_close(x @ weight.T + bias, sources.widen(Rows.of(x, y)).x @ wide[0].T + wide[1])


def test_without_any_nothing_changes_to_the_bit():
    x, y, _ = some(40)
    plain = solving.solve(TASK, Rows.of(x, y), 0.3, Frozen())
    sources = Sources.of((), WIDTH, 40)
    layer = sources.narrow(solving.solve(TASK, sources.widen(Rows.of(x, y)), 0.3, Frozen()))
    assert all(torch.equal(a, b) for a, b in zip(plain, layer, strict=True))


def test_they_count_less_the_more_labels_there_are():
    lengths = [Sources.of(["cremad"], 3072, n).directions.norm(dim=0) for n in (1, 50, 200, 5000)]
    wanted = [3.0, 3.0, 1.5, 0.3]
    for found, length in zip(lengths, wanted, strict=True):
        torch.testing.assert_close(found, torch.full_like(found, length), rtol=2e-3, atol=0)


def test_what_is_for_any_use_is_free_of_corpora_that_are_not():
    assert set(source_layers.free()) == {"cremad", "jl_corpus"}
    assert {s.name for s in source_layers.shipped() if "NC" in s.licence} == {"ravdess", "nemo"}
    assert not any(s.free for s in source_layers.shipped() if "NC" in s.licence)


def test_they_are_of_what_the_default_encoder_pools():
    settings = hub.load("default").plan.finetune
    assert source_layers.fits(settings)
    width = 512 * 2 * len(settings.layers)
    assert all(value.shape[0] == width for value in source_layers._tensors().values())
    assert not source_layers.fits(Frozen(layers=(1, 2, 3), temporal_pooling="speech"))


def test_a_name_that_there_is_not():
    with pytest.raises(InputError, match=r"finetune\.sources.*cremad"):
        source_layers.named(["crema"])


def test_damaged_and_missing_files(tmp_path, monkeypatch):
    for name in (source_layers.CARD, source_layers.WEIGHTS, source_layers.HEARD):
        shutil.copy(source_layers.HOME / name, tmp_path)
    monkeypatch.setattr(source_layers, "HOME", tmp_path)
    weights = tmp_path / source_layers.WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    read = source_layers._tensors.__wrapped__
    with pytest.raises(InputError, match="corrupt or changed"):
        read()
    weights.unlink()
    with pytest.raises(InputError, match="no such file"):
        read()
