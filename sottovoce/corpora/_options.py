"""What a reader asks: its options on the command line.

They are the keyword arguments of `utterances`, `folds` and `download`, or, where there are many, the fields of a
dataclass `Options` that takes keywords alone; the annotation says the type and, in `Annotated`, the help text:

    protocol: Annotated[str, "4class or all"] = "4class"                            --protocol TEXT
    own_classes: Annotated[bool, "keep unknown words"] = False                      --own-classes
    label_columns: Annotated[Sequence[str], "further labels"] = ()                  --label-columns A,B
    columns: Annotated[Mapping[str, str], Each("{}-column", {"path": "..."})]       --path-column TEXT
"""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from sottovoce import plugins
from sottovoce.config import settings
from sottovoce.errors import InputError, check_names

FUNCTIONS = ("utterances", "folds", "download")
GIVEN = ("relabel", "into", "base_url", "progress")  # by `prepare`, from options of its own
Chosen = TypeVar("Chosen")


class Each(NamedTuple):
    """Of a mapping: an option for every key, e.g. `Each("{}-column", {"path": "of the recording"})`."""

    flag: str
    keys: Mapping[str, str]  # key -> help text


@dataclass(frozen=True)
class Option:
    """An option of a reader as the command line shows it."""

    flag: str
    key: str  # the keyword argument
    hint: Any  # its type
    help: str = ""
    default: Any = None  # None where there is none, or none to tell
    part: str = ""  # the key of a mapping


def of(name: str) -> list[Option]:
    """The options of a reader. Raises InputError when there is no such reader."""
    found: dict[str, Option] = {}
    for key, hint, default in _asked(vars(plugins.load("corpora", name))):
        for option in _options(key, hint, default):
            found.setdefault(option.flag, option)
    return list(found.values())


def _asked(module: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(name, type, default) of every keyword argument and field; None where there is no default."""
    for source in (module[name] for name in ("Options", *FUNCTIONS) if name in module):
        hints = get_type_hints(source, include_extras=True)
        for key, p in inspect.signature(source).parameters.items():
            if p.kind is p.KEYWORD_ONLY and key not in GIVEN:
                yield key, hints.get(key, Any), None if p.default is p.empty else p.default


def _options(key: str, hint: Any, default: Any) -> list[Option]:
    hint, *notes = (hint.__origin__, *hint.__metadata__) if get_origin(hint) is Annotated else (hint,)
    each = next((note for note in notes if isinstance(note, Each)), None)
    if each:
        return [Option(_flag(each.flag.format(part)), key, str, text, part=part) for part, text in each.keys.items()]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if type(None) in get_args(hint) and len(kinds) == 1:  # what is given is not None
        hint = kinds[0]
    text = next((note for note in notes if isinstance(note, str)), "")
    return [Option(_flag(f"no-{key}" if default is True else key), key, hint, text, default)]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def chosen(kind: type[Chosen], options: Mapping[str, Any], reader: str) -> Chosen:
    """A reader's `Options` with these values. Raises InputError for one that there is not."""
    check_names(f"option of {reader}", options, [field.name for field in fields(kind)])  # type: ignore[arg-type]
    return kind(**options)


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
