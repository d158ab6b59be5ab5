"""COVAREP: 74 voice-source and spectral features at 100 Hz, as shipped with CMU-MOSI and -MOSEI.

F0 and voicing, glottal source, mel cepstrum of the true envelope, and phase distortion, one row every 10 ms
(Degottex, Kane, Drugman, Raitio & Scherer, "COVAREP: a collaborative voice analysis repository for speech
technologies", ICASSP 2014). The order of the columns is that of the "dimension names" in the metadata of
CMU_MOSEI_COVAREP.csd (https://github.com/A2Zadeh/CMU-MultimodalSDK/issues/208), the rate is the maintainer's
word (issue 186). The values come from the corpus's own files (`corpora/mosei.py`, `corpora/mfn.py`), or are
extracted from recordings by `extract`: the original's values, quirks included, from the papers and a description
of its behaviour; docs/covarep.md says how far they agree. One file beside this one is one algorithm:

    polarity > pitch > harmonics (sinusoids: rd, cepstrum, phase)         F0 VUV Rd Rd_conf MCEP HMPDM HMPDD
             > closure > inverse_filter > glottal                         NAQ QOQ H1H2 PSP
                       > wavelets                                         MDQ peakSlope
             > creak                                                      creak

Polarity, pitch range, voicing threshold, median pitch, position of closures and stretch of MCEP are statistics of the
whole recording. A piece that is cut out first has other values, so recordings are extracted whole and then cut.

Units: F0 in Hz, HMPDM in radians, the rest has none. Where VUV is 0 the glottal columns mean little, and
HMPDM_0..4 are 0 for ordinary voices because those bands lie below the first harmonic. HMPDM_24 and HMPDD are drawn in
part: the original fills the band above the last harmonic with random phases.

Cleaning: silence makes -inf (a logarithm of 0) and some exporters leave NaN; both become 0, as most published
loaders do. A frame that is all zero, before or after, holds no speech: it is not valid and is never scored.
Standardising and clipping to +-10 need training statistics and happen in training.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from sottovoce.data.resampling import resampled
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.files import scratch
from sottovoce.tracks.covarep import creak, glottal, harmonics, wavelets
from sottovoce.tracks.covarep.closure import sedreams
from sottovoce.tracks.covarep.conventions import BLOCK, chunks, grid, interpolate
from sottovoce.tracks.covarep.creak import Network
from sottovoce.tracks.covarep.inverse_filter import glottal_flow
from sottovoce.tracks.covarep.pitch import srh
from sottovoce.tracks.covarep.polarity import polarity
from sottovoce.tracks.covarep.residual import lp_residual

CITATION = (
    "Degottex, Kane, Drugman, Raitio & Scherer: COVAREP, a collaborative voice analysis repository for speech "
    "technologies. ICASSP 2014"
)
WHOLE = True  # made of the whole recording, cut into utterances afterwards
RATE_HZ = 100.0  # frames per second
OFFSET_S = 79 / 16_000  # of the first frame's centre
NAMES: tuple[str, ...] = (
    *("F0", "VUV", "NAQ", "QOQ", "H1H2", "PSP", "MDQ", "peakSlope", "Rd", "Rd_conf", "creak"),
    *(f"MCEP_{k}" for k in range(25)),
    *(f"HMPDM_{k}" for k in range(25)),
    *(f"HMPDD_{k}" for k in range(13)),
)
DIM = len(NAMES)
FULL_BAND = [7, 8, 9, *range(11, 74)]  # columns that depend on what lies between 4 and 8 kHz


@dataclass(frozen=True)
class Config:
    """For recordings; the values of a corpus's own files were computed by whoever made them."""

    seed: int = 0  # of the phases that are random by design, the same for every recording
    creak: str = ""  # file with the network's weights (`creak.py`); without it creak is 0
    rate_hz: ClassVar[float] = RATE_HZ  # word-aligned files have a step clock of 1 instead
    offset_s: ClassVar[float] = OFFSET_S
    dim: ClassVar[int] = DIM


@dataclass(frozen=True)
class Frames:
    """The 74 columns of a recording, `names` (74,) in their order, T = 1 + (N - 80) // 160 at 16 kHz."""

    values: np.ndarray  # (T, 74) float64, as the original writes them; peakSlope is -inf next to exact silence
    defined: np.ndarray  # (T, 74) bool; False where the original has a filler, -inf, or a line that leads to one
    names: ClassVar[tuple[str, ...]] = NAMES

    @property
    def times_s(self) -> np.ndarray:
        """(T,) seconds of each frame's centre."""
        return OFFSET_S + np.arange(len(self.values)) / RATE_HZ


def make(wave: Track, config: Config) -> Track:
    """Waveform (N,) of a whole recording -> values (T, 74) float32, finite."""
    return Track(clean(frames(wave, config).values)[0], RATE_HZ, wave.offset_s + OFFSET_S)


def frames(wave: Track, config: Config) -> Frames:
    """Waveform (N,) of a whole recording -> its columns, and which of them are defined."""
    return extract(wave.values, wave.rate_hz, seed=config.seed, network=_network(config.creak))


def extract(samples: np.ndarray, rate_hz: float, *, seed: int = 0, network: Network | None = None) -> Frames:
    """The 74 columns of a whole recording. Cut utterances out of the result, never out of the samples.

    The same seed gives the same values. What the recording does not say is told per frame and column by `defined`,
    and is 0 (F0 is 1 where no pitch was found, as in the original):

        F0, VUV, Rd, MCEP, HMPDM, HMPDD   in the first and last 50 ms or so, and in digital silence
        HMPDM, HMPDD                      everywhere below 25 analysis frames, 0.35 s (the original fails below 0.83 s)
        NAQ .. MDQ                        before the first and after the last closure, across pauses
        creak                             without a network
        everything                        in a constant signal

    Args:
        samples: (N,) floats, or (N, channels), of which the first is taken as in the original.
        rate_hz: other rates than 16 kHz are resampled. Below it, columns that depend on the empty band above are values
            that no wide-band recording has, and not `defined`.
        seed: of the phases that are random by design.
        network: `creak.Network.load(path)` of the user's own weights.

    Raises InputError: samples that are not finite floats, an impossible rate.
    """
    samples = _at_16_khz(samples, rate_hz)
    at = grid(len(samples))  # sample numbers counted from 1
    values = scratch(len(at) * DIM).reshape(-1, DIM)
    defined = np.zeros(values.shape, dtype=bool)
    if len(at) == 0 or samples.min() == samples.max():
        return Frames(values, defined)

    def put(where: slice | int, known: np.ndarray, filled: np.ndarray) -> None:
        """Columns that hold `filled` and are defined where `known` is a number."""
        for part in chunks(len(at)):
            values[part, where] = np.where(np.isnan(filled[part]), 0.0, filled[part])
            defined[part, where] = np.isfinite(known[part])

    def points(where: slice | int, position: np.ndarray, known: np.ndarray) -> None:
        """The same from points (K,) that still have to go to the grid."""
        filled = interpolate(at, position, np.where(np.isnan(known), 0.0, known))
        put(where, interpolate(at, position, known), filled)

    samples *= polarity(samples)
    pitch = srh(samples)
    tracked = np.stack([np.where(pitch.score > 0, pitch.f0_hz, np.nan), np.zeros(len(pitch.score))], axis=1)
    put(slice(0, 2), interpolate(at, pitch.position, tracked), pitch.columns(at))
    residual = lp_residual(samples, 18)
    closures = sedreams(samples, residual, pitch.median_hz())
    closures = closures[pitch.voiced_at(closures)]
    points(6, closures, wavelets.dispersion(residual, closures))
    del residual
    points(slice(2, 6), closures + 1, glottal.parameters(*glottal_flow(samples, closures), closures))
    points(7, *wavelets.peak_slope(samples))
    found = harmonics.columns(samples, pitch, at, np.random.default_rng(seed))
    put(slice(8, 10), found[:, :2], found[:, :2])
    put(slice(11, 74), found[:, 2:], found[:, 2:])
    if network is not None:
        points(10, *creak.creak(samples, network))
    silent = defined[:, 1] & ~defined[:, 0]
    defined[silent, 8:] = False  # F0 = 1 has no harmonics
    if rate_hz < 16_000:
        defined[:, FULL_BAND] = False
    return Frames(values, defined)


def _at_16_khz(samples: np.ndarray, rate_hz: float) -> np.ndarray:
    """(N,) float64 of our own. Raises InputError for what no number can be made of."""
    samples = np.asarray(samples)
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2) or 0 in samples.shape[1:]:
        raise InputError(
            f"samples: not a recording. Found shape {samples.shape} of {samples.dtype}, expected (N,) or (N, channels) "
            "of floats. Divide integers by their full scale, 32768 for 16 bits."
        )
    if not 1000 <= rate_hz <= 1e6:
        raise InputError(f"rate_hz: not a rate of speech. Found {rate_hz:g}. Give samples per second, best 16000.")
    samples = samples if samples.ndim == 1 else samples[:, 0]
    bad = sum(int((~np.isfinite(samples[part])).sum()) for part in chunks(len(samples), BLOCK))
    if bad:
        raise InputError(f"samples: not finite. Found {bad} of {len(samples)} NaN or infinite. Check the recording.")
    if rate_hz != 16_000 and len(samples):
        samples = resampled(samples, rate_hz, 16_000)
    own = scratch(len(samples))
    own[:] = samples
    return own


def log_energies(values: np.ndarray) -> np.ndarray:
    """(T, 1) level of columns (T, 74), to tell speech from silence: MCEP_0 is the mean log amplitude.

    Where it is not known, at the ends and in digital silence, far below any voice.
    """
    level = values[:, NAMES.index("MCEP_0")]
    return np.where(level == 0, -100.0, 2 * level)[:, None]


@lru_cache(maxsize=2)
def _network(path: str) -> Network | None:
    return Network.load(path) if path else None


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
