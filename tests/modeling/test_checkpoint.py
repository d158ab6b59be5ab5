"""Weights are those that were saved, or refused: a bit that flipped, a tensor that changed places, NaN."""

import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sottovoce.data.task import Task
from sottovoce.errors import InputError
from sottovoce.modeling import checkpoint, network

TENSORS = {
    "a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.int64), "c": torch.tensor(2.0),
    "d": torch.zeros(0, 3), "e": torch.ones(5, dtype=torch.float16), "f": torch.tensor([True, False]),
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    checkpoint.save_tensors(tmp_path / "x.safetensors", TENSORS, {"state": "{}"})
    return tmp_path / "x.safetensors"


def test_what_was_saved_comes_back(path):
    tensors, metadata = checkpoint.read_tensors(path)
    assert metadata == {"state": "{}"}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], v) and tensors[k].dtype == v.dtype for k, v in TENSORS.items())


def test_a_bit_anywhere_is_noticed(path):
    """Every byte of the file in turn, one of its bits: never other numbers, and never a traceback."""
    whole = path.read_bytes()
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        path.write_bytes(bytes(data))
        try:
            tensors, metadata = checkpoint.read_tensors(path)
        except InputError:
            continue
        assert metadata["state"] == "{}"  # where the name of the checksum was hit, the rest is whole
        assert all(torch.equal(tensors[k], v) for k, v in TENSORS.items()), at


def test_two_tensors_in_each_others_place_are_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save_tensors(path, {"left": torch.zeros(4), "right": torch.ones(4)})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"left", b"....").replace(b"right", b"left ").replace(b"....", b"righ"))
    with pytest.raises(InputError, match="corrupt checkpoint"):
        checkpoint.read_tensors(path)


def test_a_file_of_earlier_versions_is_read_but_no_nan(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(3)}, path)
    assert torch.equal(checkpoint.load_tensors(path)["a"], torch.ones(3))
    data = path.read_bytes()
    path.write_bytes(data[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(InputError, match="a with NaN or infinite values"):
        checkpoint.load_tensors(path)


@pytest.mark.parametrize("task", [Task("class", ("emotion",), ("a", "b")), Task("number", ("v",), ranges=((0, 1),))])
def test_an_answer_that_is_not_finite_is_an_error(task):
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="not finite"):
            network.to_predictions(task, np.array([[bad, 0.0][: task.outputs]]))
