"""From a verdict to edits: every place that names the order or the patient, and no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.dicom import charset
from gateway.dicom.elements import DataSet, Element
from gateway.domain.coercion import edits_for
from gateway.domain.edits import Edit, Path, spelled
from gateway.domain.identity_model import Candidate, Change, Decision, Reason, Relation, Verdict
from gateway.domain.merge import Kind
from gateway.domain.model import SourceName
from gateway.domain.order_model import Code, Identifier, Patient, PatientKey, Procedure, Status

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
ISSUER = Identifier(value="A2", authority="RIS", universal_id="1.2.3", universal_id_type="ISO")
ORDER = Candidate(
    id="order-1",
    source=SourceName("ris"),
    kind=Kind.HL7,
    key=PatientKey("HOSP", "P2"),
    patient=Patient(
        identifiers=(
            Identifier(value="P2", authority="HOSP", universal_id="1.2.9", universal_id_type="ISO"),
            Identifier(value="X7", authority="OTHER"),
        )
    ),
    procedure=Procedure(
        accession=ISSUER,
        RequestedProcedureCodeSequence=(Code(CodeValue="CTT", CodingSchemeDesignator="L", CodeMeaning="CT thorax"),),
    ),
    status=Status.SCHEDULED,
    confirmed_at=NOW,
)


def change(attribute: str, value: str, rule: str = "accession-differs") -> Change:
    return Change(attribute=attribute, value=value, reason=Reason.CORRECT, rule=rule)


def edits(header: DataSet, *changes: Change, **values: object) -> dict[str, str | None]:
    return {spelled(one.path): one.value for one in edits_of(header, *changes, **values)}


def edits_of(header: DataSet, *changes: Change, **values: object) -> tuple[Edit, ...]:
    verdict = Verdict(decision=Decision.CORRECT, because="exact", order=ORDER, changes=changes)
    verdict = replace(verdict, **values)  # type: ignore[arg-type]
    return edits_for(verdict, header, charset, at=NOW, system="north-ct1").edits


def lo(text: str) -> Element:
    return Element("LO", text.encode("latin-1"))


def test_an_edit_says_what_was_there_why_and_by_which_rule() -> None:
    (one,) = edits_of({0x00100010: Element("PN", b"M\xfcller ")}, change("PatientName", "Meier^A", "name-slip"))
    wanted: Path = (0x00100010,)
    assert (one.path, one.value, one.reason, one.rule) == (wanted, "Meier^A", Reason.CORRECT, "name-slip@1")
    assert one.before == "Müller"


@pytest.mark.parametrize("decision", [Decision.PASS, Decision.HOLD, Decision.SUGGEST, Decision.UNSCHEDULED])
def test_no_verdict_but_a_correction_or_enrichment_edits(decision: Decision) -> None:
    assert edits({}, change("PatientName", "Meier^A"), decision=decision) == {}


def test_the_accession_number_is_put_right_with_its_issuer_wherever_it_stood() -> None:
    item = {0x00080050: Element("SH", b"A1"), 0x0020000D: Element("UI", b"1.2\0")}
    header: DataSet = {
        0x00080050: Element("SH", b"A1"),
        0x00080051: Element("SQ", [{0x00400031: Element("UT", b"OLD ")}]),
        0x00400275: Element("SQ", [item, {0x00080050: Element("SH", b"B9")}]),
        0x0040A370: Element("SQ", [item]),
    }
    found = edits(header, change("AccessionNumber", "A2"))
    assert found["(0008,0050)"] == "A2"
    assert found["(0008,0051)"] is None
    assert [found[f"(0008,0051)[0].(0040,003{n})"] for n in (1, 2, 3)] == ["RIS", "1.2.3", "ISO"]
    assert found["(0040,0275)[0].(0008,0050)"] == "A2"
    assert found["(0040,a370)[0].(0008,0050)"] == "A2"
    assert not any(path.startswith("(0040,0275)[1]") for path in found)


def test_request_attributes_of_one_request_are_filled_and_those_of_a_group_stay() -> None:
    changes = (change("RequestedProcedureID", "RP2"), change("ScheduledProcedureStepID", "S2"))
    assert edits({}, *changes) == {"(0040,0275)[0].(0040,1001)": "RP2", "(0040,0275)[0].(0040,0009)": "S2"}
    assert edits({0x00400275: Element("SQ", [{}, {}])}, *changes) == {}


def test_what_is_only_filled_replaces_nothing() -> None:
    requested: DataSet = {0x00400275: Element("SQ", [{0x00400009: Element("SH", b"S1")}])}
    fills = (change("ScheduledProcedureStepID", "S2", "enrich"), change("RequestedProcedureID", "RP2", "enrich"))
    assert edits(requested, *fills) == {"(0040,0275)[0].(0040,1001)": "RP2"}
    assert edits(requested, change("ScheduledProcedureStepID", "S2")) == {"(0040,0275)[0].(0040,0009)": "S2"}
    described: DataSet = {0x00081030: lo("As it was done"), 0x00081032: Element("SQ", [{}])}
    assert edits(described, change("StudyDescription", "As ordered", "enrich")) == {}


def test_a_report_names_its_request_elsewhere() -> None:
    report: DataSet = {0x0040A370: Element("SQ", [{0x00401001: Element("SH", b"RP1 ")}])}
    changes = (change("RequestedProcedureID", "RP2"), change("ScheduledProcedureStepID", "S2"))
    assert edits(report, *changes) == {"(0040,a370)[0].(0040,1001)": "RP2"}


OTHER_PERSON: DataSet = {
    0x00100020: lo("P1"),
    0x00100021: lo("HOSP"),
    0x00100024: Element("SQ", [{0x00400032: Element("UT", b"9.9 ")}]),
    0x00101002: Element("SQ", [{0x00100020: lo("OLD1")}, {0x00100020: lo("OLD2")}]),
    0x00101040: lo("Old street"),
}


def test_what_names_the_patient_before_goes_with_the_number() -> None:
    found = edits(OTHER_PERSON, change("PatientID", "P2"), relations={"PatientID": Relation.DIFFERENT})
    assert found == {
        "(0010,0020)": "P2",
        "(0010,0024)": None,
        "(0010,0024)[0].(0040,0032)": "1.2.9",
        "(0010,0024)[0].(0040,0033)": "ISO",
        "(0010,1002)": None,
        "(0010,1002)[0].(0010,0020)": "X7",
        "(0010,1002)[0].(0010,0021)": "OTHER",
        "(0010,1002)[0].(0010,0022)": "TEXT",
        "(0010,1040)": None,
    }


def test_what_a_person_decided_is_compared_with_the_order_itself() -> None:
    """The relations are those to the order that the rules had found."""
    header: DataSet = {
        **OTHER_PERSON,
        0x00100030: Element("DA", b"19510705"),
        0x00100040: Element("CS", b"M "),
        0x00380010: lo("VISIT1"),
    }
    by_person = {"because": "by-a-person", "relations": {"PatientID": Relation.EQUAL}}
    found = edits(header, change("PatientID", "P2"), change("PatientSex", "F"), **by_person)
    assert found["(0010,1040)"] is None
    assert found["(0010,0030)"] == ""
    assert found["(0038,0010)"] == ""
    assert found["(0010,0040)"] == "F"
    visit = replace(ORDER, procedure=Procedure(admission=Identifier(value="VISIT2")))
    admitted = (change("PatientID", "P2"), change("AdmissionID", "VISIT2", "by-a-person"))
    assert edits(header, *admitted, order=visit, **by_person)["(0038,0010)"] == "VISIT2"
    alias = replace(ORDER, aliases=frozenset({PatientKey("HOSP", "p1")}))
    assert "(0010,1040)" not in edits(header, change("PatientID", "P2"), order=alias, **by_person)


@pytest.mark.parametrize("relation", [Relation.ALIAS, Relation.EQUAL, Relation.SLIP])
def test_of_the_same_person_under_another_number_the_rest_stays(relation: Relation) -> None:
    found = edits(OTHER_PERSON, change("PatientID", "P2"), relations={"PatientID": relation})
    assert "(0010,1002)" not in found
    assert "(0010,1040)" not in found


def test_the_issuer_of_another_number_does_not_stay_where_the_order_names_none() -> None:
    order = replace(ORDER, key=PatientKey("", "P2"), patient=Patient(identifiers=(Identifier(value="P2"),)))
    found = edits(OTHER_PERSON, change("PatientID", "P2"), order=order)
    assert found["(0010,0021)"] is None
    assert found["(0010,0024)"] is None


def test_the_code_of_the_procedure_comes_with_its_description_where_there_is_none() -> None:
    found = edits({}, change("StudyDescription", "CT thorax", "enrich"), decision=Decision.ENRICH)
    assert found == {
        "(0008,1030)": "CT thorax",
        "(0008,1032)[0].(0008,0100)": "CTT",
        "(0008,1032)[0].(0008,0102)": "L",
        "(0008,1032)[0].(0008,0104)": "CT thorax",
    }
    coded: DataSet = {0x00081032: Element("SQ", [{0x00080100: Element("SH", b"X ")}])}
    assert list(edits(coded, change("StudyDescription", "CT thorax"))) == ["(0008,1030)"]


def test_what_does_not_fit_is_not_cut() -> None:
    assert edits({}, change("AccessionNumber", "A" * 17), order=replace(ORDER, procedure=Procedure())) == {}


def test_what_is_right_already_is_no_edit() -> None:
    assert edits({0x00100020: lo("P2 ")}, change("PatientID", "P2"), relations={"PatientID": Relation.EQUAL}) == {
        "(0010,0024)[0].(0040,0032)": "1.2.9",
        "(0010,0024)[0].(0040,0033)": "ISO",
    }
