"""Random: smooth noise as an intensity, drawn from the utterance's id; the placebo of the others.

It knows nothing of the recording, and is as smooth as a learned intensity: white normal noise under a Gaussian of
`smooth_s`, scaled to deviation 1 in theory (not utterance by utterance, so that a short one may be nearly flat, as
a real one may). What random intensity does better than no intensity, intensity has not done.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from sottovoce.config.ranges import Range, Whole
from sottovoce.data.corpus import Utterance
from sottovoce.tracks import _centred

SOURCE = "level"  # for its frame times alone


@dataclass(frozen=True)
class Config(_centred.Intensity):
    seed: Whole = 0  # of the values
    smooth_s: Annotated[float, Range(least=0, most=10)] = 0.1  # deviation of the Gaussian, seconds


def derive(
    source: Mapping[str, np.ndarray], utterances: Sequence[Utterance], corpus: Sequence[Utterance], config: Config
) -> Iterator[tuple[str, np.ndarray]]:
    """(id, values (T, 1) float32) of each; the same id and seed give the same curve everywhere."""
    for u in utterances:
        yield u.id, noise(len(source[u.id]), u.id, config)[:, None]


def noise(frames: int, id: str, config: Config) -> np.ndarray:
    """(T,) float32."""
    seed = int.from_bytes(hashlib.blake2b(f"{config.seed}/{id}".encode(), digest_size=8).digest(), "big")
    width = config.smooth_s * config.rate_hz  # frames
    reach = int(4 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2) if reach else np.ones(1)
    white = np.random.default_rng(seed).standard_normal(frames + 2 * reach)
    return np.convolve(white, kernel / np.sqrt((kernel**2).sum()), mode="valid").astype(np.float32)
