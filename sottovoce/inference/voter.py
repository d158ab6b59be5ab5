"""One fine-tuned network as a voter: frames of a recording become states, and stretches of states become answers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sottovoce.config.finetuning import Probe
from sottovoce.data.corpus import Utterance
from sottovoce.data.dataset import Steps
from sottovoce.data.memory import Memory
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.inference.listening import STRANGE
from sottovoce.metrics.temperature import Calibration
from sottovoce.modeling import network as models
from sottovoce.modeling.network import Recognised


def steps_of(it: Recognised, frames: Sequence[np.ndarray], statistics: Any = None, trim: bool = True) -> Steps:
    """Track frames (T, F) as the steps a network was trained on.

    Args:
        statistics: instead of its own, of a model that standardises per speaker.
        trim: cut silent ends off where training did.
    """
    front = it.plan.frontend
    if front.normalise == "speaker":
        front = replace(front, normalise="corpus")
    if not trim:
        front = replace(front, trim_db=0.0)
    store = Memory.of({str(k): f for k, f in enumerate(frames)}, it.plan.track_config.rate_hz, it.plan.track)
    used = statistics if it.plan.frontend.normalise == "speaker" and statistics else it.statistics
    if store.dim != len(used.mean):
        raise InputError(
            f"the model expects {len(used.mean)} features a frame. Found {store.dim}. Use the track it was trained on."
        )
    return Steps([(store, [Utterance(k, "recording", "") for k in store])], front, used)


class Voter:
    """States are what its pooling pools, the layers side by side, and how much each of them counts: (S, M)."""

    def __init__(self, it: Recognised):
        self.it, self.network = it, it.network.eval()
        self._widths: list[int] = []

    @property
    def calibration(self) -> Calibration:
        return self.it.calibration

    def states(self, frames: Track, *, trim: bool, speaker: "Speaker | None" = None) -> Track:
        """(T, F) frames, encoded alone and at their own length -> (S, M), at the times of the states.

        Args:
            trim: silent ends are not encoded, as in training, and have no states.
        """
        steps = steps_of(self.it, [frames.values], speaker.statistics if speaker else None, trim)
        batch = steps.batch([0])
        with torch.inference_mode():
            hidden = self.network.backbone(batch.x, batch.lengths)
            layers = self.network.pooling.mixed(hidden)
            layers.append(self.network.pooling.counts(hidden).to(layers[0])[..., None])
        self._widths = [layer.shape[2] for layer in layers]
        traits = self.network.backbone.traits
        when = steps.states(0, 0, int(steps.lengths[0]), (traits.hop, traits.receptive_field))
        values = torch.cat([layer[0] for layer in layers], dim=1)[: len(when)]
        return replace(when, values=values.numpy(), offset_s=when.offset_s + frames.offset_s)

    def pooled(self, states: np.ndarray, first: np.ndarray, last: np.ndarray, valid: np.ndarray) -> torch.Tensor:
        """(B, P) of the states first..last (B,) of a recording (S, M) that are valid (S,)."""
        *layers, counts = torch.from_numpy(states).split(self._widths, dim=1)
        counted = counts[:, 0] * torch.from_numpy(valid)
        with torch.inference_mode():
            return self.network.pooling.spans(layers, counted, torch.from_numpy(first), torch.from_numpy(last))

    @property
    def outputs(self) -> int:
        """Answers of `judge`."""
        return self.it.task.outputs + (self.it.intensity is not None)

    def judge(self, pooled: torch.Tensor, speaker: "Speaker | None" = None) -> np.ndarray:
        """(B, P) -> (B, K) probabilities, or (B, D) numbers in their ranges; of a model that tells intensities, with
        one of 0 to 1 behind them."""
        with torch.inference_mode():
            standard = self._standard(pooled, speaker)
            said = models.to_predictions(self.it.task, self.network.out(standard).numpy())
            if self.it.intensity is None:
                return said
            return np.concatenate([said, self.it.intensity(standard).sigmoid().numpy()], axis=1)

    def strange(self, pooled: torch.Tensor) -> bool:
        """Whether a recording's pooled features (1, P) lie far outside those of the training part."""
        norm = self.network.standardise
        if bool((norm.std == 1).all()) and self.it.plan.finetune.embedding_norm != "speaker":
            return False  # nothing is standardised
        return float(norm(pooled).square().mean()) > STRANGE

    def _standard(self, pooled: torch.Tensor, speaker: "Speaker | None") -> torch.Tensor:
        if self.it.plan.finetune.embedding_norm == "speaker" and speaker is not None:
            mean, std = (torch.from_numpy(part) for part in speaker.pooled(self))
            return (pooled - mean) / std
        return self.network.standardise(pooled)


class Speaker:
    """What per-speaker standardisation needs of one speaker's recordings.

    Args:
        frames: (T, F) of each, beginnings of 30 s are enough.
    """

    def __init__(self, first: Voter, frames: Sequence[np.ndarray]):
        self.frames, self.alone = frames, len(frames) == 1
        self.statistics = steps_of(first.it, frames).fit_statistics()
        self._pooled: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def pooled(self, voter: Voter) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (P,) of the pooled features of one network."""
        if id(voter) not in self._pooled:
            rows = models.run_over(steps_of(voter.it, self.frames, self.statistics), voter.network.pooled)
            settings = voter.it.plan.finetune
            assert not isinstance(settings, Probe)
            mean, std = voter.network.standardise.of_speakers(rows, [""] * len(rows), settings.speaker_prior)
            self._pooled[id(voter)] = mean[0], std[0]
        return self._pooled[id(voter)]
