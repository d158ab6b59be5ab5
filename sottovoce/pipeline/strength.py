"""A strength model: the relative attributes of a corpus, taught to StrengthNet, and whether people would agree.

    functionals -> ranking functions of the training part -> scores 0..1 -> StrengthNet -> strength of every frame

`sottovoce pretrain strengthnet` ends here, because this one learns from labels. Nobody labels strength: an emotional
utterance is above a neutral one, and that is all the ranking is told (`attributes.py`). A corpus that does have
intensity labels (RAVDESS: normal, strong) is never trained on them; they, and neutral speech, tell at the end how far
ranking, network and plain energy order the people nobody has heard.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from sottovoce import files, plugins
from sottovoce import report as pages
from sottovoce.config.recipe import Recipe
from sottovoce.data import intensity, runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Statistics, Steps, plan_epoch, sequential
from sottovoce.data.store import TrackStore
from sottovoce.errors import InputError
from sottovoce.metrics import agreement, relative_attributes
from sottovoce.metrics.relative_attributes import Ranking, Scale
from sottovoce.modeling import network, training
from sottovoce.objectives.strength import loss_of
from sottovoce.pipeline import baselines
from sottovoce.pipeline.extract import track_store

LABEL, INTENSITY = "emotion", "intensity"  # columns of the manifest
PANELS = 4  # utterances drawn on the page
RANDOM = (10 / 14, 13 / 14)  # where the release cuts its shuffled list: training, validation, test
FLATTERING = "Split at random, as released: dev and test share their speakers with training; the figures flatter."
Parts = tuple[list[list[Utterance]], list[list[Utterance]]]  # training and held-out utterances of every corpus


def learn(
    plan: Recipe,
    corpora: Sequence[Corpus],
    parts: Mapping[str, Parts],
    output: Path,
    *,
    tracker: str = "",
    jobs: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> None:
    """One strength model a fold, and over several folds the agreement of all of them.

    Args:
        parts: fold -> whom its model learns from and who chooses its epoch. All others are tested.

    Raises:
        InputError: no emotion labels, no neutral class, another run in a folder.
    """

    config = plan.objective_config
    neutral_of(corpora, config.neutral)  # before hours of work
    if config.split == "random":
        parts = {"random": at_random(corpora, plan.training.seed)}
    kind = functionals_kind(config.functionals)
    values = [functionals(c, kind, config.speaker_norm, jobs=jobs, quiet=quiet) for c in corpora]
    for name, (train, heldout) in parts.items():
        lessons = [
            lesson(c, x, a, b, config) for c, x, a, b in zip(corpora, values, train, heldout, strict=True)
        ]  # fmt: skip
        learn_fold(plan, lessons, name, output / name, kind, tracker=tracker, jobs=jobs, dry_run=dry_run, quiet=quiet)
        if dry_run:
            return
        typer.echo(f"{output / name}: done. Report: {output / name / 'report.html'}")
    if len(parts) > 1:
        rows = [row for name in parts for row in agreement.read_rows(output / name / "agreement.csv")]
        report = {
            "title": f"{plan.name}, {len(parts)} folds",
            "fold": f"{len(parts)} folds",
            "agreement": agreement.agree(rows),
        }
        files.write_json(output / "report.json", report)
        files.write_text(output / "report.html", pages.strength_page(report))
        typer.echo(f"{output}: agreement over all folds. Report: {output / 'report.html'}")


# ------------------------------------------------------------------------------------------------ relative attributes


@dataclass
class Lesson:
    """What one corpus teaches: emotional utterances with their scores, and the neutral ones they are above."""

    corpus: Corpus
    train: list[Utterance]  # emotional, as are those held out and tested
    heldout: list[Utterance]
    test: list[Utterance]
    neutral: dict[str, list[Utterance]]  # "train", "heldout", "test" -> neutral utterances
    rankings: dict[str, Ranking]  # of every emotion
    scale: Scale
    x: dict[str, np.ndarray]  # id -> standardised functionals (F,)

    def rank(self, u: Utterance, emotion: str) -> float:
        """How strongly an utterance shows an emotion: 0 and 1 are the ends of the training part, not limits."""
        ranking = self.rankings[emotion]
        return float((ranking.raw(self.x[u.id][None])[0] - ranking.low) / (ranking.high - ranking.low))

    def score(self, u: Utterance) -> float:
        """The target of the network: the strength of its own emotion, held within 0..1."""
        return min(max(self.rank(u, emotion_of(u)), 0.0), 1.0)


def lesson(
    corpus: Corpus, values: np.ndarray, train: Sequence[Utterance], heldout: Sequence[Utterance], config: Any
) -> Lesson:
    """Ranking functions of the training part, and scores of everybody.

    Args:
        values: (N, F) functionals of all utterances of the corpus.

    Raises:
        InputError: the training part has no neutral or no emotional utterance.
    """

    known = {u.id for part in (train, heldout) for u in part}
    sides = {"train": train, "heldout": heldout, "test": [u for u in corpus.utterances if u.id not in known]}
    felt = {name: [u for u in part if LABEL in u.labels and emotion_of(u) not in config.neutral]
            for name, part in sides.items()}  # fmt: skip
    calm = {name: [u for u in part if LABEL in u.labels and emotion_of(u) in config.neutral]
            for name, part in sides.items()}  # fmt: skip
    if not felt["train"] or not calm["train"]:
        raise InputError(
            f"{corpus.folder}: the training part cannot be ranked. Found {len(felt['train'])} emotional and "
            f"{len(calm['train'])} neutral utterances in it. Use other folds."
        )
    place = {u.id: k for k, u in enumerate(corpus.utterances)}
    scale = relative_attributes.Scale.of(values[[place[u.id] for u in felt["train"] + calm["train"]]])
    x = scale(values)
    rest = x[[place[u.id] for u in calm["train"]]]
    rankings = {}
    for emotion in corpus.classes[LABEL]:
        rows = [place[u.id] for u in felt["train"] if emotion_of(u) == emotion]
        if rows:
            rankings[emotion] = relative_attributes.fit(x[rows], rest, slack=config.slack)
    learned = {name: [u for u in part if emotion_of(u) in rankings] for name, part in felt.items()}
    return Lesson(
        corpus, learned["train"], learned["heldout"], learned["test"], calm, rankings, scale,
        dict(zip(place, np.asarray(x), strict=True)),
    )  # fmt: skip


def emotion_of(u: Utterance) -> str:
    return str(u.labels[LABEL])


def neutral_of(corpora: Sequence[Corpus], neutral: Sequence[str]) -> None:
    """Raises InputError where a corpus has no emotion labels, or none of `neutral` among them, or nothing else."""
    for corpus in corpora:
        if corpus.kinds.get(LABEL) != "class":
            raise InputError(
                f"{corpus.folder}: no emotion labels to rank by. Found labels: {', '.join(corpus.kinds) or 'none'}. "
                "Use a corpus with neutral and emotional speech."
            )
        found = list(dict.fromkeys(emotion_of(u) for u in corpus.utterances if LABEL in u.labels))
        if not set(found) & set(neutral):
            raise InputError(
                f"{corpus.folder}: no neutral class to rank against. Found {', '.join(found) or 'no emotion'}, none of "
                f"them {' or '.join(neutral)}. Name the neutral one with --set objective.neutral=NAME, or use a corpus "
                "that has one."
            )
        if not set(found) - set(neutral):
            raise InputError(f"{corpus.folder}: nothing but neutral speech. Found {', '.join(found)}. Add emotions.")


def at_random(corpora: Sequence[Corpus], seed: int) -> Parts:
    """The split of the release: shuffled utterances, speakers on every side."""

    rng, train, heldout = np.random.default_rng(seed), [], []
    for corpus in corpora:
        shuffled = [corpus.utterances[k] for k in rng.permutation(len(corpus.utterances))]
        a, b = (round(share * len(shuffled)) for share in RANDOM)
        train.append(shuffled[:a])
        heldout.append(shuffled[a:b])
    return train, heldout


def functionals_kind(wanted: str) -> str:
    """ "auto" is openSMILE's set where openSMILE is installed, else our own."""

    return wanted if wanted != "auto" else "eGeMAPSv02" if baselines.has_opensmile() else "fbank"


def functionals(
    corpus: Corpus, kind: str, speaker_norm: bool = False, *, jobs: int | None = None, quiet: bool = False
) -> np.ndarray:
    """(N, F) of all utterances of a corpus.

    Args:
        kind: "eGeMAPSv02": 88 functionals by openSMILE, pitch and voice quality among them. "fbank": mean, deviation,
            20th and 80th percentile and mean change of 26 log-mel bands, 130 in all.
        speaker_norm: standardised within each speaker.
    """

    if kind == "fbank":
        store = track_store(corpus, "fbank", {"bins": 26}, jobs=jobs, quiet=quiet)
        missing = np.full(5 * store.dim, np.nan, np.float32)
        values = np.stack([spread_of(store[u.id]) if u.id in store else missing for u in corpus.utterances])
    else:
        values = baselines.functionals(corpus, corpus.utterances, kind, jobs=jobs, quiet=quiet)
    if speaker_norm:
        values = baselines.normalise_by_group(values, [u.speaker or u.id for u in corpus.utterances])
    return values


def spread_of(frames: np.ndarray) -> np.ndarray:
    """(T, D) -> (5 D,) mean, deviation, 20th and 80th percentile, mean absolute change."""

    change = np.abs(np.diff(frames, axis=0)).mean(0) if len(frames) > 1 else np.zeros(frames.shape[1])
    return np.concatenate([frames.mean(0), frames.std(0), *np.percentile(frames, [20, 80], axis=0), change])


# -------------------------------------------------------------------------------------------------------- StrengthNet


def learn_fold(
    plan: Recipe,
    lessons: Sequence[Lesson],
    fold: str,
    folder: Path,
    kind: str,
    *,
    tracker: str,
    jobs: int | None,
    dry_run: bool,
    quiet: bool,
) -> None:
    """One model into `folder`; nothing is done when the same one is finished there."""

    corpora = [it.corpus for it in lessons]
    stores = [track_store(c, plan.track, asdict(plan.track_config), jobs=jobs, quiet=quiet) for c in corpora]
    emotions = list(dict.fromkeys(e for it in lessons for e in it.rankings))
    plan = replace(plan, objective_config=replace(plan.objective_config, emotions=len(emotions)))
    train = [[u for u in it.train if u.id in store] for it, store in zip(lessons, stores, strict=True)]
    heldout = [[u for u in it.heldout if u.id in store] for it, store in zip(lessons, stores, strict=True)]
    if not any(heldout):
        raise InputError(
            f"{folder}: nobody to choose the epoch by. Found no emotional utterance in dev of {fold}. "
            "Name a fold of the corpus, e.g. --fold fold1."
        )
    identity = files.digest(
        {
            "settings": plan,
            "functionals": kind,
            "data": [[u.id for u in (*part, *it.neutral["train"])] for it, part in zip(lessons, train, strict=True)],
            "heldout": [[u.id for u in part] for part in heldout],
            "audio": [c.info.get("audio_digest", "") for c in corpora],
        }
    )
    config = {
        "kind": "pretrain",
        "identity": identity,
        "recipe": plan.name,
        "fold": fold,
        "settings": plan,
        "features": stores[0].dim,
        "emotions": emotions,
        "functionals": kind,
        "exposure": sorted(
            {runs.person(u) for it in lessons for side in ("train", "heldout") for u in it.neutral[side]}
            | {runs.person(u) for part in train + heldout for u in part}
        ),
        "corpora": [
            {"name": c.name, "utterances": len(part), "speakers": len({runs.person(u) for u in part})}
            for c, part in zip(corpora, train, strict=True)
        ],
        "init": "",
    }
    if not dry_run and runs.begin(folder, config):
        return

    torch.manual_seed(plan.training.seed)
    sources = list(zip(stores, train, strict=True))
    unit = Statistics.unit(stores[0].dim)
    statistics = unit
    if plan.frontend.normalise == "corpus":
        statistics = Steps(sources, plan.frontend, unit).fit_statistics()
    steps = Steps(sources, plan.frontend, statistics)
    control = Steps(list(zip(stores, heldout, strict=True)), plan.frontend, statistics)
    target, truth = (targets(lessons, part, emotions) for part in (train, heldout))
    objective = plugins.load("objectives", plan.objective).Objective(
        plan.objective_config, network.build_backbone(plan, steps.dim)
    )
    if dry_run:
        _estimate(objective, steps, target, plan, fold)
        return
    trivial = loss_of_constants(target, truth, len(emotions))
    state = training.fit(
        objective,
        steps,
        plan.training,
        target=target,
        validate=lambda model: health(model, control, truth) | {"trivial_loss": trivial},
        metric="heldout_loss",
        folder=folder,
        identity=identity,
        tracker=tracker,
        label=f"strength {fold}",
        quiet=quiet,
    )
    if not training.first_process():
        return
    rows: list[dict[str, Any]] = []
    panels: list[dict[str, Any]] = []
    for it, store in zip(lessons, stores, strict=True):
        energy = track_store(it.corpus, "energy", jobs=jobs, quiet=quiet)
        found, drawn = judge(it, objective, plan, statistics, store, energy)
        rows += [{"fold": fold, **row} for row in found]
        panels += drawn
    report = {
        "title": f"{plan.name}, {fold}",
        "first_line": FLATTERING if plan.objective_config.split == "random" else None,
        "parameters": sum(p.numel() for p in objective.parameters()),
        "corpora": config["corpora"],
        "fold": fold,
        "emotions": emotions,
        "neutral": plan.objective_config.neutral,
        "functionals": kind + (", standardised within each speaker" if plan.objective_config.speaker_norm else ""),
        "exposure": f"{len(config['exposure'])} people",  # type: ignore[arg-type]
        "agreement": agreement.agree(rows),
        "warnings": warnings(state.history),
        "curves": curves(state.history),
        "seconds": state.seconds,
        "hardware": runs.hardware(),
        "config": files.plain(plan),
    }
    agreement.write_rows(folder / "agreement.csv", rows)
    files.write_json(folder / "ranking.json", {it.corpus.name: ranking_of(it, kind, plan) for it in lessons})
    files.write_json(folder / "report.json", report)
    files.write_text(folder / "report.html", pages.strength_page(report | {"panels": panels}))
    network.save_pretrained(folder, objective.backbone, statistics, objective)  # last: it makes the run a finished one
    for name in ("last.safetensors", "best.safetensors"):
        (folder / name).unlink(missing_ok=True)


def targets(lessons: Sequence[Lesson], parts: Sequence[Sequence[Utterance]], emotions: Sequence[str]) -> np.ndarray:
    """(N, 2) float32: score and number of the emotion, corpus after corpus."""

    pairs = [
        (it.score(u), emotions.index(emotion_of(u))) for it, part in zip(lessons, parts, strict=True) for u in part
    ]
    return np.array(pairs, dtype=np.float32).reshape(-1, 2)


def health(objective: Any, control: Steps, target: np.ndarray) -> dict[str, float]:
    """Held-out loss and its parts, and UA of the emotion branch; padding is never heard here."""

    device = next(objective.parameters()).device
    total, named = np.zeros(3), np.zeros(len(target), dtype=bool)
    with torch.inference_mode():
        for rows in sequential(control.lengths, batch_steps=4000):
            batch = control.batch(rows, target=target).to(device)
            answer = batch.target
            assert answer is not None
            judged = objective.judge(batch.x, batch.lengths)
            loss = loss_of(judged, answer)
            total += [loss.total.item(), loss.logs["mae"] * len(rows), len(rows)]
            named[rows] = (judged.emotion.argmax(1) == answer[:, 1]).cpu().numpy()
    ua = np.mean([named[target[:, 1] == k].mean() for k in np.unique(target[:, 1])])
    return {"heldout_loss": total[0] / total[2], "heldout_mae": total[1] / total[2], "heldout_ua": float(ua)}


def loss_of_constants(target: np.ndarray, truth: np.ndarray, emotions: int) -> float:
    """Loss on `truth` of one strength for everybody, the median of training, and the shares of its emotions."""

    shares = (np.bincount(target[:, 1].astype(int), minlength=emotions) + 1) / (len(target) + emotions)
    apart = np.abs(truth[:, 0] - np.median(target[:, 0])).mean()
    return float(2 * apart - np.log(shares[truth[:, 1].astype(int)]).mean())


def judge(
    it: Lesson, objective: Any, plan: Recipe, statistics: Any, store: TrackStore, energy: TrackStore
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows for `agreement.agree` of all utterances not trained on, and pictures of a few."""

    labels = intensities(it.corpus)
    sides = {u.id: side for side in ("test", "heldout") for u in (*getattr(it, side), *it.neutral[side])}
    asked = [u for u in it.corpus.utterances if u.id in sides and u.id in store and u.id in energy]
    drawn = {u.id for u in spaced(sorted(it.test or it.heldout, key=it.score), PANELS)}
    frontend = replace(plan.frontend, trim_db=0.0)
    steps = Steps([(store, asked)], frontend, statistics)
    offset_s = store.offset_s + frontend.centre_s(store.rate_hz)
    rows, panels = [], []
    for u, frames in network.framewise(steps, objective.frames, next(objective.parameters()).device):
        emotion, known = emotion_of(u), emotion_of(u) in it.rankings
        level = intensity.on_clock(energy.track(u.id), len(frames), steps.rate_hz, offset_s)
        row = {
            "part": sides[u.id],
            "corpus": it.corpus.name,
            "id": u.id,
            "person": runs.person(u),
            "emotion": emotion,
            "neutral": not known,
            "intensity": labels.get(u.id) if known else None,
            "target": it.score(u) if known else None,
            "strength": float(frames.mean()),
            "energy": float(level.mean()),
            "follows_energy": correlation(frames, level),
            "moves": float(frames.std()),
            **{f"rank_{e}": it.rank(u, e) for e in it.rankings},
        }
        rows.append(row)
        if u.id in drawn:
            said = u.labels.get(INTENSITY)
            panels.append(
                row
                | {
                    "rate_hz": steps.rate_hz,
                    "features": store[u.id],
                    "frames": frames,
                    "energy_frames": level,
                    "said": said,
                }
            )
    return rows, panels


def intensities(corpus: Corpus) -> dict[str, float]:
    """id -> the corpus's own intensity label as a number: the place among its classes, or the number itself."""
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


def curves(history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The log as columns, as the page wants them."""
    found: dict[str, Any] = {
        name: [row[key] for row in history if key in row]
        for name, key in [("step", "update"), ("loss", "train_loss"), ("heldout_loss", "heldout_loss"),
                          ("heldout_mae", "heldout_mae"), ("heldout_ua", "heldout_ua")]
    }  # fmt: skip
    found["heldout_step"] = [row["update"] for row in history if "heldout_loss" in row]
    found["trivial_loss"] = next((row["trivial_loss"] for row in reversed(history) if "trivial_loss" in row), None)
    return found


def warnings(history: Sequence[Mapping[str, float]]) -> list[str]:
    """What a person should know before masking by this."""
    held = [row["heldout_loss"] for row in history if "heldout_loss" in row]
    if not held:
        return ["Not a single epoch was trained: the weights are random."]
    if min(held) > 0.99 * history[-1]["trivial_loss"]:
        return ["The held-out loss is no better than that of constants: what moves within an utterance is arbitrary."]
    return []


# -------------------------------------------------------------------------------------------------- another corpus


def evaluate(run: Path, corpus: Corpus, output: Path, *, jobs: int | None = None, quiet: bool = False) -> None:
    """A strength model on a corpus it was not trained on: agreement-NAME.csv, .json and .html in `output`.

    Of a corpus it was trained on, only those people are judged whom it has not heard.

    Raises:
        InputError: no strength model, a corpus without emotions the model knows, or one it has heard as a whole.
    """

    found = runs.parts(run, "pretrain")[0]
    if "functionals" not in found.config:
        raise InputError(
            f"{found.folder}: no strength model. Found one of {found.config.get('recipe')}. Leave out --on."
        )
    objective, it = network.load_objective(found)
    config = it.plan.objective_config
    neutral_of([corpus], config.neutral)
    unheard = [u for u in corpus.utterances if LABEL in u.labels and runs.person(u) not in found.exposure]
    lesson = taught_elsewhere(found, corpus, unheard, jobs, quiet)
    if not lesson.test:
        raise InputError(
            f"{corpus.folder}: nobody to judge. Found {len(unheard)} utterances of people whom {found.folder} has not "
            f"heard, none of them {', '.join(lesson.rankings)}. Use another corpus."
        )
    store = track_store(corpus, it.plan.track, asdict(it.plan.track_config), jobs=jobs, quiet=quiet)
    energy = track_store(corpus, "energy", jobs=jobs, quiet=quiet)
    rows, panels = judge(lesson, objective, it.plan, it.statistics, store, energy)
    rows = [{"fold": found.config["fold"], **row} for row in rows]
    report = {
        "title": f"{found.config['recipe']} {found.config['fold']} on {corpus.name}",
        "fold": found.config["fold"],
        "emotions": list(lesson.rankings),
        "neutral": config.neutral,
        "functionals": found.config["functionals"],
        "exposure": f"{len(found.exposure)} people, none of these",
        "agreement": agreement.agree(rows),
        "hardware": runs.hardware(),
    }
    name = f"agreement-{files.folder_name(corpus.name)}"
    agreement.write_rows(output / f"{name}.csv", rows)
    files.write_json(output / f"{name}.json", report)
    files.write_text(output / f"{name}.html", pages.strength_page(report | {"panels": panels}))
    if not quiet:
        for asked in ("intensity", "neutral"):
            for score, entry in ((report["agreement"][asked] or {}).get("scores") or {}).items():
                typer.echo(f"{asked} by {score}: AUC {entry['auc']['value']:.3f}")
    typer.echo(f"Report: {output / f'{name}.html'}")


def taught_elsewhere(
    run: runs.Run, corpus: Corpus, utterances: Sequence[Utterance], jobs: int | None, quiet: bool
) -> Lesson:
    """The ranking functions of a run (of the first corpus it learned from), and utterances of another corpus to test.

    Raises InputError when ranking.json is missing or damaged.
    """

    path = run.folder / "ranking.json"
    stored = files.read_json(path)
    try:
        stored = next(iter(stored.values()))
        rankings = {
            emotion: Ranking(np.array(r["weight"]), r["low"], r["high"]) for emotion, r in stored["emotions"].items()
        }
        scale = Scale(np.array(stored["mean"]), np.array(stored["std"]))
        kind, speaker_norm = stored["functionals"], stored["speaker_norm"]
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise InputError(f"{path}: damaged. Found no {error}. Make the run again.") from None
    x = scale(functionals(corpus, kind, speaker_norm, jobs=jobs, quiet=quiet))
    neutral = run.config["settings"]["objective_config"]["neutral"]
    test = [u for u in utterances if emotion_of(u) in rankings]
    calm: dict[str, list[Utterance]] = {"train": [], "heldout": []}
    calm["test"] = [u for u in utterances if emotion_of(u) in neutral]
    return Lesson(corpus, [], [], test, calm, rankings, scale, dict(zip(corpus.by_id, x, strict=True)))


def _estimate(objective: Any, steps: Steps, target: np.ndarray, plan: Recipe, fold: str) -> None:
    """Time two batches and say how long the whole will take at most."""

    t = plan.training
    batches = plan_epoch(steps.lengths, batch_steps=t.batch_steps, batch_rows=t.batch_rows, seed=0, epoch=0)
    started = time.monotonic()
    for rows in batches[:2]:
        objective(steps.batch(rows, target=target), None).value.backward()
    seconds = (time.monotonic() - started) / len(batches[:2]) * len(batches)
    parameters = sum(p.numel() for p in objective.parameters())
    typer.echo(
        f"{plan.name} {fold}: {len(steps)} utterances, {steps.lengths.sum() / steps.rate_hz / 3600:.2f} h; "
        f"{parameters / 1e6:.2f} M parameters; {len(batches)} batches, about {seconds:.0f} s an epoch, at most "
        f"{seconds * t.epochs / 60:.0f} min for {t.epochs} epochs on {runs.hardware()}. No weights were written."
    )
