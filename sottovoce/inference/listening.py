"""A voice heard as it comes: samples in portions of any size become pieces, states, and the answers of cells.

The same samples give the same answers to the last bit, however they are portioned: what is computed together depends
on the samples' clock alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from sottovoce.data.track import Track
from sottovoce.inference import timeline
from sottovoce.inference.timeline import RATE_HZ, Pieces, Timing
from sottovoce.metrics.temperature import Calibration

STRANGE = 6.0  # mean square of the standardised features, 1 to 2 in training, from which a voice is unlike it

Who = Callable[[np.ndarray], np.ndarray]  # seconds (n,) -> whose turn it is (n,): 0, 1, ..., -1 = nobody's


class Voter(Protocol):
    """One network: frames of a recording become states (S, M), and stretches of states become answers (B, K).

    `speaker` is what the recogniser knows of the one who speaks, `pooled` what the voter itself has pooled.
    """

    @property
    def calibration(self) -> Calibration: ...
    @property
    def outputs(self) -> int: ...
    def states(self, frames: Track, *, trim: bool, speaker: Any = None) -> Track: ...
    def pooled(self, states: np.ndarray, first: np.ndarray, last: np.ndarray, valid: np.ndarray) -> Any: ...
    def judge(self, pooled: Any, speaker: Any = None) -> np.ndarray: ...
    def strange(self, pooled: Any) -> bool: ...


def nobody(times_s: np.ndarray) -> np.ndarray:
    """Without turns everything is one speaker's."""
    return np.zeros(len(times_s), np.int64)


class Listening:
    """`feed` it, then `finish`; `posteriors` holds the cells so far.

    Args:
        frames: (second where the samples begin, samples (N,)) -> track frames, their times counted from there.
        who: whose turn it is; a cell hears no states of others.
    """

    def __init__(
        self,
        voters: Sequence[Voter],
        frames: Callable[[float, np.ndarray], Track],
        timing: Timing,
        pieces: Pieces,
        speaker: Any = None,
        who: Who = nobody,
    ):
        self.voters, self.frames, self.timing, self.pieces = voters, frames, timing, pieces
        self.speaker, self.who = speaker, who
        self.samples = 0  # heard so far
        self.posteriors = np.zeros((0, voters[0].outputs))  # (C, K), NaN where there are no states
        self._piece = 0  # the next to be encoded
        self._buffer, self._begin = np.zeros(0, np.float32), 0  # samples from `_begin` on
        self._states: list[Track | None] = [None] * len(voters)  # those that cells still need
        self._times = [np.zeros(0) for _ in voters]

    @property
    def latency_s(self) -> float:
        """From a sample to the answer of its cell, at most, computing apart."""
        return self.timing.window_s / 2 + self.timing.hop_s / 2 + self.pieces.step_s + self.pieces.after_s

    def feed(self, samples: np.ndarray) -> None:
        """(n,) float32 at 16 kHz that follow those before."""
        self._buffer = np.concatenate([self._buffer, samples])
        self.samples += len(samples)
        while self.samples > self.pieces.span(self._piece)[3]:  # with more to come, so that it is not the last one
            begin, own, border, end = self.pieces.span(self._piece)
            self._encode(begin, own, border, end)
            self._piece += 1
            self._forget(self.pieces.span(self._piece)[0])
            self._judge(border / RATE_HZ)

    def finish(self) -> None:
        """No samples follow."""
        begin, own, _, _ = self.pieces.span(self._piece)
        if self.samples > own or not self._piece:
            self._encode(begin, own, self.samples, self.samples)
        self._judge(np.inf)

    def hear_whole(self, samples: np.ndarray) -> tuple[np.ndarray, bool]:
        """A recording (N,) that is short enough to be heard as in training: its answer (K,), and whether it is unlike
        all that was there; then its cells."""
        self.samples = len(samples)
        frames = self.frames(0.0, samples)
        answers, strange = [], []
        for k, voter in enumerate(self.voters):
            states = voter.states(frames, trim=True, speaker=self.speaker)
            every = np.zeros(1, np.int64), np.array([len(states)])
            pooled = voter.pooled(states.values, every[0], every[1], np.ones(len(states), bool))
            answers.append(voter.judge(pooled, self.speaker)[0])
            strange.append(voter.strange(pooled))
            self._states[k], self._times[k] = states, states.times
        self._judge(np.inf)
        return np.mean(answers, axis=0), all(strange)

    def _encode(self, begin: int, own: int, border: int, end: int) -> None:
        """The states of a piece that lie in its own part; where the next piece is unknown its end is its own."""
        offset_s = begin / RATE_HZ
        frames = self.frames(offset_s, self._buffer[begin - self._begin : end - self._begin])
        for k, voter in enumerate(self.voters):
            states = voter.states(frames, trim=False, speaker=self.speaker)
            times = states.times + offset_s
            first = 0 if not self._piece else np.searchsorted(times, own / RATE_HZ - 1e-9)
            last = len(times) if border == end else np.searchsorted(times, border / RATE_HZ - 1e-9)
            earlier = self._states[k]
            values = states.values[first:last]
            joined = values if earlier is None else np.concatenate([earlier.values, values])
            self._states[k] = replace(states, values=joined)
            self._times[k] = np.concatenate([self._times[k], times[first:last]])

    def _forget(self, sample: int) -> None:
        """Samples before this one are not needed any more."""
        self._buffer, self._begin = self._buffer[sample - self._begin :], sample

    def _judge(self, known_s: float) -> None:
        """The answers of all cells whose windows end before `known_s`."""
        done, half = len(self.posteriors), self.timing.window_s / 2
        hop_s, ending = self.timing.hop_s, np.isinf(known_s)
        reach = max(half - hop_s / 2, 0.0)  # of a window, or of its cell, behind the cell
        last = timeline.cell_count(self.samples, hop_s) if ending else int((known_s - reach) / hop_s + 1e-9)
        if last <= done:
            return
        centres = timeline.centres(done, last, hop_s, self.samples if ending else None)
        whose = self.who(centres)
        votes = []
        for k, voter in enumerate(self.voters):
            times, states = self._times[k], self._states[k]
            assert states is not None  # something was encoded
            first, end = timeline.windows(times, centres, self.timing.window_s)
            said = np.full((len(centres), voter.outputs), np.nan)
            theirs = self.who(times)
            for person in np.unique(whose[whose >= 0]):
                valid = theirs == person
                count = np.concatenate([[0], np.cumsum(valid)])
                rows = np.flatnonzero((whose == person) & (count[end] > count[first]))
                if len(rows):
                    pooled = voter.pooled(states.values, first[rows], end[rows], valid)
                    said[rows] = voter.judge(pooled, self.speaker)
            votes.append(said)
            if not ending:
                gone = int(np.searchsorted(times, (last + 0.5) * hop_s - half - 1e-6))
                self._states[k] = replace(states, values=states.values[gone:])
                self._times[k] = times[gone:]
        self.posteriors = np.concatenate([self.posteriors, np.mean(votes, axis=0)])
