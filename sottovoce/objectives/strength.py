"""Emotional intensity: StrengthNet's branches for speech, its frames and which emotion it is.

Liu et al. 2022 (arXiv:2206.07229; layers and loss read in https://github.com/ttslr/StrengthNet, model.py, train.py).
Learned from labels, not self-supervised: the target of an utterance is its relative-attribute score and its emotion.

    frames (B, S, H) -> BLSTM 128 -> Linear 128, ReLU -> Linear 1  = intensity of a frame; its mean: of the utterance
                     -> BLSTM 128, both last states -> Linear K    = emotion

    loss = |utterance - target| + mean over frames |frame - target| + cross-entropy, all of weight 1

A frame's target is the score of its utterance; how intensity moves within it is the network's own.
Kept from the release: recurrent weights clipped to a norm of 1e-5 an output. That is nothing, so each state sees its
own frame and the cell that leaks into the next one, no more; recurrent dropout then has nothing to drop and is left
out. Departures: padding is not read and not scored; padding="included" is the release, in which it is both.

B utterances, S frames, H backbone width, K emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sottovoce.backbones.base import Backbone, Hidden
from sottovoce.config.ranges import Count, NotNegative, Positive, ShareBelow1
from sottovoce.data.batching import Batch
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives import _ranking, base
from sottovoce.objectives._ranking import emotion_of
from sottovoce.objectives.base import Loss


@dataclass(frozen=True)
class Config(base.Config):
    """The branches, the loss, and where the targets come from (`_ranking.py`)."""

    lstm: Count = 128  # a direction
    dense: Count = 128  # units of the layer before the output
    dropout: ShareBelow1 = 0.3  # share of them that is zero in training
    recurrent_norm: NotNegative = 1e-5  # largest norm of the recurrent weights of an output; 0 = free
    padding: Literal["excluded", "included"] = "excluded"  # "included" as released
    emotions: Count = 4  # K; set to the number of the corpora's emotions
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of every corpus; filled from the labels

    # what dev and test are apart by; "random", as released, is marked in the report
    split: Literal["speaker", "random"] = "speaker"
    neutral: tuple[str, ...] = ("neutral",)  # emotions that count as none; RAVDESS also has "calm"
    # what utterances are ranked by: "eGeMAPSv02", "fbank", or the first where installed
    functionals: Literal["auto", "eGeMAPSv02", "fbank"] = "auto"
    speaker_norm: bool = False  # functionals standardised within each speaker, test speakers' audio included
    slack: Positive = 0.1  # C of the ranking, see `sottovoce.metrics.relative_attributes`

    @property
    def names(self) -> list[str]:
        """The K emotions."""
        return list(dict.fromkeys(emotion for own in self.classes.values() for emotion in own))

    @property
    def notes(self) -> dict[str, Any]:
        return {"emotions": self.names, "functionals": self.functionals}

    def require(self, corpora: Sequence[Corpus]) -> None:
        _ranking.require(corpora, self.neutral)

    def fitted(self, sides: base.Sides) -> "Config":
        classes = {
            c.name: _ranking.ranked(c, part, self.neutral) for c, part in zip(sides.corpora, sides.train, strict=True)
        }
        found = replace(self, classes=classes)
        if not any(found.learns(u) for part in sides.dev for u in part):
            raise InputError(
                f"{', '.join(str(c.folder) for c in sides.corpora)}: nobody to choose the epoch by. Found no emotional "
                "utterance in dev. Name a fold of the corpus, e.g. --fold fold1."
            )
        return replace(found, emotions=len(found.names))

    def reads(self, u: Utterance) -> bool:
        return self.learns(u) or (_ranking.LABEL in u.labels and emotion_of(u) in self.neutral)

    def learns(self, u: Utterance) -> bool:
        """Neutral speech is what emotional speech is above, no more."""
        return _ranking.LABEL in u.labels and emotion_of(u) in self.classes.get(u.corpus, ())


@dataclass
class Judged:
    """frames (B, S) strength, 0 where not valid (B, S); utterance (B,) its mean; emotion (B, K) logits."""

    frames: Tensor
    valid: Tensor
    utterance: Tensor
    emotion: Tensor


class Recurrent(nn.Module):
    """Bidirectional LSTM that reads no padding: (B, S, H) -> states (B, S, 2 L), last states (B, 2 L).

    Dropout drops the same features in all frames of a row, as Keras does (Keras draws each direction its own).
    """

    def __init__(self, width: int, config: Config):
        super().__init__()
        self.dropout, self.norm = config.dropout, config.recurrent_norm
        self.lstm = nn.LSTM(width, config.lstm, batch_first=True, bidirectional=True)
        for name, weight in self.lstm.named_parameters():  # as Keras: Glorot, orthogonal, forget gates open
            if "bias" in name:
                nn.init.zeros_(weight)
                if "bias_ih" in name:
                    nn.init.ones_(weight.data[config.lstm : 2 * config.lstm])
            else:
                (nn.init.orthogonal_ if "_hh" in name else nn.init.xavier_uniform_)(weight)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if self.norm:
            with torch.no_grad():  # rows of weight_hh are outputs
                for weight in (self.lstm.weight_hh_l0, self.lstm.weight_hh_l0_reverse):
                    weight.renorm_(2, 0, self.norm)
        kept = nn.functional.dropout(x.new_ones(len(x), 1, x.shape[2]), self.dropout, self.training)
        packed = pack_padded_sequence(x * kept, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])
        return states, torch.cat([last[0], last[1]], dim=1)


class Objective(base.Objective):
    """forward(batch, rng) -> Loss; batch.target (B, 2) is score and number of the emotion."""

    judges: ClassVar[bool] = True

    def __init__(self, config: Config, backbone: Backbone, widths: Mapping[str, int] | None = None):
        super().__init__(config, backbone, widths)
        self.strength_states = Recurrent(backbone.dim, config)
        self.strength = nn.Sequential(
            nn.Linear(2 * config.lstm, config.dense), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.dense, 1)
        )
        self.emotion_states = Recurrent(backbone.dim, config)
        self.emotion = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(2 * config.lstm, config.emotions))
        for layer in (*self.strength, *self.emotion):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def prepare(self, data: base.Data) -> None:
        """Rank the training part of every corpus: the scores that the network is taught."""
        sides, values = data.sides, data.functionals(self.config.speaker_norm)
        self.lessons = {
            c.name: _ranking.lesson(c, x, train, dev, self.config)
            for c, x, train, dev in zip(sides.corpora, values, sides.train, sides.dev, strict=True)
        }
        target = self.targets(data.train)
        self.median = float(np.median(target[:, 0]))
        known = np.bincount(target[:, 1].astype(int), minlength=self.config.emotions)
        self.shares = torch.from_numpy((known + 1) / (len(target) + self.config.emotions))

    def targets(self, steps: Steps) -> np.ndarray:
        """(N, 2) float32: score and number of the emotion."""
        names = self.config.names
        pairs = [(self.lessons[u.corpus].score(u), names.index(emotion_of(u))) for u in steps.utterances]
        return np.array(pairs, dtype=np.float32).reshape(-1, 2)

    def judge(self, x: Tensor, lengths: Tensor) -> Judged:
        """Features (B, S, D), lengths (B,) -> `Judged`."""
        encoded = self.backbone(x, lengths)
        frames = self._strength(encoded)
        _, last = self.emotion_states(encoded.last, lengths)
        return Judged(frames, encoded.valid, frames.sum(1) / lengths, self.emotion(last))

    def frames(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The intensity branch alone: (B, S), 0 behind the end."""
        return self._strength(self.backbone(x, lengths))

    def _strength(self, encoded: Hidden) -> Tensor:
        """`Hidden` -> (B, S)."""
        states, _ = self.strength_states(encoded.last, encoded.lengths)
        return self.strength(states)[..., 0].masked_fill(~encoded.valid, 0.0)

    def forward(self, batch: Batch, rng: RowRandom) -> Loss:
        if batch.target is None:
            raise ValueError("strength is learned from targets (B, 2)")
        lengths = batch.lengths
        if self.config.padding == "included":
            lengths = torch.full_like(lengths, batch.x.shape[1])
        return loss_of(self.judge(batch.x, lengths), batch.target)

    def baseline(self, batch: Batch, rng: RowRandom) -> Loss:
        """One intensity for all, the median of training, and the shares of its emotions."""
        assert batch.target is not None
        apart = (batch.target[:, 0] - self.median).abs()
        likely = self.shares.to(apart)[batch.target[:, 1].long()].log()
        return Loss((2 * apart - likely).sum(), torch.full_like(apart, 1.0).sum())


def loss_of(judged: Judged, target: Tensor) -> Loss:
    """Sum over the utterances; the three parts are logged as means. Targets (B, 2) as in `Objective`."""
    score, emotion = target[:, 0].to(judged.utterance), target[:, 1].long()
    whole = (judged.utterance - score).abs()  # (B,)
    each = ((judged.frames - score[:, None]).abs() * judged.valid).sum(1) / judged.valid.sum(1)
    named = nn.functional.cross_entropy(judged.emotion, emotion, reduction="none")
    logs = {"mae": whole.detach().mean(), "frame_mae": each.detach().mean(), "cross_entropy": named.detach().mean()}
    return Loss((whole + each + named).sum(), torch.full_like(whole, 1.0).sum(), logs)
