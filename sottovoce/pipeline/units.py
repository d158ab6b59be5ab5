"""Frame pseudo-labels to learn from: clusters of MFCC, or of hidden states of an earlier model.

    training part -> some of its frames -> k-means, one a label set -> every utterance labelled, dev ones too

As in HuBERT (arXiv:2106.07447, sec. 2.1). Everything is fitted on the training part alone.

L label sets, K units of a set, T frames, D features.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sottovoce.backbones.base import hop_and_field
from sottovoce.data import own, runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.memory import Memory
from sottovoce.data.store import Head, TrackStore
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.metrics import kmeans
from sottovoce.modeling import checkpoint, codebook, network
from sottovoce.objectives.masked_units import parse

FRAMES = 300_000  # that k-means sees at most
SOME = 64  # utterances whose frames are asked for at a time
Frames = Callable[[Sequence[Utterance]], Iterator[tuple[Utterance, Track]]]  # frames (T, D) of these, in any order


@dataclass
class Units:
    """Labels of every utterance, at the frames they were made from."""

    sizes: tuple[int, ...]
    codebooks: list[np.ndarray]  # (K, D) a label set
    rate_hz: float
    offset_s: float
    labels: dict[str, np.ndarray]  # (T, L) whole numbers by `key`, -1 where there were no frames

    def store(self, utterances: Sequence[Utterance]) -> Memory:
        """The labels of some utterances of one corpus, as a track store has them."""
        head = Head("units", {}, self.rate_hz, self.offset_s, len(self.sizes))
        return Memory({u.id: self.labels[key(u)] for u in utterances}, head)


def summary(counts: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """For the report: units of every label set, how many are used, and as how many equally frequent ones."""
    shares = [(len(count), count[count > 0] / count.sum()) for count in counts]
    return [
        {"units": k, "used": len(share), "perplexity": float(np.exp(-(share * np.log(share)).sum()))}
        for k, share in shares
    ]


def given(folder: Path, corpora: Sequence[Corpus], fold: str) -> tuple[list[TrackStore], str]:
    """What `sottovoce label` made for these corpora: a store for each, and what the objective calls such targets.

    Args:
        folder: of label.json, or with one sub-folder a fold.

    Raises:
        InputError: no labels there, none for a corpus, or of another fold.
    """
    own = runs.folder_of(folder, fold)
    own = own if (own / "label.json").exists() else folder
    stores = [codebook.open_units(own, corpus, fold=fold) for corpus in corpora]
    return stores, "label:" + "+".join(map(str, stores[0].head.config["units"]))


def check(targets: Sequence[str], steps: Steps, blocks: int, has_init: bool) -> None:
    """Raises InputError when an iteration, however late, asks for a layer or for units that there cannot be.

    Args:
        steps: the training part.
        blocks: of the backbone that all iterations share.
        has_init: whether there is a model before the first iteration.
    """
    hop, field = steps.hop_and_field
    frames = int(np.maximum((steps.lengths - field) // hop + 1, 1).sum())
    for k, target in enumerate(targets):
        source, sizes = parse(target)
        if source == "label":
            continue
        if source != "mfcc" and int(source) > blocks:
            raise InputError(
                f"objective.targets: {target} names a layer that is not there. Found {blocks} blocks. Name one of 1 to "
                f"{blocks}, or 0 for their input."
            )
        if source != "mfcc" and not k and not has_init:
            raise InputError(
                f"objective.targets: layer {source} of which model? Found neither an iteration before nor --init. "
                f"Use e.g. mfcc:100,{target}."
            )
        if max(sizes) > frames:
            raise InputError(
                f"objective.targets: {target} has more units than there are frames. Found {frames} in "
                f"{len(steps)} training utterances. Use fewer units or more speech."
            )


def blank(sizes: Sequence[int], stores: Sequence[Any], parts: Sequence[Sequence[Utterance]]) -> Units:
    """Unit 0 everywhere, to time a step before anything is clustered."""
    labels = {
        key(u): np.zeros((max(int(50 * store.lengths[u.id] / store.rate_hz), 1), len(sizes)), np.int64)
        for store, part in zip(stores, parts, strict=True)
        for u in part
    }
    return Units(tuple(sizes), [], 50.0, 0.0, labels)


def of_tracks(stores: Sequence[Any], parts: Sequence[Sequence[Utterance]]) -> Frames:
    """The frames of a track, from a store for every part."""
    where = {key(u): (store, u.id) for store, part in zip(stores, parts, strict=True) for u in part}

    def frames(utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Track]]:
        for u in utterances:
            store, id = where[key(u)]
            yield u, Track(store[id], store.rate_hz, store.offset_s)

    return frames


def of_layer(
    teacher: network.Pretrained, layer: int, stores: Sequence[Any], parts: Sequence[Sequence[Utterance]]
) -> Frames:
    """The hidden states of a layer (1 = first block) of a model that reads these stores."""
    steps = Steps(list(zip(stores, parts, strict=True)), teacher.plan.frontend, teacher.statistics)
    where = {key(u): i for i, u in enumerate(steps.utterances)}

    def frames(utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Track]]:
        some = steps.subset([where[key(u)] for u in utterances])
        return ((utterances[k], track) for k, track in network.states(teacher.backbone, some, layer))

    return frames


def slots(teacher: network.Pretrained, stores: Sequence[Any], parts: Sequence[Sequence[Utterance]]) -> dict[str, int]:
    """How many states whole recordings have, by `key`; those of trimmed ones are fewer."""
    whole = replace(teacher.plan.frontend, trim_db=0.0)
    hop, field = hop_and_field(teacher.backbone)
    return {
        key(u): max((whole.steps(store.lengths[u.id]) - field) // hop + 1, 1)
        for store, part in zip(stores, parts, strict=True)
        for u in part
    }


def key(u: Utterance) -> str:
    """Ids are unique in a corpus, not beyond."""
    return f"{u.corpus}/{u.id}"


def make(
    frames: Frames,
    train: Sequence[Sequence[Utterance]],
    utterances: Sequence[Sequence[Utterance]],
    sizes: Sequence[int],
    seed: int = 0,
    slots: Mapping[str, int] | None = None,
) -> Units:
    """Cluster frames of the training part, label all utterances.

    Args:
        frames: they may begin at different times, whole frames apart (trimmed recordings): labels begin with
            the recording, where there were no frames they are -1.
        train: utterances of every corpus that clusters are fitted on: at most `FRAMES` of their frames, whole
            utterances drawn by the seed.
        sizes: K of every label set.
        slots: frames of whole recordings by `key`, where `frames` may leave some out at the end too.
    """
    pool = [u for part in train for u in part]
    seen: list[np.ndarray] = []
    order = np.random.default_rng(seed).permutation(len(pool))
    for at in range(0, len(order), SOME):
        if sum(len(values) for values in seen) >= FRAMES:
            break
        found = {key(u): track.values for u, track in frames([pool[k] for k in order[at : at + SOME]])}
        seen += [found[name] for name in sorted(found)]
    sample = np.concatenate(seen)
    books = [kmeans.kmeans(sample, k, seed).centres for k in sizes]
    units = Units(tuple(sizes), books, 0.0, 0.0, {})
    for u, track in frames([u for part in utterances for u in part]):
        before = round(track.offset_s * track.rate_hz - 0.5)  # frames that are missing at the front
        units.rate_hz, units.offset_s = track.rate_hz, track.offset_s - before / track.rate_hz
        labels = np.stack([kmeans.nearest(track.values, book)[0] for book in books], axis=1)
        after = max((slots or {}).get(key(u), 0) - before - len(labels), 0)
        front, back = (np.full((n, len(sizes)), -1) for n in (before, after))
        units.labels[key(u)] = np.concatenate([front, labels, back])
    return units


def save(path: Path, units: Units, identity: str) -> None:
    names = sorted(units.labels)
    tensors = {f"codebook.{s}": torch.from_numpy(book) for s, book in enumerate(units.codebooks)}
    tensors["labels"] = torch.from_numpy(np.concatenate([units.labels[name] for name in names]).astype(np.int32))
    tensors["lengths"] = torch.tensor([len(units.labels[name]) for name in names])
    head = {"rate_hz": units.rate_hz, "offset_s": units.offset_s, "utterances": names}
    checkpoint.save_tensors(path, tensors, {"identity": identity, "head": json.dumps(head)})


def load(path: Path, identity: str) -> Units:
    """What `save` wrote. Raises InputError when it was for another run."""
    tensors, metadata = checkpoint.read_tensors(path)
    if metadata.get("identity") != identity:
        raise InputError(f"{path}: labels of another run. Found {metadata.get('identity')}. Delete it.")
    head = own.parse(metadata.get("head", ""), _Head, path, "Delete it.")
    try:
        books = [tensors[f"codebook.{s}"].numpy() for s in range(tensors["labels"].shape[1])]
        parts = torch.split(tensors["labels"], tensors["lengths"].tolist())
        labels = {name: values.numpy() for name, values in zip(head.utterances, parts, strict=True)}
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: damaged. {error}. Delete it.") from None
    return Units(tuple(map(len, books)), books, head.rate_hz, head.offset_s, labels)


@dataclass(frozen=True)
class _Head:
    rate_hz: float
    offset_s: float
    utterances: tuple[str, ...]
