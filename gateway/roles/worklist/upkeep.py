"""Loops that outlive what they do: a full disk, a busy database or a RIS that sends anything ends none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


async def repeat(work: Callable[[], Awaitable[object]], *, seconds: float, stop: asyncio.Event) -> None:
    """Do the work, whatever becomes of it, at this interval until `stop`."""
    while not stop.is_set():
        try:
            await work()
        except Exception as error:  # noqa: BLE001 -- the upkeep loops' edge; unknown means temporary
            log.error("worklist upkeep failed", error=type(error).__name__, code=getattr(error, "code", ""))
        await _sleep(stop, seconds)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop`, or `seconds`."""
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({waiter}, timeout=seconds)
    waiter.cancel()
