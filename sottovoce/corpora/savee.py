"""SAVEE: 4 men, British English, 7 emotions (Surrey Audio-Visual Expressed Emotion).

Source:   http://kahlan.eps.surrey.ac.uk/savee (on request).
Licence:  research only.
Size:     480 files, 31 min; neutral twice as many as the others.
Names:    DC/a01 or DC_a01: speaker, emotion (a, d, f, h, n, sa, su), sentence.
Labels:   emotion.
Folds:    4, one speaker each.
Cite:     Haq & Jackson, "Multimodal Emotion Recognition", in Machine Audition, IGI Global 2010.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sottovoce.corpora import _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import Fold, Utterance
from sottovoce.data.folds import group_folds

LICENCE = "research only"
SOURCE = "http://kahlan.eps.surrey.ac.uk/savee"
LABELS = {
    **{"n": "neutral", "h": "happy", "sa": "sad", "a": "angry"},
    **{"f": "fear", "d": "disgust", "su": "surprise"},
}


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None) -> list[Utterance]:
    """Every recording named as above, at any depth. Raises InputError: none, or an emotion that does not exist."""
    words = vocabulary.rename(LABELS, relabel, "savee")
    found = []
    for path, match in _layout.matching(
        root, r"(DC|JE|JK|KL)[_/]([a-z]{1,2})(\d\d)", "SAVEE", "DC/a01.wav or DC_a01.wav"
    ):
        speaker, native, number = match.groups()
        word = vocabulary.look_up(words, native, path)
        if word != vocabulary.DROP:
            name = f"{speaker}_{native}{number}"
            found.append(Utterance(name, "savee", path, speaker=speaker, gender="male", labels={"emotion": word}))
    return found


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """One speaker is test, the next dev, the others train."""
    speakers = sorted({u.speaker for u in utterances})
    return group_folds(utterances, max(3, len(speakers)), names=speakers if len(speakers) > 2 else None)
