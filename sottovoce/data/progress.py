"""A progress bar on standard error; a plain line now and then where there is no terminal."""

import atexit
import sys
import time
from collections import deque

from sottovoce.errors import one_line, say

RECENT_S = 60.0  # what an estimate is measured over


class Bar:
    """Counts to `total`; `advance` and `show` also take figures to print beside the bar."""

    def __init__(self, total: int, label: str, *, quiet: bool = False, done: int = 0):
        self.total, self.label, self.done, self.figures = total, one_line(label), done, {}  # type: ignore[var-annotated]
        self.spoke = time.monotonic()
        self.recent: deque[tuple[float, int]] = deque([(self.spoke, done)])
        self.rich = None
        self.quiet = quiet or total <= 0
        if done and not self.quiet:
            say(f"{label}: goes on from {done} of {total}", err=True)
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.rich = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
                console=Console(stderr=True, markup=False, emoji=False),
            )
            self.rich.start()
            atexit.register(self.close)  # an error or Ctrl-C must not leave the cursor hidden
            self.task = self.rich.add_task(self.label, total=total, completed=done, figures="")

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.done += steps
        self.recent.append((time.monotonic(), self.done))
        while len(self.recent) > 2 and self.recent[0][0] < self.recent[-1][0] - RECENT_S:
            self.recent.popleft()
        self.show(**figures)

    def show(self, **figures: float) -> None:
        self.figures.update(figures)
        if self.quiet:
            return
        text = "  ".join(f"{k} {v:.3g}" for k, v in self.figures.items())
        if self.rich:
            self.rich.update(self.task, completed=self.done, figures=text)
        elif time.monotonic() - self.spoke > 15:  # a line every 15 s in a log file
            self.spoke = time.monotonic()
            left = self.left_s()
            say(f"{self.label}: {self.done}/{self.total}, {left:.0f} s left  {text}", err=True)

    def left_s(self) -> float:
        """Seconds to the end, at the pace of the last minute: the first items are no measure of the rest."""
        (began, before), (now, done) = self.recent[0], self.recent[-1]
        pace = (done - before) / (now - began) if now > began else 0.0
        return (self.total - self.done) / pace if pace else float("inf")

    def close(self) -> None:
        if self.rich:
            self.rich.stop()
            self.rich = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
