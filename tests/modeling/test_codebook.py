"""Codebooks: units are the nearest centres, files come back as they were, and are used for nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from toys import ToyStore

from sottovoce.errors import InputError
from sottovoce.metrics import kmeans
from sottovoce.modeling import codebook
from sottovoce.modeling.codebook import Codebook, Stacked

RNG = np.random.default_rng(0)
FRAMES = RNG.standard_normal((50, 6)).astype(np.float32)
BOOK = Codebook(
    {k: RNG.standard_normal((1, k, 6)).astype(np.float32) for k in (4, 9)},
    "0123456789abcdef",
    3,
    "fold1",
    7,
    ("toy/s0",),
)
WOMEN_AND_MEN = replace(
    BOOK, centres={4: RNG.standard_normal((2, 4, 6)).astype(np.float32)}, genders=("female", "male")
)


def plain(frames, centres):
    return np.square(frames[:, None] - centres).sum(-1).argmin(1)


def test_units_are_the_nearest_centres_of_every_label_set():
    units, squared = BOOK.label(FRAMES)
    assert units.shape == squared.shape == (50, 2)
    assert BOOK.units == BOOK.clusters == (4, 9)
    for column, k in enumerate((4, 9)):
        np.testing.assert_array_equal(units[:, column], plain(FRAMES, BOOK.centres[k][0]))


def test_every_gender_has_units_of_its_own():
    women, men = (WOMEN_AND_MEN.label(FRAMES, g)[0][:, 0] for g in ("female", "male"))
    np.testing.assert_array_equal(women, plain(FRAMES, WOMEN_AND_MEN.centres[4][0]))
    np.testing.assert_array_equal(men, 4 + plain(FRAMES, WOMEN_AND_MEN.centres[4][1]))
    assert WOMEN_AND_MEN.units == (8,)


def test_each_gender_is_clustered_on_its_own_frames():
    frames = {"female": FRAMES[:20] + 50, "male": FRAMES[20:]}
    found = codebook.fit(frames, 3, seed=0)
    assert found.shape == (2, 3, 6)
    np.testing.assert_array_equal(found[0], kmeans.kmeans(frames["female"], 3, seed=0).centres)
    np.testing.assert_array_equal(found[1], kmeans.kmeans(frames["male"], 3, seed=0).centres)


def test_more_clusters_than_frames_names_the_gender():
    with pytest.raises(InputError, match=r"--clusters 25: more than frames\. Found 20 female frames"):
        codebook.fit({"female": FRAMES[:20], "male": FRAMES[20:]}, 25, seed=0)


@pytest.mark.parametrize("book", [BOOK, WOMEN_AND_MEN])
def test_a_file_comes_back_as_it_was(book, tmp_path):
    book.save(tmp_path / "codebook.safetensors")
    found = Codebook.load(tmp_path / "codebook.safetensors")
    assert found.digest == book.digest
    assert replace(found, centres={}) == replace(book, centres={})
    for k in book.centres:
        np.testing.assert_array_equal(found.centres[k], book.centres[k])
    assert list(tmp_path.iterdir()) == [tmp_path / "codebook.safetensors"]


def test_the_hash_changes_with_anything():
    others = [
        replace(BOOK, layer=4),
        replace(BOOK, fold="fold2"),
        replace(BOOK, heard=("toy/s0", "toy/s1")),
        replace(BOOK, centres=dict(reversed(BOOK.centres.items()))),
        replace(BOOK, centres=BOOK.centres | {9: BOOK.centres[9] + 1e-6}),
    ]
    assert len({book.digest for book in [BOOK, *others]}) == 6


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"layer": 2}, "a codebook of another layer. Found 3, not 2"),
        ({"fold": "fold2"}, "a codebook of another fold. Found fold1, not fold2"),
        ({"model": "ffff"}, "a codebook of another encoder. Found 0123456789ab, not ffff"),
    ],
)
def test_a_codebook_is_for_one_encoder_layer_and_fold(other, words):
    wanted = {"model": BOOK.model, "layer": 3, "fold": "fold1"}
    BOOK.check("x", **wanted)
    with pytest.raises(InputError, match=words):
        BOOK.check("x", **(wanted | other))


def damage_nothing(path):
    path.unlink()


def damage_end(path):
    path.write_bytes(path.read_bytes()[:-40])


def damage_value(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 64
    path.write_bytes(bytes(data))


def damage_head(path):
    save_file(load_file(path), path, {"codebook": json.dumps({"clusters": [4], "digest": ""})})


def other_tensors(path):
    save_file({"weight": FRAMES}, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damage_nothing, "no such file"),
        (damage_end, "not a codebook, or damaged"),
        (damage_value, "not as it was saved"),
        (damage_head, "not a codebook, or damaged"),
        (other_tensors, "not a codebook, or damaged"),
    ],
)
def test_a_damaged_file_is_one_line(change, words, tmp_path):
    path = tmp_path / "codebook.safetensors"
    BOOK.save(path)
    change(path)
    with pytest.raises(InputError, match=words) as error:
        Codebook.load(path)
    assert "\n" not in str(error.value)


def test_stacked_utterances_are_their_frames_one_after_another():
    stores = [
        ToyStore({f"u{k}": RNG.standard_normal((n, 3)) for k, n in enumerate(lengths)}) for lengths in ([5, 1, 7], [3])
    ]
    parts = [(stores[0], ["u2", "u0", "u1"]), (stores[1], ["u0"])]
    whole = np.concatenate([store[id] for store, ids in parts for id in ids])
    stacked = Stacked(parts)
    assert stacked.shape == (16, 3)
    for start in range(17):
        for stop in range(start, 19):
            np.testing.assert_array_equal(stacked[start:stop], whole[start:stop])


def test_stacked_utterances_are_read_only_where_they_are_asked_for():
    store = ToyStore({f"u{k}": np.ones((10, 2)) for k in range(9)})
    stacked = Stacked([(store, list(store))])
    store.read.clear()
    stacked[35:42]
    assert set(store.read) == {"u3", "u4"}
