"""Lines on their way to a syslog server, over TLS (RFC 5425): one thread, one connection, a queue that never blocks.

Promises
- `send` returns at once, whatever the server does. Beyond `waiting` lines the oldest go, and the next that is sent says
  how many (`left-out`): a log that stops the box would be worse than a gap in it.
- The server's certificate is always checked. A connection that broke is made anew, after waits that grow to a minute,
  and with the certificates that are there then; the line that was being sent is sent again. RFC 5425 acknowledges
  nothing, so what was in the buffers of a connection that broke is lost: what must not be lost is told by MQTT
  (`gateway.spool.outbox`).
- `close` sends what waits, for at most as long as it is told.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.domain.model import TemporaryFailure
from gateway.domain.syslog import framed
from gateway.net.connection import connected
from gateway.net.tls import Context

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 60.0
READ: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where lines go; times in seconds."""

    host: str
    port: int
    tls: Context
    """Asked for each connection."""
    timeout: float
    """For connecting, and for a line that the server does not take."""


class Syslog:
    """Lines on their way."""

    def __init__(self, server: Server, *, waiting: int, gap: Callable[[int], bytes]) -> None:
        """`waiting`: lines that are kept; `gap` makes the line that says how many were not."""
        self._server = server
        self._gap = gap
        self._lines: deque[bytes] = deque()
        self._most = waiting
        self._lost = 0
        self._changed = threading.Condition()
        self._closing = False
        self._connection: ssl.SSLSocket | socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)
        self._thread.start()

    def send(self, line: bytes) -> None:
        """Hand in a line; from any thread."""
        with self._changed:
            if len(self._lines) >= self._most:
                self._lines.popleft()
                self._lost += 1
            self._lines.append(line)
            self._changed.notify()

    def close(self, *, within: float) -> None:
        """Send what waits, for at most so many seconds; then no more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within)
        self._drop()

    def _run(self) -> None:
        wait = FIRST_WAIT
        while self._await_line():
            try:
                self._send_next()
                wait = FIRST_WAIT
            except (OSError, TemporaryFailure):
                self._drop()
                with self._changed:
                    if self._closing:
                        return
                    self._changed.wait_for(lambda: self._closing, wait)
                wait = min(2 * wait, LONGEST_WAIT)
        self._drop()

    def _await_line(self) -> bool:
        """Whether there is a line; False: there will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            return bool(self._lines)

    def _send_next(self) -> None:
        """One line; it stays at the head until the connection took it. Raises OSError, TemporaryFailure."""
        connection = self._connected()
        with self._changed:
            lost, line = self._lost, self._lines[0]
        if lost:
            connection.sendall(framed(self._gap(lost)))
            with self._changed:
                self._lost -= lost
        connection.sendall(framed(line))
        with self._changed:
            if self._lines and self._lines[0] is line:
                self._lines.popleft()

    def _connected(self) -> ssl.SSLSocket | socket.socket:
        """The connection: the one that stands, unless the server has ended it meanwhile."""
        if self._connection is None or self._has_ended(self._connection):
            self._drop()
            self._connection = connected(
                self._server.host, self._server.port, within=self._server.timeout, tls=self._server.tls
            )
        return self._connection

    def _has_ended(self, connection: ssl.SSLSocket | socket.socket) -> bool:
        connection.settimeout(0.0)
        try:
            return not connection.recv(READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            connection.settimeout(self._server.timeout)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.close()
