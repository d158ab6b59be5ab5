"""Workers of a Ray cluster: the results of local ones, in their order, whoever dies; one line for what does not fit.

One cluster of two workers on this machine serves all tests of the file.
"""

import os
import re
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

import sottovoce
from sottovoce import files
from sottovoce.errors import InputError
from sottovoce.pipeline import cluster, workers


def square(k: int) -> int:
    return k * k


def fussy(k: int) -> int:
    if k == 5:
        raise InputError("five.wav: not this one. Found 5. Leave it out.")
    return k


def about(_: int) -> tuple[int, str | None, list[int]]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), list(workers.map(square, range(3), 3))


def total(numbers: bytes, k: int) -> int:
    return len(numbers) + k


def mortal(folder: Path, deaths: int, k: int) -> int:
    """Item 3 kills its worker, as the system does when memory runs out, this many times."""
    with open(folder / f"begun{k}", "a") as out:
        out.write("x")
    if k == 3 and (folder / "begun3").stat().st_size <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return k


def make(folder: Path, k: int) -> None:
    mortal(folder, 9, k)
    if k == 4:
        raise ValueError("four")
    files.write_text(folder / f"r{k}", str(k * k))


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch):
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        with workers.engine("ray"), pytest.raises(InputError, match=r"^RAY_ADDRESS=127\S+: no cluster .*refused"):
            list(workers.map(square, range(4), 2))


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_server_at_the_address_is_one_line(monkeypatch, said):
    pytest.importorskip("ray")
    monkeypatch.setattr(cluster, "ANSWER_S", 0.5)

    def answer():
        with server.accept()[0] as line:
            line.recv(100)
            line.sendall(said)
            time.sleep(1)  # the silent one does not hang up

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        with workers.engine("ray"), pytest.raises(InputError, match=r"no cluster .* Found (something else|timed out)"):
            list(workers.map(square, range(4), 2))


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if not installed
    with pytest.raises(InputError, match=re.escape("pip install 'sottovoce[ray]'")), workers.engine("ray"):
        pytest.fail("said before any work")


@pytest.mark.parametrize("name", ["dask", "ray:", "ray:-1", "ray:nan", "folder:1", ""])
def test_another_way_is_answered_with_those_there_are(name):
    with pytest.raises(InputError, match=rf"^--workers {name}: there is no such way\. There are: processes, folder"):
        workers.engine(name).__enter__()


@pytest.fixture(scope="module")
def ray():
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch, workers.engine("ray"):
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # functions of this file
        patch.setattr(cluster, "cores_here", lambda: 2)
        yield cluster.connected()


slow = pytest.mark.slow


@slow
def test_the_results_of_local_workers_in_their_order(ray):
    expected = [square(k) for k in range(50)]
    assert workers.cores() == 2
    assert list(workers.map(square, range(50), 2)) == expected
    assert list(workers.map(square, range(50), 2, chunk=7)) == expected
    assert sorted(workers.map(square, range(50), 2, ordered=False)) == sorted(expected)
    assert list(workers.map(square, [], 2)) == []
    large = bytes(20_000_000)  # more than Ray takes as an argument
    assert list(workers.map(partial(total, large), range(4), 2)) == [len(large) + k for k in range(4)]


@slow
def test_a_worker_has_one_thread_and_starts_no_workers(ray):
    for pid, threads, inner in workers.map(about, range(4), 2):
        assert pid != os.getpid()
        assert threads == "1"
        assert inner == [0, 1, 4]


@slow
def test_an_error_comes_in_its_turn(ray):
    results, got = workers.map(fussy, range(100), 2, chunk=2), []
    with pytest.raises(InputError, match=r"^five\.wav: not this one\. Found 5\. Leave it out\.") as error:
        got.extend(results)
    assert "in fussy" in error.value.__notes__[0]
    assert got == [0, 1, 2, 3, 4]


@slow
def test_a_worker_that_is_killed_has_its_item_done_again(ray, tmp_path):
    assert list(workers.map(partial(mortal, tmp_path, 2), range(6), 2)) == list(range(6))
    assert (tmp_path / "begun3").read_text() == "xxx"


@slow
def test_what_fails_three_times_is_named_and_the_others_are_done(ray, tmp_path):
    items = [(k, tmp_path / f"r{k}") for k in range(8)]
    got = []
    with pytest.raises(
        InputError, match=r"r[34]: 2 given up after 3 attempts\. Found (InputError: .*worker died|Value)"
    ):
        got.extend(workers.make(partial(make, tmp_path), items, 2, home=tmp_path))
    assert sorted(path.name for path in got) == ["r0", "r1", "r2", "r5", "r6", "r7"]
    assert (tmp_path / "begun4").read_text() == "xxx"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@slow
@pytest.mark.parametrize("which", ["version", "python"])
def test_another_version_on_a_worker_is_one_line(ray, monkeypatch, which):
    if which == "version":
        monkeypatch.setattr(sottovoce, "__version__", "7.7")
    else:
        monkeypatch.setattr(cluster.platform, "python_version_tuple", lambda: ("3", "7", "1"))
    found = {"version": r"another sottovoce on \S+ Found \S+, not 7\.7\.", "python": r"another Python .*, not 3\.7\."}
    with pytest.raises(InputError, match=found[which]):
        list(workers.map(square, range(4), 2))


@slow
def test_a_worker_without_the_folder_is_one_line(ray, tmp_path):
    with pytest.raises(InputError, match=r"^/nowhere/corpus: not there on \S+ Every machine has to see it under this"):
        list(workers.map(square, range(4), 2, needs=[tmp_path, Path("/nowhere/corpus")]))
