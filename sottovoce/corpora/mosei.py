"""CMU-MOSEI: 23,259 opinion segments, six emotion intensities and sentiment, COVAREP features.

Source:   `.csd` files of the CMU Multimodal SDK (CMU_MOSEI_COVAREP.csd, CMU_MOSEI_Labels.csd) or any mirror; files
          are recognised by root name and width. Audio is not needed.
Licence:  released by its authors for research; the videos belong to their makers. Nothing is downloaded here.
Size:     3,837 videos meant, 49 h of labelled segments; the standard fold holds 16,327 / 1,871 / 4,662 segments.
Labels:   happy, sad, anger, surprise, disgust, fear in [0, 3] and sentiment in [-3, 3], means over annotators,
          several at once; present means above 0. The order of the columns is asserted from the metadata (published
          tables use several). A few rows exceed the range (more annotators than meant) and are clamped, as the
          maintainer advises (CMU-MultimodalSDK issues 101, 218).
Folds:    the official lists go by video. Put the SDK's `cmu_mosei_std_folds.py` next to the data, or give
          `--folds-file` (CSV or JSON with video and split); without it one seeded split by video is made, which is
          not comparable with published numbers, and the report says so. There are no speaker ids: a speaker
          is a video, so one person may speak on both sides.
Cite:     Zadeh, Liang, Poria, Cambria & Morency, "Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and
          Interpretable Dynamic Fusion Graph", ACL 2018.
"""

from sottovoce.corpora import _cmu
from sottovoce.data.corpus import Kind

LICENCE = "research only (CMU-MOSEI, features and labels as released by its authors)"
SOURCE = "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK"
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
TARGET = EMOTIONS
KINDS: dict[str, Kind] = {"sentiment": "number", **dict.fromkeys(EMOTIONS, "number"), "split": "class"}
CLASSES: dict[str, tuple[str, ...]] = {"split": _cmu.SPLITS}
RANGES = {"sentiment": (-3.0, 3.0), **dict.fromkeys(EMOTIONS, (0.0, 3.0))}
TRACKS = ("covarep",)
LAYOUT = _cmu.Layout("mosei", {7: ("sentiment", *EMOTIONS), 6: EMOTIONS}, RANGES)

utterances, folds = LAYOUT.utterances, _cmu.folds
problems, read_track = LAYOUT.problems, LAYOUT.read_track
