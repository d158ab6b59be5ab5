"""A noun of one's own is one new file, in a folder named by SOTTOVOCE_PLUGINS, used from the command line as it is."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sottovoce import plugins
from sottovoce.backbones import base as backbone_base
from sottovoce.data import runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.store import TrackStore
from sottovoce.objectives import base as objective_base

OBJECTIVE = '''"""Ahead: say what a step is a little later, from the states so far and to come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sottovoce.backbones.base import Backbone
from sottovoce.data.batching import Batch
from sottovoce.errors import InputError
from sottovoce.modeling.masking import RowRandom
from sottovoce.objectives import base
from sottovoce.objectives.base import Loss


@dataclass(frozen=True)
class Config(base.Config):
    ahead: int = 3  # steps

    def check(self, longest: int) -> None:
        if longest <= self.ahead:
            raise InputError(f"objective.ahead: {self.ahead} steps. Found utterances of at most {longest}. Use less.")


class Objective(base.Objective):
    judges: ClassVar[bool] = True  # its prediction is of use later, for the track

    def __init__(self, config: Config, backbone: Backbone, widths: Mapping[str, int] | None = None):
        super().__init__(config, backbone, widths)
        self.predict = nn.Linear(backbone.dim, backbone.features)

    def forward(self, batch: Batch, rng: RowRandom) -> Loss:
        seen = batch.x.masked_fill(~batch.valid[..., None], 0.0)
        return self._loss(batch, self.predict(self.backbone(seen, batch.lengths).last))

    def baseline(self, batch: Batch, rng: RowRandom) -> Loss:
        return self._loss(batch, torch.zeros_like(batch.x))

    def _loss(self, batch: Batch, found: Tensor) -> Loss:
        k = self.config.ahead
        scored = batch.scored[:, k:]
        return Loss(((found[:, :-k] - batch.x[:, k:]).abs().mean(-1) * scored).sum(), scored.sum())
'''

FROM_TRACKS = '''"""Rise: how much louder than half a second ago a frame is, in dB."""

from dataclasses import dataclass

import numpy as np

SOURCE = "level"


@dataclass(frozen=True)
class Config:
    back: int = 31  # frames
    rate_hz: float = 62.5
    dim: int = 1


def derive(source, utterances, everybody, config):
    for u in utterances:
        level = source[u.id]
        before = np.concatenate([np.repeat(level[:1], config.back, axis=0), level])[: len(level)]
        yield u.id, (level - before).astype(np.float32)
'''

FROM_A_RUN = '''"""Surprise: the size of the prediction that a model of `ahead` makes, a number a step."""

from dataclasses import dataclass

OBJECTIVE = "ahead"


@dataclass(frozen=True)
class Config:
    model: str = ""
    made_by: str = ""
    heard: tuple[str, ...] = ()
    rate_hz: float = 25.0
    dim: int = 1


def frames(model, x, lengths):
    return model.predict(model.backbone(x, lengths).last).norm(dim=2, keepdim=True)
'''

FROM_RECORDINGS = '''"""Peak: the largest sample of every hundredth of a second."""

from dataclasses import dataclass

import numpy as np

from sottovoce.data.track import Track


@dataclass(frozen=True)
class Config:
    rate_hz: float = 100.0
    dim: int = 1


def make(wave, config):
    count = len(wave.values) // 160
    return Track(np.abs(wave.values[: 160 * count]).reshape(count, 160).max(1)[:, None], 100.0, 0.005)
'''

RECIPE = '''"""Peek: masked timesteps' settings with an objective of my own."""

from dataclasses import replace

from sottovoce import plugins


def recipe(track=None):
    found = plugins.load("recipes", "masked_timesteps").recipe(track)
    own = plugins.load("objectives", "ahead").Config(ahead=2)
    return replace(found, name="peek", objective="ahead", objective_config=own)
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("mine")
    for path, text in {
        "objectives/ahead.py": OBJECTIVE,
        "tracks/rise.py": FROM_TRACKS,
        "tracks/surprise.py": FROM_A_RUN,
        "recipes/peek.py": RECIPE,
    }.items():
        (home / path).parent.mkdir(exist_ok=True)
        (home / path).write_text(text)
    return home


@pytest.fixture(autouse=True)
def mine(home, monkeypatch):
    monkeypatch.setenv("SOTTOVOCE_PLUGINS", str(home))


@pytest.fixture(scope="module")
def data(corpus, tmp_path_factory):
    """The tiny corpus, to extract into."""
    return shutil.copytree(corpus, tmp_path_factory.mktemp("plugins") / "data")


@pytest.fixture(scope="module")
def run(home, data, tiny):
    """A process of its own, as anybody would start it."""
    sizes = [word for setting in tiny for word in ("--set", setting)]
    words = ["pretrain", "masked_timesteps", data, "--objective", "ahead", "--set", "objective.ahead=2"]
    words += ["-o", data.parent / "pre", "--fold", "fold1", "-q", "--jobs", "1", "--tracker", "none", *sizes]
    environment = os.environ | {"SOTTOVOCE_PLUGINS": str(home)}
    subprocess.run([sys.executable, "-m", "sottovoce", *map(str, words)], env=environment, timeout=300, check=True)
    return data.parent / "pre/fold1"


def test_an_objective_of_one_file_is_trained_from_the_command_line(run, data, tmp_path, sottovoce):
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"] == "masked_timesteps-ahead"
    assert (config["settings"]["objective"], config["settings"]["objective_config"]) == ("ahead", {"ahead": 2})
    curves = json.loads((run / "report.json").read_text())["curves"]
    assert len(curves["heldout_loss"]) == 2
    assert curves["heldout_loss"][-1] < curves["trivial_loss"]
    assert "Ahead: say what a step is" in sottovoce("list", "objectives").out
    words = ["finetune", data, "--init", run.parent, "-o", tmp_path / "ft", "--fold", "fold1", "-q"]
    assert sottovoce(*words, "--set", "finetune.training.epochs=0").code == 0


def test_an_objective_of_ones_own_takes_part_in_a_recipe_and_says_what_it_cannot_do(data, tmp_path, sottovoce):
    assert "objective.ahead = 2" in sottovoce("pretrain", "peek", data, "-o", tmp_path, "--print-config").out
    words = ["pretrain", "peek", data, "-o", tmp_path / "x", "--jobs", "1", "-q"]
    assert "objective.ahead: 9999 steps" in sottovoce(*words, "--set", "objective.ahead=9999").complaint
    assert "'ahaed'" in sottovoce(*words, "--objective", "ahaed").complaint
    assert "Use --objective npc" in sottovoce(*words, "--set", "objective=npc").complaint
    assert not (tmp_path / "x").exists()


def test_a_track_made_of_another_track_is_one_file(data, sottovoce):
    assert sottovoce("extract", data, "--track", "rise", "--set", "back=10").code == 0
    (path,) = (data / "tracks").glob("rise-*/track.json")
    (level,) = (data / "tracks").glob("level-*/track.json")
    found, source = TrackStore.open(path.parent), TrackStore.open(level.parent)
    id = found.ids[3]
    np.testing.assert_allclose(found[id][10:], source[id][10:] - source[id][:-10], atol=1e-4)


def test_a_track_made_by_a_run_is_one_file(run, data, sottovoce):
    assert sottovoce("extract", data, "--track", "surprise", "--model", run).code == 0
    (path,) = (data / "tracks").glob("surprise-*/track.json")
    found = TrackStore.open(path.parent)
    assert set(found.ids) == set(Corpus.load(data).by_id)
    assert set(found.head.config["heard"]) == runs.Run.load(run).seen_speakers
    assert all(np.isfinite(found[id]).all() and found[id].min() > 0 for id in found)


def test_recordings_become_a_track_of_ones_own_in_several_processes(home, data, sottovoce):
    """A worker that is started afresh finds the file too."""
    (home / "tracks/peak.py").write_text(FROM_RECORDINGS)
    assert sottovoce("extract", data, "--track", "peak", "--jobs", "2").code == 0
    (path,) = (data / "tracks").glob("peak-*/track.json")
    assert len(TrackStore.open(path.parent)) == len(Corpus.load(data).utterances)


@pytest.mark.parametrize(
    ("path", "text", "words", "said"),
    [
        ("objectives/npc.py", OBJECTIVE, ["list", "objectives"], "npc.py: objectives has a npc already"),
        (
            "tracks/bare.py",
            '"""Nothing."""\n',
            ["features", "x.wav", "-o", "x.csv", "--track", "bare"],
            "bare.py: not one of tracks",
        ),
    ],
)
def test_a_file_that_is_no_noun_or_has_a_name_that_is_taken_is_one_line(
    path, text, words, said, tmp_path, monkeypatch, sottovoce
):
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(text)
    monkeypatch.setenv("SOTTOVOCE_PLUGINS", str(tmp_path))
    assert said in sottovoce(*words).complaint


def test_a_folder_that_is_not_there_is_one_line(tmp_path, monkeypatch, sottovoce):
    monkeypatch.setenv("SOTTOVOCE_PLUGINS", str(tmp_path / "nowhere"))
    assert "no such folder" in sottovoce("list", "tracks").complaint


# ---------------------------------------------------------------------------------------------- the package's own


def test_every_objective_and_backbone_keeps_the_contract_of_its_folder():
    for name in plugins.names("objectives"):
        module = plugins.load("objectives", name)
        assert issubclass(module.Objective, objective_base.Objective), name
        assert issubclass(module.Config, objective_base.Config), name
    for name in plugins.names("backbones"):
        module = plugins.load("backbones", name)
        assert issubclass(module.Backbone, backbone_base.Backbone), name
        assert {"width", "layers"} <= set(dir(module.Config)) | set(module.Config.__dataclass_fields__), name


def test_nobody_asks_a_backbone_or_an_objective_whether_it_has_something():
    """Their `base.py` says what they have."""
    probes = []
    for path in sorted(Path(plugins.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("hasattr", "getattr")
            ):
                asked = ast.unparse(node.args[0]).split(".")[-1]
                if asked in ("backbone", "objective", "network", "model"):
                    probes.append(f"{path.name}:{node.lineno} {ast.unparse(node)}")
    assert not probes
