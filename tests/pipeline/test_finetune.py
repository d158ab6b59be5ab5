"""Fine-tuning: a probe that is a logistic regression, arms that differ in weights alone, answers that do not depend
on company, and weights that have not heard whom they are tested on."""

import json
import shutil
import signal
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.config import recipe
from sottovoce.config.finetuning import Full, Probe, in_mode
from sottovoce.data import folds, runs
from sottovoce.data.augmented import Augmented, way
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import lines
from sottovoce.metrics import scores
from sottovoce.modeling import checkpoint, hub, solving
from sottovoce.modeling import network as models
from sottovoce.modeling.checkpoint import load_tensors
from sottovoce.modeling.heads import Standardise
from sottovoce.modeling.supervised import supervised_loss
from sottovoce.pipeline import finetune
from sottovoce.pipeline.extract import track_store
from sottovoce.tracks import base as tracks

SIX = "happy,sad,anger,surprise,disgust,fear"
CLASSES = Task("class", ("emotion",), ("a", "b", "c"))
NUMBERS = Task("number", ("valence", "arousal"), ranges=((-1.0, 1.0), (-1.0, 1.0)))


def tune(corpus, folder, *settings, init="none", **options):
    """`sottovoce finetune` of one fold; its folder."""
    finetune_command.main(corpus, folder, init=str(init), settings=list(settings), quiet=True, jobs=1, **options)
    return next(p.parent for p in sorted(folder.glob("*/config.json")))


def history_of(folder):
    return json.loads((folder / "history.json").read_text())


def scene(run_folder, ids=None):
    """A fine-tuned model and steps of its fold's test part, or of some utterances."""
    run = runs.Run.load(run_folder)
    it, data = models.load_recognised(run), Corpus.load(run.config["corpus"])
    store = track_store(data, it.plan.track, asdict(it.plan.track_config), quiet=True)
    ids = data.fold(run.config["fold"]).test if ids is None else ids
    return it, Steps([(store, [data.by_id[k] for k in ids])], it.plan.frontend, it.statistics)


# ---------------------------------------------------------------------------------------------- answers


def test_answers_depend_neither_on_order_nor_on_company(finetuned):
    ids = list(Corpus.load(runs.Run.load(finetuned / "fold1").config["corpus"]).fold("fold1").test)
    together = models.predict(*scene(finetuned / "fold1", ids))
    order = np.random.default_rng(0).permutation(len(ids))
    shuffled = models.predict(*scene(finetuned / "fold1", [ids[k] for k in order]))
    alone = np.concatenate([models.predict(*scene(finetuned / "fold1", [k])) for k in ids])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.ptp(together, axis=0).min() > 0.1  # they do depend on the recording


def test_answers_do_not_depend_on_padding(finetuned):
    it, steps = scene(finetuned / "fold1")
    batch = steps.batch([0, 1])
    longer = torch.nn.functional.pad(batch.x, (0, 0, 0, 150), value=3.0)
    longer[:, : batch.x.shape[1]] = batch.x
    with torch.inference_mode():
        ours, theirs = it.network(batch.x, batch.lengths), it.network(longer, batch.lengths)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        ("finetune.layer_aggregation=weighted", "finetune.temporal_pooling=attentive"),
        ("finetune.layer_aggregation=last", "finetune.temporal_pooling=mean", "finetune.depth=1"),
        ("finetune.temporal_pooling=dynamics", "frontend.normalise=utterance", "finetune.mixup=0.4"),
        ("finetune.time_masks=2", "finetune.feature_masks=2", "finetune.layer_decay=0.5", "finetune.freeze_blocks=1"),
    ],
)
def test_every_pooling_and_augmentation_trains_and_comes_back_from_disk(corpus, pretrained, tmp_path, settings):
    folder = tune(corpus, tmp_path / "ft", *settings, init=pretrained)
    it, steps = scene(folder)
    found = models.predict(it, steps)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    again, _ = scene(folder)
    np.testing.assert_array_equal(models.predict(again, steps), found)
    assert history_of(folder)["epochs"][0]["train_loss"] > 0


# ---------------------------------------------------------------------------------------------- the probe


@pytest.mark.parametrize("strength", [0.01, 0.1, 1.0])
def test_the_probe_is_scikit_learns_logistic_regression(strength):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    x = (rng.normal(0, 1, (60, 10)) + np.eye(3, 10)[y] * 1.5).astype(np.float32)
    settings = Full(class_weights=False, label_smoothing=0.0)
    weight, bias = solving.solve(CLASSES, solving.Rows.of(torch.from_numpy(x), y), strength, settings)
    theirs = LogisticRegression(C=1 / (strength * len(y)), tol=1e-8, max_iter=2000).fit(x, y)
    ours = models.to_predictions(CLASSES, (torch.from_numpy(x) @ weight.T + bias).numpy())
    np.testing.assert_allclose(ours, theirs.predict_proba(x), atol=2e-3)


def test_plain_and_frozen_is_logistic_regression_on_statistics_of_the_features(corpus, tmp_path):
    from sklearn.linear_model import LogisticRegression

    words = [
        "frontend.subsampling=1",
        "finetune.temporal_pooling=statistics",
        "finetune.l2=0.1",
        "finetune.label_smoothing=0",
    ]
    folder = tune(corpus, tmp_path, *words, "frontend.trim_db=0", "track.bins=20", backbone="plain", mode="frozen")
    it = models.load_recognised(runs.Run.load(folder))
    data = Corpus.load(corpus)
    fold, store = data.fold("fold1"), track_store(data, "fbank", asdict(it.plan.track_config), jobs=1, quiet=True)
    labelled = [k for k in fold.train if it.task.has(data.by_id[k])]
    every = {k: np.concatenate([store[k].mean(0), store[k].std(0)]) for k in (*labelled, *fold.test)}
    x, y = np.array([every[k] for k in labelled]), [data.by_id[k].labels["emotion"] for k in labelled]
    mean, std = x.mean(0), x.std(0)
    theirs = LogisticRegression(C=10 / len(x), max_iter=2000, class_weight="balanced").fit((x - mean) / std, y)
    steps = Steps([(store, [data.by_id[k] for k in fold.test])], it.plan.frontend, it.statistics)
    found = models.predict(it, steps)
    wanted = theirs.predict_proba((np.array([every[k] for k in fold.test]) - mean) / std)
    order = [list(theirs.classes_).index(name) for name in it.task.classes]
    np.testing.assert_allclose(found, wanted[:, order], atol=0.01)


def test_a_stronger_probe_has_smaller_weights_and_dev_chooses(corpus, pretrained, tmp_path):
    folder = tune(corpus, tmp_path / "ft", "finetune.l2=0.0003,0.03,300", init=pretrained, mode="frozen")
    rows = history_of(folder)["probe"]
    assert [row["strength"] for row in rows] == [0.0003, 0.03, 300]
    it, steps = scene(folder, Corpus.load(corpus).fold("fold1").dev)
    truth = it.task.values(steps.utterances)
    chosen = finetune.score(it.task, models.predict(it, steps), truth)["select"]
    preferred = solving.penalty(rows, len(truth))
    assert chosen == pytest.approx(next(row["select"] for row in rows if row["strength"] == preferred), abs=1e-5)
    assert rows[2]["select"] < chosen


@pytest.fixture(scope="module")
def gated(corpus, tmp_path_factory):
    words = ["finetune.copies=2", "finetune.gate=true", "finetune.l2=0.1,1", "finetune.refit=true", "track.bins=20"]
    return tune(corpus, tmp_path_factory.mktemp("gated"), *words, backbone="plain", mode="frozen")


def test_with_a_gate_copies_change_nothing_for_recordings_as_they_are(corpus, gated, tmp_path):
    """Their layer is that of a run without copies, to the bit; and so is what a frame is standardised by."""
    words = ["finetune.l2=0.1,1", "finetune.refit=true", "track.bins=20"]
    alone = load_tensors(tune(corpus, tmp_path, *words, backbone="plain", mode="frozen") / "model.safetensors")
    both = load_tensors(gated / "model.safetensors")
    for ours, theirs in (("out.plain.weight", "out.weight"), ("out.plain.bias", "out.bias")):
        torch.testing.assert_close(both[f"network.{ours}"], alone[f"network.{theirs}"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both["network.standardise.std"], alone["network.standardise.std"], rtol=0, atol=0)


def test_a_gate_tells_changed_recordings_of_speakers_that_it_has_not_met(corpus, gated):
    it, steps = scene(gated, Corpus.load(corpus).fold("fold1").test)
    data, store = Corpus.load(corpus), steps.stores[0]
    changed = Augmented(data, store, tracks.maker("fbank").make, it.plan.track_config, 1, way("channel", 1))
    found = []
    for source in (store, changed):
        some = Steps([(source, steps.utterances)], it.plan.frontend, it.statistics)
        x = models.standardised(it, models.run_over(some, it.network.pooled), some)
        found.append(it.network.out.gate(x).sigmoid().mean().item())
    assert found[0] < 0.35
    assert found[1] > 0.65


def test_copies_at_other_speeds_teach_the_one_layer(corpus, gated, tmp_path):
    def layer(copies):
        words = [f"finetune.copies={copies}", "finetune.gate=true", "finetune.change=speed", "track.bins=20"]
        words += ["finetune.l2=0.1", "finetune.embedding_norm=speaker"]
        folder = tune(corpus, tmp_path / str(copies), *words, backbone="plain", mode="frozen")
        return load_tensors(folder / "model.safetensors")["network.out.weight"]

    assert "network.out.weight" not in load_tensors(gated / "model.safetensors")
    assert not torch.allclose(layer(2), layer(0), rtol=0.05)


def test_who_changes_the_blocks_does_not_pool_by_what_they_said_of_speech():
    frozen = hub.load("default").plan.finetune
    assert frozen.temporal_pooling == "speech"
    assert in_mode(frozen, "full").temporal_pooling == "statistics"


def test_of_penalties_that_dev_cannot_tell_apart_the_middle_one_is_taken():
    def rows(*select):
        return [{"strength": l2, "select": s} for l2, s in zip((0.5, 0.1, 2.0), select, strict=True)]

    assert solving.penalty(rows(0.50, 0.52, 0.49), 100) == 0.5  # a standard error is 0.05
    assert solving.penalty(rows(0.50, 0.52, 0.49), 0) == 0.1  # of numbers the best
    assert solving.penalty(rows(0.40, 0.52, 0.40), 100) == 0.1  # this one dev can tell
    assert solving.penalty(rows(0.50, 0.40, 0.52), 100) == 2.0  # of two the plainer
    assert solving.penalty([{"strength": 0.3}], 0) == 0.3  # nobody to choose


def test_frozen_mode_leaves_the_backbone_bit_equal(corpus, pretrained, tmp_path):
    folder = tune(corpus, tmp_path / "ft", init=pretrained, mode="frozen")
    before, after = (load_tensors(f / "model.safetensors") for f in (pretrained / "fold1", folder))
    names = [k for k in before if k.startswith("backbone.")]
    assert names
    assert all(before[k].equal(after[f"network.{k}"]) for k in names)
    assert before["statistics.mean"].equal(after["statistics.mean"])
    assert "epochs" not in history_of(folder)


@pytest.mark.parametrize("lr", [1e-3, 0.5])
def test_full_training_never_ends_below_its_probe_on_dev(corpus, pretrained, tmp_path, lr):
    """Even when the learning rate destroys the weights."""
    folder = tune(corpus, tmp_path / "ft", f"finetune.training.lr={lr}", init=pretrained, fold="fold2")
    rows = history_of(folder)
    it, steps = scene(folder, Corpus.load(corpus).fold("fold2").dev)
    final = finetune.score(it.task, models.predict(it, steps), it.task.values(steps.utterances))["select"]
    probe = max(row["select"] for row in rows["probe"])
    assert rows["start"]["select"] == pytest.approx(probe, abs=1e-4)
    assert final >= probe - 1e-6
    assert final == pytest.approx(max([probe, *(row["select"] for row in rows["epochs"])]), abs=1e-4)


# ---------------------------------------------------------------------------------------------- two arms


def test_control_and_pretrained_arm_are_the_same_architecture(corpus, finetuned, pretrained, tiny, tmp_path):
    scratch = tune(corpus, tmp_path / "scratch", *tiny)
    ours, control = (models.load_recognised(runs.Run.load(f)).network for f in (finetuned / "fold1", scratch))
    assert str(ours) == str(control)
    shapes = [{k: tuple(v.shape) for k, v in net.state_dict().items()} for net in (ours, control)]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in control.parameters())
    settings = [json.loads((f / "config.json").read_text())["settings"] for f in (finetuned / "fold1", scratch)]
    assert settings[0] == settings[1]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(corpus, tiny, tmp_path):
    a, b, c = (tune(corpus, tmp_path / name, *tiny, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    first, same, other = ((f / "model.safetensors").read_bytes() for f in (a, b, c))
    assert first == same
    assert first != other


def test_random_weights_come_from_the_seed_alone(corpus, tiny, tmp_path):
    """Without any training, the control's backbone is what the factory makes after that seed."""
    folder = tune(corpus, tmp_path / "ft", *tiny, mode="frozen", seed=7)
    it = models.load_recognised(runs.Run.load(folder))
    torch.manual_seed(7)
    fresh = models.build_backbone(it.plan, it.network.backbone.features)
    assert all(p.equal(it.network.backbone.state_dict()[k]) for k, p in fresh.state_dict().items())


# ---------------------------------------------------------------------------------------------- rates and losses


@pytest.fixture
def network(finetuned):
    return models.load_recognised(runs.Run.load(finetuned / "fold1")).network


def test_learning_rates_fall_from_the_top_block_down(network):
    rate = finetune.layer_rates(network, Full(layer_decay=0.5, head_lr=3.0))
    assert rate("network.out.weight") == 3.0
    assert rate("network.backbone.norm.weight") == 1.0
    assert rate("network.backbone.blocks.1.out.weight") == 1.0
    assert rate("network.backbone.blocks.0.out.weight") == 0.5
    assert rate("network.backbone.embed.weight") == 0.25


def test_frozen_blocks_take_the_input_with_them(network):
    rate = finetune.layer_rates(network, Full(freeze_blocks=1))
    moving = {name for name, _ in network.named_parameters() if rate(f"network.{name}")}
    assert not any(name.startswith(("backbone.blocks.0.", "backbone.embed", "backbone.near")) for name in moving)
    assert any(name.startswith("backbone.blocks.1.") for name in moving)
    assert "out.weight" in moving


def test_frozen_blocks_stay_and_the_others_move(corpus, pretrained, tmp_path):
    folder = tune(corpus, tmp_path / "ft", "finetune.freeze_blocks=1", "finetune.training.lr=0.01", init=pretrained)
    before, after = (load_tensors(f / "model.safetensors") for f in (pretrained / "fold1", folder))
    same = {k for k in before if k.startswith("backbone.") and before[k].equal(after[f"network.{k}"])}
    assert {k for k in before if k.startswith(("backbone.blocks.0.", "backbone.embed"))} <= same
    if history_of(folder)["start"]["select"] < max(row["select"] for row in history_of(folder)["epochs"]):
        assert not any(k.startswith("backbone.blocks.1.") and "weight" in k for k in same)


def test_every_class_weighs_the_same():
    target = np.array([0] * 30 + [1] * 6 + [2] * 4)
    out = torch.zeros(40, 3)
    losses = supervised_loss(CLASSES, Full(label_smoothing=0.0), target)(out, torch.from_numpy(target))
    shares = [float(losses[target == k].sum()) for k in range(3)]
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)
    assert float(losses.mean()) == pytest.approx(np.log(3), rel=1e-5)
    plain = supervised_loss(CLASSES, Full(label_smoothing=0.0, class_weights=False), target)
    np.testing.assert_allclose(plain(out, torch.from_numpy(target)), np.log(3), rtol=1e-5)


def test_a_class_nobody_trained_on_is_no_division_by_zero():
    target = np.array([0, 0, 1])
    assert torch.isfinite(supervised_loss(CLASSES, Full(), target)(torch.zeros(3, 3), torch.tensor(target))).all()


def test_smoothed_cross_entropy_is_written_out():
    rng = np.random.default_rng(0)
    out, y = rng.normal(0, 2, (7, 3)), rng.integers(0, 3, 7)
    wanted = 0.9 * np.eye(3)[y] + 0.1 / 3
    log_p = out - np.log(np.exp(out).sum(1, keepdims=True))
    loss = supervised_loss(CLASSES, Full(class_weights=False, label_smoothing=0.1), y)
    np.testing.assert_allclose(loss(torch.from_numpy(out), torch.from_numpy(y)), -(wanted * log_p).sum(1), rtol=1e-5)


def test_ccc_loss_is_one_minus_the_metric():
    rng = np.random.default_rng(1)
    y = rng.uniform(-1, 1, (50, 2))
    out = np.clip(0.6 * y + rng.normal(0, 0.2, y.shape) + 0.1, -1, 1)
    loss = supervised_loss(NUMBERS, Full(loss="ccc"), y)(torch.from_numpy(out), torch.from_numpy(y))
    assert loss.shape == (50,)
    assert float(loss.mean()) == pytest.approx(1 - scores.scores(NUMBERS, y, out)["ccc"], abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "of"), [("l1", np.abs), ("huber", lambda d: np.where(abs(d) < 1, d**2 / 2, abs(d) - 0.5))]
)
def test_distances_are_their_formulas(kind, of):
    rng = np.random.default_rng(2)
    y, out = rng.normal(0, 2, (2, 9, 2))
    loss = supervised_loss(NUMBERS, Full(loss=kind), y)(torch.from_numpy(out), torch.from_numpy(y))
    np.testing.assert_allclose(loss, of(out - y).mean(1), rtol=1e-6)


@pytest.mark.parametrize(("task", "loss"), [(CLASSES, "ccc"), (CLASSES, "l1"), (NUMBERS, "ce")])
def test_a_loss_that_does_not_fit_the_target_is_refused(task, loss):
    with pytest.raises(InputError, match=f"'{loss}' does not fit {task.kind} targets"):
        supervised_loss(task, Full(loss=loss), np.zeros(3, np.int64))


def test_dev_score_is_ua_or_ccc_or_what_is_asked_for():
    answers = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2]])
    found = finetune.score(CLASSES, answers, np.array([0, 1, 2]))
    assert found["dev_ua"] == pytest.approx(2 / 3)
    assert found["select"] < found["dev_ua"]  # likelihood breaks ties, and is never positive
    surer = answers + np.array([[0.05, -0.05, 0]] * 3) * [[1], [0], [0]]
    assert finetune.score(CLASSES, surer, np.array([0, 1, 2]))["select"] > found["select"]
    assert finetune.score(CLASSES, answers, np.array([0, 1, 2]), "recall_a", 0.0)["select"] == 1
    truth = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    near, constant = truth * 0.8, np.full((3, 2), 0.5)
    for by, better in (("", near), ("mae", near), ("ccc", near)):
        found = [finetune.score(NUMBERS, a, truth, by)["select"] for a in (better, constant)]
        assert found[0] > found[1]
    assert finetune.score(NUMBERS, constant, truth, "mae")["select"] == pytest.approx(-1 / 3)
    assert finetune.score(NUMBERS, near, truth)["select"] == finetune.score(NUMBERS, near, truth)["dev_ccc"] > 0.9


def test_models_of_numbers_are_chosen_by_ccc_whatever_their_loss():
    assert finetune.chooser(NUMBERS, Full(loss="ccc")) == finetune.chooser(NUMBERS, Full()) == "ccc"
    assert finetune.chooser(NUMBERS, Full(select="mae")) == "mae"
    assert (finetune.chooser(CLASSES, Full()), finetune.chooser(CLASSES, Probe())) == ("ua", "wa")
    with pytest.raises(InputError, match=r"finetune\.select: no 'mae'|'mae'"):
        finetune.chooser(CLASSES, Full(select="mae"))


# ---------------------------------------------------------------------------------------------- labels


def test_label_subsets_are_nested_and_stratified(corpus):
    data = Corpus.load(corpus)
    task, train = Task.of(data), data.fold("fold1").train
    found = {n: {u.id for u in finetune.select(data, train, task, n, 0)} for n in ("5", "10", "50%", "100%")}
    assert [len(ids) for ids in found.values()] == [5, 10, 20, 40]
    assert found["5"] < found["10"] < found["50%"] < found["100%"] == set(train)
    assert len({data.by_id[k].labels["emotion"] for k in found["5"]}) == 5
    assert found["5"] != {u.id for u in finetune.select(data, train, task, "5", 1)}


def test_few_labels_are_recorded(corpus, tiny, tmp_path):
    config = json.loads((tune(corpus, tmp_path / "ft", *tiny, labels="25%", mode="frozen") / "config.json").read_text())
    assert (config["labels"], config["of_labels"]) == (10, 40)
    assert "synthetic/spk01" not in config["seen_speakers"]


# ---------------------------------------------------------------------------------------------- exposure


@pytest.fixture(scope="module")
def everybody(corpus, tiny, tmp_path_factory):
    """Weights that have seen all speakers."""

    folder = tmp_path_factory.mktemp("all") / "pre"
    few = [*tiny, "training.epochs=1"]
    pretrain_command.main(
        "masked_timesteps", [corpus], folder, fold="none", settings=few, tracker="none", jobs=1, quiet=True
    )
    return folder


def test_weights_that_heard_a_test_speaker_are_refused_by_name(corpus, everybody, tmp_path):
    with pytest.raises(InputError) as error:
        tune(corpus, tmp_path / "ft", init=everybody)
    said = str(error.value)
    assert "2 test speakers of fold1 (synthetic/spk01, synthetic/spk02)" in said
    assert "--transductive" in said
    assert "\n" not in said
    assert not (tmp_path / "ft").exists()


def test_transductive_is_allowed_by_name_and_is_the_first_line_of_the_report(corpus, everybody, tmp_path):

    folder = tune(corpus, tmp_path / "ft", init=everybody, transductive=True, mode="frozen")
    assert json.loads((folder / "config.json").read_text())["seen_test_speakers"] == [
        "synthetic/spk01",
        "synthetic/spk02",
    ]
    evaluate_command.main(tmp_path / "ft", opensmile=False, quiet=True)
    line = json.loads((tmp_path / "ft/report.json").read_text())["protocol"]["first_line"]
    assert line.startswith("Transductive: the pre-training has seen the unlabelled audio of 2 test speakers")
    page = (tmp_path / "ft/report.html").read_text()
    body = page[page.index("<body") :]
    assert line.split(" (")[0] in body
    assert body.index("Transductive") < body.index("Against the baselines")


def test_each_fold_takes_the_weights_that_have_not_heard_it(corpus, pretrained, finetuned):
    for fold in Corpus.load(corpus).folds:
        config = json.loads((finetuned / fold.name / "config.json").read_text())
        assert config["init"] == str(pretrained / fold.name)
        assert config["seen_test_speakers"] == []
        test = {f"synthetic/{Corpus.load(corpus).by_id[k].speaker}" for k in fold.test}
        assert not test & set(config["seen_speakers"])


def test_one_fold_of_weights_does_not_serve_the_others(corpus, pretrained):
    data = Corpus.load(corpus)
    alone = str(pretrained / "fold1")
    assert finetune.weights_for(alone, data, data.fold("fold1")).folder == pretrained / "fold1"
    with pytest.raises(InputError, match=r"have seen 2 test speakers of fold2"):
        finetune.weights_for(alone, data, data.fold("fold2"))


def test_statistics_without_pretraining_come_from_the_training_part_labelled_or_not(corpus, tiny, tmp_path):
    """Labels are few, speech is not: ten labels or forty, the same statistics, and never of dev or test people."""
    folder = tune(corpus, tmp_path / "ft", *tiny, labels="10", mode="frozen")
    it, _ = scene(folder)
    data = Corpus.load(corpus)
    ids = data.fold("fold1").train
    _, steps = scene(folder, ids)
    frames = np.concatenate([steps.raw(k) for k in range(len(ids))]).astype(np.float64)
    np.testing.assert_allclose(it.statistics.mean, frames.mean(0), rtol=1e-5)
    config = json.loads((folder / "config.json").read_text())
    outside = data.fold("fold1").test
    assert not {folds.person(data.by_id[k]) for k in outside} & set(config["seen_speakers"])
    assert {folds.person(data.by_id[k]) for k in ids} <= set(config["seen_speakers"])


def test_what_test_people_said_changes_no_weight_of_a_classifier(corpus, tiny, tmp_path):
    from test_pretrain import overwrite

    shutil.copytree(corpus, tmp_path / "data")
    clean = tune(tmp_path / "data", tmp_path / "clean", *tiny)
    overwrite(tmp_path / "data", Corpus.load(corpus).fold("fold1").test, 3e4)
    dirty = tune(tmp_path / "data", tmp_path / "dirty", *tiny)
    assert (clean / "model.safetensors").read_bytes() == (dirty / "model.safetensors").read_bytes()


# ---------------------------------------------------------------------------------------------- per speaker


def test_each_speaker_is_standardised_by_their_own_recordings(corpus, pretrained, tmp_path):
    """Another level and spread in one speaker's pooled features changes nobody's answers."""
    own = ["finetune.embedding_norm=speaker", "finetune.speaker_prior=0"]
    folder = tune(corpus, tmp_path / "ft", *own, init=pretrained, mode="frozen")
    it, steps = scene(folder)
    pooled = models.run_over(steps, it.network.pooled)
    answers = models.from_pooled(it, pooled, steps)
    np.testing.assert_allclose(models.predict(it, steps), answers, atol=1e-6)
    louder = pooled.copy()
    own = np.array([u.speaker == "spk01" for u in steps.utterances])
    louder[own] = 3 * louder[own] + 5
    np.testing.assert_allclose(models.from_pooled(it, louder, steps), answers, atol=1e-4)
    apart = replace(it, plan=replace(it.plan, finetune=replace(it.plan.finetune, embedding_norm="corpus")))
    assert np.abs(models.from_pooled(apart, louder, steps) - answers).max() > 0.05


def test_a_speaker_of_few_recordings_is_an_average_one_a_little():
    """Beside n recordings stand two of an average speaker in the mean, ten in the variance; unknown ones are alone."""
    norm = Standardise(2)
    norm.fit(torch.tensor([[1.0, 2.0], [3.0, 6.0], [8.0, 4.0], [12.0, 4.0]]), ["a", "a", "b", "b"])
    np.testing.assert_allclose(norm.mean, [6, 4])
    np.testing.assert_allclose(norm.std, [2.5**0.5, 2**0.5], rtol=1e-6)  # within them: variances 1 and 4; 4 and 0
    pooled = np.array([[1.0, 2.0], [3.0, 6.0], [9.0, 10.0]], np.float32)
    mean, std = norm.of_speakers(pooled, ["c/a", "c/a", "c/b"], 0.0)
    np.testing.assert_allclose(mean[:2], [[2, 4], [2, 4]])
    np.testing.assert_allclose(std[:2], [[1, 2], [1, 2]])
    mean, std = norm.of_speakers(pooled, ["c/a", "c/a", "c/b"], 2.0)
    np.testing.assert_allclose(mean, [[4, 4], [4, 4], [7, 6]])
    np.testing.assert_allclose(std[0] ** 2, [(2 * 1 + 10 * 2.5) / 12, (2 * 4 + 10 * 2) / 12], rtol=1e-6)
    alone = norm.of_speakers(pooled[:1], ["c/a"], 0.0)[0]
    assert (alone != pooled[:1]).all()  # minus itself it would say nothing
    many = norm.of_speakers(np.tile(pooled[:2], (5000, 1)), ["c/a"] * 10_000, 2.0)
    np.testing.assert_allclose(many, [np.full((10_000, 2), v) for v in ([2, 4], [1, 2])], rtol=2e-3)
    steps = SimpleNamespace(utterances=[SimpleNamespace(corpus="c", speaker="", id=k) for k in ("u1", "u2")])
    assert len(set(models.speakers(steps))) == 2


def test_speaker_norm_wants_speakers(corpus, pretrained, tmp_path):
    data = Corpus.load(corpus)
    mute = tuple(replace(u, speaker="") for u in data.utterances)
    replace(data, folder=tmp_path / "data", utterances=mute).save()
    with pytest.raises(InputError, match="no speaker names"):
        tune(tmp_path / "data", tmp_path / "ft", init=pretrained, speaker_norm=True)


def test_speaker_norm_says_where_voices_have_one_class_alone(corpus, pretrained, tmp_path, capsys):
    data = Corpus.load(corpus)
    by_class = tuple(replace(u, speaker=f"{u.speaker} {u.labels.get('emotion', '')}") for u in data.utterances)
    replace(data, folder=tmp_path / "data", utterances=by_class).save()
    said = "speakers of the training part have recordings of one class alone"
    for where, told in [(corpus, False), (tmp_path / "data", True)]:
        finetune_command.main(where, tmp_path / "ft", init=str(pretrained), speaker_norm=True, dry_run=True)
        assert (said in capsys.readouterr().err) is told
    task = Task.of(data, ["emotion"])
    assert not lines.of_one_class(task, {u.speaker: u for u in by_class}.values())  # one recording each tells nothing


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["finetune.layers=99"], "finetune.layers: no layer 99"),
        (["finetune.loss=ccc"], "finetune.loss: 'ccc' does not fit class targets"),
        (["finetune.mode=frozen", "finetune.layers=3", "finetune.depth=2"], "no layer 3 in this backbone. Found 2 b"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse(corpus, pretrained, tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        finetune_command.main(corpus, tmp_path / "ft", init=str(pretrained), settings=settings, dry_run=True)


def test_a_fold_that_is_named_twice_is_one(corpus, pretrained, tmp_path, capsys):
    names = [fold.name for fold in Corpus.load(corpus).folds[:2]]
    twice = ",".join([*names, names[0]])
    finetune_command.main(corpus, tmp_path / "ft", init=str(pretrained), fold=twice, dry_run=True)
    said = capsys.readouterr().out
    assert [said.count(f"/{name}: ") for name in names] == [1, 1]


def test_speaker_norm_trains_everything_and_is_reproducible(corpus, pretrained, tmp_path):
    a, b = (tune(corpus, tmp_path / name, init=pretrained, speaker_norm=True) for name in "ab")
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    assert len(history_of(a)["epochs"]) == 2


# ---------------------------------------------------------------------------------------------- runs as folders


def test_options_that_contradict_the_weights_are_refused(corpus, pretrained, tmp_path):
    for option in ({"track": "mfcc"}, {"backbone": "gru"}):
        with pytest.raises(InputError, match=r"were made with (fbank|transformer)"):
            tune(corpus, tmp_path / "ft", init=pretrained, **option)
    tune(corpus, tmp_path / "ft", init=pretrained, track="fbank", backbone="transformer", mode="frozen")


def test_refused_settings_leave_nothing_behind(corpus, pretrained, tmp_path):
    for wrong, said in (
        ("finetune.loss=ccc", "does not fit class targets"),
        ("track.bins=20", "pre-trained on 40 features"),
    ):
        with pytest.raises(InputError, match=said):
            tune(corpus, tmp_path / "ft", wrong, init=pretrained)
        assert not (tmp_path / "ft").exists()


def test_a_lone_config_does_not_block_its_folder(corpus, pretrained, tiny, tmp_path):
    """What a command that failed at once may have left is no run."""
    folder = tune(corpus, tmp_path / "ft", init=pretrained, mode="frozen")
    (folder / "model.safetensors").unlink()
    tune(corpus, tmp_path / "ft", *tiny, mode="frozen")
    with pytest.raises(InputError, match="a run of another configuration"):
        tune(corpus, tmp_path / "ft", init=pretrained, mode="frozen")


def test_a_finished_run_is_not_made_again(corpus, pretrained, finetuned):
    before = {p: p.stat().st_mtime_ns for p in finetuned.rglob("fold*/*")}
    tune(corpus, finetuned, init=pretrained, fold="all")
    assert {p: p.stat().st_mtime_ns for p in finetuned.rglob("fold*/*")} == before


@pytest.mark.slow
def test_killed_and_resumed_gives_identical_weights(corpus, pretrained, process, tmp_path):
    """SIGKILL in the middle; the same command then ends with the bytes of a run nobody killed."""
    settings = ["finetune.training.epochs=40", "finetune.training.save_every=0", "finetune.dropout=0.2"]
    words = ["finetune", corpus, "--init", pretrained, "--fold", "fold3", "-q"]
    words += [word for setting in settings for word in ("--set", setting)]
    child = process(*words, "-o", tmp_path / "killed")
    folder = tmp_path / "killed/fold3"
    while not (folder / "last.safetensors").exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)
    time.sleep(0.15)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (folder / "model.safetensors").exists()
    update = json.loads(checkpoint.read_tensors(folder / "last.safetensors")[1]["state"])["update"]
    assert 0 < update < 120
    resumed = tune(corpus, tmp_path / "killed", *settings, init=pretrained, fold="fold3")
    whole = tune(corpus, tmp_path / "whole", *settings, init=pretrained, fold="fold3")
    assert len(history_of(resumed)["epochs"]) == 40
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not list(resumed.glob("*.part")) + list(resumed.glob("last*"))


# ---------------------------------------------------------------------------------------------- numbers


def test_numbers_are_learned_and_stay_in_their_range(corpus, pretrained, tmp_path):
    folder = tune(corpus, tmp_path / "ft", "finetune.loss=huber", init=pretrained, target=SIX)
    it, steps = scene(folder)
    answers = models.predict(it, steps)
    assert it.task.target == tuple(SIX.split(","))
    assert answers.shape == (20, 6)
    assert answers.min() >= 0
    assert answers.max() <= 3
    truth = it.task.values(steps.utterances)
    assert np.abs(answers - truth).mean() < 0.9 * np.abs(np.median(truth, axis=0) - truth).mean()


def test_dimensions_are_learned_by_ccc(corpus, pretrained, tmp_path):
    folder = tune(corpus, tmp_path / "ft", "finetune.loss=ccc", init=pretrained, target="valence,arousal")
    it, steps = scene(folder)
    assert scores.scores(it.task, it.task.values(steps.utterances), models.predict(it, steps))["ccc"] > 0.5


def test_a_recipe_is_rebuilt_from_a_runs_settings(finetuned, tiny):
    plan = recipe.from_dict(json.loads((finetuned / "fold1/config.json").read_text())["settings"])
    assert plan == recipe.resolve("masked_timesteps", [], track="fbank", settings=tiny)


def test_random_weights_that_stay_frozen_hear_a_recording_once(corpus, tmp_path):
    """The states of the arm from scratch serve every fold of its seed; another seed's are others."""
    words = ["frontend.normalise=none", "finetune.temporal_pooling=statistics"]
    there = set((corpus / "tracks").glob("pooled-*"))
    kept = []
    for k, seed in enumerate((0, 0, 1)):
        tune(corpus, tmp_path / str(k), *words, seed=seed, mode="frozen")
        kept.append(len(set((corpus / "tracks").glob("pooled-*")) - there))
    assert kept == [1, 1, 2]


def test_kept_states_do_not_depend_on_who_asked_for_them_first(corpus, tmp_path):
    """Workers of a study ask in any order: each recording is heard alone, and the bits are the same."""
    words = ["frontend.normalise=none", "finetune.temporal_pooling=statistics"]
    found = []
    for labels in (("5", "100%"), ("100%", "5")):
        home = tmp_path / "data"
        shutil.copytree(corpus, home, ignore=shutil.ignore_patterns("pooled-*"))
        for many in labels:
            tune(home, tmp_path / f"{many[:1]}{len(found)}", *words, mode="frozen", labels=many)
        (kept,) = home.glob("tracks/pooled-*")
        tensors, rows = checkpoint.read_tensors(kept)  # the order of a header's entries is safetensors' own chance
        found.append((tensors["values"].numpy().tobytes(), rows))
        shutil.rmtree(home)
    assert found[0] == found[1]
