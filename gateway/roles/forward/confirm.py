"""Proof: what was sent to a destination is confirmed by it before ours may ever be purged.

One thread per destination. With `commitment` it asks under a Transaction UID of ours, durable before
the N-ACTION leaves, and takes the report on the same association if it comes within
`commitment_wait`; a report on an association of its own is recorded by the listener and settled here.
With `query` (and to verify a duplicate, 0111) it looks for the instance at IMAGE level. What is not
confirmed is asked again; what the destination says it does not hold goes back into the queue. Where it
refuses one calling AE, what the others ask is asked.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from pydicom.uid import generate_uid

from gateway.dicom.commitment import CommitmentError, Result, action_request, parse_result
from gateway.dicom.dimse import CommandField, response_to
from gateway.dicom.elements import ElementError
from gateway.dicom.negotiation import STORAGE_COMMITMENT
from gateway.domain.model import UID, Confirm, Delivery, DeliveryState, GatewayError, Instance, TemporaryFailure
from gateway.net.dicom_client import Requestor
from gateway.roles.forward.dimse import Dimse
from gateway.roles.forward.target import Breaker, Target
from gateway.spool import Connection, Spool, audit, commitments, deliveries, inquiries, instances
from gateway.spool.commitments import CommitmentState, CommitmentTransaction
from gateway.spool.inquiries import Inquiry

REFERENCES = 500
"""Instances named in one request, so that one answer stays small."""
INQUIRIES = 20
"""Asked in one round."""
SLICE_SECONDS = 0.5
POLL_SECONDS = 2.0
LOOKED_FOR = timedelta(minutes=10)
"""How long an instance may be missing at a destination that said it stored it, before it is sent again."""
ASKED_AGAIN = timedelta(hours=1)
"""A request without a report is repeated, as its association may have broken before the report; the first one
stays open, and whichever report comes counts."""
SENT_LIMIT = 2000
"""Looked at in one round, of what was not asked for lately."""
AT_ONCE = 500
"""Reports settled, and requests given up, in one round."""
AWAY = frozenset({"files", "connect", "silence"})
"""Codes of what no other association would fare better with."""
ALARM_NOT_COMMITTED = "not-committed"
ALARM_NOT_CONFIRMABLE = "confirmation-refused"

log = structlog.get_logger()
T = TypeVar("T")
Pair = tuple[Delivery, Instance]


class Confirmer:
    """Turns `sent` into `confirmed`, or back into `queued`, for one destination."""

    def __init__(
        self,
        spool: Spool,
        target: Target,
        *,
        breaker: Breaker,
        now: Callable[[], datetime],
        changed: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._target = target
        self._breaker = breaker
        self._now = now
        self._changed = changed
        self._took_over = False
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the confirmer's thread."""
        while not stop.is_set():
            try:
                self.round()
            except GatewayError as error:
                log.warning("not confirmed", dest=self._target.name, code=getattr(error, "code", ""))
            self.wake.wait(POLL_SECONDS)
            self.wake.clear()

    def round(self) -> None:
        """Settle the reports that came, and ask for what has been sent and not asked for."""
        self._settle_reports()
        if not self._took_over:
            self._take_over()
        sent, inquired = self._unasked(), self._uninquired()
        if not (sent or inquired) or not self._breaker.may_try():
            return
        try:
            if self._target.confirm is Confirm.COMMITMENT:
                self._ask_all([*self._asking(sent), *self._inquiring(inquired)])
            else:
                self._look_for(sent)
            self._breaker.succeeded()
            self._write(
                partial(audit.clear_alarm, code=ALARM_NOT_CONFIRMABLE, subject=self._target.name, now=self._now())
            )
        except TemporaryFailure as error:
            self._breaker.failed()
            if error.code not in AWAY:
                self._alarm(ALARM_NOT_CONFIRMABLE)
            raise

    def _take_over(self) -> None:
        """What an earlier process asked is asked anew: a destination that reports on the association of the request
        (PS3.4 J.3.3) has lost it. A late report on one of its own finds no transaction, and the new one holds."""
        withdrawn = self._write(partial(commitments.withdraw_all, destination=self._target.name))
        if withdrawn:
            log.info("commitment asked anew", dest=self._target.name, requests=withdrawn)
        self._took_over = True

    def _unasked(self) -> list[Pair]:
        c, lately = self._spool.db.read(), self._now() - ASKED_AGAIN
        sent = deliveries.unasked(c, destination=self._target.name, lately=lately, limit=SENT_LIMIT)
        return [
            (delivery, instance) for delivery in sent if (instance := instances.get(c, delivery.instance)) is not None
        ]

    def _transactions(self, state: CommitmentState, *, asked_before: datetime) -> tuple[CommitmentTransaction, ...]:
        c, name = self._spool.db.read(), self._target.name
        return commitments.transactions(c, destination=name, state=state, asked_before=asked_before, limit=AT_ONCE)

    # -- storage commitment --

    def _ask_all(self, asking: Sequence[Callable[[], None]]) -> None:
        """Ask on each association and settle what was reported there. Raises TemporaryFailure if one failed."""
        failure: TemporaryFailure | None = None
        for ask in asking:
            try:
                ask()
            except TemporaryFailure as error:
                failure = error
                if error.code in AWAY:
                    break
        self._settle_reports()
        if failure is not None:
            raise failure

    def _asking(self, sent: Sequence[Pair]) -> Iterator[Callable[[], None]]:
        for calling in dict.fromkeys(self._node.committer_for(instance) for _, instance in sent):
            pairs = [pair for pair in sent if self._node.committer_for(pair[1]) == calling]
            yield partial(self._ask_commitment, calling, pairs)

    def _ask_commitment(self, calling: str, pairs: Sequence[Pair]) -> None:
        with self._node.ask_commitment(calling) as requestor:
            starts = range(0, len(pairs), REFERENCES)
            asked = {self._request_for(requestor, pairs[start : start + REFERENCES]) for start in starts}
            self._await_reports(requestor, asked)

    def _request_for(self, requestor: Requestor, pairs: Sequence[Pair]) -> str:
        """Ask for what was sent."""
        named = [(instance.SOPClassUID, instance.SOPInstanceUID) for _, instance in pairs]
        ids = [delivery.id for delivery, _ in pairs]
        record = partial(commitments.record_transaction, destination=self._target.name, deliveries=ids, now=self._now())
        return self._request(requestor, named, record)

    def _inquiring(self, inquired: Sequence[Inquiry]) -> Iterator[Callable[[], None]]:
        for scanner, some in itertools.groupby(inquired, key=lambda one: one.scanner):
            yield partial(self._inquire, scanner if self._node.commits_as_scanner else "", tuple(some))

    def _inquire(self, calling: str, inquired: Sequence[Inquiry]) -> None:
        """Pass on what a scanner asks of instances that never came here (sent before there was this gateway)."""
        with self._node.ask_commitment(calling) as requestor:
            asked = {
                self._request(
                    requestor,
                    [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in inquiry.referenced],
                    partial(inquiries.ask, inquiry=inquiry, now=self._now()),
                )
                for inquiry in inquired
            }
            self._await_reports(requestor, asked)

    @property
    def _node(self) -> Dimse:
        assert isinstance(self._target.way, Dimse), "the configuration grants storage commitment to DICOM alone"
        return self._target.way

    def _uninquired(self) -> tuple[Inquiry, ...]:
        return inquiries.unasked(
            self._spool.db.read(), destination=self._target.name, again=self._now() - ASKED_AGAIN, limit=INQUIRIES
        )

    def _await_reports(self, requestor: Requestor, asked: set[str]) -> None:
        """Take the reports that come here; stop when all have come, here or on associations of their own."""
        context = requestor.context_for(STORAGE_COMMITMENT)
        assert context is not None
        for _ in range(math.ceil(self._target.commitment_wait.total_seconds() / SLICE_SECONDS)):
            asked = set(filter(self._is_open, asked))
            if not asked:
                return
            message = requestor.await_message(SLICE_SECONDS)
            if message is not None and message.command.CommandField == CommandField.N_EVENT_REPORT_RQ:
                result = _result(message.data_set, context.transfer_syntax)
                self._write(partial(commitments.record_report, result=result, now=self._now()))
                requestor.reply(message, response_to(message.command, 0))

    def _is_open(self, transaction_uid: str) -> bool:
        found = commitments.get_transaction(self._spool.db.read(), UID(transaction_uid))
        return found is not None and found.state is CommitmentState.OPEN

    def _request(
        self, requestor: Requestor, references: Sequence[tuple[UID, UID]], record: Callable[..., object]
    ) -> str:
        """Ask for these pairs of class and instance; `record` writes down, before, under which `transaction_uid`."""
        context = requestor.context_for(STORAGE_COMMITMENT)
        if context is None:
            raise TemporaryFailure("the destination accepted no context for storage commitment", code="context")
        transaction = UID(str(generate_uid(prefix=None)))
        self._write(partial(record, transaction_uid=transaction))
        command, data_set = action_request(
            transaction,
            dict.fromkeys(references),
            transfer_syntax=context.transfer_syntax,
            message_id=requestor.next_message_id(),
        )
        try:
            status = requestor.request(context, command, data_set).status
            if status != 0:
                raise TemporaryFailure(f"storage commitment was answered {status:04X}", code=f"{status:04X}")
        except TemporaryFailure:
            self._write(partial(commitments.withdraw_transaction, transaction_uid=transaction))
            raise
        return transaction

    def _settle_reports(self) -> None:
        for transaction in self._transactions(CommitmentState.ANSWERED, asked_before=self._now() + timedelta(days=1)):
            self._write(partial(self._settle, transaction=transaction))
            log.info(
                "commitment settled",
                dest=self._target.name,
                ok=len(transaction.succeeded),
                failed=len(transaction.failed),
            )
            self._changed()
        overdue = self._now() - self._target.commitment_timeout
        for transaction in self._transactions(CommitmentState.OPEN, asked_before=overdue):
            self._write(partial(self._give_up, transaction=transaction))

    def _settle(self, c: Connection, *, transaction: CommitmentTransaction) -> None:
        """Move every delivery the report names; one that it forgets is asked for again."""
        succeeded = set(transaction.succeeded)
        failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in transaction.failed}
        for delivery_id in transaction.deliveries:
            delivery = deliveries.get(c, delivery_id)
            instance = instances.get(c, delivery.instance) if delivery is not None else None
            if delivery is None or instance is None or delivery.state is not DeliveryState.SENT:
                continue
            if instance.SOPInstanceUID in succeeded:
                self._confirm(c, delivery, why=f"commitment {transaction.transaction_uid}")
            elif instance.SOPInstanceUID in failed:
                self._send_again(c, delivery, why=f"not committed, reason {failed[instance.SOPInstanceUID]:04X}")
        if not failed:
            audit.clear_alarm(c, code=ALARM_NOT_COMMITTED, subject=self._target.name, now=self._now())
        commitments.mark_settled(c, transaction.transaction_uid)

    def _give_up(self, c: Connection, *, transaction: CommitmentTransaction) -> None:
        """No report in time: the transaction ends, and everything it named is sent again."""
        commitments.withdraw_transaction(c, transaction_uid=transaction.transaction_uid)
        for delivery_id in transaction.deliveries:
            delivery = deliveries.get(c, delivery_id)
            if delivery is not None and delivery.state is DeliveryState.SENT:
                self._send_again(c, delivery, why="no commitment report")

    def _confirm(self, c: Connection, delivery: Delivery, *, why: str) -> None:
        deliveries.settle_confirmed(c, [delivery.id], now=self._now(), by=self._target.name, why=why)

    def _send_again(self, c: Connection, delivery: Delivery, *, why: str) -> None:
        now = self._now()
        log.error("sent again", delivery=delivery.id, dest=self._target.name, why=why)
        deliveries.requeue(
            c, delivery.id, now=now, by=self._target.name, why=why, not_before=now + self._target.retry_base
        )
        audit.raise_alarm(c, code=ALARM_NOT_COMMITTED, subject=self._target.name, now=now)

    # -- query --

    def _look_for(self, sent: Sequence[Pair]) -> None:
        deliveries_of = {instance.id: delivery for delivery, instance in sent}
        for asked, found in self._target.way.held([instance for _, instance in sent]):
            for instance in asked:
                self._looked_for(deliveries_of[instance.id], found=instance.SOPInstanceUID in found)

    def _looked_for(self, delivery: Delivery, *, found: bool) -> None:
        if found:
            self._write(partial(self._confirm, delivery=delivery, why="found by query"))
            self._changed()
        elif delivery.sent_at is not None and self._now() - delivery.sent_at > LOOKED_FOR:
            self._write(partial(self._send_again, delivery=delivery, why="not found by query"))

    def _alarm(self, code: str) -> None:
        self._write(partial(audit.raise_alarm, code=code, subject=self._target.name, now=self._now()))

    def _write(self, job: Callable[[Connection], T]) -> T:
        return self._spool.db.write(job).result()


def _result(data_set: bytes | bytearray, transfer_syntax: str) -> Result:
    """What a destination says. Raises TemporaryFailure if it can't be read: that proves nothing."""
    try:
        return parse_result(bytes(data_set), transfer_syntax)
    except (CommitmentError, ElementError) as error:
        raise TemporaryFailure(f"the destination's answer can't be read: {error}", code="unreadable") from error
