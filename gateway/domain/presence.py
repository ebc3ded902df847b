"""Whether a box is there, as whoever listens to it should tell: by what it hears, and by no clock but its own.

Promises
- A death counts only if it is that of the connection that was heard last: the will of a socket that dies late, or of a
  box whose books were lost, changes nothing.
- A box of which nothing live was heard for `SILENCE` is lost, whatever is retained: a broker that was killed publishes
  no will, and may keep the last word of a box that died with it. Health comes at least every 36 s.
- Two boxes under one name show: both are alive and their numberings differ (`contested`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.telemetry import State
from gateway.domain.telemetry_fields import sid_order

SILENCE: Final = timedelta(seconds=45)
_GONE: Final = frozenset({State.LOST, State.DISCONNECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What is known of a box."""

    sid: str
    """Of the connection that was heard last."""
    state: State
    """As it was told last."""
    heard: datetime
    """When, by the clock of the listener, something live of it came last; of what was retained, when that was read."""
    contested: datetime | None = None
    """When another box was heard under this name while this one was alive."""

    def standing(self, now: datetime) -> State:
        """How it is now."""
        if self.state not in _GONE and now - self.heard > SILENCE:
            return State.LOST
        return self.state


def told(known: Presence | None, *, sid: str, state: State, at: datetime) -> Presence:
    """After a status message, the will included, came at that time."""
    if known is None:
        return Presence(sid=sid, state=state, heard=at)
    if state is State.LOST:
        return replace(known, state=state) if sid == known.sid else known
    if _is_older(sid, known.sid):
        return known
    rival = sid_order(sid)[0] != sid_order(known.sid)[0] and known.standing(at) not in _GONE
    return Presence(sid=sid, state=state, heard=at, contested=at if rival else known.contested)


def heard(known: Presence, *, sid: str, at: datetime) -> Presence:
    """After another live message (health, alarm, event; none that was retained, no backfill) came at that time."""
    if _is_older(known.sid, sid):  # its status went by while nobody listened, or comes another way
        return told(known, sid=sid, state=State.READY if known.state in _GONE else known.state, at=at)
    return replace(known, heard=at) if sid == known.sid else known


def _is_older(one: str, other: str) -> bool:
    """Whether a connection was before another of the same box; of another numbering nobody can tell."""
    first, second = sid_order(one), sid_order(other)
    return first[0] == second[0] and first < second
