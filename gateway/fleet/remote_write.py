"""Samples to VictoriaMetrics or Prometheus by remote write 1.0: protobuf in snappy over HTTP.

What is promised: one sender that both stores take (VictoriaMetrics' own import of text is not Prometheus's); a request
that fails is tried again while the buffer lasts, and then the oldest samples go, counted: metrics never hold up what
must not be lost. A request that the store refuses as wrong (4xx) is dropped and counted, as the specification asks.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import cramjam
import httpx

from gateway.domain.telemetry import Envelope, Health

PREFIX: Final = "gateway_box_"
SAMPLES_MOST: Final = 5000
"""In one request."""
_HEADERS: Final = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "gateway-fleet",
}
_OURS: Final = frozenset(Envelope.__dataclass_fields__) | {"schema", "samples"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number of one series. `labels` are sorted by name, the name of the series among them."""

    labels: tuple[tuple[str, str], ...]
    value: float
    at_ms: int


def samples_of(site: str, box: str, health: Health, *, at: datetime) -> Iterator[Sample]:
    """Every number of a health message."""
    at_ms = int(at.timestamp() * 1000)
    for name in sorted(health.__dataclass_fields__.keys() - _OURS):
        value = getattr(health, name)
        if isinstance(value, Mapping):
            for alias, one in value.items():
                yield _sample(name, {"site": site, "box": box, "name": alias}, one, at_ms)
        elif value is not None:
            yield _sample(name, {"site": site, "box": box}, value, at_ms)


def _sample(name: str, labels: dict[str, str], value: float, at_ms: int) -> Sample:
    named = {"__name__": PREFIX + name, **labels}
    return Sample(labels=tuple(sorted(named.items())), value=float(value), at_ms=at_ms)


def encode(samples: Iterable[Sample]) -> bytes:
    """A WriteRequest, compressed: timeseries = 1 { labels = 1 { name = 1, value = 2 }, samples = 2 { value = 1,
    timestamp = 2 } } of prometheus/prompb/remote.proto and types.proto."""
    body = bytearray()
    for one in samples:
        series = b"".join(_field(1, _text(1, name) + _text(2, value)) for name, value in one.labels)
        point = b"\x09" + struct.pack("<d", one.value) + b"\x10" + _varint(one.at_ms)
        body += _field(1, series + _field(2, point))
    return bytes(cramjam.snappy.compress_raw(bytes(body)))


class RemoteWriter:
    """Keeps samples until the store has them."""

    def __init__(self, url: str, *, kept: int, client: httpx.AsyncClient) -> None:
        self._url = url
        self._kept: deque[Sample] = deque(maxlen=kept)
        self._flying: list[Sample] = []
        """In a request that the store has not taken yet."""
        self._client = client
        self.sent = 0
        self.dropped = 0
        """For want of room, or refused by the store."""

    def __len__(self) -> int:
        return len(self._kept) + len(self._flying)

    def add(self, samples: Iterable[Sample]) -> None:
        for one in samples:
            self.dropped += len(self._kept) == self._kept.maxlen
            self._kept.append(one)

    async def flush(self) -> bool:
        """Send what is kept, oldest first; whether the store took or finally refused all of it."""
        while self._flying or self._kept:
            while self._kept and len(self._flying) < SAMPLES_MOST:
                self._flying.append(self._kept.popleft())
            try:
                answer = await self._client.post(self._url, content=encode(self._flying), headers=_HEADERS)
            except httpx.HTTPError:
                return False
            if answer.status_code >= 500 or answer.status_code == 429:
                return False
            if answer.is_success:
                self.sent += len(self._flying)
            else:
                self.dropped += len(self._flying)
            self._flying.clear()
        return True


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(body)) + body


def _text(number: int, word: str) -> bytes:
    return _field(number, word.encode("utf-8"))


def _varint(value: int) -> bytes:
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)
