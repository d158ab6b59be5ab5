"""nEMO: 9 actors, Polish, 6 emotions, 90 sentences.

Source:   https://github.com/amu-cai/nEMO (folder samples, table data.tsv).
Licence:  CC BY-NC-SA 4.0.
Size:     4,481 files, 3.1 h; MK0 has no surprise, MP0 about half of the files.
Names:    speaker_emotion_sentence, e.g. EB0_anger_12.
Labels:   emotion; sentence; age of the speaker where data.tsv is there (it goes before the names).
Folds:    3 x 3 speakers.
Cite:     Christop, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024, pp. 12111-12116.
"""

from collections.abc import Mapping
from pathlib import Path

from sottovoce.corpora import _layout, _row_files
from sottovoce.data import vocabulary
from sottovoce.data.corpus import Utterance
from sottovoce.data.download import Archive, Progress, get

LICENCE = "CC BY-NC-SA 4.0"
SOURCE = "https://github.com/amu-cai/nEMO"
OFFICIAL = "https://github.com/amu-cai/nEMO/archive/refs/heads/"
ARCHIVES = (Archive("main.zip", None),)  # packed on request: no stable checksum
LABELS = {
    **{"neutral": "neutral", "happiness": "happy", "sadness": "sad"},
    **{"anger": "angry", "fear": "fear", "surprised": "surprise"},
}
WOMEN = ("EB0", "IC0", "KD0", "MK0")  # as in data.tsv
MEN = ("KS0", "MP0", "SM0", "TP0", "WR0")


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None) -> list[Utterance]:
    """Every recording named as above, at any depth.

    Raises InputError: none, an emotion that does not exist, or a damaged data.tsv.
    """
    words = vocabulary.rename(LABELS, relabel, "nemo")
    recordings = _layout.matching(root, r"([A-Z]{2}\d)_([a-z]+)_(\d+)", "nEMO", "samples/EB0_anger_12.wav")
    rows = _row_files.official_rows(_layout.first_named(Path(root), "data.tsv"), ("file_id",))
    told = {Path(row["file_id"]).stem: row for row in rows}
    found = []
    for path, match in recordings:
        speaker, native, sentence = match.groups()
        row = told.get(Path(path).stem, {})
        word = vocabulary.look_up(words, row.get("emotion") or native, path)
        if word == vocabulary.DROP:
            continue
        known = "female" if speaker in WOMEN else "male" if speaker in MEN else ""
        age = float(row["age"]) if row.get("age", "").isdecimal() else None
        labels = _layout.labels_of({"emotion": word, "sentence": sentence, "age": age})
        gender = _layout.gender(row.get("gender", "")) or known
        found.append(Utterance(Path(path).stem, "nemo", path, speaker=speaker, gender=gender, labels=labels))
    return found


folds = _layout.by_speaker(3)


def download(root: Path, *, base_url: str = OFFICIAL, progress: Progress | None = None) -> list[dict]:
    """About 300 MB into `root`. Raises InputError."""
    return get(root, base_url, ARCHIVES, progress=progress)
