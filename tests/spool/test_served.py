"""Served snapshots: what was shown, as it was shown, counted and let go of."""

from __future__ import annotations

from gateway.dicom import elements
from gateway.domain.model import AETitle
from gateway.domain.worklist import Element
from gateway.spool import Connection, Spool, served, worklist
from gateway.spool.rows import as_elements
from gateway.spool.served import Shown
from tests.spool.objects import START, Clock
from tests.spool.test_worklist import MAIN, ROW

CT1 = AETitle("CT1")
SHOWN = Shown(MAIN, ROW.key, ROW.dataset, b"as shown", elements.IMPLICIT_LITTLE)


def test_answers_are_remembered_once_each(spool: Spool, clock: Clock) -> None:
    def serve(c: Connection, *shown: Shown) -> None:
        worklist.merge_answer(c, ROW.source, rows=[ROW], now=clock())
        served.record_served(c, CT1, shown=shown, now=clock())

    spool.db.write(lambda c: serve(c, SHOWN), rebuildable=True).result()
    clock.pass_(minutes=1)
    spool.db.write(lambda c: serve(c, SHOWN, SHOWN._replace(response=b"corrected"))).result()
    found = served.served_to(spool.db.read(), CT1, since=START)
    assert sorted((each.count, each.dataset) for each in found) == [(1, b"corrected"), (2, b"as shown")]
    assert {(each.last_served, each.transfer_syntax) for each in found} == {(clock(), elements.IMPLICIT_LITTLE)}
    assert {(each.PatientID, each.AccessionNumber, each.StudyInstanceUID) for each in found} == {("P1", "A1", "2.25.7")}
    assert served.last_served(spool.db.read(), "ct1 ", key=ROW.key) == clock()
    assert served.last_served(spool.db.read(), "CT1", key="other") is None
    assert served.served_to(spool.db.read(), AETitle("CT2"), since=START) == ()
    clock.pass_(days=7)
    assert served.served_to(spool.db.read(), CT1, since=clock()) == ()
    assert spool.db.write(lambda c: served.forget_served(c, before=clock())).result() == 2


def test_the_conflict_in_spite_of_which_a_row_was_shown_last_is_told(spool: Spool, clock: Clock) -> None:
    for conflict in ("second", "", "third"):
        one = SHOWN._replace(conflict=conflict)
        spool.db.write(lambda c, one=one: served.record_served(c, CT1, shown=[one], now=clock())).result()
        (found,) = served.served_to(spool.db.read(), CT1, since=START)
        assert found.conflict == conflict


def test_a_row_that_left_the_copy_meanwhile_is_remembered_too(spool: Spool, clock: Clock) -> None:
    row = {
        0x00080005: Element("CS", b"ISO_IR 144"),
        0x00080050: Element("SH", b"A1"),
        0x00100020: Element("LO", "П1".encode("iso8859-5")),
        0x0020000D: Element("UI", b"2.25.7\0"),
        0x00400100: Element("SQ", [{0x00400009: Element("SH", b"S1")}]),
        0x00401001: Element("SH", b"R1"),
    }
    gone = SHOWN._replace(row=elements.encode(as_elements(row), elements.EXPLICIT_LITTLE))
    spool.db.write(lambda c: served.record_served(c, CT1, shown=[gone], now=clock())).result()
    (found,) = served.served_to(spool.db.read(), CT1, since=START)
    identity = (found.PatientID, found.AccessionNumber, found.StudyInstanceUID)
    assert (*identity, found.RequestedProcedureID, found.ScheduledProcedureStepID) == ("П1", "A1", "2.25.7", "R1", "S1")
    assert found.dataset == b"as shown"
