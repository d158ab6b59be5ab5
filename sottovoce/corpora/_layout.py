"""What the readers share: finding recordings by their names, and folds for corpora without a reader."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sottovoce.data import recordings
from sottovoce.data.corpus import Fold, Utterance
from sottovoce.data.folds import group_folds
from sottovoce.errors import InputError, few
from sottovoce.files import is_pointer, pointer_error

LOSSLESS = frozenset({".wav", ".flac", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".wv", ".sph"})
MANY = 5  # files named in a message
FOLDS = 5  # when nothing says how many


def folder(root: Path) -> Path:
    """`root`, when it is a folder. Raises InputError."""
    root = Path(root)
    recordings.spelt(str(root))
    if not root.exists():
        raise InputError(f"{root}: no such folder. Check the path of the corpus.")
    if not root.is_dir():
        raise InputError(f"{root}: not a folder. Found a file. Name the folder of the corpus.")
    return root


def files(root: Path) -> Iterator[str]:
    """Every visible file below a folder, as sorted relative POSIX paths. Raises InputError as `recordings`."""
    return recordings.files_below(folder(root))


def audio(root: Path) -> list[str]:
    """Every recording below a folder."""
    return recordings.recordings_below(folder(root))


def matching(root: Path, pattern: str, corpus: str, example: str) -> list[tuple[str, re.Match[str]]]:
    """(path, match) of every recording whose path without suffix ends in what `pattern` describes.

    Some copies hold every file twice; of names with equal groups the best one counts, see `best`.

    Args:
        root: folder, at any height above the recordings.
        pattern: for the last part of the path without suffix; may contain "/".
        corpus, example: for the message.

    Raises InputError: no such folder, or no recording of that form in it.
    """
    whole = re.compile(rf"(?:.*/)?{pattern}")
    found: dict[tuple, dict[str, re.Match[str]]] = {}
    paths = audio(root)
    for path in paths:
        if match := whole.fullmatch(os.path.splitext(path)[0]):
            found.setdefault(match.groups(), {})[path] = match
    if not found:
        raise InputError(f"{root}: not {corpus}. Looked for names like {example}. Found {_listed(root, paths)}.")
    chosen = ((best(root, copies), copies) for copies in found.values())
    return [(path, copies[path]) for path, copies in chosen]


def best(root: Path, copies: Collection[str]) -> str:
    """Of copies of one recording the path of one that is there, in a format that loses nothing, by name."""

    def rank(copy: str) -> tuple[bool, bool]:
        path = Path(root) / copy
        there = path.is_file() and path.stat().st_size > 0 and not is_pointer(path)
        return not there, path.suffix.lower() not in LOSSLESS

    return min(copies, key=rank) if len(copies) > 1 else next(iter(copies))  # the first of equals


def _listed(root: Path, names: Sequence[str]) -> str:
    if names:
        return f"{len(names)} other recordings ({few(names, MANY)})"
    here = sorted(p.name + "/" * p.is_dir() for p in root.iterdir() if not p.name.startswith("."))
    return "no recording at all, but " + (", ".join(here[:MANY]) if here else "an empty folder")


def read_text(path: Path, errors: str = "strict") -> str:
    """What a file of text holds, its ends of line as they are; `errors` is what `bytes.decode` does about odd bytes.

    Raises InputError for a pointer, and for bytes that are no text, unless `errors` says otherwise.
    """
    if is_pointer(path):
        raise pointer_error(path)
    content = path.read_bytes()
    try:
        return content.decode(_encoding(content), errors)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8. {error}. Save it as UTF-8.") from None


def _encoding(content: bytes) -> str:
    """UTF-8, or what a spreadsheet's "Unicode text" is written in, which has a zero in every other byte."""
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) and len(content) % 2 == 0:
        return "utf-16"
    even, odd = content[0:200:2].count(0), content[1:200:2].count(0)
    if max(even, odd) * 4 > len(content[:200]) and min(even, odd) == 0 and len(content) % 2 == 0:
        return "utf-16-be" if even else "utf-16-le"
    return "utf-8-sig"


def lines_of(text: str) -> list[str]:
    """Lines as every system ends them; U+2028 and the like may stand inside one."""
    return re.split(r"\r\n?|\n", text)


def first_named(root: Path, name: str) -> Path | None:
    """A table of that name in the folder, below it or up to two folders above."""
    for place in (root, *root.resolve().parents[:2]):
        if (place / name).is_file():
            return place / name
    return next((root / path for path in files(root) if Path(path).name == name), None)


def gender(word: str) -> str:
    """ "female", "male" or "".

    >>> gender("F"), gender("Male"), gender("n/a")
    ('female', 'male', '')
    """
    return GENDERS.get(word.strip().casefold(), "")


GENDERS = {
    **dict.fromkeys(("f", "female", "w", "woman", "women", "feminine", "weiblich"), "female"),
    **dict.fromkeys(("m", "male", "man", "men", "masculine", "männlich"), "male"),
}


def speaker_of(pattern: str) -> Callable[[str], str]:
    """How `--speaker-pattern` reads a path: group 1 of the first match, or the whole match; "" where there is none.

    >>> speaker_of(r"spk(\\d+)")("angry/spk07_a.wav")
    '07'

    Raises InputError for what is not a regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--speaker-pattern {pattern}: not a regular expression. {error}. Example: '^[^_]+'."
        ) from None

    def speaker(path: str) -> str:
        match = compiled.search(path) if pattern else None
        return "" if match is None else (match.group(1) if compiled.groups else match.group(0)) or ""

    return speaker


def by_speaker(most: int) -> Callable[[Sequence[Utterance]], list[Fold]]:
    """So many folds, each of its own speakers; fewer in a partial copy."""
    return lambda utterances: group_folds(utterances, min(most, max(3, len({u.speaker for u in utterances}))))


def any_folds(utterances: Sequence[Utterance]) -> list[Fold]:
    """Speaker-disjoint folds where speakers are known, else by session where those are, else a random split by file
    that says "none".

    Utterances without labels are in no fold, nor are those without a speaker where others have one.

    Raises InputError: fewer than three speakers.
    """
    labelled = [u for u in utterances if u.labels]
    if not labelled:
        return []
    known = [u for u in labelled if u.speaker]
    if not known:
        sessions = {u.session for u in labelled}
        if len(sessions) >= 3 and "" not in sessions:
            return group_folds(labelled, min(FOLDS, len(sessions)), group="session", even=True)
        return file_folds(labelled, FOLDS)
    speakers = sorted({u.speaker for u in known})
    if len(speakers) < 3:
        raise InputError(
            f"{labelled[0].corpus}: fewer speakers than folds need. Found {len(speakers)} ({', '.join(speakers)}), at "
            "least 3 are needed. Add speakers, or split by file with --group none (scores will be too good)."
        )
    return group_folds(known, min(FOLDS, len(speakers)), even=True)


def file_folds(utterances: Sequence[Utterance], n: int) -> list[Fold]:
    """Random folds by file, every class dealt evenly: the leaky split one makes when speakers are unknown.

    Raises InputError: fewer files than folds, or fewer than three folds.
    """
    found = list(dict.fromkeys(u.path for u in utterances))
    if n < 3 or len(found) < n:
        raise InputError(
            f"{utterances[0].corpus}: too few files for {n} folds. Found {len(found)}; folds need 3 parts "
            "(train, dev, test) of one file or more. Add files or change --folds."
        )
    rng, first = np.random.default_rng(0), utterances[0].labels
    label = next((name for name in ("emotion", *first) if isinstance(first.get(name), str)), "")
    said: dict[str, Counter[str]] = {path: Counter() for path in found}
    for u in utterances:
        said[u.path][str(u.labels.get(label, ""))] += 1
    most = [said[path].most_common(1)[0][0] for path in found]
    order = sorted(rng.permutation(len(found)), key=lambda k: most[k])
    part_of = {found[k]: place % n for place, k in enumerate(order)}
    part = [part_of[u.path] for u in utterances]
    return [parts_fold(utterances, part, k, f"fold{k + 1}", "none", n) for k in range(n)]


def parts_fold(utterances: Sequence[Utterance], part: Sequence[int], k: int, name: str, group: str, n: int) -> Fold:
    """Part k is test, the next one dev, the others train."""
    sides = {k: "test", (k + 1) % n: "dev"}
    return Fold.of(name, group, {u.id: sides.get(p, "train") for u, p in zip(utterances, part, strict=True)})


def labels_of(pairs: Mapping[str, str | float | None]) -> dict[str, str | float]:
    """Labels without those that are missing."""
    return {key: value for key, value in pairs.items() if value is not None and value != ""}
