"""Options that several verbs share, and what they do for all of them."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Workers = Annotated[
    str,
    typer.Option(
        help="'processes' of this machine; 'folder': the same command on any machine that sees the folders takes what "
        "no other is at; 'ray': this machine or the cluster that RAY_ADDRESS names, 'ray:0.5' with half a GPU each; "
        "'slurm': write a job script with --jobs tasks"
    ),
]
Partition = Annotated[str, typer.Option(help="of the cluster, for --workers slurm")]


def spread(main: Callable[..., Any], words: Mapping[str, Any]) -> Any:
    """A verb with its options, worked off where --workers says."""
    from sottovoce.pipeline import workers

    if words["workers"] == "slurm":
        job = array_job(words.get("output"), words["jobs"] or workers.cores(), words["partition"])
        typer.echo(f"Submit it: sbatch {shlex.quote(str(job))}")
        return None
    with workers.engine(words["workers"]):
        return main(**words)


def array_job(output: Path | None, tasks: int, partition: str) -> Path:
    """The job script whose tasks each run this command with `--workers folder`."""
    from sottovoce import files

    again = [sys.executable, "-m", "sottovoce", *sys.argv[1:], "--workers", "folder", "--jobs", "1"]  # the last counts
    options = [f"--array=0-{tasks - 1}", "--cpus-per-task=1", "--output=sottovoce-%A-%a.log"]
    options += [f"--partition={partition}"] * bool(partition)
    lines = ["#!/bin/sh", *(f"#SBATCH {o}" for o in options), f"cd {shlex.quote(os.getcwd())}", shlex.join(again)]
    job = (output if output and not output.suffix else Path()) / "sottovoce.sbatch"
    files.write_text(job, "\n".join(lines) + "\n")
    return job
