"""Where a file of a public encoder is: in a folder, in the cache of the Hugging Face hub, or on the hub.

What is cached is not looked up again, so that a result does not change with the hub. A hub that cannot be reached is
said so within seconds: it is asked once, where its own client asks six times.
"""

import re
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sottovoce.errors import InputError, needs, say

PATIENCE_S = 4.0  # for the first sign of the hub


def is_name(text: str) -> bool:
    """Whether the hub could have a model of this name, "user/name".

    >>> [is_name(text) for text in ("openai/whisper-base", "runs", "a/b/c", "a b/c", "../x", "a--b/c", "/x", "~/x")]
    [True, False, False, False, False, False, False, False]
    """
    part = r"[A-Za-z0-9_]([\w.-]*[A-Za-z0-9_])?"
    return len(text) <= 96 and bool(re.fullmatch(f"{part}/{part}", text, re.ASCII)) and not re.search(r"--|\.\.", text)


def find(init: str, name: str) -> Path | None:
    """A file of an encoder, fetched if need be; None when the encoder is there and has no such file.

    Raises InputError: no such folder, and the hub does not know it, does not answer or is switched off.
    """
    if Path(init).is_dir():
        path = Path(init) / name
        return path if path.is_file() else None
    hub = library()
    with silence():
        found = hub.try_to_load_from_cache(init, name)
        if isinstance(found, str):
            return Path(found)
        if not hub.is_offline_mode():
            _say(init)
        if why := unreachable(init):
            if isinstance(hub.try_to_load_from_cache(init, "config.json"), str):
                return None  # all there is of it
            raise InputError(f"{init}: neither run nor encoder. No such folder here, {why}")
        try:
            return Path(hub.hf_hub_download(init, name))
        except hub.errors.EntryNotFoundError:
            return None
        except Exception as error:  # a network has many ways to fail
            raise InputError(f"{init}: cannot be fetched from the hub. Found: {one_line(error)}. Try again.") from None


@cache
def _say(init: str) -> None:
    say(f"{init}: no such folder here; asking the Hugging Face hub for it.", err=True)


def unreachable(init: str) -> str:
    """Why an encoder cannot be had from the hub now, "" when it can: the end of a sentence, and what to do."""
    hub = library()
    if hub.is_offline_mode():
        return f"and the hub is switched off (--offline or HF_HUB_OFFLINE). Elsewhere: hf download {init}"
    found: list[Any] = []

    def ask() -> None:
        try:
            url = hub.hf_hub_url(init, "config.json")
            headers = hub.utils.build_hf_headers()
            found.append(hub.get_session().head(url, headers=headers, timeout=PATIENCE_S, follow_redirects=True))
        except Exception as error:  # a network has many ways to fail
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # a look-up of names cannot be interrupted, only left behind
    asking.start()
    asking.join(PATIENCE_S)
    answer = found[0] if found else f"no answer within {PATIENCE_S:g} s"
    status = None if isinstance(answer, (str, Exception)) else answer.status_code
    if status == 200:
        return ""
    if status in (401, 403, 404):
        return f"and no such encoder on the hub, or one that needs a login. Found HTTP status {status}. Check the name."
    found_ = f"HTTP status {status}" if status else one_line(answer)
    return f"and the hub does not answer. Found: {found_}. Go online, or elsewhere: hf download {init}"


def library() -> Any:
    """The `huggingface_hub` package. Raises InputError when it is not installed."""
    with needs(
        "encoders of the hub: need the huggingface_hub library. Found none. "
        "Install it: pip install 'sottovoce[hf]'. Or name a folder."
    ):
        import huggingface_hub
    return huggingface_hub


@contextmanager
def silence() -> Any:
    """Without the chatter of the hub's client."""
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def one_line(error: Any) -> str:
    return " ".join(str(error).split())[:300]
