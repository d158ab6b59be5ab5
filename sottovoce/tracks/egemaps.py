"""eGeMAPS: 25 hand-made voice descriptors at 100 Hz by openSMILE (loudness, pitch, formants ...).

The low-level descriptors of the extended Geneva minimalistic set, version 02 (Eyben et al., IEEE Trans.
Affective Computing 7(2), 2016), and its utterance-level functionals for baselines.

Licence: openSMILE is free for research and private use only, products need a licence from audEERING
(https://audeering.github.io/opensmile/about.html#license). It is therefore an optional package that this one
does not contain: pip install 'sottovoce[egemaps]'.

Units: pitch in semitones above 27.5 Hz (0 = unvoiced), formants in Hz, shimmer in dB; see `NAMES`. Row k is
openSMILE's row k. Loudness and spectrum see 20-25 ms from k * 10 ms on, so their centre is the track's time;
pitch, harmonics and voice quality see 60 ms, and their centre is 20 ms later. Values are smoothed over three
frames. The last 50 ms of a recording have no row; less than 60 ms are padded with zeros to one or two rows.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from sottovoce.data.track import Track
from sottovoce.errors import check_names, needs

NAMES = (
    *("Loudness", "alphaRatio", "hammarbergIndex", "slope0-500", "slope500-1500", "spectralFlux"),
    *("mfcc1", "mfcc2", "mfcc3", "mfcc4"),
    *("F0semitoneFrom27.5Hz", "jitterLocal", "shimmerLocaldB", "HNRdBACF", "logRelF0-H1-H2", "logRelF0-H1-A3"),
    *("F1frequency", "F1bandwidth", "F1amplitudeLogRelF0"),
    *("F2frequency", "F2bandwidth", "F2amplitudeLogRelF0"),
    *("F3frequency", "F3bandwidth", "F3amplitudeLogRelF0"),
)
FEATURE_SETS = ("eGeMAPSv02", "ComParE_2016")  # 88 and 6,373 functionals
SHORTEST_LLD_S, SHORTEST_FUNCTIONALS_S = 0.07, 0.1  # below, openSMILE gives NaN


@dataclass(frozen=True)
class Config:
    """Nothing to set: the set is defined by its authors."""

    rate_hz: ClassVar[float] = 100.0
    offset_s: ClassVar[float] = 0.010  # centre of the first 20 ms window
    dim: ClassVar[int] = len(NAMES)


def log_energies(values: np.ndarray) -> np.ndarray:
    """(T, 1) level of descriptors (T, 25): loudness grows with intensity to the power of 0.3, band by band."""
    return np.log(np.maximum(values[:, :1], 1e-6)) / 0.3


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) -> values (T, 25) float32. Raises InputError when the package `opensmile` is missing."""
    table = _process(wave, "eGeMAPSv02", "LowLevelDescriptors", SHORTEST_LLD_S)
    return Track(table.to_numpy(dtype=np.float32), config.rate_hz, wave.offset_s + config.offset_s)


def functionals(wave: Track, feature_set: str = "eGeMAPSv02") -> tuple[tuple[str, ...], np.ndarray]:
    """One vector an utterance: means, deviations, percentiles, slopes of the descriptors.

    Args:
        wave: mono float32.
        feature_set: "eGeMAPSv02" (88 values) or "ComParE_2016" (6,373; Schuller et al., Interspeech 2016).

    Returns:
        names, and values (F,) float32 in their order.

    Raises InputError: an unknown set, or the package `opensmile` is missing.
    """
    check_names("feature set", [feature_set], FEATURE_SETS)
    table = _process(wave, feature_set, "Functionals", SHORTEST_FUNCTIONALS_S)
    return tuple(table.columns), table.to_numpy(dtype=np.float32)[0]


def _process(wave: Track, feature_set: str, level: str, shortest_s: float) -> Any:
    smile = _smile(feature_set, level)
    missing = math.ceil(shortest_s * wave.rate_hz) - len(wave)
    samples = np.pad(wave.values, (0, missing)) if missing > 0 else wave.values
    return smile.process_signal(samples, int(wave.rate_hz))


@lru_cache(maxsize=4)
def _smile(feature_set: str, level: str) -> Any:
    with needs(
        "egemaps: the package opensmile is not installed. Its licence allows research and private use, not "
        "products. If that suits you: pip install 'sottovoce[egemaps]'; otherwise use --track fbank or mfcc."
    ):
        import opensmile
    return opensmile.Smile(feature_set=opensmile.FeatureSet[feature_set], feature_level=opensmile.FeatureLevel[level])
