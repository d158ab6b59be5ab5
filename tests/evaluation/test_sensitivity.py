"""A result by other seeds, by fold, without each speaker; and the protocol card that lies beside it."""

import csv
import json
import shutil

import pytest
from sklearn.metrics import balanced_accuracy_score

from sottovoce.commands import compare as compare_command
from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import sensitivity as sensitivity_command
from sottovoce.data.corpus import Corpus
from sottovoce.data.task import Task
from sottovoce.evaluation import protocol


@pytest.fixture(scope="module")
def answers(evaluated):
    with open(evaluated / "predictions.csv", newline="") as lines:
        return list(csv.DictReader(lines))


def ua(rows):
    return balanced_accuracy_score([r["target"] for r in rows], [r["predicted"] for r in rows])


def test_every_row_is_the_score_of_what_is_left(evaluated, answers, tmp_path, capsys):
    sensitivity_command.main([str(evaluated)], tmp_path)
    found = json.loads((tmp_path / "sensitivity.json").read_text())
    assert (found["metric"], found["n"], found["value"]) == ("ua", len(answers), pytest.approx(ua(answers)))
    left_out = {row["name"]: row["value"] for row in found["without a speaker"]}
    assert set(left_out) == {r["speaker"] for r in answers}
    for speaker, value in left_out.items():
        assert value == pytest.approx(ua([r for r in answers if r["speaker"] != speaker]))
    for row in found["folds"]:
        assert row["value"] == pytest.approx(ua([r for r in answers if r["fold"] == row["name"]]))
    assert found["lowest"] <= found["value"] <= found["highest"]
    assert "without a speaker" in capsys.readouterr().out
    assert len((tmp_path / "sensitivity.csv").read_text().splitlines()) == 1 + 1 + 4 + 4 + 8


def test_other_seeds_are_trained_and_two_systems_are_a_difference(evaluated, tmp_path):
    one = tmp_path / "run"
    shutil.copytree(evaluated / "fold1", one / "fold1")
    sensitivity_command.main([str(one)], tmp_path / "s", seeds=1, quiet=True)
    found = json.loads((tmp_path / "s/sensitivity.json").read_text())
    assert [row["name"] for row in found["seeds"]] == ["0", "1"]
    made = json.loads((tmp_path / "s/system0/seed1/fold1/config.json").read_text())
    kept = json.loads((one / "fold1/config.json").read_text())
    assert (made["seed"], made["labels"]) == (1, kept["labels"])
    assert made["settings"]["finetune"]["training"] == kept["settings"]["finetune"]["training"] | {"seed": 1}
    sensitivity_command.main([str(one), str(tmp_path / "s/system0/seed1")], tmp_path / "d", quiet=True)
    gap = json.loads((tmp_path / "d/sensitivity.json").read_text())
    assert gap["value"] == pytest.approx(found["seeds"][1]["value"] - found["seeds"][0]["value"])


@pytest.mark.slow
def test_speakers_are_dealt_to_other_folds(corpus, tmp_path):
    """Every speaker is tested once again, by weights that have not heard them, beside other speakers than before."""
    finetune_command.main(corpus, tmp_path / "run", init="default", fold="all", quiet=True)
    evaluate_command.main(tmp_path / "run", opensmile=False, quiet=True)
    sensitivity_command.main([str(tmp_path / "run")], tmp_path / "s", folds=1, quiet=True)
    found = json.loads((tmp_path / "s/sensitivity.json").read_text())
    before = {frozenset(people(Corpus.load(corpus), fold.test)) for fold in Corpus.load(corpus).folds}
    for deal, row in zip((1,), found["folds dealt anew"], strict=True):
        home = tmp_path / f"s/system0/folds{deal}"
        with open(home / "run/predictions.csv", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert (row["n"], row["value"]) == (found["n"], pytest.approx(ua(rows)))
        dealt = Corpus.load(home / "corpus")
        assert {frozenset(people(dealt, fold.test)) for fold in dealt.folds} != before
        for fold in dealt.folds:
            assert not people(dealt, fold.test) & (people(dealt, fold.train) | people(dealt, fold.dev))
            assert {r["speaker"] for r in rows if r["fold"] == fold.name} == people(dealt, fold.test)
    assert found["lowest"] <= min(row["value"] for row in found["folds dealt anew"])


def test_other_folds_need_all_folds_and_weights_that_heard_nobody(evaluated, pretrained, sottovoce, tmp_path):
    shutil.copytree(evaluated / "fold1", tmp_path / "run/fold1")
    said = sottovoce("sensitivity", tmp_path / "run", "--folds", 1, "-o", tmp_path / "s").complaint
    assert "Found 1 of 4 folds" in said
    said = sottovoce("sensitivity", evaluated, "--folds", 1, "-o", tmp_path / "s").complaint
    assert "test" in said


def people(corpus, ids):
    return {corpus.by_id[id].speaker for id in ids}


def test_a_card_lies_beside_every_result(evaluated, corpus, tmp_path):
    card = json.loads((evaluated / "protocol.json").read_text())
    data = Corpus.load(corpus)
    assert card["split"]["folds"] == [f.name for f in data.folds]
    assert card["split"]["recordings tested"] == sum(len(f.test) for f in data.folds)
    assert card["choices"][0] == {"what": "l2 of the probe, epoch", "by": "ua", "on": "dev speakers of the fold"}
    assert card["choices"][-1]["on"] == "test, read once"
    assert card["exposure"]["test people"] == []
    assert card["exposure"]["people"] == len({u.speaker for u in data.utterances})
    assert card["exposure"]["recordings"] == len(data.utterances)
    assert card["seeds"] == [0]
    assert card["made"]["versions"]["torch"]
    assert card["split"]["hash"] in (evaluated / "report.html").read_text()
    compare_command.main([f"a={evaluated}", f"b={evaluated}"], tmp_path, quiet=True)
    beside = json.loads((tmp_path / "protocol.json").read_text())
    assert beside["a"]["split"] == card["split"]
    sensitivity_command.main([str(evaluated)], tmp_path / "s", quiet=True)
    (own,) = json.loads((tmp_path / "s/protocol.json").read_text()).values()
    assert own["split"] == card["split"]


def test_another_split_has_another_hash(evaluated, corpus, tmp_path):

    data = Corpus.load(corpus)

    def hash_of(folds):
        return protocol.card(data, folds, Task.of(data), choices=[], budget={}, weights=[], seeds=[0])["split"]["hash"]

    assert hash_of(data.folds[:2]) == hash_of(data.folds[:2]) != hash_of(data.folds[1:3])
