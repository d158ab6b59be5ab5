"""HuBERT's pre-training: pseudo-labels, the loss beside fairseq's rules, iterations, and what they must not hear."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from toys import ToyStore, waves

from sottovoce import files
from sottovoce.backbones import encoder
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.config.frontend import Frontend
from sottovoce.config.training import Training
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.modeling import checkpoint, hub, network, training
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives import masked_units as mu
from sottovoce.pipeline import units

pytest.importorskip("transformers")
RNG = np.random.default_rng(0)


# ---------------------------------------------------------------------------------------------- labels


def planted(clusters=4, length=60, apart=8.0):
    """Utterances of two corpora, their frames, which jump between well separated places, and where they were."""
    rng = np.random.default_rng(1)
    places = apart * rng.standard_normal((clusters, 5))
    people = [Utterance(f"u{k}", "ab"[k % 2], "") for k in range(6)]
    truth = {units.key(u): rng.integers(0, clusters, length) for u in people}
    return people, {name: places[at] + 0.1 * rng.standard_normal((length, 5)) for name, at in truth.items()}, truth


class Frames:
    """What `units.make` asks; notes of whom."""

    def __init__(self, frames, offset_s=0.0125):
        self.frames, self.offset_s, self.asked = frames, offset_s, []

    def __call__(self, utterances):
        for u in reversed(utterances):  # any order
            self.asked.append(units.key(u))
            yield u, Track(self.frames[units.key(u)].astype(np.float32), 50.0, self.offset_s)


def counts_of(people, found):
    """As a training part that carries the labels as an auxiliary track counts them."""
    sources = [(ToyStore({u.id: np.ones((98, 2)) for u in part}, 80.0), part) for part in (people[::2], people[1::2])]
    aux = {"units": ([found.store(part) for _, part in sources], "nearest")}
    return mu.counts(Steps(sources, Frontend(subsampling=1, normalise="none"), None, aux), found.sizes)


def test_planted_clusters_are_found_again():
    people, frames, truth = planted()
    found = units.make(Frames(frames), [people], [people], (4, 8))
    for name, where in truth.items():
        assert adjusted_rand_score(where, found.labels[name][:, 0]) == 1
        assert found.labels[name].shape == (60, 2)
    assert [book.shape for book in found.codebooks] == [(4, 5), (8, 5)]
    counts = counts_of(people, found)
    assert [c.sum() for c in counts] == [360, 360]
    assert counts[0].tolist() == np.bincount(np.concatenate([v[:, 0] for v in found.labels.values()])).tolist()
    used = units.summary(counts)[0]
    assert (used["units"], used["used"]) == (4, 4)
    assert 3.5 < used["perplexity"] <= 4


def test_clusters_know_nobody_but_the_training_part():
    """Held-out people who sound like nobody else move no centre, and are asked for only after they stand."""
    people, frames, _ = planted()
    train = [u for u in people if u.corpus == "a"]
    asked = Frames(frames)
    once = units.make(asked, [train], [people], (4,))
    assert set(asked.asked[: len(train)]) == {units.key(u) for u in train}
    canary = {name: (v + 500 if name.startswith("b/") else v) for name, v in frames.items()}
    again = units.make(Frames(canary), [train], [people], (4,))
    np.testing.assert_array_equal(once.codebooks[0], again.codebooks[0])
    assert np.abs(again.codebooks[0]).max() < 100


def test_labels_are_the_nearest_centres_and_follow_the_seed():
    people, frames, _ = planted(clusters=9, apart=1.0)
    a, b, c = (units.make(Frames(frames), [people], [people], (5,), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a.codebooks[0], b.codebooks[0])
    assert not np.array_equal(a.codebooks[0], c.codebooks[0])
    for name, values in frames.items():
        far = ((values[:, None] - a.codebooks[0][None]) ** 2).sum(-1)
        np.testing.assert_array_equal(a.labels[name][:, 0], far.argmin(1))


def test_labels_are_as_long_as_the_recording_where_its_end_was_cut_off():
    people, frames, _ = planted()
    offset_s, whole = 0.0125 + 3 * 0.02, {name: len(v) + 10 for name, v in frames.items()}
    cut = units.make(Frames(frames, offset_s=offset_s), [people], [people], (4,), slots=whole)
    plain = units.make(Frames(frames), [people], [people], (4,))
    for name, labels in cut.labels.items():
        assert len(labels) == whole[name]
        assert (labels[:3] == -1).all()
        assert (labels[-7:] == -1).all()
        assert np.array_equal(labels[3:-7], plain.labels[name])


def test_labels_begin_with_the_recording_where_its_frames_do_not():
    people, frames, _ = planted()
    cut = units.make(Frames(frames, offset_s=0.0125 + 3 * 0.02), [people], [people], (4,))
    assert cut.offset_s == pytest.approx(0.0125)
    assert all(v[:3, 0].tolist() == [-1, -1, -1] and len(v) == 63 for v in cut.labels.values())
    assert counts_of(people, cut)[0].sum() == 360


def test_labels_come_back_from_their_file_and_only_for_their_run(tmp_path):
    people, frames, _ = planted()
    found = units.make(Frames(frames, offset_s=0.0525), [people], [people], (4, 8))
    units.save(tmp_path / "units.safetensors", found, "abc")
    again = units.load(tmp_path / "units.safetensors", "abc")
    assert (again.sizes, again.rate_hz, again.offset_s) == (found.sizes, found.rate_hz, found.offset_s)
    for name, labels in found.labels.items():
        np.testing.assert_array_equal(again.labels[name], labels)
    for a, b in zip(found.codebooks, again.codebooks, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match=r"labels of another run. Found abc"):
        units.load(tmp_path / "units.safetensors", "xyz")


# ---------------------------------------------------------------------------------------------- the objective


def tiny(dropout=0.0):
    torch.manual_seed(0)
    return encoder.Backbone(encoder.Config(size="toy", dropout=dropout), 1)


def wave_batch(sets=2, lengths=(16000, 9000, 4000)):
    """Waveforms and units of 5 and 7 on the clock of the states."""
    store = ToyStore({f"u{k}": 0.1 * RNG.standard_normal((n, 1)) for k, n in enumerate(lengths)}, rate_hz=16000.0)
    labels = ToyStore(
        {f"u{k}": np.stack([RNG.integers(0, 5, n // 320), RNG.integers(0, 7, n // 320)], 1)[:, :sets]
         for k, n in enumerate(lengths)},
        50.0, 0.0125,
    )  # fmt: skip
    front = Frontend(subsampling=1, normalise="none", clip=0.0)
    aux = {"units": ([labels], "nearest")}
    return Steps([(store, store.utterances)], front, aux=aux, hop_and_field=(320, 400)).batch(range(len(lengths)))


def objective(**more):
    torch.manual_seed(0)
    return mu.Objective(mu.Config(**({"targets": ("mfcc:5+7",)} | more)), tiny())


def test_the_loss_is_fairseqs_by_hand():
    """Cosines over 0.1, cross-entropy on hidden states, summed over label sets, ten times the mean square besides."""
    batch, model = wave_batch(), objective(visible=0.25).train()
    found = model(batch, RowRandom(batch.seeds))
    local, lengths = model.backbone.convolve(batch.x, batch.lengths)
    mask = model.mask(lengths, RowRandom(batch.seeds))
    hidden = model.backbone.contextualise(local, lengths, mask).last.detach().double().numpy()
    total = weight = 0.0
    for row, length in enumerate(lengths.tolist()):
        own = 0.0
        for t in range(length):
            w = 1.0 if mask[row, t] else 0.25
            own += w
            for k in range(2):
                z = model.project[k].weight.detach().double().numpy() @ hidden[row, t]
                z += model.project[k].bias.detach().double().numpy()
                codes = model.units[k].detach().double().numpy()
                cosines = codes @ z / np.linalg.norm(codes, axis=1) / np.linalg.norm(z) / 0.1
                truth = batch.tracks["units"][row, t, k]
                total -= w * (cosines[truth] - np.log(np.exp(cosines).sum()))
        total += 10 * own * float(local[row, :length].detach().double().square().mean())
        weight += own
    assert found.weight.item() == pytest.approx(weight)
    assert found.total.item() == pytest.approx(total, rel=1e-4)
    mean = objective(visible=0.25, combine="mean", penalty=0.0).train()(batch, RowRandom(batch.seeds))
    both = objective(visible=0.25, penalty=0.0).train()(batch, RowRandom(batch.seeds))
    assert mean.total.item() == pytest.approx(both.total.item() / 2, rel=1e-5)


def test_hidden_shares_are_what_the_start_probability_of_hubert_makes():
    rng, hidden = np.random.default_rng(0), []
    for _ in range(200):
        starts = rng.choice(491, size=int(0.8 * 500 / 10), replace=False)
        hidden.append(len({t for s in starts for t in range(s, s + 10)}) / 500)
    assert np.mean(hidden) == pytest.approx(mu.Config().ratio, abs=0.015)
    mask = objective().mask(torch.tensor([500, 250]), RowRandom([1, 2]))
    assert mask.sum(1).tolist() == [280, 140]  # whole spans of 10


def test_unknown_units_count_nowhere():
    batch, model = wave_batch(), objective(visible=1.0).eval()
    whole = model(batch, RowRandom(batch.seeds))
    batch.tracks["units"][0, 4:9, 1] = -1
    assert model(batch, RowRandom(batch.seeds)).weight == whole.weight - 5


def test_guessing_by_frequency_is_the_cross_entropy_of_the_counts():
    batch, model = wave_batch(sets=1), objective(targets=("mfcc:5",)).eval()
    counts = torch.tensor([0, 30, 5, 5, 10])
    model.set_prior([counts])
    prior = (counts + 1) / (counts.sum() + 5)
    lengths = model.backbone.convolve(batch.x, batch.lengths)[1]
    wanted = batch.tracks["units"][model.mask(lengths, RowRandom(batch.seeds))][:, 0]
    found = model.baseline(batch, RowRandom(batch.seeds))
    torch.testing.assert_close(found.value, -prior.log()[wanted].mean())
    assert found.logs["accuracy"] == pytest.approx(float((wanted == 1).float().mean()))
    assert found.weight == model(batch, RowRandom(batch.seeds)).weight


def test_units_that_follow_from_their_surroundings_are_learned_through_the_mask():
    """Speech of two kinds, each in one piece: what is hidden can be told from what is not."""
    n = 8
    store = {f"u{k}": (0.3 * np.sin(np.arange(8000) * (0.9 if k % 2 else 0.2)))[:, None] for k in range(n)}
    store = ToyStore({k: v + 0.01 * RNG.standard_normal(v.shape) for k, v in store.items()}, rate_hz=16000.0)
    labels = ToyStore({f"u{k}": np.full((25, 1), k % 2) for k in range(n)}, 50.0, 0.0125)
    front = Frontend(subsampling=1, normalise="none", clip=0.0)
    steps = Steps([(store, store.utterances)], front, None, {"units": ([labels], "nearest")}, (320, 400))
    model = objective(targets=("mfcc:2",))
    model.set_prior([torch.tensor([100.0, 100.0])])
    config = Training(epochs=25, lr=3e-3, batch_rows=4, batch_s=1e6)
    training.fit(model, steps, config, keep=training.Keep(quiet=True))
    batch = steps.batch(range(n))
    found, trivial = model(batch, RowRandom(batch.seeds)), model.baseline(batch, RowRandom(batch.seeds))
    assert trivial.logs["accuracy"] == pytest.approx(0.5, abs=0.01)
    assert found.logs["accuracy"] > 0.95
    assert found.value < 0.3 * trivial.value


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"targets": ()}, "objective.targets: an iteration at least"),
        *(({"targets": (t,)}, "is not SOURCE:UNITS") for t in ("mfcc", "mfcc:", "mfcc:1", "6:5+", "fbank:5", "-1:5")),
        ({"ratio": 1.0}, "objective.ratio"),
        ({"ratio": 0.0}, "objective.ratio"),
        ({"span": 0}, "objective.span"),
        ({"combine": "max"}, "objective.combine"),
    ],
)
def test_impossible_settings_are_refused(wrong, named):
    with pytest.raises(InputError, match=named):
        mu.Config(**wrong)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (("mfcc:5", "3:5"), "3:5 names a layer that is not there. Found 2 blocks"),
        (("1:5",), "layer 1 of which model"),
        (("mfcc:5", "1:99999"), r"1:99999 has more units than there are frames. Found \d+ in 8 training"),
    ],
)
def test_what_a_later_iteration_cannot_have_is_refused_before_the_first(targets, said):
    store = waves()
    steps = Steps([(store, store.utterances)], Frontend(subsampling=1), Statistics.unit(6))
    with pytest.raises(InputError, match=said):
        units.check(targets, steps, blocks=2, has_init=False)
    units.check(("2:5",), steps, blocks=2, has_init=True)


# ---------------------------------------------------------------------------------------------- the command line

SETTINGS = (
    *("backbone.size=toy", "objective.targets=mfcc:12,1:8+20", "training.epochs=2", "training.lr=3e-3"),
    *("training.batch_rows=16", "finetune.training.epochs=1", "finetune.training.min_updates=0"),
)


def pretrain(corpus, folder, *more, **options):

    kind = {"fold": "fold1", "tracker": "none", "jobs": 1, "quiet": True}
    pretrain_command.main("hubert", [corpus], folder, settings=[*SETTINGS, *more], **(kind | options))
    return folder / options.get("fold", "fold1")


@pytest.fixture(scope="module")
def hubert(corpus, tmp_path_factory):
    return pretrain(corpus, tmp_path_factory.mktemp("hubert") / "run")


def test_both_iterations_are_made_in_one_command_and_are_runs_of_their_own(hubert):
    for run, target, sizes in ((hubert / "iteration1", "mfcc:12", [12]), (hubert, "1:8+20", [8, 20])):
        config, report = json.loads((run / "config.json").read_text()), json.loads((run / "report.json").read_text())
        assert config["settings"]["objective_config"]["targets"][-1] == target
        assert [row["units"] for row in report["units"]] == sizes
        assert len(report["curves"]["accuracy"]) == 2
        assert 0 < report["curves"]["trivial_accuracy"] < 1
        assert (run / "model.safetensors").exists()
        assert not (run / "last.safetensors").exists()
    assert [run.folder for run in runs.parts(hubert.parent, "pretrain")] == [hubert]
    page = (hubert / "report.html").read_text()
    assert "Masked units" in page


def test_log_mel_bands_will_do_for_a_start(corpus, tmp_path):
    """As MelHuBERT: the backbone is a transformer over steps; units are learned better than their counts tell."""

    few = ["backbone.width=32", "backbone.heads=2", "backbone.feedforward=64", "backbone.layers=2", "track.bins=40"]
    words = [*few, "objective.targets=mfcc:12,1:8+20", "training.epochs=6", "training.lr=1e-2", "training.batch_rows=4"]
    how = {"fold": "fold1", "tracker": "none", "jobs": 1, "quiet": True}
    pretrain_command.main("hubert", [corpus], tmp_path / "run", track="fbank", settings=words, **how)
    for run in (tmp_path / "run/fold1/iteration1", tmp_path / "run/fold1"):
        curves = json.loads((run / "report.json").read_text())["curves"]
        assert curves["heldout_loss"][-1] < curves["trivial_loss"]
    finetune_command.main(corpus, tmp_path / "ft", init=str(tmp_path / "run"), mode="frozen", quiet=True, jobs=1)
    assert runs.Run.load(tmp_path / "ft/fold1", "finetune").finished
    with pytest.raises(InputError, match=r"starts from wave, fbank or logmel. Found track mfcc"):
        pretrain_command.main("hubert", [corpus], tmp_path / "x", track="mfcc", **how)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(corpus, hubert, tmp_path, monkeypatch):
    """Stopped while the second iteration trains: the first one and the labels are not made again."""
    from sottovoce.pipeline import pretrain as verb

    calls = []

    def stop(*args, **kwargs):
        calls.append(kwargs["keep"].label)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    fit = training.fit
    monkeypatch.setattr(training, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(corpus, tmp_path / "run")
    monkeypatch.setattr(units.kmeans, "kmeans", lambda *_: pytest.fail("clustered again"))
    folder = pretrain(corpus, tmp_path / "run")
    assert len(calls) == 3
    a, b = (checkpoint.load_tensors(run / "model.safetensors") for run in (hubert, folder))
    assert all(a[k].equal(b[k]) for k in a)
    assert verb


def test_nobody_of_test_or_dev_reaches_weights_or_clusters(corpus, hubert, tmp_path):
    """Their recordings are replaced by noise: nothing that was learned changes."""
    data = Corpus.load(corpus)
    shutil.copytree(corpus, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "tracks", ignore_errors=True)
    copy = Corpus.load(tmp_path / "data")
    shutil.copytree(data.root, tmp_path / "audio")
    import soundfile

    fold = data.fold("fold1")
    for id in fold.test:
        path = tmp_path / "audio" / data.by_id[id].path
        samples, rate = soundfile.read(path)
        soundfile.write(path, RNG.uniform(-1, 1, len(samples)), rate)
    info = json.loads((tmp_path / "data" / "corpus.json").read_text())
    (tmp_path / "data" / "corpus.json").write_text(json.dumps(info | {"root": str(tmp_path / "audio")}))
    again = pretrain(copy.folder, tmp_path / "run")
    for name in ("model.safetensors", "units.safetensors", "iteration1/units.safetensors"):
        a, b = (checkpoint.load_tensors(run / name) for run in (hubert, again))
        assert all(a[k].equal(b[k]) for k in a)
    heard = json.loads((hubert / "config.json").read_text())["seen_speakers"]
    assert not {folds.person(data.by_id[k]) for k in fold.test} & set(heard)


def test_units_may_come_from_a_layer_of_the_first_model(corpus, hubert, tmp_path):
    """As in GMP-TL and P-TAPT: one iteration on labels of --init, whose weights are gone on from."""
    folder = pretrain(corpus, tmp_path / "run", "objective.targets=2:6", "training.epochs=1", init=str(hubert.parent))
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["backbone_config"]["size"] == "toy"
    assert not (folder / "iteration1").exists()
    start, end = network.load_pretrained(runs.Run.load(hubert)), network.load_pretrained(runs.Run.load(folder))
    moved = {k for k, v in start.backbone.state_dict().items() if not v.equal(end.backbone.state_dict()[k])}
    assert moved


def test_a_dry_run_clusters_nothing_and_writes_nothing(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(units.kmeans, "kmeans", lambda *_: pytest.fail("clustered"))
    pretrain(corpus, tmp_path / "run", dry_run=True)
    assert "0.04 M parameters" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_public_encoder_is_fine_tuned_and_evaluated_like_a_run(corpus, tmp_path, sottovoce):
    """Through the command line, from a folder as transformers saves it; stereo and 44.1 kHz make no difference."""
    import transformers

    torch.manual_seed(1)
    transformers.AutoModel.from_config(encoder.Config(size="toy").resolved()).save_pretrained(tmp_path / "enc")
    tune = ["--set", "finetune.training.epochs=1", "--set", "finetune.training.min_updates=0", "--quiet"]
    done = sottovoce("finetune", corpus, "--init", tmp_path / "enc", "-o", tmp_path / "ft", *tune)
    assert done.code == 0, done.err
    shutil.rmtree(tmp_path / "enc")  # not needed any more
    assert sottovoce("evaluate", tmp_path / "ft", "--no-opensmile", "--quiet").code == 0
    config = json.loads((tmp_path / "ft" / "fold1" / "config.json").read_text())
    assert config["init"] == str(tmp_path / "enc")
    assert files.digest(config["settings"]["backbone_config"]["architecture"])
    assert config["recipe"] == hub.RECIPE
