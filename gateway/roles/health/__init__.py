"""Role health: whether the box and its peers work, seen by traffic (invariant 10; docs/operations/health.md).

Promises
- Each peer has a rhythm of its own, begun at a random moment: a probe at every interval, again after a quarter of it
  where something changed, and up to BACK_OFF intervals apart once it is known to fail. A peer that hangs holds up
  nobody else's probe.
- A fault is in the books within two intervals; the issue of each peer, hop and reading stands once (domain/health.py).
- The synthetic patient comes at its interval (roles/health/round.py).
- It writes what it saw and the alarms of its own codes, and nothing else. Killed at any moment it leaves what stands;
  the next one goes on from there. A probe or a round that fails by a fault of ours says nothing of the peer, and ends
  nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog

from gateway.domain.health import (
    PROBED,
    WELL,
    Reading,
    Strand,
    certificate_found,
    clock_found,
    heat_found,
    unprepared_found,
)
from gateway.domain.issue import BOX
from gateway.domain.model import GatewayError
from gateway.net import machine
from gateway.net.machine import ClockState
from gateway.net.upkeep import pause
from gateway.roles.health.probing import Asked, DicomProbe
from gateway.roles.health.round import Passed
from gateway.spool import Connection, Spool, health, instances

__all__ = ["DicomProbe", "Health", "Machine", "Policy"]

BACK_OFF: Final = 5
"""Intervals between two probes of a peer that is known to fail, at most."""
SOONER: Final = 4
"""After a change the next probe comes after an interval divided by this."""
PATIENCE: Final = 10.0
"""Seconds of one wait of a probe, at most."""
LOOK_SECONDS: Final = 30.0
CLOCK: Final = ("machine", "clock")
HEAT: Final = ("machine", "heat")
RECEIVED: Final = ("machine", "received")
UNITS: Final = ("gateway-edge", "gateway-forward", "gateway-health", "gateway-console")
FAMILIES: Final = {
    "peer": PROBED,
    "certificate": frozenset({"certificate-ends", "certificate-ended"}),
    "hop": frozenset({"selftest-failed"}),
    "machine": frozenset({"clock-off", "too-hot", "received-late"}),
    "unit": frozenset({"unit-failed"}),
}
"""The codes that are judged here. Of one subject one of a family stands at a time."""

T = TypeVar("T")

log = structlog.get_logger()


class Machine(Protocol):
    """What `gateway.net.machine` tells."""

    def cpu(self) -> float: ...
    def memory(self) -> float: ...
    def hottest(self) -> float | None: ...
    def clock(self) -> ClockState: ...
    def failed_units(self, units: Sequence[str]) -> frozenset[str] | None: ...
    def not_after(self, certificate: Path) -> datetime | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the site says of health."""

    probe: timedelta
    """Between two probes of a peer; zero: none is probed."""
    synthetic: timedelta
    """Between two visits of the synthetic patient; zero: it does not come by itself."""
    certificate: timedelta
    """How long before its end a certificate is an issue."""
    temperature: float
    """Degrees Celsius above which the heat is one."""


class Health:
    """The role: `run` lasts until `stop`."""

    def __init__(
        self,
        spool: Spool,
        probes: Sequence[DicomProbe],
        *,
        once: Callable[[], Generator[Passed, None, None]],
        certificates: Mapping[str, Path],
        policy: Policy,
        now: Callable[[], datetime],
        random: Callable[[], float],
        of_machine: Machine = machine,
    ) -> None:
        """`once`: a round of the synthetic patient; `certificates`: by the name of the section that names them."""
        self._spool = spool
        self._probes = tuple(probes)
        self._once = once
        self._certificates = certificates
        self._policy = policy
        self._now = now
        self._random = random
        self._machine = of_machine
        self.looked = now()
        """When the machine was looked at last."""
        self._strands: dict[tuple[str, str], Strand] = {}
        self._threads = ThreadPoolExecutor(len(self._probes) + 2, thread_name_prefix="health")

    async def run(self, stop: asyncio.Event) -> None:
        await self._write(self._begin)
        try:
            async with asyncio.TaskGroup() as group:
                if self._policy.probe:
                    for probe in self._probes:
                        group.create_task(self._watch(probe, stop))
                if self._policy.synthetic:
                    group.create_task(self._visit(stop))
                group.create_task(self._look_again(stop))
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, c: Connection) -> None:
        """Go on from what stands; end what is of peers that are no more."""
        at = self._now()
        names = {one.name for one in self._probes} if self._policy.probe else set()
        health.forget_others(c, peers=names | {BOX})
        for family, codes in FAMILIES.items():
            judged = {"peer": names, "certificate": set(self._certificates)}.get(family)
            for subject, code in health.standing(c, codes=codes).items():
                if judged is not None and subject not in judged:
                    health.change(c, subject=subject, was=code, now_is=WELL, at=at)
                else:
                    self._strands[family, subject] = Strand(standing=code)

    # -- peers --

    async def _watch(self, probe: DicomProbe, stop: asyncio.Event) -> None:
        interval = self._policy.probe.total_seconds()
        patience = min(PATIENCE, interval / SOONER)
        wait = interval * self._random()
        while not await _over(stop, wait):
            try:
                asked = await self._in_thread(partial(probe.ask, patience=patience))
            except Exception as error:  # noqa: BLE001 -- the probe's edge: a fault of ours is none of the peer's
                log.error("no probe", about=probe.name, error=type(error).__name__)
                wait = interval
                continue
            strand = await self._judge("peer", probe.name, asked.code, partial(self._probed, probe.name, asked))
            wait = interval * _pace(strand)
        await self._in_thread(probe.hang_up)

    def _probed(self, name: str, asked: Asked, c: Connection) -> None:
        at = self._now()
        for hop, latency in asked.latency_ms.items():
            health.probed(c, hop=hop, peer=name, at=at, latency_ms=latency, code=WELL)
        if asked.code:
            health.probed(c, hop=asked.failed, peer=name, at=at, latency_ms=None, code=asked.code)

    # -- the synthetic patient --

    async def _visit(self, stop: asyncio.Event) -> None:
        interval = self._policy.synthetic.total_seconds()
        wait = interval * self._random()
        while not await _over(stop, wait):
            changing = await self._round(stop)
            wait = interval / SOONER if changing else interval

    async def _round(self, stop: asyncio.Event) -> bool:
        """Whether something failed for the first time, or held again for the first time."""

        def hops() -> list[Passed]:
            """Up to where we are to stop: what fails then, fails for that."""
            with closing(self._once()) as way:
                return [*itertools.takewhile(lambda _: not stop.is_set(), way)]

        try:
            passed = await self._in_thread(hops)
        except Exception as error:  # noqa: BLE001 -- the round's edge: a disk that is full, books of another version
            log.warning("no round of the synthetic patient", error=type(error).__name__)
            return False
        changing = False
        for one in passed:
            if one.holds is None:
                continue
            code = WELL if one.holds else "selftest-failed"
            strand = await self._judge("hop", one.hop, code, partial(self._passed, one, code))
            changing = changing or _pace(strand) < 1
        return changing

    def _passed(self, one: Passed, code: str, c: Connection) -> None:
        health.probed(c, hop=one.hop, peer=BOX, at=self._now(), latency_ms=one.latency_ms, code=code)

    # -- the machine --

    async def _look_again(self, stop: asyncio.Event) -> None:
        while True:
            await self._look()
            if await _over(stop, LOOK_SECONDS):
                return

    async def _look(self) -> None:
        """Measure once, and judge what was measured."""
        seen = await self._in_thread(self._measure)
        found = {name: value for name, value in seen.readings.items() if value is not None}
        await self._write(partial(health.read, found=found, at=self._now()))
        for (family, subject), code in seen.found.items():
            await self._judge(family, subject, code)
        self.looked = self._now()

    def _measure(self) -> _Seen:
        now, told = self._now(), self._machine
        heat, clock, space = told.hottest(), told.clock(), self._spool.files.space()
        ends = {name: told.not_after(path) for name, path in self._certificates.items()}
        failed = told.failed_units(UNITS)
        oldest = instances.waiting(self._spool.db.read(), limit=1)
        judged: dict[tuple[str, str], str | None] = {
            CLOCK: clock_found(clock.offset, kept=clock.kept, standing=self._standing(CLOCK)),
            HEAT: heat_found(heat, limit=self._policy.temperature, standing=self._standing(HEAT)),
            RECEIVED: unprepared_found(oldest[0].origin.received_at if oldest else None, now=now),
        }
        for name, end in ends.items():
            judged["certificate", name] = certificate_found(end, warning=self._policy.certificate, now=now)
        for unit in UNITS if failed is not None else ():
            judged["unit", unit] = "unit-failed" if unit in (failed or ()) else WELL
        known = [end for end in ends.values() if end is not None]
        return _Seen(
            readings={
                Reading.CPU: told.cpu(),
                Reading.MEMORY: told.memory(),
                Reading.TEMPERATURE: heat,
                Reading.CLOCK: None if clock.offset is None else clock.offset / timedelta(milliseconds=1),
                Reading.CERTIFICATE: (min(known) - now) / timedelta(days=1) if known else None,
                Reading.DISK_FREE: space.free / space.total if space.total else None,
            },
            found={key: code for key, code in judged.items() if code is not None},
        )

    # -- judging --

    def _standing(self, key: tuple[str, str]) -> str:
        return self._strands.get(key, Strand()).standing

    async def _judge(
        self, family: str, subject: str, found: str, told: Callable[[Connection], None] | None = None
    ) -> Strand:
        """Write down what an evaluation found, and the issue that comes or goes by it."""
        before, at = self._strands.get((family, subject), Strand()), self._now()
        after = before.judged(found, at)
        changed = after.standing != before.standing

        def job(c: Connection) -> None:
            if told is not None:
                told(c)
            if changed:
                health.change(c, subject=subject, was=before.standing, now_is=after.standing, at=at)

        if (changed or told is not None) and not await self._write(job):
            after = replace(after, standing=before.standing)
        elif changed:
            log.warning("health", about=subject, was=before.standing, code=after.standing)
        self._strands[family, subject] = after
        return after

    async def _write(self, job: Callable[[Connection], None]) -> bool:
        """Whether it is written; what can't be now is seen again at the next look."""
        try:
            await asyncio.wrap_future(self._spool.db.write(job))
        except GatewayError as error:
            log.error("health not written down", error=type(error).__name__)
            return False
        return True

    def _in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    readings: Mapping[Reading, float | None]
    found: Mapping[tuple[str, str], str]


def _pace(strand: Strand) -> float:
    """Intervals until the next evaluation."""
    if strand.bad:
        return min(2.0 ** max(0, strand.bad - 2), BACK_OFF) if strand.standing == strand.found else 1 / SOONER
    return 1 / SOONER if strand.standing else 1


async def _over(stop: asyncio.Event, seconds: float) -> bool:
    """Wait; whether it is time to stop."""
    await pause(seconds, stop)
    return stop.is_set()
