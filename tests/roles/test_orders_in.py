"""The orders role behind a real port with a real spool: one effect, one answer, and nothing lost to a fault."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from ipaddress import ip_network

import pytest

from gateway.domain.hl7 import Hl7Error
from gateway.domain.hl7_ack import Code, Fault, Outcome
from gateway.domain.model import TemporaryFailure
from gateway.roles.orders import Sender
from gateway.spool import messages
from tests.net.mllp_wire import Caller
from tests.roles.orders_desk import ANYONE, Books, Opener, order


def test_a_message_is_applied_kept_and_answered(open_desk: Opener) -> None:
    desk = open_desk()
    msh, msa, rest = desk.ask(order())
    assert msh.startswith("MSH|^~\\&|EDGEGW|RAD_CT|RIS|NORD|20260301090000+0100||ACK^O01^ACK|GW")
    assert msh.endswith("|P|2.3.1||||||8859/1")
    assert (msa, rest) == ("MSA|AA|M1", "")
    assert desk.done() == {"ris-hl7 M1": 1}
    (kept,) = desk.kept()
    assert kept.received.raw == order()
    assert (kept.received.sender, kept.received.kind, kept.received.control_id) == ("ris-hl7", "ORM^O01", "M1")
    assert (kept.code, kept.effect, kept.faults, kept.seen_at) == (Code.AA, "one order", (), desk.clock())
    assert kept.answer == b"\x0b" + "\r".join([msh, msa, ""]).encode() + b"\x1c\r"


def test_the_same_bytes_get_the_same_answer_and_have_no_second_effect(open_desk: Opener) -> None:
    desk = open_desk()
    first = desk.ask(order())
    desk.clock.pass_(hours=1)
    assert desk.ask(order()) == first
    assert desk.done() == {"ris-hl7 M1": 1}
    assert len(desk.kept()) == 1


def test_a_control_id_used_again_is_another_message(open_desk: Opener) -> None:
    desk = open_desk()
    assert desk.ask(order())[1] == desk.ask(order(name="Roe"))[1] == "MSA|AA|M1"
    assert desk.done() == {"ris-hl7 M1": 2}


def test_what_was_not_applied_is_tried_anew(open_desk: Opener) -> None:
    fault = Fault(code="103", text="the modality is unknown", segment="OBR", field=24)
    desk = open_desk(books=Books(Outcome(code=Code.AE, faults=(fault,), effect="not applied")))
    first = desk.ask(order())
    assert first[1:3] == ["MSA|AE|M1|the modality is unknown", "ERR|OBR^1^24^103&Table value not found&HL70357"]
    assert desk.ask(order()) == first, "the same fault, the same answer"
    assert [kept.faults for kept in desk.kept()] == [(fault,)]
    desk.books.outcome = Outcome(code=Code.AA, effect="one order")
    assert desk.ask(order())[1] == "MSA|AA|M1"
    assert [kept.code for kept in desk.kept()] == [Code.AA, Code.AE]


def test_what_can_not_be_read_is_kept_answered_by_policy_and_shown(open_desk: Opener) -> None:
    refusing = Sender(name="strict", application="STRICT", refuse=True)
    desk = open_desk(refusing, ANYONE)
    broken = order(name="M\xfcller", tail="P|2.5.1||||||UNICODE UTF-8")
    assert desk.ask(broken)[1:3] == [
        "MSA|AA|M1",
        "ERR||MSH^1^18^1|102^Data type error^HL70357|W||||byte 100 of the message does not fit its character set utf_8;"
        " correct MSH-18 at the sender or set the sender's charset",
    ]
    assert desk.ask(broken.replace(b"|RIS|", b"|strict|"))[1] == "MSA|AE|M1"
    assert [kept.received.sender for kept in messages.latest(desk.spool.db.read(), still_open=True, limit=9)] == [
        "strict", "ris-hl7",
    ]  # fmt: skip
    assert sorted(desk.alarms()) == ["ris-hl7", "strict"]
    assert desk.done() == {}


def test_an_alarm_ends_when_a_person_has_seen_all(open_desk: Opener) -> None:
    desk = open_desk()
    for control in ("M1", "M2"):
        desk.ask(order(control, name="M\xfcller", tail="P|2.5.1||||||UNICODE UTF-8"))
    numbers = [kept.id for kept in desk.kept()]
    see = messages.see
    assert desk.spool.db.write(lambda c: see(c, numbers[:1], now=desk.clock())).result() == 1
    assert desk.alarms() == ["ris-hl7"]
    assert desk.spool.db.write(lambda c: see(c, [*numbers, 999], now=desk.clock())).result() == 1
    assert desk.alarms() == []
    assert messages.latest(desk.spool.db.read(), still_open=True, limit=9) == ()


def test_what_is_no_message_is_refused_and_not_kept(open_desk: Opener) -> None:
    desk = open_desk()
    assert desk.ask(b"GET / HTTP/1.1")[1].startswith("MSA|AR||14 bytes that don't begin with an MSH segment")
    assert desk.kept() == ()


def test_a_header_without_end_is_refused(open_desk: Opener) -> None:
    desk = open_desk()
    assert desk.ask(order(tail="P|2.3.1" + "|" * 20_000))[1].startswith("MSA|AR||more than 10000 parts")
    assert desk.ask(order())[1] == "MSA|AA|M1"


def test_a_message_of_another_environment_is_refused(open_desk: Opener) -> None:
    desk = open_desk(Sender(name="live", application="RIS", processing=frozenset({"P", "T"})), ANYONE)
    assert desk.ask(order("1", tail="T|2.3.1"))[1] == "MSA|AA|1"
    assert desk.ask(order("2", tail="|2.3.1"))[1] == "MSA|AA|2"
    assert desk.ask(order("3", tail="D|2.5.1"))[1:3] == [
        "MSA|AR|3",
        "ERR||MSH^1^11^1|202^Unsupported processing id^HL70357|E||||messages of this processing id are not taken here:"
        " set processing of this [[sender]]",
    ]
    assert desk.done() == {"live 1": 1, "live 2": 1}


def test_who_sends_is_told_by_address_application_and_facility(open_desk: Opener) -> None:
    here = (ip_network("127.0.0.2"),)
    desk = open_desk(
        Sender(name="one", application="ris", facility="NORD"), Sender(name="two", facility="SUED", networks=here)
    )
    assert desk.ask(order("1"))[1] == "MSA|AA|1"
    southern = order("2").replace(b"NORD", b"SUED")
    assert desk.ask(southern, source="127.0.0.2")[1] == "MSA|AA|2"
    refused = desk.ask(southern.replace(b"|2|", b"|3|"))
    assert refused[1].startswith("MSA|AR|3|no [[sender]] of this gateway has this address")
    assert desk.done() == {"one 1": 1, "two 2": 1}
    assert len(desk.kept()) == 2


def test_what_nobody_known_sent_is_kept_and_shown_within_a_bound(open_desk: Opener) -> None:
    desk = open_desk(Sender(name="one", application="RADIS"), unknown_kept=3)
    told = [desk.ask(order(f"{number}"))[1] for number in range(5)]
    assert [text[:9] for text in told] == [f"MSA|AR|{number}|" for number in range(5)]
    assert [kept.received.control_id for kept in desk.kept()] == ["4", "3", "2"]
    assert {(kept.received.sender, kept.code, kept.seen_at) for kept in desk.kept()} == {("unknown", "AR", None)}
    assert (desk.alarms(), desk.done()) == (["unknown"], {})
    assert desk.ask(order("4"))[1] == told[4]  # the same again is kept once
    assert desk.ask(b"GET / HTTP/1.1")[1].startswith("MSA|AR|")
    assert desk.ask(order("big", name="x" * 100_000))[1].startswith("MSA|AR|big|")
    assert [kept.received.control_id for kept in desk.kept()] == ["", "4", "3"]
    for number in range(40):
        desk.ask(order(f"flood{number}"))  # no time passes: only so many are written down
    assert desk.kept()[0].received.control_id == "flood12"
    seen = [kept.id for kept in desk.kept()]
    desk.spool.db.write(lambda c: messages.see(c, seen, now=desk.clock())).result()
    assert desk.alarms() == []


def test_an_address_that_no_sender_has_is_not_heard(open_desk: Opener) -> None:
    desk = open_desk(Sender(name="one", networks=(ip_network("127.0.0.2/31"),)))
    assert Caller(desk.post.port).turned_away()
    assert desk.ask(order(), source="127.0.0.3")[1] == "MSA|AA|M1"


def test_modes_of_acknowledgement(open_desk: Opener) -> None:
    desk = open_desk(Sender(name="old", application="OLD", enhanced=False), ANYONE)
    both = order(tail="P|2.5.1|||AL|AL")
    with Caller(desk.post.port) as caller:
        caller.send(both)
        assert [(caller.answer() or b"").split(b"\r")[1] for _ in range(2)] == [b"MSA|CA|M1", b"MSA|AA|M1"]
        silent = order("M2", tail="P|2.5.1|||NE|NE")
        caller.send(silent, order("M3").replace(b"|RIS|", b"|OLD|").replace(b"P|2.3.1||", b"P|2.3.1|||AL"))
        assert (caller.answer() or b"").split(b"\r")[1] == b"MSA|AA|M3"
    assert sum(desk.done().values()) == 3


def test_an_acknowledgement_is_not_acknowledged(open_desk: Opener) -> None:
    desk = open_desk()
    with Caller(desk.post.port) as caller:
        caller.send(order("A1", kind="ACK^O01"))
        assert (caller.ask(order("M2")) or b"").split(b"\r")[1] == b"MSA|AA|M2"
        caller.send(order("R1", kind="ORR^O02"))
        assert (caller.ask(order("M3")) or b"").split(b"\r")[1] == b"MSA|AA|M3"
    assert [kept.received.control_id for kept in desk.kept()] == ["M3", "R1", "M2"]


def test_each_message_of_a_batch_is_answered(open_desk: Opener) -> None:
    desk = open_desk()
    with Caller(desk.post.port) as caller:
        caller.send(b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + order("1") + order("2") + order("1") + b"BTS|3\rFTS|1\r")
        answers = [caller.answer() for _ in range(3)]
    assert [(answer or b"").split(b"\r")[1] for answer in answers] == [b"MSA|AA|1", b"MSA|AA|2", b"MSA|AA|1"]
    assert desk.done() == {"ris-hl7 1": 1, "ris-hl7 2": 1}
    assert [kept.received.raw.rstrip() for kept in desk.kept()] == [order("2").rstrip(), order("1").rstrip()]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("at", ["unread", "fails"])
def test_a_message_that_we_fail_at_leaves_no_half_effect_and_does_not_stop_the_next(
    open_desk: Opener, at: str, size: int
) -> None:
    desk = open_desk()
    setattr(desk.books, at, lambda message: KeyError("ours") if message.get("MSH-10") == "BAD" else None)
    with Caller(desk.post.port) as caller:
        caller.send(order("1"), order("BAD", name="x" * size), order("2"))
        told = [(caller.answer() or b"").split(b"\r")[1] for _ in range(3)]
    assert told == [
        b"MSA|AA|1",
        b"MSA|AA|BAD|this gateway failed at it: it is kept, tell who services the gateway",
        b"MSA|AA|2",
    ]
    assert desk.done() == {"ris-hl7 1": 1, "ris-hl7 2": 1}
    assert {kept.received.control_id: kept.faults[0].code for kept in desk.kept() if kept.faults} == {"BAD": "207"}
    assert desk.alarms() == ["ris-hl7"]


def test_what_the_reader_finds_late_is_a_fault_of_the_message(open_desk: Opener) -> None:
    desk = open_desk()
    desk.books.unread = lambda _: Hl7Error("more than 10000 parts between two separators; send fewer", location="OBX-5")
    assert desk.ask(order(tail="P|2.5"))[2].startswith("ERR||OBX^1^5^1|102^")
    assert len(desk.kept()) == 1


def test_a_full_disk_is_no_acknowledgement(open_desk: Opener) -> None:
    desk = open_desk()
    desk.books.fails = lambda _: TemporaryFailure("the disk is full", code="A700")
    assert desk.ask(order())[1] == "MSA|AR|M1|this gateway can't store it now: send it again"
    assert (desk.kept(), desk.done()) == ((), {})
    desk.books.fails = lambda _: None
    assert desk.ask(order())[1] == "MSA|AA|M1"


def test_a_message_that_is_too_long_is_refused(open_desk: Opener) -> None:
    desk = open_desk(message_max=2000)
    assert desk.ask(order(name="x" * 4000))[1].startswith("MSA|AR||the message is longer")


def test_messages_are_erased_after_their_time(open_desk: Opener) -> None:
    desk = open_desk()
    desk.ask(order("old", name="M\xfcller", tail="P|2.5.1||||||UNICODE UTF-8"))
    desk.clock.pass_(days=10)
    desk.ask(order("young"))
    assert desk.alarms() == ["ris-hl7"]
    trim = partial(messages.trim, before=desk.clock() - timedelta(days=9), limit=10, now=desk.clock())
    assert desk.spool.db.write(trim).result() == 1
    assert [kept.received.control_id for kept in desk.kept()] == ["young"]
    assert desk.alarms() == []


def test_an_order_for_another_patient_waits_elsewhere(open_desk: Opener) -> None:
    fault = Fault(code="205", text="the accession is another patient's", segment="OBR", field=18)
    desk = open_desk(books=Books(Outcome(code=Code.AA, faults=(fault,), effect="set aside")))
    assert desk.ask(order(tail="P|2.5"))[1] == "MSA|AA|M1"
    assert (desk.alarms(), [kept.faults for kept in desk.kept()]) == ([], [(fault,)])
    assert messages.latest(desk.spool.db.read(), still_open=True, limit=9) == ()
