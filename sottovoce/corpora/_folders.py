"""What the folders above a recording mean: class, speaker, side of a split, or nothing.

    angry/x.wav                   class              Anna/angry/x.wav        speaker/class
    train/angry/x.wav             split/class        data/wav/angry/x.wav    */*/class
    angry/train/x.wav             class/split        angry/speaker01/x.wav   class/speaker

A level is a side of a split when all its names are (`_split.side`), a format or a wrapper when they say so. The class
is the first level whose names are words of emotion, else the first that is left and is not called like speakers.
"""

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from sottovoce.corpora import _layout, _split
from sottovoce.data import audio, vocabulary
from sottovoce.errors import InputError, unknown_name

WORDS = ("class", "speaker", "split", "gender", "session", "*")
LAYOUTS = ("class", "class/speaker", "speaker/class", "split/class", "class/split", "split/speaker/class")
SAME_S = 0.1  # by how much the lengths of two copies may differ: codecs pad
_FORMAT = re.compile(
    r"(audio|speech|sound)?s?[\s_-]*(wav|wave|mp3|mp4|flac|ogg|opus|m4a|aac|aiff?|webm)s?[\s_-]*(\d+)?[\s_-]*(k|khz|hz|bit)?",
    re.IGNORECASE,
)
_WRAPPER = re.compile(r"(audio|data|dataset|clip|recording|speech|sound|file|sample|corpus|archive)s?", re.IGNORECASE)
_TURN = re.compile(r"(fold|cv|part|partition|split)[\s_-]*\d+", re.IGNORECASE)  # tested one after the other
_CODE = re.compile(r"[a-z]{1,3}[\s_-]?\d{1,4}", re.IGNORECASE)  # s01, f2, spk 7: a person, where a class is above
_PERSON = re.compile(
    r"(speaker|spkr?|actor|subj|subject|person|participant|talker|voice)[\s_-]*[a-z]?\d+", re.IGNORECASE
)


def layout(paths: Sequence[str], given: str, where: str) -> list[str]:
    """The meaning of every level of folders, one of WORDS each, down to the last that means anything.

    Args:
        paths: of recordings, relative.
        given: what the user says of the levels that are no split, format or wrapper; "" finds it out.
        where: for messages.

    >>> layout(["train/angry/a.wav", "test/happy/b.wav"], "", "x"), layout(["s1/sad/a.wav", "s2/happy/b.wav"], "", "x")
    (['split', 'class'], ['*', 'class'])

    Raises InputError: an unknown layout, names of a split next to others, no level left for the class.
    """
    told = given.split("/") if given else []
    if told and (told.count("class") != 1 or not set(told) <= set(WORDS)):
        raise unknown_name("layout", given, LAYOUTS)
    if {"split", "*"} & set(told):
        return told
    levels = _levels(paths)
    roles = [_plain_role(names, where) for names in levels]
    if roles.count("split") > 1:
        some = "; ".join(", ".join(sorted(n)[:3]) for n, role in zip(levels, roles, strict=True) if role == "split")
        raise InputError(
            f"{where}: two levels of folders are splits ({some}), so recordings would count several times. Name one "
            "of these folders, use a table (`prepare table`), or say what they are with --layout."
        )
    free = [k for k, role in enumerate(roles) if not role]
    for k in free[:-1]:  # a wrapper of any name: nothing else stands next to it, and what it means stands below
        alone = len(levels[k]) == 1 and not _emotional(levels[k]) and not told
        if alone and any(_emotional(below) or all(map(_split.side, below)) for below in levels[k + 1 :]):
            roles[k] = "*"
    free = [k for k, role in enumerate(roles) if not role]
    if told:
        for k, role in zip(free, told, strict=False):
            roles[k] = role
        return _trimmed([role or "*" for role in roles] + told[len(free) :])
    if not free:
        if not roles or set(roles) == {"*"}:  # folders called wav and mp3, say
            return ["class"]
        sides = ", ".join(sorted(levels[roles.index("split")])[:5])
        raise InputError(
            f"{where}: no class folders. Found {len(paths)} recordings in {sides}, which are sides of a split. "
            "Make one folder a class in each, use a table (`prepare table`), or --unlabelled for pre-training."
        )
    called = [k for k in free if all(map(_PERSON.fullmatch, levels[k]))]
    classes = [k for k in free if _emotional(levels[k])] or [k for k in free if k not in called]
    if not classes:
        some = ", ".join(sorted(levels[free[0]])[:5])
        raise InputError(
            f"{where}: no class folders. Found {some}, which are called like speakers. Use a table (`prepare "
            "table`), --unlabelled for pre-training, or --layout class if these are the classes."
        )
    here = classes[0]
    roles[here] = "class"
    for k in free:
        if k < here and all(map(_layout.gender, levels[k])):
            roles[k] = "gender"
    above = [k for k in free if k < here and not roles[k]][-1:]
    several = {k for k in free if len(levels[k]) > 2}  # two are more often languages or rooms
    below = [k for k in free if k > here and k in several and all(map(_CODE.fullmatch, levels[k]))]
    for k in ([k for k in called if k != here] or below or [k for k in above if k in several])[:1]:
        roles[k] = "speaker"
    return _trimmed([role or "*" for role in roles])


def _levels(paths: Sequence[str]) -> list[set[str]]:
    """Names of the folders at every level that at least half of the recordings have."""
    dirs = [path.split("/")[:-1] for path in paths]
    depth = sorted(map(len, dirs))[len(dirs) // 2] if dirs else 0
    return [{parts[k] for parts in dirs if len(parts) > k} for k in range(depth)]


def _plain_role(names: set[str], where: str) -> str:
    """ "split" or "*" for a level that cannot be anything else."""
    if all(map(_TURN.fullmatch, names)) and len(names) > 2:
        return "split"
    sides = {_split.side(name) for name in names}
    if len(sides - {""}) > 1 and "train" in sides and "" in sides:
        _split.labels(sorted(names, key=lambda name: not _split.side(name)), where)  # refuses all but unused ones
    if "" not in sides or ("train" in sides and len(sides) > 2):
        return "split"
    return "*" if all(map(is_format, names)) or all(map(_WRAPPER.fullmatch, names)) else ""


def is_format(name: str) -> bool:
    """Whether a folder is called after the format of what is in it.

    >>> [is_format(name) for name in ("AudioWAV", "mp3", "wav_16k", "wavelength", "angry")]
    [True, True, True, False, False]
    """
    return bool(_FORMAT.fullmatch(name))


def _emotional(names: set[str]) -> bool:
    return sum(vocabulary.canonical(name) is not None for name in names) * 2 >= len(names)


def _trimmed(roles: list[str]) -> list[str]:
    while roles and roles[-1] == "*":
        roles.pop()
    return roles


# -- copies -------------------------------------------------------------------------------------------------


def without_copies(root: Path, paths: Sequence[str], roles: Sequence[str] = ()) -> list[str]:
    """The recordings, each once: of `wav/angry/x.wav` and `mp3/angry/x.mp3`, or of both in one folder, the better one.

    Files of one name and different suffixes, below folders that mean the same (`roles`), are copies when their lengths
    agree, and their samples where both formats keep them; other pairs stay.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        *dirs, name = path.split("/")
        told = [part for part, role in zip_longest(dirs, roles[: len(dirs)]) if role != "*" and not is_format(part)]
        key = (*told, name.rpartition(".")[0])
        groups.setdefault(key, []).append(path)
    gone: set[str] = set()
    for copies in groups.values():
        if len({Path(path).suffix.lower() for path in copies}) > 1:
            first = _layout.best(root, [path for path in copies if _readable(root / path)] or copies[:1])
            gone |= {path for path in copies if path != first and _same(root / first, root / path)}
    return [path for path in paths if path not in gone]


def _readable(path: Path) -> bool:
    try:
        audio.probe(path)
    except InputError:
        return False
    return True


def _same(one: Path, other: Path) -> bool:
    try:
        a, b = audio.probe(one), audio.probe(other)
    except InputError:  # one that cannot be read is no loss
        return True
    if abs(a.duration_s - b.duration_s) > SAME_S:
        return False
    if not {one.suffix.lower(), other.suffix.lower()} <= _layout.LOSSLESS or a.rate_hz != b.rate_hz:
        return True
    if (a.frames, a.channels) != (b.frames, b.channels):
        return False
    try:
        x, y = (audio.read(path, rate_hz=a.rate_hz).values for path in (one, other))
    except InputError:
        return True
    return bool(np.allclose(x, y, atol=2**-14))
