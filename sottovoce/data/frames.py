"""Frames as arrays: their statistics; put together, cut off where it is quiet, stretched. No torch, no files.

T frames, F features, S steps of D features.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from sottovoce import plugins
from sottovoce.config.frontend import Frontend

WAVEFORM_HZ = 1000.0  # a track as fast as this holds samples
ROWS = 1 << 15  # of a track at a time, where a long one is read for its level alone


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of every feature, (F,) each."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray]) -> "Statistics":
        """Over all rows of blocks (T, F), all-zero rows left out, in float64 and one pass.

        A constant feature gets deviation 1. Raises ValueError when there is no row.
        """
        mean, std = mean_and_deviation(block[np.any(block != 0, axis=1)] for block in blocks)
        std[std < 1e-6 * np.maximum(np.abs(mean), 1e-3)] = 1.0
        return cls(mean.astype(np.float32), std.astype(np.float32))

    @classmethod
    def unit(cls, features: int) -> "Statistics":
        """Mean 0 and deviation 1: they change nothing."""
        return cls(np.zeros(features, np.float32), np.ones(features, np.float32))

    def apply(self, values: np.ndarray) -> np.ndarray:
        return (values - self.mean) / self.std


def mean_and_deviation(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(F,) each, over all rows of blocks (T, F), in float64 and one pass. Raises ValueError when there is no row."""
    count, mean, square = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        if not len(block):
            continue
        rows = block.astype(np.float64)
        centre = rows.mean(0)
        delta, total = centre - mean, count + len(rows)
        square = square + ((rows - centre) ** 2).sum(0) + delta**2 * count * len(rows) / total
        mean, count = mean + delta * len(rows) / total, total
    if not count:
        raise ValueError("no frames to take statistics of")
    return mean, np.sqrt(square / count)


def pool_frames(values: np.ndarray, filled: np.ndarray, frontend: Frontend) -> tuple[np.ndarray, np.ndarray]:
    """(T, F) frames -> (S, D) steps and whether every frame of a step carries data (S,)."""
    pool = frontend.subsampling
    if pool == 1:
        return values, filled
    short = -len(values) % pool
    if short:
        values = np.concatenate([values, np.repeat(values[-1:], short, axis=0)])
        filled = np.concatenate([filled, np.repeat(filled[-1:], short)])
    blocks = values.reshape(len(values) // pool, pool, -1)
    steps = blocks.reshape(len(blocks), -1) if frontend.subsample == "stack" else blocks.mean(1)
    return np.ascontiguousarray(steps), np.asarray(filled.reshape(-1, pool).all(axis=1))


def loud_part(values: np.ndarray, rate_hz: float, trim_db: float, track: str) -> tuple[int, int]:
    """First and last + 1 row of a track (T, F), or of samples (N, 1), that are not silent ends, see `loud_bounds`.

    Args:
        track: whose maker knows where its silence is (`bounds`) or how loud its rows are (`log_energies`); of others
            the values themselves are log energies.
    """
    said = vars(plugins.load("tracks", track)) if track else {}
    if "bounds" in said:
        return said["bounds"](values)
    if rate_hz < WAVEFORM_HZ:
        read, noisy = said.get("log_energies", np.asarray), said.get("TRIMS_NOISE", False)
        return loud_bounds(values, trim_db, read=read, above_noise=noisy)
    hop = min(round(rate_hz / 25), len(values))  # 40 ms, so that an encoder's states keep their times
    power = np.square(values[: len(values) // hop * hop]).reshape(-1, hop).mean(1, keepdims=True)
    first, last = loud_bounds(np.log(power + 1e-10), trim_db, smooth=1, margin=1)
    return first * hop, min(last * hop, len(values))


def loud_bounds(
    log_energies: np.ndarray,
    trim_db: float,
    *,
    smooth: int = 5,
    margin: int = 5,
    read: Callable[[np.ndarray], np.ndarray] = np.asarray,
    above_noise: bool = False,
) -> tuple[int, int]:
    """First and last + 1 frame within `trim_db` of the loud ones, from natural-log energies (T, F).

    Loud is the 98th percentile of the smoothed level, so that a click decides nothing.

    Args:
        smooth: frames of the moving average of the power.
        margin: frames kept before and after.
        read: what makes natural-log energies of the rows where they are something else.
        above_noise: where the noise between the words is less than `trim_db` + 10 below them, cut what is not clearly
            above it: by 0.35 of the way up to the loud frames, at most by 12 dB. The noise is the 10th percentile.
    """
    parts = [log_energies[k : k + ROWS] for k in range(0, len(log_energies), ROWS)]  # hours do not fit in memory twice
    loudest = max(read(part).max() for part in parts)
    power = np.concatenate([np.exp(read(part) - loudest).sum(1) for part in parts])  # of the loudest: cannot overflow
    level = 10 * np.log10(np.convolve(power, np.ones(smooth) / smooth, mode="same")[: len(power)] + 1e-30)
    top, noise = np.percentile(level, 98), np.percentile(level, 10)
    threshold = top - trim_db
    if above_noise and top - noise < trim_db + 10:
        threshold = max(threshold, noise + min(0.35 * (top - noise), 12.0))
    loud = np.flatnonzero(level >= threshold)
    return max(int(loud[0]) - margin, 0), min(int(loud[-1]) + 1 + margin, len(log_energies))


def stretch(values: np.ndarray, time: float, features: float) -> np.ndarray:
    """Faster or slower, and larger or smaller vocal tract, by bilinear interpolation: (T, F) -> (T / time, F).

    Args:
        time: above 1 = faster.
        features: above 1 moves formants down the mel axis; the axis is stretched about ten bins below its
            first, where the mel scale of Kaldi's filter bank reaches 0 Hz or so.
    """
    bins = values.shape[1]
    values = between(values, source_positions(len(values), time))
    if features != 1:
        column = np.clip((np.arange(bins) + 10) * features - 10, 0, bins - 1)
        values = between(values.T, column).T
    return np.ascontiguousarray(values)


def source_positions(frames: int, time: float) -> np.ndarray:
    """Where in the original the frames of a stretched one are."""
    return np.minimum(np.arange(max(round(frames / time), 1)) * time, frames - 1)


def between(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows read at fractional positions."""
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (at - low).astype(rows.dtype)[:, None]
    return rows[low] * (1 - share) + rows[high] * share
