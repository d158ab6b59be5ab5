"""`sottovoce finetune`: weights (or none) + labels -> emotion classifier or intensity regressor."""

from typing import Annotated

import typer

from sottovoce.commands import _options
from sottovoce.errors import InputError, in_shell, say


def main(
    corpus: _options.Labelled,
    output: _options.RunOutput,
    init: Annotated[
        str,
        typer.Option(
            help="run folder of `pretrain`, public encoder (folder or hub id), 'default' = this package's encoder, "
            "or 'none' = from scratch. Default: 'default' for recordings; 'none' for encoded features, and where "
            "--recipe, --track or --backbone name settings of their own"
        ),
    ] = "",
    fold: _options.Fold = None,
    recipe: Annotated[
        str,
        typer.Option(help="a protocol, e.g. frozen_probe; or the system of --init none. Default: as --init was made"),
    ] = "",
    target: _options.Target = "",
    labels: Annotated[str, typer.Option(help="labelled training utterances to use: a count or a percentage")] = "100%",
    mode: Annotated[str, typer.Option(help="'full' or 'frozen' (probe only); default: the recipe's")] = "",
    dev: Annotated[
        str,
        typer.Option(
            help="'fold': its own dev speakers; 'share': a fifth of --labels; "
            "'superb': a random 20 % of train + dev, speakers shared; 'test': "
            "leaky, measures how much choosing on the test part flatters"
        ),
    ] = "",
    scratch: _options.Scratch = False,
    speaker_norm: Annotated[
        bool,
        typer.Option(
            "--speaker-norm",
            help="standardise by each speaker's own recordings, test speakers' included (stated in the report)",
        ),
    ] = False,
    sources: Annotated[
        str,
        typer.Option(
            help="corpora whose emotion layers, part of this package, say what the output layer begins with, so that "
            "few labels go further: cremad, jl_corpus (the default with the package's encoder), ravdess, nemo (not for "
            "commercial use), or a fold of an earlier fine-tuning, runs/other/fold1; 'none'. One that has heard this "
            "corpus, or has fewer than two of its classes, is left out (see `sottovoce list sources`)"
        ),
    ] = "",
    transductive: _options.Transductive = False,
    track: Annotated[str, typer.Option(help="features for --init none; default: the recipe's")] = "",
    backbone: Annotated[str, typer.Option(help="backbone for --init none; default: the recipe's")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. finetune.training.epochs=5; repeatable")
    ] = None,
    config: _options.ConfigFile = None,
    seed: Annotated[
        int | None, typer.Option(help="seed of weights, order and label subset. Default: 0, or --config's")
    ] = None,
    tracker: Annotated[str, typer.Option(help="tensorboard, wandb, ...; 'none' for none")] = "none",
    jobs: _options.Jobs = None,
    print_config: _options.PrintConfig = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, say what would be done, stop")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")] = False,
) -> None:
    """Learn emotions from labelled utterances of a fold's training part; choose on its dev part.

    Example: sottovoce finetune data/ravdess --init runs/pre --fold all -o runs/ft
    A published protocol: sottovoce finetune data/ravdess --init runs/pre --recipe frozen_probe -o runs/probe
    """
    from sottovoce.config import explain
    from sottovoce.config import recipe as recipes
    from sottovoce.config.settings import words
    from sottovoce.data.corpus import Corpus
    from sottovoce.data.folds import choose, with_dev
    from sottovoce.data.task import Task
    from sottovoce.evaluation import lines
    from sottovoce.modeling.loop import Keep
    from sottovoce.pipeline.extract import plan_store
    from sottovoce.pipeline.finetune import (
        Given,
        check_classes,
        check_network,
        check_speakers,
        default_init,
        finetune,
        learned,
        select,
        settings_of,
        weights_for,
    )
    from sottovoce.pipeline.source_choice import begun_with, with_sources

    data = Corpus.load(corpus)
    tree = explain.read(config) if config else {}
    task = Task.of(data, words(target))
    extra = list(settings or [])
    extra += [f"finetune.mode={mode}"] * bool(mode) + [f"finetune.dev={dev}"] * bool(dev)
    if speaker_norm:
        extra = _options.per_speaker(extra)
    protocol = recipes.is_protocol(recipe)
    scratch_wanted = track or backbone or (recipe and not protocol)  # settings of no encoder
    init = init or ("none" if scratch_wanted else default_init(data))
    if init == "none":
        if scratch:
            raise InputError("--scratch: whose settings? Found --init none. Name the run that it is compared with.")
        system = "" if protocol else recipe or str(tree.get("name", ""))
        track, backbone = track or str(tree.get("track", "")), backbone or str(tree.get("backbone", ""))
        own = [text for text in extra if text.strip().startswith("track.")]  # which encoder, before one is looked for
        plan = recipes.resolve(system or "masked_timesteps", [data], track=track, backbone=backbone, settings=own)
        plan = recipes.judged(plan, recipe) if protocol else plan
    else:
        plan = settings_of(init, recipe, track, backbone)
    plan = recipes.override(recipes.configured(plan, tree, config) if config else plan, extra)
    if sources or "sources" not in (tree.get("finetune") or {}):  # which a file of settings may name
        plan = begun_with(plan, sources, init)
    seed = plan.finetune.seed if config and seed is None else seed or 0
    plan = recipes.seeded(plan, seed)
    init = "none" if scratch else init
    if print_config:
        typer.echo(recipes.show(plan))
        return
    folds = choose(data, fold)
    task = learned(task, plan)
    check_speakers(data, plan)
    parts = [with_dev(data, f, plan.finetune.dev) for f in folds]
    known = {f.name: select(data, f.train, task, labels, seed) for f in parts}
    check_classes(data, task, known)
    weights = {f.name: weights_for(init, data, f, transductive=transductive) for f in folds}
    plan, left_out = with_sources(plan, task, [data], weights[folds[0].name])
    check_network(plan, task, weights[folds[0].name])
    if left_out:
        say(left_out, err=True)
    if plan.per_speaker and (said := lines.of_one_class(task, (data.by_id[k] for k in folds[0].train))):
        say(said, err=True)
    for f in parts:
        if said := lines.incomplete(task, (data.by_id[k] for k in f.train), f.name):
            say(said, err=True)
    if dry_run:
        for f in parts:
            sizes = f"{len(known[f.name])} labels, {len(f.dev)} dev, {len(f.test)} test utterances"
            say(f"{output / f.name}: {sizes}, init {init}.")
        return
    store = plan_store(data, plan, jobs=jobs, quiet=quiet)
    plan = recipes.at_frame_rate(plan, store.rate_hz)
    for f in folds:
        if said := lines.untaught(task, known[f.name], f.name):
            say(said, err=True)
        finetune(
            plan, data, store, f, task, Given(weights[f.name], labels, seed, transductive),
            Keep(output / f.name, tracker=tracker, quiet=quiet),
        )  # fmt: skip
    say(f"{output}: done. Next: sottovoce evaluate {in_shell(output)}")
    if len(folds) < len(data.folds):
        say(f"{len(folds)} of {len(data.folds)} folds; --fold all makes the whole cross-validation.")
