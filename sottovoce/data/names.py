"""A million names in some fifty bytes each: one block of text, where each ends, and their order by a checksum.

A dictionary of as many takes five times that, and every process that opens a store or an archive pays for it.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from zlib import crc32

import numpy as np


class Names:
    """Names by number; the same one may come several times.

    >>> them = Names([["a", "b"], ["a", "c"]])
    >>> them.find("c"), them.find("x"), them[1], len(them), them.first.tolist()
    (3, -1, 'b', 4, [0, 1, 0, 3])
    """

    def __init__(self, blocks: Iterable[Sequence[str]]):
        text, ends, marks = bytearray(), array("q", [0]), array("I")  # they grow in place
        for block in blocks:
            encoded = [name.encode() for name in block]
            marks.extend(map(crc32, encoded))
            ends.extend(islice(accumulate(map(len, encoded), initial=len(text)), 1, None))
            text += b"".join(encoded)
        self._text, self._ends = bytes(text), ends
        mark = np.array(marks, np.uint32)
        self._order = mark.argsort(kind="stable").astype(np.int32)
        self._marks = mark[self._order]
        self.first = self._first()  # (N,) of each the number under which its name came first
        self.once = self.first == np.arange(len(self))  # (N,) whether that is its own

    def _first(self) -> np.ndarray:
        first = np.arange(len(self), dtype=np.int32)
        alike = np.flatnonzero(self._marks[1:] == self._marks[:-1])
        seen: dict[str, int] = {}
        for k in np.unique(self._order[np.concatenate([alike, alike + 1])]).tolist():
            first[k] = seen.setdefault(self[k], k)
        return first

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, k: int) -> str:
        return self._text[self._ends[k] : self._ends[k + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def find(self, name: object) -> int:
        """The number under which a name came first, -1 for one that is not there."""
        if not isinstance(name, str):
            return -1
        raw = name.encode("utf-8", "surrogatepass")
        at = int(self._marks.searchsorted(mark := np.uint32(crc32(raw))))
        while at < len(self) and self._marks[at] == mark:
            k = int(self._order[at])
            if self._text[self._ends[k] : self._ends[k + 1]] == raw:
                return k
            at += 1
        return -1
