"""`sottovoce list`: what there is, read from the folders themselves; of a recipe also what it costs and promises."""

import textwrap
from typing import Annotated

import typer

from sottovoce import plugins
from sottovoce.errors import unknown_name

CARD = ("Run", "Needs", "Time", "Expect")  # of a recipe's docstring


def main(
    kind: Annotated[str, typer.Argument(help="corpora, tracks, backbones, objectives or recipes; default: all")] = "",
) -> None:
    """Every name is a file; its first line says what it is. Recipes also say command, needs, time and figures."""
    if kind and kind not in plugins.FOLDERS:
        raise unknown_name("kind", kind, plugins.FOLDERS)
    for folder in [kind] if kind else plugins.FOLDERS:
        found = plugins.names(folder)
        if not kind:
            typer.echo(f"{folder}")
        width = max(map(len, found), default=0)
        for name in found:
            typer.echo(f"  {name:<{width}}  {plugins.summary(folder, name)}")
            if folder == "recipes":
                for key, text in plugins.card(folder, name).items():
                    if key in CARD:
                        hanging = f"    {key:<8}"
                        typer.echo(textwrap.fill(text, 118, initial_indent=hanging, subsequent_indent=" " * len(hanging)))
