"""Settings as a text that explains them and can be read again: what `--print-config` writes and `--config FILE` reads.

A line of TOML a setting; above it what the comment beside its field says, what it may be, and its default where it
has another value. The comments are read from the source of the dataclass, so that nothing is said in two places.
"""

import ast
import dataclasses
import inspect
import json
import textwrap
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from sottovoce import files
from sottovoce.config.ranges import Range, hints
from sottovoce.errors import InputError

WIDTH = 79
PARTS = {part: f"{part}_config" for part in ("track", "backbone", "objective")}  # name -> its settings


def text(settings: Any) -> str:
    """Every setting as TOML, each explained; a part's name is `track.name`."""
    lines: list[str] = []
    for key, value, said in walk(settings):
        lines += textwrap.wrap(said, WIDTH, initial_indent="# ", subsequent_indent="# ") if said else []
        lines.append(f"{key} = {_toml(value)}" if value is not None else f"# {key} = none")
    return "\n".join(lines)


def walk(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(key, value, explanation) of every setting, in the order of the fields; names of parts first."""
    names = [f.name for f in dataclasses.fields(settings)]
    parts = {long: short for short, long in PARTS.items() if short in names and long in names}
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if name in parts.values():
            yield f"{prefix}{name}.name", value, ""  # another one: an option of the verb
        elif dataclasses.is_dataclass(value):
            yield from walk(value, f"{prefix}{parts.get(name, name)}.")
        elif isinstance(value, Mapping) and value:
            for inner, one in files.flatten(value).items():
                yield f"{prefix}{name}.{inner}", one, ""
        else:
            yield f"{prefix}{name}", files.plain(value), explained(type(settings), field, value)


def explained(kind: type, field: dataclasses.Field, value: Any = None) -> str:
    """What a setting is: its comment, what it may be, its default where `value` is another.

    >>> from sottovoce.config.training import Training
    >>> lr = {f.name: f for f in dataclasses.fields(Training)}["lr"]
    >>> explained(Training, lr, 0.002)
    'peak, after warm-up (above 0; default 0.001)'
    """
    default = field.default if field.default is not dataclasses.MISSING else None
    if default is None and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    said = comments(kind).get(field.name, "").rstrip(".;")
    other = value is not None and default is not None and files.plain(default) != files.plain(value)
    notes = [_allowed(hints(kind)[field.name]), f"default {_toml(files.plain(default))}" if other else ""]
    bracket = "; ".join(filter(None, notes))
    return " ".join(filter(None, [said, bracket and f"({bracket})"]))


def _allowed(hint: Any) -> str:
    """ "0 to 1", "one of ce, l1", "" where the type says all."""
    if get_origin(hint) is Literal:
        choices = [str(choice) for choice in get_args(hint)]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else ""
    if get_origin(hint) is Annotated:
        return next((str(note) for note in hint.__metadata__ if isinstance(note, Range)), "")
    if get_origin(hint) is tuple:
        inner = _allowed(get_args(hint)[0])
        return f"each {inner}" if inner else ""
    return ""


@cache
def comments(kind: type) -> dict[str, str]:
    """{field: what the comment beside or above it says}, of a dataclass and those it is made from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _comments(textwrap.dedent(inspect.getsource(base)))
    return found


def _comments(source: str) -> dict[str, str]:
    beside: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            only = not source.splitlines()[token.start[0] - 1][: token.start[1]].strip()
            (alone if only else beside)[token.start[0]] = token.string.lstrip("# ").strip()
    found = {}
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        above: list[str] = []
        line = node.lineno - 1
        while line in alone:
            above.insert(0, alone[line])
            line -= 1
        last = node.end_lineno or node.lineno
        said = [beside[k] for k in range(node.lineno, last + 1) if k in beside]
        found[node.target.id] = " ".join(above + said)
    return found


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def read(path: Path | str) -> dict[str, Any]:
    """The tree of a file of settings, in the words of the dataclasses. Raises InputError when it is not TOML."""
    try:
        content = Path(path).read_bytes()
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # as PowerShell writes what is redirected
        return _in_full(tomllib.loads(content.decode("utf-16" if wide else "utf-8-sig")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read. {error.strerror or error}. Make one with --print-config.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML. {error}. Write lines such as training.lr = 0.001.") from None


def _in_full(tree: dict[str, Any]) -> dict[str, Any]:
    """`track = {name = "fbank", bins = 40}` as `track = "fbank"` and `track_config = {bins = 40}`, at any depth."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if not isinstance(value, dict):
            found[key] = value
        elif key in PARTS:
            inner = dict(value)
            if "name" in inner:
                found[key] = inner.pop("name")
            found[PARTS[key]] = _in_full(inner)
        else:
            found[key] = _in_full(value)
    return found
