"""What a doubt about a study leads to: which way its images go, the task for a person, and what a person may say.

    Task       open -> decided

Promises (worklist-orders 0b):

* Doubt does not hold: images go on unchanged, beside a task. A site may hold them for a time; then they go on
  unchanged to the route of what could not be checked, and the task stays open.
* Two keys that name two patients are held until a person decides, however long that takes.
* What a person decided stands for the whole study, and for what comes of it later, until a person decides anew or
  the header or the order says something else than at that time.
* In shadow mode everything goes on unchanged, and nobody is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain.identity_model import Header, Severity, Verdict
from gateway.domain.model import AETitle


class Mode(StrEnum):
    """`[check] mode`."""

    APPLY = "apply"
    SHADOW = "shadow"
    OFF = "off"


class Way(StrEnum):
    """Where the images of a study go from here."""

    ROUTES = "routes"
    """By the rules of routing, with whatever edits are recorded."""
    HELD = "held"
    UNVERIFIED = "unverified"
    """Unchanged, to `[routing] unverified`: held in vain."""
    REJECTED = "rejected"
    """Nowhere: purged after retention."""


class TaskKind(StrEnum):
    """Why a person is asked. A study has at most one open task of each kind."""

    IDENTITY = "identity"
    """Header and orders don't agree, or several orders may be meant: the verdict's findings say which."""
    HELD = "held"
    """A person holds the study."""
    AFTER_DELIVERY = "after-delivery"
    """What is known now would have changed images that a destination has already."""
    NOT_TAKEN_OVER = "not-taken-over"
    """A destination took a corrected image and shows the values of before, or shows none."""
    CHECK_FAILED = "check-failed"
    """The check itself met a fault: the image went on unchanged."""


class TaskState(StrEnum):
    OPEN = "open"
    DECIDED = "decided"


_TELLING: Final = frozenset({Severity.CORRECT, Severity.HOLD, Severity.BLOCK})
"""Findings of these weights are evidence; the others may come and go."""


class Choice(StrEnum):
    """What a person decides about a study."""

    ASSIGN = "assign"
    """It belongs to this order: corrected to it."""
    RELEASE = "release"
    """It goes on as it came."""
    HOLD = "hold"
    REJECT = "reject"
    """It goes nowhere."""
    UNDO = "undo"
    """What was corrected is taken back, by the check or by a person."""
    SEEN = "seen"
    """The task needs nothing more; nothing else is changed."""


class Resend(StrEnum):
    """`[check] resend`: whether a destination is sent again what changed after it had it."""

    NEVER = "never"
    PERSON = "person"
    """What a person decided."""
    ALWAYS = "always"
    """What a late order or a merge changed, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long images wait for an order that would prove them. Zero: not at all."""

    default: timedelta = timedelta(0)
    emergency: timedelta = timedelta(0)
    scanners: tuple[tuple[AETitle, timedelta], ...] = ()
    """Of single calling AE titles, for whatever is no emergency."""
    escalate: timedelta = timedelta(minutes=30)
    """How long a task that blocks may wait for a person before each alarm."""

    def hold_for(self, calling_ae: AETitle, *, emergency: bool) -> timedelta:
        """How long doubt holds the images of this scanner."""
        if emergency:
            return self.emergency
        folded = calling_ae.strip().casefold()
        return next((time for ae, time in self.scanners if ae.strip().casefold() == folded), self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What becomes of the images of a study that is in doubt."""

    way: Way
    until: datetime | None = None
    """When they go on unchanged; None: not by themselves."""


def hold(*, doubt: bool, blocks: bool, since: datetime, time: timedelta, now: datetime) -> Hold:
    """The way of a study. `doubt`: there is something that waiting may settle; `blocks`: it names two patients.

    `since` is when its first image came: a study is held once, not once for each of its images.
    """
    if blocks:
        return Hold(way=Way.HELD)
    if not doubt or not time:
        return Hold(way=Way.ROUTES)
    until = since + time
    return Hold(way=Way.HELD, until=until) if now < until else Hold(way=Way.UNVERIFIED)


def escalation(*, blocks: bool, opened: datetime, until: datetime | None, patience: Patience) -> datetime | None:
    """When a task first becomes an alarm: halfway through a hold that ends, after a while if it doesn't; else never."""
    if blocks:
        return opened + patience.escalate
    return None if until is None else opened + (until - opened) / 2


def fingerprint(headers: Sequence[Header], verdict: Verdict) -> str:
    """What is the same for two studies with the same evidence: who and what their headers name, the rule that decided,
    the findings, and the orders that were met. A digest: it names nobody."""
    named = sorted(
        (
            *(one.PatientID.issuer, one.PatientID.value, one.PatientName, one.PatientBirthDate, one.PatientSex),
            *(one.accession.issuer, one.accession.value),
        )
        for one in headers
    )
    codes = sorted({finding.code for finding in verdict.findings if finding.severity in _TELLING})
    met = sorted((each.level.value, each.orders) for each in verdict.evidence)
    whole = repr((sorted(set(named)), verdict.decision.value, verdict.because, codes, met))
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def stands(choice: Choice, *, same_evidence: bool, verdict: Verdict) -> bool:
    """Whether what a person decided still holds for a study. A hold and a rejection do until a person ends them; what
    was said of an identity does unless headers or orders have come since by which two patients are named."""
    return choice in {Choice.HOLD, Choice.REJECT} or same_evidence or not verdict.blocks
