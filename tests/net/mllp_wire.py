"""A real MLLP server on uvloop in a thread, and a peer that sends whatever bytes a test wants."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from gateway.domain.mllp import FrameReader, frame
from gateway.net.mllp_server import Limits, MllpServer, Receiver

HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that nothing on loopback takes; a wait this long has failed."""
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class Desk:
    """A receiver that answers each message with itself, unless told to hold its answers."""

    known: Callable[[str], bool] = lambda _: True
    hold: bool = False
    messages: list[bytes] = field(default_factory=list)
    held: list[asyncio.Future[bytes]] = field(default_factory=list)
    wrong: set[bytes] = field(default_factory=set)

    def knows(self, address: str) -> bool:
        return self.known(address)

    async def receive(self, message: bytes, address: str) -> bytes:
        self.messages.append(message)
        if message in self.wrong:
            raise RuntimeError("as the test asked for")
        if self.hold:
            waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self.held.append(waiting)
            return await waiting
        return frame(b"answer to " + message)

    def too_long(self) -> bytes:
        return frame(b"too long")

    def release(self, post: Post) -> None:
        """Answer what is held, and hold nothing any more."""
        self.hold = False

        def answer() -> None:
            for held in self.held:
                if not held.done():
                    held.set_result(frame(b"ok"))

        post.loop.call_soon_threadsafe(answer)


class Post:
    """A server in its thread."""

    def __init__(self, receiver: Receiver, *, tls: ssl.SSLContext | None = None, **changed: Any) -> None:
        usual = {
            "connections": 20,
            "connections_per_address": 20,
            "message_max": 1_000_000,
            "idle": 60.0,
            "stall": 60.0,
        }
        self.faults: list[str] = []
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.faults.append(str(context)))
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.server = MllpServer(receiver, Limits(**{**usual, **changed}))
        self.port = self.run(self.server.listen(HOST, 0, tls=tls))

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until `condition` holds on the server's loop."""

        async def poll() -> None:
            async with asyncio.timeout(PATIENCE):
                while not condition():  # noqa: ASYNC110 -- what is waited for is any state of the server
                    await asyncio.sleep(0.002)

        self.run(poll())

    def close(self) -> None:
        self.run(self.server.drain(PATIENCE / 2))
        self.wait_until(lambda: not self.server._tasks and not self.server._addresses and not self.server._connections)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()
        assert self.faults == []


class Caller:
    """A sender that says exactly what a test tells it to."""

    def __init__(self, port: int, *, source: str = HOST, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection((HOST, port), PATIENCE, source_address=(source, 0))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._frames = FrameReader(message_max=10_000_000)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(map(frame, messages)))

    def answer(self) -> bytes | None:
        """The next answer; None if the server ended the connection."""
        while (message := self._frames.next_message()) is None:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._frames.receive(data)
        return message

    def turned_away(self) -> bool:
        """Whether the server ended the connection without a word."""
        with self:
            return self.answer() is None

    def ask(self, message: bytes) -> bytes | None:
        self.send(message)
        return self.answer()
