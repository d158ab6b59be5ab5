"""Labels given to the unlabelled: right where voices hide what few labels tell, never where a voice is all there is,
and learned without a look at labels that were not given."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sottovoce.commands import finetune as finetune_command
from sottovoce.config.finetuning import Frozen
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.task import Task
from sottovoce.modeling.checkpoint import load_tensors
from sottovoce.modeling.heads import Standardise
from sottovoce.modeling.self_training import MOST, pseudo_labels, speakers_vary, unlabelled_of
from sottovoce.modeling.solving import Rows
from sottovoce.modeling.source_layers import Sources
from sottovoce.pipeline import finetune

TASK = Task("class", ("emotion",), ("a", "b", "c"))
SETTINGS = Frozen(discriminant=0.5, self_training=1.0, label_smoothing=0.0)
DIM = 12


def speech(rng, speakers, each):
    """(N, DIM) of voices four times as far apart as three classes are, their classes, and who spoke."""
    y, who = np.tile(np.arange(3), speakers * each), np.repeat(np.arange(speakers), 3 * each)
    means = 2.0 * np.eye(3, DIM)
    x = means[y] + 8.0 * rng.standard_normal((speakers, DIM))[who] + 0.5 * rng.standard_normal((len(y), DIM))
    return x.astype(np.float32), y, [f"s{k}" for k in who]


def labels_of(x, y, who, given):
    """What a teacher on the first `given` says of the rest."""
    norm = Standardise(DIM)
    norm.fit(torch.from_numpy(x), who)
    seen = norm.by_speaker(x, who, 2.0)
    rows = Rows.of(seen, y[:given])
    return pseudo_labels(TASK, SETTINGS, rows, seen[given:], 0.1, Sources.of((), DIM, given))


def test_a_teacher_that_hears_no_voices_labels_nearly_all_of_them():
    rng = np.random.default_rng(0)
    x, y, who = speech(rng, 6, 20)
    order = rng.permutation(len(y))
    x, y, who = x[order], y[order], [who[k] for k in order]
    assert (labels_of(x, y, who, 24) == y[24:]).mean() > 0.95
    wrong = rng.permutation(y)
    assert abs((labels_of(x, wrong, who, 60) == y[60:]).mean() - 1 / 3) < 0.2  # of shuffled labels nothing is learned


def test_labels_given_by_several_raters_stay_shares():
    rng = np.random.default_rng(1)
    x, y, who = speech(rng, 4, 10)
    shares = np.eye(3, dtype=np.float32)[y]
    given = np.r_[0:24]
    norm = Standardise(DIM)
    norm.fit(torch.from_numpy(x), who)
    seen = norm.by_speaker(x, who, 2.0)
    said = pseudo_labels(TASK, SETTINGS, Rows.of(seen, shares[given]), seen[24:], 0.1, Sources.of((), DIM, 24))
    assert said.dtype == np.float32
    np.testing.assert_array_equal(said.sum(1), 1)
    assert said.shape == (len(x) - 24, 3)


@pytest.mark.parametrize(
    ("y", "who", "told"),
    [
        ([0, 1, 2, 0, 1, 2], "aaabbb", True),  # everybody says everything
        ([0, 0, 1, 1, 2, 2], "aabbcc", False),  # a class a voice
        ([0, 1, 2], "abc", False),  # nobody has two labels
        ([0, 0, 0, 0], "aabb", False),  # one class is nothing to tell
        ([0, 0, 1, 1, 0, 0, 0, 1], "aabbccdd", False),  # one pair in four, where two in three are to be had
        ([0, 1, 0, 1, 0, 0], "aabbcc", True),
    ],
)
def test_who_has_several_classes_decides_whether_voices_are_taken_out(y, who, told):
    assert speakers_vary(np.array(y), list(who)) is told
    assert speakers_vary(np.eye(3)[y], list(who)) is told


def test_no_more_are_taught_than_a_layer_is_solved_on_in_seconds():
    few, many = unlabelled_of(7, 0), unlabelled_of(3 * MOST, 0)
    np.testing.assert_array_equal(few, np.arange(7))
    assert len(set(many.tolist())) == MOST
    assert (np.diff(many) > 0).all()
    np.testing.assert_array_equal(many, unlabelled_of(3 * MOST, 0))
    assert (many != unlabelled_of(3 * MOST, 1)).any()


def test_a_fine_tuning_learns_from_what_is_not_labelled_and_looks_at_no_label_of_it(
    corpus, pretrained, tmp_path, monkeypatch
):
    data = Corpus.load(corpus)
    train = [u for u in map(data.by_id.get, data.folds[0].train) if "emotion" in u.labels]
    given = {u.id for u in train[::3]}
    monkeypatch.setattr(finetune, "select", lambda known, ids, *_: [known.by_id[k] for k in ids if k in given])

    def taught(where, name, share=1.0):
        finetune_command.main(
            where, tmp_path / name, init=str(pretrained), mode="frozen", quiet=True, jobs=1,
            settings=[f"finetune.self_training={share}"],
        )  # fmt: skip
        return load_tensors(next((tmp_path / name).glob("*/model.safetensors")))["network.out.weight"]

    found = taught(corpus, "taught")
    assert (found != taught(corpus, "not", 0.0)).any()
    lost = {u.id for u in train} - given
    unsaid = tuple(replace(u, labels={"emotion": "happy"}) if u.id in lost else u for u in data.utterances)
    replace(data, folder=tmp_path / "data", utterances=unsaid).save()
    torch.testing.assert_close(taught(tmp_path / "data", "again"), found)


def test_recordings_in_no_fold_are_learned_from_unless_a_test_speaker_may_be_heard(corpus, pretrained, tmp_path):
    data = Corpus.load(corpus)
    fold = data.folds[0]
    nobodys = {u.id for u in data.utterances if "emotion" not in u.labels}
    mute, tested = sorted(nobodys)[0], data.by_id[fold.test[0]]
    assert nobodys.isdisjoint({*fold.train, *fold.dev, *fold.test})
    others = tuple(replace(u, speaker="") if u.id == mute else u for u in data.utterances)
    others += (replace(tested, id="unsaid", labels={}),)  # of a test speaker, in no part
    again = replace(data, folder=tmp_path / "data", utterances=others)
    found = {u.id for u in folds.outside(again, fold)}
    assert found == nobodys - {mute}
    twin = replace(data, folder=tmp_path / "twin")
    vars(twin)["contents"] = dict(data.contents) | {mute: data.contents[tested.id]}
    assert {u.id for u in folds.outside(twin, fold)} == nobodys - {mute}  # a copy of what is tested, by another name
    finetune_command.main(
        corpus, tmp_path / "ft", init=str(pretrained), mode="frozen", labels="20", quiet=True, jobs=1,
        settings=["finetune.self_training=1"],
    )  # fmt: skip
    seen = runs.Run.load(tmp_path / "ft" / fold.name).seen_speakers
    assert {folds.person(u) for u in data.utterances if u.id in nobodys} <= set(seen)
