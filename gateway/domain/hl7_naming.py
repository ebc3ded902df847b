"""Whether a message as it was received, or is sent, names a patient by number: for erasing it.

It is looked for where HL7 v2.5.1 has patient numbers (PID-2, 3, 4, 18, 19; MRG-1 to 4, each repetition), in the bytes
themselves: a message that could not be understood names its patient too. Of an order in the JSON form of a program: in
its patient's identifiers. Several messages in one file are looked through one by one, each with its own separators.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

_NUMBERS: Final = {b"PID": (2, 3, 4, 18, 19), b"MRG": (1, 2, 3, 4)}
_HEADERS: Final = frozenset({b"MSH", b"BHS", b"FHS"})
_ENDS: Final = re.compile(rb"[\r\n\x0b\x1c]+")
_USUAL: Final = b"|^~\\&"
_CODECS: Final = ("utf-8", "latin-1")


def names_patient(raw: bytes, PatientID: str) -> bool:
    """Whether `raw` names the patient of exactly this number."""
    if raw.lstrip()[:1] == b"{":
        return PatientID in _identifiers(raw)
    marks = _USUAL
    for line in _ENDS.split(raw):
        segment = line.lstrip(b" \t\xef\xbb\xbf")
        if segment[:3] in _HEADERS and len(segment) >= 3 + len(marks):
            marks = segment[3 : 3 + len(marks)]
        elif segment[:3] in _NUMBERS and not _written(PatientID, marks).isdisjoint(_numbers(segment, marks)):
            return True
    return False


def _identifiers(raw: bytes) -> list[str]:
    try:
        return [str(one["value"]).strip() for one in json.loads(raw)["patient"]["identifiers"]]
    except (ValueError, KeyError, TypeError, RecursionError):  # null or absent: known by other numbers; or no order
        return []


def _numbers(segment: bytes, marks: bytes) -> Iterator[bytes]:
    """The first component of each repetition of the fields that hold patient numbers."""
    field, component, repetition, _, part = (marks[n : n + 1] for n in range(5))
    fields = segment.split(field)
    for number in _NUMBERS[segment[:3]]:
        for one in fields[number].split(repetition) if number < len(fields) else ():
            yield one.split(component)[0].split(part)[0].strip(b' "')


def _written(PatientID: str, marks: bytes) -> frozenset[bytes]:
    """The number as a message has it, separators escaped (chapter 2.7)."""
    escape = marks[3:4].decode("latin-1")
    letters = dict(zip(marks.decode("latin-1"), "FSRET", strict=True))
    escaped = "".join(f"{escape}{letters[one]}{escape}" if one in letters else one for one in PatientID)
    found = set()
    for codec in _CODECS:
        try:
            found.add(escaped.encode(codec))
        except UnicodeEncodeError:
            continue
    return frozenset(found)
