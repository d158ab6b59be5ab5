"""COVAREP from the conventions to the harmonics: residual, polarity, pitch, sinusoids, Rd, MCEP, HMPD."""

import covarep_reference as reference
import numpy as np
import pytest
from scipy import linalg, optimize, signal

from sottovoce import files
from sottovoce.tracks.covarep import cepstrum, conventions, harmonics, phase
from sottovoce.tracks.covarep.conventions import (
    fir,
    grid,
    hanning,
    interpolate,
    is_peak,
    lpc,
    parabola,
    rounded,
    spaced,
    turns,
    wrap,
    zero_phase,
)
from sottovoce.tracks.covarep.pitch import srh
from sottovoce.tracks.covarep.polarity import polarity
from sottovoce.tracks.covarep.rd import lf_constants, lf_shape, lf_spectrum, minimise, rd
from sottovoce.tracks.covarep.residual import lp_residual
from sottovoce.tracks.covarep.sinusoids import Sinusoids, fits, sinusoids

RATE_HZ = 16_000


def voice(f0_hz: float = 125.0, seconds: float = 1.0, shape: float = 1.0, seed: int = 0) -> np.ndarray:
    """(N,) pulses of the LF model through three formants, with a little noise 50 dB below."""
    count = int(RATE_HZ / 2 / f0_hz - 0.5)
    k = np.arange(1, count + 1)
    poles = [
        np.exp((-np.pi * width + 2j * np.pi * hz) / RATE_HZ) for hz, width in ((700, 90), (1200, 110), (2600, 160))
    ]
    z = np.exp(2j * np.pi * k * f0_hz / RATE_HZ)
    tract = np.prod([1 / np.abs(z - p) / np.abs(z - p.conjugate()) for p in poles], axis=0)
    turns = [np.angle(1 / ((1 - p / z) * (1 - p.conjugate() / z))) for p in poles]
    weights = lf_spectrum(np.array([shape]), count)[0] * tract * np.exp(1j * np.sum(turns, axis=0))
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    samples = np.real(np.exp(2j * np.pi * f0_hz * t[:, None] * k) @ weights)
    samples /= np.abs(samples).max() * 2
    return samples + 10 ** (-50 / 20) * samples.std() * np.random.default_rng(seed).normal(size=len(samples))


def minimum_phase(magnitude: np.ndarray) -> np.ndarray:
    """(n,) the minimum-phase spectrum of a whole symmetric one (n,): keep the causal half of the cepstrum, doubled."""
    cepstrum = np.fft.ifft(np.log(magnitude)).real
    half = len(magnitude) // 2
    return np.exp(np.fft.fft(cepstrum * np.concatenate([[1], np.full(half - 1, 2), [1], np.zeros(half - 1)])))


@pytest.fixture(scope="module")
def vowel() -> np.ndarray:
    return voice()


# conventions


def test_halves_are_rounded_away_from_zero():
    assert rounded(np.array([0.5, 1.5, 2.5, -0.5, -2.5, 0.49999])).tolist() == [1, 2, 3, -1, -3, 0]


def test_wrapping_keeps_the_angle_and_both_ends_of_the_circle():
    angle = np.linspace(-20, 20, 999)
    np.testing.assert_allclose(np.exp(1j * wrap(angle)), np.exp(1j * angle), atol=1e-12)
    assert np.abs(wrap(angle)).max() <= np.pi + 1e-12


def test_the_two_raised_cosines_differ_by_their_zero_ends():
    np.testing.assert_allclose(hanning(9), np.hanning(11)[1:-1], atol=1e-15)


def test_interpolation_is_numpys_inside_and_unknown_outside():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(0, 10, 30)), rng.normal(size=(30, 3))
    at = np.linspace(-1, 11, 500)
    found = interpolate(at, x, y)
    inside = (at >= x[0]) & (at <= x[-1])
    assert np.isnan(found[~inside]).all()
    for k in range(3):
        np.testing.assert_allclose(found[inside, k], np.interp(at[inside], x, y[:, k]), atol=1e-12)
    np.testing.assert_array_equal(interpolate(x, x, y[:, 0])[:-1], y[:-1, 0])


def test_beside_minus_infinity_there_is_no_guarded_value():
    found = interpolate(np.array([0, 0.5, 1, 1.5, 2.0]), np.arange(3), np.array([0, -np.inf, 0]))
    assert found[1] == -np.inf
    assert np.isnan(found[[2, 3, 4]]).all()


def test_nothing_and_one_point_can_be_interpolated():
    at = np.arange(3.0)
    assert np.isnan(interpolate(at, np.zeros(0), np.zeros((0, 2)))).all()
    assert interpolate(at, np.array([1]), np.array([5.0]))[1] == 5


def test_lpc_solves_the_normal_equations_of_every_frame():
    x = np.random.default_rng(0).normal(size=(4, 3, 60))
    found = lpc(x, 7)
    for row in np.ndindex(4, 3):
        r = np.correlate(x[row], x[row], "full")[59:67]
        np.testing.assert_allclose(found[row], np.append(1, linalg.solve_toeplitz(r[:7], -r[1:])), rtol=1e-9)


def test_a_frame_of_zeros_has_no_prediction_and_harms_no_other():
    x = np.random.default_rng(0).normal(size=(2, 60))
    found = lpc(np.stack([x[0], np.zeros(60), x[1]]), 4)
    assert np.isnan(found[1, 1:]).all()
    np.testing.assert_array_equal(found[::2], lpc(x, 4))


def test_every_frame_passes_its_own_filter():
    rng = np.random.default_rng(0)
    x, taps = rng.normal(size=(5, 40)), rng.normal(size=(5, 6))
    expected = [signal.lfilter(b, 1, row) for b, row in zip(taps, x, strict=True)]
    np.testing.assert_allclose(fir(x, taps), expected, atol=1e-12)


def test_zero_phase_filtering_mirrors_three_orders_and_not_three_taps():
    x = np.random.default_rng(0).normal(size=73)
    b, a = np.ones(25) / 25, np.ones(1)
    with pytest.raises(ValueError, match="mirrors 72 samples"):
        zero_phase(b, a, x[:72])
    np.testing.assert_allclose(zero_phase(b, a, x), signal.filtfilt(b, a, x, padlen=72), atol=1e-15)


def test_a_long_signal_is_filtered_in_blocks_and_in_a_file_to_the_same_numbers(monkeypatch):
    x = np.random.default_rng(0).normal(size=5000)
    b, a = signal.ellip(5, 3, 60, 0.1, "highpass")
    expected, residual = signal.filtfilt(b, a, x, padlen=15), lp_residual(x, 12)
    monkeypatch.setattr(conventions, "BLOCK", 700)
    monkeypatch.setattr(files, "LARGE", 1000)
    np.testing.assert_array_equal(zero_phase(b, a, x), expected)
    np.testing.assert_array_equal(lp_residual(x, 12), residual)


@pytest.mark.parametrize("seed", range(5))
def test_peaks_of_spectra_and_turns_of_signals_are_scipys(seed, monkeypatch):
    monkeypatch.setattr(conventions, "BLOCK", 8)
    x = np.random.default_rng(seed).integers(0, 4, (6, 50)).astype(float)
    for row, peak in zip(x, is_peak(x), strict=True):
        at, plateau = signal.find_peaks(row, plateau_size=1)
        assert np.flatnonzero(peak).tolist() == at.tolist()
        low, high = turns(row)
        assert high.tolist() == plateau["left_edges"].tolist()
        assert low.tolist() == signal.find_peaks(-row, plateau_size=1)[1]["left_edges"].tolist()


def test_a_parabola_is_found_exactly_and_a_valley_is_left_alone():
    top = np.array([-0.4, 0.0, 0.3])
    offset, height = parabola(*(5 - 2 * (k - top) ** 2 for k in (-1, 0, 1)))
    np.testing.assert_allclose(offset, top)
    np.testing.assert_allclose(height, 5)
    offset, height = parabola(np.array([2.0]), np.array([1.0]), np.array([3.0]))
    assert (offset.item(), height.item()) == (0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_peaks_that_stay_are_far_apart_and_the_highest_stays(seed):
    rng = np.random.default_rng(seed)
    at, height = np.sort(rng.choice(300, 60, replace=False)), rng.integers(0, 9, 60).astype(float)
    kept = spaced(at, height, 10)
    assert (np.diff(at[kept]) > 10).all()
    assert height[kept].max() == height.max()


def test_the_grid_begins_after_half_a_step():
    assert grid(16_000)[[0, 1, -1]].tolist() == [80, 240, 15_920]
    assert len(grid(79)) == 0


# residual and polarity


def test_the_residual_of_an_all_pole_signal_is_its_excitation():
    pulses = np.zeros(8000)
    pulses[100::160] = 1.0
    colour = signal.lfilter([1], [1, -1.3, 0.8], pulses)
    residual = lp_residual(colour, 12)
    assert np.abs(residual).max() == 1
    strongest = np.sort(np.argsort(residual[1000:7000])[-38:]) + 1000  # every pulse from 1060 to 6980
    assert set(np.diff(strongest)) == {160}
    assert (strongest % 160 == 100).all()


def test_frames_are_whitened_one_by_one_and_added_up(vowel):
    """The slow way, without batches."""
    expected, window = np.zeros(len(vowel)), hanning(401)
    for start in range(0, len(vowel) - 401, 80):
        frame = vowel[start : start + 401] * window
        error = signal.lfilter(lpc(frame, 18), 1, frame)
        expected[start : start + 401] += error * np.sqrt((frame**2).sum() / (error**2).sum())
    np.testing.assert_allclose(lp_residual(vowel, 18), expected / np.abs(expected).max(), atol=1e-12)


def test_silence_leaves_holes_in_the_residual_and_nothing_else(vowel):
    gap = vowel.copy()
    gap[6000:8000] = 0
    missing = np.isnan(lp_residual(gap, 12))
    assert missing[6200:7800].all()
    assert not missing[:5600].any()
    assert not missing[8400:].any()
    assert (lp_residual(np.zeros(300), 12) == 0).all()  # no whole frame


def test_polarity_turns_with_the_recording(vowel):
    assert polarity(vowel) == 1  # closures of the LF model point down
    assert polarity(-vowel) == -1
    assert polarity(np.zeros(8000)) == 1
    assert polarity(-vowel[:300]) == 1


# pitch


@pytest.mark.parametrize("f0_hz", [82, 125, 210, 330])
def test_a_planted_pitch_is_found_everywhere(f0_hz):
    pitch = srh(voice(f0_hz))
    assert pitch.voiced.all()
    assert np.abs(pitch.f0_hz - f0_hz).max() <= 1  # candidate f reads the bin of f - 1 Hz
    assert abs(pitch.median_hz() - f0_hz) <= 1


def test_noise_has_a_pitch_but_no_voice():
    pitch = srh(np.random.default_rng(0).normal(size=16_000))
    assert pitch.voiced.mean() < 0.1
    assert ((pitch.f0_hz >= 50) & (pitch.f0_hz <= 500)).all()


def test_pitch_knows_neither_gain_nor_sign(vowel):
    pitch = srh(vowel)
    for factor in (-1, 0.25, -8):
        np.testing.assert_array_equal(srh(factor * vowel).score, pitch.score)
    np.testing.assert_allclose(srh(0.3 * vowel).score, pitch.score, atol=1e-9)


def test_a_recording_shifted_by_a_hop_has_its_pitch_a_frame_later(vowel):
    later = srh(np.concatenate([vowel[-160:], vowel]))
    np.testing.assert_allclose(later.score[8:], srh(vowel).score[7:], rtol=0.02)
    np.testing.assert_array_equal(later.f0_hz[8:], srh(vowel).f0_hz[7:])


def test_digital_silence_has_a_pitch_of_one_hertz(vowel):
    pitch = srh(np.concatenate([vowel, np.zeros(8000)]))
    assert (pitch.f0_hz[-30:] == 1).all()
    assert not pitch.voiced[-30:].any()


@pytest.mark.parametrize("samples", [0, 100, 1598, 1599])
def test_what_is_shorter_than_a_window_has_no_pitch(samples):
    pitch = srh(np.random.default_rng(0).normal(size=samples))
    assert len(pitch.f0_hz) == (samples >= 1599)
    assert np.isnan(pitch.columns(grid(samples))[:, 0]).all()


# sinusoids


def planted(amplitude: np.ndarray, angle: np.ndarray, f0_hz: float, centre: int, length: int) -> np.ndarray:
    """(N,) harmonics with these amplitudes and phases at the sample `centre`."""
    t = (np.arange(length) - centre) / RATE_HZ
    turn = 2 * np.pi * f0_hz * np.arange(1, len(amplitude) + 1)
    return (amplitude * np.cos(turn * t[:, None] + angle)).sum(axis=1)


def test_planted_harmonics_are_found():
    rng = np.random.default_rng(0)
    f0, centre = 140.0, 900
    amplitude, angle = rng.uniform(0.5, 1, 57), rng.uniform(-np.pi, np.pi, 57)
    found = sinusoids(planted(amplitude, angle, f0 * 1.004, centre, 2000), np.array([centre]), np.array([f0]))
    assert found.harmonics[0] == 57
    assert found.spacing_hz[0] == pytest.approx(f0 * 1.004, rel=1e-3)
    np.testing.assert_allclose(2 * found.amplitude[0, 1:56], amplitude[:55], rtol=0.02)
    np.testing.assert_allclose(wrap(found.phase[0, 1:56] - angle[:55]), 0, atol=0.03)


def test_a_frame_does_not_depend_on_its_neighbours(vowel):
    centre, f0 = np.array([4000, 5000, 6000]), np.array([125.0, 60.0, 300.0])
    together = sinusoids(vowel, centre, f0)
    for k in range(3):
        alone = sinusoids(vowel, centre[k : k + 1], f0[k : k + 1])
        width = alone.phase.shape[1]
        np.testing.assert_array_equal(together.phase[k, :width], alone.phase[0])
        np.testing.assert_array_equal(together.amplitude[k, :width], alone.amplitude[0])
        np.testing.assert_array_equal(together.log_magnitude[k], alone.log_magnitude[0])


def test_an_endless_window_sees_its_first_4096_samples_and_the_phase_of_its_centre():
    samples = np.random.default_rng(0).normal(size=48_001)
    found = sinusoids(samples, np.array([24_000]), np.array([1.0]))
    window = np.blackman(48_001)
    expected = np.fft.rfft(samples[:4096] * window[:4096] / window.sum())
    np.testing.assert_allclose(found.log_magnitude[0], np.log(np.abs(expected)), atol=1e-6)
    assert fits(np.array([24_000, 23_999]), np.array([1.0, 1.0]), 48_001).tolist() == [True, False]


# Rd


def lf_pulse(shape: float, points: int) -> np.ndarray:
    """One period of the flow derivative, written down in time (Fant, Liljencrants & Lin 1985)."""
    peak, te, ta = (float(v[0]) for v in lf_shape(np.array([shape])))
    epsilon, alpha = (float(v[0]) for v in lf_constants(np.array([shape])))
    t = (np.arange(points) + 0.5) / points
    open_phase = np.exp(alpha * (t - te)) * np.sin(np.pi * t / peak) / np.sin(np.pi * te / peak)
    return_phase = (np.exp(-epsilon * (t - te)) - np.exp(-epsilon * (1 - te))) / (epsilon * ta)
    return -np.where(t < te, open_phase, return_phase)


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.0, 1.9, 2.5])
def test_the_closed_spectrum_is_the_transform_of_the_pulse(shape):
    points = 200_000
    pulse = lf_pulse(shape, points)
    assert abs(pulse.mean()) < 1e-4  # no net flow
    k = np.arange(1, 31)
    transform = np.fft.rfft(pulse)[k] / points * np.exp(-1j * np.pi * k / points)
    np.testing.assert_allclose(lf_spectrum(np.array([shape]), 30)[0], transform, atol=2e-5)


def test_many_searches_at_once_are_scipys_one_by_one():
    rng = np.random.default_rng(0)
    place, wave, depth = rng.uniform(0.2, 2.6, 40), rng.uniform(1, 9, 40), rng.uniform(0, 1, 40)

    def cost(x, rows):
        return (x - place[rows]) ** 2 + depth[rows] * np.sin(wave[rows] * x)

    found, value = minimise(cost, 0.3, 2.5, 40, 0.01, 32)
    for k in range(40):
        expected = optimize.fminbound(lambda x, k=k: cost(np.array([x]), [k])[0], 0.3, 2.5, xtol=0.01)
        assert found[k] == pytest.approx(expected, abs=1e-8)
        assert value[k] == cost(found[k : k + 1], [k])[0]


def test_the_phase_left_is_what_the_definition_says():
    """The cost of a candidate, the slow way: divide, fold the cepstrum, look at second differences."""
    rng = np.random.default_rng(0)
    count = 30
    sines = Sinusoids(
        *(np.array([value]) for value in (260.0, 260.0, count)),
        amplitude=rng.uniform(0.1, 1, (1, 1 + count)),
        phase=rng.uniform(-np.pi, np.pi, (1, 1 + count)),
        log_magnitude=np.zeros((1, 2049)),
    )
    (best, confidence) = rd(sines)[0]
    harmonic = (sines.amplitude * np.exp(1j * sines.phase))[0]
    rest = harmonic[1:] / lf_spectrum(np.array([best]), count)[0].conjugate()
    rest = np.concatenate([[abs(rest[0])], rest[:-1], [abs(rest[-2])]])  # DC to Nyquist
    whole = np.concatenate([rest, rest[-2:0:-1].conjugate()])
    left = np.angle(whole / minimum_phase(np.abs(whole)))[:9]
    second = wrap(np.diff(left)[1:] - left[1])
    assert 1 - np.sqrt(np.mean(second**2)) / np.pi == pytest.approx(confidence, abs=1e-9)


@pytest.mark.parametrize("shape", [0.5, 1.0, 1.7, 2.2])
def test_a_planted_rd_is_found(shape):
    """In time-reversed pulses: the original divides by the conjugate of the pulse's spectrum."""
    f0 = 100.0
    weights = lf_spectrum(np.array([shape]), 79)[0].conjugate()
    t = np.arange(2000) / RATE_HZ
    samples = 2 * np.real(np.exp(2j * np.pi * f0 * t[:, None] * np.arange(1, 80)) @ weights)
    found = rd(sinusoids(samples, np.array([800, 960, 1013]), np.full(3, f0)))
    np.testing.assert_allclose(found[:, 0], shape, atol=0.05)
    assert (found[:, 1] > 0.97).all()


def test_a_frame_of_zeros_is_not_searched_and_stays_where_a_search_without_an_answer_would(vowel):
    samples = np.concatenate([np.zeros(2000), vowel])
    place, f0 = np.array([1000, 8000, 8160]), np.full(3, 125.0)
    found = rd(sinusoids(samples, place, f0))
    nowhere, _ = minimise(lambda x, rows: np.full(len(x), np.nan), 0.3, 2.5, 1, 0.01, 32)
    assert found[0, 0] == nowhere[0]
    assert np.isnan(found[0, 1])
    np.testing.assert_array_equal(found[1:], rd(sinusoids(samples, place[1:], f0[1:])))


def test_rd_does_not_know_which_frames_are_searched_with_it(vowel):
    samples, place = np.tile(vowel, 5), np.arange(40_000, 41_600, 160)
    f0 = np.where(np.arange(len(place)) < 3, 1.0, 125.0)  # the first three as beside silence
    alone = [rd(sinusoids(samples, place[k : k + 1], f0[k : k + 1]))[0] for k in range(len(place))]
    np.testing.assert_allclose(rd(sinusoids(samples, place, f0)), alone, atol=1e-9)


def test_rd_needs_nine_harmonics():
    with pytest.raises(ValueError, match="more than 8 harmonics"):
        rd(sinusoids(np.ones(2000), np.array([1000]), np.array([1000.0])))


# MCEP


def comb(quefrencies: np.ndarray, f0_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """(1, 2049) the logarithm of a spectrum whose harmonics touch a smooth curve, and that curve."""
    bins = np.arange(2049)
    curve = np.cos(np.pi * np.outer(bins, np.arange(len(quefrencies))) / 2048) @ quefrencies
    return (curve + 3 * (np.cos(2 * np.pi * bins * RATE_HZ / 4096 / f0_hz) - 1))[None], curve[None]


@pytest.mark.parametrize("f0_hz", [90.0, 150.0, 240.0])
def test_the_envelope_passes_through_the_peaks(f0_hz):
    spectrum, curve = comb(np.array([-5, 1.5, 0.6, -0.4, 0.2, 0.3]), f0_hz)
    found = cepstrum.envelope(spectrum, np.array([f0_hz]))
    at = rounded(np.arange(2, int(7800 / f0_hz)) * f0_hz * 4096 / RATE_HZ)
    assert np.abs(found - curve)[0, at].max() < cepstrum.TOLERANCE + 0.02
    assert (spectrum - found).max() <= 0.6  # the lowest and highest bins follow the helper envelope


def test_no_peak_stands_out_by_more_than_two_decibels():
    spectrum = np.random.default_rng(0).normal(size=(6, 2049))
    found = cepstrum.true_envelope(spectrum, np.array([40, 50, 60, 80, 100, 120]))
    assert ((spectrum - found).max(axis=1) <= cepstrum.TOLERANCE).all()


def test_an_envelope_does_not_depend_on_its_neighbours_and_zeros_have_none():
    rng = np.random.default_rng(0)
    spectrum, order = rng.normal(size=(4, 2049)), np.array([20, 90, 40, 30])
    spectrum[1] = -np.inf
    found = cepstrum.true_envelope(spectrum, order)
    assert np.isnan(found[1]).all()
    for k in (0, 2, 3):
        alone = cepstrum.true_envelope(spectrum[k : k + 1], order[k : k + 1])[0]
        np.testing.assert_allclose(found[k], alone, atol=1e-12)


def test_gain_is_heard_by_the_first_coefficient_and_a_little_by_the_search(vowel):
    """The step of the search knows the level (c_0 counts), so invariance holds only as far as its tolerance."""
    centre, f0 = np.array([4000, 5000]), np.array([125.0, 126.0])
    one, ten = (cepstrum.mcep(sinusoids(g * vowel, centre, f0).log_magnitude, f0) for g in (1.0, 10.0))
    np.testing.assert_allclose(ten[:, 0] - one[:, 0], np.log(10), atol=0.02)
    np.testing.assert_allclose(ten[:, 1:], one[:, 1:], atol=0.02)


def test_the_mel_cepstrum_is_the_definitions():
    amplitude = np.exp(np.random.default_rng(0).normal(size=513).cumsum() / 20)
    hz = np.linspace(0, 8000, 513)
    mel = 8000 * np.log(1 + hz / 700) / np.log(1 + 8000 / 700)
    log = np.log(np.interp(hz, mel, amplitude))
    expected = np.fft.ifft(np.concatenate([log, log[-2:0:-1]])).real[:13] * np.append(1, np.full(12, 2))
    np.testing.assert_allclose(cepstrum.mel_cepstrum(amplitude[None], 12)[0], expected, atol=1e-12)


def test_mcep_frames_are_spread_over_the_recording_and_not_at_their_times():
    found = cepstrum.columns(np.array([[0.0], [1.0], [2.0]]), 1001, np.array([1, 251, 501, 1001]))
    assert found[:, 0].tolist() == [0, 0.5, 1, 2]


# HMPD


def sines_of(amplitude: np.ndarray, angle: np.ndarray, f0_hz: float) -> Sinusoids:
    rows, count = len(amplitude), amplitude.shape[1] - 1
    return Sinusoids(
        np.full(rows, f0_hz), np.full(rows, f0_hz), np.full(rows, count), amplitude, angle, np.zeros((rows, 2049))
    )


def test_minimum_phase_has_no_distortion():
    f0, count = 125.0, 64  # harmonics on bins, so that nothing is lost between them
    bins = np.arange(513)
    curve = np.cos(np.pi * np.outer(bins, np.arange(4)) / 512) @ np.array([0, 0.8, -0.3, 0.2])
    curve[:9] = curve[8]  # as level below the first harmonic as the method has it
    curve = np.interp(bins, bins[::8], curve[::8])
    response = minimum_phase(np.exp(np.concatenate([curve, curve[-2:0:-1]])))[:513:8]
    delay = np.exp(-1j * 0.7 * np.arange(count + 1))  # where the frame begins does not matter
    sines = sines_of(np.abs(response)[None], np.angle(response * delay)[None], f0)
    found = phase.distortion(sines, count, np.zeros((1, 513)))
    np.testing.assert_allclose(found, 0, atol=1e-9)


def test_distortion_is_zero_below_the_first_harmonic_and_noise_above_the_last():
    rng = np.random.default_rng(0)
    sines = sines_of(np.ones((2, 30)), rng.uniform(-3, 3, (2, 30)), 250.0)
    noise = phase.draw(rng, 2)
    found = phase.distortion(sines, 29, noise)
    assert (found[:, :17] == 0).all()  # D from DC to the first harmonic is 0 as well
    last = int(29 * 250 / 15.625)
    np.testing.assert_array_equal(found[:, last + 1 :], noise[:, last + 1 :])
    assert (found[:, 17 : last + 1] != noise[:, 17 : last + 1]).all()


def test_a_frame_of_zeros_is_noise():
    noise = phase.draw(np.random.default_rng(0), 1)
    found = phase.distortion(sines_of(np.zeros((1, 65)), np.zeros((1, 65)), 125.0), 64, noise)
    np.testing.assert_array_equal(found[0, 8:], noise[0, 8:])


def test_noise_drawn_in_pieces_is_noise_drawn_at_once():
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    pieces = [phase.draw(one, 3), phase.draw(one, 4)]
    np.testing.assert_array_equal(np.concatenate(pieces), phase.draw(two, 7))


@pytest.mark.parametrize("taps", [25, 9])
def test_the_moving_average_is_scipys_zero_phase_filter(taps):
    rows = np.random.default_rng(0).normal(size=(80, 4))
    expected = signal.filtfilt(np.full(taps, 1 / taps), [1.0], rows, axis=0, padlen=3 * (taps - 1))
    np.testing.assert_allclose(phase._moving(rows, np.full(taps, 1 / taps)), expected, atol=1e-13)


def test_the_running_median_is_scipys():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    expected = np.stack([signal.medfilt(column, 9) for column in rows.T], axis=1)
    np.testing.assert_array_equal(phase._median(rows), expected)


@pytest.mark.parametrize("cuts", [(), (100,), (30, 60, 90, 97, 260), tuple(range(1, 300))])
def test_smoothing_does_not_know_how_the_frames_were_cut(cuts):
    rng = np.random.default_rng(0)
    whole = wrap(rng.normal(size=(300, 513)).cumsum(axis=0) / 3)
    mean, deviation = phase._statistics(whole)
    pieces = list(phase.smooth(np.split(whole, cuts)))
    np.testing.assert_array_equal(np.concatenate([piece[0] for piece in pieces]), mean)
    np.testing.assert_array_equal(np.concatenate([piece[1] for piece in pieces]), deviation)


@pytest.mark.parametrize("angle", [0.0, 1.0, -3.0])
def test_a_steady_phase_is_its_own_mean_and_does_not_spread(angle):
    ((mean, deviation),) = phase.smooth([np.full((60, 513), angle)])
    np.testing.assert_allclose(mean, angle, atol=1e-12)
    if angle == 0:  # elsewhere the last bit decides between 0 and 1.5e-8
        np.testing.assert_allclose(deviation[20:-20, 0], np.log(0.001))
        np.testing.assert_allclose(deviation[20:-20, 1:], 0, atol=1e-12)


def test_less_than_25_frames_have_no_phase_statistics():
    ((mean, deviation),) = phase.smooth([np.zeros((24, 513))])
    assert mean.shape == (24, 25)
    assert np.isnan(mean).all()
    assert np.isnan(deviation).all()
    ((mean, deviation),) = phase.smooth([np.zeros((25, 513))])
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()


def test_phase_is_read_every_5_ms_the_short_way_round_whatever_the_pieces():
    rng = np.random.default_rng(0)
    time_s = np.arange(5, 205)[rng.permutation(200)[:150]] / 100 + 0.0003
    time_s.sort()
    angle, spread = rng.uniform(-np.pi, np.pi, (150, 25)), rng.normal(size=(150, 13))
    at_s = (grid(40_000) - 1) / RATE_HZ
    whole = phase.columns(time_s, angle, spread, at_s)
    pieces = [phase.columns(time_s, angle, spread, at_s[part]) for part in conventions.chunks(len(at_s), 7)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-12)
    fine_s = np.arange(np.ceil(time_s[0] * 200), np.floor(time_s[-1] * 200) + 1) / 200
    fine = interpolate(fine_s, time_s, np.unwrap(angle, axis=0))
    inside = (at_s >= fine_s[0]) & (at_s <= fine_s[-1])
    assert np.isnan(whole[~inside]).all()
    expected = interpolate(at_s[inside], fine_s, fine)
    np.testing.assert_allclose(wrap(whole[inside, :25] - expected), 0, atol=1e-9)


def test_bands_are_single_bins_up_to_the_eighth_and_cover_all_but_nyquist():
    member = phase._membership()
    assert (member.sum(axis=1) == 1).all()
    assert (member[:8, :8] == np.eye(8)).all()
    assert (member.sum(axis=0) > 0).all()
    assert (np.diff(member.argmax(axis=1)) >= 0).all()


# all columns of the harmonics


def columns(samples: np.ndarray, seed: int = 0) -> np.ndarray:
    return harmonics.columns(samples, srh(samples), grid(len(samples)), np.random.default_rng(seed))


DRAWN = slice(51, 65)  # HMPDM_24 and HMPDD


def test_a_seed_decides_the_random_columns_and_touches_no_other(vowel):
    one, again, other = columns(vowel), columns(vowel), columns(vowel, seed=1)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(np.delete(one, np.r_[DRAWN], axis=1), np.delete(other, np.r_[DRAWN], axis=1))
    assert (one[:, 51:] != other[:, 51:]).any()


def test_columns_do_not_know_the_size_of_a_piece(vowel, monkeypatch):
    whole = columns(vowel)
    monkeypatch.setattr(harmonics, "CHUNK", 17)
    np.testing.assert_allclose(columns(vowel), whole, rtol=0, atol=1e-9)


def test_rd_and_phase_do_not_know_the_gain(vowel):
    one, four = columns(vowel), columns(4 * vowel)
    keep = np.r_[0:2, 27:51]
    np.testing.assert_allclose(four[:, keep], one[:, keep], atol=1e-6)


def test_a_hop_of_delay_moves_the_frames_by_one(vowel):
    centre, f0 = np.arange(4000, 5000, 160), np.full(7, 125.0)
    delayed = np.concatenate([np.zeros(160), vowel])
    early, late = sinusoids(vowel, centre, f0), sinusoids(delayed, centre + 160, f0)
    np.testing.assert_array_equal(early.phase, late.phase)
    np.testing.assert_array_equal(rd(early), rd(late))
    np.testing.assert_array_equal(cepstrum.mcep(early.log_magnitude, f0), cepstrum.mcep(late.log_magnitude, f0))


def test_silence_inside_a_recording_is_no_trouble(vowel):
    found = columns(np.concatenate([vowel, np.zeros(17_000), vowel]))
    assert np.isfinite(found[20:80]).all()
    assert np.isfinite(found[-80:-20]).all()


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.12, 0.3, 0.5])
def test_a_short_recording_has_what_is_defined(seconds):
    found = columns(voice(seconds=max(seconds, 0.01))[: int(seconds * RATE_HZ)])
    assert found.shape == (len(grid(int(seconds * RATE_HZ))), 65)
    assert np.isfinite(found[:, :27]).any() == (seconds > 0.1)
    assert np.isfinite(found[:, 27:]).any() == (seconds >= 0.5)


# the original


@pytest.mark.data
@pytest.mark.parametrize("name", reference.SIGNALS)
def test_the_residual_is_the_originals(name):
    truth = reference.load(name)
    np.testing.assert_allclose(lp_residual(truth.upright, 18), truth.lp_residual, atol=1e-7)  # stored in float32


@pytest.mark.data
@pytest.mark.parametrize("name", [*reference.SPEECH, *reference.EDGE, reference.SILENT])
def test_polarity_and_pitch_are_the_originals(name):
    truth = reference.load(name)
    assert polarity(truth.samples) == truth.polarity
    pitch = srh(truth.samples)
    np.testing.assert_array_equal(pitch.time_s, truth.srh_time)
    np.testing.assert_array_equal(pitch.f0_hz, truth.srh_f0)
    np.testing.assert_array_equal(pitch.voiced, truth.srh_vuv)
    assert pitch.median_hz() == truth.f0_median
    np.testing.assert_array_equal(np.nan_to_num(pitch.columns(grid(len(truth.samples)))), truth.features[:, :2])


@pytest.mark.data
@pytest.mark.parametrize("name", ["arctic_a0007", "goforward", *reference.EDGE])
def test_the_harmonics_are_the_originals(name):
    truth = reference.load(name)
    samples, pitch = truth.upright, srh(truth.samples)
    kept = fits(pitch.position, pitch.f0_hz, len(samples))
    np.testing.assert_array_equal(pitch.time_s[kept], truth.frame_time)
    sines = sinusoids(samples, pitch.position[kept], pitch.f0_hz[kept])
    np.testing.assert_allclose(rd(sines)[:, 0], truth.rd[:, 1], atol=5e-3)
    np.testing.assert_allclose(rd(sines)[:, 1], truth.rd[:, 2], atol=1e-4)
    np.testing.assert_allclose(cepstrum.mcep(sines.log_magnitude, sines.f0_hz), truth.mcep_frames, atol=1e-6)
    found = np.nan_to_num(harmonics.columns(samples, pitch, grid(len(samples)), np.random.default_rng(0)))
    mean = truth.features[:, 36:60]
    np.testing.assert_allclose(wrap(found[:, 27:51] - mean), 0, atol=1e-6)
    inside = slice(20, -20)
    error = np.abs(found[inside, 52:] - truth.features[inside, 61:])
    assert np.percentile(error, 99) < 1e-2
