"""Quick products are PyTorch's layers, whatever happens to their weights."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu

from sottovoce.backbones._products import Conv, Linear, quicken


def quick(layer, x):
    with torch.inference_mode():
        return layer(x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 20), (2, 150, 20), (1, 1, 20), (3, 0, 20)])
def test_a_linear_layer_is_pytorchs(shape, bias):
    torch.manual_seed(0)
    layer, x = Linear(20, 33, bias=bias), torch.randn(shape)
    usual = nn.functional.linear(x, layer.weight, layer.bias)
    assert layer(x).equal(usual)
    torch.testing.assert_close(quick(layer, x), usual, rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer.gelu(x), gelu(usual), rtol=1e-5, atol=1e-5)
    assert set(layer.state_dict()) == {"weight"} | ({"bias"} if bias else set())


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_pytorchs_with_channels_last(stride):
    torch.manual_seed(0)
    layer, x = Conv(5, 8, 3, stride), torch.randn(2, 31, 5)
    usual = gelu(nn.functional.conv1d(x.mT, layer.weight, layer.bias, stride)).mT
    torch.testing.assert_close(layer.gelu(x), usual)
    with torch.inference_mode():
        torch.testing.assert_close(layer.gelu(x), usual, rtol=1e-5, atol=1e-5)


def step(layer):
    layer(torch.ones(1, 6)).sum().backward()
    torch.optim.SGD(layer.parameters(), 1.0).step()


@pytest.mark.parametrize(
    "change",
    [
        step,
        lambda layer: layer.load_state_dict({k: v + 1 for k, v in layer.state_dict().items()}),
        lambda layer: layer.load_state_dict({k: v + 1 for k, v in layer.state_dict().items()}, assign=True),
        lambda layer: setattr(layer.weight, "data", layer.weight.data + 1),
        lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight + 1)),
        lambda layer: nn.init.ones_(layer.weight),
    ],
    ids=["step", "load", "assign", "data", "parameter", "init"],
)
def test_changed_weights_are_noticed(change):
    torch.manual_seed(0)
    layer, x = Linear(6, 4), torch.randn(3, 6)
    before = quick(layer, x)
    change(layer)
    torch.testing.assert_close(quick(layer, x), layer(x).detach(), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(quick(layer, x), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_layer_that_was_used_can_be_copied(copied):
    torch.manual_seed(0)
    layer, x = Linear(6, 4), torch.randn(3, 6)
    usual = quick(layer, x)
    other = copied(layer)
    assert quick(other, x).equal(usual)
    step(other)
    assert not quick(other, x).equal(usual)
    assert quick(layer, x).equal(usual)


def test_other_precisions_go_pytorchs_way():
    layer, x = Linear(6, 4), torch.randn(3, 6)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert quick(layer.double(), x.double()).dtype == torch.float64


def test_layers_of_another_library_become_quick():
    model = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 2))
    x = torch.randn(3, 6)
    usual = model(x).detach()
    quicken(model)
    assert {type(layer) for layer in model} == {Linear, nn.GELU}
    torch.testing.assert_close(quick(model, x), usual, rtol=1e-5, atol=1e-5)
