"""Small corpora in the layouts of CMU-MOSEI, CMU-MOSI and MFN, made on the spot, with a planted answer.

In every segment one emotion is strong, and its intensity is the mean of the COVAREP column of that number:
"happy" in column 0 (F0), "sad" in column 1 ... so a model that learns anything does better than a constant.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sottovoce.data.csd import write_csd
from sottovoce.tracks.covarep import NAMES

EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
ORDER = ("sentiment", *EMOTIONS)
SEGMENT_S, PAUSE_S = 1.5, 0.4


def videos(n: int) -> list[str]:
    """Ids as on YouTube, some of which begin with a dash."""
    return [f"{'-' if k % 3 == 0 else ''}v{k:02d}_aB{k}" for k in range(n)]


def frame_clock(frames: int, rate_hz: float = 100.0) -> np.ndarray:
    """(n, 2) intervals [k/rate, (k+1)/rate)."""
    return np.arange(frames)[:, None] / rate_hz + np.array([0.0, 1.0]) / rate_hz


def segment_times(per_video: int) -> np.ndarray:
    """(per_video, 2) seconds, pauses between them."""
    starts = PAUSE_S + np.arange(per_video) * (SEGMENT_S + PAUSE_S)
    return np.stack([starts, starts + SEGMENT_S], axis=1)


def intensities(n_videos: int, per_video: int, seed: int = 0) -> np.ndarray:
    """(videos, per_video, 7) in the order of the columns; thirds, as means of three annotators are."""
    rng = np.random.default_rng(seed)
    values = np.zeros((n_videos, per_video, 7))
    strong = rng.integers(0, 6, (n_videos, per_video))
    level = rng.integers(1, 10, (n_videos, per_video)) / 3
    np.put_along_axis(values, 1 + strong[..., None], level[..., None], axis=2)
    values[..., 0] = rng.integers(-9, 10, (n_videos, per_video)) / 3
    return values


def frames(labels: np.ndarray, seed: int) -> np.ndarray:
    """(T, 74) float32 of one video whose segments have `labels` (k, 7)."""
    rng = np.random.default_rng(seed)
    times = segment_times(len(labels))
    values = rng.normal(0, 0.5, (round(float(times[-1, 1] + PAUSE_S) * 100), 74)).astype(np.float32)
    values += np.where(values == 0, np.float32(0.1), np.float32(0))
    for (start, end), row in zip(times, labels, strict=True):
        values[round(start * 100) : round(end * 100), :6] += row[1:].astype(np.float32)
    return values


def mosei(
    folder: Path,
    *,
    n_videos: int = 6,
    per_video: int = 3,
    seed: int = 0,
    order: tuple[str, ...] = ORDER,
    folds: bool = True,
    names: tuple[str, str] = ("CMU_MOSEI_COVAREP.csd", "CMU_MOSEI_Labels.csd"),
) -> Path:
    """`folder` with features, labels and the SDK's fold list (first videos train, last two valid and test)."""
    labels = intensities(n_videos, per_video, seed)
    ids = videos(n_videos)

    def features() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for k, video in enumerate(ids):
            values = frames(labels[k], seed * 1000 + k)
            yield video, values, frame_clock(len(values))

    folder.mkdir(parents=True, exist_ok=True)
    write_csd(folder / names[0], "COVAREP", features(), {"dimension names": list(NAMES)})
    rows = [(video, labels[k].astype(np.float32), segment_times(per_video)) for k, video in enumerate(ids)]
    write_csd(folder / names[1], "All Labels", rows, {"dimension names": list(order)})
    if folds:
        sides = {"train": ids[:-2], "valid": ids[-2:-1], "test": ids[-1:]}
        text = "\n\n".join(f"standard_{side}_fold={part!r}" for side, part in sides.items())
        (folder / "cmu_mosei_std_folds.py").write_text(text + "\n")
    return folder


def mosi(folder: Path, *, n_videos: int = 6, per_video: int = 3, seed: int = 0) -> Path:
    """The same with sentiment alone and without a fold list."""
    labels = intensities(n_videos, per_video, seed)
    rows = [(v, labels[k, :, :1].astype(np.float32), segment_times(per_video)) for k, v in enumerate(videos(n_videos))]
    voices = [(v, frames(labels[k], k)) for k, v in enumerate(videos(n_videos))]
    folder.mkdir(parents=True, exist_ok=True)
    write_csd(folder / "CMU_MOSI_COVAREP.csd", "COVAREP", ((v, x, frame_clock(len(x))) for v, x in voices), {})
    write_csd(folder / "CMU_MOSI_Opinion_Labels.csd", "Opinion Segment Labels", rows, {})
    return folder


def mfn(folder: Path, *, one_hot: bool = False, sizes: tuple[int, int, int] = (12, 4, 5), seed: int = 0) -> Path:
    """The six .h5 files of one part. The first example of every file is all zero, the others are padded in front."""
    import h5py

    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for word, n in zip(("train", "valid", "test"), sizes, strict=True):
        values = rng.normal(0, 1, (n, 20, 74))
        scores = rng.integers(2, 11, n) / 2
        values += scores[:, None, None] / 2
        for k in range(n):
            values[k, : min(k, 15)] = 0
        values[0] = 0
        values[-1, -3:] = 0
        target = np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)] if one_hot else scores
        for name, array in ((f"audio_{word}.h5", values), (f"y_{word}.h5", target)):
            with h5py.File(folder / name, "w") as out:
                out["d1"] = array
    return folder


def sparse(folder: Path, *, shuffled: bool = False, n_videos: int = 40, per_video: int = 5, seed: int = 0) -> Path:
    """MOSEI's layout and sparseness: an intensity is mostly 0, and 0.9 of it is added to the column of its number.

    `shuffled` deals the labels to other segments, of any video. The last third of the videos is tested, a sixth is dev.
    """
    rng = np.random.default_rng(seed)
    shape = (n_videos, per_video)
    values = np.zeros((*shape, 7))
    there = rng.random((*shape, 6)) < (0.5, 0.22, 0.2, 0.1, 0.15, 0.08)  # how many show each emotion in MOSEI
    values[..., 1:] = there * rng.choice([1, 1, 1, 2, 2, 3, 4, 6], (*shape, 6)) / 3
    values[..., 0] = rng.integers(-9, 10, shape) / 3
    told = rng.permutation(values.reshape(-1, 7)).reshape(values.shape) if shuffled else values
    ids, times = videos(n_videos), segment_times(per_video)
    folder.mkdir(parents=True, exist_ok=True)
    voices = [(v, frames(0.9 * values[k], seed * 1000 + k)) for k, v in enumerate(ids)]
    write_csd(
        folder / "CMU_MOSEI_COVAREP.csd", "COVAREP", ((v, x, frame_clock(len(x))) for v, x in voices),
        {"dimension names": list(NAMES)},
    )  # fmt: skip
    rows = [(v, told[k].astype(np.float32), times) for k, v in enumerate(ids)]
    write_csd(folder / "CMU_MOSEI_Labels.csd", "All Labels", rows, {"dimension names": list(ORDER)})
    test, dev = n_videos // 3, n_videos // 6
    sides = {"train": ids[: -test - dev], "valid": ids[-test - dev : -test], "test": ids[-test:]}
    text = "\n\n".join(f"standard_{side}_fold={part!r}" for side, part in sides.items())
    (folder / "cmu_mosei_std_folds.py").write_text(text + "\n")
    return folder
