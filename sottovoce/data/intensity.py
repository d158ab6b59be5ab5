"""Intensity on the clock of other features: one number a frame, brought to where a backbone has its steps.

An intensity (tracks `strength`, `energy`, `random`) has frames of its own, every 16 ms; features come every 10 ms and
a step holds several of them. EMS (arXiv:2406.06646) names a "linear alignment"; its released code pads with zeros
(pretrain/mockingjay/task.py), so that the last third of every utterance counts as unemotional. Both are here.

T frames of the features, S steps.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from sottovoce.data.track import Track
from sottovoce.errors import InputError

MODES = ("linear", "pad")
SLACK_S = 0.1  # by which the ends of two tracks of one recording may differ: their windows do


class Store(Protocol):
    """What is needed of `sottovoce.data.store.TrackStore`."""

    @property
    def rate_hz(self) -> float: ...
    @property
    def dim(self) -> int: ...
    @property
    def lengths(self) -> Mapping[str, int]: ...
    def __getitem__(self, key: str, /) -> np.ndarray: ...


def on_clock(
    intensity: Track, frames: int, rate_hz: float, offset_s: float = 0.0, *, mode: str = "linear"
) -> np.ndarray:
    """(T,) float32: an intensity read where features have their frames.

    Args:
        intensity: values (T',) or (T', 1).
        frames: T.
        rate_hz, offset_s: clock of the features; offset is the centre of the first frame.
        mode: "linear" interpolates in time and holds the edges; "pad" takes value k for frame k whatever the clocks
            say, zeros behind the last one, as the release of EMS does.
    """
    values = np.asarray(intensity.values, dtype=np.float32).reshape(len(intensity))
    if mode == "linear":
        flat, clock = Track(values, intensity.rate_hz, intensity.offset_s), Track(np.empty(frames), rate_hz, offset_s)
        return flat.align(clock).values
    if mode != "pad":
        raise InputError(f"intensity: aligned by {', '.join(map(repr, MODES))}. Found {mode!r}.")
    padded = np.zeros(frames, np.float32)
    padded[: len(values)] = values[:frames]
    return padded


def pooled(values: np.ndarray, pool: int) -> np.ndarray:
    """(T,) frames -> (S,) means of `pool` frames; the last step is filled up with its last frame, as features are."""
    short = -len(values) % pool
    return np.concatenate([values, np.repeat(values[-1:], short)]).reshape(-1, pool).mean(1)


def check(intensity: Store, features: Store, ids: Iterable[str], *, name: str, where: object) -> None:
    """That an intensity belongs to these features, and says anything.

    Args:
        intensity, features: stores of one corpus.
        ids: utterances that will be used.
        name, where: of the intensity and the corpus, for the message.

    Raises:
        InputError: utterances without intensity (another corpus), lasting longer or shorter than the features
            (another rate or length), several values a frame, NaN, or no change within any utterance.
    """
    if intensity.dim != 1:
        raise InputError(
            f"{where}: {name} is no intensity. Found {intensity.dim} values a frame, not 1. Use strength or energy."
        )
    moves = False
    ids = list(ids)
    lost = [id for id in ids if id not in intensity.lengths]
    if lost:
        raise InputError(
            f"{where}: no {name} of {len(lost)} of {len(ids)} utterances, e.g. {lost[0]}. Found that of another "
            "corpus, or of a part. Run `sottovoce extract` for this one."
        )
    for id in ids:
        ours, theirs = intensity.lengths[id] / intensity.rate_hz, features.lengths[id] / features.rate_hz
        if abs(ours - theirs) > SLACK_S:
            raise InputError(
                f"{where}: {name} of {id} has another length than its features. Found {ours:.2f} s at "
                f"{intensity.rate_hz:g} Hz, not {theirs:.2f} s. Extract it again from the same recordings."
            )
        values = intensity[id]
        if not np.isfinite(values).all():
            raise InputError(
                f"{where}: {name} of {id} is not finite. Found {int((~np.isfinite(values)).sum())} of {len(values)} "
                "values NaN or infinite. Extract it again."
            )
        moves = moves or bool(np.ptp(values) > 0)
    if ids and not moves:
        raise InputError(
            f"{where}: {name} is constant. Found one value in all frames of each of {len(ids)} utterances: it prefers "
            "no frame to another. Look at the model that made it."
        )
