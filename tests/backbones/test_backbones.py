"""Laws for every file in `backbones/`; the transformer beside PyTorch's own, NPC beside the formula of its authors."""

import pytest
import torch
from torch import nn
from toys import FEATURES, ON_STEPS, small

from sottovoce import plugins
from sottovoce.backbones import Hidden, gru, npc, strengthnet, transformer, valid_steps
from sottovoce.errors import InputError
from sottovoce.modeling import checkpoint

LOCAL = {"npc", "strengthnet"}  # hear a stretch around every step, not the whole utterance
LENGTHS = torch.tensor([23, 40, 1, 8])

each_backbone = pytest.mark.parametrize(
    ("name", "more"),
    [(name, {}) for name in ON_STEPS]
    + [("transformer", more) for more in ({"positions": "sinusoidal"}, {"norm": "post", "init_std": 0.3})],
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
    sum((layer * torch.randn(layer.shape) * hidden.valid[..., None]).sum() for layer in hidden.layers).backward()
    silent = [key for key, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("name", [name for name in ON_STEPS if name not in LOCAL])
def test_every_step_can_see_every_other(name):
    """Bidirectional: the first step's state depends on the last step's input and the other way round."""
    backbone = small(name, kernel=5).eval()
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
    checkpoint.save_tensors(tmp_path / "w.safetensors", backbone.state_dict())
    other.load_state_dict(checkpoint.load_tensors(tmp_path / "w.safetensors"))
    assert other(batch(), LENGTHS).last.equal(backbone(batch(), LENGTHS).last)


@each_backbone
def test_dropout_acts_in_training_only_and_follows_the_seed(name, more):
    backbone, x = small(name, **(more | {"dropout": 0.5})), batch()

    def last(seed):
        torch.manual_seed(seed)
        return backbone(x, LENGTHS).last

    assert last(0).equal(last(0))
    assert last(0).equal(last(1)) != hasattr(backbone.config, "dropout")
    backbone.eval()
    assert last(0).equal(last(1))


# ---------------------------------------------------------------------------------------------- the transformer


def twin(block, c):
    """PyTorch's own encoder layer with a block's weights."""
    layer = nn.TransformerEncoderLayer(
        c.width,
        c.heads,
        c.feedforward,
        dropout=0.0,
        activation=c.activation,
        layer_norm_eps=c.eps,
        batch_first=True,
        norm_first=c.norm == "pre",
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


@pytest.mark.parametrize("more", [{}, {"norm": "post", "eps": 1e-12}, {"norm": "post", "activation": "relu"}])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_transformer_block_is_pytorchs_encoder_layer(mode, more):
    backbone = small("transformer", **more)
    for p in backbone.parameters():  # norms and biases too
        nn.init.normal_(p, std=0.3)
    hidden = backbone(batch(), LENGTHS)
    getattr(backbone, mode)()
    for block, before, after in zip(backbone.blocks, hidden.layers, hidden.layers[1:], strict=False):
        wanted = getattr(twin(block, backbone.config), mode)()(before, src_key_padding_mask=~hidden.valid)
        if block is backbone.blocks[-1] and backbone.config.norm == "pre":
            wanted = backbone.norm(wanted)
        torch.testing.assert_close(after[hidden.valid], wanted[hidden.valid], rtol=1e-4, atol=1e-5)


@pytest.mark.slow  # the import alone
def test_the_post_norm_encoder_is_bert():
    """Hugging Face's BertEncoder behind our input, with the same weights: MockingJay's encoder is BERT's."""
    pytest.importorskip("transformers")
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertEncoder

    backbone = small("transformer", norm="post", eps=1e-12, positions="sinusoidal", init_std=0.3).eval()
    c = backbone.config
    shape = {"num_hidden_layers": c.layers, "num_attention_heads": c.heads, "intermediate_size": c.feedforward}
    bert = BertEncoder(BertConfig(hidden_size=c.width, layer_norm_eps=c.eps, attn_implementation="eager", **shape))
    for ours, theirs in zip(backbone.blocks, bert.eval().layer, strict=True):
        attention = theirs.attention
        q, k, v = ours.qkv.weight.chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), (q, k, v), ours.qkv.bias.chunk(3), strict=True):
            attention.self.get_submodule(name).load_state_dict({"weight": weight, "bias": bias})
        attention.output.dense.load_state_dict(ours.out.state_dict())
        attention.output.LayerNorm.load_state_dict(ours.norm1.state_dict())
        theirs.intermediate.dense.load_state_dict(ours.grow.state_dict())
        theirs.output.dense.load_state_dict(ours.shrink.state_dict())
        theirs.output.LayerNorm.load_state_dict(ours.norm2.state_dict())
    hidden = backbone(batch(), LENGTHS)
    mask = torch.zeros(hidden.valid.shape).masked_fill(~hidden.valid, -1e9)[:, None, None]
    wanted = bert(hidden.layers[0], attention_mask=mask)[0]
    torch.testing.assert_close(hidden.last[hidden.valid], wanted[hidden.valid], rtol=1e-4, atol=1e-5)
    embedded = backbone.embed(batch()) + transformer.sinusoids(40, 32)
    torch.testing.assert_close(
        hidden.layers[0][hidden.valid], nn.functional.layer_norm(embedded, (32,), eps=1e-12)[hidden.valid]
    )


def test_weights_are_drawn_with_the_deviation_that_is_asked_for():
    backbone = small("transformer", width=64, feedforward=256, init_std=0.02)
    assert backbone.blocks[0].grow.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not backbone.blocks[0].grow.bias.any()


def test_attention_weights_have_dropout_only_where_it_is_asked_for():
    for rate, same in ((0.0, True), (0.5, False)):
        backbone = small("transformer", attention_dropout=rate)
        a, b = (backbone(batch(), LENGTHS).last for _ in range(2))
        assert a.equal(b) == same
    backbone.eval()
    assert backbone(batch(), LENGTHS).last.equal(backbone(batch(), LENGTHS).last)


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


# ---------------------------------------------------------------------------------------------- NPC

TAPS = [(15, 5, 4), (15, 3, 4), (17, 7, 4), (15, 7, 3), (5, 1, 1), (9, 1, 2)]


@pytest.mark.parametrize(("kernel", "mask", "layers"), TAPS)
def test_a_frame_never_sees_its_masked_neighbourhood(kernel, mask, layers):
    """The slope of the sum at a step: zero within the mask, not zero right beyond it, zero beyond the kernel."""
    torch.manual_seed(0)
    backbone = npc.Backbone(npc.Config(width=16, layers=layers, kernel=kernel, mask=mask), FEATURES).eval()
    x, at = torch.randn(1, 61, FEATURES, requires_grad=True), 30
    (slope,) = torch.autograd.grad(backbone(x, torch.tensor([61])).layers[0][0, at].square().sum(), x)
    seen = slope[0].abs().sum(1) > 0
    hole, reach = mask // 2, kernel // 2 + layers  # receptive field of kernel + 2 layers
    wanted = [hole < abs(t - at) <= reach for t in range(61)]
    assert seen.tolist() == wanted


def test_no_single_block_sees_into_the_mask_either():
    torch.manual_seed(0)
    backbone = npc.Backbone(npc.Config(width=16), FEATURES).eval()
    x = torch.randn(1, 61, FEATURES, requires_grad=True)
    for masked, states in zip(backbone.masked, backbone(x, torch.tensor([61])).layers[1:], strict=True):
        (slope,) = torch.autograd.grad(masked(states)[0, 30].square().sum(), x, retain_graph=True)
        assert slope[0, 28:33].abs().sum() == 0
        assert slope[0, [27, 33]].abs().sum() > 0


def public_npc(backbone, x):
    """The formula of the authors' code with our weights: full kernels of which the middle is multiplied by zero."""
    h, total = x.transpose(1, 2), 0
    for k, (block, masked) in enumerate(zip(backbone.blocks, backbone.masked, strict=True)):
        out = nn.functional.conv1d(h, block.conv.weight, block.conv.bias, padding=1)
        for norm, after in ((block.norm1, lambda y, b=block: b.linear(y.relu().mT).mT), (block.norm2, lambda y: y)):
            mean, var = norm.running_mean[:, None], norm.running_var[:, None]
            out = after((out - mean) / (var + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None])
        h = (out if k == 0 else out + h).relu()
        width, kernel = masked.conv.out_channels, backbone.config.kernel
        full = torch.zeros(width, width, kernel)
        full[..., : masked.taps], full[..., kernel - masked.taps :] = masked.conv.weight.split(width, dim=1)
        total = total + nn.functional.conv1d(h, full, masked.conv.bias, padding=kernel // 2).tanh()
        yield h.mT
    yield total.mT


def test_npc_equals_the_formula_of_its_authors():
    backbone = small("npc", layers=4)
    for _ in range(3):
        backbone(torch.randn(4, 40, FEATURES), LENGTHS)  # running statistics of their own
    backbone.eval()
    x = batch()[1:2]
    found = backbone(x, LENGTHS[1:2]).layers
    for ours, theirs in zip([*found[1:], found[0]], public_npc(backbone, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_statistics_of_a_batch_count_its_valid_steps_only():
    """In training too: rows padded together have the states of one long row, as far as no edge is seen."""
    backbone = small("npc").train()
    x = batch()
    padded = backbone(x, LENGTHS).layers[1]
    means = backbone.blocks[0].norm1.running_mean.clone()
    again = small("npc").train()
    noise = torch.where(valid_steps(LENGTHS, 40)[..., None], x, torch.full_like(x, 50.0))
    wide = again(torch.cat([noise, torch.randn(4, 30, FEATURES)], dim=1), LENGTHS).layers[1]
    torch.testing.assert_close(wide[:, :40][valid_steps(LENGTHS, 40)], padded[valid_steps(LENGTHS, 40)])
    torch.testing.assert_close(again.blocks[0].norm1.running_mean, means)
    rows = [nn.functional.conv1d(r[:n].T[None], again.blocks[0].conv.weight, again.blocks[0].conv.bias, padding=1)
            for r, n in zip(x, LENGTHS.tolist(), strict=True)]  # fmt: skip
    torch.testing.assert_close(means, 0.1 * torch.cat(rows, dim=2).mean((0, 2)))


def test_a_batch_of_one_step_can_be_trained_on():
    states = small("npc").train()(torch.randn(1, 1, FEATURES), torch.tensor([1])).layers
    assert all(layer.isfinite().all() for layer in states)


@pytest.mark.parametrize(
    ("kind", "wrong", "named"),
    [
        (transformer, {"width": 30, "heads": 4}, "backbone.width"),
        (transformer, {"width": 15, "heads": 5}, "backbone.width"),
        (transformer, {"width": 24, "heads": 4, "positions": "conv"}, "backbone.width"),
        (transformer, {"layers": 0}, "backbone.layers"),
        (transformer, {"positions": "none"}, "backbone.positions"),
        (transformer, {"norm": "both"}, "backbone.norm"),
        (transformer, {"activation": "swish"}, "backbone.activation"),
        (npc, {"layers": 0}, "backbone.layers"),
        (npc, {"kernel": 14}, "backbone.kernel: steps, odd"),
        (npc, {"mask": 4}, "backbone.mask: steps, odd"),
        (npc, {"mask": 7}, r"leaves no tap in block 4. Found a hole of 15 steps .* in a kernel of 15. Use 3 blocks, k"),
        (npc, {"kernel": 7}, "leaves no tap in block 1. Found a hole of 7 steps .* in a kernel of 7. Use kernel 15 or"),
        (gru, {"width": 31}, "backbone.width"),
        (gru, {"layers": 0}, "backbone.layers"),
        (strengthnet, {"channels": ()}, "backbone.channels"),
        (strengthnet, {"channels": (16, 0)}, "backbone.channels"),
        (strengthnet, {"frequencies": 0}, "backbone.frequencies"),
    ],
)
def test_impossible_sizes_are_refused(kind, wrong, named):
    with pytest.raises(InputError, match=named):
        kind.Config(**wrong)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["conv", "sinusoidal"])
def test_states_at_some_steps_are_those_of_all_steps(norm, positions):
    torch.manual_seed(0)
    backbone = transformer.Backbone(
        transformer.Config(width=32, layers=3, heads=2, feedforward=64, norm=norm, positions=positions), 5
    ).eval()
    x, lengths = torch.randn(3, 17, 5), torch.tensor([17, 9, 4])
    where = (torch.rand(3, 17) < 0.4) & valid_steps(lengths, 17)
    where[2] = False  # a row of which nothing is wanted
    found = backbone.at(x, lengths, where)
    torch.testing.assert_close(found, backbone(x, lengths).last[where])
    gradients = []
    for states in (found, backbone(x, lengths).last[where]):
        backbone.zero_grad()
        states.square().sum().backward()
        gradients.append({k: p.grad.clone() for k, p in backbone.named_parameters()})
    for key, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][key], atol=1e-5, rtol=1e-4)


def test_no_step_wanted_is_a_zero_that_can_be_trained_on():
    backbone = transformer.Backbone(transformer.Config(width=32, layers=1, heads=2), 5)
    found = backbone.at(torch.randn(2, 6, 5), torch.tensor([6, 3]), torch.zeros(2, 6, dtype=torch.bool))
    assert found.shape == (0, 32)
    found.sum().backward()


def test_plain_is_the_steps_themselves():
    backbone, x = (
        plugins.load("backbones", "plain").Backbone(plugins.load("backbones", "plain").Config(), FEATURES),
        batch(),
    )
    hidden = backbone(x, LENGTHS)
    assert hidden.layers == [x]
    assert hidden.lengths is LENGTHS
    assert (backbone.dim, len(backbone.blocks), sum(p.numel() for p in backbone.parameters())) == (FEATURES, 0, 0)
