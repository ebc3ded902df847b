"""Images of no patient whose compressed forms a person looks at before a destination gets real ones so.

A wedge, a disc and fine lines, in gray of 12 bits and in colour: what a viewer gets wrong (bits, planes, colour
transform, the last line) shows. All belong to one patient TEST^COMPRESSION; a series for each form, named after it.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
import xxhash
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

from gateway.dicom import part10
from gateway.domain.model import UID as Identifier
from gateway.domain.model import AETitle, Instance, InstanceId, Origin
from gateway.simulate.study import EXPLICIT_VR_LITTLE_ENDIAN

COMPRESSION: Final = "COMPRESSION"
PATIENT: Final = f"TEST^{COMPRESSION}"
_SIDE: Final = 256
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"


def write_test_image(
    path: Path, *, form: str, study: str, colour: bool, at: datetime, number: int, purpose: str = COMPRESSION
) -> Instance:
    """Write one as a Part 10 file, and return what the spool would know of it. `form` names its series, `purpose` its
    patient, who is none, and its study."""
    image = _described(form, study, at, number, purpose)
    pixels = _colour() if colour else _gray()
    image.SamplesPerPixel = 3 if colour else 1
    image.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        image.PlanarConfiguration = 0
    image.Rows = image.Columns = _SIDE
    image.BitsAllocated, image.BitsStored = (8, 8) if colour else (16, 12)
    image.HighBit, image.PixelRepresentation = image.BitsStored - 1, 0
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OB" if colour else "OW"
    content = BytesIO()
    pydicom.dcmwrite(content, image, enforce_file_format=True)
    path.write_bytes(content.getvalue())
    return _instance(content.getvalue(), image, at)


def _described(form: str, study: str, at: datetime, number: int, purpose: str) -> Dataset:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = UID(_SECONDARY_CAPTURE), generate_uid(prefix=None)
    image.StudyInstanceUID, image.SeriesInstanceUID = UID(study), generate_uid(prefix=None)
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = (
        f"TEST^{purpose}",
        "GATEWAY-TEST",
        "",
        "",
    )
    image.StudyDate = image.ContentDate = at.strftime("%Y%m%d")
    image.StudyTime = image.ContentTime = at.strftime("%H%M%S")
    image.AccessionNumber, image.ReferringPhysicianName, image.StudyID = "", "", "TEST"
    image.Modality, image.ConversionType = "OT", "SYN"
    image.StudyDescription, image.SeriesDescription = f"{purpose} TEST, NO PATIENT", form
    image.SeriesNumber, image.InstanceNumber = number, 1
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID = UID(EXPLICIT_VR_LITTLE_ENDIAN)
    meta.ImplementationClassUID = UID(part10.IMPLEMENTATION_CLASS_UID)
    image.file_meta = meta
    return image


def _gray() -> NDArray[np.uint16]:
    y, x = np.mgrid[:_SIDE, :_SIDE]
    wedge = x * 4095 // (_SIDE - 1)
    disc = (y - _SIDE / 2) ** 2 + (x - _SIDE / 2) ** 2 < (_SIDE / 4) ** 2
    lines = ((x // 2) % 2 == 0) & (y > _SIDE * 3 // 4)
    return np.where(lines, 4095, np.where(disc, 4095 - wedge, wedge)).astype("<u2")


def _colour() -> NDArray[np.uint8]:
    gray = (_gray() >> 4).astype(np.uint8)
    return np.stack([gray, gray.T, 255 - gray], axis=-1)


def _instance(content: bytes, image: Dataset, at: datetime) -> Instance:
    data_set = content[part10.read(content).data_offset :]
    return Instance(
        id=InstanceId(f"{image.SeriesNumber:022}"),
        SOPClassUID=Identifier(image.SOPClassUID),
        SOPInstanceUID=Identifier(image.SOPInstanceUID),
        TransferSyntaxUID=Identifier(EXPLICIT_VR_LITTLE_ENDIAN),
        StudyInstanceUID=Identifier(image.StudyInstanceUID),
        SeriesInstanceUID=Identifier(image.SeriesInstanceUID),
        content_hash=xxhash.xxh3_128_hexdigest(EXPLICIT_VR_LITTLE_ENDIAN.encode() + data_set),
        size=len(data_set),
        origin=Origin(calling_ae=AETitle(""), called_ae=AETitle(""), address="", association="", received_at=at),
    )
