"""A few values of an object's header as text, by keyword: what rules look at.

Promises: never raises for what the bytes contain, as `elements.leading`; text is decoded by the object's own
Specific Character Set (PS3.5 6.1.2); a value of several is all of them (PS3.5 6.4), stripped of padding; numbers are
as Python writes them. Sequences and bulk values have no text and are absent.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from gateway.dicom import charset
from gateway.dicom.elements import leading

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TAG: Final = re.compile(r"([0-9a-f]{4}),([0-9a-f]{4})")
_BINARY: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_ONE_TEXT: Final = frozenset({"LT", "ST", "UT", "UR"})
"""The backslash is a character of these (PS3.5 6.2)."""


def tag_of(key: str) -> int | None:
    """The tag of a keyword or of "gggg,eeee"; None if it is neither."""
    by_number = _TAG.fullmatch(key)
    if by_number is not None:
        return int(by_number[1] + by_number[2], 16)
    tag = tag_for_keyword(key) if key else None
    return None if tag is None else int(tag)


def header_values(data: bytes | memoryview, transfer_syntax: str, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The values of those keys that the data set has. A key that is no tag is passed over."""
    tags = {key: tag for key in keys if (tag := tag_of(key)) is not None}
    found = leading(data, transfer_syntax, frozenset({*tags.values(), _SPECIFIC_CHARACTER_SET}))
    sets = charset.character_sets(found.get(_SPECIFIC_CHARACTER_SET, b""))
    return {key: _texts(found[tag], _vr(key), sets) for key, tag in tags.items() if tag in found}


def _vr(key: str) -> str:
    return "LO" if _TAG.fullmatch(key) else dictionary_VR(key).split(" ", maxsplit=1)[0]


def _texts(value: bytes, vr: str, sets: list[str]) -> tuple[str, ...]:
    if vr in _BINARY:
        size = struct.calcsize(_BINARY[vr])
        whole = value[: len(value) // size * size]
        return tuple(str(number) for (number,) in struct.iter_unpack("<" + _BINARY[vr], whole))
    text = charset.decode(value, vr, sets)
    parts = [text] if vr in _ONE_TEXT else text.split("\\")
    return tuple(part.strip(" \0") for part in parts)
