"""A patient is erased from every book of the worklist, and nobody else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from gateway.dicom import elements
from gateway.domain.header import Marks
from gateway.domain.hl7_ack import Code, Fault, Outcome
from gateway.domain.identity_model import Change, Decision, Reason, Verdict
from gateway.domain.model import AETitle, SourceName
from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import Event
from gateway.domain.task import Way
from gateway.domain.worklist import DataSet
from gateway.spool import (
    Spool,
    audit,
    checks,
    messages,
    orders_out,
    query_log,
    read_backs,
    relays,
    served,
    worklist,
)
from gateway.spool.checks import CHECK, Excerpt, StudyCheck, StudyKey
from gateway.spool.erasing import Erased, erase_patient
from gateway.spool.messages import Received
from gateway.spool.rows import as_elements
from gateway.spool.served import Shown
from tests.domain.rows import query, row
from tests.spool.objects import START, Clock, open_spool, receive
from tests.spool.test_query_log import QUERY
from tests.spool.test_worklist import ROW

CT1 = AETitle("CT1")
ADA = {"_00100020": "P1", "_00100010": "TEST^ADA", "_00080050": "A1", "_0020000D": "2.25.1", "_00401001": "R1"}
OTTO = {"_00100020": "P10", "_00100010": "TEST^OTTO", "_00080050": "A10", "_0020000D": "2.25.10", "_00401001": "R10"}
ASKED = {
    "Patient ID": ({"_00100020": "P1"}, True),
    "Patient ID with a wildcard": ({"_00100020": "P1*"}, True),
    "name": ({"_00100010": "test^ad*"}, True),
    "accession number": ({"_00080050": "A1"}, True),
    "study": ({"_0020000D": "2.25.1"}, True),
    "another patient": ({"_00100020": "P10"}, False),
    "another name": ({"_00100010": "TEST^O*"}, False),
    "the day": ({}, False),
}
"""Questions, and whether they name Ada."""


def encoded(dataset: DataSet) -> bytes:
    return elements.encode(as_elements(dataset), elements.EXPLICIT_LITTLE)


def fill(spool: Spool, *, copied: bool) -> None:
    """Both patients shown to CT1, and asked for in every way; `copied`: they are in the copy too."""
    for patient in (ADA, OTTO):
        dataset = encoded(row({"_00400009": f"S{patient['_00100020']}"}, **patient))
        kept = replace(ROW, key=patient["_0020000D"], PatientID=patient["_00100020"], dataset=dataset)
        if copied:
            spool.db.write(lambda c, kept=kept: worklist.merge_answer(c, ROW.source, rows=[kept], now=START)).result()
        shown = Shown(SourceName("main"), kept.key, dataset, dataset, elements.EXPLICIT_LITTLE)
        spool.db.write(lambda c, shown=shown: served.record_served(c, CT1, shown=[shown], now=START)).result()
    asked = [
        replace(QUERY, identifier=encoded(query({"_00080060": "MR"}, **keys)), last_asked=START + timedelta(seconds=n))
        for n, (keys, _) in enumerate(ASKED.values())
    ]
    spool.db.write(lambda c: query_log.record(c, [*asked, replace(QUERY, identifier=b"")], tally={})).result()


@pytest.mark.parametrize("copied", [True, False], ids=["in the copy", "only shown"])
def test_one_patient_is_erased_and_no_other(spool: Spool, clock: Clock, copied: bool) -> None:
    fill(spool, copied=copied)
    naming = sum(names for _, names in ASKED.values())
    erased = spool.db.write(lambda c: erase_patient(c, "P1 ", now=clock(), by="command:me")).result()
    assert erased == Erased(rows=int(copied), snapshots=1, queries=naming, entries=0, steps=0)
    c = spool.db.read()
    assert [one.row.PatientID for one in worklist.rows(c, worklist.WorklistKeys(), limit=9)] == ["P10"] * copied
    assert [one.PatientID for one in served.served_to(c, CT1, since=START)] == ["P10"]
    assert len(query_log.latest(c, "CT1", limit=99)) == len(ASKED) + 1 - naming
    (entry,) = audit.journal_of(c, kind=audit.Subject.WORKLIST, subject="patient")
    assert (entry.who, entry.to_state) == ("command:me", "erased")
    assert entry.why == (
        f"{int(copied)} rows, 1 snapshots, {naming} queries, 0 desk entries, 0 orders, 0 performed steps, 0 studies,"
        " 0 messages received, 0 told"
    )


def test_what_is_erased_is_gone_from_the_disk(tmp_path: Path, clock: Clock) -> None:
    spool = open_spool(tmp_path / "state", clock)
    fill(spool, copied=True)
    spool.db.write(lambda c: erase_patient(c, "P1", now=clock(), by="command")).result()
    spool.close()  # the log is written back
    kept = (tmp_path / "state" / "gateway.db").read_bytes()
    assert b"TEST^OTTO" in kept
    assert b"TEST^ADA" not in kept


ORM = b"MSH|^~\\&|R|N|E|C|20260304||ORM^O01|%s|P|2.3.1\rPID|1||%s^^^NORD_MRN||%s\r"


def heard_and_told(spool: Spool, number: str, name: str) -> None:
    """A message that was not understood; two to a RIS, of which it has taken one; a check without images."""
    raw = ORM % (number.encode(), number.encode(), name.encode())
    received = Received(sender="ris", address="10.1.1.9", kind="ORM^O01", control_id=number, raw=raw)
    fault = Fault(code="207", text="a fault")
    outcome = Outcome(code=Code.AE, effect="", faults=(fault,))
    spool.db.write(
        lambda c: messages.receive(c, received, apply=lambda: outcome, answer=lambda _: b"MSA|AE", now=START)
    ).result()
    for event in (Event.START, Event.COMPLETE):
        job = partial(
            orders_out.queue, receiver=f"ris {number}", order=None, event=event, body=raw, valid=True, now=START
        )
        spool.db.write(partial(job, control_id=f"{number}{event}")).result()
    head = orders_out.head(spool.db.read(), receiver=f"ris {number}", now=START)
    assert head is not None
    begun = spool.db.write(lambda c: relays.begin(c, head, now=START)).result()
    spool.db.write(lambda c: relays.settle(c, begun, RelayState.SENT, status="AA", now=START)).result()
    checked(spool, f"2.25.{number[1:]}", number, name)


def checked(spool: Spool, uid: str, number: str, name: str, *changes: Change) -> None:
    """What the check keeps of a study."""
    study = StudyKey(uid)
    check = StudyCheck(
        study=study,
        verdict=Verdict(decision=Decision.PASS, because="no-order", relations={}, changes=changes),
        applied=True,
        way=Way.ROUTES,
        held_until=None,
        fingerprint="f",
        decided_by=CHECK,
        decision=None,
        first_at=START,
        decided_at=START,
    )
    spool.db.write(lambda c: checks.record(c, check, now=START)).result()
    marks = Marks(is_signed=False, has_overlay=False, has_private_copy=False, uids_disagree=False, missing=())
    excerpt = Excerpt(elements=encoded(row({}, _00100020=number, _00100010=name)), marks=marks)
    spool.db.write(lambda c: checks.add_header(c, study, excerpt, excerpt.header()) and None).result()
    spool.db.write(lambda c: read_backs.expect(c, study, "pacs", {"PatientName": name}, now=START)).result()


def test_what_was_heard_told_and_checked_is_gone_from_the_disk(tmp_path: Path, clock: Clock) -> None:
    """But for what a RIS has not taken yet: it is its due, until it is dismissed."""
    spool = open_spool(tmp_path / "state", clock)
    for number, name in (("P1", "TEST^ADA"), ("P10", "TEST^OTTO")):
        heard_and_told(spool, number, name)
    erased = spool.db.write(lambda c: erase_patient(c, "P1", now=clock(), by="command")).result()
    assert (erased.messages, erased.told, erased.studies) == (1, 1, 1)
    c = spool.db.read()
    assert [one.received.control_id for one in messages.latest(c, limit=9)] == ["P10"]
    assert [one.subject for one in audit.active_alarms(c)] == ["ris"], "another of this sender's is still open"
    (due,) = orders_out.latest(c, receiver="ris P1", limit=9)
    assert due.state is RelayState.QUEUED
    assert dismissed(spool, due.id)
    assert spool.db.write(lambda c: erase_patient(c, "P1", now=clock(), by="command")).result().told == 1
    assert len(orders_out.latest(spool.db.read(), receiver="ris P10", limit=9)) == 2
    assert checks.of_study(spool.db.read(), StudyKey("2.25.10")) is not None
    spool.close()  # the log is written back
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b"TEST^OTTO" in kept
    assert b"TEST^ADA" not in kept


def dismissed(spool: Spool, number: int) -> bool:
    job = partial(relays.decide, kind=audit.Subject.ORDER_MESSAGE, number=number, state=RelayState.DISMISSED)
    return spool.db.write(partial(job, now=START, by="command")).result()


def test_a_check_goes_only_when_its_images_have_gone(spool: Spool, clock: Clock) -> None:
    heard_and_told(spool, "P1", "TEST^ADA")
    image = spool.accepting().submit(receive(spool.files, "2.25.9", b"x")).result(30).instance
    (header,) = checks.headers_of(spool.db.read(), StudyKey("2.25.1"))
    spool.db.write(lambda c: checks.link(c, image.id, header.id)).result()
    erase = partial(erase_patient, PatientID="P1", now=clock(), by="command")
    assert spool.db.write(erase).result().studies == 0
    spool.db.write(lambda c: c.execute("UPDATE instance SET state = 'purged'") and None).result()
    assert spool.db.write(erase).result().studies == 1
    assert checks.headers_of(spool.db.read(), StudyKey("2.25.1")) == []


def test_a_check_goes_that_found_the_patient_behind_another_number(spool: Spool, clock: Clock) -> None:
    correction = Change(attribute="PatientID", value="P1", reason=Reason.CORRECT, rule="r")
    checked(spool, "2.25.5", "WRONG", "TEST^ADA", correction)
    checked(spool, "2.25.6", "WRONG", "TEST^OTTO", replace(correction, value="P10"))
    erased = spool.db.write(lambda c: erase_patient(c, "P1", now=clock(), by="command")).result()
    assert erased.studies == 1
    assert checks.of_study(spool.db.read(), StudyKey("2.25.5")) is None
    assert checks.of_study(spool.db.read(), StudyKey("2.25.6")) is not None


def test_nobody_is_no_patient(spool: Spool, clock: Clock) -> None:
    fill(spool, copied=True)
    with pytest.raises(ValueError, match="PatientID is empty"):
        spool.db.write(lambda c: erase_patient(c, " ", now=clock(), by="command")).result()
    assert len(worklist.rows(spool.db.read(), worklist.WorklistKeys(), limit=9)) == 2
