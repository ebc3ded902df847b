"""An empty datagram wakes another role (DESIGN 3): notify for latency, poll for correctness.

Losing one costs a poll interval, never a piece of work. The socket is bound before the loop gets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from gateway.domain.model import ConfigError

LONGEST_PATH = 107
"""Bytes of the path of a Unix socket (unix(7), sun_path)."""


class Wake(asyncio.DatagramProtocol):
    """A role's own door bell."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def bind(cls, path: Path) -> Wake:
        """Listen at `path`; a socket that an earlier process left there is replaced. Raises ConfigError."""
        length = len(os.fsencode(path))
        if length > LONGEST_PATH:
            raise ConfigError(
                f"box.runtime: its sockets would have paths of {length} bytes, and the system allows {LONGEST_PATH};"
                " write a shorter folder, like /run/gateway"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(str(path))
        path.chmod(0o600)
        _, wake = await asyncio.get_running_loop().create_datagram_endpoint(cls, sock=sock)
        return wake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Until somebody rings, or `seconds` have passed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), seconds)
        self._rung.clear()

    def close(self) -> None:
        """Stop listening."""
        if self._transport is not None:
            self._transport.close()


class Bell:
    """Rings another role's door bell; nobody at home is no error."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self) -> None:
        """Never blocks and never fails; may be called from any thread."""
        with contextlib.suppress(OSError):
            self._socket.sendto(b"", self._path)

    def close(self) -> None:
        self._socket.close()
