"""What is to be predicted: one emotion of K, or D regression targets such as six intensities or valence and arousal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.errors import InputError, unknown_name


@dataclass(frozen=True)
class Task:
    """`kind` "class": one label column, K `classes`. `kind` "number": D label columns with their `ranges`.
    `kind` "phones": a sequence of `classes`, which no label column holds (see `sottovoce.evaluation.phoneme`)."""

    kind: Literal["class", "number", "phones"]
    target: tuple[str, ...]  # label columns of the manifest
    classes: tuple[str, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()  # (lowest, highest) of every number

    @property
    def outputs(self) -> int:
        return len(self.classes) if self.kind == "class" else len(self.target)

    def has(self, utterance: Utterance) -> bool:
        """Whether the utterance carries every label this task needs."""
        return all(name in utterance.labels for name in self.target)

    def values(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """(N,) class indices, or (N, D) regression targets clamped to their range (a few MOSEI rows exceed 3)."""
        if self.kind == "class":
            index = {name: k for k, name in enumerate(self.classes)}
            return np.array([index[str(u.labels[self.target[0]])] for u in utterances], dtype=np.int64)
        rows = [[float(u.labels[name]) for name in self.target] for u in utterances]
        low, high = np.array(self.ranges, dtype=np.float64).T
        return np.clip(np.array(rows, dtype=np.float64).reshape(-1, len(self.target)), low, high)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: Path | str) -> "Task":
        """The task a run's config.json holds. Raises InputError, which begins with `where`, when it is damaged."""
        try:
            ranges = tuple((float(a), float(b)) for a, b in values["ranges"])
            return cls(values["kind"], tuple(values["target"]), tuple(values["classes"]), ranges)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: damaged task. {error}. Make the run again.") from None

    @classmethod
    def of(cls, corpus: Corpus, target: Sequence[str] = ()) -> "Task":
        """The task of a corpus: the labels named, or the ones its reader recommends.

        Raises:
            InputError: a label the corpus does not have, mixed kinds, or a single class.
        """
        names = tuple(target) or tuple(corpus.info.get("target", ())) or ("emotion",)
        for name in names:
            if name not in corpus.kinds:
                raise unknown_name(f"label of {corpus.folder}", name, corpus.kinds)
        kinds = {corpus.kinds[name] for name in names}
        if kinds == {"class"} and len(names) == 1:
            present = {u.labels[names[0]] for u in corpus.utterances if names[0] in u.labels}
            classes = tuple(c for c in corpus.classes[names[0]] if c in present)
            if len(classes) < 2:
                raise InputError(
                    f"{corpus.folder}: one class only. Label {names[0]!r} is always {', '.join(classes) or 'empty'}. "
                    "Two or more classes are needed to learn or measure anything."
                )
            return cls("class", names, classes)
        if kinds == {"number"}:
            ranges = corpus.info.get("ranges", {})
            observed = {n: [float(u.labels[n]) for u in corpus.utterances if n in u.labels] for n in names}
            bounds = tuple(tuple(ranges.get(n) or (min(observed[n]), max(observed[n]))) for n in names)
            return cls("number", names, ranges=bounds)
        raise InputError(
            f"{corpus.folder}: --target {','.join(names)} mixes classes and regression targets. "
            "Name one class label, or one or more number labels."
        )
