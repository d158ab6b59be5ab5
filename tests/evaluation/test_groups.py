"""Groups: a planted gap is found with the interval of a two-sample test, equal groups are not told apart, and what has
no labels is not measured."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from sottovoce.commands import evaluate as evaluate_command
from sottovoce.data.corpus import Utterance
from sottovoce.data.task import Task
from sottovoce.evaluation import groups
from sottovoce.evaluation.answered import Answered

TASK = Task("class", ("emotion",), ("happy", "sad"))
CORPUS = SimpleNamespace(kinds={"emotion": "class", "age": "number", "language": "class"})


def scene(right, speakers=10, each=40, seed=0, **labels):
    """Answers of women who are recognised with probability right[0] and men with right[1]: (tested, truth, p, who)."""
    rng = np.random.default_rng(seed)
    tested, truth, answers = [], [], []
    for k in range(2 * speakers):
        gender = k % 2
        skill = right[gender] + rng.normal(0, 0.03)
        for j in range(each):
            made = {name: value(k) for name, value in labels.items()}
            tested.append(Utterance(f"{k}-{j}", "toy", "", speaker=f"s{k}", gender=("female", "male")[gender],
                                    labels={"emotion": TASK.classes[j % 2]} | made))  # fmt: skip
            truth.append(j % 2)
            sure = 0.5 + 0.4 * rng.random()
            answers.append([sure, 1 - sure] if (rng.random() < skill) == (j % 2 == 0) else [1 - sure, sure])
    return tested, np.array(truth), np.array(answers), [u.speaker for u in tested]


def found(tested, truth, answers, who, *columns):
    return groups.report(CORPUS, Answered(TASK, tested, [""] * len(tested), truth, answers), columns or ("gender",))


def gap_of(told, score="ua"):
    return next(gap for gap in told["gaps"] if gap["score"] == score)


def test_a_planted_gap_is_found_and_its_interval_is_welchs():
    tested, truth, answers, who = scene((0.9, 0.7))
    told = found(tested, truth, answers, who)["gender"]
    gap = gap_of(told)
    assert gap["groups"] == ("female", "male")
    assert gap["value"] == pytest.approx(0.2, abs=0.05)
    right, who = answers.argmax(1) == truth, np.array(who)
    by_speaker = [right[who == f"s{k}"].mean() for k in range(20)]
    theirs = stats.ttest_ind(by_speaker[::2], by_speaker[1::2], equal_var=False).confidence_interval()
    assert (gap["low"], gap["high"]) == pytest.approx(tuple(theirs), abs=0.004)
    assert gap["detectable"] < 0.2
    assert told["groups"]["female"]["speakers"] == 10
    women, men = (told["groups"][name]["metrics"]["ua"]["value"] for name in ("female", "male"))
    assert women - men == pytest.approx(gap["value"])


def test_equal_groups_are_not_told_apart_more_often_than_they_should():
    clear = 0
    for seed in range(60):
        gap = gap_of(found(*scene((0.8, 0.8), speakers=6, each=20, seed=seed))["gender"])
        clear += not gap["low"] <= 0 <= gap["high"]
    assert clear <= 8  # 5 % of 60 is 3; more than 8 has a chance of 0.3 %


def test_a_column_within_speakers_leaves_a_speaker_out_of_both_groups():
    tested, truth, answers, who = scene((0.8, 0.8), language=lambda k: "")
    half = [u.labels | {"language": "de" if k % 4 < 2 else "en"} for k, u in enumerate(tested)]
    tested = [Utterance(u.id, "toy", "", speaker=u.speaker, labels=own) for u, own in zip(tested, half, strict=True)]
    right, language = answers.argmax(1) == truth, np.array([own["language"] for own in half])
    by = [[right[(np.array(who) == f"s{k}") & (language == name)].mean() for k in range(20)] for name in ("de", "en")]
    gap = gap_of(found(tested, truth, answers, who, "language")["language"])
    theirs = stats.ttest_rel(*by).confidence_interval()
    assert (gap["low"], gap["high"]) == pytest.approx(tuple(theirs), abs=0.004)


def test_calibration_and_abstention_are_told_by_group():
    tested, truth, answers, who = scene((0.95, 0.6))
    told = found(tested, truth, answers, who)["gender"]["groups"]
    for gender, entry in told.items():
        own = np.array([u.gender == gender for u in tested])
        sure = answers[own].max(1) >= 0.5
        assert entry["metrics"]["answered"]["value"] == pytest.approx(sure.mean())
    assert told["male"]["metrics"]["ece"]["value"] != told["female"]["metrics"]["ece"]["value"]


def test_what_has_no_labels_is_not_measured_and_nothing_is_called_fair():
    tested, truth, answers, who = scene((0.8, 0.8), speakers=3, age=lambda k: 20.0 + k)
    nameless = [Utterance(u.id, "toy", "", speaker=u.speaker, labels=u.labels) for u in tested]
    told = found(nameless, truth, answers, who, "gender", "accent", "language")
    assert [told[c]["why"] for c in told] == [
        "not measured: no tested utterance says its gender",
        "not measured: the manifest has no column accent",
        "not measured: no tested utterance says its language",
    ]
    assert "fair" not in json.dumps(told)
    one_sided = [Utterance(u.id, "toy", "", speaker=u.speaker, gender="female", labels=u.labels) for u in tested]
    assert "all whose gender is known are female" in found(one_sided, truth, answers, who)["gender"]["why"]
    few = found(tested, truth, answers, who)["gender"]
    assert gap_of(few)["low"] is None  # three speakers a group tell nothing of the next
    assert gap_of(few)["detectable"] is None


def test_many_numbers_are_cut_into_thirds():
    tested, *rest = scene((0.8, 0.8), age=lambda k: 20.0 + k)
    told = found(tested, *rest, "age")["age"]["groups"]
    assert len(told) == 3
    assert sum(entry["n"] for entry in told.values()) == len(tested)


def test_evaluate_reports_the_columns_that_are_asked_for(evaluated, tmp_path):
    evaluate_command.main(evaluated / "fold1", output=tmp_path, opensmile=False, groups="gender,language", quiet=True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["subgroups"]["language"]["why"] == "not measured: the manifest has no column language"
    page = (tmp_path / "report.html").read_text()
    assert "not measured: the manifest has no column language." in page
    with open(tmp_path / "groups.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {r["column"] for r in rows} == {"gender", "language"}
