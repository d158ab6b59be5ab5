"""`prepare hf`: datasets in a local folder, as the hub, `save_to_disk` and audiofolder lay them out."""

import contextlib
import json
from collections import Counter

import layouts
import numpy as np
import pytest
import soundfile

from sottovoce import plugins
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.pipeline.prepare import Asked, prepare

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ["neutral", "happiness", "Anger"]


def records(folder, speakers, *, names=True, suffix=".wav"):
    """Rows with the bytes of a recording each; labels are numbers of NAMES."""
    found = []
    for k in speakers:
        for label in range(3):
            path = layouts.noise(folder / "made" / f"{k}_{label}{suffix}")
            sound = {"bytes": path.read_bytes(), "path": path.name if names else None}
            found.append({"audio": sound, "label": label, "speaker_id": k, "text": "hi"})
    return found


def noted(table):
    """With what `datasets` writes about its columns."""
    features = {
        "audio": {"sampling_rate": 16000, "_type": "Audio"},
        "label": {"names": NAMES, "_type": "ClassLabel"},
        "speaker_id": {"dtype": "int64", "_type": "Value"},
    }
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def on_the_hub(root, parts, **options):
    """`data/train-00000-of-00002.parquet` and so on; {part: speakers of each of its files}."""
    for part, shards in parts.items():
        for k, speakers in enumerate(shards):
            path = root / "data" / f"{part}-{k:05}-of-{len(shards):05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(noted(pa.Table.from_pylist(records(root.parent / "x", speakers, **options))), path)
    return root


@pytest.mark.parametrize("named", [True, False])
def test_parquet_with_bytes_gives_recordings_classes_speakers_and_the_split(tmp_path, named):
    root = on_the_hub(tmp_path / "in", {"train": [(1, 2), (3, 4)], "validation": [(5,)], "test": [(6,)]}, names=named)
    prepare("hf", root, tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert corpus.name == "in"
    assert corpus.classes["emotion"] == ("neutral", "happy", "angry")
    assert len(corpus.utterances) == 18
    [fold] = corpus.folds
    people = {u.id: u.speaker for u in corpus.utterances}
    assert [{people[i] for i in side} for side in (fold.train, fold.dev, fold.test)] == [set("1234"), {"5"}, {"6"}]
    assert len({(corpus.root / u.path).read_bytes() for u in corpus.utterances}) == 18
    assert all((tmp_path / "out" / "recordings") in (corpus.root / u.path).parents for u in corpus.utterances)
    assert not any("/" in u.id for u in corpus.utterances)  # the same wherever it is prepared
    if named:
        for u in corpus.utterances:
            said, label = u.path.rpartition("/")[2].removesuffix(".wav").split("_")[-2:]
            assert (said, ["neutral", "happy", "angry"][int(label)]) == (u.speaker, u.labels["emotion"])


def test_several_test_sets_of_a_dataset_are_a_fold_each(tmp_path):
    root = on_the_hub(tmp_path / "in", {"train": [(1, 2, 3)], "test_clean": [(4,)], "test_other": [(5,)]})
    prepare("hf", root, tmp_path / "out", Asked(decode=False))
    assert [(f.name, len(f.test)) for f in Corpus.load(tmp_path / "out").folds] == [
        ("test-clean", 3),
        ("test-other", 3),
    ]


def test_arrow_as_saved_to_disk_reads_alike_and_one_split_is_none(tmp_path):
    rows = noted(pa.Table.from_pylist(records(tmp_path, range(1, 6))))
    for form, name in (("stream", "s/train"), ("file", "f")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "state.json").write_text("{}")
        path = tmp_path / name / "data-00000-of-00001.arrow"
        with getattr(pa.ipc, f"new_{form}")(str(path), rows.schema) as writer:
            writer.write_table(rows)
        report = prepare("hf", tmp_path / name.partition("/")[0], tmp_path / f"out_{form}")
        assert report["counts"] == {"emotion": {"neutral": 5, "happy": 5, "angry": 5}}
        assert {f["group"] for f in report["folds"]} == {"speaker"}


def test_recordings_beside_the_table_are_used_where_they_lie(tmp_path):
    rows = [
        row | {"audio": {"bytes": None, "path": f"made/{row['audio']['path']}"}} for row in records(tmp_path, (1, 2, 3))
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    prepare("hf", tmp_path, tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert {u.path.split("/")[0] for u in corpus.utterances} == {"made"}
    assert corpus.classes["emotion"] == ("0", "1", "2")  # nobody says what they mean
    assert not (tmp_path / "out" / "recordings").exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("sides", [("train", "test"), ("Train", "Validation", "Test"), ()])
def test_audiofolders_with_metadata_are_read(tmp_path, suffix, sides):
    root = tmp_path / "in"
    for k in range(6):
        home = root / sides[k * len(sides) // 6] if sides else root
        rows = [
            {
                "file_name": f"clips/{layouts.noise(home / 'clips' / f'{k}{word}.wav').name}",
                "label": word,
                "speaker": f"p{k}",
            }
            for word in ("sad", "happy")
        ]
        path = home / f"metadata{suffix}"
        more = plugins.load("corpora", "table")._row_files.read(path).rows if path.exists() else []
        layouts.write_table(path, more + rows)
    prepare("hf", root, tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert Counter(u.labels["emotion"] for u in corpus.utterances) == {"sad": 6, "happy": 6}
    assert {u.speaker for u in corpus.utterances} == {f"p{k}" for k in range(6)}
    assert [f.name for f in corpus.folds] == (["split"] if sides else [f"fold{k}" for k in range(1, 6)])


def test_an_audiofolder_whose_rows_lost_their_names_or_sides_is_read_or_refused(tmp_path):
    """A row that names no file beside others of one stem; a split that only some rows have."""
    rows = [
        {"file_name": f"{k % 2}/{layouts.noise(tmp_path / 'in' / str(k % 2) / f'{k // 2}.wav').name}",
         "emotion": ("sad", "happy")[k // 2 % 2], "speaker": f"p{k // 4}"}
        for k in range(16)
    ]  # fmt: skip
    layouts.write_table(tmp_path / "in/metadata.csv", rows)
    prepare("hf", tmp_path / "in", tmp_path / "whole")
    layouts.write_table(tmp_path / "in/metadata.csv", [*rows, rows[0] | {"file_name": "."}])
    with contextlib.suppress(InputError):
        prepare("hf", tmp_path / "in", tmp_path / "out")
        assert len(Corpus.load(tmp_path / "out").utterances) == 16
    layouts.write_table(tmp_path / "in/metadata.csv", rows[:8])
    (tmp_path / "in/more").mkdir()
    told = [row | {"file_name": f"../{row['file_name']}", "split": "test"} for row in rows[8:]]
    layouts.write_table(tmp_path / "in/more/metadata.csv", told)
    prepare("hf", tmp_path / "in", tmp_path / "some")
    assert len(Corpus.load(tmp_path / "some").utterances) == 16


def test_bytes_tell_their_format_where_no_name_does(tmp_path):
    samples = 0.1 * np.random.default_rng(0).standard_normal(8000)
    rows = []
    for k in range(4):
        for suffix in ("wav", "flac", "ogg", "mp3"):
            soundfile.write(tmp_path / f"x.{suffix}", samples * (k + 1) / 4, 16000)
            sound = {"bytes": (tmp_path / f"x.{suffix}").read_bytes(), "path": None}
            rows.append({"audio": sound, "emotion": ("sad", "happy")[k % 2], "speaker": k})
    (tmp_path / "in").mkdir()
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / "train.parquet")
    report = prepare("hf", tmp_path / "in", tmp_path / "out")
    assert report["utterances"] == 16
    assert Counter(u.path[-4:] for u in Corpus.load(tmp_path / "out").utterances) == dict.fromkeys(
        (".wav", "flac", ".ogg", ".mp3"), 4
    )


def test_what_is_no_dataset_is_refused_and_nothing_is_left_behind(tmp_path):
    root = tmp_path / "in"
    root.mkdir()

    def refused(match, rows=None, content=None):
        path = root / "train-00000-of-00001.parquet"
        if content is not None:
            path.write_bytes(content)
        elif rows is not None:
            parquet.write_table(pa.Table.from_pylist(rows), path)
        with pytest.raises(InputError, match=match) as error:
            prepare("hf", root, tmp_path / "out")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()

    refused("not a dataset. Looked for .parquet.*tar archives by `prepare tar`")
    good = records(tmp_path, (1, 2, 3))
    refused(
        "no column of audio. Found: label, speaker_id, text",
        [{k: v for k, v in r.items() if k != "audio"} for r in good],
    )
    refused("unknown label 'hapy'", [r | {"label": ("hapy", "sad", "angry")[r["label"]]} for r in good])
    refused("no column emotion", [{k: v for k, v in r.items() if k != "label"} for r in good])
    refused("not a readable Parquet file", content=b"PAR1" + b"x" * 100)
    raw = pa.table({"label": ["happy"], "audio": [{"bytes": b"", "path": "a.wav"}]})
    bad = pa.array([b"\xf3\x28"], pa.binary()).view(pa.string())  # a text that is none, as a damaged disk leaves it
    broken = raw.append_column("text", bad)
    sink = pa.BufferOutputStream()
    parquet.write_table(broken, sink)
    refused("not a readable Parquet file", content=sink.getvalue().to_pybytes())
    refused("a git-lfs", content=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    escaped = [r | {"audio": r["audio"] | {"path": "../../../../x.wav"}} for r in good]
    parquet.write_table(pa.Table.from_pylist(escaped), root / "train-00000-of-00001.parquet")
    prepare("hf", root, tmp_path / "out")
    for u in Corpus.load(tmp_path / "out").utterances:
        assert u.path.startswith(str(tmp_path / "out" / "recordings"))


def test_one_parquet_file_alone_is_a_dataset(tmp_path):
    root = on_the_hub(tmp_path / "in", {"train": [(1, 2, 3, 4)], "test": [(6,)]})
    (shard,) = root.rglob("train-*.parquet")
    report = prepare("hf", shard, tmp_path / "out", jobs=1)
    assert (report["corpus"], report["utterances"], report["speakers"]) == ("in", 12, 4)


def test_a_dataset_in_the_hubs_cache_is_found_by_its_name(sottovoce, tmp_path, monkeypatch):
    """Without a look at the network; one that is not there is said with the command that fetches it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    home = tmp_path / "hub/datasets--me--tones"
    on_the_hub(home / "snapshots" / ("0" * 40), {"train": [(1, 2, 3, 4)], "test": [(6,)]})
    (home / "refs").mkdir()
    (home / "refs/main").write_text("0" * 40)
    done = sottovoce("prepare", "hf", "me/tones", "-o", tmp_path / "out", "-j", 1)
    assert done.code == 0, done.err
    assert done.out.startswith("tones:")
    line = sottovoce("prepare", "hf", "me/gone", "-o", tmp_path / "o").complaint
    assert "hf download me/gone --repo-type dataset" in line


# -- names of shards ------------------------------------------------------------------------------------------


def shard(root, name, speakers):
    """One Parquet file of a dataset."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(noted(pa.Table.from_pylist(records(root.parent / f"x{len(name)}", speakers))), path)


def heard(corpus):
    """{what was recorded of an utterance}."""
    return {(corpus.root / u.path).read_bytes() for u in corpus.utterances}


def test_shards_of_one_number_keep_their_recordings(tmp_path):
    for k, name in enumerate(("en", "de")):
        shard(tmp_path / "in", f"{name}/train-00000-of-00001.parquet", (3 * k + 1, 3 * k + 2, 3 * k + 3))
    prepare("hf", tmp_path / "in", tmp_path / "out")
    corpus = Corpus.load(tmp_path / "out")
    assert len(corpus.utterances) == len(heard(corpus)) == 18
    for u in corpus.utterances:
        assert u.path.rpartition("/")[2].split("_")[-2] == u.speaker


def test_a_dataset_that_is_refused_changes_no_recording_of_the_one_before(tmp_path):
    shard(tmp_path / "good", "train-00000-of-00001.parquet", (1, 2, 3))
    shard(tmp_path / "bad/deep", "train-00000-of-00001.parquet", (4, 4, 5))
    prepare("hf", tmp_path / "good", tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    with pytest.raises(InputError):
        prepare("hf", tmp_path / "bad/deep", tmp_path / "out", options={"columns": {"emotion": "mood"}})
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


def test_a_dataset_that_differs_in_the_middle_alone_is_another(tmp_path):
    rows = records(tmp_path / "x", (1, 2, 3))
    for name, word in (("good/in", "mood"), ("bad/in", "moot")):
        (tmp_path / name).mkdir(parents=True)
        table = pa.Table.from_pylist([row | {"label": ("sad", "happy", "calm")[row["label"]]} for row in rows])
        pad = pa.array([b"." * 100_000] * len(rows), pa.binary())  # far from both ends
        table = table.append_column("pad", pad).append_column("more", [[word] * len(rows)]).append_column("end", pad)
        path = tmp_path / name / "train-00000-of-00001.parquet"
        parquet.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    edge = 1 << 16  # bytes
    there, other = ((tmp_path / name / "in/train-00000-of-00001.parquet").read_bytes() for name in ("good", "bad"))
    assert (len(there), there[:edge], there[-edge:]) == (len(other), other[:edge], other[-edge:])
    homes = []
    for name in ("good", "bad"):
        prepare("hf", tmp_path / name / "in", tmp_path / name / "out", Asked(decode=False))
        homes += [path.name for path in (tmp_path / name / "out/recordings").iterdir()]
    assert len(set(homes)) == 2


def test_columns_that_are_not_used_are_named(tmp_path):
    on_the_hub(tmp_path / "in", {"train": [(1, 2, 3)], "test": [(4,)]})
    on_disk = noted(pa.Table.from_pylist(records(tmp_path, range(1, 6))))
    (tmp_path / "disk").mkdir()
    with pa.ipc.new_stream(str(tmp_path / "disk/data-00000-of-00001.arrow"), on_disk.schema) as writer:
        writer.write_table(on_disk)
    for name in ("in", "disk"):
        report = prepare("hf", tmp_path / name, tmp_path / f"out_{name}", Asked(decode=False))
        assert "columns not used: text" in report["warnings"]
    left = prepare("hf", tmp_path / "in", tmp_path / "kept", options={"label_columns": ["text"]})["warnings"]
    assert not any("columns not used" in warning for warning in left)


@pytest.mark.parametrize(
    "end",
    ["-00000-of-00002-0123456789abcde{k}", "_0000{k}_of_00002", "_{k}", "_shard_00{k}", ".part{k}", "-{k}"],
)
def test_files_of_one_split_are_one_split(tmp_path, end):
    for k in range(2):
        shard(tmp_path / "in", f"train{end.format(k=k)}.parquet", (2 * k + 1, 2 * k + 2))
    prepare("hf", tmp_path / "in", tmp_path / "alone", Asked(decode=False))
    assert {f.group for f in Corpus.load(tmp_path / "alone").folds} == {"speaker"}
    for k in range(2):
        shard(tmp_path / "in", f"test{end.format(k=k)}.parquet", (2 * k + 5, 2 * k + 6))
    prepare("hf", tmp_path / "in", tmp_path / "out", Asked(decode=False))
    corpus = Corpus.load(tmp_path / "out")
    [fold] = corpus.folds
    assert {corpus.by_id[k].speaker for k in fold.test} == {"5", "6", "7", "8"}


def test_sessions_in_names_of_files_are_tested_in_turn(tmp_path):
    for k in range(1, 4):
        shard(tmp_path / "in", f"data/session{k}-00000-of-00001-0123456789abcdef.parquet", (2 * k, 2 * k + 1))
    prepare("hf", tmp_path / "in", tmp_path / "out", Asked(decode=False))
    assert [f.name for f in Corpus.load(tmp_path / "out").folds] == ["session1", "session2", "session3"]


def test_class_numbers_in_a_list_have_their_names(tmp_path):
    rows = [row | {"label": [row["label"]]} for row in records(tmp_path / "x", (1, 2, 3))]
    features = {"audio": {"_type": "Audio"}, "label": {"_type": "Sequence", "feature": {"names": NAMES}}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    (tmp_path / "in").mkdir()
    parquet.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(told), tmp_path / "in/a.parquet")
    prepare("hf", tmp_path / "in", tmp_path / "out", Asked(decode=False))
    assert Corpus.load(tmp_path / "out").classes["emotion"] == ("neutral", "happy", "angry")
