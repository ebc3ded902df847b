"""The watchdog, earned: systemd hears WATCHDOG=1 after a round of proofs that all held, and never otherwise.

What is promised (sd_watchdog_enabled(3)): a proof is a piece of the process's real work, done by the threads and
through the listeners that do it for others (gateway/app/proofs.py). One that fails, or has not come back after half of
WatchdogSec, earns nothing; rounds begin every quarter. When none has held for all of WatchdogSec, systemd ends the
process with SIGABRT and begins it again: nothing that was acknowledged is lost.

A part whose proofs held has it written into the books, by which the other parts, `gateway status` and whoever asks
/healthz see that it lives (gateway.domain.parts). That goes on where nobody watches the process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.net.host import notify

log = structlog.get_logger()


UNWATCHED_SECONDS: Final = 120.0
"""Stands for WatchdogSec where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """It holds if `done` comes back, and does not if that raises."""

    name: str
    done: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A part of the process: what runs, and how it is proven to do its work."""

    tasks: Sequence[asyncio.Task[None]]
    proofs: Sequence[Proof]
    beat: Proof | None = None
    """Done once all of these held: it is written down, and that the books take it is proven by that."""


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """WatchdogSec of the unit that this process is; None where nobody watches it."""
    if environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1_000_000 if microseconds.isdecimal() and int(microseconds) else None


class Watchdog:
    """`run` lasts until it is cancelled."""

    def __init__(self, parts: Sequence[Started], *, seconds: float) -> None:
        """`seconds`: WatchdogSec."""
        self._parts = tuple(parts)
        self._seconds = seconds
        self._begun: dict[Proof, asyncio.Future[None]] = {}

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._seconds / 4)
                await self.round()
        finally:
            for begun in self._begun.values():
                begun.cancel()

    async def round(self) -> bool:
        """Whether every proof held, so that systemd was told."""
        held = all(await asyncio.gather(*map(self._lives, self._parts)))
        if held:
            notify("WATCHDOG=1")
        return held

    async def _lives(self, part: Started) -> bool:
        end = asyncio.get_running_loop().time() + self._seconds / 2
        held = all(await asyncio.gather(*(self._holds(proof, end) for proof in part.proofs)))
        return held and (part.beat is None or await self._holds(part.beat, end))

    async def _holds(self, proof: Proof, end: float) -> bool:
        """Whether it comes back by `end`, a time of the loop. One that has not is waited for again, not begun again: it
        may hold a thread."""
        begun = self._begun.get(proof)
        if begun is None:
            begun = self._begun[proof] = asyncio.ensure_future(proof.done())
        done, _ = await asyncio.wait({begun}, timeout=max(0.0, end - asyncio.get_running_loop().time()))
        if not done:
            log.error("no sign of life", of=proof.name, error="it does not come back")
            return False
        del self._begun[proof]
        error = begun.exception()
        if error is not None:
            log.error("no sign of life", of=proof.name, error=type(error).__name__, code=getattr(error, "code", ""))
        return error is None


@contextmanager
def watched(parts: Sequence[Started]) -> Iterator[None]:
    """Prove these parts, and feed the watchdog of this process if it has one, until it is left."""
    seconds = watchdog_seconds(os.environ, os.getpid()) or UNWATCHED_SECONDS
    rounds = asyncio.create_task(Watchdog(parts, seconds=seconds).run())
    try:
        yield
    finally:
        rounds.cancel()
