"""Who may make a run in a folder, and which config.json is one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sottovoce.data import runs
from sottovoce.errors import InputError

AT_WORK = """
import sys
from pathlib import Path
from sottovoce.data import runs
runs.begin(Path(sys.argv[1]), {"kind": "other", "identity": "first", "settings": {}})
print("at work", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that makes a run in tmp_path / "run"."""
    command = [sys.executable, "-c", AT_WORK, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def config(identity: str) -> dict:
    return {"kind": "other", "identity": identity, "settings": {}}


def test_two_commands_do_not_make_two_runs_in_one_folder(tmp_path: Path, other: subprocess.Popen):
    with pytest.raises(InputError, match="another command is making another run there"):
        runs.begin(tmp_path / "run", config("second"))
    assert json.loads((tmp_path / "run/config.json").read_text())["identity"] == "first"


def test_processes_of_one_run_share_its_folder(tmp_path: Path, other: subprocess.Popen):
    assert not runs.begin(tmp_path / "run", config("first"))


def test_what_was_killed_before_it_had_weights_holds_nothing(tmp_path: Path, other: subprocess.Popen):
    other.kill()
    other.wait()
    assert not runs.begin(tmp_path / "run", config("second"))
    assert json.loads((tmp_path / "run/config.json").read_text())["identity"] == "second"


def test_a_finished_run_leaves_no_lock(tmp_path: Path):
    runs.begin(tmp_path, config("first"))
    (tmp_path / "model.safetensors").touch()
    runs.Run(tmp_path, config("first")).finish()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert runs.begin(tmp_path, config("first"))
    with pytest.raises(InputError, match=r"a run of another configuration. Differs in: its data\."):
        runs.begin(tmp_path, config("second"))
    with pytest.raises(InputError, match=r"Differs in: labels \(None there, 60 now\)\."):
        runs.begin(tmp_path, config("second") | {"labels": 60})


@pytest.mark.parametrize("key", runs.NEEDED["finetune"])
def test_what_readers_rely_on_is_there_whatever_kind_they_ask_for(tmp_path: Path, key: str):
    whole = {key: {} for key in ("settings", "task")} | {"seen_speakers": [], "features": 1, "seed": 0, "labels": 0}
    whole |= {"kind": "finetune", "identity": "a", "fold": "fold1", "corpus": "data"}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    assert runs.Run.load(tmp_path).config["fold"] == "fold1"
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in whole.items() if k != key}))
    with pytest.raises(InputError, match=f"damaged. Found no {key}"):
        runs.Run.load(tmp_path)


@pytest.mark.parametrize("odd", [{"sources": ["cremad"]}, {"sources": 3}, {"labels": "all"}, {"transductive": "no"}])
def test_entries_of_another_type_are_damage(tmp_path: Path, odd: dict):
    whole = {"kind": "pretrain", "identity": "a", "fold": "f", "settings": {}}
    (tmp_path / "config.json").write_text(json.dumps(whole | {"features": 1, "seen_speakers": []} | odd))
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        runs.Run.load(tmp_path)
