"""What is to be predicted: one emotion of K, or D regression targets such as six intensities or valence and arousal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.errors import InputError, check_names


@dataclass(frozen=True)
class Task:
    """`kind` "class": one label column, K `classes`. `kind` "number": D label columns with their `ranges`.
    `kind` "phones": a sequence of `classes`, which no label column holds (see `sottovoce.evaluation.phoneme`)."""

    kind: Literal["class", "number", "phones"]
    target: tuple[str, ...]  # label columns of the manifest
    classes: tuple[str, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()  # (lowest, highest) of every number
    shares: tuple[str, ...] = ()  # label columns with the share of raters for each class, () where nobody counted them

    @property
    def outputs(self) -> int:
        return len(self.classes) if self.kind == "class" else len(self.target)

    def has(self, utterance: Utterance) -> bool:
        """Whether the utterance carries every label this task needs."""
        return all(name in utterance.labels for name in self.target)

    def teaches(self, utterance: Utterance) -> bool:
        """Whether it can be learned from: it has its labels, or raters who disagree."""
        return self.has(utterance) or any(float(utterance.labels.get(name, 0.0)) > 0 for name in self.shares)

    def distributions(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """(N, K) float32 shares of the raters for each class; a label alone is all of them."""
        rows = np.zeros((len(utterances), self.outputs), np.float32)
        index = {name: k for k, name in enumerate(self.classes)}
        for row, u in zip(rows, utterances, strict=True):
            row[:] = [float(u.labels.get(name, 0.0)) for name in self.shares] or 0.0
            if row.sum() > 0:
                row /= row.sum()
            else:
                row[index[str(u.labels[self.target[0]])]] = 1.0
        return rows

    def plain(self) -> dict[str, Any]:
        """As config.json holds it; without `shares` where there are none, as in runs of before."""
        return {key: value for key, value in asdict(self).items() if key != "shares" or value}

    def values(self, utterances: Sequence[Utterance]) -> np.ndarray:
        """(N,) class indices, or (N, D) regression targets clamped to their range (a few MOSEI rows exceed 3)."""
        if self.kind == "class":
            index = {name: k for k, name in enumerate(self.classes)}
            name = self.target[0]
            return np.array(
                [
                    index[str(u.labels[name])] if name in u.labels else int(self.distributions([u]).argmax())
                    for u in utterances
                ],
                dtype=np.int64,
            )
        rows = [[float(u.labels[name]) for name in self.target] for u in utterances]
        low, high = np.array(self.ranges, dtype=np.float64).T
        return np.clip(np.array(rows, dtype=np.float64).reshape(-1, len(self.target)), low, high)

    def same(self, other: "Task") -> bool:
        """Whether the question is the same. Ranges that a corpus does not state are those of the labels taught."""
        return (self.kind, self.target, self.classes) == (other.kind, other.target, other.classes)

    def taught(self, corpus: Corpus, train: Sequence[Utterance]) -> "Task":
        """The task as these utterances teach it: a number's range, where the corpus states none, is that of their
        labels and knows no tested one."""
        stated = corpus.info.get("ranges", {})
        if self.kind != "number" or not train or all(name in stated for name in self.target):
            return self
        rows = np.array([[float(u.labels[name]) for name in self.target] for u in train])
        seen = zip(self.target, self.ranges, rows.min(0).tolist(), rows.max(0).tolist(), strict=True)
        return replace(self, ranges=tuple(known if name in stated else (low, high) for name, known, low, high in seen))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: Path | str) -> "Task":
        """The task a run's config.json holds. Raises InputError, which begins with `where`, when it is damaged."""
        try:
            ranges = tuple((float(a), float(b)) for a, b in values["ranges"])
            shares = tuple(values.get("shares", ()))
            return cls(values["kind"], tuple(values["target"]), tuple(values["classes"]), ranges, shares)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: damaged task. {error}. Make the run again.") from None

    @classmethod
    def of(cls, corpus: Corpus, target: Sequence[str] = ()) -> "Task":
        """The task of a corpus: the labels named, or the ones its reader recommends.

        Raises InputError: a label the corpus does not have, mixed kinds, or a single class.
        """
        names = tuple(target) or tuple(corpus.info.get("target", ())) or ("emotion",)
        check_names(f"label of {corpus.folder}", names, corpus.kinds)
        kinds = {corpus.kinds[name] for name in names}
        if kinds == {"class"} and len(names) == 1:
            present = {u.labels[names[0]] for u in corpus.utterances if names[0] in u.labels}
            classes = tuple(c for c in corpus.classes[names[0]] if c in present)
            shares = tuple(f"{names[0]}:{c}" for c in classes)
            shares = shares if all(name in corpus.kinds for name in shares) else ()
            if len(classes) < 2:
                raise InputError(
                    f"{corpus.folder}: one class only. Label {names[0]!r} is always {', '.join(classes) or 'empty'}. "
                    "Two or more classes are needed to learn or measure anything."
                )
            return cls("class", names, classes, shares=shares)
        if kinds == {"number"}:
            ranges = corpus.info.get("ranges", {})
            observed = {n: [float(u.labels[n]) for u in corpus.utterances if n in u.labels] for n in names}
            bounds = tuple(tuple(ranges.get(n) or (min(observed[n]), max(observed[n]))) for n in names)
            return cls("number", names, ranges=bounds)
        raise InputError(
            f"{corpus.folder}: --target {','.join(names)} mixes classes and regression targets. "
            "Name one class label, or one or more number labels."
        )
