"""An upload becomes a file in a folder of its own, under our name; its own name is only ever shown."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from sottovoce.data import decoders
from sottovoce.errors import InputError
from sottovoce.serving.queue import remove
from sottovoce.serving.refusals import Refusal
from sottovoce.serving.settings import Serving

NAME = "recording"  # of every upload on the disk
BINARY = re.compile(r"(audio|video)/|application/(octet-stream|ogg|mp4)\b")


async def received(request: Request, home: Path, most: int) -> tuple[Path, str]:
    """(file, the name to show) of the recording in a request: its body, or the field `file` of a form.

    Raises Refusal: neither (415), no such field (422), nothing in it (422), too much (413).
    """
    kind = request.headers.get("content-type", "").lower()
    form = kind.startswith("multipart/form-data")
    if not form and not BINARY.match(kind):
        raise Refusal(
            415,
            f"Content-Type {kind[:80] or '(none)'}. Send the bytes of a recording as audio/..., or a form "
            "(multipart/form-data) with the field `file`.",
        )
    folder = Path(tempfile.mkdtemp(dir=home))
    path, name = folder / NAME, "recording"
    try:
        if form:
            name = await _from_form(request, path)
        else:
            with open(path, "wb") as out:
                async for chunk in request.stream():
                    out.write(chunk)
        size = path.stat().st_size
        if size > most:
            raise Refusal(413, f"{size / 1e6:.1f} MB. The most is {most / 1e6:g} MB.")
        if not size:
            raise Refusal(422, f"{name}: empty file. Found 0 bytes.")
    except ClientDisconnect:
        remove(folder)
        raise Refusal(400, "The client left.") from None
    except BaseException:
        remove(folder)
        raise
    return path, name


async def _from_form(request: Request, path: Path) -> str:
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            sent: Any = form.get("file")
            if sent is None or isinstance(sent, str):
                raise Refusal(422, "The form has no field `file` with a recording.")
            with open(path, "wb") as out:
                await run_in_threadpool(shutil.copyfileobj, sent.file, out, 1 << 20)
            return shown(sent.filename or "recording")
    except HTTPException as error:  # a broken form
        raise Refusal(400, str(error.detail)) from None


def shown(name: str) -> str:
    """A client's file name as text: without folders, control characters, or end.

    >>> shown("../../etc/passwd"), shown("C:\\\\x\\\\talk.wav"), shown("a\\x00b.wav"), shown("..")
    ('passwd', 'talk.wav', 'ab.wav', 'recording')
    """
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[\x00-\x1f\x7f]", "", last)[:100].strip(". ") or "recording"


def check(path: Path, settings: Serving) -> None:
    """Raises InputError when a recording is longer, wider or faster than the server allows, before it is decoded.

    Where the header does not tell the length, chunks are counted until there are too many.
    """
    source = decoders.open_source(path)
    for found, most, what in [
        (source.channels, settings.channels, "channels"),
        (source.rate_hz, settings.rate_hz, "samples a second"),
    ]:
        if found > most:
            raise InputError(f"{path}: {found} {what}. This server takes up to {most}.")
    most = round(settings.longest_s * source.rate_hz)
    frames = source.frames or 0
    if source.frames is None:
        for chunk in source.chunks(0):
            frames += len(chunk)
            if frames > most:
                break
    if frames > most:
        raise InputError(f"{path}: longer than {settings.longest_s:g} s, the most that this server takes.")
