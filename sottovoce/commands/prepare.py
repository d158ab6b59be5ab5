"""`sottovoce prepare`: a corpus folder or a table -> manifest, speaker-disjoint folds, data report.

The options of a reader stand in its file (`corpora/_options.py`). Which reader it is, is known when the words of the
command line are; the command with its options is made then.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from sottovoce import files, plugins
from sottovoce.commands import _tables
from sottovoce.config.settings import words
from sottovoce.corpora import _options
from sottovoce.corpora._options import Option
from sottovoce.errors import InputError


def main(
    name: Annotated[
        str, typer.Argument(help="a corpus reader: `sottovoce list corpora`; folder, table, hf and tar for your own")
    ],
    source: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="the corpus; a file for `table`; not needed with --download")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", "--out", help="folder to write; default data/NAME")
    ] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", metavar="A=B", help="call class A B, e.g. excited=happy,calm=neutral")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="A", help="leave class A out, e.g. xxx,calm")
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="how many; default: the reader's own folds")] = None,
    group: Annotated[
        str, typer.Option("--group", help="what folds keep apart: speaker, session, or none (by file, leaky)")
    ] = "",
    download: Annotated[
        Path | None, typer.Option("--download", metavar="DIR", help="fetch the corpus into DIR first, where allowed")
    ] = None,
    base_url: Annotated[str, typer.Option("--base-url", help="with --download: a mirror")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="an option of the reader by its name, e.g. speakers=8"),
    ] = None,
    leave_out: Annotated[
        str, typer.Option("--leave-out", metavar="A,B", help="also drop silent, duplicate, clipped or short recordings")
    ] = "",
    no_scan: Annotated[bool, typer.Option("--no-scan", help="read headers only, decode nothing")] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="processes that decode; default: the cores there are")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
    **own: str | bool | None,
) -> None:
    """Writes manifest.csv, folds.json, corpus.json and a data report (report.html, report.json).

    Counts are utterances. Recordings that cannot be read are listed and left out; nothing else is, unless
    --leave-out says so. A reader has options of its own: `sottovoce prepare NAME --help`.
    Example: sottovoce prepare ravdess DIR -o data/ravdess
    """
    from sottovoce.data import vocabulary
    from sottovoce.pipeline.prepare import Asked, Fetch, prepare

    options, out = _options.of(name), out or Path("data") / name
    files.check_output(out, folder=True)
    asked = Asked(vocabulary.overrides(map_ or (), drop or ()), folds, group, words(leave_out), not no_scan)
    given = _options.values(options, {o.flag: own.get(_keyword(o)) for o in options}, set_ or ())
    fetch = Fetch(download, base_url) if download else None
    report = prepare(name, source, out, asked, options=given, download=fetch, jobs=jobs, quiet=quiet)
    if not quiet:
        _tables.corpus(report, out)


class Command(TyperCommand):
    """Becomes the command with the options of the reader that the words name."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        name = _named(args)
        command = _command(_options.of(name) if name else [], str(self.help))
        command.reader = name
        taken = {flag for p in command.params if not str(p.name).startswith("own_") for flag in p.opts}
        for option in command.own:
            if option.flag in taken:
                raise InputError(
                    f"{plugins.path('corpora', name)}: option {option.flag} is every reader's. Rename {option.key}."
                )
        return command.make_context(info_name, args, parent, **extra)


class _Command(TyperCommand):
    """The options of the reader stand beneath those of all, and it says which it has."""

    reader = ""
    own: Sequence[Option] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # click's NoSuchOption; which click it is, typer keeps to itself
            if type(error).__name__ != "NoSuchOption" or not self.reader:
                raise
            unknown = vars(error)["option_name"]
            words = ", ".join(option.flag for option in self.own) or "none"
            raise InputError(f"prepare {self.reader}: no option {unknown}. It has: {words}. Leave it out.") from None

    def format_options(self, ctx: Any, formatter: Any) -> None:
        every, self.params = self.params, [p for p in self.params if not str(p.name).startswith("own_")]
        super().format_options(ctx, formatter)
        self.params = every
        if self.reader:
            rows = [p.get_help_record(ctx) for p in every if str(p.name).startswith("own_")]
            title = f"Options of {self.reader}"
        else:
            rows = [(name, plugins.summary("corpora", name)) for name in plugins.names("corpora")]
            title = "Readers"
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _command(options: Sequence[Option], help: str) -> Any:
    """The command with a reader's options."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command("prepare", cls=_Command, help=help)(_asking(options))
    command: Any = typer.main.get_command(app)
    command.own = options
    return command


def _asking(options: Sequence[Option]) -> Callable[..., None]:
    """`main` as if it had been written with these options."""

    def door(**words: Any) -> None:
        main(**words)

    common = list(inspect.signature(main).parameters.values())[:-1]
    door.__doc__ = main.__doc__
    asked = [p.replace(kind=p.KEYWORD_ONLY) for p in [*common, *map(_parameter, options)]]
    door.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]
    door.__annotations__ = {p.name: p.annotation for p in asked}
    return door


def _parameter(option: Option) -> inspect.Parameter:
    """As typer reads it: flags as flags, all else as text, which `_options.values` turns into what the reader asks."""
    kind: Any = bool
    metavar, text = None, option.help
    if option.hint is not bool:
        told = "" if option.default in (None, "", ()) else f" [default: {_text(option.default)}]"
        kind, metavar, text = str | None, _metavar(option.hint), option.help + told
    default = False if option.hint is bool else None
    note: Any = Annotated[kind, typer.Option(option.flag, metavar=metavar, help=text)]
    return inspect.Parameter(_keyword(option), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=note)


def _metavar(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    return {int: "<int>", float: "<float>", str: "<str>", Path: "<path>", Any: "VALUE"}.get(hint, "A,B")


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _keyword(option: Option) -> str:
    """Of a reader's option, apart from prepare's own: both have a name."""
    return "own" + option.flag.replace("-", "_")


def _named(args: Sequence[str]) -> str:
    """The reader that the words of a command line name, "" where they name none."""
    words = [word for word in args if not word.startswith("-")]
    if not words or args[0] == words[0]:
        return words[0] if words else ""
    every = {o.flag: o for name in plugins.names("corpora") for o in _options.of(name)}  # options come first
    command = _command(list(every.values()), "")
    context = command.make_context("prepare", list(args), resilient_parsing=True, ignore_unknown_options=True)
    return context.params.get("name") or ""
