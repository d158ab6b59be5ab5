"""`sottovoce run gmp_tl`: the whole system, its variants, what it must never hear, and what it refuses."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional

from sottovoce import files
from sottovoce.commands import run as run_command
from sottovoce.config import recipe
from sottovoce.config.finetuning import Full, in_mode
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import checkpoint, network
from sottovoce.modeling.supervised import supervised_loss
from sottovoce.recipes import ems, gmp_tl
from sottovoce.systems import run

SMALL = ["clusters=4,9", "attributes.epochs=1", "masked.epochs=1", "finetune.training.epochs=1"]
HOW = {"opensmile": False, "jobs": 1, "quiet": True}


def gmp(corpus, encoder, output, **more):
    """`sottovoce run gmp_tl CORPUS --encoder ENCODER -o OUTPUT`, of the smallest size."""
    run_command.main("gmp_tl", [corpus], encoder=str(encoder), output=output, **HOW | {"settings": SMALL} | more)


@pytest.fixture(scope="module")
def made(corpus, pretrained, tmp_path_factory):
    """One fold, four variants and a leaky one."""
    folder = tmp_path_factory.mktemp("gmp") / "out"
    gmp(corpus, pretrained, folder, fold="fold1", ablate="no-gender,no-gmp,no-amsoftmax", leak="test-selection")
    return folder


def test_every_variant_is_an_evaluated_run_beside_the_whole_system(made):
    names = ["gmp_tl", "no-gender", "no-gmp", "no-amsoftmax", "test-selection"]
    found = json.loads((made / "compare.json").read_text())
    assert [s["name"] for s in found["systems"]] == names
    assert found["reference"] == "gmp_tl"
    for name in names:
        assert (made / name / "seed0" / "report.html").is_file()
        assert runs.parts(made / name / "seed0", "finetune")
    index = (made / "index.html").read_text()
    assert all(f"{name}/seed0/report.html" in index for name in names)
    assert set(json.loads((made / "run.json").read_text())["scores"]) == {f"{name}/seed0" for name in names}


def test_variants_share_the_steps_they_have_in_common(made):
    steps = sorted(p.name.split("-")[0] for p in (made / "steps").iterdir())
    assert steps == ["attributes"] * 2 + ["hubert"] * 2 + ["label"] * 2  # with and without gender


def test_every_step_goes_on_from_the_one_before(made):
    chain = {}
    for name in ("gmp_tl", "no-gmp"):
        (last,) = runs.parts(made / name / "seed0", "finetune")
        chain[name] = [last.config["recipe"]]
        before = last.config["init"]
        while "steps" in before:
            step = runs.Run.load(before, "pretrain")
            chain[name].append(step.config["settings"]["objective"])
            before = step.config["init"]
    assert chain == {"gmp_tl": ["masked_timesteps", "masked_units", "attributes"],
                     "no-gmp": ["masked_timesteps", "attributes"]}  # fmt: skip
    for label in (made / "steps").glob("label-*/fold1/label.json"):
        assert json.loads(label.read_text())["clusters"] == [4, 9]


def test_leaks_are_said_before_any_figure(made):
    leaky = json.loads((made / "test-selection" / "seed0" / "report.json").read_text())["protocol"]
    assert leaky["first_line"].startswith("Leaky: l2 and epoch were chosen on the test part")
    assert json.loads((made / "gmp_tl" / "seed0" / "report.json").read_text())["protocol"]["first_line"] is None
    assert "chosen on the test part" in json.loads((made / "compare.json").read_text())["protocol"]["first_line"]


def test_what_is_finished_is_not_done_again(made, corpus, pretrained):
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*.safetensors")}
    gmp(corpus, pretrained, made, fold="fold1", ablate="no-gender,no-gmp,no-amsoftmax", leak="test-selection")
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*.safetensors")} == before


@pytest.mark.slow
def test_a_canary_among_the_test_speakers_reaches_nothing(corpus, pretrained, tmp_path):
    """Test speakers with other voices, labels and genders: every weight, statistic and centre is the same."""
    data = Corpus.load(corpus)
    fold = data.fold("fold1")
    test, rng = set(fold.test), np.random.default_rng(0)
    shutil.copytree(data.root, tmp_path / "audio")
    shutil.copytree(corpus, tmp_path / "data", ignore=shutil.ignore_patterns("tracks"))
    about = json.loads((tmp_path / "data" / "corpus.json").read_text())
    text = json.dumps(about).replace(str(data.root), str(tmp_path / "audio"))
    (tmp_path / "data" / "corpus.json").write_text(text)
    for u in data.utterances:
        if u.id in test:
            path = tmp_path / "audio" / u.path
            noise = 0.3 * rng.standard_normal(soundfile.info(path).frames)
            soundfile.write(path, noise, 16_000)
    with open(corpus / "manifest.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    classes = data.classes["emotion"]
    for row in rows:
        if row["id"] in test:
            row["emotion"] = classes[(classes.index(row["emotion"]) + 1) % len(classes)]
            row["gender"] = "male" if row["gender"] == "female" else "female"
    with open(tmp_path / "data" / "manifest.csv", "w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert Corpus.load(tmp_path / "data").root == tmp_path / "audio"
    found = []
    for home, name in ((corpus, "a"), (tmp_path / "data", "b")):
        out = tmp_path / name
        gmp(home, pretrained, out, fold="fold1", ablate="")
        found.append({str(p.relative_to(out)): checkpoint.load_tensors(p) for p in sorted(out.rglob("*.safetensors"))})
        people = {folds.person(data.by_id[key]) for key in test}
        for config in out.rglob("config.json"):
            assert not people & set(json.loads(config.read_text())["seen_speakers"]), config
        for label in out.rglob("label.json"):
            assert not people & set(json.loads(label.read_text())["seen_speakers"])
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) >= 4  # attributes, codebook, units' model, last step
    for name, tensors in found[0].items():
        for key, value in tensors.items():
            assert value.equal(found[1][name][key]), (name, key)
    a, b = ((tmp_path / n / "gmp_tl" / "seed0" / "predictions.csv").read_text() for n in "ab")
    assert a != b  # the canary sings in the test part alone


@pytest.mark.slow
def test_clusters_of_everybody_are_said_to_be(corpus, pretrained, tmp_path):
    gmp(corpus, pretrained, tmp_path / "out", fold="fold1", leak="all-clusters")
    report = json.loads((tmp_path / "out" / "all-clusters" / "seed0" / "report.json").read_text())
    said = report["protocol"]["first_line"]
    assert said.startswith("Transductive: the pre-training has seen the unlabelled audio of 2")


# ---------------------------------------------------------------------------------------------- variants


def whole(pretrained) -> gmp_tl.Config:
    return gmp_tl.system(recipe.from_dict(runs.parts(pretrained)[0].config["settings"]))


def test_steps_left_out_give_their_epochs_to_the_last_one(pretrained):
    it = whole(pretrained)
    total = it.attributes.epochs + it.masked.epochs + it.finetune.training.epochs
    assert gmp_tl.ABLATIONS["plain"](it).finetune.training.epochs == total
    no_gmp = gmp_tl.ABLATIONS["no-gmp"](it)
    assert no_gmp.finetune.training.epochs == total - it.attributes.epochs
    assert (no_gmp.augment, no_gmp.pseudo, gmp_tl.ABLATIONS["plain"](it).augment) == (True, False, False)


def test_ablations_join_and_take_any_setting(pretrained):
    it = whole(pretrained)
    found = run.variant(it, "no-gender+single-scale+finetune.margin=0.35", gmp_tl.ABLATIONS, "--ablate")
    assert (found.gender, found.clusters, found.finetune.margin) == (0.0, (512,), 0.35)
    with pytest.raises(InputError, match=r"no-gende.*no-gender"):
        run.variant(it, "no-gende", gmp_tl.ABLATIONS, "--ablate")


@pytest.mark.parametrize("wrong", ["layer=0", "clusters=4,4", "clusters=1", "gender=-1"])
def test_impossible_settings_are_refused(corpus, pretrained, tmp_path, wrong):
    with pytest.raises(InputError, match=wrong.split("=")[0]):
        gmp(corpus, pretrained, tmp_path, settings=[wrong])


@pytest.mark.parametrize("layer", [3, -3])
def test_a_layer_that_is_not_there_is_refused(corpus, pretrained, tmp_path, layer):
    with pytest.raises(InputError, match=rf"layer {layer}: not in .*Found 2 blocks"):
        gmp(corpus, pretrained, tmp_path, settings=[*SMALL, f"layer={layer}"])


def changed(corpus: Path, home: Path, change) -> Path:
    """The corpus with every manifest row passed through `change`."""
    shutil.copytree(corpus, home)
    with open(corpus / "manifest.csv", newline="") as lines:
        rows = [change(row) for row in csv.DictReader(lines)]
    with open(home / "manifest.csv", "w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return home


def test_a_corpus_without_gender_is_refused_unless_gender_is_left_out(corpus, pretrained, tmp_path):
    home = changed(corpus, tmp_path / "data", lambda row: row | {"gender": ""})
    with pytest.raises(InputError, match=r"no two genders in the training part of fold1. Found none.*gender=0"):
        gmp(home, pretrained, tmp_path / "out")
    gmp(home, pretrained, tmp_path / "out", settings=[*SMALL, "gender=0"], dry_run=True)


def test_a_class_that_a_training_part_lacks_is_refused(corpus, pretrained, tmp_path):
    data = Corpus.load(corpus)
    train = set(data.fold("fold1").train)
    home = changed(
        corpus,
        tmp_path / "data",
        lambda row: row | {"emotion": "sad"} if row["id"] in train and row["emotion"] == "happy" else row,
    )
    with pytest.raises(InputError, match=r"training part of fold1 has no happy"):
        gmp(home, pretrained, tmp_path / "out")


def test_one_step_is_no_system(corpus, pretrained, tmp_path):
    with pytest.raises(InputError, match=r"hubert: not a system of several steps.*sottovoce pretrain hubert"):
        run_command.main("hubert", [corpus], encoder=str(pretrained), output=tmp_path, **HOW)


def test_a_system_is_no_step(corpus, sottovoce, tmp_path):
    for verb in (["pretrain", "gmp_tl", corpus], ["finetune", corpus, "--recipe", "gmp_tl"]):
        assert "sottovoce run gmp_tl" in sottovoce(*verb, "-o", tmp_path / "out").complaint


def test_an_encoder_that_heard_test_speakers_is_refused(corpus, pretrained, tmp_path):
    with pytest.raises(InputError, match=r"have seen \d test speakers? of fold2"):
        gmp(corpus, pretrained / "fold1", tmp_path, fold="fold2")


def test_the_plan_is_shown_before_anything_is_done(corpus, pretrained, tmp_path, capsys):
    gmp(corpus, pretrained, tmp_path / "out", ablate="plain", dry_run=True)
    said = capsys.readouterr().out
    assert "attributes 1 epochs -> clusters 4, 9 of layer 1 -> units 1 epochs -> finetune 1 epochs (amsoftmax)" in said
    assert "plain: finetune 3 epochs (ce); 1 folds x 1 seeds" in said
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------- AM-Softmax


TASK = Task("class", ("emotion",), ("a", "b", "c"), ())


def test_without_a_margin_am_softmax_is_cross_entropy_of_scaled_cosines():
    settings = Full(loss="amsoftmax", margin=0.0, label_smoothing=0.0, class_weights=False)
    target = np.array([0, 1, 2, 1])
    z, w = torch.randn(4, 6), torch.randn(3, 6)
    scores = 30 * functional.normalize(z) @ functional.normalize(w).T
    found = supervised_loss(TASK, settings, target)(scores, torch.from_numpy(target))
    torch.testing.assert_close(found, functional.cross_entropy(scores, torch.from_numpy(target), reduction="none"))
    losses = [
        supervised_loss(TASK, replace(settings, margin=m), target)(scores, torch.from_numpy(target)).sum()
        for m in (0.0, 0.2, 0.4)
    ]
    assert losses == sorted(losses)


def test_answers_of_am_softmax_are_cosines_and_survive_saving(made):
    (last,) = runs.parts(made / "gmp_tl" / "seed0", "finetune")
    it = network.load_recognised(last)
    x, lengths = torch.randn(3, 20, it.network.backbone.features), torch.tensor([20, 11, 20])
    with torch.inference_mode():
        scores = it.network(x, lengths)
        z = it.network.standardise(it.network.pooled(x, lengths))
    w = checkpoint.load_tensors(last.weights)["network.out.weight"]
    cosines = functional.cosine_similarity(z[:, None], w[None], dim=-1)
    torch.testing.assert_close(scores, 30 * cosines, atol=1e-4, rtol=1e-4)
    assert "network.out.bias" not in checkpoint.load_tensors(last.weights)


@pytest.mark.parametrize("wrong", [{"margin": 2.0}, {"scale": 0.0}, {}])
def test_am_softmax_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match=r"finetune\.(margin|scale|loss)"):
        in_mode(Full(loss="amsoftmax", **wrong), "frozen")


# ---------------------------------------------------------------------------------------------- a checkpoint


@pytest.mark.slow
def test_a_checkpoint_in_the_layout_of_the_hub_goes_through_iemocap(tmp_path):
    transformers = pytest.importorskip("transformers")
    from layouts import iemocap

    from sottovoce.pipeline import prepare

    iemocap(tmp_path / "IEMOCAP")
    prepare.prepare("iemocap", tmp_path / "IEMOCAP", tmp_path / "data", jobs=1)
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.HubertModel(config).save_pretrained(tmp_path / "hubert")
    gmp(tmp_path / "data", tmp_path / "hubert", tmp_path / "out", fold="Ses05", ablate="last-layer,single-scale")
    found = files.read_json(tmp_path / "out" / "compare.json")
    assert [s["name"] for s in found["systems"]] == ["gmp_tl", "last-layer", "single-scale"]
    layers = {files.read_json(p)["layer"] for p in (tmp_path / "out" / "steps").glob("label-*/Ses05/label.json")}
    assert layers == {2, 4}  # the third from the end, and the last


# ---------------------------------------------------------------------------------------------- the other systems


def test_masked_timesteps_from_corpora_to_its_control(corpus, tiny, tmp_path):
    run_command.main(
        "masked_timesteps", [corpus], output=tmp_path, fold="fold1", ablate="scratch,frozen",
        settings=[s if s.startswith("finetune.") else f"pretrain.{s}" for s in tiny], **HOW,
    )  # fmt: skip
    found = files.read_json(tmp_path / "compare.json")
    assert [s["name"] for s in found["systems"]] == ["masked_timesteps", "scratch", "frozen"]
    inits = [
        runs.parts(tmp_path / name / "seed0")[0].config["init"] for name in ("masked_timesteps", "scratch", "frozen")
    ]
    assert inits[1] == "none"
    assert inits[0] == inits[2]  # one pre-training serves both
    assert len(list((tmp_path / "steps").iterdir())) == 1


def test_masked_timesteps_of_six_intensities(tiny, tmp_path):
    from csd_layouts import mosei

    from sottovoce.pipeline import prepare

    prepare.prepare("mosei", mosei(tmp_path / "MOSEI"), tmp_path / "data", jobs=1)
    few = [s if s.startswith("finetune.") else f"pretrain.{s}" for s in tiny if not s.startswith("track.")]
    run_command.main(
        "masked_timesteps", [tmp_path / "data"], output=tmp_path / "out", ablate="scratch", settings=few, **HOW
    )
    found = files.read_json(tmp_path / "out" / "run.json")["scores"]
    assert set(found) == {"masked_timesteps/seed0", "scratch/seed0"}
    assert set(found["scratch/seed0"]) == {"mae", "acc4", "ccc"}
    assert "MAE 0." in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.slow
def test_ems_from_corpora_to_its_competitors(corpus, tmp_path):
    home = shutil.copytree(corpus, tmp_path / "data")  # a track is left in it
    out = tmp_path / "out"
    sizes = ["backbone.width=32", "backbone.layers=1", "backbone.heads=2", "backbone.feedforward=32", "track.bins=40"]
    small = [f"pretrain.{s}" for s in (*sizes, "training.epochs=1", "training.crop=60")]
    small += ["intensity.backbone.channels=2,2,4,4", "intensity.training.epochs=1", "strength.training.crop=40"]
    small += ["intensity.objective.functionals=fbank", "probe.probe.updates=20", "probe.probe.lrs=1e-2"]
    run_command.main(
        "ems", [home], output=out, fold="fold1", ablate="random,energy,untrained,npc", settings=small, **HOW
    )
    found = files.read_json(out / "compare.json")
    assert [s["name"] for s in found["systems"]] == ["ems", "random", "energy", "untrained", "npc"]
    (whole,), (energy,) = (runs.parts(out / name / "seed0") for name in ("ems", "energy"))
    track = whole.config["settings"]["objective_config"]["intensity"]
    assert track.startswith("intensity-")
    assert energy.config["settings"]["objective_config"]["intensity"] == "energy"
    tested = {folds.person(Corpus.load(home).by_id[key]) for key in Corpus.load(home).fold("fold1").test}
    assert not tested & whole.seen_speakers
    head = files.read_json(home / "tracks" / track / "track.json")
    assert not tested & set(head["config"]["heard"])


def test_npc_keeps_what_is_set_of_the_whole_system_and_what_another_ablation_changes():
    whole = run.changed(
        ems.system(None, []),
        ["pretrain.training.epochs=2", "pretrain.objective.ratio=0.4", "pretrain.backbone.heads=2"],
        "--set",
    )
    plain = recipe.resolve("ems_npc")
    npc = run.variant(whole, "npc", ems.ABLATIONS, "--ablate").pretrain
    assert npc == replace(
        plain,
        objective_config=replace(plain.objective_config, ratio=0.4),
        training=replace(plain.training, epochs=2),  # NPC has no heads; its batches, crops and lr stay its own
    )
    for words in ("random+npc", "npc+random"):
        assert run.variant(whole, words, ems.ABLATIONS, "--ablate").pretrain.objective_config == replace(
            npc.objective_config, rule="random", intensity="energy"
        )


def test_an_encoder_belongs_to_the_system_that_begins_with_one(corpus, pretrained, tmp_path):
    with pytest.raises(InputError, match=r"gmp_tl: reads what its encoder reads. Found --track fbank"):
        run_command.main("gmp_tl", [corpus], output=tmp_path, track="fbank", **HOW)
    with pytest.raises(InputError, match=r"ems: begins without an encoder"):
        run_command.main("ems", [corpus], output=tmp_path, encoder=str(pretrained), **HOW)


@pytest.mark.parametrize(
    ("system", "track", "said"),
    [
        ("gmp_tl", "", "attributes.epochs = 2"),  # on the default encoder
        ("ems", "", "pretrain.backbone.width = 128"),
        ("ems", "encoder", 'pretrain.track.name = "encoder"'),
        ("masked_timesteps", "encoder", 'pretrain.track.name = "encoder"'),
    ],
)
def test_every_system_has_small_sizes_and_the_tracks_it_may_stand_on(corpus, tmp_path, capsys, system, track, said):
    run_command.main(system, [corpus], output=tmp_path, track=track, small=True, print_config=True)
    small = capsys.readouterr().out
    assert said in small.splitlines()
    run_command.main(system, [corpus], output=tmp_path, track=track, print_config=True)
    assert capsys.readouterr().out != small


def test_strength_is_not_learned_where_nobody_is_neutral(corpus, tmp_path):
    home = changed(corpus, tmp_path / "data", lambda r: r | {"emotion": r["emotion"].replace("neutral", "sad")})
    with pytest.raises(InputError, match=r"nobody is neutral.*intensity=energy"):
        run_command.main("ems", [home], output=tmp_path / "out", **HOW)


@pytest.mark.parametrize("system", ["masked_timesteps", "gmp_tl", "ems"])
def test_help_names_every_ablation(system, sottovoce):
    from sottovoce import plugins

    words = " ".join(sottovoce("run", "--help").out.split()).replace("- ", "-")
    for name in plugins.load("recipes", system).ABLATIONS:
        assert name in words
