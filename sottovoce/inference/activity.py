"""Where somebody speaks: silero-vad where it is installed, else by loudness alone."""

import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sottovoce.errors import InputError
from sottovoce.inference import sound
from sottovoce.inference.sound import Sound

CHOICES = ("auto", "silero", "loudness")


class Activity(Protocol):
    """`feed` it samples at 16 kHz in any portions."""

    rate_hz: float  # of `so_far`

    def feed(self, samples: np.ndarray) -> None: ...
    def finish(self) -> None: ...
    def so_far(self) -> np.ndarray:
        """(T,) bool of the frames that are known."""
        ...


def check(how: str) -> None:
    """Raises InputError for an unknown way, or when silero-vad is asked for and not there."""
    if how not in CHOICES:
        raise InputError(f"vad: one of {', '.join(CHOICES)}. Found {how!r}.")
    if how == "silero" and silero_file() is None:
        raise InputError("vad: silero-vad is not installed. Found none. Install it: pip install 'sottovoce[vad]'.")


def activity(how: str, heard: Sound, last_s: float = math.inf) -> Activity:
    """Of a voice whose loudness is gathered in `heard`; `last_s`: of a stream so much is compared.

    Raises as `check`.
    """
    check(how)
    if how == "loudness" or (how == "auto" and silero_file() is None):
        return Loudness(heard, last_s)
    return Silero()


class Loudness:
    """Louder than the pauses are; `sound.Sound` is fed by others."""

    rate_hz = sound.RATE_HZ / sound.FRAME

    def __init__(self, heard: Sound, last_s: float):
        self._sound, self._last = heard, last_s * self.rate_hz

    def feed(self, samples: np.ndarray) -> None: ...
    def finish(self) -> None: ...

    def so_far(self) -> np.ndarray:
        levels = self._sound.levels
        first = int(max(len(levels) - self._last, 0))
        return np.concatenate([np.zeros(first, bool), sound.speech(levels[first:])])


class Silero:
    """Silero VAD (github.com/snakers4/silero-vad, MIT), its ONNX graph run as it is; frames of 32 ms."""

    rate_hz = 31.25
    SIZE, CONTEXT = 512, 64  # samples of a frame, and of what came before it
    LIKELY = 0.5

    def __init__(self) -> None:
        self._session = _session()
        self._state = [np.zeros((1, 1, 128), np.float32)] * 2
        self._rest = np.zeros(self.CONTEXT, np.float32)
        self._found: list[np.ndarray] = []

    def feed(self, samples: np.ndarray) -> None:
        joined = np.concatenate([self._rest, samples])
        count = (len(joined) - self.CONTEXT) // self.SIZE
        for at in range(0, count, 512):
            here = joined[at * self.SIZE :][: min(512, count - at) * self.SIZE + self.CONTEXT]
            frames = np.lib.stride_tricks.sliding_window_view(here, self.SIZE + self.CONTEXT)[:: self.SIZE]
            inputs = {"input": np.ascontiguousarray(frames), "h": self._state[0], "c": self._state[1]}
            chances, *self._state = self._session.run(["speech_probs", "hn", "cn"], inputs)
            self._found.append(chances.reshape(-1) >= self.LIKELY)
        self._rest = joined[count * self.SIZE :]

    def finish(self) -> None:
        self.feed(np.zeros(-(len(self._rest) - self.CONTEXT) % self.SIZE, np.float32))

    def so_far(self) -> np.ndarray:
        found = np.concatenate(self._found) if self._found else np.zeros(0, bool)
        return sound.bridged(found, round(sound.GAP_S * self.rate_hz), round(sound.BURST_S * self.rate_hz))


def silero_file() -> Path | None:
    """The graph of the installed package, which need not be imported for it."""
    package = find_spec("silero_vad") if find_spec("onnxruntime") else None
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    return path if path.is_file() else None


@cache
def _session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(silero_file()), options, providers=["CPUExecutionProvider"])
