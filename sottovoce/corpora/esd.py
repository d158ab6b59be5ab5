"""ESD: 20 speakers, English and Mandarin, 5 emotions, 350 parallel sentences.

Source:   https://github.com/HLTSingapore/Emotional-Speech-Data (on request).
Licence:  research only.
Size:     35,000 files, 29 h: 0001-0010 Mandarin, 0011-0020 English, 1,750 each.
Names:    0011/Angry/0011_000351, with or without train, evaluation and test folders inside. The number tells the
          emotion too: 1-350 neutral, 351-700 angry, then happy, sad, surprise; used where the folder does not.
Labels:   emotion; language.
Folds:    5, by speaker. The release's own parts go by sentence and share all speakers, so they are not used.
Cite:     Zhou, Sisman, Liu & Li, "Emotional Voice Conversion: Theory, Databases and ESD", Speech Communication 137,
          2022.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from sottovoce.corpora import _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import Utterance
from sottovoce.errors import InputError, check_names

LICENCE = "research only"
SOURCE = "https://github.com/HLTSingapore/Emotional-Speech-Data"
LABELS = {"Neutral": "neutral", "Angry": "angry", "Happy": "happy", "Sad": "sad", "Surprise": "surprise"}
PER_EMOTION = 350  # numbers of one emotion, in the order of LABELS
LANGUAGES = ("mandarin", "english")
CLASSES = {"language": LANGUAGES}
WOMEN = ("0001", "0002", "0003", "0007", "0009", "0015", "0016", "0017", "0018", "0019")  # the release's list


def utterances(
    root: Path,
    *,
    relabel: Mapping[str, str] | None = None,
    language: Annotated[str, "english or mandarin; default both"] = "",
) -> list[Utterance]:
    """Every recording named as above, anywhere below `root`: the release, or one language or speaker.

    Raises InputError: none found, a number that does not exist, or another language.
    """
    check_names("language of esd", filter(None, [language]), LANGUAGES)
    words = vocabulary.rename(LABELS, relabel, "esd")
    folded = {native.casefold(): native for native in LABELS}
    order = list(LABELS)
    found = []
    for path, match in _layout.matching(root, r"(00[01]\d|0020)_(\d{6})", "ESD", "0011/Angry/0011_000351.wav"):
        speaker, number = match.group(1), int(match.group(2))
        spoken = LANGUAGES[int(speaker) > 10]
        if language and spoken != language:
            continue
        place = [folded[part.casefold()] for part in Path(path).parts[:-1] if part.casefold() in folded]
        if not place and not 1 <= number <= PER_EMOTION * len(order):
            raise InputError(f"{path}: unknown label. Found number {number} and no emotion folder. Rename the file.")
        word = words[place[-1] if place else order[(number - 1) // PER_EMOTION]]
        if word == vocabulary.DROP:
            continue
        labels: dict[str, str | float] = {"emotion": word, "language": spoken}
        gender = "female" if speaker in WOMEN else "male"
        found.append(Utterance(Path(path).stem, "esd", path, speaker=speaker, gender=gender, labels=labels))
    if not found:
        raise InputError(
            f"{root}: no {language or 'such'} recording of ESD. Found others. Change --language or --drop."
        )
    return found


folds = _layout.by_speaker(5)
