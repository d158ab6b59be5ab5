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

from sottovoce.corpora import _cmu
from sottovoce.data.corpus import Kind

LICENCE = "research only (CMU-MOSI, features and labels as released by its authors)"
SOURCE = "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK"
TARGET = ("sentiment",)
KINDS: dict[str, Kind] = {"sentiment": "number", "split": "class"}
CLASSES: dict[str, tuple[str, ...]] = {"split": _cmu.SPLITS}
RANGES = {"sentiment": (-3.0, 3.0)}
TRACKS = ("covarep",)
LAYOUT = _cmu.Layout("mosi", {1: TARGET}, RANGES)

utterances, folds = LAYOUT.utterances, _cmu.folds
problems, read_track = LAYOUT.problems, LAYOUT.read_track
