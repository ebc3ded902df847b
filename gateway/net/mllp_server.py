"""The port for HL7 messages: MLLP over asyncio, TLS by the same profile as DICOM's (HL7 v2.5.1 appendix C).

Promises
- Messages of a connection are handed over in the order they came, and their answers go back in that
  order. A sender that does not wait for each answer is served too, up to a bound.
- Everything is bounded: connections, also those in their TLS handshake; the size of a message; the time a
  connection is silent, a message stands still, or an answer waits to be read. Who reads no answers is
  read no further.
- A message that is too long is answered AR and ends its connection. An address that no sender has is not
  heard at all. A sender that is gone without a word holds its place no longer than keep-alive takes to notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from gateway.domain.mllp import FrameReader, FrameTooLong
from gateway.net.connection import prepare
from gateway.net.rate import Rate

BACKLOG: Final = 128
READ: Final = 65536
"""Bytes of one read."""
AHEAD: Final = 16
"""Messages of one connection that may wait for their answers."""
LARGE: Final = 65536
"""A message of more bytes is read no further than until it is answered."""
HANDSHAKE_SECONDS: Final = 10.0
LINGER_SECONDS: Final = 2.0
ACCEPT_PAUSE: Final = 0.1

log = structlog.get_logger()


class Receiver(Protocol):
    """What is done with messages."""

    def knows(self, address: str) -> bool:
        """Whether a sender may call from this address."""

    def receive(self, message: bytes, address: str) -> Awaitable[bytes]:
        """Begin what is to be done, in the order of the calls; what to write back is known when it is done."""

    def too_long(self) -> bytes:
        """What to write back for a message that is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What senders can take of us; times in seconds."""

    connections: int
    connections_per_address: int
    message_max: int
    idle: float
    stall: float


class MllpServer:
    """One port and its connections."""

    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        self._receiver = receiver
        self._limits = limits
        self._addresses: Counter[str] = Counter()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._lines = Rate(per_second=2.0, burst=20)

    async def listen(self, address: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Open the port and return it (of use where `port` is 0). Raises OSError if it can't be had."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.create_server((address, port), family=family, backlog=BACKLOG)
        listening.setblocking(False)
        self._accepting = self._keep(self._accept(listening, tls))
        return int(listening.getsockname()[1])

    async def drain(self, grace: float) -> None:
        """Take no more messages, answer those that were taken for up to `grace` seconds, then close."""
        if self._accepting is not None:
            self._accepting.cancel()
        for connection in self._connections:
            connection.read_no_further()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                try:
                    sock, peer = await loop.sock_accept(listening)
                except OSError as error:  # no descriptors left, or the peer has gone already
                    log.error("HL7 connection not taken", error=error.strerror)
                    await asyncio.sleep(ACCEPT_PAUSE)
                    continue
                address = str(peer[0])
                if reason := self._refusal(address):
                    sock.close()
                    self._say("HL7 connection refused", address=address, reason=reason)
                else:
                    self._addresses[address] += 1
                    self._keep(self._serve(sock, address, tls))

    def _refusal(self, address: str) -> str:
        if not self._receiver.knows(address):
            return "no sender has this address: add it to the address of a [[sender]]"
        if self._addresses.total() >= self._limits.connections:
            return "[mllp] connections are all taken"
        if self._addresses[address] >= self._limits.connections_per_address:
            return "[mllp] connections_per_address are all taken"
        return ""

    async def _serve(self, sock: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            prepare(sock)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=HANDSHAKE_SECONDS if tls else None,
            )
            transport.set_write_buffer_limits(high=0)  # what was drained is with the system
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            connection = _Connection(self._receiver, self._limits, reader, writer, address)
            self._connections.add(connection)
            try:
                ended = await connection.run()
            finally:
                self._connections.discard(connection)
                transport.close()
            if ended:
                transport.abort()
                self._say("HL7 connection ended", address=address, reason=ended)
        except OSError as error:  # of the handshake
            sock.close()
            self._say("no HL7 connection", address=address, error=type(error).__name__)
        finally:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _say(self, event: str, **words: str) -> None:
        if self._lines.allows(asyncio.get_running_loop().time()):
            log.info(event, left_out=self._lines.take_left_out(), **words)


class _Connection:
    """One connection: one task reads and hands over, one waits for answers and writes them."""

    def __init__(
        self,
        receiver: Receiver,
        limits: Limits,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
    ) -> None:
        self._receiver = receiver
        self._limits = limits
        self._reader = reader
        self._writer = writer
        self._address = address
        self._frames = FrameReader(message_max=limits.message_max)
        self._answers: asyncio.Queue[Awaitable[bytes] | None] = asyncio.Queue(AHEAD)
        self._reading: asyncio.Task[str] | None = None

    async def run(self) -> str:
        """Until the peer or we end it; why, if there is more to say than that the peer did."""
        self._reading = asyncio.create_task(self._read())
        answering = asyncio.create_task(self._answer())
        await asyncio.wait({self._reading, answering}, return_when=asyncio.FIRST_COMPLETED)
        last = asyncio.create_task(self._answers.put(None))  # may have to wait for room
        tasks = (answering, self._reading, last)
        try:
            await asyncio.wait({answering})
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        return next(filter(None, map(_reason, ends)), "")

    def read_no_further(self) -> None:
        """Answer what was read, then end."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> str:
        while True:
            seconds = self._limits.stall if self._frames.begun else self._limits.idle
            try:
                async with asyncio.timeout(seconds):
                    data = await self._reader.read(READ)
            except TimeoutError:
                return "a message stood still" if self._frames.begun else "silent for too long"
            if not data:
                return "the sender left in the middle of a message" if self._frames.begun else ""
            self._frames.receive(data)
            try:
                while (message := self._frames.next_message()) is not None:
                    await self._answers.put(asyncio.ensure_future(self._receiver.receive(message, self._address)))
                    if len(message) > LARGE:
                        await self._answers.join()
            except FrameTooLong:
                await self._answers.put(_ready(self._receiver.too_long()))
                await self._discard()
                return "a message was longer than [mllp] message_max"

    async def _discard(self) -> None:
        """Closing with bytes unread would take our answer from the peer, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while await self._reader.read(READ):
                    pass

    async def _answer(self) -> str:
        while (pending := await self._answers.get()) is not None:
            try:
                answer = await pending
            except Exception as error:  # noqa: BLE001 -- the port's edge: without an answer the sender sends again
                return f"a message could not be taken ({type(error).__name__})"
            self._writer.write(answer)
            try:
                async with asyncio.timeout(self._limits.stall):
                    await self._writer.drain()
            except TimeoutError:
                return "the sender does not read its answers"
            self._answers.task_done()
        return ""


async def _ready(answer: bytes) -> bytes:
    return answer


def _reason(end: object) -> str:
    """Why a task ended, of its result."""
    if isinstance(end, asyncio.CancelledError):
        return ""
    return f"lost ({type(end).__name__})" if isinstance(end, BaseException) else str(end or "")
