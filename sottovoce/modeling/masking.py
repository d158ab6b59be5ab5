"""Masking policies: which frames a self-supervised model has to guess, and what it sees there instead.

A rule turns what it knows about a batch into `mask` bool, True = hidden from the encoder and counted in the loss.
It hides no padding and never touches the features; `corrupt` does that.

    span_mask       spans at random places, exact ratio        wav2vec 2.0, arXiv:2006.11477, sec. 3.1
                    (span=1: single timesteps, as in the masked-timestep paper, arXiv:2307.12343)
    released_mask   spans that start at the strongest frames   EMS, arXiv:2406.06646, as in the authors' code
    threshold_mask  spans that start at strong enough frames   its prototype of February 2023
    coverage_mask   the strongest spans, exact ratio           ours, after EMS
    sampled_mask    strong spans more often, exact ratio       ours, after EMS
    feature_mask    random spans in every feature column on its own
    corrupt         80 % filled, 10 % other frames, 10 % kept  BERT, arXiv:1810.04805, sec. 3.1

A `Policy` names a rule and its settings, and `hide` follows it. The EMS code was read in the commit
AI-S2-Lab/EMS@6b35c57 (`pretrain/mockingjay/task.py`), its prototype in codening99/interspeech2023 (the same path).

B utterances, T frames, D features. `intensity` (B, T) is how emotional a frame is, on any scale.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sottovoce.config.masking import Policy


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


def hide(
    policy: Policy, lengths: Tensor, rng: RowRandom, intensity: Tensor | None = None, progress: float = 1.0
) -> Tensor:
    """What a policy hides: (B, T) bool on the CPU, T = longest utterance.

    Args:
        lengths: (B,) valid steps.
        rng: one seed a row.
        intensity: (B, T) on the clock of the steps; not needed for "random".
        progress: share of training done; a policy with a `ramp` begins with random spans in every utterance.
    """
    lengths, ratio, span = lengths.cpu(), policy.ratio, policy.span
    if policy.rule == "random":
        return span_mask(lengths, rng, ratio=ratio, span=span)
    assert intensity is not None
    intensity = intensity.float().cpu()
    if policy.rule == "ems_released":
        mask = released_mask(intensity, lengths, rng, ratio=ratio, span=span)
    elif policy.rule == "ems_threshold":
        mask = threshold_mask(intensity, lengths, rng, ratio=ratio, span=span, threshold=policy.threshold)
    elif policy.rule == "ems_coverage":
        mask = coverage_mask(intensity, lengths, rng, ratio=ratio, span=span, anchor=policy.anchor)
    else:
        mask = sampled_mask(
            intensity, lengths, rng, ratio=ratio, span=span, temperature=policy.temperature, anchor=policy.anchor
        )
    if progress >= policy.ramp:
        return mask
    early = rng.uniform(torch.ones_like(lengths)) >= progress / policy.ramp  # (B, 1)
    return torch.where(early, span_mask(lengths, rng, ratio=ratio, span=span), mask)


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
    spans, wanted = _exact(lengths, ratio, span)
    slots = lengths - wanted * (spans - 1)  # (B,)
    # Stable, so that equal numbers are ordered alike however wide the batch is.
    order = rng.uniform(slots).argsort(dim=1, stable=True)  # (B, S) a random permutation of the slots
    most = int(wanted.max()) if len(lengths) else 0
    chosen = order[:, :most]
    unused = torch.arange(most)[None] >= wanted[:, None]
    chosen = chosen.masked_fill(unused, 2 * order.shape[1]).sort(dim=1).values  # in time, unused last
    starts = chosen + torch.arange(most)[None] * (spans[:, None] - 1)
    return _covered(starts, ~unused.sort(dim=1).values, spans, lengths)


def released_mask(intensity: Tensor, lengths: Tensor, rng: RowRandom, *, ratio: float = 0.15, span: int = 7) -> Tensor:
    """Hide spans that start at the strongest frames, exactly as EMS was released.

    n = round(T * ratio / span) spans. Of the 2 n strongest frames those that may start a span (the first T - span;
    the release leaves the last possible place out) are kept in falling order until there are n; spans may overlap.
    Where fewer than n are kept, all are discarded and n random starts are drawn. On smooth scores the strongest
    frames are neighbours, so that far less than `ratio` is hidden: `coverage_mask` mends it.
    Departure: padding is no frame (the release ranks it too, with score 0, and a start there is refused all the same).

    Args:
        intensity: (B, T). Of equal scores the first counts as the strongest.
        lengths: (B,) valid frames. Short ones (round(T * ratio / span) = 0) stay whole.
        rng: one seed a row.

    Returns:
        mask: (B, T) bool, True = hidden, T = longest utterance.
    """
    wanted, starts = _released(lengths, ratio, span)
    order = _valid_only(intensity, lengths).argsort(dim=1, descending=True, stable=True)  # (B, T)
    place = torch.arange(order.shape[1])[None]
    fit = (place < 2 * wanted[:, None]) & (order < starts[:, None])
    kept = fit & (fit.cumsum(1) <= wanted[:, None])
    shuffled = rng.uniform(starts).argsort(dim=1, stable=True)  # (B, most starts)
    strongest = _covered(order, kept, span, lengths)
    fallback = _covered(shuffled, place[:, : shuffled.shape[1]] < wanted[:, None], span, lengths)
    return torch.where((kept.sum(1) == wanted)[:, None], strongest, fallback)


def threshold_mask(
    intensity: Tensor, lengths: Tensor, rng: RowRandom, *, ratio: float = 0.15, span: int = 7, threshold: float = 0.5
) -> Tensor:
    """Hide spans that start at frames above a threshold, in random order; topped up with others where they are few.

    The first idea of EMS. Its prototype shuffles the starts, keeps those of the first n that are above 0.5, and tops
    up from the beginning of the same shuffle: which always ends with its first n, so that the threshold did nothing.
    Departure: the whole shuffle is searched for strong starts, as in a loop the release has commented out.
    Number, range and overlap of spans are those of `released_mask`.
    """
    wanted, starts = _released(lengths, ratio, span)
    u = rng.uniform(starts)  # (B, most starts)
    order = (u + (intensity[:, : u.shape[1]] <= threshold).to(u)).argsort(dim=1, stable=True)  # strong ones first
    return _covered(order, torch.arange(order.shape[1])[None] < wanted[:, None], span, lengths)


def coverage_mask(
    intensity: Tensor, lengths: Tensor, rng: RowRandom, *, ratio: float = 0.15, span: int = 7, anchor: str = "start"
) -> Tensor:
    """Hide the spans that start at the strongest frames, without overlap: as much as `span_mask`, to the frame.

    Starts in order of falling intensity as in EMS; one whose span would touch frames that are hidden already is
    skipped, and so is one that would leave too little room for the spans still to come (which happens from about
    half the frames on). Equal scores are ordered at random: a constant intensity gives random spans.

    Args:
        intensity: (B, T), finite; only its order within an utterance matters.
        lengths, rng, ratio, span: as in `span_mask`.
        anchor: "start", as EMS does: a span that begins on a peak lies behind it, where an intensity that rises and
            falls within a few frames is weak already; "mean": a span is as strong as all of it.

    Returns:
        mask: (B, T) bool, True = hidden, T = longest utterance.
    """
    intensity = _anchored(intensity, lengths, span, anchor)
    order = rng.uniform(lengths).argsort(dim=1, stable=True)
    order = order.gather(1, _valid_only(intensity, lengths).gather(1, order).argsort(dim=1, stable=True))
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    return _greedy(rank.float(), lengths, ratio, span)


def sampled_mask(
    intensity: Tensor,
    lengths: Tensor,
    rng: RowRandom,
    *,
    ratio: float = 0.15,
    span: int = 7,
    temperature: float = 0.5,
    anchor: str = "start",
) -> Tensor:
    """Hide spans whose starts are drawn without replacement with chances exp(z / temperature), z = an utterance's
    intensity in its own deviations: other frames every epoch, and as much as `span_mask` to the frame.

    The Gumbel-top-k trick (arXiv:1903.06059): the order of z / temperature + Gumbel noise is such a draw. Starts that
    do not fit are skipped as in `coverage_mask`, to which this tends as the temperature falls.
    """
    inside = torch.arange(int(lengths.max()) if len(lengths) else 0)[None] < lengths[:, None]
    x = _anchored(intensity, lengths, span, anchor)[:, : inside.shape[1]].double().masked_fill(~inside, 0.0)
    mean = x.sum(1, keepdim=True) / lengths[:, None]
    deviation = ((x - mean).square().masked_fill(~inside, 0.0).sum(1, keepdim=True) / lengths[:, None]).sqrt()
    z = (x - mean) / deviation.clamp(min=1e-9)
    gumbel = -(-rng.uniform(lengths).double().clamp(1e-12, 1 - 1e-12).log()).log()
    return _greedy(z / temperature + gumbel, lengths, ratio, span)


def _exact(lengths: Tensor, ratio: float, span: int) -> tuple[Tensor, Tensor]:
    """(B,) frames per span and (B,) spans, without overlap; one frame stays visible."""
    spans = torch.minimum(torch.full_like(lengths, span), (lengths - 1).clamp(min=1))
    wanted = torch.round(ratio * lengths.double() / spans).long().clamp(min=1)
    return spans, torch.minimum(wanted, (lengths - 1).clamp(min=0) // spans)


def _released(lengths: Tensor, ratio: float, span: int) -> tuple[Tensor, Tensor]:
    """(B,) spans and (B,) frames that may start one, as in s3prl and EMS."""
    return torch.round(lengths.double() * ratio / span).long(), (lengths - span).clamp(min=1)


def _anchored(intensity: Tensor, lengths: Tensor, span: int, anchor: str) -> Tensor:
    """(B, T) how strong the span is that starts at each frame; at the end the part of it that is there."""
    if anchor == "start":
        return intensity
    spans, _ = _exact(lengths, 0.5, span)
    at = torch.arange(intensity.shape[1])[None]
    until = torch.minimum(at + spans[:, None], lengths[:, None]).clamp(min=at + 1)
    total = torch.nn.functional.pad(intensity.double().cumsum(1), (1, 0))  # of all frames before
    return (total.gather(1, until) - total[:, :-1]) / (until - at)


def _valid_only(intensity: Tensor, lengths: Tensor) -> Tensor:
    """(B, longest) with minus infinity after each row's length."""
    intensity = intensity[:, : int(lengths.max()) if len(lengths) else 0]
    return intensity.masked_fill(torch.arange(intensity.shape[1])[None] >= lengths[:, None], -torch.inf)


def _covered(starts: Tensor, used: Tensor, spans: Tensor | int, lengths: Tensor) -> Tensor:
    """(B, T) bool: frames inside the spans at those of `starts` (B, N) that are `used` (B, N)."""
    frames = int(lengths.max()) if len(lengths) else 0
    edges = torch.zeros(len(lengths), frames + 1, dtype=torch.int32)  # +1 where a span starts, -1 after it ends
    ends = starts + (spans[:, None] if isinstance(spans, Tensor) else spans)
    ones = used.to(torch.int32)
    edges.scatter_add_(1, starts.clamp(max=frames), ones)
    edges.scatter_add_(1, torch.minimum(ends, lengths[:, None]), -ones)
    return edges[:, :frames].cumsum(1) > 0


def _greedy(score: Tensor, lengths: Tensor, ratio: float, span: int) -> Tensor:
    """(B, T) bool: spans at the highest scores (B, T) that do not overlap and leave room for the rest."""
    spans, wanted = _exact(lengths, ratio, span)
    batch, frames = score.shape
    score = score.masked_fill(torch.arange(frames)[None] > (lengths - spans)[:, None], -torch.inf)
    around = torch.arange(1 - span, span)[None].expand(batch, -1)
    around = around.where(around.abs() < spans[:, None], 0)  # (B, 2 span - 1) starts that overlap with a span at 0
    most = int(wanted.max()) if batch else 0
    starts, used = torch.zeros(batch, most, dtype=torch.long), torch.arange(most)[None] < wanted[:, None]
    spare = lengths // spans - wanted  # a span costs the others one place at most, so this many may lie anywhere
    for k in range(most):
        fits = score
        if ((k < wanted) & (k >= spare)).any():
            placed = _covered(starts[:, :k], used[:, :k], spans, lengths)
            fits = score.where(_leaves_room(placed, lengths, spans, wanted - k), -torch.inf)
        starts[:, k] = fits.argmax(1)
        score.scatter_(1, (starts[:, k, None] + around).clamp(0, frames - 1), -torch.inf)
    return _covered(starts, used, spans, lengths)


def _leaves_room(placed: Tensor, lengths: Tensor, spans: Tensor, left: Tensor) -> Tensor:
    """(B, T) bool: starts after which `left` - 1 (B,) further spans still fit between those `placed` (B, T)."""
    t, s = torch.arange(placed.shape[1])[None], spans[:, None]
    barrier = placed | (t >= lengths[:, None])
    first = torch.where(barrier, t + 1, 0).cummax(1).values  # of the free stretch a frame is in
    end = torch.where(barrier, t, len(t[0])).flip(1).cummin(1).values.flip(1)
    room = (end - first) // s
    spare = torch.where((t == first) & ~barrier, room, 0).sum(1) - left  # spans that fit beyond those needed
    lost = room - (t - first) // s - (end - t - s) // s - 1  # by a span in the middle of a stretch, 0 or 1
    return lost <= spare[:, None]


def feature_mask(lengths: Tensor, features: int, rng: RowRandom, *, ratio: float = 0.15, span: int = 1) -> Tensor:
    """`span_mask` drawn for every feature column on its own: (B, T, D) bool, True = hidden."""
    columns = [span_mask(lengths, rng, ratio=ratio, span=span) for _ in range(features)]
    return torch.stack(columns, dim=2)


def contrast(mask: Tensor, intensity: Tensor, valid: Tensor) -> dict[str, float]:
    """Mean intensity of the hidden and of the visible frames, all three (B, T); nothing where there are none."""
    found = {}
    for name, frames in (("hidden_intensity", mask & valid), ("visible_intensity", ~mask & valid)):
        if frames.any():
            found[name] = float(intensity[frames].mean())
    return found


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
    """What the encoder sees: hidden frames filled, swapped for other frames, or left as they are.

    draw="run": one draw for each run of hidden frames (in each column, where columns are masked on their own), which
    with single frames is BERT's rule; every swapped frame comes from a place of its own.
    draw="utterance": one draw for all that is hidden in an utterance, as MockingJay and EMS do (arXiv:1910.12638,
    sec. 2.2); every swapped run is another stretch of the same utterance, which goes on at its beginning
    where it meets the end (theirs never meet it).

    Args:
        x: (B, T, D) normalised features.
        mask: (B, T) or (B, T, D) bool, True = hidden.
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
        place = (rng.uniform(lengths, full.shape[2]) * lengths.cpu()[:, None, None]).long().to(x.device)
        if draw == "utterance":
            choice = choice[:, :1]
            other = torch.arange(frames, device=x.device)[None, :, None] + place.gather(1, run)
            other = other % lengths.to(x.device)[:, None, None]
        else:
            choice = choice.gather(1, run)
            other = place.clamp(max=frames - 1)
        swapped = x.gather(1, other.expand_as(x))
        swap = (choice >= replace[0]) & (choice < replace[0] + replace[1])
        keep = choice >= replace[0] + replace[1]
        filling = torch.where(swap, swapped, torch.where(keep, x, filling))
    return torch.where(full, filling, x)
