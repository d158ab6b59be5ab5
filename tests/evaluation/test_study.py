"""The study: every arm on the same labels, no cell run twice, the same figures however it was interrupted or spread."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import csd_layouts
import numpy as np
import pytest
from typer.testing import CliRunner

from sottovoce import cli
from sottovoce.commands import _tables
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.commands import study as study_command
from sottovoce.config import recipe
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import study
from sottovoce.metrics import scores
from sottovoce.metrics.statistics import differences
from sottovoce.modeling import network
from sottovoce.pipeline import cluster, finetune, prepare
from sottovoce.pipeline.extract import track_store

VOLATILE = ("made", "hardware", "seconds")


def go(corpus, output, pretrained, **options):
    """`sottovoce study` in this process; what study.json holds, without date and machine."""
    options = {"labels": "10,100%", "seeds": 2, "fold": "fold1,fold2", "jobs": 1, "quiet": True} | options
    options = {"dev": "fold", "tune": "none"} | options  # what the defaults do is tested in test_fair.py
    study_command.main(corpus, output, init=str(pretrained), **options)
    return result_of(output)


def result_of(output):
    found = json.loads((output / "study.json").read_text())
    del found["card"]["made"]
    return {k: v for k, v in found.items() if k not in VOLATILE}


def cells_of(output):
    return {p.name: p.stat().st_mtime_ns for p in (output / "cells").iterdir()}


@pytest.fixture(scope="module")
def studied(corpus, pretrained, tmp_path_factory):
    """3 arms x 2 label counts x 2 seeds x 2 folds, in one process."""
    folder = tmp_path_factory.mktemp("study") / "s"
    go(corpus, folder, pretrained)
    return folder


# ---------------------------------------------------------------------------------------------- what is in it


def test_every_arm_is_there_with_an_interval_at_every_count(studied):
    result = result_of(studied)
    assert result["ns"] == [10, 40]
    assert list(result["arms"]) == ["pretrained", "probe", "scratch"]
    assert (result["metric"], result["seeds"], result["folds"], result["speakers"]) == ("ua", 2, 2, 4)
    assert (result["n_test"], result["n_total"], result["unit"]) == (40, 40, "labelled utterances")
    for points in result["arms"].values():
        assert [p["n"] for p in points] == [10, 40]
        assert all(p["low"] <= p["value"] <= p["high"] for p in points)
    assert result["arms"]["pretrained"][1]["value"] > 0.5
    assert result["trivial"]["majority"] == pytest.approx(0.2)
    assert set(result["per_class"]) == {"neutral", "happy", "sad", "angry", "fear"}
    assert {"paired", "labels_saved", "meeting_point", "probe_paired"} <= set(result)
    assert (result["dev_labels"], result["trainings_counted"]) == (20, True)
    for row in result["labels_saved"]:
        assert row["with_dev"]["factor"] == pytest.approx((row["factor"] * row["n"] + 20) / (row["n"] + 20))
    assert result["protocol"]["pre-trainings"] == "1 for 2 seeds: the luck of a pre-training is in no interval"


def test_paired_differences_are_differences_of_the_curves(studied):
    result = result_of(studied)
    for ours, theirs, pair in zip(
        result["arms"]["pretrained"], result["arms"]["scratch"], result["paired"], strict=True
    ):
        assert pair["value"] == pytest.approx(ours["value"] - theirs["value"])
        assert pair["low"] <= pair["value"] <= pair["high"]
        assert 0 <= pair["p"] <= pair["p_holm"] <= 1


def test_curves_can_be_computed_again_from_the_cells(studied, corpus):
    """Mean UA over seeds of the folds pooled, from the answers on disk."""
    data, result = Corpus.load(corpus), result_of(studied)
    task = Task.of(data)
    for arm, points in result["arms"].items():
        for point in points:
            found = []
            for seed in (0, 1):
                truth, answers = [], []
                for fold in ("fold1", "fold2"):
                    (path,) = (studied / "cells").glob(f"{arm}-{point['n']}-{fold}-s{seed}-*.npz")
                    answers.append(np.load(path)["answer"])
                    truth.append(task.values([data.by_id[k] for k in data.fold(fold).test]))
                found.append(scores.scores(task, np.concatenate(truth), np.concatenate(answers).argmax(1))["ua"])
            assert point["value"] == pytest.approx(np.mean(found))


def test_the_detectable_difference_is_corrected_for_all_counts(studied, corpus):
    """As the p beside it: two counts, so 2.5 % each."""
    data, result = Corpus.load(corpus), result_of(studied)
    task, tested = Task.of(data), [data.by_id[k] for f in ("fold1", "fold2") for k in data.fold(f).test]
    answers = [
        [[np.load(path)["answer"].argmax(1) for path in sorted((studied / "cells").glob(f"{arm}-40-*-s{seed}-*"))]
         for seed in (0, 1)] for arm in ("pretrained", "scratch")
    ]  # fmt: skip
    a, b = (np.stack([np.concatenate(of_seed) for of_seed in arm]) for arm in answers)
    gap = differences(task, task.values(tested), a, b, [u.speaker for u in tested])["ua"]
    assert result["paired"][1]["detectable"] == pytest.approx(gap.detectable(1 - 0.05 / 2))
    assert gap.detectable(1 - 0.05 / 2) > 1.1 * gap.detectable()


@pytest.mark.parametrize(("censored", "at_most", "said"), [(0, 0, " 0.9x"), (1, 0, ">= 0.9x"), (0, 1, "<= 0.9x")])
def test_factors_that_are_bounds_are_called_so_in_the_terminal(studied, capsys, censored, at_most, said):
    result = result_of(studied)
    for row in result["labels_saved"]:
        row |= {"factor": 0.9, "with_dev": {"factor": 0.9}, "censored": bool(censored), "at_most": bool(at_most)}
    _tables.curve(result)
    out = capsys.readouterr().out
    assert out.count(said) == 4
    assert out.count("=") == 4 * bool(censored or at_most)


def test_a_cell_is_what_finetune_would_make(studied, corpus, pretrained, tmp_path):
    """The pre-trained arm at 10 labels, seed 1, through the front door."""
    finetune_command.main(
        corpus, tmp_path / "ft", init=str(pretrained), fold="fold2", labels="10", seed=1, quiet=True, jobs=1
    )
    it = network.load_recognised(runs.Run.load(tmp_path / "ft/fold2"))
    data = Corpus.load(corpus)
    store = track_store(data, it.plan.track, asdict(it.plan.track_config), quiet=True)
    test = [data.by_id[k] for k in data.fold("fold2").test]
    (path,) = (studied / "cells").glob("pretrained-10-fold2-s1-*.npz")
    answers = network.predict(it, Steps([(store, test)], it.plan.frontend, it.statistics))
    np.testing.assert_allclose(np.load(path)["answer"], answers, atol=1e-5)


def test_all_files_of_a_study_are_there(studied):
    names = {p.name for p in studied.iterdir()}
    pictures = {"study.svg", "study.png", "report.html"}
    assert names == {"config.json", "cells", "study.json", "study.csv", "protocol.json"} | pictures
    with open(studied / "study.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    result = result_of(studied)
    ours = {(r["arm"], int(r["labels"])): float(r["value"]) for r in rows if r["metric"] == "ua"}
    for arm, points in result["arms"].items():
        assert all(ours[arm, p["n"]] == pytest.approx(p["value"]) for p in points)
    assert any(r["arm"] == "pretrained - scratch" for r in rows)
    page = (studied / "report.html").read_text()
    assert "<svg" in page
    assert "src=" not in page.replace('src="data:', "")


def test_protocol_says_how_it_was_made(studied):
    said = result_of(studied)["protocol"]
    assert said["first_line"] is None
    assert said["folds"] == "2 of 4, disjoint by speaker"
    assert "nested" in said["label subsets"]
    assert "identical backbone" in said["control"]


def test_small_label_sets_are_within_large_ones_and_shared_by_all_arms(corpus, pretrained):
    data = Corpus.load(corpus)
    task, plan = Task.of(data), plan_of(pretrained)
    cells = planned(plan, data, task, pretrained, "10,50%,100%", seeds=1)
    chosen = {}
    for cell in cells:
        ids = {u.id for u in finetune.select(data, data.fold(cell.fold).train, task, str(cell.n), cell.seed)}
        assert chosen.setdefault((cell.fold, cell.n), ids) == ids
    assert chosen["fold1", 10] < chosen["fold1", 20] < chosen["fold1", 40]


# ---------------------------------------------------------------------------------------------- cells


def plan_of(pretrained, *settings):
    plan = recipe.from_dict(runs.parts(pretrained, "pretrain")[0].config["settings"])
    return recipe.override(plan, settings)


def planned(plan, data, task, pretrained, labels="10,100%", *, seeds=2, fold="fold1", transductive=False):
    grid = study.Grid(study.ARMS, labels, seeds, fold)
    return study.plan_cells(plan, data, task, grid, [str(pretrained)], transductive=transductive)


def test_finished_cells_are_never_run_again(studied, corpus, pretrained):
    before, result = cells_of(studied), result_of(studied)
    assert len(before) == 24
    assert go(corpus, studied, pretrained) == result
    assert cells_of(studied) == before


def test_more_seeds_and_counts_keep_the_cells_there_are(studied, corpus, pretrained, tmp_path):
    shutil.copytree(studied, tmp_path / "s")
    before = cells_of(tmp_path / "s")
    result = go(corpus, tmp_path / "s", pretrained, labels="10,20,100%", seeds=3, fold="fold1")
    after = cells_of(tmp_path / "s")
    assert {k: after[k] for k in before} == before
    assert len(after) == len(before) + 3 * (3 * 3 - 2 * 2)
    assert result["ns"] == [10, 20, 40]
    assert (result["seeds"], result["folds"]) == (3, 1)


def test_a_changed_setting_makes_new_cells_beside_the_old_ones(studied, corpus, pretrained, tmp_path):
    shutil.copytree(studied, tmp_path / "s")
    before = cells_of(tmp_path / "s")
    go(corpus, tmp_path / "s", pretrained, fold="fold1", settings=["finetune.training.lr=0.0005"])
    after = cells_of(tmp_path / "s")
    assert {k: after[k] for k in before} == before
    assert len(after) == 24 + 12


def test_a_cell_is_named_by_everything_that_decides_it(corpus, pretrained):
    data = Corpus.load(corpus)
    task = Task.of(data)
    base = {c.file for c in planned(plan_of(pretrained), data, task, pretrained)}
    same = {c.file for c in planned(plan_of(pretrained), data, task, pretrained)}
    assert base == same
    assert len(base) == 12
    for other in (
        planned(plan_of(pretrained, "finetune.dropout=0.11"), data, task, pretrained),
        planned(plan_of(pretrained), replace(data, info=data.info | {"audio_digest": "other"}), task, pretrained),
        planned(plan_of(pretrained), data, Task.of(data, ["valence"]), pretrained),
    ):
        assert not base & {c.file for c in other}
    folds = (replace(data.folds[0], train=data.folds[0].train[:-1]), *data.folds[1:])
    assert not base & {c.file for c in planned(plan_of(pretrained), replace(data, folds=folds), task, pretrained)}


def test_other_weights_make_other_cells_but_not_for_the_control(corpus, pretrained, tmp_path):
    data = Corpus.load(corpus)
    task, plan = Task.of(data), plan_of(pretrained)
    shutil.copytree(pretrained, tmp_path / "pre")
    path = tmp_path / "pre/fold1/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"identity": "another"}))
    ours, theirs = (planned(plan, data, task, pre) for pre in (pretrained, tmp_path / "pre"))
    same = {c.file for c in ours} & {c.file for c in theirs}
    assert {c.file for c in ours if c.arm == "scratch"} == same


def test_counts_that_meet_in_one_fold_stay_apart_in_the_next(corpus, pretrained):
    """1 % and 3 % of 40 are one label each; of another fold's 60 they are one and two."""
    data = Corpus.load(corpus)
    more = tuple(k for f in data.folds[2:3] for k in f.train)
    larger = replace(data.folds[1], train=tuple(dict.fromkeys((*data.folds[1].train, *data.folds[1].dev, *more))))
    data = replace(data, folds=(data.folds[0], larger, *data.folds[2:]))
    cells = planned(
        plan_of(pretrained), data, Task.of(data), pretrained, "1%,3%,100%", fold="fold1,fold2", transductive=True
    )
    counts = {f: [c.n for c in sorted(cells, key=lambda c: c.share) if (c.arm, c.seed, c.fold) == ("probe", 0, f)]
              for f in ("fold1", "fold2")}  # fmt: skip
    assert counts["fold1"] == [1, 1, 40]
    assert counts["fold2"] == [1, 2, len(larger.train)]


def test_small_cells_come_first(corpus, pretrained):
    data = Corpus.load(corpus)
    cells = planned(plan_of(pretrained), data, Task.of(data), pretrained)
    assert [(c.seed, c.n) for c in cells] == sorted((c.seed, c.n) for c in cells)


@pytest.mark.slow
def test_jobs_do_not_change_the_answers(studied, corpus, pretrained, tmp_path):
    """Two worker processes make the bytes that one process makes."""
    result = go(corpus, tmp_path / "s", pretrained, fold="fold1", labels="10", jobs=2)
    names = set(cells_of(tmp_path / "s"))
    assert len(names) == 6
    for name in names:
        ours, theirs = (np.load(f / "cells" / name)["answer"] for f in (studied, tmp_path / "s"))
        np.testing.assert_array_equal(ours, theirs)
    assert result["folds"] == 1


def test_numbers_have_a_study_too(corpus, pretrained, tmp_path):
    result = go(
        corpus, tmp_path / "s", pretrained, target="valence,arousal", arms="probe,scratch", seeds=1, fold="fold1"
    )
    assert (result["metric"], result["higher_is_better"]) == ("ccc", True)
    assert list(result["arms"]) == ["probe", "scratch"]
    assert result["arms"]["probe"][1]["value"] > 0.5 > result["trivial"]["train_median"] == 0
    assert set(result["beside"]) == {"mae", "ccc"}
    assert result["beside"]["mae"]["all"]["probe"][1]["value"] == pytest.approx(
        np.mean([result["beside"]["mae"][n]["probe"][1]["value"] for n in ("valence", "arousal")])
    )
    assert "paired" not in result
    assert "probe_paired" in result


def test_steps_of_words_are_not_averaged_a_second_time(tmp_path, tiny):
    """Pre-trained on frames of 10 ms, tried on steps that are averages over words already."""
    for name, make in (("mosei", csd_layouts.mosei), ("mfn", csd_layouts.mfn)):
        make(tmp_path / name)
        prepare.prepare(name, tmp_path / name, tmp_path / f"data_{name}", jobs=1)
    options = {"settings": [s for s in tiny if "track" not in s and "subsampling=4" not in s], "quiet": True, "jobs": 1}
    pretrain_command.main("masked_timesteps", [tmp_path / "data_mosei"], tmp_path / "pre", tracker="none", **options)
    go(tmp_path / "data_mfn", tmp_path / "s", tmp_path / "pre", labels="100%", fold="official", seeds=1)
    (made,) = runs.parts(tmp_path / "pre", "pretrain")
    tried = json.loads((tmp_path / "s/config.json").read_text())
    assert [c["settings"]["frontend"]["subsampling"] for c in (made.config, tried)] == [5, 1]


def test_recordings_without_features_are_left_out_of_cells_and_of_the_truth(corpus, pretrained, tmp_path):
    """As after `extract --skip-broken`."""
    shutil.copytree(corpus, tmp_path / "data")
    data = Corpus.load(tmp_path / "data")
    gone = {data.fold("fold1").test[0], data.fold("fold1").train[0]}
    for index in (tmp_path / "data").glob("tracks/*/index.jsonl"):
        rows = [json.loads(line) for line in index.read_text().splitlines()]
        rows = [[r[0], -1, 0, 0, r[4], r[5], "cannot be read"] if r[0] in gone else r for r in rows]
        index.write_text("".join(json.dumps(r) + "\n" for r in rows))
    result = go(tmp_path / "data", tmp_path / "s", pretrained, fold="fold1", seeds=1, arms="probe,scratch")
    assert result["n_test"] == 19


# ---------------------------------------------------------------------------------------------- exposure


def test_weights_that_heard_a_test_speaker_are_refused_in_a_study(corpus, pretrained, tmp_path):
    alone = pretrained / "fold1"
    with pytest.raises(InputError, match="have seen 2 test speakers of fold2"):
        go(corpus, tmp_path / "s", alone, fold="fold2")
    assert not (tmp_path / "s").exists()
    result = go(corpus, tmp_path / "s", alone, fold="fold2", seeds=1, transductive=True, arms="probe")
    assert result["protocol"]["first_line"].startswith("Transductive")
    assert "Transductive" in (tmp_path / "s/report.html").read_text()


def test_folds_are_those_the_weights_were_made_for(corpus, pretrained):
    data = Corpus.load(corpus)
    plan, task = plan_of(pretrained), Task.of(data)
    every = planned(plan, data, task, pretrained, seeds=1, fold=None)
    assert {c.fold for c in every} == {f.name for f in data.folds}
    one = planned(plan, data, task, pretrained / "fold3", seeds=1, fold=None)
    assert {c.fold for c in one} == {"fold3"}


# ---------------------------------------------------------------------------------------------- interruptions


def start(process, corpus, output, pretrained, *more, seeds=4):
    settings = ["--dev", "fold", "--tune", "none", "--set", "finetune.training.epochs=4", *more]  # as `go`
    return process(
        *("study", corpus, "--init", pretrained, "--labels", "10,100%", "--seeds", seeds, "--fold", "fold1"),
        *("-o", output, "-q", *settings),
    )


def wait_for_cells(child, output, n):
    while len(list((output / "cells").glob("[!.]*.npz"))) < n:
        assert child.poll() is None, child.communicate()
        time.sleep(0.01)


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as text:
            found += [int(p) for p in text.read().split()]
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as text:
            return text.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_figures_and_repeats_no_cell(corpus, pretrained, process, tmp_path):
    more = {"settings": ["finetune.training.epochs=4"], "seeds": 2, "fold": "fold1"}
    whole = go(corpus, tmp_path / "whole", pretrained, **more)
    child = start(process, corpus, tmp_path / "killed", pretrained, "--jobs", "1", seeds=2)
    wait_for_cells(child, tmp_path / "killed", 2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = {k: v for k, v in cells_of(tmp_path / "killed").items() if not k.startswith(".")}
    assert 2 <= len(before) < 12
    assert not (tmp_path / "killed/study.json").exists()
    resumed = go(corpus, tmp_path / "killed", pretrained, **more)
    after = cells_of(tmp_path / "killed")
    assert {k: after[k] for k in before} == before
    assert len([k for k in after if not k.startswith(".")]) == 12
    assert resumed == whole


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_workers_do_not_outlive_their_parent(corpus, pretrained, process, tmp_path, sent):
    child = start(process, corpus, tmp_path / "s", pretrained, "--jobs", "2")
    wait_for_cells(child, tmp_path / "s", 1)
    workers = children_of(child.pid)
    assert len(workers) >= 2
    child.send_signal(sent)
    _, err = child.communicate(timeout=30)
    for _ in range(300):
        if not any(map(alive, workers)):
            break
        time.sleep(0.1)
    assert not any(map(alive, workers))
    if sent == signal.SIGINT:
        assert child.returncode == 130
        assert err.strip() == "sottovoce: interrupted; the same command goes on from here."


# ---------------------------------------------------------------------------------------------- wrong questions


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "10,lots"}, "'lots' is neither a count nor a percentage"),
        ({"labels": "10,400"}, "400 is 400 labels"),
        ({"arms": "pretrained,prob"}, "no arm 'prob'. There are: pretrained, probe, scratch"),
        ({"fold": "fold7"}, "'fold7'"),
        ({"metric": "uar"}, "Did you mean 'ua'"),
        ({"target": "emotoin"}, "Did you mean 'emotion'"),
        ({"settings": ["finetune.lr=1"]}, "finetune.lr"),
    ],
)
def test_wrong_questions_are_one_line_and_start_nothing(corpus, pretrained, tmp_path, options, said):
    with pytest.raises(InputError) as error:
        go(corpus, tmp_path / "s", pretrained, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()


def test_every_fold_that_teaches_one_class_is_named_before_anything_is_trained(corpus, pretrained, tmp_path):
    """All are sad but those whom fold2 and fold4 test; so their own training parts are, and the others' are not."""
    data = Corpus.load(corpus)
    others = {k for name in ("fold2", "fold4") for k in data.fold(name).test}
    sad = [u if u.id in others else replace(u, labels=u.labels | {"emotion": "sad"}) for u in data.utterances]
    sides = {f.name: replace(f, train=tuple(k for k in f.train if (k in others) == (f.name in ("fold1", "fold3"))))
             for f in data.folds}  # fmt: skip
    home = replace(data, folder=tmp_path / "data", utterances=tuple(sad), folds=tuple(sides.values()))
    home.save()
    said = r"one class only in the training part of fold2, fold4, of 4 folds .* leave these out: --fold fold1,fold3\.$"
    with pytest.raises(InputError, match=said):
        go(home.folder, tmp_path / "s", pretrained, fold="all")
    for dry_run in (True, False):
        with pytest.raises(InputError, match=said):
            finetune_command.main(home.folder, tmp_path / "ft", init="none", fold="all", dry_run=dry_run, quiet=True)
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "ft").exists()


def spread(corpus, output, pretrained, workers):
    """`go` as a command of its own, which applies --workers."""
    words = ["study", corpus, "-o", output, "--init", pretrained, "--labels", "10,100%", "--seeds", "2"]
    words += ["--fold", "fold1,fold2", "--dev", "fold", "--tune", "none", "-q", "-j", "2", "--workers", workers]
    CliRunner().invoke(cli.app, list(map(str, words)), catch_exceptions=False)


def test_cells_shared_by_a_folder_give_the_same_bytes(studied, corpus, pretrained, tmp_path):
    spread(corpus, tmp_path / "s", pretrained, "folder")
    assert (tmp_path / "s/study.csv").read_bytes() == (studied / "study.csv").read_bytes()
    assert {p.name for p in tmp_path.glob("s/*")} == {p.name for p in studied.iterdir()}
    with pytest.raises(InputError, match="--workers dask: there is no such way"):
        spread(corpus, tmp_path / "s", pretrained, "dask")


@pytest.mark.slow
def test_cells_of_ray_give_the_same_bytes(studied, corpus, pretrained, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "cores_here", lambda: 2)
    spread(corpus, tmp_path / "s", pretrained, "ray")
    assert (tmp_path / "s/study.csv").read_bytes() == (studied / "study.csv").read_bytes()
    assert {p.name for p in tmp_path.glob("s/*")} == {p.name for p in studied.iterdir()}


@pytest.mark.slow
def test_a_slurm_script_makes_the_study(corpus, pretrained, tmp_path):
    """A stand-in for sbatch runs both tasks of the array at once."""
    output = tmp_path / "my study"
    options = ["--labels", "10", "--seeds", "2", "--fold", "fold1", "--arms", "scratch", "--tune", "none", "-q"]
    command = ["study", str(corpus), "-o", str(output), "--init", str(pretrained), *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "sottovoce", *command]
    subprocess.run([*program, "--workers", "slurm", "--partition", "cpu", "-j", "2"], env=env, check=True)
    script = output / "sottovoce.sbatch"
    assert {"#SBATCH --array=0-1", "#SBATCH --partition=cpu"} <= set(script.read_text().splitlines())
    assert not (output / "study.csv").exists()
    tasks = [subprocess.Popen(["sh", str(script)], env=env | {"SLURM_ARRAY_TASK_ID": str(k)}) for k in range(2)]
    assert [task.wait(120) for task in tasks] == [0, 0]
    go(corpus, tmp_path / "here", pretrained, labels="10", fold="fold1", arms="scratch", dev="share")
    assert (output / "study.csv").read_bytes() == (tmp_path / "here/study.csv").read_bytes()


def command(corpus, output, pretrained, workers):
    """`go` by --workers command, as a process."""
    words = ["study", corpus, "-o", output, "--init", pretrained, "--labels", "10,100%", "--seeds", "2", "-q"]
    words += ["--fold", "fold1,fold2", "--dev", "fold", "--tune", "none", "-j", "3", "--workers", workers]
    return subprocess.Popen([sys.executable, "-m", "sottovoce", *map(str, words)], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_workers_that_a_command_starts_give_the_same_bytes_and_one_may_fail(studied, corpus, pretrained, tmp_path):
    output = tmp_path / "my study"
    one = command(corpus, output, pretrained, 'command:test {k} != 1 || exit 7; sh -c "{}"')
    _, said = one.communicate(timeout=240)
    assert one.returncode == 0, said
    assert said.startswith("Others did the work of one that failed: exit code 7 of `test 1 != 1 ")
    assert (output / "study.csv").read_bytes() == (studied / "study.csv").read_bytes()
    logs = {f"sottovoce.{k}.log" for k in range(3)}
    assert {p.name for p in output.iterdir()} == {p.name for p in studied.iterdir()} | logs | {"sottovoce.sh"}


@pytest.mark.slow
def test_a_command_that_is_interrupted_goes_on_at_once(studied, corpus, pretrained, tmp_path):
    """Its workers give back what they are at: nobody waits for a lease to run out."""
    one = command(corpus, tmp_path / "s", pretrained, "command:{}")
    limit = time.monotonic() + 120
    while len(list(tmp_path.glob("s/cells/*.npz"))) < 2:
        assert one.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    one.send_signal(signal.SIGINT)
    assert "interrupted" in one.communicate(timeout=30)[1]
    assert len(list(tmp_path.glob("s/cells/*.npz"))) < 24
    held = [claim.name.removesuffix(".0").split("+") for claim in tmp_path.glob("s/claims/*")]
    assert all(tmp_path.joinpath("s", *parts).exists() for parts in held)
    go(corpus, tmp_path / "s", pretrained)
    assert (tmp_path / "s/study.csv").read_bytes() == (studied / "study.csv").read_bytes()
