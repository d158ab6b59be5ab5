"""Nouns are folders: a file in `corpora/`, `tracks/`, `backbones/`, ... is a name on the command line.

Folders of one's own are named by the environment variable SOTTOVOCE_PLUGINS, several as in PATH: DIR/objectives/mine.py
is then the objective "mine" and DIR/tracks/mine.py the track, next to those of the package and imported as they are.
"""

import ast
import importlib
import os
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from sottovoce.errors import InputError, unknown_name

# What a file of each folder has to hold; the whole contract is in its `base.py`.
FOLDERS = {
    "corpora": ("utterances",),
    "tracks": ("Config",),
    "backbones": ("Config", "Backbone"),
    "objectives": ("Config", "Objective"),
    "recipes": (),
}
VARIABLE = "SOTTOVOCE_PLUGINS"
RENAMED = {("tracks", "strength"): "intensity"}  # names of earlier versions, of which files are there


def elsewhere(folder: str) -> list[str]:
    """Where more files of a noun are; each noun's `__init__` adds them to its `__path__`.

    Raises InputError when a folder of the environment variable is not there.
    """
    homes = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    for home in homes:
        if not home.is_dir():
            raise InputError(f"{VARIABLE}={home}: no such folder. Make it, or unset the variable.")
    return [str(home.resolve() / folder) for home in homes]


def names(folder: str) -> list[str]:
    """The names a folder offers, without importing any of them.

    >>> "fbank" in names("tracks")
    True
    """
    return sorted(_files(folder))


def _files(folder: str) -> dict[str, Path]:
    """Name -> file. Raises InputError when two files have the same name."""
    found: dict[str, Path] = {}
    for home in (Path(__file__).parent / folder, *map(Path, elsewhere(folder))):
        for path in (*home.glob("*.py"), *home.glob("*/__init__.py")):
            name = path.parent.name if path.name == "__init__.py" else path.stem
            if (path.parent == home and path.name == "__init__.py") or name.startswith("_") or name == "base":
                continue
            if name in found:
                raise InputError(f"{path}: {folder} has a {name} already. Found {found[name]}. Give it another name.")
            found[name] = path
    return found


def current(folder: str, name: str) -> str:
    """A name of today for one of an earlier version."""
    return RENAMED.get((folder, name), name)


def earlier(folder: str, name: str) -> list[str]:
    """The names a file had in earlier versions."""
    return [old for (noun, old), new in RENAMED.items() if (noun, new) == (folder, name)]


def path(folder: str, name: str) -> Path:
    """The file behind a name. Raises InputError naming the closest match when there is none."""
    found, name = _files(folder), current(folder, name)
    if name not in found:
        raise unknown_name({"corpora": "corpus"}.get(folder, folder.removesuffix("s")), name, found)
    return found[name]


@cache  # asked for once an utterance where silence is cut off
def load(folder: str, name: str) -> ModuleType:
    """The module behind a name. Raises InputError naming the closest match when there is none."""
    name = current(folder, name)
    file = path(folder, name)
    package = importlib.import_module(f"sottovoce.{folder}")
    package.__path__ += [
        home for home in elsewhere(folder) if home not in package.__path__
    ]  # set since it was imported
    module = importlib.import_module(f"sottovoce.{folder}.{name}")
    if missing := [part for part in FOLDERS[folder] if part not in vars(module)]:
        raise InputError(f"{file}: not one of {folder}. Found no {' and no '.join(missing)}. See `base.py` there.")
    return module


def track_parts(name: str) -> dict[str, Any]:
    """All that a track's module offers, and what it lets another module make (`MAKER`), its own first."""
    module = load("tracks", name)
    return vars(importlib.import_module(vars(module).get("MAKER", module.__name__))) | vars(module)


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
    return ast.get_docstring(ast.parse(_files(folder)[name].read_text())) or ""
