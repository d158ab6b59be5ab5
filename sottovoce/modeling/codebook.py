"""A codebook: the centres that turn hidden states into units, what they were fitted on, and the file they are kept in.

    codebook.safetensors   centres.64 (G, 64, D), centres.512 (G, 512, D), ... and all the rest as JSON in its metadata

G is 1, or the number of genders where each has centres, and units, of its own: gender g of K has units g K ... g K +
K - 1. A codebook says of which weights, layer and fold it is, so that it is used for no other. T frames, D features.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce import files
from sottovoce.data import folds, own
from sottovoce.data.corpus import Corpus
from sottovoce.data.store import TrackStore
from sottovoce.errors import InputError
from sottovoce.metrics import kmeans


@dataclass(frozen=True)
class Codebook:
    centres: Mapping[int, np.ndarray]  # K -> (G, K, D) float32
    model: str  # hash of the weights whose hidden states these are
    layer: int  # 1 = first block, 0 = what goes into it
    fold: str  # whose training part they were fitted on
    seed: int
    heard: tuple[str, ...]  # `seen_speakers` of the centres and the weights
    genders: tuple[str, ...] = ()  # in the order of G; () = one set of centres for all

    @property
    def clusters(self) -> tuple[int, ...]:
        return tuple(self.centres)

    @property
    def units(self) -> tuple[int, ...]:
        """How many there are in each label set: K, or G K."""
        return tuple(k * max(len(self.genders), 1) for k in self.centres)

    @property
    def digest(self) -> str:
        """Hash of the centres and of everything said about them."""
        found = hashlib.blake2b(json.dumps(self._head(), sort_keys=True).encode(), digest_size=16)
        for k, centres in self.centres.items():
            found.update(f"{k} {centres.shape}".encode() + centres.astype("<f4").tobytes())
        return found.hexdigest()

    def label(
        self, frames: kmeans.Frames, gender: str = "", *, workers: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Units of frames (T, D), one column a label set, (T, L) int32, and squared distances to their centres (T, L).

        Args:
            gender: of the speakers; needed where genders have centres of their own.
        """
        if bool(self.genders) != bool(gender):
            raise ValueError(f"genders {self.genders}, asked for {gender!r}")
        g = self.genders.index(gender) if gender else 0
        found = [kmeans.nearest(frames, centres[g], workers=workers) for centres in self.centres.values()]
        units = [labels + g * k for k, (labels, _) in zip(self.centres, found, strict=True)]
        return np.stack(units, axis=1), np.stack([apart for _, apart in found], axis=1)

    def check(self, where: Path | str, *, model: str, layer: int, fold: str) -> None:
        """Raises InputError where it is a codebook of another encoder, layer or fold than these."""
        for what, mine, wanted in [
            ("encoder", self.model[:12], model[:12]),
            ("layer", self.layer, layer),
            ("fold", folds.current(self.fold), fold),
        ]:
            if mine != wanted:
                raise InputError(
                    f"{where}: a codebook of another {what}. Found {mine}, not {wanted}. "
                    "Use the one made with it, or leave --codebook out to make it."
                )

    def save(self, path: Path) -> None:
        """Whole or not at all. Raises InputError when it cannot be written."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        tensors = {f"centres.{k}": np.ascontiguousarray(c, dtype=np.float32) for k, c in self.centres.items()}
        with files.atomic(path) as temporary:
            try:
                save_file(tensors, temporary, {"codebook": json.dumps(self._head() | {"digest": self.digest})})
                temporary.chmod(0o644)  # safetensors keeps them to their owner
            except SafetensorError as error:  # what it makes of every error of the system
                raise OSError(str(error)) from error

    @classmethod
    def load(cls, path: Path | str) -> "Codebook":
        """Raises InputError when there is none, it is cut short, or is not what was saved."""
        from safetensors import SafetensorError, safe_open

        again = "Make it again with `sottovoce label`."
        try:
            with safe_open(path, framework="np") as data:
                head = json.loads((data.metadata() or {})["codebook"])
                digest, clusters = head.pop("digest"), head.pop("clusters")
                head = {key: tuple(value) if isinstance(value, list) else value for key, value in head.items()}
                it = cls({k: data.get_tensor(f"centres.{k}") for k in clusters}, **head)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file. {again}") from None
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a codebook, or damaged. Found {error}. {again}") from None
        if it.digest != digest:
            raise InputError(f"{path}: not as it was saved. Found {it.digest}, not {digest}. {again}")
        return it

    def _head(self) -> dict:
        own = {name: value for name, value in vars(self).items() if name != "centres"}
        return files.plain(own | {"clusters": self.clusters})


def fit(
    frames: Mapping[str, kmeans.Frames],
    clusters: int,
    seed: int,
    config: kmeans.Config | None = None,
    *,
    workers: int | None = None,
    watch: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Centres (G, K, D) of the frames of every gender, or of {"": all frames}; the rest as in `clustering.kmeans`.

    Raises InputError when a gender has fewer frames than K.
    """
    check_frames({gender: own.shape[0] for gender, own in frames.items()}, clusters)
    how: dict[str, Any] = {"workers": workers, "watch": watch}
    return np.stack([kmeans.kmeans(own, clusters, seed, config, **how).centres for own in frames.values()])


def check_frames(frames: Mapping[str, int], clusters: int) -> None:
    """Raises InputError when a gender ("" = all together) has fewer training frames than clusters."""
    for gender, found in frames.items():
        if clusters > found:
            whose = f"{gender} frames" if gender else "frames"
            raise InputError(
                f"--clusters {clusters}: more than frames. Found {found} {whose} in the training part. "
                "Use fewer clusters or more speech."
            )


@dataclass(frozen=True)
class Labelled:
    """A corpus in label.json, and the folder of its units below its tracks."""

    name: str
    track: str
    folder: str  # of the corpus, when it was labelled

    def __post_init__(self) -> None:
        if not files.is_folder_name(self.track):
            raise ValueError(f"Found track {self.track!r}, no name of a folder")


@dataclass(frozen=True)
class Labels:
    """What label.json says, as far as others rely on it."""

    identity: str
    fold: str
    layer: int
    clusters: tuple[int, ...]
    seed: int
    codebook: str
    corpora: tuple[Labelled, ...]
    run: str = ""  # whose hidden states they are
    seen_speakers: tuple[str, ...] = ()


def open_units(folder: Path | str, corpus: Corpus, *, fold: str = "") -> TrackStore:
    """The units that `sottovoce label` made for a corpus: values (T, L) whole numbers, -1 = none.

    `store.head.config` tells "units" of each column, the "codebook" they come from, its "fold" and whom it has "heard".

    Args:
        folder: of codebook.safetensors and label.json.
        fold: refuse units of another one.

    Raises:
        InputError: no labels there, none for this corpus, of another fold, or made again since.
    """
    folder = Path(folder)
    if not (folder / "label.json").is_file():
        raise InputError(f"{folder}: no units here. Found no label.json. Make them with `sottovoce label`.")
    found = own.read_json(folder / "label.json", Labels, "Label again.")
    if fold and folds.current(found.fold) != fold:
        raise InputError(f"{folder}: units of another fold. Found {found.fold}, not {fold}. Label that fold too.")
    track = {entry.name: entry.track for entry in found.corpora}.get(corpus.name)
    if track is None:
        names = ", ".join(entry.name for entry in found.corpora)
        raise InputError(f"{folder}: no units for {corpus.name}. Found {names}. Label it with --codebook.")
    store = TrackStore.open(corpus.folder / "tracks" / track)
    if store.head.config.get("codebook") != found.codebook:
        raise InputError(f"{store.folder}: units of another codebook than {folder}. Run `sottovoce label` again.")
    return store


class Stacked:
    """Frames of many utterances as one array (N, D) that is read as it is asked: `clustering.Frames` of track stores.

    Args:
        parts: (store, ids of utterances in it) pairs, one after another; all stores of one width.
    """

    def __init__(self, parts: Sequence[tuple[object, Sequence[str]]]):
        self._of = [(store, id) for store, ids in parts for id in ids]
        lengths = [store.lengths[id] for store, id in self._of]  # type: ignore[attr-defined]
        self.ends = np.cumsum(lengths, dtype=np.int64)  # (U,) of every utterance, in order
        self.shape = (int(self.ends[-1]) if len(lengths) else 0, parts[0][0].dim)  # type: ignore[attr-defined]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        found = []
        for k in range(int(np.searchsorted(self.ends, start, side="right")), len(self._of)):
            begin = int(self.ends[k - 1]) if k else 0
            if begin >= stop:
                break
            store, id = self._of[k]
            found.append(store[id][max(start - begin, 0) : stop - begin])  # type: ignore[index]
        return np.concatenate(found) if found else np.empty((0, self.shape[1]), np.float32)
