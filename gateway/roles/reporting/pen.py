"""Writes the messages of this box: their envelopes, and how each goes on the wire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from gateway.domain.issue import Severity
from gateway.domain.telemetry import Clock, Envelope, Event, Kind, Writer
from gateway.domain.telemetry_fields import eid, sid
from gateway.domain.topics import CHANNELS, Leaf, Topic
from gateway.net.mqtt import Outgoing


class Pen:
    """Of one start of the reporting; may be used from any thread."""

    def __init__(
        self,
        *,
        site: str,
        box: str,
        writer: Writer,
        log: str,
        start: int,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._site = site
        self._box = box
        self._writer = writer
        self.log = log
        self._start = start
        self._connection = 0
        self._now = now
        self._monotonic = monotonic
        self._entropy = entropy
        self.clock = Clock(sync=False)
        """What is known of the clock of the box."""

    @property
    def sid(self) -> str:
        """Of the connection that is, or was last."""
        return sid(self.log, self._start, self._connection)

    def next_connection(self) -> None:
        """What is written from now on belongs to another connection."""
        self._connection += 1

    def envelope(self, seq: int, *, at: datetime | None = None, eid_: str = "") -> dict[str, Any]:
        """What every message begins with."""
        now = self._now()
        return {
            "box": self._box,
            "log": self.log,
            "sid": self.sid,
            "seq": seq,
            "eid": eid_ or eid(now, self._entropy(10)),
            "ts": at or now,
            "mono_ms": int(self._monotonic() * 1000),
            "clk": self.clock,
        }

    def event(self, seq: int, kind: Kind, *, at: datetime, sev: Severity, eid_: str = "", **told: Any) -> bytes:
        """The body of an event as it is kept and sent. Raises ValueError for a value that is not listed."""
        return self.encode(Event(**self.envelope(seq, at=at, eid_=eid_), kind=kind, sev=sev, **told))

    def encode(self, message: object) -> bytes:
        """Its JSON. Raises ValueError for a value that is not listed."""
        return self._writer.encode(message)

    def new_eid(self) -> str:
        """An identifier for an event that is told of in more than one message."""
        return eid(self._now(), self._entropy(10))

    def sealed(self, leaf: Leaf, message: Envelope, *, code: str = "", inst: str = "") -> Outgoing:
        """A message as it goes on the wire. Raises ValueError for a value that is not listed."""
        return self.outgoing(
            leaf, self.encode(message), schema=str(getattr(message, "schema", "")), code=code, inst=inst
        )

    def outgoing(
        self,
        leaf: Leaf,
        payload: bytes,
        *,
        schema: str = "",
        code: str = "",
        inst: str = "",
        correlation: bytes = b"",
    ) -> Outgoing:
        """What is written already, as it goes on the wire. An empty payload takes a retained message away."""
        channel = CHANNELS[leaf]
        return Outgoing(
            topic=str(Topic(site=self._site, box=self._box, leaf=leaf, code=code, inst=inst)),
            payload=payload,
            retain=channel.retained,
            expiry=None if channel.expiry is None else int(channel.expiry.total_seconds()),
            properties=(("schema", schema), ("sid", self.sid)) if schema else (("sid", self.sid),),
            correlation=correlation,
        )

    def topic(self, leaf: Leaf) -> str:
        """A topic of this box."""
        return str(Topic(site=self._site, box=self._box, leaf=leaf))
