"""Who may ask: a request without the API key is refused; every one is counted."""

import hmac
import time
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers

from sottovoce.serving import refusals
from sottovoce.serving.counters import Counters

OPEN = {"/", "/health", "/openapi.json"}  # without a key
PATHS = OPEN | {"/metrics", "/v1/predict", "/v1/view"}  # that are counted by name


class Access:
    """ASGI."""

    def __init__(self, app: Any, api_key: str, counters: Counters):
        self.app, self.api_key, self.counters = app, api_key, counters

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":  # a WebSocket is asked when it is accepted, so that it hears why
            await self.app(scope, receive, send)
            return
        start, path, status = time.perf_counter(), scope["path"], 500

        async def counted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if path in OPEN or brings_key(Headers(scope=scope), self.api_key):
                await self.app(scope, receive, counted)
            else:
                refused = refusals.response(401, "An API key is needed.", {"www-authenticate": "Bearer"})
                await refused(scope, receive, counted)
        finally:
            known = path if path in PATHS else "other"
            self.counters.requests.labels(known, str(status)).inc()
            self.counters.seconds.labels(known).observe(time.perf_counter() - start)


def is_stranger(headers: Any, cors: Sequence[str]) -> bool:
    """Whether a page of another origin asks, which may not: browsers leave it to the server who opens a WebSocket."""
    origin = headers.get("origin", "")
    at_home = origin.partition("://")[2] == headers.get("host", "")
    return bool(origin) and not at_home and origin not in cors and "*" not in cors


def brings_key(headers: Any, api_key: str, asked: str = "") -> bool:
    """Compared in constant time. `asked`: of an address, as browsers cannot give a WebSocket a header."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = asked or headers.get("x-api-key", "") or (token.strip() if scheme.lower() == "bearer" else scheme)
    return not api_key or hmac.compare_digest(key.encode(), api_key.encode())
