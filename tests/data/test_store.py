"""The track store: what goes in comes out, and no accident leaves half of it."""

import errno
import json
import multiprocessing
import os
import pickle
import time
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest

from sottovoce.data import index, store
from sottovoce.data.names import Names
from sottovoce.data.store import Head, Source, TrackStore, TrackWriter
from sottovoce.errors import InputError

HEAD = Head("fbank", {"bins": 3, "hop_ms": 10.0, "sizes": (1, 2)}, rate_hz=100.0, offset_s=0.0125, dim=3)


def rows(seed: int, frames: int = 5, dim: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, dim)).astype(np.float32)


def fill(folder, count: int, head: Head = HEAD, first: int = 0) -> None:
    with TrackWriter(folder, head) as writer:
        for k in range(first, first + count):
            writer.add(f"u{k}", rows(k, 1 + k % 7), Source(f"key{k}", f"stamp{k}"))


def test_what_goes_in_comes_out_with_its_clock(tmp_path):
    fill(tmp_path, 20)
    kept = TrackStore.open(tmp_path)
    assert kept.ids == tuple(f"u{k}" for k in range(20))
    assert kept.lengths == {f"u{k}": 1 + k % 7 for k in range(20)}
    for k in range(20):
        np.testing.assert_array_equal(kept[f"u{k}"], rows(k, 1 + k % 7))
    assert (kept.rate_hz, kept.offset_s, kept.dim, kept.frames) == (100.0, 0.0125, 3, sum(kept.lengths.values()))
    assert kept.track("u3").times[1] == pytest.approx(0.0225)
    assert kept.source("u4") == Source("key4", "stamp4")
    assert "u4" in kept
    assert "x" not in kept
    assert kept["u1"].dtype == np.float32


def test_rows_are_a_read_only_view_of_the_file(tmp_path):
    fill(tmp_path, 2)
    values = TrackStore.open(tmp_path)["u1"]
    assert values.base is not None
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 1


def test_views_stay_valid_when_pages_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "RESIDENT_BYTES", 10)
    fill(tmp_path, 5)
    kept = TrackStore.open(tmp_path)
    views = [kept[f"u{k}"] for k in range(5)]
    for k, view in enumerate(views):
        np.testing.assert_array_equal(view, rows(k, 1 + k % 7))


def test_flat_tracks_are_kept_as_one_column(tmp_path):
    with TrackWriter(tmp_path, Head("wave", {}, 16000.0, 0.0, 1)) as writer:
        writer.add("a", np.arange(4.0))
    assert TrackStore.open(tmp_path)["a"].tolist() == [[0.0], [1.0], [2.0], [3.0]]


def test_half_precision_halves_the_file_and_keeps_three_digits(tmp_path):
    fill(tmp_path / "half", 9, Head(**{**HEAD.__dict__, "half": True}))
    fill(tmp_path / "full", 9)
    half, full = TrackStore.open(tmp_path / "half"), TrackStore.open(tmp_path / "full")
    assert half["u5"].dtype == np.float32
    np.testing.assert_allclose(half["u5"], full["u5"], rtol=1e-3)
    sizes = [(tmp_path / name).stat().st_size for name in ("half/values-000.f16", "full/values-000.f32")]
    assert sizes[0] * 2 == sizes[1]
    with (
        pytest.raises(InputError, match="without --half"),
        TrackWriter(tmp_path / "half", Head(**{**HEAD.__dict__, "half": True})) as writer,
    ):
        writer.add("big", np.full((1, 3), 1e6))


def test_store_is_spread_over_files_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 100)
    fill(tmp_path, 20)
    fill(tmp_path, 20, first=20)
    shards = sorted(tmp_path.glob("values-*"))
    assert len(shards) > 5
    assert all(path.stat().st_size <= 100 for path in shards)
    kept = TrackStore.open(tmp_path)
    assert all(np.array_equal(kept[f"u{k}"], rows(k, 1 + k % 7)) for k in range(40))


def test_later_rows_replace_earlier_ones(tmp_path):
    fill(tmp_path, 3)
    with TrackWriter(tmp_path, HEAD) as writer:
        writer.add("u1", rows(99, 2), Source("new", "s"))
        writer.restamp("u2", Source("key2", "touched"))
    kept = TrackStore.open(tmp_path)
    np.testing.assert_array_equal(kept["u1"], rows(99, 2))
    np.testing.assert_array_equal(kept["u2"], rows(2, 3))
    assert kept.source("u1") == Source("new", "s")
    assert kept.source("u2") == Source("key2", "touched")


def test_skipped_utterances_are_remembered_with_their_reason(tmp_path):
    with TrackWriter(tmp_path, HEAD) as writer:
        writer.add("good", rows(0))
        writer.skip("bad", "bad.wav: truncated.", Source("", "s"))
    kept = TrackStore.open(tmp_path)
    assert kept.skipped == {"bad": "bad.wav: truncated."}
    assert "bad" not in kept
    with pytest.raises(InputError, match=r"no fbank of utterance 'bad'.*truncated"):
        kept["bad"]
    with pytest.raises(InputError, match="sottovoce extract"):
        kept["never"]


@pytest.mark.parametrize("torn", [1, 5, 30])
def test_torn_tail_of_a_killed_writer_is_dropped(tmp_path, torn):
    fill(tmp_path, 6)
    index, values = tmp_path / "index.jsonl", tmp_path / "values-000.f32"
    whole = index.read_bytes(), values.read_bytes()
    last_line = len(whole[0].splitlines(keepends=True)[-1])
    index.write_bytes(whole[0][: len(whole[0]) - min(torn, last_line - 1)])  # the line of u5 is cut
    with open(values, "ab") as out:
        out.write(b"rows without a line")
    assert TrackStore.open(tmp_path).ids == ("u0", "u1", "u2", "u3", "u4")
    fill(tmp_path, 1, first=5)
    assert (index.read_bytes(), values.read_bytes()) == whole


@pytest.mark.parametrize("when", ["values", "index"])
def test_full_disk_is_one_line_and_leaves_a_valid_store(tmp_path, monkeypatch, when):
    fill(tmp_path, 4)
    before = (tmp_path / "index.jsonl").read_bytes(), (tmp_path / "values-000.f32").read_bytes()
    write, calls = os.write, []

    def full(descriptor, data):
        calls.append(len(data))
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if when in name and len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:7])  # and never writes all at once

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(InputError, match="No space left"), TrackWriter(tmp_path, HEAD) as writer:
        writer.add("u9", rows(9, 40))
    monkeypatch.undo()
    assert ((tmp_path / "index.jsonl").read_bytes(), (tmp_path / "values-000.f32").read_bytes()) == before
    assert len(TrackStore.open(tmp_path)) == 4
    fill(tmp_path, 2, first=4)
    assert len(TrackStore.open(tmp_path)) == 6


def fill_slowly(folder, first: int) -> None:
    """Every row is committed at once, and files are small."""
    store.COMMIT_S, store.SHARD_BYTES = -1.0, 4000
    fill(folder, 100, first=first)


def test_of_two_writers_at_once_none_is_lost_and_readers_see_whole_rows(tmp_path):
    process = multiprocessing.get_context("spawn").Process
    crew = [process(target=fill_slowly, args=(tmp_path, first)) for first in (0, 100)]
    for one in crew:
        one.start()
    seen = set()
    while any(one.is_alive() for one in crew):
        if (tmp_path / "track.json").exists():
            them = TrackStore.open(tmp_path)
            for id in them.ids[-3:]:
                k = int(id[1:])
                np.testing.assert_array_equal(them[id], rows(k, 1 + k % 7))
            assert seen <= set(them.ids)
            seen = set(them.ids)
    assert [one.exitcode for one in crew] == [0, 0]
    ids = TrackStore.open(tmp_path).ids
    assert sorted(ids) == sorted(f"u{k}" for k in range(200))
    assert [id for id in ids if int(id[1:]) < 100] == [f"u{k}" for k in range(100)]  # one after the other
    assert len(list(tmp_path.glob("values-*"))) > 2


def test_error_in_the_middle_keeps_what_was_added(tmp_path):
    def crash() -> None:
        with TrackWriter(tmp_path, HEAD) as writer:
            writer.add("a", rows(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        crash()
    assert TrackStore.open(tmp_path).ids == ("a",)


@pytest.mark.parametrize(
    ("name", "damage", "found"),
    [
        ("values-000.f32", lambda b: b[:-4], "truncated"),
        ("index.jsonl", lambda b: b.replace(b"u1", b'"', 1), "damaged index"),
        ("index.jsonl", lambda b: b.replace(b'"u1", 0, ', b'"u1", 0, -', 1), "damaged index"),
        ("index.jsonl", lambda b: b"\xff\xfe\n" + b, "damaged index"),
        ("track.json", lambda b: b[:-5], "not valid JSON"),
        ("track.json", lambda b: b.replace(b'"dim": 3', b'"dim": 0'), "damaged"),
        ("track.json", lambda b: b.replace(b'"dim"', b'"width"'), "damaged"),
    ],
)
def test_damaged_store_names_the_file(tmp_path, name, damage, found):
    fill(tmp_path, 4)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    for use in (TrackStore.open, lambda folder: TrackWriter(folder, HEAD)):
        with pytest.raises(InputError, match=f"{name}: {found}"):
            use(tmp_path)


def swapped(folder):
    """Two ids in one another's place."""
    index = folder / "index.jsonl"
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    lines[1][0], lines[2][0] = lines[2][0], lines[1][0]
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))


def moved(folder):
    """An utterance that begins a row too early."""
    index = folder / "index.jsonl"
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    lines[1][2] -= 1
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))


def flipped(folder):
    """One bit of one value."""
    path = next(folder.glob("values-000.*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("change", [swapped, moved, flipped])
@pytest.mark.parametrize("half", [False, True])
def test_other_values_than_were_written_are_refused(tmp_path, change, half):
    fill(tmp_path, 4, replace(HEAD, half=half))
    change(tmp_path)
    it = TrackStore.open(tmp_path)
    with pytest.raises(InputError, match="other values of utterance"):
        list(map(it.__getitem__, it.ids))


def test_a_store_without_checksums_is_read(tmp_path):
    fill(tmp_path, 4)
    before = {id: it.copy() for id, it in ((id, TrackStore.open(tmp_path)[id]) for id in TrackStore.open(tmp_path).ids)}
    index = tmp_path / "index.jsonl"
    lines = [json.loads(line)[:7] for line in index.read_text().splitlines()]
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    after = TrackStore.open(tmp_path)
    assert all(np.array_equal(after[id], values) for id, values in before.items())


def test_missing_shard_and_missing_store_are_named(tmp_path):
    fill(tmp_path / "a", 2)
    (tmp_path / "a" / "values-000.f32").unlink()
    with pytest.raises(InputError, match=r"values-000.f32: truncated"):
        TrackStore.open(tmp_path / "a")
    with pytest.raises(InputError, match="no tracks here"):
        TrackStore.open(tmp_path / "b")


def test_store_of_another_configuration_is_not_mixed(tmp_path):
    fill(tmp_path, 2)
    other = Head("fbank", {"bins": 3, "hop_ms": 20.0, "sizes": (1, 2)}, 50.0, 0.0125, 3)
    with pytest.raises(InputError, match="another configuration"):
        TrackWriter(tmp_path, other)
    with TrackWriter(tmp_path, other, overwrite=True) as writer:
        writer.add("z", rows(0))
    assert TrackStore.open(tmp_path).ids == ("z",)
    assert TrackStore.open(tmp_path).rate_hz == 50.0


def test_overwriting_does_not_disturb_a_reader(tmp_path):
    fill(tmp_path, 3)
    reader = TrackStore.open(tmp_path)
    view = reader["u2"]
    with TrackWriter(tmp_path, HEAD, overwrite=True) as writer:
        writer.add("u2", rows(50))
    np.testing.assert_array_equal(view, rows(2, 3))


def test_values_that_cannot_be_kept_are_refused(tmp_path):
    with TrackWriter(tmp_path, HEAD) as writer:
        with pytest.raises(InputError, match="not finite"):
            writer.add("nan", np.full((2, 3), np.nan))
        with pytest.raises(InputError, match="no frames"):
            writer.add("empty", np.zeros((0, 3)))
        with pytest.raises(ValueError, match="holds"):
            writer.add("wide", np.zeros((2, 4)))
        writer.add("good", rows(0))
    assert TrackStore.open(tmp_path).ids == ("good",)


def test_pickled_store_is_its_folder(tmp_path):
    fill(tmp_path, 50)
    kept = TrackStore.open(tmp_path)
    kept["u3"]
    data = pickle.dumps(kept)
    assert len(data) < 500
    np.testing.assert_array_equal(pickle.loads(data)["u6"], kept["u6"])


def test_opening_many_utterances_is_fast(tmp_path):
    with TrackWriter(tmp_path, HEAD) as writer:
        for k in range(25_000):
            writer.add(
                f"video_{k}[{k % 9}]", rows(0, 1), Source("0123456789abcdef" * 2, "v.wav:123456:1700000000000000000")
            )
    best = min(_seconds(lambda: TrackStore.open(tmp_path)) for _ in range(3))
    assert best < 0.3


def test_the_index_says_what_its_lines_say_one_after_another(tmp_path, monkeypatch):
    """Against a dictionary, with ids that come again, are skipped and come back, in blocks of a few lines."""
    monkeypatch.setattr(index, "AT_ONCE", 500)
    rng = np.random.default_rng(0)
    ids = [f'Zo\u00eb {k} "\u4e16" \\' for k in range(150)] + ["", "x" * 2000]
    lines = []
    for k in range(600):
        id, row = ids[rng.integers(len(ids))], int(rng.integers(1, 1000))
        left = [id, -1, 0, 0, f"k{k}", f"s{k}", f"why {k}"]
        lines.append(left if rng.random() < 0.2 else [id, k % 3, row, k + 1, f"k{k}", f"s{k}", "", k][: 7 + k % 2])
    text = "".join(json.dumps(line, ensure_ascii=k % 2 > 0) + "\n" for k, line in enumerate(lines))
    (tmp_path / "index.jsonl").write_text(text, encoding="utf-8")
    last = {line[0]: line for line in lines}
    found = index.Index(tmp_path / "index.jsonl")
    assert dict(found) == {id: line[3] for id, line in last.items() if line[1] >= 0}
    assert list(found) == [id for id in last if last[id][1] >= 0]
    assert found.skipped == {id: line[6] for id, line in last.items() if line[1] < 0}
    assert all(found.source(id) == Source(*line[4:6]) for id, line in last.items())
    assert all(found.line(id) == line for id, line in last.items())
    assert found.source("nobody") is None
    assert "nobody" not in found
    kept = [line for line in lines if line[1] >= 0]
    assert found.ends == {s: max(line[2] + line[3] for line in kept if line[1] == s) for s in range(3)}


def test_names_with_one_checksum_are_told_apart():
    """crc32("plumless") == crc32("buckeroo"), a well-known pair."""
    them = Names([["plumless", "a"], ["buckeroo", "plumless"]])
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
    assert [them.find(name) for name in ("plumless", "a", "buckeroo", "b", 7, "\ud800")] == [0, 1, 2, -1, -1, -1]
    assert them.first.tolist() == [0, 1, 2, 0]
    assert list(them) == ["plumless", "a", "buckeroo", "plumless"]


def test_a_listed_utterance_takes_little_memory(tmp_path):
    with TrackWriter(tmp_path, HEAD) as writer:
        for k in range(20_000):
            writer.skip(f"speaker_{k}/utterance_{k:09d}", "", Source("0123456789abcdef" * 2, "v.wav:123456:1700000000"))
    tracemalloc.start()
    found = index.Index(tmp_path / "index.jsonl")
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(found.names) == 20_000
    assert held / 20_000 < 130  # bytes


def test_rows_beyond_two_to_the_31_bytes_are_reached(tmp_path, monkeypatch):
    """One sparse file of 2.2 GB: nothing here may count bytes in 32 bits."""
    monkeypatch.setattr(store, "SHARD_BYTES", 1 << 33)
    head = Head("wide", {}, 100.0, 0.0, 1024)
    with TrackWriter(tmp_path, head) as writer:
        writer.add("a", np.ones((1, 1024)))
    hole = 550_000  # rows
    with open(tmp_path / "index.jsonl", "a") as index:
        index.write(f'["hole", 0, 1, {hole}, "", "", ""]\n')
    os.truncate(tmp_path / "values-000.f32", (1 + hole) * 4096)
    with TrackWriter(tmp_path, head) as writer:
        writer.add("z", np.full((1, 1024), 7.0))
    kept = TrackStore.open(tmp_path)
    assert (kept["z"] == 7).all()
    assert kept["hole"][-1, -1] == 0
    assert (kept["a"] == 1).all()


def _seconds(function) -> float:
    start = time.process_time()  # whatever else the machine does
    function()
    return time.process_time() - start
