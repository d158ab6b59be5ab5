"""Label counts as they are written, and subsets that are nested, stratified and spread."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from sottovoce.data.subsets import nested_subsets, parse_label_counts, strata
from sottovoce.errors import InputError


def test_label_counts_are_read():
    assert parse_label_counts("1%,5%,10%,25%,50%,100%", 1080) == [11, 54, 108, 270, 540, 1080]
    assert parse_label_counts("all, 50,100%,50, 0.01%", 200) == [1, 50, 200]
    assert parse_label_counts("0.5%", 1000) == [5]


@pytest.mark.parametrize("text", ["", "ten", "5,,7", "0", "-3", "0%", "-1%", "nan%", "inf%", "101%", "201", "1.5", "%"])
def test_nonsense_label_counts_are_refused_in_one_line(text):
    with pytest.raises(InputError) as error:
        parse_label_counts(text, 200)
    assert "--labels" in str(error.value)
    assert "200" in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=50, deadline=None)
@given(some.lists(some.integers(0, 4), min_size=8, max_size=80), some.integers(0, 9))
@example([0] * 3 + [1] * 11 + [2] * 3 + [3] * 3, 0)  # at 9 of 20 the large class has 6, its share is 4.95
def test_subsets_are_nested_distinct_stratified_and_miss_no_class(classes, seed):
    labels = np.array(classes)
    total, present = len(labels), np.unique(labels)
    subsets = nested_subsets(labels, range(1, total + 1), seed)
    for size, rows in enumerate(subsets, 1):
        assert len(set(rows.tolist())) == size
        assert size == 1 or (rows[:-1] == subsets[size - 2]).all()
        if size >= len(present):
            assert set(labels[rows]) == set(present)
        for k in present:  # near its share, or the one row that every class has
            part = np.mean(labels == k)
            share, have = size * part, np.sum(labels[rows] == k)
            # What Sainte-Lague's divisors allow, which may pass the next whole number: of this class have - 1/2 <= its
            # part times t, of each of the others have + 1/2 >= its part times t; added up over all classes.
            above = (part * (len(present) - 1) + 1 - part) / 2
            assert have <= max(1, share + above + 1e-9)
            assert have >= min(share - len(present), np.sum(labels == k))


def test_subsets_of_balanced_classes_are_balanced():
    labels = np.repeat(np.arange(8), 100)
    for rows in nested_subsets(labels, [8, 40, 400], seed=0):
        assert (np.bincount(labels[rows]) == len(rows) // 8).all()


def test_seeds_draw_different_subsets_and_the_same_seed_the_same():
    labels = np.repeat(np.arange(4), 50)
    one, again, other = (nested_subsets(labels, [20], seed)[0] for seed in (0, 0, 1))
    assert (one == again).all()
    assert set(one) != set(other)


def test_subsets_are_spread_over_speakers_when_speakers_are_given():
    labels, speaker = np.tile(np.arange(4), 60), np.repeat(np.arange(12), 20)
    rows = nested_subsets(labels, [48], seed=0, groups=[f"s{k}" for k in speaker])[0]
    for k in range(4):
        assert len(set(speaker[rows[labels[rows] == k]])) == 12


def test_subsets_of_numbers_keep_rare_emotions():
    numbers = np.zeros((200, 3))
    numbers[:80, 0] = 1.0
    numbers[80:90, 1] = 2.0
    numbers[90:92, 2] = 0.3
    for rows in nested_subsets(numbers, [4, 20, 100], seed=0):
        assert (numbers[rows] > 0).any(axis=0).all()
    rows = nested_subsets(numbers, [100], seed=0)[0]
    assert np.sum(numbers[rows, 0] > 0) == 40


def test_one_number_is_stratified_by_quantile():
    numbers = np.arange(100.0)[:, None]
    assert (np.bincount(strata(numbers)) == 25).all()
    assert len(np.unique(strata(np.ones((10, 1))))) == 1


def test_sizes_that_do_not_rise_are_refused():
    for sizes in ([5, 3], [0, 3], [3, 11]):
        with pytest.raises(ValueError, match="sizes rise"):
            nested_subsets(np.zeros(10, int), sizes, seed=0)
