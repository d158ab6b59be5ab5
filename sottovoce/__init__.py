"""Sottovoce: speech emotion recognition when labels are scarce.

The public names below are imported when first used, so that `import sottovoce` stays instant.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Corpus": "data.corpus",
    "Fold": "data.corpus",
    "InputError": "errors",
    "Recogniser": "inference.recogniser",
    "Result": "inference.result",
    "Task": "data.task",
    "Timing": "inference.timeline",
    "Track": "data.track",
    "Utterance": "data.corpus",
    "embed": "inference.embed",
    "load": "inference.load",
}
_MODULES = {"audio": "data.audio", "onnx": "onnx"}  # public as a whole: `from sottovoce import audio`
__all__ = sorted({*_PUBLIC, *_MODULES, "from_pretrained"})


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"sottovoce.{_PUBLIC[name]}"), name)
    if name == "from_pretrained":  # as others call it
        return __getattr__("load")
    if name in _MODULES:
        return import_module(f"sottovoce.{_MODULES[name]}")
    raise AttributeError(f"module 'sottovoce' has no attribute {name!r}")
