"""A bounded queue: recordings wait in it and are heard by a few threads, each in its own temporary folder."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sottovoce.serving.refusals import Refusal
from sottovoce.serving.settings import Serving

Answer = TypeVar("Answer")


class Queue:
    """`await queue.ask(function, folder)`: what `function` returns; the folder is gone afterwards, whatever happens."""

    def __init__(self, settings: Serving):
        self.settings = settings
        self.threads = ThreadPoolExecutor(settings.jobs, thread_name_prefix="hear")
        self.inside = 0  # waiting or being heard
        self._usual_s = 1.0  # seconds a recording takes, a moving average
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        return max(self.inside - self.settings.jobs, 0)

    def check(self) -> None:
        """Raises Refusal (429) when there is no place in the queue."""
        if self.waiting >= self.settings.queue:
            wait = max(round(self.waiting * self._usual_s / self.settings.jobs), 1)
            raise Refusal(429, f"{self.waiting} requests are waiting. Try again later.", **{"retry-after": str(wait)})

    async def ask(self, function: Callable[[], Answer], folder: Path | None = None) -> Answer:
        """Raises Refusal: no place (429), or no answer in time (504)."""
        gone = threading.Event()

        def work() -> Any:
            start = time.perf_counter()
            try:
                return None if gone.is_set() else function()
            finally:
                with self._lock:
                    self.inside -= 1
                    self._usual_s += 0.1 * (time.perf_counter() - start - self._usual_s)
                remove(folder)

        try:
            self.check()
        except Refusal:
            remove(folder)
            raise
        with self._lock:
            self.inside += 1
        future = asyncio.get_running_loop().run_in_executor(self.threads, work)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.settings.answer_s)
        except TimeoutError:
            gone.set()
            raise Refusal(
                504, f"No answer after {self.settings.answer_s:g} s. Send less, or try again later."
            ) from None
        except asyncio.CancelledError:  # the client has left
            gone.set()
            raise

    def close(self) -> None:
        """What is being heard is heard to its end; what waits is let go."""
        self.threads.shutdown(wait=True, cancel_futures=True)


def remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
