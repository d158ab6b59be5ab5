"""Work shared by a folder: every item once, whoever is killed, and what always fails is named."""

import errno
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from sottovoce import files
from sottovoce.errors import InputError
from sottovoce.pipeline import claims


def make(folder: Path, k: int) -> None:
    """The result, and a line for each time that it was begun and done."""
    with open(folder / "begun", "a") as out:
        out.write(f"{k} {os.getpid()}\n")
    if k == 7:
        while (folder / "hold").exists():
            time.sleep(0.01)
    if k == 3 and (folder / "bad").exists():
        raise ValueError("three")
    files.write_text(folder / f"r{k}", str(k * k))
    with open(folder / "done", "a") as out:
        out.write(f"{k}\n")


def take(folder: Path, items: int, ahead_s: float = 0.0) -> None:
    """By a process whose clock is so far ahead of that of the folder."""
    if ahead_s:
        touch = os.utime
        claims.os.utime = lambda path: touch(path, (time.time() + ahead_s, time.time() + ahead_s))
    claims.BEAT_S, claims.LEASE_S, claims.LOOK_S = 0.1, 1.5, 0.05
    work = [(k, folder / f"r{k}") for k in range(items)]
    assert {p.name for p in claims.work_off(partial(make, folder), work, folder / "claims")} == {
        p.name for _, p in work
    }


def started(folder: Path, items: int, clocks: list[float]) -> list:
    process = multiprocessing.get_context("spawn").Process
    crew = [process(target=take, args=(folder, items, ahead_s)) for ahead_s in clocks]
    for one in crew:
        one.start()
    return crew


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_no_item_is_lost_or_done_twice(tmp_path):
    for one in started(tmp_path, 200, [0.0, 0.0, 0.0]):
        one.join()
        assert one.exitcode == 0
    assert sorted(map(int, lines(tmp_path / "done"))) == list(range(200))
    assert all((tmp_path / f"r{k}").read_text() == str(k * k) for k in range(200))
    assert not (tmp_path / "claims").exists()


@pytest.mark.parametrize("clocks", [[0.0, 0.0], [3600.0, -3600.0]])
def test_what_a_killed_process_held_is_taken_over_and_a_slow_one_keeps_its_own(tmp_path, clocks):
    (tmp_path / "hold").touch()
    crew = started(tmp_path, 20, clocks)
    limit = time.monotonic() + 60
    while len(set(lines(tmp_path / "done"))) < 19:
        assert time.monotonic() < limit
        time.sleep(0.02)
    time.sleep(2)  # longer than the lease: the holder lives, so nobody takes 7
    holders = [int(line.split()[1]) for line in lines(tmp_path / "begun") if line.startswith("7 ")]
    assert len(holders) == 1
    os.kill(holders[0], signal.SIGKILL)
    (tmp_path / "hold").unlink()
    for one in crew:
        one.join(60)
    assert sorted(one.exitcode for one in crew) == [-signal.SIGKILL, 0]
    assert sorted(map(int, lines(tmp_path / "done"))) == list(range(20))


def test_an_item_that_fails_three_times_is_named_and_the_others_are_done(tmp_path, monkeypatch):
    for name in ("BEAT_S", "LEASE_S", "LOOK_S"):
        monkeypatch.setattr(claims, name, 1.0)  # restored afterwards: `take` sets them
    (tmp_path / "bad").touch()
    with pytest.raises(InputError, match=r"r3: 1 given up after 3 attempts\. Found ValueError: three\."):
        take(tmp_path, 6)
    assert sorted(map(int, lines(tmp_path / "done"))) == [0, 1, 2, 4, 5]
    assert sum(line.startswith("3 ") for line in lines(tmp_path / "begun")) == 3
    (tmp_path / "bad").unlink()
    with pytest.raises(InputError, match="given up"):  # by any process
        take(tmp_path, 6)
    for claim in (tmp_path / "claims").iterdir():
        claim.unlink()
    take(tmp_path, 6)
    assert (tmp_path / "r3").read_text() == "9"


@pytest.mark.parametrize("what", ["claim", "result"])
def test_a_full_disk_is_one_line_and_what_was_done_stays(tmp_path, monkeypatch, what):
    for name in ("BEAT_S", "LEASE_S", "LOOK_S"):
        monkeypatch.setattr(claims, name, 1.0)  # restored afterwards: `take` sets them
    create, replace = os.open, os.replace

    def full(path, *more):
        if len(lines(tmp_path / "done")) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return create(path, *more) if what == "claim" else replace(path, *more)

    monkeypatch.setattr(claims.os if what == "claim" else files.os, "open" if what == "claim" else "replace", full)
    found = r"/claims: cannot be written\. No space" if what == "claim" else r"/r3: 3 given up .* No space left"
    with pytest.raises(InputError, match=found) as error:
        take(tmp_path, 6)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "claims", "done", "r0", "r1", "r2"]
    if what == "result":  # as the message says
        for claim in (tmp_path / "claims").iterdir():
            claim.unlink()
    take(tmp_path, 6)
    assert sorted(map(int, lines(tmp_path / "done"))) == list(range(6))
