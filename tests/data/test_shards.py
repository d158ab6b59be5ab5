"""Shards of many writers: shown all at once, by one of them, whoever comes first."""

import numpy as np
import pytest

from sottovoce.data import shards, store
from sottovoce.data.shards import Made, Outdated
from sottovoce.data.store import Head, TrackStore, TrackWriter

HEAD = Head("fbank", {}, 100.0, 0.0, 3)


def rows(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1 + seed % 5, 3)).astype(np.float32)


def write(folder, number: int, *seeds: int) -> None:
    made = [Made(f"u{k}", f"key{k}", values=rows(k)) for k in seeds]
    shards.write(folder, HEAD, number, made, skip_broken=False)


def right(folder, *seeds: int) -> bool:
    kept = TrackStore.open(folder)
    return kept.ids == tuple(f"u{k}" for k in seeds) and all(np.array_equal(kept[f"u{k}"], rows(k)) for k in seeds)


def test_shards_are_shown_together_in_the_order_of_their_numbers_behind_what_an_older_version_wrote(tmp_path):
    with TrackWriter(tmp_path, HEAD) as writer:
        for k in (0, 1):
            writer.add(f"u{k}", rows(k))
    with open(tmp_path / "index.jsonl", "ab") as index:
        index.write(b'["torn", 0')
    before = shards.state(tmp_path)
    write(tmp_path, 1000, 6, 7)
    write(tmp_path, 999, 4, 5)
    assert right(tmp_path, 0, 1)
    shards.show(tmp_path, before)
    assert right(tmp_path, 0, 1, 4, 5, 6, 7)
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        *("index.jsonl", "track.json", "values-000.f32", "values-999.f32", "values-1000.f32")
    }


def test_who_comes_second_shows_nothing_and_what_the_first_showed_stays(tmp_path):
    store.settle(tmp_path, HEAD)
    write(tmp_path, 5, 1, 2)
    shards.show(tmp_path, 0)
    index = (tmp_path / "index.jsonl").read_bytes()
    shards.pass_over(tmp_path, 5)
    with pytest.raises(Outdated):
        shards.show(tmp_path, 0)
    assert (tmp_path / "index.jsonl").read_bytes() == index
    assert right(tmp_path, 1, 2)


def test_a_piece_that_vanishes_while_it_is_shown_changes_nothing(tmp_path, monkeypatch):
    store.settle(tmp_path, HEAD)
    write(tmp_path, 5, 1)
    gone = [shards.piece_path(tmp_path, 5), shards.piece_path(tmp_path, 6)]
    monkeypatch.setattr(shards, "waiting", lambda folder: gone)
    with pytest.raises(Outdated):
        shards.show(tmp_path, 0)
    assert len(TrackStore.open(tmp_path)) == 0
    assert not list(tmp_path.rglob("*.part"))


def test_numbers_follow_from_the_work_and_nothing_else():
    work = [["a 1", "b 2"], ["c 3"]]
    assert list(shards.numbers(work, 0)) == list(shards.numbers(iter(work), 0))
    first = {next(shards.numbers(*of)) for of in [(work, 0), (work, 1), (work[:1], 0), ([["a 1"], ["b 2", "c 3"]], 0)]}
    assert len(first) == 4


def test_more_shards_than_may_be_open_at_a_time_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAPS", 2)
    store.settle(tmp_path, HEAD)
    for k in range(5):
        write(tmp_path, k, k)
    shards.show(tmp_path, 0)
    kept = TrackStore.open(tmp_path)
    views = [kept[f"u{k}"] for k in (0, 1, 2, 3, 4, 0, 2)]
    assert all(np.array_equal(view, rows(k)) for view, k in zip(views, (0, 1, 2, 3, 4, 0, 2), strict=True))
    assert len(kept._maps) == 2
