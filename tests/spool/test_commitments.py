"""Storage commitment: what we were asked, and what we asked."""

from __future__ import annotations

from datetime import timedelta

from gateway.domain.model import UID, AETitle, DestinationName
from gateway.spool import Connection, Spool, commitments
from gateway.spool.commitments import CommitmentState, Failed, Outcome, Referenced
from tests.spool.objects import CT, START, Clock

PACS = DestinationName("pacs")
OURS, THEIRS, CT1 = UID("2.25.100"), UID("1.2.3"), AETitle("CT1")


def test_a_request_stands_until_it_is_answered(spool: Spool, clock: Clock) -> None:
    items = (Referenced(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=UID("2.25.1")),)

    def ask() -> bool:
        return spool.db.write(
            lambda c: commitments.record_request(c, transaction_uid=THEIRS, scanner=CT1, referenced=items, now=clock())
        ).result()

    assert (ask(), ask()) == (True, False)
    (request,) = commitments.requests(spool.db.read(), state=CommitmentState.OPEN, limit=9)
    assert request.outcome is None
    assert (request.scanner, request.referenced, request.received_at) == (CT1, items, START)

    outcome = Outcome(succeeded=items, failed=((items[0], 0x0112),))

    def decide() -> bool:
        return spool.db.write(
            lambda c: commitments.decide_request(c, transaction_uid=THEIRS, scanner=CT1, outcome=outcome, now=clock())
        ).result()

    def answer() -> bool:
        return spool.db.write(
            lambda c: commitments.answer_request(c, transaction_uid=THEIRS, scanner=CT1, now=clock())
        ).result()

    assert not answer()
    assert (decide(), decide()) == (True, False)
    (decided,) = commitments.requests(spool.db.read(), state=CommitmentState.DECIDED, limit=9)
    assert decided.outcome == outcome
    assert (answer(), answer()) == (True, False)
    assert commitments.requests(spool.db.read(), state=CommitmentState.DECIDED, limit=9) == ()
    kept = commitments.get_request(spool.db.read(), transaction_uid=THEIRS, scanner=CT1)
    assert kept is not None
    assert (kept.state, kept.outcome, kept.answered_at) == (CommitmentState.ANSWERED, outcome, START)
    assert commitments.get_request(spool.db.read(), transaction_uid=THEIRS, scanner=AETitle("CT2")) is None


def test_a_report_is_matched_by_our_uid_alone_and_the_first_stands(spool: Spool, clock: Clock) -> None:
    failed = Failed(ReferencedSOPInstanceUID=UID("2.25.2"), FailureReason=0x0112)

    def report(uid: UID, *succeeded: str) -> bool:
        return spool.db.write(
            lambda c: commitments.record_result(
                c, transaction_uid=uid, succeeded=[UID(each) for each in succeeded], failed=[failed], now=clock()
            )
        ).result()

    spool.db.write(
        lambda c: commitments.record_transaction(
            c, transaction_uid=OURS, destination=PACS, deliveries=[3, 4], now=clock()
        )
    ).result()
    clock.pass_(minutes=1)
    later = clock() + timedelta(hours=1)
    assert not report(THEIRS, "2.25.1")
    states = [
        len(commitments.transactions(spool.db.read(), destination=PACS, state=state, asked_before=later, limit=9))
        for state in CommitmentState
    ]
    assert states == [1, 0, 0, 0]
    assert not spool.db.write(lambda c: commitments.mark_settled(c, OURS)).result()
    assert report(OURS, "2.25.1")
    assert report(OURS, "2.25.1", "2.25.2")
    (answered,) = commitments.transactions(
        spool.db.read(), destination=PACS, state=CommitmentState.ANSWERED, asked_before=later, limit=9
    )
    assert (answered.deliveries, answered.succeeded, answered.failed) == ((3, 4), ("2.25.1",), (failed,))
    assert answered.answered_at == clock()
    assert spool.db.write(lambda c: commitments.mark_settled(c, OURS)).result()
    settled = commitments.get_transaction(spool.db.read(), OURS)
    assert settled is not None
    assert settled.state is CommitmentState.SETTLED


def test_only_transactions_asked_before_a_time_are_overdue(spool: Spool, clock: Clock) -> None:
    spool.db.write(
        lambda c: commitments.record_transaction(c, transaction_uid=OURS, destination=PACS, deliveries=[], now=clock())
    ).result()
    for before, count in ((clock(), 0), (clock() + timedelta(microseconds=1), 1)):
        found = commitments.transactions(
            spool.db.read(), destination=PACS, state=CommitmentState.OPEN, asked_before=before, limit=9
        )
        assert len(found) == count


def test_a_request_the_destination_did_not_take_is_withdrawn(spool: Spool, clock: Clock) -> None:
    def ask(c: Connection) -> None:
        commitments.record_transaction(c, transaction_uid=OURS, destination=PACS, deliveries=[1], now=clock())

    spool.db.write(ask).result()
    assert spool.db.write(lambda c: commitments.withdraw_transaction(c, OURS)).result()
    assert not spool.db.write(lambda c: commitments.withdraw_transaction(c, OURS)).result()
    assert commitments.get_transaction(spool.db.read(), OURS) is None
