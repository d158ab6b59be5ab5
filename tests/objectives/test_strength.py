"""StrengthNet layer for layer, what it is taught and by whom, and the tracks it makes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
import torch
from torch import nn
from toys import SMALL_STRENGTHNET, steps_of, waves

from sottovoce.backbones import strengthnet, valid_steps
from sottovoce.commands import extract as extract_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.data import folds, runs
from sottovoce.data.batching import Batch
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.metrics import agreement
from sottovoce.modeling import network as models
from sottovoce.objectives import _ranking
from sottovoce.objectives import strength as branches
from sottovoce.pipeline import functionals, pretrain, strength
from sottovoce.pipeline.extract import find_model_store, track_store

FEATURES = 7


def network(seed=0, **more):
    """A small one that hears well: twelve layers of fresh Glorot weights leave next to nothing of the input."""
    torch.manual_seed(seed)
    backbone = strengthnet.Backbone(strengthnet.Config(channels=(2, 3, 4, 8), frequencies=27), FEATURES)
    for p in backbone.parameters():
        nn.init.normal_(p, std=0.3)
    return branches.Objective(
        branches.Config(**{"lstm": 6, "dense": 5, "emotions": 3, "dropout": 0.0} | more), backbone
    )


def lesson_batch(rows=4, seed=0):
    """Utterances of several lengths, each with a score and an emotion."""
    steps = steps_of(waves(6, features=FEATURES, seed=seed))
    target = np.array([[0.1 + 0.15 * k, k % 3] for k in range(6)], np.float32)
    return steps.batch(range(rows), target=target)


# ---------------------------------------------------------------------------------------------- layers


def by_the_book(backbone, x):
    """(S, D) -> (S, H) with Keras' "same" zeros, one output at a time."""
    h = (x @ backbone.stem.weight.T + backbone.stem.bias).detach().numpy()[None].astype(np.float64)  # (C, S, F)
    for k, layer in enumerate(backbone.convolutions):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        stride = 3 if k % 3 == 2 else 1
        _, steps, wide = h.shape
        out = -(-wide // stride)
        before = max((out - 1) * stride + 3 - wide, 0) // 2
        padded = np.zeros((len(h), steps + 2, before + wide + 3))
        padded[:, 1:-1, before : before + wide] = h
        new = np.empty((len(weight), steps, out))
        for s in range(steps):
            for f in range(out):
                seen = padded[:, s : s + 3, f * stride : f * stride + 3]
                new[:, s, f] = (weight * seen).sum((1, 2, 3)) + bias
        h = np.maximum(new, 0)
    return h.transpose(1, 2, 0).reshape(h.shape[1], -1)  # frequency by frequency, as Keras reshapes


@pytest.mark.parametrize("frequencies", [10, 12, 29])  # every remainder of the stride
def test_the_encoder_is_twelve_convolutions_with_the_zeros_of_keras(frequencies):
    torch.manual_seed(0)
    backbone = strengthnet.Backbone(strengthnet.Config(channels=(2, 3), frequencies=frequencies), FEATURES)
    for p in backbone.parameters():
        nn.init.normal_(p, std=0.3)
    x = torch.randn(5, FEATURES)
    with torch.no_grad():
        found = backbone(x[None], torch.tensor([5])).last[0]
    np.testing.assert_allclose(found, by_the_book(backbone, x), rtol=1e-4, atol=1e-5)


def test_a_long_recording_is_encoded_in_pieces_and_the_same(monkeypatch):
    backbone, batch = network().backbone.eval(), lesson_batch(6)
    whole = backbone(batch.x, batch.lengths).last
    monkeypatch.setattr(strengthnet, "PIECE", 7)
    torch.testing.assert_close(backbone(batch.x, batch.lengths).last, whole)
    assert whole.std() > 0.01


def test_sizes_are_those_of_the_paper():
    backbone = strengthnet.Backbone(strengthnet.Config(), 80)
    assert backbone.dim == 4 * 128 == 512
    assert [c.out_channels for c in backbone.convolutions] == [16] * 3 + [32] * 3 + [64] * 3 + [128] * 3
    assert [c.stride for c in backbone.convolutions] == [(1, 1), (1, 1), (1, 3)] * 4
    model = branches.Objective(branches.Config(), backbone)
    assert model.judge(torch.rand(2, 9, 80), torch.tensor([9, 4])).emotion.shape == (2, 4)
    keras = 80 * 257 + 257  # as its `model.summary()` counts
    keras += sum(
        9 * a * b + b
        for a, b in zip(
            [1, *[16] * 3, *[32] * 3, *[64] * 3, *[128] * 2], [16] * 3 + [32] * 3 + [64] * 3 + [128] * 3, strict=True
        )
    )
    keras += 2 * 2 * 4 * (512 * 128 + 128 * 128 + 128)  # two branches, two directions, four gates
    keras += 256 * 128 + 128 + 128 + 1 + 256 * 4 + 4
    more = 2 * 2 * 4 * 128  # PyTorch gives every gate a second bias
    assert sum(p.numel() for p in model.parameters()) == keras + more


def test_recurrent_weights_are_held_at_nothing_so_a_state_hears_its_frame_and_the_cell():
    """Keras' `recurrent_constraint=max_norm(1e-5)`."""
    model, batch = network(), lesson_batch()
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    model(batch, None).value.backward()
    optimiser.step()
    once = model.judge(batch.x, batch.lengths)
    for states in (model.strength_states, model.emotion_states):
        assert states.lstm.weight_hh_l0.norm(dim=1).max() <= 1e-5
        assert states.lstm.weight_hh_l0_reverse.norm(dim=1).max() <= 1e-5
    assert model.judge(batch.x, batch.lengths).frames.equal(once.frames)
    free = network(recurrent_norm=0.0)
    free.judge(batch.x, batch.lengths)
    assert free.strength_states.lstm.weight_hh_l0.norm(dim=1).min() > 0.01


def test_dropout_of_the_states_hides_the_same_features_in_all_frames():
    recurrent = branches.Recurrent(6, branches.Config(lstm=3, dropout=0.5))
    seen = []
    recurrent.lstm.register_forward_pre_hook(lambda module, given: seen.append(given[0].data))
    torch.manual_seed(0)
    recurrent.train()(torch.ones(1, 50, 6), torch.tensor([50]))
    assert (seen[0] == seen[0][0]).all()
    assert set(seen[0][0].tolist()) == {0.0, 2.0}


# ---------------------------------------------------------------------------------------------- laws


def test_padding_and_batch_order_change_nothing():
    model, batch = network().eval(), lesson_batch()
    once = model.judge(batch.x, batch.lengths)
    assert once.frames[0, : batch.lengths[0]].std() > 0.01  # there is something to change
    longer = torch.cat([torch.where(valid_steps(batch.lengths, batch.x.shape[1])[..., None], batch.x, 9.0),
                        torch.randn(4, 13, FEATURES)], dim=1)  # fmt: skip
    padded = model.judge(longer, batch.lengths)
    turned = model.judge(batch.x.flip(0), batch.lengths.flip(0))
    for k, length in enumerate(batch.lengths.tolist()):
        torch.testing.assert_close(padded.frames[k, :length], once.frames[k, :length])
        torch.testing.assert_close(turned.frames[3 - k, :length], once.frames[k, :length])
        assert not once.frames[k, length:].any()
        assert not padded.frames[k, length:].any()
        torch.testing.assert_close(once.utterance[k], once.frames[k, :length].mean())
    torch.testing.assert_close(padded.emotion, once.emotion)
    torch.testing.assert_close(turned.emotion.flip(0), once.emotion)
    torch.testing.assert_close(model.frames(batch.x, batch.lengths), once.frames)


def test_the_loss_equals_numpy_and_that_of_its_rows():
    model, batch = network().eval(), lesson_batch()
    judged, loss = model.judge(batch.x, batch.lengths), model(batch, None)
    total = 0.0
    for k, length in enumerate(batch.lengths.tolist()):
        score, emotion = batch.target[k].tolist()
        frames, logits = judged.frames[k, :length].detach().numpy(), judged.emotion[k].detach().numpy()
        total += abs(frames.mean() - score) + np.abs(frames - score).mean()
        total += np.log(np.exp(logits).sum()) - logits[int(emotion)]
    assert loss.total.item() == pytest.approx(total, rel=1e-5)
    assert loss.weight.item() == 4
    assert set(loss.logs) == {"mae", "frame_mae", "cross_entropy"}
    apart = [model(lesson_row(batch, k), None).total for k in range(4)]
    torch.testing.assert_close(torch.stack(apart).sum(), loss.total)


def lesson_row(batch, k):
    length = int(batch.lengths[k])
    row = slice(k, k + 1)
    return Batch(batch.ids[row], batch.x[row, :length], batch.lengths[row], batch.scored[row], [0], batch.target[row])


def test_padding_included_is_heard_and_scored_as_released():
    """Every row is as long as the longest, and zeros carry its target too."""
    batch = lesson_batch()
    model = network(padding="included").eval()
    full = torch.full_like(batch.lengths, batch.x.shape[1])
    wanted = branches.loss_of(model.judge(batch.x, full), batch.target)
    torch.testing.assert_close(model(batch, None).total, wanted.total)
    assert not torch.isclose(wanted.total, network().eval()(batch, None).total)


def test_one_batch_is_learned_by_heart_by_all_layers():
    model, batch = network(recurrent_norm=0.0), lesson_batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = model(batch, None).value
        loss.backward()
        if not losses:
            silent = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
            assert silent == []
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    "wrong",
    [{"lstm": 0}, {"dense": 0}, {"emotions": 0}, {"dropout": 1.0}, {"padding": "zero"}, {"split": "fold"},
     {"functionals": "opensmile"}, {"slack": 0.0}],
    ids=lambda w: next(iter(w)),
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match=f"objective.{next(iter(wrong))}"):
        branches.Config(**wrong)


# ---------------------------------------------------------------------------------------------- who is taught what


@pytest.fixture(scope="module")
def data(corpus, tmp_path_factory):
    """A copy of the tiny corpus that may be written into: five emotions, neutral among them, intensity a number."""
    folder = tmp_path_factory.mktemp("strength") / "data"
    shutil.copytree(corpus, folder)
    return folder


def learn(corpora, folder, *more, **options):
    options = {"tracker": "none", "jobs": 1, "quiet": True} | options
    pretrain_command.main("strengthnet", list(corpora), folder, settings=[*SMALL_STRENGTHNET, *more], **options)
    return folder


@pytest.fixture(scope="module")
def model(data):
    """Strength models of two folds."""
    return learn([data], data.parent / "runs", fold="fold1,fold2")


@pytest.fixture
def no_pages(monkeypatch):
    """Drawing takes longer than learning; a page is only its first line then."""
    from sottovoce import report

    monkeypatch.setattr(report, "strength_page", lambda found: str(found.get("first_line")))


def people(corpus, ids):
    return {folds.person(corpus.by_id[k]) for k in ids}


def lesson_of(data, values=None, fold="fold1", **more):
    config = branches.Config(functionals="fbank", **more)
    corpus = Corpus.load(data)
    (train,), (heldout,) = folds.parts([corpus], fold)
    values = functionals.of_corpus(corpus, "fbank", jobs=1, quiet=True) if values is None else values
    return _ranking.lesson(corpus, values, train, heldout, config)


def test_the_ranking_knows_training_people_only_and_never_their_intensity_labels(data):
    """The canary: what everybody else sounds like becomes nonsense, all intensity labels too; no ranking moves."""
    corpus = Corpus.load(data)
    values = functionals.of_corpus(corpus, "fbank", jobs=1, quiet=True)
    first = lesson_of(data, values)
    assert set(first.rankings) == {"happy", "sad", "angry", "fear"}
    train = {u.id for u in first.train} | {u.id for u in first.neutral["train"]}
    assert train == set(corpus.fold("fold1").train)
    assert {u.id for u in first.test} < set(corpus.fold("fold1").test)
    others = [k for k, u in enumerate(corpus.utterances) if u.id not in train]
    spoiled = values.copy()
    spoiled[others] = 1e6
    again = lesson_of(data, spoiled)
    for emotion, ranking in first.rankings.items():
        np.testing.assert_array_equal(again.rankings[emotion].weight, ranking.weight)
        assert (again.rankings[emotion].low, again.rankings[emotion].high) == (ranking.low, ranking.high)
    assert [first.score(u) for u in first.train] == [again.score(u) for u in first.train]


def test_planted_emotions_are_above_neutral_in_people_nobody_ranked(data):
    it = lesson_of(data)
    found = {}
    for emotion in it.rankings:
        strong = [it.rank(u, emotion) for u in it.test if _ranking.emotion_of(u) == emotion]
        found[emotion] = np.mean([s > it.rank(n, emotion) for s in strong for n in it.neutral["test"]])
    assert np.mean(list(found.values())) > 0.9, found
    assert all(0 <= it.score(u) <= 1 for u in it.test)
    assert {1.0} <= {it.score(u) for u in it.train}  # the strongest of an emotion


def test_an_emotion_can_be_part_of_the_zero(data):
    it = lesson_of(data, neutral=("neutral", "sad"))
    assert set(it.rankings) == {"happy", "angry", "fear"}
    assert "sad" in {_ranking.emotion_of(u) for u in it.neutral["train"]}


def test_standardised_by_speaker_no_speaker_stands_out(data):
    corpus = Corpus.load(data)
    values = functionals.of_corpus(corpus, "fbank", True, jobs=1, quiet=True)
    speakers = np.array([u.speaker for u in corpus.utterances])
    for name in set(speakers):
        np.testing.assert_allclose(values[speakers == name].mean(0), 0, atol=1e-6)


def test_without_opensmile_own_functionals_are_used_and_the_run_says_which(model, monkeypatch):
    monkeypatch.setattr(functionals, "has_opensmile", lambda: False)
    assert functionals.kind_of("auto") == "fbank"
    monkeypatch.setattr(functionals, "has_opensmile", lambda: True)
    assert functionals.kind_of("auto") == "eGeMAPSv02"
    assert functionals.kind_of("fbank") == "fbank"
    assert json.loads((model / "fold1/config.json").read_text())["functionals"] == "fbank"


def test_functionals_of_a_block_are_those_of_numpy():
    frames = np.random.default_rng(0).normal(0, 1, (40, 3))
    found = functionals.spread_of(frames).reshape(5, 3)
    wanted = [frames.mean(0), frames.std(0), np.percentile(frames, 20, 0), np.percentile(frames, 80, 0),
              np.abs(frames[1:] - frames[:-1]).mean(0)]  # fmt: skip
    np.testing.assert_allclose(found, wanted)
    assert np.isfinite(functionals.spread_of(frames[:1])).all()


# ---------------------------------------------------------------------------------------------- runs


def test_a_run_leaves_test_people_out_and_reports_how_it_orders_them(data, model):
    corpus = Corpus.load(data)
    fold = corpus.fold("fold1")
    config = json.loads((model / "fold1/config.json").read_text())
    assert set(config["seen_speakers"]) == people(corpus, fold.train) | people(corpus, fold.dev)
    assert config["emotions"] == ["happy", "sad", "angry", "fear"]
    assert config["settings"]["objective_config"]["emotions"] == 4
    report = json.loads((model / "fold1/report.json").read_text())
    found = report["agreement"]
    assert found["part"] == "test"
    assert found["intensity"]["key"] == "spearman"  # this corpus labels intensity as a number
    assert found["intensity"]["speakers"] == found["neutral"]["speakers"] == len(people(corpus, fold.test))
    assert set(found["neutral"]["scores"]) == {"rank", "strength", "energy"}
    assert found["neutral"]["scores"]["rank"]["auc"]["value"] > 0.9
    rows = agreement.read_rows(model / "fold1/agreement.csv")
    assert {row["id"] for row in rows if row["part"] == "test"} == set(fold.test)
    assert {row["id"] for row in rows if row["part"] == "heldout"} == set(fold.dev)
    page = (model / "fold1/report.html").read_text()
    assert page.count("<figure>") >= 4 + 2 + 1  # pictures, two questions, loss
    assert "people neither trained on nor chosen by" in page
    names = {p.name for p in (model / "fold1").iterdir()}
    assert not {n for n in names if n.endswith(".part") or n in ("last.safetensors", "best.safetensors")}


def test_all_folds_together_are_one_table_of_all_their_test_people(data, model):
    corpus = Corpus.load(data)
    found = json.loads((model / "report.json").read_text())["agreement"]
    tested = people(corpus, corpus.fold("fold1").test) | people(corpus, corpus.fold("fold2").test)
    assert found["neutral"]["speakers"] == len(tested)
    assert "2 folds" in (model / "report.html").read_text()


def test_a_finished_model_is_not_made_again_and_another_configuration_is_refused(data, model):
    before = {p: p.stat().st_mtime_ns for p in model.glob("fold*/*")}
    learn([data], model, fold="fold1")
    assert {p: p.stat().st_mtime_ns for p in model.glob("fold*/*")} == before
    with pytest.raises(InputError, match=r"objective_config\.slack"):
        learn([data], model, "objective.slack=5", fold="fold1")


def test_the_same_seed_gives_the_same_bytes(data, model, tmp_path, no_pages):
    again = learn([data], tmp_path / "again", fold="fold1")
    assert (again / "fold1/model.safetensors").read_bytes() == (model / "fold1/model.safetensors").read_bytes()


def test_the_released_split_shares_speakers_and_the_report_begins_with_that(data, tmp_path, no_pages):
    folder = learn([data], tmp_path / "runs", "objective.split=random", "training.epochs=1") / "random"
    config = json.loads((folder / "config.json").read_text())
    corpus = Corpus.load(data)
    assert len(config["seen_speakers"]) == 8  # nobody is left out
    sides = pretrain.at_random([corpus], 0)
    (train,), (heldout,) = sides.train, sides.dev
    n = len(corpus.utterances)
    assert (len(train), len(train) + len(heldout)) == (round(10 / 14 * n), round(13 / 14 * n))
    assert not {u.id for u in train} & {u.id for u in heldout}
    report = json.loads((folder / "report.json").read_text())
    assert report["first_line"].startswith("Split at random, as released")
    assert report["first_line"] in (folder / "report.html").read_text()


def test_two_corpora_have_their_own_zero_and_common_emotions(data, tmp_path, no_pages):
    import layouts

    from sottovoce.pipeline import prepare

    layouts.folder(tmp_path / "wild", classes=("neutral", "happy", "bored"), speakers=4)
    prepare.prepare("folder", tmp_path / "wild", tmp_path / "wilds", jobs=1)
    folder = learn([data, tmp_path / "wilds"], tmp_path / "runs", "training.epochs=1") / "fold1"
    config = json.loads((folder / "config.json").read_text())
    assert config["emotions"][:4] == ["happy", "sad", "angry", "fear"]
    assert len(config["emotions"]) == 5
    assert set(json.loads((folder / "ranking.json").read_text())) == {"synthetic", "wild"}


def test_a_strength_model_is_a_start_for_finetuning(data, model, tmp_path):

    finetune_command.main(data, tmp_path / "ft", init=str(model), fold="fold1", quiet=True, mode="frozen")
    it = models.load_recognised(runs.Run.load(tmp_path / "ft/fold1"))
    assert it.network.backbone.dim == 8
    assert it.plan.backbone == "strengthnet"


def test_a_model_is_judged_on_a_corpus_it_does_not_know(data, model, tmp_path, sottovoce):
    """Another corpus of the same words: people of another name, louder than they were."""
    corpus = Corpus.load(data)
    shutil.copytree(data, tmp_path / "other", ignore=shutil.ignore_patterns("intensity-*"))
    text = (tmp_path / "other/manifest.csv").read_text().replace(",synthetic,", ",abroad,")
    (tmp_path / "other/manifest.csv").write_text(text)
    config = json.loads((tmp_path / "other/corpus.json").read_text()) | {"name": "abroad"}
    (tmp_path / "other/corpus.json").write_text(json.dumps(config))
    copy = Corpus.load(tmp_path / "other")  # the same recordings: only those it was not trained on are judged
    labelled = [u.id for u in copy.utterances if u.labels]
    seen, everybody = folds.seen_by(runs.Run.load(model / "fold1")), people(copy, labelled)
    assert everybody - seen.people_in(copy, everybody) == people(copy, copy.fold("fold1").test)
    for u in corpus.utterances:
        samples, rate = sf.read(corpus.root / u.path)
        (tmp_path / "louder" / u.path).parent.mkdir(parents=True, exist_ok=True)
        sf.write(tmp_path / "louder" / u.path, 1.01 * samples, rate)
    (tmp_path / "other/corpus.json").write_text(json.dumps(config | {"root": str(tmp_path / "louder")}))
    (tmp_path / "other/contents.csv").unlink()
    done = sottovoce("evaluate", model, "--on", tmp_path / "other", "-o", tmp_path / "out", "--jobs", "1")
    assert done.code == 0, done.err
    assert "neutral by rank: AUC" in done.out
    found = json.loads((tmp_path / "out/agreement-abroad.json").read_text())["agreement"]
    assert found["neutral"]["speakers"] == 8  # nobody of them was heard
    assert found["neutral"]["scores"]["rank"]["auc"]["value"] > 0.9
    assert "strengthnet fold1 on abroad" in (tmp_path / "out/agreement-abroad.html").read_text()
    # and of its own corpus the test people alone, with the scores of the run itself
    sottovoce("evaluate", model / "fold1", "--on", data, "-o", tmp_path / "own", "--jobs", "1")
    ours = {row["id"]: row for row in agreement.read_rows(tmp_path / "own/agreement-synthetic.csv")}
    theirs = {row["id"]: row for row in agreement.read_rows(model / "fold1/agreement.csv") if row["part"] == "test"}
    assert set(ours) == set(theirs) == set(corpus.fold("fold1").test)
    for id, row in ours.items():
        for key in ("strength", "energy", "rank_angry"):
            assert row[key] == pytest.approx(theirs[id][key], rel=1e-4, abs=1e-5)


def test_a_corpus_that_was_heard_and_a_model_that_is_none_are_one_line(data, model, tmp_path, sottovoce):
    heard_all = json.loads((model / "fold1/config.json").read_text())
    corpus = Corpus.load(data)
    shutil.copytree(model / "fold1", tmp_path / "run")
    (tmp_path / "run/config.json").write_text(
        json.dumps(heard_all | {"seen_speakers": sorted(people(corpus, corpus.by_id))})
    )
    assert "nobody to judge. Found 0 utterances" in sottovoce("evaluate", tmp_path / "run", "--on", data).complaint
    (tmp_path / "run/config.json").write_text(json.dumps({k: v for k, v in heard_all.items() if k != "functionals"}))
    assert "no intensity model" in sottovoce("evaluate", tmp_path / "run", "--on", data).complaint
    (tmp_path / "run/config.json").write_text(json.dumps(heard_all))
    (tmp_path / "run/ranking.json").write_text("{}")
    assert "ranking.json: damaged" in sottovoce("evaluate", tmp_path / "run", "--on", data).complaint


def test_a_model_that_learned_nothing_is_called_so():
    row = {"heldout_loss": 2.0, "trivial_loss": 2.3}
    assert strength.warnings([row]) == []
    assert "no better than that of constants" in strength.warnings([row | {"heldout_loss": 2.3}])[0]
    assert "Not a single epoch" in strength.warnings([])[0]


# ---------------------------------------------------------------------------------------------- the track


def test_the_track_is_what_the_model_says_of_every_utterance_alone(data, model):
    extract_command.main(data, track="intensity", model=model, jobs=1, quiet=True)
    corpus = Corpus.load(data)
    store = find_model_store(corpus, "intensity", corpora=[corpus], fold="fold1")
    objective, _ = models.load_objective(runs.Run.load(model / "fold1"))
    mel = track_store(corpus, "mel", jobs=1, quiet=True)
    assert (store.rate_hz, store.offset_s, store.dim) == (62.5, 0.0, 1)
    assert set(store.ids) == set(corpus.by_id)
    assert store.lengths == mel.lengths
    with torch.inference_mode():
        for id in store.ids[::17]:
            alone = objective.judge(torch.from_numpy(mel[id].copy())[None], torch.tensor([len(mel[id])]))
            np.testing.assert_allclose(store[id][:, 0], alone.frames[0], rtol=1e-4, atol=1e-6)
    assert folds.seen_behind(store) == folds.seen_by(runs.Run.load(model / "fold1"))
    assert store.head.config["made_by"] == "strengthnet fold1"


def test_a_model_store_is_made_once_and_goes_on_where_it_was_interrupted(data, model, tmp_path, monkeypatch):
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("intensity-*"))
    corpus = Corpus.load(tmp_path / "data")
    judged = []
    framewise = models.framewise

    def stopping(steps, *args):
        for k, (u, values) in enumerate(framewise(steps, *args)):
            if k == stop:
                raise KeyboardInterrupt
            judged.append(u.id)
            yield u, values

    monkeypatch.setattr(models, "framewise", stopping)
    stop = 20
    with pytest.raises(KeyboardInterrupt):
        extract_command.main(corpus.folder, track="intensity", model=model, jobs=1, quiet=True)
    with pytest.raises(InputError, match=r"not whole\. Found 20 of 100"):
        find_model_store(corpus, "intensity")
    stop = None
    extract_command.main(corpus.folder, track="intensity", model=model, jobs=1, quiet=True)
    extract_command.main(corpus.folder, track="intensity", model=model, jobs=1, quiet=True)
    assert sorted(judged) == sorted(corpus.by_id)  # each of them once
    ours, theirs = (find_model_store(Corpus.load(folder), "intensity") for folder in (corpus.folder, data))
    for id in theirs:
        np.testing.assert_allclose(ours[id], theirs[id], rtol=1e-4, atol=1e-6)
    plain = track_store(corpus, "intensity", theirs.head.config, quiet=True)  # by its settings, without the run
    assert plain.folder == ours.folder


def test_frames_are_judged_a_few_hundred_utterances_at_a_time(monkeypatch):
    """What is asked of the store before the first answer does not grow with the corpus."""
    monkeypatch.setattr(models, "WINDOW", 3)
    store = waves(11, features=FEATURES)
    steps = steps_of(store)
    store.read.clear()
    stream = models.framewise(steps, lambda x, lengths: x.sum(-1), batch_steps=50)
    first, values = next(stream)
    assert first.id == "u0"
    assert set(store.read) == {"u0", "u1", "u2"}
    np.testing.assert_allclose(values, steps[0][0].sum(-1), rtol=1e-5)
    assert [u.id for u, _ in stream] == [f"u{k}" for k in range(1, 11)]


def test_a_model_that_has_heard_test_people_is_refused_unless_allowed_by_name(data, model, tmp_path):
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("intensity-*"))
    corpus = Corpus.load(tmp_path / "data")
    tested = {name: people(corpus, corpus.fold(name).test) for name in ("fold1", "fold2", "fold3")}
    with pytest.raises(
        InputError, match=r"no intensity extracted.*sottovoce extract .*data --track intensity --model RUN"
    ):
        find_model_store(corpus, "intensity", corpora=[corpus], fold="fold1")
    extract_command.main(corpus.folder, track="intensity", model=model, fold="all", jobs=1, quiet=True)
    stores = {name: find_model_store(corpus, "intensity", corpora=[corpus], fold=name) for name in ("fold1", "fold2")}
    for name, store in stores.items():
        assert store.head.config["made_by"] == f"strengthnet {name}"
    with pytest.raises(InputError, match=r"has seen 2 test speakers.*--transductive"):
        find_model_store(corpus, "intensity", corpora=[corpus], fold="fold3")
    with pytest.raises(InputError, match=r"several stores of intensity.*strengthnet fold1.*Name one"):
        find_model_store(corpus, "intensity", corpora=[corpus], fold="fold3", transductive=True)
    named = find_model_store(corpus, stores["fold2"].folder.name, corpora=[corpus], fold="fold3", transductive=True)
    assert folds.seen_behind(named).people & tested["fold3"]
    with pytest.raises(InputError, match="several stores of intensity"):
        find_model_store(corpus, "intensity")


def test_changed_recordings_make_a_model_store_stale(data, model, tmp_path):
    import os

    shutil.copytree(Corpus.load(data).root, tmp_path / "audio")
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("tracks"))
    corpus = replace(Corpus.load(tmp_path / "data"), root=tmp_path / "audio")
    corpus.save()
    extract_command.main(corpus.folder, track="intensity", model=model, jobs=1, quiet=True)
    path = corpus.root / corpus.utterances[0].path
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="not whole"):
        find_model_store(corpus, "intensity")
    extract_command.main(corpus.folder, track="intensity", model=model, jobs=1, quiet=True)
    assert len(find_model_store(corpus, "intensity")) == len(corpus.utterances)


@pytest.mark.parametrize("name", ["ravdess", "esd"])
def test_the_commands_of_the_readme_run_as_written(name, tmp_path, sottovoce, monkeypatch, no_pages):
    """On generated recordings in the layout of the corpus."""
    import layouts

    monkeypatch.chdir(tmp_path)
    options = {"ravdess": {"actors": 4, "statements": 1, "repetitions": 1}, "esd": {}}[name]
    for corpus, root in ((name, getattr(layouts, name)(tmp_path / "raw", **options)),
                         ("librispeech", layouts.librispeech(tmp_path / "libri"))):  # fmt: skip
        assert sottovoce("prepare", corpus, root, "-o", f"data/{corpus}", "--jobs", "1").code == 0
    sizes = [word for setting in SMALL_STRENGTHNET for word in ("--set", setting)]
    done = sottovoce("pretrain", "strengthnet", f"data/{name}", "-o", "runs/strength", "--jobs", "1", "-q", *sizes)
    assert done.code == 0, done.err
    done = sottovoce("extract", "data/librispeech", "--track", "intensity", "--model", "runs/strength")
    assert done.code == 0, done.err
    assert "12 utterances" in done.out
    store = find_model_store(Corpus.load("data/librispeech"), "intensity")
    assert {person.split("/")[0] for person in folds.seen_behind(store).people} == {name}
    found = json.loads((tmp_path / "runs/strength/fold1/report.json").read_text())["agreement"]
    if name == "ravdess":
        assert found["intensity"]["key"] == "auc"  # normal, strong
        assert found["intensity"]["scores"]["energy"]["auc"]["value"] == pytest.approx(0.5, abs=0.4)
    else:
        assert found["intensity"] is None


# ---------------------------------------------------------------------------------------------- bad input


def test_speech_without_a_zero_or_without_emotions_is_one_line(sottovoce, tmp_path):
    import layouts

    from sottovoce.pipeline import prepare

    layouts.folder(tmp_path / "wild", classes=("happy", "sad"), speakers=4)
    prepare.prepare("folder", tmp_path / "wild", tmp_path / "wilds", jobs=1)
    prepare.prepare("folder", tmp_path / "wild", tmp_path / "mute", options={"unlabelled": True}, jobs=1)
    words = ["pretrain", "strengthnet", "-o", tmp_path / "runs", "-q", "--set", "objective.functionals=fbank"]
    line = sottovoce(*words, tmp_path / "wilds").complaint
    assert "wilds: no neutral class to rank against. Found happy, sad" in line
    assert "--set objective.neutral=" in line
    assert "mute: no emotion labels to rank by" in sottovoce(*words, tmp_path / "mute").complaint
    all_zero = sottovoce(*words, tmp_path / "wilds", "--set", "objective.neutral=happy,sad").complaint
    assert "nothing but neutral speech" in all_zero
    assert not (tmp_path / "runs").exists()


def test_a_corpus_too_small_to_hold_somebody_out_is_one_line(sottovoce, tmp_path):
    import layouts

    from sottovoce.pipeline import prepare

    prepare.prepare("esd", layouts.esd(tmp_path / "raw"), tmp_path / "data", jobs=1)  # six speakers
    words = ["pretrain", "strengthnet", tmp_path / "data", "-o", tmp_path / "runs", "-q", "--jobs", 1, "--fold", "none"]
    line = sottovoce(*words, *(word for setting in SMALL_STRENGTHNET for word in ("--set", setting))).complaint
    assert "nobody to choose the epoch by" in line
    assert "--fold fold1" in line
    assert not (tmp_path / "runs").exists()


def test_a_track_without_its_model_and_a_model_without_its_track_are_one_line(sottovoce, data, model, tmp_path):
    shutil.copytree(model / "fold1", tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    config["settings"]["objective"] = "masked_timesteps"
    (tmp_path / "other/config.json").write_text(json.dumps(config))
    for words, said in (
        (["--track", "intensity"], "intensity is made by a trained model. Found no --model"),
        (["--track", "energy", "--model", model], "energy is made without a model"),
        (["--track", "fbank", "--fold", "fold1"], "fbank is made without a model"),
        (
            ["--track", "intensity", "--model", tmp_path / "other"],
            "trained by masked_timesteps. intensity needs a run of strength",
        ),
        (["--track", "intensity", "--model", model, "--fold", "fold9"], "'fold9'"),
        (["--track", "intensity", "--model", data / "nowhere"], "no such run folder"),
    ):
        assert said in sottovoce("extract", data, *words).complaint
    with pytest.raises(InputError, match=r"intensity of this model is not there.*--model RUN"):
        track_store(Corpus.load(data), "intensity", {"model": "0" * 32}, quiet=True)
    line = sottovoce("pretrain", "strengthnet", data, "-o", data.parent / "x", "--init", model).complaint
    assert "begins with random weights" in line


def test_a_model_whose_layers_are_gone_is_one_line(data, model, tmp_path):
    from sottovoce.modeling.checkpoint import load_tensors, save_tensors

    shutil.copytree(model / "fold1", tmp_path / "run")
    path = tmp_path / "run/model.safetensors"
    save_tensors(path, {k: v for k, v in load_tensors(path).items() if not k.startswith("objective.")})
    with pytest.raises(InputError, match="hold no layers of strength"):
        models.load_objective(runs.Run.load(tmp_path / "run"))
