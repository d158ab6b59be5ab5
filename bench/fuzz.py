"""Damaged inputs by the thousand: `python -m bench.fuzz [--each 50] [--only store] [--seed 0] [--jobs 2]`.

Every input is a good file that `bench.mutations` has damaged; what reads it must end well or with an InputError. Any
other exception, a crash, a hang, or a file written outside the folder it works in is a fault; the exit code is 1 then.
Every fault is printed with how to see it again.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import mutations

HANG_S = 20.0
MEMORY = 12 << 30  # bytes of address space
CACHES = ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")  # of libraries
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Hang(BaseException):
    """One input took longer than HANG_S."""


def main() -> None:
    options = _options()
    if options.worker:
        work(options)
        return
    home = Path(options.home or tempfile.mkdtemp(prefix="fuzz_"))
    names = _names(home, options.only)
    started, faults, done = time.monotonic(), {}, 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for reports in pool.map(lambda k: list(_watch(home, names[k :: options.jobs], options)), range(options.jobs)):
            for report in reports:
                done += report.get("done", 0)
                if "where" in report:
                    faults.setdefault(report["where"], []).append(f"'{report['target']}' --seed {report['seed']}")
    print(f"{done} inputs of {len(names)} readers in {time.monotonic() - started:.0f} s: {len(faults)} kinds of fault")
    for where, seen in sorted(faults.items(), key=lambda item: -len(item[1])):
        print(f"  {len(seen)} x {where}\n      python -m bench.fuzz --each 1 --only {seen[0]}")
    if not options.home:
        shutil.rmtree(home)
    sys.exit(bool(faults))


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=50, help="inputs a reader")
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument("--seed", type=int, default=0, help="of the first input; the next one has the next")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--home", default="", help="folder where the good files are kept for the next time")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def _names(home: Path, only: str) -> list[str]:
    """Makes the good files."""
    from bench import fuzz_targets

    with contextlib.redirect_stdout(io.StringIO()):
        return [target.name for target in fuzz_targets.targets(home) if only in target.name]


def _watch(home: Path, names: list[str], options: Any) -> Iterator[dict]:
    """Reports of a process that reads damaged files of these kinds; after a crash another one takes the next kind."""
    while names:
        words = ["--home", str(home), "--each", str(options.each), "--seed", str(options.seed), "--worker", *names]
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.fuzz", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | dict.fromkeys(CACHES, str(home)),
        )
        reports = [json.loads(line) for line in child.communicate()[0].splitlines() if line.startswith("{")]
        yield from (report for report in reports if "at" not in report)
        if child.returncode == 0:
            return
        last = [report for report in reports if "at" in report][-1]
        yield {"where": f"exit {child.returncode}", "seed": last["at"], "target": last["target"]}
        names = names[names.index(last["target"]) + 1 :]


def work(options: Any) -> None:
    """One target, in a process of its own, one line of JSON a fault."""
    from bench import fuzz_targets

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    known = {target.name: target for target in fuzz_targets.targets(Path(options.home))}
    for name in options.worker:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fuzz_case_") as place:
            for seed in range(options.seed, options.seed + options.each):
                print(json.dumps({"at": seed, "target": name}), flush=True)
                fault = one(known[name], Path(place) / "case", seed)
                if fault:
                    print(json.dumps({"where": fault, "seed": seed, "target": name}), flush=True)
        print(json.dumps({"done": options.each}), flush=True)
        print(f"{name}: {options.each} in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def one(target: Any, folder: Path, seed: int) -> str:
    """ "" when a damaged copy of a target's files was read, or refused; else what went wrong and where."""
    from sottovoce.errors import InputError

    rng = random.Random(zlib.crc32(f"{target.name} {seed}".encode()))
    shutil.rmtree(folder, ignore_errors=True)
    for part in target.needs or (".",):
        shutil.copytree(target.home / part, folder / part, copy_function=_copy, dirs_exist_ok=True)
    path = folder / rng.choice(target.files)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(mutations.damage(data, path.name, rng))
    strays: list[str] = []
    passing = folder.with_name("passing")  # what is made in the system's temporary folder has to go again
    passing.mkdir(exist_ok=True)
    tempfile.tempdir = str(passing)
    with (
        watched((folder, passing), strays),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        try:
            target.use(folder)
        except InputError as error:
            if "\n" in str(error) or len(str(error)) > 10_000:
                return f"a long message: {str(error)[:100]!r}"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            ours = [f for f in traceback.extract_tb(error.__traceback__) if "/sottovoce/" in f.filename]
            at = f"{ours[-1].filename.rpartition('/sottovoce/')[2]}:{ours[-1].lineno}" if ours else "bench"
            return f"{type(error).__name__} at {at} ({path.name}): {str(error)[:100]}"
        finally:
            tempfile.tempdir = None
            left = [path.name for path in passing.iterdir()]
            shutil.rmtree(passing)
    if strays or left:
        return f"written outside: {strays[0]}" if strays else f"left in the temporary folder: {left[0]}"
    return ""


def _copy(source: str, to: str) -> None:
    """All but stores, which grow in place, are written anew and need no copy."""
    if "/tracks/" in source:
        shutil.copyfile(source, to)
    else:
        os.link(source, to)


@contextlib.contextmanager
def watched(folders: Sequence[Path], strays: list[str]):
    """Inside, an input that hangs raises Hang, and what is written elsewhere than in `folders` is noted."""

    def late(*_: object) -> None:
        raise Hang(f"longer than {HANG_S:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    faulthandler.dump_traceback_later(3 * HANG_S, exit=True)  # where C code does not come back
    _watching[:] = [(tuple(f"{folder}{os.sep}" for folder in folders), strays)]
    try:
        yield
    finally:
        _watching.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


_watching: list[tuple[tuple[str, ...], list[str]]] = []


# What changes a disk: which of the arguments is the place, and which the folder it is relative to.
CHANGES = {"open": (0, None), "os.mkdir": (0, 2), "os.rename": (1, 3), "os.remove": (0, 1), "os.rmdir": (0, 1),
           "os.symlink": (1, 2), "os.link": (1, 3), "os.truncate": (0, None)}  # fmt: skip


def _audit(event: str, given: tuple) -> None:
    if not _watching or event not in CHANGES:
        return
    at, relative = CHANGES[event]
    path = given[at]
    if event == "open" and not (isinstance(given[2], int) and given[2] & WRITES):
        return
    if isinstance(path, int) or path is None:
        return
    path = os.fsdecode(path)
    if relative is not None and given[relative] >= 0:
        path = os.path.join(os.readlink(f"/proc/self/fd/{given[relative]}"), path)
    inside, strays = _watching[0]
    where = os.path.abspath(path)
    fine = (*inside, "/dev/", "/proc/", os.environ["MPLCONFIGDIR"])
    if not f"{where}{os.sep}".startswith(fine) and "__pycache__" not in where:
        strays.append(f"{event} {where}")


sys.addaudithook(_audit)

if __name__ == "__main__":
    main()
