"""`sottovoce predict` and `Recogniser`: recordings of any length -> emotion, and emotion over time.

A recording is read in blocks, turned into features and windows as it comes, so that an hour costs the memory
of a minute. Where a run has several folds, their models vote with the mean of their predictions.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sottovoce import files, report
from sottovoce.data import audio, recordings, runs
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.evaluation.evaluate import write_table
from sottovoce.inference.seen import Heard
from sottovoce.modeling import network as models
from sottovoce.modeling.network import Recognised
from sottovoce.tracks import base as tracks

LONGEST_S = 30.0  # a recording up to this long is predicted as one utterance, as in training; longer ones by windows
PAUSE_DB = 35.0  # a window so far below the loudest one holds no speech
ENVELOPE_HZ = 20.0  # points per second of the drawn waveform


@dataclass(repr=False)
class Prediction:
    """What a model predicts for one recording. `answer`: (K,) probabilities or (D,) values, named by `names`."""

    path: Path
    duration_s: float
    names: tuple[str, ...]
    answer: np.ndarray  # NaN where the recording is silent
    label: str  # "" where values are predicted, and where the recording is silent
    times_s: np.ndarray | None = None  # (W,) centres of the windows
    window_posteriors: np.ndarray | None = None  # (W, K or D) the answer of every window
    frame_posteriors: Track | None = None  # (F, K or D) the answer at every state of the model
    segments: list[dict[str, Any]] = field(default_factory=list)
    envelope: dict[str, Any] = field(default_factory=dict)
    warning: str = ""  # what to know about the answer, in the tables as `note`
    kind: str = "class"  # or "number"
    silent: bool = False  # no answer: nothing above `audio.QUIET`
    unsure: bool = False  # no label: less confident than `abstain` asked for

    @property
    def confidence(self) -> float:
        return float(self.answer.max())

    @property
    def probabilities(self) -> dict[str, float]:
        """Of every class; of every number its value."""
        return {name: float(value) for name, value in zip(self.names, self.answer, strict=True)}

    @property
    def timeline(self) -> Any:
        """A pandas DataFrame: time_s and a column of every class or number, a row a window; empty without windows."""
        import pandas as pd

        return pd.DataFrame(self.windows(), columns=["time_s", *self.names])

    def __repr__(self) -> str:
        said = f"{self.label} {self.confidence:.2f}" if self.label else self.warning or str(self.probabilities)
        return f"<Prediction {self.path.name}: {said}>"

    def row(self) -> dict[str, Any]:
        head: dict[str, Any] = {"path": str(self.path), "duration_s": round(self.duration_s, 3)}
        if self.kind == "class":
            head |= {"label": self.label, "confidence": round(self.confidence, 6)}
        prefix = "p_" if self.kind == "class" else ""
        scores = {f"{prefix}{n}": round(float(v), 6) for n, v in zip(self.names, self.answer, strict=True)}
        return head | scores | {"note": self.warning}

    def windows(self) -> list[dict[str, Any]]:
        if self.times_s is None or self.window_posteriors is None:
            return []
        return self._rows(self.times_s, self.window_posteriors)

    def frame_rows(self) -> list[dict[str, Any]]:
        """The answer at every state of the model."""
        track = self.frame_posteriors
        return [] if track is None else self._rows(track.times, track.values)

    def _rows(self, times_s: Any, values: Any) -> list[dict[str, Any]]:
        return [
            {"time_s": round(float(t), 3)} | {n: round(float(v), 6) for n, v in zip(self.names, row, strict=True)}
            for t, row in zip(times_s, values, strict=True)
        ]


def load(run: Path | str) -> "Recogniser":
    """A fine-tuned run, ready to listen. Raises InputError when there is none, or it is corrupt."""

    return Recogniser([models.load_recognised(part) for part in runs.parts(run, "finetune")])


class Recogniser:
    """`load("runs/ft").predict(["clip.wav"])`: any length, rate, channel count and container.

    Args:
        models: one or more fine-tuned networks of the same task and features; their predictions are averaged.
    """

    def __init__(self, models: Sequence[Recognised]):
        self.models = list(models)
        first = self.models[0]
        self.task, self.plan = first.task, first.plan
        for m in self.models:
            if (m.task, m.plan.track, m.plan.track_config, m.plan.per_speaker) != (
                first.task, first.plan.track, first.plan.track_config, first.plan.per_speaker
            ):  # fmt: skip
                where = m.run.folder if m.run else "model"
                raise InputError(
                    f"{where}: another task, track or normalisation than its neighbours. Models that vote together "
                    "have to read the same features. Name one fold's folder."
                )
        self.per_speaker = first.plan.per_speaker
        self.names = first.task.classes or first.task.target
        self.heard = Heard([m.run for m in self.models])

    @property
    def calibration(self) -> Any:
        return self.models[0].calibration.of_vote([m.calibration for m in self.models])

    def groups(self, paths: Sequence[Path]) -> Iterator[list[Path]]:
        """What is predicted together: one recording, or a folder's where the model standardises per speaker."""
        if not self.per_speaker:
            yield from ([p] for p in paths)
            return
        folders: dict[Path, list[Path]] = {}
        for path in paths:
            folders.setdefault(path.parent, []).append(path)
        yield from folders.values()

    def predict(
        self,
        paths: Path | str | Sequence[Path | str],
        *,
        window_s: float = 3.0,
        hop_s: float = 0.5,
        timeline: bool = False,
        abstain: float | None = 0.0,
    ) -> list[Prediction]:
        """Emotion of each recording.

        Args:
            paths: audio files, or one; for a model that standardises per speaker, all of one speaker.
            window_s, hop_s: length of a window and seconds from one to the next; for timelines and long recordings.
            timeline: also keep posteriors over time, segments and a waveform envelope.
            abstain: the confidence below which a recording's label is "unsure"; None = 0.5, of a calibrated model.

        Raises:
            InputError: a file that cannot be read; None where the model is not calibrated.
        """
        least = self._least(abstain)
        recordings = [Path(p) for p in ([paths] if isinstance(paths, (str, Path)) else paths)]
        speaker = _SpeakerStatistics(self, recordings) if self.per_speaker else None
        found = [self._unheard(p, speaker, window_s, hop_s, timeline) for p in recordings]
        return [_abstained(p, least) if p.label and p.confidence < least else p for p in found]

    def _least(self, abstain: float | None) -> float:
        if abstain != 0 and self.task.kind != "class":
            raise InputError("--abstain: needs classes. Found a model of numbers. Leave it out.")
        if abstain is not None:
            return abstain
        if not self.calibration.rows:
            raise InputError(
                "--abstain auto: needs a calibrated model. Found none, or of an earlier version. Fine-tune "
                "again with a dev part, or give a confidence between 0 and 1."
            )
        return self.calibration.unsure_below

    def _unheard(self, path: Path, speaker: Any, window_s: float, hop_s: float, timeline: bool) -> Prediction:
        """The answer of the models that have not heard this recording's speaker, if there are any."""
        answering, note = self.heard.unheard(path)
        own = copy(self)
        own.models = [self.models[k] for k in answering]
        found = own._one(path, speaker, window_s, hop_s, timeline)
        found.warning = "; ".join(filter(None, [found.warning, note]))
        return found

    def _one(self, path: Path, speaker: Any, window_s: float, hop_s: float, timeline: bool) -> Prediction:

        info = audio.probe(path)
        notes = [info.note] if info.note else []
        if info.duration_s < 0.3:
            notes.append("shorter than 0.3 s: take the answer with care")
        if speaker and speaker.alone:
            notes.append("the only recording of its speaker: less certain for this model")
        long = info.duration_s > LONGEST_S
        wave = None if long else audio.read(path)
        loudest = max(audio.level(w.values) for w in (audio.blocks(path, LONGEST_S) if wave is None else [wave]))
        found = Prediction(path, info.duration_s, tuple(self.names), np.full(len(self.names), np.nan), "")
        found.kind = self.task.kind
        if loudest < audio.QUIET:
            found.silent = True
            found.warning = "; ".join([*notes, "silence: nothing louder than -70 dB of full scale, so no answer"])
            found.envelope = envelope(path) if timeline else {}
            return found
        found.warning = "; ".join(notes)
        answer = None if wave is None else self.predict_frames([self.frames(wave)], speaker)[0]
        times: np.ndarray | None = None
        posteriors: np.ndarray | None = None
        if long or timeline:
            seconds: list[float] = []
            rows: list[np.ndarray] = []
            powers: list[float] = []
            for centres, batch in batched(self.windows(path, window_s, hop_s), 64):
                seconds += centres
                powers += [power for _, power in batch]
                rows.append(self.predict_frames([frames for frames, _ in batch], speaker))
            posteriors, times = np.concatenate(rows), np.array(seconds)
            if answer is None:  # windows without speech have no say, however many they are
                speech = np.array(powers) >= max(powers) * 10 ** (-PAUSE_DB / 10)
                answer = posteriors[speech].mean(0)
                if speech.mean() < 0.5:
                    note = f"{1 - speech.mean():.0%} of the windows are pauses and were left out"
                    found.warning = "; ".join(filter(None, [found.warning, note]))
        assert answer is not None  # every recording is short, or long, or both
        answer = self.calibration.apply(answer)
        found.answer, found.label = answer, self.names[int(answer.argmax())] if self.task.kind == "class" else ""
        if timeline and times is not None and posteriors is not None:
            posteriors = self.calibration.apply(posteriors)
            found.times_s, found.window_posteriors = times, posteriors
            found.frame_posteriors = self.frame_posteriors(path, speaker)
            found.envelope = envelope(path)
            if found.label:
                found.segments = segments(times, posteriors, self.names, info.duration_s, hop_s)
        return found

    def frames(self, wave: Track) -> np.ndarray:
        """(T, F) track frames of a waveform. Raises InputError as `_make`."""
        return self._make(wave).values

    def _make(self, wave: Track) -> Track:
        """Raises InputError when the model's steps were words of a feature file."""

        if self.plan.track == "covarep" and self.plan.frontend.subsampling == 1:
            raise InputError(
                "track covarep: the model was trained on word-aligned features, so it cannot read a recording. Found "
                "one step a frame (frontend.subsampling=1). Use a model trained on frames, or `sottovoce evaluate`."
            )
        make = tracks.maker(self.plan.track).make
        if make is None:
            raise InputError(
                f"track {self.plan.track}: is not made of one recording alone, so the model cannot hear one. Use a "
                "model of another track, or `sottovoce evaluate`."
            )
        return make(wave, self.plan.track_config)

    def windows(self, path: Path, window_s: float, hop_s: float) -> Iterator[tuple[float, tuple[np.ndarray, float]]]:
        """(centre in seconds, (frames (T, F), power)) of each window, reading the recording block by block.

        A track that is made of whole recordings (`WHOLE` in its module) is made first and then cut.
        """

        whole = None
        if tracks.maker(self.plan.track).WHOLE:
            whole = self._make(audio.read(path))
        rate = 16000
        size, step = round(window_s * rate), round(hop_s * rate)

        def window(start: int, samples: np.ndarray) -> tuple[float, tuple[np.ndarray, float]]:
            begin, end = start / rate, (start + len(samples)) / rate
            frames = self.frames(Track(samples, rate)) if whole is None else whole.slice(begin, end).values
            return (begin + end) / 2, (frames, float(np.var(samples, dtype=np.float64)))

        buffer, start, count = np.zeros(0, np.float32), 0, 0  # `start`: sample of the recording where `buffer` begins
        skip = 0  # samples still to be left out, where hops are wider than windows
        for block in audio.blocks(path, 30.0):
            buffer = np.concatenate([buffer, block.values])
            while True:
                left_out = min(skip, len(buffer))
                buffer, start, skip = buffer[left_out:], start + left_out, skip - left_out
                if skip or len(buffer) < size:
                    break
                yield window(start, buffer[:size])
                count, skip = count + 1, step
        if count == 0 or len(buffer) > size / 2:  # the rest, if it is at least half a window
            yield window(start, buffer)

    def frame_posteriors(self, path: Path, speaker: Any = None) -> Track:
        """Mean answer of all models at every state (F, K or D), at the times of the first one's states.

        A state depends on the whole recording, of a long one on its own chunk of `LONGEST_S`. Silence is not cut off:
        every frame has an answer.
        """

        parts: list[tuple[float, list[Track]]] = []
        offset_s = 0.0
        for begin, chunk in self.chunks(path):
            offset_s, tracks = chunk.offset_s if not parts else offset_s, []
            for it in self.models:
                whole = replace(it, plan=replace(it.plan, frontend=replace(it.plan.frontend, trim_db=0.0)))
                steps = steps_of(whole, [chunk.values], speaker.statistics if speaker else None)
                own = speaker.pooled(it) if it.plan.finetune.embedding_norm == "speaker" else None
                ((_, track),) = models.frame_posteriors(it, steps, own=own)
                tracks.append(replace(track, offset_s=track.offset_s + chunk.offset_s))
            parts.append((begin, tracks))
        rate_hz, first_s = models.state_rate(self.models[0], self.plan.track_config.rate_hz, offset_s)
        end = max(begin + track.times[-1] for begin, tracks in parts for track in tracks)
        grid = Track(np.empty(max(round((end - first_s) * rate_hz) + 1, 1)), rate_hz, first_s)
        votes = [_joined([(begin, tracks[k]) for begin, tracks in parts], grid) for k in range(len(self.models))]
        return replace(grid, values=self.calibration.apply(np.mean(votes, axis=0)))

    def chunks(self, path: Path) -> Iterator[tuple[float, Track]]:
        """(second it begins, its frames) of pieces of a recording, one after another: `LONGEST_S`, the last one less
        or up to a second more."""

        if tracks.maker(self.plan.track).WHOLE:
            whole = self._make(audio.read(path))
            for begin in np.arange(0.0, max(whole.times[-1], 1e-3), LONGEST_S):
                yield float(begin), whole.slice(float(begin), float(begin) + LONGEST_S)
            return
        pending: Track | None = None
        for block in audio.blocks(path, LONGEST_S):
            if pending is not None and block.duration_s < 1.0:  # too little for a chunk of its own
                pending = replace(pending, values=np.concatenate([pending.values, block.values]))
                continue
            if pending is not None:
                yield pending.offset_s, self._make(replace(pending, offset_s=0.0))
            pending = block
        if pending is not None:
            yield pending.offset_s, self._make(replace(pending, offset_s=0.0))

    def predict_frames(self, frames: Sequence[np.ndarray], speaker: Any = None) -> np.ndarray:
        """(N, K or D) mean answer of all models for N chunks of track frames (T, F)."""

        return np.mean([self._predict_frames(m, frames, speaker) for m in self.models], axis=0)

    def _predict_frames(self, it: Recognised, frames: Sequence[np.ndarray], speaker: Any) -> np.ndarray:

        steps = steps_of(it, frames, speaker.statistics if speaker else None)
        pooled = models.run_over(steps, it.network.pooled)
        if it.plan.finetune.embedding_norm == "speaker":
            mean, std = speaker.pooled(it)
            with torch.inference_mode():
                return models.to_predictions(self.task, it.network.out(torch.from_numpy((pooled - mean) / std)).numpy())
        return models.from_pooled(it.network, self.task, pooled, steps, "corpus")


def steps_of(it: Recognised, frames: Sequence[np.ndarray], statistics: Any = None) -> Any:
    """Track frames as the steps a network was trained on; `statistics` replaces its own (per speaker)."""

    front = it.plan.frontend
    if front.normalise == "speaker":
        front = replace(front, normalise="corpus")
    store = Memory({str(k): f for k, f in enumerate(frames)}, it.plan.track_config.rate_hz, it.plan.track)
    used = statistics if it.plan.frontend.normalise == "speaker" and statistics else it.statistics
    if store.dim != len(used.mean):
        raise InputError(
            f"the model expects {len(used.mean)} features a frame. Found {store.dim}. Use the track it was trained on."
        )
    return Steps([(store, [Utterance(k, "recording", "") for k in store.values])], front, used)


def _abstained(found: Prediction, least: float) -> Prediction:
    """Without its label. The probabilities stay."""
    said = f"unsure: {found.label} has {found.confidence:.2f}, less than {least:.2f}"
    return replace(found, label="unsure", unsure=True, warning="; ".join(filter(None, [found.warning, said])))


def _joined(parts: Sequence[tuple[float, Track]], grid: Track) -> np.ndarray:
    """Tracks that begin at these seconds, one after another, read at the times of `grid`: (F, D)."""

    times = np.concatenate([begin + track.times for begin, track in parts])
    values = np.concatenate([track.values for _, track in parts])
    return np.stack([np.interp(grid.times, times, column) for column in values.T], axis=1)


class Memory:
    """Arrays (T, F), or samples (N,), that look like a track store."""

    def __init__(self, values: dict[str, np.ndarray], rate_hz: float, track: str):
        self.head = SimpleNamespace(track=track)
        self.values = {k: v if v.ndim == 2 else v[:, None] for k, v in values.items()}
        self.rate_hz, self.offset_s = rate_hz, 0.0
        self.dim: int = next(iter(self.values.values())).shape[1]
        self.lengths = {k: len(v) for k, v in values.items()}

    def source(self, id: str, /) -> None:
        return None

    def __getitem__(self, key: str, /) -> np.ndarray:
        return self.values[key]

    def __contains__(self, key: object, /) -> bool:
        return key in self.values


class _SpeakerStatistics:
    """What per-speaker standardisation needs of all recordings of one speaker, at most 200 of 30 s."""

    def __init__(self, recogniser: Recogniser, paths: Sequence[Path]):

        self.frames = [
            recogniser.frames(audio.read(p, 0.0, min(LONGEST_S, audio.probe(p).duration_s))) for p in paths[:200]
        ]
        self.alone = len(paths) == 1
        self.statistics = steps_of(recogniser.models[0], self.frames).fit_statistics()
        self._pooled: dict[int, Any] = {}

    def pooled(self, it: Recognised) -> tuple[Any, Any]:
        """Mean and deviation (P,) of the pooled features of one model.

        A recording minus its own mean says nothing: a single one is standardised by the training part.
        """

        if self.alone:
            return it.network.standardise.mean.numpy(), it.network.standardise.std.numpy()
        if id(it) not in self._pooled:
            rows = models.run_over(steps_of(it, self.frames, self.statistics), it.network.pooled)
            self._pooled[id(it)] = rows.mean(0), np.maximum(rows.std(0), 1e-4)
        return self._pooled[id(it)]


def audio_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are, folders as the recordings below them in name order.

    Raises InputError for a path that does not exist, for a folder without audio and for names that are not UTF-8.
    """
    for path in paths:
        recordings.spelt(str(path))
        if path.is_dir():
            found = sorted(path / name for name in recordings.recordings_below(path))
            if not found:
                raise InputError(
                    f"{path}: no audio files. Looked for {', '.join(sorted(recordings.SUFFIXES))}. "
                    "Name another folder, or the files themselves."
                )
            yield from found
        elif path.exists():
            yield path
        else:
            raise InputError(f"{path}: no such file or folder.")


def own_names(paths: Sequence[Path]) -> list[str]:
    """A file name for the timeline of each recording: its stem, numbered where several would write the same file.

    `a` writes a.csv and a.frames.csv, so `a.frames` is taken with it; on some disks `A` as well.
    """
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, k = path.stem, 1
        while taken & (files_of := {name.casefold(), f"{name}.frames".casefold()}):
            k += 1
            name = f"{path.stem}-{k}"
        taken |= files_of
        names.append(name)
    return names


def readable(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Which recordings can be decoded to their end, and what is wrong with the others."""

    whole, why = [], []
    for path in paths:
        try:
            for _ in audio.blocks(path, 30.0):
                pass
            whole.append(path)
        except InputError as error:
            why.append(str(error))
    return whole, why


def batched(items: Iterable[tuple[float, Any]], size: int) -> Iterator[tuple[list[float], list[Any]]]:
    times: list[float] = []
    values: list[Any] = []
    for t, v in items:
        times.append(t)
        values.append(v)
        if len(values) == size:
            yield times, values
            times, values = [], []
    if values:
        yield times, values


def segments(
    times: np.ndarray, posteriors: np.ndarray, names: Sequence[str], duration_s: float, hop_s: float
) -> list[dict[str, Any]]:
    """Segments with one strongest class: borders lie half-way between the windows' centres."""
    best = posteriors.argmax(1)
    out: list[dict[str, Any]] = []
    for k, t in enumerate(times):
        start = 0.0 if k == 0 else float(times[k - 1] + t) / 2
        end = duration_s if k == len(times) - 1 else float(t + times[k + 1]) / 2
        if out and out[-1]["label"] == names[best[k]]:
            out[-1]["end"] = end
            out[-1]["shares"].append(float(posteriors[k].max()))
        else:
            out.append({"start": start, "end": end, "label": names[best[k]], "shares": [float(posteriors[k].max())]})
    for s in out:
        shares = s.pop("shares")
        s["confidence"] = sum(shares) / len(shares)
    return out


def envelope(path: Path) -> dict[str, Any]:
    """Lowest and highest sample of every 50 ms: what the picture shows of the waveform."""

    size = round(16000 / ENVELOPE_HZ)
    low, high = [], []
    rest = np.zeros(0, np.float32)
    for block in audio.blocks(path, 30.0):
        samples = np.concatenate([rest, block.values])
        whole = len(samples) // size * size
        cells = samples[:whole].reshape(-1, size)
        low.append(cells.min(1))
        high.append(cells.max(1))
        rest = samples[whole:]
    lows, highs = np.concatenate(low), np.concatenate(high)
    return {"times_s": (np.arange(len(lows)) + 0.5) / ENVELOPE_HZ, "low": lows, "high": highs}


def write(path: Path, results: Sequence[Prediction]) -> None:
    """CSV: a row a recording. JSON: the same with windows and segments."""
    if path.suffix.lower() == ".json":
        files.write_json(path, [r.row() | {"windows": r.windows(), "segments": r.segments} for r in results])
    else:
        write_table(path, [r.row() for r in results])


def draw(result: Prediction, base: Path) -> None:
    """base.csv, base.json, base.svg, base.png, base.html of one recording's timeline; base.frames.csv by frame."""

    times, posteriors = result.times_s, result.window_posteriors
    if posteriors is not None and len(posteriors) == 1:  # one window holds for the whole recording: a line, not a dot
        times, posteriors = np.array([0.0, result.duration_s]), posteriors.repeat(2, axis=0)
    page = files.plain(
        {
            "path": str(result.path),
            "duration_s": result.duration_s,
            "classes": result.names,
            "times_s": times,
            "probabilities": posteriors,
            "frames": None
            if result.frame_posteriors is None
            else {"times_s": result.frame_posteriors.times, "values": result.frame_posteriors.values},
            "label": "silence" if result.silent else result.label,
            "confidence": result.confidence,
            "warnings": [result.warning] if result.warning else [],
            "segments": result.segments,
            "waveform": result.envelope,
        }
    )

    def output(suffix: str) -> Path:
        return base.with_name(base.name + suffix)  # with_suffix would cut names at their dots

    write_table(output(".csv"), result.windows())
    write_table(output(".frames.csv"), result.frame_rows())
    files.write_json(output(".json"), result.row() | {"windows": result.windows(), "segments": result.segments})
    report.timeline_figure(page, output(".svg"), output(".png"))
    files.write_text(output(".html"), report.timeline_page(page))
