"""Whether people would agree with an intensity model: the page of `sottovoce pretrain strengthnet`, and other corpora.

Nobody labels intensity: an emotional utterance is above a neutral one, and that is all the ranking is told
(`objectives/_ranking.py`). A corpus that does have intensity labels (RAVDESS: normal, strong) is never trained on them;
they, and neutral speech, tell at the end how far ranking, network and plain energy order people not seen in training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce import report as pages
from sottovoce.config.recipe import Recipe
from sottovoce.data import folds, own, runs
from sottovoce.data.batching import sequential
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.store import TrackStore
from sottovoce.data.track import Track
from sottovoce.errors import InputError, say
from sottovoce.metrics import agreement
from sottovoce.metrics.relative_attributes import Ranking, Scale
from sottovoce.modeling import network
from sottovoce.modeling.loop import State
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives._ranking import LABEL, Lesson, emotion_of, require
from sottovoce.objectives.strength import Objective, loss_of
from sottovoce.pipeline import functionals
from sottovoce.pipeline.extract import plan_store, track_store
from sottovoce.pipeline.monitor import curves
from sottovoce.pipeline.pretrain_data import PretrainData

INTENSITY = "intensity"  # column of the manifest
PANELS = 4  # utterances drawn on the page
COLUMNS = {  # of the page -> of the log
    **{"loss": "train_loss", "heldout_loss": "heldout_loss"},
    **{"heldout_mae": "heldout_mae", "heldout_ua": "heldout_ua"},
}
STEPS = {"step": "update", "heldout_step": "heldout_loss"}
FLATTERING = "Split at random, as released: dev and test share their speakers with training; the figures flatter."


class Agreement:
    """What is looked at while StrengthNet is trained, and shown afterwards: see `monitor.Health`."""

    metric = "heldout_loss"

    def __init__(self, data: PretrainData, objective: Objective):
        self.data, self.objective = data, objective
        self.truth = objective.targets(data.dev)

    def validate(self, model: Objective) -> dict[str, float]:
        """Dev loss and its parts, that of constants, and UA of the emotion branch; padding is never read here."""
        dev, target, device = self.data.dev, self.truth, next(model.parameters()).device
        total, named, baseline = np.zeros(3), np.zeros(len(target), dtype=bool), 0.0
        with torch.inference_mode():
            for rows in sequential(dev.lengths, batch_steps=4000):
                batch = dev.batch(rows, target=target).to(device)
                wanted = batch.target
                assert wanted is not None
                judged = model.judge(batch.x, batch.lengths)
                loss = loss_of(judged, wanted)
                total += [loss.total.item(), float(loss.logs["mae"]) * len(rows), len(rows)]
                baseline += model.baseline(batch, RowRandom(batch.seeds)).total.item()
                named[rows] = (judged.emotion.argmax(1) == wanted[:, 1]).cpu().numpy()
        ua = np.mean([named[target[:, 1] == k].mean() for k in np.unique(target[:, 1])])
        return {
            "heldout_loss": total[0] / total[2],
            "heldout_mae": total[1] / total[2],
            "heldout_ua": float(ua),
            "trivial_loss": baseline / total[2],
        }

    def write(self, folder: Path, state: State) -> None:
        data, objective, plan = self.data, self.objective, self.data.plan
        config, start = plan.objective_config, data.start
        rows: list[dict[str, Any]] = []
        panels: list[dict[str, Any]] = []
        for it, store in zip(objective.lessons.values(), data.stores, strict=True):
            energy = track_store(it.corpus, "energy", jobs=start.jobs, quiet=start.quiet)
            found, drawn = judge(it, objective, plan, data.statistics, store, energy)
            rows += [{"fold": data.fold, **row} for row in found]
            panels += drawn
        report = {
            "title": f"{plan.name}, {data.fold}",
            "first_line": FLATTERING if config.split == "random" else None,
            "parameters": sum(p.numel() for p in objective.parameters()),
            "corpora": data.summary(),
            "fold": data.fold,
            "emotions": config.names,
            "neutral": config.neutral,
            "functionals": config.functionals + (", standardised within each speaker" if config.speaker_norm else ""),
            "exposure": f"{len(data.seen.people)} people",
            "agreement": agreement.agree(rows),
            "warnings": warnings(state.history),
            "curves": curves(state.history, COLUMNS, STEPS, ("trivial_loss",)),
            "seconds": state.seconds,
            "hardware": runs.hardware(),
            "config": files.plain(plan),
        }
        files.write_csv(folder / "agreement.csv", rows)
        rankings = {name: ranking_of(it, config.functionals, plan) for name, it in objective.lessons.items()}
        files.write_json(folder / "ranking.json", rankings)
        files.write_json(folder / "report.json", report)
        files.write_text(folder / "report.html", pages.strength_page(report | {"panels": panels}))


def over_folds(name: str, output: Path, folds: Sequence[str]) -> Path:
    """The agreement of the models of several folds, each on its own test people: report.json and report.html."""
    rows = [row for fold in folds for row in agreement.read_rows(output / fold / "agreement.csv")]
    report = {"title": f"{name}, {len(folds)} folds", "fold": f"{len(folds)} folds", "agreement": agreement.agree(rows)}
    files.write_json(output / "report.json", report)
    files.write_text(output / "report.html", pages.strength_page(report))
    return output / "report.html"


def judge(
    it: Lesson, objective: Any, plan: Recipe, statistics: Any, store: TrackStore, energy: TrackStore
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows for `agreement.agree` of all utterances not trained on, and pictures of a few."""
    labels = intensities(it.corpus)
    parts = {"test": [*it.test, *it.neutral["test"]], "heldout": [*it.dev, *it.neutral["dev"]]}  # as tables call them
    sides = {u.id: name for name, part in parts.items() for u in part}
    asked = [u for u in it.corpus.utterances if u.id in sides and u.id in store and u.id in energy]
    drawn = {u.id for u in spaced(sorted(it.test or it.dev, key=it.score), PANELS)}
    frontend = replace(plan.frontend, trim_db=0.0)
    steps = Steps([(store, asked)], frontend, statistics)
    offset_s = store.offset_s + frontend.centre_s(store.rate_hz)
    rows, panels = [], []
    for u, frames in network.framewise(steps, objective.frames, next(objective.parameters()).device):
        emotion, known = emotion_of(u), emotion_of(u) in it.rankings
        level = energy.track(u.id).align(Track(np.empty(len(frames)), steps.rate_hz, offset_s)).values.reshape(-1)
        row = {
            **{"part": sides[u.id], "corpus": it.corpus.name, "id": u.id, "person": folds.person(u)},
            **{"emotion": emotion, "neutral": not known},
            "intensity": labels.get(u.id) if known else None,
            "target": it.score(u) if known else None,
            **{"strength": float(frames.mean()), "energy": float(level.mean())},
            **{"follows_energy": correlation(frames, level), "moves": float(frames.std())},
            **{f"rank_{e}": it.rank(u, e) for e in it.rankings},
        }
        rows.append(row)
        if u.id in drawn:
            shown = {"rate_hz": steps.rate_hz, "features": store[u.id], "frames": frames, "energy_frames": level}
            panels.append(row | shown | {"said": u.labels.get(INTENSITY)})
    return rows, panels


def intensities(corpus: Corpus) -> dict[str, float]:
    """id -> the corpus's own intensity label as a number: the index among its classes, or the number itself."""
    kind = corpus.kinds.get(INTENSITY)
    if kind is None:
        return {}
    order = corpus.classes.get(INTENSITY, ())
    return {
        u.id: float(order.index(u.labels[INTENSITY])) if kind == "class" else float(u.labels[INTENSITY])
        for u in corpus.utterances
        if INTENSITY in u.labels
    }


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; NaN where one of them does not move."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")


def spaced(items: Sequence[Any], many: int) -> list[Any]:
    """`many` of them, from the first to the last at even distances."""
    return [items[k * (len(items) - 1) // max(many - 1, 1)] for k in range(min(many, len(items)))]


def ranking_of(it: Lesson, kind: str, plan: Recipe) -> dict[str, Any]:
    """All that ranks an utterance from its functionals; `taught_elsewhere` reads it."""
    return {
        "functionals": kind,
        "speaker_norm": plan.objective_config.speaker_norm,
        "mean": it.scale.mean,
        "std": it.scale.std,
        "emotions": {emotion: asdict(ranking) for emotion, ranking in it.rankings.items()},
    }


def warnings(history: Sequence[Mapping[str, float]]) -> list[str]:
    """What a person should know before masking by this."""
    dev = [row["heldout_loss"] for row in history if "heldout_loss" in row]
    if not dev:
        return ["Not a single epoch was trained: the weights are random."]
    if min(dev) > 0.99 * history[-1]["trivial_loss"]:
        return ["The dev loss is no better than that of constants: what moves within an utterance is arbitrary."]
    return []


# -------------------------------------------------------------------------------------------------- another corpus


def evaluate(run: Path, corpus: Corpus, output: Path, *, jobs: int | None = None, quiet: bool = False) -> None:
    """An intensity model on a corpus it was not trained on: agreement-NAME.csv, .json and .html in `output`.

    Of a corpus it was trained on, only those people are judged whom it has not seen.

    Raises:
        InputError: no intensity model, a corpus without emotions the model knows, or one it has seen as a whole.
    """
    found = runs.parts(run, "pretrain")[0]
    if "functionals" not in found.config:
        raise InputError(
            f"{found.folder}: no intensity model. Found one of {found.config.get('recipe')}. Leave out --on."
        )
    objective, it = network.load_objective(found)
    config = it.plan.objective_config
    require([corpus], config.neutral)
    people = {folds.person(u) for u in corpus.utterances}
    people -= folds.seen_by(found).people_in(corpus, people)
    unheard = [u for u in corpus.utterances if LABEL in u.labels and folds.person(u) in people]
    lesson = taught_elsewhere(found, corpus, unheard, jobs, quiet)
    if not lesson.test:
        raise InputError(
            f"{corpus.folder}: nobody to judge. Found {len(unheard)} utterances of people whom {found.folder} has not "
            f"seen, none of them {', '.join(lesson.rankings)}. Use another corpus."
        )
    store = plan_store(corpus, it.plan, jobs=jobs, quiet=quiet)
    energy = track_store(corpus, "energy", jobs=jobs, quiet=quiet)
    rows, panels = judge(lesson, objective, it.plan, it.statistics, store, energy)
    rows = [{"fold": found.config["fold"], **row} for row in rows]
    report = {
        "title": f"{found.config['recipe']} {found.config['fold']} on {corpus.name}",
        "fold": found.config["fold"],
        "emotions": list(lesson.rankings),
        "neutral": config.neutral,
        "functionals": found.config["functionals"],
        "exposure": f"{len(found.seen_speakers)} people, none of these",
        "agreement": agreement.agree(rows),
        "hardware": runs.hardware(),
    }
    name = f"agreement-{files.folder_name(corpus.name)}"
    files.write_csv(output / f"{name}.csv", rows)
    files.write_json(output / f"{name}.json", report)
    files.write_text(output / f"{name}.html", pages.strength_page(report | {"panels": panels}))
    if not quiet:
        for asked in ("intensity", "neutral"):
            for score, entry in ((report["agreement"][asked] or {}).get("scores") or {}).items():
                say(f"{asked} by {score}: AUC {entry['auc']['value']:.3f}")
    say(f"Report: {output / f'{name}.html'}")


@dataclass(frozen=True)
class _Ranking:
    weight: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True)
class _Stored:
    """What ranking.json says of a corpus."""

    emotions: dict[str, _Ranking]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    functionals: str
    speaker_norm: bool

    def __post_init__(self) -> None:
        widths = {len(self.mean), len(self.std), *(len(r.weight) for r in self.emotions.values())}
        if len(widths) != 1 or not all(x > 0 for x in self.std):
            raise ValueError(f"Found weights of {sorted(widths)} numbers")


def read_ranking(path: Path) -> _Stored:
    """What was taught on the first corpus. Raises InputError when ranking.json is missing or damaged."""
    stored = next(iter(own.read_json(path, dict[str, _Stored], "Make the run again.").values()), None)
    if stored is None:
        raise InputError(f"{path}: damaged. Found nothing in it. Make the run again.")
    return stored


def taught_elsewhere(
    run: runs.Run, corpus: Corpus, utterances: Sequence[Utterance], jobs: int | None, quiet: bool
) -> Lesson:
    """The ranking functions of a run (of the first corpus it learned from), and utterances of another corpus to test.

    Raises InputError when ranking.json is missing or damaged.
    """
    stored = read_ranking(run.folder / "ranking.json")
    rankings = {emotion: Ranking(np.array(r.weight), r.low, r.high) for emotion, r in stored.emotions.items()}
    scale = Scale(np.array(stored.mean), np.array(stored.std))
    x = scale(functionals.of_corpus(corpus, stored.functionals, stored.speaker_norm, jobs=jobs, quiet=quiet))
    neutral = run.config["settings"]["objective_config"]["neutral"]
    test = [u for u in utterances if emotion_of(u) in rankings]
    calm: dict[str, list[Utterance]] = {"train": [], "dev": []}
    calm["test"] = [u for u in utterances if emotion_of(u) in neutral]
    return Lesson(corpus, [], [], test, calm, rankings, scale, dict(zip(corpus.by_id, x, strict=True)))
