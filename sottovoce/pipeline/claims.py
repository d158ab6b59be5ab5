"""Any number of processes, on one machine or many, that share work by a folder which all of them see.

An item is taken by creating the file `KEY.0`, which succeeds for one process alone. While it works, that file is
touched every BEAT_S. Whoever sees its time stand still for LEASE_S of its own clock takes the item over by creating
`KEY.1`; no clock is compared with another's. An item that failed, or whose process died, TRIES times is left alone and
named.

So an item is done once while its holder lives. A holder that was halted for longer than the lease, and then goes on,
does an item a second time: results must be the same each time and written whole (`files.atomic`).
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sottovoce.errors import InputError

BEAT_S = 5.0
LEASE_S = 60.0  # also longer than a network file system keeps what it knows of a file
LOOK_S = 1.0  # between looks at what others are at
TRIES = 3

Item = TypeVar("Item")
Seen = dict[Path, tuple[int, float]]  # claim -> its time, and our time when it was first seen so


def work_off(function: Callable[[Item], object], items: Iterable[tuple[Item, Path]], claims: Path) -> Iterator[Path]:
    """`function` of every item whose result nobody else makes; returns when all results are there.

    Args:
        function: writes the result of an item.
        items: with the file in which the result will be, below the folder that holds `claims`.
        claims: folder of the claims, removed at the end.

    Yields:
        The file of each result, whoever made it, once it is there.

    Raises:
        InputError: at the end, naming what failed or died TRIES times; at once, when no claim can be written.
    """
    made = {result: item for item, result in items}
    left, seen = dict(made), Seen()
    failed: dict[Path, str] = {}  # here
    while left:
        idle = True
        for result, item in list(left.items()):
            attempt = None if result.exists() else _free(claims, result, seen)
            while attempt is not None and _claim(claims, result, attempt):
                idle = False
                if attempt == TRIES or result.exists():  # given up; or done since
                    break
                failed[result] = _attempt(function, item, _file(claims, result, attempt))
                attempt = attempt + 1 if failed[result] else None
            if result.exists():
                del left[result]
                yield result
        given_up = [result for result in left if _file(claims, result, TRIES).exists() and not result.exists()]
        if left and len(given_up) == len(left):
            why = [failed[r] for r in given_up if failed.get(r)] or ["a process that died, or an error elsewhere"]
            raise InputError(
                f"{given_up[0]}: {len(given_up)} given up after {TRIES} attempts. Found {why[0]}. "
                f"All others are done; delete {claims} to try again."
            )
        if left and idle:
            time.sleep(LOOK_S * random.uniform(0.5, 1))
    for result in made:  # those of other work stay
        for attempt in range(TRIES + 1):
            _file(claims, result, attempt).unlink(missing_ok=True)
    with suppress(OSError):
        claims.rmdir()


def _file(claims: Path, result: Path, attempt: int) -> Path:
    return claims / f"{'+'.join(result.relative_to(claims.parent).parts)}.{attempt}"


def _claim(claims: Path, result: Path, attempt: int) -> bool:
    """Whether the attempt is ours."""
    try:
        claims.mkdir(parents=True, exist_ok=True)
        os.close(os.open(_file(claims, result, attempt), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        return True
    except (FileExistsError, FileNotFoundError):  # not found: all was done and another removed the folder
        return False
    except OSError as error:
        raise InputError(
            f"{claims}: cannot be written. {error.strerror}. Free space; the same command goes on."
        ) from None


def _free(claims: Path, result: Path, seen: Seen) -> int | None:
    """The attempt that may be begun: the first, or the one after a claim that is not kept up. None: wait."""
    now, touched, attempt = time.monotonic(), 0, 0
    claim = _file(claims, result, attempt)
    with suppress(FileNotFoundError):
        while attempt <= TRIES:
            with open(_file(claims, result, attempt), "rb") as file:  # opened, as a network file system may cache
                claim, touched = _file(claims, result, attempt), os.fstat(file.fileno()).st_mtime_ns
            attempt += 1
    if not touched:
        return 0
    if seen.get(claim, (0, now))[0] != touched:
        seen[claim] = touched, now
    return attempt if attempt <= TRIES and now - seen[claim][1] > LEASE_S else None


def _attempt(function: Callable[[Item], object], item: Item, claim: Path) -> str:
    """What went wrong, or nothing."""
    try:
        with _held(claim):
            function(item)
    except Exception as error:  # whatever it is, the other items go on
        return f"{type(error).__name__}: {error}"
    except BaseException:  # ended from outside, which is no fault of the item's: anybody may take it at once
        claim.unlink(missing_ok=True)
        raise
    return ""


@contextmanager
def _held(claim: Path) -> Iterator[None]:
    """The claim is kept up, by the clock of whoever keeps the folder; a full disk does not hinder that."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            with suppress(OSError):  # removed, or a network that is down for a moment
                os.utime(claim)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
