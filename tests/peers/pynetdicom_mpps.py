"""pynetdicom as MPPS SCU and SCP (PS3.4 F.7), recording what really came over the wire."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import serving
from tests.peers.pynetdicom_scu import associated

NATIVE = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One N-CREATE or N-SET as it came; `dataset` verbatim, never parsed."""

    request: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    dataset: bytes
    calling_ae: str


@dataclass(slots=True, kw_only=True)
class MppsSCP:
    """A RIS. It answers by the rules of F.7.2 unless `answers` says a status (None: abort) for a request and UID."""

    port: int
    told: list[Told] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)
    """Performed Procedure Step Status by SOP Instance UID."""
    answers: Callable[[str, str], int | None] = lambda _request, _uid: -1
    """-1: as the standard says."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def requests(self, uid: str) -> list[str]:
        """What came about a step, in order."""
        return [one.request for one in self.told if one.SOPInstanceUID == uid]


@contextmanager
def mpps_scp(
    port: int | None = None,
    *,
    syntaxes: Sequence[str] = NATIVE,
    classes: Sequence[str] = (ModalityPerformedProcedureStep,),
) -> Iterator[MppsSCP]:
    """A RIS that takes performed procedure steps in these transfer syntaxes."""
    listen = port or free_port()
    scp = MppsSCP(port=listen)
    entity = AE(ae_title="RIS")
    entity.maximum_associations = 64
    for sop_class in classes:
        entity.add_supported_context(sop_class, list(syntaxes))
    handlers = [(evt.EVT_N_CREATE, _create, [scp]), (evt.EVT_N_SET, _set, [scp])]
    with serving(entity, listen, handlers):
        yield scp


def _create(event: Any, scp: MppsSCP) -> tuple[int, Dataset | None]:
    uid = str(event.request.AffectedSOPInstanceUID)
    status = _note(event, scp, "N-CREATE", uid, event.request.AttributeList)
    if status == -1:
        status = 0x0111 if uid in scp.steps else 0
    if status == 0:
        scp.steps[uid] = str(event.attribute_list.get("PerformedProcedureStepStatus", ""))
    return status, None


def _set(event: Any, scp: MppsSCP) -> tuple[int | Dataset, Dataset | None]:
    uid = str(event.request.RequestedSOPInstanceUID)
    status = _note(event, scp, "N-SET", uid, event.request.ModificationList)
    if status == -1:
        status = 0x0112 if uid not in scp.steps else 0
        if scp.steps.get(uid) in {"COMPLETED", "DISCONTINUED"}:
            final = Dataset()
            final.Status, final.ErrorID = 0x0110, 0xA710
            return final, None
    if status == 0:
        scp.steps[uid] = str(event.modification_list.get("PerformedProcedureStepStatus", scp.steps.get(uid, "")))
    return status, None


def _note(event: Any, scp: MppsSCP, request: str, uid: str, content: Any) -> int:
    told = Told(
        request=request,
        SOPInstanceUID=uid,
        TransferSyntaxUID=str(event.context.transfer_syntax),
        dataset=content.getvalue() if content else b"",
        calling_ae=str(event.assoc.requestor.ae_title),
    )
    with scp.changed:
        scp.told.append(told)
        scp.changed.notify_all()
    status = scp.answers(request, uid)
    if status is None:
        event.assoc.abort()
        return 0x0110
    return status


def begun(*, study: str = "2.25.1", sps: str = "S1", at: str = "120000") -> Dataset:
    """The attributes of an N-CREATE."""
    item = Dataset()
    item.StudyInstanceUID, item.AccessionNumber = study, "A1"
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "P1", sps
    item.ReferencedStudySequence = []
    step = Dataset()
    step.ScheduledStepAttributesSequence = [item]
    step.PatientName, step.PatientID = "TEST^ADA", "TEST-1"
    step.PerformedProcedureStepID, step.PerformedStationAETitle = "PPS1", "CT1"
    step.PerformedProcedureStepStartDate, step.PerformedProcedureStepStartTime = "20260301", at
    step.PerformedProcedureStepStatus, step.Modality = "IN PROGRESS", "CT"
    step.PerformedSeriesSequence = []
    return step


def ended(status: str = "COMPLETED", *, images: int = 2) -> Dataset:
    """The attributes of the last N-SET."""
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    if status == "DISCONTINUED":
        reason = Dataset()
        reason.CodeValue, reason.CodingSchemeDesignator = "110514", "DCM"
        reason.CodeMeaning = "Incorrect worklist entry selected"
        step.PerformedProcedureStepDiscontinuationReasonCodeSequence = [reason]
    series = Dataset()
    series.SeriesInstanceUID, series.ProtocolName = "2.25.7", "CT THORAX"
    series.ReferencedImageSequence = []
    for number in range(images):
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"2.25.8{number}"
        series.ReferencedImageSequence.append(image)
    step.PerformedSeriesSequence = [series]
    return step


class Scanner:
    """An MPPS SCU; each call is an association of its own. Where no answer came its status is an empty data set."""

    def __init__(self, port: int, *, calling: str = "CT1", called: str = "GATEWAY", syntax: str = NATIVE[0]) -> None:
        self._to = {"called": called, "calling": calling}
        self._port = port
        self._syntax = syntax

    def create(self, step: Dataset, uid: str | None) -> Dataset:
        """N-CREATE; the response's status, with its SOP Instance UID as `uid` if it came."""
        return self._ask("send_n_create", step, uid)

    def set(self, step: Dataset, uid: str) -> Dataset:
        """N-SET; the response's status."""
        return self._ask("send_n_set", step, uid)

    def _ask(self, method: str, step: Dataset, uid: str | None) -> Dataset:
        contexts = [build_context(ModalityPerformedProcedureStep, self._syntax)]
        with associated(self._port, contexts=contexts, **self._to) as assoc:
            if not assoc.is_established:
                return Dataset()
            status, _ = getattr(assoc, method)(step, ModalityPerformedProcedureStep, uid)
        return status


def encoded(step: Dataset, syntax: str = NATIVE[0]) -> bytes:
    """The attributes as a scanner sends them."""
    body = encode(step, syntax == ImplicitVRLittleEndian, is_little_endian=True)
    assert body is not None
    return body
