"""The only place that starts processes of ours (`launch` has others start them).

    for result in workers.map(function, items, jobs):
        ...

A worker is spawned (a fork of a process in which torch has threads can hang), computes on one thread, and gets its
next items when it has handed over its last results: no more is in memory than the reader keeps up with.

Ended early, all workers end at once, whatever ends it: an error, Ctrl-C, a reader that stops reading. Of a parent that
was killed they know by the pipe that closes, and end by themselves. So a function writes whole files or none
(`files.atomic`), or leaves writing to its caller; what was done is kept, and the same command goes on from there.

More machines: `with engine("ray")` has the same work done by the machines of a Ray cluster (`cluster`), with the same
results in the same order. `with engine("folder")` shares what `make` makes with every process, here or elsewhere, that
runs the same program on the same folder (`claims`).
"""

import contextlib
import itertools
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import connection, get_context, process, resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from sottovoce import files
from sottovoce.errors import InputError
from sottovoce.pipeline import claims, cluster

AHEAD = 4  # chunks a worker that may be begun or waiting for their turn
PATIENCE_S = 10.0  # for workers that were told to go home
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ENGINES = ("processes", "folder", "ray")

Item = TypeVar("Item")
Result = TypeVar("Result")
_worker = False  # whether this process is one: a worker starts no others
_engine, _gpus = "processes", 0.0


@contextlib.contextmanager
def engine(name: str) -> Iterator[None]:
    """Who does the work of `map` and `make` from now on: `processes` of this machine, all that take part by a shared
    `folder` (of `make`), or `ray`; `ray:0.5` gives each item half a GPU.

    Raises InputError for another name.
    """
    global _engine, _gpus
    before = _engine, _gpus
    name, colon, share = name.partition(":")
    try:
        gpus = float(share) if colon else 0.0
        if name not in ENGINES or not 0 <= gpus < 1000 or (colon and name != "ray"):
            raise ValueError
    except ValueError:
        raise InputError(
            f"--workers {name}{colon}{share}: there is no such way. There are: {', '.join(ENGINES)}, ray:0.5 for half "
            "a GPU each, slurm or command for a job script, and 'command:srun -n1 {}' to have it started."
        ) from None
    _engine, _gpus = name, gpus
    try:
        if name == "ray":
            cluster.begin()
        yield
    finally:
        _engine, _gpus = before
        if name == "ray":
            cluster.leave()


def cores() -> int:
    """Processor cores that may be used."""
    return cluster.cores() if _engine == "ray" else cluster.cores_here()


def shared() -> bool:
    """Whether other processes, which this one knows nothing of, may be at the same work."""
    return _engine == "folder" and not _worker


def many() -> int:
    """Workers for large items: the cores of a cluster; here this process, as such an item uses all cores itself."""
    return cluster.cores() if _engine == "ray" else 1


def map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    chunk: int = 1,
    ordered: bool = True,
    where: object = "",
    needs: Sequence[Path] = (),
) -> Generator[Result, None, None]:
    """`function` of every item, computed by `jobs` workers; in this process where two would not pay.

    Args:
        function: known by name to other processes (of a module, or a `functools.partial` of one).
        items: taken as workers become free.
        jobs: most workers.
        chunk: items a worker takes at a time.
        ordered: results in the order of the items, else as they are ready.
        where: what the message names when a worker dies.
        needs: folders that workers of another machine have to see.

    Raises:
        InputError: a worker died, or does not see what it needs. Whatever `function` raises is raised here too.
    """
    with contextlib.closing(_parts(function, items, jobs, chunk, ordered, where, needs)) as parts:
        for _, results, error in parts:
            yield from results
            if error:  # in its turn, as in one process
                raise error


def make(
    function: Callable[[Item], object],
    items: Iterable[tuple[Item, Path]],
    jobs: int,
    *,
    home: Path,
    needs: Sequence[Path] = (),
) -> Generator[Path, None, None]:
    """The file of every item, by `function` where it is not there yet.

    Args:
        function: as in `map`; writes the file of an item, with the same bytes each time.
        home: where the files are; where processes that share the work by it keep their claims.
        needs: as in `map`.

    Yields:
        Each file, as soon as it is there, whoever made it.

    Raises:
        InputError: what was tried in vain, when all others are done. Processes of one machine end at the first error.
    """
    home.mkdir(parents=True, exist_ok=True)  # if a worker sees it, it is the same folder
    if shared():
        items = list(items)
        work = partial(claims.work_off, function, items, home / "claims")
        crew = Processes(partial(_alongside, work), jobs - 1, home)
        with _ending(crew):
            for k in range(min(jobs, len(items)) - 1):
                crew.give(k, [k])
            yield from work()
        return
    left = []
    for item, path in items:
        if path.exists():
            yield path
        else:
            left.append((item, path))
    failed: dict[Path, Exception] = {}
    tried = partial(_patiently, function) if _engine == "ray" else function
    parts = _parts(tried, [item for item, _ in left], jobs, 1, False, home, [*needs, home])
    with contextlib.closing(parts):
        for k, _, error in parts:
            if error and _engine != "ray":
                raise error
            if error:
                failed[left[k][1]] = error
            else:
                yield left[k][1]
    for path, error in failed.items():
        raise InputError(
            f"{path}: {len(failed)} given up after {claims.TRIES} attempts. Found {type(error).__name__}: {error} "
            "All others are done; the same command tries again."
        ) from error


def once(
    function: Callable[[Item], object], items: Iterable[tuple[Item, object]], *, home: Path, needs: Sequence[Path]
) -> None:
    """`function` of every item once, by all who take part; its results are where everybody finds them.

    With `processes` nothing happens: the caller goes through the same items afterwards, and does what is not done.
    An item is large; a worker of a cluster uses one thread for it, so figures are those of OMP_NUM_THREADS=1.

    Args:
        function: as in `map`; what is done already, it leaves.
        items: each with all that decides its result, as JSON can hold it.
        home: remembers in `home/shared` which are done.
        needs: as in `map`.
    """
    if _engine == "processes" or _worker:
        return
    marked = [((item, path), path) for item, key in items if (path := home / "shared" / files.digest(key))]
    for _ in make(partial(_marked, function), marked, many(), home=home, needs=needs):
        pass


def _marked(function: Callable[[Item], object], item: tuple[Item, Path]) -> None:
    function(item[0])
    files.write_text(item[1], "")


def _alongside(work: Callable[[], Iterable[Path]], _: int) -> None:
    """What another process does until all files are there."""
    for _path in work():
        pass


def _patiently(function: Callable[[Item], object], item: Item) -> None:
    for left in reversed(range(claims.TRIES)):
        try:
            function(item)
            return
        except Exception:
            if not left:
                raise


def _parts(
    function: Callable, items: Iterable, jobs: int, chunk: int, ordered: bool, where: object, needs: Sequence[Path]
) -> Generator[tuple[int, list, Exception | None], None, None]:
    """The number of each chunk and what came of it."""
    source = iter(items)
    chunks = iter(lambda: list(itertools.islice(source, chunk)), [])
    first = list(itertools.islice(chunks, 2))
    chunks = itertools.chain(first, chunks)
    if jobs < 2 or len(first) < 2 or _worker:
        for k, item in enumerate(itertools.chain.from_iterable(chunks)):
            yield k, [function(item)], None
        return
    crew: Processes | cluster.Crew
    if _engine == "ray":
        crew = cluster.Crew(partial(_computed, function), jobs, where, needs, _gpus)
    else:
        crew = Processes(function, jobs, where)
    with _ending(crew):
        yield from _spread(crew, chunks, jobs, ordered)
        crew.dismiss()


@contextlib.contextmanager
def _ending(crew: "Processes | cluster.Crew") -> Iterator[None]:
    """Whatever comes, nobody works on afterwards."""
    try:
        yield
    finally:
        with _interrupts_held():
            crew.end()


def _spread(
    crew: "Processes | cluster.Crew", chunks: Iterator[list], jobs: int, ordered: bool
) -> Generator[tuple[int, list, Exception | None], None, None]:
    """As `_parts`."""
    ready: dict[int, cluster.Done] = {}
    given = turn = busy = 0  # chunks handed out, chunks yielded, chunks that somebody is at

    def hand_out() -> None:
        nonlocal given, busy
        while given - turn < AHEAD * jobs and crew.free():
            part = next(chunks, None)
            if part is None:
                return
            crew.give(given, part)
            given, busy = given + 1, busy + 1

    hand_out()
    while busy:
        for number, results, error in crew.take():
            ready[number] = results, error
            busy -= 1
        hand_out()
        while ready and (turn in ready or not ordered):
            number = turn if ordered else next(iter(ready))
            yield number, *ready.pop(number)
            turn += 1
            hand_out()


class Processes:
    """A crew: takes chunks and gives back what came of them. Workers are started as there is work for them."""

    def __init__(self, function: Callable, jobs: int, where: object):
        self.function, self.jobs, self.where = function, jobs, where
        self.workers: dict[connection.Connection, process.BaseProcess] = {}
        self.idle: list[connection.Connection] = []
        self.at: dict[connection.Connection, int] = {}  # which chunk a worker is at

    def free(self) -> bool:
        return bool(self.idle) or len(self.workers) < self.jobs

    def give(self, number: int, chunk: list) -> None:
        pipe = self.idle.pop() if self.idle else self._start()
        with self._deaths_named(pipe):
            pipe.send(chunk)
        self.at[pipe] = number

    def take(self) -> list[tuple[int, list, Exception | None]]:
        """What is done, at least one chunk."""
        found = []
        for pipe in connection.wait(list(self.at)):
            assert isinstance(pipe, connection.Connection)
            with self._deaths_named(pipe):
                results, error = pipe.recv()
            found.append((self.at.pop(pipe), results, error))
            self.idle.append(pipe)
        return found

    def dismiss(self) -> None:
        """All is done."""
        for pipe in self.workers:
            pipe.send(None)
        for worker in self.workers.values():
            worker.join(PATIENCE_S)

    def end(self) -> None:
        """At once, whatever they are at."""
        for pipe, worker in self.workers.items():
            worker.kill()
            pipe.close()
        for worker in self.workers.values():
            worker.join()

    @contextlib.contextmanager
    def _deaths_named(self, pipe: connection.Connection) -> Iterator[None]:
        """A pipe that breaks is a worker that died."""
        try:
            yield
        except (EOFError, OSError):
            worker = self.workers[pipe]
            worker.join(PATIENCE_S)
            raise InputError(
                f"{self.where}: a worker process died. Found exit code {worker.exitcode}; usually memory ran out. "
                "Run it again with fewer --jobs: what was done is kept."
            ) from None

    def _start(self) -> connection.Connection:
        """A new worker; our end of its pipe."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(theirs, self.function), daemon=True)
        before = {name: os.environ.get(name) for name in THREADS}
        if os.name == "posix":
            resource_tracker.ensure_running()  # before Ctrl-C is held back, as it lets it through when it has started
        with _interrupts_held():  # a process started meanwhile never sees Ctrl-C, which is for the parent to handle
            os.environ.update(dict.fromkeys(THREADS, "1"))  # read when a worker imports NumPy, so they are set here
            try:
                worker.start()
                self.workers[ours] = worker
            finally:
                for name, value in before.items():
                    os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()
        return ours


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: connection.Connection, function: Callable) -> None:
    """What a worker process does until it is sent home."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: queue.SimpleQueue[list | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    while (chunk := inbox.get()) is not None:
        results, error = _computed(function, chunk)
        try:
            pipe.send((results, error))
        except Exception as unsendable:
            pipe.send(([], unsendable))


def _computed(function: Callable, chunk: list) -> cluster.Done:
    """What comes of a chunk, in a worker."""
    global _worker
    _worker = True
    results: list[Any] = []
    try:
        for item in chunk:
            results.append(function(item))
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        return results, error
    return results, None


def _listen(pipe: connection.Connection, inbox: queue.SimpleQueue) -> None:
    """Pass on what comes; a parent that is gone closes the pipe, which ends this process."""
    try:
        while True:
            part = pipe.recv()
            inbox.put(part)
            if part is None:
                return
    except (EOFError, OSError):
        os._exit(1)
