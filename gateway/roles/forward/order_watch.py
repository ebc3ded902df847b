"""Finding out what there is to tell of orders: a thread that looks at what came of each study (IHE RAD-13).

What is promised: for each order whose study began, one message of its start, and once the study is over
(domain/completeness.py) one of its end, for each receiver that is to have them; never one of a state that the RIS
told us itself, and none of an order that it ended. It does not matter whether order or images came first. A study
without an order is nobody's to tell of. What is found and what is queued for it are one transaction: a crash between
them loses and doubles nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import structlog

from gateway.domain.completeness import Patience, Progress, Standing, standing
from gateway.domain.model import GatewayError
from gateway.domain.order_model import ENDED, Status
from gateway.domain.order_notice import Event, Ordered, draft
from gateway.net.hl7_building import build
from gateway.roles.forward.orders_out import Receiver
from gateway.spool import Connection, Spool, orders_out, patients, progress, study_events
from gateway.spool.order_books import Order
from gateway.spool.progress import StudyProgress

ROUND_SECONDS = 1.0
UNORDERED_REST: Final = timedelta(minutes=1)
"""How often a study is looked at for which no order came yet."""
NOTHING_MORE: Final = timedelta(days=7)
"""When a study is looked at again of which only something new can change the standing."""

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Whom to tell, and when an examination counts as over."""

    receivers: tuple[Receiver, ...]
    patience: Patience
    zone: ZoneInfo
    """Of the times in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    receiver: str
    order: int
    event: Event
    control_id: str
    body: bytes
    valid: bool


class OrderWatch:
    """The thread."""

    def __init__(
        self,
        spool: Spool,
        telling: Telling,
        *,
        now: Callable[[], datetime],
        control_id: Callable[[], str],
        queued: Callable[[], None],
    ) -> None:
        """`control_id` never gives one twice; `queued` is called when there is something to send."""
        self._spool = spool
        self._telling = telling
        self._now = now
        self._control_id = control_id
        self._queued = queued
        self.wake = threading.Event()
        """Rung for every image; not waited for, as a look each second is soon enough and bounds the work."""

    def run(self, stop: threading.Event) -> None:
        """The life of the thread."""
        while not stop.wait(ROUND_SECONDS):
            try:
                while progress.behind(self._spool.db.read()) and not stop.is_set():
                    self._write(partial(progress.advance, now=self._now()), rebuildable=True)
                for study in progress.due(self._spool.db.read(), now=self._now()):
                    self._look_safely(study)
                self._advance_events()
            except Exception as error:  # noqa: BLE001 -- the watch's edge: unknown means temporary
                log.error("orders not watched", error=type(error).__name__, code=getattr(error, "code", ""))

    def _advance_events(self) -> None:
        """Write down what happened to whole studies, for those who tell others of it."""
        quiet, now = self._telling.patience.quiet, self._now()
        if study_events.due(self._spool.db.read(), quiet=quiet, now=now):
            self._write(partial(study_events.advance, quiet=quiet, now=now))
            self._queued()

    def _look_safely(self, study: StudyProgress) -> None:
        """A study that we fail at must not hold up the others: it is looked at again after a while."""
        try:
            self._look(study)
        except GatewayError:
            raise
        except Exception as error:  # noqa: BLE001 -- as above
            log.error("study not looked at", error=type(error).__name__)
            as_before = Standing(progress=study.progress, because=study.because)
            rest = partial(progress.stand, study=study, found=as_before, now=self._now())
            self._write(partial(rest, look_at=self._now() + UNORDERED_REST), rebuildable=True)

    def _look(self, study: StudyProgress) -> None:
        c, now = self._spool.db.read(), self._now()
        orders = progress.orders_of(c, study.StudyInstanceUID)
        found, messages = Standing(progress=study.progress, because=study.because), tuple[_Message, ...]()
        if study.ended_at is None or orders:
            known = progress.evidence(c, study, orders)
            if study.ended_at is None:
                found = standing(known, self._telling.patience, now)
            messages = tuple(self._messages(c, study, orders, found, known.received))
        waits = self._telling.receivers and not orders and now - study.last_at < progress.UNORDERED
        over = found.progress is not Progress.IN_PROGRESS and not waits
        look_at = min(found.again or now + NOTHING_MORE, now + (NOTHING_MORE if orders else UNORDERED_REST))

        def keep(c: Connection) -> int:
            """Nothing, if something came of the study meanwhile: then it is looked at again at once."""
            if not progress.stand(c, study, found, now=now, look_at=look_at):
                return 0
            if over:
                progress.settle(c, study, now=now)
            return sum(_queue(c, message, now) for message in messages)

        # Without a message it is found again from what came: no sync of its own while scanners send
        if self._write(keep, rebuildable=not messages):
            self._queued()

    def _messages(
        self, c: Connection, study: StudyProgress, orders: Sequence[Order], found: Standing, received: int
    ) -> Iterator[_Message]:
        for order in orders:
            for receiver in self._telling.receivers:
                if receiver.senders and order.source not in receiver.senders:
                    continue
                before = orders_out.told(c, order.id, receiver.name)
                for event in _events(order, receiver, found):
                    if event not in before:
                        yield self._message(c, study, order, receiver=receiver, event=event, received=received)

    def _message(
        self, c: Connection, study: StudyProgress, order: Order, *, receiver: Receiver, event: Event, received: int
    ) -> _Message:
        zone = self._telling.zone
        at = study.first_at if event is Event.START else study.last_at
        ordered = Ordered(
            patient=patients.patient(c, order.patient),
            procedure=order.procedure,
            StudyInstanceUID=study.StudyInstanceUID,
            instances=received,
            at=at.astimezone(zone).replace(microsecond=0),
        )
        control_id = self._control_id()
        written = self._now().astimezone(zone)
        built = build(draft(event, receiver.format, ordered, receiver.header, control_id=control_id, written=written))
        if built.faults:
            log.error("order message lacks what is required", order=order.id, faults=len(built.faults))
        return _Message(
            receiver=receiver.name,
            order=order.id,
            event=event,
            control_id=control_id,
            body=built.body,
            valid=not built.faults,
        )

    def _write(self, job: Callable[[Connection], T], *, rebuildable: bool = False) -> T:
        return self._spool.db.write(job, rebuildable=rebuildable).result()


def _events(order: Order, receiver: Receiver, found: Standing) -> Iterator[Event]:
    """What there is to tell of an order, in its order. Of what the RIS told us, nothing."""
    if order.status in ENDED:
        return
    if order.status is not Status.STARTED:
        yield Event.START
    if found.progress is Progress.COMPLETE:
        yield Event.COMPLETE
        if receiver.report:
            yield Event.REPORT


def _queue(c: Connection, message: _Message, now: datetime) -> bool:
    return orders_out.queue(
        c,
        receiver=message.receiver,
        order=message.order,
        event=message.event,
        control_id=message.control_id,
        body=message.body,
        valid=message.valid,
        now=now,
    )
