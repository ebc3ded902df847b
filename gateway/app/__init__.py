"""The pages of wiring: Config -> Spool -> roles. Start and stop mirror each other.

`serve` runs any set of roles in one process. Edge (worklist and storage) owns every listener; forward
owns everything that leaves the box. They share the spool and ring each other's door bell, no more.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import Final

import structlog
import uvloop

from gateway.app.edge import start_edge
from gateway.app.log_level import LogLevel
from gateway.app.peers import now
from gateway.app.synthetic import open_synthetic
from gateway.app.watchdog import Started, watched
from gateway.config import Config, Overlay
from gateway.domain.model import TemporaryFailure
from gateway.domain.parts import Part
from gateway.net.host import notify
from gateway.net.upkeep import pause
from gateway.spool import Spool

ROLES: Final = ("worklist", "storage", "forward", "health", "reporting", "console")
EDGE: Final = frozenset({"worklist", "storage"})
PAGES: Final = {
    "forward": "gateway.app.forward",
    "health": "gateway.app.health",
    "reporting": "gateway.app.reporting",
    "console": "gateway.app.console",
}
"""The pages of wiring that edge starts without."""
WATCH_SECONDS: Final = 1.0
COLLECT_AFTER: Final = 10_000
"""Objects made and not yet gone, before the youngest of them are looked through for cycles; 700 is Python's own."""

log = structlog.get_logger()


def serve(config: Config, roles: frozenset[str], *, source: Path) -> int:
    """Run `roles` until SIGTERM or SIGINT, or until central's wish for another configuration was put in place; the
    process's exit status. `source` is the file that the configuration was read from. Raises `GatewayError` or OSError
    if it can't start."""
    return uvloop.run(_serve(config, roles, source))


async def _serve(config: Config, roles: frozenset[str], source: Path) -> int:
    overlay = Overlay(config.box.state)
    begun_by = overlay.mark()  # before anything that takes long: what is put in place meanwhile is seen
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for role in sorted(roles & PAGES.keys()):
        import_module(PAGES[role])  # before anybody is served: it holds the loop for up to half a second
    async with AsyncExitStack() as stack:
        spool = Spool.open(config.box.state, now=now, reserve=config.limits.disk_reserve.bytes)
        stack.callback(spool.close)
        if roles & EDGE:
            stack.enter_context(spool.claim(Part.EDGE))
        if "forward" in roles:
            from gateway.app.forward import start_forward, start_synthetic_forward  # noqa: PLC0415  as PAGES says

            stack.enter_context(spool.claim(Part.FORWARD))
        started: list[Started] = []
        if roles & (EDGE | {"forward"}):
            books = open_synthetic(config)
            stack.callback(books.close)
        if roles & EDGE:
            started.append(await start_edge(config, spool, roles, stop, stack, books=books))
        if "forward" in roles:
            started.append(await start_forward(config, spool, stop))
            started.append(await start_synthetic_forward(config, books, stop))
        if "health" in roles:
            from gateway.app.health import start_health  # noqa: PLC0415

            stack.enter_context(spool.claim(Part.HEALTH))
            started.append(await start_health(config, spool, stop))
        if "reporting" in roles and config.mqtt.host:
            from gateway.app.reporting import start_reporting  # noqa: PLC0415

            stack.enter_context(spool.claim(Part.REPORTING))
            started.append(await start_reporting(config, spool, stop, source=source))
        if "console" in roles and (config.console.port or len(roles) == 1):
            from gateway.app.console import start_console  # noqa: PLC0415

            started.append(await start_console(config, spool, stop))
        running = [task for part in started for task in part.tasks]
        running.append(asyncio.create_task(_watch_database(spool, stop)))
        running.append(asyncio.create_task(_watch_configuration(overlay, begun_by, stop)))
        running.append(asyncio.create_task(LogLevel(config.box.runtime_folder).follow(stop, now=now)))
        _settle()
        notify("READY=1")
        log.info("ready", roles=",".join(sorted(roles)))
        with watched(started):
            finished = asyncio.create_task(stop.wait())
            await asyncio.wait({finished, *running}, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        log.info("stopping")
        stop.set()
        results = await asyncio.gather(*running, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        log.error("a role ended by a fault", error=type(failure).__name__)
    return 1 if failures else 0


def _settle() -> None:
    """What stands after the start stands to the end: the collector of cycles need not look at it again and again, nor
    so often at what a message makes, which has none (a tenth of the time of an order)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def _watch_database(spool: Spool, stop: asyncio.Event) -> None:
    """Raises once the database met a disk error: only a start reads its log anew (db.py), so the process ends
    and its supervisor begins again. Until then everything is refused with A700."""
    while not stop.is_set():
        if spool.db.broken:
            raise TemporaryFailure(spool.db.broken, code="broken")
        await pause(WATCH_SECONDS, stop)


async def _watch_configuration(overlay: Overlay, begun_by: tuple[int, int] | None, stop: asyncio.Event) -> None:
    """Ends the process in order when another configuration than it was begun by is put in place: its supervisor begins
    it again by that."""
    while not stop.is_set():
        if overlay.mark() != begun_by:
            log.info("configuration changed")
            return
        await pause(WATCH_SECONDS, stop)
