"""The server under load from a second process: `python -m bench.server [--requests 1000]`.

Clips of 2 to 4 s (generated voices) and the package's model. 1, 8 and 64 clients ask at once, each again when it is
answered. Seconds of an answer as a client sees them, CPU time of the server, and its resident memory before, half-way
and after. Lost is what was not answered with 200.
"""

import argparse
import http.client
import io
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import soundfile


def resident_mib(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(process: int) -> float:
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def clip(seconds: float, seed: int) -> bytes:
    """A WAV of a harmonic voice with a moving pitch, with noise."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * 16_000)) / 16_000
    phase = 2 * np.pi * np.cumsum(rng.uniform(110, 220) * (1 + 0.2 * np.sin(2 * np.pi * t))) / 16_000
    wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    out = io.BytesIO()
    soundfile.write(out, 0.1 * wave + 0.005 * rng.standard_normal(len(t)), 16_000, format="WAV")
    return out.getvalue()


def ask(port: int, data: bytes) -> int:
    """The status of an answer; 0 where there was none."""
    try:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        link.request("POST", "/v1/predict?timeline=false", data, {"content-type": "audio/wav"})
        answer = link.getresponse()
        answer.read()
        link.close()
        return answer.status
    except OSError:
        return 0


def load(port: int, clips: list[bytes], clients: int, requests: int) -> tuple[list[float], list[int], float]:
    """(seconds of each, its status, seconds of all)."""
    numbers, took, said = iter(range(requests)), [], []
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            start = time.perf_counter()
            status = ask(port, clips[number % len(clips)])
            took.append(time.perf_counter() - start)
            said.append(status)

    start, threads = time.perf_counter(), [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, said, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="of all clients together")
    parser.add_argument("--serve", default="", help="more options of `sottovoce serve`, e.g. '--jobs 1'")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "sottovoce", "serve", "--port", str(port), "--queue", "64", *options.serve.split()]
    server = subprocess.Popen(words)
    clips = [clip(2 + k % 5 / 2, k) for k in range(20)]
    try:
        while ask(port, clips[0]) != 200:
            time.sleep(0.3)
        print("| clients | requests | lost | p50 s | p95 s | p99 s | requests/s | CPU ms | server MiB |")
        print("|---|---|---|---|---|---|---|---|---|")
        for clients in (1, 8, 64):
            sizes, used, parts = [resident_mib(server.pid)], cpu_s(server.pid), []
            for _ in range(2):
                parts.append(load(port, clips, clients, options.requests // 6))
                sizes.append(resident_mib(server.pid))
            took, said = ([v for part in parts for v in part[k]] for k in (0, 1))
            whole, used = sum(part[2] for part in parts), cpu_s(server.pid) - used
            p50, p95, p99 = np.quantile(took, [0.5, 0.95, 0.99])
            lost, each_ms = sum(status != 200 for status in said), 1e3 * used / len(said)
            print(f"| {clients} | {len(said)} | {lost} | {p50:.3f} | {p95:.3f} | {p99:.3f} | {len(said) / whole:.1f} | "
                  f"{each_ms:.0f} | {', '.join(f'{size:.0f}' for size in sizes)} |", flush=True)  # fmt: skip
        print(f"\nLoad of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
