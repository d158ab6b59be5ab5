"""Phones: edits beside a slow implementation, CTC's best path, transcripts and lexicons, a corpus of planted tones."""

import csv
import json
import shutil
from functools import cache

import layouts
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from sottovoce.commands import finetune as finetune_command
from sottovoce.commands import phoneme as phoneme_command
from sottovoce.commands import pretrain as pretrain_command
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.evaluation import compare, phoneme, phones
from sottovoce.pipeline import prepare

FEW = (
    *("finetune.updates=60", "finetune.readings=3", "finetune.batch=8", "finetune.project=32"),
    "finetune.lrs=0.01,0.03",
)

# ---------------------------------------------------------------------------------------------- edits


def slow_edits(a, b):
    """The definition: what the last symbols cost, and the best of what came before."""

    @cache
    def of(i, j):
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return of(len(a), len(b))


@settings(max_examples=200, deadline=None)
@given(some.lists(some.sampled_from("ABC"), max_size=9), some.lists(some.sampled_from("ABC"), max_size=9))
def test_edits_are_those_of_the_definition(a, b):
    assert phones.edits(a, b) == slow_edits(tuple(a), tuple(b)) == phones.edits(b, a)


def test_edits_of_long_sequences_obey_the_laws_of_a_distance():
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(0, 30, n).tolist() for n in (150, 170, 160))
    assert phones.edits(a, a) == 0
    assert phones.edits([], a) == phones.edits(a, []) == 150
    assert phones.edits(a, b) >= 20
    assert phones.edits(a, c) <= phones.edits(a, b) + phones.edits(b, c)
    assert phones.edits(a[:70] + a[80:], a) == 10


# ---------------------------------------------------------------------------------------------- best path


def test_the_best_path_is_read_as_ctc_defines_it():
    """Repeats are one phone, unless a blank is between them."""

    def path(*symbols):
        return phones.best_path(np.eye(4)[list(symbols)])

    assert path(0, 0, 0) == []
    assert path(1, 1, 2, 2, 2, 3) == [1, 2, 3]
    assert path(1, 1, 0, 1, 0, 0, 2, 0) == [1, 1, 2]


def test_the_best_path_of_confident_scores_has_the_smallest_ctc_loss():
    """Against torch: of all short spellings the decoded one is the likeliest."""
    rng = np.random.default_rng(1)
    scores = 6 * np.eye(3)[[1, 1, 0, 2, 2, 0]] + rng.normal(0, 0.5, (6, 3))
    logs = torch.from_numpy(scores).log_softmax(1)[:, None]

    def loss(spelling):
        y = torch.tensor([spelling])
        return float(torch.nn.functional.ctc_loss(logs, y, torch.tensor([6]), torch.tensor([len(spelling)]), 0))

    others = [[1], [2], [1, 1], [2, 1], [1, 2, 1], [2, 2], [1, 2, 2]]
    decoded = phones.best_path(scores)
    assert decoded == [1, 2]
    assert all(loss(decoded) < loss(other) for other in others)


# ---------------------------------------------------------------------------------------------- words


def test_lexicon_and_transcripts_are_read_in_librispeechs_forms(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("A\tAH0\n\nA  EY1\nCAN'T\tK AE1 N T\nzoo  Z UW1\n")
    assert phones.read_lexicon(path) == {"A": ("AH0",), "CAN'T": ("K", "AE1", "N", "T"), "ZOO": ("Z", "UW1")}
    folder = tmp_path / "dev-clean/84/121123"
    folder.mkdir(parents=True)
    (folder / "84-121123.trans.txt").write_text("84-121123-0000 GO\n84-121123-0001 CAN'T a ZOO\n")
    said = phones.read_transcripts(tmp_path)
    assert said == {"84-121123-0000": ("GO",), "84-121123-0001": ("CAN'T", "A", "ZOO")}
    assert phones.without_entry([*said.values(), ("GO", "ON", "GO")], phones.read_lexicon(path)) == {"GO": 3, "ON": 1}


def test_broken_lexicons_and_missing_transcripts_are_one_line(tmp_path):
    path = tmp_path / "lexicon.txt"
    for text, said in (("", "an empty lexicon"), ("A AH0\nBED\n", "line 2 has no phones. Found 'BED'")):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            phones.read_lexicon(path)
    path.write_bytes(b"\xff\xfe\x00A\x00")
    with pytest.raises(InputError, match="cannot be read as a lexicon"):
        phones.read_lexicon(path)
    with pytest.raises(InputError, match="cannot be read as a lexicon"):
        phones.read_lexicon(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"no transcripts. Looked for \*.trans.txt"):
        phones.read_transcripts(tmp_path)


# ---------------------------------------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A prepared corpus in LibriSpeech's layout whose phones are tones; its root has `lexicon.txt`."""
    home = tmp_path_factory.mktemp("spoken")
    layouts.spelled(home / "raw")
    prepare.prepare("librispeech", home / "raw", home / "data", jobs=1)
    return home


def spell(home, output, *more, tiny, lexicon=None, **options):
    few = [s for s in tiny if not s.startswith(("finetune.", "frontend."))]
    few += [] if "init" in options else ["frontend.subsampling=2"]
    phoneme_command.main(
        home / "data", lexicon or home / "raw/lexicon.txt", output, jobs=1, quiet=True,
        settings=[*([] if "init" in options else few), *FEW, *more], **options,
    )  # fmt: skip
    return json.loads((output / "report.json").read_text())


@pytest.fixture(scope="module")
def spelled(spoken, tiny, tmp_path_factory):
    """The run on planted phones."""
    output = tmp_path_factory.mktemp("runs") / "phones"
    return output, spell(spoken, output, tiny=tiny)


def test_planted_phones_are_heard(spelled):
    output, report = spelled
    assert report["metrics"]["per"]["value"] < 0.1
    assert report["baselines"]["nothing heard"]["metrics"]["per"]["value"] == 1
    assert report["n"] == 16
    assert report["speakers"] == 2
    rows = list(csv.DictReader((output / "predictions.csv").read_text().splitlines()))
    assert sum(slow_edits(tuple(r["heard"].split()), tuple(r["reference"].split())) for r in rows) == sum(
        int(r["edits"]) for r in rows
    )
    length = sum(len(r["reference"].split()) for r in rows)
    assert report["metrics"]["per"]["value"] == pytest.approx(sum(int(r["edits"]) for r in rows) / length)
    assert set(" ".join(r["reference"] for r in rows).split()) <= set("BADOIM")


def test_the_report_states_lexicon_parts_and_choice(spelled):
    output, report = spelled
    said = report["protocol"]
    assert said["parts"] == "official: 24 train, 8 dev, 16 test utterances"
    assert said["words without an entry"].startswith("0; 0 of 48")
    assert said["too short to be spelled"] == "0 of 24 training utterances have fewer steps than phones"
    chosen = report["probes"][0]["chosen"]
    assert chosen["dev_per"] == min(r["dev_per"] for r in report["probes"][0]["probe"])
    assert sum(report["probes"][0]["layers"]) == pytest.approx(1)
    page = (output / "report.html").read_text()
    for words in ("PER", "Examples", "Weight of every layer", "greedy"):
        assert words in page


def test_shuffled_transcripts_teach_nothing(spoken, tiny, tmp_path):
    """The same recordings under each other's words."""
    shutil.copytree(spoken, tmp_path / "home")
    for path in (tmp_path / "home").rglob("*.trans.txt"):
        pairs = [line.split(" ", 1) for line in path.read_text().splitlines()]
        turned = [words for _, words in pairs[3:] + pairs[:3]]
        path.write_text("".join(f"{key} {words}\n" for (key, _), words in zip(pairs, turned, strict=True)))
    data = Corpus.load(tmp_path / "home/data")
    from dataclasses import replace

    replace(data, root=tmp_path / "home/raw").save()
    assert spell(tmp_path / "home", tmp_path / "run", tiny=tiny)["metrics"]["per"]["value"] > 0.5


def test_the_same_seed_spells_the_same_and_a_finished_run_is_left_alone(spoken, spelled, tiny, tmp_path):
    output, report = spelled
    again = spell(spoken, tmp_path / "again", tiny=tiny)
    assert again["metrics"] == report["metrics"]
    weights = [(o / "official/model.safetensors").read_bytes() for o in (output, tmp_path / "again")]
    assert weights[0] == weights[1]
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    spell(spoken, output, tiny=tiny)
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before
    with pytest.raises(InputError, match="a run of another configuration"):
        spell(spoken, output, "finetune.batch=4", tiny=tiny)


def test_utterances_with_unknown_words_are_left_out_and_counted(spoken, tiny, tmp_path):
    lexicon = tmp_path / "short.txt"
    lexicon.write_text("".join(f"{w}  {p}\n" for w, p in layouts.LEXICON.items() if w != "OMA"))
    report = spell(spoken, tmp_path / "run", "finetune.updates=6", tiny=tiny, lexicon=lexicon)
    said = phones.read_transcripts(spoken / "raw")
    without = sum("OMA" in words for words in said.values())
    assert f"1 (OMA); {without} of 48 utterances" in report["protocol"]["words without an entry"]
    assert report["n"] == sum("OMA" not in w for k, w in said.items() if k.startswith("3"))


def test_steps_too_few_for_the_phones_are_counted_and_do_no_harm(spoken, tiny, tmp_path):
    """Twelve phones in 1.44 s: at 160 ms a step there are nine."""
    few = ("finetune.updates=6", "frontend.subsampling=16")
    report = spell(spoken, tmp_path / "run", *few, tiny=tiny)
    short = int(report["protocol"]["too short to be spelled"].split()[0])
    assert short > 10
    assert report["metrics"]["per"]["value"] > 0.2


# ---------------------------------------------------------------------------------------------- as a protocol


@pytest.fixture(scope="module")
def heard(spoken, tiny, tmp_path_factory):
    """A pre-training that heard everybody."""
    folder = tmp_path_factory.mktemp("runs") / "pre"
    pretrain_command.main(
        "masked_timesteps", [spoken / "data"], folder, settings=[*tiny, "training.epochs=1"], jobs=1, quiet=True
    )
    return folder


def test_weights_that_heard_a_test_reader_are_refused_and_marked(spoken, heard, tiny, tmp_path):
    with pytest.raises(InputError, match=r"have seen 2 test speakers of official .*--transductive"):
        spell(spoken, tmp_path / "run", tiny=tiny, init=str(heard))
    few = ("finetune.updates=6",)
    report = spell(spoken, tmp_path / "run", *few, tiny=tiny, init=str(heard), transductive=True)
    assert report["protocol"]["first_line"].startswith("Transductive")
    control = spell(spoken, tmp_path / "scratch", *few, tiny=tiny, init=str(heard), scratch=True)
    assert control["protocol"]["first_line"] is None
    assert control["config"] == report["config"]
    result = compare.compare([compare.load(str(tmp_path / name)) for name in ("scratch", "run")])
    assert result["metric"] == "per"
    assert result["systems"][0]["metrics"]["per"]["value"] == control["metrics"]["per"]["value"]
    assert result["protocol"]["first_line"].startswith("Transductive")


def test_readers_are_dealt_where_there_are_no_official_parts(spoken):
    data = Corpus.load(spoken / "data")
    fold = phoneme.split(data, "a,b,c")
    people = [{data.by_id[k].speaker for k in part} for part in (fold.train, fold.dev, fold.test)]
    assert (fold.name, fold.group) == ("readers", "speaker")
    assert not people[0] & people[1]
    assert not people[2] & (people[0] | people[1])
    official = phoneme.split(data)
    assert {data.by_id[k].speaker for k in official.test} == {"31", "32"}
    for parts, said in (
        ("train-clean-100,dev-clean", "Name three"),
        ("dev-clean,dev-clean,test-clean", "Name three"),
        ("train-clean-360,dev-clean,test-clean", "no recordings of train-clean-360"),
    ):
        with pytest.raises(InputError, match=said):
            phoneme.split(data, parts)


def test_what_cannot_be_spelled_is_one_line(sottovoce, spoken, corpus, tmp_path):
    base = ["phoneme", spoken / "data", "-o", tmp_path / "run", "--lexicon"]
    other = tmp_path / "other.txt"
    other.write_text("HELLO HH AH0 L OW1\n")
    line = sottovoce(*base, other).complaint
    assert "spells no utterance of the train part (24 there). Words without an entry: " in line
    assert (
        "Name the run that it is compared with" in sottovoce(*base, spoken / "raw/lexicon.txt", "--scratch").complaint
    )
    line = sottovoce("phoneme", corpus, "--lexicon", spoken / "raw/lexicon.txt", "-o", tmp_path / "run").complaint
    assert "no transcripts" in line
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------- intents


def test_intents_go_the_same_way_as_emotions(sottovoce, tiny, tmp_path):
    """The official layout, SUPERB's head, and one accuracy for action, object and location together."""
    layouts.fluent(tmp_path / "raw")
    assert sottovoce("prepare", "fluent", tmp_path / "raw", "-o", tmp_path / "data", "-j", 1, "-q").code == 0
    few = [s for s in tiny if not s.startswith("finetune.")] + ["finetune.updates=6"]
    finetune_command.main(
        tmp_path / "data", tmp_path / "run", recipe="frozen_probe", settings=few, jobs=1, quiet=True, init="none"
    )
    found = sottovoce("evaluate", tmp_path / "run", "--no-opensmile", "-q")
    assert found.code == 0, found.err
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["task"]["target"] == ["intent"]
    assert report["n"] == 16
    rows = list(csv.DictReader((tmp_path / "run/predictions.csv").read_text().splitlines()))
    right = [row["target"].split("/") == row["predicted"].split("/") for row in rows]
    assert report["metrics"]["wa"]["value"] == pytest.approx(np.mean(right))
