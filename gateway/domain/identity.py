"""Whose study it is: header and orders to evidence to a verdict. No edits here, and never a guess.

Promises
- The verdict depends on what is given alone: not on the order of candidates or headers, nor on any order that shares
  no key with the study, except that such an order may ask for a look.
- Two keys that name two patients are held, whatever else agrees, and no time ends that (`Verdict.blocks`).
- What is written was proven: by default an accession number AND a PatientID that name one order and its patient
  exactly, while neither name nor birth date objects. Taking evidence away never turns a doubt into a change.
- An entry of the downtime desk, an order that ended, whose source was silent, or about whose patient sources
  contradict each other, is never the target of a change.
- De-identified images are never named, phantoms never corrected, signed ones never altered.
- Everything else is doubt, and doubt changes nothing: `hold` and `suggest` are tasks for a person.

What it can't catch is said in `plausibility`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import combinations
from typing import Final

from gateway.domain import identity_comparing as comparing
from gateway.domain import identity_proof, likeness, plausibility
from gateway.domain.checks import Code, finding
from gateway.domain.header_checks import check_headers, is_test_patient
from gateway.domain.identity_changes import changes
from gateway.domain.identity_evidence import (
    Gathered,
    gather,
    is_about_time,
    same_order,
    same_person,
)
from gateway.domain.identity_model import (
    Candidate,
    Change,
    CheckPolicy,
    Decision,
    Finding,
    Header,
    Level,
    Relation,
    Severity,
    Study,
    Verdict,
)
from gateway.domain.identity_proof import Grounds
from gateway.domain.merge import Kind
from gateway.domain.order_model import OFF_LIST


class Rule(StrEnum):
    """What decided; stable names, kept with each verdict."""

    DEIDENTIFIED = "deidentified"
    TEST_PATIENT = "test-patient"
    BLOCKED = "blocked"
    """Two patients, or two images of one UID."""
    NO_ORDER = "no-order"
    EMERGENCY = "emergency"
    BY_PATIENT = "by-patient"
    """PatientID alone finds one open order."""
    BY_NAME = "by-name"
    """Name and birth date alone find one open order."""
    ORDERS_DISAGREE = "orders-disagree"
    SEVERAL_PATIENTS = "several-patients"
    """A number is that of several patients' orders, and nothing tells which."""
    OBJECTION = "objection"
    """A finding that a person must look at."""
    WRONG_ROW = "wrong-row"
    AGREES = "agrees"
    NOT_PROVEN = "not-proven"
    ORDER_UNFIT = "order-unfit"
    ACCESSION_AND_PATIENT = "accession-and-patient"
    """The default proof."""
    WIDER_GUARD = "wider-guard"
    SIGNED = "signed"
    IDENTITY_IN_IMAGE = "identity-in-image"
    STOPPED = "stopped"
    """Corrections are switched off."""


_AGREES: Final = frozenset({Relation.EQUAL, Relation.UNKNOWN, Relation.MISSING})
_REFORMS: Final = frozenset(comparing.FORMS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What is decided about."""

    study: Study
    candidates: tuple[Candidate, ...]
    policy: CheckPolicy
    now: datetime
    found: Gathered
    findings: tuple[Finding, ...]

    def verdict(
        self,
        decision: Decision,
        rule: Rule,
        *,
        order: Candidate | None = None,
        findings: Sequence[Finding] = (),
        blocks: bool = False,
        changes: tuple[Change, ...] = (),
        relations: Mapping[str, Relation] | None = None,
        doubt: float = 0.0,
    ) -> Verdict:
        return Verdict(
            decision=decision,
            because=rule,
            order=order,
            evidence=self.found.evidence(self.candidates),
            relations=dict(relations or {}),
            findings=_tidy([*self.findings, *findings]),
            changes=changes,
            plausibility=doubt,
            blocks=blocks,
        )


def decide(study: Study, candidates: Sequence[Candidate], policy: CheckPolicy, now: datetime) -> Verdict:
    """The verdict on a study. `candidates`: every order that shares a number with it, and for the plausibility those
    at its station about its time. `now` is UTC-aware."""
    orders = tuple(sorted(candidates, key=lambda one: one.id))
    found = gather(study, orders, policy)
    own = tuple(check_headers(study, policy))
    case = _Case(study=study, candidates=orders, policy=policy, now=now, found=found, findings=own)
    identified = tuple(header for header in study.headers if not header.is_deidentified)
    if identified != study.headers:
        return _beside_deidentified(case, identified)
    if all(is_test_patient(header, policy) for header in study.headers):
        return case.verdict(Decision.PASS, Rule.TEST_PATIENT)
    conflicts = _conflicts(case)
    if conflicts or any(one.severity is Severity.BLOCK for one in own):
        return case.verdict(Decision.HOLD, Rule.BLOCKED, findings=conflicts, blocks=True)
    if not found.votes:
        return _without_key(case)
    return _with_key(case)


def _beside_deidentified(case: _Case, identified: tuple[Header, ...]) -> Verdict:
    """Nobody is named in such a study. What is held for two patients is, whatever else came in it."""
    if identified:
        theirs = decide(replace(case.study, headers=identified), case.candidates, case.policy, case.now)
        if theirs.blocks:
            return replace(theirs, findings=_tidy([*case.findings, *theirs.findings]))
    return case.verdict(Decision.PASS, Rule.DEIDENTIFIED)


def _tidy(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Each once, the gravest first."""
    grave = list(Severity)
    return tuple(
        sorted(set(findings), key=lambda f: (-grave.index(f.severity), f.code, f.attribute, f.has, f.expected))
    )


# -- two patients --


def _conflicts(case: _Case) -> list[Finding]:
    """Keys that name two patients."""
    found, orders = case.found, case.candidates
    conflicts = []
    for one, other in combinations(sorted(map(sorted, found.each)), 2):
        if not any(same_person(orders[mine], orders[theirs]) for mine in one for theirs in other):
            conflicts.append(finding(Code.KEYS_OF_TWO_PATIENTS))
    for vote in found.votes:
        owned = {place for place in vote.orders if orders[place].key.PatientID}
        if owned == vote.orders and any(owned.isdisjoint(mine) for mine in found.patients):
            of_accession = vote.level is Level.ACCESSION
            code = Code.ACCESSION_OTHER_PATIENT if of_accession else Code.KEYS_OF_TWO_PATIENTS
            conflicts.append(finding(code, "PatientID"))
    return conflicts


# -- no key names an order --


def _without_key(case: _Case) -> Verdict:
    findings = [
        finding(Code.ACCESSION_UNKNOWN, "AccessionNumber", has=header.accession.value)
        for header in case.study.headers
        if header.accession.value
    ]
    for rule, places in ((Rule.BY_PATIENT, case.found.patient), (Rule.BY_NAME, case.found.named)):
        open_orders = [case.candidates[place] for place in sorted(places) if _could_be(case, case.candidates[place])]
        if open_orders and all(same_order(open_orders[0], other) for other in open_orders):
            order = _target(open_orders)
            stands = comparing.relations(case.study, order, case.found)
            findings += comparing.differences(case.study, order, stands)
            return case.verdict(Decision.SUGGEST, rule, order=order, findings=findings, relations=stands)
    if {ae.upper() for ae in case.study.calling_aes} & {ae.upper() for ae in case.policy.emergency_aes}:
        findings.append(finding(Code.EMERGENCY))
        return case.verdict(Decision.UNSCHEDULED, Rule.EMERGENCY, findings=findings)
    return case.verdict(Decision.UNSCHEDULED, Rule.NO_ORDER, findings=findings)


def _could_be(case: _Case, order: Candidate) -> bool:
    """Whether an open order is of the kind and about the time of the study."""
    return order.status not in OFF_LIST and any(
        is_about_time(step, case.study, case.policy)
        and any(comparing.may_be(header.Modality.upper(), step.Modality.upper()) for header in case.study.headers)
        for step in order.procedure.steps
    )


def _target(told: Sequence[Candidate]) -> Candidate:
    """Of several sources of one order the one whose values count, whichever of them a key names: not the desk if there
    is another, then one that tells an accession number, then the one confirmed last."""
    return max(
        told,
        key=lambda one: (
            one.kind is not Kind.DESK,
            bool(one.procedure.accession.value),
            one.confirmed_at,
            one.kind is Kind.LIVE,
            one.id,
        ),
    )


# -- keys name an order --


def _with_key(case: _Case) -> Verdict:
    chosen = [case.candidates[place] for place in sorted(case.found.chosen)]
    if not chosen:
        return case.verdict(Decision.HOLD, Rule.ORDERS_DISAGREE, findings=[finding(Code.ORDERS_DISAGREE)])
    if not all(same_person(one, other) for one, other in combinations(chosen, 2)):
        ambiguous = finding(Code.ACCESSION_AMBIGUOUS, "AccessionNumber")
        return case.verdict(Decision.HOLD, Rule.SEVERAL_PATIENTS, findings=[ambiguous])
    # Another source may tell the same order without the number that names it
    told = [one for one in case.candidates if one in chosen or any(same_order(one, other) for other in chosen)]
    order = _target(told)
    single = order in chosen and all(same_order(order, other) for other in told)
    stands = comparing.relations(case.study, order, case.found)
    against = [
        *comparing.differences(case.study, order, stands),
        *comparing.fitness(case.study, order, case.policy, case.now),
        *comparing.examination(case.study, order, case.policy),
        *_reported(case, order),
        *_contradicted(case, told, order),
    ]
    weighed = plausibility.score(case.study, order, case.candidates, case.policy)
    if weighed.value >= case.policy.wrong_row:
        against.append(finding(Code.WRONG_ROW_SUSPECTED, has=" ".join(weighed.doubts)))
    return _judged(case, order, single=single, stands=stands, against=against, doubt=weighed.value)


def _reported(case: _Case, order: Candidate) -> list[Finding]:
    """What the scanner said of the performed step."""
    reported = []
    for performed in case.study.performed:
        if performed.reason == comparing.WRONG_ENTRY:
            reported.append(finding(Code.WRONG_ENTRY_REPORTED))
        told = likeness.canonical(performed.PatientID)
        numbers = {likeness.canonical(header.PatientID.value) for header in case.study.headers} - {""}
        if told and numbers and told not in numbers | {likeness.canonical(key.PatientID) for key in order.aliases}:
            reported.append(finding(Code.PERFORMED_STEP_DIFFERS, "PatientID", has=performed.PatientID))
    return reported


def _contradicted(case: _Case, chosen: Sequence[Candidate], order: Candidate) -> list[Finding]:
    """Sources that tell one order of two persons, and a number that two patients have, in the header or not."""
    named = [likeness.name(one.patient.PatientName, order.patient.PatientName) for one in chosen]
    contradicted = [finding(Code.ORDER_CONTRADICTED)] if Relation.DIFFERENT in named else []
    accession, number = order.procedure.accession, likeness.canonical(order.key.PatientID)
    if any(
        likeness.same_number(accession, one.procedure.accession) and not same_person(order, one)
        for one in case.candidates
    ):
        contradicted.append(finding(Code.ACCESSION_AMBIGUOUS, "AccessionNumber"))
    namesakes = [each.patient for each in case.study.patients if likeness.canonical(each.number.PatientID) == number]
    if any(not likeness.same_patient(one, other) for one in namesakes for other in namesakes):
        contradicted.append(finding(Code.PATIENT_ID_AMBIGUOUS, "PatientID"))
    return contradicted


def _judged(
    case: _Case,
    order: Candidate,
    *,
    single: bool,
    stands: Mapping[str, Relation],
    against: list[Finding],
    doubt: float,
) -> Verdict:
    def verdict(decision: Decision, rule: Rule, made: tuple[Change, ...] = ()) -> Verdict:
        return case.verdict(decision, rule, order=order, findings=against, changes=made, relations=stands, doubt=doubt)

    own = {one.code for one in case.findings}
    objections = {one.code for one in (*case.findings, *against) if one.severity is Severity.HOLD}
    if objections:
        only_row = objections == {Code.WRONG_ROW_SUSPECTED}
        return verdict(Decision.HOLD, Rule.WRONG_ROW if only_row else Rule.OBJECTION)
    compared = comparing.each_relation(case.study, order, case.found)
    agrees = all(relation in _AGREES for attribute, relation in compared if attribute != "PatientSex")
    if stands["PatientID"] is Relation.MISSING and not case.policy.wider_guard:
        return verdict(Decision.SUGGEST, Rule.NOT_PROVEN)
    proof = _proof(case, order, stands, single=single)
    unfit = any(one.code in comparing.UNFIT for one in against)
    if proof is None or unfit:
        rule = Rule.AGREES if agrees else Rule.ORDER_UNFIT if unfit else Rule.NOT_PROVEN
        return verdict(Decision.PASS if agrees else Decision.HOLD, rule)
    codes = {one.attribute: one.code for one in against}
    made = changes(case.study, order, stands, codes, enrich=case.policy.enrich, single=single)
    if not made:
        return verdict(Decision.PASS, Rule.AGREES)
    if Code.SIGNED in own:
        return verdict(Decision.PASS if agrees else Decision.HOLD, Rule.SIGNED)
    named = stands["PatientID"] is Relation.MISSING and any(one.attribute == "PatientID" for one in made)
    if named and Code.IDENTITY_IN_IMAGE in own:
        return verdict(Decision.HOLD, Rule.IDENTITY_IN_IMAGE)
    if not case.policy.automatic:
        return verdict(Decision.PASS if agrees else Decision.HOLD, Rule.STOPPED)
    fills = agrees and all(one.rule not in _REFORMS for one in made)
    return verdict(Decision.ENRICH if fills else Decision.CORRECT, proof, made)


def _proof(case: _Case, order: Candidate, stands: Mapping[str, Relation], *, single: bool) -> Rule | None:
    """The rule that proves the order; None if none does."""
    grounds = Grounds(
        study=case.study, order=order, candidates=case.candidates, found=case.found, stands=stands, single=single
    )
    if identity_proof.by_accession_and_patient(grounds):
        return Rule.ACCESSION_AND_PATIENT
    return Rule.WIDER_GUARD if case.policy.wider_guard and identity_proof.by_wider_guard(grounds) else None
