"""What layers taught on other corpora know, before a label of one's own is read.

    standardised pooled states (N, P)  ->  and their scores by A directions, (N, P + A)  ->  solved  ->  layer (K, P)

Where labels are few, a layer of one's own is better drawn towards what tells emotions apart elsewhere than towards
zero: w = A a + v, both penalised, a less (learning with auxiliary classifiers: Yang, Yan, Hauptmann 2007, ACM MM,
"Cross-domain video concept detection using adaptive SVMs"; Kuzborskij, Orabona 2013, ICML, "Stability and hypothesis
transfer learning"). The result is one linear layer of P features again; nothing that runs it knows of the others.

    weights/source_layers.safetensors   NAME (P, K): a direction of length 1 a class
    weights/source_layers.json          digest, what was pooled; of each corpus its classes, labels, licence
    weights/source_layers_seen.json     whose voices they have heard, and marks of the recordings

A run of `sottovoce finetune` on the default encoder, frozen, is a source too: what one corpus of a user's teaches the
next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sottovoce import files
from sottovoce.config.finetuning import FineTuning, Frozen
from sottovoce.data.corpus import Corpus
from sottovoce.data.folds import Seen, person, seen_by
from sottovoce.data.runs import Run
from sottovoce.errors import InputError, unknown_name
from sottovoce.modeling import checkpoint, hub, whisper_weights
from sottovoce.modeling.solving import Layer, Rows
from sottovoce.modeling.whisper_weights import HOME

CARD, WEIGHTS, HEARD = "source_layers.json", "source_layers.safetensors", "source_layers_seen.json"
SPREAD = 3.0  # a direction counts as a feature of so many times its spread ...
LABELS = 50  # ... up to so many labels of one's own; with more of them ever less, see `Sources.of`


@dataclass(frozen=True)
class Source:
    """A corpus whose layer is part of this package, or a run's."""

    name: str  # or the run's folder
    title: str
    licence: str
    free: bool  # whether the licence allows commercial use
    labels: int
    classes: tuple[str, ...]
    people: int
    identity: str  # of its weights


@dataclass(frozen=True)
class Sources:
    """Directions (P, A) of some corpora, times how much they count. With none, A = 0, nothing changes."""

    directions: Tensor

    @classmethod
    def of(cls, names: Sequence[str], width: int, labels: int) -> "Sources":
        """For `width` P features and so many labelled utterances.

        What is known beforehand weighs as much as `LABELS` labels would: with n labels more than that the directions
        are SPREAD sqrt(LABELS / n) long, so that the penalty on what they say is the same for all labels together.
        """
        if not names:
            return cls(torch.zeros(width, 0))
        found = torch.cat([_directions(_known(name)) for name in names], dim=1)
        return cls(found * SPREAD * min(1.0, LABELS / labels) ** 0.5)

    def widen(self, rows: Rows) -> Rows:
        """The scores beside the features."""
        return Rows(torch.cat([rows.x, rows.x @ self.directions], dim=1), rows.y, rows.counts)

    def narrow(self, layer: Layer) -> Layer:
        """The layer (K, P), (K,) that answers of features what this one, (K, P + A), (K,), answers of widened ones."""
        weight, bias = layer
        width = len(self.directions)
        return weight[:, :width] + weight[:, width:] @ self.directions.T, bias


def shipped() -> tuple[Source, ...]:
    """All there are. Raises InputError where the files are missing or damaged."""
    return tuple(
        Source(
            name,
            **told | {"classes": tuple(told["classes"])},
            people=len(_heard()[name]["people"]),
            identity=f"{name} {_card()['sha256'][:16]}",
        )
        for name, told in _card()["corpora"].items()
    )


def free() -> tuple[str, ...]:
    """Those for any use: what a layer on the default encoder begins with."""
    return tuple(s.name for s in shipped() if s.free)


def named(names: Sequence[str]) -> list[Source]:
    """Raises InputError for a name that there is not, and a run whose layer is of other features."""
    return [_known(name) for name in names]


def fits(settings: FineTuning) -> bool:
    """Whether what is pooled of the default encoder is what the layers were taught on."""
    told = _card()
    return (
        isinstance(settings, Frozen)
        and hub.load(whisper_weights.DEFAULT).identity == told["encoder"]
        and list(settings.layers) == told["layers"]
        and settings.layer_aggregation == "concat"
        and settings.temporal_pooling == told["temporal_pooling"]
        and settings.depth == 0
    )


def unheard(sources: Sequence[Source], corpora: Sequence[Corpus]) -> list[Source]:
    """Those that know nobody of these corpora: a layer that has read labels of test people would give them away."""

    def knows(source: Source, corpus: Corpus) -> bool:
        return bool(_seen(source).people_in(corpus, {person(u) for u in corpus.utterances}))

    return [source for source in sources if not any(knows(source, corpus) for corpus in corpora)]


def heard(sources: Sequence[Source]) -> Seen:
    """Whom these have heard, all together."""
    every = Seen()
    for source in sources:
        every |= _seen(source)
    return every


def _seen(source: Source) -> Seen:
    if source.name not in _card()["corpora"]:
        return seen_by(Run.load(source.name))
    entry = _heard()[source.name]
    return Seen(frozenset(entry["people"]), frozenset(entry["contents"]))


def _known(name: str) -> Source:
    every = {source.name: source for source in shipped()}
    if name in every:
        return every[name]
    if not Path(name).is_dir():
        raise unknown_name("finetune.sources", name, list(every))
    folds = sorted(path.parent for path in Path(name).glob("*/config.json"))
    if folds and not (Path(name) / "config.json").is_file():
        raise InputError(f"{name}: a source is one fold. Found {len(folds)}. Name one, e.g. {folds[0]}.")
    run = Run.load(name, "finetune")
    plan, encoder = run.plan, hub.load(whisper_weights.DEFAULT)
    if not run.finished or run.config.get("shipped_encoder") != encoder.identity or not fits(plan.finetune):
        raise InputError(
            f"{name}: no source of a layer. Found {'' if run.finished else 'an unfinished run, '}mode "
            f"{plan.finetune.mode} on {run.config.get('init', '')}. Name a fold that `sottovoce finetune` has made "
            "with the default encoder, layers and pooling of this version."
        )
    known, told = run.config.get("sources", ()), run.config["task"]
    licence = ", ".join(dict.fromkeys(["that of what it was taught on", *(s["licence"] for s in known)]))
    free = all(s["free"] for s in known)
    people = len(seen_by(run).people)
    return Source(name, name, licence, free, run.config["labels"], tuple(told["classes"]), people, run.identity)


def _directions(source: Source) -> Tensor:
    """(P, K), of length 1."""
    if source.name in _card()["corpora"]:
        return _tensors()[source.name].float()
    tensors = checkpoint.load_tensors(Run.load(source.name).weights)
    weight = tensors["network.out.plain.weight" if "network.out.plain.weight" in tensors else "network.out.weight"]
    return torch.nn.functional.normalize(weight.float(), dim=1).T


@lru_cache(maxsize=1)
def _card() -> dict[str, Any]:
    return _read(CARD)


@lru_cache(maxsize=1)
def _heard() -> dict[str, Any]:
    return _read(HEARD)


def _read(name: str) -> dict[str, Any]:
    if not (HOME / name).is_file():
        raise InputError(f"{HOME / name}: no such file. It is part of the package. Install sottovoce again.")
    return files.read_json(HOME / name)


@lru_cache(maxsize=1)
def _tensors() -> dict[str, Tensor]:
    whisper_weights.check_shipped(HOME / WEIGHTS, _card()["sha256"])
    return load_file(HOME / WEIGHTS)
