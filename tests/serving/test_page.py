"""The server's page in a real browser: a file, the microphone, refusals, and what comes of them."""

import json
import re
import urllib.request

import chromium
import numpy as np
import pytest
import soundfile
from served import Served, wav

pytestmark = [pytest.mark.slow, chromium.needed]


@pytest.fixture(scope="module")
def server(finetuned, tmp_path_factory):
    found = Served(finetuned / "fold1", tmp_path_factory.mktemp("served"), "--upload-mb", "2")
    yield found
    found.stop()


@pytest.fixture
def browser(server, tmp_path, corpus):
    """With a microphone into which somebody of the corpus speaks, and no network beyond this machine."""
    voice = soundfile.read(next(iter(sorted(corpus.parent.rglob("*.flac")))), dtype="float32")[0]
    soundfile.write(tmp_path / "spoken.wav", np.tile(voice, 4), 16_000)
    microphone = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                  f"--use-file-for-fake-audio-capture={tmp_path / 'spoken.wav'}",
                  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")  # fmt: skip
    found = chromium.Browser(server.url, tmp_path / "profile", *microphone)
    found.call("Log.enable")
    found.call("Runtime.enable")
    found.wait(lambda: found.js("document.readyState === 'complete' && !!document.getElementById('record')"))
    yield found
    found.close()


def choose(browser, path):
    """A file, as a person chooses one."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    field = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])


def heard(browser, name):
    """The page of a recording is there, and its sound can be played and moved in."""
    browser.wait(lambda: browser.js(f"document.querySelector('h1')?.textContent === {json.dumps(name)}"), 60)
    browser.wait(lambda: browser.js("document.readyState === 'complete' && audio.duration > 1"))
    browser.js("document.getElementById('play').click()")
    browser.wait(lambda: browser.js("audio.currentTime > 0.2"))
    browser.js("document.getElementById('play').click()")
    browser.js("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Home', bubbles: true}))")
    browser.wait(lambda: browser.js("audio.paused && audio.currentTime === 0"))


def test_a_chosen_file_is_seen_heard_and_saved(server, browser, tmp_path):
    name = "<b>talk & more.wav"
    (tmp_path / name).write_bytes((tmp_path / "spoken.wav").read_bytes())
    choose(browser, tmp_path / name)
    heard(browser, name)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
    browser.js("document.getElementById('json').click()")
    browser.wait(lambda: list((tmp_path / "saved").glob("*.json")) or None)
    found = json.loads(next((tmp_path / "saved").glob("*.json")).read_text())
    assert found["path"] == name
    assert len(found["timeline"]) > 4
    browser.js("history.back()")
    browser.wait(lambda: browser.js("document.readyState === 'complete' && !!document.getElementById('record')"))
    assert browser.complaints() == []
    assert server.left() == []


def test_what_is_said_into_the_microphone_is_heard(server, browser):
    browser.js("document.getElementById('record').click()")
    browser.wait(lambda: browser.js("document.getElementById('clock').value") == "0:03")
    assert browser.js("document.querySelector('#level i').style.transform") != "scaleX(0)"
    browser.js("document.getElementById('record').click()")
    browser.wait(lambda: re.match("recording 20", browser.js("document.querySelector('h1').textContent")), 60)
    heard(browser, browser.js("document.querySelector('h1').textContent"))
    assert 2.5 < browser.js("audio.duration") < 6
    assert browser.complaints() == []


def test_a_dropped_file_that_is_no_recording_is_refused_in_words(server, browser):
    drop = """
      const parcel = new DataTransfer();
      parcel.items.add(new File(["%s"], "letter.wav"));
      document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: parcel, bubbles: true, cancelable: true}));
    """
    browser.js(f"{{{drop % 'dear all'}}}")
    said = "document.getElementById('said')"
    browser.wait(lambda: browser.js(f"!{said}.hidden && {said}.textContent"))
    assert "letter.wav: not an audio file" in browser.js(f"{said}.textContent")
    browser.js(f"{{{drop.replace('[', '[new Uint8Array(3e6), ') % ''}}}")
    browser.wait(lambda: "3.0 MB, more than" in browser.js(f"{said}.textContent"))
    assert not browser.js("document.getElementById('record').disabled")


def test_the_page_loads_nothing_and_trusts_its_own_scripts_alone(server):
    status, headers, body = server.get("/")
    policy = {k.lower(): v for k, v in headers.items()}["content-security-policy"]
    assert status == 200
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in re.search("script-src([^;]*)", policy)[1]
    assert not re.search(rb'(?:src|href)="(?!data:|openapi)', body)
    noise = wav(np.random.default_rng(0).normal(0, 0.1, 32_000))
    request = urllib.request.Request(server.url + "/v1/view", data=noise, headers={"content-type": "audio/wav"})
    status, _, body = server.ask(request)
    assert status == 200
    assert b'id="sounds"' in body
