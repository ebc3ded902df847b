"""All DICOM listeners of a process, on asyncio (uvloop): limits, timers, start and drain.

What is promised: C-ECHO is answered for every admitted caller. A C-STORE is answered by what its
`StoreReceiver` says, and only then. Every other request becomes an `Exchange` handled by a task of
its own. Memory per peer is one receive buffer plus one bounded identifier per request; the length a
peer declares never decides how much is allocated. Sockets that have not asked for an association
yet are capped per address and in total before anything is done for them, TLS handshakes included, and
closed after ARTIM (PS3.8 9.1.5); who makes room when they are too many is told in `dicom_places`. An
association that is idle, trickles a message, or does not read its answers, is aborted. A flood of calls
that are turned away becomes no flood of log lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from gateway.dicom.dimse import Status
from gateway.dicom.pdu import Reject
from gateway.net.dicom_connection import Connection
from gateway.net.dicom_gathering import Memory
from gateway.net.dicom_places import Places
from gateway.net.dicom_service import Exchange, Handler, Services
from gateway.net.memory import give_back
from gateway.net.rate import Rate

SWEEP_SECONDS = 1.0
BACKLOG = 512
ACCEPT_PAUSE = 0.1
"""Seconds to wait when a connection can't be taken."""
REFUSALS_PER_SECOND = 2.0
REFUSALS_AT_ONCE = 20
TELL_SECONDS = 60.0
"""Between two lines about the refusals that got no line of their own."""
CROWD = 32
"""Connections whose end leaves memory worth giving back."""

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
    """Without progress inside a message, or without reading our answers."""


class DicomServer:
    """Listeners that share limits; also the `Registry` of their connections."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.artim, self.idle, self.message = limits.artim, limits.idle, limits.message
        self.refused_sockets = 0
        self.memory = Memory()
        self._connections: set[Connection] = set()
        self._waiting = Places(total=limits.sockets, per_address=limits.sockets_per_address)
        self._refusals = Rate(per_second=REFUSALS_PER_SECOND, burst=REFUSALS_AT_ONCE)
        self._told_at = -TELL_SECONDS
        self._told_sockets = 0
        self._associations: Counter[tuple[str, str]] = Counter()
        self._listeners: list[asyncio.Server] = []
        self._numbers = itertools.count(1)
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._own_tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._most = 0
        """Connections there were since memory was given back."""

    async def listen(self, services: Services, address: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Open a port and return it (of use where `port` is 0). Raises OSError if it can't be had."""
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        if tls is None:
            listener = await loop.create_server(
                lambda: Connection(self, services), address, port, backlog=BACKLOG, reuse_address=True
            )
            self._listeners.append(listener)
            return int(listener.sockets[0].getsockname()[1])
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        accepting = socket.create_server((address, port), family=family, backlog=BACKLOG)
        accepting.setblocking(False)
        self._keep(self._accept_tls(accepting, services, tls))
        return int(accepting.getsockname()[1])

    async def _accept_tls(self, accepting: socket.socket, services: Services, tls: ssl.SSLContext) -> None:
        # asyncio tells us of a TLS peer when its handshake is done; until then it would not be counted
        loop = asyncio.get_running_loop()
        with accepting:
            while not self._draining:
                try:
                    sock, peer = await loop.sock_accept(accepting)
                except OSError as error:  # no descriptors left, or the peer has gone already
                    log.error("connection not taken", error=error.strerror)
                    await asyncio.sleep(ACCEPT_PAUSE)
                    continue
                connection = Connection(self, services)
                if connection.enter(str(peer[0]), partial(_cut, sock)):
                    self._keep(self._shake_hands(connection, sock, tls))
                else:
                    sock.close()

    async def _shake_hands(self, connection: Connection, sock: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, sock, ssl=tls, ssl_handshake_timeout=self.artim, ssl_shutdown_timeout=self.artim
            )
        except (OSError, asyncio.CancelledError) as error:
            if self._refusals.allows(asyncio.get_running_loop().time()):
                log.info("no TLS connection", error=type(error).__name__)
            connection.connection_lost(None)
            sock.close()

    async def drain(self, grace: float) -> None:
        """Stop listening, let what was begun finish for `grace` seconds, then abort what is left."""
        self._draining = True
        for listener in self._listeners:
            listener.close()
        for task in self._own_tasks:
            task.cancel()
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
        await asyncio.gather(*self._tasks, *self._own_tasks, return_exceptions=True)

    @property
    def associations(self) -> int:
        """Associations that stand now."""
        return self._associations.total()

    @property
    def callers(self) -> frozenset[str]:
        """The AE titles, as admission knows them, whose associations stand now."""
        return frozenset(calling_ae for calling_ae, _ in self._associations)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        for connection in list(self._connections):
            connection.check_timers(loop.time())
        self._tell(loop.time())
        self._most = max(self._most, len(self._connections))
        if self._most >= CROWD and len(self._connections) <= self._most // 2:
            self._most = len(self._connections)
            give_back()

    def _tell(self, now: float) -> None:
        """One line for all refusals that got none: a flood of calls must not become one of lines."""
        if now - self._told_at < TELL_SECONDS:
            return
        turned_away = self.refused_sockets + self._waiting.displaced
        sockets, self._told_sockets = turned_away - self._told_sockets, turned_away
        refusals = self._refusals.take_left_out()
        if sockets or refusals:
            self._told_at = now
            log.warning("too many calls to log each", sockets=sockets, refusals=refusals)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._own_tasks.add(task)
        task.add_done_callback(self._own_tasks.discard)

    # -- `Registry`, called by the connections --

    def take_socket(self, connection: Connection, address: str, *, expected: bool) -> bool:
        if self._draining:
            return False  # it came as the listener closed: nobody would end it later
        if not self._waiting.take(connection, address, expected=expected):
            self.refused_sockets += 1
            return False
        self._connections.add(connection)
        return True

    def leave_socket(self, connection: Connection, address: str) -> None:
        self._waiting.leave(connection, address)

    def refused(self, answer: Reject) -> None:
        if self._refusals.allows(asyncio.get_running_loop().time()):
            log.info("association refused", result=answer.result, source=answer.source, reason=answer.reason)

    def take_association(self, calling_ae: str, address: str) -> str | None:
        """A short identifier for a new association; None if there are too many."""
        peer = (_folded(calling_ae), address)
        if self._draining or self._associations.total() >= self.limits.associations:
            return None
        if self._associations[peer] >= self.limits.associations_per_peer:
            return None
        self._associations[peer] += 1
        return f"a{next(self._numbers)}"

    def leave_association(self, calling_ae: str, address: str) -> None:
        _decrease(self._associations, (_folded(calling_ae), address))

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
    if not exchange.answered:
        exchange.respond(Status.PROCESSING_FAILURE)


def _folded(calling_ae: str) -> str:
    """An AE title as admission knows it: "CT1" and "ct1" are one peer, not two with a share each."""
    return calling_ae.strip().casefold()


def _cut(sock: socket.socket) -> None:
    """End a connection whose TLS handshake runs; the handshake's own failure cleans up."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _decrease(counter: Counter[_Key], key: _Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
