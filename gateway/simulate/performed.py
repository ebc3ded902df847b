"""What a scanner says of a performed procedure step (PS3.4 Table F.7.2-1): its attributes at the beginning and the end.

What is promised: every attribute of type 1 and 2 that a scanner fills is there, made from the worklist entry that
the step is performed for; nothing is invented but the ids of the step itself. Written apart from the gateway's own
reading on purpose: a mistake there is not mirrored here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from gateway.dicom.elements import DataSet
from gateway.simulate.commitment import Reference
from gateway.simulate.keywords import Values, data_set, text

_SCHEDULED: Final = (
    "StudyInstanceUID",
    "AccessionNumber",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepDescription",
)
_PATIENT: Final = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")


def begun(entry: DataSet, *, at: datetime) -> DataSet:
    """The attributes of the N-CREATE for a worklist entry."""
    scheduled: Values = {keyword: text(entry, keyword) for keyword in _SCHEDULED} | {"ReferencedStudySequence": []}
    patient = {keyword: text(entry, keyword) for keyword in _PATIENT}
    return data_set(
        {
            **patient,
            "Modality": text(entry, "Modality"),
            "StudyID": "",
            "ReferencedPatientSequence": [],
            "ScheduledStepAttributesSequence": [scheduled],
            "PerformedStationAETitle": text(entry, "ScheduledStationAETitle"),
            "PerformedStationName": text(entry, "ScheduledStationName"),
            "PerformedLocation": "",
            "PerformedProcedureStepStartDate": f"{at:%Y%m%d}",
            "PerformedProcedureStepStartTime": f"{at:%H%M%S}",
            "PerformedProcedureStepID": f"{at:%H%M%S}",
            "PerformedProcedureStepEndDate": "",
            "PerformedProcedureStepEndTime": "",
            "PerformedProcedureStepStatus": "IN PROGRESS",
            "PerformedProcedureStepDescription": text(entry, "ScheduledProcedureStepDescription"),
            "PerformedProcedureTypeDescription": "",
            "ProcedureCodeSequence": [],
            "PerformedProtocolCodeSequence": [],
            "PerformedSeriesSequence": [],
        },
        "ISO_IR 192",
    )


def ended(made: Mapping[str, Sequence[Reference]], *, at: datetime, completed: bool) -> DataSet:
    """The attributes of the last N-SET; `made` is what was made, by Series Instance UID."""
    status = "COMPLETED" if completed else "DISCONTINUED"
    series: list[Values] = [
        {
            "PerformingPhysicianName": "TEST^PERFORMER",
            "OperatorsName": "",
            "ProtocolName": "TEST",
            "SeriesInstanceUID": uid,
            "SeriesDescription": "",
            "RetrieveAETitle": "",
            "ReferencedImageSequence": [
                {"ReferencedSOPClassUID": one.SOPClassUID, "ReferencedSOPInstanceUID": one.SOPInstanceUID}
                for one in references
            ],
            "ReferencedNonImageCompositeSOPInstanceSequence": [],
        }
        for uid, references in made.items()
    ]
    return data_set(
        {
            "PerformedProcedureStepEndDate": f"{at:%Y%m%d}",
            "PerformedProcedureStepEndTime": f"{at:%H%M%S}",
            "PerformedProcedureStepStatus": status,
            "PerformedSeriesSequence": series,
        }
    )
