"""What a program hands to a model: the same sound in any wrapping gets the same answer, and what is none is refused."""

import copy
import io
import os
import pickle
import tempfile

import numpy as np
import pytest
import soundfile
import torch

from sottovoce import InputError, load
from sottovoce.data import audio
from sottovoce.data.corpus import Corpus
from sottovoce.inference.timeline import Timing

RATE = 16000


@pytest.fixture(scope="module")
def recogniser(finetuned):
    return load(finetuned / "fold1")


@pytest.fixture(scope="module")
def path(corpus, tmp_path_factory):
    """A recording of 16 bits."""
    data = Corpus.load(corpus)
    found = tmp_path_factory.mktemp("sound") / "voice.wav"
    soundfile.write(found, audio.read(data.root / data.utterances[0].path).values, RATE)
    return found


@pytest.fixture(scope="module")
def whole(path):
    """(N,) int16."""
    return soundfile.read(path, dtype="int16")[0]


def temporary(path):
    found = tempfile.NamedTemporaryFile()  # noqa: SIM115
    found.write(path.read_bytes())
    found.seek(0)
    return found


def spooled(path):
    found = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    found.write(path.read_bytes())
    found.seek(0)
    return found


@pytest.mark.parametrize(
    "wrap",
    [str, os.fspath, lambda path: path.read_bytes(), lambda path: memoryview(path.read_bytes()), temporary, spooled,
     lambda path: io.BytesIO(path.read_bytes()), io.FileIO, lambda path: io.BufferedReader(io.FileIO(path))],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_in_any_wrapping_gets_the_same_answer(recogniser, path, wrap):
    assert recogniser(wrap(path)).probabilities == recogniser(path).probabilities


@pytest.mark.parametrize(
    "made",
    [lambda x: x, lambda x: x.astype(">i2"), lambda x: x.astype(np.int32) << 16, lambda x: x / 32768,
     lambda x: (x / 32768).astype(np.float32), lambda x: torch.tensor(x / 32768), lambda x: (x / 32768).tolist(),
     lambda x: np.stack([x, x], axis=1), lambda x: np.stack([x, x]), lambda x: np.repeat(x, 2)[::2], np.ma.array],
)  # fmt: skip
@pytest.mark.parametrize("rate", [RATE, float(RATE), np.int32(RATE)])
def test_samples_in_any_type_get_the_same_answer(recogniser, path, whole, made, rate):
    found = recogniser((made(whole), rate))
    assert list(found.probabilities.values()) == pytest.approx(list(recogniser(path).probabilities.values()), abs=1e-4)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda x: x.tolist(), "full scale"),  # NumPy makes 64 bits of them, where all is silence
        (lambda x: x.astype(np.int64), "full scale"),
        (lambda x: x.astype(np.int32), "full scale"),
        (lambda x: x.astype(np.int64) << 40, "full scale"),
        (lambda x: (x.astype(np.int32) + 32768).astype(np.uint16), "uint16"),
        (lambda x: x > 0, "bool"),
        (lambda x: x.astype(complex), "complex128"),
        (lambda x: x[:0], "(0,)"),
        (lambda x: x[None, None], "(1, 1, "),
        (lambda x: np.full(100, np.nan), "not numbers"),
    ],
)
def test_samples_of_no_scale_are_refused(recogniser, whole, made, said):
    with pytest.raises(InputError) as error:
        recogniser((made(whole), RATE))
    assert said in str(error.value)


def test_a_stream_is_as_strict_as_a_recording(recogniser, whole):
    wanted = list(recogniser.stream([whole / 32768]))
    quiet = [whole[:0], (whole.astype(np.int32) << 16)[:100], whole.astype(np.int32)[100:100] << 16]
    assert len(list(recogniser.stream([*quiet, (whole.astype(np.int32) << 16)[100:]], float(RATE)))) == len(wanted)
    for bad in (whole.astype(np.int64), whole.astype(np.uint16), [1, 2, 3], "abc", 1.0, whole[None]):
        with pytest.raises(InputError):
            list(recogniser.stream([bad]))
    for rate in (0, -1, 1, 16000.5, 1e12, np.nan, "16000", None):
        with pytest.raises(InputError, match="rate"):
            list(recogniser.stream([whole], rate))


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_an_open_file_that_gives_nothing_says_why(recogniser, path, mode):
    with open(path, mode, errors="replace" if mode == "r" else None) as source:
        source.read() if mode == "rb" else None
        with pytest.raises(InputError, match="seek" if mode == "rb" else "'rb'"):
            recogniser(source)


def test_options_are_checked_before_anything_is_heard(recogniser, path):
    assert recogniser(path, channel=1).probabilities == recogniser(path).probabilities
    assert recogniser(path, abstain="auto").abstain == recogniser(path, abstain=None).abstain
    for bad in (2, -0.1, np.nan, "x"):
        with pytest.raises(InputError, match="abstain"):
            recogniser(path, abstain=bad)
    with pytest.raises(TypeError, match="abstian"):
        recogniser.predict([path], abstian=0.9)  # a slip does not pass for nothing
    assert recogniser.predict([path], timing=Timing(hop_s=0.5))[0].hop_s == 0.5
    with pytest.raises(InputError, match="no kind of picture"):
        recogniser(path).plot("x.xyz")


def test_labels_are_named_as_on_the_command_line(finetuned, recogniser, path):
    first, second = recogniser.names[:2]
    for said in (f"{first},{second}", f" {first} , {second},", [first, second], (second, first)):
        assert load(finetuned / "fold1", said).names == (first, second)
    assert load(finetuned / "fold1", "").names == recogniser.names


def test_results_are_compared_kept_and_sent(recogniser, path):
    found = recogniser(path)
    assert found != recogniser(path)
    assert found in [recogniser(path), found]
    assert len({found, found}) == 1
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found), type(found).from_dict(found.to_dict())):
        assert again.probabilities == found.probabilities
    for model in (pickle.loads(pickle.dumps(recogniser)), copy.deepcopy(recogniser)):
        assert model(path).probabilities == found.probabilities


@pytest.mark.parametrize(
    "name", ["nope", "a b", "x/y/z", "a..b", "/etc/passwd", "/nope/x", "~/m", "C:\\x", "../x", "./x", "x/", "x" * 300,
             "a--b/c", ".x/y", "x" * 200 + "/y", "b\u00fcro/x"]
)  # fmt: skip
def test_a_model_that_is_none_is_one_line_and_no_network(sottovoce, path, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        load(name)
    for words in (
        ("predict", "--model", name, path),
        ("view", path, "--model", name),
        ("serve", "--port", 0, "--model", name),
    ):
        assert "no model" in sottovoce(*words).complaint
    assert sottovoce("embed", name, path, "-o", "x.npz").complaint


def test_a_pipe_is_not_called_a_folder(sottovoce, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for place in (tmp_path / "pipe.wav", "/dev/null"):
        assert "a pipe or a device" in sottovoce("predict", "-q", place).complaint
