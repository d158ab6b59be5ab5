"""An answer at every frame: the laws that tie it to the answer of the utterance, its track, its timeline."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sottovoce import plugins
from sottovoce.backbones import Hidden
from sottovoce.commands import extract as extract_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.data import folds, runs
from sottovoce.data.corpus import Corpus
from sottovoce.data.dataset import Steps
from sottovoce.errors import InputError
from sottovoce.inference.recogniser import Recogniser
from sottovoce.modeling import heads, network
from sottovoce.pipeline import extract
from sottovoce.pipeline.extract import find_model_store, track_store
from sottovoce.tracks import posterior

RATE = 16000
LENGTHS = torch.tensor([9, 14, 1])
HIDDEN = Hidden([torch.randn(3, 14, 6, generator=torch.Generator().manual_seed(k)) for k in range(4)], LENGTHS)
HIDDEN.speech = torch.rand(3, 14, generator=torch.Generator().manual_seed(9)) * HIDDEN.valid
KINDS = [(use, pool) for use in ("concat", "weighted", "last") for pool in heads.PARTS]


def pooling(use, pool, **more):
    torch.manual_seed(0)
    return heads.Pooling(4, 6, layer_aggregation=use, temporal_pooling=pool, **more).eval()


# ---------------------------------------------------------------------------------------------- laws of pooling


@pytest.mark.parametrize(
    ("use", "more"),
    [("concat", {}), ("weighted", {}), ("last", {}), ("weighted", {"project": 5, "activation": "relu"})],
)
def test_the_mean_of_an_utterance_is_the_mean_of_its_states(use, more):
    pool = pooling(use, "mean", **more)
    with torch.inference_mode():
        each, whole = pool.around(HIDDEN, 0), pool(HIDDEN)
    for k, n in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(each[k, :n].mean(0), whole[k])


@pytest.mark.parametrize(("use", "pool"), KINDS)
def test_surroundings_that_reach_over_the_utterance_are_the_utterance(use, pool, monkeypatch):
    monkeypatch.setattr(heads, "PIECE", 15)  # pieces leave no seam
    pool = pooling(use, pool)
    with torch.inference_mode():
        near, whole = pool.around(HIDDEN, 14), pool(HIDDEN)
    for k, n in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(near[k, :n], whole[k].expand(n, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("use", "pool"), KINDS)
def test_surroundings_are_what_a_slice_of_the_utterance_would_be(use, pool):
    pool = pooling(use, pool)
    with torch.inference_mode():
        near = pool.around(HIDDEN, 2)
        for k, n in enumerate(LENGTHS.tolist()):
            for s in range(n):
                a, b = max(s - 2, 0), min(s + 3, n)
                slice_ = Hidden([x[k : k + 1, a:b] for x in HIDDEN.layers], torch.tensor([b - a]))
                slice_.speech = HIDDEN.speech[k : k + 1, a:b]
                torch.testing.assert_close(near[k, s], pool(slice_)[0], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------- answers of a run

ENCODER = [
    *(
        "backbone.size=toy",
        "finetune.layer_aggregation=weighted",
        "finetune.temporal_pooling=mean",
        "finetune.training.epochs=1",
    ),
    *("finetune.training.min_updates=0", "finetune.training.batch_rows=16", "finetune.l2=0.03"),
]


@pytest.fixture(scope="module")
def encoded(corpus, tmp_path_factory):
    """An encoder of random weights that reads waveforms, fine-tuned for one epoch; pooling is a mean."""
    folder = tmp_path_factory.mktemp("posterior") / "enc"
    finetune_command.main(corpus, folder, recipe="hubert", init="none", settings=ENCODER, quiet=True, jobs=1)
    return folder


def steps_of_test(corpus, it):
    data = Corpus.load(corpus)
    store = track_store(data, it.plan.track, vars(it.plan.track_config), jobs=1, quiet=True)
    some = [data.by_id[k] for k in data.fold("fold1").test[:7]]
    return Steps([(store, some)], it.plan.frontend, it.statistics)


def test_scores_of_an_utterance_are_the_mean_of_its_frames_scores(corpus, encoded, monkeypatch):
    monkeypatch.setattr(network, "to_predictions", lambda task, out: out)  # scores, before the softmax
    it = network.load_recognised(runs.Run.load(encoded / "fold1"))
    steps = steps_of_test(corpus, it)
    whole = network.predict(it, steps)
    found = dict(network.frame_posteriors(it, steps))
    assert sorted(found) == list(range(len(steps)))
    for k, track in found.items():
        assert track.rate_hz == 50
        assert len(track) == (steps.lengths[k] - 400) // 320 + 1
        np.testing.assert_allclose(track.values.mean(0), whole[k], rtol=1e-3, atol=1e-4)


def test_answers_with_a_window_as_long_as_the_utterance_are_the_utterances(corpus, finetuned):
    """The model pools mean and deviation: no frame has an answer alone."""
    it = network.load_recognised(runs.Run.load(finetuned / "fold1"))
    steps = steps_of_test(corpus, it)
    whole = network.predict(it, steps)
    for k, track in network.frame_posteriors(it, steps, window_s=5.0):
        np.testing.assert_allclose(track.values, np.tile(whole[k], (len(track), 1)), rtol=1e-3, atol=1e-4)
    usual, second = (dict(network.frame_posteriors(it, steps, window_s=w)) for w in (0.0, network.AROUND_S))
    assert all(np.array_equal(usual[k].values, second[k].values) for k in usual)


# ---------------------------------------------------------------------------------------------- the track


@pytest.fixture(scope="module")
def data(corpus, tmp_path_factory):
    """The corpus, prepared once more: a track is written into it."""
    import shutil

    return shutil.copytree(corpus, tmp_path_factory.mktemp("tracks") / "data")


def test_the_track_is_what_the_model_says_of_every_utterance_alone(data, encoded):
    extract_command.main(data, track="posterior", model=encoded, jobs=1, quiet=True)
    corpus, run = Corpus.load(data), runs.Run.load(encoded / "fold1")
    store = find_model_store(corpus, "posterior", corpora=[corpus], fold="fold1")
    it = network.load_recognised(run)
    assert (store.rate_hz, store.offset_s) == (50, pytest.approx(0.0125, abs=1e-4))
    assert tuple(store.head.config["classes"]) == it.task.classes
    assert store.dim == 5
    assert set(store.ids) == set(corpus.by_id)
    assert folds.seen_behind(store) == folds.seen_by(run)
    wave = track_store(corpus, "wave", jobs=1, quiet=True)
    for id in store.ids[::23]:
        np.testing.assert_allclose(store[id].sum(1), 1, atol=1e-5)
        alone = Steps([(wave, [corpus.by_id[id]])], replace(it.plan.frontend, trim_db=0.0), it.statistics)
        ((_, track),) = network.frame_posteriors(it, alone)
        np.testing.assert_allclose(store[id], track.values, rtol=1e-3, atol=1e-5)
        assert track.offset_s == pytest.approx(store.offset_s)


def test_a_model_of_spectral_steps_has_the_clock_of_its_steps(data, finetuned):
    extract_command.main(
        data, track="posterior", model=finetuned, set_=["window_s=0.4"], fold="fold2", jobs=1, quiet=True
    )
    corpus = Corpus.load(data)
    it = network.load_recognised(runs.Run.load(finetuned / "fold2"))
    fbank = track_store(corpus, "fbank", vars(it.plan.track_config), jobs=1, quiet=True)
    stores = sorted((data / "tracks").glob("posterior-*"))
    store = next(s for s in map(extract.TrackStore.open, stores) if s.head.config["window_s"] == 0.4)
    assert store.rate_hz == 25  # four frames of 10 ms a step
    assert store.offset_s == pytest.approx(fbank.offset_s + 0.015)
    id = store.ids[0]
    assert store.lengths[id] == -(-fbank.lengths[id] // 4)


def test_what_cannot_have_a_posterior_is_told_why(corpus, encoded, pretrained, finetuned, sottovoce, tmp_path):
    def said(*words):
        return sottovoce("extract", corpus, "--track", "posterior", *words).complaint

    assert "posterior is made by a trained model. Found no --model" in said()
    assert "a pretrain run. A finetune run is needed" in said("--model", pretrained)
    assert "track.window_s: 0 or more. Found -1" in said("--model", encoded, "--set", "window_s=-1")
    numbers, own = tmp_path / "numbers", tmp_path / "own"
    some = {"init": str(pretrained), "mode": "frozen", "quiet": True, "jobs": 1}
    finetune_command.main(corpus, numbers, target="valence,arousal", **some)
    assert "predicts valence, arousal. posterior needs a model of classes" in said("--model", numbers)
    finetune_command.main(corpus, own, speaker_norm=True, **some)
    assert "standardises per speaker" in said("--model", own)
    assert "predict --timeline" in said("--model", own)


def test_the_configuration_says_what_it_is():
    config = posterior.Config(classes=("a", "b", "c"), rate_hz=25.0)
    assert (config.dim, config.rate_hz) == (3, 25.0)
    assert not hasattr(plugins.load("tracks", "posterior"), "make")


# ---------------------------------------------------------------------------------------------- recordings


def test_a_model_of_waveforms_hears_in_a_file_what_it_hears_in_a_corpus(corpus, encoded):
    data, it = Corpus.load(corpus), network.load_recognised(runs.Run.load(encoded / "fold1"))
    steps = steps_of_test(corpus, it)
    found = Recogniser([it]).predict([data.root / u.path for u in steps.utterances])
    wanted = it.calibration.apply(network.predict(it, steps))
    np.testing.assert_allclose([f.answer for f in found], wanted, rtol=1e-3, atol=1e-5)


def test_a_window_below_nothing_is_refused():
    with pytest.raises(InputError, match=r"track\.window_s: 0 or more"):
        posterior.Config(window_s=-0.1)
