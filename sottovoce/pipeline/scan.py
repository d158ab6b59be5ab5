"""What a corpus's recordings hold: every one decoded once, and what is wrong with it.

    utterances  ->  look_at  ->  {id: Look}  ->  find_problems

What was seen is kept with the corpus in scan.csv, and taken from there while a file's size and time stay as they were:
`prepare` with other classes or folds does not decode ten thousand files again.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from sottovoce import files
from sottovoce.data import archives, audio, contents, own
from sottovoce.data.corpus import Utterance
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError
from sottovoce.pipeline import workers

FILE = "scan.csv"
FORMAT = "1"  # counted up when a recording would be seen otherwise
FULL = 32767 / 32768  # the largest 16-bit sample: it may have been larger
FLAT = 0.99  # of full scale; three equal samples in a row above it were cut off
SHORT_S = 0.1  # seconds; a few frames, too little for an emotion
PROBLEMS = ("broken", "non_finite", "silent", "duplicate", "clipped", "short")


@dataclass(frozen=True)
class Look:
    """What was found in one utterance's recording; `why` says what is wrong when it cannot be used."""

    id: str
    why: str = ""
    non_finite: bool = False
    seconds: float | None = None
    rate_hz: int = 0
    channels: int = 0
    peak: float | None = None  # of full scale, channels averaged; None when nothing was decoded
    clipped: int = 0  # samples at full scale, or in runs that were cut off just below it
    digest: str = ""  # of the decoded samples and their rate
    file: str = ""  # hash of its bytes
    note: str = ""  # how it is read, where that is out of the ordinary
    stamp: str = ""  # of its file before it was decoded, see `_stamp`


def look_at(
    folder: Path,
    utterances: Sequence[Utterance],
    *,
    decode: bool = True,
    kept: Path | None = None,
    jobs: int | None = None,
    quiet: bool = True,
) -> dict[str, Look]:
    """Every utterance's recording, in parallel processes where that pays.

    Args:
        kept: a scan.csv, from which is taken what was seen of files that have not changed.
    """
    known = load(kept, folder, utterances) if kept and decode else {}
    tasks = [(str(folder / u.path), u.id, u.start, u.end, decode) for u in utterances if u.id not in known]
    jobs = min(jobs or workers.cores(), -(-len(tasks) // 100))  # a process costs as much as some hundred recordings
    with Bar(len(tasks), "scan", quiet=quiet) as bar:
        found: list[Look] = []
        for look in workers.map(_look, tasks, jobs, chunk=16, where=folder):
            found.append(look)
            bar.advance()
    looks = known | {look.id: look for look in found}
    return {u.id: looks[u.id] for u in utterances}


def _look(task: tuple[str, str, float, float | None, bool]) -> Look:
    path, name, start, end, decode = task
    stamp = _stamp(path)
    try:
        info = audio.probe(path)
        seconds = (info.duration_s if end is None else min(end, info.duration_s)) - start
        if not decode:
            return Look(name, seconds=seconds, rate_hz=info.rate_hz, channels=info.channels, note=info.note)
        samples = audio.read(path, start, end, rate_hz=info.rate_hz).values
    except InputError as error:
        return Look(name, why=str(error), non_finite="NaN" in str(error))
    size = np.abs(samples)
    flat = (size[2:] >= FLAT) & (samples[2:] == samples[1:-1]) & (samples[1:-1] == samples[:-2])
    return Look(
        name,
        seconds=len(samples) / info.rate_hz,
        rate_hz=info.rate_hz,
        channels=info.channels,
        peak=float(size.max()),
        clipped=max(int((size >= FULL).sum()), int(flat.sum())),
        digest=contents.of_samples(samples, info.rate_hz),
        file=contents.of_file(path),
        note=info.note,
        stamp=stamp,
    )


def find_problems(utterances: Sequence[Utterance], looks: Mapping[str, Look]) -> dict[str, list]:
    """{problem: [...]}: dicts (path, why), paths, or lists of utterances that hold the same samples."""
    found: dict[str, list] = {problem: [] for problem in PROBLEMS}
    same: dict[str, list[str]] = {}
    once = sum(look.clipped == 1 for look in looks.values())
    enough = 2 if once > len(looks) / 2 else 1  # one such sample in most files: levels were set by the peak
    for u in utterances:
        look = looks[u.id]
        if look.why:
            found["non_finite" if look.non_finite else "broken"].append({"path": u.path, "why": look.why})
            continue
        if look.seconds is not None and look.seconds < SHORT_S:
            found["short"].append({"path": u.id, "why": f"{look.seconds:.3f} s"})
        if look.peak is None:
            continue
        if look.peak < contents.SILENT:
            found["silent"].append(u.id)
        else:
            same.setdefault(look.digest, []).append(u.id)
        if look.clipped >= enough:
            found["clipped"].append({"path": u.id, "why": f"{look.clipped} samples at full scale"})
    found["duplicate"] = [names for names in same.values() if len(names) > 1]
    return found


COLUMNS = ("path", "start", "end", *(f.name for f in fields(Look)))


def save(path: Path, utterances: Sequence[Utterance], looks: Mapping[str, Look]) -> None:
    """Keep what was decoded in scan.csv; what cannot be used is looked at again next time."""
    rows = []
    for u in utterances:
        if (look := looks[u.id]).peak is not None and not look.why and look.stamp:
            place = {"path": u.path, "start": repr(u.start), "end": repr(u.end)}
            rows.append(place | {key: repr(v) if isinstance(v, float) else v for key, v in asdict(look).items()})
    files.write_csv(path, rows, COLUMNS)


def load(path: Path, folder: Path, utterances: Sequence[Utterance]) -> dict[str, Look]:
    """What is still true of scan.csv; nothing where there is none, or it is damaged: it can be made again."""
    found: dict[tuple[str, str, str, str], Look] = {}
    with suppress(InputError, ValueError):
        for row in own.read_rows(path, COLUMNS):
            seconds, peak = float(row["seconds"]), float(row["peak"])
            if not np.isfinite([seconds, peak]).all():
                return {}
            look = Look(
                id=row["id"], seconds=seconds, rate_hz=int(row["rate_hz"]), channels=int(row["channels"]), peak=peak,
                clipped=int(row["clipped"]), digest=row["digest"], file=row["file"], note=row["note"],
                stamp=row["stamp"],
            )  # fmt: skip
            found[row["path"], row["start"], row["end"], row["stamp"]] = look
    if not found:
        return {}
    stamps = {path: _stamp(str(folder / path)) for path in {u.path for u in utterances}}
    keys = {u.id: (u.path, repr(u.start), repr(u.end), stamps[u.path]) for u in utterances}
    return {id: replace(found[key], id=id) for id, key in keys.items() if key in found}


def _stamp(path: str) -> str:
    """Where a file is, how large, and when it was written; "" where nobody can say."""
    try:
        size, time_ns = archives.stat(path)
    except (OSError, ValueError):  # not there, or no name that a file can have
        return ""
    return f"{FORMAT} {os.path.abspath(path)} {size} {time_ns}"
