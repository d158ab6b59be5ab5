"""Which files are recordings, for every verb alike: by their suffix; what they hold is found by their content."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sottovoce.data import archives
from sottovoce.errors import InputError

SUFFIXES = frozenset(
    {".wav", ".wave", ".rf64", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist"}
    | {".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2", ".mpga", ".aac", ".adts", ".ac3", ".wma", ".asf", ".wv", ".ape"}
    | {".m4a", ".m4b", ".m4r", ".mp4", ".m4v", ".mov", ".3gp", ".3gpp", ".3g2", ".amr", ".awb", ".tta", ".voc"}
    | {".webm", ".weba", ".mka", ".mkv", ".avi", ".flv", ".f4v", ".wmv", ".mpg", ".mpeg", ".vob", ".mts", ".m2ts"}
    | {".ogv", ".dts", ".eac3", ".mpc", ".qt", ".ircam"}
)
SYSTEM = frozenset({"__MACOSX", "$RECYCLE.BIN", "@eaDir", "System Volume Information", "lost+found", "#recycle"})


def is_recording(name: Path | str) -> bool:
    """
    >>> is_recording("Call 7.AMR"), is_recording("notes.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in SUFFIXES


def files_below(root: Path) -> Iterator[str]:
    """Every visible file below a folder, as sorted relative POSIX paths; links to folders are followed once. A link
    that leads nowhere is one if it is named like a recording: whoever opens it says so.

    Raises InputError for a folder that cannot be read, and for a name that is not UTF-8: no table, page or JSON file
    could name it.
    """
    seen: set[str] = set()
    for place, inner, names in os.walk(root, followlinks=True, onerror=_unreadable):
        if (real := os.path.realpath(place)) in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not is_hidden(name))
        for name in sorted(names):
            if not name.startswith(".") and _is_file(os.path.join(place, name)):  # macOS leaves ._twins
                yield spelt(Path(place, name).relative_to(root).as_posix(), root)


def _is_file(path: str) -> bool:
    return os.path.isfile(path) or (is_recording(path) and os.path.islink(path) and not os.path.exists(path))


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read. {error.strerror}. Check the permissions of the folder.")


def recordings_below(root: Path) -> list[str]:
    """Every recording below a folder, as `files_below`."""
    return sorted(name for name in files_below(root) if is_recording(name))


def tars_below(root: Path) -> list[str]:
    """Every tar archive below a folder, as `files_below`; compressed ones too, which `archives` refuses by name."""
    return sorted(
        name for name in files_below(root) if re.search(r"\.(tar(\.(gz|bz2|xz|zst|lz4))?|tgz|tbz2|txz)$", name)
    )


def _in_tar(path: Path) -> Iterator[Path]:
    for entry in archives.entries(path):
        if is_recording(entry.name) and not is_hidden(entry.name):
            yield Path(f"{path}#{spelt(entry.name, path)}")


def is_hidden(name: str) -> bool:
    """Whether a file or a folder above it is none of the user's own.

    >>> is_hidden("a/._b.wav"), is_hidden("__MACOSX/a.wav"), is_hidden("a/b.wav")
    (True, True, False)
    """
    return any(part.startswith(".") or part in SYSTEM for part in name.split("/"))


def spelt(name: str, root: Path | str = "") -> str:
    """A name, when it can be written. Raises InputError for bytes that are not UTF-8, as old archives hold them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        where = f"{os.fsencode(root).decode('utf-8', 'backslashreplace')}: " if str(root) else ""
        raise InputError(
            f"{where}a file name that is not UTF-8. Found {shown}. Rename it, or all of them: "
            "convmv -f latin1 -t utf8 -r --notest FOLDER"
        ) from None
    return name


def audio_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are, folders as the recordings below them in name order, tar archives as those in them; of a folder
    without recordings of its own, those in its archives.

    Raises InputError for a path that does not exist, for a folder without audio and for names that are not UTF-8.
    """
    for path in paths:
        spelt(str(path))
        if path.is_dir():
            found = sorted(path / name for name in recordings_below(path))
            found = found or [entry for name in tars_below(path) for entry in _in_tar(path / name)]
            if not found:
                raise InputError(
                    f"{path}: no audio files. Looked for {', '.join(sorted(SUFFIXES))}. "
                    "Name another folder, or the files themselves."
                )
            yield from found
        elif path.suffix == archives.SUFFIX and path.is_file():
            yield from _in_tar(path)
        elif path.exists() or archives.is_file(path):
            yield path
        else:
            raise InputError(f"{path}: no such file or folder.")
