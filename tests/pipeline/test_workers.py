"""Processes: the same results as without, in bounded memory, and nobody left behind however it ends."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from processes import alive, children

from sottovoce.errors import InputError
from sottovoce.pipeline import workers

ROOT = Path(__file__).parents[2]


def square(k: int) -> int:
    return k * k


def threads_and_name(_: int) -> tuple[str | None, int]:
    return os.environ.get("OMP_NUM_THREADS"), os.getpid()


def inner(k: int) -> tuple[int, list[int]]:
    """What a worker gets that asks for workers of its own: its own process."""
    return os.getpid(), [pid for _, pid in workers.map(threads_and_name, range(3), 3)]


def fussy(k: int) -> int:
    if k == 5:
        raise InputError("five.wav: not this one. Found 5. Leave it out.")
    return k


def fatal(k: int) -> int:
    if k == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
    return k


def late(folder: Path, k: int) -> int:
    """The first item waits until another one has been received, twenty seconds at most."""
    limit = time.monotonic() + 20
    while k == 0 and not (folder / "received").exists() and time.monotonic() < limit:
        time.sleep(0.01)
    return k


def large(k: int) -> bytes:
    return bytes([k]) * 3_000_000  # more than any pipe holds


def test_processes_give_the_results_of_one_process_in_its_order():
    expected = [square(k) for k in range(50)]
    assert list(workers.map(square, range(50), 1)) == expected
    assert list(workers.map(square, range(50), 3, chunk=7)) == expected
    assert sorted(workers.map(square, range(50), 3, ordered=False)) == sorted(expected)
    assert list(workers.map(square, [], 3)) == []


def test_workers_have_one_thread_and_this_process_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = list(workers.map(threads_and_name, range(6), 2))
    assert {threads for threads, _ in found} == {"1"}
    assert os.getpid() not in {pid for _, pid in found}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert [pid for _, pid in workers.map(threads_and_name, [0], 2)] == [os.getpid()]  # one item pays for none


def blocked(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is held back by a signal mask")
def test_ctrl_c_never_reaches_a_worker_that_is_still_starting():
    """Of a process whose first worker it is, too: with it starts multiprocessing's own helper, which lets signals
    through again."""
    code = "from test_workers import blocked, workers; print(*workers.map(blocked, range(4), 2))"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    told = subprocess.run(
        [sys.executable, "-c", f"if __name__ == '__main__': exec({code!r})"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert told.stdout.split() == ["True"] * 4


def test_a_worker_starts_no_workers():
    for pid, below in workers.map(inner, range(2), 2):
        assert pid != os.getpid()
        assert set(below) == {pid}


def test_no_more_is_taken_than_the_reader_keeps_up_with():
    taken = []

    def items():
        for k in range(1000):
            taken.append(k)
            yield k

    results = workers.map(square, items(), 2, chunk=3)
    assert next(results) == 0
    time.sleep(0.3)
    assert len(taken) <= (workers.AHEAD * 2 + 1) * 3
    results.close()


def test_results_come_as_they_are_ready_where_order_is_not_asked_for(tmp_path):
    results = workers.map(partial(late, tmp_path), range(4), 2, ordered=False)
    first = next(results)
    (tmp_path / "received").touch()
    assert first != 0
    assert {first, *results} == {0, 1, 2, 3}


def test_an_error_in_a_worker_is_raised_here_and_says_where_it_was():
    results, got = workers.map(fussy, range(100), 2, chunk=2), []
    with pytest.raises(InputError, match=r"five\.wav") as error:
        got.extend(results)
    assert "in fussy" in error.value.__notes__[0]
    assert got == [0, 1, 2, 3, 4]  # what came before it was handed over


@pytest.mark.parametrize("ordered", [True, False])
def test_a_worker_that_dies_is_one_line_that_names_the_work(ordered):
    with pytest.raises(InputError, match=r"^data/x: a worker process died\. Found exit code -9;.*--jobs"):
        list(workers.map(fatal, range(20), 2, ordered=ordered, where="data/x"))


def test_a_reader_that_stops_leaves_no_worker_behind():
    results = workers.map(large, range(40), 2)
    next(results)
    started = time.monotonic()
    before = children(os.getpid())
    results.close()  # although both are in the middle of handing over more than a pipe holds
    assert before
    assert time.monotonic() - started < 5
    assert not any(map(alive, before))


PROGRAM = """
import sys, time
from functools import partial
from pathlib import Path
import sottovoce.cli
from sottovoce.pipeline import workers
from tests_of_workers import slow

def work():
    done = Path(sys.argv[1])
    for k in workers.map(partial(slow, done), range(1000), 2, ordered=sys.argv[2] == "True"):
        with open(done / "got", "a") as out:
            out.write(f"{k}\\n")

sottovoce.cli.app = work
if __name__ == "__main__":
    sottovoce.cli.run()
"""
SLOW = """
import time

def slow(folder, k):
    (folder / f"begun{k}").touch()
    time.sleep(0.05)
    return k
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for worker processes in /proc")
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_do_not_outlive_a_parent_that_is_interrupted_or_killed(tmp_path, sent, ordered):
    """SIGINT goes to everybody in the terminal's process group, as Ctrl-C does; the others to the parent alone."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "tests_of_workers.py").write_text(SLOW)
    done = tmp_path / "done"
    done.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(done), str(ordered)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    limit = time.monotonic() + 60
    while not (done / "got").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.01)
    found = children(process.pid)
    assert len(found) == 2
    (os.killpg if sent == signal.SIGINT else os.kill)(process.pid, sent)
    _, errors = process.communicate(timeout=20)
    while any(map(alive, found)):
        assert time.monotonic() < limit
        time.sleep(0.01)
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert errors == "sottovoce: interrupted; the same command goes on from here.\n"
    assert "Traceback" not in errors
    got = [int(line) for line in (done / "got").read_text().split()]
    assert got == sorted(got) if ordered else len(set(got)) == len(got)
