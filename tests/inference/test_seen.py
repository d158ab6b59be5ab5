"""A recording of the run's own corpus is answered by the models that have not heard its speaker, or the row says so."""

import shutil

import numpy as np
import pytest
import soundfile

from sottovoce.data import audio
from sottovoce.data.corpus import Corpus
from sottovoce.inference import recogniser


@pytest.fixture(scope="module")
def clip(corpus):
    """A recording of a test speaker of fold1, who is in training in the other three."""
    data = Corpus.load(corpus)
    return data.root / data.by_id[data.fold("fold1").test[0]].path


def copied(clip, folder, kind="flac"):
    """The same samples under another name, in another container, in a folder that is no corpus."""
    samples, rate = soundfile.read(clip, dtype="int16")
    path = folder / f"other.{kind}"
    soundfile.write(path, samples, rate)
    return path


@pytest.mark.parametrize("place", ["its own", "copied file", "copied samples"])
def test_the_fold_that_has_not_heard_a_speaker_answers_alone(finetuned, clip, tmp_path, place):
    path = clip
    if place == "copied file":
        path = shutil.copy(clip, tmp_path / "x.flac")
    elif place == "copied samples":
        path = copied(clip, tmp_path, "wav")
    (found,) = recogniser.load(finetuned).predict([path])
    (alone,) = recogniser.load(finetuned / "fold1").predict([path])
    np.testing.assert_array_equal(found.answer, alone.answer)
    assert found.row()["note"].startswith("answered by fold1 alone, which has not heard this speaker")
    assert "heard" not in alone.row()["note"]


def test_a_recording_that_every_model_was_trained_on_is_marked(finetuned, clip):
    (found,) = recogniser.load(finetuned / "fold3").predict([clip])
    assert found.row()["note"].startswith("seen in training")


def test_a_corpus_that_is_gone_is_known_by_content(corpus, finetuned, clip, tmp_path):
    shutil.copytree(finetuned, tmp_path / "ft")
    for path in (tmp_path / "ft").glob("*/config.json"):
        path.write_text(path.read_text().replace(str(corpus.resolve()), str(tmp_path / "gone")))
    (found,) = recogniser.load(tmp_path / "ft").predict([clip])
    assert found.row()["note"].startswith("answered by fold1 alone")


def test_a_voice_of_none_is_answered_by_all(finetuned, clip, tmp_path):
    wave = audio.read(clip)
    soundfile.write(tmp_path / "new.wav", 0.8 * wave.values, round(wave.rate_hz))
    (found,) = recogniser.load(finetuned).predict([tmp_path / "new.wav"])
    assert "heard" not in found.row()["note"]
