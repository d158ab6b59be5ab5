"""Work in the background changes nothing but when it is done."""

import threading
import time

import numpy as np
import pytest
import torch
from toys import murmurs, steps_of, waves

from sottovoce.data.ahead import ahead
from sottovoce.data.resident import Resident


@pytest.mark.parametrize("threads", [1, 3])
def test_order_is_kept_however_long_each_takes(threads):
    waits = np.random.default_rng(0).uniform(0, 0.01, 30)

    def make(k):
        time.sleep(waits[k])
        return k * k

    assert list(ahead(make, range(30), threads)) == [k * k for k in range(30)]


def test_it_works_in_the_background_and_not_too_far_ahead():
    made, here = [], threading.get_ident()
    results = ahead(lambda k: made.append((k, threading.get_ident())), range(100))
    next(results)
    time.sleep(0.05)
    assert len(made) == 3  # what was asked for, and two more
    assert here not in {thread for _, thread in made}
    results.close()
    assert len(made) <= 4


def test_an_error_comes_where_its_result_would():
    def make(k):
        if k == 2:
            raise ValueError("third")
        return k

    results = ahead(make, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="third"):
        next(results)


@pytest.mark.parametrize("most", [None, 15])
def test_a_corpus_on_the_device_gives_the_same_batches(most):
    store = waves(9, features=5)
    store["u3"][4:6] = 0.0  # frames that are missing
    other = type(store)({key: values[:, :4] ** 2 for key, values in store.items()})
    aux = {"intensity": (murmurs(store), "linear"), "target": (other, "linear")} if most is None else {}
    steps, target = steps_of(store, aux=aux), np.arange(9)
    near = Resident(steps, "cpu")
    for rows in ([0, 1, 2], [8, 3], [5], [4, 4, 7, 6]):
        ours, theirs = (source.batch(rows, seed=7, most=most, target=target) for source in (near, steps))
        assert (ours.ids, ours.seeds, set(ours.tracks)) == (theirs.ids, theirs.seeds, set(theirs.tracks))
        pairs = [(ours.tracks[name], theirs.tracks[name]) for name in ours.tracks]
        for a, b in [(getattr(ours, n), getattr(theirs, n)) for n in ("x", "lengths", "scored", "target")] + pairs:
            assert torch.equal(a, b)
            assert a.dtype == b.dtype


def test_labels_of_a_corpus_on_the_device_are_padded_with_minus_one():
    store = waves(4, features=3)
    rng = np.random.default_rng(0)
    units = type(store)({key: rng.integers(0, 9, (length, 2)) for key, length in store.lengths.items()})
    steps = steps_of(store, aux={"units": (units, "nearest")})
    ours, theirs = (source.batch([2, 0, 3]).tracks["units"] for source in (Resident(steps, "cpu"), steps))
    assert torch.equal(ours, theirs)
    assert (ours == -1).any()
