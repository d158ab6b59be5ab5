"""Laws for every file in `backbones/`, and the transformer beside PyTorch's own."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from sottovoce import plugins, training
from sottovoce.backbones import Hidden, gru, transformer, valid_steps
from sottovoce.errors import InputError

FEATURES = 7
SMALL = {"width": 32, "layers": 2, "heads": 4, "feedforward": 64, "dropout": 0.0}
LENGTHS = torch.tensor([23, 40, 1, 8])

ON_STEPS = [name for name in plugins.names("backbones") if name != "encoder"]  # that has its own laws: test_encoders

each_backbone = pytest.mark.parametrize(
    ("name", "more"),
    [(name, {}) for name in ON_STEPS] + [("transformer", {"positions": "conv", "kernel": 5})],
)


def small(name, seed=0, **more):
    """A backbone of a size that runs in a millisecond; sets those of SMALL that its Config has."""
    module = plugins.load("backbones", name)
    known = {f.name for f in fields(module.Config)}
    torch.manual_seed(seed)
    return module.Backbone(
        replace(module.Config(), **{k: v for k, v in (SMALL | more).items() if k in known}), FEATURES
    )


def batch(seed=0):
    x = torch.randn(len(LENGTHS), int(LENGTHS.max()), FEATURES, generator=torch.Generator().manual_seed(seed))
    return x * valid_steps(LENGTHS, x.shape[1])[..., None]


@each_backbone
def test_there_is_a_state_of_the_input_and_of_every_block(name, more):
    backbone = small(name, **more)
    hidden = backbone(batch(), LENGTHS)
    assert isinstance(hidden, Hidden)
    assert len(hidden.layers) == 1 + backbone.config.layers == 1 + len(backbone.blocks)
    assert all(layer.shape == (4, 40, backbone.dim) for layer in hidden.layers)
    assert hidden.last is hidden.layers[-1]
    assert hidden.lengths.tolist() == LENGTHS.tolist()
    assert hidden.valid.sum(1).tolist() == LENGTHS.tolist()
    assert (backbone.features, backbone.dim) == (FEATURES, 32)


@each_backbone
def test_padding_changes_nothing(name, more):
    """Neither its length nor what stands in it."""
    backbone, x = small(name, **more).eval(), batch()
    once = backbone(x, LENGTHS)
    noise = torch.where(valid_steps(LENGTHS, 40)[..., None], x, torch.full_like(x, 99.0))
    again = backbone(torch.cat([noise, torch.randn(4, 25, FEATURES)], dim=1), LENGTHS)
    for a, b in zip(once.layers, again.layers, strict=True):
        for k, length in enumerate(LENGTHS.tolist()):
            torch.testing.assert_close(a[k, :length], b[k, :length])


@each_backbone
def test_a_row_alone_or_in_another_order_is_the_same(name, more):
    backbone, x = small(name, **more).eval(), batch()
    together = backbone(x, LENGTHS)
    turned = backbone(x.flip(0), LENGTHS.flip(0))
    for level, states in enumerate(together.layers):
        for k, length in enumerate(LENGTHS.tolist()):
            alone = backbone(x[k : k + 1, :length], LENGTHS[k : k + 1]).layers[level][0]
            torch.testing.assert_close(states[k, :length], alone)
            torch.testing.assert_close(states[k, :length], turned.layers[level][3 - k, :length])


@each_backbone
def test_every_parameter_gets_a_gradient(name, more):
    backbone = small(name, **more)
    hidden = backbone(batch(), LENGTHS)
    (hidden.last * torch.randn(hidden.last.shape) * hidden.valid[..., None]).sum().backward()
    silent = [key for key, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@each_backbone
def test_every_step_can_see_every_other(name, more):
    """Bidirectional: the first step's state depends on the last step's input and the other way round."""
    backbone = small(name, **(more | {"kernel": 5})).eval()
    x = batch()[1:2].clone().requires_grad_()
    for seen, at in [(0, 39), (39, 0)]:
        (slope,) = torch.autograd.grad(backbone(x, LENGTHS[1:2]).last[0, at].square().sum(), x)
        assert slope[0, seen].abs().sum() > 0


@each_backbone
def test_the_seed_decides_the_weights(name, more):
    a, b, c = (small(name, seed=s, **more).state_dict() for s in (3, 3, 4))
    assert all(a[key].equal(b[key]) for key in a)
    assert not all(a[key].equal(c[key]) for key in a)


@each_backbone
def test_saved_weights_give_the_same_result(name, more, tmp_path):
    backbone, other = small(name, **more).eval(), small(name, seed=1, **more).eval()
    training.save_tensors(tmp_path / "w.safetensors", backbone.state_dict())
    other.load_state_dict(training.load_tensors(tmp_path / "w.safetensors"))
    assert other(batch(), LENGTHS).last.equal(backbone(batch(), LENGTHS).last)


@each_backbone
def test_dropout_acts_in_training_only_and_follows_the_seed(name, more):
    backbone, x = small(name, **(more | {"dropout": 0.5})), batch()

    def last(seed):
        torch.manual_seed(seed)
        return backbone(x, LENGTHS).last

    assert last(0).equal(last(0))
    assert not last(0).equal(last(1))
    backbone.eval()
    assert last(0).equal(last(1))


# ---------------------------------------------------------------------------------------------- the transformer


def twin(block, c):
    """PyTorch's own encoder layer with a block's weights."""
    layer = nn.TransformerEncoderLayer(
        c.width, c.heads, c.feedforward, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.qkv.weight,
            "self_attn.in_proj_bias": block.qkv.bias,
            "self_attn.out_proj.weight": block.out.weight,
            "self_attn.out_proj.bias": block.out.bias,
            "linear1.weight": block.grow.weight,
            "linear1.bias": block.grow.bias,
            "linear2.weight": block.shrink.weight,
            "linear2.bias": block.shrink.bias,
            "norm1.weight": block.norm1.weight,
            "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight,
            "norm2.bias": block.norm2.bias,
        }
    )
    return layer


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_transformer_block_is_pytorchs_encoder_layer(mode):
    backbone = small("transformer")
    for p in backbone.parameters():  # norms and biases too
        nn.init.normal_(p, std=0.3)
    hidden = backbone(batch(), LENGTHS)
    getattr(backbone, mode)()
    for block, before, after in zip(backbone.blocks, hidden.layers, hidden.layers[1:], strict=False):
        wanted = getattr(twin(block, backbone.config), mode)()(before, src_key_padding_mask=~hidden.valid)
        if block is backbone.blocks[-1]:
            wanted = backbone.norm(wanted)
        torch.testing.assert_close(after[hidden.valid], wanted[hidden.valid], rtol=1e-4, atol=1e-5)


def test_a_full_batch_goes_without_a_mask_and_gives_the_same():
    backbone, x = small("transformer").eval(), batch()[1:2]
    masked = backbone(torch.cat([x, x[:, :3]], dim=1), torch.tensor([40])).last[:, :40]
    torch.testing.assert_close(backbone(x, torch.tensor([40])).last, masked)


def test_positions_are_those_of_the_paper():
    signal = transformer.sinusoids(50, 32)
    for t, i in [(0, 0), (7, 3), (49, 15)]:
        angle = torch.tensor(t / 10000 ** (2 * i / 32))
        torch.testing.assert_close(signal[t, 2 * i], angle.sin())
        torch.testing.assert_close(signal[t, 2 * i + 1], angle.cos())


def test_convolutional_positions_know_no_absolute_time():
    backbone = small("transformer", positions="conv", kernel=5).eval()
    x = torch.zeros(1, 40, FEATURES)
    x[0, 10:14] = batch()[1, :4]
    later = x.roll(9, 1)
    a, b = (backbone.embed(v).transpose(1, 2) for v in (x, later))
    torch.testing.assert_close(backbone.near(a)[..., 8:16], backbone.near(b)[..., 17:25])


@pytest.mark.parametrize(
    ("kind", "wrong", "named"),
    [
        (transformer, {"width": 30, "heads": 4}, "backbone.width"),
        (transformer, {"width": 15, "heads": 5}, "backbone.width"),
        (transformer, {"width": 24, "heads": 4, "positions": "conv"}, "backbone.width"),
        (transformer, {"layers": 0}, "backbone.layers"),
        (transformer, {"positions": "none"}, "backbone.positions"),
        (gru, {"width": 31}, "backbone.width"),
        (gru, {"layers": 0}, "backbone.layers"),
    ],
)
def test_impossible_sizes_are_refused(kind, wrong, named):
    with pytest.raises(InputError, match=named):
        kind.Config(**wrong)
