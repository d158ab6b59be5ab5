"""What a server allows. Every bound is there so that one client cannot take the machine from the others."""

from dataclasses import dataclass
from typing import ClassVar

from sottovoce.config.ranges import Count, Positive, Settings


@dataclass(frozen=True)
class Serving(Settings, group="serving"):
    renamed: ClassVar[dict[str, str]] = {}

    jobs: Count = 1  # recordings heard at a time, a thread each
    queue: Count = 32  # that wait; one more is refused with 429
    streams: Count = 8  # WebSockets at a time
    upload_mb: Positive = 100.0  # of a request's body
    uploads: Count = 10  # times upload_mb: of all bodies at a time; more is refused with 429
    upload_s: Positive = 60.0  # until it has to be there
    answer_s: Positive = 300.0  # until a request that waits is answered with 504
    longest_s: Positive = 3600.0  # of a recording or a stream
    channels: Count = 2  # of a recording, most
    rate_hz: Count = 96_000  # samples a second, most
    api_key: str = ""  # "" = everybody may ask
    cors: tuple[str, ...] = ()  # origins whose pages may ask; () = none but our own
