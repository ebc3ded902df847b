"""The state of the box at one moment: the values that screens show, and the one sentence that sums them up.

What is promised: the sentence names the worst that stands: what waits for a person before what waits for a
peer, and what waits before what is well. "Safe" is said only if every image ever received is confirmed at
every destination it was routed to. The sentence, its mood and what needs a person are the same on every screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain.disk import Disk
from gateway.domain.issues import step
from gateway.domain.model import AETitle, InstanceState, SourceName
from gateway.domain.mpps import Relaying
from gateway.domain.parts import CODES, IMAGES, SILENT, STOPPED, Life, Part
from gateway.domain.retry import TransportFailure
from gateway.domain.words import age, images, in_short
from gateway.domain.worklist import Freshness, freshness

STALE_AFTER: Final = timedelta(minutes=10)
MISSED_REFRESHES: Final = 3
"""A copy of a worklist that is older than both is worth a word."""


_SAID_BETTER: Final = CODES | {"delivery-late", "destination-unreachable"}
"""The sentence has words for which parts don't live, and for why images wait."""


class Mood(StrEnum):
    """How a screen is coloured; always beside words."""

    WELL = "well"
    WAITING = "waiting"
    """Something waits for a peer and goes on by itself."""
    PERSON = "person"
    """Something stands that does not end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    code: str
    subject: str
    since: datetime
    last: datetime
    count: int
    cleared_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistSource:
    """How one upstream worklist is doing."""

    name: SourceName
    last_attempt: datetime
    last_success: datetime | None
    last_error: str
    """A code or a sentence of ours; empty after a success."""
    rows: int
    """Rows in the last successful answer."""
    resting_until: datetime | None = None
    """Until when it is left alone after failures; None or past: it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A stranger: who called whom from where, how often, and why it was turned away the last time."""

    calling_ae: AETitle
    called_ae: AETitle
    address: str
    first_seen: datetime
    last_seen: datetime
    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Towards:
    """How one destination is doing."""

    name: str
    configured: bool
    waiting: int
    """Queued or being sent."""
    sent: int
    """Sent, not confirmed yet."""
    refused: int
    oldest: datetime | None
    """When the oldest that is not confirmed, and not refused, was queued."""
    last_status: str
    """Of the oldest that waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What the configuration names of that which is looked at."""

    parts: Sequence[Part]
    """Those that it needs."""
    destinations: Sequence[str]
    refresh: Mapping[str, timedelta]
    """How often each RIS is asked, by name."""
    mpps_peers: Sequence[str]
    """Whom performed procedure steps are passed on to."""
    order_receivers: Sequence[str]
    """Who is told of orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that stands."""

    now: datetime
    instances: Mapping[InstanceState, int]
    quarantined: int
    destinations: Sequence[Towards]
    worklist: Sequence[WorklistSource]
    refresh: Mapping[str, timedelta]
    """How often each RIS of the configuration is asked, by name."""
    alarms: Sequence[Alarm]
    strangers: Sequence[Caller]
    copied: Mapping[SourceName, int] = field(default_factory=dict)
    """Rows in the copy by source: those of RISs, of messages and of the desk."""
    parts: Sequence[Life] = ()
    """The parts that this configuration needs."""
    disk: Disk | None = None
    """How the disk was when forward looked last."""
    studies_held: int = 0
    """Studies that a task holds until a person decides."""
    rejected: Mapping[InstanceState, int] = field(default_factory=dict)
    """Images that a person rejected, by state: they go nowhere."""
    tasks: int = 0
    """Open tasks of persons, those that hold a study included."""
    mpps: Sequence[Relaying] = ()
    """Each RIS and PACS that performed procedure steps are passed on to."""
    orders_out: Sequence[Relaying] = ()
    """Each RIS that is told of its orders."""

    @property
    def stopped(self) -> list[Part]:
        """The parts that no process is."""
        return [one.part for one in self.parts if one.found(self.now) == STOPPED]

    @property
    def silent(self) -> list[Life]:
        """The parts that are a process which does not prove its work."""
        return [one for one in self.parts if one.found(self.now) == SILENT]

    @property
    def never_asked(self) -> list[str]:
        """RISs of the configuration that were never asked."""
        asked = {one.name for one in self.worklist}
        return [name for name in self.refresh if name not in asked]

    def is_stale(self, source: WorklistSource) -> bool:
        """Whether this copy is too old to be trusted as the schedule; a RIS that is not configured has none."""
        if source.name not in self.refresh:
            return False
        return is_stale(source.last_success, refresh=self.refresh[source.name], now=self.now)

    @property
    def orphans(self) -> list[Towards]:
        """Destinations with images for them that the configuration does not name: nobody sends these."""
        return [one for one in self.destinations if not one.configured and one.waiting + one.sent]

    @property
    def needs_a_person(self) -> bool:
        """Whether anything stands that does not end by itself."""
        return bool(
            self.stopped
            or self.silent
            or self.studies_held
            or self.alarms
            or self.orphans
            or any(one.refused for one in self.destinations)
        )

    @property
    def mood(self) -> Mood:
        """How it looks from afar."""
        if self.needs_a_person:
            return Mood.PERSON
        return Mood.WAITING if _waiting(self) or _stale(self) else Mood.WELL


def is_stale(last_success: datetime | None, *, refresh: timedelta, now: datetime) -> bool:
    """Whether the copy of a RIS that is asked at this interval is too old to be trusted as the schedule."""
    return last_success is None or now - last_success > max(STALE_AFTER, MISSED_REFRESHES * refresh)


def served_from(
    sources: Sequence[WorklistSource], *, fresh_for: timedelta, max_stale: timedelta, now: datetime
) -> dict[str, Freshness]:
    """How far a scanner with these limits is answered from the copy of each RIS."""
    return {
        source.name: freshness(source.last_success, now, fresh_for=fresh_for, max_stale=max_stale) for source in sources
    }


def oldest_age(one: Towards | Relaying, overview: Overview) -> float:
    """Seconds that the oldest for this peer has waited; 0 if nothing waits."""
    return 0.0 if one.oldest is None else max(0.0, (overview.now - one.oldest).total_seconds())


def sentence(overview: Overview) -> str:
    """The worst that stands, with what to look at; before it, that nobody watches, if nobody does."""
    dead = lifeless(overview)
    known = [] if {*IMAGES} & {*overview.stopped} else [_worst(overview)]
    return " ".join([*dead, *known])


def lifeless(overview: Overview) -> list[str]:
    """A sentence for what does not live, with what to do; empty if all parts do."""
    stopped: dict[str, list[Part]] = {
        "The gateway is not running": [part for part in overview.stopped if part in IMAGES],
        "Nobody watches the box": [part for part in overview.stopped if part is Part.HEALTH],
        "Central IT is told nothing": [part for part in overview.stopped if part is Part.REPORTING],
    }
    return [
        *(
            f"{so}: no process is its {' and '.join(parts)}. Start it with `gateway serve`."
            for so, parts in stopped.items()
            if parts
        ),
        *(
            f"No sign of life of {one.part} for {age(one.seen or overview.now, overview.now)}: restart it."
            for one in overview.silent
        ),
    ]


def _worst(overview: Overview) -> str:
    for one in overview.destinations:
        if one.refused:
            verb = "was" if one.refused == 1 else "were"
            return f"{images(one.refused)} {verb} refused by {one.name}: look at `gateway queue --refused`."
    for one in overview.orphans:
        remedy = "write its [[destination]] section again"
        return f"{_wait(one.waiting + one.sent)} for {one.name}, which the configuration does not name: {remedy}."
    if overview.studies_held:
        count = overview.studies_held
        held = "1 study is" if count == 1 else f"{count:,} studies are"
        return f"{held} held until a person decides: look at `gateway tasks`."
    loud = [alarm.code for alarm in overview.alarms if alarm.code not in _SAID_BETTER]
    if loud:
        count = len(loud)
        words = "alarm needs" if count == 1 else "alarms need"
        return f"{count} {words} a person: {', '.join(sorted(set(loud)))}."
    return " ".join(filter(None, (_waiting(overview) or _well(overview), _stale(overview), _asked(overview))))


def next_steps(overview: Overview) -> list[str]:
    """What a person does now, the alarms' own steps apart; empty if there is nothing else to do."""
    alarmed = {alarm.subject for alarm in overview.alarms if alarm.code == "delivery-refused"}
    return [
        *(
            step("delivery-refused", one.name)
            for one in overview.destinations
            if one.refused and one.name not in alarmed
        ),
        *(f"Write the [[destination]] section of {one.name} again." for one in overview.orphans),
        *(
            f"Check that {one.name} runs and can be reached; meanwhile scanners are answered from the copy."
            for one in overview.worklist
            if overview.is_stale(one)
        ),
    ]


def _waiting(overview: Overview) -> str:
    """What waits for a peer, the oldest first; empty if nothing does."""
    late = [one for one in overview.destinations if one.waiting and one.oldest is not None]
    if late:
        worst = min(late, key=lambda one: one.oldest or overview.now)
        unreachable = any(a.code == "destination-unreachable" and a.subject == worst.name for a in overview.alarms)
        why = in_short(TransportFailure.CONNECT if unreachable else worst.last_status)
        oldest = age(worst.oldest or overview.now, overview.now)
        return (
            f"{_wait(worst.waiting)} for {worst.name}, the oldest for {oldest}{f': {worst.name} {why}' if why else ''}."
        )
    for one in overview.destinations:
        if one.sent:
            return f"{images(one.sent)} {_are(one.sent)} sent; {one.name} has not confirmed {_them(one.sent)} yet."
    received = overview.instances[InstanceState.RECEIVED] - overview.quarantined
    received -= overview.rejected.get(InstanceState.RECEIVED, 0)
    if received > 0:
        return f"{images(received)} {_are(received)} received and not routed yet."
    prepared = overview.instances[InstanceState.PREPARED]
    return f"{images(prepared)} {_are(prepared)} routed nowhere: look at [routing]." if prepared else ""


def _stale(overview: Overview) -> str:
    """The worklist that is oldest, if any is too old; empty if not. One that was never asked is no old one."""
    stale = [one for one in overview.worklist if overview.is_stale(one)]
    if not stale:
        return ""
    worst = min(stale, key=lambda one: (one.last_success is not None, one.last_success or overview.now))
    if worst.last_success is None:
        return f"The worklist of {worst.name} never came."
    return f"The worklist of {worst.name} is {age(worst.last_success, overview.now)} old."


def _asked(overview: Overview) -> str:
    """What persons are asked that holds nothing up; empty if nothing is."""
    if not overview.tasks:
        return ""
    return (
        "1 task is open: `gateway tasks`."
        if overview.tasks == 1
        else f"{overview.tasks:,} tasks are open: `gateway tasks`."
    )


def _well(overview: Overview) -> str:
    safe = overview.instances[InstanceState.DELIVERED] + overview.instances[InstanceState.PURGED]
    safe -= overview.rejected.get(InstanceState.PURGED, 0)
    if safe == 0:
        return "No image has been received yet."
    return (
        "The 1 image is safe at its destinations."
        if safe == 1
        else f"All {images(safe)} are safe at their destinations."
    )


def _wait(count: int) -> str:
    return f"{images(count)} {'waits' if count == 1 else 'wait'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _them(count: int) -> str:
    return "it" if count == 1 else "them"
