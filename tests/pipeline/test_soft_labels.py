"""Several raters a recording: votes become shares, shares are learned from, and answers are held against them."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sottovoce.config.finetuning import Frozen
from sottovoce.corpora import _rows, _votes
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import solving
from sottovoce.modeling.discriminant import discriminant

SHARES = ("emotion:angry", "emotion:happy", "emotion:sad")
TASK = Task("class", ("emotion",), ("angry", "happy", "sad"), shares=SHARES)


def voted(*said, **labels):
    return Utterance("u", "c", "u.wav", labels=dict(zip(SHARES, said, strict=False)) | labels)


def table(rows, columns):
    return _rows.Rows(
        "t.csv", None, columns, [dict(zip(columns, row, strict=True)) for row in rows], list(range(2, 2 + len(rows)))
    )


def spread(rows, columns, votes, relabel=None):
    read, asked, _ = _votes.spread(table(rows, columns), _rows.Asked(), votes, relabel)
    return [{name: row[name] for name in ["emotion", *asked.label_columns]} for row in read.rows]


def test_a_column_a_rater_becomes_shares_and_the_word_of_most():
    rows = [
        ("a", "Happy", "happy", "sad"),
        ("b", "sad", "happy", ""),
        ("c", "joy;anger", "Anger", "n/a"),
        ("d", "", "", ""),
    ]
    found = spread(rows, ["path", "r1", "r2", "r3"], {"rater": "r1,r2,r3"})
    assert [row["emotion"] for row in found] == ["happy", "", "angry", ""]
    assert [row["emotion:happy"] for row in found] == ["0.666667", "0.500000", "0.250000", ""]
    assert [row[_votes.RATERS] for row in found] == ["3", "2", "2", ""]


@pytest.mark.parametrize(
    ("columns", "cells", "votes"),
    [
        (["path", "happy", "n_sad"], [("a", "3", "1")], "happy,sad=n_sad"),
        (["path", "votes"], [("a", "happy:3; sad:1")], "votes"),
        (["path", "votes"], [("a", '{"happiness": 0.75, "sad": 0.25}')], "votes"),
    ],
)
def test_counts_and_shares_are_read_in_columns_and_in_one_cell(columns, cells, votes):
    (found,) = spread(cells, columns, {"distribution": votes})
    assert (found["emotion"], found["emotion:happy"], found["emotion:sad"]) == ("happy", "0.750000", "0.250000")


def test_classes_are_mapped_and_left_out_before_they_are_counted():
    rows = [("a", "excited", "happy", "other"), ("b", "sad", "sad", "other")]
    found = spread(rows, ["path", "r1", "r2", "r3"], {"rater": "r1,r2,r3"}, {"excited": "happy", "other": ""})
    assert [(row["emotion"], row["emotion:happy"], row[_votes.RATERS]) for row in found] == [
        ("happy", "1.000000", "2"),
        ("sad", "0.000000", "2"),
    ]


@pytest.mark.parametrize(
    ("votes", "said"),
    [
        ({"rater": "r9"}, "no column r9"),
        ({"distribution": "r1,r2"}, "numbers, 0 or more"),
        ({"distribution": "r1"}, "no distribution"),
        ({"rater": "r1", "distribution": "r2"}, "Name one"),
    ],
)
def test_votes_that_are_none_are_refused(votes, said):
    with pytest.raises(InputError, match=said):
        spread([("a", "happy", "sad")], ["path", "r1", "r2"], votes)


def test_a_task_knows_shares_and_who_can_teach():
    people = [voted(0.0, 0.75, 0.25, emotion="happy"), voted(0.5, 0.5, 0.0), voted(emotion="sad"), voted()]
    assert [TASK.teaches(u) for u in people] == [True, True, True, False]
    np.testing.assert_allclose(TASK.distributions(people[:3]), [[0, 0.75, 0.25], [0.5, 0.5, 0], [0, 0, 1]])
    assert TASK.values(people[:3]).tolist() == [1, 0, 2]
    assert "shares" not in Task("class", ("emotion",), ("a", "b")).plain()  # runs of before keep their identity
    assert Task.from_dict(json.loads(json.dumps(TASK.plain())), "x") == TASK


def test_the_probe_of_shares_is_a_logistic_regression_of_weighted_rows():
    """scikit-learn's, of every row once a class with its share as weight."""
    rng = np.random.default_rng(0)
    x, shares = rng.standard_normal((60, 4)).astype(np.float32), rng.dirichlet(np.ones(3), 60).astype(np.float32)
    settings = Frozen(class_weights=False, label_smoothing=0.0)
    weight, bias = solving.solve(TASK, solving.Rows.of(torch.from_numpy(x), shares), 0.1, settings, most=500)
    rows, labels = np.repeat(x, 3, axis=0), np.tile(np.arange(3), 60)
    peer = LogisticRegression(C=1 / (0.1 * 60), tol=1e-8, max_iter=2000).fit(rows, labels, sample_weight=shares.ravel())
    ours = torch.softmax(torch.from_numpy(x) @ weight.T + bias, 1).numpy()
    np.testing.assert_allclose(ours, peer.predict_proba(x), atol=2e-3)


def test_shares_of_one_are_labels():
    """In the probe with class weights and in the discriminant alike."""
    rng = np.random.default_rng(1)
    x, y = torch.from_numpy(rng.standard_normal((40, 6)).astype(np.float32)), rng.integers(0, 3, 40)
    one_hot = np.eye(3, dtype=np.float32)[y]
    layers = [solving.solve(TASK, solving.Rows.of(x, target), 0.1, Frozen()) for target in (y, one_hot)]
    torch.testing.assert_close(*layers, atol=1e-4, rtol=1e-4)
    hard, soft = discriminant(x, torch.from_numpy(y), 3, 0.5), discriminant(x, torch.from_numpy(one_hot), 3, 0.5)
    torch.testing.assert_close(hard, soft)


@pytest.fixture(scope="module")
def rated(corpus, tmp_path_factory):
    """The synthetic corpus as a table of three raters: one hears right, one does in half of the cases, one guesses."""
    home, data = tmp_path_factory.mktemp("rated"), Corpus.load(corpus)
    rng = np.random.default_rng(0)
    words = list(data.classes["emotion"])
    with open(home / "rated.csv", "w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["path", "speaker", "first", "second", "third"])
        for u in data.utterances:
            if "emotion" in u.labels:
                right = str(u.labels["emotion"])
                second = right if rng.random() < 0.5 else rng.choice(words)
                lines.writerow([data.root / u.path, u.speaker, right, second, rng.choice(words)])
    return home


def test_raters_go_the_whole_way(sottovoce, rated, tiny):
    data, ft = rated / "data", rated / "ft"
    done = sottovoce(
        "prepare", "table", rated / "rated.csv", "--rater-columns", "first,second,third", "-o", data, "-j", 1
    )
    assert done.code == 0, done.err
    assert "3.0 votes an utterance, Krippendorff's alpha 0." in done.out
    assert "columns not used" not in done.out
    prepared = Corpus.load(data)
    tied = [u for u in prepared.utterances if "emotion" not in u.labels]
    assert tied
    few = ("--mode", "frozen", "--set", "track.bins=40", "--set", "backbone.layers=1", "--set", "backbone.width=32")
    words = ("finetune", data, "--init", "none", *few, "--set", "finetune.depth=1", "--fold", "fold1")
    assert sottovoce(*words, "-o", ft, "-j", 1, "-q").code == 0
    config = json.loads((ft / "fold1/config.json").read_text())
    assert config["task"]["shares"] == [f"emotion:{c}" for c in config["task"]["classes"]]
    taught = [prepared.by_id[k] for k in prepared.fold("fold1").train]
    assert config["labels"] == len(taught)
    assert any("emotion" not in u.labels for u in taught)
    assert sottovoce("evaluate", ft, "--no-opensmile").code == 0
    found = json.loads((ft / "report.json").read_text())["raters"]
    assert found["n"] == sum("emotion" in prepared.by_id[k].labels for k in prepared.fold("fold1").test)
    assert found["model"]["js"]["value"] < np.log(2)
    assert found["model"]["kl"]["value"] > 0
    assert "What the raters said" in (ft / "report.html").read_text()
    hard = rated / "hard"
    assert sottovoce(*words, "--set", "finetune.soft_labels=false", "-o", hard, "-j", 1, "-q").code == 0
    config = json.loads((hard / "fold1/config.json").read_text())
    assert "shares" not in config["task"]
    assert config["labels"] == sum("emotion" in u.labels for u in taught)
