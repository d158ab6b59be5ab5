"""Encoders: the laws of backbones for every family, the library's own results, and folders that are no encoders."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from toys import ToyStore

from sottovoce import files
from sottovoce.backbones import encoder, hop_and_field, valid_steps
from sottovoce.config import recipe
from sottovoce.config.frontend import Frontend
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.modeling import hub, network
from sottovoce.modeling.checkpoint import load_tensors, save_tensors

transformers = pytest.importorskip("transformers")
LENGTHS = torch.tensor([2000, 5000, 400, 3999, 70])  # samples; the last one is shorter than a window
STATES = [6, 15, 1, 12, 1]
LARGE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}  # "large" at the size of "toy"

each_encoder = pytest.mark.parametrize(
    ("family", "more"),
    [(family, more) for family in encoder.FAMILIES for more in ({}, {"architecture": LARGE, "normalise": True})],
    ids=lambda v: v if isinstance(v, str) else "large" if v else "base",
)


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    """Without gradients, convolutions see four states at a time: the longest rows are of several pieces."""
    monkeypatch.setattr(encoder, "PIECE", 4 * 320)


each_mode = pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode], ids=["learning", "frozen"])


def small(family="hubert", seed=0, **more):
    torch.manual_seed(seed)
    config = encoder.Config(**({"family": family, "size": "toy", "dropout": 0.0} | more))
    backbone = encoder.Backbone(config, 1)
    for p in backbone.parameters():  # norms, biases and WavLM's gates too
        nn.init.normal_(p, std=0.2)
    return backbone


def waves(seed=0):
    """(B, N, 1), not centred, so that normalising would show."""
    x = 0.1 * torch.randn(len(LENGTHS), int(LENGTHS.max()), 1, generator=torch.Generator().manual_seed(seed)) + 0.02
    return x * valid_steps(LENGTHS, x.shape[1])[..., None]


# ---------------------------------------------------------------------------------------------- laws of backbones


@each_encoder
def test_there_is_a_state_of_the_input_and_of_every_block(family, more):
    backbone = small(family, **more)
    hidden = backbone(waves(), LENGTHS)
    assert hidden.lengths.tolist() == STATES == hidden.valid.sum(1).tolist()
    assert len(hidden.layers) == 1 + len(backbone.blocks) == 3
    assert all(layer.shape == (5, 15, backbone.dim) for layer in hidden.layers)
    assert (backbone.features, backbone.dim, hop_and_field(backbone)) == (1, 32, (320, 400))


@each_mode
@each_encoder
def test_padding_changes_nothing(family, more, mode):
    """Neither its length nor what stands in it."""
    backbone, x = small(family, **more).eval(), waves()
    noise = torch.where(valid_steps(LENGTHS, x.shape[1])[..., None], x, torch.full_like(x, 99.0))
    with mode():
        once = backbone(x, LENGTHS)
        again = backbone(torch.cat([noise, torch.randn(5, 1000, 1)], dim=1), LENGTHS)
    for a, b in zip(once.layers, again.layers, strict=True):
        for k, length in enumerate(STATES):
            torch.testing.assert_close(a[k, :length], b[k, :length])


@each_mode
@each_encoder
def test_a_row_alone_or_in_another_order_is_the_same(family, more, mode):
    backbone, x = small(family, **more).eval(), waves()
    with mode():
        together, turned = backbone(x, LENGTHS), backbone(x.flip(0), LENGTHS.flip(0))
        each = [backbone(x[k : k + 1, :n], LENGTHS[k : k + 1]) for k, n in enumerate(LENGTHS.tolist())]
    for level, states in enumerate(together.layers):
        for k, length in enumerate(STATES):
            torch.testing.assert_close(states[k, :length], each[k].layers[level][0])
            torch.testing.assert_close(states[k, :length], turned.layers[level][4 - k, :length])


@each_mode
@each_encoder
def test_states_are_those_of_the_library_without_padding(family, more, mode):
    """All of them; where blocks normalise their input, the last one is the library's normalised `last_hidden_state`."""
    backbone = small(family, **more).eval()
    theirs = transformers.AutoModel.from_config(backbone.config.resolved(), attn_implementation="eager").eval()
    own, their = dict(backbone.named_parameters()), dict(theirs.named_parameters())
    names = {"front": "feature_extractor.conv_layers", "project": "feature_projection", "blocks": "encoder.layers",
             "positions": "encoder.pos_conv_embed", "norm": "encoder.layer_norm", "norm_first": "encoder.layer_norm",
             "mask_vector": "masked_spec_embed"}  # fmt: skip
    assert len(own) == len(their)
    for name, p in own.items():
        head, dot, rest = name.partition(".")
        their[names[head] + dot + rest].data.copy_(p.data)
    x = waves()
    with mode():
        hidden = backbone(x, LENGTHS)
    for k, samples in enumerate(LENGTHS.tolist()[:4]):
        wave = x[k, :samples, 0]
        if backbone.config.normalise:
            wave = (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()  # their feature extractor
        with torch.no_grad():
            found = theirs(wave[None], output_hidden_states=True)
        wanted = [*found.hidden_states[:-1], found.last_hidden_state]
        for a, b in zip(hidden.layers, wanted, strict=True):
            torch.testing.assert_close(a[k, : STATES[k]], b[0], rtol=1e-4, atol=1e-5)


@each_encoder
def test_every_parameter_gets_a_gradient(family, more):
    backbone = small(family, **more)
    mask = torch.zeros(5, 15, dtype=torch.bool)
    mask[1, 3:6] = True
    hidden = backbone(waves(), LENGTHS, mask)
    (hidden.last * torch.randn(hidden.last.shape) * hidden.valid[..., None]).sum().backward()
    assert [key for key, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@each_encoder
def test_gradients_are_the_same_when_blocks_are_computed_again(family, more):
    grads = []
    for again in (False, True):
        backbone = small(family, **more, checkpointing=again, attention_dropout=0.1).train()
        torch.manual_seed(1)
        hidden = backbone(waves(), LENGTHS)
        hidden.last[hidden.valid].square().sum().backward()
        grads.append({k: p.grad for k, p in backbone.named_parameters() if p.grad is not None})
    torch.testing.assert_close(grads[0], grads[1])


@each_encoder
def test_what_is_hidden_cannot_be_seen(family, more):
    """Local features behind the mask vector, and zeroed columns, do not reach any state."""
    backbone = small(family, **more).eval()
    local, lengths = backbone.convolve(waves(), LENGTHS)
    mask = torch.zeros(5, 15, dtype=torch.bool)
    mask[1, 4:9] = True
    columns = torch.zeros(5, 32, dtype=torch.bool)
    columns[0, 7:20] = True
    once = backbone.contextualise(local, lengths, mask, columns)
    other = local.clone()
    other[1, 4:9] = 5.0
    again = backbone.contextualise(other, lengths, mask, columns)
    for a, b in zip(once.layers, again.layers, strict=True):
        torch.testing.assert_close(a[once.valid], b[once.valid])
    seen = backbone.contextualise(local, lengths)
    assert not torch.equal(seen.last[1, :15], once.last[1, :15])
    assert not torch.equal(seen.last[0, :6], once.last[0, :6])
    torch.testing.assert_close(seen.last[3, :12], once.last[3, :12])  # a row in which nothing is hidden


@each_mode
@each_encoder
def test_blocks_above_the_wanted_one_are_left_out(family, more, mode):
    """What is below them stays; the norm behind the last block is behind no other."""
    backbone = small(family, **more).eval()
    ran = []
    backbone.blocks[1].register_forward_hook(lambda *_: ran.append(1))
    with mode():
        for upto in range(3):
            found = backbone(waves(), LENGTHS, upto=upto)
            assert len(found.layers) == 1 + upto
            assert len(ran) == (upto == 2)
        for a, b in zip(backbone(waves(), LENGTHS, upto=1).layers, found.layers, strict=False):
            assert a.equal(b)


@each_encoder
def test_frozen_convolutions_give_the_others_the_same_gradients(family, more):
    grads = []
    for learns in (True, False):
        backbone = small(family, **more).train()
        backbone.front.requires_grad_(learns)
        hidden = backbone(waves(), LENGTHS)
        hidden.last[hidden.valid].square().sum().backward()
        grads.append(
            {k: p.grad for k, p in backbone.named_parameters() if not k.startswith("front") and k != "mask_vector"}
        )
        assert all((p.grad is None) != learns for p in backbone.front.parameters())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", encoder.FAMILIES)
def test_what_is_made_of_weights_is_made_again_when_they_change(family):
    """By whatever way: nothing is kept that a fresh backbone of the same weights would not compute."""
    backbone, x = small(family).eval(), waves()
    for p in [None, backbone.front[0].conv.weight, backbone.front[3].conv.weight, *backbone.positions.parameters()]:
        if p is not None:
            p.data.mul_(1.5)
        fresh = small(family).eval()
        fresh.load_state_dict(backbone.state_dict())
        with torch.inference_mode():
            assert backbone(x, LENGTHS).last.equal(fresh(x, LENGTHS).last)


@each_encoder
def test_blocks_can_be_cut_off_from_the_top(family, more):
    """What is left says what it said: the last block's normalisation is none of theirs."""
    whole, cut = small(family, **more).eval(), small(family, **more).eval()
    cut.blocks = cut.blocks[:1]
    for a, b in zip(whole(waves(), LENGTHS).layers, cut(waves(), LENGTHS).layers, strict=False):
        assert a.equal(b)
    assert len(cut(waves(), LENGTHS).layers) == 2


def test_the_seed_decides_the_weights_and_dropout_acts_in_training_only():
    a, b, c = (small(seed=s, dropout=0.5) for s in (3, 3, 4))
    x = waves()
    assert a.eval()(x, LENGTHS).last.equal(b.eval()(x, LENGTHS).last)
    assert not a(x, LENGTHS).last.equal(c.eval()(x, LENGTHS).last)
    assert not a.train()(x, LENGTHS).last.equal(b(x, LENGTHS).last)


@pytest.mark.parametrize(("size", "millions"), [("toy", 0.04), ("tiny", 1.08), ("small", 4.0)])
def test_sizes_are_those_the_docs_promise(size, millions):
    found = sum(p.numel() for p in encoder.Backbone(encoder.Config(size=size), 1).parameters())
    assert found == pytest.approx(millions * 1e6, rel=0.05)


@pytest.mark.parametrize(("size", "clock"), [("toy", (320, 400)), ("tiny", (640, 1024)), ("base", (320, 400))])
def test_states_come_50_times_a_second_and_25_times_from_tiny(size, clock):
    config = encoder.Config(size=size, architecture={"num_hidden_layers": 1}, dropout=0.0)
    backbone = encoder.Backbone(config, 1).eval()
    assert hop_and_field(backbone) == clock
    stride, window = clock
    for samples in (window - 1, window, window + stride - 1, window + stride, 16000):
        with torch.inference_mode():
            hidden = backbone(torch.randn(1, samples, 1), torch.tensor([samples]))
        assert hidden.last.shape[1] == hidden.lengths.item() == max((samples - window) // stride + 1, 1)


def test_base_is_the_librarys_own_and_large_is_as_published():
    base = encoder.Config(size="base", dropout=0.1, attention_dropout=0.1).resolved().to_dict()
    assert base == transformers.HubertConfig().to_dict()
    large = encoder.Config(size="large").resolved()
    assert (large.hidden_size, large.num_hidden_layers, large.num_attention_heads) == (1024, 24, 16)


# ---------------------------------------------------------------------------------------------- the clock of states


def steps_of(lengths, aux=None, seed=0):
    rng = np.random.default_rng(seed)
    store = ToyStore({f"u{k}": 0.1 * rng.standard_normal((n, 1)) for k, n in enumerate(lengths)}, rate_hz=16000.0)
    front = Frontend(subsampling=1, normalise="none", clip=0.0)
    return Steps([(store, store.utterances)], front, aux=aux, hop_and_field=(320, 400))


def test_a_ramp_on_any_clock_is_a_ramp_at_the_states():
    """In whole utterances, cut and stretched ones: a state reads a track at the middle of its 25 ms."""
    ramp = ToyStore({f"u{k}": np.arange(n)[:, None] / 62.5 + 0.008 for k, n in enumerate((63, 35))}, 62.5, 0.008)
    steps = steps_of([16000, 9000], {"time": ([ramp], "linear")})
    whole = steps.batch([0, 1])
    assert whole.tracks["time"].shape == (2, 49)
    np.testing.assert_allclose(whole.tracks["time"][0], 0.0125 + 0.02 * np.arange(49), atol=1e-4)
    assert whole.tracks["time"][1, 27:].eq(0).all()  # padding
    cut = steps.batch([0], most=8000, seed=3)
    first = (cut.tracks["time"][0, 0].item() - 0.0125) / 0.02
    assert first == pytest.approx(round(first), abs=0.01)  # a cut leaves states where they were
    assert first > 0
    np.testing.assert_array_equal(cut.x[0, :, 0], steps.raw(0)[round(first) * 320 :][:8000, 0])
    fast = steps.stretched(0.2, 0.0).batch([0])
    time = 16000 / int(fast.lengths[0])
    wanted = time * (0.0125 + 0.02 * np.arange(fast.tracks["time"].shape[1]))
    assert time != pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(fast.tracks["time"][0], wanted, atol=1e-3)


def test_labels_are_read_at_the_nearest_time_and_padded_with_minus_one():
    labels = ToyStore({f"u{k}": np.arange(n)[:, None] // 2 for k, n in enumerate((98, 16))}, 100.0, 0.0125)
    units = steps_of([16000, 3000], {"units": ([labels], "nearest")}).batch([0, 1]).tracks["units"]
    assert units.dtype == torch.int64
    assert units[0, :, 0].tolist() == list(range(49))  # two frames of MFCC a state
    assert units[1, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7] + [-1] * 40


def test_silence_at_the_ends_of_a_waveform_is_cut_on_the_grid_of_the_states():
    quiet, loud = 1e-5 * np.ones((8123, 1)), np.sin(np.arange(16000) / 5)[:, None]
    store = ToyStore({"u0": np.concatenate([quiet, loud, quiet])}, rate_hz=16000.0)
    steps = Steps([(store, store.utterances)], Frontend(subsampling=1, normalise="none", trim_db=30.0))
    first, last = steps.bounds[0]
    assert first % 640 == 0  # of the slowest, 25 a second
    assert 8123 - 5 * 320 <= first <= 8123
    assert 24123 <= last <= 24123 + 5 * 320
    times = steps.states(0, 0, int(steps.lengths[0]), (320, 400)).times
    np.testing.assert_allclose(times[:2], (first + 199.5 + np.array([0, 320])) / 16000)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_side_by_side_come_in_order_and_leave_the_threads_as_they_were(threads):
    steps, backbone, before = steps_of([16000, 9000, 5000, 700, 12000]), small().eval(), torch.get_num_threads()
    batches = [np.array([i]) for i in (3, 0, 4, 1, 2)]
    torch.set_num_threads(threads)
    try:
        found = list(network.in_batches(steps, batches, network.states_of(backbone, 1)))
        assert torch.get_num_threads() == threads
        next(network.in_batches(steps, batches, network.states_of(backbone, 1)))  # and no more of them
        assert torch.get_num_threads() == threads
        with pytest.raises(ZeroDivisionError):
            list(network.in_batches(steps, batches, lambda x, lengths: 1 // 0))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert [rows.tolist() for rows, _ in found] == [rows.tolist() for rows in batches]
    for (i,), (states, lengths) in found:
        alone = backbone(torch.from_numpy(steps.raw(i))[None], torch.tensor([steps.lengths[i]]), upto=1)
        assert lengths.equal(alone.lengths)
        torch.testing.assert_close(states[:, : int(lengths)], alone.layers[1], rtol=1e-4, atol=1e-5)


def test_batches_have_few_lengths_so_that_buffers_fit_again():
    made = [network.evened(torch.ones(1, t, 2)) for t in range(1, 6001)]
    for t, x in enumerate(made, start=1):
        assert t <= x.shape[1] <= 17 / 16 * t
        assert x[:, :t].all()
        assert not x[:, t:].any()
    lengths = [x.shape[1] for x in made]
    assert max(lengths[:3000]) == 3000  # 30 s stay what Whisper hears at once
    assert len(set(lengths[99:1500])) < 70  # of recordings of 1 to 15 s


def test_states_come_with_their_clock_and_are_those_of_a_row_alone():
    steps, backbone = steps_of([16000, 9000, 5000]), small().eval()
    for i, track in network.states(backbone, steps, 1):
        alone = backbone(torch.from_numpy(steps.raw(i))[None], torch.tensor([steps.lengths[i]])).layers[1][0]
        np.testing.assert_allclose(track.values, alone.detach(), atol=1e-5)
        assert track.rate_hz == 50
        assert track.offset_s == pytest.approx(0.0125, abs=1e-4)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(InputError, match=f"layer {layer}: not in this model. Found 2 blocks"):
        next(network.states(small(), steps_of([5000]), layer))


# ---------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module", params=encoder.FAMILIES)
def checkpoint(request, tmp_path_factory):
    """A folder as the library saves it, and the model in it."""
    folder = tmp_path_factory.mktemp(request.param)
    config = encoder.Config(request.param, "toy", dropout=0.0).resolved()
    torch.manual_seed(5)
    model = transformers.AutoModel.from_config(config)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))
    return folder, model.eval()


def test_a_checkpoint_is_a_run_to_go_on_from(checkpoint):
    folder, model = checkpoint
    (run,) = hub.parts(str(folder))
    found = network.load_pretrained(run)
    assert found.plan.backbone_config.family == model.config.model_type
    assert found.plan.backbone_config.normalise
    assert run.seen_speakers == frozenset()
    wave = waves()[1:2, :, 0]
    wanted = model((wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()).last_hidden_state
    torch.testing.assert_close(found.backbone(waves()[1:2], LENGTHS[1:2]).last, wanted, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_may_be_of_half_precision_and_keep_its_extractor_in_a_processor(checkpoint, tmp_path):
    folder, model = checkpoint
    model.half().save_pretrained(tmp_path)
    model.float()
    told = json.loads((folder / "preprocessor_config.json").read_text())
    for name, content in (("processor_config.json", {"feature_extractor": told}), ("preprocessor_config.json", {})):
        (tmp_path / name).write_text(json.dumps(content or {"sampling_rate": 16000}))  # unsaid: as by default
        found = network.load_pretrained(hub.load(str(tmp_path)))
        assert found.plan.backbone_config.normalise
        wanted = network.load_pretrained(hub.load(str(folder))).backbone(waves(), LENGTHS).last
        torch.testing.assert_close(found.backbone(waves(), LENGTHS).last, wanted, rtol=0.02, atol=0.02)
        (tmp_path / name).write_text(json.dumps({"feature_extractor": {"sampling_rate": 8000}, "sampling_rate": 8000}))
        with pytest.raises(InputError, match="an encoder for 8000 Hz"):
            hub.load(str(tmp_path))


def test_weights_that_are_no_numbers_are_refused(checkpoint, tmp_path):
    other = transformers.AutoModel.from_config(checkpoint[1].config)
    next(iter(other.encoder.layers[0].parameters())).data[0] = float("nan")
    other.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="corrupt weights"):
        network.load_pretrained(hub.load(str(tmp_path)))


def test_a_fine_tuned_encoder_is_rebuilt_from_its_own_folder_alone(checkpoint, tmp_path):
    """Settings go through config.json, weights through model.safetensors; the checkpoint is not needed again."""
    run = hub.load(str(checkpoint[0]))
    found = network.load_pretrained(run)
    plan = recipe.from_dict(json.loads(json.dumps(files.plain(run.config["settings"]))))
    assert files.digest(plan) == files.digest(found.plan)
    save_tensors(tmp_path / "w.safetensors", found.backbone.state_dict())
    again = network.build_backbone(plan, 1).eval()
    again.load_state_dict(load_tensors(tmp_path / "w.safetensors"))
    assert again(waves(), LENGTHS).last.equal(found.backbone(waves(), LENGTHS).last)


def test_other_weights_are_another_encoder(checkpoint, tmp_path):
    folder, model = checkpoint
    other = transformers.AutoModel.from_config(model.config)
    other.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text((folder / "preprocessor_config.json").read_text())
    same, another = hub.load(str(folder)), hub.load(str(tmp_path))
    assert same.config["settings"] == another.config["settings"]
    assert same.config["identity"] != another.config["identity"] != ""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"config.json": '{"model_type": "bert"}'}, "not a speech encoder known here. Found model_type 'bert'"),
        ({"config.json": '{"model_type": "hubert", "conv_dim": [4]}'}, "neither run nor encoder"),
        ({"model.safetensors": "torn"}, "neither run nor encoder.*SafetensorError|header"),
        ({"config.json": '{"model_type": "hubert", "hidden_size": 64}'}, "neither run nor encoder.*num_heads"),
        ({"model.safetensors": None}, r"pickled weights \(.bin\) are never loaded"),
        ({"model.safetensors": None, "pytorch_model.bin": "x"}, r"pickled weights \(.bin\) are never loaded"),
        ({"preprocessor_config.json": '{"sampling_rate": 8000}'}, "an encoder for 8000 Hz"),
        ({"config.json": None}, "no finished run"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, dict) else "",
)
def test_a_folder_that_is_no_encoder_is_one_line(damage, said, tmp_path):
    config = encoder.Config(size="toy").resolved()
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    for name, text in damage.items():
        (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said) as found:
        network.load_pretrained(hub.parts(str(tmp_path))[0])
    assert "\n" not in str(found.value)


def test_missing_weights_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    transformers.AutoModel.from_config(encoder.Config(size="toy").resolved()).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    lost = [k for k in tensors if k.startswith("encoder.layers.1.")]
    save_file({k: v for k, v in tensors.items() if k not in lost}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"weights are missing. Found no encoder.layers.1.* {len(lost) - 1} others"):
        network.load_pretrained(hub.load(str(tmp_path)))


def test_an_encoder_that_is_not_on_this_machine_is_one_line(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"facebook/hubert-nowhere: .*switched off .*HF_HUB_OFFLINE") as found:
        hub.parts("facebook/hubert-nowhere")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"family": "whisper"}, "backbone.family"),
        ({"size": "huge"}, "backbone.size"),
        ({"architecture": {"num_attention_heads": "many"}}, "backbone.architecture"),
    ],
)
def test_impossible_encoders_are_refused(wrong, named):
    with pytest.raises(InputError, match=named):
        encoder.Config(**wrong).resolved()


def test_an_encoder_reads_waveforms_only():
    with pytest.raises(InputError, match=r"reads a waveform.* Found 80 features. Use --track wave"):
        encoder.Backbone(encoder.Config(size="toy"), 80)


def test_a_long_first_convolution_begins_as_a_filter_bank():
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(1, 40, 320, bias=False)
    encoder.init_bandpass(conv)
    spectrum = torch.fft.rfft(conv.weight[:, 0].detach(), 16_000).abs()  # one bin a Hz
    loudest = spectrum.argmax(1)
    assert (loudest.diff() > 0).all()
    assert 60 < loudest[0] < 200
    assert 6500 < loudest[-1] < 7600
    widths = [(row > row.max() / 2).sum().item() for row in spectrum]
    assert widths[-1] > 2 * widths[10]  # as the ear's, wider the higher
    assert torch.allclose(conv.weight.square().sum(2), torch.ones(40, 1))


def test_a_short_first_convolution_stays_as_it_is():
    conv = torch.nn.Conv1d(1, 40, 10)
    before = conv.weight.clone()
    encoder.init_bandpass(conv)
    assert (conv.weight == before).all()


def test_weights_of_a_checkpoint_are_not_replaced_by_filters():
    config = encoder.Config(size="tiny")
    model = encoder.library().AutoModel.from_config(config.resolved())
    before = model.feature_extractor.conv_layers[0].conv.weight.clone()
    kept = encoder.Backbone(config, 1, model)
    assert (kept.front[0].conv.weight == before).all()
    assert (encoder.Backbone(config, 1).front[0].conv.weight != before).any()
