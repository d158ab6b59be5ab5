"""Wrong input to the training verbs: exit code 2, one line that names the file, the finding and the remedy, and
nothing half-written. (Recordings, tables and .csd files have their own tests beside their readers.)"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import layouts
import numpy as np
import pytest
import torch

import sottovoce as package
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.evaluation import evaluate
from sottovoce.inference.hearing import Hearing
from sottovoce.metrics.temperature import Calibration
from sottovoce.modeling import network
from sottovoce.modeling.checkpoint import load_tensors, save_tensors
from sottovoce.pipeline import finetune


def snapshot(folder):
    """Every file below a folder and when it was written."""
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def damaged(run, to, change):
    """A copy of a run, changed."""
    shutil.copytree(run, to)
    change(to)
    return to


def edit_config(change):
    """A change of config.json."""

    def edit(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(change(config)))

    return edit


def without(*keys):
    return edit_config(lambda c: {k: v for k, v in c.items() if k not in keys})


def settings_with(**more):
    return edit_config(lambda c: c | {"settings": c["settings"] | more})


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def wider(folder):
    """Weights of a network of another shape."""
    path = folder / "model.safetensors"
    save_tensors(path, {k: v.repeat(*([2] * v.ndim)) for k, v in load_tensors(path).items()})


def stripped(folder):
    """Weights without the statistics that go with them."""
    path = folder / "model.safetensors"
    save_tensors(path, {k: v for k, v in load_tensors(path).items() if not k.startswith("statistics.")})


DAMAGE = {
    "cut weights": (cut, "model.safetensors: corrupt checkpoint"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors: corrupt checkpoint"),
    "weights that are a page": (
        lambda f: (f / "model.safetensors").write_text("<html>404</html>"),
        "model.safetensors: corrupt checkpoint",
    ),
    "weights of another shape": (wider, "does not fit its config.json"),
    "weights without statistics": (stripped, "Found no 'statistics.mean'"),
    "cut config": (lambda f: (f / "config.json").write_text('{"kind": "fi'), "config.json: not valid JSON"),
    "empty config": (lambda f: (f / "config.json").write_text(""), "config.json: not valid JSON"),
    "config of something else": (lambda f: (f / "config.json").write_text("[1]"), "not a run's configuration"),
    "config without settings": (without("settings"), "config.json: damaged. Found no settings"),
    "config without those seen": (without("seen_speakers", "fold"), "Found no fold, seen_speakers"),
    "config of a later version": (settings_with(colour="red"), "version"),
    "config of an earlier version": (
        edit_config(lambda c: c | {"settings": {k: v for k, v in c["settings"].items() if k != "frontend"}}),
        "version",
    ),
    "config with a setting nobody knows": (
        edit_config(
            lambda c: (
                c | {"settings": c["settings"] | {"finetune": c["settings"]["finetune"] | {"training": {"epochz": 3}}}}
            )
        ),
        "version",
    ),
    "a task that is none": (edit_config(lambda c: c | {"task": {"kind": "class"}}), "config.json: damaged task"),
    "a backbone nobody has": (settings_with(backbone="conformer"), "'conformer'"),
    "no weights yet": (lambda f: (f / "model.safetensors").unlink(), "no finished run"),
    "nothing at all": (lambda f: [p.unlink() for p in f.iterdir()], "no finished run"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_classifier_is_named(sottovoce, finetuned, corpus, tmp_path, name):
    change, said = DAMAGE[name]
    run = damaged(finetuned / "fold1", tmp_path / "ft", change)
    before = snapshot(tmp_path)
    clip = Corpus.load(corpus).root / Corpus.load(corpus).utterances[0].path
    for words in (["evaluate", run, "--no-opensmile"], ["predict", run, clip, "-o", tmp_path / "out.csv"]):
        line = sottovoce(*words).complaint
        assert said in line
        assert str(run) in line
        assert line.endswith((".", "?"))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", [name for name in DAMAGE if "task" not in name])
def test_damaged_weights_are_named(sottovoce, pretrained, corpus, tmp_path, name):
    change, said = DAMAGE[name]
    run = damaged(pretrained / "fold1", tmp_path / "pre", change)
    for words in (
        ["finetune", corpus, "--init", run, "-o", tmp_path / "ft", "-q"],
        ["study", corpus, "--init", run, "--labels", "10,100%", "--seeds", "1", "--jobs", "1", "-o", tmp_path / "s",
         "-q"],
    ):  # fmt: skip
        assert said in sottovoce(*words).complaint
    assert not (tmp_path / "ft").exists()
    assert not list((tmp_path / "s").glob("cells/*"))


# ---------------------------------------------------------------------------------------------- folders


def test_a_folder_that_is_no_run_is_named(sottovoce, corpus, pretrained, finetuned, tmp_path):
    (tmp_path / "empty").mkdir()
    for run, said in (
        (tmp_path / "nowhere", "no such run folder"),
        (tmp_path / "empty", "no finished run. Found nothing"),
        (pretrained, "a pretrain run. A finetune run is needed here"),
        (corpus, "no finished run"),
        (corpus / "manifest.csv", "no such run folder"),
    ):
        assert said in sottovoce("evaluate", run, "--no-opensmile").complaint
    line = sottovoce("finetune", corpus, "--init", finetuned, "-o", tmp_path / "ft").complaint
    assert "a finetune run. A pretrain run is needed here" in line
    assert not (tmp_path / "ft").exists()


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "study", "extract"])
def test_a_missing_corpus_is_named(sottovoce, pretrained, tmp_path, verb):
    words = {
        "pretrain": ["pretrain", "masked_timesteps", tmp_path / "data", "-o", tmp_path / "o"],
        "finetune": ["finetune", tmp_path / "data", "-o", tmp_path / "o"],
        "study": ["study", tmp_path / "data", "--init", pretrained, "-o", tmp_path / "o"],
        "extract": ["extract", tmp_path / "data"],
    }[verb]
    line = sottovoce(*words).complaint
    assert line.startswith(f"{tmp_path / 'data'}: not a prepared corpus")
    assert "sottovoce prepare" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("manifest.csv", lambda t: t.replace(",0.0,", ",soon,", 1), "'soon'"),
        ("manifest.csv", lambda t: t[: t.rindex(",spk")], "manifest.csv"),
        ("manifest.csv", lambda t: "\n".join(t.splitlines()[:40]) + "\n", "folds.json"),
        ("folds.json", lambda t: t.replace('"train"', '"trian"', 1), ".train"),
        ("manifest.csv", lambda t: t.replace("speaker", "who", 1), "no column speaker. Found: id, corpus, path"),
        ("manifest.csv", lambda t: "", "no column id"),
        ("folds.json", lambda t: t[:-20], "folds.json: not valid JSON"),
        ("corpus.json", lambda t: t.replace('"root"', '"rood"', 1), "Found no root"),
        ("corpus.json", lambda t: "{", "corpus.json: not valid JSON"),
    ],
)
def test_a_damaged_corpus_is_named(sottovoce, corpus, tmp_path, file, change, said):
    shutil.copytree(corpus, tmp_path / "data", ignore=shutil.ignore_patterns("tracks"))
    path = tmp_path / "data" / file
    path.write_text(change(path.read_text()))
    line = sottovoce("finetune", tmp_path / "data", "-o", tmp_path / "ft").complaint
    assert said in line
    assert str(tmp_path / "data") in line
    assert not (tmp_path / "ft").exists()


def test_audio_that_went_away_is_named(sottovoce, corpus, tiny, tmp_path):
    from dataclasses import replace

    replace(Corpus.load(corpus), folder=tmp_path / "data", root=tmp_path / "gone").save()
    line = sottovoce("finetune", tmp_path / "data", "-o", tmp_path / "ft", "-q").complaint
    assert str(tmp_path / "gone") in line
    assert not (tmp_path / "ft").exists()


def test_an_output_that_cannot_be_written_is_named(sottovoce, corpus, pretrained, evaluated, tmp_path):
    (tmp_path / "file").write_text("mine")
    clip = Corpus.load(corpus).root / Corpus.load(corpus).utterances[0].path
    for words in (
        ["finetune", corpus, "--init", pretrained, "--mode", "frozen", "-o", tmp_path / "file/ft", "-q"],
        ["evaluate", evaluated, "--no-opensmile", "-o", tmp_path / "file"],
        ["predict", evaluated, clip, "-o", tmp_path / "file/out.csv"],
        ["study", corpus, "--init", pretrained, "-o", tmp_path / "file/s", "--jobs", "1", "--labels", "10", "-q"],
    ):
        line = sottovoce(*words).complaint
        assert str(tmp_path / "file") in line
        assert "cannot be written" in line
    assert (tmp_path / "file").read_text() == "mine"


# ---------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "masked_timestep", "CORPUS"], "Did you mean 'masked_timesteps'?"),
        (["pretrain", "masked_timesteps", "CORPUS", "--track", "fbnak"], "Did you mean 'fbank'?"),
        (["pretrain", "masked_timesteps", "CORPUS", "--backbone", "transfromer"], "Did you mean 'transformer'?"),
        (["pretrain", "masked_timesteps", "CORPUS", "--fold", "fold11"], "Did you mean 'fold1'?"),
        (["pretrain", "masked_timesteps", "CORPUS", "--set", "objective.spam=9"], "Did you mean 'objective.span'?"),
        (["pretrain", "masked_timesteps", "CORPUS", "--set", "training.epoch=9"], "Did you mean 'training.epochs'?"),
        (["pretrain", "masked_timesteps", "CORPUS", "--set", "training.epochs=many"], "a whole number"),
        (
            ["pretrain", "masked_timesteps", "CORPUS", "--set", "objective.ratio=2"],
            "objective.ratio: above 0 and below 1",
        ),
        (["pretrain", "masked_timesteps", "CORPUS", "--set", "backbone=gru"], "Use --backbone gru"),
        (["pretrain", "masked_timesteps", "CORPUS", "--set", "epochs"], "not key=value"),
        (["finetune", "CORPUS", "--fold", "fold0"], "There are: fold1, fold2, fold3, fold4"),
        (["finetune", "CORPUS", "--recipe", "masked"], "masked_timesteps"),
        (["finetune", "CORPUS", "--target", "emotions"], "Did you mean 'emotion'?"),
        (["finetune", "CORPUS", "--target", "emotion,valence"], "mixes classes and regression targets"),
        (["finetune", "CORPUS", "--mode", "half"], "one of full, frozen"),
        (["finetune", "CORPUS", "--labels", "some"], "'some' is neither a count nor a percentage"),
        (["finetune", "CORPUS", "--labels", "0"], "from 1 to 40"),
        (["finetune", "CORPUS", "--labels", "1000"], "There are 40 labelled training utterances"),
        (["finetune", "CORPUS", "--labels", "1%,10%"], "one count or percentage here"),
        (["finetune", "CORPUS", "--labels", "1"], "one class only"),
        (
            ["finetune", "CORPUS", "--set", "finetune.temporal_pooling=max"],
            "one of statistics, ",
        ),
        (["finetune", "CORPUS", "--set", "finetune.loss=ccc"], "does not fit class targets"),
        (["finetune", "CORPUS", "--init", "PRETRAINED", "--set", "track.bins=20"], "pre-trained on 40 features"),
        (["study", "CORPUS", "--init", "PRETRAINED", "--arms", "both"], "There are: pretrained, probe, scratch"),
        (["study", "CORPUS", "--init", "none"], "no such run folder"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_those_that_are(
    sottovoce, corpus, pretrained, tiny, tmp_path, words, said
):
    places = {"CORPUS": str(corpus), "PRETRAINED": str(pretrained)}
    words = [places.get(w, w) for w in words]
    if words[0] != "study" and "--init" not in words:
        words += ["--set", "track.bins=40"] if "--track" not in words and "--set" not in words else []
    line = sottovoce(*words, "-o", tmp_path / "out", "-q").complaint
    assert said in line, line
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------- corpora


def test_one_class_too_few_speakers_and_no_labels_are_refused_where_they_are_met(sottovoce, tmp_path):
    layouts.folder(tmp_path / "one", classes=("happy",), speakers=4)
    line = sottovoce(
        "prepare", "folder", tmp_path / "one", "--speaker-pattern", r"(s\d+)_", "-o", tmp_path / "d"
    ).complaint
    assert "one class" in line
    layouts.folder(tmp_path / "two", speakers=2)
    two = ["prepare", "folder", tmp_path / "two", "--speaker-pattern", r"(s\d+)_", "--folds", "4"]
    line = sottovoce(*two, "-o", tmp_path / "d").complaint
    assert "fewer speakers than folds. Found 2 (s01, s02) for 4 folds" in line
    assert not (tmp_path / "d").exists()
    done = sottovoce("prepare", "folder", tmp_path / "two", "--unlabelled", "-o", tmp_path / "mute", "-q")
    assert done.code == 0
    assert "'emotion'" in sottovoce("finetune", tmp_path / "mute", "-o", tmp_path / "ft").complaint
    assert not (tmp_path / "ft").exists()


def test_a_recording_that_broke_since_is_named_by_pretraining(sottovoce, tiny, tmp_path):
    layouts.folder(tmp_path / "mine", speakers=4)
    words = ["prepare", "folder", tmp_path / "mine", "--speaker-pattern", r"(s\d+)_", "-o", tmp_path / "data", "-q"]
    assert sottovoce(*words).code == 0
    broken = tmp_path / "mine/happy/s02_0.wav"
    broken.write_bytes(broken.read_bytes()[:5000])
    line = sottovoce("pretrain", "masked_timesteps", tmp_path / "data", "-o", tmp_path / "pre", "-q").complaint
    assert str(broken) in line
    assert "truncated" in line
    assert "--skip-broken" in line
    assert not (tmp_path / "pre").exists()


# ---------------------------------------------------------------------------------------------- other runs' folders


def test_a_folder_with_another_run_is_not_touched(sottovoce, corpus, pretrained, finetuned):
    before = snapshot(pretrained.parent)
    line = sottovoce("finetune", corpus, "--init", pretrained, "--labels", "50%", "-o", finetuned, "-q").complaint
    assert f"{finetuned / 'fold1'}: a run of another configuration" in line
    assert "Choose another -o" in line
    line = sottovoce("finetune", corpus, "--init", pretrained, "-o", pretrained, "-q").complaint
    assert "a run of another configuration" in line
    assert snapshot(pretrained.parent) == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "last.safetensors: corrupt checkpoint"),
        (lambda p: save_tensors(p, {"x": a_tensor()}, {"identity": "other", "state": "{}"}), "another configuration"),
    ],
)
def test_a_spoilt_checkpoint_is_named_and_can_be_deleted(sottovoce, corpus, pretrained, tmp_path, spoil, said):
    folder = tmp_path / "ft/fold1"
    finetune_command.main(corpus, tmp_path / "ft", init=str(pretrained), quiet=True, jobs=1)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").rename(folder / "last.safetensors")
    spoil(folder / "last.safetensors")
    words = ["finetune", corpus, "--init", pretrained, "-o", tmp_path / "ft", "-q"]
    assert said in sottovoce(*words).complaint
    assert not (folder / "model.safetensors").exists()
    (folder / "last.safetensors").unlink()
    assert sottovoce(*words).code == 0
    assert (folder / "model.safetensors").read_bytes() == whole


def a_tensor():
    import torch

    return torch.zeros(2)


# ---------------------------------------------------------------------------------------------- a full disk


def full_disk(monkeypatch, *names):
    """From now on nothing of these names can be put in its place."""
    plain = os.replace

    def replace(source, target, **more):
        if any(str(target).endswith(name) for name in names):
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(source, target, **more)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "report.json", "log.jsonl"])
def test_a_full_disk_in_pretraining_is_one_line_and_the_run_can_go_on(
    sottovoce, corpus, pretrained, tiny, tmp_path, monkeypatch, name
):
    words = ["pretrain", "masked_timesteps", corpus, "-o", tmp_path / "pre", "--tracker", "none", "-q"]
    words += [word for s in tiny for word in ("--set", s)]
    with monkeypatch.context() as patch:
        full_disk(patch, name)
        line = sottovoce(*words).complaint
    assert f"{tmp_path / 'pre/fold1' / name}: cannot be written. No space left on device" in line
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "pre/fold1/model.safetensors").exists()
    assert sottovoce(*words).code == 0
    ours, theirs = ((f / "fold1/model.safetensors").read_bytes() for f in (tmp_path / "pre", pretrained))
    assert ours == theirs


@pytest.mark.parametrize("name", ["history.json", "model.safetensors"])
def test_a_full_disk_in_finetuning_is_one_line_and_the_run_can_go_on(
    sottovoce, corpus, pretrained, finetuned, tmp_path, monkeypatch, name
):
    words = ["finetune", corpus, "--init", pretrained, "-o", tmp_path / "ft", "-q"]
    with monkeypatch.context() as patch:
        full_disk(patch, name)
        assert "No space left on device" in sottovoce(*words).complaint
    assert not list(tmp_path.rglob("*.part"))
    assert runs.Run.load(tmp_path / "ft/fold1").finished is False
    assert sottovoce(*words).code == 0
    ours, theirs = ((f / "fold1/model.safetensors").read_bytes() for f in (tmp_path / "ft", finetuned))
    assert ours == theirs


def test_a_full_disk_in_evaluation_study_and_prediction_is_one_line(
    sottovoce, corpus, pretrained, evaluated, tmp_path, monkeypatch
):
    clip = Corpus.load(corpus).root / Corpus.load(corpus).utterances[0].path
    study = ["study", corpus, "--init", pretrained, "--labels", "10,100%", "--seeds", "1", "--arms", "probe",
             "--fold", "fold1", "--jobs", "1", "-q", "-o", tmp_path / "s"]  # fmt: skip
    with monkeypatch.context() as patch:
        full_disk(patch, "predictions.csv", ".npz", "out.json")
        for words in (
            ["evaluate", evaluated, "--no-opensmile", "-o", tmp_path / "e"],
            study,
            ["predict", evaluated, clip, "-o", tmp_path / "out.json"],
        ):
            assert "No space left on device" in sottovoce(*words).complaint
    assert not [
        p for p in tmp_path.rglob("*") if p.is_file() and p.name not in ("config.json", "out.json.journal.jsonl")
    ]
    assert sottovoce(*study).code == 0
    assert (tmp_path / "s/study.json").exists()


# ---------------------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_pretraining_that_is_told_to_end_exits_with_130_and_goes_on(process, corpus, tiny, tmp_path, told):
    settings = [*tiny, "training.epochs=150", "training.save_every=0"]
    words = ["pretrain", "masked_timesteps", corpus, "-o", tmp_path / "pre", "--tracker", "none", "-q"]
    words += [word for s in settings for word in ("--set", s)]
    child = process(*words)
    last = tmp_path / "pre/fold1/last.safetensors"
    while not last.exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)
    time.sleep(0.2)
    child.send_signal(told)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130, (out, err)
    assert err.strip() == "sottovoce: interrupted; the same command goes on from here."
    assert "Traceback" not in out
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "pre/fold1/model.safetensors").exists()
    options = {"settings": settings, "tracker": "none", "quiet": True, "jobs": 1}
    pretrain_command.main("masked_timesteps", [corpus], tmp_path / "pre", **options)
    pretrain_command.main("masked_timesteps", [corpus], tmp_path / "whole", **options)
    ours, theirs = ((f / "fold1/model.safetensors").read_bytes() for f in (tmp_path / "pre", tmp_path / "whole"))
    assert ours == theirs


@pytest.mark.parametrize("verb", ["evaluate", "finetune"])
def test_ctrl_c_anywhere_is_one_line_and_130(sottovoce, corpus, finetuned, tmp_path, monkeypatch, verb):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate if verb == "evaluate" else finetune, verb, interrupted)
    scratch = ["finetune", corpus, "--init", "none", "--set", "track.bins=40", "-o", tmp_path / "ft", "-q"]
    words = {"evaluate": ["evaluate", finetuned, "--no-opensmile", "-o", tmp_path / "e"], "finetune": scratch}[verb]
    done = sottovoce(*words)
    assert done.code == 130
    assert done.err.strip() == "sottovoce: interrupted; the same command goes on from here."
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_command_is_being_loaded_is_one_line(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    where = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(package.__file__).parent.parent}"}
    command = [sys.executable, "-m", "sottovoce", "list"]
    done = subprocess.run(command, env=os.environ | where, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "sottovoce: interrupted.\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is of Linux")
@pytest.mark.parametrize("words", [["list"], ["--version"], ["list", "--help"]], ids=" ".join)
def test_output_that_has_no_room_is_one_line(words):
    command = [sys.executable, "-m", "sottovoce", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("sottovoce: output: cannot be written. No space left")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_too_little_memory_is_one_line(sottovoce, finetuned, monkeypatch, library):
    def greedy(*_, **__):
        return np.zeros(1 << 58) if library == "numpy" else torch.zeros(1 << 58)

    monkeypatch.setattr(evaluate, "evaluate", greedy)
    line = sottovoce("evaluate", finetuned, "--no-opensmile").complaint
    assert line.startswith("out of memory. Found: ")
    assert "Ask for less at a time" in line


def test_a_name_that_cannot_be_written_is_named_alone(sottovoce, finetuned, monkeypatch):
    def written(*_, **__):
        ('<!doctype html><p title="' + "x" * 500 + ' old\udce9.wav">').encode()

    monkeypatch.setattr(evaluate, "evaluate", written)
    assert sottovoce("evaluate", finetuned, "--no-opensmile").complaint.startswith(r"old\xe9.wav: a file name")


def test_a_setting_is_not_a_broken_recording(sottovoce, finetuned, corpus, monkeypatch):
    recording = Corpus.load(corpus).root / Corpus.load(corpus).utterances[0].path
    monkeypatch.setattr(Hearing, "calibration", Calibration())
    for more in ([], ["--skip-broken"]):
        said = sottovoce("predict", finetuned / "fold1", recording, "--abstain", "auto", *more).complaint
        assert said.startswith("--abstain auto: needs a calibrated model")
        assert "skip-broken" not in said


def test_a_defect_of_ours_keeps_its_traceback(sottovoce, finetuned, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(evaluate, "evaluate", broken)
    with pytest.raises(ZeroDivisionError):
        sottovoce("evaluate", finetuned, "--no-opensmile")


def test_features_that_make_the_loss_infinite_are_one_line(corpus, pretrained, tmp_path):
    """A learning rate of a million, say."""
    with pytest.raises(InputError, match=r"the loss became (nan|inf).*Lower --set training\.lr"):
        finetune_command.main(
            corpus, tmp_path / "ft", init=str(pretrained), quiet=True, jobs=1,
            settings=["finetune.training.lr=1e12", "finetune.training.clip=0", "finetune.training.epochs=6"],
        )  # fmt: skip
    assert not list(tmp_path.rglob("model.safetensors"))


def test_weights_of_other_features_are_refused_before_they_are_used(pretrained):
    earlier = network.load_pretrained(runs.Run.load(pretrained / "fold1"))
    network.check_same_input(earlier, earlier.plan, 40)
    with pytest.raises(InputError, match=r"pre-trained on 40 features a frame of track fbank; found 74"):
        network.check_same_input(earlier, earlier.plan, 74)


def test_messages_are_one_line_even_when_their_cause_has_several(pretrained, tmp_path):
    run = damaged(pretrained / "fold1", tmp_path / "pre", wider)
    with pytest.raises(InputError) as error:
        network.load_pretrained(runs.Run.load(run))
    assert "\n" not in str(error.value)
