"""The generated corpus keeps its promises: what was planted is there, and nothing else is."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sottovoce.corpora import synthetic
from sottovoce.data.corpus import EMOTIONS
from sottovoce.data.voice import RATE_HZ, Controls, formant_response, pulse_train, synthesise
from sottovoce.errors import InputError

SMALL = {"speakers": 4, "per_speaker": 5, "seconds": (0.5, 0.8)}


def vowel(frames: int = 100, f0_hz: float = 120.0) -> Controls:
    """A steady vowel, clean and regular."""
    one = np.ones(frames)
    return Controls(
        f0_hz=f0_hz * one,
        voicing=0.1 * one,
        breath=0.0005 * one,
        hiss=0 * one,
        hiss_hz=4000 * one,
        formants_hz=np.tile([730.0, 1090, 2440, 3500, 4500, 5500], (frames, 1)),
        bandwidths_hz=synthetic.BANDWIDTHS_HZ,
        tilt_hz=3000 * one,
        jitter=0.003 * one,
        shimmer=0.02 * one,
    )


def pitch_hz(wave: np.ndarray, low: float = 60.0, high: float = 600.0) -> float:
    """The first peak of the autocorrelation that comes near the highest."""
    wave = wave - wave.mean()
    size = 2 * len(wave)
    power = np.fft.irfft(np.abs(np.fft.rfft(wave, size)) ** 2)[: len(wave)] / np.arange(len(wave), 0, -1)
    lags = np.arange(int(RATE_HZ / high), int(RATE_HZ / low))
    here = power[lags]
    peaks = np.flatnonzero((here[1:-1] >= here[:-2]) & (here[1:-1] > here[2:])) + 1
    best = next(k for k in peaks if here[k] > 0.85 * here[peaks].max())
    a, b, c = here[best - 1 : best + 2]
    return RATE_HZ / (lags[best] + 0.5 * (a - c) / (a - 2 * b + c))


def level_db(wave: np.ndarray) -> np.ndarray:
    """(N,) -> (N / 160,) dB of the 10 ms around every frame of a 100 Hz clock."""
    padded = np.pad(wave, 80)[: len(wave)].reshape(-1, 160)
    return 10 * np.log10((padded**2).mean(1) + 1e-12)


def log_mel_statistics(wave: np.ndarray, bands: int = 40) -> np.ndarray:
    """(2 * bands,) mean and deviation over time of a log-mel spectrogram, 25 ms windows every 10 ms."""
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges, bins = np.linspace(mel(20), mel(7600), bands + 2), mel(np.arange(257) * RATE_HZ / 512)
    rise, fall = bins[:, None] - edges[:-2], edges[2:] - bins[:, None]
    bank = np.maximum(0, np.minimum(rise, fall)) / (edges[1] - edges[0])
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160] * np.hanning(400)
    log = np.log(np.abs(np.fft.rfft(frames, 512)) ** 2 @ bank + 1e-10)
    return np.concatenate([log.mean(0), log.std(0)])


def score(**options) -> float:
    """UA of logistic regression on log-mel statistics: the last third of the speakers after the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = [(log_mel_statistics(w.values), u.labels["emotion"], u.speaker) for u, w, _ in synthetic.generate(**options)]
    x, y, who = map(np.array, zip(*rows, strict=True))
    names = sorted(set(who))
    test = np.isin(who, names[-(len(names) // 3) :])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=500)).fit(x[~test], y[~test])
    return float(balanced_accuracy_score(y[test], model.predict(x[test])))


# the voice


@pytest.mark.parametrize("f0_hz", [90.0, 123.4, 260.0, 430.0])
def test_planted_pitch_is_recovered(f0_hz):
    wave = synthesise(vowel(f0_hz=f0_hz), np.random.default_rng(0)).values
    assert pitch_hz(wave[1600:-1600]) == pytest.approx(f0_hz, rel=0.03)


def test_rising_pitch_is_recovered_at_every_moment():
    glide = replace(vowel(200), f0_hz=np.linspace(100, 200, 200))
    wave = synthesise(glide, np.random.default_rng(0)).values
    for frame in (30, 80, 120, 170):
        found = pitch_hz(wave[frame * 160 - 320 : frame * 160 + 320])
        assert found == pytest.approx(glide.f0_hz[frame], rel=0.03)


@pytest.mark.parametrize(("jitter", "shimmer"), [(0.01, 0.05), (0.03, 0.15)])
def test_jitter_and_shimmer_are_what_praat_would_measure(jitter, shimmer):
    samples = 60 * RATE_HZ
    cycles = np.arange(samples) * (80 / RATE_HZ) + 0.5
    train = pulse_train(cycles, np.full(samples, jitter), np.full(samples, shimmer), np.random.default_rng(0))
    per_cycle = train.reshape(-1, 200).astype(float)  # one impulse each
    size = per_cycle.sum(1)
    onset = (per_cycle**2 @ np.arange(200)) / (per_cycle**2).sum(1) + 200 * np.arange(len(size))
    period = np.diff(onset)
    assert np.abs(np.diff(period)).mean() / period.mean() == pytest.approx(jitter, rel=0.06)
    assert np.abs(np.diff(size)).mean() / size.mean() == pytest.approx(shimmer, rel=0.06)


def test_power_of_the_pulses_does_not_depend_on_pitch():
    level = []
    for f0_hz in (80, 200, 500):
        cycles = np.arange(4 * RATE_HZ) * (f0_hz / RATE_HZ)
        still = np.zeros(len(cycles))
        level.append((pulse_train(cycles, still, still, np.random.default_rng(0)) ** 2).mean())
    np.testing.assert_allclose(level, 1.0, rtol=0.06)  # the sinc is cut at 32 samples


def test_formant_response_is_a_cascade_of_resonators():
    from scipy.signal import freqz

    formants, bandwidths = np.array([500.0, 1500, 2500]), np.array([60.0, 90, 120])
    expected = np.ones(513, complex)
    for f, width in zip(formants, bandwidths, strict=True):
        pole = np.exp(np.pi * (-width + 2j * f) / RATE_HZ)
        below = np.poly([pole, pole.conj()]).real
        expected *= freqz(below.sum(), below, 513, include_nyquist=True)[1]
    found = formant_response(formants[None], bandwidths)[0]
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_a_step_in_the_controls_is_heard_at_its_time():
    step = replace(vowel(), voicing=np.where(np.arange(100) < 50, 0.001, 0.1))
    level = level_db(synthesise(step, np.random.default_rng(0)).values)
    assert level[:49].max() < -40
    assert level[51:].min() > -30


def test_controls_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="voicing has shape"):
        replace(vowel(100), voicing=np.ones(99))


# the corpus


def test_same_seed_gives_the_same_bytes(tmp_path):
    def digests(folder: Path) -> dict[str, str]:
        found = sorted(p for p in folder.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}

    first, again, other = (synthetic.write(tmp_path / str(k), **SMALL, seed=k // 2) for k in range(3))
    sounds = [{v for name, v in digests(folder).items() if name.endswith("flac")} for folder in (first, other)]
    assert digests(first) == digests(again)
    assert not sounds[0] & sounds[1]
    assert len(digests(first)) == 2 * 20 + 1


def test_utterance_does_not_depend_on_how_many_there_are():
    few = list(synthetic.generate(speakers=2, per_speaker=7, seconds=(0.5, 0.6), shuffle_labels=True))
    many = list(synthetic.generate(speakers=3, per_speaker=9, seconds=(0.5, 0.6), shuffle_labels=True))
    by_id = {u.id: (u, wave) for u, wave, _ in many}
    for u, wave, _ in few:
        assert by_id[u.id][0] == u
        np.testing.assert_array_equal(by_id[u.id][1].values, wave.values)


def test_what_is_written_is_read_back_unchanged(tmp_path):
    import soundfile

    made = list(synthetic.generate(**SMALL, unlabelled_speakers=1))
    read = synthetic.utterances(synthetic.write(tmp_path / "corpus", **SMALL, unlabelled_speakers=1))
    assert read == [u for u, _, _ in made]
    for u, wave, intensity in made[::6]:
        values, rate_hz = soundfile.read(tmp_path / "corpus" / u.path, dtype="float32")
        assert rate_hz == wave.rate_hz
        np.testing.assert_array_equal(values, wave.values)
        np.testing.assert_array_equal(synthetic.read_intensity(tmp_path / "corpus", u).values, intensity.values)


def test_labels_are_in_range_and_every_block_holds_every_emotion():
    made = list(synthetic.generate(speakers=2, per_speaker=16, emotions=8, seconds=(0.5, 0.6)))
    for u, _, intensity in made:
        assert set(u.labels) == {"emotion", *synthetic.RANGES}
        assert u.labels["intensity"] == pytest.approx(intensity.values.mean(), abs=1e-4)
        for label, (low, high) in synthetic.RANGES.items():
            assert low <= u.labels[label] <= high
        assert (u.labels["emotion"] == "neutral") == (u.labels["intensity"] == 0)
    emotions = [u.labels["emotion"] for u, _, _ in made]
    for block in range(0, 32, 8):
        assert sorted(emotions[block : block + 8]) == sorted(synthetic.CLASSES["emotion"])
    assert set(emotions) <= set(EMOTIONS)
    for label in synthetic.MOSEI:
        assert len({u.labels[label] for u, _, _ in made}) > 2


def test_intensity_keeps_the_clock_of_the_sound():
    for u, wave, intensity in synthetic.generate(**SMALL):
        assert len(wave) == 160 * len(intensity)
        assert intensity.duration_s == wave.duration_s
        on_samples = intensity.align(wave)
        np.testing.assert_array_equal(on_samples.values[::160], intensity.values)
        if u.labels["emotion"] != "neutral":
            rising = np.diff(intensity.values)
            assert rising.argmin() / len(rising) > 0.2  # it rises first, and falls then
            assert (np.diff(np.sign(rising[rising != 0])) != 0).sum() == 1


def test_anger_is_louder_where_it_is_stronger():
    strong, weak = [], []
    for u, wave, intensity in synthetic.generate(speakers=6, per_speaker=5, difficulty=0.0, seconds=(1.5, 2.0)):
        if u.labels["emotion"] == "angry":
            level = level_db(wave.values)
            heard = level > -45
            strong.append(level[heard & (intensity.values > 0.8 * intensity.values.max())].mean())
            weak.append(level[heard & (intensity.values < 0.6 * intensity.values.max())].mean())
    assert np.mean(np.array(strong) - weak) > 3
    assert (np.array(strong) > weak).all()


def test_fear_is_higher_than_sadness_and_women_than_men():
    pitch: dict[str, list[float]] = {}
    for u, wave, _ in synthetic.generate(speakers=6, per_speaker=5, difficulty=0.2, seconds=(1.0, 1.2)):
        level = level_db(wave.values)
        at = np.convolve(10 ** (level / 10), np.ones(9), mode="same")[5:-5].argmax() + 5  # loudest 90 ms
        found = pitch_hz(wave.values[max(at * 160 - 800, 0) : at * 160 + 800])
        for key in (u.labels["emotion"], u.gender):
            pitch.setdefault(key, []).append(found)
    middle = {key: np.median(values) for key, values in pitch.items()}
    assert middle["fear"] > 1.3 * middle["sad"]
    assert middle["female"] > 1.2 * middle["male"]


def test_difficulty_goes_from_trivial_to_chance():
    size = {"speakers": 9, "per_speaker": 10, "seconds": (0.8, 1.2)}
    easy, middle, hopeless = (score(**size, difficulty=d) for d in (0.0, 0.5, 1.0))
    assert easy > 0.8
    assert easy > middle + 0.1
    assert middle > hopeless + 0.1
    assert hopeless < 0.2 + 3 * np.sqrt(0.2 * 0.8 / 30)


def test_at_the_highest_difficulty_an_emotion_does_nothing():
    five, two = (
        list(synthetic.generate(speakers=1, per_speaker=4, emotions=n, difficulty=1.0, seconds=(0.5, 0.6)))
        for n in (5, 2)
    )
    assert [u.labels["emotion"] for u, _, _ in five] != [u.labels["emotion"] for u, _, _ in two]
    for (_, a, _), (_, b, _) in zip(five, two, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_shuffled_labels_give_chance():
    size = {"speakers": 6, "per_speaker": 10, "seconds": (0.5, 0.6), "difficulty": 0.0, "shuffle_labels": True}
    scores = np.array([score(**size, seed=seed) for seed in range(12)])
    # whole corpora are the independent units: utterances of one share voices and a model
    error = scores.std(ddof=1) / np.sqrt(len(scores))
    assert abs(scores.mean() - 0.2) < 3 * error
    assert error < 0.04


def test_shuffling_moves_labels_and_leaves_the_sound():
    plain = list(synthetic.generate(**SMALL))
    moved = list(synthetic.generate(**SMALL, shuffle_labels=True))
    for start in range(0, 20, 5):
        before, after = ([str(u.labels) for u, _, _ in some[start : start + 5]] for some in (plain, moved))
        assert sorted(before) == sorted(after)
    assert any(a.labels != b.labels for (a, _, _), (b, _, _) in zip(plain, moved, strict=True))
    for (_, a, _), (_, b, _) in zip(plain, moved, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize("speakers", [3, 4, 12])
def test_folds_share_no_speaker_and_leave_out_the_unlabelled(speakers):
    parts = [(u, u.speaker) for u, _, _ in synthetic.generate(
        speakers=speakers, per_speaker=1, seconds=(0.4, 0.4), unlabelled_speakers=2
    )]  # fmt: skip
    who = {u.id: name for u, name in parts}
    folds = synthetic.folds([u for u, _ in parts])
    for fold in folds:
        sides = [{who[name] for name in side} for side in (fold.train, fold.dev, fold.test)]
        assert all(sides)
        assert not sides[0] & sides[1]
        assert not sides[2] & (sides[0] | sides[1])
        assert set.union(*sides) == {name for name in who.values() if name.startswith("spk")}
    assert sorted(name for fold in folds for name in fold.test) == sorted(u.id for u, _ in parts if u.labels)


def test_a_corpus_without_labels_has_no_folds():
    made = [u for u, _, _ in synthetic.generate(speakers=0, unlabelled_speakers=2, per_speaker=1, seconds=(0.4, 0.4))]
    assert [u.id for u in made] == ["ext01_000", "ext02_000"]
    assert not any(u.labels for u in made)
    assert synthetic.folds(made) == []


# bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": 1.5}, "difficulty = 1.5"),
        ({"emotions": 9}, "emotions = 9"),
        ({"speakers": 0}, "no speaker"),
        ({"seconds": (2.0, 1.0)}, "seconds = 2.0..1.0"),
        ({"seed": -1}, "a negative number"),
        ({"dificulty": 0.5}, "Did you mean 'difficulty'"),
    ],
)
def test_impossible_options_are_named_before_anything_is_made(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        synthetic.generate(**options)
    with pytest.raises(InputError, match=message):
        synthetic.write(tmp_path / "corpus", **options)
    assert not (tmp_path / "corpus").exists()


def test_other_files_are_never_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="Found other things there"):
        synthetic.generate_into(tmp_path, **SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_generating_twice_is_one_corpus_and_other_options_are_refused(tmp_path):
    options = {"speakers": 1, "per_speaker": 2, "seconds": (0.4, 0.5)}
    synthetic.generate_into(tmp_path / "corpus", **options)
    written = (tmp_path / "corpus" / synthetic.HEAD).stat().st_mtime_ns
    synthetic.generate_into(tmp_path / "corpus", **options)
    assert (tmp_path / "corpus" / synthetic.HEAD).stat().st_mtime_ns == written
    with pytest.raises(InputError, match=r"Found difficulty = 0.4, wanted 0.9"):
        synthetic.generate_into(tmp_path / "corpus", **options, difficulty=0.9)


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic.files, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthetic.write(tmp_path / "corpus", speakers=1, per_speaker=1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    (tmp_path / "corpus").mkdir()
    with pytest.raises(InputError, match="No space left on device"):
        synthetic.write(tmp_path / "corpus", speakers=1, per_speaker=1)
    assert list((tmp_path / "corpus").iterdir()) == []


def test_a_missing_file_and_a_missing_corpus_are_named(tmp_path):
    with pytest.raises(InputError, match="no synthetic corpus"):
        synthetic.utterances(tmp_path)
    root = synthetic.write(tmp_path / "corpus", speakers=1, per_speaker=2, seconds=(0.4, 0.5))
    gone = synthetic.utterances(root)[1]
    (root / gone.path).unlink()
    with pytest.raises(InputError, match=gone.id):
        synthetic.utterances(root)
