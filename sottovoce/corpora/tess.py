"""TESS: 2 actresses, English, 7 emotions, 200 words after "Say the word" (Toronto).

Source:   https://doi.org/10.5683/SP2/E8H2MF (University of Toronto; the archive is made on request, so it has no
          checksum and is not downloaded here).
Licence:  CC BY-NC-ND 4.0, as it is usually quoted; we have not seen the record itself, so read its terms.
Size:     2,800 files, 1.6 h.
Names:    speaker_word_emotion, e.g. OAF_back_angry (older actress), YAF_dog_ps (younger; ps = pleasant surprise).
          One file of the original is called OA_bite_neutral.
Labels:   emotion; word.
Folds:    two, one actress each. Two speakers cannot be train, dev and test: dev is every tenth word of the training
          actress, so test is speaker-disjoint but the model is chosen on the voice it was trained on. No headline
          number should rest on two speakers.
Cite:     Pichora-Fuller & Dupuis, "Toronto emotional speech set (TESS)", Scholars Portal Dataverse, 2020.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sottovoce.corpora import _layout
from sottovoce.data import vocabulary
from sottovoce.data.corpus import Fold, Utterance
from sottovoce.errors import InputError

LICENCE = "CC BY-NC-ND 4.0 (as usually quoted; read the terms of the record)"
SOURCE = "https://doi.org/10.5683/SP2/E8H2MF"
LABELS = {
    **{"neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry"},
    **{"fear": "fear", "disgust": "disgust", "ps": "surprise"},
}
DEV_EVERY = 10  # words


def utterances(root: Path, *, relabel: Mapping[str, str] | None = None) -> list[Utterance]:
    """Every recording named as above, at any depth. Raises InputError: none, or an emotion that does not exist."""
    words = vocabulary.rename(LABELS, relabel, "tess")
    found = []
    for path, match in _layout.matching(root, r"(OAF?|YAF)_([^/_]+)_([A-Za-z]+)", "TESS", "OAF_back_angry.wav"):
        speaker, said, native = match.groups()
        word = vocabulary.look_up(words, native.lower(), path)
        if word == vocabulary.DROP:
            continue
        labels: dict[str, str | float] = {"emotion": word, "word": said.lower()}
        speaker = "YAF" if speaker == "YAF" else "OAF"
        found.append(Utterance(Path(path).stem, "tess", path, speaker=speaker, gender="female", labels=labels))
    return found


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """One actress is test; every tenth word of the other is dev.

    Raises InputError: only one actress, or fewer than two words.
    """
    speakers = sorted({u.speaker for u in utterances})
    words = sorted({str(u.labels["word"]) for u in utterances})
    if len(speakers) < 2 or len(words) < 2:
        raise InputError(
            f"tess: too few speakers or words for folds. Found {len(speakers)} speakers and {len(words)} words, two "
            "of each are needed. Use the whole corpus."
        )
    side = dict.fromkeys(words, "train") | dict.fromkeys(words[::DEV_EVERY], "dev")

    def fold(tested: str) -> Fold:
        sides = {u.id: "test" if u.speaker == tested else side[str(u.labels["word"])] for u in utterances}
        return Fold.of(tested, "speaker", sides)

    return [fold(speaker) for speaker in speakers]


def fold_notes(utterances: Sequence[Utterance]) -> list[str]:
    return ["two speakers only: dev shares its speaker with train (other words), test is the other speaker"]
