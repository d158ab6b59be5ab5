"""Genders that a corpus does not tell, from a linear head on the states of an encoder that tells them apart.

The head is fitted on the training utterances whose gender is known; how often it is right is measured on speakers it
was not fitted on. A speaker has one gender: the majority of the utterances decides.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.folds import voice
from sottovoce.modeling import network


def complete(steps: Steps, backbone: nn.Module) -> tuple[list[Utterance], str]:
    """The utterances of a training part with a gender each, and in words where it comes from.

    Raises ValueError when fewer than two are known; callers check that before.
    """
    people = [voice(u) for u in steps.utterances]
    known = np.array([bool(u.gender) for u in steps.utterances])
    if known.all():
        return list(steps.utterances), f"of all {len(known)} training utterances from the corpus"
    features = network.embed(backbone, steps).reshape(len(steps), -1)
    genders = np.array([u.gender for u in steps.utterances])
    right = _unseen(features[known], genders[known], [p for p, k in zip(people, known, strict=True) if k])
    predicted = _head().fit(features[known], genders[known]).predict(features[~known])
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for k, vote in zip(np.flatnonzero(~known), predicted, strict=True):
        votes[people[k]][str(vote)] += 1
    whole = [
        u if u.gender else replace(u, gender=votes[person].most_common(1)[0][0])
        for u, person in zip(steps.utterances, people, strict=True)
    ]
    return whole, (
        f"of {known.sum()} training utterances from the corpus, of {(~known).sum()} predicted by a linear head on the "
        f"first states ({right})"
    )


def _head() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))


def _unseen(features: np.ndarray, genders: np.ndarray, people: Sequence[str]) -> str:
    """How often the head is right on speakers it was not fitted on, in words."""
    from sklearn.model_selection import GroupKFold, cross_val_predict

    parts = min(5, len(set(people)))
    folds = list(GroupKFold(parts).split(features, genders, people)) if parts > 1 else []
    if not folds or any(len(set(genders[train])) < 2 for train, _ in folds):
        return "too few speakers to say how often it is right"
    found = cross_val_predict(_head(), features, genders, cv=folds)
    return f"right for {100 * (found == genders).mean():.1f} % of speakers it was not fitted on"
