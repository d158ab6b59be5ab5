"""`sottovoce study`: how many labels does pre-training save?"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import InputError, say


def main(
    corpus: _options.Labelled,
    output: Annotated[Path, typer.Option("-o", "--output", help="study folder; the same command again goes on")],
    init: Annotated[
        str,
        typer.Option(
            help="run folder of `pretrain` (made with the same --fold); several with commas or a pattern, 'runs/pre*', "
            "that differ in their seed: seed s of the study takes pre-training s, whose luck is then counted"
        ),
    ],
    labels: Annotated[
        str, typer.Option(help="label counts and percentages of the training part")
    ] = "1%,5%,10%,25%,50%,100%",
    seeds: Annotated[
        int | None,
        typer.Option(help="seeds: weights, order and label subset; default: 5, or one a pre-training", min=1),
    ] = None,
    dev: Annotated[
        str,
        typer.Option(
            help="who chooses: 'share' = a fifth of each label count, 'fold' = the fold's dev speakers, whose labels "
            "come on top, 'superb'. Default: share"
        ),
    ] = "",
    tune: Annotated[
        str,
        typer.Option(
            help="what dev chooses from in every arm and cell: 'small' = learning rate, epochs and depth, two of each, "
            "one after another; 'none'; or lists, 'lr=0.001,0.003 epochs=10,30 depth=0,2'"
        ),
    ] = "small",
    fold: Annotated[
        str | None, typer.Option(help="NAME, several with commas, or 'all'; default: those --init was made for")
    ] = None,
    recipe: Annotated[str, typer.Option(help="a protocol for every arm, e.g. frozen_probe")] = "",
    arms: Annotated[
        str, typer.Option(help="of pretrained, probe, scratch; default: all, or probe,scratch where nothing is tuned")
    ] = "",
    target: _options.Target = "",
    metric: Annotated[
        str, typer.Option(help="score of the curve, by which dev chooses too; default: ua for classes, ccc for numbers")
    ] = "",
    speaker_norm: Annotated[
        bool, typer.Option("--speaker-norm", help="standardise by each speaker's own recordings, in every arm")
    ] = False,
    transductive: _options.Transductive = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for all arms; repeatable")] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="cells at a time, one core each; default: all cores")
    ] = None,
    workers: _options.Workers = "processes",
    partition: _options.Partition = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the cells, time one, estimate, stop")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")] = False,
) -> None:
    """Label-efficiency curve with paired intervals: study.csv, study.json, study.svg, study.png, report.html.

    Example: sottovoce study data/ravdess --init runs/pre --fold all -o runs/study
    """
    from sottovoce.config import recipe as recipes
    from sottovoce.config.settings import words
    from sottovoce.data import runs
    from sottovoce.data.corpus import Corpus
    from sottovoce.data.task import Task
    from sottovoce.evaluation.curves import collect, save
    from sottovoce.evaluation.study import ARMS, Grid, begin, plan_cells, pretrainings, run_cells, timed
    from sottovoce.pipeline.extract import plan_store
    from sottovoce.pipeline.finetune import check_speakers, chooser, learned, settings_of
    from sottovoce.pipeline.tuning import Choices
    from sottovoce.pipeline.workers import cores

    data = Corpus.load(corpus)
    task = Task.of(data, words(target))
    inits = pretrainings(init, seeds or 0)
    seeds = seeds or (5 if len(inits) == 1 else len(inits))
    extra = [f"finetune.dev={dev or 'share'}"] + [f"finetune.select={metric}"] * bool(metric) + list(settings or [])
    if speaker_norm:
        extra = _options.per_speaker(extra)
    plan = recipes.override(settings_of(inits[0], recipe), extra)
    possible = ARMS if plan.finetune.mode == "full" else ("probe", "scratch")
    chosen = list(dict.fromkeys(a.strip() for a in (arms or ",".join(possible)).split(",")))
    for arm in chosen:
        if arm not in possible:
            raise InputError(f"--arms {arms}: no arm {arm!r}. There are: {', '.join(possible)}.")
    task = learned(task, plan)
    check_speakers(data, plan)
    chooser(task, replace(plan.finetune, select=metric))  # refuses a score that there is not
    plan = recipes.at_frame_rate(plan, plan_store(data, plan, quiet=quiet).rate_hz)
    choices = Choices.of(tune, plan)
    cells = plan_cells(plan, data, task, Grid(chosen, labels, seeds, fold, choices), inits, transductive=transductive)
    counts, folds = len({c.share for c in cells}), len({c.fold for c in cells})
    grid = f"{len(chosen)} arms x {counts} label counts x {seeds} seeds x {folds} folds"
    say(f"{len(cells)} cells: {grid}. Budget of a cell: {choices}.")
    jobs = jobs or cores()
    if dry_run:
        largest, total = timed(cells, plan, data, task, choices)
        for arm, (seconds, n) in largest.items():
            say(f"{arm}: {seconds:.0f} s with {n} labels")
        say(f"about {total / jobs / 60:.0f} min with {jobs} jobs on {runs.hardware()}. No result was written.")
        return
    begin(output, plan, task, cells)
    run_cells(cells, plan, data.folder, task, output / "cells", choices, jobs=jobs, quiet=quiet)
    result = collect(cells, plan, data, task, output / "cells", metric, choices)
    save(output, result)
    _tables.curve(result)
    say(f"Report: {output / 'report.html'}")
