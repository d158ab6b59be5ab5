"""Audio as the world makes it: headers that lie or are missing, streams joined with `cat`, samples in odd units."""

import io
import os
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile as sf
import soxr

from sottovoce.corpora import _layout
from sottovoce.data import audio, containers, recordings
from sottovoce.errors import InputError

av = pytest.importorskip("av")

RATE = 16_000


def speech(seconds, rate=RATE, seed=0):
    """Noise that comes in syllables, some louder than others."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    loud = np.repeat(rng.uniform(0, 0.3, n // 3200 + 1), 3200)[:n] * np.hanning(3200)[np.arange(n) % 3200]
    voice = np.cumsum(rng.standard_normal(n))  # falls towards high frequencies, as voices do
    x = loud * np.diff(voice, prepend=0.0, n=1) * 0.3 + loud * np.sin(2 * np.pi * 180 * np.arange(n) / RATE)
    return (x if rate == RATE else soxr.resample(x, RATE, rate)).astype(np.float32)


def encode(path, x, rate, codec, kind, channels=1, bit_rate=None, muxer=None, coder=None):
    """Samples at 16 kHz through one of FFmpeg's encoders."""
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w", format=kind, options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=coder or {})
        stream.layout = layout
        if bit_rate:
            stream.bit_rate = bit_rate
        y = np.clip(x if rate == RATE else soxr.resample(x, RATE, rate), -1, 1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.repeat(y[None].astype(np.float32), channels, 0)), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts = rate, 0
        size = stream.codec_context.frame_size or 1024
        cut = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=size)
        for piece in cut.resample(frame) + cut.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def written(x, rate=RATE, **kind):
    """Bytes of a file by libsndfile."""
    out = io.BytesIO()
    sf.write(out, x, rate, **{"format": "WAV"} | kind)
    return out.getvalue()


def no_table(path, x, rate=RATE, **kind):
    """An MP3 as a capture device writes it: nothing says how long it is."""
    return encode(path, x, rate, "libmp3lame", "mp3", muxer={"write_xing": "0", "id3v2_version": "0"}, **kind)


def check_stretches(path, tolerance=1e-4):
    whole = audio.read(path).values
    seconds = len(whole) / RATE
    for start, end in [(0, 0.4), (0.9, 1.3), (1.1, 2.7), (0.2, 0.25), (seconds - 0.7, None), (2.0, 2.5)]:
        part = audio.read(path, start, end).values
        expected = whole[round(start * RATE) : None if end is None else round(end * RATE)]
        np.testing.assert_allclose(part, expected, atol=tolerance)
    joined = np.concatenate([block.values for block in audio.blocks(path, 0.31)])
    np.testing.assert_allclose(joined, whole, atol=1e-5)
    assert audio.probe(path).duration_s == pytest.approx(seconds, abs=1e-3)


# ---------------------------------------------------------------------------------------------- lengths are counted


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("order", ["speech first", "pause first"])
def test_an_mp3_without_a_table_is_as_long_as_it_is(tmp_path, rate, order):
    pause = np.random.default_rng(1).standard_normal(12 * RATE).astype(np.float32) * 1e-5
    parts = [speech(6), pause]
    x = np.concatenate(parts if order == "speech first" else parts[::-1])
    path = no_table(tmp_path / "a.mp3", x, rate, coder={"q": "5"})
    assert audio.read(path).duration_s == pytest.approx(18, abs=0.3)
    assert audio.probe(path).duration_s == pytest.approx(18, abs=0.3)


@pytest.mark.parametrize("rate", [11_025, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_raw_aac_is_as_long_as_it_is_and_its_end_can_be_reached(tmp_path, rate, channels):
    x = np.concatenate([speech(4), np.zeros(16 * RATE, np.float32)])
    path = encode(tmp_path / "a.aac", x, rate, "aac", "adts", channels)
    assert audio.probe(path).duration_s == pytest.approx(20, abs=0.3)
    assert len(audio.read(path, 17.0, 18.5)) == 1.5 * RATE


def test_an_mp3_is_whole_where_blocks_meet(tmp_path):
    """One decoder from one end to the other: its bit reservoir does not survive a seek, not even to where it is."""
    x = speech(14, 22_050)
    sf.write(tmp_path / "a.mp3", x, 22_050, format="MP3", bitrate_mode="VARIABLE", compression_level=0.8)
    with sf.SoundFile(tmp_path / "a.mp3") as file:
        once = file.read(dtype="float32")
    np.testing.assert_allclose(audio.read(tmp_path / "a.mp3").values, soxr.resample(once, 22_050, RATE), atol=1e-4)


@pytest.mark.parametrize("front", ["garbage", "zeros", "answer of a server", "two tags", "large tag"])
@pytest.mark.parametrize("back", ["", "ID3v1", "APE"])
def test_what_is_not_sound_in_an_mp3_is_not_heard(tmp_path, front, back):
    x = speech(4)
    data = written(x, format="MP3")
    tag = b"ID3\x03\0\0\0\0\x01\0" + bytes(128)
    before = {
        "garbage": np.random.default_rng(0).integers(0, 256, 3000, dtype="u1").tobytes(),
        "zeros": bytes(20_000),
        "answer of a server": b"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n",
        "two tags": 2 * tag,
        "large tag": b"ID3\x03\0\0\0\x01\0\0" + b"\xff\xfb\x90" * 5461 + b"\0",
    }[front]
    after = {
        "": b"",
        "ID3v1": b"TAG" + b"x" * 125,
        "APE": b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8) + b"\xff\xfbabc" * 4,
    }[back]
    (tmp_path / "plain.mp3").write_bytes(data)
    (tmp_path / "a.mp3").write_bytes(before + data + after)
    expected, found = audio.read(tmp_path / "plain.mp3").values, audio.read(tmp_path / "a.mp3").values
    assert abs(len(found) - len(expected)) < 0.1 * RATE
    n = min(len(found), len(expected)) - 2000
    np.testing.assert_allclose(found[:n], expected[:n], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "codec", "kind", "rate", "more"),
    [
        ("mp3 in a wav.wav", "libmp3lame", "wav", 44_100, {}),
        ("an mp3 called.wav", "libmp3lame", "mp3", 32_000, {}),
        ("an m4a called.wav", "aac", "ipod", 44_100, {}),
        ("book.m4b", "aac", "ipod", 22_050, {}),
        ("from a browser.webm", "libopus", "webm", 48_000, {"muxer": {"live": "1"}}),
        ("in fragments.mp4", "aac", "mp4", 48_000, {"muxer": {"movflags": "frag_keyframe+empty_moov"}}),
        ("index first.mp4", "aac", "mp4", 16_000, {"muxer": {"movflags": "faststart"}}),
        ("lossless.m4a", "alac", "ipod", 44_100, {}),
        ("windows.wma", "wmav2", "asf", 44_100, {"bit_rate": 64_000}),
        ("matroska.mka", "aac", "matroska", 44_100, {}),
        ("phone.3gp", "aac", "3gp", 16_000, {}),
        ("film.mov", "pcm_s16le", "mov", 48_000, {}),
        ("dolby.ac3", "ac3", "ac3", 48_000, {"channels": 2}),
        ("radio.mp2", "mp2", "mp2", 48_000, {"channels": 2}),
    ],
)
@pytest.mark.parametrize("long", [False, True])
def test_every_container_is_heard_to_its_end_and_gives_its_stretches(
    tmp_path, monkeypatch, name, codec, kind, rate, more, long
):
    x = speech(3.5)
    path = encode(tmp_path / name, x, rate, codec, kind, **more)
    if long:  # then the decoder is kept where it stopped
        monkeypatch.setattr(audio.files, "LARGE", 1000)
        monkeypatch.setattr(audio, "HELD_S", 0.5)
        audio._scan.cache_clear()
    assert audio.probe(path).decoder == "av"
    assert audio.read(path).duration_s == pytest.approx(3.5, abs=0.12)
    check_stretches(path)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate", "channels"),
    [
        *(("WAV", s, 22_050, 2) for s in ("IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW", "PCM_24", "DOUBLE", "PCM_U8")),
        *(("WAV", s, 8_000, 1) for s in ("GSM610", "G721_32")),
        ("WAV", "PCM_32", 192_000, 8),
        ("AU", "G721_32", 8_000, 1),
        ("CAF", "ALAC_16", 44_100, 1),
        ("NIST", "PCM_16", 16_000, 2),
        ("RF64", "PCM_24", 48_000, 1),
        ("OGG", "OPUS", 24_000, 2),
        ("OGG", "VORBIS", 22_050, 1),
    ],
)
@pytest.mark.parametrize("long", [False, True])
def test_decoders_without_a_memory_of_places_give_their_stretches(
    tmp_path, monkeypatch, kind, subtype, rate, channels, long
):
    x = speech(3.5, rate)
    path = tmp_path / "a.snd"
    path.write_bytes(written(np.repeat(x[:, None], channels, 1), rate, format=kind, subtype=subtype))
    if long:
        monkeypatch.setattr(audio.files, "LARGE", 1000)
        monkeypatch.setattr(audio, "HELD_S", 0.5)
        audio._scan.cache_clear()
    assert audio.probe(path).duration_s == pytest.approx(3.5, abs=0.07)
    check_stretches(path)


def test_stretches_in_order_of_time_decode_a_long_file_once(tmp_path, monkeypatch):
    path = no_table(tmp_path / "a.mp3", speech(8))
    monkeypatch.setattr(audio.files, "LARGE", 1000)
    audio._scan.cache_clear()
    source = audio._facts(path).source
    begun = []
    original = source.chunks
    object.__setattr__(source, "chunks", lambda first: begun.append(first) or original(first))
    for start in range(7):
        audio.read(path, start, start + 1.5)
    assert begun == [0]


@pytest.mark.parametrize("rates", [(16_000, 16_000), (16_000, 48_000), (48_000, 8_000, 24_000)])
@pytest.mark.parametrize(
    ("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16"), ("WAV", "FLOAT"), ("MP3", None)]
)
def test_files_joined_end_to_end_are_heard_to_the_end(tmp_path, kind, subtype, rates):
    parts = [speech(2, rate, seed=k) for k, rate in enumerate(rates)]
    path = tmp_path / "joined"
    path.write_bytes(b"".join(written(x, r, format=kind, subtype=subtype) for x, r in zip(parts, rates, strict=True)))
    found = audio.read(path).values
    assert len(found) / RATE == pytest.approx(2 * len(rates), abs=0.2 if kind != "MP3" else 0.4)  # and its fillings
    last = found[-2 * RATE :]
    expected = speech(2, seed=len(rates) - 1)
    agreement = np.fft.irfft(np.fft.rfft(last, 1 << 17) * np.fft.rfft(expected, 1 << 17).conj()).max()
    assert agreement > 0.8 * np.linalg.norm(last) * np.linalg.norm(expected)
    check_stretches(path)


# ---------------------------------------------------------------------------------------------- sizes in headers


def sizes(data, riff, length):
    at = data.index(b"data") + 4
    return data[:4] + struct.pack("<I", riff) + data[8:at] + struct.pack("<I", length) + data[at + 4 :]


TALK = speech(3)
WAV = written(TALK)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "PCM_U8", "MS_ADPCM"])
@pytest.mark.parametrize(
    ("riff", "length"),
    [(0, 0), (36, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFFFFF, 0x7FFFFFFF), (0x80000024, 0x80000000), (0, 0xFFFFFFFF)],
)
def test_a_wav_whose_recorder_was_killed_is_whole(tmp_path, subtype, riff, length):
    data = written(TALK, subtype=subtype)
    (tmp_path / "whole.wav").write_bytes(data)
    (tmp_path / "killed.wav").write_bytes(sizes(data, riff, length))
    whole, killed = audio.read(tmp_path / "whole.wav").values, audio.read(tmp_path / "killed.wav").values
    np.testing.assert_array_equal(killed[: len(whole)], whole)
    assert len(killed) - len(whole) < 600  # of a block
    check_stretches(tmp_path / "killed.wav")


N = len(WAV)
RF64 = written(TALK, format="RF64")


def ds64(data_bytes):
    at = RF64.index(b"ds64") + 16
    return RF64[:at] + data_bytes + RF64[at + 8 :]


@pytest.mark.parametrize(
    "data",
    [
        sizes(WAV, 36 + 20_000, 20_000),  # sizes of the last time the recorder saved
        sizes(WAV, N - 8, N + 5000),  # the frame fits the file, the data does not
        sizes(WAV, 0, N - 44),
        WAV[:36] + b"LIST\x05\0\0\0INFOx" + WAV[36:],  # an odd chunk without its fill byte
        WAV[:36] + b"LIST\x05\0\0\0INFOx\0" + WAV[36:],
        WAV[:12] + b"bext\x07\0\0\0abcdefg" + sizes(WAV, 0, 0)[12:],
        sizes(WAV, N - 8 + 12, N - 44) + b"LIST\x04\0\0\0INFO",
        WAV + bytes(9000),  # filled up to a sector
        WAV + b"TAG" + bytes(125),
        ds64(bytes(8)),
        ds64(b"\xff" * 8),
        ds64(struct.pack("<Q", 3000)),
        b"BW64" + RF64[4:],
        written(TALK, endian="BIG"),
        (lambda b: b[:8] + bytes(4) + b[12:])(written(TALK, format="AU")),
        (lambda b: b[:8] + b"\xff" * 4 + b[12:])(written(TALK, format="AU")),
        (lambda b: b[:8] + struct.pack(">I", 9000) + b[12:])(written(TALK, format="AU")),
        (lambda b: b[:21] + bytes([b[21] & 0xF0]) + bytes(4) + b[26:])(written(TALK, format="FLAC")),
    ],
)
def test_a_header_that_does_not_know_its_file_does_not_cut_it(tmp_path, data):
    (tmp_path / "a.wav").write_bytes(data)
    found = audio.read(tmp_path / "a.wav").values
    assert len(found) == 3 * RATE
    np.testing.assert_allclose(found, TALK, atol=1e-4)
    check_stretches(tmp_path / "a.wav")


XML = b"<BWFXML>" + b"text and more text " * 300
IXML = b"iXML" + struct.pack("<I", len(XML)) + XML
UNPADDED = b"iXML" + struct.pack("<I", len(XML) + 1) + XML + b"x" + b"LIST" + struct.pack("<I", 4) + b"INFO"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24"])
@pytest.mark.parametrize("fill", [b"", b"\0"])
@pytest.mark.parametrize(
    "behind",
    [IXML, IXML[:-600], IXML + bytes(600), IXML + b"TAG" + bytes(125), UNPADDED, b"APETAGEX" + WAV, b"ID3\3\0" + WAV],
)
def test_what_is_written_behind_the_samples_is_not_heard(tmp_path, subtype, fill, behind):
    odd = TALK[: 2 * RATE + 1]  # an odd number of bytes, after which not everybody writes the fill byte
    data = written(odd, subtype=subtype)
    data = data[: data.index(b"data") + 8 + len(odd) * (3 if subtype == "PCM_24" else 1)] + fill + behind
    (tmp_path / "a.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert len(audio.read(tmp_path / "a.wav")) == len(odd)


@pytest.mark.parametrize("told", [(1 << 32) + 4000, 0xFFFFFFFF])
def test_a_wav_beyond_4_gib_is_whole(tmp_path, told):
    length, path = (1 << 32) + 4000, tmp_path / "a.wav"
    with open(path, "wb") as file:  # on most disks this takes some kilobytes
        file.write(sizes(WAV, 0xFFFFFFFF, told % (1 << 32))[:44])
        file.seek(44 + 4000)
        file.write(b"\1\1")
        file.seek(44 + length - 2)
        file.write(b"\0\x40")
    assert audio.probe(path).frames == length // 2
    assert audio.read(path, (length // 2 - 100) / RATE).values[-1] == 0.5


def test_a_tag_behind_a_flac_is_none_of_it(tmp_path):
    (tmp_path / "a.flac").write_bytes(written(TALK, format="FLAC") + b"TAG" + bytes(125))
    np.testing.assert_allclose(audio.read(tmp_path / "a.flac").values, TALK, atol=1e-4)


@pytest.mark.parametrize("sizes_said", [(0, 0), (36 + 6000, 6000)])
def test_a_killed_recorder_may_have_begun_in_silence(tmp_path, sizes_said):
    x = np.concatenate([np.zeros(2 * RATE, np.float32), TALK])
    (tmp_path / "a.wav").write_bytes(sizes(written(x), *sizes_said))
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav").values, x, atol=1e-4)


@pytest.mark.parametrize("kind", ["CAF", "NIST", "AU", "W64", "AIFF", "RF64", "VOC", "OPUS", "VORBIS", "WMA", "MOV"])
def test_what_has_lost_its_end_is_named(tmp_path, kind):
    path = tmp_path / "a"
    if kind in ("WMA", "MOV"):
        codec, form = ("wmav2", "asf") if kind == "WMA" else ("pcm_s16le", "mov")
        encode(path, TALK, 44_100, codec, form, bit_rate=64_000,
               muxer={"movflags": "faststart"} if kind == "MOV" else {})  # fmt: skip
    else:
        path.write_bytes(written(TALK, **({"format": "OGG", "subtype": kind} if kind in ("OPUS", "VORBIS") else
                                          {"format": kind})))  # fmt: skip
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(InputError, match="truncated"):
        audio.read(path)


# ---------------------------------------------------------------------------------------------- time


def streams(path, kind, codec, voices, shift=lambda s: s, picture=False):
    """A container of several voices (n,) at 48 kHz; packets of second s lie at second `shift(s)`."""
    with av.open(str(path), "w", format=kind) as container:
        tracks = [container.add_stream(codec, rate=48_000, layout="mono") for _ in voices]
        if picture:
            video = container.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
            for k in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 25 * k, np.uint8), format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, 10)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        for track, x in zip(tracks, voices, strict=True):
            size = track.codec_context.frame_size or 960
            for k in range(len(x) // size):
                piece = np.ascontiguousarray(x[None, k * size : (k + 1) * size], np.float32)
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, k * size, Fraction(1, 48_000)
                for packet in track.encode(frame):
                    packet.pts = packet.dts = round(shift(float(packet.pts * packet.time_base)) / packet.time_base)
                    container.mux(packet)


@pytest.mark.parametrize(("kind", "codec"), [("matroska", "aac"), ("mp4", "aac")])
def test_what_is_said_after_a_muted_stretch_keeps_its_time(tmp_path, kind, codec):
    click = np.zeros(48_000 * 3, np.float32)
    click[96_000:96_480] = 0.5 * np.sin(np.arange(480))  # at 2 s, 5 s with the hole
    streams(tmp_path / "a", kind, codec, [click], lambda s: s + 3 if s > 1 else s)
    assert audio.probe(tmp_path / "a").duration_s == pytest.approx(6.0, abs=0.1)
    assert abs(audio.read(tmp_path / "a").values).argmax() / RATE == pytest.approx(5.0, abs=0.05)
    check_stretches(tmp_path / "a")


def test_sound_that_begins_after_its_picture_keeps_its_time(tmp_path):
    click = np.zeros(48_000 * 2, np.float32)
    click[48_000:48_480] = 0.5 * np.sin(np.arange(480))
    streams(tmp_path / "a", "matroska", "aac", [click], lambda s: s + 2, picture=True)
    assert abs(audio.read(tmp_path / "a").values).argmax() / RATE == pytest.approx(3.0, abs=0.05)


def test_a_second_stream_is_said_to_be_there(tmp_path):
    x = np.repeat(TALK, 3)
    streams(tmp_path / "a", "matroska", "aac", [x, x])
    assert audio.probe(tmp_path / "a").note == "2 audio streams, the first is read"


# ---------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize(("bits", "subtype"), [(16, "FLOAT"), (16, "DOUBLE"), (24, "FLOAT"), (32, "DOUBLE")])
@pytest.mark.parametrize("channels", [1, 2])
def test_integers_stored_as_floats_are_scaled_back_and_said(tmp_path, bits, subtype, channels):
    x = np.repeat(TALK[:, None], channels, 1)
    sf.write(tmp_path / "a.wav", x * 2.0 ** (bits - 1), RATE, subtype=subtype)
    assert f"integers of {bits} bits" in audio.probe(tmp_path / "a.wav").note
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav").values, TALK, atol=1e-6)
    check_stretches(tmp_path / "a.wav")


@pytest.mark.parametrize("value", [1e30, -1e20, 5000.0])
def test_samples_no_scale_explains_are_refused(tmp_path, value):
    x = TALK.copy()
    x[7000] = value
    sf.write(tmp_path / "a.wav", x, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav: samples that no scale explains"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize("kind", ["wav", "flac", "m4a"])
@pytest.mark.parametrize("second", [-1.0, -0.95])
def test_channels_that_cancel_are_heard_one_at_a_time(tmp_path, kind, second):
    path = tmp_path / f"a.{kind}"
    sf.write(tmp_path / "a.flac", np.stack([TALK, second * TALK], 1), RATE)
    if kind == "wav":
        sf.write(path, 0.1 + np.stack([second * TALK, TALK], 1), RATE)  # an offset is no sound
    elif kind == "m4a":
        with av.open(str(path), "w", format="ipod") as container:
            stream = container.add_stream("alac", rate=RATE)
            stream.layout = "stereo"
            pair = np.ascontiguousarray(np.stack([TALK, second * TALK])[:, : len(TALK) // 4096 * 4096])
            for at in range(0, pair.shape[1], 4096):
                piece = np.ascontiguousarray((pair[:, at : at + 4096] * 32767).astype(np.int16))
                frame = av.AudioFrame.from_ndarray(piece, format="s16p", layout="stereo")
                frame.sample_rate, frame.pts = RATE, at
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    assert "channels cancel" in audio.probe(path).note
    found = audio.read(path).values
    found, expected = found - found.mean(), TALK[: len(found)] - TALK[: len(found)].mean()
    np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-3)  # either channel will do


@pytest.mark.parametrize(("channels", "at"), [(2, 0), (2, 1), (6, 3)])
def test_channels_that_hold_nothing_do_not_count(tmp_path, channels, at):
    x = np.zeros((len(TALK), channels), np.float32)
    x[:, at] = TALK
    sf.write(tmp_path / "a.wav", x, RATE, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav").values, TALK, atol=1e-7)
    assert audio.probe(tmp_path / "a.wav").note == ""


def test_a_level_is_the_loudest_sample_whatever_the_offset():
    rng = np.random.default_rng(0)
    assert audio.level(np.full(16_000, 0.3)) == pytest.approx(0, abs=1e-9)
    assert audio.level(0.5 + np.sin(np.arange(16_000))) == pytest.approx(1, abs=0.01)
    assert audio.level(1e-5 * rng.standard_normal(16_000)) < audio.QUIET < audio.level(1e-3 * rng.standard_normal(99))
    assert audio.level(np.zeros(1)) == 0


def test_damage_elsewhere_does_not_spoil_a_stretch(tmp_path):
    x = np.stack([TALK, TALK], 1)
    x[40_000, 1] = np.nan
    sf.write(tmp_path / "a.wav", x, RATE, subtype="FLOAT")
    assert len(audio.read(tmp_path / "a.wav", 0, 2)) == 2 * RATE
    with pytest.raises(InputError, match=r"near 2\.500 s"):
        audio.read(tmp_path / "a.wav", 2, 3)


# ---------------------------------------------------------------------------------------------- what is no recording


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123456\n",
            "git-lfs pointer.*123456 bytes",
        ),
        (b"../../.git/annex/objects/Xx/1/SHA256E-s99--1.wav/SHA256E-s99--1.wav\n", "git-annex"),
        (b"\n<!DOCTYPE html>\n<html><title>404</title></html>", "web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
        ("path,emotion\n".encode("utf-16") * 99, "text"),
        (WAV[:20] + b"\x34\x12" + WAV[22:], "unknown codec"),
        (WAV[:20] + b"\x71\x67" + WAV[22:], "unknown codec"),
        (WAV[:24] + struct.pack("<I", 1) + WAV[28:], "a rate no recording has"),
        (WAV[:24] + struct.pack("<I", 2**31 - 1) + WAV[28:], "a rate no recording has"),
        (WAV[:22] + bytes(2) + WAV[24:], "truncated or damaged|not an audio file"),
        (sizes(WAV[:44], 36 + 12, 0) + b"LIST\x04\0\0\0INFO", "no samples"),
        (np.random.default_rng(3).integers(0, 256, 30_000, dtype="u1").tobytes(), "not an audio file"),
    ],
)
def test_what_is_no_recording_is_called_by_its_name(tmp_path, data, what):
    for name in ("a.wav", "a.mp3"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=what) as error:
            audio.read(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------- names


def test_every_verb_sees_the_same_recordings(tmp_path):
    from sottovoce.data import recordings

    seen = ["a.caf", "b.sph", "c.AMR", "d/e.m4b", "d/f.3gp", "g.aiff", "h.au", "i.wma", "j.mka", "k.wav", "l.oga"]
    for name in [*seen, "notes.txt", ".hidden.wav", "._k.wav", "a.csv", "__MACOSX/a.wav", ".git/b.wav"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "x.wav").mkdir()
    (tmp_path / "x.wav" / "y.flac").write_bytes(b"")
    seen.append("x.wav/y.flac")
    assert recordings.recordings_below(tmp_path) == _layout.audio(tmp_path) == sorted(seen)
    assert [p.relative_to(tmp_path).as_posix() for p in recordings.audio_files([tmp_path])] == sorted(
        seen, key=lambda n: tmp_path / n
    )


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file systems that hold names, not bytes")
@pytest.mark.parametrize("name", [b"J\xfcrgen.wav", b"\xe9t\xe9.flac", b"\x83e.mp3", b"caf\xe9/a.wav"])
def test_a_name_that_is_not_utf8_is_a_sentence(tmp_path, sottovoce, name):
    root = tmp_path / "c"
    for emotion in ("angry", "happy"):
        (root / emotion).mkdir(parents=True)
        for k in range(3):
            sf.write(root / emotion / f"{k}.wav", TALK[:RATE], RATE)
    strange = os.path.join(os.fsencode(root / "angry"), name)
    os.makedirs(os.path.dirname(strange), exist_ok=True)
    os.rename(root / "angry" / "0.wav", strange)
    assert "not UTF-8" in sottovoce("prepare", "folder", root, "-o", tmp_path / "p").complaint
    assert not (tmp_path / "p").exists()
    with pytest.raises(InputError, match="not UTF-8"):
        recordings.spelt(os.fsdecode(strange))
    if name.endswith(b".wav"):
        assert len(audio.read(os.fsdecode(strange))) == RATE  # the samples are there all the same


@pytest.mark.skipif(sys.platform == "win32", reason="no colons in names")
@pytest.mark.parametrize("name", ["2026-01-01T10:30:00.m4a", "data:,x.m4a", "file:b.m4a"])
def test_a_name_with_a_colon_is_no_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "b.m4a", TALK[:RATE], RATE, "aac", "mp4")
    encode(tmp_path / "a", TALK, RATE, "aac", "mp4").rename(name)
    assert audio.probe(name).duration_s > 2.9


def test_nothing_is_passed_over_in_a_folder(tmp_path, monkeypatch):
    sf.write(tmp_path / "a.wav", TALK, RATE)
    (tmp_path / "gone.wav").symlink_to("/gone/.git/annex/objects/x.wav")
    (tmp_path / "gone.txt").symlink_to("/gone/notes.txt")
    found = list(recordings.audio_files([tmp_path]))
    assert [p.name for p in found] == ["a.wav", "gone.wav"]
    with pytest.raises(InputError, match="no such file"):
        audio.probe(found[1])

    def refused(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(InputError, match=r"cannot be read\. Permission denied"):
        recordings.recordings_below(tmp_path)


def test_a_recording_that_may_not_be_read_is_a_sentence(tmp_path, monkeypatch):
    sf.write(tmp_path / "a.wav", TALK, RATE)

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(containers.archives, "opened", refused)
    with pytest.raises(InputError, match=r"a\.wav: cannot be read\. Permission denied\. Check"):
        audio.read(tmp_path / "a.wav")


def test_a_segment_of_no_sample_is_told_by_its_own_length(tmp_path):
    sf.write(tmp_path / "a.wav", TALK, RATE)
    with pytest.raises(InputError, match=r"Found 0\.000010 s from 1\.00001 s on"):
        audio.read(tmp_path / "a.wav", 1.00001, 1.00002)


def test_a_view_is_what_it_shows(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    view = containers.view(tmp_path / "a", 10, 50, b"head")
    assert view.read() == b"head" + bytes(range(10, 50))
    assert view.seek(-3, 2) == 41
    assert view.read(10) == bytes([47, 48, 49])
    view.seek(2)
    assert view.read(4) == b"ad\x0a\x0b"


@pytest.mark.parametrize("line", ["file other.wav", "file ./other.wav"])
def test_a_playlist_opens_no_other_file(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sf.write(tmp_path / "other.wav", speech(1.0), RATE)
    (tmp_path / "talk.wav").write_text(f"ffconcat version 1.0\n{line}\n")
    assert audio.probe("other.wav").duration_s == 1.0
    with pytest.raises(InputError, match="not an audio file"):
        audio.probe("talk.wav")


@pytest.mark.parametrize("rate_hz", [0, -16000, 10**9])
def test_a_rate_that_nothing_has_is_refused(tmp_path, rate_hz):
    sf.write(tmp_path / "a.wav", np.zeros(1000), 16000)
    with pytest.raises(InputError, match="rate_hz is samples a second"):
        audio.read(tmp_path / "a.wav", rate_hz=rate_hz)


@pytest.mark.parametrize("kind", ["WAV", "RF64", "AU", "AIFF", "CAF", "W64", "FLAC", "OGG"])
def test_the_first_bytes_of_a_file_are_no_recording(tmp_path, kind):
    """A download that has just begun, at every length of its header."""
    sf.write(tmp_path / "x", np.zeros(800), 16_000, format=kind)
    data = (tmp_path / "x").read_bytes()
    for length in range(40):
        (tmp_path / "a.wav").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.wav: "):
            audio.read(tmp_path / "a.wav")
