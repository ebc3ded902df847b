"""Rows into the responses of one C-FIND, as the scanner can take them (PS3.4 K.4.1.3, PS3.7 9.1.2).

What is promised: each row is shown by the scanner's profile (`presenting`), and no more rows than it takes: those
nearest to now with an alarm, or a refusal (A700) where the profile prefers that. A C-CANCEL takes effect within
ten responses, and the final status says whether it did. To a console that polls, the profile may let the same
question have the same bytes for a few seconds. What is kept for that is bounded in bytes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Final, TypeAlias

from gateway.dicom import elements
from gateway.dicom.dimse import Status
from gateway.domain.explain import Stage
from gateway.domain.profile import Above, Profile, Quirk
from gateway.domain.worklist import Start, date_of, dated, nearest_first, project, time_at, time_span
from gateway.net.dicom_service import Exchange
from gateway.roles.worklist.presenting import View, present, view_of
from gateway.roles.worklist.question import Question
from gateway.roles.worklist.recall import Presented, Remembered
from gateway.roles.worklist.rows import Shape, identifier_of, parsed, shape_of
from gateway.spool import Spool, audit, desk
from gateway.spool.rows import as_elements
from gateway.spool.served import Shown
from gateway.spool.worklist import Candidate

RESPONSES_PER_WRITE = 8
"""Fewer than the ten responses within which a C-CANCEL must take effect."""
POLLS_KEPT: Final = 64
POLL_KEPT: Final = 256 << 10
"""Questions of consoles that poll, and bytes of one with its answer, that are kept."""
ALARM_CAPPED: Final = "worklist-capped"

Answer: TypeAlias = "tuple[list[Shown], int | None]"
"""What was sent before the scanner cancelled or left, and the final status; None if it had left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer that may be given again."""

    question: Question
    shown: Sequence[Shown]
    at: datetime


class Answering:
    """The answers of one box."""

    def __init__(self, spool: Spool, *, now: Callable[[], datetime], zone: tzinfo) -> None:
        self._spool = spool
        self._now = now
        self._zone = zone
        self._polls: OrderedDict[tuple[str, str, bytes], Kept] = OrderedDict()
        self._capped: dict[str, bool] = {}

    def kept(self, exchange: Exchange, profile: Profile) -> Kept | None:
        """The answer to this very question of a moment ago, if the profile lets it be given again. An entry that
        the desk made since is not waited for."""
        kept = self._polls.get(_poll(exchange)) if profile.polling else None
        if kept is None or not kept.at <= self._now() < kept.at + profile.polling:
            return None
        return kept if kept.question.trail.newest_entry == desk.newest(self._spool.db.read()) else None

    async def again(self, exchange: Exchange, kept: Kept) -> Answer:
        """Send the same bytes."""
        kept.question.trail.quirks[Quirk.ANSWERED_AGAIN] = 1
        return await _send(exchange, kept.shown)

    async def answer(self, exchange: Exchange, remembered: Remembered, rows: Sequence[Candidate]) -> Answer:
        """Send the rows and the final status."""
        question = remembered.question
        if question.is_unanswered and not rows:  # what there is then is of the desk
            exchange.respond(Status.UNABLE_TO_PROCESS, comment="no RIS answered in time")
            return [], Status.UNABLE_TO_PROCESS
        profile, trail = question.policy.profile, question.trail
        excess = len(rows) - profile.max_answers
        self._tell(question, capped=excess > 0)
        if excess > 0 and profile.above is Above.REFUSE:
            trail.quirks[Quirk.REFUSED] = 1
            trail.dropped[Stage.LIMIT] += len(rows)
            comment = f"{len(rows)} steps match; ask for a day, a modality or a patient"
            exchange.respond(Status.OUT_OF_RESOURCES, comment=comment)
            return [], Status.OUT_OF_RESOURCES
        if excess > 0:
            trail.quirks[Quirk.CAPPED] = 1
            trail.dropped[Stage.LIMIT] += excess
            rows = (await self._nearest(rows))[: profile.max_answers]
        shown, status = await _send(exchange, _shown(exchange, remembered, rows))
        trail.dropped[Stage.LIMIT] += len(rows) - len(shown)
        if profile.polling and status == Status.SUCCESS:
            self._keep(exchange, Kept(question=question, shown=shown, at=self._now()))
        return shown, status

    def _keep(self, exchange: Exchange, kept: Kept) -> None:
        size = len(exchange.data_set) + sum(len(row.row) + len(row.response) for row in kept.shown)
        self._polls.pop(_poll(exchange), None)
        if size <= POLL_KEPT:
            self._polls[_poll(exchange)] = kept
        if len(self._polls) > POLLS_KEPT:
            self._polls.popitem(last=False)

    async def _nearest(self, rows: Sequence[Candidate]) -> list[Candidate]:
        """Off the loop: a list that is too long must not hold up the other associations."""
        return await asyncio.to_thread(nearest_first, rows, self._now().astimezone(self._zone), of=_start)

    def _tell(self, question: Question, *, capped: bool) -> None:
        """Raise the alarm when a scanner's day list is cut, and clear it when one fits again. A search that finds
        too much is nobody's fault."""
        calling = question.calling.strip()
        if question.query.is_patient_based or self._capped.get(calling) is capped:
            return
        self._capped[calling] = capped
        change = audit.raise_alarm if capped else audit.clear_alarm
        told = partial(change, code=ALARM_CAPPED, subject=calling.replace("^", "_"), now=self._now())
        self._spool.db.write(told)


def _shown(exchange: Exchange, remembered: Remembered, rows: Iterable[Candidate]) -> Iterator[Shown]:
    """Each row as this scanner is to see it, made when its turn comes: a scanner may break off."""
    syntax, counted = exchange.context.transfer_syntax, remembered.question.trail.quirks
    lens = Lens.of(remembered.question, syntax)
    for row in rows:
        encoded, quirks = remembered.present((row.digest, row.as_of), partial(lens.show, row))
        if quirks:
            counted.update(quirks)
        yield Shown(row.source, row.key, row.dataset, encoded, syntax, row.conflict)


def _start(row: Candidate) -> Start:
    at = time_span(row.start_time)
    return Start(date_of(row.start_date), time_at(at[0]) if at else None, f"{row.key}\\{row.source}")


def _poll(exchange: Exchange) -> tuple[str, str, bytes]:
    return exchange.caller.calling_ae, exchange.context.transfer_syntax, exchange.data_set


async def _send(exchange: Exchange, rows: Iterable[Shown]) -> Answer:
    sent: list[Shown] = []
    for number, row in enumerate(rows):
        if number % RESPONSES_PER_WRITE == 0:
            await exchange.flush()
        if exchange.cancelled or exchange.closed:
            break
        exchange.respond(Status.PENDING, data_set=row.response)
        sent.append(row)
    status = Status.CANCEL if exchange.cancelled else Status.SUCCESS
    exchange.respond(status)
    return sent, None if exchange.closed else status


@dataclass(frozen=True, slots=True)
class Lens:
    """All that the response to a row depends on beside the row."""

    shape: Shape
    transfer_syntax: str
    view: View

    @classmethod
    def of(cls, question: Question, transfer_syntax: str) -> Lens:
        """The lens of one question."""
        view = view_of(question.policy.profile, question.identifier, calling=question.calling, today=question.today)
        return cls(shape_of(question.identifier), transfer_syntax, view)

    def show(self, candidate: Candidate) -> Presented:
        """The response, encoded, and what the profile did for it."""
        row = dated(parsed(candidate.dataset), candidate.as_of)
        shown, quirks = present(project(identifier_of(self.shape), row), row, self.view)
        return elements.encode(as_elements(shown), self.transfer_syntax), quirks
