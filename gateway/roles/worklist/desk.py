"""The desk's entries beside the copy: linked when the order's proof is in the copy, ended when their time is over.

The books are looked at every `SECONDS`, whoever wrote the order into them; meanwhile the precedence of sources
keeps entry and order from being served beside each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from gateway.spool import Connection, Spool, desk, desk_links

SECONDS = 2.0

log = structlog.get_logger()


async def settle(spool: Spool, *, now: Callable[[], datetime]) -> None:
    """Do what is due; writes nothing if nothing is."""

    def job(c: Connection) -> tuple[int, int]:
        return desk_links.settle(c, now=now()), desk.expire(c, now=now())

    if desk_links.due(spool.db.read(), now=now()):
        linked, expired = await asyncio.wrap_future(spool.db.write(job))
        if linked or expired:
            log.info("desk settled", linked=linked, expired=expired)
