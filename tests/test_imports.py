"""Imports point down only, nothing heavy is imported before it is needed, and every public name is there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sottovoce
from sottovoce import plugins
from sottovoce.cli import VERBS, module_of

HOME = Path(sottovoce.__file__).parent

# Who may import whom, from the top to the bottom: a folder, and the folders below it that it uses. `files`, `errors`
# and `plugins` are everybody's. docs/architecture.md shows the same picture.
PICTURE = """
commands      serving onnx systems inference evaluation pipeline report modeling tracks corpora data config
serving       inference report data config
onnx          inference metrics modeling backbones tracks data config
systems       evaluation pipeline modeling recipes report data config
inference     evaluation pipeline report modeling metrics tracks data config
evaluation    pipeline report modeling metrics corpora tracks data config
pipeline      report modeling metrics objectives backbones tracks corpora data config
recipes       modeling objectives data config
report        metrics
modeling      objectives backbones metrics data config
objectives    modeling backbones metrics data config
backbones     config
metrics       data config
corpora       tracks data config
tracks        data config
data          config
config
"""
NOUNS = {"backbones", "corpora", "objectives", "recipes", "tracks"}  # a file of these imports none of its siblings
# A noun of many files is a sub-package; inside it, too, imports point down.
INSIDE = {
    "tracks/covarep": """
__init__
harmonics creak
rd phase wavelets glottal inverse_filter
sinusoids cepstrum closure
pitch polarity
residual
conventions
""",
}


def rows(picture):
    return {name: k for k, line in enumerate(picture.split("\n")) for name in line.split()}


ALLOWED = {name: set(below) for name, *below in map(str.split, PICTURE.strip().splitlines())}
LOOSE = {"__init__", "__main__", "cli", "errors", "files", "plugins"}  # files in the package's root: no more of them
NUMPY_ONLY = ("config/", "corpora/", "tracks/", "metrics/", "report/", "data/")
TORCH = {"torch", "accelerate", "safetensors"}
MAY_HOLD_TENSORS = {"data/dataset", "data/batching", "data/resident"}  # the border between arrays and tensors
HEAVY = {"torch", "pandas", "sklearn", "scipy", "matplotlib", "accelerate", "h5py", "opensmile", "soundfile", "soxr"}
HEAVY |= {"transformers", "peft"}

MODULES = sorted(p.relative_to(HOME).with_suffix("").as_posix() for p in HOME.rglob("*.py"))
MODULES.remove("__init__")  # imports nothing before it is asked to


def folder(module):
    """`corpora` for `corpora/ravdess` and for `corpora/__init__`; "" for a file of the package's root."""
    return module.split("/")[0] if "/" in module else ""


def imported(module):
    """All that a module imports, inside functions too: `sottovoce` modules as paths, others by their first name."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse((HOME / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            parts = name.split(".")
            if parts[0] != "sottovoce":
                others.add(parts[0])
                continue
            while len(parts) > 1 and not (HOME.joinpath(*parts[1:]).with_suffix(".py")).exists():
                if (HOME.joinpath(*parts[1:]) / "__init__.py").exists():
                    parts.append("__init__")
                else:
                    parts.pop()
            if len(parts) > 1:  # the package itself offers its version to everybody
                ours.add("/".join(parts[1:]))
    return ours, others


def inside(module):
    """Sub-package of a module, "" when it has none."""
    parent = module.rpartition("/")[0]
    return parent if parent in INSIDE else ""


def test_every_file_has_its_folder():
    assert {m for m in MODULES if not folder(m)} | {"__init__"} == LOOSE
    assert {folder(m) for m in MODULES} - {""} == set(ALLOWED)
    for package, picture in INSIDE.items():
        assert sorted(m.rpartition("/")[2] for m in MODULES if inside(m) == package) == sorted(rows(picture))


@pytest.mark.parametrize("module", [m for m in MODULES if folder(m)])
def test_imports_follow_the_picture(module):
    here = folder(module)
    for target in imported(module)[0]:
        there = folder(target)
        if inside(module) and inside(target) == inside(module):
            order = rows(INSIDE[inside(module)])
            above, below = (order[name.rpartition("/")[2]] for name in (module, target))
            assert above < below, f"{module} imports {target}, which is not below it"
        elif there == here and here in NOUNS:  # siblings share the front, the contract and files with an underscore
            name = target.split("/")[1]
            assert name.startswith("_") or name == "base", f"{module} imports its sibling {target}"
        elif there not in ("", here):
            assert there in ALLOWED[here], f"{module} imports {target}; the picture knows no such arrow"
        else:
            assert target not in ("cli", "__main__")


def test_no_circle_of_imports():
    waiting = {m: {t for t in imported(m)[0] if t != m} for m in MODULES if not inside(m)}
    while waiting:
        ready = [m for m, needs in waiting.items() if not needs & waiting.keys()]
        assert ready, f"these wait for each other: {sorted(waiting)}"
        for m in ready:
            del waiting[m]


@pytest.mark.parametrize("module", [m for m in MODULES if folder(m) not in ("commands", "") and m != "cli"])
def test_imports_of_our_own_stand_at_the_top(module):
    tree = ast.parse((HOME / f"{module}.py").read_text())
    inner = [n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)]
    found = [n for n in inner if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("sottovoce")]
    assert not found, f"{module}: line {found[0].lineno}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(NUMPY_ONLY) and m not in MAY_HOLD_TENSORS])
def test_both_ends_need_no_torch(module):
    assert not TORCH & imported(module)[1]


def test_exported_models_are_heard_and_served_without_torch():
    for module in ("commands/predict", "commands/serve", "onnx/__init__"):
        below, seen = {module}, set()
        while below - seen:
            seen.add(name := min(below - seen))
            ours, others = imported(name)
            assert not TORCH & others, f"{module} loads {name}"
            below |= {one for one in ours & set(MODULES) if not one.startswith("commands/")}


def test_objectives_know_no_backbone_and_no_files():
    for module in [m for m in MODULES if m.startswith(("objectives/", "backbones/"))]:
        ours, others = imported(module)
        assert not {"files", "data/store", "data/runs"} & ours
        assert not {"os", "pathlib", "json", "safetensors"} & others
        own = {name for name in ours if name.startswith("backbones/")}
        assert module.startswith("backbones/") or own <= {"backbones/base"}  # the contract, no backbone


def loaded_by(source):
    """Modules that a fresh interpreter holds after running `source`."""
    code = f"import sys; {source}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_import_sottovoce_loads_nothing_of_weight():
    assert not (HEAVY | {"numpy", "typer"}) & loaded_by("import sottovoce")


def test_help_loads_no_verb_and_nothing_of_weight():
    command = [sys.executable, "-X", "importtime", "-m", "sottovoce", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "typer" in found  # the list was read as it should be
    assert not (HEAVY | {"numpy"}) & found
    assert not {module_of(verb) for verb in VERBS} & found
    for verb, line in VERBS.items():
        assert verb in done.stdout
        assert line.split(" -> ")[0].split(",")[0] in " ".join(done.stdout.split())


def test_verbs_load_nothing_of_weight():
    """`sottovoce VERB --help` and a mistyped argument answer at once."""
    assert not HEAVY & loaded_by(f"import {', '.join(map(module_of, VERBS))}")


@pytest.mark.parametrize("name", sottovoce.__all__)
def test_every_public_name_is_there(name):
    assert getattr(sottovoce, name) is not None


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'recogniser'"):
        _ = sottovoce.recogniser


@pytest.mark.parametrize(("folder", "name"), [(f, n) for f in plugins.FOLDERS for n in plugins.names(f)])
def test_the_first_line_of_every_file_says_what_it_is(folder, name):
    """`sottovoce list` shows it."""
    line = plugins.summary(folder, name)
    assert 10 < len(line) <= 100
    assert line == (plugins.load(folder, name).__doc__ or "").split("\n")[0]
