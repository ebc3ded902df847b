"""Acknowledgements of HL7 v2 messages (HL7 v2.5.1 sections 2.9 and 2.14).

Promises
- What is echoed (MSH-3 to MSH-6, MSH-9.2, MSH-10 to MSH-12, MSH-18) is echoed byte for byte, in the
  sender's own separators and character set; words of ours are ASCII.
- Original mode, MSH-15 and MSH-16 both empty: one AA, AE or AR. Enhanced mode: CA, CE or CR if MSH-15 wants
  it, then AA, AE or AR if MSH-16 does. Where only the first is wanted it tells what the second would have.
- Faults are ERR-2, 3, 4 and 8 from version 2.5 on; before it MSA-3 and ERR-1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gateway.domain.hl7 import Segment, Separators

OURSELVES: Final = "GATEWAY"
"""Who answers where the message did not say whom it was for."""
_LONGEST_TEXT: Final = 80
"""MSA-3 (ST, 80)."""
_MEANINGS: Final = {
    "0": "Message accepted",
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
"""HL7 table 0357."""
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")


class Code(StrEnum):
    """MSA-1 (HL7 table 0008)."""

    AA = "AA"
    """Accepted: it is durable, with its effect."""
    AE = "AE"
    """Its contents are at fault: sent again as it is, it will fail again."""
    AR = "AR"
    """Not for us, or not now."""
    CA = "CA"
    CE = "CE"
    CR = "CR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a message, and where. The text is ours: no value of the message is in it."""

    code: str
    """Of HL7 table 0357."""
    text: str
    segment: str = ""
    sequence: int = 1
    """Which segment of that name, from 1."""
    field: int = 0
    """From 1; 0: the segment as a whole."""
    component: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a message."""

    code: Code
    """AA, AE or AR."""
    faults: tuple[Fault, ...] = ()
    """What of it was not understood or not done; it may be accepted (AA) all the same."""
    effect: str = ""
    """What it changed, in a few words of ours; never a value of the message."""
    silent: bool = False
    """It is an acknowledgement itself, and gets none."""


def answers(
    header: Segment,
    code: Code,
    faults: Sequence[Fault],
    *,
    now: datetime,
    control_id: Callable[[], str],
    enhanced: bool = True,
) -> list[bytes]:
    """The acknowledgements that a message asks for, in order: none, one or two; `code` is AA, AE or AR.

    `enhanced` False answers in original mode, whatever the message asks for. `now` is aware, `control_id`
    makes the MSH-10 of an answer.
    """
    accept, application = header.get("15").upper(), header.get("16").upper()
    if not enhanced or not (accept or application):
        return [acknowledgement(header, code, faults, now=now, control_id=control_id())]
    first = Code("C" + code.value[1])
    wanted = []
    if _wants(application, code):
        if _wants(accept, code):
            wanted.append((Code.CR, faults) if code is Code.AR else (Code.CA, ()))
        wanted.append((code, faults))
    elif _wants(accept, code):
        wanted.append((first, faults))
    return [
        acknowledgement(header, answer, told, now=now, control_id=control_id(), enhanced=True)
        for answer, told in wanted
    ]


def acknowledgement(
    header: Segment | None,
    code: Code,
    faults: Sequence[Fault],
    *,
    now: datetime,
    control_id: str,
    enhanced: bool = False,
) -> bytes:
    """One acknowledgement; of bytes that were no message where `header` is None."""
    received = header or Segment("MSH|^~\\&", 1, Separators("|"), "latin_1")
    marks = received.separators
    trigger = received.raw(9).split(marks.component)[1:2]
    kind = marks.component.join(["ACK", trigger[0], "ACK"]) if trigger and trigger[0] else "ACK"
    modern = _is_modern(received.get("12"))
    msh = [
        *(received.raw(5) or OURSELVES, received.raw(6), received.raw(3), received.raw(4)),
        *(now.strftime("%Y%m%d%H%M%S%z"), "", kind, control_id),
        *(received.raw(11) or "P", received.raw(12) or "2.3.1", "", ""),
        *(("NE", "NE") if enhanced else ("", "")),
        *("", received.raw(18)),
    ]
    msa = [code.value, received.raw(10)]
    if faults and not modern:
        msa.append(_escaped(faults[0].text[:_LONGEST_TEXT], marks))
    errors = [_err(fault, code, marks) if modern else _err_of_old(fault, marks) for fault in faults]
    segments = [["MSH", "".join(marks[1:]), *msh], ["MSA", *msa], *(["ERR", *error] for error in errors)]
    lines = (marks.field.join(segment).rstrip(marks.field) for segment in segments)
    return "".join(line + "\r" for line in lines).encode("latin_1")


def _wants(condition: str, code: Code) -> bool:
    """MSH-15 and MSH-16 (HL7 table 0155)."""
    match condition:
        case "AL":
            return True
        case "SU":
            return code is Code.AA
        case "ER":
            return code is not Code.AA
        case _:
            return False


def _is_modern(version: str) -> bool:
    found = _VERSION.match(version)
    return found is not None and (int(found[1]), int(found[2])) >= (2, 5)


def _err(fault: Fault, code: Code, marks: Separators) -> list[str]:
    place = [fault.segment, str(fault.sequence)] if fault.segment else []
    if place and fault.field:
        place += [str(fault.field), "1", *([str(fault.component)] if fault.component else [])]
    error = marks.component.join([fault.code, _MEANINGS.get(fault.code, ""), "HL70357"])
    severity = "W" if code in {Code.AA, Code.CA} else "E"
    return ["", marks.component.join(place), error, severity, "", "", "", _escaped(fault.text, marks)]


def _err_of_old(fault: Fault, marks: Separators) -> list[str]:
    error = marks.subcomponent.join([fault.code, _MEANINGS.get(fault.code, ""), "HL70357"])
    field = str(fault.field) if fault.field else ""
    return [marks.component.join([fault.segment, str(fault.sequence) if fault.segment else "", field, error])]


def _escaped(text: str, marks: Separators) -> str:
    """Words of ours: ASCII, and no separator among them."""
    names = dict(zip(marks, "FSRET", strict=True))
    plain = text.encode("ascii", "replace").decode()
    return "".join(f"{marks.escape}{names[letter]}{marks.escape}" if letter in names else letter for letter in plain)
