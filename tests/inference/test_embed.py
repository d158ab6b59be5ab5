"""Embeddings: the states a model has of a recording, the same as in a corpus's track, a row a recording or a frame."""

import csv

import numpy as np
import pytest
import soundfile

import sottovoce as package
from sottovoce.data import audio
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.inference import embed
from sottovoce.modeling import network
from sottovoce.pipeline.extract import track_store
from sottovoce.tracks import encoder


@pytest.fixture(scope="module")
def clips(corpus):
    data = Corpus.load(corpus)
    return [data.root / data.by_id[k].path for k in data.fold("fold1").test[:3]]


def test_frames_of_a_run_are_the_states_of_its_layer(pretrained, corpus, clips):
    data = Corpus.load(corpus)
    it = network.load_pretrained(embed.runs.parts(pretrained)[0])
    store = track_store(data, it.plan.track, vars(it.plan.track_config), quiet=True)
    steps = Steps([(store, [data.by_id[k] for k in data.fold("fold1").test[:3]])], it.plan.frontend, it.statistics)
    expected = dict(network.states(it.backbone, steps, 1))
    for k, track in enumerate(package.embed(pretrained, clips, level="frame", layer=1)):
        np.testing.assert_allclose(track.values, expected[k].values, atol=1e-4)
        np.testing.assert_allclose(track.times, expected[k].times, atol=1e-6)


def test_the_default_encoder_gives_what_its_track_holds(clips):
    (found,) = package.embed("default", clips[0], level="frame")
    config = encoder.Config()
    whole = embed.encoded.make(audio.read(clips[0]), config)
    first, last = encoder.bounds(whole.values)
    np.testing.assert_array_equal(found.values, whole.values[first:last])
    assert found.times[0] == pytest.approx(whole.times[first])
    np.testing.assert_allclose(package.embed("default", clips[0])[0], found.values.mean(0), rtol=1e-4, atol=1e-5)


def test_a_long_recording_has_as_many_states_a_second_as_a_short_one(pretrained, clips, tmp_path):
    wave = np.resize(np.concatenate([audio.read(p).values for p in clips]), 61 * 16000)
    soundfile.write(tmp_path / "long.wav", wave, 16000)
    (found,) = package.embed(pretrained, tmp_path / "long.wav", level="frame")
    assert found.times[-1] == pytest.approx(61, abs=0.1)
    (alone,) = package.embed(pretrained, tmp_path / "long.wav", level="frame", layer=0)
    soundfile.write(tmp_path / "cut.wav", wave[30 * 16000 : 60 * 16000], 16000)
    (cut,) = package.embed(pretrained, tmp_path / "cut.wav", level="frame", layer=0)
    start = round(30 * found.rate_hz)  # what is local to a step lies at its time
    np.testing.assert_allclose(alone.values[start + 2 : start + 700], cut.values[2:700], atol=1e-3)


@pytest.mark.parametrize("level", ["utterance", "frame"])
def test_three_kinds_of_table_hold_the_same(sottovoce, finetuned, clips, tmp_path, level):
    import pandas

    for kind in embed.KINDS:
        done = sottovoce("embed", finetuned, *clips, "-o", tmp_path / f"x{kind}", "--level", level)
        assert done.code == 0, done.err
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        values, rows, times = found["embeddings"], found["rows"], found["times_s"]
        assert found["paths"].tolist() == [str(p) for p in clips]
    assert rows.tolist() == [1, 1, 1] if level == "utterance" else rows.min() > 1
    with open(tmp_path / "x.csv", newline="") as lines:
        cells = list(csv.reader(lines))
    first = 1 if level == "utterance" else 2
    np.testing.assert_allclose(np.array([r[first:] for r in cells[1:]], float), values, rtol=1e-6)
    table = pandas.read_parquet(tmp_path / "x.parquet")
    assert list(table.columns) == cells[0]
    np.testing.assert_array_equal(table[[c for c in cells[0] if c.startswith("e")]].to_numpy(), values)
    if level == "frame":
        np.testing.assert_allclose(table["time_s"], times)


def test_every_kind_of_model_and_layer_is_checked(sottovoce, pretrained, clips, tmp_path):
    assert (
        "Name one of 0 to 2" in sottovoce("embed", pretrained, *clips, "--layer", 9, "-o", tmp_path / "x.npz").complaint
    )
    assert "no layer 9" in sottovoce("embed", "default", *clips, "--layer", 9, "-o", tmp_path / "x.npz").complaint
    assert "unknown kind" in sottovoce("embed", "default", *clips, "-o", tmp_path / "x.xls").complaint
    assert "no such run" in sottovoce("embed", tmp_path / "gone", *clips, "-o", tmp_path / "x.npz").complaint
    assert not any(tmp_path.iterdir())
    with pytest.raises(InputError, match="not a level"):
        package.embed("default", clips[0], level="word")


def test_broken_files_are_listed_or_end_it(sottovoce, pretrained, clips, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    words = ("embed", pretrained, clips[0], tmp_path / "broken.wav", "-o", tmp_path / "x.csv")
    assert "broken.wav" in sottovoce(*words).complaint
    done = sottovoce(*words, "--skip-broken")
    assert done.code == 0
    assert "skipped" in done.err
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("bad", [[], [(np.zeros(1600), 16000)], [None]])
def test_only_paths_are_embedded(bad):
    with pytest.raises(InputError, match="paths of recordings"):
        package.embed("default", bad)
