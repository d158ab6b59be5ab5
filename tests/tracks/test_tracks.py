"""Track makers: equal to Kaldi's numbers, and lawful: shift, gain, padding, clock."""

import builtins
import math
from dataclasses import replace

import numpy as np
import pytest

from sottovoce import plugins
from sottovoce.data.corpus import Utterance
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.tracks import _kaldi, egemaps, energy, fbank, level, mel, mfcc, random, spectrogram, wave

RATE = 16_000
MAKERS = [name for name in plugins.names("tracks") if hasattr(plugins.load("tracks", name), "make")]


def voice(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A buzz with formant-like noise: energy in every band, far above the log floor."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 120 * k * t + k) / k for k in range(1, 40))
    return (0.1 * buzz + 0.02 * rng.standard_normal(len(t))).astype(np.float32)


def track(samples: np.ndarray) -> Track:
    return Track(np.asarray(samples, dtype=np.float32), RATE)


def set_frame_options(options, config: _kaldi.Mel) -> None:
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither = RATE, 0.0
    frame.frame_length_ms, frame.frame_shift_ms = config.window_ms, config.hop_ms
    frame.window_type, frame.preemph_coeff = config.window, config.preemphasis
    frame.remove_dc_offset, frame.snip_edges = config.remove_dc, config.snip_edges
    mel.num_bins, mel.low_freq, mel.high_freq = config.bins, config.low_hz, config.high_hz


def kaldi(kind: str, samples: np.ndarray, config) -> np.ndarray:
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions() if kind == "fbank" else knf.MfccOptions()
    set_frame_options(options, config)
    options.use_energy = config.use_energy
    if kind == "mfcc":
        options.num_ceps, options.cepstral_lifter = config.coefficients, config.lifter
    maker = knf.OnlineFbank(options) if kind == "fbank" else knf.OnlineMfcc(options)
    maker.accept_waveform(RATE, samples * 32768.0)
    maker.input_finished()
    return np.stack([maker.get_frame(k) for k in range(maker.num_frames_ready)])


@pytest.mark.parametrize(
    "config",
    [
        fbank.Config(),
        fbank.Config(bins=40, snip_edges=False),
        fbank.Config(window="hamming", preemphasis=0.0, low_hz=60.0, high_hz=-400.0),
        fbank.Config(window="hanning", remove_dc=False, hop_ms=12.5, high_hz=7600.0),
        fbank.Config(window="rectangular", window_ms=32.0, hop_ms=16.0, bins=23),
        fbank.Config(use_energy=True),
    ],
)
def test_fbank_equals_kaldi(config):
    samples = voice(1.234) + np.float32(0.01)
    theirs, ours = kaldi("fbank", samples, config), fbank.make(track(samples), config).values
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape == (len(ours), config.dim)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        mfcc.Config(),
        mfcc.Config(coefficients=20, bins=40, lifter=0.0),
        mfcc.Config(use_energy=True, snip_edges=False),
    ],
)
def test_mfcc_equals_kaldi(config):
    samples = voice(0.9)
    theirs, ours = kaldi("mfcc", samples, config), mfcc.make(track(samples), config).values
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=5e-3)


def test_mfcc_is_the_orthonormal_dct_of_the_mel_energies():
    from scipy.fft import dct

    config = mfcc.Config(lifter=0.0)
    mel = _kaldi.log_mel(voice(0.5), RATE, config)
    np.testing.assert_allclose(
        mfcc.make(track(voice(0.5)), config).values, dct(mel, norm="ortho")[:, :13], rtol=1e-4, atol=1e-4
    )


def test_a_wave_of_many_chunks_equals_its_parts():
    samples = voice(8.0)
    whole = fbank.make(track(samples), fbank.Config()).values
    tail = fbank.make(track(samples[600 * 160 :]), fbank.Config()).values
    assert len(whole) > _kaldi.CHUNK
    np.testing.assert_allclose(whole[600:], tail, rtol=1e-5)


def test_shifting_the_wave_by_hops_shifts_the_frames():
    samples, config = voice(), fbank.Config()
    later = np.concatenate([voice(0.03, seed=9), samples])
    np.testing.assert_allclose(
        fbank.make(track(later), config).values[3:], fbank.make(track(samples), config).values, rtol=1e-5
    )


def test_gain_adds_a_constant_to_every_bin():
    config = fbank.Config()
    quiet, loud = (fbank.make(track(g * voice()), config).values for g in (0.1, 0.8))
    np.testing.assert_allclose(loud - quiet, 2 * math.log(8), atol=1e-3)


def test_zeros_after_the_end_leave_earlier_frames_alone():
    samples, config = voice(), fbank.Config()
    frames = fbank.make(track(samples), config).values
    longer = fbank.make(track(np.pad(samples, (0, 5000))), config).values
    np.testing.assert_allclose(longer[: len(frames)], frames, rtol=1e-5)


def test_silence_lies_on_the_log_floor():
    values = fbank.make(track(np.zeros(RATE)), fbank.Config()).values
    np.testing.assert_allclose(values, math.log(_kaldi.LOG_FLOOR), rtol=1e-6)


def test_a_tone_is_loudest_in_the_bin_that_holds_it():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    config = fbank.Config()
    centres = np.linspace(_kaldi._mel(20), _kaldi._mel(8000), config.bins + 2)[1:-1]
    expected = int(np.abs(centres - _kaldi._mel(1000)).argmin())
    assert abs(int(fbank.make(track(tone), config).values.mean(0).argmax()) - expected) <= 1


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("samples", [1, 79, 320, 399, 400, 401, 560])
def test_short_waves_give_at_least_one_frame(samples, snip_edges):
    values = fbank.make(track(voice()[:samples]), fbank.Config(snip_edges=snip_edges)).values
    expected = 1 + max(0, samples - 400) // 160 if snip_edges else max(1, (samples + 80) // 160)
    assert values.shape == (expected, 80)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("config", [fbank.Config(), fbank.Config(snip_edges=False), mfcc.Config(hop_ms=5.0)])
def test_frames_are_centred_where_the_clock_says(config):
    """A click in the middle of a second is loudest at 0.5 s."""
    click = np.zeros(RATE)
    click[RATE // 2] = 0.9
    made = (mfcc if isinstance(config, mfcc.Config) else fbank).make(track(click), config)
    energy = made.values[:, 0] if isinstance(config, mfcc.Config) else made.values.sum(1)
    assert made.rate_hz == config.rate_hz
    assert abs(made.times[int(energy.argmax())] - 0.5) <= 1 / config.rate_hz


def test_deltas_of_a_ramp_are_its_slope_and_then_nothing():
    ramp = np.arange(20, dtype=np.float32)[:, None] * 3
    out = _kaldi.add_deltas(ramp, 2)
    assert out.shape == (20, 3)
    np.testing.assert_allclose(out[4:-4, 1], 3, rtol=1e-5)
    np.testing.assert_allclose(out[4:-4, 2], 0, atol=1e-4)


def test_deltas_equal_a_slow_second_implementation():
    x = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    ramp = [k / 10 for k in range(-2, 3)]
    double = [sum(ramp[i] * ramp[k - i] for i in range(5) if 0 <= k - i < 5) for k in range(9)]
    slow = np.zeros((9, 6))
    for t in range(9):
        slow[t, :2] = x[t]
        for weights, columns in ((ramp, slice(2, 4)), (double, slice(4, 6))):
            reach = len(weights) // 2
            slow[t, columns] = sum(w * x[min(max(t + k - reach, 0), 8)] for k, w in enumerate(weights))
    np.testing.assert_allclose(_kaldi.add_deltas(x, 2), slow, atol=1e-6)


def test_cmvn_gives_zero_mean_and_unit_deviation():
    plain = fbank.make(track(voice()), fbank.Config()).values
    mean = fbank.make(track(voice()), fbank.Config(cmvn="mean")).values
    both = fbank.make(track(voice()), fbank.Config(cmvn="utterance")).values
    np.testing.assert_allclose(mean, plain - plain.mean(0), atol=1e-4)
    np.testing.assert_allclose(both.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(both.std(0), 1, atol=1e-4)
    silent = fbank.make(track(np.zeros(RATE)), fbank.Config(cmvn="utterance")).values
    np.testing.assert_allclose(silent, 0, atol=1e-5)


def test_dither_is_the_same_every_time_and_lifts_silence_off_the_floor():
    config = fbank.Config(dither=1.0)
    first, second = (fbank.make(track(np.zeros(RATE)), config).values for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.min() > math.log(_kaldi.LOG_FLOOR) + 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bins", 0),
        ("bins", 500),
        ("low_hz", 9000.0),
        ("high_hz", 9000.0),
        ("hop_ms", 0.0),
        ("window_ms", -1.0),
        ("window", "kaiser"),
        ("preemphasis", 1.5),
        ("dither", -1.0),
        ("deltas", 3),
        ("cmvn", "speaker"),
    ],
)
def test_bad_configuration_fails_when_it_is_made(key, value):
    with pytest.raises((InputError, ValueError), match=key):
        replace(fbank.Config(), **{key: value})


def test_bad_cepstra_fail_when_they_are_made():
    with pytest.raises(ValueError, match="coefficients"):
        mfcc.Config(coefficients=24)
    with pytest.raises(InputError, match="lifter"):
        mfcc.Config(lifter=-1.0)


@pytest.mark.parametrize("name", MAKERS)
def test_every_maker_keeps_its_promises(name):
    """Width, rate, type, determinism, and a clock that covers the recording."""
    module = plugins.load("tracks", name)
    if name == "egemaps":
        pytest.importorskip("opensmile")
    config = module.Config()
    made, again = (module.make(track(voice(1.5)), config) for _ in range(2))
    values = made.values if made.values.ndim == 2 else made.values[:, None]
    assert values.shape[1] == config.dim
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert made.rate_hz == config.rate_hz
    assert made.offset_s == getattr(config, "offset_s", 0.0)
    np.testing.assert_array_equal(made.values, again.values)
    assert 0 <= made.times[0] < 0.1
    assert 1.4 < made.times[-1] <= 1.5


def test_the_waveform_is_itself():
    samples = voice(0.1)
    assert wave.make(track(samples), wave.Config()).values is samples


def test_egemaps_are_the_rows_of_opensmile_with_a_clock():
    opensmile = pytest.importorskip("opensmile")
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    made = egemaps.make(track(voice()), egemaps.Config())
    np.testing.assert_array_equal(made.values, smile.process_signal(voice(), RATE).to_numpy(np.float32))
    assert [name.rsplit("_", 1)[0] for name in smile.feature_names] == list(egemaps.NAMES)
    pitch = 12 * math.log2(120 / 27.5)
    assert np.median(made.values[:, egemaps.NAMES.index("F0semitoneFrom27.5Hz")]) == pytest.approx(pitch, abs=0.2)


def test_egemaps_of_50_milliseconds_are_finite():
    pytest.importorskip("opensmile")
    made = egemaps.make(track(voice(0.05)), egemaps.Config())
    assert len(made) >= 1
    assert np.isfinite(made.values).all()
    _, vector = egemaps.functionals(track(voice(0.05)))
    assert np.isfinite(vector).all()


@pytest.mark.parametrize(("feature_set", "size"), [("eGeMAPSv02", 88), ("ComParE_2016", 6373)])
def test_functionals_are_one_vector_an_utterance(feature_set, size):
    pytest.importorskip("opensmile")
    names, vector = egemaps.functionals(track(voice()), feature_set)
    assert len(names) == len(vector) == size
    with pytest.raises(InputError, match="unknown feature set"):
        egemaps.functionals(track(voice()), "eGeMAPS")


def test_missing_opensmile_says_how_to_get_it_and_its_licence(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "opensmile":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    egemaps._smile.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"licence.*pip install 'sottovoce\[egemaps\]'"):
        egemaps.make(track(voice()), egemaps.Config())


# ---------------------------------------------------------------------------------------------- intensity and its input


def slaney_mel(bins: int, size: int) -> np.ndarray:
    """(bins, 1 + size // 2) by the book: hertz to mel by a loop, triangles by interpolation, area 1."""

    def hz_of(mel: float) -> float:
        return 200 / 3 * mel if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(8) / math.log(6.4)  # 8 kHz
    edges = [hz_of(top * k / (bins + 1)) for k in range(bins + 2)]
    hz = np.arange(1 + size // 2) * RATE / size
    rows = [np.interp(hz, edges[k : k + 3], [0, 2 / (edges[k + 2] - edges[k]), 0]) for k in range(bins)]
    return np.array(rows)


@pytest.mark.parametrize("samples", [RATE, 12_345, 400, 90])
def test_the_linear_spectrogram_equals_torchs_stft_on_the_clock_of_fbank(samples):
    import torch

    signal = voice(1.0)[:samples]
    config = spectrogram.Config(cmvn="none")
    ours = spectrogram.make(track(signal), config)
    whole = torch.nn.functional.pad(torch.from_numpy(signal), (0, max(400 - samples, 0)))
    spectrum = torch.stft(whole, 400, 160, window=torch.hann_window(400), center=False, return_complex=True)
    np.testing.assert_allclose(ours.values, (spectrum.abs().square() + 1e-10).log().T.numpy(), rtol=2e-3, atol=2e-3)
    beside = fbank.make(track(signal), fbank.Config())
    assert (len(ours), ours.rate_hz, ours.offset_s) == (len(beside), beside.rate_hz, beside.offset_s)
    assert config.dim == 201
    if len(ours) > 1:
        normal = spectrogram.make(track(signal), spectrogram.Config()).values
        np.testing.assert_allclose(normal.mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(normal.std(0), 1, atol=1e-3)


@pytest.mark.parametrize("samples", [RATE, 12_345, 600])
def test_mel_equals_scipys_stft_through_mel_filters_of_the_book(samples):
    from scipy.signal import stft

    sound, window = voice()[:samples], np.hamming(512)
    _, _, spectrum = stft(
        sound, RATE, window, nperseg=512, noverlap=256, boundary="even", padded=False, scaling="spectrum"
    )
    wanted = (slaney_mel(80, 512) @ np.abs(spectrum) * window.sum()).T  # scipy divides by the window's sum
    made = mel.make(track(sound), mel.Config())
    assert made.values.shape == wanted.shape == (1 + samples // 256, 80)
    assert (made.rate_hz, made.offset_s) == (62.5, 0.0)
    np.testing.assert_allclose(made.values, wanted, rtol=1e-4, atol=1e-5)


def test_mel_is_a_magnitude():
    """No logarithm: twice the sound is twice the value."""
    once, twice = (mel.make(track(g * voice()), mel.Config()).values for g in (0.25, 0.5))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
    with pytest.raises(ValueError, match="bins is too many"):
        mel.Config(bins=200)


@pytest.mark.parametrize("samples", [1, 2, 255, 256, 511])
def test_centred_frames_of_short_waves_are_one_or_two(samples):
    for maker in (mel, level):
        values = maker.make(track(voice()[:samples]), maker.Config()).values
        assert len(values) == 1 + samples // 256
        assert np.isfinite(values).all()


def test_a_click_is_where_the_centred_clock_says():
    click = np.zeros(RATE)
    click[40 * 256] = 0.9
    for made in (mel.make(track(click), mel.Config()).values.sum(1), level.make(track(click), level.Config()).values):
        assert made[40] == made.max() > made[38]


def test_level_is_the_rms_in_decibel():
    t = np.arange(RATE) / RATE
    sine = level.make(track(0.1 * np.sin(2 * np.pi * 1000 * t)), level.Config())
    np.testing.assert_allclose(sine.values[2:-2], 20 * math.log10(0.1 / math.sqrt(2)), atol=0.01)
    assert set(level.make(track(np.zeros(RATE)), level.Config()).values) == {-80.0}


def utterances(*speakers: str) -> list[Utterance]:
    return [Utterance(f"u{k}", "toy", "", speaker=name) for k, name in enumerate(speakers)]


def test_energy_has_no_mean_and_unit_deviation_over_a_speakers_recordings():
    rng = np.random.default_rng(0)
    people = utterances("a", "b", "a", "a", "", "")
    source = {u.id: rng.normal(-30 - 9 * k, 1 + k, (20 + k, 1)).astype(np.float32) for k, u in enumerate(people)}
    made = dict(energy.derive(source, people, people, energy.Config()))
    assert sorted(made) == sorted(source)
    for mates in (["u0", "u2", "u3"], ["u1"], ["u4"], ["u5"]):  # unknown speakers are not one person
        together = np.concatenate([made[id] for id in mates])
        np.testing.assert_allclose([together.mean(), together.std()], [0, 1], atol=1e-5)
    alone = dict(energy.derive(source, people[2:3], people, energy.Config()))  # asked for alone, scaled with the others
    np.testing.assert_array_equal(alone["u2"], made["u2"])


def test_a_silent_recording_has_no_energy_and_stays_finite():
    silent = {"u0": np.full((9, 1), -80.0, np.float32)}
    assert not dict(energy.derive(silent, utterances(""), utterances(""), energy.Config()))["u0"].any()


def test_random_knows_the_id_and_nothing_of_the_sound():
    config = random.Config()
    people = utterances("a", "b")
    loud, soft = ({"u0": g * np.ones((500, 1)), "u1": g * np.ones((300, 1))} for g in (1.0, 0.1))
    one, two = (dict(random.derive(source, people, people, config)) for source in (loud, soft))
    assert [v.shape for v in one.values()] == [(500, 1), (300, 1)]
    for id, values in one.items():
        np.testing.assert_array_equal(values, two[id])
    assert not np.array_equal(one["u0"][:300], one["u1"])
    assert not np.array_equal(random.noise(500, "u0", replace(config, seed=1)), one["u0"][:, 0])


def test_random_is_as_smooth_as_it_says_and_has_unit_deviation():
    values = random.noise(200_000, "x", random.Config(smooth_s=0.1))
    assert values.std() == pytest.approx(1, abs=0.02)
    lag = 10  # frames, 0.16 s: a Gaussian of deviation w correlates with itself as exp(-lag^2 / 4 w^2)
    found = np.corrcoef(values[:-lag], values[lag:])[0, 1]
    assert found == pytest.approx(math.exp(-(lag**2) / (4 * 6.25**2)), abs=0.03)
    assert random.noise(1, "x", random.Config()).shape == (1,)
    white = random.noise(5000, "x", random.Config(smooth_s=0.0))
    assert abs(np.corrcoef(white[:-1], white[1:])[0, 1]) < 0.05
