"""Telling a RIS that a study can be had from its archives: Instance Availability Notification (PS3.4 R), where the
site asks for it ([[ris]] ian), for it is the archive's to send.

What is promised: a study is told of once every destination confirmed it, in that order. What fails for
now is tried again for ever; what the RIS refuses is passed over with an alarm, that ends with the next one it takes.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from gateway.dicom.availability import INSTANCE_AVAILABILITY, notification
from gateway.dicom.negotiation import NATIVE, propose
from gateway.domain.model import DestinationName, GatewayError, TemporaryFailure
from gateway.domain.mpps import Request, classify_answer
from gateway.domain.retry import OutcomeKind
from gateway.net.dicom_client import Peer, Requestor
from gateway.roles.forward.target import Breaker
from gateway.spool import Connection, Spool, audit, availability
from gateway.spool.study_events import StudyEvent

POLL_SECONDS: Final = 2.0
ALARM_REFUSED: Final = "availability-refused"
_NAMES: Final = uuid.UUID("5f0c5a5e-3a0b-4d0e-9f0a-6c2f1f3b7d11")
"""Of the notifications' UIDs (PS3.5 B.2), so that one that is sent again is known for the same."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityTarget:
    """A RIS that is told."""

    name: str
    box: str
    """Our own name, by which notifications of two boxes are told apart."""
    peer: Peer
    titles: Mapping[DestinationName, str]
    """The AE title that images can be retrieved from, by destination."""
    retry_base: timedelta
    retry_cap: timedelta


class AvailabilityNotifier:
    """The thread of one RIS."""

    def __init__(
        self, spool: Spool, target: AvailabilityTarget, *, breaker: Breaker, now: Callable[[], datetime]
    ) -> None:
        self._spool = spool
        self._target = target
        self._breaker = breaker
        self._now = now
        self._attempts = 0
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the thread."""
        self._write(partial(availability.begin, target=self._target.name))
        while not stop.is_set():
            try:
                while not stop.is_set() and self.round():
                    pass
            except GatewayError as error:
                log.warning("availability not told", target=self._target.name, code=getattr(error, "code", ""))
            self.wake.wait(POLL_SECONDS)
            self.wake.clear()

    def round(self) -> bool:
        """Tell of the next study; whether there was one and it is done with."""
        c = self._spool.db.read()
        event = availability.following(c, self._target.name)
        if event is None or not self._breaker.may_try():
            return False
        images, held_by = availability.images(c, event.StudyInstanceUID)
        titles = sorted({self._target.titles[name] for name in held_by if name in self._target.titles})
        if not (images and titles):  # held by folders alone, or forgotten: nobody can retrieve it
            self._write(partial(availability.told, target=self._target.name, event=event))
            return True
        try:
            with Requestor.connect(self._target.peer, propose({INSTANCE_AVAILABILITY: NATIVE})) as requestor:
                context = requestor.context_for(INSTANCE_AVAILABILITY)
                if context is None:
                    raise TemporaryFailure("the RIS accepted no context for notifications", code="context")
                command, data_set = notification(
                    f"2.25.{uuid.uuid5(_NAMES, f'{self._target.box}/{event.seq}').int}",
                    event.StudyInstanceUID,
                    images,
                    retrieve_from=titles,
                    transfer_syntax=context.transfer_syntax,
                    message_id=requestor.next_message_id(),
                )
                status = requestor.request(context, command, data_set).status
        except TemporaryFailure:
            self._breaker.failed()
            raise
        return self._settle(event, status)

    def _settle(self, event: StudyEvent, status: int) -> bool:
        self._attempts += 1
        outcome = classify_answer(Request.CREATE, status, attempts=self._attempts)
        if not outcome.is_stored and outcome.kind is not OutcomeKind.PERMANENT:
            self._breaker.failed()
            raise TemporaryFailure(f"the notification was answered {status:04X}", code=outcome.code)
        self._attempts = 0
        self._breaker.succeeded()
        log.info("availability told", target=self._target.name, seq=event.seq, status=outcome.code)
        self._write(partial(self._done, event=event, refused=not outcome.is_stored))
        return True

    def _done(self, c: Connection, *, event: StudyEvent, refused: bool) -> None:
        availability.told(c, self._target.name, event)
        change = audit.raise_alarm if refused else audit.clear_alarm
        change(c, code=ALARM_REFUSED, subject=self._target.name, now=self._now())

    def _write(self, job: Callable[[Connection], object]) -> None:
        self._spool.db.write(job).result()
