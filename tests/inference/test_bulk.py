"""Many recordings: kept as they are made, never heard twice, in any number of processes."""

import csv
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from sottovoce import files
from sottovoce.errors import InputError
from sottovoce.inference import bulk, sources
from sottovoce.inference.recogniser import Recogniser, load

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
        assert journal.read_text() == "".join(lines)


def test_results_are_there_before_all_are(finetuned, calls, tmp_path):
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


# ---------------------------------------------------------------------------------------------- other people's files


@pytest.mark.parametrize("suffix", ["TextGrid", "eaf", "txt", "rttm", "csv"])
def test_what_somebody_else_wrote_is_not_overwritten(sottovoce, finetuned, calls, tmp_path, suffix):
    """Annotations by hand lie beside recordings under just the names that timelines have."""
    words = [
        "predict",
        finetuned / "fold1",
        "-q",
        "--timeline",
        "--format",
        "csv,textgrid,elan,audacity,rttm",
        "-o",
        calls,
    ]
    by_hand = calls / f"1.{suffix}"
    by_hand.write_text("weeks of work")
    line = sottovoce(*words, calls).complaint
    assert line.startswith(f"{by_hand}: is there")
    assert sorted(p for p in calls.rglob("*") if p.suffix != ".wav" and p.is_file()) == [by_hand]
    assert sottovoce(*words, calls / "x/0.wav").code == 0  # nothing of this name is there
    assert sottovoce(*words, calls).complaint.startswith(f"{by_hand}: is there")  # later recordings neither
    assert by_hand.read_text() == "weeks of work"
    by_hand.unlink()
    assert sottovoce(*words, calls).code == 0
    assert sottovoce(*words, calls).code == 0  # these files are its own
    assert len(rows_of(calls / "predictions.csv")) == 4


@pytest.mark.parametrize("name", ["labels.csv", "labels.json", "out/predictions.csv", "out/broken.txt"])
def test_somebody_elses_table_is_not_overwritten(sottovoce, finetuned, calls, tmp_path, name):
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    output = place.parent if place.parent.name == "out" else place
    line = sottovoce("predict", finetuned / "fold1", calls, "-o", output).complaint
    assert line.startswith(f"{place}: is there")
    assert place.read_text() == "mine"


def test_one_more_of_a_speaker_is_heard_with_all_of_theirs(finetuned, calls, heard):
    """Where recordings of a folder are standardised together, the order in which they came must not matter."""
    recogniser, paths = load(finetuned / "fold1"), sorted(calls.rglob("*.wav"))
    recogniser.groups = lambda some: [
        [p for p in some if p.parent == home] for home in sorted({p.parent for p in some})
    ]
    plan, journal = bulk.Plan(str(finetuned / "fold1")), bulk.Journal(None, {})
    list(bulk.hear(recogniser, plan, paths[:1] + paths[2:], journal, 1))
    heard.clear()
    list(bulk.hear(recogniser, plan, paths, journal, 1))  # calls/x/1.wav is new
    assert heard == paths[:2]


def test_what_a_killed_run_left_is_its_own(finetuned, calls, tmp_path):
    """Files are written before their line in the journal is."""
    recogniser, paths = load(finetuned / "fold1"), sorted(calls.rglob("*.wav"))
    plan = bulk.Plan(str(finetuned / "fold1"), folder=str(tmp_path / "out"), formats=("csv",))
    journal = bulk.Journal(tmp_path / "out/journal.jsonl", bulk.settings(plan, recogniser))
    hearing = bulk.hear(recogniser, plan, paths, journal)
    next(hearing)
    (tmp_path / "out/1.csv").write_text("half of what was to come")
    del hearing
    again = bulk.Journal(tmp_path / "out/journal.jsonl", bulk.settings(plan, recogniser))
    assert len(list(bulk.hear(recogniser, plan, paths, again))) == 3
    assert (tmp_path / "out/1.csv").read_text().startswith("time_s")


# ---------------------------------------------------------------------------------------------- goes on


@pytest.fixture
def piped(finetuned, tmp_path):
    """`sottovoce predict MODEL ...` with something on standard input."""

    def run(sent, *words):
        command = [sys.executable, "-m", "sottovoce", "predict", finetuned / "fold1", *words]
        how = {"input": sent} if isinstance(sent, bytes) else {"stdin": sent}
        env = os.environ | {"TMPDIR": str(tmp_path)}
        return subprocess.run([str(w) for w in command], env=env, capture_output=True, timeout=100, **how)

    return run


def test_a_recording_from_standard_input_is_heard_as_its_file(piped, sottovoce, finetuned, calls, tmp_path):
    """Of a WAV whose writer could not go back to its head, too; nothing of it stays on the disk."""
    path = calls / "x/0.wav"
    data = bytearray(path.read_bytes())
    data[4:8] = data[data.index(b"data") + 4 : data.index(b"data") + 8] = b"\xff" * 4
    out = tmp_path / "out"
    how = ("--vad=loudness", "--timeline", "--format", "json,rttm,elan,html,textgrid")
    done = piped(bytes(data), "-", calls / "y", *how, "-o", out)
    assert done.returncode == 0, done.stderr.decode()
    assert sottovoce("predict", finetuned / "fold1", path, "--vad=loudness", "-o", tmp_path / "file.csv").code == 0
    rows, (alone,) = rows_of(out / "predictions.csv"), rows_of(tmp_path / "file.csv")
    assert [row["path"] for row in rows] == ["stdin", *(str(calls / f"y/{k}.wav") for k in (0, 1))]
    assert rows[0] | {"path": ""} == alone | {"path": ""}
    assert json.loads((out / "stdin.json").read_text())["duration_s"] == 1
    assert json.loads((out / "stdin.json").read_text())["path"] == "stdin"
    for made in out.glob("stdin.*"):
        assert "sottovoce-stdin" not in made.read_text(encoding="utf-8")
    assert "<audio" in (out / "stdin.html").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("sottovoce-*"))


def test_what_is_piped_and_no_recording_is_one_line(piped, tmp_path):
    for sent, said in ((b"", "stdin: nothing in it"), (b"dear all", "stdin: not an audio file")):
        done = piped(sent, "-")
        assert done.returncode == 2
        assert said in done.stderr.decode()
        assert str(tmp_path) not in done.stderr.decode()
    ours, theirs = pty.openpty()
    assert b"stdin: nothing is piped in" in piped(theirs, "-").stderr
    os.close(ours)
    os.close(theirs)
    with open("/dev/zero", "rb") as endless, pytest.raises(InputError, match="stdin: more than 2 MB"):
        sources.piped(endless, 2e6).__enter__()


def test_a_changed_recording_keeps_the_name_of_its_files(sottovoce, finetuned, calls, tmp_path):
    words = ["predict", finetuned / "fold1", calls / "x", "-o", tmp_path / "out", "--timeline", "--format", "json"]
    assert sottovoce(*words).code == 0
    soundfile.write(calls / "x/0.wav", np.zeros(2 * RATE), RATE)
    assert sottovoce(*words).code == 0
    assert {p.name for p in (tmp_path / "out").glob("*.json")} == {"0.json", "1.json"}
    assert json.loads((tmp_path / "out/0.json").read_text())["duration_s"] == 2.0


@pytest.mark.parametrize("folder", [True, False])
def test_other_turns_are_heard_anew(sottovoce, finetuned, calls, heard, tmp_path, folder):
    place = tmp_path / "turns" / "0.rttm"
    place.parent.mkdir()
    turn = "SPEAKER 0 1 {} 0.4 <NA> <NA> {} <NA> <NA>\n"
    place.write_text(turn.format(0.0, "anna"))
    words = [
        "predict",
        finetuned / "fold1",
        calls / "x/0.wav",
        "-o",
        tmp_path / "out",
        "--timeline",
        "--format",
        "json",
    ]
    words += ["--turns", place.parent if folder else place]
    for who in ("anna", "anna", "bert"):
        place.write_text(turn.format(0.0, who)) if who != "anna" else None
        assert sottovoce(*words).code == 0
        segments = json.loads((tmp_path / "out/0.json").read_text())["segments"]
        assert {s["speaker"] for s in segments} <= {who}
    assert len(heard) == 2


def test_turns_of_another_recording_are_said_or_refused(finetuned, calls, tmp_path):
    recogniser, place = load(finetuned / "fold1"), tmp_path / "t.rttm"
    place.write_text("SPEAKER other 1 0.0 0.5 <NA> <NA> anna <NA> <NA>\n")
    assert any("'other'" in line for line in recogniser(calls / "x/0.wav", turns=place).warnings)
    place.write_text("SPEAKER 0 1 0.0 0.5 <NA> <NA> anna <NA> <NA>\n")
    assert not any("turns" in line for line in recogniser(calls / "x/0.wav", turns=place).warnings)
    place.write_text("SPEAKER 0 1 300 500 <NA> <NA> anna <NA> <NA>\n")  # milliseconds
    with pytest.raises(InputError, match="none begins within 1"):
        recogniser(calls / "x/0.wav", turns=place)


def test_an_error_leaves_a_table_of_what_was_heard_and_says_how_to_go_on(sottovoce, finetuned, calls, tmp_path):
    (calls / "y/9.wav").write_text("no sound")
    words = ["predict", finetuned / "fold1", calls, "-o", tmp_path / "out.csv"]
    done = sottovoce(*words)
    assert done.code == 2
    assert "--skip-broken" in done.err
    assert len(rows_of(tmp_path / "out.csv")) == 4


def test_a_table_of_fewer_recordings_says_where_the_others_are(sottovoce, finetuned, calls, tmp_path):
    words = ["predict", finetuned / "fold1", "-o", tmp_path / "out.csv"]
    assert "heard before" not in sottovoce(*words, calls).out
    assert "3 heard before stay in" in sottovoce(*words, calls / "x/0.wav").out


@pytest.mark.parametrize("stem", ["x" * 250, "\u00e9" * 125, "\U0001f600" * 62])
def test_names_as_long_as_a_disk_holds_have_timelines(sottovoce, finetuned, calls, tmp_path, stem):
    for folder in ("x", "y"):
        (calls / folder / "0.wav").rename(calls / folder / f"{stem}.wav")
    words = ["predict", finetuned / "fold1", calls, "-o", tmp_path / "out", "--timeline", "--format", "textgrid,json"]
    assert sottovoce(*words).code == 0
    assert len(list((tmp_path / "out").glob("*.TextGrid"))) == 4
    names = [p.stem for p in (tmp_path / "out").glob("*.json")]
    assert sum(name.startswith(stem[:40]) for name in names) == 2


def test_a_file_as_long_as_a_disk_holds_is_written(tmp_path):
    for name in ("x" * 255, "\u00e9" * 127):
        files.write_text(tmp_path / name, "whole")
        assert [p.read_text() for p in tmp_path.iterdir()] == ["whole"]
        (tmp_path / name).unlink()
