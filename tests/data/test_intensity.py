"""Intensity on another clock: a ramp stays a ramp. Padding as EMS was released is in test_data.py."""

import numpy as np
import pytest

from sottovoce.data.track import Track

RNG = np.random.default_rng(0)


def on_clock(intensity, frames, rate_hz, offset_s):
    return intensity.align(Track(np.empty(frames), rate_hz, offset_s)).values


@pytest.mark.parametrize(("rate_hz", "offset_s"), [(100.0, 0.0125), (50.0, 0.0), (125.0, 0.004), (62.5, 0.0)])
def test_a_ramp_of_16_ms_scores_stays_a_ramp_and_holds_its_ends(rate_hz, offset_s):
    ramp = Track(np.arange(200, dtype=np.float32) * np.float32(0.016), 62.5)  # its value is its time
    frames = int(3.5 * rate_hz)
    values = on_clock(ramp, frames, rate_hz, offset_s)
    times = offset_s + np.arange(frames) / rate_hz
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.clip(times, 0, 199 * 0.016), atol=1e-5)


def test_interpolation_is_numpys():
    scores = RNG.random(50)
    frames = 120
    wanted = np.interp(0.0125 + np.arange(frames) / 100, np.arange(50) / 62.5, scores)
    np.testing.assert_allclose(on_clock(Track(scores[:, None], 62.5), frames, 100, 0.0125)[:, 0], wanted, atol=1e-6)
