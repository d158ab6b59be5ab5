"""Nouns are folders: a file in `corpora/`, `tracks/`, `backbones/`, ... is a name on the command line."""

import importlib
from pathlib import Path
from types import ModuleType

from sottovoce.errors import unknown_name

FOLDERS = ("corpora", "tracks", "backbones", "objectives", "recipes")


def names(folder: str) -> list[str]:
    """The names a folder offers, without importing any of them.

    >>> "fbank" in names("tracks")
    True
    """
    here = Path(__file__).parent / folder
    modules = {p.stem for p in here.glob("*.py")} | {p.parent.name for p in here.glob("*/__init__.py")}
    return sorted(name for name in modules if not name.startswith("_"))


def load(folder: str, name: str) -> ModuleType:
    """The module behind a name. Raises InputError naming the closest match when there is none."""
    if name not in names(folder):
        raise unknown_name({"corpora": "corpus"}.get(folder, folder.removesuffix("s")), name, names(folder))
    return importlib.import_module(f"sottovoce.{folder}.{name}")


def summary(folder: str, name: str) -> str:
    """First line of a module's docstring, read without importing it."""
    import ast

    here = Path(__file__).parent / folder
    path = here / f"{name}.py"
    if not path.exists():
        path = here / name / "__init__.py"
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.split("\n")[0]
