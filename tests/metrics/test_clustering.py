"""k-means: planted clusters come back, Lloyd is scikit-learn's, and nothing depends on threads or on storage."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from sottovoce.errors import InputError
from sottovoce.metrics.kmeans import Config, kmeans, lloyd, nearest, plus_plus, scalable

METHODS = [Config(), Config(sample=64, final=3)]
NAMES = ["nested", "one sample"]


def blobs(frames=6000, clusters=12, features=10, spread=0.3, seed=0):
    """(N, D) float32 around planted centres, which are far apart, and the cluster of each (N,)."""
    rng = np.random.default_rng(seed)
    centres = 4 * rng.standard_normal((clusters, features))
    labels = rng.integers(clusters, size=frames)
    return (centres[labels] + spread * rng.standard_normal((frames, features))).astype(np.float32), labels


def cloud(frames=5000, features=8, seed=1):
    """Frames without clusters, in which Lloyd takes many iterations."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((frames, features)) @ rng.standard_normal((features, features))).astype(np.float32)


class Scattered:
    """Frames that lie in pieces of odd lengths and are put together when they are asked for, as utterances are."""

    def __init__(self, frames, seed=0):
        self.pieces = np.array_split(frames, np.sort(np.random.default_rng(seed).integers(0, len(frames), 77)))
        self.ends = np.cumsum([len(p) for p in self.pieces])
        self.shape = frames.shape
        self.most = 0  # frames asked for at once

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(self.shape[0])
        self.most = max(self.most, stop - start)
        begins = self.ends - [len(p) for p in self.pieces]
        parts = [p[max(start - a, 0) : max(stop - a, 0)] for p, a in zip(self.pieces, begins, strict=True)]
        return np.concatenate(parts)


@pytest.mark.parametrize("config", METHODS, ids=NAMES)
def test_planted_clusters_are_recovered(config):
    frames, truth = blobs()
    found = kmeans(frames, 12, seed=0, config=config)
    labels, _ = nearest(frames, found.centres)
    assert adjusted_rand_score(truth, labels) > 0.99


def test_a_sample_of_many_frames_recovers_planted_clusters_as_all_do():
    frames, truth = blobs(frames=40_000, clusters=20)
    few = kmeans(frames, 20, seed=0, config=Config(sample=128))
    labels, squared = nearest(frames, few.centres)
    assert adjusted_rand_score(truth, labels) > 0.99
    assert squared.sum() == pytest.approx(nearest(frames, kmeans(frames, 20, 0).centres)[1].sum(), rel=1e-3)
    assert len(few.history) == 1  # one iteration over all frames


@pytest.mark.parametrize("iterations", [1, 3, 40])
def test_lloyd_equals_scikit_learn_from_the_same_centres(iterations):
    frames = cloud()
    start = frames[:25]
    ours = lloyd(frames, start, iterations=iterations)
    theirs = KMeans(25, init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(frames)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, atol=2e-4)
    labels, squared = nearest(frames, theirs.cluster_centers_)
    assert (labels == theirs.labels_).mean() > 0.999  # the rest is as near to two
    assert squared.sum(dtype=np.float64) == pytest.approx(theirs.inertia_, rel=1e-5)


def test_inertia_never_rises_and_ends_where_nothing_moves():
    frames = cloud()
    found = lloyd(frames, frames[:40], iterations=500)
    history = np.array(found.history)
    assert 10 < len(history) < 500
    assert (np.diff(history) <= 1e-7 * history[:-1]).all()
    np.testing.assert_allclose(lloyd(frames, found.centres, iterations=3).centres, found.centres, atol=1e-5)


@pytest.mark.parametrize("offset", [0, 4, 1000])  # 4 stays in, 1000 is taken out
def test_the_nearest_centre_is_the_nearest_by_plain_distances(offset):
    frames = cloud(frames=3001) + np.float32(offset)
    centres = frames[:17] + 0.1
    labels, squared = nearest(frames, centres)
    plain = np.square(frames[:, None].astype(np.float64) - centres).sum(-1)
    np.testing.assert_array_equal(labels, plain.argmin(1))
    np.testing.assert_allclose(squared, plain.min(1), rtol=1e-3, atol=1e-3)


def test_a_large_common_offset_changes_nothing():
    frames = cloud()
    near = lloyd(frames, frames[:10], iterations=5)
    far = lloyd(frames + 1000, frames[:10] + 1000, iterations=5)
    np.testing.assert_allclose(far.centres - 1000, near.centres, atol=2e-3)
    assert far.inertia == pytest.approx(near.inertia, rel=1e-3)


@pytest.mark.parametrize("config", METHODS, ids=NAMES)
def test_threads_and_storage_change_no_bit(config, tmp_path):
    frames = cloud(frames=9000)
    np.save(tmp_path / "frames.npy", frames)
    one = kmeans(frames, 30, seed=3, config=config, workers=1)
    for kept, workers in [
        (frames, 3),
        (np.load(tmp_path / "frames.npy", mmap_mode="r"), 2),
        (Scattered(frames), 1),
        (Scattered(frames, seed=1), 4),
    ]:
        other = kmeans(kept, 30, seed=3, config=config, workers=workers)
        np.testing.assert_array_equal(other.centres, one.centres)
        assert other.history == one.history


def test_the_order_of_frames_changes_rounding_only():
    frames = cloud()
    order = np.random.default_rng(0).permutation(len(frames))
    there, back = lloyd(frames, frames[:20], iterations=8), lloyd(frames[order], frames[:20], iterations=8)
    np.testing.assert_allclose(there.centres, back.centres, atol=1e-4)


def test_another_seed_gives_other_centres():
    frames = cloud()
    assert not np.array_equal(kmeans(frames, 20, seed=0).centres, kmeans(frames, 20, seed=1).centres)


def test_frames_are_never_asked_for_all_at_once():
    kept = Scattered(cloud(frames=50_000))
    kmeans(kept, 8, seed=0, config=Config(sample=100))
    assert kept.most < 5000


def test_half_precision_frames_give_nearly_the_same_centres():
    frames, _ = blobs()
    full, half = kmeans(frames, 12, seed=0), kmeans(frames.astype(np.float16), 12, seed=0)
    np.testing.assert_allclose(half.centres, full.centres, atol=0.02)
    assert half.centres.dtype == np.float32


def test_a_centre_without_frames_takes_the_farthest():
    frames = np.concatenate([cloud(300), [[60.0] * 8, [-90.0] * 8]]).astype(np.float32)
    start = np.concatenate([frames[:3], np.full((2, 8), 1e4)]).astype(np.float32)  # nobody is near the last two
    found = lloyd(frames, start, iterations=2)
    np.testing.assert_allclose(found.centres[3], -90.0)
    np.testing.assert_allclose(found.centres[4], 60.0)
    assert np.bincount(nearest(frames, found.centres)[0], minlength=5).min() > 0
    assert found.history[1] < found.history[0]


def test_fewer_distinct_frames_than_centres_leave_some_unused():
    frames = np.repeat(cloud(5), 20, axis=0)
    for config in METHODS:
        found = kmeans(frames, 9, seed=0, config=config)
        labels, squared = nearest(frames, found.centres)
        assert len(set(labels.tolist())) == 5
        assert squared.max() < 1e-4
        assert np.isfinite(found.centres).all()


@pytest.mark.parametrize("seeding", [scalable, plus_plus])
def test_seeds_are_frames_one_in_every_far_cluster(seeding):
    frames, truth = blobs(clusters=30, spread=0.01)
    seeds = seeding(frames, 30, np.random.default_rng(0))
    labels, squared = nearest(seeds, frames)
    assert squared.max() < 1e-4
    assert len(set(truth[labels].tolist())) == 30


def test_weights_count_as_copies_when_seeding():
    frames, truth = blobs(frames=200, clusters=4)
    weight = np.where(truth == 2, 0.0, 1.0).astype(np.float32)
    seeds = plus_plus(frames, 3, np.random.default_rng(0), weight)
    assert set(truth[nearest(seeds, frames)[0]].tolist()) == {0, 1, 3}


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (lambda: kmeans(cloud(50), 51, seed=0), "Found 51 clusters for 50 frames"),
        (lambda: kmeans(cloud(50), 0, seed=0), "Found 0 clusters"),
        (lambda: kmeans(np.full((50, 2), np.nan, np.float32), 4, seed=0), "not finite"),
        (lambda: Config(sample=0), "clustering.sample: 1 or more"),
        (lambda: Config(tolerance=2.0), "clustering.tolerance"),
    ],
)
def test_bad_input_is_one_line(problem, words):
    with pytest.raises(InputError, match=words) as error:
        problem()
    assert "\n" not in str(error.value)


def test_a_frame_that_is_not_finite_is_found_wherever_it_is():
    frames = cloud(30_000)
    frames[-1, 0] = np.inf
    with pytest.raises(InputError, match="not finite"):
        kmeans(frames, 4, seed=0, config=Config(sample=10))
