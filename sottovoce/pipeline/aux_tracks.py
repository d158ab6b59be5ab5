"""The auxiliary tracks an objective needs: found, opened and checked before anything is trained.

An intensity to mask by is made from the recordings (`energy`, `random`) or by a trained model (`intensity`), which
must not have seen the people a fold is tested on. Its values are checked here, their frame rate
in `data.Steps`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sottovoce.config.masking import Policy
from sottovoce.data import folds
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.store import TrackStore
from sottovoce.errors import InputError
from sottovoce.pipeline.extract import find_model_store, track_store
from sottovoce.tracks import base as tracks

AuxTracks = dict[str, tuple[list[TrackStore], str]]


def find(
    config: Any,
    corpora: Sequence[Corpus],
    fold: str,
    *,
    transductive: bool = False,
    jobs: int | None = None,
    quiet: bool = False,
) -> AuxTracks:
    """The stores of what an objective's `config.needs`, one a corpus, as `Steps` takes them.

    Tracks that are made from recordings are extracted if need be; one that a model makes has to be there.

    Raises:
        InputError: an unknown track, none extracted, or one whose model has seen test people of the fold (unless
            `transductive`).
    """
    found: AuxTracks = {}
    for name, (track, align) in config.needs.items():
        maker, stores = tracks.maker(track.partition("-")[0]), []
        for corpus in corpora:
            if not maker.OBJECTIVE:
                stores.append(track_store(corpus, track, jobs=jobs, quiet=quiet))
                continue
            try:
                stores.append(find_model_store(corpus, track, corpora=corpora, fold=fold, transductive=transductive))
            except InputError as error:
                raise InputError(f"{error} Or choose another with --set objective.{name}=energy.") from None
        found[name] = stores, align
    return found


def seen(aux: AuxTracks) -> folds.Seen:
    """Whom the models behind the tracks have seen."""
    found = folds.Seen()
    for stores, _ in aux.values():
        for store in stores:
            found |= folds.seen_behind(store)
    return found


def check(config: Any, steps: Steps, dev: Steps | None = None, crop: int = 0) -> list[str]:
    """What a person should know about masking a training part with an objective's settings.

    Args:
        dev: what is looked at after every epoch.
        crop: most steps of an utterance that are trained on at a time; 0 = all.

    Raises:
        InputError: no utterance has room for a span, intensities that are not finite, or constant in every utterance.
    """
    config.check(min(int(steps.lengths.max()), crop or int(steps.lengths.max())))
    remarks = []
    short = int((steps.lengths <= config.span).sum()) if isinstance(config, Policy) and config.span > 1 else 0
    if short:
        remarks.append(
            f"{short} of {len(steps)} utterances are no longer than a span of {config.span} steps: less of them is "
            "masked, or nothing."
        )
    if "intensity" in steps.aux:
        flat = [_flat(part, config.intensity) for part in (steps, dev) if part is not None]
        constant = sum(flat[0])
        if constant == len(steps):
            raise InputError(
                f"{config.intensity}: no frame is stronger than another. Found constant intensities in all {constant} "
                "utterances. Extract it from a better model, or choose another with --set objective.intensity=energy."
            )
        if constant:
            remarks.append(
                f"{constant} of {len(steps)} utterances have a constant {config.intensity}, which prefers no frame."
            )
    return remarks


def _flat(steps: Steps, track: str) -> list[bool]:
    """Of every utterance whether no frame is stronger than another. Raises InputError where values are not finite."""
    flat = []
    for u, store in zip(steps.utterances, steps.aux["intensity"][0], strict=True):
        values = store[u.id]
        if bad := int((~np.isfinite(values)).sum()):
            raise InputError(
                f"{u.corpus}: the {track} of utterance {u.id!r} is not finite. Found {bad} of {values.size} values NaN "
                "or infinite. Extract it again with --overwrite."
            )
        flat.append(bool(values.min() == values.max()))
    return flat
