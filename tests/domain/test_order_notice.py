"""What a RIS is told of its order, read back by our reader, by `hl7` and by `hl7apy`'s rules; and answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import hl7
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.hl7 import Message
from gateway.domain.hl7_ack import Code as AckCode
from gateway.domain.hl7_ack import Fault, acknowledgement
from gateway.domain.order_model import Code, Flag, Identifier, Patient, Procedure, Step
from gateway.domain.order_notice import (
    Answer,
    Event,
    Format,
    Header,
    Ordered,
    Verdict,
    answer_to,
    draft,
    reason_of,
)
from gateway.net.hl7_building import build
from gateway.net.hl7_conformance import findings

AT = datetime(2026, 3, 4, 9, 55, 12, tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
HEADER = Header(
    sending_application="GATEWAY", sending_facility="north", receiving_application="RADIS", receiving_facility="NORD"
)
PROTOCOL = Code(CodeValue="CTABD3PH", CodingSchemeDesignator="RADN_PROT", CodeMeaning="CT abdomen 3-phase")
PROCEDURE = Procedure(
    StudyInstanceUID="1.2.3",
    RequestedProcedureID="RP1",
    accession=Identifier(value="A1", authority="RADIS_ACC", universal_id="1.2", universal_id_type="ISO"),
    placer=Identifier(value="P1", authority="HIS"),
    filler=Identifier(value="F1", authority="RADIS"),
    RequestedProcedureCodeSequence=(replace(PROTOCOL, CodeValue="CTABDC", CodingSchemeDesignator="RADN"),),
    steps=tuple(
        Step(
            ScheduledProcedureStepID=f"S{number}",
            Modality="CT",
            ScheduledProtocolCodeSequence=(PROTOCOL,),
            ScheduledStationName="CT1",
        )
        for number in (1, 2)
    ),
)
MRN = Identifier(value="4711", authority="NORD_MRN", universal_id="1.3.6", universal_id_type="ISO", type="MR")
PATIENT = Patient(identifiers=(MRN,), PatientName="Doe^Jo^K^Dr^Jr", PatientBirthDate="19670921", PatientSex="F")
ORDERED = Ordered(patient=PATIENT, procedure=PROCEDURE, StudyInstanceUID="1.2.3", instances=7, at=AT)


def written(event: Event, form: Format = Format.ORM, ordered: Ordered = ORDERED) -> bytes:
    """The message as it is sent; hl7apy has nothing against it."""
    built = build(draft(event, form, ordered, HEADER, control_id="GW1", written=AT))
    assert built.faults == ()
    return built.body


def lines(event: Event, form: Format = Format.ORM, ordered: Ordered = ORDERED) -> list[str]:
    return written(event, form, ordered).decode("utf-8").split("\r")


def test_an_orm_to_the_letter() -> None:
    assert lines(Event.COMPLETE) == [
        "MSH|^~\\&|GATEWAY|north|RADIS|NORD|20260304105512+0100||ORM^O01^ORM_O01|GW1|P|2.3.1||||||8859/1",
        "PID|1||4711^^^NORD_MRN&1.3.6&ISO^MR||Doe^Jo^K^Jr^Dr||19670921|F",
        "ORC|SC|P1^HIS|F1^RADIS||CM||||20260304105512+0100",
        "OBR|1|P1^HIS|F1^RADIS|CTABDC^CT abdomen 3-phase^RADN||||||||||||||A1|RP1|S1||20260304105512+0100||CT|R",
        "ORC|SC|P1^HIS|F1^RADIS||CM||||20260304105512+0100",
        "OBR|2|P1^HIS|F1^RADIS|CTABDC^CT abdomen 3-phase^RADN||||||||||||||A1|RP1|S2||20260304105512+0100||CT|R",
        "ZDS|1.2.3^^Application^DICOM",
        "",
    ]


def test_an_omi_to_the_letter() -> None:
    assert lines(Event.START, Format.OMI)[1:] == [
        "PID|1||4711^^^NORD_MRN&1.3.6&ISO^MR||Doe^Jo^K^Jr^Dr||19670921|F",
        "ORC|SC|P1^HIS|F1^RADIS||IP||||20260304105512+0100",
        "OBR|1|P1^HIS|F1^RADIS|CTABDC^CT abdomen 3-phase^RADN",
        "IPC|A1^RADIS_ACC^1.2^ISO|RP1|1.2.3|S1|CT|CTABD3PH^CT abdomen 3-phase^RADN_PROT|CT1",
        "IPC|A1^RADIS_ACC^1.2^ISO|RP1|1.2.3|S2|CT|CTABD3PH^CT abdomen 3-phase^RADN_PROT|CT1",
        "",
    ]


def test_an_oru_never_says_final() -> None:
    told = Message.parse(written(Event.REPORT, Format.OMI))
    assert told.get("OBR-25") == "R"
    assert [(one.get("3"), one.get("5"), one.get("11")) for one in told.named("OBX")] == [
        ("113014", "1.2.3", "R"),
        ("INSTANCES", "7", "R"),
    ]


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("event", Event)
def test_no_message_calls_anything_final(event: Event, form: Format) -> None:
    told = Message.parse(written(event, form))
    assert {segment.get("25") for segment in told.named("OBR")} <= {"", "R"}
    assert {segment.get("11") for segment in told.named("OBX")} <= {"R"}


def test_a_number_of_ours_is_not_the_ris_s() -> None:
    made = frozenset({Flag.ACCESSION_GENERATED, Flag.PROCEDURE_GENERATED, Flag.STEP_GENERATED})
    told = Message.parse(written(Event.COMPLETE, ordered=replace(ORDERED, procedure=replace(PROCEDURE, flags=made))))
    assert [told.get(f"OBR-{field}") for field in (3, 18, 19, 20)] == ["F1", "", "", ""]


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("M\u00fcller^J\u00f6rg", "8859/1"),
        ("\u0421\u043e\u043a\u043e\u043b\u043e\u0432\u0430^\u0412\u0435\u0440\u0430", "UNICODE UTF-8"),
    ],
)
def test_a_name_goes_out_in_a_set_that_holds_it(name: str, charset: str) -> None:
    raw = written(Event.START, ordered=replace(ORDERED, patient=replace(PATIENT, PatientName=name)))
    told = Message.parse(raw)
    assert told.get("MSH-18") == charset
    assert f"{told.get('PID-5.1')}^{told.get('PID-5.2')}" == name


def test_the_three_groups_of_a_name() -> None:
    name = "Yamada^Taro=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"
    told = Message.parse(written(Event.START, Format.OMI, replace(ORDERED, patient=replace(PATIENT, PatientName=name))))
    assert [(told.get("PID-5.1", rep), told.get("PID-5.8", rep)) for rep in range(3)] == [
        *(("Yamada", "A"), ("\u5c71\u7530", "I"), ("\u3084\u307e\u3060", "P")),
    ]


hostile = st.text(
    st.characters(min_codepoint=1, max_codepoint=0x2FF, exclude_categories=["Cs"]) | st.sampled_from("|^&~\\\r\n"),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=40)
@example(values=["F|1", "A^1", "C~T\rZZZ|x", "4&7\\1"], event=Event.COMPLETE, form=Format.ORM)
@given(values=st.lists(hostile, min_size=4, max_size=4), event=st.sampled_from(Event), form=st.sampled_from(Format))
def test_no_value_becomes_a_separator(values: list[str], event: Event, form: Format) -> None:
    filler, accession, code, patient = values
    procedure = replace(
        PROCEDURE,
        filler=Identifier(value=filler, authority=filler),
        accession=Identifier(value=accession),
        RequestedProcedureCodeSequence=(Code(CodeValue="C", CodingSchemeDesignator="S", CodeMeaning=code),),
    )
    person = replace(PATIENT, identifiers=(Identifier(value=patient, authority="A"),))
    ordered = replace(ORDERED, procedure=procedure, patient=person)
    made = draft(event, form, ordered, HEADER, control_id="GW1", written=AT)
    expected = draft(event, form, ORDERED, HEADER, control_id="GW1", written=AT)
    assert [text[:3] for text in made.segments] == [text[:3] for text in expected.segments]
    told = Message.parse(("\r".join(made.segments) + "\r").encode(made.codec))
    assert [segment.name for segment in told.segments] == [text[:3] for text in expected.segments]

    def plain(value: str) -> str:
        return "".join(" " if ord(each) < 32 or 127 <= ord(each) < 160 else each for each in value).split(" ")[0]

    assert told.get("ORC-3.1").startswith(plain(filler))
    assert told.get("ORC-3.2").startswith(plain(filler))
    assert told.get("PID-3.1").startswith(plain(patient))
    assert told.get("OBR-4.2").startswith(plain(code))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "form"), [(Event.COMPLETE, Format.ORM), (Event.START, Format.OMI), (Event.REPORT, Format.ORM)]
)
def test_foreign_readers_agree(event: Event, form: Format) -> None:
    text = written(event, form).decode("utf-8")
    parsed = hl7.parse(text)
    assert str(parsed.segment("ORC")[1]) == "SC"
    told = [line for line in findings(text) if "not in table" not in line]
    assert told in ([], ["Segment ZDS is not in the structure ORM_O01"])


def test_an_order_that_lacks_what_is_required_is_not_called_well_formed() -> None:
    nobody = replace(ORDERED, patient=Patient())
    built = build(draft(Event.START, Format.ORM, nobody, HEADER, control_id="GW1", written=AT))
    assert built.faults
    assert b"ORC|SC|" in built.body


def test_no_room_for_the_report_is_no_fault_of_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person would have to send each message that fell due meanwhile."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "away"))
    asked = draft(Event.START, Format.ORM, ORDERED, HEADER, control_id="GW1", written=AT)
    with pytest.raises(FileNotFoundError):
        build(asked)
    monkeypatch.undo()
    assert build(asked).faults == ()


# -- answers --


def ack(code: str, control_id: str = "GW1", **settings: Any) -> bytes:
    header = Message.parse(written(Event.START)).segments[0]
    raw = acknowledgement(header, AckCode(code), settings.get("faults", ()), now=AT, control_id="R1")
    return raw.replace(b"|GW1", b"|" + control_id.encode())


@pytest.mark.parametrize("code", AckCode)
def test_every_code_of_an_acknowledgement(code: AckCode) -> None:
    verdict = Verdict.TAKEN if code in {"AA", "CA"} else Verdict.REFUSED
    assert answer_to(ack(code), "GW1") == Answer(verdict=verdict, status=code)
    assert reason_of(code) != reason_of("what") or verdict is Verdict.TAKEN


def test_the_code_of_an_error_is_told_and_nothing_else() -> None:
    old = ack("AE", faults=[Fault(code="204", text="Doe^Jo is not known", segment="ORC", field=3)])
    new = b"MSH|^~\\&|A|B|C|D|20260304||ACK|R1|P|2.5.1\rMSA|AE|GW1|Doe\rERR||ORC^1^3|204^No^HL70357|E|||Doe\r"
    free = b"MSH|^~\\&|A|B|C|D|20260304||ACK|R1|P|2.5.1\rMSA|AE|GW1\rERR||ORC^1^3|DOE^JO|E\r"
    assert [getattr(answer_to(raw, "GW1"), "status", "") for raw in (new, free)] == ["AE 204", "AE"]
    assert getattr(answer_to(old, "GW1"), "status", "") == "AE 204"
    assert "look at its log" in reason_of("AE 204")


@pytest.mark.parametrize(
    "raw", [b"", b"\x06", b"MSH", ack("AA", "GW2"), ack("AA", "gw1"), ack("AA").split(b"\r")[0], b"\xff" * 50]
)
def test_what_is_no_answer_to_our_message(raw: bytes) -> None:
    assert answer_to(raw, "GW1") is None


def test_an_unknown_code_is_no_refusal() -> None:
    raw = ack("AA").replace(b"MSA|AA", b"MSA|OK")
    assert answer_to(raw, "GW1") == Answer(verdict=Verdict.UNCLEAR, status="protocol")


@given(raw=st.binary(max_size=200))
def test_no_bytes_harm(raw: bytes) -> None:
    answer_to(raw, "GW1")
    answer_to(b"MSH|^~\\&|" + raw, "GW1")
