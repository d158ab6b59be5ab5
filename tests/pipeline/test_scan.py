"""What was seen of a recording is kept while its file stays as it was."""

import os

import numpy as np
import pytest
import soundfile

from sottovoce import plugins
from sottovoce.pipeline import scan
from sottovoce.pipeline.prepare import Asked, prepare

RATE = 16000
WRITTEN = ("manifest.csv", "folds.json", "corpus.json", "report.json", "contents.csv", "scan.csv")


def tone(hertz, level=0.3):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(0.4 * RATE)) / RATE)


@pytest.fixture
def home(tmp_path):
    for k in range(12):
        path = tmp_path / "in" / ("happy", "sad")[k % 2] / f"s{k % 4}" / f"c{k}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(200 + 20 * k), RATE)
    return tmp_path


@pytest.fixture
def seen(monkeypatch):
    """Names of the files that are decoded."""
    names, real = [], scan._look

    def look(task):
        names.append(os.path.basename(task[0]))
        return real(task)

    monkeypatch.setattr(scan, "_look", look)
    return names


def run(home, asked=Asked()):
    prepare("folder", home / "in", home / "out", asked, jobs=1)
    return {name: (home / "out" / name).read_bytes() for name in WRITTEN}


def test_the_second_time_nothing_is_decoded_and_the_same_is_written(home, seen):
    first = run(home)
    assert len(seen) == 12
    seen.clear()
    assert run(home) == first
    assert seen == []
    run(home, Asked(relabel={"sad": "low"}, folds=2))  # other classes and folds, the same recordings
    assert seen == []


def test_a_file_that_changed_is_decoded_again(home, seen):
    first = run(home)
    seen.clear()
    path = home / "in" / "happy" / "s0" / "c0.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, -samples, rate)  # as large as before
    os.utime(path, ns=(1, 2))
    second = run(home)
    assert seen == ["c0.wav"]
    assert second["contents.csv"] != first["contents.csv"]
    assert second["corpus.json"] != first["corpus.json"]  # its audio digest


def test_a_file_that_changes_behind_the_scan_is_decoded_again(home, seen, monkeypatch):
    """What is kept goes with the file as it was before it was decoded."""
    save = scan.save

    def late(*given):
        os.utime(home / "in" / "happy" / "s0" / "c0.wav", ns=(1, 2))
        save(*given)

    monkeypatch.setattr(scan, "save", late)
    run(home)
    seen.clear()
    run(home)
    assert seen == ["c0.wav"]


def test_what_is_kept_is_what_was_seen(home, tmp_path):
    soundfile.write(home / "in" / "sad" / "s1" / "loud.flac", np.clip(tone(300, 3.0), -1, 1), RATE)
    (home / "in" / "sad" / "s1" / "broken.wav").write_bytes(b"RIFF")
    run(home)
    found = list(plugins.load("corpora", "folder").utterances(home / "in"))
    fresh = scan.look_at(home / "in", found, jobs=1)
    kept = scan.look_at(home / "in", found, kept=home / "out" / "scan.csv", jobs=1)
    assert kept == fresh
    assert [look.id for look in kept.values() if look.why] == [look.id for look in fresh.values() if look.why] != []


@pytest.mark.parametrize("damage", ["", "path,start\n", "nonsense", "\0"])
def test_a_damaged_scan_is_made_again(home, seen, damage):
    first = run(home)
    seen.clear()
    (home / "out" / "scan.csv").write_text(damage)
    assert run(home) == first
    assert len(seen) == 12


def test_another_folder_of_the_same_names_is_looked_at(home, seen):
    run(home)
    seen.clear()
    (home / "in").rename(home / "moved")
    prepare("folder", home / "moved", home / "out", jobs=1)
    assert len(seen) == 12
