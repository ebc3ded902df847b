"""The disk of the spool: when images are let go early, and how long it holds out.

Promises
- Only what every destination confirmed is ever counted as room that can be made (invariant 3): what waits for a
  destination that is away stays, until the reserve refuses new images with A700.
- The forecast is that of a bad day: new images come as fast as they did lately, and no destination confirms any more.
  It is None, and not a guess, where nothing came lately.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MEASURED: Final = (timedelta(hours=1), timedelta(hours=24))
"""The ingest is measured over these; the faster counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """When images are let go before their retention is over."""

    high: float
    """Share of the disk in use above which they are."""
    low: float
    """Share down to which they are."""
    keep: timedelta
    """What was confirmed more lately is kept even then."""
    warning: timedelta
    """A forecast below this is an alarm."""

    def excess(self, *, free: int, total: int) -> int:
        """Bytes to let go now; 0 below the high mark."""
        used = total - free
        return used - int(total * self.low) if used > total * self.high else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How the disk is."""

    at: datetime
    free: int
    """Bytes."""
    total: int
    reserve: int
    """Bytes below which nothing is received."""
    confirmed: int
    """Bytes of images that may be let go, should the room be needed."""
    ingest: float | None
    """Bytes received a second, lately; None: nothing was."""

    @property
    def holds_out(self) -> timedelta | None:
        """How long there is room for new images, should no destination confirm any more; None: nothing comes."""
        if not self.ingest:
            return None
        room = max(0, self.free - self.reserve + self.confirmed)
        return timedelta(seconds=min(room / self.ingest, LONGEST.total_seconds()))

    @property
    def is_full(self) -> bool:
        """Whether new images are refused."""
        return self.free < self.reserve


def sentence(disk: Disk, *, holds_out: str) -> str:
    """How the disk is, for people; `holds_out` is that time in words, empty if it is not known."""
    free = f"{disk.free / 1e9:,.1f} GB of {disk.total / 1e9:,.1f} GB are free; {disk.confirmed / 1e9:,.1f} GB of images"
    told = f"{free} are confirmed everywhere and may be let go."
    if not holds_out:
        return f"{told} Nothing was received lately, so it is not known how long there is room."
    return f"{told} At the rate of late there is room for {holds_out} more, should no destination confirm any more."


LONGEST: Final = timedelta(days=3650)


def ingest_rate(received: dict[timedelta, int]) -> float | None:
    """Bytes a second, of the bytes received in each time up to now; None if nothing was."""
    rates = [size / span.total_seconds() for span, size in received.items() if size]
    return max(rates, default=None)
