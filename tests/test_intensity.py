"""Intensity on another clock: a ramp stays a ramp, padding is the release's, and what does not belong is refused."""

import numpy as np
import pytest
from toys import ToyStore

from sottovoce.data.intensity import check, on_clock, pooled
from sottovoce.data.track import Track
from sottovoce.errors import InputError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("rate_hz", "offset_s"), [(100.0, 0.0125), (50.0, 0.0), (125.0, 0.004), (62.5, 0.0)])
def test_a_ramp_of_16_ms_scores_stays_a_ramp_and_holds_its_ends(rate_hz, offset_s):
    ramp = Track(np.arange(200) * 0.016, 62.5)  # its value is its time
    frames = int(3.5 * rate_hz)
    values = on_clock(ramp, frames, rate_hz, offset_s)
    times = offset_s + np.arange(frames) / rate_hz
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.clip(times, 0, 199 * 0.016), atol=1e-5)


def test_interpolation_is_numpys():
    scores = RNG.random(50)
    frames = 120
    wanted = np.interp(0.0125 + np.arange(frames) / 100, np.arange(50) / 62.5, scores)
    np.testing.assert_allclose(on_clock(Track(scores[:, None], 62.5), frames, 100, 0.0125), wanted, atol=1e-6)


def test_pad_takes_scores_by_index_and_leaves_zeros_at_the_end():
    """As the released code: 16 ms scores on 10 ms frames end after five eighths of the utterance."""
    scores = Track(RNG.random(50), 62.5)
    values = on_clock(scores, 80, 100, 0.0125, mode="pad")
    np.testing.assert_array_equal(values[:50], scores.values.astype(np.float32))
    assert not values[50:].any()
    np.testing.assert_array_equal(on_clock(scores, 30, 100, mode="pad"), values[:30])
    with pytest.raises(InputError, match="'linear', 'pad'"):
        on_clock(scores, 30, 100, mode="repeat")


@pytest.mark.parametrize("frames", [1, 4, 7, 8])
def test_a_step_has_the_mean_of_its_frames_and_the_last_is_filled_as_features_are(frames):
    from sottovoce.config.frontend import Frontend
    from sottovoce.data.frames import pool_frames

    values = RNG.random(frames).astype(np.float32)
    ours = pooled(values, 4)
    theirs, _ = pool_frames(values[:, None], np.ones(frames, bool), Frontend(subsampling=4, subsample="mean"))
    np.testing.assert_allclose(ours, theirs[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(pooled(values, 1), values)


# ---------------------------------------------------------------------------------------------- bad input

FEATURES = ToyStore({f"u{k}": RNG.random((100 + k, 5)) for k in range(6)}, rate_hz=100.0)


def intensity(change=lambda k, v: v, rate_hz=62.5, count=6, width=1):
    return ToyStore({f"u{k}": change(k, RNG.random((63 + k // 2, width))) for k in range(count)}, rate_hz)


def refused(store, **more):
    with pytest.raises(InputError) as error:
        check(store, FEATURES, FEATURES, name="strength", where="data/toy")
    line = str(error.value)
    assert line.startswith("data/toy: ")
    assert "\n" not in line
    return line


def test_an_intensity_of_these_recordings_is_taken():
    check(intensity(), FEATURES, FEATURES, name="strength", where="data/toy")
    check(intensity(count=3), FEATURES, ["u0", "u2"], name="strength", where="data/toy")


def test_an_intensity_of_another_corpus_length_rate_or_width_is_refused():
    assert "no strength of 2 of 6 utterances, e.g. u4" in refused(intensity(count=4))
    assert "strength of u2 has another length" in refused(intensity(lambda k, v: v[: 40 if k == 2 else None]))
    assert "at 50 Hz, not 1.00 s" in refused(intensity(rate_hz=50.0))
    assert "Found 2 values a frame" in refused(intensity(width=2))


def test_an_intensity_that_is_not_finite_or_says_nothing_is_refused():
    line = refused(intensity(lambda k, v: np.where(v > 0.9, np.nan, v) if k == 3 else v))
    assert "strength of u3 is not finite" in line
    assert "strength is constant" in refused(intensity(lambda k, v: 0 * v + k))
    check(intensity(lambda k, v: 0 * v + k if k else v), FEATURES, FEATURES, name="x", where="")  # silence is flat
