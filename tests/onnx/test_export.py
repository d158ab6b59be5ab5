"""An exported model says what the model says: any length, any neighbours, hours, streams; without PyTorch."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sottovoce
from sottovoce.commands import export as export_command
from sottovoce.commands import finetune as finetune_command
from sottovoce.data.corpus import Corpus
from sottovoce.data.runs import Run
from sottovoce.errors import InputError
from sottovoce.modeling import network as models
from sottovoce.onnx import Graph, export, pool

RATE = 16000


@pytest.fixture(scope="module")
def tuned(corpus, tmp_path_factory):
    """A probe on the default encoder."""
    run = tmp_path_factory.mktemp("default") / "ft"
    finetune_command.main(corpus, run, fold="fold1", settings=["finetune.copies=1"], quiet=True)
    return run / "fold1"


@pytest.fixture(scope="module")
def exported(tuned, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_command.main(tuned, path, quiet=True)
    return path


@pytest.fixture(scope="module")
def waves(corpus):
    data = Corpus.load(corpus)
    return [soundfile.read(data.root / u.path, dtype="float32")[0] for u in data.utterances[:8]]


@pytest.fixture(scope="module")
def recognisers(tuned, exported):
    return sottovoce.load(tuned, vad="loudness"), sottovoce.load(exported, vad="loudness")


@given(st.lists(st.tuples(st.integers(1, 40_000), st.integers(0, 9)), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_batch_of_any_lengths_is_answered_as_by_pytorch(recognisers, sizes):
    torch_s, graph = recognisers[0], recognisers[1].graph
    noises = [np.random.default_rng(seed).standard_normal(n).astype(np.float32) / 8 for n, seed in sizes]
    found = graph.answers(noises)
    for row, noise in zip(found, noises, strict=True):
        np.testing.assert_allclose(row, export.in_torch(torch_s.models[0], noise)[0], atol=1e-4)


def test_recordings_are_answered_as_by_pytorch_over_time_too(recognisers, waves):
    long = np.tile(np.concatenate(waves), 5)  # more than a piece
    assert len(long) > 30 * RATE
    for wave in (waves[0], waves[1][:8000], np.concatenate([np.zeros(RATE), waves[2]]), long):
        one, other = (recogniser((wave, RATE)) for recogniser in recognisers)
        np.testing.assert_allclose(one.answer, other.answer, atol=1e-4)
        np.testing.assert_allclose(one.posteriors, other.posteriors, atol=1e-4)
        assert [s["label"] for s in one.segments] == [s["label"] for s in other.segments]
        assert one.warnings == other.warnings


def test_streams_are_answered_as_by_pytorch(recognisers, waves):
    long = np.concatenate(waves)
    one, other = ([e.probabilities for e in r.stream([long])] for r in recognisers)
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, abs=1e-4, nan_ok=True)


def test_eight_bits_are_smaller_and_agree(exported, tuned, waves, tmp_path):
    before = exported.stat().st_size
    model = onnx.load(exported)
    path = tmp_path / "int8.onnx"
    onnx.save(model, path)
    export.quantise(onnx, path)
    assert path.stat().st_size < 0.7 * before
    one, other = Graph(exported).answers(waves), Graph(path).answers(waves)
    assert np.abs(one - other).max() < 0.1
    assert (one.argmax(1) == other.argmax(1)).mean() >= 7 / 8


def test_in_eight_bits_too_neighbours_and_padding_change_nothing(tuned, waves, tmp_path):
    recogniser = sottovoce.load(tuned, vad="loudness")
    export.export(recogniser.models[0], tmp_path / "int8.onnx", waves[:2], int8=True, tolerance=0.5)
    graph = Graph(tmp_path / "int8.onnx")
    some = [waves[0], waves[1][:16000], 8 * waves[2][:400], waves[3][:1]]
    names = ["answer", "states", "counts", "begins"]
    together, alone = graph.run(some, names), [graph.run([wave], names) for wave in some]
    for k, (answer, states, counts, begins) in enumerate(alone):
        np.testing.assert_array_equal(together[0][k], answer[0])
        np.testing.assert_array_equal(together[1][k, : states.shape[1]], states[0])
        assert (together[2][k], together[3][k]) == (counts[0], begins[0])


@pytest.mark.parametrize("bad", [[], [np.zeros(0)], [np.zeros((2, 3))], [np.full(1600, np.nan)], [np.ones(9), np.inf]])
def test_a_graph_answers_to_recordings_alone(exported, bad):
    with pytest.raises(InputError, match="recordings"):
        Graph(exported).answers(bad)


def test_the_runner_needs_no_torch(exported, waves, tmp_path):
    soundfile.write(tmp_path / "talk.wav", waves[0], RATE)
    code = (
        "import sys, sottovoce.onnx; r = sottovoce.onnx.load(sys.argv[1])(sys.argv[2]); "
        "heavy = {'torch', 'scipy', 'pandas', 'sklearn', 'soxr', 'av', 'onnx', 'matplotlib'} & set(sys.modules); "
        "print(r.label, heavy)"
    )
    command = [sys.executable, "-c", code, str(exported), str(tmp_path / "talk.wav")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split(maxsplit=1) == [sottovoce.load(exported)(tmp_path / "talk.wav").label, "set()\n"]


def test_the_file_stands_alone(exported):
    """A runner of other people's: two inputs, one output, names in the metadata."""
    import json

    import onnxruntime

    session = onnxruntime.InferenceSession(exported)
    told = json.loads(session.get_modelmeta().custom_metadata_map["sottovoce"])
    samples = np.zeros((2, 4000), np.float32)
    (answer,) = session.run(["answer"], {"samples": samples, "lengths": np.array([4000, 20])})
    assert answer.shape == (2, len(told["names"]))
    np.testing.assert_allclose(answer.sum(1), 1, atol=1e-5)
    onnx.checker.check_model(exported)


def test_a_file_that_would_say_something_else_is_not_written(tuned, tmp_path, monkeypatch):
    it = models.load_recognised(Run.load(tuned, "finetune"))
    monkeypatch.setattr(export, "_translate", lambda module, path: path.write_bytes(_other_model(module)))
    with pytest.raises(InputError, match=r"not written\. Its answers differ"):
        export.export(it, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def _other_model(module):
    """The right shapes, other answers."""
    helper, kinds = onnx.helper, onnx.TensorProto
    names, width = len(module.task.classes), module.pooling.dim

    def info(name, kind, *shape):
        return helper.make_tensor_value_info(name, kind, list(shape))

    def constant(name, value):
        return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))

    inputs = [info("samples", kinds.FLOAT, "b", "n"), info("lengths", kinds.INT64, "b")]
    inputs += [info("trim_db", kinds.FLOAT, 1), info("pooled", kinds.FLOAT, "m", width)]
    first = np.zeros((1, names), np.float32)
    first[:, -1] = 1
    nodes = [
        constant("row", first),
        constant("last", np.array([names], np.int64)),
        helper.make_node("Shape", ["lengths"], ["many"]),
        helper.make_node("Concat", ["many", "last"], ["size"], axis=0),
        helper.make_node("Expand", ["row", "size"], ["answer"]),
    ]
    graph = helper.make_graph(nodes, "other", inputs, [info("answer", kinds.FLOAT, "b", names)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def test_what_cannot_be_exported_is_said(finetuned, tmp_path):
    with pytest.raises(InputError, match=r"reads the track \w+. Only models that read logmel"):
        export_command.main(finetuned / "fold1", tmp_path / "model.onnx")
    with pytest.raises(InputError, match="4 folds, and a file holds one model"):
        export_command.main(finetuned, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        export_command.main(finetuned / "fold1", tmp_path / "model.bin")


def test_files_of_others_are_refused(exported, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(InputError, match="no such file"):
        Graph(path)
    path.write_bytes(b"\x80\x04\x95 a pickle")
    with pytest.raises(InputError, match="not an ONNX model"):
        Graph(path)
    model = onnx.load(exported)
    told = model.metadata_props[[p.key for p in model.metadata_props].index("sottovoce")]
    was = told.value
    told.value = was.replace('"names": [', '"names": ["more", ')
    onnx.save(model, path)
    with pytest.raises(InputError, match="the label map does not fit"):
        Graph(path)
    told.value = "{}"
    onnx.save(model, path)
    with pytest.raises(InputError, match="not written by `sottovoce export`"):
        Graph(path)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from(["mean", "statistics", "dynamics"]))
@settings(max_examples=40, deadline=None)
def test_spans_are_pooled_as_one_by_one(states, seed, pooling):
    rng = np.random.default_rng(seed)
    x, counts = rng.standard_normal((states, 3)), (rng.random(states) < 0.7) * rng.random(states)
    if pooling == "dynamics":
        counts = (counts > 0).astype(float)
    first = rng.integers(0, states, 5)
    last = np.minimum(first + rng.integers(1, 9, 5), states)
    found = pool(x, counts, first, last, pooling)
    for row, a, b in zip(found, first, last, strict=True):
        if counts[a:b].sum() < 1e-3:
            continue
        mean = np.average(x[a:b], axis=0, weights=counts[a:b])
        wanted = [mean]
        if pooling != "mean":
            wanted.append(np.sqrt(np.average(np.square(x[a:b] - mean), axis=0, weights=counts[a:b]) + 1e-5))
        if pooling == "dynamics":
            both = counts[a:b][1:] * counts[a:b][:-1]
            moves = np.square(np.diff(x[a:b], axis=0)) * both[:, None]
            wanted.append(np.sqrt(moves.sum(0) / max(both.sum(), 1) + 1e-5))
        np.testing.assert_allclose(row, np.concatenate(wanted), atol=1e-4)


@pytest.mark.parametrize(("told", "threads"), [("2,1", 2), ("3", 3), ("", 0), ("many", 0), (" 4 ,2", 4)])
def test_threads_may_be_told_as_a_list(told, threads):
    from sottovoce.onnx import _threads

    assert _threads(told) == threads
