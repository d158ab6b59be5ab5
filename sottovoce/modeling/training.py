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
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce import files
from sottovoce.config.training import Training
from sottovoce.data.dataset import Steps, plan_epoch, row_seed
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError
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


def fit(
    model: nn.Module,
    data: Steps,
    config: Training,
    *,
    target: np.ndarray | None = None,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    baseline: float | None = None,
    before_epoch: Callable[[], None] | None = None,
    metric: str = "loss",
    higher_is_better: bool = False,
    lr_scale: Callable[[str], float] = lambda name: 1.0,
    folder: Path | None = None,
    identity: str = "",
    tracker: str = "",
    label: str = "training",
    quiet: bool = False,
) -> State:
    """Minimise `model(batch, rng) -> Loss` over `data`; leave the best weights in `model`.

    Args:
        model: returns a `sottovoce.objectives.Loss`.
        target: (N,) or (N, D) labels, handed to every batch.
        validate: called with the (averaged) model after each epoch; its `metric` chooses the best weights.
            Without it the last weights are kept.
        baseline: score of the weights as they come; they are kept unless an epoch does better.
        before_epoch: called when an epoch begins after a validation; what it computes must be kept in buffers.
        lr_scale: parameter name -> factor on the learning rate; 0 freezes.
        folder: where best.safetensors, last.safetensors and log.jsonl go; None keeps everything in memory.
        identity: digest of everything that decides the result; a checkpoint of another one is refused.
        tracker: "tensorboard", "wandb", ... by accelerate's names; "" = none.

    Raises:
        InputError: the folder holds a checkpoint of another configuration, or a corrupt one; loss not finite.
    """
    from accelerate import Accelerator

    if config.balanced and (target is None or target.ndim != 1):
        raise InputError(f"training.balanced: needs one class an utterance. Found none in {label}. Leave it out.")
    data = data.stretched(config.time_stretch, config.feature_stretch)
    accelerator = Accelerator(
        mixed_precision="no",  # autocast is ours: accelerate's is one for the whole life of a process
        log_with=tracker or None,
        project_dir=str(folder) if folder else None,
    )
    if tracker:
        accelerator.init_trackers(label.replace(" ", "_"))
    rank, world = accelerator.process_index, accelerator.num_processes
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
    best: dict[str, Tensor] = {}
    state = State(best=None if baseline is None else baseline if higher_is_better else -baseline)
    if baseline is not None:
        best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
    if folder and (folder / "last.safetensors").exists():
        state = _load(folder, identity, model, optimiser, averaged)
        if (folder / "best.safetensors").exists():
            best = load_tensors(folder / "best.safetensors")
    wrapped, optimiser = accelerator.prepare(model, optimiser)

    def plan(epoch: int) -> list[np.ndarray]:
        return plan_epoch(
            data.lengths,
            batch_steps=config.batch_steps,
            batch_rows=config.batch_rows,
            seed=config.seed,
            epoch=epoch,
            most=config.crop or None,
            classes=target if config.balanced else None,
        )

    def updates_of(epochs: int) -> list[int]:
        return [math.ceil(len(plan(e)) / config.accumulate) for e in range(epochs)]

    epochs, validate_every, updates = config.epochs, config.validate_every, updates_of(config.epochs)
    if 0 < sum(updates) < config.min_updates:
        longer = math.ceil(config.min_updates / sum(updates))  # as many validations, further apart
        epochs, validate_every = epochs * longer, validate_every * longer
        updates = updates_of(epochs)
    total, done_before = sum(updates), np.concatenate([[0], np.cumsum(updates)])
    started, saved = time.monotonic() - state.seconds, time.monotonic()
    bar = Bar(total, label, quiet=quiet or not accelerator.is_main_process, done=state.update)
    stopped = bool(config.patience and state.stale >= config.patience)
    while state.epoch < epochs and not stopped:
        batches = plan(state.epoch)
        fresh = state.update == done_before[state.epoch] and state.epoch % validate_every == 0
        if before_epoch and fresh:
            before_epoch()
        model.train()
        logs: dict[str, list[float]] = {}
        for first in range(
            (state.update - int(done_before[state.epoch])) * config.accumulate, len(batches), config.accumulate
        ):
            torch.manual_seed(row_seed(config.seed, f"update {state.update} of process {rank}"))
            weight = torch.zeros((), device=accelerator.device)
            loss_sum = torch.zeros((), device=accelerator.device)
            parts = batches[first : first + config.accumulate]
            for part in parts:
                mine = part[rank::world]
                batch = data.batch(
                    mine if len(mine) else part[:1],
                    seed=row_seed(config.seed, f"epoch {state.epoch}"),
                    most=config.crop or None,
                    target=target,
                ).to(accelerator.device)
                batch.progress = state.update / total
                more = part is not parts[-1]
                with accelerator.no_sync(wrapped) if more else nullcontext():
                    with torch.autocast(accelerator.device.type, torch.bfloat16, config.precision == "bf16"):
                        loss = wrapped(batch, RowRandom(batch.seeds))
                    share = 1.0 if len(mine) else 0.0  # a process without rows adds nothing
                    accelerator.backward(loss.total * share)
                weight += loss.weight.detach() * share
                loss_sum += loss.total.detach() * share
                for key, value in loss.logs.items():
                    logs.setdefault(key, []).append(value)
            if world > 1:
                weight, loss_sum = accelerator.reduce(weight), accelerator.reduce(loss_sum)
            weight = weight.clamp(min=1)
            value = float(loss_sum / weight)
            if not math.isfinite(value):
                raise InputError(
                    f"{folder or label}: the loss became {value} at update {state.update}. "
                    "Lower --set training.lr, or look for extreme values in the features."
                )
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.mul_(world / weight)  # the gradient of the mean over the whole update
            if config.clip:
                nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], config.clip)
            for group in optimiser.param_groups:
                group["lr"] = config.lr * group["scale"] * schedule(state.update, total, config.warmup)
            optimiser.step()
            optimiser.zero_grad()
            for name, p in model.named_parameters() if averaged else ():
                decay = min(config.ema, (1 + state.update) / (10 + state.update))
                averaged[name].lerp_(p.detach(), 1 - decay)
            state.update += 1
            logs.setdefault("train_loss", []).append(value)
            bar.advance(1, loss=value)
            if folder and time.monotonic() - saved > config.save_every:
                state.seconds, saved = time.monotonic() - started, time.monotonic()
                if accelerator.is_main_process:
                    _save(folder, identity, model, optimiser, averaged, state)
        state.epoch += 1
        row = {"epoch": state.epoch, "update": state.update} | {k: float(np.mean(v)) for k, v in logs.items()}
        if validate and (state.epoch % validate_every == 0 or state.epoch == epochs):
            with _averaged(model, averaged):
                model.eval()
                row |= validate(model)
                score = row[metric] if higher_is_better else -row[metric]
                if state.best is None or score > state.best:
                    state.best, state.stale = score, 0
                    best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
                    if folder and accelerator.is_main_process:
                        save_tensors(folder / "best.safetensors", best)
                else:
                    state.stale += 1
                    stopped = bool(config.patience and state.stale >= config.patience)
            bar.show(**{metric: row[metric]})
        state.history.append(row)
        state.seconds = time.monotonic() - started
        if tracker:
            accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=state.update)
        if (
            folder
            and accelerator.is_main_process
            and (stopped or state.epoch == epochs or time.monotonic() - saved > config.save_every)
        ):
            saved = time.monotonic()
            _save(folder, identity, model, optimiser, averaged, state)
    bar.close()
    if tracker:
        accelerator.end_training()
    if best:
        model.load_state_dict(best)
    elif averaged:
        model.load_state_dict(averaged, strict=False)
    model.eval()
    if folder and accelerator.is_main_process:
        files.write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in state.history))
    accelerator.wait_for_everyone()
    return state


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


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Raises InputError when the disk is full or the folder cannot be written; the earlier file is then kept."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with files.atomic(path) as temporary:
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, metadata)
            temporary.chmod(0o644)  # safetensors keeps them to their owner
        except SafetensorError as error:  # what it makes of every error of the system
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Raises InputError when the file is missing, truncated or no safetensors."""
    return read_tensors(path)[0]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as data:
            return {k: data.get_tensor(k) for k in data.keys()}, data.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Is this the folder of a finished run?") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: corrupt checkpoint. {error}. Delete it to start this part again.") from None


def _save(
    folder: Path, identity: str, model: nn.Module, optimiser: Any, averaged: dict[str, Tensor], state: State
) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in averaged.items()}
    names = [k for k, p in model.named_parameters() if p.requires_grad]
    moments = optimiser.state_dict()["state"]
    for index, name in enumerate(names):
        tensors |= {f"adam.{key}.{name}": torch.as_tensor(v) for key, v in moments.get(index, {}).items()}
    metadata = {"identity": identity, "state": json.dumps(state.__dict__)}
    save_tensors(folder / "last.safetensors", tensors, metadata)


def _load(folder: Path, identity: str, model: nn.Module, optimiser: Any, averaged: dict[str, Tensor]) -> State:
    path = folder / "last.safetensors"
    tensors, metadata = read_tensors(path)
    if metadata.get("identity", "") != identity:
        raise InputError(
            f"{folder}: a run of another configuration is in this folder. Found {metadata.get('identity') or 'none'}, "
            f"now {identity}. Choose another -o, or delete the folder."
        )
    try:
        state = State(**json.loads(metadata["state"]))
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        for name in averaged:
            averaged[name].copy_(tensors[f"average.{name}"])
        names = [k for k, p in model.named_parameters() if p.requires_grad]
        moments = {
            index: {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for index, name in enumerate(names)
            if f"adam.step.{name}" in tensors
        }
    except (KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: corrupt checkpoint. {str(error).splitlines()[0]}. Delete it to start again."
        ) from None
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return state
