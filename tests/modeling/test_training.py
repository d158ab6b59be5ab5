"""The loop ends with the same weights however it was interrupted, cut up or spread out."""

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toys import murmurs, steps_of, waves

from sottovoce.backbones import Backbone, Hidden, npc, transformer, valid_steps
from sottovoce.config.training import Training
from sottovoce.data.batching import plan_epoch, row_seed
from sottovoce.errors import InputError
from sottovoce.modeling import checkpoint, loop
from sottovoce.modeling.masking import RowRandom
from sottovoce.modeling.training import Keep, Watch, fit
from sottovoce.objectives import masked_timesteps as mt
from sottovoce.objectives import npc as npc_objective

FEATURES = 6
STEPS = steps_of(waves(10, features=FEATURES))
FAST = {"epochs": 3, "batch_rows": 4, "lr": 1e-2, "seed": 5, "save_every": 1e9}


class Mixer(Backbone):
    """A backbone whose every weight has a firm gradient (attention's key bias has none but rounding)."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.features, self.dim = FEATURES, 8
        self.near, self.drop = nn.Conv1d(FEATURES, 8, 5, padding=2), nn.Dropout(dropout)

    def forward(self, x, lengths):
        h = self.drop(self.near(x.transpose(1, 2)).tanh().transpose(1, 2))
        return Hidden([h * valid_steps(lengths, x.shape[1])[..., None]], lengths)


def mixer(dropout=0.0):
    torch.manual_seed(0)
    return mt.Objective(mt.Config(ratio=0.3, loss="huber"), Mixer(dropout))


def attention():
    """Everything at once that draws random numbers: dropout, masks, swapped frames."""
    torch.manual_seed(0)
    config = transformer.Config(width=16, layers=1, heads=2, feedforward=16, dropout=0.2)
    return mt.Objective(mt.Config(), transformer.Backbone(config, FEATURES))


def held_out(model):
    batch = STEPS.batch(range(5), seed=99)
    with torch.no_grad():
        return {"loss": model(batch, RowRandom(batch.seeds)).value.item()}


def learn(folder=None, model=None, steps=STEPS, validate=held_out, **settings):
    """One quick training; returns model and state."""
    names = set(Training.__dataclass_fields__)
    model = model or mixer()
    config = Training(**(FAST | {k: v for k, v in settings.items() if k in names}))
    rest = {k: v for k, v in settings.items() if k not in names}
    watch = {k: rest.pop(k) for k in Watch.__dataclass_fields__ if k in rest}
    keep = {k: rest.pop(k) for k in Keep.__dataclass_fields__ if k in rest}
    watch, keep = Watch(validate, **watch), Keep(folder, quiet=True, **keep)
    return model, fit(model, steps, config, watch=watch, keep=keep, **rest)


def assert_same_weights(a, b, **tolerance):
    for (name, p), q in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(p, q, **({"rtol": 0, "atol": 0} | tolerance), msg=lambda m, n=name: f"{n}: {m}")


# ---------------------------------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_the_loop_is_plain_pytorch(clip):
    """The whole loop again in twenty lines: same order, masks, loss, clipping, warm-up, cosine, AdamW."""
    model, state = learn(validate=None, clip=clip, weight_decay=0.1, warmup=0.3)
    twin = mixer()
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in twin.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in twin.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    plans = [plan_epoch(STEPS.lengths, batch_steps=8000, batch_rows=4, seed=5, epoch=e) for e in range(3)]
    total, update = sum(map(len, plans)), 0
    rising = int(0.3 * total)
    for epoch, plan in enumerate(plans):
        for rows in plan:
            batch = STEPS.batch(rows, seed=row_seed(5, f"epoch {epoch}"))
            optimiser.zero_grad()
            twin(batch, RowRandom(batch.seeds)).value.backward()
            if clip:
                nn.utils.clip_grad_norm_(twin.parameters(), clip)
            cosine = 0.5 * (1 + np.cos(np.pi * (update - rising) / (total - rising)))
            for group in optimiser.param_groups:
                group["lr"] = 1e-2 * ((update + 1) / rising if update < rising else cosine)
            optimiser.step()
            update += 1
    assert state.update == update == 9
    assert_same_weights(model, twin, atol=1e-6)


def test_it_learns_and_says_so():
    _, state = learn(epochs=15)
    losses = [row["loss"] for row in state.history]
    assert losses[-1] < 0.8 * losses[0]
    assert [row["epoch"] for row in state.history] == list(range(1, 16))
    assert all({"update", "train_loss", "coverage", "loss"} <= set(row) for row in state.history)
    assert state.best == -min(losses)


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before():
    a, _ = learn(model=attention())
    torch.manual_seed(123)
    torch.rand(1000)
    b, _ = learn(model=attention())
    assert_same_weights(a, b)
    c, _ = learn(model=attention(), seed=6)
    assert not all(p.equal(q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_accumulated_batches_give_the_gradient_of_their_union(rows):
    """Batches of unequal length and number of rows included: each row counts by what it has to guess."""
    whole, one = learn(batch_rows=10, accumulate=1, validate=None)
    parts, other = learn(batch_rows=rows, accumulate=10, validate=None)
    assert one.update == other.update == 3
    assert_same_weights(whole, parts, atol=1e-6)


def test_targets_travel_with_their_utterances():
    seen = {}

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mixer()

        def forward(self, batch, rng):
            seen.update(zip(batch.ids, batch.target.tolist(), strict=True))
            return self.inner(batch, rng)

    learn(model=Watch(), target=np.arange(10) * 3, validate=None, epochs=1)
    assert seen == {f"u{k}": 3 * k for k in range(10)}


def test_balanced_epochs_show_as_many_rows_of_every_class():
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mixer()

        def forward(self, batch, rng):
            seen.extend(batch.target.tolist())
            return self.inner(batch, rng)

    learn(model=Watch(), target=np.array([0] * 8 + [1] * 2), validate=None, epochs=2, balanced=True)
    assert np.bincount(seen).tolist() == [10, 10]


def test_balancing_needs_classes():
    with pytest.raises(InputError, match="needs one class an utterance"):
        learn(validate=None, balanced=True)


def test_long_utterances_are_cut_elsewhere_in_every_epoch():
    rows = {}

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mixer()

        def forward(self, batch, rng):
            for key, x, length in zip(batch.ids, batch.x, batch.lengths.tolist(), strict=True):
                assert length <= 7
                rows.setdefault(key, set()).add(x[:length].numpy().tobytes())
            return self.inner(batch, rng)

    learn(model=Watch(), crop_s=0.07, validate=None, epochs=8)
    assert all(len(found) >= 4 for found in rows.values())


def test_an_objective_is_told_how_far_training_is():
    """From 0 to just below 1, update by update, accumulated batches alike; 1 for everybody else."""
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mixer()

        def forward(self, batch, rng):
            seen.append(batch.progress)
            return self.inner(batch, rng)

    _, state = learn(model=Watch(), validate=None, epochs=4, accumulate=2)
    updates = state.update
    assert sorted(set(seen)) == pytest.approx([k / updates for k in range(updates)])
    assert seen == sorted(seen)
    assert STEPS.batch([0]).progress == 1


def test_factors_of_the_learning_rate_scale_the_way_and_zero_freezes():
    def moved(scale):
        before, (after, _) = mixer(), learn(
            epochs=1, batch_rows=10, clip=0.0, weight_decay=0.0, validate=None,
            lr_scale=lambda name: scale if name.startswith("backbone") else 1.0,
        )  # fmt: skip
        return {k: (after.state_dict()[k] - v) for k, v in before.state_dict().items()}

    whole, half, none = moved(1.0), moved(0.5), moved(0.0)
    for name, way in whole.items():
        factor = 0.5 if name.startswith("backbone") else 1.0
        torch.testing.assert_close(half[name], factor * way, rtol=1e-3, atol=1e-6)
        assert none[name].abs().max() == 0 if name.startswith("backbone") else none[name].equal(way)


def test_averaged_weights_are_the_slow_reference():
    """w_k is seen at the k-th forward pass; the average after each epoch is what `validate` and the caller get."""
    raw, found = [], []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mixer()

        def forward(self, batch, rng):
            if self.training:
                raw.append(self.inner.predict[0].weight.detach().clone())
            return self.inner(batch, rng)

    def validate(model):
        found.append(model.inner.predict[0].weight.detach().clone())
        return {"loss": 0.0}

    learn(model=Watch(), ema=0.6, validate=validate, epochs=4)
    average, reference = raw[0], []
    for update, weight in enumerate(raw[1:]):
        decay = min(0.6, (1 + update) / (10 + update))
        average = decay * average + (1 - decay) * weight
        reference.append(average)
    assert len(raw) == 12
    for epoch in range(3):
        torch.testing.assert_close(found[epoch], reference[3 * epoch + 2], rtol=1e-5, atol=1e-6)
    plain = []
    learn(validate=lambda m: plain.append(m.predict[0].weight.detach().clone()) or {"loss": 0.0}, epochs=4)
    assert plain[0].equal(raw[3])  # averaging does not touch the training itself


# ---------------------------------------------------------------------------------------------- which weights stay


@pytest.mark.parametrize("higher", [True, False])
def test_early_stopping_stops_and_leaves_the_best_weights(higher):
    scores, weights = [0.5, 0.7, 0.6, 0.65, 0.9], []

    def validate(model):
        weights.append(model.predict[0].weight.detach().clone())
        return {"score": scores[len(weights) - 1] * (1 if higher else -1)}

    model, state = learn(validate=validate, metric="score", higher_is_better=higher, epochs=5, patience=2)
    assert state.epoch == len(weights) == 4
    assert model.predict[0].weight.equal(weights[1])
    assert state.best == 0.7


def test_validation_may_be_rare_but_never_misses_the_end():
    _, state = learn(validate_every=2, epochs=5)
    assert [row["epoch"] for row in state.history if "loss" in row] == [2, 4, 5]


def test_little_data_is_seen_more_often_with_as_many_validations():
    model, state = learn(epochs=3, min_updates=20)  # 3 batches an epoch
    assert (state.update, state.epoch) == (27, 9)
    assert [row["epoch"] for row in state.history if "loss" in row] == [3, 6, 9]
    longer, _ = learn(epochs=9, validate_every=3)
    assert_same_weights(model, longer)
    assert learn(epochs=3, min_updates=9)[1].update == 9


@pytest.mark.parametrize(("baseline", "kept"), [(1e-9, True), (1e9, False)])
def test_the_weights_that_came_are_kept_unless_an_epoch_beats_them(baseline, kept):
    model, _ = learn(baseline=baseline)
    assert all(p.equal(q) for p, q in zip(model.parameters(), mixer().parameters(), strict=True)) == kept


def test_without_an_epoch_the_weights_stay_as_they_came():
    model, state = learn(epochs=0)
    assert_same_weights(model, mixer())
    assert state.update == 0
    assert not model.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_one_clear_error(value):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.count = mixer(), 0

        def forward(self, batch, rng):
            loss = self.inner(batch, rng)
            self.count += 1
            return mt.Loss(loss.total * value if self.count == 3 else loss.total, loss.weight)

    with pytest.raises(InputError, match=r"the loss became (nan|inf) at update 2\. Lower --set training\.lr"):
        learn(model=Broken())


@pytest.mark.parametrize("wrong", [{"epochs": -1}, {"batch_rows": 0}, {"accumulate": 0}, {"precision": "fp8"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match=f"training.{next(iter(wrong))}"):
        Training(**wrong)


def test_precision_may_change_within_one_process():
    half, _ = learn(precision="bf16", epochs=8)
    full, _ = learn(precision="fp32", epochs=8)
    assert all(p.dtype == torch.float32 for p in half.parameters())
    assert held_out(half)["loss"] == pytest.approx(held_out(full)["loss"], rel=0.1)
    assert not half.predict[0].weight.equal(full.predict[0].weight)


# ---------------------------------------------------------------------------------------------- interruptions

# Everything that has a state or draws random numbers: average, moments, dropout, masks, crops, stretching.
HARD = {"epochs": 4, "batch_rows": 2, "accumulate": 2, "crop_s": 0.2, "ema": 0.8, "time_stretch": 0.2}


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", range(1, 20, 3))
def test_a_run_stopped_anywhere_and_resumed_ends_with_the_same_weights(at, tmp_path):
    whole, state = learn(model=attention(), **HARD)
    model, count = attention(), 0

    def stop(*_):
        nonlocal count
        count += 1
        if count == at:
            raise Interrupted

    hook = model.backbone.blocks[0].register_forward_hook(stop)
    with pytest.raises(Interrupted):
        learn(tmp_path, model, save_every=0.0, **HARD)
    hook.remove()
    again, resumed = learn(tmp_path, attention(), save_every=0.0, **HARD)
    assert_same_weights(whole, again)
    assert [row["loss"] for row in state.history] == [row["loss"] for row in resumed.history]
    assert (state.best, state.update, state.epoch) == (resumed.best, resumed.update, resumed.epoch)
    third, _ = learn(tmp_path, attention(), **HARD)  # a finished one is only loaded
    assert_same_weights(whole, third)


@pytest.mark.parametrize("at", [3, 8])
def test_running_statistics_drawn_codes_and_a_ramp_of_masks_resume_too(at, tmp_path):
    store = waves(10, features=FEATURES)
    steps = steps_of(store, aux={"intensity": (murmurs(store), "linear")})
    policy = {"rule": "ems_sampled", "intensity": "intensity", "span": 2, "ramp": 0.8}

    def model():
        torch.manual_seed(0)
        backbone = npc.Backbone(npc.Config(width=8, layers=2, dropout=0.2), FEATURES)
        return npc_objective.Objective(npc_objective.Config(mask=True, groups=2, codes=4, **policy), backbone)

    whole, _ = learn(model=model(), steps=steps, validate=None)
    half, count = model(), 0

    def stop(*_):
        nonlocal count
        count += 1
        if count == at:
            raise Interrupted

    half.register_forward_hook(stop)
    with pytest.raises(Interrupted):
        learn(tmp_path, half, steps=steps, validate=None, save_every=0.0)
    again, _ = learn(tmp_path, model(), steps=steps, validate=None, save_every=0.0)
    assert_same_weights(whole, again)
    assert whole.backbone.blocks[0].norm1.num_batches_tracked == again.backbone.blocks[0].norm1.num_batches_tracked > 0


def test_what_an_epoch_began_with_is_not_computed_again_on_resuming(tmp_path):
    calls = []

    def run(stop_at):
        model, count = mixer(), 0

        def stop(*_):
            nonlocal count
            count += 1
            if count == stop_at:
                raise Interrupted

        model.register_forward_hook(stop)
        learn(tmp_path, model, validate=None, save_every=0.0, batch_rows=2, before_epoch=lambda: calls.append(count))

    with pytest.raises(Interrupted):
        run(8)  # in the second of three epochs of five updates
    assert calls == [0, 5]
    run(None)
    assert calls == [0, 5, 3]  # the third epoch's only: three updates of the second were left


def announce(folder):
    """What the process that is to be killed does: HARD training that tells of every forward pass."""
    model = attention()
    model.register_forward_hook(lambda *_: print("pass", flush=True))
    learn(Path(folder), model, save_every=0.003, **HARD)
    print("done", flush=True)


def child(call, **environment):
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # this file, and the toys
    source = f"import sys; sys.path[:0] = {here!r}; import test_training; test_training.{call}"
    return [sys.executable, "-c", source], {**os.environ, **environment}


def test_a_run_killed_with_sigkill_and_resumed_ends_with_the_same_weights(tmp_path):
    whole, _ = learn(model=attention(), **HARD)
    command, environment = child(f"announce({str(tmp_path)!r})")
    chance = random.Random(3)
    for after in (chance.randint(1, 6), chance.randint(1, 8)):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(after):
            assert process.stdout.readline() == "pass\n"
        process.send_signal(signal.SIGKILL)
        assert "done" not in process.stdout.read()
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    killed_at = json.loads(checkpoint.read_tensors(tmp_path / "last.safetensors")[1]["state"])["update"]
    assert 0 < killed_at < 12
    again, state = learn(tmp_path, attention(), **HARD)
    assert state.update == 12
    assert_same_weights(whole, again)


def half_run(folder, **settings):
    """Leave a checkpoint of a run that is not finished."""
    model, count = mixer(), 0

    def stop(*_):
        nonlocal count
        count += 1
        if count == 5:
            raise Interrupted

    model.register_forward_hook(stop)
    with pytest.raises(Interrupted):
        learn(folder, model, save_every=0.0, **settings)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    half_run(tmp_path, identity="aaaa")
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"another configuration is in this folder\. Found aaaa, now bbbb"):
        learn(tmp_path, identity="bbbb")
    assert (tmp_path / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", ["short", "empty", "noise", "tensor", "text"])
def test_a_damaged_checkpoint_is_one_clear_error(damage, tmp_path):
    half_run(tmp_path)
    path = tmp_path / "last.safetensors"
    whole = path.read_bytes()
    if damage == "tensor":  # of another model
        tensors, metadata = checkpoint.read_tensors(path)
        checkpoint.save_tensors(path, {k: v[:1] for k, v in tensors.items() if v.ndim}, metadata)
    elif damage == "text":
        tensors, metadata = checkpoint.read_tensors(path)
        checkpoint.save_tensors(path, tensors, metadata | {"state": "{"})
    else:
        path.write_bytes({"short": whole[: len(whole) // 2], "empty": b"", "noise": b"\xff" * 500}[damage])
    with pytest.raises(InputError, match=r"last\.safetensors: corrupt checkpoint[.:] .*Delete it to start") as error:
        learn(tmp_path)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_clear_error_and_leaves_the_earlier_checkpoint(tmp_path):
    half_run(tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # no file may grow beyond 1,000 bytes
    try:
        with pytest.raises(InputError, match=r"\.safetensors: cannot be written\. .*Free space") as error:
            learn(tmp_path, save_every=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert (tmp_path / "last.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
    again, _ = learn(tmp_path)
    assert_same_weights(again, learn()[0])


# ---------------------------------------------------------------------------------------------- several processes


def spread(folder):
    """What every process of two does; rows of 3 leave one process with a row less, rows of 1 with none."""
    from accelerate import PartialState

    for rows in (3, 1):
        model, _ = learn(Path(folder) / f"rows{rows}", mixer(), batch_rows=rows, accumulate=2, ema=0.5)
        if int(os.environ["RANK"]) == 0:
            checkpoint.save_tensors(Path(folder) / f"rows{rows}.safetensors", model.state_dict())
    assert PartialState().num_processes == int(os.environ["WORLD_SIZE"])  # apart they would give the same weights


def launched(machines, *words):
    """Two processes a "machine": as many launches on this one, of different ranks, that meet on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # `--cpu` would start MPI; this way accelerate starts torch.distributed, which takes gloo where there is no GPU.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(2 * machines)]
    more = ["--num_machines", str(machines), "--mixed_precision", "no", "--dynamo_backend", "no"]
    more += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    home = str(Path(__file__).parents[2])
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": home}
    return [
        subprocess.Popen(
            [*launch, *more, "--machine_rank", str(rank), *map(str, words)],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        for rank in range(machines)
    ]  # fmt: skip


def good(started):
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_a_machine_give_the_weights_of_one(tmp_path, machines):
    (tmp_path / "job.py").write_text(child(f"spread({str(tmp_path)!r})")[0][-1])
    good(launched(machines, tmp_path / "job.py"))
    for rows in (3, 1):
        one, _ = learn(batch_rows=rows, accumulate=2, ema=0.5)
        two = mixer()
        two.load_state_dict(checkpoint.load_tensors(tmp_path / f"rows{rows}.safetensors"))
        assert_same_weights(one, two, atol=1e-5)


@pytest.mark.slow
def test_pretrain_of_two_processes_makes_the_folds_of_one(tmp_path, corpus, tiny):
    """The verb, its tracker and reports included; two folds, so that the processes have to meet again."""
    words = ["pretrain", "masked_timesteps", corpus, "--fold", "fold1,fold2", "-q"]
    words += [word for setting in tiny for word in ("--set", setting)]
    good(launched(1, "-m", "sottovoce", *words, "-o", tmp_path / "two"))
    subprocess.run(
        [sys.executable, "-m", "sottovoce", *map(str, words), "-o", str(tmp_path / "one")],
        check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    for fold in ("fold1", "fold2"):
        names = [
            {p.relative_to(tmp_path / n / fold).parts[0] for p in (tmp_path / n / fold).rglob("*")}
            for n in ("one", "two")
        ]
        assert names[0] == names[1]
        one, two = (checkpoint.load_tensors(tmp_path / n / fold / "model.safetensors") for n in ("one", "two"))
        for name, weight in one.items():
            torch.testing.assert_close(weight, two[name], rtol=0, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


LONG = {"epochs": 40, "save_every": 0.0}


def trickle(folder):
    """What every process of a longer training does; the second says who it is."""
    rank, folder = int(os.environ["RANK"]), Path(folder)
    (folder / f"pid{rank}").write_text(str(os.getpid()))

    def slowly(model):
        time.sleep(0.05)
        return held_out(model)

    model, _ = learn(folder / "run", mixer(), validate=slowly, **LONG)
    if rank == 0:
        checkpoint.save_tensors(folder / "end.safetensors", model.state_dict())


@pytest.mark.slow
def test_processes_that_were_killed_go_on_together(tmp_path):
    """One of two is killed: the launch ends, nothing is half written, and a second launch ends with the weights."""
    whole, _ = learn(model=mixer(), **LONG)
    (tmp_path / "job.py").write_text(child(f"trickle({str(tmp_path)!r})")[0][-1])
    (started,) = launched(1, tmp_path / "job.py")
    folder, patience = tmp_path / "run", time.monotonic() + 120
    while not (folder / "last.safetensors").exists() and time.monotonic() < patience:
        time.sleep(0.02)
    os.kill(int((tmp_path / "pid1").read_text()), signal.SIGKILL)
    started.communicate(timeout=120)
    assert started.returncode != 0
    done = json.loads(checkpoint.read_tensors(folder / "last.safetensors")[1]["state"])["update"]
    assert 0 < done < 40 * 3
    good(launched(1, tmp_path / "job.py"))
    again = mixer()
    again.load_state_dict(checkpoint.load_tensors(tmp_path / "end.safetensors"))
    assert_same_weights(whole, again, atol=1e-4)


# ---------------------------------------------------------------------------------------------- what it leaves behind


def test_the_log_has_a_line_an_epoch(tmp_path):
    _, state = learn(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == state.history


def test_tensorboard_gets_the_figures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, state = learn(tmp_path, tracker="tensorboard", label="pre-training fold1")
    (events,) = tmp_path.rglob("events.out*")
    board = EventAccumulator(str(events)).Reload()
    figures = [event.value for event in board.Scalars("loss")]
    np.testing.assert_allclose(figures, [row["loss"] for row in state.history], rtol=1e-5)


def test_a_tracker_that_nobody_knows_is_refused():
    with pytest.raises(InputError, match="unknown --tracker 'nope'"):
        loop._trackers("nope")
