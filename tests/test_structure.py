"""The package keeps its shape: what `python tools/structure.py` measures stays within its aims."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "tools/structure.py"
spec = importlib.util.spec_from_file_location("structure", PATH)
structure = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(structure)  # type: ignore[union-attr]


def test_six_files_lie_in_the_root():
    assert len(list(structure.HOME.glob("*.py"))) <= 6


def test_imports_and_types_hide_nowhere():
    assert structure.inner_imports() == []
    assert structure.quoted_types() == []


def test_networks_and_losses_ask_nobody_what_he_has():
    assert structure.probes(structure.NETWORKS) == []


def test_functions_stay_short_and_narrow():
    assert structure.long_functions() == []
    assert structure.wide_functions() == []


@pytest.mark.parametrize("recipe", structure.STEP)
def test_a_step_is_read_in_six_files(recipe):
    files, lines = structure.step(recipe)
    assert files <= 6
    assert lines <= 1100
