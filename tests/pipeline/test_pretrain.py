"""Pre-training hears whom it may hear, says whom it heard, and shows whether it is healthy."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest

from sottovoce.commands import pretrain as pretrain_command
from sottovoce.config import recipe
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.modeling import network
from sottovoce.modeling.checkpoint import load_tensors
from sottovoce.pipeline import monitor
from sottovoce.pipeline.extract import store_folder, track_store


def learn(corpora, folder, tiny, *more, **options):
    """`sottovoce pretrain` with tiny settings; the folder of its first fold."""
    options = {"tracker": "none", "jobs": 1, "quiet": True} | options
    pretrain_command.main("masked_timesteps", list(corpora), folder, settings=[*tiny, *more], **options)
    return next(p.parent for p in sorted(folder.glob("*/config.json")))


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def people(corpus, ids):
    return {folds.person(corpus.by_id[k]) for k in ids}


def overwrite(folder, ids, value):
    """Put `value` in all track rows of some utterances of a prepared corpus, whatever its tracks are."""
    for index in folder.glob("tracks/*/index.jsonl"):
        width = json.loads((index.parent / "track.json").read_text())["dim"]
        written = [json.loads(line) for line in index.read_text().splitlines()]
        index.write_text("".join(f"{json.dumps(row[:7])}\n" for row in written))  # without checksums, as of before
        for id, shard, first, length, *_ in written:
            if id in ids:
                rows = np.memmap(index.parent / f"values-{shard:03d}.f32", np.float32, "r+").reshape(-1, width)
                rows[first : first + length] = value
                rows.flush()


# ---------------------------------------------------------------------------------------------- who is heard


def test_a_fold_leaves_its_test_people_out_and_says_whom_it_heard(corpus, pretrained):
    data = Corpus.load(corpus)
    assert sorted(p.name for p in pretrained.iterdir()) == [f.name for f in data.folds]
    for fold in data.folds:
        config = config_of(pretrained / fold.name)
        heard = set(config["seen_speakers"])
        assert config["fold"] == fold.name
        assert heard == people(data, fold.train) | people(data, fold.dev) | {"synthetic/ext01", "synthetic/ext02"}
        assert not heard & people(data, fold.test)
        report = json.loads((pretrained / fold.name / "report.json").read_text())
        assert report["exposure"] == f"8 people; test speakers of {fold.name} are not among them"


@pytest.mark.parametrize("value", [np.nan, 3e4])
def test_what_test_people_said_changes_no_weight(corpus, pretrained, tiny, tmp_path, value):
    """The canary: their frames become nonsense, and not one bit of the result moves."""
    shutil.copytree(corpus, tmp_path / "data")
    data = Corpus.load(tmp_path / "data")
    overwrite(tmp_path / "data", data.folds[0].test, value)
    folder = learn([tmp_path / "data"], tmp_path / "pre", tiny)
    assert (folder / "model.safetensors").read_bytes() == (pretrained / "fold1/model.safetensors").read_bytes()


def test_dev_people_choose_the_epoch_and_teach_nothing(corpus, pretrained, tiny, tmp_path):
    shutil.copytree(corpus, tmp_path / "data")
    overwrite(tmp_path / "data", Corpus.load(corpus).folds[0].dev, 3e4)
    folder = learn([tmp_path / "data"], tmp_path / "pre", tiny)
    logs = [(f / "log.jsonl").read_text().splitlines() for f in (folder, pretrained / "fold1")]
    ours, theirs = ([json.loads(line) for line in log] for log in logs)
    assert [row["train_loss"] for row in ours] == [row["train_loss"] for row in theirs]
    assert ours[0]["heldout_loss"] != theirs[0]["heldout_loss"]
    means = [load_tensors(f / "model.safetensors")["statistics.mean"] for f in (folder, pretrained / "fold1")]
    assert means[0].equal(means[1])


def test_statistics_are_those_of_the_training_people(corpus, pretrained):
    data, run = Corpus.load(corpus), runs.Run.load(pretrained / "fold2")
    plan, found = recipe.from_dict(run.config["settings"]), network.load_pretrained(run).statistics
    store = track_store(data, plan.track, asdict(plan.track_config), quiet=True)
    train = folds.parts([data], "fold2")[0][0]
    steps = Steps([(store, train)], plan.frontend, found)
    frames = np.concatenate([steps.raw(k) for k in range(len(steps))]).astype(np.float64)
    np.testing.assert_allclose(found.mean, frames.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.std, frames.std(0), rtol=1e-5)
    assert {u.id for u in train} >= set(data.fold("fold2").train)


def test_recordings_without_labels_are_learned_from_unless_their_speaker_is_tested(corpus):
    data = Corpus.load(corpus)
    (train,), (heldout,) = folds.parts([data], "fold1")
    fold = data.fold("fold1")
    assert {u.id for u in train} == set(fold.train) | {u.id for u in data.utterances if u.speaker.startswith("ext")}
    assert {u.id for u in heldout} == set(fold.dev)
    from dataclasses import replace

    mute = replace(data.by_id[fold.test[0]], id="mute", labels={})
    more = replace(data, utterances=(*data.utterances, mute))
    assert "mute" not in {u.id for side in folds.parts([more], "fold1") for part in side for u in part}


def test_a_corpus_without_folds_holds_every_twentieth_person_out(corpus):
    from dataclasses import replace

    data = Corpus.load(corpus)
    crowd = tuple(replace(data.utterances[0], id=f"u{k}", speaker=f"p{k:03d}", labels={}) for k in range(60))
    (train,), (heldout,) = folds.parts([replace(data, utterances=crowd, folds=())], "fold1")
    assert [u.speaker for u in heldout] == ["p009", "p029", "p049"]
    assert len(train) == 57


def test_none_learns_from_all_speakers_and_says_so(corpus, tiny, tmp_path):
    folder = learn([corpus], tmp_path / "pre", tiny, "training.epochs=1", fold="none")
    assert folder.name == "no_holdout"
    assert len(config_of(folder)["seen_speakers"]) == 10
    assert json.loads((folder / "report.json").read_text())["exposure"].endswith("all in these corpora")


def test_without_a_held_out_fold_an_earlier_run_is_found_under_its_name_of_then(corpus, tiny, tmp_path):
    folder = learn([corpus], tmp_path / "pre", tiny, "training.epochs=0", fold="none")
    earlier = folder.rename(folder.with_name("everybody"))
    config = json.loads((earlier / "config.json").read_text()) | {"fold": "everybody"}
    (earlier / "config.json").write_text(json.dumps(config))
    made = (earlier / "model.safetensors").stat().st_mtime_ns
    learn([corpus], tmp_path / "pre", tiny, "training.epochs=0", fold="none")
    assert not folder.exists()
    assert (earlier / "model.safetensors").stat().st_mtime_ns == made


def test_fold_names_are_checked_one_by_one(corpus):
    data = [Corpus.load(corpus)]
    assert folds.names(data, None) == ["fold1"]
    assert folds.names(data, "all") == ["fold1", "fold2", "fold3", "fold4"]
    assert folds.names(data, "fold3, fold1") == ["fold3", "fold1"]
    with pytest.raises(InputError, match=r"'fold9'.*Did you mean"):
        folds.names(data, "fold1,fold9")


def test_going_on_from_weights_inherits_whom_they_heard(corpus, pretrained, tiny, tmp_path):
    everybody = learn([corpus], tmp_path / "all", tiny, "training.epochs=0", fold="none").parent
    tainted = learn([corpus], tmp_path / "on", tiny, "training.epochs=0", fold="fold1", init=str(everybody))
    assert len(config_of(tainted)["seen_speakers"]) == 10
    assert "2 test speakers of fold1 among them" in json.loads((tainted / "report.json").read_text())["exposure"]
    # and of a folder with one run a fold, the one of this fold goes on
    own = learn([corpus], tmp_path / "own", tiny, "training.epochs=0", fold="fold3", init=str(pretrained))
    theirs, ours = (load_tensors(f / "model.safetensors") for f in (pretrained / "fold3", own))
    assert all(theirs[name].equal(ours[name]) for name in theirs)
    tested = people(Corpus.load(corpus), Corpus.load(corpus).fold("fold3").test)
    assert not set(config_of(own)["seen_speakers"]) & tested


# ---------------------------------------------------------------------------------------------- runs as folders


def test_a_finished_run_is_not_made_again(corpus, pretrained, tiny):
    before = {p: p.stat().st_mtime_ns for p in pretrained.rglob("*") if p.is_file()}
    learn([corpus], pretrained, tiny, fold="all")
    assert {p: p.stat().st_mtime_ns for p in pretrained.rglob("*") if p.is_file()} == before


def test_another_configuration_does_not_go_into_its_folder(corpus, pretrained, tiny):
    with pytest.raises(
        InputError, match=r"fold1: a run of another configuration.*training\.lr \(0\.003 there, 0\.5 now"
    ):
        learn([corpus], pretrained, tiny, "training.lr=0.5")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(corpus, pretrained, tiny, tmp_path):
    again = learn([corpus], tmp_path / "again", tiny)
    other = learn([corpus], tmp_path / "other", tiny, seed=1)
    first = (pretrained / "fold1/model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == first
    assert (other / "model.safetensors").read_bytes() != first


def test_a_run_holds_what_made_it_and_nothing_superfluous(pretrained):
    folder = pretrained / "fold1"
    config = config_of(folder)
    assert config["kind"] == "pretrain"
    assert config["made"]["versions"]["torch"]
    assert config["settings"]["backbone_config"]["width"] == 32
    names = {p.name for p in folder.iterdir()}
    assert {"config.json", "model.safetensors", "report.json", "report.html", "log.jsonl"} <= names
    assert not {n for n in names if n.endswith(".part") or n in ("last.safetensors", "best.safetensors")}


def test_two_corpora_and_another_backbone_go_together(corpus, tiny, tmp_path):
    """A labelled corpus beside a folder of recordings; the GRU has fewer settings than the transformer."""
    import layouts

    from sottovoce.pipeline import prepare

    layouts.folder(tmp_path / "wild", classes=("a", "b"), speakers=3)
    prepare.prepare("folder", tmp_path / "wild", tmp_path / "wilds", options={"unlabelled": True}, jobs=1)
    few = [s for s in tiny if not s.startswith(("backbone.heads", "backbone.feedforward"))]
    folder = learn([corpus, tmp_path / "wilds"], tmp_path / "pre", few, backbone="gru")
    config = config_of(folder)
    assert config["settings"]["backbone"] == "gru"
    assert [c["name"] for c in config["corpora"]] == ["synthetic", "wild"]
    assert [c["utterances"] for c in config["corpora"]] == [60, 11]  # one of twelve people is held out
    assert type(network.load_pretrained(runs.Run.load(folder)).backbone).__module__.endswith("gru")


# ---------------------------------------------------------------------------------------------- health


def test_health_of_a_run_is_visible(pretrained):
    report = json.loads((pretrained / "fold1/report.json").read_text())
    curves = report["curves"]
    assert len(curves["heldout_loss"]) == 2
    assert curves["heldout_loss"][1] < curves["heldout_loss"][0]
    ratio = report["config"]["objective_config"]["ratio"]
    assert curves["coverage"][-1] == pytest.approx(ratio, abs=0.12)
    assert all(rank > 1 for rank in curves["rank"])
    assert len(curves["probe_ua"]) == 2
    assert all(0 <= ua <= 1 for ua in curves["probe_ua"])
    page = (pretrained / "fold1/report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_longer_training_beats_guessing_the_mean(corpus, tiny, tmp_path):
    folder = learn([corpus], tmp_path / "pre", tiny, "training.epochs=12", "objective.ratio=0.2", "objective.span=1")
    report = json.loads((folder / "report.json").read_text())
    assert report["curves"]["heldout_loss"][-1] < 0.8 * report["curves"]["trivial_loss"]
    assert report["warnings"] == []


def test_rank_counts_directions():
    import torch

    rng = torch.Generator().manual_seed(0)
    line = torch.randn(50, 1, generator=rng) @ torch.randn(1, 8, generator=rng)
    assert monitor.effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert monitor.effective_rank(torch.cat([torch.eye(8), -torch.eye(8)])) == pytest.approx(8, abs=1e-3)


def test_a_run_that_learned_nothing_or_collapsed_is_called_so():
    good = {"heldout_loss": 0.5, "trivial_loss": 0.8, "rank": 20.0}
    assert monitor.warnings([good]) == []
    assert "no better than predicting" in monitor.warnings([good | {"heldout_loss": 0.8}])[0]
    assert "collapsed" in monitor.warnings([good | {"rank": 1.5}])[0]
    assert "Not a single epoch" in monitor.warnings([])[0]


def test_the_track_is_made_once_for_all_folds(corpus, pretrained):
    folders = set()
    for run in runs.parts(pretrained):
        plan = recipe.from_dict(run.config["settings"])
        folders.add(store_folder(Corpus.load(corpus), plan.track, asdict(plan.track_config)))
    assert len(folders) == 1
    assert (folders.pop() / "track.json").is_file()
