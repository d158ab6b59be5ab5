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

# From the top to the bottom. A module imports from rows below its own; `folder/` stands for all files of a folder.
PICTURE = """
__main__
cli
demo catalogue run
study predict compare phoneme
evaluate
label
pretrain
finetune strength
companions export_csd
features
prepare extract
recipes/
supervised probe units genders
models
encoders
recipe
finetune_settings
training
objectives/
heads margins
backbones/
masking data
report/
charts agreement
page baselines statistics codebook
metrics attributes clustering purity
runs phones
corpora/
tracks/
audio voice label_maps csd store task download intensity
corpus track settings plugins progress
files
errors
"""
# A noun of many files is a sub-package; inside it, too, imports point down.
INSIDE = {
    "report": """
__init__
prepare pretrain strength label evaluate compare study predict index
_words
""",
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


ROW = rows(PICTURE)
NUMPY_ONLY = ["corpora/", "tracks/", "metrics", "statistics", "baselines", "report/", "charts", "page", "store"]
NUMPY_ONLY += ["audio", "agreement", "attributes", "intensity", "phones", "clustering", "purity"]
HEAVY = {"torch", "pandas", "sklearn", "scipy", "matplotlib", "accelerate", "h5py", "opensmile", "soundfile", "soxr"}
HEAVY |= {"transformers", "peft"}

MODULES = sorted(p.relative_to(HOME).with_suffix("").as_posix() for p in HOME.rglob("*.py"))
MODULES.remove("__init__")  # imports nothing before it is asked to


def place(module):
    """Name in the picture: `audio`, or `corpora/` for `corpora/ravdess` and for `corpora/__init__`."""
    return module.split("/")[0] + "/" * ("/" in module)


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


def test_every_module_has_its_place_in_the_picture():
    assert sorted({place(m) for m in MODULES}) == sorted(ROW)
    for package, picture in INSIDE.items():
        assert sorted(m.rpartition("/")[2] for m in MODULES if inside(m) == package) == sorted(rows(picture))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    here = place(module)
    for target in imported(module)[0]:
        there = place(target)
        if inside(module) and inside(target) == inside(module):
            order = rows(INSIDE[inside(module)])
            above, below = (order[name.rpartition("/")[2]] for name in (module, target))
            assert above < below, f"{module} imports {target}, which is not below it"
        elif there == here and "/" in target:  # what a folder's files share: its front and files with an underscore
            assert target.split("/")[1].startswith("_"), f"{module} imports its sibling {target}"
        else:
            assert ROW[there] > ROW[here], f"{module} imports {target}, which is not below it"


@pytest.mark.parametrize("module", [m for m in MODULES if place(m) in NUMPY_ONLY])
def test_both_ends_need_no_torch(module):
    assert not {"torch", "accelerate", "safetensors"} & imported(module)[1]


def test_objectives_know_no_backbone_and_no_files():
    for module in [m for m in MODULES if m.startswith(("objectives/", "backbones/"))]:
        ours, others = imported(module)
        assert not {"files", "store", "runs", "corpus"} & ours
        assert not {"os", "pathlib", "json", "safetensors"} & others
        assert module.startswith("backbones/") or not any(name.startswith("backbones/") for name in ours)


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


def test_verbs_corpora_tracks_and_reports_load_nothing_of_weight():
    """`sottovoce VERB --help` and a mistyped argument answer at once."""
    ends = [m.removesuffix("/__init__") for m in MODULES if place(m) in NUMPY_ONLY]
    both_ends = [m.replace("/", ".") for m in ends if not inside(m)]  # a sub-package's files wait for their work
    names = ", ".join([*map(module_of, VERBS), *(f"sottovoce.{name}" for name in both_ends)])
    assert not HEAVY & loaded_by(f"import {names}")


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
