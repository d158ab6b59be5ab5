"""What holds for every verb: where it writes is looked at first, numbers are in their range, names are shown as they
are, and no network is asked behind one's back."""

import ast
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import sottovoce as package
from sottovoce import files
from sottovoce.commands import _live, _tables
from sottovoce.commands._tables import Terminal
from sottovoce.config import recipe
from sottovoce.data import progress
from sottovoce.errors import InputError, say
from sottovoce.evaluation.sensitivity import KINDS

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


def test_what_is_said_is_one_line_that_no_terminal_obeys(capsys):
    say(HOSTILE + "\n\x1b]0;title\x07")
    say("a\nb", err=True)
    said = capsys.readouterr()
    assert said.out == "clip [final].wav [/b] :smile: \\x1b[31mred \\x1b]0;title\\x07\n"
    assert said.err == "a b\n"


WRITERS = {  # file -> what it writes by itself: whole texts of ours, and what all others go through
    "errors.py": {"print(one_line(str(text)), file=sys.stderr if err else sys.stdout, flush=True)"},
    "commands/demo.py": {"print()"},
    "commands/finetune.py": {"typer.echo(recipes.show(plan))"},
    "commands/pretrain.py": {"typer.echo(recipes.show(plan))"},
    "commands/run.py": {"typer.echo(recipes.show(whole))"},
    "data/progress.py": {"Console(stderr=True, markup=False, emoji=False)"},
}


def test_no_name_reaches_a_terminal_but_through_say_or_terminal():
    home = Path(package.__file__).parent
    found = {}
    for path in sorted(home.rglob("*.py")):
        calls = (n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call))
        raw = {ast.unparse(n) for n in calls if ast.unparse(n.func) in ("print", "typer.echo", "Console", "Live")}
        found[path.relative_to(home).as_posix()] = raw
    assert {name for name in found.pop("commands/_live.py") if "Terminal()" not in name} == set()
    del found["commands/list.py"]  # names of files of the package, and what they say of themselves
    assert {name: raw for name, raw in found.items() if raw} == WRITERS


def test_a_table_of_hostile_names_is_as_wide_as_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = "W" * 80
    rows = [{"name": HOSTILE, "value": 0.1}, {"name": long, "value": 0.9}]
    result = {"systems": [long, HOSTILE], "metric": "ua", "value": 0.5, "n": 9}
    _tables.sensitivity(result | dict.fromkeys(KINDS, rows))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\\x1b[31mred" in said
    assert "[final]" in said
    assert len({len(line) for line in said.splitlines() if line[:1] in "┃│┏└"}) == 1


def test_a_bar_and_a_live_picture_show_names_as_they_are(capsys):
    assert progress.Bar(3, HOSTILE, quiet=True).label.endswith("\\x1b[31mred")
    event = SimpleNamespace(
        probabilities={HOSTILE: 1.0}, speech=True, label=HOSTILE, intensity=None, start=0.0, end=0.5
    )
    _live.show([event], (HOSTILE,), 1.0)
    Terminal(120).print(_live.picture(_live.deque([event]), (HOSTILE,)))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.count("\\x1b[31mred") == 3


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
