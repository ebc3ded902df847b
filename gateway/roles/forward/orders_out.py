"""Telling each RIS what became of its orders: one thread for each receiver (IHE RAD-13; HL7 v2 over MLLP).

What is promised: messages go out in the order they were queued, one at a time, until the receiver has taken each
(AA, or CA in enhanced mode). What fails for now is tried again for ever, at most RETRY_CAP apart, and alarms by its
age; what the receiver refuses (AE, AR, CE, CR) is never sent again by itself: it waits for a person, with an alarm,
and so do later messages of that order, while other orders go on. An answer under another control id is nobody's.
After a crash a message may be sent twice, as the same bytes under the same control id.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import structlog

from gateway.domain.model import GatewayError, TemporaryFailure
from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import Format, Header, Verdict, answer_to
from gateway.domain.retry import backoff
from gateway.net.mllp_client import MllpClient, Place
from gateway.spool import Connection, Spool, orders_out, relays
from gateway.spool.audit import Subject
from gateway.spool.orders_out import OrderMessage

POLL_SECONDS = 2.0
WARM_SECONDS = 30.0
"""How long a connection stays open for the next message."""
RETRY_BASE: Final = timedelta(seconds=2)
RETRY_CAP: Final = timedelta(minutes=1)
"""Short enough that nobody waits for us when a RIS is back."""

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A RIS that is told of its orders."""

    name: str
    place: Place
    format: Format
    report: bool
    """Whether it is told the study's UID as a result, too."""
    senders: frozenset[str]
    """Whose orders it is told of, by the names of those who sent them; empty: of all."""
    header: Header


class OrdersOut:
    """The thread of one receiver."""

    def __init__(
        self, spool: Spool, receiver: Receiver, *, now: Callable[[], datetime], random: Callable[[], float]
    ) -> None:
        self._spool = spool
        self._receiver = receiver
        self._now = now
        self._random = random
        self._client: MllpClient | None = None
        self._unsettled = True
        """Whether a message may be left as being sent: by an ended process, or as the database failed."""
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the thread, from what an earlier one left."""
        idle = 0.0
        try:
            while not stop.is_set():
                if self._worked():
                    idle = 0.0
                    continue
                if not self.wake.wait(POLL_SECONDS):
                    idle += POLL_SECONDS
                if idle >= WARM_SECONDS:
                    self._hang_up()
                self.wake.clear()
        finally:
            self._hang_up()

    def _worked(self) -> bool:
        """Whether a message was settled for good, so that the next may be due."""
        try:
            if self._unsettled:
                self._write(
                    partial(relays.release, kind=Subject.ORDER_MESSAGE, target=self._receiver.name, now=self._now())
                )
                self._unsettled = False
            message = orders_out.head(self._spool.db.read(), receiver=self._receiver.name, now=self._now())
            return message is not None and self._connected(message) and self._told(message)
        except GatewayError as error:  # the database, or a person decided meanwhile
            log.warning("order not told", receiver=self._receiver.name, code=getattr(error, "code", ""))
            return False

    def _connected(self, message: OrderMessage) -> bool:
        if self._client is not None and self._client.is_idle:
            return True
        self._hang_up()
        try:
            self._client = MllpClient(self._receiver.place)
        except TemporaryFailure as error:
            log.warning("order not told", message=message.id, receiver=self._receiver.name, code=error.code)
            put_off = partial(relays.put_off, message=message, status=error.code)
            self._write(partial(put_off, not_before=self._now() + self._wait(message.attempts + 1)))
            return False
        return True

    def _told(self, message: OrderMessage) -> bool:
        assert self._client is not None
        self._unsettled = True
        message = self._write(partial(relays.begin, message=message, now=self._now()))
        try:
            answer = self._client.ask(message.body, partial(answer_to, control_id=message.control_id))
        except TemporaryFailure as error:
            self._hang_up()
            return self._defer(message, error.code)
        except Exception as error:  # noqa: BLE001 -- the receiver's edge: unknown means temporary
            log.error("fault over an order message", message=message.id, error=type(error).__name__)
            self._hang_up()
            return self._defer(message, "fault")
        if answer.verdict is Verdict.UNCLEAR:
            self._hang_up()
            return self._defer(message, answer.status)
        taken = answer.verdict is Verdict.TAKEN
        state = RelayState.SENT if taken else RelayState.REFUSED
        say = log.info if taken else log.error
        say("order told", message=message.id, tells=message.event, receiver=self._receiver.name, status=answer.status)
        self._settle(partial(relays.settle, message=message, state=state, status=answer.status, now=self._now()))
        return True

    def _defer(self, message: OrderMessage, code: str) -> bool:
        now = self._now()
        log.warning("order not told", message=message.id, receiver=self._receiver.name, code=code)
        job = partial(relays.settle, message=message, state=RelayState.QUEUED, status=code, now=now)
        self._settle(partial(job, not_before=now + self._wait(message.attempts)))
        return False

    def _settle(self, job: Callable[[Connection], None]) -> None:
        self._write(job)
        self._unsettled = False

    def _wait(self, attempts: int) -> timedelta:
        return backoff(attempts, base=RETRY_BASE, cap=RETRY_CAP, random=0.5 + self._random() / 2)

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _write(self, job: Callable[[Connection], T]) -> T:
        return self._spool.db.write(job).result()
