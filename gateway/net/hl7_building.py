"""Messages of ours, built and checked by `hl7apy` against the structure of their version (issue 5).

Promises: what is returned is the message that was asked for, segment by segment; hl7apy puts the segments into the
groups of the structure and says whether anything required is missing. It takes up to 100 ms and 14 MB of tables:
call it from a thread that nobody waits for, never on a way in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any, Final

from gateway.domain.order_notice import Draft

_GROUPS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("ORM_O01", "PID"): ("ORM_O01_PATIENT",),
    ("ORM_O01", "ORC"): ("ORM_O01_ORDER",),
    ("ORM_O01", "OBR"): ("ORM_O01_ORDER", "ORM_O01_ORDER_DETAIL", "ORM_O01_CHOICE"),
    ("OMI_O23", "PID"): ("OMI_O23_PATIENT",),
    ("OMI_O23", "ORC"): ("OMI_O23_ORDER",),
    ("OMI_O23", "OBR"): ("OMI_O23_ORDER",),
    ("OMI_O23", "IPC"): ("OMI_O23_ORDER",),
    ("ORU_R01", "PID"): ("ORU_R01_PATIENT_RESULT", "ORU_R01_PATIENT"),
    ("ORU_R01", "ORC"): ("ORU_R01_PATIENT_RESULT", "ORU_R01_ORDER_OBSERVATION"),
    ("ORU_R01", "OBR"): ("ORU_R01_PATIENT_RESULT", "ORU_R01_ORDER_OBSERVATION"),
    ("ORU_R01", "OBX"): ("ORU_R01_PATIENT_RESULT", "ORU_R01_ORDER_OBSERVATION", "ORU_R01_OBSERVATION"),
}
_REPEATS: Final = {("ORM_O01", "ORC"): 0, ("ORU_R01", "OBX"): 2}
"""At which segment a group of that depth begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A message as it is sent, and what is wrong with it: names of places, never a value."""

    body: bytes
    faults: tuple[str, ...]


def build(draft: Draft) -> Built:
    """The message of a draft. Whatever hl7apy thinks of it, the body has every segment of the draft. Raises OSError if
    there is no room for what it reports: that says nothing of the message."""
    from hl7apy.core import Message  # noqa: PLC0415  a process that tells nobody of orders goes without its tables
    from hl7apy.parser import parse_segment  # noqa: PLC0415

    header, *body = draft.segments
    site_segments = [text for text in body if text.startswith("Z")]  # in no structure
    whole = "\r".join(draft.segments) + "\r"
    try:
        message = Message(draft.structure, version=draft.version)
        message.msh = parse_segment(header, version=draft.version)
        places: dict[tuple[str, ...], Any] = {(): message}
        for text in body:
            if text not in site_segments:
                group = _group(places, draft.structure, text[:3])
                group.add(parse_segment(text, version=draft.version))
        faults = list(_faults(message))
        built = "\r".join((message.to_er7(), *site_segments)) + "\r"
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  whatever the library meets: a person decides whether it is sent
        return Built(body=whole.encode(draft.codec), faults=(type(error).__name__,))
    if built != whole:
        faults.append("hl7apy wrote it otherwise than it was asked to")
    return Built(body=whole.encode(draft.codec), faults=tuple(faults))


def _group(places: dict[tuple[str, ...], Any], structure: str, name: str) -> Any:
    """The group that a segment of that name belongs to now, made if it is not there yet."""
    path = _GROUPS[structure, name]
    if (structure, name) in _REPEATS:
        begins = path[: _REPEATS[structure, name] + 1]
        for known in [known for known in places if known[: len(begins)] == begins]:
            del places[known]
    for depth in range(1, len(path) + 1):
        if path[:depth] not in places:
            places[path[:depth]] = places[path[: depth - 1]].add_group(path[depth - 1])
    return places[path]


def _faults(message: Any) -> Iterator[str]:
    from hl7apy.exceptions import HL7apyException  # noqa: PLC0415
    from hl7apy.validation import Validator  # noqa: PLC0415

    with NamedTemporaryFile("r", encoding="utf-8") as report:
        with suppress(HL7apyException):  # the first of its findings; all are in the report
            Validator.validate(message, report_file=report.name)
        # Of a choice of segments it asks for every one; a code of a local table is none of HL7's
        yield from (
            line.removeprefix("Error: ")
            for line in report.read().splitlines()
            if line.startswith("Error") and "_CHOICE." not in line
        )
