"""The 74 columns of a recording: what changes them and what does not, what is defined, and every kind of bad input."""

import covarep_reference as reference
import numpy as np
import pytest
from covarep_voice import RATE_HZ, voice
from scipy import signal

from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.tracks import covarep
from sottovoce.tracks.covarep import creak

NAMED = {name: k for k, name in enumerate(covarep.NAMES)}
DRAWN = slice(NAMED["HMPDM_24"], 74)  # random by design
MCEP = slice(11, 36)


@pytest.fixture(scope="module")
def vowel() -> np.ndarray:
    return voice(seconds=1.2).samples


@pytest.fixture(scope="module")
def found(vowel) -> covarep.Frames:
    return covarep.extract(vowel, RATE_HZ)


def turned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Difference of columns, phases on the circle."""
    away = np.abs(a - b)
    away[:, 36:61] = np.abs((a - b)[:, 36:61] + np.pi) % (2 * np.pi) - np.pi
    return np.abs(away)


def test_a_row_every_ten_milliseconds_with_names_and_times(found, vowel):
    assert found.values.shape == found.defined.shape == (len(vowel) // 160, 74)
    assert found.names == covarep.NAMES
    np.testing.assert_allclose(found.times_s, (79 + 160 * np.arange(len(found.values))) / RATE_HZ)


def test_a_voice_is_described(found):
    middle = found.values[20:-20]
    assert (np.abs(middle[:, 0] - 120) <= 3).all()
    assert (middle[:, 1] == 1).all()
    for name, low, high in (
        ("NAQ", 0.02, 0.4),
        ("QOQ", 0.05, 0.9),
        ("MDQ", 0, 0.2),
        ("Rd", 0.3, 2.5),
        ("Rd_conf", 0, 1),
    ):
        column = middle[:, NAMED[name]]
        assert ((column > low) & (column < high)).all(), name
    assert found.defined[20:-20, [k for k in range(74) if k != NAMED["creak"]]].all()
    assert not found.defined[:, NAMED["creak"]].any()
    assert not found.defined[:4, 0].any()


def test_the_same_seed_is_the_same_and_another_changes_only_what_is_drawn(found, vowel):
    np.testing.assert_array_equal(covarep.extract(vowel, RATE_HZ).values, found.values)
    other = covarep.extract(vowel, RATE_HZ, seed=1).values
    away = np.abs(other - found.values)
    assert away[20:-20, DRAWN].max() > 0
    assert turned(other, found.values)[:, : DRAWN.start].max() < 1e-9


def test_a_louder_recording_differs_in_its_level_alone(found, vowel):
    louder = covarep.extract(4 * vowel, RATE_HZ)
    change = louder.values - found.values
    rows = found.defined[:, 11]
    np.testing.assert_allclose(change[rows, NAMED["MCEP_0"]], np.log(4), atol=0.05)
    assert np.abs(change[rows, MCEP.start + 1 : MCEP.stop]).max() < 0.05  # the step of its iteration knows the level
    assert np.delete(turned(louder.values, found.values)[:, : DRAWN.start], MCEP, axis=1).max() < 1e-6
    np.testing.assert_array_equal(louder.defined, found.defined)


def test_a_recording_upside_down_is_the_same(found, vowel):
    assert turned(covarep.extract(-vowel, RATE_HZ).values, found.values).max() < 1e-9


def test_local_columns_move_with_the_recording(found, vowel):
    later = covarep.extract(vowel[160:], RATE_HZ).values
    for name in ("F0", "VUV", "peakSlope", "NAQ", "PSP", "MDQ"):
        np.testing.assert_allclose(later[20:-20, NAMED[name]], found.values[21:-20, NAMED[name]], atol=1e-6)


def test_only_the_first_channel_is_heard(found, vowel):
    stereo = np.stack([vowel, np.random.default_rng(0).normal(size=len(vowel))], axis=1)
    np.testing.assert_array_equal(covarep.extract(stereo, RATE_HZ).values, found.values)


def test_single_precision_is_enough_for_a_recording_of_16_bits(vowel):
    coarse = np.round(vowel * 32768) / 32768
    np.testing.assert_array_equal(
        covarep.extract(coarse.astype(np.float32), RATE_HZ).values, covarep.extract(coarse, RATE_HZ).values
    )


def test_higher_rates_are_brought_down_first(found, vowel):
    higher = covarep.extract(signal.resample_poly(vowel, 441, 160), 44_100)
    assert higher.values.shape == found.values.shape
    middle = slice(20, -20)
    assert np.abs(higher.values[middle, 0] - found.values[middle, 0]).max() <= 1
    assert np.abs(higher.values[middle, MCEP.start + 1] - found.values[middle, MCEP.start + 1]).mean() < 0.3


def test_a_telephone_has_no_upper_band_and_says_so(found, vowel):
    narrow = covarep.extract(signal.resample_poly(vowel, 1, 2), 8000)
    assert np.isfinite(narrow.values).all()
    assert not narrow.defined[:, covarep.FULL_BAND].any()
    middle = slice(20, -20)
    assert narrow.defined[middle, :7].all()
    assert np.abs(narrow.values[middle, 0] - found.values[middle, 0]).max() <= 2


T = np.arange(12_000) / RATE_HZ
RNG = np.random.default_rng(0)
AWKWARD = {
    "clipped": lambda x: np.clip(x * 20, -1, 1),
    "off zero": lambda x: x + 0.5,
    "whispered": lambda x: RNG.normal(size=12_000),
    "a tone": lambda x: np.sin(2 * np.pi * 200 * T),
    "a low hum": lambda x: np.sin(2 * np.pi * 50 * T),
    "a whistle": lambda x: np.sin(2 * np.pi * 3000 * T),
    "the highest tone": lambda x: np.where(np.arange(12_000) % 2, 1.0, -1.0),
    "a square wave": lambda x: np.sign(np.sin(2 * np.pi * 110 * T)),
    "a slope": lambda x: T,
    "one click": lambda x: np.eye(1, 12_000, 6000)[0],
    "in eight steps": lambda x: np.round(x * 4) / 4,
    "very quiet": lambda x: x * 1e-30,
    "very loud": lambda x: x * 1e30,
    "upside down": lambda x: -x,
    "clipped above alone": lambda x: np.minimum(x * 20, 0.2),
    "silent but for one bit": lambda x: np.where(T > 0.6, 2.0**-15, 0.0),
    "silent, then a voice": lambda x: np.where(T < 0.4, 0, x),
    "with a hole": lambda x: np.where((T > 0.3) & (T < 0.5), 0, x),
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_signals_give_numbers_and_no_warnings(kind, vowel):
    """Warnings are errors in these tests."""
    found = covarep.extract(AWKWARD[kind](vowel[:12_000]), RATE_HZ)
    assert found.values.shape == (75, 74)
    unknown = ~np.isfinite(found.values)
    assert not np.delete(unknown, NAMED["peakSlope"], axis=1).any()
    assert np.isneginf(found.values[unknown]).all()
    assert not found.defined[unknown].any()
    assert not found.defined[:, NAMED["creak"]].any()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_says_nothing(value):
    found = covarep.extract(np.full(16_000, value), RATE_HZ)
    assert not found.values.any()
    assert not found.defined.any()


def test_without_a_voice_there_is_no_source():
    found = covarep.extract(np.random.default_rng(0).normal(size=16_000), RATE_HZ)
    source = slice(NAMED["NAQ"], NAMED["MDQ"] + 1)
    assert found.defined[:, source].mean() < 0.2
    assert not found.values[~found.defined[:, 2], 2].any()


def test_digital_silence_is_marked(vowel):
    found = covarep.extract(np.concatenate([vowel[:9600], np.zeros(8000), vowel[9600:]]), RATE_HZ)
    silent = slice(70, 100)
    assert (found.values[silent, 0] == 1).all()
    assert not found.defined[silent, np.r_[0, 7:74]].any()
    assert found.defined[20:45, np.r_[:10, 11:74]].all()


@pytest.mark.parametrize("samples", [0, 1, 79, 80, 239, 240, 401, 640, 1598, 1600, 3200, 4800, 8000, 13_280])
def test_short_recordings_have_what_is_defined(samples, vowel):
    """The original fails below 0.83 s; ours has pitch from 0.1 s on and phase distortion from 0.35 s on."""
    found = covarep.extract(vowel[4000 : 4000 + samples], RATE_HZ)
    assert found.values.shape == (max(0, (samples - 80) // 160 + 1), 74)
    assert np.isfinite(found.values).all()
    assert not found.values[:, 36:][~found.defined[:, 36:]].any()
    assert found.defined[:, 0].any() == (samples > 1600)
    assert found.defined[:, NAMED["peakSlope"]].any() == (samples > 640)
    assert found.defined[:, 40].any() == (samples >= 8000)


def test_what_is_no_recording_is_refused(vowel):
    spoiled = vowel.copy()
    spoiled[[5, 70]] = np.nan
    for samples, rate_hz, why in (
        (spoiled, RATE_HZ, "not finite. Found 2 of"),
        ((vowel * 32768).astype(np.int16), RATE_HZ, "of int16.*32768"),
        (np.zeros((2, 3, 4)), RATE_HZ, r"shape \(2, 3, 4\)"),
        (np.zeros((0, 0)), RATE_HZ, "not a recording"),
        (vowel, 0, "not a rate of speech"),
        (vowel, float("nan"), "not a rate of speech"),
    ):
        with pytest.raises(InputError, match=why):
            covarep.extract(samples, rate_hz)


def test_the_samples_are_not_touched(vowel):
    before = vowel[:8000].copy()
    covarep.extract(before, RATE_HZ)
    np.testing.assert_array_equal(before, vowel[:8000])


def test_the_track_is_the_columns_on_a_clock(found, vowel):
    assert covarep.WHOLE
    made = covarep.make(Track(vowel.astype(np.float32), RATE_HZ), covarep.Config())
    assert (made.rate_hz, made.offset_s, made.values.dtype) == (100.0, found.times_s[0], np.float32)
    np.testing.assert_allclose(made.values[:, :36], found.values[:, :36], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(made.times, found.times_s)


def test_the_users_network_fills_creak(vowel, tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"minimum": 36, "maximum": 36, "hidden_weights": (32, 36), "hidden_bias": 32, "output_weights": 32}
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()} | {"output_bias": np.zeros(())}
    arrays["maximum"] = arrays["minimum"] + 50
    np.savez(tmp_path / "mine.npz", **arrays)
    made = covarep.make(Track(vowel, RATE_HZ), covarep.Config(creak=str(tmp_path / "mine.npz")))
    column = made.values[:, NAMED["creak"]]
    assert column[0] == 0
    position, probability = creak.creak(vowel, creak.Network.load(tmp_path / "mine.npz"))
    assert position[0] == 160
    assert ((column[1:-1] > 0) & (column[1:-1] < 1)).all()
    assert abs(column.mean() - probability.mean()) < 0.05
    with pytest.raises(InputError, match="no creak network"):
        covarep.make(Track(vowel, RATE_HZ), covarep.Config(creak=str(tmp_path / "gone.npz")))


@pytest.mark.data
@pytest.mark.parametrize("name", ["lj001_0002", "edge/short_0p90s"])
def test_the_columns_are_the_originals(name):
    """Two recordings in seconds; bench/covarep_parity.py has them all and prints the table."""
    truth = reference.load(name)
    found = covarep.extract(truth.samples, RATE_HZ)
    np.testing.assert_allclose(found.times_s, truth.time, atol=1e-12)
    away = turned(found.values, truth.features)
    assert away[:, :2].max() == 0
    assert away[:, 2:8].max() < 1e-6
    assert away[:, 8].max() < 5e-3
    assert away[:, 9].max() < 1e-4
    assert (away[:, MCEP].max(axis=1) < 1e-6).mean() > 0.999
    assert away[:, 36:60].max() < 1e-6
    assert np.percentile(away[20:-20, 61:], 99) < 1e-2
