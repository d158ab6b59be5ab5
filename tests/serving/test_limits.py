"""What a server allows, in this process: who sends slowly, too much, or without a key, is told so and does not stay."""

import json
import socket
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import sottovoce
from sottovoce.commands import serve
from sottovoce.errors import InputError
from sottovoce.serving import app, limits
from sottovoce.serving.settings import Serving

KEY, FRIEND = "sesam", "https://friend.example"
HEAD_S, BODY_S, UPLOAD_MB = 0.6, 1.5, 1.0


@pytest.fixture(scope="module")
def served():
    """A server that asks for a key and lets a friend's pages ask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "HEAD_S", HEAD_S)
        settings = Serving(api_key=KEY, cors=(FRIEND,), upload_s=BODY_S, upload_mb=UPLOAD_MB, uploads=2)
        application = app.make(sottovoce.load(vad="loudness"), settings)
        config = uvicorn.Config(application, http=limits.Patient, log_level="critical", timeout_keep_alive=1)
        with socket.create_server(("127.0.0.1", 0)) as door:
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, args=([door],))
            thread.start()
            while not server.started:
                time.sleep(0.01)
            yield door.getsockname()[1], application
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port(served):
    return served[0]


def room(application):
    """Bytes that there is room for."""
    part = application.middleware_stack
    while not isinstance(part, limits.Bounded):
        part = part.app
    return part.room


def asked(port, line, body=b"", *headers):
    """(status, headers, JSON) of an answer that is read when all of the body has been sent, as most clients do."""
    head = [f"{line} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        link.sendall("\r\n".join(head).encode() + body)
        answer = link.makefile("rb")
        status = int(answer.readline().split()[1])
        fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(answer.readline, b"\r\n"))
        text = answer.read(int(fields["content-length"]))
        return status, fields, text


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/view", "/metrics", "/v1/stream", "/nowhere"])
def test_a_large_upload_without_a_key_is_told_so(port, path):
    for key in ("X-Api-Key: other", "Authorization: Bearer", "Accept: */*"):
        status, _, text = asked(port, f"POST {path}", bytes(5_000_000), "Content-Type: audio/wav", key)
        assert (status, json.loads(text)["error"]["code"]) == (401, "unauthorised")


@pytest.mark.parametrize(
    ("line", "kind", "status"),
    [
        ("POST /v1/predict", "audio/wav", 413),
        ("POST /v1/predict", "multipart/form-data; boundary=x", 413),
        ("POST /v1/predict", "text/plain", 415),
        ("POST /v1/predict?hop_s=x", "audio/wav", 422),
        ("POST /nowhere", "audio/wav", 404),
        ("POST /health", "audio/wav", 405),
        ("GET /nowhere", "audio/wav", 404),
    ],
)
def test_who_is_refused_early_hears_why_after_a_large_upload(port, line, kind, status):
    found, _, text = asked(port, line, bytes(9_000_000), f"Content-Type: {kind}", f"X-Api-Key: {KEY}")
    assert found == status
    assert json.loads(text)["error"]["message"]


@pytest.mark.parametrize("length", ["Content-Length: 900000", "Transfer-Encoding: chunked"])
def test_bodies_that_are_here_at_a_time_have_a_bound(served, length):
    """Two large uploads that do not end leave no room for a third, until they have left."""
    port, application = served
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: audio/wav\r\n"
    third = f"{head}{length}\r\nConnection: close\r\n\r\n".encode()
    body = b"dbba0\r\n" + bytes(900_000) + b"\r\n0\r\n\r\n" if "chunked" in length else bytes(900_000)

    def answer(sent):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
            link.sendall(sent)
            return link.makefile("rb").read()

    links = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(2)]
    for link in links:
        link.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + bytes(990_000))
    end = time.monotonic() + BODY_S
    while application.middleware_stack is None or room(application) > 200_000:  # else one of the two may be refused
        assert time.monotonic() < end
    while b" 429 " not in (refused := answer(third + body)).splitlines()[0]:
        assert time.monotonic() < end, refused
    assert b"retry-after: " in refused
    assert json.loads(refused.rsplit(b"\r\n", 1)[-1])["error"]["code"] == "busy"
    for link in links:
        link.close()
    end = time.monotonic() + BODY_S
    while b" 422 " not in (heard := answer(third + body)).splitlines()[0]:
        assert time.monotonic() < end, heard


def test_of_those_who_send_at_a_time_some_get_through(port):
    """Who is refused half-way leaves room at once, however long the rest of the body takes."""
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: audio/wav\r\nConnection: close\r\n"
    )
    links = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(4)]
    for link in links:
        link.sendall(f"{head}Content-Length: 900000\r\n\r\n".encode())
    for _ in range(9):
        for link in links:
            link.sendall(bytes(100_000))
        time.sleep(0.02)
    found = [link.makefile("rb").readline().split()[1] for link in links]
    for link in links:
        link.close()
    assert b"422" in found
    assert set(found) <= {b"422", b"429"}


def test_who_asks_before_sending_is_refused_at_once(port):
    with socket.create_connection(("127.0.0.1", port), timeout=BODY_S / 2) as link:
        link.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert link.recv(100).startswith(b"HTTP/1.1 401")


WHOLE = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (b"", b""),
        (b"GET /health HT", b"x"),
        (WHOLE + b"GET /health HTTP/1.1\r\nX: ", b"a"),  # a later request of one connection
        (WHOLE * 3 + b"GET", b""),
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"a"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"a"),
        (b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX-Api-Key: sesam\r\n\r\n", b"a"),
    ],
    ids=["nothing", "head", "second head", "fourth head", "refused body", "body of a GET", "body"],
)
def test_who_drips_does_not_stay(port, sent, drip):
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as link:
        link.sendall(sent)
        end = time.monotonic() + 10 * BODY_S
        while time.monotonic() < end:
            try:
                if not link.recv(1 << 16):
                    return
                link.sendall(drip)
            except TimeoutError:
                try:
                    link.sendall(drip)
                except OSError:
                    return
            except OSError:
                return
    raise AssertionError("the connection is still open")


def streamed(live):
    """Messages until the server closes, and the code it closes with."""
    found = []
    try:
        while True:
            found.append(json.loads(live.recv(timeout=30)))
    except ConnectionClosed as closed:
        return found, closed.rcvd.code


def test_a_stream_lasts_longer_than_a_head_may(port):
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000).astype("<f4")
    with connect(f"ws://127.0.0.1:{port}/v1/stream?key={KEY}") as live:
        for _ in range(4):
            live.send(noise.tobytes())
            time.sleep(HEAD_S / 2)
        live.send("end")
        found, code = streamed(live)
    assert code == 1000
    assert [event["end"] for event in found] == [0.25 * k for k in range(1, 9)]


def test_pages_of_other_origins_open_no_stream(port):
    for origin, code in (
        (FRIEND, 1000),
        (f"http://127.0.0.1:{port}", 1000),
        ("https://evil.example", 1008),
        ("null", 1008),
        (f"https://127.0.0.1.evil:{port}", 1008),
    ):
        with connect(f"ws://127.0.0.1:{port}/v1/stream?key={KEY}", origin=origin) as live, suppress(ConnectionClosed):
            if code == 1000:
                live.send("end")
            found, closed = streamed(live)
        assert (closed, [f["error"]["code"] for f in found]) == (code, ["forbidden"] * (code == 1008)), origin


@pytest.mark.parametrize("rate", ["²", "٣", "9" * 5000, "-16000", "1e4"])
def test_a_rate_that_is_none_is_refused_in_words(port, rate):
    with connect(f"ws://127.0.0.1:{port}/v1/stream?key={KEY}&rate={rate}") as live:
        assert json.loads(live.recv(timeout=30))["error"]["code"] == "cannot_be_heard"


def test_pages_of_a_friend_may_bring_a_key(port):
    """A browser asks first, without the key, whether it may; and shows a page no answer without the header."""
    ask = (f"Origin: {FRIEND}", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-api-key")
    status, fields, _ = asked(port, "OPTIONS /v1/predict", b"", *ask)
    assert (status, fields["access-control-allow-origin"]) == (200, FRIEND)
    status, fields, _ = asked(port, "POST /v1/predict", b"", ask[0])
    assert (status, fields["access-control-allow-origin"]) == (401, FRIEND)
    status, fields, _ = asked(port, "GET /health", b"", "Origin: https://evil.example")
    assert "access-control-allow-origin" not in fields


def test_the_word_bearer_is_read_in_any_spelling(port):
    for said, status in (("Bearer sesam", 200), ("bearer  sesam", 200), ("sesam", 200), ("Basic sesam", 401)):
        assert asked(port, "GET /metrics", b"", f"Authorization: {said}")[0] == status


def test_an_origin_is_as_browsers_spell_it():
    assert [serve._origin(text) for text in ("https://A.example/", "http://b:80", "*", "null")] == (
        ["https://a.example", "http://b:80", "*", "null"]
    )
    for text in ("a.example", "https://a.example/page", "https://"):
        with pytest.raises(InputError, match="no origin"):
            serve._origin(text)
