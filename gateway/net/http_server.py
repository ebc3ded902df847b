"""A web server for a few askers, on a loop and a thread of its own.

What is promised: the loop that scanners hang on never renders a page or waits for a browser, and since the server is
not on the main thread it leaves the process's signals alone. Connections are bounded in number, headers in size, and a
connection on which nothing was answered for STALL_SECONDS is cut, so that nobody holds one by being slow. A port that
can't be had keeps nobody else from starting: it is asked for again.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.net.upkeep import pause

CONNECTIONS: Final = 64
KEEP_ALIVE_SECONDS: Final = 15
"""Longer than a page waits before it asks again."""
STALL_SECONDS: Final = 30.0
"""More than any answer takes: the spool is given up after five."""
DRAIN_SECONDS: Final = 2
HEADERS_MAX: Final = 16 * 1024
BACKLOG: Final = 64
RETRY_SECONDS: Final = 30.0
"""Between two attempts to have the port."""

log = structlog.get_logger()


class HttpServer:
    """Make it (it takes its port at once, if that is free), then `run` it."""

    def __init__(
        self, app: ASGIApp, *, address: str, port: int, name: str, told: Callable[[bool], object] = lambda had: None
    ) -> None:
        """`name`: that of its thread. `told`: at once whether it has its port, and when it got one that was taken."""
        self._place = (address, port)
        self._name = name
        self._told = told
        self._server = _server(app)
        self._socket = self._taken()
        told(self.listens)

    @property
    def listens(self) -> bool:
        """Whether it has its port."""
        return self._socket is not None

    @property
    def port(self) -> int:
        """The port that it listens on, or is to."""
        return self._place[1] if self._socket is None else int(self._socket.getsockname()[1])

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; what is being answered is finished for up to DRAIN_SECONDS. Raises RuntimeError if it
        ended by itself."""
        while self._socket is None:
            await pause(RETRY_SECONDS, stop)
            if stop.is_set():
                return
            self._socket = self._taken()
            if self._socket is not None:
                self._told(True)
        await self._run(stop, self._socket)

    def _taken(self) -> socket.socket | None:
        try:
            listening = _listening(*self._place)
        except OSError as error:
            log.error("port not had", of=self._name, address=self._place[0], port=self._place[1], error=error.strerror)
            return None
        log.info("pages served", of=self._name, address=self._place[0], port=listening.getsockname()[1])
        return listening

    async def _run(self, stop: asyncio.Event, listening: socket.socket) -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(
            target=self._serve, args=(listening, lambda: loop.call_soon_threadsafe(ended.set)), name=self._name
        )
        thread.start()
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(ended.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._server.should_exit = True
            for wait in waits:
                wait.cancel()
            await asyncio.to_thread(thread.join)
        if not stop.is_set():
            raise RuntimeError(f"the web server of {self._name} ended by itself: its last words are in the log")

    def _serve(self, listening: socket.socket, ended: Callable[[], object]) -> None:
        try:
            self._server.run(sockets=[listening])
        finally:
            ended()


class _Bounded(H11Protocol):
    """Cuts a connection on which nothing was answered for STALL_SECONDS, whatever its peer sent or did not read."""

    _cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._give_time()

    def on_response_complete(self) -> None:
        self._give_time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def _give_time(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
        self._cut = self.loop.call_later(STALL_SECONDS, self.transport.abort)


def _server(app: ASGIApp) -> uvicorn.Server:
    bounded: Any = _Bounded
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=bounded,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
            h11_max_incomplete_event_size=HEADERS_MAX,
        )
    )


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
