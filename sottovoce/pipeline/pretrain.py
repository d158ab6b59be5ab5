"""`sottovoce pretrain`: tracks, no labels -> backbone weights, and a page that shows whether it is healthy.

    corpora -> tracks -> training people only -> statistics -> objective(backbone) -> model.safetensors

Held-out loss is measured on the fold's dev people, or on every twentieth person where a corpus has no folds. Tracks
that an objective needs beside its features, such as an intensity to mask by, come from `companions.py`.
"""

import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
import typer

from sottovoce import files, plugins
from sottovoce import report as pages
from sottovoce.backbones import clock_of
from sottovoce.config import recipe
from sottovoce.config.masking import RULES, Policy
from sottovoce.config.recipe import Recipe
from sottovoce.data import dataset, runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Statistics, Steps, sequential
from sottovoce.data.task import Task
from sottovoce.errors import InputError, unknown_name
from sottovoce.metrics import scores
from sottovoce.modeling import hub, network, training
from sottovoce.modeling.masking import RowRandom, hide
from sottovoce.pipeline import aux_tracks, genders, units
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.finetune import solve

PANELS = 3  # utterances drawn on the page
HELDOUT = 200  # most utterances in the held-out loss


def fold_names(corpora: list[Corpus], wanted: str | None) -> list[str]:
    """Names of the runs to make. A name applies to every corpus that has such a fold; all others are heard whole."""
    known = list(dict.fromkeys(f.name for c in corpora for f in c.folds))
    if wanted == "none" or not known:
        return ["everybody"]
    if wanted == "all":
        return known
    if wanted is None:
        return known[:1]
    names = [n.strip() for n in wanted.split(",")]
    for name in names:
        if name not in known:  # left out of nothing, it would learn from everybody
            raise unknown_name(f"fold of {', '.join(str(c.folder) for c in corpora)}", name, known)
    return names


def parts(corpora: list[Corpus], fold: str) -> tuple[list[list[Utterance]], list[list[Utterance]]]:
    """Training and held-out utterances of every corpus for a fold's name; test people are in neither.

    What a fold does not name (recordings without labels) is learned from too, unless its speaker is tested or held out.
    """
    train, heldout = [], []
    for corpus in corpora:
        split = next((f for f in corpus.folds if f.name == fold), None)
        if split:
            by_id = corpus.by_id
            apart = {runs.person(by_id[k]) for k in (*split.dev, *split.test)}
            named = {*split.train, *split.dev, *split.test}
            others = [u for u in corpus.utterances if u.id not in named and runs.person(u) not in apart]
            train.append([by_id[k] for k in split.train] + others)
            heldout.append([by_id[k] for k in split.dev])
        else:
            people = sorted({runs.person(u) for u in corpus.utterances})
            kept = set(people[9::20])
            train.append([u for u in corpus.utterances if runs.person(u) not in kept])
            heldout.append([u for u in corpus.utterances if runs.person(u) in kept])
    return train, heldout


def pretrain(
    plan: Recipe,
    corpora: list[Corpus],
    fold: str,
    folder: Path,
    *,
    init: str = "",
    units_from: str = "",
    transductive: bool = False,
    tracker: str = "none",
    jobs: int | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> Path:
    """One pre-training into `folder`; nothing is done when the same one is finished there.

    Raises:
        InputError: another run is in the folder, no frames, features of another width than `init`'s, a further track
            that is missing or does not fit, or an objective that cannot work with this backbone or these lengths.
    """

    stores = [track_store(c, plan.track, asdict(plan.track_config), jobs=jobs, quiet=quiet) for c in corpora]
    plan = recipe.on_clock(plan, stores[0].rate_hz)
    train, heldout = parts(corpora, fold)
    train = [[u for u in part if u.id in store] for part, store in zip(train, stores, strict=True)]
    heldout = [[u for u in part if u.id in store] for part, store in zip(heldout, stores, strict=True)]
    if not any(train):
        raise InputError(f"{', '.join(str(c.folder) for c in corpora)}: no training utterances for fold {fold!r}.")
    earlier = network.load_pretrained(_one(hub.parts(init), fold)) if init else None
    if earlier:
        network.check_same_input(earlier, plan, stores[0].dim)  # before anything is written
        plan = replace(plan, backbone=earlier.plan.backbone, backbone_config=earlier.plan.backbone_config)
    found = units.given(Path(units_from), corpora, fold) if units_from else None
    if found:
        plan = replace(plan, objective_config=replace(plan.objective_config, targets=(found[1],)))
    module = plugins.load("objectives", plan.objective)
    if hasattr(module, "fitted"):  # it learns from labels, and which classes there are decides its size
        everybody = [u for part in train for u in part]
        plan = replace(plan, objective_config=module.fitted(plan.objective_config, everybody))
    beside = aux_tracks.find(plan.objective_config, corpora, fold, transductive=transductive, jobs=jobs, quiet=quiet)
    known = aux_tracks.heard(beside) | (frozenset(found[0][0].head.config["heard"]) if found else frozenset())
    torch.manual_seed(plan.training.seed)
    backbone = network.build_backbone(plan, plan.frontend.dim(stores[0].dim))
    if earlier:
        backbone.load_state_dict(earlier.backbone.state_dict())
    unit, clock = Statistics.unit(stores[0].dim), clock_of(backbone)
    steps = Steps(list(zip(stores, train, strict=True)), plan.frontend, unit, beside, clock)
    apart = _spread(stores, heldout if any(heldout) else train)
    control = Steps(apart, plan.frontend, unit, beside, clock)
    remarks = aux_tracks.check(plan.objective_config, steps, control, plan.training.crop)
    if both := sorted(known & runs.tested_people(corpora, fold)):
        remarks.insert(0, f"The intensity comes from a model that has heard test speakers: {', '.join(both[:4])}.")
    widths = {name: plan.frontend.dim(found[0].dim) for name, (found, _) in beside.items()}
    objective: Any = module.Objective(plan.objective_config, backbone, widths)
    if hasattr(objective, "set_prior"):
        units.check(plan.objective_config.targets, steps, len(backbone.blocks), bool(init))
    identity = files.digest(
        {
            "settings": plan,
            "data": [[u.id for u in part] for part in train],
            "heldout": [[u.id for u in part] for part in heldout],
            "audio": [c.info.get("audio_digest", "") for c in corpora],
            "companions": {name: [store.folder.name for store in stores] for name, (stores, _) in beside.items()},
            "units": [store.folder.name for store in found[0]] if found else None,
            "init": earlier.run.config["identity"] if earlier else None,
        }
    )
    exposure = {runs.person(u) for part in train + heldout for u in part} | known
    config = {
        "kind": "pretrain",
        "identity": identity,
        "recipe": plan.name,
        "fold": fold,
        "settings": plan,
        "features": stores[0].dim,
        "exposure": sorted(exposure | (earlier.run.exposure if earlier else frozenset())),
        "corpora": [
            {"name": c.name, "utterances": len(part), "speakers": len({runs.person(u) for u in part})}
            for c, part in zip(corpora, train, strict=True)
        ],
        "init": init,
    }
    if not dry_run and runs.begin(folder, config):
        return folder

    statistics = earlier.statistics if earlier else steps.fit_statistics()
    if found:
        beside["units"] = found[0], "nearest"
    elif hasattr(objective, "set_prior"):
        how = {"init": init, "transductive": transductive, "tracker": tracker, "jobs": jobs, "quiet": quiet}
        labels = _units(plan, corpora, stores, train, heldout, fold, folder, earlier, dry_run=dry_run, **how)
        beside["units"] = [labels.store(a + b) for a, b in zip(train, heldout, strict=True)], "nearest"
    steps = Steps(list(zip(stores, train, strict=True)), plan.frontend, statistics, beside, clock)
    control = Steps(apart, plan.frontend, statistics, beside, clock)
    counts = units.counts(steps, objective.sets) if "units" in beside else []
    if counts:
        objective.set_prior([torch.from_numpy(count) for count in counts])
    target = held_target = None
    told: dict[str, str] = {}
    if hasattr(module, "targets"):
        learners = steps.utterances
        if "gender" in plan.objective_config.used and not dry_run:
            learners, told["Gender"] = genders.complete(steps, backbone)
        target = module.targets(learners, plan.objective_config)
        held_target = module.targets(control.utterances, plan.objective_config)
        objective.set_shares(torch.from_numpy(target))
    say = f"{plan.name} {fold}: {len(steps)} utterances, {steps.lengths.sum() / steps.rate_hz / 3600:.2f} h"
    if dry_run:
        _estimate(objective, steps, plan, say, target)
        return folder
    labelled = _labelled(corpora, stores, fold)

    every = max(plan.training.epochs // 5, 1)  # the probe costs as much as an epoch of a small corpus
    validated = 0

    def validate(model: Any) -> dict[str, float]:
        nonlocal validated
        validated += 1
        found = health(model, control, plan.training.seed, held_target)
        return found | (probe(model.backbone, labelled, plan, statistics) if validated % every == 0 else {})

    state = training.fit(
        objective,
        steps,
        plan.training,
        target=target,
        validate=validate,
        metric="heldout_loss",
        lr_scale=getattr(objective, "rate", lambda name: 1.0),
        folder=folder,
        identity=identity,
        tracker="" if tracker == "none" or not installed(tracker) else tracker,
        label=f"pre-training {fold}",
        quiet=quiet,
    )
    if not training.first_process():
        return folder
    report = {
        "title": f"{plan.name}, {fold}",
        "objective": plan.objective,
        "backbone": plan.backbone,
        "parameters": sum(p.numel() for p in objective.backbone.parameters()),
        "corpora": [
            entry | {"hours": float(sum(store.lengths[u.id] for u in part) / store.rate_hz / 3600)}
            for entry, store, part in zip(config["corpora"], stores, train, strict=True)  # type: ignore[call-overload]
        ],
        "fold": fold,
        "exposure": _heard(corpora, fold, config["exposure"]),  # type: ignore[arg-type]
        "seconds": state.seconds,
        "hardware": runs.hardware(),
        "curves": curves(state.history),
        "warnings": remarks + warnings(state.history),
        "masking": masking(plan, state.history, beside),
        "config": files.plain(plan),
        "units": units.summary(counts),
        "told": told,
    }
    files.write_json(folder / "report.json", report)

    drawn = panels(objective, control, plan.training.seed)
    files.write_text(folder / "report.html", pages.pretrain_page(report | {"panels": drawn}))
    if drawn and "rules" in drawn[0]:
        pages.spans_figure(drawn[0] | {"rule": plan.objective_config.rule}, folder / "spans.svg", folder / "spans.png")
    network.save_pretrained(folder, objective.backbone, statistics)  # last: it makes the run a finished one
    (folder / "last.safetensors").unlink(missing_ok=True)  # the optimiser's state is of no use to a finished run
    (folder / "best.safetensors").unlink(missing_ok=True)
    return folder


def _units(
    plan: Recipe,
    corpora: list[Corpus],
    stores: list[Any],
    train: list[list[Utterance]],
    heldout: list[list[Utterance]],
    fold: str,
    folder: Path,
    earlier: Any,
    *,
    dry_run: bool,
    **how: Any,
) -> Any:
    """Labels of every utterance for the last of `objective.targets`, fitted on the training part.

    The iterations before it are runs of their own in folder/iteration1, ...; what is done is not done again.

    Args:
        train, heldout: utterances of every corpus.
        earlier: the model of `--init`, whose layers the first iteration may take its units from.
    """

    *before, now = plan.objective_config.targets
    source, sizes = units.parse(now)
    everybody = [a + b for a, b in zip(train, heldout, strict=True)]
    if dry_run:
        return units.blank(sizes, stores, everybody)
    identity = runs.Run.load(folder).config["identity"]
    if (folder / "units.safetensors").exists():
        return units.load(folder / "units.safetensors", identity)
    slots = None
    if source == "mfcc":
        made = [track_store(c, "mfcc", {"deltas": 2}, jobs=how["jobs"], quiet=how["quiet"]) for c in corpora]
        frames = units.of_tracks(made, everybody)
    else:
        teacher = earlier
        if before:
            first = replace(plan, objective_config=replace(plan.objective_config, targets=tuple(before)))
            pretrain(first, corpora, fold, folder / f"iteration{len(before)}", **how)
            teacher = network.load_pretrained(runs.Run.load(folder / f"iteration{len(before)}"))
        frames, slots = units.of_layer(teacher, int(source), stores, everybody), units.slots(teacher, stores, everybody)
    found = units.make(frames, train, everybody, sizes, plan.training.seed, slots)
    if training.first_process():
        units.save(folder / "units.safetensors", found, identity)
    return found


def health(objective: Any, control: Steps, seed: int, target: Any = None) -> dict[str, float]:
    """Held-out loss, the loss of guessing without looking, what the objective logs, and the representation's rank.

    The same masks every time, so that the curve moves only when the model does.
    """

    device, stride = next(objective.parameters()).device, clock_of(objective.backbone)[0]
    sums: dict[str, float] = {}
    means, weight = [], 0.0
    with torch.inference_mode():
        for rows in sequential(control.lengths, batch_steps=control.budget):
            batch = control.batch(rows, seed=seed, most=1500 * stride, target=target).to(device)
            loss, trivial = (f(batch, RowRandom(batch.seeds)) for f in (objective, objective.trivial))
            count = loss.weight.item()
            weight += count
            for name, part in (("heldout", loss), ("trivial", trivial)):
                sums[f"{name}_loss"] = sums.get(f"{name}_loss", 0.0) + part.total.item()
                for key, value in part.logs.items():
                    sums[f"{name}_{key}"] = sums.get(f"{name}_{key}", 0.0) + value * count
            hidden = objective.backbone(batch.x, batch.lengths)
            valid = hidden.valid[..., None]
            means.append((hidden.last * valid).sum(1) / valid.sum(1))
    return {key: value / max(weight, 1) for key, value in sums.items()} | {"rank": effective_rank(torch.cat(means))}


def effective_rank(x: Any) -> float:
    """exp of the entropy of the normalised singular values (Roy & Vetterli 2007); near 1 = collapsed.

    Args:
        x: (N, H), one vector an utterance.
    """

    values = torch.linalg.svdvals((x - x.mean(0)).float())
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


def probe(backbone: Any, labelled: Any, plan: Recipe, statistics: Any) -> dict[str, float]:
    """UA on dev of a linear probe on mean and deviation of the hidden states; {} without labels."""
    if labelled is None:
        return {}

    task, store, train, dev, target, truth = labelled
    everything = Steps([(store, train + dev)], plan.frontend, statistics)
    features = network.embed(backbone, everything).reshape(len(everything), -1)

    mean, std = features[: len(train)].mean(0), features[: len(train)].std(0) + 1e-4
    x = torch.from_numpy((features - mean) / std)
    weight, bias = solve(task, x[: len(train)], target, strength=0.03, settings=plan.finetune, iterations=30)
    guess = (x[len(train) :] @ weight.T + bias).argmax(1).numpy()
    return {"probe_ua": float(scores.scores(task, truth, guess)["ua"])}


def _labelled(corpora: list[Corpus], stores: list[Any], fold: str) -> Any:
    """The first corpus with this fold and a class label, as the probe wants it; at most 1,000 utterances."""

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
            return task, store, train, dev, target, truth
    return None


def panels(objective: Any, control: Steps, seed: int) -> list[dict]:
    """Original, mask and reconstruction of a few held-out utterances, and what each masking rule would hide of them."""
    if not hasattr(objective, "reconstruct"):
        return []

    middle = control.lengths.argsort()[len(control) // 2 :][:PANELS]
    batch = control.batch(middle, seed=seed, most=400)
    batch = batch.to(next(objective.parameters()).device)
    with torch.inference_mode():
        shown, mask = objective.reconstruct(batch, RowRandom(batch.seeds))
        truth = objective.target(batch)
    rules = rule_masks(objective.config, batch)
    out = []
    for k, length in enumerate(batch.lengths.tolist()):
        pool = control.frontend.subsampling if control.frontend.subsample == "stack" else 1

        def unstack(x: Any, length: int = length, pool: int = pool) -> Any:
            return x[:length].reshape(length * pool, -1).cpu().numpy()

        def by_frame(x: Any, length: int = length, pool: int = pool) -> Any:
            return x[:length].repeat_interleave(pool).cpu().numpy()

        panel = {
            "id": batch.ids[k],
            "rate_hz": control.rate_hz * pool,
            "original": unstack(truth[k]),
            "masked": by_frame(mask[k].any(-1)),
            "reconstructed": unstack(shown[k]),
        }
        if rules:
            panel["intensity"] = by_frame(batch.tracks["intensity"][k])
            panel["rules"] = {rule: by_frame(hidden[k]) for rule, hidden in rules.items()}
        out.append(panel)
    return out


def rule_masks(config: Any, batch: Any) -> dict[str, Any]:
    """What every rule hides (B, S) with the ratio, span and intensity of an objective; {} where it has no intensity."""

    if not isinstance(config, Policy) or not config.intensity or not getattr(config, "hide", True):
        return {}
    own = {f.name: getattr(config, f.name) for f in fields(Policy)}
    intensity = batch.tracks["intensity"]
    return {
        rule: hide(Policy(**(own | {"rule": rule})), batch.lengths, RowRandom(batch.seeds), intensity) for rule in RULES
    }


def curves(history: list[dict[str, float]]) -> dict[str, Any]:
    """The log as columns, as the page wants them."""

    def column(key: str) -> list[float]:
        return [row[key] for row in history if key in row]

    def steps(key: str) -> list[float]:
        return [row["update"] for row in history if key in row]

    return {
        "step": steps("train_loss"),
        "loss": column("train_loss"),
        "heldout_step": steps("heldout_loss"),
        "heldout_loss": column("heldout_loss"),
        "coverage": column("heldout_coverage"),
        "hidden_step": steps("hidden_intensity"),
        "hidden_intensity": column("hidden_intensity"),
        "visible_intensity": column("visible_intensity"),
        "rank": column("rank"),
        "probe_step": steps("probe_ua"),
        "probe_ua": column("probe_ua"),
        "trivial_loss": column("trivial_loss")[-1] if column("trivial_loss") else None,
        "accuracy": column("heldout_accuracy"),
        "trivial_accuracy": column("trivial_accuracy")[-1] if column("trivial_accuracy") else None,
        "emotion_accuracy": column("heldout_emotion_accuracy"),
        "gender_accuracy": column("heldout_gender_accuracy"),
    }


def masking(plan: Recipe, history: list[dict[str, float]], beside: Any) -> dict[str, Any]:
    """What was asked for, and what training really hid: share of the steps, intensity there and elsewhere."""
    config, row = plan.objective_config, history[-1] if history else {}
    found = {name: row[name] for name in ("coverage", "hidden_intensity", "visible_intensity") if name in row}
    asked = {name: getattr(config, name) for name in ("rule", "ratio", "span", "intensity") if hasattr(config, name)}
    stores = beside.get("intensity", ([], ""))[0]
    return asked | found | ({"stores": sorted({store.folder.name for store in stores})} if stores else {})


def warnings(history: list[dict[str, float]]) -> list[str]:
    """What a person should know before using the weights."""
    last = next((row for row in reversed(history) if "heldout_loss" in row), None)
    if last is None:
        return ["Not a single epoch was trained: the weights are random."]
    found = []
    if last["heldout_loss"] > 0.98 * last["trivial_loss"]:
        found.append("The held-out loss is no better than guessing the mean: nothing was learned.")
    if last["rank"] < 2:
        found.append("The representation has collapsed: its effective rank is below 2.")
    return found


def _spread(stores: list[Any], parts: list[list[Utterance]]) -> list[tuple[Any, list[Utterance]]]:
    """At most HELDOUT utterances, evenly from all."""
    step = max(sum(map(len, parts)) // HELDOUT, 1)
    return [(store, part[::step]) for store, part in zip(stores, parts, strict=True)]


def installed(tracker: str) -> bool:
    import importlib.util

    return tracker != "tensorboard" or importlib.util.find_spec("tensorboard") is not None


def _heard(corpora: list[Corpus], fold: str, people: list[str]) -> str:
    """Whose audio the weights know, in words."""
    tested = runs.tested_people(corpora, fold)
    if not tested:
        return f"{len(people)} people: everybody in these corpora"
    both = sorted(tested & set(people))
    if both:
        return f"{len(people)} people, {len(both)} test speakers of {fold} among them ({', '.join(both[:4])})"
    return f"{len(people)} people; test speakers of {fold} are not among them"


def _one(found: list[runs.Run], fold: str) -> runs.Run:
    """The run to go on from: the one made for this fold, else the first."""
    return next((run for run in found if run.config["fold"] == fold), found[0])


def _estimate(objective: Any, steps: Steps, plan: Recipe, say: str, target: Any = None) -> None:
    """Time a few updates and say how long the whole will take."""

    t = plan.training
    batches = dataset.plan_epoch(
        steps.lengths, batch_steps=t.batch_steps, batch_rows=t.batch_rows, seed=0, epoch=0, most=t.crop or None
    )
    few = batches[:4]
    started = time.monotonic()
    for rows in few:
        batch = steps.batch(rows, most=t.crop or None, target=target)
        objective(batch, RowRandom(batch.seeds)).value.backward()
    seconds = (time.monotonic() - started) / len(few) * len(batches) * t.epochs
    parameters = sum(p.numel() for p in objective.backbone.parameters())
    typer.echo(
        f"{say}; {parameters / 1e6:.2f} M parameters; {len(batches)} batches x {t.epochs} epochs: "
        f"about {seconds / 60:.0f} min on {runs.hardware()}. No weights were written."
    )
