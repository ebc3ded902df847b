"""Role console: web pages and the REST API over what stands in the spool (promises: pages, api, metrics, guard).

It reads; the desk, the orders and the tasks alone write (desk, orders, tasks). It listens on a loopback address alone
until there are accounts. Its server runs on a loop and a thread of its own: in `serve all` the loop that scanners hang
on never renders a page or waits for a browser, and since the server is not on the main thread it leaves the process's
signals alone.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gateway.domain.desk import DeskPolicy
from gateway.domain.model import ConfigError
from gateway.domain.orders import Sender
from gateway.roles.console.api import ConfiguredScanner, ServedBy
from gateway.roles.console.books import Books
from gateway.roles.console.desk import DeskRules
from gateway.roles.console.guard import is_loopback
from gateway.roles.console.orders import OrderRules
from gateway.roles.console.pages import Place
from gateway.roles.console.site import Site, application
from gateway.roles.console.tasks import TaskRules
from gateway.spool import Spool

__all__ = ["Console", "Place", "ConfiguredScanner", "ServedBy"]

CONNECTIONS: Final = 64
KEEP_ALIVE_SECONDS: Final = 15
"""Longer than a page waits before it asks again."""
DRAIN_SECONDS: Final = 2
HEADERS_MAX: Final = 16 * 1024
BACKLOG: Final = 64


class Console:
    """The web server. Make it (it takes its port at once), then `run` it."""

    def __init__(
        self,
        spool: Spool,
        *,
        address: str,
        port: int,
        place: Place,
        destinations: Sequence[str],
        refresh: Mapping[str, timedelta],
        mpps_peers: Sequence[str],
        order_receivers: Sequence[str],
        scanners: Sequence[ConfiguredScanner],
        added: Callable[[str], ServedBy],
        desk: DeskPolicy,
        orders: Sender,
        woken: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        """`destinations`, `refresh` (how often each RIS is asked) and `scanners` are the configuration's; `added` is
        how a scanner of this profile is served that a command added; `orders` is how what programs order is read;
        `woken` tells forward that a decision waits.

        Raises ConfigError for an address that is not loopback and for no port, OSError if the port can't be had.
        """
        if not port:
            raise ConfigError("console.port: is 0, so there is no console to serve; write a port, like 8080")
        if not is_loopback(address):
            raise ConfigError(
                "console.address: is no loopback address, and there are no accounts yet, so anyone there could read;"
                ' write "127.0.0.1" and come through an SSH tunnel (ssh -L 8080:127.0.0.1:8080)'
            )
        self._books = Books(
            spool,
            destinations=destinations,
            refresh=refresh,
            mpps_peers=mpps_peers,
            order_receivers=order_receivers,
            now=now,
        )
        rules = DeskRules(policy=desk, stations=[one.ae for one in scanners], zone=place.zone, now=now)
        self._socket = _listening(address, port)
        told = OrderRules(sender=orders, now=now)
        decided = TaskRules(zone=place.zone, now=now, woken=woken)
        site = Site(place=place, scanners=scanners, added=added, desk=rules, orders=told, tasks=decided, now=now)
        self._server = _server(application(site, self._books))

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; what is being answered is finished for up to DRAIN_SECONDS."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(
            target=self._serve, args=(lambda: loop.call_soon_threadsafe(ended.set),), name="console"
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
            self._books.close()
        if not stop.is_set():
            raise RuntimeError("the console's server ended by itself: its last words are in the log")

    def _serve(self, ended: Callable[[], object]) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            ended()


def _server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
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
