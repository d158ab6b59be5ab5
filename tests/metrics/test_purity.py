"""Quality of pseudo-labels: counted by hand on a line of letters, and beside scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sk

from sottovoce.metrics import cluster_quality


def units(text):
    return np.array([ord(c) - ord("a") for c in text], dtype=int)


def test_use_counts_units_and_their_spread():
    assert cluster_quality.use(units("aabb"), 5) == {"used": 2, "empty": 3, "perplexity": pytest.approx(2)}
    assert cluster_quality.use(units("abcd"), 4)["perplexity"] == pytest.approx(4)
    assert cluster_quality.use(units("aaaa"), 4)["perplexity"] == pytest.approx(1)
    assert cluster_quality.use(units(""), 4) == {"used": 0, "empty": 4, "perplexity": 0.0}


def test_units_last_as_long_as_they_are_written():
    found = cluster_quality.lasting([units("aaab"), units("b"), units("")], rate_hz=50)  # runs of 3, 1 and 1 frames
    assert found["mean_ms"] == pytest.approx(1000 * 5 / 3 / 50)
    assert found["median_ms"] == 20
    assert found["single"] == pytest.approx(2 / 3)


def test_a_run_does_not_go_on_into_the_next_utterance():
    assert cluster_quality.lasting([units("aa"), units("aa")], rate_hz=100)["mean_ms"] == 20


def test_purity_is_the_share_of_the_most_frequent_name():
    found = cluster_quality.against(units("aaaabb"), np.array(["x", "x", "x", "y", "y", "y"]))
    assert found["purity"] == pytest.approx(5 / 6)
    assert found["chance"] == pytest.approx(3 / 6)


def test_units_that_are_the_names_agree_fully_and_random_ones_hardly():
    rng = np.random.default_rng(0)
    names = rng.integers(4, size=5000)
    same, random = (
        cluster_quality.against(3 - names, names),
        cluster_quality.against(rng.integers(20, size=5000), names),
    )
    assert (same["purity"], same["nmi"]) == (1.0, pytest.approx(1.0))
    assert random["nmi"] < 0.02
    assert cluster_quality.between(names, 3 - names) == {"ari": pytest.approx(1.0), "nmi": pytest.approx(1.0)}
    assert abs(cluster_quality.between(names, rng.integers(20, size=5000))["ari"]) < 0.01


def test_agreement_is_scikit_learns_on_evenly_chosen_frames(monkeypatch):
    rng = np.random.default_rng(1)
    a = rng.integers(6, size=1001)
    b = np.where(rng.random(1001) < 0.5, a, rng.integers(6, size=1001))
    monkeypatch.setattr(cluster_quality, "MOST", 300)
    assert cluster_quality.between(a, b)["ari"] == pytest.approx(sk.adjusted_rand_score(a[::4], b[::4]))
    assert cluster_quality.against(a, b)["nmi"] == pytest.approx(sk.normalized_mutual_info_score(b[::4], a[::4]))
