"""Whether the right row was picked: what speaks against an order with which the header agrees in everything.

A header that agrees with the wrong worklist entry can't be told from a right one by its identifiers: it was made from
that entry. What is left is second-hand: what was examined, where, when, and whose order stayed undone. So this is a
score that asks for a look (`CheckPolicy.wrong_row`), never a proof and never a correction.

What it can't catch: two patients booked for the same examination on the same scanner at about the same time, one
picked for the other. Nothing in the images says so, but a performed step that the scanner discontinued for it
(110514, PS3.16 CID 9300), which `identity` holds for by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.domain import body_regions
from gateway.domain.identity_comparing import may_be
from gateway.domain.identity_evidence import is_about_time, same_person
from gateway.domain.identity_model import Candidate, CheckPolicy, Study
from gateway.domain.order_model import OFF_LIST

OVERDUE: Final = timedelta(hours=3)
"""So long ago at most another patient's step was scheduled to begin, to be missed now."""


class Doubt(StrEnum):
    """What speaks for a wrong row."""

    STATION = "station"
    """The order is for other stations."""
    TIME = "time"
    """It is scheduled for another time."""
    REGION = "region"
    """It is for another part of the body."""
    RIVAL = "rival"
    """Another patient's order at this station was due nearer to now, and stays undone."""
    RIVAL_REGION = "rival-region"
    """That order is for the part of the body that was examined, and this one is not."""
    SIBLING = "sibling"
    """The same patient has another open order that fits what was done."""
    DONE = "done"
    """The step was completed before."""


WEIGHTS: Final = {
    Doubt.STATION: 0.75,
    Doubt.TIME: 1.0,
    Doubt.REGION: 1.25,
    Doubt.RIVAL: 0.75,
    Doubt.RIVAL_REGION: 1.0,
    Doubt.SIBLING: 1.0,
    Doubt.DONE: 0.75,
}


class Score(NamedTuple):
    """The sum of what speaks against the row, and what it was."""

    value: float
    doubts: tuple[Doubt, ...]


def score(study: Study, order: Candidate, candidates: Sequence[Candidate], policy: CheckPolicy) -> Score:
    """What speaks for a wrong row; `candidates` hold the orders at the station about the time."""
    doubts = tuple(sorted(set(_doubts(study, order, candidates, policy))))
    return Score(sum(WEIGHTS[doubt] for doubt in doubts), doubts)


def _doubts(study: Study, order: Candidate, candidates: Sequence[Candidate], policy: CheckPolicy) -> Iterator[Doubt]:
    here = _stations(study)
    if all(step.ScheduledStationAETitle for step in order.procedure.steps) and not _is_at(order, here):
        yield Doubt.STATION
    if not any(is_about_time(step, study, policy) for step in order.procedure.steps):
        yield Doubt.TIME
    examined = body_regions.regions(
        text for header in study.headers for text in (header.BodyPartExamined, header.ProtocolName)
    )
    fits = body_regions.may_be(examined, _regions(order))
    if not fits:
        yield Doubt.REGION
    mine = {performed.PerformedProcedureStepID for performed in study.performed}
    if any(step.status == "COMPLETED" and step.PerformedProcedureStepID not in mine for step in order.performed):
        yield Doubt.DONE
    for other in candidates:
        if other.id == order.id or other.status in OFF_LIST or other.performed or not _is_of_modality(study, other):
            continue
        would_fit = bool(examined & _regions(other)) and not fits
        if same_person(other, order):
            if would_fit:
                yield Doubt.SIBLING
        elif _is_at(other, here) and _is_nearer(other, order, study.first_received):
            yield Doubt.RIVAL
            if would_fit:
                yield Doubt.RIVAL_REGION


def _stations(study: Study) -> frozenset[str]:
    performed = (header.PerformedStationAETitle for header in study.headers)
    return frozenset(title.strip().upper() for title in (*study.calling_aes, *performed) if title.strip())


def _is_at(order: Candidate, stations: frozenset[str]) -> bool:
    return any(
        title.strip().upper() in stations for step in order.procedure.steps for title in step.ScheduledStationAETitle
    )


def _regions(order: Candidate) -> frozenset[str]:
    procedure = order.procedure
    codes = [*procedure.RequestedProcedureCodeSequence]
    texts = [procedure.RequestedProcedureDescription]
    for step in procedure.steps:
        codes += step.ScheduledProtocolCodeSequence
        texts.append(step.ScheduledProcedureStepDescription)
    return body_regions.regions([*texts, *(code.CodeMeaning for code in codes)])


def _is_of_modality(study: Study, order: Candidate) -> bool:
    return any(
        may_be(header.Modality.upper(), step.Modality.upper())
        for header in study.headers
        for step in order.procedure.steps
    )


def _is_nearer(other: Candidate, order: Candidate, at: datetime) -> bool:
    """Whether the other order was due by then, lately, and nearer to then than this one."""
    due = [step.start for step in other.procedure.steps if step.start is not None and step.start <= at]
    if not due or at - max(due) > OVERDUE:
        return False
    begins = [abs(at - step.start) for step in order.procedure.steps if step.start is not None]
    return not begins or at - max(due) < min(begins)
