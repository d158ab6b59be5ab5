"""Phones of a transcript, greedy CTC predictions, and the phone error rate.

    transcript *.trans.txt -> words -> lexicon -> phones      the LibriSpeech formats (openslr.org/12 and /11)
    scores (S, 1 + V)      -> best path -> phones             Graves et al. 2006, sec. 3.2
    PER = edits / reference phones, both summed over all utterances

An edit is a phone put in, left out or exchanged (Levenshtein). PER may exceed 1; a prediction of nothing has PER 1.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sottovoce.corpora import _layout
from sottovoce.errors import InputError

BLANK = 0  # the index of CTC's blank among the scores; phones follow


def read_lexicon(path: Path) -> dict[str, tuple[str, ...]]:
    """{word: phones}, of lines `WORD  P1 P2 ...`. Of several pronunciations the first counts, as in s3prl.

    Raises InputError: no such file, a word without phones, nothing in it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a lexicon. {error}. Give lines of WORD  P1 P2 ...") from None
    found: dict[str, tuple[str, ...]] = {}
    for k, line in enumerate(lines, 1):
        word, *phones = line.split() or [""]
        if word and not phones:
            raise InputError(f"{path}: line {k} has no phones. Found {line.strip()[:40]!r}. Write WORD  P1 P2 ...")
        if word:
            found.setdefault(word.upper(), tuple(phones))
    if not found:
        raise InputError(f"{path}: an empty lexicon. Give lines of WORD  P1 P2 ...")
    return found


def read_transcripts(root: Path) -> dict[str, tuple[str, ...]]:
    """{utterance: words} of every `*.trans.txt` below a folder, in capitals.

    Raises InputError: none found.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in _layout.files(root):
        if name.endswith(".trans.txt"):
            for line in (Path(root) / name).read_text(encoding="utf-8", errors="replace").split("\n"):
                key, *words = line.split() or [""]
                if words:
                    found[key] = tuple(word.upper() for word in words)
    if not found:
        raise InputError(
            f"{root}: no transcripts. Looked for *.trans.txt, e.g. 1688/142285/1688-142285.trans.txt. "
            "Use the official LibriSpeech folders."
        )
    return found


def without_entry(transcripts: Iterable[Sequence[str]], lexicon: Mapping[str, object]) -> dict[str, int]:
    """{word: how often it is said} of words the lexicon has not, the most frequent first."""
    counts = Counter(word for words in transcripts for word in words if word not in lexicon)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def best_path(scores: np.ndarray) -> list[int]:
    """Phones (1..V) of scores (S, 1 + V): the best symbol of every step, repeats once, blanks dropped.

    >>> best_path(np.eye(3)[[1, 1, 0, 1, 2, 2, 0]])
    [1, 1, 2]
    """
    best = scores.argmax(1)
    first = np.r_[True, best[1:] != best[:-1]]
    return best[first & (best != BLANK)].tolist()


def edits(predicted: Sequence, reference: Sequence) -> int:
    """Fewest insertions, deletions and substitutions that turn one sequence into the other.

    A row of the usual table at once: what comes from above or aslant first, then what comes from the left, which is
    a running minimum once the column number is taken off.

    >>> edits(["K", "AE", "T"], ["K", "AH", "T", "S"])
    2
    """
    index = {symbol: k for k, symbol in enumerate(dict.fromkeys([*predicted, *reference]))}
    across = np.array([index[symbol] for symbol in reference], dtype=np.int64)
    column = np.arange(len(reference) + 1)
    row = column.copy()
    for k, symbol in enumerate(predicted, 1):
        aslant = row[:-1] + (across != index[symbol])
        row = np.r_[k, np.minimum(row[1:] + 1, aslant)]
        row = np.minimum.accumulate(row - column) + column
    return int(row[-1])
