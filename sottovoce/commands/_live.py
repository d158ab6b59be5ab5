"""Emotion as it is spoken, in the terminal: the classes now, and the last half minute."""

import sys
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sottovoce.commands._tables import Terminal
from sottovoce.errors import one_line, say

COLOURS = {"neutral": "white", "calm": "green", "happy": "yellow", "sad": "blue", "angry": "red", "fear": "magenta",
           "disgust": "dark_orange3", "surprise": "cyan"}  # fmt: skip
PAST = 60  # cells that are shown
WIDTH = 30  # characters of a bar


def show(events: Iterable[Any], names: tuple[str, ...], latency_s: float) -> None:
    """Until the events end, or Ctrl-C; then how long each emotion was heard."""
    heard: Counter[str] = Counter()
    past: deque[Any] = deque(maxlen=PAST)
    say(f"Listening; answers come {latency_s:.1f} s after the voice. Ctrl-C ends it.", err=True)
    try:
        with Live(console=Terminal(), refresh_per_second=8) if sys.stdout.isatty() else nullcontext() as live:
            for event in events:
                before = past[-1].label if past else None
                past.append(event)
                heard[event.label] += 1
                if live:
                    live.update(picture(past, names))
                elif event.label != before:
                    say(f"{event.start:8.2f} s  {event.label or '-'}")
    except KeyboardInterrupt:
        pass
    step = past[-1].end - past[-1].start if past else 0.0
    for label, count in heard.most_common():
        say(f"{label or 'nobody':>12} {count * step:7.1f} s")


def picture(past: "deque[Any]", names: tuple[str, ...]) -> Group:
    """A bar a class and a strip of the last cells."""
    now, table = past[-1], Table(box=None, padding=(0, 1), show_header=False)
    for name in names:
        share = now.probabilities[name] if now.speech else 0.0
        bar = Text("█" * round(WIDTH * min(max(share, 0), 1)), style=COLOURS.get(name, "white"))
        said = f"{share:.2f}" if now.speech else "–"
        table.add_row(Text(one_line(name), style="bold" if name == now.label else "dim"), bar, said)
    if now.intensity is not None and now.speech:
        table.add_row("intensity", Text("▒" * round(WIDTH * min(max(now.intensity, 0), 1))), f"{now.intensity:.2f}")
    strip = Text(f"{now.end:7.1f} s ")
    for event in past:
        strip.append("▄" if event.speech else "·", style=COLOURS.get(event.label, "white"))
    return Group(table, strip)
