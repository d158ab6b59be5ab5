"""A report as pages read it: what is not there, or is None, is nothing, which has no keys, no items and no text."""

from collections.abc import Mapping
from typing import Any

import jinja2


class Nothing(jinja2.ChainableUndefined):
    def __call__(self, *_: Any, **__: Any) -> Any:
        return self


class Known(dict[Any, Any]):
    """
    >>> report = known({"task": None, "folds": [{"n": 3}]})
    >>> list(report["task"]["classes"]), report["folds"][0]["n"], report["folds"][0]["metrics"].items() or "none"
    ([], 3, 'none')
    """

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key)
        return Nothing() if value is None else value


def known(value: Any) -> Any:
    """The same, every dict of it a `Known`."""
    if isinstance(value, Mapping):
        return Known({key: known(entry) for key, entry in value.items()})
    return [known(entry) for entry in value] if isinstance(value, (list, tuple)) else value
