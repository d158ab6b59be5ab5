"""What a model has to beat: predictions that do not listen, and openSMILE functionals with a linear SVM.

`trivial` knows the training labels only. `functionals_svm` is what one would do without this package (Schuller et
al., the baseline of the Interspeech challenges since 2009): utterance statistics of hand-made descriptors,
standardised, a linear SVM. It needs the extra `egemaps`; openSMILE's licence is for research, not for products.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sottovoce.data.corpus import Corpus, Fold
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.metrics import scores
from sottovoce.pipeline import functionals

PENALTIES = tuple(10.0**k for k in range(-4, 1))  # C of the SVM, chosen on dev
DEFAULT_PENALTY = 1e-3  # where a fold has no labelled dev rows


def trivial(
    task: Task, train_target: np.ndarray, n_test: int, seed: int, *, draws: int | None = None
) -> dict[str, np.ndarray]:
    """Predictions for `n_test` rows from the training labels alone.

    One emotion of K:
        majority      always the most frequent training class (the first of equals)
        chance        a draw from the training distribution
        uniform       a draw from K equally likely classes
    Regression:
        zero          0, or the end of the range nearest to it
        train_median  of each column: the constant with the smallest MAE on the training rows
        train_mean    of each column

    A draw has noise of its own. With `draws`, chance and uniform have that many: (draws, n_test), seeds for
    `statistics.intervals`, which averages their scores. What they converge to needs no draw: the UA of all three
    is 1 / K, the WA of chance is the sum over classes of training share x test share, of uniform 1 / K.

    Args:
        train_target: (N,) class indices or (N, D) regression targets of the training part.
        draws: None = one draw, without the extra axis.

    Returns:
        name -> (n_test,), (draws, n_test) or (n_test, D).
    """
    train_target = np.asarray(train_target)
    if not len(train_target):
        raise ValueError("no training rows: a trivial baseline needs the training labels")
    if task.kind == "class":
        rng = np.random.default_rng(seed)
        count = np.bincount(train_target, minlength=task.outputs)
        size = n_test if draws is None else (draws, n_test)
        return {
            "majority": np.full(n_test, count.argmax()),
            "chance": rng.choice(task.outputs, size=size, p=count / count.sum()),
            "uniform": rng.integers(task.outputs, size=size),
        }
    low, high = np.array(task.ranges, dtype=np.float64).T
    rows = {
        "zero": np.clip(np.zeros(task.outputs), low, high),
        "train_median": np.median(train_target, axis=0),
        "train_mean": np.mean(train_target, axis=0),
    }
    return {name: np.tile(row, (n_test, 1)) for name, row in rows.items()}


def functionals_svm(
    corpus: Corpus,
    fold: Fold,
    task: Task,
    feature_set: str = "eGeMAPSv02",
    speaker_norm: bool = False,
    *,
    cache: Path | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """openSMILE functionals + linear SVM (a linear SVR for each number), trained on the fold's training part.

    Standardisation is fitted on train. C is the one of `PENALTIES` with the best UA (CCC) on dev, the smallest of
    equals. Classes are weighted to count alike, as UA does.

    Args:
        feature_set: one of `functionals.FEATURE_SETS`.
        speaker_norm: first standardise within each speaker, over all their utterances; test speakers' unlabelled
            audio is then seen as a whole, which a report has to say. Unknown speakers count as one.
        cache: see `functionals.by_opensmile`.

    Returns:
        (N,) class indices or (N, D) predictions within their ranges, for the ids of `fold.test` that carry the
        task's labels, in that order.

    Raises:
        InputError: openSMILE is not installed, the corpus is not audio, a file is broken, or the training part has
            one class only.
    """
    parts = [[u for i in ids if task.has(u := corpus.by_id[i])] for ids in fold.sides.values()]
    kept = {u.id for part in parts for u in part}
    # Normalising a speaker takes all their utterances, labelled or not.
    rows = [u for u in corpus.utterances if u.id in kept] if not speaker_norm else list(corpus.utterances)
    values = functionals.by_opensmile(corpus, rows, feature_set, cache=cache, jobs=jobs, quiet=quiet)
    if speaker_norm:
        values = functionals.normalise_by_group(values, [u.speaker for u in rows])
    index = {u.id: i for i, u in enumerate(rows)}
    x = [values[[index[u.id] for u in part]] for part in parts]
    y = [task.values(part) for part in parts[:2]]
    if not len(parts[0]) or (task.kind == "class" and len(np.unique(y[0])) < 2):
        raise InputError(
            f"{corpus.folder}: fold {fold.name} cannot train an SVM. Found {len(parts[0])} labelled training "
            f"utterances of {len(np.unique(y[0])) if task.kind == 'class' else 'any'} class. Two classes are needed."
        )
    return _svm(task, x[0], y[0], x[1], y[1], x[2])


def _svm(
    task: Task, train: np.ndarray, y: np.ndarray, dev: np.ndarray, y_dev: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Predictions (N_test[, D]); C by the dev score."""
    centre = np.nanmean(np.where(np.isfinite(train), train, np.nan), axis=0)
    train, dev, test = (np.where(np.isfinite(x), x, centre) for x in (train, dev, test))
    spread = train.std(0)
    spread[spread < 1e-9 * (1 + np.abs(centre))] = 1.0  # constant in training, whatever rounding left of it
    train, dev, test = ((x - centre) / spread for x in (train, dev, test))
    if train.shape[1] > len(train):  # 6373 functionals of 900 rows: 900 axes hold the same inner products
        axes = np.linalg.qr(train.T)[0]  # (F, N)
        train, dev, test = (x @ axes for x in (train, dev, test))
    name = scores.MAIN[task.kind]
    sign = 1 if scores.higher_is_better(name) else -1
    best, chosen = -np.inf, np.empty(0)
    for c in PENALTIES if len(dev) else (DEFAULT_PENALTY,):
        predict = _fit(task, train, y, c)
        score = sign * float(scores.scores(task, y_dev, predict(dev))[name]) if len(dev) else 0.0
        if score > best:
            best, chosen = score, predict(test)
    return chosen


def _fit(task: Task, x: np.ndarray, y: np.ndarray, c: float) -> Callable[[np.ndarray], np.ndarray]:
    """Rows (N, F) -> predictions (N[, D])."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC, LinearSVR

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a large C that does not converge loses on dev
        if task.kind == "class":
            model = LinearSVC(C=c, dual=len(x) <= x.shape[1], class_weight="balanced", random_state=0).fit(x, y)
            return lambda rows: model.predict(rows).astype(np.int64) if len(rows) else np.empty(0, dtype=np.int64)
        models = [LinearSVR(C=c, dual=True, random_state=0).fit(x, column) for column in y.T]
    low, high = np.array(task.ranges, dtype=np.float64).T

    def predict(rows: np.ndarray) -> np.ndarray:
        columns = [m.predict(rows) if len(rows) else np.empty(0) for m in models]
        return np.clip(np.stack(columns, axis=1), low, high)

    return predict
