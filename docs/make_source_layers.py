"""Makes the layers of other corpora that come with the package: sottovoce/weights/source_layers*.

    python docs/make_source_layers.py cremad=data/cremad jl_corpus=data/jl ravdess=data/ravdess nemo=data/nemo \
        -o sottovoce/weights

Of each prepared corpus one linear layer on what the default encoder pools: logistic regression, classes alike, each
speaker standardised by themselves. calm counts as neutral, and a class of fewer than 20 recordings is left out. Kept is
the direction of each class, of length 1, in half precision. What they are good for: docs/results.md, "Few labels".

JL-Corpus has no reader: `prepare table` with emotion and speaker, by which its files are named. At hand were happy
and sad of 78 of CREMA-D's actors, and two of JL-Corpus's four speakers.
"""

import argparse
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from sottovoce import files
from sottovoce.config.finetuning import Frozen
from sottovoce.data import folds
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.modeling import hub, source_layers
from sottovoce.modeling import network as models
from sottovoce.modeling.heads import Standardise
from sottovoce.modeling.solving import minimise
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.pooled import PooledStates

L2 = 0.5  # penalty, as `finetune.l2`
FEW = 20  # recordings of a class that teach nothing about it
ALIKE = {"calm": "neutral"}


@dataclass(frozen=True)
class Known:
    """Of a corpus that licences tell: its name in a sentence, its licence, and whether that allows commercial use."""

    title: str
    licence: str
    free: bool


KNOWN = {
    "cremad": Known("CREMA-D", "ODbL 1.0", True),
    "jl_corpus": Known("JL-Corpus", "CC0 1.0", True),
    "ravdess": Known("RAVDESS", "CC BY-NC-SA 4.0", False),
    "nemo": Known("nEMO", "CC BY-NC-SA 4.0", False),
}


def taught(corpus: Corpus) -> tuple[torch.Tensor, dict[str, Any], folds.Seen]:
    """Directions (P, K) of a corpus, what there is to say of it, and whom they have heard."""
    encoder = hub.load("default")
    plan, init = encoder.plan, models.load_pretrained(encoder)
    assert isinstance(plan.finetune, Frozen)
    network = models.Network(init.backbone, plan.finetune, 2)
    store = track_store(corpus, plan.track, asdict(plan.track_config), quiet=False)
    said = {u.id: ALIKE.get(name := str(u.labels.get("emotion") or ""), name) for u in corpus.utterances}
    counts = {name: list(said.values()).count(name) for name in sorted(set(said.values()) - {""})}
    classes = [name for name, count in counts.items() if count >= FEW]
    chosen = [u for u in corpus.utterances if u.id in store and said[u.id] in classes]
    y, who = np.array([classes.index(said[u.id]) for u in chosen]), [folds.voice(u) for u in chosen]
    x = PooledStates(network, plan, store)(Steps([(store, chosen)], plan.frontend, init.statistics))
    norm = Standardise(x.shape[1])
    norm.fit(torch.from_numpy(x), who)
    mean, std = norm.of_speakers(x, who, plan.finetune.speaker_prior)
    z, truth = torch.from_numpy((x - mean) / std), torch.from_numpy(y)
    alike = 1 / torch.bincount(truth)[truth].float()
    start = torch.zeros(len(classes), x.shape[1]), torch.zeros(len(classes))
    weight, _ = minimise(lambda out: cross_entropy(out, truth, reduction="none"), z, alike, L2, start)
    seen = folds.Seen.of([corpus], [chosen])
    directions = (weight / weight.norm(dim=1, keepdim=True)).T.half().contiguous()
    return directions, {"classes": classes, "labels": len(chosen)}, seen


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("corpora", nargs="+", help=f"NAME=FOLDER of `sottovoce prepare`; names: {', '.join(KNOWN)}")
    ask.add_argument("-o", "--out", type=Path, required=True)
    given = ask.parse_args()
    tensors, corpora, heard = {}, {}, {}
    for name, folder in (pair.split("=", 1) for pair in given.corpora):
        tensors[name], told, seen = taught(Corpus.load(Path(folder)))
        corpora[name] = asdict(KNOWN[name]) | told
        people = sorted(f"{name}/{who.partition('/')[2]}" for who in seen.people)
        heard[name] = {"people": people, "contents": sorted(seen.contents)}
        print(f"{name}: {told['labels']} labels of {', '.join(told['classes'])}, {len(people)} people", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    weights = given.out / source_layers.WEIGHTS
    with files.atomic(weights) as path:
        save_file(tensors, path)
        path.chmod(0o644)
    with open(weights, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    settings = hub.load("default").plan.finetune
    assert isinstance(settings, Frozen)
    pooled = {
        "encoder": hub.load("default").identity,
        "layers": settings.layers,
        "temporal_pooling": settings.temporal_pooling,
    }
    files.write_json(given.out / source_layers.CARD, {"sha256": digest} | pooled | {"corpora": corpora})
    files.write_json(given.out / source_layers.HEARD, heard)


if __name__ == "__main__":
    main()
