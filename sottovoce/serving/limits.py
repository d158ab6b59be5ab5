"""Bounds on what clients send: bytes and seconds of a body, bytes of all bodies together, seconds of a head."""

import asyncio
from typing import Any

from starlette.datastructures import Headers
from uvicorn.protocols.http.h11_impl import H11Protocol

from sottovoce.serving.refusals import Refusal

HEAD_S = 20.0  # until the head of a request has to be there
GRACE_BYTES = 64 << 10  # of the other fields of a form
AGAIN_S = 5  # until somebody who found no room may ask again


class Bounded:
    """ASGI: a request whose body is larger, or slower, than allowed, or finds no room beside the others, is refused
    while it arrives.

    Args:
        most, seconds: of one body.
        uploads: so many of the largest are there at a time, from their first byte until they are being answered.
    """

    def __init__(self, app: Any, most: int, seconds: float, uploads: int):
        self.app, self.most, self.seconds = app, most + GRACE_BYTES, seconds
        self.room = uploads * self.most  # bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, Headers(scope=scope), receive, send)
        try:
            await self.app(scope, body.receive, body.send)
        finally:
            body.release()


class _Body:
    """The body of one request. Whoever is answered before it is there may send the rest first, which is thrown away:
    most clients read no answer before they have sent all, and find the line broken where nobody takes it."""

    def __init__(self, bounds: Bounded, headers: Headers, receive: Any, send: Any):
        self.bounds, self._receive, self._send = bounds, receive, send
        self.most, self.seconds = bounds.most, bounds.seconds
        announced = headers.get("content-length", "")
        self.announced = int(announced) if announced.isdecimal() else 0
        self.asks = headers.get("expect", "").lower() == "100-continue"  # sends nothing before it may
        self.deadline = asyncio.get_running_loop().time() + self.seconds
        self.heard, self.kept, self.whole = 0, 0, False  # bytes, those that take room, whether it is all there

    async def receive(self) -> Any:
        """Raises Refusal: too large (413), too slow (408), or no room (429)."""
        if self.whole:  # only waits for the client to leave
            return await self._receive()
        fits = self.heard > 0 or self.announced <= self.bounds.room
        message = await self._next() if fits and self.announced <= self.most else {}
        if max(self.heard, self.announced) > self.most:
            most = f"More than {self.most / 1e6:.0f} MB"
            raise Refusal(413, f"{most}. Send less, or start the server with a larger --upload-mb.")
        arrived = len(message.get("body", b""))
        if not fits or arrived > self.bounds.room:
            raise Refusal(429, "Too much is being sent. Try again later.", **{"retry-after": str(AGAIN_S)})
        self.kept += arrived
        self.bounds.room -= arrived
        return message

    def release(self) -> None:
        self.bounds.room += self.kept
        self.kept = 0

    async def send(self, message: Any) -> None:
        self.release()  # what is answered lies nowhere any more
        if message["type"] == "http.response.start" and not self.asks:
            try:
                while not self.whole:
                    await self._next()
            except Refusal:
                message = message | {"headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await self._send(message)

    async def _next(self) -> Any:
        self.asks = False
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(408, f"The body was not there after {self.seconds:g} s. Send it faster.") from None
        self.heard += len(message.get("body", b""))
        self.whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message


class Patient(H11Protocol):
    """HTTP whose connections are closed when the head of a request, the first or a later one, takes longer than
    `HEAD_S`; those that became a WebSocket are not HTTP any more."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def handle_websocket_upgrade(self, event: Any) -> None:
        super().handle_websocket_upgrade(event)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Time runs while no request is being answered."""
        if (self.cycle is not None and not self.cycle.response_complete) or self.transport.is_closing():
            self._rest()
        elif self._late is None and self.transport.get_protocol() is self:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _rest(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
