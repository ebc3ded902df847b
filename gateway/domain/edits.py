"""A correction as data: which attribute of one object gets which value, why, and by which rule.

Promises

* An `Edit` of anything but the attributes listed here can't be made, not even from JSON: ValueError. UIDs, pixels and
  what describes them, times of acquisition, modality, laterality, devices, private blocks and signatures are not among
  them; `gateway.dicom.patching` refuses them once more by a list of its own.
* A `Patch` is all that is stored of a correction. The same patch on the same object gives the same bytes each time it
  is sent, so it carries its own time. Undo is dropping the patch: the received file is never modified (invariant 2).
* `from_json(to_json(patch)) == patch`.

Values are text in Unicode; which bytes they become is decided by the character set of the object (`applying`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from pydicom.datadict import dictionary_VR, keyword_for_tag

from gateway.domain.identity_model import Reason

Path: TypeAlias = "tuple[int, ...]"
"""A tag of the data set, or tag, item (from 0), tag, ... for an attribute inside of sequences."""


_Tree: TypeAlias = "Mapping[int, _Tree]"
_ISSUER: Final[_Tree] = {0x00400031: {}, 0x00400032: {}, 0x00400033: {}}
_QUALIFIERS: Final[_Tree] = {0x00400032: {}, 0x00400033: {}}
_CODE: Final[_Tree] = {0x00080100: {}, 0x00080102: {}, 0x00080104: {}}
_ORDER: Final[_Tree] = {
    0x00080050: {},  # AccessionNumber
    0x00080051: _ISSUER,  # IssuerOfAccessionNumberSequence
    0x00321060: {},  # RequestedProcedureDescription
    0x00321064: _CODE,  # RequestedProcedureCodeSequence
}
EDITABLE: Final[_Tree] = {
    **_ORDER,
    0x00080005: {},  # SpecificCharacterSet
    0x00080080: {},  # InstitutionName
    0x00080081: {},  # InstitutionAddress
    0x00080090: {},  # ReferringPhysicianName
    0x00081010: {},  # StationName
    0x00081030: {},  # StudyDescription
    0x00081032: _CODE,  # ProcedureCodeSequence
    0x00081040: {},  # InstitutionalDepartmentName
    0x00100010: {},  # PatientName
    0x00100020: {},  # PatientID
    0x00100021: {},  # IssuerOfPatientID
    0x00100024: _QUALIFIERS,  # IssuerOfPatientIDQualifiersSequence
    0x00100030: {},  # PatientBirthDate
    0x00100032: {},  # PatientBirthTime
    0x00100040: {},  # PatientSex
    0x00101000: {},  # OtherPatientIDs
    0x00101001: {},  # OtherPatientNames
    0x00101002: {0x00100020: {}, 0x00100021: {}, 0x00100022: {}, 0x00100024: _QUALIFIERS},  # OtherPatientIDsSequence
    0x00101005: {},  # PatientBirthName
    0x00101040: {},  # PatientAddress
    0x00101060: {},  # PatientMotherBirthName
    0x00102154: {},  # PatientTelephoneNumbers
    0x00200010: {},  # StudyID
    0x00321032: {},  # RequestingPhysician
    0x00380010: {},  # AdmissionID
    0x00400275: {  # RequestAttributesSequence
        **_ORDER,
        0x00400007: {},  # ScheduledProcedureStepDescription
        0x00400008: _CODE,  # ScheduledProtocolCodeSequence
        0x00400009: {},  # ScheduledProcedureStepID
        0x00401001: {},  # RequestedProcedureID
    },
    0x0040A370: {  # ReferencedRequestSequence
        **_ORDER,
        0x00401001: {},  # RequestedProcedureID
        0x00402016: {},  # PlacerOrderNumberImagingServiceRequest
        0x00402017: {},  # FillerOrderNumberImagingServiceRequest
    },
}
"""The attributes that may be corrected, by tag; those of a sequence's items below it."""
MOST_EDITS: Final = 500
"""Edits of one object: far above any real header, and a bound for what is read back from the books."""
_MOST_ITEMS: Final = 100
_STEP: Final = re.compile(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)(?:\[(\d{1,3})\]\.)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One attribute of one object and its new value."""

    path: Path
    value: str | None
    """Its text, "" for an empty value, None for an attribute that is taken out. A sequence can only be taken out."""
    before: str | None = None
    """What it was, for people: None if the attribute was absent."""
    reason: Reason
    rule: str
    """The rule that asked for it, with its version."""

    def __post_init__(self) -> None:
        tree: _Tree | None = EDITABLE
        for tag in self.path[::2]:
            tree = None if tree is None else tree.get(tag)
        items = self.path[1::2]
        if tree is None or len(self.path) % 2 == 0 or not all(0 <= item < _MOST_ITEMS for item in items):
            raise ValueError(f"{spelled(self.path)}: may not be corrected; see the list in domain/edits.py")
        if (self.vr == "SQ") != bool(tree) or (tree and self.value is not None):
            raise ValueError(f"{spelled(self.path)}: a sequence has no value of its own; edit what is in its items")

    @property
    def vr(self) -> str:
        """The VR of the attribute as the dictionary has it (PS3.6)."""
        return _vr(self.path[-1])

    @property
    def name(self) -> str:
        """The attribute for people, its keyword: items are counted from 1."""
        steps = [keyword_for_tag(tag) for tag in self.path[::2]]
        counted = [f"{step}[{item + 1}]" for step, item in zip(steps, self.path[1::2], strict=False)]
        return ".".join([*counted, steps[-1]])


_vr: Final = lru_cache(maxsize=None)(dictionary_VR)
"""Of the few tags there are here; asked for many times with each object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """All edits of one object, and what its Original Attributes Sequence says of them."""

    edits: tuple[Edit, ...]
    at: datetime
    """Attribute Modification DateTime (0400,0562): of the decision, in the zone it is to be written in."""
    system: str
    """Modifying System (0400,0563)."""

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("a patch without a time zone; give an aware datetime")
        if len(self.edits) > MOST_EDITS:
            raise ValueError(f"a patch of {len(self.edits)} edits; at most {MOST_EDITS} are applied to one object")


def spelled(path: Path) -> str:
    """The path as DCMTK spells it: (0040,0275)[0].(0040,0009)."""
    tags = [f"({tag >> 16:04x},{tag & 0xFFFF:04x})" for tag in path[::2]]
    return ".".join([*(f"{tag}[{item}]" for tag, item in zip(tags, path[1::2], strict=False)), *tags[-1:]])


def path_of(text: str) -> Path:
    """The path that `spelled` wrote. Raises ValueError."""
    path: list[int] = []
    position = 0
    while found := _STEP.match(text, position):
        path += [int(found[1] + found[2], 16), *([int(found[3])] if found[3] else [])]
        position = found.end()
    if position != len(text) or spelled(tuple(path)) != text:
        raise ValueError(f"a path of {len(text)} characters; write it as (gggg,eeee)[0].(gggg,eeee)")
    return tuple(path)


def to_json(patch: Patch) -> str:
    """The patch as the books keep it."""
    edits = [
        {
            "path": spelled(edit.path),
            "value": edit.value,
            "before": edit.before,
            "reason": edit.reason,
            "rule": edit.rule,
        }
        for edit in patch.edits
    ]
    whole = {"at": patch.at.isoformat(timespec="microseconds"), "system": patch.system, "edits": edits}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Patch:
    """The patch that `to_json` wrote. Raises ValueError for anything else, edits that are not allowed included."""
    whole = json.loads(text)
    try:
        edits = tuple(_edit(one) for one in whole["edits"])
        return Patch(edits=edits, at=datetime.fromisoformat(whole["at"]), system=str(whole["system"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"a stored patch without its {type(error).__name__}; check the object again") from error


def _edit(stored: Mapping[str, Any]) -> Edit:
    texts = (stored["value"], stored["before"])
    if not all(text is None or isinstance(text, str) for text in texts):
        raise TypeError("text")
    return Edit(
        path=path_of(stored["path"]),
        value=stored["value"],
        before=stored["before"],
        reason=Reason(stored["reason"]),
        rule=str(stored["rule"]),
    )
