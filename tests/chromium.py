"""A real browser for the tests of pages."""

import json
import shutil
import subprocess
import time
from contextlib import ExitStack
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
needed = pytest.mark.skipif(PROGRAM is None, reason="no Chromium")


class Browser:
    """A headless Chromium, told what to do by its debugging protocol."""

    def __init__(self, url, folder, *more):
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0")  # fmt: skip
        self.process = subprocess.Popen(
            [PROGRAM, *options, *more, f"--user-data-dir={folder}", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = self.wait(lambda: (folder / "DevToolsActivePort").read_text().split()[0])

        def target():
            with urlopen(f"http://127.0.0.1:{port}/json") as found:
                return next(t["webSocketDebuggerUrl"] for t in json.load(found) if t["url"].startswith(url))

        self.open, self.number, self.told = ExitStack(), 0, []
        self.pipe = self.open.enter_context(connect(self.wait(target), max_size=None))

    @staticmethod
    def wait(what, seconds=40.0):
        last = time.monotonic() + seconds
        while True:
            try:
                if (found := what()) is not None and found is not False:
                    return found
            except (OSError, StopIteration, IndexError):
                pass
            assert time.monotonic() < last, "the browser does not answer"
            time.sleep(0.1)

    def call(self, method, **words):
        self.number += 1
        self.pipe.send(json.dumps({"id": self.number, "method": method, "params": words}))
        while (answer := json.loads(self.pipe.recv())).get("id") != self.number:
            self.told.append(answer)
        if "result" not in answer:
            raise OSError(answer["error"])  # the page has been left meanwhile, for example
        return answer["result"]

    def js(self, code):
        return self.call("Runtime.evaluate", expression=code, returnByValue=True)["result"].get("value")

    def complaints(self):
        """Exceptions of scripts, and what the page was not allowed; of a page with Log and Runtime enabled."""
        self.js("0")
        thrown = [
            t["params"]["exceptionDetails"]["text"] for t in self.told if t["method"] == "Runtime.exceptionThrown"
        ]
        entries = [t["params"]["entry"] for t in self.told if t["method"] == "Log.entryAdded"]
        return thrown + [e["text"] for e in entries if e["level"] == "error"]

    def close(self):
        self.open.close()
        self.process.terminate()
        self.process.wait(20)
