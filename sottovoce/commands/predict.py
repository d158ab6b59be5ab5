"""`sottovoce predict`: recordings of any length -> emotion, and emotion over time."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sottovoce.commands import _options, _tables
from sottovoce.errors import InputError, say

PIPE = Path("-")  # standard input
BROKEN = 3  # exit code: some recordings could not be read and were left out
MOST = 50  # recordings that are shown one by one
FORMATS = "csv,json,png,svg,html"


def main(
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(help="audio files, folders of them, - for standard input; the folder of a model may come first"),
    ] = None,
    model: _options.Model = "",
    timeline: Annotated[
        bool, typer.Option("--timeline", help="also emotion over time: files of every recording, see --format")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="out.csv or out.json, timelines go into a folder of its name; or a folder"),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="of timelines: csv,json,textgrid,audacity,rttm,vtt,elan,svg,png,html")
    ] = FORMATS,
    window: Annotated[float, typer.Option(help="seconds that an answer over time is pooled from", min=0.2)] = 3.0,
    hop: Annotated[float, typer.Option(help="seconds from one answer to the next", min=0.05)] = 0.25,
    smooth: Annotated[float, typer.Option(help="seconds that answers are averaged over for segments", min=0)] = 0.75,
    shortest: Annotated[float, typer.Option(help="seconds of the shortest segment", min=0)] = 0.5,
    channel: Annotated[
        str, typer.Option(help="mix, left, right, a number from 1, or each: every channel is a speaker")
    ] = "mix",
    turns: Annotated[
        Path | None, typer.Option(help="RTTM file of who speaks when, or a folder of one NAME.rttm a recording")
    ] = None,
    labels: Annotated[
        str, typer.Option(metavar="A,B", help="the classes that are possible, e.g. angry,sad; shares of 1 among them")
    ] = "",
    vad: Annotated[
        Literal["auto", "silero", "loudness"], typer.Option(help="how speech is found; auto: silero where installed")
    ] = "auto",
    abstain: Annotated[
        str,
        typer.Option(
            metavar="X|auto",
            help="label 'unsure' where the strongest class has less than X; auto = 0.5, rather wrong than right",
        ),
    ] = "0",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="workers; default: 1, of a cluster all cores")
    ] = None,
    workers: _options.Workers = "processes",
    partition: _options.Partition = "",
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help=f"list unreadable files and go on; exit code {BROKEN} if any")
    ] = False,
    mic: Annotated[bool, typer.Option("--mic", help="the microphone instead of recordings, live")] = False,
    device: Annotated[str, typer.Option(help="with --mic: number or name; python -m sounddevice lists them")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no table")] = False,
) -> None:
    """Emotion of each recording: label and probabilities (or predicted values), with --timeline also over time.

    With -o every result is kept as soon as it is there, and the same command goes on after an interruption; what was
    heard is not heard again. Example: sottovoce predict interview.wav calls/ --timeline -o out/
    """
    from sottovoce.config import settings
    from sottovoce.data import runs
    from sottovoce.inference import bulk, formats, microphone
    from sottovoce.inference.load import load
    from sottovoce.inference.timeline import Timing

    words, possible = list(recordings or []), tuple(settings.words(labels))
    if not model and len(words) > 1 and runs.is_model(words[0]):
        model = str(words.pop(0))
    if format_ != FORMATS and not timeline:
        raise InputError(f"predict --format {format_}: of timelines. Found no --timeline. Add it, or leave it out.")
    if device and not mic:
        raise InputError(f"predict --device {device}: of a microphone. Found no --mic. Add it, or leave it out.")
    if mic:
        from sottovoce.commands import _live

        files_only = {"-o": output, "--timeline": timeline, "--turns": turns, "--skip-broken": skip_broken}
        if said := [option for option, given in files_only.items() if given]:
            raise InputError(f"predict --mic: answers live. Found {said[0]}, for recordings. Leave one of both out.")

        if len(words) == 1 and not model and not words[0].is_file():
            model = str(words.pop())
        if words:
            raise InputError(f"predict --mic: takes no recordings. Found {words[0]}. Leave one of both out.")
        chunks = microphone.chunks(int(device) if device.isdecimal() else device or None)
        heard, timing = load(model or None, possible, vad), Timing(window, hop, smooth, shortest)
        _live.show(heard.stream(chunks, timing=timing), heard.names, heard.latency_s(timing))
        return
    if not words:
        raise InputError("predict: no recording. Name audio files or folders of them, or --mic.")
    with _recordings(words) as (paths, piped):
        table, folder, journal_at = _places(output, timeline)
        plan = bulk.Plan(
            model or None, possible, vad, channel,
            str(turns or ""), confidence_of(abstain), Timing(window, hop, smooth, shortest), str(folder or ""),
            tuple(formats.names(format_)) if timeline else (),
        )  # fmt: skip
        broken = _hear(paths, piped, plan, table, journal_at, jobs, skip_broken, quiet)
    if broken:
        raise typer.Exit(BROKEN)


@contextlib.contextmanager
def _recordings(words: Sequence[Path]) -> Iterator[tuple[list[Path], Path | None]]:
    """Every recording that is named, and which of them is standard input, for as long as they are heard."""
    from sottovoce.data.recordings import audio_files
    from sottovoce.inference import sources
    from sottovoce.serving.settings import Serving

    if PIPE not in words:
        yield list(audio_files(words)), None
        return
    with sources.piped(sys.stdin.buffer if sys.stdin else None, Serving().upload_mb * 1e6) as piped:
        yield list(audio_files(piped if word == PIPE else word for word in words)), piped


def _hear(
    paths: Sequence[Path], piped: Path | None, plan: Any, table: Path | None, journal_at: Path | None,
    jobs: int | None, skip_broken: bool, quiet: bool,
) -> list[str]:  # fmt: skip
    """What is wrong with those that were left out; the others' answers are written and shown."""
    from sottovoce.data.progress import Bar
    from sottovoce.inference import bulk
    from sottovoce.inference.load import load, opened

    recogniser = (opened if quiet else load)(plan.model, plan.labels, plan.vad)
    journal = bulk.Journal(journal_at, bulk.settings(plan, recogniser))
    different = len(set(paths))  # a recording may be named twice
    there = {str(path) for path in paths if journal.find(path) is not None}
    earlier = len(there)
    if earlier and not quiet:
        say(f"{journal_at}: {earlier} of {different} are there, going on.", err=True)
    written = bulk.Table(table, paths, journal) if table else None
    broken = []
    bar = Bar(different, "predict", quiet=quiet or different < 2, done=earlier)
    with written or contextlib.nullcontext(), bar:
        for done in bulk.hear(recogniser, plan, paths, journal, jobs, skip_broken):
            bar.advance(done.path not in there)  # again, with a new one of the same speaker
            wrong = done.broken
            if piped is not None and done.path == str(piped):  # its folder means nothing to anybody
                wrong = wrong.replace(str(piped), piped.name)
            broken += [wrong] if wrong else []
            if written and not done.broken:
                written.now_and_then()
    if recogniser.per_speaker and not quiet:
        say("Standardised per speaker: the recordings of one folder count as one speaker's.")
    results = journal.answers(paths)
    if not results:
        raise InputError(f"{paths[0]}: nothing could be read. Found {len(broken)} broken files, the first: {broken[0]}")
    if not quiet:
        _tables.predictions([r.row for r in results], recogniser.names, recogniser.task.kind, MOST)
        for place in filter(None, [table, Path(plan.folder) if plan.folder else None]):
            say(f"{'Timelines' if place != table else 'Table'}: {place}")
        if others := len(journal.done.keys() - set(map(str, paths))):
            say(f"The table holds what is named now; {others} heard before stay in {journal_at}.")
    bulk.write_broken(journal_at, broken)
    for line in broken:
        say(f"skipped {line}", err=True)
    return broken


def _places(output: Path | None, timeline: bool) -> tuple[Path | None, Path | None, Path | None]:
    """Table, folder of timelines, journal. Raises InputError for a table of an unknown kind."""
    if output is None:
        folder = Path("timeline") if timeline else None
        return None, folder, folder and folder / "journal.jsonl"
    if output.suffix.lower() in (".csv", ".json") and not output.is_dir():
        return output, output.with_suffix("") if timeline else None, output.with_name(f"{output.name}.journal.jsonl")
    if output.suffix and not output.is_dir():
        raise InputError(
            f"{output}: unknown kind of table. Found {output.suffix}. Name a .csv or .json file, or a folder."
        )
    return output / "predictions.csv", output, output / "journal.jsonl"


def confidence_of(text: str) -> float | None:
    """None for "auto". Raises InputError for what is no share either."""
    if text == "auto":
        return None
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise InputError(f"--abstain {text}: no confidence. Give a number from 0 to 1, or auto.")
