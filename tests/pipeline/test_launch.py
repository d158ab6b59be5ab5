"""Workers that a template starts: all are waited for, the failed are named, and none outlives the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import alive

from sottovoce.errors import InputError
from sottovoce.pipeline import launch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="job scripts are for sh")


@pytest.fixture
def job(tmp_path):
    """Notes that it was there."""
    job = tmp_path / "my job" / "sottovoce.sh"
    job.parent.mkdir()
    job.write_text(f"#!/bin/sh\necho x >> '{tmp_path}/ran'\n")
    job.chmod(0o755)
    return job


@pytest.mark.parametrize("template", ["sh -c {}", "srun", "", "ssh node{k}"])
def test_a_template_says_where_the_job_goes(job, template):
    if "{}" in template:
        assert launch.run('sh -c "{}"', job, 3) == []  # a second shell takes the quotes off
        assert (job.parents[1] / "ran").read_text() == "x\n" * 3
    else:
        with pytest.raises(InputError, match=r"^--workers command:.*: does not say where the job goes\. Found no \{\}"):
            launch.run(template, job, 3)
        assert not (job.parents[1] / "ran").exists()


def test_the_number_of_a_worker_is_filled_in_and_one_that_fails_is_named(job):
    (failure,) = launch.run("test {k} != 1 && {} || { echo no node{k} >&2; echo; exit 7; }", job, 3)
    assert failure.startswith("exit code 7 of `test 1 != 1 && ")
    assert failure.endswith("sottovoce.1.log: no node1)")
    assert (job.parents[1] / "ran").read_text() == "x\n" * 2


def test_all_failing_is_one_line_with_what_one_said(job):
    with pytest.raises(
        InputError, match=r"none of 2 ended well\. Found exit code 127 of `sruun .*sruun: .*not found"
    ) as error:
        launch.run("sruun -n1 {}", job, 2)
    assert "\n" not in str(error.value)


PROGRAM = """
import sys
from pathlib import Path
import sottovoce.cli
from sottovoce.pipeline import launch

sottovoce.cli.app = lambda: launch.run(sys.argv[2], Path(sys.argv[1]), 3)
launch.PATIENCE_S = 1.0
sottovoce.cli.run()
"""


@pytest.mark.parametrize(
    ("template", "sent"),
    [
        ("{}", signal.SIGINT),
        ("{}", signal.SIGHUP),
        ("{} & wait", signal.SIGTERM),
        ("trap '' TERM; {}", signal.SIGINT),
    ],
)
def test_nothing_outlives_a_command_that_is_told_to_end(tmp_path, sent, template):
    """Not what its commands started either, nor what does not listen."""
    job, home = tmp_path / "sottovoce.sh", Path(__file__).parents[2]
    job.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\nsleep 60\n")
    job.chmod(0o755)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, job, template],
        env=os.environ | {"PYTHONPATH": str(home)},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    limit = time.monotonic() + 30
    while not (tmp_path / "pids").exists() or len(pids := (tmp_path / "pids").read_text().split()) < 3:
        assert time.monotonic() < limit
        time.sleep(0.02)
    program.send_signal(sent)
    _, said = program.communicate(timeout=20)
    assert program.returncode == 130
    assert said == "sottovoce: interrupted; the same command goes on from here.\n"
    assert not any(alive(int(pid)) for pid in pids)
