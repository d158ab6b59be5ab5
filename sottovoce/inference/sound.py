"""What a recording itself tells: where somebody speaks, what its waveform looks like, and what is wrong with it.

All is gathered in one pass over the samples, in portions of any size.
"""

from typing import Any

import numpy as np

RATE_HZ = 16_000
FRAME = 320  # samples, 20 ms: loudness
CELL = 800  # samples, 50 ms: the drawn waveform
SPECTRUM = 512  # samples, one in every `EVERY` frames
EVERY = 8
QUIET_DB = -70.0  # of full scale: where nothing is louder, nobody speaks
PAUSE_DB = 35.0  # this far below the loud frames nobody speaks
GAP_S, BURST_S = 0.3, 0.1  # a shorter pause is part of speech, shorter speech is a click
CLIPPED = 2e-3  # share of the samples within 2 % of the loudest, from which a recording is clipped
NARROW_DB = -55.0  # of 4.2 to 7.6 kHz below 0.3 to 3.4 kHz: nothing above the telephone's band
OVER = 1.2  # times full scale; codecs overshoot by less


class Sound:
    """`feed` it samples at 16 kHz; then ask."""

    def __init__(self) -> None:
        self.samples = 0
        self.peak = 0.0
        self._levels: list[np.ndarray] = []  # (n,) dB of full scale
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []
        self._bands = np.zeros(2)  # power in speech's band and above the telephone's
        self._rest = np.zeros(0, np.float32)  # not yet a whole 0.2 s
        self._histogram = np.zeros(2048, np.int64)  # of the samples' sizes, by 1/1024 of full scale

    def feed(self, samples: np.ndarray) -> None:
        """(n,) float32."""
        self.samples += len(samples)
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // (4 * CELL) * 4 * CELL  # whole frames and whole cells
        self._take(joined[:whole])
        self._rest = joined[whole:].copy()

    def finish(self) -> None:
        """No samples follow."""
        self._take(self._rest)
        self._rest = self._rest[:0]

    def _take(self, samples: np.ndarray) -> None:
        if not len(samples):
            return
        size = np.abs(samples)
        self.peak = max(self.peak, float(size.max()))
        places = np.minimum((size * 1024).astype(np.int64), len(self._histogram) - 1)
        self._histogram += np.bincount(places, minlength=len(self._histogram))
        frames = _cut(samples, FRAME)
        self._levels.append(10 * np.log10(frames.var(axis=1, dtype=np.float64) + 1e-12))
        cells = _cut(samples, CELL)
        self._low.append(cells.min(1))
        self._high.append(cells.max(1))
        some = _cut(samples, SPECTRUM)[::EVERY]
        power = np.square(np.abs(np.fft.rfft(some * np.hanning(SPECTRUM), axis=1))).sum(0)
        hz = np.arange(len(power)) * RATE_HZ / SPECTRUM
        self._bands += [power[(hz > 300) & (hz < 3400)].sum(), power[(hz > 4200) & (hz < 7600)].sum()]

    @property
    def levels(self) -> np.ndarray:
        """(T,) dB of full scale of every 20 ms."""
        return np.concatenate(self._levels) if self._levels else np.zeros(0)

    @property
    def silent(self) -> bool:
        return not len(self._levels) or bool(self.levels.max() < QUIET_DB)

    @property
    def envelope(self) -> dict[str, Any]:
        """Lowest and highest sample of every 50 ms."""
        low, high = (np.concatenate(part) if part else np.zeros(0) for part in (self._low, self._high))
        return {"times_s": (np.arange(len(low)) + 0.5) * CELL / RATE_HZ, "low": low, "high": high}

    def warnings(self) -> list[str]:
        """What to know before an answer is believed."""
        found = []
        seconds = self.samples / RATE_HZ
        if seconds < 1:
            found.append(f"{seconds:.2f} s: under a second, take the answer with care")
        if self.silent:
            return [*found, "silence: nothing louder than -70 dB of full scale, so no answer"]
        top = round(self.peak * 1024)
        if self.peak > OVER:
            found.append(f"samples up to {self.peak:.3g} times full scale")
        elif self._histogram[int(0.98 * top) :].sum() / self.samples > CLIPPED:
            found.append("clipped: many samples at the loudest value")
        if self._bands[1] < self._bands[0] * 10 ** (NARROW_DB / 10):
            found.append("telephone band: nothing above 4 kHz")
        return found


def speech(levels: np.ndarray) -> np.ndarray:
    """(T,) bool of the levels of every 20 ms: louder than pauses are, by loudness alone.

    Loud is the 98th percentile. Where the noise between the words (10th percentile) is less than 45 dB below it, what
    is not clearly above it is no speech either: 0.35 of the way up, at most 12 dB.
    """
    if not len(levels):
        return np.zeros(0, bool)
    power = np.convolve(10 ** (levels / 10), np.ones(5) / 5, mode="same")[: len(levels)]
    level = 10 * np.log10(power + 1e-12)
    top, noise = np.percentile(level, 98), np.percentile(level, 10)
    threshold = max(top - PAUSE_DB, QUIET_DB)
    if 12 < top - noise < PAUSE_DB + 10:
        threshold = max(threshold, noise + min(0.35 * (top - noise), 12.0))
    loud = level >= threshold
    found = bridged(loud, round(GAP_S * RATE_HZ / FRAME), round(BURST_S * RATE_HZ / FRAME))
    return found if found.any() else loud


def bridged(there: np.ndarray, gap: int, burst: int) -> np.ndarray:
    """Pauses of up to `gap` frames between speech are filled, then speech of less than `burst` frames goes.

    >>> bridged(np.array([1, 0, 1, 1, 0, 0, 0, 1, 0], bool), 1, 2).astype(int).tolist()
    [1, 1, 1, 1, 0, 0, 0, 0, 0]
    """
    there = there.copy()
    for value, most in ((False, gap + 1), (True, burst)):
        borders = np.flatnonzero(np.diff(np.concatenate([[not value], there, [not value]]) == value)).tolist()
        for first, last in zip(borders[::2], borders[1::2], strict=False):
            inner = value or (first > 0 and last < len(there))
            if last - first < most and inner:
                there[first:last] = not value
    return there


def share(there: np.ndarray, rate_hz: float, starts_s: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
    """How much of each stretch (C,) is there, 0 to 1, of frames (T,) at a rate."""
    sums = np.concatenate([[0.0], np.cumsum(there)])
    at = np.arange(len(sums)) / rate_hz
    inside = np.interp(ends_s, at, sums) - np.interp(starts_s, at, sums)
    return inside / np.maximum((ends_s - starts_s) * rate_hz, 1e-9)


def _cut(samples: np.ndarray, size: int) -> np.ndarray:
    """(n, size); what remains makes a row of its own only where there is no other."""
    whole = len(samples) // size * size
    return samples[:whole].reshape(-1, size) if whole else np.resize(samples, (1, size))
