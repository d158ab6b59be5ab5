"""The training loop, for pre-training and fine-tuning alike: one long path, read from top to bottom.

Exact resume without saving any random state: every update seeds its own randomness from (seed, update),
every row its own mask, every epoch its own order. A run killed anywhere and started again goes on from its
last checkpoint and ends with the weights of a run that was never killed. What is around the updates is in `loop.py`.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.config.training import Training
from sottovoce.data.batching import Batch, row_seed
from sottovoce.data.dataset import Steps
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError
from sottovoce.modeling.loop import Keep, Loop, State, Watch, averaged_weights, begin, choose, end, read, save
from sottovoce.modeling.masking import RowRandom

LOOK = 50  # updates after which a GPU's losses are read


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
    loop = begin(model, data, config, target, lr_scale, watch, keep)
    state, folder, accelerator = loop.state, keep.folder, loop.accelerator
    epochs, validate_every = config.epochs, config.validate_every
    updates = [math.ceil(len(loop.plan(e)) / config.accumulate) for e in range(epochs)]
    if 0 < sum(updates) < config.min_updates:
        longer = math.ceil(config.min_updates / sum(updates))  # as many validations, further apart
        epochs, validate_every = epochs * longer, validate_every * longer
        updates = [math.ceil(len(loop.plan(e)) / config.accumulate) for e in range(epochs)]
    loop.total, done_before = sum(updates), np.concatenate([[0], np.cumsum(updates)])
    look = 1 if accelerator.device.type == "cpu" else LOOK
    started, saved = time.monotonic() - state.seconds, time.monotonic()
    bar = Bar(loop.total, keep.label, quiet=keep.quiet or not accelerator.is_main_process, done=state.update)
    stopped = bool(config.patience and state.stale >= config.patience)
    while state.epoch < epochs and not stopped:
        fresh = state.update == done_before[state.epoch] and state.epoch % validate_every == 0
        if watch.before_epoch and fresh:
            watch.before_epoch()
        model.train()
        logs: dict[str, list[float | Tensor]] = {}
        with closing(loop.batches(state.update - int(done_before[state.epoch]))) as ready:
            for parts in ready:
                update(loop, parts, logs)
                due = folder and time.monotonic() - saved > config.save_every
                bar.advance(1, **(read(loop, logs) if due or len(loop.unread) == look else {}))
                if due:
                    state.seconds, saved = time.monotonic() - started, time.monotonic()
                    if accelerator.is_main_process:
                        save(loop)
        read(loop, logs)
        state.epoch += 1
        row = {"epoch": state.epoch, "update": state.update} | {
            k: float(np.mean([float(one) for one in v]))
            for k, v in logs.items()
            if v  # killed behind its last update
        }
        if watch.validate and (state.epoch % validate_every == 0 or state.epoch == epochs):
            with averaged_weights(model, loop.averaged):
                model.eval()
                row |= watch.validate(model)
                choose(loop, watch.score(row))
            stopped = bool(state.stale and config.patience and state.stale >= config.patience)
            named = {key: value for key, value in row.items() if key.startswith("dev_")}  # "select" says nothing
            bar.show(**(named or {watch.metric: row[watch.metric]}))
        state.history.append(row)
        state.seconds = time.monotonic() - started
        if keep.tracker:
            accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=state.update)
        last = stopped or state.epoch == epochs or time.monotonic() - saved > config.save_every
        if folder and accelerator.is_main_process and last:
            saved = time.monotonic()
            save(loop)
    bar.close()
    end(loop)
    return state


# ------------------------------------------------------------------------------------- one update, forward to step


def update(loop: Loop, parts: Sequence[tuple[Batch, float]], logs: dict[str, list[float | Tensor]]) -> None:
    """One step of the optimiser for the batches `parts`, accumulated. The loss stays on the device until it is `read`:
    to look at each would let a GPU wait for the CPU."""
    config, state, accelerator = loop.config, loop.state, loop.accelerator
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    torch.manual_seed(row_seed(config.seed, f"update {state.update} of process {rank}"))
    weight, loss_sum = torch.zeros((), device=device), torch.zeros((), device=device)
    for batch, share in parts:  # a process without rows adds nothing
        batch.progress = state.update / loop.total
        with accelerator.no_sync(loop.wrapped) if batch is not parts[-1][0] else nullcontext():
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
    loop.unread.append(loss_sum / weight)
    graded = [p for p in loop.model.parameters() if p.grad is not None]
    # the gradient of the mean over the whole update
    torch._foreach_mul_([p.grad for p in graded if p.grad is not None], world / weight)
    if config.clip:
        nn.utils.clip_grad_norm_(graded, config.clip)
    for group in loop.optimiser.param_groups:
        group["lr"] = config.lr * group["scale"] * schedule(state.update, loop.total, config.warmup)
    loop.optimiser.step()
    loop.optimiser.zero_grad()
    if loop.averaged:
        own = [p.detach() for p in loop.model.parameters()]
        share = 1 - min(config.ema, (1 + state.update) / (10 + state.update))
        torch._foreach_lerp_(list(loop.averaged.values()), own, share)
    state.update += 1


# ---------------------------------------------------------------------------------------------------------------------


def schedule(update: int, total: int, warmup: float) -> float:
    """Linear warm-up over a share of all updates, then a cosine to 0.

    >>> [round(schedule(u, 10, 0.2), 2) for u in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rising = max(int(total * warmup), 1)
    if update < rising:
        return (update + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (update - rising) / max(total - rising, 1)))
