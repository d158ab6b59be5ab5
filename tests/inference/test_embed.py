"""Embeddings: the states a model has of a recording, the same as in a corpus's track, a row a recording or a frame."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import sottovoce as package
from sottovoce.config.frontend import Frontend
from sottovoce.data import audio
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.memory import Memory
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


@pytest.fixture(scope="module")
def speech(clips):
    """30 s at 16 kHz that begin and end with speech."""
    one = np.concatenate([audio.read(p).values for p in clips])
    loud = np.flatnonzero(np.abs(one) > 0.1 * np.abs(one).max())
    one = one[loud[0] : loud[-1]]
    return np.tile(one, -(-30 * 16000 // len(one)))[-30 * 16000 :]


def _silence(seconds):
    return 1e-6 * np.random.default_rng(0).standard_normal(round(seconds * 16000))


def _frames(model, folder, *parts, layer=0):
    soundfile.write(folder / "made.wav", np.concatenate(parts), 16000, subtype="FLOAT")
    return package.embed(model, folder / "made.wav", level="frame", layer=layer)[0]


@pytest.mark.parametrize("silent_s", [(25, 35), (28, 30), (30, 33), (20, 62)])
def test_silence_at_a_border_moves_nothing(pretrained, speech, tmp_path, silent_s):
    begin, end = silent_s
    tail = speech[-5 * 16000 :]
    alone = _frames(pretrained, tmp_path, tail)
    found = _frames(pretrained, tmp_path, speech[: begin * 16000], _silence(end - begin), tail)
    assert found.times[0] < 0.1
    assert end + 4.9 < found.times[-1] <= end + 5
    assert np.diff(found.values, axis=0).any(axis=1).all()  # no state is there twice
    late = replace(alone, offset_s=alone.offset_s + end)  # layer 0 is local

    def apart(shift_s):
        read = found.align(replace(late, offset_s=late.offset_s + shift_s))
        return np.abs(read.values - late.values)[10:-10].mean()

    assert apart(0) < 0.5 * min(apart(-0.2), apart(0.2))


def test_silent_ends_of_a_long_recording_are_no_frames(pretrained, speech, tmp_path):
    found = _frames(pretrained, tmp_path, _silence(5), speech, _silence(8))
    assert 4.8 < found.times[0] < 5.1
    assert 34.9 < found.times[-1] < 35.2


def test_a_little_more_than_a_piece_changes_nothing_before_it(pretrained, speech, tmp_path):
    short = _frames(pretrained, tmp_path, speech[: int(29.5 * 16000)])
    long = _frames(pretrained, tmp_path, speech, speech[: 2 * 16000])
    same = len(short) - 20  # the end of speech may be cut off
    np.testing.assert_allclose(long.times[:same], short.times[:same], atol=1e-6)
    np.testing.assert_allclose(long.values[:same], short.values[:same], atol=1e-4)


def test_pieces_of_a_recording_have_one_mean_and_deviation(pretrained, speech, tmp_path, monkeypatch):
    backbone, it = network.load_backbone(embed.runs.parts(pretrained)[0])
    own = replace(it, plan=replace(it.plan, frontend=replace(it.plan.frontend, normalise="utterance")))
    monkeypatch.setattr(embed.models, "load_backbone", lambda run: (backbone, own))
    found = _frames(pretrained, tmp_path, speech, 0.2 * speech)
    half = round(30 * found.rate_hz)
    loud, quiet = found.values[10 : half - 10], found.values[half + 10 : 2 * half - 20]
    assert np.abs(loud.mean(0) - quiet.mean(0)).max() > 0.2


@pytest.mark.parametrize("seconds", [0.5, 29.9, 30.5, 31.5, 95.0])
@pytest.mark.parametrize(
    ("rate_hz", "hop_field", "together"), [(100, (1, 1), 3), (100, (2, 1), 1), (1600, (32, 40), 1)]
)
def test_states_of_pieces_lie_where_those_of_the_whole_do(seconds, rate_hz, hop_field, together):
    values = np.random.default_rng(0).standard_normal((round(seconds * rate_hz), 1)).astype(np.float32)
    front = Frontend(subsampling=together, normalise="speaker", trim_db=0)
    whole = Steps([(Memory.of({"": values}, rate_hz, ""), [Utterance("", "made", "")])], front)
    pieces = list(embed._pieces(whole, hop_field))
    assert len(pieces) == (1 if seconds < 31 else 2 if seconds < 61 else 4)
    times = [piece.states(0, 0, int(piece.lengths[0]), hop_field).times for piece in pieces]
    np.testing.assert_allclose(np.concatenate(times), whole.states(0, 0, int(whole.lengths[0]), hop_field).times)
    np.testing.assert_array_equal(pieces[-1][0][0][-1], whole[0][0][-1])


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
