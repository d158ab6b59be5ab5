"""A run is a folder: config.json (all that made it), weights in safetensors, log, report.

    runs/pre/                 runs/ft/
      fold1/config.json         fold1/config.json   recipe, task, who was seen, versions, command
      fold1/model.safetensors   fold1/model.safetensors
      fold1/report.html         predictions.csv  report.json  report.html   (after `evaluate`)

One sub-folder a fold: `fold1` was made without the test speakers of fold1. A sub-folder counts as finished
only when its model.safetensors is there *and* its config.json has the identity that is asked for.
"""

import os
import platform
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sottovoce import files
from sottovoce.config import recipe
from sottovoce.config.recipe import Recipe
from sottovoce.config.settings import chosen
from sottovoce.data import own
from sottovoce.data.folds import EARLIER_NO_HOLDOUT, NO_HOLDOUT, Seen, current, seen_by
from sottovoce.data.recordings import recordings_below
from sottovoce.errors import InputError

FORMAT = 2  # of config.json; 1, which did not say so, had other names of settings and one class of fine-tuning
SAME = ("kind", "recipe", "fold", "features", "task", "labels", "of_labels", "seed")  # where format 1 goes on
TOLD = ("init", "labels", "seed", "task", "transductive")  # what a command line says beside settings
PACKAGES = ("sottovoce", "torch", "numpy", "scipy", "scikit-learn", "accelerate", "soundfile", "soxr")
NEEDED = {  # entries of config.json that readers rely on
    "pretrain": ("identity", "settings", "fold", "features", "seen_speakers"),
    "finetune": ("identity", "settings", "fold", "features", "seen_speakers", "task", "corpus", "seed", "labels"),
    "phoneme": ("identity", "settings", "fold", "seen_speakers", "task", "corpus", "seed"),
}

RENAMED = {"exposure": "seen_speakers", "heard_test_speakers": "seen_test_speakers"}  # of runs made before


@dataclass(frozen=True)
class Run:
    """One finished or unfinished sub-folder."""

    folder: Path
    config: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def finished(self) -> bool:
        return self.weights.exists()

    @property
    def seen_speakers(self) -> frozenset[str]:
        """`corpus/speaker` of all people whose audio its weights or statistics have seen, see `folds.seen_by`."""
        return frozenset(self.config.get("seen_speakers", ()))

    @classmethod
    def open(
        cls,
        folder: Path,
        kind: str,
        plan: Recipe,
        *,
        fold: str,
        features: int,
        decides: dict[str, Any],
        seen: Seen,
        before: "Run | None" = None,
        **entries: Any,
    ) -> "Run":
        """The run of these settings on these data in a folder: `finished`, or begun (config.json) and to go on with.

        Args:
            features: of a frame of its track.
            decides: what else decides the result, except settings and `before`: data, seeds.
            seen: whom it learns from; those whom `before` has seen are added.
            before: the run it goes on from.
            entries: what else config.json tells.

        Raises InputError: a run of another configuration is in the folder.
        """
        init, seen = before.identity if before else None, seen | seen_by(before)
        config = {
            "kind": kind,
            "format": FORMAT,
            "identity": files.digest({"settings": chosen(plan), **decides, "init": init}),
            "recipe": plan.name,
            "fold": fold,
            "settings": plan,
            "features": features,
            "seen_speakers": sorted(seen.people),
            **entries,
        }
        if not begin(folder, config):
            seen.keep(folder)
        return cls(folder, config)

    @property
    def identity(self) -> str:
        return self.config["identity"]

    @property
    def plan(self) -> Recipe:
        """Its settings. Raises InputError where they are damaged."""
        return recipe.from_dict(self.config["settings"], self.folder / "config.json")

    def finish(self) -> None:
        """Remove what only going on needed; the weights, written last, have made it a finished one."""
        for name in ("last.safetensors", "best.safetensors", ".lock"):
            (self.folder / name).unlink(missing_ok=True)
        if (mine := _at_work.pop(self.folder.absolute(), None)) is not None:
            os.close(mine)

    @classmethod
    def load(cls, folder: Path | str, kind: str | None = None) -> "Run":
        """Raises InputError when the folder is no run, or a run of another kind than `kind`."""
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder}: not a run. Found no config.json. Name a folder written by pretrain or finetune."
            )
        config = own.read_json(folder / "config.json")
        if not isinstance(config, dict) or not isinstance(config.get("kind"), str):
            raise InputError(f"{folder / 'config.json'}: not a run's configuration. Make the run again.")
        if not isinstance(made := config.get("format", 1), int) or not 1 <= made <= FORMAT:
            raise InputError(
                f"{folder / 'config.json'}: of format {made!r}. This version reads 1 to {FORMAT}. Update sottovoce, or "
                "make the run again."
            )
        if kind and config["kind"] != kind:
            raise InputError(f"{folder}: a {config['kind']} run. A {kind} run is needed here.")
        config = {RENAMED.get(key, key): value for key, value in config.items()}
        missing = [key for key in NEEDED.get(config["kind"], ()) if key not in config]
        if missing:
            raise InputError(
                f"{folder / 'config.json'}: damaged. Found no {', '.join(missing)}. Restore it or make the run again."
            )
        own.shaped(config, _Entries, folder / "config.json", "Restore it or make the run again.")
        return cls(folder, config)


@dataclass(frozen=True)
class _Source:
    """What is told of a corpus whose layer a run stands on, see `modeling.source_layers`."""

    name: str
    title: str
    licence: str
    free: bool


@dataclass(frozen=True)
class _Entries:
    """What entries of config.json are, where they are there."""

    kind: str
    identity: str = ""
    recipe: str = ""
    fold: str = "none"
    settings: dict[str, Any] = field(default_factory=dict)  # `recipe.from_dict` reads them
    task: dict[str, Any] = field(default_factory=dict)
    features: int = 1
    seed: int = 0
    corpus: str = "none"
    init: str | None = None
    seen_speakers: tuple[str, ...] = ()
    seen_test_speakers: tuple[str, ...] = ()
    shipped_encoder: str = ""
    sources: tuple[_Source, ...] = ()
    labels: int = 0
    of_labels: int = 0
    transductive: bool = False

    def __post_init__(self) -> None:
        if self.fold and not files.is_folder_name(self.fold):
            raise ValueError(f"Found fold {self.fold!r}, no name of a folder")
        if not 0 < self.features < 1 << 20:
            raise ValueError(f"Found {self.features} features a frame")


def parts(folder: Path | str, kind: str | None = None) -> list[Run]:
    """The finished runs in a folder: itself, or one a fold.

    Raises InputError when there is none, naming those that are unfinished.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such run folder. Make it with `sottovoce pretrain` or `sottovoce finetune`.")
    homes = [folder]
    if not (folder / "config.json").is_file():
        homes = sorted((path.parent for path in folder.glob("*/config.json")), key=lambda home: natural(home.name))
    found = [Run.load(home, kind) for home in homes]
    done = [run for run in found if run.finished]
    if not done:
        names = ", ".join(r.folder.name for r in found) or "nothing"
        raise InputError(f"{folder}: no finished run. Found {names}. Run the same command again to go on.")
    return done


def is_model(folder: Path | str) -> bool:
    """Whether a folder holds a run, or one a fold, finished or not; one without recordings is meant to."""
    folder = Path(folder)
    if not folder.is_dir():
        return False
    return (folder / "config.json").is_file() or any(folder.glob("*/config.json")) or not recordings_below(folder)


def folder_of(home: Path, fold: str) -> Path:
    """Where a fold's run lies; one without a held-out fold stays in the folder that an earlier version gave it."""
    earlier = home / EARLIER_NO_HOLDOUT
    return earlier if fold == NO_HOLDOUT and earlier.is_dir() and not (home / fold).exists() else home / fold


def begin(folder: Path, config: dict[str, Any]) -> bool:
    """Write config.json; True when this very configuration is already finished there.

    A run of an earlier format with the same settings is gone on with under the identity it has.

    Raises InputError when another configuration is in the folder, or another process makes one there.
    """
    done = (folder / "model.safetensors").exists()
    alone = done or _hold(folder)
    if (folder / "config.json").exists():
        found = Run.load(folder).config
        if "format" not in found and _same_settings(found, config):
            config["identity"] = found["identity"]  # its checkpoints know this one
        begun = any((folder / name).exists() for name in ("model.safetensors", "last.safetensors", "best.safetensors"))
        if begun and found.get("identity") != config["identity"]:  # a lone config.json is nothing to lose
            raise InputError(
                f"{folder}: a run of another configuration. Differs in: {_difference(found, config)}. "
                "Choose another -o, or delete the folder."
            )
        if done:
            return True
        if not alone and found.get("identity") != config["identity"]:
            raise InputError(f"{folder}: another command is making another run there. Choose another -o.")
    files.write_json(folder / "config.json", config | {"made": provenance()})
    return False


_at_work: dict[Path, int] = {}  # folders of unfinished runs of this process, and its lock on each


def _hold(folder: Path) -> bool:
    """Whether this process is the first at work in a folder; the others of one run, or of one study, are not."""
    home = folder.absolute()
    if home not in _at_work:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _at_work[home] = files.lock(folder, wait=False)
        except BlockingIOError:
            return False
    return True


def _same_settings(found: dict, now: dict) -> bool:
    try:
        earlier = recipe.from_dict(found["settings"])
    except InputError:
        return False
    found = found | {"fold": current(found.get("fold"))}
    return earlier == now["settings"] and all(files.plain(now.get(key)) == found.get(key) for key in SAME)


def _difference(found: dict, now: dict) -> str:
    a, b = (files.flatten({**files.plain(c.get("settings", {})), **{k: c.get(k) for k in TOLD}}) for c in (found, now))
    keys = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k))
    shown = [f"{k} ({a.get(k)} there, {b.get(k)} now)" for k in keys[:3]]
    return "; ".join(shown) + ("; ..." if len(keys) > 3 else "") if shown else "its data"


def natural(name: str) -> tuple:
    """Sorts fold2 before fold10."""
    return tuple(int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", name))


def provenance() -> dict[str, Any]:
    """When, by which command, with which versions and on what hardware."""
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
        "hardware": hardware(),
    }


@cache
def hardware() -> str:
    """`2 x Intel(R) Xeon(R) ... @ 2.50GHz, 24 GiB`, and the GPU when torch is loaded and sees one."""
    name, memory = platform.processor() or platform.machine(), ""
    with suppress(OSError, ValueError):
        told = re.search(r"^model name\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = told[1].strip() if told else name
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    text = f"{os.cpu_count()} x {name}{memory}"
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name(0)}"
    return text


@cache
def _commit() -> str:
    here = Path(__file__).resolve().parent.parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
