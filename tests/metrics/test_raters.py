"""Agreement of raters, and distances of predicted from said shares, against published values and SciPy."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from sottovoce.metrics import raters

# Krippendorff (2011), section C: four observers, twelve units; nominal alpha 0.743.
OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def counts_of(text):
    rows = [line.split() for line in text.strip().splitlines()]
    return np.array([[sum(row[u] == str(k) for row in rows) for k in range(1, 6)] for u in range(12)])


def test_alpha_is_krippendorffs_own_example():
    assert raters.krippendorff_alpha(counts_of(OBSERVERS)) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_one_where_all_agree_and_zero_where_nobody_listens():
    agree = np.eye(4)[np.random.default_rng(0).integers(0, 4, 200)] * 5
    assert raters.krippendorff_alpha(agree) == 1
    rng = np.random.default_rng(1)
    deaf = np.stack([np.bincount(rng.integers(0, 4, 5), minlength=4) for _ in range(4000)])
    assert raters.krippendorff_alpha(deaf) == pytest.approx(0, abs=0.02)
    assert np.isnan(raters.krippendorff_alpha(np.eye(3)))  # one vote each: nothing to agree on


def test_divergences_are_scipys():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 30), rng.dirichlet(np.ones(5), 30)
    p[3] = [0, 0, 1, 0, 0]
    found = raters.divergences(p, q)
    np.testing.assert_allclose(found["kl"], entropy(p, q, axis=1), rtol=1e-4)
    np.testing.assert_allclose(found["js"], jensenshannon(p, q, axis=1) ** 2, rtol=1e-4)
    assert found["js"].max() <= np.log(2)
    assert raters.divergences(p[:1], np.array([[0, 0, 0, 0, 1.0]]))["kl"][0] < np.inf


def test_a_distance_has_an_interval_over_speakers_from_four_on():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(3), 80), rng.dirichlet(np.ones(3), 80)
    found = raters.distances(p, q, [f"s{k % 8}" for k in range(80)])
    mean = raters.divergences(p, q)["kl"].mean()
    assert found["kl"]["value"] == pytest.approx(mean)
    assert found["kl"]["low"] < mean < found["kl"]["high"]
    assert raters.distances(p, q, [f"s{k % 3}" for k in range(80)])["js"]["low"] is None
