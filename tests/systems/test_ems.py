"""The second system walked from end to end as the README writes it, on generated recordings in official layouts."""

import json

import layouts
import pytest
from toys import SMALL_BACKBONES, SMALL_STRENGTHNET

from sottovoce.data import runs

FAST = ("training.epochs=1", "training.lr=0.003", "training.batch_rows=16", "track.bins=40", "objective.ratio=0.3")
PROBE = ("finetune.updates=6", "finetune.readings=2", "finetune.project=8")


def sets(*settings):
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(autouse=True)
def no_pages(monkeypatch):
    """Drawing costs more than training these networks; `test_aux_tracks` and `test_report` look at the pages."""
    for name in ("pretrain_page", "strength_page", "evaluate_page"):
        monkeypatch.setattr(f"sottovoce.report.{name}", lambda report: "")
    monkeypatch.setattr("sottovoce.report.spans_figure", lambda *where: None)


def prepared(sottovoce, home, **corpora):
    for name, options in corpora.items():
        getattr(layouts, "spelled" if name == "librispeech" else name)(home / "raw" / name, **options)
        done = sottovoce("prepare", name, home / "raw" / name, "-o", f"data/{name}", "-j", 1, "-q")
        assert done.code == 0, done.err


def pretrained(sottovoce, recipe, corpus, output, *more):
    small = SMALL_BACKBONES[recipe.removeprefix("ems_")]
    done = sottovoce("pretrain", recipe, corpus, "-o", output, "--jobs", 1, "-q", *sets(*small, *FAST, *more))
    assert done.code == 0, done.err


def probed(sottovoce, corpus, init, output, *more):
    words = ("finetune", corpus, "--init", init, "--recipe", "frozen_probe", "-o", output)
    return sottovoce(*words, "--jobs", 1, "-q", *sets(*PROBE), *more)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ravdess", {"actors": 6, "statements": 1, "repetitions": 1}),
        ("esd", {}),
        ("iemocap", {"counts": dict.fromkeys(range(1, 6), (2, 1, 1, 2, 2))}),
    ],
)
def test_strength_masking_probe_and_comparison_run_as_written(name, options, tmp_path, sottovoce, monkeypatch):
    """A strength from emotional speech masks readers without labels; who has been heard on the way stays known."""
    monkeypatch.chdir(tmp_path)
    prepared(sottovoce, tmp_path, librispeech={"each": 3}, **{name: options})
    small = sets(*SMALL_STRENGTHNET)
    done = sottovoce("pretrain", "strengthnet", f"data/{name}", "-o", "runs/strength", "--jobs", 1, "-q", *small)
    assert done.code == 0, done.err
    done = sottovoce("extract", "data/librispeech", "--track", "intensity", "--model", "runs/strength")
    assert done.code == 0, done.err
    systems = []
    for recipe in ("mockingjay", "ems_mockingjay", "npc", "ems_npc"):
        pretrained(sottovoce, recipe, "data/librispeech", f"runs/{recipe}")
        done = probed(sottovoce, f"data/{name}", f"runs/{recipe}", f"runs/probe_{recipe}")
        assert done.code == 0, done.err
        systems.append(f"runs/probe_{recipe}")
    done = sottovoce("compare", *systems, "-o", "runs/compare")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "runs/compare/compare.json").read_text())
    assert [system["name"] for system in found["systems"]] == [system[5:] for system in systems]
    assert found["protocol"]["first_line"] is None

    heard = {person.split("/")[0] for person in runs.parts(tmp_path / "runs/ems_npc", "pretrain")[0].seen_speakers}
    assert heard == {"librispeech", name}  # whom the masking has from the strength model
    folds = json.loads((tmp_path / "data" / name / "folds.json").read_text())
    refused = probed(sottovoce, f"data/{name}", "runs/ems_npc", "runs/other", "--fold", folds[1]["name"])
    assert "have seen" in refused.complaint
    assert "--transductive" in refused.complaint
    done = probed(sottovoce, f"data/{name}", "runs/npc", "runs/other", "--fold", folds[1]["name"])
    assert done.code == 0, done.err


@pytest.mark.parametrize("recipe", ["ems_mockingjay", "ems_npc"])
def test_the_same_weights_answer_intents_and_phones(recipe, tmp_path, sottovoce, monkeypatch):
    """The other two tasks by which the paper tests generality, in the layouts of Fluent Speech Commands and
    LibriSpeech."""
    monkeypatch.chdir(tmp_path)
    prepared(sottovoce, tmp_path, fluent={}, librispeech={"each": 3})
    pretrained(sottovoce, recipe, "data/librispeech", "runs/ems", "objective.intensity=energy")
    done = probed(sottovoce, "data/fluent", "runs/ems", "runs/intent")
    assert done.code == 0, done.err
    assert sottovoce("evaluate", "runs/intent", "--no-opensmile", "-q").code == 0
    assert json.loads((tmp_path / "runs/intent/report.json").read_text())["task"]["target"] == ["intent"]
    words = ("phoneme", "data/librispeech", "--lexicon", "raw/librispeech/lexicon.txt", "--init", "runs/ems")
    done = sottovoce(*words, "-o", "runs/phones", "--transductive", "--jobs", 1, "-q", *sets(*PROBE))
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "runs/phones/report.json").read_text())
    assert (report["n"], report["speakers"]) == (6, 2)  # all three words of two test readers are in the lexicon
    assert "has seen" in report["protocol"]["first_line"]
