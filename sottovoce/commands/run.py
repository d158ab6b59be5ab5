"""`sottovoce run`: a published system from corpora to its comparison table, one command."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from sottovoce import files
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
    from sottovoce.systems.run import DryRunDone, FoldContext, ahead, changed, evaluated, variant, variant_home

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
    summary(output, system, module, made, wanted, quiet=quiet)


def summary(
    output: Path,
    system: str,
    module: ModuleType,
    made: Mapping[str, Sequence[Path]],
    wanted: Mapping[str, Any],
    *,
    quiet: bool,
) -> None:
    """compare.* of the variants with the whole system, index.html, run.json."""
    from sottovoce import report as pages
    from sottovoce.data import own, runs
    from sottovoce.evaluation import compare
    from sottovoce.systems.run import SCORES, Report

    items = []
    if len(made) > 1:
        systems = [
            replace(compare.load(",".join(map(str, homes)), quiet=quiet), name=name) for name, homes in made.items()
        ]
        result = compare.compare(systems)
        compare.save(output, result)
        picture = pages.embedded(output / "compare.svg")
        paired = f"paired, against {system}"
        items.append({"title": "All variants", "href": "compare.html", "summary": paired, "picture": picture})
        if not quiet:
            _tables.comparison(result)
    scores = {}
    for name, homes in made.items():
        for home in homes:
            found = own.read_json(home / "report.json", Report, "Delete it and run the same command again.")
            known = {key: score for key, score in found.metrics.items() if score.value is not None}
            main = {key: known[key] for key in SCORES if key in known}
            scores[f"{name}/{home.name}"] = main
            title = f"{name}, {home.name}" if len(homes) > 1 else name
            said = ", ".join(f"{pages.metric_name(key)} {score.value:.3f}" for key, score in main.items())
            items.append({"title": title, "href": f"{name}/{home.name}/report.html", "summary": "", "result": said})
    order = list(module.STEPS)

    def place(page: Path) -> tuple:
        """In the order in which they are made."""
        kind = page.parent.parent.name.rpartition("-")[0]
        return order.index(kind) if kind in order else len(order), runs.natural(str(page))

    for page in sorted(output.glob("steps/*/*/report.html"), key=place):
        step, fold = page.parent.parent.name, page.parent.name
        said = f"step: {module.STEPS.get(step.rpartition('-')[0], '')}"
        items.append({"title": f"{step}, {fold}", "href": str(page.relative_to(output)), "summary": said})
    files.write_json(
        output / "run.json",
        {"kind": "run", "system": system, "scores": scores, "settings": wanted,
         "made": runs.provenance()},
    )  # fmt: skip
    files.write_text(output / "index.html", pages.index_page(f"{system}", items))
    pages.link_pages(output / "index.html", items)
    say(f"Report: {output / 'index.html'}")
