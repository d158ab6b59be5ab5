"""Runs made by the version before the house moved (format 1) still load, answer as they did, and go on.

`earlier/` holds them: pre-trained, fine-tuned, and killed after one update, of a network of 16 units on the synthetic
corpus; beside the last the weights of the run that was never killed.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.config import recipe
from sottovoce.config.finetuning import Frozen
from sottovoce.config.settings import chosen
from sottovoce.data import runs
from sottovoce.evaluation.evaluate import report_on
from sottovoce.modeling.checkpoint import load_tensors
from sottovoce.pipeline import prepare

EARLIER = Path(__file__).parent / "earlier"
SIZE = ["track.bins=20", "backbone.width=16", "backbone.layers=1", "backbone.heads=2", "backbone.feedforward=16"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The corpus of those runs, and copies of them that name it."""
    home = tmp_path_factory.mktemp("earlier")
    options = {"speakers": 6, "per_speaker": 6, "unlabelled_speakers": 2}
    prepare.prepare("synthetic", home / "audio", home / "data", options=options, jobs=1, quiet=True)
    for run in ("pre", "ft", "half"):
        shutil.copytree(EARLIER / run, home / run)
    path = home / "ft/fold1/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"corpus": str(home / "data")}))
    return home


def test_settings_are_read_under_their_names_of_today(home):
    settings = runs.Run.load(home / "ft/fold1", "finetune").config["settings"]
    plan = recipe.from_dict(settings)
    assert (plan.frontend.subsampling, plan.frontend.subsample) == (4, "stack")
    assert isinstance(plan.finetune, Frozen)
    assert (plan.finetune.temporal_pooling, plan.finetune.depth) == ("dynamics", 2)


def test_a_classifier_answers_as_it_did(home):
    report_on(home / "ft", home / "out", opensmile=False, jobs=1)
    with (home / "out/predictions.csv").open() as ours, (EARLIER / "ft/predictions.csv").open() as theirs:
        for a, b in zip(csv.DictReader(ours), csv.DictReader(theirs), strict=True):
            assert (a["id"], a["target"], a["predicted"]) == (b["id"], b["target"], b["predicted"])
            for name in b:
                if name.startswith("p_"):
                    assert float(a[name]) == pytest.approx(float(b[name]), abs=2e-3)


def test_what_is_finished_is_not_made_again(home):
    before = (home / "pre/fold1/model.safetensors").stat().st_mtime_ns
    how = {"fold": "fold1", "tracker": "none", "jobs": 1, "quiet": True}
    settings = [*SIZE, "training.epochs=1"]
    pretrain_command.main("masked_timesteps", [home / "data"], home / "pre", settings=settings, **how)
    assert (home / "pre/fold1/model.safetensors").stat().st_mtime_ns == before
    finetune_command.main(
        home / "data", home / "ft", init=str(home / "pre"), mode="frozen", fold="fold1", jobs=1, quiet=True
    )


def test_what_was_killed_goes_on_to_the_weights_of_the_run_that_was_not(home):
    how = {"fold": "fold1", "tracker": "none", "jobs": 1, "quiet": True}
    settings = [*SIZE, "training.epochs=60", "training.save_every=0"]
    pretrain_command.main("masked_timesteps", [home / "data"], home / "half", settings=settings, **how)
    ours, theirs = load_tensors(home / "half/fold1/model.safetensors"), load_tensors(EARLIER / "half/whole.safetensors")
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name].numpy(), value.numpy(), atol=2e-3)


def test_a_setting_at_its_default_does_not_show_in_what_a_run_is_known_by():
    plan = recipe.resolve("masked_timesteps")
    known = chosen(plan)
    assert "clip" not in known.get("frontend", {})
    assert known["objective_config"]["ratio"] == 0.4
