"""Role console: web pages and the REST API over what stands in the spool (promises: pages, api, guard).

It reads; the desk, the orders and the tasks alone write (desk, orders, tasks). It listens on a loopback address alone
until there are accounts, and answers on a thread of its own (gateway.net.http_server).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from gateway.domain.desk import DeskPolicy
from gateway.domain.model import ConfigError
from gateway.domain.orders import Sender
from gateway.domain.overview import Configured
from gateway.net.http_server import HttpServer
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


class Console:
    """The web server. Make it (it takes its port at once, if that is free), then `run` it."""

    def __init__(
        self,
        spool: Spool,
        *,
        address: str,
        port: int,
        place: Place,
        configured: Configured,
        scanners: Sequence[ConfiguredScanner],
        added: Callable[[str], ServedBy],
        desk: DeskPolicy,
        orders: Sender,
        port_had: Callable[[bool], None],
        woken: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        """`scanners` are the configuration's; `added` is how a scanner of this profile is served that a command added;
        `orders` is how what programs order is read; `port_had` is told whether it has its port; `woken` tells forward
        that a decision waits.

        Raises ConfigError for an address that is not loopback and for no port.
        """
        if not port:
            raise ConfigError("console.port: is 0, so there is no console to serve; write a port, like 8080")
        if not is_loopback(address):
            raise ConfigError(
                "console.address: is no loopback address, and there are no accounts yet, so anyone there could read;"
                ' write "127.0.0.1" and come through an SSH tunnel (ssh -L 8080:127.0.0.1:8080)'
            )
        self._books = Books(spool, configured=configured, now=now)
        rules = DeskRules(policy=desk, stations=[one.ae for one in scanners], zone=place.zone, now=now)
        told = OrderRules(sender=orders, now=now)
        decided = TaskRules(zone=place.zone, now=now, woken=woken)
        site = Site(place=place, scanners=scanners, added=added, desk=rules, orders=told, tasks=decided, now=now)
        self.server = HttpServer(
            application(site, self._books), address=address, port=port, name="console", told=port_had
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`."""
        try:
            await self.server.run(stop)
        finally:
            self._books.close()
