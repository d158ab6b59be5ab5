"""Options that several verbs share, and what they do for all of them."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sottovoce.errors import in_shell, say

Jobs = Annotated[int | None, typer.Option("--jobs", "-j", help="processes for extraction; default: all cores")]
JobsOfAll = Annotated[int, typer.Option("--jobs", "-j", min=0, help="processes; 0 = one for every core")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="file of settings in TOML, as --print-config writes it; --set comes after it"),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="show every setting with what it means, for --config, and stop")
]
Fold = Annotated[str | None, typer.Option(help="NAME, several with commas, or 'all'. Default: the first fold")]
Scratch = Annotated[
    bool, typer.Option("--scratch", help="baseline arm 'scratch': settings of --init, random weights of the seed")
]
Model = Annotated[str, typer.Option("--model", help="folder of a model; default: the model of this package")]
OneRun = Annotated[Path, typer.Argument(help="folder written by `sottovoce finetune` (one fold of it)")]
Labelled = Annotated[Path, typer.Argument(help="prepared corpus with labels")]
Prepared = Annotated[Path, typer.Argument(help="folder written by `sottovoce prepare`, e.g. data/ravdess")]
Transductive = Annotated[
    bool,
    typer.Option("--transductive", help="allow weights that have seen a test speaker (first line of the report)"),
]
Target = Annotated[str, typer.Option(help="label(s) to learn, e.g. emotion or happy,sad; default: the corpus's own")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no summary")]
Track = Annotated[str, typer.Option(help="what to extract; `sottovoce list tracks` names them")]
TrackSettings = Annotated[list[str], typer.Option("--set", help="KEY=VALUE of the track's configuration, e.g. bins=40")]
RunOutput = Annotated[Path, typer.Option("-o", "--output", help="run folder; the same command again resumes it")]
Result = Annotated[Path, typer.Option("-o", "--output", help="folder of the result")]
Workers = Annotated[
    str,
    typer.Option(
        help="'processes' of this machine; 'folder': the same command on any machine that sees the folders takes what "
        "no other is at; 'ray': this machine or the cluster that RAY_ADDRESS names, 'ray:0.5' with half a GPU each; "
        "'slurm': write a job script with --jobs tasks; 'command': write a script that anything else may start; "
        "'command:ssh node{k} {}': have --jobs of it started so, and wait"
    ),
]
Partition = Annotated[str, typer.Option(help="of the cluster, for --workers slurm")]


def per_speaker(settings: Sequence[str]) -> list[str]:
    """Settings of --speaker-norm around those that were given. Standardising by speaker takes away most of a channel
    already, and what copies through others would teach; faster and slower ones are as good as more speakers."""
    return ["finetune.change=speed", *settings, "finetune.embedding_norm=speaker"]


def spread(main: Callable[..., Any], words: Mapping[str, Any]) -> Any:
    """A verb with its options, worked off where --workers says."""
    from sottovoce.pipeline import launch, workers

    way, colon, template = words["workers"].partition(":")
    if way == "slurm" and not colon:
        tasks = words["jobs"] or workers.cores()
        options = [f"--array=0-{tasks - 1}", "--cpus-per-task=1", "--output=sottovoce-%A-%a.log"]
        options += [f"--partition={words['partition']}"] * bool(words["partition"])
        job = launch.script(_home(words) / "sottovoce.sbatch", [f"#SBATCH {o}" for o in options])
        say(f"Submit it: sbatch {in_shell(job)}")
        return None
    if way == "command":
        job = launch.script(_home(words) / "sottovoce.sh")
        if not colon:
            say(f"Start it as often as there are cores, wherever these folders are: {in_shell(job)}")
            return None
        for failure in launch.run(template, job, words["jobs"] or workers.cores()):
            say(f"Others did the work of one that failed: {failure}.", err=True)
        way, words = "folder", {**words, "workers": "folder", "jobs": 1}  # shows what they made
    if way in ("folder", "ray"):  # a queue's word to end is as good as Ctrl-C: what it is at, others take at once
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with workers.engine(words["workers"]):
        return main(**words)


def _home(words: Mapping[str, Any]) -> Path:
    """Where a job script goes: the folder that the verb writes into."""
    output = words.get("output", words.get("corpus"))
    return output if output and not output.suffix else Path()
