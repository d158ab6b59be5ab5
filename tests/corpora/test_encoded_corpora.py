"""Corpora that come as encoded features: `.csd` (MOSEI, MOSI) and the .h5 layout of MFN."""

import os
import re
import shutil
from pathlib import Path

import csd_layouts
import h5py
import numpy as np
import pytest
from csd_layouts import EMOTIONS, ORDER, frame_clock, segment_times, videos

from sottovoce.corpora import _cmu, mfn, mosei, mosi
from sottovoce.data import csd
from sottovoce.errors import InputError
from sottovoce.tracks import covarep


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    return csd_layouts.mosei(tmp_path_factory.mktemp("mosei"))


@pytest.fixture
def own(official, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(official, tmp_path / "mosei"))


def rewrite(path: Path, change) -> None:
    """Read every entry of a `.csd`, let `change(name, features, intervals)` alter it, and write it back."""
    with csd.read_csd(path) as file:
        name, metadata = file.name, file.metadata
        entries = [(entry, *change(entry, *file.video(entry))) for entry in file.entries]
    write_raw(path, name, entries, metadata)


def write_raw(path, name, entries, metadata):
    csd.write_csd(path, name, entries, {k: v for k, v in metadata.items() if k != "root name"})


def fails(match: str, call, *args, **options) -> str:
    """The one line of the InputError that `call`, or walking through what it returns, ends with."""

    def walk():
        for _ in call(*args, **options):
            pass

    with pytest.raises(InputError, match=match) as caught:
        walk()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# the layout


def test_what_is_written_is_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    rows = {
        "-aBc_1": (rng.normal(size=(7, 3)).astype(np.float32), frame_clock(7)),
        "zz": (np.array([[b"word"], [b"sp"]]), np.array([[0.0, 0.5], [0.5, 1.25]])),
        "zz_none": (np.zeros((0, 3)), np.zeros((0, 2))),
    }
    rows["-aBc_1"][0][2, 1] = -np.inf
    notes = {"dimension names": ["a", "b", "c"], "creator": 'Ann "Q" Öl', "version": 1.5}
    csd.write_csd(tmp_path / "x.csd", "My Root", ((k, *v) for k, v in rows.items()), notes)
    with csd.read_csd(tmp_path / "x.csd") as file:
        assert file.name == "My Root"
        assert file.metadata == {"root name": "My Root", **notes}
        assert file.dimensions == ("a", "b", "c")
        assert set(file.videos) == set(rows)
        for video, (features, intervals) in rows.items():
            again, times = file.video(video)
            assert again.dtype == features.dtype
            np.testing.assert_array_equal(again, features)
            np.testing.assert_array_equal(times, intervals)
            np.testing.assert_array_equal(file.intervals(video), intervals)
            assert file.rows(video) == features.shape


def test_aligned_entries_come_in_the_order_of_their_numbers(tmp_path):
    rows = [(f"v[{k}]", np.full((2, 1), k), np.full((2, 2), k)) for k in range(12)]
    csd.write_csd(tmp_path / "x.csd", "r", [*rows, ("w", np.zeros((1, 1)), np.zeros((1, 2)))], {})
    with csd.read_csd(tmp_path / "x.csd") as file:
        assert file.aligned
        assert file.videos == ("v", "w")
        assert file.video("v")[0][::2, 0].tolist() == list(range(12))
        assert file.intervals("v")[::2, 0].tolist() == list(range(12))


def test_half_a_file_is_never_left_behind(tmp_path):
    def entries():
        yield "a", np.zeros((3, 2)), np.zeros((3, 2))
        yield "b", np.zeros((3, 2)), np.zeros((4, 2))

    with pytest.raises(ValueError, match="b: features"):
        csd.write_csd(tmp_path / "x.csd", "r", entries(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "stored",
    ['["happy", "sad"]', "['happy', 'sad']", "happy, sad", "[happy,sad]", '[["happy", "sad"]]'],
)
@pytest.mark.parametrize("key", ["dimension names", "dimension namescomputational sequence version"])
def test_dimension_names_are_found_however_they_were_stored(tmp_path, stored, key):
    csd.write_csd(tmp_path / "x.csd", "r", [("a", np.zeros((1, 2)), np.zeros((1, 2)))], {})
    with h5py.File(tmp_path / "x.csd", "a") as file:
        file["r/metadata"].create_dataset(key, data=[stored], dtype=h5py.string_dtype())
    with csd.read_csd(tmp_path / "x.csd") as file:
        assert file.dimensions == ("happy", "sad")


@pytest.mark.parametrize("group", ["data", "metadata"])
def test_a_missing_group_is_named(own, group):
    path = own / "CMU_MOSEI_Labels.csd"
    with h5py.File(path, "a") as file:
        del file[f"All Labels/{group}"]
    assert str(path) in fails(f"no group {group} in 'All Labels'", mosei.utterances, own)


def test_other_files_are_told_apart(tmp_path):
    fails("no such file", csd.read_csd, tmp_path / "none.csd")
    (tmp_path / "page.csd").write_text("<!DOCTYPE html><title>404</title>")
    assert "<!DOCTYPE" in fails("not an HDF5 file", csd.read_csd, tmp_path / "page.csd")
    (tmp_path / "nothing.csd").touch()
    fails("not an HDF5 file", csd.read_csd, tmp_path / "nothing.csd")
    h5py.File(tmp_path / "empty.csd", "w").close()
    fails("no root group", csd.read_csd, tmp_path / "empty.csd")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_one_line(own, share):
    path = own / "CMU_MOSEI_COVAREP.csd"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert str(path) in fails("damaged or truncated", mosei.utterances, own)


# MOSEI


def test_segments_carry_the_labels_in_the_asserted_order(official):
    found = mosei.utterances(official)
    truth = dict(zip(videos(6), csd_layouts.intensities(6, 3).astype(np.float32), strict=True))
    assert [u.id for u in found[:3]] == ["-v00_aB0[0]", "-v00_aB0[1]", "-v00_aB0[2]"]
    assert len(found) == 18
    for u in found:
        assert [u.labels[name] for name in ORDER] == truth[u.session][int(u.id[-2])].tolist()
        assert u.speaker == u.session == u.id.partition("[")[0]
    times = [[u.start, u.end] for u in found[:3]]
    np.testing.assert_array_equal(times, segment_times(3))


def test_every_label_is_declared(official):
    for u in mosei.utterances(official):
        assert set(u.labels) <= set(mosei.KINDS)
    assert set(mosei.TARGET) == set(EMOTIONS)
    assert set(mosei.TARGET) <= set(mosei.RANGES)


def test_standard_folds_come_from_the_lists_of_the_sdk(official):
    found = mosei.utterances(official)
    (fold,) = mosei.folds(found)
    ids = videos(6)
    assert fold.group == "video"
    assert [len(part) for part in (fold.train, fold.dev, fold.test)] == [12, 3, 3]
    assert {i.partition("[")[0] for i in fold.dev} == {ids[4]}
    assert {i.partition("[")[0] for i in fold.test} == {ids[5]}
    assert not any("no standard fold list" in line for line in mosei.problems(official, mosei.utterances(official)))


def test_the_fold_list_is_parsed_and_never_run(own):
    (own / "cmu_mosei_std_folds.py").write_text(
        "import os\nos.abort()\nfoldsdoc='x'\nstandard_train_fold=['-v00_aB0']\nstandard_valid_fold=('v01_aB1',)\n"
        "standard_test_fold=['v02_aB2']\n"
    )
    found = mosei.utterances(own)
    (fold,) = mosei.folds(found)
    assert (len(fold.train), len(fold.dev), len(fold.test)) == (3, 3, 3)
    assert sum("split" not in u.labels for u in found) == 9  # videos in none stay, as unlabelled speech may


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mosei_folds.csv", "video,split\n-v00_aB0,train\nv01_aB1,valid\nv02_aB2,test\n"),
        (
            "segments.csv",
            "row,file,index,split\n0,-v00_aB0,0,0\n1,-v00_aB0,1,0\n2,v01_aB1,0,1\n3,v02_aB2,0,2\n4,-v03_aB3,0,3\n",
        ),
        ("folds.json", '{"train": ["-v00_aB0"], "valid": ["v01_aB1"], "test": ["v02_aB2"]}'),
        ("folds.json", '{"-v00_aB0": "train", "v01_aB1": "dev", "v02_aB2": "test"}'),
    ],
)
def test_fold_lists_of_every_kind_say_the_same(own, name, text):
    (own / "cmu_mosei_std_folds.py").unlink()
    (own / name).write_text(text)
    (fold,) = mosei.folds(mosei.utterances(own))
    assert [part[0] for part in (fold.train, fold.dev, fold.test)] == ["-v00_aB0[0]", "v01_aB1[0]", "v02_aB2[0]"]
    assert [len(part) for part in (fold.train, fold.dev, fold.test)] == [3, 3, 3]


def test_a_fold_list_above_the_data_is_found(own):
    (own / "cmu_mosei_std_folds.py").rename(own.parent / "cmu_mosei_std_folds.py")
    assert [fold.name for fold in mosei.folds(mosei.utterances(own))] == ["standard"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("video,split\na,train\na,test\n", "'a' is in train and in test"),
        ("video,split\na,holdout\n", "unknown split 'holdout'"),
        ("clip,split\na,train\n", "no column video"),
        ("video,who\na,train\n", "no column split"),
        ("video,split\nother,train\n", "no video of this corpus"),
        ("", "no column video"),
    ],
)
def test_a_bad_fold_list_is_refused(own, text, match):
    (own / "list.csv").write_text(text)
    fails(match, mosei.utterances, own, folds_file=own / "list.csv")


def test_without_lists_videos_are_drawn_by_seed_and_the_report_says_so(own):
    (own / "cmu_mosei_std_folds.py").unlink()
    found = mosei.utterances(own)
    (fold,) = mosei.folds(found)
    assert mosei.folds(found) == [fold]
    sides = [{i.partition("[")[0] for i in part} for part in (fold.train, fold.dev, fold.test)]
    assert all(sides)
    assert len(set.union(*sides)) == sum(map(len, sides)) == 6
    assert any("not the official one" in line for line in mosei.problems(own, mosei.utterances(own)))


def test_files_are_known_by_content_and_not_by_name(tmp_path):
    csd_layouts.mosei(tmp_path, names=("audio/part1.csd", "target.csd"))
    word = (np.zeros((2, 300), np.float32), frame_clock(2))
    csd.write_csd(tmp_path / "COVAREP_labels.csd", "glove_vectors", [("x", *word)], {})
    found = mosei.utterances(tmp_path)
    assert len(found) == 18
    assert found[0].path == "audio/part1.csd#-v00_aB0"
    assert len(list(mosei.read_track(tmp_path, found, "covarep"))) == 18


def test_two_candidates_are_not_chosen_between(own):
    shutil.copy(own / "CMU_MOSEI_COVAREP.csd", own / "other.csd")
    text = fails("more than one file", mosei.utterances, own)
    assert "--features" in text
    assert len(mosei.utterances(own, features=own / "other.csd")) == 18
    assert mosei.utterances(own, features=Path("other.csd"))[0].path == "other.csd#-v00_aB0"


def test_features_may_lie_elsewhere(own, tmp_path):
    away = tmp_path / "away.csd"
    (own / "CMU_MOSEI_COVAREP.csd").rename(away)
    assert "CMU_MOSEI_Labels.csd" in fails("no COVAREP features", mosei.utterances, own)
    found = mosei.utterances(own, features=away)
    assert len(list(mosei.read_track(own, found, "covarep"))) == 18


def test_the_wrong_label_order_is_refused(tmp_path):
    paper = ("sentiment", "happy", "sad", "anger", "fear", "disgust", "surprise")
    csd_layouts.mosei(tmp_path, order=paper)
    text = fails("wrong label order", mosei.utterances, tmp_path)
    assert "Found " + ", ".join(paper) in text
    assert "expected " + ", ".join(ORDER) in text


def test_other_words_for_the_same_emotions_are_fine(tmp_path):
    csd_layouts.mosei(tmp_path, order=("Sentiment", "Happiness", "Sadness", "Anger", "Surprise", "Disgust", "Fear"))
    assert len(mosei.utterances(tmp_path)) == 18


def test_a_label_file_without_names_is_trusted_only_when_it_has_no_metadata_at_all(own):
    path = own / "CMU_MOSEI_Labels.csd"
    with h5py.File(path, "a") as file:
        del file["All Labels/metadata/dimension names"]
    fails("no dimension names", mosei.utterances, own)
    with h5py.File(path, "a") as file:
        del file["All Labels/metadata/root name"]
    assert len(mosei.utterances(own)) == 18
    assert any("taken on trust" in line for line in mosei.problems(own, mosei.utterances(own)))


def test_labels_of_emotions_alone_have_six_columns(own):
    path = own / "CMU_MOSEI_Labels.csd"
    with csd.read_csd(path) as file:
        rows = [(v, file.video(v)[0][:, 1:], file.video(v)[1]) for v in file.videos]
    before = mosei.utterances(own)
    path.unlink()
    csd.write_csd(own / "CMU_MOSEI_LabelsEmotions.csd", "Emotion Labels", rows, {"dimension names": list(EMOTIONS)})
    for a, b in zip(before, mosei.utterances(own), strict=True):
        assert {k: v for k, v in a.labels.items() if k != "sentiment"} == b.labels


def test_labels_beyond_their_range_are_clamped_and_counted(own):
    def beyond(entry, values, intervals):
        if entry == "v01_aB1":
            values[:2, 1] = [3.75, 5.0]
            values[2, 0] = -4.0
            values[2, 3] = np.nan
        return values, intervals

    rewrite(own / "CMU_MOSEI_Labels.csd", beyond)
    rows = [u.labels for u in mosei.utterances(own) if u.session == "v01_aB1"]
    assert [row["happy"] for row in rows[:2]] == [3.0, 3.0]
    assert rows[2]["sentiment"] == -3.0
    assert "anger" not in rows[2]
    text = " | ".join(mosei.problems(own, mosei.utterances(own)))
    assert "2 values of happy outside [0, 3], clamped" in text
    assert "1 values of sentiment outside [-3, 3], clamped" in text
    assert "1 labels are not finite" in text


def test_infinite_frames_become_zero_and_are_counted(own):
    def spoil(entry, values, intervals):
        if entry == "v01_aB1":
            values[40:44, 11] = -np.inf
            values[44, 3] = np.nan
            values[45] = -np.inf
            values[46] = 0
        return values, intervals

    rewrite(own / "CMU_MOSEI_COVAREP.csd", spoil)
    lines = mosei.problems(own, mosei.utterances(own))
    assert any(line.startswith("5 of ") and "-inf" in line for line in lines)
    assert any(line.startswith("1 of ") and "NaN" in line for line in lines)
    assert any(line.startswith("1 of ") and "nothing but zeros" in line for line in lines)
    tracks = dict(mosei.read_track(own, mosei.utterances(own), "covarep"))
    values = tracks["v01_aB1[0]"].values  # starts at 0.4 s, frame 40
    assert np.isfinite(values).all()
    assert (values[:4, 11] == 0).all()
    assert values[:4, 10].all()
    assert values[4, 3] == 0
    assert (values.any(axis=1)[:8]).tolist() == [True] * 5 + [False] * 2 + [True]


def test_mismatched_intervals_are_refused(own):
    path = own / "CMU_MOSEI_COVAREP.csd"
    with h5py.File(path, "a") as file:
        entry = file["COVAREP/data/v01_aB1"]
        short = entry["intervals"][:-1]
        del entry["intervals"]
        entry["intervals"] = short
    assert "v01_aB1" in fails("features and intervals do not match", mosei.utterances, own)
    with h5py.File(path, "a") as file:
        del file["COVAREP/data/v01_aB1/intervals"]
    fails("has no intervals", mosei.utterances, own)


@pytest.mark.parametrize("width", [43, 5])
def test_another_width_than_74_is_refused(own, width):
    rewrite(own / "CMU_MOSEI_COVAREP.csd", lambda entry, x, t: (x[:, :width], t))
    fails(f"wrong feature width. Found {width} columns", mosei.utterances, own)


def test_one_entry_of_another_width_is_refused(own):
    rewrite(own / "CMU_MOSEI_COVAREP.csd", lambda entry, x, t: (x[:, : 73 if entry == "v02_aB2" else 74], t))
    fails("'v02_aB2' has 73 columns", mosei.utterances, own)


def test_columns_in_another_order_are_refused(own):
    path = own / "CMU_MOSEI_COVAREP.csd"
    with csd.read_csd(path) as file:
        entries = [(v, *file.video(v)) for v in file.videos]
    swapped = ["VUV", "F0", *covarep.NAMES[2:]]
    csd.write_csd(path, "COVAREP", entries, {"dimension names": swapped})
    fails("wrong column order. Found VUV in column 0, expected F0", mosei.utterances, own)


def test_segments_without_frames_and_videos_without_features_are_dropped_and_named(own):
    late = np.array([[900.0, 901.0]])

    def add(entry, x, t):
        return (np.concatenate([x, x[:1]]), np.concatenate([t, late])) if entry == "v01_aB1" else (x, t)

    rewrite(own / "CMU_MOSEI_Labels.csd", add)
    path = own / "CMU_MOSEI_COVAREP.csd"
    with csd.read_csd(path) as file:
        kept = [(v, *file.video(v)) for v in file.videos if v != "v02_aB2"]
    csd.write_csd(path, "COVAREP", kept, {})
    found = mosei.utterances(own)
    assert len(found) == 15
    text = " | ".join(mosei.problems(own, mosei.utterances(own)))
    assert "1 videos without features, dropped: v02_aB2" in text
    assert "1 segments without frames, dropped: v01_aB1[3]" in text


def test_features_of_another_corpus_are_refused(own):
    rewrite_ids = [(f"other{k}", np.ones((50, 74)), frame_clock(50)) for k in range(3)]
    csd.write_csd(own / "CMU_MOSEI_COVAREP.csd", "COVAREP", rewrite_ids, {})
    fails("no segment has frames", mosei.utterances, own)


def test_only_covarep_can_be_read(official):
    fails("unknown track of mosei 'fbank'", mosei.read_track, official, mosei.utterances(official), "fbank")


# frames of a segment


def slow_slice(features, intervals, start, end):
    """One row at a time, written from the definition: centre in [start, end), sorted by time."""
    kept = []
    for row, (begin, stop) in zip(features, intervals, strict=True):
        centre = (begin + stop) / 2
        if start - 1e-8 <= centre < end - 1e-8:
            kept.append((centre, row))
    return np.array([row for _, row in sorted(kept, key=lambda pair: pair[0])])


def test_segments_are_cut_as_a_slow_loop_cuts_them(own):
    rng = np.random.default_rng(3)

    def jagged(entry, values, intervals):
        start = np.sort(rng.uniform(0, 5, 4)).round(3)
        return np.repeat(values[:1], 4, 0), np.stack([start, start + rng.uniform(0.02, 1.3, 4).round(3)], axis=1)

    rewrite(own / "CMU_MOSEI_Labels.csd", jagged)
    rewrite(own / "CMU_MOSEI_COVAREP.csd", lambda entry, x, t: (x[::-1], t[::-1]))  # rows in any order
    found = mosei.utterances(own)
    tracks = dict(mosei.read_track(own, found, "covarep"))
    with csd.read_csd(own / "CMU_MOSEI_COVAREP.csd") as file:
        for u in found:
            expected = slow_slice(*file.video(u.session), u.start, u.end)
            np.testing.assert_array_equal(tracks[u.id].values, expected)
    assert {t.rate_hz for t in tracks.values()} == {100.0}
    assert {t.offset_s for t in tracks.values()} == {0.005}


def test_a_segment_that_begins_before_its_video_is_cut_at_zero(own):
    rewrite(own / "CMU_MOSEI_Labels.csd", lambda entry, x, t: (x, t - [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    found = mosei.utterances(own)
    assert found[0].start == 0.0
    tracks = dict(mosei.read_track(own, found, "covarep"))
    assert len(tracks[found[0].id]) == 190  # frames of 0 to 1.9 s, none made up
    assert any("6 segments begin before 0 s" in line for line in mosei.problems(own, mosei.utterances(own)))


def test_reading_keeps_the_order_within_a_video_and_any_selection(official):
    found = mosei.utterances(official)
    whole = dict(mosei.read_track(official, found, "covarep"))
    some = [found[16], found[2], found[0], found[17]]
    again = list(mosei.read_track(official, some, "covarep"))
    assert [name for name, _ in again] == [u.id for u in (found[16], found[17], found[2], found[0])]
    for name, track in again:
        np.testing.assert_array_equal(track.values, whole[name].values)


def test_labels_can_be_seen_in_the_frames_that_were_cut(official):
    found = mosei.utterances(official)
    for (_, track), u in zip(mosei.read_track(official, found, "covarep"), found, strict=True):
        np.testing.assert_allclose(track.values[:, :6].mean(0), [u.labels[e] for e in EMOTIONS], atol=0.25)


def test_a_gap_keeps_its_length_as_zero_frames():
    values = np.arange(1, 7, dtype=np.float32)[:, None]
    centres = 7.0 + np.array([0.025, 0.035, 0.065, 0.075, 0.085, 0.115])
    grid = _cmu.on_grid(values, centres, 7.0)
    assert grid[:, 0].tolist() == [0, 0, 1, 2, 0, 0, 3, 4, 5, 0, 0, 6]


def test_an_exact_clock_is_copied_at_any_phase():
    values = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    for phase in (0.0, 0.0012, 0.005, 0.0099):
        for begin in (0.0, 12.345, 2999.995):
            centres = begin + phase + np.arange(500) / 100
            np.testing.assert_array_equal(_cmu.on_grid(values, centres, begin), values)
            rounded = centres.astype(np.float32).astype(float)
            np.testing.assert_array_equal(_cmu.on_grid(values, rounded, min(begin, rounded[0])), values)


@pytest.mark.parametrize("rate", [98.5, 99.5, 100.7, 101.5])
def test_a_slightly_wrong_clock_does_not_drift(rate):
    centres = 5.0 + (np.arange(2000) + 0.5) / rate
    grid = _cmu.on_grid((centres - 5.0)[:, None], centres, 5.0)  # the value is its own time
    times = (np.arange(len(grid)) + 0.5) / 100
    assert np.abs(grid[:, 0] - times).max() < 0.0101
    assert abs(len(grid) - 2000 / rate * 100) <= 1


@pytest.mark.parametrize("rate", [20.0, 90.0, 103.0])
def test_another_frame_rate_is_refused(own, rate):
    rewrite(own / "CMU_MOSEI_COVAREP.csd", lambda entry, x, t: (x, t * 100 / rate))
    fails(f"comes at {rate:.4g} rows a second", mosei.utterances, own)


def test_files_aligned_to_segments_give_the_same_frames(own):
    before = dict(mosei.read_track(own, mosei.utterances(own), "covarep"))
    path = own / "CMU_MOSEI_COVAREP.csd"
    entries = []
    with csd.read_csd(path) as file:
        for video in file.videos:
            x, t = file.video(video)
            for k, (start, end) in enumerate(segment_times(3)):
                inside = (t.mean(1) > start - 0.1) & (t.mean(1) < end + 0.5)  # neighbours share frames
                entries.append((f"{video}[{k}]", x[inside], t[inside]))
    csd.write_csd(path, "COVAREP", entries, {})
    after = dict(mosei.read_track(own, mosei.utterances(own), "covarep"))
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name].values, after[name].values)


def test_words_are_steps(own):
    path = own / "CMU_MOSEI_COVAREP.csd"
    entries = []
    for k, video in enumerate(videos(6)):
        for j, (start, end) in enumerate(segment_times(3)):
            edges = np.sort(np.r_[start, np.random.default_rng(9 * k + j).uniform(start, end, 4), end])
            entries.append((f"{video}[{j}]", np.full((5, 74), j + 1.0), np.stack([edges[:-1], edges[1:]], 1)))
    csd.write_csd(path, "COVAREP", entries, {})
    found = mosei.utterances(own)
    tracks = dict(mosei.read_track(own, found, "covarep"))
    assert {t.rate_hz for t in tracks.values()} == {1.0}
    assert all(t.values.shape == (5, 74) for t in tracks.values())
    assert (tracks["v01_aB1[2]"].values == 3).all()
    assert any("aligned to words" in line for line in mosei.problems(own, mosei.utterances(own)))


# MOSI


def test_mosi_has_sentiment_alone(tmp_path):
    csd_layouts.mosi(tmp_path)
    found = mosi.utterances(tmp_path)
    assert all(set(u.labels) == {"sentiment"} for u in found)
    (fold,) = mosi.folds(found)
    assert len(fold.train) + len(fold.dev) + len(fold.test) == len(found) == 18
    assert len(list(mosi.read_track(tmp_path, found, "covarep"))) == 18


def test_mosei_labels_are_no_mosi_labels(official):
    fails("no labels of 1 columns", mosi.utterances, official)


# MFN


def test_padding_is_cut_and_empty_examples_are_dropped(tmp_path):
    csd_layouts.mfn(tmp_path / "mmmo")
    found = mfn.utterances(tmp_path / "mmmo")
    assert found == [
        type(u)(**{**{f: getattr(u, f) for f in u.__slots__}, "path": u.path.removeprefix("mmmo/")})
        for u in mfn.utterances(tmp_path)
    ]
    assert len(found) == 12 + 4 + 5 - 3
    tracks = dict(mfn.read_track(tmp_path / "mmmo", found, "covarep"))
    for word, split in (("train", "train"), ("valid", "dev"), ("test", "test")):
        with h5py.File(tmp_path / "mmmo" / f"audio_{word}.h5") as audio, h5py.File(tmp_path / f"mmmo/y_{word}.h5") as y:
            for k in range(1, len(audio["d1"])):
                x = audio["d1"][k]
                filled = [row for row in x if row.any()]  # no zero rows inside
                np.testing.assert_array_equal(tracks[f"mmmo_{split}_{k:03d}"].values, np.float32(filled))
                label = next(u for u in found if u.id == f"mmmo_{split}_{k:03d}").labels
                assert label == {"sentiment": y["d1"][k]}
    (fold,) = mfn.folds(found)
    assert [len(part) for part in (fold.train, fold.dev, fold.test)] == [11, 3, 4]
    assert any("3 of 21 examples" in line for line in mfn.problems(tmp_path, mfn.utterances(tmp_path)))
    assert any("speakers are not given" in line for line in mfn.problems(tmp_path, mfn.utterances(tmp_path)))


def test_two_parts_have_to_be_chosen_between(tmp_path):
    csd_layouts.mfn(tmp_path / "mmmo")
    csd_layouts.mfn(tmp_path / "youtube", one_hot=True)
    fails("--part", mfn.utterances, tmp_path)
    fails("unknown part of mfn 'youtub'. .* Did you mean 'youtube'", mfn.utterances, tmp_path, part="youtub")
    found = mfn.utterances(tmp_path, part="youtube")
    with h5py.File(tmp_path / "youtube/y_test.h5") as y:
        row = y["d1"][1]
    assert next(u for u in found if u.id == "youtube_test_001").labels == {"sentiment_class": f"class{row.argmax()}"}


def replace(path: Path, values, name="d1"):
    with h5py.File(path, "w") as file:
        file[name] = values


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda d: (d / "y_valid.h5").unlink(), "y_valid.h5: no such file"),
        (lambda d: (d / "audio_test.h5").write_bytes((d / "audio_test.h5").read_bytes()[:5000]), "not a readable HDF5"),
        (lambda d: replace(d / "audio_test.h5", np.zeros((5, 20, 43))), "wrong feature width. Found .*5 x 20 x 43"),
        (lambda d: replace(d / "audio_test.h5", np.zeros((5, 20, 74)), "d2"), "no dataset d1. Found d2"),
        (lambda d: replace(d / "y_test.h5", np.ones(4)), "Found 4 labels and 5 examples"),
        (lambda d: replace(d / "y_test.h5", np.full(5, np.nan)), "labels that are not finite"),
        (lambda d: replace(d / "y_test.h5", np.ones((5, 3))), "not one-hot"),
        (lambda d: replace(d / "y_test.h5", np.ones((5, 7))), "not labels. Found an array of 5 x 7"),
        (lambda d: (d / "audio_train.h5").unlink(), "no audio_train.h5"),
    ],
)
def test_damaged_mfn_files_are_one_line(tmp_path, spoil, match):
    csd_layouts.mfn(tmp_path)
    spoil(tmp_path)
    fails(match, mfn.utterances, tmp_path)


# COVAREP


def test_the_74_columns():
    assert len(covarep.NAMES) == len(set(covarep.NAMES)) == covarep.Config().dim == 74
    assert covarep.NAMES[11] == "MCEP_0"
    assert covarep.NAMES[60:62] == ("HMPDM_24", "HMPDD_0")


def test_cleaning_touches_only_what_is_not_finite():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 74))
    spoiled = values.copy()
    holes = rng.random(values.shape) < 0.1
    spoiled[holes] = rng.choice([np.nan, np.inf, -np.inf, 1e300], holes.sum())
    spoiled[7] = -np.inf
    cleaned, valid = covarep.clean(spoiled)
    holes[7] = True
    np.testing.assert_array_equal(cleaned, np.where(holes, 0, values).astype(np.float32))
    assert (~valid).nonzero()[0].tolist() == [7]


# the real files


@pytest.fixture
def real() -> Path:
    folder = os.environ.get("SOTTOVOCE_DATA")
    if not folder or not (Path(folder) / "covarep_mfn").is_dir():
        pytest.skip("SOTTOVOCE_DATA is not set, or holds no covarep_mfn")
    return Path(folder)


@pytest.mark.data
def test_the_published_words_of_mosi_are_read(real):
    path = real / "covarep_mfn/cmu_mosi_words_csd/CMU_MOSI_ModifiedTimestampedWords.csd"
    with csd.read_csd(path) as file:
        assert len(file.videos) == 93
        assert file.dimensions is None
        words, times = file.video("03bSnISJMiM")
        assert words[:3, 0].tolist() == [b"oh", b"sp", b"this"]
        assert times[0].tolist() == pytest.approx([2.11768707, 5.16077098])
        for video in file.videos:
            assert len(file.video(video)[0]) == len(file.intervals(video))
    fails("no COVAREP features", mosi.utterances, path.parent)


@pytest.mark.data
def test_mmmo_and_youtube_have_the_published_sizes(real):
    mmmo = mfn.utterances(real / "covarep_mfn", part="mmmo")
    (fold,) = mfn.folds(mmmo)
    assert [len(part) for part in (fold.train, fold.dev, fold.test)] == [220, 40, 80]
    assert sorted({u.labels["sentiment"] for u in mmmo}) == [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    assert all(np.isfinite(t.values).all() for _, t in mfn.read_track(real / "covarep_mfn", mmmo, "covarep"))
    youtube = mfn.utterances(real / "covarep_mfn/youtube")
    assert len(youtube) == 269 - 191
    assert {u.labels["sentiment_class"] for u in youtube} == {"class0", "class1", "class2"}


@pytest.mark.data
def test_the_columns_are_named_as_in_the_published_table(real):
    lines = (real / "covarep_mfn/feature_names.csv").read_text().splitlines()[1:]
    assert tuple(line.split(",")[1] for line in lines) == covarep.NAMES


@pytest.mark.data
def test_the_real_segment_list_gives_the_standard_folds(real):
    import csv

    sides = _cmu.read_folds(real / "mosei_segments/segments.csv")
    counts = {side: sum(s == side for s in sides.values()) for side in ("train", "dev", "test")}
    assert counts == {"train": 2249, "dev": 300, "test": 676}  # two more of the list have no labelled segment
    with open(real / "mosei_segments/segments.csv") as lines:
        rows = [sides[row["file"]] for row in csv.DictReader(lines)]
    assert [rows.count(side) for side in ("train", "dev", "test", "")] == [16327, 1871, 4662, 399]


@pytest.mark.parametrize("name", [b"dimension names", b"v1"])
def test_a_name_that_is_no_text_is_damage(tmp_path, name):
    """HDF5 keeps names as bytes; a disk may have changed one."""
    rows = np.zeros((3, 2), np.float32)
    csd.write_csd(tmp_path / "x.csd", "COVAREP", [("v1", rows, rows)], {"dimension names": ["a", "b"]})
    data = (tmp_path / "x.csd").read_bytes()
    assert name in data
    (tmp_path / "y.csd").write_bytes(data.replace(name, b"\xff" + name[1:]))
    with pytest.raises(InputError, match="a damaged HDF5 file"), csd.CsdFile(tmp_path / "y.csd"):
        pass


def test_an_entry_that_cannot_be_found_is_damage(tmp_path):
    """A group finds its members by the places of their names; each group's are said to be far behind its end."""
    rows = np.zeros((3, 2), np.float32)
    csd.write_csd(tmp_path / "x.csd", "COVAREP", [("v1", rows, rows)], {"dimension names": ["a", "b"]})
    data, said = (tmp_path / "x.csd").read_bytes(), []
    for tree in [m.start() for m in re.finditer(b"TREE", data)]:
        (tmp_path / "y.csd").write_bytes(data[: tree + 40] + b"\xff" * 4 + data[tree + 44 :])
        try:
            with csd.CsdFile(tmp_path / "y.csd") as found:
                found.video("v1")
        except InputError as error:
            said.append(str(error))
    assert any("entry 'v1' cannot be opened" in text for text in said), said


def test_a_heap_without_an_end_is_damage(tmp_path):
    """Every object of the heaps in which texts lie loses its number and size, one after another; none may hang."""
    rows = np.zeros((3, 2), np.float32)
    csd.write_csd(tmp_path / "x.csd", "COVAREP", [("v1", rows, rows)], {"dimension names": ["a", "b"]})
    data = (tmp_path / "x.csd").read_bytes()
    heap = data.index(b"GCOL")
    at, said = heap + 16, []
    while index := int.from_bytes(data[at : at + 2], "little"):
        (tmp_path / "y.csd").write_bytes(data[:at] + bytes(16) + data[at + 16 :])
        with pytest.raises(InputError) as error, csd.CsdFile(tmp_path / "y.csd"):
            pass
        said.append((index, "a text that leads nowhere" in str(error.value)))
        at += 16 + -(-int.from_bytes(data[at + 8 : at + 16], "little") // 8) * 8
    assert said == [(1, True), (2, True)]  # the root's name, the columns'


def test_metadata_of_numbers_of_any_length_is_damage(tmp_path):
    """One bit makes it of a text's type, and libhdf5 reads where nothing is."""
    rows = np.zeros((3, 2), np.float32)
    csd.write_csd(tmp_path / "x.csd", "COVAREP", [("v1", rows, rows)], {"dimension names": ["a", "b"]})
    with h5py.File(tmp_path / "x.csd", "a") as file:
        odd = file["COVAREP/metadata"].create_dataset("odd", (1,), h5py.vlen_dtype(np.uint8))
        odd[0] = np.arange(3, dtype=np.uint8)
    with pytest.raises(InputError, match="which is no text"), csd.CsdFile(tmp_path / "x.csd"):
        pass
