"""Entries of tar archives: the same samples and hashes as the files they were, and no damage goes unnoticed."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sottovoce.data import archives, audio, contents, recordings
from sottovoce.errors import InputError

FORMATS = {"wav": {}, "flac": {}, "mp3": {}, "ogg": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "aiff": {}}


def pack(path: Path, content: dict[str, bytes], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Two seconds in every format, in two channels at 44.1 kHz."""
    home = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for suffix, options in FORMATS.items():
        rate = 48_000 if suffix == "opus" else 44_100
        soundfile.write(home / f"a.{suffix}", rng.normal(0, 0.1, (2 * rate, 2)), rate, **options)
    header = bytearray((home / "a.wav").read_bytes())
    header[4:8] = header[40:44] = b"\xff" * 4  # as a program that writes to a pipe leaves it
    (home / "piped.wav").write_bytes(header)
    return home


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_entry_is_read_as_the_file_it_was(files, tmp_path, form):
    folder = "./" + "long/" * 18  # a name of more than a hundred letters takes two headers
    content = {f"{folder}{p.name}": p.read_bytes() for p in sorted(files.iterdir())}
    shard = pack(tmp_path / "x.tar", content, format=form)
    for path in sorted(files.iterdir()):
        entry = Path(f"{shard}#{folder[2:]}{path.name}")
        assert archives.is_file(entry)
        assert archives.inside(entry).stem == path.stem
        assert audio.probe(entry) == audio.probe(path)
        assert contents.of_file(entry) == contents.of_file(path)
        np.testing.assert_array_equal(audio.read(entry).values, audio.read(path).values)
        np.testing.assert_array_equal(audio.read(entry, 0.5, 1.2).values, audio.read(path, 0.5, 1.2).values)
        together = [block.values for block in audio.blocks(entry, 0.7)]
        np.testing.assert_array_equal(
            np.concatenate(together), np.concatenate([b.values for b in audio.blocks(path, 0.7)])
        )


def test_a_cut_entry_is_named_as_a_cut_file_is(files, tmp_path):
    shard = pack(
        tmp_path / "x.tar", {"a.wav": (files / "a.wav").read_bytes()[:50_000], "b.wav": b"", "c.wav": b"<html>"}
    )
    for name, said in [("a", "truncated"), ("b", "empty file"), ("c", "web page"), ("d", "no such file")]:
        with pytest.raises(InputError, match=rf"x.tar#{name}.wav: .*{said}"):
            audio.read(f"{shard}#{name}.wav")


def test_a_file_called_like_an_entry_is_a_file(files, tmp_path):
    path = tmp_path / "x.tar#a.wav"
    path.write_bytes((files / "a.wav").read_bytes())
    np.testing.assert_array_equal(audio.read(path).values, audio.read(files / "a.wav").values)
    inner = pack(path.with_name("y.tar#z") / "s.tar", {"b#c.wav": (files / "a.wav").read_bytes()})
    np.testing.assert_array_equal(audio.read(f"{inner}#b#c.wav").values, audio.read(path).values)


def test_a_changed_archive_is_listed_anew(tmp_path):
    shard = pack(tmp_path / "x.tar", {"a": b"1", "b": b"22"})
    assert archives.opened(f"{shard}#b").read() == b"22"
    pack(shard, {"c": b"333", "b": b"4444"})
    assert archives.opened(f"{shard}#b").read() == b"4444"
    assert archives.stat(f"{shard}#c")[0] == 3
    assert not archives.is_file(f"{shard}#a")
    shard.unlink()
    assert not archives.is_file(f"{shard}#b")


def damaged(tmp_path, change) -> Path:
    shard = pack(tmp_path / "x.tar", {f"{k}.wav": bytes([k]) * 2000 for k in range(5)})
    shard.write_bytes(change(shard.read_bytes()))
    return shard


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[:2000], "unexpected end"),  # in an entry
        (lambda b: b[: 512 * 5 + 100], "no mark of its end"),  # in a header
        (lambda b: b[: 512 * 10], "no mark of its end"),  # between two
        (lambda b: b[:2560] + b"x" * 512 + b[3072:], "no header at byte 2560"),
        (lambda b: b[:2600] + b"9" + b[2601:], "no header at byte 2560"),  # a checksum that does not fit
        (lambda b: b + b, "behind its end"),
        (lambda b: b"", "empty"),
        (lambda b: b"RIFF" + b[4:], "bad checksum"),
        (lambda b: b"\x1f\x8b" + b[2:], "compressed .gzip"),
        (lambda b: b"(\xb5/\xfd" + b, "compressed .zstd"),
        (lambda b: b"version https://git-lfs.github.com/spec/v1\nsize 5\n", "git-lfs"),
    ],
)
def test_a_damaged_archive_is_one_line(tmp_path, change, said):
    with pytest.raises(InputError, match=f"x.tar: .*{said}"):
        list(archives.entries(damaged(tmp_path, change)))


@pytest.mark.parametrize("at", range(0, 10_240, 512))
def test_no_cut_goes_unnoticed(tmp_path, at):
    with pytest.raises(InputError, match=r"x.tar"):
        list(archives.entries(damaged(tmp_path, lambda b: b[:at])))


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.wav", "a/../../b.wav"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="leads out of it"):
        list(archives.entries(pack(tmp_path / "x.tar", {name: b"1"})))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        member = tarfile.TarInfo("a.wav")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(InputError, match="a link, not a file"):
        list(archives.entries(tmp_path / "x.tar"))


def test_random_damage_is_an_input_error_or_none(tmp_path):
    rng = np.random.default_rng(0)
    whole = bytearray(pack(tmp_path / "x.tar", {f"{k}.wav": b"x" * 700 for k in range(3)}).read_bytes())
    for k in range(300):
        data = whole.copy()
        for at in rng.integers(0, 512 if k % 2 else len(data), 4):
            data[at] = rng.integers(256)
        (tmp_path / "y.tar").write_bytes(data)
        try:
            list(archives.entries(tmp_path / "y.tar"))
        except InputError:
            pass


def test_recordings_of_archives_are_found_where_recordings_are(tmp_path):
    hidden = {"._x.wav": b"", "__MACOSX/y.wav": b"", "d/.z/a.wav": b""}
    pack(tmp_path / "in/b.tar", {"x.wav": b"1", "x.json": b"{}", "d/a.FLAC": b"", **hidden})
    (tmp_path / "in/c.wav").write_bytes(b"1")
    found = list(recordings.audio_files([tmp_path / "in", tmp_path / "in/b.tar", tmp_path / "in/b.tar#x.wav"]))
    entries = [tmp_path / "in/b.tar#x.wav", tmp_path / "in/b.tar#d/a.FLAC"]
    assert found == [tmp_path / "in/c.wav", *entries, entries[0]]
    (tmp_path / "in/c.wav").unlink()
    assert list(recordings.audio_files([tmp_path / "in"])) == entries
    with pytest.raises(InputError, match="no such file"):
        list(recordings.audio_files([tmp_path / "in/b.tar#z.wav"]))


def test_a_million_entries_would_fit(tmp_path):
    """What a process keeps of an archive, and that no file stays open."""
    shard = pack(tmp_path / "x.tar", {f"speaker/utterance{k:06d}.wav": b"" for k in range(2000)})
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert all(archives.stat(f"{shard}#speaker/utterance{k:06d}.wav")[0] == 0 for k in range(2000))
    names, places = archives._listed(str(shard), *archives.stat(shard))
    assert (len(names._text) + places.nbytes) / 2000 < 50
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
