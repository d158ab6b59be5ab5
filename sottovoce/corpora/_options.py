"""What a reader asks: its options on the command line, read from its file without importing it.

They are the keyword arguments of `utterances`, `folds` and `download`, or, where there are many, the fields of a
dataclass `Options`; the annotation says the type and, in `Annotated`, the help text:

    protocol: Annotated[str, "4class or all"] = "4class"                            --protocol TEXT
    own_classes: Annotated[bool, "keep unknown words"] = False                      --own-classes
    label_columns: Annotated[Sequence[str], "further labels"] = ()                  --label-columns A,B
    columns: Annotated[Mapping[str, str], Each("{}-column", {"path": "..."})]       --path-column TEXT
"""

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from sottovoce import plugins
from sottovoce.config import settings
from sottovoce.errors import InputError

FUNCTIONS = ("utterances", "folds", "download")
GIVEN = ("relabel", "into", "base_url", "progress")  # by `prepare`, from options of its own


class Each(NamedTuple):
    """Of a mapping: an option for every key, e.g. `Each("{}-column", {"path": "of the recording"})`."""

    flag: str
    keys: Mapping[str, str]  # key -> help text


@dataclass(frozen=True)
class Option:
    """An option of a reader as the command line shows it."""

    key: str  # the keyword argument
    hint: Any  # its type
    help: str = ""
    default: Any = None  # None where there is none, or none to tell
    part: str = ""  # the key of a mapping
    pattern: str = "{}"

    @property
    def flag(self) -> str:
        name = self.pattern.format(self.part or self.key).replace("_", "-")
        return f"--no-{name}" if self.default is True else f"--{name}"


_NAMES = {
    **{kind.__name__: kind for kind in (str, int, float, bool, tuple, list, dict, Path)},
    **{"Annotated": Annotated, "Any": Any, "Literal": Literal, "Mapping": Mapping, "Sequence": Sequence, "Each": Each},
}


def of(name: str) -> list[Option]:
    """The options of a reader. Raises InputError when there is no such reader."""
    path = plugins.path("corpora", name)
    found: dict[str, Option] = {}
    for key, note, default in _declared(ast.parse(path.read_text(encoding="utf-8"))):
        for option in _options(key, _hint(note, name), default):
            found.setdefault(option.flag, option)
    return list(found.values())


def _declared(tree: ast.Module) -> Iterable[tuple[str, ast.expr | None, ast.expr | None]]:
    """(name, annotation, default) of every keyword argument and field."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS:
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if argument.arg not in GIVEN:
                    yield argument.arg, argument.annotation, default
        if isinstance(node, ast.ClassDef) and node.name == "Options":
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield field.target.id, field.annotation, field.value


def _hint(note: ast.expr | None, name: str) -> Any:
    """An annotation as Python has it; the file is imported only where it uses a name of its own."""
    if note is None:
        return Any
    source = compile(ast.Expression(note), name, "eval")
    try:
        return eval(source, dict(_NAMES))
    except NameError:
        return eval(source, dict(vars(plugins.load("corpora", name))))


def _options(key: str, hint: Any, default: ast.expr | None) -> list[Option]:
    hint, *notes = (hint.__origin__, *hint.__metadata__) if get_origin(hint) is Annotated else (hint,)
    each = next((note for note in notes if isinstance(note, Each)), None)
    if each:
        return [Option(key, str, text, part=part, pattern=each.flag) for part, text in each.keys.items()]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if type(None) in get_args(hint) and len(kinds) == 1:  # what is given is not None
        hint = kinds[0]
    try:
        value = None if default is None else ast.literal_eval(default)
    except ValueError:  # a name: not ours to know
        value = None
    return [Option(key, hint, next((note for note in notes if isinstance(note, str)), ""), value)]


def values(options: Sequence[Option], given: Mapping[str, str | bool | None], texts: Iterable[str]) -> dict[str, Any]:
    """Keyword arguments of a reader: from its options, {flag: text}, and from `--set KEY=VALUE`, JSON where it is JSON.

    An empty text is as good as none. A key that is nobody's option is left for the reader to refuse.
    Raises InputError where a value is not of the option's type.
    """
    found: dict[str, Any] = {}
    plain = {option.key: option for option in options if not option.part}
    for option in options:
        text = given.get(option.flag)
        if text is None or text is False or text == "":
            continue
        if option.part:
            found.setdefault(option.key, {})[option.part] = text
        elif text is True:
            found[option.key] = option.default is not True
        else:
            found[option.key] = settings.typed(option.hint, text, f"{option.flag} {text}")
    for setting in texts:
        key, eq, word = setting.partition("=")
        if not (eq and key.isidentifier()):
            raise InputError(f"--set {setting}: not a setting. Write --set key=value, e.g. speakers=8.")
        try:
            value = json.loads(word)
        except json.JSONDecodeError:
            value = word
        if key in plain:
            hint = plain[key].hint
            value = word if hint is str and not isinstance(value, str) else value  # `part=3` is a text
            value = settings.typed(hint, value, f"--set {setting}")
        found[key] = value
    return found
