"""Frame pseudo-labels to learn from: clusters of MFCC, or of hidden states of an earlier model (HuBERT, arXiv:2106.07447).

    training part -> some of its frames -> k-means, one a label set -> every utterance labelled, held-out ones too

Nothing is fitted on anybody but the training part. L label sets, K units of a set, T frames, D features.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    tracks: dict[str, Track]  # (T, L) whole numbers, by `key`

    def of(self, u: Utterance) -> Track:
        return self.tracks[key(u)]

    def counts(self, utterances: Iterable[Utterance]) -> list[np.ndarray]:
        """(K,) a label set: how often every unit occurs in these utterances."""
        every = [self.of(u).values for u in utterances]
        return [sum(np.bincount(v[:, s], minlength=k) for v in every) for s, k in enumerate(self.sizes)]  # type: ignore

    def summary(self, utterances: Iterable[Utterance]) -> list[dict[str, float]]:
        """For the report: units of every label set, how many are used, and as how many equally frequent ones."""
        rows = []
        for k, count in zip(self.sizes, self.counts(utterances), strict=True):
            share = count[count > 0] / count.sum()
            rows.append({"units": k, "used": len(share), "perplexity": float(np.exp(-(share * np.log(share)).sum()))})
        return rows


def blank(sizes: Sequence[int]) -> Units:
    """Unit 0 everywhere: to time a step without clustering anything."""
    nothing = Track(np.zeros((1, len(sizes)), np.int64), 1.0)
    return Units(tuple(sizes), [], defaultdict(lambda: nothing))


def key(u: Utterance) -> str:
    """Ids are unique in a corpus, not beyond."""
    return f"{u.corpus}/{u.id}"


def make(
    frames: Frames, utterances: Sequence[Utterance], train: Sequence[int], sizes: Sequence[int], seed: int = 0
) -> Units:
    """Cluster frames of the training part, label all.

    Args:
        frames: of some of `utterances`, in any order.
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
    tracks: dict[str, Track] = {}
    for i, track in frames(range(len(utterances))):
        labels = np.stack([nearest(track.values, book) for book in codebooks], axis=1)
        tracks[key(utterances[i])] = Track(labels, track.rate_hz, track.offset_s)
    return Units(tuple(sizes), codebooks, tracks)


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

    names = sorted(units.tracks)
    tensors = {f"codebook.{s}": torch.from_numpy(book) for s, book in enumerate(units.codebooks)}
    tracks = [units.tracks[name] for name in names]
    tensors["labels"] = torch.from_numpy(np.concatenate([t.values for t in tracks]).astype(np.int32))
    tensors["lengths"] = torch.tensor([len(t) for t in tracks])
    tensors["offset_s"] = torch.tensor([t.offset_s for t in tracks], dtype=torch.float64)
    head = {"identity": identity, "utterances": json.dumps(names), "rate_hz": repr(tracks[0].rate_hz)}
    training.save_tensors(path, tensors, head)


def load(path: Path, identity: str) -> Units | None:
    """What `save` wrote for the same identity; None where there is nothing like it."""
    import json

    if not path.exists():
        return None
    tensors, head = training.read_tensors(path)
    if head.get("identity") != identity:
        return None
    books = [tensors[f"codebook.{s}"].numpy() for s in range(tensors["labels"].shape[1])]
    labels = torch.split(tensors["labels"].long(), tensors["lengths"].tolist())
    tracks: dict[str, Any] = {
        name: Track(values.numpy(), float(head["rate_hz"]), offset)
        for name, values, offset in zip(
            json.loads(head["utterances"]), labels, tensors["offset_s"].tolist(), strict=True
        )
    }
    return Units(tuple(map(len, books)), books, tracks)
