"""Data sets written and read by DICOM keyword, for programs that play a peer.

What is promised: `data_set` gives the elements of `gateway.dicom.elements` with the VR of the standard's
dictionary (PS3.6) and text in UTF-8 or in the set that is asked for, declared in (0008,0005) where it is
needed; `text` reads a value in the character set that its data set declares. Failure: ValueError for a
keyword that the dictionary doesn't have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

from pydicom.datadict import dictionary_VR, tag_for_keyword

from gateway.dicom import charset, elements
from gateway.domain import worklist

Values: TypeAlias = "Mapping[str, str | Sequence[Values]]"
"""Text by keyword, or the items of a sequence."""

SPECIFIC_CHARACTER_SET: Final = 0x00080005


def tag(keyword: str) -> int:
    """The tag of a keyword. Raises ValueError if the dictionary has none."""
    found = tag_for_keyword(keyword)
    if found is None:
        raise ValueError(f"{keyword!r} is no DICOM keyword; write it as PS3.6 does, such as PatientID")
    return int(found)


def data_set(values: Values, character_set: str = "") -> elements.DataSet:
    """The elements of `values`; `character_set`, one or several, is declared if it is given (PS3.3 C.12.1.1.2)."""
    made = _made(values, charset.character_sets(character_set.encode()))
    if character_set:
        made[SPECIFIC_CHARACTER_SET] = elements.Element("CS", character_set.encode())
    return dict(sorted(made.items()))


def _made(values: Values, character_sets: list[str]) -> elements.DataSet:
    made: elements.DataSet = {}
    for keyword, value in values.items():
        number = tag(keyword)
        if isinstance(value, str):
            vr = dictionary_VR(number)
            made[number] = elements.Element(vr, charset.encode(value, vr, character_sets))
        else:
            made[number] = elements.Element("SQ", [_made(item, character_sets) for item in value])
    return made


def decoder(source: worklist.DataSet) -> worklist.Decode:
    """How the text of this data set is read."""
    declared = source.get(SPECIFIC_CHARACTER_SET)
    sets = charset.character_sets(declared[1]) if declared and isinstance(declared[1], bytes) else []
    return lambda value, vr: charset.decode(value, vr, sets)


def text(source: worklist.DataSet, keyword: str) -> str:
    """The value of a keyword, looked for in the data set and then in its Scheduled Procedure Step."""
    number, decode = tag(keyword), decoder(source)
    if number in source:
        return worklist.text(source, number, decode)
    step: worklist.DataSet = next(iter(worklist.items(source, worklist.SPS_SEQUENCE)), {})
    return worklist.text(step, number, decode)


def encoded(source: worklist.DataSet, transfer_syntax: str) -> bytes:
    """The bytes of a data set of the domain, whose elements are those of `elements` by shape."""
    return elements.encode(cast(elements.DataSet, source), transfer_syntax)
