"""Whisper: its log-mel bands and states beside the library's, laws of backbones, recordings of any length."""

import hashlib
import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from toys import ToyStore

from sottovoce import files
from sottovoce.backbones import encoder as encoders
from sottovoce.backbones import hop_and_field, valid_steps, whisper
from sottovoce.config import recipe
from sottovoce.config.frontend import Frontend
from sottovoce.data import audio
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.runs import Run
from sottovoce.data.store import TrackStore
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.inference import voter
from sottovoce.modeling import encoded, hub, network, public_files, whisper_weights
from sottovoce.modeling.checkpoint import load_tensors, save_tensors
from sottovoce.pipeline.extract import track_store
from sottovoce.tracks import encoder, logmel

transformers = pytest.importorskip("transformers")
RATE = 16_000
SMALL = {"width": 32, "layers": 3, "heads": 4, "feedforward": 64, "bins": 16, "positions": 60, "complete": True}
LENGTHS = torch.tensor([40, 119, 1, 2, 77])  # frames
STATES = [20, 60, 1, 1, 39]


def small(seed=0, **more):
    torch.manual_seed(seed)
    config = whisper.Config(**(SMALL | more))
    backbone = whisper.Backbone(config, config.bins)
    for p in backbone.parameters():
        nn.init.normal_(p, std=0.2)
    return backbone


def bands(lengths=LENGTHS, seed=0):
    """(B, T, bins), zero after their lengths."""
    x = torch.randn(len(lengths), int(lengths.max()), 16, generator=torch.Generator().manual_seed(seed)) + 0.3
    return x * valid_steps(lengths, x.shape[1])[..., None]


def voice(seconds, seed=0):
    """A buzz in a little noise that swells and fades."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * t + k) / k for k in range(1, 40))
    return (0.1 * buzz * np.sin(np.pi * t / seconds) ** 2 + 0.002 * rng.standard_normal(len(t))).astype(np.float32)


# ---------------------------------------------------------------------------------------------- what it hears


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("seconds", [0.02, 0.7, 3.004])
def test_log_mel_bands_are_the_librarys_alone_and_filled_up_to_30_seconds(seconds, bins):
    """Its implementation in double precision; that in single precision is itself 3e-5 away from it."""
    theirs = transformers.WhisperFeatureExtractor(feature_size=bins)
    samples = voice(seconds)
    for wave in (samples, np.pad(samples, (0, 30 * RATE - len(samples)))):
        (wanted,) = theirs._np_extract_fbank_features(wave[None], "cpu")
        np.testing.assert_allclose(logmel.log_mel(wave, bins), wanted.T, atol=1e-5)
    filled = theirs(samples, sampling_rate=RATE).input_features[0].T  # the way people call it
    np.testing.assert_allclose(logmel.log_mel(wave, bins), filled, atol=1e-4)


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 199, 200, 201, 319, 320, 400, 401, 100_001])
def test_a_recording_has_a_frame_every_10_ms_and_at_least_one(samples):
    made = logmel.make(Track(voice(7.0)[:samples], RATE), logmel.Config())
    assert made.values.shape == (max(samples // 160, 1), 80)
    assert np.isfinite(made.values).all()
    assert (made.rate_hz, made.offset_s) == (100.0, 0.0)


def test_chunks_of_a_long_recording_meet_without_a_seam(monkeypatch):
    whole = logmel.log_mel(voice(5.0))
    monkeypatch.setattr(logmel, "CHUNK", 7)
    np.testing.assert_allclose(logmel.log_mel(voice(5.0)), whole, atol=1e-6)


def test_the_level_of_a_recording_is_not_heard_unless_asked_for():
    loud, quiet = Track(voice(1.0), RATE), Track(voice(1.0) / 10, RATE)
    np.testing.assert_allclose(*(logmel.make(w, logmel.Config()).values for w in (loud, quiet)), atol=1e-5)
    a, b = (logmel.make(w, logmel.Config(peak=0.0)).values for w in (loud, quiet))
    np.testing.assert_allclose(a - b, 0.5, atol=1e-5)  # two decades of power, a quarter each


def test_silence_and_clipping_stay_finite():
    for wave in (np.zeros(RATE, np.float32), np.full(RATE, 1e6, np.float32), np.full(RATE, 1e-30, np.float32)):
        for config in (logmel.Config(), logmel.Config(peak=0.0)):
            assert np.isfinite(logmel.make(Track(wave, RATE), config).values).all()


def test_a_click_is_where_the_clock_says():
    click = np.zeros(RATE, np.float32)
    click[RATE // 2] = 1.0
    made = logmel.make(Track(click, RATE), logmel.Config())
    assert made.times[made.values.sum(1).argmax()] == pytest.approx(0.5, abs=0.005)


def test_log_energies_are_natural_logarithms_of_power():
    tone = (0.5 * np.sin(np.arange(RATE) / 3)).astype(np.float32)
    a, b = (logmel.log_energies(logmel.log_mel(g * tone)).max() for g in (np.float32(1), np.float32(0.1)))
    assert a - b == pytest.approx(np.log(100), abs=1e-3)


@pytest.mark.parametrize("wrong", [{"bins": 0}, {"peak": -0.1}, {"peak": 2.0}])
def test_impossible_bands_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        logmel.Config(**wrong)


# ---------------------------------------------------------------------------------------------- laws of backbones


def test_there_is_a_state_of_the_input_and_of_every_block():
    backbone = small()
    hidden = backbone(bands(), LENGTHS)
    assert hidden.lengths.tolist() == STATES == hidden.valid.sum(1).tolist()
    assert len(hidden.layers) == 1 + len(backbone.blocks) == 4
    assert all(layer.shape == (5, 60, 32) for layer in hidden.layers)
    assert (backbone.features, backbone.dim, hop_and_field(backbone)) == (16, 32, (2, 1))


def test_padding_changes_nothing():
    """Neither its length nor what stands in it, and every row is what it is alone and in another order."""
    backbone, x = small().eval(), bands()
    noise = torch.where(valid_steps(LENGTHS, x.shape[1])[..., None], x, torch.full_like(x, torch.nan))
    once, turned = backbone(x, LENGTHS), backbone(x.flip(0), LENGTHS.flip(0))
    again = backbone(torch.cat([noise, torch.randn(5, 1, 16)], dim=1), LENGTHS)
    each = [backbone(x[k : k + 1, :n], LENGTHS[k : k + 1]) for k, n in enumerate(LENGTHS.tolist())]
    for level, states in enumerate(once.layers):
        for k, length in enumerate(STATES):
            for other in (again.layers[level][k], turned.layers[level][4 - k], each[k].layers[level][0]):
                torch.testing.assert_close(states[k, :length], other[:length])


def test_a_state_is_centred_on_every_second_frame():
    """State 0 of a click in the bands: the state there moves most, and none further away than its taps."""
    backbone, lengths = small().eval(), torch.tensor([81])
    x = torch.zeros(1, 81, 16)
    before = backbone(x, lengths, upto=0).last[0]
    for frame in (0, 24, 80):
        click = x.clone()
        click[0, frame] = 1.0
        moved = (backbone(click, lengths, upto=0).last[0] - before).abs().sum(1)
        assert moved.nonzero()[:, 0].tolist() == [s for s in range(41) if abs(2 * s - frame) <= 2]


def test_every_parameter_gets_a_gradient():
    backbone = small()
    mask = torch.zeros(5, 60, dtype=torch.bool)
    mask[1, 3:6] = True
    hidden = backbone(bands(), LENGTHS, mask)
    (hidden.last * torch.randn(hidden.last.shape) * hidden.valid[..., None]).sum().backward()
    assert [key for key, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_what_is_hidden_cannot_be_seen():
    backbone = small().eval()
    local, lengths = backbone.convolve(bands(), LENGTHS)
    mask, columns = torch.zeros(5, 60, dtype=torch.bool), torch.zeros(5, 32, dtype=torch.bool)
    mask[1, 4:9], columns[0, 7:20] = True, True
    once = backbone.contextualise(local, lengths, mask, columns)
    other = local.clone()
    other[1, 4:9], other[0, :, 7:20] = 5.0, 5.0
    again = backbone.contextualise(other, lengths, mask, columns)
    for a, b in zip(once.layers, again.layers, strict=True):
        torch.testing.assert_close(a[once.valid], b[once.valid])
    assert not torch.equal(backbone.contextualise(local, lengths).last[:2], once.last[:2])


def test_blocks_above_the_wanted_one_are_left_out():
    backbone, cut = small().eval(), small().eval()
    whole, ran = backbone(bands(), LENGTHS), []
    backbone.blocks[2].register_forward_hook(lambda *_: ran.append(1))
    for upto in range(4):
        found = backbone(bands(), LENGTHS, upto=upto)
        assert len(ran) == (upto == 3)
        assert all(a.equal(b) for a, b in zip(found.layers, whole.layers[: 1 + upto], strict=True))
    cut.blocks = cut.blocks[:2]
    assert all(a.equal(b) for a, b in zip(cut(bands(), LENGTHS).layers, whole.layers[:3], strict=True))


# ---------------------------------------------------------------------------------------------- the library's states


def theirs_like(backbone, positions=True):
    """The library's encoder with the same weights."""
    c = backbone.config
    config = transformers.WhisperConfig(
        d_model=c.width, encoder_layers=c.layers, encoder_attention_heads=c.heads, encoder_ffn_dim=c.feedforward,
        num_mel_bins=c.bins, max_source_positions=c.positions, decoder_layers=1, decoder_attention_heads=1,
        decoder_ffn_dim=8, vocab_size=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    own = {"front.": "", "blocks.": "layers.", "norm.": "layer_norm."}
    for name, p in backbone.named_parameters():
        if name != "mask_vector":
            head = next(h for h in own if name.startswith(h))
            model.get_parameter(own[head] + name.removeprefix(head)).data.copy_(p.data)
    if positions:  # those of checkpoints in half precision are rounded
        torch.testing.assert_close(model.embed_positions.weight, backbone.positions)
    return model


def test_states_are_the_librarys_on_input_that_fills_all_positions():
    backbone, x = small().eval(), bands(torch.tensor([120, 120]))
    with torch.no_grad():
        found = theirs_like(backbone)(x.transpose(1, 2), output_hidden_states=True)
        ours = backbone(x, torch.tensor([120, 120])).layers
    for a, b in zip(ours, [*found.hidden_states[:-1], found.last_hidden_state], strict=True):
        torch.testing.assert_close(a, b)


# ---------------------------------------------------------------------------------------------- long recordings


@pytest.mark.parametrize("states", [1, 59, 60, 61, 70, 110, 111, 160, 1000])
def test_stretches_keep_every_state_once_and_none_at_a_seams_edge(states):
    kept, last_end = [], 0
    for first, last, inside in whisper.chunks(states, 60):
        assert 0 < last - first <= 60
        assert first == 0 or first + inside.start >= first + 5  # half of what is shared
        assert last == states or inside.stop <= last - first - 5
        kept += list(range(first, last))[inside]
        last_end = last
    assert kept == list(range(states))
    assert last_end == states


def test_a_long_recording_is_heard_in_stretches_with_what_is_around_them():
    """Away from a seam a state is that of its stretch; state 0 knows no seams but for its position."""
    backbone, lengths = small().eval(), torch.tensor([331])
    x = bands(lengths)
    whole = backbone(x, lengths)
    assert whole.lengths.tolist() == [166] == [len(whole.last[0])]
    local, _ = backbone.convolve(x, lengths)
    for first, last, kept in whisper.chunks(166, 60):
        part = backbone.contextualise(local[:, first:last], torch.tensor([last - first]))
        for a, b in zip(whole.layers, part.layers, strict=True):
            torch.testing.assert_close(a[0, first + kept.start : first + kept.stop], b[0, kept])
    torch.testing.assert_close(whole.layers[0][0, 60:70], local[0, 60:70] + backbone.positions[10:20])
    assert whole.last.equal(backbone(x, lengths).last)


def test_long_recordings_in_a_batch_are_what_they_are_alone():
    backbone, lengths = small().eval(), torch.tensor([331, 50, 242])
    together = backbone(bands(lengths), lengths)
    for k, n in enumerate(lengths.tolist()):
        alone = backbone(bands(lengths)[k : k + 1, :n], lengths[k : k + 1])
        for a, b in zip(together.layers, alone.layers, strict=True):
            torch.testing.assert_close(a[k, : len(b[0])], b[0])


@pytest.mark.parametrize("frames", [1, 2, 119, 120, 121, 500])
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_stream_gives_the_states_of_a_layer_piece_by_piece(frames, layer):
    backbone, lengths = small().eval(), torch.tensor([frames])
    x = bands(lengths)
    pieces = list(backbone.stream(x[0], layer))
    assert max(map(len, pieces)) <= 60
    torch.testing.assert_close(torch.cat(pieces), backbone(x, lengths).layers[layer][0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"heads": 5}, "multiple of backbone.heads"),
        ({"width": 33, "heads": 3}, "even"),
        ({"layers": 0}, "backbone.layers: 1 or more"),
        ({"positions": 3}, "backbone.positions: states at a time, 12 or more"),
    ],
)
def test_impossible_shapes_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        whisper.Config(**wrong)


def test_other_features_than_its_bands_are_refused():
    with pytest.raises(InputError, match=r"reads 80 log-mel bands. Found 1 features. Use --track logmel"):
        whisper.Backbone(whisper.Config(), 1)


# ---------------------------------------------------------------------------------------------- checkpoints

TINY = {
    "d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "num_mel_bins": 16,
    "max_source_positions": 60, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16,
    "vocab_size": 11, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
FORMS = {  # in what a checkpoint may be saved, and where its encoder is there
    "whole model": ("WhisperForConditionalGeneration", lambda m: m.model.encoder),
    "without a head": ("WhisperModel", lambda m: m.encoder),
    "for classification": ("WhisperForAudioClassification", lambda m: m.encoder),
}


def save(folder, form="without a head", **more):
    """A checkpoint of random weights as the library saves it, and the encoder in it."""
    name, part = FORMS[form]
    torch.manual_seed(5)
    model = getattr(transformers, name)(transformers.WhisperConfig(**(TINY | more))).eval()
    model.save_pretrained(folder)
    return part(model)


def states(model, x):
    found = model(x.transpose(1, 2), output_hidden_states=True)
    return [*found.hidden_states[:-1], found.last_hidden_state]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    save(folder)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_is_a_run_to_go_on_from(form, tmp_path):
    model, x, lengths = save(tmp_path, form), bands(torch.tensor([120])), torch.tensor([120])
    (run,) = hub.parts(str(tmp_path))
    found = network.load_pretrained(run)
    assert (found.plan.track, found.plan.track_config.bins, run.config["features"]) == ("logmel", 16, 16)
    assert run.seen_speakers == frozenset()
    with torch.no_grad():
        for a, b in zip(found.backbone(x, lengths).layers, states(model, x), strict=True):
            torch.testing.assert_close(a, b)


def test_an_encoder_saved_alone_in_half_precision_and_in_parts_is_the_same(checkpoint, tmp_path):
    tensors = load_file(checkpoint / "model.safetensors")
    alone = {k.removeprefix("encoder."): v.half() for k, v in tensors.items() if k.startswith("encoder.")}
    names = sorted(alone)
    for part, kept in (("a", names[:20]), ("b", names[20:])):
        save_file({k: alone[k] for k in kept}, tmp_path / f"{part}.safetensors")
    where = {k: "a.safetensors" if k in names[:20] else "b.safetensors" for k in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    a, b = (hub.backbone(hub.load(str(folder))).state_dict() for folder in (checkpoint, tmp_path))
    for name in a:
        assert b[name].dtype == torch.float32
        assert b[name].equal(a[name].half().float())


def test_blocks_above_the_wanted_one_are_not_even_read(checkpoint, tmp_path):
    """A file that has no more is enough, and the states below are the same."""
    tensors = load_file(checkpoint / "model.safetensors")
    kept = {k: v for k, v in tensors.items() if ".layers.2." not in k and ".layers.1." not in k}
    save_file(kept, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    whole, cut = hub.backbone(hub.load(str(checkpoint))), hub.backbone(hub.load(str(tmp_path)), 1)
    found = cut(bands(), LENGTHS)
    assert len(found.layers) == 2
    for a, b in zip(found.layers, whole(bands(), LENGTHS).layers, strict=False):
        assert a.equal(b)
    with pytest.raises(InputError, match=r"weights are missing. Found no layers.1.*others"):
        hub.backbone(hub.load(str(tmp_path)))


def test_a_fine_tuned_encoder_is_rebuilt_from_its_own_folder_alone(checkpoint, tmp_path):
    run = hub.load(str(checkpoint))
    found = network.load_pretrained(run)
    plan = recipe.from_dict(json.loads(json.dumps(files.plain(run.config["settings"]))))
    assert files.digest(plan) == files.digest(found.plan)
    save_tensors(tmp_path / "w.safetensors", found.backbone.state_dict())
    again = network.build_backbone(plan, 16).eval()
    again.load_state_dict(load_tensors(tmp_path / "w.safetensors"))
    assert again(bands(), LENGTHS).last.equal(found.backbone(bands(), LENGTHS).last)


def test_other_weights_are_another_encoder(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "other")
    tensors = load_file(checkpoint / "model.safetensors")
    save_file(tensors | {"encoder.conv1.bias": tensors["encoder.conv1.bias"] + 1}, tmp_path / "other/model.safetensors")
    same, another = hub.load(str(checkpoint)), hub.load(str(tmp_path / "other"))
    assert same.config["settings"] == another.config["settings"]
    assert same.config["identity"] != another.config["identity"] != ""


def without(*words):
    return lambda tensors: {k: v for k, v in tensors.items() if not any(word in k for word in words)}


@pytest.mark.parametrize(
    ("config", "weights", "said"),
    [
        ({"d_model": 48}, None, r"do not fit config.json. Found encoder.*of \[.*32.*\], not \[.*48.*\]"),
        ({"num_mel_bins": 80}, None, r"do not fit config.json. Found encoder.conv1.weight of \[32, 16, 3\]"),
        ({"encoder_layers": 4}, None, "weights are missing. Found no layers.3"),
        ({"encoder_ffn_dim": 32}, None, "do not fit config.json"),
        ({"max_source_positions": 80}, None, "do not fit config.json. Found encoder.embed_positions"),
        ({"encoder_attention_heads": 5}, None, "config.json: width: even and a multiple of heads"),
        ({"d_model": "32"}, None, "config.json: d_model is a whole number. Found '32'"),
        ({"d_model": None}, None, "config.json: d_model is a whole number. Found None"),
        ({"activation_function": "relu"}, None, "activation_function of another kind. Found 'relu'"),
        ({"scale_embedding": True}, None, "scale_embedding of another kind"),
        ({}, without("encoder."), "no Whisper encoder in it. Found a decoder alone"),
        ({}, without("conv1", "decoder"), "no Whisper encoder in it. Found other weights"),
        ({}, lambda t: {k: (v * 9).to(torch.int8) for k, v in t.items()}, "quantised weights. Found encoder.* as I8"),
        ({}, lambda t: {k: v.to(torch.float8_e4m3fn) for k, v in t.items()}, "quantised weights"),
        ({}, lambda t: {k: v / 0 for k, v in t.items()}, "corrupt weights. Found encoder.*NaN or infinite"),
        ({}, b"torn", "corrupt weights"),
        ({}, 0.5, "corrupt weights"),
        ({}, None, ""),
    ],
)
def test_a_folder_that_is_no_encoder_is_one_line(config, weights, said, checkpoint, tmp_path):
    told, path = json.loads((checkpoint / "config.json").read_text()), tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text(json.dumps(told | config))
    whole = (checkpoint / "model.safetensors").read_bytes()
    if callable(weights):
        save_file(weights(load_file(checkpoint / "model.safetensors")), path)
    else:
        path.write_bytes(weights if isinstance(weights, bytes) else whole[: int(len(whole) * (weights or 1))])
    if not said:
        network.load_pretrained(hub.load(str(tmp_path)))
        return
    with pytest.raises(InputError, match=said) as found:
        network.load_pretrained(hub.load(str(tmp_path)))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("bin", [True, False])
def test_without_safetensors_nothing_is_loaded(bin, checkpoint, tmp_path):
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    if bin:
        torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled weights \(.bin\) are never loaded"):
        network.load_pretrained(hub.load(str(tmp_path)))


@pytest.mark.parametrize("block", [4, -1, 99])
def test_more_blocks_than_there_are_are_refused(block, checkpoint):
    with pytest.raises(InputError, match=f"no layer {block}. Found 3 blocks. Name one of 1 to 3"):
        hub.backbone(hub.load(str(checkpoint)), block)


def test_an_encoder_for_another_rate_is_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "w")
    (tmp_path / "w/preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    with pytest.raises(InputError, match="an encoder for 8000 Hz"):
        hub.load(str(tmp_path / "w"))


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("SOTTOVOCE_DATA"), reason="SOTTOVOCE_DATA is not set")
def test_states_of_the_public_base_are_the_librarys_and_its_fronts_too():
    """A buzz filled up to 30 s, all the way from samples."""
    folder = Path(os.environ["SOTTOVOCE_DATA"]).parent / "models" / "whisper_base_encoder"
    ours, wave = hub.backbone(hub.load(str(folder))).eval(), np.pad(voice(3.0), (0, 27 * RATE))
    c = ours.config
    theirs = theirs_like(ours, positions=False)
    theirs.embed_positions.weight.data.copy_(ours.positions)
    (x,) = transformers.WhisperFeatureExtractor()._np_extract_fbank_features(wave[None], "cpu")
    assert (c.layers, c.width, c.bins) == (6, 512, 80)
    with torch.inference_mode():
        wanted = states(theirs, torch.from_numpy(x.T[None].copy()))
        found = ours(torch.from_numpy(logmel.log_mel(wave))[None], torch.tensor([3000])).layers
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


# ---------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache of the hub with one encoder in it, as its client leaves it."""
    home = tmp_path / "models--openai--whisper-here"
    save(home / "snapshots" / "0123")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def deaf(monkeypatch):
    """A hub that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            f"http://127.0.0.1:{server.getsockname()[1]}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(public_files, "PATIENCE_S", 0.2)
        yield server


@pytest.mark.parametrize("init", ["openai/whisper-nowhere", "facebook/hubert-nowhere"])
def test_a_hub_that_does_not_answer_is_said_within_seconds(init, cache, deaf):
    with pytest.raises(InputError, match=rf"{init}: .*the hub does not answer.*hf download {init}") as found:
        hub.parts(init)
    assert "\n" not in str(found.value)


def test_a_hub_that_is_switched_off_is_not_asked(cache, deaf, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"openai/whisper-nowhere: .*switched off .--offline or HF_HUB_OFFLINE"):
        hub.parts("openai/whisper-nowhere")
    deaf.settimeout(0.05)
    with pytest.raises(TimeoutError):
        deaf.accept()


def test_what_is_in_the_cache_needs_no_hub(cache, deaf):
    run = hub.load("openai/whisper-here")
    assert len(network.load_pretrained(run).backbone.blocks) == 3
    assert run.config["encoder"] == "openai/whisper-here"


# ---------------------------------------------------------------------------------------------- the default encoder


def small_default(folder, *, blocks=2, layers=(2,)):
    """A default encoder of random weights in its format: 8 bits with a scale an output channel. Returns the weights."""
    torch.manual_seed(7)
    config = whisper.Config(width=32, layers=blocks, heads=4, feedforward=64, bins=16)
    wanted = whisper.Backbone(config, 16)
    tensors = {}
    for name, value in wanted.named_parameters():
        if name == "mask_vector":
            continue
        name = name.replace("front.", "").replace("blocks.", "layers.")
        if value.ndim > 1:
            scale = (value.detach().flatten(1).abs().amax(1) / 127).half()
            rows = scale.float().reshape(-1, *[1] * (value.ndim - 1))
            tensors[name] = (value.detach() / rows).round().clamp(-127, 127).to(torch.int8)
            tensors[f"{name}.scale"] = scale
            value.data = tensors[name].float() * rows
        else:
            tensors[name] = value.detach().half()
            value.data = tensors[name].float()
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "default_encoder.safetensors")
    digest = hashlib.sha256((folder / "default_encoder.safetensors").read_bytes()).hexdigest()
    card = {"blocks": blocks, "width": 32, "heads": 4, "feedforward": 64, "bands": 16, "layers": list(layers)}
    (folder / "default_encoder.json").write_text(json.dumps(card | {"sha256": digest}))
    return wanted.eval()


@pytest.fixture
def default(monkeypatch, tmp_path):
    monkeypatch.setattr(whisper_weights, "HOME", tmp_path / "weights")
    return small_default(tmp_path / "weights")


def test_the_default_encoder_is_its_eight_bit_weights(default):
    (run,) = hub.parts("default")
    found = network.load_pretrained(run).backbone
    assert run.config["layers"] == [2]
    for a, b in zip(found(bands(), LENGTHS).layers, default(bands(), LENGTHS).layers, strict=True):
        torch.testing.assert_close(a, b)
    assert len(hub.backbone(run, 1).blocks) == 1


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("default_encoder.safetensors", lambda old: old[:-1] + bytes([old[-1] ^ 1]), "corrupt or changed weights"),
        ("default_encoder.safetensors", lambda old: old[:99], "corrupt or changed weights"),
        ("default_encoder.safetensors", lambda old: b"", "corrupt or changed weights"),
        ("default_encoder.safetensors", None, "no such file. It is part of the package"),
        ("default_encoder.json", lambda old: b"{", "not valid JSON"),
        ("default_encoder.json", lambda old: b"[]", "damaged. Found no sha256 or no layers"),
        ("default_encoder.json", lambda old: old.replace(b'"width": 32', b'"width": 0'), "backbone.width"),
        ("default_encoder.json", lambda old: old.replace(b'"width": 32', b'"width": "x"'), "width is a whole number"),
        ("default_encoder.json", lambda old: old.replace(b'"width": 32', b'"width": 64'), "do not fit"),
        ("default_encoder.json", lambda old: old.replace(b"[2]", b"[]"), "damaged"),
        ("default_encoder.json", None, "not part of this installation"),
    ],
)
def test_a_damaged_default_encoder_is_one_line(name, damage, said, default, tmp_path):
    path = tmp_path / "weights" / name
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    with pytest.raises(InputError, match=said) as found:
        network.load_pretrained(hub.load("default"))
    assert "\n" not in str(found.value)


# ---------------------------------------------------------------------------------------------- encoded features


def settings(folder, **more):
    return encoded.settle(encoder.Config(encoder=str(folder), **more))


def test_a_track_of_states_is_what_the_encoder_makes_of_the_recording_alone(checkpoint):
    config = settings(checkpoint, layer=2, trim_db=0.0)
    wave = Track(voice(1.5), RATE)
    made = encoded.make(wave, config)
    x = logmel.make(wave, logmel.Config(bins=16)).values
    with torch.no_grad():
        wanted = hub.backbone(hub.load(str(checkpoint)))(torch.from_numpy(x)[None], torch.tensor([150])).layers[2][0]
    np.testing.assert_allclose(made.values, wanted, atol=1e-5)  # longer than 60 positions: piece by piece
    assert made.values.shape == (75, 32) == (75, config.dim)
    assert (made.rate_hz, made.offset_s, config.rate_hz) == (50.0, 0.0, 50.0)


def test_silence_at_the_ends_is_missing_and_not_heard(checkpoint):
    speech = voice(0.8)
    wave = np.concatenate([np.zeros(8_000), speech, np.zeros(12_000)]).astype(np.float32)
    made, alone = (encoded.make(Track(w, RATE), settings(checkpoint)).values for w in (wave, speech))
    first, last = encoder.bounds(made)
    assert len(made) == 103
    assert 20 <= first < 30  # 25 states of silence, and a margin
    assert 60 <= last < 70
    assert not made[:first].any()
    assert not made[last:].any()
    assert np.abs(made[first:last].mean(0) - alone.mean(0)).max() < 0.5 * np.abs(alone.mean(0)).max()
    steps = Steps([(store := ToyStore({"u0": made}, 50.0), store.utterances)], Frontend(subsampling=1))
    assert steps.bounds.tolist() == [[0, 103]]
    store.head = SimpleNamespace(track="encoder")
    steps = Steps([(store, store.utterances)], Frontend(subsampling=1, trim_db=20.0))
    assert steps.bounds.tolist() == [[first, last]]


@pytest.mark.parametrize(("rate_hz", "together"), [(25.0, 2), (10.0, 5), (50 / 3, 3)])
def test_a_lower_rate_is_the_mean_of_neighbours_on_its_own_clock(rate_hz, together, checkpoint):
    wave = Track(voice(1.1), RATE)
    whole, made = (encoded.make(wave, settings(checkpoint, trim_db=0.0, **m)) for m in ({}, {"rate_hz": rate_hz}))
    groups = [whole.values[k : k + together].mean(0) for k in range(0, len(whole), together)]
    np.testing.assert_allclose(made.values, groups, atol=1e-5)
    centres = [whole.times[k : k + together].mean() for k in range(0, 3 * together, together)]
    np.testing.assert_allclose(made.times[:3], centres)
    assert made.rate_hz == pytest.approx(rate_hz)


def test_means_leave_out_what_is_missing_whatever_is_computed_at_a_time():
    values = np.arange(1, 15, dtype=np.float32).reshape(7, 2) * np.float32([[0], [1], [1], [1], [0], [0], [1]])
    wanted = [[3, 4], [6, 7], [0, 0], [13, 14]]
    for rows in (1, 2, 100):
        assert encoded.average(values, 2, rows).tolist() == wanted


@pytest.mark.parametrize("samples", [1, 160, 320, 481])
def test_a_recording_of_a_hundredth_of_a_second_has_a_state(samples, checkpoint):
    """0.02 s, and less."""
    made = encoded.make(Track(voice(1.0)[5000 : 5000 + samples], RATE), settings(checkpoint))
    assert len(made) == max((samples // 160 + 1) // 2, 1)
    assert np.isfinite(made.values).all()


def test_silence_alone_has_finite_states(checkpoint):
    assert np.isfinite(encoded.make(Track(np.zeros(RATE, np.float32), RATE), settings(checkpoint)).values).all()


def test_states_of_a_hubert_come_with_their_own_clock(tmp_path):
    shape = encoders.Config(size="toy").resolved()
    model = transformers.AutoModel.from_config(shape).eval()
    model.save_pretrained(tmp_path)
    config, wave = settings(tmp_path, layer=1, trim_db=0.0), Track(voice(1.0), RATE)
    made = encoded.make(wave, config)
    with torch.no_grad():
        wanted = model(torch.from_numpy(wave.values)[None], output_hidden_states=True).hidden_states[1][0]
    np.testing.assert_allclose(made.values, wanted, atol=1e-4)
    assert made.rate_hz == 50.0
    assert made.offset_s == pytest.approx(399 / 2 / RATE)


def test_what_the_encoder_decides_is_filled_in_once(checkpoint, default):
    """Half of the blocks where nobody recommends others; a name is no part of what features are."""
    config = settings(checkpoint)
    assert (config.layer, config.dim, config.rate_hz) == (2, 32, 50.0)
    assert config.digest == hub.load(str(checkpoint)).config["identity"]
    assert encoded.settle(config) is config
    assert replace(config, encoder="elsewhere") == config
    again = encoded.settle(replace(config, layer=1, rate_hz=25.0), again=True)
    assert again == replace(config, layer=1, rate_hz=25.0)
    assert encoded.settle(encoder.Config()).layer == 2  # as its card says


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"layer": 4}, "no layer 4. Found 3 blocks. Name one of 1 to 3"),
        ({"rate_hz": 40.0}, r"rate_hz is the encoder's or a whole part of it: 50, 25, 16.6667, ... Found 40"),
        ({"rate_hz": 100.0}, "Found 100"),
        ({"encoder": "whisper-small"}, "encoder whisper-small: not an encoder"),
    ],
)
def test_impossible_states_are_refused(more, said, checkpoint):
    with pytest.raises(InputError, match=said):
        encoded.settle(encoder.Config(**({"encoder": str(checkpoint)} | more)))


@pytest.mark.parametrize("wrong", [{"layer": -1}, {"rate_hz": -5.0}, {"trim_db": -1.0}])
def test_impossible_settings_of_states_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        encoder.Config(**wrong)


def test_another_encoder_under_the_same_name_is_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "w")
    config, wave = settings(tmp_path / "w"), Track(voice(0.3), RATE)
    before = encoded.make(wave, config).values
    save(tmp_path / "w", encoder_layers=2)
    encoded.loaded.cache_clear()
    with pytest.raises(InputError, match="another encoder than the one that made these features"):
        encoded.make(wave, config)
    assert not np.array_equal(before, encoded.make(wave, settings(tmp_path / "w")).values)


def test_encoded_features_from_the_command_line_to_a_recogniser(sottovoce, corpus, default, tmp_path):
    """Extracted, pre-trained and fine-tuned upon, one recording; what stands on another layer or encoder is refused."""
    data = tmp_path / "data"
    shutil.copytree(corpus, data)
    assert "encoder" in sottovoce("list", "tracks").out
    assert sottovoce("extract", data, "--track", "encoder", "--jobs", 1).code == 0
    (store,) = (TrackStore.open(p.parent) for p in (data / "tracks").glob("encoder-*/track.json"))
    assert (store.head.half, store.dim, store.rate_hz) == (True, 32, 50.0)
    assert store.head.config["layer"] == 2
    assert len(store.head.config["digest"]) == 16
    wave = audio.read(Corpus.load(data).root / Corpus.load(data).utterances[0].path)
    alone = encoded.make(wave, encoded.settle(encoder.Config())).values
    np.testing.assert_allclose(store[store.ids[0]], alone, rtol=2e-3, atol=1e-3)

    small = [word for key in ("epochs=2", "min_updates=0") for word in ("--set", f"training.{key}")]
    small += ["--set", "backbone.width=32", "--set", "backbone.layers=1", "--set", "backbone.feedforward=64"]
    done = sottovoce(
        "pretrain", "masked_timesteps", data, "--track", "encoder", "-o", tmp_path / "pre", "-q", "--jobs", 1, *small
    )
    assert done.code == 0, done.err
    run = Run.load(tmp_path / "pre" / "fold1")
    assert run.config["settings"]["track_config"]["digest"] == store.head.config["digest"]
    learn = ("finetune", data, "--init", tmp_path / "pre", "--mode", "frozen", "-q", "--jobs", 1)
    assert sottovoce(*learn, "-o", tmp_path / "ft").code == 0
    told = sottovoce(*learn, "-o", tmp_path / "other", "--set", "track.layer=1").complaint
    assert "pre-trained on 32 features a frame of track encoder; found 32 of encoder (encoder layer 1, not 2)" in told
    assert not (tmp_path / "other").exists()
    plain = (
        "finetune",
        data,
        "--init",
        "none",
        "--track",
        "encoder",
        "--backbone",
        "plain",
        "--mode",
        "frozen",
        "-q",
        "--jobs",
        1,
    )
    assert sottovoce(*plain, "-o", tmp_path / "plain").code == 0
    recording = Corpus.load(data).root / Corpus.load(data).utterances[0].path
    for folder in ("ft", "plain"):
        assert sottovoce("predict", tmp_path / folder, recording).code == 0
    table = tmp_path / "clip.npz"
    assert sottovoce("features", recording, "--track", "encoder", "-o", table).code == 0
    with np.load(table) as found:
        np.testing.assert_allclose(found["values"], alone, atol=1e-5)
        assert found["names"][:2].tolist() == ["encoder_0", "encoder_1"]

    small_default(tmp_path / "weights", blocks=1, layers=(1,))  # the package is updated
    encoded.loaded.cache_clear()
    told = sottovoce("predict", tmp_path / "plain", recording).complaint
    assert "another encoder than the one that made these features" in told


@pytest.mark.slow
def test_states_do_not_depend_on_the_number_of_processes(corpus, checkpoint, tmp_path):
    shutil.copytree(corpus, tmp_path / "data")
    data = Corpus.load(tmp_path / "data")
    few = replace(data, utterances=data.utterances[:40])
    stores = []
    for jobs in (1, 2):
        stores.append(track_store(few, "encoder", {"encoder": str(checkpoint)}, jobs=jobs, quiet=True))
        values = {key: stores[-1][key].copy() for key in stores[-1].ids}
        if jobs == 1:
            first = values
            shutil.rmtree(stores[-1].folder)
    assert first.keys() == values.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], values[key])


def test_a_recogniser_on_whisper_hears_a_recording_as_its_corpus_was_heard(sottovoce, corpus, checkpoint, tmp_path):
    """Fine-tuned from a folder without an option; silence at the ends is cut off for one recording as for a corpus."""
    learn = ("finetune", corpus, "--init", checkpoint, "--mode", "frozen", "-q", "--jobs", 1)
    assert sottovoce(*learn, "-o", tmp_path / "ft").code == 0
    it = network.load_recognised(Run.load(tmp_path / "ft" / "fold1"))
    assert (it.plan.track, it.plan.backbone, it.plan.frontend.trim_db) == ("logmel", "whisper", 35.0)
    wave = np.concatenate([np.zeros(RATE), voice(1.0), np.zeros(RATE)]).astype(np.float32)
    made = logmel.make(Track(wave, RATE), it.plan.track_config).values
    steps = voter.steps_of(it, [made])
    first, last = steps.bounds[0]
    assert 80 < first < 130
    assert 170 < last < 220
    assert network.predict(it, steps).shape == (1, 5)
    told = sottovoce(*learn, "-o", tmp_path / "deep", "--set", "finetune.depth=9").complaint
    assert "no layer 9. Found 3 blocks" in told
