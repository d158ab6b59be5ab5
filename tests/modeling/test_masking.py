"""Masks hide what they promise, for every row on its own; corruption touches nothing else."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from sottovoce.config.masking import RULES, Policy
from sottovoce.errors import InputError
from sottovoce.modeling.masking import (
    RowRandom,
    contrast,
    corrupt,
    coverage_mask,
    draw_mask,
    feature_mask,
    released_mask,
    sampled_mask,
    span_mask,
    threshold_mask,
)

LENGTHS = torch.tensor([100, 37, 64, 5, 2])
SEEDS = [11, 22, 33, 44, 55]


def mask_of(lengths=LENGTHS, seeds=SEEDS, **settings):
    return span_mask(lengths, RowRandom(seeds), **settings)


def hidden_frames(length, ratio, span):
    """Slow reference for how much is hidden: one span or more, and at least one frame stays visible."""
    if length < 2:
        return 0
    span = min(span, length - 1)
    return min(max(round(ratio * length / span), 1), (length - 1) // span) * span


def runs(row):
    """(first, length) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.int().numpy(), [0]])))
    return [(int(a), int(b - a)) for a, b in edges.reshape(-1, 2)]


def placements(length, n, span):
    """All sets of frames that n spans without overlap can hide, as choices of n from length - n (span - 1) slots."""
    for slots in combinations(range(length - n * (span - 1)), n):
        yield tuple(s + k * (span - 1) + j for k, s in enumerate(slots) for j in range(span))


@pytest.mark.parametrize("ratio", [0.01, 0.15, 0.4, 0.9])
@pytest.mark.parametrize("span", [1, 3, 7, 50])
def test_the_hidden_share_is_exact_and_padding_stays_whole(ratio, span):
    mask = mask_of(ratio=ratio, span=span)
    assert mask.shape == (5, 100)
    assert mask.dtype == torch.bool
    for row, length in zip(mask, LENGTHS.tolist(), strict=True):
        assert row[:length].sum() == hidden_frames(length, ratio, span)
        assert not row[length:].any()
        assert row[:length].sum() < length  # something to guess from


@pytest.mark.parametrize("span", [2, 5])
def test_spans_do_not_overlap(span):
    long = torch.full((20,), 200)
    for row in span_mask(long, RowRandom(range(20)), ratio=0.5, span=span):
        assert all(length % span == 0 for _, length in runs(row))


@pytest.mark.parametrize(("length", "n", "span"), [(6, 2, 1), (6, 2, 2), (7, 1, 3), (8, 2, 3), (9, 3, 2)])
def test_every_placement_is_equally_likely(length, n, span):
    """Against the enumeration of all placements; a fair draw passes chi-square 999,999 times in 10^6."""
    draws = 4000
    lengths = torch.full((draws,), length)
    mask = span_mask(lengths, RowRandom(range(draws)), ratio=n * span / length, span=span)
    found = Counter(tuple(row.nonzero()[:, 0].tolist()) for row in mask)
    expected = Counter(placements(length, n, span))  # a set of touching spans is reached in one way only
    assert set(found) <= set(expected)
    share = draws / sum(expected.values())
    chi2 = sum((found[key] - count * share) ** 2 / (count * share) for key, count in expected.items())
    from scipy.stats import chi2 as distribution

    assert chi2 < distribution.ppf(1 - 1e-6, len(expected) - 1)


def test_a_row_depends_neither_on_neighbours_nor_on_order_nor_on_padding():
    together = mask_of(ratio=0.3, span=3)
    for k, length in enumerate(LENGTHS.tolist()):
        alone = span_mask(LENGTHS[k : k + 1], RowRandom(SEEDS[k : k + 1]), ratio=0.3, span=3)
        assert together[k, :length].equal(alone[0])
    turned = span_mask(LENGTHS.flip(0), RowRandom(SEEDS[::-1]), ratio=0.3, span=3)
    assert turned.flip(0).equal(together)


def test_equal_random_numbers_do_not_let_a_row_see_its_padding(monkeypatch):
    """Ties between draws are rare but real; which slot wins may not depend on how wide the batch is."""
    coarse = RowRandom.uniform
    monkeypatch.setattr(RowRandom, "uniform", lambda self, *a: (coarse(self, *a) * 3).floor() / 3)
    lengths, seeds = torch.tensor([300, 60, 17]), [1, 2, 3]
    together = span_mask(lengths, RowRandom(seeds), ratio=0.4)
    for k, length in enumerate(lengths.tolist()):
        assert together[k, :length].equal(span_mask(lengths[k : k + 1], RowRandom(seeds[k : k + 1]), ratio=0.4)[0])


def test_seeds_decide_and_later_draws_are_new():
    assert mask_of().equal(mask_of())
    assert not mask_of().equal(mask_of(seeds=[s + 1 for s in SEEDS]))
    rng = RowRandom(SEEDS)
    assert not span_mask(LENGTHS, rng, ratio=0.4).equal(span_mask(LENGTHS, rng, ratio=0.4))


def test_a_span_longer_than_the_utterance_leaves_one_frame_visible():
    mask = mask_of(torch.tensor([5, 2]), [0, 1], ratio=0.15, span=30)
    assert mask[0].sum() == 4
    assert mask[1].sum() == 1


def test_a_single_frame_is_never_hidden():
    assert not mask_of(torch.tensor([1]), [0]).any()
    assert not mask_of(torch.tensor([1, 40]), [0, 1], ratio=0.5, span=4)[0].any()


def test_feature_columns_are_masked_one_by_one():
    mask = feature_mask(LENGTHS, 6, RowRandom(SEEDS), ratio=0.2, span=2)
    assert mask.shape == (5, 100, 6)
    for row, length in zip(mask, LENGTHS.tolist(), strict=True):
        assert (row.sum(0) == hidden_frames(length, 0.2, 2)).all()
        assert not row[length:].any()
    first = mask[0]
    assert len({tuple(first[:, d].tolist()) for d in range(6)}) == 6
    alone = feature_mask(LENGTHS[1:2], 6, RowRandom(SEEDS[1:2]), ratio=0.2, span=2)
    assert mask[1, :37].equal(alone[0])


# ---------------------------------------------------------------------------------------------- intensity

LONG = torch.tensor([1500, 700, 233, 64, 41, 20, 7, 3])
ROWS = list(range(100, 100 + len(LONG)))


def scores(kind, lengths=LONG, seed=0):
    """(B, T) intensities; padding holds what would win if it were looked at."""
    rng = torch.Generator().manual_seed(seed)
    shape = (len(lengths), int(lengths.max()))
    x = {
        "white": lambda: torch.rand(shape, generator=rng),
        "smooth": lambda: torch.rand((shape[0], shape[1] + 49), generator=rng).unfold(1, 50, 1).mean(-1),
        "plateau": lambda: (
            torch.rand((shape[0], shape[1] + 49), generator=rng).unfold(1, 50, 1).mean(-1) * 20
        ).round(),
        "ramp": lambda: torch.arange(shape[1]).float().expand(shape) / shape[1],
        "constant": lambda: torch.ones(shape),
    }[kind]().clone()
    x[torch.arange(shape[1])[None] >= lengths[:, None]] = 99.0
    return x


def policy(rule, **more):
    return Policy(**({"rule": rule, "span": 7, "intensity": "intensity"} | more))


def released_slowly(e, length, ratio, span, shuffled):
    """The rule as papers and code tell it, frame by frame; `shuffled` are the legal starts in a random order."""
    n, last = round(length * ratio / span), max(length - span - 1, 0)
    strongest = sorted(range(length), key=lambda t: -e[t])[: 2 * n]
    starts = [t for t in strongest if t <= last][:n]
    if len(starts) < n:
        starts = [t for t in shuffled if t <= last][:n]
    return {t + j for t in starts for j in range(span) if t + j < length}


def threshold_slowly(e, length, ratio, span, shuffled, threshold):
    n, last = round(length * ratio / span), max(length - span - 1, 0)
    legal = [t for t in shuffled if t <= last]
    strong, weak = [t for t in legal if e[t] > threshold], [t for t in legal if e[t] <= threshold]
    return {t + j for t in (strong + weak)[:n] for j in range(span) if t + j < length}


def greedy_slowly(order, length, ratio, span):
    """Walk the starts in a given order; skip what overlaps, and what leaves too little room for the rest."""
    if length < 2:
        return set()
    span = min(span, length - 1)
    n, hidden = min(max(round(ratio * length / span), 1), (length - 1) // span), set()

    def room(taken):
        free, fits = 0, 0
        for t in range(length):
            free = 0 if t in taken else free + 1
            if free == span:
                free, fits = 0, fits + 1
        return fits

    left = n
    for start in order:
        frames = set(range(start, start + span))
        if left and start + span <= length and not frames & hidden and room(hidden | frames) >= left - 1:
            hidden, left = hidden | frames, left - 1
    return hidden


def frames_of(row):
    return set(row.nonzero()[:, 0].tolist())


@pytest.mark.parametrize("ratio", [0.15, 0.4, 0.8])
@pytest.mark.parametrize("kind", ["white", "smooth", "plateau", "ramp"])
def test_released_equals_its_slow_reference(kind, ratio):
    e, starts = scores(kind), (LONG - 7).clamp(min=1)
    mask = released_mask(e, LONG, RowRandom(ROWS), ratio=ratio, span=7)
    shuffled = RowRandom(ROWS).uniform(starts).argsort(dim=1, stable=True)
    for row, values, length, order in zip(mask, e, LONG.tolist(), shuffled, strict=True):
        assert frames_of(row) == released_slowly(values.tolist(), length, ratio, 7, order.tolist())


@pytest.mark.parametrize("ratio", [0.15, 0.4])
@pytest.mark.parametrize("kind", ["white", "smooth", "constant"])
def test_threshold_equals_its_slow_reference(kind, ratio):
    e, starts = scores(kind), (LONG - 7).clamp(min=1)
    mask = threshold_mask(e, LONG, RowRandom(ROWS), ratio=ratio, span=7, threshold=0.52)
    for k, length in enumerate(LONG.tolist()):
        order = RowRandom(ROWS[k : k + 1]).uniform(starts[k : k + 1]).argsort(dim=1, stable=True)[0].tolist()
        assert frames_of(mask[k]) == threshold_slowly(e[k].tolist(), length, ratio, 7, order, 0.52)


def test_the_prototypes_own_threshold_changed_nothing():
    """Why ours searches the whole shuffle: topping up from its beginning ends with its first n whatever is strong."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        shuffle, e, n = rng.permutation(60), rng.random(60), int(rng.integers(1, 9))
        chosen = [t for t in shuffle[:n] if e[t] > 0.5]
        for t in shuffle:
            if len(chosen) != n and t not in chosen:
                chosen.append(t)
        assert set(chosen) == set(shuffle[:n])


def strength_of_spans(values, span, anchor):
    """How strong the span is that starts at each frame: its first frame, or the mean of what is there of it."""
    reach = 1 if anchor == "start" else min(span, len(values) - 1)
    return np.array([values[t : t + reach].double().mean() for t in range(len(values))])


@pytest.mark.parametrize("anchor", ["start", "mean"])
@pytest.mark.parametrize("ratio", [0.15, 0.4, 0.7, 0.95])
@pytest.mark.parametrize("kind", ["white", "smooth", "ramp"])
def test_coverage_equals_its_slow_reference(kind, ratio, anchor):
    e = scores(kind, LONG[1:])
    mask = coverage_mask(e, LONG[1:], RowRandom(ROWS[1:]), ratio=ratio, span=7, anchor=anchor)
    for row, values, length in zip(mask, e, LONG[1:].tolist(), strict=True):
        order = np.argsort(-strength_of_spans(values[:length], 7, anchor)).tolist()
        assert frames_of(row) == greedy_slowly(order, length, ratio, 7)


@pytest.mark.parametrize("anchor", ["start", "mean"])
@pytest.mark.parametrize("ratio", [0.15, 0.7])
def test_sampled_equals_its_slow_reference(ratio, anchor):
    e = scores("smooth", LONG[1:])
    mask = sampled_mask(e, LONG[1:], RowRandom(ROWS[1:]), ratio=ratio, span=7, temperature=0.3, anchor=anchor)
    u = RowRandom(ROWS[1:]).uniform(LONG[1:])
    for row, values, length, noise in zip(mask, e, LONG[1:].tolist(), u, strict=True):
        x = strength_of_spans(values[:length], 7, anchor)
        keys = (x - x.mean()) / x.std() / 0.3 - np.log(-np.log(noise[:length].double().numpy()))
        assert frames_of(row) == greedy_slowly(np.argsort(-keys).tolist(), length, ratio, 7)


def test_starts_are_drawn_with_chances_that_grow_with_intensity():
    """One span of one frame: chances are exp(z / temperature), normalised."""
    draws, e = 6000, torch.tensor([0.0, 1.0, 2.0, 3.0])
    lengths = torch.full((draws,), 4)
    mask = sampled_mask(e.expand(draws, 4), lengths, RowRandom(range(draws)), ratio=0.25, span=1, temperature=0.8)
    z = (e - e.mean()) / e.std(unbiased=False)
    wanted = (z / 0.8).softmax(0)
    share = mask.float().mean(0)
    assert ((share - wanted).abs() < 5 * (wanted * (1 - wanted) / draws).sqrt()).all()


@pytest.mark.parametrize("rule", ["ems_coverage", "ems_sampled", "random"])
@pytest.mark.parametrize("kind", ["white", "smooth", "plateau", "ramp", "constant"])
@pytest.mark.parametrize("ratio", [0.01, 0.15, 0.4, 0.6, 0.95])
def test_the_requested_ratio_really_is_hidden_whatever_the_scores(rule, kind, ratio):
    mask = draw_mask(policy(rule, ratio=ratio), LONG, RowRandom(ROWS), scores(kind))
    for row, length in zip(mask, LONG.tolist(), strict=True):
        assert row.sum() == hidden_frames(length, ratio, 7)
        assert all(n % min(7, length - 1) == 0 for _, n in runs(row))


def test_smooth_scores_hide_little_as_released_and_all_that_was_asked_for_with_coverage():
    e, lengths = scores("smooth", torch.full((20,), 1000)), torch.full((20,), 1000)
    share = {
        rule: float(draw_mask(policy(rule), lengths, RowRandom(range(20)), e).float().mean())
        for rule in ("ems_released", "ems_coverage")
    }
    assert share["ems_released"] < 0.07
    assert share["ems_coverage"] == pytest.approx(0.15, abs=0.004)


def test_the_peak_is_hidden_first():
    e = torch.zeros(1, 100)
    e[0, 40] = 1.0
    for rule in ("ems_coverage", "ems_released"):
        mask = draw_mask(policy(rule, ratio=0.07), torch.tensor([100]), RowRandom([0]), e)
        assert frames_of(mask[0]) == set(range(40, 47))


def test_constant_scores_give_coverage_random_spans():
    masks = [
        coverage_mask(torch.ones(1, 200), torch.tensor([200]), RowRandom([seed]), ratio=0.1, span=5)
        for seed in range(40)
    ]
    share = torch.stack(masks).float().mean(0)[0]
    assert share[:100].sum() == pytest.approx(share[100:].sum(), rel=0.5)
    assert len({tuple(frames_of(m[0])) for m in masks}) == 40


def test_temperature_leads_from_random_to_the_strongest():
    lengths = torch.full((40,), 500)
    e, inside = scores("smooth", lengths), torch.ones(40, 500, dtype=torch.bool)

    def gap(rule, **more):
        found = contrast(draw_mask(policy(rule, **more), lengths, RowRandom(range(40)), e), e, inside)
        return found["hidden_intensity"] - found["visible_intensity"]

    gaps = [gap("ems_sampled", temperature=t) for t in (100.0, 2.0, 0.5, 0.1)]
    assert gaps == sorted(gaps)
    assert abs(gaps[0]) < 0.2 * gaps[-1]
    assert gap("ems_coverage") == pytest.approx(gap("ems_sampled", temperature=1e-4), rel=1e-3)
    assert abs(gap("random")) < 0.1 * gap("ems_coverage")


def test_epochs_differ_when_sampled_and_agree_by_coverage():
    e = scores("white")

    def mask(rule, epoch):
        return draw_mask(policy(rule), LONG, RowRandom([s + 1000 * epoch for s in ROWS]), e)

    assert mask("ems_coverage", 0).equal(mask("ems_coverage", 1))
    assert not mask("ems_sampled", 0).equal(mask("ems_sampled", 1))


def test_spans_judged_by_their_mean_lie_on_short_peaks_and_those_by_their_start_behind_them():
    """Peaks of a few frames, as loudness has: a span that begins on one is past it at once."""
    lengths = torch.full((10,), 500)
    t = torch.arange(500)
    e = torch.exp(-0.5 * (((t + torch.arange(10)[:, None] * 7) % 50 - 25) / 3.0) ** 2)
    hidden = {
        anchor: contrast(draw_mask(policy("ems_coverage", anchor=anchor), lengths, RowRandom(range(10)), e), e, e >= 0)
        for anchor in ("start", "mean")
    }
    assert hidden["mean"]["hidden_intensity"] > hidden["start"]["hidden_intensity"] + 0.15


@pytest.mark.parametrize("anchor", ["start", "mean"])
@pytest.mark.parametrize("rule", RULES)
def test_no_rule_lets_a_row_see_neighbours_order_or_padding(rule, anchor):
    e, p = scores("smooth"), policy(rule, ratio=0.3, ramp=0.5, anchor=anchor)
    together = draw_mask(p, LONG, RowRandom(ROWS), e, progress=0.3)
    assert not (together & (torch.arange(1500)[None] >= LONG[:, None])).any()
    for k, length in enumerate(LONG.tolist()):
        alone = draw_mask(p, LONG[k : k + 1], RowRandom(ROWS[k : k + 1]), e[k : k + 1, :length], progress=0.3)
        assert together[k, :length].equal(alone[0])
    turned = draw_mask(p, LONG.flip(0), RowRandom(ROWS[::-1]), e.flip(0), progress=0.3)
    assert turned.flip(0).equal(together)


@pytest.mark.parametrize("rule", ["ems_released", "ems_coverage"])
def test_only_the_order_of_the_scores_counts(rule):
    e = scores("white")
    a, b = (draw_mask(policy(rule), LONG, RowRandom(ROWS), x) for x in (e, 40 * e.double().exp() - 3))
    assert a.equal(b)


def test_a_ramp_leads_from_random_to_emotional_spans_utterance_by_utterance():
    lengths, p = torch.full((400,), 100), policy("ems_coverage", ramp=0.5)
    e = scores("white", lengths)
    emotional = draw_mask(policy("ems_coverage"), lengths, RowRandom(range(400)), e)
    share = {}
    for progress in (0.0, 0.125, 0.375, 0.5, 1.0):
        mask = draw_mask(p, lengths, RowRandom(range(400)), e, progress=progress)
        assert (mask.sum(1) == 14).all()  # the coverage stays the same
        share[progress] = float((mask == emotional).all(1).float().mean())
    assert share[0.0] < 0.02
    assert share[0.125] == pytest.approx(0.25, abs=0.1)
    assert share[0.375] == pytest.approx(0.75, abs=0.1)
    assert share[0.5] == share[1.0] == 1


def test_contrast_is_the_mean_over_valid_frames():
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 1]], dtype=torch.bool)
    valid = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    e = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 70.0, 80.0]])
    found = contrast(mask, e, valid)
    assert found["hidden_intensity"] == pytest.approx((1 + 4 + 6) / 3)
    assert found["visible_intensity"] == pytest.approx((2 + 3 + 5) / 3)
    assert contrast(torch.zeros_like(mask), e, valid) == {"visible_intensity": 3.5}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rule": "loudest"}, "objective.rule: one of"),
        ({"rule": "ems_coverage", "intensity": ""}, "objective.rule: ems_coverage.*no intensity track.*intensity=int"),
        ({"align": "stretch"}, "objective.align"),
        ({"anchor": "end"}, "objective.anchor"),
        ({"temperature": 0.0}, "objective.temperature"),
        ({"ramp": 1.5}, "objective.ramp"),
    ],
)
def test_impossible_policies_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        policy(**({"rule": "random"} | wrong))


def test_a_span_no_utterance_has_room_for_is_refused():
    policy("random").check(100)
    with pytest.raises(InputError, match=r"objective\.span: 7 steps. Found utterances of at most 7"):
        policy("random", ratio=0.9).check(7)
    with pytest.raises(InputError, match=r"objective\.ratio: leaves no span. Found 0.05 of at most 60 steps"):
        policy("random", ratio=0.05).check(60)
    policy("random", ratio=0.05, span=1).check(3)  # a step of three is more than asked for, and all there is
    with pytest.raises(InputError, match=r"objective\.ratio: leaves no span"):
        policy("ems_released", ratio=0.05, span=1).check(3)


# ---------------------------------------------------------------------------------------------- corruption

FILLS = {"zero": "zero", "noise": "noise", "learned": torch.full((4,), 99.0)}


def planted(rows=3, frames=60, width=4):
    """x[b, t, d] tells its own place, so that one can see where a frame came from; frame 0 is not the fill."""
    place = torch.arange(rows * frames).view(rows, frames, 1) + 1000.0
    return place + torch.arange(width) / 10, torch.tensor([frames, frames - 20, 7][:rows])


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("unit", ["frame", "feature"])
def test_visible_frames_are_bit_equal(fill, unit):
    x, lengths = planted()
    rng = RowRandom([1, 2, 3])
    if unit == "frame":
        mask = span_mask(lengths, rng, ratio=0.3, span=3)
        outside = ~mask[..., None].expand_as(x)
    else:
        mask = feature_mask(lengths, 4, rng, ratio=0.3, span=3)
        outside = ~mask
    before = x.clone()
    seen = corrupt(x, mask, lengths, rng, fill=FILLS[fill])
    assert x.equal(before)
    assert seen[outside].equal(x[outside])


def test_each_fill_is_what_it_says():
    lengths = torch.full((50,), 200)
    x = torch.full((50, 200, 4), 1000.0)
    mask = span_mask(lengths, RowRandom(range(50)), ratio=0.5)
    hidden = {
        k: corrupt(x, mask, lengths, RowRandom(range(50)), fill=f, replace=(1, 0, 0))[mask] for k, f in FILLS.items()
    }
    assert (hidden["zero"] == 0).all()
    assert (hidden["learned"] == 99).all()
    noise = hidden["noise"]  # 5,000 frames x 4
    assert abs(noise.mean()) < 4 / len(noise.flatten()) ** 0.5
    assert abs(noise.std() - 1) < 0.02
    assert len(noise.unique()) > 0.9 * noise.numel()


def test_swapped_frames_come_from_the_same_utterance_and_kept_ones_stay():
    x, lengths = planted()
    mask = span_mask(lengths, RowRandom([1, 2, 3]), ratio=0.4)
    kept = corrupt(x, mask, lengths, RowRandom([1, 2, 3]), replace=(0, 0, 1))
    assert kept.equal(x)
    swapped = corrupt(x, mask, lengths, RowRandom([1, 2, 3]), replace=(0, 1, 0))
    for b, length in enumerate(lengths.tolist()):
        valid = {tuple(frame.tolist()) for frame in x[b, :length]}
        assert all(tuple(frame.tolist()) in valid for frame in swapped[b][mask[b]])
    assert not swapped.equal(x)


@pytest.mark.parametrize("span", [1, 5])
def test_shares_are_80_10_10_of_the_runs_and_a_run_has_one_fate(span):
    rows, frames = 60, 300
    lengths = torch.full((rows,), frames)
    x = torch.arange(rows * frames).view(rows, frames, 1) + 1000.0
    mask = span_mask(lengths, RowRandom(range(rows)), ratio=0.2, span=span)
    seen = corrupt(x, mask, lengths, RowRandom([s + 1 for s in range(rows)]), fill="zero")
    fates = Counter()
    for b in range(rows):
        for first, length in runs(mask[b]):
            now, was = seen[b, first : first + length, 0], x[b, first : first + length, 0]
            fate = "fill" if (now == 0).all() else "kept" if now.equal(was) else "swap"
            assert fate == "fill" or not (now == 0).any()
            fates[fate] += 1
    total = sum(fates.values())
    for fate, share in [("fill", 0.8), ("swap", 0.1), ("kept", 0.1)]:
        assert abs(fates[fate] / total - share) < 5 * (share * (1 - share) / total) ** 0.5 + 1 / frames


@pytest.mark.parametrize("fill", FILLS)
def test_one_draw_an_utterance_is_80_10_10_of_the_utterances(fill):
    rows, frames = 1000, 60
    lengths = torch.full((rows,), frames)
    x = torch.arange(frames * 4).view(1, frames, 4).repeat(rows, 1, 1) + 1000.0
    mask = span_mask(lengths, RowRandom(range(rows)), ratio=0.3, span=3)
    seen = corrupt(x, mask, lengths, RowRandom(range(rows)), fill=FILLS[fill], draw="utterance")
    fates = Counter()
    for b in range(rows):
        now, was = seen[b][mask[b]], x[b][mask[b]]
        fates["kept" if now.equal(was) else "swap" if (now >= 1000).all() else "fill"] += 1
    for fate, share in [("fill", 0.8), ("swap", 0.1), ("kept", 0.1)]:
        assert abs(fates[fate] / rows - share) < 5 * (share * (1 - share) / rows) ** 0.5


def test_swapped_with_one_draw_a_run_becomes_another_stretch_of_the_utterance():
    lengths = torch.tensor([60, 40, 9])
    x = torch.arange(60).view(1, 60, 1).repeat(3, 1, 1).float()
    mask = span_mask(lengths, RowRandom([1, 2, 3]), ratio=0.3, span=5)
    seen = corrupt(x, mask, lengths, RowRandom([1, 2, 3]), replace=(0, 1, 0), draw="utterance")
    assert not seen.equal(x)
    for row, hidden, length in zip(seen[..., 0], mask, lengths.tolist(), strict=True):
        for first, many in runs(hidden):
            stretch = row[first : first + many]
            assert ((stretch[1:] - stretch[:-1]) % length == 1).all()


@pytest.mark.parametrize("draw", ["run", "utterance"])
def test_a_score_beside_the_features_gets_the_same_treatment(draw):
    """What EMS does to the frames it does to their scores: filled, taken from the same place, or left."""
    lengths = torch.full((60,), 50)
    x = torch.arange(50).view(1, 50, 1).repeat(60, 1, 2) + 1.0
    mask = span_mask(lengths, RowRandom(range(60)), ratio=0.3, span=4)
    seen = corrupt(x, mask, lengths, RowRandom(range(60)), draw=draw)
    assert seen[..., 0].equal(seen[..., 1])
    assert not seen.equal(x)


def test_features_masked_one_by_one_have_fates_of_their_own():
    """With features masked one by one nearly every frame is hidden somewhere; that must not make one run of them."""
    rows, frames, width = 10, 100, 40
    lengths = torch.full((rows,), frames)
    x = torch.arange(rows * frames * width).view(rows, frames, width) + 1000.0
    mask = feature_mask(lengths, width, RowRandom(range(rows)), ratio=0.15)
    seen = corrupt(x, mask, lengths, RowRandom([s + 1 for s in range(rows)]))
    for b in range(rows):
        filled = (seen[b][mask[b]] == 0).float().mean()
        assert 0.7 < filled < 0.9  # 0.8 of some 500 runs, and never all or none
    changed = mask & (seen != 0) & (seen != x)
    own_column = (seen - 1000).remainder(width) == torch.arange(width)
    assert own_column[changed].all()  # swapped for another time of the same feature


@pytest.mark.parametrize("draw", ["run", "utterance"])
@pytest.mark.parametrize("fill", FILLS)
def test_corruption_of_a_row_does_not_depend_on_its_neighbours(fill, draw):
    x, lengths = planted()
    seeds = [7, 8, 9]
    mask = span_mask(lengths, RowRandom(seeds), ratio=0.4)
    more = {"fill": FILLS[fill], "draw": draw, "replace": (0.4, 0.4, 0.2)}
    together = corrupt(x, mask, lengths, RowRandom(seeds), **more)
    for k, length in enumerate(lengths.tolist()):
        own = slice(k, k + 1)
        alone = corrupt(x[own, :length], mask[own, :length], lengths[own], RowRandom(seeds[own]), **more)
        assert together[k, :length].equal(alone[0])
