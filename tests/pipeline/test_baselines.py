from dataclasses import replace

import numpy as np
import pytest
import soundfile
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.metrics.scores import scores
from sottovoce.metrics.statistics import intervals
from sottovoce.pipeline import baselines
from sottovoce.pipeline import functionals as measured
from sottovoce.pipeline.baselines import functionals_svm, trivial
from sottovoce.pipeline.functionals import by_opensmile as functionals
from sottovoce.pipeline.functionals import normalise_by_group

EMOTION = Task("class", ("emotion",), ("happy", "sad", "angry"))
INTENSITIES = Task("number", ("happy", "sad"), ranges=((0.0, 3.0),) * 2)
PITCH_HZ = {"happy": 400, "sad": 100, "angry": 200}


@pytest.fixture
def corpus(tmp_path):
    """Six speakers, three emotions, three takes: tones whose pitch is the emotion, louder from speaker to speaker."""
    rng = np.random.default_rng(0)
    utterances = []
    times = np.arange(16000) / 16000
    for s in range(6):
        for emotion, pitch in PITCH_HZ.items():
            for take in range(3):
                name = f"s{s}_{emotion}_{take}"
                wave = 0.02 * (1 + s) * np.sin(2 * np.pi * pitch * (1 + 0.05 * rng.normal()) * times)
                soundfile.write(tmp_path / f"{name}.wav", wave + 1e-3 * rng.normal(size=16000), 16000)
                labels = {"emotion": emotion, "arousal": pitch / 100}
                utterances.append(Utterance(name, "tones", f"{name}.wav", speaker=f"s{s}", labels=labels))
    ids = [u.id for u in utterances]
    fold = Fold("fold1", "speaker", tuple(ids[:36]), tuple(ids[36:45]), tuple(ids[45:]))
    kinds = {"emotion": "class", "arousal": "number"}
    classes = {"emotion": EMOTION.classes}
    return Corpus(tmp_path / "tones", "tones", tmp_path, tuple(utterances), (fold,), kinds, classes, {})


@pytest.fixture
def listened(monkeypatch):
    """In place of openSMILE: loudness and zero crossings, and a list of the files that were read."""
    read = []

    def vector(feature_set, place):
        read.append(place[0])
        wave, _ = soundfile.read(place[0], dtype="float32")
        return np.array([np.log(1e-6 + np.std(wave)), np.mean(np.diff(wave > 0)), 7.0], dtype=np.float32)

    monkeypatch.setattr(measured, "_vector", vector)
    monkeypatch.setattr(measured, "has_opensmile", lambda: True)
    return read


# ----------------------------------------------------------------------------------------------------- trivial


def test_trivial_classes_know_the_training_labels_only():
    train = np.array([1, 1, 1, 2, 2, 0])
    found = trivial(EMOTION, train, 4, seed=0)
    assert found["majority"].tolist() == [1, 1, 1, 1]
    assert {name: rows.shape for name, rows in found.items()} == dict.fromkeys(("majority", "chance", "uniform"), (4,))
    again = trivial(EMOTION, train, 4, seed=0)
    assert all((found[name] == again[name]).all() for name in found)


def test_chance_scores_are_what_probability_says():
    rng = np.random.default_rng(0)
    train = rng.choice(3, 500, p=[0.6, 0.3, 0.1])
    test = rng.choice(3, 400, p=[0.5, 0.3, 0.2])
    found = trivial(EMOTION, train, 400, seed=0, draws=300)
    p, q = np.bincount(train) / 500, np.bincount(test) / 400

    def mean(name, score):
        return np.mean([scores(EMOTION, test, drawn)[score] for drawn in found[name]])

    assert mean("chance", "wa") == pytest.approx(p @ q, abs=0.006)
    assert mean("uniform", "wa") == pytest.approx(1 / 3, abs=0.006)
    assert mean("chance", "ua") == pytest.approx(1 / 3, abs=0.006)
    assert scores(EMOTION, test, found["majority"])["ua"] == pytest.approx(1 / 3)
    speakers = np.repeat(np.arange(20), 20)
    assert intervals(EMOTION, test, found["chance"], speakers)["wa"]["value"] == pytest.approx(p @ q, abs=0.006)


def test_a_class_missing_in_training_is_never_drawn_by_chance():
    assert set(trivial(EMOTION, np.array([0, 2, 2]), 500, seed=0)["chance"]) == {0, 2}


def test_trivial_numbers_are_zero_median_and_mean():
    train = np.array([[0.0, 1.0], [0.0, 2.0], [3.0, 3.0], [1.0, 3.0]])
    found = trivial(INTENSITIES, train, 2, seed=0)
    assert found["zero"].tolist() == [[0, 0]] * 2
    assert found["train_median"].tolist() == [[0.5, 2.5]] * 2
    assert found["train_mean"].tolist() == [[1.0, 2.25]] * 2
    likert = Task("number", ("arousal",), ranges=((1.0, 5.0),))
    assert trivial(likert, np.array([[2.0], [4.0]]), 1, seed=0)["zero"].tolist() == [[1.0]]


def test_no_constant_has_a_smaller_mae_than_the_median():
    rng = np.random.default_rng(0)
    train = rng.exponential(0.5, (101, 1)).clip(0, 3)
    task = Task("number", ("happy",), ranges=((0.0, 3.0),))
    best = scores(task, train, trivial(task, train, 101, seed=0)["train_median"])["mae"]
    assert all(scores(task, train, np.full((101, 1), c))["mae"] >= best for c in np.linspace(0, 3, 61))


def test_no_training_rows_are_refused():
    with pytest.raises(ValueError, match="training labels"):
        trivial(EMOTION, np.empty(0, int), 3, seed=0)


# --------------------------------------------------------------------------------------------- functionals + SVM


def test_svm_finds_the_pitch_and_answers_for_the_test_rows(corpus, listened):
    (fold,) = corpus.folds
    target = EMOTION.values([corpus.by_id[i] for i in fold.test])
    predicted = functionals_svm(corpus, fold, EMOTION, jobs=1, quiet=True)
    assert predicted.tolist() == target.tolist()
    likert = Task("number", ("arousal",), ranges=((1.0, 4.0),))
    numbers = functionals_svm(corpus, fold, likert, jobs=1, quiet=True)
    assert numbers.shape == (9, 1)
    assert numbers.min() >= 1
    assert numbers.max() <= 4
    truth = likert.values([corpus.by_id[i] for i in fold.test])
    constant = trivial(likert, truth, 9, seed=0)["train_median"]
    assert scores(likert, truth, numbers)["mae"] < 0.5 * scores(likert, truth, constant)["mae"]


def test_svm_equals_a_scikit_learn_pipeline_with_the_strength_that_dev_prefers():
    rng = np.random.default_rng(0)
    y, y_dev = rng.integers(3, size=120), rng.integers(3, size=60)
    centres = rng.normal(size=(3, 10))
    x, dev, test = (centres[k] + 1.5 * rng.normal(size=(len(k), 10)) for k in (y, y_dev, rng.integers(3, size=50)))
    best = None
    for c in baselines.PENALTIES:
        model = make_pipeline(StandardScaler(), LinearSVC(C=c, dual=False, class_weight="balanced")).fit(x, y)
        ua = scores(EMOTION, y_dev, model.predict(dev))["ua"]
        if best is None or ua > best[0]:
            best = ua, model.predict(test)
    assert (baselines._svm(EMOTION, x, y, dev, y_dev, test) == best[1]).all()


def test_more_functionals_than_rows_change_nothing():
    rng = np.random.default_rng(0)
    y = np.arange(45) % 3
    centres = 0.3 * rng.normal(size=(3, 200))
    x, dev, test = (centres[k] + rng.normal(size=(len(k), 200)) for k in (y, y, rng.integers(3, size=300)))
    model = make_pipeline(StandardScaler(), LinearSVC(C=1e-3, class_weight="balanced")).fit(x, y)
    assert np.mean(baselines._svm(EMOTION, x, y, dev[:0], y[:0], test) == model.predict(test)) > 0.99


def test_constant_and_undefined_functionals_do_no_harm():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = np.stack([y + 0.1 * rng.normal(size=60), np.full(60, 0.1), np.where(y, np.nan, 1.0)], axis=1)
    test = x[:9].copy()
    test[:, 1] = 1e6  # a column that never varied in training is not blown up by its rounding error
    with np.errstate(all="raise"):
        predicted = baselines._svm(EMOTION, x, y, x[:0], y[:0], test - [0, 1e6, 0])
    assert np.mean(predicted == y[:9]) > 0.6


def test_functionals_are_shared_by_all_folders_prepared_of_the_same_recordings(corpus, listened, tmp_path):
    first = functionals(corpus, corpus.utterances, jobs=1, quiet=True)
    heard = len(listened)
    copy = replace(corpus, folder=corpus.folder.parent / "again")  # prepared anew, with other folds or names
    assert (functionals(copy, copy.utterances, jobs=1, quiet=True) == first).all()
    assert len(listened) == heard


def test_functionals_are_computed_once_and_again_when_the_audio_changes(corpus, listened):
    first = functionals(corpus, corpus.utterances, jobs=1, quiet=True)
    assert first.shape == (54, 3)
    assert len(listened) == 54
    assert (functionals(corpus, corpus.utterances[::-1], jobs=1, quiet=True) == first[::-1]).all()
    assert len(listened) == 54
    soundfile.write(corpus.root / "s0_sad_1.wav", np.zeros(16000) + 0.5, 16000)
    functionals(corpus, corpus.utterances, jobs=1, quiet=True)
    assert [p.rsplit("/", 1)[1] for p in listened[54:]] == ["s0_sad_1.wav"]
    part = replace(corpus.utterances[0], start=0.5)
    functionals(corpus, [part], jobs=1, quiet=True)
    assert len(listened) == 56


def test_an_interruption_keeps_what_was_done_and_a_damaged_cache_is_made_again(corpus, listened, monkeypatch):
    whole = measured._vector

    def stops(feature_set, place):
        if len(listened) == 20:
            raise KeyboardInterrupt
        return whole(feature_set, place)

    monkeypatch.setattr(measured, "_vector", stops)
    with pytest.raises(KeyboardInterrupt):
        functionals(corpus, corpus.utterances, jobs=1, quiet=True)
    monkeypatch.setattr(measured, "_vector", whole)
    functionals(corpus, corpus.utterances, jobs=1, quiet=True)
    assert len(listened) == 54
    path = corpus.folder / "functionals" / "eGeMAPSv02.npz"
    path.write_bytes(path.read_bytes()[:200])
    functionals(corpus, corpus.utterances, jobs=1, quiet=True)
    assert len(listened) == 108
    assert [p.name for p in path.parent.iterdir()] == ["eGeMAPSv02.npz"]


def test_every_speaker_is_normalised_alone():
    values = np.array([[1.0, 5.0], [3.0, 5.0], [100.0, 7.0], [300.0, np.nan]])
    assert normalise_by_group(values, ["a", "a", "b", "b"])[:3].tolist() == [[-1, 0], [1, 0], [-1, 0]]


def test_speaker_normalisation_takes_out_the_speakers_level(corpus, listened, monkeypatch):
    seen = {}
    monkeypatch.setattr(baselines, "_svm", lambda task, *parts: seen.setdefault("test", parts[-1])[:, 0])
    functionals_svm(corpus, corpus.folds[0], EMOTION, speaker_norm=True, jobs=1, quiet=True)
    assert abs(seen["test"][:, 0].mean()) < 1e-6  # test speaker s5, louder than all others


def test_what_the_baseline_cannot_do_is_said_in_one_line(corpus, listened, monkeypatch):
    (fold,) = corpus.folds
    encoded = replace(corpus.utterances[0], path="mosei.h5#12")
    only_sad = replace(fold, train=tuple(i for i in fold.train if "sad" in i))
    with pytest.raises(InputError, match="Two classes"):
        functionals_svm(corpus, only_sad, EMOTION, jobs=1, quiet=True)
    with pytest.raises(InputError, match="not audio"):
        functionals(corpus, [encoded])
    with pytest.raises(InputError, match="Did you mean 'eGeMAPSv02'"):
        functionals(corpus, corpus.utterances, "eGeMAPS")
    with pytest.raises(InputError, match="No such file"):
        functionals(corpus, [replace(corpus.utterances[0], path="gone.wav")])
    monkeypatch.setattr(measured, "has_opensmile", lambda: False)
    with pytest.raises(InputError, match=r"pip install 'sottovoce\[egemaps\]'"):
        functionals(corpus, corpus.utterances)


def test_opensmile_hears_the_pitch_too(corpus):
    pytest.importorskip("opensmile")
    few = [u for u in corpus.utterances if u.speaker in ("s0", "s1")]
    values = functionals(corpus, few, jobs=2, quiet=True)
    assert values.shape == (18, 88)
    pitch = values[:, 0]  # F0semitoneFrom27.5Hz_sma3nz_amean
    expected = [12 * np.log2(PITCH_HZ[u.labels["emotion"]] / 27.5) for u in few]
    assert np.abs(pitch - expected).max() < 3
