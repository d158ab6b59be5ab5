"""Frames of one utterance as arrays: put together, cut off where it is quiet, stretched. No torch, no files.

T frames, F features, S steps of D features.
"""

import numpy as np

from sottovoce.config.frontend import Frontend


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


def loud_bounds(log_energies: np.ndarray, trim_db: float, *, smooth: int = 5, margin: int = 5) -> tuple[int, int]:
    """First and last + 1 frame within `trim_db` of the loud ones, from natural-log energies (T, F).

    Loud is the 98th percentile of the smoothed level, so that a click decides nothing.

    Args:
        smooth: frames of the moving average of the power.
        margin: frames kept before and after.
    """
    power = np.exp(log_energies - log_energies.max()).sum(1)  # relative to the loudest band: cannot overflow
    level = 10 * np.log10(np.convolve(power, np.ones(smooth) / smooth, mode="same")[: len(power)] + 1e-30)
    loud = np.flatnonzero(level >= np.percentile(level, 98) - trim_db)
    return max(int(loud[0]) - margin, 0), min(int(loud[-1]) + 1 + margin, len(log_energies))


def stretch(values: np.ndarray, time: float, features: float) -> np.ndarray:
    """Faster or slower, and larger or smaller vocal tract, by bilinear interpolation: (T, F) -> (T / time, F).

    Args:
        time: above 1 = faster.
        features: above 1 moves formants down the mel axis; the axis is stretched about ten bins below its
            first, where the mel scale of Kaldi's filter bank reaches 0 Hz or so.
    """
    bins = values.shape[1]
    values = between(values, places(len(values), time))
    if features != 1:
        column = np.clip((np.arange(bins) + 10) * features - 10, 0, bins - 1)
        values = between(values.T, column).T
    return np.ascontiguousarray(values)


def places(frames: int, time: float) -> np.ndarray:
    """Where in the original the frames of a stretched one are."""
    return np.minimum(np.arange(max(round(frames / time), 1)) * time, frames - 1)


def between(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows read at fractional places."""
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (at - low).astype(rows.dtype)[:, None]
    return rows[low] * (1 - share) + rows[high] * share
