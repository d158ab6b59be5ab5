"""Relative attributes as StrengthNet's targets: emotional speech above neutral speech.

One ranking function an emotion and corpus, fitted on the training part, see `sottovoce.metrics.relative_attributes`;
its ends there are 0 and 1 for every speaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.errors import InputError
from sottovoce.metrics import relative_attributes
from sottovoce.metrics.relative_attributes import Ranking, Scale

LABEL = "emotion"  # column of the manifest


@dataclass
class Lesson:
    """What one corpus teaches: emotional utterances with their scores, and the neutral ones they are above."""

    corpus: Corpus
    train: list[Utterance]  # emotional, as are dev and test
    dev: list[Utterance]
    test: list[Utterance]
    neutral: dict[str, list[Utterance]]  # "train", "dev", "test" -> neutral utterances
    rankings: dict[str, Ranking]  # of every emotion
    scale: Scale
    x: dict[str, np.ndarray]  # id -> standardised functionals (F,)

    def rank(self, u: Utterance, emotion: str) -> float:
        """How strongly an utterance shows an emotion: 0 and 1 are the ends of the training part, not limits."""
        ranking = self.rankings[emotion]
        return float((ranking.raw(self.x[u.id][None])[0] - ranking.low) / (ranking.high - ranking.low))

    def score(self, u: Utterance) -> float:
        """The target of the network: the intensity of its own emotion, clipped to 0..1."""
        return min(max(self.rank(u, emotion_of(u)), 0.0), 1.0)


def lesson(
    corpus: Corpus, values: np.ndarray, train: Sequence[Utterance], dev: Sequence[Utterance], config: Any
) -> Lesson:
    """Ranking functions of the training part, and scores of all utterances.

    Args:
        values: (N, F) functionals of all utterances of the corpus.

    Raises:
        InputError: the training part has no neutral or no emotional utterance.
    """

    known = {u.id for part in (train, dev) for u in part}
    felt, calm = {}, {}
    for name, part in (("train", train), ("dev", dev),
                       ("test", [u for u in corpus.utterances if u.id not in known])):  # fmt: skip
        felt[name], calm[name] = felt_and_calm(part, config.neutral)
    emotions = ranked(corpus, train, config.neutral)
    index = {u.id: k for k, u in enumerate(corpus.utterances)}
    scale = relative_attributes.Scale.of(values[[index[u.id] for u in felt["train"] + calm["train"]]])
    x = scale(values)
    rest = x[[index[u.id] for u in calm["train"]]]
    rankings = {}
    for emotion in emotions:
        rows = [index[u.id] for u in felt["train"] if emotion_of(u) == emotion]
        rankings[emotion] = relative_attributes.fit(x[rows], rest, slack=config.slack)
    learned = {name: [u for u in part if emotion_of(u) in rankings] for name, part in felt.items()}
    return Lesson(
        corpus, learned["train"], learned["dev"], learned["test"], calm, rankings, scale,
        dict(zip(index, np.asarray(x), strict=True)),
    )  # fmt: skip


def felt_and_calm(part: Sequence[Utterance], neutral: Sequence[str]) -> tuple[list[Utterance], list[Utterance]]:
    """Emotional and neutral utterances of a part."""
    labelled = [u for u in part if LABEL in u.labels]
    return [u for u in labelled if emotion_of(u) not in neutral], [u for u in labelled if emotion_of(u) in neutral]


def ranked(corpus: Corpus, train: Sequence[Utterance], neutral: Sequence[str]) -> tuple[str, ...]:
    """Emotions of which a training part has utterances, in the order of the corpus.

    Raises InputError when the part has no neutral or no emotional utterance.
    """
    felt, calm = felt_and_calm(train, neutral)
    if not felt or not calm:
        raise InputError(
            f"{corpus.folder}: the training part cannot be ranked. Found {len(felt)} emotional and "
            f"{len(calm)} neutral utterances in it. Use other folds."
        )
    found = {emotion_of(u) for u in felt}
    return tuple(emotion for emotion in corpus.classes[LABEL] if emotion in found)


def emotion_of(u: Utterance) -> str:
    return str(u.labels[LABEL])


def require(corpora: Sequence[Corpus], neutral: Sequence[str]) -> None:
    """Raises InputError where a corpus has no emotion labels, or none of `neutral` among them, or nothing else."""
    for corpus in corpora:
        if corpus.kinds.get(LABEL) != "class":
            raise InputError(
                f"{corpus.folder}: no emotion labels to rank by. Found labels: {', '.join(corpus.kinds) or 'none'}. "
                "Use a corpus with neutral and emotional speech."
            )
        found = list(dict.fromkeys(emotion_of(u) for u in corpus.utterances if LABEL in u.labels))
        if not set(found) & set(neutral):
            raise InputError(
                f"{corpus.folder}: no neutral class to rank against. Found {', '.join(found) or 'no emotion'}, none of "
                f"them {' or '.join(neutral)}. Name the neutral one with --set objective.neutral=NAME, or use a corpus "
                "that has one."
            )
        if not set(found) - set(neutral):
            raise InputError(f"{corpus.folder}: nothing but neutral speech. Found {', '.join(found)}. Add emotions.")
