"""The arithmetic of emotion over time: which pieces are encoded, which states a cell sees, where segments lie. NumPy.

    samples -> pieces, encoded one by one -> states -> cells of `hop_s`, each judged from the states of `window_s`
    around its centre -> smoothed -> segments

Cell k is [k hop_s, (k + 1) hop_s): the cells tile the recording. Everything lies on the samples' own clock, so it does
not matter in which portions they come.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sottovoce.config.ranges import NotNegative, Positive, Settings

RATE_HZ = 16_000


@dataclass(frozen=True)
class Timing(Settings, group="timing"):
    """How an answer over time is made. Seconds."""

    window_s: Positive = 3.0  # whose states a cell's answer is pooled from
    hop_s: Positive = 0.25  # length of a cell: 4 answers a second
    smooth_s: NotNegative = 0.75  # answers are averaged over so long before segments are cut
    shortest_s: NotNegative = 0.5  # a shorter segment goes to its likelier neighbour

    def __post_init__(self) -> None:
        """Cells are of whole samples, and everything that counts cells must count the same."""
        super().__post_init__()
        object.__setattr__(self, "hop_s", max(round(self.hop_s * RATE_HZ), 1) / RATE_HZ)


@dataclass(frozen=True)
class Pieces:
    """How a recording is cut for the encoder: a piece's own `step_s` seconds, with `around_s` on both sides."""

    step_s: float
    before_s: float
    after_s: float

    @property
    def length_s(self) -> float:
        return self.before_s + self.step_s + self.after_s

    def span(self, k: int) -> tuple[int, int, int, int]:
        """Piece k in samples: where it begins, where its own part begins and ends, where it ends."""
        step, before, after = (round(s * RATE_HZ) for s in (self.step_s, self.before_s, self.after_s))
        return max(k * step - before, 0), k * step, (k + 1) * step, (k + 1) * step + after


LONG = Pieces(11.84, 1.6, 1.6)  # recordings: 15 s at a time, where attention costs as much as all else
LIVE = Pieces(0.48, 4.8, 0.48)  # streams: encoded ten times over for the sake of an early answer


def windows(times_s: np.ndarray, centres_s: np.ndarray, window_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Which states (S,) lie around each centre (C,): the first and the last + 1.

    >>> [k.tolist() for k in windows(np.arange(5) / 2, np.array([1.0]), 1.0)]
    [[1], [3]]
    """
    bounds = [np.searchsorted(times_s, centres_s + side - 1e-9) for side in (-window_s / 2, window_s / 2)]
    return bounds[0], bounds[1]


def cell_count(samples: int, hop_s: float) -> int:
    """Cells that tile so many samples; the last one may be cut short."""
    return max(-(-samples // round(hop_s * RATE_HZ)), 1)


def centres(first: int, last: int, hop_s: float, samples: int | None = None) -> np.ndarray:
    """Seconds of the centres of the cells first..last, of a recording of so many samples where its end is known."""
    hop = round(hop_s * RATE_HZ)
    begin = np.arange(first, last) * hop
    end = begin + hop if samples is None else np.minimum(begin + hop, samples)
    return (begin + end) / 2 / RATE_HZ


def smoothed(values: np.ndarray, there: np.ndarray, cells: int) -> np.ndarray:
    """Moving averages (C, K) over so many cells, of those that are there (C,); the others stay as they are.

    An average does not reach across a pause: its cells do not count.
    """
    if cells < 2 or not there.any():
        return values
    cells = min(cells, 2 * len(there))  # from one end to the other
    kernel, known = np.ones(cells | 1), np.where(there[:, None], values, 0.0)
    count = np.convolve(there.astype(float), kernel)[cells // 2 :][: len(there)]
    sums = np.stack([np.convolve(column, kernel)[cells // 2 :][: len(there)] for column in known.T], axis=1)
    return np.where(there[:, None], sums / np.maximum(count, 1)[:, None], values)


def segments(
    posteriors: np.ndarray,
    there: np.ndarray,
    names: Sequence[str],
    duration_s: float,
    timing: Timing,
    intensities: np.ndarray | None = None,
    speakers: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Stretches of one label (and one speaker): start, end, label, confidence, intensity, speaker.

    Cells that are not there (C,) belong to none: between two segments there may be a gap.
    """
    course = smoothed(posteriors, there, round(timing.smooth_s / timing.hop_s))
    who = list(speakers) or [""] * len(course)
    found = []
    for begin, end in _islands(there, who):
        for first, last, label in _merged(course[begin:end], timing.shortest_s / timing.hop_s):
            cells = slice(begin + first, begin + last)
            start, stop = cells.start * timing.hop_s, min(cells.stop * timing.hop_s, duration_s)
            segment: dict[str, Any] = {"start": round(start, 3), "end": round(stop, 3), "label": names[label]}
            segment["confidence"] = round(float(posteriors[cells, label].mean()), 6)
            if intensities is not None:
                segment["intensity"] = round(float(intensities[cells].mean()), 6)
            if segment["end"] > segment["start"]:  # not a last cell of some samples
                found.append(segment | ({"speaker": who[begin]} if len(speakers) else {}))
    return found


def _islands(there: np.ndarray, who: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of the cells between two pauses or changes of speaker."""
    for (inside, _), cells in itertools.groupby(range(len(there)), key=lambda k: (bool(there[k]), who[k])):
        island = list(cells)
        if inside:
            yield island[0], island[-1] + 1


def _merged(course: np.ndarray, least: float) -> list[tuple[int, int, int]]:
    """(first, last + 1, label) of the strongest classes of cells (C, K); what is shorter than `least` cells goes,
    shortest first, to the neighbour whose label is likelier there. What stands alone stays: a word may be short."""
    best = course.argmax(1)
    borders = [0, *(np.flatnonzero(best[1:] != best[:-1]) + 1).tolist(), len(best)]
    runs = [(a, b, int(best[a])) for a, b in itertools.pairwise(borders)]
    while len(runs) > 1:
        k = min(range(len(runs)), key=lambda k: runs[k][1] - runs[k][0])
        first, last, _ = runs[k]
        if last - first >= least:
            break
        near = {runs[j][2] for j in (k - 1, k + 1) if 0 <= j < len(runs)}
        runs[k] = (first, last, max(near, key=lambda label: course[first:last, label].mean()))
        joined: list[tuple[int, int, int]] = []
        for run in runs:
            if joined and joined[-1][2] == run[2]:
                run = (joined.pop()[0], run[1], run[2])
            joined.append(run)
        runs = joined
    return runs
