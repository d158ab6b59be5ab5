"""Files of our own are read in one way: what fits its type comes back, anything else is one line that says where."""

import dataclasses
import json
import re
import tracemalloc
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import pytest

from sottovoce import files
from sottovoce.data import own
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.errors import InputError


@dataclasses.dataclass(frozen=True)
class Entry:
    name: str
    rate: float
    kind: Literal["a", "b"] = "a"
    ids: tuple[str, ...] = ()
    best: float | None = None

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError("Found a rate below 0")


GOOD = {"name": "x", "rate": 1, "ids": ["u", "v"], "later": {"more": [1]}}


def test_what_fits_comes_back_as_its_type(tmp_path):
    files.write_json(tmp_path / "a.json", [GOOD])
    (entry,) = own.read_json(tmp_path / "a.json", list[Entry])
    assert entry == Entry("x", 1.0, ids=("u", "v"))
    assert own.parse('{"a": [[1, "b"]]}', dict[str, tuple[tuple[int, str], ...]], "x") == {"a": ((1, "b"),)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "without end"),
        ("[" * 80 + "]" * 80, "more than 50"),
        ("[NaN]", "not a finite number"),
        ("[-Infinity]", "not a finite number"),
        ("[1e999]", "not a finite number"),
        ("[" + "9" * 5000 + "]", "too large"),
        ('["\\ud800"]', "surrogates"),
        ('["a\\u0000b"]', "zero byte"),
        ("{}", "for all of it, not a list"),
        ("[3]", "not an object"),
        ('[{"name": "x"}]', "Found no [0].rate"),
        ('[{"name": 5, "rate": 1}]', "Found 5 for [0].name, not a text"),
        ('[{"name": "x", "rate": true}]', "[0].rate, not a number"),
        ('[{"name": "x", "rate": "1"}]', "[0].rate, not a number"),
        ('[{"name": "x", "rate": -1}]', "a rate below 0"),
        ('[{"name": "x", "rate": 1, "kind": "c"}]', "[0].kind, not one of a, b"),
        ('[{"name": "x", "rate": 1, "ids": "uv"}]', "[0].ids, not a list"),
        ('[{"name": "x", "rate": 1, "ids": ["u", null]}]', "[0].ids[1], not a text"),
        ('[{"name": "x", "rate": 1, "best": "high"}]', "[0].best, not a number"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        own.read_json(path, list[Entry], "Make it again.")
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert str(error.value).endswith("Make it again.")


@pytest.mark.parametrize("data", [b"\xff\xfe[\x00", "[1]".encode("utf-16"), b"\x00" * 9, b'["\xe9"]'])
def test_no_text_is_no_json(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(InputError, match="not valid JSON"):
        own.read_json(tmp_path / "a.json", Any)


def test_a_folder_and_nothing_are_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        own.read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="no such file"):
        own.read_json(tmp_path / "b.json")


def test_pairs_of_escapes_are_letters():
    assert own.parse(json.dumps(["\U0001f600"]), list[str], "x") == ["\U0001f600"]


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [{"id": "=1+1", "text": "a\nb"}, {"id": "'-x", "text": '"'}]
    files.write_csv(tmp_path / "a.csv", rows)
    assert own.read_rows(tmp_path / "a.csv", ("id", "text")) == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column id"),
        ("who\n1\n", "no column id. Found: who"),
        ("id,id\n1,2\n", "no column of its own"),
        ("id,a\n1\n", "1 of 2 columns in line 2"),
        ("id,a\n1,2,3\n", "3 of 2 columns"),
        ("id\n\0\n", "zero byte"),
        ("id\n" + "x" * 200_000 + "\n", "field larger"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=r"a\.csv: ") as error:
        own.read_rows(tmp_path / "a.csv", ("id",))
    assert said in str(error.value)


def test_arrays_come_back_and_damage_is_named(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(6.0).reshape(2, 3), b=np.array(["x", "y"]))
    found = own.read_arrays(path)
    assert {name: array.tolist() for name, array in found.items()} == {"a": [[0, 1, 2], [3, 4, 5]], "b": ["x", "y"]}
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):  # a bit in any place; some hold nothing
        spoilt = bytearray(whole)
        spoilt[at] ^= 8
        path.write_bytes(bytes(spoilt))
        with suppress(InputError):
            again = own.read_arrays(path)
            assert all(np.array_equal(again[name], found[name]) for name in set(again) & set(found))
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"x.npz: damaged"):
        own.read_arrays(path)
    with pytest.raises(InputError, match=r"no such file"):
        own.read_arrays(tmp_path / "y.npz")


def test_columns_are_the_rows_by_column_whatever_the_cells_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "ROWS", 7)
    monkeypatch.setattr(own, "DISTINCT", 20)
    odd = ["=1+1", "'-x", "a,b", 'say "x"', "two\nlines", "r\ret", "", "it's", "Zo\u00eb", "-1.5", "'"]
    rows = [{"id": f"u{k}", "word": odd[k % len(odd)], "kind": "ab"[k % 2]} for k in range(100)]
    files.write_csv(tmp_path / "t.csv", rows)
    assert own.read_rows(tmp_path / "t.csv", ["id"]) == rows
    columns = own.read_columns(tmp_path / "t.csv", ["id"])
    assert columns == {name: [row[name] for row in rows] for name in rows[0]}
    assert len(set(map(id, columns["kind"]))) == 2


def test_a_manifest_of_many_rows_takes_little_memory_and_says_the_same(tmp_path):
    """A row took 1,390 bytes as its own dictionary of its own texts."""
    kinds, count = {"emotion": "class", "valence": "number"}, 10_000
    written = tuple(
        Utterance(
            f"session{k}/utterance{k:06d}", "big", f"session{k}/utterance{k:06d}.wav", k % 3 / 2,
            k % 3 + 1.0 if k % 5 else None, f"s{k % 50}", "", "female",
            {"emotion": "ab"[k % 2]} | ({"valence": k % 7 + 0.5} if k % 4 else {}),
        )
        for k in range(count)
    )  # fmt: skip
    ids = [u.id for u in written]
    sides = (tuple(ids[:6000]), tuple(ids[6000:8000]), tuple(ids[8000:]))
    folds = tuple(Fold(f"fold{k}", "none", *sides) for k in range(5))
    Corpus(tmp_path, "big", tmp_path, written, folds, kinds, {"emotion": ("a", "b")}, {}).save()
    tracemalloc.start()
    it = Corpus.load(tmp_path)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert it.utterances == written
    assert it.folds == folds
    assert held / count < 550  # bytes, 40 of them for five folds


@pytest.mark.parametrize(
    ("row", "column", "cell", "said"),
    [
        (3, "start", "x", "row 3. could not convert"),
        (2, "start", "", "row 2. Found  to 2.0 s"),
        (3, "end", "0.5", "row 3. Found 1.0 to 0.5 s"),
        (1, "start", "-1", "row 1. Found -1 to 2.0 s"),
        (2, "emotion", "c", "row 2. Found 'c', no emotion"),
        (3, "valence", "nan", "row 3. nan is not a finite"),
        (2, "path", "", "row 2. Found no path"),
    ],
)
def test_a_damaged_manifest_names_the_row(tmp_path, row, column, cell, said):
    labels = {"emotion": "a", "valence": 1.0}
    rows = tuple(Utterance(f"u{k}", "c", f"u{k}.wav", 1.0, 2.0, labels=labels) for k in range(3))
    Corpus(tmp_path, "c", tmp_path, rows, (), {"emotion": "class", "valence": "number"}, {"emotion": ("a",)}, {}).save()
    table = own.read_rows(tmp_path / "manifest.csv", ())
    table[row - 1][column] = cell
    files.write_csv(tmp_path / "manifest.csv", table)
    with pytest.raises(InputError, match=re.escape(said)):
        Corpus.load(tmp_path)
