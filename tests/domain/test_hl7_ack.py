"""Acknowledgements: what is echoed, in which mode, and how a fault is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import count
from zoneinfo import ZoneInfo

import pytest

from gateway.domain.hl7 import Hl7Error, header_of
from gateway.domain.hl7_ack import Code, Fault, acknowledgement, answers

NOW = datetime(2026, 3, 4, 8, 15, 1, tzinfo=ZoneInfo("Europe/Berlin"))
TWICE = Fault(
    code="205", text="the study is another patient's | call them", segment="IPC", sequence=1, field=3, component=1
)


def header(tail: str = "P|2.3.1", *, kind: str = "ORM^O01^ORM_O01", control: str = "M1") -> bytes:
    return f"MSH|^~\\&|RIS|NORD|EDGEGW|RAD_CT|20260304081500||{kind}|{control}|{tail}\rPID|1".encode("latin_1")


def one(raw: bytes, code: Code, *faults: Fault) -> list[str]:
    return acknowledgement(header_of(raw), code, faults, now=NOW, control_id="GW1").decode("latin_1").split("\r")


def test_accepted() -> None:
    assert one(header("P|2.3.1||||||8859/1"), Code.AA) == [
        "MSH|^~\\&|EDGEGW|RAD_CT|RIS|NORD|20260304081501+0100||ACK^O01^ACK|GW1|P|2.3.1||||||8859/1",
        "MSA|AA|M1",
        "",
    ]


def test_a_fault_from_version_2_5_on() -> None:
    assert one(header("P|2.5.1", kind="OMI^O23^OMI_O23"), Code.AE, TWICE)[1:] == [
        "MSA|AE|M1",
        "ERR||IPC^1^3^1^1|205^Duplicate key identifier^HL70357|E||||the study is another patient's \\F\\ call them",
        "",
    ]
    whole = Fault(code="100", text="there is no ORC segment", segment="ORC")
    assert one(header("P|2.7"), Code.AE, whole)[2].startswith("ERR||ORC^1|100^Segment sequence error^HL70357|E")


def test_a_fault_before_version_2_5() -> None:
    assert one(header("P|2.3"), Code.AE, TWICE)[1:] == [
        "MSA|AE|M1|the study is another patient's \\F\\ call them",
        "ERR|IPC^1^3^205&Duplicate key identifier&HL70357",
        "",
    ]


def test_what_is_echoed_is_echoed_byte_for_byte() -> None:
    raw = "MSH!$%*@!R\xcdS$1!N*S*D!!!20260304!!ORM$O01!\xc4%1\xff!T!2.3.1!!!!!!8859/1".encode("latin_1")
    msh, msa, err, _ = acknowledgement(
        header_of(raw), Code.AE, [Fault(code="101", text="who! me", segment="PID", field=3)], now=NOW, control_id="GW1"
    ).split(b"\r")
    assert msh == (
        "MSH!$%*@!GATEWAY!!R\xcdS$1!N*S*D!20260304081501+0100!!ACK$O01$ACK!GW1!T!2.3.1!!!!!!8859/1".encode("latin_1")
    )
    assert msa == "MSA!AE!\xc4%1\xff!who*F* me".encode("latin_1")
    assert err == b"ERR!PID$1$3$101@Required field missing@HL70357"


@pytest.mark.parametrize("marks", [b"", b"^", b"^~", b"^~\\", b"^~\\&#", b"\x00\x00\x00\x07", b"^~\\&toolong"])
def test_an_answer_has_separators_whatever_the_message_had(marks: bytes) -> None:
    try:
        heard = header_of(b"MSH|" + marks)
    except Hl7Error:
        return
    answer = header_of(acknowledgement(heard, Code.AA, [], now=NOW, control_id="GW1"))
    assert (answer.get("3"), answer.get("10")) == ("GATEWAY", "GW1")


def test_what_was_no_message_is_answered_too() -> None:
    text = acknowledgement(
        None, Code.AR, [Fault(code="100", text="no MSH segment")], now=NOW, control_id="GW1"
    ).decode()
    assert text.split("\r")[:2] == [
        "MSH|^~\\&|GATEWAY||||20260304081501+0100||ACK|GW1|P|2.3.1",
        "MSA|AR||no MSH segment",
    ]


@pytest.mark.parametrize(
    ("accept", "application", "code", "expected"),
    [
        ("", "", "AA", "AA"), ("", "", "AE", "AE"), ("", "", "AR", "AR"),
        ("AL", "NE", "AA", "CA"), ("AL", "NE", "AE", "CE"), ("AL", "NE", "AR", "CR"), ("AL", "", "AE", "CE"),
        ("AL", "AL", "AA", "CA AA"), ("AL", "AL", "AE", "CA AE"), ("AL", "AL", "AR", "CR AR"),
        ("NE", "AL", "AA", "AA"), ("NE", "AL", "AE", "AE"), ("", "AL", "AR", "AR"),
        ("NE", "NE", "AA", ""), ("NE", "NE", "AR", ""),
        ("ER", "NE", "AA", ""), ("ER", "NE", "AE", "CE"), ("SU", "NE", "AA", "CA"), ("SU", "NE", "AE", ""),
        ("AL", "ER", "AA", "CA"), ("AL", "ER", "AE", "CA AE"), ("al", "su", "AA", "CA AA"),
    ],
)  # fmt: skip
def test_modes(accept: str, application: str, code: str, expected: str) -> None:
    numbers: Iterator[int] = count(1)
    raw = header(f"P|2.5.1|||{accept}|{application}||UNICODE UTF-8")
    given = answers(header_of(raw), Code(code), [TWICE], now=NOW, control_id=lambda: f"GW{next(numbers)}")
    told = [answer.decode().split("\r") for answer in given]
    assert [answer[1] for answer in told] == [f"MSA|{code}|M1" for code in expected.split()]
    assert [answer[0].split("|")[9] for answer in told] == [f"GW{n}" for n in range(1, len(told) + 1)]
    if accept or application:
        assert all(answer[0].endswith("|||NE|NE||UNICODE UTF-8") for answer in told)
    original = answers(header_of(raw), Code(code), [], now=NOW, control_id=lambda: "GW1", enhanced=False)
    assert [answer.split(b"\r")[1] for answer in original] == [f"MSA|{code}|M1".encode()]
