"""Hearing: what every recogniser does, whatever runs its networks: decode, listen, judge cells, cut segments. NumPy.

A recording is decoded once, block by block, and its states are made once; an hour costs the memory of a minute. What is
at most `LONGEST_S` long is heard as one utterance, as in training and evaluation, and its cells are pooled from the
same states. Of longer ones pieces are encoded with some seconds around them, and the answer is the mean of the cells
with speech.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sottovoce.config.settings import words
from sottovoce.data import audio
from sottovoce.data.task import Task
from sottovoce.data.track import Track
from sottovoce.errors import InputError, few
from sottovoce.inference import sound, sources, timeline, turns
from sottovoce.inference.activity import Activity, activity, check
from sottovoce.inference.listening import Listening, Voter, Who, nobody
from sottovoce.inference.result import Result
from sottovoce.inference.sources import Samples
from sottovoce.inference.timeline import LIVE, LONG, RATE_HZ, Pieces, Timing
from sottovoce.inference.turns import Turn
from sottovoce.metrics.temperature import Calibration

LONGEST_S = 30.0  # a recording up to this long is heard as one utterance
BLOCK_S = 10.0  # decoded at a time
PORTION = 1280  # samples of a stream that are heard at a time, whatever portions they come in
LAST_S = 60.0  # of a stream whose loudness tells what is a pause
PLAIN = "neutral"  # the class without emotion


@dataclass(frozen=True)
class Event:
    """A cell of a stream, as soon as it is known."""

    start: float  # s
    end: float
    speech: bool
    label: str  # "" where nobody speaks
    probabilities: dict[str, float]
    intensity: float | None


class Hearing:
    """A recogniser but for its networks.

    Args:
        voters: the networks; the mean of their answers counts.
        task: what they answer.
        labels: the classes that are possible, all where none is named.
        vad: "silero", "loudness", or "auto": silero where it is installed.
        whole: what they read is made of whole recordings.
    """

    per_speaker = False  # recordings of one speaker are heard together

    def __init__(
        self, voters: Sequence[Voter], task: Task, labels: Sequence[str] = (), vad: str = "auto", whole: bool = False
    ):
        check(vad)
        self.voters, self.task, self.vad, self.whole = list(voters), task, vad, whole
        every = task.classes or task.target
        labels = words(labels) if isinstance(labels, str) else [name.strip() for name in labels if name.strip()]
        if unknown := [name for name in labels if name not in every]:
            raise InputError(f"labels: no {unknown[0]!r} in this model. Found {', '.join(every)}.")
        self.chosen = [k for k, name in enumerate(every) if not labels or name in labels]
        self.names = tuple(every[k] for k in self.chosen)

    def frames(self, wave: Track) -> Track:
        """What the networks read of a waveform."""
        raise NotImplementedError

    @property
    def identities(self) -> list[str]:
        """Which trainings its networks are of."""
        return [self.about()["identity"]]

    def about(self) -> dict[str, Any]:
        """What results say of their model."""
        raise NotImplementedError

    def speaker(self, paths: Sequence[Path]) -> Any:
        """What has to be known of these recordings of one speaker; None where nothing has."""
        return None

    def unheard(self, path: Path) -> tuple[list[int], str]:
        """Which networks may answer, and what is to be said of it."""
        return list(range(len(self.voters))), ""

    def __call__(
        self,
        source: Path | str | bytes | Samples | Track | Mapping[str, Any] | BinaryIO,
        *,
        channel: str | int = "mix",
        turns: Path | str | Sequence[Turn] = (),
        timing: Timing | None = None,
        abstain: float | str | None = 0.0,
    ) -> Result:
        """One recording: its answer and its course.

        Args:
            source: a file, its bytes, an open file, a `Track`, (samples (N,), (N, C) or (C, N), samples a second), or
                {"array": samples, "sampling_rate": samples a second}.
            channel: "mix", "left", "right", a number from 1, or "each": every channel is a speaker of its own.
            turns: who speaks when, an RTTM file or `Turn`s; a cell then hears its speaker alone.
            timing: windows, cells, smoothing.
            abstain: the confidence below which the label is "unsure"; "auto" (or None) = 0.5, of a calibrated model.

        Raises:
            InputError: what cannot be read; "auto" where the model is not calibrated.
        """
        least = self.least_confidence(abstain)
        with sources.as_file(source) as path:
            speaker = self.speaker([path])
            found = self._hear(path, speaker, str(channel), turns, timing or Timing())
        return _abstained(found if isinstance(source, (str, Path)) else replace(found, path=""), least)

    def predict(
        self,
        paths: Path | str | Iterable[Path | str],
        *,
        channel: str | int = "mix",
        turns: Path | str | Sequence[Turn] = (),
        timing: Timing | None = None,
        abstain: float | str | None = 0.0,
    ) -> list[Result]:
        """Several recordings; of a model that standardises per speaker, all of one speaker. The rest as in a call."""
        given = [paths] if isinstance(paths, (str, Path)) else list(paths)
        if other := [type(p).__name__ for p in given if not isinstance(p, (str, Path))]:
            raise InputError(
                f"predict: paths of recordings. Found {other[0]}. For samples call the model: model((x, hz))"
            )
        least, found = self.least_confidence(abstain), [Path(p) for p in given]
        speaker, how = self.speaker(found), (str(channel), turns, timing or Timing())
        return [_abstained(self._hear(path, speaker, *how), least) for path in found]

    def stream(
        self,
        chunks: Iterable[np.ndarray],
        rate_hz: float = RATE_HZ,
        *,
        timing: Timing | None = None,
        pieces: Pieces = LIVE,
    ) -> Iterator[Event]:
        """Events of a stream of samples (n,) in any portions, `latency_s` behind it; its end brings the last ones.

        The same samples give the same events, however they are portioned; with `pieces` of a recording (`LONG`) the
        probabilities are those of that recording.

        Raises InputError for a model that has to know the whole recording, or the speaker's others, first.
        """
        if self.whole or self.per_speaker:
            raise InputError(
                "stream: the model standardises per speaker, or reads what is made of whole recordings. Use another "
                "model, or hear the recording when it is complete."
            )
        timing, heard = timing or Timing(), sound.Sound()
        voice, ear = self.listening(timing, pieces, self.voters), activity(self.vad, heard, LAST_S)
        for samples in audio.portions(sources.resampled(chunks, rate_hz), PORTION):
            at = len(voice.posteriors)
            for part in (heard, ear, voice):
                part.feed(samples)
            yield from self._events(voice, ear, at, timing)
        if not voice.samples:
            return
        at = len(voice.posteriors)
        for part in (heard, ear, voice):
            part.finish()
        yield from self._events(voice, ear, at, timing)

    def latency_s(self, timing: Timing | None = None) -> float:
        """How far the events of a stream are behind it at most, computing apart."""
        return self.listening(timing or Timing(), LIVE, self.voters).latency_s

    def groups(self, paths: Sequence[Path]) -> Iterator[list[Path]]:
        """What is predicted together: one recording, or a folder's where the model standardises per speaker."""
        if not self.per_speaker:
            yield from ([p] for p in paths)
            return
        folders: dict[Path, list[Path]] = {}
        for path in paths:
            folders.setdefault(path.parent, []).append(path)
        yield from folders.values()

    def intensity(self, posteriors: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray | None, str]:
        """How intense cells are, from their possible (C, K) and all answers, and what that is: None where the model
        says nothing of it.

        A model of classes with a neutral one says how far from neutral a voice is: 1 - P(neutral). That is no measured
        intensity, and it is named.
        """
        if answers.shape[-1] > self.task.outputs:
            return np.where(np.isfinite(posteriors[:, 0]), answers[:, -1], np.nan), "learned"
        for name in ("intensity", "strength", "arousal"):
            if self.task.kind == "number" and name in self.names:
                return posteriors[:, self.names.index(name)], name
        if self.task.kind == "class" and PLAIN in self.names and len(self.names) > 1:
            return 1 - posteriors[:, self.names.index(PLAIN)], f"1 - P({PLAIN})"
        return None, ""

    def possible(self, answers: np.ndarray, voters: Sequence[Voter]) -> np.ndarray:
        """(..., K) answers of these networks -> those of the possible labels, of classes calibrated and shares of 1."""
        answers = answers[..., : self.task.outputs]  # without an intensity
        kept = (_calibration(voters).apply(answers) if self.task.kind == "class" else answers)[..., self.chosen]
        if len(self.chosen) < answers.shape[-1] and self.task.kind == "class":
            kept = kept / np.maximum(kept.sum(-1, keepdims=True), 1e-12)
        return kept

    @property
    def calibration(self) -> Calibration:
        return _calibration(self.voters)

    def least_confidence(self, abstain: float | str | None) -> float:
        """Below which a label is "unsure". Raises InputError for what is no confidence, or none of this model."""
        if abstain != 0 and self.task.kind != "class":
            raise InputError("--abstain: needs classes. Found a model of numbers. Leave it out.")
        if abstain not in (None, "auto"):
            if not (isinstance(abstain, (int, float, np.number)) and 0 <= abstain <= 1):
                raise InputError(f"abstain: no confidence. Found {abstain!r}. Give a number from 0 to 1, or 'auto'.")
            return float(abstain)
        if not self.calibration.rows:
            raise InputError(
                "--abstain auto: needs a calibrated model. Found none, or of an earlier version. Fine-tune "
                "again with a dev part, or give a confidence between 0 and 1."
            )
        return self.calibration.unsure_below

    def listening(
        self, timing: Timing, pieces: Pieces, voters: Sequence[Voter], speaker: Any = None, who: Who = nobody
    ) -> Listening:
        """What hears one voice as it comes, with some of the networks."""

        def frames(begin_s: float, samples: np.ndarray) -> Track:
            return self.frames(Track(samples, RATE_HZ))

        return Listening(voters, frames, timing, pieces, speaker, who)

    def _events(self, voice: Listening, ear: Activity, first: int, timing: Timing) -> Iterator[Event]:
        cells = voice.posteriors[first:]
        if not len(cells):
            return
        said = self.possible(cells, self.voters)
        strength, _ = self.intensity(said, cells)
        starts = np.arange(first, first + len(cells)) * timing.hop_s
        ends = np.minimum(starts + timing.hop_s, voice.samples / RATE_HZ)
        there = (sound.share(ear.so_far(), ear.rate_hz, starts, ends) >= 0.5) & np.isfinite(said).all(axis=1)
        for k, (start, end, speaks) in enumerate(zip(starts.tolist(), ends.tolist(), there.tolist(), strict=True)):
            label = self.names[int(said[k].argmax())] if speaks and self.task.kind == "class" else ""
            shares = dict(zip(self.names, said[k].tolist(), strict=True))
            yield Event(start, end, speaks, label, shares, None if strength is None else float(strength[k]))

    def _hear(
        self, path: Path, speaker: Any, channel: str, spoken: Path | str | Sequence[Turn], timing: Timing
    ) -> Result:
        info, voices = audio.probe(path), audio.channels(path, channel)
        listed, whose = turns.read(spoken, path) if isinstance(spoken, (str, Path)) else (list(spoken), "")
        listed = turns.of_channel(listed, channel)
        if listed and min(turn.start for turn in listed) >= info.duration_s:
            raise InputError(
                f"turns: none begins within {info.duration_s:.3f} s of {path.name}. Found {listed[0].start:g} s. Name "
                "this recording's, in seconds."
            )
        if listed and len(voices) > 1:
            raise InputError("turns: tell who speaks in one signal. Found channel 'each'. Choose one of both.")
        answering, remark = self.unheard(path)
        voters = [self.voters[k] for k in answering]
        heard = [_Ear(self, voters, timing, speaker, listed) for _ in range(max(len(voices), 1))]
        for block in audio.blocks(path, BLOCK_S, which=channel):
            columns = block.values.reshape(len(block), -1)
            for k, one in enumerate(heard):
                one.feed(np.ascontiguousarray(columns[:, k]))
        found = [one.finish(str(path), info.duration_s) for one in heard]
        notes = [note for note in info.note.split("; ") if note and (channel == "mix" or "cancel" not in note)]
        if speaker and speaker.alone:
            notes.append("the only recording of its speaker: less certain for this model")
        notes += filter(None, [remark, whose])
        joined = found[0] if len(found) == 1 else _side_by_side(found, list(voices))
        return replace(joined, warnings=[*notes, *joined.warnings], model=self.about())


class _Ear:
    """One voice of one recording."""

    def __init__(
        self, recogniser: Hearing, voters: Sequence[Voter], timing: Timing, speaker: Any, spoken: Sequence[Turn]
    ):
        self.recogniser, self.timing, self.spoken = recogniser, timing, spoken
        self.sound = sound.Sound()
        self.activity = activity(recogniser.vad, self.sound)
        self.people = list(dict.fromkeys(turn.speaker for turn in spoken))
        who = turns.who(spoken, self.people) if spoken else nobody
        self.voice = recogniser.listening(timing, LONG, voters, speaker, who)
        self.held: list[np.ndarray] = []  # what may be all of it
        self.whole = recogniser.whole
        self.long = False

    def feed(self, samples: np.ndarray) -> None:
        self.sound.feed(samples)
        self.activity.feed(samples)
        if not self.long:
            self.held.append(samples)
            self.long = not self.whole and sum(map(len, self.held)) > LONGEST_S * RATE_HZ
            samples = np.concatenate(self.held) if self.long else samples[:0]
        if self.long:
            self.held = []
            self.voice.feed(samples)

    def finish(self, path: str, duration_s: float) -> Result:
        recogniser, timing = self.recogniser, self.timing
        self.sound.finish()
        self.activity.finish()
        warnings, answer = self.sound.warnings(), None
        if not self.sound.silent:
            answer = self._answer(warnings)
        cells = timeline.cell_count(self.sound.samples, timing.hop_s)
        said = np.full((cells, len(recogniser.names)), np.nan)
        if answer is not None:
            said = recogniser.possible(self.voice.posteriors, self.voice.voters)
        centres = timeline.centres(0, cells, timing.hop_s, self.sound.samples)
        ear = self.activity
        speaks, answered = _cells(ear.so_far(), ear.rate_hz, cells, timing.hop_s), np.isfinite(said).all(axis=1)
        there = speaks & answered
        if answer is not None and not there.any() and not (self.spoken and speaks.any()):
            warnings.append("no speech found: what sounds in it was taken for a voice")
            loud = sound.speech(self.sound.levels)
            there = _cells(loud, RATE_HZ / sound.FRAME, cells, timing.hop_s) & answered
        whose = self.voice.who(centres) if self.spoken else np.zeros(cells, np.int64)
        there &= whose >= 0
        said[~there] = np.nan
        warnings += self._of_turns(whose, bool(there.any()))
        if not there.any():
            answer = None
        elif answer is None or len(answer) == 0 or self.spoken:
            answer = recogniser.possible(self.voice.posteriors[there].mean(0), self.voice.voters)
            if there.mean() < 0.5:
                warnings.append(f"{1 - there.mean():.0%} of it is pauses, which were left out")
        else:
            answer = recogniser.possible(answer, self.voice.voters)
        nothing = np.full((cells, self.voice.voters[0].outputs), np.nan)
        heard = self.voice.posteriors if answer is not None else nothing
        strength, meaning = recogniser.intensity(said, heard)
        people = [self.people[k] if k >= 0 else "" for k in whose] if self.spoken else []
        cut = timeline.segments(said, there, recogniser.names, duration_s, timing, strength, people)
        return Result(
            path, duration_s, recogniser.names,
            np.full(len(recogniser.names), np.nan) if answer is None else answer,
            recogniser.task.kind, timing.hop_s, timing.window_s, centres, said, strength, meaning, people,
            cut if recogniser.task.kind == "class" else [], self.sound.envelope, warnings,
        )  # fmt: skip

    def _of_turns(self, whose: np.ndarray, any_there: bool) -> list[str]:
        """What is lost of turns, whose cells (C,) are of which person."""
        if not self.spoken:
            return []
        lost = few([name for k, name in enumerate(self.people) if not (whose == k).any()])
        notes = [f"no cell of {self.timing.hop_s:g} s is of {lost}: use a smaller --hop"] if lost else []
        return notes + ["nobody speaks in any of these turns: look at their times"] * (not any_there)

    def _answer(self, warnings: list[str]) -> np.ndarray:
        """(K,) of a short recording; (0,) where its cells answer."""
        if self.long:
            self.voice.finish()
            return np.zeros(0)
        samples = np.concatenate(self.held)
        if self.whole and len(samples) > LONGEST_S * RATE_HZ:
            made = self.recogniser.frames(Track(samples, RATE_HZ))

            def frames(begin_s: float, piece: np.ndarray) -> Track:
                return made.slice(begin_s, begin_s + len(piece) / RATE_HZ)

            self.voice.frames = frames
            self.voice.feed(samples)
            self.voice.finish()
            return np.zeros(0)
        answer, strange = self.voice.hear_whole(samples)
        if strange:
            warnings.append("unlike all that the model was trained on: take the answer with care")
        return answer


def _calibration(voters: Sequence[Voter]) -> Calibration:
    return Calibration.of_vote([voter.calibration for voter in voters])


def _abstained(found: Result, least: float) -> Result:
    """Without a label where the confidence is less; the probabilities stay."""
    if found.kind != "class":
        return found
    if found.silent or found.confidence >= least:
        return replace(found, abstain=least)
    said = f"unsure: {found.label} has {found.confidence:.2f}, less than {least:.2f}"
    return replace(found, abstain=least, warnings=[*found.warnings, said])


def _cells(frames: np.ndarray, rate_hz: float, cells: int, hop_s: float) -> np.ndarray:
    """(C,) bool of frames (T,): half of a cell is there, or, where no cell is as full, some of it."""
    starts = np.arange(cells) * hop_s
    share = sound.share(frames, rate_hz, starts, np.clip(len(frames) / rate_hz, starts + 1e-6, starts + hop_s))
    return share >= 0.5 if (share >= 0.5).any() else share > 0


def _side_by_side(found: Sequence[Result], names: Sequence[str]) -> Result:
    """The channels of a recording as one result, each as a speaker."""
    first, cells = found[0], np.concatenate([r.posteriors for r in found])
    answer, speaking = np.full(len(first.names), np.nan), [r for r in found if not r.silent]
    if speaking:  # as each alone; who says more counts for more
        answer = np.average([r.answer for r in speaking], axis=0, weights=[r.speech.sum() for r in speaking])
    segments = [s | {"speaker": name} for r, name in zip(found, names, strict=True) for s in r.segments]
    strengths = [r.intensities for r in found if r.intensities is not None]
    said = [(name, line) for r, name in zip(found, names, strict=True) for line in r.warnings]
    edges = {"low": np.min, "high": np.max}
    return replace(
        first,
        answer=answer,
        times_s=np.concatenate([r.times_s for r in found]),
        posteriors=cells,
        intensities=np.concatenate(strengths) if strengths else None,
        speakers=[name for r, name in zip(found, names, strict=True) for _ in r.times_s],
        segments=sorted(segments, key=lambda s: s["start"]),
        envelope=first.envelope | {k: edge([r.envelope[k] for r in found], axis=0) for k, edge in edges.items()},
        warnings=[f"{name}: {line}" for name, line in said if "pauses" not in line],
    )
