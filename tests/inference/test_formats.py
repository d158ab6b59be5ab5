"""Every format, read again by a program that others wrote."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sottovoce.errors import InputError
from sottovoce.inference import formats
from sottovoce.inference.result import Result
from sottovoce.report import view

NAME = 'left & "right" <agent>'


def result(speakers=("",), kind="class"):
    """Two segments of each speaker with a pause before, between and behind them."""
    segments = [
        {"start": 0.5 + k, "end": 2.0 + k, "label": label, "confidence": 0.8, "intensity": 0.4} | who
        for k, label in ((0, "angry"), (3.25, "sad"))
        for who in ([{"speaker": s} for s in speakers] if speakers != ("",) else [{}])
    ]
    times = np.arange(24) / 4 + 0.125
    cells = np.tile([0.8, 0.2], (24, 1))
    cells[:2] = np.nan
    return Result(
        "/calls/a b.wav", 5.9987, ("angry", "sad"), np.array([0.7, 0.3]), kind, 0.25, 3.0, times, cells,
        1 - cells[:, 1], "1 - P(sad)", [], segments if kind == "class" else [], {}, ["clipped"],
    )  # fmt: skip


def written(found, tmp_path, name):
    (path,) = formats.write(found, tmp_path / "x.y", [name])
    assert path.name.startswith("x.y.")
    return path


SPANS = [(0.5, 2.0, "angry"), (3.75, 5.25, "sad")]


@pytest.mark.parametrize("speakers", [("",), (NAME, "bob")])
def test_praat_reads_the_textgrid(tmp_path, speakers):
    from praatio import textgrid

    found = textgrid.openTextgrid(str(written(result(speakers), tmp_path, "textgrid")), includeEmptyIntervals=True)
    kinds = ("emotion", "confidence", "intensity")
    assert list(found.tierNames) == [" ".join(filter(None, [who, k])) for who in speakers for k in kinds]
    for who in speakers:
        tier = found.getTier(f"{who} emotion".strip())
        assert [(e.start, e.end, e.label) for e in tier.entries if e.label] == SPANS
        assert tier.entries[0].start == 0
        assert tier.entries[-1].end == pytest.approx(5.9987)
        assert all(a.end == b.start for a, b in zip(tier.entries, tier.entries[1:], strict=False))
        assert [e.label for e in found.getTier(f"{who} confidence".strip()).entries if e.label] == ["0.80", "0.80"]


@pytest.mark.parametrize("speakers", [("",), (NAME, "bob")])
def test_elan_reads_the_annotations(tmp_path, speakers):
    import pympi

    found = pympi.Elan.Eaf(str(written(result(speakers), tmp_path, "elan")))
    for who in speakers:
        spans = found.get_annotation_data_for_tier(f"{who} emotion".strip())
        assert sorted((a / 1000, b / 1000, said) for a, b, said, *_ in spans) == SPANS
        assert {said for _, _, said, *_ in found.get_annotation_data_for_tier(f"{who} intensity".strip())} == {"0.40"}
    assert found.media_descriptors[0]["MEDIA_URL"] == "file:///calls/a%20b.wav"


def test_players_read_the_subtitles(tmp_path):
    import webvtt

    found = webvtt.read(str(written(result((NAME, "bob")), tmp_path, "vtt")))
    assert [(c.start_in_seconds, c.end_in_seconds) for c in found] == [(0, 2), (0, 2), (3, 5), (3, 5)]
    assert [c.start for c in found][-1] == "00:00:03.750"
    assert found[1].voice == "bob"
    assert found[1].text == "angry 80 %"
    assert "&lt;agent&gt;" in found[0].raw_text


@pytest.mark.parametrize(("speakers", "before"), [(("",), ""), (("ann lee",), "ann_lee/")])
def test_diarisers_read_the_turns(tmp_path, speakers, before):
    from pyannote.database.util import load_rttm

    found = load_rttm(str(written(result(speakers), tmp_path, "rttm")))["a_b"]
    turns = [(turn.start, turn.end, said) for turn, _, said in found.itertracks(yield_label=True)]
    assert turns == [(start, end, before + said) for start, end, said in SPANS]


def test_rttm_has_ten_fields(tmp_path):
    text = written(result(("ann lee",)), tmp_path, "rttm").read_text()
    table = pd.read_csv(io.StringIO(text), sep=" ", header=None)
    assert table.shape == (2, 10)
    assert table[0].tolist() == ["SPEAKER"] * 2
    assert table[1].tolist() == ["a_b"] * 2
    assert table[3].tolist() == [0.5, 3.75]
    assert (table[3] + table[4]).tolist() == [2.0, 5.25]
    assert table[7].tolist() == ["ann_lee/angry", "ann_lee/sad"]
    assert table[8].tolist() == [0.8, 0.8]


def test_audacity_reads_three_columns(tmp_path):
    from crowsetta.formats.seq import AudSeq

    found = AudSeq.from_file(written(result(), tmp_path, "audacity")).to_seq()
    assert list(zip(found.onsets_s, found.offsets_s, found.labels, strict=True)) == SPANS
    table = pd.read_csv(written(result(("bob",)), tmp_path, "audacity"), sep="\t", header=None)
    assert table.to_numpy().tolist() == [[a, b, f"bob: {said}"] for a, b, said in SPANS]


def test_tables_hold_the_cells(tmp_path):
    table = pd.read_csv(written(result(), tmp_path, "csv"))
    assert list(table.columns) == ["time_s", "speech", "angry", "sad", "intensity"]
    assert table.angry.isna().sum() == 2
    assert (~table.speech).sum() == 2
    found = json.loads(written(result(), tmp_path, "json").read_text())
    assert found["warnings"] == ["clipped"]
    assert found["note"] == "clipped"
    assert [row["angry"] for row in found["timeline"]][:3] == [None, None, 0.8]


@pytest.mark.parametrize("names", [("speech", "intensity"), ("time_s", "speaker")])
def test_classes_called_as_other_columns_lose_none(names):
    found = replace(result(), names=names)
    cells = found.cells()
    assert [c["time_s"] for c in cells] == found.times_s.round(3).tolist()
    assert [c["speech"] for c in cells] == [False] * 2 + [True] * 22
    again = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again.posteriors, found.posteriors)
    np.testing.assert_array_equal(again.intensities, found.intensities)
    assert view.view_page(found.to_dict())


def test_a_predicted_intensity_is_the_answer_itself():
    found = replace(result(kind="number"), names=("intensity", "arousal"), answer=np.array([2.9, 0.1]))
    assert found.row()["intensity"] == found.to_dict()["intensity"] == 2.9


def test_pictures_are_pictures(tmp_path):
    assert written(result(), tmp_path, "png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in written(result(), tmp_path, "svg").read_text()


def test_numbers_have_no_segments_and_names_are_known(tmp_path):
    with pytest.raises(InputError, match="holds segments of a label"):
        formats.write(result(kind="number"), tmp_path / "x", ["rttm"])
    with pytest.raises(InputError, match="format"):
        formats.names("csv,textgird")
    assert formats.names("CSV, rttm,csv") == ["csv", "rttm"]


@pytest.mark.parametrize("name", ["textgrid", "audacity", "rttm", "vtt", "elan"])
def test_a_recording_without_speech_has_a_file_too(tmp_path, name):
    found = result()
    found.segments = []
    assert written(found, tmp_path, name).exists()
