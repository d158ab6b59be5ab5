"""Estimates are measured over what was done lately, not from the first item on."""

import pytest

from sottovoce.data import progress


def test_an_estimate_follows_the_pace_of_the_last_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = progress.Bar(1000, "x", quiet=True)
    for _ in range(10):  # slow at first: 30 s each
        now[0] += 30
        bar.advance()
    for _ in range(200):  # then two a second
        now[0] += 0.5
        bar.advance()
    assert bar.left_s() == pytest.approx((1000 - 210) * 0.5, rel=0.02)


def test_without_anything_done_nothing_is_known():
    assert progress.Bar(10, "x", quiet=True).left_s() == float("inf")
