"""What the training loop costs around the updates themselves: `python -m bench.loop [--device cuda] [--steps 200]`.

`training.fit`, which makes its batches in the background, cuts them out of a corpus that lies on a GPU, and reads no
loss between two updates, beside the same updates with all batches ready on the device. Cases: masked timesteps on
features, which fit on a GPU; the same with chance in the rows, which have to be made one by one; fine-tuning of four
Whisper blocks. Generated data; every round starts from the same weights, and the last column says how far apart both
end (a GPU adds up in another order each time). Aim: within 10 % of ready batches.
"""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded
if "cuda" not in sys.argv:
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from sottovoce.backbones import transformer, whisper
from sottovoce.config.finetuning import Full
from sottovoce.config.frontend import Frontend
from sottovoce.config.training import Training
from sottovoce.data import runs
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics
from sottovoce.data.task import Task
from sottovoce.modeling import loop, training
from sottovoce.modeling import network as models
from sottovoce.modeling.supervised import Supervised
from sottovoce.objectives import masked_timesteps


class Store(dict):
    """utterance id -> (T, D) noise of 2 to 5 s, as a track store has it."""

    def __init__(self, many: int, dim: int):
        rng = np.random.default_rng(0)
        super().__init__({f"u{k}": rng.standard_normal((n, dim), np.float32) for k, n in
                          enumerate(rng.integers(200, 500, many))})  # fmt: skip
        self.rate_hz, self.offset_s, self.dim = 100.0, 0.0, dim
        self.lengths = {key: len(values) for key, values in self.items()}


@dataclass(frozen=True)
class Case:
    name: str
    model: nn.Module
    steps: Steps
    config: Training
    target: np.ndarray | None = None


def steps_of(many: int, dim: int) -> Steps:
    people = [Utterance(f"u{k}", "bench", "", labels={"emotion": "abcd"[k % 4]}) for k in range(many)]
    return Steps([(Store(many, dim), people)], Frontend(subsampling=1, normalise="corpus"), Statistics.unit(dim))


def cases(updates: int, rows: int, width: int, precision: str) -> Iterator[Case]:
    steps, task = steps_of(updates * rows, 80), Task("class", ("emotion",), ("a", "b", "c", "d"))
    config = Training(epochs=1, lr=1e-4, warmup=0.0, batch_s=1e9, batch_rows=rows, precision=precision)  # type: ignore[arg-type]
    torch.manual_seed(0)
    backbone = transformer.Backbone(transformer.Config(width=width, layers=4, heads=4, feedforward=4 * width), 80)
    masked = masked_timesteps.Objective(masked_timesteps.Config(), backbone)
    yield Case(f"masked timesteps, 4 x {width}", masked, steps, config)
    yield Case("the same, stretched in time", masked, steps, replace(config, time_stretch=0.1))
    listener = whisper.Backbone(whisper.Config(width=width, layers=4, heads=4, feedforward=4 * width), 80)
    settings = Full(temporal_pooling="statistics", training=config)
    network = models.Network(listener, settings, task.outputs)
    target = task.values(steps.utterances)
    yield Case(
        f"fine-tuning, Whisper 4 x {width}", Supervised(network, task, settings, steps, target), steps, config, target
    )


Make = Callable[[loop.Loop, int], Iterator]
USUAL: Make = loop.Loop.batches


def ready() -> Make:
    """Batches that were made in the first round lie on the device in all others."""
    kept: list = []

    def batches(self: loop.Loop, done: int) -> Iterator:
        if not kept:
            kept.extend(USUAL(self, done))
        yield from kept

    return batches


def once(case: Case, start: dict, make: Make) -> tuple[float, float, dict]:
    """Wall and CPU seconds of a pass over the data from these weights, and the weights behind it."""
    times: list[float] = []

    def timed(self: loop.Loop, done: int) -> Iterator:
        wall, cpu = time.perf_counter(), time.process_time()
        yield from make(self, done)
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        times.extend([time.perf_counter() - wall, time.process_time() - cpu])

    case.model.load_state_dict(start)
    loop.Loop.batches = timed  # type: ignore[method-assign, assignment]
    training.fit(case.model, case.steps, case.config, target=case.target, keep=training.Keep(quiet=True))
    wall, cpu = times
    return wall, cpu, {k: v.detach().cpu().clone() for k, v in case.model.state_dict().items()}


def race(case: Case, updates: int, rounds: int) -> None:
    start = {k: v.clone() for k, v in case.model.state_dict().items()}
    makes = {"`training.fit`": USUAL, "ready in memory": ready()}
    clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in makes}
    ends: dict[str, dict] = {}
    for turn in range(rounds + 1):  # the first does not count
        for name in list(makes)[:: 1 if turn % 2 else -1]:
            wall, cpu, ends[name] = once(case, start, makes[name])
            clocks[name] += [(wall, cpu)] * bool(turn)
    apart = max(float((a - b).abs().max()) for a, b in zip(*(end.values() for end in ends.values()), strict=True))
    base = statistics.median(wall for wall, _ in clocks["ready in memory"])
    for name, times in clocks.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        cells = [
            f"{updates / wall:.1f}",
            f"{1e3 * cpu / updates:.1f}",
            f"{100 * (wall / base - 1):+.1f} %",
            f"{apart:.1g}",
        ]
        print(f"| {case.name} | {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options.add_argument("--steps", type=int, default=0, help="updates a round; default: 10, or 200 on a GPU")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--precision", default="", choices=["", "fp32", "bf16"], help="default: bf16 on a GPU")
    chosen = options.parse_args()
    gpu = chosen.device == "cuda"
    updates, precision = chosen.steps or (200 if gpu else 10), chosen.precision or ("bf16" if gpu else "fp32")
    where = torch.cuda.get_device_name() if gpu else f"{runs.hardware()}, {torch.get_num_threads()} threads"
    print(f"{where}, torch {torch.__version__}, {precision}, {updates} updates a round\n")
    print("| case | batches | updates a second | CPU ms | costs more | weights apart |\n|---|---|---|---|---|---|")
    for case in cases(updates, 32 if gpu else 4, 512 if gpu else 64, precision):
        race(case, updates, chosen.rounds)


if __name__ == "__main__":
    main()
