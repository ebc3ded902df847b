"""The wiring of the synthetic patient in edge: the same roles over books of its own.

Its books are a spool beside the clinical one, in `selftest` of the state folder, on the same disk. Edge and forward
have both open; nothing is ever moved from one to the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

import structlog

from gateway.app.peers import HERE, now
from gateway.config import Config, load_profiles
from gateway.config.mappings import order_mapping
from gateway.domain.admission import KnownCaller
from gateway.domain.hl7 import Message
from gateway.domain.model import PermanentFailure, SourceName
from gateway.domain.orders import Sender
from gateway.domain.orders import read as read_message
from gateway.domain.profile import GENERIC
from gateway.domain.synthetic import SCANNER, SENDER
from gateway.net.wake import Bell
from gateway.roles.orders import Apply, Orders
from gateway.roles.orders import Sender as OrderSender
from gateway.roles.storage import Storage, read_origin
from gateway.roles.worklist import Policy, Retention, Worklist
from gateway.spool import Spool, orders
from gateway.spool.db import DAMAGED

BELL: Final = "selftest.sock"
KEPT: Final = timedelta(hours=1)
"""How long rows of a round are kept that are of no more use."""
LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

log = structlog.get_logger()


def books_of(config: Config) -> Path:
    """The folder of the synthetic books."""
    return config.box.state / "selftest"


def open_synthetic(config: Config) -> Spool:
    """The synthetic books, made if they are not there, and anew if a disk has damaged them: they are nobody's, and may
    keep no scanner waiting."""
    folder = books_of(config)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "opening.lock").open("w") as turn:  # edge and forward, which may not both make them anew
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            return _opened(config)
        except PermanentFailure as error:
            if error.code != DAMAGED:
                raise
        log.error("books of the synthetic patient made anew", code=DAMAGED)
        for path in folder.glob("gateway.db*"):
            path.unlink()
        return _opened(config)


def _opened(config: Config) -> Spool:
    """Raises PermanentFailure "damaged" for a page that is, though nobody may have asked for it yet."""
    books = Spool.open(books_of(config), now=now, reserve=config.limits.disk_reserve.bytes)
    try:
        books.db.check()
    except BaseException:
        books.close()
        raise
    return books


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticEdge:
    """What stands behind the doors for it."""

    storage: Storage
    worklist: Worklist
    orders: Orders
    scanner: KnownCaller
    bell: Bell

    @classmethod
    def over(cls, config: Config, books: Spool) -> SyntheticEdge:
        """The parts, once what a crash left in the books is swept up."""
        books.sweep(read_origin)
        bell = Bell(config.box.runtime_folder / BELL)
        own = own_networks(config)
        return cls(
            storage=Storage(books, books.accepting(), object_max=config.limits.object_max, now=now, received=bell.ring),
            worklist=_worklist(config, books),
            orders=_orders(config, books, own),
            scanner=KnownCaller(ae=SCANNER, networks=own),
            bell=bell,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the books small until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.worklist.run(stop))
            group.create_task(self.orders.run(stop))

    def close(self) -> None:
        self.bell.close()


def own_networks(config: Config) -> tuple[IPv4Network | IPv6Network, ...]:
    """Where this box calls itself from: loopback, and the addresses that its ports are bound to."""
    bound = {listen.address for listen in config.listen} | {config.mllp.address}
    return (*LOOPBACK, *(ip_network(one) for one in sorted(bound - HERE.keys()) if _is_address(one)))


def _worklist(config: Config, books: Spool) -> Worklist:
    plain = Policy(
        ask=False,
        deadline=timedelta(0),
        fresh_for=KEPT,
        max_stale=KEPT,
        hide_performed=KEPT,
        profile=load_profiles(books_of(config))[GENERIC],
    )
    return Worklist(
        books,
        [],
        policy_of=lambda _: plain,
        today=lambda: now().astimezone(config.site.timezone).date(),
        now=now,
        random=random.random,
        retention=Retention(queries=KEPT, served=KEPT),
        entries_for=KEPT,
        zone=config.site.timezone,
    )


def _orders(config: Config, books: Spool, own: tuple[IPv4Network | IPv6Network, ...]) -> Orders:
    # Our own mapping, whatever the site made of it: a folder that has none of the site's
    sender = Sender(
        name=SENDER,
        mapping=order_mapping("generic", books_of(config)),
        zone=config.site.timezone,
        scanners=(),
        refuse_conflicts=True,
        refuse_faults=True,
    )

    def read(message: Message, _: str, at: datetime) -> Apply:
        return partial(orders.apply_read, asked=read_message(message, sender, at), sender=sender, now=at)

    return Orders(
        books,
        [OrderSender(name=SourceName(SENDER), application=SENDER, networks=own, refuse=True)],
        read=read,
        messages_for=KEPT,
        orders_for=KEPT,
        now=now,
        here=lambda at: at.astimezone(config.site.timezone),
        unknown_kept=0,
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
