"""Many recordings: results appear as they are made, and a finished recording is never heard again.

A journal beside the output keeps one line of JSON a recording, written when its files are. The table is made from it,
every few seconds and at the end. A killed run goes on where the journal ends; a recording that was changed since, or
whose turns were, by size or time, is heard again, under its name. Other settings need another output, and so do files
of anybody else: what is there without a journal is not overwritten.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sottovoce import files
from sottovoce.data import archives, audio, own
from sottovoce.errors import InputError
from sottovoce.inference import formats
from sottovoce.inference.hearing import Hearing
from sottovoce.inference.load import opened
from sottovoce.inference.result import Result
from sottovoce.inference.timeline import Timing
from sottovoce.pipeline import workers

FORMAT = "sottovoce-predictions/1"
EVERY_S = 10.0  # the table is written anew so often
LONGEST = 190  # bytes of a file's name without its suffix


@dataclass(frozen=True)
class Plan:
    """What is done with every recording: known to other processes by its values alone."""

    model: str | None = None
    labels: tuple[str, ...] = ()
    vad: str = "auto"
    channel: str = "mix"
    turns: str = ""  # an RTTM file, or a folder of one NAME.rttm a recording
    abstain: float | None = 0.0  # see `Hearing`
    timing: Timing = field(default_factory=Timing)
    folder: str = ""  # for the files of every recording, "" = none
    formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """A recording that was heard, or why not."""

    path: str
    row: dict[str, Any]
    segments: list[dict[str, Any]]
    name: str = ""  # of its files
    broken: str = ""


# What is heard together, each with the name of its files: one recording, or a folder's of a model that standardises
# per speaker.
Item = dict[Path, str]


@dataclass(frozen=True)
class _Head:
    """First line of a journal."""

    format: Literal["sottovoce-predictions/1"]
    settings: dict[str, Any]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Stamp:
    """What the recording of a line was when it was heard, see `Journal.stamp`; the rest is `Done`."""

    path: str
    size: int
    time_ns: int


def _turns_of(turns: str, recording: Path) -> Path:
    """The RTTM file of a recording."""
    return Path(turns) / f"{archives.inside(recording).stem}.rttm" if Path(turns).is_dir() else Path(turns)


class Journal:
    """Results by path, kept in a file; of none, in memory alone.

    Raises InputError when the file is of other settings, or is no journal.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any]):
        self.path, self.settings = path, files.plain(settings)
        self.done: dict[str, tuple[tuple[int, int], Done]] = {}
        self.names: set[str] = set()  # of files that were made, or were to be
        self.new = path is None or not path.is_file()
        if path is not None and not self.new:
            self._read(path)

    def _read(self, path: Path) -> None:
        where, again = f"{path}: not a journal of predictions", "Choose another -o, or delete it."
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # of a killed one the last line is half
        except UnicodeDecodeError as error:
            raise InputError(f"{where}. {error}. {again}") from None
        head = own.parse(lines[0] if lines else "", _Head, where, again)
        for line in lines[1:]:
            row = own.parse(line, dict[str, Any], where, again)
            stamp = own.shaped(row, _Stamp, where, again)
            self.done[row["path"]] = (stamp.size, stamp.time_ns), own.shaped(row, Done, where, again)
        was, now = head.settings, self.settings
        if was != now:
            differs = "; ".join(f"{k} {was.get(k)} there, {v} now" for k, v in now.items() if was.get(k) != v)
            raise InputError(f"{path}: results of other settings. {differs}. Choose another -o, or delete it.")
        made = [done.name for _, done in self.done.values() if done.name] if now.get("formats") else []
        self.names = {*head.names, *made}
        self._write(lines[1:])

    def stamp(self, recording: Path) -> tuple[int, int]:
        """Size and time of change of all that an answer is made from."""
        turns = self.settings.get("turns")
        try:
            stats = [archives.stat(path) for path in (recording, *([_turns_of(turns, recording)] if turns else ()))]
        except OSError:
            return -1, -1
        return sum(size for size, _ in stats), sum(time_ns for _, time_ns in stats)

    def find(self, path: Path) -> Done | None:
        """The result of a recording that is still the same."""
        stamp, done = self.done.get(str(path), ((0, 0), None))
        return done if done is not None and stamp == self.stamp(path) else None

    def answers(self, paths: Iterable[Path]) -> list[Done]:
        """What was heard in these, as far as it is there."""
        return [found for path in paths if (found := self.find(path)) is not None and not found.broken]

    @contextlib.contextmanager
    def begun(self, names: Iterable[str], outputs: Callable[[list[str]], list[Path]]) -> Iterator[None]:
        """It says which files are to be made before any is, so that what a killed run leaves is known as its own; that
        of a run that made nothing is gone again.

        Raises InputError when a file is there that it has never named: it is somebody else's.
        """
        new = sorted(set(names) - self.names)
        if self.path is None or not new or workers.shared():
            yield
            return
        if strangers := [path for path in outputs(new) if path.exists()]:
            raise InputError(
                f"{strangers[0]}: is there, and {self.path.name} beside it does not say that predict made it. Choose "
                "another -o, or move it."
            )
        self.names.update(new)
        lines = [] if self.new else self.path.read_text(encoding="utf-8").split("\n")[1:-1]
        self._write(lines)
        try:
            yield
        finally:
            if self.new and all(done.broken for _, done in self.done.values()):
                self.path.unlink(missing_ok=True)

    def _write(self, lines: Sequence[str]) -> None:
        assert self.path is not None
        head = {"format": FORMAT, "settings": self.settings, "names": sorted(self.names)}
        files.write_text(self.path, "".join(f"{line}\n" for line in (json.dumps(head, ensure_ascii=False), *lines)))

    def add(self, done: Done) -> None:
        stamp = self.stamp(Path(done.path))
        self.done[done.path] = stamp, done
        if self.path is None or done.broken or workers.shared():
            return
        line = json.dumps(files.plain(asdict(done)) | {"size": stamp[0], "time_ns": stamp[1]}, ensure_ascii=False)
        try:
            if not self.path.exists():
                self._write([])
            with open(self.path, "a", encoding="utf-8") as out:
                out.write(line + "\n")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written. {error.strerror}. Choose another -o.") from None


def settings(plan: Plan, recogniser: Hearing) -> dict[str, Any]:
    """What decides results, except the recordings."""
    values = asdict(plan)
    del values["model"], values["folder"]
    return values | {"models": recogniser.identities}


def hear(
    recogniser: Hearing,
    plan: Plan,
    paths: Sequence[Path],
    journal: Journal,
    jobs: int | None = None,
    skip_broken: bool = False,
) -> Iterator[Done]:
    """Every recording that the journal does not have, as it is done; the journal has it then. One that is named twice
    is heard once, under its own name. Where speakers are standardised, one more recording of a speaker means all of
    theirs again.

    Raises InputError for a recording that cannot be read, unless `skip_broken`.
    """
    recogniser.least_confidence(plan.abstain)  # refuses a setting before any recording is blamed for it
    whole = recogniser.groups(list(dict.fromkeys(paths)))  # what is new is heard with all of its speaker
    groups = [group for group in whole if any(journal.find(path) is None for path in group)]
    due = [path for group in groups for path in group]
    kept = {path: done.name for path, (_, done) in journal.done.items() if files.is_folder_name(done.name)}
    new = [path for path in due if str(path) not in kept]
    named = {path: kept.get(str(path), "") for path in due}
    named |= dict(zip(new, own_names(new, list(kept.values())), strict=True))
    items = [{path: named[path] for path in group} for group in groups]
    jobs = jobs or workers.many()
    if jobs < 2 or len(items) < 2 or workers.shared():
        _remember(plan, recogniser)

    def places(names: list[str]) -> list[Path]:
        return formats.places([Path(plan.folder) / name for name in names], plan.formats)

    with journal.begun(named.values() if plan.folder else (), places):
        for found in _found(plan, skip_broken, items, jobs, journal):
            for done in found:
                journal.add(done)
                yield done


def _found(
    plan: Plan, skip_broken: bool, items: Sequence[Item], jobs: int, journal: Journal
) -> Iterator[Sequence[Done]]:
    """What comes of each item. Processes that share the work keep it in a folder of the journal's name; the journal
    itself none of them writes."""
    work = partial(_one, plan, skip_broken)
    needs = {Path(archives.split(path)[0]).parent for item in items for path in item}
    with _folder(plan.folder) if plan.folder else contextlib.nullcontext():
        if plan.folder:
            needs.add(Path(plan.folder))
        if not workers.shared():
            yield from workers.map(work, items, jobs, ordered=False, where="predict", needs=sorted(needs))
            return
        if journal.path is None:
            raise InputError("--workers folder: needs one to share. Found no -o. Name a folder that all see.")
        home = journal.path.with_suffix("")
        known = [[journal.settings, skip_broken, item, [journal.stamp(path) for path in item]] for item in items]
        parts = [(item, home / f"{files.digest(key)}.json") for item, key in zip(items, known, strict=True)]
        for path in workers.make(partial(_keep, work), [(part, part[1]) for part in parts], jobs, home=home):
            yield own.read_json(path, list[Done], "Delete it and run the same command again.")


@contextlib.contextmanager
def _folder(path: str) -> Iterator[None]:
    """It is there from the beginning, where other machines look for it; left empty it is gone again."""
    there = Path(path).exists()
    Path(path).mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if not there:
            with contextlib.suppress(OSError):  # it holds something
                Path(path).rmdir()


def _keep(work: Callable[[Item], list[Done]], part: tuple[Item, Path]) -> None:
    files.write_json(part[1], work(part[0]))


_loaded: dict[Plan, Hearing] = {}  # of this process, one


def _remember(plan: Plan, recogniser: Hearing) -> None:
    _loaded.clear()
    _loaded[plan] = recogniser


def _one(plan: Plan, skip_broken: bool, item: Item) -> list[Done]:
    if plan not in _loaded:
        _remember(plan, opened(plan.model, plan.labels, plan.vad))
    recogniser, found = _loaded[plan], []
    broken: list[tuple[Path, str]] = []
    try:
        results = _results(recogniser, plan, list(item))
    except InputError as error:
        if not skip_broken:
            raise InputError(f"{error} To go on without what cannot be read: --skip-broken.") from None
        whole, broken = _readable(list(item), str(error))
        results = _results(recogniser, plan, whole) if whole else []
    for result in results:
        name = item[Path(result.path)]
        if plan.folder:
            formats.write(result, Path(plan.folder) / name, plan.formats)
        found.append(Done(result.path, files.plain(result.row()), result.segments, name))
    return found + [Done(str(path), {}, [], broken=why) for path, why in broken]


def _results(recogniser: Hearing, plan: Plan, paths: Sequence[Path]) -> list[Result]:
    how: dict[str, Any] = {"channel": plan.channel, "timing": plan.timing, "abstain": plan.abstain}
    if not plan.turns:
        return recogniser.predict(paths, **how)
    return [recogniser(p, turns=_turns_of(plan.turns, p), **how) for p in paths]


def _readable(paths: Sequence[Path], why: str) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Which recordings can be decoded to their end, and what is wrong with the others."""
    if len(paths) == 1:
        return [], [(paths[0], why)]
    whole, broken = [], []
    for path in paths:
        try:
            for _ in audio.blocks(path, 30.0):
                pass
            whole.append(path)
        except InputError as error:
            broken.append((path, str(error)))
    return whole, broken


def own_names(paths: Sequence[Path], taken: Sequence[str] = ()) -> list[str]:
    """A file name for each recording: its stem, numbered where another one has it; on some disks `A` is `a`. Cut where
    no disk holds it with a suffix.

    >>> own_names([Path("x-2.wav"), Path("x.wav"), Path("y/X.wav")])
    ['x-2', 'x', 'X-3']
    """
    used = {name.casefold() for name in taken} | {"predictions", "journal", "broken"}
    stems = [archives.inside(path).stem.encode()[:LONGEST].decode(errors="ignore") for path in paths]
    return [files.unused_name(stem, used) for stem in stems]


def write_broken(journal: Path | None, broken: Sequence[str]) -> None:
    """The list of what could not be read, next to the journal; none where all could."""
    if journal is None:
        return
    path = _broken_list(journal)
    if broken:
        files.write_text(path, "".join(f"{line}\n" for line in broken))
    else:
        path.unlink(missing_ok=True)


def _broken_list(journal: Path) -> Path:
    return journal.with_name(journal.name.replace("journal.jsonl", "broken.txt"))


class Table:
    """out.csv or out.json of the results so far, in the order of the recordings; as a context, also of those that an
    error or Ctrl-C leaves.

    Raises InputError when it, or the list of what is broken, is there and the journal is not: it is somebody else's.
    """

    def __init__(self, path: Path, paths: Sequence[Path], journal: Journal):
        self.path, self.paths, self.journal, self._last = path, paths, journal, time.monotonic()

    def __enter__(self) -> "Table":
        made = [self.path, *([_broken_list(self.journal.path)] if self.journal.path else [])]
        if self.journal.new and not workers.shared() and (there := [path for path in made if path.exists()]):
            raise InputError(
                f"{there[0]}: is there, and no journal beside it says that predict made it. Choose another -o, or "
                "move it."
            )
        return self

    def __exit__(self, *_: object) -> None:
        if any(self.journal.find(path) for path in self.paths):
            self.write()

    def now_and_then(self) -> None:
        if time.monotonic() - self._last > EVERY_S:
            self.write()

    def write(self) -> None:
        self._last = time.monotonic()
        done = self.journal.answers(self.paths)
        if self.path.suffix.lower() == ".json":
            files.write_json(self.path, [d.row | {"segments": d.segments} for d in done])
        else:
            files.write_csv(self.path, [d.row for d in done])
