"""Many recordings: kept as they are made, never heard twice, in any number of processes."""

import csv
import json

import numpy as np
import pytest
import soundfile

from sottovoce.errors import InputError
from sottovoce.inference import bulk
from sottovoce.inference.recogniser import Recogniser

RATE = 16000


@pytest.fixture
def calls(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(4):
        path = tmp_path / f"calls/{'xy'[k % 2]}/{k // 2}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(RATE), RATE)
    return tmp_path / "calls"


@pytest.fixture
def heard(monkeypatch):
    """Names of the recordings that are heard."""
    found, plain = [], Recogniser._hear
    monkeypatch.setattr(Recogniser, "_hear", lambda self, path, *a: found.append(path) or plain(self, path, *a))
    return found


def rows_of(path):
    with open(path, newline="") as lines:
        return list(csv.DictReader(lines))


def test_what_was_heard_is_not_heard_again(sottovoce, finetuned, calls, heard, tmp_path, monkeypatch):
    words = ["predict", finetuned / "fold1", calls, "-o", tmp_path / "out", "--timeline", "--format", "csv,rttm"]
    whole = sottovoce(*words)
    assert whole.code == 0
    assert len(heard) == 4
    table = rows_of(tmp_path / "out/predictions.csv")
    assert len(table) == 4
    made = {p.name for p in (tmp_path / "out").iterdir()}
    assert made == {*(f"{n}.{k}" for n in ("0", "0-2", "1", "1-2") for k in ("csv", "rttm")), "predictions.csv",
                    "journal.jsonl"}  # fmt: skip
    again = sottovoce(*words)
    assert "4 of 4 are there, going on" in again.err
    assert len(heard) == 4
    soundfile.write(calls / "x/0.wav", np.zeros(RATE), RATE)  # changed since
    soundfile.write(calls / "x/new.wav", np.zeros(RATE), RATE)
    assert sottovoce(*words).code == 0
    assert [p.name for p in heard[4:]] == ["0.wav", "new.wav"]
    assert len(rows_of(tmp_path / "out/predictions.csv")) == 5


def test_a_killed_run_goes_on_where_its_journal_ends(sottovoce, finetuned, calls, heard, tmp_path):
    words = ["predict", finetuned / "fold1", calls, "-o", tmp_path / "out.csv"]
    assert sottovoce(*words).code == 0
    whole, journal = (tmp_path / "out.csv").read_bytes(), tmp_path / "out.csv.journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    for kept in range(len(lines)):
        journal.write_text("".join(lines[: kept + 1])[:-7])  # the last line was not finished
        (tmp_path / "out.csv").unlink()
        heard.clear()
        if kept == 0:  # not even the first
            assert "not a journal" in sottovoce(*words).complaint
            journal.unlink()
        done = sottovoce(*words)
        assert done.code == 0
        assert len(heard) == 5 - max(kept, 1)
        assert (tmp_path / "out.csv").read_bytes() == whole


def test_results_are_there_before_all_are(finetuned, calls, tmp_path):
    from sottovoce.inference.recogniser import load

    recogniser, plan = load(finetuned / "fold1"), bulk.Plan(str(finetuned / "fold1"))
    paths = sorted(calls.rglob("*.wav"))
    journal = bulk.Journal(tmp_path / "j.jsonl", bulk.settings(plan, recogniser))
    for k, done in enumerate(bulk.hear(recogniser, plan, paths, journal), 1):
        assert done.row["label"]
        assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 1 + k


def test_other_settings_want_another_output(sottovoce, finetuned, calls, tmp_path):
    words = ["predict", finetuned / "fold1", calls / "x/0.wav", "-o", tmp_path / "out.csv"]
    assert sottovoce(*words).code == 0
    line = sottovoce(*words, "--labels", "sad,angry").complaint
    assert "results of other settings. labels" in line
    assert "Choose another -o" in line


@pytest.mark.slow
def test_two_processes_say_what_one_says(sottovoce, finetuned, calls, tmp_path):
    (calls / "x/broken.wav").write_text("no sound")
    words = ["predict", finetuned / "fold1", calls, "--skip-broken", "--timeline", "--format", "json",
             "--vad", "loudness"]  # fmt: skip
    assert sottovoce(*words, "-o", tmp_path / "one").code == 3
    assert sottovoce(*words, "-o", tmp_path / "two", "--jobs", "2").code == 3
    for name in ("predictions.csv", "broken.txt"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    one, two = ({p.name: json.loads(p.read_text()) for p in (tmp_path / n).glob("*.json")} for n in ("one", "two"))
    assert one == two


def test_the_first_word_is_a_model_or_a_recording(sottovoce, finetuned, calls, tmp_path):
    clip = calls / "x/0.wav"
    named = sottovoce("predict", "--model", finetuned / "fold1", clip, "-o", tmp_path / "a.csv")
    first = sottovoce("predict", finetuned / "fold1", clip, "-o", tmp_path / "b.csv")
    assert named.code == first.code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert "no recording" in sottovoce("predict", "--model", finetuned).complaint


def test_many_rows_are_counted(sottovoce, finetuned, calls, monkeypatch):
    from sottovoce.commands import predict

    monkeypatch.setattr(predict, "MOST", 3)
    out = sottovoce("predict", finetuned / "fold1", calls).out
    assert "recordings" in out
    assert "0.wav" not in out


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('"size": ', '"size": "x', 1).replace(', "time_ns"', '", "time_ns"', 1),
        lambda text: text.replace('"row": {', '"row": 3, "r": {', 1),
        lambda text: text[:200] + "\x00" + text[200:],
        lambda text: text.replace("sottovoce-predictions/1", "sottovoce-predictions/9"),
        lambda text: "[]\n" + text,
    ],
)
def test_a_damaged_journal_is_named_and_one_of_odd_names_is_read(calls, tmp_path, spoil):
    odd = calls.parent / "a\u2028b\x85[b].wav"
    odd.write_bytes(next(calls.rglob("*.wav")).read_bytes())
    journal = bulk.Journal(tmp_path / "x.journal.jsonl", {"a": 1})
    journal.add(bulk.Done(str(odd), {"label": "sad"}, [], "odd"))
    again = bulk.Journal(tmp_path / "x.journal.jsonl", {"a": 1})
    assert again.find(odd) == journal.find(odd)
    path = tmp_path / "x.journal.jsonl"
    path.write_bytes(spoil(path.read_text(encoding="utf-8")).encode())
    with pytest.raises(InputError, match="not a journal of predictions"):
        bulk.Journal(path, {"a": 1})
