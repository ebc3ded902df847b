"""All DICOM listeners of a process, on asyncio (uvloop): limits, timers, start and drain.

What is promised: C-ECHO is answered for every admitted caller. A C-STORE is answered by what its
`StoreReceiver` says, and only then. Every other request becomes an `Exchange` handled by a task of
its own. Memory per peer is one receive buffer plus one bounded identifier per request; the length a
peer declares never decides how much is allocated. Sockets that have not asked for an association
yet are capped per address and in total before anything is allocated for them, and closed after
ARTIM (PS3.8 9.1.5); an association that is idle, or stalls inside a message, is aborted.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from gateway.dicom.dimse import Status
from gateway.net.dicom_connection import Connection
from gateway.net.dicom_service import Exchange, Handler, Services

SWEEP_SECONDS = 1.0
BACKLOG = 512

log = structlog.get_logger()
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer can take of us; times in seconds."""

    sockets: int
    sockets_per_address: int
    associations: int
    associations_per_peer: int
    artim: float
    idle: float
    message: float
    """Without a byte inside a message."""


class DicomServer:
    """Listeners that share limits; also the `Registry` of their connections."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.artim, self.idle, self.message = limits.artim, limits.idle, limits.message
        self.refused_sockets = 0
        self._connections: set[Connection] = set()
        self._waiting: Counter[str] = Counter()
        self._associations: Counter[tuple[str, str]] = Counter()
        self._listeners: list[asyncio.Server] = []
        self._numbers = itertools.count(1)
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def listen(self, services: Services, address: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Open a port and return it (of use where `port` is 0). Raises OSError if it can't be had."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: Connection(self, services), address, port, ssl=tls, backlog=BACKLOG, reuse_address=True
        )
        self._listeners.append(listener)
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        return int(listener.sockets[0].getsockname()[1])

    async def drain(self, grace: float) -> None:
        """Stop listening, let what was begun finish for `grace` seconds, then abort what is left."""
        self._draining = True
        for listener in self._listeners:
            listener.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        while any(connection.busy for connection in self._connections) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for connection in list(self._connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def associations(self) -> int:
        """Associations that stand now."""
        return self._associations.total()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self._connections):
            connection.check_timers(loop.time())
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    # -- `Registry`, called by the connections --

    def take_socket(self, connection: Connection, address: str) -> bool:
        if self._waiting.total() >= self.limits.sockets or self._waiting[address] >= self.limits.sockets_per_address:
            self.refused_sockets += 1
            return False
        self._waiting[address] += 1
        self._connections.add(connection)
        return True

    def leave_socket(self, address: str) -> None:
        _decrease(self._waiting, address)

    def take_association(self, calling_ae: str, address: str) -> str | None:
        """A short identifier for a new association; None if there are too many."""
        peer = (calling_ae, address)
        if self._draining or self._associations.total() >= self.limits.associations:
            return None
        if self._associations[peer] >= self.limits.associations_per_peer:
            return None
        self._associations[peer] += 1
        return f"a{next(self._numbers)}"

    def leave_association(self, calling_ae: str, address: str) -> None:
        _decrease(self._associations, (calling_ae, address))

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def start(self, handler: Handler, exchange: Exchange, done: Callable[[], None]) -> None:
        """Run `handler` as a task; whatever it raises is answered as a processing failure."""
        task = asyncio.create_task(_handle(handler, exchange))
        self._tasks.add(task)

        def finished(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            done()

        task.add_done_callback(finished)


async def _handle(handler: Handler, exchange: Exchange) -> None:
    try:
        await handler(exchange)
    except Exception as error:  # noqa: BLE001 -- the server's edge: one failed request must not end the association
        # The message may quote what the peer sent, so only its type and place are logged
        log.error("request failed", field=f"{exchange.command.CommandField:04x}", error=type(error).__name__)
        exchange.respond(Status.PROCESSING_FAILURE)


def _decrease(counter: Counter[_Key], key: _Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
