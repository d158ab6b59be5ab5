"""Bounds on what a client sends: bytes and seconds of a body, seconds of a head, before anything is kept of it."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from sottovoce.serving import refusals

HEAD_S = 20.0  # until the head of a request has to be there
GRACE_BYTES = 64 << 10  # of the other fields of a form


class Bounded:
    """ASGI: a request whose body is larger, or slower, than allowed is refused while it arrives."""

    def __init__(self, app: Any, most: int, seconds: float):
        self.app, self.most, self.seconds = app, most + GRACE_BYTES, seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = f"More than {self.most / 1e6:.0f} MB. Send less, or start the server with a larger --upload-mb."
        if announced.isdigit() and int(announced) > self.most:
            await refusals.response(413, too_large, {"connection": "close"})(scope, receive, send)
            return
        heard, deadline = 0, asyncio.get_running_loop().time() + self.seconds
        whole = refused = False

        async def bounded() -> Any:
            nonlocal heard, whole, refused
            if whole:  # only waits for the client to leave
                return await receive()
            if refused:
                return {"type": "http.disconnect"}
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                refused = True
                slow = f"The body was not there after {self.seconds:g} s. Send it faster."
                raise refusals.Refusal(408, slow, connection="close") from None
            heard += len(message.get("body", b""))
            if heard > self.most:
                refused = True
                raise refusals.Refusal(413, too_large, connection="close")
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        await self.app(scope, bounded, send)


class Patient(H11Protocol):
    """HTTP whose connections are closed when the head of a request takes longer than `HEAD_S`."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _close(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
