"""How many labels are learned from, and which: counts as they are written, and stratified subsets, each in the next.

N rows, D numbers a row.
"""

import math
from collections.abc import Sequence

import numpy as np

from sottovoce.errors import InputError


def parse_label_counts(text: str, n: int) -> list[int]:
    """Label counts from "50,10%,all": counts or percentages of the `n` labelled training utterances, rising.

    Percentages are rounded half-up, to 1 at least. Raises InputError on anything else.

    >>> parse_label_counts("1%,5%,50,100%", 1000)
    [10, 50, 1000]
    """
    counts = set()
    for part in (p.strip() for p in text.split(",")):
        count = _label_count(part, n)
        if count is None:
            raise InputError(
                f"--labels {text}: {part!r} is neither a count nor a percentage. "
                f"Give numbers from 1 to {n} or percentages up to 100%, e.g. 1%,10%,100%."
            )
        if not 1 <= count <= n:
            raise InputError(
                f"--labels {text}: {part} is {count} labels. There are {n} labelled training utterances. "
                f"Give numbers from 1 to {n} or percentages up to 100%."
            )
        counts.add(count)
    return sorted(counts)


def _label_count(part: str, n: int) -> int | None:
    if part == "all":
        return n
    try:
        if not part.endswith("%"):
            return int(part)
        share = float(part[:-1])
    except ValueError:
        return None
    if not math.isfinite(share) or share <= 0:
        return None
    return max(1, math.floor(share * n / 100 + 0.5))


def nested_subsets(
    labels: np.ndarray, sizes: Sequence[int], seed: int, groups: Sequence | np.ndarray | None = None
) -> list[np.ndarray]:
    """Stratified random subsets of N labelled rows, each a subset of the next.

    Rows get one order, and a subset is its beginning: first one row of every class (the frequent classes first),
    then always the class that is furthest behind its share (Sainte-Lague's divisors, which unlike rounding
    never take a seat back when the house grows).

    Args:
        labels: (N,) class indices; or (N, D) regression targets, stratified by `strata`.
        sizes: subset sizes, rising, 1..N.
        seed: another seed is another draw.
        groups: (N,) speakers; if given, every class is spread over them as evenly as they allow.

    Returns:
        One array of row numbers for every size, in the order drawn.
    """
    labels = np.asarray(labels)
    kind = strata(labels) if labels.ndim == 2 else np.unique(labels, return_inverse=True)[1]
    total = len(kind)
    if list(sizes) != sorted(sizes) or (len(sizes) and not (sizes[0] >= 1 and sizes[-1] <= total)):
        raise ValueError(f"sizes rise from 1 to {total}; got {list(sizes)}")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(total)
    if groups is not None:  # in every class: one row of each group, then a second one, ...
        owner = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        turn = _rank_within(kind[shuffled] * (owner.max() + 1) + owner[shuffled])
        shuffled = shuffled[np.argsort(turn, kind="stable")]
    kind = kind[shuffled]
    rank = _rank_within(kind)  # 0 for the first row of each class
    size = np.bincount(kind)[kind]
    behind = np.where(rank == 0, 1 / size - 2, (2 * rank + 1) / size)
    order = shuffled[np.argsort(behind, kind="stable")]
    return [order[:size] for size in sizes]


def strata(targets: np.ndarray, bins: int = 4) -> np.ndarray:
    """(N,) strata of (N, D) regression targets.

    One column: its quantile bins, equal values together. Several: the column furthest from its median, in units of
    its standard deviation, and on which side; rows at every median are a stratum of their own.
    """
    targets = np.asarray(targets, dtype=np.float64)
    if targets.shape[1] == 1:
        edges = np.quantile(targets[:, 0], np.arange(1, bins) / bins)
        found = np.searchsorted(edges, targets[:, 0], side="right")
    else:
        spread = targets.std(0)
        away = (targets - np.median(targets, axis=0)) / np.where(spread > 0, spread, 1.0)
        strongest = np.argmax(np.abs(away), axis=1)
        side = np.sign(np.take_along_axis(away, strongest[:, None], axis=1)[:, 0]).astype(int)
        found = np.where(side == 0, 0, 1 + 2 * strongest + (side > 0))
    return np.unique(found, return_inverse=True)[1]


def _rank_within(kind: np.ndarray) -> np.ndarray:
    """(N,) how many earlier rows are of the same kind."""
    order = np.argsort(kind, kind="stable")
    ordered = kind[order]
    starts = np.searchsorted(ordered, ordered)
    rank = np.empty(len(kind), dtype=np.int64)
    rank[order] = np.arange(len(kind)) - starts
    return rank
