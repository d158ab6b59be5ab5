"""What CMU-MOSEI and CMU-MOSI have in common: COVAREP and labels as `.csd` files, segments of videos, fold lists.

A segment is a row of the label file: `<video>[k]`, from its interval. Its frames are the rows of the feature file
whose interval has its centre in [start, end). The frame rate of a track is exact: rows are sorted by time and put on a
grid of 10 ms, missing segments are all-zero frames (never scored), and a file whose rows do not come at 100 Hz
(within 2 %) is refused. Word-aligned files have no frame rate: their rows are steps, one a "second".
"""

import ast
import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np

from sottovoce import files
from sottovoce.data import csd
from sottovoce.data.corpus import Fold, Utterance
from sottovoce.data.track import Track
from sottovoce.errors import InputError, check_names
from sottovoce.tracks import covarep

STEP_HZ = 1.0  # frame rate of word-aligned rows, one word a "second"
RATE_SLACK = 0.02  # share of 100 Hz by which a file may be off
SPLITS = ("train", "dev", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "0"), "train"),
    **dict.fromkeys(("dev", "valid", "val", "validation", "development", "1"), "dev"),
    **dict.fromkeys(("test", "testing", "2"), "test"),
    **dict.fromkeys(("", "none", "3"), ""),  # in no fold
}
SAME_WORD = {"happiness": "happy", "sadness": "sad", "angry": "anger", "surprised": "surprise", "disgusted": "disgust"}


@dataclass(frozen=True)
class Layout:
    """How one corpus differs from the other, and what a reader offers."""

    corpus: str
    columns: dict[int, tuple[str, ...]]  # label order, by width of the label file; the first is preferred
    ranges: Mapping[str, tuple[float, float]]  # every label is clamped to its own

    def utterances(
        self,
        root: Path,
        *,
        features: Annotated[Path | None, "the COVAREP .csd file"] = None,
        labels: Annotated[Path | None, "the label .csd file"] = None,
        folds_file: Annotated[Path | None, "which video is on which side"] = None,
    ) -> list[Utterance]:
        """Every labelled segment that has frames. Raises InputError as `segments`.

        Args:
            root: folder with the `.csd` files, at any depth.
            features, labels: where root name and width do not tell which they are.
            folds_file: see `read_folds`.
        """
        return segments(Path(root), self, features, labels, folds_file).utterances

    def problems(
        self,
        root: Path,
        utterances: Sequence[Utterance],
        *,
        features: Path | None = None,
        labels: Path | None = None,
        folds_file: Path | None = None,
    ) -> list[str]:
        """What the data report should say: dropped segments, clamped labels, frames that are not finite, folds.

        The options are those that `utterances` had. All features of the videos are read once.
        """
        root = Path(root)
        if features is None and utterances:
            features = root / utterances[0].path.rpartition("#")[0]
        found = segments(root, self, features, labels, folds_file)
        total, counts = 0, {"-inf": 0, "+inf": 0, "NaN": 0, "nothing but zeros": 0}
        with csd.read_csd(found.features) as track:
            for video in dict.fromkeys(u.session for u in utterances):
                values, _ = track.video(video)
                total += len(values)
                counts["nothing but zeros"] += int((~values.any(axis=1)).sum())
                if not np.isfinite(values).all():
                    counts["-inf"] += int(np.isneginf(values).any(axis=1).sum())
                    counts["+inf"] += int(np.isposinf(values).any(axis=1).sum())
                    counts["NaN"] += int(np.isnan(values).any(axis=1).sum())
        lines = [f"{n} of {total} frames with {what}" for what, n in counts.items() if n]
        return [line + ("" if "zeros" in line else ", set to 0") for line in lines] + found.notes

    def read_track(self, root: Path, utterances: Sequence[Utterance], name: str) -> Iterator[tuple[str, Track]]:
        """(id, track) of every utterance, one video in memory at a time; ordered by first mention of the video.

        Tracks are values (T, 74) float32, finite, at 100 Hz. `offset_s` is half a frame for all of them, so true
        frame centres are at most 5 ms away. Word-aligned files: rate 1, offset 0.

        Raises InputError: another track than "covarep", a file that has changed since, a segment without frames.
        """
        check_names(f"track of {self.corpus}", [name], ["covarep"])
        by_file: dict[str, dict[str, list[Utterance]]] = {}
        for u in utterances:
            file, _, video = u.path.rpartition("#")
            by_file.setdefault(file, {}).setdefault(video, []).append(u)
        for file, videos in by_file.items():
            with csd.read_csd(Path(root) / file) as track:
                _check_columns(track, [])
                steps = _is_step_clock(track)
                for video, spoken in videos.items():
                    order, centres = _clock(track, video, steps)
                    values = track.video(video)[0][order]
                    for u in spoken:
                        end = np.inf if u.end is None else u.end
                        first, last = _inside(centres, u.start, end)
                        if last <= first:
                            raise InputError(
                                f"{track.path}: no frames for {u.id}. Found {len(centres)} frames in the video, none "
                                f"in [{u.start}, {end}) s. Run `sottovoce prepare` again."
                            )
                        kept = covarep.clean(values[first:last])[0]
                        if steps:
                            yield u.id, Track(kept, STEP_HZ)
                        else:
                            grid = on_grid(kept, centres[first:last], u.start)
                            yield u.id, Track(grid, covarep.RATE_HZ, 0.5 / covarep.RATE_HZ)


@dataclass
class Segments:
    """The utterances of a corpus and what was noticed on the way."""

    utterances: list[Utterance]
    features: Path
    notes: list[str] = field(default_factory=list)


def segments(
    root: Path, layout: Layout, features: Path | None, labels: Path | None, folds_file: Path | None
) -> Segments:
    """Every labelled segment that has frames. Labels are clamped; a split goes into the label `split`.

    Raises InputError: no features or labels, more than one candidate, a wrong label order, a wrong width, features and
    intervals of different length, a frame rate that is neither 100 Hz nor word-aligned, a bad folds file.
    """
    features, labels = _locate(root, layout, features, labels)
    found = Segments([], features)
    clamped: Counter[str] = Counter()
    unlabelled, no_video, no_frames, partly, no_split, early = 0, [], [], [], 0, 0
    folds_file, split = _splits(root, layout.corpus, folds_file)
    where = features.relative_to(root) if features.is_relative_to(root) else features.resolve()
    with csd.read_csd(features) as track, csd.read_csd(labels) as target:
        _check_columns(track, found.notes)
        names = _label_names(target, layout, found.notes)
        steps = _is_step_clock(track)
        if steps:
            found.notes.append(f"{features.name}: aligned to words, so rows are steps and not 10 ms frames")
        if split and not any(video in split for video in target.videos):
            raise InputError(
                f"{folds_file}: no video of this corpus in it. Found {next(iter(split))!r}, the labels have "
                f"{target.videos[0]!r}. Name the fold list of {layout.corpus} with --folds-file."
            )
        for video in target.videos:
            values, intervals = target.video(video)
            if values.shape[1] != len(names):
                raise InputError(
                    f"{labels}: entry {video!r} has {values.shape[1]} columns, not {len(names)}. {csd.DAMAGED}"
                )
            if video not in track:
                no_video.append(video)
                continue
            centres = _clock(track, video, steps)[1]
            for k, (row, (start, end)) in enumerate(zip(values, intervals.tolist(), strict=True)):
                name = f"{video}[{k}]"
                if start < 0:  # published first segments begin up to half a second before their video
                    start, early = 0.0, early + 1
                first, last = _inside(centres, start, end)
                if last <= first:
                    no_frames.append(name)
                    continue
                if not steps and last - first < 0.5 * covarep.RATE_HZ * (end - start):
                    partly.append(name)
                known = {label: value for label, value in zip(names, row.tolist(), strict=True) if np.isfinite(value)}
                unlabelled += len(names) - len(known)
                marks: dict[str, str | float] = {}
                for label, value in known.items():
                    low, high = layout.ranges[label]
                    clamped[label] += not low <= value <= high
                    marks[label] = min(max(value, low), high)
                if split.get(video):
                    marks["split"] = split[video]
                elif split:
                    no_split += 1
                path = f"{where}#{video}"
                found.utterances.append(Utterance(name, layout.corpus, path, start, end, video, video, "", marks))
    if not found.utterances:
        raise InputError(
            f"{labels}: no segment has frames in {features.name}. Found {len(no_video)} videos without features and "
            f"{len(no_frames)} segments without frames. Give the features and the labels of the same corpus."
        )
    bounds = {label: "[{:g}, {:g}]".format(*layout.ranges[label]) for label in +clamped}
    found.notes += [f"{clamped[label]} values of {label} outside {span}, clamped" for label, span in bounds.items()]
    said = [
        (early, f"{early} segments begin before 0 s, cut there"),
        (unlabelled, f"{unlabelled} labels are not finite and were left out"),
        (no_video, f"{len(no_video)} videos without features, dropped: {_some(no_video)}"),
        (no_frames, f"{len(no_frames)} segments without frames, dropped: {_some(no_frames)}"),
        (partly, f"{len(partly)} segments with frames for less than half of their time, kept: {_some(partly)}"),
    ]
    found.notes += [line for any_of_it, line in said if any_of_it]
    none = (
        "no standard fold list found: the fold is a seeded split by video, not the official one. Put "
        f"cmu_{layout.corpus}_std_folds.py next to the data, or name a list with --folds-file"
    )
    found.notes.append(f"fold list {folds_file}: {no_split} segments are in none" if split else none)
    return found


def on_grid(values: np.ndarray, centres: np.ndarray, start_s: float) -> np.ndarray:
    """Rows at exactly 100 Hz from `start_s` on: the nearest row, or zeros where there is none.

    Args:
        values: (n, D) rows of one segment, in order of time.
        centres: (n,) seconds of each, rising.
        start_s: begin of the segment; no row lies before it.

    Returns:
        (T, D): cell 0 holds [start_s, start_s + 10 ms), the last cell holds the last row.
    """
    first = int(np.floor((centres[0] - start_s) * covarep.RATE_HZ + 1e-6))
    last = first + int(np.rint((centres[-1] - centres[0]) * covarep.RATE_HZ))
    cells = centres[0] + np.arange(-first, last - first + 1) / covarep.RATE_HZ
    if len(cells) == len(values) and np.abs(cells - centres).max() < 0.25 / covarep.RATE_HZ:
        return values
    row = np.searchsorted((centres[1:] + centres[:-1]) / 2, cells)
    grid = values[row]
    grid[np.abs(centres[row] - cells) > 0.75 / covarep.RATE_HZ] = 0.0
    return grid


def folds(
    utterances: Sequence[Utterance], *, seed: Annotated[int, "of the split, where there is no official one"] = 0
) -> list[Fold]:
    """The standard fold where the utterances carry a split, else 70/10/20 % of the videos drawn with `seed`.

    Raises InputError: a part of the split is empty, or fewer than three videos.
    """
    side = {u.id: str(u.labels.get("split", "")) for u in utterances}
    standard = any(side.values())
    if not standard:
        videos = sorted({u.session for u in utterances})
        drawn = [videos[k] for k in np.random.default_rng(seed).permutation(len(videos))]
        test, dev = max(round(0.2 * len(drawn)), 1), max(round(0.1 * len(drawn)), 1)
        part = {v: "test" if k < test else "dev" if k < test + dev else "train" for k, v in enumerate(drawn)}
        side = {u.id: part[u.session] for u in utterances}
    count = {split: list(side.values()).count(split) for split in SPLITS}
    if empty := [split for split, n in count.items() if not n]:
        raise InputError(
            f"{utterances[0].corpus if utterances else 'corpus'}: no video in {', '.join(empty)}. Found "
            f"{', '.join(f'{split} {n}' for split, n in count.items())} segments. "
            "Give at least three videos, or a complete list with --folds-file."
        )
    return [Fold.of("standard" if standard else f"seed{seed}", "video", side)]


def read_folds(path: Path) -> dict[str, str]:
    """{video: "train" | "dev" | "test" | ""} from a fold list.

    `.py`: the SDK's `cmu_*_std_folds.py`, lists of ids whose names hold train, valid or test (parsed, never run).
    `.json`: {"train": [ids], ...} or {id: split}. Anything else is CSV with a column for the video and one for the
    split (train, valid, test, or 0, 1, 2; 3 is in none).

    Raises InputError: unreadable, a missing column, an unknown split, or a video on two sides.
    """
    pairs: list[tuple[str, str]] = []
    if not path.is_file():
        raise InputError(f"{path}: no such file. Name the fold list with --folds-file.")
    try:
        if path.suffix == ".py":
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    name = node.targets[0].id.lower()
                    kind = next((s for s in ("train", "valid", "dev", "test") if s in name), None)
                    if kind and isinstance(node.value, (ast.List, ast.Tuple, ast.Set)):
                        pairs += [(str(video), kind) for video in ast.literal_eval(node.value)]
        elif path.suffix == ".json":
            table = files.read_json(path)
            if not isinstance(table, dict):
                raise InputError(f"{path}: not a fold list. Found a JSON {type(table).__name__}, expected an object.")
            for key, value in table.items():
                pairs += [(str(v), key) for v in value] if isinstance(value, list) else [(key, str(value))]
        else:
            with open(path, newline="", encoding="utf-8-sig") as lines:
                rows = csv.DictReader(lines)
                heads = [head.strip().lower() for head in rows.fieldnames or []]
                rows.fieldnames = heads
                video = next((h for h in ("video", "video_id", "file", "id", "name") if h in heads), None)
                split = next((h for h in ("split", "fold", "partition", "set") if h in heads), None)
                if video is None or split is None:
                    raise InputError(
                        f"{path}: no column {'video' if video is None else 'split'}. "
                        f"Found: {', '.join(heads) or 'nothing'}. Name the columns video and split."
                    )
                pairs = [(row[video].strip(), row[split].strip()) for row in rows]
    except (SyntaxError, ValueError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable fold list. {line}. Give CSV, JSON or the SDK's .py.") from None
    sides: dict[str, str] = {}
    for key, word in pairs:
        if word.lower() not in SPLIT_WORDS:
            raise InputError(f"{path}: unknown split {word!r} of {key!r}. Use train, valid or test.")
        side = SPLIT_WORDS[word.lower()]
        if sides.setdefault(key, side) != side:
            raise InputError(f"{path}: video {key!r} is in {sides[key] or 'none'} and in {side or 'none'}. Keep one.")
    if not any(sides.values()):
        raise InputError(f"{path}: no video in any fold. Found {len(sides)} ids. Give CSV, JSON or the SDK's .py.")
    return sides


def _splits(root: Path, corpus: str, given: Path | None) -> tuple[Path | None, dict[str, str]]:
    """The fold list named, else the first found: any usual name in `root`, the corpus's own name above it."""
    if given is not None:
        given = _given(root, given)
        return given, read_folds(given)
    own = [f"cmu_{corpus}_std_folds.py", f"{corpus}_folds.csv", f"{corpus}_folds.json"]
    here = [root / name for name in (*own, "folds.csv", "folds.json", "segments.csv")]
    above = [folder / name for folder in root.resolve().parents for name in own]
    for path in here + above:
        if path.is_file():
            return path, read_folds(path)
    return None, {}


def _given(root: Path, path: Path) -> Path:
    """A file named on the command line: as it stands, or inside the corpus."""
    return path if path.is_file() or not (root / path).is_file() else root / path


def _locate(root: Path, layout: Layout, features: Path | None, labels: Path | None) -> tuple[Path, Path]:
    """The feature and the label file, by root name and width; mirrors name the files as they like."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder. Name the folder that holds the .csd files.")
    voices: list[Path] = []
    targets: dict[int, list[Path]] = {width: [] for width in layout.columns}
    seen, broken = [], []
    for path in csd.find(root) if features is None or labels is None else ():
        try:
            with csd.read_csd(path) as file:
                kind, width = file.name.casefold(), file.width
        except InputError as error:  # another modality may be damaged; it matters if something is missing then
            broken.append(error)
            continue
        seen.append(f"{path.name} ({file.name!r}, {width} columns)")
        if "covarep" in kind:
            voices.append(path)
        elif "label" in kind and width in targets:
            targets[width].append(path)

    def the(option: str, what: str, given: Path | None, candidates: Sequence[Path]) -> Path:
        if given is not None:
            return _given(root, Path(given))
        if not candidates and broken:
            raise broken[0]
        if not candidates:
            listed = ", ".join(seen) or "no .csd file"
            raise InputError(f"{root}: no {what}. Found {listed}. Name the file with --{option}.")
        if len(candidates) > 1:
            listed = ", ".join(str(path.relative_to(root)) for path in candidates)
            raise InputError(f"{root}: more than one file with {what}. Found {listed}. Choose with --{option}.")
        return candidates[0]

    widths, scores = " or ".join(map(str, targets)), next(filter(None, targets.values()), [])
    voice = the("features", "COVAREP features of 74 columns", features, voices)
    return voice, the("labels", f"labels of {widths} columns", labels, scores)


def _check_columns(track: csd.CsdFile, notes: list[str]) -> None:
    if track.width != covarep.DIM:
        raise InputError(
            f"{track.path}: wrong feature width. Found {track.width} columns in {track.name!r}, expected the "
            f"{covarep.DIM} of COVAREP (43 is an older set, 5 a selection). Name the right file with --features."
        )
    found = track.dimensions
    if found is None or found == covarep.NAMES:
        return
    if sorted(found) == sorted(covarep.NAMES):
        k = [a == b for a, b in zip(found, covarep.NAMES, strict=True)].index(False)
        raise InputError(
            f"{track.path}: wrong column order. Found {found[k]} in column {k}, expected {covarep.NAMES[k]}. "
            "Use the published COVAREP sequence."
        )
    notes.append(f"{track.path.name}: its dimension names are not those of COVAREP ({_some(found)}); order not checked")


def _label_names(target: csd.CsdFile, layout: Layout, notes: list[str]) -> tuple[str, ...]:
    """The label order, asserted. Without any metadata the width has to do, and that is noted."""
    width = target.width
    if width not in layout.columns:
        raise InputError(
            f"{target.path}: wrong label width. Found {width} columns in {target.name!r}, expected "
            f"{' or '.join(map(str, layout.columns))}. Name the right file with --labels."
        )
    expected, found = layout.columns[width], target.dimensions
    if width == 1:  # nothing to be in the wrong order
        return expected
    order = ", ".join(expected)
    if found is None:
        if not target.metadata and "label" in target.name.casefold():
            notes.append(f"{target.path.name}: no metadata at all, label order {order} taken on trust")
            return expected
        raise InputError(
            f"{target.path}: no dimension names in the metadata. Found {_some(list(target.metadata)) or 'nothing'}, "
            f"expected the label order {order}. {csd.DAMAGED}"
        )
    names = tuple(SAME_WORD.get(name.lower(), name.lower()) for name in found)
    if names != expected:
        raise InputError(
            f"{target.path}: wrong label order. Found {', '.join(found)}; expected {order}. "
            "Reorder the columns or use the published labels."
        )
    return expected


def _clock(track: csd.CsdFile, video: str, steps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Order of a video's rows in time, one for every time, and the centres (n,) seconds they then have."""
    n, width = track.rows(video)
    if width != covarep.DIM:
        raise InputError(f"{track.path}: entry {video!r} has {width} columns, not {covarep.DIM}. {csd.DAMAGED}")
    middle = track.intervals(video).mean(axis=1)
    if not np.isfinite(middle).all():
        raise InputError(f"{track.path}: entry {video!r} has intervals that are not finite. {csd.DAMAGED}")
    order = np.argsort(middle, kind="stable")
    if n > 1:  # aligned segments that overlap hold the same row twice
        order = order[np.diff(middle[order], prepend=-np.inf) > 1e-6]
    centres = middle[order]
    if not steps and len(centres) > 2:
        rate = 1 / np.median(np.diff(centres))
        if abs(rate / covarep.RATE_HZ - 1) > RATE_SLACK:
            raise InputError(
                f"{track.path}: entry {video!r} comes at {rate:.4g} rows a second, not {covarep.RATE_HZ:g}. "
                "Use the unaligned COVAREP sequence, or one aligned to words (entries named VIDEO[k])."
            )
    return order, centres


def _is_step_clock(track: csd.CsdFile) -> bool:
    """Whether rows are words: aligned entries whose steps, in the first videos, are not 10 ms."""
    if not track.aligned:
        return False
    steps = [np.diff(np.unique(track.intervals(video).mean(axis=1))) for video in track.videos[:10]]
    pooled = np.concatenate(steps)
    return not len(pooled) or abs(1 / (np.median(pooled) * covarep.RATE_HZ) - 1) > RATE_SLACK


def _inside(centres: np.ndarray, start_s: float, end_s: float) -> tuple[int, int]:
    """Rows [first, last) with their centres in [start_s, end_s); 10 ns of slack, as in `Track.slice`."""
    first, last = np.searchsorted(centres, [start_s - 1e-8, end_s - 1e-8])
    return int(first), int(last)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")
