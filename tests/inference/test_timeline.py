"""Emotion over time: what cells hear, where segments lie, and that a long recording is heard as its pieces are."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from sottovoce.data import audio
from sottovoce.data.corpus import Corpus
from sottovoce.data.track import Track
from sottovoce.errors import InputError
from sottovoce.inference import formats, sound, timeline
from sottovoce.inference import recogniser as recognisers
from sottovoce.inference.listening import Listening
from sottovoce.inference.recogniser import load
from sottovoce.inference.timeline import LIVE, LONG, Pieces, Timing
from sottovoce.inference.turns import Turn

RATE = 16000
CLOSE = Timing(window_s=1.0, hop_s=0.25, smooth_s=0, shortest_s=0)


@pytest.fixture(scope="module")
def recogniser(finetuned):
    return load(finetuned / "fold1", vad="loudness")


@pytest.fixture(scope="module")
def clips(corpus):
    """emotion -> one wave of all recordings of fold1's test speakers."""
    data = Corpus.load(corpus)
    found: dict[str, list[np.ndarray]] = {}
    for k in data.fold("fold1").test:
        u = data.by_id[k]
        found.setdefault(str(u.labels["emotion"]), []).append(audio.read(data.root / u.path).values)
    return {emotion: np.concatenate(waves) for emotion, waves in found.items()}


def said(clips, *emotions, seconds):
    return np.concatenate([np.resize(clips[e], round(seconds * RATE)) for e in emotions])


# ---------------------------------------------------------------------------------------------- cells and segments


@pytest.mark.parametrize("hop_s", [0.0503, 0.050031])
def test_cells_and_segments_count_the_same_samples(recogniser, clips, hop_s):
    found = recogniser((said(clips, "sad", seconds=200.0), RATE), timing=Timing(hop_s=hop_s, smooth_s=0, shortest_s=0))
    last = np.flatnonzero(found.speech)[-1]
    assert found.segments[-1]["end"] == pytest.approx(found.times_s[last] + found.hop_s / 2, abs=found.hop_s / 2 + 1e-3)
    assert found.hop_s * RATE == round(found.hop_s * RATE)


def test_cells_tile_a_recording_and_segments_lie_on_them(recogniser, clips):
    wave = said(clips, "sad", "angry", "sad", seconds=3.0)[: 9 * RATE - 1000]
    found = recogniser((wave, RATE), timing=CLOSE)
    assert len(found.times_s) == 36
    np.testing.assert_allclose(found.times_s[:-1], np.arange(35) * 0.25 + 0.125)
    assert found.times_s[-1] == pytest.approx((8.75 + found.duration_s) / 2)
    assert all(a["end"] <= b["start"] for a, b in zip(found.segments, found.segments[1:], strict=False))
    assert found.segments[-1]["end"] <= found.duration_s + 1e-3
    spans = sum(s["end"] - s["start"] for s in found.segments)
    assert spans == pytest.approx(found.speech.sum() * 0.25, abs=0.25)


def test_a_change_of_emotion_half_way_is_seen(recogniser, clips):
    found = recogniser((said(clips, "sad", "angry", seconds=6.0), RATE), timing=CLOSE)
    frame = found.timeline[found.speech]
    first, second = frame[frame.time_s < 5.5], frame[frame.time_s > 6.5]
    assert first.sad.mean() > second.sad.mean() + 0.2
    assert second.angry.mean() > first.angry.mean() + 0.2


def test_what_is_pooled_of_spans_is_what_is_pooled_of_them_alone(finetuned):
    """Sums over all states before each one, against the pooling itself."""
    import torch

    from sottovoce.backbones.base import Hidden
    from sottovoce.modeling.heads import Pooling

    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(40, 6, generator=generator) for _ in range(2)]
    first, last = torch.tensor([0, 3, 17, 39]), torch.tensor([40, 12, 18, 40])
    for how in ("mean", "statistics", "attentive", "dynamics"):
        pooling = Pooling(2, 6, temporal_pooling=how)
        with torch.no_grad():
            found = pooling.spans(layers, torch.ones(40), first, last)
            for row, a, b in zip(found, first.tolist(), last.tolist(), strict=True):
                alone = pooling(Hidden([x[None, a:b] for x in layers], torch.tensor([b - a])))[0]
                torch.testing.assert_close(row, alone, atol=1e-4, rtol=1e-4)


COURSE = np.array([[0.9, 0.1]] * 8 + [[0.4, 0.6]] + [[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 6)


def test_a_short_segment_goes_to_its_neighbours_and_a_lone_word_stays():
    there = np.ones(18, bool)
    plain = Timing(hop_s=0.25, smooth_s=0, shortest_s=0)
    kept = timeline.segments(COURSE, there, "ab", 4.5, plain)
    assert [(s["start"], s["end"], s["label"]) for s in kept] == [
        (0.0, 2.0, "a"), (2.0, 2.25, "b"), (2.25, 3.0, "a"), (3.0, 4.5, "b")
    ]  # fmt: skip
    least = Timing(hop_s=0.25, smooth_s=0, shortest_s=0.5)
    joined = timeline.segments(COURSE, there, "ab", 4.5, least)
    assert [(s["start"], s["end"], s["label"]) for s in joined] == [(0.0, 3.0, "a"), (3.0, 4.5, "b")]
    assert joined[0]["confidence"] == pytest.approx((11 * 0.9 + 0.4) / 12)
    there[[7, 9]] = False  # pauses around the short one
    assert [s["label"] for s in timeline.segments(COURSE, there, "ab", 4.5, least)] == ["a", "b", "a", "b"]


def test_smoothing_does_not_reach_across_a_pause():
    values, there = np.array([[1.0], [1.0], [5.0], [0.0], [0.0]]), np.array([True, True, False, True, True])
    found = timeline.smoothed(values, there, 3)[:, 0]
    np.testing.assert_allclose(found, [1.0, 1.0, 5.0, 0.0, 0.0])
    assert timeline.smoothed(values, np.ones(5, bool), 3)[1, 0] == pytest.approx(7 / 3)


# ---------------------------------------------------------------------------------------------- silence


def test_pauses_are_called_nothing(recogniser, clips):
    wave = np.concatenate([np.zeros(2 * RATE), said(clips, "sad", seconds=3.0), np.zeros(2 * RATE)])
    found = recogniser((wave, RATE))
    assert not found.speech[:7].any()
    assert not found.speech[-7:].any()
    assert found.speech[9:19].mean() > 0.8
    assert found.segments[0]["start"] >= 1.75
    assert found.segments[-1]["end"] <= 5.25


def test_silence_behind_speech_has_no_say_however_long_it_is(recogniser, clips):
    speech, answers = said(clips, "angry", seconds=5.0), []
    for seconds in (40, 70):
        found = recogniser((np.concatenate([speech, np.zeros(seconds * RATE)]), RATE))
        assert "pauses, which were left out" in found.warnings[-1]
        answers.append(found.answer)
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_speech_is_found_by_loudness(noise):
    rng = np.random.default_rng(0)
    loud = np.repeat(
        [0, 1, 0, 1, 0], [RATE, 2 * RATE, RATE // 4, 3 * RATE // 4, 2 * RATE]
    )  # a quarter of a second is no pause
    heard = sound.Sound()
    for part in np.array_split((0.1 * loud + noise) * rng.standard_normal(len(loud)), 7):
        heard.feed(part.astype(np.float32))
    heard.finish()
    there = sound.speech(heard.levels)
    share = sound.share(there, 50.0, np.arange(0, 6, 0.5), np.arange(0.5, 6.5, 0.5))
    assert (share > 0.5).astype(int).tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "said_of_it"),
    [
        (lambda x: x, []),
        (lambda x: np.clip(20 * x, -0.5, 0.5), ["clipped"]),
        (lambda x: 8 * x / np.abs(x).max(), ["8 times full scale"]),
        (lambda x: x[: RATE // 2], ["0.50 s: under a second"]),
    ],
)
def test_what_is_wrong_with_a_recording_is_said(clips, change, said_of_it):
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(4 * RATE).astype(np.float32) * np.abs(np.sin(np.arange(4 * RATE) / 3000)) * 0.05
    heard = sound.Sound()
    heard.feed(change(wave).astype(np.float32))
    heard.finish()
    assert len(heard.warnings()) == len(said_of_it)
    assert all(a in b for a, b in zip(said_of_it, heard.warnings(), strict=True))


def test_the_telephone_is_heard(recogniser, clips, tmp_path):
    wave = said(clips, "sad", seconds=3.0)
    soundfile.write(tmp_path / "a.wav", soxr.resample(wave, RATE, 8000), 8000)
    assert any("telephone band" in line for line in recogniser(tmp_path / "a.wav").warnings)
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE)
    assert not any("telephone" in line for line in recogniser((noise, RATE)).warnings)


# ---------------------------------------------------------------------------------------------- pieces


class Averages:
    """A voter whose states are means of 20 ms: what it says of a cell, arithmetic says too."""

    outputs = 1

    def states(self, frames, *, trim, speaker=None):
        return Track(frames.values[: len(frames) // 320 * 320].reshape(-1, 320).mean(1, keepdims=True), 50.0, 0.01)

    def pooled(self, states, first, last, valid):
        sums = np.concatenate([np.zeros((1, 1)), np.cumsum(states * valid[:, None], axis=0)])
        count = np.concatenate([[0], np.cumsum(valid)])
        return (sums[last] - sums[first]) / (count[last] - count[first])[:, None]

    def judge(self, pooled, speaker=None):
        return pooled


def heard(wave, pieces, portions, timing=CLOSE):
    voice = Listening([Averages()], lambda begin, x: Track(x, RATE), timing, pieces)
    for part in portions(wave):
        voice.feed(part)
    voice.finish()
    return voice.posteriors[:, 0]


@pytest.mark.parametrize("seconds", [0.1, 11.8, 11.84, 13.44, 13.5, 23.68, 61.3])
@pytest.mark.parametrize("pieces", [LONG, LIVE, Pieces(1.6, 0.8, 0.0)])
def test_pieces_together_are_the_whole(seconds, pieces):
    """Where states hear nothing but themselves, no seam is left, whatever the pieces and the portions are."""
    wave = np.cumsum(np.random.default_rng(0).standard_normal(round(seconds * RATE))).astype(np.float32) / 1e3
    whole = heard(wave, Pieces(1000.0, 0.0, 0.0), lambda x: [x])
    for portions in (lambda x: [x], lambda x: np.array_split(x, 1 + len(x) // 5000)):
        np.testing.assert_allclose(heard(wave, pieces, portions), whole, atol=1e-4)
    cell = wave[: RATE // 4]  # and the first cell hears what it should
    near = wave[: int(0.625 * RATE)] if seconds > 1 else cell
    assert whole[0] == pytest.approx(near[: len(near) // 320 * 320].mean(), abs=0.02)


def test_a_piece_of_a_long_recording_is_heard_as_it_is_alone(recogniser, clips):
    """Cells whose windows lie in the own part of the first piece, against that piece as a stream of its own."""
    wave = said(clips, "sad", "angry", "happy", seconds=15.0)
    whole = recogniser((wave, RATE), timing=CLOSE)
    alone = recogniser.stream([wave[: LONG.span(0)[3]]], timing=CLOSE, pieces=LONG)
    cells = int((LONG.step_s - 0.5) / CLOSE.hop_s)
    first = np.array([list(event.probabilities.values()) for event in alone])[:cells]
    there = whole.speech[:cells]
    np.testing.assert_allclose(whole.posteriors[:cells][there], first[there], atol=1e-6)
    assert there.mean() > 0.3


def test_memory_does_not_grow_with_the_recording(recogniser, clips, tmp_path):
    """Twenty minutes against five: what is held is a block, a piece and the states of a window."""
    peaks = []
    for minutes in (5, 20):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.tile(said(clips, "sad", seconds=60.0), minutes), RATE)
        tracemalloc.start()
        found = recogniser(path, timing=Timing(hop_s=1.0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.duration_s == minutes * 60
        assert len(found.times_s) == minutes * 60
        path.unlink()
    assert peaks[1] - peaks[0] < 15e6  # the samples grow by 58 MB
    assert peaks[1] < 40e6


# ---------------------------------------------------------------------------------------------- channels and turns


def test_every_channel_is_a_speaker_and_is_heard_alone(recogniser, clips, tmp_path):
    left, right = said(clips, "sad", seconds=4.0), said(clips, "angry", seconds=4.0)
    path = tmp_path / "call.wav"
    soundfile.write(path, np.stack([left, right], axis=1), RATE)
    both = recogniser(path, channel="each")
    assert set(both.speakers) == {"left", "right"}
    frame = both.timeline
    for name, wave in (("left", left), ("right", right)):
        alone, single = recogniser(path, channel=name), recogniser((wave, RATE))
        np.testing.assert_allclose(alone.answer, single.answer, atol=1e-4)
        own = frame[frame.speaker == name][list(both.names)].to_numpy()
        np.testing.assert_allclose(own, alone.posteriors, atol=1e-5)
        assert [s["label"] for s in both.segments if s["speaker"] == name] == [s["label"] for s in alone.segments]
    assert list(both.plot().axes[0].get_xlim())
    with pytest.raises(InputError, match="no channel '3'"):
        recogniser(path, channel="3")


def test_a_channel_that_alone_has_speech_is_the_answer(recogniser, clips, tmp_path):
    wave = said(clips, "sad", "angry", seconds=4.0)
    for silent in (0, 1):
        voices = [wave, np.zeros_like(wave)]
        soundfile.write(tmp_path / "call.wav", np.stack(voices[::-1] if silent == 0 else voices, axis=1), RATE)
        both, alone = (
            recogniser(tmp_path / "call.wav", channel="each"),
            recogniser(tmp_path / "call.wav", channel=2 - silent),
        )
        np.testing.assert_array_equal(both.answer, alone.answer)
        assert both.label == alone.label


def test_channels_are_shown_in_their_order_whoever_begins(recogniser, clips, tmp_path):
    wave = said(clips, "sad", seconds=4.0)
    late = np.concatenate([np.zeros(RATE), wave[:-RATE]])
    soundfile.write(tmp_path / "call.wav", np.stack([late, late, wave], axis=1), RATE)
    found = recogniser(tmp_path / "call.wav", channel="each")
    assert found.segments[0]["speaker"] == "channel 3"
    formats.write(found, tmp_path / "call", ["textgrid"])
    tiers = [line.split('"')[1] for line in (tmp_path / "call.TextGrid").read_text().splitlines() if "name = " in line]
    assert [name for name in tiers if "emotion" in name] == ["left emotion", "right emotion", "channel 3 emotion"]
    assert [rows.get_ylabel() for rows in found.plot().axes][1:4] == ["left", "right", "channel 3"]


def test_channels_that_cancel_are_heard_one_by_one(recogniser, clips, tmp_path):
    wave = said(clips, "sad", seconds=3.0)
    soundfile.write(tmp_path / "x.wav", np.stack([wave, -wave], axis=1), RATE)
    assert "cancel" in recogniser(tmp_path / "x.wav").warnings[0]
    assert recogniser(tmp_path / "x.wav", channel="right").warnings == []


def test_a_cell_hears_the_speaker_whose_turn_it_is_alone(recogniser, clips):
    wave = said(clips, "sad", "angry", "sad", seconds=3.0)
    turns = [Turn(0.0, 3.0, "ann"), Turn(3.0, 6.0, "bob"), Turn(6.5, 9.0, "ann")]
    found = recogniser((wave, RATE), turns=turns, timing=Timing(window_s=6.0, smooth_s=0, shortest_s=0))
    frame = found.timeline
    assert set(frame.speaker[frame.speech]) == {"ann", "bob"}
    assert frame.speaker[25] == ""  # 6.375 s is nobody's
    assert not frame.speech[25]
    bob = frame[(frame.speaker == "bob") & frame.speech]
    assert bob.angry.std() < 1e-6  # six seconds around any of his cells hold all of his turn, and nothing else
    assert {s["speaker"] for s in found.segments if 3 <= s["start"] < 6} == {"bob"}


def test_turns_are_read_from_rttm_and_bad_lines_are_named(recogniser, clips, tmp_path):
    path = tmp_path / "call.wav"
    soundfile.write(path, said(clips, "sad", "angry", seconds=2.0), RATE)
    rttm = tmp_path / "call.rttm"
    rttm.write_text("SPEAKER call 1 0.0 2.0 <NA> <NA> ann <NA> <NA>\nSPEAKER call 1 2.0 2.0 <NA> <NA> bob <NA> <NA>\n")
    found = recogniser(path, turns=rttm)
    assert [s["speaker"] for s in found.segments] == sorted(s["speaker"] for s in found.segments)
    rttm.write_text("SPEAKER call 1 zero 2.0 <NA> <NA> ann\n")
    with pytest.raises(InputError, match="line 1 is no turn"):
        recogniser(path, turns=rttm)
    rttm.write_text("SPEAKER a 1 0 2 <NA> <NA> x\nSPEAKER b 1 0 2 <NA> <NA> x\n")
    with pytest.raises(InputError, match=r"no turns of call.wav. Found a, b"):
        recogniser(path, turns=rttm)


def test_turns_of_another_channel_are_nobody_s_here_and_a_mark_hides_no_line(recogniser, clips, tmp_path):
    path = tmp_path / "call.wav"
    soundfile.write(path, np.stack([said(clips, "sad", "angry", seconds=2.0)] * 2, axis=1), RATE)
    rttm = tmp_path / "call.rttm"
    lines = "SPEAKER call 1 0 4 <NA> <NA> ann <NA> <NA>\nSPEAKER call 2 1 3 <NA> <NA> bob <NA> <NA>\n"
    rttm.write_text(lines, encoding="utf-8-sig")
    for channel, people in (("left", {"ann"}), ("right", {"bob"}), ("2", {"bob"}), ("mix", {"ann", "bob"})):
        found = recogniser(path, channel=channel, turns=rttm)
        assert {s["speaker"] for s in found.segments} == people


def test_turns_that_are_lost_are_said(recogniser, clips):
    wave = np.concatenate([said(clips, "sad", seconds=2.0), np.zeros(3 * RATE), said(clips, "sad", seconds=2.0)])
    found = recogniser((wave, RATE), turns=[Turn(3.0, 4.0, "ann")])
    assert found.silent
    assert found.warnings[-1] == "nobody speaks in any of these turns: look at their times"
    assert not any("taken for a voice" in line for line in found.warnings)
    short = [Turn(0.0, 1.0, "ann"), Turn(1.01, 1.05, "bob"), Turn(1.05, 2.0, "ann")]
    assert "no cell of 0.25 s is of bob: use a smaller --hop" in recogniser((wave, RATE), turns=short).warnings


def test_a_last_cell_of_some_samples_is_no_segment(recogniser, clips):
    for more in range(12):
        found = recogniser((said(clips, "sad", seconds=2.0)[: 2 * RATE - 6 + more], RATE), timing=CLOSE)
        assert all(s["end"] > s["start"] for s in found.segments)


def test_an_intensity_that_was_learned_is_one_in_silence_too(clips, tmp_path):
    wave = said(clips, "sad", seconds=3.0)
    for names in ((), ("angry", "sad")):
        heard = load(labels=names, vad="loudness")
        for sides in ([wave, 0 * wave], [0 * wave, wave]):
            soundfile.write(tmp_path / "call.wav", np.stack(sides, axis=1), RATE)
            found = heard(tmp_path / "call.wav", channel="each")
            assert found.intensity_is == "learned"
            assert len(found.timeline) == len(found.intensities) == len(found.times_s)
        assert np.isnan(heard((0 * wave, RATE)).intensities).all()


# ---------------------------------------------------------------------------------------------- what can be heard


def test_bytes_samples_and_files_are_heard_alike(recogniser, clips, tmp_path):
    wave = np.round(said(clips, "happy", seconds=2.0) * 32767) / 32768
    soundfile.write(tmp_path / "x.wav", wave, RATE)
    file = recogniser(tmp_path / "x.wav")
    memory = recogniser((tmp_path / "x.wav").read_bytes())
    samples = recogniser((wave, RATE))
    whole = recogniser(((wave * 32768).astype(np.int16), RATE))
    pair = np.stack([wave, wave])  # (2, N), as PyTorch has it
    more = [
        *(recogniser(source) for source in (io.BytesIO((tmp_path / "x.wav").read_bytes()), Track(wave, float(RATE)))),
        *(recogniser(source) for source in ({"array": wave, "sampling_rate": RATE}, (pair, RATE), (pair.T, RATE))),
    ]
    with open(tmp_path / "x.wav", "rb") as opened:
        more.append(recogniser(opened))
    with pytest.raises(InputError, match=r"Found tuple\. For samples call"):
        recogniser.predict([(wave, RATE)])
    for other in (memory, samples, whole, *more):
        np.testing.assert_allclose(other.answer, file.answer, atol=1e-3)
        assert other.path == ""
    assert file.path == str(tmp_path / "x.wav")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (b"no sound at all", "samples: not an audio file"),
        ((np.zeros((200, 16000)), RATE), "Transpose"),
        ((np.array(["a"]), RATE), "samples: "),
        ((np.full(1000, np.nan), RATE), "NaN"),
        ((np.zeros(100), 0), "the rate is samples a second"),
        ((np.zeros(100), None), "the rate is samples a second. Found None"),
        ((np.zeros(100), float("nan")), "the rate is samples a second"),
        ((np.full(1000, 1e300), RATE), "NaN or infinite"),
        (np.zeros(1000), "no recording. Found ndarray"),
        ([Path("a.wav"), Path("b.wav")], r"Found list of 2.*predict\(\[path"),
        (None, "no recording. Found NoneType"),
        (5, "no recording. Found int"),
        ({"array": np.zeros(10)}, "no recording. Found dict"),
        (([[1.0, 2.0], [3.0]], RATE), "samples: no array"),
        (([0.0, None], RATE), "samples: "),
    ],
)
def test_what_is_no_sound_is_one_line(recogniser, source, what):
    with pytest.raises(InputError, match=what):
        recogniser(source)


def test_labels_that_are_possible_share_what_the_others_had(finetuned, recogniser, clips):
    wave = said(clips, "sad", seconds=2.0)
    some, every = load(finetuned / "fold1", ["angry", "sad"], "loudness")((wave, RATE)), recogniser((wave, RATE))
    assert some.names == ("sad", "angry")
    odds = every.probabilities["sad"] / every.probabilities["angry"]
    assert some.probabilities["sad"] / some.probabilities["angry"] == pytest.approx(odds, rel=1e-4)
    assert some.answer.sum() == pytest.approx(1)
    assert some.intensities is None
    with pytest.raises(InputError, match="no 'bored' in this model"):
        load(finetuned / "fold1", ["bored"])


def test_without_a_default_model_it_is_said_how_to_name_one(monkeypatch):
    monkeypatch.setattr(recognisers, "DEFAULT_MODEL", Path("/nowhere"))
    with pytest.raises(InputError, match="sottovoce predict --model"):
        load()


def test_intensity_is_named_for_what_it_is(recogniser, clips):
    found = recogniser((said(clips, "angry", seconds=2.0), RATE))
    assert found.intensity_is == "1 - P(neutral)"
    np.testing.assert_allclose(found.timeline.intensity, 1 - found.timeline.neutral, atol=1e-6)


def test_a_result_survives_its_json(recogniser, clips, tmp_path):
    import json

    found = recogniser((said(clips, "angry", seconds=2.0), RATE))
    again = type(found).from_dict(json.loads(found.to_json(tmp_path / "x.json")))
    assert again.label == found.label
    np.testing.assert_allclose(again.posteriors, found.posteriors, atol=1e-6)
    assert again.segments == found.segments
    found.plot(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    assert found.to_frame().label[0] == found.label


def test_averages_over_more_than_all_are_those_over_all():
    values = np.random.default_rng(0).random((7, 2))
    there = np.array([True] * 5 + [False, True])
    np.testing.assert_array_equal(timeline.smoothed(values, there, 10**12), timeline.smoothed(values, there, 15))
