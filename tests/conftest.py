"""The way of the data walked once for all tests: a tiny synthetic corpus, pre-trained, fine-tuned, evaluated.

Nobody writes into these folders: a test that changes something copies it first (`shutil.copytree`).
"""

import os
import subprocess
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # the models are tiny; and the same sums in every process
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest  # noqa: E402

from sottovoce.commands import evaluate as evaluate_command  # noqa: E402
from sottovoce.commands import finetune as finetune_command  # noqa: E402
from sottovoce.commands import pretrain as pretrain_command  # noqa: E402
from sottovoce.inference import activity  # noqa: E402

TINY = (
    *("backbone.width=32", "backbone.layers=2", "backbone.heads=2", "backbone.feedforward=64", "backbone.dropout=0"),
    *("frontend.subsampling=4", "training.epochs=2", "training.lr=0.003", "training.batch_rows=16", "track.bins=40"),
    *("finetune.training.epochs=2", "finetune.training.lr=0.001", "finetune.training.batch_rows=16"),
    *("training.min_updates=0", "finetune.training.min_updates=0"),
    *(
        "finetune.temporal_pooling=statistics",
        "finetune.l2=0.003,0.03",
        "finetune.depth=0",
        "finetune.layer_aggregation=concat",
    ),
)
EASY = {"speakers": 8, "per_speaker": 10, "emotions": 5, "difficulty": 0.05, "seconds": [0.8, 1.2]}


@pytest.fixture(autouse=True)
def by_loudness(monkeypatch):
    """Speech is found by loudness, whatever is installed: synthetic voices are none for silero-vad."""
    monkeypatch.setattr(activity, "silero_file", lambda: None)


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """`--set` of a network that trains in a second, whatever the recipe's own settings are."""
    return list(TINY)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """8 voices x 10 utterances, 5 emotions one can hardly miss, and 2 voices without labels; 4 folds."""
    from sottovoce.pipeline import prepare

    home = tmp_path_factory.mktemp("synthetic")
    prepare.prepare("synthetic", home / "audio", home / "data", options=EASY | {"unlabelled_speakers": 2}, jobs=1)
    return home / "data"


@pytest.fixture(scope="session")
def pretrained(corpus, tmp_path_factory) -> Path:
    """One pre-training a fold."""

    folder = tmp_path_factory.mktemp("runs") / "pre"
    pretrain_command.main(
        "masked_timesteps", [corpus], folder, fold="all", settings=list(TINY), tracker="none", jobs=1, quiet=True
    )
    return folder


@pytest.fixture(scope="session")
def finetuned(corpus, pretrained) -> Path:
    """One classifier a fold."""

    folder = pretrained.parent / "ft"
    finetune_command.main(corpus, folder, init=str(pretrained), fold="all", quiet=True)
    return folder


@pytest.fixture(scope="session")
def evaluated(finetuned) -> Path:
    """The run with its predictions.csv, report.json and report.html."""

    evaluate_command.main(finetuned, opensmile=False, quiet=True)
    return finetuned


class Outcome:
    """Exit code, standard output and standard error of a command."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    @property
    def complaint(self) -> str:
        """The one line of an input error."""
        assert self.code == 2, f"exit code {self.code}\n{self.out}\n{self.err}"
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("sottovoce: ")
        assert "Traceback" not in self.err
        return lines[0].removeprefix("sottovoce: ")


@pytest.fixture
def sottovoce(monkeypatch, capfd):
    """The command line inside this process: `sottovoce("list", "tracks").out`."""
    from sottovoce import cli

    def run(*words: object) -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["sottovoce", *map(str, words)])
        code: object = 0
        try:
            cli.run()
        except SystemExit as end:
            code = end.code
        return Outcome(int(code or 0), *capfd.readouterr())  # type: ignore[call-overload]

    return run


@pytest.fixture
def process():
    """The command line in a process of its own; whatever a test leaves running is killed."""
    started: list[subprocess.Popen] = []

    def start(*words: object, cwd: Path | None = None) -> subprocess.Popen:
        home = Path(__file__).parent.parent
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "sottovoce", *map(str, words)],
                cwd=cwd,
                env=os.environ | {"PYTHONPATH": str(home), "PYTHONWARNINGS": "default"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
