"""Performed procedure steps in the books: order per step and peer, and what a person decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from gateway.domain import mpps as rules
from gateway.domain.model import UID, AETitle, PermanentFailure
from gateway.domain.mpps import Performed, RelayState, Request, ScheduledReference, StepStatus, Verdict
from gateway.spool import Spool, audit, mpps, relays
from gateway.spool.audit import Subject
from gateway.spool.erasing import erase_patient
from gateway.spool.mpps import Message, Relay
from tests.spool.objects import EXPLICIT, START, Clock

CREATE, SET = Request.CREATE, Request.SET
IN_PROGRESS, COMPLETED = StepStatus.IN_PROGRESS, StepStatus.COMPLETED
FOR = ScheduledReference(
    StudyInstanceUID=UID("2.25.1"), AccessionNumber="A1", RequestedProcedureID="P1", ScheduledProcedureStepID="S1"
)


class Desk:
    """The books, as a scanner, a relaying thread and a person use them."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self.spool, self.clock = spool, clock

    def say(
        self,
        request: Request,
        uid: str,
        status: StepStatus = StepStatus.UNKNOWN,
        *,
        content: bytes = b"",
        targets: Sequence[str] = ("ris",),
        references: tuple[ScheduledReference, ...] = (FOR,),
        patient: str = "",
    ) -> Verdict:
        body = content or f"{request} {status}".encode()
        message = Message(
            request=request,
            SOPInstanceUID=UID(uid),
            TransferSyntaxUID=EXPLICIT,
            dataset=body,
            digest=rules.digest(EXPLICIT, body),
            calling_ae=AETitle("CT1"),
            address="10.1.1.20",
            received_at=self.clock(),
        )
        said = Performed(status=status, references=references, PatientID=patient)
        return self.spool.db.write(lambda c: mpps.accept(c, message, said, targets=targets)).result()[0]

    def due(self, target: str = "ris") -> list[Relay]:
        return list(mpps.due(self.spool.db.read(), target=target, now=self.clock(), limit=100))

    def shown(self, target: str = "ris") -> list[tuple[str, str]]:
        return [(one.SOPInstanceUID, one.request) for one in self.due(target)]

    def begin(self, relay: Relay) -> Relay:
        return self.spool.db.write(lambda c: relays.begin(c, relay, now=self.clock())).result()

    def settle(self, relay: Relay, state: RelayState, status: str, *, wait: timedelta | None = None) -> None:
        begun = self.begin(relay)
        not_before = None if wait is None else self.clock() + wait
        self.spool.db.write(
            lambda c: relays.settle(c, begun, state, status=status, now=self.clock(), not_before=not_before)
        ).result()

    def decide(self, relay: Relay, state: RelayState) -> bool:
        return self.spool.db.write(
            lambda c: relays.decide(c, Subject.MPPS, relay.id, state, now=self.clock(), by="command:test")
        ).result()


@pytest.fixture
def desk(spool: Spool, clock: Clock) -> Desk:
    return Desk(spool, clock)


def test_order_is_kept_for_a_step_and_steps_do_not_wait_for_each_other(desk: Desk) -> None:
    for uid in ("2.25.1", "2.25.2"):
        desk.say(CREATE, uid, IN_PROGRESS)
        desk.say(SET, uid, content=b"a series")
        desk.say(SET, uid, COMPLETED)
    assert desk.shown() == [("2.25.1", CREATE), ("2.25.2", CREATE)]
    desk.settle(desk.due()[0], RelayState.QUEUED, "0110", wait=timedelta(minutes=1))
    assert desk.shown() == [("2.25.2", CREATE)]
    for _ in range(3):
        desk.settle(desk.due()[0], RelayState.SENT, "0000")
    assert desk.shown() == []
    desk.clock.pass_(minutes=1)
    assert desk.shown() == [("2.25.1", CREATE)]


def test_what_is_being_sent_holds_up_its_own_step_alone(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    desk.say(SET, "2.25.1", COMPLETED)
    desk.begin(desk.due()[0])
    desk.say(CREATE, "2.25.2", IN_PROGRESS)
    assert desk.shown() == [("2.25.2", CREATE)]


def test_peers_do_not_wait_for_each_other(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS, targets=("ris", "other"))
    desk.say(SET, "2.25.1", COMPLETED, targets=("ris", "other"))
    desk.settle(desk.due("other")[0], RelayState.SENT, "0000")
    assert desk.shown("other") == [("2.25.1", SET)]
    assert desk.shown("ris") == [("2.25.1", CREATE)]


def test_a_refused_message_waits_and_holds_up_nothing(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    desk.say(SET, "2.25.1", COMPLETED)
    refused = desk.due()[0]
    desk.settle(refused, RelayState.REFUSED, "0106")
    assert desk.shown() == [("2.25.1", SET)]
    (standing,) = relays.standing(desk.spool.db.read(), Subject.MPPS, ["ris"])
    assert (standing.waiting, standing.refused, standing.last_status) == (1, 1, "")
    assert desk.decide(refused, RelayState.QUEUED)
    assert desk.shown() == [("2.25.1", CREATE)]
    assert not desk.decide(refused, RelayState.QUEUED)


def test_a_person_may_let_a_peer_go_without(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS, targets=("gone",))
    (waiting,) = desk.due("gone")
    assert desk.decide(waiting, RelayState.DISMISSED)
    assert not desk.decide(waiting, RelayState.QUEUED)
    assert desk.due("gone") == []
    assert relays.standing(desk.spool.db.read(), Subject.MPPS, []) == ()


def test_a_late_create_goes_first_and_takes_the_set_along(desk: Desk) -> None:
    desk.say(SET, "2.25.1", COMPLETED)
    desk.settle(desk.due()[0], RelayState.REFUSED, "0112")
    assert desk.shown() == []
    assert desk.say(CREATE, "2.25.1", IN_PROGRESS) is Verdict.KEPT
    assert desk.shown() == [("2.25.1", CREATE)]
    desk.settle(desk.due()[0], RelayState.SENT, "0000")
    assert desk.shown() == [("2.25.1", SET)]
    (step,) = mpps.steps(desk.spool.db.read(), limit=9)
    assert step.status is COMPLETED


def test_an_attempt_is_counted_before_it_and_found_after_a_crash(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    begun = desk.begin(desk.due()[0])
    assert begun.attempts == 1
    assert desk.due() == []
    assert desk.spool.db.write(lambda c: relays.release(c, Subject.MPPS, target="ris", now=desk.clock())).result() == 1
    (again,) = desk.due()
    assert again.attempts == 1
    assert desk.begin(again).attempts == 2


def test_a_decision_meanwhile_stands(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    (waiting,) = desk.due()
    desk.decide(waiting, RelayState.DISMISSED)
    with pytest.raises(PermanentFailure, match="no longer queued"):
        desk.begin(waiting)


def test_a_wait_written_by_a_wrong_clock_is_over(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    desk.clock.pass_(days=400)
    desk.settle(desk.due()[0], RelayState.QUEUED, "0110", wait=timedelta(minutes=5))
    desk.clock.pass_(days=-399)
    assert desk.shown() == [("2.25.1", CREATE)]


def test_what_a_message_does_not_say_stays(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    desk.clock.pass_(minutes=20)
    desk.say(SET, "2.25.1", COMPLETED, references=())
    (step,) = mpps.steps_of_study(desk.spool.db.read(), UID("2.25.1"))
    assert step.references == (FOR,)
    assert (step.status, step.first_at, step.ended_at) == (COMPLETED, START, desk.clock())
    moves = audit.journal_of(desk.spool.db.read(), kind=audit.Subject.MPPS, subject=str(step.id))
    assert [(row.from_state, row.to_state) for row in moves] == [("", "IN PROGRESS"), ("IN PROGRESS", "COMPLETED")]


def test_only_a_completed_step_is_performed_and_only_while_none_goes_on(desk: Desk) -> None:
    def performed(hours: float) -> set[tuple[str, str]]:
        scheduled = [("2.25.1", "S1"), ("2.25.1", "S2"), ("2.25.2", "S1")]
        before = desk.clock() - timedelta(hours=hours)
        return set(mpps.performed(desk.spool.db.read(), scheduled, ended_before=before))

    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    desk.say(CREATE, "2.25.2", IN_PROGRESS)
    desk.say(SET, "2.25.2", StepStatus.DISCONTINUED)
    desk.clock.pass_(days=1)
    assert performed(0) == set()
    desk.say(SET, "2.25.1", COMPLETED)
    desk.clock.pass_(hours=11)
    assert performed(12) == set()
    desk.clock.pass_(hours=1)
    assert performed(12) == {("2.25.1", "S1")}
    desk.say(CREATE, "2.25.3", IN_PROGRESS)
    assert performed(12) == set()


def test_a_patient_is_erased_but_for_what_a_ris_has_not_taken(desk: Desk) -> None:
    for uid, patient in (("2.25.1", "P1"), ("2.25.2", "P10"), ("2.25.3", "P1")):
        desk.say(CREATE, uid, IN_PROGRESS, patient=patient)
    for relay in desk.due()[:2]:
        desk.settle(relay, RelayState.SENT, "0000")
    erased = desk.spool.db.write(lambda c: erase_patient(c, "P1", now=desk.clock(), by="command")).result()
    assert erased.steps == 1
    left = {step.SOPInstanceUID for step in mpps.steps(desk.spool.db.read(), limit=9)}
    assert left == {"2.25.2", "2.25.3"}
    assert desk.spool.db.read().execute("SELECT count(*) FROM mpps_message").fetchone()[0] == 2


def test_only_what_is_over_is_forgotten(desk: Desk) -> None:
    desk.say(CREATE, "2.25.1", IN_PROGRESS)
    desk.say(CREATE, "2.25.2", IN_PROGRESS)
    desk.settle(desk.due()[0], RelayState.SENT, "0000")
    desk.settle(desk.due()[0], RelayState.REFUSED, "0106")
    desk.clock.pass_(days=91)

    def trim() -> int:
        before = desk.clock() - timedelta(days=90)
        return desk.spool.db.write(lambda c: mpps.trim(c, before=before, limit=9)).result()

    assert (trim(), trim()) == (1, 0)
    (left,) = mpps.steps(desk.spool.db.read(), limit=9)
    assert left.SOPInstanceUID == "2.25.2"
    for table in ("mpps_message", "relay", "mpps_reference"):
        assert desk.spool.db.read().execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 1
