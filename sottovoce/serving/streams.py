"""`WS /v1/stream`: samples in, events out, while somebody speaks.

The client sends binary messages of mono samples (float32 or int16, little-endian; `?rate=16000&format=f32`) in any
portions up to 1 MiB a message, and the text `end` when nothing follows. The server sends one JSON text an event, then
closes.
"""

import asyncio
import queue
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from sottovoce import files
from sottovoce.data.audio import RATES_HZ
from sottovoce.errors import InputError
from sottovoce.serving import refusals
from sottovoce.serving.predictor import check_names
from sottovoce.serving.refusals import Refusal
from sottovoce.serving.settings import Serving

FORMATS: dict[str, np.dtype] = {"f32": np.dtype("<f4"), "s16": np.dtype("<i2")}
AHEAD = 32  # messages a client may be ahead of what is heard
IDLE_S = 60.0  # without a message


class Streams:
    """Those that are open, each heard by a thread of its own."""

    def __init__(self, hear: Callable[[Iterator[np.ndarray], int], Iterator[Any]], settings: Serving):
        self.hear, self.settings = hear, settings
        self.open = 0

    async def serve(self, socket: WebSocket) -> None:
        """One client, to its end. What is wrong is said as JSON before the socket closes."""
        await socket.accept()
        if self.open >= self.settings.streams:
            await self._leave(socket, Refusal(429, f"{self.open} streams are open. Try again later."), 1013)
            return
        self.open += 1
        try:
            await self._converse(socket)
        except Refusal as refusal:
            await self._leave(socket, refusal, 1003)
        except InputError as error:
            await self._leave(socket, Refusal(422, str(error)), 1003)
        except (WebSocketDisconnect, RuntimeError):  # the client has left
            pass
        finally:
            self.open -= 1

    async def _leave(self, socket: WebSocket, refusal: Refusal, code: int) -> None:
        try:
            await socket.send_json(refusals.body(refusal.status, refusal.message))
            await socket.close(code)
        except (WebSocketDisconnect, RuntimeError):
            pass

    async def _converse(self, socket: WebSocket) -> None:
        rate, kind = _options(socket)
        waiting: queue.Queue[np.ndarray | None] = queue.Queue(AHEAD)
        loop, out = asyncio.get_running_loop(), asyncio.Queue[Any]()

        def samples() -> Iterator[np.ndarray]:
            while (portion := waiting.get()) is not None:
                yield portion

        def work() -> None:
            """Events, then None or what went wrong."""
            try:
                for event in self.hear(samples(), rate):
                    loop.call_soon_threadsafe(out.put_nowait, event)
                loop.call_soon_threadsafe(out.put_nowait, None)
            except Exception as error:
                loop.call_soon_threadsafe(out.put_nowait, error)

        heard = asyncio.create_task(asyncio.to_thread(work))
        told = asyncio.create_task(_tell(socket, out))
        listened = asyncio.create_task(self._listen(socket, waiting, rate, kind))
        try:
            done, _ = await asyncio.wait({told, listened}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await told
            await socket.close()
        finally:
            for task in (told, listened):
                task.cancel()
            await asyncio.gather(told, listened, return_exceptions=True)
            while not heard.done():  # let its thread end
                try:
                    waiting.put_nowait(None)
                except queue.Full:
                    pass
                await asyncio.wait({heard}, timeout=0.05)

    async def _listen(self, socket: WebSocket, waiting: Any, rate: int, kind: np.dtype) -> None:
        """Messages as portions of samples, until `end`."""
        seconds = 0.0
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), IDLE_S)
            except TimeoutError:
                raise Refusal(408, f"No message for {IDLE_S:g} s.") from None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            data = message.get("bytes")
            if data is None:
                if (message.get("text") or "").strip() != "end":
                    raise Refusal(400, "A text message. Send samples as binary messages, and the text `end` last.")
                await asyncio.to_thread(waiting.put, None)
                return
            portion = _portion(data, kind)
            seconds += len(portion) / rate
            if seconds > self.settings.longest_s:
                raise Refusal(413, f"Longer than {self.settings.longest_s:g} s, the most that this server takes.")
            if len(portion):
                await asyncio.to_thread(waiting.put, portion)


async def _tell(socket: WebSocket, out: asyncio.Queue[Any]) -> None:
    while (event := await out.get()) is not None:
        if isinstance(event, Exception):
            raise event
        await socket.send_json(files.plain(asdict(event)))


def _options(socket: WebSocket) -> tuple[int, np.dtype]:
    asked = socket.query_params
    check_names(asked, ("rate", "format", "key"))
    rate, kind = asked.get("rate", "16000"), asked.get("format", "f32")
    if not (rate.isdecimal() and len(rate) < 9 and RATES_HZ[0] <= int(rate) <= RATES_HZ[1] and int(rate) <= 192_000):
        raise Refusal(422, f"rate={rate[:20]!r}: samples a second, {RATES_HZ[0]} to 192000.")
    if kind not in FORMATS:
        raise Refusal(422, f"format={kind[:20]!r}: one of {', '.join(FORMATS)}.")
    return int(rate), FORMATS[kind]


def _portion(data: bytes, kind: np.dtype) -> np.ndarray:
    """(n,) float32. Raises Refusal for bytes that are no whole samples, and for numbers that are none."""
    if len(data) % kind.itemsize:
        raise Refusal(422, f"{len(data)} bytes, and a sample has {kind.itemsize}. Send whole samples.")
    found = np.frombuffer(data, kind)
    portion = found.astype(np.float32) / 32768 if kind.kind == "i" else found.astype(np.float32)
    if not np.isfinite(portion).all():
        raise Refusal(422, "Samples that are not numbers (NaN or infinite).")
    if len(portion) and np.abs(portion).max() > 16:
        raise Refusal(422, "Samples far beyond full scale, which is 1. Send format=s16 for integers.")
    return portion
