"""`sottovoce evaluate`: a run's folds -> predictions.csv, report.json and report.html.

The only verb that reads the test part. Every score stands next to baselines, with an interval over whole
speakers (or videos); how everything was chosen and who was seen is part of the result.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce import report as pages
from sottovoce.config.finetuning import FineTuning, Frozen, Full, Probe
from sottovoce.config.settings import words
from sottovoce.data import own, runs
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.folds import compared_by, person, seen_by
from sottovoce.data.task import Task
from sottovoce.errors import InputError, unknown_name
from sottovoce.evaluation import calibration
from sottovoce.evaluation import groups as groups_of
from sottovoce.evaluation import lines as lines_of
from sottovoce.evaluation import protocol as cards
from sottovoce.evaluation.answered import Answered
from sottovoce.metrics import raters
from sottovoce.metrics import scores as metrics
from sottovoce.modeling import network
from sottovoce.pipeline import baselines, functionals, pooled
from sottovoce.pipeline.extract import plan_store
from sottovoce.pipeline.finetune import chooser, labelled

CHOSEN = {"full": "l2 of the probe, epoch", "frozen": "l2 of the probe", "probe": "learning rate, update"}  # by dev
READINGS = "test_readings.json"  # beside a run: when its test part was read, and by which command
DRAWS = 20  # of a random baseline, averaged


def report_on(
    run: Path,
    output: Path,
    *,
    opensmile: bool | None = None,
    feature_set: str = "eGeMAPSv02",
    speakers: str = "",
    groups: Sequence[str] = ("gender",),
    jobs: int | None = None,
    quiet: bool = True,
) -> dict:
    """Evaluate a run's folds into `output`: predictions.csv, report.json, report.html. Returns the report.

    Args:
        opensmile: functionals + SVM next to the trivial baselines; None = where openSMILE is there and there is audio.
        groups: columns of the manifest, whose values are compared.

    Raises:
        InputError: as `evaluate`.
    """
    found = runs.parts(run, "finetune")
    if opensmile is None:
        opensmile = functionals.has_opensmile() and not Corpus.load(found[0].config["corpus"]).info.get("tracks")
    report, table = evaluate(
        found,
        opensmile=feature_set if opensmile else "",
        speakers=speakers,
        groups=groups,
        jobs=jobs,
        quiet=quiet,
    )
    files.write_csv(output / "predictions.csv", table)
    calibration.write(output, report.get("calibration"))
    groups_of.write(output, report["subgroups"])
    files.write_json(output / cards.FILE, report["card"])
    files.write_text(output / "report.html", pages.evaluate_page(report))
    readings = run / READINGS
    with suppress(InputError):  # a run that cannot be written into
        files.write_json(
            readings, [*(own.read_json(readings, list[Any]) if readings.is_file() else []), report["made"]]
        )
    files.write_json(output / "report.json", report)  # last: `sottovoce run` takes it as the sign that all is there
    return report


def named(corpus: Corpus, text: str) -> set[str]:
    """Speakers by name, with commas, or by a range of the numbers that their names end in: 13-24. All of them for "".

    Raises InputError for one that the corpus has not.
    """
    known, found = {u.speaker for u in corpus.utterances} - {""}, set()
    for part in words(text):
        numbers = re.fullmatch(r"(\d+)-(\d+)", part)
        ends = {s: int(n[0]) for s in known if (n := re.search(r"\d+$", s))}
        own = {s for s, n in ends.items() if numbers and int(numbers[1]) <= n <= int(numbers[2])} | ({part} & known)
        if not own:
            raise unknown_name("--speakers", part, known)
        found |= own
    return found or known | {""}


def evaluate(
    found: Sequence[runs.Run],
    *,
    opensmile: str = "",
    speakers: str = "",
    groups: Sequence[str] = ("gender",),
    jobs: int | None = None,
    quiet: bool = True,
) -> tuple[dict, list[dict]]:
    """The report and the table of predictions of one fine-tuned run a fold, of some `speakers` alone where named.

    Raises:
        InputError: runs of different corpora or tasks in one folder, a corpus that changed since.
    """
    started = time.monotonic()
    _check_alike(found)
    corpus = Corpus.load(found[0].config["corpus"])
    it = network.load_recognised(found[0])
    # truth is as the corpus has it, whatever range of numbers the model was taught
    task = it.task if it.task.kind == "class" else Task.of(corpus, it.task.target)
    store = plan_store(corpus, it.plan, jobs=jobs, quiet=True)
    asked = named(corpus, speakers)
    utterances, of_fold, predictions, trivial, svm, trusted, untaught = [], [], [], [], [], [], []
    for run in found:
        fold = corpus.fold(run.config["fold"])
        check_unheard(corpus, fold, run)
        if run is not found[0]:
            it = network.load_recognised(run)
        if not (test := _tested(corpus, fold, task, store, speakers and asked)):
            continue
        heard = Steps([(store, test)], it.plan.frontend, it.statistics)
        plain = pooled.predict(it, heard, label=f"{run.folder}: encoding", quiet=quiet)
        predictions.append(it.calibration.apply(plain))
        trusted += [it.calibration] * len(test)
        fold = labelled(run, corpus, task)  # baselines know no other labels than the model
        known = [corpus.by_id[k] for k in fold.train]
        untaught.append(lines_of.untaught(task, known, fold.name))
        trivial.append(baselines.trivial(task, task.values(known), len(test), seed=0, draws=DRAWS))
        if opensmile:
            svm.append(_svm_on(corpus, fold, task, opensmile, it.plan.per_speaker, test, jobs))
        utterances += test
        of_fold += [fold.name] * len(test)
    if not utterances:
        raise InputError(f"--speakers {speakers}: in no test part here. Evaluate the folds that test them.")
    got = Answered(task, utterances, of_fold, task.values(utterances), np.concatenate(predictions))
    axis = -1 if task.kind == "class" else 0
    rivals = {name: np.concatenate([t[name] for t in trivial], axis=axis) for name in trivial[0]}
    rivals |= {f"opensmile {opensmile} + svm": np.concatenate(svm)} if opensmile else {}
    told = got.report()
    report: dict[str, Any] = {
        "title": f"{corpus.name}: {', '.join(task.target)}",
        **told,
        "mean_over_folds": {k: _mean([f["metrics"][k] for f in told["folds"]]) for k in told["folds"][0]["metrics"]},
        "baselines": {name: {"metrics": got.intervals(answer)} for name, answer in rivals.items()},
        "protocol": protocol(corpus, found, task),
        "card": _card(corpus, found, task, it.plan.finetune),
        "probes": probes(found),
        **groups_of.entries(groups_of.report(corpus, got, groups)),
        "config": found[0].config["settings"],
        "hardware": runs.hardware(),
        "made": runs.provenance(),
        "seconds": time.monotonic() - started,
    }
    said = [report["protocol"]["first_line"], *untaught, lines_of.untested(task, got.truth)]
    said += [f"Tested on {len(asked)} speakers alone: {', '.join(sorted(asked)[:4])}, ..."] * bool(speakers)
    said += [lines_of.constant(task, flat)] if (flat := metrics.flat(task, got.truth, got.predicted)) else []
    report["protocol"]["first_line"] = " ".join(filter(None, said)) or None
    if task.kind == "class":
        report["calibration"] = calibration.report(got, trusted)
        report["confusion"] = {"classes": task.classes, "counts": metrics.confusion(task, got.truth, got.predicted)}
        report["raters"] = against_raters(corpus, got)
    return report, table(got)


def _mean(scores: Sequence[float]) -> float:
    """Over the folds where a score is defined: one without a class has no recall of it."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def against_raters(corpus: Corpus, got: Answered) -> dict[str, Any]:
    """How near the probabilities come to the shares of the raters, next to those of the training part as the answer to
    everything; {} where nobody counted raters."""
    voted = Task.of(corpus, got.task.target)
    rows = np.array([any(name in u.labels for name in voted.shares) for u in got.utterances])
    if not rows.any() or voted.classes != got.task.classes:
        return {}
    means, own = {}, got.some(rows)
    for name in dict.fromkeys(got.folds):
        known = [corpus.by_id[k] for k in corpus.fold(name).train if voted.teaches(corpus.by_id[k])]
        means[name] = voted.distributions(known).mean(0, dtype=np.float64)
    said = voted.distributions(own.utterances)
    return {
        "n": len(said),
        "model": raters.distances(said, own.prediction, own.people),
        "training shares": raters.distances(said, np.stack([means[name] for name in own.folds]), own.people),
    }


def _card(corpus: Corpus, found: Sequence[runs.Run], task: Task, tuning: FineTuning) -> dict[str, Any]:
    """The protocol card of one fine-tuned run a fold."""
    return cards.card(
        corpus, [corpus.fold(run.config["fold"]) for run in found], task,
        choices=[cards.chosen(chooser(task, tuning), tuning, CHOSEN[tuning.mode])],
        budget={"labels": [run.config["labels"] for run in found], "trainings": len(found)},
        weights=found, seeds=[run.config["seed"] for run in found],
    )  # fmt: skip


def _tested(corpus: Corpus, fold: Fold, task: Task, store: Any, asked: Collection[str]) -> list[Utterance]:
    """The labelled test utterances of a fold, of some speakers alone where they are asked for.

    Raises InputError when there is none at all.
    """
    test = [u for k in fold.test if task.has(u := corpus.by_id[k]) and k in store]
    if not test:
        raise InputError(
            f"{corpus.folder}: no test utterance of {fold.name} has what is tested ({', '.join(task.target)}). Found "
            f"{len(fold.test)} without. Label some of them, or name another fold."
        )
    return [u for u in test if not asked or u.speaker in asked]


def _check_alike(found: Sequence[runs.Run]) -> None:
    """Raises InputError for runs of different subjects."""
    for other in found[1:]:
        if _subject(other) != _subject(found[0]):
            raise InputError(
                f"{other.folder}: another corpus, task or track than {found[0].folder}. Evaluate them apart."
            )


def _unlike(found: Sequence[runs.Run]) -> list[str]:
    """Settings of fine-tuning that are not those of all folds, and whether their seed is."""
    facts = [files.flatten(run.config["settings"]["finetune"]) | {"seed": run.config["seed"]} for run in found]
    names = dict.fromkeys(name for fact in facts for name in fact if not name.endswith(".seed"))
    return [name for name in names if len({str(fact.get(name)) for fact in facts}) > 1][:5]


def _subject(run: runs.Run) -> tuple:
    settings = run.config["settings"]
    task = {k: v for k, v in run.config["task"].items() if k != "ranges"}  # those are of the labels taught
    return run.config["corpus"], task, settings["track"], settings["track_config"]


def check_unheard(corpus: Corpus, fold: Fold, run: runs.Run) -> None:
    """Raises InputError when test speakers were seen in training and nobody allowed it: the folds have changed."""
    allowed = set(run.config.get("seen_test_speakers", ()))  # with --transductive
    allowed |= {person(corpus.by_id[k]) for k in (*fold.train, *fold.dev)}  # of leaky folds, which say so
    seen = set(seen_by(run).test_people([corpus], fold)) - allowed
    if seen:
        raise InputError(
            f"{run.folder}: trained on {len(seen)} test speakers of {fold.name} ({', '.join(sorted(seen)[:3])}). "
            f"{corpus.folder} was prepared with other folds since. Fine-tune again, or prepare it as it was."
        )


def protocol(corpus: Corpus, found: Sequence[runs.Run], task: Task) -> dict[str, Any]:
    """How the figures came about, in words; `first_line` when a reader must know it before anything else."""
    first = found[0].config
    groups = sorted({corpus.fold(run.config["fold"]).group for run in found})
    plan = found[0].plan
    lines = cautions([run.config for run in found])
    if unlike := _unlike(found):
        lines.append(f"Mixed: the folds were not made alike, they differ in {', '.join(unlike)}.")
    if "none" in groups:
        lines.append(lines_of.leaky(any(u.speaker for u in corpus.utterances)))
    tuning, seeds = plan.finetune, sorted({run.config["seed"] for run in found})
    tested = [corpus.by_id[k] for run in found for k in corpus.fold(run.config["fold"]).test]
    by, chosen = chooser(task, tuning), CHOSEN[tuning.mode]
    if isinstance(tuning, Probe):
        relu = " with ReLU" * (tuning.activation == "relu")
        layers = "weighted sum of all layers" if tuning.layer_aggregation == "weighted" else "last layer"
        head = f"frozen backbone: {layers}, projector to {tuning.project}{relu}, mean over time, linear"
    elif isinstance(tuning, Full) and tuning.loss == "amsoftmax":
        head = f"AM-Softmax on pooled states, scale {tuning.scale:g}, margin {tuning.margin:g}"
    else:
        gated = isinstance(tuning, Frozen) and tuning.gated
        layers = "two linear layers, with and without changed copies, and a gate," if gated else "linear"
        head = f"{layers} on pooled states" + ", backbone frozen" * (tuning.mode == "frozen")
    return {
        "first_line": " ".join(lines) or None,
        "folds": lines_of.folds(found, len(corpus.folds), groups),
        "training labels": ", ".join(sorted({f"{r.config['labels']} of {r.config['of_labels']}" for r in found})),
        "initial weights": first.get("init", "none"),
        **({"unlabelled recordings": said} if (said := _unlabelled(found)) else {}),
        **({"labels of other corpora": said} if (said := lines_of.sources(first.get("sources", []))) else {}),
        "normalisation": lines_of.normalisation(plan),
        "head": head,
        "dev": cards.PARTS[tuning.dev],
        "model selection": f"{by.upper()} on {'the test part' if tuning.dev == 'test' else 'dev'} ({chosen})",
        "test": "read while choosing" if tuning.dev == "test" else "read once, by this command",
        "intervals": lines_of.intervals((u.speaker, u.session) for u in tested if task.has(u)),
        "trainings": lines_of.trainings(1),
        "seed": ", ".join(map(str, seeds)),
        "people seen in training": lines_of.people({p for run in found for p in run.seen_speakers}, corpus),
        "compared with the people tested by": compared_by(found),
    }


def _unlabelled(found: Sequence[runs.Run]) -> str:
    """How many a layer has learned from under classes that it gave them itself; "" where none has."""
    counts = set()
    for run in found:
        if isinstance(run.plan.finetune, Frozen) and run.plan.finetune.self_training:
            history = own.read_json(run.folder / "history.json", dict[str, Any], "Make the run again.")
            counts.add(max((int(row.get("unlabelled", 0)) for row in history.get("probe", ())), default=0))
    if not any(counts):
        return ""
    many = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    return f"{many} of the training part, learned under classes that a teacher gave them (finetune.self_training)"


def cautions(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the scores of these fine-tuned runs must know before any figure."""
    lines = [lines_of.transductive({who for config in configs for who in config.get("seen_test_speakers", ())})]
    chosen_on = {config.get("settings", {}).get("finetune", {}).get("dev") for config in configs}
    if "superb" in chosen_on:
        lines.append("Chosen on SUPERB's dev part, a random fifth of training whose speakers were trained on.")
    if "test" in chosen_on:
        lines.append("Leaky: l2 and epoch were chosen on the test part; the figures flatter.")
    return [line for line in lines if line]


def probes(found: Sequence[runs.Run]) -> list[dict[str, Any]]:
    """Of every fold's published head: what dev chose, the readings it chose from, and what each layer weighs."""
    rows = []
    for run in found:
        if run.config["settings"]["finetune"]["mode"] != "probe":
            continue
        history = own.read_json(run.folder / "history.json", dict[str, Any], "Make the run again.")
        mix = network.load_recognised(run).network.pooling.mix
        weights = [] if mix is None else mix.softmax(0).tolist()  # what comes before the first block, then every block
        rows.append({"fold": run.config["fold"], "layers": weights} | history)
    return rows


def table(got: Answered) -> list[dict[str, Any]]:
    """One row an utterance; probabilities of every class, or truth and prediction of every target."""
    rows, task = [], got.task
    for u, fold, y, a in zip(got.utterances, got.folds, got.truth, got.prediction, strict=True):
        row = lines_of.row(u, fold)
        if task.kind == "class":
            row |= {"target": task.classes[int(y)], "predicted": task.classes[int(a.argmax())]}
            row |= {f"p_{name}": round(float(p), 6) for name, p in zip(task.classes, a, strict=True)}
        else:
            row |= {f"target_{n}": round(float(v), 6) for n, v in zip(task.target, y, strict=True)}
            row |= {f"predicted_{n}": round(float(v), 6) for n, v in zip(task.target, a, strict=True)}
        rows.append(row)
    return rows


def _svm_on(
    corpus: Corpus, fold: Fold, task: Task, feature_set: str, norm: bool, test: Sequence[Utterance], jobs: int | None
) -> np.ndarray:
    labelled = [k for k in fold.test if task.has(corpus.by_id[k])]
    predicted = baselines.functionals_svm(corpus, fold, task, feature_set, speaker_norm=norm, jobs=jobs)
    index = {key: k for k, key in enumerate(labelled)}
    return predicted[[index[u.id] for u in test]]
