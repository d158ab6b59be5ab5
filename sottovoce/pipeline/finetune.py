"""`sottovoce finetune`: weights (or none) + labels -> emotion classifier or intensity regressor.

    backbone -> pooled hidden states -> linear probe (dev chooses its l2) -> [all weights trained from there]

The probe comes first in both arms. Trained from a random output layer, a backbone forgets what it knew before
that layer has learned anything; from the probe's solution it can only be left where dev says that it is better.

A protocol (`--recipe frozen_probe`) replaces all of it by a published head on frozen states, see
`sottovoce.modeling.linear_probe`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from sottovoce import files
from sottovoce.config import recipe as recipes
from sottovoce.config.finetuning import FineTuning, Frozen, Full, Probe
from sottovoce.config.recipe import Recipe
from sottovoce.data import folds
from sottovoce.data.augmented import Augmented, way
from sottovoce.data.batching import sequential
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.runs import Run
from sottovoce.data.store import TrackStore
from sottovoce.data.subsets import nested_subsets, parse_label_counts
from sottovoce.data.task import Task
from sottovoce.errors import InputError, unknown_name
from sottovoce.metrics import scores
from sottovoce.metrics.temperature import Calibration
from sottovoce.modeling import heads, hub, linear_probe, source_layers, training, whisper_weights
from sottovoce.modeling import network as models
from sottovoce.modeling.loop import Keep, Watch, first_process, together
from sottovoce.modeling.network import Pretrained, Recognised
from sottovoce.modeling.self_training import pseudo_labels, speakers_vary, unlabelled_of
from sottovoce.modeling.solving import Layer, Rows, gate, mixture, penalty, solve
from sottovoce.modeling.source_layers import Sources
from sottovoce.modeling.supervised import AUTO, Supervised, supervised_loss
from sottovoce.pipeline import prefix
from sottovoce.pipeline.pooled import PooledStates
from sottovoce.pipeline.source_choice import sources_of, with_sources
from sottovoce.tracks import base as tracks


def weights_for(init: str, corpus: Corpus, fold: Fold, *, transductive: bool = False) -> Run | None:
    """The pre-training that has not seen this fold's test people; None for "none".

    Raises InputError when every run in the folder has seen one of them, unless `transductive`.
    """
    return None if init == "none" else folds.run_for(hub.parts(init), [corpus], fold, transductive=transductive)


def settings_of(init: str, recipe: str = "", track: str = "", backbone: str = "") -> Recipe:
    """The settings that weights were made with, judged by `recipe` where it is a protocol.

    Raises InputError where another recipe, track or backbone is asked for than theirs.
    """
    plan, protocol = hub.parts(init)[0].plan, recipes.is_protocol(recipe)
    theirs = {"recipe": recipe if protocol else plan.name, "track": plan.track, "backbone": plan.backbone}
    for (option, has), wanted in zip(theirs.items(), (recipe, track, backbone), strict=True):
        if wanted not in ("", has):
            raise InputError(f"--{option} {wanted}: the weights of {init} were made with {has}. Leave it out.")
    return recipes.judged(plan, recipe) if protocol else plan


def select(corpus: Corpus, ids: Sequence[str], task: Task, labels: str, seed: int) -> list[Utterance]:
    """The labelled utterances of a training part, or a stratified share of them."""
    pool = [corpus.by_id[k] for k in ids if task.teaches(corpus.by_id[k])]
    if not pool:
        raise InputError(f"{corpus.folder}: no training utterance has label {', '.join(task.target)}.")
    counts = parse_label_counts(labels, len(pool))
    if len(counts) != 1:
        raise InputError(f"--labels {labels}: one count or percentage here. `sottovoce study` takes a list.")
    return [pool[k] for k in sorted(nested_subsets(task.values(pool), counts, seed)[0])]


def labelled(run: Run, corpus: Corpus, task: Task) -> Fold:
    """The fold of a fine-tuned run as it knew it: its training part are the utterances whose labels it was given."""
    dev = run.config["settings"]["finetune"].get("dev", "fold")
    fold = folds.with_dev(corpus, corpus.fold(run.config["fold"]), dev)
    given = select(corpus, fold.train, task, str(run.config["labels"]), run.config["seed"])
    return replace(fold, train=tuple(u.id for u in given))


def unlabelled(corpus: Corpus, fold: Fold, store: Any, train: Sequence[Utterance]) -> list[Utterance]:
    """The rest of a fold's training part: seen for statistics, without its labels."""
    labelled = {u.id for u in train}
    return [corpus.by_id[k] for k in fold.train if k in store and k not in labelled]


def learned(task: Task, plan: Recipe) -> Task:
    """What is learned of a task: the shares of its raters, unless the settings want the majority's word alone."""
    return task if plan.finetune.soft_labels else replace(task, shares=())


def targets(task: Task, utterances: Sequence[Utterance]) -> np.ndarray:
    """(N,) classes, (N, K) shares of the raters where they are learned, or (N, D) regression targets."""
    return task.distributions(utterances) if task.shares else task.values(utterances)


def default_init(corpus: Corpus) -> str:
    """What training starts from by default: this package's encoder for recordings, nothing for features."""
    return "none" if corpus.info.get("tracks") else whisper_weights.DEFAULT


def ships(plan: Recipe, init: Run) -> bool:
    """Whether a run's backbone will be the encoder of this package as it is."""
    return init.config.get("encoder") == whisper_weights.DEFAULT and plan.finetune.mode == "frozen"


def changed_copies(plan: Recipe, corpus: Corpus, store: Any) -> list[Augmented]:
    """Stores of as many changed copies of the recordings as the linear layer learns from.

    Raises InputError where the corpus has no recordings, or a track is not made of one alone.
    """
    settings = plan.finetune
    if isinstance(settings, Probe) or not settings.copies:
        return []
    maker = tracks.maker(plan.track)
    if corpus.info.get("tracks") or maker.MAKER or maker.make is None:
        raise InputError(
            f"finetune.copies: changes recordings. Found the encoded track {plan.track}. Use --set finetune.copies=0."
        )
    ways = [way(settings.change, k) for k in range(settings.copies)]
    return [Augmented(corpus, store, maker.make, plan.track_config, k, how) for k, how in enumerate(ways)]


@dataclass(frozen=True)
class Parts:
    """Who is learned from, who chooses, and who counts for statistics only. Labels are scarce, speech is not:
    statistics (of the input without pre-trained weights, of pooled features, of speakers) are of `unlabelled` too."""

    store: Any  # the corpus's track
    train: Sequence[Utterance]  # labelled
    dev: Sequence[Utterance] = ()  # labelled; without any, the first l2 and the last epoch count
    unlabelled: Sequence[Utterance] = ()  # the rest of the training part, and whoever is in no part
    copies: Sequence[Any] = ()  # stores of changed copies of the recordings, from which the linear layer learns too


def parts_of(
    plan: Recipe, corpus: Corpus, store: Any, fold: Fold, task: Task, labels: str = "100%", seed: int = 0
) -> Parts:
    """The parts of a fold whose dev part is chosen, `labels` of its training part with labels. Of these a fifth chooses
    where `finetune.dev` is "share".

    Raises InputError as `select` and `changed_copies`, and for a dev part without labels, which could not choose.
    """
    task = learned(task, plan)
    chosen = [u for u in select(corpus, fold.train, task, labels, seed) if u.id in store]
    train, dev = chosen, [corpus.by_id[k] for k in fold.dev if task.has(corpus.by_id[k]) and k in store]
    if fold.dev and not dev:
        raise InputError(
            f"{corpus.folder}: nothing in the dev part of {fold.name} has {', '.join(task.target)}. Found "
            f"{len(fold.dev)} without. Label some of them, or let a fifth of the labels choose: --dev share."
        )
    if plan.finetune.dev == "share":
        values = task.values(chosen)
        back = set(folds.held_back(chosen, values if task.kind == "class" else np.zeros(len(chosen), int), seed))
        train, dev = ([u for k, u in enumerate(chosen) if (k in back) == held] for held in (False, True))
    rest = unlabelled(corpus, fold, store, chosen)
    if isinstance(plan.finetune, Frozen) and plan.finetune.self_training and task.kind == "class":
        # and those that no label puts into a fold
        others = [u for u in folds.outside(corpus, fold) if u.id in store and not task.has(u)]
        rest += [others[k] for k in unlabelled_of(len(others), seed)]
    return Parts(store, train, dev, rest, changed_copies(plan, corpus, store))


@dataclass(frozen=True)
class Given:
    """What else a fine-tuning is given."""

    init: Run | None  # None = random weights
    labels: str = "100%"  # of the training part, a count or a share
    seed: int = 0
    transductive: bool = False  # the pre-training may have seen test people


def finetune(plan: Recipe, corpus: Corpus, store: Any, fold: Fold, task: Task, given: Given, keep: Keep) -> None:
    """One fold into the folder of `keep`; nothing is done when the same one is finished there."""
    fold, init, folder = folds.with_dev(corpus, fold, plan.finetune.dev), given.init, keep.folder
    assert folder is not None
    task = learned(task, plan)
    plan, _ = with_sources(plan, task, [corpus], init)
    sources = source_layers.named(sources_of(plan))
    parts = parts_of(plan, corpus, store, fold, task, given.labels, given.seed)
    train, dev, rest = list(parts.train), list(parts.dev), list(parts.unlabelled)
    task = task.taught(corpus, train)
    check_classes(corpus, task, {fold.name: train})
    taught = train + rest + (dev if plan.finetune.dev != "test" else [])  # what only chooses is not seen
    earlier = models.load_pretrained(init, plan.finetune.depth or None) if init else None
    if earlier:
        models.check_same_input(earlier, plan, store.dim)
    supervised_loss(task, plan.finetune, targets(task, train))  # refuses one that does not fit, before it writes
    ids = {name: [u.id for u in part] for name, part in (("train", train), ("dev", dev), ("unlabelled", rest))}
    data = {"task": task.plain()} | ids | {"audio": corpus.info.get("audio_digest", ""), "seed": given.seed}
    data |= {"sources": [source.identity for source in sources]} if sources else {}
    run = Run.open(
        folder, "finetune", plan, fold=fold.name, features=store.dim, before=init,
        decides=data | judged_by(task, plan.finetune), sources=[asdict(source) for source in sources],
        seen=folds.Seen.of([corpus], [taught]) | source_layers.heard(sources),
        shipped_encoder=init.identity if init and ships(plan, init) else "", corpus=str(corpus.folder.resolve()),
        task=task.plain(), init=str(init.folder) if init else "none",
        labels=len(train) + (len(dev) if plan.finetune.dev == "share" else 0),  # N counts what is chosen with
        of_labels=sum(task.teaches(corpus.by_id[k]) for k in fold.train), seed=given.seed,
        seen_test_speakers=folds.seen_by(init).test_people([corpus], fold), transductive=given.transductive,
    )  # fmt: skip
    if run.finished:
        return
    keep = replace(keep, identity=run.identity, label=f"fine-tuning {fold.name}")
    it, history = train_recogniser(plan, task, parts, init=earlier, keep=keep)
    if first_process():
        files.write_json(folder / "history.json", history)
        models.save_recognised(folder, it, shipped=bool(run.config["shipped_encoder"]))  # last: the run is finished
        run.finish()
    together()


def check_network(plan: Recipe, task: Task, init: Run | None) -> None:
    """Raises InputError where loss, layers or depth do not go with the task or the weights, before hours of work."""
    supervised_loss(task, plan.finetune, np.zeros(1, int))
    if init:
        backbone = models.load_pretrained(init, plan.finetune.depth or None).backbone
        models.Network(backbone, plan.finetune, task.outputs)


def check_speakers(corpus: Corpus, plan: Recipe) -> None:
    """Raises InputError when recordings are to be standardised by speaker and no speaker is known."""
    if plan.per_speaker and not any(u.speaker for u in corpus.utterances):
        raise InputError(
            f"{corpus.folder}: cannot standardise by speaker. Found no speaker names in its manifest. "
            "Leave out --speaker-norm, or prepare it with speakers."
        )


def check_classes(corpus: Corpus, task: Task, train: Mapping[str, Sequence[Utterance]]) -> None:
    """Raises InputError where a fold would be taught one class only. `train`: what each fold that is asked for is
    taught, so that the message names all such folds before the first is trained."""
    if task.kind != "class":
        return
    found = {fold: {task.classes[k] for k in task.values(known)} for fold, known in train.items()}
    alike = {fold: f"{len(train[fold])} x {', '.join(names)}" for fold, names in found.items() if len(names) < 2}
    if alike:
        rest = ",".join(fold for fold in train if fold not in alike)
        raise InputError(
            f"{corpus.folder}: one class only in the training part of {', '.join(alike)}, of {len(train)} folds asked "
            f"for. Found {'; '.join(alike.values())}. Use more labels or other folds"
            f"{f', or leave these out: --fold {rest}' if rest else ''}."
        )


@dataclass(frozen=True)
class Lesson:
    """What a network is taught, and judged on where there is a dev part."""

    steps: Steps  # of the labelled utterances; its family is all whose recordings are seen
    target: np.ndarray  # (N,) classes, (N, K) shares of raters or (N, D) regression targets
    dev: Steps | None = None
    truth: Any = None  # (N,) or (N, D), what they are judged by
    dev_target: Any = None  # as `target`, where dev is learned from too
    copies: Sequence[Steps] = ()  # of changed recordings


def train_recogniser(
    plan: Recipe,
    task: Task,
    parts: Parts,
    *,
    init: Pretrained | None = None,
    keep: Keep = Keep(label="fine-tuning", quiet=True),
) -> tuple[Recognised, dict[str, Any]]:
    """Probe, then (in mode "full") everything from the probe's solution; dev chooses l2 and epoch. In mode
    "probe" a published head on frozen states, of which dev chooses learning rate and update.

    Both arms run through this function with the same settings; `init` alone tells them apart.

    Args:
        init: pre-trained weights and the statistics they were trained with; None = random weights from the seed.

    Returns:
        The recogniser and its history: scores of the probe by l2 (or learning rate and update), rows of the
        training log.
    """
    settings, store, task = plan.finetune, parts.store, learned(task, plan)
    torch.manual_seed(settings.seed)
    seen = [*parts.train, *parts.unlabelled]
    backbone, statistics = models.begun(plan, store, seen, init)
    network = models.Network(backbone, settings, task.outputs)
    lesson = Lesson(
        Steps([(store, seen)], plan.frontend, statistics).subset(range(len(parts.train))),
        targets(task, parts.train),
        Steps([(store, parts.dev)], plan.frontend, statistics) if parts.dev else None,
        task.values(parts.dev) if parts.dev else None,
        targets(task, parts.dev) if parts.dev else None,
        [Steps([(copy, parts.train)], plan.frontend, statistics) for copy in parts.copies],
    )
    it = models.Recognised(network, statistics, plan, task)
    history: dict[str, Any]
    if settings.mode == "probe":
        history = fit_head(it, lesson, label=keep.label, quiet=keep.quiet)
    else:
        pooled = PooledStates(network, plan, store, label=f"{keep.label}: encoding", quiet=keep.quiet)
        history = {"probe": fit_probe(it, lesson, pooled)}
        if settings.mode == "full" and settings.training.epochs:
            known = init is not None and isinstance(store, TrackStore)
            alone = plan.frontend.normalise in ("none", "utterance")  # no other recording decides what is read
            key = init.run.config["identity"] if init and known and alone else None
            history |= train_all(it, lesson, keep, key)
    network.eval()
    if lesson.dev and task.kind == "class" and not it.calibration.rows:  # a refit probe has been
        it.calibration = Calibration.fit(models.predict(it, lesson.dev), lesson.truth)
    return it, history | {"calibration": asdict(it.calibration)}


def train_all(it: Recognised, lesson: Lesson, keep: Keep, key: str | None = None) -> dict[str, Any]:
    """Train every weight from where it is; the history of it, with dev's score at the start.

    `key` names the weights as they are, for frozen blocks whose states are kept with the corpus.
    """
    settings, network = it.plan.finetune, it.network
    assert isinstance(settings, Full)
    if count := prefix.frozen(network, settings):
        dev = prefix.states(network, count, lesson.dev, key) if lesson.dev else None
        lesson = replace(lesson, steps=prefix.states(network, count, lesson.steps, key), dev=dev)
        network, settings = prefix.above(network, count), replace(settings, freeze_blocks=0)

    def validate(model: Any) -> dict[str, float]:
        assert lesson.dev is not None
        assert lesson.truth is not None
        answers = models.predict(replace(it, network=model.network), lesson.dev)
        return score(it.task, answers, lesson.truth, chooser(it.task, settings))

    if settings.lora:
        models.add_adapters(network.backbone, settings.lora)
    model = Supervised(network, it.task, settings, lesson.steps, lesson.target)
    start = validate(model) if lesson.dev else {}
    state = training.fit(
        model,
        lesson.steps,
        settings.training,
        target=lesson.target,
        lr_scale=layer_rates(network, settings),
        watch=Watch(
            validate if lesson.dev else None,
            metric="select",
            higher_is_better=True,
            baseline=start.get("select"),
            before_epoch=model.refresh if settings.embedding_norm == "speaker" else None,
        ),
        keep=replace(keep, tracker="" if keep.tracker == "none" else keep.tracker),
    )
    if settings.lora:
        models.merge_adapters(network.backbone)
    it.network.to(network.out.weight.device)  # frozen blocks too
    return {"start": start, "epochs": state.history, "seconds": state.seconds}


def chooser(task: Task, settings: FineTuning) -> str:
    """The dev score that chooses. Raises InputError for one that this task has not."""
    if settings.select:
        if settings.select not in (known := scores.names(task)):
            raise unknown_name("finetune.select", settings.select, known)
        return settings.select
    return "wa" if task.kind == "class" and isinstance(settings, Probe) else scores.MAIN[task.kind]


def judged_by(task: Task, settings: FineTuning) -> dict[str, str]:
    """What "auto" means for regression, which is not what it meant in earlier versions; nothing for classes."""
    loss = settings.loss if settings.loss != "auto" else AUTO["number"]
    return {"loss": loss, "select": chooser(task, settings)} if task.kind == "number" else {}


def score(
    task: Task, predictions: np.ndarray, truth: np.ndarray, by: str = "", likelihood: float = 0.01
) -> dict[str, float]:
    """Dev scores of predictions (N, K) or (N, D); `select` is the one that chooses, by the score `by`.

    To that of classes a hundredth of the mean log-likelihood is added, which tells apart models that a small dev part
    cannot. A score that dev does not define chooses nothing.
    """
    by = by or scores.MAIN[task.kind]
    found = scores.scores(task, truth, predictions.argmax(1) if task.kind == "class" else predictions)
    select = float(found[by]) * (1 if scores.higher_is_better(by) else -1)
    select = select if np.isfinite(select) else -2.0
    if task.kind == "class":
        select += likelihood * float(np.log(predictions[np.arange(len(truth)), truth] + 1e-6).mean())
    shown = ("ua", "wa") if task.kind == "class" else ("mae", "ccc")
    return {f"dev_{name}": float(found[name]) for name in shown} | {"select": select}


def fit_head(it: Recognised, lesson: Lesson, *, label: str = "probe", quiet: bool = True) -> dict[str, Any]:
    """Train a published head on frozen states; the history of its learning rates, and what dev chose."""
    network, task, p = it.network, it.task, it.plan.finetune
    assert isinstance(p, Probe)
    steps, dev, y = lesson.steps, lesson.dev, torch.from_numpy(lesson.target)
    loss = supervised_loss(task, p, lesson.target)
    averaged = p.activation == "none"  # then the mean over time commutes with the head
    network.eval()
    states = linear_probe.frozen_states(network.backbone, steps, averaged=averaged)

    def judge(head: Any) -> dict[str, float]:
        assert dev is not None
        out = np.empty((len(dev), task.outputs), np.float32)
        for rows in sequential(dev.lengths, batch_steps=dev.budget):
            out[rows] = head(dev_states(rows)).numpy()
        # a likelihood decides only where the score itself is equal
        return score(task, models.to_predictions(task, out), lesson.truth, chooser(task, p), likelihood=1e-7)

    if dev is not None:
        dev_states = linear_probe.frozen_states(network.backbone, dev, averaged=averaged)
    chosen, readings = linear_probe.fit(
        linear_probe.Head(network), len(steps), lambda rows: (states(rows), y[torch.from_numpy(rows)]),
        lambda head, batch: loss(head(batch[0]), batch[1]).mean(), p, judge=judge if dev is not None else None,
        label=label, quiet=quiet,
    )  # fmt: skip
    return {"probe": readings, "chosen": chosen}


def fit_probe(it: Recognised, lesson: Lesson, pooled: Callable[[Steps], np.ndarray]) -> list[dict[str, float]]:
    """Fit the output layer on pooled frozen states, for every penalty; leave the one dev prefers in the network, and
    what dev says of its probabilities in `it.calibration`.

    The layer learns from the labelled utterances and from their `copies`, which count as much together; where there is
    a gate, they teach a layer of their own. Layers of other corpora say what both begin with, see `Sources`. With
    `refit` all is solved once more, with the penalty that dev has chosen, on the dev part too.
    """
    network, task, settings = it.network, it.task, it.plan.finetune
    assert not isinstance(settings, Probe)
    steps, dev, copies = lesson.steps, lesson.dev, lesson.copies
    network.eval()
    parts = [(pooled(part), part) for part in (steps.family, *copies)]
    gated, by_speaker = isinstance(network.out, heads.Gated), settings.embedding_norm == "speaker"
    fitted = parts[:1] if gated else parts
    who = [name for _, part in fitted for name in models.speakers(part)] if by_speaker else ()
    network.standardise.fit(torch.from_numpy(np.concatenate([values for values, _ in fitted])), who)
    ours, *others = (models.standardised(it, values, part) for values, part in parts)
    alike = float(max(len(copies), 1))
    plain, changed = Rows.of(ours, lesson.target, alike), [Rows.of(x, lesson.target) for x in others]
    known = plain if gated else plain.beside(*changed)
    names = sources_of(it.plan) if task.kind == "class" else ()
    sources = Sources.of(names, ours.shape[1], len(plain.y))
    dev_pooled = pooled(dev) if dev else np.zeros((0, 0))
    tells = gate(ours, torch.cat(others)) if gated else None

    def teach(known: Rows, layer: Layer, l2: float, with_dev: bool) -> None:
        """The layer, and the gate's, with what is not labelled; `layer`: that of the training labels alone."""
        every = known.beside(*unlabelled_rows(it, lesson, pooled, l2, sources, with_dev))
        if more := len(every.y) - len(known.y):
            next(row for row in rows if row["strength"] == l2)["unlabelled"] = more
        wide = sources.widen(every)
        if with_dev or more:
            layer = solve(task, wide, l2, settings, layer)
        network.begin(*sources.narrow(mixture(task, wide, settings)(layer)))
        if tells is not None:
            wide = sources.widen(every.beside(*changed))
            found = mixture(task, wide, settings)(solve(task, wide, l2, settings, layer))
            network.out.open(sources.narrow(found), tells)

    rows: list[dict[str, float]] = []
    wide = sources.widen(known)
    layer, mixed, solved = None, mixture(task, wide, settings), {}
    for l2 in settings.l2 if dev else settings.l2[:1]:
        layer = solved[l2] = solve(task, wide, l2, settings, layer)
        network.begin(*sources.narrow(mixed(layer)))
        row: dict[str, float] = {"strength": l2}  # history.json's name for it
        if dev is not None:
            answers = models.from_pooled(it, dev_pooled, dev)
            row |= score(task, answers, lesson.truth, chooser(task, settings))
        rows.append(row)
    l2 = penalty(rows, len(dev) if dev and task.kind == "class" else 0)
    teach(known, solved[l2], l2, with_dev=False)
    if not isinstance(settings, Frozen) or dev is None:
        return rows
    if task.kind == "class":
        unseen = models.from_pooled(it, dev_pooled, dev)
        it.calibration = Calibration.fit(unseen, lesson.truth)
    if settings.refit and settings.dev != "test":
        known = known.beside(Rows.of(models.standardised(it, dev_pooled, dev), lesson.dev_target, alike))
        sources = Sources.of(names, ours.shape[1], len(plain.y) + len(dev))
        teach(known, solved[l2], l2, with_dev=True)
    return rows


def unlabelled_rows(
    it: Recognised, lesson: Lesson, pooled: Callable[[Steps], np.ndarray], l2: float, sources: Sources, with_dev: bool
) -> list[Rows]:
    """Those of the training part that have no label, under the classes that a teacher gives them, see `self_training`;
    none where there is nothing to teach. It learns from dev's labels too where these are learned from (`with_dev`)."""
    task, settings, n = it.task, it.plan.finetune, len(lesson.target)
    if not isinstance(settings, Frozen) or not settings.self_training or task.kind != "class":
        return []
    rest = unlabelled_of(len(lesson.steps.family) - n, settings.seed)
    if not len(rest):
        return []
    family, dev = lesson.steps.family, lesson.dev if with_dev else None
    values, who = pooled(family), models.speakers(family)
    norm = heads.Standardise(values.shape[1])
    norm.fit(torch.from_numpy(values), who)
    seen = norm.by_speaker(values, who, settings.speaker_prior)
    labelled, names = Rows.of(seen, lesson.target), who[:n]
    if dev:
        names = [*names, *models.speakers(dev)]
        theirs = norm.by_speaker(pooled(dev), names[n:], settings.speaker_prior)
        labelled = labelled.beside(Rows.of(theirs, lesson.dev_target))
    if not speakers_vary(labelled.y, names):
        return []
    said = pseudo_labels(task, settings, labelled, seen[n:][rest], l2, sources)
    count = float(max(len(lesson.copies), 1)) * settings.self_training * len(labelled.y) / len(rest)
    return [Rows.of(models.standardised(it, values, family)[n:][rest], said, count)]


def layer_rates(network: Any, settings: Any) -> Callable[[str], float]:
    """Parameter name (inside `Supervised`) -> factor on the learning rate: 1 at the top block, `layer_decay`
    less at each one below, 0 for frozen ones. With adapters all else of the backbone is frozen.

    Raises InputError when more blocks are to be frozen than there are.
    """
    depth = len(network.backbone.blocks)
    if not -depth <= settings.freeze_blocks <= depth:
        raise InputError(
            f"finetune.freeze_blocks: at most the {depth} of this backbone. Found {settings.freeze_blocks}."
        )
    frozen = settings.freeze_blocks % (depth + (settings.freeze_blocks >= 0))

    def rate(name: str) -> float:
        if not name.startswith("network.backbone."):
            return settings.head_lr
        name = name.removeprefix("network.backbone.")
        if (
            (settings.lora and "lora_" not in name)
            or (settings.freeze_front and name.startswith("front."))
            or (name == "mask_vector" and not settings.mask_time)
            or name.startswith("speech.")  # which has learned from clean recordings where speech is
        ):
            return 0.0
        level = int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth if name.startswith("norm.") else 0
        return 0.0 if level < frozen + bool(frozen) else settings.layer_decay ** (depth - level)

    return rate
