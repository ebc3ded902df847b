"""A scheduled procedure step as a row of the copy, whoever told it.

What is promised: the columns by which a row is found are those of its data set, taken from it in one place.
"""

from __future__ import annotations

from typing import Any

from gateway.dicom import elements
from gateway.domain.model import SourceName
from gateway.domain.worklist import DataSet, Decode, columns, merge_key
from gateway.spool.worklist import WorklistRow


def row_of(source: SourceName, dataset: DataSet, decode: Decode, **beside: Any) -> WorklistRow:
    """The row of a data set with one step, which has a merge key. `beside`: what the data set does not tell."""
    found = columns(dataset, decode)
    return WorklistRow(
        source=source,
        key=merge_key(dataset),
        PatientID=found.PatientID,
        PatientName=found.PatientName,
        AccessionNumber=found.AccessionNumber,
        StudyInstanceUID=found.StudyInstanceUID,
        RequestedProcedureID=found.RequestedProcedureID,
        ScheduledProcedureStepID=found.ScheduledProcedureStepID,
        start_date=found.start_date.isoformat().replace("-", "") if found.start_date else "",
        start_time=found.start_time.strftime("%H%M%S") if found.start_time else "",
        Modality=found.Modality,
        ScheduledStationAETitle="\\".join(found.StationAETitles),
        status=found.status,
        dataset=elements.encode(as_elements(dataset), elements.EXPLICIT_LITTLE),
        **beside,
    )


def as_elements(dataset: DataSet) -> elements.DataSet:
    """A data set of the domain in the form that `elements` writes."""
    return {
        tag: elements.Element(vr, value if isinstance(value, bytes) else [*map(as_elements, value)])
        for tag, (vr, value) in dataset.items()
    }
