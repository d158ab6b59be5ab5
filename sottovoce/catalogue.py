"""`sottovoce list`: what there is, read from the folders themselves."""

from typing import Annotated

import typer

from sottovoce import plugins
from sottovoce.errors import unknown_name


def main(
    kind: Annotated[str, typer.Argument(help="corpora, tracks, backbones, objectives or recipes; default: all")] = "",
) -> None:
    """Every name is a file; its first line says what it is."""
    if kind and kind not in plugins.FOLDERS:
        raise unknown_name("kind", kind, plugins.FOLDERS)
    for folder in [kind] if kind else plugins.FOLDERS:
        found = plugins.names(folder)
        if not kind:
            typer.echo(f"{folder}")
        width = max(map(len, found), default=0)
        for name in found:
            typer.echo(f"  {name:<{width}}  {plugins.summary(folder, name)}")
