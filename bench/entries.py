"""Worklist entries for the bench: the same ones in our database and as the files that wlmscpfs and Orthanc read.

`STATION` entries share a Scheduled Station AE Title, so a query for one station has that many answers, and a
query for an Accession Number has one. Invented patients; all steps are of today.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from bench.places import BUILD
from gateway.dicom import part10
from gateway.dicom.elements import DataSet
from gateway.dicom.negotiation import EXPLICIT_VR_LITTLE_ENDIAN, MODALITY_WORKLIST
from gateway.domain.model import SourceName
from gateway.domain.worklist import columns, merge_key
from gateway.simulate.keywords import Values, data_set, decoder, encoded
from gateway.spool import Connection, Spool
from gateway.spool import worklist as copy
from gateway.spool.worklist import WorklistRow

STATION: Final = 200
AE: Final = "RIS"
"""The AE title, and folder, of the file-based servers."""
_SOURCE: Final = SourceName("ris")
_BATCH: Final = 5_000
_RETURNED: Final = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "RequestedProcedureDescription",
    "RequestedProcedureID",
)
_STEP_RETURNED: Final = (
    "Modality",
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepID",
)


def accession(number: int) -> str:
    return f"A{number:07}"


def station(number: int) -> str:
    """The station of an entry."""
    return f"ST{number // STATION:05}"


def query(*, accession_number: str = "", station_ae: str = "") -> bytes:
    """An identifier as a scanner asks it, Explicit VR Little Endian."""
    step: Values = {keyword: station_ae if keyword == "ScheduledStationAETitle" else "" for keyword in _STEP_RETURNED}
    keys: Values = {
        **{keyword: accession_number if keyword == "AccessionNumber" else "" for keyword in _RETURNED},
        "ScheduledProcedureStepSequence": [step],
    }
    return encoded(data_set(keys), EXPLICIT_VR_LITTLE_ENDIAN)


def _entry(number: int, day: date) -> DataSet:
    minute = number * 7 % 1440
    return data_set(
        {
            "AccessionNumber": accession(number),
            "ReferringPhysicianName": "TEST^REFERRER",
            "PatientName": f"TEST^PATIENT{number}",
            "PatientID": f"TEST{number:07}",
            "PatientBirthDate": "19700101",
            "PatientSex": "O",
            "StudyInstanceUID": f"2.25.{10**30 + number}",
            "RequestingPhysician": "TEST^REFERRER",
            "RequestedProcedureDescription": "CT THORAX",
            "RequestedProcedureID": f"P{number:07}",
            "RequestedProcedurePriority": "ROUTINE",
            "ScheduledProcedureStepSequence": [
                {
                    "Modality": "CT",
                    "ScheduledStationAETitle": station(number),
                    "ScheduledProcedureStepStartDate": f"{day:%Y%m%d}",
                    "ScheduledProcedureStepStartTime": f"{minute // 60:02}{minute % 60:02}00",
                    "ScheduledPerformingPhysicianName": "TEST^PERFORMER",
                    "ScheduledProcedureStepDescription": "CT THORAX",
                    "ScheduledProcedureStepID": f"S{number:07}",
                    "ScheduledStationName": "ROOM",
                    "ScheduledProcedureStepStatus": "SCHEDULED",
                }
            ],
        },
        "ISO_IR 100",
    )


def state_with(count: int) -> Path:
    """A state folder whose copy holds `count` entries; made once in a run of the bench."""
    home = _home(count)
    state = home / "state"
    if not state.exists():
        now = datetime.now(UTC)
        part = home / "part"
        shutil.rmtree(part, ignore_errors=True)
        with closing(Spool.open(part, now=lambda: now)) as spool:
            for rows in _batches(count, now.date()):

                def enter(c: Connection, rows: list[WorklistRow] = rows) -> None:
                    copy.replace_source(c, _SOURCE, rows=rows, now=now)

                spool.db.write(enter).result()
        part.rename(state)
    return state


def _batches(count: int, day: date) -> Iterator[list[WorklistRow]]:
    for first in range(0, count, _BATCH):
        yield [_row(_entry(number, day)) for number in range(first, min(first + _BATCH, count))]


def _row(entry: DataSet) -> WorklistRow:
    found = columns(entry, decoder(entry))
    return WorklistRow(
        source=_SOURCE,
        key=merge_key(entry),
        PatientID=found.PatientID,
        PatientName=found.PatientName,
        AccessionNumber=found.AccessionNumber,
        StudyInstanceUID=found.StudyInstanceUID,
        RequestedProcedureID=found.RequestedProcedureID,
        ScheduledProcedureStepID=found.ScheduledProcedureStepID,
        start_date=f"{found.start_date:%Y%m%d}" if found.start_date else "",
        start_time=f"{found.start_time:%H%M%S}" if found.start_time else "",
        Modality=found.Modality,
        ScheduledStationAETitle="\\".join(found.StationAETitles),
        status=found.status,
        dataset=encoded(entry, EXPLICIT_VR_LITTLE_ENDIAN),
    )


def folder_with(count: int) -> Path:
    """A folder whose subfolder RIS holds `count` entries as .wl files; made once in a run of the bench."""
    home = _home(count)
    files = home / "files"
    if not files.exists():
        now = datetime.now(UTC)
        part = home / "files-part" / AE
        shutil.rmtree(part.parent, ignore_errors=True)
        part.mkdir(parents=True)
        (part / "lockfile").touch()
        for number in range(count):
            body = encoded(_entry(number, now.date()), EXPLICIT_VR_LITTLE_ENDIAN)
            (part / f"{number:07}.wl").write_bytes(_meta(number, now) + body)
        part.parent.rename(files)
    return files


def _meta(number: int, now: datetime) -> bytes:
    return part10.build(
        SOPClassUID=MODALITY_WORKLIST,
        SOPInstanceUID=f"2.25.{10**30 + number}",
        TransferSyntaxUID=EXPLICIT_VR_LITTLE_ENDIAN,
        calling_ae="",
        called_ae="",
        address="",
        association="",
        received_at=now,
    ).header


def _home(count: int) -> Path:
    """Of this run alone: entries are of today, and the schema may have changed since the last."""
    return BUILD / "worklist" / f"{count}-{os.getpid()}"
