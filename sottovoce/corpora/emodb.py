"""Emo-DB: 10 actors, German, 7 emotions, ten sentences (Berlin Database of Emotional Speech).

Source:   http://emodb.bilderbar.info (download.zip); also in audEERING's audb as `emodb`.
Licence:  CC0-1.0 as published in audb; the original page asks for the citation.
Size:     535 files, 25 min; anger is 127 of them, disgust 46.
Names:    speaker, sentence, emotion, version: 03a01Fa is speaker 03, sentence a01, F = Freude (joy), take a.
Labels:   emotion; sentence.
Folds:    5 x 2 speakers, one woman and one man each.
Cite:     Burkhardt, Paeschke, Rolfes, Sendlmeier & Weiss, "A Database of German Emotional Speech", Interspeech 2005.
"""

from collections.abc import Mapping
from pathlib import Path

from sottovoce.corpora import _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import Utterance
from sottovoce.data.download import Archive, Progress, get

LICENCE = "CC0-1.0 (as published in audb)"
SOURCE = "http://emodb.bilderbar.info"
OFFICIAL = "http://emodb.bilderbar.info/download/"
ARCHIVES = (Archive("download.zip", None),)  # no published checksum
LABELS = {  # Ärger (Wut), Langeweile, Ekel, Angst, Freude, Trauer, neutral
    **{"W": "angry", "L": "boredom", "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral"}
}
WOMEN = ("08", "09", "13", "14", "16")
MEN = ("03", "10", "11", "12", "15")


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None) -> list[Utterance]:
    """Every recording named as above, at any depth. Raises InputError: none found, or a letter that does not exist."""
    words = vocabulary.rename(LABELS, relabel, "emodb")
    found = []
    for path, match in _layout.matching(root, r"(\d\d)([ab]\d\d)([A-Z])([a-z]?)", "Emo-DB", "03a01Fa.wav"):
        speaker, sentence, letter, _ = match.groups()
        word = vocabulary.look_up(words, letter, path)
        if word == vocabulary.DROP:
            continue
        gender = "female" if speaker in WOMEN else "male" if speaker in MEN else ""
        labels: dict[str, str | float] = {"emotion": word, "sentence": sentence}
        found.append(Utterance(Path(path).stem, "emodb", path, speaker=speaker, gender=gender, labels=labels))
    return found


folds = _layout.by_speaker(5)


def download(root: Path, *, base_url: str = OFFICIAL, progress: Progress | None = None) -> list[dict]:
    """40 MB into `root`. Raises InputError."""
    return get(root, base_url, ARCHIVES, progress=progress)
