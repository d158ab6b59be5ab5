"""Masks hide what they promise, for every row on its own; corruption touches nothing else."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from sottovoce.masking import RowRandom, corrupt, feature_mask, span_mask

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


@pytest.mark.parametrize("fill", FILLS)
def test_corruption_of_a_row_does_not_depend_on_its_neighbours(fill):
    x, lengths = planted()
    seeds = [7, 8, 9]
    mask = span_mask(lengths, RowRandom(seeds), ratio=0.4)
    together = corrupt(x, mask, lengths, RowRandom(seeds), fill=FILLS[fill])
    for k, length in enumerate(lengths.tolist()):
        own = slice(k, k + 1)
        alone = corrupt(x[own, :length], mask[own, :length], lengths[own], RowRandom(seeds[own]), fill=FILLS[fill])
        assert together[k, :length].equal(alone[0])
