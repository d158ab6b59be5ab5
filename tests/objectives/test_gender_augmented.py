"""Step one of GMP-TL: emotion and gender together, the control without gender, genders a corpus does not tell."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import ToyStore

from sottovoce.backbones import encoder
from sottovoce.commands import label as label_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.config import recipe
from sottovoce.config.frontend import Frontend
from sottovoce.config.training import Training
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.modeling import checkpoint, network, training
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives import attributes
from sottovoce.objectives.base import Sides
from sottovoce.pipeline import genders

pytest.importorskip("transformers")
RNG = np.random.default_rng(0)


def voices(n=8, seconds=0.3):
    """Speakers p0 ... p3: women high, men low; happy fast, sad slow."""
    time, store = np.arange(int(16000 * seconds)) / 16000, {}
    for k in range(n):
        pitch, pace = (900 if k % 2 else 250), (17 if k // 2 % 2 else 5)
        store[f"u{k}"] = (0.3 * np.sin(2 * np.pi * pitch * time) * (1 + np.sin(2 * np.pi * pace * time)))[:, None]
    store = ToyStore({key: v + 0.01 * RNG.standard_normal(v.shape) for key, v in store.items()}, 16000.0)
    people = [
        replace(u, speaker=f"p{k % 4}", gender="female" if k % 2 else "male",
                labels={"emotion": "happy" if k // 2 % 2 else "sad"})
        for k, u in enumerate(store.utterances)
    ]  # fmt: skip
    return store, people


def steps_of(store, people):
    return Steps([(store, people)], Frontend(subsampling=1, normalise="none", clip=0.0), hop_and_field=(320, 400))


def objective(people, **more):
    config = attributes.Config(**more).fitted(Sides([], [people], []))
    torch.manual_seed(0)
    return attributes.Objective(config, encoder.Backbone(encoder.Config(size="toy", dropout=0.0), 1))


def test_classes_and_targets_come_from_the_labels():
    _, people = voices()
    people[3] = replace(people[3], gender="", labels={})
    config = attributes.Config().fitted(Sides([], [people], []))
    assert config.classes == {"emotion": ("happy", "sad"), "gender": ("female", "male")}
    assert attributes.targets(people, config).tolist() == [
        [1, 1], [1, 0], [0, 1], [-1, -1], [1, 1], [1, 0], [0, 1], [0, 0]]  # fmt: skip


def test_the_loss_is_the_weighted_sum_of_two_cross_entropies():
    store, people = voices()
    model = objective(people, weights=(1.0, 0.3), balanced=False).eval()
    target = attributes.targets(people, model.config)
    target[2, 0] = target[5, 1] = -1
    target[4] = -1
    batch = steps_of(store, people).batch(range(8), target=target)
    found = model(batch, RowRandom(batch.seeds))
    hidden = model.backbone(batch.x, batch.lengths)
    z = model.project(hidden.last.mean(1))  # equally long
    total = 0.0
    for k, weight in ((0, 1.0), (1, 0.3)):
        known = batch.target[:, k] >= 0
        total += weight * torch.nn.functional.cross_entropy(
            model.guess[k](z)[known], batch.target[known, k], reduction="sum"
        )
    torch.testing.assert_close(found.total, total)
    assert found.weight == 7  # who knows anything
    rows = [model(steps_of(store, people).batch([i], target=target), RowRandom([1])) for i in range(8)]
    torch.testing.assert_close(found.total, torch.stack([r.total for r in rows]).sum())


def test_rare_classes_count_as_much_as_frequent_ones():
    store, people = voices()
    model = objective(people, weights=(1.0, 0.0)).eval()
    target = np.array([[0], [0], [0], [0], [0], [0], [1], [1]])
    model.set_shares(torch.from_numpy(target))
    for p in model.guess[0].parameters():
        torch.nn.init.zeros_(p)
    per_row = [
        model(steps_of(store, people).batch([i], target=target), RowRandom([1])).total.item() / np.log(2)
        for i in (0, 6)
    ]
    assert per_row == pytest.approx([8 / 2 / 6, 8 / 2 / 2])


def test_weights_go_in_a_straight_line_and_zero_leaves_an_attribute_out():
    store, people = voices()
    model = objective(people, weights=(1.0, 0.0), early=(0.0, 2.0)).eval()
    batch = steps_of(store, people).batch(range(8), target=attributes.targets(people, model.config))
    totals = []
    for batch.progress in (0.0, 0.25, 1.0):
        totals.append(model(batch, RowRandom(batch.seeds)).total.item())
    assert totals[1] == pytest.approx(0.75 * totals[0] + 0.25 * totals[2], rel=1e-5)
    alone = objective(people, weights=(1.0, 0.0))
    assert (alone.config.used, len(alone.guess)) == (("emotion",), 1)
    nobody = [replace(u, gender="") for u in people]
    found = attributes.Config(weights=(1.0, 0.0)).fitted(Sides([], [nobody], []))
    assert found.classes == {"emotion": ("happy", "sad")}


def test_both_are_learned_and_the_front_stays():
    store, people = voices(16)
    steps, model = steps_of(store, people), objective(people)
    target = attributes.targets(people, model.config)
    model.set_shares(torch.from_numpy(target))
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    config = Training(epochs=25, lr=3e-3, batch_rows=8, batch_s=1e6)
    training.fit(model, steps, config, target=target, lr_scale=model.param_scale, keep=training.Keep(quiet=True))
    batch = steps.batch(range(16), target=target)
    found = model(batch, RowRandom(batch.seeds))
    assert found.logs == {"emotion_accuracy": 1.0, "gender_accuracy": 1.0}
    assert found.value < 0.3 * model.baseline(batch, RowRandom(batch.seeds)).value
    after = model.backbone.state_dict()
    still = {k for k in before if before[k].equal(after[k])}
    assert still == {k for k in before if k.startswith("front.") or k == "mask_vector"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"weights": (1.0,)}, "weights"), ({"early": (1.0,)}, "early"), ({"weights": (1.0, -1.0)}, "weights"),
     ({"weights": (0.0, 0.0)}, "weights")],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong, named):
    with pytest.raises(InputError, match=f"objective.{named}"):
        attributes.Config(**wrong)


def test_a_corpus_without_gender_or_with_one_is_refused():
    _, people = voices()
    for gender in ("", "female"):
        with pytest.raises(InputError, match=r"no two kinds of gender.*--set objective.weights=1.0,0"):
            attributes.Config().fitted(Sides([], [[replace(u, gender=gender) for u in people]], []))


# ---------------------------------------------------------------------------------------------- genders not told


def test_genders_that_are_not_told_are_predicted_by_speaker():
    store, people = voices(16)
    hidden = [replace(u, gender="" if u.speaker in ("p0", "p3") else u.gender) for u in people]
    torch.manual_seed(0)
    backbone = encoder.Backbone(encoder.Config(size="toy"), 1)
    whole, said = genders.complete(steps_of(store, hidden), backbone)
    assert [u.gender for u in whole] == [u.gender for u in people]
    assert "of 8 training utterances from the corpus, of 8 predicted" in said
    assert "too few speakers" in said
    same, said = genders.complete(steps_of(store, people), backbone)
    assert same == people
    assert said == "of all 16 training utterances from the corpus"


def test_how_often_the_head_is_right_is_measured_on_other_speakers():
    x = np.concatenate([RNG.normal(-1, 0.3, (20, 4)), RNG.normal(1, 0.3, (20, 4))])
    who = [f"p{k // 5}" for k in range(40)]
    told = np.array(["female"] * 20 + ["male"] * 20)
    assert genders._unseen(x, told, who) == "right for 100.0 % of speakers it was not fitted on"
    memory = np.eye(8)[[k // 5 for k in range(40)]]  # who speaks, and nothing else
    assert float(genders._unseen(memory, told, who).split()[2]) < 80


# ---------------------------------------------------------------------------------------------- the command line

SETTINGS = ["backbone.size=toy", "training.epochs=2", "training.lr=3e-3", "training.batch_rows=16"]


@pytest.fixture(scope="module")
def augmented(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attributes") / "run"
    pretrain_command.main(
        "attributes", [corpus], folder, fold="fold1", settings=SETTINGS, tracker="none", jobs=1, quiet=True
    )
    return folder


def test_the_first_step_is_a_run_to_go_on_from(corpus, augmented):
    config = json.loads((augmented / "fold1" / "config.json").read_text())
    report = json.loads((augmented / "fold1" / "report.json").read_text())
    data = Corpus.load(corpus)
    used = {data.by_id[k].labels["emotion"] for k in data.fold("fold1").train}
    assert config["settings"]["objective_config"]["classes"]["emotion"] == sorted(used)
    assert report["told"]["Gender"].startswith("of all")
    assert len(report["curves"]["emotion_accuracy"]) == len(report["curves"]["gender_accuracy"]) == 2
    assert "Gender" in (augmented / "fold1" / "report.html").read_text()
    (run,) = runs.parts(augmented, "pretrain")
    assert network.load_pretrained(run).plan == recipe.from_dict(config["settings"])


def test_labels_of_dev_and_test_teach_nothing(corpus, augmented, tmp_path):
    """Every label outside the training part is another one: the weights are the same, until dev chooses."""
    import csv
    import shutil

    data = Corpus.load(corpus)
    shutil.copytree(corpus, tmp_path / "data")
    with open(corpus / "manifest.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    train, classes = set(data.fold("fold1").train), data.classes["emotion"]
    for row in rows:
        if row["id"] not in train and row["emotion"]:
            row["emotion"] = classes[(classes.index(row["emotion"]) + 1) % len(classes)]
    with open(tmp_path / "data" / "manifest.csv", "w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    log = []
    for home, name in ((corpus, "a"), (tmp_path / "data", "b")):
        pretrain_command.main(
            "attributes", [home], tmp_path / name, fold="fold1", settings=[*SETTINGS, "training.epochs=1"],
            tracker="none", jobs=1, quiet=True,
        )  # fmt: skip
        log.append(checkpoint.load_tensors(tmp_path / name / "fold1" / "model.safetensors"))
    assert all(log[0][k].equal(log[1][k]) for k in log[0])


def test_units_of_its_states_are_learned_in_the_next_step(corpus, augmented, tmp_path):
    """The second step of GMP-TL: two scales of units of a layer of the first step's model, whose weights go on."""
    pretrain_command.main(
        "hubert", [corpus], tmp_path / "run", fold="fold1", init=str(augmented), tracker="none", jobs=1, quiet=True,
        settings=["objective.targets=1:4+9", "training.epochs=1", "training.batch_rows=16"],
    )  # fmt: skip
    report = json.loads((tmp_path / "run" / "fold1" / "report.json").read_text())
    assert [row["units"] for row in report["units"]] == [4, 9]


def test_units_of_sottovoce_label_are_learned_as_well(corpus, augmented, tmp_path):

    label_command.main(
        augmented, [corpus], layer=1, clusters="4,9", output=tmp_path / "units", stability=0, jobs=1, quiet=True
    )
    how = {"fold": "fold1", "init": str(augmented), "tracker": "none", "jobs": 1, "quiet": True}
    small = ["training.epochs=1", "training.batch_rows=16"]
    pretrain_command.main("hubert", [corpus], tmp_path / "run", units=str(tmp_path / "units"), settings=small, **how)
    config = json.loads((tmp_path / "run" / "fold1" / "config.json").read_text())
    assert config["settings"]["objective_config"]["targets"] == ["label:4+9"]
    with pytest.raises(InputError, match=r"units of another fold. Found fold1, not fold2"):
        pretrain_command.main(
            "hubert", [corpus], tmp_path / "x", units=str(tmp_path / "units"), **(how | {"fold": "fold2"})
        )
