"""A request for what is heard in a recording: the upload waits in the queue, and becomes an answer: JSON, or a page."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request

from sottovoce import report
from sottovoce.errors import InputError
from sottovoce.inference import page
from sottovoce.inference.result import Result
from sottovoce.inference.timeline import Timing
from sottovoce.serving import uploads
from sottovoce.serving.counters import Counters
from sottovoce.serving.queue import Queue
from sottovoce.serving.refusals import Refusal
from sottovoce.serving.settings import Serving

Answer = TypeVar("Answer")


PARAMETERS = ("channel", "window_s", "hop_s", "timeline")


def check_names(asked: Iterable[str], known: Sequence[str]) -> None:
    """Raises Refusal for a query parameter that nobody reads: its default would answer instead."""
    for name in asked:
        if name not in known:
            raise Refusal(422, f"{name[:40]!r} is no parameter here. There are: {', '.join(known)}.")


class Asked:
    """How a recording is to be heard."""

    def __init__(
        self,
        request: Request,
        channel: Annotated[str, Query(pattern="^(mix|left|right|each|[1-9][0-9]?)$")] = "mix",
        window_s: Annotated[float, Query(ge=0.2, le=30)] = Timing.window_s,
        hop_s: Annotated[float, Query(ge=0.05, le=10)] = Timing.hop_s,
    ):
        check_names(request.query_params, PARAMETERS)
        self.how: dict[str, Any] = {"channel": channel, "timing": Timing(window_s=window_s, hop_s=hop_s)}


class Predictor:
    def __init__(self, recogniser: Any, queue: Queue, counters: Counters, settings: Serving):
        self.recogniser, self.queue, self.counters, self.settings = recogniser, queue, counters, settings

    async def hear(self, request: Request, asked: Asked, answer: Callable[[Result, Path], Answer]) -> Answer:
        """What `answer` makes, in the queue's thread, of a result and its file. Raises Refusal."""
        self.queue.check()
        path, name = await uploads.received(request, request.app.state.home, round(self.settings.upload_mb * 1e6))
        self.counters.uploaded.inc(path.stat().st_size)

        def work() -> Answer:
            uploads.check(path, self.settings)
            result = self.recogniser(path, **asked.how)
            if result.silent:
                raise Refusal(422, f"{name}: no answer. {'; '.join(result.warnings)}.")
            self.counters.audio.inc(result.duration_s)
            return answer(replace(result, path=name), path)

        asking = asyncio.create_task(self.queue.ask(work, path.parent))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise Refusal(400, "The client left.")
            return asking.result()
        except InputError as error:
            raise Refusal(422, str(error).replace(str(path), name)) from None
        finally:
            for task in (asking, leaving):  # what waits for nobody is not heard
                task.cancel()


async def _left(request: Request) -> None:
    """Ends when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def as_json(result: Result, timeline: bool) -> bytes:
    found = result.to_dict()
    for key in () if timeline else ("timeline", "waveform"):
        del found[key]
    return json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def as_page(result: Result, path: Path) -> str:
    """The page of `view`, from which a link leads back to the server's own."""
    return report.view_page(result.to_dict(), page.mp3(path), again="./")
