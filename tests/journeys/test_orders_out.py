"""Telling a RIS of its orders, through the whole forward role, to a receiver that fails in every way a RIS does."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import hl7
import pytest

from gateway.domain import mpps as rules
from gateway.domain.model import UID, AETitle
from gateway.domain.mpps import Performed, RelayState, Request, ScheduledReference, StepStatus
from gateway.domain.order_notice import Format, Header
from gateway.net.mllp_client import Place
from gateway.net.tls import ClientContext
from gateway.roles.forward import Receiver
from gateway.spool import mpps, orders_out, progress, relays
from gateway.spool.audit import Subject
from gateway.spool.orders_out import OrderMessage
from gateway.spool.queries import sql
from tests.hl7_messages import message
from tests.journeys.forwarding import Forwarding, forwarding
from tests.net.wire import Certificate
from tests.peers import needs, node_peer
from tests.peers.mllp_receiver import ack, mllp_receiver
from tests.peers.processes import HOST, free_port
from tests.spool.objects import CT, EXPLICIT
from tests.spool.order_table import receive, sender

pytestmark = pytest.mark.slow

STUDY = "1.3.6.1.4.1.32473.7.9.77"
STEP = "SPS88101-1"
HEADER = Header(
    sending_application="GATEWAY",
    sending_facility="north",
    receiving_application="RADIS",
    receiving_facility="NORD",
)
BOTH = ["ORM^O01^ORM_O01 SC IP F55201^RADIS", "ORM^O01^ORM_O01 SC CM F55201^RADIS"]


def to(port: int, *, name: str = "ris", timeout: float = 60, **settings: Any) -> Receiver:
    given: dict[str, Any] = {"format": Format.ORM, "report": False, "senders": frozenset(), "header": HEADER}
    place = Place(host=HOST, port=port, connect_timeout=10, timeout=timeout, tls=settings.pop("tls", None))
    return Receiver(name=name, place=place, **{**given, **settings})


def order(box: Forwarding, number: str = "01", *changes: tuple[str, str]) -> None:
    receive(box.spool, message(number, *changes), sender(), now=box.clock())


def another(number: int) -> tuple[tuple[str, str], ...]:
    """What makes of message 01 another order of the same patient."""
    return (
        ("F55201", f"F5{number:04}"),
        ("P88101", f"P8{number:04}"),  # RP88101 too
        ("A2603040077", f"A{number:04}"),
        ("SPS88101-1", f"SPS{number:04}"),
        ("7.9.77", f"7.9.{number}"),
        ("RADIS000001", f"RADIS9{number:05}"),
    )


def perform(
    box: Forwarding, status: StepStatus, *, study: str = STUDY, step: str = STEP, instances: int | None = None
) -> None:
    """A scanner says how far a step is, and edge keeps it."""
    creates = status is StepStatus.IN_PROGRESS
    body = f"{study} {step} {status} {instances}".encode()
    told = mpps.Message(
        request=Request.CREATE if creates else Request.SET,
        SOPInstanceUID=UID(f"{study}.{len(step)}"),
        TransferSyntaxUID=EXPLICIT,
        dataset=body,
        digest=rules.digest("", body),
        calling_ae=AETitle("CT1"),
        address="10.1.1.20",
        received_at=box.clock(),
    )
    named = ScheduledReference(
        StudyInstanceUID=UID(study), AccessionNumber="", RequestedProcedureID="", ScheduledProcedureStepID=step
    )
    said = Performed(status=status, instances=instances, references=(named,) if creates else ())
    box.spool.db.write(partial(mpps.accept, message=told, said=said, targets=())).result()


def image(box: Forwarding, number: int, *, study: str = STUDY) -> None:
    """One instance of a study, in the books as edge enters it."""
    values = {"id": f"{abs(hash((study, number))):032x}", "uid": f"{study}.1.{number}", "study": study}
    row = {
        "SOPClassUID": CT, "TransferSyntaxUID": EXPLICIT, "SeriesInstanceUID": f"{study}.1", "size": 1,
        "calling_ae": "CT1", "called_ae": "GATEWAY", "address": HOST, "association": "a1", "priority": 0,
        "state": "delivered", "quarantine": "", "received_at": box.clock().isoformat(timespec="microseconds"),
        "id": values["id"], "SOPInstanceUID": values["uid"], "StudyInstanceUID": study, "content_hash": values["id"],
    }  # fmt: skip
    box.spool.db.write(lambda c: c.execute(sql("instance_insert"), row) and None).result()


def kept(box: Forwarding, receiver: str = "ris") -> list[OrderMessage]:
    return sorted(orders_out.latest(box.spool.db.read(), receiver=receiver, limit=999), key=lambda one: one.id)


def states(box: Forwarding) -> list[str]:
    return [str(one.state) for one in kept(box)]


def until_sent(box: Forwarding, count: int) -> None:
    box.until(lambda: states(box) == ["sent"] * count, what=f"{count} messages are taken")


def settled(box: Forwarding, study: str = STUDY) -> bool:
    found = progress.of_study(box.spool.db.read(), study)
    return found is not None and found.settled_at is not None


def decide(box: Forwarding, state: RelayState) -> None:
    for one in kept(box):
        if one.state is RelayState.REFUSED:
            job = partial(
                relays.decide,
                kind=Subject.ORDER_MESSAGE,
                number=one.id,
                state=state,
                now=box.clock(),
                by="command:test",
            )
            assert box.spool.db.write(job).result()


def test_the_ris_hears_of_the_beginning_and_of_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port)]) as box,
    ):
        order(box)
        perform(box, StepStatus.IN_PROGRESS)
        until_sent(box, 1)
        for number in range(3):
            image(box, number)
        perform(box, StepStatus.COMPLETED, instances=3)
        until_sent(box, 2)  # no quiet time has passed: the counts say that all is here
        assert ris.summary() == BOTH
        box.until(lambda: settled(box), what="the study is settled")
        image(box, 99)
        late = lambda: (progress.of_study(box.spool.db.read(), STUDY) or pytest.fail("gone")).late  # noqa: E731
        box.until(lambda: late() == 1, what="the late image is noted")
        assert states(box) == ["sent", "sent"]
    begin, end = ris.messages
    assert str(begin.segment("ZDS")[1]) == f"{STUDY}^^Application^DICOM"
    assert [str(end.segment("OBR")[n]) for n in (2, 3, 18, 19, 20, 24, 25)] == [
        *("P88101^HIS", "F55201^RADIS", "A2603040077", "RP88101", "SPS88101-1", "CT", "R"),
    ]
    assert str(end.segment("PID")[5]) == "Okafor-Lindqvist^Marta^Irene"
    assert [str(end.segment("MSH")[n]) for n in (3, 4, 5, 6, 11, 12)] == [
        *("GATEWAY", "north", "RADIS", "NORD", "P", "2.3.1"),
    ]


@needs.node
@pytest.mark.parametrize("encrypted", [False, True])
def test_node_hl7_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: Certificate, encrypted: bool
) -> None:
    tls = ClientContext(ca=certificate.path, certificate=certificate.path, key=certificate.key)
    shown = {"certificate": certificate.path, "key": certificate.key} if encrypted else {}
    with (
        node_peer.hl7_receiver(tmp_path / "node", **shown) as ris,
        forwarding(
            tmp_path / "gw", [], monkeypatch=monkeypatch, receivers=[to(ris.port, tls=tls if encrypted else None)]
        ) as box,
    ):
        order(box)
        perform(box, StepStatus.IN_PROGRESS)
        image(box, 1)
        perform(box, StepStatus.COMPLETED, instances=1)
        until_sent(box, 2)
        # It takes and answers all that a connection told before anew with each message: we must know ours by its id.
        messages = dict.fromkeys(ris.told())
        told = [dict(line.partition("|")[::2] for line in one.split("\r") if line) for one in messages]
        assert [one["ORC"].split("|")[:5] for one in told] == [
            ["SC", "P88101^HIS", "F55201^RADIS", "", state] for state in ("IP", "CM")
        ]
        assert [one["PID"].split("|")[4] for one in told] == ["Okafor-Lindqvist^Marta^Irene"] * 2
        assert [one.attempts for one in kept(box)] == [1, 1]


def test_images_alone_and_before_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port, report=True)]) as box,
    ):
        image(box, 1)
        box.pass_time(timedelta(minutes=12), seconds=1)

        def found() -> tuple[str, object]:
            one = progress.of_study(box.spool.db.read(), STUDY)
            return (one.progress, one.settled_at) if one is not None else ("", None)

        box.until(lambda: found() == ("complete", None), what="the study is complete")
        assert ris.told == []
        order(box)
        box.clock.run_at(120)
        until_sent(box, 3)
        assert ris.summary() == [*BOTH, "ORU^R01^ORU_R01 SC CM F55201^RADIS"]
    report = ris.messages[2]
    assert [str(one) for one in report.segments("OBX")] == [
        f"OBX|1|ST|113014^DICOM Study^DCM||{STUDY}||||||R",
        "OBX|2|NM|INSTANCES^Instances received^99GATEWAY||1||||||R",
    ]
    assert str(report.segment("OBR")[25]) == "R"


def test_the_form_of_2_5_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port, format=Format.OMI)]) as box,
    ):
        order(box, "10")
        image(box, 1, study="1.3.6.1.4.1.32473.7.9.200")
        until_sent(box, 1)
    (told,) = ris.messages
    assert ris.summary() == ["OMI^O23^OMI_O23 SC IP F60200^RADIS"]
    assert [str(one[4]) for one in told.segments("IPC")] == ["SPS90200-1", "SPS90200-2"]
    assert str(told.segment("PID")[5]) == "\u00de\u00f3rsd\u00f3ttir^\u00c6sa^^^Dr"
    assert str(told.segment("MSH")[18]) == "UNICODE UTF-8"


def test_after_a_day_without_the_ris_all_arrives_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(port)]) as box:
        for number in range(10, 15):
            order(box, "01", *another(number))
            image(box, 1, study=f"1.3.6.1.4.1.32473.7.9.{number}")
        box.until(lambda: len(kept(box)) == 5, what="five beginnings wait")
        box.pass_time(timedelta(hours=24), seconds=2)
        assert set(states(box)) == {"queued"}
        box.until(lambda: box.alarms() == {"orders-out-late"}, what="the alarm")
        assert max(one.attempts for one in kept(box)[1:]) == 0  # nobody overtakes the first
        with mllp_receiver(port) as ris:
            box.clock.run_at(60)
            until_sent(box, 10)
            box.until(lambda: not box.alarms(), what="the alarm ends")
        assert ris.ids() == [one.control_id for one in kept(box)]


def test_what_is_refused_waits_for_a_person_and_holds_up_its_own_order_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = "ERR||ORC^1^3|204^Unknown key identifier^HL70357|E|||Doe^Jo\r"
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port)]) as box,
    ):
        ris.answer = lambda one: ack(one, "AE", more=error) if "F55201" in str(one) else ack(one)
        order(box)
        order(box, "01", *another(10))
        image(box, 1)
        box.until(lambda: "orders-out-refused" in box.alarms(), what="the refusal is told")
        image(box, 1, study="1.3.6.1.4.1.32473.7.9.10")
        box.pass_time(timedelta(minutes=12), seconds=1)
        box.until(lambda: sorted(states(box)) == ["queued", "refused", "sent", "sent"], what="the other goes on")
        (refused,) = [one for one in kept(box) if one.state is RelayState.REFUSED]
        assert refused.last_status == "AE 204"  # and nothing of its words
        assert len([text for text in ris.summary() if "F55201" in text]) == 1
        ris.answer = ack
        decide(box, RelayState.QUEUED)
        until_sent(box, 4)
        assert [text for text in ris.summary() if "F55201" in text][1:] == BOTH
        box.until(lambda: not box.alarms(), what="the alarm ends")


@pytest.mark.parametrize("code", ["AR", "CE", "CR"])
def test_every_refusal_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port)]) as box,
    ):
        ris.answer = lambda one: ack(one, code)
        order(box)
        image(box, 1)
        box.until(lambda: states(box) == ["refused"], what="it is refused")
        decide(box, RelayState.DISMISSED)
        assert states(box) == ["dismissed"]
        box.until(lambda: not box.alarms(), what="the alarm ends")


def test_a_commit_accept_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer in enhanced mode answers CA, and AA for it when we are at the next message."""
    before: list[hl7.Message] = []

    def enhanced(one: hl7.Message) -> bytes:
        late = b"".join(ack(each) for each in before)
        before[:] = [one]
        return late + ack(one, "CA")

    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port)]) as box,
    ):
        ris.answer = enhanced
        order(box)
        image(box, 1)
        box.clock.run_at(600)
        until_sent(box, 2)
        assert ris.summary() == BOTH
        assert [one.last_status for one in kept(box)] == ["CA", "CA"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda one: ack(one, control_id="SOMEBODY-ELSES"),
        lambda one: ack(one)[:30],
        lambda one: None,
        lambda one: ack(one, "ZZ"),
        lambda one: b"\x0bnot HL7\x1c\r",
    ],
    ids=["wrong-control-id", "half-an-ack", "hangs-up", "unknown-code", "no-ack"],
)
def test_an_answer_that_is_none_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port, timeout=1)]) as box,
    ):
        ris.answer = wrong
        order(box)
        image(box, 1)
        box.until(lambda: len(ris.told) >= 1, what="it is told")
        box.clock.run_at(60)
        box.until(lambda: len(ris.told) >= 2, what="it is told again")
        box.clock.run_at(1)
        assert set(states(box)) <= {"queued", "sending"}
        ris.answer = ack
        box.clock.run_at(60)
        box.until(lambda: states(box)[:1] == ["sent"], what="it is taken")
        assert len(set(ris.told[:2])) == 1  # the same bytes, under the same control id
        assert ris.ids()[0] == kept(box)[0].control_id
        assert "orders-out-refused" not in box.alarms()


def test_a_dead_receiver_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mllp_receiver() as ris:
        receivers = [to(free_port(), name="gone"), to(ris.port)]
        with forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=receivers) as box:
            order(box)
            image(box, 1)
            until_sent(box, 1)
            assert [str(one.state) for one in kept(box, "gone")] == ["queued"]


def test_nothing_is_told_that_the_ris_said_itself_or_of_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(
            tmp_path,
            [],
            monkeypatch=monkeypatch,
            receivers=[to(ris.port), to(ris.port, name="other", senders=frozenset({"another"}))],
        ) as box,
    ):
        order(box, "01")
        order(box, "08")  # in progress, it says
        order(box, "01", *another(10))
        order(box, "04", *another(10)[:-1])  # cancelled
        for study in (STUDY, "1.3.6.1.4.1.32473.7.9.10", "2.25.404"):
            image(box, 1, study=study)
        box.pass_time(timedelta(minutes=12), seconds=1)
        box.until(lambda: settled(box), what="the study is settled")
        box.until(lambda: len(ris.told) == 1, what="the end is told")
        assert ris.summary() == BOTH[1:]
        assert kept(box, "other") == []


def test_a_step_that_was_discontinued_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port)]) as box,
    ):
        order(box)
        perform(box, StepStatus.IN_PROGRESS)
        until_sent(box, 1)
        perform(box, StepStatus.DISCONTINUED)
        box.pass_time(timedelta(hours=25), seconds=2)
        box.until(lambda: settled(box), what="the study is settled")
        assert ris.summary() == BOTH[:1]


def test_what_is_over_is_erased_by_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mllp_receiver() as ris,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, receivers=[to(ris.port)], retention=timedelta(days=2)) as box,
    ):
        order(box)
        image(box, 1)
        box.clock.run_at(600)
        until_sent(box, 2)
        box.pass_time(timedelta(days=3), seconds=2)
        box.until(lambda: not kept(box), what="the messages are erased")
        box.until(lambda: progress.of_study(box.spool.db.read(), STUDY) is None, what="the study too")
        assert len(ris.told) == 2
