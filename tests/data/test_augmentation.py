"""What happens to a recording on its way: each effect by a planted answer."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sottovoce.data import augmentation
from sottovoce.data.audio import RATE_HZ
from sottovoce.data.augmented import Augmented, way
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.memory import Memory
from sottovoce.data.resampling import resampled
from sottovoce.data.store import Head
from sottovoce.data.track import Track
from sottovoce.tracks import logmel


@pytest.fixture
def voice() -> np.ndarray:
    """Two seconds of a buzz of 150 Hz with its harmonics, a pause in the middle."""
    t = np.arange(2 * RATE_HZ) / RATE_HZ
    x = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 40)).astype(np.float32)
    x[RATE_HZ // 2 : RATE_HZ] = 0
    return 0.2 * x


def power_in(x: np.ndarray, low: float, high: float) -> float:
    hz = np.fft.rfftfreq(len(x), 1 / RATE_HZ)
    return float((np.abs(np.fft.rfft(x)) ** 2)[(hz >= low) & (hz < high)].sum())


def test_noise_lies_as_far_below_the_speech_or_the_recording_as_was_asked(voice: np.ndarray) -> None:
    noise = augmentation.coloured(len(voice), np.random.default_rng(0))
    speech = np.r_[voice[: RATE_HZ // 2], voice[RATE_HZ:]]
    for level, heard in ((augmentation.speech_power, speech), (augmentation.mean_power, voice)):
        added = augmentation.add(voice, noise, 10.0, level) - voice
        assert 10 * np.log10(np.mean(heard**2) / np.mean(added**2)) == pytest.approx(10.0, abs=0.2)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_power_of_coloured_noise_falls_with_frequency_as_its_exponent_says(exponent: float) -> None:
    x = augmentation.coloured(1 << 18, np.random.default_rng(1), exponent)
    octaves = [power_in(x, f, 2 * f) / f for f in (250, 500, 1000, 2000, 4000)]
    slope = np.polyfit(np.arange(5), np.log2(octaves), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


def test_a_telephone_line_passes_its_band_alone(voice: np.ndarray) -> None:
    heard = augmentation.telephone(voice, 300.0, 3400.0, mu_law=False)
    assert power_in(heard, 600, 3000) > 0.7 * power_in(voice, 600, 3000)
    assert power_in(heard, 4500, 8000) < 1e-3 * power_in(voice, 4500, 8000)
    assert power_in(heard, 100, 200) < 0.1 * power_in(voice, 100, 200)


@pytest.mark.parametrize("kind", ["mp3", "opus", "vorbis"])
def test_a_codec_keeps_time_and_most_of_the_wave(voice: np.ndarray, kind: str) -> None:
    heard = augmentation.codec(voice, kind)
    assert heard.shape == voice.shape
    assert np.corrcoef(heard, voice)[0, 1] > 0.95
    assert not np.array_equal(heard, voice)


def test_a_room_falls_silent_by_60_db_in_the_time_that_was_asked() -> None:
    click = np.zeros(RATE_HZ, dtype=np.float32)
    click[0] = 1
    heard = augmentation.room(click, np.random.default_rng(2), seconds=0.4, direct_db=0.0)
    early, late = (np.mean(heard[int(s * RATE_HZ) :][:800] ** 2) for s in (0.05, 0.25))
    assert 10 * np.log10(early / late) == pytest.approx(60 * 0.2 / 0.4, abs=2)
    assert np.sum(heard[1:] ** 2) == pytest.approx(1, rel=1e-3)  # echoes as loud as the voice


def test_gain_is_in_decibels_and_clips_at_full_scale(voice: np.ndarray) -> None:
    assert np.allclose(augmentation.gain(voice, -20.0), voice / 10, atol=1e-6)
    assert np.abs(augmentation.gain(voice, 60.0)).max() == 1


def test_the_same_seed_hears_the_same_and_another_seed_something_else(voice: np.ndarray) -> None:
    first, again, other = (augmentation.random(voice, np.random.default_rng(s), lambda r: voice) for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == voice.shape


def test_every_second_copy_meets_voices_and_the_others_noise(voice: np.ndarray) -> None:
    asked = [0, 0]
    for copy in (0, 1):
        for seed in range(8):

            def other(_: np.random.Generator, copy: int = copy) -> np.ndarray:
                asked[copy] += 1
                return voice

            heard = augmentation.random(voice, np.random.default_rng(seed), other, way("channel", copy))
            assert not np.array_equal(heard, voice)
    assert asked[0] == 0
    assert asked[1] >= 8 * 3


@pytest.mark.parametrize("copy", range(4))
def test_copies_at_another_speed_are_as_long_as_they_say(tmp_path: Path, copy: int) -> None:
    """And are what a recording played at that speed is, of any length."""
    rng, counts, factor = np.random.default_rng(0), (1, 200, 399, 400, 560, 1599, 16_000, 40_123), way("speed", copy)
    assert isinstance(factor, float)
    waves = {f"u{n}": rng.uniform(-0.5, 0.5, n).astype(np.float32) for n in counts}
    for name, wave in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000, subtype="FLOAT")
    corpus = Corpus(tmp_path, "s", tmp_path, tuple(Utterance(n, "s", f"{n}.wav") for n in waves), (), {}, {}, {})
    made = {name: logmel.make(Track(wave, 16_000.0), logmel.Config()).values for name, wave in waves.items()}
    clean = Memory(made, Head("logmel", {}, 100.0, 0.0, 80))
    changed = Augmented(corpus, clean, logmel.make, logmel.Config(), copy, factor)
    for name, wave in waves.items():
        assert len(changed[name]) == changed.lengths[name]
        played = resampled(wave, 16_000 * factor, 16_000)
        wanted = logmel.make(Track(played, 16_000.0), logmel.Config()).values[: changed.lengths[name]]
        np.testing.assert_allclose(changed[name], wanted, atol=2e-3)
        assert abs(changed.lengths[name] - clean.lengths[name] / factor) < 3


@pytest.mark.parametrize("x", [np.zeros(1, np.float32), np.zeros(5000, np.float32), np.ones(3, np.float32)])
def test_silence_and_next_to_nothing_stay_finite_and_as_long(x: np.ndarray) -> None:
    everything = augmentation.Chances(room=1, noise=1, telephone=1, codec=1)
    for seed in range(6):
        heard = augmentation.random(x, np.random.default_rng(seed), lambda r: x, everything)
        assert heard.shape == x.shape
        assert np.isfinite(heard).all()
