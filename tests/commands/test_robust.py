"""What holds for every verb: where it writes is looked at first, numbers are in their range, names are shown as they
are, and no network is asked behind one's back."""

import os

import pytest

from sottovoce import files
from sottovoce.commands._tables import Terminal
from sottovoce.config import recipe
from sottovoce.errors import InputError

HOSTILE = "clip [final].wav [/b] :smile: \x1b[31mred"


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "study", "prepare", "label", "embed", "predict", "evaluate"])
def test_an_output_that_cannot_be_is_said_before_any_work(sottovoce, tmp_path, verb):
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file/out.csv"
    words = {"pretrain": ["masked_timesteps", "nowhere"], "prepare": ["folder", "nowhere"], "embed": ["default", "no"]}
    words |= {"predict": ["nowhere", "x.wav"], "study": ["nowhere", "--init", "x"]}
    line = sottovoce(verb, *words.get(verb, ["nowhere"]), "-o", out).complaint
    assert line.startswith(f"{out}: cannot be written")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, folder, said in ((tmp_path, False, "a folder is there"), (tmp_path / "file", True, "a file is there")):
        with pytest.raises(InputError, match=said):
            files.check_output(path, folder=folder)
    files.check_output(tmp_path / "a/b/c", folder=True)
    files.check_output(tmp_path / "a/b/c.csv", folder=False)
    files.check_output(tmp_path / "file", folder=False)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "run", "x.wav", "--window", "inf"),
        ("predict", "run", "x.wav", "--hop", "nan"),
        ("pretrain", "mockingjay", "data", "-o", "r", "--seed", "-1"),
        ("finetune", "data", "-o", "r", "--seed", str(10**30)),
        ("study", "data", "-o", "r", "--init", "x", "--jobs", "-2"),
        ("label", "run", "--layer", "-1"),
        ("run", "ems", "data", "-o", "r", "--jobs", "100000"),
    ],
)
def test_a_number_outside_its_range_is_refused(sottovoce, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    said = sottovoce(*words)
    assert said.code == 2
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []
    assert any(word.startswith("--") and word in said.err for word in words)


@pytest.mark.parametrize(
    "text",
    ["training.lr=nan", "training.lr=1e300", "training.seed=-1", "training.epochs=inf", "training.batch_rows=1e30"]
    + ["backbone.width=0", "backbone.heads=0", "backbone.dropout=2", "backbone.eps=nan", "backbone.init_std=-1"]
    + ["track.bins=0", "track.dither=inf", "track.hop_ms=0", "finetune.l2=nan", "frontend.subsampling=inf"],
)
def test_a_setting_outside_its_range_is_refused(text):
    with pytest.raises(InputError, match=text.partition("=")[0].rpartition(".")[2]):
        recipe.resolve("mockingjay", settings=[text])


def test_names_are_shown_as_they_are(capsys):
    Terminal(200).print(HOSTILE, style="bold")
    assert capsys.readouterr().out == "clip [final].wav [/b] :smile: \\x1b[31mred\n"


def test_an_error_is_one_line_whatever_the_name():
    assert str(InputError("a\nb\x1b[0m\udcfc\u2028c")) == "a b\\x1b[0m\\udcfc c"
    assert len(str(InputError("x" * 100_000))) == 1000


def test_the_network_is_named_before_it_is_asked_and_never_offline(sottovoce, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    from sottovoce.modeling import public_files

    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(public_files, "unreachable", lambda init: asked.append(init) or "and the hub is away.")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    public_files._say.cache_clear()
    said = sottovoce("pretrain", "mockingjay", "data", "--init", "rnus/pre", "-o", "r")
    assert said.code == 2
    said = sottovoce("embed", "rnus/pre", tmp_path, "-o", "x.csv")
    assert said.code == 2
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "a.wav").write_bytes(b"")
    said = sottovoce("embed", "rnus/pre", "a.wav", "-o", "x.csv")
    assert said.err.startswith("rnus/pre: no such folder here; asking the Hugging Face hub")
    assert asked == ["rnus/pre"]
