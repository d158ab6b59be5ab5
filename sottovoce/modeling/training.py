"""The training loop, for pre-training and fine-tuning alike: one long path, read from top to bottom.

Exact resume without saving any random state: every update seeds its own randomness from (seed, update),
every row its own mask, every epoch its own order. A run killed anywhere and started again goes on from its
last checkpoint and ends with the weights of a run that was never killed.

Processes, devices and precision are accelerate's. Checkpoints are safetensors; nothing is pickled.
"""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce import files
from sottovoce.config.training import Training
from sottovoce.data.batching import plan_epoch, row_seed
from sottovoce.data.dataset import Steps
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError
from sottovoce.modeling import checkpoint
from sottovoce.modeling.masking import RowRandom


@dataclass
class State:
    """Where a run stands; with the weights it is all a checkpoint holds."""

    update: int = 0  # updates done
    epoch: int = 0  # epochs finished
    best: float | None = None
    stale: int = 0  # validations since the best
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)  # one row a validation


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
    """Where a training is kept, and who is told of it."""

    folder: Path | None = None  # of best.safetensors, last.safetensors and log.jsonl; None: everything in memory
    identity: str = ""  # digest of everything that decides the result; a checkpoint of another one is refused
    tracker: str = ""  # "tensorboard", "wandb", ... by accelerate's names; "" = none
    label: str = "training"
    quiet: bool = False  # no progress bar


def fit(
    model: nn.Module,
    data: Steps,
    config: Training,
    *,
    target: np.ndarray | None = None,
    lr_scale: Callable[[str], float] = lambda name: 1.0,
    watch: Watch = Watch(),
    keep: Keep = Keep(),
) -> State:
    """Minimise `model(batch, rng) -> Loss` over `data`; leave the best weights in `model`.

    Args:
        model: returns a `sottovoce.objectives.Loss`.
        target: (N,) or (N, D) labels, handed to every batch.
        lr_scale: parameter name -> factor on the learning rate; 0 freezes.

    Raises:
        InputError: the folder holds a checkpoint of another configuration, or a corrupt one; loss not finite.
    """
    if config.balanced and (target is None or target.ndim != 1):
        raise InputError(f"training.balanced: needs one class an utterance. Found none in {keep.label}. Leave it out.")
    loop = _begin(model, data, config, target, lr_scale, watch, keep)
    state, folder, accelerator = loop.state, keep.folder, loop.accelerator
    epochs, validate_every = config.epochs, config.validate_every
    updates = [math.ceil(len(loop.plan(e)) / config.accumulate) for e in range(epochs)]
    if 0 < sum(updates) < config.min_updates:
        longer = math.ceil(config.min_updates / sum(updates))  # as many validations, further apart
        epochs, validate_every = epochs * longer, validate_every * longer
        updates = [math.ceil(len(loop.plan(e)) / config.accumulate) for e in range(epochs)]
    loop.total, done_before = sum(updates), np.concatenate([[0], np.cumsum(updates)])
    started, saved = time.monotonic() - state.seconds, time.monotonic()
    bar = Bar(loop.total, keep.label, quiet=keep.quiet or not accelerator.is_main_process, done=state.update)
    stopped = bool(config.patience and state.stale >= config.patience)
    while state.epoch < epochs and not stopped:
        batches = loop.plan(state.epoch)
        fresh = state.update == done_before[state.epoch] and state.epoch % validate_every == 0
        if watch.before_epoch and fresh:
            watch.before_epoch()
        model.train()
        logs: dict[str, list[float]] = {}
        done = (state.update - int(done_before[state.epoch])) * config.accumulate
        for first in range(done, len(batches), config.accumulate):
            value = update(loop, batches[first : first + config.accumulate], logs)
            bar.advance(1, loss=value)
            if folder and time.monotonic() - saved > config.save_every:
                state.seconds, saved = time.monotonic() - started, time.monotonic()
                if accelerator.is_main_process:
                    _save(loop)
        state.epoch += 1
        row = {"epoch": state.epoch, "update": state.update} | {k: float(np.mean(v)) for k, v in logs.items()}
        if watch.validate and (state.epoch % validate_every == 0 or state.epoch == epochs):
            with _averaged(model, loop.averaged):
                model.eval()
                row |= watch.validate(model)
                _choose(loop, watch.score(row))
            stopped = bool(state.stale and config.patience and state.stale >= config.patience)
            bar.show(**{watch.metric: row[watch.metric]})
        state.history.append(row)
        state.seconds = time.monotonic() - started
        if keep.tracker:
            accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=state.update)
        last = stopped or state.epoch == epochs or time.monotonic() - saved > config.save_every
        if folder and accelerator.is_main_process and last:
            saved = time.monotonic()
            _save(loop)
    bar.close()
    _end(loop)
    return state


@dataclass
class Loop:
    """All that an update needs, from the first to the last."""

    model: nn.Module
    wrapped: Any  # the model as accelerate prepared it
    optimiser: Any
    accelerator: Any
    data: Steps
    config: Training
    target: np.ndarray | None
    keep: Keep
    averaged: dict[str, Tensor]  # weights, averaged over updates; {} without `ema`
    best: dict[str, Tensor]  # weights of the best epoch so far; {}: none
    state: State
    total: int = 0  # updates of the whole training

    def plan(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, all processes' together."""
        c = self.config
        return plan_epoch(
            self.data.lengths,
            batch_steps=c.batch_steps,
            batch_rows=c.batch_rows,
            seed=c.seed,
            epoch=epoch,
            most=c.crop or None,
            classes=self.target if c.balanced else None,
        )


# ------------------------------------------------------------------------------------- one update, forward to step


def update(loop: Loop, parts: Sequence[np.ndarray], logs: dict[str, list[float]]) -> float:
    """One step of the optimiser for the batches `parts`, accumulated; the loss, which `logs` gets too."""
    config, state, accelerator = loop.config, loop.state, loop.accelerator
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    torch.manual_seed(row_seed(config.seed, f"update {state.update} of process {rank}"))
    weight, loss_sum = torch.zeros((), device=device), torch.zeros((), device=device)
    for part in parts:
        mine = part[rank::world]
        share = 1.0 if len(mine) else 0.0  # a process without rows adds nothing
        seed = row_seed(config.seed, f"epoch {state.epoch}")
        batch = loop.data.batch(mine if share else part[:1], seed=seed, most=config.crop or None, target=loop.target)
        batch = batch.to(device)
        batch.progress = state.update / loop.total
        with accelerator.no_sync(loop.wrapped) if part is not parts[-1] else nullcontext():
            with torch.autocast(device.type, torch.bfloat16, config.precision == "bf16"):
                loss = loop.wrapped(batch, RowRandom(batch.seeds))
            accelerator.backward(loss.total * share)
        weight += loss.weight.detach() * share
        loss_sum += loss.total.detach() * share
        for key, found in loss.logs.items():
            logs.setdefault(key, []).append(found)
    if world > 1:
        weight, loss_sum = accelerator.reduce(weight), accelerator.reduce(loss_sum)
    weight = weight.clamp(min=1)
    value = float(loss_sum / weight)
    if not math.isfinite(value):
        raise _not_finite(loop, value)
    graded = [p for p in loop.model.parameters() if p.grad is not None]
    for p in graded:
        p.grad.mul_(world / weight)  # the gradient of the mean over the whole update
    if config.clip:
        nn.utils.clip_grad_norm_(graded, config.clip)
    for group in loop.optimiser.param_groups:
        group["lr"] = config.lr * group["scale"] * schedule(state.update, loop.total, config.warmup)
    loop.optimiser.step()
    loop.optimiser.zero_grad()
    for name, p in loop.model.named_parameters() if loop.averaged else ():
        loop.averaged[name].lerp_(p.detach(), 1 - min(config.ema, (1 + state.update) / (10 + state.update)))
    state.update += 1
    logs.setdefault("train_loss", []).append(value)
    return value


# ---------------------------------------------------------------------------------------- what is around the updates


def _begin(
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

    accelerator = Accelerator(
        mixed_precision="no",  # autocast is ours: accelerate's is one for the whole life of a process
        log_with=keep.tracker or None,
        project_dir=str(keep.folder) if keep.folder else None,
    )
    if keep.tracker:
        accelerator.init_trackers(keep.label.replace(" ", "_"))
    for name, p in model.named_parameters():
        p.requires_grad_(lr_scale(name) > 0)
    groups = [
        {"params": [p], "scale": lr_scale(name), "weight_decay": config.weight_decay if p.ndim > 1 else 0.0}
        for name, p in model.named_parameters()
        if p.requires_grad
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), foreach=True)
    model.to(accelerator.device)
    averaged = {k: v.detach().clone() for k, v in model.named_parameters()} if config.ema else {}
    data = data.stretched(config.time_stretch, config.feature_stretch)
    state = State(best=watch.to_beat)
    loop = Loop(model, None, optimiser, accelerator, data, config, target, keep, averaged, {}, state)
    if watch.baseline is not None:
        loop.best = _copy(model)
    if keep.folder and (keep.folder / "last.safetensors").exists():
        _load(loop)
        if (keep.folder / "best.safetensors").exists():
            loop.best = checkpoint.load_tensors(keep.folder / "best.safetensors")
    loop.wrapped, loop.optimiser = accelerator.prepare(model, optimiser)
    return loop


def _save(loop: Loop) -> None:
    assert loop.keep.folder is not None
    metadata = {"identity": loop.keep.identity, "state": json.dumps(loop.state.__dict__)}
    checkpoint.save(loop.keep.folder / "last.safetensors", loop.model, loop.optimiser, loop.averaged, metadata)


def _load(loop: Loop) -> None:
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
        loop.state = State(**json.loads(metadata["state"]))
        checkpoint.fill(tensors, loop.model, loop.optimiser, loop.averaged)
    except (KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: corrupt checkpoint. {str(error).splitlines()[0]}. Delete it to start again."
        ) from None


def _choose(loop: Loop, score: float) -> None:
    """Keep the weights as they are if no validation was better; count how many were not."""
    state, folder = loop.state, loop.keep.folder
    if state.best is not None and not score > state.best:
        state.stale += 1
        return
    state.best, state.stale, loop.best = score, 0, _copy(loop.model)
    if folder and loop.accelerator.is_main_process:
        checkpoint.save_tensors(folder / "best.safetensors", loop.best)


def _end(loop: Loop) -> None:
    """Leave the best weights in the model, and the log in the folder."""
    if loop.keep.tracker:
        loop.accelerator.end_training()
    if loop.best:
        loop.model.load_state_dict(loop.best)
    elif loop.averaged:
        loop.model.load_state_dict(loop.averaged, strict=False)
    loop.model.eval()
    if loop.keep.folder and loop.accelerator.is_main_process:
        text = "".join(json.dumps(row) + "\n" for row in loop.state.history)
        files.write_text(loop.keep.folder / "log.jsonl", text)
    loop.accelerator.wait_for_everyone()


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


def _not_finite(loop: Loop, value: float) -> InputError:
    return InputError(
        f"{loop.keep.folder or loop.keep.label}: the loss became {value} at update {loop.state.update}. "
        "Lower --set training.lr, or look for extreme values in the features."
    )


def first_process() -> bool:
    """Whether this process writes results; of several started together (`accelerate launch`) one does."""
    return os.environ.get("RANK", "0") == "0"


def schedule(update: int, total: int, warmup: float) -> float:
    """Linear warm-up over a share of all updates, then a cosine to 0.

    >>> [round(schedule(u, 10, 0.2), 2) for u in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rising = max(int(total * warmup), 1)
    if update < rising:
        return (update + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (update - rising) / max(total - rising, 1)))


class _averaged:
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
