"""Tracks beside the features: found, checked and reported; every recipe that needs them, from the command line."""

import json
import shutil

import numpy as np
import pytest
from toys import SMALL_BACKBONES

from sottovoce.config.masking import RULES, Policy
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.modeling import network
from sottovoce.pipeline import aux_tracks
from sottovoce.pipeline.extract import track_store

FAST = ("training.epochs=1", "training.lr=0.003", "training.batch_rows=16", "training.crop=0", "track.bins=40")
RECIPES = {
    "mockingjay": (),
    "ems_mockingjay": ("objective.intensity=energy",),
    "npc": (),
    "ems_npc": ("objective.intensity=energy",),
}


def command(recipe, *more):
    """`--set` of a network that trains in a second."""
    settings = [*SMALL_BACKBONES[recipe.removeprefix("ems_")], *FAST, *RECIPES[recipe], *more]
    return [word for item in settings for word in ("--set", item)] + ["--tracker", "none", "--jobs", 1, "-q"]


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    """A copy of the corpus with energy, and a strength store whose model has seen the test speakers of fold1."""
    folder = tmp_path_factory.mktemp("aux") / "data"
    shutil.copytree(corpus, folder)
    data = Corpus.load(folder)
    track_store(data, "energy", jobs=1, quiet=True)
    give_strength(folder, heard=folds.tested_people([data], "fold1"))
    return folder


def give_strength(folder, heard=(), **head):
    """Pretend that a model has made it: the level, under another name."""
    (level,) = folder.glob("tracks/level-*")
    made = folder / "tracks/strength-0000"
    shutil.copytree(level, made)
    config = {"model": "0000", "made_by": "strengthnet fold2", "heard": sorted(heard)}
    known = json.loads((made / "track.json").read_text())
    (made / "track.json").write_text(json.dumps(known | {"track": "strength", "config": config} | head))


@pytest.fixture(autouse=True)
def few_pictures(request, monkeypatch):
    """Drawing a page costs more than training these networks; one of them is looked at."""
    if "recipe" not in request.fixturenames or not request.getfixturevalue("recipe").startswith("ems_m"):
        monkeypatch.setattr("sottovoce.report.pretrain_page", lambda report: "")


@pytest.fixture
def own(prepared, tmp_path):
    """A copy of it that a test may spoil."""
    shutil.copytree(prepared, tmp_path / "data")
    return tmp_path / "data"


def spoil(folder, track, value, ids=None):
    """Overwrite rows of a track, as a maker would have written them: the index loses its checksums."""
    (index,) = folder.glob(f"tracks/{track}-*/index.jsonl")
    for id, shard, first, length, *_ in map(json.loads, index.read_text().splitlines()):
        if ids is None or id in ids:
            rows = np.memmap(index.parent / f"values-{shard:03d}.f32", np.float32, "r+")
            rows[first : first + length] = value
            rows.flush()
    rows_of = map(json.loads, index.read_text().splitlines())
    index.write_text("".join(json.dumps(row[:7]) + "\n" for row in rows_of))


# ---------------------------------------------------------------------------------------------- every recipe


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_from_the_command_line(sottovoce, prepared, tmp_path, recipe):
    done = sottovoce("pretrain", recipe, prepared, "-o", tmp_path / "run", *command(recipe))
    assert done.code == 0, done.err
    run = runs.parts(tmp_path / "run", "pretrain")[0]
    report = json.loads((run.folder / "report.json").read_text())
    assert report["masking"]["rule"] == ("ems_coverage" if recipe.startswith("ems") else "random")
    row = json.loads((run.folder / "log.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(row["heldout_loss"])
    if recipe.startswith("ems"):
        assert report["masking"]["coverage"] == pytest.approx(0.15, abs=0.02)
        assert {"hidden_intensity", "visible_intensity"} <= set(row) & set(report["masking"])
        assert report["masking"]["stores"][0].startswith("energy-")
    if recipe == "ems_mockingjay":
        page = (run.folder / "report.html").read_text()
        assert "What each rule masks" in page
        assert all(rule in page for rule in RULES)
        picture = (run.folder / "spans.svg").read_text()
        assert all(rule in picture for rule in RULES)
    assert (run.folder / "spans.png").exists() == recipe.startswith("ems")
    assert len(network.load_pretrained(run).backbone.blocks) == 2


def test_the_released_settings_of_ems_run(sottovoce, prepared, tmp_path):
    """Overlapping spans, padded clock, score added and guessed; and the linear target of the paper's MockingJay."""
    released = ("objective.rule=ems_released", "objective.align=pad", "objective.score=true")
    more = (*released, "backbone.attention_dropout=0.1", "objective.target=spectrogram", "objective.ramp=0.5")
    done = sottovoce("pretrain", "ems_mockingjay", prepared, "-o", tmp_path / "a", *command("ems_mockingjay", *more))
    assert done.code == 0, done.err
    more = ("objective.mask=false", "objective.rule=random", "objective.score=true")
    done = sottovoce("pretrain", "ems_npc", prepared, "-o", tmp_path / "b", *command("ems_npc", *more))
    assert done.code == 0, done.err


def test_weights_of_npc_go_through_fine_tuning(sottovoce, prepared, tmp_path):
    sottovoce("pretrain", "npc", prepared, "-o", tmp_path / "pre", *command("npc"))
    more = [word for s in ("finetune.mode=frozen", "finetune.depth=1") for word in ("--set", s)]
    done = sottovoce("finetune", prepared, "--init", tmp_path / "pre", "-o", tmp_path / "ft", *more, "-q")
    assert done.code == 0, done.err


def test_the_same_seed_gives_the_same_bytes_and_another_intensity_others(sottovoce, prepared, tmp_path):
    for name, more in (("a", ()), ("b", ()), ("c", ("objective.intensity=random",))):
        words = command("ems_npc", "objective.ramp=1", "objective.rule=ems_sampled", *more)
        sottovoce("pretrain", "ems_npc", prepared, "-o", tmp_path / name, *words)
    a, b, c = ((tmp_path / name / "fold1/model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


# ---------------------------------------------------------------------------------------------- strength


def test_an_extracted_strength_is_found_and_whom_its_model_heard_is_inherited(sottovoce, prepared, tmp_path):
    words = command("ems_mockingjay", "objective.intensity=strength")
    done = sottovoce("pretrain", "ems_mockingjay", prepared, "-o", tmp_path / "run", "--fold", "fold2", *words)
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "run/fold2/config.json").read_text())
    data = Corpus.load(prepared)
    assert folds.tested_people([data], "fold1") <= set(config["seen_speakers"])
    assert not folds.tested_people([data], "fold2") & set(config["seen_speakers"])


def test_a_strength_that_knows_test_speakers_is_refused_or_marked(sottovoce, prepared, tmp_path):
    words = command("ems_mockingjay", "objective.intensity=strength")
    refused = sottovoce("pretrain", "ems_mockingjay", prepared, "-o", tmp_path / "run", *words)
    assert "has seen 2 test speakers" in refused.complaint
    assert not (tmp_path / "run").exists()
    done = sottovoce("pretrain", "ems_mockingjay", prepared, "-o", tmp_path / "run", "--transductive", *words)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "run/fold1/report.json").read_text())
    assert report["warnings"][0].startswith("The intensity comes from a model that has seen test speakers: synthetic/")
    assert "test speakers of fold1 among them" in report["exposure"]


def test_without_a_strength_one_line_says_what_to_run(sottovoce, own, tmp_path):
    shutil.rmtree(own / "tracks/strength-0000")
    words = command("ems_mockingjay", "objective.intensity=strength")
    said = sottovoce("pretrain", "ems_mockingjay", own, "-o", tmp_path / "run", *words).complaint
    assert f"`sottovoce extract {own} --track intensity --model RUN`" in said
    assert "--set objective.intensity=energy" in said


# ---------------------------------------------------------------------------------------------- bad input


def complaint(sottovoce, folder, tmp_path, *more, recipe="ems_mockingjay", fold="fold2"):
    done = sottovoce("pretrain", recipe, folder, "-o", tmp_path / "run", "--fold", fold, *command(recipe, *more))
    assert not (tmp_path / "run").exists()  # nothing is written before everything is known to fit
    return done.complaint


@pytest.mark.parametrize("part", ["train", "dev"])
def test_intensities_that_are_not_finite_are_refused(sottovoce, own, tmp_path, part):
    victim = getattr(Corpus.load(own).fold("fold2"), part)[3]
    spoil(own, "energy", np.nan, {victim})
    said = complaint(sottovoce, own, tmp_path)
    assert said.startswith(f"synthetic: the energy of utterance '{victim}' is not finite. Found")


def test_constant_intensities_are_refused_and_single_ones_reported(sottovoce, own, tmp_path):
    train = Corpus.load(own).fold("fold1").train
    spoil(own, "energy", 0.25, set(train[:3]))
    done = sottovoce("pretrain", "ems_mockingjay", own, "-o", tmp_path / "some", *command("ems_mockingjay"))
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "some/fold1/report.json").read_text())
    assert any("3 of " in line and "have a constant energy" in line for line in report["warnings"])
    spoil(own, "energy", 0.25)
    assert "energy: no frame is stronger than another. Found constant intensities in all" in complaint(
        sottovoce, own, tmp_path
    )


def test_an_intensity_of_another_rate_is_refused(sottovoce, own, tmp_path):
    (head,) = own.glob("tracks/energy-*/track.json")
    head.write_text(json.dumps(json.loads(head.read_text()) | {"rate_hz": 50.0}))
    assert "belongs to other audio, or its rate is wrong. Found" in complaint(sottovoce, own, tmp_path)


def test_an_intensity_of_another_length_is_refused(sottovoce, own, tmp_path):
    (index,) = own.glob("tracks/strength-*/index.jsonl")
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    index.write_text("".join(json.dumps([*row[:3], row[3] // 2, *row[4:]]) + "\n" for row in rows))
    said = complaint(sottovoce, own, tmp_path, "objective.intensity=strength")
    assert "belongs to other audio, or its rate is wrong. Found 0." in said


def test_an_intensity_of_another_corpus_is_refused(own):
    """As a store would be that was copied there: none of its ids is one of ours."""
    from toys import ToyStore, murmurs, steps_of, waves

    store = waves(3)
    others = ToyStore({f"other{k}": v for k, v in enumerate(murmurs(store).values())}, 62.5)
    with pytest.raises(InputError, match=r"toy: no intensity for utterance 'u0'\. Found it for 0 of 3"):
        steps_of(store, aux={"intensity": (others, "linear")})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("objective.span=400",), "objective.span: 400 steps. Found utterances of at most"),
        (("objective.ratio=0.01",), "objective.ratio: leaves no span. Found 0.01 of at most"),
        (("objective.intensity=none_such",), "unknown track 'none_such'"),
        (("objective.rule=loudest",), "objective.rule=loudest: not one of random"),
        (
            ("objective.score=true", "objective.rule=random", "objective.intensity="),
            "objective.score: adds the intensity",
        ),
    ],
)
def test_impossible_masking_is_one_line(sottovoce, prepared, tmp_path, more, said):
    assert said in complaint(sottovoce, prepared, tmp_path, *more)


def test_a_kernel_without_taps_is_one_line(sottovoce, prepared, tmp_path):
    more = ("backbone.layers=4", "backbone.mask=7")
    said = complaint(sottovoce, prepared, tmp_path, *more, recipe="ems_npc")
    assert "backbone.mask: 7 leaves no tap in block 4. Found a hole of 15 steps" in said


def test_npc_with_a_backbone_that_sees_everything_is_one_line(sottovoce, prepared, tmp_path):
    words = [word for s in FAST for word in ("--set", s)]
    done = sottovoce(
        "pretrain", "npc", prepared, "-o", tmp_path / "run", "--backbone", "gru", *words, "-q", "--jobs", 1
    )
    assert "objective npc: a frame may not see itself. Found backbone gru" in done.complaint


def test_short_utterances_are_reported():
    from toys import murmurs, steps_of, waves

    store = waves(8, shortest=5, longest=30)
    steps = steps_of(store, aux={"intensity": (murmurs(store), "linear")})
    short = sum(length <= 12 for length in store.lengths.values())
    policy = Policy(rule="ems_coverage", span=12, ratio=0.4, intensity="intensity")
    assert short
    assert aux_tracks.check(policy, steps) == [
        f"{short} of 8 utterances are no longer than a span of 12 steps: less of them is masked, or nothing."
    ]
    with pytest.raises(InputError, match=r"objective\.span: 12 steps. Found utterances of at most 10"):
        aux_tracks.check(policy, steps, crop=10)
