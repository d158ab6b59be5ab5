"""What was heard in a recording: one answer, its course over time, and what to know about both. NumPy alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.errors import InputError
from sottovoce.inference.sources import called
from sottovoce.report.words import cell_columns

FORMAT = "sottovoce-result/1"


@dataclass(repr=False, eq=False)
class Result:
    """One recording as a model hears it. K classes (or numbers) `names`, C cells of `hop_s` seconds that tile it.

    A cell says what the `window_s` seconds around it say; where nobody speaks its posterior is NaN.
    """

    path: str  # "" where samples were given
    duration_s: float
    names: tuple[str, ...]
    answer: np.ndarray  # (K,) of the recording as a whole; NaN where nobody speaks
    kind: str = "class"  # or "number"
    hop_s: float = 0.25
    window_s: float = 3.0
    times_s: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (C,) centres
    posteriors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (C, K)
    intensities: np.ndarray | None = None  # (C,)
    intensity_is: str = ""  # what `intensities` are
    speakers: list[str] = field(default_factory=list)  # (C,) whose cell it is, where channels or turns tell
    segments: list[dict[str, Any]] = field(default_factory=list)  # start, end, label, confidence, intensity, speaker
    envelope: dict[str, Any] = field(default_factory=dict)  # times_s, low, high: the waveform to draw
    warnings: list[str] = field(default_factory=list)
    abstain: float = 0.0  # the confidence below which the label is "unsure"
    model: dict[str, Any] = field(default_factory=dict)  # name, licence, ...

    @property
    def silent(self) -> bool:
        """Nobody speaks, so there is no answer."""
        return not np.isfinite(self.answer).all()

    @property
    def label(self) -> str:
        """The most probable class, or "unsure"; "" where numbers are predicted and where nobody speaks."""
        if self.kind != "class" or self.silent:
            return ""
        return "unsure" if self.unsure else self.names[int(self.answer.argmax())]

    @property
    def unsure(self) -> bool:
        """Less confident than was asked for."""
        return self.kind == "class" and self.confidence < self.abstain

    @property
    def confidence(self) -> float:
        return float(self.answer.max())

    @property
    def probabilities(self) -> dict[str, float]:
        """Of every class; of every number its value."""
        return {name: float(value) for name, value in zip(self.names, self.answer, strict=True)}

    @property
    def intensity(self) -> float | None:
        """Mean over the cells with speech."""
        if self.intensities is None or not np.isfinite(self.intensities).any():
            return None
        return float(np.nanmean(self.intensities))

    @property
    def _predicts_intensity(self) -> bool:
        """Whether the answer itself is called so: of the recording as a whole, no mean over cells."""
        return self.kind != "class" and "intensity" in self.names

    @property
    def rate_hz(self) -> float:
        """Cells a second."""
        return 1 / self.hop_s

    @property
    def speech(self) -> np.ndarray:
        """(C,) bool: somebody speaks."""
        return np.isfinite(self.posteriors).all(axis=1)

    def cells(self) -> list[dict[str, Any]]:
        """A row a cell: time_s, speech, a column of every class or number, intensity and speaker where known."""
        columns: dict[str, Any] = {"time_s": np.round(self.times_s, 3), "speech": self.speech}
        columns |= dict(zip(cell_columns(self.names, self.kind), np.round(self.posteriors, 6).T, strict=True))
        if self.intensities is not None:
            columns["intensity"] = np.round(self.intensities, 6)
        if self.speakers:
            columns["speaker"] = np.array(self.speakers, dtype=object)
        return [
            dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)
        ]

    @property
    def timeline(self) -> Any:
        """`cells` as a pandas DataFrame."""
        empty = ["time_s", "speech", *cell_columns(self.names, self.kind)]
        return _library("pandas").DataFrame(self.cells(), columns=None if len(self.times_s) else empty)

    def row(self) -> dict[str, Any]:
        """The answer as one row of a table."""
        head: dict[str, Any] = {"path": called(self.path), "duration_s": round(self.duration_s, 3)}
        if self.kind == "class":
            head |= {"label": self.label, "confidence": round(self.confidence, 6)}
        prefix = "p_" if self.kind == "class" else ""
        head |= {f"{prefix}{n}": round(float(v), 6) for n, v in zip(self.names, self.answer, strict=True)}
        if self.intensity is not None and not self._predicts_intensity:
            head["intensity"] = round(self.intensity, 6)
        return head | {"note": "; ".join(self.warnings)}

    def to_frame(self) -> Any:
        """`row` as a pandas DataFrame."""
        return _library("pandas").DataFrame([self.row()])

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values, NaN as None: what `from_dict` reads."""
        return files.plain(
            {
                "format": FORMAT,
                **self.row(),
                **{"kind": self.kind, "names": self.names, "probabilities": self.probabilities},
                **{"abstain": self.abstain, "hop_s": self.hop_s, "window_s": self.window_s, "rate_hz": self.rate_hz},
                **({} if self._predicts_intensity else {"intensity": self.intensity}),
                **{"intensity_is": self.intensity_is, "warnings": self.warnings},
                "segments": self.segments,
                "timeline": self.cells(),
                "waveform": {k: np.round(v, 4) for k, v in self.envelope.items()},
                "model": self.model,
            }
        )

    def to_json(self, path: Path | str | None = None) -> str:
        """The text of `to_dict`, and a file of it where one is named."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        if path is not None:
            files.write_text(path, text)
        return text

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Result":
        """Raises KeyError, TypeError or ValueError for what `to_dict` does not write."""
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}, not {FORMAT!r}")
        names, rows = tuple(map(str, found["names"])), found["timeline"]
        keys = cell_columns(names, str(found["kind"]))

        def column(key: str) -> np.ndarray:
            return np.array([np.nan if row[key] is None else row[key] for row in rows], dtype=float)

        answer = [np.nan if (p := found["probabilities"][n]) is None else p for n in names]
        spoken, measured = bool(rows) and "speaker" in rows[0], bool(rows) and "intensity" in rows[0]
        return cls(
            str(found["path"]), float(found["duration_s"]), names,
            np.array(answer, dtype=float),
            str(found["kind"]), float(found["hop_s"]), float(found["window_s"]), column("time_s"),
            np.stack([column(key) for key in keys], axis=1) if rows else np.zeros((0, len(names))),
            column("intensity") if measured else None, str(found["intensity_is"]),
            [str(row["speaker"]) for row in rows] if spoken else [],
            [_segment(s) for s in found["segments"]],
            _drawn(found["waveform"]),
            list(map(str, found["warnings"])), float(found["abstain"]), dict(found["model"]),
        )  # fmt: skip

    def __repr__(self) -> str:
        name = Path(self.path).name or "samples"
        said = f"{self.label} {self.confidence:.2f}" if self.label else "; ".join(self.warnings)
        if not said:
            said = ", ".join(f"{n} {v:.2f}" for n, v in list(self.probabilities.items())[:4])
        return f"<Result {name[:40]}, {self.duration_s:.1f} s: {said[:60]}>"

    def picture(self) -> dict[str, Any]:
        """What the figures and pages of `report` are given; of channels side by side, the mean of those that speak."""
        times, first = np.unique(self.times_s, return_index=True)
        cells = self.posteriors.reshape(-1, len(times), len(self.names)) if len(times) else self.posteriors[None]
        strengths = None if self.intensities is None else _mean_there(self.intensities.reshape(-1, len(times)))
        return {
            "path": called(self.path),
            "duration_s": self.duration_s,
            "classes": self.names,
            "times_s": self.times_s[np.sort(first)],
            "probabilities": _mean_there(cells),
            "intensity": strengths,
            "label": self.label or ("silence" if self.silent else ""),
            "confidence": self.confidence,
            "answer": self.probabilities,
            "warnings": self.warnings,
            "segments": self.segments,
            "speakers": list(dict.fromkeys(self.speakers)),
            "waveform": self.envelope,
            "model": self.model,
        }

    def plot(self, path: Path | str | None = None) -> Any:
        """The course as a matplotlib figure; with a path (.png, .svg or .pdf) as a file."""
        figure = _library("sottovoce.report").timeline_drawing(self.picture())  # drawing is not needed to hear
        if path is not None:
            kind = Path(path).suffix.lstrip(".").lower() or "png"
            if kind not in (known := figure.canvas.get_supported_filetypes()):
                raise InputError(f"{path}: no kind of picture. Found .{kind}. Name one of {', '.join(sorted(known))}.")
            with files.atomic(path) as temporary:
                figure.savefig(temporary, format=kind)
        return figure


def _library(name: str) -> Any:
    """What is not needed to hear. Raises InputError where it, or what it stands on, is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"result: tables and pictures need {error.name}. Found none. Install it: pip install {error.name}; or take "
            "`cells()`, `row()` and `to_json()`."
        ) from None


def _drawn(waveform: Mapping[str, Any]) -> dict[str, Any]:
    """The waveform to draw. Raises ValueError where its rows are no rows, or of different length."""
    found = {key: np.array(row, dtype=float) for key, row in dict(waveform).items()}
    if any(row.shape != (len(found.get("low", ())),) for row in found.values()):
        raise ValueError("the waveform's rows are of different length")
    return found


def _segment(found: Mapping[str, Any]) -> dict[str, Any]:
    """A segment that was read, if it is one. Raises KeyError, TypeError or ValueError for anything else."""
    times = {key: float(found[key] + 0) for key in ("start", "end")}
    shares = {key: found[key] for key in ("confidence", "intensity") if found.get(key) is not None}
    return dict(found) | {"label": str(found["label"])} | times | {key: float(v + 0) for key, v in shares.items()}


def _mean_there(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(0)
    return np.where(count > 0, np.where(there, values, 0.0).sum(0) / np.maximum(count, 1), np.nan)
