"""Nouns are folders: a file in `corpora/`, `tracks/`, `backbones/`, ... is a name on the command line."""

import importlib
import re
from functools import cache
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


@cache  # asked for once an utterance where silence is cut off
def load(folder: str, name: str) -> ModuleType:
    """The module behind a name. Raises InputError naming the closest match when there is none."""
    if name not in names(folder):
        raise unknown_name({"corpora": "corpus"}.get(folder, folder.removesuffix("s")), name, names(folder))
    return importlib.import_module(f"sottovoce.{folder}.{name}")


def maker(track: str) -> ModuleType:
    """The module that makes a track from a recording: its own, or the one it names as MAKER."""
    module = load("tracks", track)
    return importlib.import_module(getattr(module, "MAKER", module.__name__))


def summary(folder: str, name: str) -> str:
    """First line of a module's docstring, read without importing it."""
    return _docstring(folder, name).split("\n")[0]


def card(folder: str, name: str) -> dict[str, str]:
    """The entries of a module's docstring, `Key:   text` with what hangs below it, as {key: text}; a command in a line
    of its own stays in one.

    >>> card("recipes", "frozen_probe")["Needs"]
    'a pre-trained run'
    """
    found: dict[str, str] = {}
    key = ""
    for line in _docstring(folder, name).splitlines():
        head = re.match(r"([A-Z][a-z]+):\s+(.*)", line)
        if head:
            key = head[1]
            found[key] = head[2].strip()
        elif key and line.startswith(" "):
            found[key] += ("\n" if line.strip().startswith("sottovoce ") else " ") + line.strip()
        else:
            key = ""
    return found


def _docstring(folder: str, name: str) -> str:
    """Of a module, without importing it."""
    import ast

    here = Path(__file__).parent / folder
    path = here / f"{name}.py"
    if not path.exists():
        path = here / name / "__init__.py"
    return ast.get_docstring(ast.parse(path.read_text())) or ""
