"""Which orders a study's keys name, from all levels: the evidence, before anything is decided.

Promises
- Every level that can say something says it: no level ends the search, and what two levels say is compared.
- A key is compared in canonical form and with its issuer, never by prefix or likeness.
- The books may hand over more orders than the keys name, in any order: what no key names has no say here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from gateway.domain import likeness
from gateway.domain.header_checks import known_as
from gateway.domain.identity_model import (
    Candidate,
    CheckPolicy,
    Evidence,
    Header,
    Level,
    Relation,
    Request,
    Study,
)
from gateway.domain.mpps import ScheduledReference
from gateway.domain.order_model import Identifier, PatientKey, Step

SAME: Final = frozenset({Relation.EQUAL, Relation.ALIAS})
"""Relations by which a number names what it is compared with."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One key of the study, and the orders it names; a key that no order has doesn't vote."""

    level: Level
    orders: frozenset[int]
    """Places among the candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the keys of a study name."""

    votes: tuple[Vote, ...]
    """Of order keys; an attribute with several values, as in the group case, has one vote for all of them."""
    each: frozenset[frozenset[int]]
    """What every single value of an order key names."""
    patients: tuple[frozenset[int], ...]
    """Of each PatientID that anybody is known by, the orders of that patient."""
    named: frozenset[int]
    """Orders of a patient of that name and birth date."""
    served: frozenset[int]
    """Orders that a scanner of the study was shown as the header is."""
    who: frozenset[PatientKey]
    """The patients known under PatientID, if the study has one alone."""

    @property
    def patient(self) -> frozenset[int]:
        """Orders of a patient whom a PatientID names."""
        return _union(self.patients)

    @property
    def chosen(self) -> frozenset[int]:
        """The orders that every order key names; of the PatientID's patient where that decides."""
        if not self.votes:
            return frozenset()
        common = frozenset.intersection(*(vote.orders for vote in self.votes))
        return common & self.patient or common

    def evidence(self, candidates: Sequence[Candidate]) -> tuple[Evidence, ...]:
        """For people: what each level names."""
        by_level: dict[Level, set[int]] = {}
        for vote in self.votes:
            by_level.setdefault(vote.level, set()).update(vote.orders)
        for level, orders in ((Level.PATIENT, self.patient), (Level.SERVED, self.served), (Level.NAME, self.named)):
            if orders:
                by_level[level] = set(orders)
        return tuple(
            Evidence(level=level, orders=tuple(sorted(candidates[place].id for place in by_level[level])))
            for level in Level
            if level in by_level
        )


def gather(study: Study, candidates: Sequence[Candidate], policy: CheckPolicy) -> Gathered:
    """The votes of all keys of the study."""
    numbers = {likeness.canonical(header.PatientID.value): header.PatientID for header in study.headers}
    numbers.pop("", None)
    who = {name: known_as(number, study.patients) for name, number in numbers.items()}
    patients = {
        name: _all(candidates, partial(is_of, number=number, who=who[name])) for name, number in numbers.items()
    }
    keys = [votes for votes in _keys(study, candidates, policy) if votes]
    return Gathered(
        votes=tuple(dict.fromkeys(Vote(votes[0].level, _union(vote.orders for vote in votes)) for votes in keys)),
        each=frozenset(vote.orders for votes in keys for vote in votes),
        patients=tuple(orders for name, orders in sorted(patients.items()) if orders or who[name]),
        named=_all(candidates, lambda c: any(_is_named(c, header) for header in study.headers)),
        served=_all(candidates, lambda c: any(was_shown(c, header, study) for header in study.headers)),
        who=frozenset[PatientKey]().union(*who.values()),
    )


def _union(sets: Iterable[frozenset[int]]) -> frozenset[int]:
    return frozenset[int]().union(*sets)


def _all(candidates: Sequence[Candidate], fits: Callable[[Candidate], bool]) -> frozenset[int]:
    return frozenset(place for place, candidate in enumerate(candidates) if fits(candidate))


def _keys(study: Study, candidates: Sequence[Candidate], policy: CheckPolicy) -> Iterator[tuple[Vote, ...]]:
    """The votes of each attribute: one, or where an image is of several orders one for each."""
    for header in study.headers:
        yield _voted(Level.STUDY, [partial(_has_study, uid=header.StudyInstanceUID)], candidates)
        yield _voted(Level.ACCESSION, [partial(_has_accession, number=header.accession)], candidates)
        asked = header.requests
        yield _voted(Level.STUDY, [partial(_has_study, uid=one.StudyInstanceUID) for one in asked], candidates)
        yield _voted(Level.ACCESSION, [partial(_has_accession, number=one.accession) for one in asked], candidates)
        steps = [partial(_has_step, request=one, header=header, study=study, policy=policy) for one in asked]
        yield _voted(Level.STEP, steps, candidates)
    for performed in study.performed:
        references = [partial(_was_performed, reference=one) for one in performed.references]
        yield _voted(Level.MPPS, references, candidates)


def _voted(
    level: Level, fits: Sequence[Callable[[Candidate], bool]], candidates: Sequence[Candidate]
) -> tuple[Vote, ...]:
    votes = (Vote(level, _all(candidates, each)) for each in fits)
    return tuple(vote for vote in votes if vote.orders)


# -- one order and one key --


def _has_study(candidate: Candidate, uid: str) -> bool:
    return bool(uid) and (uid == candidate.procedure.StudyInstanceUID or uid in candidate.studies)


def accession_relation(candidate: Candidate, number: Identifier) -> Relation:
    """An accession number of a header against the order's."""
    expected = candidate.procedure.accession
    return likeness.number(number, expected, others=_former(candidate))


def _former(candidate: Candidate) -> Iterator[Identifier]:
    return (replace(candidate.procedure.accession, value=value) for value in candidate.accessions)


def _has_accession(candidate: Candidate, number: Identifier) -> bool:
    same = partial(likeness.same_number, number)
    return same(candidate.procedure.accession) or any(map(same, _former(candidate)))


def _has_step(candidate: Candidate, request: Request, header: Header, study: Study, policy: CheckPolicy) -> bool:
    """Both ids, and about its time: they are only unique for a RIS and some days. An order that another key names
    may be at any time."""
    mine = tuple(map(likeness.canonical, (request.RequestedProcedureID, request.ScheduledProcedureStepID)))
    if not all(mine) or mine[0] != likeness.canonical(candidate.procedure.RequestedProcedureID):
        return False
    steps = [step for step in candidate.procedure.steps if likeness.canonical(step.ScheduledProcedureStepID) == mine[1]]
    named = _has_study(candidate, header.StudyInstanceUID) or _has_accession(candidate, header.accession)
    return any(named or is_about_time(step, study, policy) for step in steps)


def _was_performed(candidate: Candidate, reference: ScheduledReference) -> bool:
    return _has_study(candidate, reference.StudyInstanceUID) or _has_accession(
        candidate, Identifier(value=reference.AccessionNumber)
    )


def is_about_time(step: Step, study: Study, policy: CheckPolicy) -> bool:
    """Whether the images came about when the step is scheduled; a step without a time is at any."""
    if step.start is None:
        return True
    return step.start - policy.early <= study.last_received and study.first_received <= step.start + policy.late


# -- one order and one patient --


def patient_relation(candidate: Candidate, number: Identifier, who: frozenset[PatientKey]) -> Relation:
    """A PatientID of a header against the order's; `who` is known under it."""
    if candidate.key.PatientID and likeness.is_number_of(number, candidate.key):
        return Relation.EQUAL
    if is_of(candidate, number, who):
        return Relation.ALIAS
    return likeness.number(number, Identifier(value=candidate.key.PatientID, authority=candidate.key.issuer))


def is_of(candidate: Candidate, number: Identifier, who: frozenset[PatientKey]) -> bool:
    """Whether the order is of the patient whom the number names."""
    if not number.value:
        return False
    if any(likeness.is_number_of(number, known) for known in (candidate.key, *candidate.aliases)):
        return True
    # By a merge that the order has not seen, or as another of the patient's numbers
    return any(likeness.same_patient(each, candidate.key) for each in who) or any(
        likeness.same_number(number, other) for other in candidate.patient.identifiers
    )


def same_person(one: Candidate, other: Candidate) -> bool:
    """Whether two orders may be of one patient; an order of nobody may be anybody's."""
    if not one.key.PatientID or not other.key.PatientID or likeness.same_patient(one.key, other.key):
        return True
    return any(likeness.same_patient(one.key, alias) for alias in other.aliases) or any(
        likeness.same_patient(other.key, alias) for alias in one.aliases
    )


def same_order(one: Candidate, other: Candidate) -> bool:
    """Whether two sources tell of one order."""
    mine, theirs = one.procedure, other.procedure
    if not same_person(one, other):
        return False
    ids = {likeness.canonical(one.RequestedProcedureID) for one in (mine, theirs)} - {""}
    if len(ids) > 1:
        return False
    if mine.accession.value and theirs.accession.value:
        return likeness.same_number(mine.accession, theirs.accession)
    return bool(mine.StudyInstanceUID) and mine.StudyInstanceUID == theirs.StudyInstanceUID


def _is_named(candidate: Candidate, header: Header) -> bool:
    patient = candidate.patient
    return (
        likeness.name(header.PatientName, patient.PatientName) is Relation.EQUAL
        and likeness.birth_date(header.PatientBirthDate, patient.PatientBirthDate) is Relation.EQUAL
    )


def was_shown(candidate: Candidate, header: Header, study: Study) -> bool:
    """Whether a scanner of the study was shown the order with the header's PatientID and name, letter for letter."""
    return any(
        shown.calling_ae in study.calling_aes
        and bool(shown.PatientID)
        and shown.PatientID == header.PatientID.value
        and shown.PatientName == header.PatientName
        and shown.PatientBirthDate in {header.PatientBirthDate, ""}
        for shown in candidate.shown
    )
