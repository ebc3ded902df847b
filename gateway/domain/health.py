"""From what health saw to what it says: when an observation becomes an issue, and when the issue is over.

Promises
- An issue is raised after RAISE_AFTER evaluations in a row that found a fault, never after one, and is over after
  CLEAR_AFTER in a row that found none. What this machine can't tell (it has no such sensor) is not judged.
- Of one thing (a peer, the clock) one issue stands at a time: that of the fault found last, once it was found twice.
- What comes and goes is damped: raised FLAPS times within FLAP_WINDOW, it stands until it was well for CALM.
- A limit that was passed counts as passed until the value is back behind a second, milder one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain.issue import Issue, instance_of
from gateway.domain.issues import KINDS
from gateway.domain.overview import Alarm, Overview
from gateway.domain.parts import Life

RAISE_AFTER: Final = 2
CLEAR_AFTER: Final = 2
FLAPS: Final = 3
FLAP_WINDOW: Final = timedelta(hours=1)
CALM: Final = timedelta(minutes=15)
CLOCK_OFF: Final = timedelta(seconds=2)
CLOCK_BACK: Final = timedelta(seconds=1)
COOLER: Final = 5.0
"""Degrees Celsius below the limit at which the heat is over."""
UNPREPARED: Final = timedelta(minutes=5)
"""An image that was received longer ago is to be checked and routed by now."""
WELL: Final = ""
"""What an evaluation found where there is no fault; else the code of an issue."""
PROBED: Final = frozenset(code for code in KINDS if code.startswith("peer-"))
"""The issues that probes raise."""
_UNREACHED: Final = PROBED - {"peer-half-open", "peer-test-store"}


class Hop(StrEnum):
    """What is timed: the questions to a peer, and the way of the synthetic patient through the box."""

    ECHO = "echo"
    """An association and a C-ECHO."""
    FIND = "find"
    """A C-FIND for no patient."""
    TEST_STORE = "test-store"
    """The C-STORE of the box's one test image."""
    ORDER = "order"
    """An order in at the door for HL7, answered AA."""
    WORKLIST = "worklist"
    """It is on the worklist that the scanner asks for."""
    STORE = "store"
    """The scanner's image, accepted and durable."""
    CHECK = "check"
    """The image was found to be that order's, and corrected by it."""
    FORWARD = "forward"
    """The image is at the loop-back destination."""
    CONFIRM = "confirm"
    """The books say that the destination confirmed it."""


class Reading(StrEnum):
    """What is measured of the machine, by the names that leave the box."""

    CPU = "cpu"
    """Share of the processors that is busy."""
    MEMORY = "mem"
    """Share of the memory that is in use."""
    TEMPERATURE = "temp_c"
    CLOCK = "clk_off_ms"
    """Milliseconds that the clock is ahead (or, below zero, behind)."""
    CERTIFICATE = "cert_days"
    """Days until the first certificate ends."""
    DISK_FREE = "disk_free_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How one hop of one peer was the last time."""

    hop: Hop
    peer: str
    """Its configured name; "box" for the synthetic patient."""
    at: datetime
    last_good: datetime | None
    latency_ms: float | None
    """Of the last time, if it was good."""
    code: str
    """The issue that it came to; empty: it was good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a box shows to whoever watches it, at one moment."""

    overview: Overview
    free_bytes: int
    """Where the spool lies."""
    tally: Mapping[str, int]
    """Worklist questions by outcome since the first start."""
    probes: tuple[Probe, ...]
    """How each peer was the last time health asked it, and each hop of the synthetic patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strand:
    """One thing that is judged again and again, and the issue that stands of it."""

    standing: str = WELL
    """The code that stands."""
    bad: int = 0
    """Evaluations in a row that found a fault."""
    same: int = 0
    """... that found the same one."""
    good: int = 0
    found: str = WELL
    """What the last one found."""
    well_since: datetime | None = None
    raised: tuple[datetime, ...] = ()
    """When an issue was raised lately."""

    def judged(self, found: str, now: datetime) -> Strand:
        """After an evaluation that found this code, or nothing."""
        raised = tuple(at for at in self.raised if now - at < FLAP_WINDOW)
        if not found:
            since = self.well_since or now
            over = self.good + 1 >= CLEAR_AFTER and (len(raised) < FLAPS or now - since >= CALM)
            standing = WELL if over else self.standing
            return replace(
                self, standing=standing, bad=0, same=0, good=self.good + 1, found=WELL, well_since=since, raised=raised
            )
        bad, same = self.bad + 1, self.same + 1 if found == self.found else 1
        standing = self.standing
        if bad >= RAISE_AFTER and (not standing or same >= RAISE_AFTER):
            raised = raised if standing else (*raised, now)
            standing = found
        return replace(self, standing=standing, bad=bad, same=same, good=0, found=found, well_since=None, raised=raised)


def clock_found(offset: timedelta | None, *, kept: bool | None, standing: str) -> str | None:
    """Of the clock: how far it is off, and whether something keeps it; None where neither is known."""
    if offset is None and kept is None:
        return None
    limit = CLOCK_BACK if standing else CLOCK_OFF
    off = kept is False or (offset is not None and abs(offset) > limit)
    return "clock-off" if off else WELL


def heat_found(celsius: float | None, *, limit: float, standing: str) -> str | None:
    """Of the hottest sensor; None where there is none."""
    if celsius is None:
        return None
    return "too-hot" if celsius > (limit - COOLER if standing else limit) else WELL


def certificate_found(not_after: datetime | None, *, warning: timedelta, now: datetime) -> str:
    """Of one certificate; None: it can't be read."""
    if not_after is None or not_after <= now:
        return "certificate-ended"
    return "certificate-ends" if not_after - now < warning else WELL


def unprepared_found(oldest: datetime | None, *, now: datetime) -> str:
    """Of the image that has waited longest to be checked and routed; None: none waits."""
    return "received-late" if oldest is not None and now - oldest > UNPREPARED else WELL


def lifeless(lives: Iterable[Life], now: datetime) -> tuple[Alarm, ...]:
    """The alarms of parts that don't live: nobody raises them, whoever looks finds them."""
    return tuple(
        Alarm(code=code, subject=one.part, since=one.seen or now, last=now, count=1, cleared_at=None)
        for one in lives
        if (code := one.found(now))
    )


def told(alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """The alarms without those that another explains: why no association could be opened stands before that."""
    found = tuple(alarms)
    explained = {alarm.subject for alarm in found if alarm.code in _UNREACHED}
    return tuple(one for one in found if one.code != "destination-unreachable" or one.subject not in explained)


def issues(alarms: Sequence[Alarm]) -> tuple[Issue, ...]:
    """What may be told outside of the box: one issue for each code and instance, the oldest first."""
    found: dict[tuple[str, str], Issue] = {}
    for alarm in sorted(told(alarms), key=lambda one: one.since):
        kind = KINDS.get(alarm.code)
        if kind is None:  # of an older version
            continue
        key = (alarm.code, instance_of(kind, alarm.subject))
        first = found.get(key)
        found[key] = Issue(
            code=alarm.code,
            instance=key[1],
            severity=kind.severity,
            since=first.since if first else alarm.since,
            last=max(first.last, alarm.last) if first else alarm.last,
        )
    return tuple(found.values())
