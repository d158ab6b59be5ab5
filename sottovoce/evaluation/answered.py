"""What was answered on test parts, a row an utterance.

N utterances, K classes, D numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sottovoce.data.corpus import Utterance
from sottovoce.data.folds import person
from sottovoce.data.task import Task
from sottovoce.metrics import scores, statistics


@dataclass(frozen=True)
class Answered:
    task: Task
    utterances: Sequence[Utterance]
    folds: Sequence[str]  # (N,) whose test part each is in
    truth: np.ndarray  # (N,) classes, (N, D) numbers, or (N,) phones of a transcript
    prediction: np.ndarray  # (N, K) probabilities, (N, D) numbers, or (N,) edits

    @cached_property
    def people(self) -> np.ndarray:
        """(N,) who counts as one in an interval."""
        return np.array([person(u) for u in self.utterances])

    @cached_property
    def predicted(self) -> np.ndarray:
        """The shape of `truth`."""
        return self.prediction.argmax(1) if self.task.kind == "class" else self.prediction

    def some(self, rows: np.ndarray) -> "Answered":
        """Those where `rows` (N,) is True."""
        kept = np.flatnonzero(rows).tolist()
        utterances, folds = [self.utterances[k] for k in kept], [self.folds[k] for k in kept]
        return replace(
            self, utterances=utterances, folds=folds, truth=self.truth[rows], prediction=self.prediction[rows]
        )

    def intervals(self, predicted: np.ndarray | None = None) -> dict[str, dict[str, float | None]]:
        """Every score with its interval; of another answer where one is given."""
        return statistics.intervals(
            self.task, self.truth, self.predicted if predicted is None else predicted, self.people
        )

    def report(self) -> dict[str, Any]:
        """What every report says: scores, those of each fold, the question, of how many utterances and people."""
        task, of, folds = self.task, np.array(self.folds), []
        for name in dict.fromkeys(self.folds):
            found = scores.scores(task, self.truth[of == name], self.predicted[of == name])
            folds.append({"name": name, "n": int((of == name).sum()), "metrics": found})
        known = any(u.speaker for u in self.utterances)  # unknown is not one each
        return {
            "metrics": self.intervals(),
            "folds": folds,
            "task": {"kind": task.kind, "target": task.target, "classes": task.classes or task.target},
            "n": len(self.utterances),
            "speakers": len(set(self.people)) if known else None,
        }
