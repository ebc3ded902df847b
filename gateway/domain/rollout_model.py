"""A rollout as values, and how each box stands to it. Pure; what is done next decides `gateway.domain.rollout`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain.command import Code, Outcome, Phase, Reason
from gateway.domain.update import Objection

_PASSING: Final = frozenset(
    {Reason.ASSOCIATION_OPEN, Reason.EXAM_DUE, Code.INTERRUPTED, Code.NO_ANSWER, Objection.MIRROR}
)
"""Answers after which it is asked again."""


class Kind(StrEnum):
    """What is rolled out."""

    CONFIGURATION = "configuration"
    RELEASE = "release"


class Stage(StrEnum):
    RUNNING = "running"
    HALTED = "halted"
    ABORTED = "aborted"
    DONE = "done"


class Mark(StrEnum):
    """How a box stands to the change."""

    WAITING = "waiting"
    """It was not asked yet."""
    AWAY = "away"
    """It was not there when it was asked, or its ring began."""
    ASKED = "asked"
    STAGED = "staged"
    """It waits until it disturbs nobody."""
    APPLIED = "applied"
    """In place; it has yet to prove itself, or is away for a moment."""
    PROVEN = "proven"
    LATER = "later"
    """It reports a later version, which somebody else gave it."""
    REJECTED = "rejected"
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    OTHER = "other"
    """It reports this version with another text."""
    LOST = "lost"
    """It went away, and stayed away for `Limits.absence`."""
    WORSE = "worse"
    """With the change in place an alarm stands that did not before."""
    LATE = "late"
    """It has not proven the change within `Limits.patience`."""


FAULTS: Final = frozenset({Mark.REJECTED, Mark.ROLLED_BACK, Mark.REFUSED, Mark.OTHER, Mark.LOST, Mark.WORSE, Mark.LATE})
UNDER_WAY: Final = frozenset({Mark.WAITING, Mark.ASKED, Mark.STAGED, Mark.APPLIED})


class Cause(StrEnum):
    """Why a rollout halted, if it is not the mark of boxes."""

    NOBODY = "nobody-proved-it"
    """Within `Limits.patience` no box of the ring was there to prove the change."""
    PERSON = "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    failures: float
    """The share of a ring, 0 to 1, that may fail."""
    soak: timedelta
    patience: timedelta
    """From being asked to having proven the change; a box in use around the clock takes its time."""
    absence: timedelta
    """How long a box may be away: longer than a restart and what it takes to go back by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A box that failed, and what it says of that: words of closed lists."""

    site: str
    box: str
    mark: Mark
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    cause: Mark | Cause
    """Of several marks the one that most boxes have."""
    ring: str
    boxes: int = 0
    """That failed in this ring."""
    found: tuple[Found, ...] = ()
    """The first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    kind: Kind
    version: int
    """Of a release its sequence."""
    rings: tuple[str, ...]
    limits: Limits
    begun_at: datetime
    """When the ring began."""
    stage: Stage = Stage.RUNNING
    ring: int = 0
    """The number of the ring that it is in; those before are passed."""
    whole_at: datetime | None = None
    """Since when the ring is whole, and soaks."""
    halt: Halt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of a box from when it was asked."""

    first: datetime
    """Since when it has it to do."""
    last: datetime
    there: bool
    alarms: frozenset[str]
    """That stood before it had the change in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to what it was asked last."""

    outcome: Outcome
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A box in a rollout."""

    ring: int
    asked: Asked | None = None
    answer: Answer | None = None
    excused: bool = False
    """A person resumed the rollout in spite of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A box as central knows it now."""

    away_since: datetime | None = None
    """None: it is there."""
    version: int = 0
    """The latest that it says was wished for; 0: none."""
    phase: Phase | None = None
    same: bool = True
    """What it has is what this rollout means by that version."""
    faults: tuple[str, ...] = ()
    alarms: frozenset[str] = frozenset()
    """Code and instance of each of severity error or critical that stands."""

    @property
    def there(self) -> bool:
        return self.away_since is None


def mark(rollout: Rollout, member: Member, sight: Sight, *, now: datetime) -> Mark:
    """How a box stands."""
    asked, limits = member.asked, rollout.limits
    reports = sight.version == rollout.version
    if sight.version > rollout.version:
        return Mark.LATER
    if reports and (fault := _reported_fault(sight)) is not None:
        return fault
    if asked is None:
        if member.ring <= rollout.ring and not sight.there:
            return Mark.AWAY
        return _progress(sight, Mark.WAITING) if reports else Mark.WAITING
    if not asked.there:
        return Mark.AWAY
    if sight.away_since is not None and now - sight.away_since > limits.absence:
        return Mark.LOST
    if reports and sight.phase in {Phase.APPLIED, Phase.CONFIRMED} and sight.alarms - asked.alarms:
        return Mark.WORSE
    if not reports and _is_final(member.answer):
        return Mark.REFUSED
    if not (reports and sight.phase is Phase.CONFIRMED) and now - asked.first > limits.patience:
        return Mark.LATE
    return _progress(sight, Mark.ASKED) if reports else Mark.ASKED


def words(found: Mark, member: Member, sight: Sight) -> tuple[str, ...]:
    """What a box says of its fault: keys, a code, alarms, or how far it came."""
    match found:
        case Mark.REJECTED | Mark.ROLLED_BACK:
            return sight.faults
        case Mark.REFUSED if member.answer is not None:
            return (member.answer.code,)
        case Mark.WORSE if member.asked is not None:
            return tuple(sorted(sight.alarms - member.asked.alarms))
        case Mark.LATE:
            return (sight.phase.value,) if sight.phase and sight.version else ()
        case _:
            return ()


def _reported_fault(sight: Sight) -> Mark | None:
    if not sight.same:
        return Mark.OTHER
    return {Phase.REJECTED: Mark.REJECTED, Phase.ROLLED_BACK: Mark.ROLLED_BACK}.get(sight.phase or Phase.STAGED)


def _progress(sight: Sight, otherwise: Mark) -> Mark:
    match sight.phase:
        case Phase.STAGED:
            return Mark.STAGED
        case Phase.APPLIED:
            return Mark.APPLIED
        case Phase.CONFIRMED:
            return Mark.PROVEN if sight.there else Mark.APPLIED
        case _:
            return otherwise


def _is_final(answer: Answer | None) -> bool:
    return answer is not None and answer.outcome is not Outcome.DONE and answer.code not in _PASSING
