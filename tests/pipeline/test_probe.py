"""The frozen probe: the mean over time may come first, dev chooses the learning rate, and the folds are the published
ones."""

import json
from collections import Counter

import layouts
import numpy as np
import pytest
import torch

from sottovoce.backbones import Hidden
from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import study as study_command
from sottovoce.config import recipe
from sottovoce.config.finetuning import Full, Probe, in_mode
from sottovoce.corpora import iemocap
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.modeling import linear_probe, network
from sottovoce.modeling.checkpoint import load_tensors
from sottovoce.pipeline import finetune

LENGTHS = torch.tensor([3, 9, 5, 1, 7, 9, 2, 6])
LAYERS, WIDTH, CLASSES = 3, 6, 4
FEW = ("finetune.updates=60", "finetune.readings=6", "finetune.lrs=0.003,0.03")


@pytest.fixture
def double():
    """Equality is shown in float64: what is left are the last bits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def hidden_states(seed=0):
    """Layers (L, N, S, H), zero after each utterance's end."""
    x = torch.randn(LAYERS, len(LENGTHS), int(LENGTHS.max()), WIDTH, generator=torch.Generator().manual_seed(seed))
    return x.to(torch.get_default_dtype()) * (torch.arange(x.shape[2]) < LENGTHS[:, None])[..., None]


def whole(x):
    """Rows -> every step of them."""
    return lambda rows: Hidden(list(x[:, rows]), LENGTHS[rows])


def averages(x):
    """Rows -> utterances one step long, their means over time."""
    means = x.sum(2, keepdim=True) / LENGTHS[:, None, None]
    return lambda rows: Hidden(list(means[:, rows]), torch.ones(len(rows), dtype=torch.long))


class Net(torch.nn.Module):
    """What `probe.Head` takes from a network."""

    def __init__(self, **settings):
        super().__init__()
        from sottovoce.modeling import heads

        torch.manual_seed(1)
        self.pooling = heads.Pooling(
            LAYERS, WIDTH, **({"layer_aggregation": "weighted", "temporal_pooling": "mean", "project": 10} | settings)
        )
        self.out = torch.nn.Linear(self.pooling.dim, CLASSES)


def slow(x, mix, projector, bias, out, offset, *, relu=False):
    """Scores (N, K) one utterance and one step at a time: projector first, mean last."""
    share, rows = mix.softmax(0), []
    for n, length in enumerate(LENGTHS.tolist()):
        total = 0
        for step in range(length):
            mixed = sum(share[k] * x[k, n, step] for k in range(LAYERS))
            projected = projector @ mixed + bias
            total = total + (projected.clamp(min=0) if relu else projected)
        rows.append(out @ (total / length) + offset)
    return torch.stack(rows)


def parts(head):
    p = head.pooling
    return p.mix, p.project.weight, p.project.bias, head.out.weight, head.out.bias


# ---------------------------------------------------------------------------------------------- mean first


@pytest.mark.parametrize("relu", [False, True])
def test_the_head_is_its_slow_reference(double, relu):
    head, x = linear_probe.Head(Net(activation="relu" if relu else "none")), hidden_states()
    rows = np.arange(len(LENGTHS))
    torch.testing.assert_close(head(whole(x)(rows)), slow(x, *parts(head), relu=relu))


def test_the_mean_over_time_may_come_first_in_scores_and_gradients(double):
    x, y, rows = hidden_states(), torch.arange(8) % CLASSES, np.arange(len(LENGTHS))
    grads = []
    for scores_of in (lambda h: h(averages(x)(rows)), lambda h: slow(x, *parts(h))):
        head = linear_probe.Head(Net())
        torch.nn.functional.cross_entropy(scores_of(head), y).backward()
        grads.append([p.grad for p in parts(head)])
    for fast, reference in zip(*grads, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-10, atol=1e-12)


def test_a_relu_behind_the_projector_does_not_commute():
    head, x, rows = linear_probe.Head(Net(activation="relu")), hidden_states(), np.arange(len(LENGTHS))
    assert (head(whole(x)(rows)) - head(averages(x)(rows))).abs().max() > 0.01


def test_a_training_run_on_means_ends_with_the_weights_of_the_slow_one(double):
    """Batches, clipping, Adam and all: forty updates of two learning rates, dev choosing."""
    x, y = hidden_states(), torch.arange(8) % CLASSES
    config = Probe(updates=40, readings=8, batch=3, lrs=(0.3, 0.02), seed=5)
    dev, dev_y = hidden_states(1), torch.arange(8) % CLASSES
    every = np.arange(len(LENGTHS))

    def judge_with(states):
        return lambda head: {"select": -float(torch.nn.functional.cross_entropy(head(states(dev)(every)), dev_y))}

    def loss(head, batch):
        return torch.nn.functional.cross_entropy(head(batch[0]), batch[1])

    net = Net()
    chosen, readings = linear_probe.fit(
        linear_probe.Head(net), 8, lambda r: (averages(x)(r), y[r]), loss, config, judge=judge_with(averages)
    )

    found = (-np.inf, None, None)
    for lr in config.lrs:
        head, order, stale = linear_probe.Head(Net()), linear_probe.batches(8, 3, 5), 0
        optimiser, own = torch.optim.Adam(head.parameters(), lr=lr), -np.inf
        for update in range(1, 41):
            rows = next(order)
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(slow(x, *parts(head))[rows], y[rows]).backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), config.clip)
            optimiser.step()
            if update % 5 == 0:
                value = -float(torch.nn.functional.cross_entropy(slow(dev, *parts(head)), dev_y).detach())
                stale = 0 if value > own else stale + 1
                own = max(own, value)
                if value > found[0]:
                    found = (value, (lr, update), [p.detach().clone() for p in parts(head)])
                if stale == config.patience:
                    break
    assert (chosen["lr"], chosen["update"]) == found[1]
    assert chosen["select"] == pytest.approx(found[0], abs=1e-9)
    for ours, reference in zip(parts(net), found[2], strict=True):
        torch.testing.assert_close(ours.detach(), reference, rtol=1e-7, atol=1e-9)
    assert max(r["select"] for r in readings) == chosen["select"]


def test_cached_means_are_those_of_the_frozen_backbone(corpus, pretrained):
    """Row by row, without company and without cache."""
    it = network.load_pretrained(runs.Run.load(pretrained / "fold1"))
    steps = steps_of(corpus, it)
    rows = np.array([4, 0, 7])
    fast, slow_ = (linear_probe.frozen_states(it.backbone, steps, averaged=a) for a in (True, False))
    means = fast(rows)
    assert means.lengths.tolist() == [1, 1, 1]
    for k, row in enumerate(rows):
        alone = slow_(np.array([row]))
        for layer, mean in zip(alone.layers, means.layers, strict=True):
            torch.testing.assert_close(mean[k, 0], layer[0].mean(0), rtol=1e-4, atol=1e-5)


def steps_of(corpus, it, ids=None):
    from dataclasses import asdict

    from sottovoce.data.dataset import Steps
    from sottovoce.pipeline.extract import track_store

    data = Corpus.load(corpus)
    store = track_store(data, it.plan.track, asdict(it.plan.track_config), quiet=True)
    chosen = [data.by_id[k] for k in ids or data.fold("fold1").test]
    return Steps([(store, chosen)], it.plan.frontend, it.statistics)


# ---------------------------------------------------------------------------------------------- the race


def test_every_epoch_holds_every_row_once_whatever_the_batch():
    order = linear_probe.batches(7, 3, seed=2)
    drawn = np.concatenate([next(order) for _ in range(14)])  # 42 rows, six epochs
    for epoch in drawn.reshape(6, 7):
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in drawn.reshape(6, 7)}) > 1
    again = linear_probe.batches(7, 3, seed=2)
    assert drawn[:3].tolist() == next(again).tolist()


def race(config, judge=None, y=None):
    """A linear head on eight separable rows; (head, chosen, readings)."""
    x = torch.eye(8)
    y = torch.arange(8) % 2 if y is None else y
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 2)
    found = linear_probe.fit(
        head, 8, lambda r: (x[r], y[r]), lambda h, b: torch.nn.functional.cross_entropy(h(b[0]), b[1]), config,
        judge=judge,
    )  # fmt: skip
    return head, *found


def norm(head):
    return float(head.weight.detach().norm())


def test_dev_chooses_the_learning_rate_and_the_update():
    """Dev likes weights of norm 2 best: the rate and the moment that come closest to it are kept."""

    def judge(head):
        return {"select": -abs(norm(head) - 2.0)}

    head, chosen, readings = race(Probe(updates=50, readings=50, lrs=(1e-4, 0.02, 1.0), patience=0), judge)
    assert len(readings) == 150
    assert chosen == max(readings, key=lambda r: r["select"])
    assert chosen["lr"] == 0.02
    assert judge(head)["select"] == chosen["select"]


def test_without_dev_the_first_rate_and_the_last_update_count():
    _, chosen, readings = race(Probe(updates=20, readings=4, lrs=(0.01, 1.0)))
    assert {r["lr"] for r in readings} == {0.01}
    assert (chosen["lr"], chosen["update"]) == (0.01, 20)


def test_a_rate_that_gets_no_better_leaves_and_the_others_go_on():
    def judge(head):  # the larger the better, up to 3
        return {"select": norm(head) if norm(head) < 3 else 0.0}

    _, _, readings = race(Probe(updates=30, readings=30, lrs=(0.5, 0.02), patience=4), judge)
    last = {lr: max(r["update"] for r in readings if r["lr"] == lr) for lr in (0.5, 0.02)}
    assert last == {0.5: 4 + max(r["update"] for r in readings if r["lr"] == 0.5 and r["select"] > 0), 0.02: 30}


def test_a_small_corpus_is_not_seen_more_often_than_iemocap():
    _, chosen, _ = race(Probe(epochs=10, batch=4, lrs=(0.01,)))
    assert chosen["update"] == 20  # ten times eight rows by four


def test_a_rate_that_diverges_loses_and_if_all_do_it_is_said():
    target = torch.arange(8) % 2

    def loss(head, batch):
        return torch.nn.functional.cross_entropy(head(batch[0]).exp().exp(), batch[1])

    def go(lrs):
        torch.manual_seed(0)
        x = torch.eye(8)
        config = Probe(updates=30, readings=3, lrs=lrs)
        return linear_probe.fit(
            torch.nn.Linear(8, 2), 8, lambda r: (x[r], target[r]), loss, config, judge=lambda h: {"select": 0.0}
        )

    chosen, readings = go((1e3, 1e-3))
    assert chosen["lr"] == 1e-3
    assert {r["lr"] for r in readings} == {1e-3}
    with pytest.raises(InputError, match=r"no learning rate gives a finite loss. Tried 1000, 10000"):
        go((1e3, 1e4))


# ---------------------------------------------------------------------------------------------- as a protocol


def tune(corpus, folder, *settings, init="none", protocol="frozen_probe", **options):
    finetune_command.main(
        corpus, folder, init=str(init), recipe=protocol, settings=[*FEW, *settings], quiet=True, jobs=1, **options
    )
    return next(p.parent for p in sorted(folder.glob("*/config.json")))


@pytest.fixture(scope="module")
def probed(corpus, pretrained, tmp_path_factory):
    """A frozen probe of one fold, evaluated."""
    folder = tmp_path_factory.mktemp("probe") / "run"
    tune(corpus, folder, init=pretrained)
    evaluate_command.main(folder, opensmile=False, quiet=True)
    return folder


def test_a_protocol_replaces_the_fine_tuning_and_nothing_else(probed, pretrained):
    ours, theirs = (json.loads((f / "fold1/config.json").read_text()) for f in (probed, pretrained))
    assert ours["recipe"] == "masked_timesteps"
    changed = {k for k in theirs["settings"] if k != "training" and ours["settings"][k] != theirs["settings"][k]}
    assert changed == {"finetune"}
    tuning = ours["settings"]["finetune"]
    assert (tuning["mode"], tuning["class_weights"], tuning["label_smoothing"]) == ("probe", False, 0.0)


def test_the_backbone_stays_bit_equal_and_only_the_head_has_learned(probed, pretrained):
    before, after = (load_tensors(f / "fold1/model.safetensors") for f in (pretrained, probed))
    names = [k for k in before if k.startswith("backbone.")]
    assert all(before[k].equal(after[f"network.{k}"]) for k in names)
    assert after["network.pooling.mix"].abs().max() > 0
    assert after["network.standardise.mean"].abs().max() == 0


def test_the_chosen_reading_is_what_the_saved_network_scores_on_dev(probed, corpus):
    it = network.load_recognised(runs.Run.load(probed / "fold1"))
    history = json.loads((probed / "fold1/history.json").read_text())
    assert len(history["probe"]) == 12
    steps = steps_of(corpus, it, Corpus.load(corpus).fold("fold1").dev)
    truth = it.task.values(steps.utterances)
    found = finetune.score(it.task, network.predict(it, steps), truth, "wa", 1e-7)
    assert found == pytest.approx({k: history["chosen"][k] for k in found}, abs=1e-5)
    assert history["chosen"]["select"] == max(r["select"] for r in history["probe"])


def test_it_hears_emotions_that_nobody_can_miss(probed):
    report = json.loads((probed / "report.json").read_text())
    assert report["metrics"]["wa"]["value"] > 0.6  # chance is 0.2


def test_the_report_says_how_it_was_judged(probed):
    report = json.loads((probed / "report.json").read_text())
    (row,) = report["probes"]
    assert row["fold"] == "fold1"
    assert sum(row["layers"]) == pytest.approx(1)
    assert len(row["layers"]) == 3  # input projection and two blocks
    assert report["protocol"]["model selection"] == "WA on dev (learning rate, update)"
    assert "projector to 256" in report["protocol"]["head"]
    page = (probed / "report.html").read_text()
    for said in ("Weight of every layer", "layer 2", f"{row['chosen']['lr']:g}"):
        assert said in page


def test_a_probe_hears_recordings_as_any_other_run_does(probed, corpus):
    from sottovoce import load

    data = Corpus.load(corpus)
    key = data.fold("fold1").test[0]
    it = network.load_recognised(runs.Run.load(probed / "fold1"))
    (found,) = load(probed / "fold1").predict([data.root / data.by_id[key].path])
    assert found.label == it.task.classes[int(network.predict(it, steps_of(corpus, it, [key])).argmax())]


def test_the_layer_that_knows_gets_the_weight():
    """One layer of three holds the class, the others noise."""
    rng = torch.Generator().manual_seed(3)
    y = torch.arange(400) % CLASSES
    x = torch.randn(LAYERS, 400, 1, WIDTH, generator=rng)
    x[1, :, 0, :CLASSES] += 3 * torch.eye(CLASSES)[y]
    net = Net()
    one = torch.ones(400, dtype=torch.long)
    linear_probe.fit(
        linear_probe.Head(net), 400, lambda r: (Hidden(list(x[:, r]), one[r]), y[r]),
        lambda h, b: torch.nn.functional.cross_entropy(h(b[0]), b[1]), Probe(updates=300, lrs=(0.02,)), judge=None,
    )  # fmt: skip
    assert net.pooling.mix.softmax(0).argmax() == 1
    assert net.pooling.mix.softmax(0)[1] > 0.6


def test_the_control_differs_in_its_weights_alone(probed, corpus, pretrained, tmp_path):
    scratch = tune(corpus, tmp_path / "scratch", init=pretrained, scratch=True, seed=0)
    ours, control = (json.loads((f / "config.json").read_text()) for f in (probed / "fold1", scratch))
    assert ours["settings"] == control["settings"]
    assert control["init"] == "none"
    a, b = (load_tensors(f / "model.safetensors") for f in (probed / "fold1", scratch))
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    torch.manual_seed(0)
    plan = recipe.from_dict(control["settings"])
    fresh = network.build_backbone(plan, plan.frontend.dim(control["features"]))
    assert all(p.equal(b[f"network.backbone.{k}"]) for k, p in fresh.state_dict().items())


def test_without_a_run_the_default_system_is_judged(corpus, tiny, tmp_path):
    few = [s for s in tiny if not s.startswith("finetune.")]
    config = json.loads((tune(corpus, tmp_path / "none", *few) / "config.json").read_text())
    assert (config["recipe"], config["init"], config["settings"]["finetune"]["mode"]) == (
        "masked_timesteps", "none", "probe",
    )  # fmt: skip


def test_the_same_seed_gives_the_same_probe_and_another_seed_another(corpus, pretrained, tmp_path):
    a, b, c = (tune(corpus, tmp_path / str(k), init=pretrained, seed=s) for k, s in enumerate((3, 3, 4)))
    first, same, other = ((f / "model.safetensors").read_bytes() for f in (a, b, c))
    assert first == same
    assert first != other


@pytest.mark.parametrize("target", ["emotion", "valence,arousal"])
def test_the_head_of_emobox_trains_and_comes_back_from_disk(corpus, pretrained, tmp_path, target):
    more = ("finetune.activation=relu", "finetune.use=last", "finetune.updates=6")
    folder = tune(corpus, tmp_path / "run", *more, init=pretrained, target=target)
    it = network.load_recognised(runs.Run.load(folder))
    assert it.network.pooling.mix is None
    found = network.predict(it, steps_of(corpus, it))
    assert found.shape == (20, it.task.outputs)
    assert np.isfinite(found).all()


def test_a_run_made_before_there_were_protocols_is_still_read(pretrained):
    settings = json.loads((pretrained / "fold1/config.json").read_text())["settings"]
    tuning = {k: v for k, v in settings["finetune"].items() if k != "dev"}
    old = recipe.from_dict(settings | {"finetune": tuning})
    assert old == recipe.from_dict(settings)


# ---------------------------------------------------------------------------------------------- SUPERB's folds


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """IEMOCAP's 5,531 utterances by name, and its folds."""
    root = layouts.iemocap(tmp_path_factory.mktemp("iemocap"), counts=layouts.IEMOCAP, empty=True)
    utterances = [u for u in iemocap.utterances(root) if "emotion" in u.labels]
    data = Corpus(root, "iemocap", root, tuple(utterances), tuple(iemocap.folds(utterances)), {}, {}, {})
    return data


def test_iemocaps_folds_are_the_published_ones(published):
    counts = [(1085, 4446), (1023, 4508), (1151, 4380), (1031, 4500), (1241, 4290)]
    assert len(published.utterances) == 5531
    for fold, (test, train), session in zip(published.folds, counts, iemocap.COUNTS, strict=True):
        superb = folds.with_dev(published, fold, "superb")
        assert superb.test == fold.test
        assert len(superb.test) == test
        assert (len(superb.train), len(superb.dev)) == (int(0.8 * train), train - int(0.8 * train))
        assert not set(superb.train) & set(superb.dev)
        assert {published.by_id[k].session for k in superb.test} == {session}
        assert len({published.by_id[k].session for k in superb.train}) == 4
        assert Counter(published.by_id[k].labels["emotion"] for k in superb.test) == iemocap.COUNTS[session]
        speakers = [{published.by_id[k].speaker for k in part} for part in (superb.train, superb.dev, superb.test)]
        assert speakers[0] & speakers[1]  # what the report warns of
        assert not speakers[2] & (speakers[0] | speakers[1])


def test_the_superb_dev_part_is_torchs_random_split_with_seed_zero(published):
    from torch.utils.data import random_split

    fold = published.folds[2]
    pool = [u.id for u in published.utterances if u.session != "Ses03"]
    torch.manual_seed(0)
    n = int((1 - 0.2) * len(pool))
    train, dev = random_split(pool, [n, len(pool) - n])
    found = folds.with_dev(published, fold, "superb")
    assert (set(found.train), set(found.dev)) == (set(train), set(dev))


def test_by_default_dev_speakers_are_nobody_in_training(published):
    for fold in published.folds:
        assert folds.with_dev(published, fold, "fold") is fold
        sessions = [{published.by_id[k].session for k in part} for part in (fold.train, fold.dev, fold.test)]
        assert [len(s) for s in sessions] == [3, 1, 1]
        assert len(set().union(*sessions)) == 5


def test_superbs_task_from_the_official_layout_to_the_report(sottovoce, tiny, tmp_path):
    """prepare, a probe of every session with SUPERB's dev part, evaluate: and the report warns of that part."""
    layouts.iemocap(tmp_path / "raw", counts=dict.fromkeys(range(1, 6), (2, 1, 1, 2, 2)))
    assert sottovoce("prepare", "iemocap", tmp_path / "raw", "-o", tmp_path / "data", "-j", 1, "-q").code == 0
    few = [s for s in (*tiny, *FEW, "finetune.updates=6") if "finetune." not in s or "probe" in s]
    words = [
        "finetune",
        tmp_path / "data",
        "--recipe",
        "frozen_probe",
        "--init",
        "none",
        "--dev",
        "superb",
        "--fold",
        "all",
    ]
    made = sottovoce(*words, "-o", tmp_path / "run", "-q", "--jobs", 1, *(w for s in few for w in ("--set", s)))
    assert made.code == 0, made.err
    config = json.loads((tmp_path / "run/Ses03/config.json").read_text())
    assert config["labels"] == int(0.8 * 4 * 8)
    assert sottovoce("evaluate", tmp_path / "run", "--no-opensmile", "-q").code == 0
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["n"], len(report["folds"]), report["task"]["classes"]) == (
        40,
        5,
        ["neutral", "happy", "sad", "angry"],
    )
    assert "SUPERB's dev part" in report["protocol"]["first_line"]
    assert "speakers shared" in report["protocol"]["dev"]


# ---------------------------------------------------------------------------------------------- bad input


def test_what_a_probe_cannot_be_is_one_line(sottovoce, corpus, pretrained, tmp_path):
    base = ["finetune", corpus, "--recipe", "frozen_probe", "--init", "none", "-o", tmp_path / "run"]
    for more, said in (
        (["--speaker-norm"], "does not go with mode 'probe'"),
        (["--set", "finetune.lrs="], "learning rates above 0, one or more"),
        (["--set", "finetune.lrs=0.1,-1"], "finetune.lrs: above 0"),
        (["--set", "finetune.activation=gelu"], "one of none, relu. Found 'gelu'"),
        (["--set", "finetune.updates=0"], "1 or more. Found 0"),
        (["--dev", "random"], "one of fold, share, superb, test. Found 'random'"),
        (["--scratch"], "Name the run that it is compared with"),
        (["--init", pretrained, "--backbone", "gru"], "were made with transformer"),
    ):
        assert said in sottovoce(*base, *more).complaint
    assert "Did you mean 'frozen_probe'?" in sottovoce(*base[:2], "--recipe", "frozen_prob", "-o", "x").complaint
    line = sottovoce("pretrain", "frozen_probe", corpus, "-o", tmp_path / "run").complaint
    assert "judges weights and makes none" in line
    assert not (tmp_path / "run").exists()


def test_a_probe_without_its_history_is_named(sottovoce, probed, tmp_path):
    import shutil

    shutil.copytree(probed, tmp_path / "run")
    (tmp_path / "run/fold1/history.json").unlink()
    assert "history.json: no such file" in sottovoce("evaluate", tmp_path / "run", "--no-opensmile").complaint


def test_settings_of_a_probe_are_checked_when_they_are_made():
    with pytest.raises(InputError, match="standardises nothing"):
        in_mode(Full(embedding_norm="speaker"), "probe")
    assert in_mode(Full(), "probe") == Probe()


def test_a_study_by_the_protocol_holds_frozen_weights_against_random_ones(corpus, pretrained, tmp_path, capsys):
    """Two arms, both probes; the arm that would tune the backbone is refused."""

    options = {"recipe": "frozen_probe", "init": str(pretrained), "labels": "50%,100%", "seeds": 1, "jobs": 1}
    options |= {"fold": "fold1,fold2", "settings": list(FEW), "quiet": True}
    with pytest.raises(InputError, match=r"no arm 'pretrained'. There are: probe, scratch"):
        study_command.main(corpus, tmp_path / "study", arms="pretrained,scratch", **options)
    study_command.main(corpus, tmp_path / "study", **options)
    result = json.loads((tmp_path / "study/study.json").read_text())
    assert list(result["arms"]) == ["probe", "scratch"]
    assert result["probe_paired"][1]["n"] == 60  # dev labels are among them
    assert "probe - scratch" in (tmp_path / "study/study.csv").read_text()
    assert "probe - scratch" in capsys.readouterr().out
    assert result["config"]["finetune"]["mode"] == "probe"
