"""Random spans, what a model sees in their stead, and the randomness of a row.

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
    """Mask random spans of fixed length, without overlap.

    wav2vec 2.0 lets spans overlap, so that the masked share varies and falls short of what was asked;
    here round(ratio * T / span) spans are placed uniformly among all non-overlapping placements:
    choosing n of the T - n (span - 1) slots left when every span shrinks to one frame.

    Args:
        lengths: (B,) valid frames.
        rng: one seed a row.
        ratio: share of valid frames to mask.
        span: frames per span. Where an utterance is shorter than the span, the span shrinks to fit;
            at least one span is masked in every utterance of two frames or more.

    Returns:
        mask: (B, T) bool, True = masked, T = longest utterance.
    """
    lengths = lengths.cpu()
    spans, wanted = exact(lengths, ratio, span)
    slots = lengths - wanted * (spans - 1)  # (B,)
    # Stable, so that equal numbers are ordered alike however wide the batch is.
    order = rng.uniform(slots).argsort(dim=1, stable=True)  # (B, S) a random permutation of the slots
    most = int(wanted.max()) if len(lengths) else 0
    chosen = order[:, :most]
    unused = torch.arange(most)[None] >= wanted[:, None]
    chosen = chosen.masked_fill(unused, 2 * order.shape[1]).sort(dim=1).values  # in time, unused last
    starts = chosen + torch.arange(most)[None] * (spans[:, None] - 1)
    return covered(starts, ~unused.sort(dim=1).values, spans, lengths)


def feature_mask(lengths: Tensor, features: int, rng: RowRandom, *, ratio: float = 0.15, span: int = 1) -> Tensor:
    """`span_mask` drawn for every feature column on its own: (B, T, D) bool, True = masked."""
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
    draw: str = "run",
) -> Tensor:
    """What the encoder sees: masked frames filled, swapped for other frames, or left as they are.

    draw="run": one draw for each run of masked frames (in each column, where columns are masked on their own), which
    with single frames is BERT's rule; every swapped frame comes from a position of its own.
    draw="utterance": one draw for all that is masked in an utterance, as MockingJay and EMS do (arXiv:1910.12638,
    sec. 2.2); every swapped run is another chunk of the same utterance, which goes on at its beginning
    where it meets the end (theirs never meet it).

    Args:
        x: (B, T, D) normalised features.
        mask: (B, T) or (B, T, D) bool, True = masked.
        lengths: (B,) valid frames.
        rng: one seed a row.
        fill: "zero" (the mean, after normalisation), "noise" (standard normal) or a learned vector (D,).
        replace: shares of (fill, other frames of the same utterance, unchanged); they add up to 1.
        draw: "run" or "utterance".

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
        choice = rng.uniform(lengths, full.shape[2]).to(x.device)
        position = (rng.uniform(lengths, full.shape[2]) * lengths.cpu()[:, None, None]).long().to(x.device)
        if draw == "utterance":
            choice = choice[:, :1]
            other = torch.arange(frames, device=x.device)[None, :, None] + position.gather(1, run)
            other = other % lengths.to(x.device)[:, None, None]
        else:
            choice = choice.gather(1, run)
            other = position.clamp(max=frames - 1)
        swapped = x.gather(1, other.expand_as(x))
        swap = (choice >= replace[0]) & (choice < replace[0] + replace[1])
        keep = choice >= replace[0] + replace[1]
        filling = torch.where(swap, swapped, torch.where(keep, x, filling))
    return torch.where(full, filling, x)


def contrast(mask: Tensor, intensity: Tensor, valid: Tensor) -> dict[str, float]:
    """Mean intensity of the masked and of the visible frames, all three (B, T); nothing where there are none."""
    found = {}
    for name, frames in (("hidden_intensity", mask & valid), ("visible_intensity", ~mask & valid)):
        if frames.any():
            found[name] = float(intensity[frames].mean())
    return found


def exact(lengths: Tensor, ratio: float, span: int) -> tuple[Tensor, Tensor]:
    """(B,) frames per span and (B,) spans, without overlap; one frame stays visible."""
    spans = torch.minimum(torch.full_like(lengths, span), (lengths - 1).clamp(min=1))
    wanted = torch.round(ratio * lengths.double() / spans).long().clamp(min=1)
    return spans, torch.minimum(wanted, (lengths - 1).clamp(min=0) // spans)


def covered(starts: Tensor, used: Tensor, spans: Tensor | int, lengths: Tensor) -> Tensor:
    """(B, T) bool: frames inside the spans at those of `starts` (B, N) that are `used` (B, N)."""
    frames = int(lengths.max()) if len(lengths) else 0
    edges = torch.zeros(len(lengths), frames + 1, dtype=torch.int32)  # +1 where a span starts, -1 after it ends
    ends = starts + (spans[:, None] if isinstance(spans, Tensor) else spans)
    ones = used.to(torch.int32)
    edges.scatter_add_(1, starts.clamp(max=frames), ones)
    edges.scatter_add_(1, torch.minimum(ends, lengths[:, None]), -ones)
    return edges[:, :frames].cumsum(1) > 0
