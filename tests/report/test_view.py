"""The page of a recording: it holds what it shows, whatever the names are, and a browser plays, zooms and saves it."""

import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

import chromium
import numpy as np
import pytest
import soundfile

from sottovoce import report
from sottovoce.errors import InputError
from sottovoce.inference import page, timeline
from sottovoce.inference.result import Result
from sottovoce.inference.timeline import Timing

HOSTILE = "</script><script>alert('x')</script>"


def result(path="", seconds=20.0, speakers=False, kind="class"):
    """Angry for the first half, sad for the second, a pause between them."""
    cells, names = round(seconds * 4), ("angry", "sad") if kind == "class" else ("valence", "arousal")
    times = np.arange(cells) / 4 + 0.125
    angry = np.where(times < seconds / 2, 0.8, 0.3)
    values = np.stack([angry, 1 - angry], axis=1)
    values[np.abs(times - seconds / 2) < 1] = np.nan
    there = np.isfinite(values).all(1)
    found = timeline.segments(values, there, names, seconds, Timing(), 1 - values[:, 1])
    envelope = {"times_s": np.arange(int(seconds * 20)) / 20, "low": -np.ones(int(seconds * 20)), "high": np.ones(1)}
    envelope["high"] = -envelope["low"]
    answer = np.array([0.7, 0.3])
    made = Result(path, seconds, names, answer, kind, 0.25, 3.0, times, values, 1 - values[:, 1], "1 - P(sad)")
    made.segments, made.envelope = found if kind == "class" else [], envelope
    if speakers:
        made.speakers = ["left"] * cells
    return made


def held(markup, key="data"):
    return json.loads(re.search(rf'<script type="application/json" id="{key}">(.*?)</script>', markup, re.S)[1])


@pytest.mark.parametrize("kind", ["class", "number"])
def test_the_page_holds_the_result(kind):
    found = result(kind=kind)
    data = held(report.view_page(found.to_dict()))
    assert data["names"] == list(found.names)
    assert len(data["lanes"]) == 1
    assert [len(column) for column in data["lanes"][0]["values"]] == [80, 80]
    assert data["lanes"][0]["values"][0].count(None) == 8
    assert Result.from_dict(data["result"] | {"waveform": {}}).segments == found.segments


def channels(speaking=("left",)):
    """The same in both channels, segments in some."""
    one = result()
    return Result(
        "", 20.0, one.names, one.answer, "class", 0.25, 3.0, np.tile(one.times_s, 2), np.tile(one.posteriors, (2, 1)),
        None, "", ["left"] * 80 + ["right"] * 80, [s | {"speaker": who} for who in speaking for s in one.segments],
    )  # fmt: skip


def test_channels_have_lanes_of_their_own():
    both = channels()
    data = held(report.view_page(both.to_dict()))
    assert [lane["name"] for lane in data["lanes"]] == ["left", "right"]
    assert [s["speaker"] for s in data["segments"]] == ["left", "left"]


def test_an_hour_stays_small():
    markup = report.view_page(result(seconds=3600.0).to_dict())
    assert len(markup) < 4_000_000
    assert "1:00:00" in markup.replace("\xa0", " ")


def test_hostile_names_are_only_text():
    found = result(path=f"/x/{HOSTILE}.wav")
    found.names, found.warnings = (HOSTILE, "sad"), [HOSTILE]
    found.segments = [s | {"label": HOSTILE, "speaker": HOSTILE} for s in found.segments]
    markup = report.view_page(found.to_dict())
    assert "<script>alert" not in markup
    assert markup.count("<script") == 2  # its own
    assert held(markup)["names"][0] == HOSTILE


@pytest.mark.parametrize("missing", ["timeline", "segments", "waveform", "names", "probabilities", "path"])
def test_anything_may_be_missing(missing):
    found = result().to_dict()
    assert "<html" in report.view_page({k: v for k, v in found.items() if k not in (missing, "timeline")})


@pytest.mark.parametrize("wrong", ["x", [1], True, None, {"a": 1}, "gone"])
def test_a_damaged_result_is_no_result(tmp_path, wrong):
    """Everything in it and in a segment of it, one after another; what still is a result makes a page."""
    whole = json.loads(result().to_json())
    for holder in ((), ("segments", 0), ("timeline", 0), ("waveform",)):
        keys = whole
        for step in holder:
            keys = keys[step]
        for key in keys:
            found = json.loads(json.dumps(whole))
            part = found
            for step in holder:
                part = part[step]
            part[key] = wrong
            if wrong == "gone":
                del part[key]
            (tmp_path / "x.json").write_text(json.dumps(found))
            try:
                read = page.read(tmp_path / "x.json")
            except InputError as error:
                assert str(error).startswith(f"{tmp_path / 'x.json'}: ")  # noqa: PT017
            else:
                assert "<html" in page.of(read, tmp_path / "x.html")
                read.to_json()
                read.to_frame()


def test_the_page_loads_nothing(tmp_path):
    soundfile.write(tmp_path / "x.wav", 0.1 * np.sin(np.arange(320_000) / 20), 16_000)
    markup = page.of(result(str(tmp_path / "x.wav")), tmp_path / "x.html")
    assert not re.search(r"(src|href)=\"(?!data:)[^\"#]", markup)
    assert "default-src 'none'" in markup
    sounds = re.search(r'id="sounds">([^<]*)<', markup)[1]
    assert 20_000 < len(sounds) < 200_000
    (tmp_path / "x.wav").unlink()
    assert 'id="sounds"' not in page.of(result(str(tmp_path / "x.wav")), tmp_path / "x.html")


def test_a_result_is_found_beside_its_recording(sottovoce, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "x.wav", np.zeros(320_000), 16_000)
    result("/gone/x.wav").to_json(tmp_path / "x.json")
    monkeypatch.chdir(tmp_path)
    done = sottovoce("view", "x.json")
    assert done.code == 0
    assert 'id="sounds"' in (tmp_path / "x.html").read_text()
    assert [sottovoce("view", "x.json", "-o", "page.html").code for _ in range(2)] == [0, 0]
    (tmp_path / "y.json").write_text("{}")
    assert "no result" in sottovoce("view", "y.json").complaint


def test_a_page_takes_the_place_of_nothing_else(sottovoce, tmp_path, monkeypatch):
    result().to_json(tmp_path / "x.json")
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "x.json").read_bytes()
    for place in ("x.json", "x.csv", "x.wav"):
        assert "a page ends in .html" in sottovoce("view", "x.json", "-o", place).complaint
    (tmp_path / "x.html").write_text("my own notes")
    for more in ([], ["-o", "x.html"]):
        assert "somebody else's is there" in sottovoce("view", "x.json", *more).complaint
    assert (tmp_path / "x.html").read_text() == "my own notes"
    (tmp_path / "x.html").write_text("<p>Written by Sottovoce.</p>")  # as pages of earlier versions say
    assert sottovoce("view", "x.json").code == 0
    assert (tmp_path / "x.json").read_bytes() == before


def test_a_long_recording_is_found_by_its_page_whatever_its_name(tmp_path):
    name = "a: call #3 50%25?.wav"
    soundfile.write(tmp_path / name, np.zeros(1600), 16_000)
    found = result(str(tmp_path / name))
    found.duration_s = page.HELD_S + 1
    link = re.search(r'<audio[^>]* src="([^"]*)"', page.of(found, tmp_path / "x.html"))[1]
    assert urllib.request.url2pathname(urllib.parse.urlsplit(urllib.parse.urljoin("file:///d/x.html", link)).path) == (
        f"/d/{name}"
    )


@pytest.mark.slow
@chromium.needed
def test_the_moment_is_that_of_every_channel(tmp_path):
    (tmp_path / "x.html").write_text(report.view_page(channels(("left", "right")).to_dict()))
    browser = chromium.Browser((tmp_path / "x.html").as_uri(), tmp_path / "profile")
    try:
        browser.wait(lambda: browser.js("document.readyState === 'complete' && !!document.querySelector('tr')"))
        browser.js("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'n', bubbles: true}))")
        said = "[...document.querySelectorAll('tr.on')].map(line => line.lastElementChild.textContent).join()"
        browser.wait(lambda: browser.js(said) == "left,right")
        assert browser.js("document.querySelector('[data-class=\"1\"]').textContent") in ("20 % · 20 %", "70 % · 70 %")
    finally:
        browser.close()


@pytest.mark.slow
@chromium.needed
def test_a_browser_plays_zooms_and_saves(tmp_path):
    soundfile.write(tmp_path / "x.wav", 0.1 * np.sin(np.arange(320_000) / 20), 16_000)
    (tmp_path / "x.html").write_text(page.of(result(str(tmp_path / "x.wav")), tmp_path / "x.html"))
    browser = chromium.Browser((tmp_path / "x.html").as_uri(), tmp_path / "profile")
    try:
        browser.wait(lambda: browser.js("document.readyState === 'complete' && audio.duration > 19"))
        assert browser.js("document.getElementById('now').value") == "0:00.0 / 0:20.0"
        box = "const b = stage.getBoundingClientRect(); "
        press = "stage.dispatchEvent(new PointerEvent(kind, {clientX: b.left + b.width / 4, clientY: b.top + 40}))"
        browser.js(
            f"stage.setPointerCapture = () => 0; {{{box} for (const kind of ['pointerdown', 'pointerup']) {press}}}"
        )
        browser.wait(lambda: abs(browser.js("audio.currentTime") - 5.2) < 1.0)  # a quarter of 20 s, and it plays
        browser.wait(lambda: browser.js("!audio.paused"))
        key = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
        browser.js(key.replace("document.d", "document.body.d") % " ")
        browser.wait(lambda: browser.js("audio.paused"))
        browser.js(key.replace("document.d", "document.body.d") % "n")
        browser.wait(lambda: abs(browser.js("audio.currentTime") - 11.0) < 0.01)  # the second segment
        assert browser.js("document.querySelector('tr.on').dataset.segment") == "1"
        assert browser.js("document.querySelector('[data-class=\"1\"]').textContent") == "70 %"
        before = browser.js("chart.toDataURL()")
        browser.js(key.replace("document.d", "document.body.d") % "+")
        assert browser.js("chart.toDataURL()") != before
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
        for kind in ("csv", "json"):
            browser.js(f"document.getElementById('{kind}').click()")
            browser.wait(lambda kind=kind: (tmp_path / f"saved/x.{kind}").exists())
        assert len(json.loads(Path(tmp_path / "saved/x.json").read_text())["timeline"]) == 80
        assert len((tmp_path / "saved/x.csv").read_text().splitlines()) == 81
    finally:
        browser.close()
