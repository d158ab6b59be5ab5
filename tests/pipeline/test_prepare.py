"""`sottovoce prepare`: what it writes, what it finds in recordings, and every kind of input it refuses."""

import csv
import dataclasses
import inspect
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import csd_layouts
import layouts
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from sottovoce import files, plugins
from sottovoce.corpora import _options
from sottovoce.data import own
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.pipeline import remarks
from sottovoce.pipeline.prepare import Asked, check_folds, prepare
from sottovoce.pipeline.scan import find_problems, look_at

DATA = os.environ.get("SOTTOVOCE_DATA")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Three classes, six speakers, in class folders."""
    return layouts.folder(tmp_path_factory.mktemp("mine") / "mine")


def run(*words):
    """Exit as the command line would: an InputError is exit code 2 and one line."""
    from sottovoce.cli import app

    return CliRunner().invoke(app, ["prepare", *map(str, words)], catch_exceptions=True)


def write(path, samples, rate_hz=16_000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, **options)


# -- what is written ----------------------------------------------------------------------------------------


def test_prepared_corpus_loads_with_its_labels_folds_and_report(tmp_path):
    root = layouts.emodb(tmp_path / "in")
    report = prepare("emodb", root, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("contents.csv", "corpus.json", "folds.json", "manifest.csv", "report.html", "report.json", "scan.csv"),
    ]
    corpus = Corpus.load(tmp_path / "out")
    assert (corpus.name, corpus.root, len(corpus.utterances)) == ("emodb", root, 140)
    assert corpus.kinds == {"emotion": "class", "sentence": "class"}
    assert corpus.classes["emotion"] == ("neutral", "happy", "sad", "angry", "fear", "disgust", "boredom")
    assert Task.of(corpus).classes == corpus.classes["emotion"]
    assert corpus.info["reader"] == "emodb"
    assert corpus.info["licence"].startswith("CC0")
    assert all(u.end is None for u in corpus.utterances)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert report["speakers"] == 10
    assert report["genders"] == {"female": 5, "male": 5}
    assert report["counts"]["emotion"] == dict.fromkeys(corpus.classes["emotion"], 20)
    assert report["cross"]["emotion x gender"]["fear"] == {"female": 10, "male": 10}
    assert report["hours"] == pytest.approx(140 * layouts.SECONDS / 3600)
    assert report["sample_rates"] == {"16000": 140}
    assert report["channels"] == {"1": 140}
    assert sum(report["durations_s"]["histogram"]["counts"]) == 140
    assert [f["test"] for f in report["folds"]] == [28] * 5
    assert report["folds"][0]["classes"]["test"]["fear"] == 4
    assert report["exposure"]["keeps_apart"] == "no speaker of a test part is in train or dev"
    assert not any(report["problems"].values())


@pytest.mark.parametrize("name", [name for name in layouts.NAMED if name not in ("ravdess", "librispeech")])
def test_every_named_corpus_goes_through(name, tmp_path):
    options = {"tess": {"words": 2}, "esd": {"speakers": (1, 4, 15)}, "cremad": {"actors": 4}}
    prepare(name, layouts.NAMED[name](tmp_path / "in", **options.get(name, {})), tmp_path / "out", Asked(decode=False))
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.info["target"] == (["intent"] if name == "fluent" else ["emotion"])
    assert len(Task.of(corpus).classes) > 3
    check_folds(corpus.utterances, corpus.folds)


def test_preparing_twice_writes_the_same_bytes(tmp_path, mine):
    for out in ("a", "b"):
        prepare("folder", mine, tmp_path / out)
    for name in ("manifest.csv", "folds.json", "corpus.json", "report.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_scan_in_processes_finds_what_one_process_finds(tmp_path):
    root = layouts.emodb(tmp_path / "in")
    found = plugins.load("corpora", "emodb").utterances(root)
    assert look_at(root, found, jobs=2) == look_at(root, found, jobs=1)


def test_corpus_without_labels_has_no_folds_and_no_target(tmp_path):
    prepare("librispeech", layouts.librispeech(tmp_path / "in"), tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert (corpus.folds, corpus.kinds, corpus.info["target"]) == ((), {}, [])


def test_table_is_prepared_with_numbers_and_the_split(tmp_path):
    report = prepare("table", layouts.table(tmp_path / "in", split=True), tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.name == "data"
    assert corpus.kinds == {"emotion": "class", "split": "class", "valence": "number"}
    assert corpus.classes["split"] == ("train", "dev", "test")
    assert [(f.name, len(f.train), len(f.dev), len(f.test)) for f in corpus.folds] == [("split", 16, 4, 4)]
    assert report["numbers"]["valence"]["max"] == 2.0
    assert Task.of(corpus, ["valence"]).ranges == ((0.0, 2.0),)


def test_table_of_numbers_alone_has_them_as_target(tmp_path):
    rows = [
        {"file": layouts.noise(tmp_path / f"{k}.wav").name, "speaker": k, "happy": k / 2, "sad": 3 - k}
        for k in range(4)
    ]
    prepare("table", layouts.write_table(tmp_path / "t.csv", rows), tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.info["target"] == ["happy", "sad"]
    assert Task.of(corpus).kind == "number"


@pytest.mark.parametrize("name", ["mosei", "mosi", "mfn"])
def test_encoded_corpora_are_prepared_without_a_scan(name, tmp_path):
    getattr(csd_layouts, name)(tmp_path / "in")
    report = prepare(name, tmp_path / "in", tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.info["tracks"] == ["covarep"]
    assert corpus.info["audio_digest"]
    assert Task.of(corpus).kind == "number"
    assert report["problems"] is None
    assert report["warnings"]
    assert (report["hours"] is None) == (name == "mfn")  # its steps have no length


def test_preparing_again_replaces_what_was_there(tmp_path, mine):
    prepare("folder", mine, tmp_path / "out")
    prepare("folder", mine, tmp_path / "out", Asked(relabel={"sad": ""}))
    assert Corpus.load(tmp_path / "out").classes == {"emotion": ("happy", "angry")}


# -- classes and folds --------------------------------------------------------------------------------------


def test_classes_are_mapped_and_dropped_and_the_report_says_so(tmp_path, mine):
    report = prepare("folder", mine, tmp_path / "out", Asked(relabel={"sad": "low", "happy": "high", "angry": "high"}))
    assert report["counts"]["emotion"] == {"high": 24, "low": 12}
    assert any("sad counted as low" in w for w in report["warnings"])
    assert "classes that are no words of emotion, kept: high, low" in report["warnings"]


@pytest.mark.parametrize(
    ("maps", "counts"),
    [
        ({"sad": "Happy"}, {"happy": 24, "angry": 12}),
        ({"sad": "happiness"}, {"happy": 24, "angry": 12}),
        ({"sad": "JOY"}, {"happy": 24, "angry": 12}),
        ({"sad": "hap"}, {"happy": 24, "angry": 12}),
        ({"Sad": "angry ".strip(), "angry": "anger"}, {"happy": 12, "angry": 24}),
        ({"sad": "High", "happy": "high"}, {"angry": 12, "High": 24}),
        ({"sad": "low", "low": "Down", "angry": "down"}, {"happy": 12, "Down": 24}),
        ({"sad": "happy", "happy": "positive"}, {"angry": 12, "positive": 24}),
        ({"sad": "happy", "happy": "sad"}, {"happy": 12, "sad": 12, "angry": 12}),
        ({"sad": "sadness"}, {"happy": 12, "sad": 12, "angry": 12}),
        ({"sad": "happy", "happy": ""}, {"happy": 12, "angry": 12}),
    ],
)
def test_a_class_is_mapped_to_one_that_is_there_however_it_is_spelt(tmp_path, mine, maps, counts):
    report = prepare("folder", mine, tmp_path / "out", Asked(relabel=maps, decode=False))
    assert report["counts"]["emotion"] == counts


@pytest.mark.parametrize("right", ["hap", "happy", "Happy", "HAP", "joy", "Happiness"])
@pytest.mark.parametrize("left", ["exc", "excited"])
def test_readers_codes_may_stand_on_either_side_of_a_map(tmp_path, left, right):
    root = layouts.iemocap(tmp_path / "in", empty=True)
    found = plugins.load("corpora", "iemocap").utterances(root, relabel={left: right}, protocol="all")
    counts = Counter(u.labels.get("emotion") for u in found)
    assert counts["happy"] == 10
    assert not {"hap", "exc", "excited", right} - {"happy"} & set(counts)


def test_a_map_of_the_class_that_a_protocol_makes_takes_all_of_it(tmp_path):
    root = layouts.iemocap(tmp_path / "in", empty=True)
    read = plugins.load("corpora", "iemocap").utterances
    counts = Counter(u.labels["emotion"] for u in read(root, relabel={"happy": "positive"}))
    assert (counts["positive"], counts["happy"]) == (10, 0)  # hap and exc
    assert "happy" not in {u.labels["emotion"] for u in read(root, relabel={"happy": ""})}


def test_map_reaches_corpora_that_do_not_know_of_it(tmp_path):
    made = {"speakers": 3, "per_speaker": 3, "emotions": 3, "seconds": [0.4, 0.5]}
    report = prepare("synthetic", None, tmp_path / "out", Asked(relabel={"sad": "neutral"}), options=made)
    assert report["counts"]["emotion"] == {"neutral": 6, "happy": 3}
    assert (tmp_path / "out" / "recordings").is_dir()
    again = prepare("synthetic", tmp_path / "out" / "recordings", tmp_path / "again")
    assert again["counts"]["emotion"] == {"neutral": 3, "happy": 3, "sad": 3}


def test_folds_can_be_counted_and_grouped_otherwise(tmp_path):
    root = layouts.iemocap(tmp_path / "in")
    report = prepare("iemocap", root, tmp_path / "a", Asked(folds=10, group="speaker", decode=False))
    assert [f["group"] for f in report["folds"]] == ["speaker"] * 10
    assert all(len(f["speakers"]["test"]) == 1 for f in report["folds"])
    report = prepare("iemocap", root, tmp_path / "b", Asked(group="session", decode=False))
    assert [f["group"] for f in report["folds"]] == ["session"] * 5
    report = prepare("iemocap", root, tmp_path / "c", Asked(group="none", decode=False))
    assert any("do NOT keep speakers apart" in w for w in report["warnings"])
    assert "nothing" in report["exposure"]["keeps_apart"]


def test_a_reader_may_offer_several_splits(sottovoce, tmp_path):
    root = layouts.iemocap(tmp_path / "in")
    for split, folds, group in (("session", 5, "session"), ("speaker", 10, "speaker"), ("emobox", 5, "session")):
        out = tmp_path / split
        assert sottovoce("prepare", "iemocap", root, "-o", out, "--split", split, "--no-scan").code == 0
        data = Corpus.load(out)
        assert [f.group for f in data.folds] == [group] * folds
        assert data.info["options"]["split"] == split
        check_folds(data.utterances, data.folds)
    words = ["prepare", "iemocap", root, "-o", tmp_path / "x", "--split", "speaker"]
    assert "Found --folds or --group too" in sottovoce(*words, "--folds", 5).complaint
    assert "did you mean 'emobox'" in sottovoce(*words[:-1], "emobx").complaint.lower()
    assert "no option --split" in sottovoce("prepare", "ravdess", root, "-o", tmp_path / "x", "--split", "x").complaint


def test_folder_without_speakers_is_reported_as_leaky(tmp_path, mine):
    report = prepare("folder", mine, tmp_path / "out")
    assert {f["group"] for f in report["folds"]} == {"none"}
    assert any("do NOT keep speakers apart" in w for w in report["warnings"])


def test_class_that_a_test_part_lacks_is_named(tmp_path):
    report = prepare("nemo", layouts.nemo(tmp_path / "in"), tmp_path / "out", Asked(folds=9, decode=False))
    [fold] = [f["name"] for f in report["folds"] if f["speakers"]["test"] == ["MK0"]]
    assert f"{fold}: no surprise in test" in report["warnings"]


def test_folds_that_are_no_split_are_refused():
    people = [Utterance(f"{s}{k}", "x", "", speaker=s, labels={"emotion": "sad"}) for s in "abc" for k in range(2)]
    a, b, c = (("a0", "a1"), ("b0", "b1"), ("c0", "c1"))
    check_folds(people, [Fold("ok", "speaker", a, b, c)])
    for fold, message in (
        (Fold("f", "speaker", a, ("b0",), ("b1", "c0")), "speaker b on both sides"),
        (Fold("f", "none", a, a, c), "two sides"),
        (Fold("f", "none", a, (), c), "no utterance in dev"),
        (Fold("f", "none", a, ("z",), c), "not there"),
    ):
        with pytest.raises(InputError, match=message):
            check_folds(people, [fold])


def test_the_report_remarks_on_names_alike_lone_classes_and_long_clips(tmp_path):
    people = ("S01", "s1", "Anna", "Ben", "Cleo", "Dora")
    rows = [
        {"file": layouts.noise(tmp_path / f"{who}_{k}.wav").name, "emotion": ("sad", "happy")[k % 2], "speaker": who}
        for who in people
        for k in range(4)
    ]
    rows[8]["emotion"] = rows[9]["emotion"] = "fear"  # Anna alone
    layouts.noise(tmp_path / "Ben_0.wav", seconds=20 * layouts.SECONDS)
    sides = dict(zip(people, ("train", "test", "train", "train", "test", "dev"), strict=True))
    path = layouts.write_table(tmp_path / "t.csv", [row | {"split": sides[row["speaker"]]} for row in rows])
    told = prepare("table", path, tmp_path / "out")["warnings"]
    assert "speaker names that may be one person: S01 = s1. Correct them if they are" in told
    assert any(w.startswith("split: S01 = s1, alike by name, in test and in train or dev") for w in told)
    assert any(w.startswith("emotion spoken by one speaker alone: fear (Anna)") for w in told)
    assert "far longer than the rest (median 0.3 s): 1 (Ben_0 6.0 s)" in told
    path = layouts.write_table(
        tmp_path / "t.csv", [row for row in rows if row["speaker"] not in ("S01", "Anna", "Ben")]
    )
    told = prepare("table", path, tmp_path / "clean")["warnings"]
    assert not [w for w in told if "one person" in w or "far longer" in w or "alone" in w]


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (("spk_1", "spk-01", "spk2"), "spk-01 = spk_1"),
        (("Anna", "anna", "Ben"), "Anna = anna"),
        (("F 07", "f07", "m07"), "F 07 = f07"),
        (("10", "1", "100"), ""),
        (("a1b", "ab1", "a10"), ""),
    ],
)
def test_speakers_are_alike_when_case_zeros_or_signs_alone_differ(names, alike):
    told = remarks.similar_speakers([Utterance(n, "x", "", speaker=n) for n in names])
    assert told == ([f"speaker names that may be one person: {alike}. Correct them if they are"] if alike else [])


FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "=HYPERLINK(0)", "'=x", "''-x")


def test_text_that_a_spreadsheet_would_run_is_quoted_and_read_back_as_it_was(tmp_path):
    rows = [
        {"id": f"{word}{k}", "file": layouts.noise(tmp_path / "in" / f"{'=-+@'[k % 4]}{k}{n}.wav").name}
        | {"emotion": ("=bad", "@good")[k % 2], "speaker": f"{word}", "=note": f"{word}"}
        for n, word in enumerate(FORMULAS)
        for k in range(4)
    ]
    path = layouts.write_table(tmp_path / "in" / "t.csv", rows)
    prepare("table", path, tmp_path / "out", options={"label_columns": ["=note"], "own_classes": True})
    corpus = Corpus.load(tmp_path / "out")
    assert [u.id for u in corpus.utterances] == [row["id"] for row in rows]
    assert {u.speaker for u in corpus.utterances} == set(FORMULAS)
    assert {u.labels["=note"] for u in corpus.utterances} == set(FORMULAS)
    assert corpus.classes["emotion"] == ("=bad", "@good")
    assert all((corpus.root / u.path).is_file() for u in corpus.utterances)
    with open(tmp_path / "out" / "manifest.csv", newline="", encoding="utf-8") as lines:
        cells = [cell for line in csv.reader(lines) for cell in line]
    assert not [cell for cell in cells if cell and cell[0] in "=+-@\t\r"]


@pytest.mark.parametrize("text", [*FORMULAS, "\t=x", "\rx", "it's", "'quoted'", "-0.5", "+3", "-1e-3", "", "a=b"])
def test_a_cell_is_read_back_as_it_was_written(tmp_path, text):
    files.write_csv(tmp_path / "t.csv", [{"a": text, "b": 1}, {"a": "x", "c": -2.5}])
    rows = own.read_rows(tmp_path / "t.csv", ["a", "b", "c"])
    assert rows == [{"a": text, "b": "1", "c": ""}, {"a": "x", "b": "", "c": "-2.5"}]


# -- what is wrong with recordings --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ill(tmp_path_factory):
    """A folder corpus with one recording of every illness."""
    root = layouts.folder(tmp_path_factory.mktemp("ill") / "ill", speakers=4)
    sick = root / "sad"
    (sick / "zero.wav").write_bytes(b"")
    (sick / "text.wav").write_text("this is not a recording")
    whole = layouts.noise(sick / "cut.wav", seconds=1).read_bytes()
    (sick / "cut.wav").write_bytes(whole[: len(whole) // 3])
    write(sick / "nan.wav", np.array([0.1, np.nan, 0.1] * 1000, np.float32), subtype="FLOAT")
    write(sick / "silent.wav", np.zeros(8000))
    write(sick / "short.wav", 0.1 * np.random.default_rng(1).standard_normal(800))
    loud = 3 * np.sin(2 * np.pi * 200 * np.arange(8000) / 16_000)
    write(sick / "clipped.wav", np.clip(loud, -1, 1))
    shutil.copy(root / "happy" / "s02_1.wav", sick / "twin.wav")
    samples, rate = soundfile.read(root / "happy" / "s02_1.wav", dtype="int16")
    write(sick / "other twin.flac", samples, rate)
    write(sick / "eight.wav", 0.1 * np.random.default_rng(2).standard_normal((4800, 8)), 48_000)
    write(sick / "slow.wav", 0.1 * np.random.default_rng(3).standard_normal(4000), 8_000)
    write(sick / "fast.wav", 0.1 * np.random.default_rng(4).standard_normal(96_000), 192_000)
    return root


def test_every_illness_is_found_and_only_what_cannot_be_read_is_left_out(ill, tmp_path):
    report = prepare("folder", ill, tmp_path / "out")
    found = report["problems"]
    assert sorted(Path(entry["path"]).name for entry in found["broken"]) == ["cut.wav", "text.wav", "zero.wav"]
    assert all(entry["why"] for entry in found["broken"])
    assert [entry["path"] for entry in found["non_finite"]] == ["sad/nan.wav"]
    assert found["silent"] == ["sad/silent"]
    assert [entry["path"] for entry in found["short"]] == ["sad/short"]
    assert [entry["path"] for entry in found["clipped"]] == ["sad/clipped"]
    assert [sorted(names) for names in found["duplicate"]] == [["happy/s02_1", "sad/other twin", "sad/twin"]]
    corpus = Corpus.load(tmp_path / "out")
    ids = {u.id for u in corpus.utterances}
    assert len(ids) == 24 + 8
    assert not {"sad/zero", "sad/text", "sad/cut", "sad/nan"} & ids
    assert {i for f in corpus.folds for i in f.test} == ids
    assert report["sample_rates"] == {"8000": 1, "16000": 29, "48000": 1, "192000": 1}
    assert report["channels"] == {"1": 31, "8": 1}
    assert any(w.startswith("cannot be used, left out: 4") for w in report["warnings"])
    assert any("in test and in train or dev" in w for w in report["warnings"])
    assert "cut.wav" in (tmp_path / "out" / "report.html").read_text()


def test_more_is_left_out_by_name_only(ill, tmp_path):
    report = prepare("folder", ill, tmp_path / "out", Asked(leave_out=["silent", "duplicate", "clipped", "short"]))
    ids = {u.id for u in Corpus.load(tmp_path / "out").utterances}
    assert len(ids) == 24 + 3
    assert "happy/s02_1" in ids
    assert report["problems"]["silent"] == ["sad/silent"]  # listed all the same
    with pytest.raises(InputError, match="--leave-out loud: not a problem"):
        prepare("folder", ill, tmp_path / "out", Asked(leave_out=["loud"]))


def test_headers_alone_give_durations_and_broken_files(ill, tmp_path):
    report = prepare("folder", ill, tmp_path / "out", Asked(decode=False))
    assert len(report["problems"]["broken"]) == 3
    assert not report["problems"]["silent"]
    assert report["durations_s"]["max"] == pytest.approx(0.5)


def test_one_full_scale_sample_is_clipping_unless_every_file_has_one(tmp_path):
    rng = np.random.default_rng(0)
    utterances = [Utterance(f"{k}", "x", f"{k}.wav") for k in range(6)]
    samples = [0.5 * rng.uniform(-1, 1, 4000) for _ in utterances]
    samples[0][100] = 1.0
    for u, wave in zip(utterances, samples, strict=True):
        write(tmp_path / u.path, wave)
    found = find_problems(utterances, look_at(tmp_path, utterances))
    assert [entry["path"] for entry in found["clipped"]] == ["0"]
    for u, wave in zip(utterances, samples, strict=True):
        wave[100] = 1.0  # levels set by the peak
        write(tmp_path / u.path, wave)
    assert find_problems(utterances, look_at(tmp_path, utterances))["clipped"] == []


def test_stretches_of_one_file_are_looked_at_apart(tmp_path):
    samples = np.concatenate([0.1 * np.random.default_rng(0).standard_normal(16_000), np.zeros(16_000)])
    write(tmp_path / "long.wav", samples)
    utterances = [Utterance("a", "x", "long.wav", 0.0, 1.0), Utterance("b", "x", "long.wav", 1.0, None)]
    looks = look_at(tmp_path, utterances)
    assert [looks[i].seconds for i in "ab"] == [1.0, 1.0]
    assert find_problems(utterances, looks)["silent"] == ["b"]


def test_corpus_of_nothing_usable_is_refused(tmp_path):
    for name in ("sad/a.wav", "happy/b.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"not one usable recording. Found 2; the first says: .*b.wav"):
        prepare("folder", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- bad input ----------------------------------------------------------------------------------------------


def test_refused_input_is_one_line_and_writes_nothing(tmp_path, mine):
    layouts.noise(tmp_path / "flat" / "x.wav")
    layouts.noise(tmp_path / "one" / "happy" / "x.wav")
    layouts.folder(tmp_path / "typo", classes=("angry", "hapy"))
    good = layouts.table(tmp_path / "t", split=True)
    rows = list(csv.DictReader(good.read_text().splitlines()))
    empty = tmp_path / "t" / "empty.csv"
    empty.write_text("file,label\n")
    shared = [row | ({"split": "test"} if k == len(rows) - 1 else {}) for k, row in enumerate(rows)]
    cases = [
        (("folder", tmp_path / "flat"), "no class folders"),
        (("folder", tmp_path / "one"), "one class only"),
        (("folder", tmp_path / "typo"), "unknown label 'hapy'"),
        (("folder", tmp_path / "nowhere"), "no such folder"),
        (("folder",), "no folder. Name the one"),
        (("ravdess", mine), "not RAVDESS speech"),
        (("ravdes", mine), "Did you mean 'ravdess'"),
        (("folder", mine, "--speaker-pattern", r"s\d\d", "--folds", "7"), "fewer speakers than folds. Found 6"),
        (("folder", mine, "--folds", "4", "--group", "speaker"), "Found 0 (none known)"),
        (("folder", mine, "--group", "shoe"), "--group shoe: not a group"),
        (("folder", mine, "--map", "cheery=happy"), "names 'cheery', which is no label"),
        (("folder", mine, "--drop", "sad,happy"), "one class only"),
        (("folder", mine, "--drop", "sad,happy,angry"), "no utterances"),
        (("folder", mine, "--protocol", "4class"), "no option --protocol"),
        (("savee", mine, "--download", tmp_path / "got"), "cannot be downloaded"),
        (("table", good, "--emotion-column", "mood"), "no column mood. Found: file, label"),
        (("table", empty), "empty table"),
        (("table", layouts.write_table(tmp_path / "t" / "twice.csv", rows + rows[:1])), "duplicate"),
        (("table", layouts.write_table(tmp_path / "t" / "shared.csv", shared)), "s6 (test and train)"),
        (
            ("table", layouts.write_table(tmp_path / "t" / "x.csv", [r | {"label": "angre"} for r in rows[:1]] + rows)),
            "'angre'",
        ),
        (("table", good, "--set", "nonsense"), "--set nonsense"),
    ]
    for words, message in cases:
        result = run(*words, "-o", tmp_path / "out", "--quiet")
        assert isinstance(result.exception, InputError), (words, result.output, result.exception)
        assert message in str(result.exception), str(result.exception)
        assert "\n" not in str(result.exception)
        assert not (tmp_path / "out").exists()


def test_shared_speakers_are_accepted_by_name_and_marked(tmp_path):
    path = layouts.table(tmp_path / "t", split=True)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1].replace("train", "test")]))
    result = run("table", path, "-o", tmp_path / "out", "--allow-shared-speakers")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert any("SHARES 1 speakers" in w for w in report["warnings"])
    assert [f["group"] for f in report["folds"]] == ["none"]


def test_duplicate_ids_of_a_reader_are_refused(tmp_path, monkeypatch, mine):
    reader = plugins.load("corpora", "folder")
    honest = reader.utterances
    monkeypatch.setattr(reader, "utterances", lambda root, *, relabel=None: honest(root) + honest(root)[:1])
    with pytest.raises(InputError, match=r"duplicate ids. Found 1, e.g. angry/s01_0"):
        prepare("folder", mine, tmp_path / "out")


def test_disk_that_is_full_is_an_input_error(tmp_path, monkeypatch, mine):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot be written. No space left on device"):
        prepare("folder", mine, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# -- the command --------------------------------------------------------------------------------------------


def test_command_prints_counts_and_warnings(tmp_path, mine):
    result = run(
        "folder", mine, "-o", tmp_path / "out", "--map", "happy=cheerful,sad=down", "--speaker-pattern", r"s\d\d"
    )
    assert result.exit_code == 0, result.output
    assert "mine: 36 utterances" in result.output
    assert "emotion: angry 12, cheerful 12, down 12" in result.output
    assert "no speaker of a test part" in result.output
    assert str(tmp_path / "out" / "report.html") in result.output


def test_command_passes_column_names_and_settings(tmp_path):
    path = layouts.table(tmp_path / "t", file="clip", label="mood", speaker="who")
    named = ("--path-column", "clip", "--emotion-column", "mood", "--speaker-column", "who", "--name", "calls")
    result = run("table", path, "-o", tmp_path / "out", *named, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert Corpus.load(tmp_path / "out").name == "calls"
    made = ("--set", "speakers=3", "--set", "per_speaker=2", "--set", "emotions=2", "--set", "seconds=[0.4,0.5]")
    result = run("synthetic", tmp_path / "made", "-o", tmp_path / "syn", *made)
    assert result.exit_code == 0, result.output
    assert len(Corpus.load(tmp_path / "syn").utterances) == 6


def test_files_that_nobody_uses_are_mentioned(tmp_path):
    root = layouts.savee(tmp_path / "in")
    layouts.noise(root / "extra.wav")
    report = prepare("savee", root, tmp_path / "out", Asked(decode=False))
    assert "in the folder but not used: 1 (extra.wav)" in report["warnings"]


def test_download_without_a_published_checksum_is_recorded(tmp_path, monkeypatch):
    reader = plugins.load("corpora", "emodb")

    def fake(root, *, base_url="", progress=None):
        layouts.emodb(Path(root))
        return [{"name": "download.zip", "url": "x", "bytes": 1, "md5": "m", "sha256": "abc", "verified": False}]

    monkeypatch.setattr(reader, "download", fake)
    result = run("emodb", "--download", tmp_path / "got", "-o", tmp_path / "out", "--no-scan")
    assert result.exit_code == 0, result.output
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.info["download"][0]["sha256"] == "abc"
    assert any("no checksum is published" in w for w in corpus.info["warnings"])


# -- the real ones ------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="SOTTOVOCE_DATA is not set")
def test_real_ravdess_has_one_duplicate_and_folds_of_four_actors(tmp_path):
    report = prepare("ravdess", Path(DATA) / "ravdess_speech", tmp_path / "out")
    assert (report["utterances"], report["speakers"]) == (1440, 24)
    assert report["problems"]["duplicate"] == [["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]]
    assert not report["problems"]["broken"] + report["problems"]["silent"]
    assert len(report["problems"]["clipped"]) == 13
    assert [f["test"] for f in report["folds"]] == [240] * 6


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="SOTTOVOCE_DATA is not set")
@pytest.mark.parametrize(
    ("name", "folder", "n"), [("nemo", "nemo_subset", 1326), ("librispeech", "librispeech_subset", 351)]
)
def test_real_corpora_have_no_broken_files(name, folder, n, tmp_path):
    report = prepare(name, Path(DATA) / folder, tmp_path / "out")
    assert report["utterances"] == n
    assert not report["problems"]["broken"]


# -- options of readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", plugins.names("corpora"))
def test_help_of_a_reader_shows_its_own_options_with_help_and_those_of_no_other(name, sottovoce):
    options = {n: {o.flag: o for o in _options.of(n)} for n in plugins.names("corpora")}
    shown = set(re.findall(r"--[a-z][a-z-]+", sottovoce("prepare", name, "--help").out.partition("Options of")[2]))
    assert shown == set(options[name])
    assert all(option.help for option in options[name].values())
    assert {"--map", "--folds", "--set"} <= set(sottovoce("prepare", name, "--help").out.split())


def test_options_read_from_a_file_are_the_keywords_of_its_functions():
    for name in plugins.names("corpora"):
        module = plugins.load("corpora", name)
        functions = [vars(module)[f] for f in _options.FUNCTIONS if f in vars(module)]
        keywords = {p.name for f in functions for p in inspect.signature(f).parameters.values() if p.kind == 3}
        keywords |= {f.name for f in dataclasses.fields(module.Options)} if "Options" in vars(module) else set()
        assert {option.key for option in _options.of(name)} == keywords - set(_options.GIVEN), name


def test_an_option_and_its_setting_are_one_and_typed(sottovoce, tmp_path):
    few = ("--per-speaker", "2", "--emotions", "2", "--seconds", "0.4,0.5")
    words = ["prepare", "synthetic", tmp_path / "voices", "-o", tmp_path / "data", *few]
    assert sottovoce("prepare", "-q", *few, *words[1:5], "--speakers", "3").code == 0
    assert Corpus.load(tmp_path / "data").info["options"]["seconds"] == [0.4, 0.5]
    assert sottovoce(*words, "-q", "--set", "speakers=3").code == 0  # the same corpus again
    assert "Found speakers = 3, wanted 4" in sottovoce(*words, "--speakers", "4").complaint
    assert "--speakers many: not a whole number" in sottovoce(*words, "--speakers", "many").complaint
    assert "--set speakers=many: not a whole number" in sottovoce(*words, "--set", "speakers=many").complaint


def test_a_reader_may_not_take_an_option_of_all(sottovoce, tmp_path, monkeypatch):
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora/greedy.py").write_text(
        '"""Greedy."""\n\n\ndef utterances(root, *, group=""):\n    return []\n'
    )
    monkeypatch.setenv("SOTTOVOCE_PLUGINS", str(tmp_path))
    assert "greedy.py: option --group is every reader's" in sottovoce("prepare", "greedy", tmp_path).complaint


# -- folds that were asked for ------------------------------------------------------------------------------


def test_dialogue_partners_stay_on_one_side_however_many_folds(tmp_path):
    report = prepare("iemocap", layouts.iemocap(tmp_path / "in"), tmp_path / "out", Asked(folds=3))
    corpus = Corpus.load(tmp_path / "out")
    for fold in corpus.folds:
        assert fold.group == "session"
        tested, rest = ({corpus.by_id[k].session for k in ids} for ids in (fold.test, {*fold.train, *fold.dev}))
        assert not tested & rest
    assert not any("not used: --folds" in line for line in report["warnings"])  # of no split of its own


def test_a_split_that_is_not_used_is_not_described(tmp_path):
    root = layouts.tess(tmp_path / "tess")
    assert any("dev shares its speaker" in line for line in prepare("tess", root, tmp_path / "own")["warnings"])
    warnings = prepare("tess", root, tmp_path / "out", Asked(folds=3, group="none"))["warnings"]
    assert not any("dev shares its speaker" in line for line in warnings)
    assert "the corpus's own split is not used: --folds 3 --group none" in warnings


def test_a_message_offers_fewer_folds_only_where_there_can_be(tmp_path):
    two = layouts.ravdess(tmp_path / "two", actors=2, statements=1, repetitions=1)
    for more in ((), ("--folds", "2")):
        said = run("ravdess", two, "-o", tmp_path / "out", "-q", *more).exception
        assert "--group none" in str(said)
        assert "fewer" not in str(said).split(". ")[-1]
    said = run("tess", layouts.tess(tmp_path / "tess"), "-o", tmp_path / "out", "-q", "--folds", "3").exception
    assert str(said).endswith("Give no --folds, or --group none (leaky).")
