"""What we ask a RIS: a scanner's query on its way up, and the broad query that refreshes the copy.

Promises (PS3.4 Table K.6-1):

* Every question asks for all the return keys we know (`RETURN_KEYS`), so that any answer can be
  kept in the copy, merged by its identifiers and matched again.
* A widened query asks for no less than the query says by the letter of the standard: forms that only
  we understand are sent empty, all other keys as they are. Every key is applied again here
  (`matching`), for a RIS may ignore the optional ones and answer more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final, TypeAlias

from gateway.domain.keys import CASELESS, date_spans, time_spans
from gateway.domain.worklist import (
    MAX_DEPTH,
    PATIENT_ID,
    QUERY_RETRIEVE_LEVEL,
    SPS_SEQUENCE,
    SPS_START_DATE,
    DataSet,
    Element,
    Value,
    all_values,
    decoded,
)

Keys: TypeAlias = "Mapping[int, str | Keys]"
"""VR by tag, or the keys of an item for a sequence."""

_CODE: Final[Keys] = {0x00080100: "SH", 0x00080102: "SH", 0x00080103: "SH", 0x00080104: "LO"}
_REFERENCE: Final[Keys] = {0x00081150: "UI", 0x00081155: "UI"}
_ISSUER: Final[Keys] = {0x00400031: "UT", 0x00400032: "UT", 0x00400033: "CS"}
_STEP: Final[Keys] = {
    0x00080060: "CS",  # Modality, 1
    0x00321070: "LO",  # Requested Contrast Agent, 2C
    0x00400001: "AE",  # Scheduled Station AE Title, 1
    0x00400002: "DA",  # Scheduled Procedure Step Start Date, 1
    0x00400003: "TM",  # Scheduled Procedure Step Start Time, 1
    0x00400006: "PN",  # Scheduled Performing Physician's Name, 2
    0x00400007: "LO",  # Scheduled Procedure Step Description, 1C
    0x00400008: _CODE,  # Scheduled Protocol Code Sequence, 1C
    0x00400009: "SH",  # Scheduled Procedure Step ID, 1
    0x00400010: "SH",  # Scheduled Station Name, 2
    0x00400011: "SH",  # Scheduled Procedure Step Location, 2
    0x00400012: "LO",  # Pre-Medication, 2C
    0x00400020: "CS",  # Scheduled Procedure Step Status, 3: decides what is hidden
    0x00400400: "LT",  # Comments on the Scheduled Procedure Step, 3
}
RETURN_KEYS: Final[Keys] = {
    0x00080050: "SH",  # Accession Number, 2
    0x00080051: _ISSUER,  # Issuer of Accession Number Sequence, 3: an accession is unique with its issuer
    0x00080090: "PN",  # Referring Physician's Name, 2
    0x00081110: _REFERENCE,  # Referenced Study Sequence, 2
    0x00081120: _REFERENCE,  # Referenced Patient Sequence, 2
    0x00100010: "PN",  # Patient's Name, 1
    0x00100020: "LO",  # Patient ID, 1
    0x00100021: "LO",  # Issuer of Patient ID, 3: as the accession's
    0x00100030: "DA",  # Patient's Birth Date, 2
    0x00100040: "CS",  # Patient's Sex, 2
    0x00101020: "DS",  # Patient's Size, 3: dose and ultrasound need it
    0x00101030: "DS",  # Patient's Weight, 2
    0x00102000: "LO",  # Medical Alerts, 2
    0x00102110: "LO",  # Allergies, 2
    0x001021C0: "US",  # Pregnancy Status, 2
    0x0020000D: "UI",  # Study Instance UID, 1
    0x00321032: "PN",  # Requesting Physician, 2
    0x00321060: "LO",  # Requested Procedure Description, 1C
    0x00321064: _CODE,  # Requested Procedure Code Sequence, 1C
    0x00380010: "LO",  # Admission ID, 2
    0x00380050: "LO",  # Special Needs, 2
    0x00380300: "LO",  # Current Patient Location, 2
    0x00380500: "LO",  # Patient State, 2
    0x00400100: _STEP,  # Scheduled Procedure Step Sequence, 1
    0x00401001: "SH",  # Requested Procedure ID, 1
    0x00401002: "LO",  # Reason for the Requested Procedure, 3
    0x00401003: "SH",  # Requested Procedure Priority, 2
    0x00401004: "LO",  # Patient Transport Arrangements, 2
    0x00401400: "LT",  # Requested Procedure Comments, 3
    0x00402016: "LO",  # Placer Order Number, 3: for matching orders
    0x00402017: "LO",  # Filler Order Number, 3: for matching orders
    0x00403001: "LO",  # Confidentiality Constraint on Patient Data, 2
}
"""The keys of Table K.6-1 of types 1, 1C, 2 and 2C, and those of type 3 that we or scanners need.

Address, telephone, language, ethnic group and other identifiers are left out on purpose: they are
asked for only when a scanner does.
"""


def refresh_identifier(window_from: date, window_to: date) -> DataSet:
    """The broad query that refreshes the copy: everything that starts within these days, inclusive."""
    identifier = _universal(RETURN_KEYS)
    window = f"{_da(window_from)}-{_da(window_to)}".encode()
    step = {**_universal(_STEP), SPS_START_DATE: Element("DA", window)}
    identifier[SPS_SEQUENCE] = Element("SQ", [dict(sorted(step.items()))])
    return identifier


def any_identifier() -> DataSet:
    """The query that every row matches: what a RIS is asked whether it knows of any."""
    return _universal(RETURN_KEYS)


def patient_identifier(patient_id: str) -> DataSet:
    """The query for one patient, as a scanner asks it. `patient_id`: ASCII, without wildcards."""
    return {**_universal(RETURN_KEYS), PATIENT_ID: Element("LO", patient_id.encode("ascii"))}


def _da(day: date) -> str:
    return day.isoformat().replace("-", "")  # strftime doesn't pad years before 1000 everywhere


def _universal(keys: Keys) -> dict[int, Element]:
    return {
        tag: Element(vr, b"") if isinstance(vr, str) else Element("SQ", [_universal(vr)])
        for tag, vr in sorted(keys.items())
    }


def widen(identifier: DataSet) -> DataSet:
    """A scanner's query as we ask it of a RIS: all our return keys, with the query's own laid over them.

    Keys of names, patients, orders, stations and dates keep their values, so a RIS that knows them
    answers little. Changed is only what a RIS would misread: dates and times in a retired notation are
    written in today's and those that mean "any" are emptied; AE and CS with several values or wildcards,
    which are ours alone to understand, are emptied too, and other AE and CS values trimmed and upper-cased (CS).
    Query/Retrieve Level and group lengths, which have no place in a worklist query, are left out.
    """
    return _laid_over(_universal(RETURN_KEYS), identifier, 0)


def _laid_over(universal: DataSet, keys: DataSet, depth: int) -> dict[int, Element]:
    merged = {tag: Element(*element) for tag, element in universal.items()}
    for tag, (vr, value) in keys.items():
        if tag == QUERY_RETRIEVE_LEVEL or tag & 0xFFFF == 0:
            continue
        ours = merged.get(tag)
        if ours is not None and not isinstance(ours.value, bytes):
            merged[tag] = _items(ours.value[0], value, depth)
        elif isinstance(value, bytes):
            known = vr if ours is None else ours.vr
            merged[tag] = Element(known, _canonical(known, value))
        else:
            merged[tag] = Element("SQ", list(value))
    return dict(sorted(merged.items()))


def _items(universal: DataSet, value: Value, depth: int) -> Element:
    """One item, as the standard allows: several are alternatives to us alone, so they are asked for universally."""
    if isinstance(value, bytes) or len(value) != 1 or depth >= MAX_DEPTH:
        return Element("SQ", [universal])
    return Element("SQ", [_laid_over(universal, value[0], depth + 1)])


def _canonical(vr: str, value: bytes) -> bytes:
    key = decoded(value, vr)
    if vr in CASELESS:
        if len(all_values(key)) > 1 or "*" in key or "?" in key:
            return b""
        trimmed = value.strip(b" \0")
        return trimmed.upper() if vr == "CS" else trimmed
    if vr == "DA":
        return _date_key(key)
    return (b"" if time_spans(key) == () else key.replace(":", "").encode("latin-1")) if vr == "TM" else value


def _date_key(key: str) -> bytes:
    spans = date_spans(key)
    if spans is None:
        return key.encode("latin-1")
    if len(spans) != 1:
        return b""
    low = "" if spans[0].low == date.min else _da(spans[0].low)
    high = "" if spans[0].high == date.max else _da(spans[0].high)
    return (f"{low}-{high}" if spans[0].is_range else low).encode()
