"""Relaying performed procedure steps: one thread for each RIS, and each PACS that wants them (IHE RAD-6, RAD-7).

What is promised (PS3.4 F.7): every message that was kept is sent as it came, under its own UID, until the peer has
taken it; the messages of one step in their order, steps independently of each other, peers too. What fails for
now is tried again for ever, and alarms by its age; what the peer refuses waits for a person, with an alarm, and the
messages behind it go on. After a crash a message may be sent twice: the peer's "I have it already" is success.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import NO_DATA_SET, CommandField, CommandSet
from gateway.dicom.elements import ElementError, encode, parse
from gateway.dicom.negotiation import MPPS, NATIVE, propose
from gateway.domain.model import GatewayError, PermanentFailure, TemporaryFailure
from gateway.domain.mpps import RelayState, Request, classify_answer
from gateway.domain.retry import Outcome, OutcomeKind, backoff
from gateway.domain.retry import TransportFailure as Failed
from gateway.net.dicom_client import Peer, Requestor
from gateway.roles.forward.target import Breaker
from gateway.spool import Connection, Spool, mpps, relays
from gateway.spool.audit import Subject
from gateway.spool.mpps import Relay

POLL_SECONDS = 2.0
WARM_SECONDS = 1.0
"""How long an association stays open for the next message."""
AT_ONCE = 50
MAX_ELEMENTS = 1_000_000

log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class MppsTarget:
    """A RIS or PACS that performed procedure steps are passed on to."""

    name: str
    peer: Callable[[str], Peer]
    """How to call it on behalf of a scanner's AE title."""
    as_scanner: bool
    """The calling AE title is the scanner's: steps of two scanners never share an association."""
    retry_base: timedelta
    retry_cap: timedelta


class MppsRelay:
    """The thread of one target."""

    def __init__(
        self,
        spool: Spool,
        target: MppsTarget,
        *,
        breaker: Breaker,
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._spool = spool
        self._target = target
        self._breaker = breaker
        self._now = now
        self._random = random
        self._requestor: Requestor | None = None
        self._calling = ""
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the thread, from what an earlier one left."""
        try:
            self._write(partial(relays.release, kind=Subject.MPPS, target=self._target.name, now=self._now()))
            while not stop.is_set():
                if not self._worked(stop):
                    self._rest()
        finally:
            self._hang_up()

    def _worked(self, stop: threading.Event) -> bool:
        try:
            return self._round(stop)
        except GatewayError as error:
            log.warning("performed steps not relayed", target=self._target.name, code=getattr(error, "code", ""))
            return False

    def _rest(self) -> None:
        if not self.wake.wait(WARM_SECONDS if self._requestor is not None else POLL_SECONDS):
            self._hang_up()
        self.wake.clear()

    def _round(self, stop: threading.Event) -> bool:
        """Send what may be sent now; whether anything was settled for good."""
        found = mpps.due(self._spool.db.read(), target=self._target.name, now=self._now(), limit=AT_ONCE)
        settled = False
        for relay in found:
            if stop.is_set() or not self._connected(relay):
                break
            settled = self._relay(relay) or settled
        return settled

    # -- the association --

    def _connected(self, relay: Relay) -> bool:
        """Whether an association stands on which this message may go."""
        calling = relay.calling_ae if self._target.as_scanner else ""
        if self._requestor is not None and calling == self._calling:
            return True
        self._hang_up()
        if not self._breaker.may_try():
            return False
        try:
            requestor = Requestor.connect(self._target.peer(calling), propose({MPPS: NATIVE}))
        except TemporaryFailure as error:
            self._failed(relay, error.code)
            return False
        if requestor.context_for(MPPS) is None:
            requestor.release()
            self._failed(relay, "context")
            return False
        self._requestor, self._calling = requestor, calling
        return True

    def _failed(self, relay: Relay, code: str) -> None:
        """The peer could not be asked: the message stays due, and says why."""
        self._breaker.failed()
        log.warning("performed steps not relayed", target=self._target.name, code=code)
        self._write(partial(relays.note, message=relay, status=code))

    def _hang_up(self) -> None:
        if self._requestor is not None:
            self._requestor.release()
            self._requestor = None

    def _break_off(self) -> None:
        if self._requestor is not None:
            self._requestor.abort()
            self._requestor = None

    # -- one message --

    def _relay(self, relay: Relay) -> bool:
        """Send one message and settle it; whether it is over, or waits for a person."""
        assert self._requestor is not None
        # Committed before it leaves: after a crash, "I have it already" must be known for our own
        relay = self._write(partial(relays.begin, message=relay, now=self._now()))
        try:
            body = mpps.dataset(self._spool.db.read(), relay.message)
            outcome = _send(self._requestor, relay, body)
        except PermanentFailure as error:
            return self._refuse(relay, error.code)
        except TemporaryFailure as error:
            self._break_off()
            self._breaker.failed()
            return self._defer(relay, error.code)
        except Exception as error:  # noqa: BLE001 -- the relay's edge: a fault over one message must not hold the others
            log.error("fault over a performed step", step=relay.step, error=type(error).__name__)
            self._break_off()
            return self._defer(relay, "fault")
        log.info(
            "performed step relayed",
            step=relay.step,
            request=relay.request,
            target=self._target.name,
            status=outcome.code,
        )
        if outcome.is_stored:
            self._breaker.succeeded()
            self._write(
                partial(relays.settle, message=relay, state=RelayState.SENT, status=outcome.code, now=self._now())
            )
            return True
        if outcome.kind is OutcomeKind.PERMANENT:
            self._breaker.succeeded()
            return self._refuse(relay, outcome.code)
        if outcome.blames_destination:
            self._breaker.failed()
            self._hang_up()
        return self._defer(relay, outcome.code)

    def _refuse(self, relay: Relay, code: str) -> bool:
        log.error("performed step refused", step=relay.step, target=self._target.name, status=code)
        self._write(partial(relays.settle, message=relay, state=RelayState.REFUSED, status=code, now=self._now()))
        return True

    def _defer(self, relay: Relay, code: str) -> bool:
        now = self._now()
        wait = backoff(relay.attempts, base=self._target.retry_base, cap=self._target.retry_cap, random=self._random())
        self._write(
            partial(relays.settle, message=relay, state=RelayState.QUEUED, status=code, now=now, not_before=now + wait)
        )
        return False

    def _write(self, job: Callable[[Connection], T]) -> T:
        return self._spool.db.write(job).result()


def _send(requestor: Requestor, relay: Relay, body: bytes) -> Outcome:
    """One request and what its response means. Raises TemporaryFailure, or PermanentFailure for a message that no
    accepted transfer syntax can carry."""
    context, content = _as_accepted(requestor, relay, body)
    creates = relay.request is Request.CREATE
    command = CommandSet(
        CommandField=CommandField.N_CREATE_RQ if creates else CommandField.N_SET_RQ,
        AffectedSOPClassUID=MPPS if creates else None,
        AffectedSOPInstanceUID=relay.SOPInstanceUID if creates else None,
        RequestedSOPClassUID=None if creates else MPPS,
        RequestedSOPInstanceUID=None if creates else relay.SOPInstanceUID,
        MessageID=requestor.next_message_id(),
        CommandDataSetType=1 if content else NO_DATA_SET,
    )
    response = requestor.request(context, command, content or None).command
    if response.Status is None:
        raise TemporaryFailure("the response has no Status (0000,0900)", code="protocol")
    return classify_answer(relay.request, response.Status, error_id=response.ErrorID or 0, attempts=relay.attempts)


def _as_accepted(requestor: Requestor, relay: Relay, body: bytes) -> tuple[AcceptedContext, bytes]:
    """The context to send on, and the data set in its transfer syntax: as it came wherever the peer takes that."""
    context = requestor.context_for(MPPS, relay.TransferSyntaxUID)
    if context is not None or not body:
        return context or _any(requestor), body
    context = _any(requestor)
    try:
        dataset = parse(body, relay.TransferSyntaxUID, max_elements=MAX_ELEMENTS)
        return context, encode(dataset, context.transfer_syntax)
    except ElementError as error:
        raise PermanentFailure(str(error), code=Failed.CONTEXT_REFUSED) from error


def _any(requestor: Requestor) -> AcceptedContext:
    context = requestor.context_for(MPPS)
    assert context is not None  # the association was kept for this
    return context
