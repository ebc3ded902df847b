"""What must hold of every verdict, whatever the study: shown with few patients and numbers, so that they collide.

Each property was seen to fail on a planted fault (`docs/safety.md` names them).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.domain.identity import decide
from gateway.domain.identity_changes import has_of
from gateway.domain.identity_model import (
    Candidate,
    Change,
    CheckPolicy,
    Decision,
    Header,
    Naming,
    Request,
    Study,
    Verdict,
)
from gateway.domain.order_model import Identifier, PatientKey
from tests.domain import identity_table
from tests.domain.identity_table import NOW

WORLDS = int(os.environ.get("GATEWAY_WORLDS", "30"))
"""For each example of Hypothesis."""
WRITES = {Decision.CORRECT, Decision.ENRICH}
PEOPLE = [
    ("700123", "MILLER^ANNA", "19700213", "F"),
    ("700124", "MILLER^HANNA", "19700213", "F"),  # her twin
    ("700132", "MILLER^JOHN", "19400213", "M"),
    ("800555", "JONES^MARY", "19811130", "F"),
]
ALIASES = {"700123": [["700213"], ["EDGE|A700123"]], "800555": [["700555"]]}
NUMBERS = ["", "700555", "700123", "700124", "700132", "800555", "700213", "A700123"]
NAMES = ["", "MILLER^ANNA", "MYLLER^ANNA", "MILLER^HANNA", "MILLER^JOHN", "JONES^MARY", "UNKNOWN", "MILLER^A"]
BIRTHS = ["", "19700213", "19701302", "19700212", "19400213", "19811130", "19000101"]
ACCESSIONS = ["", "A1001", "A1002", "a1001", "A1010", "A2020", "A3030", "A4040"]
STUDIES = ["1.1", "1.2", "1.3", "1.99"]
IDS = ["", "R1", "R2"]


World = tuple[Study, tuple[Candidate, ...], CheckPolicy]


def made_order(random: Random, name: str) -> Candidate:
    number, patient, born, sex = random.choice(PEOPLE)
    rp = random.choice(IDS)
    return identity_table.order(
        id=name,
        PatientID=number,
        PatientName=patient,
        PatientBirthDate=random.choice([born, born, ""]),
        PatientSex=sex,
        AccessionNumber=random.choice(ACCESSIONS),
        StudyInstanceUID=random.choice(STUDIES),
        RequestedProcedureID=rp,
        kind=random.choice(["live", "live", "hl7", "hl7", "hl7", "desk"]),
        steps=[{"ScheduledProcedureStepID": f"S{rp}", "start": random.choice([0.2, 0.5, 2, 60])}],
        aliases=random.choice([[], [], *ALIASES.get(number, [])]),
        confirmed_at=random.choice([0.1] * 9 + [30]),
        is_contradicted=random.random() < 0.1,
        RequestedProcedureDescription=random.choice(["CT chest", "CT knee"]),
    )


def made_header(random: Random) -> Header:
    number, patient, born, sex = random.choice(PEOPLE)
    accession, rp = random.choice(ACCESSIONS), random.choice(IDS)
    request = {"AccessionNumber": accession, "RequestedProcedureID": rp, "ScheduledProcedureStepID": f"S{rp}"}
    return identity_table.header(
        PatientID=random.choice([number, number, *NUMBERS]),
        PatientName=random.choice([patient, patient, *NAMES]),
        PatientBirthDate=random.choice([born, born, *BIRTHS]),
        PatientSex=random.choice([sex, sex, "", "M"]),
        AccessionNumber=accession,
        StudyInstanceUID=random.choice(STUDIES),
        requests=random.choice([[], [], [request]]),
        BodyPartExamined=random.choice(["", "CHEST", "KNEE"]),
    )


def made_world(seed: int) -> World:
    """A study, its orders and a policy; what the books know of its numbers follows from the orders."""
    random = Random(seed)
    known = tuple(made_order(random, f"o{place}") for place in range(random.randint(1, 3)))
    first = made_header(random)
    if random.random() < 0.8:
        first = _agreeing(first, random.choice(known), random)
    others = [made_header(random)] if random.random() < 0.2 else []
    seen = tuple(dict.fromkeys((first, *(replace(one, StudyInstanceUID=first.StudyInstanceUID) for one in others))))
    patients = {Naming(one.key, one.key) for one in known} | {
        Naming(alias, one.key) for one in known for alias in one.aliases
    }
    study = replace(identity_table.study([{}]), headers=seen, patients=frozenset(patients))
    return study, known, CheckPolicy(wider_guard=random.random() < 0.5)


def _agreeing(header: Header, order: Candidate, random: Random) -> Header:
    """The header as the order has it, with up to three things wrong."""
    patient = order.patient
    values: dict[str, Any] = {
        "PatientID": Identifier(value=order.key.PatientID),
        "PatientName": patient.PatientName,
        "PatientBirthDate": patient.PatientBirthDate,
        "PatientSex": patient.PatientSex,
        "accession": order.procedure.accession,
        "StudyInstanceUID": order.procedure.StudyInstanceUID,
        "requests": (),
    }
    wrong: list[dict[str, Any]] = [
        {name: getattr(header, name)}
        for name in ("PatientID", "PatientName", "PatientBirthDate", "accession", "requests")
    ]
    wrong += [{"PatientID": Identifier(value=alias.PatientID)} for alias in order.aliases for _ in "1234"]
    wrong += [{"PatientName": "MYLLER^ANNA"}, {"PatientName": "UNKNOWN"}, {"PatientBirthDate": "19700212"}]
    wrong += [
        {"PatientSex": "M"},
        {"PatientSex": "F"},
        {"StudyInstanceUID": "1.99"},
        {"PatientID": Identifier(value="")},
    ]
    for change in random.sample(wrong, random.randint(0, 3)):
        values |= change
    return replace(header, **values)


def essence(verdict: Verdict) -> tuple[object, ...]:
    order = None if verdict.order is None else verdict.order.id
    told = (verdict.decision, verdict.because, order, verdict.blocks, verdict.changes, verdict.findings)
    return (*told, verdict.evidence, verdict.relations, verdict.plausibility)


def the_order_in_which_orders_and_images_come_decides_nothing(world: World, random: Random) -> None:
    study, known, policy = world
    shuffled, images = list(known), list(study.headers)
    random.shuffle(shuffled)
    random.shuffle(images)
    again = decide(replace(study, headers=tuple(images)), shuffled, policy, NOW)
    assert essence(again) == essence(decide(study, known, policy, NOW))


def an_order_that_shares_no_key_never_makes_a_change(world: World, random: Random) -> None:
    study, known, policy = world
    stranger = made_order(random, "stranger")
    stranger = replace(
        stranger,
        key=PatientKey("", "999999"),
        aliases=frozenset(),
        procedure=replace(
            stranger.procedure, StudyInstanceUID="1.555", accession=Identifier(value="Z9"), RequestedProcedureID="Z"
        ),
    )
    before, after = decide(study, known, policy, NOW), decide(study, [*known, stranger], policy, NOW)
    if after.decision in WRITES:
        assert before.decision is after.decision
        assert before.changes == after.changes
    if before.blocks:
        assert after.blocks


def taking_away_what_agrees_never_turns_a_doubt_into_a_change(world: World, random: Random) -> None:
    study, known, policy = world
    before = decide(study, known, policy, NOW)
    if before.decision in WRITES | {Decision.PASS}:
        return
    for attribute in (name for name, relation in before.relations.items() if relation == "equal"):
        less = tuple(dict.fromkeys(_without(header, attribute) for header in study.headers))
        after = decide(replace(study, headers=less), known, policy, NOW)
        assert after.decision not in WRITES, (attribute, before.because, after.because)


def _without(header: Header, attribute: str) -> Header:
    if attribute == "AccessionNumber":
        requests = tuple(replace(one, accession=Identifier(value="")) for one in header.requests)
        return replace(header, accession=Identifier(value=""), requests=requests)
    empty: Any = Identifier(value="") if attribute == "PatientID" else ""
    return replace(header, **{attribute: empty})


def two_keys_that_name_two_patients_always_block(world: World, random: Random) -> None:
    """The accession number of an order, and the PatientID of somebody else who is known and has no order of it."""
    study, known, policy = world
    order = random.choice(known)
    other = next(number for number, *_ in PEOPLE if number != order.key.PatientID)
    namesakes = {each.patient for each in study.patients if each.number.PatientID == other}
    accession = order.procedure.accession
    owners = [one for one in known if one.procedure.accession.value.casefold() == accession.value.casefold()]
    if not accession.value or any(one.key.PatientID == other or one.key in namesakes for one in owners):
        return
    header = replace(study.headers[0], PatientID=Identifier(value=other), accession=accession)
    somebody = Naming(PatientKey("", other), PatientKey("", other))
    conflicting = replace(study, headers=(header, *study.headers[1:]), patients=study.patients | {somebody})
    verdict = decide(conflicting, known, policy, NOW)
    assert verdict.decision is Decision.HOLD
    assert verdict.blocks
    assert not verdict.changes


def nobody_is_renumbered_without_the_order_and_the_patient_exact(world: World, random: Random) -> None:
    study, known, _ = world
    verdict = decide(study, known, CheckPolicy(), NOW)
    if verdict.decision not in WRITES:
        assert not verdict.changes
        return
    order = verdict.order
    assert order is not None
    for header in study.headers:
        known_as = {each.number.PatientID for each in study.patients if each.patient == order.key}
        assert header.PatientID.value in known_as | {order.key.PatientID}
    accessions = {header.accession.value.casefold() for header in study.headers} | {
        request.accession.value.casefold() for header in study.headers for request in header.requests
    }
    assert order.procedure.accession.value.casefold() in accessions
    assert order.kind != "desk"
    assert not order.is_contradicted
    assert NOW - order.confirmed_at <= timedelta(hours=24)


def what_was_written_is_not_written_again(world: World, random: Random) -> None:
    study, known, policy = world
    verdict = decide(study, known, policy, NOW)
    if verdict.decision not in WRITES:
        return
    written = tuple(dict.fromkeys(_written(header, verdict.changes) for header in study.headers))
    again = decide(replace(study, headers=written), known, policy, NOW)
    assert again.decision is Decision.PASS, (verdict.changes, again.because, again.changes)


def _written(header: Header, changes: tuple[Change, ...]) -> Header:
    """The header with the changes: what `coercion` does, on values instead of bytes."""
    for change in changes:
        if change.attribute in {"RequestedProcedureID", "ScheduledProcedureStepID"}:
            first = replace(header.requests[0] if header.requests else Request(), **{change.attribute: change.value})
            header = replace(header, requests=(first, *header.requests[1:]))
        elif change.attribute == "PatientID":
            header = replace(header, PatientID=Identifier(value=change.value, authority=header.PatientID.authority))
        elif change.attribute == "IssuerOfPatientID":
            header = replace(header, PatientID=replace(header.PatientID, authority=change.value))
        elif change.attribute == "AccessionNumber":
            header = replace(header, accession=Identifier(value=change.value))
        elif change.rule != "enrich" or not has_of(header, change.attribute):
            header = replace(header, **{change.attribute: change.value})
    return header


PROPERTIES = [
    the_order_in_which_orders_and_images_come_decides_nothing,
    an_order_that_shares_no_key_never_makes_a_change,
    taking_away_what_agrees_never_turns_a_doubt_into_a_change,
    two_keys_that_name_two_patients_always_block,
    nobody_is_renumbered_without_the_order_and_the_patient_exact,
    what_was_written_is_not_written_again,
]


@pytest.mark.slow
@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda holds: holds.__name__.replace("_", " "))
@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(first=st.integers(0, 2**48))
def test_of_every_verdict(holds: Callable[[World, Random], None], first: int) -> None:
    """A world is made of a number and has a hundred choices, so that drawing them one by one would be most of the
    time; a failure names its first number."""
    for number in range(first, first + WORLDS):
        holds(made_world(number), Random(number))
