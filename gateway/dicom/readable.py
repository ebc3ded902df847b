"""A data set as a table that a person can read and write, and back: keywords of the standard, text in Unicode.

What is promised: `data_set(table(d)) == d` up to the padding of values, for every data set that `elements.parse`
gives. A value is text where text alone leads back to the same bytes in the character sets that the table
declares; else it is `{ vr, hex }`, so bytes that are wrong stay as wrong as they were.

    PatientName = "M\u00fcller^\u00c4nne"
    ScheduledProcedureStepSequence = [{ Modality = "CT" }]
    "0009,1001" = { vr = "LO", text = "private" }

Failure: ValueError, naming the key and the remedy, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from gateway.dicom import charset
from gateway.dicom.elements import DataSet, Element

Table: TypeAlias = "dict[str, Any]"
"""Text, `{ vr, text | hex | items }` or a list of tables, by keyword or "gggg,eeee"."""

SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TAG: Final = re.compile(r"([0-9a-f]{4}),([0-9a-f]{4})")
_VR: Final = re.compile(r"[A-Z]{2}")
_TEXTUAL: Final = frozenset({
    *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"),
})  # fmt: skip


def table(dataset: DataSet, sets: list[str] | None = None) -> Table:
    """The table of a data set; `sets` are those of the data set around it."""
    declared = dataset.get(SPECIFIC_CHARACTER_SET)
    if declared is not None and isinstance(declared.value, bytes):
        sets = charset.character_sets(declared.value)
    return dict(_entry(tag, element, sets or []) for tag, element in dataset.items())


def _entry(tag: int, element: Element, sets: list[str]) -> tuple[str, object]:
    keyword = keyword_for_tag(tag)
    known = bool(keyword) and tag_for_keyword(keyword) == tag and dictionary_VR(tag) == element.vr
    name = keyword if known else f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
    if isinstance(element.value, list):
        items = [table(item, sets) for item in element.value]
        return name, items if known else {"vr": element.vr, "items": items}
    text = _text(element.vr, element.value.rstrip(b" \0"), sets)
    if text is None:
        return name, {"vr": element.vr, "hex": element.value.hex()}
    return name, text if known else {"vr": element.vr, "text": text}


def _text(vr: str, value: bytes, sets: list[str]) -> str | None:
    """The text that leads back to these bytes; None if none does."""
    if vr not in _TEXTUAL:
        return None
    found = charset.decode_checked(value, vr, sets)
    if not found.faithful or not all(letter.isprintable() or letter in "\r\n\t\f" for letter in found.text):
        return None
    try:
        return found.text if charset.encode(found.text, vr, sets) == value else None
    except charset.CharsetError:
        return None


def data_set(table: Mapping[str, Any], sets: list[str] | None = None) -> DataSet:
    """The data set of a table. Raises ValueError for what is none."""
    declared = table.get("SpecificCharacterSet")
    if isinstance(declared, str):
        sets = charset.character_sets(declared.encode("ascii", "replace"))
    made: DataSet = {}
    for name, value in table.items():
        tag, vr = _tag_and_vr(name)
        made[tag] = _element(name, vr, value, sets or [])
    return dict(sorted(made.items()))


def _tag_and_vr(name: str) -> tuple[int, str]:
    by_number = _TAG.fullmatch(name)
    if by_number is not None:
        return int(by_number[1] + by_number[2], 16), ""
    tag = tag_for_keyword(name)
    if tag is None:
        raise ValueError(f"{name}: no keyword of PS3.6; write one such as PatientID, or a tag as gggg,eeee")
    return int(tag), dictionary_VR(tag)


def _element(name: str, vr: str, value: object, sets: list[str]) -> Element:
    if isinstance(value, Mapping):
        vr = value.get("vr", "")
        if not isinstance(vr, str) or _VR.fullmatch(vr) is None:
            raise ValueError(f'{name}: its vr is none; write vr = "LO" and text, hex or items')
        content = [value[key] for key in ("hex", "text", "items") if key in value]
        if len(content) == 1:
            if isinstance(value.get("hex"), str):
                return Element(vr, _bytes(name, value["hex"]))
            return _element(name, vr, content[0], sets)
    elif isinstance(value, str) and vr in _TEXTUAL:
        try:
            return Element(vr, charset.encode(value, vr, sets))
        except charset.CharsetError:
            remedy = "declare another SpecificCharacterSet, or write hex"
            raise ValueError(f"{name}: does not fit the declared character set; {remedy}") from None
    elif isinstance(value, list) and vr == "SQ" and all(isinstance(item, Mapping) for item in value):
        return Element(vr, [data_set(item, sets) for item in value])
    raise ValueError(f"{name}: neither text nor a list of tables; write it so, or as vr with text, hex or items")


def _bytes(name: str, digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError(f"{name}: its hex is none; write two digits for each byte") from None
