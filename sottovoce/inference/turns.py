"""Who speaks when: RTTM, the table of speaker turns that diarisation writes.

NIST's Rich Transcription Time Marked format: lines `SPEAKER file channel start duration <NA> <NA> name <NA> <NA>`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sottovoce.data import archives
from sottovoce.errors import InputError


@dataclass(frozen=True)
class Turn:
    start: float  # s
    end: float
    speaker: str
    channel: str = ""  # of the recording, as the table calls it


def read(path: Path | str, recording: Path) -> tuple[list[Turn], str]:
    """The turns of a recording in order of time: of a file about several, those with its name (or its stem). And what
    is to be said of them: those of a file about one are taken whatever its name.

    Raises InputError for lines that are none, and when no turn is this recording's.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read. {error}. Name an RTTM file.") from None
    found: dict[str, list[Turn]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, length, name = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError):
            raise InputError(
                f"{path}: line {number} is no turn. Found {line[:60]!r}. Expected: SPEAKER file channel start duration "
                "<NA> <NA> speaker <NA> <NA>."
            ) from None
        if not (math.isfinite(start) and math.isfinite(length) and start >= 0 and length >= 0):
            raise InputError(f"{path}: line {number} has no times. Found {line[:60]!r}. Expected seconds.")
        found.setdefault(fields[1], []).append(Turn(start, start + length, name, fields[2]))
    inner = archives.inside(recording)
    named = found.get(inner.name) or found.get(inner.stem)
    own = named or (next(iter(found.values())) if len(found) == 1 else [])
    if not own:
        raise InputError(
            f"{path}: no turns of {recording.name}. Found {', '.join(list(found)[:5]) or 'no SPEAKER line'}. "
            "The second field names the recording."
        )
    remark = "" if named else f"turns are those of {next(iter(found))!r}, which {Path(path).name} names alone"
    return sorted(own, key=lambda turn: (turn.start, turn.end)), remark


def of_channel(turns: Sequence[Turn], channel: str) -> list[Turn]:
    """Those of one signal (left, right, a number from 1), where a table tells several; of a mix, all.

    >>> both = [Turn(0, 1, "ann", "1"), Turn(0, 2, "bob", "2")]
    >>> [turn.speaker for turn in of_channel(both, "right")], len(of_channel(both, "mix"))
    (['bob'], 2)
    """
    there = sorted({turn.channel for turn in turns}, key=lambda name: (len(name), name))
    number = {"left": 1, "right": 2}.get(channel) or (int(channel) if channel.isdecimal() else 0)
    if len(there) < 2 or not 0 < number <= len(there):
        return list(turns)
    return [turn for turn in turns if turn.channel == there[number - 1]]


def who(turns: Sequence[Turn], people: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Seconds (n,) -> the number of who speaks then, -1 for nobody; where turns overlap, who began last."""
    spans = [(turn.start, turn.end, people.index(turn.speaker)) for turn in sorted(turns, key=lambda turn: turn.start)]

    def at(times_s: np.ndarray) -> np.ndarray:
        found = np.full(len(times_s), -1)
        for start, end, person in spans:
            found[(times_s >= start) & (times_s < end)] = person
        return found

    return at
