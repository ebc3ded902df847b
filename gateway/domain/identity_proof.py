"""What proves that a study is an order's, so that the order's values may be written into it.

Promises
- Proof is what agrees. Every rule here holds still if any more of what is compared agrees, and none begins to hold
  when something that agrees is taken away.
- No proof stands against a veto: another name, another birth date, or more slips than one hand makes at once.
- A number that we minted, and one that was given up by a merge, prove less than the patient's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain import likeness
from gateway.domain.desk import ISSUER as MINTED
from gateway.domain.identity_changes import ALTERED
from gateway.domain.identity_evidence import SAME, Gathered, same_person
from gateway.domain.identity_model import Candidate, Level, Relation, Study
from gateway.domain.order_model import Flag

ENOUGH: Final = 2.0
"""Corroborators that the wider guard needs."""
_KNOWN: Final = frozenset({Relation.EQUAL, Relation.ALIAS})
_PERSONAL: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """A study beside the one order that its keys name."""

    study: Study
    order: Candidate
    candidates: Sequence[Candidate]
    found: Gathered
    stands: Mapping[str, Relation]
    single: bool
    """No other order is named by the same keys."""

    def names(self, level: Level) -> bool:
        """Whether a key of this level names the order."""
        return any(vote.level is level for vote in self.found.votes)

    def may_be_of(self, place: int) -> bool:
        """Whether the study may as well be of another patient, whose order stands at this place: by number, or because
        neither name nor birth date objects. What an image does not say objects to nobody."""
        other = self.candidates[place]
        if same_person(self.order, other):
            return False
        patient = other.patient
        return place in self.found.patient | self.found.served or any(
            likeness.name(header.PatientName, patient.PatientName) is not Relation.DIFFERENT
            and likeness.birth_date(header.PatientBirthDate, patient.PatientBirthDate) is not Relation.DIFFERENT
            for header in self.study.headers
        )


def by_accession_and_patient(grounds: Grounds) -> bool:
    """The default: accession number and PatientID are exact, and neither name nor birth date objects."""
    # Empty in some images is no objection: that the others have it is what named the order
    exact = grounds.stands["AccessionNumber"] in SAME | {Relation.MISSING} and grounds.names(Level.ACCESSION)
    ours = Flag.ACCESSION_GENERATED in grounds.order.procedure.flags
    return exact and not ours and grounds.stands["PatientID"] in SAME and is_one_person(grounds)


def by_wider_guard(grounds: Grounds) -> bool:
    """Any exact key that is not ours, every level of one patient, one order, and `ENOUGH` corroborators."""
    flags = grounds.order.procedure.flags
    exact = (
        (grounds.names(Level.STUDY) and Flag.STUDY_GENERATED not in flags)
        or (grounds.names(Level.ACCESSION) and Flag.ACCESSION_GENERATED not in flags)
        or (grounds.names(Level.STEP) and not flags & {Flag.STEP_GENERATED, Flag.PROCEDURE_GENERATED})
    )
    if not exact or not grounds.single or any(map(grounds.may_be_of, range(len(grounds.candidates)))):
        return False
    stands = grounds.stands
    # Numbers are dense: one character off is as often another patient's number, or another order's
    if Relation.DIFFERENT in stands.values() or Relation.SLIP in {stands["PatientID"], stands["AccessionNumber"]}:
        return False
    if not is_one_person(grounds):
        return False
    weight = (
        1.0 * (stands["PatientID"] in SAME)
        + 1.0 * (stands["PatientName"] in _KNOWN | {Relation.SLIP})
        + 1.0 * (stands["PatientBirthDate"] in _KNOWN)
        + 0.5 * (stands["PatientSex"] is Relation.EQUAL)
    )
    return weight >= ENOUGH


def is_one_person(grounds: Grounds) -> bool:
    """No veto: at most one of name and birth date is a slip, and then the other one is exact."""
    stands = grounds.stands
    name, born = stands["PatientName"], stands["PatientBirthDate"]
    if Relation.DIFFERENT in {name, born}:
        return False
    if (name is Relation.SLIP and born not in _KNOWN) or (born is Relation.SLIP and name not in _KNOWN):
        return False
    if stands["PatientSex"] is Relation.DIFFERENT and any(stands[one] in ALTERED for one in _PERSONAL):
        return False
    if _is_minted(grounds):
        return True
    if stands["PatientID"] is Relation.ALIAS and name not in _KNOWN:
        return False  # temporary numbers are used again: who had it once is told by name
    # "UNKNOWN" says that nobody knew the person then; that it is this one takes more than the number
    return not _was_unknown(grounds) or name in _KNOWN or born in _KNOWN


def _is_minted(grounds: Grounds) -> bool:
    """Whether the PatientID is one of the downtime desk's, which is given out once, and linked to this patient."""
    minted = [alias for alias in grounds.order.aliases if alias.issuer == MINTED]
    numbers = [header.PatientID for header in grounds.study.headers]
    return all(any(likeness.is_number_of(number, alias) for alias in minted) for number in numbers)


def _was_unknown(grounds: Grounds) -> bool:
    names = [header.PatientName for header in grounds.study.headers if header.PatientName.strip("^ ")]
    return any(map(likeness.is_nobody, names))
