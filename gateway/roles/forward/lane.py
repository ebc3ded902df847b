"""One lane of one destination: a thread, a durable queue, and a line (an association) kept while there is work.

The line is opened before anything is claimed, so that a destination that is down costs no row
a move. A failure of the line puts what was claimed back; only the object that was under way
waits by itself, for it may be the cause, and then goes after those that have not failed. Temporary failures
are tried again for ever; a permanent one waits for a person and never holds up the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from gateway.domain.edits import Patch
from gateway.domain.model import (
    Confirm,
    Delivery,
    GatewayError,
    Instance,
    InstanceId,
    Lane,
    PermanentFailure,
    TemporaryFailure,
)
from gateway.domain.retry import Outcome, OutcomeKind, backoff
from gateway.domain.retry import TransportFailure as Failed
from gateway.roles.forward.compressing import AHEAD, Forms
from gateway.roles.forward.patching import stored_patch
from gateway.roles.forward.sending import Opened, SpoolDamaged
from gateway.roles.forward.settlement import Settlement
from gateway.roles.forward.target import Breaker, Line, Ramp, Target
from gateway.spool import Connection, Spool, audit, checks, deliveries, instances
from gateway.spool.deliveries import EXPECTED
from gateway.spool.withdrawals import withdraw

LEASE = timedelta(hours=1)
POLL_SECONDS = 2.0
WARM_SECONDS = 5.0
"""How long an association without work is kept for the next object of the same study."""
ALARM_REFUSED = "delivery-refused"
ALARM_UNREACHABLE = "destination-unreachable"
UNREACHABLE_AFTER = 2
"""Failures in a row before it is an alarm."""

log = structlog.get_logger()
T = TypeVar("T")


def _nothing() -> None:
    pass


class LaneSender:
    """Sends what is queued for one lane, until `stop`."""

    def __init__(
        self,
        spool: Spool,
        target: Target,
        lane: Lane,
        *,
        breaker: Breaker,
        ramp: Ramp,
        number: int,
        forms: Forms,
        now: Callable[[], datetime],
        random: Callable[[], float],
        sent: Callable[[], None],
    ) -> None:
        """The lane's line of that `number`, of those that `ramp` admits. `forms`: what it sends of each object."""
        self._spool = spool
        self._target = target
        self._lane = lane
        self._gate = target.flow.gate(list(Lane).index(lane))
        self._breaker = breaker
        self._ramp = ramp
        self._number = number
        self._forms = forms
        self._now = now
        self._random = random
        self._sent = sent
        self.wake = threading.Event()
        self._line: Line | None = None
        self._failures: dict[int, int] = {}
        self._settlement = Settlement(spool, target.name)
        self._in_hand: tuple[Delivery, ...] = ()
        """Claimed, and perhaps not settled."""
        self._unsettled: Sequence[Delivery] = ()
        """Of these the ones that are not done with: their lease is renewed while something is sent."""
        self._leased_at = now()
        self._refused_context = False
        """The line was not granted what an object of this round needs."""
        self._ahead: Opened | None = None
        self._alive: Callable[[], object] = _nothing
        """Gives a sign of life: an object may take hours."""
        self._size = 0
        """Bytes of the data set that goes out."""
        self._behind: Sequence[Delivery] | None = None
        """What waits behind this round; None before it was looked for."""
        self._known: dict[InstanceId, Instance] = {}
        """What this round read: an instance that is on its way to us does not change."""

    def run(self, stop: threading.Event) -> None:
        """The life of the lane's thread."""
        self._alive = stop.is_set
        while not stop.is_set():
            try:
                worked = self._round(stop)
            except GatewayError as error:
                log.error("lane interrupted", dest=self._target.name, lane=self._lane, error=type(error).__name__)
                worked = False
            if not worked:
                idle_for = WARM_SECONDS if self._line is not None else POLL_SECONDS
                if not self.wake.wait(idle_for):
                    self._hang_up()
                self.wake.clear()
        self._hang_up()

    def _round(self, stop: threading.Event) -> bool:
        """One batch; whether there was anything to do that could be done."""
        self._let_go()
        if not self._ramp.admits(self._number) or not self._may_send():
            self._hang_up()
            return False
        self._known, self._behind = {}, None
        waiting_in_order = sorted(self._due(self._target.batch), key=self._doubt)
        found = [instance for delivery in waiting_in_order if (instance := self._instance(delivery)) is not None]
        if not found or not self._connected(found):
            return False
        self._refused_context = False
        self._leased_at = self._now()
        self._in_hand = self._write(
            partial(
                deliveries.claim,
                destination=self._target.name,
                lane=self._lane,
                now=self._leased_at,
                lease=LEASE,
                limit=self._target.batch,
            )
        ).result()
        settled: list[Future[None]] = []
        left = sorted(self._in_hand, key=self._doubt)
        self._forms.refresh()
        try:
            with self._gate.in_use():
                while left and not stop.is_set() and self._may_send() and self._next(left, settled):
                    pass
        finally:
            self._close_ahead()
        settled += map(self._put_back, left)
        self._settlement.wait()
        for future in settled:
            future.result()
        self._forms.forget({delivery.instance for delivery in self._in_hand})
        self._in_hand = ()
        self._sent()
        if self._line is not None:
            self._ramp.succeeded()
        if self._refused_context:
            self._hang_up()  # what is asked for again after a person's change must not meet the old answer
        return True

    def _may_send(self) -> bool:
        return self._target.may_send(self._lane, self._now())

    def _next(self, left: list[Delivery], settled: list[Future[None]]) -> bool:
        self._unsettled = tuple(left)
        assert self._line is not None
        self._forms.look_ahead(self._upcoming(left), self._line.accepts, self._target.flow.bytes_per_second)
        return self._deliver(left.pop(0), left, settled)

    def _upcoming(self, left: Sequence[Delivery]) -> Iterator[tuple[Delivery, Instance]]:
        """What goes next, and near the end of a batch what will be claimed after it: codecs don't wait for that."""
        if self._behind is None and len(left) <= AHEAD // 2 and self._forms.offered:
            self._behind = self._due(AHEAD)
        for one in (*left, *(self._behind or ())):
            instance = self._instance(one)
            if instance is not None:
                yield one, instance

    def _due(self, limit: int) -> tuple[Delivery, ...]:
        c, now = self._spool.db.read(), self._now()
        return deliveries.due(c, destination=self._target.name, lane=self._lane, now=now, limit=limit)

    def _allow(self, want: int) -> int:
        """How many bytes may go now. What is claimed stays claimed however long it takes."""
        self._alive()
        if self._now() - self._leased_at > LEASE / 3:
            self._leased_at = self._now()
            self._settlement.hand_in()
            self._write(partial(self._renew, claimed=self._unsettled))
        return self._gate.allow(want)

    def _renew(self, c: Connection, *, claimed: Sequence[Delivery]) -> None:
        for delivery in claimed:
            with suppress(deliveries.LeaseLost):
                deliveries.extend(c, delivery, now=self._now(), lease=LEASE)

    def _let_go(self) -> None:
        """Put back what an interrupted round could not settle (the disk was full): a lease lasts too long for that."""
        with suppress(GatewayError):
            self._settlement.wait()
        for future in [self._put_back(delivery) for delivery in self._in_hand]:
            with suppress(deliveries.LeaseLost):  # it was settled, or is in the queue already
                future.result()
        self._in_hand = ()

    def _doubt(self, delivery: Delivery) -> tuple[int, bool]:
        """What failed goes after what did not, then oldest first: an object that the destination breaks off over
        each time must not be the first of every batch."""
        return self._failures.get(delivery.id, 0), bool(delivery.last_status)

    # -- the line --

    def _connected(self, found: Sequence[Instance]) -> bool:
        """Whether a line stands that was opened for what the first of these needs."""
        if self._line is not None and self._line.fits(found[0]):
            return True
        self._hang_up()
        if not self._breaker.may_try():
            return False
        try:
            self._line = self._target.way.open(found, allow=self._allow, offered=self._forms.offered)
        except TemporaryFailure as error:
            self._breaker.failed()
            self._ramp.failed()
            log.warning("destination not reached", dest=self._target.name, lane=self._lane, code=error.code)
            if self._breaker.failures >= UNREACHABLE_AFTER:
                self._write(
                    partial(audit.raise_alarm, code=ALARM_UNREACHABLE, subject=self._target.name, now=self._now())
                )
            return False
        self._write(partial(audit.clear_alarm, code=ALARM_UNREACHABLE, subject=self._target.name, now=self._now()))
        return True

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.release()

    def _break_off(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.abort()

    # -- one delivery --

    def _deliver(self, delivery: Delivery, left: Sequence[Delivery], settled: list[Future[None]]) -> bool:
        """Send one claimed delivery and settle it; False if the association is gone."""
        instance = self._instance(delivery)
        if instance is None:
            settled.append(self._refuse(delivery, "file-missing"))
            return True
        assert self._line is not None
        decided = checks.outgoing(self._spool.db.read(), instance.id)
        if not decided.free:
            settled.append(self._write(partial(self._called_back, delivery=delivery)))
            return True
        if not self._line.fits(instance):
            settled.append(self._put_back(delivery))
            return True
        self._settlement.before(instance)
        began = self._gate.clock()
        try:
            patch = stored_patch(decided.edits) if decided.edits else None
            outcome = self._store(self._line, delivery, instance, left, patch=patch)
        except PermanentFailure as error:
            if isinstance(error, SpoolDamaged):
                self._write(
                    partial(audit.raise_alarm, code=audit.AlarmCode.SPOOL_DAMAGED, subject=instance.id, now=self._now())
                )
            settled.append(self._refuse(delivery, error.code))
            return True
        except TemporaryFailure as error:
            self._forms.blames(instance, error.code)
            self._break_off()
            self._breaker.failed()
            self._ramp.failed()
            settled.append(self._defer(delivery, error.code))
            return False
        except Exception as error:  # noqa: BLE001 -- the delivery's edge: a fault over one object must not hold its lane
            log.error("fault over an object", instance=instance.id, error=type(error).__name__)
            self._break_off()
            settled.append(self._defer(delivery, "fault"))
            return False
        if outcome.is_stored:
            self._gate.sent(self._size, self._gate.clock() - began)
            self._forms.took(instance)
        settled += self._settle(delivery, instance, outcome)
        return not outcome.blames_destination

    def _store(
        self, line: Line, delivery: Delivery, instance: Instance, left: Sequence[Delivery], *, patch: Patch | None
    ) -> Outcome:
        """Once in the form that was made for it, and if it may be that which is not understood, once as it came.
        `patch`: what is corrected in it on its way out."""
        attempts, opening = self._failures.get(delivery.id, 0), partial(self._open, patch=patch)
        outcome = line.store(instance, opening, attempts=attempts, meanwhile=partial(self._open_ahead, left))
        if outcome.is_stored or not self._forms.blames(instance, outcome.code):
            return outcome
        return line.store(instance, opening, attempts=attempts, meanwhile=_nothing)

    def _open(self, instance: Instance, *, patch: Patch | None) -> Opened:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.instance.id != instance.id:
            ahead.close()
            ahead = None
        opened = ahead or self._forms.opened(instance)
        opened.patch = patch
        self._size = opened.instance.size
        return opened

    def _open_ahead(self, left: Sequence[Delivery]) -> None:
        """Read and compare the next file while the destination works on this one; what is wrong with it is found
        again when its turn comes."""
        self._close_ahead()
        instance = self._instance(left[0]) if left else None
        if instance is None or self._line is None or not self._line.fits(instance):
            return
        if self._forms.is_ready(instance):
            with suppress(SpoolDamaged):
                self._ahead = self._forms.opened(instance)

    def _close_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _settle(self, delivery: Delivery, instance: Instance, outcome: Outcome) -> list[Future[None]]:
        """What is being written down besides the settlement."""
        log.info("attempt", instance=instance.id, dest=self._target.name, status=outcome.code)
        if outcome.is_stored:
            self._breaker.succeeded()
            self._failures.pop(delivery.id, None)
            at_once = self._target.confirm in (Confirm.STATUS, Confirm.HASH)
            proven = at_once and outcome.kind is not OutcomeKind.DUPLICATE
            self._settlement.add(delivery, status=outcome.code, at=self._now(), proven=proven, sent_as=outcome.sent_as)
            return []
        if outcome.kind is OutcomeKind.PERMANENT:
            self._refused_context |= outcome.code == Failed.CONTEXT_REFUSED
            if instance.SOPClassUID in self._target.expect_refused:
                self._settlement.add(delivery, status=f"{EXPECTED}{outcome.code}", at=self._now(), proven=True)
                return []
            return [self._refuse(delivery, outcome.code)]
        if outcome.blames_destination:
            self._breaker.failed()
            self._ramp.failed()
            self._hang_up()
        return [self._defer(delivery, outcome.code)]

    def _refuse(self, delivery: Delivery, code: str) -> Future[None]:
        log.error("refused", delivery=delivery.id, dest=self._target.name, status=code)
        return self._write(partial(self._refused, delivery=delivery, code=code))

    def _refused(self, c: Connection, *, delivery: Delivery, code: str) -> None:
        now, name = self._now(), self._target.name
        deliveries.refuse(c, delivery, status=code, now=now, by=name)
        audit.raise_alarm(c, code=ALARM_REFUSED, subject=name, now=now)

    def _defer(self, delivery: Delivery, code: str) -> Future[None]:
        failures = self._failures[delivery.id] = self._failures.get(delivery.id, 0) + 1
        wait = backoff(failures, base=self._target.retry_base, cap=self._target.retry_cap, random=self._random())
        return self._postpone(delivery, self._now() + wait, code)

    def _called_back(self, c: Connection, *, delivery: Delivery) -> None:
        """Its study was held, or opened again, after it was claimed: it is queued anew when it may go."""
        now, name = self._now(), self._target.name
        deliveries.defer(c, delivery, not_before=now, status=delivery.last_status, now=now, by=name)
        withdraw(c, {delivery.instance}, now=now, by=name, why="not free to go")

    def _put_back(self, delivery: Delivery) -> Future[None]:
        return self._postpone(delivery, self._now(), delivery.last_status)

    def _postpone(self, delivery: Delivery, not_before: datetime, code: str) -> Future[None]:
        return self._write(
            lambda c: deliveries.defer(
                c, delivery, not_before=not_before, status=code, now=self._now(), by=self._target.name
            )
        )

    def _instance(self, delivery: Delivery) -> Instance | None:
        known = self._known.get(delivery.instance)
        if known is None and (known := instances.get(self._spool.db.read(), delivery.instance)) is not None:
            self._known[known.id] = known
        return known

    def _write(self, job: Callable[[Connection], T]) -> Future[T]:
        return self._spool.db.write(job)
