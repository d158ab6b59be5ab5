"""The one exception that means "your input, not our bug".

Its message is a single line, `where: what is wrong. What was found. What to do.` The command line
prints it and exits with 2; every other exception is a defect of ours and keeps its traceback.
"""

import difflib
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

LONGEST = 1000  # characters of a word


class InputError(Exception):
    """Something the user supplied cannot be used; the message says where, what and what to do, on one line."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(str(message)))


@contextmanager
def needs(without: str) -> Iterator[None]:
    """Around imports of what is not always installed. Raises InputError, which says what it is and how to get it."""
    try:
        yield
    except ImportError:
        raise InputError(without) from None


def one_line(text: str) -> str:
    r"""Text that holds other people's names, as a terminal can show it: no control characters, no word without end.

    >>> print(one_line("a\nb \x1b[31m"), one_line("x" * 5000)[-6:])
    a b \x1b[31m xxx...
    """
    text = re.sub(r"\s*[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
    text = re.sub(rf"\S{{{LONGEST},}}", lambda match: match[0][: LONGEST - 3] + "...", text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def say(text: object, *, err: bool = False) -> None:
    """One line for people, on standard output or standard error: no name in it tells a terminal to do anything."""
    print(one_line(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def in_shell(path: object) -> str:
    """A path as it is typed in a command that a message tells people to run.

    >>> in_shell("runs/ft"), in_shell("my runs/ft")
    ('runs/ft', "'my runs/ft'")
    """
    return shlex.quote(str(path))


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and whether there are more.

    >>> few(["a", "b"]), few(["a", "b", "c", "d"])
    ('a, b', 'a, b, c, ...')
    """
    return ", ".join([*names[:most], *["..."] * (len(names) > most)])


def check_names(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises `unknown_name` for the first that is not in the list."""
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a list, with the closest match.

    >>> print(unknown_name("track", "fbnak", ["fbank", "mfcc"]))
    unknown track 'fbnak'. There are: fbank, mfcc. Did you mean 'fbank'?
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown {kind} {name!r}. There are: {', '.join(known) or 'none'}.{hint}")
