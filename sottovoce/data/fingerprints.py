"""Fingerprints: what of a recording stays when it is encoded, made louder, filtered by a telephone or cut.

    samples -> energies of 33 bands every 16 ms -> the signs of their change along bands and time: 32 bits a frame

Haitsma & Kalker 2002 ("A highly robust audio fingerprinting system"). Two recordings are alike where some second of
both, laid over each other, agrees in most bits; strangers agree in half of them. Departures: logarithms, so that a
filter takes nothing away; change over four frames; frames without speech count for nothing, as silences are alike.
Another speed or pitch is another recording.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from sottovoce import files
from sottovoce.data import audio, own
from sottovoce.data.contents import Marks, Segment
from sottovoce.data.progress import Bar
from sottovoce.errors import InputError

FILE = "fingerprints.npz"
VERSION = 1
RATE_HZ, WINDOW, HOP, LAG = 16000, 2048, 256, 4
BANDS_HZ = (300.0, 3000.0)  # what a telephone lets through
LOUD_DB = 30.0  # below the loudest frame there is no speech
LEAST = RATE_HZ // HOP  # frames of speech in common: a second
DIFFERENT = 0.25  # share of bits: strangers have 0.5, one sentence of one actor twice 0.27 and more
CROWD = 48  # frames of one value, in all recordings, above which it says nothing

MASKS = tuple(np.uint32(m) for m in (0x00FFFFFF, 0xFFFFFF00, 0xFF0FF0FF))  # 24 bits that agree make a candidate

_BINS = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
_EDGES = np.searchsorted(_BINS, np.geomspace(*BANDS_HZ, 34))
_BITS = (1 << np.arange(32, dtype=np.uint64)).astype(np.uint32)


def of_samples(wave: np.ndarray) -> np.ndarray:
    """(N,) at 16 kHz -> (T,) uint32, 0 where there is no speech."""
    if len(wave) < WINDOW + LAG * HOP:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=1)) ** 2
    bands = np.add.reduceat(power[:, : _EDGES[-1]], _EDGES[:-1], axis=1)  # (T, 33)
    whole = bands.sum(1)
    loud = whole > max(whole.max() * 10 ** (-LOUD_DB / 10), 1e-12)
    levels = np.log(bands + 1e-12)
    change = np.diff(levels, axis=1)[LAG:] - np.diff(levels, axis=1)[:-LAG]
    words = ((change > 0) * _BITS).sum(1, dtype=np.uint32)
    return np.where(loud[LAG:] & loud[:-LAG], words, 0).astype(np.uint32)


def of_corpus(
    folder: Path, root: Path, utterances: Sequence[Segment], marks: Mapping[str, Marks], quiet: bool = True
) -> dict[str, np.ndarray]:
    """Fingerprints of every utterance that can be read, kept in fingerprints.npz as long as its content is the same."""
    known = _load(folder / FILE)
    keys = {u.id: " ".join(marks.get(u.id, ())) for u in utterances}
    todo = [u for u in utterances if keys[u.id] and known.get(u.id, ("", None))[0] != keys[u.id]]
    if todo:
        with Bar(len(todo), "fingerprints", quiet=quiet) as bar:
            for u in todo:
                with suppress(InputError, OSError):
                    known[u.id] = keys[u.id], of_samples(audio.read(root / u.path, u.start, u.end).values)
                bar.advance()
        with suppress(InputError):  # a folder that cannot be written
            _save(folder / FILE, known)
    return {u.id: known[u.id][1] for u in utterances if u.id in known}


def _save(path: Path, known: dict[str, tuple[str, np.ndarray]]) -> None:
    names, rows = list(known), list(known.values())
    with files.atomic(path) as temporary, open(temporary, "wb") as out:
        np.savez(
            out, version=VERSION, ids=np.array(names, dtype=str), keys=np.array([key for key, _ in rows], dtype=str),
            lengths=np.array([len(words) for _, words in rows]), words=np.concatenate([words for _, words in rows]),
        )  # fmt: skip


def _load(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Nothing where there is none, or another version's: it can be made again."""
    try:
        found = own.read_arrays(path)
        if found["version"].item() != VERSION:
            return {}
        rows = np.split(found["words"], np.cumsum(found["lengths"])[:-1])
        return dict(zip(found["ids"].tolist(), zip(found["keys"].tolist(), rows, strict=True), strict=True))
    except (InputError, KeyError, ValueError):
        return {}


def alike(prints: Sequence[np.ndarray]) -> list[tuple[int, int, float, float]]:
    """Pairs of recordings with a second or more of speech in common: (i, j, seconds, share of bits that differ), i < j.

    Frames that agree in 24 bits (those of few recordings) say where two might lie over each other; there all bits of
    every second are compared.
    """
    lengths = np.array([len(p) for p in prints], dtype=np.int64)
    words = np.concatenate([*prints, np.zeros(0, np.uint32)])
    owner, place = np.repeat(np.arange(len(prints)), lengths), np.arange(len(words))
    place -= np.repeat(np.cumsum(lengths) - lengths, lengths)
    spoken = np.flatnonzero(words)
    found = []
    for mask in MASKS:
        values = words[spoken] & mask
        order = np.argsort(values, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])[: len(order)]
        sizes = np.diff(np.r_[starts, len(order)])
        for size in np.unique(sizes[(sizes > 1) & (sizes <= CROWD)]):
            group = spoken[order[starts[sizes == size][:, None] + np.arange(size)]]  # (G, size) frames of one value
            a, b = np.triu_indices(size, 1)
            left, right = group[:, a].ravel(), group[:, b].ravel()
            apart = owner[left] < owner[right]
            left, right = left[apart], right[apart]
            found.append(np.stack([owner[left], owner[right], place[right] - place[left]]))
    candidates = np.unique(np.concatenate(found, axis=1), axis=1).T if found else np.zeros((0, 3), np.int64)
    best: dict[tuple[int, int], tuple[float, float]] = {}
    for i, j, shift in candidates.tolist():
        seconds, different = _overlaid(prints[i], prints[j], shift)
        if seconds > best.get((i, j), (0.0, 0.0))[0]:
            best[i, j] = seconds, different
    return [(i, j, *pair) for (i, j), pair in sorted(best.items())]


def _overlaid(a: np.ndarray, b: np.ndarray, shift: int) -> tuple[float, float]:
    """With a[0] at b[shift]: seconds of speech in both that agree, and the share of bits that differ in them."""
    first, last = max(0, -shift), min(len(a), len(b) - shift)
    x, y = a[first:last], b[first + shift : last + shift]
    both = (x != 0) & (y != 0)
    wrong = np.bitwise_count(x[both] ^ y[both]).astype(np.int64)
    if len(wrong) < LEAST:
        return 0.0, 1.0
    total = np.cumsum(np.r_[0, wrong])
    sums = total[LEAST:] - total[:-LEAST]  # of every second
    good = np.flatnonzero(sums <= DIFFERENT * 32 * LEAST)
    if not len(good):
        return 0.0, 1.0
    inside = np.zeros(len(wrong), dtype=bool)
    for start in good:
        inside[start : start + LEAST] = True
    return float(inside.sum() * HOP / RATE_HZ), float(wrong[inside].mean() / 32)
