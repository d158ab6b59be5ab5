"""The server as its clients meet it: a real one in another process, and everything a client can do wrong."""

import io
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
from served import RATE, Served, wav
from websockets.exceptions import ConnectionClosed

import sottovoce

LIMITS = ("--longest-s", "60", "--upload-mb", "2", "--upload-s", "2", "--queue", "2", "--streams", "2")


@pytest.fixture(scope="module")
def server(finetuned, tmp_path_factory):
    found = Served(finetuned / "fold1", tmp_path_factory.mktemp("served"), *LIMITS)
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def alive_and_clean(request):
    """After every test the server answers, and nothing of it is left on the disk."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        assert server.get("/health")[0] == 200
        end = time.monotonic() + 20
        while server.left() and time.monotonic() < end:
            time.sleep(0.1)
        assert server.left() == []


@pytest.fixture(scope="module")
def voice(corpus):
    path = next(path for path in sorted(corpus.parent.rglob("*.flac")))
    return soundfile.read(path, dtype="float32")[0]


def code(found):
    """Status and message of a refusal, which has one shape."""
    status, body = found
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert "/sottovoce-serve-" not in body["error"]["message"]
    return status, body["error"]["message"]


def test_an_upload_gets_the_answer_of_the_recogniser(server, finetuned, voice, tmp_path):
    soundfile.write(tmp_path / "talk.wav", voice, RATE)
    wanted = sottovoce.load(finetuned / "fold1")(tmp_path / "talk.wav")
    data = (tmp_path / "talk.wav").read_bytes()
    for status, found in (server.post(data), server.form(data), server.post(data, "application/octet-stream")):
        assert status == 200
        assert found["label"] == wanted.label
        assert found["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-5)
        assert len(found["timeline"]) == len(wanted.times_s)
    assert "timeline" not in server.post(data, query="?timeline=false")[1]


def test_names_of_clients_lead_nowhere(server, voice, tmp_path):
    before = set(tmp_path.parent.rglob("evil*"))
    for name in ("../../evil.wav", "/tmp/evil.wav", "..\\\\evil.wav", "evil\x01.wav", "." * 300):
        status, found = server.form(wav(voice), name)
        assert status == 200
        assert not re.search(r"[/\\\x00-\x1f]", found["path"])
    assert set(tmp_path.parent.rglob("evil*")) == before
    assert not Path("/tmp/evil.wav").exists()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("text", b"this is not audio at all " * 100, "not audio|neither"),
        ("empty", b"", "0 bytes"),
        ("noise", np.random.default_rng(0).bytes(5000), "not an? audio|neither|not audio"),
        ("nan", wav(np.full(RATE, np.nan), subtype="FLOAT"), "not numbers"),
        ("silence", wav(np.zeros(2 * RATE)), "silence"),
        ("channels", wav(np.zeros((19200, 8)), 192_000), "8 channels"),
        ("rate", wav(np.zeros(19200), 192_000), "192000 samples a second"),
        ("header", wav(np.zeros(RATE))[:44], "truncated|no samples|empty"),
        ("cut", wav(np.ones(RATE) / 2)[:9000], "truncated"),
        ("pickle", b"\x80\x04\x95" + bytes(300), "not an? audio|neither|not audio"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_what_cannot_be_heard_is_refused(server, name, data, said):
    status, message = code(server.post(data))
    assert status == 422
    assert re.search(said, message)
    if data:
        assert code(server.form(data, "talk.wav"))[0] == 422


def test_a_truncated_mp3_is_refused(server, voice):
    whole = wav(np.tile(voice, 6), kind="MP3", subtype="MPEG_LAYER_III")
    assert server.post(whole, "audio/mpeg")[0] == 200
    status, message = code(server.post(whole[:1500], "audio/mpeg"))
    assert status == 422
    assert re.search("truncated|damaged", message)


def test_hours_are_refused_before_they_are_decoded(server):
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 8000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(180):
            file.write(np.zeros(60 * 8000, np.int16))
    start = time.monotonic()
    status, message = code(server.post(out.getvalue(), "audio/flac"))
    assert status == 422
    assert "longer than 60 s" in message
    assert time.monotonic() - start < 20


def test_a_body_that_is_too_large_is_refused(server):
    assert code(server.post(bytes(2_000_001)))[0] == 413  # within the room for a form's other fields
    for head in ("Content-Length: 90000000", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.settimeout(30)
            raw.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n{head}\r\n\r\n".encode())
            try:
                for _ in range(40 if "chunked" in head else 0):
                    raw.sendall(b"20000\r\n" + bytes(0x20000) + b"\r\n")
            except OSError:  # it has heard enough
                pass
            assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_a_slow_client_does_not_stay(server):
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.settimeout(30)
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: 1000\r\n\r\n")
        start = time.monotonic()
        raw.setblocking(False)
        answer = b""
        while not answer and time.monotonic() - start < 30:
            try:
                answer = raw.recv(1000)
            except BlockingIOError:
                raw.send(b"x")  # a byte a time
                time.sleep(0.1)
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_leaves_nothing(server):
    raw = socket.create_connection(("127.0.0.1", server.port))
    raw.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: 90000\r\n\r\n")
    raw.sendall(bytes(5000))
    raw.close()


def test_who_leaves_while_waiting_is_not_heard(server, voice):
    data = wav(np.tile(voice, 40))
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: {len(data)}\r\n\r\n"
    before = heard_s(server)
    links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
    for link in links:
        link.sendall(head.encode() + data)
    end = time.monotonic() + 60
    while "sottovoce_requests_inside 0.0" in server.get("/metrics")[2].decode():
        assert time.monotonic() < end, "no request came in"
        time.sleep(0.02)
    for link in links:
        link.close()
    while "sottovoce_requests_inside 0.0" not in server.get("/metrics")[2].decode():
        assert time.monotonic() < end, "a request is still inside"
        time.sleep(0.1)
    assert heard_s(server) - before < 4 * len(data) / 2 / RATE  # those that had begun, at most


def heard_s(server):
    return float(re.search(r"\nsottovoce_audio_seconds_total (\S+)", server.get("/metrics")[2].decode())[1])


def test_other_content_and_other_paths_are_refused(server, voice):
    assert code(server.post(b"{}", "application/json"))[0] == 415
    assert code(server.post(b"x", "multipart/form-data"))[0] in (400, 422)  # no boundary
    assert code(server.form(wav(voice), field="other"))[0] == 422
    assert code(server.post(wav(voice), query="?window_s=nan"))[0] == 422
    assert code(server.post(wav(voice), query="?channel=../x"))[0] == 422
    status, said = code(server.post(wav(voice), query="?hop=5"))  # as the command line calls it
    assert status == 422
    assert said == "'hop' is no parameter here. There are: channel, window_s, hop_s, timeline."
    for path, status in (("/v1/predict", 405), ("/etc/passwd", 404), ("/v1/../../etc/passwd", 404)):
        found, _, body = server.get(path)
        assert found == status
        assert "error" in json.loads(body)


def requests_of(voice):
    """Whole requests, as their bytes."""
    for sent, kind in ((wav(voice), "audio/wav"), (wav(voice, kind="FLAC"), "audio/flac"), (wav(voice), "form")):
        if kind == "form":
            kind = "multipart/form-data; boundary=line"
            name = b'--line\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            sent = name + sent + b"\r\n--line--\r\n"
        head = f"POST /v1/predict?timeline=false HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        yield f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent
        yield f"{head}Transfer-Encoding: chunked\r\n\r\n{len(sent):x}\r\n".encode() + sent + b"\r\n0\r\n\r\n"


def damaged(data, rng):
    """Other bits, bytes, lengths, most often near the beginning, where heads are."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        reach = rng.choice([200, 400, len(found)])
        at = int(rng.integers(0, max(min(reach, len(found)), 1)))
        kind = rng.integers(0, 4)
        if kind == 0:
            found[at : at + 1] = bytes([rng.integers(0, 256)])
        elif kind == 1:
            found[at : at + rng.integers(1, 30)] = b""
        elif kind == 2:
            found[at:at] = rng.bytes(rng.integers(1, 30))
        else:
            del found[max(at, 1) :]
    return bytes(found)


def test_damaged_requests_are_refused_in_words(server, voice):
    good, rng = list(requests_of(voice[:4000])), np.random.default_rng(int(os.environ.get("SEED", 0)))
    assert all(server.raw(sent, 30).startswith(b"HTTP/1.1 200") for sent in good)
    for _ in range(int(os.environ.get("DAMAGED", 40))):
        sent = damaged(good[rng.integers(0, len(good))], rng)
        answer = server.raw(sent)
        if not answer:  # it left before its request was whole
            continue
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        assert status == 200 or 400 <= status < 500, (status, sent[:300])
        if status != 200 and b"application/json" in head:
            code((status, json.JSONDecoder().raw_decode(body.decode())[0]))  # another answer may follow


def test_damaged_frames_end_a_stream(server):
    rng = np.random.default_rng(int(os.environ.get("SEED", 0)))
    head = (
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    whole = b"\x82\xfe\x03\x20" + bytes(4) + np.zeros(200, "<f4").tobytes()
    for _ in range(int(os.environ.get("DAMAGED", 12))):
        wait_for_no_stream(server)
        sent = damaged(head + whole * 3, rng) if rng.integers(0, 2) else head + damaged(whole * 3, rng)
        answer = server.raw(sent)
        assert not answer.startswith(b"HTTP/1.1 5"), sent
    wait_for_no_stream(server)


def test_a_full_queue_says_when_to_come_back(server, voice):
    data, found = wav(np.tile(voice, 25)), []

    def ask():
        request = urllib.request.Request(
            f"{server.url}/v1/predict", data=data, headers={"content-type": "audio/wav"}, method="POST"
        )
        found.append(server.ask(request))

    asking = [threading.Thread(target=ask) for _ in range(12)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    statuses = [status for status, _, _ in found]
    assert set(statuses) == {200, 429}
    for status, headers, body in found:
        if status == 429:
            assert int(headers["retry-after"]) >= 1
            code((status, json.loads(body)))


def test_metrics_and_openapi(server, voice):
    server.post(wav(voice))
    text = server.get("/metrics")[2].decode()
    assert re.search(r'sottovoce_requests_total\{path="/v1/predict",status="200"\} [1-9]', text)
    assert "sottovoce_request_seconds_bucket" in text
    described = json.loads(server.get("/openapi.json")[2])
    answers = described["paths"]["/v1/predict"]["post"]["responses"]
    assert {"200", "413", "415", "422", "429"} <= set(answers)
    assert answers["200"]["content"]["application/json"]["example"]["label"]
    assert "access-control-allow-origin" not in {k.lower() for k in server.get("/health", origin="https://x.org")[1]}


# ---------------------------------------------------------------------------------------------- streams


def events(socket):
    found = []
    try:
        while True:
            found.append(json.loads(socket.recv(timeout=60)))
    except ConnectionClosed:
        return found


def test_a_stream_is_answered_as_by_the_recogniser(server, finetuned, voice):
    long = np.tile(voice, 5)
    wanted = [event.probabilities for event in sottovoce.load(finetuned / "fold1").stream([long], RATE)]
    for size, kind in ((1600, "f32"), (7001, "f32")):
        with server.socket(f"?rate={RATE}&format={kind}") as live:
            for k in range(0, len(long), size):
                live.send(long[k : k + size].astype("<f4").tobytes())
            live.send("end")
            found = events(live)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert one["probabilities"] == pytest.approx(other, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize(
    ("query", "message", "status"),
    [
        ("", b"abc", "cannot_be_heard"),  # no whole sample
        ("", np.full(10, np.nan, "<f4").tobytes(), "cannot_be_heard"),
        ("", np.full(10, 1e9, "<f4").tobytes(), "cannot_be_heard"),
        ("", "hello", "bad_request"),
        ("?rate=0", None, "cannot_be_heard"),
        ("?rate=1e9", None, "cannot_be_heard"),
        ("?format=mp3", None, "cannot_be_heard"),
        ("", np.zeros(61 * RATE // 8, "<f4").tobytes(), "too_large"),
    ],
    ids=["bytes", "nan", "loud", "text", "rate 0", "rate 1e9", "mp3", "long"],
)
def test_malformed_messages_end_a_stream_with_a_reason(server, query, message, status):
    with server.socket(query) as live:
        try:
            for _ in range(9 if status == "too_large" else message is not None):
                live.send(message)
        except ConnectionClosed:
            pass
        assert events(live)[-1]["error"]["code"] == status


def test_broken_frames_and_clients_that_leave_do_no_harm(server):
    head = (
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    whole = b"\x82\x84" + bytes(4) + np.zeros(1, "<f4").tobytes()  # a sample
    for sent in (whole, whole[:7], b"\xff\xff\xff\xff" * 50, b"\x82\x04abcd", b"\x82\xff" + b"\x7f" * 40):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:  # leaves in mid-stream
            raw.settimeout(30)
            raw.sendall(head.encode())
            assert b"101" in raw.recv(1000)
            raw.sendall(sent)
    wait_for_no_stream(server)


def wait_for_no_stream(server):
    end = time.monotonic() + 30
    while "sottovoce_streams_open 0.0" not in server.get("/metrics")[2].decode():
        assert time.monotonic() < end, "a stream is still open"
        time.sleep(0.2)


def test_streams_are_bounded(server):
    wait_for_no_stream(server)
    with server.socket() as first, server.socket() as second:
        for one in (first, second):
            one.send(np.zeros(160, "<f4").tobytes())
        time.sleep(0.3)
        with server.socket() as third:
            assert events(third)[0]["error"]["code"] == "busy"
        for one in (first, second):
            one.send("end")
            events(one)


# ---------------------------------------------------------------------------------------------- a key, and the end


@pytest.mark.slow
def test_a_key_is_asked_for_and_the_end_is_graceful(finetuned, voice, tmp_path):
    server = Served(finetuned / "fold1", tmp_path, key="secret")
    data, got = wav(np.tile(voice, 20)), []
    # short: who is turned away before all has been sent may find the line closed
    assert code(server.post(data[:1000]))[0] == 401
    assert code(server.post(data[:1000], **{"x-api-key": "other"}))[0] == 401
    assert server.get("/metrics")[0] == 401
    assert server.post(data, authorization="Bearer secret")[0] == 200
    with server.socket() as live:
        assert events(live)[0]["error"]["code"] == "unauthorised"
    asking = threading.Thread(target=lambda: got.append(server.post(data, **{"x-api-key": "secret"})))
    asking.start()
    time.sleep(0.2)
    assert server.stop() in (0, -signal.SIGTERM)
    asking.join()
    assert got[0][0] == 200  # what was being heard is heard to its end
    assert list(tmp_path.glob("sottovoce-*")) == []
