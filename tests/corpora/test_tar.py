"""`prepare tar`: shards as WebDataset lays them out give what the same files give when they are unpacked."""

import csv
import io
import json
import tarfile
from pathlib import Path

import layouts
import numpy as np
import pytest

from sottovoce import load
from sottovoce.commands import finetune as finetune_command
from sottovoce.corpora import folder, tar
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.prepare import prepare


def pack(path: Path, content: dict[str, bytes | str | dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in content.items():
            data = json.dumps(data) if isinstance(data, dict) else data
            data = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def sound(tmp_path: Path, suffix: str = ".wav") -> bytes:
    return layouts.noise(tmp_path / f"made/x{suffix}").read_bytes()


@pytest.fixture(scope="module")
def both(corpus, tmp_path_factory) -> tuple[Path, Path]:
    """The synthetic corpus as a table of files, and as three shards."""
    home, it = tmp_path_factory.mktemp("shards"), Corpus.load(corpus)
    shards: list[dict] = [{}, {}, {}]
    with open(home / "same.csv", "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["id", "path", "emotion", "valence", "speaker", "gender"])
        for k, u in enumerate(u for u in it.utterances if u.labels):
            key, data = f"u{k:03d}", (it.root / u.path).read_bytes()
            said = {"emotion": u.labels["emotion"], "valence": u.labels["valence"], "speaker": u.speaker}
            shards[k // 30] |= {f"{key}.flac": data, f"{key}.json": said | {"gender": u.gender, "more": [1]}}
            (home / f"files/{key}.flac").parent.mkdir(exist_ok=True)
            (home / f"files/{key}.flac").write_bytes(data)
            rows.writerow([key, f"files/{key}.flac", *said.values(), u.gender])
    for k, content in enumerate(shards):
        pack(home / f"same/{k:06d}.tar", content)
    prepare("table", home / "same.csv", home / "data/files", options={"name": "same"}, jobs=1)
    prepare("tar", home / "same", home / "data/shards", jobs=1)
    return home / "data/files", home / "data/shards"


def test_a_corpus_in_shards_is_the_corpus_of_its_files(both):
    files, shards = map(Corpus.load, both)
    assert len(shards.utterances) == 80
    assert [(u.id, u.speaker, u.gender, dict(u.labels)) for u in shards.utterances] == [
        (u.id, u.speaker, u.gender, dict(u.labels)) for u in files.utterances
    ]
    assert [u.path for u in shards.utterances][29:31] == ["000000.tar#u029.flac", "000001.tar#u030.flac"]
    assert shards.folds == files.folds
    assert shards.contents == files.contents
    assert shards.info["audio_digest"] == files.info["audio_digest"]
    assert (both[0] / "contents.csv").read_bytes() == (both[1] / "contents.csv").read_bytes()


def test_features_of_entries_are_those_of_files(both):
    stores = [track_store(Corpus.load(home), "fbank", {"bins": 20}, jobs=1, quiet=True) for home in both]
    assert stores[0].ids == stores[1].ids
    assert all(np.array_equal(stores[0][id], stores[1][id]) for id in stores[0].ids)
    assert stores[0].source("u000").key == stores[1].source("u000").key


def test_a_model_is_trained_on_entries_and_hears_them(both, tmp_path, tiny):
    """The same weights, the same answers, and it is known who was heard in training."""
    for home in both:
        finetune_command.main(home, tmp_path / home.name, settings=tiny, mode="frozen", quiet=True, jobs=1, init="none")
    weights = [(tmp_path / home.name / "fold1/model.safetensors").read_bytes() for home in both]
    assert weights[0] == weights[1]
    corpora = [Corpus.load(home) for home in both]
    ids = ("u000", "u040", "u079")
    found = [load(tmp_path / c.folder.name).predict([c.root / c.by_id[id].path for id in ids]) for c in corpora]
    assert found[1][0].row()["path"].endswith("000000.tar#u000.flac")
    for ours, theirs in zip(*found, strict=True):
        assert ours.row() | {"path": ""} == theirs.row() | {"path": ""}


def test_a_second_extraction_has_nothing_to_do(both):
    corpus = Corpus.load(both[1])
    store = track_store(corpus, "fbank", {"bins": 30}, jobs=1, quiet=True)
    before = (store.folder / "index.jsonl").read_bytes()
    shard = corpus.root / "000000.tar"
    shard.touch()  # the same bytes at another time
    again = track_store(corpus, "fbank", {"bins": 30}, jobs=1, quiet=True)
    assert again.ids == store.ids
    assert sum(path.stat().st_size for path in store.folder.glob("values-*")) == store.frames * 30 * 4
    assert len((store.folder / "index.jsonl").read_bytes().splitlines()) == len(before.splitlines()) + 30


def test_the_ways_a_label_is_written(tmp_path):
    wav = sound(tmp_path)
    pack(
        tmp_path / "in/train-000.tar",
        {"a/1.wav": wav, "a/1.cls": "happy\n", "a/1.speaker": "anna", "a/1.pt": b"\xff\0"},
    )
    pack(
        tmp_path / "in/train-001.tar",
        {"2.json": {"speaker": "bea"}, "2.cls": "sad", "2.flac": sound(tmp_path, ".flac")},
    )
    pack(
        tmp_path / "in/test/0.tar", {"3.txt": "Well, yes", "3.wav": wav, "3.cls": "sad", "3.json": {"speaker": "carl"}}
    )
    found = tar.utterances(tmp_path / "in")
    assert [(u.id, u.path, u.speaker, u.labels) for u in found] == [
        ("3", "test/0.tar#3.wav", "carl", {"emotion": "sad", "split": "test"}),
        ("a/1", "train-000.tar#a/1.wav", "anna", {"emotion": "happy", "split": "train"}),
        ("2", "train-001.tar#2.flac", "bea", {"emotion": "sad", "split": "train"}),
    ]
    assert found[0].corpus == "in"


def test_a_word_beside_a_recording_is_its_label_and_a_sentence_is_not(tmp_path):
    wav = sound(tmp_path)
    one = pack(tmp_path / "a.tar", {"1.wav": wav, "1.txt": "Happiness", "2.wav": wav, "2.txt": "angry", "3.wav": wav})
    assert [u.labels for u in tar.utterances(one)] == [{"emotion": "happy"}, {"emotion": "angry"}, {}]
    two = pack(tmp_path / "b.tar", {"1.wav": wav, "1.txt": "I am happy"})
    with pytest.raises(InputError, match="no column emotion"):
        tar.utterances(two)
    assert [u.labels for u in tar.utterances(two, unlabelled=True)] == [{}]


def test_columns_that_are_not_used_are_named(tmp_path):
    wav = sound(tmp_path)
    said = [{"emotion": "sad", "speaker": "anna", "note": "lost"}, {"emotion": "happy", "speaker": "bea"}]
    one = pack(tmp_path / "a.tar", {"1.wav": wav, "1.json": said[0], "2.wav": wav, "2.json": said[1], "2.txt": "I am"})
    found = tar.utterances(one)
    assert tar.problems(one, found) == ["columns not used: note, txt"]
    assert tar.problems(one, found, columns={"session": "note"}) == ["columns not used: txt"]
    assert tar.problems(one, found, unlabelled=True) == []


def test_shards_of_one_split_are_one_side(tmp_path):
    for name, who in (("emo_train_0", "anna"), ("emo_train_1", "bea"), ("emo_test_0", "carl"), ("emo_test_1", "dora")):
        pack(tmp_path / f"in/{name}.tar", {f"{who}.wav": sound(tmp_path), f"{who}.cls": "sad", f"{who}.speaker": who})
    assert [u.labels["split"] for u in tar.utterances(tmp_path / "in")] == ["test", "test", "train", "train"]
    for path in (tmp_path / "in").glob("emo_test_*"):
        path.unlink()
    assert [u.labels for u in tar.utterances(tmp_path / "in")] == [{"emotion": "sad"}] * 2


def test_class_folders_and_speakers_in_names(tmp_path):
    wav = sound(tmp_path)
    shard = pack(tmp_path / "a.tar", {"sad/anna_1.wav": wav, "happy/bea_2.wav": wav})
    found = tar.utterances(shard, columns={"emotion": "folder"}, speaker_pattern=r"(\w+)_\d")
    assert [(u.id, u.speaker, u.labels["emotion"]) for u in found] == [
        ("sad/anna_1", "anna", "sad"),
        ("happy/bea_2", "bea", "happy"),
    ]


def test_one_key_in_two_shards_and_dots_in_names(tmp_path):
    wav = sound(tmp_path)
    content = {"1.5.wav": wav, "1.5.cls": "sad", "1.6.wav": wav, "1.6.cls": "happy"}
    pack(tmp_path / "in/a.tar", content)
    pack(tmp_path / "in/b.tar", content | {"2.wav": wav, "2.cls": "calm"})
    assert [(u.id, u.labels["emotion"]) for u in tar.utterances(tmp_path / "in")] == [
        ("a/1.5", "sad"),
        ("a/1.6", "happy"),
        ("b/1.5", "sad"),
        ("b/1.6", "happy"),
        ("b/2", "calm"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"1.wav": b"", "1.flac": b""}, r"x.tar: two recordings of one key. Found 1.wav and 1.flac"),
        ({"1.wav": b"", "1.json": "[1]"}, r"x.tar#1.json: not a JSON object. Found a list"),
        ({"1.wav": b"", "1.json": '{"a": '}, r"x.tar#1.json: not a JSON object"),
        ({"1.wav": b"", "1.json": '{"a": "\\ud800"}'}, r"x.tar#1.json: not a JSON object"),
        ({"1.json": "{}"}, r"no recordings"),
        ({}, r"no recordings"),
        ({"../1.wav": b""}, r"x.tar: a name that leads out"),
    ],
)
def test_what_is_no_corpus_is_one_line(tmp_path, content, said):
    pack(tmp_path / "x.tar", content)
    with pytest.raises(InputError, match=said):
        tar.utterances(tmp_path / "x.tar")


def test_a_name_twice_a_folder_without_archives_and_a_compressed_one(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("1.wav"))
        archive.addfile(tarfile.TarInfo("./1.wav"))
    with pytest.raises(InputError, match=r"x.tar: a name that comes twice. Found '1.wav'"):
        tar.utterances(tmp_path / "x.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no archives"):
        tar.utterances(tmp_path / "empty")
    with tarfile.open(tmp_path / "y.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("1.wav"))
    with pytest.raises(InputError, match=r"y.tar: compressed \(gzip\)"):
        tar.utterances(tmp_path / "y.tar")
    pack(tmp_path / "in/a.tar", {"1.wav": sound(tmp_path), "1.cls": "sad"})
    assert len(tar.utterances(tmp_path / "in")) == 1
    (tmp_path / "y.tar").rename(tmp_path / "in/b.tar.gz")  # it is not passed over
    with pytest.raises(InputError, match=r"b.tar.gz: compressed \(gzip\)"):
        tar.utterances(tmp_path / "in")
    with pytest.raises(InputError, match=r"no recordings.*prepare tar"):
        folder.utterances(tmp_path / "in")


def test_broken_recordings_are_left_out_and_named(tmp_path):
    content = {f"{k}.wav": sound(tmp_path) if k else b"RIFF" for k in range(6)}
    content |= {f"{k}.cls": ["sad", "happy"][k % 2] for k in range(6)} | {f"{k}.speaker": f"s{k}" for k in range(6)}
    pack(tmp_path / "x.tar", content)
    report = prepare("tar", tmp_path / "x.tar", tmp_path / "out", jobs=1)
    assert report["utterances"] == 5
    assert [entry["path"] for entry in report["problems"]["broken"]] == ["x.tar#0.wav"]
    assert any("left out: 1" in warning for warning in report["warnings"])
