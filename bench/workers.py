"""What it costs to spread work, and that no item is lost, whoever dies: `python -m bench.workers [--part folder]`.

Items sleep, so that more workers can be tried than there are cores. Every part says how many items were done more than
once, and how many results are missing or not whole; the exit code is 1 where any is.
"""

import argparse
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from sottovoce import files
from sottovoce.pipeline import claims, cluster, prepare, workers


def item(folder: Path, seconds: float, k: int) -> None:
    """Sleeps, writes its result, and a line of when it began and ended, and who it was."""
    began = time.monotonic()
    time.sleep(seconds)
    files.write_text(folder / f"results/{k}", str(k * k))
    with open(folder / "log", "a") as log:
        log.write(f"{k} {os.getpid()} {began} {time.monotonic()}\n")


def meet(folder: Path, number: int, k: int) -> None:
    """Ends when so many workers are there."""
    (folder / f"here{k}").touch()
    while len(list(folder.glob("here*"))) < number:
        time.sleep(0.05)


def nothing(k: int) -> int:
    return k


def take(
    folder: Path, seconds: float, items: int, beat_s: float = claims.BEAT_S, lease_s: float = claims.LEASE_S
) -> None:
    """One of several processes on one folder."""
    claims.BEAT_S, claims.LEASE_S = beat_s, lease_s
    for _ in claims.work_off(partial(item, folder, seconds), listed(folder, items), folder / "claims"):
        pass


def listed(folder: Path, items: int) -> list[tuple[int, Path]]:
    return [(k, folder / f"results/{k}") for k in range(items)]


def done(folder: Path) -> list[list[str]]:
    """Item, process, beginning and end (s) of what was done."""
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def verdict(folder: Path, items: int) -> tuple[str, bool]:
    """What is wrong with the results."""
    lines = done(folder)
    twice = sum(n > 1 for n in Counter(line[0] for line in lines).values())
    lost = sum(not p.is_file() or p.read_text() != str(k * k) for k, p in listed(folder, items))
    left = [p for p in folder.glob("claims/*")]
    return f"{twice} twice, {lost} lost, {len(left)} claims left", not (lost or left)


def busy(folder: Path) -> float:
    """Share of the time between the first and the last item that workers are at one."""
    lines = done(folder)
    spent = sum(float(end) - float(began) for _, _, began, end in lines)
    first, last = min(float(line[2]) for line in lines), max(float(line[3]) for line in lines)
    return spent / (last - first) / len({line[1] for line in lines})


def overhead(home: Path, kills: int) -> bool:
    """An engine's start, and what an empty item costs."""
    items, each = 400, {}
    for name in ("processes", "ray"):
        began = time.monotonic()
        with workers.engine(name):
            done = workers.map(nothing, range(items), 2)
            assert next(done) == 0
            start = time.monotonic() - began
            assert list(done) == list(range(1, items))
            each[name] = (time.monotonic() - began - start) / items
            again = time.monotonic()
            assert list(workers.map(nothing, range(items), 2)) == list(range(items))
            again = time.monotonic() - again
        said = (
            f"first result after {start:.1f} s, then {1e3 * each[name]:.1f} ms an item; {items} more in {again:.1f} s"
        )
        print(f"| overhead | {name}, 2 workers | {said} |")
    return True


def command(home: Path, kills: int, rounds: int = 3) -> bool:
    """What a whole command takes more with Ray, which starts while the command does: two cells of a study."""
    prepare.prepare("synthetic", home / "audio", home / "data", options={"speakers": 4, "per_speaker": 10}, jobs=1)
    study = [sys.executable, "-m", "sottovoce", "study", str(home / "data"), "--init", "default", "-q", "-j", "2"]
    study += ["--labels", "10", "--seeds", "2", "--fold", "fold1", "--arms", "probe", "--tune", "none"]
    took: dict[str, list[float]] = {"processes": [], "ray": []}
    tables = set()
    for k in range(rounds):
        for name, seconds in took.items():
            began = time.monotonic()
            output = home / f"{name}{k}"
            subprocess.run([*study, "-o", output, "--workers", name], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.monotonic() - began)
            tables.add((output / "study.csv").read_bytes())
    least = {name: min(seconds) for name, seconds in took.items()}
    said = f"processes {least['processes']:.1f} s, Ray {least['ray']:.1f} s from start to end, least of {rounds}"
    print(f"| command | study of two cells, 2 workers | {said}; {len(tables)} different tables |")
    return len(tables) == 1


def folder(home: Path, kills: int, processes: int = 8, items: int = 800, seconds: float = 0.5) -> bool:
    crew = [get_context("spawn").Process(target=take, args=(home, seconds, items)) for _ in range(processes)]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    said, right = verdict(home, items)
    print(f"| folder | {items} items of {seconds} s, {processes} processes | {busy(home):.1%} busy; {said} |")
    return right


def many(home: Path, kills: int) -> bool:
    """10,000 items; many more workers than cores."""
    return folder(home, kills, 64, 10_000, 2.0)


def ray(home: Path, kills: int, processes: int = 16, items: int = 800, seconds: float = 0.5) -> bool:
    cluster.cores_here = lambda: processes  # it is only told so
    with workers.engine("ray"):
        list(workers.map(partial(meet, home, processes), range(processes), processes))  # two cores start two at a time
        made = list(workers.make(partial(item, home, seconds), listed(home, items), processes, home=home))
    said, right = verdict(home, items)
    print(f"| ray | {items} items of {seconds} s, {processes} workers that are there | {busy(home):.1%} busy; {said} |")
    return right and len(made) == items


def killed(home: Path, kills: int) -> bool:
    """Of four processes on a folder one is killed at a random moment, and another begins; so many times."""
    items, rng = 60 * kills, random.Random(0)
    begin = partial(get_context("spawn").Process, target=take, args=(home, 0.1, items, 0.2, 2.0))
    crew = [begin() for _ in range(4)]
    for one in crew:
        one.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.5, 2.0))
        victim = crew.pop(rng.randrange(4))
        assert victim.is_alive(), "all was done before the last kill"
        victim.kill()
        victim.join()
        crew.append(begin())
        crew[-1].start()
    for one in crew:
        one.join()
    said, right = verdict(home, items)
    print(f"| killed | {items} items of 0.1 s, 4 processes on a folder, {kills} kills of any | {said} |")
    return right and not list(home.rglob("*.part"))


def killed_ray(home: Path, kills: int) -> bool:
    """A worker of Ray's is killed at a random moment, so many times."""
    items, rng = 30 * kills, random.Random(0)
    cluster.cores_here = lambda: 2
    with workers.engine("ray"):
        made, at = 0, sorted(rng.sample(range(5, items - 5), kills))
        for _ in workers.make(partial(item, home, 0.05), listed(home, items), 2, home=home):
            made += 1
            if at and made >= at[0]:
                at.pop(0)
                os.kill(int((home / "log").read_text().split()[-3]), signal.SIGKILL)  # whoever was done last
    said, right = verdict(home, items)
    print(f"| killed_ray | {items} items of 0.05 s, 2 workers, {kills} kills of one | {said} |")
    return right and made == items


def killed_all(home: Path, kills: int) -> bool:
    """All processes of a folder are killed at a random moment, and begin again; so many times."""
    items, rng, held = 40 * kills, random.Random(0), 0
    for _ in range(kills):
        crew = [get_context("spawn").Process(target=take, args=(home, 0.1, items, 0.2, 2.0)) for _ in range(2)]
        for one in crew:
            one.start()
        time.sleep(rng.uniform(0.5, 3.0))
        for one in crew:
            one.kill()
            one.join()
        held += bool(list(home.glob("claims/*")))
    take(home, 0.1, items, 0.2, 2.0)
    said, right = verdict(home, items)
    print(f"| killed_all | {items} items of 0.1 s, 2 processes, {kills} kills of both, {held} in an item | {said} |")
    return right


def killed_command(home: Path, kills: int) -> bool:
    """Of three processes that a command has started one is killed at a random moment and the command told to end; or it
    is killed, and they with it. Then it begins again; so many times."""
    items, rng, clean = 40 * kills, random.Random(0), 0
    job = home / "job.sh"
    take_part = f"from bench import workers; workers.take(workers.Path({str(home)!r}), 0.1, {items}, 0.2, 2.0)"
    job.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, '-c', take_part])}\n")
    job.chmod(0o755)
    program = f"from sottovoce.pipeline import launch; launch.run('{{}}', launch.Path({str(job)!r}), 3)"
    for k in range(kills):
        driver = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        before, seen = len(done(home)), 0
        while seen < 3:  # each has done something
            assert driver.poll() is None, "all was done before the last kill"
            time.sleep(0.02)
            seen = len(crew := {int(line[1]) for line in done(home)[before:]})
        time.sleep(rng.uniform(0, 0.3))
        if k % 2:
            driver.kill()
        for pid in crew if k % 2 else [min(crew)]:
            os.kill(pid, signal.SIGKILL)
        driver.terminate()
        driver.wait()
        until = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in crew) and time.monotonic() < until:
            time.sleep(0.05)
        clean += time.monotonic() < until
    take(home, 0.1, items, 0.2, 2.0)
    said, right = verdict(home, items)
    what = f"{items} items of 0.1 s, 3 processes of a command, {kills} kills of one or of all and it"
    print(f"| killed_command | {what}, nobody left after {clean} | {said} |")
    return right and clean == kills


def drive(home: Path, items: int) -> None:
    """A program that uses Ray."""
    cluster.cores_here = lambda: 2
    with workers.engine("ray"):
        list(workers.make(partial(item, home, 0.1), listed(home, items), 2, home=home))


def killed_driver(home: Path, kills: int, part: str = "killed_driver") -> bool:
    """The program that uses Ray is killed at a random moment, once while Ray starts, and begins again."""
    items, rng, early = 20 * kills, random.Random(0), 0
    program = f"from bench import workers; workers.drive(workers.Path({str(home)!r}), {items})"
    for k in range(kills + 1):
        driver = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        before, wanted = len(os.listdir(home / "results")), items * (k + rng.random()) / (kills + 1)
        while k and driver.poll() is None and (k == kills or len(os.listdir(home / "results")) < wanted):
            time.sleep(0.01)
        if k < kills:
            time.sleep(rng.uniform(0, 0.2 if k else 3.0))
            assert driver.poll() is None, "all was done before the last kill"
            driver.kill()
            early += len(os.listdir(home / "results")) == before
        driver.wait()
    said, right = verdict(home, items)
    what = f"{items} items of 0.1 s, 2 workers of Ray, {kills} kills of the program, {early} before its first result"
    print(f"| {part} | {what} | {said} |")
    return right and driver.returncode == 0


def killed_guest(home: Path, kills: int) -> bool:
    """The same, where RAY_ADDRESS names a Ray that outlives the program."""
    cluster.cores_here = lambda: 2
    with workers.engine("ray"):
        os.environ["RAY_ADDRESS"] = cluster.connected().get_runtime_context().gcs_address
        try:
            return killed_driver(home, kills, "killed_guest")
        finally:
            del os.environ["RAY_ADDRESS"]


KILLS = (killed, killed_all, killed_command, killed_ray, killed_driver, killed_guest)
PARTS = {f.__name__: f for f in (overhead, command, folder, many, ray, *KILLS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default=",".join(PARTS), help="with commas")
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    print("| part | what | found |\n|---|---|---|")
    right = True
    for part in options.part.split(","):
        with tempfile.TemporaryDirectory() as home:
            (Path(home) / "results").mkdir()
            right &= PARTS[part](Path(home), options.kills)
            sys.stdout.flush()
    print(f"Load of this machine: {os.getloadavg()[0]:.0f} on {cluster.cores_here()} cores.")
    sys.exit(not right)


if __name__ == "__main__":
    main()
