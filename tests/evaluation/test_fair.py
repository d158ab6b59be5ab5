"""A study is fair: labels that choose are counted, every arm may choose its settings, luck of pre-trainings counts."""

import json
import shutil

import pytest

from sottovoce.commands import study as study_command
from sottovoce.config import recipe
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.folds import with_dev
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import study
from sottovoce.pipeline import finetune
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.tuning import Choices


@pytest.fixture(scope="module")
def another(pretrained, tmp_path_factory):
    """Two pre-trainings that differ in their seed, as far as their configurations tell."""
    home = tmp_path_factory.mktemp("pre")
    for seed in (0, 1):
        shutil.copytree(pretrained / "fold1", home / f"pre{seed}/fold1")
        path = home / f"pre{seed}/fold1/config.json"
        config = json.loads(path.read_text())
        config["settings"]["training"]["seed"] = seed
        path.write_text(json.dumps(config | {"identity": f"{config['identity']}{seed}"}))
    return home


def go(corpus, output, init, **options):
    options = {"labels": "20,100%", "fold": "fold1", "jobs": 1, "quiet": True} | options
    study_command.main(corpus, output, init=str(init), **options)
    return json.loads((output / "study.json").read_text())


def test_by_default_dev_labels_are_in_n_and_every_arm_chooses(corpus, pretrained, tmp_path, capsys):
    result = go(corpus, tmp_path / "s", pretrained, seeds=1)
    assert (result["ns"], result["n_total"], result["dev_labels"]) == ([20, 60], 60, 0)
    assert result["protocol"]["labels to choose with"].startswith("in the number of labels: a fifth of each count")
    said = "4 trainings, dev chooses one after the other: lr 0.001, 0.003; epochs 2, 4; depth 0, 2"
    assert result["protocol"]["budget"] == f"{said}; the same in every arm at every label count"
    assert said in capsys.readouterr().out
    chosen = {(c["arm"], c["n"]): c for c in result["chosen"]}
    assert set(chosen) == {(arm, n) for arm in study.ARMS for n in (20, 60)}
    for (arm, _), found in chosen.items():
        wanted = {"depth"} if arm == "probe" else {"lr", "epochs", "depth"}
        assert set(found) - {"arm", "n", "seed", "fold"} == wanted
    for row in result["labels_saved"]:  # the labels that choose are counted already
        assert row["with_dev"]["factor"] == row["factor"]
    assert result["trainings_counted"] is False
    assert result["warnings"][0].startswith("Trainings: one: nothing is known of the luck of a training")
    page = (tmp_path / "s/report.html").read_text()
    assert result["warnings"][0] in page
    assert "4 trainings" in page
    assert "What dev chose" in page


def test_a_share_of_the_labels_chooses_and_no_dev_speaker_comes_on_top(corpus, pretrained):
    data = Corpus.load(corpus)
    task, fold = Task.of(data), with_dev(data, data.folds[0], "share")
    plan = recipe.from_dict(runs.parts(pretrained)[0].config["settings"])
    plan = recipe.override(plan, ["finetune.dev=share"])
    store = track_store(data, plan.track, vars(plan.track_config), quiet=True)
    parts = finetune.parts_of(plan, data, store, fold, task, "30", 1)
    chosen = {u.id for u in finetune.select(data, fold.train, task, "30", 1)}
    taught, dev, rest = ({u.id for u in part} for part in (parts.train, parts.dev, parts.unlabelled))
    assert taught | dev == chosen
    assert len(taught) + len(dev) == 30
    assert 3 <= len(dev) <= 9
    assert not rest & chosen
    assert not {u.speaker for u in parts.train} & {u.speaker for u in parts.dev}


def test_each_seed_takes_a_pre_training_and_their_luck_is_counted(corpus, another, tmp_path):
    both = f"{another}/pre0,{another}/pre1"
    result = go(corpus, tmp_path / "s", both, arms="probe,scratch", labels="20", tune="none")
    assert result["seeds"] == 2
    said = "2 for 2 seeds: their luck is in the intervals, each counts as one training there"
    assert result["protocol"]["pre-trainings"] == said
    data = Corpus.load(corpus)
    plan = recipe.from_dict(runs.parts(another / "pre0")[0].config["settings"])
    inits = study.pretrainings(f"{another}/pre*", 4)
    assert inits == [f"{another}/pre0", f"{another}/pre1"]
    cells = study.plan_cells(
        plan, data, Task.of(data), study.Grid(["probe"], "20", 4, "fold1"), inits, transductive=False
    )
    assert [c.init.split("/")[-2] for c in sorted(cells, key=lambda c: c.seed)] == ["pre0", "pre1", "pre0", "pre1"]


def test_pre_trainings_that_are_no_set_are_refused(another, pretrained, tmp_path):
    with pytest.raises(InputError, match="no multiple of 2 pre-trainings"):
        study.pretrainings(f"{another}/pre*", 3)
    with pytest.raises(InputError, match="no folder matches"):
        study.pretrainings(f"{tmp_path}/pre*", 2)
    shutil.copytree(another / "pre1", tmp_path / "other")
    path = tmp_path / "other/fold1/config.json"
    config = json.loads(path.read_text())
    config["settings"]["training"]["epochs"] = 77
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="other settings than"):
        study.pretrainings(f"{another}/pre0,{tmp_path}/other", 2)


@pytest.mark.parametrize("text", ["lr=nan", "lr=inf,0.1", "lr=0.001", "lr=0.1,0.1", "epochs=0,2", "banana=1,2"])
def test_values_that_are_none_or_alone_are_refused(text):
    with pytest.raises(InputError, match="--tune"):
        Choices.of(text, recipe.resolve("hubert", settings=["finetune.mode=full"]))


def test_what_has_no_effect_is_not_tuned():
    with pytest.raises(InputError, match="has no effect in mode frozen"):
        Choices.of("lr=0.1,0.2", recipe.resolve("hubert", settings=["finetune.mode=frozen"]))
