"""Makes the encoder that comes with the package: sottovoce/weights/default_encoder.{safetensors,json}.

    python docs/make_default_encoder.py --teacher DIR --speech librispeech=DIR --speech fotaq=DIR ... -o DIR
    ... --further --kept 1 --rate 2e-4 --batch-s 120 --chances clean=0.12 noise=0.9 babble=0.65 snr_db=-3,20

The first four blocks of Whisper base (the teacher) hear clean speech. A student that starts as their copy hears the
same recordings through rooms, noise, other voices, telephone lines and codecs, and learns to answer what the teacher
answers: state by state, and in the mean and deviation over the frames of speech that a classifier will see. It also
learns to tell, through the noise, which frames those are. No label is used. Then its weights are drawn back a little
towards the teacher's, and rounded to 8 bits, with a scale an output channel.

With `--further` the encoder of the package is both teacher and student, so that its states of clean speech stay where
they are, and layers taught on them stay good; pooled states count in their own deviations, weighed by the speech that
each of both hears. So noise can be taught anew without labels of any corpus.

It says first what it will cost. `--minutes` bounds the training: as many updates are made as fit, and the learning
rate falls over just those. An interrupted one goes on with the same command. Seeded; on another machine sums are
rounded otherwise, and figures agree within their intervals only.
"""

import argparse
import hashlib
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from encoder_batches import Batches, Chances, coded, read
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sottovoce import files
from sottovoce.backbones import valid_steps, whisper
from sottovoce.config.settings import parse_settings
from sottovoce.data import audio
from sottovoce.modeling import hub, whisper_weights

BLOCKS = 4
SPEECH_UNITS = 64
SPEECH_DB = 30.0  # frames of clean speech no further below the loud ones are speech
KEEP = 100  # updates from one that is kept to the next
RISE = 100  # updates until the learning rate is reached
KEPT = 0.7  # of what the student has learned; the rest of each weight stays the teacher's
POOLED = (2.0, 6.0)  # weight of means and deviations over time beside that of the states: at first, and at the end
FURTHER = 2.0  # the same, of blocks 2 to 4, in deviations from recording to recording, of `--further`


def blocks(folder: Path, speech: int = 0) -> whisper.Backbone:
    """The first of the public encoder, with or without a layer that tells speech."""
    config = whisper_weights.public_config(str(folder), files.read_json(folder / "config.json"))
    config = whisper.Config(**{**vars(config), "layers": BLOCKS, "complete": False})
    public = whisper_weights.public_tensors(str(folder), config, BLOCKS)
    backbone = whisper.Backbone(replace(config, speech=speech), config.bins)
    missing = backbone.load_state_dict(public, strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("speech.") for name in missing.missing_keys)
    return backbone.eval()


def spread(backbone: whisper.Backbone, batches: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every dimension of every block's states, each (BLOCKS, H)."""
    states = []
    for x, _, lengths in batches:
        hidden = backbone(x, lengths)
        valid = valid_steps(hidden.lengths, hidden.layers[0].shape[1])
        states.append(torch.stack([h[valid] for h in hidden.layers[1:]]).float())
    every = torch.cat(states, 1)
    return every.mean(1), every.std(1).clamp_min(1e-4)


def speech(bands: Tensor, valid: Tensor) -> Tensor:
    """Which states (B, S) of clean bands (B, 2 S, 80) are speech, 0 or 1."""
    power = nn.functional.avg_pool1d((10 ** (4 * bands - 4)).sum(2)[:, None], 7, 1, 3)[:, 0]
    level = 10 * (power + 1e-12).log10().unflatten(1, (-1, 2)).amax(2)
    loud = level.masked_fill(valid == 0, -120.0).quantile(0.98, dim=1, keepdim=True)
    return (level > loud - SPEECH_DB) * valid


def pooled(h: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """(B, S, H), weights (B, S) -> mean and deviation over time, (B, H) each."""
    share = (share / share.sum(1, keepdim=True).clamp_min(1))[..., None]
    mean = (h * share).sum(1)
    return mean, (((h - mean[:, None]) ** 2 * share).sum(1) + 1e-4).sqrt()


def spread_of_recordings(backbone: whisper.Backbone, batches: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Deviation from recording to recording of what is pooled of every block, (BLOCKS, 2 H)."""
    found = []
    for x, _, lengths in batches:
        hidden = backbone(x, lengths)
        found.append(torch.stack([torch.cat(pooled(h.float(), hidden.speech), 1) for h in hidden.layers[1:]]))
    return torch.cat(found, 1).std(1).clamp_min(1e-4)


def distance(student: Tensor, wanted: Tensor, valid: Tensor, said: Tensor, weight: float) -> Tensor:
    """Of one block's states (B, S, H), in deviations of the teacher's; `said`: which of them are speech (B, S)."""
    states = (((student - wanted) ** 2).mean(2) * valid).sum() / valid.sum()
    ours, theirs = pooled(student, said), pooled(wanted, said)
    return states + weight * sum(((a - b) ** 2).mean() for a, b in zip(ours, theirs, strict=True))


class Training:
    def __init__(
        self, wise: whisper.Backbone, student: whisper.Backbone, batches: Batches, rate: float, *, further: bool
    ):
        self.wise, self.student, self.source, self.rate = wise, student, batches, rate
        self.batches = iter(batches)
        # most processors are slower in half precision, some two hundred times
        self.cast = torch.autocast(batches.device.type, torch.bfloat16, enabled=batches.device.type == "cuda")
        self.weights = [p for name, p in student.named_parameters() if name != "mask_vector"]
        self.optimiser = torch.optim.AdamW(self.weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        with torch.no_grad(), self.cast:
            first = [next(self.batches) for _ in range(8)]
            self.centre, self.scale = spread(wise, first[:4])
            self.recordings = spread_of_recordings(wise, first) if further else None
        student.train()

    def update(self, rate: float, weight: float) -> tuple[Tensor, Tensor]:
        """One; returns the loss and the frames heard, both still on the device."""
        self.optimiser.param_groups[0]["lr"] = rate
        x, y, lengths = next(self.batches)
        with self.cast:
            with torch.no_grad():
                wanted = self.wise(x, lengths)
            hidden = self.student(y, lengths)
        valid = valid_steps(hidden.lengths, hidden.layers[0].shape[1]).float()
        said = speech(x, valid)
        layers = zip(hidden.layers[1:], wanted.layers[1:], self.centre, self.scale, strict=True)
        pairs = [((h.float() - m) / s, (w.float() - m) / s) for h, w, m, s in layers]
        if self.recordings is None:
            loss = sum(distance(h, w, valid, said, weight) for h, w in pairs)
        else:
            loss = sum(distance(h, w, valid, said, 0.0) for h, w in pairs) + FURTHER * self.gap(hidden, wanted)
        guess = self.student.speech(hidden.layers[-1].float())[..., 0]
        loss = loss + nn.functional.binary_cross_entropy_with_logits(guess, said, weight=valid / valid.mean())
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        return loss.detach(), lengths.sum()

    def gap(self, hidden: Any, wanted: Any) -> Tensor:
        """What a classifier sees of blocks 2 to 4, in deviations from recording to recording."""
        assert self.recordings is not None
        total = torch.zeros((), device=self.scale.device)
        for h, w, s in list(zip(hidden.layers[1:], wanted.layers[1:], self.recordings, strict=True))[1:]:
            ours, theirs = pooled(h.float(), hidden.speech), pooled(w.float(), wanted.speech)
            total = total + ((torch.cat(ours, 1) - torch.cat(theirs, 1)) / s).square().mean()
        return total

    def keep(self, path: Path, done: int, heard: float) -> None:
        """What a training that is interrupted goes on from."""
        tensors = {f"student.{name}": p for name, p in self.student.named_parameters()}
        for k, weight in enumerate(self.weights):
            tensors |= {f"{name}.{k}": value for name, value in self.optimiser.state[weight].items()}
        tensors["rng"] = self.source.rng.get_state()
        told = {"done": str(done), "heard": str(heard), "plan": json.dumps(self.source.plan.bit_generator.state)}
        with files.atomic(path) as temporary:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary, told)

    def go_on(self, path: Path) -> tuple[int, float]:
        """Updates that are done, and hours that were heard."""
        if not path.is_file():
            return 0, 0.0
        with safe_open(path, "pt", device=str(self.centre.device)) as kept:
            told, tensors = kept.metadata(), {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
        for name, weight in self.student.named_parameters():
            weight.data.copy_(tensors[f"student.{name}"])
        for k, weight in enumerate(self.weights):
            state = {name: tensors[f"{name}.{k}"] for name in ("step", "exp_avg", "exp_avg_sq")}
            self.optimiser.state[weight] = state | {"step": state["step"].cpu()}
        self.source.rng.set_state(tensors["rng"].cpu())
        self.source.plan.bit_generator.state = json.loads(told["plan"])
        return int(told["done"]), float(told["heard"])

    def run(self, updates: int, minutes: float, path: Path) -> tuple[int, float]:
        """As many updates as are asked for and fit; returns their number and the hours that the student has heard."""
        began, losses = time.monotonic(), []
        done, hours = self.go_on(path)
        heard = torch.tensor(hours * 360_000, device=self.centre.device)
        for k in range(done, 10_000_000):
            if k == done + RISE // 2:  # the first ones warm up
                began_steady, first = time.monotonic(), k
            if k == done + RISE:
                float(losses[-1])
                each = (time.monotonic() - began_steady) / (k - first)
                updates = min(updates, k + int((minutes * 60 - (time.monotonic() - began)) / each))
                print(f"{each:.3f} s an update: {updates} updates, {updates * each / 60:.1f} minutes", flush=True)
            if k >= updates:
                break
            share = k / updates
            rate = self.rate * min(1.0, (k + 1) / RISE) * (1 + math.cos(math.pi * share)) / 2
            loss, frames = self.update(rate, POOLED[0] + (POOLED[1] - POOLED[0]) * share)
            losses.append(loss)
            heard += frames
            if k % KEEP == KEEP - 1:
                hours = float(heard) / 360_000
                print(f"update {k + 1}: loss {torch.stack(losses[-KEEP:]).mean():.4f}, {hours:.1f} h", flush=True)
                self.keep(path, k + 1, hours)
        return updates, float(heard) / 360_000


@torch.no_grad()
def towards(student: whisper.Backbone, wise: whisper.Backbone, kept: float) -> None:
    """Between the teacher's weights and the student's own, which keeps what the teacher knows of speech that this
    training has not met (Wortsman et al. 2022, arXiv:2109.01903)."""
    own = dict(student.named_parameters())
    for name, value in wise.named_parameters():
        own[name].lerp_(value, 1 - kept)


def rounded(backbone: whisper.Backbone) -> dict[str, Tensor]:
    """The tensors of the file, as `transformers` names them: int8 with NAME.scale, or float16. Positions are sines."""
    out: dict[str, Tensor] = {}
    for name, value in backbone.state_dict().items():
        if name in ("positions", "mask_vector"):
            continue
        for theirs, ours in whisper_weights.NAMES:
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
                break
        if value.ndim == 1 or name.startswith("speech."):
            out[name] = value.half()
            continue
        scale = (value.abs().flatten(1).amax(1) / 127).clamp_min(1e-7).half()  # (output channels,)
        whole = value / scale.float().reshape(-1, *[1] * (value.ndim - 1))
        out[name], out[f"{name}.scale"] = whole.round().clamp(-127, 127).to(torch.int8), scale
    return {name: value.contiguous() for name, value in out.items()}


def write(folder: Path, backbone: whisper.Backbone, card: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights, config = folder / "default_encoder.safetensors", backbone.config
    with files.atomic(weights) as path:
        save_file(rounded(backbone), path)
        path.chmod(0o644)
    with open(weights, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    shape = {ours: getattr(config, key) for key, ours in whisper_weights.OURS.items()}
    files.write_json(
        folder / "default_encoder.json",
        shape | {"complete": False, "speech_units": SPEECH_UNITS, "sha256": digest} | card,
    )


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--teacher", type=Path, help="folder of openai/whisper-base's encoder; not with --further")
    ask.add_argument("--speech", action="append", required=True, help="NAME=FOLDER of recordings, more than once")
    ask.add_argument("-o", "--out", type=Path, required=True)
    ask.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ask.add_argument("--minutes", type=float, default=600.0, help="of training at most")
    ask.add_argument("--updates", type=int, default=12_000, help="at most")
    ask.add_argument("--batch-s", type=float, default=480.0, help="seconds of speech in an update")
    ask.add_argument("--rate", type=float, default=3e-4, help="the learning rate; it falls along a cosine")
    ask.add_argument("--processes", type=int, default=2, help="that send the speech through codecs, beforehand")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--further", action="store_true", help="from the weights of the package, which stay the teacher")
    ask.add_argument("--kept", type=float, default=KEPT, help="of what was learned; the rest stays the teacher's")
    ask.add_argument("--chances", nargs="*", default=[], help="of changes: noise=0.9 babble=0.65 snr_db=-3,20")
    given = ask.parse_args()
    if given.further == bool(given.teacher):
        ask.error("one of --teacher and --further")
    torch.manual_seed(given.seed)
    device = torch.device(given.device)
    folders = {name: Path(folder) for name, folder in (pair.split("=", 1) for pair in given.speech)}
    parts, wide = read(folders)
    total = sum(map(len, parts)) / audio.RATE_HZ / 3600
    print(f"{len(parts)} recordings, {total:.2f} h", flush=True)
    chances = parse_settings(Chances(), given.chances, option="--chances")
    batches = Batches(
        parts, coded(parts, given.seed, given.processes), wide, given.batch_s, device, given.seed, chances
    )
    if given.further:
        wise, student = (hub.backbone(hub.load("default")).to(device).eval() for _ in range(2))
    else:
        wise, student = blocks(given.teacher).to(device), blocks(given.teacher, SPEECH_UNITS).to(device)
    training = Training(wise, student, batches, given.rate, further=given.further)
    unfinished = given.out / "unfinished.safetensors"
    updates, heard = training.run(given.updates, given.minutes, unfinished)
    towards(student, wise, given.kept)
    card = {
        "layers": [2, 3, 4],
        "pooling": ["mean", "std"],
        "origin": "first blocks of the encoder of openai/whisper-base, adapted without labels",
        "licence": "MIT, Copyright (c) 2022 OpenAI; see NOTICE.txt",
        "speech": sorted(folders),
        "speech_hours": round(total, 2),
        "heard_hours": round(heard, 1),
        "updates": updates,
        "batch_s": given.batch_s,
        "seed": given.seed,
        "further": given.further,
        "kept": given.kept,
        "chances": vars(chances),
    }
    write(given.out, student.cpu().eval(), card)
    unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
