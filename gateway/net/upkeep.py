"""Loops that outlive what they do: a full disk, a busy database or a peer that sends anything ends none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


async def repeat(
    work: Callable[[], Awaitable[object]],
    *,
    of: str,
    seconds: float,
    stop: asyncio.Event,
    sooner: asyncio.Event | None = None,
) -> None:
    """Do the work, whatever becomes of it, at this interval until `stop`; at once when `sooner` is set. `of`: whose
    upkeep it is, for the log."""
    sooner = sooner or asyncio.Event()
    while not stop.is_set():
        sooner.clear()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 -- the upkeep loops' edge; unknown means temporary
            log.error("upkeep failed", of=of, error=type(error).__name__, code=getattr(error, "code", ""))
        await pause(seconds, stop, sooner)


async def pause(seconds: float, *ends: asyncio.Event) -> None:
    """For so long, or until one of `ends` is set."""
    waiters = [asyncio.create_task(end.wait()) for end in ends]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
