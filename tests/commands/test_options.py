"""--workers: the tables of a verb are the same bytes, whoever does the work."""

import os
import shutil
import sys

import pytest

from sottovoce.data.corpus import Corpus
from sottovoce.pipeline import prepare

slow = pytest.mark.slow
FEW = {"speakers": 4, "per_speaker": 6, "emotions": 3, "difficulty": 0.05, "seconds": [0.5, 0.6]}


@pytest.fixture(scope="module")
def cluster():
    """Ray, with two workers, for all commands of this file: they leave what they did not begin."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two corpora of the same emotions."""
    home = tmp_path_factory.mktemp("two")
    for seed, name in enumerate(("first", "second")):
        prepare.prepare("synthetic", home / f"{name}-audio", home / name, options=FEW | {"seed": seed}, jobs=1)
    return home


def bytes_of(folder, pattern):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.glob(pattern))}


def ways(sottovoce, home, words, pattern, *names):
    """What a command writes below `home/NAME`, as files, of every way; `words(NAME)` is the command."""
    found = []
    for name in names:
        done = sottovoce(*words(home / name), "--workers", name, "-j", "2", "-q")
        assert done.code == 0, done.err
        found.append(bytes_of(home / name, pattern))
    assert found[0]
    return found


@slow
def test_extract(sottovoce, corpus, cluster, tmp_path):
    def words(home):
        shutil.copytree(corpus, home, ignore=shutil.ignore_patterns("tracks"))
        return "extract", home, "--set", "bins=20"

    one, two, three = ways(sottovoce, tmp_path, words, "tracks/*/*[0-9l]", "processes", "folder", "ray")
    assert one == two == three
    assert {path.name.partition("-")[0] for path in one} == {"index.jsonl", "values"}
    assert len(one) > 3


@slow
def test_predict(sottovoce, corpus, finetuned, cluster, tmp_path):
    data = Corpus.load(corpus)
    recordings = [data.root / u.path for u in data.utterances[:6]]

    def words(home):
        return (
            "predict",
            finetuned / "fold1",
            *recordings,
            "-o",
            home,
            "--timeline",
            "--format",
            "csv",
            "--vad",
            "loudness",
        )

    one, two, three = ways(sottovoce, tmp_path, words, "*.csv", "processes", "folder", "ray")
    assert len(one) == 7
    assert one == two == three
    assert len(list(tmp_path.glob("folder/journal/*.json"))) == 6


@slow
def test_transfer(sottovoce, two, cluster, tmp_path):
    def words(home):
        for name in ("first", "second"):
            shutil.copytree(two / name, home / name)  # pooled states are kept beside a corpus
        return "transfer", home / "first", home / "second", "--set=finetune.copies=0", "-o", home / "out"

    one, two_, three = ways(sottovoce, tmp_path, words, "out/transfer.csv", "processes", "folder", "ray")
    assert one == two_ == three
    assert len(list(tmp_path.glob("*/first/tracks/shared/*"))) == 4


@slow
def test_run(sottovoce, corpus, tiny, cluster, tmp_path):
    settings = [f"--set=pretrain.{text}" for text in tiny if not text.startswith("finetune")]
    settings += [f"--set={text}" for text in tiny if text.startswith("finetune")]

    def words(home):
        return ("run", "masked_timesteps", corpus, "-o", home, "--fold", "fold1,fold2", "--ablate", "scratch",
                "--no-opensmile", *settings)  # fmt: skip

    one, two, three = ways(sottovoce, tmp_path, words, "**/*.csv", "processes", "folder", "ray")
    assert one == two == three
    assert {"compare.csv", "predictions.csv"} <= {path.name for path in one}
    assert [len(list(tmp_path.glob(f"{way}/shared/*"))) for way in ("processes", "folder", "ray")] == [0, 2, 2]


def test_slurm_gets_a_script_and_nothing_runs(sottovoce, corpus, tmp_path):
    words = ["run", "masked_timesteps", corpus, "-o", tmp_path / "my run", "-j", "3"]
    done = sottovoce(*words, "--workers", "slurm", "--partition", "gpu")
    assert f"sbatch '{tmp_path}/my run/sottovoce.sbatch'" in done.out
    lines = (tmp_path / "my run/sottovoce.sbatch").read_text().splitlines()
    assert {"#SBATCH --array=0-2", "#SBATCH --partition=gpu"} <= set(lines)
    assert lines[-1].endswith("--workers slurm --partition gpu --workers folder --jobs 1")


def test_a_script_for_any_queue_runs_the_same_command_and_carries_no_secret(sottovoce, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTOVOCE_API_KEY", "hidden")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # what --offline sets
    done = sottovoce("study", corpus, "-o", tmp_path / "s", "--init", "default", "--workers", "command")
    script = tmp_path / "s/sottovoce.sh"
    assert str(script) in done.out
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[-1].endswith("--workers command --workers folder --jobs 1")
    assert "export HF_HUB_OFFLINE=1" in lines
    assert "hidden" not in script.read_text()
    assert not list(tmp_path.glob("s/cells*"))
