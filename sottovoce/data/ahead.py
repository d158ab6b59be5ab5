"""Work done in the background, while something else waits for nothing; and how many processors there are for it."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(make: Callable[[Item], Made], of: Iterable[Item], threads: int = 1) -> Generator[Made, None, None]:
    """`map(make, of)`, made in the background: the same in the same order, however many threads make it.

    No more than two a thread are ready or in the making at a time.
    """
    running: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in of:
                running.append(pool.submit(make, item))
                if len(running) > 2 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
