"""docs/api.md: every snippet runs, in its order; the names it uses are public, and what they print is short."""

import re
import shutil
from pathlib import Path

import pytest

import sottovoce
from sottovoce import audio
from sottovoce.data.corpus import Corpus

TEXT = (Path(__file__).parents[1] / "docs/api.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_every_snippet_runs_as_printed(corpus, finetuned, tmp_path, monkeypatch):
    import soundfile

    data = Corpus.load(corpus)
    (tmp_path / "data").mkdir()
    (tmp_path / "runs").mkdir()
    shutil.copytree(corpus, tmp_path / "data/mine")
    shutil.copytree(finetuned, tmp_path / "runs/ft")
    wave = audio.read(data.root / data.by_id[data.folds[0].test[0]].path)
    soundfile.write(tmp_path / "clip.wav", wave.values, 16000)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    assert len(SNIPPETS) >= 6
    for k, snippet in enumerate(SNIPPETS):
        exec(compile(snippet, f"docs/api.md, snippet {k + 1}", "exec"), names)
    assert (tmp_path / "clip.json").is_file()
    assert (tmp_path / "clip.png").is_file()
    assert len(repr(names["found"])) < 200
    assert "\n" not in repr(names["found"])
    assert names["vectors"].shape == (1, names["vectors"].shape[1])


@pytest.mark.parametrize("name", re.findall(r"^from sottovoce import (.+)$", TEXT, re.MULTILINE))
def test_its_names_are_public(name):
    for one in name.split(", "):
        assert one in dir(sottovoce)
        assert one in sottovoce.__all__
