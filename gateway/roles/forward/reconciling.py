"""What makes a study be looked at again: a person's decision, an order or a patient that changed, time that is over.

Promises
- A decision is carried out once, in the transaction that says so; what it comes to is written beside it.
- What changed of orders and patients is looked at in the order of the commits; the place up to which that was done is
  in the books. Worklists of RISs that are asked tell nothing, so studies in doubt are looked at again by and by.
- A hold that is over ends here; a task that waits too long for a person becomes an alarm.
- One decision, study or order that can't be read or written down holds up no other, and no image that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.domain.kill_switch import Limits
from gateway.domain.model import TemporaryFailure
from gateway.domain.task import Choice, TaskKind
from gateway.roles.forward.check import Check
from gateway.roles.forward.judging import CheckRules
from gateway.roles.forward.recording import is_same
from gateway.spool import Connection, Spool, checks, corrections, order_books, order_changes, tasks
from gateway.spool.checks import StudyKey
from gateway.spool.tasks import Decision

AT_ONCE: Final = 50
CHANGES_AT_ONCE: Final = 500
DOUBT_EVERY: Final = timedelta(seconds=15)
"""How long a study in doubt is left alone before the worklists are looked at again for it."""
WATCH_EVERY: Final = timedelta(minutes=1)
"""How often it is looked whether corrections must stop."""
A_DAY: Final = timedelta(days=1)
DOUBT_FOR: Final = timedelta(days=7)
SETTLED_BY_HAND: Final = (
    TaskKind.IDENTITY,
    TaskKind.AFTER_DELIVERY,
    TaskKind.NOT_TAKEN_OVER,
    TaskKind.CHECK_FAILED,
)

log = structlog.get_logger()


class Reconciler:
    """Looks for such studies, a round at a time, in the thread of its caller."""

    def __init__(self, spool: Spool, check: Check, rules: CheckRules, *, now: Callable[[], datetime]) -> None:
        self._spool = spool
        self._check = check
        self._rules = rules
        self._now = now
        self._watched_at = now() - WATCH_EVERY
        self._told_at = now()

    def round(self) -> bool:
        """Whether anything was changed."""
        c = self._spool.db.read()
        changed = [self._carry_out(c, decision) for decision in tasks.waiting(c, limit=AT_ONCE)]
        self._follow_changes(c)
        changed.append(self._look_again(c))
        self._escalate(c)
        self._watch_corrections()
        self._tell_the_day(c)
        return any(changed)

    # -- decisions --

    def _carry_out(self, c: Connection, decision: Decision) -> bool:
        """A fault is the decision's outcome: it holds up no other."""
        try:
            self._spool.db.write(self._prepared(c, decision)).result()
        except TemporaryFailure:
            raise
        except LookupError as error:
            self._failed(decision, f"not possible: {error}")
        except Exception as error:  # noqa: BLE001 -- the decision's edge
            log.error("decision failed", decision=decision.id, error=type(error).__name__)
            self._failed(decision, f"failed: {type(error).__name__}")
        return True

    def _failed(self, decision: Decision, outcome: str) -> None:
        self._spool.db.write(lambda w: tasks.carried(w, decision, outcome=outcome, now=self._now())).result()

    def _prepared(self, c: Connection, decision: Decision) -> Callable[[Connection], None]:
        """The transaction of a decision."""
        if decision.choice is Choice.SEEN:
            return lambda w: self._seen(w, decision)
        afresh = self._takes_back(c, decision)
        looked = self._check.look_again(c, decision.study, None if afresh else decision, afresh=afresh)

        def write(w: Connection) -> None:
            way = self._check.write(w, looked)
            if decision.remember and looked.judged is not None:
                tasks.remember(w, decision, looked.judged.check.fingerprint)
            tasks.carried(w, decision, outcome=way, now=self._now())

        return write

    def _takes_back(self, c: Connection, decision: Decision) -> bool:
        """Whether it only takes back what a person said: then the rules decide anew. What the check itself, or an
        assignment, corrected is taken back by leaving the study as it came."""
        if decision.choice is not Choice.UNDO:
            return False
        standing = checks.of_study(c, decision.study)
        said = None if standing is None or standing.decision is None else tasks.decision(c, standing.decision)
        return said is not None and said.choice is not Choice.ASSIGN

    def _seen(self, c: Connection, decision: Decision) -> None:
        wanted = decision.target.get("kind")
        for kind in SETTLED_BY_HAND:
            if wanted in {None, kind}:
                tasks.settle(c, decision.study, kind, by=decision.decided_by, outcome="seen", now=self._now())
        tasks.carried(c, decision, outcome="seen", now=self._now())

    # -- changes and time --

    def _follow_changes(self, c: Connection) -> None:
        """Mark the studies that what changed of orders and patients may concern."""
        changes = order_changes.since(c, checks.cursor(c), limit=CHANGES_AT_ONCE)
        if not changes:
            return
        orders = (_read(c, number) for number in {one.order for one in changes} if number is not None)
        whole = [order for order in orders if order is not None]
        studies = {study for order in whole for study in order.known.studies}
        accessions = {order.procedure.accession.value for order in whole}.union(*(one.accessions for one in whole))
        patients = {one.patient.PatientID for one in changes}

        def mark(w: Connection) -> None:
            checks.touch(w, studies=studies, accessions=accessions, patients=patients)
            checks.move_cursor(w, changes[-1].seq)

        self._spool.db.write(mark).result()

    def _look_again(self, c: Connection) -> bool:
        now = self._now()
        due = [
            *checks.again(c, limit=AT_ONCE),
            *checks.overdue(c, now=now, limit=AT_ONCE),
            *checks.doubtful(c, looked_before=now - DOUBT_EVERY, since=now - DOUBT_FOR, limit=AT_ONCE),
        ]
        unchanged: list[StudyKey] = []
        changed = 0
        for study in dict.fromkeys(due):
            if self._is_unchanged(c, study):
                unchanged.append(study)
            else:
                changed += 1
        if unchanged:
            self._spool.db.write(lambda w: checks.settled(w, unchanged, now=now)).result()
        return changed > 0

    def _is_unchanged(self, c: Connection, study: StudyKey) -> bool:
        try:
            looked = self._check.look_again(c, study)
            if looked.judged is None or (is_same(looked.standing, looked.judged) and not looked.new):
                return True
            self._spool.db.write(lambda w: self._check.write(w, looked)).result()
        except TemporaryFailure:
            raise
        except Exception as error:  # noqa: BLE001 -- what stands of the study stands
            log.error("not looked at again", error=type(error).__name__)
            return True
        return False

    def _watch_corrections(self) -> None:
        """Stop correcting when something is not as it was (`gateway.domain.kill_switch`)."""
        now = self._now()
        if now - self._watched_at < WATCH_EVERY:
            return
        self._watched_at = now
        senders = self._rules.senders
        self._spool.db.write(lambda w: corrections.watch(w, senders=senders, limits=Limits(), now=now)).result()

    def _tell_the_day(self, c: Connection) -> None:
        """Once a day, a log line for each kind of verdict: in shadow mode, what would have been done."""
        now = self._now()
        if now - self._told_at < A_DAY:
            return
        for one in corrections.tallies(c, since=self._told_at, until=now):
            log.info("checked in a day", verdict=one.verdict, applied=one.applied, by=one.by, studies=one.studies)
        self._told_at = now

    def _escalate(self, c: Connection) -> None:
        now = self._now()
        if tasks.is_due(c, now=now):
            after = now + self._rules.patience.escalate
            self._spool.db.write(lambda w: tasks.escalate(w, now=now, next_at=after, limit=AT_ONCE)).result()


def _read(c: Connection, number: int) -> order_books.Order | None:
    """The order of that number; one that can't be read is left out: its patient is told of beside it."""
    try:
        return order_books.order(c, number)
    except ValueError as error:
        log.error("order not read", order=number, error=type(error).__name__)
        return None
