"""Whether a pre-training is healthy: dev loss, rank and a linear probe after every epoch, and the page at the end.

before training   Health(data, objective)
every epoch       .validate(model) -> a row of the log; its `metric` chooses the weights that are kept
afterwards        .write(folder, state) -> report.json, report.html, pictures
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sottovoce import files
from sottovoce import report as pages
from sottovoce.backbones.base import Backbone
from sottovoce.config.masking import RULES, Policy
from sottovoce.config.recipe import Recipe
from sottovoce.data import runs
from sottovoce.data.batching import Batch, sequential
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.folds import Seen, tested_people
from sottovoce.data.frames import Statistics
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.metrics import scores
from sottovoce.modeling import network
from sottovoce.modeling.loop import State
from sottovoce.modeling.masking import RowRandom, draw_mask
from sottovoce.modeling.solving import Rows, solve
from sottovoce.objectives.base import Objective
from sottovoce.objectives.masked_units import counts
from sottovoce.pipeline import units
from sottovoce.pipeline.aux_tracks import AuxTracks
from sottovoce.pipeline.pretrain_data import PretrainData

PANELS = 3  # utterances drawn on the page


class Health:
    """What is looked at while an objective is trained, and shown afterwards."""

    metric = "heldout_loss"

    def __init__(self, data: PretrainData, objective: Objective):
        self.data, self.objective = data, objective
        self.target = objective.targets(data.dev)
        self.labelled = Labelled.find(data.corpora, data.stores, data.fold)
        self.every = max(data.plan.training.epochs // 5, 1)  # the probe costs as much as an epoch of a small corpus
        self.validated = 0

    def validate(self, model: Objective) -> dict[str, float]:
        self.validated += 1
        found = health(model, self.data.dev, self.data.plan.training.seed, self.target)
        if self.labelled is None or self.validated % self.every:
            return found
        return found | probe(model.backbone, self.labelled, self.data.plan, self.data.statistics)

    def write(self, folder: Path, state: State) -> None:
        data, plan = self.data, self.data.plan
        report = {
            "title": f"{plan.name}, {data.fold}",
            "objective": plan.objective,
            "backbone": plan.backbone,
            "parameters": sum(p.numel() for p in self.objective.backbone.parameters()),
            "corpora": data.summary(hours=True),
            "fold": data.fold,
            "exposure": seen_in_words(data.corpora, data.fold, data.seen),
            "seconds": state.seconds,
            "hardware": runs.hardware(),
            "curves": curves(state.history),
            "warnings": data.remarks + warnings(state.history),
            "masking": masking(plan, state.history, data.aux),
            "config": files.plain(plan),
            "units": self.units(),
            "told": data.told,
        }
        files.write_json(folder / "report.json", report)
        drawn = panels(self.objective, data.dev, plan.training.seed)
        files.write_text(folder / "report.html", pages.pretrain_page(report | {"panels": drawn}))
        if drawn and "rules" in drawn[0]:
            rule = {"rule": plan.objective_config.rule}
            pages.spans_figure(drawn[0] | rule, folder / "spans.svg", folder / "spans.png")

    def units(self) -> list[dict[str, float]]:
        """How many of the units are in use, of every label set."""
        if "units" not in self.data.aux:
            return []
        _, sizes = units.parse(self.data.plan.objective_config.clusters[-1])
        return units.summary(counts(self.data.train, sizes))


def health(objective: Objective, dev: Steps, seed: int, target: np.ndarray | None = None) -> dict[str, float]:
    """Dev loss, that of a prediction that looks at nothing, what the objective logs, and the representation's rank.

    The same masks every time, so that the curve moves only when the model does.
    """
    device, stride = next(objective.parameters()).device, objective.backbone.traits.hop
    sums: dict[str, float] = {}
    means, weight = [], 0.0
    with torch.inference_mode():
        for rows in sequential(dev.lengths, batch_steps=dev.budget):
            batch = dev.batch(rows, seed=seed, most=1500 * stride, target=target).to(device)
            loss, baseline = (f(batch, RowRandom(batch.seeds)) for f in (objective, objective.baseline))
            count = loss.weight.item()
            weight += count
            for name, part in [("heldout", loss), *([("trivial", baseline)] if baseline.weight else [])]:
                sums[f"{name}_loss"] = sums.get(f"{name}_loss", 0.0) + part.total.item()
                for key, value in part.logs.items():
                    sums[f"{name}_{key}"] = sums.get(f"{name}_{key}", 0.0) + float(value) * count
            hidden = objective.backbone(batch.x, batch.lengths)
            valid = hidden.valid[..., None]
            means.append((hidden.last * valid).sum(1) / valid.sum(1))
    states = torch.cat(means)
    if not states.isfinite().all():
        raise InputError("The states of the dev part became NaN or infinite. Lower --set training.lr.")
    return {key: value / max(weight, 1) for key, value in sums.items()} | {"rank": effective_rank(states)}


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy & Vetterli 2007); near 1 = collapsed.

    Args:
        x: (N, H), one vector an utterance.
    """
    values = torch.linalg.svdvals((x - x.mean(0)).float())
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


@dataclass(frozen=True)
class Labelled:
    """What the probe is fitted on and judged by: a class label of one corpus, training part and dev."""

    task: Task
    store: Any
    train: list[Utterance]
    dev: list[Utterance]
    target: np.ndarray
    truth: np.ndarray

    @classmethod
    def find(cls, corpora: Sequence[Corpus], stores: Sequence[Any], fold: str) -> "Labelled | None":
        """Of the first corpus with this fold and a class label; at most 1,000 utterances of it."""
        for corpus, store in zip(corpora, stores, strict=True):
            split = next((f for f in corpus.folds if f.name == fold), None)
            classes = [name for name in corpus.info.get("target", ()) if corpus.kinds.get(name) == "class"]
            if not split or not classes:
                continue
            try:
                task = Task.of(corpus, classes[:1])
            except InputError:
                continue
            train, dev = (
                [corpus.by_id[k] for k in part if k in store and task.has(corpus.by_id[k])]
                for part in (split.train, split.dev)
            )
            train = train[:: max(len(train) // 1000, 1)]
            target, truth = task.values(train), task.values(dev)
            if len(dev) and len(set(target.tolist())) > 1:
                return cls(task, store, train, dev, target, truth)
        return None


def probe(backbone: Backbone, of: Labelled, plan: Recipe, statistics: Statistics) -> dict[str, float]:
    """UA on dev of a linear probe on mean and deviation of the hidden states."""
    everything = Steps([(of.store, of.train + of.dev)], plan.frontend, statistics)
    features = network.embed(backbone, everything).reshape(len(everything), -1)
    many = len(of.train)
    mean, std = features[:many].mean(0), features[:many].std(0) + 1e-4
    x = torch.from_numpy((features - mean) / std)
    weight, bias = solve(of.task, Rows.of(x, of.target), 0.03, plan.finetune, most=30)
    found = (x[many:] @ weight.T + bias).argmax(1).numpy()
    return {"probe_ua": float(scores.scores(of.task, of.truth, found)["ua"])}


def panels(objective: Objective, dev: Steps, seed: int) -> list[dict]:
    """Original, mask and reconstruction of a few dev utterances, and what each masking rule would mask of them."""
    middle = dev.lengths.argsort()[len(dev) // 2 :][:PANELS]
    batch = dev.batch(middle, seed=seed, most=400)
    batch = batch.to(next(objective.parameters()).device)
    with torch.inference_mode():
        preview = objective.preview(batch, RowRandom(batch.seeds))
    if preview is None:
        return []
    rules = rule_masks(objective.config, batch)
    pool = dev.frontend.subsampling if dev.frontend.subsample == "stack" else 1

    def unstacked(x: Tensor, k: int) -> np.ndarray:
        """(B, S, pool D) -> (T, D) of a row."""
        length = int(batch.lengths[k])
        return x[k, :length].reshape(length * pool, -1).cpu().numpy()

    def by_frame(x: Tensor, k: int) -> np.ndarray:
        """(B, S) -> (T,) of a row."""
        return x[k, : batch.lengths[k]].repeat_interleave(pool).cpu().numpy()

    out = []
    for k, name in enumerate(batch.ids):
        panel: dict[str, Any] = {"id": name, "rate_hz": dev.rate_hz * pool, "original": unstacked(preview.truth, k)}
        panel |= {"masked": by_frame(preview.masked.any(-1), k), "reconstructed": unstacked(preview.shown, k)}
        if rules:
            panel["intensity"] = by_frame(batch.tracks["intensity"], k)
            panel["rules"] = {rule: by_frame(mask, k) for rule, mask in rules.items()}
        out.append(panel)
    return out


def rule_masks(config: Any, batch: Batch) -> dict[str, Tensor]:
    """What every rule masks (B, S) with the ratio, span and intensity of an objective; {} where it has no intensity."""
    if not config.masks or not isinstance(config, Policy) or not config.intensity:
        return {}
    own = {f.name: getattr(config, f.name) for f in fields(Policy)}
    intensity = batch.tracks["intensity"]
    return {
        rule: draw_mask(Policy(**(own | {"rule": rule})), batch.lengths, RowRandom(batch.seeds), intensity)
        for rule in RULES
    }


# What the page calls a column of the log.
COLUMNS = {
    **{"loss": "train_loss", "heldout_loss": "heldout_loss", "coverage": "heldout_coverage", "rank": "rank"},
    **{"hidden_intensity": "hidden_intensity", "visible_intensity": "visible_intensity", "probe_ua": "probe_ua"},
    **{"accuracy": "heldout_accuracy", "emotion_accuracy": "heldout_emotion_accuracy"},
    "gender_accuracy": "heldout_gender_accuracy",
}
STEPS = {
    **{"step": "train_loss", "heldout_step": "heldout_loss"},
    **{"hidden_step": "hidden_intensity", "probe_step": "probe_ua"},
}
CONSTANTS = ("trivial_loss", "trivial_accuracy")


def curves(
    history: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] = COLUMNS,
    steps: Mapping[str, str] = STEPS,
    constants: Sequence[str] = CONSTANTS,
) -> dict[str, Any]:
    """The log as columns, as a page wants them: {name: its values}.

    Args:
        columns: name -> column of the log.
        steps: name -> column at whose values it tells the updates.
        constants: whose last value counts, None where there is none.
    """
    found: dict[str, Any] = {name: [row[key] for row in history if key in row] for name, key in columns.items()}
    found |= {name: [row["update"] for row in history if key in row] for name, key in steps.items()}
    return found | {key: next((row[key] for row in reversed(history) if key in row), None) for key in constants}


def masking(plan: Recipe, history: list[dict[str, float]], aux: AuxTracks) -> dict[str, Any]:
    """What was asked for, and what training really hid: share of the steps, intensity there and elsewhere."""
    config, row = plan.objective_config, history[-1] if history else {}
    found = {name: row[name] for name in ("coverage", "hidden_intensity", "visible_intensity") if name in row}
    asked = {k: v for k, v in files.plain(config).items() if k in ("rule", "ratio", "span", "intensity")}
    stores = aux.get("intensity", ([], ""))[0]
    return asked | found | ({"stores": sorted({store.folder.name for store in stores})} if stores else {})


def warnings(history: list[dict[str, float]]) -> list[str]:
    """What a person should know before using the weights."""
    last = next((row for row in reversed(history) if "heldout_loss" in row), None)
    if last is None:
        return ["Not a single epoch was trained: the weights are random."]
    found = []
    if "trivial_loss" in last and last["heldout_loss"] > 0.98 * last["trivial_loss"]:
        found.append("The dev loss is no better than predicting the mean: nothing was learned.")
    if last["rank"] < 2:
        found.append("The representation has collapsed: its effective rank is below 2.")
    return found


def seen_in_words(corpora: Sequence[Corpus], fold: str, seen: Seen) -> str:
    """Whose audio the weights know."""
    people = f"{len(seen.people)} people"
    if not tested_people(corpora, fold):
        return f"{people}: all in these corpora"
    both = seen.test_people(corpora, fold)
    if both:
        return f"{people}, {len(both)} test speakers of {fold} among them ({', '.join(both[:4])})"
    return f"{people}; test speakers of {fold} are not among them"
