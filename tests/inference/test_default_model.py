"""The model of the package: it is there, says what it stands on, and hears."""

import json
import subprocess
import sys

import numpy as np
import soundfile

import sottovoce
from sottovoce.inference.recogniser import DEFAULT_MODEL

RATE = 16_000


def test_a_recording_is_heard_without_a_model_or_a_corpus(tmp_path):
    rng = np.random.default_rng(0)
    time_s = np.arange(3 * RATE) / RATE
    buzz = np.sign(np.sin(2 * np.pi * (140 + 30 * np.sin(2 * np.pi * time_s)) * time_s)) * (np.sin(7 * time_s) > -0.5)
    wave = (0.1 * buzz + 0.01 * rng.standard_normal(len(buzz))).astype(np.float32)
    soundfile.write(tmp_path / "talk.wav", wave, RATE)
    result = sottovoce.load()(tmp_path / "talk.wav")
    assert set(result.probabilities) == {"angry", "happy", "neutral", "sad"}
    assert abs(sum(result.probabilities.values()) - 1) < 1e-5
    assert result.label in result.probabilities
    course = result.timeline["intensity"].dropna()
    assert len(course)
    assert course.between(0, 1).all()
    assert result.intensity_is == "learned"
    louder = sottovoce.load()((wave * 4, RATE))  # a gain is no emotion
    np.testing.assert_allclose(list(louder.probabilities.values()), list(result.probabilities.values()), atol=1e-3)


def test_it_says_its_licence_when_it_is_loaded(caplog):
    sottovoce.load()
    (told,) = caplog.messages
    assert "CC BY-NC-SA 4.0" in told


def test_its_card_and_licence_are_beside_it():
    config = json.loads((DEFAULT_MODEL / "config.json").read_text())
    assert config["licence"] == "CC BY-NC-SA 4.0"
    assert config["licence"] in (DEFAULT_MODEL / "README.md").read_text()
    figures = json.loads((DEFAULT_MODEL / "figures.json").read_text())
    card = (DEFAULT_MODEL / "README.md").read_text()
    for row in figures:
        value = row["ua"]["value"] if "ua" in row else row["auc"]
        assert f"{value:.3f}" in card  # no figure that the script did not print
    weights = sum(path.stat().st_size for path in DEFAULT_MODEL.parent.rglob("*"))
    assert weights < 20e6


def test_no_compiler_is_loaded_to_hear():
    """It would take a second and 80 MiB."""
    code = "import sys, sottovoce; sottovoce.load(); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
