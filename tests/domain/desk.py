"""Entries and orders for the tests of the desk."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from gateway.domain.desk import DeskPolicy, Entry, Request, entry_of
from gateway.domain.desk_orders import RealOrder
from gateway.domain.model import UID, SourceName

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
STUDY = UID("2.25.329800735698586629295641978511506172918")
POLICY = DeskPolicy(
    accession_prefix="DT",
    patient_id_prefix="DTP",
    unknown_name="UNKNOWN^<accession>",
    expires=timedelta(hours=24),
    most_open=200,
)


def request(**values: Any) -> Request:
    return Request(**{"stations": ("CT1",), "Modality": "CT", **values})


def entry(code: str = "00000J4100", **values: Any) -> Entry:
    return entry_of(
        request(**values),
        policy=POLICY,
        code=code,
        uid=STUDY,
        number=1,
        now=NOW,
        start=NOW.replace(tzinfo=None),
        by="test",
    )


def order(**values: Any) -> RealOrder:
    known = {
        "source": SourceName("main"),
        "AccessionNumber": "A1",
        "StudyInstanceUID": "1.2.3",
        "PatientID": "P1",
        "IssuerOfPatientID": "",
        "PatientName": "TEST^ADA",
        "PatientBirthDate": "19800101",
        "RequestedProcedureID": "R1",
        "Modality": "CT",
        "start": date(2026, 3, 1),
    }
    return RealOrder(**{**known, **values})
