"""A corpus that lies on a GPU as a whole: its batches are cut out there, and nothing is read while it trains.

The same batches as `Steps.batch`, number for number, where no chance touches what is in a row but its cut.
"""

from collections.abc import Sequence

import numpy as np
import torch

from sottovoce.data.batching import Batch, row_seed
from sottovoce.data.dataset import Steps

SHARE = 0.25  # of the free memory of a GPU


def fits(steps: Steps, most: int | None, device: torch.device) -> bool:
    """Whether a corpus may lie on the GPU: it is small enough, and its rows are fixed. They are not where they are
    stretched, nor where auxiliary tracks are cut with them, whose steps are averages."""
    numbers = int(steps.lengths.sum()) * (steps.dim + sum(stores[0].dim for stores, _ in steps.aux.values()) + 1)
    fixed = not steps.stretch and not (steps.aux and most and steps.lengths.max(initial=0) > most)
    return fixed and 8 * numbers < SHARE * torch.cuda.mem_get_info(device)[0]


class Resident:
    """`batch` of these steps, on a device."""

    def __init__(self, steps: Steps, device: torch.device | str):
        self.steps, self.device = steps, torch.device(device)
        self.lengths, self.rate_hz = steps.lengths, steps.rate_hz
        self.first = np.concatenate([[0], np.cumsum(steps.lengths)])  # (N + 1,) row of the first step
        self.x = torch.empty(int(self.first[-1]), steps.dim, device=device)
        self.scored = torch.empty(len(self.x), dtype=torch.bool, device=device)
        aux: dict[str, list[np.ndarray]] = {name: [] for name in steps.aux}
        for i, (a, b) in enumerate(zip(self.first, self.first[1:], strict=False)):
            x, scored = steps[i]
            self.x[a:b], self.scored[a:b] = torch.from_numpy(x), torch.from_numpy(scored)
            for name, values in steps.aux_of(i, 0, b - a).items():
                aux[name].append(values)
        self.aux = {name: torch.from_numpy(np.concatenate(values)).to(device) for name, values in aux.items()}
        self.aux_first = {name: np.cumsum([0, *map(len, values)]) for name, values in aux.items()}

    def batch(
        self,
        indices: Sequence[int] | np.ndarray,
        *,
        seed: int = 0,
        most: int | None = None,
        target: np.ndarray | None = None,
    ) -> Batch:
        """As `Steps.batch`."""
        names = [self.steps.utterances[i].id for i in indices]
        seeds = [row_seed(seed, name) for name in names]
        cuts = [self.steps.cut(i, most, np.random.default_rng(s)) for i, s in zip(indices, seeds, strict=True)]
        starts = np.array([self.first[i] + start for i, (start, _) in zip(indices, cuts, strict=True)])
        counts = np.array([end - start for start, end in cuts])
        rows = np.asarray(indices)
        return Batch(
            names,
            self._padded(self.x, starts, counts),
            torch.from_numpy(counts).to(self.device),
            self._padded(self.scored, starts, counts),
            seeds,
            None if target is None else torch.from_numpy(np.ascontiguousarray(target[rows])),
            {
                name: self._padded(values, self.aux_first[name][rows], np.diff(self.aux_first[name])[rows])
                for name, values in self.aux.items()
            },
        )

    def _padded(self, values: torch.Tensor, starts: np.ndarray, counts: np.ndarray) -> torch.Tensor:
        """Rows (B, S, ...) that begin at `starts`; behind `counts` of them 0, in labels -1."""
        both = torch.from_numpy(np.stack([starts, counts])).to(self.device)
        at = torch.arange(int(counts.max()), device=self.device)
        inside = at < both[1][:, None]
        found = values[(both[0][:, None] + at).clamp(max=len(values) - 1)]
        outside = ~inside.reshape(*inside.shape, *[1] * (found.ndim - 2))
        return found.masked_fill_(outside, -1 if values.dtype == torch.int64 else 0)
