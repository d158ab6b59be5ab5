"""Fluent Speech Commands: 97 speakers of English, 31 spoken commands to a smart home.

Source:   https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research (on request);
          data/{train,valid,test}_data.csv with path, speakerId, transcription, action, object, location, and
          wavs/speakers/<speaker>/<clip>.wav.
Licence:  Fluent Speech Commands Public License: research only.
Size:     30,043 clips, 19 h; official split of 23,132 / 3,118 / 3,793 clips by speaker (77 / 10 / 10).
Labels:   intent = action, object and location together ("increase/heat/kitchen"); and each of the three alone.
          SUPERB scores three slots and counts a clip when all are right; here the label is one of the intents
          there are, so accuracy (WA) has the same meaning and no impossible combination can be answered.
Folds:    the official one; its speakers are checked to be apart, in dev too.
Cite:     Lugosch, Ravanelli, Ignoto, Tomar & Bengio, "Speech model pre-training for end-to-end spoken language
          understanding", Interspeech 2019.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sottovoce.corpora import _layout, _row_files
from sottovoce.data.corpus import Fold, Label, Utterance
from sottovoce.errors import InputError

LICENCE = "Fluent Speech Commands Public License (research only)"
SOURCE = "https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research"
TARGET = ("intent",)
SLOTS = ("action", "object", "location")
SPLITS = ("train", "valid", "test")
CLASSES: dict[str, tuple[str, ...]] = {"split": SPLITS}
COLUMNS = ("path", "speakerId", *SLOTS)


def utterances(root: Path) -> list[Utterance]:
    """Every clip of the three tables; `root` is the folder with `data` and `wavs`, or one above it.

    Raises InputError: a table or a column that is missing, a damaged or empty table, a clip that is listed twice, a
    speaker of two parts.
    """
    found: dict[str, Utterance] = {}
    part_of: dict[str, str] = {}
    for split, home, row in _rows(root):
        name, speaker = Path(row["path"]).stem, row["speakerid"]
        if name in found:
            raise InputError(f"{root}: clip {name} is listed twice. Restore the official tables.")
        if part_of.setdefault(speaker, split) != split:
            raise InputError(
                f"{root}: speaker {speaker} is in {part_of[speaker]} and in {split}. The official parts share nobody. "
                "Restore the official tables."
            )
        path = Path(os.path.relpath(home / row["path"], root)).as_posix()
        slots = {slot: row[slot] for slot in SLOTS}
        labels: dict[str, Label] = {"intent": "/".join(slots.values()), **slots, "split": split}
        found[name] = Utterance(name, "fluent", path, speaker=speaker, labels=labels)
    return list(found.values())


def _rows(root: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """(part, folder the paths start in, row) of every line."""
    for split in SPLITS:
        table = _layout.first_named(Path(root), f"{split}_data.csv")
        if table is None:
            raise InputError(
                f"{root}: not Fluent Speech Commands. Looked for data/{split}_data.csv. Found none. "
                "Name the folder with data and wavs."
            )
        for row in _row_files.official_rows(table, COLUMNS):
            if lacking := [column for column in COLUMNS if not row[column.lower()]]:
                found = ", ".join(filter(None, row.values()))
                raise InputError(f"{table}: a row without {', '.join(lacking)}. Found {found}. Restore the table.")
            yield split, table.parent.parent, row


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """The official split."""
    sides = {"train": "train", "valid": "dev", "test": "test"}
    return [Fold.of("official", "speaker", {u.id: sides.get(str(u.labels.get("split")), "") for u in utterances})]
