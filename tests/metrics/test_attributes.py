"""Relative attributes: the exact minimum over all pairs, and a ranking that is the planted one."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sottovoce.errors import InputError
from sottovoce.metrics.relative_attributes import Scale, fit, hinge, objective

RNG = np.random.default_rng(0)
E, N = RNG.normal(0.4, 1, (23, 6)), RNG.normal(-0.4, 1, (17, 6))


def slow(w, e, n, slack):
    """The definition of the paper, pair by pair."""
    price = slack / (len(e) * len(n))
    value = 0.5 * w @ w
    value += price * sum(max(0.0, 1 - w @ (i - j)) ** 2 for i in e for j in n)
    for rows in (e, n):
        value += price * sum((w @ (i - j)) ** 2 for i, j in itertools.combinations(rows, 2))
    return value


@pytest.mark.parametrize("slack", [0.1, 30.0])
def test_value_and_gradient_are_those_of_the_sum_over_pairs(slack):
    for w in (np.zeros(6), RNG.normal(0, 1, 6)):
        value, slope = objective(w, E, N, slack)
        assert value == pytest.approx(slow(w, E, N, slack), rel=1e-12)
        steps = 1e-6 * np.eye(6)
        numeric = [(slow(w + d, E, N, slack) - slow(w - d, E, N, slack)) / 2e-6 for d in steps]
        np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-6)


def test_the_hinge_counts_ties_and_empty_sides_right():
    a, b = np.array([0.0, 1.0, 1.0, 5.0]), np.array([1.0, -3.0, 1.0, 2.0])
    value, by_a, by_b = hinge(a, b)
    gaps = np.maximum(0, b[None] - a[:, None])
    assert value == (gaps**2).sum()
    np.testing.assert_allclose(by_a, -2 * gaps.sum(1))
    np.testing.assert_allclose(by_b, 2 * gaps.sum(0))


@pytest.mark.parametrize("slack", [0.3, 3.0, 100.0])
def test_the_minimum_is_that_of_scikit_learns_svm_on_pair_differences(slack):
    """Similar pairs are a quadratic form: in coordinates in which it is part of |w|^2, the rest is a linear SVM."""
    from sklearn.svm import LinearSVC

    price = slack / (len(E) * len(N))
    form = np.eye(6)
    for rows in (E, N):
        for i, j in itertools.combinations(rows, 2):
            form += 2 * price * np.outer(i - j, i - j)
    root = np.linalg.cholesky(form).T  # |root w|^2 = w form w
    pairs = np.array([i - j for i in E for j in N]) @ np.linalg.inv(root)
    both = np.concatenate([pairs, -pairs])  # the SVM wants two classes
    sides = np.repeat([1, -1], len(pairs))
    svm = LinearSVC(C=price / 2, fit_intercept=False, dual=False, tol=1e-10, max_iter=100_000).fit(both, sides)
    wanted = np.linalg.solve(root, svm.coef_[0])
    found = fit(E, N, slack=slack).weight
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_planted_direction_is_found_and_orders_new_rows():
    """Strength moves one direction only; weak and strong ones are told apart though nobody labelled them."""
    rng = np.random.default_rng(1)
    direction = np.array([0.6, -0.8, 0, 0, 0])
    strength = rng.uniform(0.5, 3, 300)
    rows = rng.normal(0, 0.3, (300, 5)) + strength[:, None] * direction
    ranking = fit(rows[:150], rng.normal(0, 0.3, (150, 5)))
    cosine = ranking.weight @ direction / np.linalg.norm(ranking.weight)
    assert cosine > 0.98
    assert stats.spearmanr(ranking.raw(rows[150:]), strength[150:]).statistic > 0.9


def test_scores_have_the_range_of_the_training_rows_and_are_held_there():
    ranking = fit(E, N)
    score = ranking.score(np.concatenate([E, N]))
    assert (score.min(), score.max()) == (0, 1)
    beyond = np.array([100.0, -100.0])[:, None] * ranking.weight / np.linalg.norm(ranking.weight)
    assert ranking.score(beyond).tolist() == [1, 0]
    assert stats.spearmanr(ranking.raw(E), score[: len(E)]).statistic == pytest.approx(1)


def test_twice_the_same_rows_change_nothing():
    """C is a price by pair, divided by the number of pairs."""
    twice = fit(np.repeat(E, 2, axis=0), np.repeat(N, 2, axis=0), slack=2.0)
    np.testing.assert_allclose(fit(E, N, slack=2.0).weight, twice.weight, rtol=1e-4, atol=1e-7)


def test_sides_without_rows_and_features_without_spread_are_one_line():
    with pytest.raises(InputError, match=r"both sides.*23 emotional and 0 neutral"):
        fit(E, N[:0])
    with pytest.raises(InputError, match="nothing to rank by"):
        fit(np.zeros((4, 2)), np.zeros((3, 2)))


def test_the_scale_is_that_of_the_finite_training_values():
    x = RNG.normal(3, 2, (50, 3))
    x[4, 1], x[:, 2] = np.nan, 7.0
    scale = Scale.of(x)
    np.testing.assert_allclose(scale.mean[:2], [x[:, 0].mean(), np.nanmean(x[:, 1])])
    z = scale(x)
    assert z[4, 1] == 0
    np.testing.assert_allclose(z[:, 2], 0)
    np.testing.assert_allclose(np.nanstd(x[:, 1]), scale.std[1])
