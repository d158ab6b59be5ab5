"""Which layers of other corpora a fine-tuning begins with, and what its run says of them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sottovoce.cli import app
from sottovoce.config import explain
from sottovoce.config.finetuning import in_mode
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.folds import person
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import evaluate
from sottovoce.inference import publish
from sottovoce.modeling import hub, source_layers
from sottovoce.modeling import network as models
from sottovoce.modeling.checkpoint import load_tensors
from sottovoce.pipeline import prepare
from sottovoce.pipeline.source_choice import begun_with, sources_of, with_sources

FREE = ("cremad", "jl_corpus")
CLASSES = Task("class", ("emotion",), ("angry", "happy", "sad"))


@pytest.fixture(scope="module")
def plan():
    return begun_with(hub.load("default").plan, "", "default")


def tune(corpus, folder, *more):
    words = ["finetune", str(corpus), "-o", str(folder), "-q", "--set", "finetune.copies=0", *more]
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def tuned(corpus, tmp_path_factory):
    """Of three labels: with what there is by default, and with nothing."""
    home = tmp_path_factory.mktemp("sources")
    for name, more in (("free", ()), ("none", ("--sources", "none"))):
        assert tune(corpus, home / name, "--labels", "10", *more).exit_code == 0
    return home


def test_on_the_default_encoder_those_for_any_use_are_the_default(plan):
    assert sources_of(plan) == FREE
    assert sources_of(begun_with(plan, "none", "default")) == ()
    assert sources_of(begun_with(plan, "nemo, cremad", "default")) == ("nemo", "cremad")
    other = replace(plan, finetune=replace(plan.finetune, sources=()))
    assert sources_of(begun_with(other, "", "openai/whisper-base")) == ()


def test_a_file_of_settings_may_name_them(corpus, tmp_path):
    for given, wanted in (("finetune.discriminant = 0.4", FREE), ("finetune.sources = []", ())):
        (tmp_path / "some.toml").write_text(given)
        shown = tune(corpus, tmp_path / "x", "--config", str(tmp_path / "some.toml"), "--print-config").output
        (tmp_path / "whole.toml").write_text(shown)
        assert tuple(explain.read(tmp_path / "whole.toml")["finetune"]["sources"]) == wanted


def test_where_all_weights_are_trained_there_are_none(plan):
    full = replace(plan, finetune=in_mode(plan.finetune, "full"))
    assert begun_with(full, "", "default") == full
    with pytest.raises(InputError, match="of mode frozen"):
        begun_with(full, "cremad", "default")


def test_those_that_do_not_fit_are_left_out_and_it_is_said(plan, corpus):
    data, encoder = [Corpus.load(corpus)], hub.load("default")
    assert with_sources(plan, CLASSES, data, encoder) == (plan, "")
    number, others = Task("number", ("arousal",)), replace(plan, finetune=replace(plan.finetune, layers=(1, 2, 3)))
    words = Task("class", ("sentence",), ("first", "second", "sad"))
    cases = (plan, CLASSES, None), (plan, number, encoder), (others, CLASSES, encoder), (plan, words, encoder)
    for wanted, task, init in cases:
        left, said = with_sources(wanted, task, data, init)
        assert sources_of(left) == ()
        assert "CREMA-D and of JL-Corpus" in said


@pytest.mark.parametrize("by", ["name", "recording"])
def test_one_that_has_heard_somebody_of_the_corpus_is_left_out(plan, corpus, monkeypatch, by):
    data = Corpus.load(corpus)
    first = data.utterances[0]
    heard = {name: {"people": [], "contents": []} for name in ("cremad", "jl_corpus", "ravdess", "nemo")}
    if by == "name":
        heard["cremad"]["people"] = [person(first)]
    else:
        heard["cremad"]["contents"] = list(data.contents[first.id])
    monkeypatch.setattr(source_layers, "_heard", lambda: heard)
    left, said = with_sources(plan, CLASSES, [data], hub.load("default"))
    assert sources_of(left) == ("jl_corpus",)
    assert "CREMA-D" in said


def test_labels_that_are_not_for_commercial_use_are_named(corpus):
    plan = begun_with(hub.load("default").plan, "cremad,nemo", "default")
    left, said = with_sources(plan, CLASSES, [Corpus.load(corpus)], hub.load("default"))
    assert sources_of(left) == ("cremad", "nemo")
    assert "Not for commercial use" in said
    assert "nEMO (CC BY-NC-SA 4.0)" in said
    assert "CREMA-D" not in said


def test_a_run_tells_whose_labels_it_stands_on(corpus, tuned):
    told = json.loads((tuned / "free/fold1/config.json").read_text())
    assert tuple(told["settings"]["finetune"]["sources"]) == FREE
    assert [(s["title"], s["labels"]) for s in told["sources"]] == [("CREMA-D", 1999), ("JL-Corpus", 359)]
    assert "cremad/1001" in told["seen_speakers"]
    assert "cremad (ODbL 1.0)" in publish.data_of(told, {"synthetic": "none"})
    protocols = []
    for name in ("free", "none"):
        report, _ = evaluate.evaluate(runs.parts(tuned / name, "finetune"), jobs=1)
        protocols.append(report["protocol"])
    assert protocols[0]["labels of other corpora"].startswith("CREMA-D (1,999 labels, ODbL 1.0), JL-Corpus")
    assert "labels of other corpora" not in protocols[1]


def test_the_layer_is_of_as_many_features_and_another_one(tuned):
    free, none = (load_tensors(tuned / name / "fold1/model.safetensors") for name in ("free", "none"))
    assert {k: v.shape for k, v in free.items()} == {k: v.shape for k, v in none.items()}
    assert (free["network.out.weight"] - none["network.out.weight"]).norm() > 0.1 * none["network.out.weight"].norm()


def test_an_unknown_one_is_refused_by_name(corpus, tmp_path):
    with pytest.raises(InputError, match=r"'crema'.*'cremad'"):
        tune(corpus, tmp_path, "--sources", "crema")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Other voices with the same emotions, and a model of them."""
    home = tmp_path_factory.mktemp("others")
    options = {"speakers": 6, "per_speaker": 15, "emotions": 5, "difficulty": 0.05, "seconds": [0.8, 1.2], "seed": 7}
    prepare.prepare("synthetic", home / "audio", home / "elsewhere", options=options, jobs=1)
    for name in ("manifest.csv", "corpus.json"):  # of another name, as people are told apart by it
        path = home / "elsewhere" / name
        path.write_text(path.read_text().replace(",synthetic,", ",elsewhere,").replace('"synthetic"', '"elsewhere"'))
    assert tune(home / "elsewhere", home / "run", "--sources", "none", "--fold", "fold1").exit_code == 0
    return home / "run/fold1"


def test_what_one_corpus_has_taught_helps_the_next_one(corpus, others, tmp_path):
    """Two labels an emotion: a layer of the same emotions of other voices is worth more than none."""
    scores = {}
    for name in (str(others), "none"):
        folder = tmp_path / ("own" if name == "none" else "helped")
        words = ["--labels", "10", "--fold", "all", "--dev", "share", "--sources", name]
        assert tune(corpus, folder, *words).exit_code == 0
        report, _ = evaluate.evaluate(runs.parts(folder, "finetune"), jobs=1)
        scores[name] = report["metrics"]["ua"]["value"]
    assert scores[str(others)] > scores["none"] + 0.1
    told = json.loads((tmp_path / "helped/fold1/config.json").read_text())
    assert told["sources"][0]["identity"] == runs.Run.load(others).identity
    assert set(runs.Run.load(others).seen_speakers) < set(told["seen_speakers"])
    assert runs.Run.load(tmp_path / "helped/fold1").identity != runs.Run.load(tmp_path / "own/fold1").identity
    it = models.load_recognised(runs.Run.load(tmp_path / "helped/fold1"))
    publish.save(it, tmp_path / "public", publish.Provenance("MIT", ("x (CC0)",)))
    assert str(others.parent) not in (tmp_path / "public/config.json").read_text()


def test_a_run_that_knows_the_corpus_is_left_out(plan, corpus, tuned):
    name = str(tuned / "none/fold1")
    left, said = with_sources(begun_with(plan, name, "default"), CLASSES, [Corpus.load(corpus)], hub.load("default"))
    assert sources_of(left) == ()
    assert "has heard" in said or "called alike" in said


def test_a_run_of_other_features_is_no_source(corpus, tmp_path):
    assert tune(corpus, tmp_path / "run", "--set", "finetune.layers=1,2").exit_code == 0
    with pytest.raises(InputError, match="no source of a layer"):
        source_layers.named([str(tmp_path / "run/fold1")])
    with pytest.raises(InputError, match=r"one fold. Found 1. Name one, e.g. .*fold1"):
        source_layers.named([str(tmp_path / "run")])


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("SOTTOVOCE_DATA"), reason="SOTTOVOCE_DATA is not set")
def test_polish_actors_help_with_few_labels_of_english_ones(tmp_path):
    prepare.prepare("ravdess", Path(os.environ["SOTTOVOCE_DATA"]) / "ravdess_speech", tmp_path / "data", jobs=2)
    scores = {}
    for name in ("nemo", "none"):
        words = ["--labels", "16", "--fold", "all", "--dev", "share", "--sources", name]
        assert tune(tmp_path / "data", tmp_path / name, *words).exit_code == 0
        report, _ = evaluate.evaluate(runs.parts(tmp_path / name, "finetune"), jobs=1)
        scores[name] = report["metrics"]["ua"]["value"]
    assert scores["nemo"] > scores["none"] + 0.03
