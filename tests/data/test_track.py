"""A track is an array with a clock; two clocks meet in `align` and nowhere else."""

import numpy as np
import pytest

from sottovoce.data.track import Track

CLOCKS = [(100.0, 0.0125), (62.5, 0.032), (50.0, 0.0), (16_000.0, 0.0), (31.25, 0.1)]


def clock(rate_hz: float, offset_s: float, seconds: float = 2.0) -> Track:
    return Track(np.zeros(int(seconds * rate_hz), np.float32), rate_hz, offset_s)


@pytest.mark.parametrize("target", CLOCKS)
@pytest.mark.parametrize("source", CLOCKS)
def test_alignment_keeps_a_ramp_a_ramp(source, target):
    """Values that are their own times stay so on any other clock, inside our own times; outside the edge is held."""
    empty = clock(*source)
    ramp = Track(empty.times, *source)
    aligned = ramp.align(clock(*target))
    expected = np.clip(aligned.times, ramp.times[0], ramp.times[-1])
    np.testing.assert_allclose(aligned.values, expected, atol=1e-9)
    assert (aligned.rate_hz, aligned.offset_s) == target


def test_columns_are_aligned_alike_and_keep_their_type():
    ramp = Track(np.stack([np.arange(10), -2 * np.arange(10)], axis=1).astype(np.float32), 10.0)
    aligned = ramp.align(clock(20.0, 0.025, 0.5))
    assert aligned.values.dtype == np.float32
    assert aligned.values.shape == (10, 2)
    np.testing.assert_allclose(aligned.values[:, 1], -2 * aligned.values[:, 0], rtol=1e-6)


def test_alignment_equals_numpy_interp():
    rng = np.random.default_rng(0)
    track = Track(rng.standard_normal(77), 31.0, 0.2)
    to = clock(100.0, 0.01, 3.0)
    np.testing.assert_allclose(track.align(to).values, np.interp(to.times, track.times, track.values), atol=1e-12)


def test_nearest_invents_no_value():
    labels = Track(np.array([3, 7, 7, 1]), 10.0, 0.05)
    aligned = labels.align(clock(100.0, 0.005, 0.4), kind="nearest")
    assert aligned.values.dtype == labels.values.dtype
    assert aligned.values.tolist() == [3] * 10 + [7] * 20 + [1] * 10


def test_aligning_to_the_own_clock_changes_nothing():
    track = Track(np.random.default_rng(0).standard_normal((9, 4)), 100.0, 0.0125)
    np.testing.assert_array_equal(track.align(track, kind="nearest").values, track.values)
    np.testing.assert_allclose(track.align(track).values, track.values, atol=1e-12)


def test_a_single_frame_is_held_everywhere():
    np.testing.assert_array_equal(Track(np.array([5.0]), 1.0).align(clock(10.0, 0.0, 1.0)).values, np.full(10, 5.0))


def test_slices_join_to_the_whole_and_keep_absolute_time():
    track = Track(np.arange(200), 100.0, 0.0125)
    parts = [track.slice(a, a + 0.37) for a in np.arange(6) * 0.37]
    np.testing.assert_array_equal(np.concatenate([p.values for p in parts]), track.values)
    for part, start in zip(parts, np.arange(6) * 0.37, strict=True):
        np.testing.assert_allclose(part.times + start, track.times[part.values], atol=1e-9)
        assert ((part.times > -1e-6) & (part.times < 0.37)).all()


def test_slice_without_end_goes_to_the_end_and_may_be_empty():
    track = Track(np.arange(10), 10.0)
    assert track.slice(0.5).values.tolist() == [5, 6, 7, 8, 9]
    assert len(track.slice(5.0)) == 0
    assert len(track.slice(0.5, 0.3)) == 0


def test_times_and_duration_follow_rate_and_offset():
    track = Track(np.zeros(4), 2.0, 0.25)
    assert track.times.tolist() == [0.25, 0.75, 1.25, 1.75]
    assert track.duration_s == 2.0


def test_impossible_tracks_are_refused():
    with pytest.raises(ValueError, match="shape"):
        Track(np.zeros((2, 2, 2)), 1.0)
    with pytest.raises(ValueError, match="rate_hz"):
        Track(np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="empty"):
        Track(np.zeros(0), 1.0).align(Track(np.zeros(1), 1.0))
    with pytest.raises(ValueError, match="kind"):
        Track(np.zeros(2), 1.0).align(Track(np.zeros(1), 1.0), kind="cubic")
