"""A change that goes through a fleet ring by ring: what is to be done next, and when it stops by itself. Pure.

Rules
- One ring at a time. The next one begins when every box of this one that is there has proven the change, none that
  counts is on its way, and it stayed so for `Limits.soak`.
- It halts by itself when more than `Limits.failures` of a ring failed: rejected it, went back, refused, has another
  text of that version, went away, has an alarm that it had not before, or is late. Rings that are passed count on.
- A box that was not there when its ring began is not waited for, and is asked once it is back. A ring of which nobody
  proved anything is never passed.
- Whoever halts it, nothing is asked of anybody until a person resumes it; what a box has not taken yet is taken back.
- A box that reports a later version is never asked. While nobody listens to the boxes nothing is decided.

Reference: reliability-security-fleet.md A4 (rings, soak, halt).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.fleet import Key
from gateway.domain.rollout_model import (
    FAULTS,
    UNDER_WAY,
    Asked,
    Cause,
    Found,
    Halt,
    Kind,
    Mark,
    Member,
    Rollout,
    Sight,
    Stage,
    mark,
    words,
)

HEARD: Final = timedelta(seconds=60)
"""How long somebody must have listened before a box is judged: longer than it may be silent (domain/presence)."""
AGAIN: Final = timedelta(minutes=10)
"""After so long without a word of it a box is asked again: a broker may have lost what it was told."""
AT_ONCE: Final = 200
"""Boxes that are asked in one step."""
NAMED: Final = 20
"""Boxes that a halt names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done now, all of it together."""

    rollout: Rollout
    """As it stands after this step."""
    marks: Mapping[Key, Mark]
    asks: Mapping[Key, Asked]
    """To be asked, and remembered."""
    notes: Mapping[Key, Asked]
    """To be remembered alone."""
    withdraws: tuple[Key, ...] = ()
    """What they were asked is to be taken back."""


def decide(
    rollout: Rollout,
    members: Mapping[Key, Member],
    sights: Mapping[Key, Sight],
    *,
    heard_for: timedelta,
    now: datetime,
) -> Step:
    """The next step. `heard_for`: how long somebody listens to the boxes without a break; there is a sight of each
    member."""
    marks = {key: mark(rollout, member, sights[key], now=now) for key, member in members.items()}
    if rollout.stage is not Stage.RUNNING:
        back = tuple(_not_taken(rollout, members, sights))
        return Step(rollout=rollout, marks=marks, asks={}, notes={}, withdraws=back)
    if heard_for < HEARD:
        return Step(rollout=rollout, marks=marks, asks={}, notes={})
    halt = _halt(rollout, members, sights, marks, now=now)
    if halt is not None:
        return Step(rollout=replace(rollout, stage=Stage.HALTED, halt=halt), marks=marks, asks={}, notes={})
    asks, notes = _due(rollout, members, sights, marks, now=now)
    after = rollout if asks else _advanced(rollout, members, marks, now=now)
    return Step(rollout=after, marks=marks, asks=asks, notes=notes)


def stopped(rollout: Rollout, stage: Stage) -> Rollout:
    """Halted or aborted by a person; one that has ended stays as it is."""
    if rollout.stage in {Stage.ABORTED, Stage.DONE} or rollout.stage is stage:
        return rollout
    return replace(
        rollout, stage=stage, halt=rollout.halt or Halt(cause=Cause.PERSON, ring=rollout.rings[rollout.ring])
    )


def resumed(
    rollout: Rollout, members: Mapping[Key, Member], marks: Mapping[Key, Mark], *, now: datetime
) -> tuple[Rollout, frozenset[Key]]:
    """Running again after a halt, and the boxes that are excused: those whose faults the person has seen. The ring
    soaks anew."""
    seen = FAULTS
    if rollout.halt is not None and rollout.halt.cause is Cause.NOBODY:
        seen = FAULTS | {Mark.AWAY, Mark.LATER}
    begun = (key for key, member in members.items() if member.ring <= rollout.ring)
    excused = frozenset(key for key in begun if marks[key] in seen)
    return replace(rollout, stage=Stage.RUNNING, halt=None, begun_at=now, whole_at=None), excused


def _not_taken(rollout: Rollout, members: Mapping[Key, Member], sights: Mapping[Key, Sight]) -> Iterator[Key]:
    """Boxes for which a wish may lie at the broker still; a request for a release is gone by itself."""
    if rollout.kind is Kind.CONFIGURATION:
        for key, member in members.items():
            if member.asked is not None and sights[key].version < rollout.version:
                yield key


def _halt(
    rollout: Rollout,
    members: Mapping[Key, Member],
    sights: Mapping[Key, Sight],
    marks: Mapping[Key, Mark],
    *,
    now: datetime,
) -> Halt | None:
    for ring, name in enumerate(rollout.rings[: rollout.ring + 1]):
        counted = [key for key in _counted(members, ring) if marks[key] not in {Mark.AWAY, Mark.LATER}]
        faulty = [key for key in counted if marks[key] in FAULTS]
        if len(faulty) > rollout.limits.failures * len(counted):
            cause = Counter(marks[key] for key in faulty).most_common(1)[0][0]
            found = (
                Found(site=key[0], box=key[1], mark=marks[key], words=words(marks[key], members[key], sights[key]))
                for key in faulty[:NAMED]
            )
            return Halt(cause=cause, ring=name, boxes=len(faulty), found=tuple(found))
    here = {marks[key] for key in _counted(members, rollout.ring)}
    if here and not here & {Mark.PROVEN, *UNDER_WAY} and now - rollout.begun_at > rollout.limits.patience:
        return Halt(cause=Cause.NOBODY, ring=rollout.rings[rollout.ring])
    return None


def _counted(members: Mapping[Key, Member], ring: int) -> Iterator[Key]:
    return (key for key, member in members.items() if member.ring == ring and not member.excused)


def _due(
    rollout: Rollout,
    members: Mapping[Key, Member],
    sights: Mapping[Key, Sight],
    marks: Mapping[Key, Mark],
    *,
    now: datetime,
) -> tuple[dict[Key, Asked], dict[Key, Asked]]:
    """Who is to be asked, at most AT_ONCE, and of whom something is to be remembered."""
    asks, notes = dict[Key, Asked](), dict[Key, Asked]()
    for key, member in members.items():
        found, sight = marks[key], sights[key]
        if member.ring > rollout.ring or found is Mark.LATER or (member.excused and found in FAULTS):
            continue
        due = _asked_now(rollout.kind, member.asked, sight, found, now=now)
        if due is None:
            notes |= _remembered(key, member.asked, sight, found)
        elif sight.version == rollout.version:
            notes[key] = due
        elif len(asks) < AT_ONCE:
            asks[key] = due
    return asks, notes


def _asked_now(kind: Kind, asked: Asked | None, sight: Sight, found: Mark, *, now: datetime) -> Asked | None:
    """What is known of a box that is asked now; None if it is not."""
    if asked is None or not asked.there:
        # A wish for a configuration waits at the broker for a box that is away; a request for a release does not
        waits_for_it = asked is None and kind is Kind.CONFIGURATION
        if sight.there or waits_for_it:
            return Asked(first=now, last=now, there=sight.there, alarms=sight.alarms)
        return None
    if found is Mark.ASKED and now - asked.last >= AGAIN:
        return replace(asked, last=now, alarms=sight.alarms)
    return None


def _remembered(key: Key, asked: Asked | None, sight: Sight, found: Mark) -> dict[Key, Asked]:
    """Alarms that came or went before the change was in place say nothing of it."""
    if asked is None or found not in {Mark.ASKED, Mark.STAGED} or asked.alarms == sight.alarms:
        return {}
    return {key: replace(asked, alarms=sight.alarms)}


def _advanced(rollout: Rollout, members: Mapping[Key, Member], marks: Mapping[Key, Mark], *, now: datetime) -> Rollout:
    here = [marks[key] for key in _counted(members, rollout.ring)]
    if here and (Mark.PROVEN not in here or UNDER_WAY & {*here}):
        return rollout
    whole_at = rollout.whole_at or now
    if now - whole_at < rollout.limits.soak:
        return replace(rollout, whole_at=whole_at)
    if rollout.ring + 1 == len(rollout.rings):
        return replace(rollout, stage=Stage.DONE, whole_at=whole_at)
    return replace(rollout, ring=rollout.ring + 1, begun_at=now, whole_at=None)
