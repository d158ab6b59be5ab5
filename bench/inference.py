"""A trained model from file to answer, beside what a user would pick instead: `python -m bench.inference MODEL`.

    hour    an hour in one file: PyTorch and the exported model in int8; CPU seconds and memory of a process of its own
    first   seconds from the start of a process to its first answer, import included
    peers   clips of 3 to 5 s: ours beside transformers' audio-classification pipeline with an encoder of Whisper base's
            size (random weights of its shape: speed, not accuracy) and openSMILE's eGeMAPS functionals with an SVM

One thread. Recordings are generated voices. CPU seconds, as other work may be on the same cores.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from sottovoce.corpora import synthetic

RATE = 16_000
ONE = """
import json, resource, sys, time
start, cpu = time.perf_counter(), time.process_time()
import {module}
found = {module}.load(sys.argv[1])(sys.argv[2])
use = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, use.ru_maxrss / 1024, found.label]))
"""
RUNNERS = {"PyTorch": "sottovoce", "ONNX int8": "sottovoce.onnx"}


def voices(seconds: float, many: int, shortest: float, longest: float) -> list[np.ndarray]:
    """Recordings of these lengths, or until they make so many seconds."""
    found, total = [], 0.0
    for _, wave, _ in synthetic.generate(speakers=8, per_speaker=max(many // 8, 1), seconds=(shortest, longest)):
        found.append(wave.values)
        total += len(wave.values) / RATE
        if seconds and total > seconds:
            break
    return found[:many]


def alone(module: str, model: Path, recording: Path) -> tuple[float, float, float, str]:
    """(wall s, CPU s, MiB, label) of a process that loads a model and hears one file."""
    command = [sys.executable, "-c", ONE.format(module=module), str(model), str(recording)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, cpu, memory, label = json.loads(done.stdout)
    return wall, cpu, memory, label


def hour(models: dict[str, Path], place: Path, minutes: int) -> None:
    minute = np.concatenate(voices(60, 64, 2, 6))[: 60 * RATE]
    with soundfile.SoundFile(place / "hour.wav", "w", RATE, 1, "PCM_16") as file:
        for k in range(minutes):
            file.write(np.roll(minute, k * 777))
    print(f"\n| {minutes} minutes by | CPU s | x real time | MiB at most | says |\n|---|---|---|---|---|")
    for name, module in RUNNERS.items():
        _, cpu, memory, label = alone(module, models[name], place / "hour.wav")
        print(f"| {name} | {cpu:.1f} | {60 * minutes / cpu:.0f} | {memory:.0f} | {label} |", flush=True)


def first(models: dict[str, Path], place: Path, runs: int) -> None:
    soundfile.write(place / "clip.wav", voices(0, 8, 3, 4)[0], RATE)
    print("\n| first answer by | wall s, median | fastest | CPU s |\n|---|---|---|---|")
    for name, module in RUNNERS.items():
        found = [alone(module, models[name], place / "clip.wav") for _ in range(runs + 1)][1:]
        walls, cpu = [f[0] for f in found], statistics.median(f[1] for f in found)
        print(f"| {name} | {statistics.median(walls):.2f} | {min(walls):.2f} | {cpu:.2f} |", flush=True)


def peers(models: dict[str, Path], place: Path, many: int) -> None:
    import sottovoce

    paths = []
    for k, wave in enumerate(voices(0, many, 3, 5)):
        paths.append(place / f"clip{k}.wav")
        soundfile.write(paths[-1], wave, RATE)
    seconds = sum(soundfile.info(path).duration for path in paths)
    ways: dict[str, Callable[[Path], Any]] = {n: sottovoce.load(model) for n, model in models.items()}
    ways |= {"transformers, Whisper base": _transformers(), "openSMILE eGeMAPS + SVM": _opensmile(paths)}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(3):  # in turns, the first does not count
        for name, way in ways.items():
            start = time.process_time()
            for path in paths:
                way(path)
            if turn:
                cpu[name].append(time.process_time() - start)
    took = {name: statistics.median(values) for name, values in cpu.items()}
    print(f"\n| {len(paths)} clips, {seconds:.0f} s, by | CPU ms a clip | x real time | times PyTorch's |")
    print("|---|---|---|---|")
    for name, value in took.items():
        print(f"| {name} | {1e3 * value / len(paths):.0f} | {seconds / value:.0f} | {value / took['PyTorch']:.2f} |")


def _transformers() -> Callable[[Path], Any]:
    from transformers import AudioClassificationPipeline, WhisperConfig, WhisperFeatureExtractor
    from transformers import WhisperForAudioClassification as Model

    config = WhisperConfig(d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048, num_labels=4)
    pipe = AudioClassificationPipeline(Model(config).eval(), feature_extractor=WhisperFeatureExtractor(), device="cpu")
    return lambda path: pipe({"raw": soundfile.read(path, dtype="float32")[0], "sampling_rate": RATE})


def _opensmile(paths: list[Path]) -> Callable[[Path], Any]:
    import opensmile
    from sklearn.svm import LinearSVC

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    x = np.concatenate([smile.process_file(str(path)).to_numpy() for path in paths[:8]])
    svm = LinearSVC().fit(x, np.arange(len(x)) % 4)
    return lambda path: svm.predict(smile.process_file(str(path)).to_numpy())


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("model", type=Path, help="folder of a fine-tuned model, one fold of it")
    options.add_argument("--part", choices=["hour", "first", "peers"], help="default: all")
    options.add_argument("--minutes", type=int, default=60, help="of `hour`")
    options.add_argument("--clips", type=int, default=24, help="of `peers`")
    options.add_argument("--runs", type=int, default=5, help="of `first`")
    options.add_argument("--onnx", type=Path, help="the exported model (default: exported here)")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        exported = chosen.onnx or place / "model.onnx"
        if not chosen.onnx:
            subprocess.run(
                [sys.executable, "-m", "sottovoce", "export", str(chosen.model), "-o", str(exported), "--int8"],
                check=True,
            )
        models = {"PyTorch": chosen.model, "ONNX int8": exported}
        for part, run in {
            "hour": lambda: hour(models, place, chosen.minutes),
            "first": lambda: first(models, place, chosen.runs),
            "peers": lambda: peers(models, place, chosen.clips),
        }.items():
            if chosen.part in (None, part):
                run()
    print(f"\n{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB of this process at most")


if __name__ == "__main__":
    main()
