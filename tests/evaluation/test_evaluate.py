"""Evaluation: the whole way beats chance where there is something to hear and does not where there is nothing;
every figure can be computed again from predictions.csv."""

import csv
import json
import shutil
from dataclasses import replace

import csd_layouts
import layouts
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, mean_absolute_error

from sottovoce.commands import evaluate as evaluate_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.commands import study as study_command
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.evaluation import evaluate
from sottovoce.metrics import scores as metrics

SIX = ("happy", "sad", "anger", "surprise", "disgust", "fear")


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def table_of(folder):
    with open(folder / "predictions.csv", newline="") as lines:
        return list(csv.DictReader(lines))


def walk(corpus, folder, settings, **options):
    """Fine-tune all folds from scratch and evaluate; the report."""
    finetune_command.main(
        corpus, folder, fold="all", settings=list(settings), quiet=True, jobs=1, **({"init": "none"} | options)
    )
    evaluate_command.main(folder, opensmile=False, quiet=True)
    return report_of(folder)


@pytest.fixture(scope="module")
def intensities(corpus, pretrained):
    """A regressor of six intensities, evaluated."""
    folder = pretrained.parent / "six"
    more = ["finetune.training.epochs=6", "finetune.training.lr=0.003"]
    finetune_command.main(
        corpus, folder, init=str(pretrained), fold="all", target=",".join(SIX), settings=more, quiet=True, jobs=1
    )
    evaluate_command.main(folder, opensmile=False, quiet=True)
    return folder


# ---------------------------------------------------------------------------------------------- the whole way


def test_the_whole_way_beats_chance_on_new_speakers(evaluated):
    report = report_of(evaluated)
    assert report["metrics"]["ua"]["low"] > 1 / 5
    assert report["metrics"]["ua"]["value"] > 0.6
    for name, scores in report["baselines"].items():
        assert scores["metrics"]["ua"]["value"] == pytest.approx(1 / 5, abs=0.05), name


def test_shuffled_labels_give_chance(tiny, tmp_path):
    """Two corpora, eight folds, 160 test utterances: a UA of 0.2 has a standard error of 0.032."""
    from sottovoce.pipeline import prepare

    found, n = [], 0
    for seed in (1, 2):
        home = tmp_path / str(seed)
        options = {"speakers": 8, "per_speaker": 10, "difficulty": 0.05, "seconds": [0.5, 0.7], "seed": seed}
        prepare.prepare("synthetic", home / "audio", home / "data", options=options | {"shuffle_labels": True}, jobs=1)
        report = walk(home / "data", home / "ft", tiny, mode="frozen")
        found.append(report["metrics"]["ua"]["value"])
        n += report["n"]
    assert n == 160
    assert np.mean(found) == pytest.approx(0.2, abs=3.5 * np.sqrt(0.2 * 0.8 / n))


def test_six_intensities_beat_the_median_of_training(intensities):
    report = report_of(intensities)
    ours, median = report["metrics"]["mae"], report["baselines"]["train_median"]["metrics"]["mae"]
    assert ours["value"] < 0.8 * median["value"]
    assert ours["high"] < median["low"]
    assert report["metrics"]["ccc"]["low"] > 0
    assert report["task"]["kind"] == "number"
    assert {"acc4", "acc4_happy", "mae_fear", "wacc", "f1", "ccc_sad"} <= set(report["metrics"])
    assert set(report["baselines"]) == {"zero", "train_median", "train_mean"}


# ---------------------------------------------------------------------------------------------- the report


def test_report_has_the_keys_others_rely_on(evaluated):
    report = report_of(evaluated)
    keys = {"metrics", "folds", "baselines", "config", "protocol", "task", "confusion", "n", "speakers", "made"}
    assert keys <= set(report)
    classes = report["task"]["classes"]
    assert {"wa", "ua", "macro_f1", *(f"{kind}_{c}" for kind in ("recall", "f1") for c in classes)} <= set(
        report["metrics"]
    )
    for name, score in report["metrics"].items():
        assert name == name.lower()
        assert set(score) >= {"value", "low", "high"}
        if score["low"] is not None:
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert set(report["baselines"]) == {"majority", "chance", "uniform"}
    assert report["config"]["name"] == "masked_timesteps"
    assert {"first_line", "folds", "normalisation", "initial weights", "intervals", "test"} <= set(report["protocol"])
    assert report["protocol"]["first_line"] is None
    assert report["protocol"]["folds"] == "4 of 4, disjoint by speaker"
    assert report["protocol"]["training labels"] == "40 of 40"


def test_class_scores_equal_scikit_learn_on_the_table(evaluated):
    rows, report = table_of(evaluated), report_of(evaluated)
    target, predicted = [r["target"] for r in rows], [r["predicted"] for r in rows]
    found = {name: score["value"] for name, score in report["metrics"].items()}
    assert found["ua"] == pytest.approx(balanced_accuracy_score(target, predicted))
    assert found["wa"] == pytest.approx(accuracy_score(target, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(target, predicted, average="macro"))
    classes = report["confusion"]["classes"]
    np.testing.assert_array_equal(report["confusion"]["counts"], confusion_matrix(target, predicted, labels=classes))
    for name, value in zip(classes, f1_score(target, predicted, labels=classes, average=None), strict=True):
        assert found[f"f1_{name}"] == pytest.approx(value)


def test_number_scores_equal_scikit_learn_on_the_table(intensities):
    rows, report = table_of(intensities), report_of(intensities)
    target, predicted = (np.array([[float(r[f"{kind}_{n}"]) for n in SIX] for r in rows])
                         for kind in ("target", "predicted"))  # fmt: skip
    assert report["metrics"]["mae"]["value"] == pytest.approx(mean_absolute_error(target, predicted), abs=1e-6)
    assert report["metrics"]["mae_sad"]["value"] == pytest.approx(
        mean_absolute_error(target[:, 1], predicted[:, 1]), abs=1e-6
    )
    same = np.floor(target + 0.5) == np.floor(predicted + 0.5)  # half-up
    assert report["metrics"]["acc4"]["value"] == pytest.approx(same.mean(), abs=1e-3)


def test_the_table_holds_every_test_utterance_once_with_its_truth(evaluated, corpus):
    data, rows = Corpus.load(corpus), table_of(evaluated)
    labelled = {u.id for u in data.utterances if u.labels}
    assert len(rows) == len(labelled)
    assert {r["id"] for r in rows} == labelled
    of_fold = {k: f.name for f in data.folds for k in f.test}
    for row in rows:
        u = data.by_id[row["id"]]
        assert (row["fold"], row["speaker"], row["gender"]) == (of_fold[u.id], u.speaker, u.gender)
        assert row["target"] == u.labels["emotion"]
        shares = {k[2:]: float(v) for k, v in row.items() if k.startswith("p_")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert max(shares, key=shares.__getitem__) == row["predicted"]


def test_folds_are_scored_apart_and_pooled(evaluated):
    rows, report = table_of(evaluated), report_of(evaluated)
    assert [f["name"] for f in report["folds"]] == ["fold1", "fold2", "fold3", "fold4"]
    for fold in report["folds"]:
        own = [r for r in rows if r["fold"] == fold["name"]]
        assert fold["n"] == len(own)
        assert fold["metrics"]["wa"] == pytest.approx(
            accuracy_score([r["target"] for r in own], [r["predicted"] for r in own])
        )
    mean = np.mean([f["metrics"]["wa"] for f in report["folds"]])
    assert report["mean_over_folds"]["wa"] == pytest.approx(mean)
    assert report["n"] == sum(f["n"] for f in report["folds"]) == 80
    assert report["speakers"] == 8


def test_intervals_resample_speakers_as_statistics_do(evaluated):
    from sottovoce.metrics import statistics

    rows, report = table_of(evaluated), report_of(evaluated)
    task = Task("class", ("emotion",), tuple(report["task"]["classes"]))
    place = {c: k for k, c in enumerate(task.classes)}
    target, predicted = (np.array([place[r[key]] for r in rows]) for key in ("target", "predicted"))
    again = statistics.intervals(task, target, predicted, [f"synthetic/{r['speaker']}" for r in rows])
    for name in ("ua", "wa", "macro_f1"):
        assert report["metrics"][name] == pytest.approx(again[name])


def test_one_fold_can_be_scored_alone(evaluated, tmp_path):
    evaluate_command.main(evaluated / "fold2", output=tmp_path / "one", opensmile=False, quiet=True)
    assert {r["fold"] for r in table_of(tmp_path / "one")} == {"fold2"}
    assert report_of(tmp_path / "one")["protocol"]["folds"] == "1 of 4, disjoint by speaker"
    assert [r for r in table_of(evaluated) if r["fold"] == "fold2"] == table_of(tmp_path / "one")
    made = {
        "predictions.csv",
        "report.json",
        "report.html",
        "calibration.csv",
        "risk_coverage.csv",
        "groups.csv",
        "protocol.json",
    }
    assert {p.name for p in (tmp_path / "one").iterdir()} == made


def test_evaluating_twice_gives_the_same_figures(evaluated, tmp_path):
    evaluate_command.main(evaluated, output=tmp_path, opensmile=False, quiet=True)
    assert (tmp_path / "predictions.csv").read_bytes() == (evaluated / "predictions.csv").read_bytes()
    first, second = report_of(evaluated), report_of(tmp_path)
    assert {k: first[k] for k in ("metrics", "folds", "baselines")} == {
        k: second[k] for k in ("metrics", "folds", "baselines")
    }


def test_the_page_shows_the_score_and_needs_no_network(evaluated):
    page, report = (evaluated / "report.html").read_text(), report_of(evaluated)
    assert f"{report['metrics']['ua']['value']:.3f}" in page
    assert "src=" not in page.replace('src="data:', "")
    assert "Transductive" not in page


def test_the_terminal_table_stands_beside_the_baselines(evaluated, capsys):
    evaluate_command.main(evaluated, opensmile=False)
    out = capsys.readouterr().out
    assert f"{report_of(evaluated)['metrics']['ua']['value']:.3f}" in out
    assert all(word in out for word in ("this run", "majority", "chance", "Report:", "UA", "macro-F1"))


@pytest.mark.slow
def test_functionals_with_an_svm_stand_beside_it(corpus, tiny, tmp_path):
    pytest.importorskip("opensmile")
    shutil.copytree(corpus, tmp_path / "data")
    finetune_command.main(
        tmp_path / "data", tmp_path / "ft", settings=tiny, mode="frozen", quiet=True, jobs=1, init="none"
    )
    evaluate_command.main(tmp_path / "ft", opensmile=True, jobs=1, quiet=True)
    svm = report_of(tmp_path / "ft")["baselines"]["opensmile eGeMAPSv02 + svm"]["metrics"]
    assert svm["ua"]["value"] > 0.4


# ---------------------------------------------------------------------------------------------- the protocol


def test_normalisation_by_speaker_is_stated(corpus, pretrained, tmp_path):
    finetune_command.main(
        corpus, tmp_path / "ft", init=str(pretrained), speaker_norm=True, mode="frozen", quiet=True, jobs=1
    )
    evaluate_command.main(tmp_path / "ft", opensmile=False, quiet=True)
    said = report_of(tmp_path / "ft")["protocol"]["normalisation"]
    assert said == "per speaker, from all of a speaker's recordings: uses the unlabelled audio of test speakers"
    assert "unlabelled audio of test speakers" in (tmp_path / "ft/report.html").read_text()


def test_plain_normalisation_is_stated_too(evaluated):
    assert report_of(evaluated)["protocol"]["normalisation"] == "mean and deviation of the training part"


def test_folds_that_share_speakers_are_called_leaky(evaluated, corpus):
    data, found = Corpus.load(corpus), runs.parts(evaluated, "finetune")
    leaky = replace(data, folds=tuple(replace(f, group="none") for f in data.folds))
    assert evaluate.protocol(leaky, found, Task.of(data))["first_line"].startswith("Leaky:")


def test_folds_that_were_not_made_alike_are_called_mixed(finetuned, tmp_path):
    folder = shutil.copytree(finetuned, tmp_path / "mixed")
    homes = sorted(path.parent for path in folder.glob("*/config.json"))
    config = json.loads((homes[-1] / "config.json").read_text())
    config["seed"] += 1
    (homes[-1] / "config.json").write_text(json.dumps(config))
    evaluate_command.main(folder, opensmile=False, quiet=True)
    mixed = "Mixed: the folds were not made alike, they differ in seed."
    assert (mixed in (report_of(folder)["protocol"]["first_line"] or "")) == (len(homes) > 1)


def test_a_run_of_a_later_version_is_not_read(finetuned, tmp_path):
    folder = shutil.copytree(finetuned, tmp_path / "later")
    for path in folder.glob("*/config.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match="of format 99"):
        evaluate_command.main(folder, opensmile=False, quiet=True)


def test_a_corpus_prepared_with_other_folds_is_not_scored(corpus, pretrained, tmp_path):
    """Whoever was trained on is not tested, even if folds.json says so now."""
    shutil.copytree(corpus, tmp_path / "data")
    finetune_command.main(tmp_path / "data", tmp_path / "ft", init=str(pretrained), mode="frozen", quiet=True, jobs=1)
    data = Corpus.load(tmp_path / "data")
    first, second, *rest = data.folds
    swapped = (replace(second, name="fold1"), replace(first, name="fold2"), *rest)
    replace(data, folds=swapped).save()
    with pytest.raises(InputError, match=r"trained on 2 test speakers of fold1 .*prepared with other folds"):
        evaluate_command.main(tmp_path / "ft", opensmile=False, quiet=True)
    assert not (tmp_path / "ft/report.json").exists()


def test_runs_of_different_tasks_are_not_pooled(finetuned, intensities, tmp_path):
    shutil.copytree(finetuned / "fold1", tmp_path / "fold1")
    shutil.copytree(intensities / "fold2", tmp_path / "fold2")
    with pytest.raises(InputError, match=r"another corpus, task or track"):
        evaluate_command.main(tmp_path, opensmile=False, quiet=True)


# ---------------------------------------------------------------------------------------------- every kind of corpus


def few(tiny, *drop):
    return [s for s in tiny if not s.startswith(drop)]


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_the_commands_as_written_work_on_your_own_recordings(kind, sottovoce, tiny, tmp_path, monkeypatch):
    """prepare, extract, pretrain, finetune, evaluate, study, predict on a folder of classes and on a CSV."""
    monkeypatch.chdir(tmp_path)
    if kind == "folder":
        layouts.folder(tmp_path / "mine", speakers=4, each=1)
        source = ["mine", "--speaker-pattern", r"(s\d+)_"]
    else:
        layouts.table(tmp_path / "mine", speakers=4, each=1)
        source = ["mine/data.csv"]
    settings = [word for s in few(tiny, "track.") for word in ("--set", s)]
    clip = sorted((tmp_path / "mine").rglob("*.wav"))[0]
    together = sorted(clip.parent.glob("*.wav"))
    for words in (
        ["prepare", kind, *source, "-o", "data/mine", "-q"],
        ["extract", "data/mine", "--track", "fbank"],
        ["pretrain", "masked_timesteps", "data/mine", "-o", "runs/pre", "--tracker", "none", "-q", *settings],
        ["finetune", "data/mine", "--init", "runs/pre", "-o", "runs/ft", "-q"],
        ["evaluate", "runs/ft", "--no-opensmile"],
        ["study", "data/mine", "--init", "runs/pre", "--labels", "50%,100%", "--seeds", "2", "-o", "runs/study",
         "--jobs", "1", "--tune", "none", "-q"],
        ["predict", "runs/ft", clip, clip.parent, "--timeline", "-o", "out.csv"],
    ):  # fmt: skip
        done = sottovoce(*words)
        assert done.code == 0, (words, done.out, done.err)
    assert {"ua", "wa"} <= set(report_of(tmp_path / "runs/ft")["metrics"])
    assert report_of(tmp_path / "runs/ft")["speakers"] == 1
    assert (tmp_path / "runs/study/report.html").exists()
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 1 + len(together)
    pages = sorted(p.stem for p in (tmp_path / "out").glob("*.html"))  # named twice, heard once
    assert pages == [p.stem for p in together]


@pytest.fixture(scope="module")
def encoded(tiny, tmp_path_factory):
    """CMU-MOSEI's layout: COVAREP in .csd files, six intensities; pre-trained, fine-tuned and evaluated."""
    from sottovoce.pipeline import prepare

    home = tmp_path_factory.mktemp("mosei")
    csd_layouts.mosei(home / "csd", n_videos=14, per_video=4)
    prepare.prepare("mosei", home / "csd", home / "data")
    settings = few(tiny, "track.", "frontend.") + [
        "frontend.subsampling=5",
        "frontend.subsample=mean",
        "frontend.trim_db=0",
    ]
    settings += ["training.feature_stretch=0", "finetune.training.feature_stretch=0"]
    pretrain_command.main(
        "masked_timesteps", [home / "data"], home / "pre", settings=settings, tracker="none", quiet=True
    )
    finetune_command.main(home / "data", home / "ft", init=str(home / "pre"), quiet=True)
    evaluate_command.main(home / "ft", quiet=True)
    return home


def test_encoded_features_go_the_whole_way(encoded):
    report = report_of(encoded / "ft")
    assert report["config"]["track"] == "covarep"
    assert report["task"]["target"] == list(SIX)
    assert report["metrics"]["mae"]["value"] < report["baselines"]["zero"]["metrics"]["mae"]["value"] + 0.2
    assert {"acc4", "wacc", "f1", "ccc"} <= set(report["metrics"])
    assert report["protocol"]["intervals"].startswith("none: 1 speaker; fewer than 4")


def test_encoded_features_have_a_study(encoded):

    study_command.main(
        encoded / "data",
        encoded / "study",
        init=str(encoded / "pre"),
        labels="25%,100%",
        seeds=2,
        jobs=1,
        quiet=True,
        tune="none",
    )
    result = json.loads((encoded / "study/study.json").read_text())
    assert (result["metric"], result["higher_is_better"]) == ("ccc", True)
    assert set(result["per_class"]) == set(SIX)


def test_a_model_of_encoded_features_hears_a_recording(encoded, sottovoce, tmp_path):
    path = layouts.noise(tmp_path / "clip.wav", seconds=1.0)
    sottovoce("predict", encoded / "ft", path, "--timeline", "--window", "0.5", "-o", tmp_path / "out.csv")
    head, row = (tmp_path / "out.csv").read_text().splitlines()
    assert head.split(",")[-7:-1] == list(SIX)
    assert np.isfinite([float(v) for v in row.split(",")[-7:-1]]).all()


def test_a_model_of_words_cannot_hear_a_recording_and_says_so(encoded):
    from dataclasses import replace

    from sottovoce.data.track import Track
    from sottovoce.inference import recogniser

    model = recogniser.load(encoded / "ft")
    model.plan = replace(model.plan, frontend=replace(model.plan.frontend, subsampling=1))
    with pytest.raises(InputError, match="word-aligned"):
        model.frames(Track(np.zeros(16_000, np.float32), 16_000))


def test_weights_of_one_kind_of_corpus_do_not_go_with_the_other(encoded, pretrained, corpus, tmp_path):
    with pytest.raises(InputError, match="no audio to make fbank from"):
        finetune_command.main(encoded / "data", tmp_path / "a", init=str(pretrained), quiet=True)
    with pytest.raises(InputError, match="no track in common"):
        pretrain_command.main("masked_timesteps", [corpus, encoded / "data"], tmp_path / "c", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_undefined_scores_are_null_in_the_report(evaluated, tmp_path):
    """A class that no test speaker of a fold says has no recall there: null, and never a bare NaN in JSON."""
    from sottovoce import files

    task = Task("class", ("emotion",), ("a", "b"))
    files.write_json(tmp_path / "x.json", metrics.scores(task, np.array([0]), np.array([0])))
    assert json.loads((tmp_path / "x.json").read_text())["recall_b"] is None


def test_calibration_is_of_the_table_of_predictions(evaluated):
    report, rows = report_of(evaluated)["calibration"], table_of(evaluated)
    names = [name for name in rows[0] if name.startswith("p_")]
    p = np.array([[float(row[name]) for name in names] for row in rows])
    right = np.array([row["target"] == row["predicted"] for row in rows])
    onehot = np.array([[name == f"p_{row['target']}" for name in names] for row in rows])
    assert report["metrics"]["brier"]["value"] == pytest.approx(((p - onehot) ** 2).sum(1).mean(), abs=1e-4)
    assert report["fitted_on"] == "dev"
    assert len(report["temperatures"]) == 4
    answered = p.max(1) >= 0.5
    point = report["operating_point"]
    assert point["coverage"]["value"] == pytest.approx(answered.mean(), abs=0.01)
    assert point["answered"]["wa"]["value"] == pytest.approx(right[answered].mean(), abs=0.01)
    with open(evaluated / "risk_coverage.csv", newline="") as lines:
        last = list(csv.DictReader(lines))[-1]
    assert (float(last["coverage"]), float(last["risk"])) == pytest.approx((1, 1 - right.mean()))
    assert "Can its confidence be trusted" in (evaluated / "report.html").read_text()
