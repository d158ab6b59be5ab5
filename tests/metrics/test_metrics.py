import audmetric
import numpy as np
import pytest
import sklearn.metrics as sk

from sottovoce.data.task import Task
from sottovoce.metrics.scores import (
    MAIN,
    PRESENCE,
    confusion,
    flat,
    from_sums,
    higher_is_better,
    round_half_up,
    scores,
    terms,
)

NAMES = ("happy", "sad", "angry", "fear")
EMOTION = Task("class", ("emotion",), NAMES)
INTENSITIES = Task("number", ("happy", "sad", "anger"), ranges=((0.0, 3.0),) * 3)
AFFECT = Task("number", ("valence", "arousal"), ranges=((1.0, 5.0),) * 2)
SENTIMENT = Task("number", ("sentiment",), ranges=((-3.0, 3.0),))


def some_classes(n=300, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.choice(4, size=n, p=[0.5, 0.3, 0.15, 0.05])
    return target, np.where(rng.random(n) < 0.6, target, rng.integers(4, size=n))


def some_intensities(n=300, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 10, (n, 3)) / 3 * (rng.random((n, 3)) < 0.4)
    return target, np.clip(0.6 * target + rng.normal(0.1, 0.5, (n, 3)), 0, 3)


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_class_scores_equal_scikit_learn():
    target, predicted = some_classes()
    ours = scores(EMOTION, target, predicted)
    same(ours["wa"], sk.accuracy_score(target, predicted))
    same(ours["ua"], sk.balanced_accuracy_score(target, predicted))
    same(ours["ua"], audmetric.unweighted_average_recall(target, predicted))
    same(ours["macro_f1"], sk.f1_score(target, predicted, average="macro"))
    for name, function in (("recall", sk.recall_score), ("precision", sk.precision_score), ("f1", sk.f1_score)):
        same([ours[f"{name}_{c}"] for c in NAMES], function(target, predicted, average=None))
    assert (confusion(EMOTION, target, predicted) == sk.confusion_matrix(target, predicted)).all()


def test_number_scores_equal_scikit_learn_audmetric_and_numpy():
    target, predicted = some_intensities()
    ours = scores(INTENSITIES, target, predicted)
    same(ours["mae"], sk.mean_absolute_error(target, predicted))
    ccc = [audmetric.concordance_cc(target[:, i], predicted[:, i]) for i in range(3)]
    same(ours["ccc"], np.mean(ccc))
    there, said = target > 0, predicted >= PRESENCE
    for i, name in enumerate(INTENSITIES.target):
        same(ours[f"mae_{name}"], sk.mean_absolute_error(target[:, i], predicted[:, i]))
        same(ours[f"ccc_{name}"], ccc[i])
        same(ours[f"pcc_{name}"], np.corrcoef(target[:, i], predicted[:, i])[0, 1])
        same(ours[f"wa_{name}"], sk.balanced_accuracy_score(there[:, i], said[:, i]))
        same(ours[f"f1_{name}"], sk.f1_score(there[:, i], said[:, i]))
        same(ours[f"f1w_{name}"], sk.f1_score(there[:, i], said[:, i], average="weighted"))
    for overall, single in (("wacc", "wa"), ("f1", "f1"), ("f1w", "f1w"), ("acc4", "acc4")):
        same(ours[overall], np.mean([ours[f"{single}_{name}"] for name in INTENSITIES.target]))


def test_mosei_weighted_accuracy_is_its_published_formula():
    target, predicted = some_intensities()
    there, said = target[:, 0] > 0, predicted[:, 0] >= PRESENCE
    tp, tn, p, n = (there & said).sum(), (~there & ~said).sum(), there.sum(), (~there).sum()
    same(scores(INTENSITIES, target, predicted)["wa_happy"], (tp * n / p + tn) / (2 * n))


@pytest.mark.parametrize("task", [EMOTION, INTENSITIES, AFFECT, SENTIMENT], ids=lambda t: ",".join(t.target))
def test_weights_are_repeated_rows(task):
    rng = np.random.default_rng(1)
    if task.kind == "class":
        target, predicted = some_classes(60)
    else:
        low, high = task.ranges[0]
        target, predicted = rng.uniform(low, high, (2, 60, task.outputs)).round(1)
    weight = rng.integers(0, 4, size=(5, 60))
    weight[0] = 0
    weight[0, :3] = 1  # a replicate that misses most classes
    together = from_sums(task, weight @ terms(task, target, predicted))
    for r in range(5):
        rows = np.repeat(np.arange(60), weight[r])
        alone = scores(task, target[rows], predicted[rows])
        single = from_sums(task, weight[r] @ terms(task, target, predicted))
        for name, values in together.items():
            assert values.shape == (5,)
            np.testing.assert_allclose(values[r], alone[name], rtol=1e-9, atol=1e-9, err_msg=name)
            np.testing.assert_allclose(values[r], single[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_ua_leaves_out_classes_that_do_not_occur():
    target, predicted = np.array([0, 0, 1, 1]), np.array([0, 3, 1, 1])
    ours = scores(EMOTION, target, predicted)
    assert ours["ua"] == 0.75  # of two classes, not four
    assert np.isnan(ours["recall_angry"])
    assert np.isnan(ours["f1_angry"])
    assert ours["f1_fear"] == 0.0  # predicted, never true: counts, as in scikit-learn
    same(ours["macro_f1"], sk.f1_score(target, predicted, average="macro"))


def test_a_class_without_weight_leaves_the_mean_of_that_replicate():
    target, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    ua = from_sums(EMOTION, np.array([[1, 1, 1], [1, 1, 0]]) @ terms(EMOTION, target, predicted))["ua"]
    assert ua.tolist() == [0.75, 0.5]


def test_never_predicted_class_has_precision_zero():
    ours = scores(EMOTION, np.array([0, 1]), np.array([0, 0]))
    assert ours["precision_sad"] == 0.0
    assert np.isnan(ours["precision_fear"])


def test_four_class_accuracy_rounds_half_up():
    clean = np.arange(10) / 3  # means of three annotators
    assert round_half_up(clean, 0, 3).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert round_half_up(np.array([0.5, 1.5, 2.5]), 0, 3).tolist() == [1, 2, 3]
    one = Task("number", ("happy",), ranges=((0.0, 3.0),))
    target = np.array([[0.5], [0.0], [2.5], [3.0]])
    predicted = np.array([[1.0], [0.4999], [3.0], [2.4]])
    assert scores(one, target, predicted)["acc4"] == 0.75


def test_presence_is_predicted_from_a_sixth_on():
    one = Task("number", ("happy",), ranges=((0.0, 3.0),))
    target = np.array([[1 / 3], [0.0], [0.0], [2.0]])
    predicted = np.array([[1 / 6], [0.16], [0.0], [0.1]])
    ours = scores(one, target, predicted)
    assert (ours["wa_happy"], ours["f1_happy"]) == (0.75, pytest.approx(2 / 3))


def test_sentiment_scores():
    target, predicted = np.array([[0.0], [-0.3], [3.0], [-2.0]]), np.array([[0.2], [0.0], [4.0], [-1.6]])
    ours = scores(SENTIMENT, target, predicted)
    assert (ours["acc2"], ours["acc7"]) == (0.75, 1.0)
    assert "acc4" not in ours


def test_intensity_scores_are_taken_over_the_intensity_columns():
    both = Task("number", ("sentiment", "happy"), ranges=((-3.0, 3.0), (0.0, 3.0)))
    target, predicted = np.array([[1.0, 1.0], [-1.0, 0.0]]), np.array([[-1.0, 1.0], [-1.0, 0.0]])
    ours = scores(both, target, predicted)
    assert (ours["acc4"], ours["acc2"], ours["mae"]) == (1.0, 0.5, 0.5)
    assert "acc4_sentiment" not in ours


def test_a_constant_prediction_has_ccc_zero_and_no_correlation():
    target = np.random.default_rng(0).uniform(1, 5, (50, 2))
    ours = scores(AFFECT, target, np.full((50, 2), 2.2))
    assert ours["ccc"] == 0.0
    assert np.isnan(ours["pcc_valence"])


def test_no_rows_and_no_weight_give_nan_not_an_error():
    assert np.isnan(scores(EMOTION, np.empty(0, int), np.empty(0, int))["ua"])
    nothing = 0 * terms(INTENSITIES, *some_intensities(4))
    assert all(np.isnan(v) for v in from_sums(INTENSITIES, nothing.sum(0)).values())


def test_large_offsets_cost_no_precision():
    far = Task("number", ("x",), ranges=((1e6, 1e6 + 1),))
    rng = np.random.default_rng(0)
    target = rng.random((100, 1))
    predicted = target + rng.normal(0, 0.1, (100, 1))
    near = audmetric.concordance_cc(target[:, 0], predicted[:, 0])
    assert scores(far, target + 1e6, predicted + 1e6)["ccc"] == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize(
    ("target", "predicted"),
    [
        ([0, 1], [0, 4]),
        ([0, -1], [0, 1]),
        ([0, 1], [0]),
        ([0.0, 1.0], [0, 1]),
    ],
)
def test_class_indices_that_do_not_fit_are_refused(target, predicted):
    with pytest.raises(ValueError):
        scores(EMOTION, np.array(target), np.array(predicted))


def test_numbers_that_do_not_fit_are_refused():
    target, predicted = some_intensities(4)
    predicted[2, 1] = np.nan
    with pytest.raises(ValueError, match="1 values that are not finite"):
        scores(INTENSITIES, target, predicted)
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        scores(INTENSITIES, target[:, :2], predicted[:, :2])


def test_the_main_scores_exist_and_know_their_direction():
    assert MAIN["class"] in scores(EMOTION, *some_classes())
    assert MAIN["number"] in scores(AFFECT, np.ones((2, 2)), np.ones((2, 2)))
    assert [higher_is_better(n) for n in ("ua", "wacc", "f1_happy", "mae", "mae_sad")] == [True] * 3 + [False] * 2


def test_an_answer_that_never_changes_is_named_where_the_truth_does():
    rng = np.random.default_rng(0)
    truth = np.where(rng.random((200, 3)) < 0.8, 0.0, 2.0)
    answer = np.stack([truth[:, 0], 1e-3 * rng.standard_normal(200), np.zeros(200)], axis=1)
    assert flat(INTENSITIES, truth, answer) == ["sad", "anger"]
    truth[:, 2] = 1.0  # a constant is right about a constant
    assert flat(INTENSITIES, truth, answer) == ["sad"]
    classes = Task("class", ("emotion",), ("a", "b"))
    assert flat(classes, np.array([0, 1]), np.array([0, 0])) == ["emotion"]
    assert flat(classes, np.array([0, 0]), np.array([0, 0])) == []
    assert flat(classes, np.array([0, 1]), np.array([1, 0])) == []
