"""COVAREP: 74 voice-source and spectral features at 100 Hz, as shipped with CMU-MOSI and -MOSEI.

F0 and voicing, glottal source, mel cepstrum of the true envelope, and phase distortion, one row every 10 ms
(Degottex, Kane, Drugman, Raitio & Scherer, "COVAREP: a collaborative voice analysis repository for speech
technologies", ICASSP 2014). The order of the columns is that of the "dimension names" in the metadata of
CMU_MOSEI_COVAREP.csd (https://github.com/A2Zadeh/CMU-MultimodalSDK/issues/208), the rate is the maintainer's
word (issue 186). The values come from the corpus's own files (`corpora/mosei.py`, `corpora/mfn.py`).

Units: F0 in Hz, HMPDM in radians, the rest has none. Where VUV is 0 the glottal columns mean little, and
HMPDM_0..4 are 0 for ordinary voices because those bands lie below the first harmonic.

Cleaning: silence makes -inf (a logarithm of 0) and some exporters leave NaN; both become 0, as most published
loaders do. A frame that is all zero, before or after, holds no speech: it is not valid and is never scored.
Standardising and clipping to +-10 need training statistics and happen in training.
"""

from dataclasses import dataclass

import numpy as np

RATE_HZ = 100.0  # frames per second
NAMES: tuple[str, ...] = (
    *("F0", "VUV", "NAQ", "QOQ", "H1H2", "PSP", "MDQ", "peakSlope", "Rd", "Rd_conf", "creak"),
    *(f"MCEP_{k}" for k in range(25)),
    *(f"HMPDM_{k}" for k in range(25)),
    *(f"HMPDD_{k}" for k in range(13)),
)
DIM = len(NAMES)
GROUPS = {  # columns that are read, drawn or dropped together
    "pitch": slice(0, 2),
    "glottal": slice(2, 11),
    "envelope": slice(11, 36),
    "phase_mean": slice(36, 61),
    "phase_deviation": slice(61, 74),
}


@dataclass(frozen=True)
class Config:
    """Nothing to set: the values were computed by whoever made the files."""

    @property
    def rate_hz(self) -> float:  # frames per second; word-aligned files have a step clock of 1 instead
        return RATE_HZ

    @property
    def dim(self) -> int:
        return DIM


def clean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero for what is not finite, and which frames are left with something in them.

    Args:
        values: (T, 74) as read, any float type.

    Returns:
        values (T, 74) float32, finite; valid (T,) bool, False = every column is zero.

    >>> values, valid = clean(np.array([[1.0, -np.inf], [np.nan, 0.0]]))
    >>> values.tolist(), valid.tolist()
    ([[1.0, 0.0], [0.0, 0.0]], [True, False])
    """
    with np.errstate(over="ignore"):  # a float64 beyond float32 is as unusable as inf
        narrow = np.array(values, dtype=np.float32)
    narrow[~np.isfinite(narrow)] = 0.0
    return narrow, (narrow != 0).any(axis=1)
