"""Frame pseudo-labels to learn from: clusters of MFCC, or of hidden states of an earlier model.

    training part -> some of its frames -> k-means, one a label set -> every utterance labelled, held-out ones too

As in HuBERT (arXiv:2106.07447, sec. 2.1). Nothing is fitted on anybody but the training part.

L label sets, K units of a set, T frames, D features.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sottovoce import training
from sottovoce.corpus import Utterance
from sottovoce.errors import InputError
from sottovoce.track import Track

FRAMES = 300_000  # that k-means sees at most
Frames = Callable[[Sequence[int]], Iterator[tuple[int, Track]]]  # indices of utterances -> their frames (T, D)


@dataclass
class Units:
    """Labels of every utterance, on the clock of the frames they were made from."""

    sizes: tuple[int, ...]
    codebooks: list[np.ndarray]  # (K, D) a label set
    rate_hz: float
    offset_s: float
    labels: dict[str, np.ndarray]  # (T, L) whole numbers by `key`, -1 where there were no frames

    def store(self, utterances: Sequence[Utterance]) -> "UnitStore":
        """The labels of some utterances of one corpus, as a track store has them."""
        return UnitStore({u.id: self.labels[key(u)] for u in utterances}, self.rate_hz, self.offset_s, len(self.sizes))

    def counts(self, utterances: Iterable[Utterance]) -> list[np.ndarray]:
        """(K,) a label set: how often every unit occurs in these utterances."""
        every = np.concatenate([self.labels[key(u)] for u in utterances]) + 1
        return [np.bincount(every[:, s], minlength=k + 1)[1:] for s, k in enumerate(self.sizes)]

    def summary(self, utterances: Iterable[Utterance]) -> list[dict[str, float]]:
        """For the report: units of every label set, how many are used, and as how many equally frequent ones."""
        rows = []
        for k, count in zip(self.sizes, self.counts(utterances), strict=True):
            share = count[count > 0] / count.sum()
            rows.append({"units": k, "used": len(share), "perplexity": float(np.exp(-(share * np.log(share)).sum()))})
        return rows


@dataclass
class UnitStore:
    """What `sottovoce.data.Store` asks for."""

    values: dict[str, np.ndarray]
    rate_hz: float
    offset_s: float
    dim: int

    @property
    def lengths(self) -> dict[str, int]:
        return {id: len(v) for id, v in self.values.items()}

    def __getitem__(self, id: str, /) -> np.ndarray:
        return self.values[id]

    def __contains__(self, id: object, /) -> bool:
        return id in self.values


def blank(sizes: Sequence[int], seconds: Iterable[tuple[Utterance, float]]) -> Units:
    """Unit 0 everywhere, to time a step before anything is clustered."""
    labels = {key(u): np.zeros((max(int(50 * s), 1), len(sizes)), np.int64) for u, s in seconds}
    return Units(tuple(sizes), [], 50.0, 0.0, labels)


def key(u: Utterance) -> str:
    """Ids are unique in a corpus, not beyond."""
    return f"{u.corpus}/{u.id}"


def make(
    frames: Frames, utterances: Sequence[Utterance], train: Sequence[int], sizes: Sequence[int], seed: int = 0
) -> Units:
    """Cluster frames of the training part, label all.

    Args:
        frames: of some of `utterances`, in any order. Their clocks may begin at different times, whole frames apart
            (trimmed recordings): labels begin with the recording, where there were no frames they are -1.
        train: indices of those that clusters are fitted on; at most `FRAMES` of their frames, whole utterances drawn
            by the seed.
        sizes: K of every label set.

    Raises:
        InputError: fewer frames than units.
    """
    seen: list[np.ndarray] = []
    order = np.random.default_rng(seed).permutation(np.asarray(train))
    for at in range(0, len(order), 16):
        if sum(map(len, seen)) >= FRAMES:
            break
        seen += [track.values for _, track in sorted(frames(order[at : at + 16].tolist()), key=lambda pair: pair[0])]
    sample = np.concatenate(seen)
    if len(sample) < max(sizes):
        raise InputError(
            f"objective.targets: more units than frames. Found {max(sizes)} units, {len(sample)} frames in "
            f"{len(order)} training utterances. Use fewer units or more speech."
        )
    codebooks = [kmeans(sample, k, seed) for k in sizes]
    labels, rate_hz, offset_s = {}, 0.0, 0.0
    for i, track in frames(range(len(utterances))):
        rate_hz, before = track.rate_hz, round(track.offset_s * track.rate_hz - 0.5)  # frames cut off at the front
        offset_s = track.offset_s - before / rate_hz
        found = np.stack([nearest(track.values, book) for book in codebooks], axis=1)
        labels[key(utterances[i])] = np.concatenate([np.full((before, len(sizes)), -1), found])
    return Units(tuple(sizes), codebooks, rate_hz, offset_s, labels)


def kmeans(frames: np.ndarray, k: int, seed: int) -> np.ndarray:
    """(N, D) -> (K, D) centres, with the settings of fairseq's `learn_kmeans.py` but fewer starts."""
    from sklearn.cluster import MiniBatchKMeans

    found = MiniBatchKMeans(
        k, batch_size=10_000, max_iter=100, tol=0, max_no_improvement=100, n_init=3, reassignment_ratio=0,
        compute_labels=False, random_state=seed,
    ).fit(frames)  # fmt: skip
    return found.cluster_centers_.astype(np.float32)


def nearest(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(T, D), (K, D) -> (T,) the closest centre of every frame."""
    return (np.square(centres).sum(1) - 2 * frames @ centres.T).argmin(1)


def save(path: Path, units: Units, identity: str) -> None:
    import json

    names = sorted(units.labels)
    tensors = {f"codebook.{s}": torch.from_numpy(book) for s, book in enumerate(units.codebooks)}
    tensors["labels"] = torch.from_numpy(np.concatenate([units.labels[name] for name in names]).astype(np.int32))
    tensors["lengths"] = torch.tensor([len(units.labels[name]) for name in names])
    head = {"rate_hz": units.rate_hz, "offset_s": units.offset_s, "utterances": names}
    training.save_tensors(path, tensors, {"identity": identity, "head": json.dumps(head)})


def load(path: Path, identity: str) -> Units | None:
    """What `save` wrote for the same identity; None where there is nothing like it."""
    import json

    if not path.exists():
        return None
    tensors, metadata = training.read_tensors(path)
    if metadata.get("identity") != identity:
        return None
    head = json.loads(metadata["head"])
    books = [tensors[f"codebook.{s}"].numpy() for s in range(tensors["labels"].shape[1])]
    parts = torch.split(tensors["labels"], tensors["lengths"].tolist())
    labels = {name: values.numpy() for name, values in zip(head["utterances"], parts, strict=True)}
    return Units(tuple(map(len, books)), books, head["rate_hz"], head["offset_s"], labels)
