"""The only place that starts processes.

    for result in workers.map(function, items, jobs):
        ...

A worker is spawned (a fork of a process in which torch has threads can hang), computes on one thread, and gets its
next items when it has handed over its last results: no more is in memory than the reader keeps up with.

Ended early, all workers end at once, whatever ends it: an error, Ctrl-C, a reader that stops reading. Of a parent that
was killed they know by the pipe that closes, and end by themselves. So a function writes whole files or none
(`files.atomic`), or leaves writing to its caller; what was done is kept, and the same command goes on from there.

Other ways to spread work (more machines) have to keep this promise of `map`: the same results, in the same order.
"""

import contextlib
import itertools
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing import connection, get_context, process, resource_tracker
from typing import Any, TypeVar

from sottovoce.errors import InputError

AHEAD = 4  # chunks a worker that may be begun or waiting for their turn
PATIENCE_S = 10.0  # for workers that were told to go home
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")
Crew = dict[connection.Connection, process.BaseProcess]

_worker = False  # whether this process is one: a worker starts no others


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    chunk: int = 1,
    ordered: bool = True,
    where: object = "",
) -> Generator[Result, None, None]:
    """`function` of every item, computed by `jobs` processes; in this one where two would not pay.

    Args:
        function: known by name to other processes (of a module, or a `functools.partial` of one).
        items: taken as workers become free.
        jobs: most processes.
        chunk: items a worker takes at a time.
        ordered: results in the order of the items, else as they are ready.
        where: what the message names when a worker dies.

    Raises:
        InputError: a worker died. Whatever `function` raises is raised here too.
    """
    source = iter(items)
    chunks = iter(lambda: list(itertools.islice(source, chunk)), [])
    first = list(itertools.islice(chunks, 2))
    chunks = itertools.chain(first, chunks)
    if jobs < 2 or len(first) < 2 or _worker:
        for part in chunks:
            for item in part:
                yield function(item)
        return
    crew: Crew = {}
    try:
        yield from _spread(function, chunks, jobs, ordered, crew, where)
        for pipe in crew:
            pipe.send(None)
        for worker in crew.values():
            worker.join(PATIENCE_S)
    finally:
        with _interrupts_held():
            for pipe, worker in crew.items():
                worker.kill()
                pipe.close()
            for worker in crew.values():
                worker.join()


def _spread(
    function: Callable, chunks: Iterator[list], jobs: int, ordered: bool, crew: Crew, where: object
) -> Generator[Any, None, None]:
    """Results of all chunks; workers are started as there is work for them and entered into `crew`."""
    idle: list[connection.Connection] = []
    at: dict[connection.Connection, int] = {}  # which chunk a worker is at
    ready: dict[int, tuple[list, Exception | None]] = {}
    given = turn = 0  # chunks handed out, chunks yielded

    def hand_out() -> None:
        nonlocal given
        while given - turn < AHEAD * jobs and (idle or len(crew) < jobs):
            part = next(chunks, None)
            if part is None:
                return
            pipe = idle.pop() if idle else _start(function, crew)
            with _deaths_named(crew[pipe], where):
                pipe.send(part)
            at[pipe] = given
            given += 1

    hand_out()
    while at:
        for pipe in connection.wait(list(at)):
            assert isinstance(pipe, connection.Connection)
            with _deaths_named(crew[pipe], where):
                ready[at.pop(pipe)] = pipe.recv()
            idle.append(pipe)
        hand_out()
        while ready and (turn in ready or not ordered):
            results, error = ready.pop(turn if ordered else next(iter(ready)))
            yield from results
            if error:  # in its turn, as in one process
                raise error
            turn += 1
            hand_out()


@contextlib.contextmanager
def _deaths_named(worker: process.BaseProcess, where: object) -> Iterator[None]:
    """A pipe that breaks is a worker that died."""
    try:
        yield
    except (EOFError, OSError):
        worker.join(PATIENCE_S)
        raise InputError(
            f"{where}: a worker process died. Found exit code {worker.exitcode}; usually memory ran out. "
            "Run it again with fewer --jobs: what was done is kept."
        ) from None


def _start(function: Callable, crew: Crew) -> connection.Connection:
    """A new worker in the crew; our end of its pipe."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_work, args=(theirs, function), daemon=True)
    before = {name: os.environ.get(name) for name in THREADS}
    if os.name == "posix":
        resource_tracker.ensure_running()  # before Ctrl-C is held back, as it lets it through when it has started
    with _interrupts_held():  # a process started meanwhile never sees Ctrl-C, which is for the parent to handle
        os.environ.update(dict.fromkeys(THREADS, "1"))  # read when a worker imports NumPy, so they are set here
        try:
            worker.start()
            crew[ours] = worker
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
    """What a worker does until it is sent home."""
    global _worker
    _worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: queue.SimpleQueue[list | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    while (part := inbox.get()) is not None:
        results: list[Any] = []
        try:
            for item in part:
                results.append(function(item))
            pipe.send((results, None))
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            pipe.send((results, error))


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
