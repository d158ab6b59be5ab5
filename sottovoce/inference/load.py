"""`sottovoce.load`: a model by whatever it is called: nothing, a folder, "user/name" on the hub, or model.onnx."""

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

DEFAULT_CARD = "sottovoce/weights/default_model/README.md"
notes = logging.getLogger("sottovoce")


def load(model: Path | str | None = None, labels: Sequence[str] = (), vad: str = "auto") -> Any:
    """A model that is ready to listen. That of this package says under which licence it is.

    Args:
        model: folder of a fine-tuned or published model, or of one fold of it; "user/name"; an exported file; None is
            the model of this package.
        labels: the classes that are possible; the others' probability goes to these.
        vad: how speech is found: "silero", "loudness", or "auto": silero where it is installed.

    Raises:
        InputError: no such model, a corrupt one, a pickle in its folder, or a label it does not know.
    """
    found = opened(model, labels, vad)
    if model is None:
        notes.warning("Model of this package, %s: see its card, %s.", found.about()["licence"], DEFAULT_CARD)
    return found


def opened(model: Path | str | None = None, labels: Sequence[str] = (), vad: str = "auto") -> Any:
    """`load` without a word."""
    if model is not None and str(model).endswith(".onnx"):
        return import_module("sottovoce.onnx").load(model, labels, vad)  # which needs no torch
    if model is not None:
        model = import_module("sottovoce.inference.publish").found(str(model))
    return import_module("sottovoce.inference.recogniser").load(model, labels, vad)
