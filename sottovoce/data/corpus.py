"""What a corpus is: utterances, folds, and the folder that `prepare` writes.

data/ravdess/
  manifest.csv   one row an utterance: id, corpus, path, start, end, speaker, session, gender, then its labels
  folds.json     speaker- (or session-, video-) disjoint folds
  corpus.json    name, root of the audio, kind of every label, class order, how it was made
  report.html    the data report (and report.json)
  contents.csv   what every recording holds, as short hashes, see `sottovoce.data.contents`
  scan.csv       what was found in every recording, see `sottovoce.pipeline.scan`
  tracks/        cached features, see `sottovoce.data.store`
"""

import gc
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sottovoce import files
from sottovoce.data import contents, own
from sottovoce.errors import InputError, in_shell, unknown_name

Label = str | float
Kind = Literal["class", "number"]

# One vocabulary over all corpora; a corpus maps its own words to these (see `corpora/`, `--map`).
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise", "boredom", "contempt")

COLUMNS = ("id", "corpus", "path", "start", "end", "speaker", "session", "gender")


_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def spelt(name: str) -> str:
    """A name as it looks: accents in one character, no marks that nobody sees, single spaces.

    >>> spelt("Zoe\u0308\u200b  M.\u00a0") == "Zo\u00eb M."
    True
    """
    return name if name.isascii() else " ".join(_UNSEEN.sub("", unicodedata.normalize("NFC", name)).split())


@dataclass(frozen=True, slots=True)
class Utterance:
    """One segment of speech. Times are seconds in `path`; `end` None means to the end of the file."""

    id: str
    corpus: str
    path: str  # relative to the corpus root; `x.tar#a.wav` and `file.h5#12` are entries inside a file
    start: float = 0.0
    end: float | None = None
    speaker: str = ""  # "" = unknown
    session: str = ""  # recording session or video
    gender: str = ""  # "female", "male" or "" = unknown
    labels: Mapping[str, Label] = field(default_factory=dict)  # {"emotion": "happy", "valence": 3.5, ...}

    def __post_init__(self):
        if not (self.speaker.isascii() and self.session.isascii()):  # one who looks the same is the same
            object.__setattr__(self, "speaker", spelt(self.speaker))
            object.__setattr__(self, "session", spelt(self.session))


@dataclass(frozen=True)
class Fold:
    """A split. No `group` value (speaker, session or video) of `test` occurs in `train` or `dev`."""

    name: str
    group: str  # "speaker" | "session" | "video" | "none" (reported as leaky)
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def of(cls, name: str, group: str, sides: Mapping[str, str]) -> "Fold":
        """From {utterance: "train", "dev" or "test"}; what has another side is in none."""
        parts = {side: tuple(id for id, its in sides.items() if its == side) for side in ("train", "dev", "test")}
        return cls(name, group, **parts)

    @property
    def sides(self) -> dict[str, tuple[str, ...]]:
        return {"train": self.train, "dev": self.dev, "test": self.test}


@contextmanager
def _uncollected() -> Iterator[None]:
    """Rows hold no circles: nothing is gained when the collector walks through a million of them ever again."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus, as loaded from the folder `prepare` wrote."""

    folder: Path
    name: str
    root: Path  # audio or feature files are relative to it
    utterances: tuple[Utterance, ...]
    folds: tuple[Fold, ...]
    kinds: dict[str, Kind]  # of every label
    classes: dict[str, tuple[str, ...]]  # class order of every label of kind "class"
    info: dict  # the rest of corpus.json: source, licence, how it was made

    @cached_property
    def by_id(self) -> dict[str, Utterance]:
        return {u.id: u for u in self.utterances}

    @cached_property
    def contents(self) -> Mapping[str, contents.Marks]:
        """Marks of what every utterance holds; none where features were delivered instead of recordings."""
        if self.info.get("tracks"):
            return {u.id: () for u in self.utterances}
        return contents.of_corpus(self.folder, self.root, self.utterances)

    def fold(self, name: str) -> Fold:
        for fold in self.folds:
            if fold.name == name:
                return fold
        raise unknown_name(f"fold of {self.folder}", name, [f.name for f in self.folds])

    def save(self) -> None:
        """Write manifest.csv, folds.json and corpus.json into `folder`; each appears whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for u in self.utterances:
            end = "" if u.end is None else repr(float(u.end))
            cells = (u.id, u.corpus, u.path, repr(float(u.start)), end, u.speaker, u.session, u.gender)
            rows.append({**u.labels, **dict(zip(COLUMNS, cells, strict=True))})
        files.write_csv(self.folder / "manifest.csv", rows, [*COLUMNS, *self.kinds])
        files.write_json(self.folder / "folds.json", [asdict(f) for f in self.folds])
        head = {"name": self.name, "root": str(self.root), "kinds": self.kinds, "classes": self.classes}
        files.write_json(self.folder / "corpus.json", head | self.info)

    @classmethod
    @_uncollected()
    def load(cls, folder: Path | str) -> "Corpus":
        """Raises InputError when the folder was not written by `prepare` or was damaged since."""
        folder = Path(folder)
        for name in ("manifest.csv", "folds.json", "corpus.json"):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder}: not a prepared corpus. Found no {name}. "
                    f"Make it with `sottovoce prepare NAME DIR -o {in_shell(folder)}`."
                )
        head = own.read_json(folder / "corpus.json", dict[str, Any], AGAIN)
        known = own.shaped(head, _Head, folder / "corpus.json", AGAIN)
        info = {key: value for key, value in head.items() if key not in HEAD}
        columns = own.read_columns(folder / "manifest.csv", (*COLUMNS, *known.kinds), AGAIN)
        try:
            utterances = tuple(_from_columns(columns, known))
        except ValueError as error:
            raise InputError(f"{folder / 'manifest.csv'}: damaged in {error}. {AGAIN}") from None
        del columns
        folds = _of_these(own.read_json(folder / "folds.json", list[Fold], AGAIN), utterances)
        it = cls(folder, known.name, Path(known.root), utterances, folds, known.kinds, known.classes, info)
        if why := it._folds_problem():
            raise InputError(f"{folder / 'folds.json'}: {why} {AGAIN}")
        return it

    def _folds_problem(self) -> str:
        """What is wrong with the folds, "" when nothing is."""
        if len(self.by_id) < len(self.utterances):
            return "manifest.csv names an utterance twice."
        names = [fold.name for fold in self.folds]
        if strange := [name for name in names if not files.is_folder_name(name)]:
            return f"fold {strange[0]!r} cannot be the name of a folder: it leads out of -o. Rename it."
        if len({name.casefold() for name in names}) < len(names):
            return f"two folds of one name. Found {', '.join(names)[:200]}."
        for fold in self.folds:
            sides = [set(fold.train), set(fold.dev), set(fold.test)]
            if lost := sorted(set().union(*sides) - self.by_id.keys()):
                return f"names {len(lost)} utterances that manifest.csv has not, e.g. {lost[0]}."
            if twice := sorted((sides[0] & sides[1]) | (sides[2] & (sides[0] | sides[1]))):
                return f"{fold.name}: an utterance is on two sides, e.g. {twice[0]}."
        return ""


AGAIN = "Run `sottovoce prepare` again."
HEAD = ("name", "root", "kinds", "classes")


@dataclass(frozen=True)
class _Head:
    """What corpus.json must hold, and what others rely on where it is there."""

    name: str
    root: str
    kinds: dict[str, Kind]
    classes: dict[str, tuple[str, ...]]
    reader: str = ""
    target: tuple[str, ...] = ()
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    tracks: tuple[str, ...] = ()
    audio_digest: str = ""

    def __post_init__(self) -> None:
        lost = [label for label, kind in self.kinds.items() if kind == "class" and label not in self.classes]
        lost += [label for label in self.target if label not in self.kinds]
        if lost:
            raise ValueError(f"Found no kind or no classes of label {lost[0]!r}")
        if wrong := [label for label, (low, high) in self.ranges.items() if not low <= high]:
            raise ValueError(f"Found a range of {wrong[0]!r} that ends before it begins")


def _of_these(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> tuple[Fold, ...]:
    """The same folds, which name utterances by the objects these have: one text a name, however many the folds."""
    ids = {u.id: u.id for u in utterances}

    def same(side: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(ids.get(id, id) for id in side)

    return tuple(replace(f, train=same(f.train), dev=same(f.dev), test=same(f.test)) for f in folds)


def _from_columns(columns: Mapping[str, list[str]], head: _Head) -> Iterator[Utterance]:
    """Raises ValueError, which begins with the row, for words where numbers or other words belong."""
    for key in ("id", "path"):
        if "" in columns[key]:
            raise ValueError(f"row {columns[key].index('') + 1}. Found no {key}")
    start, end = _numbers(columns["start"]), _numbers(columns["end"])
    span = np.array([start, end], float)  # None is NaN
    if (wrong := np.isnan(span[0]) | (span[0] < 0) | (span[1] <= span[0])).any():
        k = int(wrong.argmax())
        raise ValueError(f"row {k + 1}. Found {columns['start'][k]} to {columns['end'][k]} s")
    for key, kind in head.kinds.items():
        for word in dict.fromkeys(columns[key]) if kind == "class" else ():
            if word and word not in head.classes[key]:
                raise ValueError(f"row {columns[key].index(word) + 1}. Found {word!r}, no {key} of corpus.json")
    values = [_numbers(columns[key]) if kind == "number" else columns[key] for key, kind in head.kinds.items()]
    shared: dict[tuple, dict[str, Label]] = {}
    rows = zip(*values, strict=True) if values else repeat((), len(start))
    for k, row in enumerate(rows):
        labels = shared.get(row)
        if labels is None:
            labels = {key: value for key, value in zip(head.kinds, row, strict=True) if value not in (None, "")}
            if len(shared) < own.DISTINCT:
                shared[row] = labels
        yield Utterance(
            columns["id"][k], columns["corpus"][k], columns["path"][k], start[k], end[k],
            columns["speaker"][k], columns["session"][k], columns["gender"][k], labels,
        )  # fmt: skip


def _numbers(column: Sequence[str]) -> list[Any]:
    """Cells as numbers, None where they are empty. Raises ValueError as `_from_columns`."""
    known: dict[str, float | None] = {"": None}
    for k, text in enumerate(column):
        if text not in known:
            try:
                known[text] = own.number(text)
            except ValueError as error:
                raise ValueError(f"row {k + 1}. {error}") from None
    return list(map(known.__getitem__, column))
