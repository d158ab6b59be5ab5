"""Calibration: a planted temperature is found, answers keep their order, and every error agrees with a loop."""

import numpy as np
import pytest

from sottovoce.metrics import calibration
from sottovoce.metrics.temperature import STEEPEST, Calibration, fit_temperature, tempered


def answers(n=4000, classes=5, sharpness=2.0, seed=0):
    """Probabilities (N, K) that are true: classes are drawn by them."""
    rng = np.random.default_rng(seed)
    scores = np.exp(sharpness * rng.standard_normal((n, classes)))
    p = scores / scores.sum(1, keepdims=True)
    return p, (rng.random((n, 1)) > p.cumsum(1)).sum(1).clip(max=classes - 1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_planted_temperature_is_found(temperature):
    p, truth = answers()
    wrong = tempered(p, 1 / temperature)
    found = Calibration.fit(wrong, truth)
    assert found.temperature == pytest.approx(temperature, rel=0.07)
    np.testing.assert_allclose(found.apply(wrong), tempered(p, found.temperature / temperature), atol=1e-9)


def test_order_and_sum_stay_and_one_changes_nothing():
    p, _ = answers(200)
    for t in (0.1, 0.7, 6.0):
        found = tempered(p, t)
        assert (found.argsort(1) == p.argsort(1)).all()
        np.testing.assert_allclose(found.sum(1), 1)
    assert tempered(p, 1.0) is p
    each = tempered(p, np.r_[np.full(100, 0.5), np.ones(100)])
    np.testing.assert_allclose(each[100:], p[100:])
    assert tempered(np.array([1.0, 0.0]), 0.5).tolist() == [1.0, 0.0]


def test_few_right_answers_do_not_make_a_model_certain():
    p, truth = np.full((10, 2), [0.6, 0.4]), np.zeros(10, dtype=int)
    assert fit_temperature(p, truth) >= 1 / STEEPEST
    assert Calibration.fit(p, truth).apply(p).max() < 0.95


@pytest.mark.parametrize(("rows", "worse"), [(2, 0.05), (14, 0.03), (60, 0.01)])
def test_few_rows_do_not_spoil_probabilities_that_are_true(rows, worse):
    """Whatever the luck of a small dev part: on average the loss is about that of T = 1, which is right here."""
    p, truth = answers(20_000, classes=8)
    start = np.arange(0, 200 * rows, rows)
    found = [fit_temperature(p[at : at + rows], truth[at : at + rows]) for at in start]
    test, said = p[-4000:], truth[-4000:]

    def loss(t: float) -> float:
        return -float(np.log(tempered(test, t)[np.arange(4000), said]).mean())

    assert np.mean([loss(t) for t in found]) < loss(1.0) + worse


def test_errors_agree_with_a_loop_over_bins():
    p, truth = answers(500)
    p = tempered(p, 0.5)
    found = calibration.measured(calibration.terms(p, truth), [f"s{k % 7}" for k in range(500)])
    confidence, right = p.max(1), p.argmax(1) == truth
    gap = 0.0
    for b in range(calibration.BINS):
        low, high = b / calibration.BINS, (b + 1) / calibration.BINS
        own = (confidence > low) & (confidence <= high)
        if own.any():
            gap += own.mean() * abs(confidence[own].mean() - right[own].mean())
    assert found["ece"]["value"] == pytest.approx(gap)
    brier = np.mean([sum((q[k] - (k == y)) ** 2 for k in range(5)) for q, y in zip(p, truth, strict=True)])
    assert found["brier"]["value"] == pytest.approx(brier)
    assert found["nll"]["value"] == pytest.approx(-np.log(p[np.arange(500), truth]).mean())
    for entry in found.values():
        assert entry["low"] < entry["value"] < entry["high"]


def test_intervals_are_over_speakers():
    """Speakers who are all right or all wrong: a row of them more tells nothing new."""
    p = np.full((80, 2), [0.8, 0.2])
    truth = np.repeat([0, 1, 0, 0, 1, 0, 0, 0], 10)
    once, thrice = (
        calibration.measured(
            calibration.terms(np.repeat(p, n, 0), np.repeat(truth, n)), np.repeat(np.arange(80) // 10, n).astype(str)
        )
        for n in (1, 3)
    )
    assert once["brier"] == pytest.approx(thrice["brier"])


def test_a_true_model_has_the_error_that_is_said_of_a_perfect_one():
    errors = []
    for seed in range(30):
        p, truth = answers(300, seed=seed)
        errors.append(calibration.measured(calibration.terms(p, truth), ["a"] * 300)["ece"]["value"])
        assert 0.01 < calibration.chance_error(p.max(1)) < 0.1
    assert np.mean(errors) == pytest.approx(calibration.chance_error(p.max(1)), rel=0.15)


def test_risk_falls_with_coverage_where_confidence_is_true_and_ends_at_the_error():
    p, truth = answers(2000)
    right = p.argmax(1) == truth
    coverage, risk, threshold = calibration.risk_coverage(p.max(1), right)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(1 - right.mean())
    for c, r, t in list(zip(coverage, risk, threshold, strict=True))[:: len(risk) // 7]:
        own = p.max(1) >= t
        assert (c, r) == pytest.approx((own.mean(), 1 - right[own].mean()))
    assert calibration.area(coverage, risk) < risk[-1] / 1.5
    coverage, risk, _ = calibration.risk_coverage(np.full(10, 0.5), right[:10])
    assert coverage.tolist() == [1.0]  # equally sure answers are given together
    assert calibration.area(coverage, risk) == pytest.approx(1 - right[:10].mean())


def test_a_vote_is_calibrated_where_all_are():
    found = Calibration.of_vote([Calibration(0.5, 10), Calibration(2.0, 20)])
    assert found == Calibration(1.0, 30)
    assert Calibration.of_vote([Calibration(0.5, 10), Calibration()]) == Calibration()


def test_one_speaker_alone_has_scores_and_no_intervals():
    p, truth = answers(50)
    found = calibration.measured(calibration.terms(p, truth), ["a"] * 50)
    assert found["ece"]["value"] > 0
    assert found["ece"]["low"] is None
