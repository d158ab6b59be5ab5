"""The list of verbs. A verb is imported when it is called, so that `sottovoce --help` costs no torch.

An InputError becomes one line on standard error and exit code 2, and so do a full disk and too little memory; Ctrl-C
and SIGTERM exit with 130; any other exception is our defect and keeps its traceback.
"""

import difflib
import errno
import importlib
import inspect
import io
import math
import os
import re
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from sottovoce import plugins
from sottovoce.errors import InputError, say, unknown_name

# One line a verb, in the order of the data's way; the rest of its help is in `commands/<verb>.py`.
VERBS = {
    "demo": "The whole way on one corpus: prepare, pre-train, fine-tune, evaluate, study, predict.",
    "prepare": "Corpus folder or table -> manifest, speaker-disjoint folds, data report.",
    "extract": "Manifest + a track maker -> cached features (parallel, resumable).",
    "features": "One recording -> any track as a table with named columns.",
    "export-csd": "Tracks of a corpus -> one .csd file, the layout of CMU-MOSEI and its SDK.",
    "pretrain": "Features, no labels -> backbone weights, with a health report.",
    "label": "Hidden states of a run -> k-means units, one label set per K, for a fold.",
    "finetune": "Weights (or none) + labels -> emotion classifier or intensity regressor.",
    "evaluate": "Run -> metrics with intervals next to the baselines, report page, predictions.",
    "compare": "Runs side by side -> paired differences with intervals, p values, table, picture.",
    "audit": "Speakers, recordings, statistics on both sides of a split -> page; exit 3 if any.",
    "transfer": "Trained on some corpora, tested on others -> matrix with intervals, picture, table.",
    "sensitivity": "The same result by other seeds, by fold and without each speaker.",
    "phoneme": "Frozen backbone + transcripts + lexicon -> phone error rate (SUPERB's PR).",
    "run": "A published system, all steps and any ablation of it, to its comparison table.",
    "study": "How many labels pre-training saves, against the identical backbone from scratch.",
    "predict": "Model + recordings -> emotion per file and over time.",
    "view": "A recording, or a timeline of predict -> a page to look at and to listen to.",
    "embed": "Model + recordings -> vectors, one a recording or one a frame.",
    "export": "Model -> one ONNX file that runs without PyTorch, compared with PyTorch.",
    "push": "Model -> the Hugging Face hub or a folder of its layout, with a model card.",
    "serve": "Model -> HTTP, WebSocket and a page to drop or record speech.",
    "list": "Names of the corpora, tracks, backbones, objectives and recipes there are.",
}

NOT_OURS = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO)

WHOLE = {"seed": (0, 2**31 - 1), "seeds": (0, 10_000), "jobs": (0, 1024), "layer": (0, 1000)}  # options of any verb
WRITES_FILE = dict.fromkeys(("features", "export-csd", "embed", "export", "view"), True) | {
    "predict": None,
    "push": None,
}


class Verb(TyperCommand):
    """A verb: a slip in an option is answered with the closest one, a recipe that is named with its settings."""

    words: Sequence[str] = ()

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if not any("--config" in parameter.opts for parameter in self.params):
            return
        from sottovoce.config import explain, recipe

        named = next((word for word in self.words if word in plugins.names("recipes")), "")
        with formatter.section(f"Settings of {named}, for --set" if named else "Settings"):
            try:
                rows = [(f"{key}={value}", said) for key, value, said in explain.walk(recipe.resolve(named))]
                formatter.write_dl([row for row in rows if row[1]], col_max=36)
            except InputError:  # none is named, or one of several steps
                formatter.write_text(
                    f"sottovoce {self.name} ... --print-config explains every one: meaning, unit, range."
                )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self.words = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # click's NoSuchOption; which click it is, typer keeps to itself
            if type(error).__name__ != "NoSuchOption":
                raise
            option = vars(error)["option_name"]
            known = [flag for parameter in self.params for flag in parameter.opts if flag.startswith("-")]
            close = difflib.get_close_matches(option, known, n=1)
            raise InputError(
                f"{self.name}: no option {option}. {f'Did you mean {close[0]}? ' if close else ''}"
                f"`sottovoce {self.name} --help` shows all."
            ) from None


class Verbs(TyperGroup):
    """Finds a verb's module by name when the verb is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each verb's line in full; click cuts it short."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise unknown_name("verb", args[0], VERBS)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, name: str) -> Any:
        if name not in VERBS:
            return None
        module = importlib.import_module(module_of(name))
        text = VERBS[name] + "\n\n" + EXAMPLE.sub(_example, inspect.cleandoc(module.main.__doc__ or ""))
        if "Command" in vars(module):  # its options depend on the words of the command line
            return module.Command(name, help=text)
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, help=text, cls=vars(module).get("Shown", Verb))(module.main)
        command: Any = typer.main.get_command(app)
        command.callback = _checked(command.callback, file=WRITES_FILE.get(name, False))
        return command


def _checked(main: Any, *, file: bool | None) -> Any:
    """A verb that first looks at what holds for every one: numbers are numbers, and -o can be written.

    `file`: whether -o is one, or a folder; None: either.
    """

    def checked(**words: Any) -> Any:
        from sottovoce import files

        for key, value in words.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"--{key.replace('_', '-')} {value}: not a finite number. Give one.")
            if key in WHOLE and isinstance(value, int) and not WHOLE[key][0] <= value <= WHOLE[key][1]:
                raise InputError(f"--{key} {value}: from {WHOLE[key][0]} to {WHOLE[key][1]}. Give another one.")
        if isinstance(words.get("output"), Path):
            files.check_output(words["output"], folder=None if file is None else not file)
        if "workers" not in words:
            return main(**words)
        from sottovoce.commands import _options

        return _options.spread(main, words)

    return checked


EXAMPLE = re.compile(r"^(.*): (sottovoce .*)$", re.M)  # a line of a verb's docstring


def _example(found: re.Match[str]) -> str:
    """An example in lines of its own that can be copied; \\b keeps click from filling them up."""
    lines = textwrap.wrap(found[2], 74, break_long_words=False, break_on_hyphens=False)
    return "\n\b\n" + f"{found[1]}:\n  " + " \\\n    ".join(lines) + "\n"


def module_of(verb: str) -> str:
    """Where a verb lives."""
    return f"sottovoce.commands.{verb.replace('-', '_')}"


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Speech emotion recognition when labels are scarce: pre-train on unlabelled speech, fine-tune on a "
    "few labels, prove what the pre-training bought, and run the result on recordings.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"sottovoce {version('sottovoce')}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    offline: bool = typer.Option(False, "--offline", help="Never ask the network; also after a verb."),
) -> None:
    pass


def of_the_machine(error: Exception) -> str:
    """What a machine without space, rights or memory says, in a line; "" for an error of ours."""
    if isinstance(error, OSError):
        if error.errno not in NOT_OURS:
            return ""
        if error.filename is None:
            return f"output: cannot be written. {error.strerror}. Free space, or send it elsewhere."
        return f"{error.filename}: cannot be used. {error.strerror}."
    if not isinstance(error, MemoryError) and not re.search("can't allocate memory|out of memory", str(error)):
        return ""
    found = str(error).strip().partition("\n")[0].rstrip(".")[:300]
    return f"out of memory. {f'Found: {found}. ' if found else ''}Ask for less at a time, or use a machine with more."


def run() -> None:
    """Entry point of the `sottovoce` command."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # of `kill`, a queue, a container: what was done is kept
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads triple step times on a shared core
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that this terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    if "--offline" in sys.argv[1:]:  # before or after the verb; the libraries look at it when they are imported
        sys.argv.remove("--offline")
        os.environ["HF_HUB_OFFLINE"] = os.environ["SOTTOVOCE_OFFLINE"] = "1"
    try:
        app()
    except InputError as error:
        say(f"sottovoce: {error}", err=True)
        sys.exit(2)
    except UnicodeEncodeError as error:
        if "surrogates" not in error.reason:
            raise
        whole, at = error.object, error.start  # a name, or a text with it
        word = re.findall(r"[^\s\"<>]*$", whole[:at])[0] + re.findall(r"^[^\s\"<>]*", whole[at:])[0]
        name = os.fsencode(word).decode("utf-8", "backslashreplace")
        said = "a file name that is not UTF-8. It cannot be written into a table. Rename it."
        say(f"sottovoce: {name[:200]}: {said}", err=True)
        sys.exit(2)
    except (OSError, MemoryError, RuntimeError) as error:
        if not (said := of_the_machine(error)):
            raise
        say(f"sottovoce: {said}", err=True)
        if isinstance(error, OSError) and error.filename is None:  # what is left to be written cannot be, either
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:  # typer makes Ctrl-C an exit with 130
        if isinstance(end, SystemExit) and end.code != 130:
            raise
        say("sottovoce: interrupted; the same command goes on from here.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    run()
