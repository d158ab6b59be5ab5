"""Functionals of whole utterances, by openSMILE where it is installed or our own: what a linear SVM and StrengthNet's
ranking read."""

import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sottovoce import files
from sottovoce.data import archives, audio, contents, own
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError, say, unknown_name
from sottovoce.pipeline import workers
from sottovoce.pipeline.extract import track_store
from sottovoce.tracks import egemaps

FEATURE_SETS = ("eGeMAPSv02", "ComParE_2016")  # 88 and 6373 functionals
MANY = 100  # recordings whose measuring is announced


def has_opensmile() -> bool:
    return find_spec("opensmile") is not None


def kind_of(wanted: str) -> str:
    """ "auto" is openSMILE's set where openSMILE is installed, else our own."""
    return wanted if wanted != "auto" else "eGeMAPSv02" if has_opensmile() else "fbank"


def of_corpus(
    corpus: Corpus, kind: str, speaker_norm: bool = False, *, jobs: int | None = None, quiet: bool = False
) -> np.ndarray:
    """(N, F) of all utterances of a corpus.

    Args:
        kind: "eGeMAPSv02": 88 functionals by openSMILE, pitch and voice quality among them. "fbank": mean, deviation,
            20th and 80th percentile and mean change of 26 log-mel bands, 130 in all.
        speaker_norm: standardised within each speaker.
    """
    if kind == "fbank":
        store = track_store(corpus, "fbank", {"bins": 26}, jobs=jobs, quiet=quiet)
        missing = np.full(5 * store.dim, np.nan, np.float32)
        values = np.stack([spread_of(store[u.id]) if u.id in store else missing for u in corpus.utterances])
    else:
        values = by_opensmile(corpus, corpus.utterances, kind, jobs=jobs, quiet=quiet)
    if speaker_norm:
        values = normalise_by_group(values, [u.speaker or u.id for u in corpus.utterances])
    return values


def spread_of(frames: np.ndarray) -> np.ndarray:
    """(T, D) -> (5 D,) mean, deviation, 20th and 80th percentile, mean absolute change."""
    change = np.abs(np.diff(frames, axis=0)).mean(0) if len(frames) > 1 else np.zeros(frames.shape[1])
    return np.concatenate([frames.mean(0), frames.std(0), *np.percentile(frames, [20, 80], axis=0), change])


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


def by_opensmile(
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
