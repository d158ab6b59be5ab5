"""Kills at random moments: `python -m bench.kills [--kills 100] [--seed 0] [--only finetune]`.

Every verb works on a small corpus, is killed (SIGKILL) somewhere between its first and last moment, sometimes twice,
and is started again with the same words. Every file of the uninterrupted run must then be there and hold the same: all
bytes, but for dates, seconds and the logged loss of the epoch that was killed. The exit code is 1 where one does not.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sottovoce import cli

TINY = (
    *("backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.feedforward=64", "track.bins=40"),
    *("training.epochs=3", "training.min_updates=0", "training.batch_rows=8", "training.save_every=0"),
    *("finetune.depth=0", "finetune.l2=0.003,0.03", "finetune.training.epochs=2", "finetune.training.min_updates=0"),
)
SETS = [word for text in TINY for word in ("--set", text)]
TUNED = [word for text in TINY if text.startswith("finetune") for word in ("--set", text)]
OPTIONS = ("speakers=6", "per_speaker=6", "emotions=3", "seconds=0.6,0.9", "unlabelled_speakers=2")
STEPS: dict[str, list[str]] = {  # what every verb is called with, one after another, in one folder
    "prepare": ["prepare", "synthetic", "audio", "-o", "data", "-j", "1", *(w for o in OPTIONS for w in ("--set", o))],
    "extract": ["extract", "data", "--track", "egemaps", "-j", "1"],
    "pretrain": ["pretrain", "masked_timesteps", "data", "-o", "pre", "--tracker", "none", "--jobs", "1", *SETS],
    "label": ["label", "pre/fold1", "data", "-o", "units", "--layer", "1", "--clusters", "4,8", "--jobs", "1"],
    "finetune": ["finetune", "data", "--init", "pre", "--fold", "fold1", "-o", "ft", "--mode", "full", *TUNED],
    "evaluate": ["evaluate", "ft", "--no-opensmile"],
    "study": ["study", "data", "--init", "pre", "-o", "study", "--labels", "6,12", "--seeds", "1", "--jobs", "1"],
    "run": ["run", "masked_timesteps", "data", "-o", "system", "--ablate", "frozen", "--no-opensmile", "--jobs", "1"]
    + [word for text in TINY for word in ("--set", ("" if text.startswith("finetune") else "pretrain.") + text)],
    "compare": ["compare", "ft", "system/masked_timesteps/seed0", "-o", "compared"],
    "embed": ["embed", "pre/fold1", "audio", "-o", "vectors.npz"],
    "predict": ["predict", "ft", "audio", "-o", "answers/all.csv"],
}
VARIES = re.compile(r"\"?(made|seconds|date|hardware|command|versions|commit)\"?")
TIMES = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d|\b\d+(\.\d+)? ?(s|min)\b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="verbs, with commas; those before them are run in peace")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for verb in cli.VERBS:  # a child need not import them again
        importlib.import_module(cli.module_of(verb))
    importlib.import_module("sottovoce.inference.recogniser")
    rng, only = random.Random(options.seed), options.only.split(",") if options.only else list(STEPS)
    with tempfile.TemporaryDirectory(prefix="kills_") as place:
        faults, killed = _all(Path(place), rng, only, options.kills)
    print(f"{killed} kills, {len(faults)} faults")
    for fault in faults:
        print(f"  {fault}")
    sys.exit(bool(faults))


def _all(place: Path, rng: random.Random, only: list[str], kills: int) -> tuple[list[str], int]:
    work, faults, killed = place / "work", [], 0
    work.mkdir()
    each = -(-kills // len(only))
    for verb, words in STEPS.items():
        shutil.copytree(work, place / "before")
        took = _finish(work, words)
        whole = _files(work)
        if verb in only:
            again = _fresh(place, work)
            _finish(again, words)
            varies = {name for name, held in _files(work).items() if held != whole.get(name)}
            # Pictures of pre-trainings have the loss of the killed epoch; report.json is compared without it.
            varies |= {name for name in whole if name.startswith(("pre/", "system/steps")) and name.endswith(".html")}
            varies |= {"ft/test_readings.json"}  # a killed evaluation has read the test part too
            count = 0
            for _ in range(each):
                work = _fresh(place, work)
                count += _kill(work, words, rng.uniform(0, took))
                if rng.random() < 0.3:
                    count += _kill(work, words, rng.uniform(0, took))
                faults += [f"{verb}: {why}" for why in _differences(work, words, whole, varies)]
            killed += count
            print(
                f"{verb}: {took:.1f} s, {count} kills, {len(varies)} of {len(whole)} files vary",
                flush=True,
            )
        shutil.rmtree(place / "before")
    return faults, killed


def _fresh(place: Path, work: Path) -> Path:
    """The folder as it was before the verb."""
    shutil.rmtree(work)
    shutil.copytree(place / "before", work)
    return work


def _differences(work: Path, words: list[str], whole: dict[str, str], varies: set[str]) -> list[str]:
    try:
        _finish(work, words)
    except RuntimeError as error:
        return [str(error)]
    found = _files(work)
    lost = [f"lost: {name}" for name in whole if name not in found]
    other = [f"differs: {name}" for name, held in whole.items() if name in found and found[name] != held]
    return lost + [line for line in other if line.removeprefix("differs: ") not in varies]


def _child(work: Path, words: list[str], log: Path) -> int:
    """The process id of a command that has just begun."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir(work)
        with open(log, "wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.argv = ["sottovoce", *words]
        cli.run()
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _finish(work: Path, words: list[str]) -> float:
    """Seconds that a command took to its end. Raises RuntimeError where it fails."""
    started, log = time.monotonic(), work.parent / "log"
    _, status = os.waitpid(_child(work, words, log), 0)
    if status:
        said = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise RuntimeError(f"{' '.join(words[:3])}: exit {os.waitstatus_to_exitcode(status)}: {said}")
    return time.monotonic() - started


def _kill(work: Path, words: list[str], after: float) -> bool:
    """Begin a command and kill it; False when it was done before."""
    child = _child(work, words, work.parent / "log")
    time.sleep(after)
    early, _ = os.waitpid(child, os.WNOHANG)
    if early:
        return False
    with contextlib.suppress(ProcessLookupError):  # it has no group of its own yet
        os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _files(work: Path) -> dict[str, str]:
    """Name -> hash of what counts in a file, of every file that is not hidden."""
    found = {}
    for path in sorted(work.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name not in ("log.jsonl",):
            data = path.read_bytes()
            kind: Callable[[bytes], bytes] = {".json": _json, ".html": _page}.get(path.suffix, bytes)
            found[str(path.relative_to(work))] = hashlib.blake2b(kind(data)).hexdigest()
    return found


def _json(data: bytes) -> bytes:
    return json.dumps(_without(json.loads(data)), sort_keys=True).encode()


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        logged = (
            {"step", "loss", "coverage"} if "heldout_loss" in value else set()
        )  # of training: a killed epoch has less
        return {k: _without(v) for k, v in value.items() if not VARIES.fullmatch(k) and k not in logged}
    return list(map(_without, value)) if isinstance(value, list) else value


def _page(data: bytes) -> bytes:
    return TIMES.sub(b"", data)


if __name__ == "__main__":
    main()
