"""`/api/v1/tasks`: studies that wait for a person, and what is decided about them, for programs and the page.

What is promised: as `gateway tasks`, `decide`, `hold`, `release`, `reject` and `undo`: what is answered 201 is
durable, and forward carries it out. 404 for an unknown study or rule, 409 for a decision that can't be carried out as
it was put.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query

from gateway.domain.checks import sentence_of
from gateway.domain.task import Choice
from gateway.roles.console import task_models as models
from gateway.roles.console.books import Books
from gateway.spool import Connection, corrections, reconciliation, tasks
from gateway.spool.checks import StudyKey
from gateway.spool.reconciliation import Case, DecisionRefused

BY: Final = "console"
"""Who decides, for the journal, until there are accounts."""
LISTED: Final = 200
Key = Annotated[
    str, Path(min_length=1, max_length=64, description="A task's number, a StudyInstanceUID, an instance id.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRules:
    """What the console needs of the configuration."""

    zone: tzinfo
    now: Callable[[], datetime]
    woken: Callable[[], None]
    """Tells forward that there is something to do."""


def routes(books: Books, rules: TaskRules, errors: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The operations on these books."""
    router = APIRouter(prefix="/api/v1/tasks", responses=errors)
    _tell(router, books, rules)
    _decide(router, books, rules)
    _revoke(router, books, rules)
    return router


def _tell(router: APIRouter, books: Books, rules: TaskRules) -> None:
    @router.get("")
    async def open_tasks(every: bool = False) -> models.Tasks:
        """What is open, what holds images first; with `every` what was decided, too. Nobody is named."""
        found = await books.read(partial(tasks.latest, every=every, limit=LISTED))
        return models.Tasks(at=rules.now(), tasks=[models.Task(**asdict(one)) for one in found])

    @router.get("/rules")
    async def remembered(every: bool = False) -> models.Remembered:
        """Decisions that hold for other studies with the same evidence."""
        found = await books.read(partial(tasks.rules, every=every))
        listed = [models.Rule(**asdict(one) | {"decision": _decision(one.decision)}) for one in found]
        return models.Remembered(at=rules.now(), rules=listed)

    @router.get("/summary")
    async def summary(days: Annotated[int, Query(ge=1, le=90)] = 1) -> models.Summary:
        """What the check decided in the last days, applied or, in shadow mode, would have."""
        until = rules.now()
        since = until - timedelta(days=days)
        found = await books.read(partial(corrections.tallies, since=since, until=until))
        return models.Summary(since=since, until=until, verdicts=[models.Tally(**asdict(one)) for one in found])

    @router.get("/{key}")
    async def one_task(key: Key) -> models.Case:
        """What was found about a study, and the orders that may be meant. It names patients."""

        def look(c: Connection) -> Case:
            return reconciliation.case_of(c, _named(c, key), zone=rules.zone, now=rules.now())

        return _case(await books.read(look))


def _revoke(router: APIRouter, books: Books, rules: TaskRules) -> None:
    @router.post("/rules/{rule}/revoke", status_code=201)
    async def revoke(rule: int) -> models.Revoked:
        """End a remembered decision; what it led to stays."""
        if not await books.write(partial(tasks.revoke, rule=rule, by=BY, now=rules.now())):
            raise HTTPException(404, "No such rule stands; /api/v1/tasks/rules lists them.")
        return models.Revoked(rule=rule)


def _decide(router: APIRouter, books: Books, rules: TaskRules) -> None:
    decided = partial(_decided, books, rules)

    @router.post("/{key}/decide", status_code=201)
    async def assign(key: Key, asked: models.Assignment) -> models.Decided:
        """The study belongs to this order: corrected to it."""

        def target(c: Connection, study: StudyKey) -> dict[str, str]:
            named = asked.model_dump(include={"AccessionNumber", "StudyInstanceUID", "suggested"})
            return reconciliation.target_of(c, study, **named, zone=rules.zone, now=rules.now())

        return await decided(key, Choice.ASSIGN, asked, target=target)

    @router.post("/{key}/release", status_code=201)
    async def release(key: Key, asked: models.Release) -> models.Decided:
        """It goes on as it came."""
        return await decided(key, Choice.RELEASE, asked)

    @router.post("/{key}/hold", status_code=201)
    async def hold(key: Key, asked: models.Because) -> models.Decided:
        """It stays here until somebody decides."""
        return await decided(key, Choice.HOLD, asked)

    @router.post("/{key}/reject", status_code=201)
    async def reject(key: Key, asked: models.Because) -> models.Decided:
        """It goes nowhere."""
        return await decided(key, Choice.REJECT, asked)

    @router.post("/{key}/undo", status_code=201)
    async def undo(key: Key, asked: models.Because) -> models.Decided:
        """What was corrected, or decided last, is taken back."""
        return await decided(key, Choice.UNDO, asked)

    @router.post("/{key}/done", status_code=201)
    async def done(key: Key, asked: models.Because) -> models.Decided:
        """The tasks of the study need nothing more; nothing else is changed."""
        return await decided(key, Choice.SEEN, asked)


async def _decided(
    books: Books,
    rules: TaskRules,
    key: str,
    choice: Choice,
    asked: models.Because,
    *,
    target: Callable[[Connection, StudyKey], dict[str, str]] = lambda _c, _study: {},
) -> models.Decided:
    """Write a decision down."""
    remember = isinstance(asked, models.Release) and asked.remember

    def write(c: Connection) -> int:
        study, now = _named(c, key), rules.now()
        meant = target(c, study)
        return reconciliation.decide(c, study, choice, target=meant, remember=remember, why=asked.why, by=BY, now=now)

    try:
        number = await books.write(write)
    except DecisionRefused as error:
        raise HTTPException(409, f"{str(error).capitalize()}.") from None
    rules.woken()
    return models.Decided(decision=number, choice=choice)


def _named(c: Connection, key: str) -> StudyKey:
    study = reconciliation.study_named(c, key)
    if study is None:
        raise HTTPException(404, "There is no such task or study; /api/v1/tasks?every=true lists them.")
    return study


def _decision(one: tasks.Decision) -> models.Decision:
    return models.Decision(**asdict(one) | {"target": dict(one.target)})


def _case(case: Case) -> models.Case:
    check = case.check
    verdict = None
    if check is not None:
        findings = [models.Finding(**asdict(one), sentence=sentence_of(one.code)) for one in check.verdict.findings]
        verdict = models.Verdict(
            decision=check.verdict.decision,
            because=check.verdict.because,
            blocks=check.verdict.blocks,
            applied=check.applied,
            version=check.verdict.version,
            decided_by=check.decided_by,
            decided_at=check.decided_at,
            order=check.verdict.order.id if check.verdict.order is not None else None,
            findings=findings,
            changes=[models.Change(**asdict(one)) for one in check.verdict.changes],
        )
    return models.Case(
        study=case.study,
        images=case.images,
        way=check.way if check is not None else None,
        held_until=check.held_until if check is not None else None,
        verdict=verdict,
        orders=[
            models.Order(
                id=one.id,
                source=one.source,
                status=one.status,
                AccessionNumber=one.procedure.accession.value,
                StudyInstanceUID=one.procedure.StudyInstanceUID,
                PatientID=one.key.PatientID,
                PatientName=one.patient.PatientName,
                PatientBirthDate=one.patient.PatientBirthDate,
            )
            for one in case.orders
        ],
        tasks=[models.Task(**asdict(one)) for one in case.tasks],
        decisions=[_decision(one) for one in case.decisions],
        read_backs=[models.ReadBack(**asdict(one) | {"expected": dict(one.expected)}) for one in case.read_backs],
    )
