"""What a person sees of a study that is in doubt, and what of their decisions can be written down at all.

Promises
- A study is named by the number of a task, a StudyInstanceUID, or our id of any of its images.
- An order that a person names must be one the books know, and one alone; else DecisionRefused says why.
- Nothing is carried out here: a decision is a row (`tasks.decide`), and forward does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from gateway.domain.identity_model import Candidate, Header
from gateway.domain.model import InstanceId, PermanentFailure
from gateway.domain.task import Choice
from gateway.spool import candidates, checks, instances, read_backs, tasks
from gateway.spool.candidates import Asked
from gateway.spool.checks import StudyCheck, StudyKey
from gateway.spool.db import Connection
from gateway.spool.read_backs import ReadBack
from gateway.spool.tasks import Decision, Task


class DecisionRefused(PermanentFailure):
    """What was decided can't be carried out as it was put; the message says what to put instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A study in doubt, as a person needs to see it."""

    study: StudyKey
    check: StudyCheck | None
    headers: Sequence[Header]
    orders: Sequence[Candidate]
    """That share a number with it."""
    tasks: Sequence[Task]
    decisions: Sequence[Decision]
    read_backs: Sequence[ReadBack]
    images: int


def study_named(c: Connection, key: str) -> StudyKey | None:
    """The study that is meant; None if there is none."""
    key = key.strip()
    if (task := tasks.named(c, key)) is not None:
        return task.study
    if (instance := instances.get(c, InstanceId(key))) is not None:
        return checks.key_of(instance)
    return StudyKey(key) if key and checks.images(c, StudyKey(key)) else None


def case_of(c: Connection, study: StudyKey, *, zone: tzinfo, now: datetime) -> Case:
    """Everything that is known of it."""
    return Case(
        study=study,
        check=checks.of_study(c, study),
        headers=[one.header for one in checks.headers_of(c, study)],
        orders=_orders(c, study, zone=zone, now=now),
        tasks=tasks.of_study(c, study),
        decisions=tasks.decisions_of(c, study),
        read_backs=read_backs.of_study(c, study),
        images=len(checks.images(c, study)),
    )


def target_of(
    c: Connection,
    study: StudyKey,
    *,
    AccessionNumber: str,
    StudyInstanceUID: str = "",
    suggested: bool = False,
    zone: tzinfo,
    now: datetime,
) -> dict[str, str]:
    """The order that a person means, for `tasks.decide`. Raises DecisionRefused."""
    if bool(AccessionNumber) == suggested:
        raise DecisionRefused("name an accession number, or take the order that is suggested: one of the two")
    if suggested:
        check = checks.of_study(c, study)
        if check is None or check.verdict.order is None:
            raise DecisionRefused("no order is suggested for this study; name one by its accession number")
        return _target(check.verdict.order)
    found = _orders(c, study, zone=zone, now=now, AccessionNumber=AccessionNumber, StudyInstanceUID=StudyInstanceUID)
    named = [
        one
        for one in found
        if AccessionNumber.strip().upper() in {one.procedure.accession.value.upper(), *map(str.upper, one.accessions)}
        and StudyInstanceUID in {"", one.procedure.StudyInstanceUID}
    ]
    if not named:
        raise DecisionRefused("no order with that accession number is known; enter it in the RIS, or type it anew")
    if len({(one.key, one.procedure.StudyInstanceUID) for one in named}) > 1:
        raise DecisionRefused("several orders have that accession number; say which by its Study Instance UID")
    return _target(named[0])


def decide(
    c: Connection,
    study: StudyKey,
    choice: Choice,
    *,
    target: Mapping[str, str] | None = None,
    remember: bool = False,
    why: str,
    by: str,
    now: datetime,
) -> int:
    """Writes the decision down; its number. Raises DecisionRefused for one that changes nothing."""
    if choice is Choice.UNDO and checks.of_study(c, study) is None:
        raise DecisionRefused("nothing was decided or corrected of this study")
    return tasks.decide(c, study, choice, target=target, remember=remember, why=why, by=by, now=now)


def _target(order: Candidate) -> dict[str, str]:
    whole = order.procedure
    return {
        "order": order.id,
        "AccessionNumber": whole.accession.value,
        "StudyInstanceUID": whole.StudyInstanceUID,
    }


def _orders(
    c: Connection,
    study: StudyKey,
    *,
    zone: tzinfo,
    now: datetime,
    AccessionNumber: str = "",
    StudyInstanceUID: str = "",
) -> Sequence[Candidate]:
    origins = checks.origins(c, study)
    if origins is None:
        return ()
    asked = Asked(
        study=study,
        headers=[one.header for one in checks.headers_of(c, study)],
        scanners=origins.scanners,
        first_received=origins.first,
        zone=zone,
        AccessionNumber=AccessionNumber.strip(),
        StudyInstanceUID=StudyInstanceUID.strip(),
    )
    return candidates.find(c, asked, now=now).candidates
