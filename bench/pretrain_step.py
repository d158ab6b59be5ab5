"""What everything around forward and backward costs: `python -m bench.pretrain_step [--quick] [--s3prl PATH]`.

`training.fit` (batches read and normalised, masks, corruption, clipping, schedule, AdamW, accelerate) beside

    plain    a bare PyTorch loop over nn.TransformerEncoder of the same shape, batches and masks made beforehand
    bare     the same loop over our own backbone
    s3prl    the MockingJay and the NPC pre-training step: its models and its data processing, from a checkout that
             is not ours (`--s3prl PATH` or environment S3PRL; https://github.com/s3prl/s3prl); left out where there
             is none

All in one process and in turns, so that a busy neighbour slows all alike. Every figure is a median over the
rounds; CPU seconds are those of all threads together and hardly feel the neighbours.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import argparse
import importlib.util
import random
import statistics
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.backbones import npc as npc_backbone
from sottovoce.backbones import transformer
from sottovoce.config.frontend import Frontend
from sottovoce.config.training import Training
from sottovoce.data import runs
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.frames import Statistics
from sottovoce.modeling import training
from sottovoce.modeling.masking import RowRandom, span_mask
from sottovoce.objectives import masked_timesteps
from sottovoce.objectives import npc as npc_objective

RATIO, CLIP, LR = 0.15, 1.0, 2e-4


@dataclass(frozen=True)
class Case:
    name: str
    features: int
    config: Any
    rows: int
    frames: int
    updates: int  # a round
    rounds: int


CASES = [
    Case("4 x 128, 74-d", 74, transformer.Config(dropout=0.0), 32, 400, updates=6, rounds=5),
    Case(
        "3 x 768, 240-d",
        240,
        transformer.Config(768, 3, 12, 3072, dropout=0.0, positions="sinusoidal", norm="post", eps=1e-12),
        *(16, 400),
        updates=3,
        rounds=3,
    ),
    Case("NPC 4 x 512, 80-d", 80, npc_backbone.Config(), 16, 400, updates=3, rounds=3),
]


class Store(dict):
    """utterance id -> (T, F): smooth curves, so that there is something to learn."""

    def __init__(self, case: Case):
        rng = np.random.default_rng(0)
        mix = rng.standard_normal((8, case.features)).astype(np.float32)
        clock = np.arange(case.frames, dtype=np.float32)[:, None]
        for k in range(case.rows * case.updates):
            slow = np.sin(
                clock * rng.uniform(0.02, 0.2, 8).astype(np.float32) + rng.uniform(0, 6, 8).astype(np.float32)
            )
            self[f"u{k}"] = slow @ mix
        self.rate_hz, self.offset_s, self.dim = 100.0, 0.0, case.features
        self.lengths = dict.fromkeys(self, case.frames)


class Plain(nn.Module):
    """What one writes in a notebook."""

    def __init__(self, case: Case):
        super().__init__()
        c = case.config
        layer = nn.TransformerEncoderLayer(
            c.width, c.heads, c.feedforward, c.dropout, "gelu", batch_first=True, norm_first=c.norm == "pre"
        )
        self.embed = nn.Linear(case.features, c.width)
        last = nn.LayerNorm(c.width) if c.norm == "pre" else None
        self.encoder = nn.TransformerEncoder(layer, c.layers, last, enable_nested_tensor=False)
        self.predict = nn.Linear(c.width, case.features)
        self.register_buffer("positions", transformer.sinusoids(case.frames, c.width))

    def forward(self, seen: Tensor) -> Tensor:
        return self.predict(self.encoder(self.embed(seen) + self.positions))


class Bare(nn.Module):
    """Our backbone, called the same way."""

    def __init__(self, case: Case):
        super().__init__()
        self.backbone = transformer.Backbone(case.config, case.features)
        self.predict = nn.Linear(case.config.width, case.features)
        self.lengths = torch.full((case.rows,), case.frames)

    def forward(self, seen: Tensor) -> Tensor:
        return self.predict(self.backbone(seen, self.lengths).last)


def steps_of(case: Case) -> Steps:
    store = Store(case)
    everybody = [Utterance(key, "bench", "") for key in store]
    frontend = Frontend(subsampling=1)
    unit = Statistics(np.zeros(case.features, np.float32), np.ones(case.features, np.float32))
    return Steps([(store, everybody)], frontend, Steps([(store, everybody)], frontend, unit).fit_statistics())


def masked(case: Case, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    config = masked_timesteps.Config(ratio=RATIO, **settings)
    return masked_timesteps.Objective(config, transformer.Backbone(case.config, case.features))


def ours(case: Case, steps: Steps, model: nn.Module) -> tuple[Callable[[], None], list[float]]:
    """One round of `training.fit`, and the losses it leaves behind."""
    losses: list[float] = []
    model.register_forward_hook(lambda *call: losses.append(call[2].value.item()))
    config = Training(epochs=1, lr=LR, warmup=0.0, batch_rows=case.rows, batch_s=1e9, clip=CLIP)

    def round_() -> None:
        training.fit(model, steps, config, keep=training.Keep(quiet=True))

    return round_, losses


def loop(case: Case, steps: Steps, model: nn.Module) -> tuple[Callable[[], None], list[float]]:
    """The bare loop: mask to zero, guess, L1 on what was hidden, clip, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=1e-4)
    lengths = torch.full((case.rows,), case.frames)
    prepared = []
    for k in range(case.updates):
        x = steps.batch(range(k * case.rows, (k + 1) * case.rows)).x
        mask = span_mask(lengths, RowRandom(range(case.rows)), ratio=RATIO)[..., None].expand_as(x)
        prepared.append((x, x.masked_fill(mask, 0.0), mask, mask.sum()))
    losses: list[float] = []

    def round_() -> None:
        model.train()
        for x, seen, mask, count in prepared:
            optimiser.zero_grad()
            loss = ((model(seen) - x).abs() * mask).sum() / count
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            losses.append(loss.item())

    return round_, losses


def mockingjay(case: Case, steps: Steps, checkout: Path) -> tuple[Callable[[], None], list[float]]:
    """s3prl's step as its runner takes it: process the batch, forward, backward, clip at 5, AdamW (PyTorch's)."""
    import yaml

    folder = checkout / "s3prl" / "pretrain" / "mockingjay"
    task = _module(folder / "task.py", "mockingjay_task")
    network = _module(checkout / "s3prl" / "upstream" / "mockingjay" / "model.py", "upstream.mockingjay.model")
    # What pretrain_expert.py imports for reading audio and drawing, which is not needed here.
    stand_ins = {
        "pretrain.mockingjay.dataset": ["KaldiAcousticDataset", "OnlineAcousticDataset"],
        "upstream.baseline.extracter": ["get_extracter"],
        "upstream.baseline.preprocessor": ["get_preprocessor"],
        "utility.audio": ["plot_spectrogram_to_numpy"],
    }
    for name, offers in stand_ins.items():
        module = types.ModuleType(name)
        for offer in offers:
            setattr(module, offer, None)
        sys.modules[name] = module
    expert = _module(folder / "pretrain_expert.py", "mockingjay_expert")
    settings = yaml.safe_load((folder / "config_model.yaml").read_text())
    c = case.config
    shape = {
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "intermediate_size": c.feedforward,
        "hidden_dropout_prob": c.dropout,
        "attention_probs_dropout_prob": c.dropout,
    }
    config = network.TransformerConfig(settings["transformer"] | shape)
    settings["task"]["position_encoding_size"] = c.width
    config.loss = "L1"
    model = expert.TransformerForMaskedAcousticModel(config, case.features, None)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR)
    batches = [steps.batch(range(k * case.rows, (k + 1) * case.rows)).x for k in range(case.updates)]
    losses: list[float] = []
    random.seed(0)

    def round_() -> None:
        model.train()
        for x in batches:
            data = task.generate_masked_acoustic_model_data((x.clone(),), settings["task"])
            seen, positions, hidden, attend, target = data
            positions = positions.expand(seen.size(0), *positions.size())
            loss, _ = model(seen, positions, hidden, attend, target)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())

    return round_, losses


def public_npc(case: Case, steps: Steps, checkout: Path) -> tuple[Callable[[], None], list[float]]:
    """NPC in s3prl, whose model is its authors': forward, L1 on valid frames, backward, clip at 5, Adam."""
    package = types.ModuleType("npc_upstream")
    package.__path__ = [str(checkout / "s3prl" / "upstream" / "npc")]  # it imports its neighbour vq.py
    sys.modules["npc_upstream"] = package
    network = _module(checkout / "s3prl" / "upstream" / "npc" / "npc.py", "npc_upstream.npc")
    c = case.config
    codes = {"codebook_size": [64] * 4, "code_dim": [c.width // 4] * 4, "gumbel_temperature": 1.0}
    model = network.NPC(case.features, c.width, c.layers, c.dropout, True, c.kernel, c.mask, vq=codes)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = [steps.batch(range(k * case.rows, (k + 1) * case.rows)) for k in range(case.updates)]
    losses: list[float] = []

    def round_() -> None:
        model.train()
        for batch in batches:
            guess, _ = model(batch.x)
            error = (guess - batch.x).abs()
            each = [error[i, :length].mean(-1).sum() for i, length in enumerate(batch.lengths.tolist())]
            loss = sum(each) / batch.lengths.sum()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())

    return round_, losses


def _module(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def race(
    case: Case, runners: dict[str, tuple[Callable[[], None], list[float]]], settle: int = 1
) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU seconds of every round of every runner, in turns."""
    clocks: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in runners}
    for turn in range(settle + case.rounds):
        names = list(runners)
        for name in names if turn % 2 else names[::-1]:
            wall, cpu = time.perf_counter(), time.process_time()
            runners[name][0]()
            if turn >= settle:  # the first round allocates
                clocks[name]["wall"].append(time.perf_counter() - wall)
                clocks[name]["cpu"].append(time.process_time() - cpu)
    return clocks


def table(case: Case, runners: dict, clocks: dict, first: str, faster: bool) -> None:
    """`first` beside each of the others: what it costs more, or how many times faster it is."""
    for name, (_, losses) in runners.items():
        wall, cpu = clocks[name]["wall"], clocks[name]["cpu"]
        speed = case.rows * case.frames * case.updates / statistics.median(wall)
        against = []
        for kind in ("wall", "cpu"):
            ratios = [a / b for a, b in zip(clocks[first][kind], clocks[name][kind], strict=True)]
            ratio = statistics.median(ratios)
            against.append("" if name == first else f"{1 / ratio:.2f} x" if faster else f"{100 * (ratio - 1):+.1f} %")
        few = max(len(losses) // 4, 1)
        start, end = np.mean(losses[:few]), np.mean(losses[-few:])
        learns = f"{start:.3f} -> {end:.3f}" + ("" if end < start else " (DOES NOT FALL)")
        print(
            f"| {case.name}, {case.rows} x {case.frames} | {name} | {speed:,.0f} "
            f"| {statistics.median(cpu) / case.updates:.3f} | {against[0]} | {against[1]} | {learns} |",
            flush=True,
        )


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--quick", action="store_true", help="small batches, one round: does it run?")
    options.add_argument("--s3prl", type=Path, default=os.environ.get("S3PRL"), help="an s3prl checkout")
    options.add_argument("--only", choices=["small", "large", "s3prl", "npc"], help="one part")
    chosen = options.parse_args()
    cases = [replace(c, rows=4, frames=100, updates=2, rounds=2) for c in CASES] if chosen.quick else CASES
    small, large, npc = cases
    print(f"{runs.hardware()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    rule = "\n|---|---|---|---|---|---|---|"
    print("| shape | loop | frames/s | CPU s/update | `fit` costs more, wall | CPU | loss |" + rule)
    for key, case in (("small", small), ("large", large)):
        if chosen.only in (None, key):
            steps = steps_of(case)
            torch.manual_seed(0)
            runners = {
                "`training.fit`": ours(case, steps, masked(case)),
                "plain nn.TransformerEncoder": loop(case, steps, Plain(case)),
                "our backbone, bare loop": loop(case, steps, Bare(case)),
            }
            table(case, runners, race(case, runners), "`training.fit`", faster=False)
    if chosen.only not in (None, "s3prl", "npc"):
        return
    if not chosen.s3prl or not (Path(chosen.s3prl) / "s3prl" / "pretrain" / "mockingjay").is_dir():
        print(f"\ns3prl left out: no checkout at {chosen.s3prl or '--s3prl PATH'}.")
        return
    print("\n| shape | step | frames/s | CPU s/update | `fit` is faster, wall | CPU | loss |" + rule)
    steps = steps_of(npc)
    if chosen.only in (None, "npc"):
        model = npc_objective.Objective(npc_objective.Config(), npc_backbone.Backbone(npc.config, npc.features))
        runners = {"`training.fit`": ours(npc, steps, model), "s3prl NPC": public_npc(npc, steps, Path(chosen.s3prl))}
        table(npc, runners, race(npc, runners), "`training.fit`", faster=True)
    for dropout in (0.1, 0.0) if chosen.only != "npc" else ():  # as released, and without
        case = replace(large, config=replace(large.config, dropout=dropout), name=f"{large.name}, dropout {dropout}")
        steps = steps_of(case)
        runners = {
            "`training.fit`": ours(case, steps, masked(case, span=7, head=2, fill="zero", draw="utterance")),
            "s3prl MockingJay": mockingjay(case, steps, Path(chosen.s3prl)),
        }
        table(case, runners, race(case, runners), "`training.fit`", faster=True)


if __name__ == "__main__":
    main()
