"""Relaying performed procedure steps to each RIS, and each PACS that wants them (IHE RAD-6, RAD-7).

What is promised beside `relaying` (PS3.4 F.7): every message goes as it came, under its own UID; the messages of one
step in their order, steps independently of each other. A refused one holds up nothing. The peer's "I have it already"
is success for what we tried before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import NO_DATA_SET, CommandField, CommandSet
from gateway.dicom.elements import ElementError, encode, parse
from gateway.dicom.negotiation import MPPS, NATIVE, propose
from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.domain.mpps import Request, classify_answer
from gateway.domain.retry import Outcome, OutcomeKind, backoff
from gateway.domain.retry import TransportFailure as Failed
from gateway.net.dicom_client import Peer, Requestor
from gateway.roles.forward.target import Breaker
from gateway.spool import Connection, Spool, mpps, relays
from gateway.spool.audit import Subject
from gateway.spool.mpps import Relay

AT_ONCE = 50
MAX_ELEMENTS = 1_000_000


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


class MppsWay:
    """The way to one target, by DIMSE-N."""

    kind: Final = Subject.MPPS
    warm: Final = 1.0

    def __init__(self, spool: Spool, target: MppsTarget, *, breaker: Breaker, random: Callable[[], float]) -> None:
        self.name = target.name
        self._spool = spool
        self._target = target
        self._breaker = breaker
        self._random = random
        self._requestor: Requestor | None = None
        self._calling = ""

    def due(self, c: Connection, now: datetime) -> Sequence[Relay]:
        return mpps.due(c, target=self.name, now=now, limit=AT_ONCE)

    def connect(self, message: Relay) -> bool:
        calling = message.calling_ae if self._target.as_scanner else ""
        if self._requestor is not None and calling == self._calling:
            return True
        self.hang_up()
        if not self._breaker.may_try():
            return False
        try:
            requestor = Requestor.connect(self._target.peer(calling), propose({MPPS: NATIVE}))
        except TemporaryFailure:
            self._breaker.failed()
            raise
        if requestor.context_for(MPPS) is None:
            requestor.release()
            self._breaker.failed()
            raise TemporaryFailure("the peer accepted no context for performed procedure steps", code="context")
        self._requestor, self._calling = requestor, calling
        return True

    def unreachable(self, message: Relay, code: str, now: datetime) -> Callable[[Connection], None]:
        """The message stays due, and says why: the breaker leaves the peer alone."""
        return partial(relays.note, message=message, status=code)

    def send(self, message: Relay) -> Outcome:
        assert self._requestor is not None
        body = mpps.dataset(self._spool.db.read(), message.message)
        try:
            outcome = _send(self._requestor, message, body)
        except TemporaryFailure:
            self._breaker.failed()
            raise
        if outcome.is_stored or outcome.kind is OutcomeKind.PERMANENT:
            self._breaker.succeeded()
        elif outcome.blames_destination:
            self._breaker.failed()
            self.hang_up()
        return outcome

    def wait(self, attempts: int) -> timedelta:
        return backoff(attempts, base=self._target.retry_base, cap=self._target.retry_cap, random=self._random())

    @property
    def is_open(self) -> bool:
        return self._requestor is not None

    def hang_up(self) -> None:
        if self._requestor is not None:
            self._requestor.release()
            self._requestor = None

    def abort(self) -> None:
        if self._requestor is not None:
            self._requestor.abort()
            self._requestor = None


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
    response = requestor.request(context, command, content or None)
    error_id = response.command.ErrorID or 0
    return classify_answer(relay.request, response.status, error_id=error_id, attempts=relay.attempts)


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
