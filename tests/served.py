"""A server in a process of its own, and the files it is sent."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import soundfile
from websockets.sync.client import connect

import sottovoce

RATE = 16000


class Served:
    """A running server and its temporary folder."""

    def __init__(self, model, place, *words, key=""):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.place = place
        home = Path(sottovoce.__file__).parents[1]
        environment = os.environ | {"PYTHONPATH": str(home), "TMPDIR": str(place), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sottovoce", "serve", "--model", str(model), "--port", str(self.port), *words],
            env=environment | ({"SOTTOVOCE_API_KEY": key} if key else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.url = f"http://127.0.0.1:{self.port}"
        end = time.monotonic() + 120
        while time.monotonic() < end:
            assert self.process.poll() is None, self.process.stdout.read().decode()
            try:
                self.get("/health")
                return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError("the server did not come up")

    def ask(self, request):
        """(status, headers, body)."""
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get(self, path, **headers):
        return self.ask(urllib.request.Request(self.url + path, headers=headers))

    def post(self, data, kind="audio/wav", query="", **headers):
        """(status, JSON) of a recording's bytes."""
        request = urllib.request.Request(
            f"{self.url}/v1/predict{query}", data=data, headers={"content-type": kind, **headers}
        )
        status, _, body = self.ask(request)
        return status, json.loads(body)

    def form(self, data, name="talk.wav", field="file"):
        head = f'--line\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        body = head.encode("utf-8", "surrogateescape") + data + b"\r\n--line--\r\n"
        return self.post(body, "multipart/form-data; boundary=line")

    def raw(self, sent, patience_s=0.5):
        """All that is answered to these bytes; a client that waits in vain for so long leaves."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience_s) as link:
            found = b""
            try:
                link.sendall(sent)
                while more := link.recv(1 << 16):
                    found += more
            except (TimeoutError, ConnectionResetError, BrokenPipeError):
                pass
            return found

    def socket(self, query=""):
        return connect(f"ws://127.0.0.1:{self.port}/v1/stream{query}", open_timeout=30, close_timeout=5)

    def left(self):
        """Files of requests that are still on the disk."""
        return [p for home in self.place.glob("sottovoce-serve-*") for p in home.iterdir()]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def wav(samples, rate=RATE, kind="WAV", subtype="PCM_16"):
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()
