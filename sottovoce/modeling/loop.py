"""What is around the updates of a training: where it stands, what is watched, where it is kept, how it goes on.

Processes, devices and precision are accelerate's. Checkpoints are safetensors; nothing is pickled.
"""

import json
import math
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce import files
from sottovoce.config.settings import words
from sottovoce.config.training import Training
from sottovoce.data import own
from sottovoce.data.ahead import ahead
from sottovoce.data.batching import Batch, plan_epoch, row_seed
from sottovoce.data.dataset import Steps
from sottovoce.data.resident import Resident, fits
from sottovoce.errors import InputError, unknown_name
from sottovoce.modeling import checkpoint

BUILDERS = 4  # threads that make batches for a GPU; on a CPU one, as training has the others


@dataclass
class State:
    """Where a run stands; with the weights it is all a checkpoint holds."""

    update: int = 0  # updates done
    epoch: int = 0  # epochs finished
    best: float | None = None
    stale: int = 0  # validations since the best
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)  # one row a validation


@dataclass(frozen=True)
class Watch:
    """What is looked at while a model is trained; by default nothing, and the last weights are kept."""

    validate: Callable[[Any], dict[str, float]] | None = None  # called with the (averaged) model after each epoch
    metric: str = "loss"  # of what it returns, chooses the best weights
    higher_is_better: bool = False
    baseline: float | None = None  # score of the weights as they come: they are kept unless an epoch does better
    before_epoch: Callable[[], None] | None = None  # after a validation; what it computes must be kept in buffers

    def score(self, row: dict[str, float]) -> float:
        """More is better."""
        return row[self.metric] if self.higher_is_better else -row[self.metric]

    @property
    def to_beat(self) -> float | None:
        return None if self.baseline is None else self.score({self.metric: self.baseline})


@dataclass(frozen=True)
class Keep:
    """Where a training is kept and how it is shown."""

    folder: Path | None = None  # of best.safetensors, last.safetensors and log.jsonl; None: everything in memory
    identity: str = ""  # digest of everything that decides the result; a checkpoint of another one is refused
    tracker: str = ""  # "tensorboard", "wandb", ... by accelerate's names; "" = none
    label: str = "training"
    quiet: bool = False  # no progress bar


@dataclass
class Loop:
    """All that an update needs, from the first to the last."""

    model: nn.Module
    wrapped: Any  # the model as accelerate prepared it
    optimiser: Any
    accelerator: Any
    data: Steps | Resident
    config: Training
    target: np.ndarray | None
    keep: Keep
    averaged: dict[str, Tensor]  # weights, averaged over updates; {} without `ema`
    best: dict[str, Tensor]  # weights of the best epoch so far; {}: none
    state: State
    total: int = 0  # updates of the whole training
    unread: list[Tensor] = field(default_factory=list)  # losses of the last updates, still on the device

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, all processes' together."""
        c = self.config
        return plan_epoch(
            self.data.lengths,
            batch_steps=c.batch_frames(self.data.rate_hz),
            batch_rows=c.batch_rows,
            seed=c.seed,
            epoch=epoch,
            most=c.crop_frames(self.data.rate_hz),
            classes=self.target if c.balanced else None,
        )

    def batches(self, done: int) -> Generator[list[tuple[Batch, float]], None, None]:
        """What every update of this epoch after the first `done` takes: its batches on the device, and 0 for one of
        which this process has no row, else 1. They are made in the background."""
        c, rank, world = self.config, self.accelerator.process_index, self.accelerator.num_processes
        device, most = self.accelerator.device, c.crop_frames(self.data.rate_hz)
        seed, plan = row_seed(c.seed, f"epoch {self.state.epoch}"), self.plan(self.state.epoch)

        def make(parts: list[np.ndarray]) -> list[tuple[Batch, float]]:
            mine = [part[rank::world] for part in parts]
            rows = [own if len(own) else part[:1] for own, part in zip(mine, parts, strict=True)]
            made = [self.data.batch(some, seed=seed, most=most, target=self.target).to(device) for some in rows]
            return [(batch, float(len(own) > 0)) for batch, own in zip(made, mine, strict=True)]

        updates = [plan[at : at + c.accumulate] for at in range(done * c.accumulate, len(plan), c.accumulate)]
        return ahead(make, updates, threads=1 if device.type == "cpu" else BUILDERS)


def _trackers(names: str) -> list[str]:
    """Raises InputError for one that accelerate does not know, or that is not installed."""
    from accelerate import tracking

    found, there = words(names), {tracker.value for tracker in tracking.get_available_trackers()}
    for name in found:
        if name not in tracking.LOGGER_TYPE_TO_CLASS:
            raise unknown_name("--tracker", name, sorted(tracking.LOGGER_TYPE_TO_CLASS))
        if name not in there:
            raise InputError(f"--tracker {name}: not installed. Install it, or name another; none for none.")
    return found


def begin(
    model: nn.Module,
    data: Steps,
    config: Training,
    target: np.ndarray | None,
    lr_scale: Callable[[str], float],
    watch: Watch,
    keep: Keep,
) -> Loop:
    """Optimiser, devices and processes; state and weights of the last checkpoint, where there is one."""
    from accelerate import Accelerator

    trackers = _trackers(keep.tracker)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    accelerator = Accelerator(
        cpu=world > 1 and not torch.cuda.is_available(),  # else accelerate lets processes without a GPU train apart
        mixed_precision="no",  # autocast is ours: accelerate's is one for the whole life of a process
        log_with=trackers or None,
        project_dir=str(keep.folder) if keep.folder else None,
    )
    if accelerator.num_processes != world:
        raise InputError(
            f"WORLD_SIZE: {world} processes were started together. Found {accelerator.num_processes} in touch with "
            "each other. Start them by `accelerate launch`, or one alone."
        )
    if keep.tracker:
        accelerator.init_trackers(keep.label.replace(" ", "_"))
    for name, p in model.named_parameters():
        p.requires_grad_(lr_scale(name) > 0)
    model.to(accelerator.device)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}  # few, so that a GPU steps many weights at a time
    for name, p in model.named_parameters():
        if p.requires_grad:
            groups.setdefault((lr_scale(name), config.weight_decay if p.ndim > 1 else 0.0), []).append(p)
    optimiser = torch.optim.AdamW(
        [{"params": group, "scale": scale, "weight_decay": decay} for (scale, decay), group in groups.items()],
        lr=config.lr, betas=(0.9, 0.98), foreach=True,
    )  # fmt: skip
    averaged = {k: v.detach().clone() for k, v in model.named_parameters()} if config.ema else {}
    data = data.stretched(config.time_stretch, config.feature_stretch)
    near = accelerator.device.type == "cuda" and fits(data, config.crop_frames(data.rate_hz), accelerator.device)
    source = Resident(data, accelerator.device) if near else data
    state = State(best=watch.to_beat)
    loop = Loop(model, None, optimiser, accelerator, source, config, target, keep, averaged, {}, state)
    if watch.baseline is not None:
        loop.best = _copy(model)
    if keep.folder and (keep.folder / "last.safetensors").exists():
        resume(loop)
        if (keep.folder / "best.safetensors").exists():
            loop.best = checkpoint.load_tensors(keep.folder / "best.safetensors")
    loop.wrapped, loop.optimiser = accelerator.prepare(model, optimiser)
    return loop


def read(loop: Loop, logs: dict[str, list[float | Tensor]]) -> dict[str, float]:
    """The losses since it was last called go into `logs`; the last of them as `loss`.

    Raises InputError when one is not finite: nothing is kept of what followed.
    """
    values = torch.stack(loop.unread).tolist() if loop.unread else []
    loop.unread.clear()
    for k, value in enumerate(values):
        if not math.isfinite(value):
            raise InputError(
                f"{loop.keep.folder or loop.keep.label}: the loss became {value} at update "
                f"{loop.state.update - len(values) + k}. Lower --set training.lr, or look for extreme values in the "
                "features."
            )
    logs.setdefault("train_loss", []).extend(values)
    return {"loss": values[-1]} if values else {}


def save(loop: Loop) -> None:
    assert loop.keep.folder is not None
    metadata = {"identity": loop.keep.identity, "state": json.dumps(files.plain(loop.state))}
    checkpoint.save(loop.keep.folder / "last.safetensors", loop.model, loop.optimiser, loop.averaged, metadata)


def resume(loop: Loop) -> None:
    """State, weights and moments of the last checkpoint. Raises InputError when it is another run's, or corrupt."""
    folder, identity = loop.keep.folder, loop.keep.identity
    assert folder is not None
    path = folder / "last.safetensors"
    tensors, metadata = checkpoint.read_tensors(path)
    if metadata.get("identity", "") != identity:
        raise InputError(
            f"{folder}: a run of another configuration is in this folder. Found {metadata.get('identity') or 'none'}, "
            f"now {identity}. Choose another -o, or delete the folder."
        )
    try:
        loop.state = own.parse(metadata["state"], State, f"{path}: corrupt checkpoint", "Delete it to start again.")
        loop.state.history = [{k: np.nan if v is None else v for k, v in row.items()} for row in loop.state.history]
        checkpoint.fill(tensors, loop.model, loop.optimiser, loop.averaged)
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path}: corrupt checkpoint. {str(error).splitlines()[0]}. Delete it to start again."
        ) from None


def choose(loop: Loop, score: float) -> None:
    """Keep the weights as they are if no validation was better; count how many were not."""
    state, folder = loop.state, loop.keep.folder
    if state.best is not None and not score > state.best:
        state.stale += 1
        return
    state.best, state.stale, loop.best = score, 0, _copy(loop.model)
    if folder and loop.accelerator.is_main_process:
        checkpoint.save_tensors(folder / "best.safetensors", loop.best)


def end(loop: Loop) -> None:
    """Leave the best weights in the model, and the log in the folder."""
    for tracker in loop.accelerator.trackers:  # its own end would leave no way for processes to meet again
        tracker.finish()
    if loop.best:
        loop.model.load_state_dict(loop.best)
    elif loop.averaged:
        loop.model.load_state_dict(loop.averaged, strict=False)
    loop.model.eval()
    if loop.keep.folder and loop.accelerator.is_main_process:
        text = "".join(json.dumps(row) + "\n" for row in loop.state.history)
        files.write_text(loop.keep.folder / "log.jsonl", text)
    together()


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


class averaged_weights:
    """Inside the block the model holds the averaged weights, outside its own."""

    def __init__(self, model: nn.Module, averaged: dict[str, Tensor]):
        self.model, self.averaged = model, averaged

    def __enter__(self) -> None:
        if self.averaged:
            self.own = {k: p.detach().clone() for k, p in self.model.named_parameters()}
            self.model.load_state_dict(self.averaged, strict=False)

    def __exit__(self, *_: Any) -> None:
        if self.averaged:
            self.model.load_state_dict(self.own, strict=False)


def together() -> None:
    """Go on when all processes that train together are here: what the first has written can be read then."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def first_process() -> bool:
    """Whether this process writes results; of several started together (`accelerate launch`) one does."""
    return os.environ.get("RANK", "0") == "0"
