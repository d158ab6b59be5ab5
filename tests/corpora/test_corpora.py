"""Readers of corpora: official layouts, codes, folds, label maps, and what they say about the wrong folder."""

import functools
import http.server
import os
import shutil
import threading
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest

from sottovoce import plugins
from sottovoce.corpora import _layout, _split, base, iemocap, table
from sottovoce.data import download, vocabulary
from sottovoce.data.corpus import EMOTIONS
from sottovoce.errors import InputError

DATA = os.environ.get("SOTTOVOCE_DATA")


def read(name, root, **options):
    return plugins.load("corpora", name).utterances(root, **options)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A small copy of every named corpus, made when first asked for."""

    @functools.cache
    def make(name):
        small = {"ravdess": {"actors": 12, "statements": 1, "repetitions": 1}}
        return layouts.NAMED[name](tmp_path_factory.mktemp(name), **small.get(name, {}))

    return make


# -- what holds for all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", layouts.NAMED)
def test_labels_are_of_the_kinds_and_words_the_reader_declares(name, corpora):
    reader, found = base.reader(name), read(name, corpora(name))
    assert len({u.id for u in found}) == len(found) > 0
    for u in found:
        assert (corpora(name) / u.path).is_file()
        assert u.corpus == name
        assert u.speaker
        for label, value in u.labels.items():
            assert isinstance(value, {"class": str, "number": float}.get(reader.KINDS.get(label), str | float))
        assert u.labels.get("emotion", "neutral") in EMOTIONS
    assert set(reader.TARGET) <= {label for u in found for label in u.labels}


@pytest.mark.parametrize("name", [name for name in layouts.NAMED if name != "librispeech"])
def test_no_test_speaker_is_heard_in_training_and_everybody_is_tested_once(name, corpora):
    found = read(name, corpora(name))
    by_id = {u.id: u for u in found}
    tested = Counter()
    for fold in base.reader(name).folds(found):
        speakers = {side: {by_id[i].speaker for i in getattr(fold, side)} for side in ("train", "dev", "test")}
        assert all(speakers.values())
        assert not speakers["test"] & (speakers["train"] | speakers["dev"])
        assert name == "tess" or not speakers["train"] & speakers["dev"]
        tested.update(fold.test)
    if name != "fluent":  # one official split
        assert tested == Counter(u.id for u in found)


@pytest.mark.parametrize("name", layouts.NAMED)
def test_flac_copy_anywhere_below_the_folder_is_the_corpus_too(name, corpora, tmp_path):
    copy = tmp_path / "audio" / "deep"
    shutil.copytree(corpora(name), copy)
    for path in [p for p in copy.rglob("*") if p.suffix in (".wav", ".flac")]:
        path.rename(path.with_suffix(".ogg" if path.suffix == ".flac" else ".flac"))
    (copy / "manifest.csv").write_text("path,emotion\nnonsense.wav,happy\n")  # somebody else's, ignored
    original = {u.id: (u.labels, u.speaker, u.gender, u.session) for u in read(name, corpora(name))}
    assert {u.id: (u.labels, u.speaker, u.gender, u.session) for u in read(name, tmp_path)} == original


@pytest.mark.parametrize("name", layouts.NAMED)
def test_other_folder_is_refused_with_what_was_looked_for_and_found(name, tmp_path):
    layouts.noise(tmp_path / "holiday.wav")
    with pytest.raises(InputError, match=r"(?s)not .*Looked for .*Found") as error:
        read(name, tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="no such folder"):
        read(name, tmp_path / "missing")


def test_files_kept_twice_count_once(corpora, tmp_path):
    shutil.copytree(corpora("savee"), tmp_path / "a")
    shutil.copytree(corpora("savee"), tmp_path / "b")
    assert len(read("savee", tmp_path)) == len(read("savee", corpora("savee")))


def test_hidden_files_and_loops_of_links_are_passed_over(tmp_path):
    layouts.noise(tmp_path / "a" / "x.wav")
    layouts.noise(tmp_path / "a" / "._x.wav")
    layouts.noise(tmp_path / "__MACOSX" / "x.wav")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert _layout.audio(tmp_path) == ["a/x.wav"]


# -- one by one ---------------------------------------------------------------------------------------------


def test_ravdess_codes(corpora):
    found = {u.id: u for u in read("ravdess", corpora("ravdess"))}
    u = found["03-01-06-02-01-01-12"]
    said = {"emotion": "fear", "intensity": "strong", "statement": "kids", "repetition": "1"}
    assert u.labels == said | dict.fromkeys(("happy", "sad", "anger", "surprise", "disgust"), 0.0) | {"fear": 3.0}
    assert (u.speaker, u.gender, u.path) == ("actor12", "female", "Actor_12/03-01-06-02-01-01-12.wav")
    assert found["03-01-01-01-01-01-01"].labels["emotion"] == "neutral"
    assert found["03-01-01-01-01-01-01"].gender == "male"


def test_ravdess_has_the_six_intensities_of_mosei(corpora):
    ravdess, mosei = (plugins.load("corpora", name) for name in ("ravdess", "mosei"))
    words = {"happy": "happy", "sad": "sad", "angry": "anger", "fear": "fear"}
    words |= {"surprise": "surprise", "disgust": "disgust", "neutral": None, "calm": None}
    assert tuple(ravdess.SIX.values()) == mosei.EMOTIONS
    found = read("ravdess", corpora("ravdess"))
    assert len({(u.labels["emotion"], u.labels["intensity"]) for u in found}) == 15
    for u in found:
        meant = {words[u.labels["emotion"]]: {"normal": 2.0, "strong": 3.0}[u.labels["intensity"]]}
        assert {n: u.labels[n] for n in mosei.EMOTIONS} == {n: meant.get(n, 0.0) for n in mosei.EMOTIONS}
    renamed = read("ravdess", corpora("ravdess"), relabel={"calm": "sad"})
    assert [u.labels["sad"] for u in renamed] == [u.labels["sad"] for u in found]


def test_ravdess_folds_are_four_actors_two_of_each_gender(tmp_path):
    found = read("ravdess", layouts.ravdess(tmp_path, statements=1, repetitions=1))
    by_id = {u.id: u for u in found}
    folds = plugins.load("corpora", "ravdess").folds(found)
    assert len(folds) == 6
    for fold in folds:
        people = {(by_id[i].speaker, by_id[i].gender) for i in fold.test}
        assert Counter(gender for _, gender in people) == {"female": 2, "male": 2}


def test_ravdess_songs_are_not_speech_and_a_ninth_emotion_is_an_error(tmp_path):
    layouts.noise(tmp_path / "03-01-05-01-01-01-01.wav")
    layouts.noise(tmp_path / "03-02-05-01-01-01-01.wav")
    assert len(read("ravdess", tmp_path)) == 1
    layouts.noise(tmp_path / "03-01-09-01-01-01-01.wav")
    with pytest.raises(InputError, match=r"03-01-09.*unknown label '09'.*Known: 01, 02"):
        read("ravdess", tmp_path)


def test_emodb_letters_are_german_and_folds_hold_one_woman_and_one_man(corpora):
    found = read("emodb", corpora("emodb"))
    words = {u.id[5]: u.labels["emotion"] for u in found}
    assert words == {
        **{"W": "angry", "L": "boredom", "E": "disgust", "A": "fear"},
        **{"F": "happy", "T": "sad", "N": "neutral"},
    }
    by_id = {u.id: u for u in found}
    for fold in plugins.load("corpora", "emodb").folds(found):
        assert {(by_id[i].gender) for i in fold.test} == {"female", "male"}
        assert len({(by_id[i].speaker) for i in fold.test}) == 2


def test_cremad_gender_comes_from_the_demographics_and_is_unknown_without(corpora, tmp_path):
    found = read("cremad", corpora("cremad"))
    assert {u.speaker: u.gender for u in found}["1002"] == "male"
    assert {u.labels.get("intensity") for u in found} == {None, "high"}
    bare = read("cremad", layouts.cremad(tmp_path, actors=3, demographics=False))
    assert {u.gender for u in bare} == {""}
    assert "unknown" in plugins.load("corpora", "cremad").problems(tmp_path, bare)[0]


def test_tess_dev_has_other_words_than_train_and_the_other_speaker_is_test(corpora):
    found = read("tess", corpora("tess"))
    by_id = {u.id: u for u in found}
    folds = plugins.load("corpora", "tess").folds(found)
    assert [fold.name for fold in folds] == ["OAF", "YAF"]
    for fold in folds:
        words = {side: {by_id[i].labels["word"] for i in getattr(fold, side)} for side in ("train", "dev")}
        assert not words["train"] & words["dev"]
    assert "two speakers only" in plugins.load("corpora", "tess").fold_notes(found)[0]


def test_savee_is_the_same_flat_and_in_folders(corpora, tmp_path):
    flat = read("savee", layouts.savee(tmp_path, flat=True))
    deep = read("savee", corpora("savee"))
    assert {u.id: u.labels for u in flat} == {u.id: u.labels for u in deep}
    assert {u.labels["emotion"] for u in flat if "_sa" in u.id} == {"sad"}
    assert len(plugins.load("corpora", "savee").folds(flat)) == 4


def test_nemo_knows_its_actors_without_the_table(corpora, tmp_path):
    told = read("nemo", corpora("nemo"))
    bare = read("nemo", layouts.nemo(tmp_path, table=False))
    assert {u.speaker: u.gender for u in told} == {u.speaker: u.gender for u in bare}
    assert {u.labels["age"] for u in told} == {27.0}
    assert not any("age" in u.labels for u in bare)
    assert len(plugins.load("corpora", "nemo").folds(bare)) == 3


def test_esd_numbers_tell_the_emotion_where_folders_do_not(corpora, tmp_path):
    told = {u.id: u for u in read("esd", corpora("esd"))}
    parted = {u.id: u for u in read("esd", layouts.esd(tmp_path / "parts", parts=True))}
    assert {i: u.labels for i, u in told.items()} == {i: u.labels for i, u in parted.items()}
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in corpora("esd").rglob("*.wav"):
        shutil.copy(path, flat)
    assert {u.id: u.labels for u in read("esd", flat)} == {i: u.labels for i, u in told.items()}
    assert {u.speaker for u in read("esd", flat, language="mandarin")} == {"0001", "0004"}
    assert told["0015_000001"].gender == "female"
    with pytest.raises(InputError, match="unknown language"):
        read("esd", flat, language="polish")


def test_librispeech_has_readers_and_genders_but_no_labels(corpora):
    found = read("librispeech", corpora("librispeech"))
    assert {u.speaker: u.gender for u in found} == {"14": "female", "16": "male", "19": "female"}
    assert {u.session for u in found} == {"208", "212"}
    assert not any(u.labels for u in found)
    assert base.reader("librispeech").folds(found) == []


# -- IEMOCAP ------------------------------------------------------------------------------------------------


def test_iemocap_four_classes_are_5531_and_a_copy_that_differs_is_reported(tmp_path):
    root = layouts.iemocap(tmp_path, counts=layouts.IEMOCAP, empty=True)
    found = read("iemocap", root)
    assert len(found) == 5531
    assert Counter(u.labels["emotion"] for u in found) == {"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084}
    assert [len(f.test) for f in iemocap.folds(found)] == [1085, 1023, 1151, 1031, 1241]
    assert iemocap.problems(root, found) == []
    (root / next(u.path for u in found if u.session == "Ses03" and u.labels["emotion"] == "neutral")).unlink()
    mute, differs = iemocap.problems(root, read("iemocap", root))
    assert mute.startswith("1 labelled turns without a recording")
    assert "5530 utterances instead of 5,531 (Ses03 neutral 319 instead of 320)" in differs


def test_iemocap_copy_without_all_sessions_is_read_and_reported(tmp_path):
    found = read("iemocap", layouts.iemocap(tmp_path, counts={1: (1, 1, 1, 1, 1), 2: (1, 1, 1, 1, 1)}))
    assert len(found) == 10
    assert "partial copy: no Ses03, Ses04, Ses05" in iemocap.problems(tmp_path, found)[0]


def test_iemocap_classes_that_a_map_changed_are_no_fault_of_the_copy(tmp_path):
    root = layouts.iemocap(tmp_path, counts=layouts.IEMOCAP, empty=True)
    for relabel in ({"frustrated": "angry"}, {"exc": ""}):
        (note,) = iemocap.problems(root, read("iemocap", root, relabel=relabel))
        assert note.startswith("classes changed by --map or --drop")
    (note,) = iemocap.problems(root, read("iemocap", root, protocol="all"))
    assert note.startswith("other classes than the four")


def test_iemocap_speaker_is_the_last_letter_and_excited_is_happy(corpora):
    found = {u.id: u for u in read("iemocap", corpora("iemocap"))}
    u = found["Ses02F_impro01_M003"]
    assert (u.speaker, u.gender, u.session) == ("Ses02M", "male", "Ses02")
    assert u.labels == {
        **{"emotion": "happy", "category": "exc", "style": "improvised"},
        **{"valence": 2.5, "activation": 3.0, "dominance": 4.5},
    }
    assert found["Ses01F_impro01_F000"].labels["emotion"] == "neutral"  # the ._ twin says otherwise


def test_iemocap_folds_leave_a_session_out_with_both_its_speakers(corpora):
    found = read("iemocap", corpora("iemocap"))
    by_id = {u.id: u for u in found}
    folds = iemocap.folds(found)
    assert [f.name for f in folds] == ["Ses01", "Ses02", "Ses03", "Ses04", "Ses05"]
    for fold in folds:
        sessions = {side: {by_id[i].session for i in getattr(fold, side)} for side in ("train", "dev", "test")}
        assert sessions["test"] == {fold.name}
        assert len(sessions["dev"]) == 1
        assert len(sessions["train"]) == 3


def test_iemocap_folds_leave_a_speaker_out_and_take_dev_from_another_session(corpora):
    found = read("iemocap", corpora("iemocap"))
    by_id = {u.id: u for u in found}
    folds = iemocap.folds(found, split="speaker")
    assert [f.name for f in folds] == [f"Ses{k:02}{g}" for k in range(1, 6) for g in "FM"]
    for fold in folds:
        people = {side: {by_id[i].speaker for i in getattr(fold, side)} for side in ("train", "dev", "test")}
        assert people["test"] == {fold.name}
        [session] = {by_id[i].session for i in fold.dev}
        assert session != fold.name[:5]
        assert people["dev"] == {f"{session}F", f"{session}M"}
        assert len(people["train"]) == 7
        assert not people["train"] & (people["dev"] | people["test"])
        assert fold.group == "speaker"
        assert sorted(fold.train + fold.dev + fold.test) == sorted(k for k in by_id if "emotion" in by_id[k].labels)


def test_iemocap_folds_as_emoboxs_draw_dev_from_the_training_speakers(tmp_path):
    found = read("iemocap", layouts.iemocap(tmp_path, counts=layouts.IEMOCAP, empty=True))
    by_id = {u.id: u for u in found}
    usual, folds = iemocap.folds(found), iemocap.folds(found, split="emobox")
    assert [f.test for f in folds] == [f.test for f in usual]
    assert [len(f.test) for f in folds] == [1085, 1023, 1151, 1031, 1241]  # its lists' sizes
    for fold, other in zip(folds, usual, strict=True):
        assert {*fold.train, *fold.dev} == {*other.train, *other.dev}
        assert len(fold.train) == int(0.8 * (5531 - len(fold.test)))
        assert {by_id[i].speaker for i in fold.dev} == {by_id[i].speaker for i in fold.train}
        assert not {by_id[i].session for i in fold.test} & {by_id[i].session for i in fold.train + fold.dev}
        dev = Counter(by_id[i].session for i in fold.dev)  # drawn from everywhere alike
        assert all(0.14 < n / sum(u.session == s for u in found) < 0.27 for s, n in dev.items())
    assert iemocap.folds(found, split="emobox") == folds
    with pytest.raises(InputError, match=r"split of iemocap.*session"):
        iemocap.folds(found, split="sesion")


def test_iemocap_protocol_and_maps(corpora):
    everything = read("iemocap", corpora("iemocap"), protocol="all")
    assert len(everything) == 5 * 14
    assert sum("emotion" not in u.labels for u in everything) == 5  # no majority
    assert {"excited", "frustrated", "other"} <= {u.labels.get("emotion") for u in everything}
    without = read("iemocap", corpora("iemocap"), relabel={"exc": ""})
    assert len(without) == 5 * 7
    five = read("iemocap", corpora("iemocap"), relabel={"excited": "excited", "frustrated": "angry"})
    assert Counter(u.labels["emotion"] for u in five)["angry"] == 15
    assert Counter(u.labels["emotion"] for u in five)["excited"] == 5
    with pytest.raises(InputError, match="unknown protocol"):
        read("iemocap", corpora("iemocap"), protocol="6class")


def test_iemocap_turns_without_a_recording_are_reported_and_labels_alone_refused(tmp_path):
    layouts.iemocap(tmp_path, counts={1: (2, 1, 1, 1, 1)})
    next(tmp_path.rglob("*_F000.wav")).unlink()
    found = read("iemocap", tmp_path)
    assert "1 labelled turns without a recording" in iemocap.problems(tmp_path, found)[0]
    shutil.rmtree(tmp_path / "Session1" / "sentences")
    with pytest.raises(InputError, match="labels alone are not enough"):
        read("iemocap", tmp_path)


@pytest.mark.parametrize(
    "saved",
    [
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("[", "  [").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: b"\xef\xbb\xbf" + text.partition("\n\n")[2].encode(),  # a mark before the first turn
        lambda text: text.replace("Neutral;\t()", "Neutral;\t(can\u2019t)").encode("cp1252"),  # a remark
    ],
)
def test_iemocap_evaluation_files_are_read_as_editors_save_them(tmp_path, saved):
    root = layouts.iemocap(tmp_path, counts={1: (2, 1, 1, 1, 1)}, empty=True)
    told, path = read("iemocap", root), next(root.rglob("EmoEvaluation/Ses*.txt"))
    path.write_bytes(saved(path.read_text()))
    assert read("iemocap", root) == told


def test_iemocap_turns_that_would_be_lost_or_have_two_labels_are_named(tmp_path):
    root = layouts.iemocap(tmp_path, counts=dict.fromkeys((1, 2), (2, 1, 1, 1, 1)), empty=True)
    told, path = read("iemocap", root), root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    text, copy = path.read_text(), root / "copy/EmoEvaluation/Ses01F_impro01.txt"
    copy.parent.mkdir(parents=True)
    copy.write_text(text)
    (path.parent / "notes.txt").write_text("mine\n")
    assert {u.id: u for u in read("iemocap", root)} == {u.id: u for u in told}
    copy.write_text(text.replace("\tneu\t", "\tsad\t", 1))
    with pytest.raises(
        InputError, match=r"turn Ses01F_impro01_F000 has two labels. Found sad .* and neu .* in Session1"
    ):
        read("iemocap", root)
    copy.unlink()
    path.write_text("\n".join(line for line in text.split("\n") if "_F000" not in line))
    assert "1 recordings of turns that no evaluation file labels" in iemocap.problems(root, read("iemocap", root))[0]
    for nothing in ("", "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"):
        path.write_text(nothing)
        with pytest.raises(InputError, match=r"Ses01F_impro01.txt: no labelled turn"):
            read("iemocap", root)


# -- label maps ---------------------------------------------------------------------------------------------


def test_map_works_on_our_words_and_on_the_corpus_codes(corpora):
    root = corpora("emodb")
    assert not {"boredom"} & {u.labels["emotion"] for u in read("emodb", root, relabel={"boredom": ""})}
    assert {u.labels["emotion"] for u in read("emodb", root, relabel={"L": "sad"}) if u.id[5] == "L"} == {"sad"}
    with pytest.raises(InputError, match=r"names 'excited', which is no label. There are: W, L"):
        read("emodb", root, relabel={"excited": "happy"})


def test_overrides_are_read_from_the_command_line():
    assert vocabulary.overrides(["a=b, c=d"], ["e,f", "g"]) == {"a": "b", "c": "d", "e": "", "f": "", "g": ""}
    for maps, drops in ([["a"], []], [["=b"], []], [["a=b"], ["a"]]):
        with pytest.raises(InputError, match=r"--map"):
            vocabulary.overrides(maps, drops)


def test_every_synonym_leads_to_a_word_of_the_vocabulary():
    assert set(vocabulary.SYNONYMS.values()) == set(EMOTIONS)
    assert len({vocabulary.canonical(name) for name in EMOTIONS}) == len(EMOTIONS)


def test_words_of_both_sorts_are_refused_and_words_of_one_sort_kept():
    assert vocabulary.own_words({"Joy": "", "ANG": ""}, None, "x") == {"Joy": "happy", "ANG": "angry"}
    assert vocabulary.own_words({"stressed": "", "relieved": ""}, None, "x") == {
        "stressed": "stressed",
        "relieved": "relieved",
    }
    with pytest.raises(InputError, match=r"unknown label 'hapy', first at row 7. .*Did you mean 'happy'"):
        vocabulary.own_words({"hapy": "row 7", "sad": "row 1"}, None, "x")
    assert vocabulary.own_words({"hapy": "", "sad": ""}, {"hapy": "happy"}, "x")["hapy"] == "happy"
    assert vocabulary.own_words({"hapy": "", "sad": ""}, {"hapy": ""}, "x")["hapy"] == vocabulary.DROP
    assert vocabulary.own_words({"bliss": "", "sad": ""}, None, "x", own=True)["bliss"] == "bliss"


# -- folder -------------------------------------------------------------------------------------------------


def test_folder_class_is_the_sub_folder_and_speaker_comes_from_the_pattern(tmp_path):
    found = read("folder", layouts.folder(tmp_path / "mine", classes=("Anger", "joy")), speaker_pattern=r"(s\d\d)_")
    assert {u.labels["emotion"] for u in found} == {"angry", "happy"}
    assert {u.speaker for u in found} == {f"s{k:02}" for k in range(1, 7)}
    assert {u.corpus for u in found} == {"mine"}
    assert {f.group for f in base.reader("folder").folds(found)} == {"speaker"}


def test_folder_without_speakers_is_split_by_file_evenly_and_says_so(tmp_path):
    found = read("folder", layouts.folder(tmp_path))
    by_id = {u.id: u for u in found}
    folds = base.reader("folder").folds(found)
    assert [f.group for f in folds] == ["none"] * 5
    assert sorted(i for f in folds for i in f.test) == sorted(by_id)
    for fold in folds:
        counts = Counter(by_id[i].labels["emotion"] for i in fold.test)
        assert set(counts.values()) <= {2, 3}


def test_folder_layouts_with_speakers(tmp_path):
    for one, two in (("angry", "anna"), ("sad", "anna"), ("angry", "ben"), ("sad", "ben")):
        layouts.noise(tmp_path / "cs" / one / two / "x.wav")
        layouts.noise(tmp_path / "sc" / two / one / "x.wav")
    for root, layout in (("cs", "class/speaker"), ("sc", "speaker/class")):
        found = read("folder", tmp_path / root, layout=layout)
        assert sorted((u.speaker, u.labels["emotion"]) for u in found) == [
            *(("anna", "angry"), ("anna", "sad"), ("ben", "angry"), ("ben", "sad")),
        ]
    with pytest.raises(InputError, match="unknown layout"):
        read("folder", tmp_path, layout="speaker")


def test_folder_of_two_speakers_cannot_be_split_by_speaker(tmp_path):
    found = read("folder", layouts.folder(tmp_path, speakers=2), speaker_pattern=r"s\d\d")
    with pytest.raises(InputError, match=r"fewer speakers .*Found 2 \(s01, s02\).*--group none"):
        base.reader("folder").folds(found)


def test_folder_without_classes_or_with_a_useless_pattern_is_refused(tmp_path):
    layouts.noise(tmp_path / "flat" / "x.wav")
    with pytest.raises(InputError, match=r"no class folders. Found 1 recordings.*--unlabelled"):
        read("folder", tmp_path / "flat")
    assert [u.labels for u in read("folder", tmp_path / "flat", unlabelled=True)] == [{}]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recordings"):
        read("folder", tmp_path / "empty")
    layouts.folder(tmp_path / "ok")
    with pytest.raises(InputError, match=r"--speaker-pattern zzz matches no path. Found e.g. angry/s01_0.wav"):
        read("folder", tmp_path / "ok", speaker_pattern="zzz")
    with pytest.raises(InputError, match="not a regular expression"):
        read("folder", tmp_path / "ok", speaker_pattern="(")


def test_two_files_of_one_stem_in_a_folder_keep_their_suffixes(tmp_path):
    for name in ("sad/x.wav", "sad/x.flac", "angry/x.wav"):
        layouts.noise(tmp_path / name)
    assert sorted(u.id for u in read("folder", tmp_path)) == ["angry/x", "sad/x.flac", "sad/x.wav"]


# -- table --------------------------------------------------------------------------------------------------


def facts(found):
    return sorted((u.path, u.labels.get("emotion"), u.speaker, u.gender, u.labels.get("valence")) for u in found)


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".json", ".parquet"])
def test_every_table_format_reads_alike(tmp_path, suffix):
    import pandas

    path = layouts.table(tmp_path)
    rows = pandas.read_csv(path).to_dict("records")
    again = layouts.write_table(tmp_path / f"again{suffix}", rows)
    assert facts(read("table", again)) == facts(read("table", path))
    assert facts(read("table", path))[0] == ("clips/s1_Anger_0.wav", "angry", "s1", "male", 0.0)


def test_semicolons_a_byte_order_mark_and_other_column_names_are_understood(tmp_path):
    path = layouts.table(tmp_path, file="Filename", label="emo", speaker="spk", gender="Sex")
    expected = facts(read("table", layouts.table(tmp_path / "plain")))
    path.write_text("\ufeff" + path.read_text().replace(",", ";"), encoding="utf-8")
    assert facts(read("table", path)) == expected
    odd = layouts.table(tmp_path / "odd", file="clip", label="what", speaker="who")
    with pytest.raises(InputError, match=r"no column path. Found: clip, what, who.*--path-column"):
        read("table", odd)
    with pytest.raises(InputError, match=r"no column whom. Found: clip"):
        read("table", odd, columns={"path": "clip", "speaker": "whom"})
    named = read("table", odd, columns={"path": "clip", "emotion": "what", "speaker": "who"})
    assert facts(named) == expected


def test_a_table_called_as_all_are_gives_its_folders_name(tmp_path):
    """Or two corpora would pass for the same people in the lists of who was heard."""
    for home, name, corpus in (("clinic", "manifest.csv", "clinic"), ("games", "takes.csv", "takes")):
        found = read("table", layouts.table(tmp_path / home, name=name))
        assert {u.corpus for u in found} == {corpus}


def test_stretches_of_files_keep_their_times(tmp_path):
    layouts.noise(tmp_path / "long.wav", seconds=3)
    rows = [
        {"file": "long.wav", "start": "0.5", "end": "1.0", "emotion": "sad"},
        {"file": "long.wav", "start": "0 days 00:00:01.250000", "end": "", "emotion": "happy"},
    ]
    found = read("table", layouts.write_table(tmp_path / "t.csv", rows))
    assert [(u.start, u.end) for u in found] == [(0.5, 1.0), (1.25, None)]
    assert len({u.id for u in found}) == 2
    rows[0]["end"] = "0.25"
    with pytest.raises(InputError, match=r"row 2: a segment from 0.5 s to 0.25 s"):
        read("table", layouts.write_table(tmp_path / "t.csv", rows))
    rows[0]["end"] = "soon"
    with pytest.raises(InputError, match=r"row 2: 'soon' is not a time"):
        read("table", layouts.write_table(tmp_path / "t.csv", rows))


def test_number_labels_are_numbers_and_a_word_among_them_is_an_error(tmp_path):
    layouts.noise(tmp_path / "a.wav"), layouts.noise(tmp_path / "b.wav"), layouts.noise(tmp_path / "c.wav")
    rows = [
        {"wav": f"{n}.wav", "happy": v, "anger": 0.0, "stress": s}
        for n, v, s in zip("abc", (0.0, 1.5, 3.0), "121", strict=True)
    ]
    path = layouts.write_table(tmp_path / "t.csv", rows)
    assert [u.labels for u in read("table", path)][1] == {"happy": 1.5, "anger": 0.0}
    assert read("table", path, label_columns=["stress"])[1].labels["stress"] == 2.0
    layouts.write_table(path, [{"path": "a.wav", "label": 0.25}, {"path": "b.wav", "label": 3}])
    assert [u.labels for u in read("table", path)] == [{"label": 0.25}, {"label": 3.0}]
    rows[1]["happy"] = "very"
    with pytest.raises(InputError, match=r"row 3: happy is 'very', not a number"):
        read("table", layouts.write_table(path, rows))


def test_class_codes_are_classes(tmp_path):
    rows = [{"path": layouts.noise(tmp_path / f"{k}.wav").name, "label": k % 2} for k in range(4)]
    found = read("table", layouts.write_table(tmp_path / "t.csv", rows))
    assert [u.labels["emotion"] for u in found] == ["0", "1", "0", "1"]


def test_users_split_is_kept_and_dev_is_cut_from_train_by_speaker_where_it_lacks(tmp_path):
    found = read("table", layouts.table(tmp_path, split=True))
    [fold] = _split.folds(found)
    by_id = {u.id: u for u in found}
    assert fold.group == "speaker"
    assert {by_id[i].speaker for i in fold.test} == {"s1"}
    assert {by_id[i].speaker for i in fold.dev} == {"s2"}
    path = layouts.table(tmp_path / "b", split=True)
    path.write_text(path.read_text().replace("valid", "train"))
    found = read("table", path)
    [fold] = _split.folds(found)
    by_id = {u.id: u for u in found}
    assert len({by_id[i].speaker for i in fold.dev}) == 1
    assert not {by_id[i].speaker for i in fold.dev} & {by_id[i].speaker for i in fold.train}
    assert "no dev part" in table.fold_notes(found)[0]


def test_speaker_on_both_sides_of_a_split_is_refused_by_name(tmp_path):
    path = layouts.table(tmp_path, split=True)
    lines = path.read_text().splitlines()
    lines[-1] = lines[-1].replace("train", "test")
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"1 speakers on both sides of the split: s6 \(test and train\)"):
        read("table", path)
    found = read("table", path, allow_shared_speakers=True)
    assert [f.group for f in _split.folds(found)] == ["none"]
    assert "SHARES 1 speakers" in table.problems(path, found)[0]


def test_fold_numbers_are_tested_in_turn(tmp_path):
    rows = []
    for k in range(12):
        path = layouts.noise(tmp_path / f"{k}.wav")
        rows.append({"file": path.name, "emotion": ["sad", "happy"][k % 2], "speaker": k // 2, "fold": 1 + k // 4})
    found = read("table", layouts.write_table(tmp_path / "t.csv", rows))
    folds = _split.folds(found)
    assert (folds[0].name, folds[0].group, folds[0].test) == ("fold1", "speaker", ("0", "1", "2", "3"))
    assert [len(f.test) for f in folds] == [4, 4, 4]


def test_bad_tables_are_refused(tmp_path):
    path = layouts.table(tmp_path)
    head, first, *rest = path.read_text().splitlines()
    cases = {
        "empty table": [head],
        "duplicate": [head, first, first, *rest],
        "no path": [head, "," + first.partition(",")[2], *rest],
        "unknown label 'Angre'.*row 2.*Did you mean 'angry'": [head, first.replace("Anger,", "Angre,"), *rest],
        "no recording where the table says": [head, "missing.wav" + first[first.index(",") :]],
        "two columns called 'file'": [head.replace("label", "file"), first],
        "6 cells under 5 column names": [head, first + ",more"],
        "no column emotion. Found: file, x": [head.replace("label", "x").replace("valence", "y"), first],
        "column label is empty": [head, first.replace("Anger", "", 2).replace("s1__0", "s1_Anger_0")],
    }
    for message, lines in cases.items():
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(InputError, match=message) as error:
            read("table", path)
        assert "\n" not in str(error.value)
    (tmp_path / "x.csv").write_bytes(b"file,label\n\xff\xfe,x\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read("table", tmp_path / "x.csv")
    with pytest.raises(InputError, match="several tables"):
        read("table", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read("table", tmp_path / "nowhere.csv")


def test_duplicate_ids_in_an_id_column_are_refused(tmp_path):
    rows = [{"id": "x", "file": layouts.noise(tmp_path / f"{k}.wav").name, "label": "sad"} for k in range(2)]
    with pytest.raises(InputError, match=r"duplicate ids. Found 1: x"):
        read("table", layouts.write_table(tmp_path / "t.csv", rows))


def test_audio_may_lie_elsewhere(tmp_path):
    path = layouts.table(tmp_path / "audio")
    moved = tmp_path / "tables" / "t.csv"
    moved.parent.mkdir()
    path.rename(moved)
    with pytest.raises(InputError, match="--audio-root"):
        read("table", moved)
    found = read("table", moved, audio_root=tmp_path / "audio")
    assert all((moved.parent / u.path).is_file() for u in found)
    assert found[0].speaker == "s1"


def test_table_without_labels_serves_pre_training(tmp_path):
    rows = [{"path": layouts.noise(tmp_path / f"{k}.wav").name} for k in range(3)]
    path = layouts.write_table(tmp_path / "t.csv", rows)
    found = read("table", path, unlabelled=True, speaker_pattern=r"^(\d)")
    assert [(u.id, u.speaker, u.labels) for u in found] == [("0", "0", {}), ("1", "1", {}), ("2", "2", {})]
    assert _split.folds(found) == []


def test_emobox_lists_and_their_folds(tmp_path):
    root, rows = tmp_path / "emodb", []
    for speaker in range(1, 4):
        for emotion in ("anger", "boredem"):
            name = f"downloads/emodb/wav/{speaker:02}{emotion}.wav"
            layouts.noise(tmp_path / "audio" / name)
            key = f"emodb-{speaker:02}{emotion}"
            rows.append({"key": key, "dataset": "emodb", "wav": name, "type": "raw", "emo": emotion, "length": 0.3})
    layouts.write_table(root / "emodb.jsonl", rows)
    for k in range(3):
        test = rows[2 * k : 2 * k + 2]
        layouts.write_table(root / f"fold_{k + 1}" / f"emodb_test_fold_{k + 1}.jsonl", test)
        layouts.write_table(
            root / f"fold_{k + 1}" / f"emodb_train_fold_{k + 1}.jsonl", [r for r in rows if r not in test]
        )
    found = read("table", root, audio_root=tmp_path / "audio", speaker_pattern=r"wav/(\d\d)")
    assert {u.labels["emotion"] for u in found} == {"angry", "boredom"}
    assert found[0].id == "emodb-01anger"
    folds = _split.folds(found)
    assert [(f.name, f.group, f.test) for f in folds][1] == ("fold_2", "speaker", ("emodb-02anger", "emodb-02boredem"))
    for k in (2, 3):
        shutil.rmtree(root / f"fold_{k}")
    [fold] = _split.folds(read("table", root, audio_root=tmp_path / "audio", speaker_pattern=r"wav/(\d\d)"))
    assert fold.test == ("emodb-01anger", "emodb-01boredem")
    assert fold.dev


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_audformat_database_gives_stretches_speakers_gender_and_split(tmp_path, storage):
    audformat = pytest.importorskip("audformat")
    db = audformat.Database("small")
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral"])
    db.schemes["speaker"] = audformat.Scheme(dtype="int", labels={k: {"gender": "female"} for k in (1, 2, 3)})
    db.splits.update({kind: audformat.Split(kind) for kind in ("train", "test")})
    names = [layouts.noise(tmp_path / f"{n}.wav").name for n in "abc"]
    db["files"] = audformat.Table(audformat.filewise_index(names))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([1, 2, 3])
    for split, part in (("train", names[:2]), ("test", names[2:])):
        index = audformat.segmented_index(part, ["0.1s"] * len(part), [None] * (len(part) - 1) + ["0.25s"])
        db[f"emotion.{split}"] = audformat.Table(index, split_id=split)
        db[f"emotion.{split}"]["emotion"] = audformat.Column(scheme_id="emotion")
        db[f"emotion.{split}"]["emotion"].set(["anger", "neutral"][: len(part)])
    db.save(str(tmp_path), storage_format=storage)
    found = sorted(read("table", tmp_path), key=lambda u: u.path)
    assert [(u.path, u.start, u.end, u.speaker, u.gender) for u in found] == [
        ("a.wav", 0.1, None, "1", "female"),
        ("b.wav", 0.1, 0.25, "2", "female"),
        ("c.wav", 0.1, 0.25, "3", "female"),
    ]
    assert found[2].labels == {"emotion": "angry", "split": "test"}
    [fold] = _split.folds(found)
    assert len(fold.train) == len(fold.dev) == len(fold.test) == 1
    with pytest.raises(InputError, match="unknown table"):
        read("table", tmp_path, table="votes")


# -- downloads ----------------------------------------------------------------------------------------------


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with byte ranges; can hang up after `cut` bytes."""

    folder: Path
    cut: int | None = None
    asked: list[str | None]

    def do_GET(self):
        path = self.folder / self.path.lstrip("/")
        self.asked.append(self.headers.get("Range"))
        if not path.is_file():
            self.send_error(404)
            return
        data, first = path.read_bytes(), 0
        if self.headers.get("Range"):
            first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        body = data[first:]
        self.wfile.write(body if self.cut is None else body[: self.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """(handler class, address, folder it serves)."""
    handler = type("Here", (Mirror,), {"folder": tmp_path / "served", "cut": None, "asked": []})
    handler.folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield handler, f"http://127.0.0.1:{server.server_port}", handler.folder
    server.shutdown()
    server.server_close()
    thread.join()


def packed(folder: Path, content: Path) -> tuple[Path, str]:
    """A zip of a folder and its MD5."""
    import hashlib

    path = folder / "corpus.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(content.rglob("*")):
            archive.write(file, file.relative_to(content))
    return path, "md5:" + hashlib.md5(path.read_bytes()).hexdigest()


def test_download_is_checked_unpacked_and_not_fetched_twice(mirror, tmp_path):
    handler, address, served = mirror
    _, checksum = packed(served, layouts.savee(tmp_path / "made"))
    archives = [download.Archive("corpus.zip", checksum)]
    seen = []
    [entry] = download.get(tmp_path / "got", address, archives, progress=lambda *step: seen.append(step))
    assert entry["verified"]
    assert len(read("savee", tmp_path / "got")) == 56
    assert sorted(p.name for p in (tmp_path / "got").iterdir()) == ["AudioData", "download.json"]
    assert seen[-1][1] == seen[-1][2] == entry["bytes"]
    download.get(tmp_path / "got", address, archives)
    assert handler.asked == [None]


def test_download_with_a_wrong_checksum_leaves_nothing_behind(mirror, tmp_path):
    _, address, served = mirror
    packed(served, layouts.savee(tmp_path / "made"))
    with pytest.raises(InputError, match=r"wrong checksum. Found md5 .*, expected 00"):
        download.get(tmp_path / "got", address, [download.Archive("corpus.zip", "md5:00")])
    assert list((tmp_path / "got").iterdir()) == []


def test_interrupted_download_goes_on_where_it_stopped(mirror, tmp_path):
    handler, address, served = mirror
    path, checksum = packed(served, layouts.savee(tmp_path / "made"))
    archives, size = [download.Archive("corpus.zip", checksum)], path.stat().st_size
    handler.cut = size // 10
    with pytest.raises(InputError, match=r"interrupted. .*The same command goes on from there"):
        download.get(tmp_path / "got", address, archives)
    tenth = size // 10
    assert handler.asked == [None, f"bytes={tenth}-", f"bytes={2 * tenth}-"]
    assert [p.name for p in (tmp_path / "got").iterdir()] == [".corpus.zip.part"]
    handler.cut = None
    download.get(tmp_path / "got", address, archives)
    assert handler.asked[-1] == f"bytes={3 * tenth}-"
    assert len(read("savee", tmp_path / "got")) == 56


def test_download_that_is_not_there_or_not_an_archive_is_an_input_error(mirror, tmp_path):
    _, address, served = mirror
    with pytest.raises(InputError, match="answered 404"):
        download.get(tmp_path / "got", address, [download.Archive("nothing.zip", None)])
    (served / "page.zip").write_text("<html>please log in</html>")
    with pytest.raises(InputError, match="not an archive"):
        download.get(tmp_path / "got", address, [download.Archive("page.zip", None)])


def test_archive_that_leads_out_of_the_folder_is_refused(tmp_path):
    import tarfile

    for name in ("../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, "x")
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo(name))
        for path in (tmp_path / "a.zip", tmp_path / "a.tar.gz"):
            with pytest.raises(InputError, match="unsafe archive"):
                download.unpack(path, tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_link_out_of_the_folder_is_refused(tmp_path):
    import tarfile

    (tmp_path / "link").symlink_to("/etc")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "link", "link")
    with pytest.raises(InputError, match="damaged archive"):
        download.unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("name", ["ravdess", "emodb", "nemo"])
def test_readers_fetch_from_a_mirror(name, mirror, tmp_path):
    _, address, served = mirror
    module = plugins.load("corpora", name)
    made = layouts.NAMED[name](tmp_path / "made", **({"actors": 3} if name == "ravdess" else {}))
    path, _ = packed(served, made)
    path.rename(served / module.ARCHIVES[0].name)
    if module.ARCHIVES[0].checksum:
        with pytest.raises(InputError, match="wrong checksum"):
            module.download(tmp_path / "got", base_url=address)
    else:
        [entry] = module.download(tmp_path / "got", base_url=address)
        assert not entry["verified"]
        assert len(entry["sha256"]) == 64
        assert len(read(name, tmp_path / "got")) == len(read(name, made))


def test_librispeech_parts_are_named(tmp_path):
    module = plugins.load("corpora", "librispeech")
    with pytest.raises(InputError, match=r"unknown part of librispeech 'dev-clear'.*Did you mean 'dev-clean'"):
        module.download(tmp_path, part="dev-clear")


# -- the real ones ------------------------------------------------------------------------------------------

REAL = {
    "ravdess": ("ravdess_speech", 1440, 24),
    "nemo": ("nemo_subset", 1326, 9),
    "librispeech": ("librispeech_subset", 351, 261),
}


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="SOTTOVOCE_DATA is not set")
@pytest.mark.parametrize("name", REAL)
def test_real_corpus_reads_as_its_own_manifest_says(name):
    import csv

    folder, n, speakers = REAL[name]
    root = Path(DATA) / folder
    found = read(name, root)
    assert (len(found), len({u.speaker for u in found})) == (n, speakers)
    with open(root / "manifest.csv", encoding="utf-8") as lines:
        told = {row["path"]: row for row in csv.DictReader(lines)}
    for u in found:
        row = told[u.path]
        assert u.labels.get("emotion", "") == row["emotion"]
        assert u.gender in (row["gender"], "")
        assert np.char.endswith(row["speaker"], u.speaker.removeprefix("actor"))


# ------------------------------------------------------------------------------------- Fluent Speech Commands


def test_fluent_commands_have_an_intent_of_three_and_the_official_split(tmp_path):
    reader = plugins.load("corpora", "fluent")
    root = layouts.fluent(tmp_path / "fluent_speech_commands_dataset")
    found = reader.utterances(tmp_path)
    assert found == [replace(u, path=f"{root.name}/{u.path}") for u in reader.utterances(root)]
    assert len(found) == 80
    first = found[0]
    assert (first.id, first.speaker) == ("spk00XyZ-activate-1", "spk00XyZ")
    assert first.labels["intent"] == "activate/lights/none"
    assert (first.labels["action"], first.labels["object"], first.labels["location"]) == ("activate", "lights", "none")
    (fold,) = reader.folds(found)
    assert (len(fold.train), len(fold.dev), len(fold.test)) == (48, 16, 16)
    speakers = [{u.speaker for u in found if u.id in part} for part in (fold.train, fold.dev, fold.test)]
    assert not speakers[0] & speakers[1]
    assert not speakers[2] & (speakers[0] | speakers[1])


def test_fluent_tables_that_are_not_the_official_ones_are_refused(tmp_path):
    reader = plugins.load("corpora", "fluent")
    with pytest.raises(InputError, match=r"not Fluent Speech Commands. Looked for data/train_data.csv"):
        reader.utterances(tmp_path)
    root = layouts.fluent(tmp_path / "a")
    table = root / "data/test_data.csv"
    text = table.read_text()
    table.write_text(text.replace("spk08XyZ", "spk00XyZ"))
    with pytest.raises(InputError, match=r"clip spk00XyZ-activate-1 is listed twice"):
        reader.utterances(root)
    table.write_text(text.replace(",spk08XyZ,", ",spk00XyZ,"))
    with pytest.raises(InputError, match=r"speaker spk00XyZ is in train and in test"):
        reader.utterances(root)
    table.write_text(text.replace("location", "place"))
    with pytest.raises(InputError, match=r"test_data.csv: no column location. Found path, speakerId"):
        reader.utterances(root)
    table.write_text(text.replace(",washroom", ",", 1))
    with pytest.raises(InputError, match=r"test_data.csv: a row without location"):
        reader.utterances(root)
    for nothing in ("", text.splitlines()[0] + "\n"):
        table.write_text(nothing)
        with pytest.raises(InputError, match=r"test_data.csv: no rows. Found (an empty file|the columns path)"):
            reader.utterances(root)
    table.unlink()
    with pytest.raises(InputError, match=r"Looked for data/test_data.csv"):
        reader.utterances(root)
