"""Masked timesteps on an encoder's states, and which steps to mask: two studies that share one pre-training.

    python docs/systems/masked.py bands --prepared ravdess=data/ravdess nemo=data/nemo -o out [--device cuda]
    python docs/systems/masked.py ... --abroad --device cpu --pretrain 3600 --mel 0

1. Masked timesteps (arXiv:2307.12343): 2 x 256 transformer over the default encoder's second block at 25 Hz, 40 % of
   the steps hidden in spans of 200 ms. All speech without labels, of the tested corpus the fold's training part alone.
   Then 1 to 100 % of the labels: the linear probe, and from its solution all weights. Beside it the identical network
   from random weights, and the linear probe on the features alone.
2. EMS (arXiv:2406.06646): the same pre-training, on states and on log-mel, with spans where the voice is loud or where
   a ranking of emotional over neutral frames says that the emotion is strong, as many of them; frozen linear probe.

With `--abroad` a pre-training hears neither of the tested corpora, so that all folds of both share it: an eighth of the
work, for machines without a GPU. Strength is then ranked by the other corpus. `--ways` asks what else might help, three
seeds each, abroad: how much is hidden, in which spans, what is guessed, how deep the network is.

All models of all folds and seeds are trained side by side (`many.py`). `--pretrain` and `--mel` bound the seconds of
both pre-trainings; results are written as they come, answers for every recording by the fold that tests its speaker.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import many
import numpy as np
import torch
from speech import Speech, encoder, folds
from torch import Tensor

from sottovoce.backbones.transformer import sinusoids
from sottovoce.data.subsets import nested_subsets
from sottovoce.metrics import relative_attributes
from sottovoce.modeling import checkpoint

WIDTH, LAYERS, HEADS, FEEDFORWARD = 256, 2, 4, 1024
CROP, LONG = 80, 128  # steps of 40 ms
ROWS = 32  # recordings in an update
SHARES = (0.01, 0.05, 0.10, 0.25, 0.50, 1.0)  # of the labels
UPDATES = (20, 60, 80, 120, 200, 300)  # of fine-tuning, at each share
RATES = (2e-4, 1e-3)
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
IN_DOMAIN = 3.0  # how much oftener the tested corpus's own training part is heard
SEEDS, RULE_SEEDS = 5, 3
RULES = ("random", "energy", "strength")
WAY_SHARES = (0.01, 0.05, 0.10, 1.0)  # of the labels, where ways are compared
DEPTHS = (1, 4)  # blocks, beside `LAYERS`
ABROAD = -1  # in the place of a fold: taught without the tested corpora
BOTH = "both"  # in the place of a corpus: abroad, where rules ask for no label
ARMS = ("pretrained", "scratch")


@dataclass(frozen=True)
class Way:
    """What a pre-training hides, and what it has to guess there."""

    share: float = 0.4  # of the steps that is hidden
    span: int = 5  # steps
    above: bool = False  # guesses the fourth block instead of what it hears, the second


USUAL = Way()
WAYS = {
    "a fifth hidden": Way(share=0.2),
    "three fifths hidden": Way(share=0.6),
    "spans of 80 ms": Way(span=2),
    "spans of 400 ms": Way(span=10),
    "fourth block guessed": Way(above=True),
}


@dataclass
class Corpus:
    name: str
    rows: np.ndarray  # (N,) of the speech
    y: np.ndarray
    speakers: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # train, dev, test: 0 .. N - 1
    classes: int


@dataclass
class Pool:
    """Features of all recordings, (F, D) half precision, at 25 Hz."""

    values: Tensor
    begins: Tensor
    lengths: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

    def take(self, rows: Tensor, crop: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (M, B) -> features (M, B, crop, D), lengths (M, B), where they lie (M, B, crop); from the beginning
        without `rng`."""
        whole = self.lengths[rows]
        lengths = whole.clamp_max(crop)
        begins = self.begins[rows]
        if rng is not None:
            room = (whole - lengths).float()
            begins = begins + (torch.rand(rows.shape, generator=rng, device=rows.device) * (room + 1)).long().clamp_max(
                room.long()
            )
        at = begins[..., None] + torch.arange(crop, device=rows.device)
        return self.values[at.clamp_max(len(self.values) - 1)], lengths, at


@dataclass
class Models:
    """What sets M models apart."""

    corpus: list[str]
    fold: list[int]
    seed: list[int]
    rule: list[str]

    def __len__(self) -> int:
        return len(self.fold)

    def __add__(self, other: "Models") -> "Models":
        return Models(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def ways(self) -> list[Way]:
        return [WAYS.get(rule, USUAL) for rule in self.rule]

    def where(self, corpus: Corpus, rule: str, seeds: int, abroad: bool = False) -> list[int]:
        """Those of a corpus and rule, fold by fold, seeds within; those abroad if asked for, or if it has no others."""
        at = {key: m for m, key in enumerate(zip(self.corpus, self.fold, self.rule, self.seed, strict=True))}
        if abroad or (corpus.name, 0, rule, 0) not in at:
            name = corpus.name if rule == "strength" else BOTH
            return [at[name, ABROAD, rule, s] for _ in corpus.folds for s in range(seeds)]
        return [at[corpus.name, f, rule, s] for f in range(len(corpus.folds)) for s in range(seeds)]


class Bed:
    """Everything that lies on the device: recordings, features, folds."""

    def __init__(self, bands: Path, prepared: dict[str, Path], device: str):
        self.device = device
        self.speech = Speech.load(bands, device)
        s = self.speech
        ids, corpora = s.column("id"), s.column("corpus")
        self.corpora = {}
        for name, folder in prepared.items():
            rows = np.flatnonzero(corpora == name)
            place = {ids[r]: k for k, r in enumerate(rows)}
            labels = s.column("emotion")[rows]
            names = np.unique(labels)
            parts = [
                tuple(np.array([place[i] for i in f[part] if i in place]) for part in ("train", "dev", "test"))
                for f in folds(folder)
            ]
            self.corpora[name] = Corpus(
                name, rows, np.searchsorted(names, labels), s.column("speaker")[rows], parts, len(names)
            )
        steps = torch.from_numpy(s.frames // 4).to(device)
        begins = steps.cumsum(0) - steps
        self.total = int(steps.sum())
        self.states, self.pooled = self.encode(begins)
        self.bands = Pool(s.mel.float().unflatten(0, (-1, 4)).mean(1).half(), begins, steps)
        level = torch.from_numpy(s.level.reshape(-1, 4).mean(1)).to(device)
        self.energy = level.float()
        self.owner = torch.repeat_interleave(torch.arange(len(steps), device=device), steps)

    @torch.no_grad()
    def encode(self, begins: Tensor) -> tuple[Pool, np.ndarray]:
        """States of blocks 2, 1 and 4 at 25 Hz, and mean and deviation of all four at 50 Hz (N, 4, 1024)."""
        s, net = self.speech, encoder(self.device)
        kept = {k: torch.empty(self.total, 512, dtype=torch.half, device=self.device) for k in (1, 2, 4)}
        pooled = np.zeros((len(s.rows), 4, 1024), np.float16)
        lengths25 = torch.from_numpy(s.frames // 4).to(self.device)
        for some, x, lengths in s.batches(np.arange(len(s.rows))):
            with torch.autocast(self.device, torch.bfloat16):
                layers = [h.float() for h in net(x, lengths).layers[1:]]
            each = [many.pooled([h[None]], lengths[None] // 2)[0] for h in layers]
            pooled[some] = torch.stack(each, 1).half().cpu().numpy()
            at = begins[torch.from_numpy(some).to(self.device)][:, None] + torch.arange(
                x.shape[1] // 4, device=self.device
            )
            valid = torch.arange(at.shape[1], device=self.device) < (lengths // 4)[:, None]
            for k, values in kept.items():
                values[at[valid]] = ((layers[k - 1][:, 0::2] + layers[k - 1][:, 1::2]) / 2)[valid].half()
        return Pool(kept[2], begins, lengths25, {"first": kept[1], "fourth": kept[4]}), pooled

    def heard(self, corpus: str, fold: int) -> np.ndarray:
        """(N,) how often a recording is heard in pre-training, against the others."""
        corpora = self.speech.column("corpus")
        other = ~np.isin(corpora, list(self.corpora)) if fold == ABROAD else corpora != corpus
        weight = self.speech.frames.astype(np.float64) * other
        if fold != ABROAD:
            c = self.corpora[corpus]
            train = c.rows[c.folds[fold][0]]
            weight[train] = self.speech.frames[train] * IN_DOMAIN
        return weight

    def strength(self, abroad: bool) -> dict[tuple[str, int], Tensor]:
        """How strong an emotion every step shows, (F,), by rankings that know no tested actor: of a fold of RAVDESS by
        its training actors, of nEMO by all of RAVDESS, abroad by the other corpus. Mean over the emotions, over 200 ms.
        """

        def ranking(of: tuple[str, np.ndarray]) -> Tensor:
            c, train = self.corpora[of[0]], of[1]
            x = self.pooled[c.rows[train], 0, :512].astype(np.float64)  # means of the first block
            neutral = int(np.flatnonzero(np.unique(self.speech.column("emotion")[c.rows]) == "neutral")[0])
            scale = relative_attributes.Scale.of(x)
            z, y = scale(x), c.y[train]
            weights = []
            for emotion in sorted(set(y) - {neutral}):
                w = relative_attributes.fit(z[y == emotion], z[y == neutral]).weight
                weights.append(w / (z @ w).std())
            w = torch.from_numpy(np.mean(weights, 0) / scale.std).float().to(self.device)
            raw = torch.cat([part.float() @ w for part in self.states.extra["first"].split(200_000)])
            return torch.nn.functional.avg_pool1d(raw[None, None], 5, 1, 2)[0, 0]

        ravdess, nemo = (self.corpora[name] for name in ("ravdess", "nemo"))
        whole = {c.name: (c.name, np.arange(len(c.rows))) for c in (ravdess, nemo)}
        if abroad:
            wanted = {("ravdess", ABROAD): whole["nemo"], ("nemo", ABROAD): whole["ravdess"]}
        else:
            wanted = {("ravdess", k): ("ravdess", train) for k, (train, _, _) in enumerate(ravdess.folds)}
            wanted |= {("nemo", k): whole["ravdess"] for k in range(len(nemo.folds))}
        once = {(name, len(train), int(train.sum())): (name, train) for name, train in wanted.values()}
        with ThreadPoolExecutor(8) as pool:
            found = dict(zip(once, pool.map(ranking, once.values()), strict=True))
        return {key: found[name, len(train), int(train.sum())] for key, (name, train) in wanted.items()}


def spans(lengths: Tensor, score: Tensor, chance: Tensor, ways: Sequence[Way], rng: torch.Generator) -> Tensor:
    """(M, B, S) bool: spans on a grid of random phase that cover each model's share; where `chance` (M,) is False those
    of the highest mean score (M, B, S)."""
    many_, rows, steps = score.shape
    at = torch.arange(steps, device=score.device)
    span = torch.tensor([way.span for way in ways], device=score.device)[:, None, None]
    share = torch.tensor([way.share for way in ways], device=score.device)[:, None]
    phase = (torch.rand(many_, rows, 1, generator=rng, device=score.device) * span).long()
    block = (at + phase) // span
    blocks = steps // min(way.span for way in ways) + 1
    valid = (at < lengths[..., None]).float()
    size = torch.zeros(many_, rows, blocks, device=score.device).scatter_add_(2, block, valid)
    mean = torch.zeros_like(size).scatter_add_(2, block, score * valid) / size.clamp_min(1)
    luck = torch.rand(size.shape, generator=rng, device=score.device)
    key = torch.where(chance[:, None, None], luck, mean).masked_fill(size < span / 2, -torch.inf)
    rank = key.argsort(2, descending=True).argsort(2)
    wanted = (share * lengths / span[..., 0]).round().clamp_min(1)[..., None]
    return (rank < wanted).gather(2, block) & (valid > 0)


def network(models: Models, features: int, layers: int = LAYERS) -> many.Transformer:
    """The models' networks; those of a seed begin alike."""
    torch.manual_seed(0)
    seeds = many.Transformer(max(models.seed) + 1, WIDTH, layers, HEADS, FEEDFORWARD, features)
    net = many.Transformer(len(models), WIDTH, layers, HEADS, FEEDFORWARD, features)
    net.load_state_dict(many.of_each(seeds, models.seed))
    return net


def statistics(bed: Bed, pool: Pool, models: Models) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the features that each model hears, (M, D)."""
    sums = [torch.zeros(len(pool.lengths), pool.values.shape[1], device=bed.device) for _ in range(2)]
    for part in torch.arange(bed.total, device=bed.device).split(200_000):
        x = pool.values[part].float()
        sums[0].index_add_(0, bed.owner[part], x)
        sums[1].index_add_(0, bed.owner[part], x.square())
    found = {}
    for key in set(zip(models.corpus, models.fold, strict=True)):
        inside = torch.from_numpy(bed.heard(*key) > 0).to(bed.device)
        count = pool.lengths[inside].sum()
        mean = sums[0][inside].sum(0) / count
        found[key] = mean, (sums[1][inside].sum(0) / count - mean**2).clamp_min(1e-6).sqrt()
    rows = [found[key] for key in zip(models.corpus, models.fold, strict=True)]
    return torch.stack([m for m, _ in rows]), torch.stack([s for _, s in rows])


def normalised(x: Tensor, lengths: Tensor, stats: tuple[Tensor, Tensor]) -> Tensor:
    mean, std = (s[:, None, None].half() for s in stats)
    valid = torch.arange(x.shape[2], device=x.device) < lengths[..., None]
    return ((x - mean) / std).clamp(-10, 10) * valid[..., None]


def pretrain(
    bed: Bed,
    pool: Pool,
    models: Models,
    stats: tuple[Tensor, Tensor],
    strength: dict,
    seconds: float,
    most: int,
    layers: int = LAYERS,
) -> tuple[many.Transformer, dict]:
    """As many updates as fit into the seconds, `most` at most; the network and what is to be said of it."""
    features, device, total = pool.values.shape[1], bed.device, len(models)
    net = network(models, features, layers).to(device)
    predict = many.Linear(total, WIDTH, features).to(device)
    place = sinusoids(LONG, WIDTH).to(device)
    rng = torch.Generator(device).manual_seed(1)
    keys = list(zip(models.corpus, models.fold, strict=True))
    weights = {key: torch.from_numpy(bed.heard(*key)).float().to(device) for key in set(keys)}
    scales = torch.stack([bed.energy, *strength.values()])  # what spans are chosen by
    places = {key: 1 + n for n, key in enumerate(strength)}
    which = torch.tensor([places[key] if r == "strength" else 0 for key, r in zip(keys, models.rule, strict=True)])
    which = which.to(device)[:, None, None]
    chance = torch.tensor([rule not in ("energy", "strength") for rule in models.rule], device=device)
    above = torch.tensor([m for m, way in enumerate(models.ways) if way.above], device=device, dtype=torch.long)
    if len(above):
        some = Models(*([getattr(models, name)[m] for m in above] for name in ("corpus", "fold", "seed", "rule")))
        higher = Pool(pool.extra["fourth"], pool.begins, pool.lengths)
        above_stats = statistics(bed, higher, some)
    said: dict = {"loss": [], "coverage": None}
    optimiser, began, k = many.AdamW([(net, 1e-3), (predict, 1e-3)], most), time.monotonic(), 0
    while k < most:
        if k == 30:
            synchronise(device)
            steady = time.monotonic()
        if k == 60:
            synchronise(device)
            each = (time.monotonic() - steady) / 30
            fit = (seconds - (time.monotonic() - began)) / each
            most = optimiser.updates = int(min(most, k + fit))
            print(f"{total} models, {each * 1e3:.1f} ms an update, {most} updates", flush=True)
        drawn = {key: torch.multinomial(w, ROWS * keys.count(key), True, generator=rng) for key, w in weights.items()}
        rows = spread(drawn, keys)
        x, lengths, at = pool.take(rows, CROP, rng)
        x = normalised(x, lengths, stats)
        at = at.clamp_max(bed.total - 1)
        mask = spans(lengths, scales[which, at], chance, models.ways, rng)
        target = x.float()
        if len(above):
            target[above] = normalised(higher.values[at[above]], lengths[above], above_stats).float()
        with torch.autocast(device, torch.bfloat16):
            h = net(x.masked_fill(mask[..., None], 0), lengths, place)[-1]
            guess = predict(h)
        error = (guess.float() - target).abs().mean(-1) * mask
        loss = error.sum((1, 2)) / mask.sum((1, 2))
        optimiser.step(loss.sum())
        if k % 50 == 0 or k == most - 1:
            naught = (target.abs().mean(-1) * mask).sum((1, 2)) / mask.sum((1, 2))
            said["loss"].append((loss / naught).detach())
            said["coverage"] = mask.sum((1, 2)) / lengths.sum(1)
        k += 1
    said["loss"] = torch.stack(said["loss"][-5:]).mean(0).cpu().numpy()
    said["coverage"] = said["coverage"].cpu().numpy()
    said["updates"], said["seconds"] = k, time.monotonic() - began
    return net, said


def spread(drawn: dict, keys: Sequence) -> Tensor:
    """Rows drawn for all models of a corpus and fold, as (M, ROWS)."""
    parts = {key: iter(rows.split(ROWS)) for key, rows in drawn.items()}
    return torch.stack([next(parts[key]) for key in keys])


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def answers(net: many.Transformer, pool: Pool, rows: Tensor, stats: tuple[Tensor, Tensor]) -> Tensor:
    """Pooled states (M, N, P) of rows (M, N)."""
    place, found = sinusoids(LONG, WIDTH).to(rows.device), []
    few = max(200_000 // (len(rows) * LONG), 1)
    for part in rows.split(few, 1):
        longest = -(-min(int(pool.lengths[part].max()), LONG) // 8) * 8
        x, lengths, _ = pool.take(part, longest)
        with torch.autocast(rows.device.type, torch.bfloat16):
            states = net(normalised(x, lengths, stats), lengths, place)
        found.append(many.pooled(states, lengths))
    return torch.cat(found, 1)


def of_feature(pool: Pool, rows: Tensor) -> Tensor:
    """Mean and deviation of the features themselves, (N, 2 D)."""
    found = []
    for part in rows.split(500):
        x, lengths, _ = pool.take(part[None], int(pool.lengths[part].max()))
        found.append(many.pooled([x], lengths)[0])
    return torch.cat(found)


class Study:
    """The curves of one corpus: models fold by fold, seeds within."""

    def __init__(self, bed: Bed, pool: Pool, corpus: Corpus, seeds: int, out: Path):
        self.bed, self.pool, self.corpus, self.seeds, self.out = bed, pool, corpus, seeds, out
        self.rows = torch.from_numpy(corpus.rows).to(bed.device)
        self.keys = [(f, s) for f in range(len(corpus.folds)) for s in range(seeds)]
        self.y = torch.from_numpy(corpus.y).to(bed.device)
        least = min(len(train) for train, _, _ in corpus.folds)
        self.sizes = [max(round(share * least), 1) for share in SHARES]
        self.subsets = {}
        for f, s in self.keys:
            train = corpus.folds[f][0]
            some = nested_subsets(corpus.y[train], self.sizes, s, corpus.speakers[train])
            self.subsets[f, s] = [train[k] for k in some]
        self.dev, self.dev_valid = self.padded(1)
        self.test, self.test_valid = self.padded(2)
        self.found: dict[str, np.ndarray] = {}

    def padded(self, part: int) -> tuple[Tensor, Tensor]:
        own = [self.corpus.folds[f][part] for f, _ in self.keys]
        longest = max(map(len, own))
        index = np.stack([np.resize(rows, longest) for rows in own])
        valid = np.stack([np.arange(longest) < len(rows) for rows in own])
        return torch.from_numpy(index).to(self.bed.device), torch.from_numpy(valid).to(self.bed.device)

    def standardised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(M, N, P) by the training part of each fold; and mean and deviation (M, P)."""
        means, stds = [], []
        for m, (f, _) in enumerate(self.keys):
            own = x[m, torch.from_numpy(self.corpus.folds[f][0]).to(x.device)]
            means.append(own.mean(0))
            stds.append(own.std(0).clamp_min(1e-5))
        mean, std = torch.stack(means), torch.stack(stds)
        return (x - mean[:, None]) / std[:, None], mean, std

    def chosen(self, k: int) -> Tensor:
        """(M, n) rows with labels."""
        return torch.from_numpy(np.stack([self.subsets[key][k] for key in self.keys])).to(self.bed.device)

    def keep(self, arm: str, k: int, scores: Tensor) -> None:
        """Test scores (M, T, K)."""
        table = self.found.setdefault(arm, np.full((self.seeds, len(SHARES), len(self.corpus.y)), -1, np.int8))
        best = scores.argmax(-1).cpu().numpy()
        for m, (f, s) in enumerate(self.keys):
            test = self.corpus.folds[f][2]
            table[s, k, test] = best[m, : len(test)]

    def probe(self, arm: str, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The linear probe on standardised features (M, N, P); its weight (M, K, P) and bias."""
        labelled = self.chosen(k)
        w, b = many.logistic(gathered(x, labelled), self.y[labelled], self.corpus.classes, PENALTIES)
        dev = torch.einsum("mnp,mlkp->lmnk", gathered(x, self.dev), w) + b.transpose(0, 1)[:, :, None]
        best = many.dev_score(dev, self.y[self.dev], self.dev_valid).argmax(0)  # (M,)
        at = torch.arange(len(best), device=best.device)
        w, b = w[at, best], b[at, best]
        self.keep(arm, k, torch.einsum("mnp,mkp->mnk", gathered(x, self.test), w) + b[:, None])
        return w, b

    def finetune(self, arms: Sequence[str], nets: list[dict], heads: list, beside: Tensor | None, k: int) -> None:
        """From the probes' solutions, all weights of several arms at once; dev chooses rate and moment.

        Args:
            nets: weights of each arm; heads: weight, bias, mean, deviation of each.
            beside: (N, P) pooled features that stand beside the pooled states.
        """
        device, times = self.bed.device, len(arms)
        stats = tuple(torch.cat([s] * times) for s in self.stats)
        labelled, dev, test = (torch.cat([part] * times) for part in (self.chosen(k), self.dev, self.test))
        valid = torch.cat([self.dev_valid] * times)
        both, devs = torch.cat([dev, test], 1), dev.shape[1]
        place = sinusoids(LONG, WIDTH).to(device)
        best, kept = None, None
        mean, std = (torch.cat([h[i] for h in heads])[:, None] for i in (2, 3))

        def scores(pooled: Tensor, rows: Tensor, head: many.Linear) -> Tensor:
            x = pooled if beside is None else torch.cat([beside[rows], pooled], -1)
            with torch.autocast(device, enabled=False):
                return head((x - mean) / std)

        for rate in RATES:
            net = many.Transformer(len(labelled), WIDTH, LAYERS, HEADS, FEEDFORWARD, self.pool.values.shape[1])
            net.load_state_dict({name: torch.cat([own[name] for own in nets]) for name in nets[0]})
            head = many.Linear(len(labelled), mean.shape[-1], self.corpus.classes)
            head.load_state_dict({"weight": torch.cat([h[0] for h in heads]), "bias": torch.cat([h[1] for h in heads])})
            net, head = net.to(device), head.to(device)
            rng = torch.Generator(device).manual_seed(2)
            optimiser = many.AdamW([(net, rate), (head, rate)], UPDATES[k])
            for update in range(UPDATES[k] + 1):
                if update % (UPDATES[k] // 4) == 0 and (update or rate == RATES[0]):
                    with torch.no_grad():
                        both_scores = scores(answers(net, self.pool, self.rows[both], stats), both, head)
                    select = many.dev_score(both_scores[:, :devs], self.y[dev], valid)
                    if best is None:
                        best, kept = select, both_scores[:, devs:].clone()
                    better = select > best
                    best = torch.where(better, select, best)
                    kept[better] = both_scores[better][:, devs:]
                if update == UPDATES[k]:
                    break
                draw = torch.randint(labelled.shape[1], (len(labelled), ROWS), generator=rng, device=device)
                some = labelled.gather(1, draw)
                x, lengths, _ = self.pool.take(self.rows[some], CROP, rng)
                with torch.autocast(device, torch.bfloat16):
                    states = net(normalised(x, lengths, stats), lengths, place)
                out = scores(many.pooled(states, lengths), some, head)
                loss = torch.nn.functional.cross_entropy(out.flatten(0, 1), self.y[some].flatten(), reduction="none")
                optimiser.step(loss.unflatten(0, some.shape).mean(1).sum())
        for arm, part in zip(arms, kept.chunk(times), strict=True):
            self.keep(arm, k, part)

    def save(self) -> None:
        np.savez_compressed(
            self.out, sizes=self.sizes, y=self.corpus.y.astype(np.int8), speakers=self.corpus.speakers, **self.found
        )

    def begin(self, models: Models, net: many.Transformer, stats: tuple[Tensor, Tensor]) -> None:
        """All linear probes, and what fine-tuning begins with."""
        own = models.where(self.corpus, "random", self.seeds)
        self.stats = tuple(s[own] for s in stats)
        taught, untaught = (few_of(models, own, self.pool, self.bed.device, n) for n in (net, None))
        self.nets = [many.of_each(n, range(len(own))) for n in (taught, untaught)]
        self.features = of_feature(self.pool, self.rows)
        beside = self.features.expand(len(own), -1, -1)
        x, _, _ = self.standardised(beside)
        for k in range(len(SHARES)):
            self.probe("features", x, k)
        self.heads: dict = {}
        for arm, weights in zip(ARMS, (net, None), strict=True):
            states = states_of(models, own, self.pool, self.rows, stats, weights)
            for name, raw in ((arm, states), (f"features+{arm}", torch.cat([beside, states], -1))):
                x, mean, std = self.standardised(raw)
                for k in range(len(SHARES)):
                    self.heads[name, k] = (*self.probe(f"{name}, frozen", x, k), mean, std)
        self.save()

    def finetune_all(self, prefix: str, until: float) -> None:
        """The curves of both arms, with the features beside the states ("features+") or without (""), while there is
        time."""
        for k in range(len(SHARES)):
            if time.time() > until:
                print(f"{self.corpus.name}: no time for {prefix}fine-tuning at {SHARES[k]:.0%}", flush=True)
                break
            names = [prefix + arm for arm in ARMS]
            heads = [self.heads[name, k] for name in names]
            self.finetune(names, self.nets, heads, self.features if prefix else None, k)
            self.save()


def gathered(x: Tensor, rows: Tensor) -> Tensor:
    """(M, N, P), (M, n) -> (M, n, P)."""
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))


def states_of(
    models: Models, own: list[int], pool: Pool, rows: Tensor, stats: tuple, net: many.Transformer | None
) -> Tensor:
    """Pooled states (M, N, P) of rows (N,) by some of the models; one that stands there often is asked once."""
    once, place = np.unique(own, return_inverse=True)
    made = few_of(models, once.tolist(), pool, str(rows.device), net)
    found = answers(made, pool, rows.expand(len(once), -1), tuple(s[once] for s in stats))
    return found[torch.from_numpy(place).to(found.device)]


def few_of(models: Models, own: list[int], pool: Pool, device: str, net: many.Transformer | None) -> many.Transformer:
    """Some of the models' networks, as `net` has them; without it as they began."""
    columns = ([getattr(models, name)[m] for m in own] for name in ("corpus", "fold", "seed", "rule"))
    found = network(Models(*columns), pool.values.shape[1], LAYERS if net is None else len(net.blocks))
    if net is not None:
        found.load_state_dict(many.of_each(net, own))
    return found.to(device)


def rules(bed: Bed, pool: Pool, models: Models, net: many.Transformer, stats: tuple, out: Path) -> None:
    """The frozen linear probe with all labels on what every rule has taught, and on random weights."""
    for corpus in bed.corpora.values():
        study = Study(bed, pool, corpus, RULE_SEEDS, out.with_name(f"{out.name}_{corpus.name}.npz"))
        last = len(SHARES) - 1
        features = of_feature(pool, study.rows)
        x, _, _ = study.standardised(features.expand(len(study.keys), -1, -1))
        study.probe("features", x, last)
        for rule in (*RULES, "random weights"):
            own = models.where(corpus, rule if rule in RULES else "random", RULE_SEEDS)
            states = states_of(models, own, pool, study.rows, stats, net if rule in RULES else None)
            x, _, _ = study.standardised(states)
            study.probe(rule, x, last)
            x, _, _ = study.standardised(torch.cat([features.expand(len(own), -1, -1), states], -1))
            study.probe(f"features+{rule}", x, last)
        study.save()


def ways(
    bed: Bed, pool: Pool, models: Models, net: many.Transformer, stats: tuple, deep: dict[int, tuple], out: Path
) -> None:
    """Frozen linear probes on what every way has taught, alone and (few labels) beside the features."""
    for corpus in bed.corpora.values():
        study = Study(bed, pool, corpus, RULE_SEEDS, out.with_name(f"{out.name}_{corpus.name}.npz"))
        features = of_feature(pool, study.rows)
        beside = features.expand(len(study.keys), -1, -1)
        abroad = [(rule, models, net, stats, True) for rule in ("random", *WAYS)]
        arms = [("random weights", models, None, stats, True), *abroad]
        arms += [(f"{layers} blocks", *found, True) for layers, found in deep.items()]
        if ABROAD in models.fold and len(set(models.fold)) > 1:
            arms.append(("in domain", models, net, stats, False))
        every_share = [k for k, share in enumerate(SHARES) if share in WAY_SHARES]
        x, _, _ = study.standardised(beside)
        for k in every_share:
            study.probe("features", x, k)
        for name, own_models, own_net, own_stats, away in arms:
            rule = name if name in WAYS else "random"
            own = own_models.where(corpus, rule, RULE_SEEDS, away)
            states = states_of(own_models, own, pool, study.rows, own_stats, own_net)
            for prefix, raw, shares in (
                ("", states, every_share),
                ("features+", torch.cat([beside, states], -1), every_share[:-1]),
            ):
                x, _, _ = study.standardised(raw)
                for k in shares:
                    study.probe(prefix + name, x, k)
            study.save()


def every(bed: Bed, seeds: dict[str, int], abroad: bool) -> Models:
    """One model for every corpus, fold, rule and seed; abroad for every rule and seed, of strength for every corpus."""
    if abroad:
        shared = [(BOTH, ABROAD, s, rule) for rule, count in seeds.items() for s in range(count) if rule != "strength"]
        own = [(name, ABROAD, s, "strength") for name in bed.corpora for s in range(seeds.get("strength", 0))]
        return Models(*map(list, zip(*shared, *own, strict=True)))
    rows = [
        (name, f, s, rule)
        for name, corpus in bed.corpora.items()
        for rule, count in seeds.items()
        for f in range(len(corpus.folds))
        for s in range(count)
    ]
    return Models(*map(list, zip(*rows, strict=True)))


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("bands", type=Path)
    ask.add_argument("--prepared", nargs="+", required=True, help="NAME=FOLDER of prepared corpora")
    ask.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ask.add_argument("--rules", default=",".join(RULES), help="which steps are hidden")
    ask.add_argument("--ways", action="store_true", help="what else might help pre-training")
    ask.add_argument("--abroad", action="store_true", help="one pre-training for all folds, without the tested corpus")
    ask.add_argument("--pretrain", type=float, default=70.0, help="seconds on states")
    ask.add_argument("--mel", type=float, default=40.0, help="seconds on log-mel")
    ask.add_argument("--updates", type=int, default=6000, help="of a pre-training at most")
    ask.add_argument("--until", type=float, default=float("inf"), help="seconds since 1970 at which to stop")
    ask.add_argument("-o", "--out", type=Path, required=True)
    given, began = ask.parse_args(), time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)

    given.out.mkdir(parents=True, exist_ok=True)
    bed = Bed(given.bands, {n: Path(f) for n, f in (p.split("=", 1) for p in given.prepared)}, given.device)
    say(f"{len(bed.speech.rows)} pieces, {bed.total / 90_000:.2f} h encoded")
    for name, c in bed.corpora.items():
        layers = slice(None) if name == "ravdess" else slice(0, 1)
        level = np.array([bed.speech.level[b : b + n].mean() for b, n in
                          zip(bed.speech.begins[c.rows], bed.speech.frames[c.rows], strict=True)])  # fmt: skip
        columns = {key: bed.speech.column(key)[c.rows] for key in ("id", "speaker", "emotion", "intensity")}
        np.savez(given.out / f"pooled_{name}.npz", pooled=bed.pooled[c.rows][:, layers], level=level, **columns)
    asked = given.rules.split(",")
    strength = bed.strength(given.abroad) if "strength" in asked else {}
    models = every(bed, {rule: SEEDS if rule == "random" else RULE_SEEDS for rule in asked}, given.abroad)
    if given.ways:
        models = models + every(bed, dict.fromkeys(("random", *WAYS)[given.abroad :], RULE_SEEDS), True)
    stats = statistics(bed, bed.states, models)
    kept = given.out / "states.safetensors"
    if kept.exists():
        net = network(models, bed.states.values.shape[1]).to(given.device)
        net.load_state_dict(checkpoint.load_tensors(kept))
        say(f"{kept} is gone on with")
    else:
        net, said = pretrain(bed, bed.states, models, stats, strength, given.pretrain, given.updates)
        note(given.out / "pretrain_states.npz", models, said)
        checkpoint.save_tensors(kept, net.state_dict())
        say(f"pre-trained on states, {said['updates']} updates")
    if len(asked) > 1:
        rules(bed, bed.states, models, net, stats, given.out / "rules_states")
        say("rules on states")
    studies = [
        Study(bed, bed.states, corpus, SEEDS, given.out / f"curves_{name}.npz") for name, corpus in bed.corpora.items()
    ]
    for study in studies:
        study.begin(models, net, stats)
        say(f"probes of {study.corpus.name}")
    if given.ways and time.time() < given.until:
        deep, few = {}, every(bed, {"random": RULE_SEEDS}, True)
        own = statistics(bed, bed.states, few)
        updates = int(np.load(given.out / "pretrain_states.npz")["updates"])
        for layers in DEPTHS:
            deeper, said = pretrain(bed, bed.states, few, own, {}, float("inf"), updates, layers)
            deep[layers] = few, deeper, own
            note(given.out / f"pretrain_{layers}.npz", few, said)
        say("other depths")
        ways(bed, bed.states, models, net, stats, deep, given.out / "ways")
        say("ways")
    del net
    for study in studies:
        study.finetune_all("", given.until)
        say(f"fine-tuning of {study.corpus.name}")
    if given.mel and time.time() < given.until:
        models = every(bed, dict.fromkeys(RULES, RULE_SEEDS), given.abroad)
        band_stats = statistics(bed, bed.bands, models)
        seconds = min(given.mel, given.until - time.time())
        net, said = pretrain(bed, bed.bands, models, band_stats, strength, seconds, given.updates)
        note(given.out / "pretrain_mel.npz", models, said)
        rules(bed, bed.bands, models, net, band_stats, given.out / "rules_mel")
        say("rules on log-mel")
        del net
    for study in studies:
        study.finetune_all("features+", given.until)
        say(f"fine-tuning beside the features, {study.corpus.name}")


def note(path: Path, models: Models, said: dict) -> None:
    np.savez(path, **{key: np.array(value) for key, value in (said | vars(models)).items()})


if __name__ == "__main__":
    main()
