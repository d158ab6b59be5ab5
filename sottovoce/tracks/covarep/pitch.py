"""SRH: pitch and voicing from the harmonics of the LP residual.

Drugman & Alwan, "Joint robust voicing detection and pitch estimation based on residual harmonics", Interspeech 2011.
A candidate scores the residual's spectrum at its first five harmonics, minus the spectrum half-way between them: an
octave error finds nothing at its odd half-ways to lose. The first pass searches the whole range, the second an octave
around the median of the frames that are surely voiced. That median and the voicing threshold are statistics of the
whole recording.

Kept from the original: bins are counted from 1, so candidate f reads the spectrum at f - 1 Hz; a frame in which every
candidate loses has F0 = 1.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from sottovoce.tracks.covarep.conventions import RATE_HZ, chunks, frames, interpolate, rounded
from sottovoce.tracks.covarep.residual import lp_residual

ORDER = 12  # of the prediction
WINDOW, STEP = 1598, 160  # samples: 100 ms every 10 ms
FIRST = 800  # centre of the first frame, counted from 1
BINS = 8000  # one a hertz
HARMONICS = 5
SURE = 0.1  # score of frames that decide the range of the second pass
CHUNK = 64  # frames whose spectra are in memory


@dataclass(frozen=True)
class Pitch:
    """F frames, one every 10 ms. F0 is given in unvoiced frames too."""

    position: np.ndarray  # (F,) sample number of the frame's centre, counted from 1
    f0_hz: np.ndarray  # (F,) whole numbers; 1 where no candidate scores
    voiced: np.ndarray  # (F,) bool
    score: np.ndarray  # (F,) SRH of the winner

    @property
    def time_s(self) -> np.ndarray:
        """(F,) seconds as the original gives them: sample number / rate, one sample late."""
        return self.position / RATE_HZ

    def median_hz(self, low_hz: float = 50.0, high_hz: float = 500.0) -> float:
        """Median F0 of the voiced frames strictly inside the range; NaN if there are none."""
        chosen = self.f0_hz[self.voiced & (self.f0_hz > low_hz) & (self.f0_hz < high_hz)]
        return float(np.median(chosen)) if len(chosen) else float("nan")

    def voiced_at(self, at: np.ndarray) -> np.ndarray:
        """(T,) bool: voicing at sample numbers `at` (T,), False outside the frames."""
        return interpolate(at, self.position, self.voiced) >= 0.5

    def columns(self, at: np.ndarray) -> np.ndarray:
        """(T, 2): F0 and VUV at sample numbers `at` (T,), counted from 1; F0 is NaN outside the frames."""
        return np.stack([interpolate(at, self.position, self.f0_hz), self.voiced_at(at)], axis=1)


def srh(samples: np.ndarray, low_hz: int = 50, high_hz: int = 500) -> Pitch:
    """Pitch between `low_hz` and `high_hz`.

    Args:
        samples: (N,) at 16 kHz; their sign does not matter. Shorter than 100 ms gives no frame.
    """
    residual = lp_residual(samples, ORDER)
    position = np.arange(FIRST, len(samples) - FIRST + 2, STEP)
    f0, score = _search(residual, position, low_hz, high_hz)
    sure = score > SURE
    if sure.any():
        median = np.median(f0[sure])
        narrow = max(low_hz, int(rounded(median / 2))), min(high_hz, int(rounded(median * 2)))
        lost = (f0 > 1) & ((f0 < narrow[0]) | (f0 > narrow[1]))  # a winner inside the new range wins there too
        f0[lost], score[lost] = _search(residual, position[lost], *narrow)
    threshold = 0.085 if len(score) > 1 and np.std(score, ddof=1) > 0.05 else 0.07
    return Pitch(position, f0, score > threshold, score)


def _search(residual: np.ndarray, position: np.ndarray, low_hz: int, high_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """F0 (F,) and score (F,) of the best candidate in each frame; the first wins a tie."""
    candidates = np.arange(low_hz, high_hz + 1)
    f0, score = np.ones(len(position)), np.zeros(len(position))
    window = np.blackman(WINDOW)
    for part in chunks(len(position), CHUNK):
        frame = frames(residual, position[part] - FIRST, WINDOW) * window
        frame -= frame.mean(axis=1, keepdims=True)
        spectrum = np.abs(fft.rfft(frame, 2 * BINS)[:, :BINS])
        with np.errstate(invalid="ignore"):
            spectrum /= np.linalg.norm(spectrum, axis=1, keepdims=True)
        scores = _read(spectrum, HARMONICS * candidates)
        for k in range(1, HARMONICS):
            scores += _read(spectrum, k * candidates) - _read(spectrum, rounded((k + 0.5) * candidates))
        best = np.nan_to_num(scores).argmax(axis=1)
        top = np.take_along_axis(scores, best[:, None], axis=1)[:, 0]
        found = top > 0  # not where every score is negative or NaN
        f0[part][found], score[part][found] = candidates[best[found]], top[found]
    return f0, score


def _read(spectrum: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """(F, len(bins)) values at bin numbers counted from 1, wrapped round."""
    return spectrum[:, (bins - 1) % BINS]
