"""The nouns of CONTRIBUTING.md are what it says: dropped into a folder of one's own they work from the command line."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from sottovoce import plugins
from sottovoce.data.corpus import Corpus
from sottovoce.data.store import TrackStore

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+/\w+\.py)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = [
    shlex.split(line)[1:]
    for line in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)[0].splitlines()
    if line.startswith("sottovoce ")
]
SMALL = ("training.epochs=3", "training.batch_rows=16", "training.min_updates=0", "track.bins=40")
SMALL_TUNED = ("finetune.training.epochs=0", "finetune.training.min_updates=0")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("contributing")
    for path, text in FILES.items():
        (home / "mine" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "mine" / path).write_text(text)
    return home


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("SOTTOVOCE_PLUGINS", "mine")


def test_there_is_one_of_each_noun():
    assert sorted(path.split("/")[0] for path in FILES) == sorted(plugins.FOLDERS)
    assert {words[0] for words in COMMANDS} == {"prepare", "extract", "pretrain", "finetune"}


def test_the_commands_walk_the_whole_way(corpus, home, sottovoce):
    recordings = corpus.parent / "audio"
    fast = {
        "prepare": ["--jobs", "1"],
        "extract": ["--jobs", "1"],
        "pretrain": ["--jobs", "1", "--tracker", "none", *(w for s in SMALL for w in ("--set", s))],
        "finetune": [w for s in SMALL_TUNED for w in ("--set", s)],
    }
    for verb, *words in COMMANDS:
        done = sottovoce(verb, *(recordings if word == "DIR" else word for word in words), *fast[verb])
        assert done.code == 0, done.err
    data = Corpus.load(home / "data/acted")
    assert data.info["options"] == {"without": ["spk08"]}
    assert {u.speaker for u in data.utterances} == {f"spk{k:02d}" for k in range(1, 8)}
    assert data.kinds == {"emotion": "class"}
    (track,) = (home / "data/acted/tracks").glob("crossings-*/track.json")
    store = TrackStore.open(track.parent)
    shares = np.concatenate([store[id] for id in store])
    assert shares.shape[1:] == (1,)
    assert 0 < shares.mean() < shares.max() <= 1
    curves = json.loads((home / "runs/fifth/fold1/report.json").read_text())["curves"]
    assert curves["heldout_loss"][-1] < curves["trivial_loss"]  # neighbours tell more than nothing
    assert (home / "runs/ft/fold1/config.json").is_file()


def test_options_of_a_new_corpus_show_in_its_help_and_in_no_others(sottovoce):
    assert "--without A,B" in sottovoce("prepare", "acted", "--help").out
    assert "speakers to leave out" in sottovoce("prepare", "acted", "--help").out
    assert "--without" not in sottovoce("prepare", "ravdess", "--help").out
    assert "Acted: recordings named" in sottovoce("prepare", "--help").out
    assert "no option --without" in sottovoce("prepare", "ravdess", ".", "--without", "x").complaint


def test_padding_does_not_change_the_backbones_states():
    module = plugins.load("backbones", "neighbours")
    backbone = module.Backbone(module.Config(), 3).eval()
    x, lengths = torch.randn(2, 20, 3), torch.tensor([20, 11])
    longer = torch.cat([x, torch.randn(2, 7, 3)], dim=1)
    for one, other in zip(backbone(x, lengths).layers, backbone(longer, lengths).layers, strict=True):
        torch.testing.assert_close(one, other[:, :20])
