"""Storage commitment towards the scanner (PS3.4 J.3): decided from our books, reported for days.

An instance is committed to when every destination it was routed to has confirmed it. A request waits
for as long as that takes: no failure is reported merely because time passed, since a report ends its
Transaction UID (J.3.3.1.2). What never came here (sent before there was this gateway, or forgotten since) is
passed on to the default destinations that know storage commitment, under Transaction UIDs of our own, and
answered as they answer: one that holds it is enough. Where there is none of these, and for what came under
another SOP class, was rejected by a person, or is refused by every destination as expected, a failure is
reported, so that the scanner keeps it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from gateway.dicom.associate import ProposedContext, RoleSelection
from gateway.dicom.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
    event_report,
)
from gateway.dicom.negotiation import NATIVE, STORAGE_COMMITMENT
from gateway.domain.model import (
    UID,
    DeliveryState,
    DestinationName,
    GatewayError,
    Instance,
    InstanceState,
    TemporaryFailure,
)
from gateway.domain.retry import backoff
from gateway.net.dicom_client import Peer, Requestor
from gateway.roles.forward.confirm import REFERENCES
from gateway.spool import Connection, Spool, commitments, deliveries, inquiries, instances
from gateway.spool.commitments import CommitmentRequest, CommitmentState, Outcome, Referenced
from gateway.spool.deliveries import EXPECTED

POLL_SECONDS = 2.0
REQUESTS = 200
SAME_ASSOCIATION = timedelta(seconds=15)
"""The listener reports on the association that asked, if it still stands; we wait for it to have tried."""
RETRY_BASE, RETRY_CAP = timedelta(seconds=5), timedelta(minutes=30)

log = structlog.get_logger()


class Reporter:
    """Decides the scanners' requests and reports what they did not take on their own association."""

    def __init__(
        self,
        spool: Spool,
        scanners: Callable[[str], Peer | None],
        *,
        inquired: Sequence[DestinationName],
        now: Callable[[], datetime],
        random: Callable[[], float],
        asked: Callable[[], None],
    ) -> None:
        """`scanners` says where a scanner takes reports; None if only on its own association. `inquired` are asked
        for what never came here; `asked` is called when there is something to ask them."""
        self._spool = spool
        self._inquired = tuple(inquired)
        self._asked = asked
        self._scanners = scanners
        self._now = now
        self._random = random
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, datetime] = {}
        self._offset = {CommitmentState.OPEN: 0, CommitmentState.DECIDED: 0}
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the reporter's thread."""
        while not stop.is_set():
            try:
                self.round()
            except GatewayError as error:
                log.warning("commitment not reported", code=getattr(error, "code", ""))
            self.wake.wait(POLL_SECONDS)
            self.wake.clear()

    def round(self) -> None:
        """Decide what can be decided, and report what is due."""
        c = self._spool.db.read()
        for request in self._next(c, CommitmentState.OPEN):
            outcome = decide(c, request, inquired=bool(self._inquired))
            if isinstance(outcome, Unknown):
                self._write(partial(_inquire, request=request, unknown=outcome, destinations=self._inquired))
                self._asked()
            elif outcome is not None:
                log.info("commitment decided", ok=len(outcome.succeeded), failed=len(outcome.failed))
                self._write(
                    partial(
                        commitments.decide_request,
                        transaction_uid=request.transaction_uid,
                        scanner=request.scanner,
                        outcome=outcome,
                        now=self._now(),
                    )
                )
        for request in self._next(c, CommitmentState.DECIDED):
            if self._due(request):
                self._report(request)

    def _next(self, c: Connection, state: CommitmentState) -> tuple[CommitmentRequest, ...]:
        """Some requests of a state, all of them in turn: those that wait for ever must not hide the others."""
        offset = self._offset[state]
        found = commitments.requests(c, state=state, limit=REQUESTS, offset=offset)
        self._offset[state] = offset + REQUESTS if len(found) == REQUESTS else 0
        return found

    def _due(self, request: CommitmentRequest) -> bool:
        now = self._now()
        return now - request.received_at > SAME_ASSOCIATION and now >= self._not_before.get(
            request.transaction_uid, now
        )

    def _report(self, request: CommitmentRequest) -> None:
        peer = self._scanners(request.scanner)
        if peer is None:
            return
        try:
            _deliver(peer, request)
        except TemporaryFailure as error:
            failures = self._failures[request.transaction_uid] = self._failures.get(request.transaction_uid, 0) + 1
            wait = backoff(failures, base=RETRY_BASE, cap=RETRY_CAP, random=self._random())
            self._not_before[request.transaction_uid] = self._now() + wait
            log.warning("scanner did not take the report", code=error.code, failures=failures)
            return
        self._failures.pop(request.transaction_uid, None)
        self._not_before.pop(request.transaction_uid, None)
        self._write(
            partial(
                commitments.answer_request,
                transaction_uid=request.transaction_uid,
                scanner=request.scanner,
                now=self._now(),
            )
        )
        log.info("commitment reported to the scanner")

    def _write(self, job: Callable[[Connection], object]) -> None:
        self._spool.db.write(job).result()


@dataclass(frozen=True, slots=True)
class Unknown:
    """Instances of a request that never came here, and that no destination was asked for yet."""

    items: tuple[Referenced, ...]


def decide(c: Connection, request: CommitmentRequest, *, inquired: bool) -> Outcome | Unknown | None:
    """What the scanner is to be told; None while something is still on its way, or being asked. `inquired`: there are
    destinations that can be asked for what never came here."""
    asked = _Inquired(c, request) if inquired else None
    succeeded: list[Referenced] = []
    failed: list[tuple[Referenced, int]] = []
    unknown: list[Referenced] = []
    waits = False
    for item in request.referenced:
        copies = instances.by_uid(c, item.ReferencedSOPInstanceUID)
        if not copies and asked is not None and not asked.knows(item):
            unknown.append(item)
            continue
        reason = _reason(c, item, copies) if copies else NO_SUCH_INSTANCE if asked is None else asked.reason(item)
        if reason is None:
            waits = True
        elif reason:
            failed.append((item, reason))
        else:
            succeeded.append(item)
    if unknown:
        return Unknown(tuple(unknown))
    return None if waits else Outcome(succeeded=tuple(succeeded), failed=tuple(failed))


class _Inquired:
    """What destinations answered for the instances of a request that never came here."""

    def __init__(self, c: Connection, request: CommitmentRequest) -> None:
        self._reasons: dict[UID, list[int | None]] = {}
        for inquiry, report in inquiries.of_request(c, request):
            held = set(report.succeeded) if report is not None else set()
            failed = {one.ReferencedSOPInstanceUID: one.FailureReason for one in report.failed} if report else {}
            for item in inquiry.referenced:
                uid = item.ReferencedSOPInstanceUID
                told = 0 if uid in held else failed.get(uid, NO_SUCH_INSTANCE)
                self._reasons.setdefault(uid, []).append(None if report is None else told)

    def knows(self, item: Referenced) -> bool:
        """Whether it is being asked for, or was."""
        return item.ReferencedSOPInstanceUID in self._reasons

    def reason(self, item: Referenced) -> int | None:
        """0 if a destination holds it, None while one that may hold it has not answered, else a Failure Reason."""
        told = self._reasons[item.ReferencedSOPInstanceUID]
        if 0 in told:
            return 0
        return None if None in told else told[0]


def _inquire(
    c: Connection, *, request: CommitmentRequest, unknown: Unknown, destinations: Sequence[DestinationName]
) -> None:
    for destination in destinations:
        for start in range(0, len(unknown.items), REFERENCES):
            part = unknown.items[start : start + REFERENCES]
            inquiries.open_inquiry(c, request, destination=destination, referenced=part)
    log.info("commitment passed on", instances=len(unknown.items), destinations=len(destinations))


def _reason(c: Connection, item: Referenced, copies: Sequence[Instance]) -> int | None:
    """0 if the instance is safe at every destination, a Failure Reason, or None if that is not known yet."""
    matching = [copy for copy in copies if copy.SOPClassUID == item.ReferencedSOPClassUID]
    if not matching:
        return CLASS_INSTANCE_CONFLICT
    # The first copy went on its way; a differing later one waits in quarantine for a person
    ended = [
        _ended(c, copy)
        for copy in matching
        if copy.state in (InstanceState.DELIVERED, InstanceState.PURGED) and not copy.quarantine
    ]
    if 0 in ended:
        return 0
    return ended[0] if len(ended) == len(matching) else None


def _ended(c: Connection, copy: Instance) -> int:
    """Whether a destination keeps what has come to its end here: 0, or the Failure Reason if none does."""
    kept = [one for one in deliveries.of_instance(c, copy.id) if one.state is DeliveryState.CONFIRMED]
    if not kept:
        return PROCESSING_FAILURE  # a person rejected it
    expected = all(one.last_status.startswith(EXPECTED) for one in kept)
    return SOP_CLASS_NOT_SUPPORTED if expected else 0


def _deliver(peer: Peer, request: CommitmentRequest) -> None:
    """N-EVENT-REPORT on an association of our own, in the SCP role (PS3.4 J.3.3.1)."""
    assert request.outcome is not None
    contexts = [ProposedContext(1, STORAGE_COMMITMENT, NATIVE)]
    roles = (RoleSelection(STORAGE_COMMITMENT, scu=False, scp=True),)
    with Requestor.connect(peer, contexts, roles=roles) as requestor:
        context = requestor.context_for(STORAGE_COMMITMENT)
        if context is None:
            raise TemporaryFailure("the scanner accepted no context for storage commitment", code="context")
        command, data_set = event_report(
            request.transaction_uid,
            succeeded=[_pair(item) for item in request.outcome.succeeded],
            failed=[(*_pair(item), reason) for item, reason in request.outcome.failed],
            transfer_syntax=context.transfer_syntax,
            message_id=requestor.next_message_id(),
        )
        status = requestor.request(context, command, data_set).status
        if status != 0:
            raise TemporaryFailure(f"the report was answered {status:04X}", code=f"{status:04X}")


def _pair(item: Referenced) -> tuple[str, str]:
    return item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID
