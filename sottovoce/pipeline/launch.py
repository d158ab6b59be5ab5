"""Workers that other programs start: Slurm, ssh, GNU parallel, the queue of any cluster.

What they start is a script: this command line with `--workers folder`, so any number of them share the work, on any
machine, and any may be lost (`claims`). `run` starts them by a template of the user's and waits.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sottovoce import files
from sottovoce.errors import InputError, in_shell

PATIENCE_S = 10.0  # for a command that is told to end: srun and ssh have something to end in turn
LOOK_S = 0.2
# What a queue or ssh may not pass on; nothing secret, as the script stays.
KEPT = ("PYTHONPATH", "SOTTOVOCE_PLUGINS", "SOTTOVOCE_OFFLINE", "HF_HUB_OFFLINE", "HF_HOME")


def script(job: Path, options: Sequence[str] = ()) -> Path:
    """Writes, as `job`, what does a part of this command's work, and once all is done the rest. Lines of `options` come
    first."""
    again = [sys.executable, "-m", "sottovoce", *sys.argv[1:], "--workers", "folder", "--jobs", "1"]  # the last counts
    kept = [f"export {name}={shlex.quote(os.environ[name])}" for name in KEPT if name in os.environ]
    lines = ["#!/bin/sh", *options, f"cd {shlex.quote(os.getcwd())} || exit 1", *kept]
    lines += ['export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"', f"exec {shlex.join(again)}"]
    with files.atomic(job) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
    return job.absolute()


def run(template: str, job: Path, number: int) -> list[str]:
    """Has the shell run `template` so often at a time, {} being the job and {k} which of them it is, until all end.

    Returns:
        What is to be said of those that failed, where not all did: one that ends well has seen that all is done.

    Raises:
        InputError: no {} in the template, or none ended well.
        KeyboardInterrupt: Ctrl-C, or a signal to end; all have ended.
    """
    if "{}" not in template:
        raise InputError(
            f"--workers command:{template}: does not say where the job goes. Found no {{}}. Write e.g. "
            "'command:srun -n1 {}' or 'command:ssh node{k} {}'."
        )
    crew: dict[subprocess.Popen, tuple[str, Path]] = {}
    with _signals() as told:
        try:
            for k in range(number):
                line = template.replace("{k}", str(k)).replace("{}", in_shell(job))
                log = job.with_suffix(f".{k}.log")
                with open(log, "w") as said:  # a session of its own: told to end with all that it started
                    one = subprocess.Popen(
                        line, shell=True, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
                    )
                crew[one] = line, log
            while not told.is_set() and any(one.poll() is None for one in crew):
                told.wait(LOOK_S)
        finally:
            _end(crew)
    if told.is_set():
        raise KeyboardInterrupt
    failed = [f"exit code {one.returncode} of `{line}`{_last(log)}" for one, (line, log) in crew.items() if one.poll()]
    if len(failed) == number:
        raise InputError(f"--workers command: none of {number} ended well. Found {failed[0]}. Mend that and try again.")
    return failed


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Set by Ctrl-C and the like, which so cannot come between starting a command and knowing it."""
    told = threading.Event()
    wanted = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in vars(signal)]
    before = {s: signal.signal(s, lambda *_: told.set()) for s in wanted if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield told
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _tell(one: subprocess.Popen, what: int) -> bool:
    """Whether there was anybody left of what the command started."""
    one.poll()
    try:
        os.killpg(one.pid, what)
        return True
    except OSError:
        return False


def _end(crew: Iterable[subprocess.Popen]) -> None:
    """All at once, as far as they have not ended."""
    left = [one for one in crew if _tell(one, signal.SIGTERM)]
    until = time.monotonic() + PATIENCE_S
    while (left := [one for one in left if _tell(one, 0)]) and time.monotonic() < until:
        time.sleep(0.02)
    for one in left:
        _tell(one, signal.SIGKILL)
        one.wait()


def _last(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({log}: {said[-500:].rstrip('.')})" if said else ""
