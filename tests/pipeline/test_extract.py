"""Extraction: what is missing is computed, what changed is computed again, and no accident costs more than a file."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from processes import alive, children

from sottovoce import plugins
from sottovoce.commands import extract as extract_command
from sottovoce.config import recipe
from sottovoce.data import audio, shards
from sottovoce.data.corpus import Corpus, Utterance
from sottovoce.data.store import TrackStore
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.pipeline import extract, pieces
from sottovoce.pipeline.extract import store_folder, track_store
from sottovoce.tracks import fbank

ROOT = Path(extract.__file__).parents[1]


def make_corpus(folder: Path, count: int = 6, seconds: float = 0.4) -> Corpus:
    root = folder / "audio"
    root.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        record(root / f"u{k}.wav", seed=k, seconds=seconds)
    utterances = tuple(Utterance(f"u{k}", "tiny", f"u{k}.wav", speaker=f"s{k % 3}") for k in range(count))
    corpus = Corpus(folder / "data", "tiny", root, utterances, (), {}, {}, {})
    corpus.save()
    return corpus


def record(path: Path, seed: int, seconds: float = 0.4) -> None:
    rng = np.random.default_rng(seed)
    sf.write(path, 0.1 * rng.standard_normal(int(seconds * 16_000)), 16_000)


def with_utterances(corpus: Corpus, *utterances: Utterance) -> Corpus:
    return Corpus(corpus.folder, corpus.name, corpus.root, utterances, (), {}, {}, corpus.info)


def contents(store: TrackStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.folder.glob("[!.]*"))}


def everything(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    kept = TrackStore.open(folder)
    return ((id, kept[id]) for id in kept)


@pytest.fixture
def made(monkeypatch):
    """Paths that were decoded."""
    seen: list[str] = []
    read = audio.read

    def counting(path, *args, **kwargs):
        seen.append(Path(path).name)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(audio, "read", counting)
    return seen


def test_every_utterance_gets_the_track_of_its_audio(tmp_path):
    corpus = make_corpus(tmp_path)
    store = track_store(corpus, "fbank", {"bins": 40}, quiet=True)
    assert store.ids == tuple(corpus.by_id)
    assert (store.rate_hz, store.offset_s, store.dim) == (100.0, 0.0125, 40)
    for u in corpus.utterances:
        expected = fbank.make(audio.read(corpus.root / u.path), fbank.Config(bins=40)).values
        np.testing.assert_array_equal(store[u.id], expected)
    assert store.folder == store_folder(corpus, "fbank", {"bins": 40})
    assert store.folder.parent == corpus.folder / "tracks"


def test_utterances_with_times_are_slices_of_their_recording(tmp_path):
    corpus = make_corpus(tmp_path, 1, seconds=3.0)
    parts = [Utterance(f"p{k}", "tiny", "u0.wav", k * 0.5, k * 0.5 + 0.7) for k in range(4)]
    store = track_store(with_utterances(corpus, *parts), "wave", quiet=True)
    whole = audio.read(corpus.root / "u0.wav").values
    for k in range(4):
        np.testing.assert_array_equal(store[f"p{k}"][:, 0], whole[k * 8000 : k * 8000 + 11_200])


def test_nothing_is_made_twice_and_settings_have_their_own_folder(tmp_path, made):
    corpus = make_corpus(tmp_path)
    first = track_store(corpus, "fbank", quiet=True)
    before = contents(first)
    assert len(made) == 6
    assert contents(track_store(corpus, "fbank", asdict(fbank.Config()), quiet=True)) == before
    assert len(made) == 6
    other = track_store(corpus, "fbank", {"bins": 23}, quiet=True)
    assert len(made) == 12
    assert other.folder != first.folder
    assert track_store(corpus, "fbank", {"half": True}, quiet=True).head.half


def test_changed_audio_is_made_again_and_touched_audio_is_not(tmp_path, made):
    corpus = make_corpus(tmp_path)
    track_store(corpus, "fbank", quiet=True)
    made.clear()
    record(corpus.root / "u2.wav", seed=99, seconds=0.5)
    os.utime(corpus.root / "u3.wav", ns=(1, 1))
    store = track_store(corpus, "fbank", quiet=True)
    assert made == ["u2.wav"]
    expected = fbank.make(audio.read(corpus.root / "u2.wav"), fbank.Config()).values
    np.testing.assert_array_equal(store["u2"], expected)
    made.clear()
    assert len(track_store(corpus, "fbank", quiet=True)) == 6
    assert made == []


def test_a_recording_may_have_a_hash_in_its_name(tmp_path, made):
    corpus = make_corpus(tmp_path, 1)
    record(corpus.root / "a#1.wav", seed=1)
    hashed = with_utterances(corpus, Utterance("a", "tiny", "a#1.wav"))
    for _ in range(2):
        assert "a" in track_store(hashed, "fbank", quiet=True)
    assert made == ["a#1.wav"]


def test_changed_times_and_new_utterances_are_made(tmp_path, made):
    corpus = make_corpus(tmp_path, 2)
    a, b = corpus.utterances
    track_store(with_utterances(corpus, a), "fbank", quiet=True)
    cut = Utterance("u0", "tiny", "u0.wav", 0.1, 0.3)
    store = track_store(with_utterances(corpus, cut, b), "fbank", quiet=True)
    assert made == ["u0.wav", "u0.wav", "u1.wav"]
    assert store.lengths == {"u0": 1 + (3200 - 400) // 160, "u1": 38}


def test_processes_do_not_change_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", (2, 9))
    corpus = make_corpus(tmp_path, 9)
    alone = contents(track_store(corpus, "fbank", jobs=1, quiet=True))
    again = Corpus(tmp_path / "other", corpus.name, corpus.root, corpus.utterances, (), {}, {}, {})
    before = dict(os.environ)
    assert contents(track_store(again, "fbank", jobs=2, quiet=True)) == alone
    assert dict(os.environ) == before


def test_unreadable_recordings_are_listed_and_the_others_kept(tmp_path, made):
    corpus = make_corpus(tmp_path)
    (corpus.root / "u1.wav").write_bytes(b"")
    (corpus.root / "u4.wav").unlink()
    with pytest.raises(InputError, match=r"2 of 6 utterances.*u1\.wav: empty file.*Also u4.*--skip-broken") as error:
        track_store(corpus, "fbank", quiet=True)
    assert "\n" not in str(error.value)
    assert len(TrackStore.open(store_folder(corpus, "fbank"))) == 4
    record(corpus.root / "u4.wav", seed=4)
    made.clear()
    with pytest.raises(InputError, match=r"u1\.wav: empty file"):
        track_store(corpus, "fbank", quiet=True)
    assert made == ["u1.wav", "u4.wav"]


def test_skipped_recordings_stay_out_until_they_change(tmp_path, made, capsys):
    corpus = make_corpus(tmp_path)
    (corpus.root / "u1.wav").write_bytes(b"nothing")
    extract_command.main(corpus.folder, recipe="none", skip_broken=True)
    assert "skipped u1" in capsys.readouterr().err
    made.clear()
    store = track_store(corpus, "fbank", quiet=True)  # as pretrain would ask
    assert made == []
    assert "u1" not in store
    assert list(store.skipped) == ["u1"]
    with pytest.raises(InputError, match=r"u1\.wav"):  # extract without the flag tries again
        extract_command.main(corpus.folder, recipe="none")
    record(corpus.root / "u1.wav", seed=1)
    assert "u1" in track_store(corpus, "fbank", quiet=True)


def test_overwrite_makes_everything_again(tmp_path, made):
    corpus = make_corpus(tmp_path, 3)
    extract_command.main(corpus.folder, recipe="none", quiet=True)
    extract_command.main(corpus.folder, recipe="none", quiet=True)
    assert len(made) == 3
    folder = store_folder(corpus, "fbank")
    before = {id: it.copy() for id, it in everything(folder)}
    (values,) = folder.glob("values-*")
    values.write_bytes(b"")  # damaged
    extract_command.main(corpus.folder, recipe="none", overwrite=True, quiet=True)
    assert len(made) == 6
    after = TrackStore.open(folder)
    assert after.ids == tuple(before)
    assert all(np.array_equal(after[id], before[id]) for id in before)
    assert len(list(folder.glob("values-*"))) == 1  # what was there is gone
    assert (folder / "index.jsonl").read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(("asked", "wants"), [("", "masked_timesteps"), ("npc", "npc"), ("mockingjay", "mockingjay")])
def test_what_is_extracted_is_what_pretraining_reads(tmp_path, made, asked, wants):
    corpus = make_corpus(tmp_path, 2)
    extract_command.main(corpus.folder, quiet=True, **({"recipe": asked} if asked else {}))
    assert len(made) == 2
    plan = recipe.resolve(wants, [corpus])
    track_store(corpus, plan.track, dict(vars(plan.track_config)), quiet=True)  # as pretrain asks
    assert len(made) == 2


def test_the_command_says_what_it_made_and_takes_settings(tmp_path, capsys):
    corpus = make_corpus(tmp_path, 2)
    extract_command.main(corpus.folder, set_=["bins=40", "deltas=1"], half=True)
    line = capsys.readouterr().out
    assert "2 utterances" in line
    assert "x 80 at 100 Hz" in line
    assert track_store(corpus, "fbank", {"bins": 40, "deltas": 1, "half": True}).dim == 80
    for settings, message in (
        (["bims=40"], "Did you mean 'bins'"),
        (["bins=0"], r"track.bins: 1 or more"),
        (["bins=x"], "whole number"),
    ):
        with pytest.raises(InputError, match=message):
            extract_command.main(corpus.folder, set_=settings)
    with pytest.raises(InputError, match="Did you mean 'fbank'"):
        extract_command.main(corpus.folder, track="fbanks")
    with pytest.raises(InputError, match="not a prepared corpus"):
        extract_command.main(tmp_path)


def test_values_that_are_not_finite_name_the_file(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path, 3)
    make = fbank.make

    def broken(wave, config):
        made = make(wave, config)
        if wave.values[0] == audio.read(corpus.root / "u1.wav").values[0]:
            made.values[3, 5] = np.nan
        return made

    monkeypatch.setattr(fbank, "make", broken)
    with pytest.raises(InputError, match=r"u1\.wav: fbank is not finite. Found 1 of"):
        track_store(corpus, "fbank", quiet=True)
    assert len(TrackStore.open(store_folder(corpus, "fbank"))) == 2


def test_a_defect_of_a_maker_keeps_its_traceback_and_says_which_file(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path, 2)
    make = fbank.make

    def broken(wave, config):
        if len(wave) < 16_000:  # not the rehearsal
            raise ZeroDivisionError
        return make(wave, config)

    monkeypatch.setattr(fbank, "make", broken)
    with pytest.raises(ZeroDivisionError) as error:
        track_store(corpus, "fbank", quiet=True)
    assert "u0.wav" in error.value.__notes__[0]


# -- encoded features ---------------------------------------------------------------------------------------


@pytest.fixture
def encoded(tmp_path, monkeypatch):
    """A corpus `boxes` whose reader streams the track `covarep`; `asked` notes what was read."""
    (tmp_path / "features.h5").write_bytes(b"some features")
    asked: list[tuple[str, ...]] = []

    def read_track(root, utterances, name):
        asked.append(tuple(u.id for u in utterances))
        for u in utterances:
            if u.id != "gone":
                yield u.id, Track(np.full((4, 74), float(u.path[-1]), np.float32), 100.0, 0.005)

    reader = types.SimpleNamespace(utterances=None, TRACKS=("covarep",), read_track=read_track)
    names, load = plugins.names, plugins.load
    monkeypatch.setattr(plugins, "names", lambda f: [*names(f), "boxes"] if f == "corpora" else names(f))
    monkeypatch.setattr(plugins, "load", lambda f, name: reader if name == "boxes" else load(f, name))
    utterances = tuple(Utterance(f"v{k}", "boxes", f"features.h5#{k}") for k in range(5))
    corpus = Corpus(tmp_path / "data", "boxes", tmp_path, utterances, (), {}, {}, {})
    return corpus, asked, reader


def test_encoded_features_are_streamed_into_the_store(encoded):
    corpus, asked, _ = encoded
    store = track_store(corpus, "covarep", quiet=True)
    assert (store.dim, store.rate_hz, store.offset_s, len(store)) == (74, 100.0, 0.005, 5)
    assert (store["v3"] == 3).all()
    asked.clear()
    track_store(corpus, "covarep", quiet=True)
    assert asked == []
    os.utime(corpus.root / "features.h5", ns=(1, 1))
    track_store(corpus, "covarep", quiet=True)
    assert asked[-1] == store.ids


def test_encoded_corpora_have_no_audio_tracks(encoded):
    corpus, _, _ = encoded
    with pytest.raises(InputError, match=r"no audio to make fbank from.*--track covarep"):
        track_store(corpus, "fbank", quiet=True)


def test_missing_and_mixed_encoded_features_are_named(encoded):
    corpus, _, reader = encoded
    gone = with_utterances(corpus, *corpus.utterances, Utterance("gone", "boxes", "features.h5#9"))
    with pytest.raises(InputError, match=r"features.h5#9: no covarep of gone"):
        track_store(gone, "covarep", quiet=True)
    read = reader.read_track

    def mixed(root, utterances, name):
        for id, track in read(root, utterances, name):
            yield id, Track(track.values, 1.0 if id == "v6" else 100.0)

    reader.read_track = mixed
    more = with_utterances(corpus, *corpus.utterances, Utterance("v6", "boxes", "features.h5#6"))
    with pytest.raises(InputError, match="another configuration"):  # the store has the clock of the others
        track_store(more, "covarep", quiet=True)
    shutil.rmtree(store_folder(corpus, "covarep"))
    with pytest.raises(InputError, match=r"features\.h5#6: covarep unlike the rest"):
        track_store(more, "covarep", quiet=True)


def test_non_finite_encoded_features_name_the_entry(encoded):
    corpus, _, reader = encoded
    reader.read_track = lambda root, us, name: ((u.id, Track(np.full((2, 74), -np.inf), 100.0)) for u in us)
    with pytest.raises(InputError, match=r"features\.h5#0: covarep is not finite"):
        track_store(corpus, "covarep", quiet=True)


# -- from another track -----------------------------------------------------------------------------------


def test_a_derived_track_has_the_clock_of_its_source_and_is_made_once(tmp_path, made):
    corpus = make_corpus(tmp_path)
    energy, noise = (track_store(corpus, name, quiet=True) for name in ("energy", "random"))
    level = track_store(corpus, "level", quiet=True)
    for derived in (energy, noise):
        assert derived.ids == level.ids
        assert derived.lengths == level.lengths
        assert (derived.rate_hz, derived.offset_s, derived.dim) == (62.5, 0.0, 1)
    for name in ("s0", "s1", "s2"):
        own = np.concatenate([energy[u.id] for u in corpus.utterances if u.speaker == name])
        np.testing.assert_allclose([own.mean(), own.std()], [0, 1], atol=1e-4)
    assert len(made) == len(corpus.utterances)  # every recording was read once, for the level
    before = contents(energy), contents(noise)
    assert (
        contents(track_store(corpus, "energy", quiet=True)),
        contents(track_store(corpus, "random", quiet=True)),
    ) == before
    assert len(made) == len(corpus.utterances)


def test_a_changed_recording_rescales_its_speaker_and_nobody_else(tmp_path):
    corpus = make_corpus(tmp_path)
    before = {id: values.copy() for id, values in _all(track_store(corpus, "energy", quiet=True))}
    record(corpus.root / "u0.wav", seed=99, seconds=0.8)  # of s0, as is u3
    after = dict(_all(track_store(corpus, "energy", quiet=True)))
    assert len(after["u0"]) > len(before["u0"])
    assert not np.array_equal(after["u3"], before["u3"])
    for id in ("u1", "u2", "u4", "u5"):
        np.testing.assert_array_equal(after[id], before[id])
    fresh = Corpus(tmp_path / "fresh", corpus.name, corpus.root, corpus.utterances, (), {}, {}, {})
    for id, values in _all(track_store(fresh, "energy", quiet=True)):
        np.testing.assert_array_equal(values, after[id])


def _all(store):
    return [(id, store[id]) for id in store]


def test_touched_recordings_are_not_derived_again(tmp_path, monkeypatch):
    from sottovoce.tracks import random

    corpus = make_corpus(tmp_path)
    track_store(corpus, "random", quiet=True)
    os.utime(corpus.root / "u2.wav", ns=(1, 1))
    monkeypatch.setattr(random, "noise", None)  # would fail
    assert len(track_store(corpus, "random", quiet=True)) == 6


def test_what_its_source_left_out_a_derived_track_leaves_out_too(tmp_path):
    corpus = make_corpus(tmp_path)
    (corpus.root / "u1.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"u1\.wav"):
        track_store(corpus, "energy", quiet=True)
    extract_command.main(corpus.folder, track="energy", skip_broken=True, quiet=True)
    store = track_store(corpus, "energy", quiet=True)
    assert "u1" not in store
    assert "u1.wav" in store.skipped["u1"]
    assert len(store) == 5


# -- accidents ----------------------------------------------------------------------------------------------

SLOW = """
import sys, time
from pathlib import Path
from sottovoce.data.corpus import Corpus
from sottovoce.pipeline import claims, extract, pieces, workers
from sottovoce.tracks import fbank

pieces.PIECE = 2, 2
claims.BEAT_S, claims.LEASE_S, claims.LOOK_S = 0.1, 1.0, 0.05
make = fbank.make
def slow(wave, config):
    time.sleep(0.015)
    return make(wave, config)
fbank.make = slow
with workers.engine(sys.argv[2]):
    extract.track_store(Corpus.load(Path(sys.argv[1])), "fbank", jobs=1, quiet=True)
"""


def start(corpus: Corpus, *argv: str, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *argv], env=environment, stderr=subprocess.PIPE, text=True, **options)


def wait_for_pieces(folder: Path, count: int) -> None:
    limit = time.monotonic() + 120
    while len(shards.waiting(folder)) < count:
        assert time.monotonic() < limit
        time.sleep(0.002)


def alone(corpus: Corpus, monkeypatch) -> dict[str, bytes]:
    """The files of an extraction in peace."""
    monkeypatch.setattr(pieces, "PIECE", (2, 2))
    other = Corpus(corpus.folder.parent / "alone", corpus.name, corpus.root, corpus.utterances, (), {}, {}, {})
    return contents(track_store(other, "fbank", jobs=1, quiet=True))


def test_a_killed_extraction_goes_on_to_identical_files_and_readers_see_none_or_all(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path, 40, seconds=0.2)
    expected, folder = alone(corpus, monkeypatch), store_folder(corpus, "fbank")
    for count in (2, 8):
        process = start(corpus, "-c", SLOW, str(corpus.folder), "processes")
        wait_for_pieces(folder, count)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert count <= len(shards.waiting(folder)) < 20
        assert len(TrackStore.open(folder)) == 0
    seen: list[str] = []
    read = audio.read
    monkeypatch.setattr(audio, "read", lambda path, *rest: seen.append(path) or read(path, *rest))
    assert contents(track_store(corpus, "fbank", jobs=1, quiet=True)) == expected
    assert len(seen) <= 40 - 2 * 8


def test_processes_that_share_a_folder_write_the_files_of_one_however_they_are_killed(tmp_path, monkeypatch):
    """On a file system without locks."""
    corpus = make_corpus(tmp_path, 60, seconds=0.2)
    expected, folder = alone(corpus, monkeypatch), store_folder(corpus, "fbank")
    program = SLOW.replace("\nmake =", "\nfrom sottovoce.data import store\nstore.fcntl = None\nmake =")
    victim, other = (start(corpus, "-c", program, str(corpus.folder), "folder") for _ in range(2))
    wait_for_pieces(folder, 3)
    time.sleep(random.uniform(0, 0.2))
    victim.kill()
    victim.communicate()
    crew = [other, start(corpus, "-c", program, str(corpus.folder), "folder")]
    sizes = set()
    while any(one.poll() is None for one in crew):
        sizes.add(len(TrackStore.open(folder)))
    assert sizes <= {0, 60}
    for one in crew:
        assert not one.communicate()[1]
    assert contents(TrackStore.open(folder)) == expected
    assert not list(folder.glob(".values*"))


def test_what_was_made_before_the_corpus_changed_is_not_made_again(tmp_path, made, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", (2, 2))
    corpus = make_corpus(tmp_path, 12)
    make, calls = fbank.make, []

    def interrupted(wave, config):
        calls.append(1)
        if len(calls) > 8:  # the first is of silence
            raise KeyboardInterrupt
        return make(wave, config)

    monkeypatch.setattr(fbank, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        track_store(corpus, "fbank", jobs=1, quiet=True)
    monkeypatch.setattr(fbank, "make", make)
    made.clear()
    record(corpus.root / "u1.wav", seed=99, seconds=0.5)
    store = track_store(with_utterances(corpus, *corpus.utterances[1:]), "fbank", jobs=1, quiet=True)
    assert sorted(made) == sorted(["u1.wav", *(f"u{k}.wav" for k in range(6, 12))])
    assert len(store) == 12
    assert store.lengths["u1"] == 48
    np.testing.assert_array_equal(store["u7"], make(audio.read(corpus.root / "u7.wav"), fbank.Config()).values)
    assert not (store.folder / "pieces").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for worker processes in /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_do_not_outlive_their_parent(tmp_path, sent):
    """SIGKILL goes to the parent alone, Ctrl-C to everybody in the terminal's process group."""
    corpus = make_corpus(tmp_path, 200, seconds=0.2)
    argv = ["-m", "sottovoce", "extract", str(corpus.folder), "--jobs", "2", "--set", "bins=41"]
    process = start(corpus, *argv, start_new_session=True)
    limit = time.monotonic() + 120  # a busy machine takes its time
    while not (workers := children(process.pid)) and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.005)
    assert workers
    if sent == signal.SIGKILL:
        process.kill()
        process.communicate()
    else:
        os.killpg(process.pid, sent)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Traceback" not in errors
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_ctrl_c_keeps_what_was_made_and_exits_with_130(tmp_path):
    corpus = make_corpus(tmp_path, 40, seconds=0.2)
    program = SLOW.replace(
        "    extract.track_store(",
        "    import sottovoce.cli, typer\n    sottovoce.cli.app = lambda: extract.track_store(",
    )
    folder = store_folder(corpus, "fbank")
    process = start(corpus, "-c", program + "    sottovoce.cli.run()", str(corpus.folder), "processes")
    wait_for_pieces(folder, 3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert 3 <= len(shards.waiting(folder)) < 20
    assert not list(folder.glob(".values*"))


def test_a_second_extraction_waits_for_the_first_and_adds_nothing(tmp_path, made):
    corpus = make_corpus(tmp_path, 20, seconds=0.2)
    process = start(corpus, "-c", SLOW, str(corpus.folder), "processes")
    wait_for_pieces(store_folder(corpus, "fbank"), 2)
    store = track_store(corpus, "fbank", quiet=True)
    process.communicate()
    assert (store.folder / "index.jsonl").read_bytes().count(b"\n") == len(store) == 20
    assert not made


@pytest.mark.parametrize("call", [1, 4, 5, 7])  # values, a piece, values, the index
def test_a_full_disk_is_one_line_and_what_fits_is_kept(tmp_path, monkeypatch, call, made):
    monkeypatch.setattr(pieces, "PIECE", (2, 2))
    corpus = make_corpus(tmp_path)
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    folder = store_folder(corpus, "fbank")
    with pytest.raises(InputError, match=r"No space left.*what was extracted is kept") as error:
        track_store(corpus, "fbank", jobs=1, quiet=True)
    assert str(error.value).startswith(str(folder))
    assert "--skip-broken" not in str(error.value)
    assert len(shards.waiting(folder)) == (call - 1) // 2
    assert len(TrackStore.open(folder)) == 0
    assert not [path for path in folder.rglob("*.part")]
    made.clear()
    assert len(track_store(corpus, "fbank", quiet=True)) == 6
    assert len(made) == 6 - 2 * ((call - 1) // 2)


@dataclass(frozen=True)
class _Named:
    """A configuration whose rate is not what its maker delivers."""

    rate_hz: float = 50.0
    dim: int = 80


def test_a_maker_that_breaks_its_promise_is_our_defect(tmp_path, monkeypatch):
    monkeypatch.setattr(fbank, "Config", _Named)
    monkeypatch.setattr(fbank, "make", lambda wave, config: Track(np.zeros((98, 80), np.float32), 100.0))
    with pytest.raises(ValueError, match="fbank promises 80 values at 50"):
        track_store(make_corpus(tmp_path, 1), "fbank", quiet=True)


# -- whole recordings first ---------------------------------------------------------------------------------


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Nine utterances of three recordings, taking turns, and a `covarep` that counts the frames of what it gets."""
    from sottovoce.tracks import covarep

    assert covarep.WHOLE

    def make(wave, config):
        values = np.zeros((int(len(wave) / 160), 74), np.float32)
        values[:, 0], values[:, 1] = np.arange(len(values)), wave.values[0]
        return Track(values, 100.0, covarep.OFFSET_S)

    monkeypatch.setattr(covarep, "make", make)
    corpus = make_corpus(tmp_path, 3, seconds=1.5)
    places = [(k, n) for n in range(3) for k in range(3)]
    parts = [Utterance(f"u{k}_{n}", "tiny", f"u{k}.wav", 0.1 + 0.4 * n, 0.5 + 0.4 * n) for k, n in places]
    return with_utterances(corpus, *parts)


def test_a_recording_is_made_whole_once_and_then_cut(counted, made):
    store = track_store(counted, "covarep", quiet=True)
    assert made == ["u0.wav", "u1.wav", "u2.wav"]
    for u in counted.utterances:
        first = round(100 * u.start)
        assert store[u.id][:, 0].tolist() == list(range(first, first + 40))
        assert store[u.id][0, 1] == audio.read(counted.root / u.path).values[0]


def test_whole_recordings_are_resumed_and_made_again_like_others(counted, made):
    some = [u for u in counted.utterances if u.path != "u2.wav"][:-1]
    track_store(with_utterances(counted, *some), "covarep", quiet=True)
    made.clear()
    track_store(counted, "covarep", quiet=True)
    assert sorted(made) == ["u1.wav", "u2.wav"]
    made.clear()
    record(counted.root / "u0.wav", seed=9, seconds=1.6)
    assert len(track_store(counted, "covarep", quiet=True)) == 9
    assert made == ["u0.wav"]


def test_an_utterance_beyond_its_recording_is_named_also_when_the_track_is_cut(counted):
    late = with_utterances(counted, *counted.utterances, Utterance("late", "tiny", "u0.wav", 1.4, 2.5))
    with pytest.raises(InputError, match=r"u0\.wav: end 2\.5 s is beyond the end"):
        track_store(late, "covarep", quiet=True)
    assert len(TrackStore.open(store_folder(counted, "covarep"))) == 9


@pytest.mark.slow  # two interpreters have to start
def test_processes_do_not_change_what_is_cut_from_whole_recordings(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "FEW_WHOLE", 0)
    corpus = make_corpus(tmp_path, 3, seconds=0.3)
    parts = [Utterance(f"{k}{n}", "tiny", f"u{k}.wav", 0.1 * n, 0.1 * n + 0.1) for n in range(3) for k in range(3)]
    alone = contents(track_store(with_utterances(corpus, *parts), "covarep", jobs=1, quiet=True))
    again = Corpus(tmp_path / "other", corpus.name, corpus.root, tuple(parts), (), {}, {}, {})
    assert contents(track_store(again, "covarep", jobs=2, quiet=True)) == alone
