"""Forward: everything that leaves the box (IHE RAD-8, RAD-10; DESIGN 5).

Received instances are checked against their orders and routed, which queues a delivery per destination
(preparing.py); each destination has a thread
per lane that sends and one that confirms; what scanners asked to be committed is reported; what every
destination confirmed is purged after its retention, and nothing else ever is. All state is in the
spool: `kill -9` at any moment costs at most sending an object twice. Performed procedure steps (mpps.py) and
what each RIS is told of its orders (order_watch.py, orders_out.py) are relayed beside them, each by a thread of its
own for each peer (relaying.py).
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from gateway.domain.model import Confirm, DeliveryState, DestinationName, Lane
from gateway.domain.retry import Circuit, Severity, age_severity
from gateway.net.dicom_client import Peer
from gateway.net.wake import Wake
from gateway.roles.forward.availability import AvailabilityNotifier, AvailabilityTarget
from gateway.roles.forward.check import Check
from gateway.roles.forward.compressing import Compressor, Forms
from gateway.roles.forward.confirm import Confirmer
from gateway.roles.forward.disk import DiskWatch
from gateway.roles.forward.failover import Failover
from gateway.roles.forward.judging import CheckRules
from gateway.roles.forward.lane import LaneSender
from gateway.roles.forward.mpps import MppsTarget, MppsWay
from gateway.roles.forward.order_watch import OrderWatch, Telling
from gateway.roles.forward.orders_out import OrdersWay, Receiver
from gateway.roles.forward.preparing import Preparer
from gateway.roles.forward.pulse import Pulse
from gateway.roles.forward.read_back import ReadBacks
from gateway.roles.forward.reconciling import Reconciler
from gateway.roles.forward.relaying import RelayThread
from gateway.roles.forward.reports import Reporter
from gateway.roles.forward.routing import Policy, Router
from gateway.roles.forward.target import Breaker, Ramp, Target
from gateway.spool import (
    Connection,
    Spool,
    audit,
    checks,
    deliveries,
    mpps,
    orders_out,
    progress,
    relays,
    study_events,
    tasks,
)
from gateway.spool.deliveries import Backlog
from gateway.spool.trimming import trim

__all__ = ["CheckRules", "Compressor", "Forward", "Target", "MppsTarget", "Policy", "Receiver", "Telling"]

POLL_SECONDS = 2.0
HOUSEKEEPING_SECONDS = 30.0
RESTART_SECONDS = 5.0
PURGED_AT_ONCE = 1000
TRIMMED_AT_ONCE = 200
MAP_KEPT = timedelta(days=90)
"""How long late images of a study follow what was decided of it, and tasks are shown that were decided."""
ALARM_LATE = "delivery-late"

log = structlog.get_logger()


def control_id() -> str:
    """MSH-10 of a message: 20 characters, never twice."""
    return "GW" + secrets.token_hex(9)


class Part(Protocol):
    """A thread's work: a round at a time until `stop`, or when `wake` is set."""

    wake: threading.Event

    def run(self, stop: threading.Event) -> None: ...


class Forward:
    """The role: `run` lasts until `stop`."""

    def __init__(
        self,
        spool: Spool,
        targets: Sequence[Target],
        *,
        mpps_targets: Sequence[MppsTarget],
        availability: Sequence[AvailabilityTarget] = (),
        policy: Policy,
        check: CheckRules,
        compressor: Compressor,
        retention: timedelta,
        disk: DiskWatch,
        custody_retention: timedelta,
        mpps_retention: timedelta,
        telling: Telling,
        messages_retention: timedelta,
        scanners: Callable[[str], Peer | None],
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        """`telling` says who is told of orders; what was sent for that is kept for `messages_retention`."""
        self._spool = spool
        self._compressor = compressor
        self._by_rule = any(rule.compression == "lossless" for rule in policy.rules)
        self._router = Router(policy, lambda instance: spool.files.path_of(instance.id))
        checking = Check(spool, check, now=now)
        reconciler = Reconciler(spool, checking, check, now=now)
        self._read_backs = ReadBacks(spool, targets, now=now)
        self._preparer = Preparer(spool, checking, reconciler, self._router, now=now, prepared=self._ring_senders)
        self._retention = retention
        self._disk = disk
        self._custody_retention = custody_retention
        self._mpps_retention = mpps_retention
        self._messages_retention = messages_retention
        self._now = now
        self._pulses: list[tuple[str, Pulse]] = []
        inquired = [one.name for one in targets if one.confirm is Confirm.COMMITMENT and one.name in policy.default]
        self._reporter = Reporter(
            spool, scanners, inquired=inquired, now=now, random=random, asked=self._ring_confirmers
        )
        self._senders: list[LaneSender] = []
        self._confirmers: list[Confirmer] = []
        self._targets = {target.name: target for target in targets}
        self._breakers: dict[DestinationName, Breaker] = {}
        for target in targets:
            self._add(target, random)
        self._failover = Failover(targets, self._breakers)
        self._relays = [
            RelayThread(spool, MppsWay(spool, target, breaker=self._breaker(target, random), random=random), now=now)
            for target in mpps_targets
        ]
        self._tellers = [
            RelayThread(spool, OrdersWay(receiver, random=random), now=now) for receiver in telling.receivers
        ]
        self._notifiers = [
            AvailabilityNotifier(spool, target, breaker=self._breaker(target, random), now=now)
            for target in availability
        ]
        self._order_watch = OrderWatch(spool, telling, now=now, control_id=control_id, queued=self._ring_tellers)

    def _breaker(self, target: Target | MppsTarget | AvailabilityTarget, random: Callable[[], float]) -> Breaker:
        # A day of outage is one trial a minute: short enough that nobody waits for us when it ends
        circuit = Circuit(threshold=2, base=target.retry_base, cap=min(target.retry_cap, timedelta(minutes=1)))
        return Breaker(circuit, now=self._now, random=random)

    def _add(self, target: Target, random: Callable[[], float]) -> None:
        confirmer = Confirmer(
            self._spool,
            target,
            breaker=self._breaker(target, random),
            now=self._now,
            changed=self._reporter.wake.set,
        )
        self._confirmers.append(confirmer)
        sending = self._breakers[target.name] = self._breaker(target, random)
        for lane in target.lanes:
            ramp = Ramp(target.concurrency)
            self._senders += [
                LaneSender(
                    self._spool,
                    target,
                    lane,
                    breaker=sending,
                    ramp=ramp,
                    number=number,
                    forms=self._forms(target, lane),
                    now=self._now,
                    random=random,
                    sent=confirmer.wake.set,
                )
                for number in range(target.concurrency)
            ]

    def _forms(self, target: Target, lane: Lane) -> Forms:
        return Forms(
            self._compressor, destination=target.name, lossless=target.lossless, by_rule=self._by_rule, lane=lane
        )

    async def run(self, stop: asyncio.Event, wake: Wake) -> None:
        """Take over what an earlier process had claimed, then work until `stop`."""
        await self._write(partial(deliveries.release_all_leases, now=self._now()))
        threads = []
        for part in self._parts:
            pulse = Pulse()
            self._pulses.append((type(part).__name__, pulse))
            threads.append(threading.Thread(target=self._live, args=(part, pulse), name=type(part).__name__))
        for thread in threads:
            thread.start()
        housekeeping = asyncio.create_task(self._keep_house())
        try:
            while not stop.is_set():
                await wake.wait(POLL_SECONDS)
                self._ring()
        finally:
            for _, pulse in self._pulses:
                pulse.set()
            self._ring()
            wake.close()
            housekeeping.cancel()
            await asyncio.to_thread(self._compressor.close)
            await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))

    @property
    def _parts(self) -> tuple[Part, ...]:
        telling: tuple[Part, ...] = (*self._relays, *self._tellers, *self._notifiers, self._order_watch)
        return (self._preparer, self._read_backs, *self._senders, *self._confirmers, self._reporter, *telling)

    def _live(self, part: Part, stop: Pulse) -> None:
        """A thread must not die of one fault: a lane that looks alive and is dead loses nobody's images, only time."""
        while not stop.is_set():
            try:
                part.run(stop)
            except Exception as error:  # noqa: BLE001 -- the delivery loop's edge; unknown means temporary
                log.error("restarted after a fault", part=type(part).__name__, error=type(error).__name__)
                stop.wait(RESTART_SECONDS)

    def silent(self, seconds: float) -> list[str]:
        """The kinds of the threads that have given no sign of life for so long."""
        return [name for name, pulse in self._pulses if pulse.silent_for() > seconds]

    def _ring(self) -> None:
        for part in self._parts:
            part.wake.set()

    def _ring_confirmers(self) -> None:
        for confirmer in self._confirmers:
            confirmer.wake.set()

    def _ring_senders(self) -> None:
        for sender in self._senders:
            sender.wake.set()

    def _ring_tellers(self) -> None:
        for teller in self._tellers:
            teller.wake.set()

    # -- housekeeping --

    async def _keep_house(self) -> None:
        while True:
            try:
                await self._write(partial(deliveries.release_expired_leases, now=self._now()))
                await self._write(self._watch_ages)
                await self._write(lambda c: self._failover.move(c, now=self._now()))
                await self._write(partial(self._router.watch, now=self._now()))
                await self._write(partial(relays.watch, now=self._now()))
                purged = await asyncio.to_thread(self._spool.purge, retention=self._retention, limit=PURGED_AT_ONCE)
                if purged:
                    log.info("purged", instances=purged)
                await asyncio.to_thread(self._disk.look)
                long_over = self._now() - self._custody_retention
                await self._write(partial(trim, before=long_over, limit=TRIMMED_AT_ONCE))
                followed = self._now() - MAP_KEPT
                await self._write(partial(checks.forget, before=followed, limit=TRIMMED_AT_ONCE))
                await self._write(partial(tasks.forget, before=followed))
                over = self._now() - self._mpps_retention
                await self._write(partial(mpps.trim, before=over, limit=TRIMMED_AT_ONCE))
                await self._write(partial(progress.trim, before=over, limit=TRIMMED_AT_ONCE))
                await self._write(partial(study_events.trim, before=over, limit=TRIMMED_AT_ONCE))
                told = self._now() - self._messages_retention
                await self._write(partial(orders_out.trim, before=told, limit=TRIMMED_AT_ONCE))
            except Exception as error:  # noqa: BLE001 -- the housekeeping loop's edge; unknown means temporary
                log.error("housekeeping failed", error=type(error).__name__)
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    def _watch_ages(self, c: Connection) -> None:
        """An alarm per destination whose oldest undelivered instance has waited too long."""
        now = self._now()
        late = {
            backlog.destination
            for backlog in deliveries.backlog(c)
            if backlog.state is not DeliveryState.REFUSED and self._is_late(backlog, now)
        }
        for destination in late:
            audit.raise_alarm(c, code=ALARM_LATE, subject=destination, now=now)
        for alarm in audit.active_alarms(c, code=ALARM_LATE):
            if alarm.subject not in late:
                audit.clear_alarm(c, code=ALARM_LATE, subject=alarm.subject, now=now)

    def _is_late(self, backlog: Backlog, now: datetime) -> bool:
        """By the time that its destination could be sent to: to wait for the evening is not to be late."""
        target = self._targets.get(backlog.destination)
        waited = now - backlog.oldest
        if target is not None and not (target.stat_ignores_window and backlog.lane is Lane.STAT):
            waited = target.window.open_since(backlog.oldest, now, target.zone)
        return age_severity(waited) is not Severity.NONE

    async def _write(self, job: Callable[[Connection], object]) -> None:
        await asyncio.wrap_future(self._spool.db.write(job))
