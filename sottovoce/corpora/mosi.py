"""CMU-MOSI: 2,199 segments of 93 opinion videos with sentiment from -3 to 3, as COVAREP features.

Source:   `.csd` files of the CMU Multimodal SDK (CMU_MOSI_COVAREP.csd, CMU_MOSI_Opinion_Labels.csd) or any mirror;
          files are recognised by root name and width. The five-column acoustic tables of old packages are a
          selection (columns 1, 3, 6, 25, 60) and are refused.
Licence:  released by its authors for research; the videos belong to their makers. Nothing is downloaded here.
Labels:   sentiment, mean over annotators, clamped to [-3, 3].
Folds:    the official lists go by video; see `corpora/mosei.py`, the SDK's file is `cmu_mosi_std_folds.py`.
Cite:     Zadeh, Zellers, Pincus & Morency, "Multimodal Sentiment Intensity Analysis in Videos: Facial Gestures and
          Verbal Messages", IEEE Intelligent Systems 31(6), 2016.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from sottovoce.corpora import _cmu
from sottovoce.data.corpus import Fold, Kind, Utterance

LICENCE = "research only (CMU-MOSI, features and labels as released by its authors)"
SOURCE = "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK"
TARGET = ("sentiment",)
KINDS: dict[str, Kind] = {"sentiment": "number", "split": "class"}
CLASSES: dict[str, tuple[str, ...]] = {"split": _cmu.SPLITS}
RANGES = {"sentiment": (-3.0, 3.0)}
TRACKS = ("covarep",)
LAYOUT = _cmu.Layout("mosi", {1: TARGET}, RANGES)


def utterances(
    root: Path,
    *,
    features: Annotated[Path | None, "the COVAREP .csd file"] = None,
    labels: Annotated[Path | None, "the label .csd file"] = None,
    folds_file: Annotated[Path | None, "which video is on which side"] = None,
) -> list[Utterance]:
    """Every labelled segment that has frames. Options and errors as in `corpora/mosei.py`."""
    return _cmu.segments(Path(root), LAYOUT, features, labels, folds_file).utterances


def folds(
    utterances: Sequence[Utterance], *, seed: Annotated[int, "of the split, where there is no official one"] = 0
) -> list[Fold]:
    """The standard fold, or one split by video drawn with `seed`."""
    return _cmu.folds(utterances, seed=seed)


problems, read_track = LAYOUT.problems, LAYOUT.read_track
