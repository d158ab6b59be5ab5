"""How good predictions are. One entry, `scores`; every formula is written out in docs/metrics.md.

    one emotion of K     wa, ua, macro_f1, recall_<class>, precision_<class>, f1_<class>
    regression           mae, ccc, mae_<name>, ccc_<name>, pcc_<name>
    intensities 0..3     + acc4, acc4_<name>, wacc, wa_<name>, f1, f1_<name>, f1w, f1w_<name>   (CMU-MOSEI emotions)
    sentiment -3..3      + acc2, acc2_<name>, acc7, acc7_<name>                                 (CMU-MOSEI sentiment)
    phones               per: edits over reference phones, summed over utterances     (`sottovoce.evaluation.phones`)

Every one of these is a function of sums over rows. So a score is made in two steps: `terms` gives each row its
M terms, `from_sums` turns their sum into scores. A bootstrap replicate is another weighted sum of the same
terms, and 2000 replicates are one matrix product (see `sottovoce.metrics.statistics`).

N rows, K classes, D targets, R replicates, M terms a row. A score that is not defined (the recall of a class that
does not occur) is NaN; means over classes or emotions are taken over the defined ones.
"""

import warnings

import numpy as np

from sottovoce.data.task import Task

# The score that chooses models and heads reports. Of numbers CCC: where most truths are 0, a constant has a good MAE.
MAIN = {"class": "ua", "number": "ccc", "phones": "per"}

# A regressor never says exactly 0, so "present" needs a threshold on the predicted side. Intensities are means of
# three annotators, multiples of 1/3: rounded half-up to that grid, anything from 1/6 on is present.
PRESENCE = 1 / 6

INTENSITY, SENTIMENT = (0.0, 3.0), (-3.0, 3.0)


def higher_is_better(name: str) -> bool:
    """Whether a larger value of this score is the better one; only the errors (`mae...`, `per`) are not.

    >>> higher_is_better("ua"), higher_is_better("mae_happy")
    (True, False)
    """
    return name.split("_")[0] not in ("mae", "per")


def names(task: Task) -> list[str]:
    """Every score that this kind of task has."""
    one = np.zeros(1, dtype=np.int64) if task.kind != "number" else np.array(task.ranges, dtype=np.float64)[:, :1].T
    return list(scores(task, one, one))


def flat(task: Task, target: np.ndarray, predicted: np.ndarray) -> list[str]:
    """Labels that are hardly predicted at all: one class for all rows (N,), or values (N, D) that vary less than a
    fiftieth as much as the truth does. Where most truths are 0, MAE and 4-class accuracy find such an answer good."""
    if task.kind == "class":
        return [*task.target] * (len(np.unique(target)) > 1 and len(np.unique(predicted)) == 1)
    if task.kind != "number":
        return []
    spread, answered = np.std(target, axis=0), np.std(predicted, axis=0)
    return [name for name, s, a in zip(task.target, spread, answered, strict=True) if s > 0 and a < s / 50]


def scores(task: Task, target: np.ndarray, predicted: np.ndarray) -> dict[str, float | np.ndarray]:
    """Every score that this kind of task has.

    Args:
        target: (N,) class indices, (N, D) regression targets, or (N,) reference phones of an utterance.
        predicted: same shape; of phones the edits that turn what was recognised into the reference.

    Raises:
        ValueError: shapes that do not fit, class indices outside 0..K-1, values that are not finite.

    >>> task = Task("class", ("emotion",), ("happy", "sad"))
    >>> found = scores(task, np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    >>> round(found["wa"], 3), round(found["ua"], 3), round(found["recall_happy"], 3)
    (0.75, 0.833, 0.667)
    """
    return from_sums(task, terms(task, target, predicted).sum(0))


def confusion(task: Task, target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(K, K) counts, row = target, column = predicted, in the order of `task.classes`."""
    if task.kind != "class":
        raise ValueError("a confusion matrix needs a class task")
    k = task.outputs
    return terms(task, target, predicted).sum(0).reshape(k, k).astype(np.int64)


def terms(task: Task, target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N, M) what each row adds to the sums that `from_sums` reads."""
    if task.kind == "phones":
        return np.stack([target, predicted], axis=1).astype(np.float64)
    if task.kind == "class":
        k = task.outputs
        target, predicted = _indices("target", target, k), _indices("predicted", predicted, k)
        if target.shape != predicted.shape:
            raise ValueError(f"target {target.shape} and predicted {predicted.shape} differ in shape")
        rows = np.zeros((len(target), k * k))
        rows[np.arange(len(target)), target * k + predicted] = 1.0
        return rows

    target, predicted = _numbers("target", target, task), _numbers("predicted", predicted, task)
    if target.shape != predicted.shape:
        raise ValueError(f"target {target.shape} and predicted {predicted.shape} differ in shape")
    low, high = np.array(task.ranges, dtype=np.float64).T
    # Correlations do not care where zero is; measured from the middle of the range, squares cancel least.
    t, p = target - (low + high) / 2, predicted - (low + high) / 2
    block = {"error": np.abs(predicted - target), "t": t, "p": p, "tt": t * t, "pp": p * p, "tp": t * p}
    if _with_range(task, INTENSITY):
        there, said = target > 0, predicted >= PRESENCE
        block["same4"] = round_half_up(target, *INTENSITY) == round_half_up(predicted, *INTENSITY)
        block |= {"hit": there & said, "false": ~there & said, "miss": there & ~said}
    if _with_range(task, SENTIMENT):
        block["same2"] = (target >= 0) == (predicted >= 0)
        block["same7"] = round_half_up(target, *SENTIMENT) == round_half_up(predicted, *SENTIMENT)
    return np.concatenate([np.ones((len(target), 1)), *block.values()], axis=1, dtype=np.float64)


def from_sums(task: Task, sums: np.ndarray) -> dict[str, float | np.ndarray]:
    """Scores from (M,) or (R, M) weighted sums of `terms`: floats, or arrays (R,)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # undefined scores are NaN on purpose
        if task.kind == "phones":
            found = {"per": sums[..., 1] / sums[..., 0]}
        else:
            found = _class_scores(task, sums) if task.kind == "class" else _number_scores(task, sums)
    return {name: value if sums.ndim > 1 else float(value) for name, value in found.items()}


def round_half_up(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Nearest integer after clamping; ties go up (NumPy's own rounding sends them to the even number).

    >>> round_half_up(np.array([-1, 0.5, 1.5, 2.5, 9]), 0, 3).tolist()
    [0.0, 1.0, 2.0, 3.0, 3.0]
    """
    return np.floor(np.clip(x, low, high) + 0.5)


def _class_scores(task: Task, sums: np.ndarray) -> dict[str, np.ndarray]:
    k = task.outputs
    table = sums.reshape(*sums.shape[:-1], k, k)  # (..., target, predicted)
    right = np.diagonal(table, axis1=-2, axis2=-1)  # (..., K)
    there, said = table.sum(-1), table.sum(-2)
    recall = right / there  # NaN where the class does not occur
    precision = np.where((said == 0) & (there > 0), 0.0, right / said)
    f1 = 2 * right / (there + said)
    found = {"wa": right.sum(-1) / there.sum(-1), "ua": _mean(recall), "macro_f1": _mean(f1)}
    for name, values in (("recall", recall), ("precision", precision), ("f1", f1)):
        found |= {f"{name}_{c}": values[..., i] for i, c in enumerate(task.classes)}
    return found


def _number_scores(task: Task, sums: np.ndarray) -> dict[str, np.ndarray]:
    d = task.outputs
    intensity, sentiment = _with_range(task, INTENSITY), _with_range(task, SENTIMENT)
    names = ["error", "t", "p", "tt", "pp", "tp"]  # in the order of `terms`
    names += ["same4", "hit", "false", "miss"] if intensity else []
    names += ["same2", "same7"] if sentiment else []
    count = sums[..., :1]  # rows
    total = {name: sums[..., 1 + i * d : 1 + (i + 1) * d] for i, name in enumerate(names)}  # (..., D) each
    mean = {name: values / count for name, values in total.items()}
    spread_t, spread_p = (  # population variances; what rounding leaves of a constant is 0
        _zero_if_tiny(mean[x + x] - mean[x] ** 2, mean[x + x]) for x in "tp"
    )
    together = np.where((spread_t > 0) & (spread_p > 0), mean["tp"] - mean["t"] * mean["p"], 0 * spread_t)
    bias = (mean["t"] - mean["p"]) ** 2
    ccc = 2 * together / (spread_t + spread_p + _zero_if_tiny(bias, mean["tt"] + mean["pp"]))
    pcc = together / np.sqrt(spread_t * spread_p)
    found = {"mae": _mean(mean["error"]), "ccc": _mean(ccc)}
    for name, values in (("mae", mean["error"]), ("ccc", ccc), ("pcc", pcc)):
        found |= {f"{name}_{c}": values[..., i] for i, c in enumerate(task.target)}

    def add(overall: str, single: str, values: np.ndarray, columns: list[int]) -> None:
        found[overall] = _mean(values[..., columns])
        found.update({f"{single}_{task.target[i]}": values[..., i] for i in columns})

    if intensity:
        hit, false, miss = total["hit"], total["false"], total["miss"]  # counts, so that 0 is 0
        positive = hit + miss
        negative = count - positive
        rest = negative - false  # true negatives
        f1 = 2 * hit / (2 * hit + false + miss)
        f1_absent = 2 * rest / (2 * rest + false + miss)
        weighted = np.where(positive > 0, positive * f1, 0.0) + np.where(negative > 0, negative * f1_absent, 0.0)
        add("acc4", "acc4", mean["same4"], intensity)
        add("wacc", "wa", (hit * negative / positive + rest) / (2 * negative), intensity)
        add("f1", "f1", f1, intensity)
        add("f1w", "f1w", weighted / count, intensity)
    if sentiment:
        add("acc2", "acc2", mean["same2"], sentiment)
        add("acc7", "acc7", mean["same7"], sentiment)
    return found


def _with_range(task: Task, bounds: tuple[float, float]) -> list[int]:
    return [i for i, (low, high) in enumerate(task.ranges) if (float(low), float(high)) == bounds]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, of the defined ones; NaN when there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "mean of empty slice" is what NaN says
        return np.nanmean(values, axis=-1)


def _zero_if_tiny(value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.where(value > 1e-12 * scale, value, 0.0 * value)  # 0 * NaN stays NaN


def _indices(what: str, values: np.ndarray, k: int) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not (np.issubdtype(values.dtype, np.integer) or not values.size):
        raise ValueError(f"{what} is (N,) class indices, got shape {values.shape} of {values.dtype}")
    if values.size and not (values.min() >= 0 and values.max() < k):
        raise ValueError(f"{what} has class indices {values.min()}..{values.max()}; there are {k} classes")
    return values.astype(np.int64)


def _numbers(what: str, values: np.ndarray, task: Task) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != task.outputs:
        raise ValueError(f"{what} is (N, {task.outputs}) values, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{what} holds {np.size(values) - np.isfinite(values).sum()} values that are not finite")
    return values
