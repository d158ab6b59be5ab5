"""What `/metrics` tells, as Prometheus reads it."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Counters:
    def __init__(self, inside: Callable[[], float], streams: Callable[[], float]):
        self.registry = CollectorRegistry()
        told: Any = {"registry": self.registry, "namespace": "sottovoce"}
        self.requests = Counter("requests", "Requests by path and status.", ["path", "status"], **told)
        self.seconds = Histogram("request_seconds", "From a request to its answer.", ["path"], buckets=SECONDS, **told)
        self.audio = Counter("audio_seconds", "Seconds of audio that were answered.", **told)
        self.uploaded = Counter("upload_bytes", "Bytes of recordings that arrived.", **told)
        Gauge("requests_inside", "Recordings that wait or are being heard.", **told).set_function(inside)
        Gauge("streams_open", "WebSockets that are open.", **told).set_function(streams)

    def text(self) -> bytes:
        return generate_latest(self.registry)
