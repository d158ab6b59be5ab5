"""Tables for other programs: one recording with named columns, a corpus in the layout of CMU-MOSEI and its SDK."""

import csv
import json

import csd_layouts
import h5py
import numpy as np
import pytest
import soundfile as sf
from covarep_voice import RATE_HZ, voice

from sottovoce import __version__
from sottovoce.corpora import mosei
from sottovoce.data import audio
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.csd import REQUIRED, read_csd, write_csd
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.pipeline import export_csd, extract, features
from sottovoce.tracks import covarep, fbank


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.wav"
    sf.write(path, voice(seconds=0.5).samples, RATE_HZ)
    return path


@pytest.fixture(scope="module")
def table(clip):
    return features.features(clip, "covarep", [])


def test_covarep_comes_with_its_names_times_and_what_is_defined(table, clip):
    expected = covarep.extract(audio.read(clip).values, RATE_HZ)
    assert table.names == covarep.NAMES
    for found, wanted in ((table.values, expected.values), (table.times_s, expected.times_s)):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(table.defined, expected.defined)


@pytest.mark.parametrize("kind", features.KINDS)
def test_every_kind_of_table_holds_the_same_numbers(table, tmp_path, kind):
    path = tmp_path / f"clip{kind}"
    features.write(path, table, "clip", "covarep")
    if kind == ".csv":
        rows = list(csv.reader(path.open()))
        assert tuple(rows[0]) == ("time_s", *covarep.NAMES)
        numbers = np.array(rows[1:], float)
        times, values = numbers[:, 0], numbers[:, 1:]
    elif kind == ".npz":
        with np.load(path, allow_pickle=False) as found:
            times, values = found["times_s"], found["values"]
            assert tuple(found["names"]) == covarep.NAMES
            np.testing.assert_array_equal(found["defined"], table.defined)
    elif kind == ".h5":
        with h5py.File(path) as found:
            times, values = found["times_s"][()], found["values"][()]
            assert tuple(found["names"].asstr()) == covarep.NAMES
            np.testing.assert_array_equal(found["defined"], table.defined)
    else:
        with read_csd(path) as found:
            assert found.entries == ("clip",)
            assert (found.name, found.dimensions) == ("COVAREP", covarep.NAMES)
            values, intervals = found.video("clip")
            times = intervals.mean(axis=1)
            np.testing.assert_array_equal(values, table.values.astype(np.float32))
            values = table.values
    np.testing.assert_array_equal(values, table.values)
    np.testing.assert_allclose(times, table.times_s, atol=1e-4 if kind == ".csd" else 1e-7)


def test_tracks_without_names_number_their_columns(clip, tmp_path, sottovoce):
    out = tmp_path / "clip.csv"
    assert "48 frames x 40 at 100 Hz" in sottovoce("features", clip, "--set", "bins=40", "-o", out).out
    head, *rows = csv.reader(out.open())
    assert head == ["time_s", *(f"fbank_{k}" for k in range(40))]
    expected = fbank.make(audio.read(clip), fbank.Config(bins=40))
    np.testing.assert_array_equal(np.array(rows, float)[:, 1:].astype(np.float32), expected.values)
    np.testing.assert_allclose(np.array(rows, float)[:, 0], expected.times)
    assert features.features(clip, "wave", []).values.shape == (8000, 1)


def test_a_telephone_recording_is_marked_as_one(tmp_path):
    sf.write(tmp_path / "phone.wav", voice(seconds=0.5).samples[::2], 8000)
    found = features.features(tmp_path / "phone.wav", "covarep", [])
    assert not found.defined[:, covarep.FULL_BAND].any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "clip.xls"], "unknown kind of table. Found .xls"),
        (["-o", "clip"], "Found no suffix"),
        (["--track", "covrep", "-o", "clip.csv"], "Did you mean 'covarep'?"),
        (["--track", "covarep", "--set", "sed=1", "-o", "clip.csv"], "Did you mean 'seed'?"),
        (["--track", "covarep", "--set", "creak=gone.npz", "-o", "clip.csv"], "gone.npz: no creak network"),
    ],
)
def test_what_cannot_be_written_is_one_line(clip, sottovoce, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert said in sottovoce("features", clip, *words).complaint
    assert list(tmp_path.iterdir()) == []


# a corpus as one .csd


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Two videos with three utterances each, and one alone; their COVAREP is the number of the frame."""

    def make(wave, config):
        values = np.zeros((len(wave) // 160, 74), np.float32)
        values[:, 0], values[:, 1] = 1 + np.arange(len(values)), wave.values[0]
        return Track(values, 100.0, covarep.OFFSET_S)

    monkeypatch.setattr(covarep, "make", make)
    root = tmp_path / "audio"
    root.mkdir()
    for k, seconds in enumerate((3.0, 3.0, 1.0)):
        sf.write(root / f"video{k}.wav", np.full(int(seconds * RATE_HZ), 0.25 * (k + 1)), RATE_HZ)
    places = [(k, n, 0.107 + 0.9 * n, 0.9 + 0.9 * n) for n in range(3) for k in range(2)]
    utterances = [Utterance(f"video{k}[{n}]", "tiny", f"video{k}.wav", a, b) for k, n, a, b in places]
    utterances.append(Utterance("alone", "tiny", "video2.wav"))
    made = Corpus(tmp_path / "data", "tiny", root, tuple(utterances), (), {}, {}, {})
    made.save()
    return made


@pytest.fixture
def exported(corpus, tmp_path, sottovoce):
    path = tmp_path / "csd" / "COVAREP.csd"
    assert "3 recordings" in sottovoce("export-csd", corpus.folder, "--track", "covarep", "-o", path).out
    return path


def test_what_the_sdk_checks_is_there(exported):
    """Its rules (`integrity_check.py`, `file_ops.py`): first root key, shapes, and metadata that is JSON."""
    with h5py.File(exported) as file:
        root = file[next(iter(file))]
        for entry in root["data"].values():
            assert entry["intervals"].ndim == 2
            assert entry["features"].ndim >= 2
            assert len(entry["intervals"]) == len(entry["features"])
        metadata = {key: json.loads(value[0]) for key, value in root["metadata"].items()}
        assert not any(set("[]/") & set(entry) for entry in root["data"])
    assert set(REQUIRED) <= set(metadata)
    assert metadata["root name"] == "COVAREP"
    assert metadata["dimension names"] == list(covarep.NAMES)
    assert metadata["creator"] == f"sottovoce {__version__}"
    assert "ICASSP 2014" in metadata["featureset bib citation"]
    for key in ("featureset bib citation", "dataset bib citation", "dataset name"):
        assert isinstance(metadata[key], str)  # the SDK joins them


def test_rows_lie_at_their_times_in_the_recording(exported):
    with read_csd(exported) as found:
        assert found.videos == ("video0", "video1", "video2")
        for video in found.videos:
            values, intervals = found.video(video)
            assert values.dtype == np.float32
            np.testing.assert_allclose(intervals.mean(axis=1), covarep.OFFSET_S + (values[:, 0] - 1) / 100, atol=4e-5)
            assert (np.diff(intervals[:, 0]) > 0).all()
            assert intervals.min() >= 0
        assert len(found.video("video2")[0]) == 100


def test_the_reader_of_mosei_gets_the_same_tracks_back(corpus, exported):
    """Exactly, also for segments that begin between two frames."""
    store = extract.track_store(corpus, "covarep", quiet=True)
    spoken = [u for u in corpus.utterances if u.end]
    rows = []
    for video in ("video0", "video1"):
        times = np.array([(u.start, u.end) for u in spoken if u.path.startswith(video)])
        rows.append((video, np.tile(np.float32([0, 1, 0, 0, 0, 0, 0]), (len(times), 1)), times))
    labels = {"dimension names": list(csd_layouts.ORDER)}
    write_csd(exported.with_name("Labels.csd"), "All Labels", rows, labels)
    again = mosei.utterances(exported.parent)
    assert {u.id for u in again} == {u.id for u in spoken}
    for id, track in mosei.read_track(exported.parent, again, "covarep"):
        np.testing.assert_array_equal(track.values, store[id])
        assert track.rate_hz == 100.0


def test_exporting_what_was_imported_changes_no_number(tmp_path):
    from sottovoce.pipeline import prepare

    csd_layouts.mosei(tmp_path / "csd", n_videos=6)
    prepare.prepare("mosei", tmp_path / "csd", tmp_path / "data")
    corpus = Corpus.load(tmp_path / "data")
    store = extract.track_store(corpus, "covarep", quiet=True)
    export_csd.export(corpus, store, tmp_path / "again" / "COVAREP.csd")
    (tmp_path / "again" / "Labels.csd").write_bytes((tmp_path / "csd" / "CMU_MOSEI_Labels.csd").read_bytes())
    again = mosei.utterances(tmp_path / "again")
    assert [u.id for u in again] == [u.id for u in corpus.utterances]
    for id, track in mosei.read_track(tmp_path / "again", again, "covarep"):
        np.testing.assert_array_equal(track.values, store[id])


def test_overlapping_utterances_are_written_once_and_other_tracks_too(corpus, tmp_path):
    both = [Utterance("a", "tiny", "video0.wav", 0.0, 1.0), Utterance("b", "tiny", "video0.wav", 0.5, 1.5)]
    overlapping = Corpus(tmp_path / "two", "tiny", corpus.root, tuple(both), (), {}, {}, {})
    for track, rows in (("covarep", 150), ("fbank", 148)):
        store = extract.track_store(overlapping, track, quiet=True)
        assert export_csd.export(overlapping, store, tmp_path / f"{track}.csd") == 1
        with read_csd(tmp_path / f"{track}.csd") as found:
            assert found.name == track.upper()
            values, intervals = found.video("video0")
            assert (np.diff(intervals[:, 0]) > 1e-6).all()
            assert abs(len(values) - rows) <= 1
    assert found.dimensions[0] == "fbank_0"


def test_a_csd_is_named_as_the_sdk_wants_it(corpus, tmp_path, sottovoce):
    said = sottovoce("export-csd", corpus.folder, "-o", tmp_path / "covarep.h5").complaint
    assert "not a .csd file" in said
    with pytest.raises(InputError, match="two recordings of this name"):
        export_csd.entry_names(["a/b.wav", "a_b.wav", "c/b.wav"])
