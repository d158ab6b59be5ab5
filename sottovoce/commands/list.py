"""`sottovoce list`: what there is, read from the folders themselves; of a recipe also what it costs and promises."""

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from sottovoce import files, plugins
from sottovoce.errors import unknown_name

ENCODERS = {  # what --init takes beside run folders
    "default": "four blocks made from Whisper base, 13.6 MB, in this package; see weights/NOTICE.txt",
    "DIR or owner/name": "Whisper, HuBERT, WavLM, wav2vec 2.0, data2vec in the hub's layout, safetensors",
}
SOURCES = Path(plugins.__file__).parent / "weights/source_layers.json"  # read here, as torch takes a second
CARD = ("Run", "Needs", "Time", "Expect")  # of a recipe's docstring


def main(
    kind: Annotated[
        str, typer.Argument(help="corpora, tracks, backbones, objectives, recipes, encoders or sources; default: all")
    ] = "",
) -> None:
    """Every name is a file; its first line says what it is. Recipes also say command, needs, time and figures."""
    if kind and kind not in (*plugins.FOLDERS, "encoders", "sources"):
        raise unknown_name("kind", kind, (*plugins.FOLDERS, "encoders", "sources"))
    for folder in plugins.FOLDERS if not kind else [kind] if kind in plugins.FOLDERS else []:
        found = plugins.names(folder)
        if not kind:
            typer.echo(f"{folder}")
        width = max(map(len, found), default=0)
        for name in found:
            typer.echo(f"  {name:<{width}}  {plugins.summary(folder, name)}")
            if folder == "recipes":
                card = plugins.card(folder, name)
                for key in CARD:
                    if key in card:
                        typer.echo(_hanging(f"    {key:<8}", card[key]))
    if kind in ("", "encoders"):
        if not kind:
            typer.echo("encoders")
        for name, said in ENCODERS.items():
            typer.echo(f"  {name:<17}  {said}")
    if kind in ("", "sources"):
        if not kind:
            typer.echo("sources")
        for name, told in files.read_json(SOURCES)["corpora"].items():
            free = "by default" if told["free"] else "not for commercial use"
            classes = ", ".join(told["classes"])
            typer.echo(
                f"  {name:<10}  {told['title']}, {told['labels']:,} labels: {classes}; {told['licence']}, {free}"
            )


def _hanging(head: str, text: str) -> str:
    """`head` and the text beside it, in lines of 118 characters; where the text has a new line, so has this."""
    wrap = textwrap.TextWrapper(118 - len(head), break_long_words=False, break_on_hyphens=False)
    lines = [line for part in text.split("\n") for line in wrap.wrap(part)]
    return head + ("\n" + " " * len(head)).join(lines)
