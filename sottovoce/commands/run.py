"""`sottovoce run`: a published system from corpora to its comparison table, one command."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import InputError, say


def main(
    system: Annotated[str, typer.Argument(help="masked_timesteps, gmp_tl or ems")],
    corpora: Annotated[
        list[Path], typer.Argument(help="prepared corpora: the labelled one, then more to pre-train on, unlabelled")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder; the same command again goes on")],
    encoder: Annotated[
        str,
        typer.Option(
            help="gmp_tl: run folder of `pretrain`, folder in transformers' layout, or id of the hub; default: the "
            "package's"
        ),
    ] = "",
    track: Annotated[
        str,
        typer.Option(help="masked_timesteps and ems: what is masked, e.g. encoder or covarep; default: the system's"),
    ] = "",
    small: Annotated[
        bool, typer.Option("--small", help="sizes for two cores: minutes a fold, not the paper's; --set comes after it")
    ] = False,
    fold: _options.Fold = None,
    ablate: Annotated[
        str,
        typer.Option(
            help="variants of the whole system, with commas. masked_timesteps: scratch, frozen. gmp_tl: plain, "
            "no-gender, no-gmp, no-amsoftmax, no-margin, last-layer, single-scale, per-gender, all-frames. ems: "
            "random, energy, sampled, released, threshold, untrained, npc. KEY=VALUE is one too, such as layer=2, and "
            "several make one: no-gmp+no-gender"
        ),
    ] = "",
    leak: Annotated[
        str,
        typer.Option(
            help="leaky variants, to measure how much they flatter: random-dev (dev shares training speakers), "
            "test-selection (the test part chooses); gmp_tl also all-clusters (clusters are fitted on test speakers)"
        ),
    ] = "",
    target: _options.Target = "",
    seeds: Annotated[int, typer.Option(help="seeds of every training; 0, 1, ...", min=1)] = 1,
    transductive: _options.Transductive = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for all variants, e.g. layer=2; repeatable. See --print-config"),
    ] = None,
    config_file: _options.ConfigFile = None,
    opensmile: Annotated[
        bool, typer.Option("--opensmile/--no-opensmile", help="functionals + SVM as a baseline, with the first seed")
    ] = True,
    jobs: _options.Jobs = None,
    workers: _options.Workers = "processes",
    partition: _options.Partition = "",
    print_config: _options.PrintConfig = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything, list the steps, time the first, stop")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars, no tables")] = False,
) -> None:
    """All steps of a system on one corpus, and any ablation of it.

    Example: sottovoce run gmp_tl data/ravdess --fold all -o runs/gmp
    """
    from sottovoce import plugins
    from sottovoce.config import explain
    from sottovoce.config import recipe as recipes
    from sottovoce.config.settings import words
    from sottovoce.data.corpus import Corpus
    from sottovoce.data.folds import choose
    from sottovoce.data.task import Task
    from sottovoce.modeling import hub
    from sottovoce.systems.run import DryRunDone, FoldContext, ahead, changed, evaluated, summary, variant, variant_home

    module = plugins.load("recipes", system)
    if not hasattr(module, "system"):
        raise InputError(f"{system}: not a system of several steps. Found one step: `sottovoce pretrain {system}`.")
    loaded = [Corpus.load(folder) for folder in corpora]
    data = loaded[0]
    task = Task.of(data, words(target))
    if encoder and not module.ENCODER:
        raise InputError(f"{system}: begins without an encoder. Found {encoder}. Leave --encoder out.")
    if track and module.ENCODER:
        raise InputError(f"{system}: reads what its encoder reads. Found --track {track}. Leave it out.")
    encoder = encoder or ("default" if module.ENCODER else "")
    if module.ENCODER and len(loaded) > 1:
        raise InputError(f"{system}: learns from one corpus. Found {len(loaded)}. Pre-train the encoder on the others.")
    plan = hub.parts(encoder)[0].plan if encoder else None
    whole = module.system(plan, loaded, track)
    whole = changed(whole, module.small(whole) if small else (), "--small")
    whole = recipes.configured(whole, explain.read(config_file), config_file) if config_file else whole
    whole = changed(whole, settings or [], "--set")
    if print_config:
        typer.echo(recipes.show(whole))
        return
    wanted = {system: whole}
    for option, text, known in (("--ablate", ablate, module.ABLATIONS), ("--leak", leak, module.LEAKS)):
        for changes in words(text):
            wanted[changes.replace("=", "-")] = variant(whole, changes, known, option)
    folds = choose(data, fold)
    for name, config in wanted.items():
        module.check(config, plan, name, data, task, folds)
    contexts = [FoldContext(loaded, task, f, 0, output, encoder, transductive, jobs, quiet) for f in folds]
    for context in contexts if encoder else ():
        context.weights()  # refused where it has seen test speakers
    if dry_run:
        for name, config in wanted.items():
            say(f"{name}: {module.describe(config, plan)}; {len(folds)} folds x {seeds} seeds")
        say("The first step of a fold; what variants share is made once:")
        try:
            module.run_stages(whole, plan, replace(contexts[0], dry_run=True), output)
        except DryRunDone:
            return
    ahead(system, wanted, plan, contexts, seeds)
    made: dict[str, list[Path]] = {}
    for seed in range(seeds):
        for name, config in wanted.items():
            home = variant_home(output, name, seed)
            for context in contexts:
                module.run_stages(config, plan, replace(context, seed=seed), home / context.fold.name)
            evaluated(home, folds, opensmile=opensmile and name == system and not seed, jobs=jobs)
            made.setdefault(name, []).append(home)
    result = summary(output, system, module.STEPS, made, wanted, quiet=quiet)
    if result and not quiet:
        _tables.comparison(result)
    say(f"Report: {output / 'index.html'}")
