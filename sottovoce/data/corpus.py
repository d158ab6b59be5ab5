"""What a corpus is: utterances, folds, and the folder that `prepare` writes.

data/ravdess/
  manifest.csv   one row an utterance: id, corpus, path, start, end, speaker, session, gender, then its labels
  folds.json     speaker- (or session-, video-) disjoint folds
  corpus.json    name, root of the audio, kind of every label, class order, how it was made
  report.html    the data report (and report.json)
  contents.csv   what every recording holds, as short hashes, see `sottovoce.data.contents`
  tracks/        cached features, see `sottovoce.data.store`
"""

import csv
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from sottovoce import files
from sottovoce.data import contents
from sottovoce.errors import InputError, unknown_name

Label = str | float
Kind = Literal["class", "number"]

# One vocabulary over all corpora; a corpus maps its own words to these (see `corpora/`, `--map`).
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise", "boredom", "contempt")

COLUMNS = ("id", "corpus", "path", "start", "end", "speaker", "session", "gender")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One segment of speech. Times are seconds in `path`; `end` None means to the end of the file."""

    id: str
    corpus: str
    path: str  # relative to the corpus root; `file.h5#12` names an entry inside a feature file
    start: float = 0.0
    end: float | None = None
    speaker: str = ""  # "" = unknown
    session: str = ""  # recording session or video
    gender: str = ""  # "female", "male" or "" = unknown
    labels: dict[str, Label] = field(default_factory=dict)  # {"emotion": "happy", "valence": 3.5, ...}


@dataclass(frozen=True)
class Fold:
    """A split. No `group` value (speaker, session or video) of `test` occurs in `train` or `dev`."""

    name: str
    group: str  # "speaker" | "session" | "video" | "none" (reported as leaky)
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]


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
    def contents(self) -> dict[str, contents.Marks]:
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
            rows.append(u.labels | dict(zip(COLUMNS, cells, strict=True)))
        files.write_csv(self.folder / "manifest.csv", rows, [*COLUMNS, *self.kinds])
        files.write_json(self.folder / "folds.json", [asdict(f) for f in self.folds])
        head = {"name": self.name, "root": str(self.root), "kinds": self.kinds, "classes": self.classes}
        files.write_json(self.folder / "corpus.json", head | self.info)

    @classmethod
    def load(cls, folder: Path | str) -> "Corpus":
        """Raises InputError when the folder was not written by `prepare` or was damaged since."""
        folder = Path(folder)
        for name in ("manifest.csv", "folds.json", "corpus.json"):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder}: not a prepared corpus. Found no {name}. "
                    f"Make it with `sottovoce prepare NAME DIR -o {folder}`."
                )
        info = files.read_json(folder / "corpus.json")
        try:
            name, root = info.pop("name"), Path(info.pop("root"))
            kinds, classes = info.pop("kinds"), info.pop("classes")
        except KeyError as key:
            raise InputError(f"{folder / 'corpus.json'}: no entry {key}. Run `sottovoce prepare` again.") from None
        with open(folder / "manifest.csv", newline="", encoding="utf-8") as lines:
            rows = csv.DictReader(lines)
            names = [files.csv_text(name) for name in rows.fieldnames or []]
            missing = [c for c in (*COLUMNS, *kinds) if c not in names]
            if missing:
                found = ", ".join(names) or "nothing"
                raise InputError(
                    f"{folder / 'manifest.csv'}: no column {', '.join(missing)}. Found: {found}. "
                    "Run `sottovoce prepare` again."
                )
            try:
                utterances = tuple(_from_row(files.csv_row(row), kinds) for row in rows)
            except ValueError as error:
                raise InputError(
                    f"{folder / 'manifest.csv'}: damaged in line {rows.line_num}. {error}. "
                    "Run `sottovoce prepare` again."
                ) from None
        try:
            folds = tuple(
                Fold(f["name"], f["group"], tuple(f["train"]), tuple(f["dev"]), tuple(f["test"]))
                for f in files.read_json(folder / "folds.json")
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{folder / 'folds.json'}: no folds. {error}. Run `sottovoce prepare` again.") from None
        if strange := [f.name for f in folds if not files.is_folder_name(f.name)]:
            raise InputError(
                f"{folder / 'folds.json'}: fold {strange[0]!r} cannot be the name of a folder: it leads out of -o. "
                "Rename it, or run `sottovoce prepare` again."
            )
        ids = {u.id for u in utterances}
        lost = [k for f in folds for side in (f.train, f.dev, f.test) for k in side if k not in ids]
        if lost:
            raise InputError(
                f"{folder / 'folds.json'}: names {len(lost)} utterances that manifest.csv has not, e.g. {lost[0]}. "
                "Run `sottovoce prepare` again."
            )
        classes = {label: tuple(names) for label, names in classes.items()}
        return cls(folder, name, root, utterances, folds, kinds, classes, info)


def _from_row(row: dict[str, str], kinds: dict[str, Kind]) -> Utterance:
    """Raises ValueError for a row that is cut off or holds words where numbers belong."""
    if None in row.values():
        raise ValueError(f"Found {sum(v is not None for v in row.values())} of {len(row)} columns")
    labels: dict[str, Label] = {
        key: float(row[key]) if kind == "number" else row[key] for key, kind in kinds.items() if row[key] != ""
    }
    end = float(row["end"]) if row["end"] else None
    cells = {key: row[key] for key in ("id", "corpus", "path", "speaker", "session", "gender")}
    return Utterance(start=float(row["start"]), end=end, labels=labels, **cells)
