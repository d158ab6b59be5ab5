"""Who may be seen by whom: by name, and by what a recording holds, whatever it is called."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from sottovoce.data import contents, folds
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.folds import Seen
from sottovoce.data.runs import Run
from sottovoce.errors import InputError
from sottovoce.pipeline import prepare

RATE_HZ = 16_000


def wave(seed: int, seconds: float = 0.5) -> np.ndarray:
    return 0.3 * np.random.default_rng(seed).standard_normal(int(seconds * RATE_HZ)).clip(-3, 3) / 3


def record(path: Path, *args, **kwargs) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wave(*args, **kwargs), RATE_HZ)


@pytest.fixture
def speech(tmp_path) -> Path:
    """Six speakers, two classes, one recording of each."""
    for speaker in range(6):
        for k, name in enumerate(("happy", "sad")):
            record(tmp_path / f"wav/s{speaker}_{name}.wav", 10 * speaker + k)
    rows = [f"wav/s{s}_{name}.wav,{name},s{s}" for s in range(6) for name in ("happy", "sad")]
    (tmp_path / "table.csv").write_text("\n".join(["path,emotion,speaker", *rows]) + "\n")
    return tmp_path


def prepared(reader: str, source: Path, out: Path, **options) -> Corpus:
    prepare.prepare(reader, source, out, options=options, jobs=1)
    return Corpus.load(out)


@pytest.fixture
def labelled(speech) -> Corpus:
    return prepared("table", speech / "table.csv", speech / "labelled")


def unlabelled(folder: Path, out: Path, name: str = "extra") -> Corpus:
    return prepared("folder", folder, out, unlabelled=True, name=name)


def test_the_random_fifth_of_superb_is_drawn_as_torch_draws_it():
    for n in (0, 1, 2, 19, 20, 5531):
        expected = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
        assert folds.permutation(n, seed=0) == expected


def test_a_person_is_a_speaker_or_a_video_and_a_voice_is_never_a_video():
    u = Utterance("a", "c", "a.wav", speaker="s", session="v")
    assert [folds.person(u), folds.voice(u)] == ["c/s", "c/s"]
    assert [folds.person(replace(u, speaker="")), folds.voice(replace(u, speaker=""))] == ["c/v", "c/a"]
    assert folds.person(replace(u, speaker="", session="")) == "c/a"


# -- the same recording under another name ----------------------------------------------------------------------


def as_it_is(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


def renamed(source: Path, target: Path) -> None:
    target.mkdir()
    for k, path in enumerate(sorted(source.iterdir())):
        shutil.copy(path, target / f"take{k}.wav")


def one_deeper(source: Path, target: Path) -> None:
    shutil.copytree(source, target / "all" / "of" / "it")


def as_flac(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.iterdir()):
        samples, rate = sf.read(path, dtype="int16")
        sf.write(target / f"{path.stem}.flac", samples, rate)


def in_stereo(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.iterdir()):
        samples, rate = sf.read(path, dtype="int16")
        sf.write(target / path.name, np.stack([samples, samples], axis=1), rate)


def with_a_tag(source: Path, target: Path) -> None:
    """Other bytes, the same samples: a chunk that players skip stands behind them."""
    shutil.copytree(source, target)
    for path in target.iterdir():
        data = bytearray(path.read_bytes()) + b"LIST\x04\x00\x00\x00INFO"
        data[4:8] = (len(data) - 8).to_bytes(4, "little")
        path.write_bytes(data)


@pytest.mark.parametrize("other", [as_it_is, renamed, one_deeper, as_flac, in_stereo, with_a_tag])
@pytest.mark.parametrize("known_before", [True, False])
def test_a_copy_is_seen_through_whatever_its_name_and_container(speech, labelled, other, known_before):
    other(speech / "wav", speech / "copy")
    copy = unlabelled(speech / "copy", speech / "unlabelled")
    if not known_before:  # both were prepared before there was a contents.csv
        for corpus in (copy, labelled):
            (corpus.folder / contents.FILE).unlink()
    seen = Seen.of([copy], [copy.utterances])
    for fold in labelled.folds:
        tested = sorted({folds.person(labelled.by_id[k]) for k in fold.test})
        assert not seen.people & set(tested)
        assert seen.test_people([labelled], fold.name) == seen.test_people([labelled], fold) == tested
    assert (copy.folder / contents.FILE).exists()  # decoded once


def test_other_recordings_are_not_seen(speech, labelled):
    for k in range(4):
        record(speech / f"others/{k}.wav", 100 + k)
    others = unlabelled(speech / "others", speech / "unlabelled")
    seen = Seen.of([others], [others.utterances])
    assert len(seen.contents) == 8
    assert seen.test_people([labelled], labelled.folds[0]) == []


def test_one_recording_gives_its_speaker_away_also_outside_the_test_part(speech, labelled):
    """A fold tests a speaker by one recording; the weights know the other one, which has no place in the fold."""
    fold = labelled.folds[0]
    tested = fold.test[0]
    some = replace(fold, test=(tested,))
    twin = next(
        u for u in labelled.utterances if folds.person(u) == folds.person(labelled.by_id[tested]) and u.id != tested
    )
    seen = Seen(contents=frozenset(labelled.contents[twin.id]))
    assert seen.test_people([replace(labelled, folds=(some,))], some.name) == [folds.person(twin)]


def test_stretches_of_one_file_are_the_same_where_they_overlap():
    def mark(start, end):
        return contents.marks(Utterance("a", "c", "a.wav", start, end), "0123456789abcdef", "")

    known = contents.Known([*mark(1.0, 2.0), *mark(5.0, None)])
    assert [known.has(mark(a, b)) for a, b in ((0.0, 1.0), (0.0, 1.5), (1.2, 1.3), (2.0, 5.0), (9.0, 9.5))] == [
        *(False, True, True, False, True)
    ]
    assert known.has(mark(0.0, None))  # the whole file
    assert not contents.Known(contents.marks(Utterance("a", "c", "b.wav"), "f" * 16, "")).has(mark(0.0, None))


def test_silence_is_nobodys(speech):
    for name in ("a", "b"):
        (speech / name).mkdir()
        sf.write(speech / name / "x.wav", np.zeros(RATE_HZ), RATE_HZ)
        record(speech / name / "y.wav", ord(name))
    a, b = (unlabelled(speech / name, speech / f"un_{name}", name) for name in ("a", "b"))
    assert a.contents["x"] == ()
    assert not Seen.of([a], [a.utterances]).contents & Seen.of([b], [b.utterances]).contents
    assert contents.of_corpus(a.folder, Path("/nowhere"), a.utterances) == a.contents  # not decoded again


def test_a_recording_that_is_gone_or_unreadable_has_no_marks(speech, labelled):
    (labelled.folder / contents.FILE).unlink()
    (speech / "wav/s0_sad.wav").unlink()
    (speech / "wav/s1_sad.wav").write_bytes(b"RIFF")
    found = Corpus.load(labelled.folder).contents
    assert [k for k, marks in found.items() if not marks] == [k for k in found if k.endswith(("s0_sad", "s1_sad"))]


@pytest.mark.parametrize("damaged", [b"", b"id,file\n1,2\n", b"\xff\xfe", b"id,file,samples\n1\n"])
def test_a_damaged_list_of_contents_is_made_again(labelled, damaged):
    before = labelled.contents
    (labelled.folder / contents.FILE).write_bytes(damaged)
    assert Corpus.load(labelled.folder).contents == before


# -- who is learned from ------------------------------------------------------------------------------------------


def test_copies_of_what_is_tested_are_left_out_of_other_corpora(speech, labelled):
    as_flac(speech / "wav", speech / "copy")
    record(speech / "copy/new.wav", 99)
    copy = unlabelled(speech / "copy", speech / "unlabelled")
    fold = labelled.folds[1]
    train, dev = folds.parts([labelled, copy], fold.name)
    assert [u.id for u in train[0]] == list(fold.train)
    assert "new" in {u.id for u in train[1]}
    seen = Seen.of([labelled, copy] * 2, train + dev)
    assert seen.test_people([labelled], fold.name) == []
    assert len(train[1]) + len(dev[1]) == len(copy.utterances) - len(fold.test)


def test_copies_that_the_fold_does_not_name_are_left_out_too(labelled):
    """A recording of its own without label or speaker, which is one that is tested."""
    fold = labelled.folds[0]
    twin = replace(labelled.by_id[fold.test[0]], id="twin", speaker="", labels={})
    more = replace(labelled, utterances=(*labelled.utterances, twin))
    (train,), (dev,) = folds.parts([more], fold.name)
    assert "twin" not in {u.id for u in (*train, *dev)}


def test_a_copy_inside_a_fold_is_noted_and_not_held_against_the_weights(speech):
    shutil.copy(speech / "wav/s0_sad.wav", speech / "wav/s3_sad.wav")
    report = prepare.prepare("table", speech / "table.csv", speech / "labelled", jobs=1)
    assert any("recordings are in test and in train or dev" in line for line in report["warnings"])
    corpus = Corpus.load(speech / "labelled")
    for fold in corpus.folds:
        (train,), (dev,) = folds.parts([corpus], fold.name)
        assert Seen.of([corpus, corpus], [train, dev]).test_people([corpus], fold) == []
    everybody = Seen.of([corpus], [corpus.utterances])
    assert len(everybody.test_people([corpus], corpus.folds[0])) == len({*corpus.folds[0].test}) // 2


# -- runs ---------------------------------------------------------------------------------------------------------


def run(folder: Path, seen: Seen, fold: str = "everybody") -> Run:
    folder.mkdir(parents=True)
    config = {"kind": "pretrain", "fold": fold, "identity": "x", "seen_speakers": sorted(seen.people), "settings": {}}
    config["features"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    seen.keep(folder)
    return Run.load(folder)


def test_a_run_is_refused_for_a_copy_and_the_line_says_what_to_do(speech, labelled, tmp_path):
    copy = unlabelled(speech / "wav", speech / "unlabelled")
    tainted = run(tmp_path / "pre", Seen.of([copy], [copy.utterances]))
    with pytest.raises(InputError) as error:
        folds.run_for([tainted], [labelled], "fold1")
    assert "have seen 2 test speakers of fold1 (labelled/s0, " in str(error.value).replace("table/", "labelled/")
    assert "2 of them by recordings under another name" in str(error.value)
    assert "--transductive" in str(error.value)
    assert folds.run_for([tainted], [labelled], "fold1", transductive=True) is tainted
    clean = run(tmp_path / "clean", Seen(frozenset({"extra/x"})))
    assert folds.run_for([tainted, clean], [labelled], "fold1") is clean


def test_the_run_of_the_fold_itself_comes_first(labelled, tmp_path):
    found = [run(tmp_path / name, Seen(), name) for name in ("everybody", "fold1")]
    assert folds.run_for(found, [labelled], "fold1").folder.name == "fold1"
    assert folds.run_for(found, [labelled], "fold2").folder.name == "everybody"


def test_runs_made_before_name_people_alone_and_say_so(tmp_path, labelled):
    folder = tmp_path / "old"
    folder.mkdir()
    people = ["table/s0", "labelled/s0"]
    old = {"kind": "finetune", "fold": "fold1", "identity": "x", "exposure": people, "heard_test_speakers": people[:1]}
    rest = {"settings": {}, "features": 1, "task": {}, "corpus": "data", "seed": 0, "labels": 1}
    (folder / "config.json").write_text(json.dumps(old | rest))
    found = Run.load(folder)
    assert found.config["seen_test_speakers"] == people[:1]
    assert folds.seen_by(found) == Seen(frozenset(people))
    assert "names alone" in folds.compared_by([found])
    Seen().keep(folder)
    assert "contents" in folds.compared_by([found])


@pytest.mark.parametrize("text", ["[]", "{}", '{"contents": 3}', "not json"])
def test_a_damaged_list_of_what_was_seen_is_one_line(tmp_path, text):
    it = run(tmp_path / "pre", Seen())
    (it.folder / folds.FILE).write_text(text)
    with pytest.raises(InputError, match=r"seen\.json"):
        folds.seen_by(it)


def test_folds_that_are_not_the_corpus_own_are_checked_as_well(labelled):
    own = Fold("readers", "speaker", (), (), tuple(u.id for u in labelled.utterances[:2]))
    assert Seen.of([labelled], [labelled.utterances[:1]]).test_people([labelled], own) == [
        folds.person(labelled.utterances[0])
    ]


def test_speakers_of_very_different_size_make_parts_of_about_one_size():
    sizes = [80, 48, 40, 38, 28, 28, 22, 14, 14, 12, 12, 10, 6, 6, *[4] * 8, *[2] * 7]
    utterances = [
        Utterance(f"{who}-{k}", "own", "a.wav", speaker=f"s{who:02}", labels={"emotion": "happy"})
        for who, size in enumerate(sizes)
        for k in range(size)
    ]
    found = folds.group_folds(utterances, 5, even=True)
    tests = [len(fold.test) for fold in found]
    assert sum(tests) == len(utterances)
    assert max(tests) <= max(80, len(utterances) // 5 + 2)
    for fold in found:
        sides = [{k.split("-")[0] for k in side} for side in (fold.train, fold.dev, fold.test)]
        assert len(set.union(*sides)) == sum(map(len, sides))
        assert len(fold.dev) >= 0.1 * len(fold.train)
        assert len(fold.dev) < len(fold.train) / 2
    alike = [replace(u, speaker=f"s{int(u.id.split('-')[1]) % 20:02}") for u in utterances[:200]]
    assert folds.group_folds(alike, 5, even=True) == folds.group_folds(alike, 5)


# ---------------------------------------------------------------------------------------------- labels that choose


def people(speakers, each):
    return [Utterance(f"{s}_{k}", "c", "", speaker=f"s{s}") for s in range(speakers) for k in range(each)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("speakers", "each"), [(4, 10), (18, 6), (30, 1), (7, 3)])
def test_a_fifth_of_the_labels_chooses_whole_speakers_that_do_not_teach(speakers, each, seed):
    rows = people(speakers, each)
    kinds = np.random.default_rng(seed).integers(0, 3, len(rows))
    back = set(folds.held_back(rows, kinds, seed))
    assert 0.1 * len(rows) <= len(back) <= 0.3 * len(rows)
    chosen, taught = ({rows[k].speaker for k in range(len(rows)) if (k in back) == held} for held in (True, False))
    assert not chosen & taught
    assert set(kinds[[k for k in range(len(rows)) if k not in back]]) == set(kinds)
    assert back == set(folds.held_back(rows, kinds, seed))


def test_one_speaker_alone_is_parted_and_one_label_of_each_class_only_teaches():
    assert len(folds.held_back(people(1, 20), np.zeros(20, int), 0)) == 4
    assert folds.held_back(people(5, 1), np.arange(5), 0) == []
