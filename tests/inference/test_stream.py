"""Streams: the same samples give the same events, however they are portioned, and those of the recording."""

import itertools
import sys
import types

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data import audio
from sottovoce.data.corpus import Corpus
from sottovoce.errors import InputError
from sottovoce.inference import activity, microphone
from sottovoce.inference.recogniser import Recogniser, load
from sottovoce.inference.sound import Sound
from sottovoce.inference.timeline import LIVE, LONG, Timing

RATE = 16000


@pytest.fixture(scope="module")
def recogniser(finetuned):
    return load(finetuned / "fold1", vad="loudness")


@pytest.fixture(scope="module")
def wave(corpus):
    data = Corpus.load(corpus)
    ids = data.fold("fold1").test[:8]
    waves = [audio.read(data.root / data.by_id[k].path).values for k in ids]
    return np.concatenate([waves[0], np.zeros(RATE, np.float32), *waves[1:]])


@pytest.fixture(scope="module")
def events(recogniser, wave):
    return list(recogniser.stream([wave]))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 9 * RATE), max_size=12))
def test_any_portions_make_the_same_stream(recogniser, wave, events, cuts):
    assert list(recogniser.stream(np.split(wave, sorted(cuts)))) == events


def test_any_portions_make_the_same_stream_at_another_rate(recogniser, wave):
    fast = soxr.resample(wave[: 4 * RATE], RATE, 44100).astype(np.float32)
    whole = list(recogniser.stream([fast], 44100))
    assert list(recogniser.stream(np.array_split(fast, 97), 44100)) == whole


def test_events_tile_the_stream_and_say_nothing_of_pauses(events, wave):
    assert events[0].start == 0
    assert all(a.end == b.start for a, b in itertools.pairwise(events))
    assert events[-1].end == pytest.approx(len(wave) / RATE)
    assert any(not event.speech for event in events)
    assert all(bool(event.label) == event.speech for event in events)
    assert all(sum(event.probabilities.values()) == pytest.approx(1, abs=1e-5) for event in events)


def test_an_event_comes_as_soon_as_it_was_said_to(recogniser, wave):
    timing, heard = Timing(window_s=1.0), 0
    least = recogniser.latency_s(timing)

    def chunks():
        nonlocal heard
        for part in np.split(wave, range(1600, len(wave), 1600)):
            heard += len(part)
            yield part

    for event in recogniser.stream(chunks(), timing=timing):
        late = heard / RATE - event.start
        assert late <= least + 0.1 + 1e-6
    assert least == pytest.approx(0.5 + 0.125 + LIVE.step_s + LIVE.after_s)


def test_a_long_recording_is_the_stream_of_its_samples(recogniser, wave):
    long = np.tile(wave, 5)
    found = recogniser((long, RATE))
    stream = np.array([list(event.probabilities.values()) for event in recogniser.stream([long], pieces=LONG)])
    np.testing.assert_allclose(stream[found.speech], found.posteriors[found.speech], atol=1e-6)
    assert found.duration_s > 30


def test_a_model_that_must_know_more_does_not_stream(recogniser):
    other = Recogniser(recogniser.models)
    other.per_speaker = True
    with pytest.raises(InputError, match="stream: "):
        next(other.stream([]))


@pytest.mark.parametrize("bad", [np.zeros((10, 2)), np.full(10, np.nan)])
def test_what_is_no_sound_is_refused(recogniser, bad):
    with pytest.raises(InputError, match="chunks are samples"):
        list(recogniser.stream([bad]))


def test_portions_are_of_one_size():
    parts = list(audio.portions(iter(np.split(np.arange(100), [3, 3, 50, 51])), 8))
    assert [len(p) for p in parts] == [8] * 12 + [4]
    assert np.concatenate(parts).tolist() == list(range(100))


def device(wave, error=None, each=0):
    """A module that plays a recording as a microphone."""

    class InputStream:
        def __init__(self, rate, size, name, *, channels, dtype, callback, finished_callback):
            assert (rate, channels, dtype) == (RATE, 1, "float32")
            if error:
                raise ValueError(error)
            cuts = range(each, len(wave), each) if each else (size, 3 * size)
            self.play = lambda: [callback(part[:, None], size, None, None) for part in np.split(wave, list(cuts))]
            self.done = finished_callback

        def __enter__(self):
            self.play()
            self.done()

        def __exit__(self, *_):
            pass

    return types.SimpleNamespace(InputStream=InputStream, PortAudioError=OSError)


def test_the_microphone_is_a_stream(sottovoce, finetuned, wave, events, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", device(wave))
    assert np.concatenate(list(microphone.chunks())).tolist() == wave.tolist()
    done = sottovoce("predict", finetuned / "fold1", "--mic", "--vad", "loudness")
    assert done.code == 0
    assert "answers come 2.6 s after the voice" in done.err
    for label in {event.label for event in events}:
        assert (label or "nobody") in done.out
    monkeypatch.setitem(sys.modules, "sounddevice", device(wave, "no such device"))
    assert "no such device" in sottovoce("predict", "--model", finetuned / "fold1", "--mic").complaint
    assert "takes no recordings" in sottovoce("predict", "--mic", __file__).complaint
    assert "answers live. Found --timeline" in sottovoce("predict", "--mic", "--timeline").complaint
    assert "Found no --mic" in sottovoce("predict", __file__, "--device", "2").complaint
    assert "Found no --timeline" in sottovoce("predict", __file__, "--format", "csv").complaint
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "sottovoce[live]" in sottovoce("predict", "--model", finetuned / "fold1", "--mic").complaint


def test_a_microphone_faster_than_its_reader_is_not_kept_without_end(wave, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", device(np.arange(40, dtype=np.float32), each=4))
    monkeypatch.setattr(microphone, "HELD", 4)
    heard = np.concatenate(list(microphone.chunks()))  # all is played before the first block is read
    assert heard.tolist() == list(range(32, 40))
    assert capsys.readouterr().err.count("the model is slower than the voice") == 2


def test_the_terminal_shows_the_classes(events):
    from collections import deque

    from rich.console import Console

    from sottovoce.commands import _live

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(_live.picture(deque(events), tuple(events[0].probabilities)))
    assert "neutral" in console.export_text()


def test_silero_hears_speech_and_no_noise(monkeypatch):
    """Vowels of a synthetic voice are no speech to it, so noise and silence are what can be planted."""
    pytest.importorskip("onnxruntime")
    monkeypatch.undo()
    if activity.silero_file() is None:
        pytest.skip("no silero-vad")
    noise = 0.01 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    one, other = activity.activity("silero", Sound()), activity.activity("auto", Sound())
    one.feed(noise)
    for part in np.array_split(noise, 17):
        other.feed(part)
    for ear in (one, other):
        ear.finish()
    assert isinstance(other, activity.Silero)
    assert not one.so_far().any()
    assert one.so_far().tolist() == other.so_far().tolist()
    assert len(one.so_far()) == -(-len(noise) // 512)


def test_silero_that_is_missing_is_named_before_a_recording_is_read(finetuned):
    with pytest.raises(InputError, match=r"sottovoce\[vad\]"):
        load(finetuned / "fold1", vad="silero")
    with pytest.raises(InputError, match="one of auto, silero, loudness"):
        load(finetuned / "fold1", vad="ear")
