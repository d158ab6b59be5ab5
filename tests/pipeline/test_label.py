"""`sottovoce label`: units come from the training part alone and lie on the clock of the states."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sottovoce import files, plugins
from sottovoce.commands import label as label_command
from sottovoce.config import recipe
from sottovoce.config.finetuning import Frozen
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.data.store import TrackStore, TrackWriter
from sottovoce.data.track import Track
from sottovoce.metrics import kmeans
from sottovoce.modeling import network
from sottovoce.modeling.codebook import Codebook, open_units
from sottovoce.pipeline import label
from sottovoce.pipeline.extract import store_folder, track_store

FOLD, LAYER = "fold1", 1


def features_of(data, run):
    """Folder of the track that a pre-training reads."""
    plan = network.load_pretrained(runs.Run.load(run / FOLD)).plan
    return store_folder(Corpus.load(data), plan.track, plan.track_config.__dict__)


@pytest.fixture(scope="module")
def home(corpus, pretrained, tmp_path_factory):
    """A copy of the corpus, which gets further tracks, and silence at the beginning of some recordings."""
    folder = tmp_path_factory.mktemp("label")
    shutil.copytree(corpus, folder / "data")
    fbank = features_of(folder / "data", pretrained)
    store = TrackStore.open(fbank)
    with TrackWriter(fbank, store.head) as writer:
        for u in parts(folder)[1][:3]:
            values = store[u.id].copy()
            values[:18] -= 25
            writer.add(u.id, values, store.source(u.id))
    return folder


@pytest.fixture(scope="module")
def made(home, pretrained):
    """Units of 6 and 15 clusters of the first block."""
    make(home, pretrained, home / "units")
    return home / "units"


def make(home, run, output, fold=FOLD, **changes):
    label_command.main(
        run, changes.pop("corpora", [home / "data"]), layer=changes.pop("layer", LAYER),
        clusters=changes.pop("clusters", "6,15"), fold=fold, output=output, quiet=True, jobs=1, **changes,
    )  # fmt: skip


def states(home, run, utterances, layer=LAYER):
    """Hidden states of each utterance by itself, and the first track frame they are made from."""
    it = network.load_pretrained(run)
    store = track_store(Corpus.load(home / "data"), it.plan.track, it.plan.track_config.__dict__, quiet=True)
    steps = Steps([(store, utterances)], it.plan.frontend, it.statistics)
    found = []
    for i in range(len(steps)):
        x, _ = steps[i]
        with torch.inference_mode():
            hidden = it.backbone(torch.from_numpy(x)[None], torch.tensor([len(x)]))
        found.append((hidden.layers[layer][0].numpy(), int(steps.bounds[i][0])))
    return found, store, steps


def parts(home, fold=FOLD):
    corpus = Corpus.load(home / "data")
    (train,), (heldout,) = folds.parts([corpus], fold)
    return corpus, train, heldout


def test_centres_are_those_of_the_training_part_alone(home, made, pretrained):
    _, train, _ = parts(home)
    frames = np.concatenate([x for x, _ in states(home, runs.Run.load(pretrained / FOLD), train)[0]])
    book = Codebook.load(made / "codebook.safetensors")
    for k in (6, 15):
        inertia = kmeans.nearest(frames, book.centres[k][0])[1].sum()
        best = kmeans.lloyd(frames, book.centres[k][0]).inertia
        assert inertia == pytest.approx(best, rel=5e-3)  # at a minimum of these frames: nobody else pulls
        report = json.loads((made / "label.json").read_text())
        assert report["frames"]["train"] == len(frames)
        assert {s["clusters"]: s["inertia"] for s in report["sets"]}[k] == pytest.approx(inertia, rel=1e-4)


def test_no_test_person_is_heard_labelled_or_counted(home, made):
    corpus, train, heldout = parts(home)
    canaries = {folds.person(corpus.by_id[k]) for k in corpus.fold(FOLD).test}
    report, book = json.loads((made / "label.json").read_text()), Codebook.load(made / "codebook.safetensors")
    store = open_units(made, corpus, fold=FOLD)
    assert set(store.ids) == {u.id for u in train + heldout}
    assert not canaries & {folds.person(corpus.by_id[k]) for k in store.ids}
    assert not canaries & ({*book.heard, *report["seen_speakers"], *store.head.config["heard"]})
    assert {folds.person(u) for u in train} <= set(book.heard)
    for text in (path.read_text() for path in made.glob("*.*ml")):
        assert not any(name in text for name in canaries)


def test_a_test_speakers_sound_changes_no_centre(home, pretrained, made, tmp_path):
    """The canary is loud: every frame of the test speakers is replaced."""
    shutil.copytree(home / "data", tmp_path / "data", ignore=shutil.ignore_patterns("units-*"))
    corpus = Corpus.load(tmp_path / "data")
    folder = features_of(tmp_path / "data", pretrained)
    store = TrackStore.open(folder)
    with TrackWriter(folder, store.head) as writer:
        for id in corpus.fold(FOLD).test:
            writer.add(id, np.full_like(store[id], 9.0), store.source(id))
    make(tmp_path, pretrained, tmp_path / "units")
    assert (
        Codebook.load(tmp_path / "units" / "codebook.safetensors").digest
        == Codebook.load(made / "codebook.safetensors").digest
    )


def test_units_are_the_nearest_centres_on_the_clock_of_the_states(home, made, pretrained):
    corpus, train, heldout = parts(home)
    some = [*train[:3], *heldout[:2]]
    found, fbank, steps = states(home, runs.Run.load(pretrained / FOLD), some)
    book, store = Codebook.load(made / "codebook.safetensors"), open_units(made, corpus)
    pool = steps.frontend.subsampling
    assert store.rate_hz == pytest.approx(fbank.rate_hz / pool)
    trimmed = 0
    for u, (x, begin) in zip(some, found, strict=True):
        units = store[u.id]
        assert units.dtype == np.float32
        # each state's unit, read where the centre of its frames lies
        centres_s = fbank.offset_s + (begin + pool * np.arange(len(x)) + (pool - 1) / 2) / fbank.rate_hz
        clock = Track(np.empty(len(x)), store.rate_hz, float(centres_s[0]))
        read = store.track(u.id).align(clock, kind="nearest").values
        for column, k in enumerate((6, 15)):
            plain = np.square(x[:, None].astype(np.float64) - book.centres[k][0]).sum(-1).argmin(1)
            assert (read[:, column] == plain).mean() > 0.98
        known = (units >= 0).all(1)
        assert known.sum() == len(x)
        assert (units[~known] == -1).all()
        assert abs(len(units) - fbank.lengths[u.id] / pool) <= 1
        trimmed += (~known).sum()
    assert trimmed > 6  # the silence


def test_the_report_says_what_units_are_worth(made):
    report = json.loads((made / "label.json").read_text())
    for entry, k in zip(report["sets"], (6, 15), strict=True):
        assert (entry["clusters"], entry["units"], len(entry["counts"])) == (k, k, k)
        for side in ("train", "heldout"):
            assert 1 <= entry[side]["perplexity"] <= entry[side]["used"] <= k
            assert {"emotion", "gender", "speaker"} <= set(entry[side]["names"])
            assert 0 <= entry[side]["names"]["emotion"]["nmi"] <= 1
        assert 0 < entry["train"]["explained"] < 1
        assert [s["seed"] for s in entry["seeds"]] == [1]
    assert report["sets"][0]["inertia"] > report["sets"][1]["inertia"]
    page = (made / "report.html").read_text()
    assert "<script" not in page
    assert all(words in page for words in ("What units mean", "Use and lengths", "Other seeds", "perplexity"))


def snapshot(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_the_same_command_again_does_nothing(home, made, pretrained):
    before = snapshot(home)
    make(home, pretrained, made)
    assert snapshot(home) == before
    assert not (made / "states").exists()


def test_a_stopped_run_goes_on_to_the_same_units(home, made, pretrained, tmp_path, monkeypatch):
    shutil.copytree(home / "data", tmp_path / "data", ignore=shutil.ignore_patterns("units-*"))
    calls, add = [], TrackWriter.add

    def stop(self, id, *rest):
        calls.append(id)
        if len(calls) == 20:
            raise KeyboardInterrupt
        add(self, id, *rest)

    monkeypatch.setattr(TrackWriter, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, pretrained, tmp_path / "units")
    assert not (tmp_path / "units" / "label.json").exists()
    monkeypatch.setattr(TrackWriter, "add", lambda self, id, *rest: calls.append(id) or add(self, id, *rest))
    make(tmp_path, pretrained, tmp_path / "units")
    states_made = calls[: -len(open_units(tmp_path / "units", Corpus.load(tmp_path / "data")))]
    assert len(states_made) == len(set(states_made)) + 1  # the one that was interrupted; no other twice
    assert (
        json.loads((tmp_path / "units" / "label.json").read_text())["codebook"]
        == json.loads((made / "label.json").read_text())["codebook"]
    )


def test_women_and_men_get_units_of_their_own(home, pretrained):
    make(home, pretrained, home / "apart", per_gender=True, stability=0)
    corpus, train, heldout = parts(home)
    store = open_units(home / "apart", corpus)
    assert store.head.config["units"] == [12, 30]
    for u in train + heldout:
        units = store[u.id][store[u.id][:, 0] >= 0]
        for column, k in enumerate((6, 15)):
            assert set((units[:, column] // k).tolist()) == {0.0 if u.gender == "female" else 1.0}
    before = {id: store[id].copy() for id in store.ids[:5]}
    make(home, pretrained, home / "apart again", book=home / "apart" / "codebook.safetensors", clusters="")
    assert all((open_units(home / "apart again", corpus)[id] == units).all() for id, units in before.items())


def test_a_finetuned_run_knows_its_corpus_and_fold(finetuned, home, tmp_path):
    shutil.copytree(finetuned, tmp_path / "ft")
    for config in (tmp_path / "ft").glob("*/config.json"):
        found = json.loads(config.read_text())
        config.write_text(json.dumps(found | {"corpus": str(home / "data")}))
    make(home, tmp_path / "ft", None, corpora=None, fold=None, clusters="5", layer=0, stability=0)
    found = json.loads((tmp_path / "ft" / FOLD / "units-layer0" / "label.json").read_text())
    assert (found["fold"], found["clusters"], found["layer"]) == (FOLD, [5], 0)


def test_a_codebook_labels_again_as_it_did(home, made, pretrained):
    before = {id: open_units(made, parts(home)[0])[id].copy() for id in open_units(made, parts(home)[0]).ids[:5]}
    make(home, pretrained, home / "again", book=made / "codebook.safetensors", clusters="")
    after = open_units(home / "again", parts(home)[0])
    assert all((after[id] == units).all() for id, units in before.items())


def test_states_in_half_precision_give_nearly_the_same_units(home, made, pretrained):
    one = open_units(made, parts(home)[0])
    units = {id: one[id].copy() for id in one.ids}
    make(home, pretrained, home / "half", book=made / "codebook.safetensors", clusters="", half=True)
    other = open_units(home / "half", parts(home)[0])
    same = np.concatenate([(other[id] == units[id]).all(1) for id in units])
    assert same.mean() > 0.99


def test_a_dry_run_writes_nothing(home, pretrained, made, capsys):
    before = snapshot(home)
    make(home, pretrained, home / "dry", dry_run=True)
    assert snapshot(home) == before
    out = capsys.readouterr().out
    assert "6, 15 clusters" in out
    assert "GiB" in out


def test_everybody_is_possible_and_said_first(home, pretrained):
    everybody = home / "everybody"
    make(home, pretrained, everybody, fold="none", clusters="4", stability=0)
    report = json.loads((everybody / "label.json").read_text())
    assert report["warnings"][0].startswith("Leaky: clusters were fitted on all speakers")
    assert "Leaky" in (everybody / "report.html").read_text()
    corpus = parts(home)[0]
    assert folds.Seen(frozenset(report["seen_speakers"])).test_people([corpus], FOLD)


def test_a_run_that_has_heard_a_test_speaker_is_refused_unless_it_is_allowed_by_name(home, pretrained, sottovoce):
    words = ["label", pretrained / "fold2", home / "data", "--fold", FOLD, "--layer", 1, "--clusters", 4]
    words += ["-o", home / "refused", "--jobs", 1, "--stability", 0, "-q"]
    assert "test speakers of fold1" in sottovoce(*words).complaint
    assert not (home / "refused").exists()
    assert sottovoce(*words, "--transductive").code == 0
    report = json.loads((home / "refused" / "label.json").read_text())
    assert report["warnings"][0].startswith("Transductive")
    assert report["seen_test_speakers"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--layer", 3], "--layer 3: not in"),
        (["--layer", -1], "--layer -1: from 0 to 1000"),
        (["--clusters", "6,100000"], "--clusters 100000: more than frames. Found "),
        (["--clusters", "6,x"], "--clusters 6,x: not counts of clusters"),
        (["--clusters", "6,6"], "not counts of clusters"),
        (["--clusters", "7"], "other labels are here"),
        (["--fold", "fold9"], "unknown fold of"),
        (["--set", "clustering.sampel=3"], "Did you mean"),
        (["--set", "clustering.sample=0"], "clustering.sample: 1 or more"),
        (["--codebook", "{made}/codebook.safetensors", "--layer", 2], "a codebook of another layer. Found 1, not 2"),
        (["--codebook", "{made}/codebook.safetensors", "--fold", "fold2"], "of another encoder"),
        (["--codebook", "{made}/codebook.safetensors", "--clusters", "7"], "the codebook has others. Found 6,15"),
        (["--codebook", "{made}/none.safetensors"], "no such file"),
        (["--codebook", "{made}/codebook.safetensors", "--per-gender"], "no centres for female, male. Found one set"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(words, complaint, home, made, pretrained, sottovoce):
    before = snapshot(home)
    words = [str(word).format(made=made) for word in words]
    common = [
        "label",
        pretrained,
        home / "data",
        "--layer",
        1,
        "--clusters",
        "6,15" if "--codebook" not in words else "",
    ]
    found = sottovoce(*common, "--fold", FOLD, "-o", made, "-q", "--jobs", 1, *words)
    assert complaint in found.complaint
    assert snapshot(home) == before


def test_a_corpus_without_gender_cannot_be_clustered_by_it(home, pretrained, tmp_path, sottovoce):
    shutil.copytree(home / "data", tmp_path / "data", ignore=shutil.ignore_patterns("units-*"))
    manifest = tmp_path / "data" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",female,", ",,"))
    words = [
        "label",
        pretrained,
        tmp_path / "data",
        "--fold",
        FOLD,
        "--layer",
        1,
        "--clusters",
        4,
        "-o",
        tmp_path / "x",
    ]
    assert "no gender of" in sottovoce(*words, "--per-gender", "-q", "--jobs", 1).complaint
    assert not (tmp_path / "x").exists()


def test_a_pretrained_run_needs_a_corpus(pretrained, sottovoce):
    assert "label which recordings?" in sottovoce("label", pretrained, "--layer", 1).complaint


def test_units_are_opened_for_their_corpus_and_fold_only(home, made, tmp_path):
    corpus = parts(home)[0]
    for folder, fold, words in [(tmp_path, "", "no units here"), (made, "fold2", "of another fold. Found fold1")]:
        with pytest.raises(label.InputError, match=words):
            open_units(folder, corpus, fold=fold)
    shutil.copytree(made, tmp_path / "other")
    found = json.loads((made / "label.json").read_text())
    (tmp_path / "other" / "label.json").write_text(json.dumps(found | {"codebook": "0"}))
    with pytest.raises(label.InputError, match="units of another codebook"):
        open_units(tmp_path / "other", corpus)
    (tmp_path / "other" / "label.json").write_text(json.dumps(found | {"corpora": []}))
    with pytest.raises(label.InputError, match="no units for"):
        open_units(tmp_path / "other", corpus)


def test_labels_of_before_are_known_by_the_settings_they_were_made_with():
    """Three settings went with the variants nobody used; the identity of finished labels still names their values."""
    made_with = {"method": "nested", "seeding": "scalable", "sample": 512, "tolerance": 5e-4, "iterations": 100}
    assert label.EARLIER | asdict(kmeans.Config()) == made_with | {"final": 1, "batch": 10_000}


@pytest.mark.parametrize("name", plugins.names("backbones"))
@pytest.mark.parametrize("tuned", [{}, {"depth": 1}, {"layers": (1, 2)}])
def test_the_default_layer_is_one_of_every_backbone(name, tuned):
    """Also where a fine-tuned run keeps no block above those it reads."""
    config = plugins.load("backbones", name).Config()
    config = replace(config, size="toy") if name == "encoder" else config
    plan = recipe.resolve("masked_timesteps")
    plan = replace(plan, backbone=name, backbone_config=config, finetune=Frozen(**tuned))
    with torch.device("meta"):
        backbone = network.build_backbone(plan, {"encoder": 1, "whisper": 80}.get(name, 160))
        blocks = len(backbone.blocks)
        kept = len(network.Network(backbone, plan.finetune, 4).backbone.blocks) if blocks > 1 else blocks
    for kind, there in (("pretrain", blocks), ("finetune", kept)):
        run = runs.Run(Path("run"), {"kind": kind, "settings": files.plain(plan)})
        assert min(there, 1) <= label.default_layer(run) <= there
