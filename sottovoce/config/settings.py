"""`--set key=value`: fields of a configuration dataclass from text, typed by their annotations.

    parse_settings(Config, ["bins=40", "objective.span=9"])

A dot goes into a nested dataclass. An unknown key fails with the closest name, a value of the wrong type
with the type that is wanted, and whatever `__post_init__` refuses with its own words.
"""

import dataclasses
import json
import logging
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sottovoce.config import finetuning
from sottovoce.config.ranges import Settings, check_ranges
from sottovoce.errors import InputError, unknown_name

notes = logging.getLogger("sottovoce")

C = TypeVar("C")


def parse_settings(config: type[C] | C, items: Iterable[str], *, option: str = "--set") -> C:
    """A configuration with some fields set from `key=value` texts; the rest keeps its defaults.

    Values: `7`, `1e-4`, `true|false`, `none` where None is allowed, `a,b,c` for tuples, plain words for
    texts. The last of two settings of one key wins.

    Args:
        config: the dataclass (its defaults are the base), or an instance of it to start from.
        items: "key=value", keys with dots for nested dataclasses.
        option: how the error calls what the user typed.

    Raises InputError: no "=", an unknown key, a value that does not fit, or values `__post_init__` refuses.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     bins: int = 80
    ...     window: str = "povey"
    >>> parse_settings(Config, ["bins=40"])
    Config(bins=40, window='povey')
    """
    tree: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{option} {item}: not key=value. Found {item!r}. Write it as in {option} bins=40.")
        *above, leaf = key.strip().split(".")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise InputError(
                    f"{option} {item}: {name!r} is set twice. Found it as a value and as a group. Keep one."
                )
        if isinstance(node.get(leaf), dict):
            raise InputError(f"{option} {item}: {leaf!r} is set twice. Found it as a value and as a group. Keep one.")
        node[leaf] = text.strip()
    return _apply(config, tree, option, "")


def from_mapping(config: type[C] | C, values: Mapping[str, Any], *, where: str = "settings") -> C:
    """A configuration from what JSON kept of one (`dataclasses.asdict`): lists become tuples, mappings dataclasses.

    Raises InputError: an unknown key or a value that does not fit; its message begins with `where`.
    """
    return _apply(config, values, where, "")


def chosen(config: Any) -> Any:
    """What of a configuration differs from its defaults: what a run is known by.

    A setting that a later version adds, at its default, makes no other run of an old one.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     bins: int = 80
    ...     window: str = "povey"
    >>> chosen(Config(bins=40))
    {'bins': 40}
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return config
    found = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    defaults = {f.name: _default(f) for f in dataclasses.fields(config)}
    kept = {name: value for name, value in found.items() if value != defaults[name] or name == "mode"}
    return {name: chosen(value) for name, value in kept.items()}


def _apply(config: Any, tree: Mapping[str, Any], option: str, prefix: str) -> Any:
    base = None if isinstance(config, type) else config
    kind: Any = config if isinstance(config, type) else type(config)
    tree = _renamed(kind, tree, option, prefix)
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    changed: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if key not in fields:
            raise unknown_name(f"key for {option}", path, [f"{prefix}{name}" for name in fields])
        current = getattr(base, key) if base is not None else _default(fields[key])
        group: Any = type(current) if dataclasses.is_dataclass(current) else _dataclass_in(hints[key])
        if isinstance(value, Mapping) and (group is not None):
            start = current if dataclasses.is_dataclass(current) else group
            if isinstance(start, finetuning.Shared):
                start, value, idle = finetuning.adapted(start, value)  # type: ignore[arg-type]
                for name in idle if option.startswith("--") else ():
                    notes.warning("%s %s.%s: has no effect in mode %s.", option, path, name, start.mode)
            changed[key] = _apply(start, value, option, f"{path}.")
        elif isinstance(value, Mapping) and not any((get_origin(k) or k) in (dict, Any) for k in _choices(hints[key])):
            raise InputError(
                f"{option} {path}.{next(iter(value), '')}: {path!r} is one value, not a group. Drop the dot."
            )
        elif group is not None and isinstance(value, str):
            if value.lower() not in ("none", "null") or type(None) not in _choices(hints[key]):
                inner = ", ".join(f"{path}.{f.name}" for f in dataclasses.fields(group))
                raise InputError(f"{option} {path}={value}: {path!r} is a group. There are: {inner}. Set one of these.")
            changed[key] = None
        else:
            changed[key] = typed(hints[key], value, f"{option} {path}={_shown(value)}")
    try:
        made = dataclasses.replace(base, **changed) if base is not None else kind(**changed)
        if not isinstance(made, Settings):  # those look themselves
            check_ranges(made, prefix.rstrip("."))
        return made
    except (ValueError, ArithmeticError) as error:
        given = " ".join(f"{prefix}{k}={_shown(v)}" for k, v in tree.items() if not isinstance(v, Mapping)) or prefix
        raise InputError(f"{option} {given}: {error}") from None
    except TypeError:
        missing = [f.name for f in fields.values() if f.name not in changed and _default(f) is dataclasses.MISSING]
        if base is not None or not missing:
            raise
        raise InputError(
            f"{option}: {prefix}{missing[0]} has no default. Found {len(changed)} settings. Add it."
        ) from None


def _renamed(kind: Any, tree: Mapping[str, Any], option: str, prefix: str) -> dict[str, Any]:
    """Keys by today's names, with a note for an earlier one on the command line."""
    names = kind.renamed if issubclass(kind, Settings) else {}
    for old in [key for key in tree if key in names] if option.startswith("--") else ():
        notes.warning("%s %s%s: is called %s%s now.", option, prefix, old, prefix, names[old])
    made: dict[str, Any] = {}
    for key, value in tree.items():
        name = names.get(key, key)
        made[name] = _both(made[name], value, f"{option} {prefix}{name}") if name in made else value
    return made


def _both(one: Any, other: Any, where: str) -> Any:
    """What is set under the name of today and under an earlier one: the settings of a group side by side."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        raise InputError(f"{where}: is set twice. Found it under an earlier name and under this one. Keep this one.")
    shared = {key: _both(one[key], other[key], f"{where}.{key}") for key in one.keys() & other.keys()}
    return {**one, **other, **shared}


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _dataclass_in(hint: Any) -> Any:
    """The dataclass a field may hold, also in `X | None`; None when it holds plain values."""
    return next((k for k in _choices(hint) if isinstance(k, type) and dataclasses.is_dataclass(k)), None)


def _choices(hint: Any) -> tuple:
    return get_args(hint) if _is_union(hint) else (hint,)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def typed(hint: Any, value: Any, where: str) -> Any:
    """`value` (text, or what JSON holds) as `hint` says. Raises InputError beginning with `where`."""
    try:
        return _convert(hint, value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{where}: not {_wanted(hint)}. Found {_shown(value)!r}. Give {_wanted(hint)}.") from None


_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _convert(hint: Any, value: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if _is_union(hint):
        if type(None) in inner and (value is None or str(value).lower() in ("none", "null", "")):
            return None
        for kind in sorted((k for k in inner if k is not type(None)), key=lambda k: k is str):  # str takes all: last
            try:
                return _convert(kind, value)
            except (ValueError, TypeError):
                continue
        raise ValueError
    if origin is Literal:
        for choice in inner:
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        raise ValueError
    if origin is Sequence:
        origin = list
    if hint in (tuple, list) or origin in (tuple, list):
        parts = _parts(value)
        container = origin or hint
        if container is list or not inner:
            return container(_convert(inner[0] if inner else str, part) for part in parts)
        kinds = [inner[0]] * len(parts) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(kinds) != len(parts):
            raise ValueError
        return tuple(_convert(kind, part) for kind, part in zip(kinds, parts, strict=True))
    if hint is dict or origin is dict:
        found = json.loads(value) if isinstance(value, str) else value
        if not isinstance(found, Mapping):
            raise ValueError
        key, item = inner or (Any, Any)
        return {_convert(key, k): _convert(item, v) for k, v in found.items()}
    if hint is bool and isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if isinstance(value, bool) != (hint is bool) or (hint is str and not isinstance(value, str)):
        raise ValueError
    if hint is int:
        try:
            return int(value) if isinstance(value, (int, str)) else _whole(value)
        except ValueError:
            return _whole(float(value))  # 1e5
    if hint in (bool, float, str, Path):
        return hint(value)
    raise TypeError


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError
    return int(value)


def words(text: str) -> list[str]:
    """What stands between the commas of a text.

    >>> words("happy, sad,"), words("")
    (['happy', 'sad'], [])
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def _parts(value: Any) -> list:
    if isinstance(value, (list, tuple)):
        return list(value)
    if not isinstance(value, str):
        raise ValueError
    text = value.strip().removeprefix("(").removeprefix("[").removesuffix(")").removesuffix("]")
    return words(text)


def _wanted(hint: Any) -> str:
    """A type in the user's words."""
    origin, inner = get_origin(hint), get_args(hint)
    if _is_union(hint):
        return " or ".join("none" if k is type(None) else _wanted(k) for k in inner)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (tuple, list, Sequence) or hint in (tuple, list):
        if origin is tuple and inner and inner[-1] is not Ellipsis:
            return f"{len(inner)} values with commas"
        return f"{_wanted(inner[0]) if inner else 'values'}, several with commas"
    if hint is dict or origin is dict:
        return "a JSON object"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    return names.get(hint, str(getattr(hint, "__name__", hint)))
