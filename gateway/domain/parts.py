"""Which parts of the box live: a process is each of them, and proved the work of it of late.

What is promised: nobody's silence reads as health. This is found out whenever somebody looks, by what the part itself
did last; no part has to be alive to say that another, or all of them, are dead. Where it may be told outside of the
box, a part that is only being started again is left the time for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

SILENT_AFTER: Final = timedelta(minutes=3)
"""No unit's WatchdogSec is longer: by then systemd has begun anew whatever proves nothing (tests/systemd)."""
STARTED_WITHIN: Final = timedelta(minutes=1)
"""What systemd starts anew is there again by then. Proofs come at least every 45 s."""
STOPPED: Final = "part-stopped"
SILENT: Final = "part-silent"
CODES: Final = frozenset({STOPPED, SILENT})


class Part(StrEnum):
    EDGE = "edge"
    FORWARD = "forward"
    REPORTING = "reporting"
    """Tells central of the box."""
    HEALTH = "health"
    """It watches; the box works without it."""
    ROUND = "round"
    """The synthetic patient, on its way through the box."""


IMAGES: Final = (Part.EDGE, Part.FORWARD)
"""Without these no image moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What is known of one part."""

    part: Part
    running: bool
    """A process is it."""
    seen: datetime | None
    """When its work was proven last, or it was begun, or ended in order; None: never."""

    def found(self, now: datetime) -> str:
        """The code of what is amiss; empty: it lives."""
        if not self.running:
            return STOPPED
        return "" if self.seen is not None and now - self.seen <= SILENT_AFTER else SILENT


def lost(lives: Iterable[Life], now: datetime) -> tuple[Life, ...]:
    """Those that don't live and had the time to be started again."""
    return tuple(one for one in lives if one.found(now) and (one.seen is None or now - one.seen > STARTED_WITHIN))
