"""`sottovoce pretrain`: tracks, no labels -> backbone weights, and a page that shows whether it is healthy."""

from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options
from sottovoce.errors import say


def main(
    recipe: Annotated[str, typer.Argument(help="recipe, see `sottovoce list recipes`; e.g. masked_timesteps")],
    corpora: Annotated[list[Path], typer.Argument(help="prepared corpora, labelled or not")],
    output: _options.RunOutput,
    fold: Annotated[
        str | None,
        typer.Option(
            help="leave this fold's test (and dev) speakers out; NAME, several with commas, 'all' = one run a fold, "
            "'none' = learn from all speakers (such weights are refused in evaluation unless --transductive). "
            "Default: the first fold."
        ),
    ] = None,
    track: Annotated[
        str, typer.Option(help="features; default: the recipe's, or covarep where a corpus has only that")
    ] = "",
    backbone: Annotated[str, typer.Option(help="see `sottovoce list backbones`; default: the recipe's")] = "",
    objective: Annotated[
        str, typer.Option(help="see `sottovoce list objectives`; default: the recipe's; another has its own defaults")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="KEY=VALUE, e.g. objective.span=9 training.epochs=20; repeatable. See --print-config."
        ),
    ] = None,
    config: _options.ConfigFile = None,
    seed: Annotated[
        int | None, typer.Option(help="seed of weights, order and masks. Default: 0, or --config's", show_default=False)
    ] = None,
    init: Annotated[str, typer.Option(help="run folder or public encoder whose weights to go on from")] = "",
    units: Annotated[
        str, typer.Option(help="folder of `sottovoce label` with the units to predict; default: made as targets say")
    ] = "",
    transductive: Annotated[
        bool,
        typer.Option("--transductive", help="allow an intensity track whose model has seen test speakers (reported)"),
    ] = False,
    tracker: Annotated[
        str, typer.Option(help="tensorboard, wandb, ... (accelerate's names); 'none' for none")
    ] = "tensorboard",
    jobs: _options.Jobs = None,
    print_config: _options.PrintConfig = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything, time a few updates, estimate, stop")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")] = False,
) -> None:
    """Learn from speech without labels. Needs: prepared corpora; extracts missing features itself.

    Example: sottovoce pretrain masked_timesteps data/ravdess data/librispeech -o runs/pre --fold all
    """
    from sottovoce.config import recipe as recipes
    from sottovoce.data import runs
    from sottovoce.data.corpus import Corpus
    from sottovoce.pipeline import strength
    from sottovoce.pipeline.pretrain import names_of_runs, pretrain
    from sottovoce.pipeline.pretrain_data import Start

    loaded = [Corpus.load(folder) for folder in corpora]
    plan = recipes.resolve(
        recipe,
        loaded,
        track=track,
        backbone=backbone,
        objective=objective,
        settings=settings or [],
        seed=seed,
        config=config,
    )
    if print_config:
        typer.echo(recipes.show(plan))
        return
    start = Start(init, units, transductive, tracker, jobs, quiet)
    names = names_of_runs(plan, loaded, fold)
    for name in names:
        folder = runs.folder_of(output, name)
        pretrain(plan, loaded, name, folder, start, dry_run=dry_run)
        if dry_run:
            if len(names) > 1:
                say(f"{len(names)} folds ({', '.join(names)}): about {len(names)} times as long in all.")
            return
        say(f"{folder}: done. Report: {folder / 'report.html'}")
    if plan.objective == "strength" and len(names) > 1:
        page = strength.over_folds(plan.name, output, names)
        say(f"{output}: agreement over all folds. Report: {page}")
