"""Audio in: any rate, channel count and container becomes the same clean signal, and damage is one line."""

import builtins
import tracemalloc

import numpy as np
import pytest
import soundfile as sf

from sottovoce import files
from sottovoce.data import audio
from sottovoce.errors import InputError

TONE_HZ = 440.0


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    t = np.arange(round(rate * seconds)) / rate
    samples = 0.5 * np.sin(2 * np.pi * TONE_HZ * t)
    return samples if channels == 1 else np.repeat(samples[:, None], channels, axis=1)


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(frames)


def peak_hz(samples: np.ndarray, rate: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 19))
    return float(spectrum.argmax() * rate / (1 << 19))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_keeps_its_frequency_level_and_length_at_every_rate(tmp_path, rate):
    sf.write(tmp_path / "a.wav", tone(rate), rate)
    track = audio.read(tmp_path / "a.wav")
    assert track.rate_hz == 16_000
    assert track.values.dtype == np.float32
    assert abs(len(track) - 16_000) <= 1
    assert peak_hz(track.values, 16_000) == pytest.approx(TONE_HZ, abs=0.2)
    assert np.abs(track.values[2000:-2000]).max() == pytest.approx(0.5, abs=0.002)
    np.testing.assert_allclose(track.values[2000:14000], tone(16_000)[2000:14000], atol=2e-3)  # no delay either


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels", "tolerance"),
    [
        ("a.wav", "PCM_16", 8_000, 1, 1e-3),
        ("a.wav", "PCM_24", 44_100, 2, 1e-3),
        ("a.wav", "PCM_U8", 16_000, 1, 1e-2),
        ("a.wav", "FLOAT", 192_000, 1, 1e-3),
        ("a.wav", "PCM_16", 16_000, 8, 1e-3),
        ("a.wav", "ULAW", 8_000, 1, 3e-2),
        ("a.flac", "PCM_24", 48_000, 8, 1e-3),
        ("a.flac", "PCM_16", 16_000, 2, 1e-3),
        ("a.ogg", "VORBIS", 44_100, 2, 3e-2),
        ("a.mp3", None, 44_100, 2, 3e-2),
        ("a.aiff", "PCM_16", 22_050, 1, 1e-3),
    ],
)
def test_every_container_gives_the_same_signal(tmp_path, name, subtype, rate, channels, tolerance):
    path = tmp_path / name
    sf.write(path, tone(rate, 1.0, channels), rate, subtype=subtype)
    info = audio.probe(path)
    assert (info.rate_hz, info.channels) == (rate, channels)
    assert info.decoder == ("av" if name == "a.mp3" else "soundfile")
    assert info.duration_s == pytest.approx(1.0, abs=0.1)
    values = audio.read(path).values
    np.testing.assert_allclose(values[3000:12000], tone(16_000)[3000:12000], atol=tolerance)


def test_channels_are_averaged(tmp_path):
    left, right = noise(4000), noise(4000, 1)
    sf.write(tmp_path / "a.wav", np.stack([left, right], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav").values, (left + right) / 2, atol=1e-7)


def test_levels_are_left_as_they_are(tmp_path):
    quiet = (1e-4 * noise(4000)).astype(np.float32)
    sf.write(tmp_path / "quiet.wav", quiet, 16_000, subtype="FLOAT")
    sf.write(tmp_path / "loud.wav", 20 * noise(4000), 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(audio.read(tmp_path / "quiet.wav").values, quiet)
    assert np.abs(audio.read(tmp_path / "loud.wav").values).max() > 2


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (1.3, 2.1), (2.0, None), (0.01, 2.999)])
def test_a_stretch_equals_the_slice_of_the_whole(tmp_path, name, rate, start, end):
    sf.write(tmp_path / name, noise(3 * rate), rate)
    whole = audio.read(tmp_path / name).values
    part = audio.read(tmp_path / name, start, end).values
    expected = whole[round(start * 16_000) : None if end is None else round(end * 16_000)]
    np.testing.assert_allclose(part, expected, atol=1e-6)


def test_a_stretch_of_a_long_file_does_not_decode_the_rest(tmp_path):
    sf.write(tmp_path / "long.wav", np.zeros(44_100 * 120, np.int16), 44_100)
    tracemalloc.start()
    audio.read(tmp_path / "long.wav", 100.0, 101.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6  # the whole is 21 MB as float32


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("seconds", [0.013, 0.7, 100.0])
def test_blocks_join_to_the_whole(tmp_path, rate, seconds):
    sf.write(tmp_path / "a.flac", noise(round(3.21 * rate)), rate)
    pieces = list(audio.blocks(tmp_path / "a.flac", seconds))
    whole = audio.read(tmp_path / "a.flac").values
    np.testing.assert_allclose(np.concatenate([p.values for p in pieces]), whole, atol=1e-6)
    size = round(seconds * 16_000)
    assert all(len(p) == size for p in pieces[:-1])
    np.testing.assert_allclose([p.offset_s for p in pieces], np.arange(len(pieces)) * size / 16_000)


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
def test_a_long_recording_lies_in_a_file_and_is_the_same(tmp_path, monkeypatch, rate):
    x = np.random.default_rng(0).normal(0, 0.1, (rate + 777, 2)).astype(np.float32)
    sf.write(tmp_path / "a.wav", x, rate, subtype="FLOAT")
    short = audio.read(tmp_path / "a.wav").values
    monkeypatch.setattr(files, "LARGE", 1000)
    long = audio.read(tmp_path / "a.wav").values
    assert isinstance(long.base, np.memmap) or isinstance(long.base.base, np.memmap)
    assert long.dtype == np.float32
    np.testing.assert_allclose(long, short, atol=2e-6)


def test_a_recording_longer_than_its_header_says_is_kept_whole(monkeypatch):
    monkeypatch.setattr(files, "LARGE", 10)
    pieces = np.split(np.arange(50, dtype=np.float32), [7, 20, 33])
    assert audio._joined(iter(pieces), 12).tolist() == list(range(50))


def test_blocks_hold_no_more_than_they_must(tmp_path):
    sf.write(tmp_path / "long.wav", np.zeros(44_100 * 300, np.int16), 44_100)
    tracemalloc.start()
    total = sum(len(block) for block in audio.blocks(tmp_path / "long.wav", 5.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 300 * 16_000
    assert peak < 6e6  # the whole is 53 MB


@pytest.mark.parametrize("rate", [8_000, 16_000, 192_000])
def test_fifty_milliseconds_are_enough(tmp_path, rate):
    sf.write(tmp_path / "a.wav", noise(rate // 20), rate)
    assert len(audio.read(tmp_path / "a.wav")) == 800


# -- PyAV ---------------------------------------------------------------------------------------------------


def encode(path, rate: int, channels: int, codec: str, seconds: float = 3.0) -> None:
    av = pytest.importorskip("av")
    samples = np.ascontiguousarray(tone(rate, seconds, 2)[:, :channels].T.astype(np.float32))
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        for at in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray(samples[:, at : at + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels"),
    [("a.m4a", "aac", 44_100, 2), ("a.mp4", "aac", 16_000, 1), ("a.webm", "libopus", 48_000, 2)],
)
def test_other_containers_are_read_through_pyav(tmp_path, name, codec, rate, channels):
    path = tmp_path / name
    encode(path, rate, channels, codec)
    info = audio.probe(path)
    assert (info.rate_hz, info.channels, info.decoder) == (rate, channels, "av")
    assert info.duration_s == pytest.approx(3.0, abs=0.1)
    whole = audio.read(path).values
    assert peak_hz(whole[:32000], 16_000) == pytest.approx(TONE_HZ, abs=0.3)
    assert np.abs(whole[8000:40000]).max() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(audio.read(path, 1.5, 2.5).values, whole[24_000:40_000], atol=1e-4)
    joined = np.concatenate([b.values for b in audio.blocks(path, 0.4)])
    np.testing.assert_allclose(joined, whole, atol=1e-6)


def test_without_pyav_the_error_says_what_to_install(tmp_path, monkeypatch):
    encode(tmp_path / "a.m4a", 16_000, 1, "aac")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"a\.m4a: .*pip install av"):
        audio.read(tmp_path / "a.m4a")


# -- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.m4a", "a.webm"])
def test_truncated_files_are_noticed(tmp_path, name):
    path = tmp_path / name
    if name in ("a.m4a", "a.webm"):
        encode(path, 48_000, 1, "aac" if name == "a.m4a" else "libopus")
    else:
        sf.write(path, noise(3 * 44_100), 44_100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    for use in (audio.read, lambda p: list(audio.blocks(p, 1.0))):
        with pytest.raises(InputError, match=r"truncated|damaged") as error:
            use(path)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_a_wav_written_to_a_pipe_is_not_called_truncated(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, noise(16_000), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = b"\xff\xff\xff\xff"  # what ffmpeg leaves when it cannot seek back
    path.write_bytes(data)
    assert len(audio.read(path)) == 16_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "empty file"),
        ("text.wav", b"This is not audio.\n" * 50, "not an audio file"),
        ("zeros.flac", bytes(5000), "not an audio file"),
        ("bytes.raw", b"ab" * 4000, "not an audio file"),
        ("header.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "not an audio file|truncated"),
    ],
)
def test_what_is_not_audio_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        audio.read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_missing_files_folders_and_files_without_samples_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.wav: no such file"):
        audio.read(tmp_path / "no.wav")
    with pytest.raises(InputError, match="a folder"):
        audio.probe(tmp_path)
    sf.write(tmp_path / "zero.wav", np.zeros(0), 16_000)
    with pytest.raises(InputError, match="no samples"):
        audio.read(tmp_path / "zero.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_samples_that_are_not_numbers_are_located(tmp_path, rate, value):
    samples = noise(2 * rate)
    samples[rate] = value
    sf.write(tmp_path / "a.wav", np.stack([noise(2 * rate), samples], 1), rate, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav: .*not numbers.*1 NaN or infinite near 1\.000 s"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (1.0, None, "beyond the end"),
        (7.0, 8.0, "beyond the end"),
        (-0.1, None, "not a time"),
        (float("nan"), None, "not a time"),
        (0.5, 0.5, "not after"),
        (0.5, 1.6, "end 1.6 s is beyond"),
    ],
)
def test_stretches_outside_the_file_are_refused(tmp_path, start, end, message):
    sf.write(tmp_path / "a.wav", noise(16_000), 16_000)
    with pytest.raises(InputError, match=message):
        audio.read(tmp_path / "a.wav", start, end)


def test_an_end_that_is_rounded_too_late_is_cut(tmp_path):
    sf.write(tmp_path / "a.wav", noise(16_000), 16_000)
    assert len(audio.read(tmp_path / "a.wav", 0.5, 1.2)) == 8000
