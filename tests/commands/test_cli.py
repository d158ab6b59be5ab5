"""The command line: help without torch, names, versions, settings that round-trip, exit codes."""

import importlib
import inspect
import json
import subprocess
import sys
import tomllib

import pytest

from sottovoce import cli, files, plugins
from sottovoce.config import explain, recipe

VERBS = list(cli.VERBS)


@pytest.fixture(scope="module")
def helps():
    """Help of every verb, and the heavy modules that were imported to print it, from one fresh process."""
    program = f"""
import io, json, sys
from contextlib import redirect_stdout
from sottovoce import cli
found = {{}}
for verb in {VERBS!r} + [""]:
    sys.argv = ["sottovoce", *([verb] if verb else []), "--help"]
    with redirect_stdout(io.StringIO()) as text:
        try:
            cli.run()
            code = 0
        except SystemExit as end:
            code = end.code
    found[verb] = [code, text.getvalue()]
heavy = [m for m in ("torch", "pandas", "sklearn", "scipy", "matplotlib", "accelerate") if m in sys.modules]
print(json.dumps([found, heavy]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb_has_help(helps, verb):
    code, text = helps[0][verb]
    assert not code
    assert "Usage: sottovoce" in text
    if verb:
        assert cli.VERBS[verb].split(".")[0] in " ".join(text.split())
    else:
        assert all(name in text for name in VERBS)


def test_help_costs_no_heavy_import(helps):
    assert helps[1] == []


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("pretrain", ["--fold", "--track", "--set", "-o", "default: the recipe's", "test (and dev) speakers"]),
        ("label", ["--layer", "1 = first block", "one label set per K", "--per-gender", "training part only"]),
        ("finetune", ["--init", "--fold", "--labels", "--transductive", "--speaker-norm", "count or a percentage"]),
        ("evaluate", ["--opensmile", "default: the run"]),
        (
            "study",
            ["--labels", "--seeds", "--arms", "--tune", "default: 5, or one", "1%,5%,10%,25%,50%,100%", "percentages"],
        ),
        ("predict", ["--timeline", "seconds that an answer over time", "[default: 3.0;", "--skip-broken"]),
        ("extract", ["--track", "--overwrite", "[default: fbank]"]),
        ("prepare", ["--map", "--drop", "--folds", "--download"]),
        ("demo", ["--data", "[default: 12;"]),
    ],
)
def test_help_names_options_units_and_defaults(helps, verb, words):
    text = " ".join(helps[0][verb][1].split())
    for word in words:
        assert word in text


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in ("list", "demo")])
def test_help_shows_an_example_or_where_the_result_goes(helps, verb):
    text = helps[0][verb][1]
    assert "Example" in text or "Writes" in text


def test_version_is_that_of_the_package(sottovoce):
    from importlib.metadata import version

    found = sottovoce("--version")
    assert (found.code, found.out.strip()) == (0, f"sottovoce {version('sottovoce')}")


@pytest.mark.parametrize("folder", plugins.FOLDERS)
def test_list_shows_every_name_with_its_first_line(sottovoce, folder):
    found = sottovoce("list", folder)
    assert found.code == 0
    names = plugins.names(folder)
    shown = [line for line in found.out.splitlines() if not line.startswith("    ")]  # below a recipe is its card
    assert [line.split()[0] for line in shown] == names
    assert all(len(line.split()) > 2 for line in shown)


@pytest.mark.parametrize("name", plugins.names("recipes"))
def test_list_shows_what_a_recipe_costs_and_promises(sottovoce, name):
    """Command, needs, time and expected figures, from the recipe's own docstring."""
    out = sottovoce("list", "recipes").out
    words = " ".join(out.split())
    card = plugins.card("recipes", name)
    for key in ("Run", "Needs", "Time", "Expect"):
        assert f"{key} {' '.join(card[key].split())}" in words
    shown = [line.strip().removeprefix("Run").strip() for line in out.splitlines()]
    for command in card["Run"].split("\n"):  # each begins a line, so that it can be copied
        assert any(line and command.startswith(line) for line in shown)
    assert "arXiv" in plugins.summary("recipes", name)
    assert "sottovoce" in card["Run"]


def test_list_alone_shows_every_folder(sottovoce):
    out = sottovoce("list").out
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [*plugins.FOLDERS, "encoders", "sources"]


def test_list_of_something_else_names_the_closest(sottovoce):
    assert "Did you mean 'tracks'?" in sottovoce("list", "track").complaint


def test_an_unknown_verb_or_option_exits_with_two(sottovoce):
    assert sottovoce("pretain").code == 2
    assert sottovoce("pretrain", "--fodl", "x").code == 2
    assert sottovoce("study", "x").code == 2  # no -o, no --init


def test_the_installed_commands_exit_code_reaches_the_shell(process):
    child = process("list", "nonsense")
    _, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert err.count("\n") == 1
    assert err.startswith("sottovoce: unknown kind 'nonsense'.")


def settings_of(text):
    """What --print-config shows is TOML: {"training.lr": 0.001, ...}."""
    return files.flatten(tomllib.loads(text))


@pytest.mark.parametrize("more", [[], ["--backbone", "gru"], ["--track", "mfcc"], ["--set", "objective.span=9"]])
def test_a_config_file_is_what_print_config_writes(sottovoce, corpus, tmp_path, more):
    """Read again, alone, it gives what was shown, whatever was chosen then."""
    base = ["pretrain", "masked_timesteps", corpus, "-o", tmp_path / "run", "--print-config"]
    shown = sottovoce(*base, *more, "--seed", 7, "--set", "training.lr=0.25")
    assert shown.code == 0
    (tmp_path / "run.toml").write_text(shown.out)
    again = sottovoce(*base, "--config", tmp_path / "run.toml")
    assert (again.code, again.err) == (0, "")
    assert again.out == shown.out
    changed = settings_of(
        sottovoce(*base, "--config", tmp_path / "run.toml", "--seed", 1, "--set", "training.lr=1").out
    )
    assert (changed["training.seed"], changed["training.lr"]) == (1, 1.0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training.lr = 'x'", "training.lr"),
        ("training.epohcs = 3", "Did you mean 'training.epochs'"),
        ("training.dropout = -1", "unknown key"),
        ("training.lr = -1.0", "above 0"),
        ("training lr", "not TOML"),
        ("name = 'npc'", "settings of name npc"),
        ("objective.span = 1.5", "a whole number"),
    ],
)
def test_a_config_file_with_a_fault_is_refused_by_its_name(sottovoce, corpus, tmp_path, text, said):
    (tmp_path / "run.toml").write_text(text + "\n")
    line = sottovoce(
        *("pretrain", "masked_timesteps", corpus, "-o", tmp_path / "run", "--config", tmp_path / "run.toml")
    ).complaint
    assert line.startswith(f"{tmp_path / 'run.toml'}")
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_config_file_goes_with_finetune_and_run(sottovoce, corpus, pretrained, tmp_path):
    """Tables of TOML as well as dots; `--set` comes after the file."""
    (tmp_path / "ft.toml").write_text("[finetune]\nmode = 'frozen'\nlabel_smoothing = 0.25\nl2 = [0.5, 2]\n")
    words = ["finetune", corpus, "--init", pretrained, "-o", tmp_path / "x", "--config", tmp_path / "ft.toml"]
    shown = settings_of(sottovoce(*words, "--set", "finetune.l2=3", "--print-config").out)
    assert (shown["finetune.mode"], shown["finetune.label_smoothing"], shown["finetune.l2"]) == ("frozen", 0.25, [3.0])
    system = ["run", "masked_timesteps", corpus, "-o", tmp_path / "y", "--print-config"]
    whole = sottovoce(*system, "--set", "pretrain.training.epochs=2").out
    (tmp_path / "run.toml").write_text(whole)
    assert sottovoce(*system, "--config", tmp_path / "run.toml").out == whole


@pytest.mark.parametrize("name", [n for n in plugins.names("recipes") if n not in ("gmp_tl", "ems", "frozen_probe")])
def test_every_setting_of_a_recipe_is_explained(name):
    """Its meaning from the comment beside its field, its range from its type."""
    plan = recipe.resolve(name)
    silent = [key for key, _, said in explain.walk(plan) if not said or said.startswith("(")]
    assert [key for key in silent if not key.endswith("name")] == []


def test_a_recipe_that_is_named_shows_its_settings_in_help(sottovoce):
    shown = " ".join(sottovoce("pretrain", "masked_timesteps", "--help").out.split())
    assert "training.lr=0.002 peak, after warm-up (above 0; default 0.001)" in shown
    assert "--print-config explains every one" in sottovoce("finetune", "--help").out


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_readable_at_80_columns_and_short_options_are_the_same(helps, verb):
    text = helps[0][verb][1]
    assert max(map(len, text.splitlines())) <= 80
    for long, short in (("--output", "-o"), ("--quiet", "-q"), ("--jobs", "-j"), ("--help", "-h")):
        for line in text.splitlines():
            if line.strip().startswith((long, f"{short}, ")):
                assert line.strip().startswith(f"{short}, {long}")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["pretrian"], "'pretrain'"),
        (["evalute", "runs/ft"], "'evaluate'"),
        (["finetune", "data", "--lables", "3"], "--labels"),
        (["predict", "run", "x.wav", "--timelin"], "--timeline"),
    ],
)
def test_a_slip_in_a_verb_or_option_is_answered_with_what_was_meant(sottovoce, words, meant):
    assert f"Did you mean {meant}?" in sottovoce(*words).complaint


def test_set_changes_one_setting_and_no_other(sottovoce, corpus, tmp_path):
    base = ["pretrain", "masked_timesteps", corpus, "-o", tmp_path / "run", "--print-config"]
    before, after = settings_of(sottovoce(*base).out), settings_of(sottovoce(*base, "--set", "training.clip=7.5").out)
    assert {k for k in before if before[k] != after[k]} == {"training.clip"}
    assert after["training.clip"] == 7.5


def test_finetune_prints_the_settings_of_its_pretraining(sottovoce, corpus, pretrained, tmp_path):
    found = sottovoce(
        "finetune", corpus, "--init", pretrained, "-o", tmp_path / "x", "--speaker-norm", "--print-config"
    )
    shown = settings_of(found.out)
    assert (shown["backbone.width"], shown["track.bins"]) == (32, 40)
    assert (shown["frontend.normalise"], shown["finetune.embedding_norm"]) == ("corpus", "speaker")


def test_a_dry_run_tells_and_writes_nothing(sottovoce, corpus, pretrained, tiny, tmp_path):
    few = [word for setting in tiny for word in ("--set", setting)]
    pre = sottovoce("pretrain", "masked_timesteps", corpus, "-o", tmp_path / "pre", "--dry-run", "-q", *few)
    assert pre.code == 0
    assert "parameters" in pre.out
    assert "min on" in pre.out
    every = sottovoce(
        *("pretrain", "masked_timesteps", corpus, "-o", tmp_path / "pre", "--dry-run", "-q", "--fold", "all", *few)
    )
    assert "4 folds" in every.out
    tune = sottovoce("finetune", corpus, "--init", pretrained, "--labels", "50%", "-o", tmp_path / "ft", "--dry-run")
    assert "20 labels, 20 dev, 20 test" in tune.out
    curve = sottovoce(
        *("study", corpus, "--init", pretrained, "--labels", "10,100%", "--seeds", 2, "-o", tmp_path / "study"),
        *("--fold", "fold1", "--dry-run", "-q"),
    )
    assert curve.code == 0, curve.err
    assert "12 cells" in curve.out
    assert "min with" in curve.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["emodb", "savee", "tess", "cremad", "mosei", "folder"])
def test_the_demo_knows_a_corpus_by_its_files(name, tmp_path):
    import csd_layouts
    import layouts

    from sottovoce.commands import demo

    make = csd_layouts.mosei if name == "mosei" else getattr(layouts, name)
    make(tmp_path / "data")
    assert demo.recognise(tmp_path / "data") == name


def test_the_demo_refuses_what_is_no_corpus(sottovoce, tmp_path):
    assert "no such folder" in sottovoce("demo", "--data", tmp_path / "nowhere", "-o", tmp_path / "o", "-q").complaint
    (tmp_path / "empty").mkdir()
    line = sottovoce("demo", "--data", tmp_path / "empty", "-o", tmp_path / "o", "-q").complaint
    assert "no corpus recognised" in line
    assert "--corpus" in line
    assert not (tmp_path / "o").exists()


def test_a_demo_has_a_folder_a_corpus(tmp_path):
    """A second one of another corpus by the same reader disturbs no first; the same one goes on."""
    from sottovoce.commands import demo

    first, second = tmp_path / "a", tmp_path / "b"
    assert demo.own_folder(tmp_path / "demo", "folder", first) == tmp_path / "demo/folder"
    (tmp_path / "demo/folder/data").mkdir(parents=True)
    (tmp_path / "demo/folder/data/corpus.json").write_text(json.dumps({"root": str(first)}))
    assert demo.own_folder(tmp_path / "demo", "folder", first) == tmp_path / "demo/folder"
    assert demo.own_folder(tmp_path / "demo", "folder", second) == tmp_path / "demo/folder-2"


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_is_out_of_range_by_default(verb):
    """A range that all verbs share has to hold the default of each."""
    for key, one in inspect.signature(importlib.import_module(cli.module_of(verb)).main).parameters.items():
        if key in cli.WHOLE and isinstance(one.default, int):
            low, high = cli.WHOLE[key]
            assert low <= one.default <= high, f"{verb} --{key} {one.default}"


def test_sensitivity_needs_no_option(evaluated, sottovoce, tmp_path):
    assert sottovoce("sensitivity", evaluated, "-o", tmp_path).code == 0
    assert (tmp_path / "sensitivity.csv").is_file()
