"""`sottovoce serve`: recordings and streams over HTTP and WebSocket."""

import os
import re
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from sottovoce.errors import InputError, say
from sottovoce.serving.settings import Serving


def main(
    model: Annotated[
        Path | None, typer.Option("--model", help="folder of a trained model, or model.onnx (default: the package's)")
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen at; 0.0.0.0 = from outside too")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 = any that is free", min=0, max=65535)] = 8000,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", help="recordings heard at a time, a thread each; 0 = one a core", min=0)
    ] = 0,
    queue: Annotated[int, typer.Option(help="recordings that may wait; one more gets 429", min=1)] = Serving.queue,
    upload_mb: Annotated[float, typer.Option(help="largest upload, in MB")] = Serving.upload_mb,
    uploads: Annotated[
        int,
        typer.Option(help="largest uploads that there is room for at a time; more bytes than theirs get 429", min=1),
    ] = Serving.uploads,
    upload_s: Annotated[float, typer.Option(help="seconds until an upload has to be there")] = Serving.upload_s,
    answer_s: Annotated[float, typer.Option(help="seconds until a request that waits gets 504")] = Serving.answer_s,
    longest_s: Annotated[float, typer.Option(help="longest recording or stream, in seconds")] = Serving.longest_s,
    channels: Annotated[int, typer.Option(help="most channels of a recording", min=1)] = Serving.channels,
    rate: Annotated[int, typer.Option(help="most samples a second of a recording", min=1000)] = Serving.rate_hz,
    streams: Annotated[int, typer.Option(help="streams at a time", min=1)] = Serving.streams,
    cors: Annotated[list[str] | None, typer.Option(help="an origin whose pages may ask (default: none)")] = None,
) -> None:
    """Serve a model: a page at /, POST /v1/predict and /v1/view, WS /v1/stream, GET /health, /metrics, /openapi.json.

    A key is asked for when the environment has SOTTOVOCE_API_KEY. A message to the WebSocket holds at most 1 MiB.

    Example: sottovoce serve --model runs/ft/fold1 --port 8000
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise InputError(
            f"serve: needs fastapi and uvicorn. Found no {error.name}. Install them: pip install 'sottovoce[server]'."
        ) from None
    from sottovoce.data.ahead import cores

    jobs = jobs or cores()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(cores() // jobs, 1)))  # read when torch, or onnxruntime, is loaded
    from sottovoce.inference.load import load
    from sottovoce.serving import app
    from sottovoce.serving.limits import Patient

    settings = Serving(
        jobs=jobs, queue=queue, streams=streams, upload_mb=upload_mb, uploads=uploads, upload_s=upload_s,
        answer_s=answer_s, longest_s=longest_s, channels=channels, rate_hz=rate,
        api_key=os.environ.get("SOTTOVOCE_API_KEY", ""), cors=tuple(map(_origin, cors or ())),
    )  # fmt: skip
    door = _door(host, port)
    recogniser = load(model)
    config = uvicorn.Config(
        app.make(app.warmed(recogniser), settings), http=Patient, ws_max_size=1 << 20, timeout_keep_alive=10,
        timeout_graceful_shutdown=30, log_level="warning",
    )  # fmt: skip
    name = f"[{host}]" if ":" in host else host
    say(f"http://{name}:{door.getsockname()[1]}: drop a recording on this page. Ctrl-C ends it.", err=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # uvicorn hears to the end what it has, and then sends it once more
    uvicorn.Server(config).run([door])


def _origin(text: str) -> str:
    """As browsers spell it. Raises InputError for what is none: no page would ever match it."""
    plain = text.rstrip("/")
    if plain not in ("*", "null") and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+", plain, re.IGNORECASE):
        raise InputError(f"--cors {text}: no origin. Give e.g. https://example.org, or * for all.")
    return plain.lower()


def _door(host: str, port: int) -> socket.socket:
    """A socket that is bound. Raises InputError where it cannot be."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        found = str(error.strerror or error).partition(" (")[0]
        raise InputError(
            f"--host {host} --port {port}: cannot listen there. Found: {found}. Take another port; 0 = any."
        ) from None
