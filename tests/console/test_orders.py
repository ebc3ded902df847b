"""`POST /api/v1/orders`: the same books, states and answers as a message, once for each thing told."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.config.mappings import order_mapping
from gateway.domain.hl7 import Message
from gateway.domain.model import SourceName
from gateway.domain.orders import Sender
from gateway.roles.console.guard import WRITABLE
from gateway.roles.console.models import Problem
from gateway.roles.console.order_models import OrderOutcome
from gateway.spool import audit, messages, order_books, orders
from tests.cli.site import Site
from tests.console.box import Served

ORDERS = "/api/v1/orders"
STUDY = "1.3.6.1.4.1.32473.7.9.77"
ORDER: dict[str, Any] = {
    "id": "EHR-1",
    "at": "2026-03-04T08:15:00+01:00",
    "patient": {
        "identifiers": [{"value": "70012345", "authority": "NORD_MRN", "type": "MR"}],
        "PatientName": "Okafor-Lindqvist^Marta",
        "PatientBirthDate": "19670921",
        "PatientSex": "F",
    },
    "procedure": {
        "StudyInstanceUID": STUDY,
        "RequestedProcedureID": "RP88101",
        "accession": {"value": "A2603040077"},
        "RequestedProcedureCodeSequence": [{"CodeValue": "CTABDC", "CodingSchemeDesignator": "RADN"}],
    },
    "steps": [{"Modality": "CT", "start": "2026-03-04T10:30:00", "ScheduledStationAETitle": ["CT1"]}],
}


def told(**changes: Any) -> dict[str, Any]:
    """The order, with parts of it replaced; a part that is a dict is laid over."""
    base = json.loads(json.dumps(ORDER))
    for name, value in changes.items():
        base[name] = base[name] | value if isinstance(value, dict) else value
    return base


def post(console: Served, asked: dict[str, Any]) -> dict[str, Any]:
    status, answer = console.post(ORDERS, asked)
    assert status == 200, answer
    OrderOutcome.model_validate(answer)
    assert isinstance(answer, dict)
    return answer


def refused(answer: tuple[int, Any], status: int) -> str:
    assert (answer[0], Problem.model_validate(answer[1]).status) == (status, status), answer
    return str(answer[1]["detail"])


def kept(site: Site) -> tuple[messages.Kept, ...]:
    return messages.latest(site.spool.db.read(), limit=100)


def rows(site: Site) -> list[tuple[str, str, str]]:
    read = site.spool.db.read()
    found = read.execute("SELECT source, AccessionNumber, status FROM worklist_row ORDER BY AccessionNumber")
    return [(row["source"], row["AccessionNumber"], row["status"]) for row in found]


def test_an_order_is_entered_listed_and_answered(site: Site, console: Served) -> None:
    answer = post(console, ORDER)
    (order,) = answer["orders"]
    assert (answer["id"], answer["code"], answer["effect"]) == ("EHR-1", "AA", "entered")
    assert (order["status"], order["StudyInstanceUID"], order["AccessionNumber"]) == ("SCHEDULED", STUDY, "A2603040077")
    assert order["flags"] == ["step-id-generated"]
    (step,) = order["steps"]
    assert (step["ScheduledProcedureStepID"], step["ScheduledStationAETitle"]) == ("RP88101", ["CT1"])
    assert datetime.fromisoformat(step["start"]).isoformat() == "2026-03-04T10:30:00+09:00", "the site's clock: Tokyo"
    assert rows(site) == [("api", "A2603040077", "SCHEDULED")]
    (one,) = kept(site)
    assert (one.received.sender, one.received.kind, one.received.control_id) == ("api", "JSON", "EHR-1")
    assert (one.received.address, json.loads(one.received.raw), one.seen_at is not None) == ("127.0.0.1", ORDER, True)


def test_the_same_again_is_answered_the_same_and_done_once(site: Site, console: Served) -> None:
    first = post(console, ORDER)
    post(console, {"id": "EHR-2", "at": "2026-03-04T09:00:00Z", "control": "CA", "procedure": ORDER["procedure"]})
    again = dict(reversed(ORDER.items()))
    assert post(console, again) == first, "whatever order its fields stand in"
    assert rows(site) == [("api", "A2603040077", "CANCELED")]
    assert len(kept(site)) == 2


def test_an_id_used_again_for_something_else_is_something_else(site: Site, console: Served) -> None:
    post(console, ORDER)
    changed = told(at="2026-03-04T08:20:00+01:00", patient={"PatientName": "Okafor^Marta"})
    assert post(console, changed)["effect"] == "changed"
    assert len(kept(site)) == 2


def test_the_newest_word_counts_not_the_last_to_arrive(site: Site, console: Served) -> None:
    post(console, {"id": "1", "at": "2026-03-04T09:00:00Z", "control": "CA", "procedure": ORDER["procedure"]})
    assert post(console, ORDER)["effect"] == "entered as canceled"
    assert rows(site) == [("api", "A2603040077", "CANCELED")]


def test_what_is_null_is_deleted_and_what_is_absent_stays(site: Site, console: Served) -> None:
    post(console, told(procedure={"RequestedProcedurePriority": "STAT", "CurrentPatientLocation": "W3"}))
    later = {"id": "2", "at": "2026-03-04T10:00:00Z", "control": "XO"}
    procedure = {"StudyInstanceUID": STUDY, "RequestedProcedureID": "RP88101", "CurrentPatientLocation": None}
    post(console, told(**later) | {"procedure": procedure})
    (order,) = order_books.latest(site.spool.db.read(), limit=9)
    assert (order.procedure.RequestedProcedurePriority, order.procedure.CurrentPatientLocation) == ("STAT", "")


def test_a_message_and_a_program_speak_of_one_order(site: Site, console: Served) -> None:
    """The same function applies both; a number without an issuer is its sender's own, a study is everybody's."""
    post(console, told(procedure={"placer": {"value": "P1", "authority": "HIS"}}))
    sender = Sender(
        name=SourceName("ris-hl7"),
        mapping=order_mapping("generic", site.state),
        zone=ZoneInfo("Asia/Tokyo"),
    )
    text = "MSH|^~\\&|R|N|E|C|20260304180000||ORM^O01|1|P|2.3.1\rPID|1||70012345^^^NORD_MRN\rORC|CA|P1^HIS||||\r"
    message = Message.parse(text.encode())
    done = site.write(lambda c: orders.apply(c, message, sender, now=site.clock()))
    assert (done.code, done.effect) == ("AA", "canceled")
    assert rows(site) == [("api", "A2603040077", "CANCELED")]


def test_another_patient_is_set_aside(site: Site, console: Served) -> None:
    post(console, ORDER)
    other = told(id="EHR-9", patient={"identifiers": [{"value": "99", "authority": "NORD_MRN"}]})
    assert "another patient" in refused(console.post(ORDERS, other), 409)
    alarms = [alarm.code for alarm in audit.active_alarms(site.spool.db.read())]
    assert alarms == ["order-identity-conflict"]
    assert rows(site) == [("api", "A2603040077", "SCHEDULED")]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"patient": {"identifiers": None}}, "patient.identifiers"),
        ({"patient": {"PatientName": ""}}, "patient.PatientName"),
        ({"steps": []}, "steps"),
        ({"steps": [{}], "procedure": {"RequestedProcedureCodeSequence": []}}, "steps.Modality"),
        ({"control": "ZZ"}, "control"),
        ({"status": "ZZ"}, "status"),
    ],
)
def test_what_can_not_be_applied_is_kept_and_shown(
    site: Site, console: Served, changes: dict[str, Any], named: str
) -> None:
    detail = refused(console.post(ORDERS, told(**changes)), 422)
    assert detail.startswith(named)
    assert refused(console.post(ORDERS, told(**changes)), 422) == detail
    assert (len(kept(site)), rows(site)) == (1, [])
    alarms = [(alarm.code, alarm.subject) for alarm in audit.active_alarms(site.spool.db.read())]
    assert alarms == [("hl7-not-understood", "api")]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"patient": {"PatientSex": "Secret"}}, "PatientSex"),
        ({"patient": {"PatientBirthDate": "19991399"}}, "PatientBirthDate"),
        ({"patient": {"Secret": "x"}}, "Secret"),
        ({"procedure": {"StudyInstanceUID": "1.02.Secret"}}, "StudyInstanceUID"),
        ({"steps": [{"Modality": "ct\\Secret"}]}, "Modality"),
        ({"steps": [{"ScheduledStationAETitle": ["Secret\\Secret"]}]}, "0"),
        ({"steps": [{"start": "0001-01-01T00:00:00"}]}, "start"),
        ({"at": "2026-03-04T08:15:00"}, "at"),
        ({"id": ""}, "id"),
    ],
)
def test_what_is_no_order_is_not_kept(site: Site, console: Served, changes: dict[str, Any], named: str) -> None:
    detail = refused(console.post(ORDERS, told(**changes)), 422)
    assert detail.startswith(f"{named}: ")
    assert "Secret" not in detail.removeprefix("Secret: ")
    assert "1999" not in detail
    assert kept(site) == ()


def test_no_field_becomes_two(site: Site, console: Served) -> None:
    sly = told(
        patient={"PatientName": "A\\B^C^D^E^F^G=H=I=J"},
        procedure={"RequestedProcedureDescription": "CT\\MR\r\nabdomen", "RequestedProcedureID": "RP\\1"},
    )
    (order,) = post(console, sly)["orders"]
    assert order["RequestedProcedureID"] == "RP/1"
    (written,) = order_books.latest(site.spool.db.read(), limit=9)
    assert written.procedure.RequestedProcedureDescription == "CT/MR abdomen"
    (row,) = site.spool.db.read().execute("SELECT PatientName FROM worklist_row")
    assert row["PatientName"] == "A/B^C^D^E^F=H=I"


def test_its_door_is_the_desk_s(site: Site, console: Served) -> None:
    refused(console.post(ORDERS, ORDER, Origin="http://evil.example"), 403)
    refused(console.post_raw(ORDERS, b"{}", {"Content-Type": "text/plain"}), 415)
    too_long = {"Content-Length": str(WRITABLE[ORDERS] + 1), "Content-Type": "application/json"}
    refused(console.post_raw(ORDERS, b"", too_long), 413)
    assert console.ask(ORDERS)[0] == 405
    assert kept(site) == ()
