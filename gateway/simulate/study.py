"""Studies as a scanner makes them from a worklist entry: Part 10 files with pattern and noise for pixels.

What is promised: patient, study and request attributes are those of the entry, copied as IHE RAD TF-2 4.8
(appendix A) tells a modality; everything else comes from the arguments, so equal arguments make equal files.
Written with pydicom, not with our own encoder: a fault of ours shows against it. The pixels compress about as
well as real ones (a smooth pattern under noise of the lower bits). Nothing here is of a real patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.domain.worklist import DataSet
from gateway.simulate.keywords import encoded

EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."

_COPIED: Final = (
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "PregnancyStatus",
    "StudyInstanceUID",
    "RequestingPhysician",
    "AdmissionID",
)
_REQUEST: Final = (
    "AccessionNumber",
    "StudyInstanceUID",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)
_STEP: Final = ("ScheduledProcedureStepID", "ScheduledProcedureStepDescription", "ScheduledProtocolCodeSequence")
_PRESENT: Final = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
)
"""Type 2: in every image, empty where the entry has nothing."""


class Modality(StrEnum):
    CT = "CT"
    MR = "MR"
    US = "US"
    DX = "DX"
    SR = "SR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the objects of a modality are like."""

    SOPClassUID: str
    rows: int = 0
    columns: int = 0
    frames: int = 1
    """Frames of one object."""
    colour: bool = False
    bits: int = 16
    """Bits Stored."""


SHAPES: Final = {
    Modality.CT: Shape(SOPClassUID=_STORAGE + "2", rows=512, columns=512, bits=12),
    Modality.MR: Shape(SOPClassUID=_STORAGE + "4", rows=256, columns=256, bits=12),
    Modality.US: Shape(SOPClassUID=_STORAGE + "3.1", rows=240, columns=320, frames=20, colour=True, bits=8),
    Modality.DX: Shape(SOPClassUID=_STORAGE + "1.1", rows=2048, columns=2048, bits=14),
    Modality.SR: Shape(SOPClassUID=_STORAGE + "88.11"),
}


def make_study(
    entry: DataSet,
    modality: Modality,
    folder: Path,
    *,
    at: datetime,
    instances: int = 1,
    rows: int | None = None,
    columns: int | None = None,
    frames: int | None = None,
    seed: int = 0,
    series: int = 1,
    station_ae: str = "",
    transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN,
) -> list[Path]:
    """Write one series of `instances` objects for a worklist entry ({}: an unscheduled emergency patient).

    `at` is the moment of the examination, in the scanner's own time; sizes default to `SHAPES`. The
    transfer syntax is Explicit or Implicit VR Little Endian. Other seeds and series numbers make other
    SOP Instance UIDs.
    """
    base = SHAPES[modality]
    shape = Shape(
        SOPClassUID=base.SOPClassUID,
        rows=base.rows if rows is None else rows,
        columns=base.columns if columns is None else columns,
        frames=base.frames if frames is None else frames,
        colour=base.colour,
        bits=base.bits,
    )
    study = _header(entry, at, station_ae)
    study.Modality = modality.value
    study.SeriesNumber = series
    study.SeriesInstanceUID = _uid(study.StudyInstanceUID, modality, series, seed, at.isoformat())
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(1, instances + 1):
        study.SOPClassUID = shape.SOPClassUID
        study.SOPInstanceUID = _uid(study.SeriesInstanceUID, number)
        study.InstanceNumber = number
        _FILL[modality](study, shape, number, seed)
        path = folder / f"{modality.lower()}-{series}-{seed}-{number:05}.dcm"
        _write(study, path, transfer_syntax)
        written.append(path)
    return written


def _uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that is the same for the same parts."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest)}"


def _header(entry: DataSet, at: datetime, station_ae: str) -> Dataset:
    """What all objects of the study share."""
    order = pydicom.dcmread(BytesIO(encoded(entry, EXPLICIT_VR_LITTLE_ENDIAN)), force=True)
    steps = order.get("ScheduledProcedureStepSequence")
    step = steps[0] if steps else Dataset()
    study = Dataset()
    _copy(order, study, ("SpecificCharacterSet", *_COPIED))
    for keyword in _PRESENT:
        if keyword not in study:
            setattr(study, keyword, "")
    if not entry:
        study.PatientName = "TEST^UNSCHEDULED"
        study.PatientID = f"TEST-{at:%Y%m%d%H%M%S}"
    if not study.get("StudyInstanceUID"):
        study.StudyInstanceUID = _uid("unscheduled", at.isoformat(), study.PatientID)
    study.StudyID = str(order.get("RequestedProcedureID", ""))
    study.StudyDescription = str(order.get("RequestedProcedureDescription", "TEST"))
    study.SeriesDescription = str(step.get("ScheduledProcedureStepDescription", "TEST"))
    if order.get("ScheduledProcedureStepSequence"):
        request = Dataset()
        _copy(order, request, _REQUEST)
        _copy(step, request, _STEP)
        study.RequestAttributesSequence = [request]
    for what in ("Study", "Series", "Content", "Acquisition"):
        setattr(study, f"{what}Date", f"{at:%Y%m%d}")
        setattr(study, f"{what}Time", f"{at:%H%M%S}")
    study.Manufacturer = "TEST"
    study.ManufacturerModelName = "SIMULATED SCANNER"
    study.StationName = station_ae or str(step.get("ScheduledStationName", "TEST"))
    return study


def _copy(source: Dataset, target: Dataset, keywords: tuple[str, ...]) -> None:
    for keyword in keywords:
        if keyword in source:
            target[keyword] = source[keyword]


def _picture(shape: Shape, number: int, seed: int) -> NDArray[np.unsignedinteger[Any]]:
    """Rings that move from object to object, under noise of a sixteenth of the range."""
    noise = np.random.default_rng([seed, number])
    top = (1 << shape.bits) - 1
    y, x = np.ogrid[0 : shape.rows, 0 : shape.columns]
    distance = np.hypot(y - shape.rows / 2, x - shape.columns / 2)
    frames = []
    for frame in range(shape.frames):
        smooth = (np.cos(distance / 16 + (number + frame) / 4) + 1) * (top * 7 // 16)
        size = (shape.rows, shape.columns, 3) if shape.colour else (shape.rows, shape.columns)
        layer = smooth[..., np.newaxis] if shape.colour else smooth
        frames.append(np.clip(layer + noise.integers(0, max(top // 16, 1), size), 0, top))
    kind: type[np.unsignedinteger[Any]] = np.uint8 if shape.bits <= 8 else np.uint16
    return np.stack(frames).astype(kind)


def _fill_image(study: Dataset, shape: Shape, number: int, seed: int) -> None:
    """The image pixel module (PS3.3 C.7.6.3), and the multi-frame one where there are frames."""
    study.SamplesPerPixel = 3 if shape.colour else 1
    study.PhotometricInterpretation = "RGB" if shape.colour else "MONOCHROME2"
    if shape.colour:
        study.PlanarConfiguration = 0
    study.Rows, study.Columns = shape.rows, shape.columns
    study.BitsAllocated = 8 if shape.bits <= 8 else 16
    study.BitsStored, study.HighBit, study.PixelRepresentation = shape.bits, shape.bits - 1, 0
    if shape.frames > 1:
        study.NumberOfFrames = shape.frames
    pixels = _picture(shape, number, seed).tobytes()
    study.PixelData = pixels + b"\0" * (len(pixels) % 2)
    study["PixelData"].VR = "OB" if shape.bits <= 8 else "OW"


_ACQUIRED: Final[dict[Modality, dict[str, object]]] = {
    Modality.CT: {"KVP": 120, "AcquisitionNumber": 1},
    Modality.MR: {
        **{"ScanningSequence": "SE", "SequenceVariant": "NONE", "ScanOptions": None, "MRAcquisitionType": "2D"},
        **{"EchoTime": 10, "EchoTrainLength": 1, "RepetitionTime": 500},
    },
}
"""What the image modules of CT and MR ask for (PS3.3 C.8.2.1, C.8.3.1)."""


def _fill_slice(study: Dataset, shape: Shape, number: int, seed: int) -> None:
    """A CT or MR slice with its place in the patient (PS3.3 C.7.6.2)."""
    _fill_image(study, shape, number, seed)
    study.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    study.FrameOfReferenceUID = _uid(study.SeriesInstanceUID, "frame of reference")
    study.PositionReferenceIndicator = None
    for keyword, value in _ACQUIRED[Modality(study.Modality)].items():
        setattr(study, keyword, value)
    study.PatientPosition = "HFS"
    study.ImagePositionPatient = [0, 0, number]
    study.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    study.PixelSpacing = [0.7, 0.7]
    study.SliceThickness = 1
    study.RescaleIntercept, study.RescaleSlope = -1024, 1


def _fill_ultrasound(study: Dataset, shape: Shape, number: int, seed: int) -> None:
    _fill_image(study, shape, number, seed)
    study.ImageType = ["ORIGINAL", "PRIMARY"]
    study.FrameTime = 40
    study.FrameIncrementPointer = 0x00181063


def _fill_radiograph(study: Dataset, shape: Shape, number: int, seed: int) -> None:
    _fill_image(study, shape, number, seed)
    study.ImageType = ["ORIGINAL", "PRIMARY"]
    study.PresentationIntentType = "FOR PRESENTATION"
    study.PixelIntensityRelationship, study.PixelIntensityRelationshipSign = "LOG", -1
    study.ImagerPixelSpacing = [0.15, 0.15]


def _fill_report(study: Dataset, _shape: Shape, number: int, _seed: int) -> None:
    """A basic text report of one sentence (PS3.3 C.17)."""
    title, text = Dataset(), Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "18748-4", "LN", "Diagnostic imaging report"
    heading = Dataset()
    heading.CodeValue, heading.CodingSchemeDesignator, heading.CodeMeaning = "121071", "DCM", "Finding"
    text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
    text.ConceptNameCodeSequence, text.TextValue = [heading], f"TEST REPORT {number}, NO PATIENT"
    study.ValueType, study.ContinuityOfContent = "CONTAINER", "SEPARATE"
    study.ConceptNameCodeSequence, study.ContentSequence = [title], [text]
    study.CompletionFlag, study.VerificationFlag = "COMPLETE", "UNVERIFIED"


_FILL: Final[dict[Modality, Callable[[Dataset, Shape, int, int], None]]] = {
    Modality.CT: _fill_slice,
    Modality.MR: _fill_slice,
    Modality.US: _fill_ultrasound,
    Modality.DX: _fill_radiograph,
    Modality.SR: _fill_report,
}


def _write(study: Dataset, path: Path, transfer_syntax: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = study.SOPClassUID
    meta.MediaStorageSOPInstanceUID = study.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    study.file_meta = meta
    pydicom.dcmwrite(path, study, enforce_file_format=True)
