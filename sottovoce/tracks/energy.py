"""Energy: loudness as an intensity, RMS in dB, z-scored per speaker; the baseline of learned ones.

Mean and deviation are taken over all frames of all recordings of the speaker in the corpus (pauses too, their level
clipped at the floor of `level`), so that a soft voice and a distant microphone count as little as a loud one. An
unknown speaker counts as one of their own: their statistics are those of the recording alone. A speaker's own audio
is all that is used, test speakers' included; nothing is learned from other speakers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sottovoce.data.corpus import Utterance
from sottovoce.data.folds import voice
from sottovoce.data.frames import mean_and_deviation
from sottovoce.tracks import _centred

SOURCE = "level"
PER_SPEAKER = True  # a new recording of a speaker changes the rows of all the others


@dataclass(frozen=True)
class Config(_centred.Intensity):
    """Nothing to set."""


def derive(
    source: Mapping[str, np.ndarray], utterances: Sequence[Utterance], corpus: Sequence[Utterance], config: Config
) -> Iterator[tuple[str, np.ndarray]]:
    """(id, values (T, 1) float32 in deviations) of each.

    Args:
        source: id -> level (T, 1) dB.
        utterances: those wanted.
        corpus: all utterances of the corpus that have a level.
    """
    mates: dict[str, list[str]] = {}
    for u in corpus:
        mates.setdefault(voice(u), []).append(u.id)
    scale: dict[str, tuple[float, float]] = {}
    for u in utterances:
        name = voice(u)
        if name not in scale:
            mean, deviation = (value.item() for value in mean_and_deviation(source[id] for id in mates[name]))
            scale[name] = mean, deviation if deviation > 1e-6 else 1.0  # of a constant
        mean, deviation = scale[name]
        yield u.id, ((source[u.id] - mean) / deviation).astype(np.float32)
