"""Prediction: what was heard in evaluation is heard again in a file, whatever its rate, length and container."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sottovoce import load as sottovoce_load
from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.data import audio
from sottovoce.data.corpus import Corpus
from sottovoce.data.recordings import audio_files
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.inference import bulk, formats
from sottovoce.inference.recogniser import Recogniser, load
from sottovoce.inference.voter import steps_of
from sottovoce.metrics.temperature import Calibration, tempered

RATE = 16000


@pytest.fixture(scope="module")
def recogniser(finetuned):
    """One fold's model, whose test speakers are spk01 and spk02."""
    return load(finetuned / "fold1")


@pytest.fixture(scope="module")
def clips(corpus):
    """emotion -> recordings of fold1's test speakers."""
    data = Corpus.load(corpus)
    found: dict[str, list[Path]] = {}
    for k in data.fold("fold1").test:
        u = data.by_id[k]
        found.setdefault(str(u.labels["emotion"]), []).append(data.root / u.path)
    return found


def write(path, samples, rate=RATE, **kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **kind)
    return path


def said(clips, emotion, seconds):
    """Somebody saying one emotion for some seconds, recordings repeated."""
    wave = np.concatenate([audio.read(p).values for p in clips[emotion]])
    return np.resize(wave, round(seconds * RATE))


def rows_of(path):
    with open(path, newline="") as lines:
        return list(csv.DictReader(lines))


# ---------------------------------------------------------------------------------------------- the same answers


def test_a_recording_gets_the_answer_of_the_evaluation(evaluated, corpus):
    data = Corpus.load(corpus)
    table = {r["id"]: r for r in rows_of(evaluated / "predictions.csv")}
    ids = data.fold("fold2").test[:6]
    model = load(evaluated / "fold2")
    for k, found in zip(ids, model.predict([data.root / data.by_id[k].path for k in ids]), strict=True):
        for name, p in zip(found.names, found.answer, strict=True):
            assert float(table[k][f"p_{name}"]) == pytest.approx(p, abs=1e-4)
        assert found.label == table[k]["predicted"]


def test_three_lines_are_enough(finetuned, clips):
    found = sottovoce_load(finetuned)(str(clips["sad"][0]))
    assert found.label in found.names
    assert found.answer.sum() == pytest.approx(1, abs=1e-5)
    assert found.confidence == found.answer.max()


def test_several_folds_vote_with_their_mean_on_a_voice_of_none(finetuned, clips, tmp_path):
    path = write(tmp_path / "a.wav", said(clips, "angry", 1.1) * 0.9)
    models = [load(finetuned / f"fold{k}") for k in (1, 2, 3, 4)]
    heats = [m.calibration.temperature for m in models]
    plain = [tempered(m(path).answer, 1 / t) for m, t in zip(models, heats, strict=True)]
    wanted = tempered(np.mean(plain, axis=0), np.exp(np.mean(np.log(heats))))
    np.testing.assert_allclose(load(finetuned)(path).answer, wanted, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.2, 5.0])
def test_temperature_keeps_the_order_of_every_answer(finetuned, clips, tmp_path, temperature):
    long = write(tmp_path / "long.wav", np.concatenate([said(clips, "sad", 16), said(clips, "angry", 16)]))
    model, paths = load(finetuned), [clips["happy"][0], long]
    for part in model.models:
        part.calibration = Calibration()
    before = model.predict(paths)
    for part in model.models:
        part.calibration = Calibration(temperature, rows=9)
    for plain, found in zip(before, model.predict(paths), strict=True):
        assert plain.label == found.label
        assert (plain.answer.argsort() == found.answer.argsort()).all()
        there = plain.speech
        assert (plain.posteriors[there].argmax(1) == found.posteriors[there].argmax(1)).all()
        assert (plain.confidence < found.confidence) == (temperature < 1)


def test_below_the_confidence_asked_for_a_recording_is_unsure(finetuned, clips, sottovoce, tmp_path):
    path = clips["angry"][0]
    sure = load(finetuned)(path)
    found = load(finetuned)(path, abstain=sure.confidence + 1e-6)
    assert (found.label, found.unsure, sure.unsure) == ("unsure", True, False)
    assert f"unsure: {sure.label} has" in found.warnings[-1]
    assert load(finetuned)(path, abstain=0.1).abstain == 0.1
    np.testing.assert_array_equal(found.answer, sure.answer)
    done = sottovoce("predict", finetuned, path, "--abstain", "1", "-o", tmp_path / "out.csv")
    assert done.code == 0
    assert rows_of(tmp_path / "out.csv")[0]["label"] == "unsure"
    assert sottovoce("predict", finetuned, path, "--abstain", "auto").code == 0
    done = sottovoce("predict", finetuned, path, "--abstain", "often")
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_a_model_that_no_dev_part_has_judged_cannot_say_when_it_is_unsure(finetuned, clips):
    model = load(finetuned / "fold1")
    model.models[0].calibration = Calibration()
    with pytest.raises(InputError, match="needs a calibrated model"):
        model(clips["sad"][0], abstain=None)


def test_files_do_not_influence_each_other(recogniser, clips):
    paths = [clips[e][0] for e in ("sad", "happy", "fear")]
    together = recogniser.predict(paths)
    for path, found in zip(paths, together, strict=True):
        np.testing.assert_allclose(recogniser.predict([path])[0].answer, found.answer, atol=1e-5)


def test_numbers_are_predicted_in_their_range(corpus, pretrained, clips, sottovoce, tmp_path):
    run = tmp_path / "ft"
    finetune_command.main(
        corpus, run, init=str(pretrained), target="valence,arousal", mode="frozen", quiet=True, jobs=1
    )
    done = sottovoce("predict", run, clips["angry"][0], clips["sad"][0], "--timeline", "-o", tmp_path / "out.csv")
    assert done.code == 0
    angry, sad = rows_of(tmp_path / "out.csv")
    assert float(angry["arousal"]) > float(sad["arousal"])
    assert all(-1 <= float(r[name]) <= 1 for r in (angry, sad) for name in ("valence", "arousal"))
    assert "label" not in angry
    assert "arousal" in done.out


# ---------------------------------------------------------------------------------------------- what it accepts


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("a.flac", 16000, 1), ("b.wav", 8000, 1), ("c.wav", 48000, 2), ("d.ogg", 44100, 1), ("e.wav", 16000, 8)],
)
def test_rates_channels_and_containers_are_all_heard(recogniser, clips, tmp_path, name, rate, channels):
    wave = audio.read(clips["sad"][0], rate_hz=rate).values
    path = write(tmp_path / name, np.repeat(wave[:, None], channels, axis=1), rate)
    (found,) = recogniser.predict([path])
    assert found.duration_s == pytest.approx(len(wave) / rate)
    assert np.isfinite(found.answer).all()
    if rate >= 16000 and not name.endswith(".ogg"):
        np.testing.assert_allclose(found.answer, recogniser.predict([clips["sad"][0]])[0].answer, atol=0.1)


def test_a_twentieth_of_a_second_is_answered_with_a_warning(recogniser, sottovoce, finetuned, tmp_path):
    path = write(tmp_path / "short.wav", 0.1 * np.random.default_rng(0).standard_normal(800))
    found = recogniser(path)
    assert np.isfinite(found.answer).all()
    assert "0.05 s: under a second" in found.warnings[0]
    assert len(found.times_s) == 1
    assert found.segments[0]["end"] == pytest.approx(0.05)
    done = sottovoce("predict", finetuned / "fold1", path)
    assert done.code == 0
    assert "take the answer with care" in done.err


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("zeros", np.zeros(RATE)),
        ("two channels", np.zeros((RATE, 2))),
        ("offset", np.full(RATE, 0.25)),
        ("dither", np.random.default_rng(0).integers(-1, 2, 2 * RATE) / 32768),
        ("short", np.zeros(700)),
        ("long", np.zeros(31 * RATE)),
    ],
)
def test_silence_has_no_answer(recogniser, tmp_path, name, samples):
    (found,) = recogniser.predict([write(tmp_path / f"{name}.wav", samples)])
    assert found.silent
    assert found.label == ""
    assert np.isnan(found.answer).all()
    assert "silence: nothing louder than -70 dB" in found.warnings[-1]
    assert found.segments == []
    assert not found.timeline.speech.any()


def test_tables_and_pages_say_that_there_was_silence(sottovoce, finetuned, clips, tmp_path):
    silence = write(tmp_path / "silence.wav", np.zeros(RATE))
    words = ["predict", finetuned / "fold1", silence, clips["sad"][0]]
    done = sottovoce(*words, "--timeline", "-o", tmp_path / "out.csv")
    assert done.code == 0
    assert f"{silence}: silence" in done.err
    mute, heard = rows_of(tmp_path / "out.csv")
    assert mute["label"] == ""
    assert mute["confidence"] == mute["p_sad"] == ""
    assert "nothing louder than -70 dB" in mute["note"]
    assert heard["label"]
    assert "silence" not in heard["note"]
    assert "nothing louder than -70 dB" in (tmp_path / "out" / "silence.html").read_text()
    assert sottovoce(*words, "-o", tmp_path / "out.json").code == 0
    mute = json.loads((tmp_path / "out.json").read_text())[0]
    assert (mute["label"], mute["confidence"], mute["segments"]) == ("", None, [])
    assert "silence" in mute["note"]


def test_a_quiet_voice_is_no_silence(recogniser, clips, tmp_path):
    wave = audio.read(clips["sad"][0]).values
    (found,) = recogniser.predict([write(tmp_path / "a.wav", wave * 0.002 / np.abs(wave).max(), subtype="FLOAT")])
    assert found.label
    assert not found.silent


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda x: np.stack([x, -x], 1), "channels cancel"),
        (lambda x: np.stack([x, 0 * x], 1), ""),
        (lambda x: 32768.0 * x, "divided by 32768"),
        (lambda x: np.stack([x, x], 1) * 2.0**31, "divided by 2147483648"),
    ],
)
def test_odd_channels_and_units_get_the_answer_of_the_recording_and_a_note(recogniser, clips, tmp_path, change, note):
    wave = audio.read(clips["angry"][0]).values
    (plain,) = recogniser.predict([write(tmp_path / "plain.wav", wave, subtype="DOUBLE")])
    (found,) = recogniser.predict([write(tmp_path / "odd.wav", change(wave.astype(float)), subtype="DOUBLE")])
    np.testing.assert_allclose(found.answer, plain.answer, atol=1e-3)
    assert note in found.row()["note"]
    assert len(found.warnings) == len(plain.warnings) + bool(note)


def test_folders_are_searched_in_name_order(clips, tmp_path):
    for name in ("b/2.wav", "a/1.flac", "b/.hidden.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = list(audio_files([tmp_path, tmp_path / "notes.txt"]))
    assert found == [tmp_path / "a/1.flac", tmp_path / "b/2.wav", tmp_path / "notes.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no audio files. Looked for .3g2"):
        list(audio_files([tmp_path / "empty"]))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda p: p, "no such file"),
        (lambda p: p.write_text("hello, this is no sound") and p, "not an audio file"),
        (lambda p: p.write_bytes(b"") or p, "empty|no samples|0 bytes|zero"),
        (lambda p: write(p, np.full(RATE, np.nan, np.float32), subtype="FLOAT"), "NaN"),
    ],
)
def test_what_cannot_be_heard_is_one_line_and_writes_nothing(sottovoce, finetuned, tmp_path, make, what):
    import re

    path = make(tmp_path / "clip.wav")
    line = sottovoce("predict", finetuned / "fold1", path, "--timeline", "-o", tmp_path / "out.csv").complaint
    assert line.startswith(str(path))
    assert re.search(what, line), line
    assert not list(tmp_path.glob("out*"))


def test_broken_files_are_skipped_by_name_only(sottovoce, finetuned, clips, tmp_path):
    folder = tmp_path / "mixed"
    write(folder / "good.wav", audio.read(clips["sad"][0]).values)
    (folder / "bad.wav").write_text("no sound")
    assert sottovoce("predict", finetuned / "fold1", folder).code == 2
    done = sottovoce("predict", finetuned / "fold1", folder, "--skip-broken", "-o", tmp_path / "out.csv")
    assert done.code == 3
    assert [Path(r["path"]).name for r in rows_of(tmp_path / "out.csv")] == ["good.wav"]
    assert f"skipped {folder / 'bad.wav'}" in done.err
    assert (tmp_path / "out.csv.broken.txt").read_text().startswith(str(folder / "bad.wav"))
    (folder / "good.wav").unlink()
    assert "nothing could be read" in sottovoce("predict", finetuned / "fold1", folder, "--skip-broken").complaint


# ---------------------------------------------------------------------------------------------- tables and pages


def test_tables_are_csv_or_json_and_hold_the_same(sottovoce, finetuned, clips, tmp_path):
    paths = [clips["sad"][0], clips["happy"][0]]
    for name in ("out.csv", "out.json"):
        done = sottovoce("predict", finetuned / "fold1", *paths, "--window", "0.5", "-o", tmp_path / name)
        assert done.code == 0
    table, objects = rows_of(tmp_path / "out.csv"), json.loads((tmp_path / "out.json").read_text())
    assert list(table[0]) == [
        *("path", "duration_s", "label", "confidence"),
        *("p_neutral", "p_happy", "p_sad", "p_angry", "p_fear", "intensity", "note"),
    ]
    for row, found in zip(table, objects, strict=True):
        assert row["label"] == found["label"]
        assert float(row["p_sad"]) == found["p_sad"]
    assert [r["path"] for r in table] == list(map(str, paths))
    assert all(row["label"] in done.out for row in table)
    line = sottovoce("predict", finetuned / "fold1", paths[0], "-o", tmp_path / "out.txt").complaint
    assert "Found .txt. Name a .csv or .json" in line


def test_a_timeline_is_a_table_a_picture_and_a_page(sottovoce, finetuned, clips, tmp_path, monkeypatch):
    words = ["--timeline", "--window", "0.4", "--hop", "0.2"]
    done = sottovoce("predict", finetuned / "fold1", clips["sad"][0], *words, "-o", tmp_path / "out.json")
    assert done.code == 0
    stem = clips["sad"][0].stem
    made = {p.name for p in (tmp_path / "out").iterdir()}
    assert made == {f"{stem}{s}" for s in (".csv", ".json", ".svg", ".png", ".html")}
    (found,) = json.loads((tmp_path / "out.json").read_text())
    rows = rows_of(tmp_path / "out" / f"{stem}.csv")
    whole = json.loads((tmp_path / "out" / f"{stem}.json").read_text())
    assert len(rows) == len(whole["timeline"]) == -(-found["duration_s"] // 0.2)
    assert whole["segments"] == found["segments"]
    assert stem in (tmp_path / "out" / f"{stem}.html").read_text()
    monkeypatch.chdir(tmp_path)
    assert sottovoce("predict", finetuned / "fold1", clips["sad"][0], *words).code == 0
    assert (tmp_path / "timeline" / f"{stem}.html").exists()


def test_recordings_of_one_name_have_timelines_of_their_own(sottovoce, finetuned, clips, tmp_path):
    wave = audio.read(clips["sad"][0]).values
    for name in ("a/x.wav", "b/x.wav", "b/v1.0.wav", "b/v1.1.wav"):
        write(tmp_path / "in" / name, wave)
    done = sottovoce("predict", finetuned / "fold1", tmp_path / "in", "--timeline", "-o", tmp_path / "out.csv")
    assert done.code == 0
    pages = sorted(p.name for p in (tmp_path / "out").glob("*.html"))
    assert pages == ["v1.0.html", "v1.1.html", "x-2.html", "x.html"]


@pytest.mark.parametrize(
    "names", [("a", "a.frames"), ("a.frames", "a"), ("a", "A"), ("a", "a.frames", "a.frames.frames", "b/a"), ("é", "É")]
)
def test_no_two_timelines_write_one_file(names):
    ends = [suffix for suffix, _ in formats.FORMATS.values()]
    files = [f"{n}{end}".casefold() for n in bulk.own_names([Path(f"{n}.wav") for n in names]) for end in ends]
    assert len(set(files)) == len(files)


# ---------------------------------------------------------------------------------------------- per speaker


@pytest.fixture(scope="module", params=["finetune.embedding_norm=speaker", "frontend.normalise=speaker"])
def personal(request, corpus, pretrained, tmp_path_factory):
    """A model that standardises by each speaker's own recordings, evaluated."""

    run = tmp_path_factory.mktemp("personal") / "ft"
    settings = ["finetune.embedding_norm=speaker", request.param]  # the second time with the features too
    finetune_command.main(corpus, run, init=str(pretrained), quiet=True, jobs=1, mode="frozen", settings=settings)
    evaluate_command.main(run, opensmile=False, quiet=True)
    return run


def test_a_speakers_recordings_together_get_the_answers_of_the_evaluation(personal, corpus):
    data = Corpus.load(corpus)
    table = {r["id"]: r for r in rows_of(personal / "predictions.csv")}
    own = [data.by_id[k] for k in data.fold("fold1").test if data.by_id[k].speaker == "spk01"]
    found = load(personal).predict([data.root / u.path for u in own])
    for u, answer in zip(own, found, strict=True):
        ours = dict(zip(answer.names, answer.answer, strict=True))
        assert all(float(table[u.id][f"p_{n}"]) == pytest.approx(p, abs=1e-3) for n, p in ours.items())


def test_a_single_recording_of_a_speaker_still_says_something(personal, clips):
    """Minus its own mean it would always be the same answer."""
    model = load(personal)
    sad, angry = (model.predict([clips[e][0]])[0] for e in ("sad", "angry"))
    assert np.abs(sad.answer - angry.answer).max() > 0.05
    assert "only recording of its speaker" in sad.warnings[0]


def test_a_folder_counts_as_one_speaker_and_the_command_says_so(personal, clips, sottovoce, tmp_path):
    for k, emotion in enumerate(("sad", "angry", "happy")):
        write(tmp_path / f"anna/{k}.wav", audio.read(clips[emotion][0]).values)
    (tmp_path / "anna/broken.wav").write_text("no sound")
    done = sottovoce("predict", personal, tmp_path / "anna", "--skip-broken", "-o", tmp_path / "out.csv")
    assert done.code == 3
    assert "one folder count as one speaker's" in done.out
    assert len(rows_of(tmp_path / "out.csv")) == 3  # the broken one takes no neighbour with it
    assert done.err.count("skipped") == 1


def test_a_speakers_statistics_are_made_once(personal, clips, monkeypatch):
    made = []
    plain = Recogniser.frames
    monkeypatch.setattr(Recogniser, "frames", lambda self, wave: made.append(1) or plain(self, wave))
    load(personal).predict([p for e in ("sad", "angry") for p in clips[e]])
    assert len(made) == 16  # eight recordings, for the statistics and for the answers


# ---------------------------------------------------------------------------------------------- models


def test_models_of_different_kinds_do_not_vote_together(finetuned, personal):
    mixed = [*load(finetuned / "fold1").models, *load(personal).models]
    with pytest.raises(InputError, match="another task, track or normalisation"):
        Recogniser(mixed)


def test_features_of_another_width_are_refused(recogniser):
    with pytest.raises(InputError, match=r"expects 40 features a frame. Found 7"):
        steps_of(recogniser.models[0], [np.zeros((20, 7), np.float32)])


def test_frames_are_those_of_the_track(recogniser):
    wave = Track(np.sin(np.arange(RATE) / 9).astype(np.float32), RATE)
    assert recogniser.frames(wave).values.shape[1] == 40


def test_one_path_is_one_recording_and_shows_itself_in_a_line(finetuned, clips):
    (found,) = sottovoce_load(finetuned / "fold1").predict(str(clips["angry"][0]))
    assert found.label in repr(found)
    assert len(repr(found)) < 120
    assert list(found.timeline.columns) == ["time_s", "speech", *found.names, "intensity"]
    assert len(found.timeline) == len(found.times_s)
    assert sum(found.probabilities.values()) == pytest.approx(1)
