"""Networks as they are built, saved and loaded: a backbone with its input statistics, and a recogniser on top.

One factory builds every backbone, from the settings alone: the pre-trained arm and the arm "scratch" differ in
weights and in nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce import plugins
from sottovoce.backbones.base import Backbone, Hidden, hop_and_field
from sottovoce.config.finetuning import FineTuning, Frozen, Linear, Probe
from sottovoce.config.recipe import Recipe
from sottovoce.data.ahead import ahead
from sottovoce.data.batching import sequential
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.folds import voice
from sottovoce.data.frames import Statistics
from sottovoce.data.runs import Run
from sottovoce.data.task import Task
from sottovoce.data.track import Track
from sottovoce.errors import InputError, needs
from sottovoce.metrics.temperature import Calibration
from sottovoce.modeling import checkpoint, heads, hub, whisper_weights
from sottovoce.modeling.margins import AMSoftmax

AROUND_S = 1.0  # seconds of states behind the answer at one of them, where pooling needs several
WINDOW = 256  # utterances whose values `framewise` holds at a time


def build_backbone(plan: Recipe, dim: int) -> Backbone:
    """The backbone of a recipe for steps of `dim` features; random weights from torch's global seed."""
    return plugins.load("backbones", plan.backbone).Backbone(plan.backbone_config, dim)


@dataclass
class Pretrained:
    backbone: Backbone
    statistics: Statistics  # of the track's features, fitted on the pre-training people
    plan: Recipe
    run: Run


def save_pretrained(
    folder: Path, backbone: Backbone, statistics: Statistics, beside: nn.Module | None = None, name: str = "objective"
) -> None:
    """`beside`: a module whose own layers are of use later, as those that judge frames are; `name`: what it is."""
    tensors = {f"backbone.{k}": v for k, v in backbone.state_dict().items()}
    if beside is not None:
        own = {k: v for k, v in beside.state_dict().items() if not k.startswith("backbone.")}
        tensors |= {f"{name}.{k}": v for k, v in own.items()}
    checkpoint.save_tensors(folder / "model.safetensors", tensors | _statistics_tensors(statistics))


def load_pretrained(run: Run, upto: int | None = None) -> Pretrained:
    """`upto`: the last block of a public encoder that is wanted, None = all.

    Raises InputError when weights and config.json do not fit together.
    """
    plan = run.plan
    if "encoder" in run.config:
        return Pretrained(hub.backbone(run, upto).eval(), Statistics.unit(run.config["features"]), plan, run)
    tensors = checkpoint.load_tensors(run.weights)
    statistics = _statistics_of(tensors, run)
    backbone = build_backbone(plan, plan.frontend.dim(run.config["features"]))
    _fill(backbone, {k[9:]: v for k, v in tensors.items() if k.startswith("backbone.")}, run)
    return Pretrained(backbone.eval(), statistics, plan, run)


def load_backbone(run: Run) -> "tuple[Backbone, Pretrained | Recognised]":
    """The backbone of a run, fine-tuned or not, and the whole that it is part of."""
    if run.config["kind"] == "finetune":
        it = load_recognised(run)
        return it.network.backbone, it
    before = load_pretrained(run)
    return before.backbone, before


def load_objective(run: Run) -> tuple[nn.Module, Pretrained]:
    """The objective a run was trained by, with all its weights, around the run's backbone.

    Raises InputError when the run kept none of them: most objectives are thrown away.
    """
    it = load_pretrained(run)
    objective = plugins.load("objectives", it.plan.objective).Objective(it.plan.objective_config, it.backbone)
    own = {k[10:]: v for k, v in checkpoint.load_tensors(run.weights).items() if k.startswith("objective.")}
    if not own:
        raise InputError(
            f"{run.folder}: its weights hold no layers of {it.plan.objective}. Found a backbone alone. "
            "Make the run again."
        )
    _fill(objective, own | {f"backbone.{k}": v for k, v in it.backbone.state_dict().items()}, run)
    return objective.eval(), it


def in_batches(
    steps: Steps, batches: Iterable[np.ndarray], function: Callable[[Tensor, Tensor], Any], device: Any = "cpu"
) -> Iterator[tuple[np.ndarray, Any]]:
    """(rows, `function(x, lengths)`) of every batch of rows, in order, in inference mode.

    On a CPU as many batches at a time as there are threads, each on one of them: the matrices of one recording are too
    small to be shared by several. Torch's number of threads is lower until the last batch is done.

    Batches are padded to one of few lengths, a sixteenth longer at most: buffers of one batch then fit the next, while
    a thousand lengths leave a thousand holes, and memory grows with the corpus.
    """
    batches, threads = list(batches), torch.get_num_threads()
    workers = min(threads, len(batches)) if torch.device(device).type == "cpu" else 1

    def work(rows: np.ndarray) -> tuple[np.ndarray, Any]:
        batch = steps.batch(rows)
        with torch.inference_mode():  # of this thread
            return rows, function(evened(batch.x).to(device), batch.lengths.to(device))

    if workers < 2:
        yield from map(work, batches)
        return
    torch.set_num_threads(threads // workers)  # also of the threads that begin now
    try:
        yield from ahead(work, batches, workers)
    finally:
        torch.set_num_threads(threads)


WHOLE = 3000  # frames, 30 s: what an encoder of Whisper's hears at once, and is not to be made longer
EVEN = [d for d in range(1, WHOLE + 1) if WHOLE % d == 0]


def evened(x: Tensor) -> Tensor:
    """(B, T, ...) with zeros behind it, a sixteenth more at most: one of some 16 lengths an octave."""
    step = max((d for d in EVEN if 16 * d <= x.shape[1]), default=1)
    room = -x.shape[1] % step
    return torch.cat([x, x.new_zeros(len(x), room, *x.shape[2:])], 1) if room else x


def framewise(steps: Steps, function: Any, device: Any = "cpu", batch_steps: int = 1000) -> Iterator[tuple]:
    """(utterance, values (S, ...)) of `function(x, lengths) -> (B, S, ...)`, in order, a few hundred at a time.

    Utterances of like length go together; what is in memory does not grow with their number. Small batches stay in
    the caches of a core: on a CPU 1,000 steps at a time are faster than 4,000.
    """
    for at in range(0, len(steps), WINDOW):
        near = steps.subset(range(at, min(at + WINDOW, len(steps))))
        found: dict[int, np.ndarray] = {}
        for rows, values in in_batches(near, sequential(near.lengths, batch_steps=batch_steps), function, device):
            for row, value in zip(rows, values.cpu().numpy(), strict=True):
                found[int(row)] = value[: near.lengths[row]]
        for k, u in enumerate(near.utterances):
            yield u, found.pop(k)


def _statistics_tensors(statistics: Statistics) -> dict[str, Tensor]:
    return {"statistics.mean": torch.from_numpy(statistics.mean), "statistics.std": torch.from_numpy(statistics.std)}


def _statistics_of(tensors: dict[str, Tensor], run: Run) -> Statistics:
    try:
        return Statistics(tensors["statistics.mean"].numpy(), tensors["statistics.std"].numpy())
    except KeyError as name:
        raise InputError(f"{run.weights}: not the weights of a run. Found no {name}. Make the run again.") from None


def _fill(module: nn.Module, tensors: dict[str, Tensor], run: Run) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{run.weights}: does not fit its config.json. {reason} Make the run again.") from None


def check_same_input(earlier: Pretrained, plan: Recipe, features: int) -> None:
    """Raises InputError when weights made for other features are to be used with these."""
    was = earlier.run.config["features"]
    if was != features or earlier.plan.track != plan.track or earlier.plan.track_config != plan.track_config:
        there, here = ({f"{p.track} {k}": v for k, v in vars(p.track_config).items()} for p in (earlier.plan, plan))
        other = "; ".join(f"{k} {v}, not {there[k]}" for k, v in here.items() if k in there and v != there[k])
        raise InputError(
            f"{earlier.run.folder}: pre-trained on {was} features a frame of track {earlier.plan.track}; "
            f"found {features} of {plan.track}{f' ({other})' if other else ''}. Use the same track and "
            "settings, or pre-train again."
        )


def begun(plan: Recipe, store: Any, seen: Sequence[Utterance], init: Pretrained | None) -> tuple[Backbone, Statistics]:
    """What a training begins with: weights and their statistics, or random ones (from torch's global seed) and the
    statistics of those who are `seen`. Raises InputError as `check_same_input`."""
    if init:
        check_same_input(init, plan, store.dim)
        return init.backbone, init.statistics
    statistics = Steps([(store, seen)], plan.frontend, Statistics.unit(store.dim)).fit_statistics()
    return build_backbone(plan, plan.frontend.dim(store.dim)), statistics


class Network(nn.Module):
    """Steps -> class scores (B, K) or regression predictions (B, D).

    Backbone, pooling, standardisation, and one linear layer or cosines.

    In mode "probe" the pooling is weighted sum, projector and mean, and nothing is standardised (mean 0, deviation 1).
    """

    def __init__(self, backbone: Backbone, settings: FineTuning, outputs: int):
        super().__init__()
        self.backbone = backbone
        chosen = () if isinstance(settings, Probe) else settings.layers
        whole = not isinstance(settings, Probe) and settings.temporal_pooling == "speech"  # its last block tells speech
        if depth := settings.depth or (0 if whole else max(chosen, default=0)):
            backbone.blocks = backbone.blocks[:depth]
        layers = len(backbone.blocks) + 1
        if missing := [k for k in chosen if k >= layers]:
            raise InputError(
                f"finetune.layers: no layer {missing[0]} in this backbone. Found {layers - 1} blocks"
                f"{f' (finetune.depth={settings.depth})' if settings.depth else ''}. Name 0 to {layers - 1}."
            )
        how: dict[str, Any] = {"layer_aggregation": settings.layer_aggregation}
        if isinstance(settings, Probe):
            how |= {"temporal_pooling": "mean", "project": settings.project, "activation": settings.activation}
        else:
            how |= {"temporal_pooling": settings.temporal_pooling, "only": chosen}
        self.pooling = heads.Pooling(layers, backbone.dim, **how)
        self.standardise = heads.Standardise(self.pooling.dim)
        self.out: nn.Linear | AMSoftmax | heads.Gated
        if settings.loss == "amsoftmax":
            assert not isinstance(settings, Frozen)  # which refuses it
            self.out = AMSoftmax(self.pooling.dim, outputs, scale=settings.scale, margin=settings.margin)
            return
        if isinstance(settings, Frozen) and settings.gated:
            self.out = heads.Gated(self.pooling.dim, outputs)
            return
        self.out = nn.Linear(self.pooling.dim, outputs)
        if not isinstance(settings, Probe):  # solved, not trained: begins at 0
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def pooled(self, x: Tensor, lengths: Tensor, **masks: Tensor) -> Tensor:
        """(B, P); `masks`: what an encoder masks of its own states, see its `contextualise`."""
        return self.pooling(self.backbone(x, lengths, **masks))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.out(self.standardise(self.pooled(x, lengths)))

    @torch.no_grad()
    def begin(self, weight: Tensor, bias: Tensor) -> None:
        """Let the output layer begin with a linear probe's solution, (K, P) and (K,); cosines have no bias. Of two
        layers both begin with it, so that what the gate says changes nothing."""
        for layer in (self.out.plain, self.out.changed) if isinstance(self.out, heads.Gated) else (self.out,):
            layer.weight.copy_(weight)
            if isinstance(layer, nn.Linear):
                layer.bias.copy_(bias)


def add_adapters(backbone: Backbone, rank: int) -> None:
    """LoRA (arXiv:2106.09685) on the attention's query and value projections, scaled by 2, by peft.

    Raises InputError when peft is missing or the backbone has no such projections.
    """
    with needs("finetune.lora: needs the peft library. Found none. Install it: pip install 'sottovoce[hf]'."):
        import peft
    if not backbone.traits.adapters:
        raise InputError("finetune.lora: adapts encoders only. Found another backbone. Use --set finetune.lora=0.")
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(backbone.traits.adapters))
    peft.inject_adapter_in_model(settings, backbone)


def merge_adapters(backbone: nn.Module) -> None:
    """Add what adapters have learned to the weights beside them, and take them out: an ordinary backbone again."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, module.base_layer)


@dataclass
class Recognised:
    """A fine-tuned network with all that is needed to use it."""

    network: Network
    statistics: Statistics
    plan: Recipe
    task: Task
    run: Run | None = None
    calibration: Calibration = field(default_factory=Calibration)
    intensity: nn.Linear | None = None  # of standardised pooled states: how strong an emotion is, as log odds


def save_recognised(folder: Path, it: Recognised, *, shipped: bool = False) -> None:
    """`shipped`: the backbone is the encoder of this package, unchanged; its weights need not lie in every run."""
    tensors = {f"network.{k}": v for k, v in it.network.state_dict().items()}
    if shipped:
        tensors = {k: v for k, v in tensors.items() if not k.startswith("network.backbone.")}
    if it.calibration.rows:
        tensors["calibration"] = torch.tensor([it.calibration.temperature, it.calibration.rows], dtype=torch.float64)
    if it.intensity is not None:
        tensors |= {f"intensity.{k}": v for k, v in it.intensity.state_dict().items()}
    checkpoint.save_tensors(folder / "model.safetensors", tensors | _statistics_tensors(it.statistics))


def load_recognised(run: Run) -> Recognised:
    """Raises InputError when weights and config.json do not fit together."""
    plan, task = run.plan, Task.from_dict(run.config["task"], run.folder / "config.json")
    tensors = checkpoint.load_tensors(run.weights)
    backbone = build_backbone(plan, plan.frontend.dim(run.config["features"]))
    network = Network(backbone, plan.finetune, task.outputs)
    own = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
    if run.config.get("shipped_encoder"):
        own |= {f"backbone.{k}": v for k, v in _shipped_weights(run, len(backbone.blocks)).items()}
    _fill(network, own, run)
    temperature, rows = tensors["calibration"].tolist() if "calibration" in tensors else (1.0, 0)
    known, gauge = Calibration(temperature, int(rows)), None
    if "intensity.weight" in tensors:
        gauge = nn.Linear(network.pooling.dim, 1)
        _fill(gauge, {k[10:]: v for k, v in tensors.items() if k.startswith("intensity.")}, run)
    return Recognised(network.eval(), _statistics_of(tensors, run), plan, task, run, known, gauge)


def _shipped_weights(run: Run, blocks: int) -> dict[str, Tensor]:
    """Raises InputError when the package has another encoder now than the one this run was made with."""
    encoder = hub.load(whisper_weights.DEFAULT)
    if encoder.config["identity"] != run.config["shipped_encoder"]:
        raise InputError(
            f"{run.folder}: made with another default encoder than this version's. Found "
            f"{encoder.config['identity']}, not {run.config['shipped_encoder']}. Make the run again, or use the "
            "version that made it."
        )
    return hub.backbone(encoder, upto=blocks).state_dict()


def run_over(steps: Steps, function: Any, device: Any = "cpu", *, alone: bool = False) -> np.ndarray:
    """`function(x, lengths) -> (B, ...)` over all utterances in order of their indices, as one array.

    `alone`: each is a batch of its own, as the last bits of sums depend on who else is in one (1e-5 of an encoder's).
    """
    out: list[np.ndarray | None] = [None] * len(steps)
    batches = np.arange(len(steps))[:, None] if alone else sequential(steps.lengths, batch_steps=steps.budget)
    for rows, values in in_batches(steps, batches, function, device):
        for row, value in zip(rows, values.cpu().numpy(), strict=True):
            out[row] = value
    return np.stack(out) if out else np.zeros((0, 0), np.float32)  # type: ignore[arg-type]


def check_layer(backbone: Backbone, layer: int, option: str = "layer", of: object = "this model") -> None:
    """Raises InputError when there is no such layer."""
    blocks = len(backbone.blocks)
    if not 0 <= layer <= blocks:
        raise InputError(
            f"{option} {layer}: not in {of}. Found {blocks} blocks. Name one of 0 to {blocks}: 1 is the first block, 0 "
            "what goes into it."
        )


def states_of(backbone: Backbone, layer: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(x, lengths) -> hidden states (B, S, H) of a layer and their lengths; of an encoder, no block above it works."""
    return lambda x, lengths: backbone.layer(x, lengths, layer)


def states(backbone: Backbone, steps: Steps, layer: int) -> Iterator[tuple[int, Track]]:
    """(index, hidden states (S, H) of a layer as a track) of every utterance, shortest first.

    Args:
        layer: 0 = the input projection, 1 = the first block.

    Raises:
        InputError: there is no such layer.
    """
    check_layer(backbone, layer)
    backbone.eval()
    device = next(backbone.parameters()).device
    hop_field = hop_and_field(backbone)
    batches = sequential(steps.lengths, batch_steps=steps.budget)
    for rows, (found, lengths) in in_batches(steps, batches, states_of(backbone, layer), device):
        for i, values, length in zip(rows, found.cpu().numpy(), lengths.tolist(), strict=True):
            yield int(i), replace(steps.states(i, 0, int(steps.lengths[i]), hop_field), values=values[:length])


def embed(backbone: Backbone, steps: Steps) -> np.ndarray:
    """(N, L, 2 H) mean and deviation over time of every hidden layer, with the backbone frozen."""
    backbone.eval()
    device = next(backbone.parameters()).device

    def pooled(x: Tensor, lengths: Tensor) -> Tensor:
        hidden: Hidden = backbone(x, lengths)
        return torch.stack([heads.statistics_pool(layer, hidden.valid) for layer in hidden.layers], dim=1)

    return run_over(steps, pooled, device)


def predict(it: Recognised, steps: Steps) -> np.ndarray:
    """(N, K) class probabilities, not yet calibrated, or (N, D) regression predictions within their ranges."""
    it.network.eval()
    device = next(it.network.parameters()).device
    pooled = run_over(steps, it.network.pooled, device)
    return from_pooled(it, pooled, steps)


def standardised(it: Recognised, pooled: np.ndarray, steps: Steps) -> Tensor:
    """Pooled features (N, P) of utterances as the linear layer reads them."""
    norm, settings = it.network.standardise, it.plan.finetune
    if isinstance(settings, Linear) and settings.embedding_norm == "speaker":
        return norm.by_speaker(pooled, speakers(steps), settings.speaker_prior)
    return norm(torch.from_numpy(pooled).to(norm.mean.device))


def from_pooled(it: Recognised, pooled: np.ndarray, steps: Steps) -> np.ndarray:
    """The last, linear part of a network, from pooled features (N, P) to predictions."""
    network = it.network
    with torch.inference_mode():
        out = network.out(standardised(it, pooled, steps).to(network.standardise.mean.device))
    return to_predictions(it.task, out.cpu().numpy())


def state_rate(it: Recognised, rate_hz: float, offset_s: float = 0.0) -> tuple[float, float]:
    """States per second and the centre of the first in seconds, for a track of this rate and offset."""
    (hop, field), subsampling = hop_and_field(it.network.backbone), it.plan.frontend.subsampling
    return rate_hz / subsampling / hop, offset_s + (field * subsampling - 1) / 2 / rate_hz


def frame_posteriors(it: Recognised, steps: Steps, window_s: float = 0.0) -> Iterator[tuple[int, Track]]:
    """(index, predictions (S, K or D) at every state as a track) of every utterance, shortest first.

    What the last layers say of the states around each one instead of the whole utterance. Each state has seen the
    utterance through the backbone. Where pooling is a mean, a state stands alone: before the softmax, the scores of an
    utterance are then the mean of its states' scores.

    Args:
        window_s: seconds of states that are pooled; 0 = one state where pooling is a mean, `AROUND_S` elsewhere, as
            deviations and attention need several.
    """
    network = it.network.eval()
    device, hop_field = next(network.parameters()).device, hop_and_field(network.backbone)
    if not window_s and network.pooling.temporal_pooling != "mean":
        window_s = AROUND_S
    reach = round(window_s / 2 * steps.rate_hz / hop_field[0])

    def judge(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        hidden = network.backbone(x, lengths)
        return network.out(network.standardise(network.pooling.around(hidden, reach))), hidden.lengths

    batches = sequential(steps.lengths, batch_steps=steps.budget)
    for rows, (scores, lengths) in in_batches(steps, batches, judge, device):
        for i, found, length in zip(rows, scores.cpu().numpy(), lengths.tolist(), strict=True):
            track = steps.states(i, 0, int(steps.lengths[i]), hop_field)
            yield int(i), replace(track, values=to_predictions(it.task, found[:length]))


def speakers(steps: Steps) -> list[str]:
    """Whose recordings are standardised together; an unknown speaker counts as one of their own."""
    return [voice(u) for u in steps.utterances]


def to_predictions(task: Task, out: np.ndarray) -> np.ndarray:
    """Network outputs as probabilities, or as regression predictions within their ranges."""
    if not np.isfinite(out).all():
        raise InputError("The answer of the model is not finite. Found NaN or infinity. Train it again.")
    if task.kind == "class":
        shifted = np.exp(out - out.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)
    low, high = np.array(task.ranges).T
    return np.clip(out, low, high)
