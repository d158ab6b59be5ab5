"""The routes: `POST /v1/predict` and `/v1/view`, `WS /v1/stream`, `GET /health`, `/metrics`, and a page at `/`."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from sottovoce import __version__, report
from sottovoce.serving import refusals
from sottovoce.serving.access import Access, brings_key, is_stranger
from sottovoce.serving.counters import Counters
from sottovoce.serving.limits import Bounded
from sottovoce.serving.predictor import Asked, Predictor, as_json, as_page
from sottovoce.serving.queue import Queue
from sottovoce.serving.refusals import Refusal
from sottovoce.serving.settings import Serving
from sottovoce.serving.streams import Streams

EXAMPLE = {
    "label": "happy",
    "confidence": 0.81,
    "probabilities": {"angry": 0.07, "happy": 0.81, "neutral": 0.09, "sad": 0.03},
    "duration_s": 3.2,
    "warnings": [],
    "segments": [{"start": 0.0, "end": 3.2, "label": "happy", "confidence": 0.78}],
    "timeline": [{"time_s": 0.125, "speech": True, "angry": 0.1, "happy": 0.7, "neutral": 0.15, "sad": 0.05}],
}
SENT = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "a recording"}},
            }
        },
        "audio/*": {"schema": {"type": "string", "format": "binary"}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


def _said(status: int, message: str) -> dict[str, Any]:
    return {"description": message, "content": {"application/json": {"example": refusals.body(status, message)}}}


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "What was heard.", "content": {"application/json": {"example": EXAMPLE}}},
    401: _said(401, "An API key is needed."),
    408: _said(408, "The body was not there after 60 s. Send it faster."),
    413: _said(413, "More than 100 MB."),
    415: _said(415, "Content-Type text/plain. Send the bytes of a recording as audio/..., or a form."),
    422: _said(422, "talk.wav: truncated or damaged. Found 1000 bytes where the file says 96044."),
    429: _said(429, "32 requests are waiting. Try again later."),
    504: _said(504, "No answer after 300 s."),
}
VIEWS = ANSWERS | {200: {"description": "What was heard, as a page."}}
PAGE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}


def make(recogniser: Any, settings: Serving) -> FastAPI:
    """The application around a recogniser, which is asked from several threads."""
    queue = Queue(settings)
    streams = Streams(recogniser.stream, settings)
    counters = Counters(lambda: queue.inside, lambda: streams.open)
    predictor = Predictor(recogniser, queue, counters, settings)
    front = report.serve_page(
        recogniser.names, upload_mb=settings.upload_mb, longest_s=settings.longest_s,
        licence=str(recogniser.about().get("licence", "")), key=bool(settings.api_key),
    )  # fmt: skip

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="sottovoce-serve-") as home:
            app.state.home = Path(home)
            try:
                yield
            finally:
                queue.close()

    app = FastAPI(
        title="Sottovoce", version=__version__, description="Emotion in speech, as a whole and over time.",
        lifespan=life, docs_url=None, redoc_url=None,  # they would load scripts from a network
    )  # fmt: skip
    app.add_exception_handler(Refusal, refusals.refused)
    app.add_exception_handler(HTTPException, refusals.of_framework)
    app.add_exception_handler(RequestValidationError, refusals.invalid)
    app.add_exception_handler(Exception, refusals.fault)

    @app.get("/", response_class=HTMLResponse)
    async def ask() -> HTMLResponse:
        """A page to drop a recording on, or to record one."""
        return HTMLResponse(
            front, headers=PAGE | {"content-security-policy": f"{report.POLICY}; frame-ancestors 'none'"}
        )

    @app.post("/v1/predict", responses=ANSWERS, openapi_extra={"requestBody": SENT}, response_class=JSONResponse)
    async def predict(
        request: Request,
        asked: Annotated[Asked, Depends()],
        timeline: Annotated[bool, Query(description="also the cells and the waveform")] = True,
    ) -> Response:
        """Emotion and intensity of a recording, and over time."""
        said = await predictor.hear(request, asked, lambda result, _: as_json(result, timeline))
        return Response(said, media_type="application/json")

    @app.post("/v1/view", responses=VIEWS, openapi_extra={"requestBody": SENT}, response_class=HTMLResponse)
    async def view(request: Request, asked: Annotated[Asked, Depends()]) -> HTMLResponse:
        """The same as a page with a player, which works without the server too."""
        return HTMLResponse(await predictor.hear(request, asked, as_page), headers=PAGE)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        if is_stranger(socket.headers, settings.cors):
            await _turn_away(socket, 403, "Pages of other origins may not ask. Name theirs with --cors.")
        elif not brings_key(socket.headers, settings.api_key, socket.query_params.get("key", "")):
            await _turn_away(socket, 401, "An API key is needed.")
        else:
            await streams.serve(socket)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server is there, and what it serves."""
        return {"status": "ok", "version": __version__, "labels": recogniser.names, "waiting": queue.waiting}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Prometheus text."""
        return PlainTextResponse(counters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_middleware(Access, api_key=settings.api_key, counters=counters)
    if settings.cors:  # around the gate: browsers ask without a key what they may ask, and read why they may not
        app.add_middleware(CORSMiddleware, allow_origins=list(settings.cors), allow_methods=["GET", "POST"],
                           allow_headers=["authorization", "content-type", "x-api-key"])  # fmt: skip
    app.add_middleware(Bounded, most=round(settings.upload_mb * 1e6), seconds=settings.upload_s,
                       uploads=settings.uploads)  # fmt: skip
    return app


async def _turn_away(socket: WebSocket, status: int, message: str) -> None:
    """Accepted first, so that it hears why."""
    await socket.accept()
    await socket.send_json(refusals.body(status, message))
    await socket.close(1008)


def warmed(recogniser: Any) -> Any:
    """The recogniser after it has heard something, so that no client waits for what is made once."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    recogniser((noise, 16_000))
    return recogniser
