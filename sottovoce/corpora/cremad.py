"""CREMA-D: 91 actors, English, 6 emotions, twelve sentences.

Source:   https://github.com/CheyneyComputerScience/CREMA-D (git LFS, folder AudioWAV), 600 MB; fetch it with git.
Licence:  Open Database License 1.0.
Size:     7,442 files, 5.3 h. 1076_MTI_SAD_XX is silent.
Names:    actor_sentence_emotion_level, e.g. 1001_DFA_ANG_XX; levels LO, MD, HI, XX (unspecified; one file has X).
Labels:   emotion, as acted (the crowd's votes are other files); intensity (low, medium, high); sentence.
Gender:   from VideoDemographics.csv of the repository when it is in the folder or above it, else unknown.
Folds:    5, by speaker.
Cite:     Cao, Cooper, Keutmann, Gur, Nenkova & Verma, "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset",
          IEEE Transactions on Affective Computing 5(4), 2014.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sottovoce.corpora import _layout, _row_files
from sottovoce.data import vocabulary
from sottovoce.data.corpus import Kind, Utterance
from sottovoce.errors import few

LICENCE = "ODbL 1.0"
SOURCE = "https://github.com/CheyneyComputerScience/CREMA-D"
KINDS: dict[str, Kind] = {"emotion": "class", "intensity": "class", "sentence": "class"}
LABELS = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "ANG": "angry", "FEA": "fear", "DIS": "disgust"}
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "", "X": ""}
CLASSES = {"intensity": ("low", "medium", "high")}
DEMOGRAPHICS = "VideoDemographics.csv"


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None) -> list[Utterance]:
    """Every recording named as above, at any depth.

    Raises InputError: none found, a code that does not exist, or a table of the actors that is damaged.
    """
    words = vocabulary.rename(LABELS, relabel, "cremad")
    pattern = r"(1\d{3})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})"
    recordings = _layout.matching(root, pattern, "CREMA-D", "AudioWAV/1001_DFA_ANG_XX.wav")
    rows = _row_files.official_rows(_layout.first_named(Path(root), DEMOGRAPHICS), ("ActorID", "Sex"))
    genders = {row["actorid"]: _layout.gender(row["sex"]) for row in rows}
    found = []
    for path, match in recordings:
        actor, sentence, emotion, level = match.groups()
        word = vocabulary.look_up(words, emotion, path)
        if word == vocabulary.DROP:
            continue
        intensity = vocabulary.look_up(LEVELS, level, path)
        labels = _layout.labels_of({"emotion": word, "intensity": intensity, "sentence": sentence})
        gender = genders.get(actor, "")
        found.append(Utterance(Path(path).stem, "cremad", path, speaker=actor, gender=gender, labels=labels))
    return found


folds = _layout.by_speaker(5)


def problems(root: Path, utterances: Sequence[Utterance]) -> list[str]:
    """Actors of unknown gender."""
    unknown = sorted({u.speaker for u in utterances if not u.gender})
    if not unknown:
        return []
    if _layout.first_named(Path(root), DEMOGRAPHICS) is None:
        return [f"gender of the actors unknown: folds are not balanced by it. Put {DEMOGRAPHICS} into the folder"]
    return [f"gender of {len(unknown)} actors unknown, {DEMOGRAPHICS} does not tell it: {few(unknown)}"]
