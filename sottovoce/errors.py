"""The one exception that means "your input, not our bug".

Its message is a single line, `where: what is wrong. What was found. What to do.` The command line
prints it and exits with 2; every other exception is a defect of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Something the user supplied cannot be used; the message says where, what and what to do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a list, with the closest match.

    >>> print(unknown_name("track", "fbnak", ["fbank", "mfcc"]))
    unknown track 'fbnak'. There are: fbank, mfcc. Did you mean 'fbank'?
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown {kind} {name!r}. There are: {', '.join(known) or 'none'}.{hint}")
