"""Transfer: what was planted in one corpus is found in another, shuffled labels teach nothing, and nobody who is tested
is learned from."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.evaluation import transfer
from sottovoce.pipeline import prepare

PLAIN = ["finetune.copies=0", "finetune.l2=0.3,0.03"]
VOICES = {"speakers": 6, "per_speaker": 9, "emotions": 3, "difficulty": 0.05, "seconds": [0.6, 0.8]}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Two corpora of other voices in which emotions sound alike, and one whose labels were shuffled."""
    home, folders = tmp_path_factory.mktemp("three"), []
    for seed, name in enumerate(("first", "second", "shuffled")):
        options = VOICES | {"seed": seed, "shuffle_labels": name == "shuffled"}
        prepare.prepare("synthetic", home / f"{name}-audio", home / name, options=options, jobs=1)
        folders.append(home / name)
    return folders


@pytest.fixture(scope="module")
def result(three):
    return transfer.transfer([Corpus.load(f) for f in three], settings=PLAIN, jobs=1, quiet=True)


def cell(result, train, test):
    return next(c for c in result["cells"] if (c["train"], c["test"]) == (train, test))


def test_every_row_is_tested_on_what_it_was_not_trained_on(result):
    pairs = [("+".join(c["train"]), c["test"]) for c in result["cells"]]
    names = ("first", "second", "shuffled")
    assert pairs[:6] == [(a, b) for a in names for b in names if a != b]
    assert sorted(pairs[6:]) == [
        ("first+second", "shuffled"),
        ("first+shuffled", "second"),
        ("second+shuffled", "first"),
    ]
    assert {(c["n"], c["speakers"]) for c in result["cells"]} == {(54, 6)}
    assert {c["labels"] for c in result["cells"]} == {54, 108}


def test_what_was_planted_in_both_is_found_and_shuffled_labels_teach_nothing(result):
    for a, b in (("first", "second"), ("second", "first")):
        ua = cell(result, [a], b)["metrics"]["ua"]
        assert ua["low"] > 1 / 3, ua
    for train, test in ((["shuffled"], "first"), (["first", "second"], "shuffled")):
        ua = cell(result, train, test)["metrics"]["ua"]
        assert ua["low"] < 1 / 3 < ua["high"], ua
    means = result["summary"]
    assert means["one"] == pytest.approx(np.mean([c["metrics"]["ua"]["value"] for c in result["cells"][:6]]))


def test_it_is_written_as_a_table_a_picture_and_a_page(three, sottovoce, tmp_path):
    words = [f"--set={text}" for text in PLAIN]
    done = sottovoce("transfer", *three[:2], *words, "--map", "sad=low", "--drop", "happy", "-o", tmp_path, "-q")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "transfer.json").read_text())
    assert found["task"]["classes"] == ["neutral", "low"]
    assert len(found["cells"]) == 2
    with open(tmp_path / "transfer.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["train"], r["test"]) for r in rows] == [("first", "second"), ("second", "first")]
    assert float(rows[0]["ua"]) == found["cells"][0]["metrics"]["ua"]["value"]
    page = (tmp_path / "transfer.html").read_text()
    assert "Trained here, tested there" in page
    files = {f"transfer.{k}" for k in ("csv", "json", "svg", "png", "html")}
    assert {p.name for p in tmp_path.iterdir()} == files | {"protocol.json"}
    card = json.loads((tmp_path / "protocol.json").read_text())
    assert (card["seeds"], card["budget"]["trainings"], card["exposure"]["test people"]) == ([0], 2, [])
    assert set(card["split"]) == {"first", "second"}
    assert all(split["hash"] in page for split in card["split"].values())


def test_recordings_of_a_tested_corpus_are_not_learned_from(three, tmp_path):
    """A corpus that holds all of another's recordings under other names has nothing left to learn from."""
    first, second = (Corpus.load(f) for f in three[:2])
    some = {u.id: f"copy-{u.id}" for u in first.utterances[:20]}
    stolen = [replace(u, id=some[u.id], path=str(first.root / u.path)) for u in first.utterances[:20]]
    own = [replace(u, path=str(second.root / u.path)) for u in second.utterances]
    mixed = replace(second, folder=tmp_path / "mixed", utterances=(*own, *stolen))
    mixed.save()
    found = transfer.transfer([first, Corpus.load(tmp_path / "mixed")], settings=PLAIN, jobs=1, quiet=True)
    there, back = found["cells"]
    assert (there["copies_left_out"], there["labels"], there["n"]) == (20, 34, 74)  # no copy of what is tested
    assert (back["copies_left_out"], back["labels"], back["n"]) == (20, 54, 54)


def test_a_corpus_that_is_all_copies_is_refused(three, tmp_path):
    first = Corpus.load(three[0])
    twin = [replace(u, path=str(first.root / u.path)) for u in first.utterances]
    replace(first, name="twin", folder=tmp_path / "twin", utterances=tuple(twin)).save()
    with pytest.raises(InputError, match=r"too little to learn from .* copies of what is tested. Found 0 utterances"):
        transfer.transfer([first, Corpus.load(tmp_path / "twin")], settings=PLAIN, jobs=1, quiet=True)


def test_a_copy_of_every_recording_is_learned_from_as_well(three):
    corpora = [Corpus.load(f) for f in three[:2]]
    found = transfer.transfer(corpora, settings=["finetune.copies=1", "finetune.l2=0.3"], jobs=1, quiet=True)
    assert cell(found, ["first"], "second")["metrics"]["ua"]["low"] > 1 / 3
    assert len(list((corpora[0].folder / "tracks").glob("pooled-*"))) == 2


def test_what_cannot_be_compared_is_refused(three, corpus, pretrained):
    first, second = (Corpus.load(f) for f in three[:2])
    with pytest.raises(InputError, match="two or more different corpora"):
        transfer.transfer([first, first])
    with pytest.raises(InputError, match="two or more classes in common"):
        transfer.transfer([first, second], relabel={"happy": "", "sad": ""})
    with pytest.raises(InputError, match="no corpus has a emotion"):
        transfer.transfer([first, second], relabel={"bored": "sad"})
    with pytest.raises(InputError, match="no classes named valence"):
        transfer.transfer([first, second], target="valence")
    with pytest.raises(InputError, match="has seen 8 people"):
        transfer.transfer([Corpus.load(corpus), second], init=str(pretrained), settings=PLAIN)
