"""Rows of the worklist between their forms: as a RIS sent them, as the copy keeps them, as a scanner is answered.

What is promised: rows are parsed once while they are in use; what is kept is bounded in number and in size, as
peers choose the rows.
"""

from __future__ import annotations

import functools
from datetime import date
from typing import TypeAlias

from gateway.dicom import charset, elements
from gateway.domain.matching import Prefilter
from gateway.domain.model import SourceName
from gateway.domain.worklist import (
    ISSUER_OF_PATIENT_ID,
    SPECIFIC_CHARACTER_SET,
    DataSet,
    Decode,
    issuer_of_accession,
    split_steps,
    text,
    validate_row,
)
from gateway.spool.rows import row_of
from gateway.spool.worklist import WorklistKeys, WorklistRow

VALUE_KEPT = 256
"""Bytes of a value whose text is kept."""
ROWS_KEPT = 256
"""Parsed rows, of about ten kilobytes each."""

Shape: TypeAlias = "tuple[tuple[int, str, tuple[Shape, ...]], ...]"


def validated(name: SourceName, whole: DataSet) -> tuple[dict[str, WorklistRow], int]:
    """The rows of one response that can be kept, one per step by its merge key, and how many steps can not."""
    rows: dict[str, WorklistRow] = {}
    refused = 0
    for dataset in split_steps(whole):
        if validate_row(dataset):
            refused += 1
        else:
            issued = {
                "IssuerOfAccessionNumber": issuer_of_accession(dataset),
                "IssuerOfPatientID": text(dataset, ISSUER_OF_PATIENT_ID),
            }
            row = row_of(name, dataset, decoder(dataset), **issued)
            rows[row.key] = row
    return rows, refused


def shape_of(identifier: DataSet) -> Shape:
    """What a query asks for, without the values it asks by: answers of one shape are made once."""
    return tuple(
        (tag, vr, () if isinstance(value, bytes) else tuple(map(shape_of, value)))
        for tag, (vr, value) in identifier.items()
    )


def size_of(shape: Shape) -> int:
    """How many keys, nested ones included."""
    return sum(1 + sum(map(size_of, items)) for _, _, items in shape)


def identifier_of(shape: Shape) -> DataSet:
    """The identifier that asks for this shape and matches everything."""
    return {tag: (vr, list(map(identifier_of, items)) if vr == "SQ" else b"") for tag, vr, items in shape}


@functools.lru_cache(maxsize=ROWS_KEPT)
def parsed(dataset: bytes) -> elements.DataSet:
    """A row as the copy keeps it."""
    return elements.parse(dataset, elements.EXPLICIT_LITTLE)


def decoder(dataset: DataSet) -> Decode:
    """How to read the text of a data set: by the character sets it declares (PS3.3 C.12.1.1.2)."""
    element = dataset.get(SPECIFIC_CHARACTER_SET)
    names = charset.character_sets(element[1]) if element and isinstance(element[1], bytes) else []
    return functools.partial(_decode, tuple(names))


def _decode(names: tuple[str, ...], value: bytes, vr: str) -> str:
    return (_decode_once if len(value) <= VALUE_KEPT else _decode_once.__wrapped__)(names, value, vr)


@functools.lru_cache(maxsize=20_000)
def _decode_once(names: tuple[str, ...], value: bytes, vr: str) -> str:
    return charset.decode(value, vr, list(names))


def look_up_keys(prefilter: Prefilter) -> WorklistKeys:
    """What the index can look up of a query; alternatives it can't."""

    def only(values: tuple[str, ...] | None) -> str | None:
        return values[0] if values is not None and len(values) == 1 else None

    return WorklistKeys(
        AccessionNumber=prefilter.AccessionNumber,
        PatientID=prefilter.PatientID,
        Modality=only(prefilter.Modality),
        ScheduledStationAETitle=only(prefilter.StationAETitles),
        start_from=da(prefilter.date_from) if prefilter.date_from else None,
        start_to=da(prefilter.date_to) if prefilter.date_to else None,
    )


def da(day: date) -> str:
    """A day as a DA value, which sorts."""
    return day.isoformat().replace("-", "")
