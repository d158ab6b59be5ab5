"""Functionals of whole utterances, by openSMILE where it is installed or our own: what StrengthNet's ranking reads."""

import numpy as np

from sottovoce.data.corpus import Corpus
from sottovoce.pipeline import baselines
from sottovoce.pipeline.extract import track_store


def kind_of(wanted: str) -> str:
    """ "auto" is openSMILE's set where openSMILE is installed, else our own."""
    return wanted if wanted != "auto" else "eGeMAPSv02" if baselines.has_opensmile() else "fbank"


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
        values = baselines.functionals(corpus, corpus.utterances, kind, jobs=jobs, quiet=quiet)
    if speaker_norm:
        values = baselines.normalise_by_group(values, [u.speaker or u.id for u in corpus.utterances])
    return values


def spread_of(frames: np.ndarray) -> np.ndarray:
    """(T, D) -> (5 D,) mean, deviation, 20th and 80th percentile, mean absolute change."""
    change = np.abs(np.diff(frames, axis=0)).mean(0) if len(frames) > 1 else np.zeros(frames.shape[1])
    return np.concatenate([frames.mean(0), frames.std(0), *np.percentile(frames, [20, 80], axis=0), change])
