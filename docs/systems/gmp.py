"""GMP-TL (arXiv:2405.02151) on the default encoder, all folds and seeds side by side.

    python docs/systems/gmp.py bands --prepared ravdess=data/ravdess -o out [--device cuda] [--encoder FOLDER]

The steps of `sottovoce run gmp_tl`, for M = folds x seeds models at once (`many.py`): emotion and gender of whole
utterances; k-means of the tuned states at several scales; masked spans say which clusters they belong to; emotion
again, with AM-Softmax. Every variant has as many updates; every last step begins with the linear probe's solution, and
dev chooses its learning rate and moment. Pooled: mean and deviation of blocks 2 to 4, as in `finetune`'s default; of
six blocks 2 to 6. The convolutions in front of the blocks stay as they are. Answers for every recording by the fold
that tests its speaker are written after every variant; `tables.py` shows them.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import many
import numpy as np
import torch
from speech import Speech, encoder, folds
from torch import Tensor, nn

WIDTH, HEADS, FEEDFORWARD = 512, 8, 2048
LOWEST = 2  # block that is pooled, with all above it
CROP, LONG, ROWS = 128, 224, 32  # states of 20 ms; recordings in an update
SPAN, HIDDEN = 10, 0.57  # states of a span, share that is masked
SEEDS, RATES, EARLY_RATE = 3, (3e-5, 1e-4), 5e-5
PENALTIES = (0.03, 0.1, 0.3, 1.0)
SMOOTHING, GENDER = 0.1, 0.3
HEARD = 200_000  # states that decide the centres of clusters, at most


@dataclass(frozen=True)
class Variant:
    """A way through the steps."""

    attributes: bool = True
    gender: bool = True
    layers: tuple[int, ...] = (2,)  # whose states are clustered, 1 = first block; () = no pseudo-labels
    clusters: tuple[int, ...] = (64, 512, 2048)
    margin: float = 0.2  # of AM-Softmax; 0 = cross-entropy
    scale: float = 30.0
    unlabelled: bool = False  # half of the speech that guesses clusters is of no labelled corpus
    lowest: int = 1  # block that is trained in the last step, with all above it


FULL = Variant()
VARIANTS = {
    "gmp_tl": FULL,
    "plain": Variant(attributes=False, layers=(), margin=0.0),
    "no-gmp": replace(FULL, layers=()),
    "no-amsoftmax": replace(FULL, margin=0.0),
    "no-gender": replace(FULL, gender=False),
    "several-layers": replace(FULL, layers=(2, 3, 4), clusters=(64, 512)),
    "last-layer": replace(FULL, layers=(4,)),
    "single-scale": replace(FULL, clusters=(512,)),
    "amsoftmax-only": Variant(attributes=False, layers=()),
    "unlabelled": replace(FULL, unlabelled=True),
    "unlabelled-clusters-only": Variant(attributes=False, unlabelled=True, margin=0.0),
    "upper-blocks": replace(FULL, lowest=3),
    "mild-margin": replace(FULL, margin=0.05, scale=15.0),
}


class Bed:
    """Local features of the recordings on the device, the labelled ones first, and who is in which part."""

    def __init__(self, bands: Path, prepared: Path, corpus: str, net: nn.Module, device: str, unlabelled: bool):
        self.device = device
        speech = Speech.load(bands, device)
        corpora, labels = speech.column("corpus"), speech.column("emotion")
        rows = np.flatnonzero(corpora == corpus)
        self.labelled = len(rows)
        ids, labels = speech.column("id")[rows], labels[rows]
        self.names = np.unique(labels)
        self.y = torch.from_numpy(np.searchsorted(self.names, labels)).to(device)
        self.gender = torch.from_numpy((speech.column("gender")[rows] == "male").astype(np.int64)).to(device)
        self.speakers = speech.column("speaker")[rows]
        place = {name: k for k, name in enumerate(ids)}
        self.folds = [
            tuple(np.array([place[i] for i in f[part] if i in place]) for part in ("train", "dev", "test"))
            for f in folds(prepared)
        ]
        if unlabelled:
            rows = np.concatenate([rows, np.flatnonzero(corpora != corpus)])
        self.lengths = torch.from_numpy(speech.frames[rows] // 2).to(device)
        self.begins = self.lengths.cumsum(0) - self.lengths
        self.net = net
        self.positions = self.net.positions
        self.local = torch.empty(int(self.lengths.sum()), WIDTH, dtype=torch.half, device=device)
        where = {int(row): k for k, row in enumerate(rows)}
        for some, x, frames in speech.batches(rows):
            with torch.no_grad(), torch.autocast(device, torch.bfloat16):
                h, states = self.net.convolve(x, frames)
            valid = torch.arange(h.shape[1], device=device) < states[:, None]
            own = torch.tensor([where[int(row)] for row in some], device=device)
            at = self.begins[own][:, None] + torch.arange(h.shape[1], device=device)
            self.local[at[valid]] = h[valid].half()

    def take(self, rows: Tensor, crop: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (M, B) -> local features (M, B, crop, H), lengths (M, B), where they lie (M, B, crop)."""
        whole = self.lengths[rows]
        lengths, begins = whole.clamp_max(crop), self.begins[rows]
        if rng is not None:
            room = whole - lengths
            begins = begins + (torch.rand(rows.shape, generator=rng, device=rows.device) * (room + 1)).long()
        at = (begins[..., None] + torch.arange(crop, device=rows.device)).clamp_max(len(self.local) - 1)
        valid = torch.arange(crop, device=rows.device) < lengths[..., None]
        return self.local[at] * valid[..., None], lengths, at


def blocks(net: nn.Module, models: int) -> many.Transformer:
    """M copies of the encoder's blocks."""
    found = many.Transformer(models, WIDTH, len(net.blocks), HEADS, FEEDFORWARD)
    own, weights = net.state_dict(), {}
    for name, value in found.state_dict().items():
        theirs = name.replace("norm1", "self_attn_layer_norm").replace("norm2", "final_layer_norm")
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            theirs = theirs.replace(part, f"self_attn.{part}")
        weights[name] = own[theirs].detach().cpu().expand_as(value).clone()
    found.load_state_dict(weights)
    return found


class System:
    def __init__(self, bed: Bed, out: Path, epochs: int, limit: int = 0):
        self.bed, self.out = bed, out
        self.keys = [(f, s) for f in range(len(bed.folds)) for s in range(SEEDS)]
        self.total, self.classes = len(self.keys), len(bed.names)
        self.train, self.dev, self.test = (self.padded(k) for k in range(3))
        self.layers = range(LOWEST, len(bed.net.blocks) + 1)
        self.updates = limit or epochs * (self.train[0].shape[1] // ROWS)
        self.found: dict[str, np.ndarray] = {}
        self.devs: dict[str, np.ndarray] = {}
        self.kept: dict[tuple, dict] = {}

    def padded(self, part: int) -> tuple[Tensor, Tensor]:
        own = [self.bed.folds[f][part] for f, _ in self.keys]
        longest = max(map(len, own))
        index = np.stack([np.resize(rows, longest) for rows in own])
        valid = np.stack([np.arange(longest) < len(rows) for rows in own])
        return torch.from_numpy(index).to(self.bed.device), torch.from_numpy(valid).to(self.bed.device)

    def network(self, weights: dict | None) -> many.Transformer:
        net = blocks(self.bed.net, self.total)
        if weights is not None:
            net.load_state_dict(weights)
        return net.to(self.bed.device)

    def states(self, net: many.Transformer, x: Tensor, lengths: Tensor) -> list[Tensor]:
        with torch.autocast(self.bed.device, torch.bfloat16):
            return net(x, lengths, self.bed.positions.to(x.device))

    @torch.no_grad()
    def pooled(self, net: many.Transformer, rows: Tensor) -> Tensor:
        """(M, N) -> (M, N, P)."""
        found = []
        for part in rows.split(max(300_000 // (self.total * LONG), 1), 1):
            longest = -(-min(int(self.bed.lengths[part].max()), LONG) // 8) * 8
            x, lengths, _ = self.bed.take(part, longest)
            states = self.states(net, x, lengths)
            found.append(many.pooled([states[k - 1] for k in self.layers], lengths))
        return torch.cat(found, 1)

    def draw(self, rng: torch.Generator, unlabelled: bool = False) -> Tensor:
        """Rows (M, ROWS) of the training parts; half of them of no labelled corpus if asked for."""
        index, valid = self.train
        size = valid.sum(1, keepdim=True)
        luck = torch.rand(self.total, ROWS, generator=rng, device=index.device)
        rows = index.gather(1, (luck * size).long())
        if unlabelled:
            others = len(self.bed.lengths) - self.bed.labelled
            rows[:, ::2] = self.bed.labelled + (luck[:, ::2] * others).long()
        return rows

    def begun(self, net: many.Transformer, target: Tensor, classes: int, dev: bool = True) -> tuple:
        """Mean and deviation of pooled states of the training parts, and the linear probe's weight and bias."""
        index, _ = self.train
        x = self.pooled(net, index)
        mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True).clamp_min(1e-5)
        w, b = many.logistic((x - mean) / std, target[index], classes, PENALTIES if dev else (0.3,))
        if not dev:
            return mean, std, w[:, 0], b[:, 0]
        z = (self.pooled(net, self.dev[0]) - mean) / std
        scores = torch.einsum("mnp,mlkp->lmnk", z, w) + b.transpose(0, 1)[:, :, None]
        best = many.dev_score(scores, target[self.dev[0]], self.dev[1]).argmax(0)
        at = torch.arange(self.total, device=best.device)
        return mean, std, w[at, best], b[at, best]

    def head(self, begun: tuple) -> many.Linear:
        head = many.Linear(self.total, begun[2].shape[2], begun[2].shape[1])
        head.load_state_dict({"weight": begun[2].cpu(), "bias": begun[3].cpu()})
        return head.to(self.bed.device)

    # -- the steps ---------------------------------------------------------------------------------------------------

    def attributes(self, gender: bool) -> dict:
        """Emotion and gender, learned together."""
        if ("attributes", gender) in self.kept:
            return self.kept["attributes", gender]
        net, rng = self.network(None), torch.Generator(self.bed.device).manual_seed(3)
        emotion = self.begun(net, self.bed.y, self.classes)
        sex = self.begun(net, self.bed.gender, 2, dev=False)
        heads = [self.head(emotion), self.head(sex)]
        optimiser = many.AdamW([(net, EARLY_RATE), *((h, EARLY_RATE * 10) for h in heads)], self.updates)
        for _ in range(self.updates):
            rows = self.draw(rng)
            x, lengths, _ = self.bed.take(rows, CROP, rng)
            states = self.states(net, x, lengths)
            z = (many.pooled([states[k - 1] for k in self.layers], lengths) - emotion[0]) / emotion[1]
            loss = entropy(heads[0](z), self.bed.y[rows])
            if gender:
                loss = loss + GENDER * entropy(heads[1](z), self.bed.gender[rows])
            optimiser.step(loss.sum())
        self.kept["attributes", gender] = many.of_each(net, range(self.total))
        return self.kept["attributes", gender]

    def clusters(self, net: many.Transformer, variant: Variant) -> list[Tensor]:
        """Units of every state for every model, (M, F) each; one a layer and scale. Training parts decide the centres,
        with the speech of no labelled corpus where that is heard too."""
        bed, layers, sizes = self.bed, variant.layers, variant.clusters
        states = {k: torch.empty(len(bed.local), WIDTH, dtype=torch.half, device=bed.device) for k in layers}
        order = bed.lengths[: None if variant.unlabelled else bed.labelled].argsort()
        units = [
            torch.zeros(self.total, len(bed.local), dtype=torch.int16, device=bed.device) for _ in layers for _ in sizes
        ]
        for m in range(self.total):
            one = many.Transformer(1, WIDTH, len(bed.net.blocks), HEADS, FEEDFORWARD).to(bed.device)
            one.load_state_dict({name: value[m : m + 1] for name, value in net.state_dict().items()})
            with torch.no_grad():
                for rows in order.split(200):
                    longest = -(-int(bed.lengths[rows].max()) // 8) * 8
                    x, lengths, at = bed.take(rows[None], longest)
                    valid = torch.arange(longest, device=bed.device) < lengths[..., None]
                    some = self.states(one, x, lengths)
                    for k in layers:
                        states[k][at[valid]] = some[k - 1][valid].half()
            train = torch.zeros(len(bed.lengths), dtype=torch.bool, device=bed.device)
            train[torch.from_numpy(bed.folds[self.keys[m][0]][0]).to(bed.device)] = True
            train[bed.labelled :] = variant.unlabelled
            inside = torch.repeat_interleave(train, bed.lengths).nonzero()[:, 0]
            inside = inside[:: -(-len(inside) // HEARD)]
            for n, (k, size) in enumerate((k, size) for k in layers for size in sizes):
                units[n][m] = nearest(states[k], kmeans(states[k][inside], size, self.keys[m][1])).short()
        return units

    def units(self, variant: Variant) -> dict | None:
        """Masked spans say which clusters they belong to."""
        start = self.attributes(variant.gender) if variant.attributes else None
        if not variant.layers:
            return start
        key = ("units", variant.attributes, variant.gender, variant.layers, variant.clusters, variant.unlabelled)
        if key in self.kept:
            return self.kept[key]
        net, rng = self.network(start), torch.Generator(self.bed.device).manual_seed(4)
        units = self.clusters(net, variant)
        sizes = [size for _ in variant.layers for size in variant.clusters]
        torch.manual_seed(5)
        heads = nn.ModuleList(many.Linear(self.total, WIDTH, size) for size in sizes).to(self.bed.device)
        hidden = torch.zeros(WIDTH, device=self.bed.device)
        optimiser = many.AdamW([(net, EARLY_RATE), (heads, 1e-3)], self.updates)
        at_model = torch.arange(self.total, device=self.bed.device)[:, None]
        right = []
        for update in range(self.updates):
            x, lengths, at = self.bed.take(self.draw(rng, variant.unlabelled), CROP, rng)
            mask = masked(lengths, CROP, rng)
            states = self.states(net, torch.where(mask[..., None], hidden.to(x), x), lengths)[-1]
            flat = mask.flatten(1)
            luck = torch.rand(flat.shape, generator=rng, device=flat.device)
            some = (flat + luck).topk(int(flat.sum(1).min()), 1)[1]  # as many masked states of every model
            h = states.flatten(1, 2).gather(1, some[..., None].expand(-1, -1, WIDTH))
            loss = 0.0
            for head, own in zip(heads, units, strict=True):
                target = own[at_model, at.flatten(1).gather(1, some)].long()
                with torch.autocast(self.bed.device, torch.bfloat16):
                    scores = head(h)
                loss = loss + entropy(scores.float(), target) / len(units)
                if update == self.updates - 1:
                    right.append(float((scores.argmax(-1) == target).float().mean()))
            optimiser.step(loss.sum())
        print(f"  units right {right}, loss {float(loss.detach().mean()):.3f}", flush=True)
        self.kept[key] = many.of_each(net, range(self.total))
        return self.kept[key]

    def finetune(self, name: str, variant: Variant) -> None:
        """The last step; its answers on the test parts."""
        bed, start = self.bed, self.units(variant)
        steps = 1 + (not variant.attributes) + (not variant.layers)
        both, devs = torch.cat([self.dev[0], self.test[0]], 1), self.dev[0].shape[1]
        best = kept = None
        begun = self.begun(self.network(start), bed.y, self.classes)
        mean, std = begun[:2]
        for rate in RATES:
            net, rng = self.network(start), torch.Generator(bed.device).manual_seed(6)
            net.blocks[: variant.lowest - 1].requires_grad_(False)
            head = self.head(begun)

            def scores(pooled: Tensor, head: many.Linear = head) -> Tensor:
                z = (pooled - mean) / std
                if not variant.margin:
                    return head(z)
                unit = nn.functional.normalize
                return variant.scale * torch.einsum("mnp,mkp->mnk", unit(z, dim=-1), unit(head.weight, dim=-1))

            updates = steps * self.updates
            optimiser = many.AdamW([(net, rate), (head, rate * 10)], updates)
            for update in range(updates + 1):
                if update % (updates // 5) == 0 and (update or rate == RATES[0]):
                    with torch.no_grad():
                        found = scores(self.pooled(net, both))
                    select = many.dev_score(found[:, :devs], bed.y[self.dev[0]], self.dev[1])
                    if best is None:
                        best, kept = select, found[:, devs:].clone()
                        if name == "plain":
                            self.keep("probe", kept, best)
                    better = select > best
                    best, kept[better] = torch.where(better, select, best), found[better][:, devs:]
                if update == updates:
                    break
                rows = self.draw(rng)
                x, lengths, _ = bed.take(rows, CROP, rng)
                states = self.states(net, x, lengths)
                out = scores(many.pooled([states[k - 1] for k in self.layers], lengths))
                if variant.margin:
                    out = out - variant.scale * variant.margin * nn.functional.one_hot(bed.y[rows], self.classes)
                optimiser.step(entropy(out, bed.y[rows], 0.0 if variant.margin else SMOOTHING).sum())
        self.keep(name, kept, best)

    def keep(self, name: str, scores: Tensor, dev: Tensor) -> None:
        table = np.full((SEEDS, len(self.bed.y)), -1, np.int8)
        answers = scores.argmax(-1).cpu().numpy()
        for m, (f, s) in enumerate(self.keys):
            test = self.bed.folds[f][2]
            table[s, test] = answers[m, : len(test)]
        self.found[name], self.devs[f"dev {name}"] = table, dev.cpu().numpy()
        y = self.bed.y.cpu().numpy()
        ua = [np.mean([(row[y == c] == c).mean() for c in np.unique(y)]) for row in table]
        print(f"  {name}: UA {np.mean(ua):.4f} {np.round(ua, 4)}, dev {float(dev.mean()):.4f}", flush=True)
        np.savez_compressed(self.out, y=y.astype(np.int8), speakers=self.bed.speakers, **self.found, **self.devs)


def entropy(scores: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """(M, N, K), (M, N) -> (M,)."""
    loss = nn.functional.cross_entropy(
        scores.float().flatten(0, 1), target.flatten(), reduction="none", label_smoothing=smoothing
    )
    return loss.unflatten(0, target.shape).mean(1)


def masked(lengths: Tensor, crop: int, rng: torch.Generator) -> Tensor:
    """(M, B, S) bool: spans from random starts, as many as cover `HIDDEN` with overlaps counted."""
    rate = 1 - (1 - HIDDEN) ** (1 / SPAN)
    starts = torch.rand(*lengths.shape, crop, generator=rng, device=lengths.device) < rate
    before = nn.functional.pad(starts.float().flatten(0, 1)[:, None], (SPAN - 1, 0))
    covered = nn.functional.max_pool1d(before, SPAN, 1)
    valid = torch.arange(crop, device=lengths.device) < lengths[..., None]
    return (covered[:, 0].unflatten(0, lengths.shape) > 0) & valid


@torch.no_grad()
def kmeans(x: Tensor, size: int, seed: int, iterations: int = 12) -> Tensor:
    """Centres (K, H) of (F, H): Lloyd from random frames; a centre without frames is moved to one of them."""
    rng = torch.Generator(x.device).manual_seed(seed)
    centres = x[torch.randperm(len(x), generator=rng, device=x.device)[:size]].float()
    for _ in range(iterations):
        belongs = nearest(x, centres)
        sums = torch.zeros_like(centres).index_add_(0, belongs, x.float())
        count = torch.bincount(belongs, minlength=size)[:, None]
        others = x[torch.randint(len(x), (size,), generator=rng, device=x.device)].float()
        centres = torch.where(count > 0, sums / count.clamp_min(1), others)
    return centres


def nearest(x: Tensor, centres: Tensor) -> Tensor:
    """(F, H) half precision, (K, H) -> (F,)."""
    half = centres.square().sum(1) / 2
    return torch.cat([(part.float() @ centres.T - half).argmax(1) for part in x.split(100_000)])


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("bands", type=Path)
    ask.add_argument("--prepared", required=True, help="NAME=FOLDER of the prepared corpus")
    ask.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ask.add_argument("--epochs", type=int, default=6, help="of every step")
    ask.add_argument("--updates", type=int, default=0, help="of every step, instead")
    ask.add_argument("--encoder", default="default", help="a folder of weights instead, all its blocks")
    ask.add_argument("--variants", default=",".join(VARIANTS))
    ask.add_argument("--until", type=float, default=float("inf"), help="seconds since 1970 at which to stop")
    ask.add_argument("-o", "--out", type=Path, required=True)
    given, began = ask.parse_args(), time.monotonic()
    name, folder = given.prepared.split("=", 1)
    chosen = given.variants.split(",")
    given.out.mkdir(parents=True, exist_ok=True)
    net = encoder(given.device, given.encoder)
    unlabelled = any(VARIANTS[variant].unlabelled for variant in chosen)
    bed = Bed(given.bands, Path(folder), name, net, given.device, unlabelled)
    out = given.out / f"gmp_{name}{'' if given.encoder == 'default' else f'_{len(net.blocks)}'}.npz"
    system = System(bed, out, given.epochs, given.updates)
    print(f"{time.monotonic() - began:6.1f} s  {system.total} models, {system.updates} updates a step", flush=True)
    for variant in chosen:
        if time.time() > given.until:
            print(f"no time for {variant}")
            continue
        system.finetune(variant, VARIANTS[variant])
        print(f"{time.monotonic() - began:6.1f} s  {variant}", flush=True)


if __name__ == "__main__":
    main()
