"""What several raters said of a recording, as the share of every class, for learning from distributions.

    --rater-columns rater1,rater2,rater3        a word a rater, or several (happy;sad: half a vote each); empty: none
    --distribution-columns happy,sad,angry      counts or shares in a column a class; angry=n_ang names its column
    --distribution-columns votes                all of it in one cell: happy:3,sad:1, or {"happy": 3, "sad": 1}

An utterance then has the labels `emotion:happy` ... (shares, together 1), `emotion:raters` (how many answered; the sum
of counts, 1 of shares), and as `emotion` what the table says, or else the word with most votes: none where two have as
many. EMO-SUPERB (arXiv:2402.13018) and MSP-Podcast are read so; nothing that somebody labelled is thrown away.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, TypeVar

from sottovoce.config.settings import words
from sottovoce.corpora import _cells
from sottovoce.corpora._options import Each
from sottovoce.corpora._rows import Asked, Rows, column_of, decimal_signs, held
from sottovoce.data import vocabulary
from sottovoce.errors import InputError

RATERS = "emotion:raters"
A = TypeVar("A", bound=Asked)
WAYS = {
    "rater": "a column a rater, with commas: shares of their words become the target",
    "distribution": "counts or shares: a column a class, or one for all",
}
Votes = Annotated[Mapping[str, str] | None, Each("{}-columns", WAYS)]


def spread(
    read: Rows, asked: A, votes: Mapping[str, str] | None, relabel: Mapping[str, str] | None
) -> tuple[Rows, A, Mapping[str, str] | None]:
    """A table with the shares as columns; what is asked, these columns as labels too; and what is still to be renamed
    in its column of the emotion.

    Raises InputError: a column that is not there, a number of votes below 0, or both ways at once.
    """
    if not votes:
        return read, asked, relabel
    if len(votes) > 1:
        raise InputError(f"{read.where}: --rater-columns and --distribution-columns. Name one of them.")
    if taken := [c for c in read.columns if c.startswith("emotion:")]:
        raise InputError(f"{read.where}: column {taken[0]} is called as a share of votes. Rename it.")
    found = _of_raters(read, votes["rater"]) if "rater" in votes else _of_distributions(read, votes["distribution"])
    first = {word: f"row {line}" for line, row in reversed(list(zip(read.lines, found, strict=True))) for word in row}
    if not first:
        raise InputError(f"{read.where}: nobody voted. Columns {next(iter(votes.values()))} are empty. Correct them.")
    told = column_of(read, "emotion", (asked.columns or {}).get("emotion", ""))
    if told in used(votes):
        told = ""
    voted, agreed = _spellings(first), _spellings([row[told].strip() for row in read.rows] if told else [])
    alone = {left for left in relabel or {} if left.casefold() in agreed}  # which nobody need have voted for
    among = {left: to for left, to in (relabel or {}).items() if left.casefold() in voted or left not in alone}
    ours = vocabulary.own_words(first, among, read.where, own=asked.own_classes)
    counts: list[dict[str, float]] = []
    for row in found:
        counts.append(defaultdict(float))
        for word, n in row.items():
            if ours[word] != vocabulary.DROP:
                counts[-1][ours[word]] += n
    classes = sorted({word for count in counts for word, n in count.items() if n > 0})
    names = [f"emotion:{word}" for word in classes]
    rows = []
    for cells, count in zip(read.rows, counts, strict=True):
        total = sum(count.values())
        shares = {f"emotion:{c}": f"{count[c] / total:.6f}" for c in classes} if total else dict.fromkeys(names, "")
        more = shares | {RATERS: f"{total:g}" if total else ""}
        rows.append(cells | more | ({} if told else {"emotion": _most(count)}))
    columns = [*read.columns, *names, RATERS] + ([] if told else ["emotion"])
    asked = replace(asked, label_columns=[*names, RATERS, *asked.label_columns])
    rest = {left: to for left, to in (relabel or {}).items() if left in alone}
    return replace(read, columns=columns, rows=rows), asked, rest if told else None


def _spellings(words: Iterable[str]) -> set[str]:
    """Words as they are written, and as we spell them, in small letters."""
    return {form.casefold() for word in words if word for form in (word, vocabulary.canonical(word) or word)}


def used(votes: Mapping[str, str] | None) -> set[str]:
    """The columns that hold votes."""
    return {part.partition("=")[2] or part for text in (votes or {}).values() for part in words(text)}


def _most(count: Mapping[str, float]) -> str:
    """The word with most votes, "" where two have as many."""
    best = max(count.values(), default=0)
    words = [word for word, n in count.items() if n == best > 0]
    return words[0] if len(words) == 1 else ""


def _check(read: Rows, columns: Sequence[str], option: str) -> None:
    for column in columns:
        if column not in read.columns:
            raise InputError(f"{read.where}: no column {column}. Found: {', '.join(read.columns)}. Correct {option}.")


def _of_raters(read: Rows, text: str) -> list[dict[str, float]]:
    columns = words(text)
    _check(read, columns, "--rater-columns")
    found = []
    for row in read.rows:
        count: dict[str, float] = defaultdict(float)
        for cell in (held(row, column) for column in columns):
            said = [w for word in re.split(r"[;,|]", cell) if (w := word.strip()) and not _cells.is_unknown(w)]
            for word in said:
                count[word] += 1 / len(said)
        found.append(count)
    return found


def _of_distributions(read: Rows, text: str) -> list[dict[str, float]]:
    named = {part.partition("=")[0]: part.partition("=")[2] or part for part in words(text)}
    _check(read, list(named.values()), "--distribution-columns")
    found, signs = [], decimal_signs(read, list(named.values()))
    for line, row in zip(read.lines, read.rows, strict=True):
        where = f"{read.where}, row {line}"
        if len(named) > 1:
            cells = {word: held(row, column) for word, column in named.items()}
        else:
            cells = _cell(row[next(iter(named.values()))], where)
        count: dict[str, float] = defaultdict(float)
        for word, cell in cells.items():
            value = _cells.number(cell, signs[named[word]] if len(named) > 1 else "") if cell else 0.0
            if value is None or value < 0:
                raise InputError(f"{where}: votes for {word} are {cell!r}. Counts or shares are numbers, 0 or more.")
            count[word] += value
        found.append(count if sum(count.values()) > 0 else defaultdict(float))
    return found


def _cell(text: str, where: str) -> dict[str, str]:
    """Words and numbers in one cell.

    >>> _cell("happy:3; sad=1", ""), _cell('{"happy": 0.5, "sad": 0.5}', "")
    ({'happy': '3', 'sad': '1'}, {'happy': '0.5', 'sad': '0.5'})
    """
    if _cells.is_nothing(text):
        return {}
    try:
        held_ = json.loads(text)
        pairs = {str(word): str(value) for word, value in held_.items()} if isinstance(held_, dict) else {}
    except (json.JSONDecodeError, RecursionError):
        parts = [re.fullmatch(r"\s*(.+?)\s*[:=]\s*(\S+)\s*", part) for part in re.split(r"[;,|]", text) if part.strip()]
        pairs = {part[1]: part[2] for part in parts if part} if all(parts) else {}
    if not pairs:
        raise InputError(f"{where}: {text[:60]!r} is no distribution. Write happy:3,sad:1 or a JSON object.")
    return pairs
