"""What central knows of a box, and how far a box's events are there without a gap.

Rules
- Whether a box is there is told by `presence`, from when somebody listened: while nobody did nobody is judged.
- An event is acknowledged once everything up to it is committed, or given up by the box itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from gateway.domain.presence import Presence
from gateway.domain.telemetry import State

SiteName = NewType("SiteName", str)
BoxId = NewType("BoxId", str)
Key = tuple[SiteName, BoxId]
"""What names a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxView:
    """One box as central knows it."""

    site: SiteName
    box: BoxId
    presence: Presence | None = None
    """None: only what a broker kept of it was ever read."""
    since: datetime
    """Since when it says what it says of its state."""
    health: str | None = None
    """The last health message, JSON."""
    health_at: datetime | None = None
    """By the clock of the box."""
    info: str | None = None
    reported: str | None = None

    def standing(self, now: datetime, *, listening_since: datetime) -> State:
        """How it is, as far as somebody listened to it."""
        if self.presence is None:
            return State.LOST
        heard = max(self.presence.heard, listening_since)
        return Presence(sid=self.presence.sid, state=self.presence.state, heard=heard).standing(now)


def reached(upto: int, numbers: Sequence[int], spans: Iterable[tuple[int, int]]) -> int:
    """How far a numbering is whole: `numbers` are those beyond `upto` that are here, in their order; of each span
    (after, upto] whatever is not here will never be."""
    covering = sorted(spans)
    place = 0
    while True:
        before = upto
        for after, end in covering:
            if after <= upto < end:
                upto = end
        while place < len(numbers) and numbers[place] <= upto + 1:
            upto = max(upto, numbers[place])
            place += 1
        if upto == before:
            return upto
