"""What a result knew, and what it says of it: labels of baselines, classes never taught, ranges, spans of GMP-TL."""

import csv
import json
from dataclasses import replace

import csd_layouts
import numpy as np
import pytest

from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.config import recipe
from sottovoce.corpora import mosei
from sottovoce.data import folds
from sottovoce.data.corpus import Corpus
from sottovoce.data.csd import write_csd
from sottovoce.data.runs import Run
from sottovoce.data.task import Task
from sottovoce.evaluation import lines, protocol
from sottovoce.pipeline.finetune import labelled
from sottovoce.plugins import load as plugin

gmp_tl = plugin("recipes", "gmp_tl")


def test_two_labels_of_five_classes_are_said_and_baselines_know_no_more(corpus, pretrained, tmp_path, capsys):
    finetune_command.main(
        corpus, tmp_path / "ft", init=str(pretrained), mode="frozen", fold="fold1", labels="2", quiet=True, jobs=1
    )
    assert "fold1: no label of " in capsys.readouterr().err
    evaluate_command.main(tmp_path / "ft", opensmile=False, quiet=True)
    report = json.loads((tmp_path / "ft/report.json").read_text())
    assert "among 2, so they are never answered" in report["protocol"]["first_line"]
    data, run = Corpus.load(corpus), Run.load(tmp_path / "ft/fold1")
    task = Task.of(data)
    known = task.values([data.by_id[k] for k in labelled(run, data, task).train])
    assert len(known) == 2
    answered = report["baselines"]["chance"]["metrics"]
    unknown = [c for k, c in enumerate(task.classes) if k not in known]
    assert all(answered[f"recall_{c}"]["value"] == 0 for c in unknown)


def test_a_range_that_no_corpus_states_knows_no_tested_label(corpus):
    data = Corpus.load(corpus)
    data = replace(data, info={k: v for k, v in data.info.items() if k != "ranges"})
    task = Task.of(data, ["valence", "arousal"])
    rows = sorted((u for u in data.utterances if task.has(u)), key=lambda u: float(u.labels["valence"]))
    taught = task.taught(data, rows[5:-5])
    assert taught.ranges[0] == (float(rows[5].labels["valence"]), float(rows[-6].labels["valence"]))
    assert taught.ranges[0][1] < task.ranges[0][1]
    assert taught.same(task)
    stated = replace(data, info=data.info | {"ranges": {"valence": [-1, 1], "arousal": [0, 1]}})
    whole = Task.of(stated, ["valence", "arousal"])
    assert whole.taught(stated, rows[5:-5]) == whole


def test_a_class_that_no_test_part_has_is_said():
    task = Task("class", ("emotion",), ("sad", "angry", "happy"))
    assert lines.untested(task, np.array([0, 1, 2])) == ""
    assert "no utterance of angry, happy" in lines.untested(task, np.array([0, 0]))
    assert lines.untested(Task("number", ("valence",), (), ((1.0, 5.0),)), np.zeros((2, 1))) == ""


def test_the_unknown_are_no_people_of_a_card(corpus):
    data = Corpus.load(corpus)
    nameless = replace(data, utterances=tuple(replace(u, speaker="", session="") for u in data.utterances))
    assert protocol.people_of({folds.person(u) for u in nameless.utterances}, nameless) == 0
    assert protocol.people_of({folds.person(u) for u in data.utterances}, data) == len(
        {u.speaker for u in data.utterances}
    )


def test_gmp_tl_tunes_what_it_has_trained_and_hides_a_fifth_of_a_second():
    encoder = recipe.resolve("masked_timesteps")
    assert (encoder.finetune.depth, encoder.frontend_rate_hz()) == (2, 25)
    config = gmp_tl.system(encoder)
    assert config.finetune.depth == 0
    assert config.units.span / gmp_tl.states_hz(encoder) == pytest.approx(0.2)
    wave = recipe.resolve("hubert")
    assert gmp_tl.states_hz(wave) == 50
    assert (gmp_tl.system(wave).units.span, gmp_tl.system(wave).units.penalty) == (10, 0)


def test_a_segment_with_few_of_its_frames_is_counted(tmp_path):
    """2.1 s of speech, frames for 0.1 of them."""
    rng = np.random.default_rng(0)
    clock = csd_layouts.frame_clock(210)
    write_csd(
        tmp_path / "CMU_MOSEI_COVAREP.csd", "COVAREP",
        [(v, rng.normal(size=(n, 74)).astype(np.float32), clock[:n]) for v, n in (("a", 210), ("b", 10), ("c", 210))],
        {"dimension names": list(csd_layouts.NAMES)},
    )  # fmt: skip
    rows = [(v, np.zeros((1, 7), np.float32), np.array([[0.0, 2.1]])) for v in "abc"]
    write_csd(tmp_path / "CMU_MOSEI_Labels.csd", "All Labels", rows, {"dimension names": list(csd_layouts.ORDER)})
    found = mosei.utterances(tmp_path)
    assert len(found) == 3
    assert "1 segments with frames for less than half of their time, kept: b[0]" in mosei.problems(tmp_path, found)


def test_a_headline_is_of_the_speakers_that_no_search_has_touched(evaluated, tmp_path, sottovoce):
    """Names or a range of numbers; their answers are those of the whole evaluation."""
    assert sottovoce("evaluate", evaluated, "--speakers", "5-8").complaint.startswith("--speakers: a report of some")
    evaluate_command.main(evaluated, tmp_path / "part", speakers="5-7,spk08", opensmile=False, quiet=True)
    with open(evaluated / "predictions.csv") as every, open(tmp_path / "part/predictions.csv") as part:
        rows = [r for r in csv.DictReader(every) if r["speaker"] in ("spk05", "spk06", "spk07", "spk08")]
        assert [(r["id"], r["predicted"]) for r in csv.DictReader(part)] == [(r["id"], r["predicted"]) for r in rows]
    report = json.loads((tmp_path / "part/report.json").read_text())
    assert (report["speakers"], report["n"]) == (4, len(rows))
    assert "Tested on 4 speakers alone: spk05" in report["protocol"]["first_line"]
    assert "90-99" in sottovoce("evaluate", evaluated, "--speakers", "90-99", "-o", tmp_path / "x").complaint
