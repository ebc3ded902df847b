"""The port of a simulated peer, which can be closed, opened again and broken while it is used.

What is promised: `Port.open` listens, on the same number as before if there was one; `Port.close` stops
listening and ends every association at once, as a peer that is switched off does. A `Session` is the peer's
side of one connection; through its `link` it can end the association in the ways a real peer fails:
A-ABORT (PS3.8 9.3.8), or a connection that is just gone. Not hardened: it is no port for a hospital.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar, cast

import structlog
import uvloop

from gateway.dicom.associate import AssociateAccept, AssociateRequest, UserInformation
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandSet, Status
from gateway.dicom.negotiation import answer
from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.dicom.pdu import CALLED_AE_UNKNOWN, NO_REASON, Reject
from gateway.net.dicom_connection import Connection
from gateway.net.dicom_server import DicomServer, Limits
from gateway.net.dicom_service import Caller, Exchange, Handler, StoreReceiver, StoreRefused

GENEROUS = Limits(
    sockets=1000,
    sockets_per_address=1000,
    associations=1000,
    associations_per_peer=1000,
    artim=60,
    idle=3600,
    message=600,
)
US = UserInformation(
    max_pdu=128 * 1024,
    implementation_class_uid=IMPLEMENTATION_CLASS_UID,
    implementation_version=IMPLEMENTATION_VERSION_NAME,
)
POLL_SECONDS = 0.05
LEAVE_SECONDS: Final = 0.5
_WARNING: Final = 30
PORTS = range(20_000, 32_000)
"""Where ports are chosen from, outside the range that clients' own ports come from. Programs that run side by side and
keep a number while nobody listens at it are each given a part."""

_given: Final = deque[int](maxlen=300)
_choosing: Final = threading.Lock()

Chooser = Callable[[Iterable[str]], str | None]
_T = TypeVar("_T")


class Link(Connection):
    """A connection that its session may break."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        super().connection_made(transport)

    def say(self, raw: bytes) -> None:
        """Send bytes of any kind, whatever the association is about."""
        self._raw.write(raw)

    def cut(self) -> None:
        """Close the connection without a word, as a host that lost its power or its process."""
        self._raw.abort()


class Session:
    """One connection's services (`gateway.net.dicom_service.Services`); a simulator makes one for each."""

    link: Link
    ae: str
    handlers: Mapping[int, Handler] = {}

    def refuses(self) -> bool:
        """Whether associations are rejected now."""
        return False

    def chooser(self, abstract_syntax: str) -> Chooser | None:
        """Who chooses the transfer syntax for a class; None if it is not served."""
        raise NotImplementedError

    def expects(self, address: str) -> bool:
        return True

    def admit(self, request: AssociateRequest, address: str) -> AssociateAccept | Reject:
        if self.refuses():
            return NO_REASON
        if request.called_ae != self.ae:
            return CALLED_AE_UNKNOWN
        return answer(request, self.chooser, us=US)

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> StoreReceiver:
        raise StoreRefused(Status.SOP_CLASS_NOT_SUPPORTED, "this peer stores nothing")


class _Server(DicomServer):
    async def listen_for(self, make: Callable[[], Session], host: str, port: int) -> None:
        def connection() -> Link:
            session = make()
            session.link = Link(self, session)
            return session.link

        listener = await asyncio.get_running_loop().create_server(connection, host, port, reuse_address=True)
        self._listeners.append(listener)

    async def leave(self) -> None:
        """Abort what is open, and close it under a peer that does not: a loop is not to end with a connection open."""
        await self.drain(0)
        loop = asyncio.get_running_loop()
        end = loop.time() + LEAVE_SECONDS
        while self._connections and loop.time() < end:  # noqa: ASYNC110 -- a connection tells nobody that it ended
            await asyncio.sleep(POLL_SECONDS)
        for connection in list(self._connections):
            cast(Link, connection).cut()
        while self._connections:  # noqa: ASYNC110
            await asyncio.sleep(0)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `PORTS` that nobody had a moment ago, and that nobody else was given lately: who asked for it may
    not listen yet.

    Inside the range of clients' own ports, a client that tries a closed port again and again on this host may at last
    connect to itself (TCP simultaneous open) and so take the port. Raises OSError if there is none.
    """
    with _choosing:
        for number in random.SystemRandom().sample(PORTS, 200):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind((host, number))
                if number not in _given:
                    _given.append(number)
                    return number
    raise OSError(errno.EADDRINUSE, f"no free port between {PORTS.start} and {PORTS.stop}")


class Port:
    """A listening port that keeps its number while it is closed."""

    def __init__(self, make_session: Callable[[], Session], host: str, port: int) -> None:
        self._make = make_session
        self._host = host
        self._server: _Server | None = None
        self.number = port
        """0 until the first `open` chooses one."""

    async def open(self) -> None:
        """Listen. Raises OSError if the port can't be had."""
        if self._server is None:
            server = _Server(GENEROUS)
            self.number = self.number or free_port(self._host)
            await server.listen_for(self._make, self._host, self.number)
            self._server = server

    async def close(self) -> None:
        """Stop listening and abort what is open."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.leave()


async def never_answer(exchange: Exchange) -> None:
    """Leave a request without an answer, for as long as its peer waits."""
    while not exchange.closed:  # noqa: ASYNC110 -- a connection tells nobody that it ended
        await asyncio.sleep(POLL_SECONDS)


def no_answer() -> Future[tuple[int, str]]:
    """The outcome of a C-STORE that is never answered."""
    return Future()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the wire's log lines below a warning off a person's screen, unless logging was set up already."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_WARNING))
    try:
        yield
    finally:
        structlog.reset_defaults()


class Simulator(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Host:
    """An event loop in a thread of its own, for callers that have none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine of a simulator, such as `pacs.behave(...)`, and wait for its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


@contextlib.contextmanager
def hosted(*simulators: Simulator) -> Iterator[Host]:
    """Run simulators in a thread, started in order and stopped in reverse."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulators", daemon=True)
    thread.start()
    host = Host(loop)
    started: list[Simulator] = []
    try:
        for simulator in simulators:
            host.call(simulator.start())
            started.append(simulator)
        yield host
    finally:
        for simulator in reversed(started):
            host.call(simulator.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
