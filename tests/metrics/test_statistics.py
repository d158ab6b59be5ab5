from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.special import expit, logit, ndtr, stdtrit
from scipy.stats import binomtest, t, ttest_1samp
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import balanced_accuracy_score

from sottovoce.data.task import Task
from sottovoce.metrics.scores import scores
from sottovoce.metrics.spread import LEVEL, components, difference
from sottovoce.metrics.statistics import (
    counting_dev,
    curve_replicates,
    difference_entry,
    differences,
    holm,
    intervals,
    isotonic,
    labels_saved,
    meeting_point,
)

EMOTION = Task("class", ("emotion",), ("happy", "sad", "angry"))
AFFECT = Task("number", ("valence", "arousal"), ranges=((1.0, 5.0),) * 2)
N = [10, 20, 40, 80, 160]


def speakers(count=24, each=20, spread=1.2, seed=0, models=1):
    """(target, predicted (models, N), clusters): how often a model is right depends on the speaker."""
    rng = np.random.default_rng(seed)
    target = rng.integers(3, size=count * each)
    clusters = np.repeat(np.arange(count), each)
    predicted = []
    for _ in range(models):
        right = 1 / (1 + np.exp(-(0.5 + spread * rng.normal(size=count))))
        hit = rng.random(count * each) < right[clusters]
        predicted.append(np.where(hit, target, (target + rng.integers(1, 3, count * each)) % 3))
    return target, np.array(predicted), clusters


def paired(task, target, a, b, clusters, level=LEVEL):
    """Differences as results hold them."""
    return {name: difference_entry(gap, level) for name, gap in differences(task, target, a, b, clusters).items()}


# ------------------------------------------------------------------------------------------------ resampling


def test_an_interval_is_that_of_leaving_out_one_speaker_after_the_other():
    """Written out on the scale of logits, with scikit-learn's score and SciPy's t."""
    target, (predicted,), clusters = speakers(count=9)
    value = balanced_accuracy_score(target, predicted)
    without = [balanced_accuracy_score(target[clusters != c], predicted[clusters != c]) for c in range(9)]
    error = np.sqrt(8 / 9 * np.sum((without - np.mean(without)) ** 2))
    half = t.ppf(0.975, 8) * error / (value * (1 - value))
    found = intervals(EMOTION, target, predicted, clusters)["ua"]
    assert found == pytest.approx(
        {"value": value, "low": expit(logit(value) - half), "high": expit(logit(value) + half)}
    )


def test_intervals_of_numbers_contain_the_value_and_shrink_with_speakers():
    width = {}
    for count in (6, 60):
        rng = np.random.default_rng(count)
        target = rng.uniform(1, 5, (count * 10, 2))
        clusters = np.repeat(np.arange(count), 10)
        predicted = target + rng.normal(0, 0.5, (count, 2))[clusters] + rng.normal(0, 0.5, target.shape)
        found = intervals(AFFECT, target, predicted, clusters)
        for name in ("mae", "ccc", "mae_arousal", "pcc_valence"):
            assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        width[count] = found["mae"]["high"] - found["mae"]["low"]
    assert width[60] < width[6] / 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_than_four_speakers_give_a_value_without_bounds(count):
    target, (predicted,), clusters = speakers(count=count)
    found = intervals(EMOTION, target, predicted, clusters)
    assert found["wa"] == {"value": scores(EMOTION, target, predicted)["wa"], "low": None, "high": None}
    gap = paired(EMOTION, target, predicted, target, clusters)["wa"]
    assert (gap["low"], gap["high"], gap["p"]) == (None, None, None)
    curve = curve_replicates(EMOTION, target, [predicted, target], clusters)["wa"]
    assert curve.replicates.shape == (0, 2)


def test_an_undefined_score_has_no_bounds_and_a_rare_class_those_of_the_speakers_who_show_it():
    target, predicted = np.array([0, 1, 0, 1] * 3), np.array([0, 1, 1, 1] * 3)
    found = intervals(EMOTION, target, predicted, list("abcdefabcdef"))
    assert np.isnan(found["recall_angry"]["value"])
    assert found["recall_angry"]["low"] is None
    assert found["recall_sad"]["low"] is None  # all three who say it are heard: nobody knows the fourth
    assert found["wa"]["low"] is not None
    target, (predicted,), clusters = speakers(count=12)
    rare = np.where((target == 2) & (clusters >= 5), 0, target)  # five speakers are angry
    some = clusters < 5
    whole, part = (intervals(EMOTION, rare[k], predicted[k], clusters[k]) for k in (slice(None), some))
    assert whole["recall_angry"] == pytest.approx(part["recall_angry"])


def test_bounds_stay_where_scores_can_be():
    target, _, clusters = speakers(count=5, each=12)
    for wrong in (0, 1, 2, 5):
        nearly = target.copy()
        nearly[:wrong] = (target[:wrong] + 1) % 3
        for name, found in intervals(EMOTION, target, nearly, clusters).items():
            assert found["low"] is None or 0 <= found["low"] <= found["value"] <= found["high"] <= 1, name
    numbers = np.random.default_rng(0).uniform(1, 5, (60, 2))
    for spread in (0.001, 1.0, 5.0):
        guess = numbers + np.random.default_rng(1).normal(0, spread, numbers.shape)
        found = intervals(AFFECT, numbers, guess, np.arange(60) // 12)
        assert found["mae"]["low"] > 0
        assert all(-1 <= found[k]["low"] <= found[k]["high"] <= 1 for k in ("ccc", "pcc_valence"))


def test_value_over_seeds_is_their_mean_and_seeds_that_differ_widen_the_interval():
    target, predicted, clusters = speakers(models=3)
    single = [scores(EMOTION, target, p)["ua"] for p in predicted]
    assert intervals(EMOTION, target, predicted, clusters)["ua"]["value"] == pytest.approx(np.mean(single))
    alike = np.stack([predicted[0]] * 3)
    once, thrice = (intervals(EMOTION, target, p, clusters)["ua"] for p in (predicted[0], alike))
    assert once == pytest.approx(thrice)
    rng = np.random.default_rng(0)
    apart = np.stack([np.where(rng.random(len(target)) < share, target, predicted[0]) for share in (0, 0.4, 0.9)])
    wide = intervals(EMOTION, target, apart, clusters)["ua"]
    assert wide["high"] - wide["low"] > 1.5 * (once["high"] - once["low"])


def test_replicates_have_the_variance_of_a_mean_over_seeds():
    target = np.zeros(80, dtype=int)  # all four speakers alike: only the seeds vary
    predicted = np.ones((4, 80), dtype=int)
    for s, right in enumerate((2, 8, 10, 16)):
        predicted[s].reshape(4, 20)[:, :right] = 0
    draws = curve_replicates(EMOTION, target, [predicted], np.repeat(range(4), 20), n=20000)["wa"].replicates[:, 0]
    of_seed = np.array([2, 8, 10, 16]) / 20
    assert draws.var() == pytest.approx(of_seed.var(ddof=1) / 4, rel=0.05)


def test_replicates_have_the_variance_that_the_interval_is_made_of():
    target, runs, clusters = speakers(models=5)
    found = curve_replicates(EMOTION, target, [runs], clusters, n=20000)["wa"].replicates[:, 0]
    (gap,) = [
        differences(EMOTION, target, runs, 0 * runs + (target + 1) % 3, clusters)["wa"]
    ]  # against never being right
    expected = gap.speakers * 23 / 24 + max(gap.trainings - gap.interaction, 0)
    assert found.var() == pytest.approx(expected, rel=0.05)


# ------------------------------------------------------------------------------------- coverage and p values


PARTS = {  # in points: what speakers share in all trainings, what is theirs in one training, luck of a training
    "neither luck nor interaction": (6.0, 1.0, 0.0),
    "interaction": (4.0, 4.0, 0.0),
    "luck": (6.0, 1.0, 1.5),
    "both": (4.0, 4.0, 1.5),
    "mostly interaction": (2.0, 4.0, 1.1),
}


@pytest.mark.parametrize("count", [4, 8, 16, 24, 60])
@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5])
def test_intervals_hold_the_truth_nineteen_times_in_twenty(count, seeds):
    """A single training knows no luck: there the truth is what this training does on all speakers."""
    for name, (shared, own, luck) in PARTS.items():
        rng = np.random.default_rng([count, seeds])
        table = shared * rng.normal(size=(4000, count, 1)) + own * rng.normal(size=(4000, count, seeds))
        table += (seeds > 1) * luck * rng.normal(size=(4000, 1, seeds))
        found = components(table.mean(1), table)
        coverage = np.mean(np.abs(found.value) <= found.half_width())
        assert 0.925 <= coverage <= 0.98, name


def test_trainings_that_share_a_pre_training_count_as_one():
    """Luck of the pre-training alone: four trainings of two are two, and intervals over four too narrow."""
    rng, task = np.random.default_rng(0), Task("class", ("emotion",), ("a", "b"))
    clusters, target = np.repeat(np.arange(30), 10), np.zeros(300, int)
    held = {"apart": 0, "together": 0}
    for _ in range(300):
        ability = 0.6 + np.repeat(rng.normal(0, 0.06, 2), 2)[:, None] + rng.normal(0, 0.02, 30)  # (S, C)
        answers = (rng.random((4, 300)) > ability[:, clusters]).astype(int)
        for name, units in (("apart", None), ("together", [0, 0, 1, 1])):
            found = intervals(task, target, answers, clusters, units=units)["wa"]
            held[name] += found["low"] <= 0.6 <= found["high"]
    assert held["apart"] / 300 < 0.87
    assert held["together"] / 300 > 0.92
    one = differences(task, target, answers, answers[::-1], clusters, units=[0, 0, 1, 1])["wa"]
    assert one.seeds == 2
    assert one.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("numbers", [(2, 2), (3, 3), (5, 5), (2, 5)])
def test_trainings_of_two_systems_that_do_not_belong_together_are_counted_too(numbers):
    for count in (8, 24):
        for name, (shared, own, luck) in PARTS.items():
            rng = np.random.default_rng([count, *numbers])
            arms = [shared * rng.normal(size=(8000, count, 1)) + own * rng.normal(size=(8000, count, seeds))
                    + luck * rng.normal(size=(8000, 1, seeds)) for seeds in numbers]  # fmt: skip
            gap = difference(*((arm.mean(1), arm) for arm in arms), same_seeds=False)
            assert 0.925 <= np.mean(np.abs(gap.value) <= gap.half_width()) <= 0.97, (count, name)


def test_clustered_intervals_cover_the_truth_and_unclustered_ones_do_not():
    truth = float(np.mean(1 / (1 + np.exp(-(0.5 + 1.2 * np.random.default_rng(99).normal(size=400_000))))))
    held = {8: 0, 24: 0}
    naive = 0
    for trial in range(300):
        for count in held:
            target, (predicted,), clusters = speakers(count=count, seed=trial)
            found = intervals(EMOTION, target, predicted, clusters)["wa"]
            held[count] += found["low"] <= truth <= found["high"]
        if trial < 100:
            rows = intervals(EMOTION, target, predicted, np.arange(len(target)))["wa"]
            naive += rows["low"] <= truth <= rows["high"]
    assert all(0.915 <= n / 300 <= 0.98 for n in held.values()), held
    assert naive / 100 < 0.8


@pytest.mark.parametrize("count", [4, 8, 24])
def test_equal_models_differ_significantly_in_one_of_twenty_comparisons(count):
    found = 0
    for trial in range(400):
        target, (a, b), clusters = speakers(count=count, seed=trial, models=2)
        gap = differences(EMOTION, target, a, b, clusters)["ua"]
        found += abs(gap.value) > gap.half_width()
    assert 0.02 <= found / 400 <= 0.08


@pytest.mark.parametrize(("count", "seeds"), [(4, 1), (5, 2), (8, 1), (8, 3), (24, 5)])
def test_p_is_below_five_percent_exactly_where_the_interval_leaves_zero_out(count, seeds):
    seen = set()
    for trial in range(15):
        target, runs, clusters = speakers(count=count, seed=trial, spread=0.5, models=2 * seeds)
        a, b = runs[:seeds], runs[seeds:]
        a = np.where(np.random.default_rng(trial).random(a.shape) < 0.15, target, a)
        for level in (0.95, 0.8):
            for name, gap in paired(EMOTION, target, a, b, clusters, level=level).items():
                assert (gap["p"] < 1 - level) == (gap["low"] > 0 or gap["high"] < 0), name
                seen.add(gap["p"] < 1 - level)
    assert seen == {True, False}


def test_p_is_that_of_the_t_test_over_speakers_and_near_that_of_all_sign_flips():
    """Speakers of equal size and one training: accuracy is a mean of theirs, and flips are the exact test."""
    for trial in range(20):
        target, (a, b), clusters = speakers(count=10, seed=trial, models=2)
        apart = np.array([np.mean(((a == target) * 1.0 - (b == target))[clusters == c]) for c in range(10)])
        p = paired(EMOTION, target, a, b, clusters)["wa"]["p"]
        assert p == pytest.approx(ttest_1samp(apart, 0).pvalue, rel=1e-6)
        signs = np.array(list(product((-1, 1), repeat=10)))
        flips = np.mean(np.abs(signs @ apart) >= abs(apart.sum()) - 1e-12)
        assert abs(p - flips) < 0.02 + 0.2 * flips


def test_p_has_no_floor():
    target, (a, b), clusters = speakers(count=8, spread=0.2, each=300, models=2)
    better = np.where(np.random.default_rng(0).random(len(a)) < 0.6, target, b)
    assert paired(EMOTION, target, better, a, clusters)["wa"]["p"] < 1e-4  # times nine comparisons it is still small


def test_speakers_who_all_show_the_same_are_left_to_sign_flips():
    """Four speakers with +0.125 each: no spread, and 2 of 16 sign patterns are as far out."""
    for count, known in ((4, False), (5, False), (6, True), (9, True)):
        target, clusters = np.zeros(16 * count, int), np.repeat(np.arange(count), 16)
        a, b = target.copy(), target.copy()
        b[::8] = 1
        gap = paired(EMOTION, target, a, b, clusters)["wa"]
        assert gap["value"] == pytest.approx(0.125)
        assert gap["p"] == gap["p_floor"] == 2.0 ** (1 - count)
        assert (gap["low"] is not None) == known == (gap["p"] < 0.05)
        assert differences(EMOTION, target, a, b, clusters)["wa"].detectable() is None


@pytest.mark.parametrize("count", [4, 8, 24])
def test_what_all_speakers_get_right_is_not_certain(count):
    """The exact interval of as many trials without an exception."""
    target, clusters = np.arange(16 * count) % 3, np.repeat(np.arange(count), 16)
    exact = binomtest(count, count).proportion_ci(0.95)
    found = intervals(EMOTION, target, target, clusters)
    assert {k: (v["low"], v["high"]) for k, v in found.items()}["ua"] == pytest.approx((exact.low, 1.0))
    found = intervals(EMOTION, target, (target + 1) % 3, clusters)
    assert (found["wa"]["low"], found["wa"]["high"]) == pytest.approx((0.0, 1 - exact.low))


def test_one_training_says_nothing_of_luck_and_several_do():
    rng = np.random.default_rng(0)
    target, clusters = rng.integers(3, size=1200), np.repeat(np.arange(24), 50)

    def arm(luck):
        hit = rng.random((len(luck), 1200)) < 0.6 + np.array(luck)[:, None]
        return np.where(hit, target, (target + 1) % 3)

    apart = differences(EMOTION, target, arm([-0.15, 0.0, 0.15]), arm([0.15, -0.15, 0.0]), clusters)["wa"]
    alike = differences(EMOTION, target, arm([0.0] * 3), arm([0.0] * 3), clusters)["wa"]
    assert apart.half_width() > 5 * alike.half_width()
    alone = differences(EMOTION, target, arm([0.15]), arm([0.0]), clusters)["wa"]
    assert (alone.seeds, alone.trainings) == (1, 0)


def test_a_model_does_not_differ_from_itself():
    target, (a,), clusters = speakers()
    assert paired(EMOTION, target, a, a, clusters)["ua"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_pairing_cancels_what_both_models_share():
    target, (a,), clusters = speakers(spread=2.0)
    wrong = np.flatnonzero(a != target)
    b = a.copy()
    b[wrong[::4]] = target[wrong[::4]]  # mends a quarter of the errors of every speaker
    difference = paired(EMOTION, target, b, a, clusters)["wa"]
    alone = intervals(EMOTION, target, a, clusters)["wa"]
    assert difference["low"] > 0
    assert difference["p"] < 0.01
    assert difference["high"] - difference["low"] < 0.6 * (alone["high"] - alone["low"])
    assert paired(EMOTION, target, a, b, clusters)["wa"]["value"] == -difference["value"]


def test_seeds_are_paired():
    target, runs, clusters = speakers(models=4)
    better = np.where(np.random.default_rng(0).random(runs.shape) < 0.2, target, runs)
    found = paired(EMOTION, target, better, runs, clusters)["ua"]
    assert 0 < found["low"] < found["value"] < found["high"]
    with pytest.raises(ValueError, match="paired"):
        paired(EMOTION, target, better[:3], runs, clusters)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("comparisons", [1, 9])
def test_a_difference_of_the_detectable_size_is_found_four_times_in_five(comparisons):
    """After the correction that stands beside it."""
    rng = np.random.default_rng(0)
    count, sd = 12, 0.1
    wanted = t.ppf(1 - 0.025 / comparisons, count - 1) + t.ppf(0.8, count - 1)  # in standard errors
    sample = rng.normal(wanted * sd / np.sqrt(count), sd, (4000, count))
    p = ttest_1samp(sample, 0, axis=1).pvalue
    assert np.mean(p < 0.05 / comparisons) == pytest.approx(0.8, abs=0.03)
    gap = components(sample[0].mean(keepdims=True), sample[0][:, None])
    low, high = gap.bounds()
    error = (high - low) / 2 / t.ppf(0.975, count - 1)
    assert gap.detectable(1 - 0.05 / comparisons) == pytest.approx(wanted * error)


# --------------------------------------------------------------------------------------------- learning curves


def curve(level, n=N):
    return level + 0.1 * np.log2(np.asarray(n) / 10)


def test_labels_saved_finds_a_planted_factor():
    rng = np.random.default_rng(0)
    a = curve(0.4) + rng.normal(0, 0.002, (500, 5))
    b = curve(0.3) + rng.normal(0, 0.002, (500, 5))  # one doubling behind
    found = labels_saved(N, a, b)
    for row in found[:3]:
        assert row["factor"] == pytest.approx(2.0, rel=0.02)
        assert row["low"] < 2.0 < row["high"]
        assert row["high"] / row["low"] < 1.2
        assert not row["censored"]
    assert 1.9 < found[3]["low"] < 2.0  # the control reaches it at the very end, or does not
    assert found[3]["high"] is None
    assert found[4] == {"factor": 1.0, "low": 1.0, "high": None, "censored": True, "at_most": False}


def test_a_score_the_control_never_reaches_gives_a_lower_bound():
    a, b = np.full((50, 5), 0.9), curve(0.3)[None].repeat(50, 0)
    found = labels_saved(N, a, b)
    assert [row["factor"] for row in found] == [16.0, 8.0, 4.0, 2.0, 1.0]
    assert all(row["censored"] and row["high"] is None and row["low"] == row["factor"] for row in found)


def test_a_control_that_is_better_at_once_gives_an_upper_bound():
    a, b = curve(0.1)[None].repeat(50, 0), curve(0.3)[None].repeat(50, 0)
    found = labels_saved(N, a, b)
    assert found[0] == {"factor": 1.0, "low": None, "high": 1.0, "censored": False, "at_most": True}
    assert [row["at_most"] for row in found] == [True, True, False, False, False]  # a[2] is b[0] exactly
    assert found[4]["factor"] == pytest.approx(0.25)


def test_equal_curves_save_nothing():
    same = curve(0.3)[None].repeat(20, 0)
    assert [row["factor"] for row in labels_saved(N, same, same)] == pytest.approx([1.0] * 5)


def test_labels_saved_for_errors_is_that_for_negative_scores():
    rng = np.random.default_rng(0)
    a, b = curve(0.4) + rng.normal(0, 0.02, (200, 5)), curve(0.3) + rng.normal(0, 0.02, (200, 5))
    up, down = labels_saved(N, a, b), labels_saved(N, 1 - a, 1 - b, higher_is_better=False)
    for one, other in zip(up, down, strict=True):
        assert one == pytest.approx(other)


def test_the_values_given_are_the_factor_and_more_speakers_make_it_surer():
    rng = np.random.default_rng(0)
    a, b = curve(0.4) + rng.normal(0, 0.02, (500, 5)), curve(0.3) + rng.normal(0, 0.02, (500, 5))
    few, many = (labels_saved(N, a, b, values=(curve(0.4), curve(0.3)), clusters=c)[1] for c in (6, 600))
    assert few["factor"] == many["factor"] == pytest.approx(2.0)
    assert few["low"] < many["low"] < many["high"] < few["high"]


@settings(max_examples=50, deadline=None)
@given(some.lists(some.floats(-1, 1), min_size=1, max_size=8))
def test_isotonic_equals_scikit_learn(y):
    assert isotonic(np.empty((0, len(y)))).shape == (0, len(y))
    expected = IsotonicRegression().fit_transform(np.arange(len(y)), y)
    np.testing.assert_allclose(isotonic(np.array([y]))[0], expected, atol=1e-12)


def test_curves_meet_where_the_difference_stops_being_certain():
    def met(low, high=None, **more):
        high = [x + 0.1 for x in low] if high is None else high
        return meeting_point(N, [{"low": a, "high": b} for a, b in zip(low, high, strict=True)], **more)

    assert met([0.2, 0.1, 0.05, -0.01, -0.02]) == 80
    assert met([-0.3, -0.2, -0.1, -0.1, 0.0], [-0.2, -0.1, -0.05, 0.01, 0.1], higher_is_better=False) == 80
    assert met([-0.1] * 5) == 10  # never ahead
    assert met([0.1] * 5) is None
    assert met([0.1, -0.1, 0.1, 0.1, -0.1]) == 160  # the last time it falls back counts
    assert met([0.1, 0.1, -0.1, None, None], [0.2, 0.2, 0.1, None, None]) == 40


def test_labels_saved_with_dev_labels_counted():
    """Taught with 10, the control with 40; both chose with 20: 60 over 30."""
    assert counting_dev({"factor": 4.0, "low": 1.0, "high": None}, 10, 20) == {"factor": 2.0, "low": 1.0, "high": None}
    assert counting_dev({"factor": 4.0, "low": 0.5, "high": 8.0}, 10, 0) == {"factor": 4.0, "low": 0.5, "high": 8.0}


def test_cells_of_a_curve_share_their_replicates():
    target, runs, clusters = speakers(models=3)
    better = np.where(np.random.default_rng(0).random(runs.shape) < 0.3, target, runs)
    found = curve_replicates(EMOTION, target, [runs, better, runs], clusters, n=300)["ua"]
    assert found.replicates.shape == (300, 3)
    assert (found.replicates[:, 0] == found.replicates[:, 2]).all()
    gap = found.replicates[:, 1] - found.replicates[:, 0]
    low, high = np.quantile(gap, ndtr(np.sqrt(24 / 23) * stdtrit(23, [0.025, 0.975])))
    expected = paired(EMOTION, target, better, runs, clusters)["ua"]
    assert found.value[1] - found.value[0] == pytest.approx(expected["value"])
    assert (low, high) == pytest.approx((expected["low"], expected["high"]), abs=0.03)
    with pytest.raises(ValueError, match="differ in shape"):
        curve_replicates(EMOTION, target, [runs, better[:2]], clusters)
