"""Unlabelled recordings of the training part, taught under labels that a layer gives them.

    labelled rows, each speaker standardised by themselves  ->  a teacher  ->  labels of the unlabelled, twice
    rows as the run has them, labelled and so labelled      ->  its own layer

Pseudo-labels (Lee 2013, ICML Workshop on Challenges in Representation Learning) by another view of the same recordings
(Blum, Mitchell 1998, COLT, "Combining labeled and unlabeled data with co-training"): few labels teach more once the
voice is taken out, and from what the teacher has understood so, a layer learns that hears strangers as they are.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sottovoce.config.finetuning import Frozen
from sottovoce.data.task import Task
from sottovoce.modeling.solving import Rows, mixture, solve
from sottovoce.modeling.source_layers import Sources

ROUNDS = 2  # labels are given, learned from, and given anew
MOST = 5000  # unlabelled recordings that are taught; of more, these many by chance


def speakers_vary(y: np.ndarray, who: Sequence[str]) -> bool:
    """Whether labels y, (N,) classes or (N, K) shares, show that a speaker has several classes, so that these are left
    when the voice is taken out: of the pairs of one speaker's labels at least half as many differ as of all pairs."""
    classes = y.argmax(1) if y.ndim == 2 else y
    speakers = np.unique(np.array(who), return_inverse=True)[1]
    counts = np.zeros((speakers.max() + 1, classes.max() + 1))
    np.add.at(counts, (speakers, classes), 1)
    theirs, everybody = _pairs(counts.sum(1)), _pairs(counts.sum())
    differ, differ_anywhere = theirs - _pairs(counts), everybody - _pairs(counts.sum(0))
    return bool(theirs and differ_anywhere and differ / theirs >= 0.5 * differ_anywhere / everybody)


def _pairs(counts: np.ndarray) -> float:
    """Within groups of so many."""
    return float((counts * (counts - 1) / 2).sum())


def pseudo_labels(
    task: Task, settings: Frozen, labelled: Rows, rest: Tensor, l2: float, sources: Sources
) -> np.ndarray:
    """What a teacher on `labelled` says of `rest` (M, P): classes (M,), or (M, K) where the labels are shares."""
    known = labelled
    for _ in range(ROUNDS):
        wide = sources.widen(known)
        layer, bias = sources.narrow(mixture(task, wide, settings)(solve(task, wide, l2, settings)))
        classes = (rest @ layer.T + bias).argmax(1).numpy()
        said = np.eye(task.outputs, dtype=labelled.y.dtype)[classes] if labelled.y.ndim == 2 else classes
        known = labelled.beside(Rows.of(rest, said, settings.self_training * float(labelled.counts.sum()) / len(rest)))
    return said


def unlabelled_of(count: int, seed: int) -> np.ndarray:
    """Which of so many are taught, in their order."""
    every = np.arange(count)
    return every if count <= MOST else np.sort(np.random.default_rng(seed).choice(every, MOST, replace=False))
