"""Workers that Ray starts: on this machine, or on the cluster that RAY_ADDRESS names.

What a machine of the cluster needs is this package, the same Python and the folders that the work reads and writes,
under the same paths; a worker looks whether they are there before its first item. A worker that dies has its items
done again elsewhere. Large values travel once and are kept by Ray.
"""

import logging
import os
import platform
import re
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import sottovoce
from sottovoce.data.ahead import cores as cores_here
from sottovoce.errors import InputError, needs
from sottovoce.pipeline.claims import TRIES

ANSWER_S = 5.0  # for a cluster to answer
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # an empty frame of them, RFC 9113, sec. 4.1 and 6.5
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(TRIES - 1)}  # Ray's own: for ever

Done = tuple[list, Exception | None]  # results of a chunk, and what stopped it

_start: "Start | None" = None


@dataclass(frozen=True)
class Driver:
    """What a worker has to have in common with the process that sends the work."""

    versions: tuple[tuple[str, str], ...]
    host: str
    place: str  # relative paths start here
    needs: tuple[str, ...]


class Crew:
    """Takes chunks and gives back what came of them, as `workers.Processes` does."""

    def __init__(self, function: Callable[[list], Done], jobs: int, where: object, needs: Sequence[Path], gpus: float):
        """`function` computes a chunk; `gpus` is the share of a GPU that it may use."""
        self.ray, self.jobs, self.where = connected(), jobs, where
        folders = tuple(os.path.abspath(folder) for folder in needs)
        self.driver = Driver(_versions(), socket.gethostname(), os.getcwd(), folders)
        self.function = self.ray.put(function)
        self.task = self.ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1)(_compute)
        self.at: dict[Any, int] = {}

    def free(self) -> bool:
        return len(self.at) < self.jobs

    def give(self, number: int, chunk: list) -> None:
        self.at[self.task.remote(self.driver, self.function, chunk)] = number

    def take(self) -> list[tuple[int, list, Exception | None]]:
        """What is done, at least one chunk."""
        self.ray.wait(list(self.at), num_returns=1)
        done, _ = self.ray.wait(list(self.at), num_returns=len(self.at), timeout=0)
        return [(self.at.pop(ref), *self._of(ref)) for ref in done]

    def _of(self, ref: Any) -> Done:
        try:
            return self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            if missing := re.search(r"No module named '[^']*'", str(error)):
                raise InputError(
                    f"--workers ray: a worker lacks a package. Found {missing[0]}. Install it there."
                ) from None
            raise
        except self.ray.exceptions.RayError as error:
            why = one_sentence(error)
            return [], InputError(f"{self.where}: its worker died {TRIES} times. Found {why} Memory may have run out.")

    def dismiss(self) -> None:
        """Workers stay with Ray, for the next crew."""

    def end(self) -> None:
        for ref in self.at:
            self.ray.cancel(ref, force=True)


def _compute(driver: Driver, function: Callable[[list], Done], chunk: list) -> Done:
    """What a worker does."""
    try:
        _look(driver)
        results, error = function(chunk)
    except InputError as found:
        results, error = [], found
    here = socket.gethostname()
    if isinstance(error, InputError) and here != driver.host:
        error = InputError(f"{error} (On {here}.)")
    return results, error


@lru_cache
def _look(driver: Driver) -> None:
    """Once a worker. Raises InputError when this is no place to work at."""
    for (what, ours), (_, theirs) in zip(_versions(), driver.versions, strict=True):
        if ours != theirs:
            raise InputError(
                f"--workers ray: another {what} on {socket.gethostname()}. Found {ours}, not {theirs}. "
                "Install the same on every machine."
            )
    for folder in (driver.place, *driver.needs):
        if not Path(folder).exists():
            raise InputError(
                f"{folder}: not there on {socket.gethostname()}. Every machine has to see it under this path."
            )
    os.chdir(driver.place)


def _versions() -> tuple[tuple[str, str], ...]:
    return ("sottovoce", sottovoce.__version__), ("Python", ".".join(platform.python_version_tuple()[:2]))


class Start(threading.Thread):
    """Ray from its start to its end, both in one thread: the system ends what a thread has started when that ends."""

    def __init__(self, ray: Any, address: str):
        super().__init__(daemon=True)
        self.ray, self.address = ray, address
        self.begun: Future[None] = Future()
        self.over = threading.Event()

    def run(self) -> None:
        try:
            _init(self.ray, self.address)
            self.begun.set_result(None)
        except Exception as error:
            self.begun.set_exception(error)
        self.over.wait()
        self.ray.shutdown()


def begin() -> None:
    """Ray starts, or a cluster is connected to, while the caller goes on: eight programs take seconds to start.

    Raises InputError when Ray is not installed.
    """
    global _start
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    with needs("--workers ray: needs Ray. Found none. Install it: pip install 'sottovoce[ray]'."):
        import ray
    if _start and _start.over.is_set():
        _start.join()
        _start = None
    if not (_start or ray.is_initialized()):
        logging.getLogger("ray").setLevel(logging.ERROR)  # it would warn that SIGTERM is left to us
        _start = Start(ray, os.environ.get("RAY_ADDRESS") or "local")
        _start.start()


def connected() -> Any:
    """Ray, once it has started. Raises InputError when it is not installed or the cluster does not answer."""
    begin()
    if _start:
        _start.begun.result()
    import ray

    return ray


def _init(ray: Any, address: str) -> None:
    if place := re.fullmatch(r"(?:ray://)?\[?(.+?)\]?:(\d+)", address):
        try:
            _greet(place[1], int(place[2]))
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from None
    here: dict[str, Any] = {"include_dashboard": False, "num_cpus": cores_here()} if address == "local" else {}
    try:
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **here)
    except (RuntimeError, OSError, ValueError, SystemExit) as error:  # it exits when what answers is no Ray
        raise _no_cluster(address, error) from None


def _greet(host: str, port: int) -> None:
    """Raises OSError where no Ray answers, for which Ray itself waits a minute, or a quarter of an hour where something
    else does, such as its own dashboard. A server of gRPC answers the greeting of HTTP/2 with its settings."""
    with socket.create_connection((host, port), ANSWER_S) as line:
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS)
            if line.recv(len(SETTINGS))[3:4] != SETTINGS[3:4]:
                raise OSError("something else than Ray at this port")


def _no_cluster(address: str, error: BaseException) -> InputError:
    return InputError(
        f"RAY_ADDRESS={address}: no cluster that can be used. Found {one_sentence(error)} Start one: ray start --head; "
        "without RAY_ADDRESS this machine works."
    )


def one_sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0].rstrip(".")[:300] + "."


def cores() -> int:
    """Of the whole cluster, as far as Ray may use them."""
    if _start and _start.address == "local":
        return cores_here()  # all that it is given, known before it is there
    return max(int(connected().cluster_resources().get("CPU", 1)), 1)


def leave() -> None:
    """Ray on this machine ends; a cluster goes on without us. What the calling program began itself stays.

    Where it has not even started, as the caller met an error, nobody waits: it ends by itself, or with this process.
    """
    if _start:
        _start.over.set()
        if _start.begun.done():
            _start.join()
