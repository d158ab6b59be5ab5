"""Damaged files of every kind that is read: each is read well or refused on one line; nothing is written elsewhere.

A few inputs a reader, the same every time; `python -m bench.fuzz` goes on for as long as one wants.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sottovoce.errors import InputError

pytest.importorskip("pyarrow")
pytest.importorskip("av")
from bench import fuzz
from bench.fuzz_targets import Target


@pytest.mark.slow
def test_damaged_inputs_are_read_or_refused(tmp_path):
    root = Path(__file__).parents[1]
    words = [sys.executable, "-m", "bench.fuzz", "--each", "8", "--seed", "0", "--jobs", "1", "--home", str(tmp_path)]
    where = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "cwd": root}
    done = subprocess.run(words, capture_output=True, text=True, timeout=1200, **where)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert " 0 kinds of fault" in done.stdout
    assert int(done.stdout.split()[0]) == 8 * int(done.stdout.split(" readers")[0].split()[-1])


def test_a_fault_of_every_sort_is_seen(tmp_path, monkeypatch):
    """The watch itself: an exception, a file outside, one left behind, a long message; and what is none of these."""
    home, place = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    place.mkdir()
    (home / "x.json").write_text(json.dumps({"a": 1}))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "caches"))

    def refuses(folder):
        raise InputError("x.json: not read.")

    def breaks(folder):
        raise KeyError("a")

    def strays(folder):
        (folder.parent / "outside").write_text("x")

    def moves(folder):
        os.rename(folder / "x.json", folder / "../../x.json")

    def leaves(folder):
        tempfile.mkdtemp()

    def cleans(folder):
        with tempfile.TemporaryDirectory() as passing:
            Path(passing, "x").write_text("x")
        (folder / "y").write_text("x")

    said = {
        use.__name__: fuzz.one(Target("x", home, ("x.json",), use), place / "case", 0)
        for use in (refuses, breaks, strays, moves, leaves, cleans)
    }
    assert (said["refuses"], said["cleans"]) == ("", "")
    assert said["breaks"].startswith("KeyError at bench (x.json)")
    assert said["strays"].startswith("written outside: open ")
    assert said["moves"].startswith("written outside: os.rename ")
    assert said["leaves"].startswith("left in the temporary folder: tmp")
