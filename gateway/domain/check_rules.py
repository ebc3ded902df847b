"""The site's own rules for headers: constants and forms, which need no order.

Promises

* A rule sets a constant of the place (`CONSTANTS`), or repairs the form of a value that breaks its VR so that it means
  the same (`repaired`); who the patient is and which order it is no rule can say. UIDs are never repaired.
* A character set is declared only for a header whose text it explains, and only where the name of a proven order is
  what it then reads: a wrong declaration would look right.
* What a verdict edits no rule edits; of several rules for an attribute the first counts. Where the verdict holds or
  suggests, and of what is signed or de-identified, everything stays as it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag

from gateway.domain import checks
from gateway.domain.applying import Codec
from gateway.domain.coercion import Writer
from gateway.domain.conditions import Condition, Facts
from gateway.domain.edits import EDITABLE, Patch
from gateway.domain.header import KEPT
from gateway.domain.identity_model import Decision, Reason, Verdict
from gateway.domain.value_forms import fault_of_text
from gateway.domain.worklist import PATIENT_NAME, SPECIFIC_CHARACTER_SET, DataSet, all_values

CALLING: Final = "calling_ae"
"""The one key that is no attribute: who sent the image."""
LOOKED_AT: Final = frozenset(name for tag in KEPT if (name := keyword_for_tag(tag)) and not EDITABLE.get(tag))
"""Keywords that a rule can look at: those that the check keeps of a header."""
CONSTANTS: Final = frozenset({0x00080005, 0x00080080, 0x00080081, 0x00081010, 0x00081040})
"""SpecificCharacterSet, InstitutionName, InstitutionAddress, StationName and InstitutionalDepartmentName."""
REPAIRABLE: Final = frozenset(tag for tag, inner in EDITABLE.items() if not inner) - {SPECIFIC_CHARACTER_SET}
_NAMES: Final = {tag: keyword_for_tag(tag) for tag in KEPT if keyword_for_tag(tag) in LOOKED_AT}
_TEXT: Final = frozenset({"SH", "LO", "ST", "LT", "PN", "UC", "UT"})
_UNTOUCHED: Final = frozenset({checks.Code.SIGNED, checks.Code.DEIDENTIFIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRule:
    """One rule of the site."""

    id: str
    version: int
    when: tuple[Condition, ...]
    """Which images it is for: all must hold."""
    check: tuple[Condition, ...]
    """What must be so in them."""
    invalid: frozenset[int]
    """Attributes that must break their VR, too."""
    constants: tuple[tuple[int, str], ...]
    repairs: tuple[int, ...]


def normalised(
    patch: Patch, verdict: Verdict | None, header: DataSet, codec: Codec, *, rules: Sequence[CheckRule], calling: str
) -> Patch:
    """The patch of a verdict with what the site's rules add for images of this header. `calling`: who sent them."""
    if not rules or (verdict is not None and _stays(verdict)):
        return patch
    writer = Writer(header, codec)
    told = {name: all_values(writer.text((tag,)) or "") for tag, name in _NAMES.items() if tag in header}
    facts: Facts = {**told, CALLING: (calling,)}
    done = {edit.path for edit in patch.edits}
    for rule in rules:
        if not _fires(rule, facts, writer):
            continue
        by = f"{rule.id}@{rule.version}"
        wanted = [
            *rule.constants,
            *((tag, repaired(writer.text((tag,)) or "", dictionary_VR(tag))) for tag in rule.repairs),
        ]
        for tag, value in wanted:
            if (tag,) in done or (tag == SPECIFIC_CHARACTER_SET and not _explains(value, header, codec, verdict)):
                continue
            done.add((tag,))
            writer.set((tag,), value, Reason.COERCE, by)
    return replace(patch, edits=(*patch.edits, *writer.edits))


def _stays(verdict: Verdict) -> bool:
    found = {one.code for one in verdict.findings}
    return verdict.decision in {Decision.HOLD, Decision.SUGGEST} or not _UNTOUCHED.isdisjoint(found)


def _fires(rule: CheckRule, facts: Facts, writer: Writer) -> bool:
    holds = all(one.holds(facts) for one in (*rule.when, *rule.check))
    return holds and all(fault_of_text(writer.text((tag,)) or "", dictionary_VR(tag)) for tag in rule.invalid)


def repaired(text: str, vr: str) -> str:
    """The same value in the form of its VR where that is certain; else the text itself."""
    plain = " ".join(text.split()) if vr in {"LO", "SH"} else text.strip(" \0")
    match vr:
        case "CS":
            plain = plain.upper()
        case "DA":
            plain = plain.replace(".", "").replace("-", "").replace("/", "") if plain[:4].isdigit() else plain
        case "TM":
            plain = plain.replace(":", "")
        case "PN" if plain.count(",") == 1 and "^" not in plain:
            plain = "^".join(part.strip() for part in plain.split(","))
    return text if fault_of_text(plain, vr) else plain


def _explains(charset: str, header: DataSet, codec: Codec, verdict: Verdict | None) -> bool:
    """Whether the declaration explains all text of the header, and the name is then that of the proven order."""
    if verdict is None or verdict.order is None:
        return False
    sets = charset.split("\\")
    for _, (vr, value) in header.items():
        if vr in _TEXT and isinstance(value, bytes) and not codec.decode_checked(value, vr, sets)[1]:
            return False
    element = header.get(PATIENT_NAME)
    value = element[1] if element is not None else b""
    if not isinstance(value, bytes) or value.isascii():
        return False
    return _name(codec.decode_checked(value, "PN", sets)[0]) == _name(verdict.order.patient.PatientName)


def _name(text: str) -> str:
    """The first component group without its case."""
    return text.partition("=")[0].rstrip("^ ").casefold()
