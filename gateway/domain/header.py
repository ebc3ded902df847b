"""The header of one image as the check sees it, read from its data elements (PS3.3 C.2, C.4, C.7, C.12).

Promises

* `read` never raises for what a data set contains: what can't be read counts as not there, and is named in
  `undecodable` or `invalid`.
* Nothing that differs between the images of a series is read, but for `SOPClassUID`.
* `excerpt` keeps every element that is read here and every one that may be corrected: with the `marks` of the whole,
  both can be made again from it without the file. Equal excerpts and marks are one header.

Data sets are those of `gateway.dicom.elements`, seen through their shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from pydicom.datadict import keyword_for_tag

from gateway.domain.edits import EDITABLE
from gateway.domain.identity_model import Header, Request
from gateway.domain.order_model import Code, Identifier
from gateway.domain.value_forms import fault_of
from gateway.domain.worklist import (
    ACCESSION_NUMBER,
    ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    ISSUER_OF_PATIENT_ID,
    LOCAL_NAMESPACE_ENTITY_ID,
    MODALITY,
    PATIENT_ID,
    PATIENT_NAME,
    REQUESTED_PROCEDURE_ID,
    SPS_ID,
    STUDY_INSTANCE_UID,
    UNIVERSAL_ENTITY_ID,
    DataSet,
    Decode,
    all_values,
    first_value,
    items,
    text,
)

Readable = Callable[[bytes, str], bool]
"""(value, VR) -> whether the declared character set explains it."""

LAST: Final = 0x7FE00000
"""What is read of a header lies before the pixels."""
_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_SERIES_INSTANCE_UID: Final = 0x0020000E
_PROCEDURE_CODES: Final = 0x00081032
_PATIENT_QUALIFIERS: Final = 0x00100024
_OTHER_PATIENT_IDS: Final = 0x00101000
_OTHER_PATIENT_IDS_SEQUENCE: Final = 0x00101002
_DEIDENTIFIED: Final = 0x00120062
_LATERALITY: Final = 0x00200060
_IMAGE_LATERALITY: Final = 0x00200062
_BURNED_IN: Final = 0x00280301
_REQUESTS: Final = 0x00400275
_REFERENCED_REQUESTS: Final = 0x0040A370
_UNIVERSAL_TYPE: Final = 0x00400033
_MAC_PARAMETERS: Final = 0x4FFE0001
_SIGNATURES: Final = 0xFFFAFFFA
_OVERLAYS: Final = frozenset(0x60003000 | group << 16 for group in range(0, 0x20, 2))

_TEXTS: Final = {
    "SOPClassUID": _SOP_CLASS_UID,
    "StudyInstanceUID": STUDY_INSTANCE_UID,
    "PatientName": PATIENT_NAME,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
    "PatientAge": 0x00101010,
    "PatientSize": 0x00101020,
    "PatientWeight": 0x00101030,
    "StudyID": 0x00200010,
    "AdmissionID": 0x00380010,
    "ReferringPhysicianName": 0x00080090,
    "StudyDescription": 0x00081030,
    "SeriesDescription": 0x0008103E,
    "Modality": MODALITY,
    "StationName": 0x00081010,
    "PerformedStationAETitle": 0x00400241,
    "Manufacturer": 0x00080070,
    "InstitutionName": 0x00080080,
    "InstitutionalDepartmentName": 0x00081040,
    "BodyPartExamined": 0x00180015,
    "ProtocolName": 0x00181030,
    "StudyDate": 0x00080020,
    "StudyTime": 0x00080030,
    "SeriesDate": 0x00080021,
    "AcquisitionDate": 0x00080022,
    "TimezoneOffsetFromUTC": 0x00080201,
    "SpecificCharacterSet": 0x00080005,
}
_REQUIRED: Final = {
    _SOP_CLASS_UID: "SOPClassUID",
    _SOP_INSTANCE_UID: "SOPInstanceUID",
    MODALITY: "Modality",
    STUDY_INSTANCE_UID: "StudyInstanceUID",
    _SERIES_INSTANCE_UID: "SeriesInstanceUID",
}
"""Type 1 in every composite image, as far as the check depends on it."""
_READ: Final = frozenset(_TEXTS.values()) | {
    *(PATIENT_ID, ISSUER_OF_PATIENT_ID, _PATIENT_QUALIFIERS, _OTHER_PATIENT_IDS, _OTHER_PATIENT_IDS_SEQUENCE),
    *(ACCESSION_NUMBER, ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, _REQUESTS, _REFERENCED_REQUESTS, _PROCEDURE_CODES),
    *(_LATERALITY, _IMAGE_LATERALITY, _DEIDENTIFIED, _BURNED_IN),
}
KEPT: Final = _READ | frozenset(EDITABLE)
"""Tags of an excerpt."""
_TEXT_VRS: Final = frozenset({"SH", "LO", "ST", "LT", "PN", "UC", "UT"})
_LEAST_TELLING: Final = 4
"""Letters of an identifier that is looked for among private elements; a shorter one is found by chance."""


class Marks(NamedTuple):
    """What an excerpt doesn't hold: of the rest of the header, and of how the image came."""

    is_signed: bool
    has_overlay: bool
    has_private_copy: bool
    uids_disagree: bool
    missing: tuple[str, ...]


def excerpt(dataset: DataSet) -> DataSet:
    """The elements by which the check decides and those that it may correct."""
    return {tag: dataset[tag] for tag in dataset if tag in KEPT}


def marks(dataset: DataSet, *, sop_class: str, sop_instance: str) -> Marks:
    """Of a whole header. `sop_class` and `sop_instance` are those that the command set or the file meta named."""
    uids = ((sop_class, _SOP_CLASS_UID), (sop_instance, _SOP_INSTANCE_UID))
    return Marks(
        is_signed=_MAC_PARAMETERS in dataset or _SIGNATURES in dataset,
        has_overlay=not _OVERLAYS.isdisjoint(dataset),
        has_private_copy=_has_private_copy(dataset),
        uids_disagree=any((has := text(dataset, tag)) and has != named for named, tag in uids),
        missing=tuple(name for tag, name in _REQUIRED.items() if not text(dataset, tag)),
    )


def read(dataset: DataSet, decode: Decode, readable: Readable, marks: Marks) -> Header:
    """What the image says, from its header or the excerpt of it."""
    told: dict[str, Any] = {name: text(dataset, tag, decode) for name, tag in _TEXTS.items()}
    return Header(
        **told,
        PatientID=_patient_id(dataset, decode),
        OtherPatientIDs=tuple(_other_ids(dataset, decode)),
        accession=_accession(dataset, decode),
        requests=tuple(_requests(dataset, decode)),
        ProcedureCodeSequence=tuple(_codes(dataset, decode)),
        laterality=text(dataset, _LATERALITY) or text(dataset, _IMAGE_LATERALITY),
        is_deidentified=text(dataset, _DEIDENTIFIED).upper() == "YES",
        has_burned_in_text=text(dataset, _BURNED_IN).upper() == "YES" or marks.has_overlay,
        is_signed=marks.is_signed,
        has_private_copy=marks.has_private_copy,
        undecodable=tuple(_undecodable(dataset, readable)),
        invalid=tuple(_invalid(dataset)),
        missing=marks.missing,
        uids_disagree=marks.uids_disagree,
    )


def _patient_id(dataset: DataSet, decode: Decode) -> Identifier:
    universal = next(iter(items(dataset, _PATIENT_QUALIFIERS)), {})
    return Identifier(
        value=first_value(text(dataset, PATIENT_ID, decode)),
        authority=first_value(text(dataset, ISSUER_OF_PATIENT_ID, decode)),
        universal_id=text(universal, UNIVERSAL_ENTITY_ID, decode),
        universal_id_type=text(universal, _UNIVERSAL_TYPE),
    )


def _other_ids(dataset: DataSet, decode: Decode) -> Iterator[Identifier]:
    for item in items(dataset, _OTHER_PATIENT_IDS_SEQUENCE):
        other = _patient_id(item, decode)
        if other.value:
            yield other
    for value in all_values(text(dataset, _OTHER_PATIENT_IDS, decode)):
        yield Identifier(value=value)


def _accession(dataset: DataSet, decode: Decode) -> Identifier:
    issuer = next(iter(items(dataset, ISSUER_OF_ACCESSION_NUMBER_SEQUENCE)), {})
    return Identifier(
        value=first_value(text(dataset, ACCESSION_NUMBER, decode)),
        authority=text(issuer, LOCAL_NAMESPACE_ENTITY_ID, decode),
        universal_id=text(issuer, UNIVERSAL_ENTITY_ID, decode),
        universal_id_type=text(issuer, _UNIVERSAL_TYPE),
    )


def _requests(dataset: DataSet, decode: Decode) -> Iterator[Request]:
    for item in (*items(dataset, _REQUESTS), *items(dataset, _REFERENCED_REQUESTS)):
        yield Request(
            StudyInstanceUID=text(item, STUDY_INSTANCE_UID),
            accession=_accession(item, decode),
            RequestedProcedureID=text(item, REQUESTED_PROCEDURE_ID, decode),
            ScheduledProcedureStepID=text(item, SPS_ID, decode),
        )


def _codes(dataset: DataSet, decode: Decode) -> Iterator[Code]:
    for item in items(dataset, _PROCEDURE_CODES):
        yield Code(
            CodeValue=text(item, 0x00080100, decode),
            CodingSchemeDesignator=text(item, 0x00080102, decode),
            CodeMeaning=text(item, 0x00080104, decode),
        )


def _has_private_copy(dataset: DataSet) -> bool:
    """Whether a private element holds the PatientID or the PatientName, as bytes."""
    telling = []
    for tag in (PATIENT_ID, PATIENT_NAME):
        value = dataset.get(tag, ("", b""))[1]
        if isinstance(value, bytes) and len(value.strip(b" \0^")) >= _LEAST_TELLING:
            telling.append(value.strip(b" \0^"))
    private = (dataset[tag][1] for tag in dataset if tag >> 16 & 1)
    return any(isinstance(value, bytes) and any(one in value for one in telling) for value in private)


def _undecodable(dataset: DataSet, readable: Readable) -> Iterator[str]:
    for tag in sorted(_READ & dataset.keys()):
        vr, value = dataset[tag]
        if vr in _TEXT_VRS and isinstance(value, bytes) and not (value.isascii() or readable(value, vr)):
            yield keyword_for_tag(tag)


def _invalid(dataset: DataSet) -> Iterator[str]:
    for tag in sorted(_READ & dataset.keys()):
        vr, value = dataset[tag]
        if isinstance(value, bytes) and fault_of(value, vr):
            yield keyword_for_tag(tag)
