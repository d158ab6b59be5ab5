"""Masking policies: which frames a self-supervised model has to guess, and what it sees there instead.

A policy turns what it knows about a batch into `mask` bool, True = hidden from the encoder and counted
in the loss. It hides no padding and never touches the features; `corrupt` does that.

    span_mask     spans at random places, exact ratio    wav2vec 2.0, arXiv:2006.11477, sec. 3.1
                  (span=1: single timesteps, as in the masked-timestep paper, arXiv:2307.12343)
    feature_mask  the same in every feature column on its own
    corrupt       80 % filled, 10 % other frames, 10 % kept    BERT, arXiv:1810.04805, sec. 3.1

B utterances, T frames, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class RowRandom:
    """Uniform numbers drawn from each row's own seed.

    A row's mask then depends neither on its neighbours nor on padding, batch order, the process that
    draws it or the steps before: what makes resuming exact and two processes equal to one.
    """

    def __init__(self, seeds: Sequence[int]):
        self.seeds = [int(s) & (2**63 - 1) for s in seeds]
        self.draws = 0  # later draws are independent of earlier ones

    def uniform(self, lengths: Tensor, *shape: int) -> Tensor:
        """(B, max length, *shape) in [0, 1); each row is filled up to its length, the rest is 2 (sorts last)."""
        self.draws += 1
        noise = torch.full((len(self.seeds), int(lengths.max()) if len(lengths) else 0, *shape), 2.0)
        generator = torch.Generator()
        for row, seed, length in zip(noise, self.seeds, lengths.tolist(), strict=True):
            generator.manual_seed((seed * 1_000_003 + self.draws) & (2**63 - 1))
            row[:length] = torch.rand((length, *shape), generator=generator)
        return noise


def span_mask(lengths: Tensor, rng: RowRandom, *, ratio: float = 0.15, span: int = 1) -> Tensor:
    """Hide spans of fixed length at random places, without overlap.

    wav2vec 2.0 lets spans overlap, so that the hidden share varies and falls short of what was asked;
    here round(ratio * T / span) spans are placed uniformly among all non-overlapping placements:
    choosing n of the T - n (span - 1) slots left when every span shrinks to one frame.

    Args:
        lengths: (B,) valid frames.
        rng: one seed a row.
        ratio: share of valid frames to hide.
        span: frames per span. Where an utterance is shorter than the span, the span shrinks to fit;
            at least one span is hidden in every utterance of two frames or more.

    Returns:
        mask: (B, T) bool, True = hidden, T = longest utterance.
    """
    lengths = lengths.cpu()
    batch, frames = len(lengths), int(lengths.max()) if len(lengths) else 0
    spans = torch.minimum(torch.full_like(lengths, span), (lengths - 1).clamp(min=1))  # (B,)
    wanted = torch.round(ratio * lengths / spans).long().clamp(min=1)
    wanted = torch.minimum(wanted, (lengths - 1).clamp(min=0) // spans)  # one frame stays visible
    slots = lengths - wanted * (spans - 1)  # (B,)
    # Stable, so that equal numbers are ordered alike however wide the batch is.
    order = rng.uniform(slots).argsort(dim=1, stable=True)  # (B, S) a random permutation of the slots
    most = int(wanted.max()) if batch else 0
    chosen = order[:, :most]
    unused = torch.arange(most)[None] >= wanted[:, None]
    chosen = chosen.masked_fill(unused, frames * 2).sort(dim=1).values  # in time, unused last
    starts = chosen + torch.arange(most)[None] * (spans[:, None] - 1)
    edges = torch.zeros(batch, frames + 1, dtype=torch.int32)  # +1 where a span starts, -1 after it ends
    inside = ~(unused.sort(dim=1).values)
    ones = inside.to(torch.int32)
    edges.scatter_add_(1, starts.clamp(max=frames), ones)
    edges.scatter_add_(1, (starts + spans[:, None]).clamp(max=frames), -ones)
    return edges[:, :frames].cumsum(1) > 0


def feature_mask(lengths: Tensor, features: int, rng: RowRandom, *, ratio: float = 0.15, span: int = 1) -> Tensor:
    """`span_mask` drawn for every feature column on its own: (B, T, D) bool, True = hidden."""
    columns = [span_mask(lengths, rng, ratio=ratio, span=span) for _ in range(features)]
    return torch.stack(columns, dim=2)


def corrupt(
    x: Tensor,
    mask: Tensor,
    lengths: Tensor,
    rng: RowRandom,
    *,
    fill: Tensor | str = "zero",
    replace: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> Tensor:
    """What the encoder sees: hidden frames filled, swapped for other frames, or left as they are.

    One draw for each run of hidden frames (in each column, where columns are masked on their own), so that with
    single frames it is BERT's rule and with spans MockingJay's (arXiv:1910.12638, sec. 2.2), except that
    MockingJay draws once an utterance.

    Args:
        x: (B, T, D) normalised features.
        mask: (B, T) or (B, T, D) bool, True = hidden.
        lengths: (B,) valid frames.
        rng: one seed a row.
        fill: "zero" (the mean, after normalisation), "noise" (standard normal) or a learned vector (D,).
        replace: shares of (fill, another frame of the same utterance, unchanged); they add up to 1.

    Returns:
        (B, T, D); frames outside `mask` are those of `x`, bit for bit.
    """
    frames, full = x.shape[1], mask if mask.ndim == 3 else mask[..., None]  # (B, T, D) or (B, T, 1)
    filling: Tensor
    if isinstance(fill, Tensor):
        filling = fill.expand_as(x)
    elif fill == "noise":
        u = rng.uniform(lengths, x.shape[2]).clamp(1e-6, 1 - 1e-6)
        filling = (torch.erfinv(2 * u - 1) * 2**0.5).to(x)
    else:
        filling = torch.zeros_like(x)
    if replace[0] < 1:
        before = torch.nn.functional.pad(full, (0, 0, 1, 0))[:, :-1]
        run = (full & ~before).cumsum(1).sub(1).clamp(min=0)  # number of the run a frame belongs to
        choice = rng.uniform(lengths, full.shape[2]).to(x.device).gather(1, run)
        other = (rng.uniform(lengths, full.shape[2]) * lengths.cpu()[:, None, None]).long().clamp(max=frames - 1)
        swapped = x.gather(1, other.to(x.device).expand_as(x))
        swap = (choice >= replace[0]) & (choice < replace[0] + replace[1])
        keep = choice >= replace[0] + replace[1]
        filling = torch.where(swap, swapped, torch.where(keep, x, filling))
    return torch.where(full, filling, x)
