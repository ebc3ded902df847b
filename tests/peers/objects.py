"""Synthetic DICOM objects for tests: CT, MR, US multi-frame, DX and SR, deterministic by seed, patients TEST^...

The same arguments give the same bytes on every machine. Objects are complete enough for DCMTK, Orthanc and viewers;
values mean nothing. `write_huge` streams objects that must not be held in memory.
"""

import hashlib
import random
import struct
from collections.abc import Callable
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
_STEADY_BLOCK = 1 << 20
_MAX_OW = 0xFFFFFFFE


def uid(*names: object) -> str:
    """A valid UID made only of `names` (2.25 and 128 bits of a digest; PS3.5 B.2)."""
    digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16])}"


def noise(size: int, seed: object) -> bytes:
    """`size` bytes that depend on `seed` only; repeated each MiB so that large objects are cheap to make."""
    block = random.Random(f"{seed}").randbytes(min(size, _STEADY_BLOCK))
    return (block * (size // max(len(block), 1) + 1))[:size]


def ct(seed: int = 0, *, rows: int = 64, columns: int = 64, study: object = None, **values: object) -> FileDataset:
    ds = _image("CT", CTImageStorage, seed, study=study, rows=rows, columns=columns, bits=16)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.RescaleIntercept, ds.RescaleSlope, ds.KVP = "-1024", "1", "120"
    ds.PixelSpacing, ds.SliceThickness = ["0.5", "0.5"], "1"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = ["0", "0", str(seed)], ["1", "0", "0", "0", "1", "0"]
    return _with(ds, values)


def mr(seed: int = 0, *, rows: int = 64, columns: int = 64, study: object = None, **values: object) -> FileDataset:
    ds = _image("MR", MRImageStorage, seed, study=study, rows=rows, columns=columns, bits=16)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
    ds.EchoTime, ds.EchoTrainLength, ds.RepetitionTime = "10", "1", "500"
    return _with(ds, values)


def us(
    seed: int = 0, *, rows: int = 48, columns: int = 64, frames: int = 4, study: object = None, **values: object
) -> FileDataset:
    """Ultrasound multi-frame, 8-bit RGB, colour by pixel."""
    ds = _image("US", UltrasoundMultiFrameImageStorage, seed, study=study, rows=rows, columns=columns, bits=8)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.NumberOfFrames, ds.FrameTime = frames, "33.3"
    ds.FrameIncrementPointer = 0x00181063
    ds["PixelData"].VR = "OW"
    ds.PixelData = noise(rows * columns * 3 * frames, ("US", seed))
    return _with(ds, values)


def dx(seed: int = 0, *, rows: int = 128, columns: int = 96, study: object = None, **values: object) -> FileDataset:
    ds = _image("DX", DigitalXRayImageStorageForPresentation, seed, study=study, rows=rows, columns=columns, bits=16)
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.PresentationIntentType, ds.PixelIntensityRelationship = "FOR PRESENTATION", "LOG"
    ds.BodyPartExamined, ds.ViewPosition, ds.BurnedInAnnotation = "CHEST", "PA", "NO"
    return _with(ds, values)


def sr(seed: int = 0, *, text: str = "TEST finding", study: object = None, **values: object) -> FileDataset:
    """A Basic Text SR: no pixels, nested sequences."""
    ds = _common("SR", BasicTextSRStorage, seed, study=study)
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ContentDate, ds.ContentTime = "20260102", "120000"
    ds.ConceptNameCodeSequence = ItemSequence([_code("18748-4", "LN", "Diagnostic imaging report")])
    finding = Dataset()
    finding.RelationshipType, finding.ValueType, finding.TextValue = "CONTAINS", "TEXT", text
    finding.ConceptNameCodeSequence = ItemSequence([_code("121071", "DCM", "Finding")])
    ds.ContentSequence = ItemSequence([finding])
    return _with(ds, values)


KINDS: dict[str, Callable[..., FileDataset]] = {"CT": ct, "MR": mr, "US": us, "DX": dx, "SR": sr}


def write(folder: Path, ds: FileDataset, *, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write `ds` as a Part 10 file named by its SOP Instance UID.

    Native transfer syntaxes, Deflated, and RLE Lossless for images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if transfer_syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    if transfer_syntax == ExplicitVRBigEndian and ds.get("BitsAllocated") == 16:
        words = struct.unpack(f"<{len(ds.PixelData) // 2}H", ds.PixelData)
        ds.PixelData = struct.pack(f">{len(words)}H", *words)
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def study(
    folder: Path,
    kind: str = "CT",
    *,
    instances: int = 3,
    seed: int = 0,
    transfer_syntax: str = ExplicitVRLittleEndian,
    **options: object,
) -> list[Path]:
    """One study of one series: `instances` files that share patient, study and series."""
    make = KINDS[kind]
    made = (make(seed * 10_000 + number, study=f"{kind}/{seed}", **options) for number in range(instances))
    return [write(folder, ds, transfer_syntax=transfer_syntax) for ds in made]


def write_huge(path: Path, *, frames: int, frame_bytes: int, seed: int = 0, encapsulated: bool = False) -> Path:
    """Stream an ultrasound object of about `frames` x `frame_bytes` to `path`, holding one frame in memory.

    Native Pixel Data ends at 4 GiB - 2 (PS3.5 7.1); above it use `encapsulated` (Encapsulated Uncompressed
    Explicit VR LE, a fragment per frame, PS3.5 A.4.11). `frame_bytes` must be even.
    """
    if frame_bytes % 2 or (not encapsulated and frames * frame_bytes > _MAX_OW):
        msg = f"frame_bytes {frame_bytes} must be even and native pixels below 4 GiB; use encapsulated=True"
        raise ValueError(msg)
    ds = us(seed, rows=1, columns=2, frames=1)
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames, 1, min(frame_bytes // 3, 0xFFFF)
    del ds.PixelData
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta.TransferSyntaxUID = ENCAPSULATED_UNCOMPRESSED if encapsulated else ExplicitVRLittleEndian
    dcmwrite(path, ds, enforce_file_format=True)
    length = 0xFFFFFFFF if encapsulated else frames * frame_bytes
    frame = noise(frame_bytes, seed)
    with path.open("ab") as sink:
        sink.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB" if encapsulated else b"OW", 0, length))
        if encapsulated:
            sink.write(struct.pack("<HHL", 0xFFFE, 0xE000, 0))
        for _ in range(frames):
            sink.write((struct.pack("<HHL", 0xFFFE, 0xE000, frame_bytes) if encapsulated else b"") + frame)
        if encapsulated:
            sink.write(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
    return path


def scheduled(
    seed: int = 0,
    *,
    station: str = "CT1",
    modality: str = "CT",
    start: str = "20260102",
    name: str | None = None,
    **values: object,
) -> Dataset:
    """A worklist row as a RIS holds it (PS3.4 K.6.1.2.2), every type 1 value present."""
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = station, modality
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = start, f"{8 + seed % 10:02d}0000"
    step.ScheduledPerformingPhysicianName = "TEST^PHYSICIAN"
    step.ScheduledProcedureStepDescription = f"{modality} step {seed}"
    step.ScheduledProcedureStepID, step.ScheduledStationName = f"SPS{seed}", "ROOM1"
    row = Dataset()
    row.SpecificCharacterSet = "ISO_IR 100"
    row.AccessionNumber, row.ReferringPhysicianName = f"ACC{seed:05d}", "TEST^REFERRER"
    row.PatientName = name or f"TEST^PATIENT{seed}"
    row.PatientID, row.PatientBirthDate, row.PatientSex = f"TEST{seed:05d}", "19700101", "O"
    row.PatientWeight, row.MedicalAlerts, row.Allergies, row.PregnancyStatus = "70", "", "", 4
    row.StudyInstanceUID = uid("scheduled", seed)
    row.RequestingPhysician, row.RequestedProcedureDescription = "TEST^REQUESTER", f"{modality} procedure"
    row.RequestedProcedureID, row.RequestedProcedurePriority = f"RP{seed}", "ROUTINE"
    row.AdmissionID, row.CurrentPatientLocation, row.PatientTransportArrangements = f"ADM{seed}", "", ""
    row.ScheduledProcedureStepSequence = ItemSequence([step])
    for keyword, value in values.items():
        setattr(row, keyword, value)
    return row


def _common(modality: str, sop_class: str, seed: int, *, study: object) -> FileDataset:
    group = study if study is not None else f"{modality}/{seed}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid("instance", modality, group, seed)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    number = int(uid(group)[5:]) % 100_000
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", group), uid("series", group)
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "120000", "1"
    ds.Modality, ds.Manufacturer, ds.AccessionNumber = modality, "TEST", f"ACC{number}"
    ds.PatientName, ds.PatientID = f"TEST^PATIENT{number}", f"TEST{number:05d}"
    ds.PatientBirthDate, ds.PatientSex, ds.ReferringPhysicianName = "19700101", "O", ""
    ds.SeriesNumber, ds.InstanceNumber = 1, seed % 10_000 + 1
    return ds


def _image(
    modality: str, sop_class: str, seed: int, *, study: object, rows: int, columns: int, bits: int
) -> FileDataset:
    ds = _common(modality, sop_class, seed, study=study)
    ds.Rows, ds.Columns, ds.BitsAllocated = rows, columns, bits
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    ds.PixelData = noise(rows * columns * bits // 8, (modality, seed))
    ds["PixelData"].VR = "OW"
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _with(ds: FileDataset, values: dict[str, object]) -> FileDataset:
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds
