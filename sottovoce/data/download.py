"""Fetching the archives of a corpus: resumable, checked, unpacked so that nothing can land outside the folder.

A part of a download stays as `.NAME.part` and the same command goes on from there. What a checksum proves wrong is
removed. `download.json` in the folder remembers what was fetched, with its hashes, so that nothing comes twice.
"""

import hashlib
import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sottovoce import files
from sottovoce.errors import InputError

Progress = Callable[[str, int, int], None]  # name, bytes so far, bytes in all (0 = unknown)
CHUNK = 1 << 20  # bytes
ATTEMPTS = 3  # a connection that breaks is taken up again this often
PAUSE_S = 1.0  # between attempts, doubled every time
TIMEOUT_S = 60.0  # without a byte
RECORD = "download.json"


@dataclass(frozen=True)
class Archive:
    """A file below the base address; `checksum` is "md5:HEX" or "sha256:HEX", None where there is none."""

    name: str
    checksum: str | None


def get(root: Path, base_url: str, archives: Sequence[Archive], *, progress: Progress | None = None) -> list[dict]:
    """Fetch, check and unpack archives into `root`.

    Returns:
        one dict an archive: name, url, bytes, md5, sha256, verified (whether there was a checksum to compare with).

    Raises InputError: no connection, a wrong checksum, an unsafe or damaged archive, no space.
    """
    root = Path(root)
    if os.environ.get("SOTTOVOCE_OFFLINE"):
        raise InputError(f"{base_url}: not fetched: --offline was asked for. Leave it out, or --download.")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: cannot be made. {error.strerror or error}. Choose another folder.") from error
    known = files.read_json(root / RECORD) if (root / RECORD).is_file() else []
    done = {entry["name"]: entry for entry in known}
    for archive in archives:
        path, url = root / archive.name, f"{base_url.rstrip('/')}/{archive.name}"
        asked = {"name": archive.name, "checksum": archive.checksum, "url": url}
        if asked.items() <= done.get(archive.name, {}).items():
            continue
        done[archive.name] = asked | fetch(url, path, archive.checksum, progress=progress)
        unpack(path, root)
        path.unlink()
        files.write_json(root / RECORD, list(done.values()))
    return [done[archive.name] for archive in archives]


def fetch(url: str, path: Path, checksum: str | None, *, progress: Progress | None = None) -> dict:
    """One file, whole and as promised, or not at all (but for its `.part`, from which the next call goes on).

    Raises InputError: no connection, interrupted too often, no space, a wrong checksum.
    """
    part = path.with_name(f".{path.name}.part")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _receive(url, part, progress or (lambda *_: None), path.name)
            break
        except urllib.error.HTTPError as error:
            raise InputError(f"{url}: not available. The server answered {error.code} {error.reason}.") from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in NO_SPACE:
                raise InputError(f"{path}: cannot be written. {error.strerror}. Free space and try again.") from error
            if attempt == ATTEMPTS:
                have = part.stat().st_size if part.exists() else 0
                raise InputError(
                    f"{url}: interrupted. {_reason(error)}; {have / 1e6:.1f} MB are kept. "
                    "The same command goes on from there."
                ) from None
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
    hashes = {name: _hash(part, name) for name in ("md5", "sha256")}
    if checksum:
        algorithm, _, wanted = checksum.partition(":")
        if hashes[algorithm] != wanted:
            part.unlink()
            raise InputError(
                f"{url}: wrong checksum. Found {algorithm} {hashes[algorithm]}, expected {wanted}; the file was "
                "removed. Try again, or another mirror with --base-url."
            )
    size = part.stat().st_size
    os.replace(part, path)
    return {"url": url, "bytes": size, **hashes, "verified": bool(checksum)}


NO_SPACE = (27, 28, 122)  # EFBIG, ENOSPC, EDQUOT


def _receive(url: str, part: Path, progress: Progress, name: str) -> None:
    """Bytes of `url` appended to `part`; from its end where the server can do that, else from the start."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "sottovoce"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        length = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if error.code == 416 and length == str(have):  # nothing is missing
            return
        if error.code == 416:
            part.unlink()
            raise ConnectionError("the file on the server has changed") from None
        raise
    with answer:
        resumed = answer.status == 206 and (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        have = have if resumed else 0
        rest = int(answer.headers.get("Content-Length") or 0)
        free = shutil.disk_usage(part.parent).free
        if rest > free:
            raise OSError(28, f"{rest / 1e9:.1f} GB to come, {free / 1e9:.1f} GB free")
        with open(part, "ab" if resumed else "wb") as out:
            got = 0
            while chunk := answer.read(CHUNK):
                out.write(chunk)
                got += len(chunk)
                progress(name, have + got, have + rest if rest else 0)
        if rest and got < rest:
            raise ConnectionError(f"{got} of {rest} bytes came")


def unpack(archive: Path, root: Path) -> None:
    """The content of a .zip or .tar[.gz] merged into `root`, all or nothing.

    Raises InputError: neither format, damaged, names that lead out of the folder, no space.
    """
    stage = root / f".unpack.{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        stage.mkdir(parents=True)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                for info in content.infolist():
                    _check_name(archive, info.filename)
                content.extractall(stage)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as content:
                for member in content.getmembers():
                    _check_name(archive, member.name)
                content.extractall(stage, filter="data")
        else:
            raise InputError(f"{archive}: not an archive. Found neither zip nor tar. Check the address.")
        for place, _, names in os.walk(stage):
            target = root / Path(place).relative_to(stage)
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                os.replace(Path(place) / name, target / name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: damaged archive. {error}. Remove it and download it again.") from None
    except OSError as error:
        raise InputError(f"{root}: cannot be written. {error.strerror or error}. Free space and try again.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):  # C: is Windows' root
        raise InputError(
            f"{archive}: unsafe archive. Found a member {name!r} that leads out of the folder. Do not use it."
        )


def _hash(path: Path, algorithm: str) -> str:
    with open(path, "rb") as data:
        return hashlib.file_digest(data, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).rstrip(".")
