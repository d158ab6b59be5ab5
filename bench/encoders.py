"""Encoders beside a straightforward transformers loop: `python -m bench.encoders [--size base] [--part ...]`.

    states   hidden states of recordings of mixed lengths (`models.states`) against transformers with one recording at a
             time, and with batches of eight padded as they come; of the last layer and of one below it
    tuning   an update of fine-tuning (`training.fit`, all that belongs to it) against bare forward, backward, step
    whisper  the track `encoder` against WhisperFeatureExtractor and WhisperEncoder of transformers, which fill up to
             30 s: clips as long as acted corpora's, and 30 s, to the last block of "base" and to the third
    hours    the same track of an hour: speed and memory

Weights are random, recordings are noise: speeds and equality, not accuracy. All in one process and in turns, so that a
busy neighbour slows all alike; CPU seconds are those of all threads together.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import argparse
import copy
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.feature_store import Phase
from sottovoce import files
from sottovoce.backbones import encoder
from sottovoce.config import recipe
from sottovoce.config.frontend import Frontend
from sottovoce.config.training import Training
from sottovoce.data import runs
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.task import Task
from sottovoce.data.track import Track
from sottovoce.modeling import encoded, training
from sottovoce.modeling import network as models
from sottovoce.modeling.supervised import Supervised
from sottovoce.tracks import encoder as track

RATE_HZ = 16_000


class Store(dict):
    """utterance id -> (N, 1) noise, as a track store has it."""

    def __init__(self, seconds: np.ndarray):
        rng = np.random.default_rng(0)
        sizes = (seconds * RATE_HZ).astype(int)
        super().__init__({f"u{k}": 0.1 * rng.standard_normal((n, 1), np.float32) for k, n in enumerate(sizes)})
        self.rate_hz, self.offset_s, self.dim = float(RATE_HZ), 0.0, 1
        self.lengths = {key: len(wave) for key, wave in self.items()}

    def steps(self) -> Steps:
        front = Frontend(subsampling=1, normalise="none", clip=0.0)
        people = [Utterance(k, "bench", "", labels={"emotion": "ab"[i % 2]}) for i, k in enumerate(self)]
        return Steps([(self, people)], front)


def library(config: encoder.Config) -> Any:
    """The library's own model, and the same weights as our backbone."""
    torch.manual_seed(0)
    return encoder.library().AutoModel.from_config(config.resolved()).eval()


def race(rounds: int, runners: dict[str, Callable[[], Any]]) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of every runner, in turns; the first round does not count."""
    clocks: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in runners}
    for turn in range(rounds + 1):
        for name in list(runners)[:: 1 if turn % 2 else -1]:
            wall, cpu = time.perf_counter(), time.process_time()
            runners[name]()
            if turn:
                clocks[name]["wall"].append(time.perf_counter() - wall)
                clocks[name]["cpu"].append(time.process_time() - cpu)
    return {name: {key: statistics.median(times) for key, times in c.items()} for name, c in clocks.items()}


def states(size: str, rounds: int, many: int, longest: float, family: str) -> None:
    config = encoder.Config(family, size, dropout=0.0)
    theirs = library(config)
    ours = encoder.Backbone(config, 1, library(config)).eval()
    store = Store(np.random.default_rng(1).uniform(1.0, longest, many))
    steps, waves = store.steps(), [torch.from_numpy(wave[:, 0]) for wave in store.values()]
    blocks = len(ours.blocks)
    layers = {"last": blocks, "3rd from the end": blocks - 2}  # GMP-TL's teacher gives the latter
    kept: dict[str, list[np.ndarray]] = {}

    def one(layer: int) -> None:
        with torch.inference_mode():
            kept["one"] = [theirs(w[None], output_hidden_states=True).hidden_states[layer][0].numpy() for w in waves]

    def padded(layer: int) -> None:
        kept["padded"] = []
        for first in range(0, many, 8):
            batch = waves[first : first + 8]
            x = nn.utils.rnn.pad_sequence(batch, batch_first=True)
            lengths = torch.tensor([len(w) for w in batch])
            mask = (torch.arange(x.shape[1])[None] < lengths[:, None]).long()
            with torch.inference_mode():
                hidden = theirs(x, attention_mask=mask, output_hidden_states=True).hidden_states[layer]
            own = theirs._get_feat_extract_output_lengths(lengths).tolist()
            kept["padded"] += [states[:n].numpy() for states, n in zip(hidden, own, strict=True)]

    def bucketed(layer: int) -> None:
        found = {i: track.values for i, track in models.states(ours, steps, layer)}
        kept["ours"] = [found[i] for i in range(many)]

    audio_s = sum(len(w) for w in waves) / RATE_HZ
    print(f"\n{family} {size}, {many} recordings of 1 to {longest:g} s, {audio_s:.0f} s together\n")
    print("| states of layer | by | wall s | CPU s | x real time | ours is faster, wall | CPU | largest difference |")
    print("|---|---|---|---|---|---|---|---|")
    for name, layer in layers.items():
        ways = {"one at a time": one, "8 padded": padded, "ours": bucketed}
        clocks = race(rounds, {way: partial(run, layer) for way, run in ways.items()})
        for (way, clock), found in zip(clocks.items(), (kept["one"], kept["padded"], kept["ours"]), strict=True):
            apart = max(float(np.abs(a - b).max()) for a, b in zip(found, kept["one"], strict=True))
            wall, cpu = (clock[key] / clocks["ours"][key] for key in ("wall", "cpu"))
            print(
                f"| {name} | {way} | {clock['wall']:.2f} | {clock['cpu']:.2f} | {audio_s / clock['wall']:.1f} "
                f"| {wall:.2f} x | {cpu:.2f} x | {apart:.1e} |"
            )
        best = {key: min(clocks[way][key] for way in ("one at a time", "8 padded")) for key in ("wall", "cpu")}
        wall, cpu = (best[key] / clocks["ours"][key] for key in ("wall", "cpu"))
        print(f"| {name} | **ours against the better** | | | | **{wall:.2f} x** | **{cpu:.2f} x** | |", flush=True)


class Bare(nn.Module):
    """What one writes in a notebook: the library's model, the mean of its last states, a linear layer."""

    def __init__(self, model: nn.Module, width: int):
        super().__init__()
        self.model, self.out = model, nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.model(x).last_hidden_state.mean(1))


def tuning(size: str, rounds: int, rows: int, seconds: float, updates: int, family: str) -> None:
    """Batches of equal length, so that both see the same; convolutions frozen, no layer drop, an optimiser a round."""
    config = encoder.Config(family, size, dropout=0.1)
    store = Store(np.full(rows * updates, seconds))
    steps, task = store.steps(), Task("class", ("emotion",), ("a", "b"))
    target = task.values(steps.utterances)
    plan = recipe.resolve("hubert")
    loop = Training(epochs=1, lr=1e-4, warmup=0.0, batch_rows=rows, batch_s=1e9)
    settings = replace(
        plan.finetune,
        layer_aggregation="last",
        temporal_pooling="mean",
        training=loop,
        dropout=0.0,
        label_smoothing=0.0,
    )
    network = models.Network(encoder.Backbone(config, 1, library(config)), settings, task.outputs)
    model = Supervised(network, task, settings, steps, target)
    frozen = {name: 0.0 if ".front." in name or "mask_vector" in name else 1.0 for name, _ in model.named_parameters()}
    bare = Bare(library(config), network.backbone.dim).train()
    bare.model.config.apply_spec_augment, bare.model.config.layerdrop = False, 0.0
    for p in bare.model.feature_extractor.parameters():
        p.requires_grad_(False)
    bare.model.feature_extractor._requires_grad = False
    batches = [steps.batch(range(k * rows, (k + 1) * rows), target=target) for k in range(updates)]

    def ours() -> None:
        training.fit(model, steps, loop, target=target, lr_scale=frozen.__getitem__, keep=training.Keep(quiet=True))

    def theirs() -> None:
        optimiser = torch.optim.AdamW([p for p in bare.parameters() if p.requires_grad], lr=1e-4)
        for batch in batches:
            assert batch.target is not None
            optimiser.zero_grad()
            nn.functional.cross_entropy(bare(batch.x[..., 0]), batch.target).backward()
            nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
            optimiser.step()

    clocks = race(rounds, {"bare transformers": theirs, "`training.fit`": ours})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{family} {size}, {rows} x {seconds:g} s, {updates} updates a round, convolutions frozen\n")
    print("| update of fine-tuning | wall s | CPU s | costs more, wall | CPU |\n|---|---|---|---|---|")
    for name, clock in clocks.items():
        more = [100 * (clock[key] / clocks["bare transformers"][key] - 1) for key in ("wall", "cpu")]
        each = {key: value / updates for key, value in clock.items()}
        print(f"| {name} | {each['wall']:.2f} | {each['cpu']:.2f} | {more[0]:+.1f} % | {more[1]:+.1f} % |")
    print(f"\nPeak memory of the process, which holds both: {peak:.2f} GiB")


@contextmanager
def whisper_folder() -> Iterator[tuple[Path, Any]]:
    """A checkpoint of Whisper base with random weights, and the library's encoder in it."""
    library = encoder.library()
    torch.manual_seed(0)
    model = library.WhisperModel(library.WhisperConfig(encoder_layers=6, decoder_layers=1)).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        yield Path(folder), model.encoder


def whisper(rounds: int) -> None:
    rng = np.random.default_rng(0)
    listen = encoder.library().WhisperFeatureExtractor()
    print(
        "\n| recordings | blocks | by | wall s | CPU s | x real time (CPU) | ours is faster, wall | CPU | difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with whisper_folder() as (folder, theirs):
        for name, seconds in {"16 of 3 to 4 s": rng.uniform(3, 4, 16), "2 of 30 s": np.full(2, 30.0)}.items():
            waves = [0.1 * rng.standard_normal(int(s * RATE_HZ), np.float32) for s in seconds]
            for blocks in (6, 3):
                settings = encoded.settle(track.Config(encoder=str(folder), layer=blocks, trim_db=0.0))
                shallow = copy.deepcopy(theirs)
                shallow.layers = shallow.layers[:blocks]
                if blocks < 6:  # a state in the middle has not been normalised
                    shallow.layer_norm = nn.Identity()

                def ours(settings: Any = settings, waves: Any = waves) -> list[np.ndarray]:
                    return [encoded.make(Track(wave, float(RATE_HZ)), settings).values for wave in waves]

                def library(model: Any = shallow, waves: Any = waves) -> list[np.ndarray]:
                    found = []
                    for wave in waves:
                        # As loud as ours makes them; ours does so by itself.
                        x = listen(wave * (0.5 / np.abs(wave).max()), sampling_rate=RATE_HZ, return_tensors="pt")
                        with torch.inference_mode():
                            found.append(
                                model(x.input_features, output_hidden_states=True).hidden_states[-1][0].numpy()
                            )
                    return found

                found = [np.abs(a - b[: len(a)]).max() for a, b in zip(ours(), library(), strict=True)]
                # What hears no silence differs from what does; filled up, the states are the same.
                apart = f"{max(found):.0e}" if seconds.min() == 30 and blocks < 6 else "-"
                clocks = race(rounds, {"transformers": library, "ours": ours})
                for way, clock in clocks.items():
                    times = [clock[key] / clocks["ours"][key] for key in ("wall", "cpu")]
                    print(
                        f"| {name} | {blocks} | {way} | {clock['wall']:.2f} | {clock['cpu']:.2f} "
                        f"| {seconds.sum() / clock['cpu']:.0f} | {times[0]:.1f} x | {times[1]:.1f} x | {apart} |",
                        flush=True,
                    )


def hours(minutes: int = 60) -> None:
    rng = np.random.default_rng(0)
    wave = files.scratch(minutes * 60 * RATE_HZ, "float32")
    for k in range(minutes):
        wave[k * 60 * RATE_HZ : (k + 1) * 60 * RATE_HZ] = 0.1 * rng.standard_normal(60 * RATE_HZ, np.float32)
        files.let_go(wave)
    with whisper_folder() as (folder, _):
        settings = encoded.settle(track.Config(encoder=str(folder), layer=3))
        encoded.loaded(settings)
    cpu = time.process_time()
    with Phase("3 blocks of base") as phase:
        made = encoded.make(Track(wave, float(RATE_HZ)), settings)
    cpu = time.process_time() - cpu
    print("\n| what | wall s | own MiB | resident MiB | |\n|---|---|---|---|---|")
    print(phase.row(f"{minutes} minutes, {len(made)} states, {minutes * 60 / cpu:.0f} x real time by CPU seconds"))


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--size", default="base", choices=list(encoder.SIZES))
    options.add_argument("--family", default="hubert", choices=encoder.FAMILIES)
    options.add_argument("--part", choices=["states", "tuning", "whisper", "hours"], help="default: all")
    options.add_argument("--recordings", type=int, default=24, help="of `states`")
    options.add_argument("--longest", type=float, default=12.0, help="seconds, of `states`")
    options.add_argument("--updates", type=int, default=2, help="a round, of `tuning`")
    options.add_argument("--minutes", type=int, default=60, help="of `hours`")
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    print(f"{runs.hardware()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    if chosen.part in (None, "states"):
        states(chosen.size, chosen.rounds, chosen.recordings, chosen.longest, chosen.family)
    if chosen.part in (None, "tuning"):
        tuning(chosen.size, chosen.rounds, 4, 5.0, chosen.updates, chosen.family)
    if chosen.part in (None, "whisper"):
        whisper(chosen.rounds)
    if chosen.part in (None, "hours"):
        hours(chosen.minutes)


if __name__ == "__main__":
    main()
