"""RAVDESS: 24 actors, English, 8 emotions at two intensities, two sentences (speech, audio only).

Source:   Zenodo record 1188976, Audio_Speech_Actors_01-24.zip. Songs and videos in the same folder are left out.
Licence:  CC BY-NC-SA 4.0.
Size:     1,440 files, 1.5 h; neutral has half as many as the others. One pair of files is identical (actor 07).
Names:    modality-channel-emotion-intensity-statement-repetition-actor, e.g. 03-01-05-02-01-01-12; odd = man.
Labels:   emotion; intensity (normal, strong); statement; repetition; and CMU-MOSEI's six columns happy, sad, anger,
          surprise, disgust, fear from 0 to 3, ours: MOSEI's annotators had "0: no evidence of x, 1: weakly x, 2: x,
          3: highly x", so an emotion acted normally is 2, strongly 3, the other five are 0, and neutral and calm are
          0 in all six. 1 does not occur. They follow what the actor was told, whatever --map calls it.
Folds:    6 x 4 actors, two women and two men each.
Cite:     Livingstone & Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)",
          PLoS ONE 13(5): e0196391, 2018.
"""

from collections.abc import Mapping
from pathlib import Path

from sottovoce.corpora import _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import Utterance
from sottovoce.data.download import Archive, Progress, get

LICENCE = "CC BY-NC-SA 4.0"
SOURCE = "https://zenodo.org/records/1188976"
OFFICIAL = "https://zenodo.org/records/1188976/files/"
ARCHIVES = (Archive("Audio_Speech_Actors_01-24.zip", "md5:bc696df654c87fed845eb13823edef8a"),)  # as Zenodo lists it
SIX = {"03": "happy", "04": "sad", "05": "anger", "08": "surprise", "07": "disgust", "06": "fear"}  # MOSEI's order
RANGES = dict.fromkeys(SIX.values(), (0.0, 3.0))
LABELS = {
    **{"01": "neutral", "02": "calm", "03": "happy", "04": "sad"},
    **{"05": "angry", "06": "fear", "07": "disgust", "08": "surprise"},
}
INTENSITIES = {"01": "normal", "02": "strong"}
SCALE = {"01": 2.0, "02": 3.0}  # on MOSEI's scale
STATEMENTS = {"01": "kids", "02": "dogs"}  # "Kids | Dogs are talking | sitting by the door"
CLASSES = {"intensity": tuple(INTENSITIES.values()), "statement": tuple(STATEMENTS.values())}


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None) -> list[Utterance]:
    """Every recording named as above, at any depth. Raises InputError: none found, or a code that does not exist."""
    words = vocabulary.rename(LABELS, relabel, "ravdess")
    found = []
    names = r"03-01-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)"
    for path, match in _layout.matching(root, names, "RAVDESS speech", "03-01-05-02-01-01-12.wav or .flac"):
        emotion, intensity, statement, repetition, actor = match.groups()
        word = vocabulary.look_up(words, emotion, path)
        if word == vocabulary.DROP:
            continue
        labels: dict[str, str | float] = {
            "emotion": word,
            "intensity": vocabulary.look_up(INTENSITIES, intensity, path),
            "statement": vocabulary.look_up(STATEMENTS, statement, path),
            "repetition": str(int(repetition)),
            **{name: SCALE[intensity] if code == emotion else 0.0 for code, name in SIX.items()},
        }
        gender = "male" if int(actor) % 2 else "female"
        found.append(Utterance(Path(path).stem, "ravdess", path, speaker=f"actor{actor}", gender=gender, labels=labels))
    return found


folds = _layout.by_speaker(6)


def download(root: Path, *, base_url: str = OFFICIAL, progress: Progress | None = None) -> list[dict]:
    """208 MB into `root`. Raises InputError."""
    return get(root, base_url, ARCHIVES, progress=progress)
