"""Makes the encoder that comes with the package: sottovoce/weights/default_encoder.{safetensors,json}.

    python docs/make_default_encoder.py --teacher DIR --speech librispeech=DIR --speech fotaq=DIR ... -o DIR

The first four blocks of Whisper base (the teacher) hear clean speech. A student that starts as their copy hears the
same recordings through rooms, noise, other voices, telephone lines and codecs, and learns to answer what the teacher
answers: state by state, and in the mean and deviation over time that a classifier will see. No label is used. Then
its weights are rounded to 8 bits, with a scale an output channel.

Seeded; on another machine sums are rounded otherwise, and figures agree within their intervals only.
"""

import argparse
import hashlib
import math
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from sottovoce import files
from sottovoce.backbones import valid_steps, whisper
from sottovoce.data import audio, augmentation
from sottovoce.modeling import whisper_weights
from sottovoce.tracks.logmel import log_mel

BLOCKS = 4
SOUNDS = {".wav", ".flac", ".ogg", ".mp3", ".opus"}
BATCH = 48 * audio.RATE_HZ  # samples
POOL = 256  # recordings that are sorted by length, so that little is padding
PEAK = 0.5  # the level at which the encoder is used
WIDE_BAND = "librispeech"  # is drawn five times as often as its share: the rest holds nothing above 5.5 kHz


@dataclass(frozen=True)
class Stage:
    updates: int
    rate: float  # the learning rate, which rises for 50 updates and falls along a cosine to nothing
    clean: float  # share of recordings that the student hears as the teacher does
    pooled: float  # weight of means and deviations over time, beside that of the states


STAGES = (Stage(1000, 1.5e-4, 0.25, 2.0), Stage(700, 1e-4, 0.25, 6.0))


@dataclass(frozen=True)
class Speech:
    """Recordings (N,) int16 end to end, and which of them have the full band."""

    samples: np.ndarray
    bounds: np.ndarray  # (recordings + 1,)
    wide: np.ndarray  # rows

    @classmethod
    def read(cls, folders: dict[str, Path]) -> "Speech":
        parts, wide = [], []
        for name, folder in folders.items():
            for path in sorted(p for p in folder.rglob("*") if p.suffix in SOUNDS):
                samples = audio.read(path).values
                if (loudest := float(np.abs(samples).max())) < 1e-3:
                    continue
                if name == WIDE_BAND:
                    wide.append(len(parts))
                parts.append((samples * (0.9 / loudest * 32767)).astype(np.int16))
        return cls(np.concatenate(parts), np.cumsum([0, *map(len, parts)]), np.array(wide, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def crop(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """Mostly 2 to 6 s, as emotional utterances are; one in five 6 to 14 s."""
        first, last = self.bounds[row : row + 2]
        wanted = int(audio.RATE_HZ * (rng.uniform(2, 6) if rng.random() < 0.8 else rng.uniform(6, 14)))
        if last - first > wanted:
            first += rng.integers(last - first - wanted)
        return self.samples[first : min(first + wanted, last)].astype(np.float32) / 32767

    def voice(self, rng: np.random.Generator) -> np.ndarray:
        """One of those that babble."""
        wide = len(self.wide) and rng.random() >= 0.5
        return self.crop(rng.choice(self.wide) if wide else rng.integers(len(self)), rng)


def crops(speech: Speech, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Endless batches of recordings of about one length."""
    while True:
        rows = np.concatenate([rng.permutation(len(speech))] + [speech.wide] * 4)
        rng.shuffle(rows)
        for first in range(0, len(rows), POOL):
            pool = [x for row in rows[first : first + POOL] if len(x := speech.crop(row, rng)) > audio.RATE_HZ // 5]
            batches: list[list[np.ndarray]] = [[]]
            for x in sorted(pool, key=len):
                if batches[-1] and (len(batches[-1]) + 1) * len(x) > BATCH:
                    batches.append([])
                batches[-1].append(x)
            for k in rng.permutation(len(batches)):
                yield batches[k]


def pairs(speech: Speech, clean: float, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless (what the teacher hears (B, T, 80), what the student hears (B, T, 80), lengths (B,))."""
    rng = np.random.default_rng(seed)
    chances = augmentation.Chances(clean=clean, snr_db=(-2.0, 25.0))
    for batch in crops(speech, rng):
        quiet, loud = [], []
        for x in batch:
            y = augmentation.random(x, rng, speech.voice, chances)
            if rng.random() < 0.3:
                y = augmentation.gain(level(y), rng.uniform(0, 6))
            y = y + np.float32(1e-6) * rng.standard_normal(len(y), dtype=np.float32)
            quiet.append(torch.from_numpy(np.array(log_mel(level(x)))))
            loud.append(torch.from_numpy(np.array(log_mel(level(y)))))
        pad = torch.nn.utils.rnn.pad_sequence
        yield pad(quiet, batch_first=True), pad(loud, batch_first=True), torch.tensor([len(x) for x in quiet])


def level(x: np.ndarray) -> np.ndarray:
    return x * np.float32(PEAK / max(float(np.abs(x).max()), 1e-9))


def ahead(source: Iterator[tuple[Tensor, ...]], most: int = 6) -> Iterator[tuple[Tensor, ...]]:
    """The same, made in the background."""
    ready: queue.Queue[tuple[Tensor, ...]] = queue.Queue(most)

    def work() -> None:
        for item in source:
            ready.put(item)

    threading.Thread(target=work, daemon=True).start()
    while True:
        yield ready.get()


def teacher(folder: Path) -> whisper.Backbone:
    config = whisper_weights.public_config(str(folder), files.read_json(folder / "config.json"))
    config = whisper.Config(**{**vars(config), "layers": BLOCKS, "complete": False})
    backbone = whisper.Backbone(config, config.bins)
    backbone.load_state_dict(whisper_weights.public_tensors(str(folder), config, BLOCKS))
    return backbone.eval()


def spread(backbone: whisper.Backbone, batches: list[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every dimension of every block's states, each (BLOCKS, H)."""
    states = []
    for x, _, lengths in batches:
        hidden = backbone(x, lengths)
        valid = valid_steps(hidden.lengths, hidden.layers[0].shape[1])
        states.append(torch.stack([h[valid] for h in hidden.layers[1:]]).double())
    every = torch.cat(states, 1)
    return every.mean(1).float(), every.std(1).clamp_min(1e-4).float()


def pooled(h: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """(B, S, H) -> mean and deviation over time, (B, H) each."""
    count = valid.sum(1)[:, None]
    mean = (h * valid[..., None]).sum(1) / count
    square = ((h - mean[:, None]) ** 2 * valid[..., None]).sum(1) / count
    return mean, (square + 1e-4).sqrt()


def distance(student: Tensor, wanted: Tensor, valid: Tensor, weight: float) -> Tensor:
    """Of one block's states (B, S, H), in deviations of the teacher's."""
    states = (((student - wanted) ** 2).mean(2) * valid).sum() / valid.sum()
    ours, theirs = pooled(student, valid), pooled(wanted, valid)
    return states + weight * sum(((a - b) ** 2).mean() for a, b in zip(ours, theirs, strict=True))


def train(student: whisper.Backbone, wise: whisper.Backbone, speech: Speech, stage: Stage, seed: int) -> float:
    """One stage; returns the hours that the student has heard."""
    batches = ahead(pairs(speech, stage.clean, seed))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        centre, scale = spread(wise, [next(batches) for _ in range(12)])
    weights = [p for name, p in student.named_parameters() if name != "mask_vector"]
    optimiser = torch.optim.AdamW(weights, lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.0)
    heard, running = 0, []
    student.train()
    for update in range(stage.updates):
        rise = min(1.0, (update + 1) / 50)
        optimiser.param_groups[0]["lr"] = stage.rate * rise * (1 + math.cos(math.pi * update / stage.updates)) / 2
        x, y, lengths = next(batches)
        heard += int(lengths.sum())
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = wise(x, lengths)
            hidden = student(y, lengths)
        valid = valid_steps(hidden.lengths, hidden.layers[0].shape[1]).float()
        layers = zip(hidden.layers[1:], wanted.layers[1:], centre, scale, strict=True)
        loss = sum(distance((h.float() - m) / s, (w.float() - m) / s, valid, stage.pooled) for h, w, m, s in layers)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        running.append(float(loss.detach()))
        if update % 25 == 24:
            print(f"update {update + 1}: loss {np.mean(running[-25:]):.4f}, {heard / 360000:.2f} h", flush=True)
    return heard / 360_000


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
        if value.ndim == 1:
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
    files.write_json(folder / "default_encoder.json", shape | {"complete": False, "sha256": digest} | card)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--teacher", type=Path, required=True, help="folder of openai/whisper-base's encoder")
    ask.add_argument("--speech", action="append", required=True, help="NAME=FOLDER of recordings, more than once")
    ask.add_argument("-o", "--out", type=Path, required=True)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--start", type=Path, help="state after the first stage (.pt tensors), to go on from")
    given = ask.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    folders = {name: Path(folder) for name, folder in (pair.split("=", 1) for pair in given.speech)}
    speech = Speech.read(folders)
    total = len(speech.samples) / audio.RATE_HZ / 3600
    print(f"{len(speech)} recordings, {total:.2f} h", flush=True)
    wise, student, heard = teacher(given.teacher), teacher(given.teacher), 0.0
    for number, stage in enumerate(STAGES):
        if number == 0 and given.start:
            student.load_state_dict(torch.load(given.start, weights_only=True))
            continue
        heard += train(student, wise, speech, stage, given.seed + number)
        given.out.mkdir(parents=True, exist_ok=True)
        torch.save(student.state_dict(), given.out / f"stage{number + 1}.pt")
    card = {
        "layers": [2, 3, 4],
        "pooling": ["mean", "std"],
        "origin": "first blocks of the encoder of openai/whisper-base, adapted without labels",
        "licence": "MIT, Copyright (c) 2022 OpenAI; see NOTICE.txt",
        "speech": sorted(folders),
        "speech_hours": round(total, 2),
        "heard_hours": round(heard, 1),
        "updates": [stage.updates for stage in STAGES],
        "seed": given.seed,
    }
    write(given.out, student.eval(), card)


if __name__ == "__main__":
    main()
