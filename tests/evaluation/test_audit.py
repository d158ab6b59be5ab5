"""Audit: a leak of every kind is found where it was planted, and clean splits are not accused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from sottovoce import files
from sottovoce.data import audio, fingerprints
from sottovoce.data.corpus import Corpus, Fold, Utterance
from sottovoce.errors import InputError
from sottovoce.evaluation import audit

RATE = 16000


def voice(seed, seconds=3.0):
    """Somebody who says nothing twice: bursts of coloured noise."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(round(seconds * 8)):
        spectrum = np.fft.rfft(rng.standard_normal(RATE // 8))
        peaks = np.interp(np.arange(len(spectrum)), np.linspace(0, len(spectrum), 24), rng.exponential(1, 24) ** 2)
        pieces.append(np.fft.irfft(spectrum * peaks, RATE // 8))
    wave = np.concatenate(pieces)
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


@pytest.fixture
def clean(tmp_path):
    """Six speakers in three sessions, two recordings each; two of them (one session) are tested, two are dev."""
    home, utterances = tmp_path / "clean", []
    for k in range(12):
        name = f"u{k}"
        (tmp_path / "audio").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "audio" / f"{name}.wav", voice(k), RATE)
        who = f"s{k // 2}"
        utterances.append(Utterance(name, "toy", f"{name}.wav", speaker=who, session=f"r{k // 4}",
                                    labels={"emotion": "sad" if k % 2 else "happy"}))  # fmt: skip
    ids = [u.id for u in utterances]
    fold = Fold("fold1", "session", tuple(ids[:4]), tuple(ids[4:8]), tuple(ids[8:]))
    corpus = Corpus(home, "toy", tmp_path / "audio", tuple(utterances), (fold,), {"emotion": "class"},
                    {"emotion": ("happy", "sad")}, {"licence": "CC0-1.0", "target": ["emotion"]})  # fmt: skip
    corpus.save()
    return home


def changed(folder, change=None, **fold):
    """The corpus with other utterances, or a fold with other parts, written again."""
    corpus = Corpus.load(folder)
    utterances = tuple(change(u) for u in corpus.utterances) if change else corpus.utterances
    shutil.rmtree(folder)
    replace(corpus, utterances=utterances, folds=(replace(corpus.folds[0], **fold),)).save()
    return folder


def leaks(*folders):
    return [(f["kind"], f["one"]) for f in audit.audit(folders)["findings"] if f["leak"]]


def test_a_clean_corpus_is_not_accused(clean, sottovoce, tmp_path):
    assert audit.audit([clean])["findings"] == []
    done = sottovoce("audit", clean, "-o", tmp_path / "out")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (found["leaks"], found["licences"]) == (0, {"clean": "CC0-1.0"})
    assert found["parts"][0] | {"train": 4, "dev": 4, "test": 4, "test_people": 2} == found["parts"][0]
    assert "CC0-1.0" in (tmp_path / "out" / "audit.html").read_text()


def test_a_planted_speaker_and_session_are_found(clean, sottovoce, tmp_path):
    changed(clean, lambda u: replace(u, speaker="s4", session="r0") if u.id == "u0" else u)
    assert set(leaks(clean)) == {("speaker", "u9")}
    changed(clean, lambda u: replace(u, session="r2", speaker="s0") if u.id == "u0" else u)
    assert {kind for kind, _ in leaks(clean)} == {"session"}
    done = sottovoce("audit", clean, "-o", tmp_path / "out")
    assert done.code == 3
    assert "session" in done.out
    assert (tmp_path / "out" / "audit.csv").read_text().count("\n") == 2


def test_a_copy_under_another_name_is_found(clean):
    home = clean.parent / "audio"
    shutil.copy(home / "u8.wav", home / "u0.wav")
    assert ("copy", "u8") in leaks(clean)
    wave, rate = soundfile.read(home / "u9.wav", dtype="int16")
    soundfile.write(home / "u0.flac", wave, rate)  # another container
    assert leaks(changed(clean, lambda u: replace(u, path="u0.flac") if u.id == "u0" else u)) == [("copy", "u9")]


@pytest.mark.parametrize("how", ["quieter", "cut", "vorbis", "telephone"])
def test_a_near_copy_is_found(clean, how):
    home = clean.parent / "audio"
    wave = audio.read(home / "u10.wav").values
    changes = {"quieter": wave * 0.2, "cut": wave[7001:-5000], "vorbis": wave, "telephone": wave}
    path = home / ("u0.ogg" if how == "vorbis" else "u0.wav")
    if how == "telephone":
        soundfile.write(path, audio.read(home / "u10.wav", rate_hz=8000).values, 8000, subtype="ULAW")
    else:
        soundfile.write(path, changes[how], RATE)
    assert leaks(changed(clean, lambda u: replace(u, path=path.name) if u.id == "u0" else u)) == [("near copy", "u10")]


def test_overlapping_stretches_of_one_file_are_found_and_neighbours_are_not(clean):
    def cut(u):
        spans = {"u0": (0.0, 1.5), "u8": (1.4, 3.0), "u9": (1.5, 3.0)}
        return replace(u, path="u0.wav", start=spans[u.id][0], end=spans[u.id][1]) if u.id in spans else u

    found = leaks(changed(clean, cut))
    assert ("stretch", "u8") in found
    assert ("stretch", "u9") not in found


def test_dev_that_is_test_is_found(clean):
    """A corpus on the disk is refused as soon as it is read; here it is asked about before."""
    corpus = Corpus.load(clean)
    fold = replace(corpus.folds[0], dev=(*corpus.folds[0].dev, "u8"))
    assert [(f.kind, f.one, f.leak) for f in audit.of_fold(corpus, fold, ())] == [("dev = test", "u8", True)]


def test_what_train_and_dev_share_is_told_and_no_leak(clean):
    shutil.copy(clean.parent / "audio" / "u4.wav", clean.parent / "audio" / "u0.wav")
    result = audit.audit([clean])
    assert result["leaks"] == 0
    assert [(f["kind"], f["leak"]) for f in result["findings"]] == [("copy", False)]


def test_a_recording_of_another_corpus_is_found(clean):
    other = replace(Corpus.load(clean), folder=clean.parent / "other", name="other")
    utterances = tuple(replace(u, corpus="other", path=f"x{u.id}.wav") for u in other.utterances[:4])
    for k, u in enumerate(utterances):
        soundfile.write(clean.parent / "audio" / u.path, voice(100 + k), RATE)
    shutil.copy(clean.parent / "audio" / "u9.wav", clean.parent / "audio" / "xu2.wav")
    fold = Fold("fold1", "speaker", ("u0", "u1", "u2", "u3"), (), ())
    replace(other, utterances=utterances, folds=(fold,)).save()
    assert leaks(clean, other.folder) == [("other corpus", "u9")]


def seen_run(folder, kind, corpus, people, **config):
    """A finished run in a folder, as far as an audit looks."""
    told = {"kind": kind, "identity": "x", "settings": {}, "fold": "fold1", "features": 1, "seen_speakers": people,
            "task": {}, "seed": 0, "labels": 4, "of_labels": 4, "format": 2}  # fmt: skip
    files.write_json(folder / "config.json", told | ({"corpus": str(corpus)} if corpus else {}) | config)
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_whom_weights_have_seen_is_found_where_it_began(clean, tmp_path):
    good, bad = ["toy/s0", "toy/s1"], ["toy/s0", "toy/s5"]
    assert leaks(seen_run(tmp_path / "ft", "finetune", clean, good)) == []
    assert leaks(seen_run(tmp_path / "stat", "finetune", clean, bad)) == [("statistics", "toy/s5")]
    pre = seen_run(tmp_path / "pre", "pretrain", None, bad)
    assert leaks(pre, clean) == [("statistics", "toy/s5")]
    assert leaks(seen_run(tmp_path / "ft2", "finetune", clean, bad, init=str(pre))) == [("pre-training", "toy/s5")]
    dev = seen_run(tmp_path / "ft3", "finetune", clean, good, settings={"finetune": {"dev": "test"}})
    assert leaks(dev) == [("dev = test", "the test part")]


def test_whom_clusters_and_models_behind_tracks_have_seen_is_found(clean, tmp_path):
    book = tmp_path / "label"
    told = {"fold": "fold1", "seen_speakers": ["toy/s4"], "identity": "", "layer": 1, "clusters": [8], "seed": 0,
            "codebook": "", "corpora": [{"folder": str(clean), "name": "toy", "track": "units"}]}  # fmt: skip
    files.write_json(book / "label.json", told)
    assert leaks(book) == [("clusters", "toy/s4")]
    files.write_json(book / "label.json", told | {"seen_speakers": "toy/s4"})
    with pytest.raises(InputError, match=r"label.json: damaged. Found .* for seen_speakers, not a list"):
        leaks(book)
    files.write_json(book / "label.json", told)
    for name, kind in (("units", "clusters"), ("intensity", "intensity model")):
        head = {"track": name, "config": {"heard": ["toy/s4"], "layer": 1}, "rate_hz": 50, "offset_s": 0, "dim": 1}
        files.write_json(clean / "tracks" / f"{name}-1" / "track.json", head)
        settings = {"track": name, "track_config": {"layer": 1}}
        run = seen_run(tmp_path / name, "finetune", clean, ["toy/s0", "toy/s4"], settings=settings)
        assert leaks(run) == [(kind, "toy/s4")]


def test_a_recording_under_another_name_is_known_to_the_weights(clean, tmp_path):
    run = seen_run(tmp_path / "ft", "finetune", clean, ["elsewhere/x"])
    marks = Corpus.load(clean).contents["u8"]
    files.write_json(run / "seen.json", {"contents": list(marks)})
    assert leaks(run) == [("statistics", "toy/s4")]


def test_random_clean_splits_raise_no_alarm():
    """Speakers in one session each, dealt to train, dev and test by session; the whole is in bench/audit.py."""
    assert alarms(500) == 0


def alarms(splits, seed=0):
    rng = np.random.default_rng(seed)
    raised = 0
    for _ in range(splits):
        people = rng.integers(4, 12)
        speaker = rng.integers(0, people, 40)
        utterances = tuple(
            Utterance(f"u{k}", "toy", f"{k}.wav", speaker=f"s{s}", session=f"r{s // 2}") for k, s in enumerate(speaker)
        )
        side = rng.integers(0, 3, people)[speaker // 2]
        fold = Fold("f", "session", *(tuple(f"u{k}" for k in np.flatnonzero(side == part)) for part in range(3)))
        corpus = Corpus(None, "toy", None, utterances, (fold,), {}, {}, {})
        raised += bool(audit.of_fold(corpus, fold, (), where="f"))
    return raised


def test_fingerprints_find_a_stretch_in_a_longer_recording_and_no_stranger():
    prints = [fingerprints.of_samples(voice(k)) for k in range(20)]
    assert fingerprints.alike(prints) == []
    whole = np.concatenate([voice(50), voice(3)[5000:40000], voice(51)])
    ((i, j, seconds, different),) = fingerprints.alike([*prints, fingerprints.of_samples(whole)])
    assert (i, j) == (3, 20)
    assert 1.8 < seconds < 3.0  # 2.2 s, and up to half a window at either end
    assert different < 0.15
    assert fingerprints.alike([]) == []
    assert len(fingerprints.of_samples(np.zeros(100, np.float32))) == 0
    assert not fingerprints.of_samples(np.zeros(RATE, np.float32)).any()  # silences are not alike


def test_a_folder_that_is_neither_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        audit.audit([tmp_path])
