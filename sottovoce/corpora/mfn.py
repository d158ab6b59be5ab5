"""MFN: ICT-MMMO and YouTube opinion videos as 20 word-aligned steps of 74 COVAREP features (.h5).

Source:   https://github.com/pliang279/MFN, folders `new_data/mmmo` and `new_data/youtube`. In each,
          `audio_{train,valid,test}.h5` (dataset d1, n x 20 x 74) and `y_{train,valid,test}.h5` (d1). DIR is one of
          the two folders, or the one that holds both, then `--part mmmo` or `--part youtube` says which.
Licence:  repository MIT; the opinion videos were released by their authors for research: treat as research only.
Size:     mmmo 220 / 40 / 80 examples; youtube 173 / 36 / 60, of which 191 in all hold nothing but zeros.
Labels:   mmmo: `sentiment` from 1 to 5. youtube: `sentiment_class`, one of three from a one-hot row, whose order is
          documented nowhere, hence class0, class1, class2; use it with `--target sentiment_class`.
Folds:    the official train / valid / test. Speakers are not given, so nobody can say whether one person is on both
          sides: the fold's group is "example", and the data report warns.
Clock:    a step is an average over a word or a segment and has no length in seconds. Tracks have a step rate, one
          step a "second", and `start` and `end` of an utterance are steps.
Cite:     Zadeh, Liang, Mazumder, Poria, Cambria & Morency, "Memory Fusion Network for Multi-view Sequential
          Learning", AAAI 2018; Wollmer et al., "YouTube Movie Reviews", IEEE Intelligent Systems 28(3), 2013 (mmmo);
          Morency, Mihalcea & Doshi, "Towards Multimodal Sentiment Analysis", ICMI 2011 (youtube).

Examples are padded with zero steps at either end, which are cut off; examples of zeros only are dropped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from sottovoce.data.corpus import Fold, Utterance
from sottovoce.data.track import Track
from sottovoce.errors import InputError, check_names
from sottovoce.tracks import covarep

LICENCE = "research only (features from an MIT repository, opinion videos released for research)"
SOURCE = "https://github.com/pliang279/MFN"
TARGET = ("sentiment",)
CLASSES: dict[str, tuple[str, ...]] = {"sentiment_class": ("class0", "class1", "class2")}
RANGES = {"sentiment": (1.0, 5.0)}
TRACKS = ("covarep",)
PARTS = ("mmmo", "youtube")
FILES = {"train": "train", "dev": "valid", "test": "test"}  # split -> word in the file names
STEP_HZ = 1.0
RESTORE = "Restore the published file."


def utterances(root: Path, *, part: Annotated[str, "mmmo or youtube, where DIR holds both"] = "") -> list[Utterance]:
    """Every example that holds something; `root` is a folder with `audio_train.h5` and its five siblings, or above it.

    Raises InputError: missing or unreadable files, a wrong width, examples and labels of different number.
    """
    return _scan(Path(root), part)[0]


def folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """The official split, told by the file an example comes from."""
    sides = {split: tuple(u.id for u in utterances if f"audio_{word}.h5#" in u.path) for split, word in FILES.items()}
    return [Fold("official", "example", **sides)]


def problems(root: Path, utterances: Sequence[Utterance], *, part: str = "") -> list[str]:
    """What the data report should say."""
    if not part and utterances:
        part = utterances[0].path.rpartition("/")[0]  # "" when `root` is the part itself
    return _scan(Path(root), part)[1]


def read_track(root: Path, utterances: Sequence[Utterance], name: str) -> Iterator[tuple[str, Track]]:
    """(id, track (T, 74), one step a "second", finite) of every utterance, one file after the other.

    Raises InputError: another track than "covarep", or a file that has changed since.
    """
    check_names("track of mfn", [name], TRACKS)
    by_file: dict[str, list[Utterance]] = {}
    for u in utterances:
        by_file.setdefault(u.path.rpartition("#")[0], []).append(u)
    for file, examples in by_file.items():
        values = _audio(Path(root) / file)
        for u in examples:
            row = int(u.path.rpartition("#")[2])
            if row >= len(values):
                raise InputError(f"{Path(root) / file}: no example {row}. Found {len(values)}. {RESTORE}")
            steps = values[row, int(u.start) : None if u.end is None else int(u.end)]
            yield u.id, Track(covarep.clean(steps)[0], STEP_HZ)


def _scan(root: Path, part: str) -> tuple[list[Utterance], list[str]]:
    folder, part = _folder(root, part)
    found: list[Utterance] = []
    empty = infinite = total = clamped = 0
    for split, word in FILES.items():
        path = folder / f"audio_{word}.h5"
        values, target = _audio(path), _dataset(folder / f"y_{word}.h5")
        if len(values) != len(target):
            raise InputError(
                f"{folder / f'y_{word}.h5'}: labels do not match {path.name}. Found {len(target)} labels and "
                f"{len(values)} examples. {RESTORE}"
            )
        labels = _labels(folder / f"y_{word}.h5", target)
        infinite += int((~np.isfinite(values)).any(axis=2).sum())
        for k, (example, label) in enumerate(zip(values, labels, strict=True)):
            total += 1
            filled = np.flatnonzero(covarep.clean(example)[1])
            if not len(filled):
                empty += 1
                continue
            score = label.get("sentiment")
            if isinstance(score, float):
                low, high = RANGES["sentiment"]
                clamped += not low <= score <= high
                label["sentiment"] = min(max(score, low), high)
            place = f"{path.relative_to(root)}#{k}"
            start, end = float(filled[0]), float(filled[-1] + 1)
            found.append(Utterance(f"{part}_{split}_{k:03d}", "mfn", place, start, end, labels=label))
    if not found:
        raise InputError(f"{folder}: no example with features. Found {total}, all of them zero. {RESTORE}")
    notes = ["speakers are not given: one person may be in training and in test (fold group: example)"]
    if empty:
        notes.append(f"{empty} of {total} examples hold nothing but zeros, dropped")
    if infinite:
        notes.append(f"{infinite} steps with values that are not finite, set to 0")
    if clamped:
        notes.append(f"{clamped} values of sentiment outside [1, 5], clamped")
    return found, notes


def _folder(root: Path, part: str) -> tuple[Path, str]:
    """The folder with the six files, and which part it is."""
    check_names("part of mfn", filter(None, [part]), PARTS)
    if (root / "audio_train.h5").is_file():
        return root, part or (root.resolve().name if root.resolve().name in PARTS else "mfn")
    there = [name for name in PARTS if (root / name / "audio_train.h5").is_file()]
    if part in there or (not part and len(there) == 1):
        return root / (part or there[0]), part or there[0]
    if there and not part:
        raise InputError(
            f"{root}: two corpora. Found {' and '.join(there)}. Choose with --part mmmo or --part youtube."
        )
    raise InputError(
        f"{root}: no audio_train.h5{f' of {part}' if part else ''}. Found {', '.join(there) or 'neither part'}. "
        "Name the folder mmmo or youtube of the MFN data, or the one above."
    )


def _audio(path: Path) -> np.ndarray:
    """(n, steps, 74) float64."""
    values = _dataset(path)
    if values.ndim != 3 or values.shape[2] != covarep.DIM:
        raise InputError(
            f"{path}: wrong feature width. Found an array of {' x '.join(map(str, values.shape))}, expected "
            f"n x 20 x {covarep.DIM}. {RESTORE}"
        )
    return values


def _labels(path: Path, target: np.ndarray) -> list[dict[str, Any]]:
    """One score (n,) or one-hot rows (n, 3)."""
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if not np.isfinite(target).all():
        raise InputError(f"{path}: labels that are not finite. Found {int((~np.isfinite(target)).sum())}. {RESTORE}")
    if target.ndim == 1:
        return [{"sentiment": float(score)} for score in target]
    if target.ndim == 2 and target.shape[1] == 3:
        if not (np.isin(target, (0, 1)).all() and (target.sum(axis=1) == 1).all()):
            raise InputError(f"{path}: rows that are not one-hot. Found {target.sum(axis=1).max():g} marks. {RESTORE}")
        return [{"sentiment_class": CLASSES["sentiment_class"][k]} for k in target.argmax(axis=1)]
    shape = " x ".join(map(str, target.shape))
    raise InputError(f"{path}: not labels. Found an array of {shape}, expected n scores or n x 3 one-hot. {RESTORE}")


def _dataset(path: Path) -> np.ndarray:
    import h5py

    if not path.is_file():
        raise InputError(f"{path}: no such file. An MFN folder has audio_ and y_ for train, valid and test.")
    try:
        with h5py.File(path, "r") as file:
            if "d1" not in file:
                raise InputError(f"{path}: no dataset d1. Found {', '.join(file) or 'nothing'}. {RESTORE}")
            return np.asarray(file["d1"][()], dtype=np.float64)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable HDF5 file. {line}. {RESTORE}") from None
