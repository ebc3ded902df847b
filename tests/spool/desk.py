"""What the tests of the desk's books have in common, and a desk that is killed while it works (run as a program)."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.dicom import elements
from gateway.domain.desk import DeskPolicy, Entry
from gateway.domain.model import UID, SourceName
from gateway.spool import Spool, desk, worklist
from gateway.spool.worklist import WorklistRow
from tests.domain.desk import POLICY, request

MAIN = SourceName("main")


def add(
    spool: Spool,
    now: datetime,
    *,
    policy: DeskPolicy = POLICY,
    salt: Callable[[], int] = lambda: 7,
    uid: str = "",
    **values: Any,
) -> Entry:
    """An entry added now."""
    study = UID(uid or f"2.25.{uuid.uuid4().int}")
    asked = request(**values)
    return spool.db.write(
        lambda c: desk.add(c, asked, policy=policy, uid=study, salt=salt, now=now, local=now, by="test")
    ).result()


def real(source: SourceName = MAIN, *, birth_date: str = "19800101", **values: str) -> WorklistRow:
    """A row of a RIS."""
    dataset = {0x00100021: elements.Element("LO", b"HOSP"), 0x00100030: elements.Element("DA", birth_date.encode())}
    row = WorklistRow(
        source=source,
        key="k",
        PatientID="P1",
        PatientName="TEST^ADA",
        AccessionNumber="A1",
        StudyInstanceUID="1.2.3",
        RequestedProcedureID="R1",
        ScheduledProcedureStepID="S1",
        start_date="20260301",
        start_time="",
        Modality="CT",
        ScheduledStationAETitle="CT1",
        status="",
        dataset=elements.encode(dataset, elements.EXPLICIT_LITTLE),
    )
    changed = replace(row, **values)
    return replace(changed, key=f"{changed.AccessionNumber}|{changed.StudyInstanceUID}|{changed.PatientID}")


def arrive(spool: Spool, *rows: WorklistRow, now: datetime) -> None:
    """The RIS answers with these."""
    spool.db.write(lambda c: worklist.merge_answer(c, rows[0].source, rows=rows, now=now)).result()


def served(spool: Spool) -> list[str]:
    """The accession numbers of the desk's rows."""
    keys = worklist.WorklistKeys(source=SourceName("desk"))
    return [one.row.AccessionNumber for one in worklist.rows(spool.db.read(), keys, limit=999)]


def add_for_ever(state: Path, fatal: str) -> None:
    """Adds entry after entry and says each accession number once it is acknowledged, until it is killed: by itself
    when it comes to a statement that begins so."""
    spool = Spool.open(state, now=lambda: datetime.now(UTC))

    def traced(statement: str) -> None:
        if fatal and statement.startswith(fatal):
            os.kill(os.getpid(), signal.SIGKILL)

    spool.db.write(lambda c: c.set_trace_callback(traced)).result()
    while True:
        print(add(spool, datetime.now(UTC), policy=replace(POLICY, most_open=1_000_000)).AccessionNumber, flush=True)


if __name__ == "__main__":
    add_for_ever(Path(sys.argv[1]), sys.argv[2])
