"""Whether an examination has begun, and whether all of it is here: from what scanners said and what they sent.

Promises
- No single sign is trusted. A step that a scanner ended (MPPS COMPLETED, PS3.4 F.7.2.2) and all the instances it
  told of end a study at once, if no step of it is outstanding; everything less waits until the study has been
  quiet, and longer while one of its scanners has an association open.
- A step that was discontinued ends nothing: the RIS may schedule it again (PS3.4 F.1), so a study of which all
  steps were discontinued is not complete, however quiet it is.
- Nothing holds a study open for ever: what has said nothing for `abandoned` counts as over.
- The same evidence at the same time gives the same standing; `again` says when time alone may change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain.mpps import StepStatus

WHILE_CONNECTED: Final = 3
"""Quiet times that are waited while a scanner of the study is connected: it may be busy with the next patient for
hours, so this can't be waited out."""


class Progress(StrEnum):
    """How far an examination is."""

    IN_PROGRESS = "in progress"
    COMPLETE = "complete"
    NOT_DONE = "not done"
    """It was begun and given up, as far as we can tell."""


class Because(StrEnum):
    """The sign that decided."""

    STEP_IN_PROGRESS = "step-in-progress"
    STEP_OUTSTANDING = "step-outstanding"
    """A scheduled step of the order was not begun."""
    SCANNER_CONNECTED = "scanner-connected"
    NOT_QUIET = "not-quiet"
    COUNTS_REACHED = "counts-reached"
    COMPLETED_AND_QUIET = "completed-and-quiet"
    """The scanner said that it is completed; what it told of did not all come here."""
    QUIET = "quiet"
    """Nothing more came, and no scanner said that it is completed."""
    DISCONTINUED = "discontinued"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformedStep:
    """What a scanner said last of one performed step."""

    status: StepStatus
    instances: int | None
    """How many it made; None if it did not say."""
    scheduled: frozenset[str]
    """The ScheduledProcedureStepIDs it was performed for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one study; times are UTC-aware."""

    received: int
    """Different instances that came."""
    last_at: datetime
    """When the last instance or word of a step came."""
    steps: tuple[PerformedStep, ...] = ()
    scheduled: frozenset[str] = frozenset()
    """The ScheduledProcedureStepIDs of its orders; empty if there is none."""
    connected: bool = False
    """Whether a scanner that it came from has an association open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited."""

    quiet: timedelta
    abandoned: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a study is, why, and when to look again though nothing happens; None: only if something does."""

    progress: Progress
    because: Because
    again: datetime | None = None


def standing(evidence: Evidence, patience: Patience, now: datetime) -> Standing:
    """What the evidence comes to."""
    given_up = evidence.last_at + patience.abandoned
    is_over = now >= given_up
    completed = [step for step in evidence.steps if step.status is StepStatus.COMPLETED]
    if not is_over:
        if any(not step.status.is_final for step in evidence.steps):
            return Standing(progress=Progress.IN_PROGRESS, because=Because.STEP_IN_PROGRESS, again=given_up)
        if evidence.steps and not completed:
            return Standing(progress=Progress.IN_PROGRESS, because=Because.DISCONTINUED, again=given_up)
        if completed and _outstanding(evidence):
            return Standing(progress=Progress.IN_PROGRESS, because=Because.STEP_OUTSTANDING, again=given_up)
        if completed and _counts_reached(completed, evidence.received):
            return Standing(progress=Progress.COMPLETE, because=Because.COUNTS_REACHED)
        quiet_at = evidence.last_at + patience.quiet
        if now < quiet_at:
            return Standing(progress=Progress.IN_PROGRESS, because=Because.NOT_QUIET, again=quiet_at)
        if evidence.connected and now < evidence.last_at + patience.quiet * WHILE_CONNECTED:
            again = now + patience.quiet / 10
            return Standing(progress=Progress.IN_PROGRESS, because=Because.SCANNER_CONNECTED, again=again)
    if completed:
        return Standing(progress=Progress.COMPLETE, because=Because.COMPLETED_AND_QUIET)
    if evidence.steps and all(step.status is StepStatus.DISCONTINUED for step in evidence.steps):
        return Standing(progress=Progress.NOT_DONE, because=Because.DISCONTINUED)
    if evidence.received:
        return Standing(progress=Progress.COMPLETE, because=Because.QUIET)
    return Standing(progress=Progress.NOT_DONE, because=Because.ABANDONED)


def _outstanding(evidence: Evidence) -> bool:
    """Whether a scheduled step was not performed; a scanner that names none of them can't be held to that."""
    performed = frozenset[str]().union(*(step.scheduled for step in evidence.steps))
    return bool(performed & evidence.scheduled) and not evidence.scheduled <= performed


def _counts_reached(completed: list[PerformedStep], received: int) -> bool:
    told = [step.instances for step in completed]
    return all(told) and received >= sum(filter(None, told))
