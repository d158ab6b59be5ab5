"""The microphone as a stream of samples, through PortAudio (`sounddevice`, an extra)."""

import contextlib
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np

from sottovoce.errors import InputError, needs, say
from sottovoce.inference.timeline import RATE_HZ

BLOCK_S = 0.08  # that the device hands over at a time
HELD = 375  # blocks that may wait, 30 s: a model that is so far behind goes on with what is said now


def chunks(device: int | str | None = None) -> Iterator[np.ndarray]:
    """Samples (n,) at 16 kHz as they are spoken, until the reader stops or the device does. Where `HELD` blocks wait,
    they are dropped, and said to be.

    Args:
        device: its number or a part of its name; None is the system's default.

    Raises:
        InputError: no sounddevice, no PortAudio, or no such microphone.
    """
    sounds = _library()
    waiting: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()

    def hear(samples: np.ndarray, frames: int, when: Any, status: Any) -> None:
        if waiting.qsize() >= HELD:
            say(f"microphone: the model is slower than the voice, {_dropped(waiting):.0f} s were not heard.", err=True)
        waiting.put(samples[:, 0].copy())

    try:
        microphone = sounds.InputStream(
            RATE_HZ, round(BLOCK_S * RATE_HZ), device, channels=1, dtype="float32", callback=hear,
            finished_callback=lambda: waiting.put(None),
        )  # fmt: skip
    except (sounds.PortAudioError, ValueError) as error:
        raise InputError(
            f"microphone: cannot be opened. {' '.join(str(error).split())}. Plug one in, or name one with --device: "
            "python -m sounddevice lists them."
        ) from None
    return _spoken(microphone, waiting)


def _spoken(microphone: Any, waiting: queue.SimpleQueue[np.ndarray | None]) -> Iterator[np.ndarray]:
    with microphone:
        while (samples := waiting.get()) is not None:
            yield samples


def _dropped(waiting: queue.SimpleQueue[np.ndarray | None]) -> float:
    """Seconds that waited."""
    lost = 0.0
    while not waiting.empty():
        with contextlib.suppress(queue.Empty):  # the reader was faster
            lost += BLOCK_S * (waiting.get_nowait() is not None)
    return lost


def _library() -> Any:
    try:
        with needs("microphone: needs sounddevice. Found none. Install it: pip install 'sottovoce[live]'."):
            import sounddevice
    except OSError:
        raise InputError(
            "microphone: needs the PortAudio library. Found none. Install it, e.g. apt install libportaudio2."
        ) from None
    return sounddevice
