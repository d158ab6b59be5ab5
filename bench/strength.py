"""StrengthNet at the size of its paper as a track: `python -m bench.strength [--minutes 4] [--size 16,32,64,128]`.

All of `sottovoce extract --track intensity`: recordings -> mel -> network -> store, with random weights, which
cost what trained ones do. CPU seconds of all threads and processes, so that a shared machine tells the truth; wall
time beside it. Target: 50 x real time on two cores, below 2 GiB. Truth: a frame judged in a batch and alone.
"""

import argparse
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from sottovoce import files, plugins
from sottovoce.commands import extract as extract_command
from sottovoce.config import recipe
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.frames import Statistics
from sottovoce.modeling import network
from sottovoce.pipeline import extract

RATE_HZ = 16_000


def corpus_of(home: Path, minutes: float) -> Corpus:
    """Noise in bursts, 2 to 20 s a recording, as utterances are."""
    rng, utterances, left = np.random.default_rng(0), [], 60 * minutes
    while left > 0:
        seconds = float(min(rng.uniform(2, 20), max(left, 2)))
        left -= seconds
        samples = 0.05 * rng.standard_normal(int(seconds * RATE_HZ)) * rng.integers(0, 2, int(seconds * RATE_HZ))
        name = f"u{len(utterances):04d}.flac"
        soundfile.write(home / name, samples, RATE_HZ)
        utterances.append(Utterance(name[:-5], "bench", name, speaker=f"s{len(utterances) % 8}"))
    corpus = Corpus(home / "data", "bench", home, tuple(utterances), (), {}, {}, {})
    corpus.save()
    return corpus


def fresh_run(folder: Path, channels: tuple[int, ...]) -> runs.Run:
    """A run with random weights."""
    torch.manual_seed(0)
    plan = recipe.resolve("strengthnet")
    plan = replace(plan, backbone_config=replace(plan.backbone_config, channels=channels))
    backbone = network.build_backbone(plan, 80)
    for weight in backbone.parameters():  # loud ones: behind fresh Glorot weights every frame is nearly the same
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight)
    objective = plugins.load("objectives", plan.objective).Objective(plan.objective_config, backbone)
    config = {
        "kind": "pretrain",
        "identity": "bench",
        "settings": plan,
        "fold": "none",
        "features": 80,
        "seen_speakers": [],
    }
    files.write_json(folder / "config.json", config)
    network.save_pretrained(folder, backbone, Statistics.unit(80), objective)
    return runs.Run.load(folder)


def cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--minutes", type=float, default=4.0, help="of speech")
    options.add_argument("--size", default="16,32,64,128", help="channels of the four groups")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        corpus = corpus_of(home, asked.minutes)
        run = fresh_run(home / "run", tuple(int(c) for c in asked.size.split(",")))
        costs = []
        for track, model in (("mel", None), ("intensity", run.folder)):
            wall, cpu = time.perf_counter(), cpu_s()
            extract_command.main(corpus.folder, track=track, model=model, jobs=1, quiet=True)
            costs.append((time.perf_counter() - wall, cpu_s() - cpu))
        store = extract.find_model_store(corpus, "intensity")
        objective, _ = network.load_objective(run)
        mel, apart = extract.track_store(corpus, "mel", jobs=1, quiet=True), 0.0
        with torch.inference_mode():
            for id in store.ids[:8]:
                alone = objective.frames(torch.from_numpy(mel[id].copy())[None], torch.tensor([len(mel[id])]))[0]
                apart = max(apart, float(np.abs(store[id][:, 0] - alone.numpy()).max()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = store.frames / store.rate_hz
    wall, cpu = (sum(part) for part in zip(*costs, strict=True))
    print(
        "| strength | speech | x real time per core (CPU) | of which mel | x real time, wall | peak GiB | "
        f"batch against alone |\n|---|---|---|---|---|---|---|\n| {asked.size} | {seconds / 60:.1f} min "
        f"| {seconds / cpu:.0f} | {costs[0][1] / cpu:.0%} | {seconds / wall:.0f} on {os.cpu_count()} shared cores "
        f"| {peak:.2f} | {apart:.1e} |"
    )


if __name__ == "__main__":
    main()
