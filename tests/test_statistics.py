import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from sklearn.isotonic import IsotonicRegression

from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.metrics.scores import scores
from sottovoce.metrics.statistics import (
    bounds,
    cluster_weights,
    curve_replicates,
    holm,
    intervals,
    isotonic,
    labels_saved,
    meeting_point,
    minimum_detectable_difference,
    nested_subsets,
    p_value,
    paired,
    parse_label_counts,
    strata,
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


# ------------------------------------------------------------------------------------------------ resampling


def test_a_resample_takes_whole_speakers_and_as_many_as_there_are():
    clusters = np.array(["b", "a", "b", "c", "a", "b"])
    weight = cluster_weights(clusters, n=200, seed=3)
    assert weight.shape == (200, 6)
    for name in "abc":
        of_one = weight[:, clusters == name]
        assert (of_one == of_one[:, :1]).all()
    assert (weight[:, [1, 0, 3]].sum(1) == 3).all()
    assert (weight == cluster_weights(clusters, n=200, seed=3)).all()
    assert (weight != cluster_weights(clusters, n=200, seed=4)).any()


def test_intervals_equal_scores_of_the_same_resamples():
    target, (predicted,), clusters = speakers()
    weight = cluster_weights(clusters, n=300, seed=5)
    slow = scores(EMOTION, target, predicted, weight)
    fast = intervals(EMOTION, target, predicted, clusters, n=300, seed=5)
    for name, found in fast.items():
        low, high = bounds(slow[name], clusters=24)
        assert found == pytest.approx({"value": scores(EMOTION, target, predicted)[name], "low": low, "high": high})


def test_intervals_of_numbers_contain_the_value_and_shrink_with_speakers():
    width = {}
    for count in (6, 60):
        rng = np.random.default_rng(count)
        target = rng.uniform(1, 5, (count * 10, 2))
        clusters = np.repeat(np.arange(count), 10)
        predicted = target + rng.normal(0, 0.5, (count, 2))[clusters] + rng.normal(0, 0.5, target.shape)
        found = intervals(AFFECT, target, predicted, clusters, n=400)
        for name in ("mae", "ccc", "mae_arousal", "pcc_valence"):
            assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        width[count] = found["mae"]["high"] - found["mae"]["low"]
    assert width[60] < width[6] / 2


def test_one_speaker_gives_a_value_without_bounds():
    target, (predicted,), _ = speakers()
    found = intervals(EMOTION, target, predicted, ["anna"] * len(target))
    assert found["wa"] == {"value": scores(EMOTION, target, predicted)["wa"], "low": None, "high": None}
    assert paired(EMOTION, target, predicted, predicted, ["anna"] * len(target))["wa"]["p"] is None


def test_an_undefined_score_has_no_bounds():
    target, predicted = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1])
    found = intervals(EMOTION, target, predicted, list("aabb"))
    assert np.isnan(found["recall_angry"]["value"])
    assert found["recall_angry"]["low"] is None
    assert found["recall_sad"]["low"] == 1.0


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


def test_resampled_seeds_have_the_variance_of_a_mean_over_seeds():
    target = np.zeros(40, dtype=int)  # both speakers alike: only the seeds vary
    predicted = np.ones((4, 40), dtype=int)
    for s, right in enumerate((2, 8, 10, 16)):
        predicted[s, :right] = predicted[s, 20 : 20 + right] = 0
    clusters = np.repeat([0, 1], 20)
    draws = curve_replicates(EMOTION, target, [predicted], clusters, n=20000)["wa"].replicates[:, 0]
    of_seed = np.array([2, 8, 10, 16]) / 20
    assert draws.var() == pytest.approx(of_seed.var(ddof=1) / 4, rel=0.05)


# ------------------------------------------------------------------------------------- coverage and p values


def test_clustered_intervals_cover_the_truth_and_unclustered_ones_do_not():
    truth = float(np.mean(1 / (1 + np.exp(-(0.5 + 1.2 * np.random.default_rng(99).normal(size=400_000))))))
    clustered = naive = 0
    for trial in range(300):
        target, (predicted,), clusters = speakers(seed=trial)
        found = intervals(EMOTION, target, predicted, clusters, n=400, seed=trial)["wa"]
        clustered += found["low"] <= truth <= found["high"]
        if trial < 100:
            rows = intervals(EMOTION, target, predicted, np.arange(len(target)), n=200, seed=trial)["wa"]
            naive += rows["low"] <= truth <= rows["high"]
    assert 0.88 <= clustered / 300 <= 0.99
    assert naive / 100 < 0.8


def test_equal_models_differ_significantly_in_about_one_of_twenty_comparisons():
    found = 0
    for trial in range(300):
        target, (a, b), clusters = speakers(seed=trial, models=2)
        found += paired(EMOTION, target, a, b, clusters, n=400, seed=trial)["wa"]["p"] < 0.05
    assert found / 300 <= 0.1


def test_p_is_below_five_percent_where_the_interval_leaves_zero_out():
    agreed = 0
    for trial in range(60):
        target, (a, b), clusters = speakers(count=8, seed=trial, spread=0.5, models=2)
        a = np.where(np.random.default_rng(trial).random(len(a)) < 0.15, target, a)
        found = paired(EMOTION, target, a, b, clusters)["wa"]
        agreed += (found["p"] < 0.05) == (found["low"] > 0 or found["high"] < 0)
    assert agreed >= 58  # a quantile lies between two replicates, so a tie or two


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


def test_four_clusters_cannot_give_a_small_p():
    assert p_value(np.ones(2000)) == pytest.approx(2 / 2001)
    assert p_value(np.ones(2000), clusters=4) > 0.05
    assert p_value(np.ones(2000), clusters=24) < 0.01


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    count, sd = 12, 0.1
    size = minimum_detectable_difference(-1.0, 1.0, count)  # in units of the half width
    from scipy.stats import t

    half = t.ppf(0.975, count - 1) * sd / np.sqrt(count)
    sample = rng.normal(size * half, sd, (4000, count))
    statistic = sample.mean(1) / (sample.std(1, ddof=1) / np.sqrt(count))
    assert np.mean(np.abs(statistic) > t.ppf(0.975, count - 1)) == pytest.approx(0.8, abs=0.03)


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
    expected = IsotonicRegression().fit_transform(np.arange(len(y)), y)
    np.testing.assert_allclose(isotonic(np.array([y]))[0], expected, atol=1e-12)


def test_curves_meet_where_the_difference_stops_being_certain():
    rng = np.random.default_rng(0)
    gap = np.array([0.2, 0.1, 0.05, 0.01, 0.0])
    b = curve(0.3) + rng.normal(0, 0.02, (1000, 5))
    a = b + gap + rng.normal(0, 0.01, (1000, 5))
    assert meeting_point(N, a, b) == 80
    assert meeting_point(N, -a, -b, higher_is_better=False) == 80
    assert meeting_point(N, b, a) == 10  # never ahead
    assert meeting_point(N, b + 0.1, b) is None
    assert meeting_point(N, b + np.array([0.1, 0.0, 0.1, 0.1, 0.0]), b) == 160  # the last time it falls back counts


def test_curve_replicates_of_one_cell_are_those_of_its_interval_and_cells_are_paired():
    target, runs, clusters = speakers(models=3)
    better = np.where(np.random.default_rng(0).random(runs.shape) < 0.3, target, runs)
    found = curve_replicates(EMOTION, target, [runs, better], clusters, n=300)["ua"]
    assert found.replicates.shape == (300, 2)
    alone = intervals(EMOTION, target, better, clusters, n=300)["ua"]
    low, high = bounds(found.replicates, clusters=24)
    assert (found.value[1], low[1], high[1]) == pytest.approx((alone["value"], alone["low"], alone["high"]))
    difference = paired(EMOTION, target, better, runs, clusters, n=300)["ua"]
    gap_low, _ = bounds(found.replicates[:, 1] - found.replicates[:, 0], clusters=24)
    assert gap_low == pytest.approx(difference["low"])
    with pytest.raises(ValueError, match="differ in shape"):
        curve_replicates(EMOTION, target, [runs, better[:2]], clusters)


# ----------------------------------------------------------------------------------------------- label subsets


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
