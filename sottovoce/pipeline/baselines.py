"""What a model has to beat: predictions that do not listen, and openSMILE functionals with a linear SVM.

`trivial` knows the training labels only. `functionals_svm` is what one would do without this package (Schuller et
al., the baseline of the Interspeech challenges since 2009): utterance statistics of hand-made descriptors,
standardised, a linear SVM. It needs the extra `egemaps`; openSMILE's licence is for research, not for products.
"""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sottovoce import files
from sottovoce.data import archives, audio, contents, own
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.data.progress import Bar
from sottovoce.data.task import Task
from sottovoce.errors import InputError, say, unknown_name
from sottovoce.metrics import scores
from sottovoce.pipeline import workers
from sottovoce.tracks import egemaps

FEATURE_SETS = ("eGeMAPSv02", "ComParE_2016")  # 88 and 6373 functionals
PENALTIES = tuple(10.0**k for k in range(-4, 1))  # C of the SVM, chosen on dev
MANY = 100  # recordings whose measuring is announced
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


def has_opensmile() -> bool:
    return importlib.util.find_spec("opensmile") is not None


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
        feature_set: one of `FEATURE_SETS`.
        speaker_norm: first standardise within each speaker, over all their utterances; test speakers' unlabelled
            audio is then seen as a whole, which a report has to say. Unknown speakers count as one.
        cache: see `functionals`.

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
    values = functionals(corpus, rows, feature_set, cache=cache, jobs=jobs, quiet=quiet)
    if speaker_norm:
        values = normalise_by_group(values, [u.speaker for u in rows])
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


def normalise_by_group(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(N, F) with mean 0 and standard deviation 1 in every group and column; constants become 0."""
    result = np.empty_like(values, dtype=np.float64)
    names = np.asarray(groups)
    for name in np.unique(names):
        mine = np.flatnonzero(names == name)
        rows = np.where(np.isfinite(values[mine]), values[mine], np.nan).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column that is never finite stays NaN
            centre, spread = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        spread[spread < 1e-9 * (1 + np.abs(centre))] = 1.0
        result[mine] = (rows - centre) / spread
    return result


# ------------------------------------------------------------------------------------- openSMILE functionals


def functionals(
    corpus: Corpus,
    utterances: Sequence[Utterance],
    feature_set: str = "eGeMAPSv02",
    *,
    cache: Path | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """(N, F) float32 functionals of the utterances, in their order.

    Kept in <cache>/<feature_set>.npz, `cache` being by default <corpus folder>/functionals. A row is used again only
    while its audio file (by content), its start and end, and openSMILE's version are the same; what is missing is
    computed in `jobs` processes (default: all cores), and an interruption keeps what was done.

    Raises:
        InputError: unknown feature set, openSMILE not installed, broken or missing audio.
    """
    if feature_set not in FEATURE_SETS:
        raise unknown_name("feature set", feature_set, FEATURE_SETS)
    if not has_opensmile():
        raise InputError(
            "opensmile: not installed. The functionals baseline needs it. "
            "Run `pip install 'sottovoce[egemaps]'` (research licence, not for products)."
        )
    for u in utterances:
        if "#" in u.path and not archives.is_file(corpus.root / u.path):
            raise InputError(f"{u.path}: not audio. Found encoded features. Leave this baseline out.")
    path = (cache or corpus.folder / "functionals") / f"{feature_set}.npz"
    keys = _keys(corpus, utterances)
    known = _load(path)
    if missing := set(keys) - set(known):  # what another folder prepared of the same recordings has measured
        for other in sorted(corpus.folder.resolve().parent.glob(f"*/functionals/{feature_set}.npz")):
            if other != path.resolve():
                known |= {key: row for key, row in _load(other).items() if key in missing}
    todo = [(key, u) for key, u in zip(keys, utterances, strict=True) if key not in known]
    if todo:
        try:
            _compute(corpus, todo, feature_set, known, jobs or workers.cores(), quiet)
        finally:
            if known:
                _save(path, known)
    if not keys:
        return np.empty((0, 0), dtype=np.float32)
    return np.stack([known[key] for key in keys])


def _keys(corpus: Corpus, utterances: Sequence[Utterance]) -> list[str]:
    """What a row depends on, as a short hash."""
    from importlib.metadata import version

    made_by = version("opensmile")
    content: dict[str, str] = {}
    for u in utterances:
        if u.path not in content:
            try:
                content[u.path] = contents.of_file(corpus.root / u.path)
            except OSError as error:
                raise InputError(
                    f"{corpus.root / u.path}: cannot be read. {error.strerror or error}. "
                    "Run `sottovoce prepare` again if the corpus moved."
                ) from None
    return [files.digest([content[u.path], u.start, u.end, made_by]) for u in utterances]


def _compute(
    corpus: Corpus,
    todo: list[tuple[str, Utterance]],
    feature_set: str,
    known: dict[str, np.ndarray],
    jobs: int,
    quiet: bool,
) -> None:
    """Fill `known` with the rows to do."""
    work = partial(_vector, feature_set)
    segments = [(str(corpus.root / u.path), u.start, u.end) for _, u in todo]
    if len(todo) >= MANY and not quiet:
        say(
            f"openSMILE measures {len(todo)} recordings, an hour of speech in about {2 / jobs:.0f} min, once for all "
            "folders prepared of them. --no-opensmile leaves it out.",
            err=True,
        )
    with Bar(len(todo), f"{feature_set} functionals", quiet=quiet) as bar:
        rows = workers.map(
            work, segments, 1 if len(todo) < 16 else jobs, chunk=4, where=corpus.folder, needs=[corpus.root]
        )
        for (key, _), vector in zip(todo, rows, strict=True):
            known[key] = vector
            bar.advance()


def _vector(feature_set: str, segment: tuple[str, float, float | None]) -> np.ndarray:
    _, vector = egemaps.functionals(audio.read(*segment), feature_set)
    return np.asarray(vector, dtype=np.float32)


def _load(path: Path) -> dict[str, np.ndarray]:
    """key -> (F,); empty when there is no cache or it is damaged: it can be made again."""
    try:
        stored = own.read_arrays(path)
        return dict(zip(stored["keys"].tolist(), stored["values"], strict=True))
    except (InputError, KeyError, ValueError):
        return {}


def _save(path: Path, known: dict[str, np.ndarray]) -> None:
    with files.atomic(path) as temporary, open(temporary, "wb") as out:
        np.savez(out, keys=np.array(list(known)), values=np.stack(list(known.values())))
