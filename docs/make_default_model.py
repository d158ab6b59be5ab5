"""Makes the model that comes with the package: sottovoce/weights/default_model.

    python docs/make_default_model.py data/ravdess data/nemo data/cremad -o sottovoce/weights/default_model \
        --judge data/savee data/tess data/urdu

Four classes that most corpora have, and an intensity, from one set of pooled states of the default encoder (see
`sottovoce finetune`): of every recording of the prepared corpora, and of two copies changed by noise, voices, rooms,
lines and codecs. Corpora count alike, and classes within them; a corpus that lacks a class says nothing about it. Each
speaker is standardised by themselves (`finetune.speaker_prior`), so that neither a voice nor how it was recorded tells
an emotion; a new recording is standardised by the mean of the corpora's.

First it says what that is worth on a corpus that was left out, on speakers that were, and on corpora that are never
taught (`--judge`); the temperature of the shipped model is fitted on the corpora left out, since a user's recordings
are of another one.

The intensity is how far a voice is like a strong rendering rather than a normal or a neutral one, 0 to 1, learned
where a corpus tells `intensity` (normal or strong); neutral recordings of the others are none, and the rest half.
"""

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from sottovoce import files
from sottovoce.config import recipe
from sottovoce.config.finetuning import Frozen
from sottovoce.data import folds
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.runs import Run
from sottovoce.data.task import Task
from sottovoce.metrics import calibration
from sottovoce.metrics.statistics import intervals
from sottovoce.metrics.temperature import Calibration, tempered
from sottovoce.modeling import hub
from sottovoce.modeling import network as models
from sottovoce.modeling.heads import Standardise
from sottovoce.modeling.solving import minimise
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.finetune import changed_copies
from sottovoce.pipeline.pooled import PooledStates

TASK = Task("class", ("emotion",), ("angry", "happy", "neutral", "sad"))
L2, L2_INTENSITY = 0.75, 3.0  # penalties, as `finetune.l2`
PRIOR = Frozen().speaker_prior
FEW = 20  # recordings of a class in a corpus that teach nothing about it
FOLDS = 3  # of speakers


@dataclass
class Heard:
    """Pooled states of a corpus (N, P), of changed copies (C, N, P), classes (N,), intensities (N,) 0 to 1."""

    corpus: Corpus
    utterances: list[Utterance]
    clean: np.ndarray
    changed: np.ndarray
    classes: np.ndarray
    intensity: np.ndarray

    @property
    def speakers(self) -> np.ndarray:
        return np.array([folds.person(u) for u in self.utterances])


def hear(corpus: Corpus, plan: Any, network: models.Network, init: models.Pretrained) -> Heard:
    store = track_store(corpus, plan.track, asdict(plan.track_config), quiet=False)
    pooled = PooledStates(network, plan, store)
    every = [u for u in corpus.utterances if u.id in store]
    said = [str(u.labels.get("emotion")) for u in every]
    chosen = [u for u, name in zip(every, said, strict=True) if name in TASK.classes and said.count(name) >= FEW]
    clean = pooled(Steps([(store, chosen)], plan.frontend, init.statistics))
    changed = np.zeros((plan.finetune.copies, *clean.shape), np.float32)
    for k, copy in enumerate(changed_copies(plan, corpus, store)):
        changed[k] = pooled(Steps([(copy, chosen)], plan.frontend, init.statistics))
    return Heard(corpus, chosen, clean, changed, TASK.values(chosen), intensities(chosen))


def intensities(utterances: list[Utterance]) -> np.ndarray:
    told = {"strong": 1.0, "normal": 0.0}
    return np.array([
        0.0 if u.labels["emotion"] == "neutral" else told.get(str(u.labels.get("intensity")), 0.5) for u in utterances
    ])  # fmt: skip


def fit(parts: list[Heard], rows: list[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Mean and deviation (P,), classes (4, P), (4,) and intensity (1, P), (1,), from some rows of each corpus."""
    z, y, strong, weights, barred, norms = [], [], [], [], [], []
    for h, r in zip(parts, rows, strict=True):
        size, who = np.bincount(h.classes[r], minlength=4), list(h.speakers[r])
        for x in (h.clean[r], *h.changed[:, r]):
            norms.append(Standardise(x.shape[1]))
            norms[-1].fit(torch.from_numpy(x), who)
            mean, std = norms[-1].of_speakers(x, who, PRIOR)
            z.append((x - mean) / std)
        times = 1 + len(h.changed)
        y.append(np.tile(h.classes[r], times))
        strong.append(np.tile(h.intensity[r], times))
        weights.append(np.tile(1 / size[h.classes[r]], times) / (times * np.count_nonzero(size)))
        barred.append(np.tile(np.where(size, 0.0, -1e4), (len(y[-1]), 1)))
    x, told, weight = np.concatenate(z).astype(np.float32), np.concatenate(strong), np.concatenate(weights)
    layer = regression(x, np.concatenate(y), weight / len(parts), np.concatenate(barred))
    both = np.concatenate([weight * (1 - told), weight * told])
    twice, kept = np.concatenate([x, x]), both > 0
    found = LogisticRegression(C=1 / L2_INTENSITY, max_iter=100, tol=1e-3).fit(
        twice[kept], np.repeat([0, 1], len(x))[kept], both[kept] / both.sum()
    )
    gauge = torch.from_numpy(found.coef_).float(), torch.from_numpy(found.intercept_).float()
    usual = torch.stack([n.mean for n in norms]).mean(0), torch.stack([n.std for n in norms]).mean(0)
    return (*usual, *layer, *gauge)


def regression(x: np.ndarray, y: np.ndarray, weights: np.ndarray, barred: np.ndarray) -> tuple[torch.Tensor, ...]:
    """Linear layer (4, P), (4,): logistic regression on rows x (N, P) of classes y (N,), whose weights sum to 1.

    `barred` (N, 4) is far below 0 for the classes that a row's corpus has not.
    """
    truth, without = torch.from_numpy(y), torch.from_numpy(barred).float()
    start = torch.zeros(4, x.shape[1]), torch.zeros(4)
    return minimise(
        lambda out: cross_entropy(out + without, truth, reduction="none"),
        torch.from_numpy(x), torch.from_numpy(weights).float(), L2, start,
    )  # fmt: skip


def answers(layer: tuple[torch.Tensor, ...], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4) and intensities (N,)."""
    mean, std, weight, bias, gauge, offset = layer
    z = (torch.from_numpy(x) - mean) / std
    return (z @ weight.T + bias).softmax(1).numpy(), (z @ gauge.T + offset).sigmoid()[:, 0].numpy()


def judged(name: str, heard: Heard, p: np.ndarray, temperature: float = 1.0) -> dict[str, Any]:
    """UA with its interval over speakers, and the calibration error."""
    found = intervals(TASK, heard.classes, p.argmax(1), heard.speakers)["ua"]
    ece = float(calibration.scores(calibration.terms(tempered(p, temperature), heard.classes).sum(0))["ece"])
    span = "" if found["low"] is None else f" [{found['low']:.3f}, {found['high']:.3f}]"
    print(f"{name}: UA {found['value']:.3f}{span}, ECE {ece:.3f}", flush=True)
    return {"test": name, "utterances": len(p), "ua": found, "ece": ece}


def within(parts: list[Heard]) -> list[dict[str, Any]]:
    """Speakers left out in turn, corpora all there."""
    out: list[np.ndarray] = [np.zeros((len(h.classes), 4)) for h in parts]
    strong = [np.zeros(len(h.classes)) for h in parts]
    for k in range(FOLDS):
        tests = [np.isin(h.speakers, sorted(set(h.speakers))[k::FOLDS]) for h in parts]
        layer = fit(parts, [np.flatnonzero(~t) for t in tests])
        for h, test, p, s in zip(parts, tests, out, strong, strict=True):
            p[test], s[test] = answers(layer, h.clean[test])
    rows = [judged(f"{h.corpus.name}, speakers left out", h, p) for h, p in zip(parts, out, strict=True)]
    for h, s in zip(parts, strong, strict=True):
        if (h.intensity == 1).any():
            rows.append({"test": f"{h.corpus.name}, strong over normal", "auc": auc(h, s)})
            print(rows[-1], flush=True)
    return rows


def auc(h: Heard, s: np.ndarray) -> float:
    """Of strong over normal renderings, within speaker and emotion; their mean."""
    pairs = []
    for speaker in np.unique(h.speakers):
        for emotion in range(4):
            own = (h.speakers == speaker) & (h.classes == emotion) & (TASK.classes[emotion] != "neutral")
            high, low = s[own & (h.intensity == 1)], s[own & (h.intensity == 0)]
            if len(high) and len(low):
                pairs.append((high[:, None] > low).mean())
    return float(np.mean(pairs))


def left_out(parts: list[Heard]) -> tuple[list[dict[str, Any]], Calibration]:
    """Each corpus by what the others teach; one temperature for all of them, corpora alike."""
    said = []
    for k, h in enumerate(parts):
        others = [p for j, p in enumerate(parts) if j != k]
        said.append(answers(fit(others, [np.arange(len(p.classes)) for p in others]), h.clean)[0])
    rng, least = np.random.default_rng(0), min(len(p) for p in said)
    rows = [rng.choice(len(p), least, replace=False) for p in said]
    p, y = (np.concatenate([values[r] for values, r in zip(all_of, rows, strict=True)])
            for all_of in (said, [h.classes for h in parts]))  # fmt: skip
    known = Calibration.fit(p, y)
    return [
        judged(f"{h.corpus.name}, left out", h, p, known.temperature) for h, p in zip(parts, said, strict=True)
    ], known


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("corpora", nargs="+", type=Path, help="folders written by `sottovoce prepare`")
    ask.add_argument("-o", "--out", type=Path, required=True)
    ask.add_argument("--judge", nargs="*", type=Path, default=[], help="other prepared corpora, tested alone")
    given = ask.parse_args()
    encoder = hub.load("default")
    plan = recipe.from_dict(encoder.config["settings"], "default")
    # as it was made and judged; what `finetune` does by default has moved on since
    plan = replace(plan, finetune=replace(plan.finetune, temporal_pooling="statistics", gate=False))
    init = models.load_pretrained(encoder)
    network = models.Network(init.backbone, plan.finetune, TASK.outputs)
    parts = [hear(Corpus.load(folder), plan, network, init) for folder in given.corpora]
    rows, known = left_out(parts) if len(parts) > 1 else ([], Calibration())
    rows += within(parts)
    layer = fit(parts, [np.arange(len(h.classes)) for h in parts])
    alone = replace(plan, finetune=replace(plan.finetune, copies=0))
    for folder in given.judge:
        h = hear(Corpus.load(folder), alone, network, init)
        rows.append(judged(f"{h.corpus.name}, never taught", h, answers(layer, h.clean)[0], known.temperature))
    network.standardise.mean.copy_(layer[0])
    network.standardise.std.copy_(layer[1])
    network.begin(layer[2], layer[3])
    run = Run.open(
        given.out,
        "finetune",
        plan,
        fold="all",
        features=init.run.config["features"],
        decides={"task": asdict(TASK), "train": [u.id for h in parts for u in h.utterances]},
        seen=folds.Seen.of([h.corpus for h in parts], [h.utterances for h in parts]),
        before=encoder,
        shipped_encoder=encoder.identity,
        task=TASK.plain(),
        init="default",
        corpus="",  # several, and not on the machine of whoever uses it
        seed=0,
        labels=sum(len(h.utterances) for h in parts),
        corpora=[h.corpus.name for h in parts],
        licence="CC BY-NC-SA 4.0",
    )
    gauge = torch.nn.Linear(layer[4].shape[1], 1)
    gauge.load_state_dict({"weight": layer[4], "bias": layer[5]})
    it = models.Recognised(network, init.statistics, plan, TASK, run, known, gauge)
    models.save_recognised(given.out, it, shipped=True)
    run.finish()
    names = " ".join(f"data/{h.corpus.name}" for h in parts)
    told = files.read_json(given.out / "config.json")
    told["made"]["command"] = f"make_default_model.py {names}"  # without the folders of whoever made it
    files.write_json(given.out / "config.json", told)
    files.write_json(given.out / "figures.json", rows)


if __name__ == "__main__":
    main()
