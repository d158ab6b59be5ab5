"""Six intensities that are mostly 0: what can be learned is learned by default, and a constant is called one."""

import json

import csd_layouts
import numpy as np
import pytest

from sottovoce.commands import pretrain as pretrain_command
from sottovoce.commands import study as study_command
from sottovoce.data.corpus import Utterance
from sottovoce.data.task import Task
from sottovoce.evaluation import lines
from sottovoce.metrics import scores
from sottovoce.pipeline import prepare


def study_of(folder, tiny, *more, shuffled=False, **options):
    """The study of a small corpus in MOSEI's layout, everything but sizes as it comes."""
    csd_layouts.sparse(folder / "raw", shuffled=shuffled)
    prepare.prepare("mosei", folder / "raw", folder / "data", jobs=1)
    sizes = [s for s in tiny if s.startswith(("backbone", "training")) or s.endswith("min_updates=0")]
    common = {"quiet": True, "jobs": 1}
    pretrain_command.main(
        "masked_timesteps", [folder / "data"], folder / "pre", settings=sizes, tracker="none", **common
    )
    options = {"labels": "100%", "seeds": 1} | options
    study_command.main(
        folder / "data", folder / "s", init=str(folder / "pre"), settings=[*sizes, *more], **options, **common
    )
    return json.loads((folder / "s/study.json").read_text()), (folder / "s/report.html").read_text()


def test_the_default_study_finds_a_planted_signal(tmp_path, tiny):
    result, page = study_of(tmp_path, tiny)
    assert (result["metric"], result["flat"]) == ("ccc", [])
    for arm, (point,) in result["arms"].items():
        assert point["value"] > 0.8, arm
        assert point["low"] > 0, arm  # 13 videos are tested, and the rarest emotion is in a few of them
    assert set(result["beside"]) == {"mae", "acc4", "ccc", "wacc"}
    assert set(result["beside"]["ccc"]) == {"all", *csd_layouts.EMOTIONS}
    assert result["beside"]["wacc"]["all"]["probe"][0]["value"] > 0.6
    assert "Every score side by side" in page


def test_with_shuffled_labels_it_finds_nothing(tmp_path, tiny):
    result, _ = study_of(tmp_path, tiny, shuffled=True, arms="probe")
    for arm, (point,) in result["arms"].items():
        assert point["low"] < 0, arm
        assert point["value"] < 0.1, arm


def test_flat_answers_are_flagged_for_arm_and_label_count(tmp_path, tiny, capsys):
    """The loss that was the default: the median of sparse values is 0."""
    result, page = study_of(tmp_path, tiny, "finetune.loss=l1", "finetune.l2=100", arms="probe", metric="mae")
    assert [(f["arm"], f["labels"]) for f in result["flat"]] == [("probe", list(csd_layouts.EMOTIONS))]
    said = f"Constant (probe, {result['ns'][0]} labels): the answer for happy, sad"
    assert any(line.startswith(said) for line in result["warnings"])
    assert said in page
    assert said in capsys.readouterr().out
    assert result["config"]["finetune"]["select"] == "mae"


def test_one_answer_for_all_is_flat_also_of_classes():
    task = Task("class", ("emotion",), ("happy", "sad"))
    truth = np.array([0, 1, 1])
    assert scores.flat(task, truth, np.zeros(3, int)) == ["emotion"]
    assert scores.flat(task, truth, np.array([0, 0, 1])) == []


@pytest.mark.parametrize("kind", ["class", "number"])
def test_the_names_of_scores_are_known_without_an_answer(kind):
    task = Task("class", ("emotion",), ("a", "b")) if kind == "class" else Task("number", ("x",), ranges=((0.0, 3.0),))
    one = np.zeros(1, int) if kind == "class" else np.ones((1, 1))
    assert scores.names(task) == list(scores.scores(task, one, one))


def test_recordings_that_lack_one_of_several_targets_are_counted():
    task = Task("number", ("valence", "arousal"), ranges=((0, 1), (0, 1)))
    rows = [{"valence": 1.0, "arousal": 0.0}] * 3 + [{"valence": 1.0}] * 2 + [{"arousal": 1.0}, {}]
    part = [Utterance(str(k), "c", "a.wav", labels=labels) for k, labels in enumerate(rows)]
    said = "fold1: 3 of 6 recordings have not all of valence, arousal (2 without arousal, 1 without valence); left out."
    assert lines.incomplete(task, part, "fold1") == said
    assert lines.incomplete(task, part[:3], "fold1") == ""
    assert lines.incomplete(Task("number", ("valence",), ranges=((0, 1),)), part, "fold1") == ""
