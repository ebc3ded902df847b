"""A time server on loopback (RFC 5905), right or wrong, for whoever asks it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SINCE_1900 = 2_208_988_800


@contextmanager
def time_server(*, ahead: float = 0.0, stratum: int = 1, leap: int = 0) -> Iterator[int]:
    """An NTP server on loopback (RFC 5905), `ahead` seconds ahead of us; its port."""
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind(("127.0.0.1", 0))
    stop = threading.Event()

    def answer() -> None:
        wire.settimeout(0.1)
        while not stop.is_set():
            try:
                asked, whom = wire.recvfrom(512)
            except TimeoutError:
                continue
            now = _stamp(time.time() + ahead)
            head = struct.pack("!BBbb3I", leap << 6 | 0x24, stratum, 6, -20, 0, 0, 0x4C4F434C)
            wire.sendto(head + now + asked[40:48] + now + _stamp(time.time() + ahead), whom)

    server = threading.Thread(target=answer, daemon=True)
    server.start()
    try:
        yield wire.getsockname()[1]
    finally:
        stop.set()
        server.join()
        wire.close()


def _stamp(seconds: float) -> bytes:
    since = seconds + SINCE_1900
    return struct.pack("!II", int(since) % (1 << 32), int(since % 1 * (1 << 32)))
