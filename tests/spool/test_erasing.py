"""A patient is erased from every book of the worklist, and nobody else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.dicom import elements
from gateway.domain.model import AETitle, SourceName
from gateway.domain.worklist import DataSet
from gateway.roles.worklist.rows import as_elements
from gateway.spool import Spool, audit, query_log, served, worklist
from gateway.spool.erasing import Erased, erase_patient
from gateway.spool.served import Shown
from tests.domain.rows import query, row
from tests.spool.objects import START, Clock, open_spool
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
        f"{int(copied)} rows, 1 snapshots, {naming} queries, 0 desk entries, 0 orders, 0 performed steps, 0 studies"
    )


def test_what_is_erased_is_gone_from_the_disk(tmp_path: Path, clock: Clock) -> None:
    spool = open_spool(tmp_path / "state", clock)
    fill(spool, copied=True)
    spool.db.write(lambda c: erase_patient(c, "P1", now=clock(), by="command")).result()
    spool.close()  # the log is written back
    kept = (tmp_path / "state" / "gateway.db").read_bytes()
    assert b"TEST^OTTO" in kept
    assert b"TEST^ADA" not in kept


def test_nobody_is_no_patient(spool: Spool, clock: Clock) -> None:
    fill(spool, copied=True)
    with pytest.raises(ValueError, match="PatientID is empty"):
        spool.db.write(lambda c: erase_patient(c, " ", now=clock(), by="command")).result()
    assert len(worklist.rows(spool.db.read(), worklist.WorklistKeys(), limit=9)) == 2
