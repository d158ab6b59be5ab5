"""Rules that mask where an intensity is strong, after EMS (arXiv:2406.06646), and `draw_mask` for a `Policy`.

The EMS code was read in the commit AI-S2-Lab/EMS@6b35c57 (`pretrain/mockingjay/task.py`), its prototype in
codening99/interspeech2023 (the same path).

B utterances, T frames. `intensity` (B, T) is how emotional a frame is, on any scale.
"""

import torch
from torch import Tensor

from sottovoce.config.masking import Policy
from sottovoce.modeling.masking.spans import RowRandom, covered, exact, span_mask


def draw_mask(
    policy: Policy, lengths: Tensor, rng: RowRandom, intensity: Tensor | None = None, progress: float = 1.0
) -> Tensor:
    """The mask of a policy: (B, T) bool on the CPU, T = longest utterance.

    Args:
        lengths: (B,) valid steps.
        rng: one seed a row.
        intensity: (B, T) at the frames of the backbone; not needed for "random".
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


def released_mask(intensity: Tensor, lengths: Tensor, rng: RowRandom, *, ratio: float = 0.15, span: int = 7) -> Tensor:
    """Mask spans that start at the strongest frames, exactly as EMS was released.

    n = round(T * ratio / span) spans. Of the 2 n strongest frames those that may start a span (the first T - span;
    the release leaves the last possible start out) are kept in falling order until there are n; spans may overlap.
    Where fewer than n are kept, all are discarded and n random starts are drawn. On smooth scores the strongest
    frames are neighbours, so that far less than `ratio` is masked: `coverage_mask` mends it.
    Departure: padding is no frame (the release ranks it too, with score 0, and a start there is refused all the same).

    Args:
        intensity: (B, T). Of equal scores the first counts as the strongest.
        lengths: (B,) valid frames. Short ones (round(T * ratio / span) = 0) stay whole.
        rng: one seed a row.

    Returns:
        mask: (B, T) bool, True = masked, T = longest utterance.
    """
    wanted, starts = _released(lengths, ratio, span)
    order = _valid_only(intensity, lengths).argsort(dim=1, descending=True, stable=True)  # (B, T)
    rank = torch.arange(order.shape[1])[None]
    fit = (rank < 2 * wanted[:, None]) & (order < starts[:, None])
    kept = fit & (fit.cumsum(1) <= wanted[:, None])
    shuffled = rng.uniform(starts).argsort(dim=1, stable=True)  # (B, most starts)
    strongest = covered(order, kept, span, lengths)
    fallback = covered(shuffled, rank[:, : shuffled.shape[1]] < wanted[:, None], span, lengths)
    return torch.where((kept.sum(1) == wanted)[:, None], strongest, fallback)


def threshold_mask(
    intensity: Tensor, lengths: Tensor, rng: RowRandom, *, ratio: float = 0.15, span: int = 7, threshold: float = 0.5
) -> Tensor:
    """Mask spans that start at frames above a threshold, in random order; topped up with others where they are few.

    The first idea of EMS. Its prototype shuffles the starts, keeps those of the first n that are above 0.5, and tops
    up from the beginning of the same shuffle: which always ends with its first n, so that the threshold did nothing.
    Departure: the whole shuffle is searched for strong starts, as in a loop the release has commented out.
    Number, range and overlap of spans are those of `released_mask`.
    """
    wanted, starts = _released(lengths, ratio, span)
    u = rng.uniform(starts)  # (B, most starts)
    order = (u + (intensity[:, : u.shape[1]] <= threshold).to(u)).argsort(dim=1, stable=True)  # strong ones first
    return covered(order, torch.arange(order.shape[1])[None] < wanted[:, None], span, lengths)


def coverage_mask(
    intensity: Tensor, lengths: Tensor, rng: RowRandom, *, ratio: float = 0.15, span: int = 7, anchor: str = "start"
) -> Tensor:
    """Mask the spans that start at the strongest frames, without overlap: as much as `span_mask`, to the frame.

    Starts in order of falling intensity as in EMS; one whose span would touch frames that are masked already is
    skipped, and so is one that would leave too little room for the spans still to come (which happens from about
    half the frames on). Equal scores are ordered at random: a constant intensity gives random spans.

    Args:
        intensity: (B, T), finite; only its order within an utterance matters.
        lengths, rng, ratio, span: as in `span_mask`.
        anchor: "start", as EMS does: a span that begins on a peak lies behind it, where an intensity that rises and
            falls within a few frames is weak already; "mean": a span is as strong as all of it.

    Returns:
        mask: (B, T) bool, True = masked, T = longest utterance.
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
    """Mask spans whose starts are drawn without replacement with chances exp(z / temperature), z = an utterance's
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


def _released(lengths: Tensor, ratio: float, span: int) -> tuple[Tensor, Tensor]:
    """(B,) spans and (B,) frames that may start one, as in s3prl and EMS."""
    return torch.round(lengths.double() * ratio / span).long(), (lengths - span).clamp(min=1)


def _anchored(intensity: Tensor, lengths: Tensor, span: int, anchor: str) -> Tensor:
    """(B, T) how strong the span is that starts at each frame; at the end the part of it that is there."""
    if anchor == "start":
        return intensity
    spans, _ = exact(lengths, 0.5, span)
    at = torch.arange(intensity.shape[1])[None]
    until = torch.minimum(at + spans[:, None], lengths[:, None]).clamp(min=at + 1)
    total = torch.nn.functional.pad(intensity.double().cumsum(1), (1, 0))  # of all frames before
    return (total.gather(1, until) - total[:, :-1]) / (until - at)


def _valid_only(intensity: Tensor, lengths: Tensor) -> Tensor:
    """(B, longest) with minus infinity after each row's length."""
    intensity = intensity[:, : int(lengths.max()) if len(lengths) else 0]
    return intensity.masked_fill(torch.arange(intensity.shape[1])[None] >= lengths[:, None], -torch.inf)


def _greedy(score: Tensor, lengths: Tensor, ratio: float, span: int) -> Tensor:
    """(B, T) bool: spans at the highest scores (B, T) that do not overlap and leave room for the rest."""
    spans, wanted = exact(lengths, ratio, span)
    batch, frames = score.shape
    score = score.masked_fill(torch.arange(frames)[None] > (lengths - spans)[:, None], -torch.inf)
    around = torch.arange(1 - span, span)[None].expand(batch, -1)
    around = around.where(around.abs() < spans[:, None], 0)  # (B, 2 span - 1) starts that overlap with a span at 0
    most = int(wanted.max()) if batch else 0
    starts, used = torch.zeros(batch, most, dtype=torch.long), torch.arange(most)[None] < wanted[:, None]
    spare = lengths // spans - wanted  # a span costs the others one position at most, so this many may lie anywhere
    for k in range(most):
        fits = score
        if ((k < wanted) & (k >= spare)).any():
            placed = covered(starts[:, :k], used[:, :k], spans, lengths)
            fits = score.where(_leaves_room(placed, lengths, spans, wanted - k), -torch.inf)
        starts[:, k] = fits.argmax(1)
        score.scatter_(1, (starts[:, k, None] + around).clamp(0, frames - 1), -torch.inf)
    return covered(starts, used, spans, lengths)


def _leaves_room(placed: Tensor, lengths: Tensor, spans: Tensor, left: Tensor) -> Tensor:
    """(B, T) bool: starts after which `left` - 1 (B,) further spans still fit between those `placed` (B, T)."""
    t, s = torch.arange(placed.shape[1])[None], spans[:, None]
    barrier = placed | (t >= lengths[:, None])
    first = torch.where(barrier, t + 1, 0).cummax(1).values  # of the free run a frame is in
    end = torch.where(barrier, t, len(t[0])).flip(1).cummin(1).values.flip(1)
    room = (end - first) // s
    spare = torch.where((t == first) & ~barrier, room, 0).sum(1) - left  # spans that fit beyond those needed
    lost = room - (t - first) // s - (end - t - s) // s - 1  # by a span in the middle of a run, 0 or 1
    return lost <= spare[:, None]
