"""COVAREP's source of the voice: closure instants, inverse filtering, glottal parameters, wavelets, creak."""

import json

import covarep_reference as reference
import numpy as np
import pytest
from covarep_voice import RATE_HZ, voice
from scipy import linalg, signal

from sottovoce import files
from sottovoce.errors import InputError
from sottovoce.tracks.covarep import closure, conventions, creak, glottal, inverse_filter, wavelets
from sottovoce.tracks.covarep.closure import periods, sedreams
from sottovoce.tracks.covarep.conventions import grid, hanning, interpolate
from sottovoce.tracks.covarep.polarity import polarity
from sottovoce.tracks.covarep.residual import lp_residual

QUIET = ("arctic_a0007", "edge/short_0p90s", reference.SILENT)  # enough for every run; bench/covarep_parity.py has all


@pytest.fixture(scope="module")
def vowel():
    """A voice the right way up."""
    made = voice()
    sign = polarity(made.samples)
    return type(made)(made.samples * sign, made.closures, made.flow * sign, made.derivative * sign)


@pytest.fixture(scope="module")
def residual(vowel):
    return lp_residual(vowel.samples, 18)


# closure instants


def test_planted_closures_are_found(vowel, residual):
    found = sedreams(vowel.samples, residual, 120.0)
    planted = vowel.closures[3:-3]
    miss = np.abs(found[:, None] - planted).min(axis=0)
    assert miss.max() <= 6
    assert miss.std() < 1
    inside = found[(found > planted[0] - 20) & (found < planted[-1] + 20)]
    assert abs(len(inside) - len(planted)) <= 1


def test_closures_do_not_depend_on_gain_and_move_with_the_recording(vowel, residual):
    found = sedreams(vowel.samples, residual, 120.0)
    np.testing.assert_array_equal(sedreams(0.01 * vowel.samples, residual, 120.0), found)
    later = sedreams(vowel.samples[160:], residual[160:], 120.0) + 160
    inside = slice(np.searchsorted(found, 2000), np.searchsorted(found, 16_000))
    assert np.isin(found[inside], later).all()


def test_blocks_do_not_change_the_closures(vowel, residual, monkeypatch):
    found = sedreams(vowel.samples, residual, 120.0)
    monkeypatch.setattr(closure, "BLOCK", 1000)
    monkeypatch.setattr(conventions, "BLOCK", 1000)
    np.testing.assert_array_equal(sedreams(vowel.samples, residual, 120.0), found)


def test_nobody_and_too_little_have_no_closures(vowel, residual):
    assert len(sedreams(vowel.samples, residual, float("nan"))) == 0
    assert len(sedreams(vowel.samples[:150], residual[:150], 120.0)) == 0
    assert len(sedreams(np.zeros(4000), np.zeros(4000), 120.0)) == 0
    assert periods(np.array([50, 90, 140])).tolist() == [40, 40, 50]
    assert periods(np.array([50])).tolist() == [0]


# inverse filtering


def slow_iaif(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alku's method on one frame, a step a line, with SciPy's own parts."""
    window = hanning(len(x))
    taps = signal.firls(301, [0, 40, 70, 8000], [0, 0, 1, 1], fs=RATE_HZ)
    x = np.convolve(x, taps)[150 : 150 + len(x)]
    ramp = np.linspace(-x[0], x[0], 21)

    def predictor(y, order):
        y = y * window
        r = np.correlate(y, y, "full")[len(y) - 1 : len(y) + order]
        return np.append(1, linalg.solve_toeplitz(r[:-1], -r[1:]))

    def through(b, a=(1.0,)):
        return signal.lfilter(a, [1, -0.99], signal.lfilter(b, 1, np.append(ramp, x)))[21:]

    def plain(b):
        return signal.lfilter(b, 1, np.append(ramp, x))[21:]

    source = through(predictor(plain(predictor(x, 1)), 20))
    tract = predictor(through(predictor(source, 8)), 20)
    return through(tract), plain(tract)


def test_frames_of_any_length_are_filtered_as_if_alone():
    rng = np.random.default_rng(0)
    x = voice().samples[3000:]
    lengths = [161, 80, 340, 21]
    frames, window = np.zeros((4, 340)), np.zeros((4, 340))
    for row, length in enumerate(lengths):
        window[row, :length] = hanning(length)
        frames[row, :length] = x[row * 400 : row * 400 + length] * window[row, :length] + 1e-3 * rng.normal(size=length)
    flow, derivative = inverse_filter.iaif(frames, window)
    for row, length in enumerate(lengths[:3]):  # the shortest has no more samples than coefficients
        expected = slow_iaif(frames[row, :length])
        np.testing.assert_allclose(flow[row, :length], expected[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(derivative[row, :length], expected[1], rtol=1e-6, atol=1e-9)
        assert not flow[row, length:].any()
    assert np.isfinite(flow).all()


def test_the_planted_pulse_comes_out_of_the_mouth(vowel):
    flow, derivative = inverse_filter.glottal_flow(vowel.samples, vowel.closures)
    inside = slice(3000, 15_000)
    assert np.corrcoef(derivative[inside], vowel.derivative[inside])[0, 1] > 0.7
    steepest = [derivative[g - 60 : g + 60].argmin() - 60 for g in vowel.closures[5:-5]]
    assert np.abs(np.median(steepest)) <= 2
    louder = inverse_filter.glottal_flow(8 * vowel.samples, vowel.closures)
    np.testing.assert_allclose(louder[0], 8 * flow, rtol=1e-9, atol=1e-12)


def test_batches_do_not_change_the_flow_and_silence_has_none(vowel, monkeypatch):
    flow, _ = inverse_filter.glottal_flow(vowel.samples, vowel.closures)
    monkeypatch.setattr(inverse_filter, "BATCH", 500)
    np.testing.assert_allclose(inverse_filter.glottal_flow(vowel.samples, vowel.closures)[0], flow, atol=1e-12)
    for closures in (np.array([400, 530, 660]), np.array([400]), np.zeros(0, np.int64)):
        assert not np.any(inverse_filter.glottal_flow(np.zeros(1000), closures))


@pytest.mark.parametrize("length", [25, 301, 5000, 5001])
def test_a_frame_in_blocks_is_the_frame_at_once(monkeypatch, length):
    samples, window = np.cumsum(np.random.default_rng(0).normal(size=length)), hanning(length)
    expected = inverse_filter.iaif((samples * window)[None], window[None])
    monkeypatch.setattr(inverse_filter, "BLOCK", 700)
    monkeypatch.setattr(files, "LARGE", 1000)
    for whole, blocks in zip(expected, inverse_filter.iaif_in_blocks(samples), strict=True):
        np.testing.assert_allclose(blocks, whole[0], atol=1e-7 * np.abs(whole).max())
    assert not np.any(inverse_filter.iaif_in_blocks(np.zeros(length)))


def test_a_long_pause_between_two_voices_takes_no_memory_and_no_other_numbers(vowel, monkeypatch):
    samples = np.concatenate([vowel.samples, 1e-3 * np.random.default_rng(0).normal(size=8000), vowel.samples])
    closures = np.concatenate([vowel.closures, vowel.closures + len(vowel.samples) + 8000])
    expected = inverse_filter.glottal_flow(samples, closures)
    monkeypatch.setattr(inverse_filter, "LONG", 1000)
    found = inverse_filter.glottal_flow(samples, closures)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9 * np.abs(theirs).max())


# glottal parameters


def test_quotients_of_a_triangle_are_those_of_its_geometry():
    """Up in 60 samples, down in 20, closed for 20: half of the height is crossed at 30 and at 70."""
    period = 100
    pulse = np.interp(np.arange(period), [0, 60, 80, 100], [0, 3, 0, 0])
    flow = np.append(np.tile(pulse, 6), 0.0)
    derivative = np.gradient(flow)
    closures = np.arange(100, 600, period)
    found = glottal.parameters(flow, derivative, closures)
    np.testing.assert_allclose(found[1:, 0], 3 / (3 / 20 * period))
    np.testing.assert_allclose(found[1:, 1], 0.40)
    np.testing.assert_allclose(glottal.parameters(7 * flow, 7 * derivative, closures), found, rtol=1e-9)


def test_levels_of_planted_harmonics_are_read():
    t = np.arange(8000)
    amplitudes = (1.0, 0.25, 0.1, 0.05, 0.03, 0.02)
    derivative = sum(a * np.cos(2 * np.pi * k * t / 100) for k, a in enumerate(amplitudes, 1))
    found = glottal.h1h2(derivative, np.arange(1000, 7000, 100), np.full(60, 100))
    np.testing.assert_allclose(found, 20 * np.log10(4), atol=0.1)


def test_the_parabola_is_that_of_a_slow_fit(vowel):
    pulses = [vowel.flow[a : b + 1] for a, b in zip(vowel.closures[4:9], vowel.closures[5:10], strict=True)]
    period = np.diff(vowel.closures[4:10])

    def slow(pulse):
        level = 20 * np.log10(np.abs(np.fft.fft(pulse, 2048)[:1024]) + 1e-300)
        for count in range(3, 1025):
            k = np.arange(count)
            fit = np.polyfit(k**2, level[:count], 1)
            if ((level[:count] - np.polyval(fit, k**2)) ** 2).sum() >= 0.01 * (level[:count] ** 2).sum():
                return fit[0]

    expected = [slow((p - p.min()) / np.ptp(p)) / slow(np.full(t, 1 / t)) for p, t in zip(pulses, period, strict=True)]
    np.testing.assert_allclose(glottal.psp(pulses, period), expected, rtol=1e-8)
    assert np.isnan(glottal.psp([np.ones(50)], np.array([49]))).all()


def test_what_is_no_period_of_a_voice_has_no_parameters():
    flow = np.random.default_rng(0).normal(size=4000)
    assert np.isnan(glottal.parameters(flow, flow, np.array([500, 520, 540]))).all()  # 800 Hz
    assert np.isnan(glottal.parameters(flow, flow, np.array([500, 1500]))).all()  # 16 Hz
    assert np.isnan(glottal.parameters(flow, flow, np.array([500]))).all()
    assert glottal.parameters(flow, flow, np.zeros(0, np.int64)).shape == (0, 4)


# wavelets


@pytest.mark.parametrize("scale", wavelets.SLOPE_SCALES)
def test_a_band_is_the_convolution_also_beside_silence(scale):
    x = np.random.default_rng(0).normal(size=9000)
    x[2000:6000] = 0
    expected = np.convolve(x, wavelets.wavelet(scale), "same")
    np.testing.assert_allclose(wavelets.band(x, scale), expected, rtol=1e-6, atol=0)
    assert ((expected == 0) == (wavelets.band(x, scale) == 0)).all()


def test_a_tone_lives_in_its_band():
    t = np.arange(8000) / RATE_HZ
    for scale in (1, 3, 5):
        tone = np.sin(2 * np.pi * 8000 / 2**scale * t)
        loudness = [np.abs(wavelets.band(tone, s)).max() / np.linalg.norm(wavelets.wavelet(s)) for s in range(7)]
        assert np.argmax(loudness) == scale


def test_the_slope_ignores_gain_polarity_and_blocks_and_moves_with_the_recording(vowel, monkeypatch):
    position, slope = wavelets.peak_slope(vowel.samples)
    assert position[:2].tolist() == [320, 480]
    for other in (100 * vowel.samples, -vowel.samples):
        np.testing.assert_allclose(wavelets.peak_slope(other)[1], slope, atol=1e-12)
    later = wavelets.peak_slope(vowel.samples[160:])[1]
    np.testing.assert_allclose(later[10:-10], slope[11:-10], atol=1e-12)
    monkeypatch.setattr(wavelets, "BLOCK", 3000)
    np.testing.assert_allclose(wavelets.peak_slope(vowel.samples)[1], slope, atol=1e-12)


def test_silence_has_no_slope_and_its_edge_an_infinite_one():
    assert np.isnan(wavelets.peak_slope(np.zeros(4000))[1]).all()
    x = np.zeros(20_000)
    x[:3000] = np.random.default_rng(0).normal(size=3000)
    slope = wavelets.peak_slope(x)[1]
    assert np.isfinite(slope[:15]).all()
    assert np.isnan(slope[40:]).all()
    assert len(wavelets.peak_slope(np.zeros(639))[1]) == 0


def test_sharp_closures_gather_the_maxima_and_noise_scatters_them():
    closures = np.arange(500, 15_500, 125)
    sharp = np.zeros(16_000)
    sharp[closures] = -1
    noise = np.random.default_rng(0).normal(size=16_000)
    np.testing.assert_allclose(wavelets.dispersion(sharp, closures)[1:-1], 1 / 125)  # the centre is counted from 0
    scattered = wavelets.dispersion(noise, closures)
    assert scattered.mean() > 0.1
    np.testing.assert_array_equal(wavelets.dispersion(5 * noise, closures), scattered)


def test_closures_at_the_ends_and_under_silence(monkeypatch):
    residual = np.random.default_rng(0).normal(size=4000)
    closures = np.array([50, 150, 2000, 2100, 3980])
    found = wavelets.dispersion(residual, closures)
    assert np.isnan(found).tolist() == [True, False, False, False, True]
    residual[1800:2300] = np.nan
    hidden = wavelets.dispersion(residual, closures)
    assert hidden[1] == found[1]
    assert hidden[3] == (20 - 1) / 100  # nothing is heard, so the first sample wins
    monkeypatch.setattr(wavelets, "BLOCK", 700)
    np.testing.assert_array_equal(wavelets.dispersion(residual, closures), hidden)
    assert np.isnan(wavelets.dispersion(residual, closures[:1])).all()


# creak


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "minimum": rng.normal(-30, 5, 36),
        "maximum": rng.normal(60, 5, 36),
        "hidden_weights": rng.normal(0, 1, (32, 36)),
        "hidden_bias": rng.normal(0, 1, 32),
        "output_weights": rng.normal(0, 1, 32),
        "output_bias": rng.normal(0, 1, ()),
    }


def test_a_network_is_read_from_either_kind_of_file(tmp_path):
    arrays = weights()
    np.savez(tmp_path / "creak.npz", **arrays)
    (tmp_path / "creak.json").write_text(json.dumps({k: v.tolist() for k, v in arrays.items()}))
    x = np.random.default_rng(1).normal(0, 30, (9, 36))
    scaled = (x - arrays["minimum"]) / (arrays["maximum"] - arrays["minimum"]) * 2 - 1
    hidden = np.tanh(arrays["hidden_weights"] @ scaled.T + arrays["hidden_bias"][:, None])
    expected = 1 / (1 + np.exp(-arrays["output_weights"] @ hidden - arrays["output_bias"]))
    for name in ("creak.npz", "creak.json"):
        np.testing.assert_allclose(creak.Network.load(tmp_path / name)(x), expected, rtol=1e-12)
    unknown, smallest = x.copy(), x.copy()
    unknown[:, 3], smallest[:, 3] = np.nan, arrays["minimum"][3]
    network = creak.Network.load(tmp_path / "creak.npz")
    np.testing.assert_allclose(network(unknown), network(smallest))


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="no creak network"):
        creak.Network.load(tmp_path / "gone.npz")
    np.savez(tmp_path / "pickled.npz", minimum=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="no creak network"):
        creak.Network.load(tmp_path / "pickled.npz")
    (tmp_path / "half.json").write_text('{"minimum": [1, 2]}')
    with pytest.raises(InputError, match="no 'maximum'"):
        creak.Network.load(tmp_path / "half.json")
    np.savez(tmp_path / "wrong.npz", **{**weights(), "hidden_bias": np.zeros(31)})
    with pytest.raises(InputError, match=r"hidden_bias does not fit. Found shape \(31,\), expected \(32,\)"):
        creak.Network.load(tmp_path / "wrong.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match="no creak network"):
        creak.Network.load(tmp_path / "text.npz")


def test_cues_are_those_of_the_signal(vowel):
    found = creak.inputs(vowel.samples)
    cue = dict(zip(creak.NAMES, found[20:-20].T[:12], strict=True))
    assert found.shape == (len(vowel.samples) // 160, 36)
    assert (np.abs(cue["F0"] - 120) < 4).all()
    assert (np.abs(np.median(cue["F0_local"]) - 120)) < 4
    assert np.median(cue["periodicity"]) > 0.9
    assert np.median(cue["similarity"]) > 0.8
    assert (cue["zero_crossings"] < 6).all()
    assert (cue["energy"] <= 0).all()
    np.testing.assert_allclose(found[1:, 12:24], np.diff(found[:, :12], axis=0))
    np.testing.assert_allclose(creak.inputs(100 * vowel.samples), found, rtol=1e-4, atol=1e-4)


def test_silence_and_a_moment_have_cues_without_numbers():
    assert np.isnan(creak.inputs(np.zeros(8000))).all()
    assert creak.inputs(np.ones(100)).shape == (0, 36)
    position, probability = creak.creak(np.zeros(8000), creak.Network(*weights().values()))
    assert position[:2].tolist() == [160, 320]
    assert np.isfinite(probability).all()


# the original's numbers


@pytest.mark.data
@pytest.mark.parametrize("name", QUIET)
def test_source_columns_are_the_originals(name):
    truth = reference.load(name)
    x, at = truth.upright, grid(len(truth.samples))
    residual = lp_residual(x, 18)
    found = sedreams(x, residual, float(truth.f0_median))
    voiced = interpolate(found, truth.srh_time * RATE_HZ, truth.srh_vuv) >= 0.5
    np.testing.assert_array_equal(found[voiced], truth.gci)

    def column(position, values):
        return np.nan_to_num(interpolate(at, position, np.where(np.isnan(values), 0, values)), neginf=-np.inf)

    flow, derivative = inverse_filter.glottal_flow(x, truth.gci)
    shape = column(truth.gci + 1, glottal.parameters(flow, derivative, truth.gci))
    miss = np.abs(shape - truth.features[:, 2:6]) > 1e-6
    assert (miss.mean(axis=0) <= 0.001).all()
    np.testing.assert_allclose(
        column(truth.gci, wavelets.dispersion(residual, truth.gci)), truth.features[:, 6], atol=1e-6
    )
    np.testing.assert_allclose(column(*wavelets.peak_slope(x)), truth.features[:, 7], atol=1e-6)


@pytest.mark.data
@pytest.mark.parametrize("name", reference.SIGNALS[:2])
def test_flow_is_the_originals(name):
    truth = reference.load(name)
    flow, derivative = inverse_filter.glottal_flow(truth.upright, truth.gci)
    for found, expected in ((flow, truth.glottal_flow), (derivative, truth.glottal_flow_derivative)):
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.data
@pytest.mark.parametrize("name", ["arctic_a0007", "lj001_0002", "edge/short_0p90s"])
def test_cues_of_creak_are_the_originals(name):
    """Nine exactly; the four behind the band-pass as far as its rounding noise lets them."""
    truth = reference.load(name)
    away = np.abs(creak.inputs(truth.upright) - truth.creak_inputs)[:, :12]
    loose = {"zero_crossings": 0.02, "periodicity": 0.02, "similarity": 0.02, "power_fall": 0.5, "power_rise": 0.5}
    for k, cue in enumerate(creak.NAMES):
        assert (away[:, k] < loose.get(cue, 1e-5)).mean() >= (0.95 if cue in loose else 1.0), cue
