"""Folders as people, competitions and programs lay them out: what a level means, and copies of one recording."""

import shutil
from collections import Counter

import layouts
import numpy as np
import pytest
import soundfile

from sottovoce import plugins
from sottovoce.corpora import _split
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.pipeline.prepare import prepare


def read(root, **options):
    return plugins.load("corpora", "folder").utterances(root, **options)


def laid_out(root, form, *, speakers=6, words=("angry", "happy"), sides=("train", "test"), suffix=".wav"):
    """Recordings at `form`, e.g. "{side}/{word}": the last third of the speakers are the last side."""
    for k in range(1, speakers + 1):
        side = sides[min(len(sides) - 1, (k - 1) * len(sides) * 3 // (speakers * 3))]
        for word in words:
            place = form.format(side=side, word=word, speaker=f"speaker{k:02}", name="abcdefgh"[k], Word=word.title())
            layouts.noise(root / place / f"{k:02}{word[0]}{suffix}")
    return root


@pytest.mark.parametrize(
    ("form", "sides"),
    [
        ("{side}/{word}", ("train", "test")),
        ("{side}/{Word}", ("Train", "Validation", "Test")),
        ("{word}/{side}", ("train", "val", "test")),
        ("data/{side}/{word}", ("TRAIN", "TEST")),
        ("archive/audio/{side}/{Word}", ("training", "testing")),
        ("My corpus 2/{side}/{word}", ("train", "valid", "test")),
        ("{side}/{speaker}/{word}", ("train", "eval")),
        ("{speaker}/{side}/{word}", ("train", "dev", "test")),
        ("{side}/wav/{word}", ("train-set", "test-set")),
        ("{side}/{word}/wav", ("train", "holdout")),
    ],
)
def test_folders_that_are_a_split_are_no_classes(tmp_path, form, sides):
    found = read(laid_out(tmp_path, form, sides=sides))
    assert Counter(u.labels["emotion"] for u in found) == {"angry": 6, "happy": 6}
    [fold] = _split.folds(found)
    number = {u.id: int(u.id.rpartition("/")[2][:2]) for u in found}
    each = 6 // len(sides)
    assert {number[i] for i in fold.test} == set(range(7 - each, 7))
    assert {number[i] for i in fold.train + fold.dev} == set(range(1, 7 - each))
    if len(sides) == 3:
        assert {number[i] for i in fold.dev} == {3, 4}
    assert {u.speaker for u in found} == ({f"speaker{k:02}" for k in range(1, 7)} if "{speaker}" in form else {""})


def test_several_test_folders_are_a_fold_each(tmp_path):
    found = read(laid_out(tmp_path, "{side}/{word}", sides=("train", "test_clean", "test_other")))
    assert [(f.name, len(f.train) + len(f.dev), len(f.test)) for f in _split.folds(found)] == [
        *(("test-clean", 4, 4), ("test-other", 4, 4)),
    ]


@pytest.mark.parametrize("form", ["{speaker}/{word}", "{name}/{word}", "data/{name}/{Word}", "{word}/{speaker}"])
def test_speakers_above_or_below_the_class_are_found(tmp_path, form):
    found = read(laid_out(tmp_path, form))
    assert Counter(u.labels["emotion"] for u in found) == {"angry": 6, "happy": 6}
    assert len({u.speaker for u in found}) == 6
    assert {f.group for f in _split.folds(found)} == {"speaker"}


def test_folders_that_are_no_split_are_read_as_before(tmp_path):
    assert {u.labels["emotion"] for u in read(laid_out(tmp_path / "a", "{word}"))} == {"angry", "happy"}
    own = laid_out(tmp_path / "b", "{word}/{name}", words=("stressed", "relieved"))
    assert {u.labels["emotion"] for u in read(own)} == {"stressed", "relieved"}
    two = read(laid_out(tmp_path / "c", "{side}/{word}", sides=("english", "german")))
    assert {(u.labels["emotion"], u.speaker) for u in two} == {("angry", ""), ("happy", "")}
    women = read(laid_out(tmp_path / "d", "{side}/{word}", sides=("female", "male")))
    assert Counter((u.labels["emotion"], u.gender) for u in women)["angry", "male"] == 3
    alone = read(laid_out(tmp_path / "e", "{side}/{word}", sides=("train",)))
    assert Counter(u.labels["emotion"] for u in alone) == {"angry": 6, "happy": 6}
    assert {f.name for f in _split.folds(alone)} == {f"fold{k}" for k in range(1, 6)}


def test_a_given_layout_is_kept_to(tmp_path):
    root = laid_out(tmp_path, "{side}/{name}/{word}")
    for layout in ("speaker/class", "split/speaker/class"):
        found = read(root, layout=layout)
        assert {u.speaker for u in found} == set("bcdefg")
        assert {u.labels["emotion"] for u in found} == {"angry", "happy"}
        assert len(_split.folds(found)) == 1
    assert {u.labels["emotion"] for u in read(root, layout="*/*/class")} == {"angry", "happy"}
    assert not any("split" in u.labels for u in read(root, layout="*/*/class"))
    assert {u.labels["emotion"] for u in read(root, layout="class", own_classes=True)} == set("bcdefg")
    for layout in ("speaker", "class/class", "class/actor"):
        with pytest.raises(InputError, match="unknown layout"):
            read(root, layout=layout)


def test_folders_without_a_class_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no class folders. Found 12 recordings in test, train, which are sides"):
        read(laid_out(tmp_path / "a", "{side}"))
    with pytest.raises(InputError, match=r"no class folders. Found speaker01, .*called like speakers"):
        read(laid_out(tmp_path / "b", "{speaker}"))
    mixed = laid_out(tmp_path / "c", "{side}/{word}", sides=("train", "test", "Ses01"))
    with pytest.raises(InputError, match=r"split 'Ses01' next to"):
        read(mixed)


def test_the_report_says_how_folders_were_read(tmp_path):
    report = prepare("folder", laid_out(tmp_path / "in", "{side}/{word}"), tmp_path / "out")
    assert any(w.startswith("folders are read as split/class (") for w in report["warnings"])
    assert Corpus.load(tmp_path / "out").classes["emotion"] == ("happy", "angry")
    report = prepare("folder", tmp_path / "in", tmp_path / "out", options={"layout": "split/class"})
    assert not any("folders are read" in w for w in report["warnings"])
    report = prepare("folder", laid_out(tmp_path / "plain", "{word}"), tmp_path / "out")
    assert not any("folders are read" in w for w in report["warnings"])


# -- copies -------------------------------------------------------------------------------------------------


def copies(root, form, formats, *, words=("angry", "happy", "sad"), each=3):
    """Every recording once in every format, at `form`."""
    rng = np.random.default_rng(0)
    for word in words:
        for k in range(each):
            samples = 0.1 * rng.uniform(-1, 1, layouts.RATE_HZ // 2)
            for suffix in formats:
                path = root / form.format(word=word, format=suffix) / f"{k}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, layouts.RATE_HZ)
    return root


@pytest.mark.parametrize(
    "form", ["{word}", "{format}/{word}", "{word}/{format}", "Audio{format}/{word}", "{format}_16k/{word}"]
)
@pytest.mark.parametrize(
    ("formats", "best"),
    [(("mp3", "wav"), ".wav"), (("flac", "mp3"), ".flac"), (("ogg", "wav"), ".wav"), (("flac", "wav"), None)],
)
def test_of_copies_in_several_formats_the_lossless_one_is_used_once(tmp_path, form, formats, best):
    root = copies(tmp_path / "in", form, formats)
    report = prepare("folder", root, tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert report["counts"]["emotion"] == {"happy": 3, "sad": 3, "angry": 3}
    suffixes = {u.path[-len(best) :] if best else u.path[u.path.rindex(".") :] for u in corpus.utterances}
    assert len(suffixes) == 1
    assert best is None or suffixes == {best}
    assert any(w.startswith("in the folder but not used: 9") for w in report["warnings"])


def test_files_of_one_name_that_are_not_copies_stay(tmp_path):
    layouts.noise(tmp_path / "sad" / "x.wav", seconds=0.5)
    layouts.noise(tmp_path / "sad" / "x.mp3", seconds=1.5)
    layouts.noise(tmp_path / "angry" / "x.wav", seconds=0.5)
    layouts.noise(tmp_path / "angry" / "x.flac", seconds=0.5)  # as long, with other samples
    assert sorted(u.id for u in read(tmp_path)) == ["angry/x.flac", "angry/x.wav", "sad/x.mp3", "sad/x.wav"]


def test_a_copy_that_can_be_read_goes_before_one_that_cannot(tmp_path):
    root = copies(tmp_path, "{word}", ("mp3", "wav"))
    (root / "sad" / "0.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    (root / "sad" / "1.wav").write_bytes(b"")
    (root / "sad" / "2.wav").write_text("not a recording")
    paths = {u.path for u in read(root)}
    assert {path for path in paths if path.startswith("sad")} == {"sad/0.mp3", "sad/1.mp3", "sad/2.mp3"}
    assert not any(path.endswith(".mp3") for path in paths if not path.startswith("sad"))


@pytest.mark.parametrize("name", ["cremad", "emodb", "savee", "nemo"])
@pytest.mark.parametrize("lossy", [".mp3", ".ogg"])
def test_named_corpora_take_the_lossless_copy_wherever_it_lies(tmp_path, name, lossy):
    root = layouts.NAMED[name](tmp_path / "in", **({"actors": 3} if name == "cremad" else {}))
    shutil.copytree(root, tmp_path / "in" / "AAA")  # before the others by name
    for path in (tmp_path / "in" / "AAA").rglob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(lossy), samples, rate)
        path.unlink()
    found = plugins.load("corpora", name).utterances(tmp_path / "in")
    assert {u.path[-4:] for u in found} == {".wav"}
    first = tmp_path / "in" / found[0].path
    first.write_text("version https://git-lfs.github.com/spec/v1\n")
    again = {u.id: u.path for u in plugins.load("corpora", name).utterances(tmp_path / "in")}
    assert again[found[0].id].endswith(lossy)


@pytest.mark.parametrize(
    ("form", "people"),
    [
        ("{word}/s{number:02}", 6),
        ("{word}/F{number}", 6),
        ("train-clean/{word}/sp-{number}", 6),
        ("{word}/take{number:03}", 0),
    ],
)
def test_codes_below_the_class_are_people(tmp_path, form, people):
    for number in range(1, 7):
        for word in ("angry", "happy"):
            layouts.noise(tmp_path / form.format(word=word, number=number) / "x.wav")
    assert len({u.speaker for u in read(tmp_path)} - {""}) == people


def test_numbered_folds_are_parts_and_two_splits_above_one_another_are_refused(tmp_path):
    for number in (1, 2, 3):
        for word in ("angry", "happy"):
            layouts.noise(tmp_path / "a" / f"fold{number}" / word / f"{number}.wav")
            for side in ("train", "test"):
                layouts.noise(tmp_path / "b" / f"fold_{number}" / side / word / f"{number}.wav")
    found = read(tmp_path / "a")
    assert {u.labels["split"] for u in found} == {"fold1", "fold2", "fold3"}
    assert {(f.name, f.group) for f in _split.folds(found)} == {(f"fold{k}", "none") for k in (1, 2, 3)}
    with pytest.raises(InputError, match=r"two levels of folders are splits \(fold_1, fold_2, fold_3; test, train\)"):
        read(tmp_path / "b")


def test_copies_in_a_second_tree_of_any_name_count_once(tmp_path):
    for word in ("angry", "happy"):
        for k in range(3):
            one = layouts.noise(tmp_path / "original" / word / f"{k}.wav")
            (tmp_path / "converted" / word).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "converted" / word / f"{k}.ogg", soundfile.read(one)[0], 16000, format="OGG")
    assert {u.path.partition("/")[0] for u in read(tmp_path)} == {"original"}


def test_folders_of_the_system_hold_no_recordings_of_ours(tmp_path):
    laid_out(tmp_path, "{word}")
    before = len(read(tmp_path))
    for name in ("$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX", ".Trash-1000"):
        layouts.noise(tmp_path / name / "x" / "a.wav")
    assert len(read(tmp_path)) == before
