"""A verdict as edits of one header: every place that names the order or the patient, and no other.

Promises

* Only what the verdict's `changes` allow is edited; each edit names the finding that asked for it and the version of
  the rules. Without changes there are no edits.
* The same identity is put right wherever it stands: the accession number with its issuer in Request Attributes
  (0040,0275) and Referenced Request (0040,A370), the issuer's qualifiers (0010,0024) beside a PatientID, and other
  identifiers, names and addresses (`PERSONAL`) that belong to the patient who it was before.
* Request Attributes with several items are several orders (the group case): what differs among them stays.
* What is only filled (`FILLED`, `ENRICH`) is written where this header has nothing, whatever others of its study lack.
* A value that does not fit its VR is not written, for a cut number is another number.
* An edit that would change nothing isn't made. The header is that of `gateway.domain.header`, or its excerpt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

from gateway.domain import likeness
from gateway.domain.applying import Codec
from gateway.domain.assignment import BY_PERSON
from gateway.domain.edits import EDITABLE, Edit, Patch, Path
from gateway.domain.identity_changes import ENRICH, FILLED, value_of
from gateway.domain.identity_model import Change, Decision, Reason, Relation, Verdict
from gateway.domain.order_model import Code, Identifier
from gateway.domain.value_forms import fault_of_text
from gateway.domain.worklist import SPECIFIC_CHARACTER_SET, DataSet, items

PERSONAL: Final = (0x00100032, 0x00101000, 0x00101001, 0x00101002, 0x00101005, 0x00101040, 0x00101060, 0x00102154)
"""What only says who the patient is and the order does not: taken out when the images are of somebody else."""
_ACCESSION, _ACCESSION_ISSUER = 0x00080050, 0x00080051
_PATIENT_ID, _ISSUER, _QUALIFIERS, _OTHERS = 0x00100020, 0x00100021, 0x00100024, 0x00101002
_REQUESTS, _REFERENCED = 0x00400275, 0x0040A370
_PROCEDURE_CODES: Final = 0x00081032
_OF_REQUEST: Final = frozenset({"RequestedProcedureID", "ScheduledProcedureStepID"})
_WRITTEN: Final = frozenset({Decision.ENRICH, Decision.CORRECT})
_SAME_PERSON: Final = frozenset({Relation.EQUAL, Relation.ALIAS, Relation.SLIP})
"""How a number stands to that of the same patient."""
_WHO: Final = {"PatientBirthDate": 0x00100030, "PatientSex": 0x00100040, "AdmissionID": 0x00380010}
"""As the order has it where the images are of somebody else, and empty if it does not know."""
_UNIVERSAL: Final = frozenset({"DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"})
"""Universal Entity ID Type, PS3.3 table 10-17."""


def edits_for(verdict: Verdict, header: DataSet, codec: Codec, *, at: datetime, system: str) -> Patch:
    """What is to be written into images of this header. `at` in the site's zone; `system` names the box."""
    return Patch(edits=tuple(verdict_edits(verdict, header, codec)), at=at, system=system)


def verdict_edits(verdict: Verdict, header: DataSet, codec: Codec) -> list[Edit]:
    """The edits alone."""
    if verdict.decision not in _WRITTEN or verdict.order is None:
        return []
    writer = Writer(header, codec)
    places = _Places(verdict, header, writer)
    wanted = {change.attribute: change for change in verdict.changes}
    for change in verdict.changes:
        if change.attribute in _OF_REQUEST:
            places.request(change)
        elif change.attribute == "AccessionNumber":
            places.accession(change)
        elif (tag := tag_for_keyword(change.attribute)) is not None and tag in EDITABLE:
            writer.set((int(tag),), change.value, change.reason, places.rule(change), fills=_fills(change))
    if "PatientID" in wanted:
        places.patient(wanted["PatientID"])
    elif "IssuerOfPatientID" in wanted:
        places.qualifiers(wanted["IssuerOfPatientID"])
    if verdict.changes:
        places.codes()
    return writer.edits


def _fills(change: Change) -> bool:
    return change.attribute in FILLED or change.rule == ENRICH


class Writer:
    """Edits of one header as they are gathered; what is as it should be already makes none."""

    def __init__(self, header: DataSet, codec: Codec) -> None:
        self.edits: list[Edit] = []
        self._header = header
        self._codec = codec
        declared = header.get(SPECIFIC_CHARACTER_SET)
        bare = declared[1] if declared is not None and isinstance(declared[1], bytes) else b""
        self._sets = codec.character_sets(bare)

    def text(self, path: Path) -> str | None:
        """What the header has there; None if nothing is there."""
        dataset: DataSet = self._header
        for tag, number in zip(path[:-1:2], path[1::2], strict=True):
            within = items(dataset, tag)
            if number >= len(within):
                return None
            dataset = within[number]
        element = dataset.get(path[-1])
        if element is None:
            return None
        if not isinstance(element[1], bytes):
            return f"{len(element[1])} item{'s' if len(element[1]) != 1 else ''}"
        return self._codec.decode_checked(element[1], element[0], self._sets)[0]

    def set(
        self, path: Path, value: str | None, reason: Reason, rule: str, *, anew: bool = False, fills: bool = False
    ) -> None:
        """Add an edit, unless the value is there or is none of its VR. `anew`: its sequence was taken out before;
        `fills`: only where there is nothing."""
        before = None if anew else self.text(path)
        if fills and before:
            return
        edit = Edit(path=path, value=value, before=before, reason=reason, rule=rule)
        if value == before or (value and fault_of_text(value, edit.vr)):
            return
        self.edits.append(edit)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where an order and its patient are named in one header."""

    verdict: Verdict
    header: DataSet
    writer: Writer

    def rule(self, change: Change) -> str:
        return f"{change.rule or self.verdict.because}@{self.verdict.version}"

    def request(self, change: Change) -> None:
        """An id of the requested procedure or its step, where the image is of one request alone."""
        tag, rule, fills = tag_for_keyword(change.attribute), self.rule(change), _fills(change)
        assert tag is not None
        if len(items(self.header, _REQUESTS)) <= 1 and _REFERENCED not in self.header:
            self.writer.set((_REQUESTS, 0, int(tag)), change.value, change.reason, rule, fills=fills)
        if len(items(self.header, _REFERENCED)) == 1 and int(tag) in EDITABLE[_REFERENCED]:
            self.writer.set((_REFERENCED, 0, int(tag)), change.value, change.reason, rule, fills=fills)

    def accession(self, change: Change) -> None:
        """The accession number and its issuer, and in the items the same number as it was."""
        was = self.writer.text((_ACCESSION,))
        places: list[Path] = [()]
        for sequence in (_REQUESTS, _REFERENCED):
            named = range(len(items(self.header, sequence)))
            places += [(sequence, n) for n in named if was and self.writer.text((sequence, n, _ACCESSION)) == was]
        issuer = self._procedure_issuer()
        for place in places:
            self.writer.set((*place, _ACCESSION), change.value, change.reason, self.rule(change))
            self._entity((*place, _ACCESSION_ISSUER), issuer, change)

    def _procedure_issuer(self) -> Identifier:
        assert self.verdict.order is not None
        return self.verdict.order.procedure.accession

    def _entity(self, place: Path, issuer: Identifier, change: Change) -> None:
        """HL7v2 Hierarchic Designator, PS3.3 table 10-17, in place of the one that is there."""
        wanted = {0x00400031: issuer.authority, **_universal(issuer)}
        wanted = {tag: value for tag, value in wanted.items() if value}
        known = self.writer.text(place) is not None
        if known and any((self.writer.text((*place, 0, tag)) or "") != wanted.get(tag, "") for tag in _ENTITY):
            self.writer.set(place, None, change.reason, self.rule(change))
        elif known:
            return
        for tag, value in wanted.items():
            self.writer.set((*place, 0, tag), value, change.reason, self.rule(change), anew=True)

    def qualifiers(self, change: Change) -> None:
        """Issuer of Patient ID Qualifiers Sequence, which would contradict another issuer."""
        identifier = self._identifiers()[:1]
        wanted = _universal(identifier[0]) if identifier else {}
        place = (_QUALIFIERS,)
        if self.writer.text(place) is not None:
            if all((self.writer.text((_QUALIFIERS, 0, tag)) or "") == wanted.get(tag, "") for tag in _ENTITY[1:]):
                return
            self.writer.set(place, None, change.reason, self.rule(change))
        for tag, value in wanted.items():
            self.writer.set((_QUALIFIERS, 0, tag), value, change.reason, self.rule(change), anew=True)

    def _identifiers(self) -> Sequence[Identifier]:
        assert self.verdict.order is not None
        return self.verdict.order.patient.identifiers

    def patient(self, change: Change) -> None:
        """What else names the patient, once the number is another's."""
        self.qualifiers(change)
        assert self.verdict.order is not None
        if not self.verdict.order.key.issuer and self.writer.text((_ISSUER,)):
            self.writer.set((_ISSUER,), None, change.reason, self.rule(change))
        if self._is_same_person():
            return
        given = {each.attribute for each in self.verdict.changes}
        for keyword, tag in _WHO.items():
            if (keyword not in given or keyword in FILLED) and self.writer.text((tag,)):
                self.writer.set((tag,), value_of(self.verdict.order, keyword), change.reason, self.rule(change))
        taken_out = [tag for tag in PERSONAL if self.writer.text((tag,)) is not None]
        for tag in taken_out:
            self.writer.set((tag,), None, change.reason, self.rule(change))
        others = [one for one in self._identifiers() if one.value and one.value != change.value]
        for number, other in enumerate(others if taken_out else []):
            self._other(number, other, change)

    def _is_same_person(self) -> bool:
        """Whether the number that was there is one of the order's patient, by the order or by the rules; what a person
        decided was not compared."""
        order, was = self.verdict.order, likeness.canonical(self.writer.text((_PATIENT_ID,)) or "")
        assert order is not None
        numbers = {order.key.PatientID, *(one.value for one in self._identifiers())}
        numbers |= {alias.PatientID for alias in order.aliases}
        if not was or was in set(map(likeness.canonical, numbers)):
            return True
        return self.verdict.because != BY_PERSON and self.verdict.relations.get("PatientID") in _SAME_PERSON

    def _other(self, number: int, other: Identifier, change: Change) -> None:
        values = {_PATIENT_ID: other.value, _ISSUER: other.issuer, 0x00100022: "TEXT"}
        for tag, value in values.items():
            if value:
                self.writer.set((_OTHERS, number, tag), value, change.reason, self.rule(change), anew=True)

    def codes(self) -> None:
        """The requested procedure's code where the image has none (PS3.3 table 8.8-1)."""
        assert self.verdict.order is not None
        wanted = [code for code in self.verdict.order.procedure.RequestedProcedureCodeSequence if _is_whole(code)]
        if not items(self.header, _PROCEDURE_CODES) and any(
            change.attribute == "StudyDescription" for change in self.verdict.changes
        ):
            rule = f"{ENRICH}@{self.verdict.version}"
            for number, code in enumerate(wanted):
                for tag, value in _coded(code).items():
                    self.writer.set((_PROCEDURE_CODES, number, tag), value, Reason.COERCE, rule)


_ENTITY: Final = (0x00400031, 0x00400032, 0x00400033)


def _universal(identifier: Identifier) -> Mapping[int, str]:
    """Universal Entity ID and its type; neither if DICOM does not know the type."""
    kind = identifier.universal_id_type.upper()
    if not identifier.universal_id or kind not in _UNIVERSAL:
        return {}
    return {0x00400032: identifier.universal_id, 0x00400033: kind}


def _coded(code: Code) -> dict[int, str]:
    return {0x00080100: code.CodeValue, 0x00080102: code.CodingSchemeDesignator, 0x00080104: code.CodeMeaning}


def _is_whole(code: Code) -> bool:
    """Whether it can be written as an item of a code sequence (PS3.3 table 8.8-1)."""
    return all(value and not fault_of_text(value, dictionary_VR(tag)) for tag, value in _coded(code).items())
