"""One file, one self-supervised objective: `Config`, `Objective(config, backbone, widths)`.

`Objective.forward(batch, rng) -> Loss`. An objective is given its backbone and knows no files. What it reads beside
the features its `Config.needs` tells: name in `Batch.tracks` -> (track, how it is aligned); `widths` are theirs.
"""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Loss:
    """A sum and what it is a sum over.

    `total / weight` is the mean that is minimised. Kept apart so that accumulated or spread over
    processes, unequal batches still give the gradient of one big batch.
    """

    total: Tensor  # () sum over the scored items
    weight: Tensor  # () how many there are
    logs: dict[str, float] = field(default_factory=dict)

    @property
    def value(self) -> Tensor:
        return self.total / self.weight.clamp(min=1)
