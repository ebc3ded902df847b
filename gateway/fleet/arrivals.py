"""What a broker hands to a collector, whatever the broker is.

A source keeps a message until it is settled: one that is not comes again, to this collector or to another. It holds
no more than the broker's window of unsettled messages, so a database that is away stops the flow, not the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ssl import SSLContext
from typing import Protocol

from gateway.domain.model import TemporaryFailure


class BrokerAway(TemporaryFailure):
    """The broker can't be reached, or sent us away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One message as it came."""

    topic: str
    payload: bytes
    at: datetime
    """When it came to us, or to a broker that keeps the time for us."""
    retained: bool
    """The broker's own copy: not told just now."""
    receipt: object
    """For the source, which settles with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where a broker is and who we are to it."""

    hosts: tuple[str, ...]
    port: int
    client_id: str
    username: str = ""
    password: str | None = None
    tls: SSLContext | None = None
    share: str = "fleet"
    """Collectors of one name share the work; empty: this one does it alone."""


class Source(Protocol):
    """A broker, as a collector needs it."""

    @property
    def listening(self) -> bool:
        """Whether messages can come now."""

    async def next(self, most: int) -> Sequence[Arrived]:
        """At most so many, as soon as there is one. Raises BrokerAway."""

    async def settle(self, arrived: Sequence[Arrived]) -> None:
        """What was committed: it need not come again."""

    async def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Say something to a box. Raises BrokerAway."""

    async def close(self) -> None:
        """Leave in order."""
