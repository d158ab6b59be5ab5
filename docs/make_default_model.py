"""Makes the model that comes with the package: sottovoce/weights/default_model.

    python docs/make_default_model.py data/ravdess data/nemo -o sottovoce/weights/default_model

Four classes that most corpora have, and an intensity, from one set of pooled states of the default encoder (see
`sottovoce finetune`): of every recording of the prepared corpora, and of one copy changed by noise, rooms, lines and
codecs. Corpora count alike, and classes within them. First it says what that is worth on a corpus that was left out,
and on speakers that were; the temperature of the shipped model is fitted on the corpora left out, since a user's
recordings are of another one.

The intensity is how far a voice is like a strong rendering rather than a normal or a neutral one, 0 to 1, learned
where a corpus tells `intensity` (normal or strong); neutral recordings of the others are none, and the rest half.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from sottovoce import files
from sottovoce.config import recipe
from sottovoce.data import folds
from sottovoce.data.augmented import Augmented
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.runs import Run
from sottovoce.data.task import Task
from sottovoce.metrics import calibration
from sottovoce.metrics.statistics import intervals
from sottovoce.metrics.temperature import Calibration, tempered
from sottovoce.modeling import hub
from sottovoce.modeling import network as models
from sottovoce.modeling.discriminant import discriminant, mean_with
from sottovoce.pipeline.extract import track_store
from sottovoce.pipeline.finetune import PooledStates
from sottovoce.tracks import base as tracks

TASK = Task("class", ("emotion",), ("angry", "happy", "neutral", "sad"))
L2, L2_INTENSITY = 0.9, 3.0  # penalties, as `finetune.l2`
FOLDS = 3  # of speakers


@dataclass
class Heard:
    """Pooled states of a corpus and of changed copies of it (N, P), classes (N,), intensities (N,) 0 to 1."""

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
    pooled = PooledStates(network, plan, store, init)
    every = [u for u in corpus.utterances if u.id in store]
    copy = Augmented(corpus, store, tracks.maker(plan.track).make, plan.track_config, 0)
    clean = pooled(Steps([(store, every)], plan.frontend, init.statistics))
    changed = pooled(Steps([(copy, every)], plan.frontend, init.statistics), 0)
    own = [k for k, u in enumerate(every) if u.labels.get("emotion") in TASK.classes]
    chosen = [every[k] for k in own]
    return Heard(corpus, chosen, clean[own], changed[own], TASK.values(chosen), intensities(chosen))


def intensities(utterances: list[Utterance]) -> np.ndarray:
    told = {"strong": 1.0, "normal": 0.0}
    return np.array([
        0.0 if u.labels["emotion"] == "neutral" else told.get(str(u.labels.get("intensity")), 0.5) for u in utterances
    ])  # fmt: skip


def repeats(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """How often each row of each (classes, rows) part is told, so that all parts are about as large."""
    most = max(len(y) for y, _ in parts)
    return np.concatenate([np.full(len(y), max(round(most / len(y)), 1)) for y, _ in parts])


def fit(parts: list[Heard], rows: list[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Mean and deviation (P,), classes (4, P), (4,) and intensity (1, P), (1,), from some rows of each corpus."""
    pairs = [(h.classes[r], r) for h, r in zip(parts, rows, strict=True)]
    often = np.tile(repeats(pairs), 2)
    x = np.concatenate([h.clean[r] for h, r in zip(parts, rows, strict=True)]
                       + [h.changed[r] for h, r in zip(parts, rows, strict=True)])  # fmt: skip
    y = np.tile(np.concatenate([y for y, _ in pairs]), 2)
    strong = np.tile(np.concatenate([h.intensity[r] for h, r in zip(parts, rows, strict=True)]), 2)
    mean, std = x.mean(0), np.maximum(x.std(0), 1e-4)
    z = (x - mean) / std
    size = np.array([often[y == c].sum() for c in range(4)])
    weight, bias = regression(z, y, often / size[y], L2)
    told = np.repeat(np.arange(len(y)), often)
    rows_told = torch.from_numpy(z[told]).float()
    layer = mean_with(weight, bias, rows_told, discriminant(rows_told, torch.from_numpy(y[told]), 4), 0.5)
    both = np.concatenate([z, z]), np.repeat([0, 1], len(z)), np.concatenate([often * (1 - strong), often * strong])
    kept = both[2] > 0
    gauge, offset = regression(both[0][kept], both[1][kept], both[2][kept], L2_INTENSITY)
    return (torch.from_numpy(mean).float(), torch.from_numpy(std).float(), *layer, gauge, offset)


def regression(x: np.ndarray, y: np.ndarray, weights: np.ndarray, l2: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Linear layer (K, P), (K,), of two classes (1, P), (1,); the mean loss is penalised, as `finetune` does."""
    found = LogisticRegression(C=1 / l2, max_iter=100, tol=1e-3).fit(x.astype(np.float32), y, weights / weights.sum())
    return torch.from_numpy(found.coef_).float(), torch.from_numpy(found.intercept_).float()


def answers(layer: tuple[torch.Tensor, ...], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4) and intensities (N,)."""
    mean, std, weight, bias, gauge, offset = layer
    z = (torch.from_numpy(x) - mean) / std
    return (z @ weight.T + bias).softmax(1).numpy(), (z @ gauge.T + offset).sigmoid()[:, 0].numpy()


def judged(name: str, heard: Heard, p: np.ndarray, temperature: float = 1.0) -> dict[str, Any]:
    """UA with its interval over speakers, and the calibration error."""
    found = intervals(TASK, heard.classes, p.argmax(1), heard.speakers)["ua"]
    ece = float(calibration.scores(calibration.terms(tempered(p, temperature), heard.classes).sum(0))["ece"])
    print(f"{name}: UA {found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}], ECE {ece:.3f}", flush=True)
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
    given = ask.parse_args()
    encoder = hub.load("default")
    plan = recipe.from_dict(encoder.config["settings"], "default")
    init = models.load_pretrained(encoder)
    network = models.Network(init.backbone, plan.finetune, TASK.outputs)
    parts = [hear(Corpus.load(folder), plan, network, init) for folder in given.corpora]
    rows, known = left_out(parts) if len(parts) > 1 else ([], Calibration())
    rows += within(parts)
    layer = fit(parts, [np.arange(len(h.classes)) for h in parts])
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
