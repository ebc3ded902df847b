"""The state of the box in one sentence, and whether a person is needed.

What is promised: the sentence names the worst that stands: what waits for a person before what waits for a
peer, and what waits before what is well. "Safe" is said only if every image ever received is confirmed at
every destination it was routed to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.cli.showing import age, images
from gateway.cli.words import in_short
from gateway.domain.model import InstanceState
from gateway.spool.audit import Alarm
from gateway.spool.peers import Caller
from gateway.spool.worklist import WorklistSource


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
class Overview:
    """All that `status` shows."""

    now: datetime
    instances: Mapping[InstanceState, int]
    quarantined: int
    destinations: Sequence[Towards]
    worklist: Sequence[WorklistSource]
    never_asked: Sequence[str]
    """RISs of the configuration that were never asked."""
    alarms: Sequence[Alarm]
    strangers: Sequence[Caller]

    @property
    def orphans(self) -> list[Towards]:
        """Destinations with images for them that the configuration does not name: nobody sends these."""
        return [one for one in self.destinations if not one.configured and one.waiting + one.sent]

    @property
    def needs_a_person(self) -> bool:
        """Whether anything stands that does not end by itself."""
        return bool(self.alarms or self.orphans or any(one.refused for one in self.destinations))


def sentence(overview: Overview) -> str:
    """The worst that stands, with what to look at."""
    for one in overview.destinations:
        if one.refused:
            verb = "was" if one.refused == 1 else "were"
            return f"{images(one.refused)} {verb} refused by {one.name}: look at `gateway queue --refused`."
    for one in overview.orphans:
        remedy = "write its [[destination]] section again"
        return f"{_wait(one.waiting + one.sent)} for {one.name}, which the configuration does not name: {remedy}."
    loud = [alarm.code for alarm in overview.alarms if alarm.code != "delivery-late"]
    if loud:
        count = len(loud)
        words = "alarm needs" if count == 1 else "alarms need"
        return f"{count} {words} a person: {', '.join(sorted(set(loud)))}."
    return _waiting(overview) or _well(overview)


def _waiting(overview: Overview) -> str:
    """What waits for a peer, the oldest first; empty if nothing does."""
    late = [one for one in overview.destinations if one.waiting and one.oldest is not None]
    if late:
        worst = min(late, key=lambda one: one.oldest or overview.now)
        why = in_short(worst.last_status)
        oldest = age(worst.oldest or overview.now, overview.now)
        return (
            f"{_wait(worst.waiting)} for {worst.name}, the oldest for {oldest}{f': {worst.name} {why}' if why else ''}."
        )
    for one in overview.destinations:
        if one.sent:
            return f"{images(one.sent)} {_are(one.sent)} sent; {one.name} has not confirmed {_them(one.sent)} yet."
    received = overview.instances[InstanceState.RECEIVED] - overview.quarantined
    if received > 0:
        return f"{images(received)} {_are(received)} received and not routed yet."
    prepared = overview.instances[InstanceState.PREPARED]
    return f"{images(prepared)} {_are(prepared)} routed nowhere: look at [routing]." if prepared else ""


def _well(overview: Overview) -> str:
    safe = overview.instances[InstanceState.DELIVERED] + overview.instances[InstanceState.PURGED]
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
