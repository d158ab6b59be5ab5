"""What every objective offers: `Objective`, the `Config` it is set by, and the `Loss` it returns.

An objective file holds a `Config` (a frozen dataclass, of `base.Config`) and a class `Objective(base.Objective)` with
`forward(batch, rng) -> Loss`. All else has a default that does nothing. An objective is given its backbone and knows no
files: which auxiliary tracks it reads, `Config.needs` tells, and what it wants to know of the whole training part
before it begins, it asks of the `Data` that `prepare` is handed.

B utterances, S steps, D features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from sottovoce.backbones.base import Backbone
from sottovoce.config.ranges import Settings
from sottovoce.data.batching import Batch
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.dataset import Steps
from sottovoce.modeling.masking import RowRandom


@dataclass
class Loss:
    """A sum and what it is a sum over.

    `total / weight` is the mean that is minimised. Kept apart so that accumulated or spread over
    processes, unequal batches still give the gradient of one big batch.
    """

    total: Tensor  # () sum over the scored items
    weight: Tensor  # () how many there are
    logs: dict[str, float | Tensor] = field(default_factory=dict)  # tensors (), read when they are shown

    @property
    def value(self) -> Tensor:
        return self.total / self.weight.clamp(min=1)


class Preview(NamedTuple):
    """A batch as a picture shows it, (B, S, D) each."""

    truth: Tensor  # what was to be predicted
    shown: Tensor  # the same with the predictions in it
    masked: Tensor  # bool, True = the model had to do without


@dataclass(frozen=True)
class Sides:
    """Who is learned from in a fold, and who is looked at after every epoch; all others are tested."""

    corpora: Sequence[Corpus]
    train: Sequence[Sequence[Utterance]]  # of every corpus
    dev: Sequence[Sequence[Utterance]]

    def only(self, keep: Callable[[Utterance, int], bool]) -> "Sides":
        """Those of whom `keep(utterance, index of its corpus)` is true."""
        train, dev = ([[u for u in own if keep(u, k)] for k, own in enumerate(side)] for side in (self.train, self.dev))
        return Sides(self.corpora, train, dev)

    @property
    def learners(self) -> list[Utterance]:
        """The training part of all corpora."""
        return [u for part in self.train for u in part]


class Data(Protocol):
    """What an objective may know of a fold before it is trained; `sottovoce.pipeline.pretrain_data` opens it."""

    sides: Sides
    train: Steps  # of `sides.train` what `Config.learns`
    dev: Steps  # what is looked at after every epoch

    def complete_genders(self, backbone: Backbone) -> None:
        """Give every utterance of `train` a gender: predicted from the states of the backbone where it is unknown."""

    def functionals(self, speaker_norm: bool = False) -> list[np.ndarray]:
        """(N, F) of all utterances of every corpus, of the kind `Config.functionals` names."""


@dataclass(frozen=True)
class Config(Settings, group="objective"):
    """What the settings of an objective tell whoever opens the data for it."""

    @property
    def needs(self) -> Mapping[str, tuple[str, str]]:
        """Auxiliary tracks a batch has to carry: name in `Batch.tracks` -> (track, how it is aligned)."""
        return {}

    @property
    def clusters(self) -> tuple[str, ...]:
        """Where the units come from that a batch has to carry as "units", one entry an iteration; none: no units."""
        return ()

    def check(self, longest: int) -> None:
        """Raises InputError when an utterance of at most `longest` steps leaves nothing to learn."""

    @property
    def functionals(self) -> str:
        """Which functionals of whole utterances it asks its `Data` for: "auto", a kind, or none."""
        return ""

    @property
    def split(self) -> str:
        """What dev and test are apart by: "speaker", the folds of a corpus; or "random"."""
        return "speaker"

    @property
    def masks(self) -> bool:
        """Whether a rule masks anything, of settings that name one."""
        return True

    @property
    def notes(self) -> Mapping[str, Any]:
        """Further entries of the run's config.json."""
        return {}

    def require(self, corpora: Sequence[Corpus]) -> None:
        """Raises InputError when nothing could be learned from these corpora; asked before hours of work."""

    def fitted(self, sides: Sides) -> Self:
        """These settings with what the labels of the training part decide, such as how many classes there are.

        Raises InputError when there is nothing in them to learn from.
        """
        return self

    def reads(self, u: Utterance) -> bool:
        """Whether an utterance of the training part or dev is looked at; asked when `fitted`."""
        return True

    def learns(self, u: Utterance) -> bool:
        """Whether it is learned from; what is read and not learned from is there for `prepare`."""
        return True


class Objective(torch.nn.Module):
    """A backbone and the task it is trained by; `backbone` is kept, most others are thrown away.

    Args:
        widths: features a step of the tracks in `Config.needs`.
    """

    # What comes out is not the backbone but what its own layers say of every frame: they are saved with it, begin with
    # random weights, and all of dev chooses among the epochs.
    judges: ClassVar[bool] = False

    def __init__(self, config: Any, backbone: Backbone, widths: Mapping[str, int] | None = None):
        super().__init__()
        self.config, self.backbone = config, backbone

    def prepare(self, data: Data) -> None:
        """Fit what is fitted before training, on `data.train` alone."""

    def targets(self, steps: Steps) -> np.ndarray | None:
        """(N,) or (N, A) of utterances, handed to their batches as `Batch.target`; None: it learns without labels."""
        return None

    def param_scale(self, name: str) -> float:
        """Factor on the learning rate of a parameter; 0 = frozen."""
        return 1.0

    def forward(self, batch: Batch, rng: RowRandom) -> Loss:
        """A row's part depends neither on other rows nor on padding; all chance is in `rng`."""
        raise NotImplementedError

    def baseline(self, batch: Batch, rng: RowRandom) -> Loss:
        """The loss of a prediction that looks at nothing, over the same items as `forward`; nothing known: weight 0."""
        zero = batch.x.new_zeros(())
        return Loss(zero, zero)

    def preview(self, batch: Batch, rng: RowRandom) -> Preview | None:
        """What it sees and predicts, for the page; None: nothing that could be drawn."""
        return None
