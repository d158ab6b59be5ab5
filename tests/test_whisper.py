"""Whisper: its log-mel bands and states beside the library's, laws of backbones, recordings of any length."""

import numpy as np
import pytest
import torch
from torch import nn

from sottovoce.backbones import clock_of, valid_steps, whisper
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.tracks import logmel

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
    with pytest.raises(ValueError, match=next(iter(wrong))):
        logmel.Config(**wrong)


# ---------------------------------------------------------------------------------------------- laws of backbones


def test_there_is_a_state_of_the_input_and_of_every_block():
    backbone = small()
    hidden = backbone(bands(), LENGTHS)
    assert hidden.lengths.tolist() == STATES == hidden.valid.sum(1).tolist()
    assert len(hidden.layers) == 1 + len(backbone.blocks) == 4
    assert all(layer.shape == (5, 60, 32) for layer in hidden.layers)
    assert (backbone.features, backbone.dim, clock_of(backbone)) == (16, 32, (2, 1))


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


def theirs_like(backbone):
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
    for first, last, inside in whisper.stretches(states, 60):
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
    for first, last, kept in whisper.stretches(166, 60):
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
